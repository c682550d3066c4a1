/*
 * enter.h - into service, and out of read-only service
 *
 * A standalone writer comes into service once it has told what its predecessor logged and nobody
 * may have seen; a member of an ensemble when service.h says so. Then DOWN_EPOCH is told, and
 * workers send again what is still unanswered.
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

#include <stdbool.h>

struct wtr_loop;

/* Standalone, until it returns true: the predecessor's tail, then the new epoch. */
bool wtr_enter_alone(struct wtr_loop *l);

/* Of a member, once a turn: is its leadership, or its leader, established? Can't one be found? */
void wtr_enter_service(struct wtr_loop *l);
void wtr_enter_read_only(struct wtr_loop *l);

/* The same, once a turn: was a leader elected? */
void wtr_leave_read_only(struct wtr_loop *l);

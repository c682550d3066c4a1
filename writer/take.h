/*
 * take.h - requests out of the workers' up rings, to the core
 *
 * A turn takes a bounded number from each worker. None are taken while the core is full, while it
 * is not known whether there is a segment for what comes, or while much has to be told: they stay
 * where they are, and workers stop reading from their clients (V7). A ring is hostile: its records
 * are copied out before they are looked at, and a worker whose ring or record can't be is given to
 * the supervisor to be killed (V8).
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

#include <stdbool.h>

struct wtr_loop;

/* At the start of a turn: which workers died, which stand still? */
void wtr_take_watch(struct wtr_loop *l);

/* True: something was taken. */
bool wtr_take(struct wtr_loop *l);

/* Is there nothing to take? */
bool wtr_take_is_empty(const struct wtr_loop *l);

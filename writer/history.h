/*
 * history.h - what ZAB's outputs do to the disk: the log, a staged history, the member's record
 *
 * What is written here must be written; else nobody knows what the disk has, and the process ends,
 * so that a successor recovers from what is there. Death: at any instruction; storage/member.h.
 *
 * Runs in: writer, deciding thread; log and helper threads rest meanwhile.
 */
#pragma once

#include "writer/ensemble.h"

void wtr_history_store_epochs(struct wtr_ensemble *e);

/* TRUNC: nothing above zxid is left. ZAB_READY is due then. */
void wtr_history_cut(struct wtr_ensemble *e, int64_t zxid);

/* SNAP: what comes is staged beside what is there; it is there (ZAB_READY is due); it is no use. */
void wtr_history_stage(struct wtr_ensemble *e, int64_t zxid);
void wtr_history_staged(struct wtr_ensemble *e);
void wtr_history_unstage(struct wtr_ensemble *e);

/* What is staged takes the place of what was there. The process has to end after it. */
void wtr_history_install(struct wtr_ensemble *e);

/* The zxid before the oldest record of the log can't be asked for any more. */
void wtr_history_trim(struct wtr_ensemble *e);

/* Into e->history, beside a snapshot of that zxid. 0 or -errno. */
int wtr_history_read(struct wtr_ensemble *e, int64_t snapshot_zxid);

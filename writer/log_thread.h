/*
 * log_thread.h - group commit: one batch at the disk while the next one fills
 *
 * The loop hands over a batch of entries and goes on; the thread appends and syncs it, stores
 * durable_zxid and wakes the loop. What arrived meanwhile is the next batch: there is no timer.
 *
 * Runs in: writer; give, commit, busy, durable and stop in the loop, the rest in the thread. Who
 * appends or seals holds the batch, or the lock while there is none. Ordering: job is handed over
 * by release and acquire; so is durable_zxid, whose release comes after the batch is on stable
 * storage (V1).
 *
 * Death: an append that fails leaves the disk unknown: one line, and the process ends with status
 * 10; its successor recovers from the log. The one exception is a full disk (-ENOSPC: nothing was
 * written): the batch is tried again until there is room, and `full` is set meanwhile.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/board.h"
#include "storage/log.h"
#include "writer/core.h"

struct wtr_log {
	struct sto_log *log;
	const struct shm_heritage *heritage;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	_Atomic(struct wtr_batch *) job; /* loop -> thread; NULL: idle */
	_Atomic int64_t durable_zxid;    /* thread -> loop */
	_Atomic bool full, roll, stop, asleep;
	bool spin; /* cores enough to wait for work without sleeping */
};

/* Start the thread on a log that ends at last_zxid. `log` stays the caller's. -errno. */
int wtr_log_start(struct wtr_log *l, struct sto_log *log, const struct shm_heritage *heritage,
		  int64_t last_zxid);

/*
 * Append and sync a batch in the loop's own thread, only when not busy: when nothing else is to be
 * done meanwhile, that spares two wake-ups. False: the disk is full; give it to the thread, which
 * waits for room.
 */
bool wtr_log_commit(struct wtr_log *l, const struct wtr_batch *b);

/* Hand over a batch; only when not busy. It must not change until durable. */
void wtr_log_give(struct wtr_log *l, struct wtr_batch *b);

static inline bool wtr_log_busy(const struct wtr_log *l)
{
	return atomic_load_explicit(&l->job, memory_order_acquire) != NULL;
}

static inline int64_t wtr_log_durable(const struct wtr_log *l)
{
	return atomic_load_explicit(&l->durable_zxid, memory_order_acquire);
}

/* Begin a new segment with the next batch: a snapshot has what is before. */
void wtr_log_roll(struct wtr_log *l);

/* Wait for the batch at the disk, end the thread. */
void wtr_log_stop(struct wtr_log *l);

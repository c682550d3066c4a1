/*
 * helper.h - what may take long and nobody waits for: one thread beside the writer's loop
 *
 * Brings memory ahead of need, zero-fills the next log segment, deletes old files, measures the
 * directories, and, with readonlymode.enabled, writes down what is published (storage/committed.h).
 * Works at once when kicked, else every WTR_HELPER_MS.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "shm/board.h"
#include "shm/tree.h"
#include "storage/log.h"

/* At the start the first writes after a recovery have the disk for themselves. */
enum { WTR_HELPER_MS = 200, WTR_HELPER_START_MS = 100, WTR_MEASURE_MS = 5000 };

struct wtr_helper {
	const struct shm_heritage *heritage;
	struct shm_tree *tree;
	struct sto_log *log;
	const char *snap_dir, *log_dir;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	_Atomic bool stop, purge;
	_Atomic bool no_room; /* the next segment could not be made for want of space */
	uint64_t measure_ms, purge_ms;
	int64_t committed_zxid; /* as written down */
};

int wtr_helper_start(struct wtr_helper *p);
/* Delete what is no longer needed: a snapshot was just written. */
void wtr_helper_purge(struct wtr_helper *p);
/* The next segment is needed now. */
void wtr_helper_kick(struct wtr_helper *p);
void wtr_helper_stop(struct wtr_helper *p);

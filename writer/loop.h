/*
 * loop.h - the writer's turn: where what the core decides meets the world
 *
 * A turn: apply what became durable; tell it (commit ring, publish, wake); take requests from the
 * up rings, a bounded number from each worker; publish the answers that need no log; hand the next
 * batch to the log thread; reclaim a bounded number of retired objects; sleep if nothing is left.
 * Nothing is decided here that the core could decide. A member of an ensemble hears of the others
 * at the start of a turn, and sends before it waits for the disk (ensemble.h).
 *
 * Back-pressure: when the core is full, or the commit ring is, requests stay in the up rings. A
 * worker that does not move while the commit ring is full is given to the supervisor to be killed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/board.h"
#include "shm/commit.h"
#include "shm/ring.h"
#include "writer/core.h"
#include "writer/ensemble.h"
#include "writer/helper.h"
#include "writer/log_thread.h"

/* What the loop remembers of a worker. */
struct wtr_worker {
	struct shm_ring_rx ring;
	uint32_t incarnation, turn_ms;
	uint64_t turn_seen_ms; /* when turn_ms was first seen */
	bool broken;           /* its ring can't be; waiting for its successor */
};

/* Of the heap: a snapshot, then the end of this writer. */
enum wtr_rebuild { WTR_REBUILD_NOT, WTR_REBUILD_WANTED, WTR_REBUILD_SNAPSHOT, WTR_REBUILD_READY };

struct wtr_loop {
	const struct shm_heritage *heritage;
	struct shm_board *board;
	struct shm_tree *tree;
	struct wtr_core core;
	struct wtr_log log;
	struct wtr_helper helper;
	struct wtr_ensemble *ensemble; /* NULL: standalone */
	struct shm_commit_tx tx;
	struct wtr_worker worker[CONF_WORKERS_MAX];
	uint8_t *record; /* a record of an up ring, copied out */
	uint32_t record_cap;

	const uint8_t
	    *tail; /* standalone: entries that a predecessor logged and nobody may have seen */
	size_t tail_len, tail_done;
	bool in_service;
	/* Since when nothing is taken until the next segment is prepared, or can't be; 0: it is. */
	uint64_t log_waits_ms;
	bool log_wait_told;

	size_t out_done;            /* bytes of core.out that are in the ring */
	int64_t told_zxid;          /* of the last DOWN_TXN there */
	bool unpublished;           /* the ring has records behind the published head */
	bool wake_all;              /* a record among them is for idle workers too */
	uint64_t held_min, held_ms; /* what readers hold, and since when that is too much */
	uint64_t stuck_ms;          /* since when the ring has had no room; 0: it has */
	uint64_t stuck_behind;      /* how far behind the laggard is then */
	unsigned held_turns, stuck_turns;
	unsigned crawl_turns; /* until the laggard is half a ring nearer */
	uint64_t turn_ms, expected_ms, nop_ms, begun_ms;
	struct wtr_batch *at_log;

	/* Snapshots: when the next one is due, and the one that is being made. */
	uint64_t snap_changes, snap_bytes;
	uint64_t snap_failed_ms;       /* 0: the last one did not */
	uint64_t snap_rest_ms;         /* none before that, unless pressed */
	uint64_t snap_from, snap_base; /* core.changes as the last one, the last whole one began */
	uint32_t snap_asked;
	bool snap_now; /* somebody waits for one of what is published */
	enum wtr_rebuild rebuild;
	int epoll;
};

/* The commit ring is full: publish, wake everybody; after a while who lags most has to go. */
void wtr_loop_make_room(struct wtr_loop *l);

/*
 * Serve until board->stopping. The exit status. In pieces, for who turns it himself (the
 * simulator): begin, 0 or the status; while it goes on, a turn, which says whether there was
 * something to do; when there was not, at most rest_ms may pass until the next one, unless bells
 * ring; the end.
 */
int wtr_loop_run(struct wtr_loop *l);
int wtr_loop_begin(struct wtr_loop *l);
bool wtr_loop_goes_on(const struct wtr_loop *l);
bool wtr_loop_turn(struct wtr_loop *l);
int wtr_loop_rest_ms(struct wtr_loop *l);
int wtr_loop_end(struct wtr_loop *l);

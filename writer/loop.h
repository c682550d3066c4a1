/*
 * loop.h - the writer's turn: where what the core decides meets the world
 *
 * A turn: apply what became durable and tell it (tell.h); take requests from the up rings (take.h);
 * tell the answers that need no log; hand the next batch to the log thread; reclaim (reclaim.h);
 * sleep if nothing is left. Nothing is decided here that the core could decide. A member of an
 * ensemble hears of the others at the start of a turn, and sends before it waits for the disk
 * (ensemble.h).
 *
 * The state of all these is one struct, for a turn is one thread's: who changes what, its comments
 * say.
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

	uint64_t turn_ms, expected_ms, begun_ms;
	struct wtr_batch *at_log;
	int epoll;

	/* enter.c. Standalone: entries that a predecessor logged and nobody may have seen. */
	const uint8_t *tail;
	size_t tail_len, tail_done;
	bool in_service;

	/* take.c */
	uint64_t log_waits_ms; /* since when the next segment is waited for; 0: it is prepared */
	bool log_wait_told;

	/* tell.c */
	size_t out_done;       /* bytes of core.out that are in the ring */
	int64_t told_zxid;     /* of the last DOWN_TXN there */
	bool unpublished;      /* the ring has records behind the published head */
	bool wake_all;         /* a record among them is for idle workers too */
	uint64_t stuck_ms;     /* since when the ring has had no room; 0: it has */
	uint64_t stuck_behind; /* how far behind the laggard is then */
	unsigned stuck_turns;
	unsigned crawl_turns; /* until the laggard is half a ring nearer */

	/* reclaim.c */
	uint64_t held_min, held_ms; /* what readers hold, and since when that is too much */
	unsigned held_turns;
	uint64_t nop_ms; /* the next DOWN_NOP not before */
	enum wtr_rebuild rebuild;

	/* snap_policy.c: when the next one is due, and the one that is being made. */
	uint64_t snap_changes, snap_bytes;
	uint64_t snap_failed_ms;       /* 0: the last one did not */
	uint64_t snap_rest_ms;         /* none before that, unless pressed */
	uint64_t snap_from, snap_base; /* core.changes as the last one, the last whole one began */
	uint32_t snap_asked;
	bool snap_now; /* somebody waits for one of what is published */
};

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

/*
 * worker.h - the worker process as its own files see it
 *
 * One thread, one struct worker. A turn (loop.c): announce and take the head of the commit ring,
 * drain it (down.c: events are queued, answers encoded), then everything that the sockets brought
 * is served as of one S (requests.c, reads.c), then one send for each connection. Between two turns
 * the process sleeps offline and holds nothing of the tree.
 *
 * Invariants kept here: V2 (S never falls, a generation is taken only forward), V3 (events up to S
 * are queued before S is read from; watches are registered as of S), V5 (requests.c), V8 (conn.h).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "jute/acl.h"
#include "shm/board.h"
#include "shm/commit.h"
#include "shm/ring.h"
#include "shm/tree.h"
#include "workers/conn.h"
#include "workers/watches.h"

enum {
	WRK_INPUT_BYTES = 256 << 10, /* of one recv */
	WRK_ARENA_BYTES = 4 << 20,   /* replies of one turn, before they need memory of their own */
	WRK_READY_MAX = 64,          /* connections served in one turn */
	WRK_QUEUE_BYTES = 1 << 20,   /* of unanswered requests, per connection */
	WRK_UNSENT_PAUSE = 1 << 20,  /* unsent bytes above which a connection is not read */
	WRK_UNSENT_BYTES = 4 << 20,  /* unsent bytes above which it is closed */
	WRK_STALL_MS = 10000,        /* a client that takes no byte for so long is closed */
	WRK_CLOSE_MS = 2000,         /* last words are sent for so long */
	WRK_TICK_MS = 200,           /* timers are looked at so often */
	WRK_IDLE_MS = 500,           /* a turn is made so often, whatever happens */
};

/* What epoll says is ready: a connection's place, or one of these. */
enum { WRK_WAKE = 1 << 25, WRK_REGIONS, WRK_LISTENER };

/* Plain counters; copied to the seat once per turn. */
struct wrk_counters {
	int64_t received, sent, bytes_in, bytes_out, rejected, closed_slow, errors;
	int64_t latency_min_us, latency_max_us, latency_sum_us, latency_count;
	int64_t connections, sessions, outstanding;
};

struct worker {
	const struct shm_heritage *h;
	const struct conf *conf;
	const struct shm_board *board;
	struct shm_seat *seat;
	unsigned index;
	uint32_t incarnation, epoch; /* epoch: of the writer that our requests are for */

	struct shm_commit_rx rx;
	struct shm_ring_tx up;
	bool pushed, ring_full;      /* in this turn */
	uint32_t unpublished;        /* records pushed that the writer can't see yet */
	bool resend;                 /* a new writer has come: attach and send again */
	bool doubtful;               /* .. but not what was sent before: it may be done */
	bool cut_off;                /* nobody may be served until the writer says so again */
	bool read_only;              /* in this turn, who asked for no more is served, with reads */
	uint32_t resets;             /* board->resets as of which connections are */
	const struct shm_tree *tree; /* the generation in use */
	uint32_t gen, mapped[2];     /* generations mapped, by window */
	uint64_t region_bytes[2];
	int64_t s;               /* S of this turn: reads are as of it */
	uint64_t now_ms, now_us; /* at the start of the turn */

	struct wrk_conn **slab;                 /* 64 places each */
	uint32_t n_slabs, free_place;           /* place + 1 */
	uint32_t *session_bucket, session_mask; /* place + 1 */
	struct wrk_link timed, paused, run, flush, gone;
	struct wrk_watches *watches;

	uint8_t *input; /* WRK_INPUT_BYTES */
	uint8_t *arena; /* WRK_ARENA_BYTES */
	size_t arena_len;
	struct wrk_conn *arena_open;
	uint8_t *events; /* of a transaction whose end has not come */
	size_t events_len, events_cap;
	uint8_t *event_frame;
	size_t event_frame_cap;

	int epoll, spare_fd;
	bool listening; /* listeners are in the epoll set */
	uint64_t listen_again_ms, tick_ms, shed_told_ms;
	uint32_t reads; /* answered in this turn */
	struct wrk_counters count;
	struct hash_key key;
	struct zk_acl_rules rules;
	int64_t start_wall_ms;
};

/* A worker around heritage that has been entered; needs no descriptor (tests). 0, -ENOMEM. */
int wrk_init(struct worker *w, const struct shm_heritage *h, unsigned index);
void wrk_fini(struct worker *w);

/* The parts of a turn. */
bool wrk_in_service(const struct worker *w); /* may clients be served in full? */
bool wrk_serves(const struct worker *w);     /* .. or with reads at least, in this turn? */
void wrk_turn_begin(struct worker *w);       /* online, drain, take S */
void wrk_turn_end(struct worker *w);         /* flush, publish, count, offline */

/* down.c: everything before `head` of the commit ring. */
void wrk_drain(struct worker *w, uint64_t head);
/* loop.c: take generation `gen`, if it is mapped and not behind S. */
void wrk_switch(struct worker *w, uint32_t gen);

/* accept.c */
void wrk_listen(struct worker *w, bool on);
void wrk_accept(struct worker *w, int listen_fd);
void wrk_balance(struct worker *w);
void wrk_address_drop(struct worker *w, const uint8_t address[16]);

/* words.c: four-letter words. true: these bytes (at least 4) begin one, and it was dealt with. */
bool wrk_word(struct worker *w, struct wrk_conn *c, const uint8_t *bytes, size_t len);
void wrk_word_share(struct worker *w, uint64_t asker, int32_t kind);
void wrk_word_text(struct worker *w, struct wrk_conn *c, const uint8_t *text, size_t len,
		   bool last);

/*
 * board.h - the shared memory that outlives every generation of the tree
 *
 * Made by the supervisor before it forks, never remade. Two kinds of memory, each with one
 * writing process:
 *
 *   board   one memfd. Written by the writer (and, where a field says so, by the supervisor);
 *	     workers map it read-only. Holds what is published, the commit ring, the consumer's
 *	     cursors of the up rings.
 *   seat    one memfd for each reader: workers 0..n_workers-1, and one more for the
 *	     snapshotter. Written by its reader alone; readers map each other's read-only
 *	     (workers see each other's counters and connections per address).
 *
 * All are sealed once mapped: no descriptor and no /proc path gives a second writable mapping.
 *
 * Publication, the whole of it. The writer
 *	1. applies transactions to the tree (versions with zxid > board->zxid are invisible),
 *	2. writes their records into the commit ring (commit.h), behind board->head,
 *	3. stores board->zxid, then board->head, then board->settled_zxid (each release). The
 *	   second store is the COMMIT: one store, whole transactions.
 * A reader takes board->head (acquire) and drains the ring up to it; S is the zxid of the last
 * whole transaction that it drained. As zxid is stored before head, a fresh reader that loads
 * head and then zxid has S >= the state at head: it starts at that head with that zxid, and
 * ignores records with zxid <= S. Pair `publish` in commit.h.
 * settled_zxid is never ahead of the records before head: a new writer builds its tree to exactly
 * there and publishes the rest of the log through the ring. A record that is published twice for
 * this reason has zxid <= S, and is ignored.
 *
 * Quiescence (QSBR across processes). A reader's slot holds 0 while it is offline (asleep), else
 * 1 + a head that it has read:
 *	online:   q = load(board->head); xchg(seat->slot, q + 1); then head =
 *load-acquire(board->head) and drain offline:  store-release(seat->slot, 0) The exchange is a full
 *fence and must come before the head that the turn works with is loaded: taken the other way round,
 *the writer could free a version that this S still needs. What was retired under head h may be
 *freed when every online slot is > h (shm_readers_min() in wake.h). A slot is cleared by somebody
 *else only after its process was reaped (invariant V6).
 *
 * Generations. gen = counter << 1 | window. board->gen names the one to read. A reader switches at
 * the start of a turn, when it finds another board->gen and has the region mapped, and only when
 * the new region's zxid >= its S (V2). It switches before it maps a region into the window that it
 * leaves.
 *
 * Death of a reader: the supervisor calls shm_board_reader_gone() when it has reaped it, then
 * forks its successor. Records of its up ring that nobody took yet are lost with its connections.
 *
 * Trust: a worker's seat is hostile input to the writer: every index and length from it is
 * checked, every record copied out before it is parsed.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/conf.h"
#include "base/hist.h"

enum {
	SHM_READERS_MAX = CONF_WORKERS_MAX + 1,
	SHM_SESSIONS_MAX = 1 << 20, /* session slots of the tree */
	SHM_LOCALS_MAX = 1 << 20,   /* local sessions; their slots stand behind those */
	SHM_SLOTS = SHM_SESSIONS_MAX + SHM_LOCALS_MAX, /* entries of seat->heard */
	SHM_ADDRESSES = 4096,                          /* entries of seat->address */
};

/* What the supervisor and the writer say of one reader. One line each. */
struct shm_reader {
	/* By the supervisor. Incarnations start at 1; +1 once the process was reaped. */
	_Atomic uint32_t incarnation;
	_Atomic int32_t pid; /* 0: nobody there, does not hold the ring; -1: about to be forked */
	/* By the writer: incarnation that has to go (lags a whole ring, holds memory, or sent
	 * what can't be). */
	_Atomic uint32_t kill;
	uint32_t pad0;
	_Atomic uint64_t up_start; /* by the supervisor: the incarnation's place in the up ring */
	uint8_t pad1[40];
	_Atomic uint64_t up_tail; /* by the writer: bytes consumed of the reader's up ring */
	uint8_t pad2[56];
};

/* Totals that the writer keeps for srvr, mntr and bench; read by anybody, relaxed. */
struct shm_writer_stats {
	_Atomic int64_t node_count, ephemeral_count, data_bytes;
	_Atomic int64_t session_count, local_count; /* global and local sessions */
	_Atomic int64_t outstanding;                /* taken and not yet published */
	_Atomic int64_t heap_used, heap_max, retired_bytes;
	_Atomic int64_t txns, txn_bytes, log_bytes, fsyncs, snapshots, snapshots_failed, purged;
	_Atomic int64_t digest, digest_zxid; /* of the last published transaction */
	/* When this writer came into service, and how long it took. */
	_Atomic int64_t start_wall_ms, recovered_ms;
	_Atomic int64_t data_dir_bytes, log_dir_bytes; /* refreshed every few seconds */
	_Atomic int64_t refused;                       /* writes, for want of memory or disk */
	_Atomic int64_t to_replay;       /* changes since the last snapshot: a recovery's work */
	struct hist fsync_us, commit_us; /* relaxed, torn reads are fine */
};

/* What this server is in its ensemble, for words and tools; by the writer, relaxed. */
enum shm_role { SHM_ALONE, SHM_LOOKING, SHM_LEADING, SHM_FOLLOWING, SHM_OBSERVING };

struct shm_member_view {
	_Atomic int64_t sid;
	_Atomic uint32_t flags; /* enum shm_member_flag */
	uint32_t pad;
	_Atomic int64_t acked;  /* zxid */
	_Atomic int64_t queued; /* bytes that wait for it */
};

enum { SHM_MEMBER_THERE = 1, SHM_MEMBER_SYNCED = 2, SHM_MEMBER_OBSERVER = 4, SHM_MEMBERS = 32 };

/* Whether the tree is the leader's, when a digest said that it is not. */
enum shm_doubt {
	SHM_DOUBT_NONE,
	SHM_DOUBT_ASKS,  /* the next leader will be asked for its state */
	SHM_DOUBT_ASKED, /* it was; no digest has agreed since */
};

struct shm_ensemble {
	_Atomic uint32_t role;      /* enum shm_role */
	_Atomic uint32_t phase;     /* enum zab_phase */
	_Atomic int64_t epoch;      /* of the leader that is followed, or of our leadership */
	_Atomic int64_t leader_sid; /* -1: none */
	_Atomic int64_t logged_zxid, durable_zxid, committed_zxid;
	_Atomic int64_t served_epoch; /* the last one in which we were in service */
	/* The last transaction before settled_zxid, when that is the start of an epoch. */
	_Atomic int64_t settled_txn;
	_Atomic int64_t elections, digest_mismatches;
	_Atomic uint32_t doubt;     /* enum shm_doubt */
	_Atomic int64_t doubted_ms; /* monotonic, when it last began; 0: never */
	_Atomic uint32_t must_sync;
	_Atomic int64_t master_sid; /* observer: by whom it observes, its leader or not; else -1 */
	_Atomic uint32_t relays;    /* follower: observers are served here */
	_Atomic uint32_t n_learners;
	/* Who is connected, to a leader or to a master of observers. */
	struct shm_member_view learner[SHM_MEMBERS];
	char why[128]; /* why we are out of service; a torn read is a torn text */
};

/*
 * Local sessions: those of this member alone, of which no transaction tells. They stand here and
 * not in the tree, so that they outlive the writer and its generation; not the supervisor. By the
 * writer. id 0: free; it is stored last and cleared first, so an entry that a dying writer left is
 * whole or not there. Entry i has the slot SHM_SESSIONS_MAX + i.
 */
struct shm_local {
	_Atomic int64_t id;
	_Atomic int32_t timeout_ms; /* as negotiated last */
	uint32_t pad;
};

struct shm_locals {
	_Atomic uint32_t end; /* entries ever used */
	uint32_t pad;
	struct shm_local of[SHM_LOCALS_MAX];
};

struct shm_board {
	/* Constant after the supervisor made it. */
	uint64_t magic;
	uint32_t n_workers; /* the snapshotter is reader n_workers */
	uint32_t seat_bytes;
	uint64_t commit_size, up_size; /* bytes of ring data, powers of two */
	uint8_t pad0[32];

	/* Published by the writer. */
	_Atomic uint64_t head;          /* commit ring bytes written and published: the COMMIT */
	_Atomic int64_t zxid;           /* last published zxid, stored before head */
	_Atomic int64_t settled_zxid;   /* as zxid, but stored after head: see Publication */
	_Atomic int64_t serve_until_ms; /* monotonic: clients may be served until then; 0 = ever */
	_Atomic uint32_t gen;           /* generation to read */
	/* +1 when a writer comes into service: the log's tail is published, send again what is
	 * unanswered. */
	_Atomic uint32_t writer_epoch;
	/* +1 when no connection can be carried over: what was published meanwhile has no events. */
	_Atomic uint32_t resets;
	/* By the writer: 1 while no leader is found and clients that are content with reads are
	 * served, as of what is published, whatever serve_until_ms says. `resets` counts before it
	 * becomes 1, and after it becomes 0: no connection lives in both kinds of service. */
	_Atomic uint32_t read_only;
	uint8_t pad1[16];

	_Atomic uint32_t writer_sleeping; /* by the writer (wake.h) */
	uint8_t pad2[60];

	/* Between writer and supervisor. */
	_Atomic uint32_t snap_wanted; /* by the writer: +1 to have a snapshotter started */
	_Atomic uint32_t snap_done;   /* by the supervisor: the snap_wanted that has ended */
	/* By the supervisor, before snap_done: exit status; -1: killed, or could not be forked. */
	_Atomic int32_t snap_status;
	_Atomic uint32_t next_gen;        /* by the supervisor: what the writer forked now builds */
	_Atomic int32_t writer_pid;       /* by the supervisor */
	_Atomic uint32_t writer_restarts; /* by the supervisor */
	_Atomic uint32_t stopping;        /* by the supervisor: 1 = finish what is durable, exit */
	_Atomic uint32_t in_service;      /* by the writer: 1 from its first publication on */
	/* By the writer: low 32 bits of monotonic ms at the start of its last turn; 0 = recovering,
	 * not watched. */
	_Atomic uint32_t writer_turn_ms;
	_Atomic uint32_t snap_urgent; /* by the writer: 1 while somebody waits for the snapshot */
	uint8_t pad3[24];

	struct shm_reader reader[SHM_READERS_MAX];
	struct shm_writer_stats stats;
	struct shm_ensemble ensemble;
	struct shm_locals locals; /* only what was used takes memory */
	/* then, page-aligned, at shm_board_commit(): commit_size bytes of ring data */
};

/* Connections of one remote address at this worker. IPv4 is ::ffff:a.b.c.d; 0,0 = free. */
struct shm_address {
	_Atomic uint64_t hi, lo;
	_Atomic uint32_t count;
	uint32_t pad;
};

struct shm_worker_stats {
	_Atomic int64_t connections, sessions, watches, watch_paths, outstanding;
	_Atomic int64_t data_watches, watchers; /* data table alone; connections with one there */
	_Atomic int64_t received, sent, bytes_in, bytes_out, rejected, closed_slow, errors;
	_Atomic int64_t latency_min_us, latency_max_us, latency_sum_us, latency_count;
	struct hist read_us, write_us;
};

/* One reader's own pages. Alone in writing them is the reader, and shm_board_reader_gone(). */
struct shm_seat {
	_Atomic uint64_t slot;     /* 0 = offline, else head + 1: see Quiescence */
	_Atomic uint64_t cursor;   /* commit ring bytes consumed; never overwritten beyond */
	_Atomic uint32_t sleeping; /* wake.h */
	_Atomic uint32_t
	    interest;             /* 0: nothing here waits for a commit; wake when the ring fills */
	_Atomic uint32_t gen;     /* generation mapped and read; others may be dropped */
	_Atomic uint32_t turn_ms; /* low 32 bits of monotonic ms at the start of the last turn */
	uint8_t pad0[32];
	_Atomic uint64_t up_head; /* bytes ever pushed to the up ring */
	uint8_t pad1[56];
	struct shm_worker_stats stats;
	struct shm_address address[SHM_ADDRESSES];
	/* By session slot: low 32 bits of monotonic ms when last heard; stored only when it moved
	 * by 50 ms or more. */
	_Atomic uint32_t heard[SHM_SLOTS];
	/* then, page-aligned, at shm_seat_up(): up_size bytes of ring data */
};

/*
 * What a process inherits over fork, and all of it (besides the configuration): plain values,
 * valid in every child. Descriptors that a child has no right to are closed, and -1 here.
 */
struct shm_heritage {
	const struct conf *conf;
	struct shm_board *board;
	struct shm_seat *seat[SHM_READERS_MAX];
	int board_ro_fd, seat_ro_fd[SHM_READERS_MAX];
	int wake_writer, wake_supervisor,
	    wake_worker[CONF_WORKERS_MAX]; /* eventfds, non-blocking */
	/* The worker's end: SOCK_SEQPACKET, brings regions (struct shm_region_note + SCM_RIGHTS).
	 */
	int worker_socket[CONF_WORKERS_MAX];
	int listen_fd[CONF_LISTEN_MAX];
	unsigned n_listen;
	/* Locks of dataDir and dataLogDir: kept by the writer and the snapshotter, so that no other
	 * server starts while one of them lives, even without a supervisor. */
	int lock_fd[2];
	uint32_t region_gen; /* newest region made: the writer's to build, writable at its window */
	uint32_t read_gen;   /* region in service when this child was forked, 0 = none yet */
	int region_ro_fd, read_ro_fd; /* of the two; -1 if none */
	uint64_t region_bytes;
};

/*
 * Supervisor: make board, seats and eventfds for conf->workers workers and set every other
 * descriptor of *h to -1; h->conf is set by the caller. Ring sizes follow conf->max_buffer.
 * 0 or -errno; then nothing is left behind.
 */
int shm_board_create(struct shm_heritage *h);
/* Unmap and close all that shm_board_create() made. For tests; the supervisor just exits. */
void shm_board_destroy(struct shm_heritage *h);

/*
 * Worker i, or the snapshotter, i = n_workers; its first act, before any byte from outside is
 * looked at (the supervisor's child code does it before worker_main). Maps the board and the
 * others' seats read-only over the inherited mappings, keeps seat i writable, gives up every
 * region's writable window and maps the one in service (read_gen) read-only, and closes every
 * descriptor that is not its own; only 0, 1 and 2 stay besides. A region that is being built
 * reaches a worker over its socket. 0 or -errno: exit at once.
 */
int shm_board_enter_reader(struct shm_heritage *h, unsigned i);
/* The writer's first act: keeps region_gen's window and the eventfds, gives up all else. */
int shm_board_enter_writer(struct shm_heritage *h);

/*
 * Supervisor, after reader i was reaped and before its successor is forked: clears its slot (V6),
 * gives up what it left in its rings, counts its incarnation, says that nobody is there.
 */
void shm_board_reader_gone(struct shm_heritage *h, unsigned i);
/* Supervisor, right before it forks reader i: from now on the commit ring is kept for it (pid -1).
 */
void shm_board_reader_born(struct shm_heritage *h, unsigned i);

static inline size_t shm_page_round(size_t n)
{
	return (n + 4095) & ~(size_t)4095;
}
static inline uint8_t *shm_board_commit(const struct shm_board *b)
{
	return (uint8_t *)(uintptr_t)b + shm_page_round(sizeof(*b));
}
static inline uint8_t *shm_seat_up(const struct shm_seat *s)
{
	return (uint8_t *)(uintptr_t)s + shm_page_round(sizeof(*s));
}

/*
 * whole.h - an ensemble of whole servers in one process: README.md
 *
 * Real are the writer (writer/ but for its threads), storage/, quorum/ and the tree; simulated are
 * clocks, disks (memfs.h), connections, the supervisor, workers and clients. One queue of events,
 * one source of randomness: a seed decides everything, and gives the same run again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMFS_FILES_MAX 4096
#define MEMFS_NAMES_MAX 512

#include "base/bug.h"
#include "peers/elector.h"
#include "peers/links.h"
#include "shm/board.h"
#include "shm/commit.h"
#include "shm/ring.h"
#include "tests/memfs.h"
#include "writer/life.h"

enum { W_NODES_MAX = 7, W_CLIENTS_MAX = 16, W_PENDING_MAX = 8, W_CONNS_MAX = 64 };

/* A server's ports, and its links at each. */
enum w_port { W_QUORUM_PORT, W_OBSERVERS_PORT, W_PORTS };
enum { W_PORT_NUMBER = 100 }; /* of the quorum port; the other one's is the next */

/* Kinds of faults, each counted when it took effect. */
#define W_FAULTS(X)                                                                                \
	X(CRASH, "all processes of a server killed")                                               \
	X(POWER, "power cut: what was not synced is there or not, sector by sector")               \
	X(WRITER, "the writer alone killed")                                                       \
	X(AT_CALL, "killed between two system calls of the disk")                                  \
	X(ALL_DOWN, "all servers down at once")                                                    \
	X(LOST_WRITE, "a power cut met writes that were not synced")                               \
	X(SYNC_ERROR, "a sync failed")                                                             \
	X(DISK_FULL, "a disk was full for a while")                                                \
	X(PAUSE, "a server stopped for a while")                                                   \
	X(CLOCK_JUMP, "monotonic clock jumped ahead")                                              \
	X(WALL_JUMP, "wall clock jumped, also back")                                               \
	X(RESET, "a connection between servers reset")                                             \
	X(CUT_ONE_WAY, "a link cut in one direction")                                              \
	X(ISOLATE, "a server cut off from all others")                                             \
	X(HALVES, "the ensemble cut in two")                                                       \
	X(SLOW_LINK, "a link slow for a while")                                                    \
	X(SLOW_DISK, "a disk slow for a while")                                                    \
	X(INBOX_FULL, "a leader dropped a learner of which too many requests waited")              \
	X(LOST_VOTE, "a notification was lost")                                                    \
	X(WRONG_HINT, "an election named an arbitrary leader")                                     \
	X(FLIPPED_BIT, "a bit of a tree was flipped, and a digest differed for it")                \
	X(CLIENT_GONE, "a client broke its connection with requests under way")                    \
	X(MOVED, "a session went on at another server")                                            \
	X(DEAD_CLIENT, "a client died, its session has to expire")

/* What happened, beside faults. */
#define W_COUNTS(X)                                                                                \
	X(TXNS, "transactions published")                                                          \
	X(ACKED, "writes answered")                                                                \
	X(LOST_ANSWERS, "writes whose connection was lost before the answer")                      \
	X(RESENT, "requests sent again after DOWN_EPOCH")                                          \
	X(DOUBTS, "connections closed for a doubt")                                                \
	X(SYNCS, "syncs answered")                                                                 \
	X(SESSIONS, "sessions made")                                                               \
	X(RESUMED, "sessions resumed")                                                             \
	X(UPGRADED, "local sessions that became global")                                           \
	X(EXPIRED, "sessions closed by nobody")                                                    \
	X(FORWARDED, "requests forwarded to a leader, or a master")                                \
	X(OBSERVED, "times that an observer came into service")                                    \
	X(RELAYED, "requests forwarded by an observer to a follower")                              \
	X(SNAPSHOTS, "snapshots written")                                                          \
	X(STATES, "states sent to learners")                                                       \
	X(INSTALLS, "states installed")                                                            \
	X(CUTS, "logs cut")                                                                        \
	X(LIVES, "lives of writers")                                                               \
	X(SERVED, "times that a server came into service")

enum w_fault {
#define W_ENUM(name_, text_) W_##name_,
	W_FAULTS(W_ENUM) W_FAULTS_N,
};
enum w_count {
#define W_COUNT_ENUM(name_, text_) N_##name_,
	W_COUNTS(W_COUNT_ENUM) N_COUNTS,
};

struct w_result {
	uint64_t hash, events, virtual_ms;
	uint64_t fault[W_FAULTS_N], count[N_COUNTS];
	char why[512]; /* "" or what failed */
};

/* --- world.c: queue, randomness, faults ------------------------------------------------------ */

enum w_event_kind {
	EV_TURN,   /* the writer's loop */
	EV_LOG,    /* the batch at the disk */
	EV_HELPER, /* the helper thread */
	EV_SNAP,   /* the snapshotter */
	EV_BOOT,   /* the supervisor forks a writer; arg: all is new */
	EV_WORKER, /* the worker's turn */
	EV_PUMP,   /* something lazy of a connection is made; arg: peer */
	EV_NET,    /* bytes arrive */
	EV_CLOSED, /* an end hears that the other is gone */
	EV_DIAL,
	EV_ELECT,
	EV_VOTE,
	EV_VOTE_TIMER,
	EV_CLIENT,
	EV_FAULT,
	EV_SPACE,
	EV_FLIP,   /* a bit of a learner's tree, when all is calm */
	EV_LINGER, /* the place of a peer is free again */
};

uint64_t w_random(void);
uint64_t w_below(uint64_t n);
static inline uint64_t w_between(uint64_t low, uint64_t high)
{
	return low + w_below(high - low + 1);
}
static inline bool w_chance(unsigned percent)
{
	return w_below(100) < percent;
}

struct w_node;

/* life: of the writer or, by the kind, of what it is about; void when that has another by then. */
void w_at(uint64_t delay_us, enum w_event_kind kind, int who, uint32_t life, uint64_t arg);
void w_fired(enum w_fault fault);
void w_count(enum w_count what);
void w_hash(uint64_t word);
void w_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A property does not hold: the run ends. */
_Noreturn void w_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool w_calm(void);

/* Run a seed; fills *result also when it ends early. */
void w_run(uint64_t seed, bool trace, struct w_result *result);

/* --- member.c: a server ---------------------------------------------------------------------- */

struct w_worker;

struct w_node {
	int id;                            /* index; sid = id + 1 */
	bool observer;                     /* behind the voters */
	bool up;                           /* board and worker are there */
	bool writer_up;                    /* its loop turns */
	uint32_t life, group;              /* of the writer; of board and worker */
	uint64_t paused_until_us, turn_us; /* turn_us: when the next turn is due; 0: none queued */
	uint64_t skew_ms;
	int64_t wall_skew_ms;
	struct conf conf;
	char members[512];
	struct shm_heritage h;
	uint32_t generation;
	struct wtr_life *writer;

	struct memfs *disk, *base; /* base: all of it is on the disk for good */
	struct sto_fs fs;          /* the disk's, with what may happen in between */
	uint64_t die_in;           /* calls until it is killed; 0: not */
	bool die_by_power, sync_fails, full, disk_failed;
	uint64_t slow_disk_until_us;

	/* The log thread and the helper. */
	struct wtr_log *log;
	struct wtr_helper *helper;
	bool helper_due, snap_due;

	struct peer_links *links[W_PORTS];
	struct peer_elector *elector;
	struct w_worker *worker;
	bool flipped, found; /* a bit of its tree, which its snapshots may have, too */
	int64_t shown_zxid; /* what the tree was published as of in any life since the last power */
};

extern struct w_node w_nodes[W_NODES_MAX];
extern int w_n_nodes, w_n_voters;
extern struct w_node *w_now; /* whose code runs */

void w_node_init(struct w_node *n, int id);
void w_node_boot(struct w_node *n, bool all);
void w_node_event(struct w_node *n, enum w_event_kind kind, uint64_t arg);
/* Let the writer turn soon. */
void w_node_wake(struct w_node *n);
/* The writer ends at this instant: does not return if it is its own code that runs. */
_Noreturn void w_node_die(int status);
/* From outside. */
void w_node_kill_writer(struct w_node *n);
void w_node_crash(struct w_node *n, bool power);
bool w_node_serves(const struct w_node *n);
uint64_t w_node_ms(const struct w_node *n);

/* --- links.c, elector.c: stand-ins of peers/ -------------------------------------------------- */

void w_net_reset(void);
bool w_net_open(int a, int b);
void w_net_cut(int a, int b, uint64_t us);
void w_net_slow(int a, int b, uint64_t us);
void w_net_heal(void);
bool w_net_break_one(void);
void w_net_event(enum w_event_kind kind, int who, uint32_t life, uint64_t arg);
/* The node's writer is gone, and its sockets with it. */
void w_links_died(struct w_node *n);
void w_links_event(struct w_node *n, enum w_event_kind kind, uint64_t arg);
void w_elector_died(struct w_node *n);
void w_elector_event(struct w_node *n, enum w_event_kind kind, uint64_t arg);
void w_vote_reset(void);

/* --- stand.c: stand-ins of threads and system ------------------------------------------------- */

void w_log_event(struct w_node *n);
void w_helper_event(struct w_node *n);

/* --- worker.c: a worker, and its clients ------------------------------------------------------ */

void w_clients_reset(void);
void w_worker_new(struct w_node *n);
/* Processes of that server are gone: so are connections. */
void w_worker_died(struct w_node *n);
void w_worker_event(struct w_node *n);
void w_worker_wake(struct w_node *n);
void w_client_event(int who);
void w_clients_end(void);

/* --- check.c: one truth ---------------------------------------------------------------------- */

void w_check_reset(void);
/* n has applied this entry; its tree is as after it. live: it may be shown now. */
void w_check_applied(struct w_node *n, const uint8_t *entry, uint32_t len,
		     const struct wtr_apply *a);
/* n has loaded a snapshot, or come to life with a tree. */
void w_check_recovered(struct w_node *n, const struct shm_tree *t, int64_t zxid);
/* The client got an answer to a write. */
void w_check_answer(int64_t session, int32_t xid, int64_t zxid, int32_t err);
/* The last zxid that somebody was told. */
int64_t w_check_told(void);
void w_check_end(void);

struct w_world {
	uint64_t now_us, end_us, calm_us;
	bool trace, real_election, separate_log, digests, locals, masters;
	uint32_t tick_ms, vote_ms;
	unsigned wrong_hint_percent, client_gap_us, fault_gap_ms, sync_us;
	int n_clients;
	size_t inbox_max; /* 0: the usual one */
	struct w_result result;
};
extern struct w_world w;

/*
 * sim.h - an ensemble in one process: the real ZAB core, and models of all that surrounds it
 *
 * One queue of events ordered by time, one source of randomness: a seed decides everything that
 * happens, and gives the same run again. README.md says what is modelled how.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quorum/bug.h"
#include "quorum/election.h"
#include "quorum/zab.h"

enum { SIM_NODES_MAX = 9, SIM_CONNS_MAX = 256, SIM_LINE_MAX = 2048 };

/* --- what happens -------------------------------------------------------------------------- */

/* Kinds of faults, each counted when it took effect. */
#define SIM_FAULTS(X)                                                                              \
	X(CRASH, "process killed")                                                                 \
	X(CRASH_ALL, "all processes killed")                                                       \
	X(POWER, "power cut: unsynced writes lost, torn or reordered")                             \
	X(LOST_WRITE, "an unsynced write was lost in a power cut")                                 \
	X(TORN_WRITE, "a write was torn: a later one survived, it did not")                        \
	X(UNDONE_CUT, "a cut of the log was undone by a power cut")                                \
	X(CRASH_AT_STORE, "killed just before epochs were stored")                                 \
	X(CRASH_AFTER_STORE, "killed after epochs were stored, before anything was sent")          \
	X(LOST_LOG, "a log lost its end, and the member knows")                                    \
	X(PAUSE, "process stopped for a while")                                                    \
	X(CLOCK_JUMP, "clock jumped ahead")                                                        \
	X(RESET, "connection reset")                                                               \
	X(CUT_ONE_WAY, "a link cut in one direction")                                              \
	X(ISOLATE, "a member cut off from all others")                                             \
	X(HALVES, "the ensemble cut in two")                                                       \
	X(SLOW_LINK, "a link slow for a while")                                                    \
	X(SLOW_DISK, "syncs slow for a while")                                                     \
	X(SYNC_ERROR, "a sync failed")                                                             \
	X(DISK_FULL, "a disk was full for a while")                                                \
	X(LOST_VOTE, "a notification was lost")                                                    \
	X(DOUBLE_VOTE, "a notification came twice")                                                \
	X(WRONG_HINT, "an election named an arbitrary leader")

enum sim_fault {
#define SIM_FAULT_ENUM(name_, text_) SIM_##name_,
	SIM_FAULTS(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
	    SIM_FAULTS_N
};

/* What a run came to. */
struct sim_result {
	uint64_t seed, hash, events, writes, acked, committed, elections, snaps, diffs, truncs;
	uint64_t virtual_ms;
	uint64_t fault[SIM_FAULTS_N];
};

/* --- one source of randomness -------------------------------------------------------------- */

uint64_t sim_random(void);
/* 0..n-1 */
uint64_t sim_below(uint64_t n);
static inline uint64_t sim_between(uint64_t low, uint64_t high)
{
	return low + sim_below(high - low + 1);
}
static inline bool sim_chance(unsigned percent)
{
	return sim_below(100) < percent;
}

/* --- the state that is replicated ---------------------------------------------------------- */

struct sim_entry {
	int64_t zxid;
	uint64_t value; /* which write it is, 1..; each is submitted once */
};

/* The stand-in of the tree: a count and a digest of all that was applied, in order. */
struct sim_state {
	int64_t zxid;
	uint64_t count, digest;
};

void sim_apply(struct sim_state *s, const struct sim_entry *e);

/* --- disk.c: log, snapshots and epochs of a member ------------------------------------------ */

struct sim_log {
	struct sim_entry *e;
	uint32_t *batch; /* number of the write that brought it: a write survives whole or not */
	uint32_t n, cap;
	uint32_t written; /* a sync that is under way covers these */
	uint32_t synced;  /* on stable storage */
	uint32_t lost;    /* 0; else 1 + index of what a sync said to have, and has not */
	int64_t base;     /* zxid before the first */
};

struct sim_disk {
	int64_t accepted_epoch, current_epoch;
	bool must_sync;
	struct sim_log log, staged_log;
	bool staged;              /* since SNAP: appends go to staged_log */
	struct sim_state snap[2]; /* [0]: the newest; zxid -1: none */
	struct sim_state staged_snap;
	struct sim_log uncut; /* the log before a cut that is not durable */
	bool cutting, syncing, full, sync_fails;
	uint32_t batch;
	uint64_t slow_until_us;
	struct sim_entry *ghost; /* only with a bug: records that should have gone */
	uint32_t n_ghosts;
};

void sim_disk_format(struct sim_disk *d);
void sim_disk_free(struct sim_disk *d);
struct sim_log *sim_disk_log(struct sim_disk *d);
void sim_disk_append(struct sim_disk *d, struct sim_entry e);
/* Entry after `zxid`; NULL: there is none. */
const struct sim_entry *sim_log_after(const struct sim_log *log, int64_t zxid);
int64_t sim_log_last(const struct sim_log *log);
/* The last zxid on stable storage. */
int64_t sim_log_synced(const struct sim_log *log);
void sim_disk_cut(struct sim_disk *d, int64_t zxid);
void sim_disk_stage(struct sim_disk *d, const struct sim_state *snap);
void sim_disk_unstage(struct sim_disk *d);
void sim_disk_install(struct sim_disk *d);
void sim_disk_snapshot(struct sim_disk *d, const struct sim_state *s);
/* The process is gone; with `power` unsynced writes are in doubt, too. Leaves what a restart
 * finds; `lose`: a part of the log is gone, which is noticed. */
void sim_disk_crash(struct sim_disk *d, bool power, bool lose);

/* --- net.c: connections that keep order, delay, stall and break ------------------------------ */

struct sim_message {
	struct zab_packet packet;
	uint64_t value;         /* PROPOSAL, INFORM, REQUEST */
	struct sim_state state; /* SNAP */
	uint64_t sync_at;       /* SYNC request: what the asker must see afterwards */
};

void sim_net_reset(void);
/* Is the way from node a to node b open? */
bool sim_net_open(int a, int b);
void sim_net_cut(int a, int b, uint64_t us);
void sim_net_slow(int a, int b, uint64_t us);
/* All cuts and slow links are over. */
void sim_net_heal(void);
/* Learner a dials leader b. */
void sim_net_dial(int a, int b);
/* Send through connection c as node `from`. */
void sim_net_send(int c, int from, const struct sim_message *m);
/* Close as node `from`; the other end hears of it if the way is open. */
void sim_net_close(int c, int from);
/* Break it for both ends. */
bool sim_net_reset_one(void);
/* A node died: its connections break. */
void sim_net_died(int node);

/* --- node.c: a member: the core, and the loop around it --------------------------------------- */

struct sim_node {
	int id; /* index; sid = id + 1 */
	bool up, observer;
	uint32_t life; /* incarnation: events of an earlier one are void */
	uint64_t paused_until_us, skew_ms;
	struct zab zab;
	struct sim_disk disk;
	struct sim_state state;    /* published */
	struct sim_state snapshot; /* is being written */
	bool snapshotting;
	bool electing; /* an event EV_ELECT is queued */
	struct fle fle;
	uint64_t vote_us;             /* when the earliest EV_VOTE_TIMER is due; 0: none */
	int64_t promised;             /* the greatest epoch, in any life */
	uint64_t shown;               /* count of what was published in any life */
	int conn;                     /* learner: to the leader; -1 */
	int peer_conn[ZAB_PEERS_MAX]; /* of a leader's learners, a follower's observers (1..) */
	int tries;
	bool snap_pending;
	uint64_t timer_us;     /* when the earliest timer event is due; 0: none */
	uint32_t sync_life;    /* syncs of an earlier number are void */
	uint64_t syncs_at[64]; /* forwarded syncs: what must be visible at their answer */
	int syncs_for[64];     /* .. and whose they are: an observer by its number; 0: ours */
	uint32_t sync_head, n_syncs;
	bool lose_log, armed_before_store, armed_after_store;
};

void sim_node_init(struct sim_node *n, int id, bool observer);
void sim_node_free(struct sim_node *n);
void sim_node_boot(struct sim_node *n);
void sim_node_crash(struct sim_node *n, bool power);
void sim_node_stop(struct sim_node *n);
bool sim_node_serves(const struct sim_node *n);
/* A write or sync of a client of this member. */
void sim_node_write(struct sim_node *n, uint64_t value);
void sim_node_sync(struct sim_node *n);
void sim_node_event(struct sim_node *n, int kind, uint64_t arg);
/* The election names sid; still LOOKING afterwards: it has to go on. */
void sim_node_elected(struct sim_node *n, int64_t sid);
uint64_t sim_node_now_ms(const struct sim_node *n);
/* net.c tells */
void sim_node_connected(struct sim_node *n, int c, bool as_leader);
bool sim_node_listens(const struct sim_node *n);
void sim_node_no_connection(struct sim_node *n);
void sim_node_lost(struct sim_node *n, int c);
void sim_node_receive(struct sim_node *n, int c, const struct sim_message *m);

/* --- vote.c: the election, real or a stand-in, and its messages --------------------------------
 */

void sim_vote_reset(void);
void sim_vote_boot(struct sim_node *n);
/* n is LOOKING; it votes as soon as its log is drained. */
void sim_vote_look(struct sim_node *n);
void sim_vote_serving(struct sim_node *n);
void sim_vote_event(struct sim_node *n, int kind, uint64_t arg);

/* --- check.c: one truth that all members must agree with -------------------------------------- */

void sim_check_reset(void);
/* A new write; its number. */
uint64_t sim_check_issue(int node, uint32_t life);
/* Node n has published e; s is its state after that. */
void sim_check_published(struct sim_node *n, const struct sim_entry *e);
/* Node n's state is a snapshot's, or n entered service with it. */
void sim_check_state(const struct sim_node *n, const struct sim_state *s, const char *where);
void sim_check_serving(const struct sim_node *n);
/* What n is about to send claims something: is it durable? */
void sim_check_claim(struct sim_node *n, const struct zab_send *s);
void sim_check_why(const struct sim_node *n, const char *why);
/* All have recovered: is everything there, everywhere? */
void sim_check_end(void);

/* --- run.c: the run of a seed ------------------------------------------------------------------
 */

enum sim_event_kind {
	EV_TIMER,
	EV_SYNC_DONE,
	EV_CUT_DONE,
	EV_STATE_STORED,
	EV_SNAPSHOT_DONE,
	EV_ELECT,
	EV_BOOT,
	EV_DIAL,
	EV_DELIVER,
	EV_CLOSED,
	EV_WRITE,
	EV_FAULT,
	EV_SPACE,
	EV_CRASH,
	EV_VOTE,
	EV_VOTE_TIMER,
};

/* The world of the run that goes on. */
struct sim {
	uint64_t now_us, end_us, calm_us; /* no faults after calm_us */
	int n_nodes, n_voters;
	uint32_t tick_ms;
	bool real_election;
	bool masters;     /* observers follow any voter, by followers too */
	bool silent_end;  /* no writes after the faults */
	uint32_t vote_ms; /* the real one's waits */
	bool strict;      /* check claims where they are made, not only what comes of them */
	unsigned wrong_hint_percent, write_gap_us, fault_gap_ms, sync_us;
	uint64_t snapshot_every; /* transactions */
	uint32_t diff_max;
	struct sim_node node[SIM_NODES_MAX];
	struct quorum_config config;
	struct sim_result result;
	void *trace; /* FILE; NULL */
};

extern struct sim sim;

/* who: node or connection; life: void when the node has another one by then. */
void sim_at(uint64_t delay_us, enum sim_event_kind kind, int who, uint32_t life, uint64_t arg);
void sim_fired(enum sim_fault fault);
void sim_hash(uint64_t word);
void sim_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A property does not hold: the run ends. */
_Noreturn void sim_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Run a seed. NULL, or what failed. */
const char *sim_run(uint64_t seed, bool strict, void *trace, struct sim_result *result);

/*
 * zab.h - ZAB as a step function: no clock, socket, file, allocation or randomness
 *
 * Same state, same events: same output. The caller (writer/, tests/sim) performs what the output
 * says and feeds back what happened. A standalone server is a quorum of one: the same steps, with
 * itself as the only voter. The core names transactions by zxid alone; their bytes, the log, the
 * snapshots and the connections are the caller's.
 *
 * Facts kept apart: submitted (proposed), durable here (logged), decided (a quorum has it
 * durable), committed (decided, durable here, and this server in service): what is published is
 * committed, so it is never rolled back (V1, V2). What a restart finds in the log beyond the last
 * snapshot is a tail: it is not published until a leader has spoken.
 *
 * Roles: an election (election.h) is only a hint who should lead; ZAB_ELECTED brings it. Every way
 * out of a role leads to LOOKING. The vote is zab_vote(), and may be cast when zab_drained().
 *
 *	leader    DISCOVERY -> EPOCH -> SYNC -> SERVING      quorum.md 3.4, 3.7, 3.8
 *	learner   CONNECT -> HELLO -> ACKED -> SYNC -> STORING -> NLACKED -> ACTIVE     3.18
 *
 * A follower that serves observers (3.14) has, while it is ACTIVE, peers of its own: observers are
 * 1..ZAB_PEERS_MAX-1, peer 0 is its leader. They are told what is decided, as a leader tells its.
 *
 * What the caller owes:
 * - The output is carried out in the order of the members of struct zab_out: what the flags say to
 *   store is durable before anything is sent.
 * - The log is one queue: append, cut, append.. in the order of the outputs. ZAB_DURABLE tells how
 *   far it is on stable storage; ZAB_READY that a cut is, or a received snapshot.
 * - From `snapshot_zxid` on, received state and appended transactions are staged beside the old
 *   history. ZAB_OUT_INSTALL, stored in one step with the epochs, puts them in its place; a crash
 *   before it leaves the old history, and so does ZAB_OUT_UNSTAGE. After it nothing of the old one
 *   is found again: no record and no snapshot above the new one (quorum.md I10).
 * - Snapshots are taken of published state only (I11).
 * - Packets of a connection are fed in order, whole and decoded; after SNAP none before ZAB_READY.
 *
 * Trust: a peer's packet may be anything. What may not be closes that connection; `why` says it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "quorum/config.h"
#include "quorum/history.h"
#include "quorum/packet.h"

enum zab_role { ZAB_LOOKING, ZAB_LEADING, ZAB_FOLLOWING, ZAB_OBSERVING };

enum zab_phase {
	ZAB_IDLE,
	ZAB_DISCOVERY, /* leader: collects promises, the epoch is not fixed */
	ZAB_EPOCH,     /* leader: the epoch is promised here, collects ACKEPOCH */
	ZAB_SYNC,      /* leader: collects ACK of NEWLEADER; learner: DIFF, TRUNC or SNAP came */
	ZAB_SERVING,   /* leader */
	ZAB_CONNECT,   /* learner: no connection yet */
	ZAB_HELLO,     /* learner: FOLLOWERINFO sent */
	ZAB_ACKED,     /* learner: ACKEPOCH sent */
	ZAB_STORING,   /* learner: NEWLEADER came, the history is not durable yet */
	ZAB_NLACKED,   /* learner: NEWLEADER acknowledged */
	ZAB_ACTIVE,    /* learner in service */
};

enum {
	ZAB_WINDOW = 1 << 16, /* transactions submitted and not durable, or not decided */
	ZAB_PEERS_MAX = 128,  /* connections of learners */
	ZAB_SYNCS_MAX = 1024, /* syncs that wait for a commit */
	ZAB_SENDS_MAX = ZAB_PEERS_MAX * 8 + ZAB_SYNCS_MAX * 2,
	ZAB_ALL = -1
};

/* A packet without its bytes. Which fields count: packet.h, by type. */
struct zab_packet {
	int32_t type;          /* enum quorum_packet_type */
	int32_t current_epoch; /* ACKEPOCH: -1 is no ack */
	int64_t zxid;
	int64_t sid;                        /* FOLLOWERINFO, OBSERVERINFO; designated leader */
	int64_t config_version;             /* FOLLOWERINFO, OBSERVERINFO */
	const struct quorum_config *config; /* NEWLEADER, PROPOSAL and INFORM of a reconfig; NULL */
};

enum zab_event_type {
	ZAB_START,   /* recovered: see struct zab_start */
	ZAB_SUBMIT,  /* leader: the next transaction, zxid = zab_next_zxid(); config: a reconfig */
	ZAB_DURABLE, /* our log is on stable storage up to zxid */
	ZAB_TIMEOUT, /* the deadline of the last output has come */
	ZAB_ELECTED, /* sid: whom the election names; must be drained */
	ZAB_CONNECTED, /* leader: a learner dialled, as `peer`; learner: the leader answers (peer 0)
			*/
	ZAB_LOST,      /* the connection `peer` is gone */
	ZAB_RECEIVE,   /* packet from `peer` */
	ZAB_READY,     /* the cut, or the snapshot received, is durable */
	ZAB_SYNC_ASKED, /* leader: `peer` forwarded a sync; answered when what is submitted is
			   decided */
	ZAB_TRIM,       /* the log can't be read any more up to zxid, which is committed */
	ZAB_STATE,      /* a snapshot of published state as of zxid is stored; never goes back */
	ZAB_STOP,       /* leave the role: a fault of the disk, an operator */
	ZAB_CONFIG,     /* looking: peers have committed that newer configuration */
};

/* What recovery found. The tail is durable: it was synced before this. */
struct zab_start {
	int64_t accepted_epoch; /* not below current_epoch, nor below the epoch of the log's end */
	int64_t current_epoch;
	int64_t committed_zxid; /* known to be committed: the newest snapshot's zxid, or more */
	int64_t state_zxid; /* of that snapshot, whose name may be the start of an epoch above it */
	const struct zab_history *history; /* NULL: nothing but committed_zxid */
	bool must_sync; /* a part was lost or can't be read: no vote before a leader's SNAP (V11) */
	bool wants_state; /* the log is whole, the state in doubt: ask once for SNAP (V10) */
};

struct zab_event {
	enum zab_event_type type;
	uint64_t now_ms; /* monotonic, never less than before */
	int64_t zxid;    /* SUBMIT, DURABLE, TRIM, STATE; START of a standalone server */
	int32_t peer;    /* CONNECTED, LOST, RECEIVE, SYNC_ASKED: 0..ZAB_PEERS_MAX-1; a
			    learner's leader is 0 */
	int64_t far_zxid; /* STATE: to learners below it the state is less to send than the log */
	int64_t sid;     /* ELECTED */
	const struct zab_start *start;
	const struct zab_packet *packet; /* RECEIVE */
	/* SUBMIT of a reconfig, CONFIG; it stays while z refers to it: committed, last_seen,
	 * proposed. So does each that a packet brings. */
	const struct quorum_config *config;
};

enum zab_send_kind {
	ZAB_SEND_PACKET,  /* `packet`, to peer */
	ZAB_SEND_RANGE,   /* `packet.type` for each of first..last, of one epoch: PROPOSAL, COMMIT,
			     INFORM, ACK */
	ZAB_SEND_HISTORY, /* PROPOSAL and COMMIT of all that the log has in (first, last] */
	ZAB_SEND_STATE,   /* SNAP of packet.zxid, then the state as of it: the snapshot of ZAB_STATE
			   */
	ZAB_SEND_CLOSE,   /* behind all that was sent before: close */
};

struct zab_send {
	enum zab_send_kind kind;
	int32_t peer;
	int64_t first, last;
	struct zab_packet packet;
};

enum zab_flag {
	ZAB_OUT_EPOCHS = 1,    /* store accepted_epoch and current_epoch; one atomic record */
	ZAB_OUT_INSTALL = 2,   /* .. and what was staged takes the place of the history */
	ZAB_OUT_UNSTAGE = 4,   /* forget what was staged; nothing of it becomes durable any more */
	ZAB_OUT_ROLE = 8,      /* role changed: LOOKING has closed all connections */
	ZAB_OUT_CONNECT = 16,  /* dial leader_sid's quorum port */
	ZAB_OUT_LISTEN = 32,   /* take learners at the quorum port, at once (quorum.md 2.7); as
				  a follower, observers at its port for them */
	ZAB_OUT_SERVE = 64,    /* in service from now on; what the vote says is refreshed */
	ZAB_OUT_DELIVER = 128, /* the packet received is the caller's: REQUEST, REVALIDATE, SYNC,
				  touches of a PING; learner: a PING to answer with touches */
	ZAB_OUT_CONFIG = 256,  /* committed or last_seen changed: store them */
	ZAB_OUT_STATE = 512,   /* a learner waits for a newer state: make a snapshot, ZAB_STATE */
};

/* `send` belongs to z and is valid until the next step. */
struct zab_out {
	uint32_t flags; /* enum zab_flag */
	uint32_t n_send;
	int64_t cut_zxid;      /* -1; else TRUNC: records above it go; then ZAB_READY */
	int64_t snapshot_zxid; /* -1; else read the stream behind SNAP, stage it; then ZAB_READY */
	int64_t append_zxid;   /* 0; else this transaction goes to the log now */
	const struct zab_send *send;
	int64_t commit_zxid;  /* apply and publish up to here */
	uint64_t deadline_ms; /* come back with ZAB_TIMEOUT then; UINT64_MAX = not needed */
	const char *why;      /* NULL; else why a role or connection ended: static text */
};

struct zab_options {
	int64_t sid;
	bool standalone; /* a quorum of one that keeps its epoch, as a lone ZooKeeper server does */
	bool observer;   /* at the start; then as the committed configuration says, if it does */
	bool serves_observers; /* as a follower in service: observers are its peers 1.. */
	bool rejoin_step_down; /* give up once for a voter that has promised a later epoch: 3.4 */
	uint32_t tick_ms, init_limit, sync_limit; /* limits in ticks */
	uint32_t diff_max; /* a learner that lacks more transactions gets a state; 0: no bound */
	/* NULL if standalone; last_seen may be NULL. They stay while z refers to them. */
	const struct quorum_config *committed, *last_seen;
	/* reconfigEnabled: room for the committed configuration with the version that the first
	 * leader gives it (quorum.md 3.7). NULL: configurations have no versions. */
	struct quorum_config *first;
};

enum zab_peer_phase {
	ZAB_PEER_NONE,
	ZAB_PEER_HELLO,  /* connected */
	ZAB_PEER_INFO,   /* its promise came, the epoch is not fixed */
	ZAB_PEER_ACKE,   /* LEADERINFO sent */
	ZAB_PEER_ACKED,  /* ACKEPOCH came */
	ZAB_PEER_SYNC,   /* NEWLEADER is queued: all that is proposed goes there, too */
	ZAB_PEER_ACTIVE, /* UPTODATE is queued */
};

/* A learner's connection, at the leader. */
struct zab_peer {
	uint8_t phase;
	bool observer;
	bool epoch_acked; /* counts in the quorum of ACKEPOCH */
	bool waits;       /* for a state as of wanted_zxid, or later */
	bool held;        /* follower: what it has is not committed here yet */
	int64_t wanted_zxid;
	int64_t sid, last_zxid;
	int64_t acked;      /* epoch << 32: NEWLEADER; else the last transaction of this epoch */
	int64_t early;      /* of a transaction, before that of NEWLEADER */
	int64_t timed_zxid; /* 0; else the proposal whose ACK is due */
	uint64_t timed_ms, deadline_ms;
};

struct zab_sync {
	int32_t peer;
	int64_t zxid;
};

struct zab {
	struct zab_options opt;
	const struct quorum_config *committed, *last_seen;
	enum zab_role role;
	enum zab_phase phase;
	bool started, must_sync;
	bool wants_state; /* until a leader was asked */
	uint64_t now_ms;
	uint64_t phase_ms; /* when the phase expires; UINT64_MAX: never */
	const char *why;

	/* Durable, or to be stored by ZAB_OUT_EPOCHS. */
	int64_t accepted_epoch, current_epoch;

	/* The log. */
	struct zab_history history;
	int64_t last_zxid, durable_zxid, commit_zxid;
	int64_t state_zxid; /* of the newest snapshot */
	int64_t far_zxid;   /* a learner below it gets that, though the log has what it lacks */
	bool staged, ready; /* ready: no cut and no snapshot is under way */
	struct {
		struct zab_history history;
		int64_t last_zxid;
	} old; /* what staging will replace */

	int64_t epoch; /* of this leadership */
	int64_t leader_sid;
	int64_t decided_zxid; /* leader: a quorum has it; learner: the leader said so */
	int64_t initial_zxid; /* leader: end of the initial history; learner: as of NEWLEADER */

	/* Learner */
	int64_t acked_zxid;
	const struct quorum_config *proposed; /* NEWLEADER's, until UPTODATE; or a reconfig's */

	/* Leader */
	int64_t start_epoch;   /* current_epoch when it began to lead */
	int64_t reconfig_zxid; /* 0; else proposed and not decided */
	uint64_t ping_ms, check_ms, rejoin_ms;
	int32_t peers_end; /* no peer at or above */
	struct zab_peer peer[ZAB_PEERS_MAX];
	uint32_t sync_head, n_syncs;
	struct zab_sync sync[ZAB_SYNCS_MAX];

	uint32_t n_send;
	struct zab_send send[ZAB_SENDS_MAX];
};

void zab_init(struct zab *z, const struct zab_options *options);

/* The zxid that the next ZAB_SUBMIT must carry. Leader only. */
int64_t zab_next_zxid(const struct zab *z);

/* Does this leader take n more submissions now? */
bool zab_has_room(const struct zab *z, uint32_t n);

/* Is all that was appended durable, and nothing under way? */
bool zab_drained(const struct zab *z);

/* What an election is told of this server. zxid -1: it neither counts nor is counted. */
struct zab_vote {
	int64_t epoch, zxid;
};

struct zab_vote zab_vote(const struct zab *z);

/* Leader: are a quorum of `config`'s voters in service here? Before a reconfiguration is proposed.
 */
bool zab_would_have_quorum(const struct zab *z, const struct quorum_config *config);

/*
 * 0; -EBUSY: window or table full, or not drained: later; -EPROTO: an event that can't be (in this
 * role, or against what is known), the caller's mistake. On error nothing has changed.
 */
int zab_step(struct zab *z, const struct zab_event *event, struct zab_out *out);

/* One line, without its end, about a step that was just taken. The length, cut to size - 1. */
size_t zab_trace(const struct zab *z, const struct zab_event *event, const struct zab_out *out,
		 char *line, size_t size);

/* Every invariant that holds between steps; aborts. */
void zab_check(const struct zab *z);

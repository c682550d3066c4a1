/*
 * election.h - Fast Leader Election as a step function
 *
 * Servers that look for a leader tell each other whom they vote for, take over better votes, and
 * end when a quorum says the same and nobody says something new for a while; or when a quorum
 * already follows a leader. The result is a hint: what makes it safe is discovery (ZAB). Rules are
 * those of FastLeaderElection (lookForLeader, Messenger.WorkerReceiver) and of Vote.equals.
 *
 *	LOOKING --a quorum votes for me------------> LEADING
 *	LOOKING --for another, or follows it-------> FOLLOWING, as observer: OBSERVING
 *	LEADING, FOLLOWING, OBSERVING --FLE_LOOK---> LOOKING (the caller lost its leader or quorum)
 *	FLE_APPOINT: between the last three, when a reconfiguration names the leader
 *
 * A vote is (leader, zxid, peer epoch), compared as (peer epoch, zxid, leader); it is cast in a
 * round. Votes of a round are dropped when a higher round is heard of. Server and leader must be
 * voters of the committed or of the last seen configuration; others are answered, not counted.
 *
 * Invariants, checked after each step in builds with DEBUG, E3 always:
 * E1	A proposal is our own first vote of the round, or names a voter whose weight is not 0.
 * E2	Within a round our proposal only gets better.
 * E3	We end only with a quorum of the same votes in each configuration that must agree.
 * E4	One step sends one message, to voters or to the one who asked or connected.
 * E5	The stored vote (fle->vote) changes when an election ends, with FLE_APPOINT, and, its peer
 *	epoch alone, with FLE_SERVING. Without that last, late joiners find no quorum of same votes.
 *
 * Where this differs from Apache's servers, to nobody's harm: notifications that come in the quiet
 * time are counted, not dropped; a
 * voter whose vote is worse is answered, for it may have read ours while it did not look; only news
 *lengthen it (a repeated vote is none), and a repeated broadcast is not put off by messages; a
 *voter that connects is told our vote at once, not the last message that was sent to it; rounds
 *survive a change of the configuration. Who does not vote itself answers nobody, and strangers are
 *answered only while they look, with our proposal if we look, too, in the newer of both rounds, and
 *FLE_STRANGERS_MAX times per FLE_STRANGERS_MS: else two servers that don't count each other's votes
 *would answer each other's answers for ever.
 *
 * Pure: no clock, socket, file, allocation or randomness (the seed is in the options). Same state
 * and events, same output. struct fle has no pointers but to the caller's configurations.
 *
 * The caller keeps one message per peer, the newest (a message to send replaces what waits), dials
 * those for whom one waits, as notify.h says, and reports each connection by FLE_CONNECTED.
 */
#pragma once

#include "quorum/notify.h"

enum fle_event_type {
	FLE_LOOK,      /* look for a leader, from now on or anew */
	FLE_RECEIVE,   /* a notification came */
	FLE_TIMEOUT,   /* the deadline of the last output has come */
	FLE_CONNECTED, /* there is a new connection, from or to that server */
	FLE_CONFIG,    /* other configurations hold; looking begins anew, if we are */
	FLE_SERVING,   /* our leadership, or our leader's, got its quorum: this epoch is current */
	FLE_APPOINT,   /* a reconfiguration named the leader: no election */
};

struct fle_event {
	enum fle_event_type type;
	uint64_t now_ms; /* monotonic, never less than in the event before */
	union {
		/*
		 * What our log ends with, durable, and the current epoch. last_zxid -1: the
		 * database may have lost what it acknowledged (V11); such a server elects nobody,
		 * and joins an established ensemble only.
		 */
		struct {
			int64_t last_zxid, current_epoch;
		} look;
		struct {
			int64_t from; /* sid of the connection */
			const struct fle_notification *message;
		} receive;
		struct {
			int64_t sid;
		} connected;
		/*
		 * They stay where they are, unchanged, until the next FLE_CONFIG; last_seen may be
		 * NULL. role: ours, in them.
		 */
		struct {
			const struct quorum_config *committed, *last_seen;
			enum quorum_role role;
		} config;
		struct {
			int64_t epoch;
		} serving;
		struct {
			enum fle_state state; /* FOLLOWING, LEADING or OBSERVING */
			int64_t leader, zxid;
		} appoint;
	};
};

struct fle_out {
	uint32_t n_to;     /* send `message` to each of to[], in place of what waits */
	const int64_t *to; /* sids; good until the next step */
	struct fle_notification message; /* its configuration is null: send the committed one's */
	/*
	 * Not NULL: a peer has this newer configuration, and we are looking. Adopt it (store it,
	 * and FLE_CONFIG with a copy), then give the same event again: nothing was done with it so
	 * far. Good until the next step.
	 */
	const struct quorum_config *config;
	bool decided;         /* the election ended in this step: fle->state, fle->vote */
	uint64_t deadline_ms; /* come back with FLE_TIMEOUT then; UINT64_MAX: not needed */
	const char *why;      /* what was done, for the trace; static */
};

struct fle_options {
	int64_t me;
	enum quorum_role role; /* an observer's votes never win, and it ends in OBSERVING */
	bool reconfig;         /* reconfigEnabled; if not, peers' configurations are ignored */
	uint32_t wait_min_ms;  /* fastleader.minNotificationInterval, 200 */
	uint32_t wait_max_ms;  /* fastleader.maxNotificationInterval, 60000 */
	uint32_t quiet_ms;     /* Java's finalizeWait, 200 */
	uint32_t observer_delay_max_ms; /* observer.election.DelayMs, 200: before it looks again */
	uint64_t seed;
};

/* Apache's defaults. */
struct fle_options fle_defaults(int64_t me, enum quorum_role role, uint64_t seed);

enum { FLE_HEARD_MAX = 2 * QUORUM_MEMBERS_MAX, FLE_STRANGERS_MAX = 10, FLE_STRANGERS_MS = 10 };

/* Rounds beyond are nobody's honest count, and ignored: ours must be able to grow. */
#define FLE_ROUND_MAX (INT64_C(1) << 48)

/* A vote as it was received. version 0: by an old server. */
struct fle_ballot {
	struct fle_vote vote;
	enum fle_state state;
	int32_t version;
};

/* What a voter said: in our round, and as a member of an established ensemble, of any round. */
struct fle_heard {
	int64_t sid;
	bool in_round, in_ensemble;
	struct fle_ballot round, ensemble;
};

struct fle {
	struct fle_options options;
	const struct quorum_config *committed, *last_seen; /* last_seen: NULL for none */
	enum fle_state state;
	struct fle_vote
	    vote;     /* of the last election: what who asks is told unless we are looking */
	bool started; /* there was a FLE_LOOK */

	/* While looking. */
	bool waiting;                     /* an observer's delay, until resend_ms */
	int64_t last_zxid, current_epoch; /* of FLE_LOOK */
	struct fle_vote mine;             /* our first vote of each round; its round is not used */
	struct fle_vote proposal;     /* our vote now; its round is the logical clock, also later */
	uint64_t resend_ms, quiet_ms; /* when to broadcast again, to end; UINT64_MAX: not */
	uint32_t wait_ms;
	uint32_t n_heard;
	struct fle_heard heard[FLE_HEARD_MAX];

	uint64_t strangers_ms; /* since when `strangers` were answered */
	uint32_t strangers;
	uint64_t now_ms, random;
	int64_t to[FLE_HEARD_MAX];
	struct quorum_config received; /* scratch for the configuration of a notification */
};

/* Configurations as in FLE_CONFIG. The first event that means something is FLE_LOOK. */
void fle_init(struct fle *f, const struct fle_options *options,
	      const struct quorum_config *committed, const struct quorum_config *last_seen);

/*
 * 0; -EPROTO: an event that can't be: time goes back, or FLE_SERVING while looking, FLE_APPOINT
 * before the first election or of nobody. On error nothing has changed, and *out says nothing.
 */
int fle_step(struct fle *f, const struct fle_event *event, struct fle_out *out);

/* (peer epoch, zxid, leader) of a is greater, and a's leader may be elected. */
bool fle_better(const struct fle *f, const struct fle_vote *a, const struct fle_vote *b);

/* Vote.equals: all of it while one of them is looking, else what members agree on. */
bool fle_same(const struct fle_ballot *a, const struct fle_ballot *b);

/* Every invariant that holds between steps; aborts. */
void fle_check(const struct fle *f);

/*
 * One line, without its end, for the step just taken; its length. For logs and tests:
 *	[   210] 2 < 3 LOOKING 3/100000002/1 r1: better vote -> LOOKING 3/100000002/1 r1 > 1 3 @410
 * votes as leader/zxid/epoch in hexadecimal zxids, `>` to whom it is sent, `@` the deadline.
 */
size_t fle_trace(const struct fle *f, const struct fle_event *event, const struct fle_out *out,
		 char *to, size_t size);

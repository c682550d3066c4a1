/*
 * core.h - what the writer decides: requests in; log entries, transactions and answers out
 *
 * A step function over struct wtr_core: no system call, clock, socket, file or thread. The loop
 * (loop.c) feeds it and carries out what it says; tests and a simulator do the same.
 *
 *	in:	wtr_core_tick	    time passed
 *		wtr_core_request    a record of a worker's up ring
 *		wtr_core_worker_*   a worker died, stalled, runs again
 *		wtr_core_durable    the log is on stable storage up to zxid
 *		wtr_core_replay	    an entry of the log's tail that no worker has seen for sure
 *		wtr_core_step	    anything else that ZAB is to hear of
 *		lead.h, learn.h	    what the others of an ensemble say
 *	out:	wtr_core_take	    the batch of entries that goes to the log next
 *		core->out	    records for the commit ring, framed, in order
 *		core->carry	    what ZAB wants done, step by step (not when standalone)
 *		core->forward	    a learner's packets for its leader
 *		wtr_core_deadline_ms
 *
 * A request becomes a transaction at once, checked against all that was accepted before it
 * (prep.h), and is applied and answered when it is committed and durable (V1): apply puts the
 * DOWN_TXN into `out`. Answers without a transaction go to `out` in the step in which they arise,
 * so that they are published before anything later is logged; a sync, and the DOWN_CLOSE of an
 * expired session, wait for what was submitted before them.
 *
 * A member of an ensemble is in service while it leads or follows (`service`). A learner prepares
 * nothing: it forwards requests, and the transactions that come back find their way by session and
 * cxid. Out of service requests are dropped: workers keep them until DOWN_EPOCH. Local sessions
 * (sessions.h) begin, end and expire here without either.
 *
 * Bounds: WTR_BATCHES batches of WTR_BATCH_BYTES and WTR_BATCH_TXNS (plus one transaction), and
 * WTR_LATER_MAX answers that wait; when they are full wtr_core_ready() is false and requests stay
 * in the up rings. `out` is bounded by the caller, who applies no more while it is long.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/conf.h"
#include "quorum/zab.h"
#include "shm/msg.h"
#include "shm/tree.h"
#include "writer/apply.h"
#include "writer/conns.h"
#include "writer/prep.h"
#include "writer/reaper.h"
#include "writer/report.h"

#ifdef FUZZING
enum {
	WTR_BATCHES = 4,
	WTR_BATCH_BYTES = 1 << 10,
	WTR_BATCH_TXNS = 8,
	WTR_OUT_BYTES = 256,
	WTR_LATER_MAX = 16
};
#else
enum {
	WTR_BATCHES = 4,
	WTR_BATCH_BYTES = 1 << 20,
	WTR_BATCH_TXNS = 8192,
	WTR_OUT_BYTES = 1 << 16, /* apply pauses when `out` is longer */
	WTR_LATER_MAX = 1 << 16, /* syncs, most of all, that wait for what was submitted before */
};
#endif

/* Who decides what a request does: nobody now, this server, its leader; nobody, but clients that
 * are content with reads are let in (readonly.h). */
enum wtr_service { WTR_IDLE, WTR_LEADS, WTR_LEARNS, WTR_READS };

enum { WTR_INDEX = ZAB_WINDOW }; /* entries in flight that can be found by zxid */

/* Who asked for a transaction: where its reply goes. */
struct wtr_origin {
	uint64_t conn;
	uint16_t worker;
	uint32_t members; /* of the transaction that it asked for; by wtr_submit_end() */
};

/* Entries that go to the log together: u32 length (host order) and bytes each. */
struct wtr_batch {
	struct wtr_batch *next;
	uint8_t *bytes;
	size_t len, applied_len;
	int64_t first_zxid, last_zxid;
	uint32_t n, n_applied;
	uint64_t begun_us; /* the loop's: when its first request was taken */
	struct wtr_origin origin[WTR_BATCH_TXNS];
};

/* A session that the leader was asked for: is it alive, and ours from now on? */
struct wtr_asked {
	int64_t session;
	uint64_t conn; /* worker MSG_NO_WORKER: the observer by number that asks; 0: gone */
	int32_t timeout_ms;
	uint16_t worker;
	bool valid; /* it is, but is not known here yet */
};

struct wtr_entry_at {
	const uint8_t *bytes;
	uint32_t len;
};

/* An answer that must stand behind a transaction in flight. */
struct wtr_later {
	int64_t after_zxid;
	struct msg_down head;
};

struct wtr_core {
	const struct conf *conf;
	struct shm_tree *tree;
	struct zk_acl_rules rules;
	struct wtr_pending pending;
	struct wtr_sessions sessions;
	struct wtr_conns conns;
	struct wtr_quota quota;
	struct wtr_prep prep;
	struct wtr_apply apply;
	struct wtr_reaper reaper;
	struct wtr_reports reports;
	struct zab zab;
	struct wtr_configs configs; /* all that zab refers to */
	/* In force, and no transaction's: /zookeeper/config has it before anything later; or NULL.
	 */
	const struct quorum_config *config_due;

	uint64_t now_ms;
	int64_t wall_ms;
	uint32_t epoch;          /* writer_epoch: records for another are dropped */
	uint32_t record_max;     /* longest record of the commit ring */
	bool log_full;           /* set by the loop: the disk has no room for growth */
	bool starved;            /* something was refused for want of memory; the loop clears it */
	uint32_t sessions_roomy; /* sessions when there was room for another the last time */

	struct wtr_batch *fill, *spare;          /* being filled; unused */
	struct wtr_batch *flight, **flight_tail; /* at the log or behind it, oldest first */
	struct wtr_batch *to_log;                /* the first in flight that the log has not got */
	struct wtr_batch *aside; /* the flight of the history that staging replaces */
	uint32_t n_batches;      /* more than WTR_BATCHES while a leader syncs us */
	size_t batch_cap;
	/* Entries not applied yet, fill included; members: a multi counts its own. */
	uint64_t flight_bytes, flight_txns, flight_members;

	struct wtr_later *later; /* ring */
	uint32_t later_head, later_tail, later_cap;

	struct wtr_buf out; /* frames: u32 length, u32 zero, record padded to 8 */

	/* In an ensemble. */
	enum wtr_service service;
	int64_t fuzzy_zxid;         /* storage/member.h */
	int64_t epoch_zxid;         /* the start of the epoch that is served: nobody saw more */
	struct wtr_entry_at *index; /* by zxid modulo WTR_INDEX; NULL when standalone */
	void (*carry)(void *arg, const struct zab_out *out);
	void *carrier;
	struct wtr_buf forward, asked, syncs; /* packets; struct wtr_asked; struct msg_down */
	struct wtr_buf touches;               /* follower: sessions heard of at its observers */
	size_t syncs_done;                    /* bytes of `syncs` that were answered */
	uint64_t touched_ms;                  /* learner: touches up to then were told */
	int64_t applied_zxid;
	/* V10. heeds: a transaction that does not fit the tree, or behind which its digest is not
	 * the logged one, is not told to anybody: it sets `doubts`, and nothing is applied any
	 * more. Else the one aborts, and the other is counted. */
	bool heeds_digest, doubts;
	uint64_t txns, txn_bytes, refused; /* counters, for the board */
	uint64_t changes;                  /* transactions, but a multi counts its members */
};

/* Everything is allocated here; `tree` is as of `zxid`, its sessions are taken over. -ENOMEM. */
int wtr_core_init(struct wtr_core *c, const struct conf *conf, struct shm_tree *tree, int64_t zxid,
		  uint32_t n_workers, uint32_t record_max, uint64_t now_ms, int64_t wall_ms);
void wtr_core_fini(struct wtr_core *c);

/* Time, monotonic and wall. ran: false if we did not run since the last tick. Expires and reaps. */
void wtr_core_tick(struct wtr_core *c, uint64_t now_ms, int64_t wall_ms, bool ran);

/* Is there room for one more request of any kind? Else it stays where it is. */
bool wtr_core_ready(const struct wtr_core *c);

/* Part of that: could a deletion be applied? If not, readers hold too much of what it needs. */
bool wtr_core_has_memory(const struct wtr_core *c);

/*
 * One record of worker `worker`'s up ring, `len` bytes, a copy. 0; -EBADMSG: no honest worker sends
 * that.
 */
int wtr_core_request(struct wtr_core *c, uint16_t worker, const uint8_t *record, uint32_t len);

/* All its connections are gone. */
void wtr_core_worker_died(struct wtr_core *c, uint16_t worker);

void wtr_core_durable(struct wtr_core *c, int64_t zxid);

/*
 * Apply what is committed, until `out` holds WTR_OUT_BYTES or the tree is in doubt. True: there is
 * more. A transaction that can't be applied is our own bug, or memory that shm_tree_room()
 * promised: aborts.
 */
bool wtr_core_apply(struct wtr_core *c);

/* Show the configuration that is due, if it is of before next_zxid (quorum.md 1.4). */
void wtr_core_show_config(struct wtr_core *c, int64_t next_zxid);

/* Apply an entry that was logged before we started, and tell of it. 0 or -errno of wtr_apply(). */
int wtr_core_replay(struct wtr_core *c, const uint8_t *entry, uint32_t len);

/* Standalone, everything replayed: transactions begin behind the last one. */
void wtr_core_start_alone(struct wtr_core *c);

/*
 * In service from now on, with everything applied that was committed before. epoch: the one that
 * workers will be told. A member of an ensemble knows no connections then, and all sessions of the
 * tree, and local ones, as heard of just now: workers attach theirs again.
 */
void wtr_core_serve(struct wtr_core *c, enum wtr_service service, uint32_t epoch);

/* Out of service: what was prepared is forgotten; what was logged stays in flight. */
void wtr_core_retire(struct wtr_core *c);

/* ZAB hears of `event`; what comes of it is carried out before this returns. As zab_step(). */
int wtr_core_step(struct wtr_core *c, struct zab_event *event);

uint64_t wtr_core_deadline_ms(const struct wtr_core *c);
int64_t wtr_core_outstanding(const struct wtr_core *c);

/* Put a record into `out`. */
void wtr_core_down(struct wtr_core *c, const struct msg_down *head, const void *body, uint32_t len);

/* The connection that a session is at; NULL: none. */
struct wtr_conn *wtr_conn_of_session(struct wtr_core *c, const struct wtr_session *s);

/* Its client has come by another way: close that one. */
void wtr_disconnect(struct wtr_core *c, const struct wtr_session *s);

/* Its client closed a local session, or (expired) was not heard of: its connection ends with it. */
void wtr_end_local(struct wtr_core *c, struct wtr_session *s, bool expired);

/* Are new sessions local? */
static inline bool wtr_core_has_locals(const struct wtr_core *c)
{
	return c->conf->members && c->conf->local_sessions;
}

/* Would the tree, and the log, take this request? Deletions always. */
bool wtr_core_admits(struct wtr_core *c, int32_t op, const uint8_t *body, uint32_t len);

/* The session is at that connection from now on, and no other; the client is told. */
void wtr_resume(struct wtr_core *c, struct wtr_conn *conn, struct wtr_session *s,
		int32_t timeout_ms);
/* The session is a client's of that learner; a connection that has it here has lost it. */
void wtr_give_to(struct wtr_core *c, struct wtr_session *s, int32_t peer);
/* Tell the client that its session is no more; the connection is forgotten. */
void wtr_refuse_session(struct wtr_core *c, struct wtr_conn *conn);

/* Submit a deleteContainer (reaper.c). */
void wtr_core_delete_container(struct wtr_core *c, const char *path, uint32_t len);

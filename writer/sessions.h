/*
 * sessions.h - who is alive: session ids, owners and expiry (ZooKeeper's SessionTrackerImpl)
 *
 * A session is known here from the preparation of its createSession to the preparation of its
 * closeSession; in the tree (tree.h) as long as transactions say. It belongs to at most one
 * connection, named by worker and conn.
 *
 * Expiry. Buckets of tickTime: a session last heard at t0 expires at
 * (floor((t0 + timeout) / tick) + 1) * tick, monotonic clock. Last heard is the latest of: a record
 * from its connection; heard[slot] in the seat of the worker that owns it; the end of any time in
 * which the writer did not run; any time in which that worker did not run. So time for which we
 * did not listen is never charged to a session. What a seat says can only help sessions of its own
 * worker.
 *
 * Local sessions (localSessionsEnabled, LocalSessionTracker) are of this member alone: no
 * transaction tells of them, the tree and other members don't know them, and they expire here, be
 * it a learner. They may do all but own ephemerals. What must outlive the writer stands on the
 * board (board.h). One that is to own an ephemeral becomes global by a createSession of its id.
 *
 * Runs in: writer, deciding thread; pure but for reading the seats, and the board's entries of
 * local sessions: the clock is given. Memory is taken per session.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/conf.h"
#include "writer/table.h"

enum { WTR_WHEEL = 1024, WTR_HEARD_SLACK_MS = 50, WTR_NO_SLOT = -1 };

/* Whose a session is at a leader, beside learners by number, or at a master of observers, beside
 * these. NO_PEER: nobody's yet, so the first who uses it has it. LOST: its connection, or who had
 * it of those, is gone: who asks for it has it, and what is late from others who had it before is
 * not taken (V5). */
enum { WTR_NO_PEER = -1, WTR_PEER_LOST = -2 };

struct wtr_session {
	struct wtr_link link; /* key: the session id */
	struct wtr_session *wheel_next, **wheel_at;
	uint64_t touch_ms;
	uint64_t conn;          /* if worker is not MSG_NO_WORKER */
	int64_t ephemeral_zxid; /* last ephemeral create prepared for it */
	int64_t peer_sid;       /* of the last peer that had it, if no connection here came later */
	int32_t timeout_ms;
	int32_t slot; /* index of heard[]; WTR_NO_SLOT until createSession is applied */
	uint16_t worker;
	int16_t peer;   /* whose learner's client it is, at a leader; whose observer's, at a
			   follower that has some; WTR_NO_PEER, WTR_PEER_LOST */
	bool sole;      /* at a leader: it was made in this term, and no server ever asked for it */
	bool closing;   /* its closeSession is prepared; forgotten once that is applied */
	bool local;     /* this member's alone, as its slot is */
	bool upgrading; /* local, but its createSession is under way: a global one from then on */
};

struct wtr_sessions {
	struct wtr_table table;
	uint32_t tick_ms;
	int64_t next_id;
	uint8_t server_id;
	uint64_t now_ms, grace_ms; /* grace: nobody is heard earlier than this */
	uint64_t tick_done;        /* buckets up to this tick have been looked at */
	struct wtr_session *wheel[WTR_WHEEL];
	bool learns; /* only local sessions expire here; a leader has the others */
	/* Local sessions: the board's entries (NULL: there are none), which of them are free. */
	struct shm_locals *locals;
	uint32_t n_locals, *local_free, local_free_count, local_free_cap;
	/* By worker: its seat's heard[] (NULL: none), whether it runs, when it last came back. */
	const _Atomic uint32_t *heard[CONF_WORKERS_MAX];
	uint64_t worker_grace_ms[CONF_WORKERS_MAX];
	bool worker_away[CONF_WORKERS_MAX];
};

int wtr_sessions_init(struct wtr_sessions *t, uint32_t tick_ms, uint8_t server_id, uint64_t now_ms,
		      int64_t wall_ms);
void wtr_sessions_fini(struct wtr_sessions *t);

/* Forget all of them, but leave the board's local ones there; ids that were given out are not given
 * out again. */
void wtr_sessions_empty(struct wtr_sessions *t);

/* Move the clock. `ran` false: we did not run since the last call; everybody starts afresh. */
void wtr_sessions_tick(struct wtr_sessions *t, uint64_t now_ms, bool ran);

/* A worker stopped running (dead, stalled), or runs again. */
void wtr_sessions_worker(struct wtr_sessions *t, unsigned worker, bool away);

/* An id that no session has. client.md 12.1 */
int64_t wtr_session_new_id(struct wtr_sessions *t);

/* Known from now on, heard of just now, owned by nobody. NULL: no memory, or too many sessions. */
struct wtr_session *wtr_session_add(struct wtr_sessions *t, int64_t id, int32_t timeout_ms);
struct wtr_session *wtr_session_find(const struct wtr_sessions *t, int64_t id);
void wtr_session_forget(struct wtr_sessions *t, struct wtr_session *s);

/*
 * Local sessions. make_local: it is one from now on; false: no room. take_locals: those of the
 * board, but for those that the tree has by now; -ENOMEM. end_local: it is none any more, for it is
 * global or to be forgotten. upgrading: its createSession is on the way, or, false, is not.
 */
bool wtr_session_make_local(struct wtr_sessions *t, struct wtr_session *s);
int wtr_sessions_take_locals(struct wtr_sessions *t);
void wtr_session_end_local(struct wtr_sessions *t, struct wtr_session *s);
void wtr_session_upgrading(struct wtr_sessions *t, struct wtr_session *s, bool upgrading);

/* Of this member alone, and no leader is to hear of it? */
static inline bool wtr_session_is_local(const struct wtr_session *s)
{
	return s->local && !s->upgrading;
}

/* A sign of life that did not come by the seat. */
void wtr_session_touch(struct wtr_sessions *t, struct wtr_session *s);

/* Give it to a connection with a timeout of its own; or take it from its connection. */
void wtr_session_bind(struct wtr_sessions *t, struct wtr_session *s, uint16_t worker, uint64_t conn,
		      int32_t timeout_ms);
void wtr_session_unbind(struct wtr_sessions *t, struct wtr_session *s);

/* As its client and another server agreed. */
void wtr_session_set_timeout(struct wtr_sessions *t, struct wtr_session *s, int32_t timeout_ms);

/* Was it heard of, here, at or after that time? */
bool wtr_session_heard_since(const struct wtr_sessions *t, const struct wtr_session *s,
			     uint64_t since_ms);

/* When the session would expire if nothing more is heard, monotonic ms. */
uint64_t wtr_session_expires_ms(const struct wtr_sessions *t, const struct wtr_session *s);

/* The next session that has expired and is not closing; NULL: none. It is off the wheel then. */
struct wtr_session *wtr_sessions_expired(struct wtr_sessions *t);

/* When to call wtr_sessions_tick() and wtr_sessions_expired() next. */
uint64_t wtr_sessions_deadline_ms(const struct wtr_sessions *t);

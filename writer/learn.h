/*
 * learn.h - a learner's part: requests go to the leader, and what it says comes back
 *
 * Requests, new sessions, syncs and questions about sessions become packets in core->forward, in
 * the order of the workers' records (Learner.request, Learner.validateSession). There is no answer
 * to a request but its transaction. Answers to syncs come in the order asked, to questions by
 * session (quorum.md 4).
 *
 * Runs in: writer, deciding thread, in service as a learner.
 */
#pragma once

#include "quorum/packet.h"
#include "writer/core.h"

enum { WTR_FORWARD_BYTES = 1 << 20, WTR_ASKED_MAX = 1 << 16 };

/* Is there room for one more of any kind? */
bool wtr_learner_ready(const struct wtr_core *c);

/* A client's request, checked as far as the connection goes, for the leader. */
void wtr_learner_request(struct wtr_core *c, const struct wtr_conn *conn, const struct msg_up *up,
			 const uint8_t *body);
void wtr_learner_create_session(struct wtr_core *c, const struct wtr_session *s);
void wtr_learner_sync(struct wtr_core *c, uint16_t worker, const struct msg_up *up);

/* Is that session alive? Then it is ours from now on, and that connection's. */
void wtr_learner_ask(struct wtr_core *c, const struct wtr_conn *conn, int64_t session,
		     int32_t timeout_ms);

/*
 * The leader's answers: to the oldest question about that session; to the oldest sync. 0; or the
 * observer that is to be told the same, behind all that was decided before.
 */
int32_t wtr_learner_answered(struct wtr_core *c, const struct quorum_revalidated *answer);
int32_t wtr_learner_synced(struct wtr_core *c);

/* This session's creation was just applied: was it waited for? */
void wtr_learner_session(struct wtr_core *c, int64_t session);

/* A PING of the leader: its echo, with the sessions heard of since the last one, into forward. */
void wtr_learner_ping(struct wtr_core *c, int64_t zxid);

/*
 * For an observer, by its number (relay.h): a request, a sync, a question as they are; what it has
 * heard of, at once, as a PING that nobody asked for; it is gone, so nobody waits for its answers.
 */
void wtr_learner_forward(struct wtr_core *c, const struct quorum_request *r,
			 const struct jute_vec *ids);
void wtr_learner_sync_for(struct wtr_core *c, int32_t peer, int64_t session, int32_t xid);
void wtr_learner_ask_for(struct wtr_core *c, int32_t peer, struct quorum_touch session);
void wtr_learner_touch(struct wtr_core *c, int64_t zxid);
void wtr_learner_forget(struct wtr_core *c, int32_t peer);

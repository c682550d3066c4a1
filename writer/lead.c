#include "writer/lead.h"

#include "base/bug.h"
#include "writer/answers.h"
#include "writer/submit.h"

static const struct wtr_origin nobody = {.worker = MSG_NO_WORKER};

static void fail(struct wtr_core *c, const struct quorum_request *r, enum zk_code code)
{
	wtr_submit_begin(c, NULL, NULL);
	wtr_submit_error(c, code);
	wtr_submit_end(c, r->session_id, r->cxid, nobody);
}

/* Could it be a local session of that member? One of ours we would know. */
static bool is_foreign(const struct wtr_core *c, const struct quorum_request *r)
{
	return wtr_core_has_locals(c) && r->opcode != ZK_OP_CLOSE_SESSION &&
	       (uint8_t)((uint64_t)r->session_id >> 56) != c->sessions.server_id;
}

/*
 * LeaderSessionTracker.checkSession, SessionTrackerImpl.checkSession. One connection ever had a
 * session that was made in this term and that no server asked for since. Whoever sends a request of
 * it does so for that one: the next master of the observer where it is, or its learner, back again.
 * What they sent on another way before is done, or its client was disconnected (ensemble.h).
 */
static enum zk_code check_session(struct wtr_core *c, const struct quorum_request *r,
				  struct wtr_session *s, int32_t peer)
{
	if (!s && is_foreign(c, r))
		return ZOK;
	if (!s || s->closing)
		return ZSESSIONEXPIRED;
	if (wtr_session_is_local(s))
		return ZSESSIONMOVED;
	if (s->worker == MSG_NO_WORKER && (s->peer == WTR_NO_PEER || s->sole))
		s->peer = (int16_t)peer;
	if (s->peer != peer && !WRONG(MOVED_ACCEPTED))
		return ZSESSIONMOVED;
	wtr_session_touch(&c->sessions, s);
	return ZOK;
}

static void create_session(struct wtr_core *c, int32_t peer, const struct quorum_request *r)
{
	struct jute_in in = jute_in_of(r->body.data, r->body.len > 0 ? (size_t)r->body.len : 0);
	struct wtr_session *s = wtr_session_find(&c->sessions, r->session_id);
	struct zk_create_session_txn body;
	bool made;

	if (zk_create_session_txn_decode(&in, &body) || (s && s->closing)) {
		fail(c, r, ZMARSHALLINGERROR);
		return;
	}
	made = !s;
	if (made)
		s = wtr_session_add(&c->sessions, r->session_id, body.timeout_ms);
	if (!s) {
		fail(c, r, ZSYSTEMERROR);
		return;
	}
	wtr_give_to(c, s, peer);
	s->sole = made;
	wtr_session_touch(&c->sessions, s);
	if (s->local)
		wtr_session_upgrading(&c->sessions, s, true);
	wtr_submit_create_session(c, s, nobody);
}

static void write_request(struct wtr_core *c, int32_t peer, const struct quorum_request *r,
			  const struct jute_vec *ids)
{
	struct wtr_session *s = wtr_session_find(&c->sessions, r->session_id);
	size_t len = r->body.len > 0 ? (size_t)r->body.len : 0;
	enum zk_code code = check_session(c, r, s, peer);
	struct wtr_prep *p;

	if (!code && !wtr_core_admits(c, r->opcode, r->body.data, (uint32_t)len))
		code = ZTHROTTLEDOP;
	if (!code && r->opcode == ZK_OP_CLOSE_SESSION) {
		wtr_submit_close(c, s, r->cxid, nobody);
		return;
	}
	p = wtr_submit_begin(c, s, ids);
	if (!code)
		code = wtr_prep_request(p, r->opcode, r->body.data, (uint32_t)len);
	if (code)
		wtr_submit_error(c, code);
	wtr_submit_end(c, r->session_id, r->cxid, nobody);
}

void wtr_leader_request(struct wtr_core *c, int32_t peer, const struct quorum_request *r,
			const struct jute_vec *ids)
{
	if (r->opcode == ZK_OP_CREATE_SESSION)
		create_session(c, peer, r);
	else if (zk_op_is_write(r->opcode))
		write_request(c, peer, r, ids);
	else
		fail(c, r, ZUNIMPLEMENTED);
}

bool wtr_leader_revalidate(struct wtr_core *c, int32_t peer, struct quorum_touch session)
{
	struct wtr_session *s = wtr_session_find(&c->sessions, session.session_id);

	if (!s || s->closing || wtr_session_is_local(s))
		return false;
	wtr_give_to(c, s, peer);
	s->sole = false;
	wtr_leader_touch(c, session);
	return true;
}

void wtr_leader_touch(struct wtr_core *c, struct quorum_touch session)
{
	struct wtr_session *s = wtr_session_find(&c->sessions, session.session_id);

	if (!s || s->closing || s->worker != MSG_NO_WORKER || wtr_session_is_local(s))
		return;
	wtr_session_touch(&c->sessions, s);
	wtr_session_set_timeout(&c->sessions, s, session.timeout_ms);
}

static void lose(void *arg, struct wtr_link *l)
{
	struct wtr_session *s = WTR_OBJECT(l, struct wtr_session, link);

	if (s->peer == *(const int32_t *)arg)
		s->peer = WRONG(OWNER_FORGOTTEN) ? WTR_NO_PEER : WTR_PEER_LOST;
}

void wtr_leader_lost(struct wtr_core *c, int32_t peer)
{
	wtr_table_each(&c->sessions.table, lose, &peer);
}

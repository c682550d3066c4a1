#include "writer/learn.h"

#include "jute/session.h"
#include "writer/answers.h"

/* Sessions that were heard of shortly before the last PING may not have shown yet. */
enum { TOUCH_OVERLAP_MS = 100 };

bool wtr_learner_ready(const struct wtr_core *c)
{
	return c->forward.len < WTR_FORWARD_BYTES &&
	       c->asked.len / sizeof(struct wtr_asked) < WTR_ASKED_MAX &&
	       (c->syncs.len - c->syncs_done) / sizeof(struct msg_down) < WTR_LATER_MAX;
}

/* --- to the leader ----------------------------------------------------------------------- */

static const struct jute_vec no_ids = {.count = -1};

void wtr_learner_forward(struct wtr_core *c, const struct quorum_request *r,
			 const struct jute_vec *ids)
{
	size_t max = 64 + (size_t)(r->body.len > 0 ? r->body.len : 0) + ids->size;
	uint8_t *at = wtr_buf_room(&c->forward, max);
	struct jute_out out = jute_out_of(at, max);

	quorum_put_request(&out, r, ids);
	CHECK(!out.failed);
	c->forward.len += jute_size(&out, at);
}

void wtr_learner_request(struct wtr_core *c, const struct wtr_conn *conn, const struct msg_up *up,
			 const uint8_t *body)
{
	struct jute_vec ids = wtr_conn_ids(conn);

	wtr_learner_forward(
	    c, &(struct quorum_request){up->session, up->xid, up->op, jute_buf_of(body, up->len)},
	    &ids);
}

void wtr_learner_create_session(struct wtr_core *c, const struct wtr_session *s)
{
	uint8_t timeout[4];

	be32_put(timeout, (uint32_t)s->timeout_ms);
	wtr_learner_forward(c,
			    &(struct quorum_request){(int64_t)s->link.key, 0, ZK_OP_CREATE_SESSION,
						     jute_buf_of(timeout, sizeof(timeout))},
			    &no_ids);
}

/* head: to whom the answer goes. worker: MSG_NO_WORKER, if conn is the number of an observer. */
static void put_sync(struct wtr_core *c, const struct msg_down *to)
{
	static const uint8_t root[] = {0, 0, 0, 1, '/'};

	if (c->syncs_done == c->syncs.len)
		c->syncs_done = c->syncs.len = 0;
	wtr_buf_put(&c->syncs, to, sizeof(*to));
	/* The worker keeps the path, and the leader has no use for it. */
	wtr_learner_forward(c,
			    &(struct quorum_request){to->session, to->xid, ZK_OP_SYNC,
						     jute_buf_of(root, sizeof(root))},
			    &no_ids);
}

void wtr_learner_sync(struct wtr_core *c, uint16_t worker, const struct msg_up *up)
{
	put_sync(c, &(struct msg_down){.kind = DOWN_SYNC,
				       .worker = worker,
				       .conn = up->conn,
				       .session = up->session,
				       .xid = up->xid});
}

void wtr_learner_sync_for(struct wtr_core *c, int32_t peer, int64_t session, int32_t xid)
{
	put_sync(c, &(struct msg_down){.kind = DOWN_SYNC,
				       .worker = MSG_NO_WORKER,
				       .conn = (uint64_t)peer,
				       .session = session,
				       .xid = xid});
}

static void put_question(struct wtr_core *c, const struct wtr_asked *asked)
{
	const struct wtr_session *s = wtr_session_find(&c->sessions, asked->session);
	uint8_t *at = wtr_buf_room(&c->forward, 64);
	struct jute_out out = jute_out_of(at, 64);

	/* What is left there would come behind the question, which may come to the leader late: it
	 * gives the session to us again, though its client has gone on elsewhere (V5). */
	if (s)
		wtr_disconnect(c, s);
	wtr_buf_put(&c->asked, asked, sizeof(*asked));
	quorum_put_revalidate(&out, (struct quorum_touch){asked->session, asked->timeout_ms});
	CHECK(!out.failed);
	c->forward.len += jute_size(&out, at);
}

void wtr_learner_ask(struct wtr_core *c, const struct wtr_conn *conn, int64_t session,
		     int32_t timeout_ms)
{
	put_question(c, &(struct wtr_asked){.session = session,
					    .conn = conn->link.key,
					    .timeout_ms = timeout_ms,
					    .worker = conn->worker});
}

void wtr_learner_ask_for(struct wtr_core *c, int32_t peer, struct quorum_touch session)
{
	put_question(c, &(struct wtr_asked){.session = session.session_id,
					    .conn = (uint64_t)peer,
					    .timeout_ms = session.timeout_ms,
					    .worker = MSG_NO_WORKER});
}

struct touching {
	struct wtr_core *c;
	uint64_t since_ms;
};

static void touch(void *arg, struct wtr_link *l)
{
	const struct touching *t = arg;
	const struct wtr_session *s = WTR_OBJECT(l, struct wtr_session, link);
	uint8_t *at;

	if (s->worker == MSG_NO_WORKER || s->slot < 0 || wtr_session_is_local(s) ||
	    !wtr_session_heard_since(&t->c->sessions, s, t->since_ms))
		return;
	at = wtr_buf_room(&t->c->forward, QUORUM_TOUCH_SIZE);
	quorum_touch_set(at, 0, (struct quorum_touch){(int64_t)l->key, s->timeout_ms});
	t->c->forward.len += QUORUM_TOUCH_SIZE;
}

/* Learner.ping: type, zxid, the touches as one buffer, no authinfo. own: of our clients, too. */
static void put_ping(struct wtr_core *c, int64_t zxid, struct touching *own)
{
	size_t begin = c->forward.len;
	uint8_t head[16], none[4];

	be32_put(head, QUORUM_PING);
	be64_put(head + 4, (uint64_t)zxid);
	wtr_buf_put(&c->forward, head, sizeof(head));
	wtr_buf_put(&c->forward, c->touches.bytes, c->touches.len);
	c->touches.len = 0;
	if (own)
		wtr_table_each(&c->sessions.table, touch, own);
	be32_put(c->forward.bytes + begin + 12, (uint32_t)(c->forward.len - begin - sizeof(head)));
	be32_put(none, UINT32_MAX);
	wtr_buf_put(&c->forward, none, sizeof(none));
}

void wtr_learner_ping(struct wtr_core *c, int64_t zxid)
{
	struct touching t = {c, c->touched_ms > TOUCH_OVERLAP_MS ? c->touched_ms - TOUCH_OVERLAP_MS
								 : 0};

	put_ping(c, zxid, &t);
	c->touched_ms = c->now_ms;
}

void wtr_learner_touch(struct wtr_core *c, int64_t zxid)
{
	put_ping(c, zxid, NULL);
}

/* --- from the leader --------------------------------------------------------------------- */

static struct wtr_asked *asked_at(const struct wtr_core *c, size_t at)
{
	return (struct wtr_asked *)(void *)(c->asked.bytes + at);
}

/* NULL: there is none. valid: one that the leader answered, or not yet. */
static struct wtr_asked *find_asked(const struct wtr_core *c, int64_t session, bool valid)
{
	for (size_t at = 0; at < c->asked.len; at += sizeof(struct wtr_asked))
		if (asked_at(c, at)->session == session && asked_at(c, at)->valid == valid)
			return asked_at(c, at);
	return NULL;
}

static void forget_asked(struct wtr_core *c, struct wtr_asked *a)
{
	size_t from = (size_t)((uint8_t *)a - c->asked.bytes), to = from + sizeof(*a);

	memmove(c->asked.bytes + from, c->asked.bytes + to, c->asked.len - to);
	c->asked.len -= sizeof(*a);
}

static void is_dead(struct wtr_core *c, const struct wtr_asked *a)
{
	struct wtr_conn *conn = wtr_conn_find(&c->conns, a->worker, a->conn);

	if (conn)
		wtr_refuse_session(c, conn);
}

/* 0, or -EAGAIN: its createSession is still to come. */
static bool is_alive(struct wtr_core *c, const struct wtr_asked *a)
{
	struct wtr_conn *conn = wtr_conn_find(&c->conns, a->worker, a->conn);
	struct wtr_session *s = wtr_session_find(&c->sessions, a->session);

	if (!conn)
		return true;
	if (!s || s->slot < 0)
		return false;
	wtr_resume(c, conn, s, a->timeout_ms);
	return true;
}

/* An observer asked: its client has it now, and who has it here has lost it. */
static int32_t answered_for(struct wtr_core *c, const struct wtr_asked *a, bool valid)
{
	struct wtr_session *s = wtr_session_find(&c->sessions, a->session);

	if (s && valid && a->conn)
		wtr_give_to(c, s, (int32_t)a->conn);
	return (int32_t)a->conn;
}

int32_t wtr_learner_answered(struct wtr_core *c, const struct quorum_revalidated *answer)
{
	struct wtr_asked *a = find_asked(c, answer->session_id, false);
	int32_t peer = 0;

	if (!a)
		return 0;
	if (a->worker == MSG_NO_WORKER) {
		peer = answered_for(c, a, answer->valid);
		forget_asked(c, a);
	} else if (!answer->valid) {
		is_dead(c, a);
		forget_asked(c, a);
	} else if (is_alive(c, a)) {
		forget_asked(c, a);
	} else {
		a->valid = true;
	}
	return peer;
}

void wtr_learner_session(struct wtr_core *c, int64_t session)
{
	struct wtr_asked *a;

	while (c->asked.len && (a = find_asked(c, session, true))) {
		if (!is_alive(c, a))
			return;
		forget_asked(c, a);
	}
}

int32_t wtr_learner_synced(struct wtr_core *c)
{
	struct msg_down head;

	if (c->syncs_done == c->syncs.len)
		return 0;
	memcpy(&head, c->syncs.bytes + c->syncs_done, sizeof(head));
	c->syncs_done += sizeof(head);
	if (head.worker == MSG_NO_WORKER)
		return (int32_t)head.conn;
	/* All that the leader had committed came before this answer. */
	wtr_answer_later(c, c->zab.decided_zxid, &head);
	return 0;
}

void wtr_learner_forget(struct wtr_core *c, int32_t peer)
{
	for (size_t at = 0; at < c->asked.len; at += sizeof(struct wtr_asked)) {
		struct wtr_asked *a = asked_at(c, at);

		if (a->worker == MSG_NO_WORKER && a->conn == (uint64_t)peer)
			a->conn = 0;
	}
	for (size_t at = c->syncs_done; at < c->syncs.len; at += sizeof(struct msg_down)) {
		struct msg_down *d = (struct msg_down *)(void *)(c->syncs.bytes + at);

		if (d->worker == MSG_NO_WORKER && d->conn == (uint64_t)peer)
			d->conn = 0;
	}
}

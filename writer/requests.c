/*
 * What workers push, kind by kind. A worker asks, never tells: session and identity are looked up
 * here, and a record that no honest worker sends is -EBADMSG.
 */
#include <errno.h>

#include "jute/session.h"
#include "base/bug.h"
#include "writer/answers.h"
#include "writer/learn.h"
#include "writer/readonly.h"
#include "writer/submit.h"

enum {
	GROWTH_PER_TXN = 1024,   /* bytes of tree that any transaction in flight may take .. */
	GROWTH_PER_MEMBER = 512, /* .. and each member of a multi, beside its own bytes */
	SESSIONS_MORE = 256,     /* are let in when the heap is full: somebody has to delete */
};

/* The session is at no connection; this one lives on. */
static void unbind(struct wtr_core *c, struct wtr_conn *conn)
{
	if (!conn->session)
		return;
	wtr_session_unbind(&c->sessions, conn->session);
	conn->session = NULL;
}

static void bind(struct wtr_core *c, struct wtr_conn *conn, struct wtr_session *s,
		 int32_t timeout_ms)
{
	wtr_session_bind(&c->sessions, s, conn->worker, conn->link.key, timeout_ms);
	conn->session = s;
}

/* The connection that a session is at, if any. */
struct wtr_conn *wtr_conn_of_session(struct wtr_core *c, const struct wtr_session *s)
{
	return s->worker == MSG_NO_WORKER ? NULL : wtr_conn_find(&c->conns, s->worker, s->conn);
}

static void refuse(struct wtr_core *c, uint16_t worker, uint64_t conn)
{
	struct msg_session none = {0};
	struct msg_down head = {
	    .kind = DOWN_CONNECTED, .worker = worker, .conn = conn, .zxid = c->applied_zxid};

	wtr_core_down(c, &head, &none, sizeof(none));
}

/* Close it without a word; it is forgotten, and its session is at none. */
static void close_conn(struct wtr_core *c, struct wtr_conn *conn)
{
	int64_t session = conn->session ? (int64_t)conn->session->link.key : 0;

	wtr_answer_close(c, conn->worker, conn->link.key, session);
	unbind(c, conn);
	wtr_conn_forget(&c->conns, conn);
}

void wtr_give_to(struct wtr_core *c, struct wtr_session *s, int32_t peer)
{
	wtr_disconnect(c, s);
	s->peer = (int16_t)peer;
	s->peer_sid = c->zab.peer[peer].sid;
}

void wtr_refuse_session(struct wtr_core *c, struct wtr_conn *conn)
{
	refuse(c, conn->worker, conn->link.key);
	wtr_conn_forget(&c->conns, conn);
}

void wtr_disconnect(struct wtr_core *c, const struct wtr_session *s)
{
	struct wtr_conn *old = wtr_conn_of_session(c, s);

	if (old)
		close_conn(c, old);
}

void wtr_resume(struct wtr_core *c, struct wtr_conn *conn, struct wtr_session *s,
		int32_t timeout_ms)
{
	struct msg_down head = {.kind = DOWN_CONNECTED,
				.worker = conn->worker,
				.conn = conn->link.key,
				.session = (int64_t)s->link.key,
				.zxid = c->applied_zxid};

	wtr_disconnect(c, s);
	bind(c, conn, s, timeout_ms);
	wtr_answer_put_session(&c->apply.reply, s, conn);
	wtr_core_down(c, &head, c->apply.reply.bytes, (uint32_t)c->apply.reply.len);
}

static void resume_request(struct wtr_core *c, struct wtr_conn *conn, const struct msg_up *up,
			   const struct msg_connect *m, struct jute_buf password)
{
	struct wtr_session *s = wtr_session_find(&c->sessions, up->session);

	/* The password first: who can't name it must not disturb who is connected (client.md 19).
	 */
	if (!zk_session_password_is(up->session, password))
		wtr_refuse_session(c, conn);
	else if (c->service == WTR_LEARNS && !(s && wtr_session_is_local(s)))
		wtr_learner_ask(c, conn, up->session, m->timeout_ms);
	else if (!s || s->closing || s->slot < 0)
		wtr_refuse_session(c, conn);
	else
		wtr_resume(c, conn, s, m->timeout_ms);
}

static int decode_connect(const struct msg_up *up, const uint8_t *body, struct msg_connect *m,
			  struct jute_buf *password)
{
	if (up->len < sizeof(*m))
		return -EBADMSG;
	memcpy(m, body, sizeof(*m));
	*password = jute_null;
	if (m->password_len < 0)
		return 0;
	if ((uint32_t)m->password_len > up->len - sizeof(*m))
		return -EBADMSG;
	*password = jute_buf_of(body + sizeof(*m), (size_t)m->password_len);
	return 0;
}

/* A connection by a name that is new; one that had this name is gone. */
static struct wtr_conn *fresh_conn(struct wtr_core *c, uint16_t worker, const struct msg_up *up,
				   const struct msg_connect *m)
{
	struct wtr_conn *conn = wtr_conn_find(&c->conns, worker, up->conn);

	if (conn) {
		unbind(c, conn);
		wtr_conn_forget(&c->conns, conn);
	}
	return wtr_conn_add(&c->conns, worker, up->conn, m->address, m->scope);
}

/* Would the tree have room for `len` bytes more in so many members, and all that is in flight? */
static bool has_room(struct wtr_core *c, uint64_t len, uint64_t members)
{
	uint64_t growth = len + c->flight_bytes +
			  GROWTH_PER_TXN * (uint64_t)(wtr_core_outstanding(c) + 1) +
			  GROWTH_PER_MEMBER * (c->flight_members + members);

	if (shm_tree_room(c->tree, growth))
		return true;
	c->starved = true;
	return false;
}

static bool is_growth(int32_t op)
{
	return op != ZK_OP_DELETE && op != ZK_OP_CLOSE_SESSION && op != ZK_OP_RECONFIG;
}

bool wtr_core_admits(struct wtr_core *c, int32_t op, const uint8_t *body, uint32_t len)
{
	uint64_t members = 1;

	if (!is_growth(op))
		return true;
	if (op == ZK_OP_MULTI)
		members += wtr_prep_multi_members(body, len);
	return !c->log_full && has_room(c, len, members);
}

static bool admits_session(struct wtr_core *c)
{
	if (has_room(c, 0, 1))
		c->sessions_roomy = c->sessions.table.count;
	return c->sessions.table.count < c->sessions_roomy + SESSIONS_MORE;
}

/* No transaction: it can be used at once. */
static void new_local(struct wtr_core *c, struct wtr_conn *conn, struct wtr_session *s)
{
	if (wtr_session_make_local(&c->sessions, s)) {
		wtr_resume(c, conn, s, s->timeout_ms);
		return;
	}
	wtr_session_forget(&c->sessions, s);
	close_conn(c, conn);
}

void wtr_end_local(struct wtr_core *c, struct wtr_session *s, bool expired)
{
	struct wtr_conn *conn = wtr_conn_of_session(c, s);

	if (conn && expired)
		close_conn(c, conn);
	else if (conn)
		wtr_conn_forget(&c->conns, conn);
	wtr_session_end_local(&c->sessions, s);
	wtr_session_forget(&c->sessions, s);
}

static void new_session(struct wtr_core *c, struct wtr_conn *conn, int32_t timeout_ms)
{
	struct wtr_origin origin = {.conn = conn->link.key, .worker = conn->worker};
	struct wtr_session *s =
	    wtr_session_add(&c->sessions, wtr_session_new_id(&c->sessions), timeout_ms);

	if (!s) {
		wtr_refuse_session(c, conn);
		return;
	}
	if (wtr_core_has_locals(c)) {
		new_local(c, conn, s);
		return;
	}
	bind(c, conn, s, timeout_ms);
	if (c->service == WTR_LEARNS)
		wtr_learner_create_session(c, s);
	else
		wtr_submit_create_session(c, s, origin);
}

static int connect_request(struct wtr_core *c, uint16_t worker, const struct msg_up *up,
			   const uint8_t *body)
{
	int64_t zxid = c->epoch_zxid > c->applied_zxid ? c->epoch_zxid : c->applied_zxid;
	struct jute_buf password;
	struct msg_connect m;
	struct wtr_conn *conn;

	if (decode_connect(up, body, &m, &password))
		return -EBADMSG;
	conn = fresh_conn(c, worker, up, &m);
	if (!conn) {
		refuse(c, worker, up->conn);
	} else if (m.last_zxid_seen > zxid) {
		wtr_answer_close(c, worker, up->conn, up->session);
		wtr_conn_forget(&c->conns, conn);
	} else if (c->service == WTR_READS) {
		wtr_readonly_connect(c, conn, up->session, m.timeout_ms, password);
	} else if (up->session) {
		resume_request(c, conn, up, &m, password);
	} else if (!wtr_core_has_locals(c) && !admits_session(c)) {
		/* Not "expired", which it is not: the client tries again. */
		wtr_answer_close(c, worker, up->conn, 0);
		wtr_conn_forget(&c->conns, conn);
	} else {
		new_session(c, conn, m.timeout_ms);
	}
	return 0;
}

/*
 * A connection from before this term. If its client is elsewhere by now, who came first in this
 * term has the session: else requests that are left here would be done behind newer ones. For the
 * same reason a learner does not ask its leader for the session: the first request does.
 */
static int attach(struct wtr_core *c, uint16_t worker, const struct msg_up *up, const uint8_t *body)
{
	struct wtr_session *s = wtr_session_find(&c->sessions, up->session);
	bool known = s ? !s->closing && !wtr_conn_of_session(c, s) && s->peer == WTR_NO_PEER
		       : c->service == WTR_READS;
	struct jute_buf password;
	struct msg_connect m;
	struct wtr_conn *conn;

	if (decode_connect(up, body, &m, &password))
		return -EBADMSG;
	conn = known ? fresh_conn(c, worker, up, &m) : NULL;
	if (!conn) {
		wtr_answer_close(c, worker, up->conn, up->session);
		return 0;
	}
	if (s)
		bind(c, conn, s, m.timeout_ms);
	wtr_answer_ids(c, conn, up, ZOK, -1);
	return 0;
}

static void detach(struct wtr_core *c, uint16_t worker, const struct msg_up *up)
{
	struct wtr_conn *conn = wtr_conn_find(&c->conns, worker, up->conn);

	if (!conn)
		return;
	unbind(c, conn);
	wtr_conn_forget(&c->conns, conn);
}

static void auth(struct wtr_core *c, uint16_t worker, const struct msg_up *up, const uint8_t *body)
{
	struct wtr_conn *conn = wtr_conn_find(&c->conns, worker, up->conn);
	struct jute_in in = jute_in_of(body, up->len);
	struct zk_auth_packet packet;

	if (!conn || zk_auth_packet_decode(&in, &packet)) {
		wtr_answer_close(c, worker, up->conn, up->session);
		return;
	}
	if (conn->session)
		wtr_session_touch(&c->sessions, conn->session);
	wtr_answer_ids(c, conn, up, wtr_conn_auth(conn, &c->rules, packet.scheme, packet.auth),
		       up->op);
}

static void sync_request(struct wtr_core *c, uint16_t worker, const struct msg_up *up)
{
	struct msg_down head = {.kind = DOWN_SYNC,
				.worker = worker,
				.conn = up->conn,
				.session = up->session,
				.zxid = c->applied_zxid,
				.xid = up->xid};

	if (c->service == WTR_LEARNS)
		wtr_learner_sync(c, worker, up);
	else
		wtr_answer_later(c, WRONG(SYNC_EARLY) ? 0 : c->zab.last_zxid, &head);
}

/* Is there a reason not to take this request at all? ZOK: no. */
static enum zk_code unwelcome(struct wtr_core *c, const struct msg_up *up, const uint8_t *body,
			      const struct wtr_conn *conn)
{
	if (up->op == ZK_OP_CLOSE_SESSION)
		return ZOK;
	if (c->conf->throttled_op_wait_ms && (int32_t)((uint32_t)c->now_ms - up->received_ms) >
						 (int32_t)c->conf->throttled_op_wait_ms)
		return ZTHROTTLEDOP;
	if (!wtr_core_admits(c, up->op, body, up->len))
		return ZTHROTTLEDOP;
	if (c->conf->enforce_auth) {
		struct jute_vec ids = wtr_conn_ids(conn);
		const char *scheme = c->conf->enforce_auth_schemes;

		while (scheme && *scheme) {
			size_t len = strcspn(scheme, ",");
			char name[32] = "";

			if (len < sizeof(name))
				memcpy(name, scheme, len);
			if (*name && zk_ids_have_scheme(&ids, name))
				return ZOK;
			scheme += len + (scheme[len] == ',');
		}
		return ZSESSIONCLOSEDREQUIRESASLAUTH;
	}
	return ZOK;
}

/*
 * A request of a local session: closing it concerns nobody else, and what makes an ephemeral has
 * it upgraded first, or refused (QuorumZooKeeperServer.checkUpgradeSession). A multi is refused by
 * who prepares it, as the answer names its members. False: the request goes on.
 */
static bool local_request(struct wtr_core *c, struct wtr_session *s, uint16_t worker,
			  const struct msg_up *up, const uint8_t *body)
{
	if (up->op == ZK_OP_CLOSE_SESSION) {
		wtr_answer(c, DOWN_REFUSED, worker, up, ZOK);
		wtr_end_local(c, s, false);
		return true;
	}
	if (!wtr_prep_makes_ephemeral(up->op, body, up->len))
		return false;
	if (!c->conf->local_sessions_upgrading) {
		if (up->op == ZK_OP_MULTI)
			return false;
		wtr_answer(c, DOWN_REFUSED, worker, up, ZEPHEMERALONLOCALSESSION);
		return true;
	}
	wtr_session_upgrading(&c->sessions, s, true);
	if (c->service == WTR_LEARNS) {
		wtr_learner_create_session(c, s);
		return false;
	}
	wtr_submit_create_session(c, s, (struct wtr_origin){.worker = MSG_NO_WORKER});
	if (wtr_core_admits(c, up->op, body, up->len))
		return false;
	wtr_answer(c, DOWN_REFUSED, worker, up, ZTHROTTLEDOP);
	return true;
}

static void write_request(struct wtr_core *c, uint16_t worker, const struct msg_up *up,
			  const uint8_t *body)
{
	struct wtr_conn *conn = wtr_conn_find(&c->conns, worker, up->conn);
	struct wtr_session *s = conn ? conn->session : NULL;
	struct wtr_origin origin = {.conn = up->conn, .worker = worker};
	enum zk_code code;
	struct jute_vec ids;
	struct wtr_prep *p;

	if (!s || (int64_t)s->link.key != up->session) {
		wtr_answer_close(c, worker, up->conn, up->session);
		return;
	}
	wtr_session_touch(&c->sessions, s);
	code = unwelcome(c, up, body, conn);
	if (code) {
		c->refused++;
		wtr_answer(c, DOWN_REFUSED, worker, up, code);
		if (code == ZSESSIONCLOSEDREQUIRESASLAUTH)
			wtr_answer_close(c, worker, up->conn, up->session);
		return;
	}
	if (c->service == WTR_LEARNS)
		code = wtr_prep_screen(&c->prep, up->op, body, up->len);
	if (code) {
		wtr_answer(c, DOWN_REFUSED, worker, up, code);
		return;
	}
	if (wtr_session_is_local(s) && local_request(c, s, worker, up, body))
		return;
	if (c->service == WTR_LEARNS) {
		wtr_learner_request(c, conn, up, body);
		return;
	}
	if (up->op == ZK_OP_CLOSE_SESSION && !s->closing) {
		wtr_submit_close(c, s, up->xid, origin);
		return;
	}
	ids = wtr_conn_ids(conn);
	p = wtr_submit_begin(c, s, &ids);
	code = s->closing ? ZSESSIONEXPIRED : wtr_prep_request(p, up->op, body, up->len);
	if (code)
		wtr_submit_error(c, code);
	wtr_submit_end(c, up->session, up->xid, origin);
}

int wtr_core_request(struct wtr_core *c, uint16_t worker, const uint8_t *record, uint32_t len)
{
	const uint8_t *body = record + sizeof(struct msg_up);
	struct msg_up up;

	if (len < sizeof(up))
		return -EBADMSG;
	memcpy(&up, record, sizeof(up));
	if (up.len > len - sizeof(up))
		return -EBADMSG;
	/* Pushed for a writer that is gone: it comes again behind UP_ATTACH. */
	if (up.epoch != c->epoch)
		return 0;
	/* So do those that nobody can decide now. */
	if (c->service == WTR_IDLE && up.kind != UP_REPORT && up.kind != UP_REPORT_TEXT)
		return 0;
	/* Workers refuse both; this is one that was let in before, and is sent away. */
	if (c->service == WTR_READS && (up.kind == UP_REQUEST || up.kind == UP_SYNC)) {
		wtr_answer_close(c, worker, up.conn, up.session);
		return 0;
	}
	switch ((enum msg_up_kind)up.kind) {
	case UP_CONNECT:
		return connect_request(c, worker, &up, body);
	case UP_REQUEST:
		write_request(c, worker, &up, body);
		return 0;
	case UP_AUTH:
		auth(c, worker, &up, body);
		return 0;
	case UP_SYNC:
		sync_request(c, worker, &up);
		return 0;
	case UP_DETACH:
		detach(c, worker, &up);
		return 0;
	case UP_ATTACH:
		return attach(c, worker, &up, body);
	case UP_REPORT:
		wtr_report_ask(c, worker, &up);
		return 0;
	case UP_REPORT_TEXT:
		wtr_report_text(c, worker, &up, body);
		return 0;
	}
	return -EBADMSG;
}

void wtr_core_worker_died(struct wtr_core *c, uint16_t worker)
{
	struct wtr_link *l;

	while ((l = wtr_table_any(&c->conns.of[worker]))) {
		struct wtr_conn *conn = WTR_OBJECT(l, struct wtr_conn, link);

		/* A full timeout from now: the worker's death is no fault of theirs. */
		if (conn->session)
			wtr_session_touch(&c->sessions, conn->session);
		unbind(c, conn);
		wtr_conn_forget(&c->conns, conn);
	}
	wtr_report_worker_died(c, worker);
}

#include "writer/core.h"

#include <errno.h>
#include <stdlib.h>

#include "jute/session.h"
#include "shm/board.h"

enum {
	ENTRY_FACTOR = 4,             /* an entry is at most that many times a frame .. */
	ENTRY_EXTRA = 64 * 1024,      /* .. and this much longer */
	GROWTH_PER_TXN = 1024,        /* bytes of tree that any transaction in flight may take */
	LATER_FIRST = 64,
	EXPIRE_PER_TICK = 256,
};

/* --- what goes out ----------------------------------------------------------------------- */

void wtr_core_down(struct wtr_core *c, const struct msg_down *head, const void *body, uint32_t len)
{
	struct msg_down whole = *head;
	uint32_t frame[2] = {(uint32_t)sizeof(whole) + len, 0};

	if (whole.kind != DOWN_TXN && whole.kind != DOWN_EVENTS)
		whole.reply_len = len;
	CHECK(frame[0] <= c->record_max);
	wtr_buf_put(&c->out, frame, sizeof(frame));
	wtr_buf_put(&c->out, &whole, sizeof(whole));
	wtr_buf_put(&c->out, body, len);
	wtr_buf_pad8(&c->out);
}

static void answer(struct wtr_core *c, enum msg_down_kind kind, uint16_t worker,
		   const struct msg_up *up, int32_t err)
{
	struct msg_down head = {.kind = (uint8_t)kind,
				.worker = worker,
				.err = err,
				.conn = up->conn,
				.session = up->session,
				.zxid = c->applied_zxid,
				.xid = up->xid,
				.type = up->op};

	wtr_core_down(c, &head, NULL, 0);
}

/* Close a connection without a word. */
static void close_conn(struct wtr_core *c, uint16_t worker, uint64_t conn, int64_t session)
{
	struct msg_down head = {.kind = DOWN_CLOSE,
				.worker = worker,
				.conn = conn,
				.session = session,
				.zxid = c->applied_zxid};

	wtr_core_down(c, &head, NULL, 0);
}

static void answer_ids(struct wtr_core *c, const struct wtr_conn *conn, const struct msg_up *up,
		       int32_t err, int32_t type)
{
	struct msg_down head = {.kind = DOWN_AUTH,
				.worker = conn->worker,
				.err = err,
				.conn = up->conn,
				.session = up->session,
				.zxid = c->applied_zxid,
				.xid = up->xid,
				.type = type};

	wtr_core_down(c, &head, conn->ids, conn->ids_size);
}

/* struct msg_session and the ids of its connection into `to`, which is emptied first. */
static void put_session(struct wtr_buf *to, const struct wtr_session *s,
			const struct wtr_conn *conn)
{
	struct msg_session m = {.session = (int64_t)s->link.key,
				.timeout_ms = s->timeout_ms,
				.slot = (uint32_t)s->slot};

	zk_session_password(m.session, m.password);
	to->len = 0;
	wtr_buf_put(to, &m, sizeof(m));
	if (conn)
		wtr_buf_put(to, conn->ids, conn->ids_size);
}

/* An answer that must not overtake what was submitted before it. */
static void answer_later(struct wtr_core *c, int64_t after_zxid, const struct msg_down *head)
{
	if (after_zxid <= c->applied_zxid) {
		wtr_core_down(c, head, NULL, 0);
		return;
	}
	if (c->later_head - c->later_tail == c->later_cap) {
		uint32_t cap = c->later_cap * 2;
		struct wtr_later *wider = calloc(cap, sizeof(*wider));

		CHECK(wider != NULL);
		for (uint32_t i = c->later_tail; i != c->later_head; i++)
			wider[i & (cap - 1)] = c->later[i & (c->later_cap - 1)];
		free(c->later);
		c->later = wider;
		c->later_cap = cap;
	}
	c->later[c->later_head++ & (c->later_cap - 1)] = (struct wtr_later){after_zxid, *head};
}

static void answer_what_waited(struct wtr_core *c)
{
	while (c->later_tail != c->later_head) {
		struct wtr_later *l = &c->later[c->later_tail & (c->later_cap - 1)];

		if (l->after_zxid > c->applied_zxid)
			return;
		l->head.zxid = c->applied_zxid;
		wtr_core_down(c, &l->head, NULL, 0);
		c->later_tail++;
	}
}

/* --- transactions ------------------------------------------------------------------------ */

static struct wtr_batch *new_batch(size_t cap)
{
	struct wtr_batch *b = calloc(1, sizeof(*b));

	if (b)
		b->bytes = malloc(cap);
	if (b && !b->bytes) {
		free(b);
		return NULL;
	}
	return b;
}

bool wtr_core_ready(const struct wtr_core *c)
{
	return c->fill && c->fill->len < WTR_BATCH_BYTES && c->fill->n < WTR_BATCH_TXNS &&
	       zab_has_room(&c->zab, 1);
}

/* Start an entry: p->out points where the record goes. */
static struct wtr_prep *begin_txn(struct wtr_core *c, struct wtr_session *s,
				  const struct jute_vec *ids)
{
	struct wtr_batch *b = c->fill;
	struct wtr_prep *p = &c->prep;

	CHECK(wtr_core_ready(c));
	p->session = s;
	p->ids = ids;
	p->zxid = zab_next_zxid(&c->zab);
	p->time_ms = c->wall_ms;
	p->members = 1;
	p->out = jute_out_of(b->bytes + b->len + sizeof(uint32_t) + ZK_TXN_HEADER_SIZE,
			     c->batch_cap - b->len - sizeof(uint32_t) - ZK_TXN_HEADER_SIZE -
				 ZK_TXN_DIGEST_SIZE);
	return p;
}

static void rewind_txn(struct wtr_core *c)
{
	struct wtr_batch *b = c->fill;

	c->prep.out = jute_out_of(b->bytes + b->len + sizeof(uint32_t) + ZK_TXN_HEADER_SIZE,
				  c->batch_cap - b->len - sizeof(uint32_t) - ZK_TXN_HEADER_SIZE -
				      ZK_TXN_DIGEST_SIZE);
}

/* Put header and digest around the record, and submit. */
static void end_txn(struct wtr_core *c, int64_t client_id, int32_t cxid, struct wtr_origin origin)
{
	struct wtr_batch *b = c->fill;
	struct wtr_prep *p = &c->prep;
	uint8_t *start = b->bytes + b->len + sizeof(uint32_t);
	struct jute_out header = jute_out_of(start, ZK_TXN_HEADER_SIZE);
	struct zab_event submit = {ZAB_SUBMIT, c->now_ms, p->zxid};
	struct zab_out out;
	uint32_t len;

	zk_txn_header_encode(&header, &(struct zk_txn_header){client_id, cxid, p->zxid, p->time_ms,
							      p->type});
	CHECK(!p->out.failed);
	p->out.end = b->bytes + c->batch_cap;
	/* Error transactions have none; and behind a closeSession without a record a digest would
	 * be taken for one. */
	if (c->pending.digests && p->type != ZK_OP_ERROR &&
	    (p->type != ZK_OP_CLOSE_SESSION || c->conf->close_session_txn))
		zk_txn_digest_encode(&p->out, &(struct zk_txn_digest){ZK_DIGEST_VERSION,
								      (int64_t)c->pending.digest});
	CHECK(!p->out.failed);
	len = (uint32_t)jute_size(&p->out, start);
	memcpy(b->bytes + b->len, &len, sizeof(len));
	b->len += sizeof(len) + len;
	b->origin[b->n++] = origin;
	if (!b->first_zxid)
		b->first_zxid = p->zxid;
	b->last_zxid = p->zxid;
	c->flight_bytes += len;
	c->txns++;
	c->changes += p->members;
	c->txn_bytes += len;
	CHECK(zab_step(&c->zab, &submit, &out) == 0);
	CHECK(out.append_zxid == p->zxid);
}

static void put_error(struct wtr_core *c, enum zk_code code)
{
	rewind_txn(c);
	c->prep.type = ZK_OP_ERROR;
	zk_error_txn_encode(&c->prep.out, &(struct zk_error_txn){code});
}

/* closeSession, asked for by `origin` or (cxid 0) by nobody. */
static void submit_close(struct wtr_core *c, struct wtr_session *s, int32_t cxid,
			 struct wtr_origin origin)
{
	struct wtr_prep *p = begin_txn(c, s, NULL);

	s->closing = true;
	wtr_prep_close_session(p);
	if (p->out.failed) {
		/* More ephemerals than an entry holds: apply deletes all the session has. */
		rewind_txn(c);
		jute_put_int(&p->out, 0);
	}
	if (!c->conf->close_session_txn)
		rewind_txn(c);
	end_txn(c, (int64_t)s->link.key, cxid, origin);
}

static void submit_create_session(struct wtr_core *c, struct wtr_session *s,
				  struct wtr_origin origin)
{
	struct wtr_prep *p = begin_txn(c, s, NULL);

	p->type = ZK_OP_CREATE_SESSION;
	zk_create_session_txn_encode(&p->out, &(struct zk_create_session_txn){s->timeout_ms});
	end_txn(c, (int64_t)s->link.key, 0, origin);
}

void wtr_core_delete_container(struct wtr_core *c, const char *path, uint32_t len)
{
	struct wtr_prep *p = begin_txn(c, NULL, NULL);

	if (!wtr_prep_delete_container(p, path, len))
		end_txn(c, 0, 0, (struct wtr_origin){0, MSG_NO_WORKER});
}

/* --- requests ---------------------------------------------------------------------------- */

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
static struct wtr_conn *conn_of(struct wtr_core *c, const struct wtr_session *s)
{
	return s->worker == MSG_NO_WORKER ? NULL : wtr_conn_find(&c->conns, s->worker, s->conn);
}

static void refuse_session(struct wtr_core *c, uint16_t worker, const struct msg_up *up,
			   struct wtr_conn *conn)
{
	struct msg_session none = {0};
	struct msg_down head = {.kind = DOWN_CONNECTED,
				.worker = worker,
				.conn = up->conn,
				.zxid = c->applied_zxid};

	wtr_core_down(c, &head, &none, sizeof(none));
	if (conn)
		wtr_conn_forget(&c->conns, conn);
}

static void resume(struct wtr_core *c, struct wtr_conn *conn, const struct msg_up *up,
		   const struct msg_connect *m, struct jute_buf password)
{
	struct wtr_session *s = wtr_session_find(&c->sessions, up->session);
	struct msg_down head = {.kind = DOWN_CONNECTED,
				.worker = conn->worker,
				.conn = up->conn,
				.session = up->session,
				.zxid = c->applied_zxid};
	struct wtr_conn *old;

	/* The password first: who can't name it must not disturb who is connected (client.md 19). */
	if (!zk_session_password_is(up->session, password) || !s || s->closing || s->slot < 0) {
		refuse_session(c, conn->worker, up, conn);
		return;
	}
	old = conn_of(c, s);
	if (old) {
		unbind(c, old);
		close_conn(c, old->worker, old->link.key, up->session);
	}
	bind(c, conn, s, m->timeout_ms);
	put_session(&c->apply.reply, s, conn);
	wtr_core_down(c, &head, c->apply.reply.bytes, (uint32_t)c->apply.reply.len);
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

static int connect_request(struct wtr_core *c, uint16_t worker, const struct msg_up *up,
			   const uint8_t *body)
{
	struct jute_buf password;
	struct msg_connect m;
	struct wtr_session *s;
	struct wtr_conn *conn;

	if (decode_connect(up, body, &m, &password))
		return -EBADMSG;
	conn = fresh_conn(c, worker, up, &m);
	if (!conn) {
		refuse_session(c, worker, up, NULL);
	} else if (m.last_zxid_seen > c->applied_zxid) {
		close_conn(c, worker, up->conn, up->session);
		wtr_conn_forget(&c->conns, conn);
	} else if (up->session) {
		resume(c, conn, up, &m, password);
	} else {
		s = wtr_session_add(&c->sessions, wtr_session_new_id(&c->sessions), m.timeout_ms);
		if (!s) {
			refuse_session(c, worker, up, conn);
			return 0;
		}
		bind(c, conn, s, m.timeout_ms);
		submit_create_session(c, s, (struct wtr_origin){up->conn, worker});
	}
	return 0;
}

static int attach(struct wtr_core *c, uint16_t worker, const struct msg_up *up, const uint8_t *body)
{
	struct wtr_session *s = wtr_session_find(&c->sessions, up->session);
	struct jute_buf password;
	struct msg_connect m;
	struct wtr_conn *conn;

	if (decode_connect(up, body, &m, &password))
		return -EBADMSG;
	conn = s && !s->closing && !conn_of(c, s) ? fresh_conn(c, worker, up, &m) : NULL;
	if (!conn) {
		close_conn(c, worker, up->conn, up->session);
		return 0;
	}
	bind(c, conn, s, m.timeout_ms);
	answer_ids(c, conn, up, ZOK, -1);
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
		close_conn(c, worker, up->conn, up->session);
		return;
	}
	if (conn->session)
		wtr_session_touch(&c->sessions, conn->session);
	answer_ids(c, conn, up, wtr_conn_auth(conn, &c->rules, packet.scheme, packet.auth), up->op);
}

static void sync_request(struct wtr_core *c, uint16_t worker, const struct msg_up *up)
{
	struct msg_down head = {.kind = DOWN_SYNC,
				.worker = worker,
				.conn = up->conn,
				.session = up->session,
				.zxid = c->applied_zxid,
				.xid = up->xid};

	answer_later(c, c->zab.last_zxid, &head);
}

static bool is_growth(int32_t op)
{
	return op != ZK_OP_DELETE && op != ZK_OP_CLOSE_SESSION && op != ZK_OP_RECONFIG;
}

/* Is there a reason not to take this request at all? ZOK: no. */
static enum zk_code unwelcome(struct wtr_core *c, const struct msg_up *up,
			      const struct wtr_conn *conn)
{
	uint64_t growth = up->len + c->flight_bytes +
			  GROWTH_PER_TXN * (uint64_t)(wtr_core_outstanding(c) + 1);

	if (up->op == ZK_OP_CLOSE_SESSION)
		return ZOK;
	if (c->conf->throttled_op_wait_ms &&
	    (int32_t)((uint32_t)c->now_ms - up->received_ms) >
		(int32_t)c->conf->throttled_op_wait_ms)
		return ZTHROTTLEDOP;
	if (is_growth(up->op) && (c->log_full || !shm_tree_room(c->tree, growth)))
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

static void write_request(struct wtr_core *c, uint16_t worker, const struct msg_up *up,
			  const uint8_t *body)
{
	struct wtr_conn *conn = wtr_conn_find(&c->conns, worker, up->conn);
	struct wtr_session *s = conn ? conn->session : NULL;
	struct wtr_origin origin = {up->conn, worker};
	enum zk_code code;
	struct jute_vec ids;
	struct wtr_prep *p;

	if (!s || (int64_t)s->link.key != up->session) {
		close_conn(c, worker, up->conn, up->session);
		return;
	}
	wtr_session_touch(&c->sessions, s);
	code = unwelcome(c, up, conn);
	if (code) {
		c->refused++;
		answer(c, DOWN_REFUSED, worker, up, code);
		if (code == ZSESSIONCLOSEDREQUIRESASLAUTH)
			close_conn(c, worker, up->conn, up->session);
		return;
	}
	if (up->op == ZK_OP_CLOSE_SESSION && !s->closing) {
		submit_close(c, s, up->xid, origin);
		return;
	}
	ids = wtr_conn_ids(conn);
	p = begin_txn(c, s, &ids);
	code = s->closing ? ZSESSIONEXPIRED : wtr_prep_request(p, up->op, body, up->len);
	if (code)
		put_error(c, code);
	end_txn(c, up->session, up->xid, origin);
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
	c->requests++;
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

/* --- time -------------------------------------------------------------------------------- */

static void expire(struct wtr_core *c)
{
	struct wtr_session *s;

	for (int i = 0; i < EXPIRE_PER_TICK && wtr_core_ready(c); i++) {
		struct msg_down head = {.kind = DOWN_CLOSE};

		s = wtr_sessions_expired(&c->sessions);
		if (!s)
			return;
		head.worker = s->worker;
		head.conn = s->conn;
		head.session = (int64_t)s->link.key;
		submit_close(c, s, 0, (struct wtr_origin){0, MSG_NO_WORKER});
		if (head.worker != MSG_NO_WORKER)
			answer_later(c, c->zab.last_zxid, &head);
	}
}

void wtr_core_tick(struct wtr_core *c, uint64_t now_ms, int64_t wall_ms, bool ran)
{
	c->now_ms = now_ms;
	c->wall_ms = wall_ms;
	wtr_sessions_tick(&c->sessions, now_ms, ran);
	expire(c);
	wtr_reaper_tick(c);
	wtr_report_tick(c);
}

uint64_t wtr_core_deadline_ms(const struct wtr_core *c)
{
	uint64_t sessions = wtr_sessions_deadline_ms(&c->sessions);
	uint64_t reaper = wtr_reaper_deadline_ms(c);

	return sessions < reaper ? sessions : reaper;
}

int64_t wtr_core_outstanding(const struct wtr_core *c)
{
	return c->zab.last_zxid - c->applied_zxid;
}

/* --- the log, and what is behind it ------------------------------------------------------ */

struct wtr_batch *wtr_core_take(struct wtr_core *c)
{
	struct wtr_batch *b = c->fill;

	if (!b || !b->n)
		return NULL;
	b->next = NULL;
	*c->flight_tail = b;
	c->flight_tail = &b->next;
	c->fill = c->spare;
	if (c->fill)
		c->spare = c->fill->next;
	return b;
}

void wtr_core_durable(struct wtr_core *c, int64_t zxid)
{
	struct zab_event durable = {ZAB_DURABLE, c->now_ms, zxid};
	struct zab_out out;

	CHECK(zab_step(&c->zab, &durable, &out) == 0);
}

/* Sessions begin and end here when the tree has them. */
static void after_session_txn(struct wtr_core *c, const struct wtr_origin *origin)
{
	const struct zk_txn_header *h = &c->apply.header;
	struct wtr_session *s = wtr_session_find(&c->sessions, h->client_id);
	struct wtr_conn *conn;

	if (h->type == ZK_OP_CREATE_SESSION) {
		struct shm_session *in_tree = shm_session_find(c->tree, h->client_id);

		if (!s)
			s = wtr_session_add(&c->sessions, h->client_id, c->apply.session_timeout_ms);
		CHECK(s != NULL);
		CHECK(in_tree != NULL);
		s->slot = (int32_t)shm_session_slot(in_tree);
		put_session(&c->apply.reply, s,
			    wtr_conn_find(&c->conns, origin->worker, origin->conn));
	} else if (h->type == ZK_OP_CLOSE_SESSION && s) {
		conn = conn_of(c, s);
		if (conn)
			conn->session = NULL;
		wtr_session_forget(&c->sessions, s);
	}
}

/* Events that don't fit beside the reply go ahead, in records of their own. The rest's length. */
static size_t put_events_ahead(struct wtr_core *c, struct msg_down *head)
{
	const struct wtr_buf *events = &c->apply.events;
	size_t from = 0, at = 0, max = c->record_max - sizeof(*head);

	if (events->len + c->apply.reply.len <= max)
		return events->len;
	head->kind = DOWN_EVENTS;
	while (at < events->len) {
		struct msg_event e;
		size_t len;

		memcpy(&e, events->bytes + at, sizeof(e));
		len = (sizeof(e) + e.path_len + 7) & ~(size_t)7;
		if (at + len - from > max) {
			head->events_len = (uint32_t)(at - from);
			wtr_core_down(c, head, events->bytes + from, head->events_len);
			from = at;
		}
		at += len;
	}
	head->events_len = (uint32_t)(at - from);
	wtr_core_down(c, head, events->bytes + from, head->events_len);
	return 0;
}

static void tell(struct wtr_core *c, const struct wtr_origin *origin)
{
	const struct zk_txn_header *h = &c->apply.header;
	struct wtr_buf *events = &c->apply.events;
	struct msg_down head = {.worker = origin->worker,
				.err = c->apply.err,
				.conn = origin->conn,
				.session = h->client_id,
				.zxid = h->zxid,
				.xid = h->cxid,
				.type = h->type};

	events->len = put_events_ahead(c, &head);
	head.kind = DOWN_TXN;
	head.events_len = (uint32_t)events->len;
	head.reply_len = (uint32_t)c->apply.reply.len;
	wtr_buf_put(events, c->apply.reply.bytes, c->apply.reply.len);
	wtr_core_down(c, &head, events->bytes, (uint32_t)events->len);
}

static int apply_and_tell(struct wtr_core *c, const uint8_t *entry, uint32_t len,
			  const struct wtr_origin *origin)
{
	int err = wtr_apply(&c->apply, entry, len);

	if (err)
		return err;
	after_session_txn(c, origin);
	c->applied_zxid = c->apply.header.zxid;
	wtr_pending_applied(&c->pending, c->applied_zxid);
	tell(c, origin);
	return 0;
}

static void recycle(struct wtr_core *c, struct wtr_batch *b)
{
	c->flight = b->next;
	if (!c->flight)
		c->flight_tail = &c->flight;
	b->len = b->applied_len = 0;
	b->n = b->n_applied = 0;
	b->first_zxid = b->last_zxid = 0;
	b->begun_us = 0;
	if (!c->fill) {
		b->next = NULL;
		c->fill = b;
	} else {
		b->next = c->spare;
		c->spare = b;
	}
}

bool wtr_core_apply(struct wtr_core *c)
{
	struct wtr_batch *b = c->flight;

	while (b && c->applied_zxid < c->zab.commit_zxid) {
		uint32_t len;

		if (c->out.len > WTR_OUT_BYTES)
			return true;
		memcpy(&len, b->bytes + b->applied_len, sizeof(len));
		CHECK(apply_and_tell(c, b->bytes + b->applied_len + sizeof(len), len,
				     &b->origin[b->n_applied]) == 0);
		b->applied_len += sizeof(len) + len;
		b->n_applied++;
		c->flight_bytes -= len;
		answer_what_waited(c);
		if (b->n_applied == b->n) {
			recycle(c, b);
			b = c->flight;
		}
	}
	return false;
}

int wtr_core_replay(struct wtr_core *c, const uint8_t *entry, uint32_t len)
{
	return apply_and_tell(c, entry, len, &(struct wtr_origin){0, MSG_NO_WORKER});
}

void wtr_core_serve(struct wtr_core *c, uint32_t epoch)
{
	struct zab_event start = {ZAB_START, c->now_ms, c->applied_zxid};
	struct zab_out out;

	CHECK(zab_step(&c->zab, &start, &out) == 0);
	c->pending.digest = c->pending.digests ? shm_tree_digest(c->tree) : 0;
	c->epoch = epoch;
}

/* --- life -------------------------------------------------------------------------------- */

static int take_sessions(struct wtr_core *c)
{
	uint32_t slots = shm_session_slots(c->tree);

	for (uint32_t i = 0; i < slots; i++) {
		const struct shm_session *in_tree = shm_session_at(c->tree, i, SHM_LATEST);
		struct wtr_session *s;

		if (!in_tree)
			continue;
		s = wtr_session_add(&c->sessions, shm_session_id(in_tree),
				    shm_session_timeout(in_tree));
		if (!s)
			return -ENOMEM;
		s->slot = (int32_t)i;
	}
	return 0;
}

static int make_batches(struct wtr_core *c)
{
	c->batch_cap = WTR_BATCH_BYTES + (size_t)c->conf->max_buffer * ENTRY_FACTOR + ENTRY_EXTRA;
	c->flight_tail = &c->flight;
	for (int i = 0; i < WTR_BATCHES; i++) {
		struct wtr_batch *b = new_batch(c->batch_cap);

		if (!b)
			return -ENOMEM;
		b->next = c->spare;
		c->spare = b;
	}
	c->fill = c->spare;
	c->spare = c->fill->next;
	c->later_cap = LATER_FIRST;
	c->later = calloc(c->later_cap, sizeof(*c->later));
	return c->later ? 0 : -ENOMEM;
}

static void make_parts(struct wtr_core *c)
{
	int64_t self = c->conf->server_id;

	c->rules = (struct zk_acl_rules){c->conf->skip_acl, c->conf->digest_auth,
					 c->conf->super_digest};
	c->apply = (struct wtr_apply){
	    .tree = c->tree, .quota = &c->quota, .speak = true, .digests = c->conf->digest_enabled};
	c->prep = (struct wtr_prep){.conf = c->conf,
				    .rules = &c->rules,
				    .pending = &c->pending,
				    .quota = &c->quota,
				    .reply_max = c->record_max - (uint32_t)sizeof(struct msg_down),
				    .scratch_size = c->conf->max_buffer + ENTRY_EXTRA};
	c->prep.scratch = malloc(c->prep.scratch_size);
	c->reaper.check_ms = c->now_ms + c->conf->container_check_ms;
	zab_init(&c->zab, &self, 1, 0);
}

int wtr_core_init(struct wtr_core *c, const struct conf *conf, struct shm_tree *tree, int64_t zxid,
		  uint32_t n_workers, uint32_t record_max, uint64_t now_ms, int64_t wall_ms)
{
	memset(c, 0, sizeof(*c));
	c->conf = conf;
	c->tree = tree;
	c->record_max = record_max;
	c->now_ms = now_ms;
	c->wall_ms = wall_ms;
	c->applied_zxid = zxid;
	c->reports.alive = n_workers >= 64 ? UINT64_MAX : (1ull << n_workers) - 1;
	make_parts(c);
	if (!c->prep.scratch || make_batches(c) ||
	    wtr_pending_init(&c->pending, tree, conf->digest_enabled, zxid) ||
	    wtr_sessions_init(&c->sessions, conf->tick_ms, conf->server_id, now_ms, wall_ms) ||
	    wtr_conns_init(&c->conns, n_workers) || wtr_quota_init(&c->quota, tree) ||
	    take_sessions(c)) {
		wtr_core_fini(c);
		return -ENOMEM;
	}
	wtr_quota_recount(&c->quota, zxid);
	return 0;
}

static void free_batches(struct wtr_batch *b)
{
	for (struct wtr_batch *next; b; b = next) {
		next = b->next;
		free(b->bytes);
		free(b);
	}
}

void wtr_core_fini(struct wtr_core *c)
{
	if (c->fill)
		c->fill->next = NULL;
	free_batches(c->fill);
	free_batches(c->spare);
	free_batches(c->flight);
	wtr_pending_fini(&c->pending);
	wtr_conns_fini(&c->conns);
	wtr_sessions_fini(&c->sessions);
	wtr_quota_fini(&c->quota);
	wtr_apply_fini(&c->apply);
	wtr_buf_fini(&c->out);
	wtr_buf_fini(&c->reaper.found);
	free(c->later);
	free(c->prep.scratch);
	memset(c, 0, sizeof(*c));
}

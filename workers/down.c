/*
 * down.c - the commit ring: events to whom they concern, answers to who asked
 *
 * Records are taken in order; a transaction's events are queued before its answer (V3). Nothing is
 * read from the tree here but ACL lists: what waits for an answer runs after the drain, as of S.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "jute/path.h"
#include "jute/txn.h"
#include "shm/msg.h"
#include "workers/conn.h"
#include "workers/worker.h"

/* --- events ---------------------------------------------------------------------------------- */

/* The notification as a frame, made once for all who get it. */
static size_t make_frame(struct worker *w, int64_t zxid, int32_t type, const char *path, size_t len)
{
	struct zk_reply_header h = {ZK_XID_NOTIFICATION, zxid, ZOK};
	struct zk_watcher_event e = {type, ZK_STATE_SYNC_CONNECTED, jute_buf_of(path, len)};
	size_t need = 4 + ZK_REPLY_HEADER_SIZE + 12 + len;
	struct jute_out out;
	uint8_t *open;

	if (need > w->event_frame_cap) {
		uint8_t *mem = realloc(w->event_frame, 2 * need);

		CHECK(mem); /* an event that is not told would be a lie to its watchers */
		w->event_frame = mem;
		w->event_frame_cap = 2 * need;
	}
	out = jute_out_of(w->event_frame, w->event_frame_cap);
	open = jute_open(&out);
	zk_reply_header_encode(&out, &h);
	zk_watcher_event_encode(&out, &e);
	jute_close(&out, open);
	return jute_size(&out, w->event_frame);
}

struct change {
	int64_t zxid;
	const char *path;
	size_t len;
	uint32_t acl;
};

/* One trigger of one table; `again`: those told by the one before are left out. */
static void fire(struct worker *w, const struct change *e, enum wrk_watch_table table, int32_t type,
		 bool again)
{
	const uint32_t *hit;
	uint32_t n = wrk_watches_fire(w->watches, table, e->path, e->len, again, &hit);
	size_t size = n ? make_frame(w, e->zxid, type, e->path, e->len) : 0;

	for (uint32_t i = 0; i < n; i++) {
		struct wrk_conn *c = wrk_conn_at(w, hit[i]);

		if (c->state != WRK_OPEN || !wrk_permits(w, c, e->acl, ZK_PERM_READ))
			continue;
		c->sent++;
		w->count.sent++;
		wrk_out_bytes(w, c, w->event_frame, size);
	}
}

static void changed(struct worker *w, int64_t zxid, const struct msg_event *e, const char *path)
{
	struct change self = {zxid, path, e->path_len, e->acl}, above = {.zxid = zxid};
	struct jute_buf parent;

	switch (e->type) {
	case ZK_EVENT_DATA_CHANGED:
		fire(w, &self, WRK_DATA, ZK_EVENT_DATA_CHANGED, false);
		return;
	case ZK_EVENT_CREATED:
		fire(w, &self, WRK_DATA, ZK_EVENT_CREATED, false);
		break;
	case ZK_EVENT_DELETED:
		fire(w, &self, WRK_DATA, ZK_EVENT_DELETED, false);
		fire(w, &self, WRK_CHILD, ZK_EVENT_DELETED, true);
		break;
	default:
		CHECK(!"a known event");
	}
	if (!zk_path_split(jute_buf_of(path, e->path_len), &parent, NULL))
		return;
	above.path = (const char *)parent.data;
	above.len = (size_t)parent.len;
	above.acl = e->parent_acl;
	fire(w, &above, WRK_CHILD, ZK_EVENT_CHILDREN_CHANGED, false);
}

static void fire_all(struct worker *w, int64_t zxid, const uint8_t *events, size_t len)
{
	struct msg_event e;

	while (len && !wrk_watches_empty(w->watches)) {
		size_t size;

		CHECK(len >= sizeof(e));
		memcpy(&e, events, sizeof(e));
		size = sizeof(e) + (((size_t)e.path_len + 7) & ~(size_t)7);
		CHECK(size <= len);
		changed(w, zxid, &e, (const char *)events + sizeof(e));
		events += size;
		len -= size;
	}
}

/* Part of a transaction: nothing of it is told before all of it is here. */
static void keep_events(struct worker *w, const uint8_t *events, size_t len)
{
	if (w->events_cap - w->events_len < len) {
		size_t cap = (w->events_len + len) * 2;
		uint8_t *mem = realloc(w->events, cap);

		CHECK(mem);
		w->events = mem;
		w->events_cap = cap;
	}
	memcpy(w->events + w->events_len, events, len);
	w->events_len += len;
}

static void release_events(struct worker *w)
{
	if (w->events_cap > WRK_INPUT_BYTES) {
		free(w->events);
		w->events = NULL;
		w->events_cap = 0;
	}
	w->events_len = 0;
}

/* --- answers --------------------------------------------------------------------------------- */

static struct wrk_conn *asker(const struct worker *w, const struct msg_down *d)
{
	struct wrk_conn *c = NULL;

	if (d->worker == w->index)
		c = wrk_conn_named(w, d->conn);
	else if (d->worker == MSG_NO_WORKER)
		c = wrk_conn_of_session(w, d->session);
	return c && c->state != WRK_GONE ? c : NULL;
}

/* What the writer answers is not what stands first: one of us is wrong, and no answer is better. */
static void out_of_step(struct worker *w, struct wrk_conn *c, const struct msg_down *d)
{
	LOG_E("session=0x%llx answer kind=%d xid=%d fits no request: connection closed",
	      (unsigned long long)c->session, d->kind, d->xid);
	wrk_conn_close(w, c);
}

/* Answers that came before their turn, as they took no way through the log. */
static void settle(struct worker *w, struct wrk_conn *c)
{
	struct wrk_request *r;

	while ((r = c->head) && r != c->next_push && r->done && c->state == WRK_OPEN) {
		bool ends = r->op == ZK_OP_CLOSE_SESSION && r->kind == WRK_WRITE && !r->err;
		bool closes = ends || (r->kind == WRK_AUTH && r->err);

		wrk_reply(w, c, r->xid, r->kind == WRK_AUTH ? 0 : w->rx.zxid, r->err);
		if (c->state == WRK_GONE)
			return;
		wrk_answered(w, c, w->rx.zxid);
		if (ends)
			c->attached = false;
		if (closes)
			wrk_conn_last(w, c);
	}
}

static void answer_early(struct worker *w, struct wrk_conn *c, const struct msg_down *d,
			 enum wrk_kind kind)
{
	struct wrk_request *r = wrk_undone(c, kind, d->xid);

	if (!r) {
		out_of_step(w, c, d);
		return;
	}
	r->done = true;
	r->err = d->err;
}

static void answer_auth(struct worker *w, struct wrk_conn *c, const struct msg_down *d,
			const uint8_t *ids)
{
	if (d->reply_len)
		wrk_set_ids(w, c, ids, d->reply_len);
	if (!d->type && c->state != WRK_GONE)
		answer_early(w, c, d, WRK_AUTH);
}

static void answer_sync(struct worker *w, struct wrk_conn *c, const struct msg_down *d)
{
	struct wrk_request *r = wrk_awaited(c, WRK_SYNC);
	struct jute_in in;
	struct jute_out out;
	struct zk_path path;

	if (!r) {
		out_of_step(w, c, d);
		return;
	}
	in = jute_in_of(r->body, r->len);
	CHECK(!zk_path_decode(&in, &path));
	out =
	    wrk_reply_begin(w, c, d->err ? 0 : 4 + 3 * (size_t)r->len, r->xid, w->rx.zxid, d->err);
	if (!d->err)
		zk_put_echo(&out, path.path);
	wrk_reply_end(w, c, &out);
	if (c->state != WRK_GONE)
		wrk_answered(w, c, w->rx.zxid);
}

/*
 * The write `xid` was done by a writer that is gone, or by a leader. Syncs before it may have lost
 * their answers with that writer: they show no less than the write. What else stands before it was
 * lost for good, and sending it again would do the write twice, too (V1). False: it is closed.
 */
static bool reach(struct worker *w, struct wrk_conn *c, int32_t xid)
{
	const struct wrk_request *r = wrk_undone(c, WRK_WRITE, xid);

	while (r && c->state != WRK_GONE && wrk_awaited(c, WRK_SYNC))
		answer_sync(w, c, &(struct msg_down){.kind = DOWN_SYNC});
	if (!r || c->state == WRK_GONE || c->head == r)
		return c->state != WRK_GONE;
	wrk_conn_close(w, c);
	return false;
}

static void answer_txn(struct worker *w, struct wrk_conn *c, const struct msg_down *d,
		       const uint8_t *body)
{
	struct wrk_request *r;
	struct jute_out out;
	bool closes;

	if (!reach(w, c, d->xid))
		return;
	r = wrk_awaited(c, WRK_WRITE);
	closes = r && r->op == ZK_OP_CLOSE_SESSION;
	if (r && d->type != ZK_OP_ERROR && closes != (d->type == ZK_OP_CLOSE_SESSION))
		r = NULL;
	if (!r || r->xid != d->xid) {
		/* Without a name it may be the session's expiry: nobody's answer. */
		if (d->worker != MSG_NO_WORKER)
			out_of_step(w, c, d);
		return;
	}
	out = wrk_reply_begin(w, c, d->reply_len, r->xid, d->zxid, d->err);
	jute_put_bytes(&out, body, d->reply_len);
	wrk_reply_end(w, c, &out);
	if (c->state == WRK_GONE)
		return;
	wrk_answered(w, c, d->zxid);
	if (closes) {
		c->attached = false;
		wrk_conn_last(w, c);
	}
}

static void answer_connect(struct worker *w, struct wrk_conn *c, const struct msg_down *d,
			   const uint8_t *reply, size_t len)
{
	struct msg_session s;

	if (c && c->state == WRK_SETUP && wrk_awaited(c, WRK_CONNECT)) {
		wrk_connected(w, c, d, reply, len);
		return;
	}
	CHECK(len >= sizeof(s));
	memcpy(&s, reply, sizeof(s));
	if (c && c->attached && c->session == s.session) {
		c->slot = s.slot; /* a local session has become global: nobody's answer */
		c->heard_ms = (uint32_t)w->now_ms - 1000;
		return;
	}
	/* The client did not wait for it: the session has no connection. */
	if (d->worker == w->index && s.timeout_ms > 0)
		wrk_conn_detach(w, d->conn, s.session);
}

static void close_now(struct worker *w, struct wrk_conn *c)
{
	c->attached = false;
	wrk_queue_drop(w, c);
	wrk_conn_flush(w, c);
	wrk_conn_close(w, c);
}

/* --- drain ----------------------------------------------------------------------------------- */

static void transaction(struct worker *w, const struct msg_down *d, const uint8_t *events,
			const uint8_t *reply)
{
	struct wrk_conn *c;

	if (w->events_len) {
		fire_all(w, d->zxid, w->events, w->events_len);
		release_events(w);
	}
	fire_all(w, d->zxid, events, d->events_len);
	if (d->worker != w->index && d->worker != MSG_NO_WORKER)
		return;
	c = asker(w, d);
	if (d->type == ZK_OP_CREATE_SESSION)
		answer_connect(w, c, d, reply, d->reply_len);
	else if (c) {
		answer_txn(w, c, d, reply);
		settle(w, c);
	}
}

static void record(struct worker *w, const struct msg_down *d, uint32_t len, int64_t before)
{
	const uint8_t *events = (const uint8_t *)(d + 1), *reply = events + d->events_len;
	struct wrk_conn *c;

	CHECK((uint64_t)d->events_len + d->reply_len <= len - sizeof(*d));
	/* What was recovered before anybody looked came by no transaction of this ring. */
	if (d->kind != DOWN_TXN && d->kind != DOWN_EVENTS && d->zxid > w->rx.zxid)
		w->rx.zxid = d->zxid;
	switch ((enum msg_down_kind)d->kind) {
	case DOWN_EVENTS:
		if (d->zxid > before)
			keep_events(w, events, d->events_len);
		return;
	case DOWN_TXN:
		if (d->zxid > before)
			transaction(w, d, events, reply);
		return;
	case DOWN_REPORT:
		wrk_word_share(w, d->conn, d->xid);
		return;
	case DOWN_EPOCH:
		if ((uint32_t)d->xid != w->epoch) {
			w->epoch = (uint32_t)d->xid;
			w->resend = true;
			w->doubtful = d->err;
		}
		return;
	case DOWN_NOP:
		if (d->xid)
			wrk_switch(w, (uint32_t)d->xid);
		return;
	default:
		break;
	}
	c = asker(w, d);
	if (d->kind == DOWN_CONNECTED)
		answer_connect(w, c, d, reply, d->reply_len);
	else if (!c)
		return;
	else if (d->kind == DOWN_AUTH)
		answer_auth(w, c, d, reply);
	else if (d->kind == DOWN_SYNC)
		answer_sync(w, c, d);
	else if (d->kind == DOWN_REFUSED)
		answer_early(w, c, d, WRK_WRITE);
	else if (d->kind == DOWN_CLOSE)
		close_now(w, c);
	else if (d->kind == DOWN_REPORT_TEXT)
		wrk_word_text(w, c, reply, d->reply_len, d->err);
	else
		CHECK(!"a known record");
	if (c)
		settle(w, c);
}

void wrk_drain(struct worker *w, uint64_t head)
{
	const struct msg_down *d;
	int64_t before = w->rx.zxid;
	uint32_t len;

	while ((d = shm_commit_next(&w->rx, head, &len))) {
		record(w, d, len, before);
		before = w->rx.zxid;
	}
	shm_commit_consumed(&w->rx);
	CHECK(w->rx.zxid >= w->s); /* V2 */
	w->s = w->rx.zxid;
}

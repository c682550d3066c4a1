#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shm/msg.h"
#include "shm/wake.h"
#include "workers/conn.h"
#include "workers/worker.h"

enum { PUBLISH_EACH = 128 }; /* records; a turn with fewer is short */

/* --- statistics ------------------------------------------------------------------------------ */

static void count_latency(struct wrk_counters *n, uint64_t us)
{
	int64_t took = (int64_t)us;

	if (!n->latency_count || took < n->latency_min_us)
		n->latency_min_us = took;
	if (took > n->latency_max_us)
		n->latency_max_us = took;
	n->latency_sum_us += took;
	n->latency_count++;
}

void wrk_conn_count(struct worker *w, struct wrk_conn *c, int32_t op, int32_t xid, int64_t zxid,
		    uint64_t took_us)
{
	uint32_t ms = (uint32_t)(took_us / 1000);

	c->last_op = op;
	if (xid >= 0)
		c->last_cxid = xid;
	c->last_zxid = zxid;
	c->last_response_ms = (int64_t)w->now_ms;
	c->latency_last_ms = ms;
	if (!c->latency_count || ms < c->latency_min_ms)
		c->latency_min_ms = ms;
	if (ms > c->latency_max_ms)
		c->latency_max_ms = ms;
	c->latency_sum_ms += ms;
	c->latency_count++;
	count_latency(&w->count, took_us);
}

/* --- queue ----------------------------------------------------------------------------------- */

static size_t request_bytes(const struct wrk_request *r)
{
	return sizeof(*r) + r->len;
}

bool wrk_enqueue(struct worker *w, struct wrk_conn *c, enum wrk_kind kind,
		 const struct wrk_frame *f)
{
	struct wrk_request *r = malloc(sizeof(*r) + f->len);

	if (!r) {
		wrk_conn_close(w, c);
		return false;
	}
	*r = (struct wrk_request){
	    .at_us = w->now_us, .xid = f->xid, .op = f->op, .len = f->len, .kind = (uint8_t)kind};
	if (f->len)
		memcpy(r->body, f->body, f->len);
	*(c->tail ? &c->tail->next : &c->head) = r;
	c->tail = r;
	if (!c->next_push)
		c->next_push = r;
	c->queued++;
	c->queued_bytes += (uint32_t)request_bytes(r);
	c->queued_reads += kind == WRK_READ;
	w->count.outstanding++;
	return true;
}

/* Take the first request out; it is the caller's. */
static struct wrk_request *queue_pop(struct worker *w, struct wrk_conn *c)
{
	struct wrk_request *r = c->head;

	c->head = r->next;
	if (!c->head)
		c->tail = NULL;
	if (c->next_push == r)
		c->next_push = r->next;
	c->queued--;
	c->queued_bytes -= (uint32_t)request_bytes(r);
	c->queued_reads -= r->kind == WRK_READ;
	w->count.outstanding--;
	r->next = NULL;
	return r;
}

void wrk_queue_drop(struct worker *w, struct wrk_conn *c)
{
	while (c->head)
		free(queue_pop(w, c));
}

struct wrk_request *wrk_awaited(const struct wrk_conn *c, enum wrk_kind kind)
{
	return c->head && c->head != c->next_push && c->head->kind == kind ? c->head : NULL;
}

struct wrk_request *wrk_undone(const struct wrk_conn *c, enum wrk_kind kind, int32_t xid)
{
	for (struct wrk_request *r = c->head; r && r != c->next_push; r = r->next)
		if (r->kind == kind && !r->done && r->xid == xid)
			return r;
	return NULL;
}

void wrk_answered(struct worker *w, struct wrk_conn *c, int64_t zxid)
{
	struct wrk_request *r = queue_pop(w, c);
	uint64_t took = w->now_us > r->at_us ? w->now_us - r->at_us : 0;

	if (r->kind != WRK_CONNECT)
		wrk_conn_count(w, c, r->op, r->xid, zxid, took);
	if (r->kind != WRK_READ)
		hist_record(&w->seat->stats.write_us, took);
	/* Auth packets are needed again when a new writer comes. */
	if (r->kind == WRK_AUTH && c->n_auths < 32) {
		r->next = c->auths;
		c->auths = r;
		c->n_auths++;
	} else {
		free(r);
	}
	if (c->head == c->next_push || c->in_len || !(c->events & EPOLLIN))
		wrk_link_add(&w->run, &c->run);
}

/* --- to the writer --------------------------------------------------------------------------- */

static int push(struct worker *w, const struct msg_up *m, const void *body)
{
	struct iovec iov[2] = {{(void *)(uintptr_t)m, sizeof(*m)},
			       {(void *)(uintptr_t)body, m->len}};
	int err = w->ring_full ? -EAGAIN : shm_ring_pushv(&w->up, iov, m->len ? 2 : 1);

	if (err == -EAGAIN)
		w->ring_full = true;
	if (err)
		return err;
	w->pushed = true;
	/* A long turn: the writer begins with what is there. */
	if (++w->unpublished == PUBLISH_EACH) {
		w->unpublished = 0;
		shm_ring_publish(&w->up);
		shm_wake_writer(w->h);
	}
	return 0;
}

static struct msg_up message(const struct worker *w, const struct wrk_conn *c,
			     enum msg_up_kind kind)
{
	return (struct msg_up){.kind = (uint8_t)kind,
			       .epoch = w->epoch,
			       .conn = wrk_conn_name(w, c),
			       .session = c->session,
			       .received_ms = (uint32_t)w->now_ms};
}

static int push_request(struct worker *w, const struct wrk_conn *c, const struct wrk_request *r)
{
	static const enum msg_up_kind kinds[] = {[WRK_CONNECT] = UP_CONNECT,
						 [WRK_WRITE] = UP_REQUEST,
						 [WRK_AUTH] = UP_AUTH,
						 [WRK_SYNC] = UP_SYNC};
	struct msg_up m = message(w, c, kinds[r->kind]);

	m.xid = r->xid;
	m.op = r->kind == WRK_AUTH ? 0 : r->op;
	m.received_ms = (uint32_t)(r->at_us / 1000);
	m.len = r->kind == WRK_SYNC ? 0 : r->len;
	return push(w, &m, r->body);
}

/* The connection's session, and who it is: for a writer that does not know it. */
static int push_attach(struct worker *w, struct wrk_conn *c)
{
	struct msg_connect body = {.scope = c->scope,
				   .timeout_ms = c->timeout_ms,
				   .last_zxid_seen = w->s,
				   .password_len = -1};
	struct msg_up m = message(w, c, UP_ATTACH);
	int err;

	memcpy(body.address, c->address, sizeof(body.address));
	m.len = sizeof(body);
	err = push(w, &m, &body);
	if (err)
		return err;
	c->need_attach = false;
	/* Newest first in the list; in the order of arrival on the ring. */
	for (uint32_t i = c->n_auths; i-- > 0 && !err;) {
		struct wrk_request *r = c->auths;

		for (uint32_t k = 0; k < i; k++)
			r = r->next;
		m = message(w, c, UP_AUTH);
		m.xid = r->xid;
		m.op = 1; /* a repeat: not answered to the client */
		m.len = r->len;
		err = push(w, &m, r->body);
	}
	/* Half of it on the ring: say it again from the start; repeats change nothing. */
	c->need_attach = err;
	return err;
}

/* Does the connection have an identity that the operator asks for? (AuthenticationHelper) */
static bool enforced_auth(const struct worker *w, const struct wrk_conn *c)
{
	struct jute_vec ids = zk_ids_view(c->ids, c->ids_len);
	const char *at = w->conf->enforce_auth_schemes;

	if (!w->conf->enforce_auth)
		return true;
	while (at && *at) {
		char scheme[32];
		size_t len = strcspn(at, ", ");

		if (len && len < sizeof(scheme)) {
			memcpy(scheme, at, len);
			scheme[len] = 0;
			if (zk_ids_have_scheme(&ids, scheme))
				return true;
		}
		at += len + (at[len] != 0);
	}
	return false;
}

bool wrk_refuse_unauthenticated(struct worker *w, struct wrk_conn *c, int32_t op, int32_t xid)
{
	if (op == ZK_OP_AUTH || op == ZK_OP_SASL || enforced_auth(w, c))
		return false;
	wrk_reply(w, c, op == ZK_OP_PING ? ZK_XID_PING : xid, 0, ZSESSIONCLOSEDREQUIRESASLAUTH);
	wrk_conn_last(w, c);
	return true;
}

/* With enforcement a request waits for the auth packets before it; then it may be refused. */
static bool may_push(struct worker *w, struct wrk_conn *c, const struct wrk_request *r)
{
	if (r->kind == WRK_CONNECT || r->kind == WRK_AUTH || enforced_auth(w, c))
		return true;
	if (c->head == r)
		wrk_refuse_unauthenticated(w, c, r->op, r->xid);
	return false;
}

/* A connection that is gone: its writes are still done; nobody waits for the rest. */
static void push_leftovers(struct worker *w, struct wrk_conn *c)
{
	while (c->next_push) {
		struct wrk_request *r = c->next_push;

		if ((r->kind == WRK_WRITE || r->kind == WRK_AUTH) && enforced_auth(w, c) &&
		    c->need_detach && push_request(w, c, r))
			return;
		c->next_push = r->next;
	}
	if (c->need_detach) {
		struct msg_up m = message(w, c, UP_DETACH);

		c->need_detach = push(w, &m, NULL);
	}
}

void wrk_push(struct worker *w, struct wrk_conn *c)
{
	if (c->state == WRK_GONE) {
		push_leftovers(w, c);
		return;
	}
	if (c->need_attach && push_attach(w, c))
		return;
	while (c->next_push && c->next_push->kind != WRK_READ && may_push(w, c, c->next_push)) {
		int err = push_request(w, c, c->next_push);

		if (err == -EAGAIN)
			break;
		if (err) {
			LOG_E("session=0x%llx request of %u bytes: no ring takes it",
			      (unsigned long long)c->session, c->next_push->len);
			wrk_conn_close(w, c);
			return;
		}
		c->next_push = c->next_push->next;
	}
	if (c->next_push && !c->queued_reads)
		wrk_link_add(&w->paused, &c->paused);
}

/* Was something sent that may be done by now, or not? */
static bool is_in_doubt(const struct wrk_conn *c)
{
	for (const struct wrk_request *r = c->head; r && r != c->next_push; r = r->next)
		if ((r->kind == WRK_WRITE || r->kind == WRK_CONNECT) && !r->done)
			return true;
	return false;
}

/* Has its client ended the connection, behind whatever is still to be read? */
static bool was_left(const struct wrk_conn *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};

	return poll(&p, 1, 0) > 0;
}

void wrk_resend(struct worker *w, struct wrk_conn *c)
{
	if (c->state == WRK_GONE)
		return;
	/* A client that has gone on elsewhere must not find this done behind what it does there. */
	if (c->head && (was_left(c) || (w->doubtful && is_in_doubt(c)))) {
		c->attached = false; /* the writer has forgotten it */
		wrk_queue_drop(w, c);
		wrk_conn_close(w, c);
		return;
	}
	c->need_attach = c->attached;
	c->next_push = c->head;
	for (struct wrk_request *r = c->head; r; r = r->next)
		r->done = false;
	wrk_push(w, c);
	wrk_link_add(&w->paused, &c->paused);
}

void wrk_conn_detach(struct worker *w, uint64_t name, int64_t session)
{
	struct msg_up m = {.kind = UP_DETACH, .epoch = w->epoch, .conn = name, .session = session};

	push(w, &m, NULL);
}

/* --- dispatch -------------------------------------------------------------------------------- */

/* The session is alive: one store for all that came within 50 ms. */
static void heard(struct worker *w, struct wrk_conn *c)
{
	uint32_t now = (uint32_t)w->now_ms;

	if (now - c->heard_ms < 50)
		return;
	c->heard_ms = now;
	if (c->slot < SHM_SLOTS)
		atomic_store_explicit(&w->seat->heard[c->slot], now, memory_order_relaxed);
}

static enum wrk_kind kind_of(const struct wrk_conn *c, const struct wrk_frame *f)
{
	if (c->read_only && f->op != ZK_OP_AUTH)
		return WRK_READ; /* refused in its turn, if it is none */
	switch (f->op) {
	case ZK_OP_GET_DATA:
	case ZK_OP_EXISTS:
	case ZK_OP_GET_CHILDREN:
	case ZK_OP_GET_CHILDREN2:
	case ZK_OP_PING:
		return WRK_READ;
	case ZK_OP_AUTH:
		return WRK_AUTH;
	case ZK_OP_SYNC: {
		struct jute_in in = jute_in_of(f->body, f->len);
		struct zk_path path;

		return zk_path_decode(&in, &path) ? WRK_READ : WRK_SYNC;
	}
	default:
		return zk_op_is_write(f->op) ? WRK_WRITE : WRK_READ;
	}
}

/* auth and sasl packets that are not whole close the connection (client.md 1.4). */
static bool is_whole(const struct wrk_frame *f)
{
	struct jute_in in = jute_in_of(f->body, f->len);
	struct zk_auth_packet auth;
	struct zk_sasl_token sasl;

	if (f->op == ZK_OP_AUTH)
		return !zk_auth_packet_decode(&in, &auth);
	if (f->op == ZK_OP_SASL)
		return !zk_sasl_token_decode(&in, &sasl) && sasl.token.len >= 0;
	return true;
}

void wrk_request(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f)
{
	enum wrk_kind kind = kind_of(c, f);

	c->received++;
	w->count.received++;
	heard(w, c);
	if (kind == WRK_READ && !c->head) {
		w->reads++;
		if (!w->conf->enforce_auth || !wrk_refuse_unauthenticated(w, c, f->op, f->xid))
			wrk_read(w, c, f);
		wrk_conn_count(w, c, f->op, f->xid, w->s, 0);
		return;
	}
	if (!is_whole(f)) {
		wrk_conn_close(w, c);
		return;
	}
	if (f->op == ZK_OP_CLOSE_SESSION || !zk_op_is_known(f->op))
		c->deaf = true; /* nothing behind it is answered */
	if (!wrk_enqueue(w, c, kind, f))
		return;
	if (kind != WRK_READ && !c->queued_reads)
		wrk_push(w, c);
}

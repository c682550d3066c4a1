/*
 * worker.c - a worker as the writer knows it, and clients as the worker does
 *
 * The worker's part is workers/requests.c and down.c without sockets: requests are kept until they
 * are answered, and sent again behind DOWN_EPOCH. The clients talk to it by calls. A client whose
 * connection is lost does not know what became of its requests, and never sends them again.
 */
#include <stdio.h>

#include "base/check.h"
#include "jute/acl.h"
#include "jute/records.h"
#include "jute/session.h"
#include "shm/wake.h"
#include "tests/simwhole/whole.h"

enum { BODY = 512, CONNS = 32, LIFE_MS = 3000 };

enum kind { CONNECT, WRITE, SYNC };

struct request {
	enum kind kind;
	int32_t xid, op;
	uint32_t len;
	bool done;
	int32_t err;
	int64_t sync_from; /* what a sync must show */
	uint8_t body[BODY];
};

struct w_conn {
	enum { NONE, SETUP, CONN_OPEN, GONE } state;
	uint64_t name;
	int client;
	int64_t session;
	int32_t timeout_ms;
	uint32_t slot;
	bool attached, need_attach, need_detach;
	uint32_t n, pushed;
	struct request queue[W_PENDING_MAX + 2];
};

struct w_worker {
	struct shm_ring_tx up;
	struct shm_commit_rx rx;
	uint32_t epoch, resets;
	bool resend, doubtful, cut_off, due;
	uint64_t names;
	int64_t s; /* as of which it answers */
	struct w_conn conn[CONNS];
};

static struct client {
	bool dead, closing;
	int node; /* -1: not connected */
	uint64_t conn;
	int64_t session, last_zxid;
	int32_t timeout_ms, xid;
	int last_node;
	uint64_t session_us, died_us;
	uint32_t pending, made;
} clients[W_CLIENTS_MAX];

static void lost(struct client *c, const char *why)
{
	w_trace("     client %d lost its connection to %d: %s", (int)(c - clients), c->node + 1,
		why);
	for (uint32_t i = 0; i < c->pending; i++)
		w_count(N_LOST_ANSWERS);
	c->node = -1;
	c->pending = 0;
	if (c->closing) {
		c->closing = false;
		c->session = 0; /* it does not know, and goes on as another */
		c->last_zxid = 0;
	}
}

/* --- connections --------------------------------------------------------------------------- */

static struct client *client_of(struct w_conn *k)
{
	return &clients[k->client];
}

static void close_conn(struct w_conn *k, const char *why)
{
	if (k->state == NONE || k->state == GONE)
		return;
	k->state = GONE;
	k->need_detach = k->attached;
	if (client_of(k)->node >= 0 && client_of(k)->conn == k->name)
		lost(client_of(k), why);
}

static void drop_queue(struct w_conn *k)
{
	k->n = k->pushed = 0;
}

static struct w_conn *conn_named(struct w_worker *wk, uint64_t name)
{
	for (int i = 0; i < CONNS; i++)
		if (wk->conn[i].state != NONE && wk->conn[i].name == name)
			return &wk->conn[i];
	return NULL;
}

static struct w_conn *conn_of_session(struct w_worker *wk, int64_t session)
{
	for (int i = 0; i < CONNS; i++)
		if (wk->conn[i].state == CONN_OPEN && wk->conn[i].session == session)
			return &wk->conn[i];
	return NULL;
}

static void pop(struct w_conn *k)
{
	CHECK(k->n > 0);
	memmove(k->queue, k->queue + 1, --k->n * sizeof(k->queue[0]));
	if (k->pushed)
		k->pushed--;
}

static void close_all(struct w_worker *wk, const char *why)
{
	for (int i = 0; i < CONNS; i++) {
		struct w_conn *k = &wk->conn[i];

		if (k->state != SETUP && k->state != CONN_OPEN)
			continue;
		k->attached = false;
		drop_queue(k);
		close_conn(k, why);
	}
}

/* --- to the writer ------------------------------------------------------------------------- */

static bool push(struct w_worker *wk, const struct w_conn *k, struct msg_up *m, const void *body)
{
	struct iovec iov[2] = {{m, sizeof(*m)}, {(void *)(uintptr_t)body, m->len}};

	m->epoch = wk->epoch;
	m->conn = k->name;
	m->session = k->session;
	m->received_ms = (uint32_t)w_node_ms(w_now);
	return !shm_ring_pushv(&wk->up, iov, m->len ? 2 : 1);
}

static bool push_request(struct w_worker *wk, const struct w_conn *k, const struct request *r)
{
	static const enum msg_up_kind kinds[] = {UP_CONNECT, UP_REQUEST, UP_SYNC};
	struct msg_up m = {
	    .kind = (uint8_t)kinds[r->kind], .xid = r->xid, .op = r->op, .len = r->len};

	return push(wk, k, &m, r->body);
}

static bool push_attach(struct w_worker *wk, struct w_conn *k)
{
	struct msg_connect body = {.address = {[10] = 0xff, 0xff, 127, 0, 0, 1},
				   .timeout_ms = k->timeout_ms,
				   .last_zxid_seen = wk->s,
				   .password_len = -1};
	struct msg_up m = {.kind = UP_ATTACH, .len = sizeof(body)};

	k->need_attach = !push(wk, k, &m, &body);
	return !k->need_attach;
}

static void push_leftovers(struct w_worker *wk, struct w_conn *k)
{
	struct msg_up m = {.kind = UP_DETACH};

	for (; k->pushed < k->n; k->pushed++)
		if (k->queue[k->pushed].kind == WRITE && k->need_detach &&
		    !push_request(wk, k, &k->queue[k->pushed]))
			return;
	if (k->need_detach)
		k->need_detach = !push(wk, k, &m, NULL);
	if (!k->need_detach)
		k->state = NONE;
}

static void push_all(struct w_worker *wk, struct w_conn *k)
{
	if (k->state == GONE) {
		push_leftovers(wk, k);
		return;
	}
	if (k->state == NONE || (k->need_attach && !push_attach(wk, k)))
		return;
	while (k->pushed < k->n && push_request(wk, k, &k->queue[k->pushed]))
		k->pushed++;
}

static bool in_doubt(const struct w_conn *k)
{
	for (uint32_t i = 0; i < k->pushed; i++)
		if (k->queue[i].kind != SYNC && !k->queue[i].done)
			return true;
	return false;
}

static void resend(struct w_worker *wk, struct w_conn *k)
{
	if (k->state != SETUP && k->state != CONN_OPEN)
		return;
	if (wk->doubtful && in_doubt(k) && !WRONG(FORWARDED_TWICE)) {
		w_count(N_DOUBTS);
		k->attached = false;
		drop_queue(k);
		close_conn(k, "in doubt");
		return;
	}
	for (uint32_t i = 0; i < k->pushed; i++)
		w_count(N_RESENT);
	k->need_attach = k->attached;
	k->pushed = 0;
	for (uint32_t i = 0; i < k->n; i++)
		k->queue[i].done = false;
}

/* --- from the writer ----------------------------------------------------------------------- */

/* A client is told of zxid. */
static void shown(struct client *c, int64_t zxid)
{
	if (zxid < c->last_zxid)
		w_fail("client %d of session %llx saw %llx, and then %llx at member %d",
		       (int)(c - clients), (unsigned long long)c->session,
		       (unsigned long long)c->last_zxid, (unsigned long long)zxid, c->node + 1);
	c->last_zxid = zxid;
}

static void connected(struct w_worker *wk, struct w_conn *k, const struct msg_down *d,
		      const uint8_t *reply)
{
	struct client *c = client_of(k);
	struct msg_session s;

	memcpy(&s, reply, sizeof(s));
	if (s.timeout_ms <= 0) {
		w_trace("     client %d: session %llx is no more", k->client,
			(unsigned long long)c->session);
		c->session = 0;
		c->last_zxid = 0;
		k->attached = false;
		close_conn(k, "refused");
		return;
	}
	pop(k);
	k->session = s.session;
	k->timeout_ms = s.timeout_ms;
	k->slot = s.slot;
	k->attached = true;
	k->state = CONN_OPEN;
	w_count(c->session ? N_RESUMED : N_SESSIONS);
	if (c->session && c->session != s.session)
		w_fail("client %d asked for session %llx and got %llx", k->client,
		       (unsigned long long)c->session, (unsigned long long)s.session);
	if (c->session && c->last_node >= 0 && c->last_node != c->node)
		w_fired(W_MOVED);
	c->last_node = c->node;
	c->session = s.session;
	c->timeout_ms = s.timeout_ms;
	c->session_us = w.now_us;
	w_trace("     client %d has session %llx at %d", k->client, (unsigned long long)s.session,
		c->node + 1);
	shown(c, d->zxid > wk->rx.zxid ? d->zxid : wk->rx.zxid);
}

/* Its client has closed its session. */
static void closed(struct w_conn *k)
{
	struct client *c = client_of(k);

	k->attached = false;
	c->session = 0;
	c->last_zxid = 0;
	c->closing = false;
	close_conn(k, "closed");
}

static void settle(struct w_worker *wk, struct w_conn *k)
{
	while (k->state == CONN_OPEN && k->n && k->pushed && k->queue[0].done) {
		bool ends = k->queue[0].op == ZK_OP_CLOSE_SESSION;

		client_of(k)->pending--;
		shown(client_of(k), wk->rx.zxid);
		pop(k);
		if (ends)
			closed(k);
	}
}

static void answer_sync(struct w_worker *wk, struct w_conn *k)
{
	int64_t epoch = w_now->writer_up ? w_now->writer->loop.core.zab.epoch : 0;
	int64_t from;

	if (!k->n || !k->pushed || k->queue[0].kind != SYNC)
		w_fail("member %d: the answer to a sync of session %llx fits no request",
		       w_now->id + 1, (unsigned long long)k->session);
	from = k->queue[0].sync_from;
	/* Who still serves an epoch that others have left can't know better. */
	if (wk->rx.zxid < from && from >> 32 <= epoch)
		w_fail("member %d: a sync shows %llx, and somebody was told of %llx before",
		       w_now->id + 1, (unsigned long long)wk->rx.zxid, (unsigned long long)from);
	w_count(N_SYNCS);
	shown(client_of(k), wk->rx.zxid);
	client_of(k)->pending--;
	pop(k);
}

/* As workers/down.c: the write is done; syncs before it show no less. False: it is closed. */
static bool reach(struct w_worker *wk, struct w_conn *k, int32_t xid)
{
	bool there = false;

	for (uint32_t i = 0; i < k->pushed; i++)
		there = there ||
			(k->queue[i].kind == WRITE && !k->queue[i].done && k->queue[i].xid == xid);
	while (there && k->pushed && k->queue[0].kind == SYNC)
		answer_sync(wk, k);
	if (!there || (k->queue[0].kind == WRITE && k->queue[0].xid == xid))
		return true;
	close_conn(k, "out of step");
	return false;
}

static void answer_txn(struct w_worker *wk, struct w_conn *k, const struct msg_down *d)
{
	struct client *c = client_of(k);
	struct request *r;
	bool closes;

	if (!WRONG(WRITE_BEHIND_SYNC) && !reach(wk, k, d->xid))
		return;
	r = k->n && k->pushed && k->queue[0].kind == WRITE ? &k->queue[0] : NULL;
	closes = r && r->op == ZK_OP_CLOSE_SESSION;
	if (r && d->type != ZK_OP_ERROR && closes != (d->type == ZK_OP_CLOSE_SESSION))
		r = NULL;
	if (!r || r->xid != d->xid) {
		if (d->worker != MSG_NO_WORKER)
			w_fail("member %d: the answer to xid %d of session %llx fits no request",
			       w_now->id + 1, d->xid, (unsigned long long)d->session);
		return;
	}
	w_check_answer(k->session, d->xid, d->zxid, d->err);
	w_count(N_ACKED);
	shown(c, d->zxid);
	c->pending--;
	pop(k);
	if (closes && !d->err)
		closed(k);
}

static void refused(struct w_conn *k, const struct msg_down *d)
{
	for (uint32_t i = 0; i < k->pushed; i++)
		if (k->queue[i].kind == WRITE && !k->queue[i].done && k->queue[i].xid == d->xid) {
			k->queue[i].done = true;
			return;
		}
	w_fail("member %d: a refusal fits no request", w_now->id + 1);
}

static struct w_conn *asker(struct w_worker *wk, const struct msg_down *d)
{
	struct w_conn *k =
	    d->worker == MSG_NO_WORKER ? conn_of_session(wk, d->session) : conn_named(wk, d->conn);

	return k && k->state != GONE ? k : NULL;
}

static void transaction(struct w_worker *wk, const struct msg_down *d, const uint8_t *reply)
{
	struct w_conn *k = asker(wk, d);

	if (d->type != ZK_OP_CREATE_SESSION) {
		if (k) {
			answer_txn(wk, k, d);
			settle(wk, k);
		}
		return;
	}
	if (k && k->state == SETUP && k->n && k->pushed) {
		connected(wk, k, d, reply);
	} else if (k && k->attached && k->session == d->session) {
		struct msg_session s;

		memcpy(&s, reply, sizeof(s));
		k->slot = s.slot;
		w_count(N_UPGRADED);
	} else if (d->worker != MSG_NO_WORKER) {
		struct w_conn gone = {.name = d->conn, .session = d->session};
		struct msg_up m = {.kind = UP_DETACH};

		push(wk, &gone, &m, NULL);
	}
}

static void record(struct w_worker *wk, const struct msg_down *d, int64_t before)
{
	const uint8_t *reply = (const uint8_t *)(d + 1) + d->events_len;
	struct w_conn *k;

	if (d->kind != DOWN_TXN && d->kind != DOWN_EVENTS && d->zxid > wk->rx.zxid)
		wk->rx.zxid = d->zxid;
	switch ((enum msg_down_kind)d->kind) {
	case DOWN_EVENTS:
	case DOWN_REPORT:
	case DOWN_NOP:
		return;
	case DOWN_TXN:
		if (d->zxid > before)
			transaction(wk, d, reply);
		return;
	case DOWN_EPOCH:
		if ((uint32_t)d->xid != wk->epoch) {
			wk->epoch = (uint32_t)d->xid;
			wk->resend = true;
			wk->doubtful = d->err;
		}
		return;
	default:
		break;
	}
	k = asker(wk, d);
	if (!k)
		return;
	if (d->kind == DOWN_CONNECTED && k->state == SETUP && k->n && k->pushed)
		connected(wk, k, d, reply);
	else if (d->kind == DOWN_SYNC)
		answer_sync(wk, k);
	else if (d->kind == DOWN_REFUSED)
		refused(k, d);
	else if (d->kind == DOWN_CLOSE) {
		k->attached = false;
		drop_queue(k);
		close_conn(k, "closed by the writer");
	}
	settle(wk, k);
}

static void drain(struct w_worker *wk)
{
	uint64_t head = atomic_load(&w_now->h.board->head);
	const struct msg_down *d;
	int64_t before = wk->rx.zxid;
	uint32_t len;

	while ((d = shm_commit_next(&wk->rx, head, &len))) {
		record(wk, d, before);
		before = wk->rx.zxid;
	}
	shm_commit_consumed(&wk->rx);
	if (wk->rx.zxid < wk->s)
		w_fail("member %d: its worker goes back from %llx to %llx", w_now->id + 1,
		       (unsigned long long)wk->s, (unsigned long long)wk->rx.zxid);
	wk->s = wk->rx.zxid;
}

/* --- the worker's life --------------------------------------------------------------------- */

void w_worker_new(struct w_node *n)
{
	if (!n->worker)
		n->worker = malloc(sizeof(*n->worker));
	CHECK(n->worker != NULL);
	memset(n->worker, 0, sizeof(*n->worker));
	n->worker->names = (uint64_t)n->group << 32;
	shm_ring_tx_attach(&n->worker->up, &n->h, 0);
	shm_commit_rx_attach(&n->worker->rx, &n->h, 0);
	atomic_store(&n->h.seat[0]->interest, 1);
}

void w_worker_died(struct w_node *n)
{
	for (int i = 0; i < CONNS; i++)
		close_conn(&n->worker->conn[i], "the server died");
}

void w_worker_wake(struct w_node *n)
{
	if (n->worker->due)
		return;
	n->worker->due = true;
	w_at(w_between(1, w_chance(5) ? 20000 : 300), EV_WORKER, n->id, n->group, 0);
}

static void look_at_service(struct w_worker *wk)
{
	const struct shm_board *b = w_now->h.board;
	uint32_t resets = atomic_load(&b->resets);
	int64_t until = atomic_load(&b->serve_until_ms);
	bool serves = atomic_load(&b->in_service) && (!until || (int64_t)w_node_ms(w_now) <= until);

	if (resets != wk->resets && !WRONG(RESETS_FORGOTTEN))
		close_all(wk, "reset");
	else if (!serves && !wk->cut_off)
		close_all(wk, "out of service");
	wk->resets = resets;
	wk->cut_off = !serves;
}

void w_worker_event(struct w_node *n)
{
	struct w_worker *wk = n->worker;
	bool more = false;

	wk->due = false;
	w_now = n;
	look_at_service(wk);
	drain(wk);
	if (wk->resend)
		for (int i = 0; i < CONNS; i++)
			resend(wk, &wk->conn[i]);
	wk->resend = false;
	for (int i = 0; i < CONNS; i++) {
		push_all(wk, &wk->conn[i]);
		more = more || wk->conn[i].pushed < wk->conn[i].n;
		if (wk->conn[i].state == CONN_OPEN)
			atomic_store(&n->h.seat[0]->heard[wk->conn[i].slot],
				     (uint32_t)w_node_ms(n));
	}
	shm_ring_publish(&wk->up);
	atomic_store(&n->h.seat[0]->turn_ms, (uint32_t)w_node_ms(n));
	w_now = NULL;
	w_node_wake(n);
	wk->due = true;
	w_at(more ? 2000 : w_between(10, 100) * 1000, EV_WORKER, n->id, n->group, 1);
}

/* --- clients ------------------------------------------------------------------------------- */

void w_clients_reset(void)
{
	memset(clients, 0, sizeof(clients));
	for (int i = 0; i < W_CLIENTS_MAX; i++) {
		clients[i].node = clients[i].last_node = -1;
		clients[i].xid = 1;
	}
}

static struct request *add(struct w_conn *k, enum kind kind, int32_t op, int32_t xid)
{
	struct request *r = &k->queue[k->n++];

	*r = (struct request){.kind = kind, .op = op, .xid = xid};
	return r;
}

static void connect_somewhere(struct client *c)
{
	struct w_node *n = &w_nodes[w_below((uint64_t)w_n_nodes)];
	struct msg_connect m = {.address = {[10] = 0xff, 0xff, 127, 0, 0, 1},
				.last_zxid_seen = c->last_zxid,
				.password_len = -1};
	struct w_conn *k = NULL;
	struct request *r;

	if (!n->up || n->paused_until_us > w.now_us || n->worker->cut_off)
		return;
	for (int i = 0; i < CONNS && !k; i++)
		if (n->worker->conn[i].state == NONE)
			k = &n->worker->conn[i];
	if (!k)
		return;
	m.timeout_ms = (int32_t)(w.tick_ms * w_between(2, 8));
	*k = (struct w_conn){.state = SETUP,
			     .name = ++n->worker->names,
			     .client = (int)(c - clients),
			     .session = c->session};
	r = add(k, CONNECT, 0, 0);
	m.password_len = c->session ? 16 : -1;
	memcpy(r->body, &m, sizeof(m));
	r->len = sizeof(m);
	if (c->session) {
		zk_session_password(c->session, r->body + sizeof(m));
		r->len += 16;
	}
	c->node = n->id;
	c->conn = k->name;
	c->pending = 0;
	w_worker_wake(n);
}

static void put_create(struct jute_out *out, const char *path, int32_t flags)
{
	jute_put_ustring(out, jute_text(path));
	jute_put_buffer(out, jute_text("data"));
	zk_acl_put_world(out, ZK_PERM_ALL);
	jute_put_int(out, flags);
}

static void put_set(struct jute_out *out, const char *path, int32_t n)
{
	char data[32];

	snprintf(data, sizeof(data), "value %d", n);
	jute_put_ustring(out, jute_text(path));
	jute_put_buffer(out, jute_text(data));
	jute_put_int(out, -1);
}

static void put_delete(struct jute_out *out, const char *path)
{
	jute_put_ustring(out, jute_text(path));
	jute_put_int(out, -1);
}

static int32_t put_multi(struct jute_out *out, const char *path, int32_t n)
{
	zk_multi_header_encode(out, &(struct zk_multi_header){ZK_OP_SET_DATA, false, -1});
	put_set(out, path, n);
	zk_multi_header_encode(out, &(struct zk_multi_header){ZK_OP_CREATE, false, -1});
	put_create(out, "/seq-", 2);
	zk_multi_end(out);
	return ZK_OP_MULTI;
}

static int32_t put_write(struct client *c, struct jute_out *out)
{
	char path[64];

	snprintf(path, sizeof(path), "/n%d", (int)w_below(12));
	switch (w_below(10)) {
	case 0:
	case 1:
		put_create(out, path, 0);
		return ZK_OP_CREATE;
	case 2:
		put_create(out, "/seq-", 2);
		return ZK_OP_CREATE2;
	case 3:
		snprintf(path, sizeof(path), "/e%d-%u", (int)(c - clients), c->made++ % 5);
		put_create(out, path, 1);
		return ZK_OP_CREATE;
	case 4:
		put_create(out, "/lock-", 3);
		return ZK_OP_CREATE;
	case 5:
		put_delete(out, path);
		return ZK_OP_DELETE;
	case 6:
		return put_multi(out, path, c->xid);
	default:
		put_set(out, path, c->xid);
		return ZK_OP_SET_DATA;
	}
}

static void ask(struct client *c, struct w_conn *k)
{
	struct request *r;
	struct jute_out out;
	unsigned dice = (unsigned)w_below(100);

	if (c->closing)
		return;
	if (dice < 8) {
		r = add(k, SYNC, ZK_OP_SYNC, c->xid++);
		r->sync_from = w_check_told();
	} else if (dice < 9 && w.now_us > c->session_us + 500000) {
		add(k, WRITE, ZK_OP_CLOSE_SESSION, c->xid++);
		c->closing = true;
	} else {
		r = add(k, WRITE, 0, c->xid++);
		out = jute_out_of(r->body, sizeof(r->body));
		r->op = put_write(c, &out);
		CHECK(!out.failed);
		r->len = (uint32_t)jute_size(&out, r->body);
	}
	c->pending++;
}

static void act(struct client *c)
{
	struct w_node *n = c->node >= 0 ? &w_nodes[c->node] : NULL;
	struct w_conn *k = n ? conn_named(n->worker, c->conn) : NULL;

	if (!k) {
		c->node = -1;
		if (w_chance(30))
			connect_somewhere(c);
		return;
	}
	if (w_chance(1) && !w_calm()) {
		if (c->pending)
			w_fired(W_CLIENT_GONE);
		if (c->session && w_chance(5)) {
			w_fired(W_DEAD_CLIENT);
			c->dead = true;
			c->died_us = w.now_us;
		}
		close_conn(k, "by the client");
		w_worker_wake(n);
		return;
	}
	for (uint64_t i = w_between(1, 3); i && k->state == CONN_OPEN && k->n < W_PENDING_MAX; i--)
		ask(c, k);
	w_worker_wake(n);
}

void w_client_event(int who)
{
	struct client *c = &clients[who];
	uint64_t gap = w.client_gap_us;

	if (c->dead || w.now_us + 3000000 > w.end_us)
		return; /* let the last ones end */
	act(c);
	if (w.now_us > w.calm_us + 1000000 && gap < 100000)
		gap = 100000;
	w_at(w_between(1, gap), EV_CLIENT, who, 0, 0);
}

void w_clients_end(void)
{
	for (int i = 0; i < w.n_clients; i++) {
		struct client *c = &clients[i];

		if (c->pending && !c->dead)
			w_fail("client %d waits for %u answers at the end, at member %d", i,
			       c->pending, c->node + 1);
	}
}

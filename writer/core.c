#include "writer/core.h"

#include <errno.h>
#include <stdlib.h>

#include "writer/ahead.h"
#include "writer/answers.h"
#include "writer/submit.h"

enum {
	ENTRY_FACTOR = 4,        /* an entry is at most that many times a frame .. */
	ENTRY_EXTRA = 64 * 1024, /* .. and this much longer */
	LATER_FIRST = 64,
	EXPIRE_PER_TICK = 256,
};

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
		wtr_submit_close(c, s, 0, (struct wtr_origin){0, MSG_NO_WORKER});
		if (head.worker != MSG_NO_WORKER)
			wtr_answer_later(c, c->zab.last_zxid, &head);
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
	struct zab_event durable = {.type = ZAB_DURABLE, .now_ms = c->now_ms, .zxid = zxid};
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
			s = wtr_session_add(&c->sessions, h->client_id,
					    c->apply.session_timeout_ms);
		CHECK(s != NULL);
		CHECK(in_tree != NULL);
		s->slot = (int32_t)shm_session_slot(in_tree);
		wtr_answer_put_session(&c->apply.reply, s,
				       wtr_conn_find(&c->conns, origin->worker, origin->conn));
	} else if (h->type == ZK_OP_CLOSE_SESSION && s) {
		conn = wtr_conn_of_session(c, s);
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
		if (b->n_applied % WTR_AHEAD == 0)
			wtr_ahead_apply(c, b);
		memcpy(&len, b->bytes + b->applied_len, sizeof(len));
		CHECK(apply_and_tell(c, b->bytes + b->applied_len + sizeof(len), len,
				     &b->origin[b->n_applied]) == 0);
		b->applied_len += sizeof(len) + len;
		b->n_applied++;
		c->flight_bytes -= len;
		wtr_answer_waiting(c);
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
	struct zab_event start = {
	    .type = ZAB_START, .now_ms = c->now_ms, .zxid = c->applied_zxid};
	struct zab_out out;

	CHECK(zab_step(&c->zab, &start, &out) == 0);
	c->pending.digest = c->pending.digests ? shm_tree_digest(c->tree) : 0;
	c->epoch = epoch;
}

/* --- life -------------------------------------------------------------------------------- */

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
	struct zab_options alone = {.sid = c->conf->server_id, .standalone = true};

	c->rules =
	    (struct zk_acl_rules){c->conf->skip_acl, c->conf->digest_auth, c->conf->super_digest};
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
	zab_init(&c->zab, &alone);
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

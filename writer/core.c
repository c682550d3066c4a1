#include "writer/core.h"

#include <errno.h>
#include <stdlib.h>

#include "base/bug.h"
#include "writer/ahead.h"
#include "writer/answers.h"
#include "writer/flight.h"
#include "writer/learn.h"
#include "writer/submit.h"

enum { LATER_FIRST = 64, EXPIRE_PER_TICK = 256 };

/* --- time -------------------------------------------------------------------------------- */

static void expire(struct wtr_core *c)
{
	struct wtr_session *s;

	for (int i = 0; i < EXPIRE_PER_TICK && wtr_core_ready(c); i++) {
		s = wtr_sessions_expired(&c->sessions);
		if (!s)
			return;
		if (wtr_session_is_local(s))
			wtr_end_local(c, s, true);
		else
			wtr_submit_close(c, s, 0, (struct wtr_origin){.worker = MSG_NO_WORKER});
	}
}

void wtr_core_tick(struct wtr_core *c, uint64_t now_ms, int64_t wall_ms, bool ran)
{
	c->now_ms = now_ms;
	c->wall_ms = wall_ms;
	wtr_sessions_tick(&c->sessions, now_ms, ran);
	if (c->service != WTR_IDLE)
		expire(c);
	if (c->service == WTR_LEADS)
		wtr_reaper_tick(c);
	wtr_report_tick(c);
}

uint64_t wtr_core_deadline_ms(const struct wtr_core *c)
{
	uint64_t sessions = wtr_sessions_deadline_ms(&c->sessions);
	uint64_t reaper = wtr_reaper_deadline_ms(c);

	if ((c->service == WTR_LEARNS || c->service == WTR_READS) && c->sessions.n_locals)
		return sessions;
	if (c->service != WTR_LEADS)
		return UINT64_MAX;
	return sessions < reaper ? sessions : reaper;
}

int64_t wtr_core_outstanding(const struct wtr_core *c)
{
	return (int64_t)c->flight_txns;
}

/* --- the log, and what is behind it ------------------------------------------------------ */

void wtr_core_durable(struct wtr_core *c, int64_t zxid)
{
	CHECK(wtr_core_step(c, &(struct zab_event){.type = ZAB_DURABLE, .zxid = zxid}) == 0);
}

int wtr_core_step(struct wtr_core *c, struct zab_event *event)
{
	struct zab_out out;
	int err;

	event->now_ms = c->now_ms;
	err = zab_step(&c->zab, event, &out);
	if (!err && c->carry)
		c->carry(c->carrier, &out);
	return err;
}

/* Sessions begin and end here when the tree has them. */
static void after_session_txn(struct wtr_core *c, struct wtr_session *s,
			      const struct wtr_origin *origin)
{
	const struct zk_txn_header *h = &c->apply.header;
	struct wtr_conn *conn;

	if (h->type == ZK_OP_CREATE_SESSION) {
		struct shm_session *in_tree = shm_session_find(c->tree, h->client_id);

		if (!s)
			s = wtr_session_add(&c->sessions, h->client_id,
					    c->apply.session_timeout_ms);
		CHECK(s != NULL);
		CHECK(in_tree != NULL);
		if (s->local)
			wtr_session_end_local(&c->sessions, s);
		s->slot = (int32_t)shm_session_slot(in_tree);
		wtr_answer_put_session(&c->apply.reply, s,
				       wtr_conn_find(&c->conns, origin->worker, origin->conn));
	} else if (h->type == ZK_OP_CLOSE_SESSION && s) {
		conn = wtr_conn_of_session(c, s);
		if (conn)
			wtr_conn_forget(&c->conns, conn); /* its worker closes it */
		if (s->local)
			wtr_session_end_local(&c->sessions, s);
		wtr_session_forget(&c->sessions, s);
	} else if (h->type == ZK_OP_ERROR && !h->cxid && s && s->upgrading) {
		wtr_session_upgrading(&c->sessions, s, false); /* the leader can't take it */
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

/* Was this the end of the session's connection, which did not ask for it itself? */
static bool ends_connection(const struct wtr_core *c, const struct wtr_session *s,
			    const struct wtr_origin *origin)
{
	if (!s || s->worker == MSG_NO_WORKER || origin->worker != MSG_NO_WORKER)
		return false;
	return c->apply.header.type == ZK_OP_CLOSE_SESSION || c->apply.err == ZSESSIONMOVED;
}

static int64_t zxid_of(const uint8_t *entry, uint32_t len)
{
	struct jute_in in = jute_in_of(entry, len);
	struct zk_txn_header h;

	return zk_txn_header_decode(&in, &h) ? 0 : h.zxid;
}

void wtr_core_show_config(struct wtr_core *c, int64_t next_zxid)
{
	const struct quorum_config *config = c->config_due;
	struct msg_down head = {.kind = DOWN_EVENTS, .worker = MSG_NO_WORKER};

	if (!config || config->version >= next_zxid)
		return;
	c->config_due = NULL;
	/* What was published is never written over. */
	if (config->version <= c->applied_zxid || config->version <= c->epoch_zxid)
		return;
	if (wtr_apply_config(&c->apply, config, c->wall_ms))
		return; /* no memory: the next change of the membership shows */
	head.zxid = config->version;
	head.events_len = (uint32_t)c->apply.events.len;
	wtr_core_down(c, &head, c->apply.events.bytes, head.events_len);
}

static int apply_and_tell(struct wtr_core *c, const uint8_t *entry, uint32_t len,
			  struct wtr_origin origin)
{
	const struct zk_txn_header *h = &c->apply.header;
	int err;
	struct msg_down close = {.kind = DOWN_CLOSE};
	struct wtr_session *s;
	int32_t differs = c->apply.digest_differs;

	if (c->config_due)
		wtr_core_show_config(c, zxid_of(entry, len));
	c->apply.imported = c->applied_zxid < c->fuzzy_zxid;
	err = wtr_apply(&c->apply, entry, len);
	c->doubts = c->heeds_digest && (err == -EBADMSG || c->apply.digest_differs != differs);
	if (err || c->doubts)
		return err ? err : -EBADMSG;
	s = wtr_session_find(&c->sessions, h->client_id);
	/* A learner's own: which connection waits for it stands with the session. */
	if (h->type == ZK_OP_CREATE_SESSION && origin.worker == MSG_NO_WORKER && s)
		origin = (struct wtr_origin){.conn = s->conn, .worker = s->worker};
	if (ends_connection(c, s, &origin)) {
		close.worker = s->worker;
		close.conn = s->conn;
		close.session = h->client_id;
		close.zxid = h->zxid;
	}
	after_session_txn(c, s, &origin);
	c->applied_zxid = h->zxid;
	wtr_pending_applied(&c->pending, c->applied_zxid);
	/* Whose session has moved gets no answer (client.md 12.4). */
	if (close.session && c->apply.err)
		wtr_core_down(c, &close, NULL, 0);
	tell(c, &origin);
	if (close.session && !c->apply.err)
		wtr_core_down(c, &close, NULL, 0);
	if (h->type == ZK_OP_CREATE_SESSION)
		wtr_learner_session(c, h->client_id);
	return 0;
}

bool wtr_core_apply(struct wtr_core *c)
{
	struct wtr_batch *b = c->flight;

	while (b && c->applied_zxid < c->zab.commit_zxid) {
		uint32_t len;
		int err;

		if (c->out.len > WTR_OUT_BYTES)
			return true;
		if (b->n_applied % WTR_AHEAD == 0)
			wtr_ahead_apply(c, b);
		memcpy(&len, b->bytes + b->applied_len, sizeof(len));
		err = apply_and_tell(c, b->bytes + b->applied_len + sizeof(len), len,
				     b->origin[b->n_applied]);
		if (c->doubts)
			return false;
		CHECK(err == 0);
		b->applied_len += sizeof(len) + len;
		b->n_applied++;
		c->flight_bytes -= len;
		c->flight_txns--;
		c->flight_members -= b->origin[b->n_applied - 1].members;
		wtr_answer_waiting(c);
		if (b->n_applied == b->n) {
			wtr_flight_landed(c);
			b = c->flight;
		}
	}
	return false;
}

int wtr_core_replay(struct wtr_core *c, const uint8_t *entry, uint32_t len)
{
	return apply_and_tell(c, entry, len, (struct wtr_origin){.worker = MSG_NO_WORKER});
}

/* --- service ----------------------------------------------------------------------------- */

void wtr_core_start_alone(struct wtr_core *c)
{
	struct zab_event start = {.type = ZAB_START, .zxid = c->applied_zxid};

	CHECK(wtr_core_step(c, &start) == 0);
}

static int take_sessions(struct wtr_core *c);

/* Pending changes, sessions and connections as nobody has touched them. */
static void begin_anew(struct wtr_core *c, enum wtr_service service)
{
	if (!WRONG(PENDING_KEPT)) {
		wtr_pending_fini(&c->pending);
		CHECK(!wtr_pending_init(&c->pending, c->tree, c->conf->digest_enabled,
					c->applied_zxid));
	}
	for (uint16_t i = 0; i < c->conns.n_workers; i++)
		wtr_conns_empty(&c->conns, i);
	wtr_sessions_empty(&c->sessions);
	c->sessions.learns = service != WTR_LEADS;
	CHECK(!take_sessions(c));
	CHECK(!wtr_sessions_take_locals(&c->sessions));
	c->forward.len = c->asked.len = c->syncs.len = c->syncs_done = c->touches.len = 0;
	c->touched_ms = c->now_ms;
}

void wtr_core_serve(struct wtr_core *c, enum wtr_service service, uint32_t epoch)
{
	if (c->conf->members)
		begin_anew(c, service);
	c->pending.digest = c->pending.digests ? shm_tree_digest(c->tree) : 0;
	c->service = service;
	c->epoch = epoch;
}

void wtr_core_retire(struct wtr_core *c)
{
	c->service = WTR_IDLE;
	c->later_tail = c->later_head;
	c->forward.len = c->asked.len = c->syncs.len = c->syncs_done = c->touches.len = 0;
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
				    .zab = &c->zab,
				    .configs = &c->configs,
				    .reply_max = c->record_max - (uint32_t)sizeof(struct msg_down),
				    .scratch_size = c->conf->max_buffer + WTR_ENTRY_EXTRA};
	c->prep.scratch = malloc(c->prep.scratch_size);
	c->reaper.check_ms = c->now_ms + c->conf->container_check_ms;
	if (!c->conf->members)
		zab_init(&c->zab, &alone);
	c->later_cap = LATER_FIRST;
	c->later = calloc(c->later_cap, sizeof(*c->later));
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
	if (!c->prep.scratch || !c->later || wtr_flight_init(c) ||
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

void wtr_core_fini(struct wtr_core *c)
{
	wtr_flight_fini(c);
	wtr_buf_fini(&c->forward);
	wtr_buf_fini(&c->asked);
	wtr_buf_fini(&c->syncs);
	wtr_buf_fini(&c->touches);
	wtr_configs_keep(&c->configs, NULL, 0);
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

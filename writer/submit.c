#include "writer/submit.h"

#include "writer/flight.h"
#include "writer/learn.h"

/* Room for so many entries? */
static bool has_place(const struct wtr_core *c, uint32_t n)
{
	return c->fill && c->fill->n + n <= WTR_BATCH_TXNS && zab_has_room(&c->zab, n);
}

bool wtr_core_ready(const struct wtr_core *c)
{
	/* A request may bring the createSession of its session along. */
	uint32_t n = wtr_core_has_locals(c) ? 2 : 1;

	if (c->service == WTR_LEARNS)
		return wtr_learner_ready(c) && c->later_head - c->later_tail < WTR_LATER_MAX;
	if (c->service == WTR_IDLE || c->service == WTR_READS)
		return true;
	return has_place(c, n) && c->fill->len < WTR_BATCH_BYTES &&
	       c->later_head - c->later_tail < WTR_LATER_MAX && wtr_core_has_memory(c);
}

bool wtr_core_has_memory(const struct wtr_core *c)
{
	uint64_t n = (uint64_t)wtr_core_outstanding(c);

	/* Where nothing is awaited, waiting is in vain. */
	return shm_tree_room_to_shrink(c->tree, n + 1) || (!n && !shm_tree_retired_bytes(c->tree));
}

/* Start an entry: p->out points where the record goes. */
struct wtr_prep *wtr_submit_begin(struct wtr_core *c, struct wtr_session *s,
				  const struct jute_vec *ids)
{
	struct wtr_batch *b = c->fill;
	struct wtr_prep *p = &c->prep;

	CHECK(has_place(c, 1));
	p->session = s;
	p->ids = ids;
	p->zxid = zab_next_zxid(&c->zab);
	p->time_ms = c->wall_ms;
	p->members = 1;
	p->config = NULL;
	p->out = jute_out_of(b->bytes + b->len + sizeof(uint32_t) + ZK_TXN_HEADER_SIZE,
			     c->batch_cap - b->len - sizeof(uint32_t) - ZK_TXN_HEADER_SIZE -
				 ZK_TXN_DIGEST_SIZE);
	return p;
}

/* Whatever was written of the record is taken back. */
static void rewind_record(struct wtr_core *c)
{
	struct wtr_batch *b = c->fill;

	c->prep.out = jute_out_of(b->bytes + b->len + sizeof(uint32_t) + ZK_TXN_HEADER_SIZE,
				  c->batch_cap - b->len - sizeof(uint32_t) - ZK_TXN_HEADER_SIZE -
				      ZK_TXN_DIGEST_SIZE);
}

/* Put header and digest around the record, and submit. */
void wtr_submit_end(struct wtr_core *c, int64_t client_id, int32_t cxid, struct wtr_origin origin)
{
	struct wtr_batch *b = c->fill;
	struct wtr_prep *p = &c->prep;
	uint8_t *start = b->bytes + b->len + sizeof(uint32_t);
	struct jute_out header = jute_out_of(start, ZK_TXN_HEADER_SIZE);
	struct zab_event submit = {.type = ZAB_SUBMIT, .zxid = p->zxid, .config = p->config};
	uint32_t len;

	zk_txn_header_encode(
	    &header, &(struct zk_txn_header){client_id, cxid, p->zxid, p->time_ms, p->type});
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
	origin.members = p->members;
	b->origin[b->n] = origin;
	wtr_batch_added(c, b, p->zxid, len);
	c->changes += p->members;
	CHECK(wtr_core_step(c, &submit) == 0);
	CHECK(c->zab.last_zxid == p->zxid);
}

void wtr_submit_error(struct wtr_core *c, enum zk_code code)
{
	rewind_record(c);
	c->prep.type = ZK_OP_ERROR;
	zk_error_txn_encode(&c->prep.out, &(struct zk_error_txn){code});
}

/* closeSession, asked for by `origin` or (cxid 0) by nobody. */
void wtr_submit_close(struct wtr_core *c, struct wtr_session *s, int32_t cxid,
		      struct wtr_origin origin)
{
	struct wtr_prep *p = wtr_submit_begin(c, s, NULL);

	s->closing = true;
	wtr_prep_close_session(p);
	if (p->out.failed) {
		/* More ephemerals than an entry holds: apply deletes all the session has. */
		rewind_record(c);
		jute_put_int(&p->out, 0);
	}
	if (!c->conf->close_session_txn)
		rewind_record(c);
	wtr_submit_end(c, (int64_t)s->link.key, cxid, origin);
}

void wtr_submit_create_session(struct wtr_core *c, struct wtr_session *s, struct wtr_origin origin)
{
	struct wtr_prep *p = wtr_submit_begin(c, s, NULL);

	p->type = ZK_OP_CREATE_SESSION;
	zk_create_session_txn_encode(&p->out, &(struct zk_create_session_txn){s->timeout_ms});
	wtr_submit_end(c, (int64_t)s->link.key, 0, origin);
}

void wtr_core_delete_container(struct wtr_core *c, const char *path, uint32_t len)
{
	struct wtr_prep *p = wtr_submit_begin(c, NULL, NULL);

	if (!wtr_prep_delete_container(p, path, len))
		wtr_submit_end(c, 0, 0, (struct wtr_origin){.worker = MSG_NO_WORKER});
}

/*
 * A multi is decoded as a whole before its first member is prepared: what can't be decoded fails as
 * one request (ZMARSHALLINGERROR). Then members are prepared in order, each seeing those before it;
 * the first that fails takes all back, and the transaction says for each member what became of it.
 */
#include "writer/prep.h"

enum { RESULT_ERROR = 9 + 4, RESULT_STAT = 9 + ZK_STAT_SIZE, RESULT_PATH = 9 + 4 + 11 };

/* create with the flags that a create inside a multi may have, as the opcode they amount to. */
static int normalize_create(struct zk_multi_op *op)
{
	struct zk_create_ttl_request *r = &op->create;

	if (r->flags < 0 || r->flags > ZK_MODE_MAX || r->path.len < 0 || r->acl.count < 0)
		return -EBADMSG;
	if (op->type == ZK_OP_CREATE_TTL) {
		if (zk_mode_is_ttl(r->flags))
			return 0;
		op->type = ZK_OP_CREATE;
		r->ttl = -1;
	}
	if (zk_mode_is_ttl(r->flags))
		return -EBADMSG;
	if (r->flags == ZK_MODE_CONTAINER)
		op->type = ZK_OP_CREATE_CONTAINER;
	return 0;
}

/* Next member of a multi of writes. 1, 0 at the end, -EBADMSG. */
static int next_member(struct jute_in *in, struct zk_multi_op *op)
{
	int got = zk_multi_next(in, op);

	if (got != 1)
		return got;
	switch (op->type) {
	case ZK_OP_CREATE:
	case ZK_OP_CREATE2:
	case ZK_OP_CREATE_CONTAINER:
	case ZK_OP_CREATE_TTL:
		return normalize_create(op) ? -EBADMSG : 1;
	case ZK_OP_DELETE:
		return op->delete.path.len < 0 ? -EBADMSG : 1;
	case ZK_OP_SET_DATA:
	case ZK_OP_CHECK:
		return 1;
	default:
		return -EBADMSG;
	}
}

/* The most bytes that the result of a member takes. */
static uint64_t result_bound(const struct zk_multi_op *op)
{
	switch (op->type) {
	case ZK_OP_SET_DATA:
		return RESULT_STAT;
	case ZK_OP_DELETE:
	case ZK_OP_CHECK:
		return RESULT_ERROR;
	default:
		return RESULT_PATH + ZK_STAT_SIZE + (uint64_t)op->create.path.len;
	}
}

static enum zk_code prepare(struct wtr_prep *p, const struct zk_multi_op *op)
{
	switch (op->type) {
	case ZK_OP_DELETE:
		return wtr_prep_delete(p, &op->delete);
	case ZK_OP_SET_DATA:
		return wtr_prep_set_data(p, &op->set_data);
	case ZK_OP_CHECK:
		return wtr_prep_check(p, &op->delete);
	default:
		return wtr_prep_create(p, op->type, &op->create);
	}
}

static void put_error(struct wtr_prep *p, enum zk_code code)
{
	zk_multi_txn_put(&p->out, &(struct zk_txn_body){.type = ZK_OP_ERROR, .error = {code}});
}

/* One member as struct zk_txn: type, length, record. On a code nothing of it stays. */
static enum zk_code put_member(struct wtr_prep *p, const struct zk_multi_op *op)
{
	uint8_t *start = p->out.next;
	uint8_t *type = jute_reserve(&p->out, 4), *open = jute_open(&p->out);
	enum zk_code code;

	if (p->out.failed)
		return ZMARSHALLINGERROR;
	code = prepare(p, op);
	if (!code && p->out.failed)
		code = ZMARSHALLINGERROR;
	if (code) {
		if (!p->out.failed)
			p->out.next = start;
		return code;
	}
	be32_put(type, (uint32_t)p->type);
	jute_close(&p->out, open);
	return ZOK;
}

/* Decodes all, counts, and bounds the reply. The count, or -EBADMSG. */
static int64_t count_members(const struct wtr_prep *p, const uint8_t *body, uint32_t len)
{
	struct jute_in in = jute_in_of(body, len);
	struct zk_multi_op op;
	uint64_t reply = RESULT_ERROR;
	int64_t count = 0;
	int got;

	while ((got = next_member(&in, &op)) == 1) {
		count++;
		reply += result_bound(&op);
	}
	return got < 0 || reply > p->reply_max ? -EBADMSG : count;
}

enum zk_code wtr_prep_screen_multi(const struct wtr_prep *p, const uint8_t *body, uint32_t len)
{
	struct jute_in in = jute_in_of(body, len);
	struct zk_multi_op op;

	if (count_members(p, body, len) < 0)
		return ZMARSHALLINGERROR;
	while (next_member(&in, &op) == 1) {
		enum zk_code code = ZOK;

		if (op.type != ZK_OP_DELETE && op.type != ZK_OP_SET_DATA && op.type != ZK_OP_CHECK)
			code = wtr_prep_screen_create(p, op.type, &op.create);
		if (code)
			return code;
	}
	return ZOK;
}

uint32_t wtr_prep_multi_members(const uint8_t *body, uint32_t len)
{
	struct jute_in in = jute_in_of(body, len);
	struct zk_multi_op op;
	uint32_t count = 0;

	while (next_member(&in, &op) == 1)
		count++;
	return count;
}

bool wtr_prep_multi_makes_ephemeral(const uint8_t *body, uint32_t len)
{
	struct jute_in in = jute_in_of(body, len);
	struct zk_multi_op op;

	while (next_member(&in, &op) == 1)
		if ((op.type == ZK_OP_CREATE || op.type == ZK_OP_CREATE2) &&
		    zk_mode_is_ephemeral(op.create.flags))
			return true;
	return false;
}

enum zk_code wtr_prep_multi(struct wtr_prep *p, const uint8_t *body, uint32_t len)
{
	int64_t count = count_members(p, body, len);
	struct jute_in in = jute_in_of(body, len);
	int64_t ephemeral_zxid = p->session ? p->session->ephemeral_zxid : 0;
	enum zk_code failed = ZOK;
	struct zk_multi_op op;
	uint8_t *begin;

	if (count < 0)
		return ZMARSHALLINGERROR;
	begin = zk_multi_txn_begin(&p->out);
	wtr_pending_mark(p->pending);
	for (int64_t i = 0; i < count; i++) {
		CHECK(next_member(&in, &op) == 1);
		if (failed) {
			put_error(p, ZRUNTIMEINCONSISTENCY);
			continue;
		}
		failed = put_member(p, &op);
		if (failed == ZMARSHALLINGERROR)
			break; /* the request as a whole, not a member of it */
		if (failed)
			put_error(p, failed);
	}
	if (p->out.failed)
		failed = ZMARSHALLINGERROR;
	if (failed) {
		wtr_pending_rollback(p->pending);
		if (p->session)
			p->session->ephemeral_zxid = ephemeral_zxid;
	} else {
		wtr_pending_commit(p->pending);
	}
	p->type = ZK_OP_MULTI;
	p->members = (uint32_t)count;
	if (failed == ZMARSHALLINGERROR)
		return failed;
	zk_multi_txn_end(&p->out, begin, (size_t)count);
	return ZOK;
}

#include "writer/ahead.h"

#include "jute/txn.h"

enum { MEMBER_HEAD = 9, TXN_TYPE_AT = ZK_TXN_HEADER_SIZE - 4 };

static void note(struct wtr_core *c, struct wtr_ahead *a, const uint8_t *path, uint32_t len)
{
	if (a->n == sizeof(a->hash) / sizeof(a->hash[0]) || !len)
		return;
	a->hash[a->n] = shm_tree_hash(c->tree, path, len);
	shm_tree_prefetch(c->tree, a->hash[a->n]);
	wtr_pending_prefetch(&c->pending, a->hash[a->n]);
	a->n++;
}

static void note_parent(struct wtr_core *c, struct wtr_ahead *a, const uint8_t *path, uint32_t len)
{
	while (len && path[len - 1] != '/')
		len--;
	if (len)
		note(c, a, path, len == 1 ? 1 : len - 1);
}

/* A record that begins with the path of a znode: a request's or a transaction's. */
static void note_record(struct wtr_core *c, struct wtr_ahead *a, int32_t op, const uint8_t *body,
			uint32_t len)
{
	bool in_parent = true;
	uint32_t path_len;

	if (op == ZK_OP_MULTI && len > MEMBER_HEAD) {
		op = (int32_t)be32_get(body);
		body += MEMBER_HEAD;
		len -= MEMBER_HEAD;
	}
	switch ((enum zk_op)op) {
	case ZK_OP_SET_DATA:
	case ZK_OP_SET_ACL:
		in_parent = false;
		break;
	case ZK_OP_CREATE:
	case ZK_OP_CREATE2:
	case ZK_OP_CREATE_CONTAINER:
	case ZK_OP_CREATE_TTL:
	case ZK_OP_DELETE:
		break;
	default:
		return;
	}
	if (len < 4)
		return;
	path_len = be32_get(body);
	if (path_len > len - 4)
		return;
	note(c, a, body + 4, path_len);
	if (in_parent)
		note_parent(c, a, body + 4, path_len);
}

void wtr_ahead_request(struct wtr_core *c, struct wtr_ahead *a, const void *record, uint32_t len)
{
	struct msg_up up;

	if (len < sizeof(up))
		return;
	memcpy(&up, record, sizeof(up));
	if (up.kind == UP_REQUEST)
		note_record(c, a, up.op, (const uint8_t *)record + sizeof(up),
			    len - (uint32_t)sizeof(up));
}

void wtr_ahead_fetch(struct wtr_core *c, struct wtr_ahead *a)
{
	for (unsigned i = 0; i < a->n; i++)
		shm_tree_prefetch_node(c->tree, a->hash[i]);
	for (unsigned i = 0; i < a->n; i++)
		shm_tree_prefetch_version(c->tree, a->hash[i]);
	a->n = 0;
}

void wtr_ahead_apply(struct wtr_core *c, const struct wtr_batch *b)
{
	struct wtr_ahead a = {.n = 0};
	size_t at = b->applied_len;

	wtr_pending_prefetch_touched(&c->pending, WTR_AHEAD);
	for (uint32_t i = b->n_applied; i < b->n && i < b->n_applied + WTR_AHEAD; i++) {
		const uint8_t *entry = b->bytes + at + sizeof(uint32_t);
		uint32_t len;

		memcpy(&len, b->bytes + at, sizeof(len));
		if (len > ZK_TXN_HEADER_SIZE)
			note_record(c, &a, (int32_t)be32_get(entry + TXN_TYPE_AT),
				    entry + ZK_TXN_HEADER_SIZE, len - ZK_TXN_HEADER_SIZE);
		at += sizeof(len) + len;
	}
	wtr_ahead_fetch(c, &a);
}

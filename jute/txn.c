#include "jute/txn.h"

ZK_TXNS(ZK_RECORD_DEFINE)

static int decode_create(struct jute_in *in, struct zk_create_txn *to)
{
	struct jute_in again = *in;
	struct zk_create_txn_v0 v0;

	if (!zk_create_txn_decode(in, to))
		return 0;
	if (zk_create_txn_v0_decode(&again, &v0))
		return -EBADMSG;
	*in = again;
	*to = (struct zk_create_txn){v0.path, v0.data, v0.acl, v0.ephemeral, -1};
	return 0;
}

static int decode_close_session(struct jute_in *in, struct zk_close_session_txn *to)
{
	if (jute_left(in))
		return zk_close_session_txn_decode(in, to);
	to->paths = (struct jute_vec){NULL, 0, -1};
	return 0;
}

static int decode_multi(struct jute_in *in, struct zk_multi_txn *to)
{
	struct zk_txn txn;

	to->count = jute_get_count(in);
	to->members = *in;
	for (int32_t i = 0; i < to->count && !in->failed; i++)
		zk_txn_decode(in, &txn);
	to->members.end = in->next;
	return in->failed ? -EBADMSG : 0;
}

int zk_txn_body_decode(struct jute_in *in, int32_t type, struct zk_txn_body *to)
{
	to->type = type;
	switch ((enum zk_op)type) {
	case ZK_OP_CREATE:
	case ZK_OP_CREATE2:
		return decode_create(in, &to->create);
	case ZK_OP_CREATE_CONTAINER:
		return zk_create_container_txn_decode(in, &to->create_container);
	case ZK_OP_CREATE_TTL:
		return zk_create_ttl_txn_decode(in, &to->create_ttl);
	case ZK_OP_DELETE:
	case ZK_OP_DELETE_CONTAINER:
		return zk_delete_txn_decode(in, &to->delete);
	case ZK_OP_SET_DATA:
	case ZK_OP_RECONFIG:
		return zk_set_data_txn_decode(in, &to->set_data);
	case ZK_OP_SET_ACL:
		return zk_set_acl_txn_decode(in, &to->set_acl);
	case ZK_OP_CHECK:
		return zk_check_txn_decode(in, &to->check);
	case ZK_OP_MULTI:
		return decode_multi(in, &to->multi);
	case ZK_OP_CREATE_SESSION:
		return zk_create_session_txn_decode(in, &to->create_session);
	case ZK_OP_CLOSE_SESSION:
		return decode_close_session(in, &to->close_session);
	case ZK_OP_ERROR:
		return zk_error_txn_decode(in, &to->error);
	default:
		return -EBADMSG;
	}
}

void zk_txn_body_encode(struct jute_out *out, const struct zk_txn_body *from)
{
	switch ((enum zk_op)from->type) {
	case ZK_OP_CREATE:
	case ZK_OP_CREATE2:
		zk_create_txn_encode(out, &from->create);
		return;
	case ZK_OP_CREATE_CONTAINER:
		zk_create_container_txn_encode(out, &from->create_container);
		return;
	case ZK_OP_CREATE_TTL:
		zk_create_ttl_txn_encode(out, &from->create_ttl);
		return;
	case ZK_OP_DELETE:
	case ZK_OP_DELETE_CONTAINER:
		zk_delete_txn_encode(out, &from->delete);
		return;
	case ZK_OP_SET_DATA:
	case ZK_OP_RECONFIG:
		zk_set_data_txn_encode(out, &from->set_data);
		return;
	case ZK_OP_SET_ACL:
		zk_set_acl_txn_encode(out, &from->set_acl);
		return;
	case ZK_OP_CHECK:
		zk_check_txn_encode(out, &from->check);
		return;
	case ZK_OP_CREATE_SESSION:
		zk_create_session_txn_encode(out, &from->create_session);
		return;
	case ZK_OP_CLOSE_SESSION:
		zk_close_session_txn_encode(out, &from->close_session);
		return;
	case ZK_OP_ERROR:
		zk_error_txn_encode(out, &from->error);
		return;
	default:
		check_failed("a type that has a record", __FILE__, __LINE__);
	}
}

int zk_multi_txn_next(struct zk_multi_txn *multi, struct zk_txn_body *to)
{
	struct zk_txn txn;
	struct jute_in record;

	if (zk_txn_decode(&multi->members, &txn) || txn.record.len < 0)
		return -EBADMSG;
	record = jute_in_of(txn.record.data, (size_t)txn.record.len);
	/* A multi inside a multi does not exist, and would be recursion on input. */
	return txn.type == ZK_OP_MULTI ? -EBADMSG : zk_txn_body_decode(&record, txn.type, to);
}

void zk_multi_txn_put(struct jute_out *out, const struct zk_txn_body *member)
{
	uint8_t *open;

	jute_put_int(out, member->type);
	open = jute_open(out);
	zk_txn_body_encode(out, member);
	jute_close(out, open);
}

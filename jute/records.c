#include "jute/records.h"

ZK_RECORDS(ZK_RECORD_DEFINE)

struct zk_stat jute_get_stat(struct jute_in *in)
{
	struct zk_stat s;

	s.czxid = jute_get_long(in);
	s.mzxid = jute_get_long(in);
	s.ctime = jute_get_long(in);
	s.mtime = jute_get_long(in);
	s.version = jute_get_int(in);
	s.cversion = jute_get_int(in);
	s.aversion = jute_get_int(in);
	s.ephemeral_owner = jute_get_long(in);
	s.data_length = jute_get_int(in);
	s.num_children = jute_get_int(in);
	s.pzxid = jute_get_long(in);
	return s;
}

int zk_reply_header_decode(struct jute_in *in, struct zk_reply_header *to)
{
	to->xid = jute_get_int(in);
	to->zxid = jute_get_long(in);
	to->err = jute_get_int(in);
	return in->failed ? -EBADMSG : 0;
}

int zk_connect_request_decode(struct jute_in *in, struct zk_connect_request *to)
{
	to->protocol_version = jute_get_int(in);
	to->last_zxid_seen = jute_get_long(in);
	to->timeout_ms = jute_get_int(in);
	to->session_id = jute_get_long(in);
	to->passwd = jute_get_buffer(in);
	to->has_read_only = !in->failed && jute_left(in) > 0;
	to->read_only = to->has_read_only && jute_get_boolean(in);
	return in->failed ? -EBADMSG : 0;
}

void zk_connect_request_encode(struct jute_out *out, const struct zk_connect_request *from)
{
	jute_put_int(out, from->protocol_version);
	jute_put_long(out, from->last_zxid_seen);
	jute_put_int(out, from->timeout_ms);
	jute_put_long(out, from->session_id);
	jute_put_buffer(out, from->passwd);
	if (from->has_read_only)
		jute_put_boolean(out, from->read_only);
}

int zk_connect_response_decode(struct jute_in *in, struct zk_connect_response *to)
{
	to->protocol_version = jute_get_int(in);
	to->timeout_ms = jute_get_int(in);
	to->session_id = jute_get_long(in);
	to->passwd = jute_get_buffer(in);
	to->has_read_only = !in->failed && jute_left(in) > 0;
	to->read_only = to->has_read_only && jute_get_boolean(in);
	return in->failed ? -EBADMSG : 0;
}

void zk_connect_response_encode(struct jute_out *out, const struct zk_connect_response *from)
{
	jute_put_int(out, from->protocol_version);
	jute_put_int(out, from->timeout_ms);
	jute_put_long(out, from->session_id);
	jute_put_buffer(out, from->passwd);
	if (from->has_read_only)
		jute_put_boolean(out, from->read_only);
}

static int decode_create(struct jute_in *in, struct zk_create_ttl_request *to)
{
	struct zk_create_request r;

	if (zk_create_request_decode(in, &r))
		return -EBADMSG;
	*to = (struct zk_create_ttl_request){r.path, r.data, r.acl, r.flags, -1};
	return 0;
}

static int decode_member(struct jute_in *in, struct zk_multi_op *to)
{
	switch (to->type) {
	case ZK_OP_CREATE:
	case ZK_OP_CREATE2:
	case ZK_OP_CREATE_CONTAINER:
		return decode_create(in, &to->create);
	case ZK_OP_CREATE_TTL:
		return zk_create_ttl_request_decode(in, &to->create);
	case ZK_OP_DELETE:
	case ZK_OP_CHECK:
		return zk_delete_request_decode(in, &to->delete);
	case ZK_OP_SET_DATA:
		return zk_set_data_request_decode(in, &to->set_data);
	case ZK_OP_GET_DATA:
	case ZK_OP_GET_CHILDREN:
		return zk_read_request_decode(in, &to->read);
	}
	return -EBADMSG;
}

int zk_multi_next(struct jute_in *in, struct zk_multi_op *to)
{
	struct zk_multi_header h;
	int err = zk_multi_header_decode(in, &h);

	if (err || h.done)
		return err;
	to->type = h.type;
	err = decode_member(in, to);
	return err ? err : 1;
}

void zk_multi_end(struct jute_out *out)
{
	zk_multi_header_encode(out, &(struct zk_multi_header){-1, true, -1});
}

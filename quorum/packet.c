#include "quorum/packet.h"

#include <errno.h>

enum { HEAD_SIZE = 16 }; /* type, zxid, the data's length */

size_t quorum_packet_max(size_t data_max)
{
	return HEAD_SIZE + data_max + 4 + QUORUM_AUTHINFO_MAX;
}

/*
 * Walk over the Ids. 1: they are whole; 0: `*need` more bytes must be there, from where `in` then
 * stands; -EBADMSG. Each ustring to come has 4 bytes or more: this many are asked for at once.
 */
static int skip_ids(struct jute_in *in, int32_t count, size_t *need)
{
	const uint8_t *start = in->next;

	for (int32_t left = 2 * count; left > 0; left--) {
		int32_t len = jute_left(in) < 4 ? 0 : (int32_t)be32_get(in->next);
		size_t size = 4 + (len > 0 ? (size_t)len : 0);

		*need = size + 4 * (size_t)(left - 1);
		if (len < -1 || (size_t)(in->next - start) + *need > QUORUM_AUTHINFO_MAX)
			return -EBADMSG;
		if (jute_left(in) < size)
			return 0;
		in->next += size;
	}
	*need = 0;
	return 1;
}

int64_t quorum_packet_decode(const void *stream, size_t size, size_t data_max,
			     struct quorum_packet *to, size_t *need)
{
	struct jute_in in = jute_in_of(stream, size);
	const uint8_t *start = in.next, *ids;
	size_t more;
	int32_t len;
	int found;

	*need = QUORUM_PACKET_MIN;
	to->type = jute_get_int(&in);
	to->zxid = jute_get_long(&in);
	len = jute_get_int(&in);
	if (in.failed)
		return 0;
	if (len < -1 || (len > 0 && (size_t)len > data_max))
		return -EBADMSG;
	*need = QUORUM_PACKET_MIN + (len > 0 ? (size_t)len : 0);
	if (size < *need)
		return 0;
	in.next -= 4;
	to->data = jute_get_buffer(&in);
	ids = in.next;
	to->authinfo.count = jute_get_int(&in);
	if (to->authinfo.count < -1 || to->authinfo.count > QUORUM_IDS_MAX)
		return -EBADMSG;
	found = skip_ids(&in, to->authinfo.count, &more);
	*need = (size_t)(in.next - start) + more;
	if (found <= 0)
		return found;
	to->authinfo.data = ids;
	to->authinfo.size = (uint32_t)(in.next - ids);
	return in.next - start;
}

void quorum_packet_encode(struct jute_out *out, const struct quorum_packet *from)
{
	jute_put_int(out, from->type);
	jute_put_long(out, from->zxid);
	jute_put_buffer(out, from->data);
	jute_put_vec(out, &from->authinfo);
}

/* Type, zxid and the length of the data, which the caller puts behind it. */
static void put_head(struct jute_out *out, int32_t type, int64_t zxid, size_t len)
{
	CHECK(len <= INT32_MAX);
	jute_put_int(out, type);
	jute_put_long(out, zxid);
	jute_put_int(out, (int32_t)len);
}

static void put_no_ids(struct jute_out *out)
{
	jute_put_int(out, -1);
}

void quorum_packet_put(struct jute_out *out, int32_t type, int64_t zxid, const void *data,
		       size_t len)
{
	jute_put_int(out, type);
	jute_put_long(out, zxid);
	jute_put_buffer(out, data ? jute_buf_of(data, len) : jute_null);
	put_no_ids(out);
}

const char *quorum_packet_name(int32_t type)
{
	static const char *const names[] = {
	    [QUORUM_REQUEST] = "REQUEST",
	    [QUORUM_PROPOSAL] = "PROPOSAL",
	    [QUORUM_ACK] = "ACK",
	    [QUORUM_COMMIT] = "COMMIT",
	    [QUORUM_PING] = "PING",
	    [QUORUM_REVALIDATE] = "REVALIDATE",
	    [QUORUM_SYNC] = "SYNC",
	    [QUORUM_INFORM] = "INFORM",
	    [QUORUM_COMMITANDACTIVATE] = "COMMITANDACTIVATE",
	    [QUORUM_NEWLEADER] = "NEWLEADER",
	    [QUORUM_FOLLOWERINFO] = "FOLLOWERINFO",
	    [QUORUM_UPTODATE] = "UPTODATE",
	    [QUORUM_DIFF] = "DIFF",
	    [QUORUM_TRUNC] = "TRUNC",
	    [QUORUM_SNAP] = "SNAP",
	    [QUORUM_OBSERVERINFO] = "OBSERVERINFO",
	    [QUORUM_LEADERINFO] = "LEADERINFO",
	    [QUORUM_ACKEPOCH] = "ACKEPOCH",
	    [QUORUM_INFORMANDACTIVATE] = "INFORMANDACTIVATE",
	};

	if (type < QUORUM_REQUEST || type > QUORUM_INFORMANDACTIVATE)
		return "?";
	return names[type];
}

/* --- data of packets ------------------------------------------------------------------------- */

static struct jute_in data_in(struct jute_buf data)
{
	return jute_in_of(data.data, data.len > 0 ? (size_t)data.len : 0);
}

/* All was read, and nothing was missing. */
static int whole(const struct jute_in *in)
{
	return in->failed || jute_left(in) ? -EBADMSG : 0;
}

static struct jute_buf rest(struct jute_in *in)
{
	return jute_buf_of(in->next, jute_left(in));
}

int quorum_learner_info_decode(struct jute_buf data, struct quorum_learner_info *to)
{
	struct jute_in in = data_in(data);

	*to = (struct quorum_learner_info){.sid = jute_get_long(&in)};
	if (jute_left(&in))
		to->protocol_version = jute_get_int(&in);
	if (jute_left(&in))
		to->config_version = jute_get_long(&in);
	return whole(&in);
}

void quorum_put_learner_info(struct jute_out *out, int32_t type, int64_t accepted_epoch,
			     const struct quorum_learner_info *from)
{
	put_head(out, type, (int64_t)((uint64_t)accepted_epoch << 32), 20);
	jute_put_long(out, from->sid);
	jute_put_int(out, from->protocol_version);
	jute_put_long(out, from->config_version);
	put_no_ids(out);
}

int quorum_int_decode(struct jute_buf data, int32_t *to)
{
	struct jute_in in = data_in(data);

	*to = jute_get_int(&in);
	return whole(&in);
}

void quorum_put_leader_info(struct jute_out *out, int64_t epoch)
{
	put_head(out, QUORUM_LEADERINFO, (int64_t)((uint64_t)epoch << 32), 4);
	jute_put_int(out, QUORUM_PROTOCOL_VERSION);
	put_no_ids(out);
}

void quorum_put_ack_epoch(struct jute_out *out, int64_t last_zxid, int32_t current_epoch)
{
	put_head(out, QUORUM_ACKEPOCH, last_zxid, 4);
	jute_put_int(out, current_epoch);
	put_no_ids(out);
}

int32_t quorum_touches(struct jute_buf data)
{
	if (data.len <= 0)
		return 0;
	return data.len % QUORUM_TOUCH_SIZE ? -EBADMSG : data.len / QUORUM_TOUCH_SIZE;
}

struct quorum_touch quorum_touch_get(struct jute_buf data, int32_t i)
{
	const uint8_t *at = data.data + (ptrdiff_t)i * QUORUM_TOUCH_SIZE;

	CHECK(i >= 0);
	CHECK(i < quorum_touches(data));
	return (struct quorum_touch){(int64_t)be64_get(at), (int32_t)be32_get(at + 8)};
}

void quorum_touch_set(uint8_t *data, int32_t i, struct quorum_touch touch)
{
	uint8_t *at = data + (ptrdiff_t)i * QUORUM_TOUCH_SIZE;

	be64_put(at, (uint64_t)touch.session_id);
	be32_put(at + 8, (uint32_t)touch.timeout_ms);
}

int quorum_revalidated_decode(struct jute_buf data, struct quorum_revalidated *to)
{
	struct jute_in in = data_in(data);

	to->session_id = jute_get_long(&in);
	to->valid = jute_get_boolean(&in);
	return whole(&in);
}

void quorum_put_revalidate(struct jute_out *out, struct quorum_touch session)
{
	uint8_t data[QUORUM_TOUCH_SIZE];

	quorum_touch_set(data, 0, session);
	quorum_packet_put(out, QUORUM_REVALIDATE, -1, data, sizeof(data));
}

void quorum_put_revalidated(struct jute_out *out, int64_t zxid,
			    const struct quorum_revalidated *from)
{
	put_head(out, QUORUM_REVALIDATE, zxid, 9);
	jute_put_long(out, from->session_id);
	jute_put_boolean(out, from->valid);
	put_no_ids(out);
}

int quorum_request_decode(struct jute_buf data, struct quorum_request *to)
{
	struct jute_in in = data_in(data);

	to->session_id = jute_get_long(&in);
	to->cxid = jute_get_int(&in);
	to->opcode = jute_get_int(&in);
	to->body = rest(&in);
	return in.failed ? -EBADMSG : 0;
}

void quorum_put_request(struct jute_out *out, const struct quorum_request *from,
			const struct jute_vec *authinfo)
{
	size_t len = from->body.len > 0 ? (size_t)from->body.len : 0;

	put_head(out, QUORUM_REQUEST, -1, 16 + len);
	jute_put_long(out, from->session_id);
	jute_put_int(out, from->cxid);
	jute_put_int(out, from->opcode);
	jute_put_bytes(out, from->body.data, len);
	jute_put_vec(out, authinfo);
}

int quorum_activate_decode(struct jute_buf data, struct quorum_activate *to)
{
	struct jute_in in = data_in(data);

	to->leader_sid = jute_get_long(&in);
	to->txn = rest(&in);
	return in.failed ? -EBADMSG : 0;
}

void quorum_put_activate(struct jute_out *out, int32_t type, int64_t zxid,
			 const struct quorum_activate *from)
{
	size_t len = from->txn.len > 0 ? (size_t)from->txn.len : 0;

	put_head(out, type, zxid, 8 + len);
	jute_put_long(out, from->leader_sid);
	jute_put_bytes(out, from->txn.data, len);
	put_no_ids(out);
}

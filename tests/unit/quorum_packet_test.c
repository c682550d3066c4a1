#include "quorum/packet.h"

#include <errno.h>

#include "jute/acl.h"
#include "tests/t.h"
#include "tests/unit/hex.h"

enum { DATA_MAX = 1000, BUFFER = 300 << 10 };

struct fx {
	uint8_t bytes[BUFFER];
	struct jute_out out;
	struct quorum_packet packet;
	size_t need;
};

static void up(struct fx *f)
{
	f->out = jute_out_of(f->bytes, sizeof(f->bytes));
}

static void down(struct fx *f)
{
	(void)f;
}

/* What was put so far must be these bytes, and be decoded as one packet; then begin anew. */
static void expect_bytes(struct fx *f, const char *want)
{
	const struct hex *h = hex(want);

	EXPECT_U(jute_size(&f->out, f->bytes), ==, h->size);
	EXPECT_MEM(f->bytes, h->bytes, h->size);
	EXPECT_I(quorum_packet_decode(h->bytes, h->size, DATA_MAX, &f->packet, &f->need), ==,
		 (int64_t)h->size);
	f->out = jute_out_of(f->bytes, sizeof(f->bytes));
	quorum_packet_encode(&f->out, &f->packet);
	EXPECT_U(jute_size(&f->out, f->bytes), ==, h->size);
	EXPECT_MEM(f->bytes, h->bytes, h->size);
	f->out = jute_out_of(f->bytes, sizeof(f->bytes));
}

/* Bytes seen between servers of Apache ZooKeeper 3.8.0. */
TEST_F(quorum_packet, bytes_of_live_traffic, struct fx, up, down)
{
	struct quorum_learner_info info = {4, QUORUM_PROTOCOL_VERSION, 0};
	struct quorum_revalidated valid = {0x01000019c2240000, true};
	int64_t zxid = 0x200000000;

	quorum_put_learner_info(&f->out, QUORUM_OBSERVERINFO, 0, &info);
	expect_bytes(f, "00000010 0000000000000000 00000014 0000000000000004 00010000 "
			"0000000000000000 ffffffff");
	quorum_put_leader_info(&f->out, 2);
	expect_bytes(f, "00000011 0000000200000000 00000004 00010000 ffffffff");
	quorum_put_ack_epoch(&f->out, 0, 0);
	expect_bytes(f, "00000012 0000000000000000 00000004 00000000 ffffffff");
	quorum_packet_put(&f->out, QUORUM_SNAP, zxid, NULL, 0);
	expect_bytes(f, "0000000f 0000000200000000 ffffffff ffffffff");
	quorum_packet_put(&f->out, QUORUM_ACK, zxid, NULL, 0);
	expect_bytes(f, "00000003 0000000200000000 ffffffff ffffffff");
	quorum_packet_put(&f->out, QUORUM_UPTODATE, -1, NULL, 0);
	expect_bytes(f, "0000000c ffffffffffffffff ffffffff ffffffff");
	quorum_packet_put(&f->out, QUORUM_PING, zxid, NULL, 0);
	expect_bytes(f, "00000005 0000000200000000 ffffffff ffffffff");
	quorum_put_revalidated(&f->out, -1, &valid);
	expect_bytes(f, "00000006 ffffffffffffffff 00000009 01000019c2240000 01 ffffffff");
	quorum_packet_put(&f->out, QUORUM_SYNC, 0, NULL, 0);
	expect_bytes(f, "00000007 0000000000000000 ffffffff ffffffff");
}

TEST_F(quorum_packet, learner_info_has_three_forms, struct fx, up, down)
{
	struct quorum_learner_info info;
	const struct hex *h = hex("0000000000000004 00010000 0000000100000002");

	EXPECT_I(quorum_learner_info_decode(jute_buf_of(h->bytes, 20), &info), ==, 0);
	EXPECT_I(info.sid, ==, 4);
	EXPECT_I(info.protocol_version, ==, QUORUM_PROTOCOL_VERSION);
	EXPECT_I(info.config_version, ==, 0x100000002);
	EXPECT_I(quorum_learner_info_decode(jute_buf_of(h->bytes, 12), &info), ==, 0);
	EXPECT_I(info.protocol_version, ==, QUORUM_PROTOCOL_VERSION);
	EXPECT_I(info.config_version, ==, 0);
	EXPECT_I(quorum_learner_info_decode(jute_buf_of(h->bytes, 8), &info), ==, 0);
	EXPECT_I(info.protocol_version, ==, 0);
	for (size_t len = 0; len < 24; len++)
		EXPECT_I(quorum_learner_info_decode(jute_buf_of(h->bytes, len), &info), ==,
			 len == 8 || len == 12 || len == 20 ? 0 : -EBADMSG);
	EXPECT_I(quorum_learner_info_decode(jute_null, &info), ==, -EBADMSG);
	(void)f;
}

TEST_F(quorum_packet, ints_have_four_bytes, struct fx, up, down)
{
	const struct hex *h = hex("fffffffe 00");
	int32_t value;

	EXPECT_I(quorum_int_decode(jute_buf_of(h->bytes, 4), &value), ==, 0);
	EXPECT_I(value, ==, -2);
	EXPECT_I(quorum_int_decode(jute_buf_of(h->bytes, 5), &value), ==, -EBADMSG);
	EXPECT_I(quorum_int_decode(jute_buf_of(h->bytes, 3), &value), ==, -EBADMSG);
	EXPECT_I(quorum_int_decode(jute_null, &value), ==, -EBADMSG);
	(void)f;
}

TEST_F(quorum_packet, touches_are_twelve_bytes_each, struct fx, up, down)
{
	uint8_t data[24];
	struct quorum_touch touch;

	quorum_touch_set(data, 0, (struct quorum_touch){7, 8});
	quorum_touch_set(data, 1, (struct quorum_touch){-9, 10000});
	EXPECT_I(quorum_touches(jute_buf_of(data, 24)), ==, 2);
	touch = quorum_touch_get(jute_buf_of(data, 24), 1);
	EXPECT_I(touch.session_id, ==, -9);
	EXPECT_I(touch.timeout_ms, ==, 10000);
	EXPECT_I(quorum_touches(jute_buf_of(data, 0)), ==, 0);
	EXPECT_I(quorum_touches(jute_null), ==, 0);
	EXPECT_I(quorum_touches(jute_buf_of(data, 23)), ==, -EBADMSG);
	/* A learner's answer without touches: an empty buffer, not null. */
	quorum_packet_put(&f->out, QUORUM_PING, 0x200000001, data, 0);
	expect_bytes(f, "00000005 0000000200000001 00000000 ffffffff");
	quorum_put_revalidate(&f->out, (struct quorum_touch){0x01000019c2240000, 10000});
	expect_bytes(f, "00000006 ffffffffffffffff 0000000c 01000019c2240000 00002710 ffffffff");
}

TEST_F(quorum_packet, request_carries_its_identities, struct fx, up, down)
{
	const struct hex *ids = hex("00000001 00000002 6970 00000009 3132372e302e302e31");
	struct jute_vec view = zk_ids_view(ids->bytes, ids->size);
	const struct hex *body = hex("00000002 2f70");
	struct quorum_request request = {5, 6, 9, jute_buf_of(body->bytes, body->size)}, got;

	quorum_put_request(&f->out, &request, &view);
	expect_bytes(f, "00000001 ffffffffffffffff 00000016 0000000000000005 00000006 00000009 "
			"00000002 2f70 00000001 00000002 6970 00000009 3132372e302e302e31");
	EXPECT_I(f->packet.authinfo.count, ==, 1);
	EXPECT_U(f->packet.authinfo.size, ==, ids->size);
	EXPECT_MEM(f->packet.authinfo.data, ids->bytes, ids->size);
	EXPECT_I(quorum_request_decode(f->packet.data, &got), ==, 0);
	EXPECT_I(got.session_id, ==, 5);
	EXPECT_I(got.cxid, ==, 6);
	EXPECT_I(got.opcode, ==, 9);
	EXPECT_TRUE(jute_buf_equal(got.body, request.body));
	EXPECT_I(quorum_request_decode(jute_buf_of(body->bytes, 6), &got), ==, -EBADMSG);
	EXPECT_I(quorum_request_decode(jute_null, &got), ==, -EBADMSG);
}

TEST_F(quorum_packet, activation_names_a_leader, struct fx, up, down)
{
	struct quorum_activate commit = {3, jute_null}, inform = {3, jute_text("txn")}, got;

	quorum_put_activate(&f->out, QUORUM_COMMITANDACTIVATE, 0x200000005, &commit);
	expect_bytes(f, "00000009 0000000200000005 00000008 0000000000000003 ffffffff");
	quorum_put_activate(&f->out, QUORUM_INFORMANDACTIVATE, 0x200000005, &inform);
	expect_bytes(f, "00000013 0000000200000005 0000000b 0000000000000003 74786e ffffffff");
	EXPECT_I(quorum_activate_decode(jute_buf_of("1234567", 7), &got), ==, -EBADMSG);
	EXPECT_I(quorum_activate_decode(jute_buf_of("12345678x", 9), &got), ==, 0);
	EXPECT_TRUE(jute_buf_is(got.txn, "x"));
}

TEST_F(quorum_packet, revalidation_answers_have_nine_bytes, struct fx, up, down)
{
	const struct hex *h = hex("0000000000000007 01 00");
	struct quorum_revalidated got;

	EXPECT_I(quorum_revalidated_decode(jute_buf_of(h->bytes, 9), &got), ==, 0);
	EXPECT_I(got.session_id, ==, 7);
	EXPECT_TRUE(got.valid);
	EXPECT_I(quorum_revalidated_decode(jute_buf_of(h->bytes, 8), &got), ==, -EBADMSG);
	EXPECT_I(quorum_revalidated_decode(jute_buf_of(h->bytes, 10), &got), ==, -EBADMSG);
	(void)f;
}

/* A stream in pieces: never a packet too early, and what is asked for is really needed. */
TEST_F(quorum_packet, comes_in_pieces, struct fx, up, down)
{
	struct jute_vec view;
	uint8_t ids[64];
	struct jute_out out = jute_out_of(ids, sizeof(ids));
	struct quorum_request request = {1, 2, 3, jute_text("body of the request")};
	int64_t size;

	jute_put_int(&out, 2);
	for (int i = 0; i < 2; i++) {
		jute_put_ustring(&out, jute_text("digest"));
		jute_put_ustring(&out, i ? jute_null : jute_text("somebody:hash"));
	}
	view = zk_ids_view(ids, jute_size(&out, ids));
	REQUIRE(EXPECT_I(view.count, ==, 2));
	quorum_put_request(&f->out, &request, &view);
	size = (int64_t)jute_size(&f->out, f->bytes);
	quorum_packet_put(&f->out, QUORUM_PING, 0, NULL, 0);
	for (int64_t have = 0; have < size; have++) {
		EXPECT_I(quorum_packet_decode(f->bytes, (size_t)have, 100, &f->packet, &f->need),
			 ==, 0);
		EXPECT_I((int64_t)f->need, >, have);
		EXPECT_I((int64_t)f->need, <=, size);
	}
	EXPECT_I(quorum_packet_decode(f->bytes, sizeof(f->bytes), 100, &f->packet, &f->need), ==,
		 size);
	EXPECT_I(quorum_packet_decode(f->bytes + size, 20, 100, &f->packet, &f->need), ==, 20);
	EXPECT_I(f->packet.type, ==, QUORUM_PING);
}

static int64_t decode_hex(struct fx *f, const char *text)
{
	const struct hex *h = hex(text);

	return quorum_packet_decode(h->bytes, h->size, DATA_MAX, &f->packet, &f->need);
}

/* A length is judged when it is there, not when what it announces is. */
TEST_F(quorum_packet, refuses_lengths_at_once, struct fx, up, down)
{
	EXPECT_I(decode_hex(f, "00000002 0000000000000001 000003e8"), ==, 0);
	EXPECT_U(f->need, ==, 1020);
	EXPECT_I(decode_hex(f, "00000002 0000000000000001 000003e9"), ==, -EBADMSG);
	EXPECT_I(decode_hex(f, "00000002 0000000000000001 7fffffff"), ==, -EBADMSG);
	EXPECT_I(decode_hex(f, "00000002 0000000000000001 fffffffe"), ==, -EBADMSG);
	EXPECT_I(decode_hex(f, "00000002 0000000000000001 ffffffff fffffffe"), ==, -EBADMSG);
	EXPECT_I(decode_hex(f, "00000002 0000000000000001 ffffffff 00000401"), ==, -EBADMSG);
	EXPECT_I(decode_hex(f, "00000002 0000000000000001 ffffffff 00000400"), ==, 0);
	EXPECT_U(f->need, ==, 20 + 8 * 1024);
	EXPECT_I(decode_hex(f, "00000002 0000000000000001 ffffffff 00000001 fffffffe"), ==,
		 -EBADMSG);
	EXPECT_I(decode_hex(f, "00000002 0000000000000001 ffffffff 00000001 0003fff8"), ==, 0);
	EXPECT_U(f->need, ==, 20 + QUORUM_AUTHINFO_MAX);
	EXPECT_U(f->need, <=, quorum_packet_max(DATA_MAX));
	EXPECT_I(decode_hex(f, "00000002 0000000000000001 ffffffff 00000001 0003fff9"), ==,
		 -EBADMSG);
	EXPECT_I(decode_hex(f, "00000002 0000000000000001 ffffffff 00000001 7fffffff"), ==,
		 -EBADMSG);
}

TEST_F(quorum_packet, unknown_types_are_packets, struct fx, up, down)
{
	EXPECT_I(decode_hex(f, "80000000 0000000000000001 00000001 07 00000000"), ==, 21);
	EXPECT_I(f->packet.type, ==, INT32_MIN);
	EXPECT_I(f->packet.data.len, ==, 1);
	EXPECT_I(f->packet.authinfo.count, ==, 0);
	EXPECT_STR(quorum_packet_name(f->packet.type), "?");
	EXPECT_STR(quorum_packet_name(20), "?");
	EXPECT_STR(quorum_packet_name(0), "?");
	EXPECT_STR(quorum_packet_name(19), "INFORMANDACTIVATE");
	EXPECT_STR(quorum_packet_name(1), "REQUEST");
}

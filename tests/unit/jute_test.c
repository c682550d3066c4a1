#include "tests/t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "jute/codes.h"
#include "jute/records.h"
#include "jute/session.h"
#include "tests/unit/hex.h"

static struct jute_in in_of(const struct hex *h)
{
	return jute_in_of(h->bytes, h->size);
}

static void expect_bytes(const struct jute_out *out, const uint8_t *start, const struct hex *want)
{
	REQUIRE(EXPECT_TRUE(!out->failed));
	REQUIRE(EXPECT_U(jute_size(out, start), ==, want->size));
	EXPECT_MEM(start, want->bytes, want->size);
}

TEST(jute_in, a_read_past_the_end_is_zero_and_sticks)
{
	struct jute_in in = jute_in_of("\0\0\0\1\7", 5);

	EXPECT_I(jute_get_int(&in), ==, 1);
	EXPECT_I(jute_get_int(&in), ==, 0);
	EXPECT_TRUE(in.failed);
	EXPECT_U(jute_left(&in), ==, 0);
	EXPECT_TRUE(!jute_get_boolean(&in));
	EXPECT_I(jute_get_long(&in), ==, 0);
	EXPECT_I(jute_get_buffer(&in).len, ==, -1);
}

TEST(jute_in, null_and_empty_buffers_differ)
{
	struct jute_in in = in_of(hex("ffffffff 00000000 00000002 6869"));
	struct jute_buf b = jute_get_buffer(&in);

	EXPECT_I(b.len, ==, -1);
	EXPECT_TRUE(b.data == NULL);
	EXPECT_I(jute_get_buffer(&in).len, ==, 0);
	b = jute_get_ustring(&in);
	EXPECT_TRUE(jute_buf_is(b, "hi"));
	EXPECT_TRUE(!in.failed);
	EXPECT_TRUE(!jute_buf_equal(jute_null, jute_text("")));
	EXPECT_TRUE(jute_buf_equal(jute_null, jute_null));
}

TEST(jute_in, lengths_that_are_negative_or_beyond_the_end_fail)
{
	static const char *const bad[] = {"fffffffe", "80000000", "7fffffff", "00000003 6869"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct jute_in in = in_of(hex(bad[i]));

		EXPECT_I(jute_get_buffer(&in).len, ==, -1);
		EXPECT_TRUE(in.failed);
	}
}

TEST(jute_in, vectors_are_null_empty_or_walked_to_their_end)
{
	struct jute_in in = in_of(hex("ffffffff 80000000 00000002 00000001 61 ffffffff 09"));
	struct jute_vec v = jute_get_ustrings(&in);

	EXPECT_I(v.count, ==, -1);
	v = jute_get_ustrings(&in);
	EXPECT_I(v.count, ==, 0);
	v = jute_get_ustrings(&in);
	EXPECT_I(v.count, ==, 2);
	EXPECT_U(v.size, ==, 13);
	EXPECT_U(jute_left(&in), ==, 1);
	in = jute_elements(&v);
	EXPECT_TRUE(jute_buf_is(jute_get_ustring(&in), "a"));
	EXPECT_I(jute_get_ustring(&in).len, ==, -1);
	EXPECT_U(jute_left(&in), ==, 0);
}

TEST(jute_in, a_vector_that_announces_more_than_there_is_fails)
{
	struct jute_in in = in_of(hex("7fffffff 00000000 00000000"));

	EXPECT_I(jute_get_ustrings(&in).count, ==, -1);
	EXPECT_TRUE(in.failed);
	in = in_of(hex("00000001 0000001f 00000001 61"));
	EXPECT_I(jute_get_acls(&in).count, ==, -1);
	EXPECT_TRUE(in.failed);
}

TEST(jute_out, what_does_not_fit_fails_and_leaves_the_rest_alone)
{
	uint8_t to[9] = {0};
	struct jute_out out = jute_out_of(to, 8);

	jute_put_int(&out, 1);
	jute_put_long(&out, -1);
	EXPECT_TRUE(out.failed);
	jute_put_boolean(&out, true);
	EXPECT_MEM(to, "\0\0\0\1\0\0\0\0\0", 9);
	EXPECT_U(jute_size(&out, to), ==, 4);
}

TEST(jute_out, an_open_piece_gets_its_length_when_closed)
{
	uint8_t to[16];
	struct jute_out out = jute_out_of(to, sizeof(to));
	uint8_t *open = jute_open(&out);

	jute_put_int(&out, 7);
	jute_put_boolean(&out, true);
	jute_close(&out, open);
	expect_bytes(&out, to, hex("00000005 00000007 01"));
}

/* --- the conversation of the specification: what clients send, what they get ---------------- */

TEST(jute_records, handshake_is_read_and_written_as_captured)
{
	struct jute_in in = in_of(hex("00000000 0000000000000000 00002710 0000000000000000"
				      "00000010 00000000000000000000000000000000 00"));
	struct zk_connect_request request;
	uint8_t to[64], password[ZK_SESSION_PASSWORD_SIZE];
	struct jute_out out = jute_out_of(to, sizeof(to));
	struct zk_connect_response response = {.timeout_ms = 10000,
					       .session_id = 0x0100002a54210000};

	REQUIRE(EXPECT_I(zk_connect_request_decode(&in, &request), ==, 0));
	EXPECT_I(request.timeout_ms, ==, 10000);
	EXPECT_I(request.passwd.len, ==, 16);
	EXPECT_TRUE(request.has_read_only);
	EXPECT_TRUE(!request.read_only);
	zk_session_password(response.session_id, password);
	response.passwd = jute_buf_of(password, sizeof(password));
	response.has_read_only = request.has_read_only;
	zk_connect_response_encode(&out, &response);
	expect_bytes(&out, to,
		     hex("00000000 00002710 0100002a54210000 00000010"
			 "e552573d0e3b5960cb84f56d07359e71 00"));
}

TEST(jute_records, handshake_without_the_read_only_byte_is_answered_without)
{
	struct jute_in in = in_of(hex("00000000 0000000000000000 00002710 0000000000000000"
				      "ffffffff"));
	struct zk_connect_request request;
	uint8_t to[64], zeros[ZK_SESSION_PASSWORD_SIZE] = {0};
	struct jute_out out = jute_out_of(to, sizeof(to));
	struct zk_connect_response response = {.passwd = jute_buf_of(zeros, sizeof(zeros))};

	REQUIRE(EXPECT_I(zk_connect_request_decode(&in, &request), ==, 0));
	EXPECT_TRUE(!request.has_read_only);
	EXPECT_I(request.passwd.len, ==, -1);
	zk_connect_response_encode(&out, &response);
	EXPECT_U(jute_size(&out, to), ==, 36);
}

TEST(jute_records, handshake_that_ends_within_the_password_fails)
{
	struct jute_in in = in_of(hex("00000000 0000000000000000 00002710 0000000000000000"
				      "00000010 0000"));
	struct zk_connect_request request;

	EXPECT_I(zk_connect_request_decode(&in, &request), ==, -EBADMSG);
	EXPECT_TRUE(!request.has_read_only);
}

TEST(jute_records, create_is_read_and_answered_as_captured)
{
	struct jute_in in = in_of(hex("00000001 00000001 00000002 2f61 00000002 6869 00000001"
				      "0000001f 00000005 776f726c64 00000006 616e796f6e65"
				      "00000000"));
	struct zk_request_header header;
	struct zk_create_request request;
	uint8_t to[64];
	struct jute_out out = jute_out_of(to, sizeof(to));

	REQUIRE(EXPECT_I(zk_request_header_decode(&in, &header), ==, 0));
	EXPECT_I(header.type, ==, ZK_OP_CREATE);
	REQUIRE(EXPECT_I(zk_create_request_decode(&in, &request), ==, 0));
	EXPECT_TRUE(jute_buf_is(request.path, "/a"));
	EXPECT_TRUE(jute_buf_is(request.data, "hi"));
	EXPECT_I(request.acl.count, ==, 1);
	EXPECT_I(request.flags, ==, ZK_MODE_PERSISTENT);
	EXPECT_U(jute_left(&in), ==, 0);
	zk_reply_header_encode(&out, &(struct zk_reply_header){header.xid, 2, ZOK});
	zk_path_encode(&out, &(struct zk_path){request.path});
	expect_bytes(&out, to, hex("00000001 0000000000000002 00000000 00000002 2f61"));
}

TEST(jute_records, get_data_is_answered_as_captured)
{
	struct jute_in in = in_of(hex("00000002 2f61 01"));
	struct zk_read_request request;
	struct zk_stat stat = {.czxid = 2,
			       .mzxid = 2,
			       .ctime = 0x1a2007f8871,
			       .mtime = 0x1a2007f8871,
			       .data_length = 2,
			       .pzxid = 2};
	uint8_t to[128];
	struct jute_out out = jute_out_of(to, sizeof(to));

	REQUIRE(EXPECT_I(zk_read_request_decode(&in, &request), ==, 0));
	EXPECT_TRUE(request.watch);
	zk_get_data_response_encode(&out, &(struct zk_get_data_response){jute_text("hi"), stat});
	expect_bytes(&out, to,
		     hex("00000002 6869 0000000000000002 0000000000000002 000001a2007f8871"
			 "000001a2007f8871 00000000 00000000 00000000 0000000000000000"
			 "00000002 00000000 0000000000000002"));
}

TEST(jute_records, stat_keeps_each_field_in_its_place)
{
	const struct zk_stat want = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
	uint8_t to[ZK_STAT_SIZE + 1];
	struct jute_out out = jute_out_of(to, sizeof(to));
	struct jute_in in = jute_in_of(to, ZK_STAT_SIZE);
	struct zk_stat got;

	zk_stat_encode(&out, &want);
	expect_bytes(&out, to,
		     hex("0000000000000001 0000000000000002 0000000000000003 0000000000000004"
			 "00000005 00000006 00000007 0000000000000008 00000009 0000000a"
			 "000000000000000b"));
	got = jute_get_stat(&in);
	EXPECT_TRUE(!in.failed);
	EXPECT_I(got.pzxid, ==, 11);
	EXPECT_I(got.ephemeral_owner, ==, 8);
}

TEST(jute_records, notification_is_written_as_captured)
{
	uint8_t to[64];
	struct jute_out out = jute_out_of(to, sizeof(to));
	uint8_t *frame = jute_open(&out);

	zk_reply_header_encode(&out, &(struct zk_reply_header){ZK_XID_NOTIFICATION, 3, ZOK});
	zk_watcher_event_encode(&out, &(struct zk_watcher_event){ZK_EVENT_DATA_CHANGED,
								 ZK_STATE_SYNC_CONNECTED,
								 jute_text("/a")});
	jute_close(&out, frame);
	expect_bytes(&out, to,
		     hex("0000001e ffffffff 0000000000000003 00000000 00000003 00000003"
			 "00000002 2f61"));
}

TEST(jute_records, multi_is_walked_member_by_member_as_captured)
{
	struct jute_in in = in_of(hex("0000000d 00 ffffffff 00000002 2f61 00000009 00000002 00"
				      "ffffffff 00000002 2f61 ffffffff ffffffff 01 ffffffff"));
	struct zk_multi_op op;

	REQUIRE(EXPECT_I(zk_multi_next(&in, &op), ==, 1));
	EXPECT_I(op.type, ==, ZK_OP_CHECK);
	EXPECT_I(op.delete.version, ==, 9);
	REQUIRE(EXPECT_I(zk_multi_next(&in, &op), ==, 1));
	EXPECT_I(op.type, ==, ZK_OP_DELETE);
	EXPECT_I(op.delete.version, ==, -1);
	EXPECT_I(zk_multi_next(&in, &op), ==, 0);
	EXPECT_U(jute_left(&in), ==, 0);
}

TEST(jute_records, failed_multi_is_answered_as_captured)
{
	uint8_t to[64];
	struct jute_out out = jute_out_of(to, sizeof(to));
	const int32_t codes[] = {ZBADVERSION, ZRUNTIMEINCONSISTENCY};

	for (int i = 0; i < 2; i++) {
		zk_multi_header_encode(&out,
				       &(struct zk_multi_header){ZK_OP_ERROR, false, codes[i]});
		jute_put_int(&out, codes[i]);
	}
	zk_multi_end(&out);
	expect_bytes(&out, to,
		     hex("ffffffff 00 ffffff99 ffffff99 ffffffff 00 fffffffe fffffffe"
			 "ffffffff 01 ffffffff"));
}

TEST(jute_records, multi_ends_at_any_done_byte_and_fails_when_cut_or_of_a_wrong_type)
{
	struct zk_multi_op op;
	struct jute_in in = in_of(hex("00000001 07 00000000 aa"));

	EXPECT_I(zk_multi_next(&in, &op), ==, 0);
	EXPECT_U(jute_left(&in), ==, 1);
	in = in_of(hex(""));
	EXPECT_I(zk_multi_next(&in, &op), ==, -EBADMSG);
	in = in_of(hex("0000000e 00 ffffffff ffffffff 01 ffffffff"));
	EXPECT_I(zk_multi_next(&in, &op), ==, -EBADMSG);
	in = in_of(hex("00000002 00 ffffffff 00000002 2f"));
	EXPECT_I(zk_multi_next(&in, &op), ==, -EBADMSG);
}

TEST(jute_records, create_members_without_a_ttl_get_minus_one)
{
	struct zk_multi_op op;
	struct jute_in in = in_of(hex("0000000f 00 ffffffff 00000001 2f ffffffff ffffffff 00000001"
				      "00000015 00 ffffffff 00000001 2f ffffffff ffffffff 00000005"
				      "00000000000003e8"));

	REQUIRE(EXPECT_I(zk_multi_next(&in, &op), ==, 1));
	EXPECT_I(op.create.flags, ==, 1);
	EXPECT_I(op.create.ttl, ==, -1);
	EXPECT_I(op.create.data.len, ==, -1);
	EXPECT_I(op.create.acl.count, ==, -1);
	REQUIRE(EXPECT_I(zk_multi_next(&in, &op), ==, 1));
	EXPECT_I(op.create.ttl, ==, 1000);
}

TEST(jute_records, every_cut_of_a_request_fails_and_none_reads_beyond)
{
	const struct hex *whole = hex("000000000000000a 00000001 00000002 2f61 00000000 00000001"
				      "00000001 2f 00000001 ffffffff 00000000");

	for (size_t size = 0; size <= whole->size; size++) {
		uint8_t *exact = malloc(size + 1);
		struct zk_set_watches2 request;
		struct jute_in in = jute_in_of(exact, size);

		REQUIRE(EXPECT_TRUE(exact != NULL));
		memcpy(exact, whole->bytes, size);
		EXPECT_I(zk_set_watches2_decode(&in, &request), ==,
			 size < whole->size ? -EBADMSG : 0);
		free(exact);
	}
}

TEST(jute_codes, names_are_those_of_the_four_letter_words)
{
	EXPECT_STR(zk_op_lop(ZK_OP_GET_DATA), "GETD");
	EXPECT_STR(zk_op_lop(ZK_OP_GET_ALL_CHILDREN_NUMBER), "GETACN");
	EXPECT_STR(zk_op_lop(ZK_OP_CREATE_SESSION), "SESS");
	EXPECT_STR(zk_op_lop(4711), "????");
	EXPECT_STR(zk_code_name(ZNONODE), "NONODE");
	EXPECT_STR(zk_code_name(-126), "?");
}

TEST(jute_codes, what_only_servers_make_is_unknown_from_clients)
{
	static const int32_t refused[] = {-10, -1, 0, 10, 13, 20, 23, 99, 108};
	int known = 0;

	for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
		EXPECT_TRUE(!zk_op_is_known(refused[i]));
	for (int32_t op = -20; op < 120; op++)
		known += zk_op_is_known(op);
	EXPECT_I(known, ==, 28);
	EXPECT_TRUE(zk_op_is_write(ZK_OP_CLOSE_SESSION));
	EXPECT_TRUE(!zk_op_is_write(ZK_OP_MULTI_READ));
}

/* --- sessions -------------------------------------------------------------------------------- */

TEST(jute_session, passwords_are_those_of_zookeeper)
{
	static const struct {
		int64_t id;
		const char *password;
	} known[] = {
	    {0x0100001217440000, "7eb5b0c533ac09508cefd865340f4817"},
	    {0x010000121f590000, "2d34abf2b6d6d60f53bb292fef9c37d3"},
	    {0x0100002a54210000, "e552573d0e3b5960cb84f56d07359e71"},
	};
	uint8_t got[ZK_SESSION_PASSWORD_SIZE];

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
		zk_session_password(known[i].id, got);
		EXPECT_MEM(got, hex(known[i].password)->bytes, sizeof(got));
	}
}

TEST(jute_session, any_other_password_is_refused)
{
	int64_t id = 0x0100001217440000;
	uint8_t p[ZK_SESSION_PASSWORD_SIZE + 1] = {0};

	zk_session_password(id, p);
	EXPECT_TRUE(zk_session_password_is(id, jute_buf_of(p, 16)));
	EXPECT_TRUE(!zk_session_password_is(id, jute_buf_of(p, 17)));
	EXPECT_TRUE(!zk_session_password_is(id, jute_buf_of(p, 15)));
	EXPECT_TRUE(!zk_session_password_is(id, jute_null));
	for (int i = 0; i < 16; i++) {
		p[i] ^= 1;
		EXPECT_TRUE(!zk_session_password_is(id, jute_buf_of(p, 16)));
		p[i] ^= 1;
	}
}

TEST(jute_session, ids_hold_server_and_clock_and_skip_what_has_a_meaning)
{
	EXPECT_U(zk_session_id_first(1, 0x1a2007f8871), ==, 0x01a2007f88710000);
	EXPECT_U(zk_session_id_first(0xfe, -1), ==, 0xfeffffffffff0000);
	EXPECT_I(zk_session_id_next(7), ==, 8);
	EXPECT_I(zk_session_id_next(-1), ==, 1);
	EXPECT_I(zk_session_id_next(INT64_MAX), ==, INT64_MIN + 1);
}

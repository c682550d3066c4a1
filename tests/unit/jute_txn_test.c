#include "tests/t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "jute/acl.h"
#include "jute/txn.h"
#include "tests/unit/hex.h"

/* A create by session 0x0100002a54210000, "/a" = "hi", world:anyone, with its digest. */
#define HEADER "0100002a54210000 00000001 0000000000000002 000001a2007f8871"
#define OPEN   "00000001 0000001f 00000005 776f726c64 00000006 616e796f6e65"
#define CREATE "00000002 2f61 00000002 6869" OPEN "00"
#define DIGEST "00000002 0123456789abcdef"

static struct jute_in in_of(const struct hex *h)
{
	return jute_in_of(h->bytes, h->size);
}

TEST(jute_txn, an_entry_is_header_record_and_digest)
{
	const struct hex *entry = hex(HEADER "00000001" CREATE "00000001" DIGEST);
	struct jute_in in = in_of(entry);
	struct zk_txn_header h;
	struct zk_txn_body body;
	struct zk_txn_digest digest;

	REQUIRE(EXPECT_I(zk_txn_header_decode(&in, &h), ==, 0));
	EXPECT_I(h.client_id, ==, 0x0100002a54210000);
	EXPECT_I(h.cxid, ==, 1);
	EXPECT_I(h.zxid, ==, 2);
	EXPECT_I(h.time, ==, 0x1a2007f8871);
	EXPECT_U(jute_left(&in), ==, entry->size - ZK_TXN_HEADER_SIZE);
	REQUIRE(EXPECT_I(zk_txn_body_decode(&in, h.type, &body), ==, 0));
	EXPECT_TRUE(jute_buf_is(body.create.path, "/a"));
	EXPECT_TRUE(!body.create.ephemeral);
	EXPECT_I(body.create.parent_cversion, ==, 1);
	EXPECT_U(jute_left(&in), ==, ZK_TXN_DIGEST_SIZE);
	REQUIRE(EXPECT_I(zk_txn_digest_decode(&in, &digest), ==, 0));
	EXPECT_I(digest.version, ==, ZK_DIGEST_VERSION);
	EXPECT_I(digest.tree_digest, ==, 0x0123456789abcdef);
}

/* Each type with a record: bytes that decode, and encode to themselves. */
static const struct {
	int32_t type;
	const char *record;
} records[] = {
    {ZK_OP_CREATE, CREATE "00000001"},
    {ZK_OP_CREATE2, CREATE "00000001"},
    {ZK_OP_CREATE_CONTAINER, "00000002 2f61 00000002 6869" OPEN "00000003"},
    {ZK_OP_CREATE_TTL, "00000002 2f61 ffffffff" OPEN "00000003 00000000000003e8"},
    {ZK_OP_DELETE, "00000002 2f61"},
    {ZK_OP_DELETE_CONTAINER, "00000002 2f61"},
    {ZK_OP_SET_DATA, "00000002 2f61 00000000 00000007"},
    {ZK_OP_RECONFIG, "00000001 2f 00000001 78 ffffffff"},
    {ZK_OP_SET_ACL, "00000002 2f61" OPEN "00000002"},
    {ZK_OP_CHECK, "00000002 2f61 00000009"},
    {ZK_OP_CREATE_SESSION, "00002710"},
    {ZK_OP_CLOSE_SESSION, "00000002 00000002 2f61 00000002 2f62"},
    {ZK_OP_ERROR, "ffffff9b"},
};

TEST(jute_txn, every_record_encodes_to_the_bytes_it_came_from)
{
	for (size_t i = 0; i < sizeof(records) / sizeof(*records); i++) {
		const struct hex *want = hex(records[i].record);
		struct jute_in in = in_of(want);
		uint8_t got[HEX_MAX];
		struct jute_out out = jute_out_of(got, sizeof(got));
		struct zk_txn_body body;

		REQUIRE(EXPECT_I(zk_txn_body_decode(&in, records[i].type, &body), ==, 0));
		EXPECT_U(jute_left(&in), ==, 0);
		zk_txn_body_encode(&out, &body);
		REQUIRE(EXPECT_U(jute_size(&out, got), ==, want->size));
		EXPECT_MEM(got, want->bytes, want->size);
	}
}

/* A close session without a byte is an old one, and a create may lack its last field. */
TEST(jute_txn, every_cut_fails_but_those_that_old_servers_wrote)
{
	for (size_t i = 0; i < sizeof(records) / sizeof(*records); i++) {
		const struct hex *whole = hex(records[i].record);
		bool create = records[i].type == ZK_OP_CREATE || records[i].type == ZK_OP_CREATE2;
		struct zk_txn_body body;

		for (size_t size = 0; size < whole->size; size++) {
			struct jute_in in = jute_in_of(whole->bytes, size);
			bool old = create ? size >= whole->size - 4
					  : records[i].type == ZK_OP_CLOSE_SESSION && !size;

			EXPECT_I(zk_txn_body_decode(&in, records[i].type, &body), ==,
				 old ? 0 : -EBADMSG);
		}
	}
}

TEST(jute_txn, old_forms_are_understood)
{
	struct zk_txn_body body;
	struct jute_in in = in_of(hex(CREATE));

	REQUIRE(EXPECT_I(zk_txn_body_decode(&in, ZK_OP_CREATE, &body), ==, 0));
	EXPECT_I(body.create.parent_cversion, ==, -1);
	EXPECT_TRUE(!in.failed);
	in = jute_in_of("", 0);
	REQUIRE(EXPECT_I(zk_txn_body_decode(&in, ZK_OP_CLOSE_SESSION, &body), ==, 0));
	EXPECT_I(body.close_session.paths.count, ==, -1);
}

TEST(jute_txn, types_without_a_record_fail)
{
	static const int32_t bad[] = {0, 3, 4, 100, 101, -12, INT32_MIN, INT32_MAX};
	struct zk_txn_body body;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct jute_in in = in_of(hex(CREATE "00000001"));

		EXPECT_I(zk_txn_body_decode(&in, bad[i], &body), ==, -EBADMSG);
	}
}

TEST(jute_txn, a_multi_is_written_and_walked_member_by_member)
{
	uint8_t got[HEX_MAX];
	struct jute_out out = jute_out_of(got, sizeof(got));
	uint8_t *begin = zk_multi_txn_begin(&out);
	const struct hex *want = hex("00000002 00000002 00000006 00000002 2f61"
				     "ffffffff 00000004 fffffffe");
	struct zk_txn_body delete = {.type = ZK_OP_DELETE}, error = {.type = ZK_OP_ERROR}, body;
	struct jute_in in;

	delete.delete.path = jute_text("/a");
	error.error.err = ZRUNTIMEINCONSISTENCY;
	zk_multi_txn_put(&out, &delete);
	zk_multi_txn_put(&out, &error);
	zk_multi_txn_end(&out, begin, 2);
	REQUIRE(EXPECT_U(jute_size(&out, got), ==, want->size));
	EXPECT_MEM(got, want->bytes, want->size);

	in = jute_in_of(got, want->size);
	REQUIRE(EXPECT_I(zk_txn_body_decode(&in, ZK_OP_MULTI, &body), ==, 0));
	EXPECT_I(body.multi.count, ==, 2);
	struct zk_multi_txn multi = body.multi;
	REQUIRE(EXPECT_I(zk_multi_txn_next(&multi, &body), ==, 0));
	EXPECT_I(body.type, ==, ZK_OP_DELETE);
	EXPECT_TRUE(jute_buf_is(body.delete.path, "/a"));
	REQUIRE(EXPECT_I(zk_multi_txn_next(&multi, &body), ==, 0));
	EXPECT_I(body.error.err, ==, ZRUNTIMEINCONSISTENCY);
	EXPECT_I(zk_multi_txn_next(&multi, &body), ==, -EBADMSG);
}

TEST(jute_txn, a_multi_within_a_multi_and_null_members_fail)
{
	struct zk_txn_body body;
	struct jute_in in = in_of(hex("00000002 0000000e 00000004 00000000 00000002 ffffffff"));

	REQUIRE(EXPECT_I(zk_txn_body_decode(&in, ZK_OP_MULTI, &body), ==, 0));
	struct zk_multi_txn multi = body.multi;
	EXPECT_I(zk_multi_txn_next(&multi, &body), ==, -EBADMSG);
	EXPECT_I(zk_multi_txn_next(&multi, &body), ==, -EBADMSG);
}

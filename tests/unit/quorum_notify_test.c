#include "quorum/notify.h"

#include <errno.h>

#include "tests/t.h"
#include "tests/unit/hex.h"

struct fx {
	uint8_t bytes[4096];
	struct jute_out out;
	struct quorum_config config;
	struct fle_hello hello;
	struct fle_notification got;
	struct jute_buf body;
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

static const struct quorum_member *member(struct fx *f, const char *text)
{
	CHECK(quorum_config_parse(&f->config, text, strlen(text), NULL) == 0);
	return f->config.member;
}

static void expect_bytes(struct fx *f, const char *want)
{
	const struct hex *h = hex(want);

	EXPECT_U(jute_size(&f->out, f->bytes), ==, h->size);
	EXPECT_MEM(f->bytes, h->bytes, h->size);
}

static int64_t hello_of(struct fx *f, const char *address)
{
	struct jute_out out = jute_out_of(f->bytes, sizeof(f->bytes));

	jute_put_long(&out, -65535);
	jute_put_long(&out, 7);
	jute_put_ustring(&out, jute_text(address));
	return fle_hello_decode(f->bytes, jute_size(&out, f->bytes), &f->hello, &f->need);
}

/* Bytes seen between servers of Apache ZooKeeper 3.8.0. */
TEST_F(quorum_notify, hello_of_live_traffic, struct fx, up, down)
{
	const char *want = "ffffffffffff0000 0000000000000004 0000000f "
			   "3132372e302e302e313a3233333634";

	fle_put_hello(&f->out, &f->config, member(f, "server.4=127.0.0.1:1:23364"), false);
	expect_bytes(f, want);
	EXPECT_I(fle_hello_decode(f->bytes, sizeof(f->bytes), &f->hello, &f->need), ==, 35);
	EXPECT_I(f->hello.sid, ==, 4);
	REQUIRE(EXPECT_U(f->hello.n_addresses, ==, 1));
	EXPECT_TRUE(jute_buf_is(f->hello.address[0].host, "127.0.0.1"));
	EXPECT_U(f->hello.address[0].port, ==, 23364);
	for (size_t have = 0; have < 35; have++) {
		EXPECT_I(fle_hello_decode(f->bytes, have, &f->hello, &f->need), ==, 0);
		EXPECT_U(f->need, >, have);
		EXPECT_U(f->need, <=, 35);
	}
}

TEST_F(quorum_notify, hello_with_several_addresses, struct fx, up, down)
{
	const struct quorum_member *me = member(f, "server.4=b:1:80|[::1]:1:65535|0.0.0.0:1:2");

	fle_put_hello(&f->out, &f->config, me, true);
	EXPECT_MEM(f->bytes, hex("ffffffffffff0001")->bytes, 8);
	EXPECT_I(fle_hello_decode(f->bytes, sizeof(f->bytes), &f->hello, &f->need), >, 0);
	REQUIRE(EXPECT_U(f->hello.n_addresses, ==, 2)); /* a wildcard is nothing to dial */
	EXPECT_TRUE(jute_buf_is(f->hello.address[0].host, "0:0:0:0:0:0:0:1"));
	EXPECT_U(f->hello.address[0].port, ==, 65535);
	EXPECT_TRUE(jute_buf_is(f->hello.address[1].host, "b"));
	EXPECT_U(f->hello.address[1].port, ==, 80);
}

TEST_F(quorum_notify, hello_of_old_servers_is_a_sid, struct fx, up, down)
{
	EXPECT_I(fle_hello_decode(hex("0000000000000004 ff")->bytes, 9, &f->hello, &f->need), ==,
		 8);
	EXPECT_I(f->hello.sid, ==, 4);
	EXPECT_U(f->hello.n_addresses, ==, 0);
}

TEST_F(quorum_notify, hello_refuses_at_once, struct fx, up, down)
{
	EXPECT_I(fle_hello_decode(hex("fffffffffffeffff")->bytes, 8, &f->hello, &f->need), ==,
		 -EBADMSG);
	EXPECT_I(fle_hello_decode(hex("ffffffffffff0000 ffffffffffffffff 00000001")->bytes, 20,
				  &f->hello, &f->need),
		 ==, -EBADMSG);
	EXPECT_I(fle_hello_decode(hex("ffffffffffff0000 0000000000000001 00000000")->bytes, 20,
				  &f->hello, &f->need),
		 ==, -EBADMSG);
	EXPECT_I(fle_hello_decode(hex("ffffffffffff0000 0000000000000001 00000801")->bytes, 20,
				  &f->hello, &f->need),
		 ==, -EBADMSG);
	EXPECT_I(fle_hello_decode(hex("ffffffffffff0000 0000000000000001 00000800")->bytes, 20,
				  &f->hello, &f->need),
		 ==, 0);
	EXPECT_U(f->need, ==, FLE_HELLO_MAX);
}

TEST_F(quorum_notify, hello_checks_addresses, struct fx, up, down)
{
	static const char *const bad[] = {"a",      ":1",    "a:",       "a:0",     "a:65536",
					  "a:-1",   "a:1|b", "a:1||b:1", "a b:1",   "::1:2",
					  "[::1:2", "[]:2",  "a:1x",     "a:000001"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (!EXPECT_I(hello_of(f, bad[i]), ==, -EBADMSG))
			t_fail(__FILE__, __LINE__, "%s", bad[i]);
	EXPECT_I(hello_of(f, "0.0.0.0:1|[::]:1"), >, 0);
	EXPECT_U(f->hello.n_addresses, ==, 0);
	EXPECT_I(hello_of(f, "a:1|b:1|c:1|d:1|e:1|f:1|g:1|h:1|i:1|"), >, 0);
	EXPECT_U(f->hello.n_addresses, ==, QUORUM_ADDRS_MAX);
}

/* 2.1: the connection opened by the greater sid survives. */
TEST_F(quorum_notify, the_greater_sid_keeps_its_connection, struct fx, up, down)
{
	for (int64_t a = 0; a < 4; a++)
		for (int64_t b = 0; b < 4; b++) {
			EXPECT_I(fle_dialled(a, b), ==, b < a ? FLE_KEEP : FLE_CLOSE);
			EXPECT_I(fle_accepted(a, b), ==,
				 b > a   ? FLE_KEEP
				 : b < a ? FLE_DIAL_BACK
					 : FLE_CLOSE);
			if (a != b) /* seen from both ends: kept by both, or closed by one */
				EXPECT_I(fle_dialled(a, b) == FLE_KEEP, ==,
					 fle_accepted(b, a) == FLE_KEEP);
		}
	EXPECT_I(fle_accepted(1, QUORUM_SID_ANONYMOUS), ==, FLE_CLOSE);
	(void)f;
}

TEST_F(quorum_notify, notification_of_live_traffic, struct fx, up, down)
{
	static const char text[178];
	struct fle_notification n = {FLE_LEADING, {3, 0, 1, 2}, 2, {(const uint8_t *)text, 178}};

	fle_put_notification(&f->out, &n);
	EXPECT_U(jute_size(&f->out, f->bytes), ==, 226);
	EXPECT_MEM(f->bytes,
		   hex("000000de 00000002 0000000000000003 0000000000000000 0000000000000001 "
		       "0000000000000002 00000002 000000b2")
		       ->bytes,
		   48);
	for (size_t have = 0; have < 226; have++) {
		EXPECT_I(fle_frame_decode(f->bytes, have, &f->body, &f->need), ==, 0);
		EXPECT_U(f->need, >, have);
		EXPECT_U(f->need, <=, 226);
	}
	EXPECT_I(fle_frame_decode(f->bytes, sizeof(f->bytes), &f->body, &f->need), ==, 226);
	EXPECT_I(fle_notification_decode(f->body, &f->got), ==, 0);
	EXPECT_I(f->got.state, ==, FLE_LEADING);
	EXPECT_I(f->got.vote.leader, ==, 3);
	EXPECT_I(f->got.vote.zxid, ==, 0);
	EXPECT_I(f->got.vote.round, ==, 1);
	EXPECT_I(f->got.vote.peer_epoch, ==, 2);
	EXPECT_I(f->got.version, ==, 2);
	EXPECT_I(f->got.config.len, ==, 178);
}

TEST_F(quorum_notify, frames_have_bounds, struct fx, up, down)
{
	EXPECT_I(fle_frame_decode(hex("00000000 00")->bytes, 5, &f->body, &f->need), ==, -EBADMSG);
	EXPECT_I(fle_frame_decode(hex("ffffffff 00")->bytes, 5, &f->body, &f->need), ==, -EBADMSG);
	EXPECT_I(fle_frame_decode(hex("00080001 00")->bytes, 5, &f->body, &f->need), ==, -EBADMSG);
	EXPECT_I(fle_frame_decode(hex("00080000 00")->bytes, 5, &f->body, &f->need), ==, 0);
	EXPECT_U(f->need, ==, FLE_FRAME_MAX);
	EXPECT_I(fle_frame_decode(hex("00000001 07")->bytes, 5, &f->body, &f->need), ==, 5);
	EXPECT_I(f->body.len, ==, 1);
}

/* 2.3: which lengths are notifications, and what old ones mean. */
TEST_F(quorum_notify, old_forms, struct fx, up, down)
{
	const struct hex *h = hex("00000001 0000000000000003 0000000500000007 0000000000000009 "
				  "0000000000000004 00000001 00000000");

	for (size_t len = 0; len <= h->size; len++)
		EXPECT_I(fle_notification_decode(jute_buf_of(h->bytes, len), &f->got), ==,
			 len == 28 || len >= 40 ? 0 : -EBADMSG);
	EXPECT_I(f->got.version, ==, 1);
	EXPECT_I(f->got.vote.peer_epoch, ==, 4);
	EXPECT_I(f->got.config.len, ==, -1);
	fle_notification_decode(jute_buf_of(h->bytes, 28), &f->got);
	EXPECT_I(f->got.vote.peer_epoch, ==, 5);
	EXPECT_I(f->got.vote.round, ==, 9);
	EXPECT_I(f->got.version, ==, 0);
	fle_notification_decode(jute_buf_of(h->bytes, 40), &f->got);
	EXPECT_I(f->got.vote.peer_epoch, ==, 4);
	EXPECT_I(f->got.version, ==, 0);
	EXPECT_I(fle_notification_decode(jute_null, &f->got), ==, -EBADMSG);
}

TEST_F(quorum_notify, skips_what_is_none, struct fx, up, down)
{
	struct fle_notification n = {FLE_OBSERVING, {1, 2, 3, 4}, 2, jute_text("text")};
	size_t size;

	fle_put_notification(&f->out, &n);
	size = jute_size(&f->out, f->bytes) - 4;
	EXPECT_I(fle_notification_decode(jute_buf_of(f->bytes + 4, size), &f->got), ==, 0);
	EXPECT_TRUE(jute_buf_is(f->got.config, "text"));
	EXPECT_I(fle_notification_decode(jute_buf_of(f->bytes + 4, size - 1), &f->got), ==,
		 -EBADMSG);
	EXPECT_I(fle_notification_decode(jute_buf_of(f->bytes + 4, size + 9), &f->got), ==, 0);
	f->bytes[7] = 4; /* no such state */
	EXPECT_I(fle_notification_decode(jute_buf_of(f->bytes + 4, size), &f->got), ==, -EBADMSG);
	f->bytes[7] = 0;
	memset(f->bytes + 4 + 40, 0xff, 4); /* a configuration of length -1 */
	EXPECT_I(fle_notification_decode(jute_buf_of(f->bytes + 4, size), &f->got), ==, -EBADMSG);
	EXPECT_STR(fle_state_name(FLE_OBSERVING), "OBSERVING");
}

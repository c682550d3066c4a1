#include "tests/t.h"

#include <stdio.h>
#include <stdlib.h>

#include "jute/acl.h"
#include "jute/ip.h"

static const struct zk_acl_rules rules = {.digest = true};

/*
 * A list or identities in words: "1 digest bob:x, 31 world anyone" or "ip 127.0.0.1, super -",
 * where
 * "-" is empty and "~" null.
 */
struct text {
	uint8_t bytes[1024];
	size_t size;
};

static struct jute_buf word(const char **at)
{
	size_t len = strcspn(*at, " ,");
	struct jute_buf b = jute_buf_of(*at, len);

	*at += len;
	*at += strspn(*at, " ");
	if (jute_buf_is(b, "~"))
		return jute_null;
	return jute_buf_is(b, "-") ? jute_text("") : b;
}

static struct text encode(const char *words, bool with_perms)
{
	struct text t;
	struct jute_out out = jute_out_of(t.bytes, sizeof(t.bytes));
	uint8_t *open = jute_open(&out);
	size_t n = 0;

	for (; *words; n++) {
		if (with_perms)
			jute_put_int(&out, atoi((const char *)word(&words).data));
		jute_put_ustring(&out, word(&words));
		jute_put_ustring(&out, word(&words));
		words += strspn(words, ", ");
	}
	jute_close_count(&out, open, n);
	CHECK(!out.failed);
	t.size = jute_size(&out, t.bytes);
	return t;
}

static struct text list(const char *words)
{
	return encode(words, true);
}

static struct text ids(const char *words)
{
	return encode(words, false);
}

static bool permits(const struct zk_acl_rules *r, const char *acl, const char *who, int32_t mask)
{
	struct text l = list(acl), i = ids(who);
	struct jute_vec v = zk_ids_view(i.bytes, i.size);

	return zk_acl_permits(r, l.bytes, l.size, &v, mask);
}

TEST(jute_acl, anyone_of_the_world_has_what_the_list_gives)
{
	EXPECT_TRUE(permits(&rules, "31 world anyone", "", ZK_PERM_ADMIN));
	EXPECT_TRUE(permits(&rules, "1 world anyone", "ip 1.2.3.4", ZK_PERM_READ));
	EXPECT_TRUE(!permits(&rules, "1 world anyone", "ip 1.2.3.4", ZK_PERM_WRITE));
	EXPECT_TRUE(permits(&rules, "1 world anyone", "", ZK_PERM_READ | ZK_PERM_ADMIN));
	EXPECT_TRUE(!permits(&rules, "0 world anyone", "", ZK_PERM_ALL));
	EXPECT_TRUE(!permits(&rules, "31 world other", "world other", ZK_PERM_READ));
}

TEST(jute_acl, digest_entries_match_by_equality)
{
	EXPECT_TRUE(permits(&rules, "1 digest a:b", "ip 1.2.3.4, digest a:b", ZK_PERM_READ));
	EXPECT_TRUE(!permits(&rules, "1 digest a:b", "digest a:c", ZK_PERM_READ));
	EXPECT_TRUE(!permits(&rules, "1 digest a:b", "ip a:b", ZK_PERM_READ));
	EXPECT_TRUE(!permits(&rules, "1 sasl a", "sasl a", ZK_PERM_READ));
	EXPECT_TRUE(
	    !permits(&(struct zk_acl_rules){0}, "1 digest a:b", "digest a:b", ZK_PERM_READ));
}

TEST(jute_acl, super_skip_and_no_list_permit_everything)
{
	static const struct zk_acl_rules skip = {.skip = true};
	struct jute_vec nobody = {NULL, 0, -1};

	EXPECT_TRUE(permits(&rules, "0 digest a:b", "ip 1.2.3.4, super -", ZK_PERM_ADMIN));
	EXPECT_TRUE(permits(&skip, "0 digest a:b", "", ZK_PERM_ADMIN));
	EXPECT_TRUE(permits(&rules, "", "", ZK_PERM_ADMIN));
	EXPECT_TRUE(zk_acl_permits(&rules, NULL, 0, &nobody, ZK_PERM_ADMIN));
}

TEST(jute_acl, a_broken_list_permits_nothing)
{
	struct text l = list("0 ip 1.2.3.4, 31 world anyone");
	struct jute_vec nobody = zk_ids_view("\0\0\0\0", 4);

	EXPECT_TRUE(zk_acl_permits(&rules, l.bytes, l.size, &nobody, ZK_PERM_READ));
	for (size_t size = 1; size < l.size; size++)
		EXPECT_TRUE(!zk_acl_permits(&rules, l.bytes, size, &nobody, ZK_PERM_READ));
}

static bool ip_in(const char *address, const char *expr)
{
	return zk_ip_matches(jute_text(address), jute_text(expr));
}

TEST(jute_acl, addresses_match_within_their_bits_and_family)
{
	EXPECT_TRUE(ip_in("10.1.2.3", "10.1.2.3"));
	EXPECT_TRUE(ip_in("10.1.2.3", "10.1.0.0/16"));
	EXPECT_TRUE(ip_in("10.1.2.3", "10.0.0.0/15"));
	EXPECT_TRUE(!ip_in("10.2.2.3", "10.0.0.0/15"));
	EXPECT_TRUE(ip_in("1.2.3.4", "9.9.9.9/0"));
	EXPECT_TRUE(!ip_in("10.1.2.3", "10.1.2.2/32"));
	EXPECT_TRUE(ip_in("10.1.2.3", "10.1.2.2/31"));
	EXPECT_TRUE(ip_in("0:0:0:0:0:0:0:1", "::1"));
	EXPECT_TRUE(ip_in("fe80:0:0:0:0:0:0:1", "fe80::/10"));
	EXPECT_TRUE(!ip_in("ff80:0:0:0:0:0:0:1", "fe80::/10"));
	EXPECT_TRUE(!ip_in("0.0.0.1", "::1"));
	EXPECT_TRUE(!ip_in("0.0.0.1", "::/0"));
	EXPECT_TRUE(!ip_in("fe80:0:0:0:0:0:0:1%eth0", "fe80::/10"));
}

TEST(jute_acl, address_entries_are_valid_as_java_parses_them)
{
	static const char *const good[] = {
	    "1.2.3.4", "0177.+1.-0.255", "1.2.3.4/0",       "1.2.3.4/32",
	    "::",      "::1/128",        "1:2:3:4:5:6:7:8", "ABCD::1/0"};
	static const char *const bad[] = {
	    "",         "1.2.3",    "1.2.3.4.5",         "1.2.3.256",        "1.2.3.-1",
	    "1.2.3.",   "1.2.3.4/", "1.2.3.4/33",        "1.2.3.4/-1",       "1.2.3.4/1/1",
	    "a.b.c.d",  "::1/129",  "1::2::3",           "12345::",          "::1.2.3.4",
	    "1.2.3.4 ", ":::",      "1:2:3:4:5:6:7:8:9", "99999999999.1.1.1"};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		if (!zk_ip_expr_is_valid(jute_text(good[i])))
			t_fail(__FILE__, __LINE__, "refused: %s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (zk_ip_expr_is_valid(jute_text(bad[i])))
			t_fail(__FILE__, __LINE__, "accepted: %s", bad[i]);
	EXPECT_TRUE(!zk_ip_expr_is_valid(jute_null));
	EXPECT_TRUE(!zk_ip_expr_is_valid(jute_buf_of("1.2.3.4\0", 8)));
}

TEST(jute_acl, addresses_are_printed_as_java_does)
{
	char to[ZK_IP_TEXT_MAX];
	uint8_t v6[16] = {[15] = 1}, mapped[16] = {[10] = 0xff, [11] = 0xff, 127, 0, 0, 1};

	EXPECT_STR(zk_ip_text(to, mapped + 12, 4), "127.0.0.1");
	EXPECT_STR(zk_ip_text(to, mapped, 16), "127.0.0.1");
	EXPECT_STR(zk_ip_text(to, v6, 16), "0:0:0:0:0:0:0:1");
	memset(v6, 0xfe, 16);
	EXPECT_STR(zk_ip_text(to, v6, 16), "fefe:fefe:fefe:fefe:fefe:fefe:fefe:fefe");
}

/* What a list becomes; or the code. */
static enum zk_code expand(const char *asked, const char *who, struct text *got)
{
	struct text a = list(asked), i = ids(who);
	struct jute_in in = jute_in_of(a.bytes, a.size);
	struct jute_vec v = jute_get_acls(&in), mine = zk_ids_view(i.bytes, i.size);
	struct jute_out out = jute_out_of(got->bytes, sizeof(got->bytes));
	enum zk_code code = zk_acl_expand(&rules, &v, &mine, &out);

	got->size = jute_size(&out, got->bytes);
	return code;
}

static void expect_expanded(const char *asked, const char *who, const char *want)
{
	struct text got, w = list(want);

	REQUIRE(EXPECT_I(expand(asked, who, &got), ==, ZOK));
	REQUIRE(EXPECT_U(got.size, ==, w.size));
	EXPECT_MEM(got.bytes, w.bytes, w.size);
}

static void expect_refused(const char *asked, const char *who, enum zk_code code)
{
	struct text got;

	EXPECT_I(expand(asked, who, &got), ==, code);
}

TEST(jute_acl, valid_entries_are_kept_in_order_and_repeats_dropped)
{
	expect_expanded("31 world anyone", "", "31 world anyone");
	expect_expanded("1 ip 1.2.3.4/8, 2 digest a:b, 1 ip 1.2.3.4/8, -1 world anyone", "",
			"1 ip 1.2.3.4/8, 2 digest a:b, -1 world anyone");
	expect_expanded("1 digest a:b, 2 digest a:b", "", "1 digest a:b, 2 digest a:b");
}

TEST(jute_acl, auth_becomes_the_authenticated_identities)
{
	expect_expanded("31 auth -", "ip 1.2.3.4, digest a:b", "31 digest a:b");
	expect_expanded("31 auth ~", "digest a:b, super -, digest c:d",
			"31 digest a:b, 31 digest c:d");
	expect_expanded("1 digest a:b, 1 auth x", "digest a:b", "1 digest a:b, 1 digest a:b");
	expect_refused("31 auth -", "ip 1.2.3.4", ZINVALIDACL);
	expect_refused("31 auth -", "ip 1.2.3.4, super -", ZINVALIDACL);
}

TEST(jute_acl, text_is_converted_as_java_does_once_and_not_again)
{
	expect_expanded("1 digest \xf0\x9f\x98\x80:\x80", "",
			"1 digest \xed\xa0\xbd\xed\xb8\x80:\xef\xbf\xbd");
	expect_expanded("1 auth -", "digest \xed\xa0\xbd\xed\xb8\x80:x",
			"1 digest \xed\xa0\xbd\xed\xb8\x80:x");
}

TEST(jute_acl, what_no_scheme_accepts_is_refused)
{
	static const char *const bad[] = {
	    "",
	    "31 world other",
	    "31 world -",
	    "31 super -",
	    "31 sasl a",
	    "31 x509 a",
	    "31 digest a",
	    "31 digest a:",
	    "31 digest a:b:c",
	    "31 digest -",
	    "31 digest :",
	    "31 ip 1.2.3",
	    "31 ~ anyone",
	    "31 - -",
	    "31 World anyone",
	    "31 nosuch ~",
	    "31 world anyone, 31 digest a",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		expect_refused(bad[i], "digest a:b", ZINVALIDACL);
	expect_expanded("31 digest :x, 31 digest a:b:", "", "31 digest :x, 31 digest a:b:");
}

TEST(jute_acl, null_ids_are_unreadable_where_java_looks_at_them)
{
	expect_refused("31 ip ~", "", ZMARSHALLINGERROR);
	expect_refused("31 digest ~", "", ZMARSHALLINGERROR);
	expect_refused("31 world ~", "", ZMARSHALLINGERROR);
	expect_refused("31 digest a, 31 digest ~", "", ZMARSHALLINGERROR);
	expect_refused("1 digest a, 31 digest ~", "", ZINVALIDACL);
	expect_refused("31 world anyone, 31 ~ x", "", ZMARSHALLINGERROR);
	expect_refused("31 world anyone, 1 ~ x", "", ZINVALIDACL);
}

TEST(jute_acl, null_list_is_refused)
{
	struct jute_vec none = {NULL, 0, -1};
	uint8_t to[64];
	struct jute_out out = jute_out_of(to, sizeof(to));

	EXPECT_I(zk_acl_expand(&rules, &none, &none, &out), ==, ZINVALIDACL);
}

TEST(jute_acl, lists_are_bounded_before_and_after_expansion)
{
	static uint8_t asked[64 * 1024], to[128 * 1024];
	struct jute_out out = jute_out_of(asked, sizeof(asked));
	struct text two = ids("digest a:b, digest c:d");
	struct jute_vec mine = zk_ids_view(two.bytes, two.size), v;
	struct jute_in in;

	jute_put_int(&out, ZK_ACL_MAX / 2 + 1);
	for (int32_t i = 0; i <= ZK_ACL_MAX / 2; i++)
		zk_put_acl(&out, &(struct zk_acl){i, {jute_text("auth"), jute_text("")}});
	in = jute_in_of(asked, sizeof(asked));
	v = jute_get_acls(&in);
	REQUIRE(EXPECT_I(v.count, ==, ZK_ACL_MAX / 2 + 1));
	out = jute_out_of(to, sizeof(to));
	EXPECT_I(zk_acl_expand(&rules, &v, &mine, &out), ==, ZINVALIDACL);
	v.count--;
	out = jute_out_of(to, sizeof(to));
	EXPECT_I(zk_acl_expand(&rules, &v, &mine, &out), ==, ZOK);
	EXPECT_U(be32_get(to), ==, ZK_ACL_MAX);
	out = jute_out_of(to, 100);
	EXPECT_I(zk_acl_expand(&rules, &v, &mine, &out), ==, ZINVALIDACL);
}

TEST(jute_acl, masking_hides_digests_only)
{
	struct text l = list("1 digest bob:secret, 2 ip 1.2.3.4, 4 digest a:b:c, 8 world anyone");
	struct text want = list("1 digest bob:x, 2 ip 1.2.3.4, 4 digest a:x, 8 world anyone"), got;
	struct jute_out out = jute_out_of(got.bytes, sizeof(got.bytes));

	zk_acl_put_masked(&out, l.bytes, l.size);
	REQUIRE(EXPECT_U(jute_size(&out, got.bytes), ==, want.size));
	EXPECT_MEM(got.bytes, want.bytes, want.size);
}

static void expect_auth(const struct zk_acl_rules *r, const char *before, const char *scheme,
			struct jute_buf token, const char *after)
{
	struct text b = ids(before), want = ids(after), got;
	struct jute_vec v = zk_ids_view(b.bytes, b.size);
	struct jute_out out = jute_out_of(got.bytes, sizeof(got.bytes));

	REQUIRE(EXPECT_I(zk_auth_add(r, jute_text(scheme), token, &v, &out), ==, ZOK));
	REQUIRE(EXPECT_U(jute_size(&out, got.bytes), ==, want.size));
	EXPECT_MEM(got.bytes, want.bytes, want.size);
}

TEST(jute_acl, digest_auth_adds_the_hash_once)
{
	expect_auth(&rules, "ip 1.2.3.4", "digest", jute_text("bob:pw"),
		    "ip 1.2.3.4, digest bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
	expect_auth(&rules, "digest bob:ikIaKsbtGweaHnb/jKn7OHqbunM=", "digest",
		    jute_text("bob:pw"), "digest bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
	expect_auth(&rules, "", "digest", jute_text(""), "digest :2jmj7l5rSw0yVb/vlWAYkK/YBwk=");
	expect_auth(&rules, "ip 1.2.3.4", "ip", jute_text("whatever"), "ip 1.2.3.4");
	expect_auth(&rules, "ip 1.2.3.4", "ip", jute_null, "ip 1.2.3.4");
}

TEST(jute_acl, the_configured_digest_is_super_too)
{
	static const struct zk_acl_rules with = {
	    .digest = true, .super_digest = "super:lK75jTNcA+U9vtVEw5vB51mj/w4="};

	expect_auth(&with, "", "digest", jute_text("super:secret"),
		    "digest super:lK75jTNcA+U9vtVEw5vB51mj/w4=, super -");
	expect_auth(&with, "super -, digest super:lK75jTNcA+U9vtVEw5vB51mj/w4=", "digest",
		    jute_text("super:secret"),
		    "super -, digest super:lK75jTNcA+U9vtVEw5vB51mj/w4=");
	expect_auth(&rules, "", "digest", jute_text("super:secret"),
		    "digest super:lK75jTNcA+U9vtVEw5vB51mj/w4=");
}

TEST(jute_acl, other_schemes_and_null_tokens_fail)
{
	static const char *const bad[] = {"world", "super", "auth", "sasl", "x509", "", "Digest"};
	struct jute_vec none = {NULL, 0, -1};
	uint8_t to[128];
	struct jute_out out;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		out = jute_out_of(to, sizeof(to));
		EXPECT_I(zk_auth_add(&rules, jute_text(bad[i]), jute_text("a:b"), &none, &out), ==,
			 ZAUTHFAILED);
	}
	out = jute_out_of(to, sizeof(to));
	EXPECT_I(zk_auth_add(&rules, jute_null, jute_text("a:b"), &none, &out), ==, ZAUTHFAILED);
	EXPECT_I(zk_auth_add(&rules, jute_text("digest"), jute_null, &none, &out), ==, ZAUTHFAILED);
	for (size_t room = 0; room < 4 + 4 + 6 + 4 + 2 + ZK_DIGEST_SIZE; room++) {
		out = jute_out_of(to, room);
		EXPECT_I(zk_auth_add(&rules, jute_text("digest"), jute_text("a:b"), &none, &out),
			 ==, ZAUTHFAILED);
	}
}

TEST(jute_acl, who_am_i_names_users_without_secrets)
{
	struct text i = ids("ip 1.2.3.4, digest bob:hash, digest nocolon, super -, sasl me");
	struct text want = ids("ip 1.2.3.4, digest bob, digest nocolon, super -, sasl -"), got;
	struct jute_vec v = zk_ids_view(i.bytes, i.size);
	struct jute_out out = jute_out_of(got.bytes, sizeof(got.bytes));

	zk_ids_put_whoami(&out, &rules, &v);
	REQUIRE(EXPECT_U(jute_size(&out, got.bytes), ==, want.size));
	EXPECT_MEM(got.bytes, want.bytes, want.size);
}

TEST(jute_acl, open_list_is_world_anyone)
{
	struct text want = list("31 world anyone"), got;
	struct jute_out out = jute_out_of(got.bytes, sizeof(got.bytes));

	zk_acl_put_world(&out, ZK_PERM_ALL);
	REQUIRE(EXPECT_U(jute_size(&out, got.bytes), ==, want.size));
	EXPECT_MEM(got.bytes, want.bytes, want.size);
}

#include "tests/t.h"

#include <stdio.h>

#include "jute/path.h"
#include "tests/unit/hex.h"

static bool valid(const char *path)
{
	return zk_path_is_valid(jute_text(path));
}

TEST(jute_path, ordinary_paths_are_valid)
{
	static const char *const good[] = {
	    "/",
	    "/a",
	    "/a/b",
	    "/...",
	    "/.x",
	    "/x..",
	    "/a b",
	    "/\xc2\xa0",
	    "/\xed\x9f\xbf", /* U+D7FF */
	    "/\xef\xa4\x80", /* U+F900 */
	    "/\xef\xbf\xaf", /* U+FFEF */
	    "/zookeeper/quota",
	    "/\xc3\xa4/\xe4\xb8\xad",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
		if (!valid(good[i]))
			t_fail(__FILE__, __LINE__, "refused: %s", good[i]);
}

TEST(jute_path, what_java_refuses_is_refused)
{
	static const char *const bad[] = {
	    "",
	    "a",
	    "a/b",
	    "//",
	    "/a/",
	    "/a//b",
	    "//a",
	    "/.",
	    "/..",
	    "/a/.",
	    "/a/../b",
	    "/./a",
	    "/\x01",
	    "/a\x1f",
	    "/a\x7f",
	    "/\xc2\x80",
	    "/\xc2\x9f",     /* C1 */
	    "/\xed\xa0\x80", /* U+D800 */
	    "/\xee\x80\x80",
	    "/\xef\xa3\xbf", /* private use */
	    "/\xef\xbf\xb0",
	    "/\xef\xbf\xbf",     /* U+FFF0, U+FFFF */
	    "/\xf0\x9f\x98\x80", /* above the BMP */
	    "/\x80",
	    "/\xc0\xaf",
	    "/\xff",
	    "/a\xc3",
	    "/a\xe4\xb8", /* no UTF-8 */
	    "/\xe0\x80\x80",
	    "/a\xe4\xb8/b",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		if (valid(bad[i]))
			t_fail(__FILE__, __LINE__, "accepted: no. %zu, %s", i, bad[i]);
	EXPECT_TRUE(!zk_path_is_valid(jute_null));
	EXPECT_TRUE(!zk_path_is_valid(jute_buf_of("/a\0b", 4)));
	EXPECT_TRUE(!zk_path_is_valid(jute_buf_of("/\0", 2)));
	EXPECT_TRUE(zk_path_has_nul(jute_buf_of("/a\0b", 4)));
	EXPECT_TRUE(!zk_path_has_nul(jute_null));
}

static void expect_split(const char *path, const char *want_parent, const char *want_name)
{
	struct jute_buf parent, name;

	REQUIRE(EXPECT_TRUE(zk_path_split(jute_text(path), &parent, &name)));
	EXPECT_TRUE(jute_buf_is(parent, want_parent));
	EXPECT_TRUE(jute_buf_is(name, want_name));
}

TEST(jute_path, is_cut_at_its_last_slash)
{
	expect_split("/a", "/", "a");
	expect_split("/a/b", "/a", "b");
	expect_split("/a//b", "/a/", "b");
	expect_split("/a/", "/a", "");
	expect_split("/", "/", "");
	expect_split("a/b", "a", "b");
	EXPECT_TRUE(!zk_path_split(jute_text("foo"), NULL, NULL));
	EXPECT_TRUE(!zk_path_split(jute_text(""), NULL, NULL));
	EXPECT_TRUE(!zk_path_split(jute_null, NULL, NULL));
}

TEST(jute_path, sequence_suffixes_have_ten_digits_or_more)
{
	char to[ZK_SEQUENCE_MAX + 1];

	EXPECT_U(zk_path_sequence(to, 13), ==, 10);
	EXPECT_STR(to, "0000000013");
	EXPECT_U(zk_path_sequence(to, INT32_MAX), ==, 10);
	EXPECT_STR(to, "2147483647");
	EXPECT_U(zk_path_sequence(to, -3), ==, 10);
	EXPECT_STR(to, "-000000003");
	EXPECT_U(zk_path_sequence(to, INT32_MIN), ==, 11);
	EXPECT_STR(to, "-2147483648");
}

/* What OpenJDK 17 makes of these bytes, on its way in and out. */
static const struct {
	const char *in, *echo;
} echoes[] = {
    {"2f61", "2f61"},
    {"", ""},
    {"c3a4 e4b8ad", "c3a4 e4b8ad"},
    {"80", "efbfbd"},
    {"c0af", "efbfbd efbfbd"},
    {"e08080", "efbfbd efbfbd efbfbd"},
    {"eda080", "efbfbd"},
    {"e4b8", "efbfbd"},
    {"e4b861", "efbfbd 61"},
    {"f09f98", "efbfbd"},
    {"f09f9880", "eda0bd edb880"},
    {"f48fbfbf", "edafbf edbfbf"},
    {"f4908080", "efbfbd efbfbd efbfbd efbfbd"},
    {"f5", "efbfbd"},
    {"00", "00"},
};

TEST(jute_path, text_is_echoed_as_java_does)
{
	uint8_t got[64];

	for (size_t i = 0; i < sizeof(echoes) / sizeof(*echoes); i++) {
		const struct hex *in = hex(echoes[i].in), *want = hex(echoes[i].echo);
		struct jute_buf text = jute_buf_of(in->bytes, in->size);
		size_t len = zk_text_echo(got, sizeof(got), text);

		REQUIRE(EXPECT_U(len, ==, want->size));
		EXPECT_MEM(got, want->bytes, len);
		EXPECT_I(zk_text_is_plain(text), ==,
			 in->size == want->size && !memcmp(in->bytes, want->bytes, in->size));
		if (len)
			EXPECT_U(zk_text_echo(got, len - 1, text), ==, SIZE_MAX);
	}
}

TEST(jute_path, text_is_repaired_piece_by_piece)
{
	const struct hex *in = hex("61 f09f9880 80 eda080 62"),
			 *want = hex("61 f09f9880 efbfbd efbfbd 62");
	struct jute_buf rest = jute_buf_of(in->bytes, in->size);
	uint8_t got[64], piece[4];
	size_t done = 0, len;

	while (rest.len > 0) {
		len = zk_text_repair_some(piece, sizeof(piece), &rest);
		REQUIRE(EXPECT_U(len, >, 0));
		memcpy(got + done, piece, len);
		done += len;
	}
	REQUIRE(EXPECT_U(done, ==, want->size));
	EXPECT_MEM(got, want->bytes, done);
}

TEST(jute_path, an_echo_that_does_not_fit_fails)
{
	uint8_t to[8];
	struct jute_out out = jute_out_of(to, sizeof(to));

	zk_put_echo(&out, jute_text("\x80"));
	EXPECT_TRUE(!out.failed);
	EXPECT_MEM(to, "\0\0\0\3\xef\xbf\xbd", 7);
	out = jute_out_of(to, 6);
	zk_put_echo(&out, jute_text("\x80"));
	EXPECT_TRUE(out.failed);
	out = jute_out_of(to, 3);
	zk_put_echo(&out, jute_text("\x80"));
	EXPECT_TRUE(out.failed);
}

#include "tests/t.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/hist.h"
#include "base/log.h"

static void check_two_is_three(void *arg)
{
	int *two = arg;

	CHECK(*two == 3);
}

TEST(base_check, a_false_check_names_itself_and_aborts)
{
	int two = 2, three = 3;

	check_two_is_three(&three);
	t_dies(check_two_is_three, &two, "CHECK\\(\\*two == 3\\) failed at .*base_test.c");
}

TEST(base_bytes, orders_are_what_they_say)
{
	uint8_t b[9] = {0};

	be64_put(b + 1, 0x0102030405060708);
	EXPECT_MEM(b, "\0\1\2\3\4\5\6\7\10", 9);
	EXPECT_U(be64_get(b + 1), ==, 0x0102030405060708);
	EXPECT_U(be32_get(b + 1), ==, 0x01020304);
	EXPECT_U(be16_get(b + 1), ==, 0x0102);
	EXPECT_U(le32_get(b + 1), ==, 0x04030201);
	le16_put(b, 0x0102);
	EXPECT_MEM(b, "\2\1", 2);
}

TEST(base_clock, clocks_agree_and_never_go_back)
{
	uint64_t ns = clock_mono_ns(), us = clock_mono_us(), ms = clock_mono_ms();

	EXPECT_U(us, >=, ns / 1000);
	EXPECT_U(ms, >=, us / 1000);
	EXPECT_I(clock_wall_ms(), >, 1600000000000);
}

struct log_fx {
	int saved, out;
	char text[64 * 1024];
};

static void log_up(struct log_fx *f)
{
	int ends[2];

	REQUIRE(EXPECT_I(pipe2(ends, O_NONBLOCK), ==, 0));
	f->saved = dup(STDERR_FILENO);
	dup2(ends[1], STDERR_FILENO);
	close(ends[1]);
	f->out = ends[0];
	log_set_role("worker 3");
}

static void log_down(struct log_fx *f)
{
	dup2(f->saved, STDERR_FILENO);
	close(f->saved);
	close(f->out);
}

static const char *log_text(struct log_fx *f)
{
	ssize_t n = read(f->out, f->text, sizeof(f->text) - 1);

	f->text[n > 0 ? n : 0] = '\0';
	return f->text;
}

TEST_F(base_log, a_line_has_time_level_role_pid_and_text, struct log_fx, log_up, log_down)
{
	char want[64];

	errno = ENOSPC;
	log_always(LOG_WARNING, "seg=%d\nforged", 41);
	EXPECT_I(errno, ==, ENOSPC);
	snprintf(want, sizeof(want), "Z W worker 3 pid=%d seg=41?forged\n", (int)getpid());
	EXPECT_STR(log_text(f) + 23, want);
}

TEST_F(base_log, a_long_line_is_cut_and_still_ends, struct log_fx, log_up, log_down)
{
	log_always(LOG_INFO, "%02000d", 7);
	EXPECT_U(strlen(log_text(f)), <=, LOG_LINE_MAX);
	EXPECT_I(f->text[strlen(f->text) - 1], ==, '\n');
}

TEST_F(base_log, lines_below_the_level_are_not_written, struct log_fx, log_up, log_down)
{
	LOG_D("detail");
	EXPECT_STR(log_text(f), "");
}

TEST_F(base_log, beyond_the_rate_lines_are_counted_not_written, struct log_fx, log_up, log_down)
{
	int lines = 0;
	uint64_t start_ms = clock_mono_ms();

	for (int i = 0; i < 3 * LOG_BURST; i++)
		LOG_I("x");
	for (const char *at = log_text(f); (at = strchr(at, '\n')); at++)
		lines++;
	EXPECT_I(lines, <=,
		 LOG_BURST + (int64_t)(clock_mono_ms() - start_ms) * LOG_PER_SECOND / 1000 + 1);
	EXPECT_I(lines, >, 0);
	while (!*log_text(f))
		LOG_I("y");
	EXPECT_TRUE(strstr(f->text, "suppressed ") != NULL);
}

TEST(base_log, escaped_bytes_are_printable_and_bounded)
{
	char to[16];

	EXPECT_STR(log_escape(to, sizeof(to), "a\n\\b", 4), "a\\x0a\\x5cb");
	EXPECT_STR(log_escape(to, sizeof(to), "123456789012345", 15), "123456789012345");
	EXPECT_STR(log_escape(to, sizeof(to), "1234567890123456", 16), "1234567890123..");
	EXPECT_STR(log_escape(to, sizeof(to), "\xff\xff\xff\xff", 4), "\\xff\\xff\\xff..");
	EXPECT_STR(log_escape(to, 4, "\xff", 1), "..");
	EXPECT_STR(log_escape(to, sizeof(to), NULL, 0), "");
}

TEST(base_hist, small_values_are_exact)
{
	static struct hist h;

	EXPECT_U(hist_percentile(&h, 500000), ==, 0);
	for (uint64_t v = 1; v <= 31; v++)
		hist_record(&h, v);
	EXPECT_U(hist_count(&h), ==, 31);
	EXPECT_U(h.sum, ==, 31 * 32 / 2);
	EXPECT_U(h.min_plus_1, ==, 2);
	EXPECT_U(hist_percentile(&h, 0), ==, 1);
	EXPECT_U(hist_percentile(&h, 500000), ==, 16);
	EXPECT_U(hist_percentile(&h, 1000000), ==, 31);
}

TEST(base_hist, every_percentile_is_within_its_bucket)
{
	for (int bits = 0; bits <= 41; bits++) {
		static struct hist h;
		uint64_t v = ((uint64_t)1 << bits) + ((uint64_t)1 << bits) / 3;
		uint64_t top = ((uint64_t)1 << HIST_VALUE_BITS) - 1, seen = v < top ? v : top;

		memset(&h, 0, sizeof(h));
		hist_record(&h, v);
		hist_record(&h, UINT64_MAX);
		EXPECT_U(hist_percentile(&h, 500000), >=, seen);
		EXPECT_U(hist_percentile(&h, 500000), <=, seen + seen / HIST_SUB);
		EXPECT_U(hist_percentile(&h, 1000000), ==, top);
	}
}

TEST(base_hist, merging_equals_recording_into_one)
{
	static struct hist a, b, both;

	for (uint64_t v = 1; v < 2000; v += 7) {
		hist_record(v % 2 ? &a : &b, v * v);
		hist_record(&both, v * v);
	}
	hist_merge(&a, &b);
	EXPECT_MEM(&a, &both, sizeof(a));
}

TEST(base_hash, depends_on_each_bit_of_key_data_and_length)
{
	uint8_t data[65] = {0};

	for (size_t len = 0; len < sizeof(data); len++) {
		struct hash_key key = {{t_seed(), ~t_seed()}};
		uint64_t h = hash_bytes(&key, data, len);

		EXPECT_U(h, !=, hash_bytes(&key, data, len + 1));
		for (size_t bit = 0; bit < len * 8; bit++) {
			data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			EXPECT_U(h, !=, hash_bytes(&key, data, len));
			data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
		for (size_t bit = 0; bit < 128; bit++) {
			key.word[bit / 64] ^= (uint64_t)1 << bit % 64;
			EXPECT_U(h, !=, hash_bytes(&key, data, len));
			key.word[bit / 64] ^= (uint64_t)1 << bit % 64;
		}
	}
}

/* Names as they occur, spread over 2^16 buckets by each end of the hash: as a fair die would. */
TEST(base_hash, spreads_similar_paths_evenly)
{
	enum { N = 1 << 18, BUCKETS = 1 << 16 };
	static uint32_t low[BUCKETS], high[BUCKETS];
	struct hash_key key = {{t_seed(), t_seed() * 3}};
	char path[64];
	uint32_t most = 0;

	memset(low, 0, sizeof(low));
	memset(high, 0, sizeof(high));
	for (int i = 0; i < N; i++) {
		int len = snprintf(path, sizeof(path), "/services/shard-%d/n%010d", i % 64, i);
		uint64_t h = hash_bytes(&key, path, (size_t)len);
		uint32_t a = ++low[h % BUCKETS], b = ++high[h >> 48];

		most = a > most ? a : most;
		most = b > most ? b : most;
	}
	EXPECT_U(most, <, 25); /* mean 4: a bucket of 25 in 2^17 has odds of 1 in 10^6 */
}

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "shm/ring.h"
#include "tests/t.h"
#include "tests/unit/board_fx.h"

enum { PATTERN_MAX = 4096, TORTURE_KILLS = 60 };

struct ring_fx {
	struct board_fx b;
	struct shm_ring_tx tx;
	struct shm_ring_rx rx;
	uint8_t *big, *got;
	uint64_t size;
};

static void ring_up(struct ring_fx *f)
{
	board_up(&f->b);
	shm_ring_tx_attach(&f->tx, &f->b.h, 0);
	shm_ring_rx_attach(&f->rx, &f->b.h, 0);
	f->size = f->b.h.board->up_size;
	f->big = calloc(1, f->size);
	f->got = calloc(1, f->size);
	for (uint64_t i = 0; i < f->size; i++)
		f->big[i] = (uint8_t)(i * 31 >> 3);
}

static void ring_down(struct ring_fx *f)
{
	free(f->big);
	free(f->got);
	board_down(&f->b);
}

static int push(struct shm_ring_tx *tx, const void *rec, size_t len)
{
	struct iovec iov = {(void *)(uintptr_t)rec, len};

	return shm_ring_pushv(tx, &iov, 1);
}

TEST_F(shm_ring, records_arrive_whole_and_in_order, struct ring_fx, ring_up, ring_down)
{
	struct iovec parts[3] = {{"ab", 2}, {NULL, 0}, {"cde", 3}};

	REQUIRE(EXPECT_I(shm_ring_pushv(&f->tx, parts, 3), ==, 0));
	REQUIRE(EXPECT_I(push(&f->tx, "12345678", 8), ==, 0));
	EXPECT_I(shm_ring_pop(&f->rx, f->got, 64), ==, 0); /* not published */
	shm_ring_publish(&f->tx);
	EXPECT_I(shm_ring_pop(&f->rx, f->got, 64), ==, 5);
	EXPECT_MEM(f->got, "abcde", 5);
	EXPECT_I(shm_ring_pop(&f->rx, f->got, 64), ==, 8);
	EXPECT_MEM(f->got, "12345678", 8);
	EXPECT_I(shm_ring_pop(&f->rx, f->got, 64), ==, 0);
}

TEST_F(shm_ring, the_longest_record_fits_an_empty_ring_at_every_place, struct ring_fx, ring_up,
       ring_down)
{
	uint32_t max = shm_ring_record_max(f->size);
	uint64_t step = f->size / 16 - 8;

	EXPECT_U(max, >, f->b.conf.max_buffer);
	for (int i = 0; i < 40; i++) {
		REQUIRE(EXPECT_I(push(&f->tx, f->big, max - (uint32_t)i % 8), ==, 0));
		REQUIRE(
		    EXPECT_I(push(&f->tx, "x", 1) == 0 || push(&f->tx, "x", 1) == -EAGAIN, ==, 1));
		shm_ring_publish(&f->tx);
		REQUIRE(EXPECT_I(shm_ring_pop(&f->rx, f->got, max), ==, max - (uint32_t)i % 8));
		REQUIRE(EXPECT_MEM(f->got, f->big, max - (uint32_t)i % 8));
		shm_ring_pop(&f->rx, f->got, max);
		shm_ring_consumed(&f->rx);
		REQUIRE(EXPECT_I(push(&f->tx, f->big, step), ==, 0));
		shm_ring_publish(&f->tx);
		REQUIRE(EXPECT_I(shm_ring_pop(&f->rx, f->got, max), ==, step));
		shm_ring_consumed(&f->rx);
	}
	EXPECT_I(push(&f->tx, f->big, max + 1ull), ==, -EMSGSIZE);
}

TEST_F(shm_ring, a_full_ring_refuses_and_takes_again_what_was_consumed, struct ring_fx, ring_up,
       ring_down)
{
	unsigned n = 0;

	while (push(&f->tx, f->big, 1016) == 0)
		n++;
	EXPECT_U(n, ==, f->size / 1024);
	shm_ring_publish(&f->tx);
	EXPECT_I(shm_ring_pop(&f->rx, f->got, 1016), ==, 1016);
	EXPECT_I(push(&f->tx, f->big, 1016), ==, -EAGAIN); /* popped, but not given back */
	shm_ring_consumed(&f->rx);
	EXPECT_I(push(&f->tx, f->big, 1016), ==, 0);
	EXPECT_I(push(&f->tx, f->big, 1016), ==, -EAGAIN);
}

TEST_F(shm_ring, a_record_over_the_readers_buffer_is_refused, struct ring_fx, ring_up, ring_down)
{
	REQUIRE(EXPECT_I(push(&f->tx, "0123456789", 10), ==, 0));
	shm_ring_publish(&f->tx);
	EXPECT_I(shm_ring_pop(&f->rx, f->got, 9), ==, -EMSGSIZE);
	EXPECT_I(shm_ring_pop(&f->rx, f->got, 9), ==, -EMSGSIZE);
}

static void push_nothing(void *tx)
{
	push(tx, "", 0);
}

TEST_F(shm_ring, an_empty_record_is_the_callers_bug, struct ring_fx, ring_up, ring_down)
{
	t_dies(push_nothing, &f->tx, "CHECK\\(len > 0\\)");
}

/* Whatever stands in the seat, a pop ends, stays in bounds and never gives back too much. */
TEST_F(shm_ring, a_glance_shows_what_pop_will_give_and_moves_nothing, struct ring_fx, ring_up,
       ring_down)
{
	uint64_t at = 0, turns = 0;
	uint32_t n = 0;

	/* Far enough for the ring's end to come by, with the skip before it. */
	while (turns++ < 100) {
		for (n = 0; n < 7; n++)
			REQUIRE(EXPECT_I(push(&f->tx, f->big + n, f->size / 64 + 8 * n), ==, 0));
		shm_ring_publish(&f->tx);
		at = 0;
		for (n = 0; n < 7; n++) {
			REQUIRE(EXPECT_U(shm_ring_glance(&f->rx, &at, f->got, 16), ==, 16));
			REQUIRE(EXPECT_MEM(f->got, f->big + n, 16));
		}
		EXPECT_U(shm_ring_glance(&f->rx, &at, f->got, 16), ==, 0);
		for (n = 0; n < 7; n++)
			REQUIRE(EXPECT_I(shm_ring_pop(&f->rx, f->got, (uint32_t)f->size), ==,
					 f->size / 64 + 8 * n));
		shm_ring_consumed(&f->rx);
	}
	at = 0;
	EXPECT_U(shm_ring_glance(&f->rx, &at, f->got, 16), ==, 0);
}

TEST_F(shm_ring, no_seat_whatever_it_holds_leads_the_writer_astray, struct ring_fx, ring_up,
       ring_down)
{
	struct shm_seat *seat = f->b.h.seat[0];
	uint32_t *data = (uint32_t *)(void *)shm_seat_up(seat);
	unsigned seed = (unsigned)t_seed(), bad = 0, good = 0;

	for (int round = 0; round < 20000; round++) {
		uint64_t tail = f->rx.tail, at;
		uint32_t kinds[] = {(uint32_t)rand_r(&seed) % 256, UINT32_MAX, 0, UINT32_MAX - 8,
				    (uint32_t)rand_r(&seed)};
		int64_t n;

		data[(tail & (f->size - 1)) / 4] = kinds[rand_r(&seed) % 5];
		atomic_store(&seat->up_head,
			     tail + (uint64_t)(rand_r(&seed) % 400) * (rand_r(&seed) % 8 ? 8 : 7));
		if (rand_r(&seed) % 64 == 0)
			atomic_store(&seat->up_head, (uint64_t)rand_r(&seed) << 33);
		at = 0;
		for (int i = 0; i < 4; i++)
			REQUIRE(EXPECT_U(shm_ring_glance(&f->rx, &at, f->got, 256), <=, 256));
		n = shm_ring_pop(&f->rx, f->got, 256);
		REQUIRE(EXPECT_TRUE(n >= 0 || n == -EBADMSG || n == -EMSGSIZE));
		REQUIRE(EXPECT_TRUE(n <= 256));
		REQUIRE(EXPECT_TRUE(f->rx.tail - tail <= f->size));
		REQUIRE(EXPECT_U(f->rx.tail % 8, ==, 0));
		good += n > 0;
		bad += n < 0;
		f->rx.tail = (tail + 8 * (unsigned)rand_r(&seed)) & INT64_MAX; /* every place */
	}
	EXPECT_U(good, >, 100);
	EXPECT_U(bad, >, 100);
}

TEST_F(shm_ring, a_successor_is_heard_whatever_the_dead_one_left, struct ring_fx, ring_up,
       ring_down)
{
	const uint64_t lies[] = {0, 8, 4096, 7, f->size, f->size + 8, 3 * f->size, UINT64_MAX - 7};

	for (unsigned i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
		atomic_store(&f->b.h.seat[0]->up_head, f->rx.tail + lies[i]);
		for (int k = 0; k < 3; k++)
			shm_ring_pop(&f->rx, f->got, 256);
		shm_board_reader_gone(&f->b.h, 0);
		shm_ring_tx_attach(&f->tx, &f->b.h, 0);
		EXPECT_I(push(&f->tx, "new", 3), ==, -EAGAIN); /* until the writer has looked */
		for (int k = 0; k < 3; k++)
			REQUIRE(EXPECT_I(shm_ring_pop(&f->rx, f->got, 256), <=, 0));
		REQUIRE(EXPECT_I(push(&f->tx, "new", 3), ==, 0));
		shm_ring_publish(&f->tx);
		REQUIRE(EXPECT_I(shm_ring_pop(&f->rx, f->got, 256), ==, 3));
		EXPECT_MEM(f->got, "new", 3);
		shm_ring_consumed(&f->rx);
	}
}

TEST_F(shm_ring, a_new_writer_finds_what_was_not_given_back, struct ring_fx, ring_up, ring_down)
{
	struct shm_ring_rx second;

	push(&f->tx, "first", 5);
	push(&f->tx, "later", 5);
	shm_ring_publish(&f->tx);
	shm_ring_pop(&f->rx, f->got, 64);
	shm_ring_consumed(&f->rx);
	shm_ring_pop(&f->rx, f->got, 64); /* dies before it gives back */
	shm_ring_rx_attach(&second, &f->b.h, 0);
	EXPECT_I(shm_ring_pop(&second, f->got, 64), ==, 5);
	EXPECT_MEM(f->got, "later", 5);
	EXPECT_I(shm_ring_pop(&second, f->got, 64), ==, 0);
}

/* A record that proves itself: its number, then bytes made of number and place. */
static size_t pattern_make(uint8_t *rec, uint64_t number)
{
	size_t len = 8 + (number * 2654435761u) % (PATTERN_MAX - 8);

	memcpy(rec, &number, 8);
	memset(rec + 8, (int)(number * 7 % 251), len - 8);
	return len;
}

static bool pattern_ok(const uint8_t *rec, int64_t len, uint64_t *number)
{
	static _Thread_local uint8_t want[PATTERN_MAX];

	memcpy(number, rec, 8);
	return len >= 8 && (size_t)len == pattern_make(want, *number) &&
	       memcmp(rec, want, (size_t)len) == 0;
}

static void *push_many(void *arg)
{
	struct ring_fx *f = arg;
	static uint8_t rec[PATTERN_MAX];

	for (uint64_t n = 1; n <= 30000;) {
		if (push(&f->tx, rec, pattern_make(rec, n)) == 0)
			n++;
		if (n % 7 == 0 || n > 30000 - 8)
			shm_ring_publish(&f->tx);
	}
	shm_ring_publish(&f->tx);
	return NULL;
}

/* With threads, so that tsan can see the two pairs. */
TEST_F(shm_ring, a_thread_on_each_side_never_sees_half_a_record, struct ring_fx, ring_up, ring_down)
{
	pthread_t thread;
	uint64_t number, next = 1;

	REQUIRE(EXPECT_I(pthread_create(&thread, NULL, push_many, f), ==, 0));
	while (next <= 30000) {
		int64_t n = shm_ring_pop(&f->rx, f->got, PATTERN_MAX);

		if (n == 0)
			continue;
		if (!EXPECT_TRUE(pattern_ok(f->got, n, &number)) || !EXPECT_U(number, ==, next))
			break;
		next++;
		if (next % 5 == 0)
			shm_ring_consumed(&f->rx);
	}
	shm_ring_consumed(&f->rx);
	if (next <= 30000)
		abort(); /* the producer may wait for us for ever */
	pthread_join(thread, NULL);
}

static _Noreturn void push_until_killed(struct ring_fx *f, uint64_t from)
{
	static uint8_t rec[PATTERN_MAX];

	shm_ring_tx_attach(&f->tx, &f->b.h, 0);
	for (uint64_t n = from;; n++) {
		while (push(&f->tx, rec, pattern_make(rec, n)) != 0)
			shm_ring_publish(&f->tx);
		if (n % 3 == 0)
			shm_ring_publish(&f->tx);
	}
}

/* Drain for a while; the last number seen, 0 after a wrong record. */
static uint64_t drain(struct ring_fx *f, uint64_t last, uint64_t us)
{
	uint64_t end = clock_mono_us() + us, number;

	do {
		int64_t n = shm_ring_pop(&f->rx, f->got, PATTERN_MAX);

		if (n == 0)
			continue;
		if (!EXPECT_I(n, >, 0) || !EXPECT_TRUE(pattern_ok(f->got, n, &number)) ||
		    !EXPECT_U(number, >, last))
			return 0;
		last = number;
		shm_ring_consumed(&f->rx);
	} while (clock_mono_us() < end);
	return last;
}

TEST_F(shm_ring, a_producer_killed_at_any_moment_leaves_nothing_half_written, struct ring_fx,
       ring_up, ring_down)
{
	unsigned seed = (unsigned)t_seed();
	uint64_t last = 0, records = 0;

	for (int kills = 0; kills < TORTURE_KILLS; kills++) {
		uint64_t from = (uint64_t)(kills + 1) << 32, before = last;
		pid_t pid = fork();

		if (pid == 0)
			push_until_killed(f, from);
		last = drain(f, last, 2000 + (uint64_t)rand_r(&seed) % 15000);
		kill(pid, SIGKILL);
		EXPECT_I(board_reap(pid), ==, 128 + SIGKILL);
		if (kills % 2 && last) /* it left whole records, or nothing */
			last = drain(f, last, 1000);
		REQUIRE(last);
		records += last != before;
		shm_board_reader_gone(&f->b.h, 0);
	}
	EXPECT_U(records, >, TORTURE_KILLS / 2);
}

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "shm/commit.h"
#include "shm/wake.h"
#include "tests/t.h"
#include "tests/unit/board_fx.h"

struct commit_fx {
	struct board_fx b;
	struct shm_commit_tx tx;
	struct shm_commit_rx rx;
	uint8_t *body;
	uint64_t size;
};

static void commit_up(struct commit_fx *f)
{
	board_up(&f->b);
	f->size = f->b.h.board->commit_size;
	f->body = calloc(1, f->size);
	shm_commit_tx_attach(&f->tx, &f->b.h);
	shm_board_reader_born(&f->b.h, 0);
	shm_commit_rx_attach(&f->rx, &f->b.h, 0);
}

static void commit_down(struct commit_fx *f)
{
	free(f->body);
	board_down(&f->b);
}

static int append(struct commit_fx *f, uint8_t kind, int64_t zxid, size_t body)
{
	struct msg_down m = {.kind = kind, .zxid = zxid, .reply_len = (uint32_t)body};
	struct iovec iov[2] = {{&m, sizeof(m)}, {f->body, body}};

	return shm_commit_appendv(&f->tx, iov, 2);
}

static uint64_t published(struct commit_fx *f)
{
	return atomic_load(&f->b.h.board->head);
}

TEST_F(shm_commit, a_reader_sees_what_was_published_and_S_moves_with_whole_transactions,
       struct commit_fx, commit_up, commit_down)
{
	const struct msg_down *m;
	uint32_t len;

	REQUIRE(EXPECT_I(append(f, DOWN_EVENTS, 7, 5), ==, 0));
	REQUIRE(EXPECT_I(append(f, DOWN_TXN, 7, 100), ==, 0));
	EXPECT_TRUE(shm_commit_next(&f->rx, published(f), &len) == NULL);
	shm_commit_publish(&f->tx, 7);
	EXPECT_I(atomic_load(&f->b.h.board->settled_zxid), ==, 7);
	REQUIRE(EXPECT_TRUE((m = shm_commit_next(&f->rx, published(f), &len)) != NULL));
	EXPECT_U(len, ==, sizeof(*m) + 5);
	EXPECT_I(f->rx.zxid, ==, 0);
	REQUIRE(EXPECT_TRUE((m = shm_commit_next(&f->rx, published(f), &len)) != NULL));
	EXPECT_I(m->kind, ==, DOWN_TXN);
	EXPECT_I(f->rx.zxid, ==, 7);
	EXPECT_TRUE(shm_commit_next(&f->rx, published(f), &len) == NULL);
}

TEST_F(shm_commit, a_fresh_reader_starts_at_the_head_with_its_zxid, struct commit_fx, commit_up,
       commit_down)
{
	struct shm_commit_rx late;
	uint32_t len;

	append(f, DOWN_TXN, 3, 0);
	shm_commit_publish(&f->tx, 3);
	shm_commit_rx_attach(&late, &f->b.h, 1);
	EXPECT_I(late.zxid, ==, 3);
	EXPECT_TRUE(shm_commit_next(&late, published(f), &len) == NULL);
	EXPECT_U(atomic_load(&f->b.h.seat[1]->cursor), ==, published(f));
}

TEST_F(shm_commit, a_new_writer_repeats_what_was_begun_and_zxid_never_goes_back, struct commit_fx,
       commit_up, commit_down)
{
	uint32_t len;

	append(f, DOWN_TXN, 3, 0);
	shm_commit_publish(&f->tx, 3);
	append(f, DOWN_TXN, 4, 0);
	atomic_store(&f->b.h.board->zxid, 4); /* killed before it stored the head */
	shm_commit_tx_attach(&f->tx, &f->b.h);
	EXPECT_I(atomic_load(&f->b.h.board->settled_zxid), ==, 3);
	shm_commit_publish(&f->tx, 3); /* nothing of the dead one's record shows */
	EXPECT_I(atomic_load(&f->b.h.board->zxid), ==, 4);
	while (shm_commit_next(&f->rx, published(f), &len))
		;
	EXPECT_I(f->rx.zxid, ==, 3);
	append(f, DOWN_TXN, 4, 0);
	shm_commit_publish(&f->tx, 4);
	EXPECT_TRUE(shm_commit_next(&f->rx, published(f), &len) != NULL);
	EXPECT_I(f->rx.zxid, ==, 4);
}

TEST_F(shm_commit, the_ring_is_never_overwritten_before_a_worker_that_is_there, struct commit_fx,
       commit_up, commit_down)
{
	uint32_t len, max = shm_commit_record_max(f->size);
	size_t body = max - sizeof(struct msg_down);
	uint64_t behind;
	int n = 0;

	EXPECT_I(append(f, DOWN_TXN, 1, body + 1), ==, -EMSGSIZE);
	while (append(f, DOWN_TXN, 1, body) == 0)
		n++;
	EXPECT_I(n, ==, 4);
	shm_commit_publish(&f->tx, 1);
	EXPECT_I(shm_commit_laggard(&f->tx, &behind), ==, 0);
	EXPECT_U(behind, ==, f->size);
	EXPECT_TRUE(shm_commit_next(&f->rx, published(f), &len) != NULL);
	EXPECT_I(append(f, DOWN_TXN, 2, body), ==, -EAGAIN); /* consumed, not given back */
	shm_commit_consumed(&f->rx);
	EXPECT_I(append(f, DOWN_TXN, 2, body), ==, 0);
	EXPECT_I(append(f, DOWN_TXN, 2, body), ==, -EAGAIN);
	shm_board_reader_gone(&f->b.h, 0);
	EXPECT_I(append(f, DOWN_TXN, 2, body), ==, 0); /* the dead hold nothing */
	EXPECT_I(shm_commit_laggard(&f->tx, &behind), ==, -1);
}

TEST_F(shm_commit, a_lying_cursor_harms_its_worker_alone, struct commit_fx, commit_up, commit_down)
{
	struct shm_commit_rx honest;
	uint64_t behind;
	uint32_t len;

	shm_board_reader_born(&f->b.h, 1);
	shm_commit_rx_attach(&honest, &f->b.h, 1);
	append(f, DOWN_TXN, 1, 0);
	shm_commit_publish(&f->tx, 1);
	atomic_store(&f->b.h.seat[0]->cursor, published(f) + 4096); /* ahead: counts as there */
	EXPECT_I(shm_commit_laggard(&f->tx, &behind), ==, 1);
	EXPECT_U(behind, ==, sizeof(struct msg_down) + 8);
	EXPECT_TRUE(shm_commit_next(&honest, published(f), &len) != NULL);
	shm_commit_consumed(&honest);
	atomic_store(&f->b.h.seat[0]->cursor, published(f) - 2 * f->size); /* back: is told */
	EXPECT_I(shm_commit_laggard(&f->tx, &behind), ==, 0);
	EXPECT_U(behind, >, f->size);
	for (int i = 0; i < 20 && append(f, DOWN_TXN, 2, 1 << 20) == 0; i++)
		EXPECT_I(i, <, 16); /* stalls within what was free when last looked */
}

struct follower {
	struct commit_fx *f;
	unsigned index;
	uint64_t records;
	bool ok;
};

/* A worker's loop in small: online, drain, give back, offline, sleep. */
static void *follow(void *arg)
{
	struct follower *me = arg;
	const struct shm_heritage *h = &me->f->b.h;
	struct shm_seat *seat = h->seat[me->index];
	struct shm_commit_rx rx;
	const struct msg_down *m;
	uint32_t len;
	int64_t last = 0;

	shm_commit_rx_attach(&rx, h, me->index);
	atomic_store(&seat->interest, 1);
	me->ok = true;
	while (rx.zxid < 20000) {
		uint64_t head = shm_reader_online(seat, h->board);

		while ((m = shm_commit_next(&rx, head, &len)) != NULL) {
			me->ok &= m->zxid == last + 1 && len == sizeof(*m) + m->reply_len;
			last = m->zxid;
			me->records++;
		}
		shm_commit_consumed(&rx);
		shm_reader_offline(seat);
		shm_sleep_begin(&seat->sleeping);
		if (atomic_load(&h->board->head) == rx.cursor && rx.zxid < 20000) {
			struct pollfd p = {.fd = h->wake_worker[me->index], .events = POLLIN};

			me->ok &= poll(&p, 1, 10000) == 1; /* a lost wake-up fails here */
			shm_wake_drain(p.fd);
		}
		shm_sleep_end(&seat->sleeping);
	}
	return NULL;
}

/* With threads, so that tsan can see publish, reclaim and the two fences. */
TEST_F(shm_commit, two_sleepy_readers_see_every_record_once, struct commit_fx, commit_up,
       commit_down)
{
	struct follower who[BOARD_FX_WORKERS] = {{.f = f, .index = 0}, {.f = f, .index = 1}};
	pthread_t thread[BOARD_FX_WORKERS];

	for (unsigned i = 0; i < BOARD_FX_WORKERS; i++) {
		shm_board_reader_born(&f->b.h, i);
		shm_commit_rx_attach(&f->rx, &f->b.h, i);
		REQUIRE(EXPECT_I(pthread_create(&thread[i], NULL, follow, &who[i]), ==, 0));
	}
	/* Both must stand at 0 before the first record, or they would start behind it. */
	while (!atomic_load(&f->b.h.seat[0]->interest) || !atomic_load(&f->b.h.seat[1]->interest))
		;
	for (int64_t zxid = 1; zxid <= 20000;) {
		if (append(f, DOWN_TXN, zxid, (size_t)zxid * 977 % 9000) == 0)
			zxid++;
		if (zxid % 3 == 0 || zxid > 20000) {
			shm_commit_publish(&f->tx, zxid - 1);
			shm_wake_workers(&f->b.h, 0);
		}
	}
	for (unsigned i = 0; i < BOARD_FX_WORKERS; i++) {
		pthread_join(thread[i], NULL);
		EXPECT_TRUE(who[i].ok);
		EXPECT_U(who[i].records, ==, 20000);
	}
}

static bool rang(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	bool yes = poll(&p, 1, 0) == 1;

	shm_wake_drain(fd);
	return yes;
}

TEST_F(shm_wake, only_sleepers_with_interest_or_a_half_full_ring_are_woken, struct commit_fx,
       commit_up, commit_down)
{
	struct shm_seat *seat = f->b.h.seat[0];
	int bell = f->b.h.wake_worker[0];

	atomic_store(&seat->interest, 1);
	shm_wake_workers(&f->b.h, 0);
	EXPECT_TRUE(!rang(bell)); /* awake */
	shm_sleep_begin(&seat->sleeping);
	shm_wake_workers(&f->b.h, 0);
	EXPECT_TRUE(rang(bell));
	atomic_store(&seat->interest, 0);
	shm_wake_workers(&f->b.h, 0);
	EXPECT_TRUE(!rang(bell));
	shm_wake_workers(&f->b.h, 1);
	EXPECT_TRUE(rang(bell));
	for (int i = 0; i < 2; i++)
		append(f, DOWN_TXN, 1, shm_commit_record_max(f->size) - sizeof(struct msg_down));
	shm_commit_publish(&f->tx, 1);
	shm_wake_workers(&f->b.h, 0);
	EXPECT_TRUE(rang(bell));
	shm_board_reader_gone(&f->b.h, 0);
	shm_wake_workers(&f->b.h, 1);
	EXPECT_TRUE(!rang(bell));
}

TEST_F(shm_wake, the_writer_and_the_supervisor_have_bells, struct commit_fx, commit_up, commit_down)
{
	shm_wake_writer(&f->b.h);
	EXPECT_TRUE(!rang(f->b.h.wake_writer));
	shm_sleep_begin(&f->b.h.board->writer_sleeping);
	shm_wake_writer(&f->b.h);
	EXPECT_TRUE(rang(f->b.h.wake_writer));
	shm_sleep_end(&f->b.h.board->writer_sleeping);
	shm_wake_supervisor(&f->b.h);
	shm_wake_supervisor(&f->b.h);
	EXPECT_TRUE(rang(f->b.h.wake_supervisor));
	EXPECT_TRUE(!rang(f->b.h.wake_supervisor));
}

TEST_F(shm_wake, what_a_reader_may_still_see_is_held_and_nothing_else, struct commit_fx, commit_up,
       commit_down)
{
	struct shm_heritage *h = &f->b.h;
	struct shm_seat *seat = h->seat[0], *snapshotter = h->seat[BOARD_FX_WORKERS];
	uint64_t h1, h2;

	append(f, DOWN_TXN, 1, 0);
	shm_commit_publish(&f->tx, 1);
	h1 = published(f);
	EXPECT_U(shm_readers_min(h), ==, UINT64_MAX);
	EXPECT_U(shm_reader_online(seat, h->board), ==, h1);
	EXPECT_U(shm_readers_min(h), ==, h1 + 1); /* retired under h1: it is past that */
	append(f, DOWN_TXN, 2, 0);
	shm_commit_publish(&f->tx, 2);
	h2 = published(f);
	EXPECT_U(shm_readers_min(h), ==, h1 + 1);
	EXPECT_TRUE(h2 >= shm_readers_min(h)); /* held */
	EXPECT_U(shm_reader_online(seat, h->board), ==, h2);
	EXPECT_TRUE(h2 < shm_readers_min(h)); /* free */
	shm_reader_offline(seat);
	EXPECT_U(shm_readers_min(h), ==, UINT64_MAX);
	atomic_store(&seat->interest, 1); /* has watches: records name ACLs that it has to see */
	EXPECT_U(shm_readers_min(h), ==, atomic_load(&seat->cursor) + 1);
	atomic_store(&seat->interest, 0);
	shm_reader_online(snapshotter, h->board);
	EXPECT_U(shm_readers_min(h), ==, h2 + 1);
	shm_board_reader_gone(h, BOARD_FX_WORKERS);
	EXPECT_U(shm_readers_min(h), ==, UINT64_MAX);
}

/*
 * evil_worker.c - a server of which one worker is an attacker's, for tests/e2e/evil.py
 *
 *	evil_worker ZOO.CFG	the last worker is evil in the way that EVIL names; the file
 *				EVIL_SESSION holds the number of a session to attack
 *
 * It has what a hijacked worker has, its seat and bells, and speaks the rings' language well: what
 * it says is hostile. Half a second of it, then a pause; when it is killed its successor goes on.
 *
 *	bytes    random bytes and heads in the ring
 *	kinds    records of every kind, known or not, with random fields and bodies
 *	foreign  requests, identities and closings for connections and sessions of others
 *	change   well-formed records whose bytes change while they are read
 *	flood    connects, syncs and reports without end, and no record of the commit ring taken
 *	hold     a reader's announcement that never moves
 *	crawl    as flood, but the ring is taken a little at a time
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "jute/codes.h"
#include "jute/session.h"
#include "shm/msg.h"
#include "shm/ring.h"
#include "shm/wake.h"
#include "supervisor/conf.h"
#include "supervisor/supervise.h"
#include "supervisor/title.h"
#include "workers/main.h"
#include "writer/main.h"

enum { BODY = 4096, BURST_MS = 500 };

struct evil {
	const struct shm_heritage *h;
	struct shm_seat *seat;
	struct shm_ring_tx tx;
	unsigned index;
	uint64_t random;
	int64_t victim; /* a session of an honest worker */
};

static uint64_t roll(struct evil *e)
{
	e->random ^= e->random << 13;
	e->random ^= e->random >> 7;
	e->random ^= e->random << 17;
	return e->random;
}

static void push(struct evil *e, struct msg_up *up, const void *body, uint32_t len)
{
	struct iovec iov[2] = {{up, sizeof(*up)}, {(void *)(uintptr_t)body, len}};

	up->epoch = atomic_load(&e->h->board->writer_epoch);
	if (shm_ring_pushv(&e->tx, iov, 2) == -EAGAIN) {
		shm_ring_publish(&e->tx);
		shm_wake_writer(e->h);
		usleep(100);
	}
}

static void random_body(struct evil *e, uint8_t body[BODY])
{
	/* Lengths and counts that are interesting, then anything. */
	static const uint32_t words[] = {0,	     1,		 0xffffffff, 0x7fffffff,
					 0x80000000, 0x00100000, 31,	     0xfffffffe};

	for (int i = 0; i < BODY; i += 4) {
		uint32_t word = words[roll(e) % 8];

		if (roll(e) % 3 == 0)
			word = (uint32_t)roll(e);
		word = __builtin_bswap32(word);
		memcpy(body + i, &word, 4);
	}
}

static void evil_bytes(struct evil *e)
{
	uint8_t *data = shm_seat_up(e->seat);
	uint64_t size = e->h->board->up_size;

	for (int i = 0; i < 1000; i++) {
		uint32_t word = (uint32_t)(roll(e) % 2 ? roll(e) : roll(e) % 64);

		memcpy(data + (roll(e) % size & ~7ull), &word, 4);
	}
	atomic_store(&e->seat->up_head, atomic_load(&e->seat->up_head) + roll(e) % (2 * size));
	shm_wake_writer(e->h);
	usleep(1000);
}

static void evil_kinds(struct evil *e)
{
	uint8_t body[BODY];
	struct msg_up up = {.kind = (uint8_t)(roll(e) % 16 ? roll(e) % 9 : roll(e)),
			    .conn = roll(e) % 4,
			    .session = roll(e) % 2 ? e->victim : (int64_t)roll(e),
			    .xid = (int32_t)roll(e),
			    .op = (int32_t)(roll(e) % 120) - 12,
			    .len = roll(e) % 64 ? (uint32_t)(roll(e) % BODY) : (uint32_t)roll(e)};

	random_body(e, body);
	push(e, &up, body, up.len < BODY ? up.len : BODY);
}

static void evil_foreign(struct evil *e)
{
	static const uint8_t kinds[] = {UP_REQUEST, UP_AUTH, UP_DETACH, UP_SYNC, UP_ATTACH,
					UP_CONNECT};
	struct msg_up up = {.kind = kinds[roll(e) % 6],
			    .conn = (roll(e) % 2) << 48 | (roll(e) % 64) << 24 | roll(e) % 64,
			    .session = e->victim + (int64_t)(roll(e) % 4),
			    .xid = (int32_t)(roll(e) % 100),
			    .op = roll(e) % 2 ? ZK_OP_CLOSE_SESSION : ZK_OP_DELETE};
	struct msg_connect m = {.timeout_ms = 1, .password_len = 16};
	uint8_t body[sizeof(m) + 16];

	/* Passwords can be computed, as in ZooKeeper: a resume would be a client's right. */
	memset(body, (int)roll(e), sizeof(body));
	memcpy(body, &m, sizeof(m));
	up.len = sizeof(body);
	push(e, &up, body, up.len);
}

static void *flip(void *arg)
{
	struct evil *e = arg;
	volatile uint8_t *data = shm_seat_up(e->seat);
	uint64_t size = e->h->board->up_size, random = 88172645463325252;

	for (;;) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		data[random % size] = (uint8_t)(random >> 32);
	}
	return NULL;
}

static void evil_change(struct evil *e)
{
	static pthread_t thread;

	if (!thread)
		CHECK(!pthread_create(&thread, NULL, flip, e));
	evil_kinds(e);
}

static void evil_flood(struct evil *e)
{
	struct msg_connect m = {.timeout_ms = 1000 + (int32_t)(roll(e) % 60000),
				.password_len = -1};
	struct msg_up up = {.conn = roll(e), .xid = (int32_t)(roll(e) % 8)};

	atomic_store(&e->seat->interest, 1);
	switch (roll(e) % 4) {
	case 0:
		up.kind = UP_CONNECT;
		up.len = sizeof(m);
		break;
	case 1:
	case 2:
		up.kind = UP_SYNC;
		break;
	default:
		up.kind = UP_REPORT;
		up.xid = (int32_t)(roll(e) % 9);
	}
	push(e, &up, &m, up.len);
}

static void evil_hold(struct evil *e)
{
	atomic_store(&e->seat->slot, 1);
	atomic_store(&e->seat->interest, 1);
	usleep(1000);
}

static void evil_crawl(struct evil *e)
{
	uint64_t cursor = atomic_load(&e->seat->cursor), head = atomic_load(&e->h->board->head);

	evil_flood(e);
	if (roll(e) % 256 == 0 && head - cursor > 4096)
		atomic_store(&e->seat->cursor, cursor + 64);
}

static const struct {
	const char *name;
	void (*act)(struct evil *e);
} ways[] = {{"bytes", evil_bytes},   {"kinds", evil_kinds}, {"foreign", evil_foreign},
	    {"change", evil_change}, {"flood", evil_flood}, {"hold", evil_hold},
	    {"crawl", evil_crawl}};

static void find_victim(struct evil *e)
{
	const char *name = getenv("EVIL_SESSION");
	FILE *f = name ? fopen(name, "re") : NULL;
	long long id;

	if (f && fscanf(f, "%lld", &id) == 1)
		e->victim = id;
	if (f)
		fclose(f);
}

static void act(struct evil *e, void (*how)(struct evil *e))
{
	uint64_t until = clock_mono_ms() + BURST_MS;

	find_victim(e);
	while (clock_mono_ms() < until) {
		atomic_store(&e->seat->turn_ms, (uint32_t)clock_mono_ms());
		for (int i = 0; i < 100; i++)
			how(e);
		if (how != evil_bytes)
			shm_ring_publish(&e->tx);
		shm_wake_writer(e->h);
		usleep(200); /* the honest share the machine with it */
	}
}

static int evil_main(const struct shm_heritage *h, unsigned index)
{
	struct evil e = {.h = h,
			 .seat = h->seat[index],
			 .index = index,
			 .random = clock_mono_us() | 1};
	const char *how = getenv("EVIL");

	if (index + 1 < h->board->n_workers)
		return worker_main(h, index);
	shm_ring_tx_attach(&e.tx, h, index);
	while (!atomic_load(&h->board->in_service))
		usleep(1000);
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++)
		while (how && !strcmp(how, ways[i].name) && !atomic_load(&h->board->stopping))
			act(&e, ways[i].act);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct sup_entries entries = {writer_main, snapshotter_main, evil_main};
	struct sup_conf_texts texts;
	struct conf c;
	int status;

	log_set_role("supervisor");
	if (argc != 2 || sup_conf_load(&c, argv[1], &texts)) {
		fprintf(stderr, "evil_worker ZOO.CFG, with "
				"EVIL=bytes|kinds|foreign|change|flood|hold|crawl\n");
		return 2;
	}
	sup_conf_fit(&c, "");
	sup_title_init(argc, argv);
	status = sup_run(&c, &entries);
	sup_conf_free(&c);
	return status;
}

/*
 * One writer and readers at full speed: as processes over a read-only mapping, and as threads for
 * the thread sanitizer. Builds with DEBUG overwrite freed memory, so that a reader that is led
 * there finds nonsense.
 *
 * What holds at every S: the two nodes of a pair are changed by one multi, so both are there or
 * none, with the same data; data are one byte over and over; /grow says in its data how many
 * children it has, all of them are found, and the list of children has as many.
 */
#include "tests/t.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "shm/node.h"
#include "shm/region.h"
#include "shm/tree.h"
#include "shm/wake.h"
#include "tests/unit/board_fx.h"

#ifdef DEBUG
enum { BATCHES = 1500 }; /* the sanitizers are slow */
#else
enum { BATCHES = 8000 };
#endif
enum { GEN = 2, REGION_BYTES = 96 << 20, PAIRS = 64, DATA_MAX = 400 };

struct torture_fx {
	struct board_fx board;
	struct shm_tree *t;
	int64_t zxid;
	uint64_t random;
	int grown, batches;
};

static void torture_up(struct torture_fx *f)
{
	board_up(&f->board);
	REQUIRE(EXPECT_TRUE(!t_failed()));
	f->board.h.read_gen = GEN;
	f->board.h.region_bytes = REGION_BYTES;
	REQUIRE(EXPECT_I(shm_region_reserve(REGION_BYTES), ==, 0));
	REQUIRE(EXPECT_I(shm_region_create(GEN, REGION_BYTES, &f->board.h.read_ro_fd), ==, 0));
	REQUIRE(EXPECT_I(shm_tree_new(&f->t, GEN, REGION_BYTES), ==, 0));
	REQUIRE(EXPECT_I(shm_tree_initial(f->t), ==, 0));
	EXPECT_I(shm_tree_loaded(f->t, 0), ==, 0);
	f->random = t_seed();
	f->batches = BATCHES;
}

static void torture_down(struct torture_fx *f)
{
	if (f->board.h.read_ro_fd > 0)
		close(f->board.h.read_ro_fd);
	for (uint32_t w = 0; w < SHM_WINDOWS; w++)
		munmap(shm_window(w), REGION_BYTES);
	board_down(&f->board);
}

/* ---- writer ---- */

static uint64_t any(uint64_t *state, uint64_t below)
{
	*state = *state * 6364136223846793005 + 1442695040888963407;
	return (*state >> 33) % below;
}

static void publish(struct torture_fx *f)
{
	struct shm_board *b = f->board.h.board;
	uint64_t head = atomic_load_explicit(&b->head, memory_order_relaxed) + 8;

	atomic_store_explicit(&b->zxid, f->zxid, memory_order_release);
	atomic_store_explicit(&b->head, head, memory_order_release); /* COMMIT */
	shm_tree_published(f->t, f->zxid, head);
	shm_tree_reclaim(f->t, shm_readers_min(&f->board.h), 500, NULL);
}

static void create(struct torture_fx *f, const char *path, const void *data, int32_t len)
{
	struct shm_new new = {.path = path,
			      .path_len = (uint32_t)strlen(path),
			      .data = data,
			      .data_len = len,
			      .acl = SHM_ACL_OPEN,
			      .parent_cversion = -1,
			      .zxid = f->zxid};

	CHECK(shm_tree_create(f->t, &new, NULL) == 0);
}

static void set(struct torture_fx *f, struct shm_node *n, const void *data, int32_t len)
{
	CHECK(shm_tree_set_data(f->t, n, data, len, 1, f->zxid, f->zxid) == 0);
}

/* One multi: a pair appears, changes or goes. */
static void change_pair(struct torture_fx *f)
{
	uint64_t pair = any(&f->random, PAIRS), action = any(&f->random, 3);
	uint8_t data[DATA_MAX];
	int32_t len = (int32_t)any(&f->random, DATA_MAX) + 1;

	f->zxid++;
	memset(data, (int)any(&f->random, 256), sizeof(data));
	for (int half = 0; half < 2; half++) {
		char path[64];
		size_t n = (size_t)sprintf(path, "/pairs/pair-%d-%d", (int)pair, half);
		struct shm_node *node = shm_tree_get(f->t, path, n);

		if (!node)
			create(f, path, data, len);
		else if (action)
			set(f, node, data, len);
		else
			CHECK(shm_tree_delete(f->t, node, f->zxid) == 0);
	}
}

static void grow(struct torture_fx *f)
{
	char path[64];

	f->zxid++;
	sprintf(path, "/grow/node-%d", f->grown++);
	create(f, path, "x", 1);
	set(f, shm_tree_get(f->t, "/grow", 5), &f->grown, sizeof(f->grown));
}

static void write_all(struct torture_fx *f)
{
	for (int batch = 0; batch < f->batches; batch++) {
		while (!shm_tree_room(f->t, 1 << 20)) { /* readers that don't get the processor */
			sched_yield();
			publish(f);
		}
		for (int i = 0; i < 8; i++)
			change_pair(f);
		for (int i = 0; i < 8; i++)
			grow(f);
		publish(f);
	}
}

/* ---- readers ---- */

struct turn {
	const struct shm_tree *t;
	int64_t zxid;
};

static const struct shm_node *find(const struct turn *turn, const char *path,
				   const struct shm_version **v)
{
	size_t len = strlen(path);
	uint64_t hash = shm_tree_hash(turn->t, path, len);

	shm_tree_prefetch(turn->t, hash);
	shm_tree_prefetch_node(turn->t, hash);
	shm_tree_prefetch_version(turn->t, hash);
	return shm_tree_find(turn->t, hash, path, len, turn->zxid, v);
}

static void read_pair(const struct turn *turn, uint64_t pair)
{
	const struct shm_version *v[2] = {NULL, NULL};
	const uint8_t *data[2];
	int32_t len[2];
	char path[64];

	for (int half = 0; half < 2; half++) {
		sprintf(path, "/pairs/pair-%d-%d", (int)pair, half);
		find(turn, path, &v[half]);
	}
	CHECK(!v[0] == !v[1]);
	if (!v[0])
		return;
	for (int half = 0; half < 2; half++)
		data[half] = shm_version_data(v[half], &len[half]);
	CHECK(len[0] > 0);
	CHECK(len[0] == len[1]);
	CHECK(shm_version_mzxid(v[0]) == shm_version_mzxid(v[1]));
	for (int32_t i = 0; i < len[0]; i++) {
		CHECK(data[0][i] == data[0][0]);
		CHECK(data[1][i] == data[0][0]);
	}
}

static void read_grown(const struct turn *turn, uint64_t *random)
{
	const struct shm_version *v;
	const struct shm_node *n = find(turn, "/grow", &v);
	struct shm_iter it;
	char path[64];
	int32_t len;
	int grown, found = 0;

	CHECK(n);
	memcpy(&grown, shm_version_data(v, &len), sizeof(grown));
	CHECK(len == sizeof(grown));
	CHECK(shm_version_children(v) == grown);
	for (int i = 0; grown && i < 20; i++) {
		sprintf(path, "/grow/node-%d", (int)any(random, (uint64_t)grown));
		CHECK(find(turn, path, &v));
	}
	if (any(random, 16))
		return;
	shm_children_begin(&it, n, turn->zxid);
	while (shm_children_next(&it))
		found++;
	CHECK(found == grown);
	n = find(turn, "/pairs", &v);
	shm_children_begin(&it, n, turn->zxid);
	for (found = 0; (n = shm_children_next(&it)); found++)
		CHECK(!memcmp(shm_node_path(n, &(uint32_t){0}), "/pairs/pair-", 12));
	CHECK(found == shm_version_children(v));
}

/* Turns until the writer has finished; at least one is with the final state. Counts them in its
 * seat, where nothing else happens here. */
static void read_all(const struct shm_heritage *h, unsigned reader, uint64_t random)
{
	struct turn turn = {.t = shm_tree_of(GEN)};
	bool last = false;

	CHECK(turn.t);
	while (!last) {
		last = atomic_load_explicit(&h->board->stopping, memory_order_acquire);
		shm_reader_online(h->seat[reader], h->board);
		turn.zxid = atomic_load_explicit(&h->board->zxid, memory_order_acquire);
		int reads = any(&random, 50) ? 10 : 1000; /* now and then a long turn */

		for (int i = 0; i < reads; i++)
			read_pair(&turn, any(&random, PAIRS));
		read_grown(&turn, &random);
		shm_reader_offline(h->seat[reader]);
		atomic_fetch_add_explicit(&h->seat[reader]->cursor, 1, memory_order_relaxed);
	}
}

/* ---- both ---- */

static void prepare(struct torture_fx *f)
{
	int none = 0;

	f->zxid = 1;
	create(f, "/pairs", NULL, -1);
	create(f, "/grow", &none, sizeof(none));
	publish(f);
}

static void finish(struct torture_fx *f)
{
	uint64_t turns = 0;

	for (unsigned i = 0; i <= BOARD_FX_WORKERS; i++)
		turns += atomic_load(&f->board.h.seat[i]->cursor);
	EXPECT_U(turns, >, 30);
	for (int i = 0; i < 3; i++) {
		publish(f);
		shm_tree_reclaim(f->t, UINT64_MAX, UINT32_MAX, NULL);
	}
	EXPECT_U(shm_tree_retired_bytes(f->t), ==, 0);
	shm_tree_check(f->t);
}

TEST_F(shm_tree_torture, processes_see_whole_multis, struct torture_fx, torture_up, torture_down)
{
	pid_t pid[BOARD_FX_WORKERS + 1];

	prepare(f);
	for (unsigned i = 0; i <= BOARD_FX_WORKERS; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		if (shm_board_enter_reader(&f->board.h, i))
			_exit(2);
		read_all(&f->board.h, i, f->random + i);
		_exit(0);
	}
	write_all(f);
	atomic_store_explicit(&f->board.h.board->stopping, 1, memory_order_release);
	for (unsigned i = 0; i <= BOARD_FX_WORKERS; i++)
		EXPECT_I(board_reap(pid[i]), ==, 0);
	finish(f);
}

struct reader_thread {
	pthread_t thread;
	struct torture_fx *f;
	unsigned reader;
};

static void *thread_main(void *arg)
{
	struct reader_thread *r = arg;

	read_all(&r->f->board.h, r->reader, r->reader + 1);
	return NULL;
}

TEST_F(shm_tree_torture, threads_see_whole_multis, struct torture_fx, torture_up, torture_down)
{
	struct reader_thread r[2];

	prepare(f);
	for (unsigned i = 0; i < 2; i++) {
		r[i] = (struct reader_thread){.f = f, .reader = i};
		CHECK(pthread_create(&r[i].thread, NULL, thread_main, &r[i]) == 0);
	}
	write_all(f);
	atomic_store_explicit(&f->board.h.board->stopping, 1, memory_order_release);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(r[i].thread, NULL);
	finish(f);
}

/* Each attempt of a reader to write to the tree ends the reader, not the tree. */
static void write_to_tree(void *arg)
{
	struct torture_fx *f = arg;

	if (shm_board_enter_reader(&f->board.h, 0))
		_exit(2);
	f->t->zxid = 99;
}

TEST_F(shm_tree_torture, a_reader_cant_write_to_the_tree, struct torture_fx, torture_up,
       torture_down)
{
	prepare(f);
	pid_t pid = fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		write_to_tree(f);
		_exit(0);
	}
	EXPECT_I(board_reap(pid), ==, 128 + SIGSEGV);
	pid = fork();
	if (!pid) {
		if (shm_board_enter_reader(&f->board.h, 0))
			_exit(2);
		_exit(mprotect(f->t, 4096, PROT_READ | PROT_WRITE) == 0);
	}
	EXPECT_I(board_reap(pid), ==, 0);
	EXPECT_I(shm_tree_zxid(f->t), ==, 1);
}

#include "shm/board.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "shm/region.h"

enum {
	UP_MIN = 1 << 20,      /* bytes of an up ring, at least */
	COMMIT_MIN = 4 << 20,  /* bytes of the commit ring, at least */
	RECORD_EXTRA = 4096,   /* headers of a record beyond the client's bytes, generously */
	REPLIES_PER_ASKED = 4, /* a multi's answer is at most so much larger than the multi */
	KEEP_MAX = 8 + CONF_LISTEN_MAX + CONF_WORKERS_MAX,
};
#define BOARD_MAGIC 0x31306472616f6250 /* "Pboard01" */

static_assert(sizeof(struct shm_reader) == 128, "one line each");
static_assert(offsetof(struct shm_reader, up_tail) == 64, "the writer's line");
static_assert(offsetof(struct shm_board, head) == 64, "the published line");
static_assert(offsetof(struct shm_board, writer_sleeping) == 128, "a line of its own");
static_assert(offsetof(struct shm_board, snap_wanted) == 192, "a line of its own");
static_assert(offsetof(struct shm_board, reader) == 256, "lines of their own");
static_assert(offsetof(struct shm_seat, up_head) == 64, "a line of its own");
static_assert(offsetof(struct shm_seat, stats) == 128, "a line of its own");

static uint64_t power_of_two(uint64_t at_least, uint64_t min)
{
	uint64_t n = min;

	while (n < at_least)
		n *= 2;
	return n;
}

static void no_descriptors(struct shm_heritage *h)
{
	h->board_ro_fd = h->wake_writer = h->wake_supervisor = -1;
	h->region_ro_fd = h->read_ro_fd = h->lock_fd[0] = h->lock_fd[1] = -1;
	for (unsigned i = 0; i < SHM_READERS_MAX; i++)
		h->seat_ro_fd[i] = -1;
	for (unsigned i = 0; i < CONF_WORKERS_MAX; i++)
		h->wake_worker[i] = h->worker_socket[i] = -1;
	for (unsigned i = 0; i < CONF_LISTEN_MAX; i++)
		h->listen_fd[i] = -1;
	h->n_listen = 0;
}

static size_t board_bytes(const struct shm_board *b)
{
	return shm_page_round(sizeof(*b)) + b->commit_size;
}

static int make_memory(struct shm_heritage *h, const struct shm_board *sizes)
{
	h->board = shm_sealed_new("paddock-board", NULL, board_bytes(sizes), &h->board_ro_fd);
	if (!h->board)
		return -errno;
	h->board->n_workers = sizes->n_workers;
	h->board->seat_bytes = sizes->seat_bytes;
	h->board->commit_size = sizes->commit_size;
	h->board->up_size = sizes->up_size;
	for (unsigned i = 0; i <= sizes->n_workers; i++) {
		h->seat[i] =
		    shm_sealed_new("paddock-seat", NULL, sizes->seat_bytes, &h->seat_ro_fd[i]);
		if (!h->seat[i])
			return -errno;
		atomic_init(&h->board->reader[i].incarnation, 1);
	}
	h->board->magic = BOARD_MAGIC;
	return 0;
}

static int make_wakers(struct shm_heritage *h)
{
	h->wake_writer = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	h->wake_supervisor = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (h->wake_writer < 0 || h->wake_supervisor < 0)
		return -errno;
	for (unsigned i = 0; i < h->conf->workers; i++) {
		h->wake_worker[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (h->wake_worker[i] < 0)
			return -errno;
	}
	return 0;
}

int shm_board_create(struct shm_heritage *h)
{
	const struct conf *conf = h->conf;
	struct shm_board *sizes = calloc(1, sizeof(*sizes));
	uint64_t record = (uint64_t)conf->max_buffer + RECORD_EXTRA;
	uint64_t answer = (uint64_t)conf->max_buffer * REPLIES_PER_ASKED;
	int err;

	CHECK(conf->workers >= 1);
	CHECK(conf->workers <= CONF_WORKERS_MAX);
	*h = (struct shm_heritage){.conf = conf};
	no_descriptors(h);
	if (!sizes)
		return -ENOMEM;
	sizes->n_workers = conf->workers;
	sizes->up_size = power_of_two(2 * record, UP_MIN);
	sizes->commit_size = power_of_two(4 * answer, COMMIT_MIN);
	sizes->seat_bytes = (uint32_t)(shm_page_round(sizeof(struct shm_seat)) + sizes->up_size);
	err = make_memory(h, sizes);
	if (!err)
		err = make_wakers(h);
	if (err)
		shm_board_destroy(h);
	free(sizes);
	return err;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void shm_board_destroy(struct shm_heritage *h)
{
	for (unsigned i = 0; i < SHM_READERS_MAX; i++) {
		if (h->seat[i])
			munmap(h->seat[i], h->board->seat_bytes);
		h->seat[i] = NULL;
		close_fd(&h->seat_ro_fd[i]);
	}
	for (unsigned i = 0; i < CONF_WORKERS_MAX; i++)
		close_fd(&h->wake_worker[i]);
	if (h->board)
		munmap(h->board, board_bytes(h->board));
	h->board = NULL;
	close_fd(&h->board_ro_fd);
	close_fd(&h->wake_writer);
	close_fd(&h->wake_supervisor);
}

static int compare_ints(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* Close every descriptor from 3 on that is not in keep[]. */
static int close_all_but(int *keep, unsigned n)
{
	unsigned from = STDERR_FILENO + 1;

	qsort(keep, n, sizeof(*keep), compare_ints);
	for (unsigned i = 0; i < n; i++) {
		if (keep[i] < (int)from)
			continue; /* -1, a standard stream, or named twice */
		if (keep[i] > (int)from && close_range(from, (unsigned)keep[i] - 1, 0) < 0)
			return -errno;
		from = (unsigned)keep[i] + 1;
	}
	return close_range(from, UINT_MAX, 0) < 0 ? -errno : 0;
}

/* Whoever may not have a descriptor must not find its number either. */
static void forget_descriptors(struct shm_heritage *h, const struct shm_heritage *all)
{
	no_descriptors(h);
	h->wake_writer = all->wake_writer;
	h->wake_supervisor = all->wake_supervisor;
}

static int enter_memory(struct shm_heritage *h, unsigned i)
{
	struct shm_board *b = h->board;
	unsigned seats = b->n_workers + 1;
	size_t seat_bytes = b->seat_bytes;
	int err = shm_sealed_map_readonly(b, board_bytes(b), h->board_ro_fd);

	for (unsigned j = 0; !err && j < seats; j++)
		if (j != i)
			err = shm_sealed_map_readonly(h->seat[j], seat_bytes, h->seat_ro_fd[j]);
	if (err || !h->region_bytes)
		return err;
	for (uint32_t w = 0; w < SHM_WINDOWS; w++)
		shm_region_drop(w, h->region_bytes);
	if (h->read_gen)
		err = shm_region_map_readonly(h->read_gen, h->region_bytes, h->read_ro_fd);
	return err;
}

int shm_board_enter_reader(struct shm_heritage *h, unsigned i)
{
	const struct shm_heritage all = *h;
	int keep[KEEP_MAX], err;
	unsigned n = 0;

	CHECK(i <= h->board->n_workers);
	err = enter_memory(h, i);
	if (err)
		return err;
	forget_descriptors(h, &all);
	keep[n++] = h->wake_writer;
	keep[n++] = h->wake_supervisor;
	if (i < h->board->n_workers) {
		keep[n++] = h->wake_worker[i] = all.wake_worker[i];
		keep[n++] = h->worker_socket[i] = all.worker_socket[i];
		for (unsigned j = 0; j < all.n_listen; j++)
			keep[n++] = h->listen_fd[j] = all.listen_fd[j];
		h->n_listen = all.n_listen;
	} else {
		keep[n++] = h->lock_fd[0] = all.lock_fd[0];
		keep[n++] = h->lock_fd[1] = all.lock_fd[1];
	}
	return close_all_but(keep, n);
}

int shm_board_enter_writer(struct shm_heritage *h)
{
	const struct shm_heritage all = *h;
	int keep[KEEP_MAX];
	unsigned n = 0;

	/* An old generation stays in memory until the last process has let go of it. */
	if (h->region_bytes)
		shm_region_drop(h->region_gen + 1, h->region_bytes);
	forget_descriptors(h, &all);
	keep[n++] = h->wake_writer;
	keep[n++] = h->wake_supervisor;
	keep[n++] = h->lock_fd[0] = all.lock_fd[0];
	keep[n++] = h->lock_fd[1] = all.lock_fd[1];
	for (unsigned i = 0; i < h->board->n_workers; i++)
		keep[n++] = h->wake_worker[i] = all.wake_worker[i];
	return close_all_but(keep, n);
}

void shm_board_reader_gone(struct shm_heritage *h, unsigned i)
{
	struct shm_reader *r = &h->board->reader[i];
	struct shm_seat *s = h->seat[i];
	uint64_t tail = atomic_load(&r->up_tail);
	/* A count that no record of the dead can reach, whatever it stored (ring.h, Death). */
	uint64_t start = ((tail + 7) & ~(uint64_t)7) + 2 * h->board->up_size;

	/* In this order: who sees the new head also sees the new start. */
	atomic_store(&r->up_start, start);
	atomic_store(&s->up_head, start);
	atomic_store(&s->interest, 0);
	atomic_store(&s->sleeping, 0);
	atomic_store(&s->gen, 0);
	atomic_store(&s->cursor, atomic_load(&h->board->head));
	atomic_store(&s->slot, 0);
	atomic_fetch_add(&r->incarnation, 1);
	atomic_store(&r->pid, 0);
}

void shm_board_reader_born(struct shm_heritage *h, unsigned i)
{
	/* A cursor left far behind would count as a lag. */
	atomic_store(&h->seat[i]->cursor, atomic_load(&h->board->head));
	atomic_store(&h->board->reader[i].pid, -1);
}

#include "shm/wake.h"

#include <errno.h>
#include <unistd.h>

#include "base/check.h"

void shm_sleep_begin(_Atomic uint32_t *flag)
{
	/* seq_cst: the flag must be seen before we look for work the last time. */
	atomic_store_explicit(flag, 1, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
}

void shm_sleep_end(_Atomic uint32_t *flag)
{
	/* relaxed: a waker that still sees 1 writes an eventfd too often, no more. */
	atomic_store_explicit(flag, 0, memory_order_relaxed);
}

static void ring_bell(int fd)
{
	const uint64_t one = 1;

	/* EAGAIN: the count is full, so the sleeper is awake as soon as it looks. */
	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

static int is_for(const struct shm_heritage *h, unsigned i, uint64_t head)
{
	const struct shm_seat *s = h->seat[i];

	if (atomic_load_explicit(&s->interest, memory_order_relaxed))
		return 1;
	return head - atomic_load_explicit(&s->cursor, memory_order_relaxed) >=
	       h->board->commit_size / 2;
}

void shm_wake_workers(const struct shm_heritage *h, int all)
{
	uint64_t head = atomic_load_explicit(&h->board->head, memory_order_relaxed); /* our own */

	/* Pairs with shm_sleep_begin(): either we see the flag, or the sleeper sees the head. */
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i < h->board->n_workers; i++) {
		if (!atomic_load_explicit(&h->seat[i]->sleeping, memory_order_relaxed))
			continue;
		if (atomic_load_explicit(&h->board->reader[i].pid, memory_order_relaxed) == 0)
			continue;
		if (all || is_for(h, i, head))
			ring_bell(h->wake_worker[i]);
	}
}

void shm_wake_writer(const struct shm_heritage *h)
{
	/* Pairs with shm_sleep_begin(). */
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&h->board->writer_sleeping, memory_order_relaxed))
		ring_bell(h->wake_writer);
}

void shm_wake_supervisor(const struct shm_heritage *h)
{
	ring_bell(h->wake_supervisor);
}

void shm_wake_all(const struct shm_heritage *h)
{
	ring_bell(h->wake_writer);
	for (unsigned i = 0; i < h->board->n_workers; i++)
		ring_bell(h->wake_worker[i]);
}

void shm_wake_drain(int eventfd)
{
	uint64_t count;

	/* EAGAIN: somebody drained it before; nothing to do. */
	while (read(eventfd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

uint64_t shm_reader_online(struct shm_seat *seat, const struct shm_board *board)
{
	/* relaxed: too old a value only holds more than needed. */
	uint64_t q = atomic_load_explicit(&board->head, memory_order_relaxed);

	/* seq_cst: the announcement is visible before the head that this turn works with. */
	atomic_exchange_explicit(&seat->slot, q + 1, memory_order_seq_cst);
	atomic_thread_fence(memory_order_seq_cst);
	return atomic_load_explicit(&board->head, memory_order_acquire);
}

void shm_reader_offline(struct shm_seat *seat)
{
	/* Our loads of the tree are over before the writer may free what they reached. */
	atomic_store_explicit(&seat->slot, 0, memory_order_release);
}

/* What one reader holds: see shm_readers_min(). */
static uint64_t held_by(const struct shm_heritage *h, unsigned i)
{
	const struct shm_seat *s = h->seat[i];
	uint64_t slot = atomic_load_explicit(&s->slot, memory_order_acquire), cursor;
	uint64_t min = slot ? slot : UINT64_MAX;

	/* The snapshotter takes no records. Interest is stored before the slot is cleared. */
	if (i == h->board->n_workers || !atomic_load_explicit(&s->interest, memory_order_relaxed) ||
	    !atomic_load_explicit(&h->board->reader[i].pid, memory_order_relaxed))
		return min;
	cursor = atomic_load_explicit(&s->cursor, memory_order_acquire) + 1;
	return cursor < min ? cursor : min;
}

int shm_readers_holder(const struct shm_heritage *h)
{
	uint64_t min = UINT64_MAX;
	int holder = -1;

	for (unsigned i = 0; i <= h->board->n_workers; i++) {
		uint64_t held = held_by(h, i);

		if (held < min) {
			min = held;
			holder = (int)i;
		}
	}
	return holder;
}

uint64_t shm_readers_min(const struct shm_heritage *h)
{
	uint64_t min = UINT64_MAX;

	/* Pairs with shm_reader_online(): a reader that is not seen online here sees our head. */
	atomic_thread_fence(memory_order_seq_cst);
	for (unsigned i = 0; i <= h->board->n_workers; i++) {
		uint64_t held = held_by(h, i);

		if (held < min)
			min = held;
	}
	return min;
}

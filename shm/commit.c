#include "shm/commit.h"

#include <errno.h>

#include "base/check.h"
#include "shm/frame.h"

void shm_commit_tx_attach(struct shm_commit_tx *tx, const struct shm_heritage *h)
{
	tx->board = h->board;
	tx->heritage = h;
	tx->data = shm_board_commit(h->board);
	tx->size = h->board->commit_size;
	tx->head = atomic_load_explicit(&h->board->head, memory_order_acquire);
	tx->room_seen = tx->head - tx->size; /* none: the first append looks */
}

uint32_t shm_commit_record_max(uint64_t ring_size)
{
	uint64_t max = ring_size / 4 - FRAME_HEAD;

	return max < INT32_MAX ? (uint32_t)max : INT32_MAX;
}

/* A worker's cursor, at most the published head; the head itself if nobody is there. */
static uint64_t cursor_of(const struct shm_heritage *h, unsigned i, uint64_t published)
{
	uint64_t cursor;

	if (atomic_load_explicit(&h->board->reader[i].pid, memory_order_acquire) == 0)
		return published;
	/* Reclaim pair: the worker's loads before this cursor are over. */
	cursor = atomic_load_explicit(&h->seat[i]->cursor, memory_order_acquire);
	return published - cursor <= INT64_MAX ? cursor : published;
}

static uint64_t behind_most(const struct shm_heritage *h, int *who)
{
	uint64_t published = atomic_load_explicit(&h->board->head, memory_order_relaxed);
	uint64_t most = 0;

	/*
	 * With the fence of shm_commit_rx_attach(): either its pid is seen here, or it finds at
	 * least this head, and so nothing that this look allows to be overwritten.
	 */
	atomic_thread_fence(memory_order_seq_cst);
	*who = -1;
	for (unsigned i = 0; i < h->board->n_workers; i++) {
		uint64_t behind = published - cursor_of(h, i, published);

		if (behind >= most && atomic_load(&h->board->reader[i].pid) != 0) {
			most = behind;
			*who = (int)i;
		}
	}
	return most;
}

int shm_commit_appendv(struct shm_commit_tx *tx, const struct iovec *iov, int n)
{
	uint64_t len = frame_total(iov, n), span;
	int who;

	CHECK(len >= sizeof(struct msg_down));
	if (len > shm_commit_record_max(tx->size))
		return -EMSGSIZE;
	span = frame_span(tx->size, tx->head, frame_bytes(len));
	if (tx->head + span - tx->room_seen > tx->size) {
		uint64_t behind = behind_most(tx->heritage, &who);

		tx->room_seen =
		    atomic_load_explicit(&tx->board->head, memory_order_relaxed) - behind;
		if (tx->head + span - tx->room_seen > tx->size)
			return -EAGAIN;
	}
	tx->head = frame_write(tx->data, tx->size, tx->head, iov, n, (uint32_t)len);
	return 0;
}

void shm_commit_publish(struct shm_commit_tx *tx, int64_t zxid)
{
	struct shm_board *b = tx->board;

	CHECK(zxid >= atomic_load_explicit(&b->settled_zxid, memory_order_relaxed));
	/*
	 * Publish pair, three stores in this order: see board.h. A predecessor may have died
	 * behind the first: what it showed is repeated now, and is not taken back.
	 */
	if (zxid > atomic_load_explicit(&b->zxid, memory_order_relaxed))
		atomic_store_explicit(&b->zxid, zxid, memory_order_release);
	atomic_store_explicit(&b->head, tx->head, memory_order_release); /* COMMIT */
	atomic_store_explicit(&b->settled_zxid, zxid, memory_order_release);
}

int shm_commit_laggard(const struct shm_commit_tx *tx, uint64_t *behind)
{
	int who;

	*behind = behind_most(tx->heritage, &who);
	return who;
}

void shm_commit_rx_attach(struct shm_commit_rx *rx, const struct shm_heritage *h, unsigned i)
{
	rx->board = h->board;
	rx->seat = h->seat[i];
	rx->data = shm_board_commit(h->board);
	rx->size = h->board->commit_size;
	/* Our pid (or -1) was stored before the fork; pairs with the fence in behind_most(). */
	atomic_thread_fence(memory_order_seq_cst);
	rx->cursor = atomic_load_explicit(&h->board->head, memory_order_acquire);
	rx->zxid = atomic_load_explicit(&h->board->zxid, memory_order_acquire);
	shm_commit_consumed(rx);
}

const struct msg_down *shm_commit_next(struct shm_commit_rx *rx, uint64_t head, uint32_t *len)
{
	const struct msg_down *m;
	uint64_t place = rx->cursor & (rx->size - 1);

	if (rx->cursor == head)
		return NULL;
	CHECK(head - rx->cursor <= rx->size);
	*len =
	    __atomic_load_n((const uint32_t *)(const void *)(rx->data + place), __ATOMIC_RELAXED);
	if (*len == FRAME_SKIP) {
		rx->cursor += rx->size - place;
		place = 0;
		*len = __atomic_load_n((const uint32_t *)(const void *)rx->data, __ATOMIC_RELAXED);
	}
	/* The writer is trusted, but a broken ring must not be followed. */
	CHECK(*len >= sizeof(*m));
	CHECK(frame_bytes(*len) <= head - rx->cursor);
	CHECK(place + frame_bytes(*len) <= rx->size);
	m = (const struct msg_down *)(const void *)(rx->data + place + FRAME_HEAD);
	rx->cursor += frame_bytes(*len);
	if (m->kind == DOWN_TXN && m->zxid > rx->zxid)
		rx->zxid = m->zxid;
	return m;
}

void shm_commit_consumed(struct shm_commit_rx *rx)
{
	/* Reclaim pair: our loads before this cursor are over. */
	atomic_store_explicit(&rx->seat->cursor, rx->cursor, memory_order_release);
}

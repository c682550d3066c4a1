#include "shm/ring.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "shm/frame.h"

void shm_ring_tx_attach(struct shm_ring_tx *tx, const struct shm_heritage *h, unsigned i)
{
	const struct shm_reader *reader = &h->board->reader[i];

	tx->seat = h->seat[i];
	tx->tail = &reader->up_tail;
	tx->data = shm_seat_up(tx->seat);
	tx->size = h->board->up_size;
	tx->head = atomic_load_explicit(&tx->seat->up_head, memory_order_relaxed); /* our own */
	tx->tail_seen = atomic_load_explicit(tx->tail, memory_order_acquire);
}

/*
 * The producer's place and the start of its incarnation. The start is loaded after the head: a
 * successor's head comes with its own start, so it is never measured from its predecessor's.
 */
static void look_at_producer(struct shm_ring_rx *rx)
{
	uint64_t start;

	/* Publish pair: the payload up to this head was stored before it. */
	rx->head_seen = atomic_load_explicit(&rx->seat->up_head, memory_order_acquire);
	start = atomic_load_explicit(&rx->reader->up_start, memory_order_acquire);
	if ((int64_t)(start - rx->tail) > 0) {
		rx->tail = start;
		shm_ring_consumed(rx); /* the successor waits for it */
	}
}

void shm_ring_rx_attach(struct shm_ring_rx *rx, const struct shm_heritage *h, unsigned i)
{
	rx->seat = h->seat[i];
	rx->reader = &h->board->reader[i];
	rx->data = shm_seat_up(rx->seat);
	rx->size = h->board->up_size;
	rx->tail = atomic_load_explicit(&rx->reader->up_tail, memory_order_relaxed);
	look_at_producer(rx);
}

uint32_t shm_ring_record_max(uint64_t ring_size)
{
	/* Skip and record together fit, wherever the ring's head stands. */
	uint64_t max = ring_size / 2 - FRAME_HEAD;

	return max < INT32_MAX ? (uint32_t)max : INT32_MAX;
}

int shm_ring_pushv(struct shm_ring_tx *tx, const struct iovec *iov, int n)
{
	uint64_t len = frame_total(iov, n), span;

	if (len > shm_ring_record_max(tx->size))
		return -EMSGSIZE;
	span = frame_span(tx->size, tx->head, frame_bytes(len));
	if (tx->head + span - tx->tail_seen > tx->size) {
		/* Reclaim pair: the consumer's loads of these bytes are over. */
		tx->tail_seen = atomic_load_explicit(tx->tail, memory_order_acquire);
		if (tx->head + span - tx->tail_seen > tx->size)
			return -EAGAIN;
	}
	tx->head = frame_write(tx->data, tx->size, tx->head, iov, n, (uint32_t)len);
	return 0;
}

void shm_ring_publish(struct shm_ring_tx *tx)
{
	/* Publish pair. COMMIT: the records are whole and the consumer may see them. */
	atomic_store_explicit(&tx->seat->up_head, tx->head, memory_order_release);
}

int64_t shm_ring_pop(struct shm_ring_rx *rx, void *buf, uint32_t cap)
{
	uint64_t place, ready;
	uint32_t len;

	if ((int64_t)(rx->head_seen - rx->tail) <= 0)
		look_at_producer(rx);
	for (int skips = 0;; skips++) {
		if ((int64_t)(rx->head_seen - rx->tail) <= 0)
			return 0;
		ready = rx->head_seen - rx->tail;
		place = rx->tail & (rx->size - 1);
		if (ready > rx->size || ready % 8 != 0)
			goto bad;
		/* Once: the producer may change it under us. */
		len = __atomic_load_n((const uint32_t *)(const void *)(rx->data + place),
				      __ATOMIC_RELAXED);
		if (len != FRAME_SKIP)
			break;
		if (skips > 0 || place == 0 || rx->size - place > ready)
			goto bad;
		rx->tail += rx->size - place;
	}
	if (len == 0 || frame_bytes(len) > ready || place + frame_bytes(len) > rx->size)
		goto bad;
	if (len > cap) {
		rx->head_seen = rx->tail;
		return -EMSGSIZE;
	}
	memcpy(buf, rx->data + place + FRAME_HEAD, len);
	rx->tail += frame_bytes(len);
	return len;
bad:
	/* Look afresh the next time: by then there may be a successor, further on. */
	rx->head_seen = rx->tail;
	return -EBADMSG;
}

uint32_t shm_ring_glance(struct shm_ring_rx *rx, uint64_t *at, void *buf, uint32_t cap)
{
	uint64_t ready, place;
	uint32_t len;

	if ((int64_t)(rx->head_seen - rx->tail) <= 0)
		look_at_producer(rx);
	if (!*at)
		*at = rx->tail;
	for (int skips = 0;; skips++) {
		ready = rx->head_seen - *at;
		place = *at & (rx->size - 1);
		if ((int64_t)ready <= 0 || ready > rx->size || ready % 8 != 0)
			return 0;
		len = __atomic_load_n((const uint32_t *)(const void *)(rx->data + place),
				      __ATOMIC_RELAXED);
		if (len != FRAME_SKIP)
			break;
		if (skips > 0 || place == 0 || rx->size - place > ready)
			return 0;
		*at += rx->size - place;
	}
	if (len == 0 || frame_bytes(len) > ready || place + frame_bytes(len) > rx->size)
		return 0;
	*at += frame_bytes(len);
	if (len > cap)
		len = cap;
	memcpy(buf, rx->data + place + FRAME_HEAD, len);
	return len;
}

void shm_ring_consumed(struct shm_ring_rx *rx)
{
	/* Reclaim pair: what stood before the tail has been copied. */
	atomic_store_explicit(&rx->reader->up_tail, rx->tail, memory_order_release);
}

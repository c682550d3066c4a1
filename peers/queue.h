/*
 * queue.h - what is to be sent to one peer, in order
 *
 * Bytes lie in chunks of PEER_CHUNK that all peers share; a packet may straddle two. What would be
 * large stands as one item that says how to make it: a range of transactions, a piece of history,
 * a state. Runs in: writer, deciding thread. Ownership: an item belongs to one queue; the pool
 * keeps some chunks for the next one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum peer_item_kind {
	PEER_ITEM_BYTES,
	PEER_ITEM_RANGE,   /* a packet `type` for each of first..last */
	PEER_ITEM_HISTORY, /* PROPOSAL and COMMIT of (first, last] */
	PEER_ITEM_STATE,   /* SNAP of first, and the state */
	PEER_ITEM_CLOSE,
};

enum {
	PEER_CHUNK = 64 << 10, /* bytes of an item with bytes, its head included */
	PEER_POOL_MAX = 64,    /* chunks */
};

struct peer_item {
	struct peer_item *next;
	enum peer_item_kind kind;
	int32_t type;
	int64_t first, last;
	uint32_t start, end; /* of bytes[]: what is not sent */
	uint8_t bytes[];
};

struct peer_pool {
	struct peer_item *chunks;
	unsigned n;
};

struct peer_queue {
	struct peer_item *head, *tail;
	uint64_t size;   /* bytes, and what the other items take */
	uint32_t n_lazy; /* items other than bytes */
};

/* False: no memory, and the queue is of no use any more. Bytes n == 0 is nothing. */
bool peer_queue_bytes(struct peer_queue *q, struct peer_pool *pool, const void *bytes, size_t n);

/* A packet without authinfo; data NULL: null. */
bool peer_queue_packet(struct peer_queue *q, struct peer_pool *pool, int32_t type, int64_t zxid,
		       const void *data, uint32_t len);

/* Any other item. A range that continues the one at the tail becomes part of it. */
bool peer_queue_item(struct peer_queue *q, enum peer_item_kind kind, int32_t type, int64_t first,
		     int64_t last);

/* The bytes at the head, up to n pieces of them. */
int peer_queue_gather(const struct peer_queue *q, struct iovec *iov, int n);

/* So many of them are sent. */
void peer_queue_sent(struct peer_queue *q, struct peer_pool *pool, size_t n);

/* Remove the item at the head. */
void peer_queue_pop(struct peer_queue *q, struct peer_pool *pool);

/* Put what is in `front` before what is in q; front is empty then. */
void peer_queue_prepend(struct peer_queue *q, struct peer_queue *front);

/* Move the items up to `last`, one of q's, to the end of `to`. */
void peer_queue_cut(struct peer_queue *q, struct peer_item *last, struct peer_queue *to);

/* Cut a range in two: up to `until`, and the rest. False: no memory. */
bool peer_queue_split(struct peer_queue *q, struct peer_item *range, int64_t until);

void peer_queue_clear(struct peer_queue *q, struct peer_pool *pool);
void peer_pool_clear(struct peer_pool *pool);

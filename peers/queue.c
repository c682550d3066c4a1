#include "peers/queue.h"

#include <stdlib.h>
#include <string.h>

#include "quorum/packet.h"

enum { CHUNK_BYTES = PEER_CHUNK - sizeof(struct peer_item) };

static uint64_t size_of(const struct peer_item *item)
{
	return item->kind == PEER_ITEM_BYTES ? item->end - item->start : sizeof(*item);
}

static void append(struct peer_queue *q, struct peer_item *item)
{
	if (q->tail)
		q->tail->next = item;
	else
		q->head = item;
	q->tail = item;
	q->size += size_of(item);
	q->n_lazy += item->kind != PEER_ITEM_BYTES;
}

static struct peer_item *new_chunk(struct peer_pool *pool)
{
	struct peer_item *item = pool->chunks;

	if (item) {
		pool->chunks = item->next;
		pool->n--;
	} else {
		item = malloc(PEER_CHUNK);
	}
	if (item)
		*item = (struct peer_item){.kind = PEER_ITEM_BYTES};
	return item;
}

static void free_item(struct peer_item *item, struct peer_pool *pool)
{
	if (item->kind != PEER_ITEM_BYTES || pool->n >= PEER_POOL_MAX) {
		free(item);
		return;
	}
	item->next = pool->chunks;
	pool->chunks = item;
	pool->n++;
}

/* Where the next bytes go, and how many of them: at least 1; NULL: no memory. */
static uint8_t *room(struct peer_queue *q, struct peer_pool *pool, size_t *n)
{
	struct peer_item *item = q->tail;

	if (!item || item->kind != PEER_ITEM_BYTES || item->end == CHUNK_BYTES) {
		item = new_chunk(pool);
		if (!item)
			return NULL;
		append(q, item);
	}
	*n = CHUNK_BYTES - item->end;
	return item->bytes + item->end;
}

static void filled(struct peer_queue *q, size_t n)
{
	q->tail->end += (uint32_t)n;
	q->size += n;
}

bool peer_queue_bytes(struct peer_queue *q, struct peer_pool *pool, const void *bytes, size_t n)
{
	const uint8_t *from = bytes;

	while (n) {
		size_t most;
		uint8_t *to = room(q, pool, &most);

		if (!to)
			return false;
		if (most > n)
			most = n;
		memcpy(to, from, most);
		filled(q, most);
		from += most;
		n -= most;
	}
	return true;
}

bool peer_queue_packet(struct peer_queue *q, struct peer_pool *pool, int32_t type, int64_t zxid,
		       const void *data, uint32_t len)
{
	static const uint8_t no_ids[4] = {0xff, 0xff, 0xff, 0xff};
	uint8_t head[16], *to;
	size_t most;

	be32_put(head, (uint32_t)type);
	be64_put(head + 4, (uint64_t)zxid);
	be32_put(head + 12, data ? len : UINT32_MAX);
	to = room(q, pool, &most);
	if (!to)
		return false;
	if (most < QUORUM_PACKET_MIN + (size_t)len)
		return peer_queue_bytes(q, pool, head, sizeof(head)) &&
		       peer_queue_bytes(q, pool, data, len) &&
		       peer_queue_bytes(q, pool, no_ids, sizeof(no_ids));
	memcpy(to, head, sizeof(head));
	if (len)
		memcpy(to + sizeof(head), data, len);
	memcpy(to + sizeof(head) + len, no_ids, sizeof(no_ids));
	filled(q, QUORUM_PACKET_MIN + (size_t)len);
	return true;
}

bool peer_queue_item(struct peer_queue *q, enum peer_item_kind kind, int32_t type, int64_t first,
		     int64_t last)
{
	struct peer_item *item = q->tail;

	if (item && kind == PEER_ITEM_RANGE && item->kind == kind && item->type == type &&
	    item->last + 1 == first) {
		item->last = last;
		return true;
	}
	item = malloc(sizeof(*item));
	if (!item)
		return false;
	*item = (struct peer_item){.kind = kind, .type = type, .first = first, .last = last};
	append(q, item);
	return true;
}

int peer_queue_gather(const struct peer_queue *q, struct iovec *iov, int n)
{
	int i = 0;

	for (struct peer_item *item = q->head; item && item->kind == PEER_ITEM_BYTES && i < n;
	     item = item->next)
		iov[i++] = (struct iovec){item->bytes + item->start, item->end - item->start};
	return i;
}

void peer_queue_pop(struct peer_queue *q, struct peer_pool *pool)
{
	struct peer_item *item = q->head;

	q->head = item->next;
	if (!q->head)
		q->tail = NULL;
	q->size -= size_of(item);
	q->n_lazy -= item->kind != PEER_ITEM_BYTES;
	free_item(item, pool);
}

void peer_queue_sent(struct peer_queue *q, struct peer_pool *pool, size_t n)
{
	while (n) {
		size_t here = q->head->end - q->head->start;

		if (here > n) {
			q->head->start += (uint32_t)n;
			q->size -= n;
			return;
		}
		peer_queue_pop(q, pool);
		n -= here;
	}
}

void peer_queue_prepend(struct peer_queue *q, struct peer_queue *front)
{
	if (!front->head)
		return;
	front->tail->next = q->head;
	if (!q->head)
		q->tail = front->tail;
	q->head = front->head;
	q->size += front->size;
	q->n_lazy += front->n_lazy;
	*front = (struct peer_queue){0};
}

void peer_queue_cut(struct peer_queue *q, struct peer_item *last, struct peer_queue *to)
{
	struct peer_item *item;

	do {
		item = q->head;
		q->head = item->next;
		q->size -= size_of(item);
		q->n_lazy -= item->kind != PEER_ITEM_BYTES;
		item->next = NULL;
		append(to, item);
	} while (item != last);
	if (!q->head)
		q->tail = NULL;
}

bool peer_queue_split(struct peer_queue *q, struct peer_item *range, int64_t until)
{
	struct peer_item *rest = malloc(sizeof(*rest));

	if (!rest)
		return false;
	*rest = *range;
	rest->first = until + 1;
	range->last = until;
	range->next = rest;
	if (q->tail == range)
		q->tail = rest;
	q->size += size_of(rest);
	q->n_lazy++;
	return true;
}

void peer_queue_clear(struct peer_queue *q, struct peer_pool *pool)
{
	while (q->head)
		peer_queue_pop(q, pool);
}

void peer_pool_clear(struct peer_pool *pool)
{
	struct peer_item *item = pool->chunks;

	while (item) {
		struct peer_item *next = item->next;

		free(item);
		item = next;
	}
	*pool = (struct peer_pool){0};
}

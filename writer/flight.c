#include "writer/flight.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bug.h"

enum {
	ENTRY_FACTOR = 4,    /* an entry is at most that many times a frame, and WTR_ENTRY_EXTRA */
	UPGRADE_BYTES = 256, /* a createSession ahead of it */
	BATCHES_KEPT = 32,   /* by a member of an ensemble */
};

static struct wtr_batch *new_batch(size_t cap)
{
	struct wtr_batch *b = calloc(1, sizeof(*b));

	if (b)
		b->bytes = malloc(cap);
	if (b && !b->bytes) {
		free(b);
		return NULL;
	}
	return b;
}

int wtr_flight_init(struct wtr_core *c)
{
	size_t of_leader = (size_t)c->conf->max_buffer + c->conf->max_buffer_extra;

	c->batch_cap = (size_t)c->conf->max_buffer * ENTRY_FACTOR;
	if (c->batch_cap < of_leader)
		c->batch_cap = of_leader;
	c->batch_cap += WTR_BATCH_BYTES + WTR_ENTRY_EXTRA + UPGRADE_BYTES;
	c->flight_tail = &c->flight;
	for (int i = 0; i < WTR_BATCHES; i++) {
		struct wtr_batch *b = new_batch(c->batch_cap);

		if (!b)
			return -ENOMEM;
		b->next = c->spare;
		c->spare = b;
		c->n_batches++;
	}
	c->fill = c->spare;
	c->spare = c->fill->next;
	if (c->conf->members)
		c->index = calloc(WTR_INDEX, sizeof(*c->index));
	return c->conf->members && !c->index ? -ENOMEM : 0;
}

static void free_batches(struct wtr_batch *b)
{
	for (struct wtr_batch *next; b; b = next) {
		next = b->next;
		free(b->bytes);
		free(b);
	}
}

void wtr_flight_fini(struct wtr_core *c)
{
	if (c->fill)
		c->fill->next = NULL;
	free_batches(c->fill);
	free_batches(c->spare);
	free_batches(c->flight);
	free_batches(c->aside);
	free(c->index);
}

/* What is being filled takes off; the next one is filled. */
static void take_off(struct wtr_core *c)
{
	struct wtr_batch *b = c->fill;

	b->next = NULL;
	*c->flight_tail = b;
	c->flight_tail = &b->next;
	if (!c->to_log)
		c->to_log = b;
	c->fill = c->spare;
	if (c->fill)
		c->spare = c->fill->next;
}

struct wtr_batch *wtr_core_take(struct wtr_core *c)
{
	struct wtr_batch *b;

	if (!c->to_log && c->fill && c->fill->n)
		take_off(c);
	b = c->to_log;
	if (b)
		c->to_log = b->next;
	return b;
}

static void free_batch(struct wtr_core *c, struct wtr_batch *b)
{
	free(b->bytes);
	free(b);
	c->n_batches--;
}

/* A batch that is not in flight any more. */
static void recycle(struct wtr_core *c, struct wtr_batch *b)
{
	if (c->n_batches > (c->index ? BATCHES_KEPT : WTR_BATCHES)) {
		free_batch(c, b);
		return;
	}
	b->len = b->applied_len = 0;
	b->n = b->n_applied = 0;
	b->first_zxid = b->last_zxid = 0;
	b->begun_us = 0;
	if (!c->fill) {
		b->next = NULL;
		c->fill = b;
	} else {
		b->next = c->spare;
		c->spare = b;
	}
}

void wtr_flight_landed(struct wtr_core *c)
{
	struct wtr_batch *b = c->flight;

	c->flight = b->next;
	if (!c->flight)
		c->flight_tail = &c->flight;
	recycle(c, b);
}

/* --- entries that others decided --------------------------------------------------------- */

static bool is_full(const struct wtr_batch *b)
{
	return b && (b->len >= WTR_BATCH_BYTES || b->n >= WTR_BATCH_TXNS);
}

/*
 * Only the log may hold entries back: what frees batches otherwise are COMMITs, which come behind
 * the entries that wait here.
 */
bool wtr_core_append_ready(const struct wtr_core *c)
{
	return c->service != WTR_LEARNS || !c->to_log || !is_full(c->fill);
}

/* The batch that takes an entry. What a leader sends and is not committed yet takes the memory that
 * it takes: its window, and while it syncs us, all that we lack. */
static struct wtr_batch *batch_to_fill(struct wtr_core *c)
{
	struct wtr_batch *b = c->fill;

	if (is_full(b)) {
		take_off(c);
		b = c->fill;
	}
	if (!b) {
		c->fill = b = new_batch(c->batch_cap);
		CHECK(b != NULL);
		c->n_batches++;
	}
	return b;
}

void wtr_core_append(struct wtr_core *c, int64_t zxid, const uint8_t *entry, uint32_t len)
{
	struct wtr_batch *b = batch_to_fill(c);

	CHECK(sizeof(len) + len <= c->batch_cap - b->len);
	memcpy(b->bytes + b->len, &len, sizeof(len));
	memcpy(b->bytes + b->len + sizeof(len), entry, len);
	b->origin[b->n] = (struct wtr_origin){.worker = MSG_NO_WORKER, .members = 1};
	wtr_batch_added(c, b, zxid, len);
	c->changes++;
}

void wtr_batch_added(struct wtr_core *c, struct wtr_batch *b, int64_t zxid, uint32_t len)
{
	if (c->index)
		c->index[zxid % WTR_INDEX] =
		    (struct wtr_entry_at){b->bytes + b->len + sizeof(len), len};
	b->len += sizeof(len) + len;
	b->n++;
	if (!b->first_zxid)
		b->first_zxid = zxid;
	b->last_zxid = zxid;
	c->flight_bytes += len;
	c->flight_txns++;
	c->flight_members += b->origin[b->n - 1].members;
	c->txns++;
	c->txn_bytes += len;
}

const uint8_t *wtr_core_entry(const struct wtr_core *c, int64_t zxid, uint32_t *len)
{
	const struct wtr_entry_at *at = c->index ? &c->index[zxid % WTR_INDEX] : NULL;
	struct zk_txn_header h;
	struct jute_in in;

	if (!at || !at->bytes || zxid <= c->applied_zxid || zxid > c->zab.last_zxid)
		return NULL;
	in = jute_in_of(at->bytes, at->len);
	if (zk_txn_header_decode(&in, &h) || h.zxid != zxid)
		return NULL;
	*len = at->len;
	return at->bytes;
}

/* Nothing of the index may point into what is forgotten. */
static void forget_index(struct wtr_core *c)
{
	memset(c->index, 0, WTR_INDEX * sizeof(*c->index));
}

static void forget_flight(struct wtr_core *c, struct wtr_batch *b)
{
	for (struct wtr_batch *next; b; b = next) {
		next = b->next;
		recycle(c, b);
	}
}

/* Leave the entries up to zxid in b. */
static void shorten(struct wtr_batch *b, int64_t zxid)
{
	size_t at = b->applied_len;
	uint32_t n = b->n_applied;

	while (n < b->n) {
		struct zk_txn_header h;
		struct jute_in in;
		uint32_t len;

		memcpy(&len, b->bytes + at, sizeof(len));
		in = jute_in_of(b->bytes + at + sizeof(len), len);
		CHECK(!zk_txn_header_decode(&in, &h));
		if (h.zxid > zxid)
			break;
		b->last_zxid = h.zxid;
		at += sizeof(len) + len;
		n++;
	}
	b->len = at;
	b->n = n;
}

void wtr_core_tail(struct wtr_core *c, const uint8_t *entries, size_t size)
{
	for (size_t at = 0; at < size;) {
		struct zk_txn_header h;
		struct jute_in in;
		uint32_t len;

		memcpy(&len, entries + at, sizeof(len));
		at += sizeof(len);
		in = jute_in_of(entries + at, len);
		CHECK(!zk_txn_header_decode(&in, &h));
		wtr_core_append(c, h.zxid, entries + at, len);
		at += len;
	}
	if (c->fill && c->fill->n)
		take_off(c);
	c->to_log = NULL;
}

/* What was logged and is not applied, counted anew. */
static void count_flight(struct wtr_core *c)
{
	c->flight_bytes = c->flight_txns = c->flight_members = 0;
	for (const struct wtr_batch *b = c->flight; b; b = b->next) {
		uint32_t n = b->n - b->n_applied;

		c->flight_bytes += b->len - b->applied_len - n * sizeof(uint32_t);
		c->flight_txns += n;
		for (uint32_t i = b->n_applied; i < b->n; i++)
			c->flight_members += b->origin[i].members;
	}
}

void wtr_core_cut(struct wtr_core *c, int64_t zxid)
{
	struct wtr_batch **at = &c->flight;

	CHECK(!c->to_log && (!c->fill || !c->fill->n)); /* ZAB is drained */
	CHECK(zxid >= c->applied_zxid);
	while (*at && (*at)->last_zxid <= zxid)
		at = &(*at)->next;
	if (*at && (*at)->first_zxid <= zxid) {
		shorten(*at, zxid);
		/* Else what is left of it has landed. */
		if ((*at)->n > (*at)->n_applied || WRONG(EMPTY_BATCH_KEPT))
			at = &(*at)->next;
	}
	forget_flight(c, *at);
	*at = NULL;
	c->flight_tail = at;
	count_flight(c);
	forget_index(c);
}

void wtr_core_stage(struct wtr_core *c)
{
	CHECK(!c->to_log && (!c->fill || !c->fill->n));
	c->aside = c->flight;
	c->flight = NULL;
	c->flight_tail = &c->flight;
	count_flight(c);
	forget_index(c);
}

void wtr_core_unstage(struct wtr_core *c)
{
	if (c->fill && c->fill->n)
		take_off(c);
	c->to_log = NULL;
	forget_flight(c, c->flight);
	c->flight = c->aside;
	c->aside = NULL;
	c->flight_tail = &c->flight;
	while (*c->flight_tail)
		c->flight_tail = &(*c->flight_tail)->next;
	count_flight(c);
	forget_index(c);
}

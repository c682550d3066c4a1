/*
 * ahead.h - what the next requests and entries will look at, on its way into the cache
 *
 * On a tree larger than the cache a write spends most of its time waiting for memory: bucket, node
 * and version one after the other, once when it is prepared and once when it is applied. Taken
 * WTR_AHEAD at a time, those waits pass side by side.
 *
 * Runs in: writer, deciding thread. All of this is a hint: it changes nothing, and bytes that
 * are wrong cost a wait, no more. Of a request it gets a copy of the first WTR_AHEAD_BYTES; a path
 * that goes on beyond is not looked for.
 */
#pragma once

#include "writer/core.h"

enum { WTR_AHEAD = 16, WTR_AHEAD_BYTES = 256 };

struct wtr_ahead {
	uint64_t hash[2 * WTR_AHEAD]; /* of a znode, and of its parent where that matters */
	unsigned n;
};

/* Note what a record of an up ring names; when all are noted, fetch. */
void wtr_ahead_request(struct wtr_core *c, struct wtr_ahead *a, const void *record, uint32_t len);
void wtr_ahead_fetch(struct wtr_core *c, struct wtr_ahead *a);

/* The next WTR_AHEAD entries that wtr_core_apply() will come to in `b`. */
void wtr_ahead_apply(struct wtr_core *c, const struct wtr_batch *b);

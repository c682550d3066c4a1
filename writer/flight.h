/*
 * flight.h - transactions between the decision and the tree: batches for the log, what is behind it
 *
 * An entry stands in the batch being filled, then in the one at the log, then in those that wait to
 * be committed; it is recycled when it is applied. A member of an ensemble finds those that are not
 * applied yet by zxid, to send them to others. Part of struct wtr_core; no system call.
 *
 * Runs in: writer, deciding thread; the log thread reads the bytes of the batch that it was given.
 */
#pragma once

#include "writer/core.h"

enum { WTR_ENTRY_EXTRA = 64 * 1024 };

int wtr_flight_init(struct wtr_core *c); /* -ENOMEM */
void wtr_flight_fini(struct wtr_core *c);

/* The batch to log next, NULL if there is none. It stays ours; wtr_core_durable gives it back. */
struct wtr_batch *wtr_core_take(struct wtr_core *c);

/* An entry of `len` bytes stands, with its length, at the end of b, which is c->fill. */
void wtr_batch_added(struct wtr_core *c, struct wtr_batch *b, int64_t zxid, uint32_t len);

/* All of the oldest batch is applied. */
void wtr_flight_landed(struct wtr_core *c);

/*
 * Entries that others decided: after the step that said so. append: to the log, in order, not
 * unless append_ready. cut: forget those above zxid. stage: forget all for now; unstage: bring them
 * back.
 */
bool wtr_core_append_ready(const struct wtr_core *c);
void wtr_core_append(struct wtr_core *c, int64_t zxid, const uint8_t *entry, uint32_t len);
void wtr_core_cut(struct wtr_core *c, int64_t zxid);
void wtr_core_stage(struct wtr_core *c);
void wtr_core_unstage(struct wtr_core *c);

/* What recovery found in the log and nobody may have seen: u32 length and bytes each. */
void wtr_core_tail(struct wtr_core *c, const uint8_t *entries, size_t size);

/* The entry in flight; NULL: it is applied, or never was. */
const uint8_t *wtr_core_entry(const struct wtr_core *c, int64_t zxid, uint32_t *len);

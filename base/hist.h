/*
 * hist.h - histogram of latencies
 *
 * Log-linear: values below 32 have a bucket each, then each power of two has 32, so that a value is
 * known to 3 %. Values from 0 to 2^40-1 (12 days of microseconds); what is larger counts as that.
 * The unit is the caller's. A plain array that may live in shared memory, zeroed is empty: one
 * process records, any may read (each counter is stored and loaded whole; a reader may see a count
 * that is ahead of another, never a torn one).
 */
#pragma once

#include <stdint.h>

enum {
	HIST_SUB_BITS = 5,
	HIST_SUB = 1 << HIST_SUB_BITS,
	HIST_VALUE_BITS = 40,
	HIST_BUCKETS = (HIST_VALUE_BITS - HIST_SUB_BITS + 1) * HIST_SUB,
};

struct hist {
	uint64_t sum, min_plus_1, max; /* min_plus_1: 0 while empty */
	uint64_t bucket[HIST_BUCKETS];
};

/* Count one value. One recorder per histogram. Wait-free. */
void hist_record(struct hist *h, uint64_t value);
/* n times the same value, as one. */
void hist_record_n(struct hist *h, uint64_t value, uint64_t n);

/* Add `from` to `to`; `from` may be recorded into meanwhile. */
void hist_merge(struct hist *to, const struct hist *from);

uint64_t hist_count(const struct hist *h);

/*
 * The value that `per_million` of 1,000,000 values do not exceed (999000: p99.9), to the upper
 * end of its bucket but never above the largest seen. 0 when empty.
 */
uint64_t hist_percentile(const struct hist *h, uint32_t per_million);

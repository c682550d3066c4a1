#include "base/hist.h"

#include "base/check.h"

/* One recorder, readers that look at single counters: nothing is ordered by these. */
#define LOAD(p)     __atomic_load_n(p, __ATOMIC_RELAXED)
#define STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)

static uint32_t bucket_of(uint64_t value)
{
	uint32_t shift;

	if (value < HIST_SUB)
		return (uint32_t)value;
	shift = (uint32_t)(63 - __builtin_clzll(value)) - HIST_SUB_BITS;
	return (shift << HIST_SUB_BITS) + (uint32_t)(value >> shift);
}

static uint64_t upper_end(uint32_t bucket)
{
	uint32_t shift = bucket < 2 * HIST_SUB ? 0 : (bucket >> HIST_SUB_BITS) - 1;

	return ((uint64_t)(bucket - (shift << HIST_SUB_BITS) + 1) << shift) - 1;
}

void hist_record(struct hist *h, uint64_t value)
{
	hist_record_n(h, value, 1);
}

void hist_record_n(struct hist *h, uint64_t value, uint64_t n)
{
	uint64_t limit = ((uint64_t)1 << HIST_VALUE_BITS) - 1;
	uint64_t v = value < limit ? value : limit;
	uint64_t *bucket = &h->bucket[bucket_of(v)];

	STORE(bucket, *bucket + n);
	STORE(&h->sum, h->sum + v * n);
	if (v > h->max)
		STORE(&h->max, v);
	if (!h->min_plus_1 || v + 1 < h->min_plus_1)
		STORE(&h->min_plus_1, v + 1);
}

void hist_merge(struct hist *to, const struct hist *from)
{
	uint64_t max = LOAD(&from->max), min_plus_1 = LOAD(&from->min_plus_1);

	for (uint32_t i = 0; i < HIST_BUCKETS; i++)
		to->bucket[i] += LOAD(&from->bucket[i]);
	to->sum += LOAD(&from->sum);
	if (max > to->max)
		to->max = max;
	if (min_plus_1 && (!to->min_plus_1 || min_plus_1 < to->min_plus_1))
		to->min_plus_1 = min_plus_1;
}

uint64_t hist_count(const struct hist *h)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < HIST_BUCKETS; i++)
		n += LOAD(&h->bucket[i]);
	return n;
}

uint64_t hist_percentile(const struct hist *h, uint32_t per_million)
{
	uint64_t n = hist_count(h), seen = 0, rank, max = LOAD(&h->max);

	CHECK(per_million <= 1000000);
	rank = (uint64_t)(((unsigned __int128)n * per_million + 999999) / 1000000);
	for (uint32_t i = 0; i < HIST_BUCKETS; i++) {
		seen += LOAD(&h->bucket[i]);
		if (seen && seen >= rank)
			return upper_end(i) < max ? upper_end(i) : max;
	}
	return max;
}

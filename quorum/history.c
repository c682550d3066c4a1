#include "quorum/history.h"

#include <string.h>

#include "base/check.h"

void zab_history_init(struct zab_history *h, int64_t base)
{
	h->base = base;
	h->n = 0;
}

int64_t zab_history_last(const struct zab_history *h)
{
	return h->n ? h->run[h->n - 1].last : h->base;
}

bool zab_history_follows(const struct zab_history *h, int64_t zxid)
{
	int64_t last = zab_history_last(h);

	if (zxid <= 0 || zab_counter_of(zxid) == 0)
		return false;
	return zxid == last + 1 ||
	       (zab_epoch_of(zxid) > zab_epoch_of(last) && zab_counter_of(zxid) == 1);
}

void zab_history_add_run(struct zab_history *h, int64_t first, int64_t last)
{
	CHECK(zab_history_follows(h, first));
	CHECK(zab_epoch_of(first) == zab_epoch_of(last));
	CHECK(first <= last);
	if (h->n && zab_epoch_of(h->run[h->n - 1].last) == zab_epoch_of(first)) {
		h->run[h->n - 1].last = last;
		return;
	}
	if (h->n == ZAB_RUNS_MAX) {
		h->base = h->run[0].last;
		memmove(h->run, h->run + 1, --h->n * sizeof(h->run[0]));
	}
	h->run[h->n++] = (struct zab_run){first, last};
}

void zab_history_add(struct zab_history *h, int64_t zxid)
{
	zab_history_add_run(h, zxid, zxid);
}

int64_t zab_history_floor(const struct zab_history *h, int64_t zxid)
{
	for (uint32_t i = h->n; i-- > 0;)
		if (h->run[i].first <= zxid)
			return h->run[i].last < zxid ? h->run[i].last : zxid;
	return h->base <= zxid ? h->base : -1;
}

bool zab_history_has(const struct zab_history *h, int64_t zxid)
{
	return zxid >= 0 && zab_history_floor(h, zxid) == zxid;
}

int64_t zab_history_next(const struct zab_history *h, int64_t zxid)
{
	for (uint32_t i = 0; i < h->n; i++)
		if (zxid < h->run[i].last)
			return zxid < h->run[i].first ? h->run[i].first : zxid + 1;
	return 0;
}

uint64_t zab_history_count(const struct zab_history *h, int64_t after, int64_t upto)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < h->n; i++) {
		int64_t first = h->run[i].first > after ? h->run[i].first : after + 1;
		int64_t last = h->run[i].last < upto ? h->run[i].last : upto;

		if (first <= last)
			n += (uint64_t)(last - first) + 1;
	}
	return n;
}

void zab_history_cut(struct zab_history *h, int64_t zxid)
{
	CHECK(zab_history_has(h, zxid));
	while (h->n && h->run[h->n - 1].first > zxid)
		h->n--;
	if (h->n && h->run[h->n - 1].last > zxid)
		h->run[h->n - 1].last = zxid;
}

void zab_history_trim(struct zab_history *h, int64_t zxid)
{
	uint32_t gone = 0;

	if (zxid <= h->base)
		return;
	CHECK(zab_history_has(h, zxid));
	while (gone < h->n && h->run[gone].last <= zxid)
		gone++;
	memmove(h->run, h->run + gone, (h->n - gone) * sizeof(h->run[0]));
	h->n -= gone;
	if (h->n && h->run[0].first <= zxid)
		h->run[0].first = zxid + 1;
	h->base = zxid;
}

void zab_history_check(const struct zab_history *h)
{
	int64_t before = h->base;

	CHECK(h->base >= 0);
	CHECK(h->n <= ZAB_RUNS_MAX);
	for (uint32_t i = 0; i < h->n; i++) {
		const struct zab_run *r = &h->run[i];

		CHECK(r->first > before);
		CHECK(r->last >= r->first);
		CHECK(zab_counter_of(r->first) != 0);
		CHECK(zab_epoch_of(r->first) == zab_epoch_of(r->last));
		CHECK(i == 0 || zab_epoch_of(r->first) > zab_epoch_of(before));
		before = r->last;
	}
}

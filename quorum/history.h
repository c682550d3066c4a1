/*
 * history.h - which zxids a log holds, in a few words
 *
 * Inside an epoch the counters of a log are 1, 2, 3, ..; so a log is a list of runs, one per epoch
 * that proposed anything. What lies before the first run is told as one point, the base: the
 * zxid of the oldest snapshot, or of the last transaction of a run that was forgotten.
 *
 * Two histories that hold the same zxid are equal up to it: an epoch has one leader, and whoever
 * logs a transaction of it has the leader's initial history before it. All decisions below rest on
 * that.
 *
 * Pure; invariant: base < run[0].first, runs ascend in epoch, first and last of a run have its
 * epoch, counters are never 0.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { ZAB_RUNS_MAX = 64 };

struct zab_run {
	int64_t first, last;
};

struct zab_history {
	int64_t base;
	uint32_t n;
	struct zab_run run[ZAB_RUNS_MAX]; /* the oldest go when more are needed */
};

static inline int64_t zab_epoch_of(int64_t zxid)
{
	return zxid >> 32;
}

static inline uint32_t zab_counter_of(int64_t zxid)
{
	return (uint32_t)zxid;
}

static inline int64_t zab_zxid(int64_t epoch, uint32_t counter)
{
	return (int64_t)((uint64_t)epoch << 32 | counter);
}

void zab_history_init(struct zab_history *h, int64_t base);
int64_t zab_history_last(const struct zab_history *h);

/* May zxid be appended: the next counter, or counter 1 of a later epoch? */
bool zab_history_follows(const struct zab_history *h, int64_t zxid);

/* Append; it must follow. */
void zab_history_add(struct zab_history *h, int64_t zxid);

/* Append all of first..last, of one epoch. */
void zab_history_add_run(struct zab_history *h, int64_t first, int64_t last);

bool zab_history_has(const struct zab_history *h, int64_t zxid);

/* The largest zxid of the history that is <= zxid; -1: zxid is below the base. */
int64_t zab_history_floor(const struct zab_history *h, int64_t zxid);

/* The zxid after `zxid`, which the history has; 0: there is none. */
int64_t zab_history_next(const struct zab_history *h, int64_t zxid);

/* How many transactions it has in (after, upto]. */
uint64_t zab_history_count(const struct zab_history *h, int64_t after, int64_t upto);

/* Forget everything above zxid, which the history has. */
void zab_history_cut(struct zab_history *h, int64_t zxid);

/* What is at or below zxid can't be read any more: raise the base. */
void zab_history_trim(struct zab_history *h, int64_t zxid);

/* Every invariant above; aborts. */
void zab_history_check(const struct zab_history *h);

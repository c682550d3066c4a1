/*
 * disk.c - a log, two snapshots and a record of epochs, and what a power cut leaves of them
 *
 * A write (a batch of entries) is durable when the sync that began after it is over. A power cut
 * keeps any subset of the other writes; recovery keeps what is whole and without a gap before it.
 * A cut is durable when it is told so; before, a power cut may undo it with all that followed.
 * Epochs, the flag of a lost log and the switch to a staged history are one atomic record.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/sim.h"

void sim_apply(struct sim_state *s, const struct sim_entry *e)
{
	uint64_t x = s->digest ^ (uint64_t)e->zxid * 0x9e3779b97f4a7c15 ^ e->value;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	s->digest = x ^ x >> 31;
	s->zxid = e->zxid;
	s->count++;
}

static void log_free(struct sim_log *log)
{
	free(log->e);
	free(log->batch);
	*log = (struct sim_log){0};
}

static void log_put(struct sim_log *log, struct sim_entry e, uint32_t batch)
{
	if (log->n == log->cap) {
		log->cap = log->cap ? log->cap * 2 : 64;
		log->e = realloc(log->e, log->cap * sizeof(*log->e));
		log->batch = realloc(log->batch, log->cap * sizeof(*log->batch));
		CHECK(log->e != NULL);
		CHECK(log->batch != NULL);
	}
	log->e[log->n] = e;
	log->batch[log->n++] = batch;
}

static void log_copy(struct sim_log *to, const struct sim_log *from)
{
	log_free(to);
	for (uint32_t i = 0; i < from->n; i++)
		log_put(to, from->e[i], from->batch[i]);
	to->written = from->written;
	to->synced = from->synced;
	to->base = from->base;
}

static void log_shrink(struct sim_log *log, uint32_t n)
{
	log->n = n;
	if (log->written > n)
		log->written = n;
	if (log->synced > n)
		log->synced = n;
}

const struct sim_entry *sim_log_after(const struct sim_log *log, int64_t zxid)
{
	uint32_t low = 0, high = log->n;

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (log->e[mid].zxid <= zxid)
			low = mid + 1;
		else
			high = mid;
	}
	return low < log->n ? &log->e[low] : NULL;
}

int64_t sim_log_last(const struct sim_log *log)
{
	return log->n ? log->e[log->n - 1].zxid : log->base;
}

int64_t sim_log_synced(const struct sim_log *log)
{
	uint32_t n = log->lost && log->lost <= log->synced ? log->lost - 1 : log->synced;

	return n ? log->e[n - 1].zxid : log->base;
}

/* Drop the entries up to zxid from the front. */
static void log_purge(struct sim_log *log, int64_t zxid)
{
	const struct sim_entry *first = sim_log_after(log, zxid);
	uint32_t gone = first ? (uint32_t)(first - log->e) : log->n;

	if (gone > log->synced || !gone)
		return;
	log->base = log->e[gone - 1].zxid;
	memmove(log->e, log->e + gone, (log->n - gone) * sizeof(*log->e));
	memmove(log->batch, log->batch + gone, (log->n - gone) * sizeof(*log->batch));
	log->n -= gone;
	log->lost = log->lost > gone ? log->lost - gone : 0;
	log->written = log->written > gone ? log->written - gone : 0;
	log->synced -= gone;
}

void sim_disk_format(struct sim_disk *d)
{
	memset(d, 0, sizeof(*d));
	d->snap[1].zxid = -1;
}

void sim_disk_free(struct sim_disk *d)
{
	log_free(&d->log);
	log_free(&d->staged_log);
	log_free(&d->uncut);
	free(d->ghost);
	memset(d, 0, sizeof(*d));
}

struct sim_log *sim_disk_log(struct sim_disk *d)
{
	return d->staged ? &d->staged_log : &d->log;
}

void sim_disk_append(struct sim_disk *d, struct sim_entry e)
{
	log_put(sim_disk_log(d), e, d->batch);
}

void sim_disk_cut(struct sim_disk *d, int64_t zxid)
{
	const struct sim_entry *first = sim_log_after(&d->log, zxid);

	CHECK(!d->staged);
	if (!d->cutting)
		log_copy(&d->uncut, &d->log);
	d->cutting = true;
	if (first)
		log_shrink(&d->log, (uint32_t)(first - d->log.e));
}

void sim_disk_stage(struct sim_disk *d, const struct sim_state *snap)
{
	log_free(&d->staged_log);
	d->staged = true;
	d->staged_snap = *snap;
	d->staged_log.base = snap->zxid;
}

void sim_disk_unstage(struct sim_disk *d)
{
	log_free(&d->staged_log);
	d->staged = false;
}

void sim_disk_install(struct sim_disk *d)
{
	if (BUG(TAIL_KEPT_AFTER_SNAP)) {
		const struct sim_entry *first = sim_log_after(&d->log, d->staged_snap.zxid);

		free(d->ghost);
		d->n_ghosts = first ? d->log.n - (uint32_t)(first - d->log.e) : 0;
		d->ghost = calloc(d->n_ghosts + 1, sizeof(*d->ghost));
		if (first)
			memcpy(d->ghost, first, d->n_ghosts * sizeof(*first));
	}
	log_free(&d->log);
	d->log = d->staged_log;
	d->staged_log = (struct sim_log){0};
	d->staged = false;
	d->snap[0] = d->staged_snap;
	d->snap[1].zxid = -1;
}

void sim_disk_snapshot(struct sim_disk *d, const struct sim_state *s)
{
	d->snap[1] = d->snap[0];
	d->snap[0] = *s;
	if (d->snap[1].zxid > 0)
		log_purge(&d->log, d->snap[1].zxid);
}

/* Which writes survive a power cut? Recovery stops at the first that did not. */
static void power_cut(struct sim_disk *d)
{
	struct sim_log *log = &d->log;
	uint32_t kept = log->lost && log->lost <= log->synced ? log->lost - 1 : log->synced;
	bool gap = kept < log->synced;

	for (uint32_t i = kept; i < log->n;) {
		uint32_t end = i;
		bool whole = sim_chance(60);

		while (end < log->n && log->batch[end] == log->batch[i])
			end++;
		if (whole && gap)
			sim_fired(SIM_TORN_WRITE);
		if (!whole)
			sim_fired(SIM_LOST_WRITE);
		if (whole && (!gap || BUG(TORN_TAIL_KEPT))) {
			memmove(log->e + kept, log->e + i, (end - i) * sizeof(*log->e));
			kept += end - i;
		}
		gap |= !whole;
		i = end;
	}
	log_shrink(log, kept);
}

/* Records that another history left behind are found again, each where its zxid belongs. */
static void find_ghosts(struct sim_disk *d)
{
	for (uint32_t i = 0; i < d->n_ghosts; i++) {
		const struct sim_entry *next = sim_log_after(&d->log, d->ghost[i].zxid - 1);
		uint32_t at = next ? (uint32_t)(next - d->log.e) : d->log.n;

		if (d->ghost[i].zxid <= d->log.base || (next && next->zxid == d->ghost[i].zxid))
			continue;
		log_put(&d->log, d->ghost[i], 0);
		memmove(d->log.e + at + 1, d->log.e + at, (d->log.n - 1 - at) * sizeof(*d->log.e));
		d->log.e[at] = d->ghost[i];
	}
	d->n_ghosts = 0;
}

void sim_disk_crash(struct sim_disk *d, bool power, bool lose)
{
	sim_disk_unstage(d);
	if (d->cutting && power && sim_chance(50)) {
		sim_fired(SIM_UNDONE_CUT);
		log_copy(&d->log, &d->uncut);
	}
	d->cutting = d->syncing = false;
	if (power)
		power_cut(d);
	find_ghosts(d);
	if (lose && d->log.n) {
		sim_fired(SIM_LOST_LOG);
		d->must_sync = !BUG(LOSS_NOT_NOTICED);
		log_shrink(&d->log, (uint32_t)sim_below(d->log.n));
	}
	/* What recovery found is synced before anything is claimed on it. */
	d->log.written = d->log.synced = d->log.n;
	d->log.lost = 0;
	if (d->snap[0].zxid > sim_log_last(&d->log)) {
		log_shrink(&d->log, 0);
		d->log.base = d->snap[0].zxid;
	}
	d->batch++;
	if (BUG(PROMISE_FORGOTTEN))
		d->accepted_epoch = d->current_epoch;
}

/*
 * Exhaustion: every torn write, every flipped bit, every failing call, every crash between two
 * calls of a small history. The sanitizer builds, ten times slower, take every STRIDE-th case.
 */
#include "tests/t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/log.h"
#include "storage/recover.h"
#include "storage/segment.h"
#include "tests/memfs.h"
#include "tests/storage.h"

#ifdef DEBUG
enum { STRIDE = 211 };
#else
enum { STRIDE = 1 };
#endif

enum { ENTRY = 900, SUBSETS = 1024, SNAP_NODES = 30 };

struct crash_fx {
	struct memfs *m, *image;
	struct kept kept;
	struct sto_recovered recovered;
};

static void crash_up(struct crash_fx *f)
{
	f->m = malloc(sizeof(*f->m));
	f->image = malloc(sizeof(*f->image));
	memfs_init(f->m);
	memfs_init(f->image);
	f->kept.entry_bytes = ENTRY;
}

static void crash_down(struct crash_fx *f)
{
	EXPECT_I(memfs_open_fds(f->m), ==, 0);
	memfs_fini(f->m);
	memfs_fini(f->image);
	free(f->m);
	free(f->image);
}

static int recover(struct crash_fx *f, struct memfs *m)
{
	struct sto_sink sink = kept_sink(&f->kept);

	return sto_recover(&m->fs, "d", "d", false, &sink, &f->recovered);
}

static int append(struct sto_log *log, int64_t first, unsigned n)
{
	uint8_t entries[8 * (36 + ENTRY)];
	size_t len = 0;

	for (unsigned i = 0; i < n; i++)
		len += entry_put(entries + len, first + i, ENTRY);
	return sto_log_append(log, entries, len, first, first + n - 1);
}

static struct sto_log *open_log(struct memfs *m, int64_t last, uint64_t segment_size)
{
	struct sto_log_options options = {
	    .segment_size = segment_size, .force_sync = true, .direct = true};
	struct sto_log *log = NULL;

	EXPECT_I(sto_log_open(&log, &m->fs, "d", last, &options), ==, 0);
	return log;
}

/* Batches of one to eight entries until the segment that begins with zxid 1 is full. */
static int64_t fill_log(struct memfs *m, uint64_t segment_size, int segments, bool close)
{
	struct sto_log *log = open_log(m, 0, segment_size);
	int64_t zxid = 1;

	for (unsigned n = 1; m->files < segments; zxid += n, n = n % 8 + 1)
		if (append(log, zxid, n))
			return -1;
	if (close)
		EXPECT_I(sto_log_close(log), ==, 0);
	return zxid - 1;
}

/* --- torn writes ----------------------------------------------------------------------------- */

enum tear { CUT, ZEROS, OLD, NOISE, TEARS };

struct torn {
	struct memfs_file *file;
	uint8_t *whole, *old, *noise;
	uint64_t size, id;
};

/* What the file is when everything from `at` on never came to be as it was meant. */
static void tear(struct torn *t, uint64_t at, enum tear how)
{
	const uint8_t *rest = how == OLD ? t->old : t->noise;

	t->file->size = how == CUT ? at : t->size;
	memcpy(t->file->data, t->whole, at);
	if (how == ZEROS)
		memset(t->file->data + at, 0, t->size - at);
	else if (how != CUT)
		memcpy(t->file->data + at, rest + at, t->size - at);
}

/* The last zxid of which the torn file has all bytes. */
static int64_t last_whole(const struct torn *t)
{
	struct sto_block_head h;
	int64_t last = 0;

	for (uint64_t p = STO_PAGE_BYTES, end;
	     sto_block_head_get(t->whole + p, t->size - p, t->id, p, &h); p = sto_pages(end)) {
		end = p + STO_BLOCK_HEAD_BYTES + h.stored_len;
		if (end > t->file->size || memcmp(t->whole + p, t->file->data + p, end - p))
			break;
		last = h.last_zxid;
	}
	return last;
}

static void fill_segment(struct sto_log *log, int64_t zxid)
{
	while (sto_log_room(log) > 3 * STO_PAGE_BYTES) {
		unsigned n = (unsigned)mix((uint64_t)zxid) % 8 + 1;

		REQUIRE(EXPECT_I(append(log, zxid, n), ==, 0));
		zxid += n;
	}
}

static void torn_init(struct torn *t, struct memfs *m, struct memfs *other)
{
	struct sto_log *log = open_log(m, 0, 64 << 10), *log2 = open_log(other, 999, 64 << 10);
	struct sto_seg_head head;

	fill_segment(log, 1);
	fill_segment(log2, 1000);
	t->file = memfs_file(m, STO_LOG_PREFIX "0000000000000001");
	t->size = t->file->size;
	t->whole = malloc(t->size);
	t->old = malloc(t->size);
	t->noise = malloc(t->size);
	memcpy(t->whole, t->file->data, t->size);
	memcpy(t->old, memfs_file(other, STO_LOG_PREFIX "00000000000003e8")->data, t->size);
	for (uint64_t i = 0; i < t->size; i++)
		t->noise[i] = (uint8_t)mix(i + t_seed());
	sto_seg_head_get(t->whole, t->size, &head);
	t->id = head.id;
	EXPECT_I(sto_log_close(log), ==, 0);
	EXPECT_I(sto_log_close(log2), ==, 0);
}

TEST_F(storage_crash, a_write_torn_at_any_byte_of_a_segment_keeps_the_prefix, struct crash_fx,
       crash_up, crash_down)
{
	struct torn t = {0};
	uint64_t recoveries = 0;

	torn_init(&t, f->m, f->image);
	for (uint64_t at = STO_SEG_HEAD_BYTES; at <= t.size; at += STRIDE) {
		for (enum tear how = CUT; how < TEARS; how++, recoveries++) {
			tear(&t, at, how);
			int64_t want = last_whole(&t);

			REQUIRE(EXPECT_I(recover(f, f->m), ==, 0));
			REQUIRE(EXPECT_I(f->recovered.last_zxid, ==, want));
			REQUIRE(EXPECT_I(f->kept.wrong, ==, false));
			if (at % 1024)
				continue;
			/* Cut for good: the second time there is nothing to tell. */
			REQUIRE(EXPECT_I(recover(f, f->m), ==, 0));
			REQUIRE(EXPECT_STR(f->recovered.message, ""));
		}
	}
	printf("torn writes: %llu recoveries\n", (unsigned long long)recoveries);
	free(t.whole);
	free(t.old);
	free(t.noise);
}

/* --- flipped bits ---------------------------------------------------------------------------- */

struct flips {
	uint64_t exact, refused, wrong;
};

/* Flip each bit of one file in turn. Exact: all that was written comes back, and equal. */
static void flip_file(struct crash_fx *f, struct memfs_file *file, int64_t last, uint64_t sum,
		      struct flips *flips)
{
	uint64_t size = file->size;
	uint8_t *whole = malloc(size);

	memcpy(whole, file->data, size);
	for (uint64_t bit = 0; bit < size * 8; bit += STRIDE) {
		int err;

		file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		err = recover(f, f->m);
		if (err)
			flips->refused += err == -EBADMSG && f->recovered.message[0];
		else if (f->recovered.last_zxid == last && !f->kept.wrong && f->kept.sum == sum)
			flips->exact++;
		else
			flips->wrong++;
		file->size = size;
		memcpy(file->data, whole, size);
	}
	free(whole);
}

TEST_F(storage_crash, no_flipped_bit_of_a_log_is_served_or_loses_anything, struct crash_fx,
       crash_up, crash_down)
{
	struct flips flips = {0};
	uint64_t bits = 0;
	int64_t last = fill_log(f->m, 16 << 10, 4, true);
	uint64_t sum;

	REQUIRE(EXPECT_I(last, >, 20));
	REQUIRE(EXPECT_I(recover(f, f->m), ==, 0));
	REQUIRE(EXPECT_I(f->recovered.last_zxid, ==, last));
	sum = f->kept.sum;
	for (int i = 0; i < MEMFS_NAMES; i++) {
		if (f->m->name[i].file < 0)
			continue;
		bits += f->m->file[f->m->name[i].file].size * 8 / STRIDE;
		flip_file(f, &f->m->file[f->m->name[i].file], last, sum, &flips);
	}
	EXPECT_U(flips.wrong, ==, 0);
	EXPECT_U(flips.exact + flips.refused, >=, bits);
	EXPECT_U(flips.refused, >, flips.exact / 4);
	printf("log: %llu bits flipped, %llu exact, %llu refused, %llu wrong\n",
	       (unsigned long long)bits, (unsigned long long)flips.exact,
	       (unsigned long long)flips.refused, (unsigned long long)flips.wrong);
}

TEST_F(storage_crash, a_flipped_bit_of_a_snapshot_costs_that_snapshot_alone, struct crash_fx,
       crash_up, crash_down)
{
	struct flips flips = {0}, alone = {0};
	struct sto_log *log;
	uint64_t bits;
	struct memfs_file *file;

	/* With an older one and the log: the same state at the end. */
	REQUIRE(EXPECT_I(snapshot_put(&f->m->fs, "d", 5, SNAP_NODES), ==, 0));
	REQUIRE(EXPECT_I(snapshot_put(&f->m->fs, "d", 9, SNAP_NODES), ==, 0));
	log = open_log(f->m, 5, 16 << 10);
	for (int64_t zxid = 6; zxid < 13; zxid++)
		EXPECT_I(append(log, zxid, 1), ==, 0);
	EXPECT_I(sto_log_close(log), ==, 0);
	file = memfs_file(f->m, STO_SNAP_PREFIX "0000000000000009");
	bits = file->size * 8 / STRIDE;
	for (uint64_t bit = 0; bit < file->size * 8; bit += STRIDE) {
		file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		REQUIRE(EXPECT_I(recover(f, f->m), ==, 0));
		flips.exact += f->recovered.last_zxid == 12 && f->recovered.snapshot_zxid == 5 &&
			       f->kept.nodes == SNAP_NODES && !f->kept.wrong;
		file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	EXPECT_U(flips.exact, >=, bits);

	/* Without: refused. */
	EXPECT_I(memfs_unlink(f->m, 0, STO_SNAP_PREFIX "0000000000000005"), ==, 0);
	flip_file(f, file, 12, 0, &alone);
	EXPECT_U(alone.refused, >=, bits);
	EXPECT_U(alone.wrong + alone.exact, ==, 0);
	printf("snapshot: %llu bits flipped, %llu recovered from the older one, %llu refused\n",
	       (unsigned long long)bits, (unsigned long long)flips.exact,
	       (unsigned long long)alone.refused);
}

/* --- a small history ------------------------------------------------------------------------- */

struct history {
	int64_t acked;    /* appended, and told that it is durable */
	int64_t appended; /* the same, or one batch more */
	int err;          /* the first one */
	struct {
		size_t ops;
		int64_t acked, appended;
	} mark[256]; /* how far things were when so many operations had been done */
	unsigned marks;
};

static void mark(struct history *h, const struct memfs *m)
{
	if (h->marks == sizeof(h->mark) / sizeof(h->mark[0]))
		abort();
	h->mark[h->marks].ops = m->ops;
	h->mark[h->marks].acked = h->acked;
	h->mark[h->marks++].appended = h->appended;
}

static void history_append(struct history *h, struct memfs *m, struct sto_log *log, unsigned n)
{
	h->appended = h->acked + n;
	mark(h, m);
	h->err = append(log, h->acked + 1, n);
	if (!h->err)
		h->acked = h->appended;
	mark(h, m);
}

/* A life: recover, append over several segments, snapshots, purge, close; stops at an error. */
static void live(struct crash_fx *f, struct memfs *m, struct history *h, int batches)
{
	struct sto_log_options options = {
	    .segment_size = 16 << 10, .force_sync = true, .direct = true};
	struct sto_log *log;

	h->err = recover(f, m);
	if (h->err)
		return;
	h->acked = h->appended = f->recovered.last_zxid;
	mark(h, m);
	h->err = sto_log_open(&log, &m->fs, "d", h->acked, &options);
	if (h->err)
		return;
	for (int i = 0; !h->err && i < batches; i++) {
		history_append(h, m, log, i % 3 == 2 ? 7 : 1);
		if (!h->err && i % 2 == 0)
			h->err = sto_log_prepare(log);
		if (!h->err && i % 3 == 1) {
			h->err = snapshot_put(&m->fs, "d", h->acked, SNAP_NODES);
			sto_log_roll(log);
		}
		if (!h->err && i % 4 == 3) {
			int deleted = sto_purge(&m->fs, "d", "d", 3);

			h->err = deleted < 0 ? deleted : 0;
		}
	}
	if (sto_log_close(log) && !h->err)
		h->err = -EIO;
}

/* What a recovery must give, whatever happened. */
static bool holds(struct crash_fx *f, struct memfs *m, int64_t acked, int64_t appended)
{
	int64_t snapshot;

	if (!EXPECT_I(recover(f, m), ==, 0)) {
		t_fail(__FILE__, __LINE__, "%s", f->recovered.message);
		return false;
	}
	snapshot = f->recovered.snapshot_zxid;
	return EXPECT_I(f->recovered.last_zxid, >=, acked) &&
	       EXPECT_I(f->recovered.last_zxid, <=, appended) &&
	       EXPECT_I(f->kept.last_zxid, ==, f->recovered.last_zxid) &&
	       EXPECT_I(f->kept.wrong, ==, false) &&
	       EXPECT_U(f->kept.nodes, ==, snapshot > 0 ? SNAP_NODES : 0) &&
	       EXPECT_U(f->recovered.txns, ==,
			f->recovered.last_zxid - (snapshot > 0 ? snapshot : 0));
}

static const int errnos[] = {EIO, ENOSPC, EDQUOT, ENOMEM, EMFILE, EROFS, EACCES, EINVAL};

TEST_F(storage_crash, whichever_call_fails_nothing_acknowledged_is_lost, struct crash_fx, crash_up,
       crash_down)
{
	uint64_t cases = 0;

	for (size_t e = 0; e < sizeof(errnos) / sizeof(errnos[0]); e++) {
		for (int sticky = 0; sticky < 2; sticky++) {
			for (uint64_t n = 1;; n += STRIDE, cases++) {
				struct history h = {0};
				struct memfs *m = f->image;

				memfs_fini(m);
				memfs_init(m);
				m->fail_at = n;
				m->fail_errno = errnos[e];
				m->fail_on = sticky;
				live(f, m, &h, 9);
				EXPECT_I(memfs_open_fds(m), ==, 0);
				if (m->calls < n) {
					EXPECT_I(h.err, ==, 0);
					break;
				}
				m->fail_at = 0;
				REQUIRE(holds(f, m, h.acked, h.appended));
				/* And life goes on. */
				live(f, m, &h, 3);
				REQUIRE(EXPECT_I(h.err, ==, 0));
				REQUIRE(holds(f, m, h.acked, h.appended));
			}
		}
	}
	printf("failing calls: %llu cases\n", (unsigned long long)cases);
}

struct crashes {
	uint64_t states, boundaries, all_subsets;
};

/* Every boundary of what `m` recorded; at each every subset, or SUBSETS samples of them. */
static void crash_everywhere(struct crash_fx *f, const struct memfs *base, const struct history *h,
			     struct crashes *c)
{
	unsigned at = 0;

	for (size_t n = 1; n <= f->m->ops + 1; n++) {
		uint64_t subsets = 1;
		int64_t acked, appended;

		while (at + 1 < h->marks && h->mark[at + 1].ops < n)
			at++;
		acked = h->mark[at].acked;
		appended = h->mark[at].appended;
		c->boundaries++;
		for (uint64_t subset = 0; subset < subsets; subset += STRIDE) {
			struct memfs_choice choice = {.bits = subset};

			choice.random = subsets > SUBSETS;
			memfs_crash(f->m, base, n, &choice, f->image);
			if (!subset) {
				subsets = choice.units > 10 ? SUBSETS + 1 : 1ULL << choice.units;
				c->all_subsets += choice.units <= 10;
			}
			c->states++;
			if (!holds(f, f->image, acked, appended)) {
				t_fail(__FILE__, __LINE__, "boundary %zu subset %llu of %u units",
				       n, (unsigned long long)subset, choice.units);
				return;
			}
		}
	}
}

TEST_F(storage_crash, a_power_cut_at_any_call_with_any_subset_on_disk_loses_nothing_acknowledged,
       struct crash_fx, crash_up, crash_down)
{
	struct crashes c = {0};
	struct history first = {0}, second = {0};
	struct memfs *base = malloc(sizeof(*base));

	f->m->record = true;
	live(f, f->m, &first, 30);
	REQUIRE(EXPECT_I(first.err, ==, 0));
	crash_everywhere(f, NULL, &first, &c);

	/* From a disk that a crash has left in the middle of an append: recovery itself crashes. */
	struct memfs_choice choice = {.bits = 0x5555555555555555};

	memfs_init(base);
	memfs_crash(f->m, NULL, first.mark[first.marks - 1].ops, &choice, base);
	memfs_fini(f->m);
	memfs_init(f->m);
	memfs_copy(f->m, base);
	f->m->no_direct = true; /* this time with pwrite and fdatasync */
	f->m->record = true;
	live(f, f->m, &second, 16);
	EXPECT_I(second.err, ==, 0);
	if (!t_failed())
		crash_everywhere(f, base, &second, &c);
	printf("power cuts: %llu states at %llu boundaries, %llu of them with all subsets\n",
	       (unsigned long long)c.states, (unsigned long long)c.boundaries,
	       (unsigned long long)c.all_subsets);
	memfs_fini(base);
	free(base);
}

/* The process dies at any call and the next one finds what is in the cache, synced or not: what it
 * recovers from that it must make durable before it builds on it. */
TEST_F(storage_crash, a_death_and_then_a_power_cut_lose_nothing_acknowledged, struct crash_fx,
       crash_up, crash_down)
{
	uint64_t states = 0;

	for (uint64_t death = 1;; death += STRIDE) {
		struct history h = {0};

		memfs_fini(f->m);
		memfs_init(f->m);
		f->m->record = true;
		f->m->fail_at = death;
		f->m->fail_errno = EIO;
		f->m->fail_on = true;
		f->m->no_direct = death % 2;
		live(f, f->m, &h, 9);
		if (f->m->calls < death)
			break;
		f->m->fail_at = 0;
		live(f, f->m, &h, 3);
		REQUIRE(EXPECT_I(h.err, ==, 0));
		for (unsigned i = 0; i + 1 < h.marks; i++) {
			uint64_t seeds = h.mark[i + 1].ops > h.mark[i].ops ? 8 : 0;

			for (uint64_t seed = 0; seed < seeds; seed++, states++) {
				struct memfs_choice choice = {.bits = t_seed() + seed};

				choice.random = seed > 1;
				choice.bits = seed > 1 ? choice.bits : 0 - seed;
				memfs_crash(f->m, NULL, h.mark[i + 1].ops, &choice, f->image);
				REQUIRE(
				    holds(f, f->image, h.mark[i].acked, h.mark[i + 1].appended));
			}
		}
	}
	printf("deaths, then power cuts: %llu states\n", (unsigned long long)states);
}

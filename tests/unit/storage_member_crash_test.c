/*
 * Exhaustion of what a member does to its history: every failing call, every power cut with every
 * subset of what was not synced, every death, and those again while the next start settles. After
 * each the history is exactly one that was, or was to be: never a mixture. The sanitizer builds
 * take every STRIDE-th case.
 */
#include "tests/t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/file.h"
#include "storage/inspect.h"
#include "storage/log.h"
#include "storage/member.h"
#include "storage/reader.h"
#include "storage/recover.h"
#include "storage/segment.h"
#include "storage/stage.h"
#include "tests/memfs.h"
#include "tests/storage.h"

#ifdef DEBUG
enum { STRIDE = 61 };
#else
enum { STRIDE = 1 };
#endif

enum { ENTRY = 900, NEW_ENTRY = 700, SNAP_NODES = 30, ENTRIES = 96, SNAPS = 8, STATES = 24 };
#define ZXID(epoch, counter) ((int64_t)(epoch) << 32 | (counter))

/* All that a start finds. Zeroed first, so that two can be compared as bytes. */
struct found {
	int64_t settled, recovered; /* errors */
	int64_t accepted, current, must_sync;
	int64_t snapshot, last, nodes, sum;
	int64_t snaps, snap[SNAPS];
	int64_t entries, zxid[ENTRIES], len[ENTRIES];
};

struct story {
	const char *snap_dir, *log_dir;
	void (*act)(struct story *s);
	int64_t zxid; /* of a cut */
	struct memfs *base, *m, *image, *scratch;
	int err;

	/* The histories in the order in which they come to be; which one it is now: lo, or any up
	 * to hi while one is on its way. */
	struct found state[STATES];
	unsigned lo, hi;
	bool reference;
	struct {
		size_t ops;
		unsigned lo, hi;
	} mark[256];
	unsigned marks;
	uint64_t cases,
	    deaths; /* deaths: every so many; told from the first on, then the second .. */
};

static void again(struct memfs *m)
{
	memfs_fini(m);
	memfs_init(m);
}

static void story_up(struct story *s)
{
	struct memfs **all[] = {&s->base, &s->m, &s->image, &s->scratch};

	for (int i = 0; i < 4; i++) {
		*all[i] = malloc(sizeof(struct memfs));
		memfs_init(*all[i]);
	}
	s->snap_dir = s->log_dir = "d";
	s->deaths = 1;
}

static void story_down(struct story *s)
{
	struct memfs *all[] = {s->base, s->m, s->image, s->scratch};

	for (int i = 0; i < 4; i++) {
		memfs_fini(all[i]);
		free(all[i]);
	}
}

/* --- what is found --------------------------------------------------------------------------- */

static int find_entry(void *arg, int64_t zxid, const uint8_t *entry, uint32_t len)
{
	struct found *f = arg;
	uint8_t want[4096];

	if (f->entries == ENTRIES || entry_put(want, zxid, len - 32) != len + 4u ||
	    memcmp(want + 4, entry, len))
		return -EPROTO;
	f->zxid[f->entries] = zxid;
	f->len[f->entries++] = len;
	return 0;
}

static int find_snaps(struct story *s, struct found *f)
{
	const struct sto_fs *fs = &s->scratch->fs;
	struct sto_names names = {0};
	int dir = sto_dir_open(fs, s->snap_dir);
	int err = sto_names_list(fs, dir, STO_SNAP_PREFIX, &names);

	for (unsigned i = 0; i < names.n && i < SNAPS; i++)
		f->snap[f->snaps++] = names.zxid[i];
	sto_names_free(&names);
	fs->close(fs->self, dir);
	return err;
}

static bool leftovers(struct memfs *m)
{
	for (int i = 0; i < MEMFS_NAMES; i++) {
		const char *name = m->name[i].name;

		if (m->name[i].file >= 0 && (strstr(name, STO_STAGE "/") || strstr(name, ".tmp")))
			return true;
	}
	return false;
}

/* Start on a copy of m. False: there is no history, or a mixture. */
static bool find(struct story *s, struct memfs *m, struct found *f)
{
	struct kept kept = {0};
	struct sto_sink sink = kept_sink(&kept);
	struct sto_recovered recovered;
	struct sto_member member;
	char why[STO_WHY_MAX] = "";
	const struct sto_fs *fs = &s->scratch->fs;

	memset(f, 0, sizeof(*f));
	memfs_copy(s->scratch, m);
	f->settled = sto_member_settle(fs, s->snap_dir, s->log_dir, &member);
	f->recovered = sto_recover(fs, s->snap_dir, s->log_dir, false, &sink, &recovered);
	f->accepted = member.accepted_epoch;
	f->current = member.current_epoch;
	f->must_sync = member.must_sync;
	f->snapshot = recovered.snapshot_zxid;
	f->last = recovered.last_zxid;
	f->nodes = (int64_t)kept.nodes;
	f->sum = (int64_t)kept.sum;
	if (!EXPECT_I(f->settled, ==, 0) || !EXPECT_I(f->recovered, ==, 0)) {
		t_fail(__FILE__, __LINE__, "%s", recovered.message);
		return false;
	}
	return EXPECT_I(find_snaps(s, f), ==, 0) &&
	       EXPECT_I(sto_inspect_log(fs, s->log_dir, find_entry, f, why), ==, 0) &&
	       EXPECT_STR(why, "") && EXPECT_TRUE(!leftovers(s->scratch)) &&
	       EXPECT_I(memfs_open_fds(s->scratch), ==, 0);
}

/* A start finds one of the histories lo..hi. Which? -1: none. */
static int found_one(struct story *s, struct memfs *m, unsigned lo, unsigned hi)
{
	struct found f;

	s->cases++;
	if (!find(s, m, &f))
		return -1;
	for (unsigned i = lo; i <= hi; i++)
		if (!memcmp(&f, &s->state[i], sizeof(f)))
			return (int)i;
	t_fail(__FILE__, __LINE__,
	       "epochs %lld/%lld snapshot 0x%llx last 0x%llx, %lld entries: none of %u..%u",
	       (long long)f.accepted, (long long)f.current, (unsigned long long)f.snapshot,
	       (unsigned long long)f.last, (long long)f.entries, lo, hi);
	return -1;
}

/* --- telling a story ------------------------------------------------------------------------- */

static void mark(struct story *s)
{
	if (s->marks == sizeof(s->mark) / sizeof(s->mark[0]))
		abort();
	s->mark[s->marks].ops = s->m->ops;
	s->mark[s->marks].lo = s->lo;
	s->mark[s->marks++].hi = s->hi;
}

static void change_begin(struct story *s)
{
	s->hi = s->lo + 1;
	mark(s);
}

static bool change_end(struct story *s, int err)
{
	s->err = err;
	if (err)
		return false;
	s->lo = s->hi;
	mark(s);
	if (s->reference)
		find(s, s->m, &s->state[s->lo]);
	return true;
}

/* It begins anew on what base has. */
static void tell(struct story *s)
{
	s->err = 0;
	s->lo = s->hi = s->marks = 0;
	mark(s);
	s->act(s);
}

static void reset(struct story *s)
{
	again(s->m);
	memfs_copy(s->m, s->base);
}

static void tell_reference(struct story *s)
{
	reset(s);
	find(s, s->base, &s->state[0]);
	s->m->record = s->reference = true;
	tell(s);
	s->reference = false;
	EXPECT_I(s->err, ==, 0);
	EXPECT_I(memfs_open_fds(s->m), ==, 0);
	for (unsigned i = 0; i < s->lo; i++)
		EXPECT_TRUE(memcmp(&s->state[i], &s->state[i + 1], sizeof(s->state[i])) != 0);
}

/* --- everything that can go wrong ------------------------------------------------------------ */

/* Each call of the story fails, it alone or with all that follow. */
static void failing_calls(struct story *s)
{
	static const int errnos[] = {EIO, ENOSPC};

	for (int how = 0; how < 4; how++) {
		for (uint64_t n = 1;; n += STRIDE) {
			reset(s);
			s->m->fail_at = n;
			s->m->fail_on = how % 2;
			s->m->fail_errno = errnos[how / 2];
			tell(s);
			if (s->m->calls < n) {
				EXPECT_I(s->err, ==, 0);
				break;
			}
			s->m->fail_at = 0;
			if (!EXPECT_I(memfs_open_fds(s->m), ==, 0) ||
			    found_one(s, s->m, s->lo, s->hi) < 0) {
				t_fail(__FILE__, __LINE__, "call %llu, %d", (unsigned long long)n,
				       how);
				return;
			}
		}
	}
}

/* The power fails after the n-th operation, in all the ways there are or in `samples`. */
static bool power_cut(struct story *s, size_t n, unsigned samples, unsigned lo, unsigned hi)
{
	uint64_t subsets = 1;

	for (uint64_t subset = 0; subset < subsets; subset++) {
		struct memfs_choice choice = {.bits = subset};

		choice.random = subsets > samples;
		memfs_crash(s->m, s->base, n, &choice, s->image);
		if (!subset)
			subsets = choice.units > 10 || 1u << choice.units > samples
				      ? samples + 1
				      : 1ULL << choice.units;
		if (found_one(s, s->image, lo, hi) < 0) {
			t_fail(__FILE__, __LINE__, "operation %zu subset %llu of %u units", n,
			       (unsigned long long)subset, choice.units);
			return false;
		}
	}
	return true;
}

/* Of the story that was told last, with `record` on. */
static void power_cuts(struct story *s, unsigned samples)
{
	unsigned at = 0;

	for (size_t n = 1; n <= s->m->ops + 1; n += STRIDE) {
		while (at + 1 < s->marks && s->mark[at + 1].ops < n)
			at++;
		if (!power_cut(s, n, samples, s->mark[at].lo, s->mark[at].hi))
			return;
	}
}

/* A start, in place: it makes durable what it finds. */
static int start(struct story *s)
{
	struct kept kept = {0};
	struct sto_sink sink = kept_sink(&kept);
	struct sto_recovered recovered;
	struct sto_member m;
	int err = sto_member_settle(&s->m->fs, s->snap_dir, s->log_dir, &m);

	return err ? err
		   : sto_recover(&s->m->fs, s->snap_dir, s->log_dir, false, &sink, &recovered);
}

/* The process dies at any call; the next start finds what is in the cache, and the power fails at
 * any operation of that start, or behind it. */
static void deaths_then_power_cuts(struct story *s, unsigned samples)
{
	for (uint64_t death = 1 + s->cases % s->deaths;; death += STRIDE * s->deaths) {
		size_t ops;
		int state;

		reset(s);
		s->m->record = s->m->fail_on = true;
		s->m->fail_at = death;
		s->m->fail_errno = EIO;
		tell(s);
		if (s->m->calls < death)
			return;
		s->m->fail_at = 0;
		ops = s->m->ops;
		if (!EXPECT_I(start(s), ==, 0))
			return;
		for (size_t n = ops + 1; n <= s->m->ops; n++)
			if (!power_cut(s, n, samples, s->lo, s->hi))
				return;
		/* Once it has settled there is but one history left. */
		state = found_one(s, s->m, s->lo, s->hi);
		if (state < 0 ||
		    !power_cut(s, s->m->ops + 2, samples, (unsigned)state, (unsigned)state)) {
			t_fail(__FILE__, __LINE__, "death at %llu", (unsigned long long)death);
			return;
		}
	}
}

/* The process dies at any call, and the next one at any call of its start. */
static void deaths_while_settling(struct story *s)
{
	for (uint64_t death = 1 + s->cases % s->deaths;; death += STRIDE * s->deaths) {
		for (uint64_t second = 1;; second += STRIDE + s->deaths / 4) {
			reset(s);
			s->m->fail_on = true;
			s->m->fail_at = death;
			s->m->fail_errno = EIO;
			tell(s);
			if (s->m->calls < death)
				return;
			s->m->calls = 0;
			s->m->fail_at = second;
			if (!start(s))
				break;
			s->m->fail_at = 0;
			if (found_one(s, s->m, s->lo, s->hi) < 0) {
				t_fail(__FILE__, __LINE__, "deaths at %llu, %llu",
				       (unsigned long long)death, (unsigned long long)second);
				return;
			}
		}
	}
}

/* One call of a start fails. It says so and the next start carries on, or it can do without; in
 * both cases what it then has found is there for good. False: that start had no such call. */
static bool failing_start(struct story *s, uint64_t death, uint64_t call)
{
	int err, state;

	s->m->calls = 0;
	s->m->fail_on = false;
	s->m->fail_at = call;
	err = start(s);
	s->m->fail_at = 0;
	if (s->m->calls < call)
		return false;
	if (err && !EXPECT_I(start(s), ==, 0))
		return false;
	state = found_one(s, s->m, s->lo, s->hi);
	if (state >= 0 && EXPECT_I(memfs_open_fds(s->m), ==, 0) &&
	    power_cut(s, s->m->ops + 2, 4, (unsigned)state, (unsigned)state))
		return true;
	t_fail(__FILE__, __LINE__, "death at %llu, then call %llu: %d", (unsigned long long)death,
	       (unsigned long long)call, err);
	return false;
}

static void deaths_then_failing_starts(struct story *s)
{
	for (uint64_t death = 1 + s->cases % s->deaths; !t_failed(); death += STRIDE * s->deaths) {
		for (uint64_t call = 1;; call += STRIDE + s->deaths / 4) {
			reset(s);
			s->m->record = s->m->fail_on = true;
			s->m->fail_at = death;
			s->m->fail_errno = EIO;
			tell(s);
			if (s->m->calls < death)
				return;
			if (!failing_start(s, death, call))
				break;
		}
	}
}

static void exhaust(struct story *s, unsigned samples)
{
	tell_reference(s);
	if (!t_failed())
		power_cuts(s, samples);
	if (!t_failed())
		failing_calls(s);
	if (!t_failed())
		deaths_then_power_cuts(s, 4);
	if (!t_failed())
		deaths_while_settling(s);
	if (!t_failed())
		deaths_then_failing_starts(s);
}

/* --- a history to begin with ----------------------------------------------------------------- */

static int append(struct sto_log *log, const int64_t *zxid, unsigned n, uint32_t bytes)
{
	uint8_t entries[8 * (36 + ENTRY)];
	size_t len = 0;

	for (unsigned i = 0; i < n; i++)
		len += entry_put(entries + len, zxid[i], bytes);
	return sto_log_append(log, entries, len, zxid[0], zxid[n - 1]);
}

static int append_behind(struct sto_log *log, int64_t last, unsigned n, uint32_t bytes)
{
	int64_t zxid[8];

	for (unsigned i = 0; i < n; i++)
		zxid[i] = last + 1 + i;
	return append(log, zxid, n, bytes);
}

static int open_log(struct memfs *m, const char *dir, int64_t last, struct sto_log **log)
{
	static const struct sto_log_options options = {20 << 10, true, true};

	return sto_log_open(log, &m->fs, dir, last, &options);
}

enum kind { FROM_THE_BEGINNING, WITH_SNAPSHOTS, PURGED, KINDS };

/* Batches of one to four, two epochs, one batch with entries of both; snapshots, among them the one
 * of the second epoch's start; segments of two or three batches; two lives. */
static void begin_with(struct story *s, enum kind kind)
{
	static const unsigned batch[] = {1, 3, 2, 4, 1, 1, 3};
	const struct sto_fs *fs = &s->base->fs;
	struct sto_member member = {2, 2, false, 0};
	struct sto_names names = {0};
	struct sto_log *log;
	int64_t last = 0, zxid[8];
	int dir = sto_dir_open(fs, s->log_dir);

	EXPECT_I(sto_member_store(fs, s->snap_dir, &member), ==, 0);
	REQUIRE(EXPECT_I(open_log(s->base, s->log_dir, 0, &log), ==, 0));
	for (unsigned i = 0; i < 14; i++) {
		unsigned n = batch[i % 7];

		for (unsigned k = 0; k < n; k++) {
			last = !last ? ZXID(1, 1) : i == 8 && k == 2 ? ZXID(2, 1) : last + 1;
			zxid[k] = last;
		}
		EXPECT_I(append(log, zxid, n, ENTRY), ==, 0);
		if (i == 6) {
			EXPECT_I(sto_log_close(log), ==, 0);
			EXPECT_I(open_log(s->base, s->log_dir, last, &log), ==, 0);
		}
		if (kind == WITH_SNAPSHOTS || kind == PURGED)
			if (i == 2 || i == 5 || i == 11)
				EXPECT_I(snapshot_put(fs, s->snap_dir, last, SNAP_NODES + i), ==,
					 0);
	}
	EXPECT_I(sto_log_close(log), ==, 0);
	if (kind != FROM_THE_BEGINNING)
		EXPECT_I(snapshot_put(fs, s->snap_dir, ZXID(2, 0), SNAP_NODES), ==, 0);
	EXPECT_I(sto_names_list(fs, dir, STO_LOG_PREFIX, &names), ==, 0);
	EXPECT_U(names.n, >=, 5);
	if (kind == PURGED) {
		char name[STO_NAME_MAX];

		sto_name(name, STO_LOG_PREFIX, names.zxid[0]);
		EXPECT_I(fs->unlink(fs->self, dir, name), ==, 0);
	}
	sto_names_free(&names);
	fs->close(fs->self, dir);
}

/* --- stories --------------------------------------------------------------------------------- */

static void act_store(struct story *s)
{
	for (int64_t epoch = 3; epoch < 6; epoch++) {
		struct sto_member m = {epoch, epoch - 1, epoch == 4, 0};

		change_begin(s);
		if (!change_end(s, sto_member_store(&s->m->fs, s->snap_dir, &m)))
			return;
	}
}

TEST_F(storage_member_crash, a_record_is_the_old_or_the_new_one, struct story, story_up, story_down)
{
	begin_with(f, WITH_SNAPSHOTS);
	f->act = act_store;
	exhaust(f, 1024);
	printf("records: %llu cases\n", (unsigned long long)f->cases);
}

/* Append and close, each of the batches a history of its own. */
static void close_log(struct story *s, struct sto_log *log)
{
	int err = sto_log_close(log);

	s->err = s->err ? s->err : err;
}

static void append_and_close(struct story *s, struct sto_log *log, int64_t last, unsigned batches)
{
	for (unsigned i = 0; !s->err && i < batches; i++) {
		unsigned n = i % 3 + 1;

		change_begin(s);
		change_end(s, append_behind(log, last, n, NEW_ENTRY));
		last += n;
		if (!s->err && i % 2)
			s->err = sto_log_prepare(log);
	}
	close_log(s, log);
}

enum { STAGED_NODES = 77 };

static void act_install(struct story *s)
{
	const struct sto_fs *fs = &s->m->fs;
	const struct sto_member m = {7, 7, false, 0};
	struct sto_log *log;
	char snap_stage[32], log_stage[32];
	int64_t zxid = s->zxid;

	snprintf(snap_stage, sizeof(snap_stage), "%s/staged", s->snap_dir);
	snprintf(log_stage, sizeof(log_stage), "%s/staged", s->log_dir);
	s->err = sto_stage_begin(fs, s->snap_dir, s->log_dir);
	if (!s->err)
		s->err = snapshot_put(fs, snap_stage, zxid, STAGED_NODES);
	if (!s->err)
		s->err = open_log(s->m, log_stage, zxid, &log);
	if (s->err)
		return;
	for (unsigned i = 0; !s->err && i < 5; i++) {
		s->err = append_behind(log, zxid + 3 * i, 3, NEW_ENTRY);
		if (!s->err && i != 3)
			s->err = sto_log_prepare(log);
	}
	close_log(s, log);
	if (!s->err) {
		change_begin(s);
		change_end(s, sto_stage_install(fs, s->snap_dir, s->log_dir, &m, zxid));
	}
	if (!s->err)
		s->err = open_log(s->m, s->log_dir, zxid + 15, &log);
	if (!s->err)
		append_and_close(s, log, zxid + 15, 6);
}

static void check_installed(struct story *s)
{
	const struct found *f = &s->state[1];

	EXPECT_I(f->snapshot, ==, s->zxid);
	EXPECT_I(f->snaps, ==, 1);
	EXPECT_I(f->nodes, ==, STAGED_NODES);
	EXPECT_I(f->entries, ==, 15);
	EXPECT_I(f->zxid[0], ==, s->zxid + 1);
	EXPECT_I(f->accepted, ==, 7);
	for (int64_t i = 0; i < f->entries; i++)
		EXPECT_I(f->len[i], ==, NEW_ENTRY + 32);
}

/* Below, within, at the same zxid as a snapshot and above what there was; one directory and two. */
TEST_F(storage_member_crash, an_install_replaces_all_or_nothing, struct story, story_up, story_down)
{
	static const int64_t zxids[] = {ZXID(1, 6), ZXID(2, 0), ZXID(9, 0)};

	f->act = act_install;
	f->deaths = 5;
	for (unsigned i = 0; i < 3 && !t_failed(); i++) {
		again(f->base);
		f->snap_dir = i == 1 ? "s" : "d";
		f->log_dir = i == 1 ? "l" : "d";
		f->zxid = zxids[i];
		begin_with(f, i == 2 ? FROM_THE_BEGINNING : WITH_SNAPSHOTS);
		exhaust(f, i ? 32 : 256);
		check_installed(f);
	}
	printf("installs: %llu cases\n", (unsigned long long)f->cases);
}

/* A state can't be stored, the stage is cleared as well as the disk lets, and the next one comes to
 * the same process. */
static void act_install_again(struct story *s)
{
	const struct sto_fs *fs = &s->m->fs;
	char snap_stage[32];
	int err = sto_stage_begin(fs, s->snap_dir, s->log_dir);

	snprintf(snap_stage, sizeof(snap_stage), "%s/staged", s->snap_dir);
	if (!err)
		err = snapshot_put(fs, snap_stage, s->zxid + 1000, STAGED_NODES);
	(void)sto_stage_discard(fs, s->snap_dir, s->log_dir);
	act_install(s);
}

TEST_F(storage_member_crash, a_state_that_could_not_be_stored_leaves_nothing_to_the_next,
       struct story, story_up, story_down)
{
	f->act = act_install_again;
	f->deaths = 11;
	f->zxid = ZXID(2, 0);
	begin_with(f, WITH_SNAPSHOTS);
	exhaust(f, 16);
	check_installed(f);
	printf("states again: %llu cases\n", (unsigned long long)f->cases);
}

static void act_cut(struct story *s)
{
	const struct sto_fs *fs = &s->m->fs;
	const struct sto_member m = {9, 8, true, 0};
	struct sto_log *log;

	change_begin(s);
	if (!change_end(s, sto_history_cut(fs, s->snap_dir, s->log_dir, &m, s->zxid)))
		return;
	s->err = open_log(s->m, s->log_dir, s->zxid, &log);
	if (!s->err)
		append_and_close(s, log, s->zxid, 2);
}

/* What stays is what was up to zxid, and nothing else. */
static bool check_cut(struct story *s)
{
	struct found want = s->state[0], *got = &s->state[1];
	int64_t snaps = 0, entries = 0;

	while (snaps < want.snaps && want.snap[snaps] <= s->zxid)
		snaps++;
	while (entries < want.entries && want.zxid[entries] <= s->zxid)
		entries++;
	return EXPECT_I(got->snaps, ==, snaps) && EXPECT_I(got->entries, ==, entries) &&
	       EXPECT_MEM(got->snap, want.snap, (size_t)snaps * 8) &&
	       EXPECT_MEM(got->zxid, want.zxid, (size_t)entries * 8) &&
	       EXPECT_MEM(got->len, want.len, (size_t)entries * 8) &&
	       EXPECT_I(got->last, ==, s->zxid) &&
	       EXPECT_I(got->snapshot, ==, snaps ? want.snap[snaps - 1] : -1) &&
	       EXPECT_I(got->accepted, ==, 9) && EXPECT_I(got->current, ==, 8) &&
	       EXPECT_I(got->must_sync, ==, 1);
}

static void cut_at(struct story *s, int64_t zxid, unsigned samples)
{
	s->zxid = zxid;
	exhaust(s, samples);
	if (t_failed() || !check_cut(s))
		t_fail(__FILE__, __LINE__, "cut at 0x%llx", (unsigned long long)zxid);
}

static void cut_everywhere(struct story *s, enum kind kind)
{
	struct found all;

	again(s->base);
	begin_with(s, kind);
	REQUIRE(find(s, s->base, &all));
	s->act = act_cut;
	for (int64_t i = 0; i < all.entries && !t_failed(); i += STRIDE > 1 ? 6 : 1)
		if (kind != PURGED || all.zxid[i] >= all.snap[0])
			cut_at(s, all.zxid[i], 16);
	for (int64_t i = 0; i < all.snaps && !t_failed(); i++)
		cut_at(s, all.snap[i], 16);
	if (kind == FROM_THE_BEGINNING && !t_failed())
		cut_at(s, 0, 16);
}

TEST_F(storage_member_crash, a_cut_at_any_zxid_leaves_all_or_just_what_is_below, struct story,
       story_up, story_down)
{
	f->deaths = 13; /* elsewhere for each of the many cuts */
	cut_everywhere(f, WITH_SNAPSHOTS);
	if (!t_failed())
		cut_everywhere(f, FROM_THE_BEGINNING);
	f->snap_dir = "s";
	f->log_dir = "l";
	if (!t_failed())
		cut_everywhere(f, PURGED);
	printf("cuts: %llu cases\n", (unsigned long long)f->cases);
}

TEST_F(storage_member_crash, a_cut_without_a_way_back_changes_nothing, struct story, story_up,
       story_down)
{
	static const int64_t zxids[] = {0,          1,           ZXID(1, 0),  ZXID(1, 1),
					ZXID(1, 2), ZXID(1, 60), ZXID(2, 60), ZXID(3, 0)};
	struct found before, after;

	begin_with(f, PURGED);
	REQUIRE(find(f, f->base, &before));
	for (size_t i = 0; i < sizeof(zxids) / sizeof(zxids[0]); i++) {
		reset(f);
		EXPECT_I(sto_history_cut(&f->m->fs, f->snap_dir, f->log_dir,
					 &(struct sto_member){9, 9, false, 0}, zxids[i]),
			 ==, -ENOENT);
		REQUIRE(find(f, f->m, &after));
		EXPECT_MEM(&after, &before, sizeof(after));
	}
}

/* Batches of many blocks, restarts within; what stays begins with another restart. */
TEST_F(storage_member_crash, a_batch_of_many_blocks_is_cut_too, struct story, story_up, story_down)
{
	enum { N = 30, BYTES = 100 << 10 };
	uint8_t *entries = malloc((size_t)N * (36 + BYTES));
	struct sto_log_options options = {4 << 20, true, false};
	struct sto_log *log;
	size_t len = 0;

	REQUIRE(EXPECT_I(sto_log_open(&log, &f->base->fs, "d", 0, &options), ==, 0));
	EXPECT_I(append_behind(log, 0, 2, ENTRY), ==, 0);
	for (int64_t i = 0; i < N; i++)
		len += entry_put(entries + len, 3 + i, BYTES);
	EXPECT_I(sto_log_append(log, entries, len, 3, 2 + N), ==, 0);
	EXPECT_I(append_behind(log, 2 + N, 2, ENTRY), ==, 0);
	EXPECT_I(sto_log_close(log), ==, 0);
	for (int64_t zxid = 1; zxid <= N + 4; zxid++) {
		struct kept kept = {0};
		struct sto_sink sink = kept_sink(&kept);
		struct sto_recovered recovered;
		struct sto_member m = {0};

		reset(f);
		REQUIRE(EXPECT_I(sto_history_cut(&f->m->fs, "d", "d", &m, zxid), ==, 0));
		REQUIRE(
		    EXPECT_I(sto_recover(&f->m->fs, "d", "d", false, &sink, &recovered), ==, 0));
		REQUIRE(EXPECT_I(recovered.last_zxid, ==, zxid));
		REQUIRE(EXPECT_U(recovered.txns, ==, zxid));
		REQUIRE(EXPECT_STR(recovered.message, ""));
	}
	free(entries);
}

/* The segment that is cut, its copy and the record: a flipped bit in any of them while a cut is
 * half-way is never taken for a history of its own. */
TEST_F(storage_member_crash, rot_in_the_middle_of_a_cut_is_refused, struct story, story_up,
       story_down)
{
	uint64_t refused = 0, exact = 0;
	struct sto_record r = {{9, 8, true, 0}, STO_PENDING_CUT, ZXID(1, 8)};

	begin_with(f, FROM_THE_BEGINNING);
	f->zxid = r.zxid;
	f->act = act_cut;
	tell_reference(f);
	/* Half-way: copied and decided. */
	for (uint64_t calls = 1;; calls++) {
		struct sto_record now;

		reset(f);
		f->m->fail_at = calls;
		f->m->fail_on = true;
		f->m->fail_errno = EIO;
		tell(f);
		f->m->fail_at = 0;
		if (!sto_record_load(&f->m->fs, sto_dir_open(&f->m->fs, "d"), &now) && now.pending)
			break;
	}
	f->m->open_dirs = 0;
	for (int i = 0; i < MEMFS_NAMES && !t_failed(); i++) {
		struct memfs_file *file;

		if (f->m->name[i].file < 0 || !strstr(f->m->name[i].name, ".log."))
			continue;
		file = &f->m->file[f->m->name[i].file];
		for (uint64_t bit = 0; bit < file->size * 8; bit += 37 * STRIDE) {
			struct kept kept = {0};
			struct sto_sink sink = kept_sink(&kept);
			struct sto_recovered recovered;
			struct sto_member m;

			file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			memfs_copy(f->scratch, f->m);
			if (sto_member_settle(&f->scratch->fs, "d", "d", &m) ||
			    sto_recover(&f->scratch->fs, "d", "d", false, &sink, &recovered))
				refused++;
			else
				exact += EXPECT_I(recovered.last_zxid, ==, r.zxid) &&
					 EXPECT_I(kept.sum, ==, f->state[1].sum);
			file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
	EXPECT_U(refused, >, 0);
	EXPECT_U(exact, >, 0);
	printf("rot within a cut: %llu refused, %llu exact\n", (unsigned long long)refused,
	       (unsigned long long)exact);
}

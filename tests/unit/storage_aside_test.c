/*
 * V11 on the disk: whatever bit of a history is wrong, the next start has all of it, or gives all
 * of it up, keeps it, and has no vote; and so it is wherever the power fails in between. A record
 * that is wrong is refused.
 */
#include "tests/t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/file.h"
#include "storage/log.h"
#include "storage/member.h"
#include "storage/recover.h"
#include "storage/stage.h"
#include "tests/memfs.h"
#include "tests/storage.h"

#ifdef DEBUG
enum { STRIDE = 1999 };
#else
enum { STRIDE = 251 };
#endif

enum { ENTRY = 100, SNAP_NODES = 30, SUBSETS = 64, LAST = 40 };
#define ZXID(epoch, counter) ((int64_t)(epoch) << 32 | (counter))
static const struct sto_member healthy = {7, 5, false, 0};

struct aside_fx {
	struct memfs *m, *whole, *image;
	struct kept kept;
	struct sto_recovered recovered;
};

static struct memfs *new_fs(void)
{
	struct memfs *m = malloc(sizeof(*m));

	memfs_init(m);
	return m;
}

static void append(struct sto_log *log, int64_t zxid)
{
	uint8_t entry[36 + ENTRY];
	size_t len = entry_put(entry, zxid, ENTRY);

	EXPECT_I(sto_log_append(log, entry, len, zxid, zxid), ==, 0);
}

/* A snapshot, and a log behind it of several segments. */
static void aside_up(struct aside_fx *f)
{
	static const struct sto_log_options options = {16 << 10, true, true};
	struct sto_log *log = NULL;

	f->m = new_fs();
	f->whole = new_fs();
	f->image = new_fs();
	f->kept.entry_bytes = ENTRY;
	EXPECT_I(snapshot_put(&f->m->fs, "d", ZXID(5, 1), SNAP_NODES), ==, 0);
	EXPECT_I(sto_log_open(&log, &f->m->fs, "d", ZXID(5, 1), &options), ==, 0);
	for (int counter = 2; counter <= LAST; counter++)
		append(log, ZXID(5, counter));
	EXPECT_I(sto_log_close(log), ==, 0);
	EXPECT_I(sto_member_store(&f->m->fs, "d", &healthy), ==, 0);
	memfs_copy(f->whole, f->m);
}

static void aside_down(struct aside_fx *f)
{
	struct memfs *all[] = {f->m, f->whole, f->image};

	for (int i = 0; i < 3; i++) {
		EXPECT_I(memfs_open_fds(all[i]), ==, 0);
		memfs_fini(all[i]);
		free(all[i]);
	}
}

static int recover(struct aside_fx *f, struct memfs *m)
{
	struct sto_sink sink = kept_sink(&f->kept);

	return sto_recover(&m->fs, "d", "d", false, &sink, &f->recovered);
}

/* As writer/life.c starts. 0, or what it can't do anything about. */
static int start(struct aside_fx *f, struct memfs *m, struct sto_member *member)
{
	int err = sto_member_settle(&m->fs, "d", "d", member);
	struct sto_record record;

	if (err == -EBADMSG && sto_record_load(&m->fs, MEMFS_DIR, &record))
		return err;
	if (err == -EBADMSG || (!err && member->must_sync))
		err = sto_history_set_aside(&m->fs, "d", "d", member);
	if (err)
		return err;
	err = recover(f, m);
	if (!err || !f->recovered.lost)
		return err;
	err = sto_history_set_aside(&m->fs, "d", "d", member);
	return err ? err : recover(f, m);
}

static bool is_given_up(struct aside_fx *f, const struct sto_member *m)
{
	return EXPECT_TRUE(m->must_sync) && EXPECT_I(m->fuzzy_zxid, ==, 0) &&
	       EXPECT_I(m->accepted_epoch, >=, healthy.accepted_epoch) &&
	       EXPECT_I(f->recovered.last_zxid, ==, 0) &&
	       EXPECT_I(f->recovered.snapshot_zxid, ==, -1);
}

/* All of it, or none of it. */
static bool is_sound(struct aside_fx *f, struct memfs *m, bool *given_up)
{
	struct sto_member member;

	if (!EXPECT_I(start(f, m, &member), ==, 0))
		return false;
	*given_up = member.must_sync;
	if (*given_up)
		return is_given_up(f, &member);
	return EXPECT_I(member.accepted_epoch, ==, healthy.accepted_epoch) &&
	       EXPECT_I(member.current_epoch, ==, healthy.current_epoch) &&
	       EXPECT_I(f->recovered.last_zxid, ==, ZXID(5, LAST)) && EXPECT_TRUE(!f->kept.wrong);
}

static int count(const struct memfs *m, bool aside)
{
	int n = 0;

	for (int i = 0; i < MEMFS_NAMES; i++)
		if (m->name[i].file >= 0 && strstr(m->name[i].name, "paddock.") &&
		    !strstr(m->name[i].name, STO_TMP_SUFFIX))
			n += aside == !strncmp(m->name[i].name, STO_ASIDE "/", 8);
	return n;
}

TEST_F(storage_aside, every_flipped_bit_leaves_all_of_a_history_or_a_member_without_a_vote,
       struct aside_fx, aside_up, aside_down)
{
	uint64_t flips = 0, given_up = 0;
	int files = count(f->whole, false);

	for (int i = 0; i < MEMFS_NAMES && !t_failed(); i++) {
		int file = f->whole->name[i].file;

		if (file < 0 || f->whole->file[file].is_dir ||
		    !strcmp(f->whole->name[i].name, STO_MEMBER))
			continue;
		for (uint64_t bit = 3; bit < f->whole->file[file].size * 8; bit += STRIDE) {
			bool gone;

			memfs_copy(f->m, f->whole);
			f->m->file[file].data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			flips++;
			if (!is_sound(f, f->m, &gone) ||
			    (gone && !EXPECT_I(count(f->m, true), >=, files - 1))) {
				t_fail(__FILE__, __LINE__, "%s, bit %llu", f->whole->name[i].name,
				       (unsigned long long)bit);
				break;
			}
			given_up += gone;
		}
	}
	EXPECT_U(given_up, >, flips / 100); /* most of a segment is zeros ahead */
	printf("%llu flips, %llu histories given up\n", (unsigned long long)flips,
	       (unsigned long long)given_up);
}

static void damage(struct memfs *m, const char *name, uint64_t at)
{
	memfs_file(m, name)->data[at] ^= 4;
}

static const char *first_segment(struct memfs *m)
{
	for (int i = 0; i < MEMFS_NAMES; i++)
		if (m->name[i].file >= 0 && !strncmp(m->name[i].name, STO_LOG_PREFIX, 12))
			return m->name[i].name;
	return NULL;
}

/* The power fails at any call, with any subset of what was not synced: no vote comes back. */
TEST_F(storage_aside, a_power_cut_at_any_call_brings_no_vote_back, struct aside_fx, aside_up,
       aside_down)
{
	uint64_t states = 0, given_up = 0;
	bool gone;

	damage(f->m, first_segment(f->m), 4096 + 80);
	memfs_copy(f->whole, f->m);
	f->m->record = true;
	REQUIRE(EXPECT_TRUE(is_sound(f, f->m, &gone)) && EXPECT_TRUE(gone));
	for (size_t n = 0; n <= f->m->ops && !t_failed(); n++) {
		for (uint64_t subset = 0; subset < SUBSETS; subset++) {
			struct memfs_choice choice = {.bits = subset, .random = subset > 1};

			memfs_crash(f->m, f->whole, n, &choice, f->image);
			states++;
			if (!is_sound(f, f->image, &gone) || !EXPECT_TRUE(gone) ||
			    !EXPECT_TRUE(count(f->image, true) >= 3)) {
				t_fail(__FILE__, __LINE__, "call %zu, subset %llu", n,
				       (unsigned long long)subset);
				break;
			}
			given_up += gone;
		}
	}
	EXPECT_U(given_up, ==, states);
	printf("%llu states after a power cut\n", (unsigned long long)states);
}

/* Otherwise it could come back to a leader that it has left for another (aside.c). */
TEST_F(storage_aside, with_a_damaged_record_nothing_is_given_up, struct aside_fx, aside_up,
       aside_down)
{
	struct sto_member m = {0};

	damage(f->m, STO_MEMBER, 30);
	EXPECT_I(start(f, f->m, &m), ==, -EBADMSG);
	damage(f->m, first_segment(f->m), 4096 + 80);
	EXPECT_I(start(f, f->m, &m), ==, -EBADMSG);
	EXPECT_I(sto_history_set_aside(&f->m->fs, "d", "d", &m), ==, -EBADMSG);
	EXPECT_I(sto_member_load(&f->m->fs, "d", &m), ==, -EBADMSG);
	EXPECT_I(count(f->m, true), ==, 0);
	EXPECT_I(count(f->m, false), ==, count(f->whole, false));
}

TEST_F(storage_aside, a_record_that_is_whole_keeps_its_promise, struct aside_fx, aside_up,
       aside_down)
{
	struct sto_member m;

	damage(f->m, first_segment(f->m), 4096 + 80);
	REQUIRE(EXPECT_I(start(f, f->m, &m), ==, 0));
	EXPECT_TRUE(is_given_up(f, &m));
	EXPECT_I(m.accepted_epoch, ==, 7);
	EXPECT_I(m.current_epoch, ==, 5);
	/* The state of a leader takes its place, and the vote is back. */
	REQUIRE(EXPECT_I(sto_stage_begin(&f->m->fs, "d", "d"), ==, 0));
	EXPECT_I(snapshot_put(&f->m->fs, "d/staged", ZXID(8, 9), SNAP_NODES), ==, 0);
	EXPECT_I(sto_stage_install(&f->m->fs, "d", "d", &(struct sto_member){8, 8, false, 0},
				   ZXID(8, 9)),
		 ==, 0);
	REQUIRE(EXPECT_I(start(f, f->m, &m), ==, 0));
	EXPECT_TRUE(!m.must_sync);
	EXPECT_I(f->recovered.last_zxid, ==, ZXID(8, 9));
	EXPECT_I(count(f->m, true), >=, 3);
}

TEST_F(storage_aside, a_segment_that_is_cut_short_before_others_is_lost,
       struct aside_fx, aside_up, aside_down)
{
	struct sto_member m;

	memfs_file(f->m, first_segment(f->m))->size = 4096 + 100; /* the ones behind it are there */
	REQUIRE(EXPECT_I(start(f, f->m, &m), ==, 0));
	EXPECT_TRUE(is_given_up(f, &m));
}

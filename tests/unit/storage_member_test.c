#include "tests/t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/file.h"
#include "storage/log.h"
#include "storage/member.h"
#include "storage/reader.h"
#include "storage/recover.h"
#include "storage/stage.h"
#include "tests/memfs.h"
#include "tests/storage.h"

enum { ENTRY = 100 };
#define ZXID(epoch, counter) ((int64_t)(epoch) << 32 | (counter))

struct member_fx {
	struct memfs *m;
	struct kept kept;
	struct sto_recovered recovered;
};

static void member_up(struct member_fx *f)
{
	f->m = malloc(sizeof(*f->m));
	memfs_init(f->m);
	f->kept.entry_bytes = ENTRY;
}

static void member_down(struct member_fx *f)
{
	EXPECT_I(memfs_open_fds(f->m), ==, 0);
	memfs_fini(f->m);
	free(f->m);
}

static struct sto_log *open_log(struct member_fx *f, const char *dir, int64_t last)
{
	static const struct sto_log_options options = {16 << 10, true, true};
	struct sto_log *log = NULL;

	EXPECT_I(sto_log_open(&log, &f->m->fs, dir, last, &options), ==, 0);
	return log;
}

static int append(struct sto_log *log, int64_t first, unsigned n)
{
	uint8_t entries[8 * (36 + ENTRY)];
	size_t len = 0;

	for (unsigned i = 0; i < n; i++)
		len += entry_put(entries + len, first + i, ENTRY);
	return sto_log_append(log, entries, len, first, first + n - 1);
}

/* A log in "d" with batches of three from `first` to `last`. */
static void put_log(struct member_fx *f, int64_t before, int64_t first, int64_t last)
{
	struct sto_log *log = open_log(f, "d", before);

	for (int64_t zxid = first; zxid <= last; zxid += 3)
		EXPECT_I(append(log, zxid, last - zxid < 2 ? (unsigned)(last - zxid) + 1 : 3), ==,
			 0);
	EXPECT_I(sto_log_close(log), ==, 0);
}

static int settle(struct member_fx *f, struct sto_member *m)
{
	return sto_member_settle(&f->m->fs, "d", "d", m);
}

static int recover(struct member_fx *f)
{
	struct sto_sink sink = kept_sink(&f->kept);

	return sto_recover(&f->m->fs, "d", "d", false, &sink, &f->recovered);
}

static bool is_member(const struct sto_member *m, int64_t accepted, int64_t current, bool must_sync)
{
	return EXPECT_I(m->accepted_epoch, ==, accepted) &&
	       EXPECT_I(m->current_epoch, ==, current) && EXPECT_I(m->must_sync, ==, must_sync);
}

/* --- the record ------------------------------------------------------------------------------ */

TEST_F(storage_member, what_is_stored_is_loaded_and_survives_a_start, struct member_fx, member_up,
       member_down)
{
	struct sto_member m = {7, 5, true, 0};

	EXPECT_I(sto_member_load(&f->m->fs, "d", &m), ==, -ENOENT);
	EXPECT_TRUE(is_member(&m, 0, 0, false));
	EXPECT_I(settle(f, &m), ==, 0);
	EXPECT_TRUE(is_member(&m, 0, 0, false));
	EXPECT_I(sto_member_store(&f->m->fs, "d", &(struct sto_member){7, 5, true, 0}), ==, 0);
	EXPECT_I(sto_member_load(&f->m->fs, "d", &m), ==, 0);
	EXPECT_TRUE(is_member(&m, 7, 5, true));
	EXPECT_I(sto_member_store(&f->m->fs, "d", &(struct sto_member){8, 8, false, 0}), ==, 0);
	EXPECT_I(settle(f, &m), ==, 0);
	EXPECT_TRUE(is_member(&m, 8, 8, false));
	/* Recovery neither takes it for anything nor takes it away. */
	EXPECT_I(recover(f), ==, 0);
	EXPECT_I(sto_member_load(&f->m->fs, "d", &m), ==, 0);
}

TEST_F(storage_member, every_flipped_bit_and_length_of_the_record_is_refused, struct member_fx,
       member_up, member_down)
{
	struct memfs_file *file;
	struct sto_member m;

	EXPECT_I(sto_member_store(&f->m->fs, "d", &(struct sto_member){7, 5, true, 0}), ==, 0);
	file = memfs_file(f->m, STO_MEMBER);
	REQUIRE(EXPECT_U(file->size, ==, STO_MEMBER_BYTES));
	for (unsigned bit = 0; bit < STO_MEMBER_BYTES * 8; bit++) {
		file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		EXPECT_I(sto_member_load(&f->m->fs, "d", &m), ==, -EBADMSG);
		EXPECT_I(settle(f, &m), ==, -EBADMSG);
		EXPECT_I(recover(f), ==, -EBADMSG);
		EXPECT_TRUE(is_member(&m, 0, 0, false));
		file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (file->size = 0; file->size < STO_MEMBER_BYTES; file->size++)
		EXPECT_I(settle(f, &m), ==, -EBADMSG);
	memfs_store(file, "x", 1, STO_MEMBER_BYTES);
	EXPECT_I(settle(f, &m), ==, -EBADMSG);
	/* What can't be known is given up by who says so. */
	EXPECT_I(sto_member_store(&f->m->fs, "d", &(struct sto_member){0, 0, true, 0}), ==, 0);
	EXPECT_I(settle(f, &m), ==, 0);
	EXPECT_TRUE(is_member(&m, 0, 0, true));
}

static void store_wrong(void *arg)
{
	struct memfs *m = arg;

	sto_member_store(&m->fs, "d", &(struct sto_member){4, 5, false, 0});
}

TEST_F(storage_member, a_promise_below_the_epoch_taken_over_is_never_written, struct member_fx,
       member_up, member_down)
{
	t_dies(store_wrong, f->m, "epochs_ok");
}

static void put_text(struct member_fx *f, const char *name, const char *text)
{
	int at = memfs_find(f->m, name);

	if (at >= 0)
		f->m->name[at].file = -1;
	if (text)
		memfs_add(f->m, name, text, strlen(text));
}

TEST_F(storage_member, zookeepers_epochs_count_until_there_is_a_record, struct member_fx, member_up,
       member_down)
{
	static const struct {
		const char *accepted, *current;
		int err;
		int64_t want_accepted, want_current;
	} cases[] = {
	    {"12", "11", 0, 12, 11},
	    {"12\n", "12 \r\n", 0, 12, 12},
	    {NULL, "3", 0, 3, 3},
	    {"4", NULL, 0, 4, 0},
	    {"0", "0", 0, 0, 0},
	    {"999999999999999999", "1", 0, 999999999999999999, 1},
	    {"1000000000000000000", "1", -EBADMSG, 0, 0},
	    {"99999999999999999999999", "1", -EBADMSG, 0, 0},
	    {"11", "12", -EBADMSG, 0, 0},
	    {"", "1", -EBADMSG, 0, 0},
	    {"-1", "1", -EBADMSG, 0, 0},
	    {"1x", "1", -EBADMSG, 0, 0},
	    {"2", "0x1", -EBADMSG, 0, 0},
	};
	struct sto_member m;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_text(f, "acceptedEpoch", cases[i].accepted);
		put_text(f, "currentEpoch", cases[i].current);
		EXPECT_I(settle(f, &m), ==, cases[i].err);
		if (!cases[i].err)
			EXPECT_TRUE(
			    is_member(&m, cases[i].want_accepted, cases[i].want_current, false));
		EXPECT_TRUE(memfs_find(f->m, STO_MEMBER) < 0);
	}
	EXPECT_I(sto_member_store(&f->m->fs, "d", &(struct sto_member){2, 1, false, 0}), ==, 0);
	EXPECT_I(settle(f, &m), ==, 0);
	EXPECT_TRUE(is_member(&m, 2, 1, false));
	EXPECT_TRUE(memfs_find(f->m, "currentEpoch") >= 0);
}

/* --- staging --------------------------------------------------------------------------------- */

static void stage(struct member_fx *f, int64_t zxid, uint64_t nodes)
{
	EXPECT_I(sto_stage_begin(&f->m->fs, "d", "d"), ==, 0);
	EXPECT_I(snapshot_put(&f->m->fs, "d/staged", zxid, nodes), ==, 0);
}

static bool has(struct member_fx *f, int64_t snapshot, int64_t last, uint64_t nodes)
{
	return EXPECT_I(recover(f), ==, 0) && EXPECT_I(f->recovered.snapshot_zxid, ==, snapshot) &&
	       EXPECT_I(f->recovered.last_zxid, ==, last) && EXPECT_U(f->kept.nodes, ==, nodes) &&
	       EXPECT_STR(f->recovered.message, "") && EXPECT_I(f->kept.wrong, ==, false);
}

TEST_F(storage_member, what_is_staged_counts_for_nothing_until_it_is_installed, struct member_fx,
       member_up, member_down)
{
	struct sto_member m;
	struct sto_log *log;

	put_log(f, 0, 1, 20);
	EXPECT_I(snapshot_put(&f->m->fs, "d", 5, 10), ==, 0);
	EXPECT_I(snapshot_put(&f->m->fs, "d", 15, 11), ==, 0);
	stage(f, 12, 30);
	log = open_log(f, "d/staged", 12);
	EXPECT_I(append(log, 13, 2), ==, 0);
	EXPECT_I(sto_log_close(log), ==, 0);
	EXPECT_TRUE(has(f, 15, 20, 11));
	EXPECT_I(sto_snap_newest(&f->m->fs, "d"), ==, 15);

	/* A shorter history with other snapshots: nothing of the old one is found. */
	EXPECT_I(sto_stage_install(&f->m->fs, "d", "d", &(struct sto_member){3, 3, false, 0}, 12),
		 ==, 0);
	EXPECT_TRUE(has(f, 12, 14, 30));
	log = open_log(f, "d", 14);
	for (int64_t zxid = 15; zxid < 200; zxid += 5) {
		REQUIRE(EXPECT_I(append(log, zxid, 5), ==, 0));
		if (zxid % 3)
			REQUIRE(EXPECT_I(sto_log_prepare(log), ==, 0));
	}
	EXPECT_I(sto_log_close(log), ==, 0);
	EXPECT_TRUE(has(f, 12, 199, 30));
	EXPECT_I(sto_snap_newest(&f->m->fs, "d"), ==, 12);
	EXPECT_I(settle(f, &m), ==, 0);
	EXPECT_TRUE(is_member(&m, 3, 3, false));
	EXPECT_TRUE(has(f, 12, 199, 30));
}

TEST_F(storage_member, a_stage_is_forgotten_by_discard_by_begin_and_by_a_start, struct member_fx,
       member_up, member_down)
{
	struct sto_member m;

	put_log(f, 0, 1, 5);
	for (int how = 0; how < 3; how++) {
		stage(f, 12, 30);
		EXPECT_TRUE(memfs_find(f->m, "staged/paddock.snapshot.000000000000000c") >= 0);
		if (how == 0)
			EXPECT_I(sto_stage_discard(&f->m->fs, "d", "d"), ==, 0);
		else if (how == 1)
			EXPECT_I(sto_stage_begin(&f->m->fs, "d", "d"), ==, 0);
		else
			EXPECT_I(settle(f, &m), ==, 0);
		EXPECT_TRUE(memfs_find(f->m, "staged/paddock.snapshot.000000000000000c") < 0);
		EXPECT_I(sto_stage_install(&f->m->fs, "d", "d", &m, 12), ==, -ENOENT);
		EXPECT_TRUE(has(f, -1, 5, 0));
	}
}

/* What was decided and not carried out: recovery must not look at it, nor may a stage be begun. */
TEST_F(storage_member, what_is_pending_is_seen_by_all, struct member_fx, member_up, member_down)
{
	struct sto_record r = {{3, 3, false, 0}, STO_PENDING_INSTALL, 12};
	struct sto_member m = {0};

	put_log(f, 0, 1, 20);
	stage(f, 12, 30);
	EXPECT_I(sto_record_store(&f->m->fs, MEMFS_DIR, &r), ==, 0);
	EXPECT_I(recover(f), ==, -EBADMSG);
	EXPECT_TRUE(strstr(f->recovered.message, STO_MEMBER) != NULL);
	EXPECT_I(sto_stage_begin(&f->m->fs, "d", "d"), ==, -EINPROGRESS);
	EXPECT_I(sto_history_cut(&f->m->fs, "d", "d", &m, 3), ==, -EINPROGRESS);
	/* A store in between keeps it. */
	EXPECT_I(sto_member_store(&f->m->fs, "d", &(struct sto_member){4, 3, false, 0}), ==, 0);
	EXPECT_I(settle(f, &m), ==, 0);
	EXPECT_TRUE(is_member(&m, 4, 3, false));
	EXPECT_TRUE(has(f, 12, 12, 30));

	/* Pending, and what was staged is gone: refused for good, until all of it is given up. */
	EXPECT_I(sto_stage_discard(&f->m->fs, "d", "d"), ==, 0);
	r.zxid = 13;
	EXPECT_I(sto_record_store(&f->m->fs, MEMFS_DIR, &r), ==, 0);
	EXPECT_I(settle(f, &m), ==, -EBADMSG);
	EXPECT_TRUE(is_member(&m, 3, 3, false));
	EXPECT_I(settle(f, &m), ==, -EBADMSG);
	EXPECT_I(sto_member_store(&f->m->fs, "d", &(struct sto_member){4, 3, true, 0}), ==, 0);
	EXPECT_I(settle(f, &m), ==, -EBADMSG);
	stage(f, 40, 31);
	EXPECT_I(sto_stage_install(&f->m->fs, "d", "d", &(struct sto_member){4, 4, false, 0}, 40),
		 ==, 0);
	EXPECT_TRUE(has(f, 40, 40, 31));
}

/* --- counter 0 ------------------------------------------------------------------------------- */

TEST_F(storage_member, a_snapshot_of_the_start_of_an_epoch_is_continued, struct member_fx,
       member_up, member_down)
{
	int64_t start = ZXID(3, 0);
	struct sto_log *log;

	/* The log of the epoch before; the snapshot; then the epoch's own, in a log opened anew. */
	put_log(f, 0, 1, 20);
	EXPECT_I(snapshot_put(&f->m->fs, "d", start, 30), ==, 0);
	EXPECT_TRUE(has(f, start, start, 30));
	log = open_log(f, "d", start);
	EXPECT_I(append(log, start + 1, 4), ==, 0);
	EXPECT_TRUE(has(f, start, start + 4, 30));
	EXPECT_I(sto_log_close(log), ==, 0);
	EXPECT_TRUE(has(f, start, start + 4, 30));
	/* Or of a later one, without an entry of this. */
	EXPECT_I(snapshot_put(&f->m->fs, "d", ZXID(5, 0), 31), ==, 0);
	log = open_log(f, "d", ZXID(5, 0));
	EXPECT_I(append(log, ZXID(7, 1), 4), ==, 0);
	EXPECT_I(sto_log_close(log), ==, 0);
	EXPECT_I(recover(f), ==, 0);
	EXPECT_I(f->recovered.last_zxid, ==, ZXID(7, 4));
	EXPECT_I(f->recovered.snapshot_zxid, ==, ZXID(5, 0));
	EXPECT_U(f->recovered.txns, ==, 4);
	EXPECT_STR(f->recovered.message, "");
}

TEST_F(storage_member, a_log_that_goes_on_over_the_start_of_an_epoch_needs_no_snapshot_of_it,
       struct member_fx, member_up, member_down)
{
	struct sto_log *log = open_log(f, "d", 0);

	EXPECT_I(append(log, 1, 8), ==, 0);
	EXPECT_I(snapshot_put(&f->m->fs, "d", ZXID(3, 0), 30), ==, 0);
	EXPECT_I(append(log, ZXID(3, 1), 4), ==, 0);
	EXPECT_I(sto_log_close(log), ==, 0);
	EXPECT_TRUE(has(f, ZXID(3, 0), ZXID(3, 4), 30));
	memfs_file(f->m, STO_SNAP_PREFIX "0000000300000000")->data[100] ^= 1;
	EXPECT_I(recover(f), ==, 0);
	EXPECT_I(f->recovered.last_zxid, ==, ZXID(3, 4));
	EXPECT_U(f->recovered.txns, ==, 12);
}

TEST_F(storage_member, recovery_takes_the_newest_snapshot_up_to_a_limit, struct member_fx,
       member_up, member_down)
{
	struct sto_sink sink = kept_sink(&f->kept);

	put_log(f, 0, 1, 20);
	EXPECT_I(snapshot_put(&f->m->fs, "d", 5, 10), ==, 0);
	EXPECT_I(snapshot_put(&f->m->fs, "d", 15, 11), ==, 0);
	for (int64_t limit = 0; limit < 20; limit++) {
		EXPECT_I(sto_recover_from(&f->m->fs, "d", "d", false, limit, &sink, &f->recovered),
			 ==, 0);
		EXPECT_I(f->recovered.snapshot_zxid, ==, limit < 5 ? -1 : limit < 15 ? 5 : 15);
		EXPECT_I(f->recovered.last_zxid, ==, 20);
		EXPECT_I(f->kept.wrong, ==, false);
	}
}

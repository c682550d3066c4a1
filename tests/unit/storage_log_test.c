#include "tests/t.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "storage/log.h"
#include "storage/recover.h"
#include "storage/segment.h"
#include "tests/memfs.h"
#include "tests/storage.h"

enum { ENTRY = 100 };

struct log_fx {
	struct memfs *m;
	struct sto_log *log;
	struct sto_log_options options;
	struct kept kept;
	struct sto_recovered recovered;
};

static void log_up(struct log_fx *f)
{
	f->m = malloc(sizeof(*f->m));
	memfs_init(f->m);
	f->options =
	    (struct sto_log_options){.segment_size = 64 << 10, .force_sync = true, .direct = true};
	f->kept.entry_bytes = ENTRY;
}

static void log_down(struct log_fx *f)
{
	memfs_fini(f->m);
	free(f->m);
}

static int append(struct sto_log *log, int64_t first, unsigned n, uint32_t bytes)
{
	uint8_t *entries = malloc(n * (size_t)(36 + bytes));
	size_t len = 0;
	int err;

	for (unsigned i = 0; i < n; i++)
		len += entry_put(entries + len, first + i, bytes);
	err = sto_log_append(log, entries, len, first, first + n - 1);
	free(entries);
	return err;
}

static int recover(struct log_fx *f, bool accept_loss)
{
	struct sto_sink sink = kept_sink(&f->kept);

	return sto_recover(&f->m->fs, "d", "d", accept_loss, &sink, &f->recovered);
}

static void open_log(struct log_fx *f, int64_t last)
{
	EXPECT_I(sto_log_open(&f->log, &f->m->fs, "d", last, &f->options), ==, 0);
}

TEST_F(storage_log, nothing_recovers_to_nothing, struct log_fx, log_up, log_down)
{
	EXPECT_I(recover(f, false), ==, 0);
	EXPECT_I(f->recovered.snapshot_zxid, ==, -1);
	EXPECT_I(f->recovered.last_zxid, ==, 0);
	EXPECT_U(f->kept.begins, ==, 1);
	EXPECT_STR(f->recovered.message, "");
}

TEST_F(storage_log, what_was_appended_is_recovered_across_segments_and_lives, struct log_fx, log_up,
       log_down)
{
	int64_t last = 0;

	for (int life = 0; life < 4; life++) {
		open_log(f, last);
		for (unsigned n = 1; n < 80; n++, last += n - 1)
			REQUIRE(EXPECT_I(append(f->log, last + 1, n, ENTRY), ==, 0));
		if (life % 2)
			EXPECT_I(sto_log_close(f->log), ==, 0);
		EXPECT_I(recover(f, false), ==, 0);
		EXPECT_I(f->recovered.last_zxid, ==, last);
		EXPECT_U(f->recovered.txns, ==, last);
		EXPECT_I(f->kept.wrong, ==, false);
		EXPECT_STR(f->recovered.message, "");
		if (life % 2 == 0)
			EXPECT_I(sto_log_close(f->log), ==, 0);
	}
	EXPECT_I(memfs_open_fds(f->m), ==, 0);
}

TEST_F(storage_log, a_batch_larger_than_a_block_and_a_segment_is_whole, struct log_fx, log_up,
       log_down)
{
	enum { N = 20000, BYTES = 130 };

	f->kept.entry_bytes = BYTES;
	open_log(f, 0);
	EXPECT_I(append(f->log, 1, 3, BYTES), ==, 0);
	EXPECT_I(append(f->log, 4, N, BYTES), ==, 0);
	EXPECT_I(append(f->log, 4 + N, 1, BYTES), ==, 0);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	EXPECT_I(recover(f, false), ==, 0);
	EXPECT_U(f->recovered.txns, ==, N + 4);
	EXPECT_I(f->kept.wrong, ==, false);
}

TEST_F(storage_log, one_entry_larger_than_a_block_is_whole, struct log_fx, log_up, log_down)
{
	f->kept.entry_bytes = 0;
	open_log(f, 0);
	EXPECT_I(append(f->log, 1, 1, 5 << 20), ==, 0);
	EXPECT_I(append(f->log, 2, 1, 1), ==, 0);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	EXPECT_I(recover(f, false), ==, 0);
	EXPECT_I(f->recovered.last_zxid, ==, 2);
}

TEST_F(storage_log, linked_blocks_of_one_entry_compress, struct log_fx, log_up, log_down)
{
	uint8_t entry[36 + 200];
	struct memfs_file *file;
	struct sto_block_head h;
	struct sto_seg_head head;
	uint64_t stored = 0, blocks = 0;

	open_log(f, 0);
	for (int64_t zxid = 1; zxid <= 10; zxid++) {
		entry_put(entry, zxid, 200);
		memset(entry + 36, 'x', 20);
		for (int i = 0; i < 180; i++)
			entry[56 + i] = (uint8_t)mix((uint64_t)i);
		REQUIRE(EXPECT_I(sto_log_append(f->log, entry, sizeof(entry), zxid, zxid), ==, 0));
	}
	file = memfs_file(f->m, STO_LOG_PREFIX "0000000000000001");
	REQUIRE(EXPECT_TRUE(file && sto_seg_head_get(file->data, file->size, &head)));
	for (uint64_t at = STO_PAGE_BYTES;
	     sto_block_head_get(file->data + at, file->size - at, head.id, at, &h);
	     at += STO_PAGE_BYTES, blocks++)
		stored += blocks ? h.stored_len : 0;
	EXPECT_U(blocks, ==, 10);
	EXPECT_U(stored, <, 9 * 60);
	EXPECT_I(sto_log_close(f->log), ==, 0);
}

TEST_F(storage_log, works_without_direct_and_without_sync, struct log_fx, log_up, log_down)
{
	f->m->no_direct = true;
	open_log(f, 0);
	EXPECT_I(append(f->log, 1, 5, ENTRY), ==, 0);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	f->options.force_sync = false;
	f->m->record = true;
	open_log(f, 5);
	EXPECT_I(append(f->log, 6, 5, ENTRY), ==, 0);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	for (size_t i = 0; i < f->m->ops; i++)
		EXPECT_TRUE(f->m->op[i].kind != MEMFS_SYNC && f->m->op[i].kind != MEMFS_DIRSYNC);
	f->m->record = false;
	EXPECT_I(recover(f, false), ==, 0);
	EXPECT_I(f->recovered.last_zxid, ==, 10);
	EXPECT_I(f->kept.wrong, ==, false);
}

TEST_F(storage_log, out_of_space_is_told_early_and_append_lives_on_the_reserve, struct log_fx,
       log_up, log_down)
{
	int64_t zxid = 1;

	f->options.segment_size = 16 << 20; /* the first one after an open is of 4 MiB */
	f->m->space = 5 << 20;
	open_log(f, 0);
	EXPECT_I(append(f->log, zxid++, 1, ENTRY), ==, 0);
	EXPECT_I(sto_log_prepare(f->log), ==, -ENOSPC);
	for (uint64_t room = sto_log_room(f->log); room; room = sto_log_room(f->log), zxid++) {
		REQUIRE(EXPECT_I(append(f->log, zxid, 1, ENTRY), ==, 0));
		EXPECT_U(sto_log_room(f->log), ==, room - STO_PAGE_BYTES);
	}
	EXPECT_I(append(f->log, zxid, 1, ENTRY), ==, -ENOSPC);
	EXPECT_I(append(f->log, zxid, 1, ENTRY), ==, -ENOSPC);
	f->m->space = 0;
	EXPECT_I(append(f->log, zxid, 1, ENTRY), ==, 0);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	EXPECT_I(recover(f, false), ==, 0);
	EXPECT_I(f->recovered.last_zxid, ==, zxid);
	EXPECT_I(f->kept.wrong, ==, false);
}

TEST_F(storage_log, segments_grow_to_their_size, struct log_fx, log_up, log_down)
{
	uint64_t room, before, mib = 1 << 20, grown[] = {4, 8, 16, 16};
	int64_t zxid = 1;

	f->options.segment_size = 16 * mib;
	open_log(f, 0);
	for (unsigned i = 0; i < 4; i++) {
		before = sto_log_room(f->log);
		if (i)
			EXPECT_I(sto_log_prepare(f->log), ==, 0);
		room = sto_log_room(f->log);
		EXPECT_U(room - (i ? before : 0), ==, grown[i] * mib - STO_PAGE_BYTES);
		sto_log_roll(f->log);
		EXPECT_I(append(f->log, zxid++, 1, ENTRY), ==, 0);
	}
	EXPECT_I(sto_log_close(f->log), ==, 0);
}

TEST_F(storage_log, on_a_full_disk_it_opens_with_what_there_is, struct log_fx, log_up, log_down)
{
	int64_t zxid = 1;

	f->options.segment_size = 1 << 20;
	f->m->space = 40 << 10; /* less than any segment but a small one */
	open_log(f, 0);
	EXPECT_TRUE(sto_log_is_scant(f->log));
	EXPECT_I(sto_log_prepare(f->log), ==, -ENOSPC);
	EXPECT_TRUE(sto_log_is_scant(f->log));
	while (sto_log_room(f->log) >= STO_PAGE_BYTES)
		REQUIRE(EXPECT_I(append(f->log, zxid++, 1, ENTRY), ==, 0));
	EXPECT_I(append(f->log, zxid, 1, ENTRY), ==, -ENOSPC);
	EXPECT_TRUE(sto_log_is_tight(f->log, 0));
	f->m->space = 0;
	EXPECT_I(sto_log_prepare(f->log), ==, 0);
	EXPECT_TRUE(!sto_log_is_scant(f->log));
	EXPECT_TRUE(!sto_log_is_tight(f->log, 100000));
	EXPECT_I(append(f->log, zxid++, 1, ENTRY), ==, 0);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	EXPECT_I(recover(f, false), ==, 0);
	EXPECT_I(f->recovered.last_zxid, ==, zxid - 1);
	EXPECT_I(memfs_open_fds(f->m), ==, 0);
}

TEST_F(storage_log, opens_without_any_space_and_a_small_spare_makes_way, struct log_fx, log_up,
       log_down)
{
	f->options.segment_size = 1 << 20;
	f->m->space = 1;
	open_log(f, 0);
	EXPECT_U(sto_log_room(f->log), ==, 0);
	EXPECT_I(append(f->log, 1, 1, ENTRY), ==, -ENOSPC);
	f->m->space = 40 << 10;
	EXPECT_I(sto_log_prepare(f->log), ==, -ENOSPC);
	f->m->space = 0;
	EXPECT_I(sto_log_prepare(f->log), ==, 0);
	EXPECT_U(sto_log_room(f->log), >=, 1 << 19);
	EXPECT_I(append(f->log, 1, 1, ENTRY), ==, 0);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	EXPECT_I(memfs_open_fds(f->m), ==, 0);
}

TEST_F(storage_log, after_an_error_of_write_every_call_fails, struct log_fx, log_up, log_down)
{
	open_log(f, 0);
	EXPECT_I(append(f->log, 1, 1, ENTRY), ==, 0);
	f->m->fail_at = f->m->calls + 1;
	f->m->fail_errno = EIO;
	EXPECT_I(append(f->log, 2, 1, ENTRY), ==, -EIO);
	EXPECT_I(append(f->log, 2, 1, ENTRY), ==, -EIO);
	EXPECT_I(sto_log_seal(f->log), ==, -EIO);
	EXPECT_I(sto_log_close(f->log), ==, -EIO);
	EXPECT_I(recover(f, false), ==, 0);
	EXPECT_I(f->recovered.last_zxid, >=, 1);
	EXPECT_I(f->recovered.last_zxid, <=, 2); /* half a page may hold all of it */
	EXPECT_I(f->kept.wrong, ==, false);
}

static void append_out_of_order(void *arg)
{
	append(arg, 7, 1, ENTRY);
}

TEST_F(storage_log, a_zxid_that_does_not_follow_aborts, struct log_fx, log_up, log_down)
{
	open_log(f, 5);
	t_dies(append_out_of_order, f->log, "sto_zxid_follows");
	EXPECT_I(append(f->log, (1LL << 32) + 1, 1, ENTRY), ==, 0);
	EXPECT_I(sto_log_close(f->log), ==, 0);
}

TEST_F(storage_log, a_missing_segment_is_rot_and_accepted_loss_keeps_what_was_before, struct log_fx,
       log_up, log_down)
{
	char name[STO_NAME_MAX];
	int64_t zxid = 1;

	open_log(f, 0);
	while (f->m->files < 5)
		REQUIRE(EXPECT_I(append(f->log, zxid++, 1, ENTRY), ==, 0));
	EXPECT_I(sto_log_close(f->log), ==, 0);
	/* Segments of 16 pages: a head, 14 blocks, room for a seal. */
	sto_name(name, STO_LOG_PREFIX, 15);
	REQUIRE(EXPECT_I(memfs_unlink(f->m, 0, name), ==, 0));
	EXPECT_I(recover(f, false), ==, -EBADMSG);
	EXPECT_TRUE(strstr(f->recovered.message, "zxids 0xf-0x1c are missing") != NULL);
	EXPECT_I(recover(f, true), ==, 0);
	EXPECT_I(f->recovered.last_zxid, ==, 14);
	EXPECT_I(f->kept.wrong, ==, false);
	EXPECT_TRUE(memfs_find(f->m, STO_LOG_PREFIX "000000000000001d.lost") >= 0);
	EXPECT_I(recover(f, false), ==, 0);
	EXPECT_I(f->recovered.last_zxid, ==, 14);
	EXPECT_STR(f->recovered.message, "");
}

struct appender {
	struct sto_log *log;
	_Atomic bool stop;
	int failed;
};

static void *keep_prepared(void *arg)
{
	struct appender *a = arg;

	while (!a->stop)
		a->failed |= sto_log_prepare(a->log);
	return NULL;
}

/* On a real file system, with the other thread at work: what a server does. */
static void append_for_real(const char *dir, bool direct)
{
	struct sto_log_options options = {
	    .segment_size = 256 << 10, .force_sync = true, .direct = direct};
	struct appender a = {0};
	struct kept kept = {.entry_bytes = ENTRY};
	struct sto_sink sink = kept_sink(&kept);
	struct sto_recovered recovered;
	pthread_t thread;

	REQUIRE(EXPECT_I(sto_log_open(&a.log, &sto_fs_posix, dir, 0, &options), ==, 0));
	pthread_create(&thread, NULL, keep_prepared, &a);
	for (int64_t zxid = 1; zxid <= 200; zxid++)
		EXPECT_I(append(a.log, zxid, 1, ENTRY), ==, 0);
	EXPECT_U(sto_log_bytes_since_open(a.log), ==, 200 * STO_PAGE_BYTES);
	a.stop = true;
	pthread_join(thread, NULL);
	EXPECT_I(a.failed, ==, 0);
	EXPECT_I(sto_log_close(a.log), ==, 0);
	EXPECT_I(sto_recover(&sto_fs_posix, dir, dir, false, &sink, &recovered), ==, 0);
	EXPECT_STR(recovered.message, "");
	EXPECT_I(kept.last_zxid, ==, 200);
	EXPECT_I(kept.wrong, ==, false);
}

TEST(storage_log, a_real_directory_with_two_threads)
{
	for (int direct = 0; direct < 2; direct++) {
		char dir[] = "/tmp/paddock-test-XXXXXX", version2[64], command[80];

		REQUIRE(EXPECT_TRUE(mkdtemp(dir) != NULL));
		EXPECT_I(sto_dir_make(dir, version2, sizeof(version2)), ==, 0);
		append_for_real(version2, direct);
		snprintf(command, sizeof(command), "rm -r %s", dir);
		EXPECT_I(system(command), ==, 0);
	}
}

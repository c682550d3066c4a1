#include "tests/t.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/log.h"
#include "storage/recover.h"
#include "storage/segment.h"
#include "storage/snapfile.h"
#include "tests/memfs.h"
#include "tests/storage.h"

struct snap_fx {
	struct memfs *m;
	struct kept kept;
	struct sto_recovered recovered;
};

static void snap_up(struct snap_fx *f)
{
	f->m = malloc(sizeof(*f->m));
	memfs_init(f->m);
}

static void snap_down(struct snap_fx *f)
{
	EXPECT_I(memfs_open_fds(f->m), ==, 0);
	memfs_fini(f->m);
	free(f->m);
}

static int recover(struct snap_fx *f)
{
	struct sto_sink sink = kept_sink(&f->kept);

	return sto_recover(&f->m->fs, "d", "d", false, &sink, &f->recovered);
}

static int log_put(struct memfs *m, int64_t last, int64_t to)
{
	struct sto_log_options options = {.segment_size = 32 << 10, .force_sync = true};
	struct sto_log *log;
	uint8_t entry[64];
	int err = sto_log_open(&log, &m->fs, "d", last, &options);

	while (!err && last < to) {
		last++;
		err = sto_log_append(log, entry, entry_put(entry, last, 20), last, last);
	}
	return sto_log_close(log) | err;
}

/* Every field and every form of record, against the sums of what was put. */
TEST_F(storage_snap, every_field_comes_back, struct snap_fx, snap_up, snap_down)
{
	static const char paths[][16] = {"/", "/a", "/ab", "/a/b", "/b", "/bbbbbbbbbbbb"};
	struct sto_snap_head head = {.zxid = 0x500000007, .nodes = 6, .sessions = 1};
	struct sto_snap_head loaded;
	struct sto_snap_writer *w;
	struct kept put = {0};
	struct sto_sink direct = kept_sink(&put), sink = kept_sink(&f->kept);
	char why[STO_WHY_MAX];

	kept_begin(&put, &head);
	REQUIRE(EXPECT_I(sto_snap_begin(&w, &f->m->fs, "d", &head), ==, 0));
	EXPECT_I(sto_snap_session(w, INT64_MIN + 5, INT32_MAX), ==, 0);
	direct.session(&put, INT64_MIN + 5, INT32_MAX);
	for (unsigned i = 0; i < 6; i++) {
		struct sto_snap_node n = {
		    .path = paths[i],
		    .path_len = (uint32_t)strlen(paths[i]),
		    .data_len = (int32_t)i - 1,
		    .data = "data!",
		    .acl = (const uint8_t *)"acl",
		    .acl_len = i % 4,
		    .version = i == 1 ? INT32_MIN : (int32_t)i % 2,
		    .cversion = i == 2 ? INT32_MAX : (int32_t)i % 3,
		    .aversion = i == 3 ? -1 : 0,
		    .owner = i == 4 ? INT64_MIN : 0,
		    .czxid = i == 5 ? INT64_MAX : (int64_t)i,
		    .mzxid = i == 1 ? INT64_MIN : (int64_t)i,
		    .ctime = i == 2 ? INT64_MIN : 5,
		    .mtime = i == 3 ? INT64_MAX : 5,
		    .pzxid = i == 4 ? INT64_MIN : (int64_t)i,
		};

		EXPECT_I(sto_snap_put(w, &n), ==, 0);
		direct.node(&put, &n);
	}
	REQUIRE(EXPECT_I(sto_snap_commit(w, &head), ==, 0));
	EXPECT_I(sto_snap_load(&f->m->fs, MEMFS_DIR, head.zxid, &sink, &loaded, NULL, why), ==, 0);
	EXPECT_U(f->kept.sum, ==, put.sum);
	EXPECT_U(f->kept.nodes, ==, 6);
	EXPECT_U(loaded.sessions, ==, 1);
}

/* Large enough for the thread ahead, several blocks, many ACLs, and data beyond a block. */
TEST_F(storage_snap, large_snapshots_come_back, struct snap_fx, snap_up, snap_down)
{
	enum { NODES = 40000 };
	static uint8_t huge[1 << 20];
	struct sto_snap_head head = {.zxid = 9, .nodes = NODES + 1}, loaded;
	struct sto_snap_writer *w;
	struct kept put = {0};
	struct sto_sink sink = kept_sink(&f->kept);
	char path[64], why[STO_WHY_MAX];

	kept_begin(&put, &head);
	for (size_t i = 0; i < sizeof(huge); i++)
		huge[i] = (uint8_t)mix(i);
	REQUIRE(EXPECT_I(sto_snap_begin(&w, &f->m->fs, "d", &head), ==, 0));
	for (unsigned i = 0; i <= NODES; i++) {
		uint64_t acl = mix(i % 3000);
		struct sto_snap_node n = {
		    .path = path,
		    .path_len = (uint32_t)snprintf(path, sizeof(path), "/p/%d/%010u", i / 100, i),
		    .data = huge + i,
		    .data_len = i == NODES / 2 ? (1 << 20) - NODES : 50,
		    .acl = (const uint8_t *)&acl,
		    .acl_len = 8,
		    .czxid = i,
		};

		EXPECT_I(sto_snap_put(w, &n), ==, 0);
		kept_node(&put, &n);
	}
	REQUIRE(EXPECT_I(sto_snap_commit(w, &head), ==, 0));
	EXPECT_I(sto_snap_load(&f->m->fs, MEMFS_DIR, 9, &sink, &loaded, NULL, why), ==, 0);
	EXPECT_U(f->kept.sum, ==, put.sum);

	/* The sink's word ends it, with the thread ahead at work. */
	int error = 0;

	f->kept.fail_after = 3000;
	f->kept.fail_errno = ENOMEM;
	EXPECT_I(sto_snap_load(&f->m->fs, MEMFS_DIR, 9, &sink, &loaded, &error, why), ==,
		 -ECANCELED);
	EXPECT_I(error, ==, -ENOMEM);
}

TEST_F(storage_snap, the_newest_good_snapshot_and_the_log_behind_it, struct snap_fx, snap_up,
       snap_down)
{
	struct memfs_file *newest;

	EXPECT_I(log_put(f->m, 0, 50), ==, 0);
	EXPECT_I(snapshot_put(&f->m->fs, "d", 20, 30), ==, 0);
	EXPECT_I(snapshot_put(&f->m->fs, "d", 40, 60), ==, 0);
	memfs_add(f->m, "paddock.snapshot.0000000000000063.1.tmp", "x", 1);
	EXPECT_I(recover(f), ==, 0);
	EXPECT_I(f->recovered.snapshot_zxid, ==, 40);
	EXPECT_I(f->recovered.last_zxid, ==, 50);
	EXPECT_U(f->recovered.txns, ==, 10);
	EXPECT_U(f->kept.nodes, ==, 60);
	EXPECT_U(f->kept.loaded.digest, ==, 7);
	EXPECT_I(memfs_find(f->m, "paddock.snapshot.0000000000000063.1.tmp"), <, 0);

	newest = memfs_file(f->m, STO_SNAP_PREFIX "0000000000000028");
	newest->data[newest->size / 2] ^= 1;
	EXPECT_I(recover(f), ==, 0);
	EXPECT_I(f->recovered.snapshot_zxid, ==, 20);
	EXPECT_I(f->recovered.last_zxid, ==, 50);
	EXPECT_U(f->recovered.txns, ==, 30);
	EXPECT_I(f->kept.wrong, ==, false);
	EXPECT_TRUE(strstr(f->recovered.message, "snapshot.0000000000000028: ") != NULL);
}

TEST_F(storage_snap, a_log_that_begins_behind_the_snapshot_is_refused, struct snap_fx, snap_up,
       snap_down)
{
	EXPECT_I(snapshot_put(&f->m->fs, "d", 20, 30), ==, 0);
	EXPECT_I(log_put(f->m, 21, 30), ==, 0);
	EXPECT_I(recover(f), ==, -EBADMSG);
	EXPECT_TRUE(strstr(f->recovered.message, "zxids 0x15-0x15 are missing") != NULL);
}

TEST_F(storage_snap, a_snapshot_ahead_of_the_log_is_fine_and_the_log_goes_on_from_it,
       struct snap_fx, snap_up, snap_down)
{
	EXPECT_I(log_put(f->m, 0, 10), ==, 0);
	EXPECT_I(snapshot_put(&f->m->fs, "d", 20, 30), ==, 0);
	EXPECT_I(recover(f), ==, 0);
	EXPECT_I(f->recovered.last_zxid, ==, 20);
	EXPECT_I(log_put(f->m, 20, 30), ==, 0);
	EXPECT_I(recover(f), ==, 0);
	EXPECT_I(f->recovered.last_zxid, ==, 30);
	EXPECT_U(f->recovered.txns, ==, 10);
}

TEST_F(storage_snap, rotten_snapshots_without_a_whole_log_are_refused, struct snap_fx, snap_up,
       snap_down)
{
	EXPECT_I(snapshot_put(&f->m->fs, "d", 20, 30), ==, 0);
	memfs_file(f->m, STO_SNAP_PREFIX "0000000000000014")->data[100] ^= 1;
	EXPECT_I(recover(f), ==, -EBADMSG);
	EXPECT_I(log_put(f->m, 20, 30), ==, 0);
	EXPECT_I(recover(f), ==, -EBADMSG);
}

TEST_F(storage_snap, purge_keeps_three_good_snapshots_and_the_log_behind_them, struct snap_fx,
       snap_up, snap_down)
{
	EXPECT_I(log_put(f->m, 0, 100), ==, 0);
	for (int64_t zxid = 62; zxid <= 92; zxid += 10)
		EXPECT_I(snapshot_put(&f->m->fs, "d", zxid, 30), ==, 0);
	memfs_file(f->m, STO_SNAP_PREFIX "0000000000000052")->data[100] ^= 1;
	EXPECT_I(sto_purge(&f->m->fs, "d", "d", 4), ==, 0);
	EXPECT_I(sto_purge(&f->m->fs, "d", "d", 0), >, 0);
	EXPECT_TRUE(memfs_find(f->m, STO_SNAP_PREFIX "000000000000003e") >= 0);
	EXPECT_TRUE(memfs_find(f->m, STO_LOG_PREFIX "0000000000000001") < 0);
	EXPECT_I(sto_purge(&f->m->fs, "d", "d", 0), ==, 0);
	memfs_file(f->m, STO_SNAP_PREFIX "000000000000005c")->data[100] ^= 1;
	memfs_file(f->m, STO_SNAP_PREFIX "0000000000000048")->data[100] ^= 1;
	EXPECT_I(recover(f), ==, 0);
	EXPECT_I(f->recovered.snapshot_zxid, ==, 62);
	EXPECT_I(f->recovered.last_zxid, ==, 100);
	EXPECT_I(f->kept.wrong, ==, false);
}

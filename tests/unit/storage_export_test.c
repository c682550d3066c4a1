/* From our files to ZooKeeper's, and back by the code that reads what ZooKeeper itself wrote. */
#include "tests/t.h"

#include <stdio.h>
#include <stdlib.h>

#include "jute/txn.h"
#include "storage/export.h"
#include "storage/import.h"
#include "storage/log.h"
#include "storage/zksnap.h"
#include "tests/memfs.h"
#include "tests/storage.h"

enum { SNAP_ZXID = 0x200000500, TXNS = 40, NODES = 600, BIG = 700 << 10, LISTS = 50, DIGEST = 7 };

struct export_fx {
	struct memfs *m;
	struct kept ours, theirs;
	struct sto_exported out;
	uint8_t *big;
};

static void up(struct export_fx *f)
{
	f->m = malloc(sizeof(*f->m));
	memfs_init(f->m);
	f->big = calloc(1, BIG);
}

static void down(struct export_fx *f)
{
	EXPECT_I(memfs_open_fds(f->m), ==, 0);
	memfs_fini(f->m);
	free(f->m);
	free(f->big);
}

/* No list, the open one, or one of many. */
static uint32_t acl_put(uint8_t *to, size_t cap, uint64_t i)
{
	struct jute_out out = jute_out_of(to, cap);
	char id[16];

	if (i % 5 == 0)
		return 0;
	snprintf(id, sizeof(id), "10.0.0.%d", (int)(i % LISTS));
	jute_put_int(&out, 1);
	jute_put_int(&out, i % 5 == 1 ? 31 : 1);
	jute_put_ustring(&out, jute_text(i % 5 == 1 ? "world" : "ip"));
	jute_put_ustring(&out, jute_text(i % 5 == 1 ? "anyone" : id));
	return (uint32_t)jute_size(&out, to);
}

static void put_snapshot(struct export_fx *f)
{
	struct sto_snap_head head = {
	    .zxid = SNAP_ZXID, .nodes = NODES, .sessions = 3, .digest = DIGEST};
	struct sto_snap_writer *w;
	uint8_t acl[64];
	char path[64];

	REQUIRE(EXPECT_I(sto_snap_begin(&w, &f->m->fs, "d", &head), ==, 0));
	for (int64_t id = 0; id < 3; id++)
		sto_snap_session(w, INT64_MIN + id, (int32_t)id * 1000);
	for (uint64_t i = 0; i < NODES; i++) {
		struct sto_snap_node n = {
		    .path = path,
		    .data = f->big,
		    .data_len = i == 77 ? BIG : (int32_t)(i % 9) - 1,
		    .acl = acl,
		    .acl_len = acl_put(acl, sizeof(acl), i),
		    .version = (int32_t)mix(i),
		    .cversion = (int32_t)mix(i + 1),
		    .aversion = (int32_t)mix(i + 2),
		    .owner = (int64_t)mix(i + 3),
		    .czxid = (int64_t)mix(i + 4),
		    .mzxid = (int64_t)mix(i + 5),
		    .ctime = (int64_t)mix(i + 6),
		    .mtime = (int64_t)mix(i + 7),
		    .pzxid = (int64_t)mix(i + 8),
		};

		n.path_len = (uint32_t)snprintf(path, sizeof(path), i ? "/node-%d" : "/", (int)i);
		sto_snap_put(w, &n);
	}
	REQUIRE(EXPECT_I(sto_snap_commit(w, &head), ==, 0));
}

static void put_log(struct export_fx *f, int64_t last)
{
	struct sto_log_options options = {.segment_size = 32 << 10, .force_sync = true};
	struct sto_log *log;
	int err = sto_log_open(&log, &f->m->fs, "d", last, &options);

	for (int i = 1; i <= TXNS && !err; i++) {
		uint8_t entry[64];
		struct jute_out out = jute_out_of(entry + 4, sizeof(entry) - 4);
		struct zk_txn_header h = {i % 3, i, last + i, 1700000000000, ZK_OP_ERROR};

		zk_txn_header_encode(&out, &h);
		jute_put_int(&out, ZNONODE);
		le32_put(entry, (uint32_t)jute_size(&out, entry + 4));
		err = sto_log_append(log, entry, jute_size(&out, entry), last + i, last + i);
	}
	EXPECT_I(sto_log_close(log) | err, ==, 0);
}

static int export(struct export_fx *f)
{
	return sto_export(&f->m->fs, "d", "d", &f->m->fs, "d", &f->out);
}

static void expect_same(struct export_fx *f)
{
	struct sto_sink ours = kept_sink(&f->ours), theirs = kept_sink(&f->theirs);
	struct sto_recovered a, b;

	REQUIRE(EXPECT_I(sto_recover(&f->m->fs, "d", "d", false, &ours, &a), ==, 0));
	REQUIRE(EXPECT_I(sto_import(&f->m->fs, "d", "d", &theirs, &b), ==, 0));
	EXPECT_STR(b.message, "");
	EXPECT_I(a.snapshot_zxid, ==, b.snapshot_zxid);
	EXPECT_I(a.last_zxid, ==, b.last_zxid);
	EXPECT_U(f->ours.nodes, ==, f->theirs.nodes);
	EXPECT_U(f->ours.sessions, ==, f->theirs.sessions);
	EXPECT_U(f->ours.txns, ==, f->theirs.txns);
	EXPECT_U(f->ours.sum, ==, f->theirs.sum);
	EXPECT_U(f->ours.loaded.digest, ==, f->theirs.loaded.digest);
}

TEST_F(storage_export, what_is_exported_is_imported_byte_for_byte, struct export_fx, up, down)
{
	put_snapshot(f);
	put_log(f, SNAP_ZXID);
	REQUIRE(EXPECT_I(export(f), ==, 0));
	EXPECT_STR(f->out.message, "");
	EXPECT_U(f->out.nodes, ==, NODES);
	EXPECT_U(f->out.found.txns, ==, TXNS);
	EXPECT_TRUE(memfs_file(f->m, "snapshot.200000500") != NULL);
	EXPECT_TRUE(memfs_file(f->m, "log.200000501") != NULL);
	expect_same(f);
	EXPECT_U(f->theirs.loaded.digest, ==, DIGEST);
}

TEST_F(storage_export, without_a_log_there_is_none, struct export_fx, up, down)
{
	put_snapshot(f);
	REQUIRE(EXPECT_I(export(f), ==, 0));
	expect_same(f);
	EXPECT_I(f->theirs.last_zxid, ==, SNAP_ZXID);
}

/* ZooKeeper starts on no log without a snapshot. */
TEST_F(storage_export, a_log_alone_stands_on_the_initial_nodes, struct export_fx, up, down)
{
	struct sto_sink sink = kept_sink(&f->theirs);
	struct sto_recovered found;

	put_log(f, 0);
	REQUIRE(EXPECT_I(export(f), ==, 0));
	REQUIRE(EXPECT_I(sto_import(&f->m->fs, "d", "d", &sink, &found), ==, 0));
	EXPECT_I(found.snapshot_zxid, ==, 0);
	EXPECT_I(found.last_zxid, ==, TXNS);
	EXPECT_U(f->theirs.nodes, ==, 4);
}

TEST_F(storage_export, nothing_of_zookeepers_is_overwritten, struct export_fx, up, down)
{
	put_snapshot(f);
	memfs_add(f->m, "log.7", "x", 1);
	EXPECT_I(export(f), ==, -EEXIST);
	EXPECT_U(memfs_file(f->m, "log.7")->size, ==, 1);
	EXPECT_TRUE(f->out.message[0] != 0);
}

TEST_F(storage_export, of_nothing_nothing_comes, struct export_fx, up, down)
{
	EXPECT_I(export(f), ==, -ENODATA);
}

static bool has_name(struct memfs *m, const char *prefix)
{
	for (int i = 0; i < MEMFS_NAMES; i++)
		if (m->name[i].file >= 0 && !strncmp(m->name[i].name, prefix, strlen(prefix)))
			return true;
	return false;
}

/* Each call fails in turn; what is left is whole, or not there. */
TEST_F(storage_export, a_failed_export_leaves_nothing, struct export_fx, up, down)
{
	uint64_t failed = 0;

	put_snapshot(f);
	put_log(f, SNAP_ZXID);
	for (uint64_t n = 1;; n++) {
		bool reached;
		int err;

		f->m->calls = 0;
		f->m->fail_at = n;
		f->m->fail_errno = EIO;
		err = export(f);
		reached = f->m->calls >= n;
		f->m->fail_at = 0;
		if (!err)
			expect_same(f);
		else
			failed++;
		EXPECT_TRUE(!err || f->out.message[0] || f->out.found.message[0]);
		REQUIRE(EXPECT_I(has_name(f->m, "snapshot."), ==, !err));
		REQUIRE(EXPECT_I(has_name(f->m, "log."), ==, !err));
		if (!err) {
			memfs_unlink(f->m, 0, "snapshot.200000500");
			memfs_unlink(f->m, 0, "log.200000501");
		}
		if (!reached)
			break;
	}
	EXPECT_U(failed, >, 20);
}

/* --- the reader, as streams come ------------------------------------------------------------- */

static size_t load_file(const char *path, uint8_t *to, size_t cap)
{
	FILE *file = fopen(path, "rb");
	size_t n = file ? fread(to, 1, cap, file) : 0;

	if (file)
		fclose(file);
	return n;
}

/* Give the bytes in pieces of `piece`; what was not used comes again. sto_zk_read()'s last word. */
static int read_in_pieces(struct sto_zk_reader *r, const uint8_t *bytes, size_t n, size_t piece,
			  size_t *done)
{
	size_t have = 0, used;
	int got = 0;

	*done = 0;
	while (!got && have < n) {
		have = n - have < piece ? n : have + piece;
		got = sto_zk_read(r, bytes + *done, have - *done, &used);
		*done += used;
	}
	return got;
}

enum { FILE_MAX = 64 << 10, TAIL_OF_38 = 13 + 20 + 13 };

TEST(storage_zksnap, a_file_in_pieces_of_any_size_is_the_file)
{
	static uint8_t bytes[FILE_MAX];
	size_t n = load_file("tests/corpus/zookeeper/snapshot.22", bytes, sizeof(bytes)), done;
	uint64_t sum = 0;

	REQUIRE(EXPECT_U(n, >, TAIL_OF_38));
	for (size_t piece = n; piece; piece = piece * 2 / 3) {
		struct kept kept = {0};
		struct sto_sink sink = kept_sink(&kept);
		struct sto_zk_reader r;

		sto_zk_reader_file(&r, &sink, 0x22);
		REQUIRE(EXPECT_I(read_in_pieces(&r, bytes, n, piece, &done), ==, 0));
		EXPECT_I(sto_zk_read_end(&r, n - done), ==, 0);
		EXPECT_TRUE(r.head.digest != 0);
		EXPECT_U(r.head.nodes, ==, kept.nodes);
		sum = sum ? sum : kept.sum;
		EXPECT_U(kept.sum, ==, sum);
		sto_zk_reader_fini(&r);
	}
}

/* From the same file what a leader would send, and three bytes of the next packet. */
static size_t as_stream(uint8_t *bytes, size_t n)
{
	static const uint8_t sign[] = "\0\0\0\nBenWasHere:-)";

	n -= ZK_SNAP_HEAD_SIZE + TAIL_OF_38;
	memmove(bytes, bytes + ZK_SNAP_HEAD_SIZE, n);
	memcpy(bytes + n, sign, sizeof(sign) - 1);
	return n + sizeof(sign) - 1;
}

TEST(storage_zksnap, a_stream_ends_with_its_signature)
{
	static uint8_t bytes[FILE_MAX];
	size_t n = load_file("tests/corpus/zookeeper/snapshot.22", bytes, FILE_MAX - 100), done;

	REQUIRE(EXPECT_U(n, >, TAIL_OF_38));
	n = as_stream(bytes, n);
	for (size_t piece = n; piece; piece = piece * 2 / 3) {
		struct kept kept = {0};
		struct sto_sink sink = kept_sink(&kept);
		struct sto_zk_reader r;

		sto_zk_reader_stream(&r, &sink, 0x22, 1 << 20);
		EXPECT_I(read_in_pieces(&r, bytes, n, piece, &done), ==, 1);
		EXPECT_U(done, ==, n - 3);
		EXPECT_U(r.head.nodes, ==, kept.nodes);
		sto_zk_reader_fini(&r);
	}
	bytes[n - 4] ^= 1;
	{
		struct sto_zk_reader r;

		sto_zk_reader_stream(&r, NULL, 0x22, 1 << 20);
		EXPECT_I(read_in_pieces(&r, bytes, n, n, &done), ==, -EBADMSG);
		EXPECT_STR(r.what, "it is not signed");
		sto_zk_reader_fini(&r);
	}
}

TEST(storage_zksnap, a_record_longer_than_allowed_is_refused_before_it_is_there)
{
	uint8_t bytes[200] = {0};
	struct jute_out out = jute_out_of(bytes, sizeof(bytes));
	struct sto_zk_reader r;
	size_t done;

	jute_put_int(&out, 0);
	jute_put_int(&out, 0);
	jute_put_ustring(&out, jute_text(""));
	jute_put_int(&out, 1 << 30); /* bytes of data, which don't come */
	sto_zk_reader_stream(&r, NULL, 1, 100);
	EXPECT_I(read_in_pieces(&r, bytes, 100, 10, &done), ==, 0);
	EXPECT_I(sto_zk_read(&r, bytes + done, sizeof(bytes) - done, &done), ==, -EBADMSG);
	EXPECT_STR(r.what, "a record is too long");
	sto_zk_reader_fini(&r);
}

/* The directory tests/corpus/zookeeper was written by ZooKeeper 3.8.0: three lives, the last with
 * snapshots compressed. */
#include "tests/t.h"

#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/import.h"
#include "storage/gunzip.h"
#include "tests/memfs.h"
#include "tests/storage.h"

#ifdef DEBUG
enum { STRIDE = 61 };
#else
enum { STRIDE = 7 };
#endif

enum { LAST = 0x2c };
static const char *const files[] = {"log.1",      "log.23",      "log.28",
				    "snapshot.0", "snapshot.22", "snapshot.27.gz"};

/* Besides what is kept: the digest of the nodes, as ZooKeeper computes it. */
struct import_fx {
	struct memfs *m;
	struct kept kept;
	struct sto_recovered out;
	uint64_t digest;
	bool acl_seen;
};

static void add_file(struct memfs *m, const char *name)
{
	static uint8_t bytes[64 << 10];
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "tests/corpus/zookeeper/%s", name);
	file = fopen(path, "rb");
	REQUIRE(EXPECT_TRUE(file != NULL));
	memfs_add(m, name, bytes, fread(bytes, 1, sizeof(bytes), file));
	fclose(file);
}

static void import_up(struct import_fx *f)
{
	f->m = malloc(sizeof(*f->m));
	memfs_init(f->m);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		add_file(f->m, files[i]);
}

static void import_down(struct import_fx *f)
{
	EXPECT_I(memfs_open_fds(f->m), ==, 0);
	memfs_fini(f->m);
	free(f->m);
}

static int import_begin(void *self, const struct sto_snap_head *head)
{
	struct import_fx *f = self;

	f->digest = 0;
	return kept_begin(&f->kept, head);
}

static int import_session(void *self, int64_t id, int32_t timeout_ms)
{
	return kept_session(&((struct import_fx *)self)->kept, id, timeout_ms);
}

static int import_node(void *self, const struct sto_snap_node *n)
{
	struct import_fx *f = self;
	bool root = n->path_len == 1;
	uint8_t stat[60];
	uint32_t crc = libdeflate_crc32(0, n->path, root ? 0 : n->path_len);

	if (n->data_len > 0)
		crc = libdeflate_crc32(crc, n->data, (size_t)n->data_len);
	be64_put(stat, (uint64_t)n->czxid);
	be64_put(stat + 8, (uint64_t)n->mzxid);
	be64_put(stat + 16, (uint64_t)n->pzxid);
	be64_put(stat + 24, (uint64_t)n->ctime);
	be64_put(stat + 32, (uint64_t)n->mtime);
	be32_put(stat + 40, (uint32_t)n->version);
	be32_put(stat + 44, (uint32_t)n->cversion);
	be32_put(stat + 48, (uint32_t)n->aversion);
	be64_put(stat + 52, (uint64_t)n->owner);
	if (n->path_len < 11 || memcmp(n->path, "/zookeeper/", 11))
		f->digest += libdeflate_crc32(crc, stat, sizeof(stat));
	if (n->path_len == 8 && !memcmp(n->path, "/app/acl", 8))
		f->acl_seen =
		    n->acl_len > 16 && be32_get(n->acl) == 1 && be32_get(n->acl + 4) == 31;
	return kept_node(&f->kept, n);
}

static int import_loaded(void *self, const struct sto_snap_head *head)
{
	return kept_loaded(&((struct import_fx *)self)->kept, head);
}

static int import_txn(void *self, int64_t zxid, const uint8_t *entry, uint32_t len)
{
	return kept_txn(&((struct import_fx *)self)->kept, zxid, entry, len);
}

static int import(struct import_fx *f)
{
	struct sto_sink sink = {
	    .self = f,
	    .begin = import_begin,
	    .session = import_session,
	    .node = import_node,
	    .loaded = import_loaded,
	    .txn = import_txn,
	};

	return sto_import(&f->m->fs, "d", "d", &sink, &f->out);
}

static void drop_file(struct import_fx *f, const char *name)
{
	EXPECT_I(memfs_unlink(f->m, 0, name), ==, 0);
}

TEST_F(storage_import, is_wanted_until_there_is_a_file_of_ours, struct import_fx, import_up,
       import_down)
{
	EXPECT_I(sto_import_wanted(&f->m->fs, "d", "d"), ==, 1);
	memfs_add(f->m, "paddock.log.0000000000000001", "", 0);
	EXPECT_I(sto_import_wanted(&f->m->fs, "d", "d"), ==, 0);
}

static int check(struct import_fx *f)
{
	return sto_import_check(&f->m->fs, "d", "d", &f->out);
}

TEST_F(storage_import, a_zookeeper_that_wrote_since_is_noticed, struct import_fx, import_up,
       import_down)
{
	EXPECT_I(check(f), ==, 0);
	EXPECT_I(sto_import_wanted(&f->m->fs, "d", "d"), ==, 1); /* a record is no state */
	memfs_add(f->m, "paddock.snapshot.000000000000002c", "", 0);
	EXPECT_I(check(f), ==, 0);
	memfs_add(f->m, "snapshot.28", "", 0); /* started, and nothing written */
	EXPECT_I(check(f), ==, 0);
	memfs_add(f->m, "log.2d", "", 0);
	EXPECT_I(check(f), ==, -EEXIST);
	EXPECT_TRUE(strstr(f->out.message, "log.2d is newer than what was imported") != NULL);
	drop_file(f, "log.2d");
	EXPECT_I(check(f), ==, 0);
	memfs_add(f->m, "snapshot.2d.gz", "", 0);
	EXPECT_I(check(f), ==, -EEXIST);
	/* The operator decides for ZooKeeper's state. */
	drop_file(f, "paddock.snapshot.000000000000002c");
	drop_file(f, "paddock.imported");
	EXPECT_I(check(f), ==, 0);
	memfs_add(f->m, "paddock.log.0000000000000001", "", 0);
	EXPECT_I(check(f), ==, 0);
}

TEST_F(storage_import, a_record_of_it_that_is_damaged_is_refused, struct import_fx, import_up,
       import_down)
{
	static const char *const bad[] = {"",
					  "000000000000002\n",
					  "000000000000002c",
					  "000000000000002cc",
					  "000000000000002g\n",
					  "000000000000002c\n\n"};

	memfs_add(f->m, "paddock.log.0000000000000001", "", 0);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		memfs_add(f->m, "paddock.imported", bad[i], strlen(bad[i]));
		EXPECT_I(check(f), ==, -EBADMSG);
		EXPECT_TRUE(strstr(f->out.message, "paddock.imported is damaged") != NULL);
		drop_file(f, "paddock.imported");
	}
	EXPECT_I(check(f), ==, 0);
	/* Every call that fails is told; the next start begins again. */
	for (f->m->fail_at = 1;; f->m->fail_at++) {
		f->m->calls = 0;
		memfs_unlink(f->m, 0, "paddock.imported");
		f->m->calls = 0;
		f->m->fail_errno = EIO;
		if (!check(f))
			break;
	}
	EXPECT_U(f->m->calls, <, f->m->fail_at);
	EXPECT_U(f->m->fail_at, >, 8);
	f->m->fail_at = 0;
	EXPECT_I(check(f), ==, 0);
}

TEST_F(storage_import, each_snapshot_and_the_log_behind_it_end_at_the_same_zxid, struct import_fx,
       import_up, import_down)
{
	static const struct {
		const char *file;
		int64_t zxid;
	} snaps[] = {{"snapshot.27.gz", 0x27}, {"snapshot.22", 0x22}, {"snapshot.0", 0}};

	for (int i = 0; i < 3; i++) {
		EXPECT_I(import(f), ==, 0);
		EXPECT_STR(f->out.message, "");
		EXPECT_I(f->out.snapshot_zxid, ==, snaps[i].zxid);
		EXPECT_I(f->out.last_zxid, ==, LAST);
		EXPECT_U(f->out.txns, ==, LAST - snaps[i].zxid);
		EXPECT_I(f->kept.wrong, ==, false);
		/* ZooKeeper wrote these with nothing going on, the first without a digest. */
		if (snaps[i].zxid)
			EXPECT_U(f->kept.loaded.digest, ==, f->digest);
		EXPECT_I(f->acl_seen, ==, snaps[i].zxid != 0);
		f->acl_seen = false;
		drop_file(f, snaps[i].file);
	}
	EXPECT_I(import(f), ==, 0);
	EXPECT_I(f->out.snapshot_zxid, ==, -1);
	EXPECT_U(f->out.txns, ==, LAST);
}

TEST_F(storage_import, a_missing_log_is_refused, struct import_fx, import_up, import_down)
{
	drop_file(f, "log.23"); /* which the newest snapshot does not need */
	EXPECT_I(import(f), ==, 0);
	drop_file(f, "snapshot.27.gz");
	EXPECT_TRUE(import(f) == -EBADMSG);
	EXPECT_STR(f->out.message, "log.28, byte 16: zxids are missing, behind zxid 0x22");
}

TEST_F(storage_import, snappy_is_refused_in_words_and_an_older_snapshot_taken, struct import_fx,
       import_up, import_down)
{
	memfs_add(f->m, "snapshot.2a.snappy", "\202SNAPPY", 7);
	EXPECT_I(import(f), ==, 0);
	EXPECT_I(f->out.snapshot_zxid, ==, 0x27);
	EXPECT_TRUE(strstr(f->out.message, "snapshot.2a.snappy: snappy is not read") != NULL);
}

/* The last record of a log may be torn: then it is told. Nothing else may be lost. */
TEST_F(storage_import, no_flipped_bit_loses_anything_in_silence, struct import_fx, import_up,
       import_down)
{
	uint64_t exact = 0, refused = 0, torn = 0, bits = 0;

	REQUIRE(EXPECT_I(import(f), ==, 0));
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		struct memfs_file *file = memfs_file(f->m, files[i]);

		for (uint64_t bit = 0; bit < file->size * 8; bit += STRIDE, bits++) {
			int err;

			file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			err = import(f);
			file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			if (err)
				refused += f->out.message[0] != 0;
			else if (f->out.last_zxid == LAST && !f->kept.wrong)
				exact++;
			else
				torn += strstr(f->out.message, "torn") != NULL;
		}
	}
	EXPECT_U(exact + refused + torn, ==, bits);
	EXPECT_U(torn, <, 200 * 8);
	EXPECT_U(refused, >, 0);
	printf("import: %llu bits flipped, %llu exact, %llu refused, %llu told as torn\n",
	       (unsigned long long)bits, (unsigned long long)exact, (unsigned long long)refused,
	       (unsigned long long)torn);
}

/* Cut anywhere, as a crash of ZooKeeper leaves it: what is whole before the cut comes in. */
TEST_F(storage_import, a_log_cut_at_any_byte_keeps_the_prefix, struct import_fx, import_up,
       import_down)
{
	struct memfs_file *file = memfs_file(f->m, "log.28");
	int64_t last = LAST;

	for (uint64_t size = file->size; size-- > 16;) {
		file->size = size;
		REQUIRE(EXPECT_I(import(f), ==, 0));
		REQUIRE(EXPECT_I(f->out.last_zxid, <=, last));
		REQUIRE(EXPECT_I(f->out.last_zxid, >=, last - 1));
		last = f->out.last_zxid;
	}
	EXPECT_I(last, ==, 0x27);
}

TEST(storage_import, gunzip_takes_no_memory_for_sizes_that_cannot_be)
{
	uint8_t gz[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	uint8_t *out;
	size_t n;

	EXPECT_I(sto_gunzip(gz, sizeof(gz), &out, &n), ==, 0);
	EXPECT_U(n, ==, 0);
	free(out);
	gz[19] = 0x7f;
	EXPECT_TRUE(sto_gunzip(gz, sizeof(gz), &out, &n) == -EBADMSG);
	EXPECT_TRUE(sto_gunzip(gz, 17, &out, &n) == -EBADMSG);
}

#include "tests/t.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "storage/file.h"
#include "storage/inspect.h"
#include "storage/log.h"
#include "storage/reader.h"
#include "storage/segment.h"
#include "tests/memfs.h"
#include "tests/storage.h"

#ifdef DEBUG
enum { SLOW = 20 };
#else
enum { SLOW = 1 };
#endif

enum { ENTRIES_MAX = 4096 };
#define ZXID(epoch, counter) ((int64_t)(epoch) << 32 | (counter))

/* Entries in order, and what they were made of. */
struct reader_fx {
	struct memfs *m;
	struct sto_log *log;
	int64_t last;
	struct {
		int64_t zxid;
		uint32_t bytes;
	} entry[ENTRIES_MAX];
	unsigned n;
};

static void reader_up(struct reader_fx *f)
{
	f->m = malloc(sizeof(*f->m));
	memfs_init(f->m);
}

static void reader_down(struct reader_fx *f)
{
	EXPECT_I(memfs_open_fds(f->m), ==, 0);
	memfs_fini(f->m);
	free(f->m);
}

static void open_log(struct reader_fx *f, int64_t last, uint64_t segment_size)
{
	static struct sto_log_options options = {.force_sync = true, .direct = true};

	options.segment_size = segment_size;
	f->last = last;
	EXPECT_I(sto_log_open(&f->log, &f->m->fs, "d", last, &options), ==, 0);
}

/* One batch of n entries: zxid + 1 .., with an epoch more before the entry number `epoch_at`. */
static void put(struct reader_fx *f, unsigned n, uint32_t bytes, unsigned epoch_at)
{
	uint8_t *entries = malloc(n * (size_t)(36 + bytes));
	int64_t first = 0;
	size_t len = 0;

	for (unsigned i = 0; i < n; i++) {
		f->last = i == epoch_at ? ZXID((f->last >> 32) + 1, 1) : f->last + 1;
		first = i ? first : f->last;
		len += entry_put(entries + len, f->last, bytes);
		f->entry[f->n].zxid = f->last;
		f->entry[f->n++].bytes = bytes;
	}
	EXPECT_I(sto_log_append(f->log, entries, len, first, f->last), ==, 0);
	free(entries);
}

static bool is_entry(int64_t zxid, uint32_t bytes, const uint8_t *entry, uint32_t len)
{
	uint8_t *want = malloc(36 + (size_t)bytes);
	size_t n = entry_put(want, zxid, bytes);
	bool same = n == len + 4u && !memcmp(want + 4, entry, len);

	free(want);
	return same;
}

/* From `after` on up to `last`: exactly the entries there are. What the reader said in the end. */
static int read_all(struct reader_fx *f, int64_t after, int64_t last)
{
	struct sto_reader *r;
	const uint8_t *entry;
	unsigned i = 0;
	uint32_t len;
	int64_t zxid;
	int got = sto_reader_open(&r, &f->m->fs, "d", after);

	if (got)
		return got;
	while (i < f->n && f->entry[i].zxid <= after)
		i++;
	while ((got = sto_reader_next(r, last, &zxid, &entry, &len)) == 1) {
		if (i == f->n || f->entry[i].zxid != zxid ||
		    !is_entry(zxid, f->entry[i].bytes, entry, len)) {
			t_fail(__FILE__, __LINE__, "after 0x%llx: 0x%llx is wrong",
			       (unsigned long long)after, (unsigned long long)zxid);
			break;
		}
		i++;
	}
	if (!got && i < f->n && f->entry[i].zxid <= last)
		got = -1000;
	sto_reader_close(r);
	return got;
}

/* Segments, epochs within a batch and between, blocks of all kinds, seals, a second life. */
static void fill(struct reader_fx *f)
{
	open_log(f, ZXID(1, 0), 64 << 10);
	for (unsigned i = 0; i < 60; i++) {
		put(f, i % 7 + 1, i % 5 * 300, i % 20 == 13 ? i % 3 : UINT32_MAX);
		if (i % 11 == 0)
			EXPECT_I(sto_log_seal(f->log), ==, 0);
	}
	put(f, 3, 900 << 10, UINT32_MAX); /* three blocks, each a restart */
	put(f, 900, 2500, 450);           /* and with restarts in the middle */
	for (unsigned i = 0; i < 400; i++)
		put(f, 1, 1000, UINT32_MAX);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	open_log(f, f->last, 2 << 20);
	for (unsigned i = 0; i < 300; i++)
		put(f, i % 7 + 1, 700, i % 50 == 13 ? i % 3 : UINT32_MAX);
}

TEST_F(storage_reader, from_every_zxid_on_gives_what_was_appended, struct reader_fx, reader_up,
       reader_down)
{
	fill(f);
	EXPECT_I(read_all(f, ZXID(1, 0), INT64_MAX), ==, 0);
	EXPECT_I(read_all(f, 0, INT64_MAX), ==, -ENOENT);
	for (unsigned i = 0; i<f->n; i += i> 150 ? 5 * SLOW : 1) {
		int64_t zxid = f->entry[i].zxid, until = f->entry[(i + 40) % f->n].zxid;

		REQUIRE(EXPECT_I(read_all(f, zxid, until > zxid ? until : zxid), ==, 0));
		if (i % 16)
			continue;
		REQUIRE(EXPECT_I(read_all(f, zxid, f->last), ==, 0));
		/* The start of an epoch, and zxids that there are not. */
		REQUIRE(EXPECT_I(read_all(f, ZXID(zxid >> 32, 0), f->last), ==, 0));
		REQUIRE(EXPECT_I(read_all(f, ZXID(zxid >> 32, 0xfffffff0), f->last), ==, 0));
	}
	EXPECT_I(read_all(f, f->last, INT64_MAX), ==, 0);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	EXPECT_I(read_all(f, ZXID(1, 0), INT64_MAX), ==, 0);
	printf("reader: %u entries in %d files\n", f->n, f->m->files);
}

/* Who began a segment died before its first batch was there; the next epoch began another. */
TEST_F(storage_reader, a_segment_with_nothing_in_it_is_passed, struct reader_fx, reader_up,
       reader_down)
{
	int64_t last;
	int at;

	open_log(f, ZXID(1, 0), 16 << 10);
	put(f, 5, 100, UINT32_MAX);
	last = f->last;
	EXPECT_I(sto_log_close(f->log), ==, 0);
	for (int epoch = 2; epoch < 4; epoch++) {
		char name[STO_NAME_MAX];

		open_log(f, last, 16 << 10);
		f->last = ZXID(epoch - 1, 7);
		put(f, 1, 100, 0);
		f->n--;
		EXPECT_I(sto_log_close(f->log), ==, 0);
		sto_name(name, STO_LOG_PREFIX, f->last);
		at = memfs_find(f->m, name);
		REQUIRE(EXPECT_I(at, >=, 0));
		memfs_resize(&f->m->file[f->m->name[at].file], STO_PAGE_BYTES);
	}
	open_log(f, last, 16 << 10);
	f->last = ZXID(3, 7);
	put(f, 3, 100, 0);
	EXPECT_I(read_all(f, ZXID(1, 0), f->last), ==, 0);
	EXPECT_I(read_all(f, last, f->last), ==, 0);
	EXPECT_I(read_all(f, ZXID(2, 0), f->last), ==, 0);
	EXPECT_I(sto_log_close(f->log), ==, 0);
}

TEST_F(storage_reader, nothing_beyond_last_is_given_and_what_comes_later_is_found, struct reader_fx,
       reader_up, reader_down)
{
	struct sto_reader *r;
	const uint8_t *entry;
	uint32_t len;
	int64_t zxid;

	EXPECT_I(sto_reader_open(&r, &f->m->fs, "d", 0), ==, -ENOENT);
	open_log(f, 0, 16 << 10);
	put(f, 3, 100, UINT32_MAX);
	REQUIRE(EXPECT_I(sto_reader_open(&r, &f->m->fs, "d", 1), ==, 0));
	for (int64_t i = 2; i < 400; i++) {
		EXPECT_I(sto_reader_next(r, i - 1, &zxid, &entry, &len), ==, 0);
		/* Perhaps asked for what is not there yet. */
		if (i > f->last) {
			if (i % 5 == 0)
				EXPECT_I(sto_reader_next(r, INT64_MAX, &zxid, &entry, &len), ==, 0);
			put(f, (unsigned)(i % 4) + 1, 700, UINT32_MAX);
		}
		REQUIRE(EXPECT_I(sto_reader_next(r, i, &zxid, &entry, &len), ==, 1));
		REQUIRE(EXPECT_I(zxid, ==, i));
		REQUIRE(EXPECT_TRUE(is_entry(i, f->entry[i - 1].bytes, entry, len)));
	}
	sto_reader_close(r);
	EXPECT_I(sto_log_close(f->log), ==, 0);
}

/* Blocks of a long batch come one after the other: a reader may meet the first of them. */
TEST_F(storage_reader, half_of_a_batch_is_nothing_and_ends_the_reading, struct reader_fx, reader_up,
       reader_down)
{
	uint8_t kept[STO_PAGE_BYTES], *end;
	struct sto_reader *r;
	const uint8_t *entry;
	uint32_t len;
	int64_t zxid;

	open_log(f, 0, 16 * STO_BLOCK_RAW_MAX);
	put(f, 2, 100, UINT32_MAX);
	put(f, 5, STO_BLOCK_RAW_MAX / 2, UINT32_MAX);
	end = f->m->file[0].data + STO_PAGE_BYTES + sto_log_bytes_since_open(f->log);
	memcpy(kept, end - STO_PAGE_BYTES, sizeof(kept));
	memset(end - STO_PAGE_BYTES, 0, sizeof(kept));
	for (int64_t after = 0; after < 3; after++) {
		REQUIRE(EXPECT_I(sto_reader_open(&r, &f->m->fs, "d", after), ==, 0));
		for (int64_t i = after; i < 2; i++)
			EXPECT_I(sto_reader_next(r, INT64_MAX, &zxid, &entry, &len), ==, 1);
		for (int i = 0; i < 3; i++)
			EXPECT_I(sto_reader_next(r, INT64_MAX, &zxid, &entry, &len), ==, 0);
		memcpy(end - STO_PAGE_BYTES, kept, sizeof(kept));
		EXPECT_I(sto_reader_next(r, INT64_MAX, &zxid, &entry, &len), ==, 1);
		EXPECT_I(zxid, ==, 3);
		memset(end - STO_PAGE_BYTES, 0, sizeof(kept));
		sto_reader_close(r);
	}
	memcpy(end - STO_PAGE_BYTES, kept, sizeof(kept));
	EXPECT_I(read_all(f, 0, f->last), ==, 0);
	EXPECT_I(sto_log_close(f->log), ==, 0);
}

static void unlink_segment(struct reader_fx *f, int64_t zxid)
{
	char name[STO_NAME_MAX];

	sto_name(name, STO_LOG_PREFIX, zxid);
	EXPECT_I(f->m->fs.unlink(f->m, MEMFS_DIR, name), ==, 0);
}

TEST_F(storage_reader, what_purge_took_is_an_error_and_what_is_missing_too, struct reader_fx,
       reader_up, reader_down)
{
	struct sto_names names = {0};
	struct sto_reader *r;
	const uint8_t *entry;
	uint32_t len;
	int64_t zxid;
	int dir = sto_dir_open(&f->m->fs, "d"), got;

	open_log(f, 0, 16 << 10);
	for (int i = 0; i < 80; i++)
		put(f, 1, 900, UINT32_MAX);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	EXPECT_I(sto_names_list(&f->m->fs, dir, STO_LOG_PREFIX, &names), ==, 0);
	REQUIRE(EXPECT_U(names.n, >, 6));
	REQUIRE(EXPECT_I(sto_reader_open(&r, &f->m->fs, "d", 0), ==, 0));
	EXPECT_I(sto_reader_next(r, 80, &zxid, &entry, &len), ==, 1);
	for (int i = 0; i < 3; i++)
		unlink_segment(f, names.zxid[i]);
	/* The segment that is open is read to its end. */
	while ((got = sto_reader_next(r, 80, &zxid, &entry, &len)) == 1)
		;
	EXPECT_I(got, ==, -ENOENT);
	EXPECT_I(zxid, ==, names.zxid[1] - 1);
	sto_reader_close(r);
	EXPECT_I(read_all(f, 0, 80), ==, -ENOENT);
	EXPECT_I(read_all(f, names.zxid[3] - 2, 80), ==, -ENOENT);
	EXPECT_I(read_all(f, names.zxid[3] - 1, 80), ==, 0);
	/* One from the middle. */
	unlink_segment(f, names.zxid[4]);
	EXPECT_I(read_all(f, names.zxid[3] - 1, names.zxid[4] - 1), ==, 0);
	EXPECT_I(read_all(f, names.zxid[3] - 1, 80), ==, -ENOENT);
	EXPECT_I(read_all(f, names.zxid[5] - 1, 80), ==, 0);
	sto_names_free(&names);
	f->m->fs.close(f->m, dir);
}

TEST_F(storage_reader, no_flipped_bit_is_given, struct reader_fx, reader_up, reader_down)
{
	uint64_t exact = 0, refused = 0;

	open_log(f, 0, 16 << 10);
	for (int i = 0; i < 30; i++)
		put(f, (unsigned)i % 3 + 1, 500, UINT32_MAX);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	for (int file = 0; file < f->m->files; file++) {
		struct memfs_file *m = &f->m->file[file];

		for (uint64_t bit = 0; bit < m->size * 8; bit += SLOW * SLOW * 61) {
			int got;

			m->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			got = read_all(f, bit % 3 ? 0 : f->last / 2, f->last);
			exact += got == 0;
			refused += got == -EBADMSG || got == -1000 || got == -ENOENT;
			m->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
			REQUIRE(EXPECT_TRUE(got <= 0));
			REQUIRE(!t_failed());
		}
	}
	EXPECT_U(exact, >, 100 / SLOW);
	EXPECT_U(refused, >, 100 / SLOW);
	printf("reader: %llu flipped bits exact, %llu refused\n", (unsigned long long)exact,
	       (unsigned long long)refused);
}

TEST_F(storage_reader, any_call_that_fails_is_told, struct reader_fx, reader_up, reader_down)
{
	open_log(f, 0, 16 << 10);
	for (int i = 0; i < 30; i++)
		put(f, 2, 900, UINT32_MAX);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	for (uint64_t n = 1;; n++) {
		int got;

		f->m->calls = 0;
		f->m->fail_at = n;
		f->m->fail_errno = ENOMEM;
		got = read_all(f, 0, f->last);
		if (f->m->calls < n) {
			EXPECT_I(got, ==, 0);
			EXPECT_U(n, >, 30);
			break;
		}
		REQUIRE(EXPECT_I(got, ==, -ENOMEM));
		REQUIRE(EXPECT_I(memfs_open_fds(f->m), ==, 0));
	}
}

/* --- runs ------------------------------------------------------------------------------------ */

struct run_list {
	int64_t first[64], last[64];
	unsigned n;
	int stop_at;
};

static int add_run(void *arg, int64_t first, int64_t last)
{
	struct run_list *l = arg;

	l->first[l->n] = first;
	l->last[l->n++] = last;
	return l->stop_at && (int)l->n == l->stop_at ? -ECANCELED : 0;
}

static void check_runs(struct reader_fx *f, int64_t after)
{
	struct run_list got = {.n = 0}, want = {.n = 0};

	for (unsigned i = 0; i < f->n; i++) {
		int64_t zxid = f->entry[i].zxid;

		if (zxid <= after)
			continue;
		if (want.n && zxid == want.last[want.n - 1] + 1)
			want.last[want.n - 1] = zxid;
		else
			add_run(&want, zxid, zxid);
	}
	REQUIRE(EXPECT_I(sto_log_runs(&f->m->fs, "d", after, add_run, &got), ==, 0));
	REQUIRE(EXPECT_U(got.n, ==, want.n));
	EXPECT_MEM(got.first, want.first, sizeof(got.first));
	EXPECT_MEM(got.last, want.last, sizeof(got.last));
}

TEST_F(storage_reader, runs_are_whole_and_end_with_their_epoch, struct reader_fx, reader_up,
       reader_down)
{
	struct run_list stopped = {.stop_at = 2};

	check_runs(f, 0);
	fill(f);
	check_runs(f, 0);
	check_runs(f, f->last);
	for (unsigned i = 0; i < f->n; i += 13 * SLOW)
		check_runs(f, f->entry[i].zxid);
	EXPECT_I(sto_log_runs(&f->m->fs, "d", 0, add_run, &stopped), ==, -ECANCELED);
	EXPECT_U(stopped.n, ==, 2);
	EXPECT_I(sto_log_close(f->log), ==, 0);

	/* A log that begins anew behind a snapshot from elsewhere: a gap. */
	open_log(f, f->last + 1000, 64 << 10);
	put(f, 5, 10, UINT32_MAX);
	EXPECT_I(sto_log_close(f->log), ==, 0);
	check_runs(f, 0);
	EXPECT_I(read_all(f, f->entry[f->n - 6].zxid, INT64_MAX), ==, -ENOENT);
	EXPECT_I(read_all(f, f->last - 5, INT64_MAX), ==, 0);
}

/* --- beside appending ------------------------------------------------------------------------ */

enum { LIVE_BATCHES = 800 / SLOW, LIVE_BYTES = 300, LIVE_READERS = 2 };

struct live {
	char dir[64];
	struct sto_log *log;
	_Atomic int64_t durable;
	int64_t last;
};

static void *append_live(void *arg)
{
	struct live *l = arg;
	uint8_t entries[8 * (36 + LIVE_BYTES)];

	for (unsigned i = 0; i < LIVE_BATCHES; i++) {
		int64_t first = atomic_load(&l->durable) + 1;
		unsigned n = (unsigned)mix(i) % 8 + 1;
		size_t len = 0;

		for (unsigned k = 0; k < n; k++)
			len += entry_put(entries + len, first + k, LIVE_BYTES);
		if (!EXPECT_I(sto_log_append(l->log, entries, len, first, first + n - 1), ==, 0))
			break;
		atomic_store(&l->durable, first + n - 1);
		if (i % 64 == 0)
			sto_log_prepare(l->log);
		if (i % 50 == 49)
			sto_log_seal(l->log);
	}
	return NULL;
}

static void *read_live(void *arg)
{
	struct live *l = arg;
	struct sto_reader *r = NULL;
	const uint8_t *entry;
	uint32_t len;
	int64_t zxid, next = 1;
	int got;

	while (atomic_load(&l->durable) < 1)
		;
	if (!EXPECT_I(sto_reader_open(&r, &sto_fs_posix, l->dir, 0), ==, 0))
		return NULL;
	while (next <= l->last) {
		int64_t durable = atomic_load(&l->durable);

		/* Whatever was durable when the call began is found. */
		while ((got = sto_reader_next(r, durable, &zxid, &entry, &len)) == 1) {
			if (zxid != next || zxid > durable ||
			    !is_entry(zxid, LIVE_BYTES, entry, len)) {
				t_fail(__FILE__, __LINE__, "0x%llx", (unsigned long long)zxid);
				break;
			}
			next++;
		}
		if (got || next <= durable) {
			t_fail(__FILE__, __LINE__, "%d at %lld of %lld", got, (long long)next,
			       (long long)durable);
			break;
		}
	}
	sto_reader_close(r);
	return NULL;
}

static void read_beside(bool direct)
{
	struct sto_log_options options = {256 << 10, true, direct};
	struct live l = {.dir = "/tmp/paddock-reader-XXXXXX"};
	pthread_t writer, reader[LIVE_READERS];
	char command[128];

	for (unsigned i = 0; i < LIVE_BATCHES; i++)
		l.last += (unsigned)mix(i) % 8 + 1;
	REQUIRE(EXPECT_TRUE(mkdtemp(l.dir) != NULL));
	REQUIRE(EXPECT_I(sto_log_open(&l.log, &sto_fs_posix, l.dir, 0, &options), ==, 0));
	for (int i = 0; i < LIVE_READERS; i++)
		pthread_create(&reader[i], NULL, read_live, &l);
	pthread_create(&writer, NULL, append_live, &l);
	pthread_join(writer, NULL);
	for (int i = 0; i < LIVE_READERS; i++)
		pthread_join(reader[i], NULL);
	EXPECT_I(atomic_load(&l.durable), ==, l.last);
	EXPECT_I(sto_log_close(l.log), ==, 0);
	snprintf(command, sizeof(command), "rm -r %s", l.dir);
	EXPECT_I(system(command), ==, 0);
}

TEST(storage_reader, readers_beside_appending_find_all_that_is_durable)
{
	read_beside(true);
	read_beside(false);
}

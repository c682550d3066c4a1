#include "tests/t.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "shm/tree.h"
#include "storage/file.h"
#include "storage/reader.h"
#include "storage/snapfile.h"
#include "storage/zksnap.h"
#include "tests/memfs.h"
#include "tests/storage.h"

#ifdef DEBUG
enum { MANY_NODES = 20 * 1000, FLIP_STRIDE = 211 };
#else
enum { MANY_NODES = 1000 * 1000, FLIP_STRIDE = 7 };
#endif

enum { RECORD_MAX = 1 << 20, CPU_MS_MAX = 2000 };

/* Reads the stream as a learner does, in whatever pieces it comes. */
struct learner {
	struct sto_zk_reader reader;
	struct kept kept;
	struct sto_sink sink;
	uint8_t *bytes; /* not used yet */
	size_t len, cap, piece, total;
	bool ended, only_count;
	int calls, fail_at;
};

struct stream_fx {
	struct memfs *m;
	struct learner l;
};

static void stream_up(struct stream_fx *f)
{
	f->m = malloc(sizeof(*f->m));
	memfs_init(f->m);
}

static void learner_end(struct learner *l)
{
	sto_zk_reader_fini(&l->reader);
	free(l->bytes);
	memset(l, 0, sizeof(*l));
}

static void stream_down(struct stream_fx *f)
{
	EXPECT_I(memfs_open_fds(f->m), ==, 0);
	memfs_fini(f->m);
	free(f->m);
	learner_end(&f->l);
}

static void learner_begin(struct learner *l, int64_t zxid, size_t piece)
{
	learner_end(l);
	l->sink = kept_sink(&l->kept);
	kept_begin(&l->kept, &(struct sto_snap_head){.zxid = zxid});
	sto_zk_reader_stream(&l->reader, &l->sink, zxid, RECORD_MAX);
	l->piece = piece;
}

static int feed(struct learner *l)
{
	size_t used;
	int got = sto_zk_read(&l->reader, l->bytes, l->len, &used);

	l->ended |= got == 1;
	memmove(l->bytes, l->bytes + used, l->len - used);
	l->len -= used;
	return got < 0 ? got : 0;
}

static int take(void *arg, const void *bytes, size_t n)
{
	struct learner *l = arg;
	const uint8_t *from = bytes;
	int err = 0;

	if (++l->calls == l->fail_at)
		return -ECONNRESET;
	l->total += n;
	for (size_t at = 0; at < n && !err && !l->only_count; at += l->piece) {
		size_t part = n - at < l->piece ? n - at : l->piece;

		if (l->ended)
			return -EPROTO; /* there is something behind the signature */
		if (l->cap < l->len + part) {
			l->cap = (l->len + part) * 2;
			l->bytes = realloc(l->bytes, l->cap);
		}
		memcpy(l->bytes + l->len, from + at, part);
		l->len += part;
		err = feed(l);
	}
	return err;
}

/* vector<ACL> with one entry of that permission and id. */
static uint32_t acl_put(uint8_t *to, int32_t perms, const char *scheme, const char *id)
{
	uint32_t a = (uint32_t)strlen(scheme), b = (uint32_t)strlen(id);

	be32_put(to, 1);
	be32_put(to + 4, (uint32_t)perms);
	be32_put(to + 8, a);
	memcpy(to + 12, scheme, a);
	be32_put(to + 12 + a, b);
	memcpy(to + 16 + a, id, b);
	return 16 + a + b;
}

/* All kinds of nodes, in depth-first order, and the lists of ACLs that they share. */
static int put_snapshot(const struct sto_fs *fs, const char *dir, int64_t zxid, uint64_t nodes,
			uint64_t sessions)
{
	struct sto_snap_head head = {.zxid = zxid, .nodes = nodes, .sessions = sessions};
	uint8_t acl[4][64], data[100] = "data";
	uint32_t acl_len[] = {acl_put(acl[0], 31, "world", "anyone"),
			      acl_put(acl[1], 1, "world", "anyone"),
			      acl_put(acl[2], 31, "digest", "someone:hash"), 0};
	struct sto_snap_writer *w;
	char path[64];
	int err = sto_snap_begin(&w, fs, dir, &head);

	if (err)
		return err;
	for (uint64_t i = 0; i < sessions; i++)
		sto_snap_session(w, 0x0100000000000000 + (int64_t)i, 30000 + (int32_t)i);
	for (uint64_t i = 0; i < nodes; i++) {
		unsigned kind = i % 17 == 3 ? (unsigned)(i / 17 % 4) : 0;
		struct sto_snap_node n = {
		    .path = path,
		    .data = data,
		    .data_len = i % 19  ? 100
				: i % 2 ? -1
					: 0,
		    .acl = acl[kind],
		    .acl_len = acl_len[kind],
		    .czxid = (int64_t)i,
		    .mzxid = (int64_t)i + (i % 3 == 0),
		    .pzxid = (int64_t)i,
		    .ctime = 1700000000000 + (int64_t)i,
		    .mtime = 1700000000000 + (int64_t)i,
		    .version = i % 3 == 0,
		    .cversion = i % 23 == 0 ? (int32_t)i : 0,
		    .owner = i % 13 ? 0 : 0x0100000000000001,
		};

		n.path_len = (uint32_t)(i ? snprintf(path, sizeof(path), "/node-%010d", (int)i)
					  : snprintf(path, sizeof(path), "/"));
		sto_snap_put(w, &n);
	}
	return sto_snap_commit(w, &head);
}

static uint64_t sum_of(struct stream_fx *f, int64_t zxid)
{
	struct kept kept = {0};
	struct sto_sink sink = kept_sink(&kept);
	struct sto_snap_head head;
	char why[STO_WHY_MAX];
	int sink_error;

	EXPECT_I(sto_snap_load(&f->m->fs, sto_dir_open(&f->m->fs, "d"), zxid, &sink, &head,
			       &sink_error, why),
		 ==, 0);
	f->m->open_dirs--;
	return kept.sum;
}

static int stream(struct stream_fx *f, int64_t zxid, size_t piece)
{
	learner_begin(&f->l, zxid, piece);
	return sto_snap_stream(&f->m->fs, "d", zxid, take, &f->l);
}

TEST_F(storage_stream, what_a_learner_reads_is_the_snapshot, struct stream_fx, stream_up,
       stream_down)
{
	static const uint64_t sizes[][2] = {{1, 0}, {1, 1}, {2, 0}, {100, 3}, {9000, 500}};
	static const size_t pieces[] = {1, 7, 1000, SIZE_MAX};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int64_t zxid = 100000 + (int64_t)i;

		REQUIRE(
		    EXPECT_I(put_snapshot(&f->m->fs, "d", zxid, sizes[i][0], sizes[i][1]), ==, 0));
		for (size_t k = i == 4; k < 4; k++) {
			REQUIRE(EXPECT_I(stream(f, zxid, pieces[k]), ==, 0));
			EXPECT_TRUE(f->l.ended);
			EXPECT_U(f->l.len, ==, 0);
			EXPECT_U(f->l.kept.nodes, ==, sizes[i][0]);
			EXPECT_U(f->l.kept.sessions, ==, sizes[i][1]);
			EXPECT_U(f->l.kept.sum, ==, sum_of(f, zxid));
		}
	}
}

/* A learner wants a root, as ZooKeeper's has one from the beginning. */
TEST_F(storage_stream, a_snapshot_of_nothing_is_what_a_server_begins_with, struct stream_fx,
       stream_up, stream_down)
{
	REQUIRE(EXPECT_I(put_snapshot(&f->m->fs, "d", 5, 0, 2), ==, 0));
	EXPECT_I(stream(f, 5, 10), ==, 0);
	EXPECT_TRUE(f->l.ended);
	EXPECT_U(f->l.kept.nodes, ==, 4);
	EXPECT_U(f->l.kept.sessions, ==, 2);
}

TEST_F(storage_stream, nothing_of_a_damaged_snapshot_is_sent, struct stream_fx, stream_up,
       stream_down)
{
	struct memfs_file *file;

	EXPECT_I(stream(f, 5, 10), ==, -ENOENT);
	REQUIRE(EXPECT_I(put_snapshot(&f->m->fs, "d", 5, 200, 2), ==, 0));
	file = memfs_file(f->m, STO_SNAP_PREFIX "0000000000000005");
	for (uint64_t bit = 0; bit < file->size * 8; bit += FLIP_STRIDE) {
		file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		REQUIRE(EXPECT_I(stream(f, 5, SIZE_MAX), ==, -EBADMSG));
		REQUIRE(EXPECT_I(f->l.calls, ==, 0));
		file->data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

TEST_F(storage_stream, any_call_that_fails_ends_it, struct stream_fx, stream_up, stream_down)
{
	REQUIRE(EXPECT_I(put_snapshot(&f->m->fs, "d", 5, 9000, 2), ==, 0));
	for (uint64_t n = 1;; n++) {
		f->m->calls = 0;
		f->m->fail_at = n;
		f->m->fail_errno = EMFILE;
		int got = stream(f, 5, SIZE_MAX);

		if (f->m->calls < n) {
			EXPECT_I(got, ==, 0);
			EXPECT_U(n, >, 10);
			break;
		}
		REQUIRE(EXPECT_I(got, ==, -EMFILE));
	}
	f->m->fail_at = 0;
	for (int n = 1; n < 5; n++) {
		learner_begin(&f->l, 5, SIZE_MAX);
		f->l.fail_at = n;
		EXPECT_I(sto_snap_stream(&f->m->fs, "d", 5, take, &f->l), ==, -ECONNRESET);
		EXPECT_I(f->l.calls, ==, n);
	}
}

static int64_t cpu_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

TEST_F(storage_stream, a_million_nodes_are_sent_within_two_seconds_of_processor_time,
       struct stream_fx, stream_up, stream_down)
{
	char dir[] = "/tmp/paddock-stream-XXXXXX", command[64];
	int64_t began;

	REQUIRE(EXPECT_TRUE(mkdtemp(dir) != NULL));
	REQUIRE(EXPECT_I(put_snapshot(&sto_fs_posix, dir, 5, MANY_NODES, 10), ==, 0));
	learner_begin(&f->l, 5, SIZE_MAX);
	f->l.only_count = true;
	began = cpu_ms();
	EXPECT_I(sto_snap_stream(&sto_fs_posix, dir, 5, take, &f->l), ==, 0);
	began = cpu_ms() - began;
	printf("stream: %d nodes, %zu bytes, %lld ms of processor time\n", MANY_NODES, f->l.total,
	       (long long)began);
	EXPECT_U(f->l.total, >, 150ull * MANY_NODES);
	EXPECT_I(began, <, CPU_MS_MAX);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	EXPECT_I(system(command), ==, 0);
}

/* --- places -------------------------------------------------------------------------------- */

static const char *const places[] = {"",      "/a", "/a/b", "/a/b/c", "/b",   "/a/",
				     "/a//b", "//", "b",    "/ab",    "/ab/c"};
enum { PLACES = sizeof(places) / sizeof(places[0]), PLACED_MAX = 4 };

/* A state of these nodes, as a leader sends it. */
static size_t put_places(uint8_t *to, size_t size, const unsigned *which, unsigned n)
{
	struct jute_out out = jute_out_of(to, size);

	jute_put_int(&out, 0);
	jute_put_int(&out, 0);
	for (unsigned i = 0; i < n; i++) {
		struct zk_snap_node node = {
		    .path = jute_text(places[which[i]]), .data = jute_null, .acl = -1};

		zk_snap_node_encode(&out, &node);
	}
	jute_put_ustring(&out, jute_text(ZK_SNAP_END));
	jute_put_ustring(&out, jute_text(ZK_SNAP_SIGNATURE));
	CHECK(!out.failed);
	return jute_size(&out, to);
}

/* Does a tree take them, in this order? */
static bool tree_takes(const unsigned *which, unsigned n)
{
	struct shm_tree *t;
	int err = shm_tree_new_private(&t, 0);

	for (unsigned i = 0; i < n && !err; i++) {
		struct shm_loaded node = {.path = places[which[i]], .data_len = -1};

		node.path_len = (uint32_t)strlen(node.path);
		err = shm_tree_load(t, &node);
	}
	shm_tree_free_private(t);
	return !err;
}

static int read_places(const uint8_t *bytes, size_t n, const char **what)
{
	struct sto_zk_reader r;
	size_t used;
	int got;

	sto_zk_reader_stream(&r, NULL, 1, RECORD_MAX);
	got = sto_zk_read(&r, bytes, n, &used);
	*what = r.what;
	sto_zk_reader_fini(&r);
	return got;
}

TEST(storage_stream, a_state_is_taken_exactly_if_a_tree_can_be_made_of_it)
{
	unsigned which[PLACED_MAX] = {0}, taken = 0, refused = 0;
	const char *what;
	uint8_t bytes[1024];

	/* All orders of any three, doubles too, behind the root. */
	for (unsigned i = 0; i < PLACES * PLACES * PLACES && !t_failed(); i++) {
		size_t n;
		int got;

		which[1] = i % PLACES;
		which[2] = i / PLACES % PLACES;
		which[3] = i / PLACES / PLACES;
		n = put_places(bytes, sizeof(bytes), which, PLACED_MAX);
		got = read_places(bytes, n, &what);
		EXPECT_I(got, ==, tree_takes(which, PLACED_MAX) ? 1 : -EBADMSG);
		EXPECT_TRUE((got < 0) == (what != NULL));
		taken += got == 1;
		refused += got < 0;
	}
	EXPECT_U(taken, ==, 19);
	EXPECT_U(taken + refused, ==, PLACES * PLACES * PLACES);
}

TEST(storage_stream, why_a_state_is_refused_is_said)
{
	static const struct {
		unsigned which[3];
		const char *what;
	} rows[] = {
	    {{0, 1, 1}, "a node comes twice"},
	    {{0, 2, 1}, "a node comes before its parent, or without one"},
	    {{0, 1, 6}, "a node comes before its parent, or without one"},
	    {{0, 1, 5}, "a path is impossible"},
	    {{0, 1, 8}, "a path is impossible"},
	    {{0, 1, 0}, "a path is impossible"},
	    {{1, 0, 2}, "a path is impossible"},
	};
	const char *what;
	uint8_t bytes[1024];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = put_places(bytes, sizeof(bytes), rows[i].which, 3);

		EXPECT_I(read_places(bytes, n, &what), ==, -EBADMSG);
		EXPECT_STR(what, rows[i].what);
	}
}

TEST(storage_stream, the_place_of_a_node_takes_few_bytes)
{
	struct sto_places p = {.n = 0};
	char path[32];

	EXPECT_I(sto_places_add(&p, "/", 1), ==, 0);
	for (int i = 0; i < 300000; i++) {
		int len = snprintf(path, sizeof(path), "/%d", i);

		REQUIRE(EXPECT_I(sto_places_add(&p, path, (size_t)len), ==, 0));
	}
	EXPECT_U(p.cap * sizeof(*p.slot), <=, 300001 * 22);
	EXPECT_I(sto_places_add(&p, "/77", 3), ==, -EEXIST);
	EXPECT_I(sto_places_add(&p, "/300000/a", 9), ==, -ENOENT);
	EXPECT_I(sto_places_add(&p, "/299999/a", 9), ==, 0);
	sto_places_fini(&p);
}

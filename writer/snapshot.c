#include "writer/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "shm/wake.h"
#include "storage/recover.h"
#include "storage/snap.h"
#include "writer/main.h"
#include "writer/pace.h"

enum { EXIT_UNEXPECTED = 1, EXIT_SNAPSHOT = 10 };

struct walk {
	const struct shm_tree *tree;
	struct sto_snap_writer *to;
	struct sto_snap_head head;
	struct wtr_pace *pace; /* NULL: nobody waits */
};

static int put_sessions(struct walk *w)
{
	uint32_t slots = shm_session_slots(w->tree);
	int err = 0;

	for (uint32_t i = 0; i < slots && !err; i++) {
		const struct shm_session *s = shm_session_at(w->tree, i, w->head.zxid);

		if (!s)
			continue;
		err = sto_snap_session(w->to, shm_session_id(s), shm_session_timeout(s));
		w->head.sessions++;
	}
	return err;
}

static int put_node(struct walk *w, const struct shm_node *n)
{
	const struct shm_version *v = shm_node_version(n, w->head.zxid);
	uint8_t stat[SHM_STAT_BYTES];
	struct sto_snap_node out;
	uint32_t acl_len = 0;

	if (!v)
		return 0;
	shm_node_stat(n, v, stat);
	out = (struct sto_snap_node){
	    .version = (int32_t)be32_get(stat + 32),
	    .cversion = shm_version_cversion(v),
	    .aversion = (int32_t)be32_get(stat + 40),
	    .owner = shm_node_owner(n),
	    .czxid = (int64_t)be64_get(stat),
	    .mzxid = (int64_t)be64_get(stat + 8),
	    .ctime = (int64_t)be64_get(stat + 16),
	    .mtime = (int64_t)be64_get(stat + 24),
	    .pzxid = (int64_t)be64_get(stat + 60),
	};
	out.path = shm_node_path(n, &out.path_len);
	out.data = shm_version_data(v, &out.data_len);
	out.acl = shm_acl_bytes(w->tree, shm_version_acl(v), &acl_len);
	out.acl_len = out.acl ? acl_len : 0;
	w->head.nodes++;
	w->head.digest += shm_version_crc(v);
	return sto_snap_put(w->to, &out);
}

/* Depth first, children of one parent in a row before what is below them. */
static int put_tree(struct walk *w, const struct shm_node *root)
{
	size_t n = 1, cap = 1024;
	const struct shm_node **todo = malloc(cap * sizeof(struct shm_node *));
	int err = todo ? put_node(w, root) : -ENOMEM;

	if (todo)
		todo[0] = root;
	while (n && !err) {
		const struct shm_node *parent = todo[--n], *child;
		struct shm_iter it;

		shm_children_begin(&it, parent, w->head.zxid);
		while (!err && (child = shm_children_next(&it))) {
			const struct shm_version *v = shm_node_version(child, w->head.zxid);

			if (w->pace)
				wtr_pace_often(w->pace);
			err = put_node(w, child);
			if (!v || !shm_version_children(v))
				continue;
			if (n == cap) {
				const struct shm_node **wider =
				    realloc(todo, 2 * cap * sizeof(struct shm_node *));

				if (!wider) {
					err = -ENOMEM;
					break;
				}
				todo = wider;
				cap *= 2;
			}
			todo[n++] = child;
		}
	}
	free(todo);
	return err;
}

int wtr_snapshot_write(const struct shm_tree *t, int64_t zxid, const struct sto_fs *fs,
		       const char *dir, struct wtr_pace *pace, void (*done)(void *arg), void *arg)
{
	struct walk w = {.tree = t, .head = {.zxid = zxid}, .pace = pace};
	const struct shm_node *root;
	int err;

	root = shm_tree_find(t, shm_tree_hash(t, "/", 1), "/", 1, zxid,
			     &(const struct shm_version *){0});
	if (!root)
		return -ENOENT;
	err = sto_snap_begin(&w.to, fs, dir, &w.head);
	if (err)
		return err;
	err = put_sessions(&w);
	if (!err)
		err = put_tree(&w, root);
	if (done)
		done(arg);
	if (err) {
		sto_snap_abort(w.to);
		return err;
	}
	if (!shm_tree_digest(t))
		w.head.digest = 0; /* digests are off: no node has its share */
	return sto_snap_commit(w.to, &w.head);
}

static void offline(void *seat)
{
	shm_reader_offline(seat);
}

int snapshotter_main(const struct shm_heritage *h)
{
	const struct shm_board *board = h->board;
	struct shm_seat *seat = h->seat[board->n_workers];
	const struct shm_tree *t;
	uint64_t from_ms = clock_mono_ms();
	struct wtr_pace pace;
	char dir[4096];
	int64_t zxid;
	int err;

	log_set_role("snapshotter");
	wtr_pace_init(&pace, h);
	shm_reader_online(seat, board);
	zxid = atomic_load_explicit(&board->zxid, memory_order_acquire);
	t = shm_tree_of(h->read_gen);
	if (!t || atomic_load(&board->gen) != h->read_gen) {
		/* The writer died meanwhile; its successor asks again. */
		shm_reader_offline(seat);
		return EXIT_UNEXPECTED;
	}
	err = sto_dir_make(h->conf->data_dir, dir, sizeof(dir));
	if (!err)
		err = wtr_snapshot_write(t, zxid, &pace.fs, dir, &pace, offline, seat);
	shm_reader_offline(seat);
	if (!err) {
		LOG_I("snapshot zxid=0x%llx took_ms=%llu", (unsigned long long)zxid,
		      (unsigned long long)(clock_mono_ms() - from_ms));
		return 0;
	}
	LOG_E("snapshot zxid=0x%llx dir=%s: %s", (unsigned long long)zxid, dir, strerror(-err));
	return EXIT_SNAPSHOT;
}

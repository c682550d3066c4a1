#include "writer/recovery.h"

#include <errno.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "storage/import.h"
#include "writer/snapshot.h"

/* A small tree is loaded before large pages could be had, and they make threads wait: it has small
 * ones taken ahead. */
enum { AHEAD_US = 1000, AHEAD_NODES = 200 * 1000 };

static void *run_ahead(void *arg)
{
	struct wtr_recovery *r = arg;

	/* Each call works until it is a share of the tree ahead; then the load has to come. */
	while (!atomic_load(&r->ahead_stop)) {
		if (r->large)
			shm_tree_prepare_memory(r->tree);
		else if (shm_tree_touch_memory(r->tree))
			continue;
		usleep(AHEAD_US);
	}
	return NULL;
}

static void start_ahead(struct wtr_recovery *r)
{
	atomic_store(&r->ahead_stop, false);
	/* Without the thread it is slower, not worse. */
	r->ahead_runs = !pthread_create(&r->ahead, NULL, run_ahead, r);
}

static void stop_ahead(struct wtr_recovery *r)
{
	atomic_store(&r->ahead_stop, true);
	if (r->ahead_runs)
		pthread_join(r->ahead, NULL);
	r->ahead_runs = false;
}

static int begin(void *self, const struct sto_snap_head *head)
{
	struct wtr_recovery *r = self;
	int err;

	stop_ahead(r);
	if (!r->conf && r->tree)
		shm_tree_free_private(r->tree);
	r->tree = NULL;
	err = r->conf ? shm_tree_new(&r->tree, r->gen, r->conf->heap_max)
		      : shm_tree_new_private(&r->tree, 0);
	if (err)
		return err;
	shm_tree_set_digest(r->tree, r->apply.digests);
	shm_tree_set_ring(r->tree, r->commit_size);
	if (head->nodes)
		shm_tree_presize(r->tree, head->nodes);
	r->large = head->nodes >= AHEAD_NODES;
	if (r->conf && head->nodes)
		start_ahead(r);
	r->tail.len = 0;
	wtr_quota_fini(&r->quota);
	err = wtr_quota_init(&r->quota, r->tree);
	r->apply.tree = r->tree;
	r->apply.quota = &r->quota;
	return err;
}

static int session(void *self, int64_t id, int32_t timeout_ms)
{
	struct wtr_recovery *r = self;
	struct shm_session *s;
	int err = shm_session_add(r->tree, id, timeout_ms, 0, &s);

	return err == -EEXIST ? 0 : err;
}

static int node(void *self, const struct sto_snap_node *n)
{
	struct wtr_recovery *r = self;
	int64_t acl = SHM_ACL_NONE;
	int err;

	if (n->acl_len)
		acl = shm_acl_intern(r->tree, n->acl, n->acl_len);
	if (acl < 0)
		return (int)acl;
	err = shm_tree_load(r->tree, &(struct shm_loaded){.path = n->path,
							  .path_len = n->path_len,
							  .data_len = n->data_len,
							  .data = n->data,
							  .acl = (uint32_t)acl,
							  .version = n->version,
							  .cversion = n->cversion,
							  .aversion = n->aversion,
							  .owner = n->owner,
							  .czxid = n->czxid,
							  .mzxid = n->mzxid,
							  .ctime = n->ctime,
							  .mtime = n->mtime,
							  .pzxid = n->pzxid});
	if (err)
		shm_acl_release(r->tree, (uint32_t)acl);
	return err;
}

static int loaded(void *self, const struct sto_snap_head *head)
{
	struct wtr_recovery *r = self;
	int err = shm_tree_initial(r->tree);

	if (!err)
		err = shm_tree_loaded(r->tree, head->zxid);
	if (err)
		return err;
	r->snapshot_differs = head->digest && shm_tree_digest(r->tree) &&
			      head->digest != shm_tree_digest(r->tree) && !r->apply.imported;
	if (r->snapshot_differs && r->conf)
		LOG_E("snapshot zxid=0x%llx: digest is 0x%llx, was 0x%llx when written",
		      (unsigned long long)head->zxid, (unsigned long long)shm_tree_digest(r->tree),
		      (unsigned long long)head->digest);
	wtr_quota_recount(&r->quota, head->zxid);
	r->loaded_ms = clock_mono_ms();
	return 0;
}

static int txn(void *self, int64_t zxid, const uint8_t *entry, uint32_t len)
{
	struct wtr_recovery *r = self;
	int err;

	if (zxid > r->limit) {
		wtr_buf_put(&r->tail, &len, sizeof(len));
		wtr_buf_put(&r->tail, entry, len);
		return 0;
	}
	r->apply.imported = r->imported || zxid <= r->fuzzy_zxid;
	err = wtr_apply(&r->apply, entry, len);
	if (err == -EBADMSG)
		r->misfit = zxid;
	if (err == -EBADMSG && r->conf)
		LOG_E("log zxid=0x%llx type=%d does not fit the tree before it",
		      (unsigned long long)zxid, r->apply.header.type);
	return err;
}

/* ZooKeeper's own files: read, then written down as a snapshot before anything else happens. */
static int import(struct wtr_recovery *r, const struct sto_sink *sink)
{
	int err;

	r->apply.imported = r->imported = true;
	r->limit = INT64_MAX;
	err = sto_import(r->fs, r->snap_dir, r->log_dir, sink, &r->found);
	if (err)
		return err;
	err = wtr_snapshot_write(r->tree, shm_tree_zxid(r->tree), r->fs, r->snap_dir, NULL, NULL,
				 NULL);
	if (!err)
		LOG_I("import zxid=0x%llx nodes=%lld: ZooKeeper's files are read, and left alone",
		      (unsigned long long)shm_tree_zxid(r->tree),
		      (long long)shm_tree_count(r->tree));
	return err;
}

static int read_all(struct wtr_recovery *r)
{
	const struct sto_sink sink = {r, begin, session, node, loaded, txn};
	int wanted, err;

	if (r->must_sync)
		return sto_recover(r->fs, r->snap_dir, r->log_dir, false, &sink, &r->found);
	wanted = sto_import_wanted(r->fs, r->snap_dir, r->log_dir);
	err = wanted < 0 ? wanted : 0;
	/* A successor in mid-service has nothing to ask an operator. */
	if (!err && r->limit == INT64_MAX)
		err = sto_import_check(&sto_fs_posix, r->snap_dir, r->log_dir, &r->found);
	if (err)
		return err;
	if (wanted)
		return import(r, &sink);
	return sto_recover(r->fs, r->snap_dir, r->log_dir, false, &sink, &r->found);
}

int wtr_recover(struct wtr_recovery *r, const struct conf *conf, const struct sto_fs *fs,
		uint32_t gen, uint64_t commit_size, int64_t limit, const struct sto_member *member)
{
	int err;

	memset(r, 0, sizeof(*r));
	r->misfit = -1;
	r->conf = conf;
	r->fs = fs;
	r->gen = gen;
	r->limit = limit;
	r->fuzzy_zxid = member->fuzzy_zxid;
	r->must_sync = member->must_sync;
	r->commit_size = commit_size;
	r->apply.digests = conf->digest_enabled;
	err = sto_dir_make(conf->data_dir, r->snap_dir, sizeof(r->snap_dir));
	if (!err)
		err = sto_dir_make(conf->data_log_dir, r->log_dir, sizeof(r->log_dir));
	if (!err)
		err = read_all(r);
	stop_ahead(r);
	if (*r->found.message)
		log_always(err ? LOG_ERROR : LOG_WARNING, "recovery: %s", r->found.message);
	if (err) {
		log_always(LOG_ERROR, "recovery dataDir=%s: %s; nothing is served", conf->data_dir,
			   strerror(-err));
		wtr_recovery_fini(r);
		return err;
	}
	if (r->apply.digest_differs)
		LOG_E("recovery: the digest of the tree differs from the logged one after %d "
		      "transactions",
		      r->apply.digest_differs);
	r->tree_zxid = shm_tree_zxid(r->tree);
	r->replayed_ms = clock_mono_ms();
	return 0;
}

int wtr_recover_private(struct wtr_recovery *r, bool zookeepers)
{
	const struct sto_sink sink = {r, begin, session, node, loaded, txn};

	r->misfit = -1;
	r->limit = INT64_MAX;
	r->apply.digests = true;
	r->apply.imported = r->imported = zookeepers;
	if (zookeepers)
		return sto_import(&sto_fs_readonly, r->snap_dir, r->log_dir, &sink, &r->found);
	return sto_recover(&sto_fs_readonly, r->snap_dir, r->log_dir, false, &sink, &r->found);
}

void wtr_recovery_fini(struct wtr_recovery *r)
{
	wtr_buf_fini(&r->tail);
	wtr_apply_fini(&r->apply);
	wtr_quota_fini(&r->quota);
}

/*
 * recovery.h - from the data directories to a tree that may be published
 *
 * The newest good snapshot and the log behind it go into a fresh tree, in bulk, up to `limit`: what
 * a predecessor has surely published (board->settled_zxid). Later entries were logged, hence are
 * committed, but perhaps nobody was told of them: they are kept as they are, for the loop to apply
 * and tell through the commit ring (V1, V2). A directory of Apache ZooKeeper is imported and
 * written down as a snapshot of ours before anything is served. A member that gave up its history
 * (storage/member.h) begins with none, also beside files of ZooKeeper.
 *
 * Runs in: writer, before it serves.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/conf.h"
#include "shm/tree.h"
#include "storage/member.h"
#include "storage/recover.h"
#include "writer/apply.h"
#include "writer/buf.h"

enum { WTR_DIR_MAX = 4096 };

struct wtr_recovery {
	const struct conf *conf; /* NULL: offline, the tree is private memory */
	const struct sto_fs *fs;
	uint32_t gen; /* region to build in */
	int64_t limit;
	int64_t fuzzy_zxid; /* storage/member.h */
	bool must_sync;     /* there is no history, and ZooKeeper's files are none */
	char snap_dir[WTR_DIR_MAX], log_dir[WTR_DIR_MAX];
	struct shm_tree *tree;
	struct wtr_buf tail; /* entries after `limit`: u32 length, bytes */
	int64_t tree_zxid;   /* the tree is as of this */
	struct sto_recovered found;
	bool imported;
	bool snapshot_differs; /* its digest is not the one that was written in it */
	int64_t misfit;        /* -1, or the zxid of a transaction that does not fit the tree */
	uint64_t loaded_ms, replayed_ms; /* monotonic: how far it was when */
	/* Between the calls of the sink. */
	struct wtr_apply apply;
	struct wtr_quota quota;
	uint64_t commit_size;
	/* Brings memory ahead of the loading. */
	pthread_t ahead;
	bool ahead_runs, large;
	_Atomic bool ahead_stop;
};

/* limit: INT64_MAX when nothing was ever published. member: of a standalone server zeros. 0 or
 * -errno, after a line in the log; then r->found.lost says whether anything else could come of it,
 * and r may be used again. */
int wtr_recover(struct wtr_recovery *r, const struct conf *conf, const struct sto_fs *fs,
		uint32_t gen, uint64_t commit_size, int64_t limit, const struct sto_member *member);

/*
 * Offline (offline.h): from r->snap_dir and r->log_dir, all else zero, into a private tree, which
 * is the caller's also on an error. Changes no file, logs nothing. 0 or -errno.
 */
int wtr_recover_private(struct wtr_recovery *r, bool zookeepers);

/* Frees all but the tree. */
void wtr_recovery_fini(struct wtr_recovery *r);

/*
 * snap.h - snapshots: the tree, the sessions and the ACL lists as of one zxid
 *
 * <dataDir>/version-2/paddock.snapshot.<zxid, 16 hex digits>; written to a .tmp, synced, verified by reading it back, renamed, directory synced. lz4 blocks of about 256 KiB raw, each
 * with its own checksum, so that several can be decoded at once; paths share their parent's prefix with the record before. Format in storage/README.md.
 */
#pragma once
#include <stdint.h>
#include "storage/fs.h"

struct sto_snap_node {
	const char *path;            /* "/" for the root */
	uint32_t path_len;
	int32_t data_len;            /* -1 = null */
	const void *data;
	const uint8_t *acl;          /* vector<ACL> as jute bytes: the writer of snapshots interns them per file */
	uint32_t acl_len;            /* 0 = none */
	int32_t version, cversion /* internal */, aversion;
	int64_t owner, czxid, mzxid, ctime, mtime, pzxid;
};
struct sto_snap_head {
	int64_t zxid;
	uint64_t nodes, sessions, digest;
};

struct sto_snap_writer;
int sto_snap_begin(struct sto_snap_writer **w, const struct sto_fs *fs, const char *dir, const struct sto_snap_head *expected);
int sto_snap_session(struct sto_snap_writer *w, int64_t id, int32_t timeout_ms);     /* all sessions first */
int sto_snap_put(struct sto_snap_writer *w, const struct sto_snap_node *n);          /* parents before children; children of one parent in a row compress best */
int sto_snap_commit(struct sto_snap_writer *w, const struct sto_snap_head *actual);  /* footer, sync, verify, rename, sync directory */
void sto_snap_abort(struct sto_snap_writer *w);

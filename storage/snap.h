/*
 * snap.h - snapshots: the tree, the sessions and the ACLs as of one zxid
 *
 * <dataDir>/version-2/paddock.snapshot.<zxid, 16 hex digits>; README.md has the bytes. Written to
 * a .tmp of its own, synced, read back from the disk and compared, then renamed and the directory
 * synced: a file of that name was whole once. Blocks of about 256 KiB, lz4, each with a checksum
 * and independent of the others; a checksum over all the bytes before compression at the end.
 *
 * Runs in: the snapshotter (writing), the writer (loading, verifying). Loading starts a second
 * thread for the time of the call: it reads, checks and decompresses ahead of the sink.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "storage/fs.h"

struct sto_snap_node {
	const char *path; /* "/" for the root; not terminated */
	uint32_t path_len;
	int32_t data_len; /* -1 = null */
	const void *data;
	const uint8_t *acl; /* vector<ACL> as jute bytes; a snapshot holds each list once */
	uint32_t acl_len;   /* 0 = none */
	int32_t version, cversion /* internal, client.md 5.4 */, aversion;
	int64_t owner, czxid, mzxid, ctime, mtime, pzxid;
};

struct sto_snap_head {
	int64_t zxid;
	uint64_t nodes, sessions;
	uint64_t digest; /* of the tree; 0 = not known */
};

/* Where the state goes. Each returns 0 or -errno, which ends the loading with it. All are called
 * from the caller's thread, in this order; pointers are valid during the call. */
struct sto_sink {
	void *self;
	/* Forget everything: a snapshot begins, or begins again from an older one that is good. The
	 * counts are true for our own snapshots, 0 for imported ones. */
	int (*begin)(void *self, const struct sto_snap_head *head);
	int (*session)(void *self, int64_t id, int32_t timeout_ms);
	int (*node)(void *self, const struct sto_snap_node *n); /* parents before children */
	/* The snapshot was whole. */
	int (*loaded)(void *self, const struct sto_snap_head *head);
	/* TxnHeader, record, optional digest; zxid > head->zxid, ascending. */
	int (*txn)(void *self, int64_t zxid, const uint8_t *entry, uint32_t len);
};

struct sto_snap_writer;

/* Begin a snapshot in the version-2 directory `dir`. Of `head` only the zxid counts here. */
int sto_snap_begin(struct sto_snap_writer **w, const struct sto_fs *fs, const char *dir,
		   const struct sto_snap_head *head);

/* All sessions first; then nodes, parents before children (children of one parent in a row
 * compress best). An error is kept and returned by commit as well. */
int sto_snap_session(struct sto_snap_writer *w, int64_t id, int32_t timeout_ms);
int sto_snap_put(struct sto_snap_writer *w, const struct sto_snap_node *n);

/*
 * Footer, sync, verify, rename, sync of the directory. Frees w in any case; on an error no file is
 * left. Counts and zxid of `actual` must be those put: else the caller's bug, and it aborts.
 */
int sto_snap_commit(struct sto_snap_writer *w, const struct sto_snap_head *actual);
void sto_snap_abort(struct sto_snap_writer *w);

/*
 * Load the snapshot of `zxid` into `sink` (not its txn), or check it to the last byte (sink NULL).
 * 0; -EBADMSG: not whole; other -errno of the disk; *sink_error (if given) what the sink returned,
 * then -ECANCELED. `why` (256 bytes) says what was wrong.
 */
int sto_snap_load(const struct sto_fs *fs, int dir, int64_t zxid, const struct sto_sink *sink,
		  struct sto_snap_head *head, int *sink_error, char *why);

/*
 * recover.h - from a data directory to a state: newest good snapshot, then the log behind it
 *
 * Rules (reliability.md 2.2). A snapshot is verified as a whole (or block by block before a block is used, with a fresh start from an older one on failure) before it counts; an older one plus
 * more log is taken when the newest is bad. A block that fails at the very end of the last segment, with nothing valid behind it, is a torn tail: cut, and told.
 * Anything else that does not check out is rot: -EBADMSG with a message that names file, offset and zxid range; nothing is served (option accept_loss: an operator's explicit word).
 * A gap in zxids, two files that overlap differently, a foreign segment id are rot. ZooKeeper's own files (log.*, snapshot.*) without ours: read by import.h.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "storage/fs.h"
#include "storage/snap.h"

/* Where the state goes. Each returns 0 or -errno, which ends the recovery with it. Called from one thread, in order; decoding may run ahead in others. */
struct sto_sink {
	void *self;
	int (*begin)(void *self, const struct sto_snap_head *head);   /* again if a snapshot turns out bad on the way: forget everything */
	int (*session)(void *self, int64_t id, int32_t timeout_ms);
	int (*node)(void *self, const struct sto_snap_node *n);
	int (*loaded)(void *self, const struct sto_snap_head *head);  /* the snapshot is whole */
	int (*txn)(void *self, int64_t zxid, const uint8_t *entry, uint32_t len); /* TxnHeader + record [+ digest], zxid > head->zxid, ascending */
};
struct sto_recovered {
	int64_t snapshot_zxid, last_zxid; /* -1, 0: there was nothing */
	uint64_t txns, log_bytes, cut_bytes;
	char message[256];                /* what was cut, skipped or found rotten; "" if nothing */
};

/* snap_dir and log_dir: the version-2 directories (created when missing by sto_dir_open). 0, or -errno with out->message. */
int sto_recover(const struct sto_fs *fs, const char *snap_dir, const char *log_dir, bool accept_loss, const struct sto_sink *sink, struct sto_recovered *out);

/* Delete snapshots beyond the newest `retain` verified ones, and segments that only hold what the oldest kept snapshot has. Count of files deleted or -errno. */
int sto_purge(const struct sto_fs *fs, const char *snap_dir, const char *log_dir, unsigned retain);

/* Create <dir>/version-2 with mode 0700 if missing. -errno. */
int sto_dir_make(const char *dir, char *out_version2, unsigned cap);

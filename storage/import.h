/*
 * import.h - data directories of Apache ZooKeeper 3.4 to 3.9
 *
 * snapshot.<zxid hex> (or .gz) and log.<zxid hex> under version-2. Used when a data directory has
 * ZooKeeper's files and none of ours: an operator stops ZooKeeper and starts Paddock with the same
 * zoo.cfg. Goes to the same sink as recovery. ZooKeeper's snapshots are fuzzy: nodes may carry
 * zxids above the snapshot's, and replay must be idempotent (quorum.md 5.7). Its files are left as
 * they are. Lengths, Adler32 sums and end markers are checked; what ZooKeeper would skip in
 * silence (a damaged length in mid-file, a missing file) is refused with a message.
 */
#pragma once

#include "storage/recover.h"

/* 1: ZooKeeper's files and none of ours; 0: no; -errno. */
int sto_import_wanted(const struct sto_fs *fs, const char *snap_dir, const char *log_dir);

/*
 * Has ZooKeeper written since? At each start: paddock.imported in snap_dir keeps the newest zxid
 * among the names of its files, in 16 hex digits and a newline; written here when there is none
 * yet. A ZooKeeper that is started again begins a new log with its first transaction. 0; -EEXIST:
 * it has, and nothing may be served before an operator has decided; another -errno; out->message.
 */
int sto_import_check(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		     struct sto_recovered *out);

/* As sto_recover(). The caller takes a snapshot of its own as of last_zxid before it serves. */
int sto_import(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
	       const struct sto_sink *sink, struct sto_recovered *out);

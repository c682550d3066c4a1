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

/* As sto_recover(). The caller takes a snapshot of its own as of last_zxid before it serves. */
int sto_import(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
	       const struct sto_sink *sink, struct sto_recovered *out);

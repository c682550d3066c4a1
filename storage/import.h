/*
 * import.h - data directories of Apache ZooKeeper: snapshot.<zxid hex> (also .gz) and log.<zxid hex> under version-2, 3.4 to 3.9
 *
 * Used when a data directory has ZooKeeper's files and none of ours: an operator stops ZooKeeper and starts Paddock on the same zoo.cfg. Reads them with the same sink as recovery
 * (fuzzy snapshot, then the log from its zxid on: replay is idempotent by the rules of quorum.md 5.7); ZooKeeper's files are left as they are. Adler32, lengths and end markers are checked;
 * what ZooKeeper would silently skip is refused with a message.
 */
#pragma once
#include "storage/recover.h"

/* 1: ZooKeeper's files and none of ours; 0: no; -errno. */
int sto_import_wanted(const struct sto_fs *fs, const char *snap_dir, const char *log_dir);
int sto_import(const struct sto_fs *fs, const char *snap_dir, const char *log_dir, const struct sto_sink *sink, struct sto_recovered *out);

/*
 * export.h - a data directory that Apache ZooKeeper 3.5 to 3.9 starts on
 *
 * The newest good snapshot becomes snapshot.<zxid hex>, the log behind it log.<zxid hex>, in the
 * bytes of jute/snap.h. The snapshot is exact: nothing in it is younger than its name. With the
 * digest, if we know it, comes the part of 3.9 behind it, which older ones skip; a server with
 * digest.enabled=false wants neither, and a log written under that key has none.
 *
 * What comes out is what recovery takes in, so it passes its checks first. Read twice: lists of
 * ACLs stand before the nodes, and counts before both. Memory is taken for the ACL lists and one
 * record. Before the files get their names they are whole and durable, the log before the
 * snapshot, without which ZooKeeper does not start; then both are read back, as import does.
 *
 * Whoever calls holds the locks of both directories.
 */
#pragma once

#include "storage/recover.h"

struct sto_exported {
	struct sto_recovered found;     /* what recovery says of the source */
	uint64_t nodes, sessions, acls; /* in the snapshot */
	uint64_t ttl_nodes;             /* there, and transactions that made some */
	char message[256];              /* on an error: what failed; "" if found.message says it */
};

/*
 * From the version-2 directories snap_dir and log_dir (one, or two) to the version-2 directory
 * to_dir, which has no file of ZooKeeper's yet. `from` may be sto_fs_readonly.
 * 0; -EEXIST: to_dir has one; -ENODATA: nothing is there; other -errno. On an error nothing
 * stays in to_dir.
 */
int sto_export(const struct sto_fs *from, const char *snap_dir, const char *log_dir,
	       const struct sto_fs *to, const char *to_dir, struct sto_exported *out);

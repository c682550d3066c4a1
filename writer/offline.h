/*
 * offline.h - data directories without a server: importing, and checking by replay
 *
 * The whole of what the tools may use of the writer: recovery into a private tree, by the same
 * code as a start. Takes as much memory as the tree would. The locks are the caller's.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/recover.h"

struct wtr_offline {
	struct sto_recovered found;
	int64_t nodes;
	uint32_t sessions;
	int32_t digest_differs; /* transactions after which the digest was not the logged one */
	bool snapshot_differs;  /* the digest of the snapshot is not the one written in it */
	int64_t misfit;         /* -1, or the zxid of a transaction that does not fit the tree */
};

/*
 * Read ZooKeeper's snapshot and log (version-2 directories) and write a snapshot of ours into
 * to_dir, as a server does at its first start. 0 or -errno, *o filled in either case.
 */
int wtr_offline_import(const char *snap_dir, const char *log_dir, const char *to_dir,
		       struct wtr_offline *o);

/* Recover from directories of ours as a server would, and change nothing. As above. */
int wtr_offline_check(const char *snap_dir, const char *log_dir, struct wtr_offline *o);

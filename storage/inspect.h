/*
 * inspect.h - a data directory of ours, file by file, for the tools
 *
 * Nothing is changed, and nothing is believed: each file is read to its end. What recovery makes of
 * them together is for recovery to say; here one learns which file is bad, and what is in a log.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/fs.h"
#include "storage/snap.h"

enum sto_state {
	STO_GOOD,
	STO_TORN, /* a segment that ends in a torn write, nothing behind it: the next start cuts it
		   */
	STO_BAD,
};

struct sto_file {
	const char *name; /* valid during the call */
	bool is_snapshot;
	enum sto_state state;
	char why[256]; /* if it is not good */
	uint64_t bytes;
	int64_t first_zxid, last_zxid; /* of a segment's entries; first > last: none */
	uint64_t txns;
	struct sto_snap_head head; /* of a snapshot */
};

/* Each snapshot, then each segment, in the order of their zxids; a segment that does not continue
 * the one before it is bad. 0; what each() returned, if not 0; -errno. */
int sto_inspect(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		int (*each)(void *arg, const struct sto_file *file), void *arg);

/* Each entry of the log in order, up to the first that can't be read. 0; -EBADMSG: behind what was
 * given there is more, *why (256 bytes) says where; what each() returned; -errno. */
int sto_inspect_log(const struct sto_fs *fs, const char *log_dir,
		    int (*each)(void *arg, int64_t zxid, const uint8_t *entry, uint32_t len),
		    void *arg, char *why);

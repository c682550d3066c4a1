/*
 * reader.h - the log, read while others append to it
 *
 * Runs in: any thread, one per reader; what it shares with who appends are the files. What was
 * durable when a call began is found; a segment that purge deletes meanwhile is an error, -ENOENT.
 * A reader ends before its history is cut or replaced (member.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/fs.h"

/*
 * Call run(arg, first, last) for each run of zxids without a gap that the log directory has behind
 * `after`, ascending, one epoch each: from the heads of blocks alone (but for batches of several
 * epochs), so believe it only behind a recovery. 0; what run() returned, if not 0; -errno. Nothing
 * appends meanwhile.
 */
int sto_log_runs(const struct sto_fs *fs, const char *log_dir, int64_t after,
		 int (*run)(void *arg, int64_t first, int64_t last), void *arg);

struct sto_reader;

/* Stand before the first entry above `after`. -ENOENT: the log does not reach back so far, or has
 * no segment yet. */
int sto_reader_open(struct sto_reader **r, const struct sto_fs *fs, const char *log_dir,
		    int64_t after);

/*
 * The next entry up to zxid `last`: its bytes (TxnHeader, record, digest), checked, valid until the
 * next call. `last` is durable, or 0 is expensive and may come too early.
 * 1: there is one; 0: no more up to `last`; -EBADMSG: rot; -ENOENT: purged, or zxids are missing;
 * other -errno. After an error only close.
 */
int sto_reader_next(struct sto_reader *r, int64_t last, int64_t *zxid, const uint8_t **entry,
		    uint32_t *len);
void sto_reader_close(struct sto_reader *r);

/*
 * The snapshot `zxid` in the version-2 directory as a leader sends it behind SNAP (zksnap.h): put()
 * gets the bytes in pieces; what it returns other than 0 ends it. 0 or -errno.
 */
int sto_snap_stream(const struct sto_fs *fs, const char *snap_dir, int64_t zxid,
		    int (*put)(void *arg, const void *bytes, size_t n), void *arg);

/* The newest snapshot that is there by name; -1: none. */
int64_t sto_snap_newest(const struct sto_fs *fs, const char *snap_dir);

/* The first zxid of the oldest segment, by name; -1: there is none, or the directory can't be read.
 */
int64_t sto_log_oldest(const struct sto_fs *fs, const char *log_dir);

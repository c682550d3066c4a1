/*
 * log.h - the transaction log: lz4-compressed, checksummed segments
 *
 * Directory <dataLogDir>/version-2, files paddock.log.<first zxid, 16 hex digits>; README.md has
 * the bytes. An entry is a ZooKeeper log entry as it is: TxnHeader, record, optional TxnDigest. A
 * batch of entries becomes a block (several, each durable before the next, when it is longer than
 * STO_BLOCK_RAW_MAX); blocks start at multiples of 4 KiB, and one that is durable is never
 * written again. Segments are zero-filled ahead and written with O_DIRECT|O_DSYNC where the file
 * system takes that, else with pwrite and fdatasync.
 *
 * Entries in memory, here and in what a reader gives back: u32 length in host order, bytes; one
 * after the other without padding.
 *
 * Runs in: the writer. No thread of its own. append, seal, roll and close belong to one
 * thread; prepare may run in another at the same time; room, is_tight, is_scant and
 * bytes_since_open in any.
 *
 * Errors: after an error of write or sync nobody knows what the disk has, so every later call
 * fails with -EIO: the process dies and recovers. The one exception is -ENOSPC of append: nothing
 * was written, and the log is as before.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/fs.h"

struct sto_log;

struct sto_log_options {
	uint64_t segment_size; /* bytes; the first after an open are smaller, to be quick */
	bool force_sync;       /* false: nothing is ever synced, a power cut may refuse a restart */
	bool direct;           /* try O_DIRECT|O_DSYNC */
};

/*
 * Open for appending behind last_zxid, which is what recovery returned. Appending begins in a new
 * segment, whose space is taken here: less of it on a full disk, which is_scant() tells. `fs` and
 * the options' values outlive the log. 0 or -errno.
 */
int sto_log_open(struct sto_log **log, const struct sto_fs *fs, const char *dir, int64_t last_zxid,
		 const struct sto_log_options *options);

/*
 * Append one batch; it is durable when this returns 0 (and force_sync is on), and after a crash
 * it is there whole or not at all. first_zxid must follow the last one appended: + 1, or counter
 * 1 of a higher epoch; anything else is the caller's bug and aborts. Allocates nothing, and
 * creates a file only when prepare() did not keep up.
 * 0; -ENOSPC: nothing written; -EIO: see above.
 */
int sto_log_append(struct sto_log *log, const uint8_t *entries, uint64_t len, int64_t first_zxid,
		   int64_t last_zxid);

/*
 * Write an empty block behind the last one. Until something valid follows a block, rot in it
 * can't be told from a torn write: call this when the log has been idle for a while. Close does.
 * 0: written, or not needed; -errno as append.
 */
int sto_log_seal(struct sto_log *log);

/* Let the next append begin a new segment if one is prepared: after a snapshot, so that purge
 * finds whole segments. */
void sto_log_roll(struct sto_log *log);

/* Zero-fill the next segment ahead. 0: done, or nothing to do; -ENOSPC: append still has what
 * sto_log_room() says; -errno. */
int sto_log_prepare(struct sto_log *log);

/* The disk had no room for the next whole segment when that was last tried. Any thread. */
bool sto_log_is_scant(struct sto_log *log);

/*
 * Would appending `ahead` bytes leave so little that small batches, deletions above all, could soon
 * find no room while the next segment is not prepared? Then whoever appends had better wait for
 * prepare(), and add nothing large when that says -ENOSPC. Any thread.
 */
bool sto_log_is_tight(struct sto_log *log, uint64_t ahead);

/* Bytes that are surely there for blocks: the rest of this segment and the prepared one. */
uint64_t sto_log_room(struct sto_log *log);

/* Bytes of blocks written since open, padding included. */
uint64_t sto_log_bytes_since_open(const struct sto_log *log);

/* Seal, give back what was zero-filled in vain, and free. 0 or -errno of that; always frees. */
int sto_log_close(struct sto_log *log);

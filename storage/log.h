/*
 * log.h - the transaction log: lz4-compressed, checksummed segments
 *
 * Directory: <dataLogDir>/version-2, files paddock.log.<first zxid, 16 hex digits>. Format in storage/README.md. An entry is a ZooKeeper log entry as it
 * is: TxnHeader + record + optional TxnDigest (jute/txn.h). A batch of entries becomes one block: header (magic, segment id, block number, position,
 * first and last zxid, raw and stored length, flags, XXH3 over header and payload) and payload, padded to 4 KiB; lz4 blocks linked
 * within restart windows. Segments are zero-filled ahead and written by O_DIRECT|O_DSYNC where the file system takes it, else
 * pwrite + fdatasync. A synced block is never written again.
 *
 * No threads of its own: appending is called by the log thread, preparing (zero-filling the next segment) by the memory/preparation thread.
 * Errors: any error of write or sync means that what is on disk is unknown: the caller dies and recovers (never retries). -ENOSPC from sto_log_prepare
 * is an early warning while the log can still take the reserve.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include "storage/fs.h"

struct sto_log;
struct sto_log_options {
	uint64_t segment_size;   /* conf.segment_size */
	bool force_sync;
	bool direct;             /* try O_DIRECT|O_DSYNC */
};

/* Entries in memory: u32 length (host order) + bytes, one after the other: what the writer's core hands to the log thread and what a reader gives back. */

/* Open for appending behind `last_zxid` (what recovery found and cut): always begins a new segment. -errno. */
int sto_log_open(struct sto_log **log, const struct sto_fs *fs, const char *dir, int64_t last_zxid, const struct sto_log_options *o);
/* One batch, one block (or several when larger than a block may be); durable when it returns 0. */
int sto_log_append(struct sto_log *log, const uint8_t *entries, uint64_t len, int64_t first_zxid, int64_t last_zxid);
/* Zero-fill the next segment ahead (another thread than append's may call it). 0 nothing to do or done, -ENOSPC, -errno. */
int sto_log_prepare(struct sto_log *log);
uint64_t sto_log_bytes_since_open(const struct sto_log *log);
void sto_log_close(struct sto_log *log);

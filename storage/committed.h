/*
 * committed.h - what a member of an ensemble last knew to be committed, for its next start
 *
 * One number in <dataDir>/version-2/paddock.committed, checksummed, written over in place and never
 * synced: after a crash it may be old, or unreadable, which is the same as not there. It is never
 * too new, as only what is published is written, and that is durable here. README.md has the bytes.
 *
 * Runs in: the writer, any thread, one at a time.
 */
#pragma once

#include <stdint.h>

#include "storage/fs.h"

/* The zxid; 0: nothing is known. */
int64_t sto_committed_load(const struct sto_fs *fs, const char *snap_dir);
/* 0 or -errno; then the file is the old one, or says nothing. zxid > 0. */
int sto_committed_store(const struct sto_fs *fs, const char *snap_dir, int64_t zxid);

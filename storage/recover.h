/*
 * recover.h - from a data directory to a state: the newest good snapshot, then the log behind it
 *
 * Snapshots count only whole; when the newest is bad an older one plus more log is taken. A block
 * that fails at the end of the last segment, with no trace of a later one behind it, is a torn
 * tail: it was never acknowledged, is cut off, and told. All else that does not check out is rot:
 * a bad block before a good one, a segment that is missing, overlaps, carries a foreign id or does
 * not continue its predecessor. Rot is -EBADMSG and nothing may be served. With accept_loss, an
 * operator's explicit word, what lies before the rot is recovered; the rest is cut off, and whole
 * segments behind it are kept as <name>.lost. A member of an ensemble gives up its history instead,
 * and has it from its leader (sto_history_set_aside()).
 *
 * A member's history that was to be cut or replaced, and is not yet (member.h), is -EBADMSG too:
 * who starts settles first. What is staged is not looked at.
 *
 * Runs in: the writer, before it opens the log. Changes the directories: strays of unfinished
 * work (.tmp) and what is cut off go. Everything found is synced before it is believed.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/fs.h"
#include "storage/snap.h"

struct sto_recovered {
	int64_t snapshot_zxid; /* -1: none */
	int64_t last_zxid;     /* 0: there was nothing */
	uint64_t txns, log_bytes;
	/* It failed as a part of what was durable is gone, rotten, or not given back by the device:
	 * no other attempt, and no other program, would find it. */
	bool lost;
	char message[256]; /* what was cut, skipped or found rotten; "" if nothing */
};

/*
 * snap_dir and log_dir: the version-2 directories, which may be one. Without a snapshot the sink
 * gets begin and loaded with a head of zeros. 0; -EBADMSG or another -errno, with out->message.
 */
int sto_recover(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		bool accept_loss, const struct sto_sink *sink, struct sto_recovered *out);

/* The same from the newest good snapshot whose zxid is not above `limit`. */
int sto_recover_from(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		     bool accept_loss, int64_t limit, const struct sto_sink *sink,
		     struct sto_recovered *out);

/*
 * Delete snapshots beyond the newest `retain` (at least 3) that verify, and segments that hold
 * only what the oldest of those has. While there are not so many, nothing is deleted. May run
 * beside appending. The number of files deleted, or -errno.
 */
int sto_purge(const struct sto_fs *fs, const char *snap_dir, const char *log_dir, unsigned retain);

/* Make <dir>/version-2 and what lacks above it, mode 0700, and put its name into out. -errno. */
int sto_dir_make(const char *dir, char *out_version2, unsigned cap);

/*
 * member.h - what a member of an ensemble keeps beside its log and snapshots, and how a history is
 * cut or replaced
 *
 * One record, <dataDir>/version-2/paddock.member, checksummed, replaced atomically (temporary file,
 * fsync, rename, fsync of the directory): the epochs, the mark of a member that has to be synced by
 * a leader, and what was decided about the history and is perhaps not carried out yet. That record
 * is the COMMIT of a cut and of an install: a crash before it leaves the old history, whole; after
 * it sto_member_settle() carries on. Until then recovery refuses the directories. README.md has the
 * bytes.
 *
 * Staging. A history that a leader sends (SNAP and what follows) is written into directories
 * `staged` below both version-2 directories: a snapshot (sto_snap_begin() there) and a log
 * (sto_log_open() there). It counts for nothing until it is installed; then nothing of the old one
 * is found again, no record and no snapshot (quorum.md I10). A cut uses the stage, too.
 *
 * Runs in: the writer. Nothing appends to the log that is cut or replaced meanwhile, nobody reads
 * it and nothing purges; sto_log_prepare() of the staged log may run. Every call returns 0 or
 * -errno, and what it says is durable when it returns 0. After an error of store, install or cut
 * nobody knows: the process ends, and the next one settles. Exceptions are named below.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "storage/fs.h"
#include "storage/log.h"

struct sto_member {
	int64_t accepted_epoch, current_epoch;
	bool must_sync; /* a part of the log was lost, or can't be read: V11 */
	/* Not 0: the installed state may hold effects of transactions up to this one, as states of
	 * Apache's leaders do: they may fit twice (quorum.md 5.7). */
	int64_t fuzzy_zxid;
};

/*
 * load: 0; -ENOENT: there is none; -EBADMSG: it is damaged; *m is zeros then. store: accepted_epoch
 * is not below current_epoch, else the caller's bug, and it aborts. What is pending stays pending;
 * a damaged record is replaced, and what was pending in it forgotten.
 */
int sto_member_load(const struct sto_fs *fs, const char *snap_dir, struct sto_member *m);
int sto_member_store(const struct sto_fs *fs, const char *snap_dir, const struct sto_member *m);

/*
 * Before anything else at a start: carry out what was decided, remove what was only staged. *m is
 * what the record says, zeros if there is none. Apache ZooKeeper's acceptedEpoch and currentEpoch
 * are read where there is no record (quorum.md 1.6), and left alone; if one is missing, the promise
 * is the epoch, and the epoch 0.
 * -EBADMSG: the record (then *m is zeros) or ZooKeeper's files are damaged, or what was decided
 * can't be carried out, as what it needs is damaged or gone. Then only must_sync helps: stored, a
 * history may be staged and installed, and recovery refuses the old one until that is done (V11).
 */
int sto_member_settle(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		      struct sto_member *m);

/*
 * A part of the history was lost, or can't be read: it is given up (V11). *m is as settling left
 * it; then it says must_sync, and is stored; nothing is pending; and snapshots, segments and what
 * was staged are in directories `damaged` below both version-2 directories, for a human. The record
 * comes first: a crash at any point leaves a member without a vote, whose next start calls this
 * again. Only the last such history is kept. -EBADMSG: the record is damaged, hence it is not known
 * what was promised, and must_sync is no remedy for that (aside.c); nothing was changed.
 */
int sto_history_set_aside(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
			  struct sto_member *m);

/* Write Apache ZooKeeper's acceptedEpoch and currentEpoch, in place of what is there. */
int sto_member_export(const struct sto_fs *fs, const char *snap_dir, const struct sto_member *m);

/* Make both `staged` directories, empty. -EINPROGRESS: something is pending that settling could not
 * carry out, and the record does not say must_sync. */
int sto_stage_begin(const struct sto_fs *fs, const char *snap_dir, const char *log_dir);

/* Forget what is staged. */
int sto_stage_discard(const struct sto_fs *fs, const char *snap_dir, const char *log_dir);

/*
 * What is staged takes the place of everything there was, together with *m. Both logs, of there and
 * of the stage, are closed. The snapshot there is `zxid`'s. -ENOENT: it is not there, and nothing
 * was changed.
 */
int sto_stage_install(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		      const struct sto_member *m, int64_t zxid);

/*
 * Records above zxid go, and snapshots above it. There must be a way back: from a snapshot at or
 * below zxid, or the log's beginning at 0, the log must have every zxid up to it, so zxid is an
 * entry's or a snapshot's. The log is closed; it is opened anew with last_zxid = zxid. What was
 * staged is forgotten. -ENOENT: there is no way back; -EBADMSG: what stays of the log is damaged;
 * -EINPROGRESS: as begin; nothing was changed then.
 */
int sto_history_cut(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		    const struct sto_member *m, int64_t zxid);

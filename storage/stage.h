/*
 * stage.h - the record of a member as bytes, and the directories that a cut and an install work on
 *
 * Within storage/ only; README.md has the bytes. In the record stands what was decided and may not
 * be carried out yet. To carry it out is safe to begin anew after a crash at any point: each step
 * does nothing when it is done already, and each syncs what it relies on, done by itself or before.
 */
#pragma once

#include <stddef.h>

#include "storage/file.h"
#include "storage/member.h"

#define STO_STAGE  "staged"
#define STO_ASIDE  "damaged"
#define STO_MEMBER "paddock.member"

enum { STO_MEMBER_BYTES = 64 };

enum sto_pending { STO_PENDING_NOTHING, STO_PENDING_CUT, STO_PENDING_INSTALL };

struct sto_record {
	struct sto_member member;
	enum sto_pending pending;
	int64_t zxid; /* where the log is cut, or of the snapshot that is installed */
};

void sto_record_put(uint8_t to[STO_MEMBER_BYTES], const struct sto_record *r);
bool sto_record_get(const uint8_t *from, size_t len, struct sto_record *r);

/* In the open directory `dir`. As sto_member_load() and _store(); loading changes nothing. */
int sto_record_load(const struct sto_fs *fs, int dir, struct sto_record *r);
int sto_record_store(const struct sto_fs *fs, int dir, const struct sto_record *r);

/* Both version-2 directories, which may be one, and the stages in them; -1: there is none. */
struct sto_dirs {
	const struct sto_fs *fs;
	int snap, log, snap_stage, log_stage;
};

int sto_dirs_open(struct sto_dirs *d, const struct sto_fs *fs, const char *snap_dir,
		  const char *log_dir);
void sto_dirs_close(struct sto_dirs *d);

/*
 * Make the stages, empty; or empty those that are there. Durable then. -EINPROGRESS: something is
 * pending, and the member has not given up its history (must_sync).
 */
int sto_stage_make(struct sto_dirs *d);
int sto_stage_clean(struct sto_dirs *d);

/* Open the directory `name` below `dir`, made if it is not there; its name is durable. */
int sto_below_make(const struct sto_fs *fs, int dir, const char *name, int *below);

/* Delete what is ours in this directory. 0 or -errno. */
int sto_sweep(const struct sto_fs *fs, int dir);

/* The file `name` of the stage in `dir` is in `dir` then. */
int sto_stage_move(const struct sto_fs *fs, int dir, const char *name);

/* Delete the files of one kind whose zxid is above `above`. 0 or -errno. */
int sto_delete_above(const struct sto_fs *fs, int dir, const char *prefix, int64_t above);

/* 1: the snapshot is in this directory, by its name; 0; -errno. */
int sto_has_snapshot(const struct sto_fs *fs, int dir, int64_t zxid);

/* Carry out what the record says. */
int sto_install_finish(struct sto_dirs *d, int64_t zxid);
int sto_cut_finish(struct sto_dirs *d, int64_t zxid);

/*
 * aside.c - a history that can't be believed any more is put where nobody finds it but a human
 *
 * What must_sync guards, and what it does not. Until a leader's SNAP is installed such a member
 * casts no vote, and its ACKEPOCH counts nowhere, so nobody is elected on what it lost. Then it
 * acknowledges NEWLEADER like any other, and that ACK counts. It may do so only for a leader whose
 * epoch is not below one that it promised to another: say that A leads epoch 5 with its follower D
 * alone, D leaves it, promises 6 to B, and forgets that. If it came back to A within A's patience,
 * A would go on committing in 5, while B, with D's promise and D's history as of it, may yet lead 6
 * without what A committed. SNAP does not help: it is A's.
 *
 * So a history may be given up only by a member whose record is whole. Who lost the record is no
 * better off with a promise invented to be beyond all: nobody can be followed then but who is
 * elected with it, and members that need no vote of it are always quicker: it is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "storage/member.h"
#include "storage/stage.h"

enum { NAME_MAX_BYTES = STO_NAME_MAX + 16 };

struct aside {
	struct sto_dirs d;
	int snap, log; /* -1, or `damaged` of each */
};

/* The epoch of the newest name of this kind, or `epoch`. */
static int newest_epoch(const struct sto_fs *fs, int dir, const char *prefix, int64_t *epoch)
{
	struct sto_names names = {0};
	int err = sto_names_list(fs, dir, prefix, &names);

	if (!err && names.n && names.zxid[names.n - 1] >> 32 > *epoch)
		*epoch = names.zxid[names.n - 1] >> 32;
	sto_names_free(&names);
	return err;
}

/* A record may have been made before its first promise: names of files tell one that was kept. */
static int promise_what_is_there(struct aside *a, struct sto_member *m)
{
	int err = newest_epoch(a->d.fs, a->d.snap, STO_SNAP_PREFIX, &m->accepted_epoch);

	return err ? err : newest_epoch(a->d.fs, a->d.log, STO_LOG_PREFIX, &m->accepted_epoch);
}

/* What another damage left goes, unless this is the same one, begun and not ended. */
static int prepare(struct aside *a, const struct sto_member *m)
{
	const struct sto_fs *fs = a->d.fs;
	int err = sto_below_make(fs, a->d.snap, STO_ASIDE, &a->snap);

	if (!err)
		err = sto_below_make(fs, a->d.log, STO_ASIDE, &a->log);
	if (err || m->must_sync)
		return err;
	err = sto_sweep(fs, a->snap);
	if (!err)
		err = sto_sweep(fs, a->log);
	return err;
}

/* Files of one kind from `dir`, or the stage in it, into `damaged` in it. */
static int move(const struct sto_fs *fs, int dir, int listed, const char *prefix, bool staged)
{
	char name[STO_NAME_MAX], from[NAME_MAX_BYTES], to[NAME_MAX_BYTES];
	struct sto_names names = {0};
	int err = listed < 0 ? 0 : sto_names_list(fs, listed, prefix, &names);

	for (unsigned i = 0; !err && i < names.n; i++) {
		sto_name(name, prefix, names.zxid[i]);
		snprintf(from, sizeof(from), "%s%s", staged ? STO_STAGE "/" : "", name);
		snprintf(to, sizeof(to), STO_ASIDE "/%s%s", name, staged ? ".staged" : "");
		/* A power cut may leave a file with both names; then to rename would do nothing. */
		err = fs->unlink(fs->self, dir, to);
		if (!err || err == -ENOENT)
			err = fs->rename(fs->self, dir, from, to);
	}
	sto_names_free(&names);
	return err;
}

static int move_all(struct aside *a)
{
	const struct sto_dirs *d = &a->d;
	int err = move(d->fs, d->snap, d->snap, STO_SNAP_PREFIX, false);

	if (!err)
		err = move(d->fs, d->log, d->log, STO_LOG_PREFIX, false);
	if (!err)
		err = move(d->fs, d->snap, d->snap_stage, STO_SNAP_PREFIX, true);
	if (!err)
		err = move(d->fs, d->log, d->log_stage, STO_LOG_PREFIX, true);
	if (!err)
		err = d->fs->sync(d->fs->self, a->snap);
	if (!err)
		err = d->fs->sync(d->fs->self, a->log);
	if (!err)
		err = d->fs->sync(d->fs->self, d->snap);
	return err ? err : d->fs->sync(d->fs->self, d->log);
}

static int set_aside(struct aside *a, struct sto_member *m)
{
	struct sto_record r;
	int err = sto_record_load(a->d.fs, a->d.snap, &r);

	if (!err || err == -ENOENT)
		err = promise_what_is_there(a, m);
	if (!err)
		err = prepare(a, m);
	m->must_sync = true;
	m->fuzzy_zxid = 0; /* of a state that is no more */
	r = (struct sto_record){.member = *m};
	if (!err)
		err = sto_record_store(a->d.fs, a->d.snap, &r); /* COMMIT */
	return err ? err : move_all(a);
}

int sto_history_set_aside(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
			  struct sto_member *m)
{
	struct aside a = {.snap = -1, .log = -1};
	int err = sto_dirs_open(&a.d, fs, snap_dir, log_dir);

	if (err)
		return err;
	err = set_aside(&a, m);
	if (a.snap >= 0)
		fs->close(fs->self, a.snap);
	if (a.log >= 0)
		fs->close(fs->self, a.log);
	sto_dirs_close(&a.d);
	return err;
}

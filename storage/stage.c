#include "storage/stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/bug.h"

static int below_open(const struct sto_fs *fs, int dir, const char *name, int *below)
{
	int fd = fs->open(fs->self, dir, name, O_RDONLY | O_DIRECTORY, 0);

	*below = fd < 0 ? -1 : fd;
	return fd < 0 && fd != -ENOENT ? fd : 0;
}

static int stage_open(const struct sto_fs *fs, int dir, int *stage)
{
	return below_open(fs, dir, STO_STAGE, stage);
}

int sto_dirs_open(struct sto_dirs *d, const struct sto_fs *fs, const char *snap_dir,
		  const char *log_dir)
{
	int err;

	*d = (struct sto_dirs){fs, -1, -1, -1, -1};
	err = d->snap = sto_dir_open(fs, snap_dir);
	if (err >= 0)
		err = d->log = sto_dir_open(fs, log_dir);
	if (err >= 0)
		err = stage_open(fs, d->snap, &d->snap_stage);
	if (err >= 0)
		err = stage_open(fs, d->log, &d->log_stage);
	if (err >= 0)
		return 0;
	sto_dirs_close(d);
	return err;
}

static void close_dir(const struct sto_fs *fs, int fd)
{
	if (fd >= 0)
		fs->close(fs->self, fd);
}

void sto_dirs_close(struct sto_dirs *d)
{
	close_dir(d->fs, d->snap);
	close_dir(d->fs, d->log);
	close_dir(d->fs, d->snap_stage);
	close_dir(d->fs, d->log_stage);
}

static int sync_dir(const struct sto_fs *fs, int dir)
{
	return dir < 0 ? 0 : fs->sync(fs->self, dir);
}

/* --- the stage ------------------------------------------------------------------------------- */

struct sweep {
	const struct sto_fs *fs;
	int dir;
};

static int sweep_one(void *arg, const char *name)
{
	struct sweep *s = arg;

	return strncmp(name, "paddock.", 8) ? 0 : s->fs->unlink(s->fs->self, s->dir, name);
}

/* What was deleted must not come back behind a record that moves what is there. */
int sto_sweep(const struct sto_fs *fs, int dir)
{
	struct sweep s = {fs, dir};
	int err = dir < 0 ? 0 : fs->list(fs->self, dir, sweep_one, &s);

	return err ? err : sync_dir(fs, dir);
}

int sto_stage_clean(struct sto_dirs *d)
{
	int err = sto_sweep(d->fs, d->snap_stage);

	return err ? err : sto_sweep(d->fs, d->log_stage);
}

int sto_below_make(const struct sto_fs *fs, int dir, const char *name, int *below)
{
	int err = fs->mkdir(fs->self, dir, name, 0700);

	if (err && err != -EEXIST)
		return err;
	err = fs->sync(fs->self, dir);
	if (!err && *below < 0)
		err = below_open(fs, dir, name, below);
	return err;
}

/* The only copy of what was decided, and could not be carried out, may be there. It counts for
 * nothing once the member has said that it must be synced. */
static int stage_claim(struct sto_dirs *d)
{
	struct sto_record r;
	int err = sto_record_load(d->fs, d->snap, &r);

	if (err || !r.pending)
		return err == -ENOENT ? 0 : err;
	if (!r.member.must_sync)
		return -EINPROGRESS;
	r = (struct sto_record){.member = r.member};
	return sto_record_store(d->fs, d->snap, &r);
}

int sto_stage_make(struct sto_dirs *d)
{
	int err = stage_claim(d);

	if (!err)
		err = sto_below_make(d->fs, d->snap, STO_STAGE, &d->snap_stage);
	if (!err)
		err = sto_below_make(d->fs, d->log, STO_STAGE, &d->log_stage);
	return err ? err : sto_stage_clean(d);
}

int sto_stage_move(const struct sto_fs *fs, int dir, const char *name)
{
	char from[STO_NAME_MAX + sizeof(STO_STAGE)];

	snprintf(from, sizeof(from), STO_STAGE "/%s", name);
	return fs->rename(fs->self, dir, from, name);
}

int sto_stage_begin(const struct sto_fs *fs, const char *snap_dir, const char *log_dir)
{
	struct sto_dirs d;
	int err = sto_dirs_open(&d, fs, snap_dir, log_dir);

	if (err)
		return err;
	err = sto_stage_make(&d);
	sto_dirs_close(&d);
	return err;
}

int sto_stage_discard(const struct sto_fs *fs, const char *snap_dir, const char *log_dir)
{
	struct sto_dirs d;
	int err = sto_dirs_open(&d, fs, snap_dir, log_dir);

	if (err)
		return err;
	err = sto_stage_clean(&d);
	sto_dirs_close(&d);
	return err;
}

/* --- the install ----------------------------------------------------------------------------- */

int sto_delete_above(const struct sto_fs *fs, int dir, const char *prefix, int64_t above)
{
	struct sto_names names = {0};
	char name[STO_NAME_MAX];
	int err = sto_names_list(fs, dir, prefix, &names);

	for (unsigned i = 0; !err && i < names.n; i++) {
		if (names.zxid[i] <= above)
			continue;
		sto_name(name, prefix, names.zxid[i]);
		err = fs->unlink(fs->self, dir, name);
	}
	sto_names_free(&names);
	return err ? err : fs->sync(fs->self, dir);
}

int sto_has_snapshot(const struct sto_fs *fs, int dir, int64_t zxid)
{
	char name[STO_NAME_MAX];
	int fd;

	if (dir < 0)
		return 0;
	sto_name(name, STO_SNAP_PREFIX, zxid);
	fd = fs->open(fs->self, dir, name, O_RDONLY, 0);
	if (fd >= 0)
		fs->close(fs->self, fd);
	return fd == -ENOENT ? 0 : fd < 0 ? fd : 1;
}

/* The old history goes, then the snapshot comes: once it has left the stage, for good, what is
 * found is new. */
static int replace_snapshot(struct sto_dirs *d, int64_t zxid)
{
	const struct sto_fs *fs = d->fs;
	char name[STO_NAME_MAX];
	int err = sto_delete_above(fs, d->snap, STO_SNAP_PREFIX, -1);

	if (!err)
		err = sto_delete_above(fs, d->log, STO_LOG_PREFIX, -1);
	sto_name(name, STO_SNAP_PREFIX, zxid);
	return err ? err : sto_stage_move(fs, d->snap, name);
}

static int move_segments(struct sto_dirs *d)
{
	struct sto_names names = {0};
	char name[STO_NAME_MAX];
	int err = 0;

	if (d->log_stage >= 0)
		err = sto_names_list(d->fs, d->log_stage, STO_LOG_PREFIX, &names);
	for (unsigned i = 0; !err && i < names.n; i++) {
		sto_name(name, STO_LOG_PREFIX, names.zxid[i]);
		err = sto_stage_move(d->fs, d->log, name);
	}
	sto_names_free(&names);
	if (!err)
		err = sync_dir(d->fs, d->log);
	return err ? err : sync_dir(d->fs, d->log_stage);
}

int sto_install_finish(struct sto_dirs *d, int64_t zxid)
{
	int staged = sto_has_snapshot(d->fs, d->snap_stage, zxid), there;
	int err = staged < 0 ? staged : 0;

	if (staged > 0)
		err = replace_snapshot(d, zxid);
	if (!err)
		err = sync_dir(d->fs, d->snap);
	if (!err)
		err = sync_dir(d->fs, d->snap_stage);
	if (!err) {
		there = sto_has_snapshot(d->fs, d->snap, zxid);
		err = there < 0 ? there : there ? 0 : -EBADMSG;
	}
	return err ? err : move_segments(d);
}

static int install(struct sto_dirs *d, const struct sto_member *m, int64_t zxid)
{
	struct sto_record r = {*m, STO_PENDING_INSTALL, zxid};
	int staged = sto_has_snapshot(d->fs, d->snap_stage, zxid), err;

	if (staged <= 0)
		return staged ? staged : -ENOENT;
	err = sync_dir(d->fs, d->snap_stage);
	if (!err)
		err = sync_dir(d->fs, d->log_stage);
	if (!err && !WRONG(INSTALL_NOT_RECORDED))
		err = sto_record_store(d->fs, d->snap, &r); /* COMMIT */
	if (!err)
		err = sto_install_finish(d, zxid);
	r = (struct sto_record){.member = *m};
	return err ? err : sto_record_store(d->fs, d->snap, &r);
}

int sto_stage_install(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		      const struct sto_member *m, int64_t zxid)
{
	struct sto_dirs d;
	int err = sto_dirs_open(&d, fs, snap_dir, log_dir);

	if (err)
		return err;
	err = install(&d, m, zxid);
	sto_dirs_close(&d);
	return err;
}

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "storage/file.h"
#include "storage/recover.h"
#include "storage/segment.h"

enum { RETAIN_MIN = 3 };

/* The zxid of the oldest of the newest `retain` snapshots that verify; -1: there are fewer. */
static int64_t oldest_retained(const struct sto_fs *fs, int dir, const struct sto_names *snaps,
			       unsigned retain)
{
	for (unsigned i = snaps->n; i-- > 0;) {
		struct sto_snap_head head;
		char why[STO_WHY_MAX];

		if (!sto_snap_load(fs, dir, snaps->zxid[i], NULL, &head, NULL, why) && !--retain)
			return snaps->zxid[i];
	}
	return -1;
}

static int delete_one(const struct sto_fs *fs, int dir, const char *prefix, int64_t zxid)
{
	char name[STO_NAME_MAX];

	sto_name(name, prefix, zxid);
	return fs->unlink(fs->self, dir, name);
}

static int purge_snapshots(const struct sto_fs *fs, int dir, const struct sto_names *snaps,
			   int64_t keep)
{
	int n = 0, err;

	for (unsigned i = 0; i < snaps->n && snaps->zxid[i] < keep; i++, n++) {
		err = delete_one(fs, dir, STO_SNAP_PREFIX, snaps->zxid[i]);
		if (err)
			return err;
	}
	err = n ? fs->sync(fs->self, dir) : 0;
	return err ? err : n;
}

/* Where does the log stand when this segment begins? -errno. */
static int prev_zxid(const struct sto_fs *fs, int dir, int64_t first_zxid, int64_t *zxid)
{
	uint8_t page[STO_PAGE_BYTES];
	struct sto_seg_head head;
	char name[STO_NAME_MAX];
	ssize_t got;
	int fd;

	sto_name(name, STO_LOG_PREFIX, first_zxid);
	fd = fs->open(fs->self, dir, name, O_RDONLY, 0);
	if (fd < 0)
		return fd;
	got = sto_read(fs, fd, page, sizeof(page), 0);
	fs->close(fs->self, fd);
	if (got < 0)
		return (int)got;
	if (!sto_seg_head_get(page, (size_t)got, &head) || head.first_zxid != first_zxid)
		return -EBADMSG;
	*zxid = head.prev_zxid;
	return 0;
}

/* A segment goes when the one behind it begins at or before what the snapshot has. Snapshots went
 * first: none that needs the segment is left. */
static int purge_segments(const struct sto_fs *fs, int dir, int64_t keep)
{
	struct sto_names segments = {0};
	int n = 0, err = sto_names_list(fs, dir, STO_LOG_PREFIX, &segments);

	for (unsigned i = 0; !err && i + 1 < segments.n; i++, n++) {
		int64_t begins = INT64_MAX;

		err = prev_zxid(fs, dir, segments.zxid[i + 1], &begins);
		if (err || begins > keep)
			break;
		err = delete_one(fs, dir, STO_LOG_PREFIX, segments.zxid[i]);
	}
	if (!err && n)
		err = fs->sync(fs->self, dir);
	sto_names_free(&segments);
	return err ? err : n;
}

static int purge(const struct sto_fs *fs, int snap_dir, int log_dir, unsigned retain)
{
	struct sto_names snaps = {0};
	int64_t keep = -1;
	int deleted = 0, more = 0, err = sto_names_list(fs, snap_dir, STO_SNAP_PREFIX, &snaps);

	if (!err && snaps.n >= retain)
		keep = oldest_retained(fs, snap_dir, &snaps, retain);
	if (keep >= 0)
		deleted = purge_snapshots(fs, snap_dir, &snaps, keep);
	if (keep >= 0 && deleted >= 0)
		more = purge_segments(fs, log_dir, keep);
	sto_names_free(&snaps);
	if (err || deleted < 0)
		return err ? err : deleted;
	return more < 0 ? more : deleted + more;
}

int sto_purge(const struct sto_fs *fs, const char *snap_dir, const char *log_dir, unsigned retain)
{
	int snaps = sto_dir_open(fs, snap_dir), logs, deleted;

	if (snaps < 0)
		return snaps;
	logs = sto_dir_open(fs, log_dir);
	if (logs < 0) {
		fs->close(fs->self, snaps);
		return logs;
	}
	deleted = purge(fs, snaps, logs, retain < RETAIN_MIN ? RETAIN_MIN : retain);
	fs->close(fs->self, logs);
	fs->close(fs->self, snaps);
	return deleted;
}

#include "storage/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "storage/file.h"
#include "storage/segment.h"
#include "storage/stage.h"

struct recovery {
	const struct sto_fs *fs;
	const struct sto_sink *sink;
	struct sto_recovered *out;
	int snap_dir, log_dir;
	struct sto_names snaps, segments;
	int64_t limit;   /* no snapshot above it */
	int64_t applied; /* what the sink has: the snapshot's, then each transaction's */
	unsigned i;      /* the segment in hand */

	/* The last segment that was read: what it holds, where that ends, what comes then. */
	uint64_t last_id; /* 0: none was read */
	int64_t last;
	uint64_t end, bad_at;

	unsigned lost; /* when rot was found: the first segment of which nothing can be kept */
	char rot[STO_WHY_MAX];
};

/* Add to what is told; what comes first is the most important. */
static void tell(struct recovery *r, const char *text)
{
	size_t used = strlen(r->out->message), room = sizeof(r->out->message) - used;

	if (room > 2)
		snprintf(r->out->message + used, room, "%s%s", used ? "; " : "", text);
}

static int rot(struct recovery *r, unsigned lost, const char *what, uint64_t at)
{
	char name[STO_NAME_MAX];

	sto_name(name, STO_LOG_PREFIX, r->segments.zxid[r->i]);
	r->lost = lost;
	r->out->lost = true;
	sto_why(r->rot,
		"%s, byte %" PRIu64 ": %s; good up to zxid 0x%" PRIx64
		". Restore the file, or give up what follows (accept_loss)",
		name, at, what, (uint64_t)r->applied);
	return -EBADMSG;
}

/* An error of reading, which is no rot to cut off: the next attempt may read more. */
static int unread(struct recovery *r, int err, const char *why)
{
	char text[STO_WHY_MAX], name[STO_NAME_MAX];

	if (err != -EIO)
		return err;
	sto_name(name, STO_LOG_PREFIX, r->segments.zxid[r->i]);
	sto_why(text, "%s: %s", name, why);
	tell(r, text);
	r->out->lost = true;
	return err;
}

static int missing(struct recovery *r, const struct sto_seg_head *head)
{
	char text[STO_WHY_MAX], name[STO_NAME_MAX] = "no segment before it";

	if (r->last_id)
		sto_name(name, STO_LOG_PREFIX, r->segments.zxid[r->i - 1]);
	sto_why(text,
		"zxids 0x%" PRIx64 "-0x%" PRIx64 " are missing before it (%s, bad at %" PRIu64 ")",
		(uint64_t)r->applied + 1, (uint64_t)head->prev_zxid, name, r->bad_at);
	return rot(r, r->i, text, 0);
}

static int deliver(struct recovery *r, const uint8_t *entries, size_t len)
{
	while (len) {
		uint32_t n = le32_get(entries);
		const uint8_t *entry = entries + 4;
		int64_t zxid = (int64_t)be64_get(entry + STO_ENTRY_ZXID_AT);
		int err;

		if (zxid > r->applied) {
			/* Only an epoch that the snapshot does not end can bring this about. */
			if (!sto_zxid_follows(r->applied, zxid))
				return rot(r, r->i + 1, "it does not continue the snapshot",
					   r->end);
			err = r->sink->txn(r->sink->self, zxid, entry, n);
			if (err)
				return err;
			r->applied = zxid;
			r->out->txns++;
		}
		entries += 4 + n;
		len -= 4 + n;
	}
	return 0;
}

/* Does this segment begin where the log so far, or the snapshot, ends? */
static int check_link(struct recovery *r, const struct sto_seg_head *head)
{
	if (head->prev_zxid > r->applied)
		return missing(r, head);
	if (!r->last_id)
		return 0;
	if (head->prev_zxid < r->last)
		return rot(r, r->i, "it overlaps the segment before", 0);
	/* A log that begins anew behind a snapshot that came from elsewhere has no predecessor. */
	if (head->prev_zxid == r->last && head->prev_id && head->prev_id != r->last_id)
		return rot(r, r->i, "it continues another segment than the one before", 0);
	return 0;
}

static int cut(struct recovery *r, int fd, uint64_t at)
{
	int err = r->fs->truncate(r->fs->self, fd, (off_t)at);

	return err ? err : r->fs->sync(r->fs->self, fd);
}

/* The rest of the last segment holds no whole batch: zeros, a torn write, or rot? */
static int log_end(struct recovery *r, struct sto_seg_reader *s)
{
	char text[STO_WHY_MAX], name[STO_NAME_MAX];
	bool dirty;
	int traces = sto_seg_traces(s, &dirty);

	if (traces < 0)
		return unread(r, traces, "its end can't be read");
	if (traces)
		return rot(r, r->i + 1, "a damaged block before a good one", s->bad_at);
	if (dirty) {
		sto_name(name, STO_LOG_PREFIX, r->segments.zxid[r->i]);
		sto_why(text, "%s, byte %" PRIu64 ": torn write cut off behind zxid 0x%" PRIx64,
			name, s->at, (uint64_t)r->last);
		tell(r, text);
	}
	return s->at < s->file_size ? cut(r, s->fd, s->at) : 0;
}

static int replay_batches(struct recovery *r, struct sto_seg_reader *s)
{
	const uint8_t *entries;
	size_t len;
	int got;

	while ((got = sto_seg_next(s, &entries, &len)) == 1) {
		int err = deliver(r, entries, len);

		if (err)
			return err;
		r->last = s->last_zxid;
		r->end = s->at;
	}
	r->out->log_bytes += s->at;
	r->bad_at = s->bad_at;
	if (got == -EBADMSG)
		return rot(r, r->i + 1, "impossible entries in a block", s->at);
	/* In mid-log it is the next segment that knows whether this one ends here. */
	return got || r->i + 1 < r->segments.n ? unread(r, got, "it can't be read") : log_end(r, s);
}

static int replay_segment(struct recovery *r)
{
	struct sto_seg_reader s;
	int err = sto_seg_open(&s, r->fs, r->log_dir, r->segments.zxid[r->i], O_RDWR);

	if (err)
		return err == -EBADMSG ? rot(r, r->i, "damaged head", 0)
				       : unread(r, err, "its head can't be read");
	err = r->i + 1 < r->segments.n ? r->fs->datasync(r->fs->self, s.fd) : 0;
	if (!err)
		err = check_link(r, &s.head);
	if (!err) {
		r->last = s.head.prev_zxid;
		r->last_id = s.head.id;
		r->end = s.at;
		err = replay_batches(r, &s);
	}
	sto_seg_close(&s);
	return err;
}

/* Cut the last segment of which something was read, put aside those behind it. */
static int give_up(struct recovery *r)
{
	const struct sto_fs *fs = r->fs;
	char name[STO_NAME_MAX], aside[STO_NAME_MAX + 8];
	int err = 0, fd;

	if (r->last_id && r->lost) {
		sto_name(name, STO_LOG_PREFIX, r->segments.zxid[r->lost - 1]);
		fd = fs->open(fs->self, r->log_dir, name, O_RDWR, 0);
		if (fd < 0)
			return fd;
		err = cut(r, fd, r->end);
		fs->close(fs->self, fd);
	}
	for (unsigned i = r->lost; !err && i < r->segments.n; i++) {
		sto_name(name, STO_LOG_PREFIX, r->segments.zxid[i]);
		snprintf(aside, sizeof(aside), "%s.lost", name);
		err = fs->rename(fs->self, r->log_dir, name, aside);
	}
	return err ? err : fs->sync(fs->self, r->log_dir);
}

static int replay(struct recovery *r, bool accept_loss)
{
	int err = 0;

	/* From the last segment that begins at or before what comes next. */
	r->i = 0;
	while (r->i + 1 < r->segments.n && r->segments.zxid[r->i + 1] <= r->applied + 1)
		r->i++;
	for (; !err && r->i < r->segments.n; r->i++) {
		err = replay_segment(r);
		if (err)
			break;
	}
	if (err == -EBADMSG && r->rot[0]) {
		tell(r, r->rot);
		if (accept_loss)
			err = give_up(r);
	}
	return err;
}

static int begin_empty(struct recovery *r)
{
	struct sto_snap_head head = {0};
	int err = r->sink->begin(r->sink->self, &head);

	return err ? err : r->sink->loaded(r->sink->self, &head);
}

/* The newest snapshot that is whole into the sink, else nothing. What ails the disk, or the
 * snapshot, costs us that snapshot; what ails us ends the recovery. */
static int load(struct recovery *r)
{
	for (unsigned i = r->snaps.n; i-- > 0;) {
		struct sto_snap_head head;
		char why[STO_WHY_MAX];
		int sink_error = 0, err;

		if (r->snaps.zxid[i] > r->limit)
			continue;
		err = sto_snap_load(r->fs, r->snap_dir, r->snaps.zxid[i], r->sink, &head,
				    &sink_error, why);

		if (!err) {
			r->out->snapshot_zxid = r->applied = head.zxid;
			return 0;
		}
		if (err != -EBADMSG && err != -EIO)
			return sink_error ? sink_error : err;
		tell(r, why);
	}
	if (r->snaps.n && r->snaps.zxid[0] <= r->limit && !r->segments.n) {
		tell(r, "no other snapshot, no log: restore one");
		r->out->lost = true;
		return -EBADMSG;
	}
	return begin_empty(r);
}

struct stray {
	const struct sto_fs *fs;
	int dir;
};

static int remove_stray(void *arg, const char *name)
{
	struct stray *s = arg;
	size_t len = strlen(name), suffix = strlen(STO_TMP_SUFFIX);

	if (strncmp(name, "paddock.", 8) || len < suffix ||
	    strcmp(name + len - suffix, STO_TMP_SUFFIX))
		return 0;
	return s->fs->unlink(s->fs->self, s->dir, name);
}

/* What was renamed, and not yet durable, becomes so before anything is built on it. */
static int settle(const struct sto_fs *fs, int dir)
{
	struct stray s = {fs, dir};
	int err = fs->list(fs->self, dir, remove_stray, &s);

	return err ? err : fs->sync(fs->self, dir);
}

/* What a writer that died had not synced may still stand in the cache: make it durable, and of the
 * last segment believe only what the disk gives back. It is all read, and mostly zeros: the disk
 * may do so while a snapshot is loaded. */
static int distrust_last(struct recovery *r)
{
	const struct sto_fs *fs = r->fs;
	char name[STO_NAME_MAX];
	int err, fd;

	if (!r->segments.n)
		return 0;
	sto_name(name, STO_LOG_PREFIX, r->segments.zxid[r->segments.n - 1]);
	fd = fs->open(fs->self, r->log_dir, name, O_RDWR, 0);
	if (fd < 0)
		return fd;
	err = fs->datasync(fs->self, fd);
	if (!err) {
		fs->drop(fs->self, fd);
		fs->ahead(fs->self, fd);
	}
	fs->close(fs->self, fd);
	return err;
}

/* A history that is half cut or half replaced is none. */
static int check_member(struct recovery *r)
{
	struct sto_record record;
	int err = sto_record_load(r->fs, r->snap_dir, &record);

	if (err == -ENOENT)
		return 0;
	if (err == -EBADMSG)
		tell(r, STO_MEMBER " is damaged: what was decided about the history is not known");
	if (!err && record.pending) {
		tell(r, STO_MEMBER ": the history is being cut or replaced, which only a start of "
				   "the server completes");
		err = -EBADMSG;
	}
	return err;
}

static int recover(struct recovery *r, bool accept_loss)
{
	int err = check_member(r);

	if (!err)
		err = settle(r->fs, r->snap_dir);
	if (!err)
		err = settle(r->fs, r->log_dir);
	if (!err)
		err = sto_names_list(r->fs, r->snap_dir, STO_SNAP_PREFIX, &r->snaps);
	if (!err)
		err = sto_names_list(r->fs, r->log_dir, STO_LOG_PREFIX, &r->segments);
	if (!err)
		err = distrust_last(r);
	if (!err)
		err = load(r);
	if (!err)
		err = replay(r, accept_loss);
	return err;
}

int sto_recover_from(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		     bool accept_loss, int64_t limit, const struct sto_sink *sink,
		     struct sto_recovered *out)
{
	struct recovery r = {.fs = fs, .sink = sink, .limit = limit, .out = out};
	int err;

	*out = (struct sto_recovered){.snapshot_zxid = -1};
	err = r.snap_dir = sto_dir_open(fs, snap_dir);
	if (err >= 0)
		err = r.log_dir = sto_dir_open(fs, log_dir);
	if (err >= 0) {
		err = recover(&r, accept_loss);
		fs->close(fs->self, r.log_dir);
	}
	if (r.snap_dir >= 0)
		fs->close(fs->self, r.snap_dir);
	out->last_zxid = r.applied;
	if (err && !out->message[0])
		tell(&r, strerror(-err));
	sto_names_free(&r.snaps);
	sto_names_free(&r.segments);
	return err;
}

int sto_recover(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		bool accept_loss, const struct sto_sink *sink, struct sto_recovered *out)
{
	return sto_recover_from(fs, snap_dir, log_dir, accept_loss, INT64_MAX, sink, out);
}

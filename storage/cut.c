/*
 * What stays of a log that is cut: whole segments, a segment up to a batch, and of the batch with
 * the last entry that stays a copy, up to that entry, as a segment of its own. The copy is made in
 * the stage, durable before anything goes; the record decides; then the segment is shortened, the
 * copy moved behind it (or in its place). No block is written again, and the copy is sealed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "base/bug.h"
#include "base/bytes.h"
#include "storage/reader.h"
#include "storage/segment.h"
#include "storage/stage.h"

enum { COPY_SEGMENT_BYTES = 4 * STO_PAGE_BYTES, PATH_BYTES = 4096 };

/* --- is there something to go back to? ------------------------------------------------------- */

/* How far zxids follow each other. */
struct chain {
	int64_t at, zxid;
};

static int chain_run(void *arg, int64_t first, int64_t last)
{
	struct chain *c = arg;

	if (first > c->zxid || !sto_zxid_follows(c->at, first))
		return 1;
	c->at = last < c->zxid ? last : c->zxid;
	return 0;
}

/* The last of the files of one kind that is, or begins, at or before zxid. 1; 0: none; -errno. */
static int last_until(const struct sto_fs *fs, int dir, const char *prefix, int64_t zxid,
		      int64_t *found)
{
	struct sto_names names = {0};
	int got = sto_names_list(fs, dir, prefix, &names);

	for (unsigned i = 0; got >= 0 && i < names.n && names.zxid[i] <= zxid; i++) {
		*found = names.zxid[i];
		got = 1;
	}
	sto_names_free(&names);
	return got;
}

/* From a snapshot at or below zxid, or from nothing at all, to zxid without a gap. */
static int check_way_back(struct sto_dirs *d, const char *log_dir, int64_t zxid)
{
	struct chain c = {0, zxid};
	struct sto_reader *r;
	int got = last_until(d->fs, d->snap, STO_SNAP_PREFIX, zxid, &c.at);

	if (got < 0)
		return got;
	if (got && c.at == zxid)
		return 0;
	got = sto_reader_open(&r, d->fs, log_dir, c.at);
	if (got)
		return got;
	sto_reader_close(r);
	got = sto_log_runs(d->fs, log_dir, c.at, chain_run, &c);
	if (got < 0)
		return got;
	return c.at == zxid ? 0 : -ENOENT;
}

/* --- the copy -------------------------------------------------------------------------------- */

/* The last batch that begins at or before zxid, by the heads: what is before it? */
static int batch_of(const struct sto_seg_reader *s, int64_t zxid, int64_t *before)
{
	struct sto_seg_walk w;
	struct sto_block_head h;
	uint64_t at;
	int got;

	sto_seg_walk_begin(s, &w);
	*before = w.before;
	while ((got = sto_seg_walk(s, &w, &h, &at)) == 1 && h.first_zxid <= zxid)
		if (h.raw_len)
			*before = w.before;
	return got < 0 ? got : 0;
}

/* Of these entries, the bytes of those up to zxid. */
static size_t entries_until(const uint8_t *entries, size_t len, int64_t zxid, int64_t *last)
{
	size_t used = 0;

	while (used < len && (int64_t)be64_get(entries + used + 4 + STO_ENTRY_ZXID_AT) <= zxid) {
		*last = (int64_t)be64_get(entries + used + 4 + STO_ENTRY_ZXID_AT);
		used += 4 + le32_get(entries + used);
	}
	return used;
}

static int write_copy(const struct sto_fs *fs, const char *log_dir, int64_t before,
		      const uint8_t *entries, size_t len, int64_t last)
{
	static const struct sto_log_options options = {COPY_SEGMENT_BYTES, true, false};
	int64_t first = (int64_t)be64_get(entries + 4 + STO_ENTRY_ZXID_AT);
	char stage[PATH_BYTES];
	struct sto_log *log;
	int err, sealed;

	if (snprintf(stage, sizeof(stage), "%s/" STO_STAGE, log_dir) >= (int)sizeof(stage))
		return -ENAMETOOLONG;
	err = sto_log_open(&log, fs, stage, before, &options);
	if (err)
		return err;
	err = sto_log_append(log, entries, len, first, last);
	sealed = sto_log_close(log);
	return err ? err : sealed;
}

static int copy_batch(struct sto_dirs *d, const char *log_dir, struct sto_seg_reader *s,
		      int64_t zxid)
{
	const uint8_t *entries = NULL;
	int64_t before, last = 0;
	size_t len = 0;
	int got = batch_of(s, zxid, &before);

	if (!got)
		got = sto_seg_seek(s, before);
	if (got)
		return got;
	do {
		last = s->last_zxid;
		got = sto_seg_next(s, &entries, &len);
	} while (got == 1 && s->last_zxid <= before);
	if (got != 1 || last != before)
		return got < 0 ? got : -EBADMSG;
	len = entries_until(entries, len, zxid, &last);
	/* zxid is an entry, or the zxid of a snapshot before which there are these. */
	got = last == zxid ? 1 : sto_has_snapshot(d->fs, d->snap, zxid);
	if (got <= 0 || !len)
		return got < 0 ? got : -EBADMSG;
	return write_copy(d->fs, log_dir, before, entries, len, last);
}

static int stage_copy(struct sto_dirs *d, const char *log_dir, int64_t zxid)
{
	struct sto_seg_reader s;
	int64_t first = 0;
	int got = last_until(d->fs, d->log, STO_LOG_PREFIX, zxid, &first);

	if (got <= 0)
		return got;
	got = sto_seg_open(&s, d->fs, d->log, first, O_RDONLY);
	if (got)
		return got;
	got = copy_batch(d, log_dir, &s, zxid);
	sto_seg_close(&s);
	return got;
}

/* --- carrying it out ------------------------------------------------------------------------- */

/* Shorten the segment to what is up to zxid, which it has. */
static int shorten(struct sto_dirs *d, int64_t first_zxid, int64_t zxid)
{
	const struct sto_fs *fs = d->fs;
	const uint8_t *entries;
	struct sto_seg_reader s;
	size_t len;
	int got = sto_seg_open(&s, fs, d->log, first_zxid, O_RDWR);

	if (got)
		return got;
	got = sto_seg_seek(&s, zxid - 1);
	if (!got)
		do
			got = 1;
		while (s.last_zxid < zxid && (got = sto_seg_next(&s, &entries, &len)) == 1);
	if (got >= 0)
		got = s.last_zxid == zxid ? 0 : -EBADMSG;
	if (!got)
		got = fs->truncate(fs->self, s.fd, (off_t)s.at);
	if (!got)
		got = fs->sync(fs->self, s.fd);
	sto_seg_close(&s);
	return got;
}

/* There is no copy (any more): then nothing above zxid is there either. */
static int check_end(struct sto_dirs *d, int64_t first_zxid, int64_t zxid)
{
	struct sto_seg_reader s;
	struct sto_seg_walk w;
	struct sto_block_head h;
	uint64_t at;
	int got = sto_seg_open(&s, d->fs, d->log, first_zxid, O_RDONLY);

	if (got)
		return got;
	sto_seg_walk_begin(&s, &w);
	do
		got = sto_seg_walk(&s, &w, &h, &at);
	while (got == 1);
	sto_seg_close(&s);
	return got ? got : w.last <= zxid ? 0 : -EBADMSG;
}

/* The copy in the stage: where it begins, and behind what. 1; 0: there is none; -errno. */
static int copy_head(struct sto_dirs *d, struct sto_seg_head *head)
{
	struct sto_names names = {0};
	struct sto_seg_reader s;
	int got =
	    d->log_stage < 0 ? 0 : sto_names_list(d->fs, d->log_stage, STO_LOG_PREFIX, &names);

	if (!got && names.n)
		got = names.n > 1 ? -EBADMSG
				  : sto_seg_open(&s, d->fs, d->log_stage, names.zxid[0], O_RDONLY);
	if (!got && names.n) {
		*head = s.head;
		sto_seg_close(&s);
		got = 1;
	}
	sto_names_free(&names);
	return got;
}

static int move_copy(struct sto_dirs *d, const struct sto_seg_head *copy, int64_t first_zxid)
{
	char name[STO_NAME_MAX];
	int err = 0;

	if (first_zxid > copy->first_zxid)
		return -EBADMSG;
	if (first_zxid < copy->first_zxid)
		err = shorten(d, first_zxid, copy->prev_zxid);
	sto_name(name, STO_LOG_PREFIX, copy->first_zxid);
	return err ? err : sto_stage_move(d->fs, d->log, name);
}

static int replace_tail(struct sto_dirs *d, int64_t zxid)
{
	struct sto_seg_head copy = {0};
	int64_t first = 0;
	int there = last_until(d->fs, d->log, STO_LOG_PREFIX, zxid, &first), staged;

	if (there < 0)
		return there;
	staged = copy_head(d, &copy);
	if (staged < 0)
		return staged;
	if (staged)
		return there ? move_copy(d, &copy, first) : -EBADMSG;
	return there ? check_end(d, first, zxid) : 0;
}

int sto_cut_finish(struct sto_dirs *d, int64_t zxid)
{
	const struct sto_fs *fs = d->fs;
	int err = sto_delete_above(fs, d->snap, STO_SNAP_PREFIX, zxid);

	if (!err && !WRONG(CUT_LEAVES_SEGMENTS))
		err = sto_delete_above(fs, d->log, STO_LOG_PREFIX, zxid);
	if (!err)
		err = replace_tail(d, zxid);
	if (!err)
		err = fs->sync(fs->self, d->log);
	if (!err && d->log_stage >= 0)
		err = fs->sync(fs->self, d->log_stage);
	return err;
}

static int cut(struct sto_dirs *d, const char *log_dir, const struct sto_member *m, int64_t zxid)
{
	struct sto_record r = {*m, STO_PENDING_CUT, zxid};
	int err = check_way_back(d, log_dir, zxid);

	if (!err)
		err = sto_stage_make(d);
	if (!err)
		err = stage_copy(d, log_dir, zxid);
	if (!err)
		err = d->fs->sync(d->fs->self, d->log_stage);
	if (!err && !WRONG(CUT_NOT_RECORDED))
		err = sto_record_store(d->fs, d->snap, &r); /* COMMIT */
	if (!err)
		err = sto_cut_finish(d, zxid);
	r = (struct sto_record){.member = *m};
	return err ? err : sto_record_store(d->fs, d->snap, &r);
}

int sto_history_cut(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		    const struct sto_member *m, int64_t zxid)
{
	struct sto_dirs d;
	int err = sto_dirs_open(&d, fs, snap_dir, log_dir);

	if (err)
		return err;
	err = cut(&d, log_dir, m, zxid);
	sto_dirs_close(&d);
	return err;
}

#include "storage/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "storage/segment.h"

struct sto_reader {
	const struct sto_fs *fs;
	int dir;
	struct sto_seg_reader seg;
	int64_t at;          /* everything up to it was given or is not wanted */
	const uint8_t *next; /* what is left of the batch in hand */
	size_t left;
};

/* The last segment that begins at or before what follows `after`, else the first. */
static unsigned segment_of(const struct sto_names *segments, int64_t after)
{
	unsigned i = 0;

	while (i + 1 < segments->n && segments->zxid[i + 1] - 1 <= after)
		i++;
	return i;
}

/* --- entries --------------------------------------------------------------------------------- */

static int open_at(struct sto_reader *r)
{
	struct sto_names segments = {0};
	int err = sto_names_list(r->fs, r->dir, STO_LOG_PREFIX, &segments);

	if (!err)
		err = segments.n
			  ? sto_seg_open(&r->seg, r->fs, r->dir,
					 segments.zxid[segment_of(&segments, r->at)], O_RDONLY)
			  : -ENOENT;
	sto_names_free(&segments);
	if (err)
		return err;
	return r->seg.head.prev_zxid > r->at ? -ENOENT : sto_seg_seek(&r->seg, r->at);
}

int sto_reader_open(struct sto_reader **out, const struct sto_fs *fs, const char *log_dir,
		    int64_t after)
{
	struct sto_reader *r = malloc(sizeof(*r));
	int err;

	if (!r)
		return -ENOMEM;
	*r = (struct sto_reader){.fs = fs, .at = after, .seg = {.fs = fs, .fd = -1}};
	err = r->dir = sto_dir_open(fs, log_dir);
	if (err >= 0)
		err = open_at(r);
	if (err < 0) {
		sto_reader_close(r);
		return err;
	}
	*out = r;
	return 0;
}

void sto_reader_close(struct sto_reader *r)
{
	sto_seg_close(&r->seg);
	if (r->dir >= 0)
		r->fs->close(r->fs->self, r->dir);
	free(r);
}

/* The next batch of the segment in hand that has something behind r->at: from what was read, or
 * from what it has by now. As sto_seg_next(). */
static int seg_batch(struct sto_reader *r)
{
	int got = 0;

	for (int attempt = 0; !got && attempt < 2; attempt++) {
		uint32_t number;

		do {
			number = r->seg.number;
			got = sto_seg_next(&r->seg, &r->next, &r->left);
		} while (got > 0 && r->seg.last_zxid <= r->at);
		if (got)
			break;
		sto_seg_forget(&r->seg);
		/* It met one half of a batch, and is behind that now. */
		if (r->seg.number != number)
			got = sto_seg_seek(&r->seg, r->at);
	}
	if (got <= 0)
		r->left = 0; /* that half is nobody's */
	return got;
}

/* The segment has no whole batch here. Something behind it proves that it had: then that is there
 * by now (it was written meanwhile), or it is damaged. 1, 0 or -errno. */
static int seg_again(struct sto_reader *r)
{
	bool dirty;
	int got = sto_seg_traces(&r->seg, &dirty);

	sto_seg_forget(&r->seg);
	if (got <= 0)
		return got;
	got = seg_batch(r);
	return got ? got : -EBADMSG;
}

/* It does not begin where the segment in hand ends, as far as that could be read. */
static int seg_gap(struct sto_reader *r, bool purged)
{
	bool dirty;
	int got = seg_batch(r);

	if (got)
		return got;
	if (purged)
		return -ENOENT;
	got = sto_seg_traces(&r->seg, &dirty);
	return got < 0 ? got : got || dirty ? -EBADMSG : -ENOENT;
}

static int follow(struct sto_reader *r, int64_t first_zxid, bool purged)
{
	struct sto_seg_reader next;
	int got = sto_seg_open(&next, r->fs, r->dir, first_zxid, O_RDONLY);

	if (got)
		return got;
	if (next.head.prev_zxid <= r->at && next.head.prev_zxid >= r->seg.last_zxid) {
		sto_seg_close(&r->seg);
		r->seg = next;
		return seg_batch(r);
	}
	got = next.head.prev_zxid <= r->at ? -EBADMSG : seg_gap(r, purged);
	sto_seg_close(&next);
	return got;
}

/*
 * The next batch, of this segment or of the one behind it. What was durable when the call began is
 * in this segment, where it was just read anew, or in the next, which has its name by then. 0 with
 * another segment in hand: that one is empty.
 */
static int batch_or_follow(struct sto_reader *r)
{
	struct sto_names segments = {0};
	int64_t first = r->seg.head.first_zxid;
	unsigned i = 0;
	int got = seg_batch(r);
	bool purged;

	if (got)
		return got;
	got = sto_names_list(r->fs, r->dir, STO_LOG_PREFIX, &segments);
	while (i < segments.n && segments.zxid[i] <= first)
		i++;
	purged = !i || segments.zxid[i - 1] != first;
	if (!got)
		got = i < segments.n ? follow(r, segments.zxid[i], purged) : seg_again(r);
	sto_names_free(&segments);
	return got;
}

/* Segments may be empty: an epoch may have had no transaction. */
static int next_batch(struct sto_reader *r)
{
	int64_t first;
	int got;

	do {
		first = r->seg.head.first_zxid;
		got = batch_or_follow(r);
	} while (!got && r->seg.head.first_zxid != first);
	return got;
}

int sto_reader_next(struct sto_reader *r, int64_t last, int64_t *zxid, const uint8_t **entry,
		    uint32_t *len)
{
	while (r->at < last) {
		int got;

		if (!r->left) {
			got = next_batch(r);
			if (got <= 0)
				return got;
			continue;
		}
		*len = le32_get(r->next);
		*entry = r->next + 4;
		*zxid = (int64_t)be64_get(*entry + STO_ENTRY_ZXID_AT);
		if (*zxid > last)
			return 0;
		r->next += 4 + *len;
		r->left -= 4 + *len;
		if (*zxid <= r->at)
			continue;
		if (!sto_zxid_follows(r->at, *zxid))
			return -EBADMSG;
		r->at = *zxid;
		return 1;
	}
	return 0;
}

/* --- runs ------------------------------------------------------------------------------------ */

struct runs {
	const struct sto_fs *fs;
	const char *log_dir;
	int64_t after, first, last; /* first 0: no run is begun */
	int (*run)(void *arg, int64_t first, int64_t last);
	void *arg;
};

static int runs_end(struct runs *s)
{
	int64_t first = s->first;

	s->first = 0;
	return first ? s->run(s->arg, first, s->last) : 0;
}

/* Zxids first..last, of one epoch. */
static int runs_add(struct runs *s, int64_t first, int64_t last)
{
	int err = 0;

	if (last <= s->after)
		return 0;
	if (first <= s->after)
		first = s->after + 1;
	if (s->first && (first != s->last + 1 || first >> 32 != s->first >> 32))
		err = runs_end(s);
	if (!s->first)
		s->first = first;
	s->last = last;
	return err;
}

/* A batch of several epochs: only its entries know where each ends. */
static int runs_split(struct runs *s, int64_t before, int64_t last)
{
	struct sto_reader *r;
	const uint8_t *entry;
	uint32_t len;
	int64_t zxid;
	int got = 0, err = sto_reader_open(&r, s->fs, s->log_dir, before);

	if (err)
		return err;
	while (!err && (got = sto_reader_next(r, last, &zxid, &entry, &len)) == 1)
		err = runs_add(s, zxid, zxid);
	sto_reader_close(r);
	return err ? err : got;
}

static int runs_segment(struct runs *s, int dir, int64_t first_zxid)
{
	struct sto_seg_reader seg;
	struct sto_seg_walk w;
	struct sto_block_head h;
	uint64_t at;
	int got, err = sto_seg_open(&seg, s->fs, dir, first_zxid, O_RDONLY);

	if (err)
		return err;
	sto_seg_walk_begin(&seg, &w);
	do {
		bool begins = !w.more;

		got = sto_seg_walk(&seg, &w, &h, &at);
		if (got <= 0 || !begins || !h.raw_len)
			continue;
		if (h.first_zxid >> 32 == h.last_zxid >> 32)
			err = runs_add(s, h.first_zxid, h.last_zxid);
		else
			err = runs_split(s, w.before, h.last_zxid);
	} while (got == 1 && !err);
	sto_seg_close(&seg);
	return err ? err : got;
}

int sto_log_runs(const struct sto_fs *fs, const char *log_dir, int64_t after,
		 int (*run)(void *arg, int64_t first, int64_t last), void *arg)
{
	struct runs s = {.fs = fs, .log_dir = log_dir, .after = after, .run = run, .arg = arg};
	struct sto_names segments = {0};
	int err, dir = sto_dir_open(fs, log_dir);

	if (dir < 0)
		return dir;
	err = sto_names_list(fs, dir, STO_LOG_PREFIX, &segments);
	for (unsigned i = segment_of(&segments, after); !err && i < segments.n; i++)
		err = runs_segment(&s, dir, segments.zxid[i]);
	if (!err)
		err = runs_end(&s);
	sto_names_free(&segments);
	fs->close(fs->self, dir);
	return err;
}

int64_t sto_snap_newest(const struct sto_fs *fs, const char *snap_dir)
{
	struct sto_names snaps = {0};
	int64_t zxid = -1;
	int err, dir = sto_dir_open(fs, snap_dir);

	if (dir < 0)
		return -1;
	err = sto_names_list(fs, dir, STO_SNAP_PREFIX, &snaps);
	if (!err && snaps.n)
		zxid = snaps.zxid[snaps.n - 1];
	sto_names_free(&snaps);
	fs->close(fs->self, dir);
	return zxid;
}

int64_t sto_log_oldest(const struct sto_fs *fs, const char *log_dir)
{
	int dir = sto_dir_open(fs, log_dir);
	struct sto_names names = {0};
	int64_t zxid = -1;

	if (dir < 0)
		return -1;
	if (!sto_names_list(fs, dir, STO_LOG_PREFIX, &names) && names.n)
		zxid = names.zxid[0];
	sto_names_free(&names);
	fs->close(fs->self, dir);
	return zxid;
}

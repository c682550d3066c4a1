#include "storage/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "storage/file.h"
#include "storage/segment.h"

typedef int (*entry_fn)(void *arg, int64_t zxid, const uint8_t *entry, uint32_t len);

/* The segment before, for the link between the two. */
struct link {
	uint64_t id; /* 0: none */
	int64_t last_zxid;
};

static void bad(struct sto_file *f, const char *what, uint64_t at)
{
	f->state = STO_BAD;
	sto_why(f->why, "%s, at byte %" PRIu64, what, at);
}

static int give_entries(const uint8_t *entries, size_t len, struct sto_file *f, entry_fn each,
			void *arg)
{
	int err = 0;

	while (len && !err) {
		uint32_t n = le32_get(entries);
		int64_t zxid = (int64_t)be64_get(entries + 4 + STO_ENTRY_ZXID_AT);

		if (each)
			err = each(arg, zxid, entries + 4, n);
		f->last_zxid = zxid;
		f->txns++;
		entries += 4 + n;
		len -= 4 + n;
	}
	return err;
}

static void check_end(struct sto_file *f, struct sto_seg_reader *s, int got)
{
	bool dirty;
	int traces = got ? got : sto_seg_traces(s, &dirty);

	if (traces == -EBADMSG)
		bad(f, "impossible entries in a block", s->at);
	else if (traces < 0)
		bad(f, strerror(-traces), s->at);
	else if (traces)
		bad(f, "a damaged block before a good one", s->bad_at);
	else if (dirty) {
		bad(f, "a torn write at its end", s->at);
		f->state = STO_TORN;
	}
}

static void check_link(struct sto_file *f, const struct link *before,
		       const struct sto_seg_head *head)
{
	if (!before->id || f->state == STO_BAD)
		return;
	/* A log that began anew, behind a snapshot from elsewhere, has no predecessor. */
	if (head->prev_zxid < before->last_zxid || (head->prev_id && head->prev_id != before->id))
		bad(f, "it does not continue the segment before", 0);
	else if (head->prev_id && head->prev_zxid > before->last_zxid)
		bad(f, "zxids are missing before it", 0);
}

/* -errno only for what each() returned. */
static int read_segment(const struct sto_fs *fs, int dir, int64_t zxid, struct sto_file *f,
			struct link *before, entry_fn each, void *arg)
{
	const uint8_t *entries;
	struct sto_seg_reader s;
	size_t len;
	int err = 0, got = sto_seg_open(&s, fs, dir, zxid, O_RDONLY);

	f->first_zxid = zxid;
	f->last_zxid = zxid - 1;
	if (got) {
		bad(f, got == -EBADMSG ? "its head is damaged" : strerror(-got), 0);
		before->id = 0;
		return 0;
	}
	f->bytes = s.file_size;
	while (!err && (got = sto_seg_next(&s, &entries, &len)) == 1)
		err = give_entries(entries, len, f, each, arg);
	if (!err)
		check_end(f, &s, got);
	check_link(f, before, &s.head);
	*before = (struct link){s.head.id, f->txns ? f->last_zxid : s.head.prev_zxid};
	sto_seg_close(&s);
	return err;
}

static int inspect_snapshots(const struct sto_fs *fs, int dir,
			     int (*each)(void *arg, const struct sto_file *file), void *arg)
{
	struct sto_names names = {0};
	int err = sto_names_list(fs, dir, STO_SNAP_PREFIX, &names);

	for (unsigned i = 0; i < names.n && !err; i++) {
		char name[STO_NAME_MAX];
		struct sto_file f = {.name = name, .is_snapshot = true};
		int fd;

		sto_name(name, STO_SNAP_PREFIX, names.zxid[i]);
		fd = fs->open(fs->self, dir, name, O_RDONLY, 0);
		if (fd >= 0) {
			off_t size = fs->size(fs->self, fd);

			f.bytes = size > 0 ? (uint64_t)size : 0;
			fs->close(fs->self, fd);
		}
		if (sto_snap_load(fs, dir, names.zxid[i], NULL, &f.head, NULL, f.why))
			f.state = STO_BAD;
		err = each(arg, &f);
	}
	sto_names_free(&names);
	return err;
}

static int inspect_segments(const struct sto_fs *fs, int dir,
			    int (*each)(void *arg, const struct sto_file *file), void *arg)
{
	struct sto_names names = {0};
	struct link before = {0};
	int err = sto_names_list(fs, dir, STO_LOG_PREFIX, &names);

	for (unsigned i = 0; i < names.n && !err; i++) {
		char name[STO_NAME_MAX];
		struct sto_file f = {.name = name};

		sto_name(name, STO_LOG_PREFIX, names.zxid[i]);
		read_segment(fs, dir, names.zxid[i], &f, &before, NULL, NULL);
		/* Only at the end of all does nothing prove that more was there. */
		if (f.state == STO_TORN && i + 1 < names.n)
			f.state = STO_BAD;
		err = each(arg, &f);
	}
	sto_names_free(&names);
	return err;
}

int sto_inspect(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		int (*each)(void *arg, const struct sto_file *file), void *arg)
{
	int dir = sto_dir_open(fs, snap_dir), err;

	if (dir < 0)
		return dir;
	err = inspect_snapshots(fs, dir, each, arg);
	fs->close(fs->self, dir);
	if (err)
		return err;
	dir = sto_dir_open(fs, log_dir);
	if (dir < 0)
		return dir;
	err = inspect_segments(fs, dir, each, arg);
	fs->close(fs->self, dir);
	return err;
}

int sto_inspect_log(const struct sto_fs *fs, const char *log_dir, entry_fn each, void *arg,
		    char *why)
{
	int dir = sto_dir_open(fs, log_dir), err;
	struct sto_names names = {0};
	struct link before = {0};

	if (dir < 0)
		return dir;
	err = sto_names_list(fs, dir, STO_LOG_PREFIX, &names);
	for (unsigned i = 0; i < names.n && !err; i++) {
		char name[STO_NAME_MAX];
		struct sto_file f = {.name = name};

		sto_name(name, STO_LOG_PREFIX, names.zxid[i]);
		err = read_segment(fs, dir, names.zxid[i], &f, &before, each, arg);
		if (!err && f.state != STO_GOOD) {
			sto_why(why, "%s: %s", name, f.why);
			err = -EBADMSG;
		}
	}
	sto_names_free(&names);
	fs->close(fs->self, dir);
	return err;
}

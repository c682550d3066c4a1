#include "storage/import.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "jute/codes.h"
#include "storage/file.h"
#include "storage/gunzip.h"
#include "storage/segment.h"
#include "storage/zksnap.h"

enum { TYPE_AT = 28, PIECE_BYTES = 1 << 20 };

/* In which form a snapshot may be there. */
static const char *const suffixes[] = {"", ".gz", ".snappy"};
enum { PLAIN, GZIP, SNAPPY, FORMS };

struct import {
	const struct sto_fs *fs;
	const struct sto_sink *sink;
	struct sto_recovered *out;
	int snap_dir, log_dir;
	struct sto_names snaps[FORMS], logs;
	int64_t applied;
	int64_t last; /* in the log; -1: nothing was read yet */
	const char *log_name;
	bool torn; /* the file before ended in the middle of a record */
};

struct bytes {
	uint8_t *data;
	size_t n;
};

static void tell(struct import *im, const char *text)
{
	size_t used = strlen(im->out->message), room = sizeof(im->out->message) - used;

	if (room > 2)
		snprintf(im->out->message + used, room, "%s%s", used ? "; " : "", text);
}

static int tell_log(struct import *im, int err, const char *what, uint64_t at)
{
	char text[STO_WHY_MAX];

	sto_why(text, "%s, byte %" PRIu64 ": %s, behind zxid 0x%" PRIx64, im->log_name, at, what,
		(uint64_t)im->applied);
	tell(im, text);
	return err;
}

static int collect_snap(void *arg, const char *name)
{
	struct import *im = arg;
	int64_t zxid;

	for (int form = 0; form < FORMS; form++)
		if (sto_name_parse(name, "snapshot.", suffixes[form], &zxid))
			return sto_names_add(&im->snaps[form], zxid);
	return 0;
}

static int collect_log(void *arg, const char *name)
{
	struct import *im = arg;
	int64_t zxid;

	return sto_name_parse(name, "log.", "", &zxid) ? sto_names_add(&im->logs, zxid) : 0;
}

static int read_file(const struct sto_fs *fs, int dir, const char *name, struct bytes *out)
{
	int fd = fs->open(fs->self, dir, name, O_RDONLY, 0);
	off_t size;
	ssize_t got;

	*out = (struct bytes){0};
	if (fd < 0)
		return fd;
	size = fs->size(fs->self, fd);
	got = size < 0 ? size : -ENOMEM;
	if (size >= 0)
		out->data = malloc((size_t)size + 1);
	if (out->data)
		got = sto_read(fs, fd, out->data, (size_t)size, 0);
	fs->close(fs->self, fd);
	if (got < 0) {
		free(out->data);
		return (int)got;
	}
	out->n = (size_t)got;
	return 0;
}

/* The whole of what is packed, at once. */
static int feed_packed(struct import *im, const char *name, int form, struct sto_zk_reader *r)
{
	struct bytes packed, plain = {0};
	size_t used;
	int err;

	if (form == SNAPPY)
		r->what = "snappy is not read here; let ZooKeeper write one with "
			  "snapshot.compression.method=gz";
	if (form == SNAPPY)
		return -EBADMSG;
	err = read_file(im->fs, im->snap_dir, name, &packed);
	if (err)
		return err;
	err = sto_gunzip(packed.data, packed.n, &plain.data, &plain.n);
	free(packed.data);
	if (err) {
		r->what = "it can't be decompressed";
		return err;
	}
	err = sto_zk_read(r, plain.data, plain.n, &used);
	if (!err)
		err = sto_zk_read_end(r, plain.n - used);
	free(plain.data);
	return err;
}

/* Piece by piece; what is too long for the buffer makes it grow, but only once it was full. */
static int feed_pieces(struct import *im, int fd, struct sto_zk_reader *r)
{
	struct bytes b = {malloc(PIECE_BYTES), 0};
	size_t cap = PIECE_BYTES, used;
	uint64_t at = 0;
	int err = b.data ? 0 : -ENOMEM;

	while (!err) {
		ssize_t got = sto_read(im->fs, fd, b.data + b.n, cap - b.n, at);

		if (got <= 0) {
			err = got ? (int)got : sto_zk_read_end(r, b.n);
			break;
		}
		at += (uint64_t)got;
		b.n += (size_t)got;
		err = sto_zk_read(r, b.data, b.n, &used);
		b.n -= used;
		memmove(b.data, b.data + used, b.n);
		if (!err && b.n == cap) {
			uint8_t *more = realloc(b.data, cap *= 2);

			b.data = more ? more : b.data;
			err = more ? 0 : -ENOMEM;
		}
	}
	free(b.data);
	return err;
}

static int feed(struct import *im, const char *name, int form, struct sto_zk_reader *r)
{
	int fd, err;

	if (form != PLAIN)
		return feed_packed(im, name, form, r);
	fd = im->fs->open(im->fs->self, im->snap_dir, name, O_RDONLY, 0);
	if (fd < 0)
		return fd;
	err = feed_pieces(im, fd, r);
	im->fs->close(im->fs->self, fd);
	return err;
}

/* Checked to its end before the sink sees any of it. */
static int load_snapshot(struct import *im, int64_t zxid, int form, int *sunk)
{
	const struct sto_sink *sink = im->sink;
	char name[STO_NAME_MAX], text[STO_WHY_MAX];
	struct sto_zk_reader check, load;
	int err;

	*sunk = 0;
	snprintf(name, sizeof(name), "snapshot.%" PRIx64 "%s", (uint64_t)zxid, suffixes[form]);
	sto_zk_reader_file(&check, NULL, zxid);
	sto_zk_reader_file(&load, sink, zxid);
	err = feed(im, name, form, &check);
	if (!err)
		err = *sunk = sink->begin(sink->self, &check.head);
	if (!err) {
		err = feed(im, name, form, &load);
		*sunk = load.sunk;
	}
	if (!err)
		err = *sunk = sink->loaded(sink->self, &load.head);
	if (err) {
		const char *what = check.what ? check.what : load.what;

		sto_why(text, "%s: %s", name, what ? what : strerror(-err));
		tell(im, text);
	}
	sto_zk_reader_fini(&check);
	sto_zk_reader_fini(&load);
	return err;
}

static bool has(const struct sto_names *names, int64_t zxid)
{
	for (unsigned i = 0; i < names->n; i++)
		if (names->zxid[i] == zxid)
			return true;
	return false;
}

static int begin_empty(struct import *im)
{
	struct sto_snap_head head = {0};
	int err = im->sink->begin(im->sink->self, &head);

	return err ? err : im->sink->loaded(im->sink->self, &head);
}

static int load_newest(struct import *im)
{
	struct sto_names all = {0};
	int err = 0, sunk = 0;

	for (int form = 0; form < FORMS; form++)
		for (unsigned i = 0; !err && i < im->snaps[form].n; i++)
			err = sto_names_add(&all, im->snaps[form].zxid[i]);
	sto_names_sort(&all);
	for (unsigned i = all.n; !err && i-- > 0;) {
		for (int form = 0; form < FORMS; form++) {
			if (!has(&im->snaps[form], all.zxid[i]))
				continue;
			err = load_snapshot(im, all.zxid[i], form, &sunk);
			if (!err)
				im->out->snapshot_zxid = im->applied = all.zxid[i];
			if (!err || (err != -EBADMSG && err != -EIO) || sunk)
				goto done;
			err = 0;
		}
	}
	if (!err && all.n && !im->logs.n)
		err = -EBADMSG;
	if (!err)
		err = begin_empty(im);
done:
	sto_names_free(&all);
	return err;
}

/* The length of the whole record at `at`; 0: there is none. */
static uint32_t record_at(const struct bytes *b, size_t at)
{
	const uint8_t *p = b->data + at;
	size_t left = b->n - at;
	uint32_t len;

	if (left < ZK_LOG_ENTRY_SIZE + STO_ENTRY_MIN + 1 || be32_get(p))
		return 0;
	len = be32_get(p + 8);
	if (len < STO_ENTRY_MIN || len > left - ZK_LOG_ENTRY_SIZE - 1 ||
	    p[ZK_LOG_ENTRY_SIZE + len] != ZK_LOG_END)
		return 0;
	return sto_hash_ok(libdeflate_adler32(1, p + ZK_LOG_ENTRY_SIZE, len), be32_get(p + 4)) ? len
											       : 0;
}

/* Nothing whole is at `at`. Zeros up to the end: 0; a torn record, nothing whole behind it: 1;
 * else something whole was damaged. */
static int end_of_log(const struct bytes *b, size_t at)
{
	size_t zeros = at;

	while (zeros < b->n && !b->data[zeros])
		zeros++;
	if (zeros == b->n)
		return 0;
	for (size_t q = at + 1; q < b->n; q++)
		if (record_at(b, q))
			return -EBADMSG;
	return 1;
}

static int replay_record(struct import *im, const uint8_t *entry, uint32_t len, uint64_t at)
{
	int64_t zxid = (int64_t)be64_get(entry + STO_ENTRY_ZXID_AT);
	int32_t type = (int32_t)be32_get(entry + TYPE_AT);
	int err;

	/* 3.9 logs a request that it can't decode as an error with a zxid used before. */
	if (type == ZK_OP_ERROR && zxid == im->last)
		return 0;
	if (zxid <= im->last)
		return tell_log(im, -EBADMSG, "zxids go back", at);
	im->last = zxid;
	if (zxid <= im->applied)
		return 0;
	if (!sto_zxid_follows(im->applied, zxid))
		return tell_log(im, -EBADMSG,
				im->torn ? "zxids are missing, and the file before is damaged"
					 : "zxids are missing",
				at);
	err = im->sink->txn(im->sink->self, zxid, entry, len);
	if (err)
		return err;
	im->applied = zxid;
	im->out->txns++;
	return 0;
}

static int replay_log(struct import *im, const struct bytes *b)
{
	size_t at = ZK_LOG_HEAD_SIZE;
	uint32_t len;
	int err;

	if (!b->n) /* the server died before it wrote anything */
		return 0;
	if (b->n < ZK_LOG_HEAD_SIZE || be32_get(b->data) != ZK_LOG_MAGIC ||
	    be32_get(b->data + 4) != ZK_FILE_VERSION)
		return tell_log(im, -EBADMSG, "it is no log of version 2", 0);
	while ((len = record_at(b, at))) {
		err = replay_record(im, b->data + at + ZK_LOG_ENTRY_SIZE, len, at);
		if (err)
			return err;
		at += ZK_LOG_ENTRY_SIZE + len + 1;
	}
	im->out->log_bytes += at;
	err = end_of_log(b, at);
	im->torn = err == 1;
	if (err < 0)
		return tell_log(im, err, "a damaged record before a good one", at);
	if (im->torn)
		tell_log(im, 0, "ends in a torn record", at);
	return 0;
}

/* Files that begin behind the snapshot, and the one before them (FileTxnLog.getLogFiles). */
static int replay(struct import *im)
{
	unsigned i = 0;
	int err = 0;

	while (i + 1 < im->logs.n && im->logs.zxid[i + 1] <= im->applied)
		i++;
	im->last = -1;
	for (; !err && i < im->logs.n; i++) {
		char name[STO_NAME_MAX];
		struct bytes b;

		snprintf(name, sizeof(name), "log.%" PRIx64, (uint64_t)im->logs.zxid[i]);
		im->log_name = name;
		err = read_file(im->fs, im->log_dir, name, &b);
		if (err)
			return tell_log(im, err, strerror(-err), 0);
		err = replay_log(im, &b);
		free(b.data);
	}
	return err;
}

static int import(struct import *im)
{
	int err = im->fs->list(im->fs->self, im->snap_dir, collect_snap, im);

	if (!err)
		err = im->fs->list(im->fs->self, im->log_dir, collect_log, im);
	sto_names_sort(&im->logs);
	if (!err)
		err = load_newest(im);
	if (!err)
		err = replay(im);
	for (int form = 0; form < FORMS; form++)
		sto_names_free(&im->snaps[form]);
	sto_names_free(&im->logs);
	return err;
}

static int open_both(const struct sto_fs *fs, const char *snap_dir, const char *log_dir, int *snap,
		     int *log)
{
	*snap = sto_dir_open(fs, snap_dir);
	if (*snap < 0)
		return *snap;
	*log = sto_dir_open(fs, log_dir);
	if (*log >= 0)
		return 0;
	fs->close(fs->self, *snap);
	return *log;
}

int sto_import(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
	       const struct sto_sink *sink, struct sto_recovered *out)
{
	struct import im = {.fs = fs, .sink = sink, .out = out};
	int err;

	*out = (struct sto_recovered){.snapshot_zxid = -1};
	err = open_both(fs, snap_dir, log_dir, &im.snap_dir, &im.log_dir);
	if (!err) {
		err = import(&im);
		fs->close(fs->self, im.log_dir);
		fs->close(fs->self, im.snap_dir);
	}
	out->last_zxid = im.applied;
	if (err && !out->message[0])
		tell(&im, strerror(-err));
	return err;
}

/* --- what was imported ----------------------------------------------------------------------- */

#define RECORD     "paddock.imported"
#define RECORD_TMP RECORD STO_TMP_SUFFIX

struct seen {
	bool ours;
	int64_t newest; /* zxid in a name of ZooKeeper's; -1: none */
	char name[STO_NAME_MAX];
};

static int look(void *arg, const char *name)
{
	struct seen *s = arg;
	int64_t zxid;
	bool theirs = sto_name_parse(name, "log.", "", &zxid);

	for (int form = 0; form < FORMS && !theirs; form++)
		theirs = sto_name_parse(name, "snapshot.", suffixes[form], &zxid);
	if (theirs && zxid > s->newest) {
		s->newest = zxid;
		snprintf(s->name, sizeof(s->name), "%s", name);
	}
	s->ours |= sto_name_parse(name, STO_LOG_PREFIX, "", &zxid) ||
		   sto_name_parse(name, STO_SNAP_PREFIX, "", &zxid);
	return 0;
}

static int look_at_both(const struct sto_fs *fs, int snap, int log, struct seen *s)
{
	int err;

	*s = (struct seen){.newest = -1};
	err = fs->list(fs->self, snap, look, s);
	return err ? err : fs->list(fs->self, log, look, s);
}

int sto_import_wanted(const struct sto_fs *fs, const char *snap_dir, const char *log_dir)
{
	struct seen s;
	int snap, log, err = open_both(fs, snap_dir, log_dir, &snap, &log);

	if (err)
		return err;
	err = look_at_both(fs, snap, log, &s);
	fs->close(fs->self, log);
	fs->close(fs->self, snap);
	return err ? err : s.newest >= 0 && !s.ours;
}

/* Durable under its name, or not at all. */
static int write_record(const struct sto_fs *fs, int dir, int64_t newest)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "%016" PRIx64 "\n", (uint64_t)newest);
	int fd = fs->open(fs->self, dir, RECORD_TMP, O_WRONLY | O_CREAT | O_TRUNC, 0600), err;

	if (fd < 0)
		return fd;
	err = sto_write(fs, fd, text, (size_t)n, 0);
	if (!err)
		err = fs->sync(fs->self, fd);
	fs->close(fs->self, fd);
	if (!err)
		err = fs->rename(fs->self, dir, RECORD_TMP, RECORD);
	return err ? err : fs->sync(fs->self, dir);
}

/* -ENOENT: there is none; -EBADMSG: it is none of ours. */
static int read_record(const struct sto_fs *fs, int dir, int64_t *newest)
{
	char name[STO_NAME_MAX];
	struct bytes b;
	int err = read_file(fs, dir, RECORD, &b);

	if (err)
		return err;
	snprintf(name, sizeof(name), "x%.*s", b.n == 17 ? 16 : 0, (char *)b.data);
	err =
	    b.n == 17 && b.data[16] == '\n' && sto_name_parse(name, "x", "", newest) ? 0 : -EBADMSG;
	free(b.data);
	return err;
}

static int compare(const struct sto_fs *fs, int dir, const struct seen *s,
		   struct sto_recovered *out)
{
	int64_t known;
	int err;

	if (s->newest < 0)
		return 0;
	err = s->ours ? read_record(fs, dir, &known) : -ENOENT;
	/* Imported now, or by a version that kept no record. */
	if (err == -ENOENT)
		return write_record(fs, dir, s->newest);
	if (err == -EBADMSG)
		sto_why(out->message,
			"%s is damaged; without it, what ZooKeeper's files hold now "
			"counts as imported",
			RECORD);
	if (err || s->newest <= known)
		return err;
	sto_why(out->message,
		"%s is newer than what was imported: ZooKeeper has run on this directory since. "
		"To go on with its state, move all paddock.* away; with Paddock's, move "
		"ZooKeeper's snapshot.* and log.* away",
		s->name);
	return -EEXIST;
}

int sto_import_check(const struct sto_fs *fs, const char *snap_dir, const char *log_dir,
		     struct sto_recovered *out)
{
	struct seen s;
	int snap, log, err = open_both(fs, snap_dir, log_dir, &snap, &log);

	out->message[0] = '\0';
	if (err)
		return err;
	err = look_at_both(fs, snap, log, &s);
	if (!err)
		err = compare(fs, snap, &s, out);
	fs->close(fs->self, log);
	fs->close(fs->self, snap);
	return err;
}

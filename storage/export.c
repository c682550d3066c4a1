#include "storage/export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "jute/codes.h"
#include "jute/txn.h"
#include "storage/file.h"
#include "storage/import.h"
#include "storage/zkput.h"
#include "storage/zksnap.h"

#define SNAP_TMP "paddock.export.snapshot" STO_TMP_SUFFIX
#define LOG_TMP  "paddock.export.log" STO_TMP_SUFFIX
enum { LAST_SIZE = 8 };

/* A file that grows at its end. */
struct file {
	const struct sto_fs *fs;
	int fd; /* -1: not open */
	uint64_t at;
	uint32_t adler; /* of what was written */
	struct sto_zk_out out;
};

struct export
{
	struct sto_exported *out;
	struct sto_snap_head head; /* of the snapshot in hand */
	int64_t first_txn, last_zxid;
	uint64_t txns, ttl_txns;
	struct sto_zk_survey survey;
	/* The second time. */
	struct export *first;
	struct sto_zk_put put;
	int dir;
	struct file snap, log;
};

/* --- files ----------------------------------------------------------------------------------- */

static int file_take(void *arg, const void *bytes, size_t n)
{
	struct file *f = arg;
	int err = sto_write(f->fs, f->fd, bytes, n, f->at);

	f->adler = libdeflate_adler32(f->adler, bytes, n);
	f->at += n;
	return err;
}

static int file_open(struct file *f, int dir, const char *name)
{
	if (f->fd < 0)
		f->fd = f->fs->open(f->fs->self, dir, name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (f->fd < 0)
		return f->fd;
	f->at = f->out.len = 0;
	f->adler = 1;
	f->out.flush = file_take;
	f->out.arg = f;
	return f->fs->truncate(f->fs->self, f->fd, 0);
}

static int put_seal(struct file *f)
{
	struct jute_out out;
	int err = sto_zk_out_flush(&f->out);

	if (!err)
		err = sto_zk_out_room(&f->out, ZK_SNAP_SEAL_SIZE, &out);
	if (!err)
		zk_snap_seal_encode(&out, &(struct zk_snap_seal){f->adler, jute_text(ZK_SNAP_END)});
	return err;
}

/* The head is of both kinds of files the same three fields. */
static int put_head(struct file *f, int32_t magic, int64_t dbid)
{
	struct jute_out out;
	int err = sto_zk_out_room(&f->out, ZK_SNAP_HEAD_SIZE, &out);

	if (!err)
		zk_snap_head_encode(&out, &(struct zk_snap_head){magic, ZK_FILE_VERSION, dbid});
	return err;
}

static int file_finish(struct file *f)
{
	int err = sto_zk_out_flush(&f->out);

	return err ? err : f->fs->sync(f->fs->self, f->fd);
}

static void file_close(struct file *f)
{
	if (f->fd >= 0)
		f->fs->close(f->fs->self, f->fd);
	f->fd = -1;
	sto_zk_out_free(&f->out);
}

/* --- the first time: count ------------------------------------------------------------------- */

static int survey_begin(void *self, const struct sto_snap_head *head)
{
	struct export *e = self;

	sto_zk_survey_free(&e->survey);
	e->txns = e->ttl_txns = 0;
	e->first_txn = -1;
	e->head = *head;
	e->last_zxid = head->zxid;
	return 0;
}

static int survey_session(void *self, int64_t id, int32_t timeout_ms)
{
	(void)id, (void)timeout_ms;
	((struct export *)self)->survey.sessions++;
	return 0;
}

static int survey_node(void *self, const struct sto_snap_node *n)
{
	return sto_zk_survey_node(&((struct export *)self)->survey, n);
}

static int survey_loaded(void *self, const struct sto_snap_head *head)
{
	struct export *e = self;

	e->head = *head;
	return e->survey.nodes ? 0 : sto_zk_initial_nodes(self, survey_node);
}

static bool makes_ttl(const struct zk_txn_body *b)
{
	struct zk_multi_txn walk;
	struct zk_txn_body member;
	bool makes = b->type == ZK_OP_CREATE_TTL;

	if (b->type != ZK_OP_MULTI)
		return makes;
	walk = b->multi;
	for (int32_t i = 0; !makes && i < b->multi.count; i++)
		makes = !zk_multi_txn_next(&walk, &member) && member.type == ZK_OP_CREATE_TTL;
	return makes;
}

static int survey_txn(void *self, int64_t zxid, const uint8_t *entry, uint32_t len)
{
	struct export *e = self;
	struct jute_in in = jute_in_of(entry, len);
	struct zk_txn_header h;
	struct zk_txn_body body;

	if (zk_txn_header_decode(&in, &h) || zk_txn_body_decode(&in, h.type, &body))
		return -EBADMSG;
	e->ttl_txns += makes_ttl(&body);
	if (e->first_txn < 0)
		e->first_txn = zxid;
	e->last_zxid = zxid;
	e->txns++;
	return 0;
}

/* --- the second time: write ------------------------------------------------------------------ */

static int write_begin(void *self, const struct sto_snap_head *head)
{
	struct export *e = self;
	int err = file_open(&e->snap, e->dir, SNAP_TMP);

	e->txns = 0;
	e->head = *head;
	e->last_zxid = head->zxid;
	if (!err && e->first->first_txn >= 0)
		err = file_open(&e->log, e->dir, LOG_TMP);
	if (!err && e->first->first_txn >= 0)
		err = put_head(&e->log, ZK_LOG_MAGIC, 0);
	if (!err)
		err = put_head(&e->snap, ZK_SNAP_MAGIC, ZK_SNAP_DBID);
	return err ? err : sto_zk_put_begin(&e->put, &e->first->survey, &e->snap.out);
}

static int write_session(void *self, int64_t id, int32_t timeout_ms)
{
	return sto_zk_put_session(&((struct export *)self)->put, id, timeout_ms);
}

static int write_node(void *self, const struct sto_snap_node *n)
{
	return sto_zk_put_node(&((struct export *)self)->put, n);
}

static int put_digest(struct export *e)
{
	struct zk_snap_digest d = {e->head.zxid, ZK_DIGEST_VERSION, (int64_t)e->head.digest};
	struct jute_out out;
	int err = sto_zk_out_room(&e->snap.out, ZK_SNAP_DIGEST_SIZE, &out);

	if (err)
		return err;
	zk_snap_digest_encode(&out, &d);
	err = put_seal(&e->snap);
	if (!err)
		err = sto_zk_out_room(&e->snap.out, LAST_SIZE, &out);
	if (err)
		return err;
	jute_put_long(&out, e->head.zxid);
	return put_seal(&e->snap);
}

static int write_loaded(void *self, const struct sto_snap_head *head)
{
	struct export *e = self;
	int err = 0;

	e->head = *head;
	if (!e->put.nodes)
		err = sto_zk_initial_nodes(self, write_node);
	/* A snapshot that was good before and is not now, or the reverse. */
	if (!err && head->zxid != e->first->head.zxid)
		err = -EIO;
	if (!err)
		err = sto_zk_put_end(&e->put);
	if (!err)
		err = put_seal(&e->snap);
	return !err && head->digest ? put_digest(e) : err;
}

static int write_txn(void *self, int64_t zxid, const uint8_t *entry, uint32_t len)
{
	struct export *e = self;
	struct jute_out out;
	int err =
	    e->log.fd < 0 ? -EIO : sto_zk_out_room(&e->log.out, ZK_LOG_ENTRY_SIZE + len + 1, &out);

	if (err)
		return err;
	zk_log_entry_encode(
	    &out, &(struct zk_log_entry){libdeflate_adler32(1, entry, len), (int32_t)len});
	jute_put_bytes(&out, entry, len);
	jute_put_bytes(&out, &(uint8_t){ZK_LOG_END}, 1);
	e->last_zxid = zxid;
	e->txns++;
	return 0;
}

/* --- the whole ------------------------------------------------------------------------------- */

static int say(struct sto_exported *out, int err, const char *what)
{
	if (err && !out->message[0])
		sto_why(out->message, "%s: %s", what, strerror(-err));
	return err;
}

static int is_zookeepers(void *arg, const char *name)
{
	(void)arg;
	return strncmp(name, "snapshot.", 9) && strncmp(name, "log.", 4) ? 0 : -EEXIST;
}

struct names {
	char snap[STO_NAME_MAX], log[STO_NAME_MAX];
};

static void remove_all(struct export *e, const struct names *n)
{
	const struct sto_fs *fs = e->snap.fs;

	fs->unlink(fs->self, e->dir, n->snap);
	fs->unlink(fs->self, e->dir, n->log);
	fs->unlink(fs->self, e->dir, SNAP_TMP);
	fs->unlink(fs->self, e->dir, LOG_TMP);
}

/* Log first: without a snapshot ZooKeeper does not start on what a crash leaves here. */
static int name_files(struct export *e, const struct names *n)
{
	const struct sto_fs *fs = e->snap.fs;
	int err = file_finish(&e->snap);

	if (!err && e->log.fd >= 0)
		err = file_finish(&e->log);
	if (!err && e->log.fd >= 0)
		err = fs->rename(fs->self, e->dir, LOG_TMP, n->log);
	if (!err && e->log.fd >= 0)
		err = fs->sync(fs->self, e->dir);
	if (!err)
		err = fs->rename(fs->self, e->dir, SNAP_TMP, n->snap);
	return err ? err : fs->sync(fs->self, e->dir);
}

static int read_back(const struct export *e, const char *to_dir)
{
	struct export back = {0};
	struct sto_sink sink = {&back,       survey_begin,  survey_session,
				survey_node, survey_loaded, survey_txn};
	struct sto_recovered found;
	int err = sto_import(e->snap.fs, to_dir, to_dir, &sink, &found);

	if (!err && (back.survey.nodes != e->put.nodes || back.survey.sessions != e->put.sessions ||
		     back.txns != e->txns || found.last_zxid != e->last_zxid ||
		     found.snapshot_zxid != e->head.zxid || back.head.digest != e->head.digest))
		err = -EIO;
	sto_zk_survey_free(&back.survey);
	return err;
}

static int write_files(struct export *e, const struct sto_fs *from, const char *snap_dir,
		       const char *log_dir, const char *to_dir)
{
	struct sto_sink sink = {e, write_begin, write_session, write_node, write_loaded, write_txn};
	struct sto_exported *out = e->out;
	struct sto_recovered again;
	struct names n;
	int err;

	snprintf(n.snap, sizeof(n.snap), "snapshot.%" PRIx64, (uint64_t)e->first->head.zxid);
	snprintf(n.log, sizeof(n.log), "log.%" PRIx64, (uint64_t)e->first->first_txn);
	err = say(out, sto_recover(from, snap_dir, log_dir, false, &sink, &again), "writing");
	if (!err && (again.last_zxid != out->found.last_zxid || e->txns != e->first->txns))
		err = say(out, -EIO, "the source changed while it was read");
	if (!err)
		err = say(out, name_files(e, &n), "writing");
	file_close(&e->snap);
	file_close(&e->log);
	if (!err)
		err = say(out, read_back(e, to_dir), "what was written reads otherwise");
	if (err)
		remove_all(e, &n);
	return err;
}

int sto_export(const struct sto_fs *from, const char *snap_dir, const char *log_dir,
	       const struct sto_fs *to, const char *to_dir, struct sto_exported *out)
{
	struct export first = {.out = out};
	struct export e = {
	    .out = out, .first = &first, .snap = {.fs = to, .fd = -1}, .log = {.fs = to, .fd = -1}};
	struct sto_sink sink = {&first,      survey_begin,  survey_session,
				survey_node, survey_loaded, survey_txn};
	int err;

	*out = (struct sto_exported){0};
	err = sto_recover(from, snap_dir, log_dir, false, &sink, &out->found);
	if (!err && out->found.snapshot_zxid < 0 && !first.txns)
		err = say(out, -ENODATA, "there is no data of Paddock's");
	out->nodes = first.survey.nodes;
	out->sessions = first.survey.sessions;
	out->acls = first.survey.n_lists;
	out->ttl_nodes = first.survey.ttl_nodes + first.ttl_txns;
	if (!err) {
		e.dir = sto_dir_open(to, to_dir);
		err = say(out, e.dir < 0 ? e.dir : 0, to_dir);
	}
	if (!err) {
		err = say(out, to->list(to->self, e.dir, is_zookeepers, NULL), to_dir);
		if (!err)
			err = write_files(&e, from, snap_dir, log_dir, to_dir);
		to->close(to->self, e.dir);
	}
	sto_zk_survey_free(&first.survey);
	return err;
}

#include "storage/export.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "jute/codes.h"
#include "jute/txn.h"
#include "storage/file.h"
#include "storage/import.h"
#include "storage/zksnap.h"

#define SNAP_TMP "paddock.export.snapshot" STO_TMP_SUFFIX
#define LOG_TMP  "paddock.export.log" STO_TMP_SUFFIX
enum { BUFFER_BYTES = 256 << 10, LAST_SIZE = 8, END_SIZE = 5 };

/* A file that grows at its end. */
struct file {
	const struct sto_fs *fs;
	int fd; /* -1: not open */
	uint64_t at;
	uint32_t adler; /* of what was written */
	uint8_t *buffer;
	size_t len, cap;
};

struct acl {
	uint32_t len;
	int64_t id;
	uint8_t bytes[];
};

struct export
{
	struct sto_exported *out;
	struct sto_snap_head head; /* of the snapshot in hand */
	uint64_t nodes, sessions, ttl_nodes;
	int64_t first_txn, last_zxid;
	uint64_t txns;
	/* ACL lists: by their bytes, by number less one, and the one found last. */
	void *by_bytes;
	struct acl **acl;
	size_t n_acls, acls_cap;
	const struct acl *recent;
	/* The second time. */
	const struct export *survey;
	int dir;
	struct file snap, log;
};

/* --- files ----------------------------------------------------------------------------------- */

static int file_open(struct file *f, int dir, const char *name)
{
	if (f->fd < 0)
		f->fd = f->fs->open(f->fs->self, dir, name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (f->fd < 0)
		return f->fd;
	f->at = f->len = 0;
	f->adler = 1;
	return f->fs->truncate(f->fs->self, f->fd, 0);
}

static int file_flush(struct file *f)
{
	int err = sto_write(f->fs, f->fd, f->buffer, f->len, f->at);

	f->adler = libdeflate_adler32(f->adler, f->buffer, f->len);
	f->at += f->len;
	f->len = 0;
	return err;
}

/* Room for exactly n bytes, to be filled at once. */
static int file_room(struct file *f, size_t n, struct jute_out *out)
{
	int err = f->len + n > f->cap ? file_flush(f) : 0;

	if (!err && n > f->cap) {
		size_t cap = n > BUFFER_BYTES ? n : BUFFER_BYTES;

		free(f->buffer);
		f->buffer = malloc(cap);
		f->cap = f->buffer ? cap : 0;
	}
	if (err || !f->buffer)
		return err ? err : -ENOMEM;
	*out = jute_out_of(f->buffer + f->len, n);
	f->len += n;
	return 0;
}

static int put_count(struct file *f, uint64_t n)
{
	struct jute_out out;
	int err = n > INT32_MAX ? -EOVERFLOW : file_room(f, 4, &out);

	if (!err)
		jute_put_int(&out, (int32_t)n);
	return err;
}

static int put_seal(struct file *f)
{
	struct jute_out out;
	int err = file_flush(f);

	if (!err)
		err = file_room(f, ZK_SNAP_SEAL_SIZE, &out);
	if (!err)
		zk_snap_seal_encode(&out, &(struct zk_snap_seal){f->adler, jute_text(ZK_SNAP_END)});
	return err;
}

/* The head is of both kinds of files the same three fields. */
static int put_head(struct file *f, int32_t magic, int64_t dbid)
{
	struct jute_out out;
	int err = file_room(f, ZK_SNAP_HEAD_SIZE, &out);

	if (!err)
		zk_snap_head_encode(&out, &(struct zk_snap_head){magic, ZK_FILE_VERSION, dbid});
	return err;
}

static int file_finish(struct file *f)
{
	int err = file_flush(f);

	return err ? err : f->fs->sync(f->fs->self, f->fd);
}

static void file_close(struct file *f)
{
	if (f->fd >= 0)
		f->fs->close(f->fs->self, f->fd);
	f->fd = -1;
	free(f->buffer);
	f->buffer = NULL;
	f->cap = 0;
}

/* --- ACLs ------------------------------------------------------------------------------------ */

static int compare_acls(const void *a, const void *b)
{
	const struct acl *x = a, *y = b;

	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return memcmp(x->bytes, y->bytes, x->len);
}

static struct acl *acl_of(const uint8_t *bytes, uint32_t len)
{
	struct acl *a = malloc(sizeof(*a) + len);

	if (!a)
		return NULL;
	*a = (struct acl){.len = len};
	memcpy(a->bytes, bytes, len);
	return a;
}

/* A list that we don't have is one without entries: nobody is kept out. */
static const uint8_t no_entries[4];

static const uint8_t *list_of(const struct sto_snap_node *n, uint32_t *len)
{
	*len = n->acl_len ? n->acl_len : sizeof(no_entries);
	return n->acl_len ? n->acl : no_entries;
}

static int acls_add(struct export *e, struct acl *a)
{
	if (e->n_acls == e->acls_cap) {
		size_t cap = e->acls_cap ? e->acls_cap * 2 : 64;
		struct acl **more = realloc(e->acl, cap * sizeof(struct acl *));

		if (!more)
			return -ENOMEM;
		e->acl = more;
		e->acls_cap = cap;
	}
	if (!tsearch(a, &e->by_bytes, compare_acls))
		return -ENOMEM;
	e->acl[e->n_acls] = a;
	a->id = (int64_t)++e->n_acls;
	return 0;
}

static const struct acl *acls_find(struct export *e, const struct export *in, const uint8_t *bytes,
				   uint32_t len, int *err)
{
	struct acl *key, *const *found;

	*err = 0;
	if (e->recent && e->recent->len == len && !memcmp(e->recent->bytes, bytes, len))
		return e->recent;
	key = acl_of(bytes, len);
	*err = key ? 0 : -ENOMEM;
	found = key ? tfind(key, &in->by_bytes, compare_acls) : NULL;
	free(key);
	if (found)
		e->recent = *found;
	return found ? e->recent : NULL;
}

static int survey_acl(struct export *e, const struct sto_snap_node *n)
{
	uint32_t len;
	const uint8_t *list = list_of(n, &len);
	struct acl *new;
	int err;

	if (sto_zk_acl_is_open(list, len) || acls_find(e, e, list, len, &err))
		return 0;
	new = acl_of(list, len);
	if (!new)
		return -ENOMEM;
	err = acls_add(e, new);
	if (err)
		free(new);
	return err;
}

static void acls_free(struct export *e)
{
	for (size_t i = 0; i < e->n_acls; i++) {
		tdelete(e->acl[i], &e->by_bytes, compare_acls);
		free(e->acl[i]);
	}
	free(e->acl);
	e->acl = NULL;
	e->recent = NULL;
	e->n_acls = e->acls_cap = 0;
}

/* --- the first time: count ------------------------------------------------------------------- */

static int survey_begin(void *self, const struct sto_snap_head *head)
{
	struct export *e = self;

	acls_free(e);
	e->nodes = e->sessions = e->ttl_nodes = e->txns = 0;
	e->first_txn = -1;
	e->head = *head;
	e->last_zxid = head->zxid;
	return 0;
}

static int survey_session(void *self, int64_t id, int32_t timeout_ms)
{
	(void)id, (void)timeout_ms;
	((struct export *)self)->sessions++;
	return 0;
}

static int survey_node(void *self, const struct sto_snap_node *n)
{
	struct export *e = self;

	e->nodes++;
	e->ttl_nodes += (n->owner & ~(int64_t)ZK_TTL_MAX) == ZK_OWNER_TTL;
	return survey_acl(e, n);
}

/* What a server without a snapshot begins with, as ZooKeeper does (DataTree's constructor). */
static int initial_nodes(void *self, int (*node)(void *self, const struct sto_snap_node *n))
{
	static const char *const paths[] = {"/", "/zookeeper", "/zookeeper/quota",
					    "/zookeeper/config"};
	static const uint8_t open[] = "\0\0\0\1\0\0\0\37\0\0\0\5world\0\0\0\6anyone";
	static const uint8_t readable[] = "\0\0\0\1\0\0\0\1\0\0\0\5world\0\0\0\6anyone";
	int err = 0;

	for (int i = 0; i < 4 && !err; i++)
		err = node(self, &(struct sto_snap_node){.path = paths[i],
							 .path_len = (uint32_t)strlen(paths[i]),
							 .data = "",
							 .acl = i == 3 ? readable : open,
							 .acl_len = sizeof(open) - 1,
							 .aversion = i == 3 ? -1 : 0});
	return err;
}

static int survey_loaded(void *self, const struct sto_snap_head *head)
{
	struct export *e = self;

	e->head = *head;
	return e->nodes ? 0 : initial_nodes(self, survey_node);
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
	e->ttl_nodes += makes_ttl(&body);
	if (e->first_txn < 0)
		e->first_txn = zxid;
	e->last_zxid = zxid;
	e->txns++;
	return 0;
}

/* --- the second time: write ------------------------------------------------------------------ */

static int put_acls(struct export *e)
{
	const struct export *s = e->survey;
	int err = put_count(&e->snap, s->n_acls);

	for (size_t i = 0; i < s->n_acls && !err; i++) {
		const struct acl *a = s->acl[i];
		struct jute_out out;

		err = file_room(&e->snap, 8 + a->len, &out);
		if (err)
			break;
		jute_put_long(&out, a->id);
		jute_put_bytes(&out, a->bytes, a->len);
	}
	return err;
}

static int write_begin(void *self, const struct sto_snap_head *head)
{
	struct export *e = self;
	int err = file_open(&e->snap, e->dir, SNAP_TMP);

	e->nodes = e->sessions = e->txns = 0;
	e->head = *head;
	e->last_zxid = head->zxid;
	if (!err && e->survey->first_txn >= 0)
		err = file_open(&e->log, e->dir, LOG_TMP);
	if (!err && e->survey->first_txn >= 0)
		err = put_head(&e->log, ZK_LOG_MAGIC, 0);
	if (!err)
		err = put_head(&e->snap, ZK_SNAP_MAGIC, ZK_SNAP_DBID);
	if (!err)
		err = put_count(&e->snap, e->survey->sessions);
	return !err && !e->survey->sessions ? put_acls(e) : err;
}

static int write_session(void *self, int64_t id, int32_t timeout_ms)
{
	struct export *e = self;
	struct jute_out out;
	int err = file_room(&e->snap, ZK_SNAP_SESSION_SIZE, &out);

	if (err)
		return err;
	zk_snap_session_encode(&out, &(struct zk_snap_session){id, timeout_ms});
	return ++e->sessions == e->survey->sessions ? put_acls(e) : 0;
}

static int write_node(void *self, const struct sto_snap_node *n)
{
	struct export *e = self;
	uint32_t len;
	const uint8_t *list = list_of(n, &len);
	const struct acl *a = NULL;
	struct jute_out out;
	int err = 0;

	e->nodes++;
	if (!sto_zk_acl_is_open(list, len)) {
		a = acls_find(e, e->survey, list, len, &err);
		if (!a)
			return err ? err : -EIO;
	}
	err = file_room(&e->snap, sto_zk_node_size(n), &out);
	if (!err)
		sto_zk_node_put(&out, n, a ? a->id : ZK_SNAP_ACL_OPEN);
	CHECK(err || !jute_room(&out)); /* all of the room was filled */
	return err;
}

static int put_end(struct export *e)
{
	struct jute_out out;
	int err = file_room(&e->snap, END_SIZE, &out);

	if (!err)
		jute_put_ustring(&out, jute_text(ZK_SNAP_END));
	return err ? err : put_seal(&e->snap);
}

static int put_digest(struct export *e)
{
	struct zk_snap_digest d = {e->head.zxid, ZK_DIGEST_VERSION, (int64_t)e->head.digest};
	struct jute_out out;
	int err = file_room(&e->snap, ZK_SNAP_DIGEST_SIZE, &out);

	if (err)
		return err;
	zk_snap_digest_encode(&out, &d);
	err = put_seal(&e->snap);
	if (!err)
		err = file_room(&e->snap, LAST_SIZE, &out);
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
	if (!e->nodes)
		err = initial_nodes(self, write_node);
	if (err)
		return err;
	/* A snapshot that was good before and is not now, or the reverse. */
	if (head->zxid != e->survey->head.zxid || e->nodes != e->survey->nodes ||
	    e->sessions != e->survey->sessions)
		return -EIO;
	err = put_end(e);
	return !err && head->digest ? put_digest(e) : err;
}

static int write_txn(void *self, int64_t zxid, const uint8_t *entry, uint32_t len)
{
	struct export *e = self;
	struct jute_out out;
	int err = e->log.fd < 0 ? -EIO : file_room(&e->log, ZK_LOG_ENTRY_SIZE + len + 1, &out);

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

	if (!err && (back.nodes != e->nodes || back.sessions != e->sessions ||
		     back.txns != e->txns || found.last_zxid != e->last_zxid ||
		     found.snapshot_zxid != e->head.zxid || back.head.digest != e->head.digest))
		err = -EIO;
	acls_free(&back);
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

	snprintf(n.snap, sizeof(n.snap), "snapshot.%" PRIx64, (uint64_t)e->survey->head.zxid);
	snprintf(n.log, sizeof(n.log), "log.%" PRIx64, (uint64_t)e->survey->first_txn);
	err = say(out, sto_recover(from, snap_dir, log_dir, false, &sink, &again), "writing");
	if (!err && (again.last_zxid != out->found.last_zxid || e->txns != e->survey->txns))
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
	struct export survey = {.out = out};
	struct export e = {.out = out,
			   .survey = &survey,
			   .snap = {.fs = to, .fd = -1},
			   .log = {.fs = to, .fd = -1}};
	struct sto_sink sink = {&survey,     survey_begin,  survey_session,
				survey_node, survey_loaded, survey_txn};
	int err;

	*out = (struct sto_exported){0};
	err = sto_recover(from, snap_dir, log_dir, false, &sink, &out->found);
	if (!err && out->found.snapshot_zxid < 0 && !survey.txns)
		err = say(out, -ENODATA, "there is no data of Paddock's");
	out->nodes = survey.nodes;
	out->sessions = survey.sessions;
	out->acls = survey.n_acls;
	out->ttl_nodes = survey.ttl_nodes;
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
	acls_free(&survey);
	return err;
}

#include "storage/snap.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "storage/file.h"
#include "storage/snapfile.h"

/* The ACLs seen so far: bytes one behind the other, found by an open-addressed table. */
struct acl_entry {
	uint64_t hash;
	size_t at;
	uint32_t len, number; /* from 1; 0 = empty slot */
};

struct acls {
	uint8_t *bytes;
	size_t used, cap;
	struct acl_entry *slot;
	uint32_t n, slots; /* slots: a power of two */
};

struct buffer {
	uint8_t *bytes;
	size_t len, cap;
};

struct sto_snap_writer {
	const struct sto_fs *fs;
	int dir, fd, error;
	char tmp[STO_NAME_MAX];
	uint64_t id, at, nodes, sessions, raw_bytes;
	int64_t zxid;
	uint32_t blocks, records;
	XXH3_state_t *total;
	struct buffer raw, stored, path; /* path: of the node before in this block */
	struct acls acls;
	uint32_t acl_number, acl_len; /* of the node before; of which the bytes are at acl_at */
	size_t acl_at;
	int64_t czxid, ctime;
};

static int reserve(struct buffer *b, size_t more)
{
	size_t cap = b->cap ? b->cap : 4096;
	uint8_t *bytes;

	if (b->cap - b->len >= more)
		return 0;
	while (cap - b->len < more)
		cap *= 2;
	bytes = realloc(b->bytes, cap);
	if (!bytes)
		return -ENOMEM;
	b->bytes = bytes;
	b->cap = cap;
	return 0;
}

/* The put_ functions rely on reserve() before. */
static void put_bytes(struct buffer *b, const void *from, size_t n)
{
	if (n)
		memcpy(b->bytes + b->len, from, n);
	b->len += n;
}

static void put_number(struct buffer *b, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		b->bytes[b->len++] = (uint8_t)(v | 0x80);
	b->bytes[b->len++] = (uint8_t)v;
}

static void put_signed(struct buffer *b, uint64_t v)
{
	put_number(b, v << 1 ^ (uint64_t)((int64_t)v >> 63));
}

static void put_u64(struct buffer *b, uint64_t v)
{
	le64_put(b->bytes + b->len, v);
	b->len += 8;
}

static int write_block(struct sto_snap_writer *w)
{
	struct buffer *out = &w->stored;
	bool fits = w->raw.len <= LZ4_MAX_INPUT_SIZE;
	size_t bound = fits ? (size_t)LZ4_compressBound((int)w->raw.len) : w->raw.len;
	uint32_t flags = 0;
	size_t stored = w->raw.len;
	int packed = 0, err;

	out->len = 0;
	if (w->raw.len > UINT32_MAX)
		return -EFBIG;
	err = reserve(out, STO_SNAP_BLOCK_HEAD_BYTES + bound);
	if (err)
		return err;
	if (fits)
		packed = LZ4_compress_default((const char *)w->raw.bytes,
					      (char *)out->bytes + STO_SNAP_BLOCK_HEAD_BYTES,
					      (int)w->raw.len, (int)bound);
	if (packed > 0 && (size_t)packed < w->raw.len) {
		flags = STO_SNAP_BLOCK_LZ4;
		stored = (size_t)packed;
	} else {
		memcpy(out->bytes + STO_SNAP_BLOCK_HEAD_BYTES, w->raw.bytes, stored);
	}
	le32_put(out->bytes + 8, STO_SNAP_BLOCK_MAGIC);
	le32_put(out->bytes + 12, flags);
	le64_put(out->bytes + 16, w->id);
	le64_put(out->bytes + 24, w->at);
	le32_put(out->bytes + 32, w->blocks++);
	le32_put(out->bytes + 36, w->records);
	le32_put(out->bytes + 40, (uint32_t)w->raw.len);
	le32_put(out->bytes + 44, (uint32_t)stored);
	stored += STO_SNAP_BLOCK_HEAD_BYTES;
	le64_put(out->bytes, XXH3_64bits(out->bytes + 8, stored - 8));
	XXH3_64bits_update(w->total, w->raw.bytes, w->raw.len);
	w->raw_bytes += w->raw.len;
	err = sto_write(w->fs, w->fd, out->bytes, stored, w->at);
	w->at += stored;
	return err;
}

/* End the block, if it has enough or `all` that there is shall be written. */
static int flush(struct sto_snap_writer *w, bool all)
{
	if (w->raw.len < STO_SNAP_BLOCK_RAW && !(all && w->raw.len))
		return 0;
	w->error = write_block(w);
	w->raw.len = w->path.len = 0;
	w->records = 0;
	w->acl_number = 0;
	w->czxid = w->ctime = 0;
	return w->error;
}

static int acls_grow(struct acls *a)
{
	uint32_t slots = a->slots ? a->slots * 2 : 64;
	struct acl_entry *to = calloc(slots, sizeof(*to));

	if (!to)
		return -ENOMEM;
	for (uint32_t i = 0; i < a->slots; i++) {
		uint32_t at = (uint32_t)a->slot[i].hash & (slots - 1);

		if (!a->slot[i].number)
			continue;
		while (to[at].number)
			at = (at + 1) & (slots - 1);
		to[at] = a->slot[i];
	}
	free(a->slot);
	a->slot = to;
	a->slots = slots;
	return 0;
}

/* Put a record that defines this ACL as the next number. */
static int acl_define(struct sto_snap_writer *w, const uint8_t *acl, uint32_t len)
{
	int err = reserve(&w->raw, 16 + (size_t)len);

	if (err)
		return err;
	w->raw.bytes[w->raw.len++] = STO_SNAP_ACL;
	put_number(&w->raw, len);
	put_bytes(&w->raw, acl, len);
	w->records++;
	return 0;
}

static int acl_add(struct sto_snap_writer *w, struct acl_entry *e, uint64_t hash,
		   const uint8_t *acl, uint32_t len)
{
	struct acls *a = &w->acls;
	struct buffer all = {a->bytes, a->used, a->cap};
	int err = reserve(&all, len);

	a->bytes = all.bytes;
	a->cap = all.cap;
	if (!err)
		err = acl_define(w, acl, len);
	if (err)
		return err;
	memcpy(a->bytes + a->used, acl, len);
	*e = (struct acl_entry){.hash = hash, .at = a->used, .len = len, .number = ++a->n};
	a->used += len;
	return 0;
}

/* Make w->acl_number the number of this list. *changed: it was another. */
static int acl_number(struct sto_snap_writer *w, const uint8_t *acl, uint32_t len, bool *changed)
{
	struct acls *a = &w->acls;
	struct acl_entry *e;
	uint64_t hash;
	uint32_t at;
	int err = 0;

	*changed = false;
	if (w->acl_number && len == w->acl_len && !memcmp(a->bytes + w->acl_at, acl, len))
		return 0;
	*changed = !len ? w->acl_number != 0 : true;
	if (!len) {
		w->acl_number = 0;
		return 0;
	}
	if (a->n >= a->slots / 2)
		err = acls_grow(a);
	if (err)
		return err;
	hash = XXH3_64bits(acl, len);
	at = (uint32_t)hash & (a->slots - 1);
	while (a->slot[at].number && (a->slot[at].hash != hash || a->slot[at].len != len ||
				      memcmp(a->bytes + a->slot[at].at, acl, len)))
		at = (at + 1) & (a->slots - 1);
	e = &a->slot[at];
	if (!e->number)
		err = acl_add(w, e, hash, acl, len);
	if (err)
		return err;
	*changed = w->acl_number != e->number;
	w->acl_number = e->number;
	w->acl_at = e->at;
	w->acl_len = len;
	return 0;
}

int sto_snap_session(struct sto_snap_writer *w, int64_t id, int32_t timeout_ms)
{
	CHECK(!w->nodes);
	if (!w->error)
		w->error = reserve(&w->raw, 32);
	if (w->error)
		return w->error;
	w->raw.bytes[w->raw.len++] = STO_SNAP_SESSION;
	put_u64(&w->raw, (uint64_t)id);
	put_number(&w->raw, (uint32_t)timeout_ms);
	w->records++;
	w->sessions++;
	return flush(w, false);
}

static size_t common_prefix(const uint8_t *a, const char *b, size_t n)
{
	size_t i = 0;

	for (; i + 8 <= n; i += 8)
		if (memcmp(a + i, b + i, 8))
			break;
	while (i < n && a[i] == (uint8_t)b[i])
		i++;
	return i;
}

/* The path as what it shares with the one before, and the rest. */
static void put_path(struct sto_snap_writer *w, const struct sto_snap_node *n)
{
	size_t most = w->path.len < n->path_len ? w->path.len : n->path_len;
	size_t shared = common_prefix(w->path.bytes, n->path, most);

	put_number(&w->raw, shared);
	put_number(&w->raw, n->path_len - shared);
	put_bytes(&w->raw, n->path + shared, n->path_len - shared);
	memcpy(w->path.bytes + shared, n->path + shared, n->path_len - shared);
	w->path.len = n->path_len;
}

static uint64_t minus(int64_t a, int64_t b)
{
	return (uint64_t)a - (uint64_t)b;
}

static void put_stat(struct sto_snap_writer *w, const struct sto_snap_node *n, unsigned tag)
{
	struct buffer *b = &w->raw;

	put_signed(b, minus(n->czxid, w->czxid));
	put_signed(b, minus(n->ctime, w->ctime));
	w->czxid = n->czxid;
	w->ctime = n->ctime;
	if (tag & STO_SNAP_MODIFIED) {
		put_signed(b, minus(n->mzxid, n->czxid));
		put_signed(b, minus(n->mtime, n->ctime));
	}
	if (tag & STO_SNAP_CHILDREN) {
		put_signed(b, minus(n->pzxid, n->czxid));
		put_signed(b, (uint64_t)(int64_t)n->cversion);
	}
	if (tag & STO_SNAP_VERSIONS) {
		put_signed(b, (uint64_t)(int64_t)n->version);
		put_signed(b, (uint64_t)(int64_t)n->aversion);
	}
	if (tag & STO_SNAP_OWNED)
		put_u64(b, (uint64_t)n->owner);
}

static unsigned node_tag(const struct sto_snap_node *n, bool new_acl)
{
	return STO_SNAP_NODE | (n->data_len < 0 ? STO_SNAP_NULL : 0u) |
	       (n->owner ? STO_SNAP_OWNED : 0u) |
	       (n->version || n->aversion ? STO_SNAP_VERSIONS : 0u) |
	       (n->mzxid != n->czxid || n->mtime != n->ctime ? STO_SNAP_MODIFIED : 0u) |
	       (n->pzxid != n->czxid || n->cversion ? STO_SNAP_CHILDREN : 0u) |
	       (new_acl ? STO_SNAP_NEW_ACL : 0u);
}

static int put_node(struct sto_snap_writer *w, const struct sto_snap_node *n)
{
	uint32_t data_len = n->data_len < 0 ? 0 : (uint32_t)n->data_len;
	unsigned tag;
	bool new_acl;
	int err = acl_number(w, n->acl, n->acl_len, &new_acl);

	if (!err)
		err = reserve(&w->raw, 192 + (size_t)n->path_len + data_len);
	if (!err && w->path.cap < n->path_len)
		err = reserve(&w->path, n->path_len);
	if (err)
		return err;
	tag = node_tag(n, new_acl);
	w->raw.bytes[w->raw.len++] = (uint8_t)tag;
	put_path(w, n);
	if (!(tag & STO_SNAP_NULL)) {
		put_number(&w->raw, data_len);
		put_bytes(&w->raw, n->data, data_len);
	}
	if (new_acl)
		put_number(&w->raw, w->acl_number);
	put_stat(w, n, tag);
	return 0;
}

int sto_snap_put(struct sto_snap_writer *w, const struct sto_snap_node *n)
{
	CHECK(n->path_len);
	if (!w->error)
		w->error = put_node(w, n);
	if (w->error)
		return w->error;
	w->records++;
	w->nodes++;
	return flush(w, false);
}

static int write_head(struct sto_snap_writer *w)
{
	uint8_t head[STO_SNAP_HEAD_BYTES] = {0};

	le64_put(head + 8, STO_SNAP_MAGIC);
	le32_put(head + 16, STO_SNAP_VERSION);
	le64_put(head + 24, w->id);
	le64_put(head + 32, (uint64_t)w->zxid);
	le64_put(head + 40, (uint64_t)clock_wall_ms());
	le64_put(head, XXH3_64bits(head + 8, sizeof(head) - 8));
	w->at = sizeof(head);
	return sto_write(w->fs, w->fd, head, sizeof(head), 0);
}

static int write_footer(struct sto_snap_writer *w, const struct sto_snap_head *actual)
{
	uint8_t foot[STO_SNAP_FOOTER_BYTES] = {0};

	le64_put(foot + 8, STO_SNAP_FOOTER);
	le64_put(foot + 16, w->id);
	le64_put(foot + 24, (uint64_t)actual->zxid);
	le64_put(foot + 32, actual->nodes);
	le64_put(foot + 40, actual->sessions);
	le64_put(foot + 48, actual->digest);
	le64_put(foot + 56, w->blocks);
	le64_put(foot + 64, w->raw_bytes);
	le64_put(foot + 72, XXH3_64bits_digest(w->total));
	le64_put(foot + 80, w->at + sizeof(foot));
	le64_put(foot, XXH3_64bits(foot + 8, sizeof(foot) - 8));
	return sto_write(w->fs, w->fd, foot, sizeof(foot), w->at);
}

int sto_snap_begin(struct sto_snap_writer **out, const struct sto_fs *fs, const char *dir,
		   const struct sto_snap_head *head)
{
	struct sto_snap_writer *w = calloc(1, sizeof(*w));
	int err = -ENOMEM;

	if (!w)
		return err;
	w->fs = fs;
	w->dir = w->fd = -1;
	w->zxid = head->zxid;
	w->total = XXH3_createState();
	if (!w->total || XXH3_64bits_reset(w->total) != XXH_OK)
		goto err_abort;
	err = -EIO;
	if (getrandom(&w->id, sizeof(w->id), 0) != (ssize_t)sizeof(w->id))
		goto err_abort;
	err = w->dir = sto_dir_open(fs, dir);
	if (err < 0)
		goto err_abort;
	/* The id in the name: another attempt that is not dead yet keeps to its own file. */
	snprintf(w->tmp, sizeof(w->tmp),
		 STO_SNAP_PREFIX "%016" PRIx64 ".%016" PRIx64 STO_TMP_SUFFIX, (uint64_t)w->zxid,
		 w->id);
	err = w->fd = fs->open(fs->self, w->dir, w->tmp, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (err >= 0)
		err = write_head(w);
	if (err < 0)
		goto err_abort;
	*out = w;
	return 0;
err_abort:
	sto_snap_abort(w);
	return err;
}

static int finish(struct sto_snap_writer *w, const struct sto_snap_head *actual)
{
	const struct sto_fs *fs = w->fs;
	char name[STO_NAME_MAX], why[STO_WHY_MAX];
	struct sto_snap_head seen;
	int err = w->error ? w->error : flush(w, true);

	if (!err)
		err = write_footer(w, actual);
	if (!err)
		err = fs->sync(fs->self, w->fd);
	if (!err)
		err = sto_snap_check(fs, w->fd, w->zxid, &seen, why);
	if (err)
		return err;
	sto_name(name, STO_SNAP_PREFIX, w->zxid);
	err = fs->rename(fs->self, w->dir, w->tmp, name);
	if (err)
		return err;
	w->tmp[0] = '\0';
	return fs->sync(fs->self, w->dir);
}

int sto_snap_commit(struct sto_snap_writer *w, const struct sto_snap_head *actual)
{
	int err;

	CHECK(actual->zxid == w->zxid);
	if (!w->error) {
		CHECK(actual->nodes == w->nodes);
		CHECK(actual->sessions == w->sessions);
	}
	err = finish(w, actual);
	sto_snap_abort(w);
	return err;
}

void sto_snap_abort(struct sto_snap_writer *w)
{
	const struct sto_fs *fs = w->fs;

	if (w->fd >= 0)
		fs->close(fs->self, w->fd);
	if (w->fd >= 0 && w->tmp[0])
		fs->unlink(fs->self, w->dir, w->tmp);
	if (w->dir >= 0)
		fs->close(fs->self, w->dir);
	XXH3_freeState(w->total);
	free(w->raw.bytes);
	free(w->stored.bytes);
	free(w->path.bytes);
	free(w->acls.bytes);
	free(w->acls.slot);
	free(w);
}

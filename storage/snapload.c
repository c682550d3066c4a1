#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lz4.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/bytes.h"
#include "storage/file.h"
#include "storage/segment.h"
#include "storage/snap.h"
#include "storage/snapfile.h"

enum { AHEAD = 4, AHEAD_FROM_BYTES = 1 << 20, LZ4_RATIO_MAX = 255 };

/* A block before compression. */
struct block {
	uint8_t *raw;
	size_t len, cap;
	uint32_t records;
};

/* ACLs in the order of their numbers: number i is bytes[end[i-1]..end[i]), end[0] = 0. */
struct acls {
	uint8_t *bytes;
	size_t *end;
	size_t n, cap, bytes_cap;
};

struct load {
	const struct sto_fs *fs;
	int fd;

	/* The footer's word, checked in the end. */
	struct sto_snap_head head;
	uint64_t id, blocks, raw_bytes, total, end;

	/* Who decodes: the thread ahead, or the only one. */
	XXH3_state_t *hash;
	uint64_t at, number, raw_seen;
	uint8_t *stored;
	size_t stored_cap;

	/* Between the two, under the lock. Slot i % AHEAD belongs to the decoder while
	 * produced <= i < consumed + AHEAD, to the parser while consumed <= i < produced. */
	pthread_mutex_t lock;
	pthread_cond_t moved;
	uint64_t produced, consumed;
	int status; /* of the decoder: 1 at work, 0 all blocks were good, -errno */
	const char *bad;
	bool stop;
	struct block slot[AHEAD];

	/* The parser's. */
	const struct sto_sink *sink; /* NULL: only look */
	struct acls acls;
	const char *bad_record;
	char *path;
	size_t path_cap;
	uint64_t nodes, sessions;
	int sink_error;
};

static int grow(void *array, size_t *cap, size_t want)
{
	uint8_t **bytes = array, *more;

	if (*cap >= want)
		return 0;
	want += want / 4;
	more = realloc(*bytes, want);
	if (!more)
		return -ENOMEM;
	*bytes = more;
	*cap = want;
	return 0;
}

static int bad(struct load *l, const char *what)
{
	l->bad = what;
	return -EBADMSG;
}

static int all_decoded(struct load *l)
{
	if (l->number != l->blocks || l->raw_seen != l->raw_bytes)
		return bad(l, "blocks are missing");
	if (!sto_hash_ok(XXH3_64bits_digest(l->hash), l->total))
		return bad(l, "the checksum of the whole is wrong");
	return 0;
}

/* Read the block at `at` into l->stored and check all that its head says. */
static int read_block(struct load *l, uint32_t *raw_len, uint32_t *stored_len)
{
	uint64_t left = l->end - l->at;
	uint8_t head[STO_SNAP_BLOCK_HEAD_BYTES];
	ssize_t got;

	if (left < sizeof(head))
		return bad(l, "a block is cut off");
	got = sto_read(l->fs, l->fd, head, sizeof(head), l->at);
	if (got < (ssize_t)sizeof(head))
		return got < 0 ? (int)got : bad(l, "a block is cut off");
	*raw_len = le32_get(head + 40);
	*stored_len = le32_get(head + 44);
	if (le32_get(head + 8) != STO_SNAP_BLOCK_MAGIC || le64_get(head + 16) != l->id ||
	    le64_get(head + 24) != l->at || le32_get(head + 32) != l->number)
		return bad(l, "there is no block where one must be");
	if (*stored_len > left - sizeof(head) || *raw_len / LZ4_RATIO_MAX > *stored_len ||
	    (le32_get(head + 12) & ~(uint32_t)STO_SNAP_BLOCK_LZ4))
		return bad(l, "the head of a block is impossible");
	if (grow(&l->stored, &l->stored_cap, sizeof(head) + *stored_len))
		return -ENOMEM;
	memcpy(l->stored, head, sizeof(head));
	got = sto_read(l->fs, l->fd, l->stored + sizeof(head), *stored_len, l->at + sizeof(head));
	if (got < (ssize_t)*stored_len)
		return got < 0 ? (int)got : bad(l, "a block is cut off");
	if (!sto_hash_ok(XXH3_64bits(l->stored + 8, sizeof(head) - 8 + *stored_len),
			 le64_get(head)))
		return bad(l, "the checksum of a block is wrong");
	return 0;
}

/* 1: the next block is in *to; 0: there was none left, and all was good; -errno. */
static int decode(struct load *l, struct block *to)
{
	const uint8_t *payload;
	uint32_t raw_len = 0, stored_len = 0;
	int err;

	if (l->at == l->end)
		return all_decoded(l);
	err = read_block(l, &raw_len, &stored_len);
	if (!err && raw_len > l->raw_bytes - l->raw_seen)
		err = bad(l, "a block is longer than all");
	if (!err)
		err = grow(&to->raw, &to->cap, raw_len);
	if (err)
		return err;
	payload = l->stored + STO_SNAP_BLOCK_HEAD_BYTES;
	if (!(le32_get(l->stored + 12) & STO_SNAP_BLOCK_LZ4)) {
		if (raw_len != stored_len)
			return bad(l, "the head of a block is impossible");
		memcpy(to->raw, payload, raw_len);
	} else if (raw_len > LZ4_MAX_INPUT_SIZE ||
		   LZ4_decompress_safe((const char *)payload, (char *)to->raw, (int)stored_len,
				       (int)raw_len) != (int)raw_len) {
		return bad(l, "a block can't be decompressed");
	}
	XXH3_64bits_update(l->hash, to->raw, raw_len);
	to->len = raw_len;
	to->records = le32_get(l->stored + 36);
	l->at += STO_SNAP_BLOCK_HEAD_BYTES + stored_len;
	l->raw_seen += raw_len;
	l->number++;
	return 1;
}

static void *decode_ahead(void *arg)
{
	struct load *l = arg;
	int status = 1;

	pthread_mutex_lock(&l->lock);
	while (status == 1) {
		while (!l->stop && l->produced == l->consumed + AHEAD)
			pthread_cond_wait(&l->moved, &l->lock);
		if (l->stop)
			break;
		pthread_mutex_unlock(&l->lock);
		status = decode(l, &l->slot[l->produced % AHEAD]);
		pthread_mutex_lock(&l->lock);
		l->produced += status == 1;
		l->status = status;
		pthread_cond_signal(&l->moved);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* The parser is done with the block before, if any, and wants the next. As decode(). */
static int next_ahead(struct load *l, bool again, struct block **block)
{
	int got = 1;

	pthread_mutex_lock(&l->lock);
	l->consumed += again;
	pthread_cond_signal(&l->moved);
	while (l->status == 1 && l->produced == l->consumed)
		pthread_cond_wait(&l->moved, &l->lock);
	if (l->produced == l->consumed)
		got = l->status;
	*block = &l->slot[l->consumed % AHEAD];
	pthread_mutex_unlock(&l->lock);
	return got;
}

/* A cursor with a sticky failure. */
struct in {
	const uint8_t *next, *end;
	bool failed;
};

static uint64_t get_number(struct in *in)
{
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 64 && in->next < in->end; shift += 7) {
		uint8_t byte = *in->next++;

		v |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return v;
	}
	in->failed = true;
	return 0;
}

static int64_t get_signed(struct in *in)
{
	uint64_t v = get_number(in);

	return (int64_t)(v >> 1 ^ (0 - (v & 1)));
}

static const uint8_t *get_bytes(struct in *in, uint64_t n)
{
	const uint8_t *at = in->next;

	if (in->failed || n > (uint64_t)(in->end - in->next)) {
		in->failed = true;
		return at;
	}
	in->next += n;
	return at;
}

static int64_t get_i64(struct in *in)
{
	const uint8_t *at = get_bytes(in, 8);

	return in->failed ? 0 : (int64_t)le64_get(at);
}

static int64_t plus(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a + (uint64_t)b);
}

static int bad_record(struct load *l, const char *what)
{
	l->bad_record = what;
	return -EBADMSG;
}

static int parse_acl(struct load *l, struct in *in)
{
	uint64_t len = get_number(in);
	const uint8_t *from = get_bytes(in, len);
	struct acls *a = &l->acls;
	size_t used = a->n ? a->end[a->n] : 0;

	if (in->failed)
		return bad_record(l, "a record is damaged");
	if (grow(&a->end, &a->cap, (a->n + 2) * sizeof(*a->end)) ||
	    grow(&a->bytes, &a->bytes_cap, used + len))
		return -ENOMEM;
	if (len)
		memcpy(a->bytes + used, from, len);
	a->end[0] = 0;
	a->end[++a->n] = used + len;
	return 0;
}

static int parse_session(struct load *l, struct in *in)
{
	int64_t id = get_i64(in);
	uint64_t timeout = get_number(in);

	if (in->failed || timeout > UINT32_MAX || l->nodes)
		return bad_record(l, "a record is damaged");
	l->sessions++;
	if (l->sink)
		l->sink_error = l->sink->session(l->sink->self, id, (int32_t)(uint32_t)timeout);
	return l->sink_error ? -ECANCELED : 0;
}

static int parse_path(struct load *l, struct in *in, struct sto_snap_node *n)
{
	uint64_t shared = get_number(in), rest = get_number(in);
	const uint8_t *from = get_bytes(in, rest);

	if (in->failed || shared > n->path_len || !(shared + rest) || shared + rest > UINT32_MAX)
		return bad_record(l, "a record is damaged");
	if (grow(&l->path, &l->path_cap, shared + rest))
		return -ENOMEM;
	if (rest)
		memcpy(l->path + shared, from, rest);
	n->path = l->path;
	n->path_len = (uint32_t)(shared + rest);
	return 0;
}

static void parse_stat(struct in *in, unsigned tag, struct sto_snap_node *n)
{
	n->czxid = plus(n->czxid, get_signed(in));
	n->ctime = plus(n->ctime, get_signed(in));
	n->mzxid = tag & STO_SNAP_MODIFIED ? plus(n->czxid, get_signed(in)) : n->czxid;
	n->mtime = tag & STO_SNAP_MODIFIED ? plus(n->ctime, get_signed(in)) : n->ctime;
	n->pzxid = tag & STO_SNAP_CHILDREN ? plus(n->czxid, get_signed(in)) : n->czxid;
	n->cversion = tag & STO_SNAP_CHILDREN ? (int32_t)get_signed(in) : 0;
	n->version = tag & STO_SNAP_VERSIONS ? (int32_t)get_signed(in) : 0;
	n->aversion = tag & STO_SNAP_VERSIONS ? (int32_t)get_signed(in) : 0;
	n->owner = tag & STO_SNAP_OWNED ? get_i64(in) : 0;
}

/* n: the node before in this block; becomes this one. *acl likewise. */
static int parse_node(struct load *l, struct in *in, unsigned tag, struct sto_snap_node *n,
		      uint64_t *acl)
{
	uint64_t data_len = 0;
	int err = parse_path(l, in, n);

	if (err)
		return err;
	if (!(tag & STO_SNAP_NULL))
		data_len = get_number(in);
	n->data = get_bytes(in, data_len);
	n->data_len = tag & STO_SNAP_NULL ? -1 : (int32_t)data_len;
	if (tag & STO_SNAP_NEW_ACL)
		*acl = get_number(in);
	parse_stat(in, tag, n);
	if (in->failed || data_len > INT32_MAX || *acl > l->acls.n)
		return bad_record(l, "a record is damaged");
	n->acl_len = *acl ? (uint32_t)(l->acls.end[*acl] - l->acls.end[*acl - 1]) : 0;
	/* Nowhere, when all lists so far are empty. */
	n->acl = n->acl_len ? l->acls.bytes + l->acls.end[*acl - 1] : NULL;
	l->nodes++;
	if (l->sink)
		l->sink_error = l->sink->node(l->sink->self, n);
	return l->sink_error ? -ECANCELED : 0;
}

static int parse(struct load *l, const struct block *block)
{
	/* A block of no bytes may have no memory. */
	struct in in = {.next = block->raw,
			.end = block->len ? block->raw + block->len : block->raw};
	struct sto_snap_node node = {0};
	uint64_t acl = 0;
	uint32_t records = 0;
	int err = 0;

	for (; !err && in.next < in.end; records++) {
		unsigned tag = *in.next++;

		if ((tag & STO_SNAP_KIND) == STO_SNAP_NODE)
			err = parse_node(l, &in, tag, &node, &acl);
		else if (tag == STO_SNAP_ACL)
			err = parse_acl(l, &in);
		else if (tag == STO_SNAP_SESSION)
			err = parse_session(l, &in);
		else
			err = bad_record(l, "a record is damaged");
	}
	if (!err && records != block->records)
		err = bad_record(l, "records are missing");
	return err;
}

/* Small files are decoded in this thread, larger ones by another. */
static int parse_all(struct load *l)
{
	bool ahead = l->end > AHEAD_FROM_BYTES, again = false;
	struct block *block = &l->slot[0];
	pthread_t thread;
	int got, err = 0;

	if (ahead)
		ahead = !pthread_create(&thread, NULL, decode_ahead, l);
	for (;; again = true) {
		got = ahead ? next_ahead(l, again, &block) : decode(l, block);
		if (got <= 0)
			break;
		err = parse(l, block);
		if (err)
			break;
	}
	if (ahead) {
		pthread_mutex_lock(&l->lock);
		l->stop = true;
		pthread_cond_signal(&l->moved);
		pthread_mutex_unlock(&l->lock);
		pthread_join(thread, NULL);
	}
	err = err ? err : got;
	if (!err && (l->nodes != l->head.nodes || l->sessions != l->head.sessions))
		err = bad_record(l, "nodes or sessions are missing");
	return err;
}

static int read_ends(struct load *l, int64_t zxid)
{
	uint8_t head[STO_SNAP_HEAD_BYTES], foot[STO_SNAP_FOOTER_BYTES];
	off_t size = l->fs->size(l->fs->self, l->fd);
	ssize_t got;

	if (size < 0)
		return (int)size;
	if (size < (off_t)(sizeof(head) + sizeof(foot)))
		return bad(l, "it is too short");
	l->end = (uint64_t)size - sizeof(foot);
	l->at = sizeof(head);
	got = sto_read(l->fs, l->fd, head, sizeof(head), 0);
	if (got == (ssize_t)sizeof(head))
		got = sto_read(l->fs, l->fd, foot, sizeof(foot), l->end);
	if (got < (ssize_t)sizeof(foot))
		return got < 0 ? (int)got : bad(l, "it is too short");
	l->id = le64_get(head + 24);
	if (le64_get(head + 8) != STO_SNAP_MAGIC || le32_get(head + 16) != STO_SNAP_VERSION ||
	    !sto_hash_ok(XXH3_64bits(head + 8, sizeof(head) - 8), le64_get(head)))
		return bad(l, "its head is damaged");
	if (le64_get(foot + 8) != STO_SNAP_FOOTER || le64_get(foot + 16) != l->id ||
	    le64_get(foot + 80) != (uint64_t)size ||
	    !sto_hash_ok(XXH3_64bits(foot + 8, sizeof(foot) - 8), le64_get(foot)))
		return bad(l, "its end is missing or damaged");
	if ((int64_t)le64_get(head + 32) != zxid || (int64_t)le64_get(foot + 24) != zxid)
		return bad(l, "its zxid is not that of its name");
	l->head = (struct sto_snap_head){
	    .zxid = zxid,
	    .nodes = le64_get(foot + 32),
	    .sessions = le64_get(foot + 40),
	    .digest = le64_get(foot + 48),
	};
	l->blocks = le64_get(foot + 56);
	l->raw_bytes = le64_get(foot + 64);
	l->total = le64_get(foot + 72);
	return 0;
}

static void load_fini(struct load *l)
{
	XXH3_freeState(l->hash);
	free(l->stored);
	for (int i = 0; i < AHEAD; i++)
		free(l->slot[i].raw);
	free(l->acls.bytes);
	free(l->acls.end);
	free(l->path);
	pthread_cond_destroy(&l->moved);
	pthread_mutex_destroy(&l->lock);
}

static int load(struct load *l, int64_t zxid, struct sto_snap_head *head, char *why)
{
	const struct sto_sink *sink = l->sink;
	const char *what;
	int err = -ENOMEM;

	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->moved, NULL);
	l->status = 1;
	l->hash = XXH3_createState();
	if (l->hash && XXH3_64bits_reset(l->hash) == XXH_OK)
		err = read_ends(l, zxid);
	*head = l->head;
	if (!err && sink)
		err = (l->sink_error = sink->begin(sink->self, head)) ? -ECANCELED : 0;
	if (!err)
		err = parse_all(l);
	if (!err && sink)
		err = (l->sink_error = sink->loaded(sink->self, head)) ? -ECANCELED : 0;
	what = l->bad_record ? l->bad_record : l->bad;
	if (err)
		sto_why(why, STO_SNAP_PREFIX "%016" PRIx64 ": %s, at byte %" PRIu64 " or before",
			(uint64_t)zxid, what ? what : strerror(-err), l->at);
	load_fini(l);
	return err;
}

int sto_snap_check(const struct sto_fs *fs, int fd, int64_t zxid, struct sto_snap_head *head,
		   char *why)
{
	struct load l = {.fs = fs, .fd = fd};

	/* Best effort: a file system without a cache to drop has nothing to be dropped. */
	fs->drop(fs->self, fd);
	return load(&l, zxid, head, why);
}

int sto_snap_load(const struct sto_fs *fs, int dir, int64_t zxid, const struct sto_sink *sink,
		  struct sto_snap_head *head, int *sink_error, char *why)
{
	struct load l = {.fs = fs, .sink = sink};
	char name[STO_NAME_MAX];
	int err;

	sto_name(name, STO_SNAP_PREFIX, zxid);
	l.fd = fs->open(fs->self, dir, name, O_RDONLY, 0);
	if (l.fd < 0) {
		sto_why(why, "%s: %s", name, strerror(-l.fd));
		return l.fd;
	}
	err = sink ? load(&l, zxid, head, why) : sto_snap_check(fs, l.fd, zxid, head, why);
	fs->close(fs->self, l.fd);
	if (sink_error)
		*sink_error = l.sink_error;
	return err;
}

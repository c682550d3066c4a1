#include "storage/importsnap.h"

#include <errno.h>
#include <libdeflate.h>
#include <stdbool.h>
#include <stdlib.h>

#include "jute/jute.h"
#include "storage/segment.h"

enum { ZKSN = 0x5a4b534e, VERSION = 2, DIGEST_VERSION = 2, DEFLATE_RATIO_MAX = 1032 };
enum { ACL_BYTES_MIN = 12, GZIP_BYTES_MIN = 18 };

struct acl {
	int64_t id;
	struct jute_vec list;
};

struct parse {
	struct jute_in in;
	const uint8_t *start;
	const struct sto_sink *sink;
	struct sto_snap_head *head;
	struct acl *acls;
	size_t n_acls;
	const char *what;
	int sunk;
};

/* ZooDefs.Ids.OPEN_ACL_UNSAFE, which is the list -1 of every tree. */
static const uint8_t open_acl[] = "\0\0\0\1\0\0\0\37\0\0\0\5world\0\0\0\6anyone";

static int bad(struct parse *p, const char *what)
{
	p->what = what;
	return -EBADMSG;
}

static int by_id(const void *a, const void *b)
{
	int64_t x = ((const struct acl *)a)->id, y = ((const struct acl *)b)->id;

	return (x > y) - (x < y);
}

static int parse_sessions(struct parse *p)
{
	int32_t n = jute_get_int(&p->in);

	for (int32_t i = 0; i < n && !p->in.failed; i++) {
		int64_t id = jute_get_long(&p->in);
		int32_t timeout_ms = jute_get_int(&p->in);

		if (p->in.failed)
			break;
		p->head->sessions++;
		if (p->sink)
			p->sunk = p->sink->session(p->sink->self, id, timeout_ms);
		if (p->sunk)
			return p->sunk;
	}
	return p->in.failed || n < 0 ? bad(p, "the sessions are cut off") : 0;
}

static int parse_acls(struct parse *p)
{
	int32_t n = jute_get_int(&p->in);

	if (p->in.failed || n < 0 || (size_t)n > jute_left(&p->in) / ACL_BYTES_MIN)
		return bad(p, "the ACLs are cut off");
	p->acls = calloc((size_t)n + 1, sizeof(*p->acls));
	if (!p->acls)
		return -ENOMEM;
	for (; p->n_acls < (size_t)n; p->n_acls++) {
		p->acls[p->n_acls].id = jute_get_long(&p->in);
		p->acls[p->n_acls].list = jute_get_acls(&p->in);
	}
	qsort(p->acls, p->n_acls, sizeof(*p->acls), by_id);
	return p->in.failed ? bad(p, "the ACLs are cut off") : 0;
}

/* A list that is not there yet comes with a transaction behind the snapshot, which is fuzzy. */
static void find_acl(const struct parse *p, int64_t id, struct sto_snap_node *node)
{
	struct acl key = {.id = id};
	const struct acl *found = bsearch(&key, p->acls, p->n_acls, sizeof(key), by_id);

	node->acl = found ? found->list.data : open_acl;
	node->acl_len = found ? found->list.size : sizeof(open_acl) - 1;
}

/* 1: a node; 0: the end of the nodes. */
static int parse_node(struct parse *p, struct sto_snap_node *node)
{
	struct jute_buf path = jute_get_ustring(&p->in), data;

	if (jute_buf_is(path, "/"))
		return 0;
	if (!p->in.failed && (path.len < 0 || (path.len == 0) != !p->head->nodes ||
			      (path.len && path.data[0] != '/')))
		return bad(p, "a path is impossible");
	node->path = path.len ? (const char *)path.data : "/";
	node->path_len = path.len ? (uint32_t)path.len : 1;
	data = jute_get_buffer(&p->in);
	node->data = data.data;
	node->data_len = data.len;
	find_acl(p, jute_get_long(&p->in), node);
	node->czxid = jute_get_long(&p->in);
	node->mzxid = jute_get_long(&p->in);
	node->ctime = jute_get_long(&p->in);
	node->mtime = jute_get_long(&p->in);
	node->version = jute_get_int(&p->in);
	node->cversion = jute_get_int(&p->in);
	node->aversion = jute_get_int(&p->in);
	node->owner = jute_get_long(&p->in);
	node->pzxid = jute_get_long(&p->in);
	return p->in.failed ? bad(p, "the nodes are cut off") : 1;
}

static int parse_nodes(struct parse *p)
{
	struct sto_snap_node node;
	int got;

	while ((got = parse_node(p, &node)) == 1) {
		p->head->nodes++;
		if (p->sink)
			p->sunk = p->sink->node(p->sink->self, &node);
		if (p->sunk)
			return p->sunk;
	}
	return !got && !p->head->nodes ? bad(p, "there is no root") : got;
}

/* Adler32 of every byte so far, and the path "/". */
static int parse_seal(struct parse *p)
{
	size_t before = (size_t)(p->in.next - p->start);
	uint64_t want = (uint64_t)jute_get_long(&p->in);
	struct jute_buf slash = jute_get_ustring(&p->in);

	if (p->in.failed || !jute_buf_is(slash, "/"))
		return bad(p, "its end is missing");
	if (!sto_hash_ok(libdeflate_adler32(1, p->start, before), want))
		return bad(p, "the checksum is wrong");
	return 0;
}

static int parse_tail(struct parse *p)
{
	int64_t zxid, digest;
	int err = parse_seal(p);

	if (err || !jute_left(&p->in))
		return err;
	zxid = jute_get_long(&p->in);
	if (jute_get_int(&p->in) != DIGEST_VERSION)
		zxid = -1;
	digest = jute_get_long(&p->in);
	/* A digest as of the file's zxid says that nothing changed while it was written. */
	if (zxid == p->head->zxid)
		p->head->digest = (uint64_t)digest;
	err = parse_seal(p);
	if (err || !jute_left(&p->in))
		return err;
	jute_get_long(&p->in); /* the last zxid once more; ZooKeeper goes by the name */
	err = parse_seal(p);
	return err || !jute_left(&p->in) ? err : bad(p, "there is something behind its end");
}

int sto_zk_snap_parse(const uint8_t *bytes, size_t n, const struct sto_sink *sink,
		      struct sto_snap_head *head, const char **what, int *sunk)
{
	struct parse p = {.in = jute_in_of(bytes, n), .start = bytes, .sink = sink, .head = head};
	int err = 0;

	head->nodes = head->sessions = head->digest = 0;
	if (jute_get_int(&p.in) != ZKSN || jute_get_int(&p.in) != VERSION)
		err = bad(&p, "it is no snapshot of version 2");
	jute_get_long(&p.in);
	if (!err)
		err = parse_sessions(&p);
	if (!err)
		err = parse_acls(&p);
	if (!err)
		err = parse_nodes(&p);
	if (!err)
		err = parse_tail(&p);
	free(p.acls);
	*what = p.what;
	*sunk = p.sunk;
	return err;
}

int sto_gunzip(const uint8_t *bytes, size_t n, uint8_t **out, size_t *out_n)
{
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	enum libdeflate_result result = LIBDEFLATE_INSUFFICIENT_SPACE;
	size_t used = 0;

	*out = NULL;
	if (!d || n < GZIP_BYTES_MIN) {
		libdeflate_free_decompressor(d);
		return d ? -EBADMSG : -ENOMEM;
	}
	/* The file says its length modulo 2^32; what that can be is bounded by what is there. */
	for (uint64_t size = le32_get(bytes + n - 4);
	     result == LIBDEFLATE_INSUFFICIENT_SPACE && size <= (uint64_t)n * DEFLATE_RATIO_MAX;
	     size += 1ULL << 32) {
		free(*out);
		*out = malloc(size ? size : 1);
		if (!*out) {
			libdeflate_free_decompressor(d);
			return -ENOMEM;
		}
		result = libdeflate_gzip_decompress_ex(d, bytes, n, *out, size, &used, out_n);
	}
	libdeflate_free_decompressor(d);
	if (result == LIBDEFLATE_SUCCESS && used == n)
		return 0;
	free(*out);
	*out = NULL;
	return -EBADMSG;
}

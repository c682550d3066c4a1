#include "storage/zksnap.h"

#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>

#include "jute/txn.h"
#include "storage/segment.h"

enum state {
	HEAD,
	SESSIONS,
	SESSION,
	ACLS,
	ACL,
	NODE,
	SIGN,
	SEAL,
	DIGEST,
	SEAL_2,
	LAST,
	SEAL_3,
	END
};
enum { SIGNED = 1, MORE = 2 }; /* besides 0 and -errno */

/* ZooDefs.Ids.OPEN_ACL_UNSAFE. */
static const uint8_t open_acl[] = "\0\0\0\1\0\0\0\37\0\0\0\5world\0\0\0\6anyone";

bool sto_zk_acl_is_open(const uint8_t *list, uint32_t len)
{
	return len == sizeof(open_acl) - 1 && !memcmp(list, open_acl, len);
}

static int bad(struct sto_zk_reader *r, const char *what)
{
	r->what = what;
	return -EBADMSG;
}

static int read_head(struct sto_zk_reader *r, struct jute_in *in)
{
	struct zk_snap_head head;

	if (zk_snap_head_decode(in, &head))
		return MORE;
	if (head.magic != ZK_SNAP_MAGIC || head.version != ZK_FILE_VERSION)
		return bad(r, "it is no snapshot of version 2");
	r->state = SESSIONS;
	return 0;
}

static int read_count(struct sto_zk_reader *r, struct jute_in *in)
{
	r->left = jute_get_int(in);
	if (in->failed)
		return MORE;
	if (r->left < 0)
		return bad(r, r->state == SESSIONS ? "the number of sessions is impossible"
						   : "the number of ACLs is impossible");
	r->state++;
	return 0;
}

static int read_session(struct sto_zk_reader *r, struct jute_in *in)
{
	struct zk_snap_session s;

	if (!r->left) {
		r->state = ACLS;
		return 0;
	}
	if (zk_snap_session_decode(in, &s))
		return MORE;
	r->left--;
	r->head.sessions++;
	if (r->sink)
		r->sunk = r->sink->session(r->sink->self, s.id, s.timeout_ms);
	return r->sunk;
}

static int grow(void *array, size_t *cap, size_t want)
{
	uint8_t **bytes = array, *more;

	if (*cap >= want)
		return 0;
	more = realloc(*bytes, want * 2);
	if (!more)
		return -ENOMEM;
	*bytes = more;
	*cap = want * 2;
	return 0;
}

static int by_id(const void *a, const void *b)
{
	int64_t x = ((const struct sto_zk_acl *)a)->id, y = ((const struct sto_zk_acl *)b)->id;

	return (x > y) - (x < y);
}

static int read_acl(struct sto_zk_reader *r, struct jute_in *in)
{
	struct zk_snap_acl a;

	if (!r->left) {
		if (r->n_acls)
			qsort(r->acl, r->n_acls, sizeof(*r->acl), by_id);
		r->state = NODE;
		return 0;
	}
	if (zk_snap_acl_decode(in, &a))
		return MORE;
	r->left--;
	if (!r->sink)
		return 0;
	if (grow(&r->acl, &r->acls_cap, (r->n_acls + 1) * sizeof(*r->acl)) ||
	    grow(&r->lists, &r->lists_cap, r->lists_len + a.list.size))
		return -ENOMEM;
	/* A list without entries is none: everybody may do everything. */
	r->acl[r->n_acls] =
	    (struct sto_zk_acl){a.id, r->lists_len, a.list.count > 0 ? a.list.size : 0};
	memcpy(r->lists + r->lists_len, a.list.data, r->acl[r->n_acls].len);
	r->lists_len += r->acl[r->n_acls++].len;
	return 0;
}

/* A list that is not there yet comes with a transaction behind the snapshot, which is fuzzy. */
static void find_acl(const struct sto_zk_reader *r, int64_t id, struct sto_snap_node *node)
{
	struct sto_zk_acl key = {.id = id}, *found = NULL;

	if (r->n_acls)
		found = bsearch(&key, r->acl, r->n_acls, sizeof(key), by_id);
	node->acl = found ? r->lists + found->at : open_acl;
	node->acl_len = found ? found->len : sizeof(open_acl) - 1;
}

static int sink_node(struct sto_zk_reader *r, const struct zk_snap_node *n)
{
	struct sto_snap_node node = {
	    .path = n->path.len ? (const char *)n->path.data : "/",
	    .path_len = n->path.len ? (uint32_t)n->path.len : 1,
	    .data_len = n->data.len,
	    .data = n->data.data,
	    .version = n->version,
	    .cversion = n->cversion,
	    .aversion = n->aversion,
	    .owner = n->owner,
	    .czxid = n->czxid,
	    .mzxid = n->mzxid,
	    .ctime = n->ctime,
	    .mtime = n->mtime,
	    .pzxid = n->pzxid,
	};

	find_acl(r, n->acl, &node);
	return r->sunk = r->sink->node(r->sink->self, &node);
}

static bool is_stream(const struct sto_zk_reader *r)
{
	return r->record_max != SIZE_MAX;
}

/* A state with a node that no tree can have must not be found out by who has nothing else left. */
static int check_place(struct sto_zk_reader *r, struct jute_buf path)
{
	const char *text = path.len ? (const char *)path.data : "/";
	int err = 0;

	if (is_stream(r))
		err = sto_places_add(&r->places, text, path.len ? (size_t)path.len : 1);
	switch (err) {
	case -EINVAL:
		return bad(r, "a path is impossible");
	case -ENOENT:
		return bad(r, "a node comes before its parent, or without one");
	case -EEXIST:
		return bad(r, "a node comes twice");
	default:
		return err;
	}
}

static int read_node(struct sto_zk_reader *r, struct jute_in *in, int after)
{
	struct jute_in begin = *in;
	struct jute_buf path = jute_get_ustring(in);
	struct zk_snap_node node;
	int err;

	if (in->failed)
		return MORE;
	if (jute_buf_is(path, ZK_SNAP_END)) {
		r->state = after;
		return r->head.nodes ? 0 : bad(r, "there is no root");
	}
	if (path.len < 0 || !path.len != !r->head.nodes || (path.len && path.data[0] != '/'))
		return bad(r, "a path is impossible");
	*in = begin;
	if (zk_snap_node_decode(in, &node))
		return MORE;
	err = check_place(r, path);
	if (err)
		return err;
	r->head.nodes++;
	return r->sink ? sink_node(r, &node) : 0;
}

static int read_sign(struct sto_zk_reader *r, struct jute_in *in)
{
	struct jute_buf sign = jute_get_ustring(in);

	if (in->failed)
		return MORE;
	return jute_buf_is(sign, ZK_SNAP_SIGNATURE) ? SIGNED : bad(r, "it is not signed");
}

static int read_seal(struct sto_zk_reader *r, struct jute_in *in)
{
	struct zk_snap_seal seal;

	if (zk_snap_seal_decode(in, &seal))
		return MORE;
	if (!jute_buf_is(seal.end, ZK_SNAP_END))
		return bad(r, "its end is missing");
	if (!sto_hash_ok(r->adler, (uint64_t)seal.adler))
		return bad(r, "the checksum is wrong");
	r->state++;
	return 0;
}

static int read_digest(struct sto_zk_reader *r, struct jute_in *in)
{
	struct zk_snap_digest d;

	if (zk_snap_digest_decode(in, &d))
		return MORE;
	/* A digest as of the file's zxid says that nothing changed while it was written. */
	if (d.version == ZK_DIGEST_VERSION && d.zxid == r->head.zxid)
		r->head.digest = (uint64_t)d.digest;
	r->state++;
	return 0;
}

/* ZooKeeper goes by the file's name. */
static int read_last(struct sto_zk_reader *r, struct jute_in *in)
{
	jute_get_long(in);
	if (in->failed)
		return MORE;
	r->state++;
	return 0;
}

static int read_record(struct sto_zk_reader *r, struct jute_in *in)
{
	switch ((enum state)r->state) {
	case HEAD:
		return read_head(r, in);
	case SESSIONS:
	case ACLS:
		return read_count(r, in);
	case SESSION:
		return read_session(r, in);
	case ACL:
		return read_acl(r, in);
	case NODE:
		return read_node(r, in, is_stream(r) ? SIGN : SEAL);
	case SIGN:
		return read_sign(r, in);
	case SEAL:
	case SEAL_2:
	case SEAL_3:
		return read_seal(r, in);
	case DIGEST:
		return read_digest(r, in);
	case LAST:
		return read_last(r, in);
	case END:
		return bad(r, "there is something behind its end");
	}
	CHECK(!"states end there");
	return -EBADMSG;
}

int sto_zk_read(struct sto_zk_reader *r, const uint8_t *bytes, size_t n, size_t *used)
{
	struct jute_in in = jute_in_of(bytes, n);
	const uint8_t *begin = in.next;
	int err = 0;

	*used = 0;
	while (!err && jute_left(&in)) {
		struct jute_in from = in;

		err = read_record(r, &in);
		if (err == MORE)
			in = from;
		else
			r->adler =
			    libdeflate_adler32(r->adler, from.next, (size_t)(in.next - from.next));
	}
	*used = (size_t)(in.next - begin);
	if (err != MORE)
		return err;
	return jute_left(&in) > r->record_max ? bad(r, "a record is too long") : 0;
}

int sto_zk_read_end(struct sto_zk_reader *r, size_t rest)
{
	if (!rest && (r->state == DIGEST || r->state == LAST || r->state == END))
		return 0;
	return bad(r, r->state == SEAL ? "its end is missing" : "it is cut off");
}

static void init(struct sto_zk_reader *r, const struct sto_sink *sink, int64_t zxid)
{
	*r = (struct sto_zk_reader){
	    .sink = sink, .head.zxid = zxid, .adler = 1, .record_max = SIZE_MAX};
}

void sto_zk_reader_file(struct sto_zk_reader *r, const struct sto_sink *sink, int64_t zxid)
{
	init(r, sink, zxid);
	r->state = HEAD;
}

void sto_zk_reader_stream(struct sto_zk_reader *r, const struct sto_sink *sink, int64_t zxid,
			  size_t record_max)
{
	CHECK(record_max < SIZE_MAX);
	init(r, sink, zxid);
	r->state = SESSIONS;
	r->record_max = record_max;
}

void sto_zk_reader_fini(struct sto_zk_reader *r)
{
	free(r->acl);
	free(r->lists);
	sto_places_fini(&r->places);
	r->acl = NULL;
	r->lists = NULL;
}

static bool is_root(const struct sto_snap_node *n)
{
	return n->path_len == 1;
}

size_t sto_zk_node_size(const struct sto_snap_node *n)
{
	return ZK_SNAP_NODE_SIZE_MIN + (is_root(n) ? 0 : n->path_len) +
	       (n->data_len > 0 ? (size_t)n->data_len : 0);
}

void sto_zk_node_put(struct jute_out *out, const struct sto_snap_node *n, int64_t acl)
{
	struct zk_snap_node node = {
	    .path = jute_buf_of(n->path, is_root(n) ? 0 : n->path_len),
	    .data = {n->data, n->data_len},
	    .acl = acl,
	    .czxid = n->czxid,
	    .mzxid = n->mzxid,
	    .ctime = n->ctime,
	    .mtime = n->mtime,
	    .version = n->version,
	    .cversion = n->cversion,
	    .aversion = n->aversion,
	    .owner = n->owner,
	    .pzxid = n->pzxid,
	};

	zk_snap_node_encode(out, &node);
}

#include <stdlib.h>

#include "base/check.h"
#include "jute/acl.h"
#include "jute/path.h"
#include "workers/conn.h"
#include "workers/worker.h"

bool wrk_permits(const struct worker *w, const struct wrk_conn *c, uint32_t acl, int32_t mask)
{
	struct jute_vec ids;
	const uint8_t *list;
	uint32_t len;

	if (acl == SHM_ACL_OPEN || acl == SHM_ACL_NONE || w->rules.skip)
		return true;
	list = shm_acl_bytes(w->tree, acl, &len);
	if (!list)
		return false;
	ids = zk_ids_view(c->ids, c->ids_len);
	return zk_acl_permits(&w->rules, list, len, &ids, mask);
}

void wrk_set_ids(struct worker *w, struct wrk_conn *c, const uint8_t *bytes, size_t len)
{
	uint8_t *ids = malloc(len ? len : 1);

	if (!ids) {
		wrk_conn_close(w, c);
		return;
	}
	if (len)
		memcpy(ids, bytes, len);
	free(c->ids);
	c->ids = ids;
	c->ids_len = (uint32_t)len;
}

/* --- paths ----------------------------------------------------------------------------------- */

struct found {
	const struct shm_node *node; /* NULL: not there */
	const struct shm_version *version;
	struct jute_buf path;
};

/* "" is another name of the root, for reads. */
static struct jute_buf tree_path(struct jute_buf path)
{
	return path.len ? path : jute_text("/");
}

static bool find(struct worker *w, const struct wrk_frame *f, struct jute_buf path,
		 struct found *to)
{
	struct jute_buf at = tree_path(path);
	uint64_t hash = f && f->hash ? f->hash : shm_tree_hash(w->tree, at.data, (size_t)at.len);

	to->path = path;
	to->node = shm_tree_find(w->tree, hash, at.data, (size_t)at.len, w->s, &to->version);
	return to->node;
}

void wrk_read_prepare(struct worker *w, struct wrk_frame *f)
{
	int32_t len;

	switch (f->op) {
	case ZK_OP_GET_DATA:
	case ZK_OP_EXISTS:
	case ZK_OP_GET_CHILDREN:
	case ZK_OP_GET_CHILDREN2:
		break;
	default:
		return;
	}
	if (f->len < 4)
		return;
	len = (int32_t)be32_get(f->body);
	if (len <= 0 || (uint32_t)len > f->len - 4)
		return;
	f->hash = shm_tree_hash(w->tree, f->body + 4, (size_t)len);
	shm_tree_prefetch(w->tree, f->hash);
}

/* --- replies --------------------------------------------------------------------------------- */

static void fail(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f, int32_t err)
{
	wrk_reply(w, c, f->xid, w->s, err);
}

static void put_stat(struct jute_out *out, const struct found *at)
{
	uint8_t *stat = jute_reserve(out, SHM_STAT_BYTES);

	if (stat)
		shm_node_stat(at->node, at->version, stat);
}

static struct jute_buf data_of(const struct found *at)
{
	struct jute_buf data;

	data.data = shm_version_data(at->version, &data.len);
	return data;
}

/* Path and what it names; answers the failure by itself. mask 0: no permission is needed. */
static bool lookup(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f,
		   struct jute_buf path, int32_t mask, struct found *to)
{
	if (path.len < 0) {
		fail(w, c, f, ZMARSHALLINGERROR);
		return false;
	}
	if (!find(w, f, path, to)) {
		fail(w, c, f, ZNONODE);
		return false;
	}
	if (mask && !wrk_permits(w, c, shm_version_acl(to->version), mask)) {
		fail(w, c, f, ZNOAUTH);
		return false;
	}
	return true;
}

static void get_data(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f,
		     const struct zk_read_request *r)
{
	struct found at;
	struct jute_buf data;
	struct jute_out out;

	if (!lookup(w, c, f, r->path, ZK_PERM_READ, &at))
		return;
	if (r->watch && !wrk_watch(w, c, WRK_DATA, r->path.data, (size_t)r->path.len, WRK_STANDARD))
		return;
	data = data_of(&at);
	out = wrk_reply_begin(w, c, 4 + (data.len > 0 ? (size_t)data.len : 0) + SHM_STAT_BYTES,
			      f->xid, w->s, ZOK);
	jute_put_buffer(&out, data);
	put_stat(&out, &at);
	wrk_reply_end(w, c, &out);
}

static void exists(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f,
		   const struct zk_read_request *r)
{
	struct found at;
	struct jute_out out;

	if (r->path.len < 0 || zk_path_has_nul(r->path)) {
		fail(w, c, f, r->path.len < 0 ? ZMARSHALLINGERROR : ZBADARGUMENTS);
		return;
	}
	if (find(w, f, r->path, &at) &&
	    !wrk_permits(w, c, shm_version_acl(at.version), ZK_PERM_READ)) {
		fail(w, c, f, ZNOAUTH);
		return;
	}
	if (r->watch && !wrk_watch(w, c, WRK_DATA, r->path.data, (size_t)r->path.len, WRK_STANDARD))
		return;
	if (!at.node) {
		fail(w, c, f, ZNONODE);
		return;
	}
	out = wrk_reply_begin(w, c, SHM_STAT_BYTES, f->xid, w->s, ZOK);
	put_stat(&out, &at);
	wrk_reply_end(w, c, &out);
}

/* Bytes of a vector of the children's names. */
static size_t children_size(const struct worker *w, const struct shm_node *node)
{
	const struct shm_node *child;
	struct shm_iter it;
	size_t size = 4;
	uint32_t len;

	shm_children_begin(&it, node, w->s);
	while ((child = shm_children_next(&it))) {
		shm_node_name(child, &len);
		size += 4 + len;
	}
	return size;
}

static void put_children(const struct worker *w, struct jute_out *out, const struct shm_node *node)
{
	const struct shm_node *child;
	struct shm_iter it;
	uint8_t *open = jute_open(out);
	size_t n = 0;

	shm_children_begin(&it, node, w->s);
	while ((child = shm_children_next(&it))) {
		uint32_t len;
		const char *name = shm_node_name(child, &len);

		jute_put_ustring(out, jute_buf_of(name, len));
		n++;
	}
	jute_close_count(out, open, n);
}

static void get_children(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f,
			 const struct zk_read_request *r)
{
	struct found at;
	struct jute_out out;

	if (!lookup(w, c, f, r->path, ZK_PERM_READ, &at))
		return;
	if (r->watch &&
	    !wrk_watch(w, c, WRK_CHILD, r->path.data, (size_t)r->path.len, WRK_STANDARD))
		return;
	out = wrk_reply_begin(w, c, children_size(w, at.node) + SHM_STAT_BYTES, f->xid, w->s, ZOK);
	put_children(w, &out, at.node);
	if (f->op == ZK_OP_GET_CHILDREN2)
		put_stat(&out, &at);
	wrk_reply_end(w, c, &out);
}

static void get_acl(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f,
		    struct jute_buf path)
{
	struct found at;
	struct jute_out out;
	const uint8_t *list;
	uint32_t acl, len = 0;

	if (!lookup(w, c, f, path, ZK_PERM_READ | ZK_PERM_ADMIN, &at))
		return;
	acl = shm_version_acl(at.version);
	list = shm_acl_bytes(w->tree, acl, &len);
	/* Masking makes no entry longer than "x" behind its colon: two bytes at most. */
	out = wrk_reply_begin(w, c, 4 + 2 * (size_t)len + SHM_STAT_BYTES, f->xid, w->s, ZOK);
	if (!list)
		jute_put_int(&out, -1);
	else if (wrk_permits(w, c, acl, ZK_PERM_ADMIN))
		jute_put_bytes(&out, list, len);
	else
		zk_acl_put_masked(&out, list, len);
	put_stat(&out, &at);
	wrk_reply_end(w, c, &out);
}

/* Nodes below `top`, itself not counted; -1: no memory. Depth is the client's, hence no recursion.
 */
static int64_t descendants(const struct worker *w, const struct shm_node *top)
{
	size_t depth = 0, cap = 32;
	struct shm_iter *stack = malloc(cap * sizeof(*stack)), *more;
	const struct shm_node *child;
	int64_t n = 0;

	if (!stack)
		return -1;
	shm_children_begin(&stack[depth++], top, w->s);
	while (depth) {
		child = shm_children_next(&stack[depth - 1]);
		if (!child) {
			depth--;
			continue;
		}
		n++;
		if (depth == cap) {
			more = realloc(stack, 2 * cap * sizeof(*stack));
			if (!more) {
				n = -1;
				break;
			}
			stack = more;
			cap *= 2;
		}
		shm_children_begin(&stack[depth++], child, w->s);
	}
	free(stack);
	return n;
}

static void get_all_children_number(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f,
				    struct jute_buf path)
{
	struct found at;
	struct jute_out out;
	int64_t n;

	if (!lookup(w, c, f, path, ZK_PERM_READ, &at))
		return;
	n = descendants(w, at.node);
	if (n < 0) {
		wrk_conn_close(w, c);
		return;
	}
	/* ZooKeeper counts by prefix: below "" there is "/", too. */
	out = wrk_reply_begin(w, c, 4, f->xid, w->s, ZOK);
	jute_put_int(&out, (int32_t)n + !path.len);
	wrk_reply_end(w, c, &out);
}

/* Does getEphemerals with this prefix mean all? null, blank, or "/" between blanks. */
static bool means_all(struct jute_buf prefix)
{
	int slashes = 0;

	for (int32_t i = 0; i < prefix.len; i++)
		if (prefix.data[i] == '/')
			slashes++;
		else if (prefix.data[i] > ' ')
			return false;
	return slashes <= 1;
}

static void get_ephemerals(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f,
			   struct jute_buf prefix)
{
	const struct shm_session *s = shm_session_at(w->tree, c->slot, w->s);
	struct jute_buf want = means_all(prefix) ? jute_text("") : prefix;
	const struct shm_node *node;
	struct jute_out out = {0};
	struct shm_iter it;
	size_t size = 4, n = 0;
	uint8_t *open = NULL;

	if (s && shm_session_id(s) != c->session)
		s = NULL;
	for (int pass = 0; pass < 2; pass++) {
		if (pass) {
			out = wrk_reply_begin(w, c, size, f->xid, w->s, ZOK);
			open = jute_open(&out);
		}
		if (s)
			shm_ephemerals_begin(&it, s, w->s);
		while (s && (node = shm_ephemerals_next(&it))) {
			uint32_t len;
			const char *path = shm_node_path(node, &len);

			if (len < (uint32_t)want.len ||
			    (want.len && memcmp(path, want.data, (size_t)want.len)))
				continue;
			size += pass ? 0 : 4 + len;
			n += pass > 0;
			if (pass)
				jute_put_ustring(&out, jute_buf_of(path, len));
		}
	}
	jute_close_count(&out, open, n);
	wrk_reply_end(w, c, &out);
}

static void who_am_i(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f)
{
	struct jute_vec ids = zk_ids_view(c->ids, c->ids_len);
	struct jute_out out = wrk_reply_begin(w, c, 16 + 2 * (size_t)c->ids_len, f->xid, w->s, ZOK);

	zk_ids_put_whoami(&out, &w->rules, &ids);
	wrk_reply_end(w, c, &out);
}

/* --- multiRead ------------------------------------------------------------------------------- */

enum { MULTI_HEADER = 9 };

static void put_multi_header(struct jute_out *out, int32_t type, int32_t err)
{
	struct zk_multi_header h = {.type = type, .done = false, .err = err};

	zk_multi_header_encode(out, &h);
}

static int32_t member_error(struct worker *w, struct wrk_conn *c, const struct zk_multi_op *op,
			    struct found *at)
{
	if (!find(w, NULL, op->read.path, at))
		return ZNONODE;
	return wrk_permits(w, c, shm_version_acl(at->version), ZK_PERM_READ) ? ZOK : ZNOAUTH;
}

static size_t member_size(struct worker *w, struct wrk_conn *c, const struct zk_multi_op *op)
{
	struct found at;

	if (member_error(w, c, op, &at))
		return MULTI_HEADER + 4;
	if (op->type == ZK_OP_GET_CHILDREN)
		return MULTI_HEADER + children_size(w, at.node);
	return MULTI_HEADER + 4 + (size_t)(data_of(&at).len > 0 ? data_of(&at).len : 0) +
	       SHM_STAT_BYTES;
}

static void put_member(struct worker *w, struct wrk_conn *c, const struct zk_multi_op *op,
		       struct jute_out *out)
{
	struct found at;
	int32_t err = member_error(w, c, op, &at);

	put_multi_header(out, err ? ZK_OP_ERROR : op->type, err);
	if (err) {
		jute_put_int(out, err);
	} else if (op->type == ZK_OP_GET_CHILDREN) {
		put_children(w, out, at.node);
	} else {
		jute_put_buffer(out, data_of(&at));
		put_stat(out, &at);
	}
}

/* All of one kind? *size: bytes of the results. */
static bool check_members(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f,
			  size_t *size, bool *writes)
{
	struct jute_in in = jute_in_of(f->body, f->len);
	struct zk_multi_op op;
	uint32_t n_reads = 0, n_writes = 0;
	int more;

	*size = MULTI_HEADER;
	while ((more = zk_multi_next(&in, &op)) > 0) {
		if (op.type != ZK_OP_GET_DATA && op.type != ZK_OP_GET_CHILDREN) {
			n_writes++;
			continue;
		}
		n_reads++;
		if (op.read.path.len < 0)
			return false;
		*size += member_size(w, c, &op);
		if (*size > INT32_MAX / 2)
			return false;
	}
	*writes = n_writes && !n_reads;
	return !more && !(n_writes && n_reads);
}

static void multi_read(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f)
{
	struct jute_in in = jute_in_of(f->body, f->len);
	struct zk_multi_op op;
	struct jute_out out;
	bool writes;
	size_t size;

	if (!check_members(w, c, f, &size, &writes)) {
		fail(w, c, f, ZMARSHALLINGERROR);
		return;
	}
	out = wrk_reply_begin(w, c, size, f->xid, w->s, writes ? ZMARSHALLINGERROR : ZOK);
	while (!writes && zk_multi_next(&in, &op) > 0)
		put_member(w, c, &op, &out);
	zk_multi_end(&out);
	wrk_reply_end(w, c, &out);
}

/* --- dispatch -------------------------------------------------------------------------------- */

static void read_path(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f)
{
	struct jute_in in = jute_in_of(f->body, f->len);
	struct zk_path r;

	if (zk_path_decode(&in, &r))
		fail(w, c, f, ZMARSHALLINGERROR);
	else if (f->op == ZK_OP_GET_ACL)
		get_acl(w, c, f, r.path);
	else if (f->op == ZK_OP_GET_ALL_CHILDREN_NUMBER)
		get_all_children_number(w, c, f, r.path);
	else
		get_ephemerals(w, c, f, r.path);
}

static void read_watched(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f)
{
	struct jute_in in = jute_in_of(f->body, f->len);
	struct zk_read_request r;

	if (zk_read_request_decode(&in, &r))
		fail(w, c, f, ZMARSHALLINGERROR);
	else if (f->op == ZK_OP_GET_DATA)
		get_data(w, c, f, &r);
	else if (f->op == ZK_OP_EXISTS)
		exists(w, c, f, &r);
	else
		get_children(w, c, f, &r);
}

/* No mechanism is configured: an empty answer, as from a server without a login context. */
static void sasl(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f)
{
	struct jute_out out = wrk_reply_begin(w, c, 4, f->xid, 0, ZOK);

	jute_put_buffer(&out, jute_null);
	wrk_reply_end(w, c, &out);
}

/*
 * ReadOnlyRequestProcessor.run: refused before it is looked at. A session of read-only service ends
 * with its connection; one that the ensemble knows can't be ended here, but its client goes.
 */
static void refuse_write(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f)
{
	bool ends = f->op == ZK_OP_CLOSE_SESSION, known = c->slot < SHM_SESSIONS_MAX;

	wrk_reply(w, c, f->xid, w->s, ends && !known ? ZOK : ZNOTREADONLY);
	if (ends)
		wrk_conn_last(w, c);
}

void wrk_read(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f)
{
	if (c->read_only && (zk_op_is_write(f->op) || f->op == ZK_OP_SYNC)) {
		refuse_write(w, c, f);
		return;
	}
	switch (f->op) {
	case ZK_OP_GET_DATA:
	case ZK_OP_EXISTS:
	case ZK_OP_GET_CHILDREN:
	case ZK_OP_GET_CHILDREN2:
		read_watched(w, c, f);
		break;
	case ZK_OP_PING:
		wrk_reply(w, c, ZK_XID_PING, w->s, ZOK);
		break;
	case ZK_OP_GET_ACL:
	case ZK_OP_GET_ALL_CHILDREN_NUMBER:
	case ZK_OP_GET_EPHEMERALS:
		read_path(w, c, f);
		break;
	case ZK_OP_MULTI_READ:
		multi_read(w, c, f);
		break;
	case ZK_OP_WHO_AM_I:
		who_am_i(w, c, f);
		break;
	case ZK_OP_SET_WATCHES:
	case ZK_OP_SET_WATCHES2:
	case ZK_OP_ADD_WATCH:
	case ZK_OP_CHECK_WATCHES:
	case ZK_OP_REMOVE_WATCHES:
		wrk_watching(w, c, f);
		break;
	case ZK_OP_SASL:
		sasl(w, c, f);
		break;
	case ZK_OP_SYNC: /* one that was not whole */
		fail(w, c, f, ZMARSHALLINGERROR);
		break;
	default:
		wrk_reply(w, c, f->xid, -1, ZUNIMPLEMENTED);
		wrk_conn_last(w, c);
	}
}

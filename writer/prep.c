#include "writer/prep.h"

#include "jute/path.h"

/* world:anyone with all permissions, as jute bytes: what nearly every list is. */
static const uint8_t open_list[] = "\0\0\0\1\0\0\0\37\0\0\0\5world\0\0\0\6anyone";

static bool is_open_list(const struct jute_vec *v)
{
	return v->size == sizeof(open_list) - 1 && !memcmp(v->data, open_list, v->size);
}

struct wtr_change *wtr_prep_find(struct wtr_prep *p, struct jute_buf path, struct wtr_change *look)
{
	return wtr_pending_find(p->pending, (const char *)path.data, (uint32_t)path.len, look);
}

bool wtr_prep_permits(struct wtr_prep *p, struct wtr_change *c, int32_t mask)
{
	const uint8_t *list = NULL;
	uint32_t len = 0;

	if (wtr_pending_acl(p->pending, c, &list, &len) == SHM_ACL_OPEN)
		return true;
	return zk_acl_permits(p->rules, list, list ? len : 0, p->ids, mask);
}

enum zk_code wtr_prep_acl(struct wtr_prep *p, const struct jute_vec *asked, struct jute_vec *list)
{
	struct jute_out out = jute_out_of(p->scratch, p->scratch_size);
	enum zk_code code;

	if (is_open_list(asked)) {
		*list = *asked;
		return ZOK;
	}
	code = zk_acl_expand(p->rules, asked, p->ids, &out);
	if (code)
		return code;
	if (out.failed)
		return ZINVALIDACL;
	list->data = p->scratch;
	list->size = (uint32_t)jute_size(&out, p->scratch);
	list->count = (int32_t)be32_get(p->scratch);
	return ZOK;
}

void wtr_prep_set_list(struct wtr_prep *p, struct wtr_state *s, const struct jute_vec *list,
		       const uint8_t *at)
{
	s->acl_zxid = 0;
	s->acl = SHM_ACL_OPEN;
	if (is_open_list(list))
		return;
	s->acl_zxid = p->zxid;
	s->acl_bytes = at;
	s->acl_len = list->size;
	s->acl = SHM_ACL_NONE;
}

static int32_t next_version(int32_t version)
{
	return (int32_t)((uint32_t)version + 1);
}

static bool version_differs(int32_t asked, int32_t present)
{
	return asked != -1 && asked != present;
}

enum zk_code wtr_prep_set_data(struct wtr_prep *p, const struct zk_set_data_request *r)
{
	struct wtr_change look, *c;
	struct wtr_state *s;
	int64_t grows;

	if (!zk_path_is_valid(r->path))
		return ZBADARGUMENTS;
	c = wtr_prep_find(p, r->path, &look);
	if (!c->now.exists)
		return ZNONODE;
	if (!wtr_prep_permits(p, c, ZK_PERM_WRITE))
		return ZNOAUTH;
	grows = (int64_t)(r->data.len > 0 ? r->data.len : 0) -
		(c->now.data_len > 0 ? c->now.data_len : 0);
	if (grows && p->conf->enforce_quota &&
	    !wtr_quota_permits(p->quota, c->path, c->path_len, 0, grows))
		return ZQUOTAEXCEEDED;
	if (version_differs(r->version, c->now.version))
		return ZBADVERSION;
	c = wtr_pending_touch(p->pending, c, p->zxid);
	s = &c->now;
	s->version = next_version(s->version);
	s->mzxid = p->zxid;
	s->mtime = p->time_ms;
	s->data_len = r->data.len;
	wtr_pending_reckon_data(p->pending, c, r->data.data);
	p->type = ZK_OP_SET_DATA;
	zk_set_data_txn_encode(&p->out, &(struct zk_set_data_txn){r->path, r->data, s->version});
	return ZOK;
}

static bool is_system_path(struct jute_buf path)
{
	return jute_buf_is(path, "/") || jute_buf_is(path, "/zookeeper") ||
	       jute_buf_is(path, "/zookeeper/quota") || jute_buf_is(path, "/zookeeper/config");
}

/* The removal of c, a child of parent. */
static void enter_removal(struct wtr_prep *p, struct wtr_change *c, struct wtr_change *parent)
{
	struct wtr_pending *pending = p->pending;

	c = wtr_pending_touch(pending, c, p->zxid);
	c->now.exists = c->now.has_prefix = false;
	c->now.children = 0;
	wtr_pending_reckon(pending, c);
	parent = wtr_pending_touch(pending, parent, p->zxid);
	parent->now.children--;
	if (p->zxid > parent->now.pzxid)
		parent->now.pzxid = p->zxid;
	wtr_pending_reckon(pending, parent);
}

/* Does a delete's path name something that could be deleted? *parent: where its parent is. */
static bool is_deletable(struct jute_buf path, struct jute_buf *parent)
{
	return zk_path_split(path, parent, NULL) && !zk_path_has_nul(path) && !is_system_path(path);
}

enum zk_code wtr_prep_delete(struct wtr_prep *p, const struct zk_delete_request *r)
{
	struct wtr_change look, parent_look, *c, *parent;
	struct jute_buf parent_path;

	if (r->path.len < 0)
		return ZMARSHALLINGERROR;
	if (!is_deletable(r->path, &parent_path))
		return ZBADARGUMENTS;
	parent = wtr_prep_find(p, parent_path, &parent_look);
	if (!parent->now.exists)
		return ZNONODE;
	if (!wtr_prep_permits(p, parent, ZK_PERM_DELETE))
		return ZNOAUTH;
	c = wtr_prep_find(p, r->path, &look);
	if (!c->now.exists)
		return ZNONODE;
	if (version_differs(r->version, c->now.version))
		return ZBADVERSION;
	if (c->now.children)
		return ZNOTEMPTY;
	enter_removal(p, c, parent);
	p->type = ZK_OP_DELETE;
	zk_delete_txn_encode(&p->out, &(struct zk_delete_txn){r->path});
	return ZOK;
}

enum zk_code wtr_prep_delete_container(struct wtr_prep *p, const char *path, uint32_t len)
{
	struct wtr_change look, parent_look, *c, *parent;
	struct jute_buf name = jute_buf_of(path, len), parent_path;

	if (!is_deletable(name, &parent_path))
		return ZBADARGUMENTS;
	parent = wtr_prep_find(p, parent_path, &parent_look);
	c = wtr_prep_find(p, name, &look);
	if (!parent->now.exists || !c->now.exists)
		return ZNONODE;
	if (c->now.children)
		return ZNOTEMPTY;
	/* Deleted and made again as something else since the reaper looked. */
	if (c->now.owner != ZK_OWNER_CONTAINER && (c->now.owner & ZK_OWNER_TTL) != ZK_OWNER_TTL)
		return ZBADVERSION;
	enter_removal(p, c, parent);
	p->type = ZK_OP_DELETE_CONTAINER;
	zk_delete_txn_encode(&p->out, &(struct zk_delete_txn){name});
	return ZOK;
}

enum zk_code wtr_prep_check(struct wtr_prep *p, const struct zk_delete_request *r)
{
	struct wtr_change look, *c;

	if (!zk_path_is_valid(r->path))
		return ZBADARGUMENTS;
	c = wtr_prep_find(p, r->path, &look);
	if (!c->now.exists)
		return ZNONODE;
	if (!wtr_prep_permits(p, c, ZK_PERM_READ))
		return ZNOAUTH;
	if (version_differs(r->version, c->now.version))
		return ZBADVERSION;
	p->type = ZK_OP_CHECK;
	zk_check_txn_encode(&p->out, &(struct zk_check_txn){r->path, next_version(c->now.version)});
	return ZOK;
}

static enum zk_code set_acl(struct wtr_prep *p, const struct zk_set_acl_request *r)
{
	struct wtr_change look, *c;
	struct jute_vec list;
	enum zk_code code;

	if (!zk_path_is_valid(r->path))
		return ZBADARGUMENTS;
	code = wtr_prep_acl(p, &r->acl, &list);
	if (code)
		return code;
	c = wtr_prep_find(p, r->path, &look);
	if (!c->now.exists)
		return ZNONODE;
	if (!wtr_prep_permits(p, c, ZK_PERM_ADMIN))
		return ZNOAUTH;
	if (version_differs(r->version, c->now.aversion))
		return ZBADVERSION;
	c = wtr_pending_touch(p->pending, c, p->zxid);
	c->now.aversion = next_version(c->now.aversion);
	/* The list stands behind the path in the record. */
	wtr_prep_set_list(p, &c->now, &list, p->out.next + 4 + r->path.len);
	wtr_pending_reckon(p->pending, c);
	p->type = ZK_OP_SET_ACL;
	zk_set_acl_txn_encode(&p->out, &(struct zk_set_acl_txn){r->path, list, c->now.aversion});
	return ZOK;
}

/* A request of a client, by its opcode. */
struct request {
	union {
		struct zk_create_request create;
		struct zk_create_ttl_request ttl;
		struct zk_delete_request delete;
		struct zk_set_data_request set_data;
		struct zk_set_acl_request set_acl;
		struct zk_reconfig_request reconfig;
	};
};

/* All but multi. ZOK: the member of that opcode holds; all creates are in `ttl`. */
static enum zk_code decode(int32_t op, const uint8_t *body, uint32_t len, struct request *r)
{
	struct jute_in in = jute_in_of(body, len);
	int err = 0;

	switch ((enum zk_op)op) {
	case ZK_OP_CREATE:
	case ZK_OP_CREATE2:
	case ZK_OP_CREATE_CONTAINER:
		err = zk_create_request_decode(&in, &r->create);
		r->ttl = (struct zk_create_ttl_request){r->create.path, r->create.data,
							r->create.acl, r->create.flags, -1};
		break;
	case ZK_OP_CREATE_TTL:
		err = zk_create_ttl_request_decode(&in, &r->ttl);
		break;
	case ZK_OP_DELETE:
		err = zk_delete_request_decode(&in, &r->delete);
		break;
	case ZK_OP_SET_DATA:
		err = zk_set_data_request_decode(&in, &r->set_data);
		break;
	case ZK_OP_SET_ACL:
		err = zk_set_acl_request_decode(&in, &r->set_acl);
		break;
	case ZK_OP_RECONFIG:
		err = zk_reconfig_request_decode(&in, &r->reconfig);
		break;
	default:
		return ZUNIMPLEMENTED;
	}
	return err ? ZMARSHALLINGERROR : ZOK;
}

enum zk_code wtr_prep_request(struct wtr_prep *p, int32_t op, const uint8_t *body, uint32_t len)
{
	enum zk_code code;
	struct request r;

	if (op == ZK_OP_MULTI)
		return wtr_prep_multi(p, body, len);
	code = decode(op, body, len, &r);
	if (code)
		return code;
	switch ((enum zk_op)op) {
	case ZK_OP_DELETE:
		return wtr_prep_delete(p, &r.delete);
	case ZK_OP_SET_DATA:
		return wtr_prep_set_data(p, &r.set_data);
	case ZK_OP_SET_ACL:
		return set_acl(p, &r.set_acl);
	case ZK_OP_RECONFIG:
		return wtr_prep_reconfig(p, &r.reconfig);
	default:
		return wtr_prep_create(p, op, &r.ttl);
	}
}

enum zk_code wtr_prep_screen(const struct wtr_prep *p, int32_t op, const uint8_t *body,
			     uint32_t len)
{
	enum zk_code code;
	struct request r;

	if (op == ZK_OP_CLOSE_SESSION)
		return ZOK;
	if (op == ZK_OP_MULTI)
		return wtr_prep_screen_multi(p, body, len);
	code = decode(op, body, len, &r);
	if (code)
		return code;
	switch ((enum zk_op)op) {
	case ZK_OP_DELETE:
	case ZK_OP_SET_DATA:
	case ZK_OP_SET_ACL:
	case ZK_OP_RECONFIG:
		return ZOK;
	default:
		return wtr_prep_screen_create(p, op, &r.ttl);
	}
}

bool wtr_prep_makes_ephemeral(int32_t op, const uint8_t *body, uint32_t len)
{
	struct request r;

	if (op == ZK_OP_MULTI)
		return wtr_prep_multi_makes_ephemeral(body, len);
	return (op == ZK_OP_CREATE || op == ZK_OP_CREATE2) && !decode(op, body, len, &r) &&
	       zk_mode_is_ephemeral(r.create.flags);
}

struct closing {
	struct wtr_prep *p;
	uint8_t *start;
	size_t count;
};

static void close_ephemeral(struct closing *closing, struct wtr_change *c)
{
	struct wtr_prep *p = closing->p;
	struct wtr_change parent_look, *parent;
	struct jute_buf path = jute_buf_of(c->path, c->path_len), parent_path;

	if (!c->now.exists || c->now.owner != (int64_t)p->session->link.key)
		return;
	CHECK(zk_path_split(path, &parent_path, NULL));
	jute_put_ustring(&p->out, path);
	closing->count++;
	parent = wtr_prep_find(p, parent_path, &parent_look);
	CHECK(parent->now.exists);
	enter_removal(p, c, parent);
}

static void close_in_flight(void *arg, struct wtr_change *c)
{
	close_ephemeral(arg, c);
}

void wtr_prep_close_session(struct wtr_prep *p)
{
	struct closing closing = {p, p->out.next, 0};
	struct shm_session *s = shm_session_find(p->pending->tree, (int64_t)p->session->link.key);
	uint8_t *open = jute_open(&p->out);
	struct shm_iter it;
	const struct shm_node *n;

	p->type = ZK_OP_CLOSE_SESSION;
	if (s) {
		shm_ephemerals_begin(&it, s, SHM_LATEST);
		while ((n = shm_ephemerals_next(&it))) {
			struct wtr_change look;
			uint32_t len;
			const char *path = shm_node_path(n, &len);

			close_ephemeral(&closing, wtr_pending_find(p->pending, path, len, &look));
		}
	}
	if (p->session->ephemeral_zxid > p->pending->applied)
		wtr_pending_each_after(p->pending, p->pending->applied, close_in_flight, &closing);
	jute_close_count(&p->out, open, closing.count);
}

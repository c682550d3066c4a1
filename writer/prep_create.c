#include "jute/path.h"
#include "writer/prep.h"

/* Flags and ttl, in the order in which ZooKeeper refuses them (client.md 6.1, 19). */
static enum zk_code check_mode(const struct wtr_prep *p, int32_t op,
			       const struct zk_create_ttl_request *r)
{
	if (r->flags < 0 || r->flags > ZK_MODE_MAX)
		return ZBADARGUMENTS;
	if (!zk_mode_is_ttl(r->flags)) {
		/* createTTL of a node without one would be a transaction that nobody can apply. */
		return r->ttl >= 0 || op == ZK_OP_CREATE_TTL ? ZBADARGUMENTS : ZOK;
	}
	if (!p->conf->extended_types)
		return ZUNIMPLEMENTED;
	return r->ttl <= 0 || r->ttl > ZK_TTL_MAX ? ZBADARGUMENTS : ZOK;
}

static int64_t owner_of(const struct wtr_prep *p, int32_t op, const struct zk_create_ttl_request *r)
{
	if (op == ZK_OP_CREATE_CONTAINER)
		return ZK_OWNER_CONTAINER;
	if (op == ZK_OP_CREATE_TTL)
		return ZK_OWNER_TTL | r->ttl;
	return zk_mode_is_ephemeral(r->flags) ? (int64_t)p->session->link.key : 0;
}

/*
 * Ephemerals are of global sessions. One that is local is upgraded before it gets here, but where
 * that is off, and for a container, which can't be one (QuorumZooKeeperServer.checkUpgradeSession).
 */
static enum zk_code check_owner(const struct wtr_prep *p, int32_t op,
				const struct zk_create_ttl_request *r)
{
	if (!zk_mode_is_ephemeral(r->flags) || (p->session && !wtr_session_is_local(p->session)))
		return ZOK;
	if (!p->session || op == ZK_OP_CREATE_CONTAINER || p->conf->local_sessions_upgrading)
		return ZSESSIONEXPIRED;
	return ZEPHEMERALONLOCALSESSION;
}

/* Put the final path at the beginning of the record; a view of it. */
static struct jute_buf put_path(struct wtr_prep *p, const struct zk_create_ttl_request *r,
				int32_t cversion)
{
	uint8_t *open = jute_open(&p->out);
	char suffix[ZK_SEQUENCE_MAX + 1];

	jute_put_bytes(&p->out, r->path.data, (size_t)r->path.len);
	if (zk_mode_is_sequential(r->flags))
		jute_put_bytes(&p->out, suffix, zk_path_sequence(suffix, cversion));
	jute_close(&p->out, open);
	return p->out.failed ? jute_null : jute_buf_of(open + 4, (size_t)(p->out.next - open) - 4);
}

/* The rest of the record, behind the path. */
static void put_rest(struct wtr_prep *p, int32_t op, const struct zk_create_ttl_request *r,
		     const struct jute_vec *list, int32_t parent_cversion)
{
	jute_put_buffer(&p->out, r->data);
	jute_put_vec(&p->out, list);
	p->type = op;
	if (op == ZK_OP_CREATE || op == ZK_OP_CREATE2)
		jute_put_boolean(&p->out, zk_mode_is_ephemeral(r->flags));
	jute_put_int(&p->out, parent_cversion);
	if (op == ZK_OP_CREATE_TTL)
		jute_put_long(&p->out, r->ttl);
}

static void enter(struct wtr_prep *p, struct wtr_change *c, struct wtr_change *parent,
		  const struct zk_create_ttl_request *r, int64_t owner, int32_t parent_cversion,
		  const struct jute_vec *list, const uint8_t *list_at)
{
	parent = wtr_pending_touch(p->pending, parent, p->zxid);
	parent->now.children++;
	/* At 2^31 - 1 the counter stays: DataTree.createNode takes larger ones only. */
	if (parent_cversion > parent->now.cversion) {
		parent->now.cversion = parent_cversion;
		parent->now.pzxid = p->zxid;
	}
	wtr_pending_reckon(p->pending, parent);
	c = wtr_pending_touch(p->pending, c, p->zxid);
	c->now = (struct wtr_state){.czxid = p->zxid,
				    .mzxid = p->zxid,
				    .pzxid = p->zxid,
				    .ctime = p->time_ms,
				    .mtime = p->time_ms,
				    .owner = owner,
				    .data_len = r->data.len,
				    .share = c->now.share,
				    .exists = true};
	wtr_prep_set_list(p, &c->now, list, list_at);
	wtr_pending_reckon_data(p->pending, c, r->data.data);
	if (p->session && owner == (int64_t)p->session->link.key)
		p->session->ephemeral_zxid = p->zxid;
}

/* An ephemeral owner that is a session, not a container or a ttl. */
static bool is_session(int64_t owner)
{
	return owner && owner != ZK_OWNER_CONTAINER && (owner & ZK_OWNER_TTL) != ZK_OWNER_TTL;
}

enum zk_code wtr_prep_screen_create(const struct wtr_prep *p, int32_t op,
				    const struct zk_create_ttl_request *r)
{
	enum zk_code code = check_mode(p, op, r);

	if (code)
		return code;
	if (r->path.len < 0)
		return ZMARSHALLINGERROR;
	return wtr_quota_forbidden((const char *)r->path.data, (uint32_t)r->path.len)
		   ? ZBADARGUMENTS
		   : ZOK;
}

enum zk_code wtr_prep_create(struct wtr_prep *p, int32_t op, const struct zk_create_ttl_request *r)
{
	struct wtr_change look, parent_look, *c, *parent;
	struct jute_buf parent_path, path;
	struct jute_vec list;
	int32_t parent_cversion;
	uint8_t *list_at;
	enum zk_code code;

	code = check_mode(p, op, r);
	if (!code)
		code = check_owner(p, op, r);
	if (code)
		return code;
	if (r->path.len < 0)
		return ZMARSHALLINGERROR;
	if (!zk_path_split(r->path, &parent_path, NULL) || zk_path_has_nul(r->path))
		return ZBADARGUMENTS;
	code = wtr_prep_acl(p, &r->acl, &list);
	if (code)
		return code;
	parent = wtr_prep_find(p, parent_path, &parent_look);
	if (!parent->now.exists)
		return ZNONODE;
	if (!wtr_prep_permits(p, parent, ZK_PERM_CREATE))
		return ZNOAUTH;
	path = put_path(p, r, parent->now.cversion);
	if (p->out.failed || !zk_path_is_valid(path) ||
	    wtr_quota_forbidden((const char *)path.data, (uint32_t)path.len))
		return ZBADARGUMENTS;
	c = wtr_prep_find(p, path, &look);
	if (c->now.exists)
		return ZNODEEXISTS;
	if (is_session(parent->now.owner))
		return ZNOCHILDRENFOREPHEMERALS;
	if (p->conf->enforce_quota && !wtr_quota_permits(p->quota, c->path, c->path_len, 1,
							 r->data.len > 0 ? r->data.len : 0))
		return ZQUOTAEXCEEDED;
	parent_cversion = (int32_t)((uint32_t)parent->now.cversion + 1);
	list_at = p->out.next + 4 + (r->data.len > 0 ? r->data.len : 0);
	put_rest(p, op, r, &list, parent_cversion);
	if (p->out.failed) /* a list that grew beyond what one transaction may hold */
		return ZINVALIDACL;
	enter(p, c, parent, r, owner_of(p, op, r), parent_cversion, &list, list_at);
	return ZOK;
}

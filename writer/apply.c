#include "writer/apply.h"

#include <errno.h>

#include "base/bug.h"
#include "jute/path.h"
#include "jute/records.h"
#include "shm/msg.h"

static void put_event(struct wtr_apply *a, enum zk_event type, const char *path, uint32_t len,
		      uint32_t acl, uint32_t parent_acl)
{
	struct msg_event e = {
	    .type = (uint8_t)type, .acl = acl, .parent_acl = parent_acl, .path_len = len};

	if (!a->speak)
		return;
	wtr_buf_put(&a->events, &e, sizeof(e));
	wtr_buf_put(&a->events, path, len);
	wtr_buf_pad8(&a->events);
}

static void put_stat(struct wtr_apply *a, const struct shm_node *n)
{
	uint8_t *at;

	if (!a->speak)
		return;
	at = wtr_buf_room(&a->reply, SHM_STAT_BYTES);
	shm_node_stat(n, shm_node_version(n, SHM_LATEST), at);
	a->reply.len += SHM_STAT_BYTES;
}

static void put_path(struct wtr_apply *a, struct jute_buf path)
{
	uint8_t len[4];

	if (!a->speak)
		return;
	be32_put(len, (uint32_t)path.len);
	wtr_buf_put(&a->reply, len, sizeof(len));
	wtr_buf_put(&a->reply, path.data, (size_t)path.len);
}

static uint32_t acl_of(const struct shm_node *n)
{
	const struct shm_version *v = n ? shm_node_version(n, SHM_LATEST) : NULL;

	return v ? shm_version_acl(v) : SHM_ACL_NONE;
}

/* What can't be is corruption; in an imported history it is the past coming by again. */
static int impossible(const struct wtr_apply *a)
{
	return a->imported ? 0 : -EBADMSG;
}

static const char *text(struct jute_buf b)
{
	return (const char *)b.data;
}

struct create {
	struct jute_buf path, data; /* path is not empty */
	const struct jute_vec *acl;
	int32_t parent_cversion;
	int64_t owner;
	bool with_stat;
};

/*
 * A create of what is there. In a fuzzy snapshot the parent may have been written down before the
 * child, with counters that lack it (DataTree.setCversionPzxid).
 */
static int create_again(struct wtr_apply *a, const struct create *c)
{
	struct jute_buf parent_path;
	struct shm_node *parent;

	if (!a->imported || !zk_path_split(c->path, &parent_path, NULL))
		return impossible(a);
	parent = shm_tree_get(a->tree, parent_path.data, (size_t)parent_path.len);
	if (!parent)
		return 0;
	return shm_tree_raise_cversion(a->tree, parent, c->parent_cversion, a->header.zxid);
}

static int create(struct wtr_apply *a, const struct create *c)
{
	int64_t acl = SHM_ACL_NONE;
	struct shm_node *n;
	struct shm_new new;
	int err;

	if (c->path.len <= 0)
		return -EBADMSG;
	if (c->acl->count > 0)
		acl = shm_acl_intern(a->tree, c->acl->data, c->acl->size);
	if (acl < 0)
		return (int)acl;
	new = (struct shm_new){text(c->path), (uint32_t)c->path.len, c->data.len,
			       c->data.data,  (uint32_t)acl,         c->parent_cversion,
			       c->owner,      a->header.zxid,        a->header.time};
	err = shm_tree_create(a->tree, &new, &n);
	if (err) {
		shm_acl_release(a->tree, (uint32_t)acl);
		return err == -EEXIST || err == -ENOENT ? create_again(a, c) : err;
	}
	put_event(a, ZK_EVENT_CREATED, text(c->path), (uint32_t)c->path.len, (uint32_t)acl,
		  acl_of(shm_node_parent(n)));
	put_path(a, c->path);
	if (c->with_stat)
		put_stat(a, n);
	/* Behind the reply: what it says of a stats node is what the client gave. */
	wtr_quota_created(a->quota, text(c->path), (uint32_t)c->path.len, c->data.len,
			  a->header.zxid);
	return 0;
}

static int create_plain(struct wtr_apply *a, const struct zk_txn_body *b)
{
	return create(a, &(struct create){b->create.path, b->create.data, &b->create.acl,
					  b->create.parent_cversion,
					  b->create.ephemeral ? a->header.client_id : 0,
					  b->type == ZK_OP_CREATE2});
}

static int create_container(struct wtr_apply *a, const struct zk_create_container_txn *t)
{
	return create(a, &(struct create){t->path, t->data, &t->acl, t->parent_cversion,
					  ZK_OWNER_CONTAINER, true});
}

static int create_ttl(struct wtr_apply *a, const struct zk_create_ttl_txn *t)
{
	if (t->ttl <= 0 || t->ttl > ZK_TTL_MAX)
		return -EBADMSG;
	return create(a, &(struct create){t->path, t->data, &t->acl, t->parent_cversion,
					  ZK_OWNER_TTL | t->ttl, true});
}

/* Told before it is done: a tree that nobody reads yet frees the node at once. */
static int remove_node(struct wtr_apply *a, struct shm_node *n)
{
	const struct shm_node *parent = shm_node_parent(n);
	const struct shm_version *v = shm_node_version(n, SHM_LATEST);
	const char *path;
	int32_t data_len;
	uint32_t len;

	if (!parent)
		return -EBADMSG;
	if (shm_version_children(v))
		return impossible(a);
	path = shm_node_path(n, &len);
	shm_version_data(v, &data_len);
	wtr_quota_deleted(a->quota, path, len, data_len, a->header.zxid);
	put_event(a, ZK_EVENT_DELETED, path, len, shm_version_acl(v), acl_of(parent));
	return shm_tree_delete(a->tree, n, a->header.zxid);
}

static struct shm_node *get(struct wtr_apply *a, struct jute_buf path)
{
	return path.len > 0 ? shm_tree_get(a->tree, path.data, (size_t)path.len) : NULL;
}

static int delete (struct wtr_apply *a, const struct zk_delete_txn *t)
{
	struct shm_node *n = get(a, t->path);

	return n ? remove_node(a, n) : impossible(a);
}

static int set_data(struct wtr_apply *a, const struct zk_set_data_txn *t)
{
	struct shm_node *n = get(a, t->path);
	int32_t before, after = t->data.len > 0 ? t->data.len : 0;
	int err;

	if (!n)
		return impossible(a);
	shm_version_data(shm_node_version(n, SHM_LATEST), &before);
	err = shm_tree_set_data(a->tree, n, t->data.data, t->data.len, t->version, a->header.zxid,
				a->header.time);
	if (err)
		return err;
	wtr_quota_changed(a->quota, text(t->path), (uint32_t)t->path.len,
			  (int64_t)after - (before > 0 ? before : 0), a->header.zxid);
	put_event(a, ZK_EVENT_DATA_CHANGED, text(t->path), (uint32_t)t->path.len, acl_of(n),
		  acl_of(shm_node_parent(n)));
	put_stat(a, n);
	return 0;
}

static int set_acl(struct wtr_apply *a, const struct zk_set_acl_txn *t)
{
	struct shm_node *n = get(a, t->path);
	int64_t acl = SHM_ACL_NONE;
	int err;

	if (!n)
		return impossible(a);
	if (t->acl.count > 0)
		acl = shm_acl_intern(a->tree, t->acl.data, t->acl.size);
	if (acl < 0)
		return (int)acl;
	err = shm_tree_set_acl(a->tree, n, (uint32_t)acl, t->version, a->header.zxid);
	if (!err)
		put_stat(a, n);
	return err;
}

static int create_session(struct wtr_apply *a, const struct zk_create_session_txn *t)
{
	struct shm_session *s;
	int err = shm_session_add(a->tree, a->header.client_id, t->timeout_ms, a->header.zxid, &s);

	a->session_timeout_ms = t->timeout_ms;
	return err == -EEXIST ? 0 : err;
}

/* Delete what the transaction lists, then whatever the session still has (DataTree.killSession). */
static int close_session(struct wtr_apply *a, const struct zk_close_session_txn *t)
{
	struct jute_in paths = jute_elements(&t->paths);
	struct shm_session *s = shm_session_find(a->tree, a->header.client_id);
	struct shm_iter it;
	const struct shm_node *n;
	int err = 0;

	for (int32_t i = 0; i < t->paths.count && !err; i++) {
		struct shm_node *listed = get(a, jute_get_ustring(&paths));

		if (listed && shm_node_owner(listed) == a->header.client_id)
			err = remove_node(a, listed);
	}
	if (!s || err)
		return err;
	if (WRONG(EPHEMERALS_KEPT)) {
		shm_session_remove(a->tree, s, a->header.zxid);
		return 0;
	}
	a->paths.len = 0;
	shm_ephemerals_begin(&it, s, SHM_LATEST);
	while ((n = shm_ephemerals_next(&it))) {
		uint32_t len;
		const char *path = shm_node_path(n, &len);

		wtr_buf_put(&a->paths, &len, sizeof(len));
		wtr_buf_put(&a->paths, path, len);
	}
	for (size_t at = 0; at < a->paths.len && !err;) {
		uint32_t len;

		memcpy(&len, a->paths.bytes + at, sizeof(len));
		at += sizeof(len);
		err = remove_node(a, shm_tree_get(a->tree, a->paths.bytes + at, len));
		at += len;
	}
	if (!err)
		shm_session_remove(a->tree, s, a->header.zxid);
	return err;
}

static const char config_path[] = "/zookeeper/config";

/* Replay may come by what the files of the membership know already, and more. */
static int reconfig(struct wtr_apply *a, struct jute_buf data, int64_t zxid, int64_t time_ms)
{
	struct shm_node *n = get(a, jute_text(config_path));
	uint8_t len[4];
	int err = 0;

	if (!n)
		return impossible(a);
	if (shm_version_mzxid(shm_node_version(n, SHM_LATEST)) < zxid)
		err = shm_tree_put_config(a->tree, data.data, data.len, zxid, time_ms, zxid);
	if (err)
		return err;
	put_event(a, ZK_EVENT_DATA_CHANGED, config_path, sizeof(config_path) - 1, acl_of(n),
		  acl_of(shm_node_parent(n)));
	if (a->speak) {
		be32_put(len, (uint32_t)data.len);
		wtr_buf_put(&a->reply, len, sizeof(len));
		wtr_buf_put(&a->reply, data.data, data.len > 0 ? (size_t)data.len : 0);
	}
	put_stat(a, n);
	return 0;
}

int wtr_apply_config(struct wtr_apply *a, const struct quorum_config *config, int64_t time_ms)
{
	static char text[QUORUM_CONFIG_TEXT_MAX];
	size_t len = quorum_config_print(config, text, sizeof(text));

	a->events.len = a->reply.len = 0;
	return reconfig(a, jute_buf_of(text, len), config->version, time_ms);
}

static int apply_one(struct wtr_apply *a, const struct zk_txn_body *b)
{
	switch ((enum zk_op)b->type) {
	case ZK_OP_CREATE:
	case ZK_OP_CREATE2:
		return create_plain(a, b);
	case ZK_OP_CREATE_CONTAINER:
		return create_container(a, &b->create_container);
	case ZK_OP_CREATE_TTL:
		return create_ttl(a, &b->create_ttl);
	case ZK_OP_DELETE:
	case ZK_OP_DELETE_CONTAINER:
		return delete (a, &b->delete);
	case ZK_OP_SET_DATA:
		return set_data(a, &b->set_data);
	case ZK_OP_SET_ACL:
		return set_acl(a, &b->set_acl);
	case ZK_OP_CHECK:
		return 0;
	case ZK_OP_CREATE_SESSION:
		return create_session(a, &b->create_session);
	case ZK_OP_CLOSE_SESSION:
		return close_session(a, &b->close_session);
	case ZK_OP_RECONFIG:
		return reconfig(a, b->set_data.data, a->header.zxid, a->header.time);
	default:
		return -EBADMSG;
	}
}

static void put_member(struct wtr_apply *a, int32_t type, int32_t err)
{
	struct jute_out out;

	if (!a->speak)
		return;
	out = jute_out_of(wtr_buf_room(&a->reply, 16), 16);
	zk_multi_header_encode(&out, &(struct zk_multi_header){type, false, err});
	if (type == ZK_OP_ERROR)
		jute_put_int(&out, err);
	a->reply.len += jute_size(&out, a->reply.bytes + a->reply.len);
}

/* The type under which a member's result is reported: every create with a Stat is a create2. */
static int32_t result_type(int32_t type)
{
	return type == ZK_OP_CREATE_CONTAINER || type == ZK_OP_CREATE_TTL ? ZK_OP_CREATE2 : type;
}

static int multi_failed(const struct zk_multi_txn *t, bool *failed)
{
	struct zk_multi_txn walk = *t;
	struct zk_txn_body member;

	*failed = false;
	for (int32_t i = 0; i < t->count; i++) {
		if (zk_multi_txn_next(&walk, &member))
			return -EBADMSG;
		*failed = *failed || member.type == ZK_OP_ERROR;
	}
	return 0;
}

static int apply_multi(struct wtr_apply *a, const struct zk_multi_txn *t)
{
	struct zk_multi_txn walk = *t;
	struct zk_txn_body member;
	bool failed;
	int err = multi_failed(t, &failed);

	for (int32_t i = 0; i < t->count && !err; i++) {
		err = zk_multi_txn_next(&walk, &member);
		if (err)
			break;
		if (failed) {
			put_member(a, ZK_OP_ERROR,
				   member.type == ZK_OP_ERROR ? member.error.err : 0);
			continue;
		}
		put_member(a, result_type(member.type), 0);
		err = apply_one(a, &member);
	}
	if (a->speak) {
		struct jute_out out = jute_out_of(wtr_buf_room(&a->reply, 16), 16);

		zk_multi_end(&out);
		a->reply.len += jute_size(&out, a->reply.bytes + a->reply.len);
	}
	return err;
}

static void compare_digest(struct wtr_apply *a, struct jute_in *in)
{
	struct zk_txn_digest logged;

	if (jute_left(in) < ZK_TXN_DIGEST_SIZE || zk_txn_digest_decode(in, &logged))
		return;
	if (logged.version != ZK_DIGEST_VERSION || a->imported || !a->digests)
		return;
	if ((uint64_t)logged.tree_digest != shm_tree_digest(a->tree))
		a->digest_differs++;
	else
		a->digest_agrees++;
}

int wtr_apply(struct wtr_apply *a, const uint8_t *entry, uint32_t len)
{
	struct jute_in in = jute_in_of(entry, len);
	struct zk_txn_body body;
	int err;

	a->events.len = a->reply.len = 0;
	a->err = 0;
	if (zk_txn_header_decode(&in, &a->header))
		return -EBADMSG;
	if (zk_txn_body_decode(&in, a->header.type, &body))
		return -EBADMSG;
	if (body.type == ZK_OP_ERROR) {
		a->err = body.error.err;
		err = 0;
	} else if (body.type == ZK_OP_MULTI) {
		err = apply_multi(a, &body.multi);
	} else {
		err = apply_one(a, &body);
	}
	if (err)
		return err;
	shm_tree_touch(a->tree, a->header.zxid);
	compare_digest(a, &in);
	return 0;
}

void wtr_apply_fini(struct wtr_apply *a)
{
	wtr_buf_fini(&a->events);
	wtr_buf_fini(&a->reply);
	wtr_buf_fini(&a->paths);
}

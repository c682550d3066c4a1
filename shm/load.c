/*
 * load.c - making a tree from a snapshot's nodes, and the tree of a new server
 */
#include <errno.h>

#include "base/check.h"
#include "shm/node.h"

static struct shm_node *loaded_parent(struct shm_tree *t, const char *path, uint32_t len)
{
	struct shm_node *last = t->last_parent;
	uint32_t end = len - 1;

	while (path[end] != '/')
		end--;
	if (last && last->path_len == (end ? end : 1) && !memcmp(last->path, path, last->path_len))
		return last;
	return t->last_parent = shm_tree_get(t, end ? path : "/", end ? end : 1);
}

static void load_stat(struct shm_node *n, struct shm_version *v, const struct shm_loaded *from)
{
	n->czxid = from->czxid;
	n->ctime = from->ctime;
	v->mzxid = from->mzxid;
	v->mtime = from->mtime;
	v->pzxid = from->pzxid;
	v->version = from->version;
	v->cversion = from->cversion;
	v->aversion = from->aversion;
	v->acl = from->acl;
	if (n->extra)
		node_extra(n)->owner = from->owner;
}

int shm_tree_load(struct shm_tree *t, const struct shm_loaded *from)
{
	bool is_root = from->path_len <= 1;
	const char *path = is_root ? "/" : from->path;
	uint32_t len = is_root ? 1 : from->path_len;
	uint64_t hash = shm_tree_hash(t, path, len);
	struct shm_node *parent = NULL, *n;
	struct shm_version *v;
	int error;

	if (path[0] != '/' || (!is_root && path[len - 1] == '/') || from->data_len < -1)
		return -EINVAL;
	shm_tree_prefetch(t, hash); /* it is there by the time that the node is made */
	if (!is_root && !(parent = loaded_parent(t, path, len)))
		return -ENOENT;
	shm_retire_private(t);
	n = shm_node_new(t, path, len, from->owner != 0);
	v = n ? shm_version_new(t, from->data_len, from->data) : NULL;
	if (!v)
		error = -ENOMEM;
	else if (shm_index_newest(t, hash, path, len))
		error = -EEXIST;
	else
		error = shm_node_reserve(t, hash, parent, from->owner);
	if (error) {
		if (v)
			shm_version_free(t, v);
		if (n)
			shm_node_drop(t, n);
		return error;
	}
	load_stat(n, v, from);
	n->parent = parent;
	n->version = v;
	shm_node_share(t, n, v, 0, true);
	shm_node_enter(t, hash, n, NULL);
	if (parent)
		parent->version->children++;
	else
		t->root = n;
	return 0;
}

int shm_tree_loaded(struct shm_tree *t, int64_t zxid)
{
	t->last_parent = NULL;
	shm_tree_touch(t, zxid);
	return t->root ? 0 : -ENOENT;
}

int shm_tree_initial(struct shm_tree *t)
{
	static const char *const paths[] = {"/", "/zookeeper", "/zookeeper/quota",
					    "/zookeeper/config"};

	for (unsigned i = 0; i < 4; i++) {
		struct shm_loaded n = {.path = paths[i], .path_len = (uint32_t)strlen(paths[i])};
		int64_t acl = i == 3 ? shm_acl_intern_world(t, 1) : SHM_ACL_OPEN;
		int error;

		if (acl < 0)
			return (int)acl;
		n.acl = (uint32_t)acl;
		n.aversion = i == 3 ? -1 : 0;
		n.data = "";
		error = shm_tree_load(t, &n);
		if (error)
			shm_acl_release(t, n.acl);
		if (error && error != -EEXIST)
			return error;
	}
	return 0;
}

/* ---- extended nodes ---- */

static struct shm_node *extended_alive(struct shm_tree *t, uint64_t place)
{
	struct shm_node *n = shm_list_next(t->extended, place);

	while (n && n->last != INT64_MAX)
		n = shm_list_next(t->extended, node_extra(n)->place);
	return n;
}

struct shm_node *shm_extended_first(struct shm_tree *t)
{
	return extended_alive(t, 0);
}

struct shm_node *shm_extended_next(struct shm_tree *t, struct shm_node *n)
{
	CHECK(n->extra);
	return extended_alive(t, node_extra(n)->place);
}

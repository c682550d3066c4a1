/*
 * read.c - what readers take from the tree: nodes and versions as of a zxid
 */
#include "base/bytes.h"
#include "shm/node.h"
#include "shm/region.h"

const struct shm_tree *shm_tree_of(uint32_t gen)
{
	const struct shm_tree *t = shm_window(gen);

	if (__atomic_load_n(&t->magic, __ATOMIC_ACQUIRE) != SHM_TREE_MAGIC || t->gen != gen)
		return NULL;
	return t;
}

int64_t shm_tree_zxid(const struct shm_tree *t)
{
	return __atomic_load_n(&t->zxid, __ATOMIC_ACQUIRE);
}

int64_t shm_tree_count(const struct shm_tree *t)
{
	return SHARED_GET(t->count) + 1;
}

uint64_t shm_tree_hash(const struct shm_tree *t, const void *path, size_t len)
{
	return len ? hash_bytes(&t->key, path, len) : hash_bytes(&t->key, "/", 1);
}

const struct shm_version *shm_node_version(const struct shm_node *n, int64_t zxid)
{
	const struct shm_version *v;

	if (!seen(n->czxid, SHARED_GET(n->last), zxid))
		return NULL;
	v = RCU_GET(n->version);
	while (SHARED_GET(v->zxid) > zxid && v->older)
		v = v->older;
	return v;
}

const struct shm_node *shm_tree_find(const struct shm_tree *t, uint64_t hash, const void *path,
				     size_t len, int64_t zxid, const struct shm_version **version)
{
	const struct shm_node *n;
	const struct shm_version *v;

	n = len ? shm_index_newest(t, hash, path, len) : shm_index_newest(t, hash, "/", 1);
	while (n && n->czxid > zxid)
		n = n->extra ? RCU_GET(node_extra(n)->older_life) : NULL;
	v = n ? shm_node_version(n, zxid) : NULL;
	if (!v)
		return NULL;
	if (version)
		*version = v;
	return n;
}

const char *shm_node_path(const struct shm_node *n, uint32_t *len)
{
	*len = n->path_len;
	return n->path;
}

const char *shm_node_name(const struct shm_node *n, uint32_t *len)
{
	const char *end = n->path + n->path_len, *name = end;

	while (name[-1] != '/')
		name--;
	*len = (uint32_t)(end - name);
	return name;
}

const struct shm_node *shm_node_parent(const struct shm_node *n)
{
	return n->parent;
}

int64_t shm_node_owner(const struct shm_node *n)
{
	return n->extra ? node_extra(n)->owner : 0;
}

/* Creates and deletes of children: creates so far twice, less those that live (32-bit wrap). */
static int32_t wire_cversion(const struct shm_version *v)
{
	return (int32_t)(2 * (uint32_t)v->cversion - (uint32_t)v->children);
}

void shm_node_stat(const struct shm_node *n, const struct shm_version *v,
		   uint8_t out[SHM_STAT_BYTES])
{
	int64_t owner = shm_node_owner(n);

	be64_put(out, (uint64_t)n->czxid);
	be64_put(out + 8, (uint64_t)v->mzxid);
	be64_put(out + 16, (uint64_t)n->ctime);
	be64_put(out + 24, (uint64_t)v->mtime);
	be32_put(out + 32, (uint32_t)v->version);
	be32_put(out + 36, (uint32_t)wire_cversion(v));
	be32_put(out + 40, (uint32_t)v->aversion);
	be64_put(out + 44, owner_is_extended(owner) ? 0 : (uint64_t)owner);
	be32_put(out + 52, v->data_len < 0 ? 0 : (uint32_t)v->data_len);
	be32_put(out + 56, (uint32_t)v->children);
	be64_put(out + 60, (uint64_t)v->pzxid);
}

const void *shm_version_data(const struct shm_version *v, int32_t *len)
{
	*len = v->data_len;
	return v->data_len > DATA_INLINE ? version_blob(v) : v->data;
}

uint32_t shm_version_acl(const struct shm_version *v)
{
	return v->acl;
}

int32_t shm_version_cversion(const struct shm_version *v)
{
	return v->cversion;
}

int32_t shm_version_children(const struct shm_version *v)
{
	return v->children;
}

int64_t shm_version_mzxid(const struct shm_version *v)
{
	return v->mzxid;
}

int64_t shm_version_mtime(const struct shm_version *v)
{
	return v->mtime;
}

int64_t shm_version_pzxid(const struct shm_version *v)
{
	return v->pzxid;
}

uint32_t shm_version_crc(const struct shm_version *v)
{
	return v->crc;
}

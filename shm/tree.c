/*
 * tree.c - nodes and versions: changing them
 *
 * A change first takes all the memory that it needs (then it may fail, and nothing has changed),
 * and then links it. A version that readers may see is never changed: its successor is linked in
 * front of it, and it is retired; so are blobs of data that the successor does not share. A version
 * beyond the published zxid is seen by nobody and changed in place.
 */
#include "shm/tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "shm/node.h"
#include "shm/region.h"

enum {
	NODE_COST = 768,            /* bytes of a create beside its path and data, generously */
	SHRINK_COST = 1024,         /* of a deletion: its parent's version, and what is retired */
	SHRINK_MARGIN = 128 * 1024, /* of RESERVE_BYTES */
	RESERVE_BYTES = 512 * 1024, /* for deletions when the heap is full .. */
	DEATH_COST = 192,           /* .. and for every ephemeral, as they may go all at once */
};

/* ---- the tree as a whole ---- */

static int tree_init(struct shm_tree *t, uint32_t gen)
{
	int error;

	if (getrandom(&t->key, sizeof(t->key), 0) != sizeof(t->key))
		return -EIO;
	t->gen = gen;
	t->published = -1;
	t->digest_on = 1;
	error = shm_index_init(t);
	if (!error)
		error = shm_acl_init(t);
	if (!error)
		error = shm_session_init(t);
	return error;
}

int shm_tree_new(struct shm_tree **out, uint32_t gen, uint64_t heap_max)
{
	struct shm_tree *t = shm_window(gen);
	int error;

	if (heap_max < 2 * sizeof(*t))
		return -ENOMEM;
	memset(t, 0, sizeof(*t));
	error = shm_arena_init_region(&t->arena, (uint8_t *)t, heap_max, (uint8_t *)(t + 1));
	if (!error)
		error = tree_init(t, gen);
	if (error)
		return error;
	__atomic_store_n(&t->magic, SHM_TREE_MAGIC, __ATOMIC_RELEASE);
	*out = t;
	return 0;
}

int shm_tree_new_private(struct shm_tree **out, uint64_t heap_max)
{
	struct shm_tree *t = aligned_alloc(64, (sizeof(*t) + 63) & ~(size_t)63);
	int error;

	if (!t)
		return -ENOMEM;
	memset(t, 0, sizeof(*t));
	shm_arena_init_private(&t->arena, heap_max);
	error = tree_init(t, 0);
	if (error) {
		shm_tree_free_private(t);
		return error;
	}
	*out = t;
	return 0;
}

void shm_tree_free_private(struct shm_tree *t)
{
	shm_arena_fini_private(&t->arena);
	free(t);
}

bool shm_tree_room(const struct shm_tree *t, uint64_t bytes)
{
	uint64_t left = shm_arena_left(&t->arena), reserve = RESERVE_BYTES + t->arena.limit / 64;

	if (t->ephemerals > 0)
		reserve += DEATH_COST * (uint64_t)t->ephemerals;
	return bytes < INT32_MAX && left > reserve &&
	       left - reserve > bytes + bytes / 4 + NODE_COST;
}

bool shm_tree_room_to_shrink(const struct shm_tree *t, uint64_t n)
{
	return shm_arena_left_to_the_end(&t->arena) > SHRINK_MARGIN + n * SHRINK_COST;
}

bool shm_tree_is_torn(const struct shm_tree *t)
{
	return shm_arena_is_torn(&t->arena);
}

uint64_t shm_tree_used(const struct shm_tree *t)
{
	return t->arena.used;
}

uint64_t shm_tree_data_bytes(const struct shm_tree *t)
{
	return t->data_bytes;
}

int64_t shm_tree_ephemerals(const struct shm_tree *t)
{
	return t->ephemerals;
}

void shm_tree_prepare_memory(struct shm_tree *t)
{
	shm_arena_prepare(&t->arena);
}

bool shm_tree_touch_memory(struct shm_tree *t)
{
	return shm_arena_touch(&t->arena);
}

void shm_tree_touch(struct shm_tree *t, int64_t zxid)
{
	__atomic_store_n(&t->zxid, zxid, __ATOMIC_RELEASE);
}

struct shm_node *shm_tree_get(struct shm_tree *t, const void *path, size_t len)
{
	uint64_t hash = shm_tree_hash(t, path, len);

	return (struct shm_node *)(uintptr_t)shm_tree_find(t, hash, path, len, SHM_LATEST, NULL);
}

/* ---- versions and nodes ---- */

size_t shm_version_bytes(int32_t data_len)
{
	size_t inline_bytes = data_len > DATA_INLINE ? sizeof(void *)
			      : data_len > 0         ? (size_t)data_len
						     : 0;

	return sizeof(struct shm_version) + inline_bytes;
}

static size_t node_bytes(size_t path_len, bool extra)
{
	return offsetof(struct shm_node, path) + path_len + (extra ? sizeof(struct shm_extra) : 0);
}

size_t shm_node_bytes(const struct shm_node *n)
{
	return node_bytes(n->path_len, n->extra);
}

/* May v be changed as it is? */
static bool is_private(const struct shm_tree *t, const struct shm_version *v)
{
	return !t->head || v->zxid > t->published;
}

/* A version for n with room for data_len bytes, complete but for its data, not yet linked. */
struct shm_version *shm_version_new(struct shm_tree *t, int32_t data_len, const void *data)
{
	struct shm_version *v = shm_alloc(&t->arena, shm_version_bytes(data_len));

	if (!v)
		return NULL;
	memset(v, 0, sizeof(*v));
	v->data_len = data_len;
	if (data_len > DATA_INLINE) {
		void *blob = shm_alloc(&t->arena, (size_t)data_len);

		if (!blob) {
			shm_free(&t->arena, v, shm_version_bytes(data_len));
			return NULL;
		}
		memcpy(blob, data, (size_t)data_len);
		memcpy(v->data, &blob, sizeof(blob));
	} else if (data_len > 0) {
		memcpy(v->data, data, (size_t)data_len);
	}
	return v;
}

void shm_version_free(struct shm_tree *t, struct shm_version *v)
{
	if (v->data_len > DATA_INLINE)
		shm_free(&t->arena, version_blob(v), (size_t)v->data_len);
	shm_free(&t->arena, v, shm_version_bytes(v->data_len));
}

/* A version with the stat, ACL and data of n's newest; the same one when nobody has seen that. */
static struct shm_version *version_copy(struct shm_tree *t, const struct shm_node *n)
{
	struct shm_version *v = n->version, *next;
	size_t bytes = shm_version_bytes(v->data_len);

	if (is_private(t, v))
		return v;
	next = shm_alloc(&t->arena, bytes);
	if (next)
		memcpy(next, v, bytes);
	return next;
}

/* Make v, a copy or n's newest itself, n's newest as of zxid; what it takes the place of goes. */
static void version_link(struct shm_tree *t, struct shm_node *n, struct shm_version *v,
			 int64_t zxid)
{
	struct shm_version *old = n->version;

	SHARED_SET(v->zxid, zxid);
	if (v == old)
		return;
	v->older = is_private(t, old) ? old->older : old;
	RCU_SET(n->version, v);
	shm_retire(t, RETIRED_MEMORY, old, shm_version_bytes(old->data_len));
}

/* ---- create ---- */

struct shm_node *shm_node_new(struct shm_tree *t, const char *path, uint32_t path_len, bool extra)
{
	uint8_t *p = shm_alloc(&t->arena, node_bytes(path_len, extra));
	struct shm_node *n;

	if (!p)
		return NULL;
	if (extra)
		memset(p, 0, sizeof(struct shm_extra));
	n = (struct shm_node *)(void *)(p + (extra ? sizeof(struct shm_extra) : 0));
	memset(n, 0, sizeof(*n));
	n->last = INT64_MAX;
	n->extra = extra;
	n->path_len = path_len & INT32_MAX;
	memcpy(n->path, path, path_len);
	return n;
}

void shm_node_drop(struct shm_tree *t, struct shm_node *n)
{
	shm_free(&t->arena, n->extra ? (void *)node_extra(n) : (void *)n, shm_node_bytes(n));
}

static struct shm_node *parent_of(struct shm_tree *t, const char *path, uint32_t len)
{
	uint32_t end = len;

	while (end && path[end - 1] != '/')
		end--;
	if (!end)
		return NULL;
	return shm_tree_get(t, end == 1 ? "/" : path, end == 1 ? 1 : end - 1);
}

/* The list in which a node with this owner stands beside its parent's; NULL: in none. */
static struct shm_chunk **list_of_owner(struct shm_tree *t, int64_t owner)
{
	struct shm_session *s;

	if (owner_is_extended(owner))
		return &t->extended;
	s = owner ? shm_session_find(t, owner) : NULL;
	return s ? &s->ephemerals : NULL;
}

/* Everything that entering a node needs beforehand, so that shm_node_enter() can't fail. */
int shm_node_reserve(struct shm_tree *t, uint64_t hash, struct shm_node *parent, int64_t owner)
{
	struct shm_chunk **list = list_of_owner(t, owner);
	int error = shm_index_reserve(t, hash);

	if (!error && parent)
		error = shm_list_reserve(t, &parent->children);
	if (!error && list)
		error = shm_list_reserve(t, list);
	return error ? error : shm_retire_reserve(t, 8);
}

/* Put n, the new life of a path whose newest was `dead`, in front of it. */
static void life_link(struct shm_tree *t, uint64_t hash, struct shm_node *dead, struct shm_node *n)
{
	struct shm_extra *extra = node_extra(n), *before = node_extra(dead);

	extra->older_life = dead;
	extra->oldest_heir = before && before->older_life ? before->oldest_heir : n;
	if (before)
		before->newer_life = n;
	shm_index_replace(t, hash, dead, n);
}

/* Index, parent's list, owner's list, totals. */
void shm_node_enter(struct shm_tree *t, uint64_t hash, struct shm_node *n, struct shm_node *dead)
{
	int64_t owner = shm_node_owner(n);
	struct shm_chunk **list = list_of_owner(t, owner);

	if (dead)
		life_link(t, hash, dead, n);
	else
		shm_index_insert(t, hash, n);
	if (n->parent)
		n->place = shm_list_add(&n->parent->children, n);
	if (list) {
		node_extra(n)->place = shm_list_add(list, n);
		node_extra(n)->session = shm_session_find(t, owner);
	}
	SHARED_SET(t->count, t->count + 1);
	t->ephemerals += owner && !owner_is_extended(owner);
	t->data_bytes += n->path_len;
	if (n->version->data_len > 0)
		t->data_bytes += (uint64_t)n->version->data_len;
}

static void parent_created(struct shm_tree *t, struct shm_node *parent, struct shm_version *v,
			   const struct shm_new *new)
{
	int32_t next = new->parent_cversion;
	uint32_t was = parent->version->crc;

	if (next == -1)
		next = (int32_t)((uint32_t)v->cversion + 1);
	if (next > v->cversion) {
		v->cversion = next;
		v->pzxid = new->zxid;
	}
	v->children++;
	version_link(t, parent, v, new->zxid);
	shm_node_share(t, parent, v, was, false);
}

int shm_tree_create(struct shm_tree *t, const struct shm_new *new, struct shm_node **out)
{
	uint64_t hash = shm_tree_hash(t, new->path, new->path_len);
	struct shm_node *dead, *parent, *n = NULL;
	struct shm_version *v = NULL, *pv;
	int error;

	shm_retire_private(t);
	dead = shm_index_newest(t, hash, new->path, new->path_len);
	parent = parent_of(t, new->path, new->path_len);
	if (!parent)
		return -ENOENT;
	if (dead && dead->last == INT64_MAX)
		return -EEXIST;
	error = shm_node_reserve(t, hash, parent, new->owner);
	if (error)
		return error;
	n = shm_node_new(t, new->path, new->path_len, new->owner || dead);
	v = n ? shm_version_new(t, new->data_len, new->data) : NULL;
	pv = v ? version_copy(t, parent) : NULL;
	if (!pv) {
		if (v)
			shm_version_free(t, v);
		if (n)
			shm_node_drop(t, n);
		return -ENOMEM;
	}
	if (n->extra)
		node_extra(n)->owner = new->owner;
	n->parent = parent;
	n->czxid = v->zxid = v->mzxid = v->pzxid = new->zxid;
	n->ctime = v->mtime = new->time_ms;
	v->acl = new->acl;
	n->version = v;
	shm_node_share(t, n, v, 0, true);
	shm_node_enter(t, hash, n, dead);
	parent_created(t, parent, pv, new);
	shm_tree_touch(t, new->zxid);
	if (out)
		*out = n;
	return 0;
}

/* ---- delete ---- */

int shm_tree_delete(struct shm_tree *t, struct shm_node *n, int64_t zxid)
{
	struct shm_node *parent = n->parent;
	struct shm_version *v = n->version, *pv;
	int64_t owner = shm_node_owner(n);

	CHECK(parent);
	CHECK(n->last == INT64_MAX);
	shm_retire_private(t);
	if (v->children)
		return -ENOTEMPTY;
	if (shm_retire_reserve(t, 8))
		return -ENOMEM;
	pv = version_copy(t, parent);
	if (!pv)
		return -ENOMEM;
	t->digest -= v->crc;
	SHARED_SET(t->count, t->count - 1);
	t->ephemerals -= owner && !owner_is_extended(owner);
	t->data_bytes -= n->path_len;
	if (v->data_len > 0)
		t->data_bytes -= (uint64_t)v->data_len;
	SHARED_SET(n->last, zxid - 1);
	if (t->last_parent == n)
		t->last_parent = NULL;
	shm_retire(t, RETIRED_NODE, n,
		   shm_node_bytes(n) + shm_version_bytes(v->data_len) +
		       (size_t)(v->data_len > DATA_INLINE ? v->data_len : 0));
	uint32_t was = parent->version->crc;

	pv->children--;
	if (zxid > pv->pzxid)
		pv->pzxid = zxid;
	version_link(t, parent, pv, zxid);
	shm_node_share(t, parent, pv, was, false);
	shm_tree_touch(t, zxid);
	return 0;
}

/* A dead node that is no path's newest life is its oldest: the queue is in order of death. */
static void life_unlink(struct shm_node *newest, struct shm_node *dead)
{
	struct shm_extra *extra = node_extra(newest);
	struct shm_node *heir = extra->oldest_heir;

	CHECK(node_extra(heir)->older_life == dead);
	RCU_SET(node_extra(heir)->older_life, NULL);
	extra->oldest_heir = heir == newest ? NULL : node_extra(heir)->newer_life;
}

/* No S sees it any more: take it out of all that leads to it. */
void shm_node_unlink(struct shm_tree *t, struct shm_node *n)
{
	uint64_t hash = shm_tree_hash(t, n->path, n->path_len);
	struct shm_node *newest = shm_index_newest(t, hash, n->path, n->path_len);
	struct shm_extra *extra = node_extra(n);

	if (newest == n)
		shm_index_remove(t, hash, n);
	else
		life_unlink(newest, n);
	shm_list_remove(t, &n->parent->children, n->place);
	if (extra && extra->place) {
		struct shm_chunk **list =
		    owner_is_extended(extra->owner) ? &t->extended : &extra->session->ephemerals;

		shm_list_remove(t, list, extra->place);
	}
	shm_acl_release(t, n->version->acl);
}

/* ---- change ---- */

static int set(struct shm_tree *t, struct shm_node *n, struct shm_version *v, int64_t zxid)
{
	struct shm_version *old = n->version;
	uint32_t was = old->crc;

	if (old->data_len > 0)
		t->data_bytes -= (uint64_t)old->data_len;
	if (v->data_len > 0)
		t->data_bytes += (uint64_t)v->data_len;
	if (old->data_len > DATA_INLINE)
		shm_retire(t, RETIRED_MEMORY, version_blob(old), (size_t)old->data_len);
	version_link(t, n, v, zxid);
	shm_node_share(t, n, v, was, true);
	shm_tree_touch(t, zxid);
	return 0;
}

/* A version with other data and the same stat and ACL; not linked. */
static struct shm_version *with_data(struct shm_tree *t, struct shm_node *n, const void *data,
				     int32_t len)
{
	const struct shm_version *old = n->version;
	struct shm_version *v;

	shm_retire_private(t);
	if (shm_retire_reserve(t, 8))
		return NULL;
	v = shm_version_new(t, len, data);
	if (!v)
		return NULL;
	v->mzxid = old->mzxid;
	v->mtime = old->mtime;
	v->pzxid = old->pzxid;
	v->version = old->version;
	v->cversion = old->cversion;
	v->aversion = old->aversion;
	v->children = old->children;
	v->acl = old->acl;
	return v;
}

int shm_tree_set_data(struct shm_tree *t, struct shm_node *n, const void *data, int32_t len,
		      int32_t version, int64_t zxid, int64_t time_ms)
{
	struct shm_version *v = with_data(t, n, data, len);

	if (!v)
		return -ENOMEM;
	v->version = version;
	v->mzxid = zxid;
	v->mtime = time_ms;
	return set(t, n, v, zxid);
}

int shm_tree_put_data(struct shm_tree *t, struct shm_node *n, const void *data, int32_t len,
		      int64_t zxid)
{
	struct shm_version *v = with_data(t, n, data, len);

	return v ? set(t, n, v, zxid) : -ENOMEM;
}

int shm_tree_put_config(struct shm_tree *t, const void *data, int32_t len, int64_t mzxid,
			int64_t mtime_ms, int64_t zxid)
{
	static const char path[] = "/zookeeper/config";
	struct shm_node *n = shm_tree_get(t, path, sizeof(path) - 1);
	struct shm_version *v;

	if (!n)
		return -ENOENT;
	v = with_data(t, n, data, len);
	if (!v)
		return -ENOMEM;
	v->version = -1;
	v->mzxid = mzxid;
	v->mtime = mtime_ms;
	return set(t, n, v, zxid);
}

int shm_tree_set_acl(struct shm_tree *t, struct shm_node *n, uint32_t acl, int32_t aversion,
		     int64_t zxid)
{
	struct shm_version *v = NULL;
	uint32_t was = n->version->crc;

	shm_retire_private(t);
	if (!shm_retire_reserve(t, 8))
		v = version_copy(t, n);
	if (!v)
		return -ENOMEM;
	shm_acl_release(t, v->acl);
	v->acl = acl;
	v->aversion = aversion;
	version_link(t, n, v, zxid);
	shm_node_share(t, n, v, was, false);
	shm_tree_touch(t, zxid);
	return 0;
}

int shm_tree_raise_cversion(struct shm_tree *t, struct shm_node *n, int32_t cversion, int64_t zxid)
{
	struct shm_version *v = NULL;
	uint32_t was = n->version->crc;

	shm_retire_private(t);
	if (!shm_retire_reserve(t, 8))
		v = version_copy(t, n);
	if (!v)
		return -ENOMEM;
	if (cversion > v->cversion) {
		v->cversion = cversion;
		v->pzxid = zxid;
	}
	version_link(t, n, v, zxid);
	shm_node_share(t, n, v, was, false);
	return 0;
}

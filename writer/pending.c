#include "writer/pending.h"

#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"

#ifdef FUZZING
enum { BUCKETS = 1 << 4, SLAB = 8, TOUCH_FIRST = 1 << 2 };
#else
enum { BUCKETS = 1 << 16, SLAB = 64, TOUCH_FIRST = 1 << 12 };
#endif

/* Records are made many at a time, and freed with the overlay. */
struct wtr_slab {
	struct wtr_slab *next;
	struct wtr_change change[SLAB];
};

static const char below_zookeeper[] = "/zookeeper/";

int wtr_pending_init(struct wtr_pending *p, struct shm_tree *tree, bool digests, int64_t applied)
{
	*p = (struct wtr_pending){.tree = tree, .digests = digests, .applied = applied};
	p->bucket = calloc(BUCKETS, sizeof(*p->bucket));
	p->touch_cap = TOUCH_FIRST;
	p->touch = calloc(p->touch_cap, sizeof(*p->touch));
	if (!p->bucket || !p->touch) {
		wtr_pending_fini(p);
		return -ENOMEM;
	}
	p->digest = digests ? shm_tree_digest(tree) : 0;
	return 0;
}

static void free_path(struct wtr_change *c)
{
	if (c->path != c->inline_path)
		free((char *)(uintptr_t)c->path);
}

void wtr_pending_fini(struct wtr_pending *p)
{
	for (size_t i = 0; p->bucket && i < BUCKETS; i++)
		for (struct wtr_change *c = p->bucket[i]; c; c = c->next)
			free_path(c);
	for (struct wtr_slab *s = p->slabs, *next; s; s = next) {
		next = s->next;
		free(s);
	}
	free(p->bucket);
	free(p->touch);
	free(p->undo);
	*p = (struct wtr_pending){0};
}

/* Running out of the process's own small memory is not survivable half way: see STYLE, errors. */
static void *must(void *memory)
{
	CHECK(memory != NULL);
	return memory;
}

static struct wtr_change *new_change(struct wtr_pending *p)
{
	struct wtr_change *c;

	if (!p->spare) {
		struct wtr_slab *slab = must(calloc(1, sizeof(*slab)));

		slab->next = p->slabs;
		p->slabs = slab;
		for (unsigned i = 0; i < SLAB; i++) {
			slab->change[i].next = p->spare;
			p->spare = &slab->change[i];
		}
	}
	c = p->spare;
	p->spare = c->next;
	p->count++;
	return c;
}

static void drop(struct wtr_pending *p, struct wtr_change *c)
{
	struct wtr_change **at = &p->bucket[c->hash & (BUCKETS - 1)];

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	free_path(c);
	c->zxid = 0;
	c->next = p->spare;
	p->spare = c;
	p->count--;
}

/* The state of a znode that nobody in flight touches. */
static void look_at_tree(struct wtr_pending *p, struct wtr_change *c)
{
	const struct shm_version *v;
	const struct shm_node *n =
	    shm_tree_find(p->tree, c->hash, c->path, c->path_len, SHM_LATEST, &v);
	struct wtr_state *s = &c->now;
	uint8_t stat[SHM_STAT_BYTES];

	memset(s, 0, sizeof(*s));
	if (!n)
		return;
	shm_node_stat(n, v, stat);
	s->exists = true;
	s->czxid = (int64_t)be64_get(stat);
	s->mzxid = (int64_t)be64_get(stat + 8);
	s->ctime = (int64_t)be64_get(stat + 16);
	s->mtime = (int64_t)be64_get(stat + 24);
	s->version = (int32_t)be32_get(stat + 32);
	s->aversion = (int32_t)be32_get(stat + 40);
	s->pzxid = (int64_t)be64_get(stat + 60);
	s->cversion = shm_version_cversion(v);
	s->owner = shm_node_owner(n);
	s->children = shm_version_children(v);
	shm_version_data(v, &s->data_len);
	s->acl = shm_version_acl(v);
	s->share = p->digests && !c->excluded ? shm_version_crc(v) : 0;
}

struct wtr_change *wtr_pending_find(struct wtr_pending *p, const char *path, uint32_t len,
				    struct wtr_change *look)
{
	uint64_t hash = shm_tree_hash(p->tree, path, len);
	const size_t below = sizeof(below_zookeeper) - 1;

	for (struct wtr_change *c = p->bucket[hash & (BUCKETS - 1)]; c; c = c->next)
		if (c->hash == hash && c->path_len == len && !memcmp(c->path, path, len))
			return c;
	look->next = NULL;
	look->hash = hash;
	look->zxid = 0;
	look->path = path;
	look->path_len = len;
	look->excluded = len >= below && !memcmp(path, below_zookeeper, below);
	look_at_tree(p, look);
	return look;
}

void wtr_pending_prefetch(const struct wtr_pending *p, uint64_t hash)
{
	__builtin_prefetch(&p->bucket[hash & (BUCKETS - 1)]);
}

void wtr_pending_prefetch_touched(const struct wtr_pending *p, unsigned n)
{
	for (uint64_t i = p->touch_tail; i != p->touch_head && n--; i++)
		__builtin_prefetch(p->touch[i & (p->touch_cap - 1)].change);
}

static void note_touch(struct wtr_pending *p, struct wtr_change *c, int64_t zxid)
{
	if (p->touch_head - p->touch_tail == p->touch_cap) {
		struct wtr_touch *wider = must(calloc(p->touch_cap * 2, sizeof(*wider)));

		for (uint64_t i = p->touch_tail; i != p->touch_head; i++)
			wider[i & (p->touch_cap * 2 - 1)] = p->touch[i & (p->touch_cap - 1)];
		free(p->touch);
		p->touch = wider;
		p->touch_cap *= 2;
	}
	p->touch[p->touch_head++ & (p->touch_cap - 1)] = (struct wtr_touch){zxid, c};
	c->zxid = zxid;
}

static void save(struct wtr_pending *p, struct wtr_change *c, int64_t zxid)
{
	if (p->n_undo == p->undo_cap) {
		p->undo_cap = p->undo_cap ? p->undo_cap * 2 : 64;
		p->undo = must(realloc(p->undo, p->undo_cap * sizeof(*p->undo)));
	}
	p->undo[p->n_undo++] = (struct wtr_undo){c, zxid, c->now};
}

struct wtr_change *wtr_pending_touch(struct wtr_pending *p, struct wtr_change *c, int64_t zxid)
{
	struct wtr_change *record = c;

	if (c->zxid == zxid)
		return c;
	if (!c->zxid) {
		record = new_change(p);
		memcpy(record, c, offsetof(struct wtr_change, inline_path));
		if (c->path_len <= WTR_PATH_INLINE)
			record->path = memcpy(record->inline_path, c->path, c->path_len);
		else
			record->path = memcpy(must(malloc(c->path_len)), c->path, c->path_len);
		record->next = p->bucket[c->hash & (BUCKETS - 1)];
		p->bucket[c->hash & (BUCKETS - 1)] = record;
	}
	if (p->saving)
		save(p, record, record->zxid);
	note_touch(p, record, zxid);
	return record;
}

static uint32_t persisted_crc(uint32_t prefix, const struct wtr_state *s)
{
	uint8_t b[60];

	be64_put(b, (uint64_t)s->czxid);
	be64_put(b + 8, (uint64_t)s->mzxid);
	be64_put(b + 16, (uint64_t)s->pzxid);
	be64_put(b + 24, (uint64_t)s->ctime);
	be64_put(b + 32, (uint64_t)s->mtime);
	be32_put(b + 40, (uint32_t)s->version);
	be32_put(b + 44, (uint32_t)s->cversion);
	be32_put(b + 48, (uint32_t)s->aversion);
	be64_put(b + 52, (uint64_t)s->owner);
	return libdeflate_crc32(prefix, b, sizeof(b));
}

static uint32_t prefix_crc(const struct wtr_change *c, const void *data, int32_t len)
{
	/* The root counts once, under the path "". */
	uint32_t crc = libdeflate_crc32(0, c->path, c->path_len == 1 ? 0 : c->path_len);

	return len > 0 ? libdeflate_crc32(crc, data, (size_t)len) : crc;
}

void wtr_pending_reckon(struct wtr_pending *p, struct wtr_change *c)
{
	struct wtr_state *s = &c->now;
	uint32_t share = 0;

	if (!p->digests || c->excluded)
		return;
	if (s->exists && !s->has_prefix) {
		/* No setData is in flight, or it would have left a prefix: the tree has the data.
		 */
		const struct shm_version *v;
		const void *data;
		int32_t len;

		CHECK(shm_tree_find(p->tree, c->hash, c->path, c->path_len, SHM_LATEST, &v));
		data = shm_version_data(v, &len);
		s->prefix = prefix_crc(c, data, len);
		s->has_prefix = true;
	}
	if (s->exists)
		share = persisted_crc(s->prefix, s);
	p->digest += share - (uint64_t)s->share;
	s->share = share;
}

void wtr_pending_reckon_data(struct wtr_pending *p, struct wtr_change *c, const void *data)
{
	if (p->digests && !c->excluded) {
		c->now.prefix = prefix_crc(c, data, c->now.data_len);
		c->now.has_prefix = true;
	}
	wtr_pending_reckon(p, c);
}

uint32_t wtr_pending_acl(struct wtr_pending *p, struct wtr_change *c, const uint8_t **bytes,
			 uint32_t *len)
{
	struct wtr_state *s = &c->now;

	if (s->acl_zxid > p->applied) {
		*bytes = s->acl_bytes;
		*len = s->acl_len;
		return SHM_ACL_NONE;
	}
	if (s->acl_zxid) {
		const struct shm_version *v;

		CHECK(shm_tree_find(p->tree, c->hash, c->path, c->path_len, SHM_LATEST, &v));
		s->acl = shm_version_acl(v);
		s->acl_zxid = 0;
	}
	*bytes = s->acl == SHM_ACL_OPEN ? NULL : shm_acl_bytes(p->tree, s->acl, len);
	return s->acl;
}

void wtr_pending_mark(struct wtr_pending *p)
{
	CHECK(!p->saving);
	p->saving = true;
	p->n_undo = 0;
	p->mark_head = p->touch_head;
	p->mark_digest = p->digest;
}

void wtr_pending_commit(struct wtr_pending *p)
{
	CHECK(p->saving);
	p->saving = false;
}

void wtr_pending_rollback(struct wtr_pending *p)
{
	CHECK(p->saving);
	p->saving = false;
	p->touch_head = p->mark_head;
	p->digest = p->mark_digest;
	while (p->n_undo) {
		struct wtr_undo *u = &p->undo[--p->n_undo];

		u->change->now = u->then;
		u->change->zxid = u->zxid;
		if (!u->zxid)
			drop(p, u->change);
	}
}

void wtr_pending_applied(struct wtr_pending *p, int64_t zxid)
{
	p->applied = zxid;
	while (p->touch_tail != p->touch_head) {
		struct wtr_touch *t = &p->touch[p->touch_tail & (p->touch_cap - 1)];

		if (t->zxid > zxid)
			break;
		if (t->change->zxid == t->zxid)
			drop(p, t->change);
		p->touch_tail++;
	}
}

void wtr_pending_each_after(struct wtr_pending *p, int64_t zxid,
			    void (*each)(void *arg, struct wtr_change *c), void *arg)
{
	for (uint64_t i = p->touch_tail; i != p->touch_head; i++) {
		struct wtr_touch *t = &p->touch[i & (p->touch_cap - 1)];

		if (t->zxid > zxid)
			each(arg, t->change);
	}
}

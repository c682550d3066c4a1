/*
 * acl.c - ACL lists, each kept once
 *
 * By content in hash chains (the writer), by id in a table (readers). A list counts the nodes that
 * have it. A reference is given back after a grace period, for older versions name it as well. A
 * list without references stays for as many bytes of the commit ring as the ring is long: events
 * in the ring name ACLs by id, and a worker that slept looks them up late. Only then is the id
 * used again.
 */
#include <errno.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "shm/node.h"

enum { ACLS_FIRST = 64, CHAINS_FIRST = 64 };

static size_t acl_bytes(uint32_t len)
{
	return sizeof(struct shm_acl) + len;
}

static size_t table_bytes(uint32_t size)
{
	return sizeof(struct shm_table) + size * sizeof(void *);
}

int shm_table_grow(struct shm_tree *t, struct shm_table **table, uint32_t **free_ids,
		   uint32_t first_size)
{
	struct shm_table *old = *table, *next;
	uint32_t old_size = old ? old->size : 0, size = old ? 2 * old_size : first_size;
	uint32_t *ids;

	if (shm_retire_reserve(t, 1))
		return -ENOMEM;
	next = shm_alloc(&t->arena, table_bytes(size));
	ids = next ? shm_alloc(&t->arena, size * sizeof(*ids)) : NULL;
	if (!ids) {
		if (next)
			shm_free(&t->arena, next, table_bytes(size));
		return -ENOMEM;
	}
	memset(next, 0, table_bytes(size));
	next->size = size;
	if (old) {
		memcpy(next->item, old->item, old_size * sizeof(void *));
		memcpy(ids, *free_ids, old_size * sizeof(*ids));
		shm_free(&t->arena, *free_ids, old_size * sizeof(*ids));
		shm_retire(t, RETIRED_MEMORY, old, table_bytes(old_size));
	}
	*free_ids = ids;
	RCU_SET(*table, next);
	return 0;
}

/* More chains than lists: made again with twice the number. */
static int chains_grow(struct shm_tree *t)
{
	uint32_t size = t->acl_chains ? 2 * t->acl_chains_size : CHAINS_FIRST;
	struct shm_acl **chains = shm_alloc(&t->arena, size * sizeof(void *));

	if (!chains)
		return -ENOMEM;
	memset(chains, 0, size * sizeof(void *));
	for (uint32_t i = 0; i < t->acl_chains_size; i++) {
		for (struct shm_acl *a = t->acl_chains[i], *next; a; a = next) {
			next = a->next;
			a->next = chains[a->hash % size];
			chains[a->hash % size] = a;
		}
	}
	if (t->acl_chains)
		shm_free(&t->arena, t->acl_chains, t->acl_chains_size * sizeof(void *));
	t->acl_chains = chains;
	t->acl_chains_size = size;
	return 0;
}

/* vector<ACL> of one entry: perms, "world", "anyone". */
int64_t shm_acl_intern_world(struct shm_tree *t, uint32_t perms)
{
	uint8_t b[27] = {0, 0, 0, 1};

	be32_put(b + 4, perms);
	be32_put(b + 8, 5);
	memcpy(b + 12, "world", 5);
	be32_put(b + 17, 6);
	memcpy(b + 21, "anyone", 6);
	return shm_acl_intern(t, b, sizeof(b));
}

int shm_acl_init(struct shm_tree *t)
{
	int64_t id;

	t->acl_ids = SHM_ACL_OPEN;
	id = shm_acl_intern_world(t, 31);
	CHECK(id == SHM_ACL_OPEN || id == -ENOMEM);
	return id < 0 ? (int)id : 0;
}

static struct shm_acl *at(const struct shm_tree *t, uint32_t id)
{
	const struct shm_table *table = RCU_GET(t->acls);

	return id < table->size ? RCU_GET(table->item[id]) : NULL;
}

const uint8_t *shm_acl_bytes(const struct shm_tree *t, uint32_t acl, uint32_t *len)
{
	const struct shm_acl *a = acl != SHM_ACL_NONE ? at(t, acl) : NULL;

	if (!a)
		return NULL;
	*len = a->len;
	return a->bytes;
}

static struct shm_acl *acl_new(struct shm_tree *t, const uint8_t *bytes, uint32_t len,
			       uint32_t hash)
{
	struct shm_acl *a;
	uint32_t id;

	if (t->acl_count >= t->acl_chains_size && chains_grow(t))
		return NULL;
	if (!t->acl_free_count && (!t->acls || t->acl_ids == t->acls->size) &&
	    shm_table_grow(t, &t->acls, &t->acl_free, ACLS_FIRST))
		return NULL;
	a = shm_alloc(&t->arena, acl_bytes(len));
	if (!a)
		return NULL;
	id = t->acl_free_count ? t->acl_free[--t->acl_free_count] : t->acl_ids++;
	*a = (struct shm_acl){.id = id, .len = len, .hash = hash};
	memcpy(a->bytes, bytes, len);
	a->next = t->acl_chains[hash % t->acl_chains_size];
	t->acl_chains[hash % t->acl_chains_size] = a;
	t->acl_count++;
	RCU_SET(t->acls->item[id], a);
	return a;
}

int64_t shm_acl_intern(struct shm_tree *t, const uint8_t *bytes, uint32_t len)
{
	uint32_t hash = (uint32_t)hash_bytes(&t->key, bytes, len);
	struct shm_acl *a = t->acl_chains ? t->acl_chains[hash % t->acl_chains_size] : NULL;

	while (a && !(a->hash == hash && a->len == len && !memcmp(a->bytes, bytes, len)))
		a = a->next;
	if (!a)
		a = acl_new(t, bytes, len, hash);
	if (!a)
		return -ENOMEM;
	a->references++;
	return a->id;
}

int shm_acl_release(struct shm_tree *t, uint32_t id)
{
	if (id <= SHM_ACL_OPEN)
		return 0;
	if (shm_retire_reserve(t, 1))
		return -ENOMEM;
	shm_retire(t, RETIRED_ACL, at(t, id), 0);
	return 0;
}

void shm_acl_unref(struct shm_tree *t, struct shm_acl *a)
{
	CHECK(a->references);
	if (--a->references)
		return;
	a->idle_head = t->head;
	if (a->idle)
		return;
	a->idle = 1;
	a->idle_next = NULL;
	if (t->acl_idle_last)
		t->acl_idle_last->idle_next = a;
	else
		t->acl_idle_first = a;
	t->acl_idle_last = a;
}

static void acl_free(struct shm_tree *t, struct shm_acl *a)
{
	struct shm_acl **link = &t->acl_chains[a->hash % t->acl_chains_size];

	while (*link != a)
		link = &(*link)->next;
	*link = a->next;
	t->acl_count--;
	RCU_SET(t->acls->item[a->id], NULL);
	t->acl_free[t->acl_free_count++] = a->id;
	shm_retire(t, RETIRED_MEMORY, a, acl_bytes(a->len));
}

/* One that was taken into use again leaves the row of idle ones here. */
void shm_acl_reclaim(struct shm_tree *t)
{
	struct shm_acl *a;

	while ((a = t->acl_idle_first) && t->head - a->idle_head >= t->acl_linger &&
	       !shm_retire_reserve(t, 1)) {
		t->acl_idle_first = a->idle_next;
		if (!a->idle_next)
			t->acl_idle_last = NULL;
		a->idle = 0;
		if (!a->references)
			acl_free(t, a);
	}
}

void shm_tree_set_ring(struct shm_tree *t, uint64_t commit_size)
{
	t->acl_linger = commit_size;
}

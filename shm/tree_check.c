/*
 * tree_check.c - every invariant of the tree's structure, for tests
 *
 * Counts what the walks find and compares it with the totals that are kept.
 */
#include "base/check.h"
#include "shm/node.h"

struct totals {
	const struct shm_tree *tree;
	int64_t nodes, ephemerals;
	uint64_t digest, data_bytes;
};

static void check_version(const struct shm_tree *t, const struct shm_node *n)
{
	const struct shm_version *v = n->version;

	CHECK(v->data_len >= -1);
	CHECK(v->children >= 0);
	CHECK(v->zxid <= t->zxid);
	if (v->acl > SHM_ACL_OPEN) {
		const struct shm_acl *a = t->acls->item[v->acl];

		CHECK(a);
		CHECK(a->references);
	}
}

static void check_children(const struct shm_node *n)
{
	int32_t alive = 0;

	for (const struct shm_chunk *c = n->children; c; c = c->next) {
		unsigned live = 0;

		CHECK(!c->next || c->next->prev == c);
		CHECK(c->used <= c->size);
		for (unsigned i = 0; i < c->size; i++) {
			const struct shm_node *child = c->slot[i];

			CHECK(!child || i < c->used);
			CHECK(child || i >= c->hint);
			if (!child)
				continue;
			live++;
			alive += child->last == INT64_MAX;
			CHECK(child->parent == n);
			CHECK(child->place == ((uint64_t)i << 48 | (uintptr_t)c));
		}
		CHECK(live == c->live);
	}
	CHECK(alive == n->version->children);
}

static void check_lives(const struct shm_node *newest)
{
	const struct shm_extra *extra = node_extra(newest), *oldest = extra;

	if (!extra || !extra->older_life)
		return;
	for (const struct shm_node *n = extra->older_life; n;) {
		const struct shm_extra *e = node_extra(n);

		CHECK(n->last != INT64_MAX);
		CHECK(n->path_len == newest->path_len);
		if (e && e->older_life) {
			CHECK(node_extra(e->older_life) == NULL ||
			      node_extra(e->older_life)->newer_life == n);
			oldest = e;
		}
		n = e ? e->older_life : NULL;
	}
	CHECK(node_extra(extra->oldest_heir) == oldest);
}

static void check_node(struct shm_node *n, void *arg)
{
	struct totals *sum = arg;
	int64_t owner = shm_node_owner(n);

	check_lives(n);
	check_children(n);
	CHECK(shm_index_newest(sum->tree, shm_tree_hash(sum->tree, n->path, n->path_len), n->path,
			       n->path_len) == n);
	CHECK(n->path[0] == '/');
	if (n->last != INT64_MAX)
		return;
	check_version(sum->tree, n);
	sum->nodes++;
	sum->ephemerals += owner && !owner_is_extended(owner);
	sum->digest += n->version->crc;
	sum->data_bytes += n->path_len;
	if (n->version->data_len > 0)
		sum->data_bytes += (uint64_t)n->version->data_len;
}

static void check_sessions(const struct shm_tree *t)
{
	uint32_t known = 0;

	for (uint32_t slot = 0; slot < t->session_slots; slot++) {
		const struct shm_session *s = t->sessions->item[slot];

		if (!s)
			continue;
		CHECK(s->slot == slot);
		known += s->last == INT64_MAX;
		for (struct shm_node *n = shm_list_next(s->ephemerals, 0); n;
		     n = shm_list_next(s->ephemerals, node_extra(n)->place)) {
			CHECK(node_extra(n)->session == s);
			CHECK(shm_node_owner(n) == s->id);
		}
	}
	CHECK(known == t->session_count);
}

void shm_tree_check(const struct shm_tree *t)
{
	struct totals sum = {.tree = t};

	shm_index_walk(t, check_node, &sum);
	CHECK(sum.nodes == t->count);
	CHECK(sum.ephemerals == t->ephemerals);
	CHECK(sum.digest == t->digest);
	CHECK(sum.data_bytes == t->data_bytes);
	check_sessions(t);
}

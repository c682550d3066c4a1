/*
 * reclaim.c - what was replaced, until no reader can reach it (invariant V6)
 *
 * A queue. Entries are sealed with the head of the publication after which no fresh reader can
 * reach them, and leave it in order once every online reader has announced that head or a later
 * one. A version needs this once. A node is then unlinked from index and chunks and enters the
 * queue again, for readers that came to it through these. As entries leave in order, children are
 * unlinked before their parent, a path's lives oldest first, ephemerals before their session.
 *
 * Before the first publication nobody reads: there the queue is emptied without waiting.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "shm/node.h"

enum { BLOCK_ENTRIES = 170, PRIVATE_MAX = 512 };

struct retired_block {
	struct retired_block *next;
	struct retired entry[BLOCK_ENTRIES];
};

int shm_retire_reserve(struct shm_tree *t, unsigned n)
{
	static_assert(sizeof(struct retired_block) <= 4096, "a page");
	CHECK(n <= RETIRE_RESERVE_MAX);
	if (t->retired_spare || (t->retired_last && t->retired_end + n <= BLOCK_ENTRIES))
		return 0;
	t->retired_spare = shm_alloc(&t->arena, sizeof(struct retired_block));
	return t->retired_spare ? 0 : -ENOMEM;
}

void shm_retire(struct shm_tree *t, enum retired_kind kind, void *p, size_t size)
{
	struct retired_block *b = t->retired_last;

	if (!b || t->retired_end == BLOCK_ENTRIES) {
		b = t->retired_spare;
		CHECK(b); /* shm_retire_reserve() came before */
		t->retired_spare = NULL;
		b->next = NULL;
		if (t->retired_last) {
			t->retired_last->next = b;
		} else {
			t->retired_first = t->retired_seal = b;
			t->retired_at = t->retired_sealed = 0;
		}
		t->retired_last = b;
		t->retired_end = 0;
	}
	b->entry[t->retired_end++] = (struct retired){p, (uint32_t)size, kind, 0};
	t->retired_count++;
	t->retired_bytes += size;
}

static struct retired *front(struct shm_tree *t)
{
	return t->retired_count ? &t->retired_first->entry[t->retired_at] : NULL;
}

static void pop(struct shm_tree *t)
{
	struct retired_block *b = t->retired_first;

	t->retired_count--;
	t->retired_bytes -= b->entry[t->retired_at].size;
	if (++t->retired_at < BLOCK_ENTRIES)
		return;
	t->retired_first = b->next;
	t->retired_at = 0;
	if (t->retired_seal == b) {
		t->retired_seal = b->next;
		t->retired_sealed = 0;
	}
	if (!b->next)
		t->retired_last = NULL;
	if (t->retired_spare)
		shm_free(&t->arena, b, sizeof(*b));
	else
		t->retired_spare = b;
}

static void node_free(struct shm_tree *t, struct shm_node *n)
{
	struct shm_version *v = n->version;
	struct shm_extra *extra = node_extra(n);

	CHECK(!n->children || !n->children->live);
	if (v->data_len > DATA_INLINE)
		shm_free(&t->arena, version_blob(v), (size_t)v->data_len);
	shm_free(&t->arena, v, shm_version_bytes(v->data_len));
	shm_list_free(t, n->children);
	shm_free(&t->arena, extra ? (void *)extra : (void *)n, shm_node_bytes(n));
}

static void process(struct shm_tree *t, const struct retired *r)
{
	switch (r->kind) {
	case RETIRED_MEMORY:
		shm_free(&t->arena, r->p, r->size);
		break;
	case RETIRED_NODE:
		shm_node_unlink(t, r->p);
		shm_retire(t, RETIRED_NODE_MEMORY, r->p, r->size);
		break;
	case RETIRED_NODE_MEMORY:
		node_free(t, r->p);
		break;
	case RETIRED_SESSION:
		shm_session_unlink(t, r->p);
		shm_retire(t, RETIRED_SESSION_MEMORY, r->p, r->size);
		break;
	case RETIRED_SESSION_MEMORY:
		shm_session_free(t, r->p);
		break;
	case RETIRED_ACL:
		shm_acl_unref(t, r->p);
		break;
	default:
		CHECK(!"a retired object of unknown kind");
	}
}

void shm_retire_private(struct shm_tree *t)
{
	if (t->head || t->retired_count < PRIVATE_MAX)
		return;
	while (t->retired_count && !shm_retire_reserve(t, 8)) {
		struct retired r = *front(t);

		process(t, &r);
		pop(t);
	}
}

void shm_tree_published(struct shm_tree *t, int64_t zxid, uint64_t head)
{
	CHECK(zxid >= t->published);
	CHECK(head >= t->head);
	t->published = zxid;
	if (head == t->head)
		return; /* readers that announced it may be older than what we hold */
	t->head = head;
	while (t->retired_seal) {
		bool last = t->retired_seal == t->retired_last;
		uint32_t end = last ? t->retired_end : BLOCK_ENTRIES;

		while (t->retired_sealed < end)
			t->retired_seal->entry[t->retired_sealed++].head = head;
		if (last)
			break;
		t->retired_seal = t->retired_seal->next;
		t->retired_sealed = 0;
	}
}

unsigned shm_tree_reclaim(struct shm_tree *t, uint64_t min, unsigned budget, bool *wants_head)
{
	unsigned done = 0;
	struct retired *r;

	shm_acl_reclaim(t);
	while (done < budget && (r = front(t)) && r->head && min > r->head) {
		struct retired copy = *r;

		if (shm_retire_reserve(t, 8))
			break;
		process(t, &copy);
		pop(t);
		done++;
	}
	if (wants_head)
		*wants_head = t->retired_count && !t->retired_last->entry[t->retired_end - 1].head;
	return done;
}

uint64_t shm_tree_retired_bytes(const struct shm_tree *t)
{
	return t->retired_bytes;
}

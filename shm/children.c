/*
 * children.c - lists of nodes: children of a node, ephemerals of a session, extended nodes
 *
 * A node knows its place (chunk and index), so that it leaves in O(1) when no reader needs it any
 * more. Free slots are used again: first the head chunk's, then those of the chunks in `room`, a
 * ring-free double chain that hangs off the head. A chunk behind the head that has run empty is
 * taken out and retired; its own next stays, for a reader that stands in it.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "shm/node.h"

enum { CHUNK_FIRST = 64, PREFETCH_AHEAD = 8 }; /* bytes; slots */

static size_t chunk_bytes(const struct shm_chunk *c)
{
	return sizeof(*c) + c->size * sizeof(c->slot[0]);
}

static struct shm_chunk *place_chunk(uint64_t place)
{
	return (struct shm_chunk *)(uintptr_t)(place & 0xffffffffffff);
}

static struct shm_chunk *with_room(struct shm_chunk *head)
{
	return head && head->live == head->size ? head->room_next : head;
}

int shm_list_reserve(struct shm_tree *t, struct shm_chunk **list)
{
	struct shm_chunk *head = *list, *c;
	size_t bytes = CHUNK_FIRST;

	if (with_room(head))
		return 0;
	if (head)
		bytes = 2 * chunk_bytes(head) < CHUNK_MAX ? 2 * chunk_bytes(head) : CHUNK_MAX;
	c = shm_alloc(&t->arena, bytes);
	if (!c)
		return -ENOMEM;
	memset(c, 0, bytes);
	c->size = (uint16_t)((bytes - sizeof(*c)) / sizeof(c->slot[0]));
	c->next = head;
	if (head)
		head->prev = c;
	RCU_SET(*list, c);
	return 0;
}

static void room_leave(struct shm_chunk *c)
{
	c->room_prev->room_next = c->room_next;
	if (c->room_next)
		c->room_next->room_prev = c->room_prev;
	c->room_next = c->room_prev = NULL;
}

static void room_enter(struct shm_chunk *head, struct shm_chunk *c)
{
	c->room_prev = head;
	c->room_next = head->room_next;
	if (c->room_next)
		c->room_next->room_prev = c;
	head->room_next = c;
}

uint64_t shm_list_add(struct shm_chunk **list, struct shm_node *n)
{
	struct shm_chunk *head = *list, *c = with_room(head);
	unsigned i;

	CHECK(c); /* shm_list_reserve() came before */
	i = c->hint;
	while (c->slot[i])
		i++;
	DCHECK(i < c->size);
	RCU_SET(c->slot[i], n);
	if (i >= c->used)
		SHARED_SET(c->used, (uint16_t)(i + 1));
	c->hint = (uint16_t)(i + 1);
	if (++c->live == c->size && c != head)
		room_leave(c);
	return (uint64_t)i << 48 | (uintptr_t)c;
}

void shm_list_remove(struct shm_tree *t, struct shm_chunk **list, uint64_t place)
{
	struct shm_chunk *head = *list, *c = place_chunk(place);
	uint16_t i = (uint16_t)(place >> 48);

	RCU_SET(c->slot[i], NULL);
	if (i < c->hint)
		c->hint = i;
	if (c->live-- == c->size && c != head)
		room_enter(head, c);
	if (c->live || c == head)
		return;
	room_leave(c);
	RCU_SET(c->prev->next, c->next);
	if (c->next)
		c->next->prev = c->prev;
	shm_retire(t, RETIRED_MEMORY, c, chunk_bytes(c));
}

void shm_list_free(struct shm_tree *t, struct shm_chunk *list)
{
	for (struct shm_chunk *c = list, *next; c; c = next) {
		next = c->next;
		shm_free(&t->arena, c, chunk_bytes(c));
	}
}

/* The writer's walk: the node behind that place, in any state; 0 begins. */
struct shm_node *shm_list_next(const struct shm_chunk *list, uint64_t place)
{
	const struct shm_chunk *c = place ? place_chunk(place) : list;
	unsigned i = place ? (unsigned)(place >> 48) + 1 : 0;

	for (; c; c = c->next, i = 0)
		for (; i < c->used; i++)
			if (c->slot[i])
				return c->slot[i];
	return NULL;
}

void shm_children_begin(struct shm_iter *it, const struct shm_node *n, int64_t zxid)
{
	*it = (struct shm_iter){RCU_GET(n->children), 0, zxid};
}

void shm_ephemerals_begin(struct shm_iter *it, const struct shm_session *s, int64_t zxid)
{
	*it = (struct shm_iter){RCU_GET(s->ephemerals), 0, zxid};
}

const struct shm_node *shm_children_next(struct shm_iter *it)
{
	for (const struct shm_chunk *c = it->chunk; c; it->chunk = c = RCU_GET(c->next)) {
		uint32_t used = SHARED_GET(c->used);

		while (it->index < used) {
			const struct shm_node *n = RCU_GET(c->slot[it->index]);

			it->index++;
			if (it->index + PREFETCH_AHEAD < used)
				__builtin_prefetch(SHARED_GET(c->slot[it->index + PREFETCH_AHEAD]));
			DCHECK(!n || n->path[0] == '/'); /* else it was freed too early */
			if (n && seen(n->czxid, SHARED_GET(n->last), it->zxid))
				return n;
		}
		it->index = 0;
	}
	return NULL;
}

const struct shm_node *shm_ephemerals_next(struct shm_iter *it)
{
	return shm_children_next(it);
}

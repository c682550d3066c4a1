/*
 * session.c - sessions: by slot for readers, by id for the writer
 *
 * A closed session's record stays in its slot until no reader's S is before its closing; only then
 * can the slot be given to another.
 */
#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "shm/board.h"
#include "shm/node.h"

enum { SESSIONS_FIRST = 64 };

static uint32_t chain_of(const struct shm_tree *t, int64_t id)
{
	return (uint32_t)hash_fold((uint64_t)id ^ t->key.word[0], t->key.word[1] | 1) %
	       t->session_chains_size;
}

static int chains_grow(struct shm_tree *t)
{
	struct shm_session **old = t->session_chains, **chains;
	uint32_t old_size = t->session_chains_size, size = old ? 2 * old_size : SESSIONS_FIRST;

	chains = shm_alloc(&t->arena, size * sizeof(void *));
	if (!chains)
		return -ENOMEM;
	memset(chains, 0, size * sizeof(void *));
	t->session_chains = chains;
	t->session_chains_size = size;
	for (uint32_t i = 0; i < old_size; i++) {
		for (struct shm_session *s = old[i], *next; s; s = next) {
			next = s->next;
			s->next = chains[chain_of(t, s->id)];
			chains[chain_of(t, s->id)] = s;
		}
	}
	if (old)
		shm_free(&t->arena, old, old_size * sizeof(void *));
	return 0;
}

int shm_session_init(struct shm_tree *t)
{
	int error = chains_grow(t);

	return error ? error : shm_table_grow(t, &t->sessions, &t->session_free, SESSIONS_FIRST);
}

const struct shm_session *shm_session_at(const struct shm_tree *t, uint32_t slot, int64_t zxid)
{
	const struct shm_table *table = RCU_GET(t->sessions);
	const struct shm_session *s = slot < table->size ? RCU_GET(table->item[slot]) : NULL;

	return s && seen(s->czxid, SHARED_GET(s->last), zxid) ? s : NULL;
}

uint32_t shm_session_slots(const struct shm_tree *t)
{
	return SHARED_GET(t->session_slots);
}

int64_t shm_session_id(const struct shm_session *s)
{
	return s->id;
}

int32_t shm_session_timeout(const struct shm_session *s)
{
	return SHARED_GET(s->timeout);
}

uint32_t shm_session_slot(const struct shm_session *s)
{
	return s->slot;
}

uint32_t shm_session_count(const struct shm_tree *t)
{
	return t->session_count;
}

struct shm_session *shm_session_find(struct shm_tree *t, int64_t id)
{
	struct shm_session *s = t->session_chains[chain_of(t, id)];

	while (s && s->id != id)
		s = s->next;
	return s;
}

/* -ENOSPC: every slot is taken. */
static int slot_reserve(struct shm_tree *t)
{
	if (t->session_free_count || t->session_slots < t->sessions->size)
		return 0;
	if (t->session_slots == SHM_SESSIONS_MAX)
		return -ENOSPC;
	return shm_table_grow(t, &t->sessions, &t->session_free, SESSIONS_FIRST);
}

int shm_session_add(struct shm_tree *t, int64_t id, int32_t timeout_ms, int64_t zxid,
		    struct shm_session **out)
{
	struct shm_session *s = shm_session_find(t, id);
	int error;

	if (out)
		*out = s;
	if (s) {
		SHARED_SET(s->timeout, timeout_ms);
		shm_tree_touch(t, zxid);
		return -EEXIST;
	}
	shm_retire_private(t);
	error = slot_reserve(t);
	if (!error && t->session_count >= t->session_chains_size)
		error = chains_grow(t);
	if (error)
		return error;
	s = shm_alloc(&t->arena, sizeof(*s));
	if (!s)
		return -ENOMEM;
	*s =
	    (struct shm_session){.id = id, .czxid = zxid, .last = INT64_MAX, .timeout = timeout_ms};
	s->slot =
	    t->session_free_count ? t->session_free[--t->session_free_count] : t->session_slots;
	s->next = t->session_chains[chain_of(t, id)];
	t->session_chains[chain_of(t, id)] = s;
	t->session_count++;
	RCU_SET(t->sessions->item[s->slot], s);
	if (s->slot == t->session_slots)
		SHARED_SET(t->session_slots, s->slot + 1);
	shm_tree_touch(t, zxid);
	if (out)
		*out = s;
	return 0;
}

void shm_session_remove(struct shm_tree *t, struct shm_session *s, int64_t zxid)
{
	struct shm_session **link = &t->session_chains[chain_of(t, s->id)];

	CHECK(!shm_retire_reserve(t, 1)); /* the reserve of shm_tree_room() has a page */
	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	t->session_count--;
	SHARED_SET(s->last, zxid - 1);
	shm_retire(t, RETIRED_SESSION, s, sizeof(*s));
	shm_tree_touch(t, zxid);
	shm_retire_private(t);
}

/* No reader sees it any more. Ephemerals that outlive it stand in no list from here on. */
void shm_session_unlink(struct shm_tree *t, struct shm_session *s)
{
	for (struct shm_node *n = shm_list_next(s->ephemerals, 0), *next; n; n = next) {
		struct shm_extra *extra = node_extra(n);

		next = shm_list_next(s->ephemerals, extra->place);
		extra->place = 0;
	}
	RCU_SET(t->sessions->item[s->slot], NULL);
	t->session_free[t->session_free_count++] = s->slot;
}

void shm_session_free(struct shm_tree *t, struct shm_session *s)
{
	shm_list_free(t, s->ephemerals);
	shm_free(&t->arena, s, sizeof(*s));
}

#include "shm/arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

enum {
	GRANULE = 2 << 20,
	AHEAD_MAX = 16, /* granules that the helper keeps ready */
};

struct shm_block {
	struct shm_block *next, *prev; /* of a private arena: all blocks; of a free list: next */
};

static size_t private_head(size_t size)
{
	return size >= SHM_ARENA_SMALL ? 64 : 16;
}

/* Free lists: one for each 16 bytes, then one for each power of two. */
static unsigned list_of(size_t size, size_t *rounded)
{
	if (size <= SHM_ARENA_SMALL) {
		*rounded = (size + 15) & ~(size_t)15;
		return (unsigned)(*rounded / 16);
	}
	unsigned log = 64 - (unsigned)__builtin_clzl(size - 1);

	*rounded = (size_t)1 << log;
	return SHM_ARENA_SMALL / 16 + log - 12;
}

void shm_arena_init_region(struct shm_arena *a, uint8_t *base, uint64_t bytes, uint8_t *start)
{
	memset(a, 0, sizeof(*a));
	a->kind = SHM_ARENA_LISTS_KIND;
	a->base = base;
	a->end = base + bytes;
	a->next = (uint8_t *)(((uintptr_t)start + 63) & ~(uintptr_t)63);
	a->limit = bytes;
	a->ready = (uint8_t *)((uintptr_t)base & ~(uintptr_t)(GRANULE - 1));
}

/* One page of 2 MiB: the kernel wants it touched before it collapses it. */
static void granule_make(struct shm_arena *a, uint8_t *granule)
{
	if (__atomic_load_n(&a->small_pages, __ATOMIC_RELAXED))
		return;
	__atomic_fetch_or(granule, 0, __ATOMIC_RELAXED);
	if (madvise(granule, GRANULE, MADV_COLLAPSE) && errno == EINVAL)
		__atomic_store_n(&a->small_pages, 1, __ATOMIC_RELAXED);
}

/* Both threads may make the same granule: the second finds it made. */
static void make_up_to(struct shm_arena *a, uint8_t *to)
{
	uint8_t *at = __atomic_load_n(&a->ready, __ATOMIC_RELAXED);

	for (; at < to && (size_t)(a->end - at) >= GRANULE; at += GRANULE) {
		granule_make(a, at);
		__atomic_store_n(&a->ready, at + GRANULE, __ATOMIC_RELAXED);
	}
}

void shm_arena_prepare(struct shm_arena *a)
{
	if (a->kind == SHM_ARENA_PRIVATE)
		return;
	uint8_t *next = __atomic_load_n(&a->next, __ATOMIC_RELAXED);
	uint64_t used = (uint64_t)(next - a->base), ahead = used / 4;
	uint64_t want = __atomic_load_n(&a->want, __ATOMIC_RELAXED);

	if (ahead > (uint64_t)AHEAD_MAX * GRANULE)
		ahead = (uint64_t)AHEAD_MAX * GRANULE;
	if (want > used && want - used > ahead)
		ahead = want - used;
	if (ahead > (uint64_t)(a->end - next))
		ahead = (uint64_t)(a->end - next);
	make_up_to(a, next + ahead);
}

void shm_arena_expect(struct shm_arena *a, uint64_t bytes)
{
	uint64_t used = a->kind == SHM_ARENA_PRIVATE ? 0 : (uint64_t)(a->next - a->base);

	__atomic_store_n(&a->want, used + bytes, __ATOMIC_RELAXED);
}

void shm_arena_init_private(struct shm_arena *a, uint64_t limit)
{
	memset(a, 0, sizeof(*a));
	a->kind = SHM_ARENA_PRIVATE;
	a->limit = limit ? limit : UINT64_MAX;
}

static void *private_alloc(struct shm_arena *a, size_t size)
{
	size_t head = private_head(size);
	uint8_t *raw = aligned_alloc(head, (size + head + head - 1) & ~(head - 1));
	struct shm_block *b;

	if (!raw)
		return NULL;
	b = (struct shm_block *)(void *)raw;
	b->prev = NULL;
	b->next = a->all;
	if (a->all)
		a->all->prev = b;
	a->all = b;
	return raw + head;
}

static void private_free(struct shm_arena *a, void *block, size_t size)
{
	struct shm_block *b = (struct shm_block *)(void *)((uint8_t *)block - private_head(size));

	if (b->next)
		b->next->prev = b->prev;
	if (b->prev)
		b->prev->next = b->next;
	else
		a->all = b->next;
	free(b);
}

void shm_arena_fini_private(struct shm_arena *a)
{
	CHECK(a->kind == SHM_ARENA_PRIVATE);
	for (struct shm_block *b = a->all, *next; b; b = next) {
		next = b->next;
		free(b);
	}
	a->all = NULL;
}

static void *list_alloc(struct shm_arena *a, unsigned list, size_t rounded)
{
	struct shm_block *b = a->list[list];

	if (b) {
		a->list[list] = b->next;
		return b;
	}
	uint8_t *at = a->next;

	if (rounded >= SHM_ARENA_SMALL)
		at = (uint8_t *)(((uintptr_t)at + 63) & ~(uintptr_t)63);
	if (rounded > (size_t)(a->end - at))
		return NULL;
	if (at + rounded > __atomic_load_n(&a->ready, __ATOMIC_RELAXED))
		make_up_to(a, at + rounded);
	__atomic_store_n(&a->next, at + rounded, __ATOMIC_RELAXED);
	return at;
}

void *shm_alloc(struct shm_arena *a, size_t size)
{
	size_t rounded;
	unsigned list = list_of(size, &rounded);
	void *p;

	if (a->fail_in && --a->fail_in == 0)
		return NULL;
	if (rounded > a->limit || a->used > a->limit - rounded)
		return NULL;
	p = a->kind == SHM_ARENA_PRIVATE ? private_alloc(a, size) : list_alloc(a, list, rounded);
	if (p)
		a->used += rounded;
	return p;
}

void shm_free(struct shm_arena *a, void *block, size_t size)
{
	size_t rounded;
	unsigned list = list_of(size, &rounded);

	CHECK(a->used >= rounded);
	a->used -= rounded;
#ifdef DEBUG
	memset(block, 0xdd, size);
#endif
	if (a->kind == SHM_ARENA_PRIVATE) {
		private_free(a, block, size);
		return;
	}
	struct shm_block *b = block;

	DCHECK((uint8_t *)block >= a->base);
	DCHECK((uint8_t *)block < a->end);
	b->next = a->list[list];
	a->list[list] = b;
}

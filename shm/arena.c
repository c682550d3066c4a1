/*
 * arena.c - three ways to hand out memory behind shm_alloc() and shm_free()
 *
 * In a region it is jemalloc's, over hooks that take extents from the region one after the other:
 * one arena and one explicit cache, made by the writer after the fork, its metadata in private
 * memory, so that nothing but objects lies in the region. Extents are never given back: the
 * region's seal forbids it. Where jemalloc is left out (sanitizers bring their own allocator),
 * free lists do. Nothing else may ever call jemalloc with memory of the region: a block that went
 * to another cache would come back from malloc() as shared memory.
 */
#include "shm/arena.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifndef SHM_ARENA_MALLOC
#include <jemalloc/jemalloc.h>
#endif

#include "base/check.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum {
	GRANULE = 2 << 20,
	AHEAD_MAX = 16 * GRANULE, /* bytes that the helper keeps ready */
	TOUCH_STEP = 256 << 10,
	SPARE_MIN = 8 << 20,
};

struct shm_block {
	struct shm_block *next, *prev; /* of a private arena: all blocks; of a free list: next */
};

static size_t private_head(size_t size)
{
	return size >= SHM_ARENA_SMALL ? 64 : 16;
}

static int jemalloc_open(struct shm_arena *a);

int shm_arena_init_region(struct shm_arena *a, uint8_t *base, uint64_t bytes, uint8_t *start)
{
	uint64_t spare;

	memset(a, 0, sizeof(*a));
	a->kind = SHM_ARENA_REGION;
	a->base = base;
	a->end = base + bytes;
	a->next = (uint8_t *)(((uintptr_t)start + 63) & ~(uintptr_t)63);
	a->limit = bytes - bytes / 8; /* the rest is for what lies idle between blocks */
	spare = bytes / 16 > SPARE_MIN ? bytes / 16 : SPARE_MIN;
	a->soft_end = a->end - (spare < bytes / 4 ? spare : bytes / 4);
	a->ready = (uint8_t *)((uintptr_t)base & ~(uintptr_t)(GRANULE - 1));
	return jemalloc_open(a);
}

/*
 * Pages of 2 MiB up to `to`, in one call: each begins with a wait until every processor has turned
 * to it (lru_add_drain_all), half a second on a busy machine. So the writer itself never does it,
 * and pages that it had to take before are put together behind it. The kernel wants each granule
 * touched.
 */
static void make_up_to(struct shm_arena *a, uint8_t *to)
{
	uint8_t *from = a->ready, *at = from;

	while (at < to && (size_t)(a->end - at) >= GRANULE) {
		__atomic_fetch_or(at, 0, __ATOMIC_RELAXED);
		at += GRANULE;
	}
	if (at == from || a->small_pages)
		return;
	if (madvise(from, (size_t)(at - from), MADV_COLLAPSE) && errno == EINVAL)
		a->small_pages = 1;
	a->ready = at;
}

void shm_arena_prepare(struct shm_arena *a)
{
	if (a->kind == SHM_ARENA_PRIVATE)
		return;
	uint8_t *next = __atomic_load_n(&a->next, __ATOMIC_RELAXED);
	uint64_t used = (uint64_t)(next - a->base), ahead = GRANULE + used / 64;
	uint64_t want = __atomic_load_n(&a->want, __ATOMIC_RELAXED);

	if (ahead > AHEAD_MAX)
		ahead = AHEAD_MAX;
	if (want > used && want - used > ahead)
		ahead = want - used;
	if (ahead > (uint64_t)(a->end - next))
		ahead = (uint64_t)(a->end - next);
	make_up_to(a, next + ahead);
}

bool shm_arena_touch(struct shm_arena *a)
{
	uint8_t *next = __atomic_load_n(&a->next, __ATOMIC_RELAXED), *to = next + GRANULE, *from;
	uint8_t *most = a->base + __atomic_load_n(&a->want, __ATOMIC_RELAXED);

	if (a->kind == SHM_ARENA_PRIVATE)
		return false;
	from = next > a->touched ? next : a->touched;
	from = (uint8_t *)((uintptr_t)from & ~(uintptr_t)(TOUCH_STEP - 1));
	to = to < most ? to : most;
	if (from >= to || a->end - from < TOUCH_STEP)
		return false;
	a->touched = from + TOUCH_STEP;
	return !madvise(from, TOUCH_STEP, MADV_POPULATE_WRITE);
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

/* The next bytes of the region that nobody had; align: a power of two. NULL: the end. */
static uint8_t *bump(struct shm_arena *a, size_t bytes, size_t align)
{
	uint8_t *at = (uint8_t *)(((uintptr_t)a->next + align - 1) & ~(uintptr_t)(align - 1));

	if (at > a->end || bytes > (size_t)(a->end - at))
		return NULL;
	__atomic_store_n(&a->next, at + bytes, __ATOMIC_RELAXED);
	return at;
}

#ifdef SHM_ARENA_MALLOC

static int jemalloc_open(struct shm_arena *a)
{
	(void)a;
	return 0;
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

static void *region_alloc(struct shm_arena *a, size_t size, size_t *rounded)
{
	unsigned list = list_of(size, rounded);
	struct shm_block *b = a->list[list];

	if (!b)
		return bump(a, *rounded, *rounded >= SHM_ARENA_SMALL ? 64 : 16);
	a->list[list] = b->next;
	return b;
}

static size_t region_free(struct shm_arena *a, void *block, size_t size)
{
	size_t rounded;
	unsigned list = list_of(size, &rounded);
	struct shm_block *b = block;

	b->next = a->list[list];
	a->list[list] = b;
	return rounded;
}

#else

struct hooks {
	extent_hooks_t table; /* first: jemalloc hands it back */
	struct shm_arena *arena;
};

static void *extent_alloc(extent_hooks_t *table, void *at, size_t size, size_t align, bool *zero,
			  bool *commit, unsigned index)
{
	struct shm_arena *a = ((struct hooks *)(void *)table)->arena;
	void *p = at ? NULL : bump(a, size, align);

	(void)index;
	if (p && *zero)
		memset(p, 0, size); /* a region that is begun anew isn't blank */
	*commit = true;
	return p;
}

static bool extent_keep(extent_hooks_t *table, void *at, size_t size, bool committed,
			unsigned index)
{
	(void)table, (void)at, (void)size, (void)committed, (void)index;
	return true;
}

static bool extent_split(extent_hooks_t *table, void *at, size_t size, size_t first, size_t second,
			 bool committed, unsigned index)
{
	(void)table, (void)at, (void)size, (void)first, (void)second, (void)committed;
	(void)index;
	return false;
}

static bool extent_merge(extent_hooks_t *table, void *first, size_t first_size, void *second,
			 size_t second_size, bool committed, unsigned index)
{
	(void)table, (void)first, (void)first_size, (void)second, (void)second_size;
	(void)committed, (void)index;
	return false;
}

static int set(unsigned arena, const char *key, const void *value, size_t size)
{
	char name[64];

	snprintf(name, sizeof(name), "arena.%u.%s", arena, key);
	return -mallctl(name, NULL, NULL, (void *)(uintptr_t)value, size);
}

/* jemalloc 5.3's arena_config_t, which its header leaves out. */
struct arena_config {
	extent_hooks_t *hooks;
	bool metadata_use_hooks;
};

static int jemalloc_open(struct shm_arena *a)
{
	struct hooks *h = calloc(1, sizeof(*h)); /* lives as long as the process */
	struct arena_config config = {h ? &h->table : NULL, false};
	size_t size = sizeof(unsigned), grow = GRANULE;
	ssize_t never = -1;
	int error;

	if (!h)
		return -ENOMEM;
	*h = (struct hooks){{.alloc = extent_alloc,
			     .dalloc = extent_keep,
			     .split = extent_split,
			     .merge = extent_merge},
			    a};
	error =
	    -mallctl("experimental.arenas_create_ext", &a->arena, &size, &config, sizeof(config));
	if (!error)
		error = -mallctl("tcache.create", &a->cache, &size, NULL, 0);
	if (!error)
		error = set(a->arena, "dirty_decay_ms", &never, sizeof(never));
	if (!error)
		error = set(a->arena, "muzzy_decay_ms", &never, sizeof(never));
	if (!error)
		error = set(a->arena, "retain_grow_limit", &grow, sizeof(grow));
	return error;
}

static int flags_of(const struct shm_arena *a)
{
	return MALLOCX_ARENA(a->arena) | MALLOCX_TCACHE(a->cache);
}

/* What a block of `size` bytes takes. Asked for with every one, so it is kept. */
static size_t taken_by(struct shm_arena *a, size_t size)
{
	size_t i = (size + 15) / 16;

	if (size > SHM_ARENA_SMALL)
		return nallocx(size, 0);
	if (!a->taken[i])
		a->taken[i] = (uint16_t)nallocx(16 * i, 0);
	return a->taken[i];
}

static void *region_alloc(struct shm_arena *a, size_t size, size_t *rounded)
{
	*rounded = taken_by(a, size);
	return mallocx(size, flags_of(a));
}

static size_t region_free(struct shm_arena *a, void *block, size_t size)
{
	size_t rounded = taken_by(a, size);

	sdallocx(block, size, flags_of(a));
	return rounded;
}

#endif

void *shm_alloc(struct shm_arena *a, size_t size)
{
	size_t rounded = (size + 15) & ~(size_t)15;
	void *p;

	if (a->fail_in && --a->fail_in == 0)
		return NULL;
	if (rounded > a->limit || a->used > a->limit - rounded)
		return NULL;
	p = a->kind == SHM_ARENA_PRIVATE ? private_alloc(a, size) : region_alloc(a, size, &rounded);
	if (p)
		a->used += rounded;
	return p;
}

void shm_free(struct shm_arena *a, void *block, size_t size)
{
	size_t rounded = (size + 15) & ~(size_t)15;

#ifdef DEBUG
	memset(block, 0xdd, size);
#endif
	if (a->kind == SHM_ARENA_PRIVATE) {
		private_free(a, block, size);
	} else {
		DCHECK((uint8_t *)block >= a->base);
		DCHECK((uint8_t *)block + size <= a->end);
		rounded = region_free(a, block, size);
	}
	CHECK(a->used >= rounded);
	a->used -= rounded;
}

/* With the region ending at `end`. */
static uint64_t left_before(const struct shm_arena *a, const uint8_t *end)
{
	uint64_t left = a->limit > a->used ? a->limit - a->used : 0, idle, fresh;

	if (a->kind == SHM_ARENA_PRIVATE)
		return left;
	fresh = (uint64_t)(end - a->next);
	idle = (uint64_t)(a->next - a->base) - a->used;
	return left < fresh + idle / 2 ? left : fresh + idle / 2;
}

uint64_t shm_arena_left(const struct shm_arena *a)
{
	if (a->kind == SHM_ARENA_REGION && a->next > a->soft_end)
		return 0;
	return left_before(a, a->soft_end);
}

uint64_t shm_arena_left_to_the_end(const struct shm_arena *a)
{
	return left_before(a, a->end);
}

bool shm_arena_is_torn(const struct shm_arena *a)
{
	return a->kind == SHM_ARENA_REGION && a->next > a->soft_end &&
	       a->used < a->limit - a->limit / 4;
}

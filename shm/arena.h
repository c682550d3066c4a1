/*
 * arena.h - the memory of one tree: a region in shared memory, or private memory in tests
 *
 * Runs in: the writer alone, one thread (shm_arena_prepare: its helper thread). Readers never
 * come here. Every block is given back with the size that it was asked for.
 *
 * Accounting: `used` is the sum of the bytes handed out, rounded as the arena rounds; an
 * allocation beyond `limit` fails as one beyond the region does: NULL, nothing changed.
 *
 * Alignment: 16 bytes; 64 bytes for blocks of 4096 and more.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SHM_ARENA_SMALL = 4096, /* up to here: one free list for each 16 bytes */
	SHM_ARENA_LISTS = SHM_ARENA_SMALL / 16 + 48,
};

enum shm_arena_kind {
	SHM_ARENA_PRIVATE = 1, /* malloc, so that the sanitizers watch each block */
	SHM_ARENA_REGION,
};

struct shm_block;
struct shm_arena {
	uint32_t kind; /* enum shm_arena_kind */
	uint32_t pad;
	uint8_t *base, *end; /* of the region */
	uint8_t *soft_end;   /* behind it lies what is kept for promises */
	uint8_t *next;       /* first byte never handed out; the helper reads it */
	uint8_t *ready;      /* granules of 2 MiB below are one page each; the helper's */
	uint8_t *touched;    /* up to here shm_arena_touch() has come */
	uint64_t want;  /* bytes that will be needed soon: shm_arena_expect() */
	uint32_t small_pages, pad1; /* 1: this kernel doesn't collapse pages of a memfd; likewise */
	uint64_t used, limit;
	int64_t fail_in;       /* for tests: the allocation that fails, counted down; 0 = none */
	unsigned arena, cache; /* jemalloc's numbers, of the writer that began it */
	struct shm_block *all; /* of a private arena */
	struct shm_block *list[SHM_ARENA_LISTS];
	uint16_t taken[SHM_ARENA_SMALL / 16 + 1]; /* bytes that jemalloc takes; 0: not asked yet */
};

/* Memory [start, base + bytes) of a region; base is where its mapping begins. -errno. */
int shm_arena_init_region(struct shm_arena *a, uint8_t *base, uint64_t bytes, uint8_t *start);
void shm_arena_init_private(struct shm_arena *a, uint64_t limit);
/* Free every block of a private arena. */
void shm_arena_fini_private(struct shm_arena *a);

/*
 * Large pages. The helper thread calls prepare now and then: it turns some granules beyond the
 * last one in use into pages of 2 MiB, and those before it that it was late for. Where the
 * kernel can't, pages stay small. expect: that many bytes more will be taken at once.
 */
void shm_arena_prepare(struct shm_arena *a);
/* Take the next small pages of what is expected from the kernel, so that whoever fills them does
 * not wait for each. Another thread than the filling one. False: it is far enough ahead. */
bool shm_arena_touch(struct shm_arena *a);
void shm_arena_expect(struct shm_arena *a, uint64_t bytes);

void *shm_alloc(struct shm_arena *a, size_t size); /* not zeroed; NULL: no room */
void shm_free(struct shm_arena *a, void *block, size_t size);
/*
 * Bytes that may still be promised. What lies idle between blocks may have the wrong size for
 * what comes, so the end of the region is kept to make good for promises; once it is touched
 * nothing more is promised. torn: that happened though a quarter of the memory is idle.
 */
uint64_t shm_arena_left(const struct shm_arena *a);
/* Likewise, with what is kept for promises. */
uint64_t shm_arena_left_to_the_end(const struct shm_arena *a);
bool shm_arena_is_torn(const struct shm_arena *a);

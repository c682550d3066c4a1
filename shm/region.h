/*
 * region.h - one generation of the tree's memory
 *
 * A sealed memfd of the configured maximum heap, mapped at one of two fixed windows, so that
 * pointers into it hold in every process (no exec between). gen = counter << 1 | window; the
 * counter starts at 1, so 0 names no generation. Windows: 0x7e8000000000 and 0x7ea000000000,
 * 128 GiB each: free in plain programs, under every sanitizer and under valgrind.
 *
 * Made by the supervisor: mapped read-write (never reserved, never dumped), a second descriptor
 * opened read-only, then sealed FUTURE_WRITE|GROW|SHRINK|SEAL, mode 0600, and the writable
 * descriptor closed. The writer inherits the writable mapping over fork; readers map the read-only
 * descriptor. From then on no process can make another writable mapping, nor write, grow, shrink
 * or punch the file, whatever it opens through /proc.
 * The price: memory is not given back within a generation.
 *
 * Pages stay in memory as long as anybody maps the region or holds its descriptor.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SHM_WINDOWS = 2 };
#define SHM_WINDOW_BYTES ((uint64_t)128 << 30)

/* Note that goes with a descriptor over a worker's socket (SCM_RIGHTS). */
struct shm_region_note {
	uint32_t gen;
	uint32_t pad;
	uint64_t bytes;
};

void *shm_window(uint32_t gen);

/*
 * Supervisor, once, before all else: take `bytes` of both windows for good. From then on nothing
 * else is ever placed there, and regions may be mapped over each other. -EEXIST: something lies
 * there already; -ENOMEM: an address space limit (ulimit -v).
 */
int shm_region_reserve(uint64_t bytes);

/*
 * Supervisor: a new region at the window of gen, replacing what is mapped there. *ro_fd is the
 * descriptor for readers (close-on-exec). 0 or -errno.
 */
int shm_region_create(uint32_t gen, uint64_t bytes, int *ro_fd);

/* Reader: map read-only over the window. -EINVAL: the file is smaller than `bytes`; -errno. */
int shm_region_map_readonly(uint32_t gen, uint64_t bytes, int ro_fd);

/* Anybody: give up what this process maps at the window of gen; the window stays taken. */
void shm_region_drop(uint32_t gen, uint64_t bytes);

/*
 * Memory for one writing process and many readers (regions, board, seats): a memfd of `bytes`,
 * mapped shared and writable at `at` (over what is there) or, if NULL, anywhere; a read-only
 * descriptor in *ro_fd; sealed as above. The address, or NULL with errno.
 */
void *shm_sealed_new(const char *name, void *at, uint64_t bytes, int *ro_fd);
/* Map it read-only over `at`. 0 or -errno. */
int shm_sealed_map_readonly(void *at, uint64_t bytes, int ro_fd);

/*
 * region.h - one generation of the tree's memory
 *
 * A sealed memfd of the configured maximum heap, mapped at one of two fixed windows, so that pointers into it hold in every process (no exec between).
 * gen = counter << 1 | window. Windows: 0x7e8000000000 and 0x7ea000000000, 128 GiB each.
 * Made by the supervisor: mapped read-write (MAP_NORESERVE, MADV_DONTDUMP), a second descriptor re-opened O_RDONLY, then sealed FUTURE_WRITE|GROW|SHRINK; mode 0600 less for other
 * users. The writer inherits the read-write mapping; readers map the O_RDONLY descriptor. Nobody can ever make another writable mapping.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

enum { SHM_WINDOWS = 2 };

/* Note that goes with a descriptor over a worker's socket (SCM_RIGHTS). */
struct shm_region_note {
	uint32_t gen;
	uint32_t pad;
	uint64_t bytes;
};

void *shm_window(uint32_t gen);
/* Supervisor: new region at its window. ro_fd for readers. -errno. Any earlier mapping in this window is replaced. */
int shm_region_create(uint32_t gen, uint64_t bytes, int *ro_fd);
/* Reader: map read-only over the window. Writer, supervisor: drop a window. */
int shm_region_map_readonly(uint32_t gen, uint64_t bytes, int ro_fd);
void shm_region_drop(uint32_t gen, uint64_t bytes);

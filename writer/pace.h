/*
 * pace.h - work beside who must not wait: in short pieces, with rests between
 *
 * A snapshot is a second of processor and hundreds of megabytes of disk. A low priority would be no
 * help: on busy processors it would starve, and versions are kept until it ends. So it rests three
 * times as long as it worked, after half a millisecond of its own processor time, which is far less
 * than a scheduler lets it have at once; and what it writes goes to the disk piece by piece, for a
 * sync of everything at the end would stand before the log's. It rests less, and then not at all,
 * when much would have to be replayed without it, much of the heap is kept for it, or a learner
 * waits for it.
 *
 * Runs in: snapshotter, one thread. `fs` is sto_fs_posix that keeps the pace; valid as long as the
 * pace is.
 */
#pragma once

#include <stdint.h>

#include "shm/board.h"
#include "storage/fs.h"

struct wtr_pace {
	const struct shm_heritage *heritage;
	uint64_t from_us; /* of the thread's processor time: since the last rest */
	uint64_t n;
	struct sto_fs fs;
};

void wtr_pace_init(struct wtr_pace *p, const struct shm_heritage *heritage);

/* A good moment to rest, if it is time. */
void wtr_pace(struct wtr_pace *p);

/* The same, for a moment that comes every microsecond or so. */
static inline void wtr_pace_often(struct wtr_pace *p)
{
	if (++p->n % 32 == 0)
		wtr_pace(p);
}

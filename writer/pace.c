#include "writer/pace.h"

#include <fcntl.h>
#include <time.h>

enum {
	WORK_US = 500,
	REST_TIMES = 3,      /* as long as it worked .. */
	HASTE_REPLAY = 2,    /* .. once, when a recovery had so many times snapCount to replay .. */
	HURRY_REPLAY = 4,    /* .. and not at all when it is so many .. */
	HURRY_SHARE = 16,    /* .. or readers keep old versions for that part of the heap */
	REST_MAX_US = 20000, /* one piece may have taken long */
};

static uint64_t worked_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t rest_times(const struct wtr_pace *p)
{
	const struct shm_writer_stats *stats = &p->heritage->board->stats;
	const struct conf *conf = p->heritage->conf;
	int64_t replay = atomic_load_explicit(&stats->to_replay, memory_order_relaxed);
	int64_t kept = atomic_load_explicit(&stats->retired_bytes, memory_order_relaxed);

	if (atomic_load_explicit(&p->heritage->board->snap_urgent, memory_order_relaxed) ||
	    (uint64_t)kept > conf->heap_max / HURRY_SHARE ||
	    replay > (int64_t)conf->snap_count * HURRY_REPLAY)
		return 0;
	return replay > (int64_t)conf->snap_count * HASTE_REPLAY ? 1 : REST_TIMES;
}

void wtr_pace(struct wtr_pace *p)
{
	uint64_t worked = worked_us() - p->from_us, rest;

	if (worked < WORK_US)
		return;
	rest = worked * rest_times(p);
	if (rest > REST_MAX_US)
		rest = REST_MAX_US;
	if (rest)
		nanosleep(&(struct timespec){.tv_nsec = (long)rest * 1000}, NULL);
	p->from_us += worked;
}

static ssize_t paced_pread(void *self, int fd, void *buf, size_t n, off_t at)
{
	wtr_pace(self);
	return sto_fs_posix.pread(NULL, fd, buf, n, at);
}

static ssize_t paced_pwrite(void *self, int fd, const void *buf, size_t n, off_t at)
{
	ssize_t put = sto_fs_posix.pwrite(NULL, fd, buf, n, at);

	/* Only begun, and whether it worked is what the sync at the end says. */
	if (put > 0)
		(void)sync_file_range(fd, at, put, SYNC_FILE_RANGE_WRITE);
	wtr_pace(self);
	return put;
}

void wtr_pace_init(struct wtr_pace *p, const struct shm_heritage *heritage)
{
	*p = (struct wtr_pace){.heritage = heritage, .fs = sto_fs_posix};
	p->from_us = worked_us();
	p->fs.self = p;
	p->fs.pread = paced_pread;
	p->fs.pwrite = paced_pwrite;
}

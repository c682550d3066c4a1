#include "writer/pace.h"

#include <fcntl.h>
#include <time.h>

enum {
	WORK_US = 500,
	REST_TIMES = 3,
	REST_MAX_US = 20000, /* one piece may have taken long */
	HURRY_SHARE = 16,    /* of the heap: old versions that readers keep */
	HURRY_CHANGES = 5,   /* times snapCount, since it began */
};

static uint64_t worked_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static uint64_t changes(const struct shm_heritage *h)
{
	return (uint64_t)atomic_load_explicit(&h->board->stats.txns, memory_order_relaxed);
}

/* Is it late: because of what is kept for it, or of what a recovery would have to replay? */
static bool is_late(const struct wtr_pace *p)
{
	const struct conf *conf = p->heritage->conf;
	int64_t kept =
	    atomic_load_explicit(&p->heritage->board->stats.retired_bytes, memory_order_relaxed);

	return (uint64_t)kept > conf->heap_max / HURRY_SHARE ||
	       changes(p->heritage) - p->began > (uint64_t)conf->snap_count * HURRY_CHANGES;
}

void wtr_pace(struct wtr_pace *p)
{
	uint64_t worked = worked_us() - p->from_us, rest = worked * REST_TIMES;

	if (worked < WORK_US)
		return;
	if (rest > REST_MAX_US)
		rest = REST_MAX_US;
	if (!is_late(p))
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
	p->began = changes(heritage);
	p->fs.self = p;
	p->fs.pread = paced_pread;
	p->fs.pwrite = paced_pwrite;
}

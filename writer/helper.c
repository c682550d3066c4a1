#include "writer/helper.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "storage/committed.h"
#include "storage/recover.h"

enum { HOUR_MS = 3600 * 1000 };

static int64_t dir_bytes(const char *name)
{
	DIR *dir = opendir(name);
	struct dirent *entry;
	struct stat st;
	int64_t sum = 0;

	if (!dir)
		return 0;
	while ((entry = readdir(dir)))
		if (!fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
		    S_ISREG(st.st_mode))
			sum += st.st_size;
	closedir(dir);
	return sum;
}

static void measure(struct wtr_helper *p, uint64_t now_ms)
{
	struct shm_writer_stats *stats = &p->heritage->board->stats;

	if (now_ms < p->measure_ms)
		return;
	p->measure_ms = now_ms + WTR_MEASURE_MS;
	atomic_store_explicit(&stats->data_dir_bytes, dir_bytes(p->snap_dir), memory_order_relaxed);
	atomic_store_explicit(&stats->log_dir_bytes, dir_bytes(p->log_dir), memory_order_relaxed);
}

static void prepare_log(struct wtr_helper *p)
{
	int err = sto_log_prepare(p->log);
	bool full = sto_log_is_scant(p->log);

	if (full != atomic_exchange(&p->no_room, full)) {
		if (full)
			LOG_W("log dir=%s: no space for the next segment, refusing growth",
			      p->log_dir);
		else
			LOG_I("log dir=%s: space for the next segment again", p->log_dir);
	}
	if (err && err != -ENOSPC)
		LOG_W("log dir=%s prepare: %s", p->log_dir, strerror(-err));
}

/* autopurge.purgeInterval 0 keeps all snapshots, as in ZooKeeper. */
static void purge(struct wtr_helper *p, uint64_t now_ms)
{
	const struct conf *conf = p->heritage->conf;
	int n;

	if (!conf->purge_interval_h || now_ms < p->purge_ms || !atomic_exchange(&p->purge, false))
		return;
	p->purge_ms = now_ms + (uint64_t)conf->purge_interval_h * HOUR_MS;
	n = sto_purge(&sto_fs_posix, p->snap_dir, p->log_dir, conf->purge_retain);
	if (n < 0)
		LOG_W("purge: %s", strerror(-n));
	else if (n)
		LOG_I("purge: %d files deleted", n);
	if (n > 0)
		atomic_fetch_add_explicit(&p->heritage->board->stats.purged, n,
					  memory_order_relaxed);
}

/* A member that starts without the others shows what is known to be committed. */
static void note_committed(struct wtr_helper *p)
{
	const struct conf *conf = p->heritage->conf;
	int64_t zxid = atomic_load(&p->heritage->board->settled_zxid);

	/* If it fails, it is tried again. */
	if (conf->members && conf->read_only_mode && zxid != p->committed_zxid &&
	    !sto_committed_store(&sto_fs_posix, p->snap_dir, zxid))
		p->committed_zxid = zxid;
}

/* Sleep so long, unless stopped. */
static void pause_ms(struct wtr_helper *p, long ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ms * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&p->lock);
	if (!atomic_load(&p->stop))
		pthread_cond_timedwait(&p->wake, &p->lock, &until);
	pthread_mutex_unlock(&p->lock);
}

static void *run(void *arg)
{
	struct wtr_helper *p = arg;

	(void)setpriority(PRIO_PROCESS, 0, 0); /* of a thread: its own */
	pause_ms(p, WTR_HELPER_START_MS);
	while (!atomic_load(&p->stop)) {
		uint64_t now_ms = clock_mono_ms();

		shm_tree_prepare_memory(p->tree);
		prepare_log(p);
		purge(p, now_ms);
		measure(p, now_ms);
		note_committed(p);
		pause_ms(p, WTR_HELPER_MS);
	}
	note_committed(p);
	return NULL;
}

int wtr_helper_start(struct wtr_helper *p)
{
	pthread_condattr_t attr;

	atomic_store(&p->stop, false); /* a member stops and starts it when its log changes */
	atomic_store(&p->purge, true);
	atomic_store(&p->no_room, sto_log_is_scant(p->log));
	if (atomic_load(&p->no_room))
		LOG_W("log dir=%s: no space for a whole segment, refusing growth", p->log_dir);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->wake, &attr);
	pthread_condattr_destroy(&attr);
	return -pthread_create(&p->thread, NULL, run, p);
}

void wtr_helper_purge(struct wtr_helper *p)
{
	atomic_store(&p->purge, true);
}

void wtr_helper_kick(struct wtr_helper *p)
{
	pthread_mutex_lock(&p->lock);
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
}

void wtr_helper_stop(struct wtr_helper *p)
{
	pthread_mutex_lock(&p->lock);
	atomic_store(&p->stop, true);
	pthread_cond_signal(&p->wake);
	pthread_mutex_unlock(&p->lock);
	pthread_join(p->thread, NULL);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
}

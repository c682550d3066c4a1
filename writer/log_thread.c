#include "writer/log_thread.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "shm/wake.h"

enum {
	EXIT_LOG = 10, /* ZooKeeper's TXNLOG_ERROR_TAKING_SNAPSHOT family: storage failed */
	SPIN_US = 40,
	SPIN_CORES = 4,
	IDLE_MS = 1000, /* then the log's end is sealed */
	RETRY_MS = 100,
};

/* Sleep until woken or ms passed. Caller holds the lock. */
static void wait_ms(struct wtr_log *l, long ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += ms % 1000 * 1000000;
	until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_cond_timedwait(&l->wake, &l->lock, &until);
}

static _Noreturn void die(const char *what, int err)
{
	log_always(LOG_ERROR, "log %s: %s; nothing more is acknowledged, recovering", what,
		   strerror(-err));
	_exit(EXIT_LOG);
}

/* Sleep as long as the disk is full. */
static int append(struct wtr_log *l, const struct wtr_batch *b)
{
	int err;

	for (;;) {
		err = sto_log_append(l->log, b->bytes, b->len, b->first_zxid, b->last_zxid);
		if (err != -ENOSPC || atomic_load(&l->stop))
			return err;
		if (!atomic_exchange(&l->full, true))
			LOG_W("log: no space left, writes wait; free some in the log directory");
		pthread_mutex_lock(&l->lock);
		if (!atomic_load(&l->stop))
			wait_ms(l, RETRY_MS);
		pthread_mutex_unlock(&l->lock);
	}
}

/* COMMIT of the batch, as far as this server goes (V1). */
static void committed(struct wtr_log *l, const struct wtr_batch *b, uint64_t took)
{
	struct shm_writer_stats *stats = &l->heritage->board->stats;

	hist_record(&stats->fsync_us, took);
	atomic_fetch_add_explicit(&stats->fsyncs, 1, memory_order_relaxed);
	if (took > (uint64_t)l->heritage->conf->fsync_warn_ms * 1000)
		LOG_W("log: a batch of %zu bytes took %llu ms to reach the disk", b->len,
		      (unsigned long long)took / 1000);
	if (atomic_exchange(&l->full, false))
		LOG_I("log: there is space again");
	atomic_store_explicit(&l->durable_zxid, b->last_zxid, memory_order_release);
}

static void commit(struct wtr_log *l, struct wtr_batch *b)
{
	uint64_t from = clock_mono_us();
	int err = append(l, b);

	if (err == -ENOSPC) /* stopping: never acknowledged, so it never was */
		return;
	if (err)
		die("append", err);
	committed(l, b, clock_mono_us() - from);
	atomic_store_explicit(&l->job, NULL, memory_order_release);
	shm_wake_writer(l->heritage);
}

bool wtr_log_commit(struct wtr_log *l, const struct wtr_batch *b)
{
	uint64_t from = clock_mono_us();
	int err;

	CHECK(!wtr_log_busy(l));
	/* The thread has nothing to do but to seal, which it does under the lock. */
	pthread_mutex_lock(&l->lock);
	if (atomic_exchange(&l->roll, false))
		sto_log_roll(l->log);
	err = sto_log_append(l->log, b->bytes, b->len, b->first_zxid, b->last_zxid);
	pthread_mutex_unlock(&l->lock);
	if (err == -ENOSPC)
		return false;
	if (err)
		die("append", err);
	committed(l, b, clock_mono_us() - from);
	return true;
}

/* Seal the log if nothing came since the last look: then what it ends with is `*last`. */
static void seal(struct wtr_log *l, int64_t *last)
{
	int64_t now = atomic_load_explicit(&l->durable_zxid, memory_order_relaxed);
	int err = now == *last ? sto_log_seal(l->log) : 0;

	if (err && err != -ENOSPC)
		die("seal", err);
	*last = now;
}

/* The next batch, or NULL at the end. Seals the log when nothing came for a while. */
static struct wtr_batch *next_job(struct wtr_log *l)
{
	struct wtr_batch *b;
	int64_t last = -1;

	if (l->spin)
		for (uint64_t until = clock_mono_us() + SPIN_US; clock_mono_us() < until;)
			if ((b = atomic_load_explicit(&l->job, memory_order_acquire)))
				return b;
	pthread_mutex_lock(&l->lock);
	for (;;) {
		/* seq_cst pair with give(): either we see the job, or it sees us asleep. */
		atomic_store(&l->asleep, true);
		b = atomic_load(&l->job);
		if (b || atomic_load(&l->stop))
			break;
		wait_ms(l, IDLE_MS);
		if (!atomic_load(&l->job) && !atomic_load(&l->stop))
			seal(l, &last);
	}
	atomic_store(&l->asleep, false);
	pthread_mutex_unlock(&l->lock);
	return b;
}

static void *run(void *arg)
{
	struct wtr_log *l = arg;
	struct wtr_batch *b;

	(void)setpriority(PRIO_PROCESS, 0, 0); /* of a thread: its own */
	while ((b = next_job(l))) {
		if (atomic_exchange(&l->roll, false))
			sto_log_roll(l->log);
		commit(l, b);
		if (atomic_load(&l->stop))
			break;
	}
	return NULL;
}

int wtr_log_start(struct wtr_log *l, struct sto_log *log, const struct shm_heritage *heritage,
		  int64_t last_zxid)
{
	pthread_condattr_t attr;

	memset(l, 0, sizeof(*l));
	l->log = log;
	l->heritage = heritage;
	l->spin = sysconf(_SC_NPROCESSORS_ONLN) >= SPIN_CORES;
	atomic_store(&l->durable_zxid, last_zxid);
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&l->wake, &attr);
	pthread_condattr_destroy(&attr);
	return -pthread_create(&l->thread, NULL, run, l);
}

static void wake(struct wtr_log *l)
{
	pthread_mutex_lock(&l->lock);
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
}

void wtr_log_give(struct wtr_log *l, struct wtr_batch *b)
{
	CHECK(!wtr_log_busy(l));
	atomic_store(&l->job, b);
	if (atomic_load(&l->asleep))
		wake(l);
}

void wtr_log_roll(struct wtr_log *l)
{
	atomic_store(&l->roll, true);
}

void wtr_log_stop(struct wtr_log *l)
{
	atomic_store(&l->stop, true);
	wake(l);
	pthread_join(l->thread, NULL);
	pthread_cond_destroy(&l->wake);
	pthread_mutex_destroy(&l->lock);
}

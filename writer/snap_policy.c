#include "writer/snap_policy.h"

#include <sys/random.h>

#include "base/log.h"
#include "shm/wake.h"
#include "writer/loop.h"

enum {
	RETRY_MS = 60000,
	RETRY_WAITED_MS = 2000,
	RETAINED_SHARE = 4,
	REST_MS = 1000,   /* between two */
	REST_CHANGES = 2, /* times snapCount more than due: then there is no rest */
};

/* Between half and all of n. */
static uint64_t randomized(uint64_t n)
{
	uint64_t random = 0;

	/* Without random bytes it is the half: only the spreading is lost. */
	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		random = 0;
	return n / 2 + (n > 1 ? random % (n / 2) : 0);
}

static void schedule(struct wtr_loop *l)
{
	const struct conf *conf = l->heritage->conf;

	l->snap_changes = l->core.changes + randomized(conf->snap_count);
	l->snap_bytes = conf->snap_size_limit
			    ? l->core.txn_bytes + randomized(conf->snap_size_limit)
			    : UINT64_MAX;
}

void wtr_snap_begin(struct wtr_loop *l, uint64_t replayed, uint64_t now_ms)
{
	uint64_t most = (uint64_t)l->heritage->conf->snap_count * (1 + REST_CHANGES);

	l->snap_base = l->core.changes - replayed; /* modulo 2^64 */
	schedule(l);
	l->snap_changes -= replayed < l->snap_changes ? replayed : l->snap_changes;
	l->snap_rest_ms = replayed < most ? now_ms + REST_MS : 0;
}

static int retry_ms(const struct wtr_loop *l)
{
	return l->snap_now ? RETRY_WAITED_MS : RETRY_MS;
}

static void ended(struct wtr_loop *l)
{
	struct shm_writer_stats *stats = &l->board->stats;
	int status = atomic_load(&l->board->snap_status);

	l->snap_asked = 0;
	if (!status) {
		l->snap_failed_ms = 0;
		atomic_fetch_add_explicit(&stats->snapshots, 1, memory_order_relaxed);
		l->snap_base = l->snap_from;
		l->snap_rest_ms = l->turn_ms + REST_MS;
		wtr_log_roll(&l->log);
		wtr_helper_purge(&l->helper);
		if (l->ensemble)
			wtr_ensemble_snapshot(l->ensemble);
		if (l->rebuild == WTR_REBUILD_SNAPSHOT)
			l->rebuild = WTR_REBUILD_READY;
		return;
	}
	atomic_fetch_add_explicit(&stats->snapshots_failed, 1, memory_order_relaxed);
	if (l->rebuild == WTR_REBUILD_SNAPSHOT)
		l->rebuild = WTR_REBUILD_WANTED;
	else if (atomic_load(&l->board->snap_urgent))
		l->snap_now = true; /* who waits for it still does */
	LOG_W("snapshot failed, status=%d; next try in %d s", status, retry_ms(l) / 1000);
	l->snap_failed_ms = l->turn_ms;
	l->snap_changes = l->core.changes;
}

static void bound_retained(struct wtr_loop *l)
{
	struct shm_reader *reader = &l->board->reader[l->board->n_workers];
	uint32_t incarnation = atomic_load(&reader->incarnation);

	if (shm_tree_retired_bytes(l->tree) < l->heritage->conf->heap_max / RETAINED_SHARE ||
	    atomic_load(&reader->kill) == incarnation)
		return;
	LOG_W("snapshot holds %llu bytes of old versions: to be killed",
	      (unsigned long long)shm_tree_retired_bytes(l->tree));
	atomic_store(&reader->kill, incarnation);
	shm_wake_supervisor(l->heritage);
}

static bool is_due(const struct wtr_loop *l)
{
	uint64_t most = l->snap_changes + (uint64_t)l->heritage->conf->snap_count * REST_CHANGES;

	if (l->rebuild == WTR_REBUILD_WANTED || l->snap_now || l->core.changes >= most)
		return true;
	return l->turn_ms >= l->snap_rest_ms &&
	       (l->core.changes >= l->snap_changes || l->core.txn_bytes >= l->snap_bytes);
}

void wtr_snap_policy(struct wtr_loop *l)
{
	if (l->snap_asked) {
		if (l->snap_now)
			atomic_store(&l->board->snap_urgent, 1);
		if (atomic_load(&l->board->snap_done) == l->snap_asked)
			ended(l);
		else
			bound_retained(l);
		return;
	}
	if (l->snap_failed_ms && l->turn_ms < l->snap_failed_ms + (uint64_t)retry_ms(l))
		return;
	if (!is_due(l))
		return;
	if (l->rebuild == WTR_REBUILD_WANTED)
		l->rebuild = WTR_REBUILD_SNAPSHOT;
	schedule(l);
	atomic_store(&l->board->snap_urgent, l->snap_now || l->rebuild == WTR_REBUILD_SNAPSHOT);
	l->snap_now = false;
	l->snap_from = l->core.changes;
	l->snap_asked = atomic_load(&l->board->snap_wanted) + 1;
	atomic_store(&l->board->snap_wanted, l->snap_asked);
	shm_wake_supervisor(l->heritage);
}

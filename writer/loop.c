#include "writer/loop.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/log.h"
#include "peers/source.h"
#include "shm/wake.h"
#include "writer/enter.h"
#include "writer/flight.h"
#include "writer/reclaim.h"
#include "writer/service.h"
#include "writer/snap_policy.h"
#include "writer/take.h"
#include "writer/tell.h"

enum {
	STALL_MS = 500,       /* a turn that comes this much late: we did not run */
	HERE_MAX = 64 << 10,  /* bytes of a batch for which the loop itself may wait */
	RECLAIM_WAIT_MS = 20, /* look again whether readers have gone on */
	FULL_MS = 1,          /* look again whether there is room */
	EVENTS_MAX = 32,
	EXIT_EVENTFD = 1,
	EXIT_TORN = 4,
};

/* --- applying ---------------------------------------------------------------------------- */

static void count_commit(struct wtr_loop *l)
{
	if (l->at_log && l->at_log->begun_us)
		hist_record(&l->board->stats.commit_us, clock_mono_us() - l->at_log->begun_us);
	l->at_log = NULL;
}

/*
 * How far the log is durable. While a state is received it is still the log of the old history,
 * whose zxids say nothing of the new one's.
 */
static int64_t durable_zxid(const struct wtr_loop *l)
{
	if (l->core.zab.staged && !l->ensemble->kept)
		return l->core.zab.durable_zxid;
	return wtr_log_durable(&l->log);
}

/* V10. A successor builds the tree anew from the disk, and asks its leader for a state. */
static void doubt(struct wtr_loop *l)
{
	wtr_service_doubt(l->ensemble);
	l->rebuild = WTR_REBUILD_READY;
}

/* A piece of what is committed, so that workers have answers to send, and the disk the next batch,
 * while the rest is applied. True: something was done. */
static bool apply(struct wtr_loop *l)
{
	int64_t durable = durable_zxid(l);

	if (durable > l->core.zab.durable_zxid) {
		count_commit(l);
		wtr_core_durable(&l->core, durable);
	}
	/* If that installed a state, what is behind it is not this tree's. */
	if (l->ensemble && l->ensemble->installed && !WRONG(APPLIED_BEHIND_INSTALL))
		return false;
	if (l->core.doubts)
		return false;
	if (l->core.applied_zxid >= l->core.zab.commit_zxid || !wtr_tell(l))
		return false;
	wtr_core_apply(&l->core);
	if (l->core.doubts)
		doubt(l);
	wtr_tell(l);
	return true;
}

/* To the log thread; or to the disk at once, if nobody wants anything of us before that. */
static bool hand_over(struct wtr_loop *l)
{
	struct wtr_batch *b;

	/* Answers that need no log are told before anything later is logged. */
	if (wtr_log_busy(&l->log) || l->core.out.len)
		return false;
	b = wtr_core_take(&l->core);
	if (!b)
		return false;
	l->at_log = b;
	if (b->len > HERE_MAX || !wtr_take_is_empty(l) || !wtr_log_commit(&l->log, b))
		wtr_log_give(&l->log, b);
	return true;
}

#define SET(field_, value_)                                                                        \
	atomic_store_explicit(&stats->field_, (int64_t)(value_), memory_order_relaxed)

static void show(struct wtr_loop *l)
{
	struct shm_writer_stats *stats = &l->board->stats;
	struct wtr_core *c = &l->core;

	SET(node_count, shm_tree_count(l->tree));
	SET(ephemeral_count, shm_tree_ephemerals(l->tree));
	SET(data_bytes, shm_tree_data_bytes(l->tree));
	SET(session_count, c->sessions.table.count - c->sessions.n_locals);
	SET(local_count, c->sessions.n_locals);
	SET(outstanding, wtr_core_outstanding(c));
	SET(heap_used, shm_tree_used(l->tree));
	SET(retired_bytes, shm_tree_retired_bytes(l->tree));
	SET(txns, c->txns);
	SET(txn_bytes, c->txn_bytes);
	SET(log_bytes, sto_log_bytes_since_open(l->log.log));
	SET(refused, c->refused);
	SET(to_replay, c->changes - l->snap_base);
	SET(digest_zxid, l->told_zxid);
	SET(digest, shm_tree_digest(l->tree));
}

/* --- turns ------------------------------------------------------------------------------- */

/* Is there something that a turn could do now? Looked at with the sleeping flag up. */
static bool has_work(const struct wtr_loop *l)
{
	if (atomic_load(&l->board->stopping))
		return true;
	if (l->core.out.len) /* the commit ring is full: nothing moves before it does */
		return false;
	if (durable_zxid(l) > l->core.zab.durable_zxid ||
	    l->core.applied_zxid < l->core.zab.commit_zxid)
		return true;
	if (!wtr_log_busy(&l->log) && (l->core.to_log || (l->core.fill && l->core.fill->n)))
		return true;
	return wtr_core_ready(&l->core) && !l->log_waits_ms && !wtr_take_is_empty(l);
}

static int sleep_ms(const struct wtr_loop *l)
{
	uint64_t until = wtr_core_deadline_ms(&l->core), now = l->turn_ms;
	uint64_t others = l->ensemble ? wtr_ensemble_deadline_ms(l->ensemble) : until;
	uint64_t ms;

	if (others < until)
		until = others;
	ms = until > now ? until - now : 0;
	if (shm_tree_retired_bytes(l->tree) && ms > RECLAIM_WAIT_MS)
		ms = RECLAIM_WAIT_MS;
	if (l->core.out.len)
		ms = FULL_MS;
	else if (l->log_waits_ms)
		ms = FULL_MS;
	else if (!wtr_core_ready(&l->core) && ms < FULL_MS)
		ms = FULL_MS; /* what is overdue needs room; the log thread wakes us */
	return ms > 1000 ? 1000 : (int)ms;
}

/* Bells and sockets, for at most that long. */
static void hear(struct wtr_loop *l, int ms)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(l->epoll, events, EVENTS_MAX, ms);

	for (int i = 0; i < n; i++) {
		struct peer_source *source = events[i].data.ptr;

		if (source)
			source->ready(source, events[i].events);
		else
			shm_wake_drain(l->heritage->wake_writer);
	}
}

int wtr_loop_rest_ms(struct wtr_loop *l)
{
	int ms = has_work(l) ? 0 : sleep_ms(l);

	if (ms)
		l->expected_ms = l->turn_ms + (uint64_t)ms;
	return ms;
}

static void rest(struct wtr_loop *l)
{
	int ms;

	shm_sleep_begin(&l->board->writer_sleeping);
	ms = wtr_loop_rest_ms(l);
	if (ms)
		hear(l, ms);
	shm_sleep_end(&l->board->writer_sleeping);
}

static void begin_turn(struct wtr_loop *l)
{
	uint64_t now = clock_mono_ms();

	atomic_store_explicit(&l->board->writer_turn_ms, (uint32_t)now | 1, memory_order_relaxed);
	l->turn_ms = now;
	wtr_take_watch(l);
	if (l->in_service || l->ensemble)
		wtr_core_tick(&l->core, now, clock_wall_ms(), now <= l->expected_ms + STALL_MS);
	l->expected_ms = now;
}

static int open_epoll(struct wtr_loop *l)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};

	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0)
		return -errno;
	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, l->heritage->wake_writer, &event) ? -errno : 0;
}

/* What is at the disk is finished and told; what is not there yet never was accepted. */
static void finish(struct wtr_loop *l)
{
	wtr_log_stop(&l->log);
	while (apply(l))
		;
}

/* True: something was done. */
static bool hear_others(struct wtr_loop *l)
{
	bool done;

	if (!l->ensemble)
		return false;
	hear(l, 0);
	done = wtr_ensemble_turn(l->ensemble);
	wtr_leave_read_only(l);
	l->snap_now = l->snap_now || l->ensemble->state_due;
	l->ensemble->state_due = false;
	return done;
}

static void tell_others(struct wtr_loop *l)
{
	if (l->ensemble)
		wtr_ensemble_flush(l->ensemble);
}

bool wtr_loop_goes_on(const struct wtr_loop *l)
{
	return !atomic_load(&l->board->stopping) && l->rebuild != WTR_REBUILD_READY &&
	       !(l->ensemble && l->ensemble->installed);
}

int wtr_loop_begin(struct wtr_loop *l)
{
	int err = open_epoll(l);

	if (err) {
		LOG_E("epoll: %s", strerror(-err));
		return EXIT_EVENTFD;
	}
	l->expected_ms = l->begun_ms = clock_mono_ms();
	return l->ensemble && wtr_ensemble_start(l->ensemble, l->epoll) ? EXIT_EVENTFD : 0;
}

bool wtr_loop_turn(struct wtr_loop *l)
{
	bool busy;

	begin_turn(l);
	busy = hear_others(l);
	if (!wtr_loop_goes_on(l))
		return true;
	if (!l->ensemble && !l->in_service && !wtr_enter_alone(l))
		return false;
	busy = apply(l) || busy;
	if (!wtr_loop_goes_on(l))
		return true;
	if (l->ensemble) {
		wtr_enter_service(l);
		wtr_enter_read_only(l);
	}
	busy = wtr_take(l) || busy;
	tell_others(l);
	busy = (wtr_tell(l) && hand_over(l)) || busy;
	tell_others(l);
	wtr_reclaim(l);
	wtr_snap_policy(l);
	show(l);
	wtr_reclaim_look_at_heap(l);
	return busy;
}

int wtr_loop_end(struct wtr_loop *l)
{
	if (l->ensemble && l->ensemble->installed)
		return EXIT_TORN; /* its log is closed, its tree is the past */
	finish(l);
	if (l->ensemble)
		wtr_ensemble_stop(l->ensemble);
	close(l->epoll);
	return l->rebuild == WTR_REBUILD_READY ? EXIT_TORN : 0;
}

int wtr_loop_run(struct wtr_loop *l)
{
	int status = wtr_loop_begin(l);

	if (status)
		return status;
	while (wtr_loop_goes_on(l))
		if (!wtr_loop_turn(l))
			rest(l);
	return wtr_loop_end(l);
}

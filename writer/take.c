#include "writer/take.h"

#include "base/clock.h"
#include "base/log.h"
#include "shm/wake.h"
#include "writer/ahead.h"
#include "writer/loop.h"

enum {
	TAKE_MAX = 512,     /* records of one worker per turn */
	AWAY_MS = 1200,     /* a worker turns twice a second, else it does not run */
	LOG_WAIT_MS = 5000, /* a segment that takes so long is worth a line */
};

static void give_up_on(struct wtr_loop *l, unsigned i, const char *why)
{
	struct wtr_worker *w = &l->worker[i];

	LOG_E("worker %u: %s: to be killed", i, why);
	w->broken = true;
	atomic_store(&l->board->reader[i].kill, w->incarnation);
	shm_wake_supervisor(l->heritage);
}

/* Did this worker die, or does it stand still? */
static void watch_worker(struct wtr_loop *l, unsigned i)
{
	struct wtr_worker *w = &l->worker[i];
	const struct shm_seat *seat = l->heritage->seat[i];
	uint32_t incarnation = atomic_load(&l->board->reader[i].incarnation);
	uint32_t turn = atomic_load_explicit(&seat->turn_ms, memory_order_relaxed);
	bool away;

	if (incarnation != w->incarnation) {
		wtr_core_worker_died(&l->core, (uint16_t)i);
		shm_ring_rx_attach(&w->ring, l->heritage, i);
		w->incarnation = incarnation;
		w->broken = false;
	}
	if (turn != w->turn_ms) {
		w->turn_ms = turn;
		w->turn_seen_ms = l->turn_ms;
	}
	away = atomic_load(&l->board->reader[i].pid) <= 0 || l->turn_ms - w->turn_seen_ms > AWAY_MS;
	wtr_sessions_worker(&l->core.sessions, i, away);
}

void wtr_take_watch(struct wtr_loop *l)
{
	for (unsigned i = 0; i < l->board->n_workers; i++)
		watch_worker(l, i);
}

/* What the next records of this worker name is fetched while the first of them is prepared. */
static void look_ahead(struct wtr_loop *l, struct wtr_worker *w)
{
	struct wtr_ahead ahead = {.n = 0};
	uint8_t record[WTR_AHEAD_BYTES];
	uint64_t at = 0;
	uint32_t len;

	for (int i = 0; i < WTR_AHEAD; i++) {
		len = shm_ring_glance(&w->ring, &at, record, sizeof(record));
		if (!len)
			break;
		wtr_ahead_request(&l->core, &ahead, record, len);
	}
	wtr_ahead_fetch(&l->core, &ahead);
}

/* True: something was taken. */
static bool take_from(struct wtr_loop *l, unsigned i)
{
	struct wtr_worker *w = &l->worker[i];
	bool taken = false;

	for (int n = 0; n < TAKE_MAX && !w->broken && wtr_core_ready(&l->core); n++) {
		int64_t len;

		if (n % WTR_AHEAD == 0)
			look_ahead(l, w);
		len = shm_ring_pop(&w->ring, l->record, l->record_cap);
		if (!len)
			break;
		taken = true;
		if (len < 0)
			give_up_on(l, i, "its ring can't be");
		else if (wtr_core_request(&l->core, (uint16_t)i, l->record, (uint32_t)len))
			give_up_on(l, i, "it sent what can't be");
		if (l->core.out.len > WTR_OUT_BYTES)
			break;
	}
	if (taken && !w->broken)
		shm_ring_consumed(&w->ring);
	return taken;
}

/* Is it not known yet whether there is a segment for what comes? It is as soon as the helper has
 * tried to make one; without room for it, growth is refused, and the rest of the last segment is
 * kept for what is not growth. */
static bool log_waits(struct wtr_loop *l)
{
	l->core.log_full = atomic_load(&l->helper.no_room) || atomic_load(&l->log.full);
	return !l->core.log_full && sto_log_is_tight(l->log.log, l->core.flight_bytes);
}

/* True: it does. It is a matter of milliseconds; who waits for long finds out why. */
static bool wait_for_log(struct wtr_loop *l)
{
	if (!log_waits(l)) {
		l->log_waits_ms = 0;
		return false;
	}
	if (!l->log_waits_ms) {
		l->log_waits_ms = l->turn_ms | 1;
		l->log_wait_told = false;
		wtr_helper_kick(&l->helper);
	} else if (!l->log_wait_told && l->turn_ms >= l->log_waits_ms + LOG_WAIT_MS &&
		   sto_log_is_tight(l->log.log, 0)) { /* it is not for what is under way */
		l->log_wait_told = true;
		LOG_W("log dir=%s: the next segment is not there after %d s, requests wait for it",
		      l->helper.log_dir, LOG_WAIT_MS / 1000);
	}
	return true;
}

bool wtr_take(struct wtr_loop *l)
{
	bool taken = false;

	if (wait_for_log(l) || l->core.out.len > WTR_OUT_BYTES)
		return false;
	for (unsigned i = 0; i < l->board->n_workers; i++)
		taken = take_from(l, i) || taken;
	if (taken && l->core.fill && l->core.fill->n && !l->core.fill->begun_us)
		l->core.fill->begun_us = clock_mono_us();
	return taken;
}

bool wtr_take_is_empty(const struct wtr_loop *l)
{
	for (unsigned i = 0; i < l->board->n_workers; i++) {
		const struct wtr_worker *w = &l->worker[i];
		uint64_t head =
		    atomic_load_explicit(&l->heritage->seat[i]->up_head, memory_order_acquire);

		if (atomic_load(&l->board->reader[i].incarnation) != w->incarnation)
			return false;
		if (!w->broken && head != w->ring.tail)
			return false;
	}
	return true;
}

#include "writer/service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/log.h"
#include "shm/wake.h"

enum {
	SERVE_STEP_MS = 50,  /* serve_until_ms is not stored more often */
	READ_ONLY_MS = 2000, /* without a leader, at least, before reads alone are served */
	DOUBT_REST_MS = 3600 * 1000,
};

/* No connection may see what comes next. */
void wtr_service_disconnect_all(struct wtr_ensemble *e)
{
	atomic_fetch_add(&e->heritage->board->resets, 1);
	shm_wake_workers(e->heritage, 1);
}

void wtr_service_say(struct wtr_ensemble *e, const char *why)
{
	struct shm_ensemble *view = &e->heritage->board->ensemble;

	snprintf(view->why, sizeof(view->why), "%s", why ? why : "");
}

/* The leader was heard: what is published is fresh enough for that long. */
void wtr_service_extend(struct wtr_ensemble *e)
{
	const struct zab *z = wtr_zab_of(e);
	uint64_t until = e->core->now_ms + wtr_ticks_ms(e, e->core->conf->sync_limit);

	if (z->phase != ZAB_SERVING && z->phase != ZAB_ACTIVE)
		return;
	if (e->core->service == WTR_IDLE || until < e->served_ms + SERVE_STEP_MS)
		return;
	e->served_ms = until;
	atomic_store(&e->heritage->board->serve_until_ms, (int64_t)until);
}

/* A leader says with each transaction what the tree's digest is behind it. One that is not ours is
 * heeded once; then it has to agree, and an hour to pass. */
bool wtr_service_heeds_digest(const struct wtr_ensemble *e)
{
	const struct shm_ensemble *view = &e->heritage->board->ensemble;

	return view->doubt == SHM_DOUBT_NONE && !WRONG(DIFFERENCE_IGNORED) &&
	       (!view->doubted_ms || clock_mono_ms() - (uint64_t)view->doubted_ms > DOUBT_REST_MS);
}

static void count_differences(struct wtr_ensemble *e)
{
	struct shm_ensemble *view = &e->heritage->board->ensemble;

	view->digest_mismatches += e->core->apply.digest_differs - e->digest_differs;
	e->digest_differs = e->core->apply.digest_differs;
}

void wtr_service_begin_doubt(struct wtr_ensemble *e)
{
	struct shm_ensemble *view = &e->heritage->board->ensemble;

	view->doubt = SHM_DOUBT_ASKS;
	view->doubted_ms = (int64_t)clock_mono_ms();
}

void wtr_service_doubt(struct wtr_ensemble *e)
{
	LOG_E("the tree is not the leader's behind zxid=0x%" PRIx64
	      ": %s; it is built anew, and the "
	      "leader will be asked for its state",
	      (uint64_t)e->core->apply.header.zxid,
	      e->core->apply.digest_differs != e->digest_differs ? "its digest differs"
								 : "the transaction does not fit");
	count_differences(e);
	wtr_service_begin_doubt(e);
	wtr_service_say(e, "the tree is not the leader's");
	atomic_store(&e->heritage->board->serve_until_ms, 1);
	wtr_service_disconnect_all(e);
}

void wtr_service_look_at_digest(struct wtr_ensemble *e)
{
	struct shm_ensemble *view = &e->heritage->board->ensemble;
	int32_t differs = e->core->apply.digest_differs - e->digest_differs;

	if (differs)
		LOG_E("the tree differs from the leader's: digests of %d transactions up to "
		      "zxid=0x%" PRIx64 " are not ours; that was heeded before, and is counted now",
		      differs, (uint64_t)e->core->applied_zxid);
	count_differences(e);
	if (e->core->apply.digest_agrees != e->digest_agrees && view->doubt != SHM_DOUBT_NONE) {
		LOG_I("zxid=0x%" PRIx64 ": the tree is the leader's again",
		      (uint64_t)e->core->applied_zxid);
		view->doubt = SHM_DOUBT_NONE;
	}
	e->digest_agrees = e->core->apply.digest_agrees;
	e->core->heeds_digest = wtr_service_heeds_digest(e);
}

/* When read-only service begins, if nothing changes. */
uint64_t wtr_service_reads_from_ms(const struct wtr_ensemble *e)
{
	const struct shm_board *b = e->heritage->board;
	uint64_t tick = e->core->conf->tick_ms, from;
	int64_t until = atomic_load(&b->in_service) ? atomic_load(&b->serve_until_ms) + 1 : 0;

	if (!e->core->conf->read_only_mode || e->core->service != WTR_IDLE ||
	    wtr_zab_of(e)->role != ZAB_LOOKING || !e->core->applied_zxid || until == 1)
		return UINT64_MAX;
	from = e->role_since_ms + (tick > READ_ONLY_MS ? tick : READ_ONLY_MS);
	return from > (uint64_t)until ? from : (uint64_t)until;
}

bool wtr_service_reads(const struct wtr_ensemble *e)
{
	return e->core->now_ms >= wtr_service_reads_from_ms(e);
}

enum wtr_service wtr_service_enters(const struct wtr_ensemble *e)
{
	if (!e->enters || (e->core->applied_zxid < e->enters_zxid && !WRONG(EPOCH_TOLD_EARLY)))
		return WTR_IDLE;
	return wtr_zab_of(e)->role == ZAB_LEADING ? WTR_LEADS : WTR_LEARNS;
}

void wtr_service_entered(struct wtr_ensemble *e)
{
	e->enters = false;
	e->served_ms = 0;
	wtr_service_say(e, "");
	wtr_service_extend(e);
}

/* --- for the operator -------------------------------------------------------------------- */

void wtr_service_show(struct wtr_ensemble *e)
{
	struct shm_ensemble *view = &e->heritage->board->ensemble;
	const struct zab *z = wtr_zab_of(e);
	uint32_t n = 0;

	for (int32_t i = 0; i < z->peers_end && n < SHM_MEMBERS; i++) {
		const struct zab_peer *p = &z->peer[i];
		struct shm_member_view *m = &view->learner[n];
		struct peer_links *links;
		struct peer_link_view link;
		int32_t at;

		if (p->phase < ZAB_PEER_INFO)
			continue;
		links = wtr_links_of(e, i, &at);
		peer_links_view(links, at, &link);
		atomic_store_explicit(&m->sid, p->sid, memory_order_relaxed);
		atomic_store_explicit(&m->flags,
				      SHM_MEMBER_THERE |
					  (p->phase == ZAB_PEER_ACTIVE ? SHM_MEMBER_SYNCED : 0u) |
					  (p->observer ? SHM_MEMBER_OBSERVER : 0u),
				      memory_order_relaxed);
		atomic_store_explicit(&m->acked, p->acked, memory_order_relaxed);
		atomic_store_explicit(&m->queued, (int64_t)link.queued, memory_order_relaxed);
		n++;
	}
	atomic_store_explicit(&view->n_learners, n, memory_order_relaxed);
	atomic_store_explicit(&view->role, SHM_LOOKING + (uint32_t)z->role, memory_order_relaxed);
	atomic_store_explicit(&view->phase, z->phase, memory_order_relaxed);
	atomic_store_explicit(&view->epoch, z->epoch, memory_order_relaxed);
	atomic_store_explicit(&view->leader_sid, z->role == ZAB_LOOKING ? -1 : z->leader_sid,
			      memory_order_relaxed);
	atomic_store_explicit(&view->master_sid, z->role == ZAB_OBSERVING ? e->masters.current : -1,
			      memory_order_relaxed);
	atomic_store_explicit(&view->relays, e->masters.relays, memory_order_relaxed);
	atomic_store_explicit(&view->logged_zxid, z->last_zxid, memory_order_relaxed);
	atomic_store_explicit(&view->durable_zxid, z->durable_zxid, memory_order_relaxed);
	atomic_store_explicit(&view->committed_zxid, z->commit_zxid, memory_order_relaxed);
	atomic_store_explicit(&view->must_sync, z->must_sync, memory_order_relaxed);
}

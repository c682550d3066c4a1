#include "writer/ensemble.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "storage/reader.h"
#include "writer/flight.h"
#include "writer/history.h"
#include "writer/inbox.h"
#include "writer/lead.h"
#include "writer/learn.h"
#include "writer/masters.h"
#include "writer/membership.h"
#include "writer/packets.h"
#include "writer/relay.h"
#include "writer/service.h"

enum {
	EVENTS_PER_TURN = 4096,
	QUEUE_MAX = 512 << 20, /* bytes that may wait for one peer */
	DIFF_MAX = 100 * 1000, /* transactions; a state of a million znodes takes a second */
	FAR_BYTES = 32 << 20,  /* of transactions: so much is always sent rather than a state */
	NODE_BYTES = 80,       /* of a node in a state, beside path and data */
	REMIND_MS = 10000,
};

/* --- what ZAB says ----------------------------------------------------------------------- */

/* It asks for nothing any more: its place may be another's soon. */
static void forget_peer(struct wtr_ensemble *e, int32_t peer)
{
	if (e->masters.relays && peer > 0) {
		wtr_relay_lost(e->core, peer);
		return;
	}
	wtr_inbox_forget(e, peer);
	wtr_leader_lost(e->core, peer);
}

static void close_peer(struct wtr_ensemble *e, int32_t peer)
{
	int32_t at;
	struct peer_links *links = wtr_links_of(e, peer, &at);

	forget_peer(e, peer);
	peer_links_close(links, at);
}

void wtr_ensemble_lost(struct wtr_ensemble *e, int32_t peer)
{
	struct zab_event lost = {.type = ZAB_LOST, .peer = peer};

	forget_peer(e, peer);
	(void)wtr_core_step(e->core, &lost); /* ZAB may have closed, or refused, it itself */
}

void wtr_ensemble_drop(struct wtr_ensemble *e, int32_t peer, const char *why)
{
	int32_t at;
	struct peer_links *links = wtr_links_of(e, peer, &at);

	LOG_W("peer %d: %s", peer, why);
	peer_links_close(links, at);
	wtr_ensemble_lost(e, peer);
}

static void send_one(struct wtr_ensemble *e, const struct zab_send *s)
{
	int32_t at;
	struct peer_links *links = wtr_links_of(e, s->peer, &at);

	switch (s->kind) {
	case ZAB_SEND_PACKET:
		wtr_packet_put(e, s);
		return;
	case ZAB_SEND_RANGE:
		peer_links_put_range(links, at, s->packet.type, s->first, s->last);
		return;
	case ZAB_SEND_HISTORY:
		peer_links_put_history(links, at, s->first, s->last);
		return;
	case ZAB_SEND_STATE:
		LOG_I("peer %d gets the snapshot zxid=0x%" PRIx64, s->peer, s->packet.zxid);
		peer_links_put_state(links, at, s->packet.zxid);
		return;
	case ZAB_SEND_CLOSE:
		close_peer(e, s->peer);
		return;
	}
}

static const char *role_name(enum zab_role role)
{
	static const char *const names[] = {"looking", "leading", "following", "observing"};

	return names[role];
}

static void look(struct wtr_ensemble *e, const char *why)
{
	LOG_I("looking for a leader: %s", why ? why : "start");
	wtr_service_say(e, why ? why : "looking for a leader");
	peer_links_reset(e->links);
	wtr_masters_reset(e);
	wtr_core_retire(e->core);
	e->inbox.len = e->inbox_done = 0;
	e->parked = e->enters = e->state_due = false;
	e->look_due = true;
}

static void take_role(struct wtr_ensemble *e, const char *why)
{
	const struct zab *z = wtr_zab_of(e);

	e->role_since_ms = e->core->now_ms;
	if (z->role == ZAB_LOOKING)
		look(e, why);
	else
		LOG_I("%s sid=%" PRId64 " epoch=%" PRId64 " last=0x%" PRIx64, role_name(z->role),
		      z->leader_sid, z->current_epoch, (uint64_t)z->last_zxid);
}

static void dial(struct wtr_ensemble *e)
{
	const struct conf *conf = e->core->conf;
	uint32_t limit = conf->connect_limit ? conf->connect_limit : conf->init_limit;
	struct quorum_member m;

	if (wtr_masters_choose(e, &m))
		peer_links_dial(e->links, wtr_zab_of(e)->committed, &m, conf->connect_retry_ms,
				(uint32_t)wtr_ticks_ms(e, limit), e->core->now_ms);
}

static void listen_here(struct wtr_ensemble *e)
{
	const struct quorum_member *me =
	    quorum_config_find(wtr_zab_of(e)->committed, wtr_zab_of(e)->opt.sid);
	int err =
	    me ? peer_links_listen(e->links, wtr_zab_of(e)->committed, me, e->core->now_ms) : 0;

	if (err)
		LOG_W("quorum port: %s; trying on", strerror(-err));
}

static void flush_links(struct wtr_ensemble *e)
{
	peer_links_flush(e->links);
	if (e->masters.links)
		peer_links_flush(e->masters.links);
}

/* In the order of zab.h. */
static void carry(void *arg, const struct zab_out *out)
{
	struct wtr_ensemble *e = arg;
	_Atomic uint32_t *doubt = &e->heritage->board->ensemble.doubt;
	bool activated = (out->flags & ZAB_OUT_CONFIG) && wtr_membership_take(e);

	if (e->start.wants_state && !wtr_zab_of(e)->wants_state) {
		e->start.wants_state = false;
		*doubt = SHM_DOUBT_ASKED;
	}
	e->zab_deadline_ms = out->deadline_ms;
	e->delivered = out->flags & ZAB_OUT_DELIVER;
	if (out->flags & ZAB_OUT_UNSTAGE)
		wtr_history_unstage(e);
	if (out->flags & ZAB_OUT_INSTALL) {
		wtr_history_install(e);
		return;
	}
	if (out->flags & ZAB_OUT_EPOCHS)
		wtr_history_store_epochs(e);
	if (out->cut_zxid >= 0)
		wtr_history_cut(e, out->cut_zxid);
	if (out->snapshot_zxid >= 0)
		wtr_history_stage(e, out->snapshot_zxid);
	if (out->append_zxid && e->incoming.len > 0)
		wtr_core_append(e->core, out->append_zxid, e->incoming.data,
				(uint32_t)e->incoming.len);
	for (uint32_t i = 0; i < out->n_send; i++)
		send_one(e, &out->send[i]);
	if (out->flags & ZAB_OUT_STATE)
		e->state_due = true;
	if (out->flags & ZAB_OUT_SERVE) {
		e->enters = true;
		e->enters_zxid = wtr_zab_of(e)->decided_zxid;
		wtr_masters_found(e);
		peer_elector_serving(e->elector, e->core->now_ms, wtr_zab_of(e)->epoch);
	}
	if (out->flags & ZAB_OUT_ROLE)
		e->appointed = activated ? e->designated : -1;
	e->designated = -1;
	if (activated)
		flush_links(e); /* what says so leaves before we do */
	if (out->flags & ZAB_OUT_ROLE)
		take_role(e, out->why);
	else if (out->why)
		LOG_W("a learner is dropped: %s", out->why);
	if (out->flags & ZAB_OUT_CONNECT)
		dial(e);
	if ((out->flags & ZAB_OUT_LISTEN) && wtr_zab_of(e)->role == ZAB_FOLLOWING)
		wtr_masters_listen(e);
	else if (out->flags & ZAB_OUT_LISTEN)
		listen_here(e);
}

/* --- what others say --------------------------------------------------------------------- */

static void learner_deliver(struct wtr_ensemble *e, const struct quorum_packet *p)
{
	struct quorum_revalidated answer;
	int32_t observer = 0;

	if (p->type == QUORUM_PING) {
		wtr_learner_ping(e->core, p->zxid);
	} else if (p->type == QUORUM_SYNC) {
		observer = wtr_learner_synced(e->core);
		if (observer)
			wtr_masters_synced(e, observer);
	} else if (p->type == QUORUM_REVALIDATE && !quorum_revalidated_decode(p->data, &answer)) {
		observer = wtr_learner_answered(e->core, &answer);
		if (observer)
			wtr_masters_answered(e, observer, p->zxid, &answer);
	}
}

/* False: it has to wait, and everything behind it. */
static bool packet(struct wtr_ensemble *e, const struct peer_link_event *event)
{
	struct zab_packet p;
	struct zab_event receive = {.type = ZAB_RECEIVE, .peer = event->peer, .packet = &p};
	bool leads = wtr_zab_of(e)->role == ZAB_LEADING;
	int err;

	e->incoming = jute_null;
	if (wtr_packet_decode(e, &event->packet, &p)) {
		wtr_ensemble_drop(e, event->peer, "a packet that can't be decoded");
		return true;
	}
	if (e->incoming.len > 0 && !wtr_core_append_ready(e->core))
		return false;
	e->delivered = false;
	err = wtr_core_step(e->core, &receive);
	e->incoming = jute_null;
	if (err == -EBUSY)
		return false;
	if (err || !e->delivered || e->installed)
		return true;
	if (leads)
		wtr_inbox_deliver(e, event->peer, &event->packet);
	else
		learner_deliver(e, &event->packet);
	return true;
}

static bool link_event(struct wtr_ensemble *e, const struct peer_link_event *event)
{
	struct zab_event connected = {.type = ZAB_CONNECTED, .peer = event->peer};

	switch (event->type) {
	case PEER_LINK_CONNECTED:
		if (wtr_core_step(e->core, &connected))
			wtr_ensemble_drop(e, event->peer, "no place for it");
		return true;
	case PEER_LINK_LOST:
		wtr_ensemble_lost(e, event->peer);
		return true;
	case PEER_LINK_STATE:
		wtr_history_staged(e);
		return true;
	case PEER_LINK_PACKET:
		return packet(e, event);
	}
	return true;
}

static bool take_events(struct wtr_ensemble *e)
{
	bool done = false;

	for (int i = 0; i < EVENTS_PER_TURN && !e->installed && !e->ready_due; i++) {
		if (!e->parked && !peer_links_next(e->links, &e->event))
			break;
		e->parked = !link_event(e, &e->event);
		if (e->parked)
			break;
		done = true;
	}
	return done;
}

/* --- elections, time --------------------------------------------------------------------- */

/* The elector says whom it reaches; a member without a vote does not help those. */
static void remind(struct wtr_ensemble *e)
{
	uint64_t now = e->core->now_ms;

	if (!wtr_zab_of(e)->must_sync || now < e->remind_ms)
		return;
	if (e->remind_ms)
		LOG_W("no leader yet, and this member has no vote: its history was damaged "
		      "(version-2/damaged). A quorum of the others has to be up, with their own "
		      "histories; if they can't be, see \"Damage\" in operations.md");
	e->remind_ms = now + REMIND_MS;
}

static void elections(struct wtr_ensemble *e)
{
	struct zab *z = wtr_zab_of(e);
	struct zab_event elected = {.type = ZAB_ELECTED};
	struct zab_vote vote;

	if (z->role != ZAB_LOOKING)
		return;
	wtr_membership_hear(e);
	if (e->look_due && zab_drained(z) && !atomic_load(&e->log->full)) {
		e->look_due = false;
		wtr_membership_tell(e);
		if (wtr_membership_appoint(e))
			return;
		vote = zab_vote(z);
		peer_elector_look(e->elector, e->core->now_ms, vote.zxid, vote.epoch);
	}
	remind(e);
	if (e->look_due || !peer_elector_decided(e->elector, &elected.sid))
		return;
	atomic_fetch_add_explicit(&e->heritage->board->ensemble.elections, 1, memory_order_relaxed);
	if (wtr_core_step(e->core, &elected))
		e->look_due = true;
}

/* --- turns ------------------------------------------------------------------------------- */

/* What the helper has deleted can't be sent to anybody any more. */
static void heed_purge(struct wtr_ensemble *e)
{
	const struct shm_writer_stats *stats = &e->heritage->board->stats;
	int64_t purged = atomic_load_explicit(&stats->purged, memory_order_relaxed);

	if (purged == e->purged || wtr_zab_of(e)->staged)
		return;
	e->purged = purged;
	wtr_history_trim(e);
}

bool wtr_ensemble_turn(struct wtr_ensemble *e)
{
	uint64_t now = e->core->now_ms;
	bool done;

	wtr_service_look_at_digest(e);
	peer_elector_tick(e->elector, now);
	peer_links_tick(e->links, now);
	if (e->masters.links)
		peer_links_tick(e->masters.links, now);
	done = take_events(e);
	if (e->installed)
		return true;
	done = wtr_masters_take(e) || done;
	if (e->ready_due) {
		e->ready_due = false;
		CHECK(wtr_core_step(e->core, &(struct zab_event){.type = ZAB_READY}) == 0);
		done = true;
	}
	if (now >= e->zab_deadline_ms)
		(void)wtr_core_step(e->core, &(struct zab_event){.type = ZAB_TIMEOUT});
	elections(e);
	heed_purge(e);
	done = wtr_inbox_open(e) || done;
	wtr_service_extend(e);
	wtr_service_show(e);
	return done;
}

void wtr_ensemble_flush(struct wtr_ensemble *e)
{
	struct wtr_buf *forward = &e->core->forward;

	if (forward->len)
		peer_links_put(e->links, 0, forward->bytes, forward->len);
	forward->len = 0;
	flush_links(e);
}

uint64_t wtr_ensemble_deadline_ms(const struct wtr_ensemble *e)
{
	uint64_t at = e->zab_deadline_ms, links = peer_links_deadline_ms(e->links),
		 elector = peer_elector_deadline_ms(e->elector),
		 reads = wtr_service_reads_from_ms(e),
		 observers =
		     e->masters.links ? peer_links_deadline_ms(e->masters.links) : UINT64_MAX;

	if (wtr_masters_wait(e))
		return e->core->now_ms;
	if (observers < at)
		at = observers;
	if (reads < at)
		at = reads;
	if (links < at)
		at = links;
	return elector < at ? elector : at;
}

/*
 * To whom has a state fewer bytes than what is missing? As applying a transaction takes more than
 * loading a node, half of them are enough. ZooKeeper has a snapshotSizeFactor of a third, of files.
 */
static int64_t far_zxid(const struct wtr_ensemble *e)
{
	const struct shm_tree *t = e->core->tree;
	uint64_t most = (shm_tree_data_bytes(t) + NODE_BYTES * (uint64_t)shm_tree_count(t)) / 2;

	most = most > FAR_BYTES ? most : FAR_BYTES;
	return wtr_marks_far(&e->marks, e->core->txn_bytes, most);
}

void wtr_ensemble_snapshot(struct wtr_ensemble *e)
{
	struct zab_event event = {.type = ZAB_STATE, .zxid = sto_snap_newest(e->fs, e->snap_dir)};

	event.far_zxid = far_zxid(e);
	wtr_marks_add(&e->marks, e->core->applied_zxid, e->core->txn_bytes);
	if (event.zxid >= 0)
		(void)wtr_core_step(e->core, &event);
	wtr_history_trim(e);
}

/* --- life -------------------------------------------------------------------------------- */

int wtr_ensemble_recover(struct wtr_ensemble *e, struct wtr_recovery *r,
			 const struct sto_member *member, int64_t settled_zxid)
{
	const struct conf *conf = r->conf;
	int64_t snapshot = r->found.snapshot_zxid > 0 ? r->found.snapshot_zxid : 0;
	int err = wtr_membership_load(e, conf);

	e->snap_dir = r->snap_dir;
	e->log_dir = r->log_dir;
	e->core->fuzzy_zxid = member->fuzzy_zxid;
	if (!err)
		err = wtr_history_read(e, snapshot);
	if (!err)
		err = wtr_membership_write(e, r);
	if (err) {
		log_always(LOG_ERROR, "history of the member: %s", strerror(-err));
		return err;
	}
	if ((r->snapshot_differs || r->apply.digest_differs) && wtr_service_heeds_digest(e))
		wtr_service_begin_doubt(e);
	e->start =
	    (struct zab_start){.accepted_epoch = member->accepted_epoch,
			       .current_epoch = member->current_epoch,
			       .committed_zxid = snapshot,
			       .state_zxid = snapshot,
			       .history = &e->history,
			       .must_sync = member->must_sync,
			       .wants_state = e->heritage->board->ensemble.doubt == SHM_DOUBT_ASKS};
	if (settled_zxid > snapshot)
		e->start.committed_zxid = settled_zxid;
	/* The start of an epoch was published, of which nothing is logged. */
	if (e->start.committed_zxid > zab_history_last(&e->history))
		e->start.committed_zxid = zab_history_last(&e->history);
	return 0;
}

static const uint8_t *entry(void *arg, int64_t zxid, uint32_t *len)
{
	struct wtr_ensemble *e = arg;

	return wtr_core_entry(e->core, zxid, len);
}

static int start_links(struct wtr_ensemble *e, int epoll)
{
	const struct conf *conf = e->core->conf;
	struct peer_links_options options = {
	    .epoll = epoll,
	    .fs = e->fs,
	    .snap_dir = e->snap_dir,
	    .log_dir = e->log_dir,
	    .data_max = conf->max_buffer + conf->max_buffer_extra,
	    .queue_max = QUEUE_MAX,
	    .stall_ms = (uint32_t)wtr_ticks_ms(e, conf->sync_limit),
	    .listen_on_all = conf->listen_on_all,
	    .entry = entry,
	    .arg = e,
	};

	e->links = peer_links_new(&options);
	return e->links ? wtr_masters_start(e, &options) : -errno;
}

static int start_elector(struct wtr_ensemble *e, int epoll)
{
	const struct conf *conf = e->core->conf;
	enum quorum_role role = wtr_membership_observes(e) ? QUORUM_OBSERVER : QUORUM_PARTICIPANT;
	struct peer_elector_options options = {
	    .fle = fle_defaults(conf->sid, role, clock_mono_us() ^ (uint64_t)conf->sid << 48),
	    .epoll = epoll,
	    .connect_ms = conf->election_connect_ms,
	    .hello_ms = conf->election_hello_ms,
	    .bind_retries = conf->election_bind_retries,
	    .listen_on_all = conf->listen_on_all,
	    .several = conf->several_addresses,
	};

	options.fle.wait_min_ms = conf->vote_min_ms;
	options.fle.wait_max_ms = conf->vote_max_ms;
	options.fle.observer_delay_max_ms = conf->observer_delay_ms;
	options.fle.reconfig = conf->reconfig_enabled;
	e->told[0] = e->committed;
	e->told[1] = e->last_seen;
	e->elector = peer_elector_new(&options, e->committed, e->last_seen, e->core->now_ms);
	return e->elector ? 0 : -errno;
}

static void start_zab(struct wtr_ensemble *e)
{
	const struct conf *conf = e->core->conf;
	struct zab_options options = {.sid = conf->sid,
				      .observer = wtr_membership_observes(e),
				      .serves_observers = conf->observer_master_port > 0,
				      .rejoin_step_down = true,
				      .tick_ms = conf->tick_ms,
				      .init_limit = conf->init_limit,
				      .sync_limit = conf->sync_limit,
				      .diff_max = DIFF_MAX,
				      .committed = e->committed,
				      .last_seen = e->last_seen,
				      .first = e->first};
	struct zab_event start = {.type = ZAB_START, .start = &e->start};

	zab_init(wtr_zab_of(e), &options);
	CHECK(wtr_core_step(e->core, &start) == 0);
	wtr_ensemble_snapshot(e);
}

int wtr_ensemble_start(struct wtr_ensemble *e, int epoll)
{
	int err = start_links(e, epoll);

	if (!err)
		err = start_elector(e, epoll);
	if (err) {
		log_always(LOG_ERROR, "ports of the ensemble: %s", strerror(-err));
		return err;
	}
	CHECK(e->inbox_max > 0);
	e->core->carry = carry;
	e->core->carrier = e;
	e->zab_deadline_ms = UINT64_MAX;
	e->designated = e->appointed = -1;
	e->role_since_ms = e->core->now_ms;
	start_zab(e);
	look(e, NULL);
	return 0;
}

void wtr_ensemble_stop(struct wtr_ensemble *e)
{
	if (e->links)
		peer_links_free(e->links);
	if (e->masters.links)
		peer_links_free(e->masters.links);
	if (e->elector)
		peer_elector_free(e->elector);
	wtr_configs_keep(&e->core->configs, NULL, 0);
	wtr_buf_fini(&e->inbox);
}

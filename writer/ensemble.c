#include "writer/ensemble.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/log.h"
#include "shm/wake.h"
#include "storage/reader.h"
#include "writer/answers.h"
#include "writer/flight.h"
#include "writer/lead.h"
#include "writer/learn.h"
#include "writer/members.h"

enum {
	EVENTS_PER_TURN = 4096,
	EXIT_STORAGE = 10,
	QUEUE_MAX = 512 << 20, /* bytes that may wait for one peer */
	DIFF_MAX = 100 * 1000, /* transactions; a state of a million znodes takes a second */
	SERVE_STEP_MS = 50,    /* serve_until_ms is not stored more often */
	READ_ONLY_MS = 2000,   /* without a leader, at least, before reads alone are served */
	DOUBT_REST_MS = 3600 * 1000,
	REMIND_MS = 10000,
};

static struct zab *zab_of(const struct wtr_ensemble *e)
{
	return &e->core->zab;
}

static uint64_t ticks_ms(const struct wtr_ensemble *e, uint32_t n)
{
	return (uint64_t)e->core->conf->tick_ms * n;
}

/* What is written here must be; else nobody knows what the disk has. */
static void must(const char *what, int err)
{
	if (!err)
		return;
	log_always(LOG_ERROR, "%s: %s; recovering", what, strerror(-err));
	_exit(EXIT_STORAGE);
}

/* --- the disk ---------------------------------------------------------------------------- */

static struct sto_member member_now(const struct wtr_ensemble *e)
{
	const struct zab *z = zab_of(e);

	return (struct sto_member){z->accepted_epoch, z->current_epoch, z->must_sync,
				   e->core->fuzzy_zxid};
}

/* Nobody uses the log that was. */
static void rest_log(struct wtr_ensemble *e)
{
	wtr_helper_stop(e->helper);
	wtr_log_stop(e->log);
}

/* The log ends at zxid; from now on `log` is it. */
static void run_log(struct wtr_ensemble *e, struct sto_log *log, int64_t zxid)
{
	must("log thread", wtr_log_start(e->log, log, e->heritage, zxid));
	e->helper->log = log;
	must("helper thread", wtr_helper_start(e->helper));
}

static struct sto_log *open_log(struct wtr_ensemble *e, const char *dir, int64_t zxid)
{
	struct sto_log *log;

	must("log open", sto_log_open(&log, e->fs, dir, zxid, &e->log_options));
	return log;
}

static void cut(struct wtr_ensemble *e, int64_t zxid)
{
	struct sto_member m = member_now(e);

	LOG_I("cutting the log behind zxid=0x%" PRIx64 ": its leader never had the rest", zxid);
	rest_log(e);
	must("log close", sto_log_close(e->log->log));
	must("log cut", sto_history_cut(e->fs, e->snap_dir, e->log_dir, &m, zxid));
	run_log(e, open_log(e, e->log_dir, zxid), zxid);
	wtr_core_cut(e->core, zxid);
	e->ready_due = true;
}

static void stage(struct wtr_ensemble *e, int64_t zxid)
{
	LOG_I("receiving a snapshot of the leader, zxid=0x%" PRIx64, zxid);
	wtr_core_stage(e->core);
	peer_links_receive_state(e->links, zxid);
}

/* The snapshot is staged: what comes behind it goes to a log beside it. */
static void staged(struct wtr_ensemble *e)
{
	char dir[WTR_DIR_MAX + 8];

	rest_log(e);
	e->kept = e->log->log;
	snprintf(dir, sizeof(dir), "%s/staged", e->log_dir);
	run_log(e, open_log(e, dir, zab_of(e)->history.base), zab_of(e)->history.base);
	e->ready_due = true;
}

static void unstage(struct wtr_ensemble *e)
{
	peer_links_reset(e->links); /* its thread writes there */
	if (e->kept) {
		rest_log(e);
		(void)sto_log_close(e->log->log);
		run_log(e, e->kept, zab_of(e)->last_zxid);
		e->kept = NULL;
	}
	must("stage", sto_stage_discard(e->fs, e->snap_dir, e->log_dir));
	wtr_core_unstage(e->core);
}

/* No connection may see what comes next. */
static void disconnect_all(struct wtr_ensemble *e)
{
	atomic_fetch_add(&e->heritage->board->resets, 1);
	shm_wake_workers(e->heritage, 1);
}

static void install(struct wtr_ensemble *e)
{
	struct sto_member m = member_now(e);

	/* All that Apache's leaders applied while they wrote it down came before NEWLEADER. */
	m.fuzzy_zxid = zab_of(e)->initial_zxid;
	rest_log(e);
	must("staged log", sto_log_close(e->log->log));
	(void)sto_log_close(e->kept);
	disconnect_all(e);
	must("install",
	     sto_stage_install(e->fs, e->snap_dir, e->log_dir, &m, zab_of(e)->history.base));
	LOG_I("the leader's snapshot zxid=0x%" PRIx64 " is ours now%s", zab_of(e)->history.base,
	      e->start.must_sync ? "; this member votes again" : "");
	e->installed = true;
}

/* --- the membership ---------------------------------------------------------------------- */

/* Free the configurations that nobody refers to. */
static void forget_configs(struct wtr_ensemble *e)
{
	const struct zab *z = zab_of(e);
	const struct quorum_config *const used[] = {
	    z->committed, z->last_seen, z->proposed, e->committed,       e->last_seen,
	    e->told[0],   e->told[1],   e->first,    e->core->config_due};

	wtr_configs_keep(&e->core->configs, used, sizeof(used) / sizeof(used[0]));
}

static void tell_elector(struct wtr_ensemble *e)
{
	const struct zab *z = zab_of(e);

	if (e->told[0] == e->committed && e->told[1] == e->last_seen)
		return;
	peer_elector_config(e->elector, e->core->now_ms, e->committed, e->last_seen,
			    z->opt.observer ? QUORUM_OBSERVER : QUORUM_PARTICIPANT);
	e->told[0] = e->committed;
	e->told[1] = e->last_seen;
}

/* ZAB has other configurations: store them. True: another one is in force. */
static bool take_configs(struct wtr_ensemble *e)
{
	const struct zab *z = zab_of(e);
	const struct quorum_config *next = z->last_seen;
	const char *file = e->core->conf->file;
	bool activated = z->committed != e->committed;
	int err = 0;

	if (next && next->version <= z->committed->version)
		next = NULL;
	if (next && next != e->last_seen)
		err = wtr_members_store_next(file, next);
	if (activated && !err)
		err = wtr_members_store(file, z->committed, z->opt.sid);
	if (!next && !err)
		err = wtr_members_drop_next(file);
	if (err)
		LOG_E("configuration version=%" PRIx64 " can't be kept beside %s: %s; the next "
		      "start begins with an older one",
		      (uint64_t)(next ? next : z->committed)->version, file, strerror(-err));
	e->committed = z->committed;
	e->last_seen = next;
	if (!activated)
		return false;
	LOG_I("configuration version=%" PRIx64 " servers=%u voters=%u is in force",
	      (uint64_t)e->committed->version, e->committed->n_members, e->committed->n_voters);
	e->core->config_due = e->committed;
	tell_elector(e);
	return true;
}

/* Peers of an ensemble that went on without us told a newer one, while we look. */
static void hear_config(struct wtr_ensemble *e)
{
	const struct quorum_config *heard = peer_elector_heard_config(e->elector);
	struct quorum_config *copy;
	struct zab_event event = {.type = ZAB_CONFIG};

	if (!heard)
		return;
	forget_configs(e);
	copy = wtr_configs_new(&e->core->configs);
	if (!copy)
		return;
	*copy = *heard;
	event.config = copy;
	if (!wtr_core_step(e->core, &event))
		return;
	e->told[0] = NULL; /* it is no news any more */
	tell_elector(e);
}

/* The leader that the activated configuration names: no election. False: there is none. */
static bool appoint(struct wtr_ensemble *e)
{
	const struct zab *z = zab_of(e);
	struct zab_event elected = {.type = ZAB_ELECTED, .sid = e->appointed};
	bool self = e->appointed == z->opt.sid;

	e->appointed = -1;
	if (elected.sid < 0 || !quorum_config_is_voter(z->committed, elected.sid) ||
	    (self && z->opt.observer))
		return false;
	peer_elector_appoint(e->elector, e->core->now_ms,
			     self              ? FLE_LEADING
			     : z->opt.observer ? FLE_OBSERVING
					       : FLE_FOLLOWING,
			     elected.sid, zab_vote(z).zxid);
	return wtr_core_step(e->core, &elected) == 0;
}

/* --- what ZAB says ----------------------------------------------------------------------- */

static void put_config(struct jute_out *out, const struct quorum_config *c, int32_t type,
		       int64_t zxid)
{
	static char text[QUORUM_CONFIG_TEXT_MAX];

	quorum_packet_put(out, type, zxid, text, quorum_config_print(c, text, sizeof(text)));
}

static void put_activate(struct wtr_ensemble *e, struct jute_out *out, const struct zab_packet *p)
{
	struct quorum_activate activate = {.leader_sid = p->sid, .txn = jute_null};
	uint32_t len = 0;

	e->designated = p->sid;
	if (p->type == QUORUM_INFORMANDACTIVATE) {
		/* Decided in this step, so not applied yet. */
		const uint8_t *entry = wtr_core_entry(e->core, p->zxid, &len);

		CHECK(entry != NULL);
		activate.txn = jute_buf_of(entry, len);
	}
	quorum_put_activate(out, p->type, p->zxid, &activate);
}

static void put_packet(struct wtr_ensemble *e, const struct zab_send *s)
{
	static uint8_t bytes[QUORUM_CONFIG_TEXT_MAX + 256];
	const struct zab_packet *p = &s->packet;
	struct jute_out out = jute_out_of(bytes, sizeof(bytes));
	struct quorum_learner_info info = {p->sid, QUORUM_PROTOCOL_VERSION, p->config_version};

	switch (p->type) {
	case QUORUM_FOLLOWERINFO:
	case QUORUM_OBSERVERINFO:
		quorum_put_learner_info(&out, p->type, zab_epoch_of(p->zxid), &info);
		break;
	case QUORUM_LEADERINFO:
		quorum_put_leader_info(&out, zab_epoch_of(p->zxid));
		break;
	case QUORUM_ACKEPOCH:
		quorum_put_ack_epoch(&out, p->zxid, p->current_epoch);
		break;
	case QUORUM_NEWLEADER:
		put_config(&out, p->config, p->type, p->zxid);
		break;
	case QUORUM_COMMITANDACTIVATE:
	case QUORUM_INFORMANDACTIVATE:
		put_activate(e, &out, p);
		break;
	default:
		quorum_packet_put(&out, p->type, p->zxid, NULL, 0);
	}
	CHECK(!out.failed);
	peer_links_put(e->links, s->peer, bytes, jute_size(&out, bytes));
}

static void send_one(struct wtr_ensemble *e, const struct zab_send *s)
{
	switch (s->kind) {
	case ZAB_SEND_PACKET:
		put_packet(e, s);
		return;
	case ZAB_SEND_RANGE:
		peer_links_put_range(e->links, s->peer, s->packet.type, s->first, s->last);
		return;
	case ZAB_SEND_HISTORY:
		peer_links_put_history(e->links, s->peer, s->first, s->last);
		return;
	case ZAB_SEND_STATE:
		LOG_I("peer %d gets the snapshot zxid=0x%" PRIx64, s->peer, s->packet.zxid);
		peer_links_put_state(e->links, s->peer, s->packet.zxid);
		return;
	case ZAB_SEND_CLOSE:
		wtr_leader_lost(e->core, s->peer);
		peer_links_close(e->links, s->peer);
		return;
	}
}

static const char *role_name(enum zab_role role)
{
	static const char *const names[] = {"looking", "leading", "following", "observing"};

	return names[role];
}

static void say_why(struct wtr_ensemble *e, const char *why)
{
	struct shm_ensemble *view = &e->heritage->board->ensemble;

	snprintf(view->why, sizeof(view->why), "%s", why ? why : "");
}

static void look(struct wtr_ensemble *e, const char *why)
{
	LOG_I("looking for a leader: %s", why ? why : "start");
	say_why(e, why ? why : "looking for a leader");
	peer_links_reset(e->links);
	wtr_core_retire(e->core);
	e->inbox.len = e->inbox_done = 0;
	e->parked = e->enters = e->state_due = false;
	e->look_due = true;
}

static void take_role(struct wtr_ensemble *e, const char *why)
{
	const struct zab *z = zab_of(e);

	e->role_since_ms = e->core->now_ms;
	if (z->role == ZAB_LOOKING)
		look(e, why);
	else
		LOG_I("%s sid=%" PRId64 " epoch=%" PRId64 " last=0x%" PRIx64, role_name(z->role),
		      z->leader_sid, z->current_epoch, (uint64_t)z->last_zxid);
}

static void dial(struct wtr_ensemble *e)
{
	const struct zab *z = zab_of(e);
	const struct conf *conf = e->core->conf;
	const struct quorum_member *m = quorum_config_find(z->committed, z->leader_sid);
	uint32_t limit = conf->connect_limit ? conf->connect_limit : conf->init_limit;

	if (m)
		peer_links_dial(e->links, z->committed, m, conf->connect_retry_ms,
				(uint32_t)ticks_ms(e, limit), e->core->now_ms);
}

static void listen_here(struct wtr_ensemble *e)
{
	const struct quorum_member *me =
	    quorum_config_find(zab_of(e)->committed, zab_of(e)->opt.sid);
	int err = me ? peer_links_listen(e->links, zab_of(e)->committed, me, e->core->now_ms) : 0;

	if (err)
		LOG_W("quorum port: %s; trying on", strerror(-err));
}

/* In the order of zab.h. */
static void carry(void *arg, const struct zab_out *out)
{
	struct wtr_ensemble *e = arg;
	struct sto_member m = member_now(e);
	_Atomic uint32_t *doubt = &e->heritage->board->ensemble.doubt;
	bool activated = (out->flags & ZAB_OUT_CONFIG) && take_configs(e);

	if (e->start.wants_state && !zab_of(e)->wants_state) {
		e->start.wants_state = false;
		*doubt = SHM_DOUBT_ASKED;
	}
	e->zab_deadline_ms = out->deadline_ms;
	e->delivered = out->flags & ZAB_OUT_DELIVER;
	if (out->flags & ZAB_OUT_UNSTAGE)
		unstage(e);
	if (out->flags & ZAB_OUT_INSTALL) {
		install(e);
		return;
	}
	if (out->flags & ZAB_OUT_EPOCHS)
		must("epochs", sto_member_store(e->fs, e->snap_dir, &m));
	if (out->cut_zxid >= 0)
		cut(e, out->cut_zxid);
	if (out->snapshot_zxid >= 0)
		stage(e, out->snapshot_zxid);
	if (out->append_zxid && e->incoming.len > 0)
		wtr_core_append(e->core, out->append_zxid, e->incoming.data,
				(uint32_t)e->incoming.len);
	for (uint32_t i = 0; i < out->n_send; i++)
		send_one(e, &out->send[i]);
	if (out->flags & ZAB_OUT_STATE)
		e->state_due = true;
	if (out->flags & ZAB_OUT_SERVE) {
		e->enters = true;
		e->enters_zxid = zab_of(e)->decided_zxid;
		peer_elector_serving(e->elector, e->core->now_ms, zab_of(e)->epoch);
	}
	if (out->flags & ZAB_OUT_ROLE)
		e->appointed = activated ? e->designated : -1;
	e->designated = -1;
	if (activated)
		peer_links_flush(e->links); /* what says so leaves before we do */
	if (out->flags & ZAB_OUT_ROLE)
		take_role(e, out->why);
	else if (out->why)
		LOG_W("a learner is dropped: %s", out->why);
	if (out->flags & ZAB_OUT_CONNECT)
		dial(e);
	if (out->flags & ZAB_OUT_LISTEN)
		listen_here(e);
}

/* --- what others say --------------------------------------------------------------------- */

/* A configuration that ZAB has to know of: *to, if it is not older than the one in force. */
static int config_of(struct wtr_ensemble *e, struct jute_buf text, const struct quorum_config **to)
{
	struct quorum_config *c;

	if (!e->core->conf->reconfig_enabled || text.len <= 0)
		return 0;
	forget_configs(e);
	c = wtr_configs_new(&e->core->configs);
	if (!c || quorum_config_parse(c, text.data, (size_t)text.len, NULL))
		return -EBADMSG;
	if (c->version >= zab_of(e)->committed->version)
		*to = c;
	return 0;
}

/* Members of a multi, too: who logs what nobody can apply never starts again. */
static bool is_whole(const struct zk_txn_body *body)
{
	struct zk_multi_txn walk = body->multi;
	struct zk_txn_body member;

	for (int32_t i = 0; body->type == ZK_OP_MULTI && i < body->multi.count; i++)
		if (zk_multi_txn_next(&walk, &member))
			return false;
	return true;
}

/* The transaction of a PROPOSAL or INFORM must be the one that its packet says (I4). */
static int check_entry(struct wtr_ensemble *e, int64_t zxid, struct jute_buf entry,
		       const struct quorum_config **config)
{
	struct jute_in in = jute_in_of(entry.data, entry.len > 0 ? (size_t)entry.len : 0);
	struct zk_txn_header h;
	struct zk_txn_body body;

	if (zk_txn_header_decode(&in, &h) || h.zxid != zxid ||
	    zk_txn_body_decode(&in, h.type, &body) || !is_whole(&body))
		return -EBADMSG;
	e->incoming = entry;
	return h.type == ZK_OP_RECONFIG ? config_of(e, body.set_data.data, config) : 0;
}

/* 0; -EBADMSG: it is not what its type says. */
static int decode(struct wtr_ensemble *e, const struct quorum_packet *from, struct zab_packet *to)
{
	struct quorum_learner_info info;
	struct quorum_activate activate;

	*to = (struct zab_packet){.type = from->type, .zxid = from->zxid, .current_epoch = -1};
	switch (from->type) {
	case QUORUM_FOLLOWERINFO:
	case QUORUM_OBSERVERINFO:
		if (quorum_learner_info_decode(from->data, &info) ||
		    info.protocol_version < QUORUM_PROTOCOL_VERSION)
			return -EBADMSG;
		to->sid = info.sid;
		to->config_version = info.config_version;
		return 0;
	case QUORUM_ACKEPOCH:
		return quorum_int_decode(from->data, &to->current_epoch);
	case QUORUM_NEWLEADER:
		return config_of(e, from->data, &to->config);
	case QUORUM_PROPOSAL:
	case QUORUM_INFORM:
		return check_entry(e, from->zxid, from->data, &to->config);
	case QUORUM_COMMITANDACTIVATE:
	case QUORUM_INFORMANDACTIVATE:
		if (quorum_activate_decode(from->data, &activate))
			return -EBADMSG;
		to->sid = e->designated = activate.leader_sid;
		return from->type == QUORUM_COMMITANDACTIVATE
			   ? 0
			   : check_entry(e, from->zxid, activate.txn, &to->config);
	default:
		return 0;
	}
}

static void leader_request(struct wtr_ensemble *e, int32_t peer, const struct quorum_packet *p)
{
	struct zab_event sync = {.type = ZAB_SYNC_ASKED, .peer = peer};
	struct quorum_request r;

	if (quorum_request_decode(p->data, &r))
		LOG_W("peer %d: a REQUEST that can't be decoded is ignored", peer);
	else if (r.opcode == ZK_OP_SYNC)
		(void)wtr_core_step(e->core, &sync); /* it may be gone */
	else
		wtr_leader_request(e->core, peer, &r, &p->authinfo);
}

static bool takes_request(const struct wtr_ensemble *e)
{
	return e->core->service == WTR_LEADS && wtr_core_ready(e->core) &&
	       e->core->out.len <= WTR_OUT_BYTES && zab_of(e)->n_syncs < ZAB_SYNCS_MAX;
}

/* A REQUEST, or a REVALIDATE that must not overtake one: it may move the session (V5). */
struct letter {
	int32_t peer, authinfo_count;
	uint32_t data_len, authinfo_size;
	int64_t zxid;
	int32_t type, pad;
};

static void keep_request(struct wtr_ensemble *e, int32_t peer, const struct quorum_packet *p)
{
	struct letter l = {.peer = peer,
			   .authinfo_count = p->authinfo.count,
			   .data_len = (uint32_t)(p->data.len > 0 ? p->data.len : 0),
			   .authinfo_size = p->authinfo.size,
			   .zxid = p->zxid,
			   .type = p->type};

	if (e->inbox.len - e->inbox_done > WTR_INBOX_BYTES) {
		LOG_W("peer %d: more requests than can wait: disconnected", peer);
		peer_links_close(e->links, peer);
		return;
	}
	wtr_buf_put(&e->inbox, &l, sizeof(l));
	wtr_buf_put(&e->inbox, p->data.data, l.data_len);
	wtr_buf_put(&e->inbox, p->authinfo.data, l.authinfo_size);
	wtr_buf_pad8(&e->inbox);
}

static void leader_revalidate(struct wtr_ensemble *e, int32_t peer, const struct quorum_packet *p)
{
	struct quorum_revalidated answer;
	struct quorum_touch session;
	uint8_t bytes[64];
	struct jute_out out = jute_out_of(bytes, sizeof(bytes));

	if (quorum_touches(p->data) != 1)
		return;
	session = quorum_touch_get(p->data, 0);
	answer = (struct quorum_revalidated){session.session_id,
					     e->core->service == WTR_LEADS &&
						 wtr_leader_revalidate(e->core, peer, session)};
	quorum_put_revalidated(&out, p->zxid, &answer);
	peer_links_put(e->links, peer, bytes, jute_size(&out, bytes));
}

/* What waited for room, as far as there is some. */
static bool open_inbox(struct wtr_ensemble *e)
{
	bool done = false;

	while (e->inbox_done < e->inbox.len && takes_request(e)) {
		const uint8_t *at = e->inbox.bytes + e->inbox_done;
		struct quorum_packet p;
		struct letter l;

		memcpy(&l, at, sizeof(l));
		at += sizeof(l);
		p = (struct quorum_packet){.type = l.type, .zxid = l.zxid};
		p.data = jute_buf_of(at, l.data_len);
		p.authinfo = (struct jute_vec){
		    .count = l.authinfo_count, .data = at + l.data_len, .size = l.authinfo_size};
		e->inbox_done += (sizeof(l) + l.data_len + l.authinfo_size + 7) & ~(size_t)7;
		if (l.peer >= 0 && l.type == QUORUM_REVALIDATE)
			leader_revalidate(e, l.peer, &p);
		else if (l.peer >= 0)
			leader_request(e, l.peer, &p);
		done = true;
	}
	if (e->inbox_done == e->inbox.len)
		e->inbox.len = e->inbox_done = 0;
	return done;
}

/* A peer is gone, and what it asked for with it: its place may be another's soon. */
static void forget_letters(struct wtr_ensemble *e, int32_t peer)
{
	for (size_t at = e->inbox_done; at < e->inbox.len;) {
		struct letter *l = (struct letter *)(void *)(e->inbox.bytes + at);

		at += (sizeof(*l) + l->data_len + l->authinfo_size + 7) & ~(size_t)7;
		if (l->peer == peer)
			l->peer = -1;
	}
}

static void leader_deliver(struct wtr_ensemble *e, int32_t peer, const struct quorum_packet *p)
{
	if (p->type == QUORUM_REQUEST) {
		if (e->inbox.len || !takes_request(e))
			keep_request(e, peer, p);
		else
			leader_request(e, peer, p);
	} else if (p->type == QUORUM_REVALIDATE) {
		/* A learner may be in service a moment before we are. */
		if ((e->inbox.len && !WRONG(REVALIDATE_OVERTAKES)) ||
		    e->core->service != WTR_LEADS)
			keep_request(e, peer, p);
		else
			leader_revalidate(e, peer, p);
	} else if (p->type == QUORUM_PING && e->core->service == WTR_LEADS) {
		for (int32_t i = 0; i < quorum_touches(p->data); i++)
			wtr_leader_touch(e->core, quorum_touch_get(p->data, i));
	}
}

static void learner_deliver(struct wtr_ensemble *e, const struct quorum_packet *p)
{
	struct quorum_revalidated answer;

	if (p->type == QUORUM_PING)
		wtr_learner_ping(e->core, p->zxid);
	else if (p->type == QUORUM_SYNC)
		wtr_learner_synced(e->core);
	else if (p->type == QUORUM_REVALIDATE && !quorum_revalidated_decode(p->data, &answer))
		wtr_learner_answered(e->core, &answer);
}

static void drop_peer(struct wtr_ensemble *e, int32_t peer, const char *why)
{
	struct zab_event lost = {.type = ZAB_LOST, .peer = peer};

	LOG_W("peer %d: %s", peer, why);
	peer_links_close(e->links, peer);
	forget_letters(e, peer);
	wtr_leader_lost(e->core, peer);
	(void)wtr_core_step(e->core, &lost);
}

/* The leader was heard: what is published is fresh enough for that long. */
static void extend_service(struct wtr_ensemble *e)
{
	const struct zab *z = zab_of(e);
	uint64_t until = e->core->now_ms + ticks_ms(e, e->core->conf->sync_limit);

	if (z->phase != ZAB_SERVING && z->phase != ZAB_ACTIVE)
		return;
	if (e->core->service == WTR_IDLE || until < e->served_ms + SERVE_STEP_MS)
		return;
	e->served_ms = until;
	atomic_store(&e->heritage->board->serve_until_ms, (int64_t)until);
}

/* False: it has to wait, and everything behind it. */
static bool packet(struct wtr_ensemble *e, const struct peer_link_event *event)
{
	struct zab_packet p;
	struct zab_event receive = {.type = ZAB_RECEIVE, .peer = event->peer, .packet = &p};
	bool leads = zab_of(e)->role == ZAB_LEADING;
	int err;

	e->incoming = jute_null;
	if (decode(e, &event->packet, &p)) {
		drop_peer(e, event->peer, "a packet that can't be decoded");
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
		leader_deliver(e, event->peer, &event->packet);
	else
		learner_deliver(e, &event->packet);
	return true;
}

static bool link_event(struct wtr_ensemble *e, const struct peer_link_event *event)
{
	struct zab_event z = {.peer = event->peer};

	switch (event->type) {
	case PEER_LINK_CONNECTED:
		z.type = ZAB_CONNECTED;
		if (wtr_core_step(e->core, &z))
			peer_links_close(e->links, event->peer);
		return true;
	case PEER_LINK_LOST:
		z.type = ZAB_LOST;
		forget_letters(e, event->peer);
		wtr_leader_lost(e->core, event->peer);
		(void)wtr_core_step(e->core, &z); /* ZAB may have closed it itself */
		return true;
	case PEER_LINK_STATE:
		staged(e);
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

	if (!zab_of(e)->must_sync || now < e->remind_ms)
		return;
	if (e->remind_ms)
		LOG_W("no leader yet, and this member has no vote: its history was damaged "
		      "(version-2/damaged). A quorum of the others has to be up, with their own "
		      "histories; if they can't be, see \"Damage\" in operations.md");
	e->remind_ms = now + REMIND_MS;
}

static void elections(struct wtr_ensemble *e)
{
	struct zab *z = zab_of(e);
	struct zab_event elected = {.type = ZAB_ELECTED};
	struct zab_vote vote;

	if (z->role != ZAB_LOOKING)
		return;
	hear_config(e);
	if (e->look_due && zab_drained(z) && !atomic_load(&e->log->full)) {
		e->look_due = false;
		tell_elector(e);
		if (appoint(e))
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

static void show(struct wtr_ensemble *e)
{
	struct shm_ensemble *view = &e->heritage->board->ensemble;
	const struct zab *z = zab_of(e);
	uint32_t n = 0;

	for (int32_t i = 0; i < z->peers_end && n < SHM_MEMBERS; i++) {
		const struct zab_peer *p = &z->peer[i];
		struct shm_member_view *m = &view->learner[n];
		struct peer_link_view link;

		if (p->phase < ZAB_PEER_INFO)
			continue;
		peer_links_view(e->links, i, &link);
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
	atomic_store_explicit(&view->logged_zxid, z->last_zxid, memory_order_relaxed);
	atomic_store_explicit(&view->durable_zxid, z->durable_zxid, memory_order_relaxed);
	atomic_store_explicit(&view->committed_zxid, z->commit_zxid, memory_order_relaxed);
	atomic_store_explicit(&view->must_sync, z->must_sync, memory_order_relaxed);
}

/* --- V10 --------------------------------------------------------------------------------- */

/* A leader says with each transaction what the tree's digest is behind it. One that is not ours is
 * heeded once; then it has to agree, and an hour to pass. */
static bool heeds_digest(const struct wtr_ensemble *e)
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

static void begin_doubt(struct wtr_ensemble *e)
{
	struct shm_ensemble *view = &e->heritage->board->ensemble;

	view->doubt = SHM_DOUBT_ASKS;
	view->doubted_ms = (int64_t)clock_mono_ms();
}

void wtr_ensemble_doubt(struct wtr_ensemble *e)
{
	LOG_E("the tree is not the leader's behind zxid=0x%" PRIx64
	      ": %s; it is built anew, and the "
	      "leader will be asked for its state",
	      (uint64_t)e->core->apply.header.zxid,
	      e->core->apply.digest_differs != e->digest_differs ? "its digest differs"
								 : "the transaction does not fit");
	count_differences(e);
	begin_doubt(e);
	say_why(e, "the tree is not the leader's");
	atomic_store(&e->heritage->board->serve_until_ms, 1);
	disconnect_all(e);
}

static void look_at_digest(struct wtr_ensemble *e)
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
	e->core->heeds_digest = heeds_digest(e);
}

bool wtr_ensemble_turn(struct wtr_ensemble *e)
{
	uint64_t now = e->core->now_ms;
	bool done;

	look_at_digest(e);
	peer_elector_tick(e->elector, now);
	peer_links_tick(e->links, now);
	done = take_events(e);
	if (e->installed)
		return true;
	if (e->ready_due) {
		e->ready_due = false;
		CHECK(wtr_core_step(e->core, &(struct zab_event){.type = ZAB_READY}) == 0);
		done = true;
	}
	if (now >= e->zab_deadline_ms)
		(void)wtr_core_step(e->core, &(struct zab_event){.type = ZAB_TIMEOUT});
	elections(e);
	done = open_inbox(e) || done;
	extend_service(e);
	show(e);
	return done;
}

void wtr_ensemble_flush(struct wtr_ensemble *e)
{
	struct wtr_buf *forward = &e->core->forward;

	if (forward->len)
		peer_links_put(e->links, 0, forward->bytes, forward->len);
	forward->len = 0;
	peer_links_flush(e->links);
}

/* When read-only service begins, if nothing changes. */
static uint64_t reads_from_ms(const struct wtr_ensemble *e)
{
	const struct shm_board *b = e->heritage->board;
	uint64_t tick = e->core->conf->tick_ms, from;
	int64_t until = atomic_load(&b->in_service) ? atomic_load(&b->serve_until_ms) + 1 : 0;

	if (!e->core->conf->read_only_mode || e->core->service != WTR_IDLE ||
	    zab_of(e)->role != ZAB_LOOKING || !e->core->applied_zxid || until == 1)
		return UINT64_MAX;
	from = e->role_since_ms + (tick > READ_ONLY_MS ? tick : READ_ONLY_MS);
	return from > (uint64_t)until ? from : (uint64_t)until;
}

bool wtr_ensemble_reads(const struct wtr_ensemble *e)
{
	return e->core->now_ms >= reads_from_ms(e);
}

uint64_t wtr_ensemble_deadline_ms(const struct wtr_ensemble *e)
{
	uint64_t at = e->zab_deadline_ms, links = peer_links_deadline_ms(e->links),
		 elector = peer_elector_deadline_ms(e->elector), reads = reads_from_ms(e);

	if (reads < at)
		at = reads;
	if (links < at)
		at = links;
	return elector < at ? elector : at;
}

/* --- service ----------------------------------------------------------------------------- */

enum wtr_service wtr_ensemble_enters(const struct wtr_ensemble *e)
{
	if (!e->enters || (e->core->applied_zxid < e->enters_zxid && !WRONG(EPOCH_TOLD_EARLY)))
		return WTR_IDLE;
	return zab_of(e)->role == ZAB_LEADING ? WTR_LEADS : WTR_LEARNS;
}

void wtr_ensemble_entered(struct wtr_ensemble *e)
{
	e->enters = false;
	e->served_ms = 0;
	say_why(e, "");
	extend_service(e);
}

/* The zxid before the oldest record of the log can't be asked for any more. */
static void trim(struct wtr_ensemble *e)
{
	struct zab *z = zab_of(e);
	int64_t oldest = sto_log_oldest(e->fs, e->log_dir);
	struct zab_event event = {.type = ZAB_TRIM};

	if (oldest <= 0 || oldest - 1 <= z->history.base)
		return;
	event.zxid = zab_history_floor(&z->history, oldest - 1);
	if (event.zxid > z->history.base)
		(void)wtr_core_step(e->core, &event);
}

void wtr_ensemble_snapshot(struct wtr_ensemble *e)
{
	struct zab_event event = {.type = ZAB_STATE, .zxid = sto_snap_newest(e->fs, e->snap_dir)};

	if (event.zxid >= 0)
		(void)wtr_core_step(e->core, &event);
	trim(e);
}

/* --- life -------------------------------------------------------------------------------- */

static int add_run(void *arg, int64_t first, int64_t last)
{
	struct zab_history *h = arg;

	if (!h->n && !zab_history_follows(h, first))
		zab_history_init(h, first - 1);
	if (!zab_history_follows(h, first))
		return -EBADMSG;
	zab_history_add_run(h, first, last);
	return 0;
}

/*
 * What the log holds, as far back as it goes. A snapshot of the start of an epoch says the same as
 * the transaction before it, if the log has that.
 */
static int read_history(struct wtr_ensemble *e, int64_t snapshot_zxid)
{
	struct zab_history *h = &e->history;
	int err;

	zab_history_init(h, 0);
	err = sto_log_runs(e->fs, e->log_dir, -1, add_run, h);
	if (err)
		return err;
	if (zab_history_last(h) < snapshot_zxid && (!h->n || zab_counter_of(snapshot_zxid) != 0))
		zab_history_init(h, snapshot_zxid);
	return 0;
}

/* What was activated, or proposed, since the process read its zoo.cfg. */
static int load_configs(struct wtr_ensemble *e, const struct conf *conf)
{
	struct quorum_config *c = wtr_configs_new(&e->core->configs),
			     *next = wtr_configs_new(&e->core->configs);
	int err;

	e->first = wtr_configs_new(&e->core->configs);
	if (!c || !next || !e->first)
		return -ENOMEM;
	err = wtr_members_load(conf->file, c);
	if (!err && c->version > e->committed->version)
		e->committed = c;
	if (err && err != -ENOENT)
		LOG_W("dynamicConfigFile of %s: %s", conf->file, strerror(-err));
	err = wtr_members_load_next(conf->file, next);
	if (!err && next->version > e->committed->version)
		e->last_seen = next;
	else if (!err) /* a crash came between storing the one and dropping the other */
		err = wtr_members_drop_next(conf->file);
	if (err && err != -ENOENT)
		LOG_W("%s.dynamic.next: %s", conf->file, strerror(-err));
	return 0;
}

static int make_config(struct wtr_ensemble *e, const struct conf *conf)
{
	struct quorum_config *c = wtr_configs_new(&e->core->configs);
	struct quorum_config_error error;

	e->committed = c;
	if (!c)
		return -ENOMEM;
	if (!quorum_config_parse(c, conf->members, strlen(conf->members), &error))
		return conf->reconfig_enabled && conf->file ? load_configs(e, conf) : 0;
	log_always(LOG_ERROR, "membership: line %u: %s", error.line, error.why);
	return -EINVAL;
}

/* DataTree's config node is written by each server itself (quorum.md 1.4). */
static int write_config(struct wtr_ensemble *e, const struct wtr_recovery *r)
{
	static const char path[] = "/zookeeper/config";
	static char text[QUORUM_CONFIG_TEXT_MAX];
	size_t len = quorum_config_print(e->committed, text, sizeof(text));
	struct shm_node *n = shm_tree_get(r->tree, path, sizeof(path) - 1);

	/* A state that a leader sent may know more than our files. */
	if (!n || (r->conf->reconfig_enabled &&
		   shm_version_mzxid(shm_node_version(n, SHM_LATEST)) > e->committed->version))
		return 0;
	return shm_tree_put_config(r->tree, text, (int32_t)len, e->committed->version,
				   clock_wall_ms(), r->tree_zxid);
}

int wtr_ensemble_recover(struct wtr_ensemble *e, struct wtr_recovery *r,
			 const struct sto_member *member, int64_t settled_zxid)
{
	const struct conf *conf = r->conf;
	int64_t snapshot = r->found.snapshot_zxid > 0 ? r->found.snapshot_zxid : 0;
	int err = make_config(e, conf);

	e->snap_dir = r->snap_dir;
	e->log_dir = r->log_dir;
	e->core->fuzzy_zxid = member->fuzzy_zxid;
	if (!err)
		err = read_history(e, snapshot);
	if (!err)
		err = write_config(e, r);
	if (err) {
		log_always(LOG_ERROR, "history of the member: %s", strerror(-err));
		return err;
	}
	if ((r->snapshot_differs || r->apply.digest_differs) && heeds_digest(e))
		begin_doubt(e);
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
	    .stall_ms = (uint32_t)ticks_ms(e, conf->sync_limit),
	    .listen_on_all = conf->listen_on_all,
	    .entry = entry,
	    .arg = e,
	};

	e->links = peer_links_new(&options);
	return e->links ? 0 : -errno;
}

/* Our role at the start: that of the configuration, or, outside of it, what zoo.cfg says. */
static bool observes(const struct wtr_ensemble *e)
{
	const struct conf *conf = e->core->conf;
	const struct quorum_member *me = quorum_config_find(e->committed, conf->sid);

	return me ? me->role == QUORUM_OBSERVER : conf->observer;
}

static int start_elector(struct wtr_ensemble *e, int epoll)
{
	const struct conf *conf = e->core->conf;
	enum quorum_role role = observes(e) ? QUORUM_OBSERVER : QUORUM_PARTICIPANT;
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
				      .observer = observes(e),
				      .rejoin_step_down = true,
				      .tick_ms = conf->tick_ms,
				      .init_limit = conf->init_limit,
				      .sync_limit = conf->sync_limit,
				      .diff_max = DIFF_MAX,
				      .committed = e->committed,
				      .last_seen = e->last_seen,
				      .first = e->first};
	struct zab_event start = {.type = ZAB_START, .start = &e->start};

	zab_init(zab_of(e), &options);
	CHECK(wtr_core_step(e->core, &start) == 0);
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
	if (e->elector)
		peer_elector_free(e->elector);
	wtr_configs_keep(&e->core->configs, NULL, 0);
	wtr_buf_fini(&e->inbox);
}

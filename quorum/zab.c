#include "quorum/zab.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "quorum/zab_impl.h"

#define TO(role_) (1u << (role_))

static const uint8_t next_roles[] = {
    [ZAB_LOOKING] = TO(ZAB_LEADING) | TO(ZAB_FOLLOWING) | TO(ZAB_OBSERVING),
    [ZAB_LEADING] = TO(ZAB_LOOKING),
    [ZAB_FOLLOWING] = TO(ZAB_LOOKING),
    [ZAB_OBSERVING] = TO(ZAB_LOOKING),
};

void zab_become(struct zab *z, struct zab_out *out, enum zab_role next)
{
	CHECK(next_roles[z->role] & TO(next));
	z->role = next;
	z->phase = ZAB_IDLE;
	z->phase_ms = UINT64_MAX;
	out->flags |= ZAB_OUT_ROLE;
}

struct zab_send *zab_put(struct zab *z, int32_t peer, enum zab_send_kind kind, int32_t type,
			 int64_t zxid)
{
	struct zab_send *s = &z->send[z->n_send];

	CHECK(z->n_send < ZAB_SENDS_MAX);
	z->n_send++;
	*s = (struct zab_send){.kind = kind,
			       .peer = peer,
			       .packet = {.type = type, .zxid = zxid, .current_epoch = -1}};
	return s;
}

void zab_put_range(struct zab *z, int32_t peer, int32_t type, int64_t first, int64_t last)
{
	struct zab_send *s = zab_put(z, peer, ZAB_SEND_RANGE, type, first);

	CHECK(zab_epoch_of(first) == zab_epoch_of(last));
	s->first = first;
	s->last = last;
}

static void unstage(struct zab *z, struct zab_out *out)
{
	if (!z->staged)
		return;
	z->staged = false;
	z->history = z->old.history;
	z->last_zxid = z->durable_zxid = z->old.last_zxid;
	out->flags |= ZAB_OUT_UNSTAGE;
	z->ready = true;
}

bool zab_role_differs(const struct zab *z)
{
	const struct quorum_member *me = quorum_config_find(z->committed, z->opt.sid);

	return me && z->opt.observer != (me->role == QUORUM_OBSERVER);
}

void zab_to_looking(struct zab *z, struct zab_out *out, const char *why)
{
	zab_become(z, out, ZAB_LOOKING);
	if (z->opt.first && zab_role_differs(z))
		z->opt.observer = !z->opt.observer;
	unstage(z, out);
	memset(z->peer, 0, sizeof(z->peer[0]) * (size_t)z->peers_end);
	z->peers_end = 0;
	z->n_syncs = 0;
	z->reconfig_zxid = 0;
	z->proposed = NULL;
	/* A proposal of this leadership that nobody decided may still be: the configuration that
	 * it names stays the last seen one. */
	z->why = why;
}

void zab_append(struct zab *z, struct zab_out *out, int64_t zxid)
{
	if (!z->opt.standalone)
		zab_history_add(&z->history, zxid);
	z->last_zxid = zxid;
	out->append_zxid = zxid;
}

void zab_publish(struct zab *z)
{
	bool serving = z->phase == ZAB_SERVING || z->phase == ZAB_ACTIVE ||
		       (BUG(SYNC_PUBLISHED) && z->role == ZAB_FOLLOWING);
	int64_t zxid = z->decided_zxid < z->durable_zxid || BUG(PUBLISH_BEFORE_DURABLE)
			   ? z->decided_zxid
			   : z->durable_zxid;

	if (serving && !z->staged && zxid > z->commit_zxid)
		z->commit_zxid = zxid;
}

void zab_activate(struct zab *z, struct zab_out *out, const struct quorum_config *config)
{
	if (!config || config->version <= z->committed->version)
		return;
	z->committed = config;
	if (z->last_seen && z->last_seen->version < config->version)
		z->last_seen = config;
	out->flags |= ZAB_OUT_CONFIG;
}

void zab_init(struct zab *z, const struct zab_options *options)
{
	memset(z, 0, sizeof(*z));
	z->opt = *options;
	z->committed = options->committed;
	z->last_seen = options->last_seen;
	z->phase_ms = UINT64_MAX;
	z->ready = true;
	CHECK(z->opt.standalone || z->committed != NULL);
}

int64_t zab_next_zxid(const struct zab *z)
{
	if (z->opt.standalone || zab_epoch_of(z->last_zxid) == z->epoch)
		return z->last_zxid + 1;
	return zab_start_of(z) + 1;
}

bool zab_has_room(const struct zab *z, uint32_t n)
{
	int64_t from = z->decided_zxid < z->durable_zxid ? z->decided_zxid : z->durable_zxid;

	if (z->phase != ZAB_SERVING)
		return false;
	if (z->opt.standalone)
		return z->last_zxid - from + n <= ZAB_WINDOW;
	if (from < zab_start_of(z))
		from = zab_start_of(z);
	/* The last counter is never drawn, and nothing beyond it: a new epoch comes first (3.11).
	 */
	return zab_next_zxid(z) - 1 - from + n <= ZAB_WINDOW &&
	       (uint64_t)zab_counter_of(zab_next_zxid(z)) + n - 1 <= ZAB_COUNTER_MAX;
}

bool zab_drained(const struct zab *z)
{
	return z->ready && z->durable_zxid == z->last_zxid;
}

struct zab_vote zab_vote(const struct zab *z)
{
	if (z->must_sync && !BUG(MUST_SYNC_VOTES))
		return (struct zab_vote){z->current_epoch, -1};
	return (struct zab_vote){z->current_epoch, z->last_zxid};
}

/* --- events ------------------------------------------------------------------------------ */

static int start_alone(struct zab *z, struct zab_out *out, int64_t zxid)
{
	if (zxid < 0)
		return -EPROTO;
	z->started = true;
	z->last_zxid = z->durable_zxid = z->commit_zxid = zxid;
	z->epoch = z->accepted_epoch = z->current_epoch = zab_epoch_of(zxid);
	zab_history_init(&z->history, 0);
	zab_serve_alone(z, out);
	return 0;
}

static int start(struct zab *z, struct zab_out *out, const struct zab_event *event)
{
	const struct zab_start *s = event->start;

	if (z->started)
		return -EPROTO;
	if (z->opt.standalone)
		return start_alone(z, out, event->zxid);
	if (!s || s->accepted_epoch < s->current_epoch || s->current_epoch < 0 ||
	    s->committed_zxid < 0)
		return -EPROTO;
	if (s->history)
		z->history = *s->history;
	else
		zab_history_init(&z->history, s->committed_zxid);
	if (s->committed_zxid > zab_history_last(&z->history) ||
	    zab_epoch_of(zab_history_last(&z->history)) > s->accepted_epoch)
		return -EPROTO;
	z->started = true;
	z->accepted_epoch = s->accepted_epoch;
	z->current_epoch = s->current_epoch;
	z->must_sync = s->must_sync;
	z->wants_state = s->wants_state;
	z->last_zxid = z->durable_zxid = zab_history_last(&z->history);
	z->commit_zxid = BUG(TAIL_PUBLISHED) ? z->last_zxid : s->committed_zxid;
	z->decided_zxid = z->commit_zxid;
	z->state_zxid = s->state_zxid;
	return 0;
}

static int elected(struct zab *z, struct zab_out *out, int64_t sid)
{
	if (!z->started || z->opt.standalone || z->role != ZAB_LOOKING)
		return -EPROTO;
	if (!zab_drained(z) && !BUG(VOTE_BEFORE_DRAINED))
		return -EBUSY;
	if (sid != z->opt.sid) {
		zab_follow(z, out, sid);
		return 0;
	}
	if ((z->must_sync && !BUG(MUST_SYNC_VOTES)) || z->accepted_epoch >= ZAB_EPOCH_MAX ||
	    z->opt.observer || !quorum_config_is_voter(z->committed, sid))
		return -EPROTO;
	zab_lead(z, out);
	return 0;
}

static int durable(struct zab *z, struct zab_out *out, int64_t zxid)
{
	if (zxid > z->last_zxid || zxid < z->durable_zxid)
		return -EPROTO;
	z->durable_zxid = zxid;
	if (z->role == ZAB_LEADING)
		zab_leader_advance(z, out);
	else if (z->role != ZAB_LOOKING)
		zab_learner_durable(z, out);
	return 0;
}

static int ready(struct zab *z, struct zab_out *out)
{
	if (z->ready)
		return -EPROTO;
	z->ready = true;
	if (z->role != ZAB_LOOKING)
		zab_learner_durable(z, out);
	return 0;
}

static bool is_peer(const struct zab *z, int32_t peer)
{
	return peer >= 0 && peer < ZAB_PEERS_MAX && z->peer[peer].phase != ZAB_PEER_NONE;
}

static int connected(struct zab *z, int32_t peer)
{
	if (z->role == ZAB_LEADING) {
		if (peer < 0 || peer >= ZAB_PEERS_MAX || is_peer(z, peer))
			return -EPROTO;
		zab_peer_connected(z, peer);
		return 0;
	}
	if (peer > 0)
		return zab_relay_connected(z, peer);
	if (z->role == ZAB_LOOKING || z->phase != ZAB_CONNECT)
		return -EPROTO;
	zab_learner_connected(z);
	return 0;
}

static int lost(struct zab *z, struct zab_out *out, int32_t peer)
{
	if (z->role == ZAB_LEADING) {
		if (!is_peer(z, peer))
			return -EPROTO;
		zab_peer_lost(z, peer);
		return 0;
	}
	if (z->role == ZAB_LOOKING || (peer > 0 && !is_peer(z, peer)))
		return -EPROTO;
	if (peer > 0) {
		zab_peer_lost(z, peer);
		return 0;
	}
	zab_to_looking(z, out, "connection to the leader lost");
	return 0;
}

static int receive(struct zab *z, struct zab_out *out, const struct zab_event *event)
{
	if (z->role == ZAB_LEADING) {
		if (!is_peer(z, event->peer))
			return -EPROTO;
		zab_leader_receive(z, out, event->peer, event->packet);
		return 0;
	}
	if (event->peer > 0 && (!zab_relays(z) || !is_peer(z, event->peer)))
		return -EPROTO;
	if (event->peer > 0) {
		zab_relay_receive(z, out, event->peer, event->packet);
		return 0;
	}
	if (z->role == ZAB_LOOKING || z->phase == ZAB_CONNECT || (z->staged && !z->ready))
		return -EPROTO;
	return zab_learner_receive(z, out, event->packet);
}

/* A member of an ensemble with that configuration told us (FastLeaderElection.WorkerReceiver). */
static int hear_config(struct zab *z, struct zab_out *out, const struct quorum_config *config)
{
	if (z->role != ZAB_LOOKING || !z->opt.first || config->version <= z->committed->version)
		return -EPROTO;
	zab_activate(z, out, config);
	if (zab_role_differs(z))
		z->opt.observer = !z->opt.observer;
	return 0;
}

static int sync_asked(struct zab *z, int32_t peer)
{
	if (z->phase != ZAB_SERVING || !is_peer(z, peer) || z->peer[peer].phase != ZAB_PEER_ACTIVE)
		return -EPROTO;
	return zab_leader_sync(z, peer);
}

static int trim(struct zab *z, int64_t zxid)
{
	if (zxid > z->commit_zxid || z->staged || !zab_history_has(&z->history, zxid))
		return -EPROTO;
	zab_history_trim(&z->history, zxid);
	return 0;
}

static int state(struct zab *z, struct zab_out *out, int64_t zxid, int64_t far_zxid)
{
	int64_t floor = zab_history_floor(&z->history, zxid);

	/* The start of an epoch names what was published before it, too. */
	if (zxid < z->state_zxid || zab_epoch_of(zxid) > z->current_epoch ||
	    floor > z->commit_zxid || (floor != zxid && zab_counter_of(zxid) != 0))
		return -EPROTO;
	z->state_zxid = zxid;
	z->far_zxid = far_zxid;
	if (z->role == ZAB_LEADING)
		zab_leader_state(z, out);
	else
		zab_relay_state(z, out);
	return 0;
}

static void timeout(struct zab *z, struct zab_out *out)
{
	if (z->role == ZAB_LEADING)
		zab_leader_timeout(z, out);
	else if (z->role != ZAB_LOOKING && z->now_ms >= z->phase_ms)
		zab_to_looking(z, out, "nothing heard of the leader in time");
	else
		zab_relay_timeout(z);
}

static int dispatch(struct zab *z, const struct zab_event *event, struct zab_out *out)
{
	switch (event->type) {
	case ZAB_START:
		return start(z, out, event);
	case ZAB_SUBMIT:
		if (z->role != ZAB_LEADING || z->phase != ZAB_SERVING)
			return -EPROTO;
		return zab_leader_submit(z, out, event);
	case ZAB_DURABLE:
		return durable(z, out, event->zxid);
	case ZAB_TIMEOUT:
		timeout(z, out);
		return 0;
	case ZAB_ELECTED:
		return elected(z, out, event->sid);
	case ZAB_CONNECTED:
		return connected(z, event->peer);
	case ZAB_LOST:
		return lost(z, out, event->peer);
	case ZAB_RECEIVE:
		return receive(z, out, event);
	case ZAB_READY:
		return ready(z, out);
	case ZAB_SYNC_ASKED:
		return sync_asked(z, event->peer);
	case ZAB_TRIM:
		return trim(z, event->zxid);
	case ZAB_STATE:
		return state(z, out, event->zxid, event->far_zxid);
	case ZAB_STOP:
		if (z->role == ZAB_LOOKING || z->opt.standalone)
			return -EPROTO;
		zab_to_looking(z, out, "told to stop");
		return 0;
	case ZAB_CONFIG:
		return hear_config(z, out, event->config);
	}
	return -EPROTO;
}

int zab_step(struct zab *z, const struct zab_event *event, struct zab_out *out)
{
	uint64_t before = z->now_ms;
	int err;

	if (event->now_ms < z->now_ms)
		return -EPROTO;
	*out = (struct zab_out){.cut_zxid = -1, .snapshot_zxid = -1};
	z->now_ms = event->now_ms;
	z->n_send = 0;
	z->why = NULL;
	err = dispatch(z, event, out);
	if (err) {
		z->now_ms = before;
		return err;
	}
	out->send = z->send;
	out->n_send = z->n_send;
	out->why = z->why;
	out->commit_zxid = z->commit_zxid;
	out->deadline_ms =
	    z->role == ZAB_LEADING ? zab_leader_deadline(z) : zab_peers_deadline(z, z->phase_ms);
	if (!z->opt.standalone)
		zab_check(z);
	else
		DCHECK((zab_check(z), true));
	return 0;
}

/* --- seen from outside ------------------------------------------------------------------- */

static const char *const event_names[] = {
    [ZAB_START] = "START",     [ZAB_SUBMIT] = "SUBMIT",
    [ZAB_DURABLE] = "DURABLE", [ZAB_TIMEOUT] = "TIMEOUT",
    [ZAB_ELECTED] = "ELECTED", [ZAB_CONNECTED] = "CONNECTED",
    [ZAB_LOST] = "LOST",       [ZAB_RECEIVE] = "RECEIVE",
    [ZAB_READY] = "READY",     [ZAB_SYNC_ASKED] = "SYNC_ASKED",
    [ZAB_TRIM] = "TRIM",       [ZAB_STATE] = "STATE",
    [ZAB_STOP] = "STOP",       [ZAB_CONFIG] = "CONFIG",
};
static const char *const role_names[] = {
    [ZAB_LOOKING] = "LOOKING",
    [ZAB_LEADING] = "LEADING",
    [ZAB_FOLLOWING] = "FOLLOWING",
    [ZAB_OBSERVING] = "OBSERVING",
};
static const char *const phase_names[] = {
    [ZAB_IDLE] = "-",          [ZAB_DISCOVERY] = "discovery", [ZAB_EPOCH] = "epoch",
    [ZAB_SYNC] = "sync",       [ZAB_SERVING] = "serving",     [ZAB_CONNECT] = "connect",
    [ZAB_HELLO] = "hello",     [ZAB_ACKED] = "acked",         [ZAB_STORING] = "storing",
    [ZAB_NLACKED] = "nlacked", [ZAB_ACTIVE] = "active",
};

static size_t say(char *line, size_t size, size_t at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static size_t say(char *line, size_t size, size_t at, const char *format, ...)
{
	va_list args;
	int n;

	if (at + 1 >= size)
		return at;
	va_start(args, format);
	n = vsnprintf(line + at, size - at, format, args);
	va_end(args);
	at += n > 0 ? (size_t)n : 0;
	return at < size ? at : size - 1;
}

static size_t say_send(char *line, size_t size, size_t at, const struct zab_send *s)
{
	at = say(line, size, at, " %" PRId32 "<%s", s->peer,
		 s->kind == ZAB_SEND_CLOSE     ? "close"
		 : s->kind == ZAB_SEND_HISTORY ? "history"
					       : quorum_packet_name(s->packet.type));
	if (s->kind == ZAB_SEND_PACKET || s->kind == ZAB_SEND_STATE)
		return say(line, size, at, ":%" PRIx64, (uint64_t)s->packet.zxid);
	if (s->kind == ZAB_SEND_CLOSE)
		return at;
	return say(line, size, at, ":%" PRIx64 "-%" PRIx64, (uint64_t)s->first, (uint64_t)s->last);
}

size_t zab_trace(const struct zab *z, const struct zab_event *event, const struct zab_out *out,
		 char *line, size_t size)
{
	size_t at = say(line, size, 0, "%6" PRIu64 " %" PRId64 " > %s", z->now_ms, z->opt.sid,
			event_names[event->type]);

	if (event->type == ZAB_RECEIVE)
		at = say(line, size, at, " %" PRId32 ">%s:%" PRIx64, event->peer,
			 quorum_packet_name(event->packet->type), (uint64_t)event->packet->zxid);
	else if (event->type == ZAB_ELECTED)
		at = say(line, size, at, " %" PRId64, event->sid);
	else if (event->type == ZAB_CONNECTED || event->type == ZAB_LOST ||
		 event->type == ZAB_SYNC_ASKED)
		at = say(line, size, at, " %" PRId32, event->peer);
	else if (event->zxid)
		at = say(line, size, at, " %" PRIx64, (uint64_t)event->zxid);
	at = say(line, size, at, " = %s %s promised=%" PRId64 " epoch=%" PRId64,
		 role_names[z->role], phase_names[z->phase], z->accepted_epoch, z->current_epoch);
	at = say(line, size, at, " last=%" PRIx64 " durable=%" PRIx64 " commit=%" PRIx64,
		 (uint64_t)z->last_zxid, (uint64_t)z->durable_zxid, (uint64_t)z->commit_zxid);
	if (out->flags)
		at = say(line, size, at, " flags=%x", out->flags);
	if (out->cut_zxid >= 0)
		at = say(line, size, at, " cut=%" PRIx64, (uint64_t)out->cut_zxid);
	if (out->snapshot_zxid >= 0)
		at = say(line, size, at, " snap=%" PRIx64, (uint64_t)out->snapshot_zxid);
	for (uint32_t i = 0; i < out->n_send; i++)
		at = say_send(line, size, at, &out->send[i]);
	return out->why ? say(line, size, at, " (%s)", out->why) : at;
}

void zab_check(const struct zab *z)
{
	CHECK(z->accepted_epoch >= z->current_epoch); /* I1 */
	CHECK(z->current_epoch >= 0);
	CHECK(z->commit_zxid >= 0);
	CHECK(z->durable_zxid <= z->last_zxid);
	CHECK(z->staged || z->commit_zxid <= z->durable_zxid ||
	      BUG(PUBLISH_BEFORE_DURABLE)); /* I8 */
	CHECK(!z->staged || z->role == ZAB_FOLLOWING || z->role == ZAB_OBSERVING);
	CHECK((z->role == ZAB_LOOKING) == (z->phase == ZAB_IDLE));
	if (z->opt.standalone) {
		CHECK(z->last_zxid - z->commit_zxid <= ZAB_WINDOW);
		return;
	}
	zab_history_check(&z->history); /* I2 */
	CHECK(!z->started || zab_history_last(&z->history) == z->last_zxid);
	CHECK(!z->last_seen || z->last_seen->version >= z->committed->version); /* I15 */
	if (z->role == ZAB_LEADING)
		zab_leader_check(z);
	else if (z->role != ZAB_LOOKING)
		zab_learner_check(z);
}

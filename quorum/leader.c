/*
 * leader.c - the leader: a promised epoch, a quorum in sync with its history, ordered broadcast
 *
 * All acknowledgements are one number per voter, because logs grow in order: `acked` is the last
 * zxid of this epoch that the voter has durable, epoch << 32 once it acknowledged NEWLEADER, and
 * with that the whole initial history. The largest zxid that a quorum has is then both: at least
 * epoch << 32 begins service, anything above it commits.
 */
#include <errno.h>
#include <string.h>

#include "quorum/zab_impl.h"

static bool votes(const struct zab_peer *p)
{
	return !p->observer || BUG(OBSERVER_COUNTED);
}

/* The peers (and this server) for which `counts` says yes: are they a quorum of both? */
static bool has_quorum(const struct zab *z, const struct quorum_config *committed,
		       const struct quorum_config *last_seen, int64_t zxid,
		       bool (*counts)(const struct zab *z, const struct zab_peer *p, int64_t zxid))
{
	struct quorum_acks acks;
	uint32_t half = 0;

	quorum_acks_init(&acks, committed, last_seen);
	if (counts(z, NULL, zxid))
		half += quorum_acks_add(&acks, z->opt.sid);
	for (int32_t i = 0; i < z->peers_end; i++) {
		const struct zab_peer *p = &z->peer[i];

		if (p->phase == ZAB_PEER_NONE || !votes(p) || !counts(z, p, zxid))
			continue;
		half += quorum_acks_add(&acks, p->sid) || (BUG(OBSERVER_COUNTED) && p->observer);
	}
	if (BUG(HALF_IS_QUORUM))
		return half * 2 >= (uint32_t)(committed->n_voters & ~1);
	if (BUG(OBSERVER_COUNTED))
		return half > committed->n_voters / 2u;
	return quorum_acks_complete(&acks);
}

/* --- acknowledgements -------------------------------------------------------------------- */

/* What our own log has of this epoch, as a peer's `acked`. */
static int64_t own_acked(const struct zab *z)
{
	int64_t zxid = BUG(LEADER_ACK_BEFORE_DURABLE) ? z->last_zxid : z->durable_zxid;

	if (z->opt.standalone)
		return zxid;
	if (z->phase != ZAB_SYNC && z->phase != ZAB_SERVING)
		return 0;
	return zxid > zab_start_of(z) ? zxid : zab_start_of(z);
}

static bool has_acked(const struct zab *z, const struct zab_peer *p, int64_t zxid)
{
	return (p ? p->acked : own_acked(z)) >= zxid;
}

/* The largest zxid that a quorum of the configurations has; 0: none of this epoch. */
static int64_t quorum_zxid(const struct zab *z, const struct quorum_config *committed,
			   const struct quorum_config *last_seen)
{
	int64_t best = 0, zxid = own_acked(z);

	if (z->opt.standalone)
		return zxid;
	for (int32_t i = -1; i < z->peers_end; i++) {
		if (i >= 0)
			zxid = z->peer[i].phase < ZAB_PEER_SYNC ? 0 : z->peer[i].acked;
		if (zxid > best && zxid > z->decided_zxid &&
		    has_quorum(z, committed, last_seen, zxid, has_acked))
			best = zxid;
	}
	return best;
}

/* A reconfiguration and what follows it need the new quorum, too; what precedes it does not. */
static int64_t agreed_zxid(const struct zab *z)
{
	int64_t both;

	if (!z->reconfig_zxid)
		return quorum_zxid(z, z->committed, z->last_seen);
	both = quorum_zxid(z, z->committed, z->last_seen);
	if (both < z->reconfig_zxid) {
		both = quorum_zxid(z, z->committed, NULL);
		if (both >= z->reconfig_zxid)
			both = z->reconfig_zxid - 1;
	}
	return both;
}

/* --- commit ------------------------------------------------------------------------------ */

/* Is this server a voter of both, at the same quorum addresses? */
static bool stays_leader(const struct zab *z, const struct quorum_config *next)
{
	const struct quorum_member *old = quorum_config_find(z->committed, z->opt.sid),
				   *new = quorum_config_find(next, z->opt.sid);

	if (!quorum_config_is_voter(next, z->opt.sid))
		return false;
	if (!old || old->n_addrs != new->n_addrs)
		return !old;
	for (uint8_t i = 0; i < old->n_addrs; i++)
		if (old->addr[i].quorum_port != new->addr[i].quorum_port ||
		    strcmp(quorum_config_host(z->committed, old->addr[i].host),
			   quorum_config_host(next, new->addr[i].host)) != 0)
			return false;
	return true;
}

/* Who leads under the new configuration: this server, or who has most of the log (3.12). */
static int64_t designated(const struct zab *z)
{
	const struct zab_peer *best = NULL;

	if (stays_leader(z, z->last_seen))
		return z->opt.sid;
	for (int32_t i = 0; i < z->peers_end; i++) {
		const struct zab_peer *p = &z->peer[i];

		if (p->phase == ZAB_PEER_ACTIVE && quorum_config_is_voter(z->last_seen, p->sid) &&
		    (!best || p->acked > best->acked))
			best = p;
	}
	return best ? best->sid : -1;
}

/* first..last, of this epoch, are decided. */
static void commit(struct zab *z, struct zab_out *out, int64_t first, int64_t last)
{
	int64_t at = z->reconfig_zxid, sid;

	z->decided_zxid = last;
	if (!at || at > last) {
		zab_peers_tell(z, first, last);
		return;
	}
	if (first < at)
		zab_peers_tell(z, first, at - 1);
	sid = designated(z);
	zab_peers_tell_activate(z, at, sid);
	z->reconfig_zxid = 0;
	zab_activate(z, out, z->last_seen);
	if (sid != z->opt.sid) {
		/* It commits nothing after that; the members go on with the next leader. */
		z->decided_zxid = at;
		zab_publish(z);
		zab_to_looking(z, out, "the new configuration names another leader");
	} else if (at < last) {
		zab_peers_tell(z, at + 1, last);
	}
}

static void answer_syncs(struct zab *z)
{
	while (z->n_syncs && (z->sync[z->sync_head].zxid <= z->decided_zxid || BUG(SYNC_AT_ONCE))) {
		int32_t peer = z->sync[z->sync_head].peer;

		z->sync_head = (z->sync_head + 1) % ZAB_SYNCS_MAX;
		z->n_syncs--;
		if (peer >= 0)
			zab_put(z, peer, ZAB_SEND_PACKET, QUORUM_SYNC, 0);
	}
}

/* A quorum has the initial history: it is committed, and what comes is broadcast. */
static void serve(struct zab *z, struct zab_out *out)
{
	bool stays = !z->last_seen || stays_leader(z, z->last_seen);

	z->phase = ZAB_SERVING;
	z->phase_ms = UINT64_MAX;
	z->decided_zxid = z->initial_zxid;
	z->check_ms = z->now_ms + z->opt.tick_ms;
	zab_activate(z, out, z->last_seen);
	out->flags |= ZAB_OUT_SERVE;
	for (int32_t i = 0; i < z->peers_end; i++)
		if (z->peer[i].phase == ZAB_PEER_SYNC && z->peer[i].acked)
			zab_peer_put_uptodate(z, i);
	if (stays)
		return;
	/* A reconfiguration that its proposer did not finish: it is in force, without us. */
	out->flags &= ~(uint32_t)ZAB_OUT_SERVE;
	zab_publish(z);
	zab_to_looking(z, out, "the new configuration names another leader");
}

void zab_leader_advance(struct zab *z, struct zab_out *out)
{
	int64_t agreed = agreed_zxid(z), first;

	if (BUG(COMMIT_TOO_FAR) && z->phase == ZAB_SERVING && z->last_zxid > agreed + 1 &&
	    agreed > zab_start_of(z))
		agreed++;
	if (z->phase == ZAB_SYNC && (agreed >= zab_start_of(z) || BUG(SERVE_WITHOUT_QUORUM)))
		serve(z, out);
	if (z->phase == ZAB_SERVING && agreed > z->decided_zxid &&
	    (z->opt.standalone || agreed > zab_start_of(z))) {
		first = z->decided_zxid + 1;
		if (!z->opt.standalone && z->decided_zxid < zab_start_of(z))
			first = zab_start_of(z) + 1;
		commit(z, out, first, agreed);
		answer_syncs(z);
	}
	zab_publish(z);
	if (z->phase == ZAB_SERVING && !z->opt.standalone && z->commit_zxid == z->last_zxid &&
	    zab_counter_of(z->last_zxid) >= ZAB_COUNTER_MAX)
		zab_to_looking(z, out, "the epoch's counters are used up");
}

/* --- discovery --------------------------------------------------------------------------- */

static void sync_now(struct zab *z, struct zab_out *out, int32_t peer)
{
	zab_peer_sync(z, out, peer, z->phase == ZAB_SERVING ? z->decided_zxid : z->initial_zxid);
}

static bool has_epoch_acked(const struct zab *z, const struct zab_peer *p, int64_t zxid)
{
	(void)z, (void)zxid;
	return !p || p->epoch_acked;
}

/* With the ACKEPOCHs of a quorum this history is the newest that can matter. */
static void check_epoch(struct zab *z, struct zab_out *out)
{
	if (z->phase != ZAB_EPOCH || !has_quorum(z, z->committed, NULL, 0, has_epoch_acked))
		return;
	z->current_epoch = z->epoch;
	out->flags |= ZAB_OUT_EPOCHS;
	z->phase = ZAB_SYNC;
	z->phase_ms = z->now_ms + zab_ticks(z, z->opt.init_limit);
	for (int32_t i = 0; i < z->peers_end; i++)
		if (z->peer[i].phase == ZAB_PEER_ACKED)
			sync_now(z, out, i);
	zab_leader_advance(z, out);
}

static bool has_promised(const struct zab *z, const struct zab_peer *p, int64_t zxid)
{
	(void)z, (void)zxid;
	return !p || p->phase >= ZAB_PEER_INFO;
}

/*
 * The first configuration takes a version, so that it precedes those of servers that want to join.
 * It counts when the members have agreed on it, with NEWLEADER (Leader.lead).
 */
static void give_version(struct zab *z, struct zab_out *out)
{
	if (!z->opt.first || z->committed->version || (z->last_seen && z->last_seen->version))
		return;
	*z->opt.first = *z->committed;
	z->opt.first->version = zab_start_of(z);
	z->last_seen = z->opt.first;
	out->flags |= ZAB_OUT_CONFIG;
}

/* With the promises of a quorum the epoch is fixed, and promised here. */
static void check_discovery(struct zab *z, struct zab_out *out)
{
	if (z->phase != ZAB_DISCOVERY || !has_quorum(z, z->committed, NULL, 0, has_promised))
		return;
	if (BUG(EPOCH_REUSED) && z->accepted_epoch > 0)
		z->epoch = z->accepted_epoch;
	z->accepted_epoch = z->epoch;
	out->flags |= ZAB_OUT_EPOCHS;
	give_version(z, out);
	z->phase = ZAB_EPOCH;
	z->phase_ms = z->now_ms + zab_ticks(z, z->opt.init_limit);
	for (int32_t i = 0; i < z->peers_end; i++)
		if (z->peer[i].phase == ZAB_PEER_INFO)
			zab_peer_put_leaderinfo(z, i);
	check_epoch(z, out);
}

/* There is a newer snapshot. */
void zab_leader_state(struct zab *z, struct zab_out *out)
{
	if (z->phase != ZAB_SYNC && z->phase != ZAB_SERVING)
		return;
	for (int32_t i = 0; i < z->peers_end; i++)
		if (z->peer[i].phase == ZAB_PEER_ACKED && z->peer[i].waits)
			sync_now(z, out, i);
}

static void begin(struct zab *z, struct zab_out *out)
{
	zab_become(z, out, ZAB_LEADING);
	out->flags |= ZAB_OUT_LISTEN;
	z->leader_sid = z->opt.sid;
	z->start_epoch = z->current_epoch;
	z->wants_state = false; /* of whom? */
	z->initial_zxid = z->last_zxid;
	z->decided_zxid = z->commit_zxid;
	z->reconfig_zxid = 0;
	z->peers_end = 0;
	z->n_syncs = 0;
	z->ping_ms = z->now_ms;
}

void zab_lead(struct zab *z, struct zab_out *out)
{
	begin(z, out);
	z->epoch = z->accepted_epoch + 1;
	z->phase = ZAB_DISCOVERY;
	z->phase_ms = z->now_ms + zab_ticks(z, z->opt.init_limit);
	check_discovery(z, out);
}

void zab_serve_alone(struct zab *z, struct zab_out *out)
{
	begin(z, out);
	z->phase = ZAB_SERVING;
	z->check_ms = UINT64_MAX;
	out->flags |= ZAB_OUT_SERVE;
}

/* --- packets ----------------------------------------------------------------------------- */

static void on_info(struct zab *z, struct zab_out *out, int32_t peer, const struct zab_packet *in)
{
	struct zab_peer *p = &z->peer[peer];
	int64_t promised = zab_epoch_of(in->zxid);

	if (!zab_peer_info(z, peer, in))
		return;
	if (z->phase != ZAB_DISCOVERY) {
		zab_peer_put_leaderinfo(z, peer);
		if (promised > z->epoch && !p->observer && z->opt.rejoin_step_down &&
		    z->phase == ZAB_SERVING && z->now_ms >= z->rejoin_ms) {
			z->rejoin_ms = z->now_ms + ZAB_REJOIN_MS;
			zab_to_looking(z, out, "a voter has promised a later epoch");
		}
		return;
	}
	p->phase = ZAB_PEER_INFO;
	p->deadline_ms = UINT64_MAX;
	/* Observers and strangers raise the epoch, too, so that they can join; not to its end. */
	if (promised + 1 > z->epoch &&
	    (quorum_config_is_voter(z->committed, in->sid) || promised < z->epoch + ZAB_EPOCH_LEAP))
		z->epoch = promised + 1;
	check_discovery(z, out);
}

static void on_ack_epoch(struct zab *z, struct zab_out *out, int32_t peer,
			 const struct zab_packet *in)
{
	struct zab_peer *p = &z->peer[peer];
	bool ahead = in->current_epoch > z->start_epoch ||
		     (in->current_epoch == z->start_epoch && in->zxid > z->initial_zxid);

	if (in->type != QUORUM_ACKEPOCH || in->current_epoch < -1 || in->zxid < -1) {
		zab_peer_drop(z, peer, "not an ACKEPOCH");
		return;
	}
	if (in->current_epoch != -1 && ahead && !BUG(AHEAD_IGNORED)) {
		zab_peer_drop(z, peer, "the learner's history is newer than the leader's");
		return;
	}
	p->epoch_acked = in->current_epoch != -1 && in->zxid != -1;
	p->last_zxid = in->zxid;
	p->phase = ZAB_PEER_ACKED;
	p->deadline_ms = UINT64_MAX;
	if (z->phase == ZAB_EPOCH)
		check_epoch(z, out);
	else
		sync_now(z, out, peer);
}

static void acked(struct zab *z, struct zab_out *out, struct zab_peer *p, int64_t zxid)
{
	if (zxid <= p->acked)
		return;
	p->acked = zxid;
	if (p->timed_zxid && zxid >= p->timed_zxid) {
		p->timed_zxid = zxid < z->last_zxid && !p->observer ? z->last_zxid : 0;
		p->timed_ms = z->now_ms + zab_ticks(z, z->opt.sync_limit);
	}
	if (!p->observer || BUG(OBSERVER_COUNTED))
		zab_leader_advance(z, out);
}

static void on_ack(struct zab *z, struct zab_out *out, int32_t peer, int64_t zxid)
{
	struct zab_peer *p = &z->peer[peer];

	if (zxid > z->last_zxid && zxid != zab_start_of(z)) {
		zab_peer_drop(z, peer, "an ACK of what was never proposed");
		return;
	}
	if (zxid > zab_start_of(z) && !p->acked && !BUG(EARLY_ACK_COUNTS)) {
		/* It holds the transaction, but has not taken over the epoch yet: elected with its
		 * old one it could lose against a shorter history. Java's followers do that. */
		p->early = zxid > p->early ? zxid : p->early;
	} else if (zxid > zab_start_of(z)) {
		acked(z, out, p, zxid);
	} else if (zxid == zab_start_of(z) && !p->acked) {
		acked(z, out, p, zxid);
		if ((z->phase == ZAB_SERVING || BUG(UPTODATE_EARLY)) && p->phase == ZAB_PEER_SYNC)
			zab_peer_put_uptodate(z, peer);
		if (z->role == ZAB_LEADING && p->phase != ZAB_PEER_NONE && p->early)
			acked(z, out, p, p->early);
	}
}

void zab_leader_receive(struct zab *z, struct zab_out *out, int32_t peer,
			const struct zab_packet *in)
{
	struct zab_peer *p = &z->peer[peer];

	switch (p->phase) {
	case ZAB_PEER_HELLO:
		on_info(z, out, peer, in);
		return;
	case ZAB_PEER_ACKE:
		on_ack_epoch(z, out, peer, in);
		return;
	case ZAB_PEER_SYNC:
	case ZAB_PEER_ACTIVE:
		zab_peer_heard(z, peer, in);
		if (in->type == QUORUM_ACK)
			on_ack(z, out, peer, in->zxid);
		else
			zab_peer_deliver(z, out, peer, in);
		return;
	default:
		zab_peer_drop(z, peer, "a packet where none is due");
	}
}

int zab_leader_sync(struct zab *z, int32_t peer)
{
	if (z->n_syncs == ZAB_SYNCS_MAX)
		return -EBUSY;
	z->sync[(z->sync_head + z->n_syncs++) % ZAB_SYNCS_MAX] =
	    (struct zab_sync){peer, z->last_zxid};
	answer_syncs(z);
	return 0;
}

/* --- proposals --------------------------------------------------------------------------- */

int zab_leader_submit(struct zab *z, struct zab_out *out, const struct zab_event *event)
{
	const struct quorum_config *config = event->config;

	if (event->zxid != zab_next_zxid(z))
		return -EPROTO;
	if (config &&
	    (z->opt.standalone || z->reconfig_zxid || config->version <= z->committed->version))
		return -EPROTO;
	if (!zab_has_room(z, 1))
		return -EBUSY;
	zab_append(z, out, event->zxid);
	if (config) {
		z->last_seen = config;
		z->reconfig_zxid = event->zxid;
		out->flags |= ZAB_OUT_CONFIG;
	}
	for (int32_t i = 0; i < z->peers_end; i++) {
		struct zab_peer *p = &z->peer[i];

		if (p->phase < ZAB_PEER_SYNC || p->observer || (BUG(JOIN_AT_ACK) && !p->acked))
			continue;
		zab_put_range(z, i, QUORUM_PROPOSAL, event->zxid, event->zxid);
		z->send[z->n_send - 1].packet.config = config;
		if (!p->timed_zxid) {
			p->timed_zxid = event->zxid;
			p->timed_ms = z->now_ms + zab_ticks(z, z->opt.sync_limit);
		}
	}
	if (BUG(LEADER_ACK_BEFORE_DURABLE))
		zab_leader_advance(z, out);
	return 0;
}

/* --- time -------------------------------------------------------------------------------- */

static bool is_in_touch(const struct zab *z, const struct zab_peer *p, int64_t zxid)
{
	(void)zxid;
	return !p || (p->phase == ZAB_PEER_ACTIVE && p->deadline_ms > z->now_ms);
}

bool zab_would_have_quorum(const struct zab *z, const struct quorum_config *config)
{
	return z->phase == ZAB_SERVING && has_quorum(z, config, NULL, 0, is_in_touch);
}

void zab_leader_timeout(struct zab *z, struct zab_out *out)
{
	if (z->opt.standalone)
		return;
	if (z->now_ms >= z->phase_ms) {
		zab_to_looking(z, out, "no quorum of followers in time");
		return;
	}
	zab_peers_drop_late(z);
	if (z->phase == ZAB_SERVING && z->now_ms >= z->check_ms) {
		z->check_ms = z->now_ms + z->opt.tick_ms;
		if (!has_quorum(z, z->committed, z->last_seen, 0, is_in_touch) &&
		    !BUG(LEADER_STAYS)) {
			zab_to_looking(z, out, "the quorum is out of touch");
			return;
		}
	}
	zab_peers_ping(z);
}

uint64_t zab_leader_deadline(const struct zab *z)
{
	uint64_t at = z->phase_ms;

	if (z->opt.standalone)
		return UINT64_MAX;
	if (z->phase == ZAB_SERVING && z->check_ms < at)
		at = z->check_ms;
	return zab_peers_deadline(z, at);
}

void zab_leader_check(const struct zab *z)
{
	CHECK(z->ready);
	CHECK(!z->must_sync || BUG(MUST_SYNC_VOTES));
	CHECK(z->phase >= ZAB_DISCOVERY && z->phase <= ZAB_SERVING);
	CHECK(z->phase == ZAB_DISCOVERY || z->accepted_epoch == z->epoch); /* I7 */
	CHECK((z->phase != ZAB_SYNC && z->phase != ZAB_SERVING) || z->current_epoch == z->epoch);
	CHECK(z->phase == ZAB_SERVING || z->last_zxid == z->initial_zxid);
	CHECK(z->phase != ZAB_SERVING || z->decided_zxid >= z->initial_zxid);
	CHECK(z->decided_zxid <= z->last_zxid); /* I8 */
	CHECK(zab_epoch_of(z->last_zxid) == z->epoch || z->last_zxid == z->initial_zxid);
	for (int32_t i = 0; i < z->peers_end; i++) {
		const struct zab_peer *p = &z->peer[i];

		CHECK(p->phase <= ZAB_PEER_ACTIVE);
		CHECK(p->acked <= z->last_zxid || p->acked == zab_start_of(z));
		CHECK(p->phase >= ZAB_PEER_SYNC || p->acked == 0);
		CHECK(p->phase < ZAB_PEER_SYNC ||
		      z->phase >= ZAB_SYNC); /* no sync before ACKEPOCHs */
		CHECK(p->phase != ZAB_PEER_ACTIVE || z->phase == ZAB_SERVING ||
		      BUG(UPTODATE_EARLY));
	}
}

/*
 * relay.c - a follower as a master of observers (quorum.md 3.14; ObserverMaster)
 *
 * Observers that connect here are peers 1.. of a follower in service; peer 0 is its leader. They
 * are told what the leader said is decided, in its order, and nothing else: no proposal, and from
 * the log no more than what is committed here. The epoch is the leader's and was promised to it;
 * observers promise and acknowledge nothing that counts, so nothing waits for them.
 *
 * An observer that comes from another master, or from the leader, may have more than is committed
 * here. It is held until that is so here, too: cut off is only what no leader of this epoch had.
 */
#include <errno.h>

#include "quorum/zab_impl.h"

bool zab_relays(const struct zab *z)
{
	return z->opt.serves_observers && z->role == ZAB_FOLLOWING && z->phase == ZAB_ACTIVE;
}

/* Does it have what is decided, or may be, and is not committed here yet? */
static bool is_ahead(const struct zab *z, int64_t p)
{
	if (zab_epoch_of(p) == z->epoch && zab_counter_of(p) != 0)
		return p > z->commit_zxid;
	return p >= 0 && zab_history_floor(&z->history, p) > z->commit_zxid;
}

static void sync_or_hold(struct zab *z, struct zab_out *out, int32_t peer)
{
	struct zab_peer *p = &z->peer[peer];
	int64_t next = z->commit_zxid + 1;

	if (!p->waits && is_ahead(z, p->last_zxid) && !BUG(AHEAD_NOT_HELD)) {
		if (!p->held)
			p->deadline_ms = z->now_ms + zab_ticks(z, z->opt.init_limit);
		p->held = true;
		return;
	}
	if (p->held)
		p->deadline_ms = UINT64_MAX; /* until there is a state, if it takes one */
	p->held = false;
	if (!zab_peer_sync(z, out, peer, z->commit_zxid) || z->decided_zxid <= z->commit_zxid ||
	    BUG(INFORM_LEFT_OUT))
		return;
	/* Of this epoch: the history before it was durable before its leader was acknowledged. */
	if (next <= zab_start_of(z))
		next = zab_start_of(z) + 1;
	zab_put_range(z, peer, QUORUM_INFORM, next, z->decided_zxid);
}

/* --- packets ----------------------------------------------------------------------------- */

static void on_ack_epoch(struct zab *z, struct zab_out *out, int32_t peer,
			 const struct zab_packet *in)
{
	struct zab_peer *p = &z->peer[peer];

	if (in->type != QUORUM_ACKEPOCH || in->current_epoch < -1 || in->zxid < -1) {
		zab_peer_drop(z, peer, "not an ACKEPOCH");
		return;
	}
	if (in->current_epoch > z->epoch || zab_epoch_of(in->zxid) > z->epoch) {
		zab_peer_drop(z, peer, "the observer's history is of a later epoch");
		return;
	}
	p->last_zxid = in->zxid;
	p->phase = ZAB_PEER_ACKED;
	p->deadline_ms = UINT64_MAX;
	sync_or_hold(z, out, peer);
}

static void on_ack(struct zab *z, int32_t peer, int64_t zxid)
{
	struct zab_peer *p = &z->peer[peer];

	if (zxid != zab_start_of(z) || p->acked)
		return; /* of single transactions it has none to give, and none counts */
	p->acked = zxid;
	zab_peer_put_uptodate(z, peer);
}

int zab_relay_connected(struct zab *z, int32_t peer)
{
	if (!zab_relays(z) || peer >= ZAB_PEERS_MAX || z->peer[peer].phase != ZAB_PEER_NONE)
		return -EPROTO;
	zab_peer_connected(z, peer);
	return 0;
}

void zab_relay_receive(struct zab *z, struct zab_out *out, int32_t peer,
		       const struct zab_packet *in)
{
	switch (z->peer[peer].phase) {
	case ZAB_PEER_HELLO:
		if (zab_peer_info(z, peer, in))
			zab_peer_put_leaderinfo(z, peer);
		return;
	case ZAB_PEER_ACKE:
		on_ack_epoch(z, out, peer, in);
		return;
	case ZAB_PEER_SYNC:
	case ZAB_PEER_ACTIVE:
		zab_peer_heard(z, peer, in);
		if (in->type == QUORUM_ACK)
			on_ack(z, peer, in->zxid);
		else
			zab_peer_deliver(z, out, peer, in);
		return;
	default:
		zab_peer_drop(z, peer, "a packet where none is due");
	}
}

/* --- what becomes of the follower -------------------------------------------------------- */

void zab_relay_advance(struct zab *z, struct zab_out *out)
{
	if (!zab_relays(z))
		return;
	for (int32_t i = 1; i < z->peers_end; i++)
		if (z->peer[i].phase == ZAB_PEER_ACKED && z->peer[i].held)
			sync_or_hold(z, out, i);
}

void zab_relay_state(struct zab *z, struct zab_out *out)
{
	if (!zab_relays(z))
		return;
	for (int32_t i = 1; i < z->peers_end; i++)
		if (z->peer[i].phase == ZAB_PEER_ACKED && z->peer[i].waits)
			sync_or_hold(z, out, i);
}

void zab_relay_timeout(struct zab *z)
{
	if (!zab_relays(z))
		return;
	zab_peers_drop_late(z);
	zab_peers_ping(z);
}

void zab_relay_check(const struct zab *z)
{
	CHECK(z->peers_end <= ZAB_PEERS_MAX);
	CHECK(!z->peers_end || zab_relays(z));
	CHECK(z->peer[0].phase == ZAB_PEER_NONE); /* the leader's place */
	for (int32_t i = 1; i < z->peers_end; i++) {
		const struct zab_peer *p = &z->peer[i];

		CHECK(p->phase <= ZAB_PEER_ACTIVE);
		CHECK(p->phase < ZAB_PEER_ACKE || p->observer);
		CHECK(p->acked == 0 || p->acked == zab_start_of(z));
		CHECK((p->phase == ZAB_PEER_ACTIVE) == (p->acked != 0));
		CHECK(!p->held || p->phase == ZAB_PEER_ACKED);
		CHECK(!p->held || !p->waits);
		CHECK(p->timed_zxid == 0);
	}
}

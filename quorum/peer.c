/*
 * peer.c - connections of learners, whoever they are at: a leader (leader.c), or a follower that is
 * a master of observers (relay.c)
 */
#include <string.h>

#include "quorum/zab_impl.h"

/* --- life -------------------------------------------------------------------------------- */

void zab_peer_connected(struct zab *z, int32_t peer)
{
	z->peer[peer] = (struct zab_peer){
	    .phase = ZAB_PEER_HELLO,
	    .sid = -1,
	    .deadline_ms = z->now_ms + zab_ticks(z, z->opt.init_limit),
	};
	if (peer >= z->peers_end)
		z->peers_end = peer + 1;
}

void zab_peer_drop(struct zab *z, int32_t peer, const char *why)
{
	zab_put(z, peer, ZAB_SEND_CLOSE, 0, 0);
	memset(&z->peer[peer], 0, sizeof(z->peer[peer]));
	for (uint32_t i = 0; i < z->n_syncs; i++) {
		struct zab_sync *s = &z->sync[(z->sync_head + i) % ZAB_SYNCS_MAX];

		if (s->peer == peer)
			s->peer = -1;
	}
	z->why = why;
}

void zab_peer_lost(struct zab *z, int32_t peer)
{
	uint32_t n = z->n_send;

	zab_peer_drop(z, peer, NULL);
	z->n_send = n; /* there is nothing left to close */
}

/* --- discovery, synchronisation ---------------------------------------------------------- */

/* A later connection of the same server replaces the one before. */
static void replace_older(struct zab *z, int32_t peer)
{
	for (int32_t i = 0; i < z->peers_end; i++)
		if (i != peer && z->peer[i].phase > ZAB_PEER_HELLO &&
		    z->peer[i].sid == z->peer[peer].sid)
			zab_peer_drop(z, i, "the same server came again");
}

bool zab_peer_info(struct zab *z, int32_t peer, const struct zab_packet *in)
{
	struct zab_peer *p = &z->peer[peer];
	int64_t promised = zab_epoch_of(in->zxid);

	if (in->type != QUORUM_FOLLOWERINFO && in->type != QUORUM_OBSERVERINFO) {
		zab_peer_drop(z, peer, "not a learner's first packet");
		return false;
	}
	if (in->type == QUORUM_FOLLOWERINFO && z->role == ZAB_FOLLOWING) {
		zab_peer_drop(z, peer, "a follower at the port for observers");
		return false;
	}
	if (in->config_version > z->committed->version || promised < 0 ||
	    promised >= ZAB_EPOCH_MAX || in->sid == z->opt.sid) {
		zab_peer_drop(z, peer, "a learner's configuration, epoch or id is impossible");
		return false;
	}
	p->sid = in->sid;
	p->observer = in->type == QUORUM_OBSERVERINFO;
	replace_older(z, peer);
	return true;
}

void zab_peer_put_leaderinfo(struct zab *z, int32_t peer)
{
	zab_put(z, peer, ZAB_SEND_PACKET, QUORUM_LEADERINFO, zab_start_of(z));
	z->peer[peer].phase = ZAB_PEER_ACKE;
	z->peer[peer].deadline_ms = z->now_ms + zab_ticks(z, z->opt.init_limit);
}

bool zab_peer_sync(struct zab *z, struct zab_out *out, int32_t peer, int64_t upto)
{
	struct zab_peer *p = &z->peer[peer];

	if (!zab_sync_peer(z, peer, upto)) {
		if (!p->waits)
			p->wanted_zxid = z->commit_zxid;
		p->waits = true;
		out->flags |= ZAB_OUT_STATE;
		return false;
	}
	p->waits = false;
	p->phase = ZAB_PEER_SYNC;
	p->deadline_ms = z->now_ms + zab_ticks(z, z->opt.init_limit + z->opt.sync_limit);
	return true;
}

void zab_peer_put_uptodate(struct zab *z, int32_t peer)
{
	zab_put(z, peer, ZAB_SEND_PACKET, QUORUM_UPTODATE, -1);
	z->peer[peer].phase = ZAB_PEER_ACTIVE;
}

/* --- broadcast --------------------------------------------------------------------------- */

/*
 * To one learner, with the answers to its syncs where they belong: behind what was proposed before
 * it asked, and before what was proposed later. Apache's learners match commits and syncs of all
 * their clients by order alone (CommitProcessor.run).
 */
static void tell_peer(struct zab *z, int32_t peer, int64_t first, int64_t last)
{
	int32_t type = z->peer[peer].observer ? QUORUM_INFORM : QUORUM_COMMIT;

	for (uint32_t i = 0; i < z->n_syncs; i++) {
		struct zab_sync *s = &z->sync[(z->sync_head + i) % ZAB_SYNCS_MAX];

		if (s->zxid > last)
			break;
		if (s->peer != peer)
			continue;
		if (s->zxid >= first) {
			zab_put_range(z, peer, type, first, s->zxid);
			first = s->zxid + 1;
		}
		zab_put(z, peer, ZAB_SEND_PACKET, QUORUM_SYNC, 0);
		s->peer = -1;
	}
	if (first <= last)
		zab_put_range(z, peer, type, first, last);
}

void zab_peers_tell(struct zab *z, int64_t first, int64_t last)
{
	for (int32_t i = 0; i < z->peers_end; i++)
		if (z->peer[i].phase >= ZAB_PEER_SYNC)
			tell_peer(z, i, first, last);
}

void zab_peers_tell_activate(struct zab *z, int64_t zxid, int64_t sid)
{
	for (int32_t i = 0; i < z->peers_end; i++) {
		struct zab_send *s;

		if (z->peer[i].phase < ZAB_PEER_SYNC)
			continue;
		s = zab_put(z, i, ZAB_SEND_PACKET,
			    z->peer[i].observer ? QUORUM_INFORMANDACTIVATE
						: QUORUM_COMMITANDACTIVATE,
			    zxid);
		s->packet.sid = sid;
		s->packet.config = z->last_seen;
	}
}

void zab_peer_heard(struct zab *z, int32_t peer, const struct zab_packet *in)
{
	struct zab_peer *p = &z->peer[peer];

	if (p->acked || in->type == QUORUM_ACK)
		p->deadline_ms = z->now_ms + zab_ticks(z, z->opt.sync_limit);
}

void zab_peer_deliver(struct zab *z, struct zab_out *out, int32_t peer, const struct zab_packet *in)
{
	switch (in->type) {
	case QUORUM_PING:
	case QUORUM_REQUEST:
	case QUORUM_REVALIDATE:
		if (z->peer[peer].phase == ZAB_PEER_ACTIVE)
			out->flags |= ZAB_OUT_DELIVER;
		else
			zab_peer_drop(z, peer, "a request before UPTODATE");
		return;
	default: /* unknown ones are ignored in broadcast (quorum.md 3.2) */
		return;
	}
}

/* --- time -------------------------------------------------------------------------------- */

void zab_peers_ping(struct zab *z)
{
	if (z->now_ms < z->ping_ms)
		return;
	z->ping_ms = z->now_ms + z->opt.tick_ms / 2;
	for (int32_t i = 0; i < z->peers_end; i++)
		if (z->peer[i].phase >= ZAB_PEER_SYNC)
			zab_put(z, i, ZAB_SEND_PACKET, QUORUM_PING, z->last_zxid);
}

void zab_peers_drop_late(struct zab *z)
{
	for (int32_t i = 0; i < z->peers_end; i++) {
		struct zab_peer *p = &z->peer[i];

		if (p->phase == ZAB_PEER_NONE)
			continue;
		if (p->deadline_ms <= z->now_ms)
			zab_peer_drop(z, i, "nothing heard of a learner in time");
		else if (p->timed_zxid && p->timed_ms <= z->now_ms)
			zab_peer_drop(z, i, "a learner does not acknowledge in time");
	}
}

uint64_t zab_peers_deadline(const struct zab *z, uint64_t at)
{
	if (z->peers_end && z->ping_ms < at)
		at = z->ping_ms;
	for (int32_t i = 0; i < z->peers_end; i++) {
		const struct zab_peer *p = &z->peer[i];

		if (p->phase == ZAB_PEER_NONE)
			continue;
		if (p->deadline_ms < at)
			at = p->deadline_ms;
		if (p->timed_zxid && p->timed_ms < at)
			at = p->timed_ms;
	}
	return at;
}

/*
 * sync.c - what a learner lacks: DIFF, TRUNC or SNAP (quorum.md 3.5, 6.4, 6.5)
 *
 * p is the last zxid of the learner's log, as ACKEPOCH says. Two logs that have the same zxid are
 * equal up to it (history.h), so:
 *
 *	p is in the leader's history				DIFF, what follows p
 *	p starts an epoch whose first transaction is here	DIFF, from that one on
 *	p starts the newest epoch taken over here, after which
 *	    nothing was proposed				DIFF, nothing
 *	p is above the leader's last transaction z of p's own
 *	    epoch: the learner has z, and tail that nobody needs	TRUNC z, what follows z
 *	else, or p is -1 (lost its log), or it lacks more than
 *	    diff_max transactions, or is below far_zxid		SNAP, what follows it
 *
 * SNAP is the newest snapshot. It must not be older than p: Apache's learners find what their log
 * has above it again at the next restart (6.4 B2, 6.5.5). If it is, one of what is published now is
 * asked for; when even that is not newer, it has to do: nobody has anything that is.
 *
 * Across epochs TRUNC can't be used: that the learner holds the leader's last transaction below p
 * is not known. What follows goes in pairs of PROPOSAL and COMMIT; behind NEWLEADER what is not
 * decided (6.5.2: Apache's 3.8.0 fails with the other order).
 */
#include "quorum/zab_impl.h"

/* The start of an epoch that we have taken over whole, from its first transaction on? */
static bool starts_known_epoch(const struct zab *z, int64_t p)
{
	int64_t next = zab_history_next(&z->history, p);

	if (zab_counter_of(p) != 0 || p <= z->history.base)
		return false;
	if (next)
		return next == p + 1;
	return zab_epoch_of(p) == z->epoch || zab_epoch_of(p) == z->start_epoch;
}

static void put_history(struct zab *z, int32_t peer, int64_t after, int64_t upto)
{
	struct zab_send *s;

	if (BUG(DIFF_TOO_LATE) && z->phase == ZAB_SERVING)
		after = zab_history_next(&z->history, after);
	if (after >= upto)
		return;
	s = zab_put(z, peer, ZAB_SEND_HISTORY, QUORUM_PROPOSAL, upto);
	s->first = after;
	s->last = upto;
}

/* Is it less work to send a state, one that leaves less to send behind it? */
static bool is_far_behind(const struct zab *z, int64_t p, int64_t upto)
{
	return z->opt.diff_max && z->state_zxid > p && z->state_zxid >= z->history.base &&
	       (p < z->far_zxid ||
		zab_history_count(&z->history, p, upto) > z->opt.diff_max);
}

/* One that was asked for is as of then. An old one is enough if little has to be sent behind it. */
static bool has_state_for(const struct zab *z, int32_t peer, int64_t p)
{
	if (z->state_zxid < z->history.base)
		return false; /* what follows it can't be read */
	if (z->peer[peer].waits)
		return z->state_zxid >= z->peer[peer].wanted_zxid;
	if (!z->state_zxid)
		return false; /* no snapshot was written yet */
	if (z->state_zxid >= z->commit_zxid)
		return true;
	return z->state_zxid >= p &&
	       zab_history_count(&z->history, z->state_zxid, z->commit_zxid) <= z->opt.diff_max;
}

/* The operation packet. The zxid that the learner then has; -1: there is no state for it yet. */
static int64_t put_operation(struct zab *z, int32_t peer, int64_t p, int64_t upto)
{
	int64_t floor = p < 0 ? -1 : zab_history_floor(&z->history, p);

	if (((floor == p && p >= 0) || starts_known_epoch(z, p) || BUG(DIFF_FOR_ALL)) &&
	    !is_far_behind(z, p, upto)) {
		/* What it may have beyond `upto` in our own epoch it has durable: that counts as
		 * acknowledged with NEWLEADER. */
		if (zab_epoch_of(p) == z->epoch && floor == p)
			z->peer[peer].early = p;
		zab_put(z, peer, ZAB_SEND_PACKET, QUORUM_DIFF, upto);
		return p;
	}
	if (floor >= z->history.base && floor != p && zab_counter_of(floor) != 0 &&
	    zab_epoch_of(floor) == zab_epoch_of(p)) {
		zab_put(z, peer, ZAB_SEND_PACKET, QUORUM_TRUNC, floor);
		return floor;
	}
	if (!has_state_for(z, peer, p))
		return -1;
	zab_put(z, peer, ZAB_SEND_STATE, QUORUM_SNAP, z->state_zxid);
	return z->state_zxid;
}

bool zab_sync_peer(struct zab *z, int32_t peer, int64_t upto)
{
	int64_t has = put_operation(z, peer, z->peer[peer].last_zxid, upto);
	struct zab_send *s;

	if (has < 0)
		return false;
	put_history(z, peer, has, upto);
	s = zab_put(z, peer, ZAB_SEND_PACKET, QUORUM_NEWLEADER, zab_start_of(z));
	/* In service what is only proposed comes as a proposal. */
	s->packet.config = z->last_seen && z->role == ZAB_LEADING && z->phase != ZAB_SERVING
			       ? z->last_seen
			       : z->committed;
	if (has < upto)
		has = upto;
	if (zab_counter_of(has) == 0 || zab_epoch_of(has) < z->epoch)
		has = zab_start_of(z);
	if (!z->peer[peer].observer && z->last_zxid > has)
		zab_put_range(z, peer, QUORUM_PROPOSAL, has + 1, z->last_zxid);
	return true;
}

/*
 * learner.c - the learner: promise, take over a history, follow (quorum.md 3.4, 3.6, 3.8)
 *
 * Every PROPOSAL goes to the log as it comes, in whatever phase: the log stays a prefix of a legal
 * leader's history, so nothing is lost if we stop there. What is claimed is another matter: the
 * epoch is taken over, and NEWLEADER acknowledged, when all that came before it is durable; single
 * proposals are acknowledged after that, each when it is durable (I3). What DIFF leaves standing,
 * and what TRUNC cuts off, was never published here.
 */
#include <errno.h>

#include "quorum/zab_impl.h"

static int give_up(struct zab *z, struct zab_out *out, const char *why)
{
	zab_put(z, 0, ZAB_SEND_CLOSE, 0, 0);
	zab_to_looking(z, out, why);
	return 0;
}

static void wait_ticks(struct zab *z, uint32_t ticks)
{
	z->phase_ms = z->now_ms + zab_ticks(z, ticks);
}

void zab_follow(struct zab *z, struct zab_out *out, int64_t sid)
{
	zab_become(z, out, z->opt.observer ? ZAB_OBSERVING : ZAB_FOLLOWING);
	out->flags |= ZAB_OUT_CONNECT;
	z->phase = ZAB_CONNECT;
	z->leader_sid = sid;
	wait_ticks(z, z->opt.init_limit);
}

void zab_learner_connected(struct zab *z)
{
	struct zab_send *s =
	    zab_put(z, 0, ZAB_SEND_PACKET,
		    z->role == ZAB_OBSERVING ? QUORUM_OBSERVERINFO : QUORUM_FOLLOWERINFO,
		    zab_zxid(z->accepted_epoch, 0));

	s->packet.sid = z->opt.sid;
	s->packet.config_version = z->committed->version;
	z->phase = ZAB_HELLO;
	wait_ticks(z, z->opt.init_limit);
}

/* --- discovery --------------------------------------------------------------------------- */

static int on_leaderinfo(struct zab *z, struct zab_out *out, const struct zab_packet *in)
{
	int64_t epoch = zab_epoch_of(in->zxid);
	struct zab_send *s;

	if (in->type != QUORUM_LEADERINFO || zab_counter_of(in->zxid) != 0 || epoch < 1 ||
	    epoch > ZAB_EPOCH_MAX)
		return give_up(z, out, "not a LEADERINFO");
	if (epoch < z->accepted_epoch && !BUG(OLD_LEADER_ACCEPTED))
		return give_up(z, out, "the leader's epoch is below the promise");
	s = zab_put(z, 0, ZAB_SEND_PACKET, QUORUM_ACKEPOCH, z->last_zxid);
	/* A promise given before, perhaps to another leader of this epoch, must not count again. */
	if (epoch > z->accepted_epoch || BUG(SAME_EPOCH_COUNTS) || BUG(OLD_LEADER_ACCEPTED))
		s->packet.current_epoch = (int32_t)z->current_epoch;
	/* I12. Whoever asks for a state claims no history, so it does not count for this epoch. Its
	 * log is whole: it votes, and asks once, lest an ensemble whose members all ask has no
	 * quorum for ever. */
	if ((z->must_sync && !BUG(MUST_SYNC_VOTES)) || z->wants_state) {
		s->packet.zxid = -1;
		s->packet.current_epoch = -1;
		z->wants_state = false;
	}
	if (epoch > z->accepted_epoch) {
		z->accepted_epoch = epoch;
		if (!BUG(PROMISE_NOT_STORED))
			out->flags |= ZAB_OUT_EPOCHS;
	}
	z->epoch = epoch;
	z->phase = ZAB_ACKED;
	return 0;
}

/* --- synchronisation --------------------------------------------------------------------- */

static int on_trunc(struct zab *z, struct zab_out *out, int64_t zxid)
{
	if (!zab_history_has(&z->history, zxid))
		return give_up(z, out, "TRUNC to what the log does not have");
	if (zxid < z->commit_zxid)
		return give_up(z, out, "TRUNC of what was published");
	if (zxid == z->last_zxid)
		return 0;
	if (BUG(TRUNC_SKIPPED)) {
		z->history.n = 0;
		z->history.base = z->last_zxid = z->durable_zxid = zxid;
		return 0;
	}
	zab_history_cut(&z->history, zxid);
	z->last_zxid = z->durable_zxid = zxid;
	z->ready = false;
	out->cut_zxid = zxid;
	return 0;
}

static int on_snap(struct zab *z, struct zab_out *out, int64_t zxid)
{
	z->old.history = z->history;
	z->old.last_zxid = z->last_zxid;
	zab_history_init(&z->history, zxid);
	z->last_zxid = z->durable_zxid = zxid;
	z->staged = true;
	z->ready = false;
	out->snapshot_zxid = zxid;
	if (BUG(SNAP_IN_PLACE))
		out->flags |= ZAB_OUT_EPOCHS | ZAB_OUT_INSTALL;
	return 0;
}

static int on_operation(struct zab *z, struct zab_out *out, const struct zab_packet *in)
{
	if (in->zxid < 0 || zab_epoch_of(in->zxid) > z->epoch)
		return give_up(z, out, "a negative zxid, or of a later epoch");
	if (z->must_sync && in->type != QUORUM_SNAP && !BUG(MUST_SYNC_VOTES))
		return give_up(z, out, "no SNAP for a member that lost its log");
	z->phase = ZAB_SYNC;
	switch (in->type) {
	case QUORUM_DIFF:
		break;
	case QUORUM_TRUNC:
		on_trunc(z, out, in->zxid);
		break;
	case QUORUM_SNAP:
		on_snap(z, out, in->zxid);
		break;
	default:
		return give_up(z, out, "neither DIFF, TRUNC nor SNAP");
	}
	/* What we have in the leader's own epoch beyond DIFF's zxid is not decided yet. */
	z->decided_zxid = in->type == QUORUM_DIFF && in->zxid < z->last_zxid
			      ? zab_history_floor(&z->history, in->zxid)
			      : z->last_zxid;
	return 0;
}

/* The last seen configuration is NEWLEADER's: one of a proposal that this leader does not have is
 * no more. It is in force with UPTODATE; a proposal may bring a later one meanwhile. */
static void take_config(struct zab *z, struct zab_out *out, const struct quorum_config *config)
{
	z->proposed = config;
	if (!config || config->version < z->committed->version || config == z->last_seen)
		return;
	z->last_seen = config;
	out->flags |= ZAB_OUT_CONFIG;
}

static int on_newleader(struct zab *z, struct zab_out *out, const struct zab_packet *in)
{
	if (in->zxid != zab_start_of(z) || z->phase != ZAB_SYNC)
		return give_up(z, out, "NEWLEADER of another epoch, or twice");
	if (z->last_zxid < z->commit_zxid)
		return give_up(z, out, "the leader lacks what was published here");
	z->initial_zxid = z->last_zxid;
	take_config(z, out, in->config);
	z->phase = ZAB_STORING;
	if (BUG(EARLY_ACK_COUNTS))
		z->acked_zxid = zab_start_of(z);
	if (BUG(EPOCH_BEFORE_HISTORY)) {
		z->current_epoch = z->epoch;
		out->flags |= ZAB_OUT_EPOCHS;
	}
	zab_learner_durable(z, out);
	return 0;
}

static void ack_newleader(struct zab *z, struct zab_out *out)
{
	if (z->staged) {
		out->flags |= ZAB_OUT_INSTALL;
		z->staged = false;
		/* The leader's state was published there: it is committed. */
		if (z->history.base > z->commit_zxid)
			z->commit_zxid = z->history.base;
		z->state_zxid = z->history.base;
	}
	z->must_sync = false;
	z->current_epoch = z->epoch;
	out->flags |= ZAB_OUT_EPOCHS;
	z->phase = ZAB_NLACKED;
	wait_ticks(z, z->opt.sync_limit);
	/* What is decided needs no ACK of ours; the rest of this epoch gets one each. */
	z->acked_zxid = z->decided_zxid < z->durable_zxid ? z->decided_zxid : z->durable_zxid;
	if (z->acked_zxid < zab_start_of(z))
		z->acked_zxid = zab_start_of(z);
	zab_put(z, 0, ZAB_SEND_PACKET, QUORUM_ACK, zab_start_of(z));
}

static void ack_proposals(struct zab *z)
{
	int64_t upto = BUG(ACK_BEFORE_DURABLE) ? z->last_zxid : z->durable_zxid;

	if (z->role == ZAB_OBSERVING || upto <= z->acked_zxid || upto <= zab_start_of(z))
		return;
	zab_put_range(z, 0, QUORUM_ACK, z->acked_zxid + 1, upto);
	z->acked_zxid = upto;
}

void zab_learner_durable(struct zab *z, struct zab_out *out)
{
	bool stored = z->ready && z->durable_zxid >= z->initial_zxid;

	if (z->phase == ZAB_STORING &&
	    (stored || BUG(NEWLEADER_BEFORE_DURABLE) ||
	     (BUG(CUT_NOT_DURABLE) && z->durable_zxid >= z->initial_zxid)))
		ack_newleader(z, out);
	if (z->phase == ZAB_NLACKED || z->phase == ZAB_ACTIVE ||
	    (BUG(EARLY_ACK_COUNTS) && z->phase == ZAB_STORING))
		ack_proposals(z);
	zab_publish(z);
	zab_relay_advance(z, out);
}

static int on_uptodate(struct zab *z, struct zab_out *out)
{
	if (z->phase != ZAB_NLACKED)
		return give_up(z, out, "UPTODATE before the ACK of NEWLEADER");
	if (z->decided_zxid < z->commit_zxid)
		return give_up(z, out, "the leader has not committed what was published here");
	z->phase = ZAB_ACTIVE;
	zab_activate(z, out, z->proposed);
	z->proposed = NULL;
	if (zab_role_differs(z) && z->opt.first)
		return give_up(z, out, "the configuration has another role for this server");
	out->flags |= ZAB_OUT_SERVE;
	zab_put(z, 0, ZAB_SEND_PACKET, QUORUM_ACK, zab_start_of(z));
	zab_publish(z);
	if (zab_relays(z)) {
		out->flags |= ZAB_OUT_LISTEN;
		z->ping_ms = z->now_ms;
	}
	return 0;
}

/* --- transactions ------------------------------------------------------------------------ */

/* Java's leaders may repeat, behind SNAP, what it holds already. */
static bool is_repeated(const struct zab *z, int64_t zxid)
{
	return z->phase == ZAB_SYNC && z->staged && zxid <= z->history.base;
}

static int on_proposal(struct zab *z, struct zab_out *out, const struct zab_packet *in)
{
	if (is_repeated(z, in->zxid))
		return 0;
	if (!zab_history_follows(&z->history, in->zxid))
		return give_up(z, out, "a proposal that does not follow the last one"); /* I4 */
	if (zab_epoch_of(in->zxid) > z->epoch ||
	    (z->phase != ZAB_SYNC && zab_epoch_of(in->zxid) != z->epoch))
		return give_up(z, out, "a proposal of another epoch");
	if (z->last_zxid != z->durable_zxid && in->zxid - z->durable_zxid > ZAB_WINDOW &&
	    zab_epoch_of(in->zxid) == zab_epoch_of(z->durable_zxid))
		return -EBUSY;
	zab_append(z, out, in->zxid);
	if (in->config && in->config->version > z->committed->version) {
		z->last_seen = in->config;
		out->flags |= ZAB_OUT_CONFIG;
	}
	if (BUG(INFORM_TOO_EARLY))
		zab_peers_tell(z, in->zxid, in->zxid);
	if (BUG(ACK_BEFORE_DURABLE) && (z->phase == ZAB_NLACKED || z->phase == ZAB_ACTIVE))
		ack_proposals(z);
	return 0;
}

static int decide(struct zab *z, struct zab_out *out, int64_t zxid)
{
	if (zxid != zab_history_next(&z->history, z->decided_zxid))
		return give_up(z, out, "a COMMIT that is not of the oldest proposal"); /* I5 */
	z->decided_zxid = zxid;
	zab_publish(z);
	return 0;
}

static int on_commit(struct zab *z, struct zab_out *out, int64_t zxid)
{
	if (is_repeated(z, zxid))
		return 0;
	decide(z, out, zxid);
	if (!BUG(INFORM_TOO_EARLY))
		zab_peers_tell(z, zxid, zxid);
	zab_relay_advance(z, out);
	return 0;
}

static int on_activate(struct zab *z, struct zab_out *out, const struct zab_packet *in)
{
	if (!is_repeated(z, in->zxid))
		decide(z, out, in->zxid);
	if (z->role == ZAB_LOOKING)
		return 0;
	zab_peers_tell_activate(z, in->zxid, in->sid);
	zab_relay_advance(z, out);
	if (z->last_seen && z->last_seen->version <= in->zxid)
		zab_activate(z, out, z->last_seen);
	if (in->sid != z->leader_sid)
		return give_up(z, out, "the new configuration names another leader");
	if (zab_role_differs(z))
		return give_up(z, out, "the new configuration has another role for this server");
	return 0;
}

static int on_inform(struct zab *z, struct zab_out *out, const struct zab_packet *in)
{
	int err;

	if (z->role != ZAB_OBSERVING)
		return give_up(z, out, "INFORM for a follower");
	err = on_proposal(z, out, in);
	if (err || z->role == ZAB_LOOKING)
		return err;
	return in->type == QUORUM_INFORM ? on_commit(z, out, in->zxid) : on_activate(z, out, in);
}

/* --- packets ----------------------------------------------------------------------------- */

static int on_broadcast(struct zab *z, struct zab_out *out, const struct zab_packet *in)
{
	switch (in->type) {
	case QUORUM_PROPOSAL:
		return on_proposal(z, out, in);
	case QUORUM_COMMIT:
		return on_commit(z, out, in->zxid);
	case QUORUM_COMMITANDACTIVATE:
		return on_activate(z, out, in);
	case QUORUM_INFORM:
	case QUORUM_INFORMANDACTIVATE:
		return on_inform(z, out, in);
	case QUORUM_NEWLEADER:
		return on_newleader(z, out, in);
	case QUORUM_UPTODATE:
		return on_uptodate(z, out);
	case QUORUM_PING:
	case QUORUM_SYNC:
	case QUORUM_REVALIDATE:
		/* Answers wait for service: a PING before UPTODATE gets none, as Java's. */
		if (z->phase == ZAB_ACTIVE)
			out->flags |= ZAB_OUT_DELIVER;
		return 0;
	case QUORUM_DIFF:
	case QUORUM_TRUNC:
	case QUORUM_SNAP:
	case QUORUM_LEADERINFO:
		return give_up(z, out, "a packet where none is due");
	default:
		return 0;
	}
}

int zab_learner_receive(struct zab *z, struct zab_out *out, const struct zab_packet *in)
{
	int err;

	if (z->phase == ZAB_HELLO)
		err = on_leaderinfo(z, out, in);
	else if (z->phase == ZAB_ACKED)
		err = on_operation(z, out, in);
	else
		err = on_broadcast(z, out, in);
	if (err || z->role == ZAB_LOOKING)
		return err;
	wait_ticks(z, z->phase == ZAB_NLACKED || z->phase == ZAB_ACTIVE ? z->opt.sync_limit
									: z->opt.init_limit);
	return 0;
}

void zab_learner_check(const struct zab *z)
{
	bool taken = z->phase == ZAB_NLACKED || z->phase == ZAB_ACTIVE;

	CHECK(z->phase >= ZAB_SYNC);
	CHECK(z->phase != ZAB_SERVING);
	CHECK(z->phase == ZAB_CONNECT || z->phase == ZAB_HELLO || z->accepted_epoch >= z->epoch);
	CHECK(!taken || z->current_epoch == z->epoch);
	CHECK(!taken || !z->staged);
	CHECK(!taken || z->ready || BUG(NEWLEADER_BEFORE_DURABLE) || BUG(CUT_NOT_DURABLE));
	CHECK(!taken || z->acked_zxid <= z->durable_zxid || z->acked_zxid == zab_start_of(z) ||
	      BUG(ACK_BEFORE_DURABLE)); /* I3 */
	CHECK(z->phase != ZAB_ACTIVE || z->decided_zxid <= z->last_zxid);
	zab_relay_check(z);
}

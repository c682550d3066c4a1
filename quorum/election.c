#include "quorum/election.h"

#include <errno.h>

#define TO(state_) (1u << (state_))

/* LOOKING to LOOKING is a new round, no move. */
static const uint8_t next_states[] = {
    [FLE_LOOKING] = TO(FLE_FOLLOWING) | TO(FLE_LEADING) | TO(FLE_OBSERVING),
    [FLE_FOLLOWING] = TO(FLE_LOOKING) | TO(FLE_LEADING) | TO(FLE_OBSERVING),
    [FLE_LEADING] = TO(FLE_LOOKING) | TO(FLE_FOLLOWING) | TO(FLE_OBSERVING),
    [FLE_OBSERVING] = TO(FLE_LOOKING) | TO(FLE_FOLLOWING) | TO(FLE_LEADING),
};

/* Which of the two sets of votes. */
enum set { ROUND, ENSEMBLE };

static void become(struct fle *f, enum fle_state next)
{
	if (next == f->state)
		return;
	CHECK(next_states[f->state] & TO(next));
	f->state = next;
}

struct fle_options fle_defaults(int64_t me, enum quorum_role role, uint64_t seed)
{
	return (struct fle_options){
	    .me = me,
	    .role = role,
	    .wait_min_ms = 200,
	    .wait_max_ms = 60000,
	    .quiet_ms = 200,
	    .observer_delay_max_ms = 200,
	    .seed = seed,
	};
}

void fle_init(struct fle *f, const struct fle_options *options,
	      const struct quorum_config *committed, const struct quorum_config *last_seen)
{
	CHECK(options->me >= 0);
	CHECK(options->wait_min_ms > 0);
	CHECK(options->wait_min_ms <= options->wait_max_ms);
	memset(f, 0, offsetof(struct fle, received));
	f->options = *options;
	f->committed = committed;
	f->last_seen = last_seen;
	f->state = FLE_LOOKING;
	f->resend_ms = f->quiet_ms = UINT64_MAX;
	f->wait_ms = options->wait_min_ms;
	f->random = options->seed;
}

/* --- votes and quorums ----------------------------------------------------------------------- */

/* QuorumPeer.getCurrentAndNextConfigVoters */
static bool is_voter(const struct fle *f, int64_t sid)
{
	return quorum_config_is_voter(f->committed, sid) ||
	       (f->last_seen && quorum_config_is_voter(f->last_seen, sid));
}

static bool may_lead(const struct fle *f, int64_t sid)
{
	if (quorum_config_is_voter(f->committed, sid))
		return quorum_config_weight(f->committed, sid) > 0;
	return f->last_seen && quorum_config_weight(f->last_seen, sid) > 0;
}

/* FastLeaderElection.totalOrderPredicate */
bool fle_better(const struct fle *f, const struct fle_vote *a, const struct fle_vote *b)
{
	if (!may_lead(f, a->leader))
		return false;
	if (a->peer_epoch != b->peer_epoch)
		return a->peer_epoch > b->peer_epoch;
	if (a->zxid != b->zxid)
		return a->zxid > b->zxid;
	return a->leader > b->leader;
}

static bool same_vote(const struct fle_vote *a, const struct fle_vote *b)
{
	return a->leader == b->leader && a->zxid == b->zxid && a->round == b->round &&
	       a->peer_epoch == b->peer_epoch;
}

bool fle_same(const struct fle_ballot *a, const struct fle_ballot *b)
{
	if (a->state == FLE_LOOKING || b->state == FLE_LOOKING)
		return same_vote(&a->vote, &b->vote);
	/* Members may have come by their zxid and round in different elections. */
	if ((a->version > 0) != (b->version > 0))
		return a->vote.leader == b->vote.leader;
	return a->vote.leader == b->vote.leader && a->vote.peer_epoch == b->vote.peer_epoch;
}

static struct fle_heard *find(struct fle *f, int64_t sid)
{
	for (uint32_t i = 0; i < f->n_heard; i++)
		if (f->heard[i].sid == sid)
			return &f->heard[i];
	return NULL;
}

/* The place for what a voter said. */
static struct fle_heard *place(struct fle *f, int64_t sid)
{
	struct fle_heard *h = find(f, sid);

	if (h)
		return h;
	/* Only voters get here, and what was heard is dropped when others become voters. */
	CHECK(f->n_heard < FLE_HEARD_MAX);
	h = &f->heard[f->n_heard++];
	*h = (struct fle_heard){.sid = sid};
	return h;
}

static const struct fle_ballot *ballot_of(const struct fle_heard *h, enum set set)
{
	if (set == ROUND)
		return h->in_round ? &h->round : NULL;
	return h->in_ensemble ? &h->ensemble : NULL;
}

/* Our vote counts as if it had been sent to us, in the round only. */
static bool own_vote_counts(const struct fle *f)
{
	return is_voter(f, f->options.me) && is_voter(f, f->proposal.leader) && f->last_zxid != -1;
}

/* Do those who said the same as `ballot` make a quorum? */
static bool has_quorum(const struct fle *f, enum set set, const struct fle_ballot *ballot)
{
	const struct fle_ballot own = {f->proposal, FLE_LOOKING, 2};
	struct quorum_acks acks;

	quorum_acks_init(&acks, f->committed, f->last_seen);
	for (uint32_t i = 0; i < f->n_heard; i++) {
		const struct fle_ballot *b = ballot_of(&f->heard[i], set);

		if (b && fle_same(b, ballot))
			quorum_acks_add(&acks, f->heard[i].sid);
	}
	if (set == ROUND && own_vote_counts(f) && fle_same(&own, ballot))
		quorum_acks_add(&acks, f->options.me);
	return quorum_acks_complete(&acks);
}

/* FastLeaderElection.checkLeader: no leader that does not say so itself. */
static bool leader_agrees(struct fle *f, enum set set, const struct fle_vote *vote)
{
	const struct fle_heard *h;
	const struct fle_ballot *b;

	if (vote->leader == f->options.me)
		return vote->round == f->proposal.round;
	h = find(f, vote->leader);
	b = h ? ballot_of(h, set) : NULL;
	return b && b->state == FLE_LEADING;
}

/* --- output ---------------------------------------------------------------------------------- */

static void tell(struct fle *f, struct fle_out *out, const struct fle_vote *vote, uint32_t n_to)
{
	CHECK(!out->n_to);
	out->to = f->to;
	out->n_to = n_to;
	out->message = (struct fle_notification){
	    .state = f->state, .vote = *vote, .version = 2, .config = jute_null};
}

static void answer(struct fle *f, struct fle_out *out, const struct fle_vote *vote, int64_t sid)
{
	f->to[0] = sid;
	tell(f, out, vote, 1);
}

static uint32_t add_voters(struct fle *f, const struct quorum_config *c,
			   const struct quorum_config *but_of, uint32_t n)
{
	for (uint16_t i = 0; i < c->n_members; i++) {
		int64_t sid = c->member[i].sid;

		if (c->member[i].role == QUORUM_PARTICIPANT && sid != f->options.me &&
		    !(but_of && quorum_config_is_voter(but_of, sid)))
			f->to[n++] = sid;
	}
	return n;
}

static void broadcast(struct fle *f, struct fle_out *out)
{
	uint32_t n = add_voters(f, f->committed, NULL, 0);

	if (f->last_seen)
		n = add_voters(f, f->last_seen, f->committed, n);
	tell(f, out, &f->proposal, n);
	f->resend_ms = f->now_ms + f->wait_ms;
}

/* --- looking --------------------------------------------------------------------------------- */

/* Who votes as we do may have become a quorum, or be none any more. */
static void settle(struct fle *f)
{
	const struct fle_ballot own = {f->proposal, FLE_LOOKING, 2};

	f->quiet_ms = has_quorum(f, ROUND, &own) ? f->now_ms + f->options.quiet_ms : UINT64_MAX;
}

/* Take over a vote. E1, E2: it is better than `than`, which fle_better() says. */
static void propose(struct fle *f, const struct fle_vote *vote)
{
	f->proposal.leader = vote->leader;
	f->proposal.zxid = vote->zxid;
	f->proposal.peer_epoch = vote->peer_epoch;
}

static void begin_round(struct fle *f, struct fle_out *out)
{
	bool participant = f->options.role == QUORUM_PARTICIPANT;
	bool voter = quorum_config_is_voter(f->committed, f->options.me);

	f->waiting = false;
	f->n_heard = 0;
	f->wait_ms = f->options.wait_min_ms;
	f->mine.leader = voter ? f->options.me : INT64_MIN;
	f->mine.zxid = participant ? f->last_zxid : INT64_MIN;
	f->mine.peer_epoch = participant ? f->current_epoch : INT64_MIN;
	propose(f, &f->mine);
	f->proposal.round++;
	broadcast(f, out);
	settle(f);
}

static void end(struct fle *f, struct fle_out *out, enum set set, const struct fle_ballot *ballot)
{
	CHECK(has_quorum(f, set, ballot)); /* E3 */
	if (ballot->vote.leader == f->options.me)
		become(f, FLE_LEADING);
	else if (f->options.role == QUORUM_PARTICIPANT)
		become(f, FLE_FOLLOWING);
	else
		become(f, FLE_OBSERVING);
	f->vote = f->proposal = ballot->vote;
	f->resend_ms = f->quiet_ms = UINT64_MAX;
	out->decided = true;
}

/*
 * A voter in an older round, or one that looks while we don't. What we say counts for it only if we
 * vote; if not, it would take us for a stranger and answer, and we would again, without end.
 */
static const char *answer_voter(struct fle *f, struct fle_out *out, const struct fle_vote *vote,
				int64_t sid, const char *why)
{
	if (!is_voter(f, f->options.me))
		return "ignored";
	answer(f, out, vote, sid);
	return why;
}

/*
 * Observers, joiners and strangers want to know, and don't count. To one that looks in a newer
 * round than ours we speak as of its round, or it would answer that ours is old, and so on. Two
 * ensembles that don't know each other answer each other: no faster than this.
 */
static const char *answer_stranger(struct fle *f, struct fle_out *out, int64_t sid,
				   const struct fle_notification *n)
{
	struct fle_vote vote = f->state == FLE_LOOKING ? f->proposal : f->vote;

	if (n->state != FLE_LOOKING || !is_voter(f, f->options.me))
		return "ignored";
	if (f->now_ms - f->strangers_ms >= FLE_STRANGERS_MS) {
		f->strangers_ms = f->now_ms;
		f->strangers = 0;
	}
	if (f->strangers == FLE_STRANGERS_MAX)
		return "too many strangers";
	f->strangers++;
	vote.round = f->proposal.round;
	if (f->state == FLE_LOOKING && n->vote.round > vote.round)
		vote.round = n->vote.round;
	answer(f, out, &vote, sid);
	return "no voter, answered";
}

/* A vote of a server that looks, too. */
static const char *hear_looking(struct fle *f, int64_t from, const struct fle_vote *vote,
				struct fle_out *out)
{
	const struct fle_ballot ballot = {*vote, FLE_LOOKING, 2};
	const char *why = "counted";
	struct fle_heard *h;

	if (vote->round < f->proposal.round)
		return answer_voter(f, out, &f->proposal, from, "older round, answered");
	if (!is_voter(f, vote->leader))
		return "for no voter, ignored";
	if (f->last_zxid == -1 || vote->zxid == -1)
		return "data may be lost, ignored";
	if (vote->round > f->proposal.round) {
		f->proposal.round = vote->round;
		for (uint32_t i = 0; i < f->n_heard; i++)
			f->heard[i].in_round = false;
		propose(f, fle_better(f, vote, &f->mine) ? vote : &f->mine);
		broadcast(f, out);
		why = "newer round";
	} else if (fle_better(f, vote, &f->proposal)) {
		propose(f, vote);
		broadcast(f, out);
		why = "better vote";
	}
	h = place(f, from);
	if (h->in_round && h->round.state == FLE_LOOKING && same_vote(&h->round.vote, vote))
		return "heard before";
	h->in_round = true;
	h->round = ballot;
	settle(f);
	/* What we said when our round began it may have heard while it still followed somebody:
	 * then it has not counted that, and would be told again only after a whole wait. */
	if (!out->n_to && fle_better(f, &f->proposal, vote)) {
		answer(f, out, &f->proposal, from);
		why = "worse vote, answered";
	}
	return why;
}

/* A vote of a member of an ensemble that has a leader, or thinks so. */
static const char *hear_member(struct fle *f, int64_t from, const struct fle_notification *n,
			       struct fle_out *out)
{
	const struct fle_ballot ballot = {n->vote, n->state, n->version};
	struct fle_heard *h;
	bool news;

	if (!is_voter(f, n->vote.leader))
		return "for no voter, ignored";
	h = place(f, from);
	if (n->vote.round == f->proposal.round) {
		/* In its own round Apache's server leaves the version out, so that members count
		 * together by leader, whether or not their epochs are refreshed. */
		news = !h->in_round || h->round.state != n->state ||
		       !same_vote(&h->round.vote, &n->vote);
		h->in_round = true;
		h->round = ballot;
		h->round.version = 0;
		if (has_quorum(f, ROUND, &ballot) && leader_agrees(f, ROUND, &n->vote)) {
			end(f, out, ROUND, &ballot);
			return "elected in this round";
		}
		if (news)
			settle(f);
	}
	h->in_ensemble = true;
	h->ensemble = ballot;
	if (has_quorum(f, ENSEMBLE, &ballot) && leader_agrees(f, ENSEMBLE, &n->vote)) {
		end(f, out, ENSEMBLE, &ballot);
		return "an ensemble has a leader";
	}
	return "counted";
}

/* --- events ---------------------------------------------------------------------------------- */

static const char *look(struct fle *f, const struct fle_event *event, struct fle_out *out)
{
	uint32_t delay_max = f->state == FLE_OBSERVING ? f->options.observer_delay_max_ms : 0;

	f->last_zxid = event->look.last_zxid;
	f->current_epoch = event->look.current_epoch;
	if (!f->started)
		f->vote = (struct fle_vote){f->options.me, f->last_zxid, 0, f->current_epoch};
	f->started = true;
	become(f, FLE_LOOKING);
	if (!delay_max) {
		begin_round(f, out);
		return "begins";
	}
	/* So that not all observers come at once when a leader is lost. Knuth's generator. */
	f->random = f->random * 6364136223846793005 + 1442695040888963407;
	f->waiting = true;
	f->quiet_ms = UINT64_MAX;
	f->resend_ms = f->now_ms + (f->random >> 33) % delay_max;
	return "waits";
}

/* A configuration that is newer than ours: in f->received. */
static bool has_newer_config(struct fle *f, const struct fle_notification *n)
{
	if (!f->options.reconfig || f->state != FLE_LOOKING || n->config.len <= 0)
		return false;
	return !quorum_config_parse(&f->received, n->config.data, (size_t)n->config.len, NULL) &&
	       f->received.version > f->committed->version;
}

static const char *receive(struct fle *f, const struct fle_event *event, struct fle_out *out)
{
	const struct fle_notification *n = event->receive.message;
	int64_t from = event->receive.from;

	if (!f->started || from == f->options.me)
		return "ignored";
	if (has_newer_config(f, n)) {
		out->config = &f->received;
		return "newer configuration";
	}
	if (!is_voter(f, from))
		return answer_stranger(f, out, from, n);
	if (f->state != FLE_LOOKING && n->state == FLE_LOOKING)
		return answer_voter(f, out, &f->vote, from, "answered");
	if (f->state != FLE_LOOKING)
		return "ignored";
	if (f->waiting || n->state == FLE_OBSERVING)
		return "ignored";
	if (n->vote.round > FLE_ROUND_MAX)
		return "absurd round, ignored";
	if (n->state == FLE_LOOKING)
		return hear_looking(f, from, &n->vote, out);
	return hear_member(f, from, n, out);
}

/* In the quiet time nothing is said again. */
static uint64_t deadline(const struct fle *f)
{
	return f->quiet_ms != UINT64_MAX ? f->quiet_ms : f->resend_ms;
}

static const char *timeout(struct fle *f, struct fle_out *out)
{
	const struct fle_ballot own = {f->proposal, FLE_LOOKING, 2};

	if (f->now_ms < deadline(f))
		return "nothing is due";
	if (f->quiet_ms != UINT64_MAX) {
		end(f, out, ROUND, &own);
		return "quiet";
	}
	if (f->waiting) {
		begin_round(f, out);
		return "begins";
	}
	f->wait_ms =
	    f->wait_ms > f->options.wait_max_ms / 2 ? f->options.wait_max_ms : 2 * f->wait_ms;
	broadcast(f, out);
	return "says it again";
}

static const char *connected(struct fle *f, int64_t sid, struct fle_out *out)
{
	if (!f->started || f->waiting || !is_voter(f, sid) || sid == f->options.me)
		return "nothing to say";
	answer(f, out, f->state == FLE_LOOKING ? &f->proposal : &f->vote, sid);
	return "told";
}

static const char *configure(struct fle *f, const struct fle_event *event, struct fle_out *out)
{
	f->committed = event->config.committed;
	f->last_seen = event->config.last_seen;
	f->options.role = event->config.role;
	if (!f->started || f->state != FLE_LOOKING || f->waiting)
		return "noted";
	begin_round(f, out);
	return "begins anew";
}

static const char *appoint(struct fle *f, const struct fle_event *event)
{
	become(f, event->appoint.state);
	f->vote.leader = event->appoint.leader;
	f->vote.zxid = event->appoint.zxid;
	return "appointed";
}

static bool is_possible(const struct fle *f, const struct fle_event *event)
{
	bool leads = event->appoint.state == FLE_LEADING;

	if (event->now_ms < f->now_ms)
		return false;
	switch (event->type) {
	case FLE_SERVING:
		return f->state != FLE_LOOKING;
	case FLE_APPOINT:
		return f->state != FLE_LOOKING && event->appoint.state != FLE_LOOKING &&
		       is_voter(f, event->appoint.leader) &&
		       leads == (event->appoint.leader == f->options.me);
	default:
		return true;
	}
}

int fle_step(struct fle *f, const struct fle_event *event, struct fle_out *out)
{
	*out = (struct fle_out){.deadline_ms = UINT64_MAX, .why = "impossible"};
	if (!is_possible(f, event))
		return -EPROTO;
	f->now_ms = event->now_ms;
	switch (event->type) {
	case FLE_LOOK:
		out->why = look(f, event, out);
		break;
	case FLE_RECEIVE:
		out->why = receive(f, event, out);
		break;
	case FLE_TIMEOUT:
		out->why = timeout(f, out);
		break;
	case FLE_CONNECTED:
		out->why = connected(f, event->connected.sid, out);
		break;
	case FLE_CONFIG:
		out->why = configure(f, event, out);
		break;
	case FLE_SERVING:
		f->vote.peer_epoch = event->serving.epoch;
		out->why = "current epoch";
		break;
	case FLE_APPOINT:
		out->why = appoint(f, event);
		break;
	}
	out->deadline_ms = deadline(f);
	DCHECK((fle_check(f), true));
	return 0;
}

void fle_check(const struct fle *f)
{
	const struct fle_ballot own = {f->proposal, FLE_LOOKING, 2};
	struct fle_vote mine = f->mine;

	CHECK(f->n_heard <= FLE_HEARD_MAX);
	CHECK(f->proposal.round <= FLE_ROUND_MAX + (INT64_C(1) << 32));
	if (f->state != FLE_LOOKING) {
		CHECK(f->resend_ms == UINT64_MAX);
		CHECK(f->quiet_ms == UINT64_MAX);
		CHECK((f->vote.leader == f->options.me) == (f->state == FLE_LEADING));
		return;
	}
	if (!f->started || f->waiting)
		return;
	CHECK(f->resend_ms != UINT64_MAX);
	CHECK(f->wait_ms >= f->options.wait_min_ms);
	CHECK(f->wait_ms <= f->options.wait_max_ms);
	mine.round = f->proposal.round;
	if (!same_vote(&mine, &f->proposal)) {
		CHECK(may_lead(f, f->proposal.leader));       /* E1 */
		CHECK(fle_better(f, &f->proposal, &f->mine)); /* E2 */
	}
	CHECK((f->quiet_ms != UINT64_MAX) == has_quorum(f, ROUND, &own));
	for (uint32_t i = 0; i < f->n_heard; i++) {
		CHECK(is_voter(f, f->heard[i].sid));
		CHECK(f->heard[i].sid != f->options.me);
		if (f->heard[i].in_round)
			CHECK(f->heard[i].round.vote.round == f->proposal.round);
	}
}

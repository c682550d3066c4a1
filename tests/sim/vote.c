/*
 * vote.c - the election, real or a stand-in, and its messages
 *
 * Some seeds run the real one (election.h). Its notifications travel in one mailbox per pair and
 * direction, where the newest message replaces what waits; they are delayed, lost, doubled, and
 * held back by cuts. In the other seeds a stand-in names the member with the newest history that
 * can be reached, or who leads already, and sometimes, as a fault, anybody: the core must be safe
 * with any hint.
 */
#include <string.h>

#include "base/check.h"
#include "tests/sim/sim.h"

static struct box {
	struct fle_notification message;
	bool full, due, held;
} boxes[SIM_NODES_MAX][SIM_NODES_MAX]; /* from, to */

void sim_vote_reset(void)
{
	memset(boxes, 0, sizeof(boxes));
}

static void look_again(struct sim_node *n, uint64_t us)
{
	if (n->electing)
		return;
	n->electing = true;
	sim_at(us, EV_ELECT, n->id, n->life, 0);
}

void sim_vote_look(struct sim_node *n)
{
	look_again(n, sim.real_election ? 0 : sim_between(20, 300) * 1000);
}

/* --- the real one ------------------------------------------------------------------------ */

static void post(struct sim_node *n, int64_t sid, const struct fle_notification *m)
{
	struct box *b = &boxes[n->id][sid - 1];
	bool faults = sim.now_us < sim.calm_us;

	if (faults && sim_chance(3)) {
		sim_fired(SIM_LOST_VOTE);
		return;
	}
	b->message = *m;
	b->full = true;
	if (b->due)
		return;
	b->due = true;
	sim_at(sim_between(50, 2500), EV_VOTE, (int)sid - 1, sim.node[sid - 1].life,
	       (uint64_t)n->id);
}

static void arm(struct sim_node *n, uint64_t deadline_ms)
{
	uint64_t now = sim_node_now_ms(n), at;

	if (deadline_ms == UINT64_MAX)
		return;
	at = sim.now_us + (deadline_ms > now ? (deadline_ms - now) * 1000 : 0);
	if (n->vote_us && n->vote_us <= at)
		return;
	n->vote_us = at;
	sim_at(at - sim.now_us, EV_VOTE_TIMER, n->id, n->life, at);
}

static void vote_step(struct sim_node *n, struct fle_event *e)
{
	struct fle_out out;

	e->now_ms = sim_node_now_ms(n);
	if (fle_step(&n->fle, e, &out))
		sim_fail("member %d: the election refuses event %d", n->id + 1, (int)e->type);
	sim.result.events++;
	if (sim.trace) {
		static char line[SIM_LINE_MAX];

		fle_trace(&n->fle, e, &out, line, sizeof(line));
		sim_trace("%s", line);
	}
	sim_hash((uint64_t)e->type << 48 ^ e->now_ms ^ (uint64_t)n->fle.proposal.leader << 56);
	for (uint32_t i = 0; i < out.n_to; i++)
		post(n, out.to[i], &out.message);
	if (out.decided) {
		sim_node_elected(n, n->fle.state == FLE_LEADING ? n->id + 1 : n->fle.vote.leader);
		if (n->up && n->zab.role == ZAB_LOOKING)
			look_again(n, 50000);
	}
	if (n->up)
		arm(n, out.deadline_ms);
}

static void connected(struct sim_node *n, const struct sim_node *to)
{
	struct fle_event e = {.type = FLE_CONNECTED};

	e.connected.sid = to->id + 1;
	if (n->up && n->fle.started)
		vote_step(n, &e);
}

static void deliver(struct sim_node *n, struct sim_node *from)
{
	struct box *b = &boxes[from->id][n->id];
	struct fle_notification m = b->message;
	struct fle_event e = {.type = FLE_RECEIVE};

	if (!sim_net_open(from->id, n->id)) {
		b->held = true;
		sim_at(20000, EV_VOTE, n->id, n->life, (uint64_t)from->id);
		return;
	}
	b->due = b->full = false;
	if (!n->fle.started)
		return;
	if (b->held) {
		b->held = false;
		connected(n, from);
		connected(from, n);
	}
	if (!n->up)
		return;
	e.receive.from = from->id + 1;
	e.receive.message = &m;
	vote_step(n, &e);
	if (n->up && sim.now_us < sim.calm_us && sim_chance(3)) {
		sim_fired(SIM_DOUBLE_VOTE);
		vote_step(n, &e);
	}
}

static void look_now(struct sim_node *n)
{
	struct zab_vote vote = zab_vote(&n->zab);
	struct fle_event e = {.type = FLE_LOOK};

	e.look.last_zxid = vote.zxid;
	e.look.current_epoch = vote.epoch;
	vote_step(n, &e);
}

void sim_vote_serving(struct sim_node *n)
{
	struct fle_event e = {.type = FLE_SERVING};

	e.serving.epoch = n->zab.epoch;
	if (sim.real_election)
		vote_step(n, &e);
}

void sim_vote_boot(struct sim_node *n)
{
	struct fle_options o = fle_defaults(
	    n->id + 1, n->observer ? QUORUM_OBSERVER : QUORUM_PARTICIPANT, sim_random());

	o.wait_min_ms = o.quiet_ms = sim.vote_ms;
	o.wait_max_ms = sim.vote_ms * 8;
	o.observer_delay_max_ms = sim.vote_ms;
	fle_init(&n->fle, &o, &sim.config, NULL);
	n->vote_us = 0;
	n->electing = false;
	for (int i = 0; i < sim.n_nodes; i++)
		boxes[i][n->id] = (struct box){.held = true};
}

/* --- the stand-in ------------------------------------------------------------------------ */

static bool reaches(const struct sim_node *n, const struct sim_node *to)
{
	return to->up && to->paused_until_us <= sim.now_us && sim_net_open(n->id, to->id) &&
	       sim_net_open(to->id, n->id);
}

static bool is_better(const struct sim_node *a, const struct sim_node *b)
{
	struct zab_vote x = zab_vote(&a->zab), y = zab_vote(&b->zab);

	if (x.epoch != y.epoch)
		return x.epoch > y.epoch;
	return x.zxid != y.zxid ? x.zxid > y.zxid : a->id > b->id;
}

/* Whom the election would name: an index; -1: nobody yet. */
static int elect(const struct sim_node *n)
{
	const struct sim_node *best = NULL;
	int voters = 0;

	for (int i = 0; i < sim.n_voters; i++) {
		const struct sim_node *to = &sim.node[i];

		if (!reaches(n, to))
			continue;
		voters += zab_vote(&to->zab).zxid >= 0;
		if (to->zab.role == ZAB_LEADING && i != n->id && sim_chance(80))
			return i;
		if (to->zab.role == ZAB_LOOKING && zab_vote(&to->zab).zxid >= 0 &&
		    (zab_drained(&to->zab) || BUG(VOTE_BEFORE_DRAINED)) && !to->disk.full &&
		    (!best || is_better(to, best)))
			best = to;
	}
	return best && voters > sim.n_voters / 2 ? best->id : -1;
}

static void name_somebody(struct sim_node *n)
{
	int to = elect(n);

	if (sim.now_us < sim.calm_us && sim_chance(sim.wrong_hint_percent)) {
		to = (int)sim_below((uint64_t)sim.n_voters);
		sim_fired(SIM_WRONG_HINT);
	}
	if (to >= 0)
		sim_node_elected(n, to + 1);
	if (n->up && n->zab.role == ZAB_LOOKING)
		sim_vote_look(n);
}

/* --- events ------------------------------------------------------------------------------ */

static void on_elect(struct sim_node *n)
{
	bool ready = zab_drained(&n->zab) || BUG(VOTE_BEFORE_DRAINED);

	n->electing = false;
	if (n->zab.role != ZAB_LOOKING)
		return;
	if (n->disk.full || !ready)
		look_again(n, 5000);
	else if (sim.real_election)
		look_now(n);
	else
		name_somebody(n);
}

void sim_vote_event(struct sim_node *n, int kind, uint64_t arg)
{
	struct fle_event timeout = {.type = FLE_TIMEOUT};

	switch (kind) {
	case EV_ELECT:
		on_elect(n);
		return;
	case EV_VOTE:
		deliver(n, &sim.node[arg]);
		return;
	case EV_VOTE_TIMER:
		if (n->vote_us != arg)
			return;
		n->vote_us = 0;
		vote_step(n, &timeout);
		return;
	default:
		CHECK(!"an event of a member");
	}
}

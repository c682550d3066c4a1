/*
 * elector.c - peers/elector.h without sockets: the real election on one mailbox per pair and
 * direction, or a stand-in that names who has the newest history, and sometimes anybody
 */
#include "base/check.h"
#include "quorum/election.h"
#include "tests/simwhole/whole.h"

struct peer_elector {
	struct w_node *node;
	struct fle fle;
	bool decided, looking, electing;
	int64_t sid;
	uint64_t timer_us;
};

static struct box {
	struct fle_notification message;
	bool full, due, held;
} boxes[W_NODES_MAX][W_NODES_MAX];

void w_vote_reset(void)
{
	memset(boxes, 0, sizeof(boxes));
}

static void decide(struct peer_elector *e, int64_t sid)
{
	e->decided = true;
	e->looking = false;
	e->sid = sid;
	w_trace("%d    the election names %d", e->node->id + 1, (int)sid);
	w_node_wake(e->node);
}

/* --- the real one -------------------------------------------------------------------------- */

static void post(struct w_node *n, int64_t sid, const struct fle_notification *m)
{
	struct box *b = &boxes[n->id][sid - 1];

	if (!w_calm() && w_chance(3)) {
		w_fired(W_LOST_VOTE);
		return;
	}
	b->message = *m;
	b->full = true;
	if (b->due)
		return;
	b->due = true;
	w_at(w_between(50, 2500), EV_VOTE, (int)sid - 1, 0, (uint64_t)n->id);
}

static void step(struct peer_elector *e, struct fle_event *event)
{
	struct w_node *n = e->node;
	struct fle_out out;

	event->now_ms = w_node_ms(n);
	if (fle_step(&e->fle, event, &out))
		w_fail("member %d: the election refuses event %d", n->id + 1, (int)event->type);
	for (uint32_t i = 0; i < out.n_to; i++)
		post(n, out.to[i], &out.message);
	if (out.decided)
		decide(e, e->fle.state == FLE_LEADING ? n->id + 1 : e->fle.vote.leader);
	if (out.deadline_ms != UINT64_MAX) {
		uint64_t now = w_node_ms(n);
		uint64_t us = out.deadline_ms > now ? (out.deadline_ms - now) * 1000 : 0;

		if (!e->timer_us || e->timer_us > w.now_us + us) {
			e->timer_us = w.now_us + us;
			w_at(us, EV_VOTE_TIMER, n->id, n->life, e->timer_us);
		}
	}
}

static void connected(struct w_node *n, const struct w_node *to)
{
	struct fle_event event = {.type = FLE_CONNECTED};

	event.connected.sid = to->id + 1;
	if (n->elector && n->elector->fle.started)
		step(n->elector, &event);
}

static void deliver(struct w_node *n, struct w_node *from)
{
	struct box *b = &boxes[from->id][n->id];
	struct fle_notification m = b->message;
	struct fle_event event = {.type = FLE_RECEIVE};

	if (!w_net_open(from->id, n->id)) {
		b->held = true;
		w_at(20000, EV_VOTE, n->id, 0, (uint64_t)from->id);
		return;
	}
	b->due = b->full = false;
	if (b->held) {
		b->held = false;
		connected(n, from);
		connected(from, n);
	}
	if (!n->elector || !n->elector->fle.started)
		return;
	event.receive.from = from->id + 1;
	event.receive.message = &m;
	step(n->elector, &event);
}

/* --- the stand-in -------------------------------------------------------------------------- */

static const struct zab *zab_of(const struct w_node *n)
{
	return &n->writer->loop.core.zab;
}

static bool reaches(const struct w_node *n, const struct w_node *to)
{
	return to->writer_up && to->elector && to->paused_until_us <= w.now_us &&
	       w_net_open(n->id, to->id) && w_net_open(to->id, n->id);
}

static bool is_better(const struct w_node *a, const struct w_node *b)
{
	struct zab_vote x = zab_vote(zab_of(a)), y = zab_vote(zab_of(b));

	if (x.epoch != y.epoch)
		return x.epoch > y.epoch;
	return x.zxid != y.zxid ? x.zxid > y.zxid : a->id > b->id;
}

static int elect(const struct w_node *n)
{
	const struct w_node *best = NULL;
	int voters = 0;

	for (int i = 0; i < w_n_nodes; i++) {
		const struct w_node *to = &w_nodes[i];

		if (!reaches(n, to))
			continue;
		voters += !to->observer;
		if (zab_of(to)->role == ZAB_LEADING && i != n->id && (w_calm() || w_chance(80)))
			return i;
		if (zab_of(to)->role == ZAB_LOOKING && to->elector->looking && !to->observer &&
		    (!best || is_better(to, best)))
			best = to;
	}
	return best && voters > w_n_voters / 2 ? best->id : -1;
}

static void look_again(struct peer_elector *e)
{
	if (e->electing)
		return;
	e->electing = true;
	w_at(w_between(20, 300) * 1000, EV_ELECT, e->node->id, e->node->life, 0);
}

static void name_somebody(struct peer_elector *e)
{
	int to;

	e->electing = false;
	if (!e->looking)
		return;
	to = elect(e->node);
	if (!w_calm() && w_chance(w.wrong_hint_percent)) {
		to = (int)w_below((uint64_t)w_n_voters);
		w_fired(W_WRONG_HINT);
	}
	if (to >= 0)
		decide(e, to + 1);
	else
		look_again(e);
}

/* --- peers/elector.h ----------------------------------------------------------------------- */

struct peer_elector *peer_elector_new(const struct peer_elector_options *options,
				      const struct quorum_config *committed,
				      const struct quorum_config *last_seen, uint64_t now_ms)
{
	struct peer_elector *e = calloc(1, sizeof(*e));
	struct fle_options o = options->fle;

	(void)now_ms;
	CHECK(e != NULL);
	e->node = w_now;
	o.quiet_ms = w.vote_ms;
	o.seed = w_random();
	fle_init(&e->fle, &o, committed, last_seen);
	w_now->elector = e;
	for (int i = 0; i < w_n_nodes; i++)
		boxes[i][w_now->id].held = true;
	return e;
}

void peer_elector_free(struct peer_elector *e)
{
	e->node->elector = NULL;
	free(e);
}

void w_elector_died(struct w_node *n)
{
	free(n->elector);
	n->elector = NULL;
}

void peer_elector_look(struct peer_elector *e, uint64_t now_ms, int64_t last_zxid,
		       int64_t current_epoch)
{
	struct fle_event event = {.type = FLE_LOOK};

	(void)now_ms;
	e->decided = false;
	e->looking = true;
	if (!w.real_election) {
		look_again(e);
		return;
	}
	event.look.last_zxid = last_zxid;
	event.look.current_epoch = current_epoch;
	step(e, &event);
}

bool peer_elector_decided(struct peer_elector *e, int64_t *sid)
{
	if (!e->decided)
		return false;
	e->decided = false;
	*sid = e->sid;
	return true;
}

void peer_elector_serving(struct peer_elector *e, uint64_t now_ms, int64_t epoch)
{
	struct fle_event event = {.type = FLE_SERVING};

	(void)now_ms;
	event.serving.epoch = epoch;
	if (w.real_election)
		step(e, &event);
}

void peer_elector_tick(struct peer_elector *e, uint64_t now_ms)
{
	(void)e, (void)now_ms;
}

uint64_t peer_elector_deadline_ms(const struct peer_elector *e)
{
	(void)e;
	return UINT64_MAX;
}

void w_elector_event(struct w_node *n, enum w_event_kind kind, uint64_t arg)
{
	struct fle_event timeout = {.type = FLE_TIMEOUT};

	if (kind == EV_VOTE) {
		deliver(n, &w_nodes[arg]);
	} else if (kind == EV_ELECT && n->elector) {
		name_somebody(n->elector);
	} else if (kind == EV_VOTE_TIMER && n->elector && n->elector->timer_us == arg) {
		n->elector->timer_us = 0;
		step(n->elector, &timeout);
	}
}

/* The membership of a run is fixed (reconfigEnabled is false), so nobody tells of another. */
void peer_elector_config(struct peer_elector *e, uint64_t now_ms,
			 const struct quorum_config *committed,
			 const struct quorum_config *last_seen, enum quorum_role role)
{
	(void)e, (void)now_ms, (void)committed, (void)last_seen, (void)role;
	CHECK(!"a configuration that changes");
}

void peer_elector_appoint(struct peer_elector *e, uint64_t now_ms, enum fle_state state,
			  int64_t leader, int64_t zxid)
{
	(void)e, (void)now_ms, (void)state, (void)leader, (void)zxid;
	CHECK(!"a leader that a reconfiguration names");
}

const struct quorum_config *peer_elector_heard_config(const struct peer_elector *e)
{
	(void)e;
	return NULL;
}

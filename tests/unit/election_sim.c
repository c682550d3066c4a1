#include "tests/unit/election_sim.h"

#include <stdio.h>

/* Patience of the stand-in for ZAB: of a follower with its leader, of a leader with its quorum. */
enum { FOLLOWER_MS = 500, LEADER_MS = 1500, RECONNECT_MS = 30 };

uint64_t sim_random(struct sim *s, uint64_t below)
{
	s->random = s->random * 6364136223846793005 + 1442695040888963407;
	return (s->random >> 33) % below;
}

static struct sim_server *server_of(struct sim *s, int64_t sid)
{
	CHECK(sid >= 1);
	CHECK(sid <= s->n);
	return &s->server[sid - 1];
}

void sim_note(struct sim *s, const char *text)
{
	int len =
	    snprintf(s->trace + s->trace_used, sizeof(s->trace) - s->trace_used, "%s\n", text);

	CHECK((size_t)len < sizeof(s->trace) - s->trace_used);
	s->trace_used += (size_t)len;
}

void sim_init(struct sim *s, const char *config, uint64_t seed)
{
	memset(s, 0, sizeof(*s));
	s->random = seed;
	s->delay_min_ms = s->delay_max_ms = 1;
	s->tick_ms = SIM_TICK;
	for (int i = 0; i < SIM_SERVERS; i++) {
		struct sim_server *v = &s->server[i];

		CHECK(quorum_config_parse(&v->config, config, strlen(config), NULL) == 0);
		CHECK(v->config.member[0].sid == 1);
		snprintf(v->text, sizeof(v->text), "%s", config);
		s->n = v->config.n_members;
	}
	CHECK(s->n <= SIM_SERVERS);
	CHECK(s->server[0].config.member[s->n - 1].sid == s->n);
}

/* --- network --------------------------------------------------------------------------------- */

static void put_in_flight(struct sim *s, const struct sim_flight *flight)
{
	CHECK(s->n_flight < SIM_FLIGHT);
	s->flight[s->n_flight] = *flight;
	s->flight[s->n_flight++].order = s->order++;
}

static uint64_t delay(struct sim *s)
{
	return s->delay_min_ms + sim_random(s, s->delay_max_ms - s->delay_min_ms + 1);
}

/* `to` learns a little later that there is a connection with `from`. */
static void connection(struct sim *s, int from, int to)
{
	put_in_flight(s, &(struct sim_flight){.at_ms = s->now_ms + RECONNECT_MS + delay(s),
					      .kind = SIM_CONNECT,
					      .from = from,
					      .to = to});
}

static void send(struct sim *s, int from, int to, const struct fle_notification *message)
{
	struct sim_flight f = {.kind = SIM_MESSAGE, .from = from, .to = to, .message = *message};

	if (!s->server[to].up) {
		s->dialling[from][to] = true;
		return;
	}
	if (sim_random(s, 100) < s->loss_percent) {
		if (sim_random(s, 2)) {
			connection(s, from, to);
			connection(s, to, from);
		}
		return;
	}
	f.at_ms = s->now_ms + delay(s);
	if (f.at_ms < s->fifo_ms[from][to])
		f.at_ms = s->fifo_ms[from][to];
	s->fifo_ms[from][to] = f.at_ms;
	put_in_flight(s, &f);
	if (sim_random(s, 100) < s->repeat_percent) {
		f.at_ms += 5 * delay(s); /* a stale repeat, behind newer ones */
		put_in_flight(s, &f);
	}
}

/* --- checks ---------------------------------------------------------------------------------- */

static void remember(struct sim *s, int64_t from, const struct fle_notification *m)
{
	if (s->n_said < SIM_SAID)
		s->said[s->n_said++] = (struct sim_said){from, m->state, m->vote};
	else
		s->broken = "SIM_SAID is too small";
}

/* Did a quorum say, at any time, that it votes for or follows this leader in that epoch? */
static void check_decision(struct sim *s, const struct sim_server *v)
{
	struct quorum_acks acks;

	quorum_acks_init(&acks, &v->config, NULL);
	for (uint32_t i = 0; i < s->n_said; i++) {
		const struct sim_said *said = &s->said[i];

		if (said->vote.leader == v->fle.vote.leader &&
		    (said->state != FLE_LOOKING || (said->vote.zxid == v->fle.vote.zxid &&
						    said->vote.round == v->fle.vote.round)))
			quorum_acks_add(&acks, said->from);
	}
	/* Its own vote was told to all, if it is one. */
	if (!quorum_acks_complete(&acks))
		s->broken = "decided without a quorum";
	if (quorum_config_weight(&v->config, v->fle.vote.leader) == 0)
		s->broken = "a leader without weight";
	s->n_decided++;
}

static struct quorum_acks followers(const struct sim *s, const struct sim_server *leader)
{
	int64_t me = leader->fle.options.me;
	struct quorum_acks acks;

	quorum_acks_init(&acks, &leader->config, NULL);
	quorum_acks_add(&acks, me);
	for (int i = 0; i < s->n; i++)
		if (s->server[i].up && s->server[i].fle.state == FLE_FOLLOWING &&
		    s->server[i].fle.vote.leader == me)
			quorum_acks_add(&acks, i + 1);
	return acks;
}

static void check_leaders(struct sim *s)
{
	int leaders = 0;

	for (int i = 0; i < s->n; i++) {
		struct quorum_acks acks = followers(s, &s->server[i]);

		leaders += s->server[i].up && s->server[i].fle.state == FLE_LEADING &&
			   quorum_acks_complete(&acks);
	}
	if (leaders > 1)
		s->broken = "two leaders, each with a quorum";
}

/* --- servers --------------------------------------------------------------------------------- */

static void step(struct sim *s, int i, struct fle_event event);

/* As the caller of fle_step() has to: adopt, then give the same event again. */
static void adopt(struct sim *s, int i, const struct fle_event *event, const struct fle_out *out)
{
	struct sim_server *v = &s->server[i];

	v->config = *out->config;
	quorum_config_print(&v->config, v->text, sizeof(v->text));
	step(s, i,
	     (struct fle_event){.type = FLE_CONFIG,
				.config = {&v->config, NULL,
					   quorum_config_is_voter(&v->config, i + 1)
					       ? QUORUM_PARTICIPANT
					       : QUORUM_OBSERVER}});
	step(s, i, *event);
}

static void step(struct sim *s, int i, struct fle_event event)
{
	struct sim_server *v = &s->server[i];
	char line[256];
	struct fle_out out;

	event.now_ms = s->now_ms;
	if (fle_step(&v->fle, &event, &out))
		s->broken = "an event was refused";
	fle_check(&v->fle);
	if (s->tracing) {
		fle_trace(&v->fle, &event, &out, line, sizeof(line));
		sim_note(s, line);
	}
	if (out.config) {
		adopt(s, i, &event, &out);
		return;
	}
	v->deadline_ms = out.deadline_ms;
	out.message.config = jute_text(v->text);
	/* Own votes are told to nobody when there is nobody else. */
	if (out.n_to || v->fle.state == FLE_LOOKING)
		remember(s, i + 1,
			 out.n_to ? &out.message
				  : &(struct fle_notification){FLE_LOOKING, v->fle.proposal, 2,
							       jute_null});
	for (uint32_t t = 0; t < out.n_to; t++)
		if (out.to[t] <= s->n)
			send(s, i, (int)out.to[t] - 1, &out.message);
	if (out.decided) {
		v->good_ms = s->now_ms;
		v->serving = false;
		check_decision(s, v);
	}
	check_leaders(s);
}

static void look(struct sim *s, int i)
{
	struct sim_server *v = &s->server[i];

	v->serving = false;
	step(s, i, (struct fle_event){.type = FLE_LOOK, .look = {v->zxid, v->epoch}});
}

void sim_up(struct sim *s, int64_t sid, int64_t zxid, int64_t epoch)
{
	struct sim_server *v = server_of(s, sid);
	bool voter = quorum_config_is_voter(&v->config, sid);
	struct fle_options options =
	    fle_defaults(sid, voter ? QUORUM_PARTICIPANT : QUORUM_OBSERVER, sim_random(s, 1 << 30));

	options.reconfig = true;
	fle_init(&v->fle, &options, &v->config, NULL);
	v->up = true;
	for (int i = 0; i < s->n; i++) {
		if (s->dialling[i][sid - 1])
			connection(s, (int)sid - 1, i);
		s->dialling[i][sid - 1] = false;
	}
	v->zxid = zxid;
	v->epoch = epoch;
	look(s, (int)sid - 1);
}

void sim_down(struct sim *s, int64_t sid)
{
	struct sim_server *v = server_of(s, sid);
	uint32_t kept = 0;

	v->up = false;
	v->serving = false;
	v->deadline_ms = UINT64_MAX;
	for (uint32_t i = 0; i < s->n_flight; i++)
		if (s->flight[i].to != sid - 1 && s->flight[i].from != sid - 1)
			s->flight[kept++] = s->flight[i];
	s->n_flight = kept;
}

/* A follower that has its leader is in the leader's epoch. */
static void tick_learner(struct sim *s, int i)
{
	struct sim_server *v = &s->server[i], *leader = server_of(s, v->fle.vote.leader);

	if (leader->up && leader->fle.state == FLE_LEADING)
		v->good_ms = s->now_ms;
	if (s->now_ms - v->good_ms >= FOLLOWER_MS ||
	    (v->serving && leader->serving && v->epoch != leader->epoch)) {
		look(s, i); /* no leader, or its next leadership */
	} else if (leader->serving && leader->fle.state == FLE_LEADING && !v->serving) {
		v->serving = true;
		v->epoch = leader->epoch;
		v->zxid = leader->zxid;
		step(s, i, (struct fle_event){.type = FLE_SERVING, .serving = {v->epoch}});
	}
}

static void tick_leader(struct sim *s, int i)
{
	struct sim_server *v = &s->server[i];
	struct quorum_acks acks = followers(s, v);

	if (quorum_acks_complete(&acks))
		v->good_ms = s->now_ms;
	if (s->now_ms - v->good_ms >= LEADER_MS) {
		look(s, i);
	} else if (!v->serving && quorum_acks_complete(&acks)) {
		v->serving = true;
		for (int k = 0; k < s->n; k++) /* greater than any that was promised */
			if (s->server[k].epoch > v->epoch)
				v->epoch = s->server[k].epoch;
		v->epoch++;
		v->zxid = v->epoch << 32;
		step(s, i, (struct fle_event){.type = FLE_SERVING, .serving = {v->epoch}});
	}
}

static void tick(struct sim *s)
{
	for (int i = 0; i < s->n; i++) {
		struct sim_server *v = &s->server[i];

		if (v->up && v->fle.state == FLE_LEADING)
			tick_leader(s, i);
		else if (v->up && v->fle.state != FLE_LOOKING)
			tick_learner(s, i);
	}
	s->tick_ms += SIM_TICK;
}

/* --- time ------------------------------------------------------------------------------------ */

/* The index of what is delivered next. */
static uint32_t next_flight(const struct sim *s)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < s->n_flight; i++) {
		const struct sim_flight *a = &s->flight[i], *b = &s->flight[best];

		if (a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order))
			best = i;
	}
	return best;
}

static void deliver(struct sim *s, uint32_t which)
{
	struct sim_flight f = s->flight[which];

	s->flight[which] = s->flight[--s->n_flight];
	if (!s->server[f.to].up || !s->server[f.from].up)
		return;
	if (f.kind == SIM_MESSAGE)
		step(s, f.to,
		     (struct fle_event){.type = FLE_RECEIVE, .receive = {f.from + 1, &f.message}});
	else
		step(s, f.to, (struct fle_event){.type = FLE_CONNECTED, .connected = {f.from + 1}});
}

/* The one next event: a message, a deadline, a tick. False: nothing before `end_ms`. */
static bool advance(struct sim *s, uint64_t end_ms)
{
	uint32_t flight = next_flight(s);
	uint64_t at = s->n_flight ? s->flight[flight].at_ms : UINT64_MAX;
	int late = -1;

	for (int i = 0; i < s->n; i++)
		if (s->server[i].up && s->server[i].deadline_ms < at) {
			at = s->server[i].deadline_ms;
			late = i;
		}
	if ((at < s->tick_ms ? at : s->tick_ms) > end_ms) {
		s->now_ms = end_ms;
		return false;
	}
	if (s->tick_ms <= at) {
		s->now_ms = s->tick_ms;
		tick(s);
		return true;
	}
	if (at > s->now_ms) /* a deadline may have passed when it was named */
		s->now_ms = at;
	if (late >= 0)
		step(s, late, (struct fle_event){.type = FLE_TIMEOUT});
	else
		deliver(s, flight);
	return true;
}

void sim_run(struct sim *s, uint64_t ms)
{
	uint64_t end = s->now_ms + ms;

	while (!s->broken && advance(s, end))
		;
}

int64_t sim_leader(const struct sim *s)
{
	int64_t leader = -1;

	for (int i = 0; i < s->n; i++) {
		const struct fle *f = &s->server[i].fle;

		if (!s->server[i].up)
			continue;
		if (f->state == FLE_LOOKING || (leader >= 0 && f->vote.leader != leader))
			return -1;
		leader = f->vote.leader;
	}
	if (leader < 0 || !s->server[leader - 1].up)
		return -1;
	return s->server[leader - 1].fle.state == FLE_LEADING ? leader : -1;
}

/* The leader serves, and everybody is in its epoch. */
static bool is_settled(const struct sim *s)
{
	int64_t leader = sim_leader(s);

	for (int i = 0; leader > 0 && i < s->n; i++)
		if (s->server[i].up &&
		    (!s->server[i].serving || s->server[i].epoch != s->server[leader - 1].epoch))
			return false;
	return leader > 0;
}

bool sim_run_until_settled(struct sim *s, uint64_t ms)
{
	uint64_t end = s->now_ms + ms;

	while (!s->broken && !is_settled(s))
		if (!advance(s, end))
			return false;
	return !s->broken;
}

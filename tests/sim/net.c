/*
 * net.c - connections that keep order, delay, stall and break
 *
 * As TCP does: nothing is lost or reordered inside a connection. A cut holds back what is under
 * way until it is over; a reset loses it. Closing is seen by the other end if the way is open.
 */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/net.h"
#include "tests/sim/sim.h"

struct pipe {
	struct sim_message *m;
	uint32_t head, n, cap;
	uint64_t last_us; /* when the newest arrives */
	bool due;         /* an event for the head is queued */
};

static struct conn {
	bool open[2]; /* at the learner's, the leader's end */
	bool broken;  /* what is sent from now on is lost */
	int end[2];   /* learner, leader */
	uint32_t life;
	struct pipe pipe[2]; /* from the learner, from the leader */
} conns[SIM_CONNS_MAX];

static uint64_t cut_until[SIM_NODES_MAX][SIM_NODES_MAX];
static uint64_t slow_until[SIM_NODES_MAX][SIM_NODES_MAX];

void sim_net_reset(void)
{
	for (int i = 0; i < SIM_CONNS_MAX; i++) {
		free(conns[i].pipe[0].m);
		free(conns[i].pipe[1].m);
	}
	memset(conns, 0, sizeof(conns));
	memset(cut_until, 0, sizeof(cut_until));
	memset(slow_until, 0, sizeof(slow_until));
}

bool sim_net_open(int a, int b)
{
	return cut_until[a][b] <= sim.now_us;
}

void sim_net_cut(int a, int b, uint64_t us)
{
	if (cut_until[a][b] < sim.now_us + us)
		cut_until[a][b] = sim.now_us + us;
}

void sim_net_slow(int a, int b, uint64_t us)
{
	slow_until[a][b] = sim.now_us + us;
}

void sim_net_heal(void)
{
	memset(cut_until, 0, sizeof(cut_until));
	memset(slow_until, 0, sizeof(slow_until));
}

static uint64_t delay(int a, int b)
{
	return slow_until[a][b] > sim.now_us ? sim_between(20000, 200000) : sim_between(50, 1500);
}

/* Let the head of the pipe arrive when it is time, or look again when the cut may be over. */
static void arrange(int c, int dir, uint64_t at_us)
{
	struct pipe *p = &conns[c].pipe[dir];
	int a = conns[c].end[dir], b = conns[c].end[!dir];

	if (cut_until[a][b] > at_us)
		at_us = cut_until[a][b] + 200;
	p->due = true;
	sim_at(at_us > sim.now_us ? at_us - sim.now_us : 0, EV_DELIVER, c, conns[c].life,
	       (uint64_t)dir);
}

static int new_conn(int a, int b)
{
	for (int c = 0; c < SIM_CONNS_MAX; c++) {
		struct conn *k = &conns[c];

		if (k->open[0] || k->open[1])
			continue;
		k->life++;
		k->end[0] = a;
		k->end[1] = b;
		k->open[0] = k->open[1] = true;
		k->broken = false;
		for (int dir = 0; dir < 2; dir++) {
			k->pipe[dir].head = k->pipe[dir].n = 0;
			k->pipe[dir].last_us = 0;
			k->pipe[dir].due = false;
		}
		return c;
	}
	return -1;
}

void sim_net_dial(int a, int b)
{
	struct sim_node *to = &sim.node[b];
	int c;

	if (!sim_net_open(a, b) || !sim_net_open(b, a) || !sim_node_listens(to) ||
	    to->paused_until_us > sim.now_us || (c = new_conn(a, b)) < 0) {
		sim_node_no_connection(&sim.node[a]);
		return;
	}
	sim_node_connected(to, c, true);
	if (conns[c].open[0])
		sim_node_connected(&sim.node[a], c, false);
}

void sim_net_send(int c, int from, const struct sim_message *m)
{
	struct conn *k = &conns[c];
	int dir = from == k->end[1];
	struct pipe *p = &k->pipe[dir];
	uint64_t at = sim.now_us + delay(from, k->end[!dir]);

	if (!k->open[dir] || k->broken)
		return;
	if (p->n == p->cap) {
		p->cap = p->cap ? p->cap * 2 : 16;
		p->m = realloc(p->m, p->cap * sizeof(*p->m));
		CHECK(p->m != NULL);
	}
	if (p->head + p->n >= p->cap) {
		memmove(p->m, p->m + p->head, p->n * sizeof(*p->m));
		p->head = 0;
	}
	p->m[p->head + p->n++] = *m;
	if (at > p->last_us)
		p->last_us = at;
	if (!p->due)
		arrange(c, dir, p->last_us);
}

void sim_net_deliver(int c, uint32_t life, int dir)
{
	struct conn *k = &conns[c];
	struct pipe *p = &k->pipe[dir];
	struct sim_node *to;

	if (k->life != life || !p->n)
		return;
	p->due = false;
	to = &sim.node[k->end[!dir]];
	if (!sim_net_open(k->end[dir], k->end[!dir])) {
		arrange(c, dir, sim.now_us);
		return;
	}
	if (!to->up || !k->open[!dir]) {
		p->n = 0;
		return;
	}
	if (to->paused_until_us > sim.now_us) {
		arrange(c, dir, to->paused_until_us);
		return;
	}
	/* A learner takes nothing while it reads the state behind SNAP. */
	if (dir == 1 && to->snap_pending) {
		arrange(c, dir, sim.now_us + 1000);
		return;
	}
	while (p->n && k->life == life && k->open[!dir] && !(dir == 1 && to->snap_pending)) {
		struct sim_message m = p->m[p->head++];

		p->n--;
		sim_node_receive(to, c, &m);
		if (sim_chance(30))
			break;
	}
	if (k->life == life && p->n && !p->due)
		arrange(c, dir, sim.now_us + delay(k->end[dir], k->end[!dir]));
}

void sim_net_close(int c, int from)
{
	struct conn *k = &conns[c];
	int dir = from == k->end[1];

	if (!k->open[dir])
		return;
	k->open[dir] = false;
	if (k->open[!dir])
		sim_at(delay(from, k->end[!dir]) + 1000, EV_CLOSED, c, k->life, (uint64_t)!dir);
}

/* End `dir` hears that the other is gone; without an open way it has to find out by itself, or
 * when it is open again. */
void sim_net_closed(int c, uint32_t life, int dir)
{
	struct conn *k = &conns[c];
	struct sim_node *n = &sim.node[k->end[dir]];
	uint64_t until = cut_until[k->end[!dir]][k->end[dir]];

	if (k->life != life || !k->open[dir])
		return;
	if (n->paused_until_us > until)
		until = n->paused_until_us;
	if (until > sim.now_us) {
		sim_at(until - sim.now_us + 1, EV_CLOSED, c, life, (uint64_t)dir);
		return;
	}
	if (!n->up || n->snap_pending || k->pipe[!dir].n) {
		/* What was sent before the close comes first. */
		if (n->up)
			sim_at(2000, EV_CLOSED, c, life, (uint64_t)dir);
		else
			k->open[dir] = false;
		return;
	}
	k->open[dir] = false;
	sim_node_lost(n, c);
}

bool sim_net_reset_one(void)
{
	int start = (int)sim_below(SIM_CONNS_MAX);

	for (int i = 0; i < SIM_CONNS_MAX; i++) {
		int c = (start + i) % SIM_CONNS_MAX;
		struct conn *k = &conns[c];
		uint32_t life = k->life;

		if (!k->open[0] || !k->open[1])
			continue;
		k->broken = true;
		/* A prefix of what is under way may have arrived, the rest is lost. */
		k->pipe[0].n = k->pipe[0].n ? (uint32_t)sim_below(k->pipe[0].n) : 0;
		k->pipe[1].n = k->pipe[1].n ? (uint32_t)sim_below(k->pipe[1].n) : 0;
		sim_at(sim_between(0, 3000), EV_CLOSED, c, life, 0);
		sim_at(sim_between(0, 3000), EV_CLOSED, c, life, 1);
		return true;
	}
	return false;
}

void sim_net_died(int node)
{
	for (int c = 0; c < SIM_CONNS_MAX; c++)
		for (int dir = 0; dir < 2; dir++)
			if (conns[c].end[dir] == node && conns[c].open[dir]) {
				if (conns[c].pipe[dir].n && sim_chance(50))
					conns[c].pipe[dir].n =
					    (uint32_t)sim_below(conns[c].pipe[dir].n + 1);
				sim_net_close(c, node);
			}
}

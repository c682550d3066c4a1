/*
 * run.c - the run of a seed: queue of events, clients, faults, and the calm at the end
 *
 * For the first part of the run faults come at random; then they stop, everything is started and
 * healed, and within a bounded time all members must be in service with the same state.
 */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "tests/sim/net.h"
#include "tests/sim/sim.h"

struct sim sim;

struct event {
	uint64_t at_us, number, arg;
	uint32_t life;
	int16_t kind, who;
};

static struct event *heap;
static uint32_t heap_n, heap_cap;
static uint64_t numbers, random_state;
static jmp_buf failed;
static char failure[512];

/* --- randomness, trace ------------------------------------------------------------------- */

uint64_t sim_random(void)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

uint64_t sim_below(uint64_t n)
{
	return n ? sim_random() % n : 0;
}

void sim_hash(uint64_t word)
{
	sim.result.hash = (sim.result.hash ^ word) * 0x100000001b3;
	sim.result.hash ^= sim.result.hash >> 29;
}

void sim_trace(const char *format, ...)
{
	va_list args;

	if (!sim.trace)
		return;
	va_start(args, format);
	fprintf(sim.trace, "[%9.3f] ", (double)sim.now_us / 1000);
	vfprintf(sim.trace, format, args);
	fputc('\n', sim.trace);
	va_end(args);
}

void sim_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(failure, sizeof(failure), format, args);
	va_end(args);
	sim_trace("FAILED: %s", failure);
	longjmp(failed, 1);
}

void sim_fired(enum sim_fault fault)
{
	sim.result.fault[fault]++;
}

/* --- queue ------------------------------------------------------------------------------- */

static bool before(const struct event *a, const struct event *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

static void push(const struct event *e)
{
	uint32_t i = heap_n++;

	if (heap_n > heap_cap) {
		heap_cap = heap_cap ? heap_cap * 2 : 1024;
		heap = realloc(heap, heap_cap * sizeof(*heap));
		CHECK(heap != NULL);
	}
	for (; i && before(e, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = *e;
}

static struct event pop(void)
{
	struct event top = heap[0], last = heap[--heap_n];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < heap_n) {
		if (child + 1 < heap_n && before(&heap[child + 1], &heap[child]))
			child++;
		if (!before(&heap[child], &last))
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = last;
	return top;
}

void sim_at(uint64_t delay_us, enum sim_event_kind kind, int who, uint32_t life, uint64_t arg)
{
	push(&(struct event){.at_us = sim.now_us + delay_us,
			     .number = numbers++,
			     .kind = (int16_t)kind,
			     .who = (int16_t)who,
			     .life = life,
			     .arg = arg});
}

/* --- faults ------------------------------------------------------------------------------ */

static struct sim_node *some_node(void)
{
	/* Leaders are where it hurts. */
	for (int i = 0; i < sim.n_nodes; i++)
		if (sim.node[i].up && sim.node[i].zab.role == ZAB_LEADING && sim_chance(30))
			return &sim.node[i];
	return &sim.node[sim_below((uint64_t)sim.n_nodes)];
}

static void fault_crash(struct sim_node *n)
{
	if (sim_chance(10)) {
		bool power = sim_chance(70);

		sim_fired(SIM_CRASH_ALL);
		for (int i = 0; i < sim.n_nodes; i++)
			sim_node_crash(&sim.node[i], power);
		return;
	}
	sim_node_crash(n, sim_chance(60));
}

/* At most one voter has lost its log: with more, no quorum could know what was acknowledged. */
static void fault_lost_log(struct sim_node *n)
{
	for (int i = 0; i < sim.n_nodes; i++)
		if (sim.node[i].disk.must_sync || sim.node[i].lose_log)
			return;
	n->lose_log = true;
	sim_node_crash(n, true);
}

static void fault_partition(struct sim_node *n)
{
	uint64_t us = sim_between(50, 4000) * 1000, side = sim_random();
	bool halves = sim_chance(40);

	sim_fired(halves ? SIM_HALVES : SIM_ISOLATE);
	for (int a = 0; a < sim.n_nodes; a++)
		for (int b = 0; b < sim.n_nodes; b++)
			if (halves ? (side >> a & 1) != (side >> b & 1)
				   : (a == n->id) != (b == n->id))
				sim_net_cut(a, b, us);
}

static void fault_link(struct sim_node *n)
{
	struct sim_node *to = some_node();

	if (to == n)
		return;
	if (sim_chance(50)) {
		sim_fired(SIM_CUT_ONE_WAY);
		sim_net_cut(n->id, to->id, sim_between(50, 4000) * 1000);
	} else {
		sim_fired(SIM_SLOW_LINK);
		sim_net_slow(n->id, to->id, sim_between(100, 3000) * 1000);
	}
}

static void fault_disk(struct sim_node *n)
{
	switch (sim_below(3)) {
	case 0:
		sim_fired(SIM_SLOW_DISK);
		n->disk.slow_until_us = sim.now_us + sim_between(100, 3000) * 1000;
		return;
	case 1:
		n->disk.sync_fails = true;
		return;
	default:
		if (!n->up || n->disk.full)
			return;
		sim_fired(SIM_DISK_FULL);
		n->disk.full = true;
		sim_at(sim_between(50, 3000) * 1000, EV_SPACE, n->id, n->life, 0);
		sim_node_stop(n);
	}
}

static void fault_time(struct sim_node *n)
{
	uint64_t ms = sim_between(10, 3000);

	if (sim_chance(50)) {
		sim_fired(SIM_CLOCK_JUMP);
		n->skew_ms += ms;
	} else if (n->up) {
		sim_fired(SIM_PAUSE);
		n->paused_until_us = sim.now_us + ms * 1000;
	}
}

static void one_fault(void)
{
	struct sim_node *n = some_node();

	switch (sim_below(20)) {
	case 0 ... 5:
		fault_crash(n);
		return;
	case 6:
		fault_lost_log(n);
		return;
	case 7 ... 8:
		fault_partition(n);
		return;
	case 9 ... 10:
		fault_link(n);
		return;
	case 11 ... 12:
		fault_disk(n);
		return;
	case 13 ... 14:
		fault_time(n);
		return;
	case 15:
		n->armed_before_store = true;
		return;
	case 16:
		n->armed_after_store = true;
		return;
	default:
		if (sim_net_reset_one())
			sim_fired(SIM_RESET);
	}
}

static void on_fault(void)
{
	if (sim.now_us >= sim.calm_us) {
		sim_net_heal();
		for (int i = 0; i < sim.n_nodes; i++) {
			struct sim_node *n = &sim.node[i];

			n->paused_until_us = n->disk.slow_until_us = 0;
			n->disk.sync_fails = n->armed_before_store = n->armed_after_store = false;
		}
		sim_trace("calm");
		return;
	}
	one_fault();
	sim_at(sim_between(1, sim.fault_gap_ms) * 1000, EV_FAULT, 0, 0, 0);
}

/* --- clients ----------------------------------------------------------------------------- */

static void on_write(void)
{
	struct sim_node *n = &sim.node[sim_below((uint64_t)sim.n_nodes)];

	if (sim.now_us + 1000000 > sim.end_us)
		return; /* let the last ones end */
	if (sim.now_us > sim.calm_us + 1000000)
		sim.write_gap_us = 100000;
	if (sim.now_us > sim.calm_us && sim.silent_end)
		return; /* what is under way must end without more to push it */
	if (sim_chance(5))
		sim_node_sync(n);
	else if (sim_node_serves(n))
		sim_node_write(n, sim_check_issue(n->id, n->life));
	sim_at(sim_between(1, sim.write_gap_us), EV_WRITE, 0, 0, 0);
}

/* --- run --------------------------------------------------------------------------------- */

static void on_node_event(const struct event *e)
{
	struct sim_node *n = &sim.node[e->who];

	if (n->life != e->life && e->kind != EV_SPACE)
		return;
	if (e->kind == EV_BOOT) {
		if (!n->up)
			sim_node_boot(n);
		return;
	}
	if (!n->up) {
		n->disk.full &= e->kind != EV_SPACE;
		return;
	}
	if (n->paused_until_us > sim.now_us)
		sim_at(n->paused_until_us - sim.now_us, (enum sim_event_kind)e->kind, e->who,
		       e->life, e->arg);
	else
		sim_node_event(n, e->kind, e->arg);
}

static void on_event(const struct event *e)
{
	switch (e->kind) {
	case EV_DELIVER:
		sim_net_deliver(e->who, e->life, (int)e->arg);
		return;
	case EV_CLOSED:
		sim_net_closed(e->who, e->life, (int)e->arg);
		return;
	case EV_WRITE:
		on_write();
		return;
	case EV_FAULT:
		on_fault();
		return;
	default:
		on_node_event(e);
	}
}

/* Every seed has its own ensemble, too. */
static void arrange(uint64_t seed)
{
	char text[1024];
	size_t at = 0;
	int observers;

	random_state = seed * 0x2545f4914f6cdd1d;
	sim.result = (struct sim_result){.seed = seed};
	sim.now_us = 0;
	sim.n_voters = sim_chance(60) ? 3 : 5;
	observers = sim_chance(40) ? (int)sim_between(1, 2) : 0;
	sim.n_nodes = sim.n_voters + observers;
	sim.masters = observers && sim_chance(60);
	sim.tick_ms = (uint32_t)sim_between(20, 120);
	sim.write_gap_us = (unsigned)sim_between(1000, 16000);
	sim.fault_gap_ms = (unsigned)sim_between(60, 900);
	sim.sync_us = (unsigned)sim_between(200, sim_chance(50) ? 3000 : 40000);
	sim.real_election = sim_chance(60);
	sim.silent_end = sim_chance(30);
	sim.snapshot_every = sim_between(10, sim_chance(50) ? 60 : 2000);
	sim.vote_ms = (uint32_t)sim_between(20, 200);
	sim.wrong_hint_percent = !sim.real_election && sim_chance(70) ? 12 : 0;
	sim.calm_us = sim_between(3000, 12000) * 1000;
	sim.end_us = sim.calm_us + 20000000;
	for (int i = 0; i < sim.n_nodes; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "server.%d=h%d:1:2:%s\n",
				       i + 1, i + 1, i < sim.n_voters ? "participant" : "observer");
	CHECK(quorum_config_parse(&sim.config, text, at, NULL) == 0);
	heap_n = 0;
	numbers = 0;
	sim_net_reset();
	sim_vote_reset();
	sim_check_reset();
	for (int i = 0; i < sim.n_nodes; i++) {
		sim_node_init(&sim.node[i], i, i >= sim.n_voters);
		sim_at(sim_between(0, 300) * 1000, EV_BOOT, i, 0, 0);
	}
	sim_at(500000, EV_FAULT, 0, 0, 0);
	sim_at(500000, EV_WRITE, 0, 0, 0);
}

const char *sim_run(uint64_t seed, bool strict, void *trace, struct sim_result *result)
{
	const char *volatile why = NULL;

	sim.strict = strict;
	sim.trace = trace;
	if (setjmp(failed) == 0) {
		arrange(seed);
		while (heap_n && heap[0].at_us <= sim.end_us) {
			struct event e = pop();

			sim.now_us = e.at_us;
			on_event(&e);
		}
		sim_check_end();
	} else {
		why = failure;
	}
	sim.result.virtual_ms = sim.now_us / 1000;
	*result = sim.result;
	for (int i = 0; i < sim.n_nodes; i++)
		sim_node_free(&sim.node[i]);
	return why;
}

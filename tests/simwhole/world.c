/*
 * world.c - the run of a seed: queue of events, faults, and the calm at the end
 *
 * For the first part of the run faults come at random; then they stop, everything is started and
 * healed, and within a bounded time all must serve the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "shm/node.h"
#include "tests/simwhole/whole.h"

enum { FLIP_UNTIL_US = 8000000 }; /* behind the calm's beginning */

struct w_world w;

struct event {
	uint64_t at_us, number, arg;
	uint32_t life;
	int16_t kind, who;
};

static struct event *heap;
static uint32_t heap_n, heap_cap;
static uint64_t numbers, random_state;
static jmp_buf failed;

/* --- randomness, trace --------------------------------------------------------------------- */

uint64_t w_random(void)
{
	uint64_t x = random_state += 0x9e3779b97f4a7c15;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

uint64_t w_below(uint64_t n)
{
	return n ? w_random() % n : 0;
}

void w_hash(uint64_t word)
{
	w.result.hash = (w.result.hash ^ word) * 0x100000001b3;
	w.result.hash ^= w.result.hash >> 29;
}

void w_trace(const char *format, ...)
{
	va_list args;

	if (!w.trace)
		return;
	va_start(args, format);
	printf("[%9.3f] ", (double)w.now_us / 1000);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

void w_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(w.result.why, sizeof(w.result.why), format, args);
	va_end(args);
	w_trace("FAILED: %s", w.result.why);
	fflush(stdout);
	longjmp(failed, 1);
}

void w_fired(enum w_fault fault)
{
	w.result.fault[fault]++;
}

void w_count(enum w_count what)
{
	w.result.count[what]++;
}

bool w_calm(void)
{
	return w.now_us >= w.calm_us;
}

/* --- queue --------------------------------------------------------------------------------- */

static bool before(const struct event *a, const struct event *b)
{
	return a->at_us != b->at_us ? a->at_us < b->at_us : a->number < b->number;
}

void w_at(uint64_t delay_us, enum w_event_kind kind, int who, uint32_t life, uint64_t arg)
{
	const struct event e = {w.now_us + delay_us, numbers++,   arg, life,
				(int16_t)kind,       (int16_t)who};
	uint32_t i = heap_n++;

	if (heap_n > heap_cap) {
		heap_cap = heap_cap ? heap_cap * 2 : 1024;
		heap = realloc(heap, heap_cap * sizeof(*heap));
		CHECK(heap != NULL);
	}
	for (; i && before(&e, &heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = e;
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

/* --- faults -------------------------------------------------------------------------------- */

static struct w_node *some_node(void)
{
	/* Leaders are where it hurts. */
	for (int i = 0; i < w_n_nodes; i++)
		if (w_nodes[i].writer_up && w_nodes[i].writer->loop.core.zab.role == ZAB_LEADING &&
		    w_chance(30))
			return &w_nodes[i];
	return &w_nodes[w_below((uint64_t)w_n_nodes)];
}

static void fault_crash(struct w_node *n)
{
	bool power = w_chance(60);

	if (!w_chance(10)) {
		w_node_crash(n, power);
		return;
	}
	w_fired(W_ALL_DOWN);
	for (int i = 0; i < w_n_nodes; i++)
		w_node_crash(&w_nodes[i], power);
}

static void fault_partition(struct w_node *n)
{
	uint64_t us = w_between(50, 4000) * 1000, side = w_random();
	bool halves = w_chance(40);

	w_fired(halves ? W_HALVES : W_ISOLATE);
	for (int a = 0; a < w_n_nodes; a++)
		for (int b = 0; b < w_n_nodes; b++)
			if (halves ? (side >> a & 1) != (side >> b & 1)
				   : (a == n->id) != (b == n->id))
				w_net_cut(a, b, us);
}

static void fault_link(struct w_node *n)
{
	struct w_node *to = some_node();

	if (to == n)
		return;
	if (w_chance(50)) {
		w_fired(W_CUT_ONE_WAY);
		w_net_cut(n->id, to->id, w_between(50, 4000) * 1000);
	} else {
		w_fired(W_SLOW_LINK);
		w_net_slow(n->id, to->id, w_between(100, 3000) * 1000);
	}
}

static void fault_disk(struct w_node *n)
{
	switch (w_below(3)) {
	case 0:
		w_fired(W_SLOW_DISK);
		n->slow_disk_until_us = w.now_us + w_between(100, 3000) * 1000;
		return;
	case 1:
		n->sync_fails = true;
		return;
	default:
		if (n->full)
			return;
		w_fired(W_DISK_FULL);
		n->full = n->disk_failed = true;
		w_at(w_between(50, 3000) * 1000, EV_SPACE, n->id, 0, 0);
	}
}

static void fault_time(struct w_node *n)
{
	uint64_t ms = w_between(10, 3000);

	switch (w_below(3)) {
	case 0:
		w_fired(W_CLOCK_JUMP);
		n->skew_ms += ms;
		return;
	case 1:
		w_fired(W_WALL_JUMP);
		n->wall_skew_ms += w_chance(50) ? -(int64_t)ms : (int64_t)ms;
		return;
	default:
		w_fired(W_PAUSE);
		n->paused_until_us = w.now_us + ms * 1000;
	}
}

static void one_fault(void)
{
	struct w_node *n = some_node();

	w_trace("     fault at %d", n->id + 1);
	switch (w_below(20)) {
	case 0 ... 3:
		fault_crash(n);
		return;
	case 4 ... 5:
		w_node_kill_writer(n);
		return;
	case 6 ... 7:
		fault_partition(n);
		return;
	case 8 ... 9:
		fault_link(n);
		return;
	case 10 ... 11:
		fault_disk(n);
		return;
	case 12 ... 13:
		fault_time(n);
		return;
	case 14 ... 16:
		if (n->writer_up)
			n->die_in = w_between(1, w_chance(50) ? 20 : 200);
		return;
	default:
		if (w_net_break_one())
			w_fired(W_RESET);
	}
}

/* Of what is written often, so that it is found out. */
static bool flip_bit(struct w_node *n)
{
	struct shm_tree *t = n->writer->loop.tree;
	int first = (int)w_below(12), len;
	char path[16];

	for (int i = 0; i < 12; i++) {
		struct shm_node *node;

		len = snprintf(path, sizeof(path), "/n%d", (first + i) % 12);
		node = shm_tree_get(t, path, (size_t)len);
		if (!node)
			continue;
		node->ctime ^= 1ll << w_below(40);
		w_trace("%d    a bit of %s is flipped", n->id + 1, path);
		return true;
	}
	return false;
}

/* A leader's own tree is what all others are compared with. */
static void on_flip(void)
{
	struct w_node *n = &w_nodes[w_below((uint64_t)w_n_nodes)];
	bool all = true;

	for (int i = 0; i < w_n_nodes; i++)
		all = all && w_node_serves(&w_nodes[i]);
	if (all && n->writer->loop.core.zab.role != ZAB_LEADING && !n->snap_due)
		n->flipped = flip_bit(n);
	if (!n->flipped && w.now_us < w.calm_us + FLIP_UNTIL_US)
		w_at(100000, EV_FLIP, 0, 0, 0);
}

static void on_fault(void)
{
	if (!w_calm()) {
		one_fault();
		w_at(w_between(1, w.fault_gap_ms) * 1000, EV_FAULT, 0, 0, 0);
		return;
	}
	w_trace("calm");
	w_net_heal();
	for (int i = 0; i < w_n_nodes; i++) {
		w_nodes[i].paused_until_us = w_nodes[i].slow_disk_until_us = 0;
		w_nodes[i].sync_fails = false;
		w_nodes[i].die_in = 0;
	}
	if (w.digests)
		w_at(w_between(1000, 4000) * 1000, EV_FLIP, 0, 0, 0);
}

/* --- run ----------------------------------------------------------------------------------- */

static void on_node_event(const struct event *e)
{
	struct w_node *n = &w_nodes[e->who];
	bool of_group = e->kind == EV_BOOT || e->kind == EV_WORKER;

	if (e->kind != EV_VOTE && e->life != (of_group ? n->group : n->life))
		return;
	if (n->paused_until_us > w.now_us) {
		/* A turn is told from others by its time. */
		if (e->kind == EV_TURN)
			n->turn_us = n->paused_until_us;
		w_at(n->paused_until_us - w.now_us, (enum w_event_kind)e->kind, e->who, e->life,
		     e->kind == EV_TURN ? n->turn_us : e->arg);
		return;
	}
	if (e->kind == EV_BOOT)
		w_node_boot(n, e->arg);
	else if (e->kind == EV_WORKER)
		w_worker_event(n);
	else if (n->writer_up)
		w_node_event(n, (enum w_event_kind)e->kind, e->arg);
	else if (e->kind == EV_VOTE)
		w_elector_event(n, EV_VOTE, e->arg);
}

static void on_event(const struct event *e)
{
	switch (e->kind) {
	case EV_NET:
	case EV_CLOSED:
		w_net_event((enum w_event_kind)e->kind, e->who, e->life, e->arg);
		return;
	case EV_CLIENT:
		w_client_event(e->who);
		return;
	case EV_FAULT:
		on_fault();
		return;
	case EV_FLIP:
		on_flip();
		return;
	case EV_SPACE:
		w_nodes[e->who].full = false;
		return;
	default:
		on_node_event(e);
	}
}

static void arrange(uint64_t seed, bool trace)
{
	memset(&w, 0, sizeof(w));
	random_state = seed * 0x9e3779b97f4a7c15 + 12345;
	w.trace = trace;
	w_n_voters = w_chance(70) ? 3 : 5;
	w_n_nodes = w_n_voters + (int)(seed % 2 ? 1 + seed / 4 % 2 : 0);
	w.tick_ms = (uint32_t)w_between(100, 500);
	w.vote_ms = (uint32_t)w_between(20, 200);
	w.real_election = w_chance(50);
	w.separate_log = w_chance(50);
	w.digests = w_chance(90);
	w.locals = seed % 3 == 0;
	w.masters = seed % 4 == 3;
	w.inbox_max = seed % 5 == 0 ? w_between(1, 600) : 0;
	w.wrong_hint_percent = !w.real_election && w_chance(70) ? 12 : 0;
	w.client_gap_us = (unsigned)w_between(5000, w_chance(50) ? 30000 : 150000);
	w.fault_gap_ms = (unsigned)w_between(50, 2000);
	w.sync_us = (unsigned)w_between(100, w_chance(70) ? 4000 : 30000);
	w.n_clients = (int)w_between(2, 10);
	w.calm_us = w_between(2000, 8000) * 1000;
	w.end_us = w.calm_us + 15000000;
	heap_n = 0;
	numbers = 0;
	w_net_reset();
	w_vote_reset();
	w_check_reset();
	w_clients_reset();
	for (int i = 0; i < w_n_nodes; i++) {
		w_node_init(&w_nodes[i], i);
		w_at(w_between(0, 300) * 1000, EV_BOOT, i, 0, 1);
	}
	for (int i = 0; i < w.n_clients; i++)
		w_at(w_between(300, 800) * 1000, EV_CLIENT, i, 0, 0);
	w_at(500000, EV_FAULT, 0, 0, 0);
}

void w_run(uint64_t seed, bool trace, struct w_result *result)
{
	arrange(seed, trace);
	if (setjmp(failed) == 0) {
		while (heap_n && heap[0].at_us <= w.end_us) {
			struct event e = pop();

			w.now_us = e.at_us;
			w.result.events++;
			w_hash((uint64_t)e.kind << 56 ^ (uint64_t)e.who << 48 ^ e.at_us);
			on_event(&e);
		}
		w_check_end();
	}
	w.result.virtual_ms = w.now_us / 1000;
	*result = w.result;
}

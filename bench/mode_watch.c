/*
 * One znode, a watcher on each connection but the last, which sets. A round: all arm a watch; when
 * the last answer is in, set; the clock runs from the set to each notification. Nobody arms again
 * before all have heard, so that a round measures notifications alone.
 */
#include "bench/load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"

enum { ROUND_SECONDS_MAX = 30 };

struct watch {
	struct bench_run *run;
	uint32_t armed, heard, rounds;
	uint64_t set_ns;
	bool set_answered;
	struct hist last; /* ns from the set to the last notification */
};

static void on_reply(struct bench_loop *l, struct bench_conn *c, const struct bench_slot *slot,
		     int32_t err, const uint8_t *body, size_t len)
{
	struct watch *w = l->ctx;
	const bool measuring = w->run->measuring;

	(void)c;
	/* Arming is not what we time. */
	w->run->measuring = measuring && slot->op == BENCH_SET;
	bench_account(w->run, slot, err, body, len);
	w->run->measuring = measuring;
	if (slot->op == BENCH_SET)
		w->set_answered = true;
	else
		w->armed++;
}

static void on_event(struct bench_loop *l, struct bench_conn *c, const uint8_t *body, size_t len)
{
	struct watch *w = l->ctx;

	(void)c;
	(void)body;
	if (len < 12 || w->set_ns == 0) {
		l->faults.bad_data++;
		return;
	}
	w->heard++;
	if (w->run->measuring)
		hist_record(&w->run->r.read, l->now_ns - w->set_ns);
}

static const struct bench_handler handler = {.reply = on_reply, .event = on_event};

static void send_to(struct watch *w, struct bench_conn *c, enum bench_op op)
{
	const size_t len = bench_frame(&w->run->frames, op, 0, 0, 0);

	w->run->loop.now_ns = clock_mono_ns();
	bench_send(&w->run->loop, c, w->run->frames.frame, len, op, 0);
	bench_flush(&w->run->loop, c);
}

/* 0, or -ETIMEDOUT when a watcher does not hear within ROUND_SECONDS_MAX, or -ECONNRESET. */
static int round_of(struct watch *w)
{
	struct bench_loop *l = &w->run->loop;
	const uint32_t watchers = l->n_conns - 1;
	const uint64_t end = clock_mono_ns() + ROUND_SECONDS_MAX * UINT64_C(1000000000);

	w->armed = w->heard = 0;
	w->set_ns = 0;
	w->set_answered = false;
	for (uint32_t i = 0; i < watchers; i++)
		send_to(w, &l->conns[i], BENCH_WATCH);
	while (w->armed < watchers && l->now_ns < end && l->faults.disconnects == 0)
		bench_loop_turn(l, 10);
	w->set_ns = clock_mono_ns();
	send_to(w, &l->conns[watchers], BENCH_SET);
	while ((w->heard < watchers || !w->set_answered) && l->now_ns < end &&
	       l->faults.disconnects == 0)
		bench_loop_turn(l, 10);
	if (l->faults.disconnects != 0)
		return -ECONNRESET;
	if (w->heard < watchers || !w->set_answered)
		return -ETIMEDOUT;
	if (w->run->measuring)
		hist_record(&w->last, l->now_ns - w->set_ns);
	w->rounds += w->run->measuring;
	return 0;
}

int bench_mode_watch(struct bench_run *run)
{
	static struct watch w;
	const uint64_t warm_ns = (uint64_t)(run->o.warmup_s * 1e9);
	const uint64_t span_ns = (uint64_t)(run->o.seconds * 1e9);
	uint64_t start;
	int rc = run->loop.n_conns < 2 ? -EINVAL : bench_tree_make(run);

	if (rc < 0)
		return rc;
	w.run = run;
	run->loop.ctx = &w;
	run->loop.handler = &handler;
	start = clock_mono_ns();
	while (rc == 0 && clock_mono_ns() < start + warm_ns)
		rc = round_of(&w);
	bench_measure_begin(run);
	while (rc == 0 && clock_mono_ns() < run->begin_ns + span_ns &&
	       (run->o.count == 0 || w.rounds < run->o.count))
		rc = round_of(&w);
	bench_measure_end(run);
	run->loop.ctx = run;
	snprintf(run->extra, sizeof(run->extra),
		 "\"watchers\": %u, \"rounds\": %u, \"last_p50_us\": %.1f, \"last_p99_us\": %.1f, "
		 "\"last_max_us\": %.1f, ",
		 run->loop.n_conns - 1, w.rounds, (double)hist_percentile(&w.last, 500000) / 1e3,
		 (double)hist_percentile(&w.last, 990000) / 1e3, (double)w.last.max / 1e3);
	return rc;
}

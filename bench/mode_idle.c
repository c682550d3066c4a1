/* Opens sessions and holds them by pings alone, while the server's memory is read. */
#include "bench/load.h"

#include <errno.h>
#include <stdio.h>

#include "base/clock.h"

enum { TURN_MS = 50, OPEN_SECONDS_MAX = 300 };

static void on_reply(struct bench_loop *l, struct bench_conn *c, const struct bench_slot *slot,
		     int32_t err, const uint8_t *body, size_t len)
{
	(void)c;
	bench_account(l->ctx, slot, err, body, len);
}

static const struct bench_handler handler = {.reply = on_reply};

static void ping_due(struct bench_loop *l)
{
	const uint64_t every_ns = (uint64_t)l->timeout_ms * 1000000 / 3;

	for (uint32_t i = 0; i < l->n_conns; i++) {
		struct bench_conn *c = &l->conns[i];

		if (c->state == BENCH_OPEN && l->now_ns > c->ping_ns + every_ns) {
			bench_ping(l, c);
			bench_flush(l, c);
		}
	}
}

int bench_mode_idle(struct bench_run *run)
{
	struct bench_loop *l = &run->loop;
	struct bench_usage *after = &run->r.memory, before = {0};
	uint64_t begin_ns = clock_mono_ns(), end_ns;
	double opening_s;
	int rc;

	l->handler = &handler;
	l->ctx = run;
	if (run->o.server != 0)
		bench_usage_all(run->o.server, &before);
	rc = bench_loop_open_all(l, OPEN_SECONDS_MAX);
	opening_s = (double)(clock_mono_ns() - begin_ns) / 1e9;
	if (rc < 0)
		return rc;
	bench_measure_begin(run);
	end_ns = run->begin_ns + (uint64_t)(run->o.seconds * 1e9);
	while (l->now_ns < end_ns) {
		bench_loop_turn(l, TURN_MS);
		ping_due(l);
	}
	bench_measure_end(run);
	if (run->o.server != 0)
		bench_usage_all(run->o.server, after);
	snprintf(run->extra, sizeof(run->extra),
		 "\"sessions\": %u, \"opened_per_s\": %.1f, \"pss_before_kb\": %llu, "
		 "\"pss_per_session_bytes\": %.1f, ",
		 l->n_open, (double)l->n_conns / opening_s, (unsigned long long)before.pss_kb,
		 ((double)after->pss_kb - (double)before.pss_kb) * 1024 / l->n_conns);
	return 0;
}

/*
 * load.h - the load generator's one piece of state, and its modes
 *
 * bench_load.c reads the options and prints the result; each mode is a file: it drives the loop and
 * fills in the result. All measured spans begin after the warm-up and end before the drain.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "bench/client.h"
#include "bench/frames.h"
#include "bench/report.h"

enum bench_keys {
	BENCH_UNIFORM,
	BENCH_SEQUENTIAL,
	BENCH_HOT, /* 90 % of the requests go to the first 1 % of the keys */
};

struct bench_options {
	const char *host_port, *root;
	uint32_t conns, depth, timeout_ms;
	double warmup_s, seconds;
	uint64_t count;             /* stop after so many requests; 0: after `seconds` */
	uint8_t mix[BENCH_MIX_OPS]; /* per cent */
	enum bench_keys keys;
	uint32_t value_len, fanout, multi_ops;
	uint64_t nodes, seed;
	uint32_t rate; /* requests per second over all connections; 0: closed loop */
	bool canned;   /* floor server: no tree to make, no data to verify */
	pid_t server;  /* root of the server's process tree, or 0 */
};

/* What one run of the program holds. */
struct bench_run {
	struct bench_options o;
	struct bench_loop loop;
	struct bench_frames frames;
	struct bench_result r;
	struct bench_usage before; /* of the server, when measuring began */
	double own_before_s;
	uint64_t begin_ns, end_ns; /* of the measured span; 0: not yet, none */
	uint64_t issued, last_read_ns, last_write_ns;
	uint64_t paced_from_ns, paced; /* with a rate: request i was due at from + i / rate */
	bool measuring, stopping;
	char extra[1024]; /* members of the JSON object that only one mode has */
};

/*
 * Begin and end the measured span: reset the histograms, read the CPU times. The time between the
 * last answer and the end counts as a gap, too.
 */
void bench_measure_begin(struct bench_run *run);
void bench_measure_end(struct bench_run *run);

/* Account an answered request: correctness always, figures while measuring. */
void bench_account(struct bench_run *run, const struct bench_slot *slot, int32_t err,
		   const uint8_t *body, size_t len);

/* Make the tree unless its last node is there; 0, or a negative errno. Connections are open. */
int bench_tree_make(struct bench_run *run);

/* The modes; 0, or a negative errno when they could not be run at all. */
int bench_mode_mix(struct bench_run *run);
int bench_mode_load(struct bench_run *run);
int bench_mode_watch(struct bench_run *run);
int bench_mode_sessions(struct bench_run *run);
int bench_mode_idle(struct bench_run *run);

/*
 * report.h - what a run counted, and how it is told
 *
 * One JSON object in one line on stdout, for programs and for the record; a few lines of text on
 * stderr, for people.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hist.h"
#include "bench/client.h"
#include "bench/frames.h"
#include "bench/proc.h"

enum { BENCH_SERIES_MAX = 3600 }; /* seconds */

/* One second of the run. */
struct bench_second {
	uint32_t reads, writes, errors;
	uint32_t read_max_us, write_max_us;
};

struct bench_result {
	const char *mode;
	double seconds;           /* that were measured */
	struct hist read, write;  /* ns from send to reply */
	uint64_t done[BENCH_OPS]; /* answered while it was measured */
	uint64_t bytes_in, bytes_out;
	uint64_t checksum; /* sum over answered requests, in any order, of a hash of each */
	uint64_t read_gap_ns, write_gap_ns; /* longest time without any answer of the kind */
	double server_cpu_s, own_cpu_s;
	struct bench_usage memory; /* at the end of the run */
	struct bench_second series[BENCH_SERIES_MAX];
	uint32_t n_series;
};

/* Parameters as they were given; `extra` is more members of the object, or "". */
struct bench_about {
	const char *name, *label, *target, *mix, *keys, *commit;
	const char *extra;
	uint32_t conns, depth, value_len, rate;
	uint64_t nodes, seed;
	bool have_server; /* CPU and memory of the server were read */
	bool series;      /* write the series, too */
};

void bench_report(const struct bench_result *r, const struct bench_about *about,
		  const struct bench_faults *faults);

/* Faults that make a run worthless, whatever its speed: not disconnects, which are an outcome. */
uint64_t bench_wrong(const struct bench_faults *f);

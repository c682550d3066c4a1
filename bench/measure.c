#include "bench/load.h"

#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"

enum { ZNODEEXISTS = -110 };

static double own_cpu(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

void bench_measure_begin(struct bench_run *run)
{
	memset(&run->r.read, 0, sizeof(run->r.read));
	memset(&run->r.write, 0, sizeof(run->r.write));
	memset(run->r.done, 0, sizeof(run->r.done));
	run->r.bytes_in = run->loop.bytes_in;
	run->r.bytes_out = run->loop.bytes_out;
	if (run->o.server != 0)
		bench_usage_cpu(run->o.server, &run->before);
	run->own_before_s = own_cpu();
	run->measuring = true;
	run->begin_ns = clock_mono_ns();
	run->last_read_ns = run->begin_ns;
	run->last_write_ns = run->begin_ns;
}

static void note_gap(uint64_t *last_ns, uint64_t now_ns, uint64_t *max_ns)
{
	if (now_ns > *last_ns && now_ns - *last_ns > *max_ns)
		*max_ns = now_ns - *last_ns;
	*last_ns = now_ns;
}

void bench_measure_end(struct bench_run *run)
{
	struct bench_result *r = &run->r;
	struct bench_usage after = {0};

	run->end_ns = clock_mono_ns();
	run->measuring = false;
	r->own_cpu_s = own_cpu() - run->own_before_s;
	if (run->o.server != 0 && bench_usage_cpu(run->o.server, &after) == 0)
		r->server_cpu_s = after.cpu_s - run->before.cpu_s;
	note_gap(&run->last_read_ns, run->end_ns, &r->read_gap_ns);
	note_gap(&run->last_write_ns, run->end_ns, &r->write_gap_ns);
	r->seconds = (double)(run->end_ns - run->begin_ns) / 1e9;
	r->bytes_in = run->loop.bytes_in - r->bytes_in;
	r->bytes_out = run->loop.bytes_out - r->bytes_out;
}

static bool is_read(uint32_t op)
{
	return op == BENCH_GET || op == BENCH_EXISTS || op == BENCH_CHILDREN || op == BENCH_WATCH;
}

static uint64_t mix64(uint64_t v)
{
	v ^= v >> 31;
	v *= UINT64_C(0x7fb5d329728ea185);
	v ^= v >> 27;
	v *= UINT64_C(0x81dadef4bc2dd44d);
	return v ^ v >> 33;
}

/* NULL past the end of the series. */
static struct bench_second *second(struct bench_run *run, uint64_t now_ns)
{
	const uint64_t i = (now_ns - run->begin_ns) / 1000000000;

	if (now_ns < run->begin_ns || i >= BENCH_SERIES_MAX)
		return NULL;
	if (i >= run->r.n_series)
		run->r.n_series = (uint32_t)i + 1;
	return &run->r.series[i];
}

static void count(struct bench_run *run, const struct bench_slot *slot, bool ok)
{
	const uint64_t now_ns = run->loop.now_ns, took_ns = now_ns - slot->sent_ns;
	const bool read = is_read(slot->op);
	struct bench_second *s = second(run, now_ns);
	struct bench_result *r = &run->r;

	hist_record(read ? &r->read : &r->write, took_ns);
	r->done[slot->op]++;
	r->checksum += mix64(slot->key * BENCH_OPS + slot->op + 1);
	if (read)
		note_gap(&run->last_read_ns, now_ns, &r->read_gap_ns);
	else
		note_gap(&run->last_write_ns, now_ns, &r->write_gap_ns);
	if (s == NULL)
		return;
	s->errors += !ok;
	if (read) {
		s->reads++;
		s->read_max_us =
		    took_ns / 1000 > s->read_max_us ? (uint32_t)(took_ns / 1000) : s->read_max_us;
	} else {
		s->writes++;
		s->write_max_us =
		    took_ns / 1000 > s->write_max_us ? (uint32_t)(took_ns / 1000) : s->write_max_us;
	}
}

/* What prepares the tree may find it there. */
static bool is_expected(uint32_t op, int32_t err)
{
	return err == 0 || (err == ZNODEEXISTS && op >= BENCH_MAKE_ROOT && op < BENCH_WATCH);
}

void bench_account(struct bench_run *run, const struct bench_slot *slot, int32_t err,
		   const uint8_t *body, size_t len)
{
	bool ok = true;

	if (!is_expected(slot->op, err)) {
		run->loop.faults.err_replies++;
		run->loop.faults.last_err = err;
		ok = false;
	} else if (err == 0 &&
		   !bench_reply_ok(&run->frames, slot->op, slot->key, !run->o.canned, body, len)) {
		run->loop.faults.bad_data++;
		ok = false;
	}
	if (run->measuring)
		count(run, slot, ok);
}

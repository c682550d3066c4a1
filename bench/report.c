#include "bench/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#ifdef DEBUG
#define BUILD "debug, " COMPILER
#else
#define BUILD "rel, " COMPILER
#endif

uint64_t bench_wrong(const struct bench_faults *f)
{
	return f->err_replies + f->bad_order + f->bad_zxid + f->bad_length + f->bad_data;
}

static void print_string(const char *name, const char *value)
{
	printf("\"%s\": \"", name);
	for (; *value != '\0'; value++) {
		if (*value == '"' || *value == '\\')
			putchar('\\');
		if ((unsigned char)*value >= ' ')
			putchar(*value);
	}
	printf("\", ");
}

static void machine(char *text, size_t size)
{
	char line[256], cpu[128] = "unknown processor";
	struct utsname u;
	FILE *f = fopen("/proc/cpuinfo", "re");

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "model name : %127[^\n]", cpu) == 1)
			break;
	}
	if (f != NULL)
		fclose(f);
	uname(&u);
	snprintf(text, size, "%ld x %s, Linux %s", sysconf(_SC_NPROCESSORS_ONLN), cpu, u.release);
}

static double us(uint64_t ns)
{
	return (double)ns / 1e3;
}

static void print_latency(const char *name, const struct hist *h, uint64_t gap_ns)
{
	const uint64_t n = hist_count(h);

	printf(
	    "\"%s\": {\"n\": %" PRIu64 ", \"mean_us\": %.1f, \"p50_us\": %.1f, \"p99_us\": %.1f, "
	    "\"p999_us\": %.1f, \"max_us\": %.1f, \"gap_max_us\": %.1f}, ",
	    name, n, n == 0 ? 0.0 : us(h->sum) / (double)n, us(hist_percentile(h, 500000)),
	    us(hist_percentile(h, 990000)), us(hist_percentile(h, 999000)), us(h->max), us(gap_ns));
}

static void print_faults(const struct bench_faults *f)
{
	printf("\"errors\": {\"total\": %" PRIu64 ", \"err_replies\": %" PRIu64
	       ", \"last_err\": %d, "
	       "\"bad_order\": %" PRIu64 ", \"bad_zxid\": %" PRIu64 ", \"bad_length\": %" PRIu64
	       ", \"bad_data\": %" PRIu64 "}, ",
	       bench_wrong(f), f->err_replies, f->last_err, f->bad_order, f->bad_zxid,
	       f->bad_length, f->bad_data);
	printf("\"disconnects\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"expired\": %" PRIu64
	       ", \"unknown\": %" PRIu64 ", ",
	       f->disconnects, f->refused, f->expired, f->unknown);
}

static void print_series(const struct bench_result *r)
{
	printf("\"series\": [");
	for (uint32_t i = 0; i < r->n_series; i++) {
		const struct bench_second *s = &r->series[i];

		printf("%s[%u, %u, %u, %u, %u]", i == 0 ? "" : ", ", s->reads, s->writes,
		       s->read_max_us, s->write_max_us, s->errors);
	}
	printf("], \"series_columns\": \"reads writes read_max_us write_max_us errors\", ");
}

static uint64_t total(const struct bench_result *r)
{
	return hist_count(&r->read) + hist_count(&r->write);
}

static void print_parameters(const struct bench_about *a)
{
	print_string("name", a->name);
	print_string("label", a->label);
	print_string("target", a->target);
	print_string("mix", a->mix);
	print_string("keys", a->keys);
	printf(
	    "\"conns\": %u, \"depth\": %u, \"value_bytes\": %u, \"rate\": %u, \"nodes\": %" PRIu64
	    ", \"seed\": %" PRIu64 ", ",
	    a->conns, a->depth, a->value_len, a->rate, a->nodes, a->seed);
}

static void print_server(const struct bench_result *r)
{
	printf("\"server_cpu_s\": %.2f, \"per_server_cpu_s\": %.1f, \"pss_kb\": %" PRIu64
	       ", \"rss_kb\": %" PRIu64 ", \"shmem_kb\": %" PRIu64 ", \"processes\": %u, ",
	       r->server_cpu_s, r->server_cpu_s > 0 ? (double)total(r) / r->server_cpu_s : 0.0,
	       r->memory.pss_kb, r->memory.rss_kb, r->memory.shmem_kb, r->memory.processes);
}

static void print_json(const struct bench_result *r, const struct bench_about *a,
		       const struct bench_faults *faults)
{
	char where[512];

	machine(where, sizeof(where));
	printf("{");
	print_parameters(a);
	print_string("mode", r->mode);
	printf("\"seconds\": %.3f, \"requests\": %" PRIu64 ", \"per_s\": %.1f, ", r->seconds,
	       total(r), r->seconds > 0 ? (double)total(r) / r->seconds : 0.0);
	print_latency("read", &r->read, r->read_gap_ns);
	print_latency("write", &r->write, r->write_gap_ns);
	for (uint32_t i = 0; i < BENCH_MIX_OPS; i++)
		printf("\"n_%s\": %" PRIu64 ", ", bench_op_name(i), r->done[i]);
	print_faults(faults);
	if (a->have_server)
		print_server(r);
	printf("\"own_cpu_s\": %.2f, \"bytes_in\": %" PRIu64 ", \"bytes_out\": %" PRIu64 ", ",
	       r->own_cpu_s, r->bytes_in, r->bytes_out);
	printf("%s", a->extra);
	if (a->series)
		print_series(r);
	print_string("build", BUILD);
	print_string("commit", a->commit);
	print_string("machine", where);
	printf("\"checksum\": \"%016" PRIx64 "\"}\n", r->checksum);
	fflush(stdout);
}

static void tell_latency(const char *name, const struct hist *h)
{
	if (hist_count(h) == 0)
		return;
	fprintf(stderr,
		"  %-6s %" PRIu64 ": p50 %.0f us, p99 %.0f us, p99.9 %.0f us, max %.0f us\n", name,
		hist_count(h), us(hist_percentile(h, 500000)), us(hist_percentile(h, 990000)),
		us(hist_percentile(h, 999000)), us(h->max));
}

static void tell(const struct bench_result *r, const struct bench_about *a,
		 const struct bench_faults *f)
{
	fprintf(stderr, "%s %s: %.0f requests/s in %.1f s (%u connections, depth %u)\n", r->mode,
		a->label, r->seconds > 0 ? (double)total(r) / r->seconds : 0.0, r->seconds,
		a->conns, a->depth);
	tell_latency("reads", &r->read);
	tell_latency("writes", &r->write);
	if (a->have_server)
		fprintf(stderr,
			"  server: %.2f CPU s, %.0f requests per CPU s, PSS %" PRIu64
			" KiB in %u processes; generator: %.2f CPU s\n",
			r->server_cpu_s,
			r->server_cpu_s > 0 ? (double)total(r) / r->server_cpu_s : 0.0,
			r->memory.pss_kb, r->memory.processes, r->own_cpu_s);
	if (f->disconnects + f->refused + f->expired + f->unknown > 0)
		fprintf(stderr,
			"  %" PRIu64 " disconnects, %" PRIu64 " refused, %" PRIu64
			" sessions expired, %" PRIu64 " requests unanswered\n",
			f->disconnects, f->refused, f->expired, f->unknown);
	if (bench_wrong(f) > 0)
		fprintf(stderr,
			"  WRONG: %" PRIu64 " error replies (last %d), %" PRIu64
			" out of order, %" PRIu64 " falling zxids, %" PRIu64 " lengths, %" PRIu64
			" data\n",
			f->err_replies, f->last_err, f->bad_order, f->bad_zxid, f->bad_length,
			f->bad_data);
}

void bench_report(const struct bench_result *r, const struct bench_about *about,
		  const struct bench_faults *faults)
{
	print_json(r, about, faults);
	tell(r, about, faults);
}

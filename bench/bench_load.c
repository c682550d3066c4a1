/*
 * bench_load - load on a ZooKeeper server, and what it cost
 *
 * One process, one thread, raw protocol, closed loop. Prints one JSON line on stdout and a summary
 * on stderr. Exit status: 0; 1: answers were wrong; 2: could not run.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/load.h"

static const char usage_text[] =
    "usage: bench_load [options] HOST:PORT[,HOST:PORT..]\n"
    "  --mode MODE       mix (default), load, watch, sessions, idle\n"
    "  --conns N         connections (64); watch: one of them sets, the others watch\n"
    "  --depth N         requests in flight per connection (1)\n"
    "  --seconds S       measured span (10)    --warmup S  before it (2)\n"
    "  --count N         mix, watch, sessions: end after N requests, rounds, sessions\n"
    "  --mix LIST        per cent of each, in sum 100: get=100 (default), exists, children,\n"
    "                    set, create, delete, multi; e.g. get=80,set=20\n"
    "  --rate N          mix: requests per second that are due, however long answers take;\n"
    "                    latency counts from then (0, the default: closed loop)\n"
    "  --keys K          uniform (default), seq, hot (90 % of requests to 1 % of the keys)\n"
    "  --value N         bytes per znode (100) --nodes N   znodes of the tree (10000)\n"
    "  --fanout N        znodes per directory (100)\n"
    "  --multi N         setData per multi (4) --root PATH of the tree (/bench)\n"
    "  --timeout MS      session timeout to ask for (30000)\n"
    "  --seed N          of keys and values (1)\n"
    "  --server PID      root of the server's processes: read its CPU time and memory\n"
    "  --canned          floor server: make no tree, do not look at the data\n"
    "  --series          per-second figures into the JSON line\n"
    "  --memory          PSS of the server at the end (idle: always)\n"
    "  --name, --label, --commit TEXT   go into the JSON line\n";

enum option_code {
	O_MODE = 1000,
	O_CONNS,
	O_DEPTH,
	O_SECONDS,
	O_WARMUP,
	O_COUNT,
	O_MIX,
	O_KEYS,
	O_VALUE,
	O_NODES,
	O_FANOUT,
	O_MULTI,
	O_ROOT,
	O_TIMEOUT,
	O_SEED,
	O_RATE,
	O_SERVER,
	O_CANNED,
	O_SERIES,
	O_MEMORY,
	O_NAME,
	O_LABEL,
	O_COMMIT,
};

static const struct option options[] = {
    {"mode", 1, NULL, O_MODE},       {"conns", 1, NULL, O_CONNS},     {"depth", 1, NULL, O_DEPTH},
    {"seconds", 1, NULL, O_SECONDS}, {"warmup", 1, NULL, O_WARMUP},   {"count", 1, NULL, O_COUNT},
    {"mix", 1, NULL, O_MIX},         {"keys", 1, NULL, O_KEYS},       {"value", 1, NULL, O_VALUE},
    {"nodes", 1, NULL, O_NODES},     {"fanout", 1, NULL, O_FANOUT},   {"multi", 1, NULL, O_MULTI},
    {"root", 1, NULL, O_ROOT},       {"timeout", 1, NULL, O_TIMEOUT}, {"rate", 1, NULL, O_RATE},
    {"seed", 1, NULL, O_SEED},       {"server", 1, NULL, O_SERVER},   {"canned", 0, NULL, O_CANNED},
    {"series", 0, NULL, O_SERIES},   {"memory", 0, NULL, O_MEMORY},   {"name", 1, NULL, O_NAME},
    {"label", 1, NULL, O_LABEL},     {"commit", 1, NULL, O_COMMIT},   {NULL, 0, NULL, 0},
};

static const struct {
	const char *name;
	int (*run)(struct bench_run *run);
	bool opens_itself;
} modes[] = {
    {"mix", bench_mode_mix, false},     {"load", bench_mode_load, false},
    {"watch", bench_mode_watch, false}, {"sessions", bench_mode_sessions, true},
    {"idle", bench_mode_idle, true},
};

static const char *const key_names[] = {"uniform", "seq", "hot"};

struct command {
	struct bench_about about;
	size_t mode;
	bool memory;
};

static _Noreturn void die(const char *what, const char *value)
{
	fprintf(stderr, "bench_load: %s: %s\n", what, value);
	exit(2);
}

static uint64_t number(const char *text, uint64_t min, uint64_t max)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (*text == '-' || end == text || *end != '\0' || errno != 0 || n < min || n > max)
		die("not a number in range", text);
	return n;
}

static double seconds(const char *text)
{
	char *end;
	const double s = strtod(text, &end);

	if (end == text || *end != '\0' || !(s >= 0 && s <= BENCH_SERIES_MAX))
		die("not a number of seconds in range", text);
	return s;
}

static void parse_mix(struct bench_options *o, const char *text)
{
	char *copy = strdup(text), *save = NULL, *item, *value;
	uint32_t sum = 0;

	memset(o->mix, 0, sizeof(o->mix));
	for (item = copy != NULL ? strtok_r(copy, ",", &save) : NULL; item != NULL;
	     item = strtok_r(NULL, ",", &save)) {
		enum bench_op op = BENCH_GET;

		value = strchr(item, '=');
		if (value == NULL)
			die("mix", text);
		*value++ = '\0';
		while (op < BENCH_MIX_OPS && strcmp(bench_op_name(op), item) != 0)
			op++;
		if (op == BENCH_MIX_OPS)
			die("mix: unknown request", item);
		o->mix[op] = (uint8_t)number(value, 0, 100);
		sum += o->mix[op];
	}
	free(copy);
	if (sum != 100)
		die("mix: the sum is not 100", text);
}

static size_t choose(const char *what, const char *text, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(names[i], text) == 0)
			return i;
	}
	die(what, text);
}

static size_t choose_mode(const char *text)
{
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(modes[i].name, text) == 0)
			return i;
	}
	die("unknown mode", text);
}

static void take_text_option(struct command *cmd, struct bench_options *o, int code)
{
	switch (code) {
	case O_MODE:
		cmd->mode = choose_mode(optarg);
		break;
	case O_MIX:
		parse_mix(o, optarg);
		cmd->about.mix = optarg;
		break;
	case O_KEYS:
		o->keys = (enum bench_keys)choose("unknown distribution", optarg, key_names, 3);
		cmd->about.keys = optarg;
		break;
	case O_ROOT:
		o->root = optarg;
		break;
	case O_CANNED:
		o->canned = true;
		break;
	case O_SERIES:
		cmd->about.series = true;
		break;
	case O_MEMORY:
		cmd->memory = true;
		break;
	case O_NAME:
		cmd->about.name = optarg;
		break;
	case O_LABEL:
		cmd->about.label = optarg;
		break;
	case O_COMMIT:
		cmd->about.commit = optarg;
		break;
	default:
		fputs(usage_text, stderr);
		exit(2);
	}
}

static void take_option(struct command *cmd, struct bench_options *o, int code)
{
	switch (code) {
	case O_CONNS:
		o->conns = (uint32_t)number(optarg, 1, 200000);
		break;
	case O_DEPTH:
		o->depth = (uint32_t)number(optarg, 1, 65536);
		break;
	case O_SECONDS:
		o->seconds = seconds(optarg);
		break;
	case O_WARMUP:
		o->warmup_s = seconds(optarg);
		break;
	case O_COUNT:
		o->count = number(optarg, 1, UINT64_MAX);
		break;
	case O_VALUE:
		o->value_len = (uint32_t)number(optarg, 0, BENCH_VALUE_MAX);
		break;
	case O_NODES:
		o->nodes = number(optarg, 1, 999999999);
		break;
	case O_FANOUT:
		o->fanout = (uint32_t)number(optarg, 1, 1000000);
		break;
	case O_MULTI:
		o->multi_ops = (uint32_t)number(optarg, 1, BENCH_MULTI_MAX);
		break;
	case O_TIMEOUT:
		o->timeout_ms = (uint32_t)number(optarg, 1, 86400000);
		break;
	case O_SEED:
		o->seed = number(optarg, 0, UINT64_MAX / 4);
		break;
	case O_RATE:
		o->rate = (uint32_t)number(optarg, 0, 100000000);
		break;
	case O_SERVER:
		o->server = (pid_t)number(optarg, 1, 4194304);
		break;
	default:
		take_text_option(cmd, o, code);
	}
}

static void parse(struct command *cmd, struct bench_options *o, int argc, char **argv)
{
	int code;

	*o = (struct bench_options){.root = "/bench",
				    .conns = 64,
				    .depth = 1,
				    .timeout_ms = 30000,
				    .warmup_s = 2,
				    .seconds = 10,
				    .mix = {[BENCH_GET] = 100},
				    .value_len = 100,
				    .fanout = 100,
				    .multi_ops = 4,
				    .nodes = 10000,
				    .seed = 1};
	*cmd = (struct command){.about = {.name = "load",
					  .label = "",
					  .mix = "get=100",
					  .keys = "uniform",
					  .commit = "unknown"}};
	while ((code = getopt_long(argc, argv, "", options, NULL)) != -1)
		take_option(cmd, o, code);
	if (optind + 1 != argc) {
		fputs(usage_text, stderr);
		exit(2);
	}
	o->host_port = argv[optind];
}

static void raise_files(uint32_t conns)
{
	struct rlimit r;

	getrlimit(RLIMIT_NOFILE, &r);
	if (r.rlim_cur >= conns + 64u)
		return;
	r.rlim_cur = conns + 64u;
	if (r.rlim_max < r.rlim_cur)
		r.rlim_max = r.rlim_cur;
	if (setrlimit(RLIMIT_NOFILE, &r) < 0)
		die("limit of open files", strerror(errno));
}

static void fill_about(struct command *cmd, const struct bench_run *run)
{
	struct bench_about *a = &cmd->about;

	a->target = run->o.host_port;
	a->conns = run->o.conns;
	a->depth = run->o.depth;
	a->value_len = run->o.value_len;
	a->nodes = run->o.nodes;
	a->seed = run->o.seed;
	a->rate = run->o.rate;
	a->extra = run->extra;
	a->have_server = run->o.server != 0;
}

static int run_mode(struct command *cmd, struct bench_run *run)
{
	const struct bench_options *o = &run->o;
	int rc;

	raise_files(o->conns);
	rc = bench_frames_init(&run->frames, o->root, o->value_len, o->nodes, o->fanout,
			       o->multi_ops, o->seed);
	if (rc < 0)
		return rc;
	run->frames.run = (uint32_t)clock_mono_ms() ^ (uint32_t)getpid();
	rc = bench_loop_init(&run->loop, o->host_port, o->conns, o->depth, o->timeout_ms);
	if (rc < 0)
		return rc;
	run->loop.ctx = run;
	run->r.mode = modes[cmd->mode].name;
	if (!modes[cmd->mode].opens_itself)
		rc = bench_loop_open_all(&run->loop, 20);
	if (rc == 0)
		rc = modes[cmd->mode].run(run);
	if (rc == 0 && cmd->memory && o->server != 0)
		bench_usage_all(o->server, &run->r.memory);
	return rc;
}

int main(int argc, char **argv)
{
	static struct bench_run run;
	struct command cmd;
	int rc;

	parse(&cmd, &run.o, argc, argv);
	rc = run_mode(&cmd, &run);
	if (rc < 0) {
		fprintf(stderr, "bench_load: %s %s: %s\n", modes[cmd.mode].name, run.o.host_port,
			strerror(-rc));
		return 2;
	}
	fill_about(&cmd, &run);
	bench_report(&run.r, &cmd.about, &run.loop.faults);
	bench_loop_fini(&run.loop);
	bench_frames_fini(&run.frames);
	return bench_wrong(&run.loop.faults) > 0;
}

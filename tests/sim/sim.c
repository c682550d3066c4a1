/*
 * sim - run the ensemble of tests/sim, seed after seed
 *
 *	sim [--seed N] [--seeds N] [--seconds S] 		run; fails on the first violation
 *	sim --seed N --trace					that run, told step by step
 *	sim --bugs [NAME..] [--seconds S]			(sim_bugs) find each mistake of
 *								quorum/bug.h within S = 60 seconds
 *
 * Every 50th seed is run twice: the same events in the same order, or it fails. A run ends with a
 * table of the faults that took effect; one that never did is a failure when 1,000 seeds or more
 * were run. --loose leaves out the checks of claims (is it durable what is acknowledged?), so that
 * only what comes of a mistake is found.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "tests/sim/sim.h"

#ifdef SIM_BUGS
enum bug sim_bug;
#endif

enum { TWICE_EVERY = 50, FAULTS_AFTER = 1000, TRACE_TAIL = 80 };

static struct {
	uint64_t seed, seeds;
	double seconds;
	bool trace, loose, bugs;
} opt = {.seed = 1};

/* Shared with the child that runs the seeds, so that a crash can be told. */
static struct shared {
	uint64_t seed, runs;
	struct sim_result sum;
	bool done, failed;
	char why[512];
} * shared;

static const char *const fault_names[] = {
#define NAME(name_, text_) #name_,
    SIM_FAULTS(NAME)
#undef NAME
};
static const char *const fault_texts[] = {
#define TEXT(name_, text_) text_,
    SIM_FAULTS(TEXT)
#undef TEXT
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void add(struct sim_result *sum, const struct sim_result *r)
{
	sum->events += r->events;
	sum->writes += r->writes;
	sum->acked += r->acked;
	sum->committed += r->committed;
	sum->elections += r->elections;
	sum->snaps += r->snaps;
	sum->diffs += r->diffs;
	sum->truncs += r->truncs;
	sum->virtual_ms += r->virtual_ms;
	for (int i = 0; i < SIM_FAULTS_N; i++)
		sum->fault[i] += r->fault[i];
}

static bool run_seed(uint64_t seed)
{
	struct sim_result r, again;
	const char *why;

	shared->seed = seed;
	why = sim_run(seed, !opt.loose, opt.trace ? stdout : NULL, &r);
	if (!why && seed % TWICE_EVERY == 0) {
		sim_run(seed, !opt.loose, NULL, &again);
		if (again.hash != r.hash)
			why = "the same seed gave another run";
	}
	add(&shared->sum, &r);
	shared->runs++;
	if (why)
		snprintf(shared->why, sizeof(shared->why), "%s", why);
	return !why;
}

/* In a child: a failing CHECK of the core ends it. */
static void run_all(double until)
{
	for (uint64_t i = 0; !opt.seeds || i < opt.seeds; i++) {
		if (until > 0 && now() >= until)
			break;
		if (!run_seed(opt.seed + i)) {
			shared->failed = true;
			_exit(1);
		}
	}
	shared->done = true;
	_exit(0);
}

/* True: a violation was found, and shared->why says which. */
static bool hunt(double seconds, bool quiet)
{
	double until = seconds > 0 ? now() + seconds : 0;
	pid_t child;
	int status;

	memset(shared, 0, sizeof(*shared));
	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		if (quiet && !freopen("/dev/null", "w", stderr))
			_exit(3);
		run_all(until);
	}
	while (waitpid(child, &status, 0) < 0)
		CHECK(errno == EINTR);
	if (shared->done)
		return false;
	if (!shared->failed)
		snprintf(shared->why, sizeof(shared->why), "%s",
			 WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "the run ended early");
	return true;
}

static void print_trace(uint64_t seed)
{
	char command[256], self[200];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return;
	self[n] = 0;
	snprintf(command, sizeof(command),
		 "'%s' --seed %" PRIu64 " --seeds 1 --trace%s 2>&1 | "
		 "tail -n %d",
		 self, seed, opt.loose ? " --loose" : "", TRACE_TAIL);
	fflush(stdout);
	if (system(command) != 0)
		puts("(no trace)");
	printf("repeat with: %s --seed %" PRIu64 " --seeds 1 --trace%s\n", self, seed,
	       opt.loose ? " --loose" : "");
}

static void print_sum(double seconds)
{
	const struct sim_result *s = &shared->sum;

	printf("sim: %" PRIu64 " seeds, %.0f s (%.2f s each), %.1f virtual hours, %" PRIu64
	       " steps\n",
	       shared->runs, seconds, seconds / (double)(shared->runs ? shared->runs : 1),
	       (double)s->virtual_ms / 3.6e6, s->events);
	printf("sim: %" PRIu64 " writes, %" PRIu64 " committed, %" PRIu64 " acknowledged, %" PRIu64
	       " elections; DIFF %" PRIu64 ", TRUNC %" PRIu64 ", SNAP %" PRIu64 "\n",
	       s->writes, s->committed, s->acked, s->elections, s->diffs, s->truncs, s->snaps);
	for (int i = 0; i < SIM_FAULTS_N; i++)
		printf("%10" PRIu64 "  %-18s %s\n", s->fault[i], fault_names[i], fault_texts[i]);
}

/* "name passed failed" for .ci/part. */
static void report(uint64_t passed, uint64_t failures)
{
	const char *path = getenv("RESULTS"), *name = getenv("RESULT_NAME");
	FILE *f = path && name ? fopen(path, "a") : NULL;

	if (!f)
		return;
	fprintf(f, "%s %" PRIu64 " %" PRIu64 "\n", name, passed, failures);
	fclose(f);
}

static int run(void)
{
	double start = now();
	bool found;
	int idle = 0;

	if (opt.trace)
		return sim_run(opt.seed, !opt.loose, stdout, &(struct sim_result){0}) != NULL;
	found = hunt(opt.seconds, false);
	print_sum(now() - start);
	if (found) {
		uint64_t seed = shared->seed;

		printf("sim: seed %" PRIu64 " FAILED: %s\n", seed, shared->why);
		report(shared->runs ? shared->runs - 1 : 0, 1);
		print_trace(seed);
		return 1;
	}
	for (int i = 0; i < SIM_FAULTS_N && shared->runs >= FAULTS_AFTER; i++)
		if (!shared->sum.fault[i]) {
			printf("sim: fault %s never took effect\n", fault_names[i]);
			idle++;
		}
	report(shared->runs, (uint64_t)idle);
	return idle > 0;
}

/* --- known mistakes ---------------------------------------------------------------------- */

#ifdef SIM_BUGS
static const char *const bug_names[] = {"",
#define NAME(name_, text_) #name_,
					BUG_LIST(NAME)
#undef NAME
};

static bool is_wanted(const char *name, char **names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return n == 0;
}

static int find_bugs(char **names, int n)
{
	uint64_t found = 0, missed = 0;

	for (int b = 1; b < BUG_COUNT; b++) {
		double start = now();

		if (!is_wanted(bug_names[b], names, n))
			continue;
		sim_bug = (enum bug)b;
		if (hunt(opt.seconds > 0 ? opt.seconds : 60, true)) {
			printf("%-26s seed %4" PRIu64 ", %5.1f s: %s\n", bug_names[b], shared->seed,
			       now() - start, shared->why);
			found++;
		} else {
			printf("%-26s NOT FOUND in %" PRIu64 " seeds, %.0f s\n", bug_names[b],
			       shared->runs, now() - start);
			missed++;
		}
		fflush(stdout);
	}
	printf("sim: %" PRIu64 " mistakes found, %" PRIu64 " missed\n", found, missed);
	report(found, missed);
	return missed > 0 || found == 0;
}
#else
static int find_bugs(char **names, int n)
{
	(void)names, (void)n;
	fputs("sim: this build has no mistakes: build and run sim_bugs\n", stderr);
	return 2;
}
#endif

static int usage(void)
{
	fputs("usage: sim [--seed N] [--seeds N] [--seconds S] [--trace] [--loose]\n"
	      "       sim_bugs --bugs [NAME..] [--seconds S] [--loose]\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	char *names[BUG_COUNT + 1];
	int n_names = 0;

	for (int i = 1; i < argc; i++) {
		bool more = i + 1 < argc;

		if (strcmp(argv[i], "--seed") == 0 && more)
			opt.seed = strtoull(argv[++i], NULL, 0);
		else if (strcmp(argv[i], "--seeds") == 0 && more)
			opt.seeds = strtoull(argv[++i], NULL, 0);
		else if (strcmp(argv[i], "--seconds") == 0 && more)
			opt.seconds = strtod(argv[++i], NULL);
		else if (strcmp(argv[i], "--trace") == 0)
			opt.trace = true;
		else if (strcmp(argv[i], "--loose") == 0)
			opt.loose = true;
		else if (strcmp(argv[i], "--bugs") == 0)
			opt.bugs = true;
		else if (opt.bugs && argv[i][0] != '-' && n_names < BUG_COUNT)
			names[n_names++] = argv[i];
		else
			return usage();
	}
	if (!opt.seeds && opt.seconds <= 0 && !opt.bugs)
		opt.seeds = 100;
	shared =
	    mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	return opt.bugs ? find_bugs(names, n_names) : run();
}

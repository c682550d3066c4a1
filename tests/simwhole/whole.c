/*
 * whole - run the ensembles of tests/simwhole, seed after seed, each in a process of its own
 *
 *	sim_whole [--seed N] [--seeds N] [--seconds S]		run; fails on the first violation
 *	sim_whole --seed N --trace				that run, told step by step
 *	sim_whole_bugs --bugs [NAME..] [--seconds S]		find each mistake of base/bug.h, or
 *those, be they of quorum/bug.h
 *
 * Every 15th seed is run twice: the same events in the same order, or it fails. A run ends with a
 * table of the faults that took effect; one that never did is a failure when 300 seeds or more
 * were run. Seeds that once showed a defect come first.
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
#include "tests/simwhole/whole.h"

#ifdef SIM_BUGS
#include "quorum/bug.h"
enum bug sim_bug;
enum wrong sim_wrong;
#endif

enum { TWICE_EVERY = 15, FAULTS_AFTER = 300, TRACE_TAIL = 80, NAMES_MAX = 64 };

_Noreturn void __real__exit(int status);

static struct {
	uint64_t seed, seeds;
	double seconds;
	bool trace, bugs;
} opt = {.seed = 1};

/* Shared with the child that runs a seed. */
static struct shared {
	struct w_result first, again;
	bool done;
} * shared;

static struct {
	uint64_t seed, runs;
	struct w_result all;
	char why[600];
} sum;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool run_child(uint64_t seed, struct w_result *result, bool quiet)
{
	pid_t child;
	int status;

	shared->done = false;
	fflush(NULL);
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		if (quiet && !freopen("/dev/null", "w", stderr))
			__real__exit(3);
		w_run(seed, opt.trace, result);
		fflush(NULL);
		shared->done = true;
		__real__exit(0);
	}
	while (waitpid(child, &status, 0) < 0)
		CHECK(errno == EINTR);
	if (!shared->done)
		snprintf(result->why, sizeof(result->why), "%s",
			 WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "it ended early");
	return !result->why[0];
}

static void add(const struct w_result *r)
{
	sum.runs++;
	sum.all.events += r->events;
	sum.all.virtual_ms += r->virtual_ms;
	for (int i = 0; i < W_FAULTS_N; i++)
		sum.all.fault[i] += r->fault[i];
	for (int i = 0; i < N_COUNTS; i++)
		sum.all.count[i] += r->count[i];
}

static bool run_seed(uint64_t seed, bool quiet)
{
	memset(shared, 0, sizeof(*shared));
	sum.seed = seed;
	if (run_child(seed, &shared->first, quiet) && seed % TWICE_EVERY == 0 &&
	    run_child(seed, &shared->again, quiet) && shared->first.hash != shared->again.hash)
		snprintf(shared->first.why, sizeof(shared->first.why),
			 "the same seed gave another run");
	add(&shared->first);
	snprintf(sum.why, sizeof(sum.why), "%s", shared->first.why);
	return !sum.why[0];
}

/* True: a violation was found. */
static bool hunt(double seconds, bool quiet)
{
	double until = seconds > 0 ? now() + seconds : 0;

	memset(&sum, 0, sizeof(sum));
	for (uint64_t i = 0; !opt.seeds || i < opt.seeds; i++) {
		if (until > 0 && now() >= until)
			return false;
		if (!run_seed(opt.seed + i, quiet))
			return true;
	}
	return false;
}

static void print_trace(void)
{
	char command[256], self[180];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (n <= 0)
		return;
	self[n] = 0;
	snprintf(command, sizeof(command), "'%s' --seed %" PRIu64 " --trace 2>&1 | tail -n %d",
		 self, sum.seed, TRACE_TAIL);
	fflush(stdout);
	if (system(command) != 0)
		puts("(no trace)");
	printf("repeat with: %s --seed %" PRIu64 " --trace\n", self, sum.seed);
}

static void print_sum(double seconds)
{
	static const char *const faults[][2] = {
#define ROW(name_, text_) {#name_, text_},
	    W_FAULTS(ROW)};
	static const char *const counts[][2] = {W_COUNTS(ROW)
#undef ROW
	};

	printf("sim_whole: %" PRIu64 " seeds, %.0f s (%.2f s each), %.2f virtual hours, %" PRIu64
	       " events\n",
	       sum.runs, seconds, seconds / (double)(sum.runs ? sum.runs : 1),
	       (double)sum.all.virtual_ms / 3.6e6, sum.all.events);
	for (int i = 0; i < N_COUNTS; i++)
		printf("%10" PRIu64 "  %-18s %s\n", sum.all.count[i], counts[i][0], counts[i][1]);
	puts("faults:");
	for (int i = 0; i < W_FAULTS_N; i++)
		printf("%10" PRIu64 "  %-18s %s\n", sum.all.fault[i], faults[i][0], faults[i][1]);
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
	uint64_t idle = 0;

	if (opt.trace) {
		w_run(opt.seed, true, &shared->first);
		return shared->first.why[0] != 0;
	}
	if (hunt(opt.seconds, false)) {
		print_sum(now() - start);
		printf("sim_whole: seed %" PRIu64 " FAILED: %s\n", sum.seed, sum.why);
		report(sum.runs - 1, 1);
		print_trace();
		return 1;
	}
	print_sum(now() - start);
	for (int i = 0; i < W_FAULTS_N && sum.runs >= FAULTS_AFTER; i++)
		if (!sum.all.fault[i]) {
			printf("sim_whole: fault %d never took effect\n", i);
			idle++;
		}
	report(sum.runs, idle);
	return idle > 0;
}

/* --- known mistakes ------------------------------------------------------------------------ */

#ifdef SIM_BUGS
static bool is_named(const char *name, char **names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static bool find_bug(const char *name)
{
	double start = now();
	bool found = hunt(opt.seconds > 0 ? opt.seconds : 60, true);

	if (found)
		printf("%-22s seed %4" PRIu64 ", %5.1f s: %s\n", name, sum.seed, now() - start,
		       sum.why);
	else
		printf("%-22s NOT FOUND in %" PRIu64 " seeds, %.0f s\n", name, sum.runs,
		       now() - start);
	fflush(stdout);
	return found;
}

/* All of base/bug.h, or those that are named. Those of quorum/ are tests/sim's, unless named. */
static int find_bugs(char **names, int n)
{
#define NAME(name_, text_) #name_,
	static const char *const wrong[] = {"", WRONG_LIST(NAME)};
	static const char *const bug[] = {"", BUG_LIST(NAME)};
#undef NAME
	uint64_t found = 0, tried = 0;

	for (int b = 1; b < WRONG_COUNT; b++) {
		if (n && !is_named(wrong[b], names, n))
			continue;
		sim_wrong = (enum wrong)b;
		tried++;
		found += find_bug(wrong[b]);
	}
	sim_wrong = WRONG_NONE;
	for (int b = 1; b < BUG_COUNT; b++) {
		if (!is_named(bug[b], names, n))
			continue;
		sim_bug = (enum bug)b;
		tried++;
		found += find_bug(bug[b]);
	}
	printf("sim_whole: %" PRIu64 " mistakes found, %" PRIu64 " missed\n", found, tried - found);
	report(found, tried - found);
	return found < tried || found == 0;
}
#else
static int find_bugs(char **names, int n)
{
	(void)names, (void)n;
	fputs("sim_whole: this build has no mistakes: build and run sim_whole_bugs\n", stderr);
	return 2;
}
#endif

static int usage(void)
{
	fputs("usage: sim_whole [--seed N] [--seeds N] [--seconds S] [--trace]\n"
	      "       sim_whole_bugs --bugs [NAME..] [--seconds S]\n",
	      stderr);
	return 2;
}

int main(int argc, char **argv)
{
	char *names[NAMES_MAX];
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
		else if (strcmp(argv[i], "--bugs") == 0)
			opt.bugs = true;
		else if (opt.bugs && argv[i][0] != '-' && n_names < NAMES_MAX)
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

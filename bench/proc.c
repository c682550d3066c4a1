#include "bench/proc.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PROCESSES_MAX = 32768 };

struct entry {
	pid_t pid, parent;
	bool in_tree;
	uint64_t own_ticks, reaped_ticks;
};

static bool read_stat(pid_t pid, struct entry *e)
{
	unsigned long long utime, stime;
	long long cutime, cstime;
	char path[64], line[1024];
	const char *after_name;
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (f == NULL)
		return false;
	ok = fgets(line, sizeof(line), f) != NULL;
	fclose(f);
	/* The name stands in parentheses and may hold any byte, these too. */
	after_name = ok ? strrchr(line, ')') : NULL;
	if (after_name == NULL ||
	    sscanf(after_name + 2, "%*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu %lld %lld",
		   &e->parent, &utime, &stime, &cutime, &cstime) != 5)
		return false;
	e->pid = pid;
	e->in_tree = false;
	e->own_ticks = utime + stime;
	e->reaped_ticks = (uint64_t)(cutime + cstime);
	return true;
}

static size_t read_all(struct entry *all)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;
	size_t n = 0;

	if (dir == NULL)
		return 0;
	while ((d = readdir(dir)) != NULL && n < PROCESSES_MAX) {
		const int pid = atoi(d->d_name);

		if (pid > 0 && read_stat(pid, &all[n]))
			n++;
	}
	closedir(dir);
	return n;
}

static void mark_tree(struct entry *all, size_t n, pid_t root)
{
	bool more = true;

	for (size_t i = 0; i < n; i++)
		all[i].in_tree = all[i].pid == root;
	while (more) {
		more = false;
		for (size_t i = 0; i < n; i++) {
			for (size_t k = 0; k < n && !all[i].in_tree; k++) {
				if (all[k].in_tree && all[k].pid == all[i].parent) {
					all[i].in_tree = true;
					more = true;
				}
			}
		}
	}
}

static void add_memory(pid_t pid, struct bench_usage *u)
{
	char path[64], line[256];
	unsigned long long kb;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "re");
	if (f == NULL)
		return;
	while (fgets(line, sizeof(line), f) != NULL) {
		if (sscanf(line, "Pss: %llu", &kb) == 1)
			u->pss_kb += kb;
		else if (sscanf(line, "Rss: %llu", &kb) == 1)
			u->rss_kb += kb;
		else if (sscanf(line, "Pss_Shmem: %llu", &kb) == 1)
			u->shmem_kb += kb;
	}
	fclose(f);
}

static int usage(pid_t root, bool memory, struct bench_usage *u)
{
	struct entry *all = calloc(PROCESSES_MAX, sizeof(*all));
	uint64_t ticks = 0;
	size_t n;

	memset(u, 0, sizeof(*u));
	if (all == NULL)
		return -ENOMEM;
	n = read_all(all);
	mark_tree(all, n, root);
	for (size_t i = 0; i < n; i++) {
		if (!all[i].in_tree)
			continue;
		u->processes++;
		ticks += all[i].own_ticks + all[i].reaped_ticks;
		if (memory)
			add_memory(all[i].pid, u);
	}
	free(all);
	u->cpu_s = (double)ticks / (double)sysconf(_SC_CLK_TCK);
	return u->processes == 0 ? -ESRCH : 0;
}

int bench_usage_cpu(pid_t root, struct bench_usage *u)
{
	return usage(root, false, u);
}

int bench_usage_all(pid_t root, struct bench_usage *u)
{
	return usage(root, true, u);
}

#include "supervisor/machine.h"

#include <inttypes.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, NUMBERS = 2 };
#define NO_LIMIT UINT64_MAX

static bool read_line(const char *path, char *line, int size)
{
	FILE *f = fopen(path, "re");
	bool ok = f && fgets(line, size, f);

	if (f)
		fclose(f);
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	return ok;
}

/* The numbers of a file's first line; "max", -1 and what is missing are NO_LIMIT. */
static void read_numbers(const char *path, uint64_t number[NUMBERS])
{
	char line[128], *next = line;

	for (int i = 0; i < NUMBERS; i++)
		number[i] = NO_LIMIT;
	if (!read_line(path, line, sizeof(line)))
		return;
	for (int i = 0; i < NUMBERS; i++) {
		char *end;
		uint64_t n = strtoull(next, &end, 10);

		if (end == next || *next == '-') {
			end = next + strcspn(next, " ");
			n = NO_LIMIT;
		}
		number[i] = n;
		next = end + strspn(end, " ");
	}
}

/* Our group in the unified hierarchy: the path behind "0::". "" if there is none. */
static void own_group(const char *root, char *group, size_t size)
{
	char path[PATH_BYTES], line[PATH_BYTES];
	FILE *f;

	group[0] = '\0';
	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::/", 4) == 0 && strlen(line + 3) < size)
			strcpy(group, line + 3);
	}
	if (f)
		fclose(f);
}

/*
 * The least that `limit_of` finds in `file` of our group and of each group above it. In a
 * container our group may be invisible: the root of the mount is then the container's own.
 */
static uint64_t group_limit(const char *root, const char *file,
			    uint64_t (*limit_of)(const uint64_t number[NUMBERS]))
{
	char group[PATH_BYTES / 2], path[PATH_BYTES];
	uint64_t least = NO_LIMIT, number[NUMBERS];

	own_group(root, group, sizeof(group));
	for (;;) {
		char *slash = strrchr(group, '/');

		snprintf(path, sizeof(path), "%s/sys/fs/cgroup%s/%s", root, group, file);
		read_numbers(path, number);
		if (limit_of(number) < least)
			least = limit_of(number);
		if (!slash)
			return least;
		*slash = '\0';
	}
}

static uint64_t first_of(const uint64_t number[NUMBERS])
{
	return number[0];
}

/* cpu.max is quota and period: processors, rounded up. */
static uint64_t quota_of(const uint64_t number[NUMBERS])
{
	if (number[0] == NO_LIMIT || number[1] == NO_LIMIT || number[1] == 0)
		return NO_LIMIT;
	return (number[0] + number[1] - 1) / number[1];
}

static uint64_t v1_quota(const char *root)
{
	char path[PATH_BYTES];
	uint64_t quota[NUMBERS], period[NUMBERS];

	snprintf(path, sizeof(path), "%s/sys/fs/cgroup/cpu/cpu.cfs_quota_us", root);
	read_numbers(path, quota);
	snprintf(path, sizeof(path), "%s/sys/fs/cgroup/cpu/cpu.cfs_period_us", root);
	read_numbers(path, period);
	return quota_of((uint64_t[NUMBERS]){quota[0], period[0]});
}

uint32_t sup_machine_cpus(const char *root)
{
	cpu_set_t set;
	uint64_t cpus, quota = group_limit(root, "cpu.max", quota_of), old = v1_quota(root);

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		cpus = (uint64_t)CPU_COUNT(&set);
	else
		cpus = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
	cpus = cpus < quota ? cpus : quota;
	cpus = cpus < old ? cpus : old;
	return cpus < 1 ? 1 : cpus < UINT32_MAX ? (uint32_t)cpus : UINT32_MAX;
}

uint64_t sup_machine_memory(const char *root)
{
	char path[PATH_BYTES];
	uint64_t old[NUMBERS], least = group_limit(root, "memory.max", first_of);
	uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGE_SIZE);

	snprintf(path, sizeof(path), "%s/sys/fs/cgroup/memory/memory.limit_in_bytes", root);
	read_numbers(path, old);
	least = least < old[0] ? least : old[0];
	return ram < least ? ram : least;
}

uint64_t sup_machine_raise_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		getrlimit(RLIMIT_NOFILE, &limit);
	return limit.rlim_cur;
}

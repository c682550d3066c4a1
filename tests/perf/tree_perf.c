/*
 * tree_perf - what the tree costs: load rate, bytes per znode, lookups, changes
 *
 *	tree_perf [znodes] [bytes of data]     (1000000, 100)
 *
 * One JSON line for each region: in shared memory as the server has it. Paths of 30 bytes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "shm/node.h"
#include "shm/region.h"
#include "shm/tree.h"

enum { LOOKUPS = 2000000, GROUP = 16, DIRECTORIES = 1000 };

static uint64_t random_state = 88172645463325252;

static uint64_t any(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % below;
}

static uint32_t path_of(char *to, uint64_t i)
{
	return (uint32_t)sprintf(to, "/services-%04d/node-%010d", (int)(i % DIRECTORIES), (int)i);
}

/* CPU time of this thread: the machine may be busy with other work. */
static double cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double load(struct shm_tree *t, uint64_t nodes, int32_t data_len)
{
	static uint8_t data[1 << 20];
	char path[64];
	struct shm_loaded n = {.path = path, .data = data, .data_len = data_len, .acl = 1};
	double start = cpu_ns();

	for (uint64_t d = 0; d < DIRECTORIES; d++) {
		n.path_len = (uint32_t)sprintf(path, "/services-%04d", (int)d);
		CHECK(!shm_tree_load(t, &n));
		for (uint64_t i = d; i < nodes; i += DIRECTORIES) {
			n.path_len = path_of(path, i);
			n.mzxid = n.czxid = n.pzxid = (int64_t)i;
			CHECK(!shm_tree_load(t, &n));
		}
	}
	CHECK(!shm_tree_loaded(t, (int64_t)nodes));
	return cpu_ns() - start;
}

static struct {
	char path[36];
	uint32_t len;
} wanted[LOOKUPS];

static double lookups(const struct shm_tree *t, uint64_t nodes, int64_t zxid, unsigned group)
{
	const struct shm_version *v;
	uint64_t hash[GROUP], sum = 0;

	for (unsigned i = 0; i < LOOKUPS; i++)
		wanted[i].len = path_of(wanted[i].path, any(nodes));
	double start = cpu_ns();

	for (unsigned done = 0; done < LOOKUPS; done += group) {
		for (unsigned i = 0; i < group; i++) {
			hash[i] = shm_tree_hash(t, wanted[done + i].path, wanted[done + i].len);
			if (group > 1)
				shm_tree_prefetch(t, hash[i]);
		}
		for (unsigned i = 0; group > 1 && i < group; i++)
			shm_tree_prefetch_node(t, hash[i]);
		for (unsigned i = 0; group > 1 && i < group; i++)
			shm_tree_prefetch_version(t, hash[i]);
		for (unsigned i = 0; i < group; i++) {
			CHECK(shm_tree_find(t, hash[i], wanted[done + i].path, wanted[done + i].len,
					    zxid, &v));
			sum += (uint64_t)shm_version_mzxid(v);
		}
	}
	CHECK(sum);
	return (cpu_ns() - start) / LOOKUPS;
}

static double changes(struct shm_tree *t, uint64_t nodes, int64_t zxid, int32_t data_len)
{
	static uint8_t data[1 << 20];
	char path[64];
	double start = cpu_ns();
	uint64_t head = 8;
	enum { CHANGES = 500000 };

	for (int i = 1; i <= CHANGES; i++) {
		struct shm_node *n = shm_tree_get(t, path, path_of(path, any(nodes)));

		CHECK(!shm_tree_set_data(t, n, data, data_len, i, zxid + i, i));
		if (i % 16 == 0) {
			shm_tree_published(t, zxid + i, head += 8);
			shm_tree_reclaim(t, UINT64_MAX, 100, NULL);
		}
	}
	return (cpu_ns() - start) / CHANGES;
}

int main(int argc, char **argv)
{
	uint64_t nodes = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
	int32_t data_len = argc > 2 ? atoi(argv[2]) : 100;
	uint64_t bytes = nodes * (uint64_t)(2 * (data_len + 400)) + (256 << 20);
	struct shm_tree *t;
	int ro_fd;

	CHECK(shm_region_create(2, bytes, &ro_fd) == 0);
	CHECK(shm_tree_new(&t, 2, bytes) == 0);
	double start = cpu_ns();

	shm_tree_presize(t, nodes);
	CHECK(shm_tree_initial(t) == 0);
	double presize_ns = cpu_ns() - start;
	double load_ns = load(t, nodes, data_len);
	int64_t zxid = (int64_t)nodes;

	shm_tree_published(t, zxid, 8);
	double one = lookups(t, nodes, zxid, 1), grouped = lookups(t, nodes, zxid, GROUP);
	double n = (double)nodes, used = (double)shm_tree_used(t);
	double taken = (double)(t->arena.next - t->arena.base);

	printf("{\"name\":\"tree_perf\",\"znodes\":%.0f,\"data\":%d,\"presize_ms\":%.1f,"
	       "\"load_per_s\":%.0f,\"load_ms\":%.0f,\"bytes_per_znode\":%.1f,"
	       "\"region_per_znode\":%.1f,\"lookup_ns\":%.1f,\"grouped_ns\":%.1f,"
	       "\"set_data_ns\":%.1f}\n",
	       n, data_len, presize_ns / 1e6, n / load_ns * 1e9, load_ns / 1e6, used / n, taken / n,
	       one, grouped, changes(t, nodes, zxid, data_len));
	return 0;
}

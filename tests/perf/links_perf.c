/*
 * links_perf - what the quorum port carries, over loopback, in one process
 *
 *	links_perf [transactions] [bytes of each] [learners] [znodes]    (1000000 100 2 1000000)
 *
 * Broadcast: a leader proposes; learners acknowledge each proposal; it commits when all have. One
 * thread does the work of all of them. State: a snapshot of so many znodes of 100 bytes goes from
 * one data directory into the stage of another, with the threads that a server has for it. One JSON
 * line each.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "peers/links.h"
#include "peers/source.h"
#include "storage/snap.h"

enum { WINDOW = 16384, PER_TURN = 1024, LEARNERS_MAX = 16, PORT = 25901 };

static int epoll;
static uint8_t entry[1 << 20];
static uint32_t entry_len;
static struct peer_links *leader, *learner[LEARNERS_MAX];
static int n_learners;
static int64_t acked[LEARNERS_MAX], committed[LEARNERS_MAX], decided;
static uint64_t turns, staged;
static char dir[2][64];

static const uint8_t *entry_of(void *arg, int64_t zxid, uint32_t *len)
{
	(void)arg;
	*len = entry_len;
	be64_put(entry + 12, (uint64_t)zxid);
	return entry;
}

static double cpu_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct peer_links *links(const char *at)
{
	struct peer_links_options o = {
	    .epoll = epoll,
	    .fs = &sto_fs_posix,
	    .snap_dir = at,
	    .log_dir = at,
	    .data_max = 2 << 20,
	    .queue_max = 64 << 20,
	    .stall_ms = 60000,
	    .entry = entry_of,
	};
	struct peer_links *l = peer_links_new(&o);

	CHECK(l);
	return l;
}

static void take_leader(void)
{
	struct peer_link_event e;

	while (peer_links_next(leader, &e)) {
		CHECK(e.type != PEER_LINK_LOST);
		if (e.type == PEER_LINK_PACKET && e.packet.type == QUORUM_ACK) {
			CHECK(e.packet.zxid == acked[e.peer] + 1);
			acked[e.peer] = e.packet.zxid;
		}
	}
}

static void take_learner(int i)
{
	struct peer_link_event e;
	int64_t first = 0, last = 0;

	while (peer_links_next(learner[i], &e)) {
		CHECK(e.type != PEER_LINK_LOST);
		staged += e.type == PEER_LINK_STATE;
		if (e.type != PEER_LINK_PACKET)
			continue;
		if (e.packet.type == QUORUM_SNAP)
			peer_links_receive_state(learner[i], e.packet.zxid);
		if (e.packet.type == QUORUM_COMMIT) {
			CHECK(e.packet.zxid == committed[i] + 1);
			committed[i] = e.packet.zxid;
		}
		if (e.packet.type == QUORUM_PROPOSAL) {
			first = first ? first : e.packet.zxid;
			last = e.packet.zxid;
		}
	}
	if (first)
		peer_links_put_range(learner[i], 0, QUORUM_ACK, first, last);
}

static void turn(void)
{
	struct epoll_event event[64];
	int n = epoll_wait(epoll, event, 64, 1000);
	uint64_t now = clock_mono_ms();

	turns++;
	for (int i = 0; i < n; i++) {
		struct peer_source *source = event[i].data.ptr;

		source->ready(source, event[i].events);
	}
	peer_links_tick(leader, now);
	take_leader();
	for (int i = 0; i < n_learners; i++) {
		peer_links_tick(learner[i], now);
		take_learner(i);
		peer_links_flush(learner[i]);
	}
}

static int64_t least(const int64_t *of)
{
	int64_t min = of[0];

	for (int i = 1; i < n_learners; i++)
		min = of[i] < min ? of[i] : min;
	return min;
}

static void to_all(int32_t type, int64_t first, int64_t last)
{
	for (int i = 0; i < n_learners && first <= last; i++)
		peer_links_put_range(leader, i, type, first, last);
}

static void broadcast(int64_t n)
{
	double began = (double)clock_mono_us(), cpu = cpu_s();
	int64_t proposed = 0;

	turns = 0;
	while (least(committed) < n) {
		int64_t last = proposed + PER_TURN;

		last = last > decided + WINDOW ? decided + WINDOW : last;
		last = last > n ? n : last;
		to_all(QUORUM_PROPOSAL, proposed + 1, last);
		proposed = last > proposed ? last : proposed;
		to_all(QUORUM_COMMIT, decided + 1, least(acked));
		decided = least(acked);
		peer_links_flush(leader);
		turn();
	}
	printf("{\"test\":\"broadcast\",\"transactions\":%lld,\"bytes\":%u,\"learners\":%d,"
	       "\"seconds\":%.3f,\"per_second\":%.0f,\"cpu_us_each\":%.3f,\"turns\":%llu}\n",
	       (long long)n, entry_len, n_learners, ((double)clock_mono_us() - began) / 1e6,
	       (double)n * 1e6 / ((double)clock_mono_us() - began),
	       (cpu_s() - cpu) * 1e6 / (double)n, (unsigned long long)turns);
}

static void write_snapshot(uint64_t nodes)
{
	static const uint8_t open_acl[] = "\0\0\0\1\0\0\0\37\0\0\0\5world\0\0\0\6anyone";
	struct sto_snap_head head = {.zxid = 1, .nodes = nodes};
	struct sto_snap_writer *w;
	uint8_t data[100] = {0};
	char path[64];

	CHECK(!sto_snap_begin(&w, &sto_fs_posix, dir[0], &head));
	for (uint64_t i = 0; i < nodes; i++) {
		struct sto_snap_node n = {.path = path, .data = data, .data_len = sizeof(data)};

		n.acl = open_acl;
		n.acl_len = sizeof(open_acl) - 1;
		n.czxid = n.mzxid = n.pzxid = (int64_t)i;
		n.ctime = n.mtime = 1700000000000 + (int64_t)i;
		for (size_t k = 0; k < 48; k += 8) /* half of it is compressible */
			le64_put(data + k, (i * 8 + k) * 0x9e3779b97f4a7c15);
		n.path_len = (uint32_t)(i == 0     ? sprintf(path, "/")
					: i < 1001 ? sprintf(path, "/services-%04d", (int)i)
						   : sprintf(path, "/services-%04d/node-%010d",
							     1 + (int)(i % 1000), (int)i));
		CHECK(!sto_snap_put(w, &n));
	}
	CHECK(!sto_snap_commit(w, &head));
}

static void state(uint64_t nodes)
{
	struct peer_link_view before, v;
	double began, cpu;

	write_snapshot(nodes);
	began = (double)clock_mono_us();
	cpu = cpu_s();
	peer_links_view(leader, 0, &before);
	peer_links_put_state(leader, 0, 1);
	peer_links_flush(leader);
	while (!staged)
		turn();
	peer_links_view(leader, 0, &v);
	printf("{\"test\":\"state\",\"znodes\":%llu,\"bytes\":%llu,\"seconds\":%.3f,"
	       "\"cpu_seconds\":%.3f}\n",
	       (unsigned long long)nodes, (unsigned long long)(v.sent - before.sent),
	       ((double)clock_mono_us() - began) / 1e6, cpu_s() - cpu);
}

static void meet(void)
{
	struct quorum_config config;
	const struct quorum_member *me;
	char text[64];
	unsigned pid = (unsigned)getpid();
	int n = snprintf(text, sizeof(text), "server.1=127.%u.%u.%u:%d:1", 1 + (pid >> 16) % 254,
			 pid >> 8 & 255, 1 + pid % 254, PORT);

	CHECK(!quorum_config_parse(&config, text, (size_t)n, NULL));
	me = quorum_config_find(&config, 1);
	CHECK(!peer_links_listen(leader, &config, me, clock_mono_ms()));
	for (int i = 0; i < n_learners; i++) {
		struct peer_link_view v = {0};

		peer_links_dial(learner[i], &config, me, 100, 5000, clock_mono_ms());
		while (!v.there) {
			turn();
			peer_links_view(leader, i, &v);
		}
	}
}

int main(int argc, char **argv)
{
	int64_t n = argc > 1 ? atoll(argv[1]) : 1000000;
	uint64_t nodes = argc > 4 ? strtoull(argv[4], NULL, 10) : 1000000;

	entry_len = argc > 2 ? (uint32_t)atoi(argv[2]) : 100;
	n_learners = argc > 3 ? atoi(argv[3]) : 2;
	CHECK(entry_len >= 32 && entry_len <= sizeof(entry));
	CHECK(n_learners >= 1 && n_learners <= LEARNERS_MAX);
	log_level_max = LOG_WARNING;
	epoll = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < 2; i++) {
		sprintf(dir[i], "/tmp/paddock-links-perf-%d-XXXXXX", i);
		CHECK(mkdtemp(dir[i]));
	}
	leader = links(dir[0]);
	for (int i = 0; i < n_learners; i++)
		learner[i] = links(dir[1]);
	meet();
	if (n)
		broadcast(n);
	if (nodes)
		state(nodes);
	peer_links_free(leader);
	for (int i = 0; i < n_learners; i++)
		peer_links_free(learner[i]);
	for (int i = 0; i < 2; i++) {
		char command[256];

		snprintf(command, sizeof(command), "rm -rf '%s'", dir[i]);
		CHECK(!system(command));
	}
	return 0;
}

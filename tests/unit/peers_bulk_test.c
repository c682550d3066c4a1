#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "peers/resolve.h"
#include "storage/log.h"
#include "storage/member.h"
#include "tests/storage.h"
#include "tests/t.h"
#include "tests/unit/peers_fx.h"

#define PEERS_TEST(name_) TEST_F(peers_bulk, name_, struct peers_fx, peers_up, peers_down)

enum { PROMPT_MS = 1000 }; /* a reset, on a busy machine under a sanitizer */

static struct peer_link_view view(const struct peers_side *side, int32_t peer)
{
	struct peer_link_view v;

	peer_links_view(side->links, peer, &v);
	return v;
}

/* vector<ACL> of one entry. */
static uint32_t acl(uint8_t *to, size_t size, const char *scheme, const char *id)
{
	struct jute_out out = jute_out_of(to, size);

	jute_put_int(&out, 1);
	jute_put_int(&out, 31);
	jute_put_ustring(&out, jute_text(scheme));
	jute_put_ustring(&out, jute_text(id));
	return (uint32_t)jute_size(&out, to);
}

/* A snapshot of `nodes` nodes below a hundred, in the leader's directory. */
static void write_snapshot(struct peers_fx *f, int64_t zxid, uint64_t nodes)
{
	struct sto_snap_head head = {.zxid = zxid, .nodes = 101 + nodes, .sessions = 3};
	struct sto_snap_writer *w;
	uint8_t lists[2][64], data[200];
	uint32_t len[2] = {acl(lists[0], 64, "world", "anyone"),
			   acl(lists[1], 64, "digest", "ann:QUFBQQ==")};
	char path[64];

	REQUIRE(EXPECT_I(sto_snap_begin(&w, &sto_fs_posix, f->dir[0], &head), ==, 0));
	for (int64_t id = 1; id <= 3; id++)
		sto_snap_session(w, id << 56, 30000);
	for (uint64_t i = 0; i < head.nodes; i++) {
		struct sto_snap_node n = {
		    .path = path,
		    .data = data,
		    .data_len = i % 7 ? (int32_t)(mix(i) % sizeof(data)) : -1,
		    .acl = lists[i % 5 == 0],
		    .acl_len = len[i % 5 == 0],
		    .czxid = (int64_t)i,
		    .mzxid = (int64_t)(i + i % 3),
		    .pzxid = (int64_t)i,
		    .ctime = 1700000000000 + (int64_t)i,
		    .mtime = 1700000000000 + (int64_t)i,
		    .version = (int32_t)(i % 3),
		    .cversion = i <= 100 ? (int32_t)i : 0,
		    .owner = i % 13 || i <= 100 ? 0 : 1ll << 56,
		};
		int at = i == 0     ? snprintf(path, sizeof(path), "/")
			 : i <= 100 ? snprintf(path, sizeof(path), "/dir-%d", (int)i)
				    : snprintf(path, sizeof(path), "/dir-%d/node-%010d",
					       1 + (int)(i % 100), (int)i);

		n.path_len = (uint32_t)at;
		for (size_t k = 0; k < sizeof(data); k += 8)
			le64_put(data + k, k % 16 ? k : mix(i + k));
		sto_snap_put(w, &n);
	}
	EXPECT_I(sto_snap_commit(w, &head), ==, 0);
}

static struct kept load(const char *dir, int64_t zxid)
{
	struct kept kept = {0};
	struct sto_sink sink = kept_sink(&kept);
	struct sto_snap_head head;
	char why[256] = "";
	int err, fd = open(dir, O_RDONLY | O_DIRECTORY);

	err = sto_snap_load(&sto_fs_posix, fd, zxid, &sink, &head, NULL, why);
	EXPECT_I(err, ==, 0);
	EXPECT_STR(why, "");
	kept.loaded = head;
	if (fd >= 0)
		close(fd);
	return kept;
}

static const char *staged_dir(const struct peers_fx *f)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/staged", f->dir[1]);
	return path;
}

static int staged_files(const struct peers_fx *f)
{
	DIR *dir = opendir(staged_dir(f));
	int n = 0;

	for (struct dirent *e; dir && (e = readdir(dir));)
		n += e->d_name[0] != '.';
	if (dir)
		closedir(dir);
	return n;
}

static void same_snapshot(struct peers_fx *f, int64_t zxid)
{
	struct kept sent = load(f->dir[0], zxid), got = load(staged_dir(f), zxid);

	EXPECT_U(got.nodes, ==, sent.nodes);
	EXPECT_U(got.sessions, ==, sent.sessions);
	EXPECT_U(got.sum, ==, sent.sum);
	EXPECT_I(got.loaded.zxid, ==, zxid);
}

/* The leader's log: entries first..last in batches of 100. */
static void write_log(struct peers_fx *f, int64_t first, int64_t last)
{
	struct sto_log_options o = {.segment_size = 1 << 20};
	uint8_t *batch = malloc(100 * (f->entry_bytes + 64));
	struct sto_log *log;

	REQUIRE(EXPECT_I(sto_log_open(&log, &sto_fs_posix, f->dir[0], first - 1, &o), ==, 0));
	for (int64_t z = first; z <= last;) {
		int64_t end = z + 99 < last ? z + 99 : last;
		size_t n = 0;

		for (int64_t i = z; i <= end; i++)
			n += entry_put(batch + n, i, f->entry_bytes);
		EXPECT_I(sto_log_append(log, batch, n, z, end), ==, 0);
		z = end + 1;
	}
	EXPECT_I(sto_log_close(log), ==, 0);
	free(batch);
}

/* --- a state --------------------------------------------------------------------------------- */

PEERS_TEST(a_state_arrives_as_it_was_and_what_is_behind_it_too)
{
	write_snapshot(f, 5000, 20000);
	f->memory_first = 5001;
	f->memory_last = 5003;
	f->learner.stages = true;
	f->learner.last_zxid = 5000;
	REQUIRE(peers_meet(f));
	peer_links_put_state(f->leader.links, 0, 5000);
	peer_links_put_range(f->leader.links, 0, QUORUM_PROPOSAL, 5001, 5003);
	peers_put(f, &f->leader, 0, QUORUM_NEWLEADER, 0);
	PEERS_UNTIL(f, f->learner.packets == 5);
	EXPECT_STR(peers_told(&f->learner), "CONNECTED SNAP:5000 STATE PROPOSAL:5001 "
					    "PROPOSAL:5002 PROPOSAL:5003 NEWLEADER:0");
	EXPECT_U(f->learner.wrong, ==, 0);
	same_snapshot(f, 5000);
	EXPECT_I(staged_files(f), ==, 1);
	EXPECT_U(view(&f->learner, 0).received, ==, view(&f->leader, 0).sent);
	EXPECT_TRUE(!view(&f->leader, 0).busy);
	/* It goes on as before, in both directions. */
	peers_put(f, &f->learner, 0, QUORUM_ACK, 1);
	PEERS_UNTIL(f, f->leader.packets == 1);
}

PEERS_TEST(while_a_state_is_sent_others_are_served)
{
	uint8_t bytes[32];
	struct jute_out out = jute_out_of(bytes, sizeof(bytes));
	uint64_t pings = 0;
	int fd;

	write_snapshot(f, 9, 100000);
	REQUIRE(peers_meet(f));
	fd = peers_raw(f); /* takes nothing of its state */
	quorum_packet_put(&out, QUORUM_ACK, 1, NULL, 0);
	peers_raw_put(fd, bytes, 20);
	PEERS_UNTIL(f, f->leader.packets == 1);
	peer_links_put_state(f->leader.links, 1, 9);
	PEERS_UNTIL(f, view(&f->leader, 1).busy != NULL);
	EXPECT_STR(view(&f->leader, 1).busy, "state");
	while (pings < 100) {
		peers_put(f, &f->leader, 0, QUORUM_PING, (int64_t)pings);
		peers_put(f, &f->leader, 1, QUORUM_PING, (int64_t)pings);
		pings++;
		PEERS_UNTIL(f, f->learner.packets == pings);
	}
	EXPECT_STR(view(&f->leader, 1).busy, "state");
	/* What the peer says meanwhile is heard. */
	peers_raw_put(fd, bytes, 20);
	PEERS_UNTIL(f, f->leader.packets == 2);
	/* Its end, too, and at once. */
	close(fd);
	PEERS_UNTIL(f, f->leader.lost == 1);
	EXPECT_U(f->learner.lost, ==, 0);
}

PEERS_TEST(a_state_that_nobody_takes_is_given_up)
{
	struct peer_links_options o = peers_options(f, &f->leader);
	int fd;

	o.stall_ms = 50; /* the thread's own clock */
	peers_renew(f, &f->leader, &o);
	write_snapshot(f, 9, 100000);
	REQUIRE(EXPECT_I(peers_listen(f), ==, 0));
	fd = peers_raw(f);
	PEERS_UNTIL(f, f->leader.connected == 1);
	peer_links_put_state(f->leader.links, 0, 9);
	PEERS_UNTIL(f, f->leader.lost == 1);
	EXPECT_STR(f->leader.why, "its socket takes nothing");
	close(fd);
}

static bool all_has_come(const struct peers_fx *f)
{
	return view(&f->learner, 0).received > 1 << 20 && !view(&f->leader, 0).busy &&
	       view(&f->learner, 0).received == view(&f->leader, 0).sent;
}

static void reset_promptly(struct peers_fx *f, struct peers_side *side)
{
	uint64_t began = clock_mono_ms();

	peer_links_reset(side->links);
	EXPECT_U(clock_mono_ms() - began, <, PROMPT_MS);
	PEERS_UNTIL(f, f->leader.lost + f->learner.lost == 1);
	peer_links_reset(f->leader.links);
	f->leader.connected = f->learner.connected = 0;
	f->leader.lost = f->learner.lost = 0;
}

PEERS_TEST(a_reset_ends_a_transfer_at_once_and_nothing_stays_staged)
{
	uint64_t told;

	write_snapshot(f, 9, 300000);
	f->learner.stages = true;
	for (int i = 0; i < 3 && !t_failed(); i++) {
		REQUIRE(peers_meet(f));
		peer_links_put_state(f->leader.links, 0, 9);
		PEERS_UNTIL(f, i < 2 ? view(&f->learner, 0).received > 1 << 20 : all_has_come(f));
		if (i < 2)
			EXPECT_STR(view(&f->learner, 0).busy, "state");
		told = f->learner.states;
		EXPECT_U(told, <=, i / 2);
		reset_promptly(f, i == 1 ? &f->leader : &f->learner);
		if (i < 2) /* else it was perhaps whole, and told */
			EXPECT_I(staged_files(f), ==, 0);
		EXPECT_U(f->learner.states, ==, told);
	}
}

PEERS_TEST(a_snapshot_that_is_not_there_loses_the_peer)
{
	f->learner.stages = true;
	REQUIRE(peers_meet(f));
	peer_links_put_state(f->leader.links, 0, 77);
	PEERS_UNTIL(f, f->leader.lost == 1 && f->learner.lost == 1);
	EXPECT_STR(f->leader.why, "the snapshot can't be read");
	EXPECT_I(staged_files(f), ==, 0);
}

/* The bytes of SNAP and a small state. */
static size_t captured(struct peers_fx *f, uint8_t *to, size_t size)
{
	size_t n = 0;
	ssize_t got;
	int fd;

	write_snapshot(f, 3, 20);
	EXPECT_I(peers_listen(f), ==, 0);
	fd = peers_raw(f);
	PEERS_UNTIL(f, f->leader.connected == 1);
	peer_links_put_state(f->leader.links, 0, 3);
	peer_links_close(f->leader.links, 0);
	do {
		peers_turn(f, 10);
		got = recv(fd, to + n, size - n, MSG_DONTWAIT);
		if (got > 0)
			n += (size_t)got;
	} while (got > 0 || (got < 0 && errno == EAGAIN));
	close(fd);
	PEERS_UNTIL(f, !view(&f->leader, 0).there);
	peer_links_reset(f->leader.links);
	return n;
}

/* A leader that is only a socket: the learner connects to it. */
static int false_leader(struct peers_fx *f)
{
	struct peer_address a;
	int on = 1, fd, listener = socket(AF_INET, SOCK_STREAM, 0);

	peer_address_of(&a, f->host, f->port);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	EXPECT_I(bind(listener, &a.any, a.len), ==, 0);
	EXPECT_I(listen(listener, 1), ==, 0);
	peers_dial(f);
	fd = accept(listener, NULL, NULL);
	close(listener);
	return fd;
}

PEERS_TEST(a_state_cut_off_anywhere_leaves_nothing_staged)
{
	static uint8_t bytes[64 << 10];
	size_t n = captured(f, bytes, sizeof(bytes)), cut = 20;

	f->learner.stages = true;
	REQUIRE(EXPECT_U(n, >, 5000));
	for (unsigned i = 1; cut < n && !t_failed(); i++, cut += i * 13) {
		int fd = false_leader(f);

		peers_raw_put(fd, bytes, cut);
		close(fd);
		PEERS_UNTIL(f, f->learner.lost == i);
		EXPECT_STR(f->learner.why, "closed by the peer");
		EXPECT_I(staged_files(f), ==, 0);
	}
	EXPECT_U(f->learner.states, ==, 0);
}

PEERS_TEST(a_state_that_is_none_loses_the_leader)
{
	static uint8_t bytes[64 << 10];
	size_t n = captured(f, bytes, sizeof(bytes));
	int fd;

	f->learner.stages = true;
	bytes[n - 1] ^= 1; /* of the signature */
	fd = false_leader(f);
	peers_raw_put(fd, bytes, n);
	PEERS_UNTIL(f, f->learner.lost == 1);
	EXPECT_STR(f->learner.why, "the state it sent is broken");
	EXPECT_I(staged_files(f), ==, 0);
	close(fd);
	be32_put(bytes + 20, UINT32_MAX); /* -1 sessions */
	fd = false_leader(f);
	peers_raw_put(fd, bytes, n);
	PEERS_UNTIL(f, f->learner.lost == 2);
	EXPECT_STR(f->learner.why, "the state it sent is broken");
	close(fd);
}

/* Whole, and signed; only no tree can be made of it. */
PEERS_TEST(a_state_with_a_node_out_of_place_loses_the_leader)
{
	static const char *const instead[] = {"/dir-1", "/dir/2", "/dir-/"};
	static uint8_t bytes[64 << 10];
	size_t n = captured(f, bytes, sizeof(bytes));
	uint8_t *path = memmem(bytes, n, "/dir-2", 6);

	f->learner.stages = true;
	REQUIRE(EXPECT_TRUE(path != NULL));
	for (unsigned i = 0; i < 3 && !t_failed(); i++) {
		int fd;

		memcpy(path, instead[i], 6);
		fd = false_leader(f);
		peers_raw_put(fd, bytes, n);
		PEERS_UNTIL(f, f->learner.lost == i + 1);
		EXPECT_STR(f->learner.why, "the state it sent is broken");
		EXPECT_I(staged_files(f), ==, 0);
		close(fd);
	}
	EXPECT_U(f->learner.states, ==, 0);
}

PEERS_TEST(the_end_of_a_state_may_come_cut_anywhere)
{
	static uint8_t bytes[64 << 10];
	size_t n = captured(f, bytes, sizeof(bytes)), end = n + 20;
	struct jute_out out = jute_out_of(bytes + n, 20);

	quorum_packet_put(&out, QUORUM_UPTODATE, -1, NULL, 0);
	f->learner.stages = true;
	for (size_t cut = n - 16; cut <= end && !t_failed(); cut++) {
		uint64_t states = f->learner.states, packets = f->learner.packets;
		int fd = false_leader(f);

		peers_raw_put(fd, bytes, cut);
		PEERS_UNTIL(f, view(&f->learner, 0).received == cut);
		peers_raw_put(fd, bytes + cut, end - cut);
		PEERS_UNTIL(f, f->learner.packets == packets + 2);
		EXPECT_U(f->learner.states, ==, states + 1);
		EXPECT_I(f->learner.seen[f->learner.n_seen - 1].type, ==, QUORUM_UPTODATE);
		close(fd);
		PEERS_UNTIL(f, !view(&f->learner, 0).there);
	}
	same_snapshot(f, 3);
}

/* --- a disk with faults ---------------------------------------------------------------------- */

static int fail_at, fail_errno;

static bool fails(void)
{
	return fail_at && !--fail_at;
}

static ssize_t failing_pwrite(void *self, int fd, const void *buf, size_t n, off_t at)
{
	return fails() ? -fail_errno : sto_fs_posix.pwrite(self, fd, buf, n, at);
}

static int failing_sync(void *self, int fd)
{
	return fails() ? -fail_errno : sto_fs_posix.sync(self, fd);
}

static int failing_open(void *self, int dir, const char *name, int flags, mode_t mode)
{
	return flags & O_CREAT && fails() ? -fail_errno
					  : sto_fs_posix.open(self, dir, name, flags, mode);
}

PEERS_TEST(a_disk_that_fails_or_is_full_leaves_nothing_staged)
{
	static struct sto_fs fs;
	struct peer_links_options o = peers_options(f, &f->learner);
	unsigned n = 0;

	fs = sto_fs_posix;
	fs.pwrite = failing_pwrite;
	fs.sync = failing_sync;
	fs.open = failing_open;
	o.fs = &fs;
	peers_renew(f, &f->learner, &o);
	write_snapshot(f, 4, 3000);
	f->learner.stages = true;
	while (!f->learner.states && n < 100 && !t_failed()) {
		f->leader.connected = f->learner.connected = 0;
		REQUIRE(peers_meet(f));
		fail_at = (int)++n;
		fail_errno = n % 2 ? ENOSPC : EIO;
		peer_links_put_state(f->leader.links, 0, 4);
		PEERS_UNTIL(f, f->learner.lost == n || f->learner.states);
		if (f->learner.states)
			break;
		EXPECT_STR(f->learner.why, "the state can't be stored");
		EXPECT_I(staged_files(f), ==, 0);
		peer_links_reset(f->leader.links);
	}
	EXPECT_U(n, >, 5);
	fail_at = 0;
	same_snapshot(f, 4);
}

/* --- history --------------------------------------------------------------------------------- */

PEERS_TEST(history_comes_from_the_log_each_with_its_commit)
{
	write_log(f, 1, 5000);
	f->learner.last_zxid = 100;
	REQUIRE(peers_meet(f));
	peer_links_put_history(f->leader.links, 0, 100, 4900);
	peers_put(f, &f->leader, 0, QUORUM_NEWLEADER, 0);
	PEERS_UNTIL(f, f->learner.packets == 2 * 4800 + 1);
	EXPECT_U(f->learner.unordered, ==, 0);
	EXPECT_U(f->learner.wrong, ==, 0);
	EXPECT_I(f->learner.last_zxid, ==, 4900);
	for (unsigned i = 1; i < 2000; i += 2) {
		EXPECT_I(f->learner.seen[i].type, ==, QUORUM_PROPOSAL);
		EXPECT_I(f->learner.seen[i + 1].type, ==, QUORUM_COMMIT);
		EXPECT_I(f->learner.seen[i + 1].zxid, ==, f->learner.seen[i].zxid);
	}
}

PEERS_TEST(a_range_that_is_not_in_memory_any_more_comes_from_the_log)
{
	write_log(f, 1, 3000);
	f->memory_first = 2501;
	f->memory_last = 4000;
	REQUIRE(peers_meet(f));
	peer_links_put_history(f->leader.links, 0, 0, 1000);
	peers_put(f, &f->leader, 0, QUORUM_NEWLEADER, 0);
	peer_links_put_range(f->leader.links, 0, QUORUM_PROPOSAL, 1001, 2000);
	peer_links_put_range(f->leader.links, 0, QUORUM_COMMIT, 1001, 1500);
	peer_links_put_range(f->leader.links, 0, QUORUM_INFORM, 2001, 4000);
	peers_put(f, &f->leader, 0, QUORUM_UPTODATE, -1);
	PEERS_UNTIL(f, f->learner.packets == 2000 + 1 + 1000 + 500 + 2000 + 1);
	EXPECT_U(f->learner.unordered, ==, 0);
	EXPECT_U(f->learner.wrong, ==, 0);
	EXPECT_I(f->learner.last_zxid, ==, 4000);
	EXPECT_I(f->learner.seen[2001].type, ==, QUORUM_NEWLEADER);
}

PEERS_TEST(a_log_that_does_not_reach_back_loses_the_peer)
{
	write_log(f, 1001, 1100);
	REQUIRE(peers_meet(f));
	peer_links_put_range(f->leader.links, 0, QUORUM_PROPOSAL, 900, 1100);
	PEERS_UNTIL(f, f->leader.lost == 1 && f->learner.lost == 1);
	EXPECT_U(f->learner.packets, ==, 0);
}

PEERS_TEST(a_log_that_ends_too_early_loses_the_peer)
{
	write_log(f, 1, 100);
	REQUIRE(peers_meet(f));
	peer_links_put_range(f->leader.links, 0, QUORUM_PROPOSAL, 50, 101);
	PEERS_UNTIL(f, f->leader.lost == 1);
	EXPECT_STR(f->leader.why, "the log ends too early");
}

PEERS_TEST(a_close_waits_for_history)
{
	write_log(f, 1, 2000);
	REQUIRE(peers_meet(f));
	peer_links_put_history(f->leader.links, 0, 0, 2000);
	peer_links_close(f->leader.links, 0);
	PEERS_UNTIL(f, f->learner.lost == 1);
	EXPECT_U(f->learner.packets, ==, 4000);
	PEERS_UNTIL(f, !view(&f->leader, 0).there);
	EXPECT_U(f->leader.lost, ==, 0);
}

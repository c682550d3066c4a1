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

static struct peer_link_view view(const struct peers_side *side, int32_t peer)
{
	struct peer_link_view v;

	peer_links_view(side->links, peer, &v);
	return v;
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

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "peers/resolve.h"
#include "tests/t.h"
#include "tests/unit/peers_fx.h"

#define PEERS_TEST(name_) TEST_F(peers_links, name_, struct peers_fx, peers_up, peers_down)

static struct peer_link_view view(const struct peers_side *side, int32_t peer)
{
	struct peer_link_view v;

	peer_links_view(side->links, peer, &v);
	return v;
}

/* Somebody else at the leader's address. */
static int occupy(const struct peers_fx *f, int backlog)
{
	struct peer_address a;
	int on = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	peer_address_of(&a, f->host, f->port);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	EXPECT_I(bind(fd, &a.any, a.len), ==, 0);
	EXPECT_I(listen(fd, backlog), ==, 0);
	return fd;
}

/* Nothing happens although the loop turns: every event of it was there before. */
static void turns(struct peers_fx *f, int n)
{
	for (int i = 0; i < n; i++)
		peers_turn(f, 0);
}

static size_t packet(uint8_t *to, int32_t type, int64_t zxid, const void *data, size_t len)
{
	struct jute_out out = jute_out_of(to, QUORUM_PACKET_MIN + len);

	quorum_packet_put(&out, type, zxid, data, len);
	return jute_size(&out, to);
}

/* --- meeting --------------------------------------------------------------------------------- */

PEERS_TEST(a_learner_finds_a_leader)
{
	struct peer_link_view v;

	REQUIRE(peers_meet(f));
	v = view(&f->learner, 0);
	EXPECT_TRUE(v.there);
	EXPECT_TRUE(strstr(v.address, f->host));
	EXPECT_TRUE(!v.busy);
	EXPECT_TRUE(!view(&f->leader, 1).there);
	EXPECT_STR(peers_told(&f->leader), "CONNECTED");
}

PEERS_TEST(a_leader_that_listens_late_is_found_at_the_next_try)
{
	peers_dial(f);
	turns(f, 5);
	EXPECT_U(f->learner.lost, ==, 0);
	EXPECT_U(peer_links_deadline_ms(f->learner.links), ==, f->now_ms + 100);
	f->now_ms += 100;
	turns(f, 5);
	REQUIRE(EXPECT_I(peers_listen(f), ==, 0));
	turns(f, 5);
	EXPECT_U(f->leader.connected, ==, 0);
	f->now_ms += 100;
	PEERS_UNTIL(f, f->leader.connected && f->learner.connected);
	EXPECT_U(peer_links_deadline_ms(f->learner.links), ==, UINT64_MAX);
}

PEERS_TEST(five_tries_are_enough)
{
	peers_dial(f);
	for (int i = 0; i < 4; i++) {
		turns(f, 3);
		EXPECT_U(f->learner.lost, ==, 0);
		f->now_ms += 100;
	}
	PEERS_UNTIL(f, f->learner.lost == 1);
	EXPECT_STR(f->learner.why, "the leader can't be reached");
	f->now_ms += 10000;
	turns(f, 3);
	EXPECT_U(f->learner.lost, ==, 1);
	EXPECT_U(f->learner.connected, ==, 0);
}

PEERS_TEST(a_dial_that_nobody_answers_ends_at_its_limit)
{
	/* A queue of connections that is full: the next one is neither taken nor refused. */
	struct peer_address a;
	int listener = occupy(f, 0), filler[8];

	peer_address_of(&a, f->host, f->port);
	for (int i = 0; i < 8; i++) {
		filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		connect(filler[i], &a.any, a.len);
	}
	peers_dial(f);
	turns(f, 5);
	EXPECT_U(f->learner.lost, ==, 0);
	f->now_ms += 4999;
	turns(f, 5);
	EXPECT_U(f->learner.lost, ==, 0);
	f->now_ms += 1;
	turns(f, 2);
	EXPECT_U(f->learner.lost, ==, 1);
	for (int i = 0; i < 8; i++)
		close(filler[i]);
	close(listener);
}

PEERS_TEST(a_port_that_is_taken_is_tried_again)
{
	int other = occupy(f, 1);

	EXPECT_I(peers_listen(f), ==, -EADDRINUSE);
	EXPECT_U(peer_links_deadline_ms(f->leader.links), ==, f->now_ms + 100);
	close(other);
	f->now_ms += 100;
	turns(f, 1);
	peers_dial(f);
	PEERS_UNTIL(f, f->leader.connected && f->learner.connected);
}

PEERS_TEST(names_are_resolved_on_both_sides)
{
	char text[128];
	int n = snprintf(text, sizeof(text), "server.1=localhost:%d:1", 26000 + getpid() % 6000);

	REQUIRE(EXPECT_I(quorum_config_parse(&f->config, text, (size_t)n, NULL), ==, 0));
	EXPECT_I(peers_listen(f), ==, 0);
	peers_dial(f);
	while (!f->learner.connected && !f->learner.lost) {
		f->now_ms += 10;
		peers_turn(f, 10);
	}
	PEERS_UNTIL(f, f->leader.connected && f->learner.connected);
}

PEERS_TEST(all_interfaces_are_taken_if_wanted)
{
	struct peer_links_options o = peers_options(f, &f->leader);
	struct quorum_config config = f->config;
	char text[128];
	int n = snprintf(text, sizeof(text), "server.1=192.0.2.1:%u:1",
			 32000 + (unsigned)getpid() % 700);

	/* Its own address is none of this machine's. */
	o.listen_on_all = true;
	peers_renew(f, &f->leader, &o);
	REQUIRE(EXPECT_I(quorum_config_parse(&f->config, text, (size_t)n, NULL), ==, 0));
	REQUIRE(EXPECT_I(peers_listen(f), ==, 0));
	snprintf(text, sizeof(text), "server.1=%s:%u:1", f->host, 32000 + (unsigned)getpid() % 700);
	REQUIRE(EXPECT_I(quorum_config_parse(&config, text, strlen(text), NULL), ==, 0));
	peer_links_dial(f->learner.links, &config, quorum_config_find(&config, 1), 100, 5000,
			f->now_ms);
	PEERS_UNTIL(f, f->leader.connected && f->learner.connected);
	EXPECT_TRUE(strstr(view(&f->leader, 0).address, "127."));
}

PEERS_TEST(the_second_address_is_dialled_when_the_first_one_fails)
{
	struct quorum_config config;
	char text[128];
	int n = snprintf(text, sizeof(text), "server.1=127.0.0.1:1:2|%s:%u:3", f->host, f->port);

	REQUIRE(EXPECT_I(peers_listen(f), ==, 0));
	REQUIRE(EXPECT_I(quorum_config_parse(&config, text, (size_t)n, NULL), ==, 0));
	peer_links_dial(f->learner.links, &config, quorum_config_find(&config, 1), 100, 5000,
			f->now_ms);
	PEERS_UNTIL(f, f->leader.connected && f->learner.connected);
}

PEERS_TEST(there_is_room_for_128_and_no_more)
{
	int fd[PEER_LINKS_MAX + 1];
	uint8_t bytes[64];
	size_t n = packet(bytes, QUORUM_ACK, 1, NULL, 0);
	char byte;

	REQUIRE(EXPECT_I(peers_listen(f), ==, 0));
	for (int i = 0; i < PEER_LINKS_MAX; i++) {
		fd[i] = peers_raw(f);
		peers_turn(f, 0);
	}
	PEERS_UNTIL(f, f->leader.connected == PEER_LINKS_MAX);
	fd[PEER_LINKS_MAX] = peers_raw(f);
	turns(f, 3);
	EXPECT_I(recv(fd[PEER_LINKS_MAX], &byte, 1, 0), ==, 0);
	for (int i = 0; i < PEER_LINKS_MAX; i++)
		peers_raw_put(fd[i], bytes, n);
	PEERS_UNTIL(f, f->leader.packets == PEER_LINKS_MAX);
	for (int i = 0; i < PEER_LINKS_MAX; i++)
		peers_put(f, &f->leader, i, QUORUM_PING, 7);
	peers_turn(f, 0);
	for (int i = 0; i < PEER_LINKS_MAX; i++)
		EXPECT_I(recv(fd[i], bytes, 20, MSG_WAITALL), ==, 20);
	for (int i = 0; i <= PEER_LINKS_MAX; i++)
		close(fd[i]);
	PEERS_UNTIL(f, f->leader.lost == PEER_LINKS_MAX);
	/* The places are free again. */
	fd[0] = peers_raw(f);
	PEERS_UNTIL(f, f->leader.connected == PEER_LINKS_MAX + 1);
	close(fd[0]);
}

PEERS_TEST(who_connects_and_says_nothing_is_closed)
{
	int fd[2];

	REQUIRE(EXPECT_I(peers_listen(f), ==, 0));
	fd[0] = peers_raw(f);
	PEERS_UNTIL(f, f->leader.connected == 1);
	EXPECT_U(peer_links_deadline_ms(f->leader.links), ==, f->now_ms + PEERS_STALL_MS);
	f->now_ms += PEERS_STALL_MS - 1;
	fd[1] = peers_raw(f);
	peers_raw_put(fd[0], "\0\0\0\3", 4); /* a part of a packet is not enough */
	PEERS_UNTIL(f, f->leader.connected == 2 && view(&f->leader, 0).received == 4);
	EXPECT_U(f->leader.lost, ==, 0);
	f->now_ms++;
	turns(f, 2);
	EXPECT_U(f->leader.lost, ==, 1);
	EXPECT_STR(f->leader.why, "no packet came of it");
	close(fd[0]);
	close(fd[1]);
}

/* --- sending --------------------------------------------------------------------------------- */

PEERS_TEST(what_is_put_arrives_in_that_order)
{
	f->memory_first = 1;
	f->memory_last = 9;
	REQUIRE(peers_meet(f));
	peers_put(f, &f->leader, 0, QUORUM_DIFF, 3);
	peer_links_put_range(f->leader.links, 0, QUORUM_PROPOSAL, 1, 2);
	peer_links_put_range(f->leader.links, 0, QUORUM_COMMIT, 1, 2);
	peers_put(f, &f->leader, 0, QUORUM_NEWLEADER, 0);
	peer_links_put_range(f->leader.links, 0, QUORUM_PROPOSAL, 3, 3);
	peers_put(f, &f->leader, 0, QUORUM_UPTODATE, -1);
	peer_links_close(f->leader.links, 0);
	peers_put(f, &f->leader, 0, QUORUM_PING, 9); /* behind the close: nobody gets it */
	PEERS_UNTIL(f, f->learner.lost);
	EXPECT_STR(peers_told(&f->learner),
		   "CONNECTED DIFF:3 PROPOSAL:1 PROPOSAL:2 COMMIT:1 COMMIT:2 NEWLEADER:0 "
		   "PROPOSAL:3 UPTODATE:-1 LOST");
	EXPECT_STR(f->learner.why, "closed by the peer");
	EXPECT_U(f->learner.wrong, ==, 0);
	/* Who closes hears no more of it, and the place is free when the peer has closed, too. */
	PEERS_UNTIL(f, !view(&f->leader, 0).there);
	EXPECT_STR(peers_told(&f->leader), "CONNECTED");
}

PEERS_TEST(a_close_comes_behind_megabytes)
{
	enum { ALL = 6 << 20 };
	uint8_t *data = calloc(1, ALL), *bytes = malloc(ALL);

	REQUIRE(peers_meet(f));
	for (size_t at = 0; at < ALL; at += PEERS_DATA_MAX) {
		size_t n = packet(bytes, QUORUM_INFORM, 0, data, PEERS_DATA_MAX - 20);

		peer_links_put(f->leader.links, 0, bytes, n);
	}
	peer_links_close(f->leader.links, 0);
	PEERS_UNTIL(f, f->learner.lost);
	EXPECT_U(f->learner.packets, ==, 6);
	EXPECT_U(f->learner.bytes, ==, 6 * (PEERS_DATA_MAX - 20));
	free(data);
	free(bytes);
}

PEERS_TEST(a_million_small_packets_pass)
{
	enum { N = 1000000 };

	REQUIRE(peers_meet(f));
	peer_links_put_range(f->learner.links, 0, QUORUM_ACK, 1, N);
	/* It is kept as what it is: nobody's memory holds 20 million bytes. */
	EXPECT_U(view(&f->learner, 0).queued, <, 2 << 20);
	PEERS_UNTIL(f, f->leader.packets == N);
	EXPECT_U(f->leader.unordered, ==, 0);
	EXPECT_I(f->leader.last_zxid, ==, N);
	EXPECT_U(view(&f->leader, 0).received, ==, 20 * N);
	EXPECT_U(view(&f->learner, 0).sent, ==, 20 * N);
}

PEERS_TEST(who_lags_behind_takes_no_memory_for_ranges)
{
	enum { TURNS = 2000, PER_TURN = 100 };
	uint64_t most = 0;

	f->memory_first = 1;
	f->memory_last = TURNS * PER_TURN;
	REQUIRE(peers_meet(f));
	f->learner.deaf = true;
	for (int64_t i = 0; i < TURNS; i++) {
		int64_t first = 1 + i * PER_TURN, last = first + PER_TURN - 1;

		peer_links_put_range(f->leader.links, 0, QUORUM_PROPOSAL, first, last);
		peer_links_put_range(f->leader.links, 0, QUORUM_COMMIT, first, last);
		peers_turn(f, 0);
		if (view(&f->leader, 0).queued > most)
			most = view(&f->leader, 0).queued;
	}
	EXPECT_U(most, <, 2 << 20);
	EXPECT_U(f->leader.lost, ==, 0);
	f->learner.deaf = false;
	PEERS_UNTIL(f, f->learner.packets == 2 * TURNS * PER_TURN);
	EXPECT_U(f->learner.unordered, ==, 0);
	EXPECT_U(f->learner.wrong, ==, 0);
	EXPECT_I(f->learner.last_zxid, ==, TURNS * PER_TURN);
}

PEERS_TEST(who_reads_nothing_is_closed_at_the_bound_and_harms_nobody)
{
	static uint8_t data[64 << 10];
	uint8_t bytes[sizeof(data) + 64], ack[64];
	size_t n = packet(bytes, QUORUM_INFORM, 0, data, sizeof(data));
	uint64_t most = 0;
	int fd;

	REQUIRE(peers_meet(f));
	fd = peers_raw(f);
	peers_raw_put(fd, ack, packet(ack, QUORUM_ACK, 1, NULL, 0));
	PEERS_UNTIL(f, f->leader.packets == 1);
	for (int i = 0; i < 10000 && !f->leader.lost; i++) {
		peer_links_put(f->leader.links, 1, bytes, n);
		peers_put(f, &f->leader, 0, QUORUM_PING, i);
		if (view(&f->leader, 1).queued > most)
			most = view(&f->leader, 1).queued;
		peers_turn(f, 0);
	}
	EXPECT_U(f->leader.lost, ==, 1);
	EXPECT_STR(f->leader.why, "it does not keep up: too much is queued");
	EXPECT_U(most, <=, PEERS_QUEUE_MAX);
	peers_put(f, &f->leader, 0, QUORUM_UPTODATE, -1);
	PEERS_UNTIL(f, f->learner.seen[f->learner.n_seen - 1].type == QUORUM_UPTODATE);
	EXPECT_U(f->learner.lost, ==, 0);
	close(fd);
}

PEERS_TEST(a_socket_that_takes_nothing_is_closed_in_time)
{
	static uint8_t data[64 << 10];
	uint8_t bytes[sizeof(data) + 64];
	size_t n = packet(bytes, QUORUM_INFORM, 0, data, sizeof(data));
	uint64_t sent;
	int fd;

	REQUIRE(EXPECT_I(peers_listen(f), ==, 0));
	fd = peers_raw(f);
	peers_raw_put(fd, bytes, packet(bytes, QUORUM_ACK, 1, NULL, 0));
	PEERS_UNTIL(f, f->leader.packets == 1);
	EXPECT_U(peer_links_deadline_ms(f->leader.links), ==, UINT64_MAX);
	n = packet(bytes, QUORUM_INFORM, 0, data, sizeof(data));
	while (view(&f->leader, 0).queued < PEERS_QUEUE_MAX / 2) {
		peer_links_put(f->leader.links, 0, bytes, n);
		peers_turn(f, 0);
	}
	/* Let the kernel have what it takes. */
	do {
		sent = view(&f->leader, 0).sent;
		turns(f, 100);
	} while (view(&f->leader, 0).sent != sent);
	EXPECT_U(peer_links_deadline_ms(f->leader.links), ==, f->now_ms + PEERS_STALL_MS);
	f->now_ms += PEERS_STALL_MS - 1;
	turns(f, 2);
	EXPECT_U(f->leader.lost, ==, 0);
	f->now_ms++;
	turns(f, 2);
	EXPECT_U(f->leader.lost, ==, 1);
	EXPECT_STR(f->leader.why, "its socket takes nothing");
	close(fd);
}

/* --- receiving ------------------------------------------------------------------------------- */

/* Some packets, one of them with Ids. */
static size_t sample(uint8_t *to, size_t size)
{
	static const uint8_t ids[] = {0, 0, 0, 1, 0, 0, 0, 2, 'i', 'p', 0, 0, 0, 1, '1'};
	struct jute_vec authinfo = {ids, sizeof(ids), 1};
	struct quorum_request request = {.session_id = 5, .cxid = 6, .opcode = 1};
	struct jute_out out = jute_out_of(to, size);

	request.body = jute_text("body");
	quorum_put_learner_info(&out, QUORUM_FOLLOWERINFO, 1,
				&(struct quorum_learner_info){2, 0x10000, 0});
	quorum_put_request(&out, &request, &authinfo);
	quorum_put_ack_epoch(&out, 77, 3);
	quorum_packet_put(&out, QUORUM_ACK, 78, NULL, 0);
	return jute_size(&out, to);
}

PEERS_TEST(packets_may_come_cut_anywhere)
{
	uint8_t bytes[512];
	size_t n = sample(bytes, sizeof(bytes));
	uint64_t received = 0, packets = 0;
	int fd;

	REQUIRE(EXPECT_I(peers_listen(f), ==, 0));
	fd = peers_raw(f);
	PEERS_UNTIL(f, f->leader.connected == 1);
	for (size_t cut = 1; cut < n && !t_failed(); cut++) {
		peers_raw_put(fd, bytes, cut);
		received += cut;
		PEERS_UNTIL(f, view(&f->leader, 0).received == received);
		peers_raw_put(fd, bytes + cut, n - cut);
		received += n - cut;
		packets += 4;
		PEERS_UNTIL(f, f->leader.packets == packets);
	}
	EXPECT_U(f->leader.lost, ==, 0);
	EXPECT_STR(quorum_packet_name(f->leader.seen[packets].type), "ACK");
	close(fd);
	PEERS_UNTIL(f, f->leader.lost == 1);
}

PEERS_TEST(what_came_before_the_end_is_told_before_the_loss)
{
	uint8_t bytes[512];
	int fd;

	REQUIRE(EXPECT_I(peers_listen(f), ==, 0));
	fd = peers_raw(f);
	peers_raw_put(fd, bytes, sample(bytes, sizeof(bytes)));
	peers_raw_put(fd, "\0\0", 2);
	close(fd);
	PEERS_UNTIL(f, f->leader.lost);
	EXPECT_STR(peers_told(&f->leader),
		   "CONNECTED FOLLOWERINFO:4294967296 REQUEST:-1 ACKEPOCH:77 ACK:78 LOST");
}

PEERS_TEST(data_as_long_as_allowed_passes_and_a_byte_more_does_not)
{
	uint8_t *data = malloc(PEERS_DATA_MAX), *bytes = malloc(PEERS_DATA_MAX + 64);
	size_t n;
	int fd;

	memset(data, 'x', PEERS_DATA_MAX);
	REQUIRE(peers_meet(f));
	n = packet(bytes, QUORUM_REQUEST, -1, data, PEERS_DATA_MAX);
	for (int i = 0; i < 3; i++)
		peer_links_put(f->learner.links, 0, bytes, n);
	PEERS_UNTIL(f, f->leader.packets == 3);
	EXPECT_U(f->leader.bytes, ==, 3ull * PEERS_DATA_MAX);
	fd = peers_raw(f);
	be32_put(bytes + 12, PEERS_DATA_MAX + 1);
	peers_raw_put(fd, bytes, 20); /* it is judged by its head alone */
	PEERS_UNTIL(f, f->leader.lost == 1);
	EXPECT_STR(f->leader.why, "what it sent is no packet");
	peers_put(f, &f->leader, 0, QUORUM_PING, 1);
	PEERS_UNTIL(f, f->learner.packets == 1);
	close(fd);
	free(data);
	free(bytes);
}

PEERS_TEST(reading_stops_while_nobody_takes)
{
	static uint8_t data[1 << 20];
	uint8_t *bytes = malloc(sizeof(data) + 64);
	size_t n = packet(bytes, QUORUM_REQUEST, -1, data, sizeof(data));

	REQUIRE(peers_meet(f));
	peers_put(f, &f->learner, 0, QUORUM_FOLLOWERINFO, 0);
	PEERS_UNTIL(f, f->leader.packets == 1);
	f->leader.deaf = true;
	for (int i = 0; i < 7; i++)
		peer_links_put(f->learner.links, 0, bytes, n);
	turns(f, 200);
	EXPECT_U(view(&f->leader, 0).received, <, 64 << 10);
	/* .. and it costs nothing: no event is left. */
	f->leader.deaf = false;
	PEERS_UNTIL(f, f->leader.packets == 8);
	free(bytes);
}

PEERS_TEST(a_peer_that_is_held_waits_and_others_do_not)
{
	uint8_t bytes[512];
	size_t n = packet(bytes, QUORUM_ACK, 1, NULL, 0);
	int fd[2];

	REQUIRE(EXPECT_I(peers_listen(f), ==, 0));
	for (int i = 0; i < 2; i++) {
		fd[i] = peers_raw(f);
		PEERS_UNTIL(f, f->leader.connected == (uint64_t)i + 1);
		peers_raw_put(fd[i], bytes, n);
	}
	PEERS_UNTIL(f, f->leader.packets == 2);
	peer_links_hold(f->leader.links, 0, true);
	for (int i = 0; i < 3; i++) {
		peers_raw_put(fd[0], bytes, n);
		peers_raw_put(fd[1], bytes, n);
	}
	PEERS_UNTIL(f, f->leader.packets == 5);
	turns(f, 10);
	EXPECT_U(f->leader.per_peer[0], ==, 1);
	EXPECT_U(f->leader.per_peer[1], ==, 4);
	peer_links_hold(f->leader.links, 0, false);
	PEERS_UNTIL(f, f->leader.per_peer[0] == 4);
	close(fd[0]);
	close(fd[1]);
}

PEERS_TEST(packets_of_peers_are_taken_in_turns)
{
	enum { PEERS = 3, EACH = 100 };
	uint8_t bytes[EACH * 20];
	int fd[PEERS];

	REQUIRE(EXPECT_I(peers_listen(f), ==, 0));
	for (int i = 0; i < PEERS; i++) {
		fd[i] = peers_raw(f);
		PEERS_UNTIL(f, f->leader.connected == (uint64_t)i + 1);
	}
	f->leader.n_seen = 0;
	f->leader.deaf = true;
	for (int i = 0; i < PEERS; i++) {
		for (int k = 0; k < EACH; k++)
			packet(bytes + k * 20, QUORUM_ACK, k, NULL, 0);
		peers_raw_put(fd[i], bytes, sizeof(bytes));
		PEERS_UNTIL(f, view(&f->leader, i).received == sizeof(bytes));
	}
	f->leader.deaf = false;
	PEERS_UNTIL(f, f->leader.packets == PEERS * EACH);
	for (unsigned i = PEERS; i < PEERS * EACH; i++)
		EXPECT_I(f->leader.seen[i].peer, ==, f->leader.seen[i - PEERS].peer);
	for (int i = 0; i < PEERS; i++)
		close(fd[i]);
}

PEERS_TEST(a_packet_can_be_looked_at_though_its_peer_is_closed)
{
	uint8_t bytes[512];
	size_t n = packet(bytes, QUORUM_REQUEST, -1, "the request", 11);
	struct peer_link_event e;
	int fd;

	REQUIRE(EXPECT_I(peers_listen(f), ==, 0));
	fd = peers_raw(f);
	PEERS_UNTIL(f, f->leader.connected == 1);
	f->leader.deaf = true;
	for (int i = 0; i < 10; i++)
		peers_raw_put(fd, bytes, n);
	PEERS_UNTIL(f, view(&f->leader, 0).received == 10 * n);
	REQUIRE(EXPECT_TRUE(peer_links_next(f->leader.links, &e)));
	REQUIRE(EXPECT_I(e.type, ==, PEER_LINK_PACKET));
	peer_links_close(f->leader.links, 0);
	memset(bytes, 'x', sizeof(bytes));
	peers_raw_put(fd, bytes, sizeof(bytes));
	turns(f, 10);
	EXPECT_MEM(e.packet.data.data, "the request", 11);
	close(fd);
	PEERS_UNTIL(f, !view(&f->leader, 0).there);
	peer_links_reset(f->leader.links);
	EXPECT_MEM(e.packet.data.data, "the request", 11);
	EXPECT_TRUE(!peer_links_next(f->leader.links, &e));
}

/* --- the end --------------------------------------------------------------------------------- */

PEERS_TEST(a_reset_closes_all_and_listening_goes_on_at_once)
{
	REQUIRE(peers_meet(f));
	peers_put(f, &f->leader, 0, QUORUM_DIFF, 1);
	peer_links_reset(f->leader.links);
	PEERS_UNTIL(f, f->learner.lost == 1);
	EXPECT_U(f->leader.lost, ==, 0);
	EXPECT_TRUE(!view(&f->leader, 0).there);
	EXPECT_U(peer_links_deadline_ms(f->leader.links), ==, UINT64_MAX);
	/* A put for who is not there any more is nothing. */
	peers_put(f, &f->leader, 0, QUORUM_DIFF, 1);
	peer_links_close(f->leader.links, 0);
	f->leader.connected = f->learner.connected = 0;
	peers_meet(f);
}

PEERS_TEST(a_learner_that_is_closed_and_lost_is_told_of_once_at_most)
{
	REQUIRE(peers_meet(f));
	peer_links_reset(f->learner.links);
	f->leader.deaf = true;
	turns(f, 20);
	peer_links_close(f->leader.links, 0);
	f->leader.deaf = false;
	PEERS_UNTIL(f, !view(&f->leader, 0).there);
	EXPECT_STR(peers_told(&f->leader), "CONNECTED");
}

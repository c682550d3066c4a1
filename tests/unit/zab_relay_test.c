/*
 * A follower as a master of observers: server 2 of 1..3 follows server 1, epoch 2, with observers.
 */
#include <errno.h>

#include "tests/unit/zab_fx.h"

/* In service with 1:1..1:5 and 2:1..2:3 committed; a proposal 2:4 is logged and not decided. */
static void serve(struct fx *f)
{
	struct zab_history h;

	zab_history_init(&h, 0);
	zab_history_add_run(&h, Z(1, 1), Z(1, 5));
	boot(f, 2, false, 1, 1, &h, Z(1, 2));
	f->z.opt.serves_observers = true;
	EXPECT_I(elect(f, 1), ==, 0);
	EXPECT_I(at_peer(f, ZAB_CONNECTED, 0), ==, 0);
	packet(f, 0, QUORUM_LEADERINFO, Z(2, 0));
	packet(f, 0, QUORUM_DIFF, Z(1, 5));
	packet(f, 0, QUORUM_NEWLEADER, Z(2, 0));
	EXPECT_I(at_peer(f, ZAB_CONNECTED, 1), ==, -EPROTO); /* it has no service to give */
	EXPECT_I(packet(f, 0, QUORUM_UPTODATE, -1), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_SERVE | ZAB_OUT_LISTEN);
	for (uint32_t i = 1; i <= 4; i++)
		packet(f, 0, QUORUM_PROPOSAL, Z(2, i));
	EXPECT_I(at_zxid(f, ZAB_DURABLE, Z(2, 4)), ==, 0);
	for (uint32_t i = 1; i <= 3; i++)
		packet(f, 0, QUORUM_COMMIT, Z(2, i));
	EXPECT_I(f->out.commit_zxid, ==, Z(2, 3));
}

static void hello(struct fx *f, int32_t peer, int64_t sid)
{
	EXPECT_I(at_peer(f, ZAB_CONNECTED, peer), ==, 0);
	EXPECT_I(
	    receive(f, peer,
		    (struct zab_packet){.type = QUORUM_OBSERVERINFO, .zxid = Z(1, 0), .sid = sid}),
	    ==, 0);
}

static int ack_epoch(struct fx *f, int32_t peer, int64_t zxid)
{
	return receive(
	    f, peer,
	    (struct zab_packet){.type = QUORUM_ACKEPOCH, .zxid = zxid, .current_epoch = 1});
}

/* Observer 9, as that peer, is in service with all that is committed. */
static void observe(struct fx *f, int32_t peer, int64_t sid)
{
	hello(f, peer, sid);
	EXPECT_I(ack_epoch(f, peer, Z(2, 3)), ==, 0);
	EXPECT_I(packet(f, peer, QUORUM_ACK, Z(2, 0)), ==, 0);
}

TEST_F(zab_relay, an_observer_is_synced_without_waiting_for_anybody, struct fx, up, down)
{
	serve(f);
	hello(f, 7, 9);
	EXPECT_STR(sent(f, 0), "7 LEADERINFO 200000000");
	EXPECT_I(ack_epoch(f, 7, Z(1, 4)), ==, 0);
	EXPECT_STR(sent(f, 0), "7 DIFF 200000003");
	EXPECT_STR(sent(f, 1), "7 history PROPOSAL 100000004-200000003");
	EXPECT_STR(sent(f, 2), "7 NEWLEADER 200000000");
	EXPECT_U(f->out.n_send, ==, 3); /* 2:4 is a proposal: nothing of it */
	EXPECT_I(packet(f, 7, QUORUM_ACK, Z(2, 0)), ==, 0);
	EXPECT_STR(sent(f, 0), "7 UPTODATE ffffffffffffffff");
	EXPECT_I(packet(f, 7, QUORUM_ACK, Z(2, 0)), ==, 0); /* of UPTODATE */
	EXPECT_U(f->out.n_send, ==, 0);
	EXPECT_I(f->z.decided_zxid, ==, Z(2, 3));
}

TEST_F(zab_relay, who_is_no_observer_is_refused, struct fx, up, down)
{
	serve(f);
	EXPECT_I(at_peer(f, ZAB_CONNECTED, 1), ==, 0);
	EXPECT_I(
	    receive(f, 1,
		    (struct zab_packet){.type = QUORUM_FOLLOWERINFO, .zxid = Z(1, 0), .sid = 3}),
	    ==, 0);
	EXPECT_STR(sent(f, 0), "1 close");
	EXPECT_I(at_peer(f, ZAB_CONNECTED, 1), ==, 0);
	EXPECT_I(packet(f, 1, QUORUM_REQUEST, -1), ==, 0);
	EXPECT_STR(sent(f, 0), "1 close");
	EXPECT_I(f->z.role, ==, ZAB_FOLLOWING);
	EXPECT_I(at_peer(f, ZAB_CONNECTED, ZAB_PEERS_MAX), ==, -EPROTO);
}

TEST_F(zab_relay, what_is_decided_is_told_and_nothing_else, struct fx, up, down)
{
	serve(f);
	observe(f, 1, 9);
	observe(f, 2, 10);
	EXPECT_I(packet(f, 0, QUORUM_PROPOSAL, Z(2, 5)), ==, 0);
	EXPECT_U(f->out.n_send, ==, 0);
	EXPECT_I(packet(f, 0, QUORUM_COMMIT, Z(2, 4)), ==, 0);
	EXPECT_STR(sent(f, 0), "1 range INFORM 200000004-200000004");
	EXPECT_STR(sent(f, 1), "2 range INFORM 200000004-200000004");
	EXPECT_U(f->out.n_send, ==, 2);
	/* A quorum has it, our own log not yet: that is enough for observers. */
	EXPECT_I(packet(f, 0, QUORUM_COMMIT, Z(2, 5)), ==, 0);
	EXPECT_STR(sent(f, 0), "1 range INFORM 200000005-200000005");
	EXPECT_I(f->out.commit_zxid, ==, Z(2, 4));
}

TEST_F(zab_relay, what_is_not_in_our_log_yet_comes_behind_newleader, struct fx, up, down)
{
	serve(f);
	packet(f, 0, QUORUM_PROPOSAL, Z(2, 5));
	packet(f, 0, QUORUM_COMMIT, Z(2, 4));
	packet(f, 0, QUORUM_COMMIT, Z(2, 5));
	hello(f, 1, 9);
	EXPECT_I(ack_epoch(f, 1, Z(2, 4)), ==, 0);
	EXPECT_STR(sent(f, 0), "1 DIFF 200000004");
	EXPECT_STR(sent(f, 1), "1 NEWLEADER 200000000");
	EXPECT_STR(sent(f, 2), "1 range INFORM 200000005-200000005");
}

TEST_F(zab_relay, who_is_ahead_is_held_and_never_cut, struct fx, up, down)
{
	serve(f);
	hello(f, 1, 9);
	EXPECT_I(ack_epoch(f, 1, Z(2, 5)), ==, 0); /* of another master */
	EXPECT_U(f->out.n_send, ==, 0);
	EXPECT_I(packet(f, 0, QUORUM_COMMIT, Z(2, 4)), ==, 0);
	EXPECT_U(f->out.n_send, ==, 0);
	packet(f, 0, QUORUM_PROPOSAL, Z(2, 5));
	EXPECT_I(packet(f, 0, QUORUM_COMMIT, Z(2, 5)), ==, 0);
	EXPECT_U(f->out.n_send, ==, 0); /* not committed before it is durable here */
	EXPECT_I(at_zxid(f, ZAB_DURABLE, Z(2, 5)), ==, 0);
	EXPECT_STR(sent(f, 0), "0 range ACK 200000005-200000005");
	EXPECT_STR(sent(f, 1), "1 DIFF 200000005");
	EXPECT_STR(sent(f, 2), "1 NEWLEADER 200000000");
}

TEST_F(zab_relay, who_is_ahead_for_too_long_goes_elsewhere, struct fx, up, down)
{
	serve(f);
	hello(f, 1, 9);
	EXPECT_I(ack_epoch(f, 1, Z(2, 9)), ==, 0);
	for (int i = 0; i < 9; i++) {
		f->now_ms += TICK;
		packet(f, 0, QUORUM_PING, 0);
		EXPECT_I(at_peer(f, ZAB_TIMEOUT, 0), ==, 0);
		EXPECT_U(f->out.n_send, ==, 0);
	}
	f->now_ms += TICK;
	EXPECT_I(at_peer(f, ZAB_TIMEOUT, 0), ==, 0);
	EXPECT_STR(sent(f, 0), "1 close");
	hello(f, 1, 9);
	EXPECT_I(ack_epoch(f, 1, Z(3, 1)), ==, 0); /* of an epoch that we don't know */
	EXPECT_STR(sent(f, 0), "1 close");
}

TEST_F(zab_relay, a_tail_that_no_leader_kept_is_cut, struct fx, up, down)
{
	serve(f);
	hello(f, 1, 9);
	EXPECT_I(ack_epoch(f, 1, Z(1, 8)), ==, 0);
	EXPECT_STR(sent(f, 0), "1 TRUNC 100000005");
	EXPECT_STR(sent(f, 1), "1 history PROPOSAL 100000005-200000003");
}

TEST_F(zab_relay, who_can_not_be_placed_gets_a_state, struct fx, up, down)
{
	serve(f);
	hello(f, 1, 9);
	EXPECT_I(ack_epoch(f, 1, -1), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_STATE);
	EXPECT_U(f->out.n_send, ==, 0);
	EXPECT_I(at_zxid(f, ZAB_STATE, Z(2, 3)), ==, 0);
	EXPECT_STR(sent(f, 0), "1 SNAP 200000003");
	EXPECT_STR(sent(f, 1), "1 NEWLEADER 200000000");
}

TEST_F(zab_relay, requests_are_the_callers_once_it_is_in_service, struct fx, up, down)
{
	static const int32_t types[] = {QUORUM_PING, QUORUM_REQUEST, QUORUM_REVALIDATE};

	serve(f);
	observe(f, 1, 9);
	for (int i = 0; i < 3; i++) {
		EXPECT_I(packet(f, 1, types[i], -1), ==, 0);
		EXPECT_U(f->out.flags, ==, ZAB_OUT_DELIVER);
	}
	hello(f, 2, 10);
	EXPECT_I(ack_epoch(f, 2, Z(2, 3)), ==, 0);
	EXPECT_I(packet(f, 2, QUORUM_REQUEST, -1), ==, 0);
	EXPECT_U(f->out.flags, ==, 0);
	EXPECT_STR(sent(f, 0), "2 close");
	/* A proposal or commit of an observer's is none. */
	EXPECT_I(packet(f, 1, QUORUM_PROPOSAL, Z(2, 5)), ==, 0);
	EXPECT_I(packet(f, 1, QUORUM_COMMIT, Z(2, 4)), ==, 0);
	EXPECT_I(f->z.last_zxid, ==, Z(2, 4));
	EXPECT_I(f->z.decided_zxid, ==, Z(2, 3));
}

TEST_F(zab_relay, observers_are_pinged_and_dropped_by_the_clock, struct fx, up, down)
{
	serve(f);
	observe(f, 1, 9);
	observe(f, 2, 10);
	for (int i = 0; i < 5; i++) {
		f->now_ms += TICK;
		packet(f, 0, QUORUM_PING, 0);
		packet(f, 1, QUORUM_PING, 0);
		EXPECT_I(at_peer(f, ZAB_TIMEOUT, 0), ==, 0);
		EXPECT_STR(sent(f, i < 4 ? 1 : 0), i < 4 ? "2 PING 200000004" : "2 close");
		EXPECT_U(f->out.deadline_ms, <=, f->now_ms + TICK / 2);
	}
}

TEST_F(zab_relay, a_reconfiguration_is_told_before_we_leave_for_it, struct fx, up, down)
{
	static struct quorum_config next;
	struct zab_packet p = {.type = QUORUM_PROPOSAL, .zxid = Z(2, 5), .config = &next};

	parse(&next, "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nversion=200000005");
	serve(f);
	observe(f, 1, 9);
	EXPECT_I(receive(f, 0, p), ==, 0);
	EXPECT_I(at_zxid(f, ZAB_DURABLE, Z(2, 5)), ==, 0);
	hello(f, 2, 10);
	EXPECT_I(ack_epoch(f, 2, Z(2, 3)), ==, 0);
	EXPECT_STR(sent(f, 1), "2 NEWLEADER 200000000");
	EXPECT_TRUE(f->out.send[1].packet.config == &three); /* only proposed: not a word */
	packet(f, 0, QUORUM_COMMIT, Z(2, 4));
	p = (struct zab_packet){.type = QUORUM_COMMITANDACTIVATE, .zxid = Z(2, 5), .sid = 3};
	EXPECT_I(receive(f, 0, p), ==, 0);
	EXPECT_STR(sent(f, 0), "1 INFORMANDACTIVATE 200000005");
	EXPECT_I(f->out.send[0].packet.sid, ==, 3);
	EXPECT_STR(sent(f, 1), "2 INFORMANDACTIVATE 200000005");
	EXPECT_I(f->z.role, ==, ZAB_LOOKING); /* server 3 is to lead */
	EXPECT_I(at_peer(f, ZAB_LOST, 1), ==, -EPROTO);
}

TEST_F(zab_relay, observers_go_with_the_leader, struct fx, up, down)
{
	serve(f);
	observe(f, 1, 9);
	EXPECT_I(at_peer(f, ZAB_LOST, 1), ==, 0);
	EXPECT_I(f->z.role, ==, ZAB_FOLLOWING);
	observe(f, 1, 9);
	observe(f, 2, 9); /* the same server: the one before is no more */
	EXPECT_I(f->z.peer[1].phase, ==, ZAB_PEER_NONE);
	EXPECT_I(at_peer(f, ZAB_LOST, 0), ==, 0);
	EXPECT_I(f->z.role, ==, ZAB_LOOKING);
	EXPECT_I(f->z.peers_end, ==, 0);
	EXPECT_I(at_peer(f, ZAB_CONNECTED, 1), ==, -EPROTO);
}

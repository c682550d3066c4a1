/*
 * Roles of the ZAB core: an ensemble of steps, packets carried by hand. Whole ensembles under
 * faults are in tests/sim.
 */
#include <errno.h>

#include "tests/unit/zab_fx.h"

static struct quorum_config five;

static void up_five(struct fx *f)
{
	up(f);
	parse(&five, "server.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2\nserver.5=e:1:2\n"
		     "server.6=f:1:2\nversion=100000002");
}

/* --- leader ------------------------------------------------------------------------------ */

/* A learner says hello, and what its log ends with. */
static void hello(struct fx *f, int32_t peer, int64_t sid, int64_t accepted)
{
	EXPECT_I(at_peer(f, ZAB_CONNECTED, peer), ==, 0);
	EXPECT_I(receive(f, peer,
			 (struct zab_packet){
			     .type = QUORUM_FOLLOWERINFO, .zxid = Z(accepted, 0), .sid = sid}),
		 ==, 0);
}

static void ack_epoch(struct fx *f, int32_t peer, int64_t zxid, int32_t epoch)
{
	EXPECT_I(receive(f, peer,
			 (struct zab_packet){
			     .type = QUORUM_ACKEPOCH, .zxid = zxid, .current_epoch = epoch}),
		 ==, 0);
}

/* Server 1 leads 1..3 with server 2 in sync, from a history of 1:1..1:5. */
static void lead(struct fx *f)
{
	struct zab_history h;

	zab_history_init(&h, 0);
	zab_history_add_run(&h, Z(1, 1), Z(1, 5));
	boot(f, 1, false, 1, 1, &h, 0);
	EXPECT_I(elect(f, 1), ==, 0);
	hello(f, 0, 2, 1);
	ack_epoch(f, 0, Z(1, 5), 1);
	EXPECT_I(packet(f, 0, QUORUM_ACK, Z(2, 0)), ==, 0);
}

TEST_F(zab_leader, promises_and_histories_of_a_quorum_come_before_service, struct fx, up, down)
{
	struct zab_history h;

	zab_history_init(&h, 0);
	zab_history_add_run(&h, Z(1, 1), Z(1, 5));
	boot(f, 1, false, 3, 1, &h, 0);
	EXPECT_I(elect(f, 1), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_ROLE | ZAB_OUT_LISTEN);
	hello(f, 0, 2, 6);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_EPOCHS);
	EXPECT_I(f->z.accepted_epoch, ==, 7); /* above every promise of the quorum */
	EXPECT_I(f->z.current_epoch, ==, 1);
	EXPECT_STR(sent(f, 0), "0 LEADERINFO 700000000");
	ack_epoch(f, 0, Z(1, 3), 1);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_EPOCHS);
	EXPECT_I(f->z.current_epoch, ==, 7);
	EXPECT_STR(sent(f, 0), "0 DIFF 100000005");
	EXPECT_STR(sent(f, 1), "0 history PROPOSAL 100000003-100000005");
	EXPECT_STR(sent(f, 2), "0 NEWLEADER 700000000");
	EXPECT_I(f->out.commit_zxid, ==, 0); /* not before the quorum for NEWLEADER */
	EXPECT_I(at_zxid(f, ZAB_SUBMIT, Z(7, 1)), ==, -EPROTO);
	EXPECT_I(packet(f, 0, QUORUM_ACK, Z(7, 0)), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_SERVE);
	EXPECT_STR(sent(f, 0), "0 UPTODATE ffffffffffffffff");
	EXPECT_I(f->out.commit_zxid, ==, Z(1, 5));
	EXPECT_I(zab_next_zxid(&f->z), ==, Z(7, 1));
}

TEST_F(zab_leader, commits_in_order_with_a_quorum_and_its_own_log, struct fx, up, down)
{
	lead(f);
	EXPECT_I(at_zxid(f, ZAB_SUBMIT, Z(2, 1)), ==, 0);
	EXPECT_STR(sent(f, 0), "0 range PROPOSAL 200000001-200000001");
	EXPECT_I(at_zxid(f, ZAB_SUBMIT, Z(2, 2)), ==, 0);
	EXPECT_I(packet(f, 0, QUORUM_ACK, Z(2, 1)), ==, 0);
	EXPECT_U(f->out.n_send, ==, 0); /* its own log counts when it is durable */
	EXPECT_I(at_zxid(f, ZAB_DURABLE, Z(2, 2)), ==, 0);
	EXPECT_STR(sent(f, 0), "0 range COMMIT 200000001-200000001");
	EXPECT_I(f->out.commit_zxid, ==, Z(2, 1));
	EXPECT_I(packet(f, 0, QUORUM_ACK, Z(2, 2)), ==, 0);
	EXPECT_I(f->out.commit_zxid, ==, Z(2, 2));
	EXPECT_I(packet(f, 0, QUORUM_ACK, Z(2, 2)), ==, 0); /* again: nothing */
	EXPECT_U(f->out.n_send, ==, 0);
	EXPECT_I(packet(f, 0, QUORUM_ACK, Z(2, 9)), ==, 0); /* never proposed */
	EXPECT_STR(sent(f, 0), "0 close");
}

static void expect_sync(struct fx *f, int64_t p, const char *op, const char *history)
{
	hello(f, 5, 3, 1);
	ack_epoch(f, 5, p, -1);
	EXPECT_STR(sent(f, 0), op);
	if (history)
		EXPECT_STR(sent(f, 1), history);
	else
		EXPECT_STR(sent(f, 1), "5 NEWLEADER 200000000");
	EXPECT_I(at_peer(f, ZAB_LOST, 5), ==, 0);
}

TEST_F(zab_leader, what_a_learner_lacks_is_told_by_its_last_zxid, struct fx, up, down)
{
	lead(f);
	for (int64_t i = 1; i <= 3; i++) {
		at_zxid(f, ZAB_SUBMIT, Z(2, (uint32_t)i));
		at_zxid(f, ZAB_DURABLE, Z(2, (uint32_t)i));
		EXPECT_I(packet(f, 0, QUORUM_ACK, Z(2, (uint32_t)i)), ==, 0);
	}
	expect_sync(f, Z(2, 3), "5 DIFF 200000003", NULL);
	expect_sync(f, Z(2, 1), "5 DIFF 200000003", "5 history PROPOSAL 200000001-200000003");
	expect_sync(f, Z(2, 0), "5 DIFF 200000003", "5 history PROPOSAL 200000000-200000003");
	expect_sync(f, Z(1, 4), "5 DIFF 200000003", "5 history PROPOSAL 100000004-200000003");
	expect_sync(f, Z(1, 9), "5 TRUNC 100000005", "5 history PROPOSAL 100000005-200000003");
	expect_sync(f, 0, "5 DIFF 200000003", "5 history PROPOSAL 0-200000003");
	/* What can't be placed gets all: other epochs, and a log that is lost. */
	EXPECT_I(at_zxid(f, ZAB_STATE, Z(2, 3)), ==, 0);
	expect_sync(f, Z(3, 0), "5 SNAP 200000003", NULL);
	expect_sync(f, Z(0, 7), "5 SNAP 200000003", NULL);
	expect_sync(f, -1, "5 SNAP 200000003", NULL);
	/* What the log does not reach back to, too. */
	EXPECT_I(at_zxid(f, ZAB_TRIM, Z(2, 1)), ==, 0);
	expect_sync(f, Z(1, 5), "5 SNAP 200000003", NULL);
	expect_sync(f, Z(2, 1), "5 DIFF 200000003", "5 history PROPOSAL 200000001-200000003");
}

TEST_F(zab_leader, to_who_is_far_behind_the_state_is_sent, struct fx, up, down)
{
	struct zab_event state = {.type = ZAB_STATE, .zxid = Z(2, 2), .far_zxid = Z(1, 4)};

	lead(f);
	f->z.opt.diff_max = 1000;
	for (int64_t i = 1; i <= 3; i++) {
		at_zxid(f, ZAB_SUBMIT, Z(2, (uint32_t)i));
		at_zxid(f, ZAB_DURABLE, Z(2, (uint32_t)i));
		EXPECT_I(packet(f, 0, QUORUM_ACK, Z(2, (uint32_t)i)), ==, 0);
	}
	expect_sync(f, Z(1, 3), "5 DIFF 200000003", "5 history PROPOSAL 100000003-200000003");
	EXPECT_I(step(f, state), ==, 0);
	expect_sync(f, Z(1, 3), "5 SNAP 200000002", "5 history PROPOSAL 200000002-200000003");
	expect_sync(f, 0, "5 SNAP 200000002", "5 history PROPOSAL 200000002-200000003");
	expect_sync(f, Z(1, 4), "5 DIFF 200000003", "5 history PROPOSAL 100000004-200000003");
	state.far_zxid = Z(2, 3); /* never one that has more than the state */
	EXPECT_I(step(f, state), ==, 0);
	expect_sync(f, Z(2, 2), "5 DIFF 200000003", "5 history PROPOSAL 200000002-200000003");
}

TEST_F(zab_leader, a_state_older_than_the_learners_log_is_not_sent, struct fx, up, down)
{
	lead(f);
	at_zxid(f, ZAB_SUBMIT, Z(2, 1));
	at_zxid(f, ZAB_DURABLE, Z(2, 1));
	EXPECT_I(packet(f, 0, QUORUM_ACK, Z(2, 1)), ==, 0);
	hello(f, 5, 3, 2);
	ack_epoch(f, 5, Z(2, 9) + (INT64_C(1) << 32), -1);
	EXPECT_U(f->out.n_send, ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_STATE);
	EXPECT_I(at_zxid(f, ZAB_STATE, Z(2, 2)), ==, -EPROTO); /* that is not published */
	EXPECT_I(at_zxid(f, ZAB_STATE, Z(2, 1)), ==, 0);
	EXPECT_STR(sent(f, 0), "5 SNAP 200000001");
	EXPECT_STR(sent(f, 1), "5 NEWLEADER 200000000");
	EXPECT_I(at_zxid(f, ZAB_STATE, Z(1, 5)), ==, -EPROTO); /* it never goes back */
}

TEST_F(zab_leader, outstanding_proposals_come_behind_newleader, struct fx, up, down)
{
	lead(f);
	at_zxid(f, ZAB_SUBMIT, Z(2, 1));
	at_zxid(f, ZAB_SUBMIT, Z(2, 2));
	hello(f, 5, 3, 2);
	ack_epoch(f, 5, Z(1, 5), -1);
	EXPECT_STR(sent(f, 0), "5 DIFF 100000005");
	EXPECT_STR(sent(f, 1), "5 NEWLEADER 200000000");
	EXPECT_STR(sent(f, 2), "5 range PROPOSAL 200000001-200000002");
	/* An ACK before that of NEWLEADER is kept, and counts with it. */
	at_zxid(f, ZAB_DURABLE, Z(2, 2));
	EXPECT_I(packet(f, 5, QUORUM_ACK, Z(2, 1)), ==, 0);
	EXPECT_I(f->out.commit_zxid, ==, Z(1, 5));
	EXPECT_I(packet(f, 5, QUORUM_ACK, Z(2, 0)), ==, 0);
	EXPECT_I(f->out.commit_zxid, ==, Z(2, 1));
	EXPECT_STR(sent(f, 0), "5 UPTODATE ffffffffffffffff");
}

TEST_F(zab_leader, a_learner_with_a_newer_history_is_refused, struct fx, up, down)
{
	lead(f);
	hello(f, 5, 3, 1);
	ack_epoch(f, 5, Z(1, 6), 1);
	EXPECT_STR(sent(f, 0), "5 close");
	EXPECT_STR(f->out.why, "the learner's history is newer than the leader's");
}

TEST_F(zab_leader, observers_are_informed_and_never_counted, struct fx, up, down)
{
	lead(f);
	EXPECT_I(at_peer(f, ZAB_CONNECTED, 5), ==, 0);
	receive(f, 5, (struct zab_packet){.type = QUORUM_OBSERVERINFO, .sid = 9});
	ack_epoch(f, 5, 0, 0);
	packet(f, 5, QUORUM_ACK, Z(2, 0));
	at_zxid(f, ZAB_SUBMIT, Z(2, 1));
	EXPECT_U(f->out.n_send, ==, 1); /* no PROPOSAL for it */
	at_zxid(f, ZAB_DURABLE, Z(2, 1));
	EXPECT_I(packet(f, 5, QUORUM_ACK, Z(2, 1)), ==, 0);
	EXPECT_I(f->out.commit_zxid, ==, Z(1, 5));
	EXPECT_I(packet(f, 0, QUORUM_ACK, Z(2, 1)), ==, 0);
	EXPECT_STR(sent(f, 0), "0 range COMMIT 200000001-200000001");
	EXPECT_STR(sent(f, 1), "5 range INFORM 200000001-200000001");
}

TEST_F(zab_leader, a_sync_waits_for_what_was_proposed, struct fx, up, down)
{
	lead(f);
	EXPECT_I(at_peer(f, ZAB_SYNC_ASKED, 0), ==, 0);
	EXPECT_STR(sent(f, 0), "0 SYNC 0");
	at_zxid(f, ZAB_SUBMIT, Z(2, 1));
	EXPECT_I(at_peer(f, ZAB_SYNC_ASKED, 0), ==, 0);
	EXPECT_U(f->out.n_send, ==, 0);
	at_zxid(f, ZAB_DURABLE, Z(2, 1));
	EXPECT_I(packet(f, 0, QUORUM_ACK, Z(2, 1)), ==, 0);
	EXPECT_STR(sent(f, 0), "0 range COMMIT 200000001-200000001");
	EXPECT_STR(sent(f, 1), "0 SYNC 0");
	EXPECT_I(at_peer(f, ZAB_SYNC_ASKED, 3), ==, -EPROTO);
	for (int i = 0; i < ZAB_SYNCS_MAX + 1; i++) {
		if (i == 0)
			at_zxid(f, ZAB_SUBMIT, Z(2, 2));
		EXPECT_I(at_peer(f, ZAB_SYNC_ASKED, 0), ==, i < ZAB_SYNCS_MAX ? 0 : -EBUSY);
	}
}

TEST_F(zab_leader, a_sync_is_answered_before_what_was_proposed_after_it, struct fx, up, down)
{
	lead(f);
	at_zxid(f, ZAB_SUBMIT, Z(2, 1));
	at_zxid(f, ZAB_SUBMIT, Z(2, 2));
	EXPECT_I(at_peer(f, ZAB_SYNC_ASKED, 0), ==, 0);
	EXPECT_I(at_peer(f, ZAB_SYNC_ASKED, 0), ==, 0);
	at_zxid(f, ZAB_SUBMIT, Z(2, 3));
	at_zxid(f, ZAB_DURABLE, Z(2, 3));
	EXPECT_I(packet(f, 0, QUORUM_ACK, Z(2, 3)), ==, 0);
	EXPECT_STR(sent(f, 0), "0 range COMMIT 200000001-200000002");
	EXPECT_STR(sent(f, 1), "0 SYNC 0");
	EXPECT_STR(sent(f, 2), "0 SYNC 0");
	EXPECT_STR(sent(f, 3), "0 range COMMIT 200000003-200000003");
	EXPECT_U(f->out.n_send, ==, 4);
}

TEST_F(zab_leader, steps_down_when_its_quorum_is_out_of_touch, struct fx, up, down)
{
	lead(f);
	f->now_ms += 4 * TICK;
	EXPECT_I(step(f, (struct zab_event){.type = ZAB_TIMEOUT}), ==, 0);
	EXPECT_STR(sent(f, 0), "0 PING 100000005");
	EXPECT_I(packet(f, 0, QUORUM_PING, Z(1, 5)), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_DELIVER);
	f->now_ms += 4 * TICK;
	EXPECT_I(step(f, (struct zab_event){.type = ZAB_TIMEOUT}), ==, 0);
	EXPECT_I(f->z.role, ==, ZAB_LEADING);
	f->now_ms += TICK;
	EXPECT_I(step(f, (struct zab_event){.type = ZAB_TIMEOUT}), ==, 0);
	EXPECT_I(f->z.role, ==, ZAB_LOOKING);
	EXPECT_STR(f->out.why, "the quorum is out of touch");
}

TEST_F(zab_leader, a_learner_that_acknowledges_nothing_is_dropped, struct fx, up, down)
{
	lead(f);
	at_zxid(f, ZAB_SUBMIT, Z(2, 1));
	f->now_ms += 4 * TICK;
	packet(f, 0, QUORUM_PING, 0);
	f->now_ms += TICK;
	EXPECT_I(step(f, (struct zab_event){.type = ZAB_TIMEOUT}), ==, 0);
	EXPECT_STR(sent(f, 0), "0 close");
}

TEST_F(zab_leader, a_new_epoch_comes_before_the_counter_wraps, struct fx, up, down)
{
	lead(f);
	/* As after 0xfffffffd transactions. */
	zab_history_add_run(&f->z.history, Z(2, 1), Z(2, 0xfffffffd));
	f->z.last_zxid = f->z.durable_zxid = f->z.decided_zxid = f->z.commit_zxid =
	    Z(2, 0xfffffffd);
	EXPECT_TRUE(zab_has_room(&f->z, 1));
	EXPECT_TRUE(!zab_has_room(&f->z, 2));
	EXPECT_I(at_zxid(f, ZAB_SUBMIT, Z(2, 0xfffffffe)), ==, 0);
	EXPECT_I(at_zxid(f, ZAB_SUBMIT, Z(2, 0xffffffff)), ==, -EBUSY);
	at_zxid(f, ZAB_DURABLE, Z(2, 0xfffffffe));
	EXPECT_I(packet(f, 0, QUORUM_ACK, Z(2, 0xfffffffe)), ==, 0);
	EXPECT_I(f->out.commit_zxid, ==, Z(2, 0xfffffffe));
	EXPECT_I(f->z.role, ==, ZAB_LOOKING);
}

TEST_F(zab_leader, a_reconfiguration_needs_both_quorums, struct fx, up_five, down)
{
	lead(f);
	hello(f, 1, 3, 1);
	ack_epoch(f, 1, Z(1, 5), -1);
	packet(f, 1, QUORUM_ACK, Z(2, 0));
	hello(f, 2, 4, 1); /* not a voter yet */
	ack_epoch(f, 2, Z(1, 5), -1);
	packet(f, 2, QUORUM_ACK, Z(2, 0));
	EXPECT_TRUE(zab_would_have_quorum(&f->z, &five)); /* 2, 3, 4 of 2..6 */
	EXPECT_I(at_zxid(f, ZAB_SUBMIT, Z(2, 1)), ==, 0);
	five.version = Z(2, 2);
	EXPECT_I(step(f, (struct zab_event){.type = ZAB_SUBMIT, .zxid = Z(2, 2), .config = &five}),
		 ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_CONFIG);
	EXPECT_TRUE(f->out.send[0].packet.config == &five);
	at_zxid(f, ZAB_DURABLE, Z(2, 2));
	packet(f, 0, QUORUM_ACK, Z(2, 2));
	EXPECT_I(f->out.commit_zxid, ==, Z(2, 1)); /* what precedes it needs the old one alone */
	packet(f, 1, QUORUM_ACK, Z(2, 2));
	EXPECT_I(f->out.commit_zxid, ==, Z(2, 1)); /* all of the old, two of the new */
	packet(f, 2, QUORUM_ACK, Z(2, 2));
	EXPECT_I(f->out.commit_zxid, ==, Z(2, 2));
	EXPECT_STR(sent(f, 0), "0 COMMITANDACTIVATE 200000002");
	EXPECT_I(f->out.send[0].packet.sid, ==, 2); /* the leader is no voter any more */
	EXPECT_TRUE(f->z.committed == &five);
	EXPECT_I(f->z.role, ==, ZAB_LOOKING);
}

/* --- learner ----------------------------------------------------------------------------- */

/* Server 3 follows server 1, whose epoch is 2, from a history of 1:1..1:5. */
static void follow(struct fx *f, bool observer)
{
	struct zab_history h;

	zab_history_init(&h, 0);
	zab_history_add_run(&h, Z(1, 1), Z(1, 5));
	boot(f, 3, observer, 1, 1, &h, Z(1, 2));
	EXPECT_I(elect(f, 1), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_ROLE | ZAB_OUT_CONNECT);
	EXPECT_I(at_peer(f, ZAB_CONNECTED, 0), ==, 0);
	EXPECT_STR(sent(f, 0), observer ? "0 OBSERVERINFO 100000000" : "0 FOLLOWERINFO 100000000");
	EXPECT_I(packet(f, 0, QUORUM_LEADERINFO, Z(2, 0)), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_EPOCHS); /* stored before it is said */
	EXPECT_STR(sent(f, 0), "0 ACKEPOCH 100000005");
	EXPECT_I(f->out.send[0].packet.current_epoch, ==, 1);
}

TEST_F(zab_learner, takes_over_a_history_before_it_acknowledges, struct fx, up, down)
{
	follow(f, false);
	EXPECT_I(packet(f, 0, QUORUM_DIFF, Z(1, 6)), ==, 0);
	EXPECT_I(packet(f, 0, QUORUM_PROPOSAL, Z(1, 6)), ==, 0);
	EXPECT_I(f->out.append_zxid, ==, Z(1, 6));
	EXPECT_I(packet(f, 0, QUORUM_COMMIT, Z(1, 6)), ==, 0);
	EXPECT_I(packet(f, 0, QUORUM_NEWLEADER, Z(2, 0)), ==, 0);
	EXPECT_U(f->out.flags, ==, 0);
	EXPECT_I(packet(f, 0, QUORUM_PROPOSAL, Z(2, 1)), ==, 0);
	EXPECT_U(f->out.n_send, ==, 0);
	EXPECT_I(at_zxid(f, ZAB_DURABLE, Z(2, 1)), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_EPOCHS);
	EXPECT_I(f->z.current_epoch, ==, 2);
	EXPECT_STR(sent(f, 0), "0 ACK 200000000");
	EXPECT_STR(sent(f, 1), "0 range ACK 200000001-200000001");
	EXPECT_I(f->out.commit_zxid, ==, Z(1, 2)); /* published: nothing new before UPTODATE */
	EXPECT_I(packet(f, 0, QUORUM_COMMIT, Z(2, 1)), ==, 0);
	EXPECT_I(packet(f, 0, QUORUM_UPTODATE, -1), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_SERVE);
	EXPECT_STR(sent(f, 0), "0 ACK 200000000");
	EXPECT_I(f->out.commit_zxid, ==, Z(2, 1));
}

TEST_F(zab_learner, publishes_what_its_own_log_has, struct fx, up, down)
{
	follow(f, false);
	packet(f, 0, QUORUM_DIFF, Z(1, 5));
	packet(f, 0, QUORUM_NEWLEADER, Z(2, 0));
	EXPECT_I(packet(f, 0, QUORUM_UPTODATE, -1), ==, 0);
	EXPECT_I(f->out.commit_zxid, ==, Z(1, 5));
	packet(f, 0, QUORUM_PROPOSAL, Z(2, 1));
	packet(f, 0, QUORUM_PROPOSAL, Z(2, 2));
	EXPECT_I(packet(f, 0, QUORUM_COMMIT, Z(2, 1)), ==, 0);
	EXPECT_I(f->out.commit_zxid, ==, Z(1, 5));
	EXPECT_I(at_zxid(f, ZAB_DURABLE, Z(2, 2)), ==, 0);
	EXPECT_I(f->out.commit_zxid, ==, Z(2, 1));
	EXPECT_STR(sent(f, 0), "0 range ACK 200000001-200000002");
	EXPECT_I(packet(f, 0, QUORUM_COMMIT, Z(2, 3)), ==, 0); /* not the oldest proposal */
	EXPECT_I(f->z.role, ==, ZAB_LOOKING);
}

TEST_F(zab_learner, a_promise_is_given_once, struct fx, up, down)
{
	follow(f, false);
	EXPECT_I(at_peer(f, ZAB_LOST, 0), ==, 0);
	EXPECT_I(elect(f, 1), ==, 0);
	at_peer(f, ZAB_CONNECTED, 0);
	packet(f, 0, QUORUM_LEADERINFO, Z(2, 0));
	EXPECT_I(f->out.send[0].packet.current_epoch, ==, -1);
	at_peer(f, ZAB_LOST, 0);
	elect(f, 1);
	at_peer(f, ZAB_CONNECTED, 0);
	EXPECT_I(packet(f, 0, QUORUM_LEADERINFO, Z(1, 0)), ==, 0);
	EXPECT_STR(f->out.why, "the leader's epoch is below the promise");
}

TEST_F(zab_learner, a_cut_is_durable_before_newleader_is_acknowledged, struct fx, up, down)
{
	follow(f, false);
	EXPECT_I(packet(f, 0, QUORUM_TRUNC, Z(1, 3)), ==, 0);
	EXPECT_I(f->out.cut_zxid, ==, Z(1, 3));
	EXPECT_I(packet(f, 0, QUORUM_NEWLEADER, Z(2, 0)), ==, 0);
	EXPECT_U(f->out.n_send, ==, 0);
	EXPECT_I(at_zxid(f, ZAB_READY, 0), ==, 0);
	EXPECT_STR(sent(f, 0), "0 ACK 200000000");
}

TEST_F(zab_learner, what_was_published_is_never_cut_off, struct fx, up, down)
{
	follow(f, false);
	EXPECT_I(packet(f, 0, QUORUM_TRUNC, Z(1, 1)), ==, 0);
	EXPECT_I(f->out.cut_zxid, ==, -1);
	EXPECT_STR(f->out.why, "TRUNC of what was published");
}

TEST_F(zab_learner, a_state_is_staged_until_the_epoch_is_stored, struct fx, up, down)
{
	follow(f, false);
	EXPECT_I(packet(f, 0, QUORUM_SNAP, Z(1, 1)), ==, 0);
	EXPECT_I(f->out.snapshot_zxid, ==, Z(1, 1));
	EXPECT_I(packet(f, 0, QUORUM_PROPOSAL, Z(1, 2)), ==, -EPROTO); /* the stream is not read */
	EXPECT_I(at_zxid(f, ZAB_READY, 0), ==, 0);
	EXPECT_I(packet(f, 0, QUORUM_PROPOSAL, Z(1, 2)), ==, 0);
	EXPECT_I(packet(f, 0, QUORUM_COMMIT, Z(1, 2)), ==, 0);
	EXPECT_I(packet(f, 0, QUORUM_NEWLEADER, Z(2, 0)), ==, 0);
	EXPECT_I(zab_history_last(&f->z.old.history), ==, Z(1, 5));
	EXPECT_I(at_zxid(f, ZAB_DURABLE, Z(1, 2)), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_EPOCHS | ZAB_OUT_INSTALL);
	EXPECT_I(zab_vote(&f->z).zxid, ==, Z(1, 2));
}

TEST_F(zab_learner, a_state_that_is_not_taken_over_leaves_the_old_history, struct fx, up, down)
{
	follow(f, false);
	packet(f, 0, QUORUM_SNAP, Z(1, 1));
	at_zxid(f, ZAB_READY, 0);
	packet(f, 0, QUORUM_PROPOSAL, Z(1, 2));
	EXPECT_I(at_peer(f, ZAB_LOST, 0), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_UNSTAGE | ZAB_OUT_ROLE);
	EXPECT_I(zab_vote(&f->z).zxid, ==, Z(1, 5));
	EXPECT_TRUE(zab_drained(&f->z));
}

TEST_F(zab_learner, an_observer_follows_informs_and_acknowledges_none, struct fx, up, down)
{
	follow(f, true);
	packet(f, 0, QUORUM_DIFF, Z(1, 5));
	packet(f, 0, QUORUM_NEWLEADER, Z(2, 0));
	packet(f, 0, QUORUM_UPTODATE, -1);
	EXPECT_I(f->z.role, ==, ZAB_OBSERVING);
	EXPECT_I(packet(f, 0, QUORUM_INFORM, Z(2, 1)), ==, 0);
	EXPECT_I(f->out.append_zxid, ==, Z(2, 1));
	EXPECT_I(at_zxid(f, ZAB_DURABLE, Z(2, 1)), ==, 0);
	EXPECT_U(f->out.n_send, ==, 0);
	EXPECT_I(f->out.commit_zxid, ==, Z(2, 1));
	EXPECT_I(packet(f, 0, QUORUM_PING, Z(2, 1)), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_DELIVER);
}

TEST_F(zab_learner, looks_again_when_nothing_is_heard, struct fx, up, down)
{
	follow(f, false);
	packet(f, 0, QUORUM_DIFF, Z(1, 5));
	packet(f, 0, QUORUM_NEWLEADER, Z(2, 0));
	packet(f, 0, QUORUM_UPTODATE, -1);
	EXPECT_U(f->out.deadline_ms, ==, f->now_ms + 5 * TICK);
	f->now_ms += 5 * TICK;
	EXPECT_I(step(f, (struct zab_event){.type = ZAB_TIMEOUT}), ==, 0);
	EXPECT_I(f->z.role, ==, ZAB_LOOKING);
}

TEST_F(zab_learner, no_vote_before_the_tail_is_durable, struct fx, up, down)
{
	follow(f, false);
	packet(f, 0, QUORUM_DIFF, Z(1, 6));
	packet(f, 0, QUORUM_PROPOSAL, Z(1, 6));
	at_peer(f, ZAB_LOST, 0);
	EXPECT_TRUE(!zab_drained(&f->z));
	EXPECT_I(elect(f, 1), ==, -EBUSY);
	EXPECT_I(at_zxid(f, ZAB_DURABLE, Z(1, 6)), ==, 0);
	EXPECT_I(elect(f, 1), ==, 0);
}

TEST_F(zab_learner, a_lost_log_counts_nowhere_until_a_leader_sent_all, struct fx, up, down)
{
	struct zab_history h;
	struct zab_start s = {
	    .accepted_epoch = 1, .current_epoch = 1, .history = &h, .must_sync = true};
	struct zab_options o = {
	    .sid = 3, .tick_ms = TICK, .init_limit = 10, .sync_limit = 5, .committed = &three};

	zab_history_init(&h, 0);
	zab_init(&f->z, &o);
	step(f, (struct zab_event){.type = ZAB_START, .start = &s});
	EXPECT_I(zab_vote(&f->z).zxid, ==, -1);
	EXPECT_I(elect(f, 3), ==, -EPROTO);
	elect(f, 1);
	at_peer(f, ZAB_CONNECTED, 0);
	packet(f, 0, QUORUM_LEADERINFO, Z(2, 0));
	EXPECT_STR(sent(f, 0), "0 ACKEPOCH ffffffffffffffff");
	EXPECT_I(f->out.send[0].packet.current_epoch, ==, -1);
	packet(f, 0, QUORUM_SNAP, Z(1, 5));
	at_zxid(f, ZAB_READY, 0);
	EXPECT_I(packet(f, 0, QUORUM_NEWLEADER, Z(2, 0)), ==, 0);
	EXPECT_U(f->out.flags, ==, ZAB_OUT_EPOCHS | ZAB_OUT_INSTALL);
	EXPECT_TRUE(!f->z.must_sync);
}

/* Its log is whole. */
TEST_F(zab_learner, who_doubts_its_state_votes_and_asks_one_leader_for_another, struct fx, up, down)
{
	struct zab_history h;
	struct zab_start s = {
	    .accepted_epoch = 1, .current_epoch = 1, .history = &h, .wants_state = true};
	struct zab_options o = {
	    .sid = 3, .tick_ms = TICK, .init_limit = 10, .sync_limit = 5, .committed = &three};

	zab_history_init(&h, Z(1, 4));
	zab_init(&f->z, &o);
	step(f, (struct zab_event){.type = ZAB_START, .start = &s});
	EXPECT_I(zab_vote(&f->z).zxid, ==, Z(1, 4));
	elect(f, 1);
	at_peer(f, ZAB_LOST, 0); /* before anybody was asked */
	elect(f, 1);
	at_peer(f, ZAB_CONNECTED, 0);
	packet(f, 0, QUORUM_LEADERINFO, Z(2, 0));
	EXPECT_STR(sent(f, 0), "0 ACKEPOCH ffffffffffffffff");
	EXPECT_I(f->out.send[0].packet.current_epoch, ==, -1);
	at_peer(f, ZAB_LOST, 0);
	elect(f, 1);
	at_peer(f, ZAB_CONNECTED, 0);
	packet(f, 0, QUORUM_LEADERINFO, Z(3, 0));
	EXPECT_STR(sent(f, 0), "0 ACKEPOCH 100000004");
	EXPECT_I(f->out.send[0].packet.current_epoch, ==, 1);
}

/* --- trace -------------------------------------------------------------------------------- */

TEST_F(zab_learner, each_step_can_tell_itself_in_a_line, struct fx, up, down)
{
	struct zab_packet p = {.type = QUORUM_DIFF, .zxid = Z(1, 6)};
	struct zab_event e = {.type = ZAB_RECEIVE, .packet = &p};
	char line[300];

	follow(f, false);
	e.now_ms = f->now_ms;
	EXPECT_I(zab_step(&f->z, &e, &f->out), ==, 0);
	zab_trace(&f->z, &e, &f->out, line, sizeof(line));
	EXPECT_STR(line, "     0 3 > RECEIVE 0>DIFF:100000006 = FOLLOWING sync promised=2 epoch=1 "
			 "last=100000005 durable=100000005 commit=100000002");
	EXPECT_U(zab_trace(&f->z, &e, &f->out, line, 10), ==, 9);
}

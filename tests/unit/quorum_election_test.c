/* Each rule of the election, one server and the messages of its peers. */
#include "quorum/election.h"

#include <errno.h>
#include <stdio.h>

#include "tests/t.h"

static const char five[] = "server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\nserver.4=a:1:2\n"
			   "server.5=a:1:2\nserver.6=a:1:2:observer\nversion=1";
static const char three[] = "server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\n"
			    "server.6=a:1:2:observer\nversion=1";

struct fx {
	struct quorum_config config, other;
	struct fle f;
	struct fle_out out;
	uint64_t now;
	char line[256];
};

static int step(struct fx *f, struct fle_event event)
{
	int err;

	event.now_ms = f->now;
	err = fle_step(&f->f, &event, &f->out);
	fle_trace(&f->f, &event, &f->out, f->line, sizeof(f->line));
	return err;
}

static void look(struct fx *f, int64_t zxid, int64_t epoch)
{
	EXPECT_I(step(f, (struct fle_event){.type = FLE_LOOK, .look = {zxid, epoch}}), ==, 0);
}

static void begin(struct fx *f, const char *config, int64_t me, int64_t zxid, int64_t epoch)
{
	struct fle_options options;

	CHECK(quorum_config_parse(&f->config, config, strlen(config), NULL) == 0);
	options = fle_defaults(
	    me, quorum_config_is_voter(&f->config, me) ? QUORUM_PARTICIPANT : QUORUM_OBSERVER, 1);
	fle_init(&f->f, &options, &f->config, NULL);
	look(f, zxid, epoch);
}

/* Server 2 of three, or of five, zxid 10, epoch 1: round 1. */
static void up(struct fx *f)
{
	f->now = 1000;
	begin(f, three, 2, 10, 1);
}

static void up_five(struct fx *f)
{
	f->now = 1000;
	begin(f, five, 2, 10, 1);
}

static void down(struct fx *f)
{
	(void)f;
}

static void hear_version(struct fx *f, int64_t from, enum fle_state state, int64_t leader,
			 int64_t zxid, int64_t epoch, int64_t round, int32_t version)
{
	struct fle_notification n = {state, {leader, zxid, round, epoch}, version, jute_null};

	EXPECT_I(step(f, (struct fle_event){.type = FLE_RECEIVE, .receive = {from, &n}}), ==, 0);
}

static void hear(struct fx *f, int64_t from, enum fle_state state, int64_t leader, int64_t zxid,
		 int64_t epoch, int64_t round)
{
	hear_version(f, from, state, leader, zxid, epoch, round, 2);
}

static void timeout_at(struct fx *f, uint64_t now)
{
	f->now = now;
	EXPECT_I(step(f, (struct fle_event){.type = FLE_TIMEOUT}), ==, 0);
}

static void expect_proposal(struct fx *f, int64_t leader, int64_t zxid, int64_t epoch,
			    int64_t round)
{
	EXPECT_I(f->f.state, ==, FLE_LOOKING);
	EXPECT_I(f->f.proposal.leader, ==, leader);
	EXPECT_I(f->f.proposal.zxid, ==, zxid);
	EXPECT_I(f->f.proposal.peer_epoch, ==, epoch);
	EXPECT_I(f->f.proposal.round, ==, round);
}

static void expect_sent(struct fx *f, uint32_t n, int64_t first)
{
	EXPECT_U(f->out.n_to, ==, n);
	if (n && f->out.n_to)
		EXPECT_I(f->out.to[0], ==, first);
}

static void expect_decided(struct fx *f, enum fle_state state, int64_t leader)
{
	EXPECT_TRUE(f->out.decided);
	EXPECT_I(f->f.state, ==, state);
	EXPECT_I(f->f.vote.leader, ==, leader);
	EXPECT_U(f->out.deadline_ms, ==, UINT64_MAX);
}

/* Server 2 follows 3, in round 1. */
static void follow(struct fx *f)
{
	hear(f, 3, FLE_LOOKING, 3, 10, 1, 1);
	timeout_at(f, f->now + 200);
	expect_decided(f, FLE_FOLLOWING, 3);
}

TEST_F(election, begins_by_telling_all_voters_its_own_vote, struct fx, up_five, down)
{
	expect_proposal(f, 2, 10, 1, 1);
	REQUIRE(EXPECT_U(f->out.n_to, ==, 4));
	EXPECT_MEM(f->out.to, ((const int64_t[]){1, 3, 4, 5}), 32);
	EXPECT_I(f->out.message.state, ==, FLE_LOOKING);
	EXPECT_I(f->out.message.vote.leader, ==, 2);
	EXPECT_I(f->out.message.vote.round, ==, 1);
	EXPECT_U(f->out.deadline_ms, ==, 1200);
	EXPECT_STR(f->line, "[  1000] 2 looks a/1: begins -> LOOKING 2/a/1 r1 > 1 3 4 5 @1200");
}

/* 2.4 */
TEST_F(election, votes_are_ordered_by_epoch_then_zxid_then_sid, struct fx, up_five, down)
{
	static const struct fle_vote up_wards[] = {{1, INT64_MIN, 0, INT64_MIN},
						   {5, 9, 0, -1},
						   {5, 9, 0, 0},
						   {1, -5, 0, 1},
						   {2, -5, 0, 1},
						   {1, 10, 0, 1},
						   {2, 10, 9, 1},
						   {3, 10, 0, 1},
						   {1, 11, 0, 1},
						   {1, 0, 0, 2}};

	for (size_t i = 0; i < 10; i++)
		for (size_t j = 0; j < 10; j++)
			EXPECT_I(fle_better(&f->f, &up_wards[i], &up_wards[j]), ==, i > j);
	EXPECT_TRUE(!fle_better(&f->f, &(struct fle_vote){6, 99, 0, 9}, &up_wards[0]));
	EXPECT_TRUE(!fle_better(&f->f, &(struct fle_vote){7, 99, 0, 9}, &up_wards[0]));
}

TEST_F(election, same_votes, struct fx, up, down)
{
	struct fle_ballot a = {{3, 7, 1, 2}, FLE_LEADING, 2}, b;

	b = (struct fle_ballot){{3, 8, 9, 2}, FLE_FOLLOWING, 2};
	EXPECT_TRUE(fle_same(&a, &b));
	b.vote.peer_epoch = 1;
	EXPECT_TRUE(!fle_same(&a, &b));
	b.version = 0;
	EXPECT_TRUE(fle_same(&a, &b));
	a.version = 0;
	EXPECT_TRUE(!fle_same(&a, &b));
	b.vote.leader = 2;
	b.vote.peer_epoch = 2;
	EXPECT_TRUE(!fle_same(&a, &b));
	/* As soon as one of them is looking, everything counts. */
	b = a;
	b.state = FLE_LOOKING;
	b.version = 2;
	EXPECT_TRUE(fle_same(&a, &b));
	b.vote.zxid++;
	EXPECT_TRUE(!fle_same(&a, &b));
	b = a;
	a.state = FLE_LOOKING;
	b.vote.round++;
	EXPECT_TRUE(!fle_same(&a, &b));
	(void)f;
}

/* 2.6, same round */
TEST_F(election, takes_a_better_vote_over_and_tells_all, struct fx, up_five, down)
{
	hear(f, 3, FLE_LOOKING, 3, 10, 1, 1);
	expect_proposal(f, 3, 10, 1, 1);
	expect_sent(f, 4, 1);
	hear(f, 1, FLE_LOOKING, 1, 10, 1, 1);
	expect_proposal(f, 3, 10, 1, 1);
	expect_sent(f, 1, 1); /* its voter follows nobody yet, and may not have heard */
	hear(f, 1, FLE_LOOKING, 1, 9, 2, 1);
	expect_proposal(f, 1, 9, 2, 1);
	expect_sent(f, 4, 1);
}

TEST_F(election, ends_after_200_ms_of_silence, struct fx, up_five, down)
{
	hear(f, 5, FLE_LOOKING, 5, 10, 1, 1);
	EXPECT_U(f->out.deadline_ms, ==, 1200); /* two of five */
	f->now = 1050;
	hear(f, 4, FLE_LOOKING, 4, 10, 1, 1);
	EXPECT_U(f->out.deadline_ms, ==, 1200);
	timeout_at(f, 1200); /* time to say it again */
	expect_sent(f, 4, 1);
	f->now = 1240;
	hear(f, 3, FLE_LOOKING, 5, 10, 1, 1); /* news: silence begins anew */
	EXPECT_U(f->out.deadline_ms, ==, 1440);
	f->now = 1300;
	hear(f, 3, FLE_LOOKING, 5, 10, 1, 1); /* said before */
	EXPECT_U(f->out.deadline_ms, ==, 1440);
	timeout_at(f, 1439);
	EXPECT_TRUE(!f->out.decided);
	timeout_at(f, 1440);
	expect_decided(f, FLE_FOLLOWING, 5);
	EXPECT_I(f->f.vote.zxid, ==, 10);
	EXPECT_I(f->f.vote.round, ==, 1);
	EXPECT_I(f->f.vote.peer_epoch, ==, 1);
}

TEST_F(election, a_better_vote_in_the_quiet_time_goes_on, struct fx, up, down)
{
	hear(f, 1, FLE_LOOKING, 2, 10, 1, 1);
	EXPECT_U(f->f.quiet_ms, ==, 1200);
	f->now = 1199;
	hear(f, 3, FLE_LOOKING, 3, 10, 1, 1);
	expect_proposal(f, 3, 10, 1, 1);
	EXPECT_U(f->f.quiet_ms, ==, 1399);
	timeout_at(f, 1399);
	expect_decided(f, FLE_FOLLOWING, 3);
}

TEST_F(election, leads_when_the_others_vote_for_it, struct fx, up, down)
{
	hear(f, 1, FLE_LOOKING, 2, 10, 1, 1);
	timeout_at(f, 1200);
	expect_decided(f, FLE_LEADING, 2);
	EXPECT_STR(f->line, "[  1200] 2 timeout: quiet -> LEADING 2/a/1 r1");
}

TEST_F(election, a_quorum_of_one_elects_itself, struct fx, up, down)
{
	begin(f, "server.2=a:1:2", 2, 10, 1);
	expect_sent(f, 0, 0);
	timeout_at(f, 1200);
	expect_decided(f, FLE_LEADING, 2);
}

TEST_F(election, who_changes_its_mind_counts_no_more, struct fx, up_five, down)
{
	hear(f, 3, FLE_LOOKING, 2, 10, 1, 1);
	hear(f, 4, FLE_LOOKING, 2, 10, 1, 1);
	EXPECT_U(f->f.quiet_ms, ==, 1200);
	hear(f, 4, FLE_LOOKING, 4, 9, 1, 1); /* worse, but no longer ours */
	EXPECT_U(f->f.quiet_ms, ==, UINT64_MAX);
}

TEST_F(election, a_newer_round_begins_anew_with_the_better_of_two, struct fx, up_five, down)
{
	hear(f, 3, FLE_LOOKING, 3, 20, 1, 1);
	hear(f, 4, FLE_LOOKING, 3, 20, 1, 1);
	EXPECT_U(f->f.quiet_ms, !=, UINT64_MAX);
	hear(f, 1, FLE_LOOKING, 1, 5, 1, 7);
	expect_proposal(f, 2, 10, 1, 7); /* ours, not 3's of the old round */
	expect_sent(f, 4, 1);
	EXPECT_U(f->f.quiet_ms, ==, UINT64_MAX);
	hear(f, 5, FLE_LOOKING, 5, 15, 1, 8);
	expect_proposal(f, 5, 15, 1, 8);
	expect_sent(f, 4, 1);
}

/* 2.5.3 */
TEST_F(election, who_is_in_an_older_round_is_told, struct fx, up, down)
{
	hear(f, 1, FLE_LOOKING, 1, 10, 1, 5);
	hear(f, 3, FLE_LOOKING, 3, 99, 9, 4);
	expect_proposal(f, 2, 10, 1, 5);
	expect_sent(f, 1, 3);
	EXPECT_I(f->out.message.vote.leader, ==, 2);
	EXPECT_I(f->out.message.vote.round, ==, 5);
	EXPECT_I(f->out.message.state, ==, FLE_LOOKING);
}

TEST_F(election, says_it_again_ever_more_rarely, struct fx, up, down)
{
	uint64_t at = 1200, wait = 200;

	for (int i = 0; i < 12; i++) {
		EXPECT_U(f->out.deadline_ms, ==, at);
		timeout_at(f, at);
		expect_sent(f, 2, 1);
		wait = wait * 2 > 60000 ? 60000 : wait * 2;
		at += wait;
	}
	EXPECT_U(wait, ==, 60000);
	look(f, 10, 1); /* and as often as ever in the next election */
	EXPECT_U(f->out.deadline_ms, ==, f->now + 200);
	expect_proposal(f, 2, 10, 1, 2);
}

/* 2.5.2 */
TEST_F(election, strangers_and_observers_are_answered_and_not_counted, struct fx, up, down)
{
	hear(f, 1, FLE_LOOKING, 1, 10, 1, 4);
	hear(f, 6, FLE_LOOKING, INT64_MIN, INT64_MIN, INT64_MIN, 1);
	expect_sent(f, 1, 6);
	EXPECT_I(f->out.message.state, ==, FLE_LOOKING);
	EXPECT_I(f->out.message.vote.leader, ==, 2);
	EXPECT_I(f->out.message.vote.round, ==, 4);
	hear(f, 9, FLE_LOOKING, 9, 99, 9, 9); /* as of its round: it would answer an older one */
	expect_sent(f, 1, 9);
	EXPECT_I(f->out.message.vote.round, ==, 9);
	expect_proposal(f, 2, 10, 1, 4);
	EXPECT_U(f->f.n_heard, ==, 1);
	look(f, 10, 1);
	hear(f, 3, FLE_LOOKING, 3, 10, 1, 5);
	timeout_at(f, f->now + 200);
	hear(f, 9, FLE_FOLLOWING, 9, 99, 9, 9); /* wants nothing */
	expect_sent(f, 0, 0);
	hear(f, 9, FLE_LOOKING, 9, 99, 9, 9);
	expect_sent(f, 1, 9);
	EXPECT_I(f->out.message.vote.leader, ==, 3);
	EXPECT_I(f->out.message.state, ==, FLE_FOLLOWING);
	EXPECT_I(f->out.message.vote.round, ==, 5);
}

/* Servers that don't count each other's votes must not answer each other's answers for ever. */
TEST_F(election, strangers_are_answered_so_often, struct fx, up, down)
{
	uint32_t answered = 0;

	for (int i = 0; i < 100; i++) {
		hear(f, 9, FLE_LOOKING, 9, 99, 9, 9);
		answered += f->out.n_to;
	}
	EXPECT_U(answered, ==, FLE_STRANGERS_MAX);
	f->now += FLE_STRANGERS_MS;
	hear(f, 9, FLE_LOOKING, 9, 99, 9, 9);
	expect_sent(f, 1, 9);
}

TEST_F(election, who_does_not_vote_answers_nobody, struct fx, up, down)
{
	begin(f, three, 6, 99, 9);
	look(f, 99, 9);
	hear(f, 1, FLE_LOOKING, 1, 10, 1, 1); /* an older round */
	expect_sent(f, 0, 0);
	hear(f, 9, FLE_LOOKING, 1, 10, 1, 2);
	expect_sent(f, 0, 0);
	hear(f, 3, FLE_LEADING, 3, 10, 1, 2);
	hear(f, 1, FLE_FOLLOWING, 3, 10, 1, 2);
	expect_decided(f, FLE_OBSERVING, 3);
	hear(f, 1, FLE_LOOKING, 1, 10, 1, 3);
	expect_sent(f, 0, 0);
}

/* 2.5.4, 2.5.5 */
TEST_F(election, who_looks_is_told_the_stored_vote, struct fx, up, down)
{
	follow(f);
	EXPECT_I(step(f, (struct fle_event){.type = FLE_SERVING, .serving = {7}}), ==, 0);
	hear(f, 1, FLE_LOOKING, 1, 99, 9, 4);
	expect_sent(f, 1, 1);
	EXPECT_I(f->out.message.state, ==, FLE_FOLLOWING);
	EXPECT_I(f->out.message.vote.leader, ==, 3);
	EXPECT_I(f->out.message.vote.zxid, ==, 10);
	EXPECT_I(f->out.message.vote.round, ==, 1);
	EXPECT_I(f->out.message.vote.peer_epoch, ==, 7);
	hear(f, 1, FLE_FOLLOWING, 1, 99, 9, 4);
	expect_sent(f, 0, 0);
	EXPECT_I(f->f.vote.leader, ==, 3);
	EXPECT_U(f->out.deadline_ms, ==, UINT64_MAX);
}

TEST_F(election, votes_for_no_voter_are_ignored, struct fx, up, down)
{
	hear(f, 1, FLE_LOOKING, 6, 99, 9, 4);
	expect_proposal(f, 2, 10, 1, 1);
	hear(f, 1, FLE_LOOKING, INT64_MIN, 99, 9, 1);
	hear(f, 1, FLE_LEADING, 9, 99, 9, 1);
	hear(f, 3, FLE_FOLLOWING, 9, 99, 9, 1);
	expect_proposal(f, 2, 10, 1, 1);
	EXPECT_U(f->f.n_heard, ==, 0);
	hear(f, 1, FLE_OBSERVING, 3, 99, 9, 1);
	EXPECT_U(f->f.n_heard, ==, 0);
	hear(f, 2, FLE_LOOKING, 3, 99, 9, 1); /* ourselves */
	expect_proposal(f, 2, 10, 1, 1);
}

/* 2.6, FOLLOWING or LEADING */
TEST_F(election, joins_an_ensemble_of_another_round, struct fx, up_five, down)
{
	hear(f, 5, FLE_FOLLOWING, 4, 30, 7, 9);
	hear(f, 1, FLE_FOLLOWING, 4, 31, 7, 3);
	hear(f, 3, FLE_FOLLOWING, 4, 32, 7, 9);
	EXPECT_I(f->f.state, ==, FLE_LOOKING); /* a quorum, but the leader has not spoken */
	hear(f, 4, FLE_LEADING, 4, 33, 7, 11);
	expect_decided(f, FLE_FOLLOWING, 4);
	EXPECT_I(f->f.vote.zxid, ==, 33);
	EXPECT_I(f->f.vote.round, ==, 11);
	look(f, 10, 7);
	expect_proposal(f, 2, 10, 7, 12);
}

TEST_F(election, an_ensemble_needs_a_quorum_of_the_same_epoch, struct fx, up_five, down)
{
	hear(f, 4, FLE_LEADING, 4, 33, 7, 11);
	hear(f, 5, FLE_FOLLOWING, 4, 30, 7, 9);
	hear(f, 1, FLE_FOLLOWING, 4, 31, 6, 9); /* not refreshed */
	EXPECT_I(f->f.state, ==, FLE_LOOKING);
	hear_version(f, 1, FLE_FOLLOWING, 4, 31, 6, 9, 0); /* an old server: by leader alone */
	expect_decided(f, FLE_FOLLOWING, 4);
}

TEST_F(election, the_leader_itself_must_say_that_it_leads, struct fx, up, down)
{
	hear(f, 1, FLE_FOLLOWING, 3, 10, 1, 9);
	hear(f, 3, FLE_FOLLOWING, 3, 10, 1, 9);
	EXPECT_I(f->f.state, ==, FLE_LOOKING);
	hear(f, 3, FLE_LEADING, 3, 10, 1, 9);
	expect_decided(f, FLE_FOLLOWING, 3);
}

/* In the same round members count by leader alone, together with votes of who looks. */
TEST_F(election, joins_members_of_its_own_round, struct fx, up_five, down)
{
	hear(f, 4, FLE_LEADING, 4, 33, 7, 1);
	hear(f, 5, FLE_FOLLOWING, 4, 33, 1, 1);
	EXPECT_I(f->f.state, ==, FLE_LOOKING);
	hear(f, 1, FLE_FOLLOWING, 4, 33, 1, 1);
	expect_decided(f, FLE_FOLLOWING, 4);
	EXPECT_STR(f->out.why, "elected in this round");
	EXPECT_I(f->f.vote.peer_epoch, ==, 1);
}

TEST_F(election, a_vote_of_ours_counts_for_a_member_that_agrees, struct fx, up, down)
{
	hear(f, 1, FLE_LOOKING, 3, 10, 1, 1);
	expect_proposal(f, 3, 10, 1, 1);
	f->now = 1010;
	hear(f, 3, FLE_LEADING, 3, 10, 1, 1);
	expect_decided(f, FLE_FOLLOWING, 3); /* at once: 3 and we */
}

TEST_F(election, is_made_leader_by_members_only_in_their_round, struct fx, up, down)
{
	hear(f, 1, FLE_FOLLOWING, 2, 10, 1, 5);
	hear(f, 3, FLE_FOLLOWING, 2, 10, 1, 5);
	EXPECT_I(f->f.state, ==, FLE_LOOKING);
	look(f, 10, 1);
	hear(f, 1, FLE_FOLLOWING, 2, 10, 1, 2);
	expect_decided(f, FLE_LEADING, 2);
}

/* 2.6, zxid -1 */
TEST_F(election, who_may_have_lost_data_elects_nobody, struct fx, up, down)
{
	look(f, -1, 1);
	EXPECT_I(f->out.message.vote.zxid, ==, -1);
	hear(f, 1, FLE_LOOKING, 2, -1, 1, 2);
	hear(f, 3, FLE_LOOKING, 3, 10, 1, 2);
	hear(f, 1, FLE_LOOKING, 3, 10, 1, 2);
	expect_proposal(f, 2, -1, 1, 2);
	timeout_at(f, f->now + 200);
	EXPECT_TRUE(!f->out.decided);
	hear(f, 3, FLE_LEADING, 3, 10, 1, 2);
	hear(f, 1, FLE_FOLLOWING, 3, 10, 1, 2);
	expect_decided(f, FLE_FOLLOWING, 3);
	look(f, 10, 1);
	hear(f, 1, FLE_LOOKING, 1, -1, 1, 3); /* nor is its vote counted */
	EXPECT_U(f->f.n_heard, ==, 0);
}

TEST_F(election, alone_it_does_not_elect_itself_without_its_data, struct fx, up, down)
{
	begin(f, "server.2=a:1:2", 2, -1, 1);
	timeout_at(f, 1200);
	EXPECT_TRUE(!f->out.decided);
}

/* 2.4: a server of weight 0 is never elected. */
TEST_F(election, weight_zero_is_never_elected, struct fx, up, down)
{
	begin(f, "server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\ngroup.1=1:2:3\nweight.3=0", 2, 10,
	      1);
	hear(f, 3, FLE_LOOKING, 3, 99, 9, 1);
	expect_proposal(f, 2, 10, 1, 1);
	hear(f, 3, FLE_LOOKING, 2, 10, 1, 1);
	EXPECT_U(f->f.quiet_ms, ==, UINT64_MAX); /* its vote has no weight, either */
	hear(f, 1, FLE_LOOKING, 2, 10, 1, 1);
	EXPECT_U(f->f.quiet_ms, !=, UINT64_MAX);
	begin(f, "server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\ngroup.1=1:2:3\nweight.2=0", 2, 10,
	      1);
	hear(f, 1, FLE_LOOKING, 1, 11, 1, 1);
	expect_proposal(f, 1, 11, 1, 1);
}

/* 2.8 */
TEST_F(election, an_observer_has_the_least_vote, struct fx, up, down)
{
	begin(f, three, 6, 99, 9);
	expect_sent(f, 3, 1);
	EXPECT_I(f->out.message.vote.leader, ==, INT64_MIN);
	EXPECT_I(f->out.message.vote.zxid, ==, INT64_MIN);
	EXPECT_I(f->out.message.vote.peer_epoch, ==, INT64_MIN);
	EXPECT_STR(f->line, "[  1000] 6 looks 63/9: begins -> LOOKING nobody r1 > 1 2 3 @1200");
	hear(f, 3, FLE_LEADING, 3, 10, 1, 4);
	hear(f, 1, FLE_FOLLOWING, 3, 10, 1, 4);
	expect_decided(f, FLE_OBSERVING, 3);
}

TEST_F(election, an_observer_believes_a_quorum_that_looks, struct fx, up, down)
{
	begin(f, three, 6, 0, 0);
	hear(f, 3, FLE_LOOKING, 3, 10, 1, 1);
	EXPECT_U(f->f.quiet_ms, ==, UINT64_MAX); /* its own vote is none */
	hear(f, 1, FLE_LOOKING, 3, 10, 1, 1);
	timeout_at(f, 1200);
	expect_decided(f, FLE_OBSERVING, 3);
}

TEST_F(election, an_observer_waits_before_it_looks_again, struct fx, up, down)
{
	uint64_t seen = 0;

	begin(f, three, 6, 0, 0);
	for (int i = 0; i < 50; i++) {
		hear(f, 3, FLE_LEADING, 3, 10, 1, 1);
		hear(f, 1, FLE_FOLLOWING, 3, 10, 1, 1);
		REQUIRE(EXPECT_I(f->f.state, ==, FLE_OBSERVING));
		look(f, 0, 0);
		EXPECT_I(f->f.state, ==, FLE_LOOKING);
		expect_sent(f, 0, 0);
		EXPECT_U(f->out.deadline_ms, <, f->now + 200);
		seen |= UINT64_C(1) << (f->out.deadline_ms - f->now) / 10;
		hear(f, 3, FLE_LEADING, 3, 10, 1, 1);
		EXPECT_STR(f->out.why, "ignored");
		timeout_at(f, f->out.deadline_ms);
		expect_sent(f, 3, 1);
	}
	EXPECT_I(__builtin_popcountll(seen), >, 10);
}

/* A participant that no configuration names yet: it votes for nobody and follows. */
TEST_F(election, a_joiner_follows_without_a_vote, struct fx, up, down)
{
	struct fle_options options = fle_defaults(9, QUORUM_PARTICIPANT, 1);

	fle_init(&f->f, &options, &f->config, NULL);
	look(f, 50, 1);
	EXPECT_I(f->out.message.vote.leader, ==, INT64_MIN);
	EXPECT_I(f->out.message.vote.zxid, ==, 50);
	hear(f, 1, FLE_LOOKING, 3, 60, 1, 1);
	EXPECT_U(f->f.quiet_ms, ==, UINT64_MAX);
	hear(f, 3, FLE_LOOKING, 3, 60, 1, 1);
	timeout_at(f, 1200);
	expect_decided(f, FLE_FOLLOWING, 3);
}

TEST_F(election, who_connects_is_told, struct fx, up, down)
{
	EXPECT_I(step(f, (struct fle_event){.type = FLE_CONNECTED, .connected = {1}}), ==, 0);
	expect_sent(f, 1, 1);
	EXPECT_I(f->out.message.vote.leader, ==, 2);
	EXPECT_I(step(f, (struct fle_event){.type = FLE_CONNECTED, .connected = {6}}), ==, 0);
	expect_sent(f, 0, 0); /* observers ask */
	follow(f);
	EXPECT_I(step(f, (struct fle_event){.type = FLE_CONNECTED, .connected = {1}}), ==, 0);
	expect_sent(f, 1, 1);
	EXPECT_I(f->out.message.state, ==, FLE_FOLLOWING);
	EXPECT_I(f->out.message.vote.leader, ==, 3);
}

static int configure(struct fx *f, const struct quorum_config *c, const struct quorum_config *next)
{
	return step(
	    f, (struct fle_event){.type = FLE_CONFIG, .config = {c, next, QUORUM_PARTICIPANT}});
}

/* 2.5.1 */
TEST_F(election, hears_of_a_newer_configuration, struct fx, up, down)
{
	static const char newer[] = "server.2=a:1:2\nserver.3=a:1:2\nserver.4=a:1:2\nversion=2";
	struct fle_notification n = {FLE_LOOKING, {4, 5, 1, 1}, 2, jute_text(newer)};
	struct fle_event event = {.type = FLE_RECEIVE, .receive = {4, &n}};

	EXPECT_I(step(f, event), ==, 0); /* reconfiguration is off */
	EXPECT_TRUE(!f->out.config);
	f->f.options.reconfig = true;
	EXPECT_I(step(f, event), ==, 0);
	REQUIRE(EXPECT_TRUE(f->out.config));
	expect_sent(f, 0, 0);
	f->other = *f->out.config;
	EXPECT_I(configure(f, &f->other, NULL), ==, 0);
	expect_proposal(f, 2, 10, 1, 2);
	REQUIRE(EXPECT_U(f->out.n_to, ==, 2));
	EXPECT_MEM(f->out.to, ((const int64_t[]){3, 4}), 16);
	EXPECT_I(step(f, event), ==, 0);
	EXPECT_TRUE(!f->out.config);
	expect_sent(f, 1, 4); /* a voter now, in an older round */
	/* Not while there is a leader, and not from what is no configuration. */
	n = (struct fle_notification){FLE_LOOKING, {2, 10, 2, 1}, 2, jute_text("version=9")};
	EXPECT_I(step(f, event), ==, 0);
	EXPECT_TRUE(!f->out.config);
	timeout_at(f, f->now + 200);
	expect_decided(f, FLE_LEADING, 2);
	n.config = jute_text("server.2=a:1:2\nversion=9");
	EXPECT_I(step(f, event), ==, 0);
	EXPECT_TRUE(!f->out.config);
}

TEST_F(election, both_configurations_must_agree_while_one_is_newer, struct fx, up, down)
{
	static const char next[] = "server.2=a:1:2\nserver.3=a:1:2\nserver.4=a:1:2\n"
				   "server.5=a:1:2\nversion=2";

	CHECK(quorum_config_parse(&f->other, next, strlen(next), NULL) == 0);
	EXPECT_I(configure(f, &f->config, &f->other), ==, 0);
	REQUIRE(EXPECT_U(f->out.n_to, ==, 4));
	EXPECT_MEM(f->out.to, ((const int64_t[]){1, 3, 4, 5}), 32);
	hear(f, 1, FLE_LOOKING, 2, 10, 1, 2);
	EXPECT_U(f->f.quiet_ms, ==, UINT64_MAX); /* of the old ones only */
	hear(f, 3, FLE_LOOKING, 2, 10, 1, 2);
	EXPECT_U(f->f.quiet_ms, ==, UINT64_MAX);
	hear(f, 4, FLE_LOOKING, 2, 10, 1, 2);
	EXPECT_U(f->f.quiet_ms, !=, UINT64_MAX);
	hear(f, 5, FLE_LOOKING, 5, 10, 1, 2); /* a voter of the next one may be elected */
	expect_proposal(f, 5, 10, 1, 2);
}

TEST_F(election, a_configuration_changes_nothing_for_who_has_a_leader, struct fx, up, down)
{
	follow(f);
	CHECK(quorum_config_parse(&f->other, five, strlen(five), NULL) == 0);
	EXPECT_I(configure(f, &f->other, NULL), ==, 0);
	EXPECT_I(f->f.state, ==, FLE_FOLLOWING);
	expect_sent(f, 0, 0);
	hear(f, 5, FLE_LOOKING, 5, 99, 9, 9);
	expect_sent(f, 1, 5);
}

TEST_F(election, a_reconfiguration_may_appoint, struct fx, up, down)
{
	follow(f);
	EXPECT_I(step(f, (struct fle_event){.type = FLE_APPOINT, .appoint = {FLE_LEADING, 2, 77}}),
		 ==, 0);
	EXPECT_I(f->f.state, ==, FLE_LEADING);
	EXPECT_I(f->f.vote.leader, ==, 2);
	EXPECT_I(f->f.vote.zxid, ==, 77);
	EXPECT_I(f->f.vote.round, ==, 1);
	EXPECT_I(
	    step(f, (struct fle_event){.type = FLE_APPOINT, .appoint = {FLE_FOLLOWING, 1, 78}}), ==,
	    0);
	EXPECT_I(f->f.state, ==, FLE_FOLLOWING);
}

TEST_F(election, refuses_what_cannot_be, struct fx, up, down)
{
	struct fle before;

	memcpy(&before, &f->f, sizeof(before));
	EXPECT_I(step(f, (struct fle_event){.type = FLE_SERVING, .serving = {7}}), ==, -EPROTO);
	EXPECT_I(step(f, (struct fle_event){.type = FLE_APPOINT, .appoint = {FLE_LEADING, 2, 77}}),
		 ==, -EPROTO);
	f->now = 999;
	EXPECT_I(step(f, (struct fle_event){.type = FLE_TIMEOUT}), ==, -EPROTO);
	EXPECT_MEM(&f->f, &before, sizeof(before));
	f->now = 1000;
	follow(f);
	EXPECT_I(step(f, (struct fle_event){.type = FLE_APPOINT, .appoint = {FLE_LEADING, 3, 77}}),
		 ==, -EPROTO);
	EXPECT_I(
	    step(f, (struct fle_event){.type = FLE_APPOINT, .appoint = {FLE_FOLLOWING, 9, 77}}), ==,
	    -EPROTO);
	EXPECT_I(step(f, (struct fle_event){.type = FLE_APPOINT, .appoint = {FLE_LOOKING, 3, 77}}),
		 ==, -EPROTO);
}

TEST_F(election, is_deaf_before_it_looks, struct fx, up, down)
{
	struct fle_options options = fle_defaults(2, QUORUM_PARTICIPANT, 1);

	fle_init(&f->f, &options, &f->config, NULL);
	hear(f, 3, FLE_LOOKING, 3, 10, 1, 1);
	expect_sent(f, 0, 0);
	EXPECT_I(step(f, (struct fle_event){.type = FLE_CONNECTED, .connected = {1}}), ==, 0);
	expect_sent(f, 0, 0);
	timeout_at(f, 5000);
	expect_sent(f, 0, 0);
	EXPECT_U(f->out.deadline_ms, ==, UINT64_MAX);
}

/* A round that could not be counted further would stop all elections for ever. */
TEST_F(election, absurd_rounds_are_ignored, struct fx, up, down)
{
	hear(f, 1, FLE_LOOKING, 1, 10, 1, INT64_MAX);
	expect_proposal(f, 2, 10, 1, 1);
	hear(f, 1, FLE_LEADING, 1, 10, 1, FLE_ROUND_MAX + 1);
	hear(f, 3, FLE_FOLLOWING, 1, 10, 1, FLE_ROUND_MAX + 1);
	expect_proposal(f, 2, 10, 1, 1);
	hear(f, 1, FLE_LOOKING, 1, 10, 1, FLE_ROUND_MAX);
	expect_proposal(f, 2, 10, 1, FLE_ROUND_MAX);
	hear(f, 1, FLE_LOOKING, 1, 10, 1, INT64_MIN);
	expect_sent(f, 1, 1);
	look(f, 10, 1);
	expect_proposal(f, 2, 10, 1, FLE_ROUND_MAX + 1);
}

TEST_F(election, a_short_buffer_gets_what_fits_of_the_trace, struct fx, up, down)
{
	struct fle_event event = {.type = FLE_TIMEOUT, .now_ms = 1000};
	char small[12];

	EXPECT_I(fle_step(&f->f, &event, &f->out), ==, 0);
	EXPECT_U(fle_trace(&f->f, &event, &f->out, small, sizeof(small)), ==, 11);
	EXPECT_STR(small, "[  1000] 2 ");
}

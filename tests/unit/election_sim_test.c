/* Whole elections: their traces, line by line, and thousands of seeds of faults. */
#include "tests/unit/election_sim.h"

#include "tests/t.h"

static const char three[] = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\n"
			    "server.3=c:1:2:participant\nversion=1";
static const char five[] = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\n"
			   "server.3=c:1:2:participant\nserver.4=d:1:2:participant\n"
			   "server.5=e:1:2:participant\nversion=1";
static const char observed[] = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\n"
			       "server.3=c:1:2:participant\nserver.4=d:1:2:observer\nversion=1";
static const char weighed[] =
    "server.1=a:1:2:participant\nserver.2=b:1:2:participant\n"
    "server.3=c:1:2:participant\nserver.4=d:1:2:participant\n"
    "server.5=e:1:2:participant\nserver.6=f:1:2:participant\nserver.7=g:1:2:observer\n"
    "group.1=1:2\ngroup.2=3:4\ngroup.3=5:6\nweight.2=0\nweight.4=3\nweight.6=2\nversion=1";

struct fx {
	struct sim s;
};

static void up(struct fx *f)
{
	(void)f;
}

static void down(struct fx *f)
{
	(void)f;
}

static void init_traced(struct fx *f, const char *config)
{
	sim_init(&f->s, config, 1);
	f->s.tracing = true;
}

static void expect_trace(struct fx *f, const char *want)
{
	EXPECT_STR(f->s.broken ? f->s.broken : "", "");
	EXPECT_STR(f->s.trace, want);
}

/* Three servers with the same data: the greatest sid wins, 200 ms after the last vote. */
TEST_F(election_sim, trace_of_three_that_start_together, struct fx, up, down)
{
	init_traced(f, three);
	for (int64_t sid = 1; sid <= 3; sid++)
		sim_up(&f->s, sid, 0x100000005, 1);
	sim_run(&f->s, 400);
	EXPECT_I(sim_leader(&f->s), ==, 3);
	expect_trace(
	    f, "[     0] 1 looks 100000005/1: begins -> LOOKING 1/100000005/1 r1 > 2 3 @200\n"
	       "[     0] 2 looks 100000005/1: begins -> LOOKING 2/100000005/1 r1 > 1 3 @200\n"
	       "[     0] 3 looks 100000005/1: begins -> LOOKING 3/100000005/1 r1 > 1 2 @200\n"
	       "[     1] 1 < 2 LOOKING 2/100000005/1 r1: better vote -> LOOKING 2/100000005/1 r1 > "
	       "2 3 @201\n"
	       "[     1] 1 < 3 LOOKING 3/100000005/1 r1: better vote -> LOOKING 3/100000005/1 r1 > "
	       "2 3 @201\n"
	       "[     1] 2 < 3 LOOKING 3/100000005/1 r1: better vote -> LOOKING 3/100000005/1 r1 > "
	       "1 3 @201\n"
	       "[     2] 2 < 1 LOOKING 2/100000005/1 r1: worse vote, answered -> LOOKING "
	       "3/100000005/1 r1 > 1 @202\n"
	       "[     2] 3 < 1 LOOKING 2/100000005/1 r1: worse vote, answered -> LOOKING "
	       "3/100000005/1 r1 > 1 @200\n"
	       "[     2] 2 < 1 LOOKING 3/100000005/1 r1: counted -> LOOKING 3/100000005/1 r1 @202\n"
	       "[     2] 3 < 1 LOOKING 3/100000005/1 r1: counted -> LOOKING 3/100000005/1 r1 @202\n"
	       "[     2] 1 < 2 LOOKING 3/100000005/1 r1: counted -> LOOKING 3/100000005/1 r1 @202\n"
	       "[     2] 3 < 2 LOOKING 3/100000005/1 r1: counted -> LOOKING 3/100000005/1 r1 @202\n"
	       "[     3] 1 < 2 LOOKING 3/100000005/1 r1: heard before -> LOOKING 3/100000005/1 r1 "
	       "@202\n"
	       "[     3] 1 < 3 LOOKING 3/100000005/1 r1: heard before -> LOOKING 3/100000005/1 r1 "
	       "@202\n"
	       "[    31] 1 connected to 2: told -> LOOKING 3/100000005/1 r1 > 2 @202\n"
	       "[    31] 1 connected to 3: told -> LOOKING 3/100000005/1 r1 > 3 @202\n"
	       "[    31] 2 connected to 3: told -> LOOKING 3/100000005/1 r1 > 3 @202\n"
	       "[    32] 2 < 1 LOOKING 3/100000005/1 r1: heard before -> LOOKING 3/100000005/1 r1 "
	       "@202\n"
	       "[    32] 3 < 1 LOOKING 3/100000005/1 r1: heard before -> LOOKING 3/100000005/1 r1 "
	       "@202\n"
	       "[    32] 3 < 2 LOOKING 3/100000005/1 r1: heard before -> LOOKING 3/100000005/1 r1 "
	       "@202\n"
	       "[   202] 1 timeout: quiet -> FOLLOWING 3/100000005/1 r1\n"
	       "[   202] 2 timeout: quiet -> FOLLOWING 3/100000005/1 r1\n"
	       "[   202] 3 timeout: quiet -> LEADING 3/100000005/1 r1\n"
	       "[   300] 3 serving epoch 2: current epoch -> LEADING 3/100000005/2 r1\n"
	       "[   400] 1 serving epoch 2: current epoch -> FOLLOWING 3/100000005/2 r1\n"
	       "[   400] 2 serving epoch 2: current epoch -> FOLLOWING 3/100000005/2 r1\n");
}

/* The leader dies: the others look again, and the one with more data wins. */
TEST_F(election_sim, trace_of_a_leader_s_death, struct fx, up, down)
{
	sim_init(&f->s, three, 1);
	sim_up(&f->s, 1, 0x100000005, 1);
	sim_up(&f->s, 2, 0x100000005, 1);
	sim_up(&f->s, 3, 0x100000005, 1);
	sim_run(&f->s, 1000);
	EXPECT_I(sim_leader(&f->s), ==, 3);
	f->s.server[0].zxid++; /* logged by 1 alone */
	f->s.tracing = true;
	sim_down(&f->s, 3);
	sim_run(&f->s, 1000);
	EXPECT_I(sim_leader(&f->s), ==, 1);
	expect_trace(
	    f,
	    "[  1500] 1 looks 200000001/2: begins -> LOOKING 1/200000001/2 r2 > 2 3 @1700\n"
	    "[  1500] 2 looks 200000000/2: begins -> LOOKING 2/200000000/2 r2 > 1 3 @1700\n"
	    "[  1501] 2 < 1 LOOKING 1/200000001/2 r2: better vote -> LOOKING 1/200000001/2 r2 > 1 "
	    "3 @1701\n"
	    "[  1501] 1 < 2 LOOKING 2/200000000/2 r2: worse vote, answered -> LOOKING "
	    "1/200000001/2 r2 > 2 @1700\n"
	    "[  1502] 1 < 2 LOOKING 1/200000001/2 r2: counted -> LOOKING 1/200000001/2 r2 @1702\n"
	    "[  1502] 2 < 1 LOOKING 1/200000001/2 r2: heard before -> LOOKING 1/200000001/2 r2 "
	    "@1701\n"
	    "[  1701] 2 timeout: quiet -> FOLLOWING 1/200000001/2 r2\n"
	    "[  1702] 1 timeout: quiet -> LEADING 1/200000001/2 r2\n"
	    "[  1800] 1 serving epoch 3: current epoch -> LEADING 1/200000001/3 r2\n"
	    "[  1800] 2 serving epoch 3: current epoch -> FOLLOWING 1/200000001/3 r2\n");
}

/* Who comes late, with however good a vote, finds an ensemble and joins it. */
TEST_F(election_sim, trace_of_a_late_joiner, struct fx, up, down)
{
	sim_init(&f->s, three, 1);
	sim_up(&f->s, 1, 0x100000005, 1);
	sim_up(&f->s, 2, 0x100000005, 1);
	sim_run(&f->s, 1000);
	EXPECT_I(sim_leader(&f->s), ==, 2);
	f->s.tracing = true;
	sim_up(&f->s, 3, 0x900000000, 9);
	sim_run(&f->s, 300);
	EXPECT_I(sim_leader(&f->s), ==, 2);
	expect_trace(
	    f,
	    "[  1000] 3 looks 900000000/9: begins -> LOOKING 3/900000000/9 r1 > 1 2 @1200\n"
	    "[  1001] 1 < 3 LOOKING 3/900000000/9 r1: answered -> FOLLOWING 2/100000005/2 r1 > 3\n"
	    "[  1001] 2 < 3 LOOKING 3/900000000/9 r1: answered -> LEADING 2/100000005/2 r1 > 3\n"
	    "[  1002] 3 < 1 FOLLOWING 2/100000005/2 r1: counted -> LOOKING 3/900000000/9 r1 @1200\n"
	    "[  1002] 3 < 2 LEADING 2/100000005/2 r1: elected in this round -> FOLLOWING "
	    "2/100000005/2 r1\n"
	    "[  1031] 1 connected to 3: told -> FOLLOWING 2/100000005/2 r1 > 3\n"
	    "[  1031] 2 connected to 3: told -> LEADING 2/100000005/2 r1 > 3\n"
	    "[  1032] 3 < 1 FOLLOWING 2/100000005/2 r1: ignored -> FOLLOWING 2/100000005/2 r1\n"
	    "[  1032] 3 < 2 LEADING 2/100000005/2 r1: ignored -> FOLLOWING 2/100000005/2 r1\n"
	    "[  1100] 3 serving epoch 2: current epoch -> FOLLOWING 2/100000005/2 r1\n");
}

/* Five with different data, one of them dead, on a slow network. */
TEST_F(election_sim, trace_of_four_of_five, struct fx, up, down)
{
	init_traced(f, five);
	f->s.delay_min_ms = 10;
	f->s.delay_max_ms = 40;
	sim_up(&f->s, 1, 0x100000005, 1);
	sim_up(&f->s, 2, 0x200000001, 2);
	sim_up(&f->s, 4, 0x200000000, 2);
	sim_up(&f->s, 5, 0x100000009, 1);
	sim_run(&f->s, 400);
	EXPECT_I(sim_leader(&f->s), ==, 2);
	expect_trace(
	    f, "[     0] 1 looks 100000005/1: begins -> LOOKING 1/100000005/1 r1 > 2 3 4 5 @200\n"
	       "[     0] 2 looks 200000001/2: begins -> LOOKING 2/200000001/2 r1 > 1 3 4 5 @200\n"
	       "[     0] 4 looks 200000000/2: begins -> LOOKING 4/200000000/2 r1 > 1 2 3 5 @200\n"
	       "[     0] 5 looks 100000009/1: begins -> LOOKING 5/100000009/1 r1 > 1 2 3 4 @200\n"
	       "[    16] 2 < 4 LOOKING 4/200000000/2 r1: worse vote, answered -> LOOKING "
	       "2/200000001/2 r1 > 4 @200\n"
	       "[    24] 1 < 4 LOOKING 4/200000000/2 r1: better vote -> LOOKING 4/200000000/2 r1 > "
	       "2 3 4 5 @224\n"
	       "[    31] 1 < 5 LOOKING 5/100000009/1 r1: worse vote, answered -> LOOKING "
	       "4/200000000/2 r1 > 5 @224\n"
	       "[    31] 4 < 5 LOOKING 5/100000009/1 r1: worse vote, answered -> LOOKING "
	       "4/200000000/2 r1 > 5 @200\n"
	       "[    32] 4 < 2 LOOKING 2/200000001/2 r1: better vote -> LOOKING 2/200000001/2 r1 > "
	       "1 2 3 5 @232\n"
	       "[    33] 1 < 2 LOOKING 2/200000001/2 r1: better vote -> LOOKING 2/200000001/2 r1 > "
	       "2 3 4 5 @233\n"
	       "[    33] 2 < 5 LOOKING 5/100000009/1 r1: worse vote, answered -> LOOKING "
	       "2/200000001/2 r1 > 5 @200\n"
	       "[    40] 1 connected to 5: told -> LOOKING 2/200000001/2 r1 > 5 @233\n"
	       "[    43] 2 connected to 4: told -> LOOKING 2/200000001/2 r1 > 4 @200\n"
	       "[    43] 2 connected to 5: told -> LOOKING 2/200000001/2 r1 > 5 @200\n"
	       "[    44] 1 connected to 2: told -> LOOKING 2/200000001/2 r1 > 2 @233\n"
	       "[    47] 4 < 1 LOOKING 4/200000000/2 r1: worse vote, answered -> LOOKING "
	       "2/200000001/2 r1 > 1 @232\n"
	       "[    50] 4 < 1 LOOKING 2/200000001/2 r1: counted -> LOOKING 2/200000001/2 r1 @250\n"
	       "[    51] 1 < 4 LOOKING 2/200000001/2 r1: counted -> LOOKING 2/200000001/2 r1 @251\n"
	       "[    54] 5 < 1 LOOKING 4/200000000/2 r1: better vote -> LOOKING 4/200000000/2 r1 > "
	       "1 2 3 4 @254\n"
	       "[    54] 5 < 1 LOOKING 4/200000000/2 r1: heard before -> LOOKING 4/200000000/2 r1 "
	       "@254\n"
	       "[    57] 1 connected to 4: told -> LOOKING 2/200000001/2 r1 > 4 @251\n"
	       "[    57] 2 < 1 LOOKING 4/200000000/2 r1: worse vote, answered -> LOOKING "
	       "2/200000001/2 r1 > 1 @200\n"
	       "[    57] 2 < 1 LOOKING 2/200000001/2 r1: counted -> LOOKING 2/200000001/2 r1 @200\n"
	       "[    60] 2 < 4 LOOKING 2/200000001/2 r1: counted -> LOOKING 2/200000001/2 r1 @260\n"
	       "[    63] 2 < 1 LOOKING 2/200000001/2 r1: heard before -> LOOKING 2/200000001/2 r1 "
	       "@260\n"
	       "[    66] 5 < 2 LOOKING 2/200000001/2 r1: better vote -> LOOKING 2/200000001/2 r1 > "
	       "1 2 3 4 @266\n"
	       "[    66] 5 < 2 LOOKING 2/200000001/2 r1: heard before -> LOOKING 2/200000001/2 r1 "
	       "@266\n"
	       "[    69] 5 < 4 LOOKING 4/200000000/2 r1: worse vote, answered -> LOOKING "
	       "2/200000001/2 r1 > 4 @266\n"
	       "[    69] 5 < 4 LOOKING 2/200000001/2 r1: counted -> LOOKING 2/200000001/2 r1 @269\n"
	       "[    70] 4 connected to 5: told -> LOOKING 2/200000001/2 r1 > 5 @250\n"
	       "[    70] 5 < 1 LOOKING 2/200000001/2 r1: counted -> LOOKING 2/200000001/2 r1 @270\n"
	       "[    71] 5 < 1 LOOKING 2/200000001/2 r1: heard before -> LOOKING 2/200000001/2 r1 "
	       "@270\n"
	       "[    72] 1 < 4 LOOKING 2/200000001/2 r1: heard before -> LOOKING 2/200000001/2 r1 "
	       "@251\n"
	       "[    73] 4 < 5 LOOKING 4/200000000/2 r1: worse vote, answered -> LOOKING "
	       "2/200000001/2 r1 > 5 @273\n"
	       "[    73] 4 < 1 LOOKING 2/200000001/2 r1: heard before -> LOOKING 2/200000001/2 r1 "
	       "@273\n"
	       "[    81] 1 < 5 LOOKING 4/200000000/2 r1: worse vote, answered -> LOOKING "
	       "2/200000001/2 r1 > 5 @281\n"
	       "[    81] 1 < 5 LOOKING 2/200000001/2 r1: counted -> LOOKING 2/200000001/2 r1 @281\n"
	       "[    82] 4 < 2 LOOKING 2/200000001/2 r1: heard before -> LOOKING 2/200000001/2 r1 "
	       "@273\n"
	       "[    84] 2 < 5 LOOKING 4/200000000/2 r1: worse vote, answered -> LOOKING "
	       "2/200000001/2 r1 > 5 @284\n"
	       "[    92] 1 < 2 LOOKING 2/200000001/2 r1: heard before -> LOOKING 2/200000001/2 r1 "
	       "@281\n"
	       "[    95] 5 < 4 LOOKING 2/200000001/2 r1: heard before -> LOOKING 2/200000001/2 r1 "
	       "@270\n"
	       "[    95] 5 < 4 LOOKING 2/200000001/2 r1: heard before -> LOOKING 2/200000001/2 r1 "
	       "@270\n"
	       "[    99] 2 < 5 LOOKING 2/200000001/2 r1: counted -> LOOKING 2/200000001/2 r1 @299\n"
	       "[   106] 4 < 5 LOOKING 2/200000001/2 r1: counted -> LOOKING 2/200000001/2 r1 @306\n"
	       "[   106] 4 < 5 LOOKING 2/200000001/2 r1: heard before -> LOOKING 2/200000001/2 r1 "
	       "@306\n"
	       "[   110] 5 < 1 LOOKING 2/200000001/2 r1: heard before -> LOOKING 2/200000001/2 r1 "
	       "@270\n"
	       "[   111] 5 < 2 LOOKING 2/200000001/2 r1: heard before -> LOOKING 2/200000001/2 r1 "
	       "@270\n"
	       "[   270] 5 timeout: quiet -> FOLLOWING 2/200000001/2 r1\n"
	       "[   281] 1 timeout: quiet -> FOLLOWING 2/200000001/2 r1\n"
	       "[   299] 2 timeout: quiet -> LEADING 2/200000001/2 r1\n"
	       "[   300] 2 serving epoch 3: current epoch -> LEADING 2/200000001/3 r1\n"
	       "[   300] 5 serving epoch 3: current epoch -> FOLLOWING 2/200000001/3 r1\n"
	       "[   306] 4 timeout: quiet -> FOLLOWING 2/200000001/2 r1\n"
	       "[   400] 1 serving epoch 3: current epoch -> FOLLOWING 2/200000001/3 r1\n"
	       "[   400] 4 serving epoch 3: current epoch -> FOLLOWING 2/200000001/3 r1\n");
}

/* An observer finds out whom the voters elected; it has no vote, and voters don't tell it unasked.
 */
TEST_F(election_sim, trace_of_an_observer, struct fx, up, down)
{
	sim_init(&f->s, observed, 1);
	for (int64_t sid = 1; sid <= 3; sid++)
		sim_up(&f->s, sid, 0x100000005, 1);
	sim_run(&f->s, 1000);
	f->s.tracing = true;
	sim_up(&f->s, 4, 0x500000000, 5);
	sim_run(&f->s, 300);
	sim_note(&f->s, "the leader dies");
	sim_down(&f->s, 3);
	sim_run(&f->s, 1500);
	EXPECT_I(sim_leader(&f->s), ==, 2);
	expect_trace(
	    f,
	    "[  1000] 4 looks 500000000/5: begins -> LOOKING nobody r1 > 1 2 3 @1200\n"
	    "[  1001] 1 < 4 LOOKING nobody r1: no voter, answered -> FOLLOWING 3/100000005/2 r1 > "
	    "4\n"
	    "[  1001] 2 < 4 LOOKING nobody r1: no voter, answered -> FOLLOWING 3/100000005/2 r1 > "
	    "4\n"
	    "[  1001] 3 < 4 LOOKING nobody r1: no voter, answered -> LEADING 3/100000005/2 r1 > 4\n"
	    "[  1002] 4 < 1 FOLLOWING 3/100000005/2 r1: counted -> LOOKING nobody r1 @1200\n"
	    "[  1002] 4 < 2 FOLLOWING 3/100000005/2 r1: counted -> LOOKING nobody r1 @1200\n"
	    "[  1002] 4 < 3 LEADING 3/100000005/2 r1: elected in this round -> OBSERVING "
	    "3/100000005/2 r1\n"
	    "[  1100] 4 serving epoch 2: current epoch -> OBSERVING 3/100000005/2 r1\n"
	    "the leader dies\n"
	    "[  1800] 1 looks 200000000/2: begins -> LOOKING 1/200000000/2 r2 > 2 3 @2000\n"
	    "[  1800] 2 looks 200000000/2: begins -> LOOKING 2/200000000/2 r2 > 1 3 @2000\n"
	    "[  1800] 4 looks 200000000/2: waits -> LOOKING 3/100000005/2 r1 @1933\n"
	    "[  1801] 2 < 1 LOOKING 1/200000000/2 r2: worse vote, answered -> LOOKING "
	    "2/200000000/2 r2 > 1 @2000\n"
	    "[  1801] 1 < 2 LOOKING 2/200000000/2 r2: better vote -> LOOKING 2/200000000/2 r2 > 2 "
	    "3 @2001\n"
	    "[  1802] 1 < 2 LOOKING 2/200000000/2 r2: heard before -> LOOKING 2/200000000/2 r2 "
	    "@2001\n"
	    "[  1802] 2 < 1 LOOKING 2/200000000/2 r2: counted -> LOOKING 2/200000000/2 r2 @2002\n"
	    "[  1933] 4 timeout: begins -> LOOKING nobody r2 > 1 2 3 @2133\n"
	    "[  1934] 1 < 4 LOOKING nobody r2: no voter, answered -> LOOKING 2/200000000/2 r2 > 4 "
	    "@2001\n"
	    "[  1934] 2 < 4 LOOKING nobody r2: no voter, answered -> LOOKING 2/200000000/2 r2 > 4 "
	    "@2002\n"
	    "[  1935] 4 < 1 LOOKING 2/200000000/2 r2: better vote -> LOOKING 2/200000000/2 r2 > 1 "
	    "2 3 @2135\n"
	    "[  1935] 4 < 2 LOOKING 2/200000000/2 r2: counted -> LOOKING 2/200000000/2 r2 @2135\n"
	    "[  1936] 1 < 4 LOOKING 2/200000000/2 r2: no voter, answered -> LOOKING 2/200000000/2 "
	    "r2 > 4 @2001\n"
	    "[  1936] 2 < 4 LOOKING 2/200000000/2 r2: no voter, answered -> LOOKING 2/200000000/2 "
	    "r2 > 4 @2002\n"
	    "[  1937] 4 < 1 LOOKING 2/200000000/2 r2: heard before -> LOOKING 2/200000000/2 r2 "
	    "@2135\n"
	    "[  1937] 4 < 2 LOOKING 2/200000000/2 r2: heard before -> LOOKING 2/200000000/2 r2 "
	    "@2135\n"
	    "[  2001] 1 timeout: quiet -> FOLLOWING 2/200000000/2 r2\n"
	    "[  2002] 2 timeout: quiet -> LEADING 2/200000000/2 r2\n"
	    "[  2100] 2 serving epoch 3: current epoch -> LEADING 2/200000000/3 r2\n"
	    "[  2135] 4 timeout: quiet -> OBSERVING 2/200000000/2 r2\n"
	    "[  2200] 1 serving epoch 3: current epoch -> FOLLOWING 2/200000000/3 r2\n"
	    "[  2200] 4 serving epoch 3: current epoch -> OBSERVING 2/200000000/3 r2\n");
}

/* Server 4 has the best vote and the greatest sid, but no weight. */
TEST_F(election_sim, trace_of_weights, struct fx, up, down)
{
	static const char config[] = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\n"
				     "server.3=c:1:2:participant\nserver.4=d:1:2:participant\n"
				     "group.1=1:2\ngroup.2=3:4\nweight.2=0\nweight.4=0\nversion=1";

	init_traced(f, config);
	sim_up(&f->s, 4, 0x500000000, 5);
	sim_up(&f->s, 3, 0x100000005, 1);
	sim_up(&f->s, 1, 0x100000005, 1);
	sim_run(&f->s, 700);
	EXPECT_I(sim_leader(&f->s), ==, 3);
	expect_trace(
	    f,
	    "[     0] 4 looks 500000000/5: begins -> LOOKING 4/500000000/5 r1 > 1 2 3 @200\n"
	    "[     0] 3 looks 100000005/1: begins -> LOOKING 3/100000005/1 r1 > 1 2 4 @200\n"
	    "[     0] 1 looks 100000005/1: begins -> LOOKING 1/100000005/1 r1 > 2 3 4 @200\n"
	    "[     1] 4 < 3 LOOKING 3/100000005/1 r1: counted -> LOOKING 4/500000000/5 r1 @200\n"
	    "[     1] 3 < 1 LOOKING 1/100000005/1 r1: worse vote, answered -> LOOKING "
	    "3/100000005/1 r1 > 1 @200\n"
	    "[     1] 4 < 1 LOOKING 1/100000005/1 r1: counted -> LOOKING 4/500000000/5 r1 @200\n"
	    "[     2] 1 < 3 LOOKING 3/100000005/1 r1: better vote -> LOOKING 3/100000005/1 r1 > 2 "
	    "3 4 @202\n"
	    "[     3] 3 < 1 LOOKING 3/100000005/1 r1: counted -> LOOKING 3/100000005/1 r1 @203\n"
	    "[     3] 4 < 1 LOOKING 3/100000005/1 r1: counted -> LOOKING 4/500000000/5 r1 @200\n"
	    "[    31] 4 connected to 3: told -> LOOKING 4/500000000/5 r1 > 3 @200\n"
	    "[    31] 3 connected to 1: told -> LOOKING 3/100000005/1 r1 > 1 @203\n"
	    "[    31] 4 connected to 1: told -> LOOKING 4/500000000/5 r1 > 1 @200\n"
	    "[    32] 3 < 4 LOOKING 4/500000000/5 r1: counted -> LOOKING 3/100000005/1 r1 @232\n"
	    "[    32] 1 < 3 LOOKING 3/100000005/1 r1: heard before -> LOOKING 3/100000005/1 r1 "
	    "@202\n"
	    "[    32] 1 < 4 LOOKING 4/500000000/5 r1: counted -> LOOKING 3/100000005/1 r1 @232\n"
	    "[   200] 4 timeout: says it again -> LOOKING 4/500000000/5 r1 > 1 2 3 @600\n"
	    "[   201] 1 < 4 LOOKING 4/500000000/5 r1: heard before -> LOOKING 3/100000005/1 r1 "
	    "@232\n"
	    "[   201] 3 < 4 LOOKING 4/500000000/5 r1: heard before -> LOOKING 3/100000005/1 r1 "
	    "@232\n"
	    "[   232] 1 timeout: quiet -> FOLLOWING 3/100000005/1 r1\n"
	    "[   232] 3 timeout: quiet -> LEADING 3/100000005/1 r1\n"
	    "[   300] 3 serving epoch 6: current epoch -> LEADING 3/100000005/6 r1\n"
	    "[   400] 1 serving epoch 6: current epoch -> FOLLOWING 3/100000005/6 r1\n"
	    "[   600] 4 timeout: says it again -> LOOKING 4/500000000/5 r1 > 1 2 3 @1400\n"
	    "[   601] 1 < 4 LOOKING 4/500000000/5 r1: answered -> FOLLOWING 3/100000005/6 r1 > 4\n"
	    "[   601] 3 < 4 LOOKING 4/500000000/5 r1: answered -> LEADING 3/100000005/6 r1 > 4\n"
	    "[   602] 4 < 1 FOLLOWING 3/100000005/6 r1: counted -> LOOKING 4/500000000/5 r1 @1400\n"
	    "[   602] 4 < 3 LEADING 3/100000005/6 r1: elected in this round -> FOLLOWING "
	    "3/100000005/6 r1\n"
	    "[   700] 4 serving epoch 6: current epoch -> FOLLOWING 3/100000005/6 r1\n");
}

/* The only message that names the best vote is lost, and the connection with it. */
TEST_F(election_sim, trace_of_a_lost_message, struct fx, up, down)
{
	init_traced(f, three);
	sim_up(&f->s, 1, 0x100000005, 1);
	f->s.loss_percent = 100;
	sim_up(&f->s, 3, 0x100000005, 1);
	f->s.loss_percent = 0;
	sim_run(&f->s, 650);
	EXPECT_I(sim_leader(&f->s), ==, 3);
	expect_trace(
	    f, "[     0] 1 looks 100000005/1: begins -> LOOKING 1/100000005/1 r1 > 2 3 @200\n"
	       "[     0] 3 looks 100000005/1: begins -> LOOKING 3/100000005/1 r1 > 1 2 @200\n"
	       "[    31] 1 connected to 3: told -> LOOKING 1/100000005/1 r1 > 3 @200\n"
	       "[    32] 3 < 1 LOOKING 1/100000005/1 r1: worse vote, answered -> LOOKING "
	       "3/100000005/1 r1 > 1 @200\n"
	       "[    33] 1 < 3 LOOKING 3/100000005/1 r1: better vote -> LOOKING 3/100000005/1 r1 > "
	       "2 3 @233\n"
	       "[    34] 3 < 1 LOOKING 3/100000005/1 r1: counted -> LOOKING 3/100000005/1 r1 @234\n"
	       "[   233] 1 timeout: quiet -> FOLLOWING 3/100000005/1 r1\n"
	       "[   234] 3 timeout: quiet -> LEADING 3/100000005/1 r1\n"
	       "[   300] 3 serving epoch 2: current epoch -> LEADING 3/100000005/2 r1\n"
	       "[   400] 1 serving epoch 2: current epoch -> FOLLOWING 3/100000005/2 r1\n");
}

/* --- properties ------------------------------------------------------------------------------ */

enum { SEEDS = 3000 };

static bool all_good(struct sim *s, uint64_t seed)
{
	if (s->broken)
		t_fail(__FILE__, __LINE__, "seed %" PRIu64 ": %s", seed, s->broken);
	return !s->broken;
}

static void random_network(struct sim *s)
{
	s->delay_max_ms = 1 + (uint32_t)sim_random(s, 150);
	s->loss_percent = (uint32_t)sim_random(s, 30);
	s->repeat_percent = (uint32_t)sim_random(s, 30);
}

static void quiet_network(struct sim *s)
{
	s->delay_max_ms = 5;
	s->loss_percent = s->repeat_percent = 0;
}

static void random_up(struct sim *s, int64_t sid)
{
	int64_t epoch = (int64_t)sim_random(s, 3);

	/* Mostly alike, so that all three parts of a vote decide at times. */
	sim_up(s, sid, epoch << 32 | (int64_t)sim_random(s, 3), epoch);
}

/* A healthy network: the best vote wins, all in one round, and nobody decides twice. */
TEST_F(election_sim, the_best_vote_wins, struct fx, up, down)
{
	static const char *const configs[] = {three, five, observed, weighed};
	struct sim *s = &f->s;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		const struct sim_server *best = NULL;

		sim_init(s, configs[seed % 4], t_seed() + seed);
		s->delay_max_ms = 1 + (uint32_t)sim_random(s, 30);
		for (int64_t sid = 1; sid <= s->n; sid++)
			random_up(s, sid);
		for (int i = 0; i < s->n; i++)
			if (!best ||
			    fle_better(&best->fle, &s->server[i].fle.mine, &best->fle.mine))
				if (quorum_config_weight(&s->server[i].config, i + 1))
					best = &s->server[i];
		EXPECT_TRUE(sim_run_until_settled(s, 1000));
		REQUIRE(all_good(s, seed));
		REQUIRE(EXPECT_I(sim_leader(s), ==, best->fle.options.me));
		for (int i = 0; i < s->n; i++)
			REQUIRE(EXPECT_I(s->server[i].fle.vote.round, ==, 1));
		REQUIRE(EXPECT_U(s->n_decided, ==, (uint64_t)s->n));
	}
}

/* Whatever happened before: once the network is quiet and a quorum is up, all agree on a leader. */
TEST_F(election_sim, ends_once_the_network_is_quiet, struct fx, up, down)
{
	static const char *const configs[] = {three, five, observed, weighed};
	uint64_t decided = 0;
	struct sim *s = &f->s;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		sim_init(s, configs[seed % 4], t_seed() + seed);
		random_network(s);
		for (int k = 0; k < 12 && all_good(s, seed); k++) {
			int64_t sid = 1 + (int64_t)sim_random(s, (uint64_t)s->n);

			if (s->server[sid - 1].up)
				sim_down(s, sid);
			else
				random_up(s, sid);
			sim_run(s, sim_random(s, 1500));
		}
		quiet_network(s);
		for (int64_t sid = 1; sid <= s->n; sid++)
			if (!s->server[sid - 1].up)
				random_up(s, sid);
		if (!EXPECT_TRUE(sim_run_until_settled(s, 200000)))
			t_fail(__FILE__, __LINE__, "seed %" PRIu64 " does not settle",
			       t_seed() + seed);
		REQUIRE(all_good(s, seed));
		/* And it stays so. */
		int64_t leader = sim_leader(s);
		sim_run(s, 5000);
		REQUIRE(EXPECT_I(sim_leader(s), ==, leader));
		REQUIRE(EXPECT_TRUE(s->server[leader - 1].serving));
		for (int i = 0; i < s->n; i++)
			REQUIRE(EXPECT_I(s->server[i].fle.vote.peer_epoch, ==,
					 s->server[leader - 1].epoch));
		decided += s->n_decided;
	}
	EXPECT_U(decided, >, SEEDS * 4);
}

/* A minority never elects, whatever it hears of itself. */
TEST_F(election_sim, a_minority_elects_nobody, struct fx, up, down)
{
	struct sim *s = &f->s;

	for (uint64_t seed = 0; seed < 300; seed++) {
		sim_init(s, five, t_seed() + seed);
		random_network(s);
		random_up(s, 1);
		random_up(s, 4);
		sim_run(s, 100000);
		REQUIRE(all_good(s, seed));
		REQUIRE(EXPECT_U(s->n_decided, ==, 0));
	}
}

/* A server without its data never leads, nor helps to elect; it joins the others. */
TEST_F(election_sim, who_lost_data_only_joins, struct fx, up, down)
{
	struct sim *s = &f->s;

	for (uint64_t seed = 0; seed < 300; seed++) {
		sim_init(s, three, t_seed() + seed);
		random_network(s);
		sim_up(s, 3, -1, 0);
		random_up(s, 1);
		sim_run(s, 20000);
		REQUIRE(EXPECT_U(s->n_decided, ==, 0));
		quiet_network(s);
		random_up(s, 2);
		REQUIRE(EXPECT_TRUE(sim_run_until_settled(s, 200000)));
		REQUIRE(all_good(s, seed));
		REQUIRE(EXPECT_I(sim_leader(s), !=, 3));
	}
}

/* Members with different configurations: the newest one reaches all who look. */
TEST_F(election_sim, the_newest_configuration_spreads, struct fx, up, down)
{
	static const char newer[] = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\n"
				    "server.3=c:1:2:participant\nserver.4=d:1:2:participant\n"
				    "version=2";
	struct sim *s = &f->s;

	for (uint64_t seed = 0; seed < 300; seed++) {
		sim_init(s, observed, t_seed() + seed);
		int64_t knows = 1 + (int64_t)sim_random(s, 4);
		struct sim_server *v = &s->server[knows - 1];

		CHECK(quorum_config_parse(&v->config, newer, strlen(newer), NULL) == 0);
		strcpy(v->text, newer);
		for (int64_t sid = 1; sid <= 4; sid++)
			random_up(s, sid);
		REQUIRE(EXPECT_TRUE(sim_run_until_settled(s, 200000)));
		sim_run(s, 5000);
		REQUIRE(all_good(s, seed));
		for (int i = 0; i < 4; i++)
			if (s->server[knows - 1].fle.state != FLE_OBSERVING)
				EXPECT_I(s->server[i].config.version, >=, 1);
	}
}

/* The same seed gives the same run, byte for byte. */
TEST_F(election_sim, is_deterministic, struct fx, up, down)
{
	static char first[SIM_TRACE];

	for (int i = 0; i < 2; i++) {
		sim_init(&f->s, five, 42);
		f->s.tracing = true;
		random_network(&f->s);
		for (int64_t sid = 1; sid <= 5; sid++)
			random_up(&f->s, sid);
		sim_run(&f->s, 400);
		if (i == 0)
			memcpy(first, f->s.trace, sizeof(first));
	}
	EXPECT_U(f->s.trace_used, >, 1000);
	EXPECT_STR(f->s.trace, first);
}

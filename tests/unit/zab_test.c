#include <errno.h>

#include "quorum/zab.h"
#include "tests/t.h"

struct fx {
	struct zab z;
	struct zab_out out;
};

static void up(struct fx *f)
{
	zab_init(&f->z, &(struct zab_options){.sid = 1, .standalone = true});
}

static void down(struct fx *f)
{
	zab_check(&f->z);
}

static int step(struct fx *f, enum zab_event_type type, int64_t zxid)
{
	struct zab_event e = {.type = type, .now_ms = f->z.now_ms + 1, .zxid = zxid};

	return zab_step(&f->z, &e, &f->out);
}

TEST_F(zab, a_quorum_of_one_leads_from_what_it_recovered, struct fx, up, down)
{
	EXPECT_I(step(f, ZAB_START, 41), ==, 0);
	EXPECT_I(f->z.role, ==, ZAB_LEADING);
	EXPECT_I(f->out.commit_zxid, ==, 41);
	EXPECT_U(f->out.flags & ZAB_OUT_SERVE, !=, 0);
	EXPECT_I(zab_next_zxid(&f->z), ==, 42);
	EXPECT_I(step(f, ZAB_START, 41), ==, -EPROTO);
}

TEST_F(zab, nothing_is_committed_before_it_is_durable, struct fx, up, down)
{
	step(f, ZAB_START, 0);
	EXPECT_I(step(f, ZAB_SUBMIT, 1), ==, 0);
	EXPECT_I(f->out.append_zxid, ==, 1);
	EXPECT_I(f->out.commit_zxid, ==, 0);
	EXPECT_I(step(f, ZAB_SUBMIT, 2), ==, 0);
	EXPECT_I(step(f, ZAB_DURABLE, 1), ==, 0);
	EXPECT_I(f->out.append_zxid, ==, 0);
	EXPECT_I(f->out.commit_zxid, ==, 1);
	EXPECT_I(step(f, ZAB_DURABLE, 2), ==, 0);
	EXPECT_I(f->out.commit_zxid, ==, 2);
}

TEST_F(zab, events_that_cannot_be_change_nothing, struct fx, up, down)
{
	EXPECT_I(step(f, ZAB_SUBMIT, 1), ==, -EPROTO); /* not leading yet */
	step(f, ZAB_START, 7);
	EXPECT_I(step(f, ZAB_SUBMIT, 9), ==, -EPROTO);  /* a gap */
	EXPECT_I(step(f, ZAB_SUBMIT, 7), ==, -EPROTO);  /* again */
	EXPECT_I(step(f, ZAB_DURABLE, 8), ==, -EPROTO); /* never submitted */
	EXPECT_I(step(f, ZAB_DURABLE, 6), ==, -EPROTO); /* back */
	EXPECT_I(zab_step(&f->z, &(struct zab_event){.type = ZAB_SUBMIT, .zxid = 8}, &f->out), ==,
		 -EPROTO);                              /* time goes back */
	EXPECT_I(step(f, ZAB_ELECTED, 0), ==, -EPROTO); /* alone there is no election */
	EXPECT_I(f->z.last_zxid, ==, 7);
	EXPECT_I(step(f, ZAB_SUBMIT, 8), ==, 0);
}

TEST_F(zab, a_full_window_asks_to_come_later, struct fx, up, down)
{
	step(f, ZAB_START, 0);
	for (int64_t i = 1; i <= ZAB_WINDOW; i++)
		REQUIRE(EXPECT_I(step(f, ZAB_SUBMIT, i), ==, 0));
	EXPECT_TRUE(!zab_has_room(&f->z, 1));
	EXPECT_I(step(f, ZAB_SUBMIT, ZAB_WINDOW + 1), ==, -EBUSY);
	EXPECT_I(step(f, ZAB_DURABLE, 10), ==, 0);
	EXPECT_TRUE(zab_has_room(&f->z, 10));
	EXPECT_TRUE(!zab_has_room(&f->z, 11));
	EXPECT_I(step(f, ZAB_SUBMIT, ZAB_WINDOW + 1), ==, 0);
}

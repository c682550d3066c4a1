#include "writer/inbox.h"

#include "base/clock.h"
#include "tests/unit/peers_fx.h"
#include "tests/unit/writer_fx.h"

enum { ROOM = 4096, DATA = 500 };

/* A leader that is not in service yet, so that what learners ask waits; real links to the first. */
struct inbox_fx {
	struct wtr_fx w;
	struct peers_fx p;
	struct quorum_config config;
	struct wtr_ensemble e;
};

static void lead(struct inbox_fx *f)
{
	static const char text[] = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2";
	struct zab_options options = {
	    .sid = 1, .tick_ms = 100, .init_limit = 10, .sync_limit = 5, .committed = &f->config};
	struct zab_start start = {.accepted_epoch = 0};
	struct wtr_core *c = &f->w.core;

	REQUIRE(EXPECT_I(quorum_config_parse(&f->config, text, sizeof(text) - 1, NULL), ==, 0));
	zab_init(&c->zab, &options);
	EXPECT_I(wtr_core_step(c, &(struct zab_event){.type = ZAB_START, .start = &start}), ==, 0);
	EXPECT_I(wtr_core_step(c, &(struct zab_event){.type = ZAB_ELECTED, .sid = 1}), ==, 0);
	EXPECT_I(c->zab.role, ==, ZAB_LEADING);
	for (int32_t i = 0; i < 2; i++)
		EXPECT_I(wtr_core_step(c, &(struct zab_event){.type = ZAB_CONNECTED, .peer = i}),
			 ==, 0);
}

static void inbox_up(struct inbox_fx *f)
{
	fx_up(&f->w);
	peers_up(&f->p);
	wtr_core_retire(&f->w.core);
	lead(f);
	f->e = (struct wtr_ensemble){
	    .core = &f->w.core, .links = f->p.leader.links, .inbox_max = ROOM};
}

static void inbox_down(struct inbox_fx *f)
{
	wtr_buf_fini(&f->e.inbox);
	peers_down(&f->p);
	fx_down(&f->w);
}

static bool is_known(const struct inbox_fx *f, int32_t peer)
{
	return f->w.core.zab.peer[peer].phase != ZAB_PEER_NONE;
}

static void ask(struct inbox_fx *f, int32_t peer, int64_t zxid)
{
	static const uint8_t data[DATA];
	struct quorum_packet p = {
	    .type = QUORUM_REQUEST, .zxid = zxid, .data = jute_buf_of(data, sizeof(data))};

	wtr_inbox_deliver(&f->e, peer, &p);
}

TEST_F(writer_inbox, who_fills_it_is_lost_to_zab_at_once, struct inbox_fx, inbox_up, inbox_down)
{
	struct wtr_session *s = wtr_session_add(&f->w.core.sessions, 77, 4000);

	s->peer = 0;
	REQUIRE(EXPECT_TRUE(peers_meet(&f->p)));
	for (int i = 0; i < ROOM / DATA && is_known(f, 0); i++)
		ask(f, 0, i);
	EXPECT_TRUE(!is_known(f, 0));
	EXPECT_TRUE(is_known(f, 1));
	EXPECT_I(s->peer, ==, WTR_PEER_LOST);
	EXPECT_U(f->e.inbox.len, ==, 0);
	PEERS_UNTIL(&f->p, f->p.learner.lost == 1);
	/* Its place is another's. */
	EXPECT_I(wtr_core_step(&f->w.core, &(struct zab_event){.type = ZAB_CONNECTED, .peer = 0}),
		 ==, 0);
	ask(f, 0, 1);
	EXPECT_TRUE(is_known(f, 0));
}

TEST_F(writer_inbox, the_others_do_not_pay_for_it, struct inbox_fx, inbox_up, inbox_down)
{
	for (int i = 0; i < ROOM / DATA - 2; i++)
		ask(f, 0, i);
	for (int i = 0; i < ROOM / DATA - 2; i++)
		ask(f, 1, i);
	EXPECT_TRUE(!is_known(f, 0));
	EXPECT_TRUE(is_known(f, 1));
	EXPECT_U(f->e.inbox.len, >, (ROOM / DATA - 2) * DATA);
	EXPECT_U(f->e.inbox.len, <=, ROOM);
	/* Who comes in its place begins with nothing. */
	EXPECT_I(wtr_core_step(&f->w.core, &(struct zab_event){.type = ZAB_CONNECTED, .peer = 0}),
		 ==, 0);
	ask(f, 0, 1);
	EXPECT_TRUE(is_known(f, 0));
}

TEST_F(writer_inbox, room_of_those_who_went_is_used_again, struct inbox_fx, inbox_up, inbox_down)
{
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < ROOM / DATA - 3; i++)
			ask(f, 0, i);
		ask(f, 1, round);
		EXPECT_TRUE(is_known(f, 0));
		wtr_ensemble_lost(&f->e, 0);
		EXPECT_TRUE(!is_known(f, 0));
		EXPECT_U(f->e.inbox.cap, <=, 2 * ROOM);
		EXPECT_I(wtr_core_step(&f->w.core,
				       &(struct zab_event){.type = ZAB_CONNECTED, .peer = 0}),
			 ==, 0);
		if (round % 2)
			wtr_ensemble_lost(&f->e, 1);
		if (round % 2)
			EXPECT_I(
			    wtr_core_step(&f->w.core,
					  &(struct zab_event){.type = ZAB_CONNECTED, .peer = 1}),
			    ==, 0);
	}
}

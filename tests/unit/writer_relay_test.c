#include "tests/unit/writer_fx.h"
#include "writer/learn.h"
#include "writer/relay.h"

/* A follower with observers: the core of writer_fx, sessions of which it is told, nothing local. */
static void relay_up(struct wtr_fx *f)
{
	fx_up(f);
	f->conf.members = (char *)(uintptr_t) "server.1=..";
	for (int i = 0; i < FX_WORKERS; i++)
		f->core.sessions.heard[i] = NULL;
	wtr_core_serve(&f->core, WTR_LEARNS, 2);
}

/* The next packet on its way to the leader; it is taken. type 0: there is none. */
static struct quorum_packet sent(struct wtr_fx *f, size_t *at)
{
	struct quorum_packet p = {0};
	size_t need;
	int64_t n = quorum_packet_decode(f->core.forward.bytes + *at, f->core.forward.len - *at,
					 1 << 20, &p, &need);

	EXPECT_I(n, >=, 0);
	*at += n > 0 ? (size_t)n : 0;
	return p;
}

static struct quorum_request sent_request(struct wtr_fx *f, size_t *at)
{
	struct quorum_packet p = sent(f, at);
	struct quorum_request r = {0};

	EXPECT_I(p.type, ==, QUORUM_REQUEST);
	EXPECT_I(quorum_request_decode(p.data, &r), ==, 0);
	return r;
}

/* An observer's client asks for what is in f->out. */
static void ask(struct wtr_fx *f, int32_t peer, int64_t session, int32_t cxid, int32_t op)
{
	struct jute_vec none = {.count = 0};
	struct quorum_request r = {session, cxid, op,
				   jute_buf_of(f->body, jute_size(&f->out, f->body))};

	wtr_relay_request(&f->core, peer, &r, &none);
	fx_begin(f);
}

static struct wtr_session *known(struct wtr_fx *f, int64_t id)
{
	struct wtr_session *s = wtr_session_add(&f->core.sessions, id, 4000);

	s->slot = 5;
	return s;
}

TEST_F(writer_relay, requests_go_on_as_they_came, struct wtr_fx, relay_up, fx_down)
{
	struct quorum_request r;
	size_t at = 0;

	fx_create(f, "/a", "data", 0);
	ask(f, 3, 77, 1, ZK_OP_CREATE);
	fx_delete(f, "/a", -1);
	ask(f, 4, 78, 2, ZK_OP_DELETE);
	r = sent_request(f, &at);
	EXPECT_I(r.session_id, ==, 77);
	EXPECT_I(r.cxid, ==, 1);
	EXPECT_I(r.opcode, ==, ZK_OP_CREATE);
	r = sent_request(f, &at);
	EXPECT_I(r.session_id, ==, 78);
	EXPECT_I(r.opcode, ==, ZK_OP_DELETE);
	EXPECT_U(at, ==, f->core.forward.len);
}

TEST_F(writer_relay, what_is_not_whole_is_not_passed_on, struct wtr_fx, relay_up, fx_down)
{
	fx_begin(f);
	ask(f, 3, 77, 1, ZK_OP_CREATE); /* no body */
	ask(f, 3, 77, 1, ZK_OP_GET_DATA);
	ask(f, 3, 77, 1, ZK_OP_CREATE_SESSION);
	ask(f, 3, 77, 1, 4711);
	EXPECT_U(f->core.forward.len, ==, 0);
}

TEST_F(writer_relay, syncs_are_answered_in_the_order_asked, struct wtr_fx, relay_up, fx_down)
{
	fx_begin(f);
	ask(f, 3, 77, 1, ZK_OP_SYNC);
	wtr_learner_sync(&f->core, 0, &(struct msg_up){.conn = 9, .session = 5, .xid = 6});
	ask(f, 4, 78, 1, ZK_OP_SYNC);
	ask(f, 3, 77, 2, ZK_OP_SYNC);
	EXPECT_I(wtr_learner_synced(&f->core), ==, 3);
	EXPECT_I(wtr_learner_synced(&f->core), ==, 0);
	wtr_relay_lost(&f->core, 4);
	EXPECT_I(wtr_learner_synced(&f->core), ==, 0); /* whoever is 4 now, did not ask */
	EXPECT_I(wtr_learner_synced(&f->core), ==, 3);
	EXPECT_I(wtr_learner_synced(&f->core), ==, 0);
	fx_run(f);
	EXPECT_TRUE(fx_find(f, DOWN_SYNC, 6) != NULL);
}

TEST_F(writer_relay, a_question_finds_who_asked_it_first, struct wtr_fx, relay_up, fx_down)
{
	struct quorum_revalidated yes = {77, true}, no = {77, false};

	known(f, 77);
	wtr_relay_ask(&f->core, 3, (struct quorum_touch){77, 4000});
	wtr_relay_ask(&f->core, 4, (struct quorum_touch){77, 4000});
	EXPECT_I(wtr_learner_answered(&f->core, &yes), ==, 3);
	EXPECT_I(wtr_session_find(&f->core.sessions, 77)->peer, ==, 3);
	EXPECT_I(wtr_learner_answered(&f->core, &no), ==, 4);
	EXPECT_I(wtr_session_find(&f->core.sessions, 77)->peer, ==, 3);
	EXPECT_I(wtr_learner_answered(&f->core, &yes), ==, 0); /* nobody did */
	wtr_relay_ask(&f->core, 5, (struct quorum_touch){77, 4000});
	wtr_relay_lost(&f->core, 5);
	EXPECT_I(wtr_learner_answered(&f->core, &yes), ==, 0);
	EXPECT_I(wtr_session_find(&f->core.sessions, 77)->peer, ==, 3);
}

TEST_F(writer_relay, who_has_lost_a_session_can_do_nothing_with_it, struct wtr_fx, relay_up,
       fx_down)
{
	struct quorum_revalidated yes = {77, true};
	struct wtr_session *s = known(f, 77);
	size_t at = 0;

	fx_set(f, "/a", "x", -1);
	ask(f, 3, 77, 1, ZK_OP_SET_DATA); /* the first who uses it has it */
	EXPECT_I(sent_request(f, &at).opcode, ==, ZK_OP_SET_DATA);
	fx_set(f, "/a", "x", -1);
	ask(f, 4, 77, 2, ZK_OP_SET_DATA);
	EXPECT_I(sent_request(f, &at).opcode, ==, ZK_OP_DELETE); /* of the root: it fails */
	wtr_relay_ask(&f->core, 4, (struct quorum_touch){77, 4000});
	sent(f, &at);
	EXPECT_I(wtr_learner_answered(&f->core, &yes), ==, 4);
	fx_set(f, "/a", "x", -1);
	ask(f, 3, 77, 3, ZK_OP_SET_DATA);
	EXPECT_I(sent_request(f, &at).opcode, ==, ZK_OP_DELETE);
	fx_begin(f);
	ask(f, 3, 77, 4, ZK_OP_CLOSE_SESSION);
	EXPECT_I(sent_request(f, &at).opcode, ==, ZK_OP_DELETE);
	/* A connection here takes it, and leaves: it is not the observer's again by itself. */
	wtr_session_bind(&f->core.sessions, s, 0, 9, 4000);
	fx_set(f, "/a", "x", -1);
	ask(f, 4, 77, 5, ZK_OP_SET_DATA);
	EXPECT_I(sent_request(f, &at).opcode, ==, ZK_OP_DELETE);
	wtr_session_unbind(&f->core.sessions, s);
	fx_set(f, "/a", "x", -1);
	ask(f, 4, 77, 6, ZK_OP_SET_DATA);
	EXPECT_I(sent_request(f, &at).opcode, ==, ZK_OP_DELETE);
	EXPECT_U(at, ==, f->core.forward.len);
}

/* By its id, for its connection's number may be another's. */
TEST_F(writer_relay, an_observer_that_comes_again_has_its_sessions, struct wtr_fx, relay_up,
       fx_down)
{
	struct wtr_session *s = known(f, 77);
	struct zab_peer *peer = f->core.zab.peer;
	size_t at = 0;

	peer[3].sid = peer[8].sid = 30;
	peer[4].sid = 40;
	fx_set(f, "/a", "x", -1);
	ask(f, 3, 77, 1, ZK_OP_SET_DATA);
	EXPECT_I(sent_request(f, &at).opcode, ==, ZK_OP_SET_DATA);
	wtr_relay_lost(&f->core, 3);
	fx_set(f, "/a", "x", -1);
	ask(f, 8, 77, 2, ZK_OP_SET_DATA);
	EXPECT_I(sent_request(f, &at).opcode, ==, ZK_OP_SET_DATA);
	EXPECT_I(s->peer, ==, 8);
}

/* V5: what one that had it before may still send is older than what the lost one did. */
TEST_F(writer_relay, a_session_of_a_lost_observer_is_no_others, struct wtr_fx, relay_up, fx_down)
{
	struct quorum_revalidated yes = {77, true};
	struct zab_peer *peer = f->core.zab.peer;
	size_t at = 0;

	known(f, 77);
	peer[3].sid = 30;
	peer[4].sid = 40;
	wtr_relay_ask(&f->core, 4, (struct quorum_touch){77, 4000});
	sent(f, &at);
	EXPECT_I(wtr_learner_answered(&f->core, &yes), ==, 4);
	memset(&peer[4], 0, sizeof(peer[4])); /* as ZAB forgets it when it closes it itself */
	wtr_relay_lost(&f->core, 4);
	fx_set(f, "/a", "x", -1);
	ask(f, 3, 77, 1, ZK_OP_SET_DATA);
	EXPECT_I(sent_request(f, &at).opcode, ==, ZK_OP_DELETE); /* of the root: it fails */
	wtr_relay_ask(&f->core, 3, (struct quorum_touch){77, 4000});
	sent(f, &at);
	EXPECT_I(wtr_learner_answered(&f->core, &yes), ==, 3);
	fx_set(f, "/a", "x", -1);
	ask(f, 3, 77, 2, ZK_OP_SET_DATA);
	EXPECT_I(sent_request(f, &at).opcode, ==, ZK_OP_SET_DATA);
}

TEST_F(writer_relay, touches_ride_with_our_own, struct wtr_fx, relay_up, fx_down)
{
	struct quorum_packet p;
	size_t at = 0;

	wtr_relay_touch(&f->core, (struct quorum_touch){77, 4000});
	wtr_relay_touch(&f->core, (struct quorum_touch){78, 5000});
	EXPECT_U(f->core.forward.len, ==, 0);
	wtr_learner_ping(&f->core, 42);
	p = sent(f, &at);
	EXPECT_I(p.type, ==, QUORUM_PING);
	EXPECT_I(p.zxid, ==, 42);
	REQUIRE(EXPECT_I(quorum_touches(p.data), ==, 2));
	EXPECT_I(quorum_touch_get(p.data, 1).session_id, ==, 78);
	EXPECT_I(quorum_touch_get(p.data, 1).timeout_ms, ==, 5000);
	wtr_learner_ping(&f->core, 43);
	EXPECT_I(quorum_touches(sent(f, &at).data), ==, 0);
	/* A crowd does not wait for the leader. */
	for (int64_t i = 0; f->core.touches.len + QUORUM_TOUCH_SIZE < WTR_TOUCHES_BYTES; i++)
		wtr_relay_touch(&f->core, (struct quorum_touch){i, 4000});
	wtr_relay_touch(&f->core, (struct quorum_touch){1, 4000});
	EXPECT_U(f->core.touches.len, ==, 0);
	EXPECT_I(sent(f, &at).type, ==, QUORUM_PING);
}

TEST_F(writer_relay, out_of_service_and_full_nothing_is_taken, struct wtr_fx, relay_up, fx_down)
{
	EXPECT_TRUE(wtr_relay_ready(&f->core));
	f->core.forward.len = WTR_FORWARD_BYTES;
	EXPECT_TRUE(!wtr_relay_ready(&f->core));
	f->core.forward.len = 0;
	wtr_relay_touch(&f->core, (struct quorum_touch){77, 4000});
	wtr_core_retire(&f->core);
	EXPECT_TRUE(!wtr_relay_ready(&f->core));
	EXPECT_U(f->core.touches.len, ==, 0);
}

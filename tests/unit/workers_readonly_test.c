#include "tests/unit/workers_fx.h"

/* A worker while no leader is found. */
static void reads_up(struct workers_fx *f)
{
	workers_up(f);
	atomic_store(&f->board.h.board->in_service, 0);
	atomic_store(&f->board.h.board->read_only, 1);
	fx_create(f, "/a", "hi");
	shm_commit_publish(&f->down, f->zxid);
	fx_put(f, &(struct msg_down){.kind = DOWN_NOP, .zxid = f->zxid}, NULL, NULL);
}

#define FX_TEST(name_) TEST_F(workers_readonly, name_, struct workers_fx, reads_up, workers_down)
#define ASK                                                                                        \
	"0000002d 00000000 0000000000000000 00002710 0000000000000000 00000010 "                   \
	"00000000000000000000000000000000 01"
#define ANSWER                                                                                     \
	"00000025 00000000 00002710 0100002a54210000 00000010 e552573d0e3b5960cb84f56d07359e71 01"
#define LENT                                                                                       \
	"000021542a000001 10270000 ffffffff e552573d0e3b5960cb84f56d07359e71 "                     \
	"00000001 00000002 6970 00000009 3132372e302e302e31"
#define HEADER(xid_, err_) "00000010 " xid_ " 0000000000000001 " err_ " "
#define SET(xid_)          "00000017 " xid_ " 00000005 00000002 2f61 00000001 78 ffffffff "
#define SYNC(xid_)         "0000000e " xid_ " 00000009 00000002 2f61 "
#define EXISTS(xid_)       "0000000f " xid_ " 00000003 00000002 2f62 00 "
#define CLOSE(xid_)        "00000008 " xid_ " fffffff5 "
#define AUTH               "00000017 fffffffc 00000064 00000000 00000002 6970 00000001 78 "
#define REFUSED            "ffffff89" /* -119 */
#define NONE               "ffffff9b" /* -101 */

/* Let in, with that session. */
static struct wrk_conn *let_in(struct workers_fx *f, const char *session)
{
	struct wrk_conn *c = fx_conn(f);

	fx_feed(f, c, hex(ASK));
	EXPECT_I(fx_pop(f), ==, UP_CONNECT);
	fx_answer(f, DOWN_CONNECTED, 0, 0, hex(session));
	fx_turn(f);
	FX_EXPECT(c, ANSWER);
	EXPECT_I(c->state, ==, WRK_OPEN);
	return c;
}

FX_TEST(who_asks_for_more_is_closed_without_a_word)
{
	static const char *const asks[] = {
	    FX_CONNECT, "0000002c 00000000 0000000000000000 00002710 0000000000000000 00000010 "
			"00000000000000000000000000000000"};

	for (int i = 0; i < 2; i++) {
		struct wrk_conn *c = fx_conn(f);
		const struct hex *ask = hex(asks[i]);

		wrk_turn_begin(&f->w);
		wrk_conn_feed(&f->w, c, ask->bytes, ask->size);
		EXPECT_I(c->state, ==, WRK_GONE);
		EXPECT_U(c->out_len, ==, 0);
		wrk_turn_end(&f->w);
		EXPECT_I(fx_pop(f), ==, 0);
	}
}

FX_TEST(writes_and_syncs_are_refused_in_turn_and_the_connection_stays)
{
	struct wrk_conn *c = let_in(f, LENT);

	fx_feed(f, c, hex(SET("00000001") EXISTS("00000002") SYNC("00000003") SET("00000004")));
	FX_EXPECT(c, HEADER("00000001", REFUSED) HEADER("00000002", NONE)
			 HEADER("00000003", REFUSED) HEADER("00000004", REFUSED));
	EXPECT_I(fx_pop(f), ==, 0);
	EXPECT_I(c->state, ==, WRK_OPEN);
}

FX_TEST(a_refusal_does_not_overtake_the_answer_to_auth)
{
	struct wrk_conn *c = let_in(f, LENT);

	fx_feed(f, c, hex(AUTH SET("00000001")));
	FX_EXPECT(c, "");
	EXPECT_I(fx_pop(f), ==, UP_AUTH);
	fx_answer(f, DOWN_AUTH, 0, 0, hex("00000001 00000002 6970 00000009 3132372e302e302e31"));
	fx_turn(f);
	FX_EXPECT(c, "00000010 fffffffc 0000000000000000 00000000 " HEADER("00000001", REFUSED));
}

FX_TEST(a_lent_session_ends_when_its_client_says_so)
{
	struct wrk_conn *c = let_in(f, LENT);

	fx_feed(f, c, hex(CLOSE("00000001")));
	FX_EXPECT(c, HEADER("00000001", "00000000"));
	EXPECT_I(c->state, ==, WRK_LAST);
}

FX_TEST(a_session_of_the_ensemble_is_not_ended_here)
{
	struct wrk_conn *c = let_in(f, FX_SESSION);

	fx_feed(f, c, hex(CLOSE("00000001")));
	FX_EXPECT(c, HEADER("00000001", REFUSED));
	EXPECT_I(c->state, ==, WRK_LAST);
}

FX_TEST(no_connection_lives_on_into_full_service)
{
	struct wrk_conn *c = let_in(f, LENT);

	atomic_store(&f->board.h.board->read_only, 0);
	atomic_fetch_add(&f->board.h.board->resets, 1);
	atomic_store(&f->board.h.board->in_service, 1);
	wrk_turn_begin(&f->w);
	EXPECT_I(c->state, ==, WRK_GONE);
	wrk_turn_end(&f->w);
}

/* What a word is answered with, as text. */
static void expect_word(struct workers_fx *f, const char *word, const char *want)
{
	struct wrk_conn *c = fx_conn(f);
	char got[4096] = "";

	wrk_turn_begin(&f->w);
	wrk_conn_feed(&f->w, c, (const uint8_t *)word, 4);
	EXPECT_U(c->out_len, <, sizeof(got));
	memcpy(got, c->out, c->out_len < sizeof(got) ? c->out_len : 0);
	wrk_turn_end(&f->w);
	if (!strstr(got, want))
		t_fail(__FILE__, __LINE__, "%s lacks \"%s\": %s", word, want, got);
}

FX_TEST(words_say_that_reads_alone_are_served)
{
	expect_word(f, "isro", "ro");
	expect_word(f, "srvr", "\nREAD-ONLY mode; serving only read-only clients\nLatency");
	expect_word(f, "srvr", "\nMode: read-only\n");
	expect_word(f, "mntr", "zk_server_state\tread-only\n");
}

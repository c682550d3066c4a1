#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "tests/unit/workers_fx.h"

#define FX_TEST(suite_, name_) TEST_F(suite_, name_, struct workers_fx, workers_up, workers_down)
#define STAT_A                                                                                     \
	"0000000000000001 0000000000000001 000001a2007f8871 000001a2007f8871 "                     \
	"00000000 00000000 00000000 0000000000000000 00000002 00000000 0000000000000001"
#define CREATE_A                                                                                   \
	"00000033 00000001 00000001 00000002 2f61 00000002 6869 00000001 0000001f 00000005 "       \
	"776f726c64 00000006 616e796f6e65 00000000"
#define GET_A       "0000000f 00000002 00000004 00000002 2f61 00"
#define GET_A_WATCH "0000000f 00000002 00000004 00000002 2f61 01"
#define PING        "00000008 fffffffe 0000000b"

/* --- handshake ------------------------------------------------------------------------------- */

FX_TEST(workers_conn, new_session_is_answered_with_the_byte_that_was_asked_with)
{
	struct wrk_conn *c = fx_conn(f);
	struct msg_connect m;

	fx_feed(f, c, hex(FX_CONNECT));
	REQUIRE(EXPECT_I(fx_pop(f), ==, UP_CONNECT));
	memcpy(&m, f->got.body, sizeof(m));
	EXPECT_I(f->got.head.session, ==, 0);
	EXPECT_I(m.timeout_ms, ==, 10000);
	EXPECT_I(m.password_len, ==, 16);
	EXPECT_I(c->state, ==, WRK_SETUP);
	fx_answer(f, DOWN_TXN, ZK_OP_CREATE_SESSION, 0, hex(FX_SESSION));
	fx_turn(f);
	FX_EXPECT(c, FX_CONNECTED);
	EXPECT_TRUE(wrk_conn_of_session(&f->w, 0x0100002a54210000) == c);
}

FX_TEST(workers_conn, old_client_gets_no_read_only_byte)
{
	struct wrk_conn *c = fx_conn(f);

	fx_feed(f, c,
		hex("0000002c 00000000 0000000000000000 00002710 0000000000000000 00000010 "
		    "00000000000000000000000000000000"));
	EXPECT_I(fx_pop(f), ==, UP_CONNECT);
	fx_answer(f, DOWN_TXN, ZK_OP_CREATE_SESSION, 0, hex(FX_SESSION));
	fx_turn(f);
	FX_EXPECT(c, "00000024 00000000 00002710 0100002a54210000 00000010 "
		     "e552573d0e3b5960cb84f56d07359e71");
}

FX_TEST(workers_conn, timeout_is_clamped)
{
	struct wrk_conn *c = fx_conn(f);
	struct msg_connect m;

	fx_feed(f, c,
		hex("0000001d 00000000 0000000000000000 ffffffff 0000000000000000 ffffffff 00"));
	REQUIRE(EXPECT_I(fx_pop(f), ==, UP_CONNECT));
	memcpy(&m, f->got.body, sizeof(m));
	EXPECT_I(m.timeout_ms, ==, 4000);
	EXPECT_I(m.password_len, ==, -1);
}

FX_TEST(workers_conn, client_that_has_seen_more_is_closed_without_a_word)
{
	struct wrk_conn *c = fx_conn(f);

	wrk_turn_begin(&f->w);
	wrk_conn_feed(
	    &f->w, c,
	    hex("0000001d 00000000 0000000000000001 00002710 0000000000000000 ffffffff 00")->bytes,
	    33);
	EXPECT_I(c->state, ==, WRK_GONE);
	wrk_turn_end(&f->w);
	EXPECT_I(fx_pop(f), ==, 0);
	EXPECT_I(f->w.count.connections, ==, 0);
}

FX_TEST(workers_conn, refused_resume_is_answered_with_zeros_then_closed)
{
	struct wrk_conn *c = fx_conn(f);
	struct hex zeros = {.size = sizeof(struct msg_session)};

	fx_feed(f, c,
		hex("0000001d 00000000 0000000000000000 00002710 0000000000000007 ffffffff 00"));
	REQUIRE(EXPECT_I(fx_pop(f), ==, UP_CONNECT));
	EXPECT_I(f->got.head.session, ==, 7);
	fx_answer(f, DOWN_CONNECTED, 0, 0, &zeros);
	fx_turn(f);
	FX_EXPECT(c, "00000025 00000000 00000000 0000000000000000 00000010 "
		     "00000000000000000000000000000000 00");
	EXPECT_I(c->state, ==, WRK_LAST);
}

FX_TEST(workers_conn, frames_behind_the_handshake_are_kept)
{
	struct wrk_conn *c = fx_conn(f);

	fx_feed(f, c, hex(FX_CONNECT PING));
	EXPECT_I(fx_pop(f), ==, UP_CONNECT);
	fx_answer(f, DOWN_TXN, ZK_OP_CREATE_SESSION, 0, hex(FX_SESSION));
	fx_turn(f);
	FX_EXPECT(c, FX_CONNECTED "00000010 fffffffe 0000000000000001 00000000");
	EXPECT_U(c->in_cap, ==, 0);
}

FX_TEST(workers_conn, first_frame_that_is_none_closes)
{
	static const char *const bad[] = {"ffffffff", "00000401", "47455420", "16030100",
					  "00000004 00000000"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct wrk_conn *c = fx_conn(f);
		const struct hex *bytes = hex(bad[i]);

		wrk_turn_begin(&f->w);
		wrk_conn_feed(&f->w, c, bytes->bytes, bytes->size);
		EXPECT_I(c->state, ==, WRK_GONE);
		wrk_turn_end(&f->w);
	}
}

FX_TEST(workers_conn, session_of_a_client_that_left_is_detached)
{
	struct wrk_conn *c = fx_conn(f);

	fx_feed(f, c, hex(FX_CONNECT));
	EXPECT_I(fx_pop(f), ==, UP_CONNECT);
	wrk_conn_close(&f->w, c);
	fx_turn(f);
	fx_answer(f, DOWN_TXN, ZK_OP_CREATE_SESSION, 0, hex(FX_SESSION));
	fx_turn(f);
	EXPECT_I(fx_pop(f), ==, UP_DETACH);
	EXPECT_I(f->got.head.session, ==, 0x0100002a54210000);
}

/* --- reads ----------------------------------------------------------------------------------- */

FX_TEST(workers_conn, captured_reads_are_answered_byte_for_byte)
{
	struct wrk_conn *c;

	fx_create(f, "/a", "hi");
	c = fx_open(f);
	fx_feed(f, c, hex(GET_A));
	FX_EXPECT(c, "0000005a 00000002 0000000000000002 00000000 00000002 6869 " STAT_A);
	fx_feed(f, c, hex("00000010 00000004 00000003 00000003 2f6e6f 00"));
	FX_EXPECT(c, "00000010 00000004 0000000000000002 ffffff9b");
	fx_feed(f, c, hex(PING));
	FX_EXPECT(c, "00000010 fffffffe 0000000000000002 00000000");
	fx_feed(f, c, hex("0000000f 00000005 0000000c 00000002 2f61 00"));
	FX_EXPECT(c, "00000058 00000005 0000000000000002 00000000 00000000 " STAT_A);
}

FX_TEST(workers_conn, frames_are_the_same_whole_and_byte_by_byte)
{
	struct wrk_conn *c;
	const struct hex *two = hex(GET_A PING);

	fx_create(f, "/a", "hi");
	c = fx_open(f);
	for (size_t i = 0; i < two->size; i++) {
		wrk_turn_begin(&f->w);
		wrk_conn_feed(&f->w, c, two->bytes + i, 1);
		wrk_turn_end(&f->w);
	}
	FX_EXPECT(c, "0000005a 00000002 0000000000000002 00000000 00000002 6869 " STAT_A
		     "00000010 fffffffe 0000000000000002 00000000");
	EXPECT_U(c->in_cap, ==, 0);
}

FX_TEST(workers_conn, unparsable_read_is_an_error_and_the_connection_stays)
{
	struct wrk_conn *c = fx_open(f);

	fx_feed(f, c, hex("0000000a 00000002 00000004 0000"));
	FX_EXPECT(c, "00000010 00000002 0000000000000001 fffffffb");
	EXPECT_I(c->state, ==, WRK_OPEN);
}

FX_TEST(workers_conn, unknown_and_internal_opcodes_are_refused_then_closed)
{
	static const char *const bad[] = {"fffffff6", "00000014", "0000000d",
					  "00000000", "ffffffff", "000003e7"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct wrk_conn *c = fx_open(f);
		char frame[64];

		snprintf(frame, sizeof(frame), "00000008 00000009 %s " PING, bad[i]);
		fx_feed(f, c, hex(frame));
		FX_EXPECT(c, "00000010 00000009 ffffffffffffffff fffffffa");
		EXPECT_I(c->state, ==, WRK_LAST);
		EXPECT_I(fx_pop(f), ==, 0);
	}
}

FX_TEST(workers_conn, impossible_lengths_close)
{
	static const char *const bad[] = {"ffffffff", "00000000", "00000007 00000000000000",
					  "00100000"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct wrk_conn *c = fx_open(f);
		const struct hex *bytes = hex(bad[i]);

		wrk_turn_begin(&f->w);
		wrk_conn_feed(&f->w, c, bytes->bytes, bytes->size);
		EXPECT_I(c->state, ==, WRK_GONE);
		wrk_turn_end(&f->w);
		EXPECT_I(fx_pop(f), ==, UP_DETACH);
	}
}

/* --- order ----------------------------------------------------------------------------------- */

FX_TEST(workers_conn, read_waits_for_the_write_before_it_and_holds_the_write_behind_it)
{
	struct wrk_conn *c = fx_open(f);

	fx_feed(f, c,
		hex(CREATE_A GET_A "00000016 00000003 00000005 00000002 2f61 00000000 ffffffff"));
	EXPECT_I(fx_pop(f), ==, UP_REQUEST);
	EXPECT_I(f->got.head.op, ==, ZK_OP_CREATE);
	EXPECT_I(f->got.head.xid, ==, 1);
	EXPECT_I(f->got.head.len, ==, 0x33 - 8);
	FX_EXPECT(c, "");
	fx_create(f, "/a", "hi");
	f->zxid--;
	fx_answer(f, DOWN_TXN, ZK_OP_CREATE, 0, hex("00000002 2f61"));
	EXPECT_I(fx_pop(f), ==, 0);
	fx_turn(f);
	FX_EXPECT(c, "00000016 00000001 0000000000000002 00000000 00000002 2f61"
		     "0000005a 00000002 0000000000000002 00000000 00000002 6869 "
		     "0000000000000002 0000000000000002 000001a2007f8871 000001a2007f8871 "
		     "00000000 00000000 00000000 0000000000000000 00000002 00000000 "
		     "0000000000000002");
	EXPECT_I(fx_pop(f), ==, UP_REQUEST);
	EXPECT_I(f->got.head.op, ==, ZK_OP_SET_DATA);
}

FX_TEST(workers_conn, close_session_is_answered_then_nothing_more)
{
	struct wrk_conn *c = fx_open(f);

	fx_feed(f, c, hex("00000008 00000006 fffffff5" PING));
	EXPECT_I(fx_pop(f), ==, UP_REQUEST);
	EXPECT_I(f->got.head.op, ==, ZK_OP_CLOSE_SESSION);
	fx_answer(f, DOWN_TXN, ZK_OP_CLOSE_SESSION, 0, hex(""));
	fx_turn(f);
	FX_EXPECT(c, "00000010 00000006 0000000000000002 00000000");
	EXPECT_I(c->state, ==, WRK_LAST);
}

FX_TEST(workers_conn, writes_of_a_client_that_left_are_still_handed_over)
{
	struct wrk_conn *c = fx_open(f);

	wrk_turn_begin(&f->w);
	wrk_conn_feed(&f->w, c, hex(CREATE_A GET_A CREATE_A)->bytes, 2 * 0x37 + 0x13);
	wrk_conn_close(&f->w, c);
	wrk_turn_end(&f->w);
	EXPECT_I(fx_pop(f), ==, UP_REQUEST);
	EXPECT_I(fx_pop(f), ==, UP_REQUEST);
	EXPECT_I(fx_pop(f), ==, UP_DETACH);
	EXPECT_I(f->w.count.outstanding, ==, 0);
}

FX_TEST(workers_conn, auth_is_answered_in_order_and_changes_who_it_is)
{
	struct wrk_conn *c = fx_open(f);

	fx_feed(f, c,
		hex("0000001d fffffffc 00000064 00000000 00000006 646967657374 00000003 753a70"
		    "00000008 00000001 0000006b"));
	EXPECT_I(fx_pop(f), ==, UP_AUTH);
	EXPECT_I(f->got.head.op, ==, 0);
	FX_EXPECT(c, "");
	fx_answer(f, DOWN_AUTH, 0, 0, hex("00000001 00000006 646967657374 00000003 753a78"));
	fx_turn(f);
	FX_EXPECT(c, "00000010 fffffffc 0000000000000000 00000000"
		     "00000023 00000001 0000000000000001 00000000 00000001 "
		     "00000006 646967657374 00000001 75");
}

FX_TEST(workers_conn, answers_that_come_early_wait_for_their_turn)
{
	struct wrk_conn *c = fx_open(f);
	struct msg_up create;

	fx_feed(f, c,
		hex(CREATE_A "0000001d fffffffc 00000064 00000000 00000006 646967657374 "
			     "00000003 753a70" CREATE_A));
	EXPECT_I(fx_pop(f), ==, UP_REQUEST);
	create = f->got.head;
	EXPECT_I(fx_pop(f), ==, UP_AUTH);
	fx_answer(f, DOWN_AUTH, 0, 0, hex("00000000"));
	f->got.head = create;
	fx_answer(f, DOWN_TXN, ZK_OP_ERROR, ZNODEEXISTS, hex(""));
	f->got.head = create;
	fx_answer(f, DOWN_REFUSED, 0, ZTHROTTLEDOP, hex(""));
	fx_turn(f);
	FX_EXPECT(c, "00000010 00000001 0000000000000002 ffffff92"
		     "00000010 fffffffc 0000000000000000 00000000"
		     "00000010 00000001 0000000000000002 ffffff81");
}

FX_TEST(workers_conn, failed_auth_is_answered_then_closed)
{
	struct wrk_conn *c = fx_open(f);

	fx_feed(f, c,
		hex("0000001c fffffffc 00000064 00000000 00000005 6e6f6e65 78 00000003 753a70"));
	EXPECT_I(fx_pop(f), ==, UP_AUTH);
	fx_answer(f, DOWN_AUTH, 0, ZAUTHFAILED, hex(""));
	fx_turn(f);
	FX_EXPECT(c, "00000010 fffffffc 0000000000000000 ffffff8d");
	EXPECT_I(c->state, ==, WRK_LAST);
}

FX_TEST(workers_conn, sync_echoes_its_path)
{
	struct wrk_conn *c = fx_open(f);

	fx_feed(f, c, hex("0000000e 00000007 00000009 00000002 ff61"));
	EXPECT_I(fx_pop(f), ==, UP_SYNC);
	EXPECT_I(f->got.head.len, ==, 0);
	fx_answer(f, DOWN_SYNC, 0, 0, hex(""));
	fx_turn(f);
	FX_EXPECT(c, "00000018 00000007 0000000000000001 00000000 00000004 efbfbd61");
}

/* --- a new writer ---------------------------------------------------------------------------- */

static void new_writer(struct workers_fx *f, int32_t epoch)
{
	struct msg_down d = {
	    .kind = DOWN_EPOCH, .worker = MSG_NO_WORKER, .zxid = f->zxid, .xid = epoch};

	fx_put(f, &d, NULL, NULL);
	fx_turn(f);
}

FX_TEST(workers_conn, new_writer_gets_session_auth_and_what_is_unanswered_in_order)
{
	struct wrk_conn *c = fx_open(f);

	fx_feed(f, c,
		hex("0000001d fffffffc 00000064 00000000 00000006 646967657374 00000003 753a70"));
	EXPECT_I(fx_pop(f), ==, UP_AUTH);
	fx_answer(f, DOWN_AUTH, 0, 0, hex("00000000"));
	fx_turn(f);
	FX_EXPECT(c, "00000010 fffffffc 0000000000000000 00000000");
	fx_feed(f, c, hex(CREATE_A));
	EXPECT_I(fx_pop(f), ==, UP_REQUEST);
	EXPECT_U(f->got.head.epoch, ==, 0);

	new_writer(f, 7);
	EXPECT_I(fx_pop(f), ==, UP_ATTACH);
	EXPECT_I(f->got.head.session, ==, 0x0100002a54210000);
	EXPECT_I(fx_pop(f), ==, UP_AUTH);
	EXPECT_I(f->got.head.op, ==, 1);
	EXPECT_I(fx_pop(f), ==, UP_REQUEST);
	EXPECT_U(f->got.head.epoch, ==, 7);
	EXPECT_I(f->got.head.xid, ==, 1);
	EXPECT_I(fx_pop(f), ==, 0);
	new_writer(f, 7);
	EXPECT_I(fx_pop(f), ==, 0);
}

/* It may have gone on at another member: what it left here must not be done behind that. */
FX_TEST(workers_conn, new_writer_gets_nothing_that_a_client_left_behind)
{
	struct wrk_conn *left = fx_open(f), *stays = fx_open(f);
	int ends[2][2];

	REQUIRE(EXPECT_I(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[0]), ==, 0));
	REQUIRE(EXPECT_I(socketpair(AF_UNIX, SOCK_STREAM, 0, ends[1]), ==, 0));
	left->fd = ends[0][0];
	stays->fd = ends[1][0];
	fx_feed(f, left, hex(CREATE_A));
	EXPECT_I(fx_pop(f), ==, UP_REQUEST);
	fx_feed(f, stays, hex(CREATE_A));
	EXPECT_I(fx_pop(f), ==, UP_REQUEST);
	close(ends[0][1]);

	new_writer(f, 7);
	EXPECT_I(stays->state, ==, WRK_OPEN);
	EXPECT_I(fx_pop(f), ==, UP_ATTACH);
	EXPECT_U(f->got.head.conn, ==, wrk_conn_name(&f->w, stays));
	EXPECT_I(fx_pop(f), ==, UP_REQUEST);
	EXPECT_I(fx_pop(f), ==, 0);
	close(ends[1][1]);
}

struct takeover {
	struct workers_fx *f;
	int32_t epoch;
	unsigned spin;
	atomic_bool go;
};

/* A writer that comes into service: come_into_service() in its loop has the same order. */
static void *take_over(void *arg)
{
	struct takeover *t = arg;
	struct msg_down d = {.kind = DOWN_EPOCH, .worker = MSG_NO_WORKER, .xid = t->epoch};

	while (!atomic_load(&t->go))
		;
	for (volatile unsigned i = 0; i < t->spin; i++)
		;
	atomic_store(&t->f->board.h.board->writer_epoch, (uint32_t)t->epoch);
	fx_put(t->f, &d, NULL, NULL);
	return NULL;
}

/* Its requests would be taken for a former writer's, and nobody would ever answer them. */
FX_TEST(workers_conn, worker_that_starts_while_a_writer_comes_into_service_knows_its_epoch)
{
	const struct shm_heritage *h = &f->board.h;

	for (int32_t epoch = 1; epoch <= 1000; epoch++) {
		struct takeover t = {.f = f, .epoch = epoch, .spin = (unsigned)epoch * 37 % 20000};
		pthread_t thread;

		wrk_fini(&f->w);
		REQUIRE(EXPECT_I(pthread_create(&thread, NULL, take_over, &t), ==, 0));
		atomic_store(&t.go, true);
		EXPECT_I(wrk_init(&f->w, h, 0), ==, 0);
		pthread_join(thread, NULL);
		f->w.tree = f->tree;
		fx_turn(f);
		atomic_store(&h->seat[1]->cursor, f->down.head); /* the other worker follows */
		REQUIRE(EXPECT_U(f->w.epoch, ==, epoch));
	}
}

FX_TEST(workers_conn, write_that_the_dead_writer_had_logged_is_answered_by_its_session)
{
	struct wrk_conn *c = fx_open(f);
	struct msg_down d = {.kind = DOWN_TXN,
			     .worker = MSG_NO_WORKER,
			     .session = 0x0100002a54210000,
			     .xid = 1,
			     .type = ZK_OP_CREATE,
			     .reply_len = 6};

	fx_feed(f, c, hex(CREATE_A));
	EXPECT_I(fx_pop(f), ==, UP_REQUEST);
	d.zxid = ++f->zxid;
	fx_put(f, &d, NULL, hex("00000002 2f61")->bytes);
	fx_turn(f);
	FX_EXPECT(c, "00000016 00000001 0000000000000002 00000000 00000002 2f61");
	new_writer(f, 2);
	EXPECT_I(fx_pop(f), ==, UP_ATTACH);
	EXPECT_I(fx_pop(f), ==, 0);
}

FX_TEST(workers_conn, reads_and_pings_go_on_without_a_writer)
{
	struct wrk_conn *c = fx_open(f), *other = fx_open(f);

	fx_feed(f, c, hex(CREATE_A PING));
	fx_feed(f, other, hex(PING));
	FX_EXPECT(c, "");
	FX_EXPECT(other, "00000010 fffffffe 0000000000000002 00000000");
}

FX_TEST(workers_conn, what_a_writer_recovered_is_seen_from_its_first_record_on)
{
	struct wrk_conn *c = fx_open(f);

	fx_create(f, "/a", "hi");
	f->zxid = 9;
	new_writer(f, 1);
	EXPECT_I(fx_pop(f), ==, UP_ATTACH);
	fx_feed(f, c, hex(PING));
	FX_EXPECT(c, "00000010 fffffffe 0000000000000009 00000000");
}

/* --- watches --------------------------------------------------------------------------------- */

FX_TEST(workers_conn, watch_fires_once_before_newer_state_is_shown)
{
	struct wrk_conn *c;

	fx_create(f, "/a", "hi");
	c = fx_open(f);
	fx_feed(f, c, hex(GET_A_WATCH));
	c->out_sent = c->out_len;
	f->zxid++;
	fx_event(f, ZK_EVENT_DATA_CHANGED, "/a");
	fx_feed(f, c, hex(PING));
	FX_EXPECT(c, "0000001e ffffffff 0000000000000003 00000000 00000003 00000003 00000002 2f61"
		     "00000010 fffffffe 0000000000000003 00000000");
	f->zxid++;
	fx_event(f, ZK_EVENT_DATA_CHANGED, "/a");
	fx_turn(f);
	FX_EXPECT(c, "");
}

FX_TEST(workers_conn, exists_watches_what_is_not_there_and_get_data_does_not)
{
	struct wrk_conn *c = fx_open(f);

	fx_feed(f, c,
		hex("0000000f 00000001 00000004 00000002 2f61 01"
		    "0000000f 00000002 00000003 00000002 2f62 01"));
	FX_EXPECT(c, "00000010 00000001 0000000000000001 ffffff9b"
		     "00000010 00000002 0000000000000001 ffffff9b");
	f->zxid++;
	fx_event(f, ZK_EVENT_CREATED, "/a");
	f->zxid++;
	fx_event(f, ZK_EVENT_CREATED, "/b");
	fx_turn(f);
	FX_EXPECT(c, "0000001e ffffffff 0000000000000003 00000000 00000001 00000003 00000002 2f62");
}

FX_TEST(workers_conn, deletion_is_told_once_then_the_parent)
{
	struct wrk_conn *c;

	fx_create(f, "/a", "");
	c = fx_open(f);
	fx_feed(f, c,
		hex("0000000f 00000001 00000004 00000002 2f61 01"
		    "0000000f 00000002 00000008 00000002 2f61 01"
		    "0000000e 00000003 00000008 00000001 2f 01"));
	c->out_sent = c->out_len;
	f->zxid++;
	fx_event(f, ZK_EVENT_DELETED, "/a");
	fx_turn(f);
	FX_EXPECT(c, "0000001e ffffffff 0000000000000003 00000000 00000002 00000003 00000002 2f61"
		     "0000001d ffffffff 0000000000000003 00000000 00000004 00000003 00000001 2f");
}

FX_TEST(workers_conn, events_wait_for_the_whole_transaction)
{
	struct wrk_conn *c = fx_open(f);
	struct {
		struct msg_event head;
		char path[8];
	} e = {{.type = ZK_EVENT_CREATED,
		.acl = SHM_ACL_OPEN,
		.parent_acl = SHM_ACL_OPEN,
		.path_len = 2},
	       "/a"};
	struct msg_down part = {
	    .kind = DOWN_EVENTS, .worker = 1, .zxid = f->zxid + 1, .events_len = sizeof(e)};

	fx_feed(f, c, hex("0000000f 00000001 00000003 00000002 2f61 01"));
	c->out_sent = c->out_len;
	fx_put(f, &part, &e, NULL);
	fx_feed(f, c, hex(PING));
	FX_EXPECT(c, "00000010 fffffffe 0000000000000001 00000000");
	f->zxid++;
	fx_event(f, ZK_EVENT_CREATED, "/b");
	fx_turn(f);
	FX_EXPECT(c, "0000001e ffffffff 0000000000000002 00000000 00000001 00000003 00000002 2f61");
}

FX_TEST(workers_conn, set_watches_tells_what_was_missed_and_watches_the_rest)
{
	struct wrk_conn *c;

	fx_create(f, "/a", "");
	c = fx_open(f);
	/* data: /a as of zxid 0, /b; exist: /a; child: none */
	fx_feed(f, c,
		hex("00000034 fffffff8 00000065 0000000000000000 00000002 00000002 2f61 00000002 "
		    "2f62 00000001 00000002 2f61 00000001 00000002 2f61"));
	FX_EXPECT(c, "0000001e ffffffff ffffffffffffffff 00000000 00000003 00000003 00000002 2f61"
		     "0000001e ffffffff ffffffffffffffff 00000000 00000002 00000003 00000002 2f62"
		     "0000001e ffffffff ffffffffffffffff 00000000 00000001 00000003 00000002 2f61"
		     "0000001e ffffffff ffffffffffffffff 00000000 00000004 00000003 00000002 2f61"
		     "00000010 fffffff8 0000000000000002 00000000");
}

FX_TEST(workers_conn, remove_watches_says_when_there_is_none)
{
	struct wrk_conn *c = fx_open(f);

	fx_feed(f, c,
		hex("00000012 00000001 0000006a 00000002 2f61 00000000"
		    "00000012 00000002 00000012 00000002 2f61 00000002"
		    "00000012 00000003 00000012 00000002 2f61 00000004"
		    "00000012 00000004 00000012 00000002 2f61 00000004"
		    "00000012 00000005 00000012 00000002 2f61 00000009"));
	FX_EXPECT(c, "00000014 00000001 0000000000000001 00000000 00000000"
		     "00000010 00000002 0000000000000001 ffffff87"
		     "00000010 00000003 0000000000000001 00000000"
		     "00000010 00000004 0000000000000001 ffffff87"
		     "00000010 00000005 0000000000000001 fffffffb");
}

/* --- bounds ---------------------------------------------------------------------------------- */

FX_TEST(workers_conn, full_ring_pauses_input_and_loses_nothing)
{
	enum { LEN = 60000, FRAMES = 64 };
	struct wrk_conn *c = fx_open(f), *late;
	uint8_t *frame = calloc(1, LEN + 4);
	uint32_t popped = 0, connects = 0;
	static uint8_t record[1 << 20];

	be32_put(frame, LEN);
	be32_put(frame + 8, ZK_OP_SET_DATA);
	for (uint32_t i = 0; i < FRAMES; i++) {
		be32_put(frame + 4, i);
		wrk_turn_begin(&f->w);
		wrk_conn_feed(&f->w, c, frame, LEN + 4);
		wrk_turn_end(&f->w);
	}
	EXPECT_TRUE(!wrk_conn_wants_input(&f->w, c));
	late = fx_conn(f);
	fx_feed(f, late, hex(FX_CONNECT));
	fx_turn(f);
	for (int turns = 0; popped < FRAMES && turns < 2 * FRAMES; turns++) {
		struct msg_up m;

		while (shm_ring_pop(&f->up, record, sizeof(record)) > 0) {
			memcpy(&m, record, sizeof(m));
			connects += m.kind == UP_CONNECT;
			if (m.kind == UP_CONNECT)
				continue;
			EXPECT_I(m.xid, ==, popped++);
			f->got.head = m;
			fx_answer(f, DOWN_TXN, ZK_OP_ERROR, ZNONODE, hex(""));
		}
		shm_ring_consumed(&f->up);
		fx_turn(f);
	}
	EXPECT_U(popped, ==, FRAMES);
	EXPECT_U(connects, ==, 1);
	fx_turn(f);
	EXPECT_I(f->w.count.outstanding, ==, 1);
	EXPECT_U(c->out_len - c->out_sent, ==, FRAMES * 20);
	EXPECT_TRUE(wrk_conn_wants_input(&f->w, c));
	free(frame);
}

FX_TEST(workers_conn, idle_connection_owns_no_buffers)
{
	struct wrk_conn *c = fx_open(f);

	EXPECT_TRUE(!c->in);
	EXPECT_TRUE(!c->head);
	EXPECT_U(sizeof(*c), <=, 512);
}

/* --- enforced authentication ----------------------------------------------------------------- */

FX_TEST(workers_conn, a_read_behind_an_auth_of_another_scheme_is_refused)
{
	struct wrk_conn *c;

	fx_create(f, "/a", "hi");
	c = fx_open(f);
	f->board.conf.enforce_auth = true;
	f->board.conf.enforce_auth_schemes = (char *)(uintptr_t) "digest";
	fx_feed(f, c, hex("00000017 fffffffc 00000064 00000000 00000002 6970 00000001 78" GET_A));
	EXPECT_I(fx_pop(f), ==, UP_AUTH);
	fx_answer(f, DOWN_AUTH, 0, 0, hex("00000001 00000002 6970 00000009 3132372e302e302e31"));
	fx_turn(f);
	FX_EXPECT(c, "00000010 fffffffc 0000000000000000 00000000 "
		     "00000010 00000002 0000000000000000 ffffff84");
	EXPECT_I(c->state, ==, WRK_LAST);
}

/* --- words ----------------------------------------------------------------------------------- */

static void expect_text(struct wrk_conn *c, const char *want)
{
	char got[4096];
	size_t len = c->out_len - c->out_sent;

	REQUIRE(EXPECT_U(len, <, sizeof(got)));
	memcpy(got, c->out + c->out_sent, len);
	got[len] = 0;
	EXPECT_STR(got, want);
	EXPECT_I(c->state, ==, WRK_LAST);
}

static struct wrk_conn *say(struct workers_fx *f, const char *word)
{
	struct wrk_conn *c = fx_conn(f);

	wrk_turn_begin(&f->w);
	wrk_conn_feed(&f->w, c, (const uint8_t *)word, strlen(word));
	wrk_turn_end(&f->w);
	return c;
}

FX_TEST(workers_words, simple_ones_have_the_texts_that_tools_expect)
{
	expect_text(say(f, "ruok"), "imok");
	expect_text(say(f, "isro\n"), "rw");
	expect_text(say(f, "gtmk"), "306");
	expect_text(say(f, "wchs"), "0 connections watching 0 paths\nTotal watches:0\n");
	expect_text(say(f, "dirs"), "datadir_size: 0\nlogdir_size: 0\n");
}

FX_TEST(workers_words, word_that_is_not_in_the_whitelist_is_told_so)
{
	f->board.conf.four_letter_words = NULL;
	expect_text(say(f, "ruok"), "ruok is not executed because it is not in the whitelist.\n");
	EXPECT_TRUE(strstr((char *)say(f, "srvr")->out, "Mode: standalone\n"));
	f->board.conf.four_letter_words = (char *)(uintptr_t) "srvr, ruok";
	expect_text(say(f, "ruok"), "imok");
}

FX_TEST(workers_words, without_service_they_say_so)
{
	atomic_store(&f->board.h.board->in_service, 0);
	expect_text(say(f, "srvr"), "This ZooKeeper instance is not currently serving requests\n");
	expect_text(say(f, "isro"), "null");
	expect_text(say(f, "ruok"), "imok");
}

FX_TEST(workers_words, report_goes_round_by_the_writer)
{
	struct wrk_conn *c = say(f, "wchc");
	struct msg_down d = {.kind = DOWN_REPORT, .worker = 0, .xid = 3};

	REQUIRE(EXPECT_I(fx_pop(f), ==, UP_REPORT));
	EXPECT_I(f->got.head.xid, ==, 3);
	d.conn = f->got.head.conn;
	wrk_watch(&f->w, fx_open(f), WRK_DATA, "/a", 2, WRK_STANDARD);
	fx_put(f, &d, NULL, NULL);
	fx_turn(f);
	REQUIRE(EXPECT_I(fx_pop(f), ==, UP_REPORT_TEXT));
	EXPECT_I(f->got.head.op, ==, 1);
	EXPECT_U(f->got.head.conn, ==, d.conn);
	d = (struct msg_down){.kind = DOWN_REPORT_TEXT,
			      .conn = d.conn,
			      .err = 1,
			      .zxid = f->zxid,
			      .reply_len = f->got.head.len};
	fx_put(f, &d, NULL, f->got.body);
	fx_turn(f);
	expect_text(c, "0x100002a54210000\n\t/a\n\n");
}

FX_TEST(workers_loop, turn_before_the_first_generation_looks_at_no_tree)
{
	f->w.tree = NULL;
	fx_turn(f);
	EXPECT_TRUE(!f->w.tree);
}

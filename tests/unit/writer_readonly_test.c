#include "tests/unit/writer_fx.h"

/* A core that lets clients in for reads alone. */
static void reads_up(struct wtr_fx *f)
{
	fx_up(f);
	f->conf.members = "server.1=127.0.0.1:1:2\n";
	f->xid = 100;
}

static void serve(struct wtr_fx *f, enum wtr_service service)
{
	wtr_core_serve(&f->core, service, f->core.epoch + 1);
	fx_clear(f);
}

/* A new client's session; all zero: it was not answered. */
static struct msg_session lent(struct wtr_fx *f, uint64_t conn)
{
	struct msg_connect m = {.timeout_ms = 10000, .password_len = -1};
	const struct msg_down *head;
	struct msg_session s = {0};

	fx_clear(f);
	fx_push(f, 0, UP_CONNECT, conn, 0, 0, &m, sizeof(m));
	fx_run(f);
	head = fx_find(f, DOWN_CONNECTED, 0);
	if (head && head->conn == conn)
		memcpy(&s, head + 1, sizeof(s));
	return s;
}

TEST_F(writer_readonly, a_new_client_is_lent_a_session_and_nothing_is_logged, struct wtr_fx,
       reads_up, fx_down)
{
	struct msg_session s;
	uint8_t password[16];
	size_t logged = f->log.len;

	serve(f, WTR_READS);
	s = lent(f, 7);
	EXPECT_I(s.timeout_ms, ==, 10000);
	EXPECT_TRUE(s.session != 0);
	EXPECT_U(s.slot, ==, UINT32_MAX);
	zk_session_password(s.session, password);
	EXPECT_TRUE(memcmp(s.password, password, 16) != 0);
	EXPECT_U(f->log.len, ==, logged);
	EXPECT_TRUE(wtr_session_find(&f->core.sessions, s.session) == NULL);
}

TEST_F(writer_readonly, a_lent_session_goes_on_wherever_reads_are_served_and_nowhere_else,
       struct wtr_fx, reads_up, fx_down)
{
	struct msg_session s;
	struct wtr_fx other = {0};

	serve(f, WTR_READS);
	s = lent(f, 7);
	EXPECT_I(fx_resume(f, 1, 8, s.session, s.password, 6000), ==, 6000);
	EXPECT_I(fx_resume(f, 1, 9, s.session + 1, s.password, 6000), ==, 0);
	reads_up(&other);
	serve(&other, WTR_READS);
	EXPECT_I(fx_resume(&other, 1, 8, s.session, s.password, 6000), ==, 6000);
	serve(&other, WTR_LEADS);
	EXPECT_I(fx_resume(&other, 1, 9, s.session, s.password, 6000), ==, 0);
	fx_down(&other);
}

TEST_F(writer_readonly, a_session_that_the_tree_has_goes_on, struct wtr_fx, reads_up, fx_down)
{
	int64_t s = fx_connect(f, 1);
	uint8_t password[16];

	zk_session_password(s, password);
	serve(f, WTR_READS);
	EXPECT_I(fx_resume(f, 1, 2, s, password, 6000), ==, 6000);
	EXPECT_I(fx_resume(f, 1, 4, s, password, 6000), ==, 6000);
	EXPECT_TRUE(fx_find(f, DOWN_CLOSE, 0) != NULL); /* the connection that had it */
	password[3] ^= 1;
	EXPECT_I(fx_resume(f, 1, 3, s, password, 6000), ==, 0);
}

TEST_F(writer_readonly, a_session_made_elsewhere_is_not_called_expired, struct wtr_fx, reads_up,
       fx_down)
{
	uint8_t password[16];

	zk_session_password(4711, password);
	serve(f, WTR_READS);
	EXPECT_I(fx_resume(f, 1, 2, 4711, password, 6000), ==, -1);
	EXPECT_TRUE(fx_find(f, DOWN_CLOSE, 0) != NULL);
	EXPECT_TRUE(wtr_conn_find(&f->core.conns, 1, 2) == NULL);
}

TEST_F(writer_readonly, writes_and_syncs_that_come_all_the_same_close, struct wtr_fx, reads_up,
       fx_down)
{
	int64_t s = fx_connect(f, 1);
	size_t logged = f->log.len;

	serve(f, WTR_READS);
	fx_create(f, "/a", "hi", 0);
	fx_push(f, 0, UP_REQUEST, 1, s, ZK_OP_CREATE, f->body, jute_size(&f->out, f->body));
	fx_run(f);
	EXPECT_TRUE(fx_find(f, DOWN_CLOSE, 0) != NULL);
	fx_clear(f);
	fx_push(f, 0, UP_SYNC, 1, s, 0, NULL, 0);
	fx_run(f);
	EXPECT_TRUE(fx_find(f, DOWN_CLOSE, 0) != NULL);
	EXPECT_U(f->log.len, ==, logged);
}

TEST_F(writer_readonly, connections_attach_to_a_successor_for_reads_alone, struct wtr_fx, reads_up,
       fx_down)
{
	struct msg_connect m = {.timeout_ms = 10000, .password_len = -1};

	serve(f, WTR_READS);
	fx_push(f, 0, UP_ATTACH, 5, 4711, 0, &m, sizeof(m));
	fx_run(f);
	EXPECT_TRUE(fx_find(f, DOWN_AUTH, 0) != NULL);
	serve(f, WTR_LEADS);
	fx_push(f, 0, UP_ATTACH, 5, 4711, 0, &m, sizeof(m));
	fx_run(f);
	EXPECT_TRUE(fx_find(f, DOWN_CLOSE, 0) != NULL);
}

TEST_F(writer_readonly, no_session_expires_meanwhile, struct wtr_fx, reads_up, fx_down)
{
	int64_t s = fx_connect(f, 1);

	serve(f, WTR_READS);
	fx_sleep(f, 60000);
	EXPECT_TRUE(wtr_session_find(&f->core.sessions, s) != NULL);
	EXPECT_I(wtr_core_outstanding(&f->core), ==, 0);
}

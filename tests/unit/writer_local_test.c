#include <stdlib.h>

#include "shm/board.h"
#include "tests/unit/writer_fx.h"
#include "writer/lead.h"
#include "writer/learn.h"

/* A member of an ensemble with local sessions: the core of writer_fx, and the board's entries. */
static void local_up(struct wtr_fx *f)
{
	fx_up(f);
	f->conf.members = (char *)(uintptr_t) "server.1=..";
	f->conf.local_sessions = f->conf.local_sessions_upgrading = true;
	f->core.sessions.locals = calloc(1, sizeof(struct shm_locals));
	for (int i = 0; i < FX_WORKERS; i++)
		f->core.sessions.heard[i] = NULL;
	REQUIRE(EXPECT_TRUE(f->core.sessions.locals != NULL));
	wtr_core_serve(&f->core, WTR_LEADS, 1);
}

static void local_down(struct wtr_fx *f)
{
	free(f->core.sessions.locals);
	fx_down(f);
}

/* Connect `conn` of worker 0; the session, made without a transaction. */
static int64_t connect_local(struct wtr_fx *f, uint64_t conn, int32_t timeout_ms)
{
	struct msg_connect m = {.timeout_ms = timeout_ms, .password_len = -1};
	const struct msg_down *head;
	int64_t session = 0;

	fx_clear(f);
	fx_push(f, 0, UP_CONNECT, conn, 0, 0, &m, sizeof(m));
	fx_run(f);
	EXPECT_TRUE(!fx_find(f, DOWN_TXN, 0));
	head = fx_find(f, DOWN_CONNECTED, 0);
	if (EXPECT_TRUE(head != NULL))
		session = head->session;
	fx_clear(f);
	return session;
}

static int64_t on_board(const struct wtr_fx *f, uint32_t i)
{
	return atomic_load(&f->core.sessions.locals->of[i].id);
}

/* The kinds of what was told, and the types of transactions. */
static int told(const struct wtr_fx *f, struct msg_down *to, int max)
{
	const struct msg_down *head;
	int n = 0;

	for (size_t at = 0; n < max && (head = fx_next(f, &at));)
		to[n++] = *head;
	return n;
}

static int32_t refused(struct wtr_fx *f, uint64_t conn, int64_t session, int32_t op)
{
	int32_t xid =
	    fx_push(f, 0, UP_REQUEST, conn, session, op, f->body, jute_size(&f->out, f->body));
	const struct msg_down *head;

	fx_begin(f);
	fx_run(f);
	head = fx_find(f, DOWN_REFUSED, xid);
	return head ? head->err : 1;
}

static void multi_with_ephemeral(struct wtr_fx *f, const char *path)
{
	zk_multi_header_encode(&f->out, &(struct zk_multi_header){ZK_OP_CREATE, false, -1});
	fx_create(f, "/with", "", 0);
	zk_multi_header_encode(&f->out, &(struct zk_multi_header){ZK_OP_CREATE, false, -1});
	fx_create(f, path, "", ZK_MODE_EPHEMERAL);
	zk_multi_end(&f->out);
}

TEST_F(writer_local, sessions_begin_write_and_end_without_a_transaction, struct wtr_fx, local_up,
       local_down)
{
	int64_t s = connect_local(f, 1, 10000), other = connect_local(f, 2, 10000);

	EXPECT_I(f->core.applied_zxid, ==, 0);
	EXPECT_I(on_board(f, 0), ==, s);
	EXPECT_I(on_board(f, 1), ==, other);
	EXPECT_U(f->core.sessions.n_locals, ==, 2);
	fx_create(f, "/a", "", 0);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE), ==, 0);
	EXPECT_I(f->core.applied_zxid, ==, 1);
	EXPECT_I(refused(f, 1, s, ZK_OP_CLOSE_SESSION), ==, 0);
	EXPECT_I(f->core.applied_zxid, ==, 1);
	EXPECT_U(f->core.sessions.n_locals, ==, 1);
	EXPECT_I(on_board(f, 0), ==, 0);
	EXPECT_U(f->core.conns.of[0].count, ==, 1);
	EXPECT_U(shm_session_count(f->tree), ==, 0);
	s = connect_local(f, 3, 10000);
	EXPECT_I(on_board(f, 0), ==, s); /* the entry is used again */
	fx_sleep(f, 14000);
	EXPECT_U(f->core.sessions.table.count, ==, 0);
	EXPECT_TRUE(fx_find(f, DOWN_CLOSE, 0) != NULL);
	EXPECT_I(f->core.applied_zxid, ==, 1);
	EXPECT_U(f->core.conns.of[0].count, ==, 0);
}

TEST_F(writer_local, the_first_ephemeral_makes_it_global, struct wtr_fx, local_up, local_down)
{
	int64_t s = connect_local(f, 1, 10000);
	struct msg_down head[4];
	struct msg_session m;

	fx_create(f, "/e", "", ZK_MODE_EPHEMERAL);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE2), ==, 0);
	REQUIRE(EXPECT_I(told(f, head, 4), ==, 2));
	EXPECT_I(head[0].type, ==, ZK_OP_CREATE_SESSION);
	EXPECT_I(head[0].session, ==, s);
	EXPECT_U(head[0].conn, ==, 1); /* whose slot is another now */
	memcpy(&m, fx_find(f, DOWN_TXN, 0) + 1, sizeof(m));
	EXPECT_U(m.slot, <, SHM_SESSIONS_MAX);
	EXPECT_I(m.timeout_ms, ==, 10000);
	EXPECT_I(head[1].type, ==, ZK_OP_CREATE2);
	EXPECT_I(head[1].zxid, ==, 2);
	EXPECT_I(on_board(f, 0), ==, 0);
	EXPECT_U(f->core.sessions.n_locals, ==, 0);
	EXPECT_U(shm_session_count(f->tree), ==, 1);
	/* Once is enough; and it ends as a global one. */
	fx_create(f, "/e2", "", ZK_MODE_EPHEMERAL);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE), ==, 0);
	EXPECT_I(f->core.applied_zxid, ==, 3);
	fx_sleep(f, 14000);
	EXPECT_I(f->core.applied_zxid, ==, 4);
	EXPECT_U(shm_tree_ephemerals(f->tree), ==, 0);
	EXPECT_U(shm_session_count(f->tree), ==, 0);
	EXPECT_I(f->core.apply.digest_differs, ==, 0);
}

TEST_F(writer_local, a_multi_upgrades_too, struct wtr_fx, local_up, local_down)
{
	int64_t s = connect_local(f, 1, 10000);

	multi_with_ephemeral(f, "/e");
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_MULTI), ==, 0);
	EXPECT_I(f->core.applied_zxid, ==, 2);
	EXPECT_U(shm_tree_ephemerals(f->tree), ==, 1);
	fx_create(f, "/c", "", ZK_MODE_EPHEMERAL);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE_CONTAINER), ==, 0);
	s = connect_local(f, 2, 10000);
	fx_create(f, "/c2", "", ZK_MODE_EPHEMERAL);
	EXPECT_I(fx_ask(f, 2, s, ZK_OP_CREATE_CONTAINER), ==, ZSESSIONEXPIRED);
	EXPECT_U(f->core.sessions.n_locals, ==, 1);
}

TEST_F(writer_local, without_upgrading_an_ephemeral_is_refused, struct wtr_fx, local_up, local_down)
{
	int64_t s = connect_local(f, 1, 10000);

	f->conf.local_sessions_upgrading = false;
	fx_create(f, "/e", "", ZK_MODE_EPHEMERAL);
	EXPECT_I(refused(f, 1, s, ZK_OP_CREATE), ==, ZEPHEMERALONLOCALSESSION);
	EXPECT_I(f->core.applied_zxid, ==, 0);
	multi_with_ephemeral(f, "/e");
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_MULTI), ==, 0); /* its members say why */
	EXPECT_U(shm_tree_ephemerals(f->tree), ==, 0);
	EXPECT_U(f->core.sessions.n_locals, ==, 1);
}

TEST_F(writer_local, they_outlive_service_and_its_end, struct wtr_fx, local_up, local_down)
{
	int64_t s = connect_local(f, 1, 10000), up = connect_local(f, 2, 10000);
	uint8_t password[16];

	fx_push(f, 0, UP_DETACH, 2, up, 0, NULL, 0);
	/* One became global, and its writer died before it could say so. */
	fx_create(f, "/e", "", ZK_MODE_EPHEMERAL);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE), ==, 0);
	atomic_store(&f->core.sessions.locals->of[0].id, s);
	wtr_core_retire(&f->core);
	wtr_core_serve(&f->core, WTR_LEADS, 2);
	EXPECT_U(f->core.sessions.n_locals, ==, 1);
	EXPECT_U(f->core.sessions.table.count, ==, 2);
	EXPECT_I(on_board(f, 0), ==, 0);
	zk_session_password(up, password);
	EXPECT_I(fx_resume(f, 1, 7, up, password, 4000), ==, 4000);
	EXPECT_I(atomic_load(&f->core.sessions.locals->of[1].timeout_ms), ==, 4000);
	zk_session_password(up + 9, password);
	EXPECT_I(fx_resume(f, 1, 8, up + 9, password, 4000), ==, 0);
}

TEST_F(writer_local, a_learner_keeps_them_from_its_leader, struct wtr_fx, local_up, local_down)
{
	int64_t s, global;
	uint8_t password[16];
	size_t len;

	wtr_core_serve(&f->core, WTR_LEARNS, 2);
	s = connect_local(f, 1, 10000);
	EXPECT_U(f->core.forward.len, ==, 0);
	zk_session_password(s, password);
	EXPECT_I(fx_resume(f, 1, 2, s, password, 10000), ==, 10000);
	EXPECT_U(f->core.forward.len, ==, 0);
	wtr_learner_ping(&f->core, 0);
	EXPECT_U(f->core.forward.len, ==, 20); /* no touches */
	f->core.forward.len = 0;
	/* One of the leader's does not expire here, the local one does. */
	global = s + 100;
	REQUIRE(EXPECT_TRUE(wtr_session_add(&f->core.sessions, global, 4000) != NULL));
	fx_sleep(f, 14000);
	EXPECT_TRUE(!wtr_session_find(&f->core.sessions, s));
	EXPECT_TRUE(wtr_session_find(&f->core.sessions, global) != NULL);
	EXPECT_U(f->core.forward.len, ==, 0);
	/* createSession goes ahead of the request; then it is the leader's. */
	s = connect_local(f, 3, 10000);
	fx_create(f, "/e", "", ZK_MODE_EPHEMERAL);
	len = jute_size(&f->out, f->body);
	fx_push(f, 0, UP_REQUEST, 3, s, ZK_OP_CREATE, f->body, len);
	EXPECT_U(f->core.forward.len, >, len + 64);
	EXPECT_I((int32_t)be32_get(f->core.forward.bytes + 16 + 12), ==, ZK_OP_CREATE_SESSION);
	f->core.forward.len = 0;
	fx_sleep(f, 14000);
	EXPECT_TRUE(wtr_session_find(&f->core.sessions, s) != NULL);
	wtr_learner_ping(&f->core, 0);
	EXPECT_U(f->core.forward.len, ==, 20 + QUORUM_TOUCH_SIZE);
}

static int32_t forwarded(struct wtr_fx *f, int64_t session, int32_t op)
{
	struct jute_vec none = {.count = 0};
	struct quorum_request r = {session, ++f->xid, op,
				   jute_buf_of(f->body, jute_size(&f->out, f->body))};
	const struct msg_down *head;

	wtr_leader_request(&f->core, 0, &r, &none);
	fx_begin(f);
	fx_run(f);
	head = fx_find(f, DOWN_TXN, f->xid);
	return head ? head->err : 1;
}

TEST_F(writer_local, a_leader_grants_other_members_sessions_all_but_ephemerals, struct wtr_fx,
       local_up, local_down)
{
	int64_t theirs = 2ll << 56 | 77, ours = 1ll << 56 | 77, mine = connect_local(f, 1, 10000);
	struct quorum_touch touch = {mine, 10000};

	fx_create(f, "/a", "", 0);
	EXPECT_I(forwarded(f, theirs, ZK_OP_CREATE), ==, 0);
	fx_create(f, "/e", "", ZK_MODE_EPHEMERAL);
	EXPECT_I(forwarded(f, theirs, ZK_OP_CREATE), ==, ZSESSIONEXPIRED);
	EXPECT_I(forwarded(f, theirs, ZK_OP_CLOSE_SESSION), ==, ZSESSIONEXPIRED);
	fx_create(f, "/b", "", 0);
	EXPECT_I(forwarded(f, ours, ZK_OP_CREATE), ==, ZSESSIONEXPIRED);
	fx_create(f, "/b", "", 0);
	EXPECT_I(forwarded(f, mine, ZK_OP_CREATE), ==, ZSESSIONMOVED);
	EXPECT_TRUE(!wtr_leader_revalidate(&f->core, 0, touch));
	/* Where there are no local ones, nobody unknown is granted anything. */
	f->conf.local_sessions = false;
	fx_create(f, "/b", "", 0);
	EXPECT_I(forwarded(f, theirs, ZK_OP_CREATE), ==, ZSESSIONEXPIRED);
}

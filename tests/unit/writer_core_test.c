#include <stdlib.h>

#include "tests/unit/hex.h"
#include "tests/unit/writer_fx.h"
#include "writer/lead.h"

static const struct shm_node *find(struct wtr_fx *f, const char *path, const struct shm_version **v)
{
	return shm_tree_find(f->tree, shm_tree_hash(f->tree, path, strlen(path)), path,
			     strlen(path), SHM_LATEST, v);
}

/* The reply's body of the last transaction told. */
static const uint8_t *reply(const struct wtr_fx *f, uint32_t *len)
{
	const struct msg_down *head, *last = NULL;

	for (size_t at = 0; (head = fx_next(f, &at));)
		if (head->kind == DOWN_TXN)
			last = head;
	*len = last->reply_len;
	return (const uint8_t *)(last + 1) + last->events_len;
}

TEST_F(writer_core, a_new_session_has_id_password_and_address, struct wtr_fx, fx_up, fx_down)
{
	int64_t s = fx_connect(f, 7);
	const struct msg_down *head = fx_find(f, DOWN_TXN, 0);
	uint8_t password[16];
	struct msg_session m;
	struct jute_vec ids;
	struct jute_in in;
	struct zk_id id;

	EXPECT_U((uint64_t)s >> 56, ==, 1);
	REQUIRE(EXPECT_TRUE(head != NULL));
	EXPECT_I(head->zxid, ==, 1);
	EXPECT_U(head->conn, ==, 7);
	memcpy(&m, head + 1, sizeof(m));
	zk_session_password(s, password);
	EXPECT_MEM(m.password, password, 16);
	EXPECT_I(m.timeout_ms, ==, 10000);
	ids = zk_ids_view((const uint8_t *)(head + 1) + sizeof(m), head->reply_len - sizeof(m));
	REQUIRE(EXPECT_I(ids.count, ==, 1));
	in = jute_elements(&ids);
	id = zk_get_id(&in);
	EXPECT_TRUE(jute_buf_is(id.scheme, "ip"));
	EXPECT_TRUE(jute_buf_is(id.id, "127.0.0.1"));
	EXPECT_I(fx_connect(f, 8), ==, s + 1);
}

TEST_F(writer_core, nothing_is_told_before_it_is_durable, struct wtr_fx, fx_up, fx_down)
{
	int64_t s = fx_connect(f, 1);
	struct wtr_batch *b;

	fx_clear(f);
	fx_create(f, "/a", "hi", 0);
	fx_push(f, 0, UP_REQUEST, 1, s, ZK_OP_CREATE, f->body, jute_size(&f->out, f->body));
	fx_push(f, 0, UP_SYNC, 1, s, 0, NULL, 0);
	b = wtr_core_take(&f->core);
	REQUIRE(EXPECT_TRUE(b != NULL));
	EXPECT_I(wtr_core_apply(&f->core), ==, false);
	EXPECT_U(f->core.out.len, ==, 0); /* neither the write nor the sync behind it */
	EXPECT_TRUE(!find(f, "/a", &(const struct shm_version *){0}));
	wtr_core_durable(&f->core, b->last_zxid);
	fx_run(f);
	EXPECT_TRUE(fx_find(f, DOWN_TXN, f->xid - 1) != NULL);
	EXPECT_TRUE(fx_find(f, DOWN_SYNC, f->xid) > fx_find(f, DOWN_TXN, f->xid - 1));
}

TEST_F(writer_core, replies_have_the_bytes_of_the_reference, struct wtr_fx, fx_up, fx_down)
{
	int64_t s = fx_connect(f, 1);
	const uint8_t *body;
	uint32_t len;

	fx_create(f, "/a", "hi", 0);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE), ==, 0);
	body = reply(f, &len);
	REQUIRE(EXPECT_U(len, ==, 6));
	EXPECT_MEM(body, hex("00000002 2f61")->bytes, 6);
	fx_set(f, "/a", "", -1);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_SET_DATA), ==, 0);
	body = reply(f, &len);
	REQUIRE(EXPECT_U(len, ==, 68));
	EXPECT_MEM(body, hex("0000000000000002 0000000000000003")->bytes, 16);
	EXPECT_U(be32_get(body + 32), ==, 1);
	fx_delete(f, "/a", -1);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_DELETE), ==, 0);
	reply(f, &len);
	EXPECT_U(len, ==, 0);
}

TEST_F(writer_core, a_failed_multi_names_each_members_fate, struct wtr_fx, fx_up, fx_down)
{
	int64_t s = fx_connect(f, 1);
	const uint8_t *body;
	uint32_t len;

	fx_create(f, "/a", "hi", 0);
	fx_ask(f, 1, s, ZK_OP_CREATE);
	zk_multi_header_encode(&f->out, &(struct zk_multi_header){13, false, -1});
	fx_delete(f, "/a", 9);
	zk_multi_header_encode(&f->out, &(struct zk_multi_header){2, false, -1});
	fx_delete(f, "/a", -1);
	zk_multi_end(&f->out);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_MULTI), ==, 0);
	body = reply(f, &len);
	REQUIRE(EXPECT_U(len, ==, 35));
	EXPECT_MEM(body,
		   hex("ffffffff 00 ffffff99 ffffff99 ffffffff 00 fffffffe fffffffe "
		       "ffffffff 01 ffffffff")
		       ->bytes,
		   35);
}

TEST_F(writer_core, a_failed_multi_leaves_no_trace, struct wtr_fx, fx_up, fx_down)
{
	int64_t s = fx_connect(f, 1);
	uint64_t digest = f->core.pending.digest;
	const uint8_t *body;
	uint32_t len;

	fx_create(f, "/p", "", 0);
	fx_ask(f, 1, s, ZK_OP_CREATE);
	digest = f->core.pending.digest;
	zk_multi_header_encode(&f->out, &(struct zk_multi_header){1, false, -1});
	fx_create(f, "/p/s-", "", ZK_MODE_PERSISTENT_SEQUENTIAL);
	zk_multi_header_encode(&f->out, &(struct zk_multi_header){5, false, -1});
	fx_set(f, "/p", "x", -1);
	zk_multi_header_encode(&f->out, &(struct zk_multi_header){2, false, -1});
	fx_delete(f, "/nope", -1);
	zk_multi_end(&f->out);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_MULTI), ==, 0);
	EXPECT_U(f->core.pending.digest, ==, digest);
	EXPECT_U(f->core.pending.count, ==, 0);
	fx_create(f, "/p/s-", "", ZK_MODE_PERSISTENT_SEQUENTIAL);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE), ==, 0);
	body = reply(f, &len);
	EXPECT_MEM(body + 4, "/p/s-0000000000", 15);
	EXPECT_I(f->core.apply.digest_differs, ==, 0);
}

TEST_F(writer_core, closing_takes_ephemerals_in_flight_along, struct wtr_fx, fx_up, fx_down)
{
	int64_t s = fx_connect(f, 1), other = fx_connect(f, 2);
	const struct shm_version *v;

	fx_create(f, "/old", "", ZK_MODE_EPHEMERAL);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE), ==, 0);
	fx_create(f, "/new", "", ZK_MODE_EPHEMERAL);
	fx_push(f, 0, UP_REQUEST, 1, s, ZK_OP_CREATE, f->body, jute_size(&f->out, f->body));
	fx_begin(f);
	fx_create(f, "/others", "", ZK_MODE_EPHEMERAL);
	fx_push(f, 0, UP_REQUEST, 2, other, ZK_OP_CREATE, f->body, jute_size(&f->out, f->body));
	fx_clear(f);
	fx_push(f, 0, UP_REQUEST, 1, s, ZK_OP_CLOSE_SESSION, NULL, 0);
	fx_run(f);
	EXPECT_TRUE(!find(f, "/old", &v));
	EXPECT_TRUE(!find(f, "/new", &v));
	EXPECT_TRUE(find(f, "/others", &v) != NULL);
	EXPECT_TRUE(!wtr_session_find(&f->core.sessions, s));
	EXPECT_U(f->core.conns.of[0].count, ==, 1); /* the other's */
	EXPECT_I(f->core.apply.digest_differs, ==, 0);
	/* Behind it nothing of that session is taken. */
	fx_clear(f);
	fx_create(f, "/late", "", 0);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE), ==, 1);
	EXPECT_TRUE(fx_find(f, DOWN_CLOSE, 0) != NULL);
}

TEST_F(writer_core, silence_expires_a_session_and_its_connection, struct wtr_fx, fx_up, fx_down)
{
	int64_t s = fx_connect(f, 1);
	const struct msg_down *close;
	const struct shm_version *v;

	fx_create(f, "/e", "", ZK_MODE_EPHEMERAL);
	fx_ask(f, 1, s, ZK_OP_CREATE);
	fx_clear(f);
	fx_sleep(f, 9900);
	EXPECT_TRUE(find(f, "/e", &v) != NULL);
	fx_sleep(f, 2300);
	EXPECT_TRUE(!find(f, "/e", &v));
	close = fx_find(f, DOWN_CLOSE, 0);
	REQUIRE(EXPECT_TRUE(close != NULL));
	EXPECT_U(close->conn, ==, 1);
	EXPECT_I(close->session, ==, s);
	EXPECT_TRUE(close > fx_find(f, DOWN_TXN, 0)); /* after the events of the closing */
	EXPECT_U(f->core.conns.of[0].count, ==, 0);   /* its worker does not tell of the end */
}

TEST_F(writer_core, what_the_seat_heard_keeps_a_session, struct wtr_fx, fx_up, fx_down)
{
	int64_t s = fx_connect(f, 1);
	int32_t slot = wtr_session_find(&f->core.sessions, s)->slot;

	for (int i = 0; i < 10; i++) {
		fx_sleep(f, 5000);
		atomic_store(&f->heard[0][slot], (uint32_t)f->now_ms);
	}
	EXPECT_TRUE(wtr_session_find(&f->core.sessions, s) != NULL);
	/* Another worker's seat can't: it is not that worker's session. */
	for (int i = 0; i < 3; i++) {
		fx_sleep(f, 5000);
		atomic_store(&f->heard[1][slot], (uint32_t)f->now_ms);
	}
	EXPECT_TRUE(!wtr_session_find(&f->core.sessions, s));
}

TEST_F(writer_core, time_in_which_nobody_listened_is_not_charged, struct wtr_fx, fx_up, fx_down)
{
	int64_t s = fx_connect(f, 1);

	f->now_ms += 3600 * 1000;
	wtr_core_tick(&f->core, f->now_ms, f->core.wall_ms, false);
	fx_run(f);
	fx_sleep(f, 9000);
	EXPECT_TRUE(wtr_session_find(&f->core.sessions, s) != NULL);
	wtr_sessions_worker(&f->core.sessions, 0, true);
	fx_sleep(f, 60000);
	EXPECT_TRUE(wtr_session_find(&f->core.sessions, s) != NULL);
	wtr_sessions_worker(&f->core.sessions, 0, false);
	fx_sleep(f, 9000);
	EXPECT_TRUE(wtr_session_find(&f->core.sessions, s) != NULL);
	wtr_core_worker_died(&f->core, 0);
	fx_sleep(f, 9000);
	EXPECT_TRUE(wtr_session_find(&f->core.sessions, s) != NULL);
	fx_sleep(f, 3100);
	EXPECT_TRUE(!wtr_session_find(&f->core.sessions, s));
}

TEST_F(writer_core, a_resume_moves_the_session, struct wtr_fx, fx_up, fx_down)
{
	int64_t s = fx_connect(f, 1);
	const struct msg_down *close;
	uint8_t password[16], wrong[16] = {0};

	zk_session_password(s, password);
	fx_clear(f);
	EXPECT_I(fx_resume(f, 1, 5, s, wrong, 6000), ==, 0);
	EXPECT_TRUE(!fx_find(f, DOWN_CLOSE, 0)); /* whoever can't name it disturbs nobody */
	EXPECT_I(fx_resume(f, 1, 6, s + 99, password, 6000), ==, 0);
	EXPECT_I(fx_resume(f, 1, 7, s, password, 6000), ==, 6000);
	close = fx_find(f, DOWN_CLOSE, 0);
	REQUIRE(EXPECT_TRUE(close != NULL));
	EXPECT_U(close->conn, ==, 1);
	EXPECT_U(f->core.conns.of[0].count, ==, 0);
	EXPECT_U(f->core.conns.of[1].count, ==, 1); /* those that were refused are gone */
	fx_sleep(f, 8200);                          /* the new timeout governs */
	EXPECT_TRUE(!wtr_session_find(&f->core.sessions, s));
}

TEST_F(writer_core, requests_of_another_epoch_are_dropped, struct wtr_fx, fx_up, fx_down)
{
	int64_t s = fx_connect(f, 1);

	f->core.epoch = 2;
	fx_clear(f);
	fx_create(f, "/a", "", 0);
	f->core.epoch = 1;
	fx_push(f, 0, UP_REQUEST, 1, s, ZK_OP_CREATE, f->body, jute_size(&f->out, f->body));
	EXPECT_I(wtr_core_outstanding(&f->core), ==, 1);
	f->core.epoch = 3;
	{
		struct msg_up old = {.kind = UP_REQUEST, .epoch = 2, .conn = 1, .session = s};

		EXPECT_I(wtr_core_request(&f->core, 0, (uint8_t *)&old, sizeof(old)), ==, 0);
		EXPECT_I(wtr_core_outstanding(&f->core), ==, 1);
	}
	f->core.epoch = 1;
	fx_run(f);
}

TEST_F(writer_core, records_that_lie_about_themselves_are_refused, struct wtr_fx, fx_up, fx_down)
{
	struct msg_up up = {.kind = UP_REQUEST, .epoch = 1, .len = 1};
	struct msg_connect m = {.password_len = 17};
	uint8_t record[sizeof(up) + sizeof(m) + 16];

	EXPECT_I(wtr_core_request(&f->core, 0, (uint8_t *)&up, 3), ==, -EBADMSG);
	EXPECT_I(wtr_core_request(&f->core, 0, (uint8_t *)&up, sizeof(up)), ==, -EBADMSG);
	up.len = sizeof(m) + 16;
	up.kind = UP_CONNECT;
	memcpy(record, &up, sizeof(up));
	memcpy(record + sizeof(up), &m, sizeof(m));
	EXPECT_I(wtr_core_request(&f->core, 0, record, sizeof(record)), ==, -EBADMSG);
	up.kind = 99;
	memcpy(record, &up, sizeof(up));
	EXPECT_I(wtr_core_request(&f->core, 0, record, sizeof(record)), ==, -EBADMSG);
}

TEST_F(writer_core, containers_and_old_ttl_nodes_are_reaped, struct wtr_fx, fx_up, fx_down)
{
	int64_t s = fx_connect(f, 1);
	const struct shm_version *v;

	fx_create(f, "/used", "", ZK_MODE_CONTAINER);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE_CONTAINER), ==, 0);
	fx_create(f, "/unused", "", ZK_MODE_CONTAINER);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE_CONTAINER), ==, 0);
	fx_create(f, "/used/c", "", 0);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE), ==, 0);
	fx_create(f, "/ttl", "", ZK_MODE_TTL);
	jute_put_long(&f->out, 90000);
	EXPECT_I(fx_ask(f, 1, s, ZK_OP_CREATE_TTL), ==, 0);
	fx_sleep(f, 61000);
	EXPECT_TRUE(find(f, "/used", &v) != NULL);
	s = fx_connect(f, 2);
	fx_delete(f, "/used/c", -1);
	EXPECT_I(fx_ask(f, 2, s, ZK_OP_DELETE), ==, 0);
	EXPECT_TRUE(find(f, "/ttl", &v) != NULL);
	fx_sleep(f, 61000);
	EXPECT_TRUE(!find(f, "/used", &v));
	EXPECT_TRUE(find(f, "/unused", &v) != NULL);
	EXPECT_TRUE(!find(f, "/ttl", &v));
	EXPECT_I(f->core.apply.digest_differs, ==, 0);
}

/* --- a log replayed gives the same tree ------------------------------------------------------- */

static uint32_t dice(uint64_t *seed, uint32_t sides)
{
	*seed = *seed * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)(*seed >> 33) % sides;
}

static void put_random(struct wtr_fx *f, uint64_t *seed, int32_t *op, bool in_multi)
{
	static const char *const paths[] = {"/a",     "/b",     "/a/x",         "/a/y", "/b/x",
					    "/a/x/1", "/b/x/2", "/zookeeper/q", "/",    "/c"};
	static const char *const data[] = {"", "1", "two", NULL, "something longer than most"};
	static const int32_t versions[] = {-1, -1, -1, 0, 1, 2};
	const char *path = paths[dice(seed, 10)];
	const char *bytes = data[dice(seed, 5)];
	int32_t version = versions[dice(seed, 6)];

	switch (dice(seed, in_multi ? 7 : 9)) {
	case 0:
	case 1:
		*op = dice(seed, 2) ? ZK_OP_CREATE : ZK_OP_CREATE2;
		if (in_multi)
			zk_multi_header_encode(&f->out, &(struct zk_multi_header){*op, false, -1});
		fx_create(f, path, bytes, (int32_t)dice(seed, 4));
		return;
	case 2:
		*op = ZK_OP_CREATE_CONTAINER;
		if (in_multi)
			zk_multi_header_encode(&f->out, &(struct zk_multi_header){*op, false, -1});
		fx_create(f, path, bytes, (int32_t)dice(seed, 3));
		return;
	case 3:
	case 4:
		*op = ZK_OP_SET_DATA;
		if (in_multi)
			zk_multi_header_encode(&f->out, &(struct zk_multi_header){*op, false, -1});
		fx_set(f, path, bytes, version);
		return;
	case 5:
	case 6:
		*op = ZK_OP_DELETE;
		if (in_multi)
			zk_multi_header_encode(&f->out, &(struct zk_multi_header){*op, false, -1});
		fx_delete(f, path, version);
		return;
	case 7:
		*op = ZK_OP_SET_ACL;
		jute_put_ustring(&f->out, jute_text(path));
		zk_acl_put_world(&f->out, dice(seed, 4) ? ZK_PERM_ALL : ZK_PERM_ALL | 32);
		jute_put_int(&f->out, version);
		return;
	default:
		*op = ZK_OP_MULTI;
		for (uint32_t n = dice(seed, 5); n; n--) {
			int32_t member;

			put_random(f, seed, &member, true);
		}
		zk_multi_end(&f->out);
	}
}

static void expect_same_replayed(struct wtr_fx *f)
{
	struct wtr_quota quota;
	struct shm_tree *again;
	struct wtr_apply apply = {.quota = &quota, .digests = true};
	size_t at = 0;

	REQUIRE(EXPECT_I(shm_tree_new_private(&again, 0), ==, 0));
	shm_tree_initial(again);
	wtr_quota_init(&quota, again);
	apply.tree = again;
	while (at < f->log.len) {
		uint32_t len;

		memcpy(&len, f->log.bytes + at, sizeof(len));
		at += sizeof(len);
		if (!EXPECT_I(wtr_apply(&apply, f->log.bytes + at, len), ==, 0))
			break;
		at += len;
	}
	EXPECT_I(apply.digest_differs, ==, 0);
	EXPECT_U(shm_tree_digest(again), ==, shm_tree_digest(f->tree));
	EXPECT_I(shm_tree_count(again), ==, shm_tree_count(f->tree));
	EXPECT_I(shm_tree_zxid(again), ==, shm_tree_zxid(f->tree));
	EXPECT_U(shm_session_count(again), ==, shm_session_count(f->tree));
	shm_tree_check(again);
	wtr_apply_fini(&apply);
	wtr_quota_fini(&quota);
	shm_tree_free_private(again);
}

TEST_F(writer_core, random_requests_keep_digest_and_replay_the_same, struct wtr_fx, fx_up, fx_down)
{
	uint64_t seed = t_seed(), conns = 100;
	int64_t session[4];
	uint64_t conn[4];

	for (int i = 0; i < 4; i++)
		session[i] = fx_connect(f, conn[i] = ++conns);
	for (int round = 0; round < 3000; round++) {
		/* Up to 8 requests are in flight together and see each other. */
		for (uint32_t n = dice(&seed, 8) + 1; n; n--) {
			uint32_t who = dice(&seed, 4);
			int32_t op;

			fx_begin(f);
			put_random(f, &seed, &op, false);
			if (!dice(&seed, 60)) {
				fx_push(f, 0, UP_REQUEST, conn[who], session[who],
					ZK_OP_CLOSE_SESSION, NULL, 0);
				session[who] = 0;
			} else if (session[who]) {
				fx_push(f, 0, UP_REQUEST, conn[who], session[who], op, f->body,
					jute_size(&f->out, f->body));
			}
		}
		fx_run(f);
		fx_clear(f);
		for (int i = 0; i < 4; i++)
			if (!session[i])
				session[i] = fx_connect(f, conn[i] = ++conns);
		REQUIRE(EXPECT_I(f->core.apply.digest_differs, ==, 0));
		REQUIRE(EXPECT_U(f->core.pending.digest, ==, shm_tree_digest(f->tree)));
		REQUIRE(EXPECT_U(f->core.pending.count, ==, 0));
	}
	shm_tree_check(f->tree);
	expect_same_replayed(f);
}

/* Err of the answer to a request that a learner forwards. */
static int32_t forwarded(struct wtr_fx *f, int32_t peer, int64_t session, int32_t op)
{
	struct jute_vec none = {.count = 0};
	struct quorum_request r = {session, ++f->xid, op,
				   jute_buf_of(f->body, jute_size(&f->out, f->body))};
	const struct msg_down *head;

	wtr_leader_request(&f->core, peer, &r, &none);
	fx_begin(f);
	fx_run(f);
	head = fx_find(f, DOWN_TXN, op == ZK_OP_CREATE_SESSION ? 0 : f->xid);
	return head ? head->err : 1;
}

static int32_t forwarded_create(struct wtr_fx *f, int32_t peer, int64_t session, const char *path)
{
	fx_create(f, path, "", 0);
	return forwarded(f, peer, session, ZK_OP_CREATE);
}

static void forwarded_session(struct wtr_fx *f, int32_t peer, int64_t session)
{
	jute_put_int(&f->out, 10000);
	EXPECT_I(forwarded(f, peer, session, ZK_OP_CREATE_SESSION), ==, 0);
}

/* An observer goes to its next master, whether the leader has lost the last one or not yet; or a
 * follower comes again. */
TEST_F(writer_core, a_session_that_never_moved_goes_with_its_learner, struct wtr_fx, fx_up, fx_down)
{
	forwarded_session(f, 3, 77);
	EXPECT_I(forwarded_create(f, 3, 77, "/a"), ==, 0);
	EXPECT_I(forwarded_create(f, 4, 77, "/b"), ==, 0);
	wtr_leader_lost(&f->core, 4);
	EXPECT_I(forwarded_create(f, 5, 77, "/c"), ==, 0);
	wtr_leader_lost(&f->core, 5);
	EXPECT_I(forwarded_create(f, 5, 77, "/d"), ==, 0);
}

/* V5: with who had it before there may be requests that are older than all that was done since. */
TEST_F(writer_core, a_session_that_moved_is_nobodys_when_its_learner_is_lost, struct wtr_fx, fx_up,
       fx_down)
{
	struct msg_connect m = {.timeout_ms = 10000, .password_len = 16};
	uint8_t body[sizeof(m) + 16];
	struct quorum_touch asked = {77, 10000};

	forwarded_session(f, 3, 77);
	EXPECT_TRUE(wtr_leader_revalidate(&f->core, 4, asked));
	EXPECT_I(forwarded_create(f, 4, 77, "/a"), ==, 0);
	EXPECT_I(forwarded_create(f, 3, 77, "/b"), ==, ZSESSIONMOVED);
	wtr_leader_lost(&f->core, 4);
	EXPECT_I(forwarded_create(f, 3, 77, "/b"), ==, ZSESSIONMOVED);
	EXPECT_I(forwarded_create(f, 4, 77, "/b"), ==, ZSESSIONMOVED);
	EXPECT_TRUE(wtr_leader_revalidate(&f->core, 4, asked));
	EXPECT_I(forwarded_create(f, 4, 77, "/b"), ==, 0);
	/* To a connection of the leader's, and away. */
	forwarded_session(f, 3, 78);
	memcpy(body, &m, sizeof(m));
	zk_session_password(78, body + sizeof(m));
	fx_push(f, 0, UP_CONNECT, 9, 78, 0, body, sizeof(body));
	EXPECT_I(forwarded_create(f, 3, 78, "/c"), ==, ZSESSIONMOVED);
	fx_push(f, 0, UP_DETACH, 9, 78, 0, NULL, 0);
	EXPECT_I(forwarded_create(f, 3, 78, "/c"), ==, ZSESSIONMOVED);
}

TEST_F(writer_core, a_session_of_before_the_term_is_nobodys_when_its_learner_is_lost, struct wtr_fx,
       fx_up, fx_down)
{
	forwarded_session(f, 3, 77);
	f->conf.members = "server.1=127.0.0.1:1:2\n";
	wtr_core_serve(&f->core, WTR_LEADS, f->core.epoch + 1);
	EXPECT_I(forwarded_create(f, 3, 77, "/a"), ==, 0);
	wtr_leader_lost(&f->core, 3);
	EXPECT_I(forwarded_create(f, 4, 77, "/b"), ==, ZSESSIONMOVED);
}

/* A leader's own connection of before its term, whose client is at a learner by now, or is not. */
TEST_F(writer_core, who_came_first_in_a_term_has_the_session, struct wtr_fx, fx_up, fx_down)
{
	struct msg_connect m = {.timeout_ms = 10000, .password_len = -1};
	int64_t gone = fx_connect(f, 1), here = fx_connect(f, 2);
	const struct msg_down *head;

	f->conf.members = "server.1=127.0.0.1:1:2\n";
	wtr_core_serve(&f->core, WTR_LEADS, f->core.epoch + 1);
	EXPECT_TRUE(wtr_leader_revalidate(&f->core, 3, (struct quorum_touch){gone, 10000}));
	fx_clear(f);
	fx_push(f, 0, UP_ATTACH, 1, gone, 0, &m, sizeof(m));
	fx_push(f, 0, UP_ATTACH, 2, here, 0, &m, sizeof(m));
	fx_run(f);
	head = fx_find(f, DOWN_CLOSE, 0);
	EXPECT_TRUE(head && head->conn == 1);
	head = fx_find(f, DOWN_AUTH, 0);
	EXPECT_TRUE(head && head->conn == 2);
	EXPECT_TRUE(wtr_leader_revalidate(&f->core, 3, (struct quorum_touch){gone, 10000}));
}

/* What was left there would come to the leader behind the question, which may come late. */
TEST_F(writer_core, a_learner_that_asks_for_a_session_ends_its_old_connection, struct wtr_fx, fx_up,
       fx_down)
{
	struct msg_connect m = {.timeout_ms = 10000, .password_len = -1};
	int64_t s = fx_connect(f, 1);
	const struct msg_down *head;
	uint8_t password[16];
	size_t asked;

	f->conf.members = "server.1=127.0.0.1:1:2\n";
	wtr_core_serve(&f->core, WTR_LEARNS, f->core.epoch + 1);
	fx_push(f, 0, UP_ATTACH, 1, s, 0, &m, sizeof(m));
	fx_create(f, "/a", "", 0);
	fx_push(f, 0, UP_REQUEST, 1, s, ZK_OP_CREATE, f->body, jute_size(&f->out, f->body));
	EXPECT_U(f->core.forward.len, >, 0);
	fx_clear(f);
	zk_session_password(s, password);
	EXPECT_I(fx_resume(f, 1, 2, s, password, 10000), <=, 0); /* no answer yet */
	asked = f->core.forward.len;
	head = fx_find(f, DOWN_CLOSE, 0);
	EXPECT_TRUE(head && head->conn == 1);
	fx_create(f, "/b", "", 0);
	fx_push(f, 0, UP_REQUEST, 1, s, ZK_OP_CREATE, f->body, jute_size(&f->out, f->body));
	EXPECT_U(f->core.forward.len, ==, asked);
}

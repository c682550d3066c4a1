#include "tests/unit/writer_fx.h"

#include <stdlib.h>

void fx_up(struct wtr_fx *f)
{
	f->conf =
	    (struct conf){.tick_ms = 2000,
			  .session_min_ms = 4000,
			  .session_max_ms = 40000,
			  .max_buffer = 0xfffff,
			  .digest_enabled = true,
			  .digest_auth = true,
			  .close_session_txn = true,
			  .extended_types = true,
			  .enforce_quota = true,
			  .container_check_ms = 60000,
			  .container_per_minute = 10000,
			  .server_id = 1,
			  .super_digest = (char *)(uintptr_t) "super:lK75jTNcA+U9vtVEw5vB51mj/w4="};
	f->now_ms = 1000000;
	f->head = 64;
	REQUIRE(EXPECT_I(shm_tree_new_private(&f->tree, 0), ==, 0));
	REQUIRE(EXPECT_I(shm_tree_initial(f->tree), ==, 0));
	REQUIRE(EXPECT_I(wtr_core_init(&f->core, &f->conf, f->tree, 0, FX_WORKERS, FX_RECORD_MAX,
				       f->now_ms, 1700000000000),
			 ==, 0));
	for (int i = 0; i < FX_WORKERS; i++)
		f->core.sessions.heard[i] = f->heard[i];
	shm_tree_published(f->tree, 0, f->head);
	wtr_core_start_alone(&f->core);
	wtr_core_serve(&f->core, WTR_LEADS, 1);
	fx_begin(f);
}

void fx_down(struct wtr_fx *f)
{
	wtr_core_fini(&f->core);
	if (f->tree)
		shm_tree_free_private(f->tree);
	wtr_buf_fini(&f->log);
	wtr_buf_fini(&f->told);
}

void fx_clear(struct wtr_fx *f)
{
	f->told.len = 0;
}

static void tell(struct wtr_fx *f)
{
	bool wants_head;

	wtr_buf_put(&f->told, f->core.out.bytes, f->core.out.len);
	f->core.out.len = 0;
	f->head += 64;
	shm_tree_published(f->tree, f->core.applied_zxid, f->head);
	shm_tree_reclaim(f->tree, UINT64_MAX, 1000000, &wants_head);
}

void fx_run(struct wtr_fx *f)
{
	struct wtr_batch *b;

	do {
		tell(f);
		b = wtr_core_take(&f->core);
		if (b) {
			wtr_buf_put(&f->log, b->bytes, b->len);
			wtr_core_durable(&f->core, b->last_zxid);
		}
		while (wtr_core_apply(&f->core))
			tell(f);
		tell(f);
	} while (b);
}

void fx_sleep(struct wtr_fx *f, uint64_t ms)
{
	for (uint64_t until = f->now_ms + ms; f->now_ms < until;) {
		uint64_t step = until - f->now_ms < 100 ? until - f->now_ms : 100;

		f->now_ms += step;
		wtr_core_tick(&f->core, f->now_ms, f->core.wall_ms + (int64_t)step, true);
		fx_run(f);
	}
}

int32_t fx_push(struct wtr_fx *f, uint16_t worker, enum msg_up_kind kind, uint64_t conn,
		int64_t session, int32_t op, const void *body, size_t len)
{
	struct msg_up up = {.kind = (uint8_t)kind,
			    .epoch = f->core.epoch,
			    .conn = conn,
			    .session = session,
			    .xid = ++f->xid,
			    .op = op,
			    .received_ms = (uint32_t)f->now_ms,
			    .len = (uint32_t)len};
	uint8_t *record = malloc(sizeof(up) + len);

	memcpy(record, &up, sizeof(up));
	if (len)
		memcpy(record + sizeof(up), body, len);
	EXPECT_I(wtr_core_request(&f->core, worker, record, (uint32_t)(sizeof(up) + len)), ==, 0);
	free(record);
	return f->xid;
}

const struct msg_down *fx_next(const struct wtr_fx *f, size_t *at)
{
	const uint8_t *frame = f->told.bytes + *at;
	uint32_t len;

	if (*at >= f->told.len)
		return NULL;
	memcpy(&len, frame, sizeof(len));
	*at += 8 + ((len + 7) & ~7u);
	return (const struct msg_down *)(const void *)(frame + 8);
}

const struct msg_down *fx_find(const struct wtr_fx *f, enum msg_down_kind kind, int32_t xid)
{
	const struct msg_down *head;

	for (size_t at = 0; (head = fx_next(f, &at));)
		if (head->kind == kind && (!xid || head->xid == xid))
			return head;
	return NULL;
}

static size_t put_connect(uint8_t *to, const uint8_t *password, int32_t timeout_ms)
{
	struct msg_connect m = {.address = {[10] = 0xff, 0xff, 127, 0, 0, 1},
				.timeout_ms = timeout_ms,
				.password_len = password ? 16 : -1};

	memcpy(to, &m, sizeof(m));
	if (password)
		memcpy(to + sizeof(m), password, 16);
	return sizeof(m) + (password ? 16 : 0);
}

int64_t fx_connect(struct wtr_fx *f, uint64_t conn)
{
	uint8_t body[sizeof(struct msg_connect) + 16];
	const struct msg_down *head;
	size_t at = f->told.len;

	fx_push(f, 0, UP_CONNECT, conn, 0, 0, body, put_connect(body, NULL, 10000));
	fx_run(f);
	while ((head = fx_next(f, &at)))
		if (head->kind == DOWN_TXN && head->type == ZK_OP_CREATE_SESSION)
			return head->session;
	t_fail(__FILE__, __LINE__, "no session for connection %llu", (unsigned long long)conn);
	return 0;
}

int32_t fx_resume(struct wtr_fx *f, uint16_t worker, uint64_t conn, int64_t session,
		  const uint8_t *password, int32_t timeout_ms)
{
	uint8_t body[sizeof(struct msg_connect) + 16];
	const struct msg_down *head;
	struct msg_session answer;
	size_t at = f->told.len;

	fx_push(f, worker, UP_CONNECT, conn, session, 0, body,
		put_connect(body, password, timeout_ms));
	fx_run(f);
	while ((head = fx_next(f, &at))) {
		if (head->kind != DOWN_CONNECTED || head->conn != conn)
			continue;
		memcpy(&answer, head + 1, sizeof(answer));
		return answer.timeout_ms;
	}
	return -1;
}

int32_t fx_ask(struct wtr_fx *f, uint64_t conn, int64_t session, int32_t op)
{
	int32_t xid =
	    fx_push(f, 0, UP_REQUEST, conn, session, op, f->body, jute_size(&f->out, f->body));
	const struct msg_down *head;

	fx_begin(f);
	fx_run(f);
	head = fx_find(f, DOWN_TXN, xid);
	return head ? head->err : 1;
}

void fx_begin(struct wtr_fx *f)
{
	f->out = jute_out_of(f->body, sizeof(f->body));
}

void fx_create(struct wtr_fx *f, const char *path, const char *data, int32_t flags)
{
	jute_put_ustring(&f->out, path ? jute_text(path) : jute_null);
	jute_put_buffer(&f->out, data ? jute_text(data) : jute_null);
	zk_acl_put_world(&f->out, ZK_PERM_ALL);
	jute_put_int(&f->out, flags);
}

void fx_set(struct wtr_fx *f, const char *path, const char *data, int32_t version)
{
	jute_put_ustring(&f->out, path ? jute_text(path) : jute_null);
	jute_put_buffer(&f->out, data ? jute_text(data) : jute_null);
	jute_put_int(&f->out, version);
}

void fx_delete(struct wtr_fx *f, const char *path, int32_t version)
{
	jute_put_ustring(&f->out, path ? jute_text(path) : jute_null);
	jute_put_int(&f->out, version);
}

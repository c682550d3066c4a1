/*
 * worker_fx.h - a worker for fuzz targets: no sockets, a small tree, a writer that says no
 *
 * Made once. Every input gets connections of its own; afterwards nothing of it may be left.
 */
#pragma once

#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "shm/msg.h"
#include "workers/worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fx {
	struct conf conf;
	struct shm_heritage h;
	struct worker w;
	struct shm_tree *tree;
	struct shm_ring_rx up;
	struct shm_commit_tx down;
	int64_t zxid;
	uint32_t sessions;
};

static inline void fx_make_node(struct fx *f, const char *path)
{
	struct shm_new n = {.path = path,
			    .path_len = (uint32_t)strlen(path),
			    .data = path,
			    .data_len = (int32_t)strlen(path),
			    .acl = SHM_ACL_OPEN,
			    .parent_cversion = -1,
			    .zxid = ++f->zxid};
	struct shm_node *node;

	CHECK(!shm_tree_create(f->tree, &n, &node));
}

static inline struct fx *fx_make(void)
{
	static struct fx f;

	if (f.tree)
		return &f;
	log_level_max = LOG_ERROR;
	f.conf = (struct conf){.workers = 1,
			       .max_buffer = 0xffff,
			       .session_min_ms = 4000,
			       .session_max_ms = 40000,
			       .sessionless_timeout_ms = 10000,
			       .digest_auth = true,
			       .data_dir = (char *)(uintptr_t) "",
			       .data_log_dir = (char *)(uintptr_t) "",
			       .four_letter_words = (char *)(uintptr_t) "*"};
	f.h.conf = &f.conf;
	CHECK(!shm_board_create(&f.h));
	shm_board_reader_born(&f.h, 0);
	atomic_store(&f.h.board->in_service, 1);
	CHECK(!shm_tree_new_private(&f.tree, 64 << 20));
	CHECK(!shm_tree_initial(f.tree));
	fx_make_node(&f, "/a");
	fx_make_node(&f, "/a/b");
	shm_ring_rx_attach(&f.up, &f.h, 0);
	shm_commit_tx_attach(&f.down, &f.h);
	CHECK(!wrk_init(&f.w, &f.h, 0));
	f.w.tree = f.tree;
	return &f;
}

static inline struct wrk_conn *fx_connect(struct fx *f)
{
	static const uint8_t address[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};
	struct wrk_conn *c = wrk_conn_new(&f->w, -1, address, 0, 1);

	CHECK(c);
	return c;
}

static inline void fx_say(struct fx *f, const struct msg_up *up, int kind, int type, int err,
			  const void *reply, size_t len)
{
	struct msg_down d = {.kind = (uint8_t)kind,
			     .conn = up->conn,
			     .session = up->session,
			     .zxid = kind == DOWN_TXN ? ++f->zxid : f->zxid,
			     .xid = up->xid,
			     .type = type,
			     .err = err,
			     .reply_len = (uint32_t)len};
	struct iovec iov[2] = {{&d, sizeof(d)}, {(void *)(uintptr_t)reply, len}};

	CHECK(!shm_commit_appendv(&f->down, iov, 2));
}

static inline void fx_answer(struct fx *f, const struct msg_up *up)
{
	static const uint8_t ids[] = {0, 0, 0, 1, 0, 0, 0, 2, 'i', 'p', 0, 0, 0, 1, '1'};
	struct {
		struct msg_session s;
		uint8_t ids[sizeof(ids)];
	} session = {.s = {.session = ++f->sessions, .timeout_ms = 10000}};

	switch (up->kind) {
	case UP_CONNECT:
		memcpy(session.ids, ids, sizeof(ids));
		fx_say(f, up, up->session ? DOWN_CONNECTED : DOWN_TXN, ZK_OP_CREATE_SESSION, 0,
		       &session, offsetof(__typeof__(session), ids) + sizeof(ids));
		break;
	case UP_REQUEST:
		fx_say(f, up, up->xid & 1 ? DOWN_REFUSED : DOWN_TXN,
		       up->op == ZK_OP_CLOSE_SESSION ? up->op : ZK_OP_ERROR, ZNONODE, NULL, 0);
		break;
	case UP_AUTH:
		fx_say(f, up, DOWN_AUTH, up->op, up->xid & 1 ? ZAUTHFAILED : 0, ids, sizeof(ids));
		break;
	case UP_SYNC:
		fx_say(f, up, DOWN_SYNC, 0, 0, NULL, 0);
		break;
	case UP_REPORT:
		fx_say(f, up, DOWN_REPORT, 0, 0, NULL, 0);
		fx_say(f, up, DOWN_REPORT_TEXT, 0, 1, "\n", 1);
		break;
	default:
		break;
	}
}

/* A turn in which the writer has answered everything; how much that was. */
static inline uint32_t fx_answers(struct fx *f)
{
	static uint8_t record[1 << 17];
	struct msg_up up;
	uint32_t n = 0;
	int64_t len;

	while ((len = shm_ring_pop(&f->up, record, sizeof(record))) > 0) {
		memcpy(&up, record, sizeof(up));
		CHECK((uint64_t)len == sizeof(up) + up.len);
		fx_answer(f, &up);
		n++;
	}
	CHECK(!len);
	shm_ring_consumed(&f->up);
	shm_commit_publish(&f->down, f->zxid);
	wrk_turn_begin(&f->w);
	wrk_turn_end(&f->w);
	return n;
}

static inline void fx_feed(struct fx *f, uint32_t place, const uint8_t *data, size_t size)
{
	struct wrk_conn *c;

	wrk_turn_begin(&f->w);
	c = wrk_conn_at(&f->w, place);
	if (c)
		wrk_conn_feed(&f->w, c, data, size);
	wrk_turn_end(&f->w);
}

/* What was sent since session set-up is whole frames. */
static inline void fx_check_output(const struct wrk_conn *c, size_t from)
{
	size_t at = from;

	while (at < c->out_len) {
		CHECK(c->out_len - at >= 4 + ZK_REPLY_HEADER_SIZE);
		CHECK(be32_get(c->out + at) <= c->out_len - at - 4);
		at += 4 + be32_get(c->out + at);
	}
}

/* The client goes; nothing of it stays. */
static inline void fx_end(struct fx *f, uint32_t place)
{
	struct wrk_conn *c = wrk_conn_at(&f->w, place);

	if (c)
		wrk_conn_close(&f->w, c);
	for (int i = 0; fx_answers(f); i++)
		CHECK(i < 1000);
	CHECK(!wrk_conn_at(&f->w, place));
	CHECK(!f->w.count.outstanding);
	CHECK(!f->w.count.connections);
	CHECK(!f->w.count.sessions);
	CHECK(wrk_watches_empty(f->w.watches));
}

/*
 * workers_fx.h - a worker without sockets, a private tree, and a test that plays the writer
 *
 * Bytes go in by wrk_conn_feed() and are found in the connection's output, as no socket takes them.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "shm/msg.h"
#include "tests/t.h"
#include "tests/unit/board_fx.h"
#include "tests/unit/hex.h"
#include "workers/worker.h"

struct workers_fx {
	struct board_fx board;
	struct worker w;
	struct shm_tree *tree;
	struct shm_ring_rx up;
	struct shm_commit_tx down;
	int64_t zxid;
	struct {
		struct msg_up head;
		uint8_t body[4096];
	} got; /* the last record popped */
};

static inline void workers_up(struct workers_fx *f)
{
	struct conf *conf = &f->board.conf;

	conf->session_min_ms = 4000;
	conf->session_max_ms = 40000;
	conf->sessionless_timeout_ms = 10000;
	conf->digest_auth = true;
	conf->four_letter_words = (char *)(uintptr_t) "*";
	conf->data_dir = conf->data_log_dir = (char *)(uintptr_t) "/data";
	board_up(&f->board);
	EXPECT_I(shm_tree_new_private(&f->tree, 64 << 20), ==, 0);
	EXPECT_I(shm_tree_initial(f->tree), ==, 0);
	for (unsigned i = 0; i < BOARD_FX_WORKERS; i++)
		shm_board_reader_born(&f->board.h, i);
	shm_ring_rx_attach(&f->up, &f->board.h, 0);
	shm_commit_tx_attach(&f->down, &f->board.h);
	atomic_store(&f->board.h.board->in_service, 1);
	EXPECT_I(wrk_init(&f->w, &f->board.h, 0), ==, 0);
	f->w.tree = f->tree;
}

static inline void workers_down(struct workers_fx *f)
{
	wrk_fini(&f->w);
	shm_tree_free_private(f->tree);
	board_down(&f->board);
}

/* --- the client's side ----------------------------------------------------------------------- */

static inline struct wrk_conn *fx_conn(struct workers_fx *f)
{
	static const uint8_t loopback[16] = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1};

	return wrk_conn_new(&f->w, -1, loopback, 0, 4711);
}

static inline void fx_feed(struct workers_fx *f, struct wrk_conn *c, const struct hex *bytes)
{
	wrk_turn_begin(&f->w);
	wrk_conn_feed(&f->w, c, bytes->bytes, bytes->size);
	wrk_turn_end(&f->w);
}

static inline void fx_turn(struct workers_fx *f)
{
	wrk_turn_begin(&f->w);
	wrk_turn_end(&f->w);
}

/* What was sent since, and nothing else. */
static inline void fx_expect_at(const char *file, int line, struct wrk_conn *c,
				const struct hex *want)
{
	size_t got = c->out_len - c->out_sent;

	if (got != want->size)
		t_fail(file, line, "%zu bytes were sent, not %zu", got, want->size);
	t_mem_at(file, line, "sent", c->out + c->out_sent, want->bytes,
		 got < want->size ? got : want->size);
	c->out_sent = c->out_len;
}
#define FX_EXPECT(c_, text_) fx_expect_at(__FILE__, __LINE__, c_, hex(text_))

/* --- the writer's side ----------------------------------------------------------------------- */

/* The next record for the writer: its kind, 0 if none. */
static inline int fx_pop(struct workers_fx *f)
{
	int64_t len = shm_ring_pop(&f->up, &f->got, sizeof(f->got));

	shm_ring_consumed(&f->up);
	if (len <= 0)
		return (int)len;
	EXPECT_I(len, ==, sizeof(f->got.head) + f->got.head.len);
	return f->got.head.kind;
}

static inline void fx_put(struct workers_fx *f, const struct msg_down *d, const void *events,
			  const void *reply)
{
	struct iovec iov[3] = {{(void *)(uintptr_t)d, sizeof(*d)},
			       {(void *)(uintptr_t)events, d->events_len},
			       {(void *)(uintptr_t)reply, d->reply_len}};

	EXPECT_I(shm_commit_appendv(&f->down, iov, 3), ==, 0);
	shm_commit_publish(&f->down, f->zxid);
	shm_tree_published(f->tree, f->zxid, f->down.head);
}

/* The answer to the last record popped; kind DOWN_TXN takes a zxid. */
static inline void fx_answer(struct workers_fx *f, enum msg_down_kind kind, int32_t type,
			     int32_t err, const struct hex *reply)
{
	struct msg_down d = {.kind = (uint8_t)kind,
			     .conn = f->got.head.conn,
			     .session = f->got.head.session,
			     .zxid = kind == DOWN_TXN ? ++f->zxid : f->zxid,
			     .xid = f->got.head.xid,
			     .type = type,
			     .err = err,
			     .reply_len = (uint32_t)reply->size};

	fx_put(f, &d, NULL, reply->bytes);
}

/* A transaction of somebody else with one event. */
static inline void fx_event(struct workers_fx *f, uint8_t type, const char *path)
{
	struct {
		struct msg_event head;
		char path[64];
	} e = {.head = {.type = type,
			.acl = SHM_ACL_OPEN,
			.parent_acl = SHM_ACL_OPEN,
			.path_len = (uint32_t)strlen(path)}};
	struct msg_down d = {.kind = DOWN_TXN,
			     .worker = 1,
			     .zxid = f->zxid,
			     .type = ZK_OP_CREATE,
			     .events_len =
				 (uint32_t)(sizeof(e.head) + ((strlen(path) + 7) & ~7ul))};

	strcpy(e.path, path);
	fx_put(f, &d, &e, NULL);
}

static inline void fx_create(struct workers_fx *f, const char *path, const char *data)
{
	struct shm_new n = {.path = path,
			    .path_len = (uint32_t)strlen(path),
			    .data = data,
			    .data_len = (int32_t)strlen(data),
			    .acl = SHM_ACL_OPEN,
			    .parent_cversion = -1,
			    .zxid = ++f->zxid,
			    .time_ms = 0x1a2007f8871};
	struct shm_node *node;

	EXPECT_I(shm_tree_create(f->tree, &n, &node), ==, 0);
}

#define FX_CONNECT                                                                                 \
	"0000002d 00000000 0000000000000000 00002710 0000000000000000 00000010 "                   \
	"00000000000000000000000000000000 00"
#define FX_CONNECTED                                                                               \
	"00000025 00000000 00002710 0100002a54210000 00000010 e552573d0e3b5960cb84f56d07359e71 00"
/* struct msg_session, little-endian: session, timeout, slot, password; then vector<Id> */
#define FX_SESSION                                                                                 \
	"000021542a000001 10270000 05000000 e552573d0e3b5960cb84f56d07359e71 "                     \
	"00000001 00000002 6970 00000009 3132372e302e302e31"

/* A connection with a session; the transaction takes a zxid. */
static inline struct wrk_conn *fx_open(struct workers_fx *f)
{
	struct wrk_conn *c = fx_conn(f);

	fx_feed(f, c, hex(FX_CONNECT));
	EXPECT_I(fx_pop(f), ==, UP_CONNECT);
	fx_answer(f, DOWN_TXN, ZK_OP_CREATE_SESSION, 0, hex(FX_SESSION));
	fx_turn(f);
	FX_EXPECT(c, FX_CONNECTED);
	EXPECT_I(c->state, ==, WRK_OPEN);
	return c;
}

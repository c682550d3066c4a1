/*
 * writer_fx.h - a writer's core without a world: private tree, simulated clock, a log in memory
 *
 * fx_* build the records that a worker would push, wtr_fx_run() plays the log thread and the ring.
 */
#pragma once

#include "jute/session.h"
#include "tests/t.h"
#include "writer/core.h"
#include "writer/flight.h"

enum { FX_RECORD_MAX = 1 << 20, FX_WORKERS = 2, FX_BODY = 1 << 16 };

struct wtr_fx {
	struct conf conf;
	struct shm_tree *tree;
	struct wtr_core core;
	struct wtr_buf log;  /* all entries that were logged */
	struct wtr_buf told; /* all records that were told since fx_clear */
	uint64_t now_ms, head;
	int32_t xid;
	uint8_t body[FX_BODY];
	struct jute_out out; /* into body */
	_Atomic uint32_t heard[FX_WORKERS][64];
};

void fx_up(struct wtr_fx *f);
void fx_down(struct wtr_fx *f);

/* Forget what was told. */
void fx_clear(struct wtr_fx *f);

/* Time goes by, one tick at a time. */
void fx_sleep(struct wtr_fx *f, uint64_t ms);

/* Log, make durable, apply and tell all that is prepared. */
void fx_run(struct wtr_fx *f);

/* Push a record; no run. Returns its xid. */
int32_t fx_push(struct wtr_fx *f, uint16_t worker, enum msg_up_kind kind, uint64_t conn,
		int64_t session, int32_t op, const void *body, size_t len);

/* Connect `conn` of worker 0 with a new session; runs. The session. */
int64_t fx_connect(struct wtr_fx *f, uint64_t conn);

/* Resume; the timeout that was answered, 0 refused, -1 no answer. */
int32_t fx_resume(struct wtr_fx *f, uint16_t worker, uint64_t conn, int64_t session,
		  const uint8_t *password, int32_t timeout_ms);

/* The next record told, from *at on; NULL at the end. Its body is behind it. */
const struct msg_down *fx_next(const struct wtr_fx *f, size_t *at);

/* The first record told of a kind (and xid, unless 0). NULL: none. */
const struct msg_down *fx_find(const struct wtr_fx *f, enum msg_down_kind kind, int32_t xid);

/* Send what is in f->out as a request of conn/session, run, and give the reply's err. */
int32_t fx_ask(struct wtr_fx *f, uint64_t conn, int64_t session, int32_t op);

/* Requests into f->out, which they empty first. acl: fx_open(), or what fx_acl() wrote. */
void fx_begin(struct wtr_fx *f);
void fx_create(struct wtr_fx *f, const char *path, const char *data, int32_t flags);
void fx_set(struct wtr_fx *f, const char *path, const char *data, int32_t version);
void fx_delete(struct wtr_fx *f, const char *path, int32_t version);

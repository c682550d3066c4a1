/*
 * zab.h - ZAB as a step function: no clock, socket, file, allocation or randomness
 *
 * Same state, same events: same output. The caller (writer/) performs what the output says and
 * feeds back what happened. A standalone server is a quorum of one: the same steps, with itself as
 * the only voter. This header has the roles and events that a quorum of one needs; peers add event
 * types, not another path.
 *
 * Facts kept apart: submitted (proposed), durable here (logged), committed (a quorum has it
 * durable). commit_zxid <= durable_zxid <= last_zxid always: what is published is both (V1).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum zab_role { ZAB_LOOKING, ZAB_LEADING, ZAB_FOLLOWING, ZAB_OBSERVING };

enum { ZAB_WINDOW = 1 << 16, ZAB_VOTERS_MAX = 255 }; /* window: proposals in flight */

enum zab_event_type {
	ZAB_START,   /* recovered: last_zxid is durable and, for a quorum of one, committed */
	ZAB_SUBMIT,  /* the next transaction, zxid = zab_next_zxid() */
	ZAB_DURABLE, /* our log is on stable storage up to zxid */
	ZAB_TIMEOUT, /* the deadline of the last output has come */
};

struct zab_event {
	enum zab_event_type type;
	uint64_t now_ms; /* monotonic, never less than before */
	int64_t zxid;
};

struct zab_out {
	int64_t append_zxid;  /* != 0: this transaction goes to the log now */
	int64_t commit_zxid;  /* apply and publish up to here */
	uint64_t deadline_ms; /* come back with ZAB_TIMEOUT then; UINT64_MAX = not needed */
};

struct zab {
	enum zab_role role;
	uint32_t epoch;    /* high half of zxids; 0 standalone */
	int64_t last_zxid; /* submitted */
	int64_t durable_zxid, commit_zxid;
	uint64_t now_ms;
	int64_t voter[ZAB_VOTERS_MAX]; /* server ids */
	int64_t acked[ZAB_VOTERS_MAX]; /* durable at voter i */
	uint32_t n_voters, self;       /* self: our index */
};

void zab_init(struct zab *z, const int64_t *voters, uint32_t n_voters, uint32_t self);

/* The zxid that the next ZAB_SUBMIT must carry. Leader only. */
int64_t zab_next_zxid(const struct zab *z);

/* Is there room for n more submissions? */
bool zab_has_room(const struct zab *z, uint32_t n);

/*
 * 0; -EBUSY: window full, submit later; -EPROTO: an event that can't be (in this role, or against
 * what is known). On error nothing has changed.
 */
int zab_step(struct zab *z, const struct zab_event *event, struct zab_out *out);

/* Every invariant that holds between steps; aborts. */
void zab_check(const struct zab *z);

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "quorum/election.h"

struct text {
	char *to;
	size_t size, used;
};

static void put(struct text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What does not fit is left out. */
static void put(struct text *t, const char *format, ...)
{
	va_list list;
	int len;

	va_start(list, format);
	len = vsnprintf(t->to + t->used, t->size - t->used, format, list);
	va_end(list);
	if (len > 0)
		t->used += (size_t)len < t->size - t->used ? (size_t)len : t->size - t->used - 1;
}

static void put_vote(struct text *t, enum fle_state state, const struct fle_vote *vote)
{
	put(t, "%s ", fle_state_name(state));
	if (vote->leader == INT64_MIN)
		put(t, "nobody");
	else
		put(t, "%" PRId64, vote->leader);
	if (vote->peer_epoch == INT64_MIN)
		put(t, " r%" PRId64, vote->round);
	else
		put(t, "/%" PRIx64 "/%" PRId64 " r%" PRId64, (uint64_t)vote->zxid, vote->peer_epoch,
		    vote->round);
}

static void put_event(struct text *t, const struct fle_event *e)
{
	switch (e->type) {
	case FLE_LOOK:
		put(t, "looks %" PRIx64 "/%" PRId64, (uint64_t)e->look.last_zxid,
		    e->look.current_epoch);
		break;
	case FLE_RECEIVE:
		put(t, "< %" PRId64 " ", e->receive.from);
		put_vote(t, e->receive.message->state, &e->receive.message->vote);
		break;
	case FLE_TIMEOUT:
		put(t, "timeout");
		break;
	case FLE_CONNECTED:
		put(t, "connected to %" PRId64, e->connected.sid);
		break;
	case FLE_CONFIG:
		put(t, "configuration %" PRIx64, (uint64_t)e->config.committed->version);
		break;
	case FLE_SERVING:
		put(t, "serving epoch %" PRId64, e->serving.epoch);
		break;
	case FLE_APPOINT:
		put(t, "leader is to be %" PRId64, e->appoint.leader);
		break;
	}
}

size_t fle_trace(const struct fle *f, const struct fle_event *event, const struct fle_out *out,
		 char *to, size_t size)
{
	struct text t = {to, size, 0};

	CHECK(size);
	put(&t, "[%6" PRIu64 "] %" PRId64 " ", event->now_ms, f->options.me);
	put_event(&t, event);
	put(&t, ": %s -> ", out->why);
	put_vote(&t, f->state, f->state == FLE_LOOKING ? &f->proposal : &f->vote);
	for (uint32_t i = 0; i < out->n_to; i++)
		put(&t, "%s %" PRId64, i ? "" : " >", out->to[i]);
	if (out->deadline_ms != UINT64_MAX)
		put(&t, " @%" PRIu64, out->deadline_ms);
	return t.used;
}

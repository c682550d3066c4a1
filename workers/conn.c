#include "workers/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "workers/worker.h"

enum { BATCH = 16 };

/* --- closing --------------------------------------------------------------------------------- */

static void release_output(struct worker *w, struct wrk_conn *c)
{
	if (c->out_owned)
		free(c->out);
	else if (w->arena_open == c)
		w->arena_open = NULL;
	c->out = NULL;
	c->out_len = c->out_sent = c->out_cap = 0;
	c->out_owned = false;
}

static void release_input(struct wrk_conn *c)
{
	free(c->in);
	c->in = NULL;
	c->in_len = c->in_cap = 0;
}

void wrk_conn_close(struct worker *w, struct wrk_conn *c)
{
	if (c->state == WRK_GONE)
		return;
	if (c->fd >= 0) {
		/* Unread input would turn the end into a reset, and that eats our last words. */
		if (c->close_after)
			recv(c->fd, NULL, WRK_INPUT_BYTES, MSG_TRUNC | MSG_DONTWAIT);
		close(c->fd);
	}
	c->fd = -1;
	wrk_address_drop(w, c->address);
	w->count.connections--;
	c->state = WRK_GONE;
	c->need_detach = c->attached;
	wrk_watches_drop(w->watches, c->place);
	wrk_conn_forget_session(w, c);
	release_output(w, c);
	release_input(c);
	wrk_link_del(&c->timed);
	wrk_link_del(&c->run);
	wrk_link_del(&c->flush);
	wrk_link_add(&w->gone, &c->gone);
}

void wrk_conn_last(struct worker *w, struct wrk_conn *c)
{
	if (c->state >= WRK_LAST)
		return;
	c->state = WRK_LAST;
	c->close_after = true;
	wrk_queue_drop(w, c);
	release_input(c);
	wrk_conn_deadline(w, c, WRK_CLOSE_MS);
	wrk_link_add(&w->flush, &c->flush);
}

void wrk_conn_sweep(struct worker *w)
{
	struct wrk_link todo, *link;

	wrk_list_take(&todo, &w->gone);
	while ((link = wrk_list_pop(&todo))) {
		struct wrk_conn *c = WRK_OF(link, struct wrk_conn, gone);

		if (c->next_push || c->need_detach)
			wrk_push(w, c);
		if (c->next_push || c->need_detach) {
			wrk_link_add(&w->gone, &c->gone);
			continue;
		}
		wrk_queue_drop(w, c);
		for (struct wrk_request *r = c->auths, *next; r; r = next) {
			next = r->next;
			free(r);
		}
		free(c->ids);
		wrk_link_del(&c->paused);
		wrk_conn_free(w, c);
	}
}

void wrk_conn_deadline(struct worker *w, struct wrk_conn *c, uint64_t in_ms)
{
	c->deadline_ms = w->now_ms + in_ms;
	if (in_ms)
		wrk_link_add(&w->timed, &c->timed);
	else
		wrk_link_del(&c->timed);
}

void wrk_conn_deadlines(struct worker *w)
{
	struct wrk_link *link, *next;

	for (link = w->timed.next; link != &w->timed; link = next) {
		struct wrk_conn *c = WRK_OF(link, struct wrk_conn, timed);

		next = link->next;
		if (c->deadline_ms > w->now_ms)
			continue;
		if (c->state == WRK_OPEN)
			w->count.closed_slow++;
		wrk_conn_close(w, c);
	}
}

/* --- output ---------------------------------------------------------------------------------- */

static void set_events(struct worker *w, struct wrk_conn *c, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.u64 = (uint64_t)c->place};

	if (events == c->events || c->fd < 0 || w->epoll < 0)
		return;
	if (!epoll_ctl(w->epoll, EPOLL_CTL_MOD, c->fd, &e))
		c->events = events;
}

/* The arena's open piece ends; nothing can be added to it in place any more. */
static void arena_seal(struct worker *w)
{
	struct wrk_conn *c = w->arena_open;

	if (!c)
		return;
	w->arena_len += c->out_len;
	c->out_cap = c->out_len;
	w->arena_open = NULL;
}

/* Room for n more bytes behind the output; false: the connection is closed. */
static bool out_room(struct worker *w, struct wrk_conn *c, size_t n)
{
	size_t unsent = c->out_len - c->out_sent, cap = unsent + n;
	uint8_t *out;

	if (__builtin_expect(c->out_cap - c->out_len >= n, 1))
		return true;
	if (c->state == WRK_GONE)
		return false;
	if (!c->out_cap && !w->arena_open && WRK_ARENA_BYTES - w->arena_len >= n) {
		w->arena_open = c;
		c->out = w->arena + w->arena_len;
		c->out_cap = WRK_ARENA_BYTES - w->arena_len;
		return true;
	}
	if (c->out_owned && unsent > WRK_UNSENT_BYTES && c->events & EPOLLOUT) {
		w->count.closed_slow++;
		wrk_conn_close(w, c);
		return false;
	}
	/* The first owner of a few bytes is a reply or a notification that goes out this turn. */
	cap = unsent ? cap + cap / 2 : n;
	out = malloc(cap);
	if (!out) {
		wrk_conn_close(w, c);
		return false;
	}
	if (unsent)
		memcpy(out, c->out + c->out_sent, unsent);
	release_output(w, c);
	c->out = out;
	c->out_len = unsent;
	c->out_cap = cap;
	c->out_owned = true;
	return true;
}

void wrk_out_bytes(struct worker *w, struct wrk_conn *c, const void *bytes, size_t len)
{
	if (!out_room(w, c, len))
		return;
	memcpy(c->out + c->out_len, bytes, len);
	c->out_len += len;
	wrk_link_add(&w->flush, &c->flush);
}

struct jute_out wrk_reply_begin(struct worker *w, struct wrk_conn *c, size_t body_max, int32_t xid,
				int64_t zxid, int32_t err)
{
	struct jute_out out;
	uint8_t *at;

	if (!out_room(w, c, 4 + ZK_REPLY_HEADER_SIZE + body_max))
		return (struct jute_out){.failed = true};
	at = c->out + c->out_len;
	be32_put(at + 4, (uint32_t)xid);
	be64_put(at + 8, (uint64_t)zxid);
	be32_put(at + 16, (uint32_t)err);
	out = jute_out_of(at + 4 + ZK_REPLY_HEADER_SIZE, body_max);
	return out;
}

void wrk_reply_end(struct worker *w, struct wrk_conn *c, const struct jute_out *out)
{
	size_t len;

	if (c->state == WRK_GONE)
		return;
	CHECK(!out->failed);
	len = (size_t)(out->next - (c->out + c->out_len));
	be32_put(c->out + c->out_len, (uint32_t)(len - 4));
	c->out_len += len;
	c->sent++;
	w->count.sent++;
	wrk_link_add(&w->flush, &c->flush);
}

void wrk_reply(struct worker *w, struct wrk_conn *c, int32_t xid, int64_t zxid, int32_t err)
{
	struct jute_out out = wrk_reply_begin(w, c, 0, xid, zxid, err);

	wrk_reply_end(w, c, &out);
}

/* What the socket did not take stays, in memory of its own. */
static void keep_unsent(struct worker *w, struct wrk_conn *c, size_t sent)
{
	bool stalled = c->events & EPOLLOUT;

	c->out_sent += sent;
	if (!c->out_owned) {
		size_t unsent = c->out_len - c->out_sent;
		uint8_t *out = malloc(unsent);

		if (!out) {
			wrk_conn_close(w, c);
			return;
		}
		memcpy(out, c->out + c->out_sent, unsent);
		release_output(w, c);
		c->out = out;
		c->out_len = c->out_cap = unsent;
		c->out_owned = true;
	}
	if (!c->close_after && (sent || !stalled))
		wrk_conn_deadline(w, c, WRK_STALL_MS);
	set_events(w, c, c->events | EPOLLOUT);
}

void wrk_conn_flush(struct worker *w, struct wrk_conn *c)
{
	ssize_t sent = 0;
	size_t unsent = c->out_len - c->out_sent;

	if (c->state == WRK_GONE)
		return;
	if (w->arena_open == c)
		arena_seal(w);
	if (unsent && c->fd >= 0) {
		sent = send(c->fd, c->out + c->out_sent, unsent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS) {
			wrk_conn_close(w, c);
			return;
		}
		sent = sent < 0 ? 0 : sent;
		w->count.bytes_out += sent;
	}
	if ((size_t)sent < unsent) {
		keep_unsent(w, c, (size_t)sent);
		return;
	}
	release_output(w, c);
	if (c->close_after) {
		wrk_conn_close(w, c);
		return;
	}
	if (c->events & EPOLLOUT) {
		wrk_conn_deadline(w, c, 0);
		set_events(w, c, c->events & ~(uint32_t)EPOLLOUT);
	}
}

/* --- input ----------------------------------------------------------------------------------- */

bool wrk_conn_wants_input(const struct worker *w, const struct wrk_conn *c)
{
	uint32_t limit = w->conf->global_outstanding_limit;

	if (c->state == WRK_HANDSHAKE)
		return true;
	if (c->state != WRK_OPEN || c->deaf || c->queued_bytes > WRK_QUEUE_BYTES)
		return false;
	if (c->out_owned && c->out_len - c->out_sent > WRK_UNSENT_PAUSE)
		return false;
	if (c->next_push && !c->queued_reads)
		return false; /* the ring is full */
	return !limit || !c->head || w->count.outstanding * w->board->n_workers < limit;
}

static void bad_input(struct worker *w, struct wrk_conn *c, const char *what, int64_t value)
{
	char text[ZK_IP_TEXT_MAX];

	LOG_W("address=%s port=%u session=0x%llx %s value=%lld: connection closed",
	      zk_ip_text(text, c->address, sizeof(c->address)), c->port,
	      (unsigned long long)c->session, what, (long long)value);
	w->count.errors++;
	wrk_conn_flush(w, c); /* what was answered before it */
	wrk_conn_close(w, c);
}

/* Up to BATCH whole frames, with their nodes on the way into the cache. */
static uint32_t take_frames(struct worker *w, struct wrk_frame frames[BATCH], const uint8_t *bytes,
			    size_t len, size_t *used, int32_t *bad)
{
	uint32_t n = 0;

	for (*used = 0, *bad = 0; n < BATCH && len - *used >= 4; n++) {
		int32_t size = (int32_t)be32_get(bytes + *used);

		if (size < ZK_REQUEST_HEADER_SIZE || (uint32_t)size > w->conf->max_buffer) {
			*bad = size ? size : -1;
			break;
		}
		if (len - *used - 4 < (size_t)size)
			break;
		frames[n] = (struct wrk_frame){.xid = (int32_t)be32_get(bytes + *used + 4),
					       .op = (int32_t)be32_get(bytes + *used + 8),
					       .body = bytes + *used + 12,
					       .len = (uint32_t)size - ZK_REQUEST_HEADER_SIZE};
		wrk_read_prepare(w, &frames[n]);
		*used += 4 + (size_t)size;
	}
	for (uint32_t i = 0; n > 1 && i < n; i++)
		if (frames[i].hash)
			shm_tree_prefetch_node(w->tree, frames[i].hash);
	for (uint32_t i = 0; n > 1 && i < n; i++)
		if (frames[i].hash)
			shm_tree_prefetch_version(w->tree, frames[i].hash);
	return n;
}

/* How many bytes are done with. */
static size_t feed_open(struct worker *w, struct wrk_conn *c, const uint8_t *bytes, size_t len)
{
	struct wrk_frame frames[BATCH];
	size_t done = 0;

	while (c->state == WRK_OPEN && wrk_conn_wants_input(w, c)) {
		int32_t bad;
		size_t used;
		uint32_t n = take_frames(w, frames, bytes + done, len - done, &used, &bad), i;

		for (i = 0; i < n && c->state == WRK_OPEN; i++) {
			wrk_request(w, c, &frames[i]);
			done += 4 + ZK_REQUEST_HEADER_SIZE + frames[i].len;
			if (!wrk_conn_wants_input(w, c))
				break;
		}
		if (i < n || c->state != WRK_OPEN)
			break;
		if (bad)
			bad_input(w, c, "frame length", bad);
		if (!n)
			break;
	}
	return done;
}

static size_t feed(struct worker *w, struct wrk_conn *c, const uint8_t *bytes, size_t len)
{
	size_t done = 0;

	if (c->state == WRK_HANDSHAKE)
		done = wrk_handshake(w, c, bytes, len);
	if (c->state == WRK_OPEN)
		done += feed_open(w, c, bytes + done, len - done);
	return done;
}

/* Keep what is left of `bytes`: part of a frame, or what has to wait. */
static void keep_input(struct worker *w, struct wrk_conn *c, const uint8_t *bytes, size_t len)
{
	if (c->in_cap - c->in_len < len) {
		size_t cap = c->in_len + len + (c->in_len ? c->in_len / 2 : 0);
		uint8_t *in = cap <= UINT32_MAX ? realloc(c->in, cap) : NULL;

		if (!in) {
			wrk_conn_close(w, c);
			return;
		}
		c->in = in;
		c->in_cap = (uint32_t)cap;
	}
	memcpy(c->in + c->in_len, bytes, len);
	c->in_len += (uint32_t)len;
}

/* Input that was kept; what stays moves to the front. */
static void feed_kept(struct worker *w, struct wrk_conn *c)
{
	size_t done = feed(w, c, c->in, c->in_len);

	if (c->state >= WRK_LAST || done == c->in_len) {
		release_input(c);
	} else if (done) {
		c->in_len -= (uint32_t)done;
		memmove(c->in, c->in + done, c->in_len);
	}
}

void wrk_conn_feed(struct worker *w, struct wrk_conn *c, const uint8_t *bytes, size_t len)
{
	size_t done;

	w->count.bytes_in += (int64_t)len;
	if (c->state >= WRK_LAST)
		return;
	if (c->in_len) {
		keep_input(w, c, bytes, len);
		if (c->state < WRK_LAST)
			feed_kept(w, c);
	} else {
		done = feed(w, c, bytes, len);
		if (c->state < WRK_LAST && done < len)
			keep_input(w, c, bytes + done, len - done);
	}
	if (c->state == WRK_HANDSHAKE && c->in_len > WRK_HANDSHAKE_MAX + 4)
		bad_input(w, c, "handshake bytes", c->in_len);
	if (c->state == WRK_OPEN && !wrk_conn_wants_input(w, c))
		wrk_link_add(&w->paused, &c->paused);
	if (w->arena_open == c)
		arena_seal(w);
}

void wrk_conn_ignore(struct worker *w, struct wrk_conn *c)
{
	set_events(w, c, c->events & ~(uint32_t)EPOLLIN);
}

/* Does it wait for something that no event will tell of: room in a ring, a bound, its own reads? */
static bool is_held(const struct worker *w, const struct wrk_conn *c)
{
	if (c->state >= WRK_LAST)
		return false;
	if (c->need_attach || (c->next_push && c->next_push->kind != WRK_READ))
		return true;
	return c->state == WRK_OPEN &&
	       (!wrk_conn_wants_input(w, c) || (c->head && c->head->kind == WRK_READ));
}

void wrk_conn_run(struct worker *w, struct wrk_conn *c)
{
	while (c->head && c->head->kind == WRK_READ && c->state == WRK_OPEN &&
	       c->out_len - c->out_sent <= WRK_UNSENT_BYTES) {
		struct wrk_request *r = c->head;
		struct wrk_frame f = {.xid = r->xid, .op = r->op, .body = r->body, .len = r->len};

		if (!w->conf->enforce_auth || !wrk_refuse_unauthenticated(w, c, f.op, f.xid))
			wrk_read(w, c, &f);
		if (c->head == r) /* a last word drops the queue */
			wrk_answered(w, c, w->s);
	}
	wrk_push(w, c);
	if (c->state == WRK_OPEN && c->in_len && wrk_conn_wants_input(w, c))
		feed_kept(w, c);
	if (is_held(w, c))
		wrk_link_add(&w->paused, &c->paused);
	else
		wrk_link_del(&c->paused);
	if (c->state == WRK_OPEN && !(c->events & EPOLLIN) && wrk_conn_wants_input(w, c))
		set_events(w, c, c->events | EPOLLIN);
	if (w->arena_open == c)
		arena_seal(w);
}

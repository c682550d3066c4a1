#include "bench/client.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/clock.h"

enum {
	EVENTS_PER_TURN = 64,
	BUF_INITIAL = 256 * 1024,
	RETRY_NS = 5 * 1000 * 1000,
	OPENING_TIMEOUT_NS = 2000 * 1000 * 1000,
	CONNECT_REQUEST_LEN = 4 + 45,
	CONNECT_RESPONSE_LEN = 37,
	OP_PING = 11,
	XID_EVENT = -1,
	XID_PING = -2,
};

static const struct bench_handler no_handler;

/* len bytes of host:port */
static int resolve(struct sockaddr_in *addr, const char *host_port, size_t len)
{
	const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	char host[256];
	char *colon;

	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, host_port, len);
	host[len] = '\0';
	colon = strrchr(host, ':');
	if (colon == NULL)
		return -EINVAL;
	*colon = '\0';
	if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
		return -EADDRNOTAVAIL;
	memcpy(addr, found->ai_addr, sizeof(*addr));
	freeaddrinfo(found);
	return 0;
}

static int resolve_all(struct bench_loop *l, const char *hosts)
{
	for (const char *at = hosts; at != NULL; at = strchr(at, ',')) {
		int rc;

		if (l->n_addrs == BENCH_ADDRS_MAX)
			return -E2BIG;
		at += *at == ',';
		rc = resolve(&l->addrs[l->n_addrs++], at, strcspn(at, ","));
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void *need(void *p)
{
	CHECK(p != NULL); /* a load generator without memory has nothing to measure */
	return p;
}

int bench_loop_init(struct bench_loop *l, const char *hosts, uint32_t n_conns, uint32_t depth,
		    uint32_t timeout_ms)
{
	int rc;

	memset(l, 0, sizeof(*l));
	rc = resolve_all(l, hosts);
	if (rc < 0)
		return rc;
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epfd < 0)
		return -errno;
	l->handler = &no_handler;
	l->timeout_ms = timeout_ms;
	l->depth = depth;
	l->n_conns = n_conns;
	l->conns = need(calloc(n_conns, sizeof(*l->conns)));
	l->down = need(calloc(n_conns, sizeof(*l->down)));
	l->buf_cap = BUF_INITIAL;
	l->buf = need(malloc(l->buf_cap));
	for (uint32_t i = 0; i < n_conns; i++) {
		l->conns[i].fd = -1;
		l->conns[i].index = i;
		l->conns[i].slots = need(calloc(depth, sizeof(struct bench_slot)));
	}
	l->now_ns = clock_mono_ns();
	return 0;
}

void bench_loop_fini(struct bench_loop *l)
{
	for (uint32_t i = 0; i < l->n_conns; i++) {
		struct bench_conn *c = &l->conns[i];

		if (c->fd >= 0)
			close(c->fd);
		free(c->tail);
		free(c->out);
		free(c->slots);
	}
	free(l->conns);
	free(l->down);
	free(l->buf);
	close(l->epfd);
}

static void watch_fd(struct bench_loop *l, struct bench_conn *c, int how, bool out)
{
	struct epoll_event ev = {.events = out ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};

	CHECK(epoll_ctl(l->epfd, how, c->fd, &ev) == 0);
	c->want_out = out;
}

static uint8_t *reserve(struct bench_conn *c, size_t len)
{
	uint8_t *p;

	if (c->out_len + len > c->out_cap) {
		c->out_cap = 2 * (c->out_len + len);
		c->out = need(realloc(c->out, c->out_cap));
	}
	p = c->out + c->out_len;
	c->out_len += len;
	return p;
}

static void set_state(struct bench_loop *l, struct bench_conn *c, enum bench_state next)
{
	l->n_open -= c->state == BENCH_OPEN;
	l->n_opening -= c->state == BENCH_HANDSHAKE;
	c->state = next;
	l->n_open += next == BENCH_OPEN;
	l->n_opening += next == BENCH_HANDSHAKE;
}

static void close_fd(struct bench_loop *l, struct bench_conn *c)
{
	close(c->fd);
	c->fd = -1;
	c->tail_len = 0;
	c->out_len = 0;
	c->in_flight = 0;
	set_state(l, c, BENCH_DOWN);
}

void bench_conn_drop(struct bench_loop *l, struct bench_conn *c)
{
	if (c->fd >= 0)
		close_fd(l, c);
	c->session = 0;
	c->zxid = 0;
	memset(c->passwd, 0, sizeof(c->passwd));
}

/* The connection broke, or what came over it can't be trusted any more. */
static void fail(struct bench_loop *l, struct bench_conn *c)
{
	if (c->state == BENCH_HANDSHAKE) {
		l->faults.refused++;
		l->retry_ns = l->now_ns + RETRY_NS;
	} else {
		l->faults.disconnects++;
		l->faults.unknown += c->in_flight;
		if (l->handler->down != NULL)
			l->handler->down(l, c);
	}
	close_fd(l, c);
	if (l->reconnect)
		bench_conn_open(l, c);
}

/* As the ConnectRequest of a client that has seen c->zxid, with the readOnly byte. */
static void put_connect_request(struct bench_loop *l, struct bench_conn *c)
{
	uint8_t *p = reserve(c, CONNECT_REQUEST_LEN);

	be32_put(p, CONNECT_REQUEST_LEN - 4);
	be32_put(p + 4, 0);
	be64_put(p + 8, (uint64_t)c->zxid);
	be32_put(p + 16, l->timeout_ms);
	be64_put(p + 20, (uint64_t)c->session);
	be32_put(p + 28, sizeof(c->passwd));
	memcpy(p + 32, c->passwd, sizeof(c->passwd));
	p[48] = 0;
}

static void begin_open(struct bench_loop *l, struct bench_conn *c)
{
	const struct sockaddr_in *addr = &l->addrs[c->index % l->n_addrs];
	const int on = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	CHECK(c->fd >= 0); /* out of descriptors: the caller raises RLIMIT_NOFILE */
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	c->connect_ns = l->now_ns;
	set_state(l, c, BENCH_HANDSHAKE);
	watch_fd(l, c, EPOLL_CTL_ADD, true);
	if (connect(c->fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 &&
	    errno != EINPROGRESS) {
		fail(l, c);
		return;
	}
	put_connect_request(l, c);
}

void bench_conn_open(struct bench_loop *l, struct bench_conn *c)
{
	CHECK(c->fd < 0);
	if (c->queued_down)
		return;
	c->queued_down = true;
	l->down[l->n_down++] = c->index;
}

void bench_conn_expect_close(struct bench_loop *l, struct bench_conn *c)
{
	set_state(l, c, BENCH_CLOSING);
}

static void open_waiting(struct bench_loop *l)
{
	while (l->n_down > 0 && l->n_opening < BENCH_OPENING_MAX && l->now_ns >= l->retry_ns) {
		struct bench_conn *c = &l->conns[l->down[--l->n_down]];

		c->queued_down = false;
		begin_open(l, c);
	}
}

void bench_send(struct bench_loop *l, struct bench_conn *c, const uint8_t *frame, size_t len,
		uint32_t op, uint64_t key)
{
	uint8_t *p = reserve(c, len);
	struct bench_slot *slot = &c->slots[(c->slot_head + c->in_flight) % l->depth];

	CHECK(c->in_flight < l->depth);
	c->in_flight++;
	c->xid = c->xid == INT32_MAX ? 1 : c->xid + 1;
	memcpy(p, frame, len);
	be32_put(p + 4, (uint32_t)c->xid);
	*slot = (struct bench_slot){.sent_ns = l->now_ns, .key = key, .op = op, .xid = c->xid};
}

void bench_ping(struct bench_loop *l, struct bench_conn *c)
{
	uint8_t *p = reserve(c, 12);

	be32_put(p, 8);
	be32_put(p + 4, (uint32_t)XID_PING);
	be32_put(p + 8, OP_PING);
	c->ping_ns = l->now_ns;
}

void bench_flush(struct bench_loop *l, struct bench_conn *c)
{
	ssize_t n;

	if (c->fd < 0 || c->out_len == 0)
		return;
	n = send(c->fd, c->out, c->out_len, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != ENOTCONN) {
		fail(l, c);
		return;
	}
	if (n > 0) {
		l->bytes_out += (size_t)n;
		c->out_len -= (size_t)n;
		memmove(c->out, c->out + n, c->out_len);
	}
	if (c->want_out != (c->out_len > 0))
		watch_fd(l, c, EPOLL_CTL_MOD, c->out_len > 0);
}

/* false: the connection is gone. */
static bool take_connect_response(struct bench_loop *l, struct bench_conn *c, const uint8_t *p,
				  size_t len)
{
	if (len < CONNECT_RESPONSE_LEN - 1 || be32_get(p + 16) != sizeof(c->passwd)) {
		l->faults.bad_length++;
		fail(l, c);
		return false;
	}
	if ((int32_t)be32_get(p + 4) <= 0) {
		l->faults.expired++;
		bench_conn_drop(l, c);
		if (l->reconnect)
			bench_conn_open(l, c);
		return false;
	}
	c->session = (int64_t)be64_get(p + 8);
	memcpy(c->passwd, p + 20, sizeof(c->passwd));
	c->ping_ns = l->now_ns;
	set_state(l, c, BENCH_OPEN);
	if (l->handler->open != NULL)
		l->handler->open(l, c);
	return c->fd >= 0;
}

static bool take_reply(struct bench_loop *l, struct bench_conn *c, const uint8_t *p, size_t len)
{
	const int32_t xid = (int32_t)be32_get(p);
	const int64_t zxid = (int64_t)be64_get(p + 4);
	const int32_t err = (int32_t)be32_get(p + 12);
	struct bench_slot slot;

	if (xid == XID_EVENT) {
		if (l->handler->event != NULL)
			l->handler->event(l, c, p + BENCH_HEADER_LEN, len - BENCH_HEADER_LEN);
		return c->fd >= 0;
	}
	if (zxid < c->zxid)
		l->faults.bad_zxid++;
	else
		c->zxid = zxid;
	if (xid == XID_PING)
		return true;
	slot = c->slots[c->slot_head];
	if (c->in_flight == 0 || slot.xid != xid) {
		l->faults.bad_order++;
		fail(l, c);
		return false;
	}
	c->slot_head = (c->slot_head + 1) % l->depth;
	c->in_flight--;
	l->handler->reply(l, c, &slot, err, p + BENCH_HEADER_LEN, len - BENCH_HEADER_LEN);
	return c->fd >= 0;
}

static bool take_frame(struct bench_loop *l, struct bench_conn *c, const uint8_t *p, size_t len)
{
	if (c->state == BENCH_HANDSHAKE)
		return take_connect_response(l, c, p, len);
	if (len < BENCH_HEADER_LEN) {
		l->faults.bad_length++;
		fail(l, c);
		return false;
	}
	return take_reply(l, c, p, len);
}

static void keep_tail(struct bench_conn *c, const uint8_t *p, size_t len)
{
	if (len > c->tail_cap) {
		c->tail_cap = 2 * len;
		c->tail = need(realloc(c->tail, c->tail_cap));
	}
	if (len > 0)
		memcpy(c->tail, p, len);
	c->tail_len = len;
}

static void grow_buf(struct bench_loop *l, size_t need_cap)
{
	while (l->buf_cap < need_cap)
		l->buf_cap *= 2;
	l->buf = need(realloc(l->buf, l->buf_cap));
}

/* Handle the whole frames among the first `len` bytes of l->buf, keep the rest. */
static void take_bytes(struct bench_loop *l, struct bench_conn *c, size_t len)
{
	size_t at = 0;

	while (len - at >= 4) {
		const size_t frame = be32_get(l->buf + at);

		if (frame > BENCH_FRAME_MAX) {
			l->faults.bad_length++;
			fail(l, c);
			return;
		}
		if (len - at - 4 < frame)
			break;
		if (!take_frame(l, c, l->buf + at + 4, frame))
			return;
		at += 4 + frame;
	}
	keep_tail(c, l->buf + at, len - at);
}

static void receive(struct bench_loop *l, struct bench_conn *c)
{
	const size_t had = c->tail_len;
	ssize_t n;

	if (had + BUF_INITIAL > l->buf_cap)
		grow_buf(l, had + BUF_INITIAL);
	if (had > 0)
		memcpy(l->buf, c->tail, had);
	n = recv(c->fd, l->buf + had, l->buf_cap - had, 0);
	l->now_ns = clock_mono_ns();
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 && c->state == BENCH_CLOSING) {
		bench_conn_drop(l, c);
		if (l->handler->down != NULL)
			l->handler->down(l, c);
		return;
	}
	if (n <= 0) {
		fail(l, c);
		return;
	}
	l->bytes_in += (size_t)n;
	c->tail_len = 0;
	take_bytes(l, c, had + (size_t)n);
}

/* A handshake that hangs, as when a server is stopped between accept and answer. */
static void retry_stuck(struct bench_loop *l)
{
	if (l->n_opening == 0 || l->now_ns < l->stuck_ns)
		return;
	l->stuck_ns = l->now_ns + OPENING_TIMEOUT_NS / 2;
	for (uint32_t i = 0; i < l->n_conns; i++) {
		struct bench_conn *c = &l->conns[i];

		if (c->state == BENCH_HANDSHAKE && l->now_ns > c->connect_ns + OPENING_TIMEOUT_NS)
			fail(l, c);
	}
}

void bench_loop_turn(struct bench_loop *l, int timeout_ms)
{
	struct epoll_event ev[EVENTS_PER_TURN];
	const bool waiting = l->n_down > 0 && l->n_opening < BENCH_OPENING_MAX;
	const int n =
	    epoll_wait(l->epfd, ev, EVENTS_PER_TURN, waiting && timeout_ms > 1 ? 1 : timeout_ms);

	l->now_ns = clock_mono_ns();
	for (int i = 0; i < n; i++) {
		struct bench_conn *c = ev[i].data.ptr;

		if (c->fd < 0)
			continue;
		if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
			receive(l, c);
		if (c->state == BENCH_OPEN && l->handler->ready != NULL)
			l->handler->ready(l, c);
		bench_flush(l, c);
	}
	retry_stuck(l);
	open_waiting(l);
}

int bench_loop_open_all(struct bench_loop *l, uint32_t seconds)
{
	const bool reconnect = l->reconnect;
	const uint64_t end = clock_mono_ns() + seconds * UINT64_C(1000000000);

	l->reconnect = true;
	for (uint32_t i = 0; i < l->n_conns; i++) {
		if (l->conns[i].state == BENCH_DOWN)
			bench_conn_open(l, &l->conns[i]);
	}
	while (l->n_open < l->n_conns && l->now_ns < end)
		bench_loop_turn(l, 10);
	l->reconnect = reconnect;
	return l->n_open == l->n_conns ? 0 : -ETIMEDOUT;
}

void bench_loop_drain(struct bench_loop *l, uint32_t seconds)
{
	const uint64_t end = clock_mono_ns() + seconds * UINT64_C(1000000000);
	uint64_t left = 0;

	do {
		bench_loop_turn(l, 10);
		left = 0;
		for (uint32_t i = 0; i < l->n_conns; i++)
			left += l->conns[i].in_flight;
	} while (left > 0 && l->now_ns < end);
	l->faults.unknown += left;
}

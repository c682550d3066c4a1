/* One connection of the election port: bytes in, bytes out, who it is. */
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "peers/elector_impl.h"

enum { KEEP_IDLE_S = 15, KEEP_BETWEEN_S = 5, KEEP_PROBES = 3 };

/* --- life ------------------------------------------------------------------------------------ */

static void conn_ready(struct peer_source *source, uint32_t events);

/*
 * A peer whose machine is gone, or that takes nothing, is found out by TCP: by probes, and by what
 * is not acknowledged in time. What of this fails is not worth a connection. Not while dialling,
 * for it would bound that, too.
 */
void elect_conn_set_options(int fd, uint32_t unacked_ms)
{
	const int on = 1, idle = KEEP_IDLE_S, between = KEEP_BETWEEN_S, probes = KEEP_PROBES;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof(between));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacked_ms, sizeof(unacked_ms));
}

struct elect_conn *elect_conn_new(struct peer_elector *e, int fd, enum elect_state state,
				  const struct peer_address *address)
{
	struct elect_conn *c = calloc(1, sizeof(*c));
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};

	if (state == ELECT_DIALLING)
		event.events = EPOLLOUT;
	if (!c || epoll_ctl(e->opt.epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
		free(c);
		close(fd);
		return NULL;
	}
	if (state != ELECT_DIALLING)
		elect_conn_set_options(fd, e->opt.hello_ms);
	*c = (struct elect_conn){
	    .source.ready = conn_ready,
	    .e = e,
	    .next = e->conns,
	    .state = state,
	    .fd = fd,
	    .watched = event.events,
	    .deadline_ms = UINT64_MAX,
	    .address = *address,
	};
	e->conns = c;
	e->n_greetings += state == ELECT_GREETING;
	return c;
}

void elect_conn_watch(struct elect_conn *c, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = c};

	if (events == c->watched)
		return;
	CHECK(epoll_ctl(c->e->opt.epoll, EPOLL_CTL_MOD, c->fd, &event) == 0);
	c->watched = events;
}

void elect_conn_close(struct elect_conn *c, const char *why)
{
	struct elect_peer *p = c->peer;
	bool was_open = c->state == ELECT_OPEN;
	char where[PEER_ADDRESS_TEXT_MAX];

	if (c->state == ELECT_DEAD)
		return;
	c->e->n_greetings -= c->state == ELECT_GREETING;
	c->state = ELECT_DEAD;
	c->deadline_ms = UINT64_MAX;
	close(c->fd);
	c->fd = -1;
	c->e->dead = true;
	c->peer = NULL;
	if (!p && why)
		elect_tell_unknown(c->e, &c->address, why);
	if (!p)
		return;
	if (p->dial.conn == c)
		p->dial.conn = NULL;
	if (p->conn != c)
		return;
	p->conn = NULL;
	/* Its vote may have been lost with the connection, and ours: don't wait for a timer. */
	if (was_open && elect_looks(c->e) && elect_is_voter(c->e, p->sid) && !p->wants) {
		p->wants = true;
		p->tries = 0;
	}
	if (why)
		elect_tell(p, peer_address_print(&c->address, where), why);
}

void elect_conns_free_dead(struct peer_elector *e)
{
	struct elect_conn **at = &e->conns, *c;

	e->dead = false;
	while ((c = *at) != NULL) {
		if (c->state != ELECT_DEAD) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		free(c->in);
		free(c->out);
		free(c);
	}
}

/* --- out ------------------------------------------------------------------------------------- */

static void send_rest(struct elect_conn *c)
{
	ssize_t n = send(c->fd, c->out + c->out_sent, c->out_size - c->out_sent,
			 MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		elect_conn_close(c, strerror(errno));
		return;
	}
	if (n <= 0)
		return;
	c->out_sent += (size_t)n;
	if (c->out_sent < c->out_size)
		return;
	free(c->out);
	c->out = NULL;
	elect_conn_watch(c, c->watched & ~(uint32_t)EPOLLOUT);
	elect_flush(c->peer);
}

void elect_conn_send(struct elect_conn *c, const void *bytes, size_t size)
{
	ssize_t n = send(c->fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);

	CHECK(!c->out);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		elect_conn_close(c, strerror(errno));
		return;
	}
	n = n < 0 ? 0 : n;
	if ((size_t)n == size)
		return;
	/* What was begun must be ended; whatever comes newer meanwhile waits at the peer. */
	c->out_sent = 0;
	c->out_size = size - (size_t)n;
	c->out = malloc(c->out_size);
	if (!c->out) {
		elect_conn_close(c, "no memory");
		return;
	}
	memcpy(c->out, (const uint8_t *)bytes + n, c->out_size);
	elect_conn_watch(c, c->watched | EPOLLOUT);
}

/* --- in -------------------------------------------------------------------------------------- */

/* Two servers with one id take each other's connection away, for ever. */
static void tell_doubled(struct elect_peer *p, const struct elect_conn *now)
{
	char here[PEER_ADDRESS_TEXT_MAX], there[PEER_ADDRESS_TEXT_MAX];
	const struct elect_conn *before = p->conn;
	struct peer_address a, b;

	if (!before || !before->accepted || p->doubled)
		return;
	a = before->address;
	b = now->address;
	if (a.any.sa_family == AF_INET6)
		a.in6.sin6_port = b.in6.sin6_port;
	else
		a.in.sin_port = b.in.sin_port;
	if (a.len == b.len && memcmp(&a.any, &b.any, a.len) == 0)
		return;
	p->doubled = true;
	LOG_W("election: server %" PRId64 " calls from %s and from %s: the same myid twice?",
	      p->sid, peer_address_print(&before->address, there),
	      peer_address_print(&now->address, here));
}

static void keep(struct elect_conn *c, int64_t sid)
{
	struct elect_peer *p = elect_peer_get(c->e, sid);

	if (!p) {
		elect_conn_close(c, "too many servers that the configuration does not name");
		return;
	}
	tell_doubled(p, c);
	elect_opened(c, p);
}

static void greet(struct elect_conn *c, const struct fle_hello *hello)
{
	struct peer_elector *e = c->e;
	struct elect_peer *p;

	switch (fle_accepted(e->opt.fle.me, hello->sid)) {
	case FLE_KEEP:
		keep(c, hello->sid);
		return;
	case FLE_DIAL_BACK:
		p = hello->n_addresses ? elect_peer_get(e, hello->sid)
				       : elect_peer_find(e, hello->sid);
		if (p) {
			/* What the older connection's other end was is over: it calls anew. */
			if (p->conn)
				elect_conn_close(p->conn, NULL);
			elect_dial_back(p, hello);
		}
		break;
	case FLE_CLOSE:
		if (hello->sid == e->opt.fle.me)
			elect_tell_unknown(e, &c->address,
					   "it says that it has our id: the same myid twice, or "
					   "our own address in another server's line?");
		break;
	}
	elect_conn_close(c, NULL);
}

/* Take what is whole. */
static void parse(struct elect_conn *c)
{
	struct fle_hello hello;
	struct jute_buf body;
	size_t at = 0, need;
	int64_t size = 1;

	while (c->state != ELECT_DEAD && size > 0) {
		const uint8_t *next = c->in + at;
		size_t left = c->in_have - at;

		if (c->state == ELECT_GREETING) {
			size = fle_hello_decode(next, left, &hello, &need);
			if (size > 0)
				greet(c, &hello);
		} else {
			size = fle_frame_decode(next, left, &body, &need);
			if (size > 0)
				elect_heard(c, body);
		}
		at += size > 0 ? (size_t)size : 0;
	}
	if (size < 0)
		elect_conn_close(c, "what it sends is nothing that servers say at this port");
	if (c->state == ELECT_DEAD)
		return;
	c->in_have -= at;
	memmove(c->in, c->in + at, c->in_have);
}

/* Memory for bytes that came, not for those announced: twice as much once it is full. */
static bool make_room(struct elect_conn *c)
{
	size_t cap = c->in_cap ? c->in_cap : ELECT_IN_FIRST;
	uint8_t *in;

	if (c->in_have == c->in_cap && c->in_cap)
		cap = 2 * cap < FLE_FRAME_MAX ? 2 * cap : FLE_FRAME_MAX;
	if (cap == c->in_cap)
		return true;
	in = realloc(c->in, cap);
	if (!in)
		return false;
	c->in = in;
	c->in_cap = cap;
	return true;
}

static void receive(struct elect_conn *c)
{
	ssize_t n;

	if (!make_room(c)) {
		elect_conn_close(c, "no memory");
		return;
	}
	CHECK(c->in_have < c->in_cap);
	n = recv(c->fd, c->in + c->in_have, c->in_cap - c->in_have, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		/* Whoever restarts or redials ends a connection: nothing to be told. */
		elect_conn_close(c, n < 0 && errno == ETIMEDOUT ? strerror(errno) : NULL);
		return;
	}
	c->in_have += (size_t)n;
	parse(c);
	if (c->state != ELECT_DEAD && !c->in_have && c->in_cap > ELECT_IN_FIRST) {
		free(c->in);
		c->in = NULL;
		c->in_cap = 0;
	}
}

static void conn_ready(struct peer_source *source, uint32_t events)
{
	struct elect_conn *c = (struct elect_conn *)source;
	socklen_t len = sizeof(int);
	int error = 0;

	if (c->state == ELECT_DEAD)
		return;
	elect_now(c->e, clock_mono_ms());
	if (c->state == ELECT_DIALLING) {
		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		elect_dial_ready(c, error);
		return;
	}
	if (c->out && events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		send_rest(c);
	if (c->state != ELECT_DEAD && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
		receive(c);
}

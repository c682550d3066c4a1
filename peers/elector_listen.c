/* The listening sockets of the election port. */
#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "peers/elector_impl.h"

enum { BACKLOG = 64, ACCEPTS_MAX = 16 }; /* in one go */

static void listener_ready(struct peer_source *source, uint32_t events);

/* --- binding --------------------------------------------------------------------------------- */

/* A socket, or -errno. */
static int open_socket(const struct peer_address *a)
{
	const int on = 1, off = 0;
	int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), err;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, &a->any, a->len) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	err = errno;
	close(fd);
	return -err;
}

/* 0 or -errno. */
static int bind_address(struct peer_elector *e, const struct peer_address *a)
{
	struct elect_listener *to = &e->listen.listener[e->listen.n];
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = to};
	int fd, err;

	if (e->listen.n == ELECT_LISTENERS_MAX)
		return -ENOSPC;
	fd = open_socket(a);
	if (fd < 0)
		return fd;
	if (epoll_ctl(e->opt.epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
		err = errno;
		close(fd);
		return -err;
	}
	*to = (struct elect_listener){{listener_ready}, e, fd};
	e->listen.n++;
	return 0;
}

/* All addresses of a host: one of them is enough. */
static void bind_all(struct peer_elector *e, struct elect_own *own, const struct peer_address *a,
		     int n)
{
	struct elect_listen *l = &e->listen;
	int err = 0;

	for (int i = 0; i < n; i++) {
		err = bind_address(e, &a[i]);
		own->bound |= err == 0;
	}
	if (own->bound)
		return;
	l->error = err;
	if (!l->told)
		LOG_E("election: port %u of %s: %s, trying again", (unsigned)own->port, own->host,
		      strerror(-err));
	l->told = true;
}

/* Both families with one socket, where there is IPv6. */
static void bind_any(struct peer_elector *e, struct elect_own *own)
{
	struct peer_address any = peer_address_any(own->port), v4;

	CHECK(peer_address_of(&v4, "0.0.0.0", own->port) == 1);
	if (bind_address(e, &any) == 0)
		own->bound = true;
	else
		bind_all(e, own, &v4, 1);
}

static bool is_any(const char *host)
{
	return strspn(host, "0:.") == strlen(host);
}

static void own_resolved(struct peer_source *source, uint32_t events)
{
	struct elect_own *own = (struct elect_own *)source;
	struct peer_address address[PEER_ADDRESSES_MAX];
	int n;

	(void)events;
	if (!own->lookup)
		return;
	elect_now(own->e, clock_mono_ms());
	n = peer_lookup_end(own->lookup, address);
	if (n == -EAGAIN)
		return;
	own->lookup = NULL;
	if (n > 0) {
		bind_all(own->e, own, address, n);
		return;
	}
	own->e->listen.error = n;
	if (!own->e->listen.told)
		LOG_E("election: no such host as our own, %s, trying again", own->host);
	own->e->listen.told = true;
}

static void try_own(struct peer_elector *e, struct elect_own *own)
{
	struct peer_address a;

	if (own->bound || own->lookup)
		return;
	if (e->opt.listen_on_all || is_any(own->host)) {
		bind_any(e, own);
	} else if (peer_address_of(&a, own->host, own->port)) {
		bind_all(e, own, &a, 1);
	} else {
		own->lookup = peer_lookup_begin(e->opt.epoll, &own->source, own->host, own->port);
		if (!own->lookup)
			e->listen.error = -errno;
	}
}

static bool is_done(const struct elect_listen *l)
{
	for (unsigned i = 0; i < l->n_own; i++)
		if (!l->own[i].bound)
			return false;
	return true;
}

static void try_all(struct peer_elector *e)
{
	struct elect_listen *l = &e->listen;

	for (unsigned i = 0; i < l->n_own; i++)
		try_own(e, &l->own[i]);
	l->tries++;
	l->again_ms = e->now_ms + ELECT_BIND_AGAIN_MS;
}

/* --- accepting ------------------------------------------------------------------------------- */

/* Who is silent must not keep others out: the oldest makes room. */
static void make_room(struct peer_elector *e)
{
	struct elect_conn *oldest = NULL;

	if (e->n_greetings < PEER_ELECTOR_GREETINGS)
		return;
	for (struct elect_conn *c = e->conns; c; c = c->next)
		if (c->state == ELECT_GREETING)
			oldest = c;
	CHECK(oldest);
	elect_conn_close(oldest, "too many that do not say who they are");
}

static void watch_all(struct peer_elector *e, uint32_t events)
{
	for (unsigned i = 0; i < e->listen.n; i++) {
		struct elect_listener *l = &e->listen.listener[i];
		struct epoll_event event = {.events = events, .data.ptr = l};

		CHECK(epoll_ctl(e->opt.epoll, EPOLL_CTL_MOD, l->fd, &event) == 0);
	}
}

/* False: there are no more for now. */
static bool accept_one(struct elect_listener *l)
{
	struct peer_elector *e = l->e;
	struct sockaddr_storage from = {0};
	socklen_t len = sizeof(from);
	int fd = accept4(l->fd, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct peer_address address;
	struct elect_conn *c;

	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
		LOG_W("election: a connection can't be taken: %s", strerror(errno));
		e->listen.accept_ms = e->now_ms + ELECT_ACCEPT_AGAIN_MS;
		watch_all(e, 0);
	}
	if (fd < 0)
		return false;
	address = peer_address_from(&from);
	make_room(e);
	c = elect_conn_new(e, fd, ELECT_GREETING, &address);
	if (c)
		c->deadline_ms = e->now_ms + e->opt.hello_ms;
	return true;
}

static void listener_ready(struct peer_source *source, uint32_t events)
{
	struct elect_listener *l = (struct elect_listener *)source;

	(void)events;
	if (l->fd < 0)
		return;
	elect_now(l->e, clock_mono_ms());
	for (int i = 0; i < ACCEPTS_MAX && accept_one(l); i++)
		;
}

/* --- the whole ------------------------------------------------------------------------------- */

static bool is_same(const struct elect_listen *l, const struct quorum_config *c,
		    const struct quorum_member *me)
{
	if (l->n_own != (me ? me->n_addrs : 0))
		return false;
	for (unsigned i = 0; i < l->n_own; i++)
		if (l->own[i].port != me->addr[i].election_port ||
		    strcmp(l->own[i].host, quorum_config_host(c, me->addr[i].host)) != 0)
			return false;
	return true;
}

/* With listen_on_all the same port of another address is the same socket. */
static bool is_repeated(const struct peer_elector *e, const struct elect_own *own)
{
	for (const struct elect_own *o = e->listen.own; o < own; o++)
		if (o->port == own->port && (e->opt.listen_on_all || is_any(o->host)))
			return true;
	return false;
}

void elect_listen(struct peer_elector *e, const struct quorum_config *c,
		  const struct quorum_member *me)
{
	struct elect_listen *l = &e->listen;

	if (is_same(l, c, me))
		return;
	elect_listen_stop(e);
	if (!me)
		return;
	l->n_own = me->n_addrs;
	for (unsigned i = 0; i < l->n_own; i++) {
		struct elect_own *own = &l->own[i];

		*own = (struct elect_own){.source.ready = own_resolved, .e = e};
		own->port = me->addr[i].election_port;
		snprintf(own->host, sizeof(own->host), "%s",
			 quorum_config_host(c, me->addr[i].host));
		own->bound = is_repeated(e, own);
	}
	try_all(e);
}

void elect_listen_stop(struct peer_elector *e)
{
	struct elect_listen *l = &e->listen;

	for (unsigned i = 0; i < l->n; i++) {
		close(l->listener[i].fd);
		l->listener[i].fd = -1;
	}
	for (unsigned i = 0; i < l->n_own; i++) {
		if (l->own[i].lookup)
			peer_lookup_abandon(l->own[i].lookup);
		l->own[i].lookup = NULL;
	}
	l->n = l->n_own = l->tries = 0;
	l->told = false;
	l->error = 0;
	l->again_ms = l->accept_ms = UINT64_MAX;
}

void elect_listen_tick(struct peer_elector *e)
{
	struct elect_listen *l = &e->listen;

	if (e->now_ms >= l->accept_ms) {
		l->accept_ms = UINT64_MAX;
		watch_all(e, EPOLLIN);
	}
	if (is_done(l)) {
		l->again_ms = UINT64_MAX;
		l->error = 0;
	} else if (e->now_ms >= l->again_ms) {
		try_all(e);
	}
}

uint64_t elect_listen_due_ms(const struct peer_elector *e)
{
	const struct elect_listen *l = &e->listen;
	uint64_t again_ms = is_done(l) ? UINT64_MAX : l->again_ms;

	return again_ms < l->accept_ms ? again_ms : l->accept_ms;
}

int peer_elector_fault(const struct peer_elector *e)
{
	const struct elect_listen *l = &e->listen;
	uint32_t retries = e->opt.bind_retries;

	return retries && l->tries >= retries && !is_done(l) ? l->error : 0;
}

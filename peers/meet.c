/*
 * meet.c - how connections come about: a leader listens, a learner dials
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "peers/links_impl.h"

enum { BACKLOG = 128, ACCEPTS = 32 /* of one socket in a turn */ };

static int watch(struct peer_links *l, int fd, struct peer_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return epoll_ctl(l->opt.epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int new_socket(const struct peer_address *a)
{
	int fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* --- names ----------------------------------------------------------------------------------- */

static void forget_names(struct link_names *names)
{
	for (unsigned i = 0; i < names->n; i++) {
		if (names->name[i].lookup)
			peer_lookup_abandon(names->name[i].lookup);
		names->name[i].lookup = NULL;
	}
	names->n = 0;
}

static void set_names(struct peer_links *l, const struct quorum_config *c,
		      const struct quorum_member *m)
{
	struct link_names *names = &l->meet.names;

	forget_names(names);
	for (unsigned i = 0; i < m->n_addrs; i++) {
		struct link_name *name = &names->name[i];

		name->port = m->addr[i].quorum_port;
		name->resolved = false;
		snprintf(name->host, sizeof(name->host), "%s",
			 quorum_config_host(c, m->addr[i].host));
	}
	names->n = m->n_addrs;
}

/* Ask for what is not known, or known no more; use() is called for what needs no asking. */
static void ask(struct peer_links *l,
		void (*use)(struct peer_links *, const struct peer_address *, int n))
{
	struct link_names *names = &l->meet.names;

	for (unsigned i = 0; i < names->n; i++) {
		struct link_name *name = &names->name[i];
		struct peer_address a;

		if (name->lookup || name->resolved)
			continue;
		if (peer_address_of(&a, name->host, name->port)) {
			name->resolved = true;
			use(l, &a, 1);
			continue;
		}
		name->lookup =
		    peer_lookup_begin(l->opt.epoll, &name->slot.source, name->host, name->port);
		if (!name->lookup)
			LOG_W("host=%s: %s", name->host, strerror(errno));
	}
}

static bool asking(const struct link_names *names)
{
	for (unsigned i = 0; i < names->n; i++)
		if (names->name[i].lookup)
			return true;
	return false;
}

/* --- listening ------------------------------------------------------------------------------- */

/* A connection, or -errno. No place for it: it is closed. */
static int take(struct peer_links *l, int listener)
{
	struct sockaddr_storage from;
	socklen_t len = sizeof(from);
	struct peer_address a;
	int fd = accept4(listener, (struct sockaddr *)&from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	char text[PEER_ADDRESS_TEXT_MAX];

	if (fd < 0)
		return -errno;
	a = peer_address_from(&from);
	for (int32_t i = 0; i < PEER_LINKS_MAX; i++)
		if (l->link[i].state == LINK_NONE) {
			link_open(l, i, fd, &a);
			return 0;
		}
	LOG_W("%s: closed, %d learners are connected", peer_address_print(&a, text),
	      PEER_LINKS_MAX);
	close(fd);
	return 0;
}

static void watch_listeners(struct peer_links *l, uint32_t events)
{
	for (unsigned i = 0; i < l->meet.n_listeners; i++) {
		struct link_listener *at = &l->meet.listener[i];
		struct epoll_event event = {.events = events, .data.ptr = &at->slot.source};

		if (at->fd >= 0)
			epoll_ctl(l->opt.epoll, EPOLL_CTL_MOD, at->fd, &event);
	}
}

static void listener_ready(struct peer_source *source, uint32_t events)
{
	struct link_slot *slot = (struct link_slot *)source;
	struct peer_links *l = slot->links;
	int err = 0;

	(void)events;
	for (int i = 0; i < ACCEPTS && !err; i++) {
		int fd = l->meet.listener[slot->index].fd;

		err = fd < 0 ? -EAGAIN : take(l, fd);
		if (err == -ECONNABORTED || err == -EINTR)
			err = 0;
	}
	if (err == -EAGAIN || !err)
		return;
	/* No descriptor or memory is left: the socket stays readable, so look away for a while. */
	LOG_W("accept: %s, trying again in %d ms", strerror(-err), LINK_RETRY_MS);
	l->meet.accept_later = true;
	l->meet.retry_ms = l->now_ms + LINK_RETRY_MS;
	watch_listeners(l, 0);
}

static int bind_to(struct link_listener *at)
{
	const int on = 1, off = 0;
	bool is_any = IN6_IS_ADDR_UNSPECIFIED(&at->address.in6.sin6_addr);
	int fd = new_socket(&at->address);

	if (fd == -EAFNOSUPPORT && at->address.any.sa_family == AF_INET6 && is_any) {
		/* A machine without IPv6: any interface is any of IPv4. */
		in_port_t port = at->address.in6.sin6_port;

		at->address = (struct peer_address){.len = sizeof(at->address.in)};
		at->address.in = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = port};
		fd = new_socket(&at->address);
	}
	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (at->address.any.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, is_any ? &off : &on, sizeof(on));
	if (bind(fd, &at->address.any, at->address.len) < 0 || listen(fd, BACKLOG) < 0) {
		int err = -errno;

		close(fd);
		return err;
	}
	return fd;
}

/* One address: 0 or -errno, told once. */
static int listen_at(struct peer_links *l, struct link_listener *at)
{
	char text[PEER_ADDRESS_TEXT_MAX];
	int err = 0, fd = bind_to(at);

	if (fd >= 0)
		err = watch(l, fd, &at->slot.source, EPOLLIN);
	else
		err = fd;
	if (!err) {
		at->fd = fd;
		LOG_I("listening for learners at %s", peer_address_print(&at->address, text));
		return 0;
	}
	if (fd >= 0)
		close(fd);
	if (!at->told)
		LOG_W("listen %s: %s", peer_address_print(&at->address, text), strerror(-err));
	at->told = true;
	return err;
}

/* Try all that are not bound yet. The first error. */
static int listen_all(struct peer_links *l)
{
	struct link_meet *m = &l->meet;
	int first = 0;

	m->retry_ms = UINT64_MAX;
	for (unsigned i = 0; i < m->n_listeners; i++) {
		int err = m->listener[i].fd < 0 ? listen_at(l, &m->listener[i]) : 0;

		if (!err)
			continue;
		/* An interface that is not there, of a name that has others. */
		if (m->listener[i].spare && (err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT))
			continue;
		m->retry_ms = l->now_ms + LINK_RETRY_MS;
		if (!first)
			first = err;
	}
	for (unsigned i = 0; i < m->names.n; i++)
		if (!m->names.name[i].lookup && !m->names.name[i].resolved)
			m->retry_ms = l->now_ms + LINK_RETRY_MS;
	return first;
}

static void add_listeners(struct peer_links *l, const struct peer_address *a, int n)
{
	struct link_meet *m = &l->meet;

	for (int i = 0; i < n && m->n_listeners < LINK_LISTENERS_MAX; i++) {
		struct link_listener *at = &m->listener[m->n_listeners++];

		at->fd = -1;
		at->told = false;
		at->spare = n > 1;
		at->address = a[i];
	}
}

static void add_wildcards(struct peer_links *l, const struct quorum_member *me)
{
	for (unsigned i = 0; i < me->n_addrs; i++) {
		struct peer_address a = peer_address_any(me->addr[i].quorum_port);
		bool have = false;

		for (unsigned k = 0; k < i; k++)
			have |= me->addr[k].quorum_port == me->addr[i].quorum_port;
		if (!have)
			add_listeners(l, &a, 1);
	}
}

int peer_links_listen(struct peer_links *l, const struct quorum_config *c,
		      const struct quorum_member *me, uint64_t now_ms)
{
	CHECK(!l->meet.listening);
	CHECK(!l->meet.dialling);
	l->now_ms = now_ms;
	l->meet.listening = true;
	if (l->opt.listen_on_all) {
		add_wildcards(l, me);
	} else {
		set_names(l, c, me);
		ask(l, add_listeners);
	}
	return listen_all(l);
}

/* --- dialling -------------------------------------------------------------------------------- */

static void end_dial(struct link_dial *d)
{
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

static void end_try(struct peer_links *l)
{
	for (unsigned i = 0; i < l->meet.n_dials; i++)
		end_dial(&l->meet.dial[i]);
	l->meet.n_dials = l->meet.next_dial = 0;
	l->meet.trying = false;
	l->meet.next_ms = UINT64_MAX;
}

static void begin_dial(struct peer_links *l, struct link_dial *d)
{
	int err = 0;

	d->fd = new_socket(&d->address);
	if (d->fd < 0)
		err = d->fd;
	else if (connect(d->fd, &d->address.any, d->address.len) < 0 && errno != EINPROGRESS)
		err = -errno;
	if (!err)
		err = watch(l, d->fd, &d->slot.source, EPOLLOUT);
	if (err) {
		l->meet.error = err;
		end_dial(d);
	}
}

/*
 * Go on with this try: the next address when all before it have failed, or have had their time. The
 * try ends when nothing is left of it.
 */
static void go_on(struct peer_links *l)
{
	struct link_meet *m = &l->meet;
	bool waits = asking(&m->names);

	for (unsigned i = 0; i < m->next_dial; i++)
		waits |= m->dial[i].fd >= 0;
	while (m->next_dial < m->n_dials && (!waits || l->now_ms >= m->next_ms)) {
		struct link_dial *d = &m->dial[m->next_dial++];

		begin_dial(l, d);
		waits |= d->fd >= 0;
		m->next_ms = l->now_ms + LINK_STAGGER_MS;
	}
	if (m->next_dial == m->n_dials)
		m->next_ms = UINT64_MAX;
	if (waits || !m->trying)
		return;
	end_try(l);
	m->retry_ms = l->now_ms + m->between_ms;
	if (!m->tries_left)
		m->retry_ms = l->now_ms;
}

static void add_dials(struct peer_links *l, const struct peer_address *a, int n)
{
	struct link_meet *m = &l->meet;

	for (int i = 0; i < n && m->n_dials < LINK_DIALS_MAX; i++) {
		m->dial[m->n_dials].fd = -1;
		m->dial[m->n_dials++].address = a[i];
	}
}

static void begin_try(struct peer_links *l)
{
	struct link_meet *m = &l->meet;

	m->tries_left--;
	m->trying = true;
	m->retry_ms = UINT64_MAX;
	m->next_ms = l->now_ms;
	m->error = -ENOENT;
	for (unsigned i = 0; i < m->names.n; i++)
		m->names.name[i].resolved = false;
	ask(l, add_dials);
	go_on(l);
}

static void give_up(struct peer_links *l)
{
	struct link_meet *m = &l->meet;

	LOG_W("leader host=%s port=%u can't be reached: %s", m->names.name[0].host,
	      m->names.name[0].port, strerror(m->trying ? ETIMEDOUT : -m->error));
	end_try(l);
	forget_names(&m->names);
	m->dialling = false;
	m->failed = true;
}

/* Linux connects a socket to itself when its port happens to be the one dialled. */
static bool is_itself(int fd)
{
	struct sockaddr_storage a = {0}, b = {0};
	socklen_t a_len = sizeof(a), b_len = sizeof(b);

	return !getsockname(fd, (struct sockaddr *)&a, &a_len) &&
	       !getpeername(fd, (struct sockaddr *)&b, &b_len) && a_len == b_len &&
	       !memcmp(&a, &b, a_len);
}

static void dial_ready(struct peer_source *source, uint32_t events)
{
	struct link_slot *slot = (struct link_slot *)source;
	struct peer_links *l = slot->links;
	struct link_dial *d = &l->meet.dial[slot->index];
	socklen_t len = sizeof(int);
	int err = 0, fd = d->fd;

	if (fd < 0 || !(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) < 0)
		err = errno;
	if (!err && is_itself(fd))
		err = ECONNREFUSED;
	if (err) {
		l->meet.error = -err;
		end_dial(d);
		go_on(l);
		return;
	}
	epoll_ctl(l->opt.epoll, EPOLL_CTL_DEL, fd, NULL);
	d->fd = -1;
	l->meet.dialling = false;
	l->meet.retry_ms = UINT64_MAX;
	forget_names(&l->meet.names);
	link_open(l, 0, fd, &d->address);
	end_try(l);
}

void peer_links_dial(struct peer_links *l, const struct quorum_config *c,
		     const struct quorum_member *leader, uint32_t retry_ms, uint32_t limit_ms,
		     uint64_t now_ms)
{
	struct link_meet *m = &l->meet;

	CHECK(!m->listening);
	CHECK(!m->dialling);
	CHECK(l->link[0].state == LINK_NONE);
	l->now_ms = now_ms;
	m->dialling = true;
	m->failed = false;
	m->tries_left = LINK_TRIES;
	m->between_ms = retry_ms;
	m->give_up_ms = now_ms + limit_ms;
	set_names(l, c, leader);
	begin_try(l);
}

/* --- both ------------------------------------------------------------------------------------ */

static void name_ready(struct peer_source *source, uint32_t events)
{
	struct link_slot *slot = (struct link_slot *)source;
	struct peer_links *l = slot->links;
	struct link_name *name = &l->meet.names.name[slot->index];
	struct peer_address a[PEER_ADDRESSES_MAX];
	int n = name->lookup ? peer_lookup_end(name->lookup, a) : -EAGAIN;

	(void)events;
	if (n == -EAGAIN)
		return;
	name->lookup = NULL;
	name->resolved = n > 0;
	if (n < 0) {
		LOG_W("host=%s: %s", name->host, n == -ENOENT ? "name unknown" : strerror(-n));
		l->meet.error = n;
	}
	if (l->meet.listening) {
		add_listeners(l, a, n);
		listen_all(l);
	} else if (l->meet.dialling) {
		add_dials(l, a, n);
		go_on(l);
	}
}

void meet_init(struct peer_links *l)
{
	struct link_meet *m = &l->meet;

	m->retry_ms = m->next_ms = UINT64_MAX;
	for (unsigned i = 0; i < QUORUM_ADDRS_MAX; i++)
		m->names.name[i].slot = (struct link_slot){{name_ready}, l, i};
	for (unsigned i = 0; i < LINK_LISTENERS_MAX; i++)
		m->listener[i] = (struct link_listener){.slot = {{listener_ready}, l, i}, .fd = -1};
	for (unsigned i = 0; i < LINK_DIALS_MAX; i++)
		m->dial[i] = (struct link_dial){.slot = {{dial_ready}, l, i}, .fd = -1};
}

void meet_reset(struct peer_links *l)
{
	struct link_meet *m = &l->meet;

	forget_names(&m->names);
	end_try(l);
	for (unsigned i = 0; i < m->n_listeners; i++) {
		if (m->listener[i].fd >= 0)
			close(m->listener[i].fd);
		m->listener[i].fd = -1;
	}
	m->n_listeners = 0;
	m->listening = m->dialling = m->failed = m->accept_later = false;
	m->retry_ms = UINT64_MAX;
}

void meet_tick(struct peer_links *l)
{
	struct link_meet *m = &l->meet;

	if (m->dialling && l->now_ms >= m->give_up_ms) {
		give_up(l);
	} else if (m->dialling && l->now_ms >= m->retry_ms) {
		if (m->tries_left)
			begin_try(l);
		else
			give_up(l);
	} else if (m->dialling) {
		go_on(l);
	} else if (m->listening && l->now_ms >= m->retry_ms) {
		if (m->accept_later)
			watch_listeners(l, EPOLLIN);
		m->accept_later = false;
		ask(l, add_listeners);
		listen_all(l);
	}
}

uint64_t meet_deadline(const struct peer_links *l)
{
	const struct link_meet *m = &l->meet;
	uint64_t due = m->retry_ms;

	if (m->dialling && m->next_ms < due)
		due = m->next_ms;
	if (m->dialling && m->give_up_ms < due)
		due = m->give_up_ms;
	return due;
}

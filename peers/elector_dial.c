/* From a peer's hosts to a connection: names, addresses, one after the other. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "peers/elector_impl.h"

/* --- where to -------------------------------------------------------------------------------- */

struct candidate {
	const char *host;
	uint16_t port;
};

static unsigned add_candidate(struct candidate *to, unsigned n, const char *host, uint16_t port)
{
	for (unsigned i = 0; i < n; i++)
		if (to[i].port == port && strcasecmp(to[i].host, host) == 0)
			return n;
	to[n] = (struct candidate){host, port};
	return n + 1;
}

/* What its hello gave, then what the configurations say (QuorumCnxManager.connectOne). */
static unsigned candidates(const struct elect_peer *p, struct candidate to[ELECT_CANDIDATES_MAX])
{
	const struct quorum_config *configs[] = {p->e->committed, p->e->last_seen};
	unsigned n = 0;

	for (unsigned i = 0; p->given && i < p->given->n; i++)
		n = add_candidate(to, n, p->given->address[i].host, p->given->address[i].port);
	for (int c = 0; c < 2 && configs[c]; c++) {
		const struct quorum_member *m = quorum_config_find(configs[c], p->sid);

		for (unsigned i = 0; m && i < m->n_addrs; i++)
			n = add_candidate(to, n, quorum_config_host(configs[c], m->addr[i].host),
					  m->addr[i].election_port);
	}
	return n;
}

static void remember(struct elect_peer *p, const struct fle_hello *hello)
{
	struct elect_given *g = p->given ? p->given : malloc(sizeof(*g));

	if (!g)
		return; /* the configured ones are left */
	p->given = g;
	g->n = hello->n_addresses;
	for (unsigned i = 0; i < g->n; i++) {
		const struct fle_address *a = &hello->address[i];

		CHECK(a->host.len <= QUORUM_HOST_MAX);
		memcpy(g->address[i].host, a->host.data, (size_t)a->host.len);
		g->address[i].host[a->host.len] = '\0';
		g->address[i].port = a->port;
	}
}

/* --- one dial -------------------------------------------------------------------------------- */

static void step(struct elect_peer *p);

static void later(struct elect_peer *p)
{
	p->redial_ms = p->dialled_ms + p->backoff_ms;
	p->backoff_ms =
	    p->backoff_ms > ELECT_REDIAL_MAX_MS / 2 ? ELECT_REDIAL_MAX_MS : 2 * p->backoff_ms;
}

static bool goes_on(const struct elect_peer *p)
{
	/* Who looks calls by itself; only while we look, too, is it worth to insist. */
	return p->tries == 0 || (elect_looks(p->e) && !p->stranger);
}

static void fail(struct elect_peer *p)
{
	p->dial.active = false;
	later(p);
	if (p->dial.tried) /* a stranger without an address is no news */
		elect_tell(p, p->dial.where,
			   p->dial.error == ENOENT ? "no such host" : strerror(p->dial.error));
	if (goes_on(p))
		return;
	p->waits = false;
	p->wants = false;
}

/* 0; or the errno of this address. */
static int dial_address(struct elect_peer *p, const struct peer_address *a, bool last)
{
	struct peer_elector *e = p->e;
	uint32_t ms = e->opt.connect_ms;
	struct elect_conn *c;
	int fd, err;

	if (!last && ms > ELECT_ONE_OF_MANY_MS)
		ms = ELECT_ONE_OF_MANY_MS;
	fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno;
	if (connect(fd, &a->any, a->len) < 0 && errno != EINPROGRESS) {
		err = errno;
		close(fd);
		return err;
	}
	c = elect_conn_new(e, fd, ELECT_DIALLING, a);
	if (!c)
		return ENOMEM;
	c->deadline_ms = e->now_ms + ms;
	c->peer = p;
	p->dial.conn = c;
	return 0;
}

/* Ask for the addresses of a name; an answer that is still awaited from before counts, too. */
static int look_up(struct elect_peer *p, const struct candidate *to)
{
	if (p->lookup)
		return strcmp(p->lookup_host, to->host) == 0 && p->lookup_port == to->port ? 0
											   : EAGAIN;
	p->lookup = peer_lookup_begin(p->e->opt.epoll, &p->source, to->host, to->port);
	if (!p->lookup)
		return errno;
	snprintf(p->lookup_host, sizeof(p->lookup_host), "%s", to->host);
	p->lookup_port = to->port;
	return 0;
}

/* The next host. False: there is none. */
static bool next_candidate(struct elect_peer *p)
{
	struct candidate list[ELECT_CANDIDATES_MAX];
	unsigned n = candidates(p, list);
	struct elect_dial *d = &p->dial;

	d->n = d->next = 0;
	if (d->tried >= n)
		return false;
	d->at = (p->first + d->tried++) % n;
	snprintf(d->where, sizeof(d->where), "%s:%u", list[d->at].host, (unsigned)list[d->at].port);
	if (peer_address_of(&d->address[0], list[d->at].host, list[d->at].port)) {
		d->n = 1;
		return true;
	}
	d->error = look_up(p, &list[d->at]);
	d->resolving = d->error == 0;
	d->give_up_ms = p->e->now_ms + p->e->opt.connect_ms;
	return true;
}

static bool is_last(const struct elect_peer *p)
{
	struct candidate list[ELECT_CANDIDATES_MAX];

	return p->dial.next == p->dial.n && p->dial.tried >= candidates(p, list);
}

/* On to the next address, until something is underway. */
static void step(struct elect_peer *p)
{
	struct elect_dial *d = &p->dial;

	while (!d->conn && !d->resolving) {
		if (d->next < d->n) {
			d->next++;
			d->error = dial_address(p, &d->address[d->next - 1], is_last(p));
		} else if (!next_candidate(p)) {
			fail(p);
			return;
		}
	}
}

/* --- what comes of it ------------------------------------------------------------------------ */

/*
 * It has the greater id, knows of us now, and calls back. That it does not is a fault that an
 * operator sees nowhere else: our port can't be reached from there.
 */
static void told_who_we_are(struct elect_peer *p)
{
	struct peer_elector *e = p->e;

	p->wants = false;
	later(p);
	if (!p->asked_ms)
		p->asked_ms = e->now_ms;
	else if (e->now_ms - p->asked_ms > e->opt.hello_ms)
		elect_tell(p, p->dial.where,
			   "it answers, but does not call back: can it reach our election port?");
}

void elect_dial_ready(struct elect_conn *c, int error)
{
	struct elect_peer *p = c->peer;
	struct peer_elector *e = c->e;

	CHECK(p->dial.conn == c);
	/* One write in one segment: Apache's servers read it with one call. */
	if (!error && send(c->fd, e->hello, e->hello_size, MSG_NOSIGNAL | MSG_DONTWAIT) !=
			  (ssize_t)e->hello_size)
		error = errno ? errno : EPIPE;
	if (error) {
		p->dial.error = error;
		elect_conn_close(c, NULL);
		step(p);
		return;
	}
	p->dial.conn = NULL;
	p->dial.active = false;
	p->first = p->dial.at;
	if (fle_dialled(e->opt.fle.me, p->sid) == FLE_KEEP) {
		later(p);
		elect_opened(c, p);
		return;
	}
	elect_conn_close(c, NULL);
	told_who_we_are(p);
}

void elect_lookup_ready(struct peer_source *source, uint32_t events)
{
	struct elect_peer *p = (struct elect_peer *)source;
	struct elect_dial *d = &p->dial;
	struct peer_address address[PEER_ADDRESSES_MAX];
	int n;

	(void)events;
	if (!p->lookup)
		return;
	elect_now(p->e, clock_mono_ms());
	n = peer_lookup_end(p->lookup, address);
	if (n == -EAGAIN)
		return;
	p->lookup = NULL;
	if (!d->resolving)
		return; /* it took too long; the next dial asks anew */
	d->resolving = false;
	d->next = 0;
	d->n = n > 0 ? n : 0;
	if (n > 0)
		memcpy(d->address, address, (size_t)n * sizeof(*address));
	else
		d->error = -n;
	step(p);
}

/* --- when ------------------------------------------------------------------------------------ */

uint64_t elect_dial_due_ms(const struct elect_peer *p)
{
	if (p->conn || p->dial.active || (!p->waits && !p->wants) || !goes_on(p))
		return UINT64_MAX;
	return p->redial_ms;
}

void elect_dial(struct elect_peer *p)
{
	struct peer_elector *e = p->e;

	if (elect_dial_due_ms(p) > e->now_ms)
		return;
	p->dial = (struct elect_dial){.active = true, .error = ENOENT};
	p->dialled_ms = e->now_ms;
	p->tries++;
	step(p);
}

void elect_dial_back(struct elect_peer *p, const struct fle_hello *hello)
{
	struct peer_elector *e = p->e;

	p->wants = true;
	p->tries = 0;
	/* One that has just begun is on its way to where it called from, most likely. */
	if (p->dial.active && e->now_ms - p->dialled_ms < ELECT_REDIAL_MS)
		return;
	elect_dial_stop(p);
	remember(p, hello);
	p->first = 0;
	p->redial_ms = p->dialled_ms + (p->dialled_ms ? ELECT_CALL_BACK_MS : 0);
	elect_dial(p);
}

void elect_dial_tick(struct elect_peer *p)
{
	if (p->dial.resolving && p->e->now_ms >= p->dial.give_up_ms) {
		p->dial.resolving = false;
		p->dial.error = ETIMEDOUT;
		step(p);
	}
	elect_dial(p);
}

void elect_dial_stop(struct elect_peer *p)
{
	struct elect_conn *c = p->dial.conn;

	p->dial.conn = NULL;
	p->dial.active = false;
	p->dial.resolving = false;
	if (c)
		elect_conn_close(c, NULL);
}

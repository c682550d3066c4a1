/*
 * accept.c - new connections: limits by address and in total, a fair share among the workers
 *
 * All workers wait on the same listening sockets, one of them is woken for each client
 * (EPOLLEXCLUSIVE). A worker that has more connections than the others leaves the set until they
 * have caught up, or for WRK_TICK_MS: so no client waits for a worker that does not come.
 *
 * How many connections an address has is the sum over all seats: each worker counts its own in a
 * table of its seat, found by a hash that is the same for all. A full neighbourhood of the table
 * means that an address is not counted: never that it is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/log.h"
#include "workers/conn.h"
#include "workers/worker.h"

enum { ACCEPTS_PER_TURN = 32, PROBES = 16, LEAD = 4, SHED_TELL_MS = 1000 };

#define GET(a_)     atomic_load_explicit(&(a_), memory_order_relaxed)
#define SET(a_, v_) atomic_store_explicit(&(a_), v_, memory_order_relaxed)

/* --- addresses ------------------------------------------------------------------------------- */

static uint32_t address_slot(uint64_t hi, uint64_t lo)
{
	return (uint32_t)hash_fold(hi ^ 0x8bb84b93962eacc9, lo ^ 0x2d358dccaa6c78a5) %
	       SHM_ADDRESSES;
}

static const struct shm_address *address_find(const struct shm_seat *seat, uint64_t hi, uint64_t lo)
{
	uint32_t slot = address_slot(hi, lo);

	for (uint32_t i = 0; i < PROBES; i++) {
		const struct shm_address *a = &seat->address[(slot + i) % SHM_ADDRESSES];

		if (GET(a->hi) == hi && GET(a->lo) == lo)
			return a;
	}
	return NULL;
}

static void address_words(const uint8_t address[16], uint64_t *hi, uint64_t *lo)
{
	*hi = be64_get(address);
	*lo = be64_get(address + 8);
}

static void address_add(struct worker *w, const uint8_t address[16])
{
	struct shm_address *a, *spare = NULL;
	uint64_t hi, lo;
	uint32_t slot;

	address_words(address, &hi, &lo);
	slot = address_slot(hi, lo);
	for (uint32_t i = 0; i < PROBES; i++) {
		a = &w->seat->address[(slot + i) % SHM_ADDRESSES];
		if (GET(a->hi) == hi && GET(a->lo) == lo) {
			SET(a->count, GET(a->count) + 1);
			return;
		}
		if (!spare && !GET(a->count))
			spare = a;
	}
	if (!spare)
		return;
	SET(spare->hi, hi);
	SET(spare->lo, lo);
	SET(spare->count, 1);
}

void wrk_address_drop(struct worker *w, const uint8_t address[16])
{
	struct shm_address *a;
	uint64_t hi, lo;

	address_words(address, &hi, &lo);
	a = (struct shm_address *)(uintptr_t)address_find(w->seat, hi, lo);
	if (a && GET(a->count))
		SET(a->count, GET(a->count) - 1);
}

static uint32_t address_count(const struct worker *w, const uint8_t address[16])
{
	uint32_t n = 0;
	uint64_t hi, lo;

	address_words(address, &hi, &lo);
	for (uint32_t i = 0; i < w->board->n_workers; i++) {
		const struct shm_address *a = address_find(w->h->seat[i], hi, lo);

		n += a ? GET(a->count) : 0;
	}
	return n;
}

/* --- listeners ------------------------------------------------------------------------------- */

void wrk_listen(struct worker *w, bool on)
{
	if (w->listening == on)
		return;
	for (unsigned i = 0; i < w->h->n_listen; i++) {
		struct epoll_event e = {.events = EPOLLIN | EPOLLEXCLUSIVE,
					.data.u64 = WRK_LISTENER + i};

		if (epoll_ctl(w->epoll, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, w->h->listen_fd[i], &e))
			LOG_E("listener %u: %s", i, strerror(errno));
	}
	w->listening = on;
	w->listen_again_ms = w->now_ms + WRK_TICK_MS;
}

static int64_t connections_elsewhere(const struct worker *w, bool least)
{
	int64_t result = least ? INT64_MAX : 0;

	for (uint32_t i = 0; i < w->board->n_workers; i++) {
		int64_t n;

		if (i == w->index || GET(w->board->reader[i].pid) <= 0)
			continue;
		n = GET(w->h->seat[i]->stats.connections);
		if (!least)
			result += n;
		else if (n < result)
			result = n;
	}
	return result;
}

void wrk_balance(struct worker *w)
{
	int64_t least = connections_elsewhere(w, true), lead = w->count.connections - LEAD;
	bool ahead = least < INT64_MAX / 2 && lead > least + least / 8;

	wrk_listen(w, !ahead || (!w->listening && w->now_ms >= w->listen_again_ms));
}

/* A reset tells the client at once (NIOServerCnxnFactory: linger 0). */
static void reject(struct worker *w, int fd)
{
	struct linger now = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(fd);
	w->count.rejected++;
}

static bool over_limits(const struct worker *w, const uint8_t address[16])
{
	const struct conf *conf = w->conf;

	if (conf->max_cnxns &&
	    w->count.connections + connections_elsewhere(w, false) >= conf->max_cnxns)
		return true;
	return conf->max_client_cnxns && address_count(w, address) >= conf->max_client_cnxns;
}

static void read_address(const struct sockaddr_storage *from, uint8_t address[16], uint32_t *scope,
			 uint16_t *port)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	*scope = 0;
	if (from->ss_family == AF_INET) {
		const struct sockaddr_in *v4 = (const void *)from;

		memcpy(address, mapped, sizeof(mapped));
		memcpy(address + 12, &v4->sin_addr, 4);
		*port = ntohs(v4->sin_port);
	} else {
		const struct sockaddr_in6 *v6 = (const void *)from;

		memcpy(address, &v6->sin6_addr, 16);
		*scope = v6->sin6_scope_id;
		*port = ntohs(v6->sin6_port);
	}
}

static void admit(struct worker *w, int fd, const struct sockaddr_storage *from)
{
	struct epoll_event e = {.events = EPOLLIN};
	struct wrk_conn *c;
	uint8_t address[16];
	uint32_t scope;
	uint16_t port;
	int on = 1;

	read_address(from, address, &scope, &port);
	if (over_limits(w, address)) {
		char text[ZK_IP_TEXT_MAX];

		LOG_W("address=%s too many connections, limit per address=%u in all=%u",
		      zk_ip_text(text, address, sizeof(address)), w->conf->max_client_cnxns,
		      w->conf->max_cnxns);
		reject(w, fd);
		return;
	}
	c = wrk_conn_new(w, fd, address, scope, port);
	if (!c) {
		reject(w, fd);
		return;
	}
	address_add(w, address);
	if (w->conf->tcp_keepalive)
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	e.data.u64 = c->place;
	if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &e))
		wrk_conn_close(w, c);
}

/* No descriptor is left: give up the spare one to take the client in and send it away, so that the
 * listener does not stay ready for ever. */
static void shed(struct worker *w, int listen_fd)
{
	int fd;

	close(w->spare_fd);
	fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		reject(w, fd);
	w->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (w->now_ms < w->shed_told_ms)
		return;
	w->shed_told_ms = w->now_ms + SHED_TELL_MS;
	LOG_W("connections=%lld no descriptor is left, refusing clients",
	      (long long)w->count.connections);
}

void wrk_accept(struct worker *w, int listen_fd)
{
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		int fd = accept4(listen_fd, (struct sockaddr *)&from, &len,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
			shed(w, listen_fd);
			return;
		}
		if (fd < 0)
			return;
		admit(w, fd, &from);
	}
}

#include "peers/resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"

/* Shared by the caller and the thread; freed by who lets go of it last. */
struct peer_lookup {
	_Atomic int owners;
	_Atomic bool done;
	int epoll, bell; /* bell: an eventfd */
	uint16_t port;
	int n; /* the answer */
	struct peer_address address[PEER_ADDRESSES_MAX];
	char host[];
};

/* Threads can't be ended, so their number is bounded for the process, whoever asks. */
static _Atomic int lookups;

int peer_address_of(struct peer_address *to, const char *host, uint16_t port)
{
	char bare[INET6_ADDRSTRLEN];
	size_t len = strlen(host);

	memset(to, 0, sizeof(*to));
	if (inet_pton(AF_INET, host, &to->in.sin_addr) == 1) {
		to->in.sin_family = AF_INET;
		to->in.sin_port = htons(port);
		to->len = sizeof(to->in);
		return 1;
	}
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		host++;
		len -= 2;
	}
	if (len >= sizeof(bare))
		return 0;
	memcpy(bare, host, len);
	bare[len] = '\0';
	if (inet_pton(AF_INET6, bare, &to->in6.sin6_addr) != 1)
		return 0;
	to->in6.sin6_family = AF_INET6;
	to->in6.sin6_port = htons(port);
	to->len = sizeof(to->in6);
	return 1;
}

struct peer_address peer_address_any(uint16_t port)
{
	struct peer_address a = {.len = sizeof(a.in6)};

	a.in6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(port)};
	a.in6.sin6_addr = in6addr_any;
	return a;
}

struct peer_address peer_address_from(const struct sockaddr_storage *from)
{
	struct peer_address a = {0};

	a.len = from->ss_family == AF_INET ? sizeof(a.in) : sizeof(a.in6);
	memcpy(&a.any, from, a.len);
	return a;
}

const char *peer_address_print(const struct peer_address *a, char text[PEER_ADDRESS_TEXT_MAX])
{
	char host[INET6_ADDRSTRLEN] = "?";

	if (a->any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &a->in.sin_addr, host, sizeof(host));
		snprintf(text, PEER_ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(a->in.sin_port));
	} else if (IN6_IS_ADDR_V4MAPPED(&a->in6.sin6_addr)) {
		inet_ntop(AF_INET, &a->in6.sin6_addr.s6_addr[12], host, sizeof(host));
		snprintf(text, PEER_ADDRESS_TEXT_MAX, "%s:%u", host, ntohs(a->in6.sin6_port));
	} else {
		inet_ntop(AF_INET6, &a->in6.sin6_addr, host, sizeof(host));
		snprintf(text, PEER_ADDRESS_TEXT_MAX, "[%s]:%u", host, ntohs(a->in6.sin6_port));
	}
	return text;
}

static void let_go(struct peer_lookup *l)
{
	if (atomic_fetch_sub_explicit(&l->owners, 1, memory_order_acq_rel) > 1)
		return;
	close(l->bell);
	free(l);
}

static void take(struct peer_lookup *l, const struct addrinfo *found, int family)
{
	for (const struct addrinfo *a = found; a && l->n < PEER_ADDRESSES_MAX; a = a->ai_next) {
		struct peer_address *to = &l->address[l->n];

		if (a->ai_family != family || a->ai_addrlen > sizeof(to->in6))
			continue;
		to->len = a->ai_addrlen;
		memcpy(&to->any, a->ai_addr, a->ai_addrlen);
		l->n++;
	}
}

static int error_of(int failed)
{
	switch (failed) {
	case EAI_SYSTEM:
		return errno ? -errno : -EIO;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_AGAIN:
		return -ETIMEDOUT;
	default:
		return -ENOENT;
	}
}

static void *ask(void *arg)
{
	struct addrinfo want = {.ai_socktype = SOCK_STREAM}, *found = NULL;
	struct peer_lookup *l = arg;
	char port[8];
	int failed;

	snprintf(port, sizeof(port), "%u", l->port);
	failed = getaddrinfo(l->host, port, &want, &found);
	if (failed) {
		l->n = error_of(failed);
	} else {
		take(l, found, AF_INET);
		take(l, found, AF_INET6);
		freeaddrinfo(found);
		if (!l->n)
			l->n = -ENOENT;
	}
	atomic_store_explicit(&l->done, true, memory_order_release);
	eventfd_write(l->bell, 1);
	let_go(l);
	atomic_fetch_sub(&lookups, 1);
	return NULL;
}

/* The thread is its own: nobody joins it. 0 or -errno. */
static int start(struct peer_lookup *l)
{
	pthread_t thread;
	int err = 0;

	if (atomic_fetch_add(&lookups, 1) >= PEER_LOOKUPS_MAX)
		err = EAGAIN;
	if (!err) {
		atomic_store(&l->owners, 2);
		err = pthread_create(&thread, NULL, ask, l);
	}
	if (!err) {
		pthread_detach(thread);
		return 0;
	}
	atomic_store(&l->owners, 1);
	atomic_fetch_sub(&lookups, 1);
	return -err;
}

struct peer_lookup *peer_lookup_begin(int epoll, struct peer_source *source, const char *host,
				      uint16_t port)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
	size_t len = strlen(host);
	struct peer_lookup *l = calloc(1, sizeof(*l) + len + 1);
	int err = 0;

	if (!l)
		return NULL;
	memcpy(l->host, host, len + 1);
	l->port = port;
	l->epoll = epoll;
	atomic_store(&l->owners, 1);
	l->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->bell < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, l->bell, &event) < 0)
		err = -errno;
	if (!err && peer_address_of(&l->address[0], host, port)) {
		l->n = 1;
		atomic_store(&l->done, true);
		eventfd_write(l->bell, 1);
	} else if (!err) {
		err = start(l);
	}
	if (!err)
		return l;
	if (l->bell >= 0)
		close(l->bell);
	free(l);
	errno = -err;
	return NULL;
}

int peer_lookup_end(struct peer_lookup *l, struct peer_address to[PEER_ADDRESSES_MAX])
{
	int n;

	if (!atomic_load_explicit(&l->done, memory_order_acquire))
		return -EAGAIN;
	n = l->n;
	CHECK(n <= PEER_ADDRESSES_MAX);
	if (n > 0)
		memcpy(to, l->address, (size_t)n * sizeof(*to));
	peer_lookup_abandon(l);
	return n;
}

void peer_lookup_abandon(struct peer_lookup *l)
{
	epoll_ctl(l->epoll, EPOLL_CTL_DEL, l->bell, NULL);
	let_go(l);
}

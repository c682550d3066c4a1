#include "supervisor/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

static int open_one(const struct addrinfo *a, int backlog)
{
	int on = 1, off = 0, saved;
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* What is accepted inherits it: no call for each connection. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 &&
	    listen(fd, backlog > 0 ? backlog : SOMAXCONN) == 0)
		return fd;
	saved = errno;
	close(fd);
	return -saved;
}

/* 0, or the errno of the address that could not be opened. */
static int open_all(struct shm_heritage *h, const struct addrinfo *list)
{
	for (const struct addrinfo *a = list; a && h->n_listen < CONF_LISTEN_MAX; a = a->ai_next) {
		int fd = open_one(a, h->conf->listen_backlog);

		if (fd < 0)
			return -fd;
		h->listen_fd[h->n_listen++] = fd;
		if (!h->conf->client_address)
			break; /* [::] takes IPv4 too */
	}
	return 0;
}

static int resolve(const struct conf *c, int family, struct addrinfo **list)
{
	const struct addrinfo hints = {.ai_family = family,
				       .ai_socktype = SOCK_STREAM,
				       .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	char port[8];

	snprintf(port, sizeof(port), "%u", (unsigned)c->client_port);
	return getaddrinfo(c->client_address, port, &hints, list);
}

static void close_all(struct shm_heritage *h)
{
	while (h->n_listen > 0) {
		close(h->listen_fd[--h->n_listen]);
		h->listen_fd[h->n_listen] = -1;
	}
}

static int try_family(struct shm_heritage *h, int family, const char **why)
{
	struct addrinfo *list = NULL;
	int err = resolve(h->conf, family, &list);

	if (err) {
		*why = gai_strerror(err);
		return -1;
	}
	err = open_all(h, list);
	freeaddrinfo(list);
	if (!err)
		return 0;
	*why = strerror(err);
	close_all(h);
	return -1;
}

int sup_listen_open(struct shm_heritage *h)
{
	const char *address = h->conf->client_address;
	const char *why = "";

	h->n_listen = 0;
	if (try_family(h, address ? AF_UNSPEC : AF_INET6, &why) == 0)
		return 0;
	if (!address && try_family(h, AF_INET, &why) == 0)
		return 0;
	LOG_E("clientPort %u of %s: %s", (unsigned)h->conf->client_port,
	      address ? address : "any address", why);
	return -1;
}

/*
 * resolve.h - host names into socket addresses, and nobody waits for a name server (V7)
 *
 * A host that is an address needs no asking. A name is asked for anew each time, by getaddrinfo()
 * in a thread of its own, because that call may take half a minute and can't be ended; who does not
 * want the answer any more leaves the thread to itself. IPv4 comes before IPv6, else the system's
 * order: Java's InetAddress.getAllByName() answers so by default.
 *
 * Runs in: writer, deciding thread, but for those threads; they touch nothing but their own memory
 * and an eventfd, which is in the caller's epoll (source.h). Ordering: the answer is stored, then
 * `done` (release, acquire), then the eventfd is written.
 *
 * Bounds: PEER_LOOKUPS_MAX threads in the process, abandoned ones included; PEER_ADDRESSES_MAX
 * addresses of a name, the rest is ignored.
 */
#pragma once

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "peers/source.h"

enum {
	PEER_ADDRESSES_MAX = 8,
	PEER_ADDRESS_TEXT_MAX = 56, /* bytes, with its NUL */
	PEER_LOOKUPS_MAX = 64,
};

struct peer_address {
	socklen_t len;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	};
};

/* 1: host is an address, IPv6 with brackets or without, and *to is that; 0: it is a name. */
int peer_address_of(struct peer_address *to, const char *host, uint16_t port);

/* Of any interface, IPv6 and IPv4. */
struct peer_address peer_address_any(uint16_t port);

/* Of what accept() or getpeername() gave. */
struct peer_address peer_address_from(const struct sockaddr_storage *from);

/* "10.0.0.1:2888", "[fe80::1]:2888". Returns `text`. */
const char *peer_address_print(const struct peer_address *a, char text[PEER_ADDRESS_TEXT_MAX]);

struct peer_lookup;

/*
 * Ask for the addresses of a name, or address. source->ready() is called when the answer is there.
 * NULL: errno; EAGAIN when there are too many.
 */
struct peer_lookup *peer_lookup_begin(int epoll, struct peer_source *source, const char *host,
				      uint16_t port);

/*
 * The number of addresses, at least 1; -EAGAIN: not yet; -ENOENT: nobody knows the name; another
 * -errno. Frees the lookup unless it is -EAGAIN.
 */
int peer_lookup_end(struct peer_lookup *l, struct peer_address to[PEER_ADDRESSES_MAX]);

/* Never mind. */
void peer_lookup_abandon(struct peer_lookup *l);

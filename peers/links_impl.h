/*
 * links_impl.h - what the files of the links share: links.c (peers, events, receiving), send.c
 * (what is put, flushing), meet.c (listening, dialling), bulk.c (threads). Within peers/ only.
 *
 * Each direction of a socket has one owner: the deciding thread, or the thread of a job. A
 * descriptor is in epoll only while the deciding thread wants something of it; so a peer that is
 * held, or whose socket a thread reads, can't wake it for nothing.
 */
#pragma once

#include <stdatomic.h>

#include "peers/bulk.h"
#include "peers/links.h"
#include "peers/queue.h"
#include "peers/resolve.h"

enum {
	LINK_IN_FIRST = 4 << 10,   /* bytes of a buffer at first */
	LINK_IN_USUAL = 128 << 10, /* what it grows to when the peer fills it */
	LINK_EAGER = 1 << 20,      /* bytes in a queue up to which ranges become bytes at once */
	LINK_IOV = 64,
	LINK_ROUNDS = 8,       /* sendmsg() of one peer in a turn */
	LINK_LINGER_MS = 1000, /* for the peer to close, too */
	LINK_RETRY_MS = 100,   /* between tries to listen */
	LINK_STAGGER_MS = 250, /* between dials of addresses of one member */
	LINK_TRIES = 5,
	LINK_LISTENERS_MAX = 16,
	LINK_DIALS_MAX = 16,
};

enum link_state {
	LINK_NONE,
	LINK_OPEN,
	LINK_BROKEN,  /* `why`; LOST is to be told, once its jobs have ended */
	LINK_CLOSING, /* by the caller: nothing is told any more */
	LINK_ENDING,  /* .. and all is sent */
	LINK_GONE,    /* nothing is told; its jobs have to end */
};

struct peer_link {
	struct peer_source source;
	struct peer_links *links;
	enum link_state state;
	int fd;
	uint32_t watched; /* events of epoll; 0: it is not in there */
	bool announced;   /* CONNECTED was told */
	bool heard;       /* a whole packet came */
	bool held;        /* by the caller */
	bool paused;      /* nobody takes what was received */
	bool blocked;     /* the socket takes nothing more */
	bool in_filled;   /* by the last recv(): there may be more */
	bool staged;      /* STATE is to be told */
	const char *why;
	struct peer_queue out;
	uint8_t *in;
	size_t in_cap, in_start, in_end, in_need;
	/* Since when it is in this state, and since when its socket has taken nothing; 0: since the
	 * next tick, which tells the time. */
	uint64_t state_ms, blocked_ms;
	uint64_t sent, received;
	struct peer_job *sender, *receiver;
	char address[PEER_ADDRESS_TEXT_MAX];
};

/* Something of this object in epoll; `index` says which. */
struct link_slot {
	struct peer_source source;
	struct peer_links *links;
	unsigned index;
};

struct link_name {
	struct link_slot slot;
	struct peer_lookup *lookup; /* NULL: not asked, or answered */
	bool resolved;
	uint16_t port;
	char host[QUORUM_HOST_MAX + 1];
};

/* Several hosts on their way to addresses. */
struct link_names {
	unsigned n;
	struct link_name name[QUORUM_ADDRS_MAX];
};

struct link_listener {
	struct link_slot slot;
	int fd;     /* -1: not yet */
	bool told;  /* that it can't be bound */
	bool spare; /* one of several addresses of a name */
	struct peer_address address;
};

struct link_dial {
	struct link_slot slot;
	int fd; /* -1: not begun, or failed */
	struct peer_address address;
};

struct link_meet {
	bool listening, dialling, failed; /* failed: the dial; LOST is to be told */
	bool accept_later;                /* no descriptor is left */
	uint64_t retry_ms;                /* when to try again; UINT64_MAX: not */
	struct link_names names;
	unsigned n_listeners;
	struct link_listener listener[LINK_LISTENERS_MAX];

	unsigned tries_left, n_dials, next_dial; /* next_dial: not begun yet */
	uint32_t between_ms;
	uint64_t next_ms, give_up_ms; /* next_ms: of the next dial of this try */
	bool trying;
	int error; /* why the last dial failed */
	struct link_dial dial[LINK_DIALS_MAX];
};

struct peer_set {
	uint64_t bits[PEER_LINKS_MAX / 64];
};

struct peer_links {
	struct peer_links_options opt;
	struct peer_pool pool;
	struct link_slot bell; /* of the jobs' eventfd */
	int bell_fd;
	struct peer_bulk bulk; /* of all jobs */
	uint64_t now_ms;
	int32_t told;          /* whose packet the caller looks at; -1: none */
	uint8_t *told_in;      /* the buffer that it is in, if that peer is gone meanwhile */
	int32_t next, end;     /* next: whose turn it is; end: no peer at or above */
	struct peer_set todo;  /* who may have something to tell */
	struct peer_set dirty; /* for whom something was put in this turn */
	struct link_meet meet;
	struct peer_link link[PEER_LINKS_MAX];
};

static inline void peer_set_add(struct peer_set *s, int32_t i)
{
	s->bits[i / 64] |= 1ull << i % 64;
}

static inline void peer_set_remove(struct peer_set *s, int32_t i)
{
	s->bits[i / 64] &= ~(1ull << i % 64);
}

/* The first one from `from` on; -1: none. */
static inline int32_t peer_set_next(const struct peer_set *s, int32_t from)
{
	for (int32_t i = from; i < PEER_LINKS_MAX; i = (i / 64 + 1) * 64) {
		uint64_t word = s->bits[i / 64] >> i % 64;

		if (word)
			return i + __builtin_ctzll(word);
	}
	return -1;
}

static inline int32_t link_index(const struct peer_link *p)
{
	return (int32_t)(p - p->links->link);
}

/* --- links.c --- */

/* A connection stands. -1: there is no place for it, and it is closed. */
int32_t link_open(struct peer_links *l, int32_t peer, int fd, const struct peer_address *address);

/* Nothing more can come of this connection. It may be gone when this returns. */
void link_break(struct peer_link *p, const char *why);

/* .. and nobody is to hear of it. */
void link_drop(struct peer_link *p);

/* What was received is of no use any more, but to the caller until the next peer_links_next(). */
void link_forget_in(struct peer_link *p);

/* Ask epoll for what is wanted now. */
void link_watch(struct peer_link *p);

/* --- send.c --- */

/* Send, as far as the socket takes it. */
void link_send(struct peer_link *p);

/* --- meet.c --- */

void meet_init(struct peer_links *l);
void meet_reset(struct peer_links *l);
void meet_tick(struct peer_links *l);
uint64_t meet_deadline(const struct peer_links *l);

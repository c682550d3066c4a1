/*
 * elector_impl.h - what the files of the elector share: elector.c (steps, peers, the whole),
 * elector_conn.c (bytes of a connection), elector_dial.c, elector_listen.c. Within peers/ only.
 *
 * Nothing that an event of epoll can name is freed before the next tick: connections and peers
 * become dead or gone first (source.h). A step of the election sends and may begin dials, and
 * neither steps again; so a step is never within a step.
 */
#pragma once

#include "peers/elector.h"
#include "peers/resolve.h"
#include "peers/source.h"

enum {
	ELECT_PEERS_MAX = 2 * QUORUM_MEMBERS_MAX + PEER_ELECTOR_STRANGERS,
	ELECT_CANDIDATES_MAX = 3 * QUORUM_ADDRS_MAX,
	ELECT_LISTENERS_MAX = 16,
	ELECT_IN_FIRST = 4 << 10, /* bytes of a buffer at first; a hello fits */
	ELECT_REDIAL_MS = 200,
	ELECT_REDIAL_MAX_MS = 2000,
	ELECT_CALL_BACK_MS = 20,     /* least time between dials of who calls */
	ELECT_ONE_OF_MANY_MS = 1000, /* for an address when there are others */
	ELECT_REMIND_MS = 60 * 1000,
	ELECT_BIND_AGAIN_MS = 1000,
	ELECT_ACCEPT_AGAIN_MS = 100,   /* when no descriptor was left */
	ELECT_STRANGER_IDLE_MS = 1000, /* who was silent as long makes room for another */
	ELECT_UNKNOWN_MS = 1000,       /* between log lines on connections of nobody */
};

enum elect_state {
	ELECT_DEAD,     /* closed, freed at the next tick */
	ELECT_DIALLING, /* to `peer` */
	ELECT_GREETING, /* accepted, and has not said who it is */
	ELECT_OPEN,     /* peer->conn */
};

struct elect_conn {
	struct peer_source source;
	struct peer_elector *e;
	struct elect_conn *next; /* of all, the newest first */
	enum elect_state state;
	int fd;
	bool accepted;
	uint32_t watched; /* events of epoll */
	struct elect_peer *peer;
	uint64_t deadline_ms; /* of the dial, or of the hello; UINT64_MAX: none */
	struct peer_address address;
	uint8_t *in; /* received, not parsed yet */
	size_t in_cap, in_have;
	uint8_t *out; /* the rest of a frame that the socket did not take, or NULL */
	size_t out_size, out_sent;
};

/* Addresses that a hello gave. */
struct elect_given {
	uint8_t n;
	struct {
		uint16_t port;
		char host[QUORUM_HOST_MAX + 1];
	} address[QUORUM_ADDRS_MAX];
};

/* On the way to a connection: candidates (hosts) in turn, and each one's addresses. */
struct elect_dial {
	bool active, resolving;
	uint64_t give_up_ms; /* resolving */
	unsigned tried;      /* candidates */
	unsigned at;         /* the candidate whose addresses these are */
	int n, next;
	struct peer_address address[PEER_ADDRESSES_MAX];
	struct elect_conn *conn; /* ELECT_DIALLING, or NULL */
	int error;               /* why the last address failed */
	char where[QUORUM_HOST_MAX + 8];
};

struct elect_peer {
	struct peer_source source; /* of the lookup */
	struct peer_elector *e;
	struct elect_peer *next_gone;
	int64_t sid;
	bool stranger; /* no configuration names it */
	struct elect_conn *conn;
	bool waits; /* `message` is to be sent */
	struct fle_notification message;
	bool wants;     /* a connection, whether or not a message waits */
	unsigned tries; /* dials since there was something new to dial for */
	uint32_t backoff_ms;
	uint64_t dialled_ms, redial_ms; /* when the last dial began; when the next one may */
	unsigned first;                 /* the candidate that last answered */
	struct elect_dial dial;
	struct peer_lookup *lookup; /* may outlast the dial that asked */
	char lookup_host[QUORUM_HOST_MAX + 1];
	uint16_t lookup_port;
	struct elect_given *given; /* or NULL */
	bool told, doubled;        /* in the log: that something is wrong; two of one id */
	uint64_t heard_ms;         /* when it last said something */
	uint64_t asked_ms;         /* since when it does not call back; 0: it does */
};

struct elect_listener {
	struct peer_source source;
	struct peer_elector *e;
	int fd;
};

/* One of our own addresses. */
struct elect_own {
	struct peer_source source; /* of the lookup */
	struct peer_elector *e;
	struct peer_lookup *lookup;
	bool bound;
	uint16_t port;
	char host[QUORUM_HOST_MAX + 1];
};

struct elect_listen {
	bool told;
	unsigned tries;
	int error;
	uint64_t again_ms;  /* bind; UINT64_MAX: nothing to do */
	uint64_t accept_ms; /* accept, after no descriptor was left; UINT64_MAX */
	unsigned n_own, n;
	struct elect_own own[QUORUM_ADDRS_MAX];
	struct elect_listener listener[ELECT_LISTENERS_MAX];
};

struct peer_elector {
	struct peer_elector_options opt;
	uint64_t now_ms;
	uint64_t deadline_ms; /* of the election */
	uint64_t began_ms;    /* the election */
	uint64_t remind_ms;   /* when to say again that there is no leader */
	bool decided;
	struct elect_conn *conns;
	unsigned n_greetings, n_strangers, n_peers;
	bool dead; /* there are dead connections */
	struct elect_peer *gone;
	struct elect_peer *peers[ELECT_PEERS_MAX];
	struct elect_listen listen;
	uint64_t unknown_ms; /* when a line on connections of nobody was written */
	unsigned unknown;    /* lines not written since */
	size_t hello_size, text_size, frame_size;
	uint8_t hello[FLE_HELLO_MAX];
	char *text;                  /* of the committed configuration */
	uint8_t *frame;              /* room for a notification */
	struct quorum_config *heard; /* newer one, or NULL */
	const struct quorum_config *committed, *last_seen;
	struct fle fle;
};

static inline void elect_now(struct peer_elector *e, uint64_t now_ms)
{
	if (now_ms > e->now_ms)
		e->now_ms = now_ms;
}

static inline bool elect_looks(const struct peer_elector *e)
{
	return e->fle.started && e->fle.state == FLE_LOOKING;
}

static inline bool elect_is_voter(const struct peer_elector *e, int64_t sid)
{
	return quorum_config_is_voter(e->committed, sid) ||
	       (e->last_seen && quorum_config_is_voter(e->last_seen, sid));
}

/* --- elector.c --- */

/* The peer with this sid; NULL: there is none. */
struct elect_peer *elect_peer_find(const struct peer_elector *e, int64_t sid);
/* The same; a stranger is added. NULL: too many. */
struct elect_peer *elect_peer_get(struct peer_elector *e, int64_t sid);
/* A connection to `p` stands: it replaces an older one, and is told our vote. */
void elect_opened(struct elect_conn *c, struct elect_peer *p);
/* A notification. */
void elect_heard(struct elect_conn *c, struct jute_buf body);
/* Send what waits for the peer, or dial. */
void elect_flush(struct elect_peer *p);
/* Something is wrong with a peer, or with a connection of nobody: for the log, if it is new. */
void elect_tell(struct elect_peer *p, const char *where, const char *why);
void elect_tell_unknown(struct peer_elector *e, const struct peer_address *from, const char *why);

/* --- elector_conn.c --- */

/* Takes fd over. NULL: no memory, and fd is closed. */
struct elect_conn *elect_conn_new(struct peer_elector *e, int fd, enum elect_state state,
				  const struct peer_address *address);
void elect_conn_set_options(int fd, uint32_t unacked_ms);
/* why: NULL when nothing is wrong. */
void elect_conn_close(struct elect_conn *c, const char *why);
/* A whole frame; nothing is underway. What fails closes it. */
void elect_conn_send(struct elect_conn *c, const void *bytes, size_t size);
void elect_conn_watch(struct elect_conn *c, uint32_t events);
void elect_conns_free_dead(struct peer_elector *e);

/* --- elector_dial.c --- */

/* Dial if there is a reason to, and it is time. */
void elect_dial(struct elect_peer *p);
/* When elect_dial() will; UINT64_MAX: without a new reason never. */
uint64_t elect_dial_due_ms(const struct elect_peer *p);
/* The peer called, and has the smaller id. */
void elect_dial_back(struct elect_peer *p, const struct fle_hello *hello);
void elect_dial_ready(struct elect_conn *c, int error);
void elect_dial_tick(struct elect_peer *p);
void elect_dial_stop(struct elect_peer *p);
void elect_lookup_ready(struct peer_source *source, uint32_t events);

/* --- elector_listen.c --- */

/* Listen at the addresses of `me` (NULL: nowhere), unless that is done already. */
void elect_listen(struct peer_elector *e, const struct quorum_config *c,
		  const struct quorum_member *me);
void elect_listen_stop(struct peer_elector *e);
void elect_listen_tick(struct peer_elector *e);
uint64_t elect_listen_due_ms(const struct peer_elector *e);

/*
 * peers_fx.h - a leader and a learner, both with real sockets, on one epoll in one process
 *
 * Time is the fixture's: it passes when a test says so. Waiting is for events, up to PEERS_WAIT_MS
 * of real time, after which the case fails.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "peers/links.h"

enum {
	PEERS_WAIT_MS = 60000,
	PEERS_STALL_MS = 5000,
	PEERS_DATA_MAX = 1 << 20,
	PEERS_QUEUE_MAX = 8 << 20,
	PEERS_SEEN_MAX = 4096,
};

struct peers_seen {
	int32_t peer, type; /* type: QUORUM_, or PEERS_CONNECTED.. */
	int64_t zxid;
};

enum { PEERS_CONNECTED = -1, PEERS_LOST = -2, PEERS_STATE = -3 };

struct peers_fx;

/* One of the two, and what it was told. */
struct peers_side {
	struct peer_links *links;
	uint64_t connected, lost, packets, states, bytes;
	uint64_t wrong; /* transactions that are not what entry_put() makes of their zxid */
	uint64_t per_peer[PEER_LINKS_MAX]; /* packets */
	int64_t last_zxid;                 /* of PROPOSAL, INFORM, ACK */
	uint64_t unordered;                /* of them */
	const char *why;                   /* of the last LOST */
	bool deaf;                         /* does not take what is there */
	bool stages;                       /* a SNAP is received */
	struct peers_seen seen[PEERS_SEEN_MAX];
	unsigned n_seen;
};

struct peers_fx {
	int epoll;
	uint64_t now_ms;
	char host[32];
	uint16_t port;
	struct quorum_config config;
	struct peers_side leader, learner;
	/* What is "in memory". */
	int64_t memory_first, memory_last;
	uint32_t entry_bytes;
	uint8_t entry[4096];
	char dir[2][64]; /* of the leader, of the learner: a version-2 directory each */
};

void peers_up(struct peers_fx *f);
void peers_down(struct peers_fx *f);

/* New links for a side, with other options than the usual ones. */
void peers_renew(struct peers_fx *f, struct peers_side *side, const struct peer_links_options *o);
struct peer_links_options peers_options(struct peers_fx *f, const struct peers_side *side);

/* One turn of the loop. */
void peers_turn(struct peers_fx *f, int wait_ms);

/* Turns until it holds; false, and a failed case, if it does not in time. */
#define PEERS_UNTIL(f_, cond_)                                                                     \
	({                                                                                         \
		uint64_t until_ms = clock_mono_ms() + PEERS_WAIT_MS;                               \
		while (!(cond_) && clock_mono_ms() < until_ms)                                     \
			peers_turn(f_, 100);                                                       \
		EXPECT_TRUE(cond_);                                                                \
	})

/* Listen, dial, and wait until both know. False: the case has failed. */
bool peers_meet(struct peers_fx *f);
int peers_listen(struct peers_fx *f);
void peers_dial(struct peers_fx *f);

/* A foreign socket, connected to the leader. */
int peers_raw(struct peers_fx *f);
void peers_raw_put(int fd, const void *bytes, size_t n);

/* A packet for the learner, by type and zxid. */
void peers_put(struct peers_fx *f, struct peers_side *side, int32_t peer, int32_t type,
	       int64_t zxid);

/* What the side was told so far, as text: "CONNECTED DIFF:5 PROPOSAL:1 LOST". */
const char *peers_told(const struct peers_side *side);

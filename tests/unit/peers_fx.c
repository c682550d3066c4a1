#include "tests/unit/peers_fx.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "peers/resolve.h"
#include "peers/source.h"
#include "tests/storage.h"
#include "tests/t.h"

static const uint8_t *entry(void *arg, int64_t zxid, uint32_t *len)
{
	struct peers_fx *f = arg;

	if (zxid < f->memory_first || zxid > f->memory_last)
		return NULL;
	*len = (uint32_t)entry_put(f->entry, zxid, f->entry_bytes) - 4;
	return f->entry + 4;
}

struct peer_links_options peers_options(struct peers_fx *f, const struct peers_side *side)
{
	const char *dir = f->dir[side == &f->learner];

	return (struct peer_links_options){
	    .epoll = f->epoll,
	    .fs = &sto_fs_posix,
	    .snap_dir = dir,
	    .log_dir = dir,
	    .data_max = PEERS_DATA_MAX,
	    .queue_max = PEERS_QUEUE_MAX,
	    .stall_ms = PEERS_STALL_MS,
	    .entry = entry,
	    .arg = f,
	};
}

void peers_renew(struct peers_fx *f, struct peers_side *side, const struct peer_links_options *o)
{
	struct peer_links_options usual = peers_options(f, side);

	peer_links_free(side->links);
	side->links = peer_links_new(o ? o : &usual);
	EXPECT_TRUE(side->links);
}

/* An address of this process alone, so that no other test has the port. */
static void configure(struct peers_fx *f)
{
	unsigned pid = (unsigned)getpid();
	char text[256];
	int n;

	snprintf(f->host, sizeof(f->host), "127.%u.%u.%u", 1 + (pid >> 16) % 254, pid >> 8 & 255,
		 1 + pid % 254);
	f->port = 25001;
	n = snprintf(text, sizeof(text), "server.1=%s:%u:25101\nserver.2=127.0.0.1:25201:25202",
		     f->host, f->port);
	EXPECT_I(quorum_config_parse(&f->config, text, (size_t)n, NULL), ==, 0);
}

void peers_up(struct peers_fx *f)
{
	log_level_max = LOG_ERROR;
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	f->now_ms = 1000000;
	f->entry_bytes = 100;
	configure(f);
	for (int i = 0; i < 2; i++) {
		snprintf(f->dir[i], sizeof(f->dir[i]), "/tmp/paddock-peers-%d-XXXXXX", i);
		EXPECT_TRUE(mkdtemp(f->dir[i]));
	}
	peers_renew(f, &f->leader, NULL);
	peers_renew(f, &f->learner, NULL);
}

void peers_down(struct peers_fx *f)
{
	peer_links_free(f->leader.links);
	peer_links_free(f->learner.links);
	close(f->epoll);
	for (int i = 0; i < 2; i++) {
		char command[128];

		snprintf(command, sizeof(command), "rm -rf '%s'", f->dir[i]);
		EXPECT_I(system(command), ==, 0);
	}
	log_level_max = LOG_INFO;
}

static void note(struct peers_side *side, int32_t peer, int32_t type, int64_t zxid)
{
	if (side->n_seen < PEERS_SEEN_MAX)
		side->seen[side->n_seen++] = (struct peers_seen){peer, type, zxid};
}

/* The bytes of a transaction follow from its zxid. */
static bool is_right(const struct peers_fx *f, const struct quorum_packet *p)
{
	uint8_t want[4096];
	size_t n = entry_put(want, p->zxid, f->entry_bytes) - 4;

	return p->data.len >= 0 && (size_t)p->data.len == n && !memcmp(want + 4, p->data.data, n);
}

static void took(struct peers_fx *f, struct peers_side *side, const struct peer_link_event *e)
{
	const struct quorum_packet *p = &e->packet;

	note(side, e->peer, p->type, p->zxid);
	side->packets++;
	side->per_peer[e->peer]++;
	side->bytes += p->data.len > 0 ? (uint64_t)p->data.len : 0;
	if (p->type == QUORUM_PROPOSAL || p->type == QUORUM_INFORM)
		side->wrong += !is_right(f, p);
	if (p->type == QUORUM_PROPOSAL || p->type == QUORUM_INFORM || p->type == QUORUM_ACK) {
		side->unordered += p->zxid != side->last_zxid + 1;
		side->last_zxid = p->zxid;
	}
	if (p->type == QUORUM_SNAP && side->stages)
		peer_links_receive_state(side->links, p->zxid);
}

static void take(struct peers_fx *f, struct peers_side *side)
{
	struct peer_link_event e;

	while (!side->deaf && peer_links_next(side->links, &e)) {
		switch (e.type) {
		case PEER_LINK_CONNECTED:
			note(side, e.peer, PEERS_CONNECTED, 0);
			side->connected++;
			break;
		case PEER_LINK_LOST:
			note(side, e.peer, PEERS_LOST, 0);
			side->lost++;
			side->why = e.why;
			break;
		case PEER_LINK_STATE:
			note(side, e.peer, PEERS_STATE, 0);
			side->states++;
			break;
		case PEER_LINK_PACKET:
			took(f, side, &e);
			break;
		}
	}
}

void peers_turn(struct peers_fx *f, int wait_ms)
{
	struct epoll_event event[64];
	int n;

	/* What the test put. */
	peer_links_flush(f->leader.links);
	peer_links_flush(f->learner.links);
	n = epoll_wait(f->epoll, event, 64, wait_ms);
	for (int i = 0; i < n; i++) {
		struct peer_source *source = event[i].data.ptr;

		source->ready(source, event[i].events);
	}
	peer_links_tick(f->leader.links, f->now_ms);
	peer_links_tick(f->learner.links, f->now_ms);
	take(f, &f->leader);
	take(f, &f->learner);
	peer_links_flush(f->leader.links);
	peer_links_flush(f->learner.links);
}

int peers_listen(struct peers_fx *f)
{
	return peer_links_listen(f->leader.links, &f->config, quorum_config_find(&f->config, 1),
				 f->now_ms);
}

void peers_dial(struct peers_fx *f)
{
	peer_links_dial(f->learner.links, &f->config, quorum_config_find(&f->config, 1), 100, 5000,
			f->now_ms);
}

bool peers_meet(struct peers_fx *f)
{
	if (!EXPECT_I(peers_listen(f), ==, 0))
		return false;
	peers_dial(f);
	return PEERS_UNTIL(f, f->leader.connected == 1 && f->learner.connected == 1);
}

int peers_raw(struct peers_fx *f)
{
	struct peer_address a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	EXPECT_I(peer_address_of(&a, f->host, f->port), ==, 1);
	EXPECT_I(connect(fd, &a.any, a.len), ==, 0);
	return fd;
}

void peers_raw_put(int fd, const void *bytes, size_t n)
{
	EXPECT_I(write(fd, bytes, n), ==, (int64_t)n);
}

void peers_put(struct peers_fx *f, struct peers_side *side, int32_t peer, int32_t type,
	       int64_t zxid)
{
	uint8_t bytes[QUORUM_PACKET_MIN];
	struct jute_out out = jute_out_of(bytes, sizeof(bytes));

	(void)f;
	quorum_packet_put(&out, type, zxid, NULL, 0);
	peer_links_put(side->links, peer, bytes, sizeof(bytes));
}

const char *peers_told(const struct peers_side *side)
{
	static char text[2][4096];
	static unsigned turn;
	char *to = text[turn++ % 2];
	int at = 0, most = sizeof(text[0]);

	to[0] = '\0';
	for (unsigned i = 0; i < side->n_seen && at < most - 40; i++) {
		const struct peers_seen *s = &side->seen[i];
		const char *space = i ? " " : "";

		if (s->type < 0)
			at += snprintf(to + at, 40, "%s%s", space,
				       s->type == PEERS_CONNECTED ? "CONNECTED"
				       : s->type == PEERS_LOST    ? "LOST"
								  : "STATE");
		else
			at += snprintf(to + at, 40, "%s%s:%lld", space, quorum_packet_name(s->type),
				       (long long)s->zxid);
	}
	return to;
}

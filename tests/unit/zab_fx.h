/*
 * zab_fx.h - one server's ZAB core in a test: steps of it, packets carried by hand
 */
#pragma once

#include <stdio.h>
#include <string.h>

#include "quorum/zab.h"
#include "tests/t.h"

enum { TICK = 100 };

#define Z(epoch_, counter_) zab_zxid(epoch_, counter_)

static struct quorum_config three;

struct fx {
	struct zab z;
	struct zab_out out;
	uint64_t now_ms;
};

static inline void parse(struct quorum_config *c, const char *text)
{
	quorum_config_parse(c, text, strlen(text), NULL);
}

static inline void up(struct fx *f)
{
	(void)f;
	parse(&three, "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2");
}

static inline void down(struct fx *f)
{
	zab_check(&f->z);
}

static inline int step(struct fx *f, struct zab_event e)
{
	e.now_ms = f->now_ms;
	return zab_step(&f->z, &e, &f->out);
}

static inline int receive(struct fx *f, int32_t peer, struct zab_packet p)
{
	return step(f, (struct zab_event){.type = ZAB_RECEIVE, .peer = peer, .packet = &p});
}

static inline int packet(struct fx *f, int32_t peer, int32_t type, int64_t zxid)
{
	return receive(f, peer,
		       (struct zab_packet){.type = type, .zxid = zxid, .current_epoch = -1});
}

static inline int at_zxid(struct fx *f, enum zab_event_type type, int64_t zxid)
{
	return step(f, (struct zab_event){.type = type, .zxid = zxid});
}

static inline int at_peer(struct fx *f, enum zab_event_type type, int32_t peer)
{
	return step(f, (struct zab_event){.type = type, .peer = peer});
}

/* The n-th send of the last output, as text. */
static inline const char *sent(const struct fx *f, uint32_t n)
{
	static char line[80];
	const struct zab_send *s = &f->out.send[n];

	if (n >= f->out.n_send)
		return "";
	if (s->kind == ZAB_SEND_CLOSE)
		snprintf(line, sizeof(line), "%d close", s->peer);
	else if (s->kind == ZAB_SEND_HISTORY || s->kind == ZAB_SEND_RANGE)
		snprintf(line, sizeof(line), "%d %s %s %" PRIx64 "-%" PRIx64, s->peer,
			 s->kind == ZAB_SEND_HISTORY ? "history" : "range",
			 quorum_packet_name(s->packet.type), (uint64_t)s->first, (uint64_t)s->last);
	else
		snprintf(line, sizeof(line), "%d %s %" PRIx64, s->peer,
			 quorum_packet_name(s->packet.type), (uint64_t)s->packet.zxid);
	return line;
}

static inline void boot(struct fx *f, int64_t sid, bool observer, int64_t accepted, int64_t current,
			const struct zab_history *h, int64_t committed)
{
	struct zab_start s = {.accepted_epoch = accepted,
			      .current_epoch = current,
			      .committed_zxid = committed,
			      .history = h};
	struct zab_options o = {.sid = sid,
				.observer = observer,
				.tick_ms = TICK,
				.init_limit = 10,
				.sync_limit = 5,
				.committed = &three};

	zab_init(&f->z, &o);
	EXPECT_I(step(f, (struct zab_event){.type = ZAB_START, .start = &s}), ==, 0);
}

static inline int elect(struct fx *f, int64_t sid)
{
	return step(f, (struct zab_event){.type = ZAB_ELECTED, .sid = sid});
}

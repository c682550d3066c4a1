#include "writer/masters.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bug.h"
#include "base/clock.h"
#include "base/log.h"
#include "writer/packets.h"
#include "writer/relay.h"

enum {
	EVENTS_PER_TURN = 4096,
	QUEUE_MIN = 4 << 20, /* bytes; a packet, and what links take at once */
};

int wtr_masters_start(struct wtr_ensemble *e, const struct peer_links_options *options)
{
	struct peer_links_options own = *options;
	const struct conf *conf = e->core->conf;

	e->masters.current = -1;
	if (!conf->observer_master_port)
		return 0;
	own.queue_max = conf->observer_master_bytes;
	if (own.queue_max < QUEUE_MIN)
		own.queue_max = QUEUE_MIN;
	e->masters.links = peer_links_new(&own);
	return e->masters.links ? 0 : -errno;
}

static void set_port(struct quorum_member *m, uint32_t port)
{
	for (uint8_t i = 0; i < m->n_addrs; i++)
		m->addr[i].quorum_port = (uint16_t)port;
}

/* --- a follower -------------------------------------------------------------------------- */

void wtr_masters_listen(struct wtr_ensemble *e)
{
	const struct zab *z = wtr_zab_of(e);
	const struct quorum_member *me = quorum_config_find(z->committed, z->opt.sid);
	struct quorum_member at;
	int err;

	e->masters.relays = true;
	if (!me)
		return; /* nobody would look for one that is not listed */
	at = *me;
	set_port(&at, e->core->conf->observer_master_port);
	err = peer_links_listen(e->masters.links, z->committed, &at, e->core->now_ms);
	if (err)
		LOG_W("observerMasterPort: %s; trying on", strerror(-err));
}

void wtr_masters_reset(struct wtr_ensemble *e)
{
	if (e->masters.links)
		peer_links_reset(e->masters.links);
	e->masters.relays = e->masters.parked = false;
}

static void deliver(struct wtr_ensemble *e, int32_t peer, const struct quorum_packet *p)
{
	struct quorum_request r;

	if (p->type == QUORUM_PING) {
		for (int32_t i = 0; i < quorum_touches(p->data); i++)
			wtr_relay_touch(e->core, quorum_touch_get(p->data, i));
	} else if (p->type == QUORUM_REVALIDATE) {
		if (quorum_touches(p->data) == 1)
			wtr_relay_ask(e->core, peer, quorum_touch_get(p->data, 0));
	} else if (quorum_request_decode(p->data, &r)) {
		LOG_W("observer peer=%d: a REQUEST that can't be decoded is ignored", peer);
	} else if (r.opcode == ZK_OP_SYNC && WRONG(SYNC_BY_MASTER)) {
		wtr_masters_synced(e, peer);
	} else {
		wtr_relay_request(e->core, peer, &r, &p->authinfo);
	}
}

/* Not for ZAB, but for the leader? */
static bool is_relayed(int32_t type)
{
	return type == QUORUM_REQUEST || type == QUORUM_REVALIDATE || type == QUORUM_PING;
}

/* False: it has to wait, and everything behind it. */
static bool packet(struct wtr_ensemble *e, int32_t peer, const struct quorum_packet *from)
{
	struct zab_packet p;
	struct zab_event receive = {.type = ZAB_RECEIVE, .peer = peer, .packet = &p};
	int bad;

	if (is_relayed(from->type) && !wtr_relay_ready(e->core))
		return false;
	bad = wtr_packet_decode(e, from, &p);
	/* What only a leader may say is nothing here. */
	e->incoming = jute_null;
	e->designated = -1;
	e->delivered = false;
	if (bad)
		wtr_ensemble_drop(e, peer, "a packet that can't be decoded");
	else if (!wtr_core_step(e->core, &receive) && e->delivered)
		deliver(e, peer, from);
	return true;
}

static bool link_event(struct wtr_ensemble *e, const struct peer_link_event *event)
{
	struct zab_event connected = {.type = ZAB_CONNECTED, .peer = event->peer + 1};

	switch (event->type) {
	case PEER_LINK_CONNECTED:
		if (wtr_core_step(e->core, &connected))
			wtr_ensemble_drop(e, connected.peer, "no place for it");
		return true;
	case PEER_LINK_LOST:
		wtr_ensemble_lost(e, connected.peer);
		return true;
	case PEER_LINK_PACKET:
		return packet(e, connected.peer, &event->packet);
	case PEER_LINK_STATE: /* nobody asks for one here */
		return true;
	}
	return true;
}

bool wtr_masters_take(struct wtr_ensemble *e)
{
	bool done = false;

	for (int i = 0; i < EVENTS_PER_TURN && e->masters.relays; i++) {
		if (!e->masters.parked && !peer_links_next(e->masters.links, &e->masters.event))
			break;
		e->masters.parked = !link_event(e, &e->masters.event);
		if (e->masters.parked)
			break;
		done = true;
	}
	return done;
}

void wtr_masters_synced(struct wtr_ensemble *e, int32_t peer)
{
	uint8_t bytes[32];
	struct jute_out out = jute_out_of(bytes, sizeof(bytes));

	quorum_packet_put(&out, QUORUM_SYNC, 0, NULL, 0);
	CHECK(!out.failed);
	peer_links_put(e->masters.links, peer - 1, bytes, jute_size(&out, bytes));
}

void wtr_masters_answered(struct wtr_ensemble *e, int32_t peer, int64_t zxid,
			  const struct quorum_revalidated *answer)
{
	uint8_t bytes[64];
	struct jute_out out = jute_out_of(bytes, sizeof(bytes));

	quorum_put_revalidated(&out, zxid, answer);
	CHECK(!out.failed);
	peer_links_put(e->masters.links, peer - 1, bytes, jute_size(&out, bytes));
}

bool wtr_masters_wait(const struct wtr_ensemble *e)
{
	return e->masters.parked && wtr_relay_ready(e->core);
}

/* --- an observer ------------------------------------------------------------------------- */

/* The voters, shuffled. */
static void draw(struct wtr_masters *m, const struct quorum_config *c, uint64_t seed)
{
	m->version = c->version;
	m->n = m->next = m->failed = 0;
	for (uint32_t i = 0; i < c->n_members; i++) {
		uint32_t other;

		if (!quorum_config_is_voter(c, c->member[i].sid))
			continue;
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		other = (uint32_t)((seed >> 33) % (m->n + 1));
		m->order[m->n++] = m->order[other];
		m->order[other] = c->member[i].sid;
	}
}

/* The next one that is not the leader; NULL: it is the leader's turn. */
static const struct quorum_member *next_master(struct wtr_masters *m, const struct zab *z)
{
	if (m->failed + 1 >= m->n) {
		m->failed = 0;
		return NULL;
	}
	for (uint32_t i = 0; i < m->n; i++) {
		int64_t sid = m->order[m->next++ % m->n];

		if (sid == z->leader_sid)
			continue;
		m->failed++;
		return quorum_config_find(z->committed, sid);
	}
	return NULL;
}

bool wtr_masters_choose(struct wtr_ensemble *e, struct quorum_member *at)
{
	const struct zab *z = wtr_zab_of(e);
	const struct conf *conf = e->core->conf;
	struct wtr_masters *m = &e->masters;
	const struct quorum_member *chosen = NULL;

	if (conf->observer_master_port && z->role == ZAB_OBSERVING) {
		if (!m->n || m->version != z->committed->version)
			draw(m, z->committed, clock_mono_us() ^ (uint64_t)conf->sid << 32);
		if (m->leader != z->leader_sid)
			m->failed = 0; /* who was no master while another led may be one now */
		m->leader = z->leader_sid;
		chosen = next_master(m, z);
	}
	if (chosen) {
		*at = *chosen;
		set_port(at, conf->observer_master_port);
		LOG_I("observing by server sid=%" PRId64 ", a follower", at->sid);
	} else {
		chosen = quorum_config_find(z->committed, z->leader_sid);
		if (!chosen)
			return false;
		*at = *chosen;
	}
	m->current = at->sid;
	return true;
}

void wtr_masters_found(struct wtr_ensemble *e)
{
	e->masters.failed = 0;
}

#include "writer/inbox.h"

#include <string.h>

#include "base/bug.h"
#include "base/log.h"
#include "writer/lead.h"

static void leader_request(struct wtr_ensemble *e, int32_t peer, const struct quorum_packet *p)
{
	struct zab_event sync = {.type = ZAB_SYNC_ASKED, .peer = peer};
	struct quorum_request r;

	if (quorum_request_decode(p->data, &r))
		LOG_W("peer %d: a REQUEST that can't be decoded is ignored", peer);
	else if (r.opcode == ZK_OP_SYNC)
		(void)wtr_core_step(e->core, &sync); /* it may be gone */
	else
		wtr_leader_request(e->core, peer, &r, &p->authinfo);
}

static bool takes_request(const struct wtr_ensemble *e)
{
	return e->core->service == WTR_LEADS && wtr_core_ready(e->core) &&
	       e->core->out.len <= WTR_OUT_BYTES && wtr_zab_of(e)->n_syncs < ZAB_SYNCS_MAX;
}

/* A REQUEST, or a REVALIDATE that must not overtake one: it may move the session (V5). */
struct letter {
	int32_t peer, authinfo_count;
	uint32_t data_len, authinfo_size;
	int64_t zxid;
	int32_t type, pad;
};

static struct letter *letter_at(const struct wtr_ensemble *e, size_t at)
{
	return (struct letter *)(void *)(e->inbox.bytes + at);
}

static size_t letter_size(const struct letter *l)
{
	return (sizeof(*l) + l->data_len + l->authinfo_size + 7) & ~(size_t)7;
}

/* Give back the room of those that were taken, or whose sender is gone. */
static void sweep(struct wtr_ensemble *e)
{
	size_t to = 0;

	for (size_t at = e->inbox_done, size; at < e->inbox.len; at += size) {
		struct letter *l = letter_at(e, at);

		size = letter_size(l);
		if (l->peer < 0)
			continue;
		memmove(e->inbox.bytes + to, l, size);
		to += size;
	}
	e->inbox.len = to;
	e->inbox_done = 0;
}

/* Of whom most waits. */
static int32_t greediest(const struct wtr_ensemble *e)
{
	size_t bytes[ZAB_PEERS_MAX] = {0};
	int32_t most = 0;

	for (size_t at = e->inbox_done; at < e->inbox.len;) {
		const struct letter *l = letter_at(e, at);

		at += letter_size(l);
		bytes[l->peer] += letter_size(l);
		if (bytes[l->peer] > bytes[most])
			most = l->peer;
	}
	return most;
}

static void keep_within_bound(struct wtr_ensemble *e)
{
	if (e->inbox.len - e->inbox_done <= e->inbox_max &&
	    e->inbox.len <= e->inbox_max + e->inbox_max / 2)
		return;
	sweep(e);
	while (e->inbox.len > e->inbox_max) {
		wtr_ensemble_drop(e, greediest(e), "more requests than can wait");
		sweep(e);
	}
}

static void keep_request(struct wtr_ensemble *e, int32_t peer, const struct quorum_packet *p)
{
	struct letter l = {.peer = peer,
			   .authinfo_count = p->authinfo.count,
			   .data_len = (uint32_t)(p->data.len > 0 ? p->data.len : 0),
			   .authinfo_size = p->authinfo.size,
			   .zxid = p->zxid,
			   .type = p->type};

	wtr_buf_put(&e->inbox, &l, sizeof(l));
	wtr_buf_put(&e->inbox, p->data.data, l.data_len);
	wtr_buf_put(&e->inbox, p->authinfo.data, l.authinfo_size);
	wtr_buf_pad8(&e->inbox);
	keep_within_bound(e);
}

static void leader_revalidate(struct wtr_ensemble *e, int32_t peer, const struct quorum_packet *p)
{
	struct quorum_revalidated answer;
	struct quorum_touch session;
	uint8_t bytes[64];
	struct jute_out out = jute_out_of(bytes, sizeof(bytes));

	if (quorum_touches(p->data) != 1)
		return;
	session = quorum_touch_get(p->data, 0);
	answer = (struct quorum_revalidated){session.session_id,
					     e->core->service == WTR_LEADS &&
						 wtr_leader_revalidate(e->core, peer, session)};
	quorum_put_revalidated(&out, p->zxid, &answer);
	peer_links_put(e->links, peer, bytes, jute_size(&out, bytes));
}

/* What waited for room, as far as there is some. */
bool wtr_inbox_open(struct wtr_ensemble *e)
{
	bool done = false;

	while (e->inbox_done < e->inbox.len && takes_request(e)) {
		const uint8_t *at = e->inbox.bytes + e->inbox_done;
		struct quorum_packet p;
		struct letter l;

		memcpy(&l, at, sizeof(l));
		at += sizeof(l);
		p = (struct quorum_packet){.type = l.type, .zxid = l.zxid};
		p.data = jute_buf_of(at, l.data_len);
		p.authinfo = (struct jute_vec){
		    .count = l.authinfo_count, .data = at + l.data_len, .size = l.authinfo_size};
		e->inbox_done += letter_size(&l);
		if (l.peer >= 0 && l.type == QUORUM_REVALIDATE)
			leader_revalidate(e, l.peer, &p);
		else if (l.peer >= 0)
			leader_request(e, l.peer, &p);
		done = true;
	}
	if (e->inbox_done == e->inbox.len)
		e->inbox.len = e->inbox_done = 0;
	return done;
}

/* A peer is gone, and what it asked for with it: its place may be another's soon. */
void wtr_inbox_forget(struct wtr_ensemble *e, int32_t peer)
{
	for (size_t at = e->inbox_done; at < e->inbox.len;) {
		struct letter *l = letter_at(e, at);

		at += letter_size(l);
		if (l->peer == peer)
			l->peer = -1;
	}
}

void wtr_inbox_deliver(struct wtr_ensemble *e, int32_t peer, const struct quorum_packet *p)
{
	if (p->type == QUORUM_REQUEST) {
		if (e->inbox.len || !takes_request(e))
			keep_request(e, peer, p);
		else
			leader_request(e, peer, p);
	} else if (p->type == QUORUM_REVALIDATE) {
		/* A learner may be in service a moment before we are. */
		if ((e->inbox.len && !WRONG(REVALIDATE_OVERTAKES)) || e->core->service != WTR_LEADS)
			keep_request(e, peer, p);
		else
			leader_revalidate(e, peer, p);
	} else if (p->type == QUORUM_PING && e->core->service == WTR_LEADS) {
		for (int32_t i = 0; i < quorum_touches(p->data); i++)
			wtr_leader_touch(e->core, quorum_touch_get(p->data, i));
	}
}

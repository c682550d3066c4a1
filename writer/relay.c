#include "writer/relay.h"

#include "base/bug.h"
#include "base/log.h"
#include "writer/learn.h"

bool wtr_relay_ready(const struct wtr_core *c)
{
	return c->service == WTR_LEARNS && wtr_learner_ready(c);
}

/* SessionTrackerImpl.checkSession, for those that the leader can't tell apart. An observer that had
 * it last, and came again, still has it. */
static bool is_others(struct wtr_core *c, int32_t peer, int64_t id)
{
	struct wtr_session *s = wtr_session_find(&c->sessions, id);
	int64_t sid = c->zab.peer[peer].sid;

	if (!s || s->closing)
		return false;
	if (s->worker == MSG_NO_WORKER &&
	    (s->peer == WTR_NO_PEER || (s->peer == WTR_PEER_LOST && s->peer_sid == sid)))
		wtr_give_to(c, s, peer);
	return s->peer != peer;
}

/* Apache's leaders fail at a write that is not whole; it has no answer there either. */
static bool is_sound(const struct wtr_core *c, const struct quorum_request *r)
{
	uint32_t len = r->body.len > 0 ? (uint32_t)r->body.len : 0;

	if (r->opcode == ZK_OP_CREATE_SESSION)
		return len == 4;
	return zk_op_is_write(r->opcode) &&
	       wtr_prep_screen(&c->prep, r->opcode, r->body.data, len) != ZMARSHALLINGERROR;
}

void wtr_relay_request(struct wtr_core *c, int32_t peer, const struct quorum_request *r,
		       const struct jute_vec *ids)
{
	static const uint8_t root[] = {0, 0, 0, 1, '/', 0xff, 0xff, 0xff, 0xff};
	/* Nobody may delete the root: an error transaction of this session and cxid. */
	struct quorum_request fails = {r->session_id, r->cxid, ZK_OP_DELETE,
				       jute_buf_of(root, sizeof(root))};

	if (r->opcode == ZK_OP_SYNC) {
		wtr_learner_sync_for(c, peer, r->session_id, r->cxid);
		return;
	}
	if (!is_sound(c, r)) {
		LOG_W("observer peer=%d: a request op=%d that is not whole is ignored", peer,
		      r->opcode);
		return;
	}
	if (r->opcode != ZK_OP_CREATE_SESSION && is_others(c, peer, r->session_id))
		r = &fails;
	wtr_learner_forward(c, r, ids);
}

void wtr_relay_ask(struct wtr_core *c, int32_t peer, struct quorum_touch session)
{
	wtr_learner_ask_for(c, peer, session);
}

void wtr_relay_touch(struct wtr_core *c, struct quorum_touch session)
{
	uint8_t *at = wtr_buf_room(&c->touches, QUORUM_TOUCH_SIZE);

	quorum_touch_set(at, 0, session);
	c->touches.len += QUORUM_TOUCH_SIZE;
	if (c->touches.len >= WTR_TOUCHES_BYTES)
		wtr_learner_touch(c, c->zab.last_zxid);
}

static void lose(void *arg, struct wtr_link *l)
{
	struct wtr_session *s = WTR_OBJECT(l, struct wtr_session, link);

	if (s->peer == *(const int32_t *)arg)
		s->peer = WRONG(OBSERVER_FORGOTTEN) ? WTR_NO_PEER : WTR_PEER_LOST;
}

void wtr_relay_lost(struct wtr_core *c, int32_t peer)
{
	wtr_learner_forget(c, peer);
	wtr_table_each(&c->sessions.table, lose, &peer);
}

#include "writer/packets.h"

#include <errno.h>

#include "writer/flight.h"
#include "writer/membership.h"

static void put_config(struct jute_out *out, const struct quorum_config *c, int32_t type,
		       int64_t zxid)
{
	static char text[QUORUM_CONFIG_TEXT_MAX];

	quorum_packet_put(out, type, zxid, text, quorum_config_print(c, text, sizeof(text)));
}

static void put_activate(struct wtr_ensemble *e, struct jute_out *out, const struct zab_packet *p)
{
	struct quorum_activate activate = {.leader_sid = p->sid, .txn = jute_null};
	uint32_t len = 0;

	e->designated = p->sid;
	if (p->type == QUORUM_INFORMANDACTIVATE) {
		/* Decided in this step, so not applied yet. */
		const uint8_t *entry = wtr_core_entry(e->core, p->zxid, &len);

		CHECK(entry != NULL);
		activate.txn = jute_buf_of(entry, len);
	}
	quorum_put_activate(out, p->type, p->zxid, &activate);
}

void wtr_packet_put(struct wtr_ensemble *e, const struct zab_send *s)
{
	static uint8_t bytes[QUORUM_CONFIG_TEXT_MAX + 256];
	const struct zab_packet *p = &s->packet;
	struct jute_out out = jute_out_of(bytes, sizeof(bytes));
	struct quorum_learner_info info = {p->sid, QUORUM_PROTOCOL_VERSION, p->config_version};
	struct peer_links *links;
	int32_t at;

	switch (p->type) {
	case QUORUM_FOLLOWERINFO:
	case QUORUM_OBSERVERINFO:
		quorum_put_learner_info(&out, p->type, zab_epoch_of(p->zxid), &info);
		break;
	case QUORUM_LEADERINFO:
		quorum_put_leader_info(&out, zab_epoch_of(p->zxid));
		break;
	case QUORUM_ACKEPOCH:
		quorum_put_ack_epoch(&out, p->zxid, p->current_epoch);
		break;
	case QUORUM_NEWLEADER:
		put_config(&out, p->config, p->type, p->zxid);
		break;
	case QUORUM_COMMITANDACTIVATE:
	case QUORUM_INFORMANDACTIVATE:
		put_activate(e, &out, p);
		break;
	default:
		quorum_packet_put(&out, p->type, p->zxid, NULL, 0);
	}
	CHECK(!out.failed);
	links = wtr_links_of(e, s->peer, &at);
	peer_links_put(links, at, bytes, jute_size(&out, bytes));
}

/* Members of a multi, too: who logs what nobody can apply never starts again. */
static bool is_whole(const struct zk_txn_body *body)
{
	struct zk_multi_txn walk = body->multi;
	struct zk_txn_body member;

	for (int32_t i = 0; body->type == ZK_OP_MULTI && i < body->multi.count; i++)
		if (zk_multi_txn_next(&walk, &member))
			return false;
	return true;
}

/* The transaction of a PROPOSAL or INFORM must be the one that its packet says (I4). */
static int check_entry(struct wtr_ensemble *e, int64_t zxid, struct jute_buf entry,
		       const struct quorum_config **config)
{
	struct jute_in in = jute_in_of(entry.data, entry.len > 0 ? (size_t)entry.len : 0);
	struct zk_txn_header h;
	struct zk_txn_body body;

	if (zk_txn_header_decode(&in, &h) || h.zxid != zxid ||
	    zk_txn_body_decode(&in, h.type, &body) || !is_whole(&body))
		return -EBADMSG;
	e->incoming = entry;
	return h.type == ZK_OP_RECONFIG ? wtr_membership_parse(e, body.set_data.data, config) : 0;
}

/* 0; -EBADMSG: it is not what its type says. */
int wtr_packet_decode(struct wtr_ensemble *e, const struct quorum_packet *from,
		      struct zab_packet *to)
{
	struct quorum_learner_info info;
	struct quorum_activate activate;

	*to = (struct zab_packet){.type = from->type, .zxid = from->zxid, .current_epoch = -1};
	switch (from->type) {
	case QUORUM_FOLLOWERINFO:
	case QUORUM_OBSERVERINFO:
		if (quorum_learner_info_decode(from->data, &info) ||
		    info.protocol_version < QUORUM_PROTOCOL_VERSION)
			return -EBADMSG;
		to->sid = info.sid;
		to->config_version = info.config_version;
		return 0;
	case QUORUM_ACKEPOCH:
		return quorum_int_decode(from->data, &to->current_epoch);
	case QUORUM_NEWLEADER:
		return wtr_membership_parse(e, from->data, &to->config);
	case QUORUM_PROPOSAL:
	case QUORUM_INFORM:
		return check_entry(e, from->zxid, from->data, &to->config);
	case QUORUM_COMMITANDACTIVATE:
	case QUORUM_INFORMANDACTIVATE:
		if (quorum_activate_decode(from->data, &activate))
			return -EBADMSG;
		to->sid = e->designated = activate.leader_sid;
		return from->type == QUORUM_COMMITANDACTIVATE
			   ? 0
			   : check_entry(e, from->zxid, activate.txn, &to->config);
	default:
		return 0;
	}
}

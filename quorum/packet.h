/*
 * packet.h - QuorumPacket: what leaders and learners say to each other on the quorum port
 *
 * A stream of jute records without a length in front, big-endian:
 *	 0  int type, 4 long zxid
 *	12  buffer data: int length, -1 is null; that many bytes
 *	..  vector<Id> authinfo: int count, -1 is null; per Id two ustrings, scheme and id
 * The least packet has 20 bytes. Between a SNAP packet and the packet after it the stream carries
 * the snapshot, which is not this header's business.
 *
 * Data by type, L: sent by a leader, F: by a learner. Zxids are epoch << 32 where nothing is said.
 *	 1 REQUEST      F  zxid -1; long session, int cxid, int opcode, the request's body; authinfo
 *	 2 PROPOSAL     L  the transaction's zxid; TxnHeader, body, perhaps a digest (jute/txn.h)
 *	 3 ACK          F  the transaction's zxid; null
 *	 4 COMMIT       L  the transaction's zxid; null
 *	 5 PING         L  the last proposed zxid; null
 *	                F  echo of the zxid; n times (long session, int timeout), empty for n = 0
 *	 6 REVALIDATE   F  zxid -1; long session, int timeout    L  echo; long session, byte valid
 *	 7 SYNC         L  zxid 0; null
 *	 8 INFORM       L  as PROPOSAL
 *	 9 COMMITANDACTIVATE  L  the transaction's zxid; long sid of the designated leader
 *	10 NEWLEADER    L  the last seen configuration's text
 *	11 FOLLOWERINFO, 16 OBSERVERINFO  F  accepted epoch; LearnerInfo: long sid, int protocol
 *	                   version, long version of the committed configuration
 *	12 UPTODATE     L  zxid -1; null
 *	13 DIFF, 14 TRUNC, 15 SNAP  L  a zxid; null
 *	17 LEADERINFO   L  the new epoch; int protocol version
 *	18 ACKEPOCH     F  the last logged zxid; int current epoch, -1: no ack
 *	19 INFORMANDACTIVATE  L  the transaction's zxid; long sid, then as PROPOSAL
 *
 * Pure. Decoded records are views into the input. Trust: the stream may hold anything; lengths are
 * judged as soon as they are there, so that a receiver never holds more than quorum_packet_max().
 */
#pragma once

#include "jute/jute.h"

enum quorum_packet_type {
	QUORUM_REQUEST = 1,
	QUORUM_PROPOSAL = 2,
	QUORUM_ACK = 3,
	QUORUM_COMMIT = 4,
	QUORUM_PING = 5,
	QUORUM_REVALIDATE = 6,
	QUORUM_SYNC = 7,
	QUORUM_INFORM = 8,
	QUORUM_COMMITANDACTIVATE = 9,
	QUORUM_NEWLEADER = 10,
	QUORUM_FOLLOWERINFO = 11,
	QUORUM_UPTODATE = 12,
	QUORUM_DIFF = 13,
	QUORUM_TRUNC = 14,
	QUORUM_SNAP = 15,
	QUORUM_OBSERVERINFO = 16,
	QUORUM_LEADERINFO = 17,
	QUORUM_ACKEPOCH = 18,
	QUORUM_INFORMANDACTIVATE = 19,
};

enum {
	QUORUM_PACKET_MIN = 20,
	QUORUM_PROTOCOL_VERSION = 0x10000,
	QUORUM_IDS_MAX = 1024,           /* Ids of one packet */
	QUORUM_AUTHINFO_MAX = 256 << 10, /* bytes of all of them */
};

struct quorum_packet {
	int32_t type; /* any int: unknown types are the caller's business */
	int64_t zxid;
	struct jute_buf data;
	struct jute_vec authinfo; /* vector<Id>, as zk_ids_view() gives it */
};

/* What a packet may take when its data may have data_max bytes. */
size_t quorum_packet_max(size_t data_max);

/*
 * Decode the packet with which `stream` begins. Its size; 0: there is more to come, and before
 * *need bytes (more than `size`, at most quorum_packet_max()) are there, asking again is useless;
 * -EBADMSG: no packet begins so, or its data is longer than data_max: drop the peer.
 * Apache's bound on data is jute.maxbuffer + jute.maxbuffer.extrasize, 2097150 by default.
 */
int64_t quorum_packet_decode(const void *stream, size_t size, size_t data_max,
			     struct quorum_packet *to, size_t *need);

void quorum_packet_encode(struct jute_out *out, const struct quorum_packet *from);

/* A packet without authinfo; data of no bytes and data == NULL is null. */
void quorum_packet_put(struct jute_out *out, int32_t type, int64_t zxid, const void *data,
		       size_t len);

/* "PROPOSAL"; "?" for types unknown. For logs. */
const char *quorum_packet_name(int32_t type);

/* --- data of packets. Decoders: 0; -EBADMSG: not of that form, in length or content. -----------
 */

/*
 * FOLLOWERINFO, OBSERVERINFO. Shorter forms of old learners are accepted: 8 bytes (protocol version
 * 0) and 12 (config_version 0). Who says less than QUORUM_PROTOCOL_VERSION knows no LEADERINFO.
 */
struct quorum_learner_info {
	int64_t sid;
	int32_t protocol_version;
	int64_t config_version;
};

int quorum_learner_info_decode(struct jute_buf data, struct quorum_learner_info *to);
void quorum_put_learner_info(struct jute_out *out, int32_t type, int64_t accepted_epoch,
			     const struct quorum_learner_info *from);

/* LEADERINFO, ACKEPOCH: one int. */
int quorum_int_decode(struct jute_buf data, int32_t *to);
void quorum_put_leader_info(struct jute_out *out, int64_t epoch);
void quorum_put_ack_epoch(struct jute_out *out, int64_t last_zxid, int32_t current_epoch);

/* PING of a learner: which sessions were heard of. */
enum { QUORUM_TOUCH_SIZE = 12 };

struct quorum_touch {
	int64_t session_id;
	int32_t timeout_ms;
};

/* The number of touches; -EBADMSG: not whole ones. */
int32_t quorum_touches(struct jute_buf data);
struct quorum_touch quorum_touch_get(struct jute_buf data, int32_t i);
void quorum_touch_set(uint8_t *data, int32_t i, struct quorum_touch touch);

/* REVALIDATE of a learner is one touch; this is the answer. */
struct quorum_revalidated {
	int64_t session_id;
	bool valid;
};

int quorum_revalidated_decode(struct jute_buf data, struct quorum_revalidated *to);
void quorum_put_revalidate(struct jute_out *out, struct quorum_touch session);
void quorum_put_revalidated(struct jute_out *out, int64_t zxid,
			    const struct quorum_revalidated *from);

/* REQUEST. body: the request's record without its header. */
struct quorum_request {
	int64_t session_id;
	int32_t cxid, opcode;
	struct jute_buf body;
};

int quorum_request_decode(struct jute_buf data, struct quorum_request *to);
void quorum_put_request(struct jute_out *out, const struct quorum_request *from,
			const struct jute_vec *authinfo);

/* COMMITANDACTIVATE (txn is empty), INFORMANDACTIVATE. */
struct quorum_activate {
	int64_t leader_sid;
	struct jute_buf txn;
};

int quorum_activate_decode(struct jute_buf data, struct quorum_activate *to);
void quorum_put_activate(struct jute_out *out, int32_t type, int64_t zxid,
			 const struct quorum_activate *from);

/*
 * notify.h - the election port: who speaks, what is said, which connection survives
 *
 * One TCP connection per pair of servers carries notifications both ways. Who dialled says first
 * who it is, in one write (Apache's servers read it with one call), big-endian:
 *	 0  long  protocol version: -65536, one address; -65535, several
 *	 8  long  sid
 *	16  int   n, 1..2048
 *	20  n bytes "host:port" of the sender's election port, IPv6 in brackets; several joined by
 *'|' A first long >= 0 is the form before 3.5: it is the sid, and nothing follows. Accepted, not
 *sent.
 *
 * After that, in both directions, frames of an int length, 1..524288, and a notification:
 *	 0  int   state of the sender   4  long  leader voted for   12  long  its zxid
 *	20  long  round                28  long  its epoch          36  int   format version, 2
 *	40  int   length of            44  text of the sender's committed configuration (config.h)
 * Old forms, accepted and not sent: 28 bytes end before the epoch, which is that of the zxid; 40
 * bytes end in an int without meaning, version 0; in version 1 there is no configuration. Who
 * speaks is the connection's sid, not a field.
 *
 * Pure. Decoded records are views into the input. Trust: input may be anything; lengths are judged
 * as soon as they are there.
 */
#pragma once

#include "jute/jute.h"
#include "quorum/config.h"

enum {
	FLE_HELLO_MAX = 20 + 2048,
	FLE_FRAME_MAX = 4 + 524288,
	FLE_NOTIFICATION_HEAD = 44, /* bytes before the configuration */
};

/* Values of the wire. */
enum fle_state { FLE_LOOKING, FLE_FOLLOWING, FLE_LEADING, FLE_OBSERVING };

const char *fle_state_name(enum fle_state state);

/* round: Java's electionEpoch. peer_epoch: the currentEpoch of the leader voted for. */
struct fle_vote {
	int64_t leader, zxid, round, peer_epoch;
};

struct fle_notification {
	enum fle_state state;
	struct fle_vote vote;
	int32_t version;
	struct jute_buf config; /* unparsed; null: the form has none */
};

/* --- initial message ------------------------------------------------------------------------- */

struct fle_address {
	struct jute_buf host; /* without brackets */
	uint16_t port;
};

struct fle_hello {
	int64_t sid;
	uint8_t n_addresses; /* 0: dial the configured one. Wildcards are left out. */
	struct fle_address address[QUORUM_ADDRS_MAX];
};

/*
 * Decode the initial message with which `stream` begins. Its size; 0: before *need bytes are there,
 * asking again is useless (never more than FLE_HELLO_MAX); -EBADMSG: drop the connection.
 */
int64_t fle_hello_decode(const void *stream, size_t size, struct fle_hello *to, size_t *need);

/*
 * What `me` of configuration c says: its first address, or with `several` as many as fit
 * (multiAddress.enabled).
 */
void fle_put_hello(struct jute_out *out, const struct quorum_config *c,
		   const struct quorum_member *me, bool several);

/*
 * The connection opened by the server with the greater sid survives; an older connection of the
 * same pair gives way to the one that is kept, and does not if the new one is closed.
 */
enum fle_verdict {
	FLE_KEEP,
	FLE_CLOSE,
	FLE_DIAL_BACK, /* close, also what there was before, and dial: the peer's address, or ours
			*/
};

/* We dialled, and said who we are. FLE_CLOSE: the peer will dial us; no fault of anybody. */
enum fle_verdict fle_dialled(int64_t me, int64_t peer);

/*
 * A peer dialled. FLE_DIAL_BACK: at the address of its initial message, or else at the configured
 * one; whether an address that no configuration names is dialled is the caller's policy. Observers
 * without an id are closed: there is nobody to dial.
 */
enum fle_verdict fle_accepted(int64_t me, int64_t peer);

/* --- notifications --------------------------------------------------------------------------- */

/* As fle_hello_decode(), for one frame: `body` is what it holds. Never needs over FLE_FRAME_MAX. */
int64_t fle_frame_decode(const void *stream, size_t size, struct jute_buf *body, size_t *need);

/* 0; -EBADMSG: skip it, and keep the connection, as Apache's servers do. */
int fle_notification_decode(struct jute_buf body, struct fle_notification *to);

/* The whole frame, always in format version 2; the configuration's text may be null. */
void fle_put_notification(struct jute_out *out, const struct fle_notification *from);

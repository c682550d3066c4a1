#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "jute/acl.h"
#include "shm/msg.h"
#include "workers/conn.h"
#include "workers/worker.h"

/* msg_connect takes no longer password; one that is can't be right. */
enum { PASSWORD_MAX = 64 };

static int32_t clamp_timeout(const struct conf *conf, int32_t asked_ms)
{
	if (asked_ms < (int64_t)conf->session_min_ms)
		return (int32_t)conf->session_min_ms;
	if (asked_ms > (int64_t)conf->session_max_ms)
		return (int32_t)conf->session_max_ms;
	return asked_ms;
}

static void refuse(struct worker *w, struct wrk_conn *c, const char *why, int64_t value)
{
	char text[ZK_IP_TEXT_MAX];

	LOG_W("address=%s port=%u handshake refused: %s value=%lld",
	      zk_ip_text(text, c->address, sizeof(c->address)), c->port, why, (long long)value);
	w->count.errors++;
	wrk_conn_close(w, c);
}

/* The frame is whole: hand the request to the writer (ZooKeeperServer.processConnectRequest). */
static void connect_request(struct worker *w, struct wrk_conn *c, const uint8_t *frame, size_t len)
{
	uint8_t body[sizeof(struct msg_connect) + PASSWORD_MAX];
	struct jute_in in = jute_in_of(frame, len);
	struct zk_connect_request request;
	struct msg_connect m = {.scope = c->scope};
	struct wrk_frame f = {.op = ZK_OP_CREATE_SESSION, .body = body, .len = sizeof(m)};

	if (zk_connect_request_decode(&in, &request)) {
		refuse(w, c, "not a ConnectRequest, bytes", (int64_t)len);
		return;
	}
	if (w->read_only && !request.read_only) {
		wrk_conn_close(w, c); /* it looks for a server that takes writes */
		return;
	}
	/* What another worker has shown may be newer than our S; the answer comes behind it. */
	if (request.last_zxid_seen > atomic_load_explicit(&w->board->zxid, memory_order_acquire)) {
		refuse(w, c, "client has seen a zxid that is ahead of ours",
		       request.last_zxid_seen);
		return;
	}
	memcpy(m.address, c->address, sizeof(m.address));
	m.timeout_ms = clamp_timeout(w->conf, request.timeout_ms);
	m.last_zxid_seen = request.last_zxid_seen;
	m.password_len = request.passwd.len <= PASSWORD_MAX ? request.passwd.len : -1;
	memcpy(body, &m, sizeof(m));
	if (m.password_len > 0) {
		memcpy(body + sizeof(m), request.passwd.data, (size_t)m.password_len);
		f.len += (uint32_t)m.password_len;
	}
	c->has_read_only = request.has_read_only;
	c->read_only = w->read_only;
	c->session = request.session_id;
	c->state = WRK_SETUP;
	if (wrk_enqueue(w, c, WRK_CONNECT, &f))
		wrk_push(w, c);
}

size_t wrk_handshake(struct worker *w, struct wrk_conn *c, const uint8_t *bytes, size_t len)
{
	int32_t size;

	if (len < 4)
		return 0;
	if (!memcmp(bytes, "stmk", 4) && len < 12)
		return 0; /* a mask follows */
	if (wrk_word(w, c, bytes, len))
		return len;
	size = (int32_t)be32_get(bytes);
	if (size < 0 || size > WRK_HANDSHAKE_MAX) {
		refuse(w, c, "frame length", size);
		return 0;
	}
	if (!w->tree || !wrk_serves(w)) {
		wrk_conn_close(w, c);
		return 0;
	}
	if (len - 4 < (size_t)size)
		return 0;
	c->received++;
	w->count.received++;
	connect_request(w, c, bytes + 4, (size_t)size);
	return 4 + (size_t)size;
}

static void respond(struct worker *w, struct wrk_conn *c, const struct msg_session *s)
{
	uint8_t frame[64];
	struct jute_out out = jute_out_of(frame, sizeof(frame));
	struct zk_connect_response response = {
	    .timeout_ms = s->timeout_ms,
	    .session_id = s->session,
	    .passwd = jute_buf_of(s->password, sizeof(s->password)),
	    .has_read_only = c->has_read_only,
	    .read_only = c->read_only,
	};
	uint8_t *open = jute_open(&out);

	zk_connect_response_encode(&out, &response);
	jute_close(&out, open);
	CHECK(!out.failed);
	wrk_out_bytes(w, c, frame, jute_size(&out, frame));
	c->sent++;
	w->count.sent++;
}

void wrk_connected(struct worker *w, struct wrk_conn *c, const struct msg_down *d,
		   const uint8_t *reply, size_t len)
{
	struct msg_session s;

	CHECK(len >= sizeof(s));
	memcpy(&s, reply, sizeof(s));
	if (s.timeout_ms <= 0) {
		/* A whole response of zeros tells the client that its session is no more. */
		s = (struct msg_session){0};
		respond(w, c, &s);
		wrk_answered(w, c, d->zxid);
		wrk_conn_last(w, c);
		return;
	}
	wrk_set_ids(w, c, reply + sizeof(s), len - sizeof(s));
	if (c->state == WRK_GONE)
		return;
	c->timeout_ms = s.timeout_ms;
	c->slot = s.slot;
	c->heard_ms = (uint32_t)w->now_ms - 1000;
	c->attached = true;
	c->state = WRK_OPEN;
	wrk_conn_set_session(w, c, s.session);
	wrk_conn_deadline(w, c, 0);
	respond(w, c, &s);
	wrk_conn_count(w, c, ZK_OP_CREATE_SESSION, 0, d->zxid, w->now_us - c->head->at_us);
	wrk_answered(w, c, d->zxid);
}

#include "quorum/notify.h"

#include <errno.h>

enum { HELLO_V1 = -65536, HELLO_V2 = -65535, HELLO_TEXT_MAX = 2048 };

const char *fle_state_name(enum fle_state state)
{
	static const char *const names[] = {"LOOKING", "FOLLOWING", "LEADING", "OBSERVING"};

	CHECK(state <= FLE_OBSERVING);
	return names[state];
}

/* --- initial message ------------------------------------------------------------------------- */

static bool is_wildcard(struct jute_buf host)
{
	for (int32_t i = 0; i < host.len; i++)
		if (!memchr("0:.", host.data[i], 3))
			return false;
	return true;
}

/* 1 to 5 digits, at most 65535; 0 is no port to dial. */
static bool read_port(const uint8_t *at, const uint8_t *end, uint16_t *port)
{
	uint32_t value = 0;

	if (at == end || end - at > 5)
		return false;
	for (; at < end; at++) {
		if (*at < '0' || *at > '9')
			return false;
		value = value * 10 + (uint32_t)(*at - '0');
	}
	*port = (uint16_t)value;
	return value > 0 && value <= UINT16_MAX;
}

static bool read_host(const uint8_t *at, const uint8_t *end, struct jute_buf *host)
{
	bool brackets = end - at >= 2 && *at == '[' && end[-1] == ']';

	at += brackets;
	end -= brackets;
	if (at == end || end - at > QUORUM_HOST_MAX)
		return false;
	for (const uint8_t *c = at; c < end; c++)
		if (*c <= ' ' || *c > '~' || *c == '[' || *c == ']' || (*c == ':' && !brackets))
			return false;
	*host = jute_buf_of(at, (size_t)(end - at));
	return true;
}

/* "host:port" */
static bool read_address(const uint8_t *at, const uint8_t *end, struct fle_address *to)
{
	const uint8_t *colon = memrchr(at, ':', (size_t)(end - at));

	return colon && read_host(at, colon, &to->host) && read_port(colon + 1, end, &to->port);
}

static int read_addresses(struct jute_buf text, struct fle_hello *to)
{
	const uint8_t *at = text.data, *end = text.data + text.len, *bar;
	struct fle_address address;

	for (; at < end; at = bar < end ? bar + 1 : end) {
		bar = memchr(at, '|', (size_t)(end - at));
		if (!bar)
			bar = end;
		if (!read_address(at, bar, &address))
			return -EBADMSG;
		if (!is_wildcard(address.host) && to->n_addresses < QUORUM_ADDRS_MAX)
			to->address[to->n_addresses++] = address;
	}
	return 0;
}

int64_t fle_hello_decode(const void *stream, size_t size, struct fle_hello *to, size_t *need)
{
	struct jute_in in = jute_in_of(stream, size);
	int64_t version = jute_get_long(&in);
	struct jute_buf text;
	int32_t len;

	to->n_addresses = 0;
	*need = 8;
	if (in.failed)
		return 0;
	to->sid = version;
	if (version >= 0)
		return 8;
	if (version != HELLO_V1 && version != HELLO_V2)
		return -EBADMSG;
	*need = 20;
	to->sid = jute_get_long(&in);
	len = jute_get_int(&in);
	if (in.failed)
		return 0;
	if (to->sid < 0 || len < 1 || len > HELLO_TEXT_MAX)
		return -EBADMSG;
	*need = 20 + (size_t)len;
	if (size < *need)
		return 0;
	text = jute_buf_of(jute_take(&in, (size_t)len), (size_t)len);
	return read_addresses(text, to) ? -EBADMSG : (int64_t)*need;
}

/* "host:port"; nothing when it doesn't fit. False then. */
static bool put_address(struct jute_out *out, const char *host, uint16_t port, const char *before)
{
	struct jute_out part = *out;
	bool brackets = strchr(host, ':');
	char digits[6];
	int n = 0;

	jute_put_bytes(&part, before, strlen(before));
	jute_put_bytes(&part, "[", brackets);
	jute_put_bytes(&part, host, strlen(host));
	jute_put_bytes(&part, "]:", brackets ? 2 : 0);
	jute_put_bytes(&part, ":", !brackets);
	do
		digits[n++] = (char)('0' + port % 10);
	while (port /= 10);
	while (n)
		jute_put_bytes(&part, &digits[--n], 1);
	if (!part.failed)
		*out = part;
	return !part.failed;
}

void fle_put_hello(struct jute_out *out, const struct quorum_config *c,
		   const struct quorum_member *me, bool several)
{
	uint8_t text[HELLO_TEXT_MAX];
	struct jute_out t = jute_out_of(text, sizeof(text));

	for (uint8_t i = 0; i < (several ? me->n_addrs : 1); i++)
		put_address(&t, quorum_config_host(c, me->addr[i].host), me->addr[i].election_port,
			    i ? "|" : "");
	jute_put_long(out, several ? HELLO_V2 : HELLO_V1);
	jute_put_long(out, me->sid);
	jute_put_buffer(out, jute_buf_of(text, jute_size(&t, text)));
}

enum fle_verdict fle_dialled(int64_t me, int64_t peer)
{
	return peer < me ? FLE_KEEP : FLE_CLOSE;
}

enum fle_verdict fle_accepted(int64_t me, int64_t peer)
{
	if (peer == me || peer < 0 || peer == QUORUM_SID_ANONYMOUS)
		return FLE_CLOSE;
	return peer > me ? FLE_KEEP : FLE_DIAL_BACK;
}

/* --- notifications --------------------------------------------------------------------------- */

int64_t fle_frame_decode(const void *stream, size_t size, struct jute_buf *body, size_t *need)
{
	struct jute_in in = jute_in_of(stream, size);
	int32_t len = jute_get_int(&in);

	*need = 5;
	if (in.failed)
		return 0;
	if (len < 1 || len > FLE_FRAME_MAX - 4)
		return -EBADMSG;
	*need = 4 + (size_t)len;
	if (size < *need)
		return 0;
	*body = jute_buf_of(jute_take(&in, (size_t)len), (size_t)len);
	return (int64_t)*need;
}

/* FastLeaderElection.Messenger.WorkerReceiver */
int fle_notification_decode(struct jute_buf body, struct fle_notification *to)
{
	struct jute_in in = jute_in_of(body.data, body.len > 0 ? (size_t)body.len : 0);
	int32_t state = jute_get_int(&in);

	*to = (struct fle_notification){.config = jute_null};
	to->vote.leader = jute_get_long(&in);
	to->vote.zxid = jute_get_long(&in);
	to->vote.round = jute_get_long(&in);
	to->vote.peer_epoch = body.len == 28 ? to->vote.zxid >> 32 : jute_get_long(&in);
	if (body.len != 28 && body.len != 40)
		to->version = jute_get_int(&in);
	if (to->version > 1) {
		to->config = jute_get_buffer(&in);
		if (to->config.len < 0)
			return -EBADMSG;
	}
	if (in.failed || state < FLE_LOOKING || state > FLE_OBSERVING)
		return -EBADMSG;
	to->state = (enum fle_state)state;
	return 0;
}

void fle_put_notification(struct jute_out *out, const struct fle_notification *from)
{
	size_t len = from->config.len > 0 ? (size_t)from->config.len : 0;

	jute_put_int(out, (int32_t)(FLE_NOTIFICATION_HEAD + len));
	jute_put_int(out, (int32_t)from->state);
	jute_put_long(out, from->vote.leader);
	jute_put_long(out, from->vote.zxid);
	jute_put_long(out, from->vote.round);
	jute_put_long(out, from->vote.peer_epoch);
	jute_put_int(out, 2);
	jute_put_buffer(out, jute_buf_of(from->config.data, len));
}

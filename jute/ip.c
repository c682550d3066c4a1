#include "jute/ip.h"

#include <arpa/inet.h>

enum { IP_TEXT_MAX = 64, IP_BYTES_MAX = 16 };

/* Java's Integer.parseInt for values up to `max`; -1: not one. */
static int32_t parse_int(const char *text, size_t len, int32_t max)
{
	int64_t value = 0;
	size_t i = 0;

	if (len && (text[0] == '+' || text[0] == '-'))
		i = 1;
	if (i == len)
		return -1;
	for (size_t at = i; at < len; at++) {
		if (text[at] < '0' || text[at] > '9')
			return -1;
		value = value * 10 + (text[at] - '0');
		if (value > max)
			return -1;
	}
	return text[0] == '-' && value ? -1 : (int32_t)value;
}

static size_t parse_v4(const char *text, size_t len, uint8_t bytes[IP_BYTES_MAX])
{
	const char *end = text + len;

	for (int i = 0; i < 4; i++) {
		const char *dot = i < 3 ? memchr(text, '.', (size_t)(end - text)) : end;
		int32_t part = dot ? parse_int(text, (size_t)(dot - text), 255) : -1;

		if (part < 0)
			return 0;
		bytes[i] = (uint8_t)part;
		text = dot + 1;
	}
	return 4;
}

/* The bytes of an address: 4 or 16 of them; 0: it is none. */
static size_t parse(const uint8_t *from, size_t len, uint8_t bytes[IP_BYTES_MAX])
{
	char text[IP_TEXT_MAX];

	if (len >= sizeof(text))
		return 0;
	memcpy(text, from, len);
	text[len] = '\0';
	if (strlen(text) != len)
		return 0;
	if (!strchr(text, ':'))
		return parse_v4(text, len, bytes);
	return !strchr(text, '.') && inet_pton(AF_INET6, text, bytes) == 1 ? 16 : 0;
}

/* An entry: its address, and how many bits of it count. The address's bytes; 0: not valid. */
static size_t parse_expr(struct jute_buf expr, uint8_t bytes[IP_BYTES_MAX], size_t *bits)
{
	const uint8_t *slash;
	size_t len, size;
	int32_t given;

	if (expr.len <= 0)
		return 0;
	slash = memchr(expr.data, '/', (size_t)expr.len);
	len = slash ? (size_t)(slash - expr.data) : (size_t)expr.len;
	size = parse(expr.data, len, bytes);
	*bits = size * 8;
	if (!size || !slash)
		return size;
	given = parse_int((const char *)slash + 1, (size_t)expr.len - len - 1, (int32_t)size * 8);
	if (given < 0)
		return 0;
	*bits = (size_t)given;
	return size;
}

bool zk_ip_expr_is_valid(struct jute_buf expr)
{
	uint8_t bytes[IP_BYTES_MAX];
	size_t bits;

	return parse_expr(expr, bytes, &bits) > 0;
}

bool zk_ip_matches(struct jute_buf address, struct jute_buf expr)
{
	uint8_t have[IP_BYTES_MAX], want[IP_BYTES_MAX];
	size_t bits, size = parse_expr(expr, want, &bits);
	uint32_t differ;

	if (!size || address.len <= 0 || parse(address.data, (size_t)address.len, have) != size)
		return false;
	if (memcmp(have, want, bits / 8))
		return false;
	if (bits % 8 == 0)
		return true;
	differ = have[bits / 8] ^ want[bits / 8];
	return !(differ >> (8 - bits % 8));
}

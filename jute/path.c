#include "jute/path.h"

#include <stdio.h>

enum { REPLACEMENT = 0xfffd };

/* How many bytes follow this lead; 0: it leads none. */
static int tail_len(uint8_t lead)
{
	if (lead >= 0xc2 && lead <= 0xdf)
		return 1;
	if (lead >= 0xe0 && lead <= 0xef)
		return 2;
	if (lead >= 0xf0 && lead <= 0xf4)
		return 3;
	return 0;
}

/* May `c` follow `lead` at once? Keeps out overlong forms and what is above U+10FFFF. */
static bool second_is_good(uint8_t lead, uint8_t c)
{
	if (lead == 0xe0 && c < 0xa0)
		return false;
	if (lead == 0xf0 && c < 0x90)
		return false;
	if (lead == 0xf4 && c > 0x8f)
		return false;
	return (c & 0xc0) == 0x80;
}

/*
 * The code point at *at, which is moved behind it. A malformed piece, as Java cuts it, is U+FFFD:
 * the longest start of a good sequence, else one byte; three bytes that make a surrogate count as
 * one.
 */
static uint32_t next_point(const uint8_t **at, const uint8_t *end)
{
	uint8_t lead = *(*at)++;
	int tail = tail_len(lead);
	uint32_t point;

	if (lead < 0x80)
		return lead;
	if (!tail)
		return REPLACEMENT;
	point = lead & (0x3fu >> tail);
	for (int i = 0; i < tail; i++) {
		if (*at == end || (i ? (**at & 0xc0) != 0x80 : !second_is_good(lead, **at)))
			return REPLACEMENT;
		point = point << 6 | (*(*at)++ & 0x3f);
	}
	return point >= 0xd800 && point <= 0xdfff ? REPLACEMENT : point;
}

/* Units that no name may have. Above the BMP: surrogates, so none. */
static bool is_forbidden(uint32_t point)
{
	return point < 0x20 || (point >= 0x7f && point <= 0x9f) ||
	       (point >= 0xd800 && point <= 0xf8ff) || point >= 0xfff0;
}

/* An empty component, "." or "..". */
static bool is_bad_component(const uint8_t *from, const uint8_t *end)
{
	size_t len = (size_t)(end - from);

	return !len || (len == 1 && from[0] == '.') ||
	       (len == 2 && from[0] == '.' && from[1] == '.');
}

bool zk_path_is_valid(struct jute_buf path)
{
	const uint8_t *at = path.data, *end, *component;

	if (path.len < 1 || *at != '/')
		return false;
	if (path.len == 1)
		return true;
	end = at + path.len;
	component = ++at;
	while (at < end) {
		if (*at == '/') {
			if (is_bad_component(component, at))
				return false;
			component = ++at;
		} else if (*at >= 0x20 && *at < 0x7f) {
			at++; /* nearly always */
		} else if (is_forbidden(next_point(&at, end))) {
			return false;
		}
	}
	return !is_bad_component(component, end);
}

bool zk_path_split(struct jute_buf path, struct jute_buf *parent, struct jute_buf *name)
{
	const uint8_t *slash = path.len > 0 ? memrchr(path.data, '/', (size_t)path.len) : NULL;

	if (!slash)
		return false;
	if (parent) /* of a child of the root: its slash */
		*parent =
		    jute_buf_of(path.data, (size_t)(slash - path.data + (slash == path.data)));
	if (name)
		*name = jute_buf_of(slash + 1, (size_t)(path.data + path.len - slash - 1));
	return true;
}

size_t zk_path_sequence(char dst[ZK_SEQUENCE_MAX + 1], int32_t cversion)
{
	return (size_t)snprintf(dst, ZK_SEQUENCE_MAX + 1, "%010d", cversion);
}

static size_t put_unit(uint8_t dst[3], uint32_t unit)
{
	if (unit < 0x80) {
		dst[0] = (uint8_t)unit;
		return 1;
	}
	if (unit < 0x800) {
		dst[0] = (uint8_t)(0xc0 | unit >> 6);
		dst[1] = (uint8_t)(0x80 | (unit & 0x3f));
		return 2;
	}
	dst[0] = (uint8_t)(0xe0 | unit >> 12);
	dst[1] = (uint8_t)(0x80 | (unit >> 6 & 0x3f));
	dst[2] = (uint8_t)(0x80 | (unit & 0x3f));
	return 3;
}

static size_t put_echo(uint8_t dst[6], uint32_t point)
{
	if (point < 0x10000)
		return put_unit(dst, point);
	put_unit(dst, 0xd800 + ((point - 0x10000) >> 10));
	put_unit(dst + 3, 0xdc00 + ((point - 0x10000) & 0x3ff));
	return 6;
}

static size_t put_utf8(uint8_t dst[6], uint32_t point)
{
	if (point < 0x10000)
		return put_unit(dst, point);
	dst[0] = (uint8_t)(0xf0 | point >> 18);
	dst[1] = (uint8_t)(0x80 | (point >> 12 & 0x3f));
	dst[2] = (uint8_t)(0x80 | (point >> 6 & 0x3f));
	dst[3] = (uint8_t)(0x80 | (point & 0x3f));
	return 4;
}

/* As much of *in as fits; it is moved behind that. */
static size_t convert(uint8_t *dst, size_t size, struct jute_buf *in,
		      size_t (*put)(uint8_t dst[6], uint32_t point))
{
	const uint8_t *at = in->data, *end = in->len > 0 ? at + in->len : at, *behind;
	uint8_t piece[6];
	size_t done = 0, len;

	while (at < end) {
		behind = at;
		len = put(piece, next_point(&behind, end));
		if (size - done < len)
			break;
		memcpy(dst + done, piece, len);
		done += len;
		at = behind;
	}
	*in = (struct jute_buf){at, (int32_t)(end - at)};
	return done;
}

size_t zk_text_echo(uint8_t *dst, size_t size, struct jute_buf in)
{
	size_t len = convert(dst, size, &in, put_echo);

	return in.len > 0 ? SIZE_MAX : len;
}

size_t zk_text_repair_some(uint8_t *dst, size_t size, struct jute_buf *in)
{
	CHECK(size >= 4);
	return convert(dst, size, in, put_utf8);
}

bool zk_text_is_plain(struct jute_buf in)
{
	const uint8_t *at = in.data, *end = in.len > 0 ? at + in.len : at, *from;
	uint8_t piece[6];
	size_t len;

	while (at < end) {
		if (*at < 0x80) {
			at++;
			continue;
		}
		from = at;
		len = put_echo(piece, next_point(&at, end));
		if (len != (size_t)(at - from) || memcmp(piece, from, len))
			return false;
	}
	return true;
}

void zk_put_echo(struct jute_out *out, struct jute_buf in)
{
	uint8_t *open;
	size_t len;

	if (in.len < 0 || zk_text_is_plain(in)) {
		jute_put_ustring(out, in);
		return;
	}
	open = jute_open(out);
	len = zk_text_echo(out->next, jute_room(out), in);
	if (open && jute_reserve(out, len))
		jute_close(out, open);
}

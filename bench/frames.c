#include "bench/frames.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"
#include "bench/client.h"

enum {
	OP_CREATE = 1,
	OP_DELETE = 2,
	OP_GET_DATA = 4,
	OP_EXISTS = 3,
	OP_SET_DATA = 5,
	OP_GET_CHILDREN = 8,
	OP_MULTI = 14,
	OP_CLOSE_SESSION = -11,
	PERM_ALL = 31,
	MULTI_HEADER_LEN = 9,
	STAT_DATA_LENGTH = 52, /* offset: 4 longs, 3 ints, ephemeralOwner before it */
	PATH_MAX_LEN = BENCH_ROOT_MAX + 48,
};

/* Where the next byte goes. The frame has room for the largest: see bench_frames_init(). */
struct put {
	uint8_t *next;
};

static void put_int(struct put *p, uint32_t v)
{
	be32_put(p->next, v);
	p->next += 4;
}

static void put_bytes(struct put *p, const void *data, size_t len)
{
	put_int(p, (uint32_t)len);
	memcpy(p->next, data, len);
	p->next += len;
}

static void put_byte(struct put *p, uint8_t v)
{
	*p->next++ = v;
}

static void put_multi_header(struct put *p, int32_t type, bool done)
{
	put_int(p, (uint32_t)type);
	put_byte(p, done);
	put_int(p, (uint32_t)-1);
}

/* `digits` decimal digits of v, leading zeros, at `to`. */
static char *put_digits(char *to, uint64_t v, int digits)
{
	for (int i = digits - 1; i >= 0; i--) {
		to[i] = (char)('0' + v % 10);
		v /= 10;
	}
	return to + digits;
}

static char *put_text(char *to, const char *text, size_t len)
{
	memcpy(to, text, len);
	return to + len;
}

static size_t dir_path(const struct bench_frames *f, uint64_t dir, char *path)
{
	char *p = put_text(path, f->root, f->root_len);

	p = put_text(p, "/d", 2);
	return (size_t)(put_digits(p, dir, 6) - path);
}

static size_t node_path(const struct bench_frames *f, uint64_t key, char *path)
{
	char *p = path + dir_path(f, key / f->fanout, path);

	p = put_text(p, "/node-", 6);
	return (size_t)(put_digits(p, key, 9) - path);
}

static size_t own_dir_path(const struct bench_frames *f, uint32_t conn, char *path)
{
	char *p = put_text(path, f->root, f->root_len);

	p = put_digits(put_text(p, "/w", 2), f->run % 100000000, 8);
	p = put_digits(put_text(p, "-", 1), conn, 6);
	return (size_t)(p - path);
}

static size_t own_path(const struct bench_frames *f, uint64_t key, uint32_t conn, char *path)
{
	char *p = path + own_dir_path(f, conn, path);

	p = put_digits(put_text(p, "/tmp-", 5), key, 9);
	return (size_t)(p - path);
}

uint64_t bench_random(struct bench_frames *f)
{
	/* xorshift64*: fast, and enough for keys and noise. */
	f->random ^= f->random >> 12;
	f->random ^= f->random << 25;
	f->random ^= f->random >> 27;
	return f->random * UINT64_C(0x2545f4914f6cdd1d);
}

static void put_value(struct bench_frames *f, struct put *p, uint64_t key)
{
	uint8_t *v;
	uint32_t at = 0;

	put_int(p, f->value_len);
	v = p->next;
	if (f->value_len >= 8) {
		be64_put(v, key);
		at = 8;
	}
	for (; at + 8 <= f->value_len; at += 8)
		le64_put(v + at, bench_random(f));
	for (; at < f->value_len; at++)
		v[at] = (uint8_t)bench_random(f);
	p->next += f->value_len;
}

static void put_path(struct put *p, const char *path, size_t len)
{
	put_bytes(p, path, len);
}

/* CreateRequest with the open ACL, persistent. */
static void put_create(struct bench_frames *f, struct put *p, const char *path, size_t len,
		       const uint64_t *key)
{
	put_path(p, path, len);
	if (key != NULL)
		put_value(f, p, *key);
	else
		put_int(p, 0);
	put_int(p, 1);
	put_int(p, PERM_ALL);
	put_bytes(p, "world", 5);
	put_bytes(p, "anyone", 6);
	put_int(p, 0);
}

static void put_set(struct bench_frames *f, struct put *p, uint64_t key)
{
	char path[PATH_MAX_LEN];

	put_path(p, path, node_path(f, key, path));
	put_value(f, p, key);
	put_int(p, (uint32_t)-1);
}

static uint32_t op_code(enum bench_op op)
{
	switch (op) {
	case BENCH_GET:
	case BENCH_WATCH:
		return OP_GET_DATA;
	case BENCH_EXISTS:
		return OP_EXISTS;
	case BENCH_CHILDREN:
		return OP_GET_CHILDREN;
	case BENCH_SET:
		return OP_SET_DATA;
	case BENCH_DELETE:
		return OP_DELETE;
	case BENCH_MULTI:
	case BENCH_MAKE_NODES:
		return OP_MULTI;
	case BENCH_CLOSE:
		return (uint32_t)OP_CLOSE_SESSION;
	case BENCH_CREATE:
	case BENCH_MAKE_ROOT:
	case BENCH_MAKE_DIR:
	case BENCH_MAKE_NODE:
	case BENCH_MAKE_OWN:
	case BENCH_OPS:
		break;
	}
	return OP_CREATE;
}

static void put_multi_set(struct bench_frames *f, struct put *p, uint64_t key)
{
	for (uint32_t i = 0; i < f->multi_ops; i++) {
		put_multi_header(p, OP_SET_DATA, false);
		put_set(f, p, (key + i) % f->nodes);
	}
	put_multi_header(p, -1, true);
}

static void put_multi_create(struct bench_frames *f, struct put *p, uint64_t key, uint32_t count)
{
	char path[PATH_MAX_LEN];

	for (uint64_t k = key; k < key + count; k++) {
		put_multi_header(p, OP_CREATE, false);
		put_create(f, p, path, node_path(f, k, path), &k);
	}
	put_multi_header(p, -1, true);
}

static void put_body(struct bench_frames *f, struct put *p, enum bench_op op, uint64_t key,
		     uint32_t conn, uint32_t count)
{
	char path[PATH_MAX_LEN];

	switch (op) {
	case BENCH_GET:
	case BENCH_EXISTS:
	case BENCH_WATCH:
		put_path(p, path, node_path(f, key, path));
		put_byte(p, op == BENCH_WATCH);
		break;
	case BENCH_CHILDREN:
		put_path(p, path, dir_path(f, key / f->fanout, path));
		put_byte(p, false);
		break;
	case BENCH_SET:
		put_set(f, p, key);
		break;
	case BENCH_CREATE:
		put_create(f, p, path, own_path(f, key, conn, path), &key);
		break;
	case BENCH_DELETE:
		put_path(p, path, own_path(f, key, conn, path));
		put_int(p, (uint32_t)-1);
		break;
	case BENCH_MULTI:
		put_multi_set(f, p, key);
		break;
	case BENCH_MAKE_ROOT:
		put_create(f, p, f->root, f->root_len, NULL);
		break;
	case BENCH_MAKE_DIR:
		put_create(f, p, path, dir_path(f, key, path), NULL);
		break;
	case BENCH_MAKE_NODE:
		put_create(f, p, path, node_path(f, key, path), &key);
		break;
	case BENCH_MAKE_NODES:
		put_multi_create(f, p, key, count);
		break;
	case BENCH_MAKE_OWN:
		put_create(f, p, path, own_dir_path(f, conn, path), NULL);
		break;
	case BENCH_CLOSE:
	case BENCH_OPS:
		break;
	}
}

size_t bench_frame(struct bench_frames *f, enum bench_op op, uint64_t key, uint32_t conn,
		   uint32_t count)
{
	struct put p = {f->frame + 8};
	size_t len;

	put_int(&p, op_code(op));
	put_body(f, &p, op, key, conn, count);
	len = (size_t)(p.next - f->frame);
	be32_put(f->frame, (uint32_t)(len - 4));
	return len;
}

uint64_t bench_frames_dirs(const struct bench_frames *f)
{
	return (f->nodes + f->fanout - 1) / f->fanout;
}

int bench_frames_init(struct bench_frames *f, const char *root, uint32_t value_len, uint64_t nodes,
		      uint32_t fanout, uint32_t multi_ops, uint64_t seed)
{
	const size_t op_max = PATH_MAX_LEN + (size_t)value_len + 64;

	memset(f, 0, sizeof(*f));
	f->root_len = strlen(root);
	if (root[0] != '/' || f->root_len < 2 || f->root_len >= BENCH_ROOT_MAX ||
	    root[f->root_len - 1] == '/')
		return -EINVAL;
	if (value_len > BENCH_VALUE_MAX || nodes == 0 || nodes > 999999999 || fanout == 0 ||
	    (nodes - 1) / fanout > 999999 || multi_ops == 0 || multi_ops > BENCH_MULTI_MAX ||
	    op_max * multi_ops > BENCH_FRAME_OUT_MAX)
		return -EINVAL;
	memcpy(f->root, root, f->root_len + 1);
	f->value_len = value_len;
	f->nodes = nodes;
	f->fanout = fanout;
	f->multi_ops = multi_ops;
	f->random = seed * 2 + 1;
	f->frame = malloc(BENCH_FRAME_OUT_MAX + 4096);
	return f->frame == NULL ? -ENOMEM : 0;
}

void bench_frames_fini(struct bench_frames *f)
{
	free(f->frame);
}

static bool data_ok(const struct bench_frames *f, uint64_t key, bool verify, const uint8_t *body,
		    size_t len)
{
	if (len != 4 + (size_t)f->value_len + BENCH_STAT_LEN || be32_get(body) != f->value_len)
		return false;
	return !verify || f->value_len < 8 || be64_get(body + 4) == key;
}

static bool stat_ok(const struct bench_frames *f, bool verify, const uint8_t *body, size_t len)
{
	return len == BENCH_STAT_LEN &&
	       (!verify || be32_get(body + STAT_DATA_LENGTH) == f->value_len);
}

/* vector<ustring>: as many strings as announced, and nothing after them. */
static bool names_ok(const uint8_t *body, size_t len)
{
	const uint8_t *end = body + len;
	uint32_t n;

	if (len < 4)
		return false;
	n = be32_get(body);
	for (body += 4; n > 0; n--) {
		if ((size_t)(end - body) < 4 || be32_get(body) > (size_t)(end - body) - 4)
			return false;
		body += 4 + be32_get(body);
	}
	return body == end;
}

/* Results of one type, `n` of them with bodies of `each` bytes, and the end header. */
static bool multi_ok(uint32_t type, uint32_t n, size_t each, const uint8_t *body, size_t len)
{
	if (len != n * (MULTI_HEADER_LEN + each) + MULTI_HEADER_LEN)
		return false;
	for (; n > 0; n--, body += MULTI_HEADER_LEN + each) {
		if (be32_get(body) != type || body[4] != 0 || be32_get(body + 5) != 0)
			return false;
	}
	return body[4] == 1;
}

bool bench_reply_ok(const struct bench_frames *f, enum bench_op op, uint64_t key, bool verify_data,
		    const uint8_t *body, size_t len)
{
	switch (op) {
	case BENCH_GET:
	case BENCH_WATCH:
		return data_ok(f, key, verify_data, body, len);
	case BENCH_EXISTS:
	case BENCH_SET:
		return stat_ok(f, verify_data, body, len);
	case BENCH_CHILDREN:
		return names_ok(body, len);
	case BENCH_MULTI:
		return multi_ok(OP_SET_DATA, f->multi_ops, BENCH_STAT_LEN, body, len);
	case BENCH_CREATE:
	case BENCH_MAKE_ROOT:
	case BENCH_MAKE_DIR:
	case BENCH_MAKE_NODE:
	case BENCH_MAKE_OWN:
		return len > 4 && be32_get(body) == len - 4;
	case BENCH_MAKE_NODES:
		return len > MULTI_HEADER_LEN && be32_get(body) == OP_CREATE;
	case BENCH_DELETE:
	case BENCH_CLOSE:
		return len == 0;
	case BENCH_OPS:
		break;
	}
	return false;
}

const char *bench_op_name(enum bench_op op)
{
	static const char *const names[BENCH_OPS] = {
		[BENCH_GET] = "get",           [BENCH_EXISTS] = "exists",
		[BENCH_CHILDREN] = "children", [BENCH_SET] = "set",
		[BENCH_CREATE] = "create",     [BENCH_DELETE] = "delete",
		[BENCH_MULTI] = "multi",       [BENCH_CLOSE] = "close",
	};

	return op < BENCH_OPS && names[op] != NULL ? names[op] : "prepare";
}

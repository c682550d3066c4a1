#include "bench/frames.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "bench/client.h"
#include "jute/codes.h"
#include "jute/jute.h"
#include "jute/records.h"

enum {
	FRAME_CAP = BENCH_FRAME_OUT_MAX + 4096,
	MULTI_HEADER_LEN = 9,
	STAT_DATA_LENGTH = 52, /* offset: 4 longs, 3 ints, ephemeralOwner before it */
	PATH_MAX_LEN = BENCH_ROOT_MAX + 48,
};

static void put_multi_header(struct jute_out *p, int32_t type)
{
	zk_multi_header_encode(p, &(struct zk_multi_header){type, false, -1});
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

void bench_frames_seed(struct bench_frames *f, uint64_t seed)
{
	f->random = seed * 2 + 1; /* never 0 */
}

uint64_t bench_random(struct bench_frames *f)
{
	/* xorshift64*: fast, and enough for keys and noise. */
	f->random ^= f->random >> 12;
	f->random ^= f->random << 25;
	f->random ^= f->random >> 27;
	return f->random * UINT64_C(0x2545f4914f6cdd1d);
}

static void put_value(struct bench_frames *f, struct jute_out *p, uint64_t key)
{
	const uint32_t whole = f->value_len / 8 * 8;
	uint8_t *v;

	jute_put_int(p, (int32_t)f->value_len);
	v = jute_reserve(p, f->value_len);
	for (uint32_t at = 0; at < whole; at += 8)
		le64_put(v + at, bench_random(f));
	for (uint32_t at = whole; at < f->value_len; at++)
		v[at] = (uint8_t)bench_random(f);
	if (whole > 0)
		be64_put(v, key);
}

static void put_path(struct jute_out *p, const char *path, size_t len)
{
	jute_put_ustring(p, jute_buf_of(path, len));
}

/* CreateRequest with the open ACL, persistent. */
static void put_create(struct bench_frames *f, struct jute_out *p, const char *path, size_t len,
		       const uint64_t *key)
{
	jute_put_buffer(p, jute_buf_of(path, len));
	if (key != NULL)
		put_value(f, p, *key);
	else
		jute_put_int(p, 0);
	jute_put_int(p, 1);
	jute_put_int(p, ZK_PERM_ALL);
	jute_put_ustring(p, jute_text("world"));
	jute_put_ustring(p, jute_text("anyone"));
	jute_put_int(p, 0);
}

static void put_set(struct bench_frames *f, struct jute_out *p, uint64_t key)
{
	char path[PATH_MAX_LEN];

	put_path(p, path, node_path(f, key, path));
	put_value(f, p, key);
	jute_put_int(p, -1);
}

static int32_t op_code(enum bench_op op)
{
	switch (op) {
	case BENCH_GET:
	case BENCH_WATCH:
		return ZK_OP_GET_DATA;
	case BENCH_EXISTS:
		return ZK_OP_EXISTS;
	case BENCH_CHILDREN:
		return ZK_OP_GET_CHILDREN;
	case BENCH_SET:
		return ZK_OP_SET_DATA;
	case BENCH_DELETE:
		return ZK_OP_DELETE;
	case BENCH_MULTI:
	case BENCH_MAKE_NODES:
		return ZK_OP_MULTI;
	case BENCH_CLOSE:
		return ZK_OP_CLOSE_SESSION;
	case BENCH_CREATE:
	case BENCH_MAKE_ROOT:
	case BENCH_MAKE_DIR:
	case BENCH_MAKE_NODE:
	case BENCH_MAKE_OWN:
	case BENCH_OPS:
		break;
	}
	return ZK_OP_CREATE;
}

static void put_multi_set(struct bench_frames *f, struct jute_out *p, uint64_t key)
{
	for (uint32_t i = 0; i < f->multi_ops; i++) {
		put_multi_header(p, ZK_OP_SET_DATA);
		put_set(f, p, (key + i) % f->nodes);
	}
	zk_multi_end(p);
}

static void put_multi_create(struct bench_frames *f, struct jute_out *p, uint64_t key,
			     uint32_t count)
{
	char path[PATH_MAX_LEN];

	for (uint64_t k = key; k < key + count; k++) {
		put_multi_header(p, ZK_OP_CREATE);
		put_create(f, p, path, node_path(f, k, path), &k);
	}
	zk_multi_end(p);
}

static void put_body(struct bench_frames *f, struct jute_out *p, enum bench_op op, uint64_t key,
		     uint32_t conn, uint32_t count)
{
	char path[PATH_MAX_LEN];

	switch (op) {
	case BENCH_GET:
	case BENCH_EXISTS:
	case BENCH_WATCH:
		put_path(p, path, node_path(f, key, path));
		jute_put_boolean(p, op == BENCH_WATCH);
		break;
	case BENCH_CHILDREN:
		put_path(p, path, dir_path(f, key / f->fanout, path));
		jute_put_boolean(p, false);
		break;
	case BENCH_SET:
		put_set(f, p, key);
		break;
	case BENCH_CREATE:
		put_create(f, p, path, own_path(f, key, conn, path), &key);
		break;
	case BENCH_DELETE:
		put_path(p, path, own_path(f, key, conn, path));
		jute_put_int(p, -1);
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
	struct jute_out p = jute_out_of(f->frame, FRAME_CAP);
	size_t len;

	jute_put_int(&p, 0); /* length, below */
	jute_put_int(&p, 0); /* xid: bench_send() */
	jute_put_int(&p, op_code(op));
	put_body(f, &p, op, key, conn, count);
	CHECK(!p.failed); /* bench_frames_init() bounds what can be asked for */
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
	bench_frames_seed(f, seed);
	f->frame = malloc(FRAME_CAP);
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
		return multi_ok(ZK_OP_SET_DATA, f->multi_ops, BENCH_STAT_LEN, body, len);
	case BENCH_CREATE:
	case BENCH_MAKE_ROOT:
	case BENCH_MAKE_DIR:
	case BENCH_MAKE_NODE:
	case BENCH_MAKE_OWN:
		return len > 4 && be32_get(body) == len - 4;
	case BENCH_MAKE_NODES:
		return len > MULTI_HEADER_LEN && be32_get(body) == ZK_OP_CREATE;
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
	    [BENCH_GET] = "get",     [BENCH_EXISTS] = "exists", [BENCH_CHILDREN] = "children",
	    [BENCH_SET] = "set",     [BENCH_CREATE] = "create", [BENCH_DELETE] = "delete",
	    [BENCH_MULTI] = "multi", [BENCH_CLOSE] = "close",
	};

	return op < BENCH_OPS && names[op] != NULL ? names[op] : "prepare";
}

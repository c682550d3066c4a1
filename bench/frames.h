/*
 * frames.h - the requests of the load generator, made once and patched per use
 *
 * Paths, with key = 0..nodes-1:
 *	ROOT/d<key / fanout, 6 digits>/node-<key, 9 digits>	the tree, made once and reused
 *	ROOT/w<run, 8 digits>-<connection, 6>/tmp-<n, 9>	what a connection creates and
 *deletes All paths of a kind have the same length, so that a frame is its template with some
 *digits, the version and the value overwritten. A value is the key as 8 bytes, big-endian, then
 *noise that no compressor can shrink (shorter values: noise alone). Runs in: the load generator
 *only.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Kinds of requests, in the order of the mix option. */
enum bench_op {
	BENCH_GET,
	BENCH_EXISTS,
	BENCH_CHILDREN,
	BENCH_SET,
	BENCH_CREATE,
	BENCH_DELETE,
	BENCH_MULTI, /* multi_ops setData in one transaction */
	BENCH_MIX_OPS,
	BENCH_CLOSE = BENCH_MIX_OPS,
	BENCH_MAKE_ROOT, /* the rest: preparing the tree */
	BENCH_MAKE_DIR,
	BENCH_MAKE_NODE,
	BENCH_MAKE_NODES, /* multi of creates */
	BENCH_MAKE_OWN,   /* the connection's own directory */
	BENCH_WATCH,      /* getData with the watch flag */
	BENCH_OPS,
};

enum {
	BENCH_ROOT_MAX = 64,
	BENCH_VALUE_MAX = 1000 * 1000,
	BENCH_MULTI_MAX = 256,
	BENCH_FRAME_OUT_MAX = 1024 * 1024,
};

struct bench_frames {
	char root[BENCH_ROOT_MAX];
	uint32_t value_len, fanout, multi_ops;
	uint32_t run;    /* tells the connections' own directories of one run from another's */
	uint64_t nodes;  /* in the tree */
	uint64_t random; /* state of the generator */
	size_t root_len;
	uint8_t *frame; /* the one built last */
};

/* Checks the limits above; 0 or -EINVAL. root begins with '/'. */
int bench_frames_init(struct bench_frames *f, const char *root, uint32_t value_len, uint64_t nodes,
		      uint32_t fanout, uint32_t multi_ops, uint64_t seed);
void bench_frames_fini(struct bench_frames *f);

/* Start the generator of keys and noise: the same seed gives the same requests. */
void bench_frames_seed(struct bench_frames *f, uint64_t seed);

/* A number from the generator. */
uint64_t bench_random(struct bench_frames *f);

uint64_t bench_frames_dirs(const struct bench_frames *f);

/*
 * Build a request in f->frame and return its length, the length word included. key: of the node;
 * of the first node (BENCH_MULTI: the i-th op takes key + i, modulo nodes; BENCH_MAKE_NODES: key to
 * key + count - 1); of the directory (MAKE_DIR, CHILDREN takes the one of the node `key`); the
 * connection's own number (CREATE, DELETE). conn: for CREATE, DELETE, MAKE_OWN.
 * The frame is valid until the next call.
 */
size_t bench_frame(struct bench_frames *f, enum bench_op op, uint64_t key, uint32_t conn,
		   uint32_t count);

/*
 * Is this the body of a successful answer to the request? verify_data: also that the node holds
 * what was written for this key. Sizes and types are always checked.
 */
bool bench_reply_ok(const struct bench_frames *f, enum bench_op op, uint64_t key, bool verify_data,
		    const uint8_t *body, size_t len);

const char *bench_op_name(enum bench_op op);

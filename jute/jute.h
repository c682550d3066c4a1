/*
 * jute.h - ZooKeeper's serialisation: one cursor per direction, with a failure that sticks
 *
 * Big-endian integers; ustring and buffer: int length, bytes, length -1 is null; vector: int count,
 * elements, count -1 is null and any other negative count is empty; records: their fields.
 *
 * Reading: a read past the end yields zero (a null buffer), sets `failed` and leaves nothing to
 * read, so that a record is decoded field by field and checked once. What is returned are views
 * into the input. Every length is compared with what remains; hence no limit of its own is needed
 * (Java's, jute.maxbuffer plus extrasize, is above any frame that jute.maxbuffer lets in).
 *
 * Writing: into memory of the caller; what does not fit sets `failed` and nothing more is written.
 * jute_size() bytes are good unless it failed.
 *
 * Trust: input may be anything. Output is ours: a length that no int32 holds is a CHECK.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/bytes.h"
#include "base/check.h"

struct jute_in {
	const uint8_t *next, *end;
	bool failed;
};

struct jute_out {
	uint8_t *next, *end;
	bool failed;
};

/* A ustring or buffer, seen in place. len -1: null (data NULL); 0: empty. */
struct jute_buf {
	const uint8_t *data;
	int32_t len;
};

/*
 * A vector, seen in place: `size` bytes from its count on, elements checked to be whole. What it
 * holds is what it was decoded as (ustrings, ACLs). count -1: null.
 */
struct jute_vec {
	const uint8_t *data;
	uint32_t size;
	int32_t count;
};

extern const struct jute_buf jute_null;

static inline struct jute_in jute_in_of(const void *data, size_t size)
{
	const uint8_t *start = data;

	return (struct jute_in){start, size ? start + size : start, false}; /* NULL, 0 is empty */
}

static inline struct jute_out jute_out_of(void *data, size_t size)
{
	return (struct jute_out){data, (uint8_t *)data + size, false};
}

static inline struct jute_buf jute_buf_of(const void *data, size_t len)
{
	CHECK(len <= INT32_MAX);
	return (struct jute_buf){data, (int32_t)len};
}

static inline struct jute_buf jute_text(const char *text)
{
	return jute_buf_of(text, strlen(text));
}

/* Same bytes; null equals null only. */
static inline bool jute_buf_equal(struct jute_buf a, struct jute_buf b)
{
	if (a.len != b.len)
		return false;
	return a.len <= 0 || !memcmp(a.data, b.data, (size_t)a.len);
}

static inline bool jute_buf_is(struct jute_buf a, const char *text)
{
	return a.len >= 0 && (size_t)a.len == strlen(text) && !memcmp(a.data, text, (size_t)a.len);
}

/* --- reading --------------------------------------------------------------------------------- */

static inline size_t jute_left(const struct jute_in *in)
{
	return (size_t)(in->end - in->next);
}

/* The next n bytes, in place; NULL, and failure, when there are fewer. */
static inline const uint8_t *jute_take(struct jute_in *in, size_t n)
{
	const uint8_t *at = in->next;

	if (__builtin_expect(jute_left(in) < n, 0)) {
		in->failed = true;
		in->next = in->end;
		return NULL;
	}
	in->next += n;
	return at;
}

static inline int32_t jute_get_int(struct jute_in *in)
{
	const uint8_t *at = jute_take(in, 4);

	return at ? (int32_t)be32_get(at) : 0;
}

static inline int64_t jute_get_long(struct jute_in *in)
{
	const uint8_t *at = jute_take(in, 8);

	return at ? (int64_t)be64_get(at) : 0;
}

/* Any byte but 0 is true. */
static inline bool jute_get_boolean(struct jute_in *in)
{
	const uint8_t *at = jute_take(in, 1);

	return at && *at;
}

static inline struct jute_buf jute_get_buffer(struct jute_in *in)
{
	int32_t len = jute_get_int(in);
	const uint8_t *at;

	if (len == -1)
		return jute_null;
	/* Negative lengths become sizes that no input has. */
	at = jute_take(in, (size_t)(int64_t)len);
	return in->failed ? jute_null : (struct jute_buf){at, len};
}

static inline struct jute_buf jute_get_ustring(struct jute_in *in)
{
	return jute_get_buffer(in);
}

/* The element count of a vector: -1 is null, and never less. */
static inline int32_t jute_get_count(struct jute_in *in)
{
	int32_t count = jute_get_int(in);

	return count < -1 ? 0 : count;
}

/* vector<ustring>, vector<ACL>: walked over and checked to be whole. */
struct jute_vec jute_get_ustrings(struct jute_in *in);
struct jute_vec jute_get_acls(struct jute_in *in);

/* A cursor at the first element; the caller reads as many as `count` says. */
static inline struct jute_in jute_elements(const struct jute_vec *v)
{
	return v->size ? jute_in_of(v->data + 4, v->size - 4) : jute_in_of(NULL, 0);
}

/* --- writing --------------------------------------------------------------------------------- */

static inline size_t jute_room(const struct jute_out *out)
{
	return (size_t)(out->end - out->next);
}

/* Bytes written since `start`, the first byte of the caller's buffer. */
static inline size_t jute_size(const struct jute_out *out, const void *start)
{
	return (size_t)(out->next - (const uint8_t *)start);
}

/* The next n bytes, to be filled by the caller; NULL, and failure, when there are fewer. */
static inline uint8_t *jute_reserve(struct jute_out *out, size_t n)
{
	uint8_t *at = out->next;

	if (__builtin_expect(jute_room(out) < n, 0)) {
		out->failed = true;
		out->end = out->next;
		return NULL;
	}
	out->next += n;
	return at;
}

static inline void jute_put_int(struct jute_out *out, int32_t v)
{
	uint8_t *at = jute_reserve(out, 4);

	if (at)
		be32_put(at, (uint32_t)v);
}

static inline void jute_put_long(struct jute_out *out, int64_t v)
{
	uint8_t *at = jute_reserve(out, 8);

	if (at)
		be64_put(at, (uint64_t)v);
}

static inline void jute_put_boolean(struct jute_out *out, bool v)
{
	uint8_t *at = jute_reserve(out, 1);

	if (at)
		*at = v;
}

static inline void jute_put_bytes(struct jute_out *out, const void *data, size_t len)
{
	uint8_t *at = jute_reserve(out, len);

	if (at && len)
		memcpy(at, data, len);
}

static inline void jute_put_buffer(struct jute_out *out, struct jute_buf b)
{
	size_t len = b.len > 0 ? (size_t)b.len : 0;
	uint8_t *at = jute_reserve(out, 4 + len);

	if (!at)
		return;
	be32_put(at, (uint32_t)b.len);
	if (len)
		memcpy(at + 4, b.data, len);
}

static inline void jute_put_ustring(struct jute_out *out, struct jute_buf b)
{
	jute_put_buffer(out, b);
}

/* A vector that was decoded, with its count in normal form. */
static inline void jute_put_vec(struct jute_out *out, const struct jute_vec *v)
{
	jute_put_int(out, v->count);
	if (v->count > 0)
		jute_put_bytes(out, v->data + 4, v->size - 4);
}

/*
 * A length-prefixed piece of which the length is only known afterwards: a buffer, a frame, or
 * (with jute_close_count) a vector. `open` is what jute_open() returned; NULL is harmless.
 */
static inline uint8_t *jute_open(struct jute_out *out)
{
	return jute_reserve(out, 4);
}

static inline void jute_close_count(struct jute_out *out, uint8_t *open, size_t count)
{
	CHECK(count <= INT32_MAX);
	if (open && !out->failed)
		be32_put(open, (uint32_t)count);
}

static inline void jute_close(struct jute_out *out, uint8_t *open)
{
	if (open)
		jute_close_count(out, open, (size_t)(out->next - open) - 4);
}

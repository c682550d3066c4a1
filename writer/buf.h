/*
 * buf.h - bytes that grow: kept between uses, so that nothing is allocated in the steady state
 *
 * Running out of the process's own memory aborts: a half-made answer can't be taken back.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

struct wtr_buf {
	uint8_t *bytes;
	size_t len, cap;
};

/* Room for n more bytes behind len; they are not counted until the caller adds to len. */
static inline uint8_t *wtr_buf_room(struct wtr_buf *b, size_t n)
{
	if (b->cap - b->len < n) {
		size_t cap = b->cap ? b->cap * 2 : 4096;

		while (cap - b->len < n)
			cap *= 2;
		b->bytes = realloc(b->bytes, cap);
		CHECK(b->bytes != NULL);
		b->cap = cap;
	}
	return b->bytes + b->len;
}

static inline void wtr_buf_put(struct wtr_buf *b, const void *data, size_t n)
{
	uint8_t *at = wtr_buf_room(b, n);

	if (n)
		memcpy(at, data, n);
	b->len += n;
}

/* Zeros up to the next multiple of 8. */
static inline void wtr_buf_pad8(struct wtr_buf *b)
{
	static const uint8_t zeros[8];

	wtr_buf_put(b, zeros, -b->len & 7);
}

static inline void wtr_buf_fini(struct wtr_buf *b)
{
	free(b->bytes);
	*b = (struct wtr_buf){NULL, 0, 0};
}

/*
 * frame.h - how a record lies in a ring (ring.h, commit.h): u32 length, u32 zero, payload, padding
 *
 * For the two rings alone. Counts only grow; places are count & (size - 1), multiples of 8.
 */
#pragma once

#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "base/check.h"

enum { FRAME_HEAD = 8 };
#define FRAME_SKIP UINT32_MAX /* no record here, go on at the start of the data */

static inline uint64_t frame_bytes(uint64_t payload)
{
	return FRAME_HEAD + ((payload + 7) & ~(uint64_t)7);
}

/* Bytes of ring that a record of `need` bytes takes at count `at`, with the skip before it. */
static inline uint64_t frame_span(uint64_t size, uint64_t at, uint64_t need)
{
	uint64_t to_end = size - (at & (size - 1));

	return need <= to_end ? need : to_end + need;
}

static inline void frame_put_head(uint8_t *place, uint32_t len)
{
	const uint32_t head[2] = {len, 0};

	/* An atomic store, as a hostile consumer's eye is nothing to tear. */
	__atomic_store_n((uint32_t *)(void *)place, head[0], __ATOMIC_RELAXED);
	memcpy(place + 4, &head[1], 4);
}

/* Write skip and record at count `at`; there is room for frame_span() bytes. The new count. */
static inline uint64_t frame_write(uint8_t *data, uint64_t size, uint64_t at,
				   const struct iovec *iov, int n, uint32_t len)
{
	uint64_t place = at & (size - 1), need = frame_bytes(len);
	uint64_t span = frame_span(size, at, need);
	uint8_t *to;

	if (span > need) {
		frame_put_head(data + place, FRAME_SKIP);
		place = 0;
	}
	frame_put_head(data + place, len);
	to = data + place + FRAME_HEAD;
	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len)
			memcpy(to, iov[i].iov_base, iov[i].iov_len);
		to += iov[i].iov_len;
	}
	return at + span;
}

static inline uint64_t frame_total(const struct iovec *iov, int n)
{
	uint64_t len = 0;

	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	CHECK(len > 0);
	return len;
}

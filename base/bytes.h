/*
 * bytes.h - integers in byte buffers
 *
 * be: big-endian, as on the wire and in ZooKeeper's files. le: little-endian, for formats of our
 * own. No alignment is needed; each call is one or two instructions.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "only little-endian machines are supported"
#endif

#define BYTES_ORDER(bits_)                                                                         \
	static inline uint##bits_##_t be##bits_##_get(const void *from)                            \
	{                                                                                          \
		uint##bits_##_t v;                                                                 \
		memcpy(&v, from, sizeof(v));                                                       \
		return __builtin_bswap##bits_(v);                                                  \
	}                                                                                          \
	static inline void be##bits_##_put(void *to, uint##bits_##_t v)                            \
	{                                                                                          \
		v = __builtin_bswap##bits_(v);                                                     \
		memcpy(to, &v, sizeof(v));                                                         \
	}                                                                                          \
	static inline uint##bits_##_t le##bits_##_get(const void *from)                            \
	{                                                                                          \
		uint##bits_##_t v;                                                                 \
		memcpy(&v, from, sizeof(v));                                                       \
		return v;                                                                          \
	}                                                                                          \
	static inline void le##bits_##_put(void *to, uint##bits_##_t v)                            \
	{                                                                                          \
		memcpy(to, &v, sizeof(v));                                                         \
	}

BYTES_ORDER(16) /* be16_get be16_put le16_get le16_put */
BYTES_ORDER(32)
BYTES_ORDER(64)
#undef BYTES_ORDER

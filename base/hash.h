/*
 * hash.h - keyed 64-bit hash of bytes
 *
 * 128-bit products folded to 64 bits, 16 bytes a step. With a secret key (fresh random bytes per
 * start) nobody outside can choose colliding names; it is no message authentication code. All 64
 * bits are good. Never on disk or wire: the value changes with the key.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct hash_key {
	uint64_t word[2];
};

static inline uint64_t hash_fold(uint64_t a, uint64_t b)
{
	unsigned __int128 product = (unsigned __int128)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t hash_load(const uint8_t *from, size_t bytes)
{
	uint64_t v = 0;

	memcpy(&v, from, bytes);
	return v;
}

static inline uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint64_t k0 = key->word[0], k1 = key->word[1] ^ 0x9e3779b97f4a7c15;
	uint64_t h = k0 ^ len * 0xd6e8feb86659fd93, a = 0, b = 0;

	for (; len > 16; len -= 16, p += 16)
		h = hash_fold(hash_load(p, 8) ^ k1, hash_load(p + 8, 8) ^ h);
	/* The last 1..16 bytes: two words that may overlap, and so need no loop. */
	if (len >= 8) {
		a = hash_load(p, 8);
		b = hash_load(p + len - 8, 8);
	} else if (len >= 4) {
		a = hash_load(p, 4);
		b = hash_load(p + len - 4, 4);
	} else if (len) {
		a = (uint64_t)p[0] << 16 | (uint64_t)p[len / 2] << 8 | p[len - 1];
	}
	h = hash_fold(a ^ k1, b ^ h);
	return hash_fold(h ^ k1, k0 ^ 0xe7037ed1a0b428db);
}

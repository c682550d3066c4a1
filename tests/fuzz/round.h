/*
 * round.h - the property of every codec: decode, encode, decode gives the same record
 *
 * ROUND(zk_thing, ...) defines round_zk_thing(): what can be decoded is encoded into as many bytes
 * as were read, and these bytes decode, and encode to themselves. (The second argument is there so
 * that the lists of records can be given to it.)
 */
#pragma once

#include <stdlib.h>

#include "jute/jute.h"

/* Memory of exactly that size, so that the sanitizers see a byte too many. */
static inline uint8_t *round_memory(size_t size)
{
	uint8_t *memory = malloc(size ? size : 1);

	CHECK(memory);
	return memory;
}

#define ROUND(name_, FIELDS_)                                                                      \
	static void round_##name_(struct jute_in in)                                               \
	{                                                                                          \
		const uint8_t *start = in.next;                                                    \
		struct name_ record;                                                               \
                                                                                                   \
		if (name_##_decode(&in, &record))                                                  \
			return;                                                                    \
		size_t size = (size_t)(in.next - start);                                           \
		uint8_t *once = round_memory(size), *twice = round_memory(size);                   \
		struct jute_out out = jute_out_of(once, size);                                     \
		struct jute_in again = jute_in_of(once, size);                                     \
                                                                                                   \
		name_##_encode(&out, &record);                                                     \
		CHECK(!out.failed);                                                                \
		CHECK(jute_room(&out) == 0);                                                       \
		CHECK(name_##_decode(&again, &record) == 0);                                       \
		CHECK(jute_left(&again) == 0);                                                     \
		out = jute_out_of(twice, size);                                                    \
		name_##_encode(&out, &record);                                                     \
		CHECK(jute_room(&out) == 0);                                                       \
		CHECK(!memcmp(once, twice, size));                                                 \
		free(once);                                                                        \
		free(twice);                                                                       \
	}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * hex.h - bytes of a test, legible
 *
 * hex("00000002 2f61") is six bytes; blanks are for the eye. At most HEX_MAX bytes.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"

enum { HEX_MAX = 256, HEX_KEPT = 8 };

struct hex {
	size_t size;
	uint8_t bytes[HEX_MAX];
};

/* Good until HEX_KEPT more were made. */
static inline const struct hex *hex(const char *text)
{
	static struct hex kept[HEX_KEPT];
	static unsigned made;
	struct hex *h = &kept[made++ % HEX_KEPT];
	size_t digits = 0;

	for (; *text; text++) {
		int digit = *text >= 'a' ? *text - 'a' + 10 : *text - '0';
		uint8_t *byte = &h->bytes[digits / 2];

		if (*text == ' ')
			continue;
		CHECK(digit >= 0);
		CHECK(digit < 16);
		CHECK(digits / 2 < HEX_MAX);
		*byte = (uint8_t)(digits % 2 ? *byte << 4 | digit : digit);
		digits++;
	}
	CHECK(digits % 2 == 0);
	h->size = digits / 2;
	return h;
}

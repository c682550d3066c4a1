#include "storage/gunzip.h"

#include <errno.h>
#include <libdeflate.h>
#include <stdlib.h>

#include "base/bytes.h"

enum { DEFLATE_RATIO_MAX = 1032, GZIP_BYTES_MIN = 18 };

int sto_gunzip(const uint8_t *bytes, size_t n, uint8_t **out, size_t *out_n)
{
	struct libdeflate_decompressor *d = libdeflate_alloc_decompressor();
	enum libdeflate_result result = LIBDEFLATE_INSUFFICIENT_SPACE;
	size_t used = 0;

	*out = NULL;
	if (!d || n < GZIP_BYTES_MIN) {
		libdeflate_free_decompressor(d);
		return d ? -EBADMSG : -ENOMEM;
	}
	/* The file says its length modulo 2^32; what that can be is bounded by what is there. */
	for (uint64_t size = le32_get(bytes + n - 4);
	     result == LIBDEFLATE_INSUFFICIENT_SPACE && size <= (uint64_t)n * DEFLATE_RATIO_MAX;
	     size += 1ULL << 32) {
		free(*out);
		*out = malloc(size ? size : 1);
		if (!*out) {
			libdeflate_free_decompressor(d);
			return -ENOMEM;
		}
		result = libdeflate_gzip_decompress_ex(d, bytes, n, *out, size, &used, out_n);
	}
	libdeflate_free_decompressor(d);
	if (result == LIBDEFLATE_SUCCESS && used == n)
		return 0;
	free(*out);
	*out = NULL;
	return -EBADMSG;
}

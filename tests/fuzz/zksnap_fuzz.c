/* Any bytes as what a leader sends, and as a file: in two pieces they say what they say at once. */
#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "storage/zksnap.h"
#include "tests/storage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct result {
	int got;
	size_t used;
	struct kept kept;
};

static void init(struct sto_zk_reader *r, const struct sto_sink *sink, int stream)
{
	if (stream)
		sto_zk_reader_stream(r, sink, 7, 1 << 12);
	else
		sto_zk_reader_file(r, sink, 7);
}

static struct result read_at(const uint8_t *data, size_t size, size_t cut, int stream)
{
	struct result res = {0};
	struct sto_sink sink = kept_sink(&res.kept);
	struct sto_zk_reader r;
	size_t used;

	init(&r, &sink, stream);
	res.got = sto_zk_read(&r, data, cut, &res.used);
	CHECK(res.used <= cut);
	if (!res.got && cut < size) {
		res.got = sto_zk_read(&r, data + res.used, size - res.used, &used);
		res.used += used;
	}
	CHECK(res.used <= size);
	CHECK(res.got == 0 || res.got == 1 || (res.got == -EBADMSG && r.what));
	CHECK(res.got != 1 || stream);
	CHECK(r.head.nodes == res.kept.nodes);
	sto_zk_reader_fini(&r);
	return res;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Whether a record is too long is seen when the caller has so much of it. */
	size = size < 1 << 12 ? size : 1 << 12;
	for (int stream = 0; stream < 2; stream++) {
		struct result whole = read_at(data, size, size, stream);

		for (size_t cut = 0; cut < size; cut += 1 + size / 7) {
			struct result cut_once = read_at(data, size, cut, stream);

			CHECK(cut_once.got == whole.got);
			CHECK(cut_once.used == whole.used);
			CHECK(cut_once.kept.sum == whole.kept.sum);
		}
	}
	return 0;
}

/* Any bytes as what a leader sends, and as a file: in two pieces they say what they say at once;
 * and of a state that is taken a tree can be made. */
#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "shm/tree.h"
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

static int grow(void *self, const struct sto_snap_node *n)
{
	return shm_tree_load(self, &(struct shm_loaded){.path = n->path,
							.path_len = n->path_len,
							.data = n->data,
							.data_len = n->data_len,
							.owner = n->owner});
}

static int take_session(void *self, int64_t id, int32_t timeout_ms)
{
	(void)self, (void)id, (void)timeout_ms;
	return 0;
}

static void plant(const uint8_t *data, size_t size)
{
	struct sto_sink sink = {.session = take_session, .node = grow};
	struct sto_zk_reader r;
	struct shm_tree *t;
	size_t used;

	CHECK(!shm_tree_new_private(&t, 0));
	sink.self = t;
	init(&r, &sink, 1);
	CHECK(sto_zk_read(&r, data, size, &used) == 1);
	CHECK(shm_tree_count(t) - 1 == (int64_t)r.head.nodes);
	CHECK(!shm_tree_loaded(t, 7));
	sto_zk_reader_fini(&r);
	shm_tree_free_private(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* Whether a record is too long is seen when the caller has so much of it. */
	size = size < 1 << 12 ? size : 1 << 12;
	for (int stream = 0; stream < 2; stream++) {
		struct result whole = read_at(data, size, size, stream);

		if (stream && whole.got == 1)
			plant(data, size);
		for (size_t cut = 0; cut < size; cut += 1 + size / 7) {
			struct result cut_once = read_at(data, size, cut, stream);

			CHECK(cut_once.got == whole.got);
			CHECK(cut_once.used == whole.used);
			CHECK(cut_once.kept.sum == whole.kept.sum);
		}
	}
	return 0;
}

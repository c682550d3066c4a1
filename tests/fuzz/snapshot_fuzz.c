/* Any bytes as a snapshot: taken or refused, and nothing reaches beyond what is there. What is
 * taken, written again and read again is the same. */
#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/file.h"
#include "storage/snap.h"
#include "tests/memfs.h"
#include "tests/storage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct copy {
	struct kept kept;
	struct sto_snap_writer *to;
};

static int copy_begin(void *self, const struct sto_snap_head *head)
{
	return kept_begin(&((struct copy *)self)->kept, head);
}

static int copy_session(void *self, int64_t id, int32_t timeout_ms)
{
	struct copy *c = self;

	kept_session(&c->kept, id, timeout_ms);
	return sto_snap_session(c->to, id, timeout_ms);
}

static int copy_node(void *self, const struct sto_snap_node *n)
{
	struct copy *c = self;

	kept_node(&c->kept, n);
	return sto_snap_put(c->to, n);
}

static int copy_loaded(void *self, const struct sto_snap_head *head)
{
	return kept_loaded(&((struct copy *)self)->kept, head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct memfs m;
	struct copy copy = {0};
	struct sto_sink sink = {&copy, copy_begin, copy_session, copy_node, copy_loaded, NULL};
	struct kept again = {0};
	struct sto_sink sink_again = kept_sink(&again);
	struct sto_snap_head head = {.zxid = 9}, head_again;
	char why[STO_WHY_MAX];
	int err;

	memfs_init(&m);
	memfs_add(&m, STO_SNAP_PREFIX "0000000000000008", data, size);
	CHECK(!sto_snap_begin(&copy.to, &m.fs, "d", &head));
	err = sto_snap_load(&m.fs, MEMFS_DIR, 8, &sink, &head, NULL, why);
	if (err) {
		CHECK(why[0]);
		sto_snap_abort(copy.to);
	} else {
		head.zxid = 9;
		CHECK(!sto_snap_commit(copy.to, &head));
		CHECK(!sto_snap_load(&m.fs, MEMFS_DIR, 9, &sink_again, &head_again, NULL, why));
		CHECK(again.sum == copy.kept.sum);
		CHECK(again.nodes == copy.kept.nodes);
	}
	CHECK(memfs_open_fds(&m) == 0);
	memfs_fini(&m);
	return 0;
}

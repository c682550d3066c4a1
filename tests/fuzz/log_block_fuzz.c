/* Any bytes as a segment: the reader returns whole entries in order, or stops; so does recovery. */
#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/recover.h"
#include "storage/segment.h"
#include "tests/memfs.h"
#include "tests/storage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct memfs m;
	struct kept kept = {0};
	struct sto_sink sink = kept_sink(&kept);
	struct sto_recovered out;
	int64_t last;
	int err;

	memfs_init(&m);
	memfs_add(&m, STO_LOG_PREFIX "0000000000000001", data, size);
	err = sto_recover(&m.fs, "d", "d", false, &sink, &out);
	CHECK(!err || out.message[0]);
	CHECK(out.last_zxid == kept.last_zxid);
	/* What was recovered is there for good, and there is nothing more to tell. */
	last = out.last_zxid;
	if (!err) {
		CHECK(!sto_recover(&m.fs, "d", "d", false, &sink, &out));
		CHECK(out.last_zxid == last);
		CHECK(!out.message[0]);
	}
	CHECK(memfs_open_fds(&m) == 0);
	memfs_fini(&m);
	return 0;
}

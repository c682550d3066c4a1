/* Any bytes as ZooKeeper's log, snapshot and compressed snapshot. */
#include <errno.h>
#include <stdlib.h>

#include "base/check.h"
#include "storage/import.h"
#include "tests/memfs.h"
#include "tests/storage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const names[] = {"log.1", "snapshot.0", "snapshot.0.gz"};
	static struct memfs m;
	struct kept kept = {0};
	struct sto_sink sink = kept_sink(&kept);
	struct sto_recovered out;

	for (int i = 0; i < 3; i++) {
		int err;

		memfs_init(&m);
		memfs_add(&m, names[i], data, size);
		CHECK(sto_import_wanted(&m.fs, "d", "d") == 1);
		err = sto_import(&m.fs, "d", "d", &sink, &out);
		CHECK(!err || out.message[0]);
		CHECK(out.last_zxid == kept.last_zxid || err);
		CHECK(memfs_open_fds(&m) == 0);
		memfs_fini(&m);
	}
	return 0;
}

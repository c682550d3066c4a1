/* Any bytes as a segment, read from any zxid on: entries in order, all above where it began, or an
 * error; and those that recovery finds are all found from 0 on. */
#include <errno.h>

#include "base/bytes.h"
#include "base/check.h"
#include "storage/reader.h"
#include "storage/recover.h"
#include "storage/segment.h"
#include "tests/memfs.h"
#include "tests/storage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count_run(void *arg, int64_t first, int64_t last)
{
	CHECK(first <= last);
	CHECK(first >> 32 == last >> 32);
	*(int64_t *)arg = last;
	return 0;
}

/* How many entries there are behind `after`. */
static uint64_t read_from(struct memfs *m, int64_t after, int64_t *last)
{
	struct sto_reader *r;
	const uint8_t *entry;
	uint64_t n = 0;
	uint32_t len;
	int64_t zxid;

	if (sto_reader_open(&r, &m->fs, "d", after))
		return 0;
	*last = after;
	while (sto_reader_next(r, INT64_MAX, &zxid, &entry, &len) == 1) {
		CHECK(sto_zxid_follows(*last, zxid));
		CHECK(len >= STO_ENTRY_MIN);
		CHECK((int64_t)be64_get(entry + STO_ENTRY_ZXID_AT) == zxid);
		*last = zxid;
		n++;
	}
	sto_reader_close(r);
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct memfs m;
	struct kept kept = {0};
	struct sto_sink sink = kept_sink(&kept);
	struct sto_recovered out;
	int64_t last = 0, run = 0;
	uint64_t n;

	if (size < 8)
		return 0;
	memfs_init(&m);
	memfs_add(&m, STO_LOG_PREFIX "0000000000000001", data + 8, size - 8);
	read_from(&m, (int64_t)(le64_get(data) >> 1), &last);
	sto_log_runs(&m.fs, "d", 0, count_run, &run);
	n = read_from(&m, 0, &last);
	if (!sto_recover(&m.fs, "d", "d", false, &sink, &out)) {
		CHECK(n == out.txns);
		CHECK(!n || last == out.last_zxid);
	}
	CHECK(memfs_open_fds(&m) == 0);
	memfs_fini(&m);
	return 0;
}

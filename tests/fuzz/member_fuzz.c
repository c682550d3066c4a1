/* Any bytes as a member's record: refused, or a record that is written as it was read; a start on
 * it changes nothing, or carries out what can be. */
#include <errno.h>

#include "base/check.h"
#include "storage/stage.h"
#include "tests/memfs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct memfs m;
	struct sto_record r, again;
	struct sto_member member;
	uint8_t bytes[STO_MEMBER_BYTES];
	bool good = sto_record_get(data, size, &r);
	int err;

	if (good) {
		CHECK(r.member.accepted_epoch >= r.member.current_epoch);
		sto_record_put(bytes, &r);
		CHECK(sto_record_get(bytes, sizeof(bytes), &again));
		CHECK(again.member.accepted_epoch == r.member.accepted_epoch);
		CHECK(again.member.current_epoch == r.member.current_epoch);
		CHECK(again.member.must_sync == r.member.must_sync);
		CHECK(again.pending == r.pending);
		CHECK(again.zxid == r.zxid);
	}
	memfs_init(&m);
	memfs_add(&m, STO_MEMBER, data, size);
	err = sto_member_settle(&m.fs, "d", "d", &member);
	/* Nothing is there that could be installed; what is cut is empty. */
	CHECK(err == (!good || r.pending == STO_PENDING_INSTALL ? -EBADMSG : 0));
	CHECK(sto_member_load(&m.fs, "d", &member) == (good ? 0 : -EBADMSG));
	CHECK(memfs_open_fds(&m) == 0);
	memfs_fini(&m);
	return 0;
}

/* jute_records_fuzz.c - input: a byte that picks the record, then its bytes */

#include "jute/records.h"
#include "tests/fuzz/round.h"

ZK_RECORDS(ROUND)
ROUND(zk_reply_header, )
ROUND(zk_connect_request, )
ROUND(zk_connect_response, )

static void walk_multi(struct jute_in in)
{
	struct zk_multi_op op;

	while (zk_multi_next(&in, &op) == 1)
		CHECK(!in.failed);
}

#define ENTRY(name_, FIELDS_) round_##name_,
static void (*const rounds[])(struct jute_in in) = {walk_multi, round_zk_reply_header,
						    round_zk_connect_request,
						    round_zk_connect_response, ZK_RECORDS(ENTRY)};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size)
		rounds[data[0] % (sizeof(rounds) / sizeof(*rounds))](
		    jute_in_of(data + 1, size - 1));
	return 0;
}

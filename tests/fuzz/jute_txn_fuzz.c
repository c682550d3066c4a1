/* jute_txn_fuzz.c - input: an entry as in log and proposal, TxnHeader, record, digest */

#include "jute/txn.h"
#include "tests/fuzz/round.h"

ZK_TXNS(ROUND)

#define ENTRY(name_, FIELDS_) round_##name_,
static void (*const rounds[])(struct jute_in in) = {ZK_TXNS(ENTRY)};

static void encode(struct jute_out *out, const struct zk_txn_body *body)
{
	struct zk_multi_txn multi = body->multi;
	struct zk_txn_body member;
	uint8_t *begin;

	if (body->type != ZK_OP_MULTI) {
		zk_txn_body_encode(out, body);
		return;
	}
	begin = zk_multi_txn_begin(out);
	for (int32_t i = 0; i < multi.count; i++) {
		if (zk_multi_txn_next(&multi, &member))
			out->failed = true;
		else
			zk_multi_txn_put(out, &member);
	}
	zk_multi_txn_end(out, begin, multi.count > 0 ? (size_t)multi.count : 0);
}

/* Old forms grow (a count or a cversion); a multi may hold what is no transaction. */
static void round_body(struct jute_in in, int32_t type)
{
	size_t room = 2 * jute_left(&in) + 64;
	uint8_t *once = round_memory(room), *twice = round_memory(room);
	struct jute_out out = jute_out_of(once, room), out2 = jute_out_of(twice, room);
	struct zk_txn_body body;
	struct jute_in again;
	size_t size;

	if (!zk_txn_body_decode(&in, type, &body)) {
		encode(&out, &body);
		size = jute_size(&out, once);
		again = jute_in_of(once, size);
		if (!out.failed) {
			CHECK(zk_txn_body_decode(&again, type, &body) == 0);
			CHECK(jute_left(&again) == 0);
			encode(&out2, &body);
			CHECK(jute_size(&out2, twice) == size);
			CHECK(!memcmp(once, twice, size));
		}
	}
	free(once);
	free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct jute_in in = jute_in_of(data, size);
	struct zk_txn_header header;

	for (size_t i = 0; i < sizeof(rounds) / sizeof(*rounds); i++)
		rounds[i](in);
	if (!zk_txn_header_decode(&in, &header))
		round_body(in, header.type);
	return 0;
}

/*
 * quorum_packet_fuzz.c - input: a stream of QuorumPackets
 *
 * Properties: with fewer bytes than there are, the decoder asks for more than it got and never for
 * more than the bound; what it decodes is encoded into as many bytes, which decode to the same;
 * the data's decoders accept or refuse.
 */

#include "jute/acl.h"
#include "quorum/packet.h"
#include "tests/fuzz/round.h"

enum { DATA_MAX = 4096 };

static void look_at_data(const struct quorum_packet *packet)
{
	struct quorum_learner_info info;
	struct quorum_revalidated valid;
	struct quorum_request request;
	struct quorum_activate activate;
	int32_t number, touches = quorum_touches(packet->data);

	for (int32_t i = 0; i < touches; i++)
		quorum_touch_get(packet->data, i);
	quorum_learner_info_decode(packet->data, &info);
	quorum_revalidated_decode(packet->data, &valid);
	quorum_int_decode(packet->data, &number);
	if (!quorum_request_decode(packet->data, &request))
		CHECK(request.body.len == packet->data.len - 16);
	if (!quorum_activate_decode(packet->data, &activate))
		CHECK(activate.txn.len == packet->data.len - 8);
}

static void round_packet(const struct quorum_packet *packet, size_t size)
{
	uint8_t *once = round_memory(size);
	struct jute_out out = jute_out_of(once, size);
	struct quorum_packet again;
	size_t need;

	quorum_packet_encode(&out, packet);
	CHECK(!out.failed);
	CHECK(jute_room(&out) == 0);
	CHECK(quorum_packet_decode(once, size, DATA_MAX, &again, &need) == (int64_t)size);
	CHECK(again.type == packet->type);
	CHECK(again.zxid == packet->zxid);
	CHECK(jute_buf_equal(again.data, packet->data));
	CHECK(again.authinfo.count == packet->authinfo.count);
	CHECK(zk_ids_view(again.authinfo.data, again.authinfo.size).count ==
	      packet->authinfo.count);
	free(once);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct quorum_packet packet;
	size_t have = 0, need = 0;
	int64_t got;

	/* As a socket would: no more than was asked for. */
	while (need <= size) {
		have = need;
		got = quorum_packet_decode(data, have, DATA_MAX, &packet, &need);
		if (got < 0)
			break;
		if (got == 0) {
			CHECK(need > have);
			CHECK(need <= quorum_packet_max(DATA_MAX));
			continue;
		}
		CHECK((size_t)got == have);
		look_at_data(&packet);
		round_packet(&packet, (size_t)got);
		data += got;
		size -= (size_t)got;
		need = 0;
	}
	return 0;
}

/*
 * quorum_notify_fuzz.c - input: what comes in on the election port, an initial message and frames
 *
 * Properties: with fewer bytes than there are, the decoders ask for more than they got and never
 * for more than the bound; addresses are legible; a notification in the present form, encoded, is
 * the bytes it came from.
 */

#include "quorum/notify.h"
#include "tests/fuzz/round.h"

static void check_hello(const struct fle_hello *hello)
{
	CHECK(hello->sid >= 0);
	CHECK(hello->n_addresses <= QUORUM_ADDRS_MAX);
	for (uint8_t i = 0; i < hello->n_addresses; i++) {
		CHECK(hello->address[i].port);
		CHECK(hello->address[i].host.len > 0);
		CHECK(hello->address[i].host.len <= QUORUM_HOST_MAX);
		for (int32_t c = 0; c < hello->address[i].host.len; c++)
			CHECK(hello->address[i].host.data[c] > ' ');
	}
}

static void check_notification(struct jute_buf body)
{
	struct fle_notification n;
	struct jute_out out;
	uint8_t *again;
	size_t size;

	if (fle_notification_decode(body, &n))
		return;
	fle_state_name(n.state);
	if (n.version != 2)
		return;
	size = 4 + FLE_NOTIFICATION_HEAD + (size_t)n.config.len;
	again = round_memory(size);
	out = jute_out_of(again, size);
	fle_put_notification(&out, &n);
	CHECK(jute_room(&out) == 0);
	CHECK(!memcmp(again + 4, body.data, size - 4));
	free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fle_hello hello;
	struct jute_buf body;
	size_t have, need = 0;
	bool greeted = false;
	int64_t got;

	/* As a socket would: no more than was asked for. */
	while (need <= size) {
		have = need;
		got = greeted ? fle_frame_decode(data, have, &body, &need)
			      : fle_hello_decode(data, have, &hello, &need);
		if (got < 0)
			break;
		if (got == 0) {
			CHECK(need > have);
			CHECK(need <= (size_t)(greeted ? FLE_FRAME_MAX : FLE_HELLO_MAX));
			continue;
		}
		CHECK((size_t)got == have);
		if (greeted)
			check_notification(body);
		else
			check_hello(&hello);
		greeted = true;
		data += got;
		size -= (size_t)got;
		need = 0;
	}
	return 0;
}

/* handshake_fuzz.c - input: where it is cut in two, then the first bytes of a client */

#include "tests/fuzz/worker_fx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fx *f = fx_make();
	struct wrk_conn *c = fx_connect(f);
	uint32_t place = c->place;

	if (size > 1) {
		size_t cut = 1 + data[0] * (size - 1) / 256;

		fx_feed(f, place, data + 1, cut - 1);
		fx_feed(f, place, data + cut, size - cut);
	}
	c = wrk_conn_at(&f->w, place);
	CHECK(!c || c->in_len <= WRK_HANDSHAKE_MAX + 4 || c->state != WRK_HANDSHAKE);
	for (int i = 0; fx_answers(f); i++)
		CHECK(i < 100000);
	fx_end(f, place);
	return 0;
}

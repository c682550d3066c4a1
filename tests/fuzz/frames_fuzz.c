/* frames_fuzz.c - input: where it is cut in two, then bytes of a client with a session */

#include "tests/fuzz/worker_fx.h"

static const uint8_t connect[] = {
    0, 0, 0, 28, [18] = 0x27, [19] = 0x10, [24] = 0, [28] = 0, 0, 0, 0};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fx *f = fx_make();
	struct wrk_conn *c = fx_connect(f);
	uint32_t place = c->place;
	size_t cut, from;

	fx_feed(f, place, connect, sizeof(connect));
	CHECK(c->state == WRK_SETUP);
	fx_answers(f);
	CHECK(c->state == WRK_OPEN);
	from = c->out_len;
	if (size > 1) {
		cut = 1 + data[0] * (size - 1) / 256;
		fx_feed(f, place, data + 1, cut - 1);
		fx_feed(f, place, data + cut, size - cut);
	}
	for (int i = 0; fx_answers(f); i++)
		CHECK(i < 100000);
	if (wrk_conn_at(&f->w, place))
		fx_check_output(c, from);
	fx_end(f, place);
	return 0;
}

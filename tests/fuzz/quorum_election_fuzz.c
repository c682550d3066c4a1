/*
 * quorum_election_fuzz.c - input: a byte that picks who we are, then events of 8 bytes each
 *
 * Peers that say anything in any order. Properties: the invariants of election.h hold after each
 * step (fle_check(), and E3 where elections end); votes elect nobody without weight; no message
 * goes to ourselves; a refused event changes nothing; the trace fits.
 */

#include <errno.h>
#include <stdio.h>

#include "quorum/election.h"
#include "tests/fuzz/round.h"

static const char *const texts[] = {
    "server.0=a:1:2\nserver.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2:observer\nversion=1",
    "server.0=a:1:2\nserver.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\nserver.4=a:1:2\nversion=2",
    ("server.0=a:1:2\nserver.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\nserver.5=a:1:2:observer\n"
     "group.1=0:1\ngroup.2=2\ngroup.3=3\nweight.1=0\nweight.3=0\nversion=3"),
    "server.2=a:1:2\nversion=4",
};

static struct quorum_config configs[4];
static struct fle fle, before;

/* Small numbers meet often; a few are extreme. */
static int64_t number(uint8_t byte)
{
	static const int64_t extreme[] = {INT64_MIN, INT64_MAX, -1, FLE_ROUND_MAX,
					  FLE_ROUND_MAX + 1};

	return byte < 5 ? extreme[byte] : byte % 7;
}

static const struct quorum_config *config_of(uint8_t byte)
{
	return &configs[byte % 4];
}

static void check_step(const struct fle_event *event, const struct fle_out *out, int err)
{
	char line[160];

	fle_check(&fle);
	if (err) {
		CHECK(err == -EPROTO);
		CHECK(!memcmp(&fle, &before, sizeof(fle)));
		return;
	}
	CHECK(fle_trace(&fle, event, out, line, sizeof(line)) < sizeof(line));
	for (uint32_t i = 0; i < out->n_to; i++)
		CHECK(out->to[i] != fle.options.me);
	/* By votes; an ensemble that has a leader may know newer weights. */
	if (out->decided && !strcmp(out->why, "quiet"))
		CHECK(quorum_config_weight(fle.committed, fle.vote.leader) ||
		      (fle.last_seen && quorum_config_weight(fle.last_seen, fle.vote.leader)));
}

static void step(const uint8_t *d)
{
	struct fle_notification n = {(enum fle_state)(d[2] % 4),
				     {number(d[3]), number(d[4]), number(d[5]), number(d[6])},
				     d[7] % 3,
				     d[7] < 64 ? jute_text(texts[d[7] % 4]) : jute_null};
	struct fle_event event = {.type = (enum fle_event_type)(d[0] % 7)};
	struct fle_out out;
	int err;

	event.now_ms = fle.now_ms + (d[1] & 15) * 50u;
	switch (event.type) {
	case FLE_LOOK:
		event.look.last_zxid = number(d[4]);
		event.look.current_epoch = number(d[6]);
		break;
	case FLE_RECEIVE:
		event.receive.from = d[1] >> 4;
		event.receive.message = &n;
		break;
	case FLE_CONNECTED:
		event.connected.sid = d[1] >> 4;
		break;
	case FLE_CONFIG:
		event.config.committed = config_of(d[2]);
		event.config.last_seen = d[3] & 1 ? config_of(d[4]) : NULL;
		event.config.role = d[3] & 2 ? QUORUM_OBSERVER : QUORUM_PARTICIPANT;
		break;
	case FLE_SERVING:
		event.serving.epoch = number(d[4]);
		break;
	case FLE_APPOINT:
		event.appoint.state = n.state;
		event.appoint.leader = n.vote.leader;
		event.appoint.zxid = n.vote.zxid;
		break;
	case FLE_TIMEOUT:
		break;
	}
	memcpy(&before, &fle, sizeof(fle));
	err = fle_step(&fle, &event, &out);
	check_step(&event, &out, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fle_options options;

	for (int i = 0; i < 4; i++)
		CHECK(quorum_config_parse(&configs[i], texts[i], strlen(texts[i]), NULL) == 0);
	if (size < 1)
		return 0;
	options = fle_defaults(data[0] & 7, data[0] & 8 ? QUORUM_OBSERVER : QUORUM_PARTICIPANT, 1);
	options.reconfig = data[0] & 16;
	fle_init(&fle, &options, config_of(data[0] >> 5), NULL);
	for (size_t at = 1; at + 8 <= size; at += 8)
		step(data + at);
	return 0;
}

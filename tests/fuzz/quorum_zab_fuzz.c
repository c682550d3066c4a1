/*
 * ZAB against peers that say anything: every invariant after every step, and what is published
 * never goes back. Each event takes four bytes: kind, connection, and two that make its values.
 */
#include <string.h>

#include "base/check.h"
#include "quorum/zab.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct quorum_config config;

static struct zab_packet packet_of(const uint8_t *b)
{
	int64_t zxid = zab_zxid(b[2] >> 5, b[2] & 31);

	if (b[2] == 255)
		zxid = -1;
	if (b[2] == 254)
		zxid = INT64_MAX;
	return (struct zab_packet){
	    .type = b[3] % 21,
	    .zxid = zxid,
	    .sid = b[1] >> 4,
	    .current_epoch = b[3] / 21 - 1,
	    .config_version = b[1] & 8,
	    .config = b[1] & 4 ? &config : NULL,
	};
}

/* What the log does: all, or a part, of what was appended becomes durable. */
static int64_t durable(const struct zab *z, uint8_t part)
{
	int64_t next = zab_history_next(&z->history, z->durable_zxid);

	return part & 1 && next ? next : z->last_zxid;
}

static void one(struct zab *z, const uint8_t *b, uint64_t *now_ms)
{
	static const enum zab_event_type kinds[] = {
	    ZAB_RECEIVE,    ZAB_RECEIVE, ZAB_RECEIVE, ZAB_CONNECTED, ZAB_LOST,
	    ZAB_SUBMIT,     ZAB_DURABLE, ZAB_READY,   ZAB_TIMEOUT,   ZAB_ELECTED,
	    ZAB_SYNC_ASKED, ZAB_STOP,    ZAB_TRIM,
	};
	struct zab_packet packet = packet_of(b);
	struct zab_event e = {.type = kinds[b[0] % (sizeof(kinds) / sizeof(kinds[0]))],
			      .peer = b[1] & 3,
			      .packet = &packet,
			      .sid = 1 + (b[1] & 3)};
	int64_t before = z->commit_zxid;
	struct zab_out out;

	if (b[0] > 251) {
		e.type = ZAB_STATE;
		e.far_zxid = zab_zxid(b[1] >> 5, b[1] & 31);
	}
	if (e.type == ZAB_TIMEOUT)
		*now_ms += b[1];
	if (e.type == ZAB_DURABLE)
		e.zxid = durable(z, b[1]);
	else
		e.zxid = e.type == ZAB_SUBMIT ? zab_next_zxid(z) : packet.zxid;
	e.now_ms = *now_ms;
	if (zab_step(z, &e, &out))
		return;
	CHECK(out.commit_zxid >= before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char text[] = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2";
	static struct zab z;
	struct zab_history history;
	struct zab_start start = {.accepted_epoch = 2, .current_epoch = 1, .history = &history};
	struct zab_event e = {.type = ZAB_START, .start = &start};
	uint64_t now_ms = 0;
	struct zab_out out;

	if (size < 2)
		return 0;
	CHECK(quorum_config_parse(&config, text, sizeof(text) - 1, NULL) == 0);
	zab_history_init(&history, 0);
	zab_history_add_run(&history, zab_zxid(1, 1), zab_zxid(1, 9));
	start.committed_zxid = zab_zxid(1, data[0] % 9 + 1);
	start.must_sync = data[1] & 1;
	zab_init(&z, &(struct zab_options){.sid = 1,
					   .observer = data[1] & 2,
					   .rejoin_step_down = data[1] & 4,
					   .serves_observers = data[1] & 8,
					   .diff_max = data[1] >> 4,
					   .tick_ms = 10,
					   .init_limit = 10,
					   .sync_limit = 5,
					   .committed = &config});
	CHECK(zab_step(&z, &e, &out) == 0);
	for (size_t at = 2; at + 4 <= size; at += 4)
		one(&z, data + at, &now_ms);
	return 0;
}

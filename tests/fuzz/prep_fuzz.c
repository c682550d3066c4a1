/*
 * Request bodies at the writer: whatever a client sends becomes a transaction that applies, gives
 * the digest that was announced, and leaves nothing pending. Input: records of op (1 byte),
 * flags (1), length (2, big-endian), body. flags: bit 0, another session; bit 1, run before the
 * next one, else it is prepared against what is in flight.
 */
#include <stdlib.h>

#include "writer/flight.h"

enum { RECORD_MAX = 1 << 20, CONNS = 2 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct conf conf = {.tick_ms = 2000,
				 .max_buffer = 0xffff,
				 .digest_enabled = true,
				 .digest_auth = true,
				 .close_session_txn = true,
				 .extended_types = true,
				 .enforce_quota = true,
				 .container_check_ms = 60000,
				 .container_per_minute = 10000,
				 .server_id = 1};

static void run(struct wtr_core *c)
{
	struct wtr_batch *b;
	static uint64_t head = 64;
	bool wants_head;

	c->out.len = 0;
	while ((b = wtr_core_take(c))) {
		wtr_core_durable(c, b->last_zxid);
		while (wtr_core_apply(c))
			c->out.len = 0;
	}
	c->out.len = 0;
	shm_tree_published(c->tree, c->applied_zxid, head += 64);
	shm_tree_reclaim(c->tree, UINT64_MAX, 1000, &wants_head);
	CHECK(c->apply.digest_differs == 0);
	CHECK(c->pending.count == 0);
	CHECK(c->pending.digest == shm_tree_digest(c->tree));
}

static void push(struct wtr_core *c, uint8_t kind, uint64_t conn, int64_t session, int32_t op,
		 const uint8_t *body, uint32_t len)
{
	struct msg_up up = {
	    .kind = kind, .epoch = 1, .conn = conn, .session = session, .op = op, .len = len};
	uint8_t *record = malloc(sizeof(up) + len);

	CHECK(record);
	memcpy(record, &up, sizeof(up));
	if (len)
		memcpy(record + sizeof(up), body, len);
	CHECK(wtr_core_request(c, 0, record, (uint32_t)sizeof(up) + len) == 0);
	free(record);
}

static int64_t connect_one(struct wtr_core *c, uint64_t conn)
{
	struct msg_connect m = {.timeout_ms = 10000, .password_len = -1};

	push(c, UP_CONNECT, conn, 0, 0, (const uint8_t *)&m, sizeof(m));
	run(c);
	return c->sessions.next_id - 1;
}

static int32_t op_of(uint8_t byte)
{
	return byte == 0xf5 ? ZK_OP_CLOSE_SESSION : byte;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wtr_core *c = malloc(sizeof(*c));
	struct shm_tree *tree;
	int64_t session[CONNS];

	CHECK(c);
	CHECK(shm_tree_new_private(&tree, 0) == 0);
	CHECK(shm_tree_initial(tree) == 0);
	CHECK(wtr_core_init(c, &conf, tree, 0, 1, RECORD_MAX, 1000000, 1700000000000) == 0);
	shm_tree_published(tree, 0, 64);
	wtr_core_start_alone(c);
	wtr_core_serve(c, WTR_LEADS, 1);
	for (unsigned i = 0; i < CONNS; i++)
		session[i] = connect_one(c, i + 1);
	while (size >= 4) {
		uint32_t who = data[1] & 1, len = be16_get(data + 2);
		uint8_t kind = data[0] == ZK_OP_AUTH ? UP_AUTH : UP_REQUEST;

		if (len > size - 4)
			len = (uint32_t)size - 4;
		if (!wtr_core_ready(c) || c->out.len > WTR_OUT_BYTES)
			run(c);
		push(c, kind, who + 1, session[who], op_of(data[0]), data + 4, len);
		if (data[1] & 2)
			run(c);
		data += 4 + len;
		size -= 4 + len;
	}
	run(c);
	shm_tree_check(tree);
	wtr_core_fini(c);
	free(c);
	shm_tree_free_private(tree);
	return 0;
}

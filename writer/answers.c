#include "writer/answers.h"

#include <stdlib.h>

#include "jute/session.h"

void wtr_core_down(struct wtr_core *c, const struct msg_down *head, const void *body, uint32_t len)
{
	struct msg_down whole = *head;
	uint32_t frame[2] = {(uint32_t)sizeof(whole) + len, 0};

	if (whole.kind != DOWN_TXN && whole.kind != DOWN_EVENTS)
		whole.reply_len = len;
	CHECK(frame[0] <= c->record_max);
	wtr_buf_put(&c->out, frame, sizeof(frame));
	wtr_buf_put(&c->out, &whole, sizeof(whole));
	wtr_buf_put(&c->out, body, len);
	wtr_buf_pad8(&c->out);
}

void wtr_answer(struct wtr_core *c, enum msg_down_kind kind, uint16_t worker,
		const struct msg_up *up, int32_t err)
{
	struct msg_down head = {.kind = (uint8_t)kind,
				.worker = worker,
				.err = err,
				.conn = up->conn,
				.session = up->session,
				.zxid = c->applied_zxid,
				.xid = up->xid,
				.type = up->op};

	wtr_core_down(c, &head, NULL, 0);
}

/* Close a connection without a word. */
void wtr_answer_close(struct wtr_core *c, uint16_t worker, uint64_t conn, int64_t session)
{
	struct msg_down head = {.kind = DOWN_CLOSE,
				.worker = worker,
				.conn = conn,
				.session = session,
				.zxid = c->applied_zxid};

	wtr_core_down(c, &head, NULL, 0);
}

void wtr_answer_ids(struct wtr_core *c, const struct wtr_conn *conn, const struct msg_up *up,
		    int32_t err, int32_t type)
{
	struct msg_down head = {.kind = DOWN_AUTH,
				.worker = conn->worker,
				.err = err,
				.conn = up->conn,
				.session = up->session,
				.zxid = c->applied_zxid,
				.xid = up->xid,
				.type = type};

	wtr_core_down(c, &head, conn->ids, conn->ids_size);
}

/* struct msg_session and the ids of its connection into `to`, which is emptied first. */
void wtr_answer_put_session(struct wtr_buf *to, const struct wtr_session *s,
			    const struct wtr_conn *conn)
{
	struct msg_session m = {.session = (int64_t)s->link.key,
				.timeout_ms = s->timeout_ms,
				.slot = (uint32_t)s->slot};

	zk_session_password(m.session, m.password);
	to->len = 0;
	wtr_buf_put(to, &m, sizeof(m));
	if (conn)
		wtr_buf_put(to, conn->ids, conn->ids_size);
}

/* An answer that must not overtake what was submitted before it. */
void wtr_answer_later(struct wtr_core *c, int64_t after_zxid, const struct msg_down *head)
{
	if (after_zxid <= c->applied_zxid) {
		wtr_core_down(c, head, NULL, 0);
		return;
	}
	if (c->later_head - c->later_tail == c->later_cap) {
		uint32_t cap = c->later_cap * 2;
		struct wtr_later *wider = calloc(cap, sizeof(*wider));

		CHECK(wider != NULL);
		for (uint32_t i = c->later_tail; i != c->later_head; i++)
			wider[i & (cap - 1)] = c->later[i & (c->later_cap - 1)];
		free(c->later);
		c->later = wider;
		c->later_cap = cap;
	}
	c->later[c->later_head++ & (c->later_cap - 1)] = (struct wtr_later){after_zxid, *head};
}

void wtr_answer_waiting(struct wtr_core *c)
{
	while (c->later_tail != c->later_head) {
		struct wtr_later *l = &c->later[c->later_tail & (c->later_cap - 1)];

		if (l->after_zxid > c->applied_zxid)
			return;
		l->head.zxid = c->applied_zxid;
		wtr_core_down(c, &l->head, NULL, 0);
		c->later_tail++;
	}
}

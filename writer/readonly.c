#include "writer/readonly.h"

#include "jute/session.h"
#include "writer/answers.h"

/* Whose password a lent session has: nobody's who could have the number itself. */
static int64_t lender(int64_t session)
{
	return ~session;
}

static void lend(struct wtr_core *c, const struct wtr_conn *conn, int64_t session,
		 int32_t timeout_ms)
{
	struct wtr_buf *reply = &c->apply.reply;
	struct msg_session m = {
	    .session = session, .timeout_ms = timeout_ms, .slot = (uint32_t)WTR_NO_SLOT};
	struct msg_down head = {.kind = DOWN_CONNECTED,
				.worker = conn->worker,
				.conn = conn->link.key,
				.session = session,
				.zxid = c->applied_zxid};

	zk_session_password(lender(session), m.password);
	reply->len = 0;
	wtr_buf_put(reply, &m, sizeof(m));
	wtr_buf_put(reply, conn->ids, conn->ids_size);
	wtr_core_down(c, &head, reply->bytes, (uint32_t)reply->len);
}

void wtr_readonly_connect(struct wtr_core *c, struct wtr_conn *conn, int64_t session,
			  int32_t timeout_ms, struct jute_buf password)
{
	struct wtr_session *s = wtr_session_find(&c->sessions, session);

	if (!session) {
		lend(c, conn, wtr_session_new_id(&c->sessions), timeout_ms);
	} else if (zk_session_password_is(lender(session), password)) {
		lend(c, conn, session, timeout_ms);
	} else if (!zk_session_password_is(session, password)) {
		wtr_refuse_session(c, conn);
	} else if (s && !s->closing && s->slot >= 0) {
		wtr_resume(c, conn, s, timeout_ms);
	} else {
		wtr_answer_close(c, conn->worker, conn->link.key, session);
		wtr_conn_forget(&c->conns, conn);
	}
}

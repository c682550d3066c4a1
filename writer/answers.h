/*
 * answers.h - records for the commit ring that are no transactions
 *
 * Runs in: writer, deciding thread. All go to core->out, in the step in which they arise; what must
 * not overtake transactions in flight waits in core->later.
 */
#pragma once

#include "writer/core.h"

/* The answer to `up` without a body: DOWN_REFUSED. */
void wtr_answer(struct wtr_core *c, enum msg_down_kind kind, uint16_t worker,
		const struct msg_up *up, int32_t err);

/* Close a connection without a word. */
void wtr_answer_close(struct wtr_core *c, uint16_t worker, uint64_t conn, int64_t session);

/* DOWN_AUTH: the connection's whole list of identities. */
void wtr_answer_ids(struct wtr_core *c, const struct wtr_conn *conn, const struct msg_up *up,
		    int32_t err, int32_t type);

/* struct msg_session and the ids of its connection (NULL: none) into `to`, emptied first. */
void wtr_answer_put_session(struct wtr_buf *to, const struct wtr_session *s,
			    const struct wtr_conn *conn);

/* An answer that must stand behind transaction after_zxid; and those whose time has come. */
void wtr_answer_later(struct wtr_core *c, int64_t after_zxid, const struct msg_down *head);
void wtr_answer_waiting(struct wtr_core *c);

/*
 * submit.h - transactions into the batch being filled, and to ZAB
 *
 * begin gives the preparation with p->out where the record goes; end puts header and digest around
 * what was written there and submits it.
 *
 * Runs in: writer, deciding thread. The caller has made sure of wtr_core_ready().
 */
#pragma once

#include "writer/core.h"

struct wtr_prep *wtr_submit_begin(struct wtr_core *c, struct wtr_session *s,
				  const struct jute_vec *ids);
void wtr_submit_end(struct wtr_core *c, int64_t client_id, int32_t cxid, struct wtr_origin origin);

/* The record of an error transaction instead of whatever was written. */
void wtr_submit_error(struct wtr_core *c, enum zk_code code);

/* closeSession, asked for by `origin` or (cxid 0) by nobody. */
void wtr_submit_close(struct wtr_core *c, struct wtr_session *s, int32_t cxid,
		      struct wtr_origin origin);
void wtr_submit_create_session(struct wtr_core *c, struct wtr_session *s, struct wtr_origin origin);

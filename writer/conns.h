/*
 * conns.h - connections as the writer knows them: whose they are, and who they are
 *
 * A worker names a connection and asks; what identities it has is kept and checked here alone.
 * Each begins with `ip`; auth packets add, up to WTR_IDS_MAX identities and WTR_IDS_BYTES bytes.
 * A connection holds at most one session, and the session names it back (sessions.h).
 *
 * Runs in: writer, deciding thread. One table per worker: a name means nothing at another worker,
 * and a worker that died takes its table along.
 */
#pragma once

#include <stdint.h>

#include "jute/acl.h"
#include "writer/sessions.h"
#include "writer/table.h"

enum { WTR_IDS_MAX = 32, WTR_IDS_BYTES = 4096, WTR_CONNS_MAX = 1 << 20 };

struct wtr_conn {
	struct wtr_link link; /* key: the worker's name for it */
	struct wtr_session *session;
	uint8_t *ids; /* vector<Id> */
	uint32_t ids_size;
	uint16_t worker;
};

struct wtr_conns {
	struct wtr_table of[CONF_WORKERS_MAX];
	uint32_t n_workers;
};

int wtr_conns_init(struct wtr_conns *c, uint32_t n_workers);
void wtr_conns_fini(struct wtr_conns *c);

/* Forget all of a worker's. */
void wtr_conns_empty(struct wtr_conns *c, uint16_t worker);

struct wtr_conn *wtr_conn_find(const struct wtr_conns *c, uint16_t worker, uint64_t name);

/* New, with the identity of its address (16 bytes, IPv4 mapped). NULL: no memory, too many. */
struct wtr_conn *wtr_conn_add(struct wtr_conns *c, uint16_t worker, uint64_t name,
			      const uint8_t address[16], uint32_t scope);
void wtr_conn_forget(struct wtr_conns *c, struct wtr_conn *conn);

/* Its identities as a view. */
struct jute_vec wtr_conn_ids(const struct wtr_conn *conn);

/* An auth packet. ZOK: identities were added, or were there; ZAUTHFAILED. */
enum zk_code wtr_conn_auth(struct wtr_conn *conn, const struct zk_acl_rules *rules,
			   struct jute_buf scheme, struct jute_buf auth);

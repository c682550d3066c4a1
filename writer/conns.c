#include "writer/conns.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

int wtr_conns_init(struct wtr_conns *c, uint32_t n_workers)
{
	CHECK(n_workers <= CONF_WORKERS_MAX);
	*c = (struct wtr_conns){.n_workers = n_workers};
	for (uint32_t i = 0; i < n_workers; i++)
		if (wtr_table_init(&c->of[i]))
			return -ENOMEM;
	return 0;
}

void wtr_conns_empty(struct wtr_conns *c, uint16_t worker)
{
	struct wtr_link *l;

	while ((l = wtr_table_any(&c->of[worker])))
		wtr_conn_forget(c, WTR_OBJECT(l, struct wtr_conn, link));
}

void wtr_conns_fini(struct wtr_conns *c)
{
	for (uint16_t i = 0; i < c->n_workers; i++) {
		if (!c->of[i].chain)
			continue;
		wtr_conns_empty(c, i);
		wtr_table_fini(&c->of[i]);
	}
}

struct wtr_conn *wtr_conn_find(const struct wtr_conns *c, uint16_t worker, uint64_t name)
{
	struct wtr_link *l = worker < c->n_workers ? wtr_table_find(&c->of[worker], name) : NULL;

	return l ? WTR_OBJECT(l, struct wtr_conn, link) : NULL;
}

/* Store identities that were written to `bytes`. */
static int keep_ids(struct wtr_conn *conn, const uint8_t *bytes, size_t size)
{
	uint8_t *ids = malloc(size);

	if (!ids)
		return -ENOMEM;
	memcpy(ids, bytes, size);
	free(conn->ids);
	conn->ids = ids;
	conn->ids_size = (uint32_t)size;
	return 0;
}

static int keep_address(struct wtr_conn *conn, const uint8_t address[16], uint32_t scope)
{
	char text[ZK_IP_TEXT_MAX + 12];
	uint8_t bytes[128];
	struct jute_out out = jute_out_of(bytes, sizeof(bytes));
	size_t len;

	zk_ip_text(text, address, 16);
	len = strlen(text);
	if (scope)
		snprintf(text + len, sizeof(text) - len, "%%%u", scope);
	jute_put_int(&out, 1);
	zk_put_id(&out, &(struct zk_id){jute_text("ip"), jute_text(text)});
	CHECK(!out.failed);
	return keep_ids(conn, bytes, jute_size(&out, bytes));
}

struct wtr_conn *wtr_conn_add(struct wtr_conns *c, uint16_t worker, uint64_t name,
			      const uint8_t address[16], uint32_t scope)
{
	struct wtr_conn *conn;

	CHECK(worker < c->n_workers);
	if (c->of[worker].count >= WTR_CONNS_MAX / c->n_workers)
		return NULL;
	conn = calloc(1, sizeof(*conn));
	if (!conn)
		return NULL;
	conn->link.key = name;
	conn->worker = worker;
	if (keep_address(conn, address, scope)) {
		free(conn);
		return NULL;
	}
	wtr_table_add(&c->of[worker], &conn->link);
	return conn;
}

void wtr_conn_forget(struct wtr_conns *c, struct wtr_conn *conn)
{
	wtr_table_remove(&c->of[conn->worker], &conn->link);
	free(conn->ids);
	free(conn);
}

struct jute_vec wtr_conn_ids(const struct wtr_conn *conn)
{
	/* They were written by us: whole, and counted. */
	return (struct jute_vec){conn->ids, conn->ids_size, (int32_t)be32_get(conn->ids)};
}

enum zk_code wtr_conn_auth(struct wtr_conn *conn, const struct zk_acl_rules *rules,
			   struct jute_buf scheme, struct jute_buf auth)
{
	uint8_t bytes[WTR_IDS_BYTES];
	struct jute_out out = jute_out_of(bytes, sizeof(bytes));
	struct jute_vec ids = wtr_conn_ids(conn);
	enum zk_code code = zk_auth_add(rules, scheme, auth, &ids, &out);

	if (code)
		return code;
	if (out.failed || be32_get(bytes) > WTR_IDS_MAX)
		return ZAUTHFAILED;
	return keep_ids(conn, bytes, jute_size(&out, bytes)) ? ZAUTHFAILED : ZOK;
}

/*
 * prep.h - from a request to a transaction: ZooKeeper's checks in ZooKeeper's order
 *
 * Each check is made against the newest tree with all accepted changes in it (pending.h), and the
 * first that fails decides the code (client.md 6, 7; PrepRequestProcessor). What passes is written
 * as the record of a transaction and entered into the pending changes. Pure: time, zxid and
 * identities are given.
 *
 * Runs in: writer, deciding thread. Trust: the body is what a client sent; it is decoded whole
 * before anything changes.
 */
#pragma once

#include <stdint.h>

#include "base/conf.h"
#include "jute/acl.h"
#include "jute/records.h"
#include "jute/txn.h"
#include "quorum/zab.h"
#include "writer/configs.h"
#include "writer/pending.h"
#include "writer/quota.h"
#include "writer/sessions.h"

struct wtr_prep {
	const struct conf *conf;
	const struct zk_acl_rules *rules;
	struct wtr_pending *pending;
	struct wtr_quota *quota;
	const struct zab *zab; /* whom a reconfiguration would have as a quorum */
	struct wtr_configs *configs;
	uint32_t reply_max; /* a multi whose reply could be longer is refused */
	uint8_t *scratch;   /* for lists being expanded */
	size_t scratch_size;

	/* Of this request. session: whose ephemerals a create makes; NULL: the server's own, or
	 * another member's local one. */
	struct wtr_session *session;
	const struct jute_vec *ids;
	int64_t zxid, time_ms;
	struct jute_out
	    out;      /* the record goes here; the caller rewinds it when a code comes back */
	int32_t type; /* of the transaction, on ZOK */
	const struct quorum_config *config; /* what a reconfig makes of the membership */
	uint32_t members;                   /* of a multi; else 1 */
};

/*
 * Prepare one request of a client. ZOK: p->out has the record of p->type (a failed multi is one
 * too). Else the code of the error transaction; pending changes are as before.
 */
enum zk_code wtr_prep_request(struct wtr_prep *p, int32_t op, const uint8_t *body, uint32_t len);

/*
 * What can be said of a request without the tree: ZOK, or the code with which it is refused before
 * it is forwarded. Apache's leaders fail, some for good, at requests that are not whole, and at the
 * others that are refused here (client.md 19).
 */
enum zk_code wtr_prep_screen(const struct wtr_prep *p, int32_t op, const uint8_t *body,
			     uint32_t len);

/* Does it make an ephemeral node, by create, create2 or a multi of them? */
bool wtr_prep_makes_ephemeral(int32_t op, const uint8_t *body, uint32_t len);

/* closeSession of p->session: takes its ephemerals along, those still in flight too. */
void wtr_prep_close_session(struct wtr_prep *p);

/* deleteContainer, by the reaper: ZOK, or why it must not be done (any more). */
enum zk_code wtr_prep_delete_container(struct wtr_prep *p, const char *path, uint32_t len);

/* --- within prep_*.c ------------------------------------------------------------------------- */

/* Single requests that a multi may have as well; the record goes to p->out, its type to p->type. */
enum zk_code wtr_prep_create(struct wtr_prep *p, int32_t op, const struct zk_create_ttl_request *r);
enum zk_code wtr_prep_delete(struct wtr_prep *p, const struct zk_delete_request *r);
enum zk_code wtr_prep_set_data(struct wtr_prep *p, const struct zk_set_data_request *r);
enum zk_code wtr_prep_check(struct wtr_prep *p, const struct zk_delete_request *r);
enum zk_code wtr_prep_multi(struct wtr_prep *p, const uint8_t *body, uint32_t len);
enum zk_code wtr_prep_reconfig(struct wtr_prep *p, const struct zk_reconfig_request *r);
enum zk_code wtr_prep_screen_create(const struct wtr_prep *p, int32_t op,
				    const struct zk_create_ttl_request *r);
enum zk_code wtr_prep_screen_multi(const struct wtr_prep *p, const uint8_t *body, uint32_t len);
/* Members of a multi's request up to the first that can't be, which fails it as a whole. */
uint32_t wtr_prep_multi_members(const uint8_t *body, uint32_t len);
bool wtr_prep_multi_makes_ephemeral(const uint8_t *body, uint32_t len);

struct wtr_change *wtr_prep_find(struct wtr_prep *p, struct jute_buf path, struct wtr_change *look);
bool wtr_prep_permits(struct wtr_prep *p, struct wtr_change *c, int32_t mask);

/* Validate and expand a list into p->scratch; *list is valid until the next expansion. */
enum zk_code wtr_prep_acl(struct wtr_prep *p, const struct jute_vec *asked, struct jute_vec *list);

/* Enter a list that stands in the record at `at`. */
void wtr_prep_set_list(struct wtr_prep *p, struct wtr_state *s, const struct jute_vec *list,
		       const uint8_t *at);

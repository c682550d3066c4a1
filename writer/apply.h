/*
 * apply.h - from the bytes of a transaction to the tree, and to what clients are told of it
 *
 * One function for live transactions, for replay after a restart and for imported histories, so
 * that the same log gives the same tree (V10). Nothing is decided here: the transaction says what
 * happens; a failed one says so itself.
 *
 * With `speak` it also makes the watch events (msg_event; a multi's in the order of its members,
 * a closeSession's deletions one by one) and the reply's body, by the type of the transaction.
 *
 * With `imported` the history began in a fuzzy snapshot: a create of what is there and a change of
 * what is gone are what replaying an older transaction looks like, and are skipped. Else they are
 * corruption.
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "jute/txn.h"
#include "quorum/config.h"
#include "shm/tree.h"
#include "writer/buf.h"
#include "writer/quota.h"

struct wtr_apply {
	struct shm_tree *tree;
	struct wtr_quota *quota;
	bool speak, imported, digests;
	/* Of the last transaction. */
	struct zk_txn_header header;
	int32_t err; /* of the reply's header */
	struct wtr_buf events, reply, paths;
	/* Transactions after which our digest was not the logged one, and was. */
	int32_t digest_differs;
	int64_t digest_agrees;
	int32_t session_timeout_ms; /* createSession */
};

/*
 * Apply one entry (TxnHeader, record, optional digest). 0; -EBADMSG: it can't be decoded, or does
 * not fit the tree; -ENOMEM.
 */
int wtr_apply(struct wtr_apply *a, const uint8_t *entry, uint32_t len);

/* /zookeeper/config as of a version that is the start of an epoch, no transaction; and its event.
 */
int wtr_apply_config(struct wtr_apply *a, const struct quorum_config *config, int64_t time_ms);
void wtr_apply_fini(struct wtr_apply *a);

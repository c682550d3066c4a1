/*
 * acl.h - who may do what: access control lists, identities, schemes
 *
 * A list is its jute bytes, vector<ACL>: so it comes from clients, stands in transactions, in the
 * shared table of lists and in replies; nothing is converted. An identity is an Id, scheme and id;
 * those of a connection are kept as jute bytes too, vector<Id>, `ip` first.
 *
 * Schemes as ZooKeeper has them by default: world, auth (in requests only), ip, digest; super is an
 * identity that passes every check and never stands in a list. Pure; allocates nothing but what
 * OpenSSL's SHA-1 takes.
 *
 * Trust: lists and identities may be anything; what can't be decoded permits nothing.
 * Bound: a list has at most ZK_ACL_MAX entries (ZooKeeper has no bound, but a frame). Beyond that
 * it is ZINVALIDACL.
 */
#pragma once

#include "jute/codes.h"
#include "jute/jute.h"

enum { ZK_ACL_MAX = 1024, ZK_DIGEST_SIZE = 28, ZK_IP_TEXT_MAX = 48 };

struct zk_id {
	struct jute_buf scheme, id;
};

struct zk_acl {
	int32_t perms; /* enum zk_perm; other bits are kept */
	struct zk_id who;
};

/* What the operator chose; zeroed is not the default: digest is on. */
struct zk_acl_rules {
	bool skip;                /* skipACL: permit everything; lists are still validated */
	bool digest;              /* DigestAuthenticationProvider.enabled */
	const char *super_digest; /* "super:base64" of the super user; NULL: none */
};

struct zk_acl zk_get_acl(struct jute_in *in);
void zk_put_acl(struct jute_out *out, const struct zk_acl *acl);
struct zk_id zk_get_id(struct jute_in *in);
void zk_put_id(struct jute_out *out, const struct zk_id *id);

/* vector<Id>, walked over and checked to be whole; of bytes, {NULL, 0, -1} when they are not. */
struct jute_vec jute_get_ids(struct jute_in *in);
struct jute_vec zk_ids_view(const void *bytes, size_t size);

/* The list world:anyone with these permissions. */
void zk_acl_put_world(struct jute_out *out, int32_t perms);

/*
 * Do the identities have one of the permissions of `mask` by the list of `size` bytes? An empty or
 * null list permits everything (size 0 is null), as does the identity `super`.
 */
bool zk_acl_permits(const struct zk_acl_rules *rules, const uint8_t *list, size_t size,
		    const struct jute_vec *ids, int32_t mask);

/*
 * Validate the list of a create or setACL and write what is stored: repeated entries dropped,
 * `auth` replaced by the connection's authenticated identities (PrepRequestProcessor.fixupACL).
 * ZOK: the list, behind out->next as it was. ZINVALIDACL; ZMARSHALLINGERROR: a null id.
 */
enum zk_code zk_acl_expand(const struct zk_acl_rules *rules, const struct jute_vec *asked,
			   const struct jute_vec *ids, struct jute_out *out);

/* The list as getACL shows it to who has no ADMIN: passwords of digest ids as "x". */
void zk_acl_put_masked(struct jute_out *out, const uint8_t *list, size_t size);

/*
 * An auth packet: write the identities of the connection afterwards, vector<Id>. Repeats change
 * nothing. ZOK; ZAUTHFAILED: unknown scheme, null token, or no room in `out` for one more (the
 * bound on identities of a connection is the caller's).
 */
enum zk_code zk_auth_add(const struct zk_acl_rules *rules, struct jute_buf scheme,
			 struct jute_buf auth, const struct jute_vec *ids, struct jute_out *out);

/* Is there an identity of this scheme ("super")? */
bool zk_ids_have_scheme(const struct jute_vec *ids, const char *scheme);

/* The body of a whoAmI reply: vector<ClientInfo>, per identity its scheme and the user's name. */
void zk_ids_put_whoami(struct jute_out *out, const struct zk_acl_rules *rules,
		       const struct jute_vec *ids);

/*
 * "user:" + Base64(SHA1("user:password")), without length (DigestAuthenticationProvider). The user
 * is what stands before the first colon. Fails `out` when it is full.
 */
void zk_put_digest(struct jute_out *out, struct jute_buf user_password);

/*
 * The text of an address, as Java prints it and `ip` identities have it: 4 bytes (or 16 that map
 * them) dotted, 16 bytes as eight groups without compression. Returns dst.
 */
const char *zk_ip_text(char dst[ZK_IP_TEXT_MAX], const uint8_t *address, size_t size);

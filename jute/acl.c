#include "jute/acl.h"

#include <stdio.h>

#include <openssl/evp.h>

#include "base/hash.h"
#include "jute/ip.h"
#include "jute/path.h"

enum { SLOTS = 2 * ZK_ACL_MAX };

struct zk_id zk_get_id(struct jute_in *in)
{
	struct zk_id id;

	id.scheme = jute_get_ustring(in);
	id.id = jute_get_ustring(in);
	return id;
}

void zk_put_id(struct jute_out *out, const struct zk_id *id)
{
	jute_put_ustring(out, id->scheme);
	jute_put_ustring(out, id->id);
}

struct zk_acl zk_get_acl(struct jute_in *in)
{
	struct zk_acl acl;

	acl.perms = jute_get_int(in);
	acl.who = zk_get_id(in);
	return acl;
}

void zk_put_acl(struct jute_out *out, const struct zk_acl *acl)
{
	jute_put_int(out, acl->perms);
	zk_put_id(out, &acl->who);
}

struct jute_vec jute_get_ids(struct jute_in *in)
{
	struct jute_vec v = {in->next, 0, jute_get_count(in)};

	for (int32_t i = 0; i < v.count && !in->failed; i++)
		zk_get_id(in);
	if (in->failed)
		return (struct jute_vec){NULL, 0, -1};
	v.size = (uint32_t)(in->next - v.data);
	return v;
}

struct jute_vec zk_ids_view(const void *bytes, size_t size)
{
	struct jute_in in = jute_in_of(bytes, size);

	return jute_get_ids(&in);
}

void zk_acl_put_world(struct jute_out *out, int32_t perms)
{
	struct zk_acl open = {perms, {jute_text("world"), jute_text("anyone")}};

	jute_put_int(out, 1);
	zk_put_acl(out, &open);
}

static bool is_world(const struct zk_id *who)
{
	return jute_buf_is(who->scheme, "world") && jute_buf_is(who->id, "anyone");
}

/* --- schemes --------------------------------------------------------------------------------- */

/* Java's String.split(":"), which drops empty parts at the end, gives exactly two. */
static bool digest_is_valid(struct jute_buf id)
{
	int32_t len = id.len, colons = 0;

	while (len > 0 && id.data[len - 1] == ':')
		len--;
	for (int32_t i = 0; i < len; i++)
		colons += id.data[i] == ':';
	return colons == 1;
}

/* Is it an id that a list may have? A scheme that is not registered has none. */
static bool id_is_valid(const struct zk_acl_rules *rules, const struct zk_id *who)
{
	if (jute_buf_is(who->scheme, "ip"))
		return zk_ip_expr_is_valid(who->id);
	return jute_buf_is(who->scheme, "digest") && rules->digest && digest_is_valid(who->id);
}

static bool is_registered(const struct zk_acl_rules *rules, struct jute_buf scheme)
{
	return jute_buf_is(scheme, "ip") || (jute_buf_is(scheme, "digest") && rules->digest);
}

/* Does an identity of the same scheme match this entry? */
static bool id_matches(const struct zk_acl_rules *rules, const struct zk_id *entry,
		       const struct zk_id *mine)
{
	if (jute_buf_is(entry->scheme, "ip"))
		return zk_ip_matches(mine->id, entry->id);
	return jute_buf_is(entry->scheme, "digest") && rules->digest &&
	       jute_buf_equal(entry->id, mine->id);
}

bool zk_ids_have_scheme(const struct jute_vec *ids, const char *scheme)
{
	struct jute_in in = jute_elements(ids);

	for (int32_t i = 0; i < ids->count; i++)
		if (jute_buf_is(zk_get_id(&in).scheme, scheme))
			return true;
	return false;
}

/* --- permission ------------------------------------------------------------------------------ */

static bool any_matches(const struct zk_acl_rules *rules, const struct zk_id *entry,
			const struct jute_vec *ids)
{
	struct jute_in in = jute_elements(ids);
	struct zk_id mine;

	for (int32_t i = 0; i < ids->count; i++) {
		mine = zk_get_id(&in);
		if (jute_buf_equal(mine.scheme, entry->scheme) && id_matches(rules, entry, &mine))
			return true;
	}
	return false;
}

bool zk_acl_permits(const struct zk_acl_rules *rules, const uint8_t *list, size_t size,
		    const struct jute_vec *ids, int32_t mask)
{
	struct jute_in in = jute_in_of(list, size);
	int32_t count = size ? jute_get_count(&in) : -1;
	struct zk_acl acl;

	if (in.failed)
		return false;
	if (rules->skip || count <= 0 || zk_ids_have_scheme(ids, "super"))
		return true;
	for (int32_t i = 0; i < count; i++) {
		acl = zk_get_acl(&in);
		if (in.failed)
			return false;
		if ((acl.perms & mask) && (is_world(&acl.who) || any_matches(rules, &acl.who, ids)))
			return true;
	}
	return false;
}

/* --- lists of requests ----------------------------------------------------------------------- */

/* The bytes of an entry of a request's list, for comparing. */
struct entry {
	const uint8_t *at;
	uint32_t size;
};

static bool entry_equal(struct entry a, struct entry b)
{
	return a.size == b.size && !memcmp(a.at, b.at, a.size);
}

/* Was the entry seen before? If not it is now. The table has twice the room that it needs. */
static bool seen_before(struct entry *table, uint32_t slots, struct entry e)
{
	static const struct hash_key key = {{0x243f6a8885a308d3, 0x13198a2e03707344}};
	uint32_t slot = (uint32_t)hash_bytes(&key, e.at, e.size) % slots;

	for (; table[slot].at; slot = (slot + 1) % slots)
		if (entry_equal(table[slot], e))
			return true;
	table[slot] = e;
	return false;
}

/*
 * ZooKeeper compares each entry with those before it, and an entry with a null that gets past equal
 * permissions (for a null id: and an equal scheme) makes it fail the request as unreadable.
 */
static bool null_is_compared(const struct jute_vec *asked, const struct zk_acl *acl, int32_t before)
{
	struct jute_in in = jute_elements(asked);
	struct zk_acl other;

	for (int32_t i = 0; i < before; i++) {
		other = zk_get_acl(&in);
		if (other.perms == acl->perms &&
		    (acl->who.scheme.len < 0 || jute_buf_equal(acl->who.scheme, other.who.scheme)))
			return true;
	}
	return false;
}

static bool nulls_are_unreadable(const struct jute_vec *asked)
{
	struct jute_in in = jute_elements(asked);
	struct zk_acl acl;

	for (int32_t i = 0; i < asked->count; i++) {
		acl = zk_get_acl(&in);
		if ((acl.who.scheme.len < 0 || acl.who.id.len < 0) &&
		    null_is_compared(asked, &acl, i))
			return true;
	}
	return false;
}

/* Identities that count as authenticated take the place of `auth`. How many; 0: there are none. */
static int32_t put_authenticated(const struct zk_acl_rules *rules, int32_t perms,
				 const struct jute_vec *ids, struct jute_out *out)
{
	struct jute_in in = jute_elements(ids);
	struct zk_acl acl = {.perms = perms};
	int32_t n = 0;

	for (int32_t i = 0; i < ids->count; i++) {
		acl.who = zk_get_id(&in);
		if (!rules->digest || !jute_buf_is(acl.who.scheme, "digest"))
			continue;
		zk_put_acl(out, &acl);
		n++;
	}
	return n;
}

/* Write what one entry becomes. The number of entries; a negative zk_code. */
static int32_t put_expanded(const struct zk_acl_rules *rules, const struct zk_acl *acl,
			    const struct jute_vec *ids, struct jute_out *out)
{
	int32_t n = 1;

	if (acl->who.scheme.len < 0)
		return ZINVALIDACL;
	if (jute_buf_is(acl->who.scheme, "auth")) {
		n = put_authenticated(rules, acl->perms, ids, out);
		return n ? n : ZINVALIDACL;
	}
	if (acl->who.id.len < 0 &&
	    (jute_buf_is(acl->who.scheme, "world") || is_registered(rules, acl->who.scheme)))
		return ZMARSHALLINGERROR;
	if (!is_world(&acl->who) && !id_is_valid(rules, &acl->who))
		return ZINVALIDACL;
	/* From here on the text is as Java would write it. */
	jute_put_int(out, acl->perms);
	jute_put_ustring(out, acl->who.scheme);
	zk_put_echo(out, acl->who.id);
	return n;
}

enum zk_code zk_acl_expand(const struct zk_acl_rules *rules, const struct jute_vec *asked,
			   const struct jute_vec *ids, struct jute_out *out)
{
	struct entry table[SLOTS];
	struct jute_in in = jute_elements(asked);
	uint32_t slots = asked->count > 0 ? 2 * (uint32_t)asked->count : 0;
	uint8_t *open = jute_open(out);
	int32_t total = 0, n;

	if (asked->count <= 0 || asked->count > ZK_ACL_MAX)
		return ZINVALIDACL;
	if (nulls_are_unreadable(asked))
		return ZMARSHALLINGERROR;
	memset(table, 0, slots * sizeof(*table));
	for (int32_t i = 0; i < asked->count; i++) {
		const uint8_t *at = in.next;
		struct zk_acl acl = zk_get_acl(&in);

		if (seen_before(table, slots, (struct entry){at, (uint32_t)(in.next - at)}))
			continue;
		n = put_expanded(rules, &acl, ids, out);
		if (n < 0)
			return (enum zk_code)n;
		total += n;
		if (out->failed || total > ZK_ACL_MAX)
			return ZINVALIDACL;
	}
	jute_close_count(out, open, (size_t)total);
	return ZOK;
}

void zk_acl_put_masked(struct jute_out *out, const uint8_t *list, size_t size)
{
	struct jute_in in = jute_in_of(list, size);
	struct jute_vec v = jute_get_acls(&in);

	jute_put_int(out, v.count);
	in = jute_elements(&v);
	for (int32_t i = 0; i < v.count; i++) {
		struct zk_acl acl = zk_get_acl(&in);
		const uint8_t *colon = acl.who.id.len > 0 && jute_buf_is(acl.who.scheme, "digest")
					   ? memchr(acl.who.id.data, ':', (size_t)acl.who.id.len)
					   : NULL;
		uint8_t *open;

		if (!colon) {
			zk_put_acl(out, &acl);
			continue;
		}
		jute_put_int(out, acl.perms);
		jute_put_ustring(out, acl.who.scheme);
		open = jute_open(out);
		jute_put_bytes(out, acl.who.id.data, (size_t)(colon - acl.who.id.data));
		jute_put_bytes(out, ":x", 2);
		jute_close(out, open);
	}
}

/* --- identities ------------------------------------------------------------------------------ */

static int32_t user_len(struct jute_buf text)
{
	const uint8_t *colon = text.len > 0 ? memchr(text.data, ':', (size_t)text.len) : NULL;

	return colon ? (int32_t)(colon - text.data) : text.len;
}

/* SHA-1 of the text as Java would hand it on: bytes that are no UTF-8 replaced. */
static bool sha1_of_repaired(struct jute_buf text, uint8_t sha1[20])
{
	uint8_t piece[3 * 256];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL);
	struct jute_buf rest = text;

	while (ok && rest.len > 0)
		ok = EVP_DigestUpdate(ctx, piece, zk_text_repair_some(piece, sizeof(piece), &rest));
	ok = ok && EVP_DigestFinal_ex(ctx, sha1, NULL);
	EVP_MD_CTX_free(ctx);
	return ok;
}

void zk_put_digest(struct jute_out *out, struct jute_buf user_password)
{
	struct jute_buf user = {user_password.data, user_len(user_password)};
	uint8_t sha1[20], base64[ZK_DIGEST_SIZE + 1];
	size_t len = zk_text_echo(out->next, jute_room(out), user);

	if (!sha1_of_repaired(user_password, sha1)) {
		out->failed = true;
		return;
	}
	EVP_EncodeBlock(base64, sha1, sizeof(sha1));
	if (!jute_reserve(out, len))
		return;
	jute_put_bytes(out, ":", 1);
	jute_put_bytes(out, base64, ZK_DIGEST_SIZE);
}

static bool has_id(const struct jute_vec *ids, const struct zk_id *id)
{
	struct jute_in in = jute_elements(ids);
	struct zk_id other;

	for (int32_t i = 0; i < ids->count; i++) {
		other = zk_get_id(&in);
		if (jute_buf_equal(other.scheme, id->scheme) && jute_buf_equal(other.id, id->id))
			return true;
	}
	return false;
}

static int32_t put_new_id(struct jute_out *out, const struct jute_vec *ids, const struct zk_id *id)
{
	if (has_id(ids, id))
		return 0;
	zk_put_id(out, id);
	return 1;
}

/* Behind the identities so far: super if the digest is the configured one, and the digest. */
static int32_t put_digest_ids(const struct zk_acl_rules *rules, struct jute_buf auth,
			      const struct jute_vec *ids, struct jute_out *out)
{
	struct zk_id super = {jute_text("super"), jute_text("")};
	struct zk_id digest = {jute_text("digest"), jute_null};
	struct jute_out at = *out;
	uint8_t *open;
	int32_t n = 0;

	/* Made where it will stand if it is new; the super identity is written behind it. */
	jute_put_ustring(&at, digest.scheme);
	open = jute_open(&at);
	zk_put_digest(&at, auth);
	jute_close(&at, open);
	out->failed |= at.failed;
	if (at.failed)
		return 0;
	digest.id = jute_buf_of(open + 4, (size_t)(at.next - open) - 4);
	if (!has_id(ids, &digest)) {
		*out = at;
		n++;
	}
	if (rules->super_digest && jute_buf_is(digest.id, rules->super_digest))
		n += put_new_id(out, ids, &super);
	return n;
}

enum zk_code zk_auth_add(const struct zk_acl_rules *rules, struct jute_buf scheme,
			 struct jute_buf auth, const struct jute_vec *ids, struct jute_out *out)
{
	bool is_digest = jute_buf_is(scheme, "digest") && rules->digest;
	uint8_t *open = jute_open(out);
	int32_t n = ids->count > 0 ? ids->count : 0;

	if (n)
		jute_put_bytes(out, ids->data + 4, ids->size - 4);
	if (is_digest && auth.len >= 0)
		n += put_digest_ids(rules, auth, ids, out);
	else if (!jute_buf_is(scheme, "ip"))
		return ZAUTHFAILED;
	jute_close_count(out, open, (size_t)n);
	return out->failed ? ZAUTHFAILED : ZOK;
}

void zk_ids_put_whoami(struct jute_out *out, const struct zk_acl_rules *rules,
		       const struct jute_vec *ids)
{
	struct jute_in in = jute_elements(ids);
	struct zk_id id;

	jute_put_int(out, ids->count > 0 ? ids->count : 0);
	for (int32_t i = 0; i < ids->count; i++) {
		id = zk_get_id(&in);
		if (!is_registered(rules, id.scheme))
			id.id = jute_text("");
		else if (jute_buf_is(id.scheme, "digest"))
			id.id.len = user_len(id.id);
		jute_put_ustring(out, id.scheme);
		jute_put_ustring(out, id.id);
	}
}

const char *zk_ip_text(char dst[ZK_IP_TEXT_MAX], const uint8_t *address, size_t size)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	int at = 0;

	CHECK(size == 4 || size == 16);
	if (size == 16 && !memcmp(address, mapped, sizeof(mapped))) {
		address += sizeof(mapped);
		size = 4;
	}
	for (size_t i = 0; size == 4 && i < 4; i++)
		at += snprintf(dst + at, ZK_IP_TEXT_MAX - (size_t)at, "%s%d", i ? "." : "",
			       address[i]);
	for (size_t i = 0; size == 16 && i < 16; i += 2)
		at += snprintf(dst + at, ZK_IP_TEXT_MAX - (size_t)at, "%s%x", i ? ":" : "",
			       be16_get(address + i));
	return dst;
}

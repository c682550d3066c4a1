/* The order of checks: each case fails two checks at least, and the first one decides. */
#include <stdio.h>

#include "tests/unit/writer_fx.h"

struct prep_fx {
	struct wtr_fx f;
	int64_t s;
};

static int32_t create(struct prep_fx *p, int32_t op, const char *path, int32_t flags)
{
	fx_create(&p->f, path, "d", flags);
	return fx_ask(&p->f, 1, p->s, op);
}

static int32_t create_ttl(struct prep_fx *p, const char *path, int32_t flags, int64_t ttl)
{
	fx_create(&p->f, path, "d", flags);
	jute_put_long(&p->f.out, ttl);
	return fx_ask(&p->f, 1, p->s, ZK_OP_CREATE_TTL);
}

static void put_acl(struct prep_fx *p, int32_t perms, const char *scheme, const char *id)
{
	jute_put_int(&p->f.out, scheme ? 1 : 0);
	if (scheme)
		zk_put_acl(
		    &p->f.out,
		    &(struct zk_acl){perms, {jute_text(scheme), id ? jute_text(id) : jute_null}});
}

static int32_t create_acl(struct prep_fx *p, const char *path, int32_t perms, const char *scheme,
			  const char *id)
{
	jute_put_ustring(&p->f.out, jute_text(path));
	jute_put_buffer(&p->f.out, jute_text(""));
	put_acl(p, perms, scheme, id);
	jute_put_int(&p->f.out, 0);
	return fx_ask(&p->f, 1, p->s, ZK_OP_CREATE);
}

static int32_t set_acl(struct prep_fx *p, const char *path, int32_t perms, const char *scheme,
		       const char *id, int32_t version)
{
	jute_put_ustring(&p->f.out, jute_text(path));
	put_acl(p, perms, scheme, id);
	jute_put_int(&p->f.out, version);
	return fx_ask(&p->f, 1, p->s, ZK_OP_SET_ACL);
}

static int32_t set(struct prep_fx *p, const char *path, int32_t version)
{
	fx_set(&p->f, path, "new", version);
	return fx_ask(&p->f, 1, p->s, ZK_OP_SET_DATA);
}

static int32_t delete (struct prep_fx *p, const char *path, int32_t version)
{
	fx_delete(&p->f, path, version);
	return fx_ask(&p->f, 1, p->s, ZK_OP_DELETE);
}

static void up(struct prep_fx *p)
{
	fx_up(&p->f);
	p->s = fx_connect(&p->f, 1);
	create(p, ZK_OP_CREATE, "/a", 0);
	create(p, ZK_OP_CREATE, "/a/b", 0);
	create(p, ZK_OP_CREATE, "/eph", ZK_MODE_EPHEMERAL);
	create_acl(p, "/ro", ZK_PERM_READ, "world", "anyone");
	EXPECT_I(p->f.core.applied_zxid, ==, 5);
}

static void down(struct prep_fx *p)
{
	EXPECT_I(p->f.core.apply.digest_differs, ==, 0);
	fx_down(&p->f);
}

TEST_F(writer_prep, create_checks_in_the_order_of_the_reference, struct prep_fx, up, down)
{
	jute_put_int(&f->f.out, 5); /* a path that is cut off */
	EXPECT_I(fx_ask(&f->f, 1, f->s, ZK_OP_CREATE), ==, ZMARSHALLINGERROR);
	EXPECT_I(create(f, ZK_OP_CREATE, NULL, 0), ==, ZMARSHALLINGERROR);
	EXPECT_I(create(f, ZK_OP_CREATE, NULL, 7), ==, ZBADARGUMENTS);
	EXPECT_I(create(f, ZK_OP_CREATE, "/no/x", 7), ==, ZBADARGUMENTS);
	EXPECT_I(create(f, ZK_OP_CREATE, "/no/x", -1), ==, ZBADARGUMENTS);
	EXPECT_I(create(f, ZK_OP_CREATE, "/x", ZK_MODE_TTL), ==, ZBADARGUMENTS);
	f->f.conf.extended_types = false;
	EXPECT_I(create(f, ZK_OP_CREATE, "/x", ZK_MODE_TTL), ==, ZUNIMPLEMENTED);
	EXPECT_I(create_ttl(f, "/x", ZK_MODE_TTL, 0), ==, ZUNIMPLEMENTED);
	f->f.conf.extended_types = true;
	EXPECT_I(create_ttl(f, "/x", ZK_MODE_TTL, 0), ==, ZBADARGUMENTS);
	EXPECT_I(create_ttl(f, "/x", ZK_MODE_TTL, ZK_TTL_MAX + 1), ==, ZBADARGUMENTS);
	EXPECT_I(create_ttl(f, "/x", ZK_MODE_PERSISTENT, 5), ==, ZBADARGUMENTS);
	EXPECT_I(create_ttl(f, "/x", ZK_MODE_PERSISTENT, -1), ==, ZBADARGUMENTS);
	EXPECT_I(create(f, ZK_OP_CREATE, "foo", 0), ==, ZBADARGUMENTS);
	EXPECT_I(create(f, ZK_OP_CREATE, "", 0), ==, ZBADARGUMENTS);
	EXPECT_I(create_acl(f, "/no/x", 31, "nobody", "x"), ==, ZINVALIDACL);
	EXPECT_I(create_acl(f, "/a", 31, NULL, NULL), ==, ZINVALIDACL);
	EXPECT_I(create_acl(f, "/a", 31, "world", NULL), ==, ZMARSHALLINGERROR);
	EXPECT_I(create_acl(f, "/x", 31, "auth", ""), ==, ZINVALIDACL);
	EXPECT_I(create(f, ZK_OP_CREATE, "/no/\001", 0), ==, ZNONODE);
	EXPECT_I(create(f, ZK_OP_CREATE, "/a//b", 0), ==, ZNONODE);
	EXPECT_I(create(f, ZK_OP_CREATE, "/ro/\001", 0), ==, ZNOAUTH);
	EXPECT_I(create(f, ZK_OP_CREATE, "/a/\001", 0), ==, ZBADARGUMENTS);
	EXPECT_I(create(f, ZK_OP_CREATE, "//", 0), ==, ZBADARGUMENTS);
	EXPECT_I(create(f, ZK_OP_CREATE, "/a/", 0), ==, ZBADARGUMENTS);
	EXPECT_I(create(f, ZK_OP_CREATE, "/a", 0), ==, ZNODEEXISTS);
	EXPECT_I(create(f, ZK_OP_CREATE, "/eph/x", 0), ==, ZNOCHILDRENFOREPHEMERALS);
	/* Each of them took a zxid. */
	EXPECT_I(f->f.core.applied_zxid, ==, 5 + 26);
}

TEST_F(writer_prep, what_no_server_could_apply_is_refused, struct prep_fx, up, down)
{
	EXPECT_I(create(f, ZK_OP_CREATE, "/zookeeper/quota/zookeeper_limits", 0), ==,
		 ZBADARGUMENTS);
	EXPECT_I(create(f, ZK_OP_CREATE, "/zookeeper/zookeeper_limits", 0), ==, ZBADARGUMENTS);
	create(f, ZK_OP_CREATE, "/zookeeperfoo", 0);
	EXPECT_I(create(f, ZK_OP_CREATE, "/zookeeperfoo/zookeeper_limits", 0), ==, ZBADARGUMENTS);
	EXPECT_I(create(f, ZK_OP_CREATE, "/a/zookeeper_limits", 0), ==, ZOK);
}

TEST_F(writer_prep, the_opcode_decides_container_the_flag_sequence, struct prep_fx, up, down)
{
	const struct shm_version *v;
	const struct shm_node *n;

	EXPECT_I(create(f, ZK_OP_CREATE_CONTAINER, "/con", ZK_MODE_EPHEMERAL), ==, ZOK);
	n = shm_tree_find(f->f.tree, shm_tree_hash(f->f.tree, "/con", 4), "/con", 4, SHM_LATEST,
			  &v);
	REQUIRE(EXPECT_TRUE(n != NULL));
	EXPECT_I(shm_node_owner(n), ==, ZK_OWNER_CONTAINER);
	EXPECT_I(create(f, ZK_OP_CREATE, "/plain", ZK_MODE_CONTAINER), ==, ZOK);
	n = shm_tree_get(f->f.tree, "/plain", 6);
	REQUIRE(EXPECT_TRUE(n != NULL));
	EXPECT_I(shm_node_owner(n), ==, 0);
	EXPECT_I(create(f, ZK_OP_CREATE_CONTAINER, "/a/", ZK_MODE_PERSISTENT_SEQUENTIAL), ==, ZOK);
	EXPECT_TRUE(shm_tree_get(f->f.tree, "/a/0000000001", 13) != NULL);
	EXPECT_I(create_ttl(f, "/a/t-", ZK_MODE_TTL_SEQUENTIAL, 1000), ==, ZOK);
	n = shm_tree_get(f->f.tree, "/a/t-0000000002", 15);
	REQUIRE(EXPECT_TRUE(n != NULL));
	EXPECT_I(shm_node_owner(n), ==, ZK_OWNER_TTL | 1000);
	EXPECT_I(create(f, ZK_OP_CREATE, "/con/child", 0), ==, ZOK);
}

TEST_F(writer_prep, set_data_delete_and_set_acl_check_in_order, struct prep_fx, up, down)
{
	EXPECT_I(set(f, NULL, -1), ==, ZBADARGUMENTS);
	EXPECT_I(set(f, "/a/", -1), ==, ZBADARGUMENTS);
	EXPECT_I(set(f, "/no", 9), ==, ZNONODE);
	EXPECT_I(set(f, "/ro", 9), ==, ZNOAUTH);
	EXPECT_I(set(f, "/a", 9), ==, ZBADVERSION);
	EXPECT_I(set(f, "/a", -2), ==, ZBADVERSION);
	EXPECT_I(set(f, "/a", 0), ==, ZOK);
	EXPECT_I(set(f, "/", -1), ==, ZOK);
	EXPECT_I(set(f, "/zookeeper/config", -1), ==, ZNOAUTH);

	EXPECT_I(delete (f, NULL, -1), ==, ZMARSHALLINGERROR);
	EXPECT_I(delete (f, "/", -1), ==, ZBADARGUMENTS);
	EXPECT_I(delete (f, "/zookeeper/quota", 9), ==, ZBADARGUMENTS);
	EXPECT_I(delete (f, "x", -1), ==, ZBADARGUMENTS);
	EXPECT_I(delete (f, "/no/x", 9), ==, ZNONODE);
	EXPECT_I(delete (f, "/ro/x", 9), ==, ZNOAUTH);
	EXPECT_I(delete (f, "/a/", -1), ==, ZNONODE);
	EXPECT_I(delete (f, "/a", 9), ==, ZBADVERSION);
	EXPECT_I(delete (f, "/a", 1), ==, ZNOTEMPTY);
	EXPECT_I(delete (f, "/ro", -1), ==, ZOK); /* its own list plays no role */

	EXPECT_I(set_acl(f, "/no/", 31, "world", "x", -1), ==, ZBADARGUMENTS);
	EXPECT_I(set_acl(f, "/no", 31, "world", "x", -1), ==, ZINVALIDACL);
	EXPECT_I(set_acl(f, "/no", 31, "world", "anyone", 9), ==, ZNONODE);
	EXPECT_I(set_acl(f, "/a", 1, "world", "anyone", 9), ==, ZBADVERSION);
	EXPECT_I(set_acl(f, "/a", 1, "world", "anyone", 0), ==, ZOK);
	EXPECT_I(set_acl(f, "/a", 1, "world", "anyone", 9), ==, ZNOAUTH);
}

TEST_F(writer_prep, reconfig_is_refused_on_a_standalone_server, struct prep_fx, up, down)
{
	for (int i = 0; i < 2; i++) {
		f->f.conf.reconfig_enabled = i;
		for (int n = 0; n < 3; n++)
			jute_put_ustring(&f->f.out, jute_null);
		jute_put_long(&f->f.out, -1);
		EXPECT_I(fx_ask(&f->f, 1, f->s, ZK_OP_RECONFIG), ==,
			 i ? ZUNIMPLEMENTED : ZRECONFIGDISABLED);
	}
}

TEST_F(writer_prep, pending_lists_count_for_those_behind, struct prep_fx, up, down)
{
	static const char bob[] = "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=";
	int32_t locked, refused;

	jute_put_ustring(&f->f.out, jute_text("/a"));
	put_acl(f, ZK_PERM_ALL, "digest", bob);
	jute_put_int(&f->f.out, -1);
	locked = fx_push(&f->f, 0, UP_REQUEST, 1, f->s, ZK_OP_SET_ACL, f->f.body,
			 jute_size(&f->f.out, f->f.body));
	fx_begin(&f->f);
	fx_set(&f->f, "/a", "", -1);
	refused = fx_push(&f->f, 0, UP_REQUEST, 1, f->s, ZK_OP_SET_DATA, f->f.body,
			  jute_size(&f->f.out, f->f.body));
	fx_run(&f->f);
	EXPECT_I(fx_find(&f->f, DOWN_TXN, locked)->err, ==, ZOK);
	EXPECT_I(fx_find(&f->f, DOWN_TXN, refused)->err, ==, ZNOAUTH);
	fx_begin(&f->f);
	/* Bob may. */
	jute_put_int(&f->f.out, 0);
	jute_put_ustring(&f->f.out, jute_text("digest"));
	jute_put_buffer(&f->f.out, jute_text("bob:pw"));
	fx_push(&f->f, 0, UP_AUTH, 1, f->s, 0, f->f.body, jute_size(&f->f.out, f->f.body));
	fx_begin(&f->f);
	EXPECT_I(set(f, "/a", -1), ==, ZOK);
}

static int32_t quota(struct prep_fx *p, const char *limits)
{
	int32_t err;

	create(p, ZK_OP_CREATE, "/zookeeper/quota/a", 0);
	fx_create(&p->f, "/zookeeper/quota/a/zookeeper_limits", limits, 0);
	err = fx_ask(&p->f, 1, p->s, ZK_OP_CREATE);
	fx_create(&p->f, "/zookeeper/quota/a/zookeeper_stats", "count=0,bytes=0", 0);
	return err ? err : fx_ask(&p->f, 1, p->s, ZK_OP_CREATE);
}

static const char *usage(struct prep_fx *p)
{
	static const char path[] = "/zookeeper/quota/a/zookeeper_stats";
	static char text[64];
	const struct shm_node *n = shm_tree_get(p->f.tree, path, sizeof(path) - 1);
	const void *data;
	int32_t len;

	data = n ? shm_version_data(shm_node_version(n, SHM_LATEST), &len) : "none";
	snprintf(text, sizeof(text), "%.*s", n ? (int)len : 4, (const char *)data);
	return text;
}

TEST_F(writer_prep, hard_limits_refuse_growth_and_usage_is_kept, struct prep_fx, up, down)
{
	EXPECT_I(quota(f, "count=1,bytes=1=;byteHardLimit=5;countHardLimit=3"), ==, ZOK);
	EXPECT_STR(usage(f), "count=2,bytes=2");
	EXPECT_I(create(f, ZK_OP_CREATE, "/a/c", 0), ==, ZOK);
	EXPECT_STR(usage(f), "count=3,bytes=3");
	EXPECT_I(create(f, ZK_OP_CREATE, "/a/d", 0), ==, ZQUOTAEXCEEDED);
	EXPECT_I(set(f, "/a/c", 9), ==, ZBADVERSION); /* 3 bytes for 1: still within */
	EXPECT_I(set(f, "/a/c", 0), ==, ZOK);
	EXPECT_STR(usage(f), "count=3,bytes=5");
	EXPECT_I(set(f, "/a/b", 9), ==, ZQUOTAEXCEEDED); /* before the version */
	EXPECT_I(delete (f, "/a/c", -1), ==, ZOK);
	EXPECT_STR(usage(f), "count=2,bytes=2");
	EXPECT_I(delete (f, "/zookeeper/quota/a/zookeeper_limits", -1), ==, ZOK);
	EXPECT_I(create(f, ZK_OP_CREATE, "/a/d", 0), ==, ZOK);
}

TEST_F(writer_prep, requests_beyond_memory_are_not_executed, struct prep_fx, up, down)
{
	const struct msg_down *refused;

	f->f.core.log_full = true;
	fx_clear(&f->f);
	EXPECT_I(create(f, ZK_OP_CREATE, "/x", 0), ==, 1);
	refused = fx_find(&f->f, DOWN_REFUSED, 0);
	REQUIRE(EXPECT_TRUE(refused != NULL));
	EXPECT_I(refused->err, ==, ZTHROTTLEDOP);
	EXPECT_I(delete (f, "/a/b", -1), ==, ZOK);
}

static void begin_member(struct prep_fx *p, int32_t op)
{
	zk_multi_header_encode(&p->f.out, &(struct zk_multi_header){op, false, -1});
}

static int32_t multi(struct prep_fx *p)
{
	zk_multi_end(&p->f.out);
	return fx_ask(&p->f, 1, p->s, ZK_OP_MULTI);
}

TEST_F(writer_prep, a_multi_that_cannot_be_decoded_fails_as_one, struct prep_fx, up, down)
{
	static const int32_t not_in_multi[] = {ZK_OP_GET_DATA, ZK_OP_SET_ACL, ZK_OP_MULTI,
					       ZK_OP_SYNC, ZK_OP_DELETE_CONTAINER};

	for (size_t i = 0; i < sizeof(not_in_multi) / sizeof(*not_in_multi); i++) {
		begin_member(f, ZK_OP_CREATE);
		fx_create(&f->f, "/m", "", 0);
		begin_member(f, not_in_multi[i]);
		fx_delete(&f->f, "/a", -1);
		EXPECT_I(multi(f), ==, ZMARSHALLINGERROR);
	}
	for (int32_t flags = -1; flags <= 7; flags++) {
		begin_member(f, ZK_OP_CREATE);
		fx_create(&f->f, "/no/x", "", flags);
		EXPECT_I(multi(f), ==, flags >= 0 && flags <= 4 ? ZOK : ZMARSHALLINGERROR);
	}
	begin_member(f, ZK_OP_CREATE); /* no end */
	fx_create(&f->f, "/m", "", 0);
	EXPECT_I(fx_ask(&f->f, 1, f->s, ZK_OP_MULTI), ==, ZMARSHALLINGERROR);
	begin_member(f, ZK_OP_CREATE); /* a null id, found when members are prepared */
	fx_create(&f->f, "/m", "", 0);
	begin_member(f, ZK_OP_CREATE);
	jute_put_ustring(&f->f.out, jute_text("/m2"));
	jute_put_buffer(&f->f.out, jute_null);
	put_acl(f, 31, "digest", NULL);
	jute_put_int(&f->f.out, 0);
	EXPECT_I(multi(f), ==, ZMARSHALLINGERROR);
	EXPECT_TRUE(!shm_tree_get(f->f.tree, "/m", 2));
	EXPECT_I(multi(f), ==, ZOK); /* empty */
}

TEST_F(writer_prep, members_of_a_multi_see_those_before, struct prep_fx, up, down)
{
	const struct msg_down *head;
	struct jute_in in;
	struct zk_multi_header h;

	begin_member(f, ZK_OP_CREATE2);
	fx_create(&f->f, "/m", "", 0);
	begin_member(f, ZK_OP_SET_DATA);
	fx_set(&f->f, "/m", "x", 0);
	begin_member(f, ZK_OP_CHECK);
	fx_delete(&f->f, "/m", 1);
	begin_member(f, ZK_OP_DELETE);
	fx_delete(&f->f, "/m", 1);
	begin_member(f, ZK_OP_CREATE_TTL); /* without a ttl's flag: a plain create */
	fx_create(&f->f, "/m", "", 0);
	jute_put_long(&f->f.out, -1);
	fx_clear(&f->f);
	EXPECT_I(multi(f), ==, ZOK);
	head = fx_find(&f->f, DOWN_TXN, 0);
	in = jute_in_of((const uint8_t *)(head + 1) + head->events_len, head->reply_len);
	zk_multi_header_decode(&in, &h);
	EXPECT_I(h.type, ==, ZK_OP_CREATE2);
	EXPECT_I(h.err, ==, 0);
	EXPECT_I(jute_get_int(&in), ==, 2);
	jute_take(&in, 2);
	EXPECT_I(jute_get_stat(&in).version, ==, 0);
	EXPECT_TRUE(shm_tree_get(f->f.tree, "/m", 2) != NULL);
	/* Created, changed, deleted, created: four events in that order. */
	EXPECT_U(head->events_len, ==, 4 * (sizeof(struct msg_event) + 8));
}

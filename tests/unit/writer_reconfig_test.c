/* reconfig: codes in ZooKeeper's order, and the configuration that comes of a request. */
#include <stdio.h>

#include "tests/unit/writer_fx.h"

struct fx {
	struct wtr_fx f;
	struct zab zab; /* a leader of three voters, two of them in touch */
	struct quorum_config three, next;
	struct jute_vec ids;
	uint8_t record[1 << 16];
};

static const char text[] = "server.1=h1:1:2:participant;0.0.0.0:7\n"
			   "server.2=h2:1:2:participant;0.0.0.0:7\n"
			   "server.3=h3:1:2:participant;0.0.0.0:7\nversion=100000000";

/* Answers of 2 and 3: as of followers in service. */
static void in_touch(struct fx *f, int32_t peer, int64_t sid)
{
	f->zab.peer[peer] =
	    (struct zab_peer){.phase = ZAB_PEER_ACTIVE, .sid = sid, .deadline_ms = UINT64_MAX};
	f->zab.peers_end = peer + 1;
}

static void up(struct fx *f)
{
	struct zab_options options = {.sid = 1, .committed = &f->three, .tick_ms = 1};

	fx_up(&f->f);
	f->f.conf.reconfig_enabled = f->f.conf.standalone_enabled = true;
	f->f.conf.skip_acl = true;
	f->f.core.rules.skip = true;
	EXPECT_I(quorum_config_parse(&f->three, text, sizeof(text) - 1, NULL), ==, 0);
	zab_init(&f->zab, &options);
	f->zab.role = ZAB_LEADING;
	f->zab.phase = ZAB_SERVING;
	in_touch(f, 0, 2);
	f->f.core.prep.zab = &f->zab;
}

static void down(struct fx *f)
{
	fx_down(&f->f);
}

static void put(struct jute_out *out, const char *s)
{
	jute_put_ustring(out, s ? jute_text(s) : jute_null);
}

/* The code, and the text of what became of it in f->record. */
static enum zk_code ask_of(struct fx *f, const char *joining, const char *leaving,
			   const char *members, int64_t version)
{
	struct jute_out out = jute_out_of(f->f.body, sizeof(f->f.body));
	struct wtr_prep *p = &f->f.core.prep;

	put(&out, joining);
	put(&out, leaving);
	put(&out, members);
	jute_put_long(&out, version);
	p->ids = &f->ids;
	p->zxid = 0x100000007;
	p->out = jute_out_of(f->record, sizeof(f->record));
	p->config = NULL;
	return wtr_prep_request(p, ZK_OP_RECONFIG, f->f.body, (uint32_t)jute_size(&out, f->f.body));
}

static enum zk_code ask(struct fx *f, const char *joining, const char *leaving)
{
	return ask_of(f, joining, leaving, NULL, -1);
}

/* The text in the transaction. */
static const char *made(struct fx *f)
{
	struct jute_in in = jute_in_of(f->record, sizeof(f->record));
	struct zk_set_data_txn txn;
	static char copy[4096];

	if (zk_set_data_txn_decode(&in, &txn) || txn.version != -1 ||
	    !jute_buf_is(txn.path, "/zookeeper/config"))
		return "no transaction";
	snprintf(copy, sizeof(copy), "%.*s", txn.data.len, (const char *)txn.data.data);
	return copy;
}

TEST_F(writer_reconfig, checks_come_in_zookeepers_order, struct fx, up, down)
{
	struct quorum_config newer = f->three;

	newer.version++;
	f->zab.last_seen = &newer;
	f->f.conf.reconfig_enabled = false;
	EXPECT_I(ask_of(f, NULL, "x", NULL, 5), ==, ZRECONFIGDISABLED);
	f->f.conf.reconfig_enabled = true;
	EXPECT_I(ask_of(f, NULL, "x", NULL, 5), ==, ZRECONFIGINPROGRESS);
	f->zab.last_seen = NULL;
	EXPECT_I(ask_of(f, NULL, "x", NULL, 5), ==, ZBADVERSION);
	EXPECT_I(ask_of(f, "nonsense", "x", NULL, 0x100000000), ==, ZMARSHALLINGERROR);
	EXPECT_I(ask(f, "nonsense", "2,3"), ==, ZBADARGUMENTS);
	EXPECT_I(ask(f, NULL, "2,3"), ==, ZBADARGUMENTS); /* one voter is left */
	f->zab.peers_end = 0;
	f->f.core.rules.skip = false;
	EXPECT_I(ask(f, NULL, "3"), ==, ZNEWCONFIGNOQUORUM);
	in_touch(f, 0, 2);
	EXPECT_I(ask(f, NULL, "3"), ==, ZNOAUTH);
	f->f.core.rules.skip = true;
	EXPECT_I(ask(f, NULL, "3"), ==, ZOK);
	EXPECT_TRUE(f->f.core.prep.config != NULL);
	EXPECT_I(f->f.core.prep.type, ==, ZK_OP_RECONFIG);
}

TEST_F(writer_reconfig, members_leave_and_join, struct fx, up, down)
{
	EXPECT_I(ask(f, " server.5=h5:1:2:observer;7 ,server.2=n2:3:4;8", "3, ,77"), ==, ZOK);
	EXPECT_STR(made(f), "server.1=h1:1:2:participant;0.0.0.0:7\n"
			    "server.2=n2:3:4:participant;0.0.0.0:8\n"
			    "server.5=h5:1:2:observer;0.0.0.0:7\nversion=100000007");
	EXPECT_I(f->f.core.prep.config->version, ==, 0x100000007);
	EXPECT_I(f->f.core.prep.config->n_voters, ==, 2);
}

TEST_F(writer_reconfig, nothing_to_change_is_a_new_version, struct fx, up, down)
{
	EXPECT_I(ask(f, NULL, NULL), ==, ZOK);
	EXPECT_TRUE(strstr(made(f), "version=100000007") != NULL);
	EXPECT_I(f->f.core.prep.config->n_voters, ==, 3);
}

TEST_F(writer_reconfig, a_joiner_needs_three_ports_of_its_own, struct fx, up, down)
{
	EXPECT_I(ask(f, "server.4=h4:1:2", NULL), ==, ZBADARGUMENTS);
	EXPECT_I(ask(f, "server.4=h4:1;7", NULL), ==, ZBADARGUMENTS);
	EXPECT_I(ask(f, "server.4=h4:1:2;7=8", NULL), ==, ZBADARGUMENTS);
	EXPECT_I(ask(f, "server.x=h4:1:2;7", NULL), ==, ZMARSHALLINGERROR);
	EXPECT_I(ask(f, "server.4=h4:1:2;7\nserver.9=h9:1:2;7", NULL), ==, ZBADARGUMENTS);
	EXPECT_I(ask(f, "server.4=h3:5:2;7", NULL), ==, ZBADARGUMENTS); /* h3:2 is server 3's */
	/* Loopback addresses may repeat: what is missing then is the quorum of five. */
	EXPECT_I(ask(f, "server.4=127.0.0.1:5:6;7,server.5=127.0.0.1:5:6;7", NULL), ==,
		 ZNEWCONFIGNOQUORUM);
	EXPECT_I(ask(f, "server.4=h4:1:2|h5:1:2;7", NULL), ==, ZBADARGUMENTS);
}

TEST_F(writer_reconfig, the_whole_list_replaces_the_old_one, struct fx, up, down)
{
	EXPECT_I(ask_of(f, "nonsense", "x", "server.1=h1:1:2;7,server.2=h2:1:2:participant;7", -1),
		 ==, ZOK);
	EXPECT_STR(made(f), "server.1=h1:1:2:participant;0.0.0.0:7\n"
			    "server.2=h2:1:2:participant;0.0.0.0:7\nversion=100000007");
	EXPECT_I(ask_of(f, NULL, NULL, "", -1), ==, ZBADARGUMENTS);
	EXPECT_I(ask_of(f, NULL, NULL, "server.1=h1:1:2;7,tickTime=5", -1), ==, ZBADARGUMENTS);
	EXPECT_I(ask_of(f, NULL, NULL, "server.1=h1:1:2;7,server.2=h2:1:2:observer;7", -1), ==,
		 ZBADARGUMENTS);
}

TEST_F(writer_reconfig, groups_change_as_a_whole_only, struct fx, up, down)
{
	f->three.hierarchical = true;
	EXPECT_I(ask(f, NULL, "3"), ==, ZBADARGUMENTS);
	EXPECT_I(ask_of(f, NULL, NULL,
			"server.1=h1:1:2;7\nserver.2=h2:1:2;7\ngroup.1=1:2\nweight.1=1", -1),
		 ==, ZOK);
	EXPECT_TRUE(strstr(made(f), "group.1=1:2") != NULL);
}

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "supervisor/conf.h"
#include "supervisor/keys.h"
#include "supervisor/machine.h"
#include "supervisor/properties.h"
#include "tests/t.h"

struct conf_fx {
	struct conf c;
	struct sup_conf_texts t;
	int err;
};

static void conf_up(struct conf_fx *f)
{
	(void)f;
}

static void conf_down(struct conf_fx *f)
{
	sup_conf_free(&f->c);
}

/* Parse `text` behind the two lines that every configuration needs. */
static bool parse(struct conf_fx *f, const char *text)
{
	char all[4096];

	snprintf(all, sizeof(all), "dataDir=/d\nclientPort=2181\n%s", text);
	sup_conf_free(&f->c);
	f->err = sup_conf_parse(&f->c, "zoo.cfg", all, strlen(all), NULL, &f->t);
	return f->err == 0;
}

TEST(sup_properties, syntax_is_that_of_java)
{
	static const char text[] = "# comment \\\n"
				   "  ! another\r\n"
				   "\n"
				   "a=1\r"
				   "b : 2\n"
				   "  c\t3 4  \n"
				   "d\\=e\\ f=g=h:i\n"
				   "long = one \\\n"
				   "      two\\\r\n\tthree\n"
				   "uni=\\u0041\\u00e9\\u20AC\\q\n"
				   "empty\n"
				   "last=x\\";
	static const char *const want[][2] = {
	    {"a", "1"},
	    {"b", "2"},
	    {"c", "3 4"},
	    {"d=e f", "g=h:i"},
	    {"long", "one twothree"},
	    {"uni", "A\xc3\xa9\xe2\x82\xacq"},
	    {"empty", ""},
	    {"last", "x"},
	};
	static const unsigned lines[] = {4, 5, 6, 7, 8, 11, 12, 13};
	struct sup_properties p;
	unsigned line;

	REQUIRE(EXPECT_I(sup_properties_parse(&p, text, sizeof(text) - 1, &line), ==, 0));
	EXPECT_U(p.n, ==, 8);
	for (size_t i = 0; i < p.n && i < 8; i++) {
		EXPECT_STR(p.list[i].key, want[i][0]);
		EXPECT_STR(p.list[i].value, want[i][1]);
		EXPECT_U(p.list[i].line, ==, lines[i]);
	}
	sup_properties_free(&p);
}

TEST(sup_properties, what_is_broken_is_refused_with_its_line)
{
	struct sup_properties p;
	unsigned line;

	EXPECT_I(sup_properties_parse(&p, "a=1\nb=\\u12x4\n", 13, &line), ==, -22);
	EXPECT_U(line, ==, 2);
	EXPECT_I(sup_properties_parse(&p, "a=1\0b\n", 6, &line), ==, -22);
	EXPECT_I(sup_properties_parse(&p, "a=\\u", 4, &line), ==, -22);
	EXPECT_I(sup_properties_parse(&p, "", SUP_PROPERTIES_BYTES_MAX + 1, &line), ==, -7);
}

TEST_F(sup_conf, defaults_are_zookeepers, struct conf_fx, conf_up, conf_down)
{
	REQUIRE(EXPECT_TRUE(parse(f, "")));
	EXPECT_STR(f->c.data_dir, "/d");
	EXPECT_STR(f->c.data_log_dir, "/d");
	EXPECT_STR(f->c.file, "zoo.cfg");
	EXPECT_I(f->c.client_port, ==, 2181);
	EXPECT_TRUE(f->c.client_address == NULL);
	EXPECT_I(f->c.tick_ms, ==, 3000);
	EXPECT_I(f->c.session_min_ms, ==, 6000);
	EXPECT_I(f->c.session_max_ms, ==, 60000);
	EXPECT_I(f->c.max_client_cnxns, ==, 60);
	EXPECT_I(f->c.max_buffer, ==, 1048575);
	EXPECT_I(f->c.max_buffer_extra, ==, 1048575);
	EXPECT_I(f->c.listen_backlog, ==, -1);
	EXPECT_U(f->c.segment_size, ==, 16 << 20);
	EXPECT_TRUE(f->c.force_sync && f->c.digest_enabled && f->c.close_session_txn);
	EXPECT_TRUE(!f->c.skip_acl && !f->c.extended_types && !f->c.enforce_quota);
	EXPECT_STR(f->c.worker_user, "nobody");
	EXPECT_STR(f->t.ignored, "");
	EXPECT_STR(f->t.unknown, "");
	EXPECT_STR(f->t.remarks, "");
}

TEST_F(sup_conf, keys_are_honoured_with_and_without_prefix, struct conf_fx, conf_up, conf_down)
{
	REQUIRE(EXPECT_TRUE(parse(f, "tickTime = 2000\n"
				     "zookeeper.snapCount=500\n"
				     "dataLogDir=/log dir\n"
				     "maxClientCnxns=0\n"
				     "jute.maxbuffer=0x3fffff\n"
				     "minSessionTimeout=-1\n"
				     "maxSessionTimeout=90000\n"
				     "forceSync=no\n"
				     "skipACL=yes\n"
				     "digest.enabled=FALSE\n"
				     "extendedTypesEnabled=True\n"
				     "preAllocSize=1024\n"
				     "snapSizeLimitInKb=-1\n"
				     "4lw.commands.whitelist=*\n"
				     "autopurge.purgeInterval=1\n"
				     "zookeeper.DigestAuthenticationProvider.superDigest=super:x\n"
				     "paddock.workers=3\n"
				     "paddock.heap=2G\n"
				     "paddock.workerUser=zk\n"
				     "tickTime=2500\n")));
	EXPECT_I(f->c.tick_ms, ==, 2500); /* the last one counts */
	EXPECT_I(f->c.snap_count, ==, 500);
	EXPECT_STR(f->c.data_log_dir, "/log dir");
	EXPECT_I(f->c.max_client_cnxns, ==, 0);
	EXPECT_I(f->c.max_buffer, ==, 4194303);
	EXPECT_I(f->c.session_min_ms, ==, 5000);
	EXPECT_I(f->c.session_max_ms, ==, 90000);
	EXPECT_TRUE(!f->c.force_sync && f->c.skip_acl && !f->c.digest_enabled);
	EXPECT_TRUE(f->c.extended_types);
	EXPECT_U(f->c.segment_size, ==, 1 << 20);
	EXPECT_U(f->c.snap_size_limit, ==, 0);
	EXPECT_STR(f->c.four_letter_words, "*");
	EXPECT_I(f->c.purge_interval_h, ==, 1);
	EXPECT_STR(f->c.super_digest, "super:x");
	EXPECT_I(f->c.workers, ==, 3);
	EXPECT_U(f->c.heap_max, ==, 2ull << 30);
	EXPECT_STR(f->c.worker_user, "zk");
	EXPECT_STR(f->t.ignored, "");
	EXPECT_STR(f->t.unknown, "");
}

TEST_F(sup_conf, wrong_values_are_refused_by_line_and_name, struct conf_fx, conf_up, conf_down)
{
	static const char *const cases[][2] = {
	    {"tickTime=abc", "zoo.cfg:3: tickTime: expected a number of milliseconds from 1 on, "
			     "got \"abc\""},
	    {"tickTime=0", "zoo.cfg:3: tickTime: expected a number of milliseconds from 1 on, got "
			   "\"0\""},
	    {"\n\nclientPort=70000", "zoo.cfg:5: clientPort: expected a port from 1 to 65535, got "
				     "\"70000\""},
	    {"tickTime=5 \x01", "zoo.cfg:3: tickTime: expected a number of milliseconds from 1 on, "
				"got \"5 \\x01\""},
	    {"minSessionTimeout=0", "zoo.cfg:3: minSessionTimeout: expected -1, or a number of "
				    "milliseconds from 1 on, got \"0\""},
	    {"reconfigEnabled=yes", "zoo.cfg:3: reconfigEnabled: expected true or false, got "
				    "\"yes\""},
	    {"paddock.workers=65", "zoo.cfg:3: paddock.workers: expected auto, or a number from 1 "
				   "to 64, got \"65\""},
	    {"paddock.heap=9E", "zoo.cfg:3: paddock.heap: expected a size from 16M to 120G, as "
				"512M or 8G (bytes without a letter), got \"9E\""},
	    {"maxSessionTimeout=5000",
	     "zoo.cfg: minSessionTimeout 6000 is over maxSessionTimeout 5000"},
	    {"dataDir=", "zoo.cfg: dataDir is missing"},
	    {"electionAlg=2", "zoo.cfg:3: electionAlg: there is no other election algorithm than "
			      "3"},
	    {"sessionRequireClientSASLAuth=true",
	     "zoo.cfg:3: sessionRequireClientSASLAuth: SASL is "
	     "not served yet, so nobody could be let in"},
	    {"server.1=a:1", "zoo.cfg:3: server.1: not an election port: expected "
			     "HOST:PORT:PORT[:ROLE][;[HOST:]PORT], got \"a:1\""},
	    {"server.1=a:1:2\\nserver.2=b:1:2", "zoo.cfg:3: server.1: expected "
						"HOST:PORT:PORT[:ROLE][;[HOST:]PORT], got "
						"\"a:1:2\\x0aserver.2=b:1:2\""},
	    {"server.1=a:1:2:observer", "zoo.cfg: the list of servers: no participant"},
	    {"server.1=a:1:2\nserver.2=b:1:2:observer",
	     "zoo.cfg: one participant with observers takes standaloneEnabled=false"},
	    {"server.1=a:1:2|b:1:2", "zoo.cfg: server.1 has several addresses, which takes "
				     "multiAddress.enabled=true"},
	    {"standaloneEnabled=false",
	     "zoo.cfg: standaloneEnabled=false takes at least one server line"},
	    {"peerType=observer", "zoo.cfg:3: peerType: an observer needs servers to observe, and "
				  "there is no list of more than one"},
	    {"peerType=leader", "zoo.cfg:3: peerType: expected participant or observer, got "
				"\"leader\""},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		EXPECT_TRUE(!parse(f, cases[i][0]));
		EXPECT_STR(f->t.error, cases[i][1]);
		EXPECT_TRUE(f->c.data_dir == NULL);
	}
}

TEST_F(sup_conf, what_has_no_effect_is_named_with_its_reason, struct conf_fx, conf_up, conf_down)
{
	REQUIRE(EXPECT_TRUE(parse(f, "initLimit=10\nsyncLimit=5\nsecureClientPort=2281\n"
				     "ssl.keyStore.location=/k\nnio.numWorkerThreads=4\n"
				     "admin.enableServer=false\nlocalSessionsEnabled=false\n"
				     "myOwnKey=1\nother.key=2\n")));
	EXPECT_STR(f->t.ignored,
		   "TLS is not served yet: secureClientPort, ssl.keyStore.location; the quorum's, "
		   "and this server is standalone: initLimit, syncLimit; the Java server's inside, "
		   "without meaning here: nio.numWorkerThreads");
	EXPECT_STR(f->t.unknown, "myOwnKey, other.key");
}

TEST_F(sup_conf, values_below_zookeepers_minimum_are_raised, struct conf_fx, conf_up, conf_down)
{
	REQUIRE(EXPECT_TRUE(parse(f, "snapCount=1\nautopurge.snapRetainCount=2\n")));
	EXPECT_I(f->c.snap_count, ==, 2);
	EXPECT_I(f->c.purge_retain, ==, 3);
	EXPECT_STR(f->t.remarks, "snapCount: 1 was raised to 2; autopurge.snapRetainCount: 2 was "
				 "raised to 3");
}

TEST_F(sup_conf, one_server_line_is_standalone_and_may_carry_the_client_port, struct conf_fx,
       conf_up, conf_down)
{
	static const char text[] = "dataDir=/d\nserver.7=h:2888:3888:participant;[::1]:2182\n";

	f->err = sup_conf_parse(&f->c, "zoo.cfg", text, sizeof(text) - 1, NULL, &f->t);
	REQUIRE(EXPECT_I(f->err, ==, 0));
	EXPECT_I(f->c.client_port, ==, 2182);
	EXPECT_STR(f->c.client_address, "0:0:0:0:0:0:0:1");
}

/* --- an ensemble ------------------------------------------------------------------------------ */

/* What the other files of a configuration hold; NULL: there is none. */
static struct other {
	const char *myid, *dynamic;
} other;

static ssize_t read_other(const char *path, void *to, size_t size)
{
	const char *text = strcmp(path, "/d/myid") == 0 ? other.myid : other.dynamic;
	size_t len = text ? strlen(text) : 0;

	if (!text)
		return -2; /* ENOENT */
	len = len < size ? len : size;
	memcpy(to, text, len);
	return (ssize_t)len;
}

/* As parse(), beside those files. */
static bool parse_beside(struct conf_fx *f, const char *myid, const char *dynamic, const char *text)
{
	char all[4096];

	other = (struct other){myid, dynamic};
	snprintf(all, sizeof(all), "dataDir=/d\n%s", text);
	sup_conf_free(&f->c);
	f->err = sup_conf_parse(&f->c, "zoo.cfg", all, strlen(all), read_other, &f->t);
	return f->err == 0;
}

#define LIMITS "initLimit=10\nsyncLimit=5\n"
#define THREE  "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\n"
#define PORT   "clientPort=2181\n"

TEST_F(sup_conf, several_servers_are_an_ensemble_with_zookeepers_defaults, struct conf_fx, conf_up,
       conf_down)
{
	REQUIRE(EXPECT_TRUE(parse_beside(f, "2\n", NULL, PORT LIMITS THREE)));
	EXPECT_STR(f->c.members, THREE);
	EXPECT_I(f->c.sid, ==, 2);
	EXPECT_I(f->c.server_id, ==, 2);
	EXPECT_TRUE(!f->c.observer && f->c.leader_serves && f->c.standalone_enabled);
	EXPECT_TRUE(!f->c.listen_on_all && !f->c.several_addresses && !f->c.local_sessions);
	EXPECT_I(f->c.init_limit, ==, 10);
	EXPECT_I(f->c.sync_limit, ==, 5);
	EXPECT_I(f->c.connect_limit, ==, 0);
	EXPECT_I(f->c.connect_retry_ms, ==, 100);
	EXPECT_I(f->c.election_connect_ms, ==, 5000);
	EXPECT_I(f->c.election_hello_ms, ==, 15000);
	EXPECT_I(f->c.election_bind_retries, ==, 3);
	EXPECT_I(f->c.vote_min_ms, ==, 200);
	EXPECT_I(f->c.vote_max_ms, ==, 60000);
	EXPECT_I(f->c.observer_delay_ms, ==, 200);
	EXPECT_U(f->c.observer_master_port, ==, 0);
	EXPECT_U(f->c.observer_master_bytes, ==, 32 << 20);
	EXPECT_STR(f->t.ignored, "");
	EXPECT_STR(f->t.unknown, "");
	EXPECT_STR(f->t.remarks, "");
}

TEST_F(sup_conf, an_ensembles_keys_are_honoured_or_told_with_a_reason, struct conf_fx, conf_up,
       conf_down)
{
	REQUIRE(EXPECT_TRUE(parse_beside(
	    f, "1", NULL,
	    PORT LIMITS THREE "connectToLearnerMasterLimit=7\nleaderConnectDelayDuringRetryMs=50\n"
			      "zookeeper.cnxTimeout=300\nquorumCnxnTimeoutMs=900\n"
			      "electionPortBindRetry=0\nfastleader.minNotificationInterval=100\n"
			      "fastleader.maxNotificationInterval=50\n"
			      "observer.election.DelayMs=0\nquorumListenOnAllIPs=true\n"
			      "multiAddress.enabled=true\nleaderServes=no\nsslQuorum=false\n"
			      "localSessionsEnabled=true\nobserverMasterPort=2191\n"
			      "zookeeper.observerMaster.sizeLimit=1048576\n"
			      "syncEnabled=false\nquorum.cnxn.threads.size=20\n"
			      "quorum.auth.server.saslLoginContext=x\ncommitLogCount=500\n"
			      "tcpKeepAlive=true\nportUnification=true\n")));
	EXPECT_I(f->c.connect_limit, ==, 7);
	EXPECT_I(f->c.connect_retry_ms, ==, 50);
	EXPECT_I(f->c.election_connect_ms, ==, 300);
	EXPECT_I(f->c.election_hello_ms, ==, 900);
	EXPECT_I(f->c.election_bind_retries, ==, 0);
	EXPECT_I(f->c.vote_min_ms, ==, 100);
	EXPECT_I(f->c.vote_max_ms, ==, 100);
	EXPECT_I(f->c.observer_delay_ms, ==, 0);
	EXPECT_U(f->c.observer_master_port, ==, 2191);
	EXPECT_U(f->c.observer_master_bytes, ==, 1 << 20);
	EXPECT_TRUE(f->c.listen_on_all && f->c.several_addresses && !f->c.leader_serves);
	EXPECT_TRUE(f->c.local_sessions && !f->c.local_sessions_upgrading);
	EXPECT_STR(f->t.ignored,
		   "TLS is not served yet: portUnification; SASL is not served yet: "
		   "quorum.auth.server.saslLoginContext; "
		   "observers always keep log and snapshots: syncEnabled; keep-alive is always on "
		   "between servers: tcpKeepAlive; the quorum has no such setting here: "
		   "commitLogCount; the Java server's inside, without meaning here: "
		   "quorum.cnxn.threads.size");
}

TEST_F(sup_conf, an_ensemble_that_can_not_be_is_refused_with_its_place, struct conf_fx, conf_up,
       conf_down)
{
	static const char *const cases[][3] = {
	    {"1", PORT "syncLimit=5\n" THREE,
	     "zoo.cfg: initLimit is missing, and there is more than one server"},
	    {"1", PORT "initLimit=5\n" THREE,
	     "zoo.cfg: syncLimit is missing, and there is more than one server"},
	    {NULL, PORT LIMITS THREE,
	     "/d/myid: No such file or directory: it must hold the N of this server's server.N "
	     "line"},
	    {" \n1", PORT LIMITS THREE,
	     "/d/myid: the first line is empty: it must hold the N of this server's server.N line"},
	    {"one\n", PORT LIMITS THREE,
	     "/d/myid: expected a number from 0 on (0 to 254, if it is to serve TTL nodes), got "
	     "\"one\""},
	    {"0x1", PORT LIMITS THREE,
	     "/d/myid: expected a number from 0 on (0 to 254, if it is to serve TTL nodes), got "
	     "\"0x1\""},
	    {"9223372036854775807", PORT LIMITS THREE,
	     "/d/myid: expected a number from 0 on (0 to 254, if it is to serve TTL nodes), got "
	     "\"9223372036854775807\""},
	    {"255", PORT LIMITS THREE "server.255=d:1:2\nextendedTypesEnabled=true\n",
	     "/d/myid: expected a number from 0 to 254, as extendedTypesEnabled asks for, got "
	     "\"255\""},
	    {"4", PORT LIMITS THREE,
	     "zoo.cfg: dataDir/myid says 4, and there is no server.4 (peerType=observer lets a "
	     "server in that the list does not name)"},
	    {"1", LIMITS THREE, "zoo.cfg: clientPort is missing (TLS alone is not served yet)"},
	    {"1", PORT LIMITS THREE "server.4=d:1:1\n",
	     "zoo.cfg:8: server.4: quorum port and election port must differ: expected "
	     "HOST:PORT:PORT[:ROLE][;[HOST:]PORT], got \"d:1:1\""},
	    {"1", PORT LIMITS THREE "group.1=1:2\n",
	     "zoo.cfg: the list of servers: a participant in no group"},
	    {"1", PORT LIMITS THREE "group.1=1:2:3\nweight.2=heavy\n",
	     "zoo.cfg:9: weight.2: not a weight: expected a number, got \"heavy\""},
	    {"4", PORT LIMITS THREE "server.4=d:1:2;2182\n",
	     "zoo.cfg: clientPort is *:2181, but server.4 says 0.0.0.0:2182 for clients"},
	    {"4", PORT LIMITS THREE "clientPortAddress=::1\nserver.4=d:1:2;[::2]:2181\n",
	     "zoo.cfg: clientPort is ::1:2181, but server.4 says 0:0:0:0:0:0:0:2:2181 for clients"},
	    {"4", LIMITS THREE "server.4=d:1:2;0\n",
	     "zoo.cfg: server.4: expected a client port from 1 to 65535"},
	    {"1", PORT LIMITS THREE "oraclePath=/o\n",
	     "zoo.cfg:8: oraclePath: an oracle in place of a quorum can elect two leaders: not "
	     "served"},
	    {"1", PORT LIMITS THREE "sslQuorum=true\n",
	     "zoo.cfg:8: sslQuorum: servers talk to each other without TLS and SASL in this "
	     "version, and an ensemble must not lose its protection silently"},
	    {"1", PORT LIMITS THREE "quorum.auth.enableSasl=true\n",
	     "zoo.cfg:8: quorum.auth.enableSasl: servers talk to each other without TLS and SASL "
	     "in this version, and an ensemble must not lose its protection silently"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		EXPECT_TRUE(!parse_beside(f, cases[i][0], NULL, cases[i][1]));
		EXPECT_STR(f->t.error, cases[i][2]);
		EXPECT_TRUE(f->c.data_dir == NULL);
	}
}

TEST_F(sup_conf, what_is_between_servers_asks_nothing_of_a_standalone_one, struct conf_fx, conf_up,
       conf_down)
{
	REQUIRE(EXPECT_TRUE(parse(f, "sslQuorum=true\nquorum.auth.enableSasl=true\noraclePath=/o\n"
				     "server.1=a:1:2\ngroup.1=1\nleaderServes=no\n"
				     "quorumListenOnAllIPs=false\n")));
	EXPECT_TRUE(f->c.members == NULL);
	EXPECT_STR(f->t.ignored, "the quorum's, and this server is standalone: sslQuorum, "
				 "quorum.auth.enableSasl, oraclePath, group.1, leaderServes");
}

TEST_F(sup_conf, the_list_of_servers_says_our_role_and_client_port, struct conf_fx, conf_up,
       conf_down)
{
	REQUIRE(EXPECT_TRUE(parse_beside(
	    f, "4", NULL, LIMITS THREE "server.4=d:1:2:observer;[::1]:2185\npeerType=Observer\n")));
	EXPECT_TRUE(f->c.observer);
	EXPECT_I(f->c.client_port, ==, 2185);
	EXPECT_STR(f->c.client_address, "0:0:0:0:0:0:0:1");
	EXPECT_STR(f->t.remarks, "");
	REQUIRE(EXPECT_TRUE(parse_beside(f, "1", NULL,
					 LIMITS
					 "server.1=a:1:2;0.0.0.0:2181\nserver.2=b:1:2;2182;2282\n"
					 "clientPort=2181\nclientPortAddress=localhost\n"
					 "peerType=observer\n")));
	EXPECT_TRUE(!f->c.observer);
	EXPECT_TRUE(f->c.client_address == NULL);
	EXPECT_STR(f->t.remarks,
		   "peerType: server.1 is a participant, as the list of servers says; 2 "
		   "participants survive no more failures than 1 would; an odd number is better");
}

TEST_F(sup_conf, a_server_that_the_list_does_not_name_may_join, struct conf_fx, conf_up, conf_down)
{
	REQUIRE(EXPECT_TRUE(parse_beside(f, "300", NULL, PORT LIMITS THREE "peerType=observer\n")));
	EXPECT_TRUE(f->c.observer);
	EXPECT_I(f->c.sid, ==, 300);
	EXPECT_I(f->c.server_id, ==, 44);
	EXPECT_STR(f->t.remarks,
		   "myid 300 is over 255: session ids carry its low byte, which must differ from "
		   "that of every other server; there is no server.300: it joins as an observer "
		   "without a vote");
	REQUIRE(
	    EXPECT_TRUE(parse_beside(f, "9", NULL, PORT LIMITS THREE "peerType=participant\n")));
	EXPECT_TRUE(!f->c.observer);
}

TEST_F(sup_conf, one_server_is_an_ensemble_if_standalone_is_off, struct conf_fx, conf_up, conf_down)
{
	REQUIRE(EXPECT_TRUE(
	    parse_beside(f, "1", NULL, PORT LIMITS "standaloneEnabled=false\nserver.1=a:1:2\n")));
	EXPECT_STR(f->c.members, "server.1=a:1:2\n");
	REQUIRE(EXPECT_TRUE(parse_beside(f, NULL, NULL, PORT "server.7=a:1:2\n")));
	EXPECT_TRUE(f->c.members == NULL);
	EXPECT_I(f->c.server_id, ==, 1);
}

TEST_F(sup_conf, members_come_from_the_dynamic_file_and_its_name_has_the_version, struct conf_fx,
       conf_up, conf_down)
{
	static const char *const bad[][3] = {
	    {"version=1\n" THREE, "dynamicConfigFile=/z.cfg.dynamic\n",
	     "/z.cfg.dynamic:1: version: the version is the end of the file's name"},
	    {THREE "clientPort=1\n", "dynamicConfigFile=/z.cfg.dynamic\n",
	     "/z.cfg.dynamic:4: clientPort: only server., group. and weight. lines belong here"},
	    {"server.1=a\n", "dynamicConfigFile=/z\n",
	     "/z:1: server.1: not a quorum port: expected HOST:PORT:PORT[:ROLE][;[HOST:]PORT], got "
	     "\"a\""},
	    {"\\u1", "dynamicConfigFile=/z\n", "/z:1: a broken \\uXXXX, or a zero byte"},
	    {NULL, "dynamicConfigFile=/z\n", "/z: No such file or directory"},
	    {THREE, "server.1=a:1:2\ndynamicConfigFile=/z\n",
	     "zoo.cfg:5: server.1: with dynamicConfigFile this line belongs into that file"},
	};
	static const char *const names[][2] = {{"/z.dynamic.1f00000002", "1f00000002"},
					       {"/z.dynamic", "0"},
					       {"/z.dynamic.0x1", "0"},
					       {"/z", "0"}};
	char text[256];

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		snprintf(text, sizeof(text), PORT LIMITS "dynamicConfigFile=%s\n", names[i][0]);
		REQUIRE(EXPECT_TRUE(parse_beside(f, "3", THREE, text)));
		snprintf(text, sizeof(text), THREE "version=%s\n", names[i][1]);
		EXPECT_STR(f->c.members, text);
		EXPECT_STR(f->c.dynamic_file, names[i][0]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(text, sizeof(text), PORT LIMITS "%s", bad[i][1]);
		EXPECT_TRUE(!parse_beside(f, "3", bad[i][0], text));
		EXPECT_STR(f->t.error, bad[i][2]);
	}
}

TEST_F(sup_conf, arguments_are_those_of_zookeeper, struct conf_fx, conf_up, conf_down)
{
	char *args[] = {"2191", "/data", "1500", "7"}, *wrong[] = {"2191x", "/data"};

	REQUIRE(EXPECT_I(sup_conf_arguments(&f->c, 2, args, &f->t), ==, 0));
	EXPECT_I(f->c.client_port, ==, 2191);
	EXPECT_I(f->c.max_client_cnxns, ==, 0);
	EXPECT_I(f->c.tick_ms, ==, 3000);
	sup_conf_free(&f->c);
	REQUIRE(EXPECT_I(sup_conf_arguments(&f->c, 4, args, &f->t), ==, 0));
	EXPECT_I(f->c.max_client_cnxns, ==, 7);
	EXPECT_I(f->c.session_max_ms, ==, 30000);
	EXPECT_STR(f->c.data_log_dir, "/data");
	sup_conf_free(&f->c);
	EXPECT_I(sup_conf_arguments(&f->c, 2, wrong, &f->t), ==, -1);
	EXPECT_STR(f->t.error, "arguments: clientPort: expected a port from 1 to 65535, got "
			       "\"2191x\"");
}

TEST_F(sup_conf, a_missing_file_is_an_error_with_its_reason, struct conf_fx, conf_up, conf_down)
{
	EXPECT_I(sup_conf_load(&f->c, "/no/such/zoo.cfg", &f->t), ==, -1);
	EXPECT_STR(f->t.error, "/no/such/zoo.cfg: No such file or directory");
	EXPECT_I(sup_conf_load(&f->c, "/", &f->t), ==, -1);
	EXPECT_STR(f->t.error, "/: Is a directory");
}

/* A machine's files under a directory of our own. */
static void put(const char *root, const char *path, const char *text)
{
	char full[512];
	FILE *f;

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *c = full + strlen(root) + 1; (c = strchr(c, '/')) != NULL; c++) {
		*c = '\0';
		mkdir(full, 0700);
		*c = '/';
	}
	f = fopen(full, "w");
	REQUIRE(EXPECT_TRUE(f != NULL));
	fputs(text, f);
	fclose(f);
}

TEST_F(sup_conf, workers_and_heap_fit_the_control_group, struct conf_fx, conf_up, conf_down)
{
	char root[] = "/tmp/paddock-machine-XXXXXX", remove[64];

	REQUIRE(EXPECT_TRUE(mkdtemp(root) != NULL));
	EXPECT_U(sup_machine_memory(root), >, 1 << 20); /* nothing there: the machine's own */
	put(root, "/proc/self/cgroup", "1:name=x:/other\n0::/box/inner\n");
	put(root, "/sys/fs/cgroup/memory.max", "max\n");
	put(root, "/sys/fs/cgroup/box/memory.max", "536870912\n");
	put(root, "/sys/fs/cgroup/box/inner/memory.max", "max\n");
	put(root, "/sys/fs/cgroup/box/cpu.max", "90000 100000\n");
	EXPECT_U(sup_machine_memory(root), ==, 512 << 20);
	EXPECT_U(sup_machine_cpus(root), ==, 1);
	REQUIRE(EXPECT_TRUE(parse(f, "")));
	sup_conf_fit(&f->c, root);
	EXPECT_U(f->c.workers, ==, 1);
	EXPECT_U(f->c.heap_max, ==, 256 << 20);
	put(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n");
	EXPECT_U(sup_machine_memory(root), ==, 64 << 20);
	snprintf(remove, sizeof(remove), "rm -r %s", root);
	EXPECT_I(system(remove), ==, 0);
}

TEST(sup_keys, the_exact_key_goes_before_its_family)
{
	EXPECT_STR(sup_key_find("nio.sessionlessCnxnTimeout")->what, "a number of milliseconds");
	EXPECT_I(sup_key_find("nio.other")->alone, ==, SUP_JAVA);
	EXPECT_TRUE(sup_key_find("nio") == NULL);
	EXPECT_TRUE(sup_key_find("") == NULL);
}

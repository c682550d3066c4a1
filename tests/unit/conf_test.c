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
	f->err = sup_conf_parse(&f->c, "zoo.cfg", all, strlen(all), &f->t);
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
	EXPECT_STR(f->t.adjusted, "");
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
	    {"server.1=a:1:2\nserver.2=b:1:2",
	     "zoo.cfg:4: server.2: a second server line, and this "
	     "version serves standalone only"},
	    {"server.1=a:1:2:observer", "zoo.cfg:3: server.1: an observer needs other servers, and "
					"this version serves standalone only"},
	    {"server.1=a:1", "zoo.cfg:3: server.1: expected HOST:PORT:PORT[:ROLE][;[HOST:]PORT], "
			     "got \"a:1\""},
	    {"standaloneEnabled=false", "zoo.cfg:3: standaloneEnabled: this version serves "
					"standalone only"},
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
	EXPECT_STR(f->t.adjusted, "snapCount: 1 was raised to 2; autopurge.snapRetainCount: 2 was "
				  "raised to 3");
}

TEST_F(sup_conf, one_server_line_is_standalone_and_may_carry_the_client_port, struct conf_fx,
       conf_up, conf_down)
{
	static const char text[] = "dataDir=/d\nserver.7=h:2888:3888:participant;[::1]:2182\n";

	f->err = sup_conf_parse(&f->c, "zoo.cfg", text, sizeof(text) - 1, &f->t);
	REQUIRE(EXPECT_I(f->err, ==, 0));
	EXPECT_I(f->c.client_port, ==, 2182);
	EXPECT_STR(f->c.client_address, "::1");
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
	EXPECT_I(sup_key_find("nio.other")->reason, ==, SUP_JAVA);
	EXPECT_TRUE(sup_key_find("nio") == NULL);
	EXPECT_TRUE(sup_key_find("") == NULL);
}

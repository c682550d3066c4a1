#include "quorum/config.h"

#include <errno.h>
#include <stdio.h>

#include "tests/t.h"

struct fx {
	struct quorum_config a, b;
	struct quorum_config_error error;
	char text[QUORUM_CONFIG_TEXT_MAX];
};

static void up(struct fx *f)
{
	(void)f;
}

static void down(struct fx *f)
{
	(void)f;
}

static int parse(struct fx *f, struct quorum_config *c, const char *text)
{
	return quorum_config_parse(c, text, strlen(text), &f->error);
}

/* Expect what it prints as, and that this prints as itself. */
static void expect_print(struct fx *f, const char *in, const char *want)
{
	REQUIRE(EXPECT_I(parse(f, &f->a, in), ==, 0));
	quorum_config_print(&f->a, f->text, sizeof(f->text));
	EXPECT_STR(f->text, want);
	REQUIRE(EXPECT_I(parse(f, &f->b, f->text), ==, 0));
	quorum_config_print(&f->b, f->text, sizeof(f->text));
	EXPECT_STR(f->text, want);
}

static void expect_error(struct fx *f, const char *in, uint32_t line, const char *why)
{
	EXPECT_I(parse(f, &f->a, in), ==, -EINVAL);
	EXPECT_U(f->error.line, ==, line);
	EXPECT_STR(f->error.why ? f->error.why : "", why);
}

/* The set {sid, ...}, ended by -1, as a verifier sees it. */
static bool is_quorum(const struct quorum_config *c, const int64_t *sids)
{
	struct quorum_set set = {{0}};

	for (; *sids >= 0; sids++)
		quorum_config_add(c, &set, *sids);
	return quorum_config_has_quorum(c, &set);
}

#define IS_QUORUM(c_, ...) is_quorum(c_, (const int64_t[]){__VA_ARGS__ __VA_OPT__(, ) - 1})

/* The texts wanted are those of Apache ZooKeeper 3.8.0 for the same input. */
TEST_F(quorum_config, prints_as_apache_does, struct fx, up, down)
{
	expect_print(f,
		     "server.1=127.0.0.1:2888:3888\n"
		     "server.20=host-a_b.example:1:2;[::1]:2181\r\n"
		     "server.2=127.0.0.1:2889:3889:OBSERVER\n"
		     "# a comment\n\n"
		     "server.3 = localhost:2890:3890:participant;2181 \n"
		     "version=100000000\n"
		     "server.4: [fe80::1:2]:2888:3888;[localhost]:2181",
		     "server.1=127.0.0.1:2888:3888:participant\n"
		     "server.2=127.0.0.1:2889:3889:observer\n"
		     "server.3=localhost:2890:3890:participant;0.0.0.0:2181\n"
		     "server.4=[fe80:0:0:0:0:0:1:2]:2888:3888:participant;localhost:2181\n"
		     "server.20=host-a_b.example:1:2:participant;[0:0:0:0:0:0:0:1]:2181\n"
		     "version=100000000");
	expect_print(f, "server.3=[::ffff:1.2.3.4]:1:2;\nversion=aB",
		     "server.3=1.2.3.4:1:2:participant\nversion=ab");
	expect_print(f, "server.1=zz:4:2|b:5:6:observer|a:7:9\nserver.2=x:4:2",
		     "server.1=a:7:9|b:5:6|zz:4:2:observer\nserver.2=x:4:2:participant\nversion=0");
}

TEST_F(quorum_config, prints_groups_and_weights_as_apache_does, struct fx, up, down)
{
	expect_print(f,
		     "weight.1=3\ngroup.5=3\n"
		     "server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\ngroup.1=2:1",
		     "server.1=a:1:2:participant\nserver.2=a:1:2:participant\n"
		     "server.3=a:1:2:participant\ngroup.1=1:2\ngroup.5=3\n"
		     "weight.1=3\nweight.2=1\nweight.3=1\nversion=0");
	expect_print(f,
		     "server.1=a:1:2\nserver.2=a:1:2:observer\nserver.3=a:1:2\n"
		     "group.1=1:2\ngroup.5=3\nweight.2=3",
		     "server.1=a:1:2:participant\nserver.2=a:1:2:observer\n"
		     "server.3=a:1:2:participant\ngroup.1=1:2\ngroup.5=3\n"
		     "weight.1=1\nweight.2=3\nweight.3=1\nversion=0");
}

TEST_F(quorum_config, keeps_the_secure_port_to_itself, struct fx, up, down)
{
	expect_print(f, "server.1=a:1:2;;s:2281", "server.1=a:1:2:participant\nversion=0");
	REQUIRE(EXPECT_I(parse(f, &f->a, "server.1=a:1:2;2181;2281"), ==, 0));
	EXPECT_U(f->a.member[0].client.port, ==, 2181);
	EXPECT_U(f->a.member[0].secure.port, ==, 2281);
	EXPECT_STR(quorum_config_host(&f->a, f->a.member[0].secure.host), "0.0.0.0");
}

TEST_F(quorum_config, says_what_is_wrong_and_where, struct fx, up, down)
{
	expect_error(f, "", 0, "no participant");
	expect_error(f, "server.1=a:1:2:observer", 0, "no participant");
	expect_error(f, "\nserver.x=a:1:2", 2, "not a server id");
	expect_error(f, "server.-1=a:1:2", 1, "not a server id");
	expect_error(f, "server.9223372036854775807=a:1:2", 1, "not a server id");
	expect_error(f, "server.1=a:1:2\nserver.1=b:1:2", 2, "the same server twice");
	expect_error(f, "server.1=", 1, "a host name must have 1 to 255 characters");
	expect_error(f, "server.1=a", 1, "not a quorum port");
	expect_error(f, "server.1=a:65536:2", 1, "not a quorum port");
	expect_error(f, "server.1=a:1:", 1, "not an election port");
	expect_error(f, "server.1=a:1:1", 1, "quorum port and election port must differ");
	expect_error(f, "server.1=a:1:2:leader", 1, "a role is participant or observer");
	expect_error(f, "server.1=a:1:2:participant|b:1:2:observer", 1,
		     "all addresses of a server must have the same role");
	expect_error(f, "server.1=[::1:1:2", 1, "not a quorum port");
	expect_error(f, "server.1=[::1]1:2", 1, "no colon behind ']'");
	expect_error(f, "server.1=[::g]:1:2", 1, "not an IPv6 address");
	expect_error(f, "server.1=a/b:1:2", 1, "a character that no host name has");
	expect_error(f, "server.1=a:1:2;x:", 1, "not a client port");
	expect_error(f, "server.1=a:1:2;1;2;3", 1, "too many semicolons");
	expect_error(f, "server.1=a:1:2\nfoo=1", 2, "an unknown key");
	expect_error(f, "server.1=a\\:1:2", 1, "a character that has no place here");
	expect_error(f, "version=1\nversion=1", 2, "version twice");
	expect_error(f, "version=8000000000000000", 1, "version is not a hexadecimal number");
	expect_error(f, "version=-1", 1, "version is not a hexadecimal number");
}

TEST_F(quorum_config, says_what_is_wrong_with_groups, struct fx, up, down)
{
	expect_error(f, "server.1=a:1:2\nweight.1=4", 0, "a participant in no group");
	expect_error(f, "server.1=a:1:2\ngroup.1=1:9\nweight.9=4", 2, "a group of no such server");
	expect_error(f, "server.1=a:1:2\ngroup.1=1\nweight.9=4", 3, "a weight of no such server");
	expect_error(f, "server.1=a:1:2\ngroup.1=1\ngroup.2=1", 3, "a server in two groups");
	expect_error(f, "server.1=a:1:2\ngroup.1=1\ngroup.1=1", 3, "the same group twice");
	expect_error(f, "server.1=a:1:2\ngroup.1=1\nweight.1=-1", 3, "not a weight");
	expect_error(f, "server.1=a:1:2\ngroup.1=1\nweight.1=1\nweight.1=1", 4,
		     "the same weight twice");
	expect_error(f, "server.1=a:1:2\nserver.2=a:1:2:observer\ngroup.1=1:2", 0,
		     "an observer in a group without a weight");
	expect_error(f, "server.1=a:1:2\ngroup.x=1", 2, "not a group id");
}

TEST_F(quorum_config, has_bounds, struct fx, up, down)
{
	size_t used = 0;

	for (int i = 0; i < QUORUM_MEMBERS_MAX; i++)
		used += (size_t)snprintf(f->text + used, sizeof(f->text) - used,
					 "server.%d=a:1:2\n", QUORUM_MEMBERS_MAX - i);
	REQUIRE(EXPECT_I(parse(f, &f->a, f->text), ==, 0));
	EXPECT_U(f->a.n_voters, ==, QUORUM_MEMBERS_MAX);
	snprintf(f->text + used, sizeof(f->text) - used, "server.0=a:1:2\n");
	EXPECT_I(parse(f, &f->a, f->text), ==, -E2BIG);
	EXPECT_STR(f->error.why, "too many servers");
	EXPECT_I(parse(f, &f->a, "server.1=a:1:2|b:1:2|c:1:2|d:1:2|e:1:2|f:1:2|g:1:2|h:1:2|i:1:2"),
		 ==, -E2BIG);
	EXPECT_STR(f->error.why, "too many addresses of one server");
}

/* Everything as long as it may be, in hosts of that form. */
static int parse_largest(struct fx *f, const char *host)
{
	static char text[1 << 18];
	size_t used = 0;
	int64_t first = INT64_MAX - QUORUM_MEMBERS_MAX - 1;

	for (int i = 0; i < QUORUM_MEMBERS_MAX; i++) {
		used += (size_t)snprintf(text + used, sizeof(text) - used, "server.%" PRId64 "=",
					 first + i);
		for (int a = 0; a < QUORUM_ADDRS_MAX; a++)
			used += (size_t)snprintf(text + used, sizeof(text) - used,
						 "%s:65534:65535|", host);
		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "\ngroup.%" PRId64 "=%" PRId64 "\nweight.%" PRId64
					 "=2147483647\n",
					 first + i, first + i, first + i);
	}
	return parse(f, &f->a, text);
}

/* Printing never needs more than QUORUM_CONFIG_TEXT_MAX. */
TEST_F(quorum_config, the_largest_one_prints, struct fx, up, down)
{
	EXPECT_I(parse_largest(f, "sixteen.bytes.xx"), ==, -E2BIG);
	EXPECT_STR(f->error.why, "too many host names");
	EXPECT_I(parse_largest(f, "[1::]"), ==, 0);
	REQUIRE(EXPECT_I(parse_largest(f, "fifteen.bytes.x"), ==, 0));
	EXPECT_U(f->a.names_used, >, QUORUM_NAMES_SIZE - QUORUM_HOST_MAX);
	EXPECT_U(quorum_config_print(&f->a, f->text, sizeof(f->text)), >,
		 QUORUM_CONFIG_TEXT_MAX / 3 * 2);
	EXPECT_I(parse(f, &f->b, f->text), ==, 0);
}

TEST_F(quorum_config, equal_version_or_equal_content, struct fx, up, down)
{
	static const char *const base = "server.1=a:1:2\nserver.2=b:1:2;2181\nversion=";
	static const char *const others[] = {
	    "server.1=a:1:2\nversion=2",
	    "server.1=a:1:2\nserver.3=b:1:2;2181\nversion=2",
	    "server.1=a:1:2\nserver.2=b:1:2:observer;2181\nversion=2",
	    "server.1=a:1:2\nserver.2=b:1:2;2182\nversion=2",
	    "server.1=a:1:2\nserver.2=b:1:2\nversion=2",
	    "server.1=a:1:3\nserver.2=b:1:2;2181\nversion=2",
	    "server.1=a:3:2\nserver.2=b:1:2;2181\nversion=2",
	    "server.1=c:1:2\nserver.2=b:1:2;2181\nversion=2",
	    "server.1=a:1:2|c:1:2\nserver.2=b:1:2;2181\nversion=2",
	};

	snprintf(f->text, sizeof(f->text), "%s1", base);
	REQUIRE(EXPECT_I(parse(f, &f->a, f->text), ==, 0));
	snprintf(f->text, sizeof(f->text),
		 "server.2=B:1:2;0.0.0.0:2181\nserver.1=A:1:2\nversion=2");
	REQUIRE(EXPECT_I(parse(f, &f->b, f->text), ==, 0));
	EXPECT_TRUE(quorum_config_equal(&f->a, &f->b));
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++) {
		REQUIRE(EXPECT_I(parse(f, &f->b, others[i]), ==, 0));
		EXPECT_TRUE(!quorum_config_equal(&f->a, &f->b));
		f->b.version = f->a.version;
		EXPECT_TRUE(quorum_config_equal(&f->a, &f->b));
	}
}

TEST_F(quorum_config, equality_sees_groups_and_weights, struct fx, up, down)
{
	static const char servers[] = "server.1=a:1:2\nserver.2=b:1:2\n";
	static const char *const quorums[] = {"", "group.1=1\ngroup.2=2", "group.1=1:2",
					      "group.1=1\ngroup.3=2",
					      "group.1=1\ngroup.2=2\nweight.2=2"};

	for (size_t i = 0; i < 5; i++)
		for (size_t j = 0; j < 5; j++) {
			snprintf(f->text, sizeof(f->text), "%s%s", servers, quorums[i]);
			REQUIRE(EXPECT_I(parse(f, &f->a, f->text), ==, 0));
			snprintf(f->text, sizeof(f->text), "%s%s\nversion=1", servers, quorums[j]);
			REQUIRE(EXPECT_I(parse(f, &f->b, f->text), ==, 0));
			EXPECT_I(quorum_config_equal(&f->a, &f->b), ==, i == j);
		}
}

TEST_F(quorum_config, majority_counts_participants, struct fx, up, down)
{
	REQUIRE(EXPECT_I(parse(f, &f->a,
			       "server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\n"
			       "server.4=a:1:2\nserver.5=a:1:2:observer"),
			 ==, 0));
	EXPECT_TRUE(!IS_QUORUM(&f->a, 1, 2));
	EXPECT_TRUE(!IS_QUORUM(&f->a, 1, 2, 2, 5, 7));
	EXPECT_TRUE(IS_QUORUM(&f->a, 1, 2, 4));
	EXPECT_I(quorum_config_weight(&f->a, 4), ==, 1);
	EXPECT_I(quorum_config_weight(&f->a, 5), ==, 0);
	EXPECT_I(quorum_config_weight(&f->a, 7), ==, 0);
	EXPECT_TRUE(quorum_config_is_voter(&f->a, 4));
	EXPECT_TRUE(!quorum_config_is_voter(&f->a, 5));
	EXPECT_TRUE(quorum_config_find(&f->a, 5));
	EXPECT_TRUE(!quorum_config_find(&f->a, 7));
	REQUIRE(EXPECT_I(parse(f, &f->a, "server.7=a:1:2"), ==, 0));
	EXPECT_TRUE(!IS_QUORUM(&f->a));
	EXPECT_TRUE(IS_QUORUM(&f->a, 7));
}

TEST_F(quorum_config, hierarchical_wins_groups, struct fx, up, down)
{
	REQUIRE(EXPECT_I(parse(f, &f->a,
			       "server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\n"
			       "server.4=a:1:2\nserver.5=a:1:2\nserver.6=a:1:2\n"
			       "server.7=a:1:2\nserver.8=a:1:2\nserver.9=a:1:2\n"
			       "group.1=1:2:3\ngroup.2=4:5:6\ngroup.3=7:8:9"),
			 ==, 0));
	EXPECT_TRUE(IS_QUORUM(&f->a, 1, 2, 4, 5));
	EXPECT_TRUE(!IS_QUORUM(&f->a, 1, 2, 3, 4, 7));
	EXPECT_TRUE(!IS_QUORUM(&f->a));
	/* A group without weight is none: two are left, and both are needed. */
	REQUIRE(EXPECT_I(parse(f, &f->a,
			       "server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2\n"
			       "server.4=a:1:2\nweight.4=0\nweight.3=5\n"
			       "group.1=1\ngroup.2=2:3\ngroup.3=4"),
			 ==, 0));
	EXPECT_TRUE(IS_QUORUM(&f->a, 1, 3));
	EXPECT_TRUE(!IS_QUORUM(&f->a, 1, 2, 4));
	EXPECT_I(quorum_config_weight(&f->a, 3), ==, 5);
	EXPECT_I(quorum_config_weight(&f->a, 4), ==, 0);
	REQUIRE(EXPECT_I(parse(f, &f->a,
			       "server.1=a:1:2\nserver.4=a:1:2\nweight.4=0\n"
			       "group.1=1\ngroup.2=4"),
			 ==, 0));
	EXPECT_TRUE(IS_QUORUM(&f->a, 1));
	EXPECT_TRUE(!IS_QUORUM(&f->a, 4));
}

/* QuorumHierarchical.computeGroupWeight: an observer's weight counts, its vote does not. */
TEST_F(quorum_config, an_observer_in_a_group_makes_it_heavier, struct fx, up, down)
{
	REQUIRE(EXPECT_I(parse(f, &f->a,
			       "server.1=a:1:2\nserver.2=a:1:2:observer\nweight.2=1\n"
			       "group.1=1:2"),
			 ==, 0));
	EXPECT_I(f->a.group[0].weight, ==, 2);
	EXPECT_TRUE(!IS_QUORUM(&f->a, 1, 2));
}

TEST_F(quorum_config, acks_need_a_quorum_of_both_while_one_is_newer, struct fx, up, down)
{
	struct quorum_acks acks;

	REQUIRE(EXPECT_I(parse(f, &f->a, "server.1=a:1:2\nserver.2=a:1:2\nserver.3=a:1:2"), ==, 0));
	REQUIRE(EXPECT_I(parse(f, &f->b, "server.3=a:1:2\nserver.4=a:1:2\nversion=1"), ==, 0));
	quorum_acks_init(&acks, &f->a, &f->b);
	EXPECT_TRUE(quorum_acks_add(&acks, 1));
	EXPECT_TRUE(quorum_acks_add(&acks, 3));
	EXPECT_TRUE(!quorum_acks_add(&acks, 5));
	EXPECT_TRUE(!quorum_acks_complete(&acks));
	EXPECT_TRUE(quorum_acks_add(&acks, 4));
	EXPECT_TRUE(quorum_acks_complete(&acks));

	f->b.version = 0;
	quorum_acks_init(&acks, &f->a, &f->b);
	EXPECT_TRUE(!quorum_acks_add(&acks, 4));
	quorum_acks_add(&acks, 1);
	EXPECT_TRUE(!quorum_acks_complete(&acks));
	quorum_acks_add(&acks, 2);
	EXPECT_TRUE(quorum_acks_complete(&acks));
	quorum_acks_init(&acks, &f->a, NULL);
	EXPECT_TRUE(!quorum_acks_complete(&acks));
}

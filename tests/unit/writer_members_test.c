/* The files of the membership: what an activation leaves, and what a start reads. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/t.h"
#include "writer/members.h"

struct fx {
	char dir[64], cfg[128], path[256], text[8192];
	struct quorum_config c, back;
};

static const char three[] = "server.1=h1:1:2:participant\nserver.2=h2:1:2:participant\n"
			    "server.3=h3:1:2:observer\nversion=100000003";

static void write_file(struct fx *f, const char *path, const char *text, mode_t mode)
{
	FILE *file = fopen(path, "w");

	REQUIRE(EXPECT_TRUE(file != NULL));
	fputs(text, file);
	fclose(file);
	EXPECT_I(chmod(path, mode), ==, 0);
	(void)f;
}

/* The file beside zoo.cfg; "" if there is none. */
static const char *content(struct fx *f, const char *suffix)
{
	FILE *file;
	size_t n = 0;

	snprintf(f->path, sizeof(f->path), "%s%s", f->cfg, suffix);
	file = fopen(f->path, "r");
	if (file) {
		n = fread(f->text, 1, sizeof(f->text) - 1, file);
		fclose(file);
	}
	f->text[n] = '\0';
	return f->text;
}

static void up(struct fx *f)
{
	snprintf(f->dir, sizeof(f->dir), "/tmp/members-XXXXXX");
	REQUIRE(EXPECT_TRUE(mkdtemp(f->dir) != NULL));
	snprintf(f->cfg, sizeof(f->cfg), "%s/zoo.cfg", f->dir);
	EXPECT_I(quorum_config_parse(&f->c, three, sizeof(three) - 1, NULL), ==, 0);
}

static void down(struct fx *f)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -r %s", f->dir);
	EXPECT_I(system(command), ==, 0);
}

TEST_F(writer_members, an_activation_moves_the_servers_to_the_dynamic_file, struct fx, up, down)
{
	static const char old[] = "# mine\ntickTime=500\nserver.1=h1:1:2\n server.2 : h2:1:\\\n2\n"
				  "group.1=1:2\nweight.1=1\npeerType=observer\nclientPort=7\n"
				  "#server.9=x\ndataDir=/d";
	struct stat s;
	char expected[512];

	write_file(f, f->cfg, old, 0640);
	REQUIRE(EXPECT_I(wtr_members_store(f->cfg, &f->c, 1), ==, 0));
	EXPECT_STR(content(f, ".dynamic.100000003"),
		   "server.1=h1:1:2:participant\nserver.2=h2:1:2:participant\n"
		   "server.3=h3:1:2:observer");
	snprintf(expected, sizeof(expected),
		 "# mine\ntickTime=500\nclientPort=7\n#server.9=x\ndataDir=/d\n"
		 "dynamicConfigFile=%s.dynamic.100000003\n",
		 f->cfg);
	EXPECT_STR(content(f, ""), expected);
	EXPECT_STR(content(f, ".bak"), old);
	EXPECT_I(stat(f->cfg, &s), ==, 0);
	EXPECT_I(s.st_mode & 0777, ==, 0640);
}

TEST_F(writer_members, the_backup_is_made_once, struct fx, up, down)
{
	write_file(f, f->cfg, "server.1=h1:1:2\n", 0644);
	EXPECT_I(wtr_members_store(f->cfg, &f->c, 1), ==, 0);
	f->c.version++;
	EXPECT_I(wtr_members_store(f->cfg, &f->c, 1), ==, 0);
	EXPECT_STR(content(f, ".bak"), "server.1=h1:1:2\n");
	EXPECT_TRUE(strstr(content(f, ""), ".dynamic.100000004") != NULL);
	EXPECT_TRUE(strstr(content(f, ""), ".dynamic.100000003") == NULL);
}

TEST_F(writer_members, the_client_port_goes_when_the_servers_line_has_it, struct fx, up, down)
{
	static const char with[] = "server.1=h1:1:2:participant;0.0.0.0:7\nserver.2=h2:1:2";

	EXPECT_I(quorum_config_parse(&f->c, with, sizeof(with) - 1, NULL), ==, 0);
	write_file(f, f->cfg, "clientPort=7\nclientPortAddress=h\n", 0644);
	EXPECT_I(wtr_members_store(f->cfg, &f->c, 2), ==, 0);
	EXPECT_TRUE(strstr(content(f, ""), "clientPort=7\nclientPortAddress=h\n") != NULL);
	EXPECT_I(wtr_members_store(f->cfg, &f->c, 1), ==, 0);
	EXPECT_TRUE(strstr(content(f, ""), "clientPort") == NULL);
}

TEST_F(writer_members, a_start_reads_what_was_stored, struct fx, up, down)
{
	write_file(f, f->cfg, "server.1=h1:1:2\n", 0644);
	EXPECT_I(wtr_members_load(f->cfg, &f->back), ==, -ENOENT);
	EXPECT_I(wtr_members_load_next(f->cfg, &f->back), ==, -ENOENT);
	EXPECT_I(wtr_members_store_next(f->cfg, &f->c), ==, 0);
	EXPECT_STR(content(f, ".dynamic.next"), three);
	EXPECT_I(wtr_members_store(f->cfg, &f->c, 1), ==, 0);
	REQUIRE(EXPECT_I(wtr_members_load(f->cfg, &f->back), ==, 0));
	EXPECT_I(f->back.version, ==, 0x100000003);
	EXPECT_I(f->back.n_voters, ==, 2);
	REQUIRE(EXPECT_I(wtr_members_load_next(f->cfg, &f->back), ==, 0));
	EXPECT_I(f->back.version, ==, 0x100000003);
	EXPECT_I(wtr_members_drop_next(f->cfg), ==, 0);
	EXPECT_I(wtr_members_drop_next(f->cfg), ==, 0);
	EXPECT_I(wtr_members_load_next(f->cfg, &f->back), ==, -ENOENT);
}

TEST_F(writer_members, what_cannot_be_written_leaves_the_old, struct fx, up, down)
{
	char blocked[256];

	write_file(f, f->cfg, "server.1=h1:1:2\n", 0644);
	snprintf(blocked, sizeof(blocked), "%s.tmp", f->cfg);
	EXPECT_I(mkdir(blocked, 0755), ==, 0);
	EXPECT_I(wtr_members_store(f->cfg, &f->c, 1), ==, -EISDIR);
	EXPECT_STR(content(f, ""), "server.1=h1:1:2\n");
	EXPECT_I(wtr_members_load(f->cfg, &f->back), ==, -ENOENT);
}

TEST_F(writer_members, a_broken_file_is_no_configuration, struct fx, up, down)
{
	char line[256];

	snprintf(line, sizeof(line), "dynamicConfigFile=%s.dynamic.5\n", f->cfg);
	write_file(f, f->cfg, line, 0644);
	EXPECT_I(wtr_members_load(f->cfg, &f->back), ==, -ENODATA);
	snprintf(f->path, sizeof(f->path), "%s.dynamic.5", f->cfg);
	write_file(f, f->path, "server.1=nonsense\n", 0644);
	EXPECT_I(wtr_members_load(f->cfg, &f->back), ==, -EINVAL);
}

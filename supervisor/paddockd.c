/*
 * paddockd - the server: one program, started with zoo.cfg as ZooKeeper is
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "supervisor/conf.h"
#include "supervisor/machine.h"
#include "supervisor/supervise.h"
#include "supervisor/title.h"
#include "workers/main.h"
#include "writer/main.h"

#define VERSION "0.1.0"

enum { FILES_WANTED = 4096, ARGUMENTS_MAX = 4 };

static const char usage[] =
    "paddockd ZOO.CFG                                  serve as the file says\n"
    "paddockd PORT DATADIR [TICKTIME [MAXCLIENTCNXNS]] serve with ZooKeeper's arguments\n"
    "paddockd --check ZOO.CFG                          say what the file means, and end\n"
    "paddockd --version | --help\n"
    "\n"
    "Exit status: 0 stopped; 1 unexpected; 2 arguments or configuration; 3 data directory;\n"
    "10 log or snapshot could not be written.\n";

static void tell(const struct sup_conf_texts *texts, const char *name)
{
	if (*texts->ignored)
		LOG_W("%s: without effect: %s", name, texts->ignored);
	if (*texts->unknown)
		LOG_W("%s: unknown keys: %s", name, texts->unknown);
	if (*texts->remarks)
		LOG_W("%s: %s", name, texts->remarks);
}

/* Also for --check: who it believes to be, and among whom. */
static void print_ensemble(const struct conf *c)
{
	const char *line = c->members, *end;

	log_always(
	    LOG_INFO, "ensemble myid=%" PRId64 "%s initLimit=%" PRIu32 " syncLimit=%" PRIu32 "%s%s",
	    c->sid, c->observer ? " observer" : "", c->init_limit, c->sync_limit,
	    c->dynamic_file ? " dynamicConfigFile=" : "", c->dynamic_file ? c->dynamic_file : "");
	for (; (end = strchr(line, '\n')) != NULL; line = end + 1)
		log_always(LOG_INFO, "ensemble %.*s", (int)(end - line), line);
}

static void print_conf(const struct conf *c)
{
	log_always(LOG_INFO,
		   "paddockd " VERSION
		   " dataDir=%s dataLogDir=%s clientPort=%s:%u tickTime=%" PRIu32
		   " sessionTimeout=%" PRIu32 "..%" PRIu32 " maxClientCnxns=%" PRIu32
		   " workers=%" PRIu32 " heap=%" PRIu64 "M",
		   c->data_dir, c->data_log_dir, c->client_address ? c->client_address : "*",
		   (unsigned)c->client_port, c->tick_ms, c->session_min_ms, c->session_max_ms,
		   c->max_client_cnxns, c->workers, c->heap_max >> 20);
	if (c->members)
		print_ensemble(c);
}

static int serve(struct conf *c)
{
	const struct sup_entries entries = {writer_main, snapshotter_main, worker_main};
	uint64_t files = sup_machine_raise_files();

	print_conf(c);
	if (files < FILES_WANTED)
		LOG_W("open files are limited to %" PRIu64 ": few clients can connect", files);
	sup_title_set("supervisor", "paddockd");
	return sup_run(c, &entries);
}

static int load(struct conf *c, int n, char **args)
{
	struct sup_conf_texts texts;
	const char *name = n == 1 ? args[0] : "arguments";
	int err = n == 1 ? sup_conf_load(c, name, &texts) : sup_conf_arguments(c, n, args, &texts);

	if (err) {
		log_always(LOG_ERROR, "%s", texts.error);
		return -1;
	}
	tell(&texts, name);
	sup_conf_fit(c, "");
	return 0;
}

int main(int argc, char **argv)
{
	struct conf c;
	int first = 1, status = 0;

	log_set_role("supervisor");
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		fputs(usage, stdout);
		return 0;
	}
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		puts("paddockd " VERSION);
		return 0;
	}
	if (argc == 3 && strcmp(argv[1], "--check") == 0)
		first = 2;
	if (argc - first < 1 || argc - first > ARGUMENTS_MAX || argv[1][0] == '\0' ||
	    argv[first][0] == '-') {
		fputs(usage, stderr);
		return SUP_EXIT_CONF;
	}
	if (load(&c, argc - first, argv + first) < 0)
		return SUP_EXIT_CONF;
	if (first == 2) {
		print_conf(&c);
	} else {
		sup_title_init(argc, argv);
		status = serve(&c);
	}
	sup_conf_free(&c);
	return status;
}

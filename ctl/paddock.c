/*
 * paddock - looks at data directories and converts them, while no server runs on them
 */
#include <errno.h>
#include <string.h>

#include "ctl/ctl.h"

#define VERSION "0.1.0"

static const struct command {
	const char *name;
	int min, max;
	int (*run)(int n, char **args);
	const char *arguments, *purpose;
} commands[] = {
    {"import", 2, 3, ctl_import, "ZKDATADIR [ZKDATALOGDIR] DIR",
     "from Apache ZooKeeper's files to a new directory of Paddock's"},
    {"export", 2, 3, ctl_export, "DIR [LOGDIR] ZKDIR",
     "from Paddock's files to a new directory that Apache ZooKeeper starts on"},
    {"check", 1, 2, ctl_check, "DIR [LOGDIR]",
     "read every file, and replay the log as a start does"},
    {"log", 1, 1, ctl_log, "DIR", "one line per transaction"},
    {"snapshot", 1, 2, ctl_snapshot, "[--nodes] FILE",
     "what a snapshot holds; its sessions and nodes"},
};
enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static void usage(FILE *to)
{
	for (int i = 0; i < N_COMMANDS; i++)
		fprintf(to, "paddock %s %s\n        %s\n", commands[i].name, commands[i].arguments,
			commands[i].purpose);
	fputs(
	    "paddock --version | --help\n"
	    "\n"
	    "Directories are named as in zoo.cfg (dataDir, dataLogDir): version-2 is below them.\n"
	    "All but `snapshot` take the directory's lock, so that no server may run on it.\n"
	    "\n"
	    "Exit status: 0 done, all is good; 1 something is damaged or could not be written;\n"
	    "2 arguments; 3 a directory is missing, in use, or not empty.\n",
	    to);
}

static int run(int argc, char **argv)
{
	for (int i = 0; argc > 1 && i < N_COMMANDS; i++) {
		const struct command *c = &commands[i];

		if (strcmp(argv[1], c->name))
			continue;
		if (argc - 2 >= c->min && argc - 2 <= c->max)
			return c->run(argc - 2, argv + 2);
		return ctl_fail(CTL_USAGE, "usage: paddock %s %s", c->name, c->arguments);
	}
	usage(stderr);
	return CTL_USAGE;
}

int main(int argc, char **argv)
{
	const char *word = argc == 2 ? argv[1] : "";
	int status = CTL_OK;

	if (!strcmp(word, "--help") || !strcmp(word, "-h"))
		usage(stdout);
	else if (!strcmp(word, "--version"))
		puts("paddock " VERSION);
	else
		status = run(argc, argv);
	if (fflush(stdout) || ferror(stdout))
		return ctl_fail(CTL_FAILED, "standard output: %s", strerror(errno));
	return status;
}

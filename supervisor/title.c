#include "supervisor/title.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The one block into which the kernel put the arguments, then the environment. */
static char *block;
static size_t block_bytes;

void sup_title_init(int argc, char **argv)
{
	char *end = argv[0] + strlen(argv[0]) + 1, **copy;
	size_t n = 0;

	for (int i = 1; i < argc; i++)
		if (argv[i] == end)
			end += strlen(end) + 1;
	while (environ && environ[n])
		n++;
	copy = calloc(n + 1, sizeof(*copy));
	for (size_t i = 0; copy && i < n; i++) {
		if (environ[i] == end)
			end += strlen(end) + 1;
		copy[i] = strdup(environ[i]);
		if (!copy[i])
			return; /* no titles then; the environment is as it was */
	}
	if (!copy)
		return;
	environ = copy;
	block = argv[0];
	block_bytes = (size_t)(end - argv[0]);
}

void sup_title_set(const char *role, const char *name)
{
	prctl(PR_SET_NAME, name);
	if (!block_bytes)
		return;
	/* All zero behind the text: ps shows a block whose end was overwritten up to a zero. */
	memset(block, 0, block_bytes);
	snprintf(block, block_bytes, "paddockd: %s", role);
}

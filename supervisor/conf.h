/*
 * conf.h - from zoo.cfg, or ZooKeeper's command-line arguments, to struct conf
 *
 * Every key that Apache ZooKeeper knows is either honoured or named in one text with the reason
 * why it has no effect; keys that ZooKeeper does not know either are named in another. A key may
 * carry the prefix "zookeeper." (as the Java property does). What asks for protection that this
 * server can't give is an error: it must not be ignored.
 *
 * Several servers, in the file or in the one that dynamicConfigFile names, make an ensemble
 * (QuorumPeerConfig): then conf->members is not NULL, and dataDir/myid says who we are. Without
 * members what concerns an ensemble is among what has no effect.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "base/conf.h"

enum { SUP_CONF_TEXT = 880 };
#define SUP_HEAP_MAX ((uint64_t)120 << 30)

/* What to tell the operator; each "" if there is nothing to tell. */
struct sup_conf_texts {
	char error[SUP_CONF_TEXT];   /* zoo.cfg:12: tickTime: expected ..., got "abc" */
	char ignored[SUP_CONF_TEXT]; /* known to ZooKeeper, without effect here, and why */
	char unknown[SUP_CONF_TEXT]; /* keys that nobody knows */
	/* Values that were moved into the bounds, as ZooKeeper does, and what looks unintended. */
	char remarks[SUP_CONF_TEXT];
};

/* The whole of a file, cut at `size`: bytes, or -errno. */
typedef ssize_t sup_conf_read(const char *path, void *to, size_t size);

/*
 * Parse the text of a file called `name` (for messages and conf->file). Touches no file; `read`
 * does for dataDir/myid and dynamicConfigFile (NULL: they are not there).
 * 0; -1: texts->error says why, *c is empty.
 */
int sup_conf_parse(struct conf *c, const char *name, const char *text, size_t len,
		   sup_conf_read *read, struct sup_conf_texts *texts);
/* The same from a file. */
int sup_conf_load(struct conf *c, const char *path, struct sup_conf_texts *texts);
/* PORT DATADIR [TICKTIME [MAXCNXNS]], n = 2..4 of them. */
int sup_conf_arguments(struct conf *c, int n, char **args, struct sup_conf_texts *texts);

/* Fill in what depends on the machine: workers and heap where they are automatic. */
void sup_conf_fit(struct conf *c, const char *root);

void sup_conf_free(struct conf *c);

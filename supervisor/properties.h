/*
 * properties.h - the syntax of zoo.cfg: that of java.util.Properties, keys and values trimmed
 *
 * Lines that start with # or ! are comments. A key ends at the first unescaped =, : or blank; a \
 * at the end of a line continues it without the next one's leading blanks. \t \n \r \f and \uXXXX
 * are what they say (as UTF-8), \x is x. Other bytes are taken as they are.
 * Duplicates are kept, in order: the last one counts.
 */
#pragma once

#include <stddef.h>

enum { SUP_PROPERTIES_BYTES_MAX = 1 << 20, SUP_PROPERTIES_MAX = 4096 };

struct sup_property {
	const char *key, *value; /* never NULL */
	unsigned line;           /* on which it begins, from 1 */
};
struct sup_properties {
	struct sup_property *list;
	size_t n;
	char *text; /* what keys and values point into */
};

/*
 * 0; -E2BIG: longer than SUP_PROPERTIES_BYTES_MAX, or more than SUP_PROPERTIES_MAX lines of them;
 * -EINVAL: a broken \uXXXX or a zero byte, *line says where; -ENOMEM. On error there is nothing to
 * free.
 */
int sup_properties_parse(struct sup_properties *p, const char *text, size_t len, unsigned *line);
void sup_properties_free(struct sup_properties *p);

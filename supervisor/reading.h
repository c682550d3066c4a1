/*
 * reading.h - the state of reading a configuration, for conf.c and ensemble.c alone
 */
#pragma once

#include <stdbool.h>

#include "supervisor/conf.h"
#include "supervisor/keys.h"
#include "supervisor/properties.h"

struct sup_reading {
	struct conf *c;
	struct sup_conf_texts *texts;
	sup_conf_read *read; /* NULL: there are no other files */
	const char *name;    /* of the file, for messages; NULL: command-line arguments */
	const struct sup_property *role; /* peerType, or NULL */
	bool observer;                   /* it says observer */
	bool failed;
};

/* Append to one of the texts; what does not fit is cut. */
void sup_say(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A thing to be told that is no error. */
void sup_remark(struct sup_reading *r, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Only the first failure counts. p: where, NULL for the file as a whole. */
void sup_fail(struct sup_reading *r, const struct sup_property *p, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void sup_fail_value(struct sup_reading *r, const struct sup_property *p, const char *expected);
/* Of sup_properties_parse(), or of reading the file. */
void sup_fail_syntax(struct sup_reading *r, int err, unsigned line);

/* A whole number, decimal or 0x.., nothing else. */
bool sup_parse_number(const char *text, int64_t *number);

/* The entry for a property, or NULL. */
const struct sup_key *sup_key_of(const struct sup_property *p);
/* Is there a later line with the same key? Then this one does not count. */
bool sup_is_overridden(const struct sup_properties *all, size_t i);

/*
 * Who the members are, which of them we are, and whether that is an ensemble: c->members, sid,
 * observer, server_id, and the client port that the member list gives us.
 */
void sup_ensemble_read(struct sup_reading *r, const struct sup_properties *all);

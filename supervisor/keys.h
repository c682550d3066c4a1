/*
 * keys.h - the table of all keys of zoo.cfg
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum sup_key_type {
	SUP_KEY_TEXT,
	SUP_KEY_NUMBER,  /* plain decimal, or 0x.. */
	SUP_KEY_BOOL,    /* true or false in any case, all else is an error */
	SUP_KEY_TRUE,    /* "true" in any case is true, all else false */
	SUP_KEY_YES,     /* "yes" is true */
	SUP_KEY_NOT_NO,  /* all but "no" is true */
	SUP_KEY_SIZE,    /* bytes, with K, M, G or T */
	SUP_KEY_WORKERS, /* auto, or a number */
	SUP_KEY_ROLE,    /* participant or observer in any case: for ensemble.c */
	SUP_KEY_MEMBER,  /* server.N and the like: for ensemble.c; never with a prefix */
	SUP_KEY_REFUSED, /* asks for what can't be given, unless the value is `off` */
	SUP_KEY_IGNORED, /* has no effect here */
};

/* Why a key has no effect. */
enum sup_reason {
	SUP_HAS_EFFECT, /* none: it has */
	SUP_TLS,
	SUP_SASL,
	SUP_AUTH_PLUGIN,
	SUP_ADMIN,
	SUP_METRICS,
	SUP_AUDIT,
	SUP_THROTTLE,
	SUP_EAGER_ACL,
	SUP_QUORUM,
	SUP_OBSERVER_DISK,
	SUP_KEEPALIVE,
	SUP_TUNING,
	SUP_JAVA,
	SUP_FORMAT,
	SUP_REASONS,
};

struct sup_key {
	const char *name; /* the key; one that ends in '.' stands for all that begin so */
	enum sup_key_type type;
	uint16_t offset, size;    /* of the field in struct conf */
	int64_t min, max;         /* min -1: -1 means "as if not given" */
	uint64_t scale;           /* number times scale goes into the field */
	const char *what;         /* "a number of milliseconds" */
	enum sup_reason alone;    /* standalone; a REFUSED key that has one is not refused there */
	enum sup_reason ensemble; /* as a member of an ensemble */
	const char *off;          /* this value asks for nothing; NULL: every value is told */
};

/* The entry for a key (without "zookeeper."), or NULL. */
const struct sup_key *sup_key_find(const char *name);
/* Why keys with this reason have no effect, as the head of a list of them. */
const char *sup_reason_text(enum sup_reason reason);

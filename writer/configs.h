/*
 * configs.h - the configurations that ZAB and the elector point at
 *
 * A configuration comes with a packet, a request or a file, and is referred to by pointer until
 * something newer takes its place. Its owner frees what nobody refers to any more.
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

#include "quorum/config.h"

struct wtr_config {
	struct wtr_config *next;
	struct quorum_config config;
};

struct wtr_configs {
	struct wtr_config *list;
};

/* Undefined content, until wtr_configs_keep() without it. NULL: no memory. */
struct quorum_config *wtr_configs_new(struct wtr_configs *c);

/* Free all but the n that are named; names may be NULL. */
void wtr_configs_keep(struct wtr_configs *c, const struct quorum_config *const *used, size_t n);

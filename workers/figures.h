/*
 * figures.h - what can be said at once: sums over the seats and the board, as four-letter words
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "workers/text.h"

struct worker;

/* What ZooKeeper's level is, for tools that parse it; and who we are. */
#define WRK_VERSION "3.9.4-paddock"

/* Sum of one counter (offset in struct shm_worker_stats) over all seats. */
int64_t wrk_sum(const struct worker *w, size_t offset);

void wrk_put_version(struct worker *w, struct wrk_text *t);
void wrk_put_server(struct worker *w, struct wrk_text *t); /* srvr without its first line */
void wrk_put_not_serving(struct worker *w, struct wrk_text *t);
void wrk_put_srvr(struct worker *w, struct wrk_text *t);
void wrk_put_wchs(struct worker *w, struct wrk_text *t);
void wrk_put_conf(struct worker *w, struct wrk_text *t);
void wrk_put_dirs(struct worker *w, struct wrk_text *t);
void wrk_put_hash(struct worker *w, struct wrk_text *t);
void wrk_put_envi(struct worker *w, struct wrk_text *t);
void wrk_put_mntr(struct worker *w, struct wrk_text *t);

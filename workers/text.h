/*
 * text.h - a text that grows while it is written
 */
#pragma once

#include <stddef.h>

struct wrk_text {
	char *at; /* NULL: empty, or out of memory: then nothing more is taken */
	size_t len, cap;
};

void wrk_text_put(struct wrk_text *t, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void wrk_text_bytes(struct wrk_text *t, const void *bytes, size_t len);
void wrk_text_fini(struct wrk_text *t);

#include "workers/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *room(struct wrk_text *t, size_t n)
{
	char *at;

	if (t->cap - t->len > n)
		return t->at + t->len;
	at = realloc(t->at, 2 * t->cap + n + 256);
	if (!at)
		return NULL;
	t->at = at;
	t->cap = 2 * t->cap + n + 256;
	return t->at + t->len;
}

void wrk_text_put(struct wrk_text *t, const char *format, ...)
{
	va_list args, again;
	char *at;
	int n;

	va_start(args, format);
	va_copy(again, args);
	n = vsnprintf(NULL, 0, format, args);
	at = n < 0 ? NULL : room(t, (size_t)n);
	if (at) {
		vsnprintf(at, (size_t)n + 1, format, again);
		t->len += (size_t)n;
	}
	va_end(again);
	va_end(args);
}

void wrk_text_bytes(struct wrk_text *t, const void *bytes, size_t len)
{
	char *at = room(t, len);

	if (!at)
		return;
	memcpy(at, bytes, len);
	t->len += len;
}

void wrk_text_fini(struct wrk_text *t)
{
	free(t->at);
	*t = (struct wrk_text){0};
}

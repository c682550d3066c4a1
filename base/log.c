#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"

enum { MS_PER_LINE = 1000 / LOG_PER_SECOND };

enum log_level log_level_max = LOG_INFO;

static char log_role[32] = "paddock";
/* When the bucket will be full again, monotonic ms; a line is free while that is near enough. */
static _Atomic uint64_t full_at_ms;
static _Atomic uint64_t suppressed;

void log_set_role(const char *role)
{
	snprintf(log_role, sizeof(log_role), "%s", role);
}

static int format_head(char *line, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	return snprintf(line, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %c %s pid=%d ",
			tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min,
			tm.tm_sec, now.tv_nsec / 1000000, "EWID"[level], log_role, (int)getpid());
}

static void write_line(enum log_level level, const char *format, va_list args)
{
	char line[LOG_LINE_MAX];
	size_t room = sizeof(line) - 1; /* the newline's byte */
	int saved = errno;
	size_t len = (size_t)format_head(line, room, level);
	int body = vsnprintf(line + len, room - len, format, args);

	if (body > 0)
		len += (size_t)body < room - len ? (size_t)body : room - len - 1;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	while (write(STDERR_FILENO, line, len) < 0 && errno == EINTR)
		;
	errno = saved;
}

static bool within_rate(void)
{
	uint64_t now = clock_mono_ms();
	uint64_t full = atomic_load_explicit(&full_at_ms, memory_order_relaxed);
	uint64_t next;

	/* relaxed: the value guards nothing but itself. */
	do {
		next = (full > now ? full : now) + MS_PER_LINE;
		if (next - now > (uint64_t)LOG_BURST * MS_PER_LINE)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
	    &full_at_ms, &full, next, memory_order_relaxed, memory_order_relaxed));
	return true;
}

void log_line(enum log_level level, const char *format, ...)
{
	va_list args;
	uint64_t missed;

	if (level > log_level_max)
		return;
	if (!within_rate()) {
		atomic_fetch_add_explicit(&suppressed, 1, memory_order_relaxed);
		return;
	}
	missed = atomic_exchange_explicit(&suppressed, 0, memory_order_relaxed);
	if (missed)
		log_always(LOG_WARNING, "suppressed %llu lines", (unsigned long long)missed);
	va_start(args, format);
	write_line(level, format, args);
	va_end(args);
}

void log_always(enum log_level level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	write_line(level, format, args);
	va_end(args);
}

static size_t escaped_len(unsigned char c)
{
	return c >= 0x20 && c < 0x7f && c != '\\' ? 1 : 4;
}

const char *log_escape(char *dst, size_t size, const void *src, size_t len)
{
	const unsigned char *in = src;
	size_t whole = 0, out = 0, room;

	CHECK(size >= 4);
	for (size_t i = 0; i < len && whole < size; i++)
		whole += escaped_len(in[i]);
	room = whole < size ? size : size - 2; /* the two dots */
	for (size_t i = 0; i < len && out + escaped_len(in[i]) < room; i++) {
		if (escaped_len(in[i]) == 1)
			dst[out] = (char)in[i];
		else
			snprintf(dst + out, size - out, "\\x%02x", in[i]);
		out += escaped_len(in[i]);
	}
	strcpy(dst + out, whole < size ? "" : "..");
	return dst;
}

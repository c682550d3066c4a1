#include <inttypes.h>
#include <stdarg.h>
#include <time.h>

#include "ctl/ctl.h"

static void say(const char *format, va_list args)
{
	fflush(stdout);
	fputs("paddock: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

int ctl_fail(int status, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	return status;
}

void ctl_warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

void ctl_put_escaped(const void *bytes, size_t n)
{
	const uint8_t *from = bytes;

	for (size_t i = 0; i < n; i++) {
		if (from[i] > ' ' && from[i] < 0x7f && from[i] != '\\')
			putchar(from[i]);
		else
			printf("\\x%02x", (unsigned)from[i]);
	}
}

void ctl_put_time(int64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	char text[40];
	struct tm tm;

	if (ms < 0 || !gmtime_r(&seconds, &tm) || tm.tm_year > 9999 - 1900) {
		printf("%" PRId64, ms);
		return;
	}
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	printf("%s.%03dZ", text, (int)(ms % 1000));
}

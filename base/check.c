#include "base/check.h"

#include <execinfo.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

enum { FRAMES_MAX = 32 };

/* The first backtrace loads a library and allocates: not when the heap may be broken. */
__attribute__((constructor)) static void load_unwinder(void)
{
	void *frame;

	backtrace(&frame, 1);
}

_Noreturn void check_failed(const char *expr, const char *file, int line)
{
	void *frames[FRAMES_MAX];

	log_always(LOG_ERROR, "CHECK(%s) failed at %s:%d", expr, file, line);
	backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
	abort();
}

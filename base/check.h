/*
 * check.h - assertions that stay on
 *
 * CHECK(cond) is for what can only be wrong if we are: it prints the expression, the place and a
 * backtrace to stderr and aborts, in production too. DCHECK(cond) is for the costly ones: only
 * builds with DEBUG (the sanitizers, the fuzzers) evaluate it.
 */
#pragma once

#define CHECK(cond)                                                                                \
	(__builtin_expect(!!(cond), 1) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))

#ifdef DEBUG
#define DCHECK(cond) CHECK(cond)
#else
#define DCHECK(cond) ((void)sizeof(!(cond)))
#endif

/* Say what failed, where, and how we came there; abort. Allocates nothing. */
_Noreturn void check_failed(const char *expr, const char *file, int line);

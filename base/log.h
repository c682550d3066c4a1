/*
 * log.h - lines for the operator
 *
 *	2026-11-22T02:15:01.123Z W writer pid=4711 seg=41 append: No space left on device
 *
 * One line, one write(2) to stderr, so that lines of several processes and threads do not mix.
 * Levels: E, somebody must act; W, a fault that was survived; I, what changed; D, everything else.
 * All lines of a process but those of log_always() share one rate limit (LOG_BURST at once, then
 * LOG_PER_SECOND); the next line that passes is preceded by "suppressed n lines".
 *
 * Trust: bytes from clients, peers or files go through log_escape() first. As a second net every
 * control character of a finished line is replaced by '?', so that nobody can forge a line.
 * Thread-safe, safe after fork(), allocates nothing, leaves errno alone.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { LOG_BURST = 200, LOG_PER_SECOND = 20, LOG_LINE_MAX = 1024 };
enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* The bound up to which lines are written; LOG_INFO at the start. */
extern enum log_level log_level_max;

#define LOG_E(...) log_line(LOG_ERROR, __VA_ARGS__)
#define LOG_W(...) log_line(LOG_WARNING, __VA_ARGS__)
#define LOG_I(...) log_line(LOG_INFO, __VA_ARGS__)
#define LOG_D(...) ((void)(log_level_max >= LOG_DEBUG && (log_line(LOG_DEBUG, __VA_ARGS__), 1)))

/* Who speaks: "supervisor", "writer", "worker 3". Copied; at most 31 bytes. Call before threads. */
void log_set_role(const char *role);

/* Write one line, unless its level is off or the rate limit is used up. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same outside of level and rate limit: for the last words of a process. */
void log_always(enum log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * Make untrusted bytes legible: printable ASCII stays, all else (and the backslash) becomes \xNN;
 * what does not fit ends in "..". Returns dst, always terminated; size at least 4.
 */
const char *log_escape(char *dst, size_t size, const void *src, size_t len);

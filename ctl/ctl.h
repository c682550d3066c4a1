/*
 * ctl.h - the commands of `paddock`, and what they share
 *
 * One process, one thread, one command. Answers go to stdout, what ails to stderr, one line each.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
	CTL_OK = 0,
	CTL_FAILED = 1, /* something is damaged, or could not be written */
	CTL_USAGE = 2,
	CTL_DIR = 3, /* a directory that is not there, in use, or not empty */
};

/* Each gets what follows its name, n of them within the bounds of the table in paddock.c. */
int ctl_import(int n, char **args);
int ctl_export(int n, char **args);
int ctl_log(int n, char **args);
int ctl_snapshot(int n, char **args);
int ctl_check(int n, char **args);

/* "paddock: ..." on stderr; returns status. */
int ctl_fail(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));
void ctl_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Bytes on stdout: printable ASCII as it is, but for blanks and backslashes; else \xNN. */
void ctl_put_escaped(const void *bytes, size_t n);

/* "2026-11-22T02:15:01.123Z" on stdout; what no calendar has as a number. */
void ctl_put_time(int64_t ms);

/* --- directories (dirs.c) -------------------------------------------------------------------- */

enum { CTL_PATH_MAX = 4096 };

/* dataDir and dataLogDir, their version-2 and the locks; lock_fd -1: none. */
struct ctl_dirs {
	char snap[CTL_PATH_MAX], log[CTL_PATH_MAX];
	int lock_fd[2];
};

/* Both must be there; log NULL: as data. 0 or a status, told. */
int ctl_dirs_find(struct ctl_dirs *d, const char *data, const char *log);

/*
 * Without a log the state would be as old as the snapshot. So there must be a file that begins
 * with `prefix` in the log directory, unless it was named (`named`). 0 or a status, told.
 */
int ctl_dirs_need_log(const struct ctl_dirs *d, const char *prefix, bool named);

/* Keep servers and other tools away until the process ends. 0 or a status, told. */
int ctl_dirs_lock(struct ctl_dirs *d, const char *data, const char *log);

/* Make a directory with its version-2, or find it empty, and lock it. 0 or a status, told. */
int ctl_dirs_make(struct ctl_dirs *d, const char *data);

/* What a server has promised its quorum, and its number there, as far as the files are there:
 * version-2/acceptedEpoch, version-2/currentEpoch, myid. 0 or a status, told. */
int ctl_copy_promises(const char *from, const char *to);

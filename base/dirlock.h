/*
 * dirlock.h - a data directory belongs to one server, or one tool, at a time
 *
 * <dir>/paddock.lock carries an OFD lock and, for people, the holder's pid. The lock lasts as long
 * as any process has the descriptor: a writer that outlived its supervisor still holds it.
 */
#pragma once

/*
 * Lock an existing directory. What is left of a server that was killed is waited for, a living
 * holder is not; waiting(dir, pid) is told before, unless NULL. The descriptor; -EBUSY: a living
 * process has it, *holder is the pid that it wrote; another -errno.
 */
int dirlock_take(const char *dir, void (*waiting)(const char *dir, long holder), long *holder);

/* Are these one directory? -errno. */
int dirlock_same(const char *a, const char *b);

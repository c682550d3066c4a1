/*
 * file.h - what every file of storage/ needs: whole reads and writes, names by zxid
 *
 * Within storage/ only. A data file is called <prefix><zxid> with the zxid in 16 hex digits
 * (STO_NAME_EXACT) or, ZooKeeper's own, in as few as it takes; a suffix may follow.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "storage/fs.h"

#define STO_LOG_PREFIX  "paddock.log."
#define STO_SNAP_PREFIX "paddock.snapshot."
#define STO_TMP_SUFFIX  ".tmp"

enum { STO_NAME_MAX = 80, STO_WHY_MAX = 256 };

/* Zxids of the files of one kind, ascending. */
struct sto_names {
	int64_t *zxid;
	unsigned n, cap;
};

/* Write all of it. 0 or -errno; a device that takes nothing is -EIO. */
int sto_write(const struct sto_fs *fs, int fd, const void *buf, size_t n, uint64_t at);

/* Read up to the end of the file. The bytes read or -errno. */
ssize_t sto_read(const struct sto_fs *fs, int fd, void *buf, size_t n, uint64_t at);

/* A directory, to be closed with fs->close. */
int sto_dir_open(const struct sto_fs *fs, const char *path);

void sto_name(char name[STO_NAME_MAX], const char *prefix, int64_t zxid);

/* Does `name` consist of prefix, 1..16 hex digits of a zxid, suffix? */
bool sto_name_parse(const char *name, const char *prefix, const char *suffix, int64_t *zxid);

/* Files of one kind: our own with all 16 digits and no suffix. Free with sto_names_free(). */
int sto_names_list(const struct sto_fs *fs, int dir, const char *prefix, struct sto_names *out);
int sto_names_add(struct sto_names *names, int64_t zxid);
void sto_names_sort(struct sto_names *names);
void sto_names_free(struct sto_names *names);

/* Forget the message of the caller and say this instead. */
void sto_why(char *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

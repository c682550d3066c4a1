/*
 * snapfile.h - the bytes of a snapshot, shared by its writer (snap.c) and its reader (snapload.c)
 *
 * Within storage/ only. README.md draws the layout: head, blocks, footer. A block holds records,
 * each of which begins with a tag; what a record leaves out is as in the record before it in the
 * same block, so that blocks stay independent. Numbers of variable length are LEB128, signed ones
 * zigzag.
 */
#pragma once

#include <stdint.h>

#include "storage/snap.h"

#define STO_SNAP_MAGIC  0x0a50414e53434450 /* "PDCSNAP\n" */
#define STO_SNAP_FOOTER 0x0a444e4553434450 /* "PDCSEND\n" */

enum {
	STO_SNAP_VERSION = 1,
	STO_SNAP_HEAD_BYTES = 64,
	STO_SNAP_BLOCK_HEAD_BYTES = 48,
	STO_SNAP_FOOTER_BYTES = 88,
	STO_SNAP_BLOCK_MAGIC = 0x4b4c4253, /* "SBLK" */
	STO_SNAP_BLOCK_LZ4 = 1,
	STO_SNAP_BLOCK_RAW = 256 << 10, /* a block is written once it has so much */
};

/* The tag: two bits of kind, and for a node what differs from the usual. */
enum {
	STO_SNAP_NODE = 0,
	STO_SNAP_SESSION = 1,
	STO_SNAP_ACL = 2,
	STO_SNAP_KIND = 3,
	STO_SNAP_NULL = 4,      /* data is null */
	STO_SNAP_OWNED = 8,     /* 8 bytes of owner follow */
	STO_SNAP_VERSIONS = 16, /* version and aversion follow: not both 0 */
	STO_SNAP_MODIFIED = 32, /* mzxid and mtime follow: they are not czxid and ctime */
	STO_SNAP_CHILDREN = 64, /* pzxid and cversion follow: they are not czxid and 0 */
	STO_SNAP_NEW_ACL = 128, /* the ACL's number follows: it is not the node's before */
};

/* Check the snapshot of `zxid` in fd, to the last byte and from the disk. As sto_snap_load(). */
int sto_snap_check(const struct sto_fs *fs, int fd, int64_t zxid, struct sto_snap_head *head,
		   char *why);

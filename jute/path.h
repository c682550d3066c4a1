/*
 * path.h - names of znodes, judged as ZooKeeper's Java server judges them
 *
 * Java decodes a path from UTF-8 to UTF-16 and looks at the units; what is not UTF-8 becomes U+FFFD
 * on the way. Here the same is decided on the bytes. Pure, allocates nothing.
 */
#pragma once

#include "jute/jute.h"

enum { ZK_SEQUENCE_MAX = 11 }; /* characters of a sequence suffix: "%010d" of an int */

/*
 * May a znode have this path (PathUtils.validatePath)? No: null, empty, no leading slash, a
 * trailing one, "//", a component "." or "..", U+0000-001F, U+007F-009F, U+D800-F8FF (hence all
 * above the BMP), U+FFF0-FFFF (hence whatever is not UTF-8). The length has no limit.
 */
bool zk_path_is_valid(struct jute_buf path);

/* Has it a NUL? (create, delete and exists refuse such paths before they look further.) */
static inline bool zk_path_has_nul(struct jute_buf path)
{
	return path.len > 0 && memchr(path.data, 0, (size_t)path.len);
}

/*
 * Cut at the last slash: parent is what is before it ("/" for the root), name what is behind.
 * False: there is no slash. Either may be NULL. The path need not be valid.
 */
bool zk_path_split(struct jute_buf path, struct jute_buf *parent, struct jute_buf *name);

/* The suffix of a sequential node: the parent's internal cversion, 10 digits or more. Its length.
 */
size_t zk_path_sequence(char dst[ZK_SEQUENCE_MAX + 1], int32_t cversion);

/*
 * What a Java server makes of text: `in` decoded as UTF-8 with U+FFFD for each malformed piece, and
 * written as Java's jute does, one UTF-16 unit at a time (above the BMP: two surrogates of three
 * bytes each). 3 bytes per byte of input are always enough; SIZE_MAX: `size` was too small.
 */
size_t zk_text_echo(uint8_t *dst, size_t size, struct jute_buf in);

/* The same, but written as UTF-8, as much as fits into size >= 4 bytes; *in is moved behind it. */
size_t zk_text_repair_some(uint8_t *dst, size_t size, struct jute_buf *in);

/* Is text the same after zk_text_echo()? Then it may be copied. ASCII is. */
bool zk_text_is_plain(struct jute_buf in);

/* Put a ustring as a Java server would that had read `in`. null stays null. */
void zk_put_echo(struct jute_out *out, struct jute_buf in);

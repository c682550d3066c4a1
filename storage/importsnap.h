/*
 * importsnap.h - one snapshot file of ZooKeeper, in memory
 *
 * Within storage/ only. The layout is that of FileSnap, SerializeUtils and DataTree: "ZKSN",
 * version 2, sessions, ACLs, nodes up to the path "/", then an Adler32 of all before it, the
 * digest, another Adler32, from 3.9 on the last zxid and a third one.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "storage/snap.h"

/*
 * Parse all of it: with a sink, hand it over; without, only check. Digest and counts are put into
 * *head, of which the zxid is given. 0; -EBADMSG: *what says why; -ENOMEM; what the sink said,
 * then *sunk is set.
 */
int sto_zk_snap_parse(const uint8_t *bytes, size_t n, const struct sto_sink *sink,
		      struct sto_snap_head *head, const char **what, int *sunk);

/* Unpack a .gz. *out is to be freed. 0; -EBADMSG; -ENOMEM. */
int sto_gunzip(const uint8_t *bytes, size_t n, uint8_t **out, size_t *out_n);

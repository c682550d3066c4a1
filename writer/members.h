/*
 * members.h - the files in which a member keeps its configuration, as Apache ZooKeeper's do
 *
 *	<cfg>.dynamic.<hex>	the committed configuration of that version, without a version line
 *	<cfg>.dynamic.next	one that was proposed and is not committed yet, with its version
 *	<cfg>			zoo.cfg: instead of server., group., weight. and peerType lines it
 *has dynamicConfigFile=<the first of these>; clientPort goes, too, when the server line has the
 *client's address <cfg>.bak		zoo.cfg as it was before that was done the first time
 *
 * (QuorumPeer.setQuorumVerifier, setLastSeenQuorumVerifier, QuorumPeerConfig.editStaticConfig.)
 * Other lines of zoo.cfg stay as they are, comments too; so do its mode and owner. Each file is
 * written beside its place, synced and renamed: a crash leaves the old one or the new one.
 *
 * Runs in: writer, deciding thread; a change of the membership is rare, and takes some syncs.
 * Trust: the files may hold anything; what is no configuration is -EINVAL.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "quorum/config.h"

/*
 * The configuration that zoo.cfg leads to now, which may be newer than what the process was started
 * with. 0; -ENOENT: zoo.cfg names no dynamic file; else -errno.
 */
int wtr_members_load(const char *cfg, struct quorum_config *c);

/* What was proposed last. 0; -ENOENT: nothing; else -errno. */
int wtr_members_load_next(const char *cfg, struct quorum_config *c);

/* 0 or -errno; what is named is durable at 0. store: sid's line says whether clientPort goes. */
int wtr_members_store(const char *cfg, const struct quorum_config *c, int64_t sid);
int wtr_members_store_next(const char *cfg, const struct quorum_config *c);
int wtr_members_drop_next(const char *cfg);

/*
 * config.h - the membership of an ensemble: who they are, where they listen, who votes, what is
 * a quorum
 *
 * Text, as in zoo.cfg, in the dynamic file, in the znode /zookeeper/config, and in every
 * notification and NEWLEADER:
 *
 *	server.<sid>=<addr>[|<addr>...][;[[host:]clientPort][;[host:]securePort]]
 *	<addr> = host:quorumPort:electionPort[:participant|:observer]
 *	group.<gid>=<sid>:<sid>:...	any group. or weight. line makes the quorum hierarchical
 *	weight.<sid>=<n>		1 when it is missing
 *	version=<hex>			0 when it is missing
 *
 * Printed in the form of Apache's servers (QuorumServer.toString, QuorumMaj.toString,
 * QuorumHierarchical.toString): role always, client address only if it was there, IPv6 unabridged
 * and in brackets, addresses of one server sorted by host, members and groups by number, version
 * last and without a line end. The secure port is kept and never printed: no release of Apache's
 * up to 3.9 reads it.
 *
 * Majority: more than half of the participants. Hierarchical: a group is won by more than half of
 * its weight, a quorum is more than half of the groups whose weight is not 0. While a newer
 * configuration than the committed one has been seen, a set counts only if it is a quorum of both
 * (struct quorum_acks).
 *
 * Narrower than Apache's servers, each is an error here: ids below 0 or the one that anonymous
 * observers send; the same key twice; backslash escapes; a weight or group of no member. Compared
 * with 3.8.0 on 3,000 random texts: no other difference. What only a start refuses (a single
 * participant with observers, one's own id missing) is the caller's to check.
 *
 * Pure; memory is the caller's, and bounded: 255 members, QUORUM_NAMES_SIZE bytes of host names.
 * A configuration is plain data without pointers: assignment copies it. Trust: text may be
 * anything.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	QUORUM_MEMBERS_MAX = 255,
	QUORUM_ADDRS_MAX = 8,              /* of one member */
	QUORUM_HOST_MAX = 255,             /* bytes of one host name */
	QUORUM_NAMES_SIZE = 32 * 1024,     /* bytes of all host names */
	QUORUM_CONFIG_TEXT_MAX = 128 << 10 /* no configuration prints longer, with its NUL */
};

/* Java's Long.MAX_VALUE: what an observer without an id says in place of one. */
#define QUORUM_SID_ANONYMOUS INT64_MAX

enum quorum_role { QUORUM_PARTICIPANT, QUORUM_OBSERVER };

/* host: for quorum_config_host(); 0 is none. */
struct quorum_endpoint {
	uint16_t host, port;
};

struct quorum_addr {
	uint16_t host, quorum_port, election_port;
};

struct quorum_member {
	int64_t sid;
	enum quorum_role role;
	bool has_weight; /* it was given, or the member votes in a hierarchical quorum */
	uint8_t
	    n_addrs;   /* >= 1; more than one only with multiAddress.enabled: the caller's check */
	int16_t group; /* index in group[]; -1: none */
	int32_t weight;
	struct quorum_addr addr[QUORUM_ADDRS_MAX];
	struct quorum_endpoint client, secure;
};

struct quorum_group {
	int64_t gid, weight;
};

struct quorum_config {
	int64_t version;
	bool hierarchical;
	uint16_t n_members, n_voters, n_groups;
	struct quorum_member member[QUORUM_MEMBERS_MAX]; /* ascending by sid */
	struct quorum_group group[QUORUM_MEMBERS_MAX];   /* ascending by gid */
	uint32_t names_used;
	char names[QUORUM_NAMES_SIZE]; /* host names, each ended by NUL; begins with an empty one */
};

/* A set of members, by index in member[]. */
struct quorum_set {
	uint64_t bits[(QUORUM_MEMBERS_MAX + 63) / 64];
};

struct quorum_config_error {
	uint32_t line;   /* from 1; 0: the whole */
	const char *why; /* static */
};

/*
 * 0; -EINVAL: not a configuration, and `error` (may be NULL) says where and why; -E2BIG: beyond
 * the bounds above, likewise. On error *c is undefined. At least one participant is needed.
 */
int quorum_config_parse(struct quorum_config *c, const void *text, size_t len,
			struct quorum_config_error *error);

/* The length of the text, ended by NUL; size >= QUORUM_CONFIG_TEXT_MAX is always enough. */
size_t quorum_config_print(const struct quorum_config *c, char *to, size_t size);

/*
 * The same configuration: equal versions, or equal members, roles, addresses, groups and weights
 * (QuorumMaj.equals). Hosts are compared as names, not as what they resolve to.
 */
bool quorum_config_equal(const struct quorum_config *a, const struct quorum_config *b);

/* NULL: no such member. */
const struct quorum_member *quorum_config_find(const struct quorum_config *c, int64_t sid);
const char *quorum_config_host(const struct quorum_config *c, uint16_t host);
bool quorum_config_is_voter(const struct quorum_config *c, int64_t sid);

/* Of a voter, as far as votes go: 0 means never elected. 1 in a majority quorum; strangers 0. */
int32_t quorum_config_weight(const struct quorum_config *c, int64_t sid);

/* Add a voter to the set. False, and nothing done, when sid does not vote here. */
bool quorum_config_add(const struct quorum_config *c, struct quorum_set *set, int64_t sid);
bool quorum_config_has_quorum(const struct quorum_config *c, const struct quorum_set *set);

/*
 * Who agreed, in every configuration that must: the committed one, and the last seen one as long
 * as it is newer. The configurations must outlive it, unchanged.
 */
struct quorum_acks {
	const struct quorum_config *config[2]; /* [1]: NULL when the committed one is alone */
	struct quorum_set set[2];
};

/* last_seen: NULL for none. */
void quorum_acks_init(struct quorum_acks *acks, const struct quorum_config *committed,
		      const struct quorum_config *last_seen);

/* False: sid votes in none of them. */
bool quorum_acks_add(struct quorum_acks *acks, int64_t sid);
bool quorum_acks_complete(const struct quorum_acks *acks);

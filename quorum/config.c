#include "quorum/config.h"

#include <string.h>
#include <strings.h>

#include "base/check.h"

/* The place of a sid in member[], or where it would be. */
static uint16_t place_of(const struct quorum_config *c, int64_t sid)
{
	uint16_t low = 0, high = c->n_members;

	while (low < high) {
		uint16_t middle = (uint16_t)((low + high) / 2);

		if (c->member[middle].sid < sid)
			low = (uint16_t)(middle + 1);
		else
			high = middle;
	}
	return low;
}

const struct quorum_member *quorum_config_find(const struct quorum_config *c, int64_t sid)
{
	uint16_t at = place_of(c, sid);

	return at < c->n_members && c->member[at].sid == sid ? &c->member[at] : NULL;
}

const char *quorum_config_host(const struct quorum_config *c, uint16_t host)
{
	CHECK(host < c->names_used);
	return c->names + host;
}

bool quorum_config_is_voter(const struct quorum_config *c, int64_t sid)
{
	const struct quorum_member *m = quorum_config_find(c, sid);

	return m && m->role == QUORUM_PARTICIPANT;
}

int32_t quorum_config_weight(const struct quorum_config *c, int64_t sid)
{
	const struct quorum_member *m = quorum_config_find(c, sid);

	return m && m->role == QUORUM_PARTICIPANT ? m->weight : 0;
}

static bool same_host(const struct quorum_config *a, uint16_t host_a, const struct quorum_config *b,
		      uint16_t host_b)
{
	return !strcasecmp(quorum_config_host(a, host_a), quorum_config_host(b, host_b));
}

static bool same_member(const struct quorum_config *a, const struct quorum_member *ma,
			const struct quorum_config *b, const struct quorum_member *mb)
{
	if (ma->sid != mb->sid || ma->role != mb->role || ma->n_addrs != mb->n_addrs ||
	    ma->has_weight != mb->has_weight || ma->weight != mb->weight ||
	    ma->group != mb->group || ma->client.port != mb->client.port ||
	    !same_host(a, ma->client.host, b, mb->client.host))
		return false;
	for (uint8_t i = 0; i < ma->n_addrs; i++)
		if (ma->addr[i].quorum_port != mb->addr[i].quorum_port ||
		    ma->addr[i].election_port != mb->addr[i].election_port ||
		    !same_host(a, ma->addr[i].host, b, mb->addr[i].host))
			return false;
	return true;
}

bool quorum_config_equal(const struct quorum_config *a, const struct quorum_config *b)
{
	if (a->hierarchical != b->hierarchical)
		return false;
	if (a->version == b->version)
		return true;
	if (a->n_members != b->n_members || a->n_groups != b->n_groups)
		return false;
	for (uint16_t i = 0; i < a->n_groups; i++)
		if (a->group[i].gid != b->group[i].gid)
			return false;
	for (uint16_t i = 0; i < a->n_members; i++)
		if (!same_member(a, &a->member[i], b, &b->member[i]))
			return false;
	return true;
}

static bool has_bit(const struct quorum_set *set, uint16_t i)
{
	return set->bits[i / 64] >> i % 64 & 1;
}

bool quorum_config_add(const struct quorum_config *c, struct quorum_set *set, int64_t sid)
{
	uint16_t at = place_of(c, sid);

	if (!quorum_config_is_voter(c, sid))
		return false;
	set->bits[at / 64] |= UINT64_C(1) << at % 64;
	return true;
}

/* QuorumHierarchical.containsQuorum */
static bool wins_groups(const struct quorum_config *c, const struct quorum_set *set)
{
	int64_t won[QUORUM_MEMBERS_MAX] = {0};
	uint32_t groups = 0, groups_won = 0;

	for (uint16_t i = 0; i < c->n_members; i++)
		if (has_bit(set, i))
			won[c->member[i].group] += c->member[i].weight;
	for (uint16_t g = 0; g < c->n_groups; g++) {
		groups += c->group[g].weight > 0;
		groups_won += won[g] > c->group[g].weight / 2;
	}
	return groups_won > groups / 2;
}

bool quorum_config_has_quorum(const struct quorum_config *c, const struct quorum_set *set)
{
	uint32_t count = 0;

	if (c->hierarchical)
		return wins_groups(c, set);
	for (size_t i = 0; i < sizeof(set->bits) / sizeof(*set->bits); i++)
		count += (uint32_t)__builtin_popcountll(set->bits[i]);
	return count > c->n_voters / 2u;
}

void quorum_acks_init(struct quorum_acks *acks, const struct quorum_config *committed,
		      const struct quorum_config *last_seen)
{
	bool joint = last_seen && last_seen->version > committed->version;

	*acks = (struct quorum_acks){.config = {committed, joint ? last_seen : NULL}};
}

bool quorum_acks_add(struct quorum_acks *acks, int64_t sid)
{
	bool added = false;

	for (int i = 0; i < 2 && acks->config[i]; i++)
		added |= quorum_config_add(acks->config[i], &acks->set[i], sid);
	return added;
}

bool quorum_acks_complete(const struct quorum_acks *acks)
{
	for (int i = 0; i < 2 && acks->config[i]; i++)
		if (!quorum_config_has_quorum(acks->config[i], &acks->set[i]))
			return false;
	return true;
}

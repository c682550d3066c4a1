#include "quorum/zab.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"

#define TO(role_) (1u << (role_))

static const uint8_t zab_next_roles[] = {
    [ZAB_LOOKING] = TO(ZAB_LEADING) | TO(ZAB_FOLLOWING) | TO(ZAB_OBSERVING),
    [ZAB_LEADING] = TO(ZAB_LOOKING),
    [ZAB_FOLLOWING] = TO(ZAB_LOOKING),
    [ZAB_OBSERVING] = TO(ZAB_LOOKING),
};

static void become(struct zab *z, enum zab_role next)
{
	CHECK(zab_next_roles[z->role] & TO(next));
	z->role = next;
}

void zab_init(struct zab *z, const int64_t *voters, uint32_t n_voters, uint32_t self)
{
	CHECK(n_voters >= 1);
	CHECK(n_voters <= ZAB_VOTERS_MAX);
	CHECK(self < n_voters);
	memset(z, 0, sizeof(*z));
	memcpy(z->voter, voters, n_voters * sizeof(*voters));
	z->n_voters = n_voters;
	z->self = self;
}

int64_t zab_next_zxid(const struct zab *z)
{
	return z->last_zxid + 1;
}

bool zab_has_room(const struct zab *z, uint32_t n)
{
	return z->last_zxid - z->commit_zxid + n <= ZAB_WINDOW;
}

/* The largest zxid that a majority of the voters has durable. */
static int64_t quorum_zxid(const struct zab *z)
{
	int64_t best = 0;

	for (uint32_t i = 0; i < z->n_voters; i++) {
		uint32_t have = 0;

		for (uint32_t j = 0; j < z->n_voters; j++)
			have += z->acked[j] >= z->acked[i];
		if (have > z->n_voters / 2 && z->acked[i] > best)
			best = z->acked[i];
	}
	return best;
}

static int start(struct zab *z, int64_t zxid)
{
	/* More voters than one need an election first: not an event of this header yet. */
	if (z->role != ZAB_LOOKING || z->n_voters != 1 || zxid < 0)
		return -EPROTO;
	z->last_zxid = z->durable_zxid = z->commit_zxid = z->acked[z->self] = zxid;
	z->epoch = (uint32_t)((uint64_t)zxid >> 32);
	become(z, ZAB_LEADING);
	return 0;
}

static int submit(struct zab *z, int64_t zxid)
{
	if (z->role != ZAB_LEADING || zxid != zab_next_zxid(z))
		return -EPROTO;
	if (!zab_has_room(z, 1))
		return -EBUSY;
	z->last_zxid = zxid;
	return 0;
}

static int durable(struct zab *z, int64_t zxid)
{
	int64_t commit;

	if (zxid > z->last_zxid || zxid < z->durable_zxid)
		return -EPROTO;
	z->durable_zxid = z->acked[z->self] = zxid;
	commit = quorum_zxid(z);
	if (commit > z->durable_zxid)
		commit = z->durable_zxid;
	if (commit > z->commit_zxid)
		z->commit_zxid = commit;
	return 0;
}

int zab_step(struct zab *z, const struct zab_event *event, struct zab_out *out)
{
	int err = -EPROTO;

	if (event->now_ms < z->now_ms)
		return -EPROTO;
	switch (event->type) {
	case ZAB_START:
		err = start(z, event->zxid);
		break;
	case ZAB_SUBMIT:
		err = submit(z, event->zxid);
		break;
	case ZAB_DURABLE:
		err = durable(z, event->zxid);
		break;
	case ZAB_TIMEOUT: /* a quorum of one waits for nobody */
		err = 0;
		break;
	}
	if (err)
		return err;
	z->now_ms = event->now_ms;
	out->append_zxid = event->type == ZAB_SUBMIT ? event->zxid : 0;
	out->commit_zxid = z->commit_zxid;
	out->deadline_ms = UINT64_MAX;
	DCHECK((zab_check(z), true));
	return 0;
}

void zab_check(const struct zab *z)
{
	CHECK(z->n_voters >= 1);
	CHECK(z->self < z->n_voters);
	CHECK(z->commit_zxid >= 0);
	CHECK(z->commit_zxid <= z->durable_zxid);
	CHECK(z->durable_zxid <= z->last_zxid);
	CHECK(z->acked[z->self] == z->durable_zxid);
	CHECK(z->last_zxid - z->commit_zxid <= ZAB_WINDOW);
}

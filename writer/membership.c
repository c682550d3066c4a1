#include "writer/membership.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "writer/members.h"

/* Free the configurations that nobody refers to. */
static void forget_configs(struct wtr_ensemble *e)
{
	const struct zab *z = wtr_zab_of(e);
	const struct quorum_config *const used[] = {
	    z->committed, z->last_seen, z->proposed, e->committed,       e->last_seen,
	    e->told[0],   e->told[1],   e->first,    e->core->config_due};

	wtr_configs_keep(&e->core->configs, used, sizeof(used) / sizeof(used[0]));
}

void wtr_membership_tell(struct wtr_ensemble *e)
{
	const struct zab *z = wtr_zab_of(e);

	if (e->told[0] == e->committed && e->told[1] == e->last_seen)
		return;
	peer_elector_config(e->elector, e->core->now_ms, e->committed, e->last_seen,
			    z->opt.observer ? QUORUM_OBSERVER : QUORUM_PARTICIPANT);
	e->told[0] = e->committed;
	e->told[1] = e->last_seen;
}

/* ZAB has other configurations: store them. True: another one is in force. */
bool wtr_membership_take(struct wtr_ensemble *e)
{
	const struct zab *z = wtr_zab_of(e);
	const struct quorum_config *next = z->last_seen;
	const char *file = e->core->conf->file;
	bool activated = z->committed != e->committed;
	int err = 0;

	if (next && next->version <= z->committed->version)
		next = NULL;
	if (next && next != e->last_seen)
		err = wtr_members_store_next(file, next);
	if (activated && !err)
		err = wtr_members_store(file, z->committed, z->opt.sid);
	if (!next && !err)
		err = wtr_members_drop_next(file);
	if (err)
		LOG_E("configuration version=%" PRIx64 " can't be kept beside %s: %s; the next "
		      "start begins with an older one",
		      (uint64_t)(next ? next : z->committed)->version, file, strerror(-err));
	e->committed = z->committed;
	e->last_seen = next;
	if (!activated)
		return false;
	LOG_I("configuration version=%" PRIx64 " servers=%u voters=%u is in force",
	      (uint64_t)e->committed->version, e->committed->n_members, e->committed->n_voters);
	e->core->config_due = e->committed;
	wtr_membership_tell(e);
	return true;
}

/* Peers of an ensemble that went on without us told a newer one, while we look. */
void wtr_membership_hear(struct wtr_ensemble *e)
{
	const struct quorum_config *heard = peer_elector_heard_config(e->elector);
	struct quorum_config *copy;
	struct zab_event event = {.type = ZAB_CONFIG};

	if (!heard)
		return;
	forget_configs(e);
	copy = wtr_configs_new(&e->core->configs);
	if (!copy)
		return;
	*copy = *heard;
	event.config = copy;
	if (!wtr_core_step(e->core, &event))
		return;
	e->told[0] = NULL; /* it is no news any more */
	wtr_membership_tell(e);
}

/* The leader that the activated configuration names: no election. False: there is none. */
bool wtr_membership_appoint(struct wtr_ensemble *e)
{
	const struct zab *z = wtr_zab_of(e);
	struct zab_event elected = {.type = ZAB_ELECTED, .sid = e->appointed};
	bool self = e->appointed == z->opt.sid;

	e->appointed = -1;
	if (elected.sid < 0 || !quorum_config_is_voter(z->committed, elected.sid) ||
	    (self && z->opt.observer))
		return false;
	peer_elector_appoint(e->elector, e->core->now_ms,
			     self              ? FLE_LEADING
			     : z->opt.observer ? FLE_OBSERVING
					       : FLE_FOLLOWING,
			     elected.sid, zab_vote(z).zxid);
	return wtr_core_step(e->core, &elected) == 0;
}

/* A configuration that ZAB has to know of: *to, if it is not older than the one in force. */
int wtr_membership_parse(struct wtr_ensemble *e, struct jute_buf text,
			 const struct quorum_config **to)
{
	struct quorum_config *c;

	if (!e->core->conf->reconfig_enabled || text.len <= 0)
		return 0;
	forget_configs(e);
	c = wtr_configs_new(&e->core->configs);
	if (!c || quorum_config_parse(c, text.data, (size_t)text.len, NULL))
		return -EBADMSG;
	if (c->version >= wtr_zab_of(e)->committed->version)
		*to = c;
	return 0;
}

/* Our role at the start: that of the configuration, or, outside of it, what zoo.cfg says. */
bool wtr_membership_observes(const struct wtr_ensemble *e)
{
	const struct conf *conf = e->core->conf;
	const struct quorum_member *me = quorum_config_find(e->committed, conf->sid);

	return me ? me->role == QUORUM_OBSERVER : conf->observer;
}

/* What was activated, or proposed, since the process read its zoo.cfg. */
static int load_configs(struct wtr_ensemble *e, const struct conf *conf)
{
	struct quorum_config *c = wtr_configs_new(&e->core->configs),
			     *next = wtr_configs_new(&e->core->configs);
	int err;

	e->first = wtr_configs_new(&e->core->configs);
	if (!c || !next || !e->first)
		return -ENOMEM;
	err = wtr_members_load(conf->file, c);
	if (!err && c->version > e->committed->version)
		e->committed = c;
	if (err && err != -ENOENT)
		LOG_W("dynamicConfigFile of %s: %s", conf->file, strerror(-err));
	err = wtr_members_load_next(conf->file, next);
	if (!err && next->version > e->committed->version)
		e->last_seen = next;
	else if (!err) /* a crash came between storing the one and dropping the other */
		err = wtr_members_drop_next(conf->file);
	if (err && err != -ENOENT)
		LOG_W("%s.dynamic.next: %s", conf->file, strerror(-err));
	return 0;
}

int wtr_membership_load(struct wtr_ensemble *e, const struct conf *conf)
{
	struct quorum_config *c = wtr_configs_new(&e->core->configs);
	struct quorum_config_error error;

	e->committed = c;
	if (!c)
		return -ENOMEM;
	if (!quorum_config_parse(c, conf->members, strlen(conf->members), &error))
		return conf->reconfig_enabled && conf->file ? load_configs(e, conf) : 0;
	log_always(LOG_ERROR, "membership: line %u: %s", error.line, error.why);
	return -EINVAL;
}

/* DataTree's config node is written by each server itself (quorum.md 1.4). */
int wtr_membership_write(struct wtr_ensemble *e, const struct wtr_recovery *r)
{
	static const char path[] = "/zookeeper/config";
	static char text[QUORUM_CONFIG_TEXT_MAX];
	size_t len = quorum_config_print(e->committed, text, sizeof(text));
	struct shm_node *n = shm_tree_get(r->tree, path, sizeof(path) - 1);

	/* A state that a leader sent may know more than our files. */
	if (!n || (r->conf->reconfig_enabled &&
		   shm_version_mzxid(shm_node_version(n, SHM_LATEST)) > e->committed->version))
		return 0;
	return shm_tree_put_config(r->tree, text, (int32_t)len, e->committed->version,
				   clock_wall_ms(), r->tree_zxid);
}

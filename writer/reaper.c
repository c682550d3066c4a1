#include "writer/reaper.h"

#include "writer/core.h"

enum { FOUND_MAX = 1 << 20, MINUTE_MS = 60000 }; /* bytes of paths per look */

static bool is_due(const struct wtr_core *c, const struct shm_node *n)
{
	const struct shm_version *v = shm_node_version(n, SHM_LATEST);
	int64_t owner = shm_node_owner(n), age_ms;

	if (!v || shm_version_children(v))
		return false;
	age_ms = c->wall_ms - shm_version_mtime(v);
	if (owner == ZK_OWNER_CONTAINER)
		return shm_version_cversion(v) > 0 || (c->conf->container_never_used_ms > 0 &&
						       age_ms > c->conf->container_never_used_ms);
	return c->conf->extended_types && (owner & ZK_OWNER_TTL) == ZK_OWNER_TTL &&
	       age_ms > (owner & ZK_TTL_MAX);
}

static void look(struct wtr_core *c)
{
	struct wtr_buf *found = &c->reaper.found;
	struct shm_node *n = shm_extended_first(c->tree);

	found->len = c->reaper.done = 0;
	for (; n && found->len < FOUND_MAX; n = shm_extended_next(c->tree, n)) {
		uint32_t len;
		const char *path = shm_node_path(n, &len);

		if (!is_due(c, n))
			continue;
		wtr_buf_put(found, &len, sizeof(len));
		wtr_buf_put(found, path, len);
	}
	/* More than fits: look again as soon as these are gone. */
	c->reaper.check_ms = c->now_ms + (n ? 1 : c->conf->container_check_ms);
}

void wtr_reaper_tick(struct wtr_core *c)
{
	struct wtr_reaper *r = &c->reaper;
	uint32_t per_minute = c->conf->container_per_minute;

	if (r->done == r->found.len && c->now_ms >= r->check_ms)
		look(c);
	while (r->done < r->found.len && c->now_ms >= r->delete_ms && wtr_core_ready(c)) {
		const char *path = (const char *)r->found.bytes + r->done + sizeof(uint32_t);
		const struct shm_node *n;
		uint32_t len;

		memcpy(&len, r->found.bytes + r->done, sizeof(len));
		r->done += sizeof(len) + len;
		n = shm_tree_get(c->tree, path, len);
		if (!n || !is_due(c, n))
			continue;
		wtr_core_delete_container(c, path, len);
		r->delete_ms = c->now_ms + (per_minute ? MINUTE_MS / per_minute : MINUTE_MS);
	}
}

uint64_t wtr_reaper_deadline_ms(const struct wtr_core *c)
{
	const struct wtr_reaper *r = &c->reaper;

	return r->done < r->found.len ? r->delete_ms : r->check_ms;
}

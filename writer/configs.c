#include "writer/configs.h"

#include <stdlib.h>

struct quorum_config *wtr_configs_new(struct wtr_configs *c)
{
	struct wtr_config *new = malloc(sizeof(*new));

	if (!new)
		return NULL;
	new->next = c->list;
	c->list = new;
	return &new->config;
}

static bool is_used(const struct wtr_config *one, const struct quorum_config *const *used, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (used[i] == &one->config)
			return true;
	return false;
}

void wtr_configs_keep(struct wtr_configs *c, const struct quorum_config *const *used, size_t n)
{
	struct wtr_config **at = &c->list, *one;

	while ((one = *at)) {
		if (is_used(one, used, n)) {
			at = &one->next;
			continue;
		}
		*at = one->next;
		free(one);
	}
}

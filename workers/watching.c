#include "jute/path.h"
#include "workers/conn.h"
#include "workers/worker.h"

bool wrk_watch(struct worker *w, struct wrk_conn *c, int table, const void *path, size_t len,
	       unsigned modes)
{
	if (!wrk_watch_add(w->watches, (enum wrk_watch_table)table, path, len, c->place, modes))
		return true;
	wrk_conn_close(w, c);
	return false;
}

static void notify(struct worker *w, struct wrk_conn *c, int64_t zxid, int32_t type,
		   const void *path, size_t len)
{
	struct jute_out out = wrk_reply_begin(w, c, 12 + 3 * len, ZK_XID_NOTIFICATION, zxid, ZOK);

	jute_put_int(&out, type);
	jute_put_int(&out, ZK_STATE_SYNC_CONNECTED);
	zk_put_echo(&out, jute_buf_of(path, len)); /* it is the client's text, not a znode's */
	wrk_reply_end(w, c, &out);
}

/* --- setWatches ------------------------------------------------------------------------------ */

enum list { LIST_DATA, LIST_EXIST, LIST_CHILD, LIST_PERSISTENT, LIST_RECURSIVE, LISTS };

/* The event that the client has missed, 0 if none (DataTree.setWatches). */
static int32_t missed(const struct worker *w, enum list list, struct jute_buf path, int64_t since)
{
	struct jute_buf at = path.len ? path : jute_text("/");
	const struct shm_version *v;
	const struct shm_node *node =
	    shm_tree_find(w->tree, shm_tree_hash(w->tree, at.data, (size_t)at.len), at.data,
			  (size_t)at.len, w->s, &v);

	if (list >= LIST_PERSISTENT)
		return 0;
	if (list == LIST_EXIST)
		return node ? ZK_EVENT_CREATED : 0;
	if (!node)
		return ZK_EVENT_DELETED;
	if (list == LIST_DATA)
		return shm_version_mzxid(v) > since ? ZK_EVENT_DATA_CHANGED : 0;
	return shm_version_pzxid(v) > since ? ZK_EVENT_CHILDREN_CHANGED : 0;
}

static bool set_watch(struct worker *w, struct wrk_conn *c, enum list list, struct jute_buf path)
{
	size_t len = (size_t)path.len;

	switch (list) {
	case LIST_CHILD:
		return wrk_watch(w, c, WRK_CHILD, path.data, len, WRK_STANDARD);
	case LIST_PERSISTENT:
		return wrk_watch(w, c, WRK_DATA, path.data, len, WRK_PERSISTENT) &&
		       wrk_watch(w, c, WRK_CHILD, path.data, len, WRK_PERSISTENT);
	case LIST_RECURSIVE:
		return wrk_watch(w, c, WRK_DATA, path.data, len, WRK_RECURSIVE);
	default:
		return wrk_watch(w, c, WRK_DATA, path.data, len, WRK_STANDARD);
	}
}

/* One list. False: a null path, after what stands before it; or the connection is closed. */
static bool set_list(struct worker *w, struct wrk_conn *c, enum list list,
		     const struct jute_vec *paths, int64_t since)
{
	struct jute_in in = jute_elements(paths);

	for (int32_t i = 0; i < paths->count && c->state != WRK_GONE; i++) {
		struct jute_buf path = jute_get_ustring(&in);
		int32_t event;

		if (path.len < 0)
			return false;
		event = missed(w, list, path, since);
		if (event)
			notify(w, c, -1, event, path.data, (size_t)path.len);
		else if (!set_watch(w, c, list, path))
			return false;
	}
	return c->state != WRK_GONE;
}

static void set_watches(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f)
{
	static const struct jute_vec none = {NULL, 0, 0};
	struct jute_in in = jute_in_of(f->body, f->len);
	struct zk_set_watches2 r = {.persistent = none, .persistent_recursive = none};
	int32_t err = ZOK;

	if (f->op == ZK_OP_SET_WATCHES2) {
		err = zk_set_watches2_decode(&in, &r) ? ZMARSHALLINGERROR : ZOK;
	} else {
		struct zk_set_watches old;

		err = zk_set_watches_decode(&in, &old) ? ZMARSHALLINGERROR : ZOK;
		r.relative_zxid = old.relative_zxid;
		r.data = old.data;
		r.exist = old.exist;
		r.child = old.child;
	}
	const struct jute_vec *lists[LISTS] = {&r.data, &r.exist, &r.child, &r.persistent,
					       &r.persistent_recursive};

	/* Whatever stands before a null list or path is in effect already. */
	for (int i = 0; i < LISTS && !err; i++)
		if (lists[i]->count < 0 || !set_list(w, c, (enum list)i, lists[i], r.relative_zxid))
			err = ZMARSHALLINGERROR;
	wrk_reply(w, c, f->xid, w->s, err);
}

/* --- addWatch, checkWatches, removeWatches --------------------------------------------------- */

static void add_watch(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f,
		      const struct zk_watch_request *r)
{
	struct jute_out out;

	if (r->path.len < 0 ||
	    (r->mode != ZK_ADD_PERSISTENT && r->mode != ZK_ADD_PERSISTENT_RECURSIVE)) {
		wrk_reply(w, c, f->xid, w->s, ZMARSHALLINGERROR);
		return;
	}
	if (!set_watch(w, c, r->mode == ZK_ADD_PERSISTENT ? LIST_PERSISTENT : LIST_RECURSIVE,
		       r->path))
		return;
	out = wrk_reply_begin(w, c, 4, f->xid, w->s, ZOK);
	jute_put_int(&out, ZOK);
	wrk_reply_end(w, c, &out);
}

/* Which modes of which table a type names (Watcher.WatcherType). false: no such type. */
static bool modes_of(int32_t type, unsigned modes[2])
{
	static const uint8_t table[][2] = {
	    [ZK_WATCHER_CHILDREN] = {0, WRK_STANDARD},
	    [ZK_WATCHER_DATA] = {WRK_STANDARD, 0},
	    [ZK_WATCHER_ANY] = {WRK_ANY, WRK_ANY},
	    [ZK_WATCHER_PERSISTENT] = {WRK_PERSISTENT, WRK_PERSISTENT},
	    [ZK_WATCHER_PERSISTENT_RECURSIVE] = {WRK_RECURSIVE, 0},
	};

	if (type < ZK_WATCHER_CHILDREN || type > ZK_WATCHER_PERSISTENT_RECURSIVE)
		return false;
	modes[WRK_DATA] = table[type][0];
	modes[WRK_CHILD] = table[type][1];
	return true;
}

static void find_watches(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f,
			 const struct zk_watch_request *r)
{
	unsigned modes[2], found = 0;

	if (r->path.len < 0 || !modes_of(r->mode, modes)) {
		wrk_reply(w, c, f->xid, w->s, ZMARSHALLINGERROR);
		return;
	}
	for (int table = WRK_DATA; table <= WRK_CHILD; table++) {
		size_t len = (size_t)r->path.len;

		if (f->op == ZK_OP_REMOVE_WATCHES)
			found |= wrk_watch_remove(w->watches, (enum wrk_watch_table)table,
						  r->path.data, len, c->place, modes[table]);
		else
			found |= wrk_watch_has(w->watches, (enum wrk_watch_table)table,
					       r->path.data, len, c->place, modes[table]);
	}
	wrk_reply(w, c, f->xid, w->s, found ? ZOK : ZNOWATCHER);
}

void wrk_watching(struct worker *w, struct wrk_conn *c, const struct wrk_frame *f)
{
	struct jute_in in = jute_in_of(f->body, f->len);
	struct zk_watch_request r;

	if (f->op == ZK_OP_SET_WATCHES || f->op == ZK_OP_SET_WATCHES2)
		set_watches(w, c, f);
	else if (zk_watch_request_decode(&in, &r))
		wrk_reply(w, c, f->xid, w->s, ZMARSHALLINGERROR);
	else if (f->op == ZK_OP_ADD_WATCH)
		add_watch(w, c, f, &r);
	else
		find_watches(w, c, f, &r);
}

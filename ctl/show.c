#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/ctl.h"
#include "jute/txn.h"
#include "storage/file.h"
#include "storage/inspect.h"
#include "storage/snap.h"

/* --- log ------------------------------------------------------------------------------------- */

static const char *type_name(int32_t type)
{
	switch ((enum zk_op)type) {
	case ZK_OP_CREATE:
		return "create";
	case ZK_OP_CREATE2:
		return "create2";
	case ZK_OP_CREATE_CONTAINER:
		return "createContainer";
	case ZK_OP_CREATE_TTL:
		return "createTTL";
	case ZK_OP_DELETE:
		return "delete";
	case ZK_OP_DELETE_CONTAINER:
		return "deleteContainer";
	case ZK_OP_SET_DATA:
		return "setData";
	case ZK_OP_RECONFIG:
		return "reconfig";
	case ZK_OP_SET_ACL:
		return "setACL";
	case ZK_OP_CHECK:
		return "check";
	case ZK_OP_MULTI:
		return "multi";
	case ZK_OP_CREATE_SESSION:
		return "createSession";
	case ZK_OP_CLOSE_SESSION:
		return "closeSession";
	case ZK_OP_ERROR:
		return "error";
	default:
		return "?";
	}
}

static void put_path(struct jute_buf path)
{
	fputs(" path=", stdout);
	if (path.len > 0)
		ctl_put_escaped(path.data, (size_t)path.len);
}

static void put_node(struct jute_buf path, struct jute_buf data)
{
	put_path(path);
	if (data.len < 0)
		fputs(" data=null", stdout);
	else
		printf(" data=%" PRId32, data.len);
}

static void put_body(const struct zk_txn_body *b)
{
	fputs(type_name(b->type), stdout);
	switch ((enum zk_op)b->type) {
	case ZK_OP_CREATE:
	case ZK_OP_CREATE2:
		put_node(b->create.path, b->create.data);
		fputs(b->create.ephemeral ? " ephemeral" : "", stdout);
		break;
	case ZK_OP_CREATE_CONTAINER:
		put_node(b->create_container.path, b->create_container.data);
		break;
	case ZK_OP_CREATE_TTL:
		put_node(b->create_ttl.path, b->create_ttl.data);
		printf(" ttl=%" PRId64, b->create_ttl.ttl);
		break;
	case ZK_OP_DELETE:
	case ZK_OP_DELETE_CONTAINER:
		put_path(b->delete.path);
		break;
	case ZK_OP_SET_DATA:
	case ZK_OP_RECONFIG:
		put_node(b->set_data.path, b->set_data.data);
		printf(" version=%" PRId32, b->set_data.version);
		break;
	case ZK_OP_SET_ACL:
		put_path(b->set_acl.path);
		printf(" aversion=%" PRId32, b->set_acl.version);
		break;
	case ZK_OP_CHECK:
		put_path(b->check.path);
		break;
	case ZK_OP_CREATE_SESSION:
		printf(" timeout=%" PRId32, b->create_session.timeout_ms);
		break;
	case ZK_OP_CLOSE_SESSION:
		printf(" ephemerals=%" PRId32, b->close_session.paths.count);
		break;
	case ZK_OP_ERROR:
		printf(" code=%" PRId32 " %s", b->error.err, zk_code_name(b->error.err));
		break;
	default:
		break;
	}
}

static void put_multi(const struct zk_multi_txn *multi)
{
	struct zk_multi_txn walk = *multi;
	struct zk_txn_body member;

	fputs("multi [", stdout);
	for (int32_t i = 0; i < multi->count && !zk_multi_txn_next(&walk, &member); i++) {
		fputs(i ? "; " : "", stdout);
		put_body(&member);
	}
	putchar(']');
}

static int put_entry(void *arg, int64_t zxid, const uint8_t *entry, uint32_t len)
{
	struct jute_in in = jute_in_of(entry, len);
	struct zk_txn_header h;
	struct zk_txn_body body;
	int err = zk_txn_header_decode(&in, &h);

	(void)arg;
	printf("0x%" PRIx64 " ", (uint64_t)zxid);
	ctl_put_time(h.time);
	printf(" session=0x%" PRIx64 " cxid=0x%" PRIx32 " ", (uint64_t)h.client_id,
	       (uint32_t)h.cxid);
	if (err || zk_txn_body_decode(&in, h.type, &body))
		printf("%s that can't be decoded, %" PRIu32 " bytes", type_name(h.type), len);
	else if (h.type == ZK_OP_MULTI)
		put_multi(&body.multi);
	else
		put_body(&body);
	putchar('\n');
	return ferror(stdout) ? -EIO : 0;
}

int ctl_log(int n, char **args)
{
	char why[STO_WHY_MAX];
	struct ctl_dirs d;
	int err, status = ctl_dirs_find(&d, args[0], NULL);

	(void)n;
	if (!status)
		status = ctl_dirs_need_log(&d, STO_LOG_PREFIX, false);
	if (!status)
		status = ctl_dirs_lock(&d, args[0], NULL);
	if (status)
		return status;
	err = sto_inspect_log(&sto_fs_readonly, d.log, put_entry, NULL, why);
	if (err)
		return ctl_fail(CTL_FAILED, "%s", err == -EBADMSG ? why : strerror(-err));
	return CTL_OK;
}

/* --- snapshot -------------------------------------------------------------------------------- */

struct summary {
	bool nodes;
	uint64_t ephemerals, containers, ttl, data_bytes;
};

static int sum_begin(void *self, const struct sto_snap_head *head)
{
	(void)self, (void)head;
	return 0;
}

static int sum_session(void *self, int64_t id, int32_t timeout_ms)
{
	const struct summary *s = self;

	if (s->nodes)
		printf("session=0x%" PRIx64 " timeout=%" PRId32 "\n", (uint64_t)id, timeout_ms);
	return 0;
}

static int sum_node(void *self, const struct sto_snap_node *n)
{
	struct summary *s = self;

	s->data_bytes += n->data_len > 0 ? (uint64_t)n->data_len : 0;
	if (n->owner == ZK_OWNER_CONTAINER)
		s->containers++;
	else if ((n->owner & ~(int64_t)ZK_TTL_MAX) == ZK_OWNER_TTL)
		s->ttl++;
	else
		s->ephemerals += n->owner != 0;
	if (!s->nodes)
		return 0;
	ctl_put_escaped(n->path, n->path_len);
	printf(" czxid=0x%" PRIx64 " mzxid=0x%" PRIx64 " pzxid=0x%" PRIx64 " version=%" PRId32
	       " cversion=%" PRId32 " aversion=%" PRId32 " owner=0x%" PRIx64 " ctime=",
	       (uint64_t)n->czxid, (uint64_t)n->mzxid, (uint64_t)n->pzxid, n->version, n->cversion,
	       n->aversion, (uint64_t)n->owner);
	ctl_put_time(n->ctime);
	fputs(" mtime=", stdout);
	ctl_put_time(n->mtime);
	if (n->data_len < 0)
		puts(" data=null");
	else
		printf(" data=%" PRId32 "\n", n->data_len);
	return ferror(stdout) ? -EIO : 0;
}

static int sum_loaded(void *self, const struct sto_snap_head *h)
{
	const struct summary *s = self;

	printf("zxid=0x%" PRIx64 " nodes=%" PRIu64 " sessions=%" PRIu64 " ephemerals=%" PRIu64
	       " containers=%" PRIu64 " ttl=%" PRIu64 " data=%" PRIu64 " digest=0x%" PRIx64 "\n",
	       (uint64_t)h->zxid, h->nodes, h->sessions, s->ephemerals, s->containers, s->ttl,
	       s->data_bytes, h->digest);
	return 0;
}

int ctl_snapshot(int n, char **args)
{
	const char *path = args[n - 1], *slash = strrchr(path, '/');
	struct summary s = {.nodes = n == 2};
	struct sto_sink sink = {&s, sum_begin, sum_session, sum_node, sum_loaded, NULL};
	const struct sto_fs *fs = &sto_fs_readonly;
	struct sto_snap_head head;
	char dir[CTL_PATH_MAX] = ".", why[STO_WHY_MAX];
	int64_t zxid;
	int fd, err;

	if (n == 2 && strcmp(args[0], "--nodes"))
		return ctl_fail(CTL_USAGE, "%s: only --nodes is known", args[0]);
	if (!sto_name_parse(slash ? slash + 1 : path, STO_SNAP_PREFIX, "", &zxid))
		return ctl_fail(CTL_USAGE, "%s: snapshots are called " STO_SNAP_PREFIX "ZXID",
				path);
	if (slash &&
	    snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path + 1), path) >= CTL_PATH_MAX)
		return ctl_fail(CTL_DIR, "%s: %s", path, strerror(ENAMETOOLONG));
	fd = sto_dir_open(fs, dir);
	if (fd < 0)
		return ctl_fail(CTL_DIR, "%s: %s", dir, strerror(-fd));
	err = sto_snap_load(fs, fd, zxid, &sink, &head, NULL, why);
	fs->close(fs->self, fd);
	return err ? ctl_fail(CTL_FAILED, "%s", why) : CTL_OK;
}

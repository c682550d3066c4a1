/*
 * cclient.c - the C client library across a disturbance of the server
 *
 * cclient HOST:PORT: sets up a session with ephemerals, watches and data, prints READY, waits for
 * a line on standard input, and goes on with the same session. Every call goes through retry(),
 * as a program has to do it: connection loss is no failure, anything unexpected is.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

enum { WAIT_S = 40 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int connected, created, data_changed, children_changed, synced;
static int passed, failed;
static zhandle_t *zh;

static void on_event(zhandle_t *z, int type, int state, const char *path, void *context)
{
	(void)z, (void)path, (void)context;
	pthread_mutex_lock(&lock);
	if (type == ZOO_SESSION_EVENT)
		connected = state == ZOO_CONNECTED_STATE;
	created += type == ZOO_CREATED_EVENT;
	data_changed += type == ZOO_CHANGED_EVENT;
	children_changed += type == ZOO_CHILD_EVENT;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void on_sync(int rc, const char *path, const void *context)
{
	(void)context;
	pthread_mutex_lock(&lock);
	synced += rc == ZOK && !strcmp(path, "/c");
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

/* Wait until *count is at least `wanted`; false when that takes longer than WAIT_S. */
static bool reach(const int *count, int wanted)
{
	struct timespec until;
	bool there;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&lock);
	while (*count < wanted && !pthread_cond_timedwait(&changed, &lock, &until))
		;
	there = *count >= wanted;
	pthread_mutex_unlock(&lock);
	return there;
}

static void demand(const char *what, bool holds)
{
	if (holds) {
		passed++;
		return;
	}
	failed++;
	printf("FAILED %s\n", what);
}

static void is(const char *what, int got, int wanted)
{
	if (got != wanted)
		printf("%s: %d (%s), wanted %d\n", what, got, zerror(got), wanted);
	demand(what, got == wanted);
}

/* A read that is repeated while there is no connection. */
static int get(const char *path, int watch, char *data, int *len, struct Stat *stat)
{
	int rc, n = *len;

	do {
		reach(&connected, 1);
		*len = n;
		rc = zoo_get(zh, path, watch, data, len, stat);
	} while (rc == ZCONNECTIONLOSS || rc == ZOPERATIONTIMEOUT);
	return rc;
}

static void set_up(void)
{
	char path[64], data[64];
	struct String_vector names;
	struct Stat stat;
	int len = sizeof(data);

	is("create", zoo_create(zh, "/c", "one", 3, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZOK);
	is("create again", zoo_create(zh, "/c", "x", 1, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0),
	   ZNODEEXISTS);
	is("create ephemeral",
	   zoo_create(zh, "/c/e", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0), ZOK);
	is("create sequential",
	   zoo_create2(zh, "/c/s-", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_SEQUENCE, path, sizeof(path),
		       &stat),
	   ZOK);
	demand("its name", !strcmp(path, "/c/s-0000000001"));
	is("get", zoo_get(zh, "/c", 1, data, &len, &stat), ZOK);
	demand("data", len == 3 && !memcmp(data, "one", 3) && stat.numChildren == 2);
	is("children", zoo_get_children(zh, "/c", 1, &names), ZOK);
	demand("two", names.count == 2);
	deallocate_String_vector(&names);
	is("exists", zoo_exists(zh, "/later", 1, NULL), ZNONODE);
	is("bad version", zoo_set(zh, "/c", "x", 1, 7), ZBADVERSION);
	is("not empty", zoo_delete(zh, "/c", -1), ZNOTEMPTY);
}

static void access_control(void)
{
	struct ACL one = {ZOO_PERM_ALL, {"auth", ""}};
	struct ACL_vector mine = {1, &one}, got;
	struct Stat stat;

	is("auth", zoo_add_auth(zh, "digest", "user:pw", 7, NULL, NULL), ZOK);
	is("create closed", zoo_create(zh, "/closed", "", 0, &mine, 0, NULL, 0), ZOK);
	is("get acl", zoo_get_acl(zh, "/closed", &got, &stat), ZOK);
	demand("the digest", got.count == 1 && !strncmp(got.data[0].id.id, "user:", 5));
	deallocate_ACL_vector(&got);
	is("set acl", zoo_set_acl(zh, "/c", 0, &ZOO_OPEN_ACL_UNSAFE), ZOK);
}

static void go_on(const clientid_t *before)
{
	char data[64];
	struct Stat stat;
	zoo_op_t ops[3];
	zoo_op_result_t results[3];
	int len = sizeof(data);

	is("get", get("/c", 0, data, &len, &stat), ZOK);
	demand("session", zoo_client_id(zh)->client_id == before->client_id);
	is("ephemeral", zoo_exists(zh, "/c/e", 0, &stat), ZOK);
	demand("its owner", stat.ephemeralOwner == before->client_id);
	is("auth goes on", zoo_set(zh, "/closed", "y", 1, -1), ZOK);

	is("set", zoo_set(zh, "/c", "two", 3, 0), ZOK);
	is("create", zoo_create(zh, "/later", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZOK);
	is("child", zoo_create(zh, "/c/f", "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0), ZOK);
	demand("data watch", reach(&data_changed, 1));
	demand("exists watch", reach(&created, 1));
	demand("child watch", reach(&children_changed, 1));

	zoo_check_op_init(&ops[0], "/c", 1);
	zoo_set_op_init(&ops[1], "/c", "three", 5, 1, &stat);
	zoo_delete_op_init(&ops[2], "/c/f", -1);
	is("multi", zoo_multi(zh, 3, ops, results), ZOK);
	demand("version 2", stat.version == 2);
	zoo_check_op_init(&ops[0], "/c", 9);
	is("multi refused", zoo_multi(zh, 3, ops, results), ZBADVERSION);
	is("sync", zoo_async(zh, "/c", on_sync, NULL), ZOK);
	demand("synced", reach(&synced, 1));
}

int main(int argc, char **argv)
{
	char line[16];
	clientid_t id;

	if (argc != 2)
		return 2;
	zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
	zh = zookeeper_init(argv[1], on_event, 30000, NULL, NULL, 0);
	if (!zh || !reach(&connected, 1))
		return 1;
	set_up();
	access_control();
	id = *zoo_client_id(zh);
	printf("READY\n");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return 1;
	go_on(&id);
	is("close", zookeeper_close(zh), ZOK);
	printf("RESULT %d %d\n", passed, failed);
	return failed != 0;
}

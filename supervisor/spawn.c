#include "supervisor/spawn.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/log.h"
#include "supervisor/title.h"

enum { OOM_FIRST = 400, OOM_SOON = 300 }; /* added to oom_score_adj: who goes before the writer */

int sup_user_find(struct sup_user *user, const char *name)
{
	struct passwd *pw;

	*user = (struct sup_user){0};
	if (geteuid() != 0)
		return 0;
	errno = 0;
	pw = getpwnam(name);
	if (!pw) {
		LOG_E("paddock.workerUser: %s: %s", name, errno ? strerror(errno) : "no such user");
		return -1;
	}
	user->uid = pw->pw_uid;
	user->gid = pw->pw_gid;
	user->change = user->uid != 0;
	return 0;
}

static void reset_signals(void)
{
	static const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGPIPE};
	sigset_t none;

	/* A terminal or a service manager signals every process: the board says when to stop. */
	for (size_t i = 0; i < sizeof(ignored) / sizeof(*ignored); i++)
		signal(ignored[i], SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void raise_oom_score(int add)
{
	FILE *f = fopen("/proc/self/oom_score_adj", "r+e");
	int now = 0;

	/* A wish: without /proc the kernel chooses by size alone. */
	if (!f)
		return;
	if (fscanf(f, "%d", &now) == 1 && fseek(f, 0, SEEK_SET) == 0)
		fprintf(f, "%d", now + add < 1000 ? now + add : 1000);
	fclose(f);
}

static int change_user(const struct sup_user *user)
{
	if (!user->change)
		return 0;
	if (setgroups(0, NULL) < 0 || setresgid(user->gid, user->gid, user->gid) < 0 ||
	    setresuid(user->uid, user->uid, user->uid) < 0)
		return -errno;
	return 0;
}

static int enter(struct shm_heritage *h, enum sup_kind kind, unsigned index,
		 const struct sup_user *user)
{
	int err = kind == SUP_WRITER ? shm_board_enter_writer(h) : shm_board_enter_reader(h, index);

	if (err)
		return err;
	if (kind != SUP_WRITER)
		raise_oom_score(kind == SUP_WORKER ? OOM_SOON : OOM_FIRST);
	err = kind == SUP_WORKER ? change_user(user) : 0;
	if (err)
		return err;
	/* After the change of user, which forgets the death signal. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	/* Of one user: then this keeps a worker out of the writer's memory. */
	if (!user->change && prctl(PR_SET_DUMPABLE, 0) < 0)
		return -errno;
	return 0;
}

static void name_self(enum sup_kind kind, unsigned index)
{
	char role[32], name[16];

	if (kind == SUP_WORKER) {
		snprintf(role, sizeof(role), "worker %u", index);
		snprintf(name, sizeof(name), "paddockd-%u", index);
	} else {
		snprintf(role, sizeof(role), "%s", kind == SUP_WRITER ? "writer" : "snapshotter");
		snprintf(name, sizeof(name), "paddockd-%.4s", role);
	}
	log_set_role(role);
	sup_title_set(role, name);
}

static int run(struct shm_heritage *h, const struct sup_entries *entries, enum sup_kind kind,
	       unsigned index)
{
	switch (kind) {
	case SUP_WRITER:
		return entries->writer(h);
	case SUP_SNAPSHOTTER:
		return entries->snapshotter(h);
	case SUP_WORKER:
		break;
	}
	return entries->worker(h, index);
}

pid_t sup_spawn(struct shm_heritage *h, const struct sup_entries *entries, enum sup_kind kind,
		unsigned index, const struct sup_user *user)
{
	pid_t parent = getpid(), pid = fork();
	int err;

	if (pid != 0)
		return pid < 0 ? -errno : pid;
	name_self(kind, index);
	reset_signals();
	err = enter(h, kind, index, user);
	if (err) {
		LOG_E("start: %s", strerror(-err));
		_exit(1);
	}
	if (getppid() != parent)
		_exit(1); /* it died before PR_SET_PDEATHSIG could tell us */
	/* No exit handlers: they are the supervisor's. */
	_exit(run(h, entries, kind, index));
}

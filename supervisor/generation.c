#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "shm/region.h"
#include "shm/wake.h"
#include "supervisor/state.h"

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int sup_generation_new(struct sup *s)
{
	struct shm_heritage *h = &s->h;
	uint32_t window = h->read_gen ? (h->read_gen ^ 1) & 1 : 0;
	uint32_t gen = (s->gen_counter + 1) << 1 | window;
	int fd, err = shm_region_create(gen, h->region_bytes, &fd);

	if (err)
		return err;
	s->gen_counter++;
	/* A region that never came into service was in this window, and is gone with it. */
	if (h->region_gen != h->read_gen)
		close_fd(&h->region_ro_fd);
	h->region_gen = gen;
	h->region_ro_fd = fd;
	atomic_store(&h->board->next_gen, gen);
	for (unsigned i = 0; i < h->board->n_workers; i++)
		sup_generation_tell(s, i);
	return 0;
}

void sup_generation_look(struct sup *s)
{
	struct shm_heritage *h = &s->h;
	uint32_t old = h->read_gen;

	if (old == h->region_gen ||
	    atomic_load_explicit(&h->board->gen, memory_order_acquire) != h->region_gen)
		return;
	/* Each reader of the old one has a mapping of its own. */
	if (old) {
		shm_region_drop(old, h->region_bytes);
		close_fd(&h->read_ro_fd);
	}
	h->read_gen = h->region_gen;
	h->read_ro_fd = h->region_ro_fd;
	s->switch_ms = 0;
	/* Sleepers without interest have to come and change over, too. */
	shm_wake_workers(h, 1);
}

void sup_generation_tell(struct sup *s, unsigned i)
{
	struct shm_heritage *h = &s->h;
	struct sup_child *c = &s->worker[i];
	struct shm_region_note note = {.gen = h->region_gen, .bytes = h->region_bytes};
	struct iovec iov = {&note, sizeof(note)};
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	if (c->pid <= 0 || h->region_gen == h->read_gen)
		return;
	memset(&control, 0, sizeof(control));
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &h->region_ro_fd, sizeof(int));
	if (sendmsg(c->socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		LOG_W("region note for worker %u: %s", i, strerror(errno));
		sup_kill(c, "worker", "it can't be told of the new region");
	}
}

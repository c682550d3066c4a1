#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "shm/region.h"
#include "shm/wake.h"
#include "tests/t.h"
#include "tests/unit/board_fx.h"

enum { REGION_BYTES = 4 << 20, GEN = 2, NOBODY = 65534 };

/* What a worker holds of a region: its mapping, and the descriptor while it still has it. */
struct attack {
	uint8_t *mem;
	int ro_fd;
};

static int reopen(int fd, int flags)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, flags | O_CLOEXEC);
}

/* Each attack returns 0 when it got through, else the errno that stopped it. */
static int by_mprotect(const struct attack *a)
{
	return mprotect(a->mem, 4096, PROT_READ | PROT_WRITE) < 0 ? errno : 0;
}

static int by_mapping_writable(const struct attack *a)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, a->ro_fd, 0);

	return p == MAP_FAILED ? errno : 0;
}

static int by_reopening_and_mapping(const struct attack *a)
{
	int fd = reopen(a->ro_fd, O_RDWR);

	if (fd < 0)
		return errno;
	return mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED ? errno : 0;
}

static int by_reopening_and_writing(const struct attack *a)
{
	int fd = reopen(a->ro_fd, O_RDWR);

	return fd < 0 || pwrite(fd, "x", 1, 0) < 0 ? errno : 0;
}

static int by_truncating(const struct attack *a)
{
	int fd = reopen(a->ro_fd, O_RDWR);

	return fd < 0 || ftruncate(fd, 0) < 0 ? errno : 0;
}

static int by_growing(const struct attack *a)
{
	int fd = reopen(a->ro_fd, O_RDWR);

	return fd < 0 || ftruncate(fd, 2 * REGION_BYTES) < 0 ? errno : 0;
}

static int by_punching(const struct attack *a)
{
	int fd = reopen(a->ro_fd, O_RDWR);

	return fd < 0 || fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0
		   ? errno
		   : 0;
}

static int by_removing(const struct attack *a)
{
	return madvise(a->mem, 4096, MADV_REMOVE) < 0 ? errno : 0;
}

static int by_unsealing(const struct attack *a)
{
	int fd = reopen(a->ro_fd, O_RDWR);

	return fd < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) < 0 ? errno : 0;
}

static int by_own_mem_file(const struct attack *a)
{
	int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	return fd < 0 || pwrite(fd, "x", 1, (off_t)(uintptr_t)a->mem) < 0 ? errno : 0;
}

static const struct {
	const char *name;
	int (*go)(const struct attack *a);
} attacks[] = {
    {"mprotect", by_mprotect},
    {"mmap of the descriptor", by_mapping_writable},
    {"reopen and mmap", by_reopening_and_mapping},
    {"reopen and pwrite", by_reopening_and_writing},
    {"ftruncate to nothing", by_truncating},
    {"ftruncate to more", by_growing},
    {"punch a hole", by_punching},
    {"MADV_REMOVE", by_removing},
    {"one more seal", by_unsealing},
    {"/proc/self/mem", by_own_mem_file},
};

static int become_nobody(void)
{
	return setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	       setresuid(NOBODY, NOBODY, NOBODY) < 0;
}

/* In a child that has mapped the region as a worker does. 0: every attack failed. */
static int attack_region(int ro_fd, bool as_nobody)
{
	struct attack a = {shm_window(GEN), ro_fd};
	int through = 0;

	if (shm_region_map_readonly(GEN, REGION_BYTES, ro_fd) < 0 || (as_nobody && become_nobody()))
		return 99;
	for (size_t i = 0; i < sizeof(attacks) / sizeof(*attacks); i++)
		if (attacks[i].go(&a) == 0) {
			fprintf(stderr, "got through: %s\n", attacks[i].name);
			through++;
		}
	return a.mem[0] == 77 ? through : 98;
}

static void attack_in_child(bool as_nobody)
{
	uint8_t *mem = shm_window(GEN);
	int ro_fd = -1;
	pid_t pid;

	REQUIRE(EXPECT_I(shm_region_create(GEN, REGION_BYTES, &ro_fd), ==, 0));
	mem[0] = 77;
	pid = fork();
	if (pid == 0)
		_exit(attack_region(ro_fd, as_nobody));
	EXPECT_I(board_reap(pid), ==, 0);
	EXPECT_I(mem[0], ==, 77);
	mem[0] = 78; /* the writer's own mapping still writes */
	EXPECT_I(mem[0], ==, 78);
	munmap(mem, REGION_BYTES);
	close(ro_fd);
}

TEST(shm_region, no_attack_of_a_reader_changes_a_byte)
{
	attack_in_child(false);
}

TEST(shm_region, nor_does_one_of_a_reader_of_another_user)
{
	if (geteuid() == 0)
		attack_in_child(true);
}

TEST(shm_region, the_attacks_do_get_through_where_there_is_no_protection)
{
	struct attack a;
	int through = 0;

	a.ro_fd = memfd_create("open", MFD_CLOEXEC);
	REQUIRE(EXPECT_I(ftruncate(a.ro_fd, REGION_BYTES), ==, 0));
	a.mem = mmap(NULL, REGION_BYTES, PROT_READ, MAP_SHARED, a.ro_fd, 0);
	for (size_t i = 0; i < sizeof(attacks) / sizeof(*attacks); i++)
		if (attacks[i].go != by_truncating && attacks[i].go != by_unsealing)
			through += attacks[i].go(&a) == 0;
	EXPECT_I(through, >=, 6); /* else the tests above prove nothing */
	munmap(a.mem, REGION_BYTES);
	close(a.ro_fd);
}

TEST(shm_region, a_file_that_is_too_short_is_not_mapped)
{
	int fd = memfd_create("short", MFD_CLOEXEC);

	EXPECT_I(shm_region_map_readonly(GEN, 4096, fd), ==, -EINVAL);
	EXPECT_I(shm_region_map_readonly(GEN, SHM_WINDOW_BYTES + 1, fd), ==, -EINVAL);
	close(fd);
}

TEST(shm_region, windows_are_taken_once_and_generations_alternate)
{
	int fd;

	REQUIRE(EXPECT_I(shm_region_reserve(REGION_BYTES), ==, 0));
	EXPECT_I(shm_region_reserve(REGION_BYTES), ==, -EEXIST);
	EXPECT_TRUE(shm_window(2) == shm_window(4));
	EXPECT_TRUE(shm_window(2) != shm_window(3));
	REQUIRE(EXPECT_I(shm_region_create(3, REGION_BYTES, &fd), ==, 0));
	memset(shm_window(3), 1, 4096);
	close(fd);
	REQUIRE(EXPECT_I(shm_region_create(5, REGION_BYTES, &fd), ==, 0));
	EXPECT_I(*(uint8_t *)shm_window(5), ==, 0); /* a new one, over the old one */
	shm_region_drop(5, REGION_BYTES);
	close(fd);
	munmap(shm_window(0), REGION_BYTES);
	munmap(shm_window(1), REGION_BYTES);
}

struct enter_fx {
	struct board_fx b;
	int ends[2], region_fd;
};

static void enter_up(struct enter_fx *f)
{
	board_up(&f->b);
	f->b.h.region_bytes = REGION_BYTES;
	REQUIRE(EXPECT_I(shm_region_create(GEN, REGION_BYTES, &f->region_fd), ==, 0));
	*(uint8_t *)shm_window(GEN) = 5;
	f->b.h.region_gen = f->b.h.read_gen = GEN;
	f->b.h.region_ro_fd = f->b.h.read_ro_fd = f->region_fd;
	REQUIRE(EXPECT_I(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, f->ends), ==, 0));
	f->b.h.worker_socket[0] = f->ends[1];
}

static void enter_down(struct enter_fx *f)
{
	shm_region_drop(GEN, REGION_BYTES);
	munmap(shm_window(0), REGION_BYTES);
	munmap(shm_window(1), REGION_BYTES);
	close(f->region_fd);
	close(f->ends[0]);
	close(f->ends[1]);
	board_down(&f->b);
}

static bool can_write(void *at)
{
	int ends[2];
	bool can;

	/* The kernel writes for us, or says EFAULT: no signal handler needed. */
	if (pipe(ends) < 0 || write(ends[1], "", 1) != 1)
		return true;
	can = read(ends[0], at, 1) == 1;
	close(ends[0]);
	close(ends[1]);
	return can;
}

static int count_descriptors(void)
{
	int n = 0;

	for (int fd = 3; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static int check_reader(struct enter_fx *f, unsigned i, int descriptors)
{
	struct shm_heritage *h = &f->b.h;

	if (shm_board_enter_reader(h, i) != 0)
		return 1;
	if (count_descriptors() != descriptors)
		return 2;
	if (can_write(h->board) || can_write(&h->board->head) || can_write(shm_window(GEN)))
		return 3;
	for (unsigned j = 0; j <= BOARD_FX_WORKERS; j++)
		if (can_write(shm_seat_up(h->seat[j])) != (j == i))
			return 4;
	if (*(uint8_t *)shm_window(GEN) != 5 || h->board->n_workers != BOARD_FX_WORKERS)
		return 5;
	if (h->region_ro_fd != -1 || h->board_ro_fd != -1 || h->seat_ro_fd[0] != -1)
		return 6;
	return can_write(shm_window(GEN + 1)) ? 7 : 0;
}

TEST_F(shm_board, a_worker_keeps_its_seat_and_nothing_else, struct enter_fx, enter_up, enter_down)
{
	pid_t pid = fork();

	if (pid == 0) /* two bells of others, its own, its socket */
		_exit(check_reader(f, 0, 4));
	EXPECT_I(board_reap(pid), ==, 0);
	EXPECT_TRUE(can_write(f->b.h.board->pad0)); /* ours is as it was */
}

TEST_F(shm_board, a_snapshotter_has_two_bells_and_its_seat, struct enter_fx, enter_up, enter_down)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(check_reader(f, BOARD_FX_WORKERS, 2));
	EXPECT_I(board_reap(pid), ==, 0);
}

static int check_writer(struct enter_fx *f)
{
	struct shm_heritage *h = &f->b.h;

	if (shm_board_enter_writer(h) != 0)
		return 1;
	if (count_descriptors() != 2 + BOARD_FX_WORKERS)
		return 2;
	return can_write(h->board->pad0) && can_write(shm_window(GEN)) &&
		       !can_write(shm_window(GEN + 1))
		   ? 0
		   : 3;
}

TEST_F(shm_board, the_writer_keeps_board_bells_and_the_region_to_build, struct enter_fx, enter_up,
       enter_down)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(check_writer(f));
	EXPECT_I(board_reap(pid), ==, 0);
}

/* Workers of the server's own user: what keeps them out of the writer is that it is not dumpable.
 */
static int attack_process(pid_t victim, void *address, bool expect_through)
{
	struct iovec from = {"x", 1}, to = {address, 1};
	char path[40];
	int fd, through;

	snprintf(path, sizeof(path), "/proc/%d/mem", (int)victim);
	fd = open(path, O_RDWR | O_CLOEXEC);
	through = fd >= 0;
	through += process_vm_writev(victim, &from, 1, &to, 1, 0) == 1;
	return expect_through ? through != 2 : through != 0;
}

static void attack_sibling(bool dumpable)
{
	static uint8_t target;
	int ready[2];
	pid_t victim, attacker;
	char c;

	REQUIRE(EXPECT_I(pipe(ready), ==, 0));
	victim = fork();
	if (victim == 0) {
		if (become_nobody())
			_exit(1);
		prctl(PR_SET_DUMPABLE, dumpable);
		c = 1;
		if (write(ready[1], &c, 1) == 1)
			pause();
		_exit(1);
	}
	EXPECT_I(read(ready[0], &c, 1), ==, 1);
	attacker = fork();
	if (attacker == 0)
		_exit(become_nobody() ? 99 : attack_process(victim, &target, dumpable));
	EXPECT_I(board_reap(attacker), ==, 0);
	kill(victim, SIGKILL);
	board_reap(victim);
	close(ready[0]);
	close(ready[1]);
}

TEST(shm_board, a_process_that_is_not_dumpable_is_closed_to_its_own_user)
{
	if (geteuid() == 0) {
		attack_sibling(true); /* the attack works, where it can */
		attack_sibling(false);
	}
}

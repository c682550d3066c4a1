#include "writer/main.h"

#include <sys/resource.h>

#include "base/log.h"
#include "writer/life.h"

/* While it recovers, everybody waits for the writer: it goes before them, if it may. */
enum { NICE_RECOVERING = -10 };

int writer_main(const struct shm_heritage *h)
{
	static struct wtr_life life;
	int status;

	log_set_role("writer");
	atomic_store(&h->board->writer_turn_ms, 0);
	(void)setpriority(PRIO_PROCESS, 0, NICE_RECOVERING);
	status = wtr_life_begin(&life, h, &sto_fs_posix);
	return status ? status : wtr_life_end(&life, wtr_loop_run(&life.loop));
}

/*
 * listen.h - the sockets that all workers accept from
 *
 * One per address, made once and inherited: connections that wait in a queue survive the death of
 * any worker.
 */
#pragma once

#include "shm/board.h"

/*
 * Open h->listen_fd[] for conf's address and port, one for each address that its name stands for;
 * without an address one for IPv6 and IPv4 together, or IPv4 where there is no IPv6.
 * 0; -1: logged, nothing is open.
 */
int sup_listen_open(struct shm_heritage *h);

/*
 * machine.h - how much of this machine is ours: processors, memory, descriptors
 *
 * The smallest of what the machine has and what affinity mask and control groups (v2, and v1 as
 * mounted in containers) allow. `root` stands before every path, "" in production.
 */
#pragma once

#include <stdint.h>

/* Processors that we may keep busy, at least 1. */
uint32_t sup_machine_cpus(const char *root);
/* Bytes of memory that we may use. */
uint64_t sup_machine_memory(const char *root);
/* Raise the soft limit of open files to the hard one. The limit then. */
uint64_t sup_machine_raise_files(void);

/*
 * proc.h - what a server's processes cost: CPU time and memory, read from /proc
 *
 * A server is the tree of processes below one pid. A child that died between two readings is found
 * in its reaper's cutime, so that a server that restarts its processes is charged for both lives.
 * Trust: /proc is the kernel's; processes that vanish while they are read are left out.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

struct bench_usage {
	double cpu_s;    /* utime + stime of all, and of reaped children */
	uint64_t pss_kb; /* proportional set size: shared pages count once over the tree */
	uint64_t rss_kb;
	uint64_t shmem_kb; /* of pss_kb: shared memory */
	uint32_t processes;
};

/* 0; -ESRCH: no such process. Only cpu_s and processes are filled in: cheap. */
int bench_usage_cpu(pid_t root, struct bench_usage *u);

/* The same, and memory: the kernel walks the page tables, which takes a while for big processes. */
int bench_usage_all(pid_t root, struct bench_usage *u);

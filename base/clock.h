/*
 * clock.h - the clocks
 *
 * Monotonic clocks order events of one machine and measure spans; they count from boot and mean
 * the same in every process of the machine. The wall clock is for what clients see (ctime, mtime)
 * and may jump. No call enters the kernel.
 */
#pragma once

#include <stdint.h>

uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
uint64_t clock_mono_ns(void);

/* Milliseconds since 1970, as Java's System.currentTimeMillis(). */
int64_t clock_wall_ms(void);

/* net.h - what run.c calls when an event of a connection is due */
#pragma once

#include <stdint.h>

void sim_net_deliver(int c, uint32_t life, int dir);
void sim_net_closed(int c, uint32_t life, int dir);

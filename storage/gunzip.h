/*
 * gunzip.h - a .gz as a whole, for snapshots that ZooKeeper compressed
 *
 * Within storage/ only. Memory for the result is bounded by what the bytes given can hold.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Unpack a .gz. *out is to be freed. 0; -EBADMSG; -ENOMEM. */
int sto_gunzip(const uint8_t *bytes, size_t n, uint8_t **out, size_t *out_n);

/*
 * ip.h - addresses as text, for the scheme `ip`
 *
 * IPv4: four decimal numbers 0..255 between dots, each as Java's Integer.parseInt takes it (leading
 * zeros, a sign). IPv6: groups of 1-4 hex digits, at most one "::"; no dotted tail. An entry of a
 * list may add "/bits". Rules: IPAuthenticationProvider. Pure.
 */
#pragma once

#include "jute/jute.h"

/* May a list have this id? */
bool zk_ip_expr_is_valid(struct jute_buf expr);

/* Is the address in what the entry says? Both must be of the same family. */
bool zk_ip_matches(struct jute_buf address, struct jute_buf expr);

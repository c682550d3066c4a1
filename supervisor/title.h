/*
 * title.h - what ps shows of a process: "paddockd: worker 3"
 */
#pragma once

/* Once, at the start of main(): takes the memory of argv and the environment for titles. */
void sup_title_init(int argc, char **argv);
/* Set the title to "paddockd: role", and the short name of the process to `name` (15 bytes). */
void sup_title_set(const char *role, const char *name);

/*
 * report.h - four-letter words that need every process
 *
 * A worker asks (UP_REPORT); all workers are told (DOWN_REPORT) and each sends its share
 * (UP_REPORT_TEXT), which is relayed to the asker (DOWN_REPORT_TEXT). The last piece of all is
 * marked. For `dump` the writer's own part comes first: sessions by expiry, ephemerals.
 *
 * Bounds: WTR_REPORTS at a time (one more gets an empty answer), WTR_REPORT_MS each: what is
 * missing then stays away.
 *
 * Runs in: writer, deciding thread.
 */
#pragma once

#include <stdint.h>

#include "shm/msg.h"

enum { WTR_REPORTS = 16, WTR_REPORT_MS = 3000, WTR_REPORT_DUMP = 5 };

struct wtr_core;

struct wtr_report {
	uint64_t conn;
	uint64_t waiting; /* bit per worker */
	uint64_t until_ms;
	int32_t kind;
	uint16_t worker; /* the asker's */
	uint16_t used;
};

struct wtr_reports {
	struct wtr_report of[WTR_REPORTS];
	uint64_t alive; /* bit per worker */
};

void wtr_report_ask(struct wtr_core *c, uint16_t worker, const struct msg_up *up);
void wtr_report_text(struct wtr_core *c, uint16_t worker, const struct msg_up *up,
		     const uint8_t *text);
void wtr_report_worker_died(struct wtr_core *c, uint16_t worker);
void wtr_report_tick(struct wtr_core *c);

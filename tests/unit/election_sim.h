/*
 * election_sim.h - an ensemble that elects, in one process, from one seed
 *
 * Servers are struct fle and what a restart leaves of them; the network delays, loses and repeats
 * notifications; connections come back after a loss, or don't until the next message. Beyond the
 * election there is only so much of ZAB as ends a wrong or lost leadership: every SIM_TICK a
 * follower looks whether its leader leads, a leader whether a quorum follows; the one without goes
 * looking again, and a leader that has one begins the next epoch.
 *
 * Checked in every run, independently of the code under test: nobody decides for a leader unless a
 * quorum did say that it votes so (sim_step keeps what was said), and there is at most one leader
 * with a quorum of followers.
 */
#pragma once

#include "quorum/election.h"

enum { SIM_SERVERS = 8, SIM_FLIGHT = 4096, SIM_SAID = 1 << 14, SIM_TRACE = 16384, SIM_TICK = 100 };

struct sim_server {
	struct fle fle;
	struct quorum_config config;
	char text[1024]; /* of its configuration */
	bool up;
	int64_t zxid, epoch;
	uint64_t deadline_ms;
	uint64_t good_ms; /* when its role was last seen to be of use */
	bool serving;
};

struct sim_flight {
	uint64_t at_ms, order;
	enum { SIM_MESSAGE, SIM_CONNECT } kind;
	int from, to;
	struct fle_notification message;
};

/* What a server was sent out to say: evidence for the checks. */
struct sim_said {
	int64_t from;
	enum fle_state state;
	struct fle_vote vote;
};

struct sim {
	/* Set by the test between sim_init() and the first run. */
	uint32_t delay_min_ms, delay_max_ms, loss_percent, repeat_percent;
	bool tracing;

	uint64_t now_ms, order, random, tick_ms;
	int n;
	struct sim_server server[SIM_SERVERS];
	uint32_t n_flight;
	struct sim_flight flight[SIM_FLIGHT];
	uint64_t fifo_ms[SIM_SERVERS][SIM_SERVERS]; /* a connection keeps the order */
	bool dialling[SIM_SERVERS]
		     [SIM_SERVERS]; /* the one has something for the other, who is down */
	uint32_t n_said;
	struct sim_said said[SIM_SAID];
	uint32_t n_decided;
	const char *broken; /* a check that failed, for the test to report */
	size_t trace_used;
	char trace[SIM_TRACE];
};

/* Servers 1..n of this configuration (sid = index + 1), down, with no data. */
void sim_init(struct sim *s, const char *config, uint64_t seed);

/* Server `sid` comes up with what its log ends with, or goes down. */
void sim_up(struct sim *s, int64_t sid, int64_t zxid, int64_t epoch);
void sim_down(struct sim *s, int64_t sid);

/* Lines of text of the test between those of the trace. */
void sim_note(struct sim *s, const char *text);

/*
 * Run for `ms`; or until everybody who is up has the same leader, which serves, and is in its
 * epoch: false when that did not come in time.
 */
void sim_run(struct sim *s, uint64_t ms);
bool sim_run_until_settled(struct sim *s, uint64_t ms);

/* The sid that everybody up follows and that leads itself; -1: there is none. */
int64_t sim_leader(const struct sim *s);

uint64_t sim_random(struct sim *s, uint64_t below);

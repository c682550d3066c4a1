#include "workers/figures.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "workers/worker.h"

#define GET(a_) atomic_load_explicit(&(a_), memory_order_relaxed)

typedef long long ll;

/* Dead workers' seats are empty but for what they had counted. */
static int64_t seat_value(const struct worker *w, uint32_t seat, size_t offset)
{
	const char *stats = (const char *)&w->h->seat[seat]->stats;

	return GET(*(const _Atomic int64_t *)(const void *)(stats + offset));
}

int64_t wrk_sum(const struct worker *w, size_t offset)
{
	int64_t sum = 0;

	for (uint32_t i = 0; i < w->board->n_workers; i++)
		sum += seat_value(w, i, offset);
	return sum;
}

#define SUM(w_, field_) ((ll)wrk_sum(w_, offsetof(struct shm_worker_stats, field_)))

struct latency {
	int64_t min_us, max_us, sum_us, count;
};

static struct latency latency(const struct worker *w)
{
	struct latency l = {0};

	for (uint32_t i = 0; i < w->board->n_workers; i++) {
		const struct shm_worker_stats *s = &w->h->seat[i]->stats;
		int64_t n = GET(s->latency_count), min = GET(s->latency_min_us);

		if (!n)
			continue;
		if (!l.count || min < l.min_us)
			l.min_us = min;
		if (GET(s->latency_max_us) > l.max_us)
			l.max_us = GET(s->latency_max_us);
		l.sum_us += GET(s->latency_sum_us);
		l.count += n;
	}
	return l;
}

/* Up to four decimals, at least one, as Java's DecimalFormat does it. */
static void put_average(struct wrk_text *t, double v)
{
	char text[64];
	int len = snprintf(text, sizeof(text), "%.4f", v);

	while (len > 2 && text[len - 1] == '0' && text[len - 2] != '.')
		len--;
	wrk_text_put(t, "%.*s", len, text);
}

static double average_ms(const struct latency *l)
{
	return l->count ? (double)l->sum_us / (double)l->count / 1000 : 0;
}

/* --- srvr, stat, wchs, conf, dirs, hash ------------------------------------------------------ */

void wrk_put_version(struct worker *w, struct wrk_text *t)
{
	wrk_text_put(t, "Zookeeper version: %s, built on %s\n", WRK_VERSION, __DATE__);
	if (w->read_only)
		wrk_text_put(t, "READ-ONLY mode; serving only read-only clients\n");
}

static int64_t outstanding(const struct worker *w)
{
	return wrk_sum(w, offsetof(struct shm_worker_stats, outstanding));
}

static uint32_t role(const struct worker *w)
{
	return GET(w->board->ensemble.role);
}

/* As ZooKeeper's servers name it (QuorumStats.Provider, ServerStats.getServerState). */
static const char *mode(const struct worker *w)
{
	static const char *const names[] = {[SHM_ALONE] = "standalone",
					    [SHM_LOOKING] = "looking",
					    [SHM_LEADING] = "leader",
					    [SHM_FOLLOWING] = "follower",
					    [SHM_OBSERVING] = "observer"};

	return w->read_only ? "read-only" : names[role(w)];
}

void wrk_put_not_serving(struct worker *w, struct wrk_text *t)
{
	const struct shm_ensemble *e = &w->board->ensemble;

	wrk_text_put(t, "This ZooKeeper instance is not currently serving requests");
	if (role(w) == SHM_ALONE)
		return;
	wrk_text_put(t, "\nState: %s\nEpoch: %lld\nLogged: 0x%llx\nCommitted: 0x%llx\n", mode(w),
		     (ll)GET(e->epoch), (unsigned long long)GET(e->logged_zxid),
		     (unsigned long long)GET(e->committed_zxid));
	wrk_text_put(t, "Reason: %.*s%s", (int)sizeof(e->why), e->why,
		     GET(e->must_sync) ? "; its history was damaged, no vote before "
					 "a leader has sent its state"
				       : "");
}

/* Of a member: whom it follows, or who follows it. */
static void put_ensemble(struct worker *w, struct wrk_text *t)
{
	const struct shm_ensemble *e = &w->board->ensemble;
	uint32_t n = GET(e->n_learners);

	if (role(w) == SHM_ALONE)
		return;
	wrk_text_put(t, "Epoch: %lld\nLeader: %lld\nLogged: 0x%llx\n", (ll)GET(e->epoch),
		     (ll)GET(e->leader_sid), (unsigned long long)GET(e->logged_zxid));
	for (uint32_t i = 0; i < n && i < SHM_MEMBERS; i++) {
		const struct shm_member_view *m = &e->learner[i];
		uint32_t flags = GET(m->flags);
		int64_t acked = GET(m->acked), lag = GET(e->logged_zxid) - acked;

		wrk_text_put(t, "Learner %lld: %s, %s, queued=%lld", (ll)GET(m->sid),
			     flags & SHM_MEMBER_OBSERVER ? "observer" : "follower",
			     flags & SHM_MEMBER_SYNCED ? "in sync" : "syncing", (ll)GET(m->queued));
		if (!(flags & SHM_MEMBER_OBSERVER))
			wrk_text_put(t, ", acked=0x%llx, lag=%lld", (unsigned long long)acked,
				     (ll)(lag > 0 && acked ? lag : 0));
		wrk_text_put(t, "\n");
	}
}

void wrk_put_server(struct worker *w, struct wrk_text *t)
{
	struct latency l = latency(w);

	wrk_text_put(t, "Latency min/avg/max: %lld/", (ll)(l.min_us / 1000));
	put_average(t, average_ms(&l));
	wrk_text_put(t, "/%lld\nReceived: %lld\nSent: %lld\nConnections: %lld\n",
		     (ll)(l.max_us / 1000), SUM(w, received), SUM(w, sent), SUM(w, connections));
	wrk_text_put(t, "Outstanding: %lld\nZxid: 0x%llx\nMode: %s\nNode count: %lld\n",
		     (ll)outstanding(w), (unsigned long long)GET(w->board->zxid), mode(w),
		     (ll)GET(w->board->stats.node_count));
	put_ensemble(w, t);
}

void wrk_put_srvr(struct worker *w, struct wrk_text *t)
{
	wrk_put_version(w, t);
	wrk_put_server(w, t);
}

void wrk_put_wchs(struct worker *w, struct wrk_text *t)
{
	wrk_text_put(t, "%lld connections watching %lld paths\nTotal watches:%lld\n",
		     SUM(w, watchers), SUM(w, watch_paths), SUM(w, data_watches));
}

void wrk_put_conf(struct worker *w, struct wrk_text *t)
{
	const struct conf *c = w->conf;

	wrk_text_put(t, "clientPort=%d\nsecureClientPort=-1\n",
		     c->client_port ? c->client_port : -1);
	wrk_text_put(t, "dataDir=%s/version-2\ndataDirSize=%lld\n", c->data_dir,
		     (ll)GET(w->board->stats.data_dir_bytes));
	wrk_text_put(t, "dataLogDir=%s/version-2\ndataLogSize=%lld\n", c->data_log_dir,
		     (ll)GET(w->board->stats.log_dir_bytes));
	wrk_text_put(t, "tickTime=%u\nmaxClientCnxns=%u\n", c->tick_ms, c->max_client_cnxns);
	wrk_text_put(t, "minSessionTimeout=%u\nmaxSessionTimeout=%u\n", c->session_min_ms,
		     c->session_max_ms);
	wrk_text_put(t, "clientPortListenBacklog=%d\nserverId=%lld\n", c->listen_backlog,
		     c->members ? (ll)c->sid : 0);
	if (c->members)
		wrk_text_put(t, "initLimit=%u\nsyncLimit=%u\nelectionAlg=3\npeerType=%d\n",
			     c->init_limit, c->sync_limit, c->observer);
	if (c->members && !w->read_only)
		wrk_text_put(t, "membership: \n%s", c->members);
}

void wrk_put_dirs(struct worker *w, struct wrk_text *t)
{
	wrk_text_put(t, "datadir_size: %lld\nlogdir_size: %lld\n",
		     (ll)GET(w->board->stats.data_dir_bytes),
		     (ll)GET(w->board->stats.log_dir_bytes));
}

/* The digest of the last transaction; older ones are not kept. */
void wrk_put_hash(struct worker *w, struct wrk_text *t)
{
	wrk_text_put(t, "%llx: %llu\n", (unsigned long long)GET(w->board->stats.digest_zxid),
		     (unsigned long long)GET(w->board->stats.digest));
}

/* --- envi ------------------------------------------------------------------------------------ */

void wrk_put_envi(struct worker *w, struct wrk_text *t)
{
	struct sysinfo memory = {0};
	struct utsname os = {0};
	const char *home = getenv("HOME");
	char dir[4096];
	ll mb;

	(void)w;
	sysinfo(&memory);
	uname(&os);
	mb = (ll)memory.mem_unit;
	wrk_text_put(t, "Environment:\nzookeeper.version=%s, built on %s\nhost.name=%s\n",
		     WRK_VERSION, __DATE__, os.nodename);
	/* Tools expect the keys; there is no Java here. */
	wrk_text_put(t, "java.version=\njava.vendor=\njava.home=\njava.class.path=\n"
			"java.library.path=\njava.io.tmpdir=/tmp\njava.compiler=\n");
	wrk_text_put(t, "os.name=%s\nos.arch=%s\nos.version=%s\n", os.sysname, os.machine,
		     os.release);
	wrk_text_put(t, "user.name=%u\nuser.home=%s\nuser.dir=%s\n", (unsigned)geteuid(),
		     home ? home : "", getcwd(dir, sizeof(dir)) ? dir : "");
	wrk_text_put(t, "os.memory.free=%lldMB\nos.memory.max=%lldMB\nos.memory.total=%lldMB\n",
		     (ll)memory.freeram * mb >> 20, (ll)memory.totalram * mb >> 20,
		     (ll)memory.totalram * mb >> 20);
}

/* --- mntr ------------------------------------------------------------------------------------ */

static void put_key(struct wrk_text *t, const char *key, int64_t value)
{
	wrk_text_put(t, "zk_%s\t%lld\n", key, (ll)value);
}

static int64_t open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int64_t n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n > 3 ? n - 3 : 0; /* ".", ".." and the one that reads */
}

/* A histogram of microseconds in ZooKeeper's shape: milliseconds. */
static void put_summary(struct wrk_text *t, const char *name, const struct hist *h)
{
	static const struct {
		const char *name;
		uint32_t per_million;
	} points[] = {{"p50", 500000}, {"p95", 950000}, {"p99", 990000}, {"p999", 999000}};
	uint64_t n = hist_count(h);

	wrk_text_put(t, "zk_avg_%s\t", name);
	put_average(t, n ? (double)h->sum / (double)n / 1000 : 0);
	wrk_text_put(t, "\nzk_min_%s\t%llu\nzk_max_%s\t%llu\nzk_cnt_%s\t%llu\nzk_sum_%s\t%llu\n",
		     name, (unsigned long long)(h->min_plus_1 ? (h->min_plus_1 - 1) / 1000 : 0),
		     name, (unsigned long long)(h->max / 1000), name, (unsigned long long)n, name,
		     (unsigned long long)(h->sum / 1000));
	for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++)
		wrk_text_put(
		    t, "zk_%s_%s\t%llu\n", points[i].name, name,
		    (unsigned long long)(hist_percentile(h, points[i].per_million) / 1000));
}

static void put_latencies(const struct worker *w, struct wrk_text *t)
{
	struct hist *h = calloc(4, sizeof(*h));

	if (!h)
		return;
	for (uint32_t i = 0; i < w->board->n_workers; i++) {
		hist_merge(&h[0], &w->h->seat[i]->stats.read_us);
		hist_merge(&h[1], &w->h->seat[i]->stats.write_us);
	}
	hist_merge(&h[2], &w->board->stats.fsync_us);
	hist_merge(&h[3], &w->board->stats.commit_us);
	put_summary(t, "readlatency", &h[0]);
	put_summary(t, "updatelatency", &h[1]);
	put_summary(t, "fsynctime", &h[2]);
	put_summary(t, "propagation_latency", &h[3]);
	free(h);
}

static void put_memory(const struct worker *w, struct wrk_text *t)
{
	const struct shm_writer_stats *s = &w->board->stats;

	put_key(t, "paddock_heap_used", GET(s->heap_used));
	put_key(t, "paddock_heap_max", GET(s->heap_max));
	put_key(t, "paddock_retired_bytes", GET(s->retired_bytes));
	put_key(t, "paddock_writes_refused", GET(s->refused));
	put_key(t, "paddock_writer_restarts", GET(w->board->writer_restarts));
	put_key(t, "paddock_recovered_ms", GET(s->recovered_ms));
	put_key(t, "paddock_log_bytes", GET(s->log_bytes));
	put_key(t, "paddock_slow_connections_closed", SUM(w, closed_slow));
	put_key(t, "paddock_bad_inputs", SUM(w, errors));
}

static void put_quorum(const struct worker *w, struct wrk_text *t)
{
	static const char *const states[] = {[SHM_LOOKING] = "looking",
					     [SHM_LEADING] = "leading - broadcast",
					     [SHM_FOLLOWING] = "following - broadcast",
					     [SHM_OBSERVING] = "observing - broadcast"};
	const struct shm_ensemble *e = &w->board->ensemble;
	uint32_t n = GET(e->n_learners), synced = 0, observers = 0;

	for (uint32_t i = 0; i < n && i < SHM_MEMBERS; i++) {
		uint32_t flags = GET(e->learner[i].flags);

		if (!(flags & SHM_MEMBER_SYNCED))
			continue;
		synced += !(flags & SHM_MEMBER_OBSERVER);
		observers += !!(flags & SHM_MEMBER_OBSERVER);
	}
	wrk_text_put(t, "zk_peer_state\t%s\n", states[role(w)]);
	put_key(t, "looking_count", GET(e->elections));
	put_key(t, "digest_mismatches_count", GET(e->digest_mismatches));
	put_key(t, "paddock_tree_doubted", GET(e->doubt));
	put_key(t, "paddock_must_sync", GET(e->must_sync));
	if (role(w) == SHM_LEADING) {
		put_key(t, "learners", n);
		put_key(t, "synced_followers", synced);
		put_key(t, "synced_observers", observers);
	}
	if (role(w) == SHM_FOLLOWING && GET(e->relays))
		put_key(t, "synced_observers", observers);
	if (role(w) == SHM_OBSERVING)
		put_key(t, "observer_master_id", GET(e->master_sid));
	put_key(t, "paddock_epoch", GET(e->epoch));
	put_key(t, "paddock_leader", GET(e->leader_sid));
	put_key(t, "paddock_logged_zxid", GET(e->logged_zxid));
	put_key(t, "paddock_committed_zxid", GET(e->committed_zxid));
}

void wrk_put_mntr(struct worker *w, struct wrk_text *t)
{
	const struct shm_writer_stats *s = &w->board->stats;
	struct latency l = latency(w);
	struct rlimit files = {0};

	getrlimit(RLIMIT_NOFILE, &files);
	wrk_text_put(t, "zk_version\t%s, built on %s\nzk_server_state\t%s\n", WRK_VERSION, __DATE__,
		     mode(w));
	put_key(t, "ephemerals_count", GET(s->ephemeral_count));
	put_key(t, "num_alive_connections", SUM(w, connections));
	wrk_text_put(t, "zk_avg_latency\t");
	put_average(t, average_ms(&l));
	wrk_text_put(t, "\n");
	put_key(t, "min_latency", l.min_us / 1000);
	put_key(t, "max_latency", l.max_us / 1000);
	put_key(t, "outstanding_requests", outstanding(w));
	put_key(t, "znode_count", GET(s->node_count));
	put_key(t, "global_sessions", GET(s->session_count));
	put_key(t, "local_sessions", GET(s->local_count));
	put_key(t, "packets_sent", SUM(w, sent));
	put_key(t, "packets_received", SUM(w, received));
	put_key(t, "watch_count", SUM(w, watches));
	put_key(t, "open_file_descriptor_count", open_descriptors());
	put_key(t, "max_file_descriptor_count", (int64_t)files.rlim_cur);
	put_key(t, "approximate_data_size", GET(s->data_bytes));
	put_key(t, "uptime", clock_wall_ms() - GET(s->start_wall_ms));
	put_key(t, "bytes_received_count", SUM(w, bytes_in));
	put_key(t, "response_bytes", SUM(w, bytes_out));
	put_key(t, "connection_rejected", SUM(w, rejected));
	put_key(t, "commit_count", GET(s->txns));
	put_key(t, "snap_count", GET(s->snapshots));
	put_key(t, "snapshot_error_count", GET(s->snapshots_failed));
	put_latencies(w, t);
	put_memory(w, t);
	if (role(w) != SHM_ALONE)
		put_quorum(w, t);
}

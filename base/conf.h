/*
 * conf.h - what the operator asked for, as every process sees it
 *
 * Filled once by supervisor/conf.c from zoo.cfg (or from ZooKeeper's PORT DATADIR arguments) before
 * any fork, constant ever after. Strings belong to the struct and live as long as the process.
 * Defaults are Apache ZooKeeper 3.9's, unless said. Units stand at the end of each name.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CONF_WORKERS_MAX = 64, CONF_LISTEN_MAX = 8 };

struct conf {
	char *file;           /* zoo.cfg, or NULL with command-line arguments */
	char *data_dir;       /* dataDir, without version-2 */
	char *data_log_dir;   /* dataLogDir; = data_dir if not given */
	char *client_address; /* clientPortAddress; NULL = any */
	uint16_t client_port; /* clientPort */
	int listen_backlog;   /* clientPortListenBacklog; -1 = the system's maximum */

	uint32_t tick_ms;                        /* tickTime, 3000 */
	uint32_t session_min_ms, session_max_ms; /* resolved: never 0 */
	uint32_t max_client_cnxns;         /* per address, 60; 0 = no limit (0 with arguments) */
	uint32_t max_cnxns;                /* all together; 0 = no limit */
	uint32_t sessionless_timeout_ms;   /* nio.sessionlessCnxnTimeout, 10000 */
	uint32_t max_buffer;               /* jute.maxbuffer, 0xfffff */
	uint32_t max_buffer_extra;         /* jute.maxbuffer.extrasize, = max_buffer, >= 1024 */
	uint32_t global_outstanding_limit; /* 0 = not given: bounded by bytes alone */
	uint32_t throttled_op_wait_ms;     /* 0 = off */

	bool force_sync;           /* forceSync, true */
	uint32_t snap_count;       /* snapCount, 100000 */
	uint64_t snap_size_limit;  /* bytes of log between snapshots, snapSizeLimitInKb; 0 = off */
	uint64_t segment_size;     /* bytes, preAllocSize (16 MiB) */
	uint32_t purge_interval_h; /* autopurge.purgeInterval, 0 = off */
	uint32_t purge_retain;     /* autopurge.snapRetainCount, at least 3 */
	uint32_t fsync_warn_ms;    /* fsync.warningthresholdms, 1000 */

	bool digest_enabled;              /* digest.enabled: tree digests in transactions, true */
	bool extended_types;              /* extendedTypesEnabled */
	bool enforce_quota;               /* enforceQuota */
	bool skip_acl;                    /* skipACL=yes */
	bool reconfig_enabled;            /* reconfigEnabled */
	bool close_session_txn;           /* closeSessionTxn.enabled, true */
	bool tcp_keepalive;               /* clientTcpKeepAlive */
	bool read_only_mode;              /* readonlymode.enabled */
	bool digest_auth;                 /* DigestAuthenticationProvider.enabled, true */
	char *super_digest;               /* ...superDigest, "super:base64"; NULL = none */
	char *four_letter_words;          /* 4lw.commands.whitelist as given; NULL = "srvr" */
	bool enforce_auth;                /* enforce.auth.enabled */
	char *enforce_auth_schemes;       /* enforce.auth.schemes; NULL = none */
	uint32_t container_check_ms;      /* znode.container.checkIntervalMs, 60000 */
	uint32_t container_per_minute;    /* znode.container.maxPerMinute, 10000 */
	uint32_t container_never_used_ms; /* znode.container.maxNeverUsedIntervalMs, 0 = never */
	uint8_t server_id;                /* low byte of session ids; 1 standalone */

	/* The ensemble. members NULL: standalone, and the rest counts for nothing. */
	char *members; /* server., group., weight. lines and version, as quorum/config.h reads
			  them, checked; clientPort of the static file is not in there */
	int64_t sid;   /* myid */
	bool observer; /* by the member list; a server that is not in it: by peerType */
	uint32_t init_limit, sync_limit;   /* ticks */
	uint32_t connect_limit;            /* connectToLearnerMasterLimit, ticks; 0 = init_limit */
	uint32_t connect_retry_ms;         /* leaderConnectDelayDuringRetryMs, 100 */
	uint32_t election_connect_ms;      /* cnxTimeout, 5000 */
	uint32_t election_hello_ms;        /* quorumCnxnTimeoutMs; resolved: sync_limit ticks */
	uint32_t election_bind_retries;    /* electionPortBindRetry, 3 */
	uint32_t vote_min_ms, vote_max_ms; /* fastleader.minNotificationInterval 200, max.. 60000 */
	uint32_t observer_delay_ms;        /* observer.election.DelayMs, 200 */
	uint32_t observer_master_port;     /* observerMasterPort; 0 = none */
	uint64_t observer_master_bytes;    /* observerMaster.sizeLimit, 32 MiB */
	bool listen_on_all;                /* quorumListenOnAllIPs */
	bool several_addresses;            /* multiAddress.enabled */
	bool leader_serves;                /* leaderServes, true */
	bool local_sessions, local_sessions_upgrading;
	bool standalone_enabled; /* standaloneEnabled, true */
	char *dynamic_file;      /* dynamicConfigFile, or NULL */

	/* Paddock's own keys. */
	uint32_t workers; /* paddock.workers: auto, or 1..CONF_WORKERS_MAX */
	/* paddock.heap: bytes of shared memory for the tree; default half of the memory limit */
	uint64_t heap_max;
	char *worker_user; /* paddock.workerUser: of the workers when started as root; "nobody" */
};

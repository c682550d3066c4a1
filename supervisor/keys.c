#include "supervisor/keys.h"

#include <string.h>

#include "base/conf.h"

#define FIELD(field_) offsetof(struct conf, field_), sizeof(((struct conf *)0)->field_)
#define NUMBER(name_, field_, min_, max_, scale_, what_)                                           \
	{                                                                                          \
		name_, SUP_KEY_NUMBER, FIELD(field_), min_, max_, scale_, what_, 0, NULL           \
	}
#define VALUE(name_, type_, field_, what_)                                                         \
	{                                                                                          \
		name_, type_, FIELD(field_), 0, 0, 0, what_, 0, NULL                               \
	}
#define REFUSED(name_, off_, why_)                                                                 \
	{                                                                                          \
		name_, SUP_KEY_REFUSED, 0, 0, 0, 0, 0, why_, 0, off_                               \
	}
#define IGNORED(name_, reason_, off_)                                                              \
	{                                                                                          \
		name_, SUP_KEY_IGNORED, 0, 0, 0, 0, 0, NULL, reason_, off_                         \
	}

#define MS              "a number of milliseconds"
#define COUNT           "a number"
#define ONLY_STANDALONE "this version serves standalone only"

static const struct sup_key keys[] = {
    /* --- honoured --- */
    VALUE("dataDir", SUP_KEY_TEXT, data_dir, "a directory"),
    VALUE("dataLogDir", SUP_KEY_TEXT, data_log_dir, "a directory"),
    VALUE("clientPortAddress", SUP_KEY_TEXT, client_address, "an address"),
    NUMBER("clientPort", client_port, 1, 65535, 1, "a port"),
    NUMBER("clientPortListenBacklog", listen_backlog, -1, INT32_MAX, 1, COUNT),
    NUMBER("tickTime", tick_ms, 1, INT32_MAX, 1, MS),
    NUMBER("minSessionTimeout", session_min_ms, -1, INT32_MAX, 1, MS),
    NUMBER("maxSessionTimeout", session_max_ms, -1, INT32_MAX, 1, MS),
    NUMBER("maxClientCnxns", max_client_cnxns, 0, INT32_MAX, 1, COUNT),
    NUMBER("maxCnxns", max_cnxns, 0, INT32_MAX, 1, COUNT),
    NUMBER("nio.sessionlessCnxnTimeout", sessionless_timeout_ms, 1, INT32_MAX, 1, MS),
    NUMBER("jute.maxbuffer", max_buffer, 1024, 128 << 20, 1, "a number of bytes"),
    NUMBER("jute.maxbuffer.extrasize", max_buffer_extra, 0, INT32_MAX, 1, "a number of bytes"),
    NUMBER("globalOutstandingLimit", global_outstanding_limit, 1, INT32_MAX, 1, COUNT),
    NUMBER("throttled_op_wait_time", throttled_op_wait_ms, 0, INT32_MAX, 1, MS),
    VALUE("forceSync", SUP_KEY_NOT_NO, force_sync, NULL),
    NUMBER("snapCount", snap_count, INT32_MIN, INT32_MAX, 1, COUNT),
    NUMBER("snapSizeLimitInKb", snap_size_limit, -1, INT64_MAX >> 10, 1024, "a number of KiB"),
    NUMBER("preAllocSize", segment_size, 64, 2 << 20, 1024, "a number of KiB"),
    NUMBER("autopurge.purgeInterval", purge_interval_h, 0, 24 * 365, 1, "a number of hours"),
    NUMBER("autopurge.snapRetainCount", purge_retain, INT32_MIN, INT32_MAX, 1, COUNT),
    NUMBER("fsync.warningthresholdms", fsync_warn_ms, 0, INT32_MAX, 1, MS),
    VALUE("digest.enabled", SUP_KEY_TRUE, digest_enabled, NULL),
    VALUE("extendedTypesEnabled", SUP_KEY_TRUE, extended_types, NULL),
    VALUE("enforceQuota", SUP_KEY_TRUE, enforce_quota, NULL),
    VALUE("skipACL", SUP_KEY_YES, skip_acl, NULL),
    VALUE("reconfigEnabled", SUP_KEY_BOOL, reconfig_enabled, NULL),
    VALUE("closeSessionTxn.enabled", SUP_KEY_TRUE, close_session_txn, NULL),
    VALUE("clientTcpKeepAlive", SUP_KEY_TRUE, tcp_keepalive, NULL),
    VALUE("readonlymode.enabled", SUP_KEY_TRUE, read_only_mode, NULL),
    VALUE("DigestAuthenticationProvider.enabled", SUP_KEY_TRUE, digest_auth, NULL),
    VALUE("DigestAuthenticationProvider.superDigest", SUP_KEY_TEXT, super_digest, "super:BASE64"),
    VALUE("4lw.commands.whitelist", SUP_KEY_TEXT, four_letter_words, "words"),
    VALUE("enforce.auth.enabled", SUP_KEY_TRUE, enforce_auth, NULL),
    VALUE("enforce.auth.schemes", SUP_KEY_TEXT, enforce_auth_schemes, "schemes"),
    NUMBER("znode.container.checkIntervalMs", container_check_ms, 1, INT32_MAX, 1, MS),
    NUMBER("znode.container.maxPerMinute", container_per_minute, 1, INT32_MAX, 1, COUNT),
    NUMBER("znode.container.maxNeverUsedIntervalMs", container_never_used_ms, 0, INT32_MAX, 1, MS),
    VALUE("paddock.workers", SUP_KEY_WORKERS, workers, "auto, or a number from 1 to 64"),
    VALUE("paddock.heap", SUP_KEY_SIZE, heap_max,
	  "a size from 16M to 120G, as 512M or 8G (bytes without a letter)"),
    VALUE("paddock.workerUser", SUP_KEY_TEXT, worker_user, "a user"),
    {"server.", SUP_KEY_SERVER, 0, 0, 0, 0, 0, NULL, 0, NULL},

    /* --- not to be ignored --- */
    REFUSED("dynamicConfigFile", NULL, ONLY_STANDALONE),
    REFUSED("standaloneEnabled", "true", ONLY_STANDALONE),
    REFUSED("peerType", "participant", ONLY_STANDALONE),
    REFUSED("electionAlg", "3", "there is no other election algorithm than 3"),
    REFUSED("sessionRequireClientSASLAuth", "false",
	    "SASL is not served yet, so nobody could be let in"),
    REFUSED("DigestAuthenticationProvider.digestAlg", "SHA1",
	    "passwords are hashed with SHA1 only"),
    REFUSED("emulate353TTLNodes", "false", "the TTL layout of 3.5.3 is not known here"),

    /* --- without effect --- */
    IGNORED("secureClientPort", SUP_TLS, NULL),
    IGNORED("secureClientPortAddress", SUP_TLS, NULL),
    IGNORED("client.portUnification", SUP_TLS, "false"),
    IGNORED("client.certReload", SUP_TLS, "false"),
    IGNORED("ssl.", SUP_TLS, NULL),
    IGNORED("fips-mode", SUP_TLS, "true"),
    IGNORED("X509AuthenticationProvider.", SUP_TLS, NULL),
    IGNORED("netty.server.outstandingHandshake.limit", SUP_TLS, "-1"),
    IGNORED("earlyDropSecureConnectionHandshakes", SUP_TLS, "false"),
    IGNORED("allowSaslFailedClients", SUP_SASL, "false"),
    IGNORED("superUser", SUP_SASL, NULL),
    IGNORED("sasl.", SUP_SASL, NULL),
    IGNORED("kerberos.", SUP_SASL, NULL),
    IGNORED("jaasLoginRenew", SUP_SASL, NULL),
    IGNORED("requireClientAuthScheme", SUP_SASL, NULL),
    IGNORED("authProvider.", SUP_AUTH_PLUGIN, NULL),
    IGNORED("ensembleAuthName", SUP_AUTH_PLUGIN, NULL),
    IGNORED("admin.enableServer", SUP_ADMIN, "false"),
    IGNORED("admin.", SUP_ADMIN, NULL),
    IGNORED("metricsProvider.", SUP_METRICS, NULL),
    IGNORED("pathStats.", SUP_METRICS, NULL),
    IGNORED("messageTracker.", SUP_METRICS, NULL),
    IGNORED("audit.enable", SUP_AUDIT, "false"),
    IGNORED("audit.", SUP_AUDIT, NULL),
    IGNORED("request_throttle_max_requests", SUP_THROTTLE, "0"),
    IGNORED("request_throttle_", SUP_THROTTLE, NULL),
    IGNORED("request_stale_", SUP_THROTTLE, NULL),
    IGNORED("request_throttler.", SUP_THROTTLE, NULL),
    IGNORED("connection_throttle_tokens", SUP_THROTTLE, "0"),
    IGNORED("connection_throttle_", SUP_THROTTLE, NULL),
    IGNORED("largeRequestThreshold", SUP_THROTTLE, "-1"),
    IGNORED("largeRequestMaxBytes", SUP_THROTTLE, NULL),
    IGNORED("localSessionsEnabled", SUP_LOCAL_SESSIONS, "false"),
    IGNORED("localSessionsUpgradingEnabled", SUP_LOCAL_SESSIONS, "false"),
    IGNORED("enableEagerACLCheck", SUP_EAGER_ACL, "false"),

    IGNORED("initLimit", SUP_QUORUM, NULL),
    IGNORED("syncLimit", SUP_QUORUM, NULL),
    IGNORED("connectToLearnerMasterLimit", SUP_QUORUM, NULL),
    IGNORED("group.", SUP_QUORUM, NULL),
    IGNORED("weight.", SUP_QUORUM, NULL),
    IGNORED("quorumListenOnAllIPs", SUP_QUORUM, "false"),
    IGNORED("observerMasterPort", SUP_QUORUM, "0"),
    IGNORED("observerMaster.", SUP_QUORUM, NULL),
    IGNORED("syncEnabled", SUP_QUORUM, "true"),
    IGNORED("oraclePath", SUP_QUORUM, NULL),
    IGNORED("multiAddress.", SUP_QUORUM, NULL),
    IGNORED("sslQuorum", SUP_QUORUM, "false"),
    IGNORED("sslQuorumReloadCertFiles", SUP_QUORUM, "false"),
    IGNORED("portUnification", SUP_QUORUM, "false"),
    IGNORED("quorum.", SUP_QUORUM, NULL),
    IGNORED("quorumCnxnTimeoutMs", SUP_QUORUM, "-1"),
    IGNORED("leaderServes", SUP_QUORUM, "yes"),
    IGNORED("leader.", SUP_QUORUM, NULL),
    IGNORED("leaderConnectDelayDuringRetryMs", SUP_QUORUM, NULL),
    IGNORED("follower.", SUP_QUORUM, NULL),
    IGNORED("learner.", SUP_QUORUM, NULL),
    IGNORED("observer.", SUP_QUORUM, NULL),
    IGNORED("fastleader.", SUP_QUORUM, NULL),
    IGNORED("electionPortBindRetry", SUP_QUORUM, NULL),
    IGNORED("cnxTimeout", SUP_QUORUM, NULL),
    IGNORED("tcpKeepAlive", SUP_QUORUM, "false"),
    IGNORED("commitLogCount", SUP_QUORUM, NULL),
    IGNORED("forceSnapshotSync", SUP_QUORUM, "false"),
    IGNORED("snapshotSizeFactor", SUP_QUORUM, NULL),
    IGNORED("forward_learner_requests_to_commit_processor_disabled", SUP_QUORUM, NULL),
    IGNORED("readonlymode.", SUP_QUORUM, NULL),

    IGNORED("nio.", SUP_JAVA, NULL),
    IGNORED("netty.", SUP_JAVA, NULL),
    IGNORED("serverCnxnFactory", SUP_JAVA, NULL),
    IGNORED("jvm.", SUP_JAVA, NULL),
    IGNORED("commitProcessor.", SUP_JAVA, NULL),
    IGNORED("maxResponseCacheSize", SUP_JAVA, NULL),
    IGNORED("maxGetChildrenResponseCacheSize", SUP_JAVA, NULL),
    IGNORED("intBufferStartingSizeBytes", SUP_JAVA, NULL),
    IGNORED("watchManagerName", SUP_JAVA, NULL),
    IGNORED("watcherCleanThreadsNum", SUP_JAVA, NULL),
    IGNORED("watcherCleanThreshold", SUP_JAVA, NULL),
    IGNORED("watcherCleanIntervalInSeconds", SUP_JAVA, NULL),
    IGNORED("maxInProcessingDeadWatchers", SUP_JAVA, NULL),
    IGNORED("bitHashCacheSize", SUP_JAVA, NULL),
    IGNORED("flushDelay", SUP_JAVA, "0"),
    IGNORED("maxBatchSize", SUP_JAVA, NULL),
    IGNORED("maxWriteQueuePollTime", SUP_JAVA, NULL),
    IGNORED("clientCnxnSocket", SUP_JAVA, NULL),
    IGNORED("client.", SUP_JAVA, NULL),

    IGNORED("snapshot.compression.method", SUP_FORMAT, NULL),
    IGNORED("snapshot.trust.empty", SUP_FORMAT, "false"),
    IGNORED("serializeLastProcessedZxid.enabled", SUP_FORMAT, "true"),
    IGNORED("txnLogSizeLimitInKb", SUP_FORMAT, "-1"),
    IGNORED("datadir.autocreate", SUP_FORMAT, "true"),
    IGNORED("db.autocreate", SUP_FORMAT, "true"),
};

static const char *const reasons[SUP_REASONS] = {
    [SUP_TLS] = "TLS is not served yet",
    [SUP_SASL] = "SASL is not served yet",
    [SUP_AUTH_PLUGIN] = "no authentication plug-ins",
    [SUP_ADMIN] = "the admin HTTP server is not served yet",
    [SUP_METRICS] = "metrics providers are not served yet",
    [SUP_AUDIT] = "the audit log is not served yet",
    [SUP_THROTTLE] = "these throttles are not served yet",
    [SUP_LOCAL_SESSIONS] = "local sessions are not served yet",
    [SUP_EAGER_ACL] = "there is one ACL check",
    [SUP_QUORUM] = "the quorum's, and this server is standalone",
    [SUP_JAVA] = "the Java server's inside, without meaning here",
    [SUP_FORMAT] = "the data directory has a format and rules of its own",
};

const struct sup_key *sup_key_find(const char *name)
{
	const struct sup_key *prefix = NULL;

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		size_t len = strlen(keys[i].name);

		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
		if (keys[i].name[len - 1] == '.' && strncmp(keys[i].name, name, len) == 0)
			prefix = &keys[i];
	}
	return prefix;
}

const char *sup_reason_text(enum sup_reason reason)
{
	return reasons[reason];
}

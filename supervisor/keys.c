#include "supervisor/keys.h"

#include <string.h>

#include "base/conf.h"

#define FIELD(field_) offsetof(struct conf, field_), sizeof(((struct conf *)0)->field_)
#define NUMBER_(name_, field_, min_, max_, scale_, what_, alone_)                                  \
	{                                                                                          \
		name_, SUP_KEY_NUMBER, FIELD(field_), min_, max_, scale_, what_, alone_,           \
		    SUP_HAS_EFFECT, NULL                                                           \
	}
#define NUMBER(name_, field_, min_, max_, scale_, what_)                                           \
	NUMBER_(name_, field_, min_, max_, scale_, what_, SUP_HAS_EFFECT)
#define VALUE(name_, type_, field_, what_)                                                         \
	{                                                                                          \
		name_, type_, FIELD(field_), 0, 0, 0, what_, SUP_HAS_EFFECT, SUP_HAS_EFFECT, NULL  \
	}
#define REFUSED(name_, off_, why_)                                                                 \
	{                                                                                          \
		name_, SUP_KEY_REFUSED, 0, 0, 0, 0, 0, why_, SUP_HAS_EFFECT, SUP_HAS_EFFECT, off_  \
	}
#define IGNORED(name_, reason_, off_)                                                              \
	{                                                                                          \
		name_, SUP_KEY_IGNORED, 0, 0, 0, 0, 0, NULL, reason_, reason_, off_                \
	}
/* What matters between servers: a standalone one leaves it be. */
#define QUORUM_NUMBER(name_, field_, min_, what_)                                                  \
	NUMBER_(name_, field_, min_, INT32_MAX, 1, what_, SUP_QUORUM)
#define QUORUM_VALUE(name_, type_, field_, off_)                                                   \
	{                                                                                          \
		name_, type_, FIELD(field_), 0, 0, 0, NULL, SUP_QUORUM, SUP_HAS_EFFECT, off_       \
	}
#define QUORUM_REFUSED(name_, off_, why_)                                                          \
	{                                                                                          \
		name_, SUP_KEY_REFUSED, 0, 0, 0, 0, 0, why_, SUP_QUORUM, SUP_HAS_EFFECT, off_      \
	}
#define QUORUM_IGNORED(name_, reason_, off_)                                                       \
	{                                                                                          \
		name_, SUP_KEY_IGNORED, 0, 0, 0, 0, 0, NULL, SUP_QUORUM, reason_, off_             \
	}
#define MEMBER(name_, what_, alone_)                                                               \
	{                                                                                          \
		name_, SUP_KEY_MEMBER, 0, 0, 0, 0, 0, what_, alone_, SUP_HAS_EFFECT, NULL          \
	}

#define MS    "a number of milliseconds"
#define COUNT "a number"
#define TICKS "a number of ticks"
#define PLAIN                                                                                      \
	"servers talk to each other without TLS and SASL in this version, and an ensemble must "   \
	"not lose its protection silently"

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
    VALUE("standaloneEnabled", SUP_KEY_BOOL, standalone_enabled, NULL),
    VALUE("dynamicConfigFile", SUP_KEY_TEXT, dynamic_file, "a file"),
    {"peerType", SUP_KEY_ROLE, 0, 0, 0, 0, 0, "participant or observer", 0, 0, NULL},
    MEMBER("server.", "HOST:PORT:PORT[:ROLE][;[HOST:]PORT]", SUP_HAS_EFFECT),
    MEMBER("group.", "SID:SID:..", SUP_QUORUM),
    MEMBER("weight.", "a number", SUP_QUORUM),
    MEMBER("version", "a hexadecimal number", SUP_QUORUM),

    /* --- honoured in an ensemble --- */
    QUORUM_NUMBER("initLimit", init_limit, 0, TICKS),
    QUORUM_NUMBER("syncLimit", sync_limit, 0, TICKS),
    QUORUM_NUMBER("connectToLearnerMasterLimit", connect_limit, 0, TICKS),
    QUORUM_NUMBER("leaderConnectDelayDuringRetryMs", connect_retry_ms, 0, MS),
    QUORUM_NUMBER("cnxTimeout", election_connect_ms, 1, MS),
    QUORUM_NUMBER("quorumCnxnTimeoutMs", election_hello_ms, -1, MS),
    QUORUM_NUMBER("electionPortBindRetry", election_bind_retries, 0, COUNT),
    QUORUM_NUMBER("fastleader.minNotificationInterval", vote_min_ms, 1, MS),
    QUORUM_NUMBER("fastleader.maxNotificationInterval", vote_max_ms, 1, MS),
    QUORUM_NUMBER("observer.election.DelayMs", observer_delay_ms, 0, MS),
    NUMBER_("observerMasterPort", observer_master_port, 0, 65535, 1, "a port", SUP_QUORUM),
    NUMBER_("observerMaster.sizeLimit", observer_master_bytes, 1, INT32_MAX, 1, "a number of bytes",
	    SUP_QUORUM),
    QUORUM_VALUE("quorumListenOnAllIPs", SUP_KEY_BOOL, listen_on_all, "false"),
    QUORUM_VALUE("multiAddress.enabled", SUP_KEY_BOOL, several_addresses, "false"),
    QUORUM_VALUE("leaderServes", SUP_KEY_YES, leader_serves, "yes"),
    QUORUM_VALUE("localSessionsEnabled", SUP_KEY_BOOL, local_sessions, "false"),
    QUORUM_VALUE("localSessionsUpgradingEnabled", SUP_KEY_BOOL, local_sessions_upgrading, "false"),

    /* --- not to be ignored --- */
    REFUSED("electionAlg", "3", "there is no other election algorithm than 3"),
    REFUSED("sessionRequireClientSASLAuth", "false",
	    "SASL is not served yet, so nobody could be let in"),
    REFUSED("DigestAuthenticationProvider.digestAlg", "SHA1",
	    "passwords are hashed with SHA1 only"),
    REFUSED("emulate353TTLNodes", "false", "the TTL layout of 3.5.3 is not known here"),
    QUORUM_REFUSED("sslQuorum", "false", PLAIN),
    QUORUM_REFUSED("quorum.auth.enableSasl", "false", PLAIN),
    QUORUM_REFUSED("quorum.auth.serverRequireSasl", "false", PLAIN),
    QUORUM_REFUSED("quorum.auth.learnerRequireSasl", "false", PLAIN),
    QUORUM_REFUSED("oraclePath", NULL,
		   "an oracle in place of a quorum can elect two leaders: not served"),

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
    IGNORED("enableEagerACLCheck", SUP_EAGER_ACL, "false"),

    QUORUM_IGNORED("observerMaster.", SUP_TUNING, NULL),
    QUORUM_IGNORED("syncEnabled", SUP_OBSERVER_DISK, "true"),
    QUORUM_IGNORED("tcpKeepAlive", SUP_KEEPALIVE, "false"),
    QUORUM_IGNORED("sslQuorumReloadCertFiles", SUP_TLS, "false"),
    QUORUM_IGNORED("portUnification", SUP_TLS, "false"),
    QUORUM_IGNORED("quorum.auth.", SUP_SASL, NULL),
    QUORUM_IGNORED("quorum.cnxn.threads.size", SUP_JAVA, NULL),
    QUORUM_IGNORED("quorum.", SUP_TUNING, NULL),
    QUORUM_IGNORED("multiAddress.", SUP_TUNING, NULL),
    QUORUM_IGNORED("leader.", SUP_TUNING, NULL),
    QUORUM_IGNORED("follower.", SUP_TUNING, NULL),
    QUORUM_IGNORED("learner.", SUP_TUNING, NULL),
    QUORUM_IGNORED("observer.", SUP_TUNING, NULL),
    QUORUM_IGNORED("fastleader.", SUP_TUNING, NULL),
    QUORUM_IGNORED("commitLogCount", SUP_TUNING, NULL),
    QUORUM_IGNORED("forceSnapshotSync", SUP_TUNING, "false"),
    QUORUM_IGNORED("snapshotSizeFactor", SUP_TUNING, NULL),
    QUORUM_IGNORED("forward_learner_requests_to_commit_processor_disabled", SUP_TUNING, NULL),
    QUORUM_IGNORED("readonlymode.", SUP_TUNING, NULL),

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
    [SUP_EAGER_ACL] = "there is one ACL check",
    [SUP_QUORUM] = "the quorum's, and this server is standalone",
    [SUP_OBSERVER_DISK] = "observers always keep log and snapshots",
    [SUP_KEEPALIVE] = "keep-alive is always on between servers",
    [SUP_TUNING] = "the quorum has no such setting here",
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
		if (keys[i].name[len - 1] == '.' && strncmp(keys[i].name, name, len) == 0 &&
		    (!prefix || len > strlen(prefix->name)))
			prefix = &keys[i];
	}
	return prefix;
}

const char *sup_reason_text(enum sup_reason reason)
{
	return reasons[reason];
}

#include "jute/session.h"

#define JAVA_MASK       (((uint64_t)1 << 48) - 1)
#define JAVA_MULTIPLIER ((uint64_t)0x5deece66d)
#define PASSWORD_SALT   ((uint64_t)0xb3415c00) /* ZooKeeperServer.superSecret */

void zk_session_password(int64_t session_id, uint8_t password[ZK_SESSION_PASSWORD_SIZE])
{
	uint64_t state = ((uint64_t)session_id ^ PASSWORD_SALT ^ JAVA_MULTIPLIER) & JAVA_MASK;

	for (int i = 0; i < ZK_SESSION_PASSWORD_SIZE; i += 4) {
		state = (state * JAVA_MULTIPLIER + 0xb) & JAVA_MASK;
		le32_put(password + i, (uint32_t)(state >> 16));
	}
}

bool zk_session_password_is(int64_t session_id, struct jute_buf password)
{
	uint8_t want[ZK_SESSION_PASSWORD_SIZE], differ = 0;

	if (password.len != ZK_SESSION_PASSWORD_SIZE)
		return false;
	zk_session_password(session_id, want);
	for (int i = 0; i < ZK_SESSION_PASSWORD_SIZE; i++)
		differ |= want[i] ^ password.data[i];
	return !differ;
}

int64_t zk_session_id_first(uint8_t server_id, int64_t wall_ms)
{
	uint64_t clock = (uint64_t)wall_ms & (((uint64_t)1 << 40) - 1);

	return (int64_t)((uint64_t)server_id << 56 | clock << 16);
}

int64_t zk_session_id_next(int64_t id)
{
	uint64_t next = (uint64_t)id + 1;

	while (next == 0 || next == (uint64_t)INT64_MIN)
		next++;
	return (int64_t)next;
}

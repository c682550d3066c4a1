/*
 * session.h - numbers and passwords of sessions, as ZooKeeper makes them
 *
 * The password of a session is derived from its id (ZooKeeperServer.generatePasswd), so that any
 * server of an ensemble can check it; it is a checksum rather than a secret. Pure.
 */
#pragma once

#include "jute/jute.h"

enum { ZK_SESSION_PASSWORD_SIZE = 16 };

void zk_session_password(int64_t session_id, uint8_t password[ZK_SESSION_PASSWORD_SIZE]);

/* Is this the password of the session? Takes the same time wherever the difference is. */
bool zk_session_password_is(int64_t session_id, struct jute_buf password);

/*
 * The first id of a server that starts: its number in the top byte, below it 40 bits of the wall
 * clock in ms, 16 bits of zero (SessionTrackerImpl.initializeNextSessionId). Ids go on by one.
 */
int64_t zk_session_id_first(uint8_t server_id, int64_t wall_ms);

/* The id after this one; never the one that marks containers, never 0. */
int64_t zk_session_id_next(int64_t id);

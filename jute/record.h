/*
 * record.h - a record's struct, decoder and encoder from one list of its fields
 *
 *	#define ZK_THING(F) F(ustring, path) F(int, version)
 *	ZK_RECORD_DECLARE(zk_thing, ZK_THING)	in the header
 *	ZK_RECORD_DEFINE(zk_thing, ZK_THING)	in the source
 *
 * gives struct zk_thing { struct jute_buf path; int32_t version; } and
 *
 *	int zk_thing_decode(struct jute_in *in, struct zk_thing *to);	0; -EBADMSG: not whole
 *	void zk_thing_encode(struct jute_out *out, const struct zk_thing *from);
 *
 * Decoding returns views into the input and consumes what it read; bytes behind the record stay.
 * Kinds of fields: int, long, boolean, ustring, buffer, ustrings, acls (vectors), stat.
 */
#pragma once

#include <errno.h>

#include "jute/jute.h"

#define ZK_TYPE_int      int32_t
#define ZK_TYPE_long     int64_t
#define ZK_TYPE_boolean  bool
#define ZK_TYPE_ustring  struct jute_buf
#define ZK_TYPE_buffer   struct jute_buf
#define ZK_TYPE_ustrings struct jute_vec
#define ZK_TYPE_acls     struct jute_vec
#define ZK_TYPE_stat     struct zk_stat

#define ZK_PUT_int(out_, v_)      jute_put_int(out_, *(v_))
#define ZK_PUT_long(out_, v_)     jute_put_long(out_, *(v_))
#define ZK_PUT_boolean(out_, v_)  jute_put_boolean(out_, *(v_))
#define ZK_PUT_ustring(out_, v_)  jute_put_ustring(out_, *(v_))
#define ZK_PUT_buffer(out_, v_)   jute_put_buffer(out_, *(v_))
#define ZK_PUT_ustrings(out_, v_) jute_put_vec(out_, v_)
#define ZK_PUT_acls(out_, v_)     jute_put_vec(out_, v_)
#define ZK_PUT_stat(out_, v_)     zk_stat_encode(out_, v_)

#define ZK_FIELD_DECLARE(kind_, name_) ZK_TYPE_##kind_ name_;
#define ZK_FIELD_DECODE(kind_, name_)  to->name_ = jute_get_##kind_(in);
#define ZK_FIELD_ENCODE(kind_, name_)  ZK_PUT_##kind_(out, &from->name_);

#define ZK_RECORD_DECLARE(name_, FIELDS_)                                                          \
	struct name_ {                                                                             \
		FIELDS_(ZK_FIELD_DECLARE)                                                          \
	};                                                                                         \
	int name_##_decode(struct jute_in *in, struct name_ *to);                                  \
	void name_##_encode(struct jute_out *out, const struct name_ *from);

#define ZK_RECORD_DEFINE(name_, FIELDS_)                                                           \
	int name_##_decode(struct jute_in *in, struct name_ *to)                                   \
	{                                                                                          \
		FIELDS_(ZK_FIELD_DECODE)                                                           \
		return in->failed ? -EBADMSG : 0;                                                  \
	}                                                                                          \
	void name_##_encode(struct jute_out *out, const struct name_ *from)                        \
	{                                                                                          \
		FIELDS_(ZK_FIELD_ENCODE)                                                           \
	}

#include "jute/codes.h"

enum { READ = 1, WRITE = 2, INTERNAL = 4 };

struct op {
	int32_t op;
	int kind; /* INTERNAL: not from a client, or not outside of a multi */
	const char *lop;
};

/* lop: ZooKeeper's Request.op2String as FinalRequestProcessor uses it. */
static const struct op ops[] = {
    {ZK_OP_CREATE, WRITE, "CREA"},
    {ZK_OP_DELETE, WRITE, "DELE"},
    {ZK_OP_EXISTS, READ, "EXIS"},
    {ZK_OP_GET_DATA, READ, "GETD"},
    {ZK_OP_SET_DATA, WRITE, "SETD"},
    {ZK_OP_GET_ACL, READ, "GETA"},
    {ZK_OP_SET_ACL, WRITE, "SETA"},
    {ZK_OP_GET_CHILDREN, READ, "GETC"},
    {ZK_OP_SYNC, READ, "SYNC"},
    {ZK_OP_PING, READ, "PING"},
    {ZK_OP_GET_CHILDREN2, READ, "GETC"},
    {ZK_OP_CHECK, INTERNAL, "CHEC"},
    {ZK_OP_MULTI, WRITE, "MULT"},
    {ZK_OP_CREATE2, WRITE, "CREA"},
    {ZK_OP_RECONFIG, WRITE, "RECO"},
    {ZK_OP_CHECK_WATCHES, READ, "CHKW"},
    {ZK_OP_REMOVE_WATCHES, READ, "REMW"},
    {ZK_OP_CREATE_CONTAINER, WRITE, "CREA"},
    {ZK_OP_DELETE_CONTAINER, INTERNAL, "DELE"},
    {ZK_OP_CREATE_TTL, WRITE, "CREA"},
    {ZK_OP_MULTI_READ, READ, "MLTR"},
    {ZK_OP_AUTH, READ, "????"},
    {ZK_OP_SET_WATCHES, READ, "SETW"},
    {ZK_OP_SASL, READ, "????"},
    {ZK_OP_GET_EPHEMERALS, READ, "GETE"},
    {ZK_OP_GET_ALL_CHILDREN_NUMBER, READ, "GETACN"},
    {ZK_OP_SET_WATCHES2, READ, "STW2"},
    {ZK_OP_ADD_WATCH, READ, "ADDW"},
    {ZK_OP_WHO_AM_I, READ, "HOMI"},
    {ZK_OP_CREATE_SESSION, INTERNAL, "SESS"},
    {ZK_OP_CLOSE_SESSION, WRITE, "CLOS"},
};

static const struct op *find(int32_t op)
{
	static const struct op none = {0, INTERNAL, "????"};

	for (unsigned i = 0; i < sizeof(ops) / sizeof(*ops); i++)
		if (ops[i].op == op)
			return &ops[i];
	return &none;
}

const char *zk_op_lop(int32_t op)
{
	return find(op)->lop;
}

bool zk_op_is_known(int32_t op)
{
	return find(op)->kind != INTERNAL;
}

bool zk_op_is_write(int32_t op)
{
	return find(op)->kind == WRITE;
}

const char *zk_code_name(int32_t code)
{
	switch ((enum zk_code)code) {
#define NAME(name_)                                                                                \
	case Z##name_:                                                                             \
		return #name_;
		NAME(OK)
		NAME(SYSTEMERROR)
		NAME(RUNTIMEINCONSISTENCY)
		NAME(DATAINCONSISTENCY)
		NAME(CONNECTIONLOSS)
		NAME(MARSHALLINGERROR)
		NAME(UNIMPLEMENTED)
		NAME(OPERATIONTIMEOUT)
		NAME(BADARGUMENTS)
		NAME(UNKNOWNSESSION)
		NAME(NEWCONFIGNOQUORUM)
		NAME(RECONFIGINPROGRESS)
		NAME(APIERROR)
		NAME(NONODE)
		NAME(NOAUTH)
		NAME(BADVERSION)
		NAME(NOCHILDRENFOREPHEMERALS)
		NAME(NODEEXISTS)
		NAME(NOTEMPTY)
		NAME(SESSIONEXPIRED)
		NAME(INVALIDCALLBACK)
		NAME(INVALIDACL)
		NAME(AUTHFAILED)
		NAME(SESSIONMOVED)
		NAME(NOTREADONLY)
		NAME(EPHEMERALONLOCALSESSION)
		NAME(NOWATCHER)
		NAME(RECONFIGDISABLED)
		NAME(SESSIONCLOSEDREQUIRESASLAUTH)
		NAME(QUOTAEXCEEDED)
		NAME(THROTTLEDOP)
#undef NAME
	}
	return "?";
}

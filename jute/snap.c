#include "jute/snap.h"

ZK_SNAPS(ZK_RECORD_DEFINE)

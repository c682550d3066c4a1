"""Seeded scripts of random operations for the conformance comparison.

A script is a list of steps that depends on the seed alone, never on answers, so that any subset
of it can be run again. Paths, values, versions and identities come from small universes: most
operations meet something that an earlier one left behind. Requests whose answer the reference
leaves undefined or to chance are in no universe.

Steps (s is the number of a session):
  ("op", s, Request)             one request
  ("pipe", s, [Request, ..])     several, sent at once
  ("auth", s, scheme, token)
  ("resume", s, timeout, how)    how: drop (socket closed first), steal (old one still open),
                                 wrong (refused for its password, then resumed)
  ("close", s)                   closeSession, then a new session
  ("expire", s)                  the client vanishes until the session expires; a new session
  ("flush",)                     a ping on every session
  ("restart", hard)              both servers stopped or killed, all sessions resumed
  ("kill", which)                kill -9 of the writer (no session may notice) or of a worker;
                                 nothing where there are no such processes
"""
import random
import re
import zlib

import wire as w

SESSIONS = 6
WRITES = (w.CREATE, w.CREATE2, w.CREATE_CONTAINER, w.CREATE_TTL, w.DELETE, w.SET_DATA, w.SET_ACL)
ODD_PATHS = [
    "", "r", "/r/", "/r//a", "//", "/r/.", "/r/..", "/r/./a", "/r/a/../b", "/r/a\0b", "/r/\x01",
    "/r/\x1f", "/r/\x7f", "/r/\x9f", "/r/\u00a0", "/r/\ud7ff", "/r/\ue000", "/r/\uf8ff",
    "/r/\uf900", "/r/\uffef", "/r/\ufff0", "/r/\U0001f600", "/r/...", "/r/.x", "/r/x..", "/r/x y",
    b"/r/\xff", b"/r/\xc0\x80", b"/r/\xed\xa0\x80", "/r/\u00e9", "/r/" + "n" * 300, "/missing/a/b",
    "/r/a/", "/r/a/b/c/d/e",
]
SYSTEM_PATHS = ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota", "/zookeeper/a"]
QUOTA = "/zookeeper/quota"
QUOTA_PATHS = [QUOTA + p for p in ("/r", "/r/a")]
QUOTA_NODES = ("/zookeeper_limits", "/zookeeper_stats")
LIMITS = [b"count=5,bytes=100", b"count=3,bytes=50=;byteHardLimit=60;countHardLimit=8",
          b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=12",
          b"count=-1,bytes=200=;byteHardLimit=300;countHardLimit=-1"]
STATS = b"count=0,bytes=0"
TOKENS = [b"u1:pw1", b"u2:pw2", b"u1:other", b"nocolon", b"", b":"]
SUPER = b"super:secret"
VALUES = [None, b"", b"x", b"0123456789", b"y" * 100, b"z" * 1000]
VERSIONS = [-1, -1, -1, -1, 0, 0, 1, 1, 2, 3, -2, 2**31 - 1]
UNKNOWN_OPS = [0, -1, 10, 23, 99, 108, 1000, -100, 2**31 - 1]
DIGEST1 = "u1:SR+KjUOtKDqBxs+MCRWBKXb4LN4="  # any well-formed id does; this one is nobody's
ENTRIES = [(31, "world", "anyone"), (1, "world", "anyone"), (27, "world", "anyone"),
           (30, "world", "anyone"), (31, "ip", "127.0.0.1"), (31, "ip", "10.0.0.0/8"),
           (15, "ip", "127.0.0.0/8"), (31, "auth", ""), (5, "auth", "ignored"),
           (31, "digest", DIGEST1), (0, "world", "anyone"), (-1, "world", "anyone"),
           (32, "world", "anyone"), (31, "ip", "0177.0.0.1"), (2, "digest", ":x"),
           (31, "digest", "u\u00e9:x")]
BAD_LISTS = [[], None, [(31, "world", "all")], [(31, "digest", "a")], [(31, "digest", "x:")],
             [(31, "digest", "a:b:c")], [(31, "nosuch", "x")], [(31, "super", "")],
             [(31, "ip", "300.1.1.1")], [(31, "ip", "1.2.3.4/33")], [(31, "ip", "a.b.c.d")],
             [(31, None, "x")], [(31, "world", "anyone"), (31, "World", "anyone")]]
NULL_ID = [(31, "world", None)]


def short(text):
    """Text with its long repetitions folded: 7a7a7a.. as (7a x 100)."""
    return re.sub(r"(..?)\1{15,}", lambda m: "(%s x %d)" % (m[1], len(m[0]) // len(m[1])), text)


class Request:
    """An opcode and a body, with what the comparison must know about it."""

    def __init__(self, op, body=b"", xid=None, **notes):
        self.op, self.body, self.xid, self.notes = op, body, xid, notes

    def __repr__(self):
        return "%s %s %s" % (w.NAMES.get(self.op, self.op), short(self.body.hex()),
                             {k: v for k, v in self.notes.items() if v is not False} or "")


def enforced_quotas(seed):
    """Half of the scripts run with enforceQuota and extended types, the others without."""
    return seed % 2 == 0


def watch_kind(seed, session, epoch, path):
    """The one kind of watch this connection uses on this path: before 3.9 kinds displace each
    other on one path, so a script never mixes them there."""
    key = repr((seed, session, epoch, path)).encode()
    return "SSSPR"[zlib.crc32(key) % 5]


class Script:
    def __init__(self, seed, length):
        self.seed = seed
        self.rng = random.Random(seed)
        self.epoch = [0] * SESSIONS
        self.steps = [self.step() for _ in range(length)] + [("flush",)]

    # --- choices
    def chance(self, percent):
        return self.rng.random() * 100 < percent

    def pick(self, *choices):
        return self.rng.choice(choices)

    def path(self, odd=5, null=True):
        roll = self.rng.random() * 100
        if roll < odd:
            return self.rng.choice(ODD_PATHS + ([None] if null else []))
        if roll < odd + 4:
            return self.rng.choice(SYSTEM_PATHS)
        if roll < odd + 6:
            return self.rng.choice(QUOTA_PATHS)
        depth = self.rng.choice([0, 1, 1, 1, 2, 2, 2, 2, 3])
        path = "/r" + "".join("/" + self.rng.choice("abc") for _ in range(depth))
        if self.chance(12):
            path += "/s-%010d" % self.rng.randrange(9)
        return path

    def acls(self, bad=6, null_id=True):
        if not self.chance(35):
            return w.OPEN_ACL
        if self.chance(bad):
            return self.rng.choice(BAD_LISTS + ([NULL_ID] if null_id else []))
        return [self.rng.choice(ENTRIES) for _ in range(self.pick(1, 1, 2, 3))]

    def quota(self):
        """As tools do it: both nodes of a quota are made and removed together. One quota only:
        the usage of an outer one depends on when its server was last started."""
        base = QUOTA_PATHS[0]
        limits, stats = base + QUOTA_NODES[0], base + QUOTA_NODES[1]
        roll = self.rng.random()
        if roll < 0.25:
            ops = [(w.CREATE, w.create(limits, self.rng.choice(LIMITS))),
                   (w.CREATE, w.create(stats, STATS))]
            return Request(w.MULTI, w.multi(ops), ops=[w.CREATE] * 2)
        if roll < 0.4:
            ops = [(w.DELETE, w.path_version(stats)), (w.DELETE, w.path_version(limits))]
            return Request(w.MULTI, w.multi(ops), ops=[w.DELETE] * 2)
        if roll < 0.5:
            return Request(w.SET_DATA, w.set_data(limits, self.rng.choice(LIMITS)))
        return Request(w.GET_DATA, w.read(self.pick(limits, stats, stats)), path=base)

    def version(self):
        return self.rng.choice(VERSIONS)

    def standard(self, s, path):
        return watch_kind(self.seed, s, self.epoch[s], path) == "S"

    # --- writes
    def flags(self, wild):
        if wild and self.chance(4):
            return self.pick(5, 6, 7, -1, 100)
        return self.pick(0, 0, 0, 0, 1, 2, 3, 4) if wild else self.pick(0, 0, 0, 1, 2)

    def create_record(self, op, in_multi=False):
        path = self.path(null=not in_multi)
        flags = self.flags(True)
        if in_multi and op == w.CREATE_CONTAINER:
            flags = 4
        if flags in (2, 3, 6) and isinstance(path, str) and self.chance(80):
            path = path + "/s-"
        acls, data = self.acls(null_id=not in_multi), self.rng.choice(VALUES)
        if op != w.CREATE_TTL:
            body = w.create(path, data, acls, flags)
            return body, in_multi and (flags not in range(5) or acls is None)
        if self.chance(80):
            flags = self.pick(5, 5, 6)
        if flags in (5, 6) or flags not in range(7):
            ttl = self.pick(10**9, 10**9, 10**9, 0, -1, 2**40 - 1, 2**40)
        else:
            ttl = self.pick(0, 1, 1000)
        return w.create_ttl(path, data, acls, flags, ttl), in_multi and (
            flags not in range(7) or acls is None)

    def write(self, op, in_multi=False):
        """(op, record, whether 3.9 refuses a multi that has it)"""
        if op in (w.CREATE, w.CREATE2, w.CREATE_CONTAINER, w.CREATE_TTL):
            body, refused = self.create_record(op, in_multi)
            return op, body, refused
        path = self.path(null=not in_multi)
        if op == w.SET_DATA:
            return op, w.set_data(path, self.rng.choice(VALUES), self.version()), False
        if op == w.SET_ACL:
            return op, w.set_acl(path, self.acls(12), self.version()), False
        return op, w.path_version(path, self.version()), False

    def write_op(self):
        return self.rng.choices(
            (w.CREATE, w.CREATE2, w.CREATE_CONTAINER, w.CREATE_TTL, w.DELETE, w.SET_DATA,
             w.SET_ACL), (26, 14, 4, 5, 24, 22, 5))[0]

    def multi(self):
        ops = []
        for _ in range(self.rng.choice([0, 1, 1, 2, 2, 3, 3, 4, 6])):
            op = self.rng.choice((w.CREATE, w.CREATE, w.CREATE2, w.CREATE_CONTAINER, w.CREATE_TTL,
                                  w.DELETE, w.DELETE, w.SET_DATA, w.SET_DATA, w.CHECK))
            ops.append(self.write(op, in_multi=True))
        body = [(op, record) for op, record, _ in ops]
        refused = any(r for _, _, r in ops)
        if self.chance(4):
            body.insert(0, self.pick((w.SET_ACL, w.set_acl("/r", w.OPEN_ACL)),
                                     (w.GET_DATA, w.read("/r")), (w.SYNC, w.buf("/r")),
                                     (w.MULTI, w.multi([]))))
            refused = False
        ended = not self.chance(2)
        return Request(w.MULTI, w.multi(body, ended), ops=[op for op, _ in body],
                       refused=refused and ended)

    # --- reads and watches
    def read(self, s):
        op = self.rng.choices(
            (w.EXISTS, w.GET_DATA, w.GET_CHILDREN, w.GET_CHILDREN2, w.GET_ACL,
             w.GET_ALL_CHILDREN_NUMBER, w.GET_EPHEMERALS, w.WHO_AM_I, w.SYNC, w.PING,
             w.MULTI_READ), (10, 18, 10, 10, 6, 3, 4, 2, 3, 3, 5))[0]
        path = self.path()
        if op in (w.EXISTS, w.GET_DATA, w.GET_CHILDREN, w.GET_CHILDREN2):
            watch = self.chance(50) and self.standard(s, path)
            return Request(op, w.read(path, watch), path=path)
        if op in (w.WHO_AM_I, w.PING):
            return Request(op)
        if op == w.MULTI_READ:
            n = self.rng.choice([0, 1, 2, 3, 4])
            ops = [(self.pick(w.GET_DATA, w.GET_CHILDREN),
                    w.read(self.path(null=False), self.chance(30))) for _ in range(n)]
            return Request(op, w.multi(ops))
        if op == w.GET_EPHEMERALS:
            path = self.rng.choice(["/", "", None, " ", "/r", "/r/a", "/r/a/s", "/nosuch"])
        return Request(op, w.buf(path))

    def watch_op(self, s):
        path = self.path(null=False)
        kind = watch_kind(self.seed, s, self.epoch[s], path)
        roll = self.rng.random()
        if roll < 0.35:
            mode = self.pick(2, -1) if self.chance(4) else {"P": 0, "R": 1}.get(kind)
            if mode is not None:
                return Request(w.ADD_WATCH, w.path_int(path, mode))
        if roll < 0.6:
            if self.chance(4):
                return Request(w.REMOVE_WATCHES, w.path_int(path, self.pick(0, -1, 6, 100)))
            if kind == "S":
                kinds = self.pick(1, 2, 3)
                return Request(w.REMOVE_WATCHES, w.path_int(path, kinds), remove=(path, kinds))
            kinds = self.pick(3, {"P": 4, "R": 5}[kind])
            return Request(w.REMOVE_WATCHES, w.path_int(path, kinds), remove=(path, kinds),
                           before39=w.path_int(path, 3))
        return self.set_watches(s)

    def set_watches(self, s):
        lists = {"S": [[], [], []], "P": [[]], "R": [[]]}
        for _ in range(self.rng.randrange(8)):
            path = self.path(null=False)
            self.rng.choice(lists[watch_kind(self.seed, s, self.epoch[s], path)]).append(path)
        back = self.pick(0, 0, 1, 3, 10, 100)
        op = self.pick(w.SET_WATCHES, w.SET_WATCHES2)
        vectors = lists["S"] + (lists["P"] + lists["R"] if op == w.SET_WATCHES2 else [])
        if self.chance(3):
            vectors[self.rng.randrange(3)] = None
        return Request(op, xid=-8, back=back, lists=vectors)

    # --- malformed, odd
    def malformed(self, s):
        whole = self.pick(*[self.write_op() for _ in range(2)])
        op, body, _ = self.write(whole)
        if self.chance(50):
            request = self.read(s)
            op, body = request.op, request.body
        if op in (w.PING, w.WHO_AM_I) or not body:
            op, body = w.GET_DATA, w.read("/r")
        if op not in (w.CREATE_TTL, w.MULTI_READ) and self.chance(30):
            bad = self.pick(-2, -2**31, 2**31 - 1, 0x200000, len(body) + 1, 0, 1)
            return Request(op, w.i32(bad) + body[4:], malformed=True)
        if op == w.EXISTS:
            return Request(op, body[:-1], malformed=True)
        return Request(op, body[:self.rng.randrange(len(body))], malformed=True)

    def rare(self, s):
        roll = self.rng.random()
        if roll < 0.4:
            return ("op", s, self.malformed(s))
        if roll < 0.5:
            self.epoch[s] += 1
            op = self.rng.choice(UNKNOWN_OPS)
            return ("op", s, Request(op, b"", closes=True))
        if roll < 0.6:
            return ("op", s, Request(w.RECONFIG, w.buf(None) * 2 + w.buf("x") + w.i64(-1)))
        if roll < 0.7:
            return ("op", s, Request(w.SASL, w.buf(b"token"), flush=True))
        if roll < 0.85:
            return ("op", s, Request(w.CHECK, w.path_version(self.path()), only39=w.UNIMPLEMENTED,
                                     closes=True))
        return ("op", s, Request(w.GET_DATA, w.read("/r") + b"trailing",
                                 xid=self.pick(0, -3, -8, 2**31 - 1, -2**31)))

    def auth(self, s):
        if self.chance(4):
            self.epoch[s] += 1
            return ("auth", s, *self.pick(("nosuch", b"x"), (None, b"x"), ("world", b"anyone"),
                                          ("digest", None), ("sasl", b"x"), ("super", b"x")))
        if self.chance(10):
            return ("auth", s, "ip", b"whatever")
        return ("auth", s, "digest", SUPER if self.chance(4) else self.rng.choice(TOKENS))

    def pipe(self, s):
        """Quotas are checked against numbers that lag behind in a pipeline: no two writes there
        where they are enforced."""
        requests = []
        for _ in range(self.rng.randrange(2, 9)):
            roll = self.rng.random()
            if roll < 0.6 and not enforced_quotas(self.seed):
                op = self.rng.choice((w.CREATE, w.CREATE2, w.DELETE, w.SET_DATA, w.SET_DATA))
                requests.append(Request(op, self.write(op)[1]))
            else:
                request = self.read(s)
                if request.op != w.EXISTS:
                    requests.append(request)
        # Last only: what Apache checks behind a failed multi of the same pipeline is a race.
        requests.append(self.multi() if self.chance(40) else Request(w.PING))
        return ("pipe", s, requests)

    def disturbance(self):
        what = self.pick("restart", "writer", "writer", "worker")
        if what != "writer":        # connections and their watches are gone
            self.epoch = [e + 1 for e in self.epoch]
        return ("restart", self.chance(50)) if what == "restart" else ("kill", what)

    def step(self):
        s = self.rng.randrange(SESSIONS)
        roll = self.rng.random() * 1000
        if roll < 380:
            op = self.write_op()
            return ("op", s, Request(op, self.write(op)[1]))
        if roll < 700:
            return ("op", s, self.read(s))
        if roll < 760:
            return ("op", s, self.multi())
        if roll < 770:
            return ("op", s, self.quota())
        if roll < 850:
            return ("op", s, self.watch_op(s))
        if roll < 920:
            return self.pipe(s)
        if roll < 945:
            return self.auth(s)
        if roll < 965:
            return self.rare(s)
        if roll < 984:
            return ("flush",)
        if roll < 985:
            return self.disturbance()
        self.epoch[s] += 1
        if roll < 993:
            return ("resume", s, self.pick(60000, 30000, 100000),
                    self.pick("drop", "drop", "steal", "steal", "wrong"))
        return ("close", s) if roll < 998.5 else ("expire", s)

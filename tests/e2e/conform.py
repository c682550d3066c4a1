#!/usr/bin/python3
"""The same random operations to two servers; every answer and every event must be the same.

Compared are codes, bodies, all Stat fields, zxids as they are (both servers start fresh and number
alike), times by the transactions they belong to, session ids by name, lists of children as sets,
and on each connection the order of events and replies. Operations are issued one after the other
in one order for both, so nothing is left to chance; what a close or an expiry deletes comes in no
defined order and is compared as a set.

  conform.py                       Paddock against Apache, --ops in total
  conform.py --self                Apache against Apache: the check of this harness
  conform.py --seed 7 [--keep 3,5,9]   one script, or some of its steps
  conform.py --seed 7 --shrink     the fewest steps that still differ
"""
import argparse
import collections
import os
import re
import sys
import time

import known
import script
import wire as w
from server import Server, Timeout, end_all, wait_until

HARD = {"tickTime": 100, "minSessionTimeout": 200, "maxSessionTimeout": 60000,
        "znode.container.checkIntervalMs": 3600000, "forceSync": "no", "snapCount": 100000,
        "DigestAuthenticationProvider.superDigest": "super:lK75jTNcA+U9vtVEw5vB51mj/w4="}
VARIANTS = {True: {"extendedTypesEnabled": "true", "enforceQuota": "true"},
            False: {"extendedTypesEnabled": "false", "enforceQuota": "false"}}
UNORDERED = (w.GET_CHILDREN, w.GET_CHILDREN2, w.GET_EPHEMERALS, w.WHO_AM_I, w.GET_ACL)
TIMEOUT = 60000
ONLY = 10**6    # xid of what only one side gets


class Difference(Exception):
    """The two servers differ, or one of them breaks a rule."""


class Side:
    """One server with its connections and the maps that make its answers comparable."""

    def __init__(self, name, server):
        self.name, self.server = name, server
        self.conns, self.names, self.times = {}, {}, {}

    def open(self, s, timeout=TIMEOUT, resume=None):
        c = w.Conn(self.server.port, 30)
        if resume:
            c.handshake(timeout, resume.sid, resume.passwd)
        else:
            c.handshake(timeout)
            self.names[c.sid] = "session %d" % s
        if not c.sid:
            raise Difference("%s: session %d refused" % (self.name, s))
        self.conns[s] = c
        return c.timeout

    def when(self, zxid, ms):
        """The time of a transaction is one and the same wherever it shows."""
        return "t" if self.times.setdefault(zxid, ms) == ms else "another time %d" % ms

    def stat(self, st):
        owner = st.ephemeralOwner
        return (st.czxid, st.mzxid, self.when(st.czxid, st.ctime), self.when(st.mzxid, st.mtime),
                st.version, st.cversion, st.aversion, self.names.get(owner, owner), st.dataLength,
                st.numChildren, st.pzxid)

    def plain(self, value, unordered):
        if isinstance(value, w.Stat):
            return self.stat(value)
        if isinstance(value, list):
            value = [self.plain(v, False) for v in value]
            return sorted(value, key=repr) if unordered else value
        if isinstance(value, tuple):
            unordered = unordered or value[:1] == ("get_children",)
            return tuple(self.plain(v, unordered) for v in value)
        return value

    def frames(self, s, request, xid):
        """What connection s gets up to the reply to this request, in the comparison's form."""
        c, out = self.conns[s], []
        while True:
            before = c.zxid
            try:
                r = c.recv()
            except w.Closed:
                return out + [("closed",)]
            if r.xid == -1:
                self.check_event(r, before, request)
                out.append(("event",) + r.event())
                continue
            if r.xid != xid:
                raise Difference("%s: xid %d expected, %r" % (self.name, xid, r))
            if 0 < r.zxid < before:
                raise Difference("%s: zxid fell from %d: %r" % (self.name, before, r))
            try:
                body = r.body(request.op)
            except (w.Malformed, KeyError) as e:
                raise Difference("%s: %s in %r" % (self.name, e, r)) from None
            zxid = r.zxid
            return out + [("reply", r.xid, zxid, r.err,
                           self.plain(body, request.op in UNORDERED))]

    def check_event(self, r, before, request):
        if self.server.kind == "apache":
            return
        late = r.zxid != -1 and not before <= r.zxid
        if late or (r.zxid == -1 and request.op not in (w.SET_WATCHES, w.SET_WATCHES2)):
            raise Difference("%s: event zxid %d after zxid %d: %r" % (self.name, r.zxid, before, r))

    def closed(self, s):
        """Whether the server closes connection s; frames still under way are dropped."""
        c = self.conns[s]
        try:
            while True:
                c.frame()
        except w.Closed:
            return True
        except OSError:
            return False


class Pair:
    """Two sides in lockstep: a is Apache, b is the server under test (or Apache again)."""

    def __init__(self, a, b):
        self.a, self.b = a, b
        self.sides = (a, b)
        self.table = b.server.kind == "paddock"
        self.met = collections.Counter()
        self.ops = 0

    def zxid(self):
        return max(c.zxid for c in self.a.conns.values())

    # --- single exchanges
    def send(self, side, s, request, body=None):
        c = side.conns[s]
        xid = request.xid
        if request.op == w.PING:
            c.send(w.PING, xid=-2)
            return -2
        if "lists" in request.notes:
            body = w.set_watches(max(0, self.last - request.notes["back"]),
                                 *request.notes["lists"])
        try:
            return c.send(request.op, request.body if body is None else body, xid)
        except w.Closed:
            return xid or c.xid

    def exchange(self, s, request):
        """Send to both, compare what comes; the frames of a."""
        self.ops += 1
        self.last = self.zxid()
        bodies = [None, None]
        if self.table and "before39" in request.notes:
            bodies[0] = request.notes["before39"]
        elif not self.table and "before39" in request.notes:
            bodies = [request.notes["before39"]] * 2
        if self.table and "remove" in request.notes:
            checked = self.only_paddock(s, script.Request(w.CHECK_WATCHES, request.body))
        xids = [self.send(side, s, request, body) for side, body in zip(self.sides, bodies)]
        got = [side.frames(s, request, xid) for side, xid in zip(self.sides, xids)]
        self.compare(s, request, *got, unordered=request.op == w.CLOSE_SESSION)
        if self.table and "remove" in request.notes:
            err = got[1][-1][3]
            if checked != err:
                raise Difference("checkWatches said %d, then removeWatches %d: %r" % (
                    checked, err, request))
        return got[0]

    def only_paddock(self, s, request, expected=None):
        """A request that only the server under test gets: its error."""
        c = self.b.conns[s]
        c.send(request.op, request.body, ONLY)
        r = c.recv()
        if r.xid != ONLY:
            raise Difference("%r before the reply to %r on a quiet connection" % (r, request))
        if expected is not None and r.err != expected:
            raise Difference("%r: error %d expected, got %r" % (request, expected, r))
        return r.err

    def compare(self, s, request, a, b, unordered=False):
        if unordered:
            a, b = [sorted(f[:-1], key=repr) + f[-1:] for f in (a, b)]
        if a == b:
            return
        if self.table:
            for name, _, test in known.ROWS:
                if test(request, a, b):
                    self.met[name] += 1
                    return
        raise Difference("session %d, %r\n   %-8s %s\n   %-8s %s" % (
            s, request, self.a.name, script.short(repr(a)), self.b.name, script.short(repr(b))))

    def ping(self, s, unordered=False):
        request = script.Request(w.PING)
        for side in self.sides:
            side.conns[s].send(w.PING, xid=-2)
        got = [side.frames(s, request, -2) for side in self.sides]
        self.compare(s, request, *got, unordered)
        return got[0]

    def flush(self, unordered=False):
        for s in list(self.a.conns):
            self.ping(s, unordered)

    # --- steps
    def run(self, step):
        getattr(self, "step_" + step[0])(*step[1:])

    def step_flush(self):
        self.flush()

    def step_op(self, s, request):
        if request.notes.get("closes") or request.notes.get("flush") or "remove" in request.notes:
            self.ping(s)
        if "only39" in request.notes:
            if self.table:
                self.ops += 1
                self.met["bare-check"] += 1
                self.only_paddock(s, request, request.notes["only39"])
                if not self.b.closed(s):
                    raise Difference("not closed after %r" % request)
                self.reopen(s)
            return
        if request.op == w.EXISTS and not request.notes.get("malformed"):
            probe = script.Request(w.GET_DATA, request.body[:-1] + b"\0")
            if self.exchange(s, probe)[-1][3] == w.NO_AUTH and self.table:
                self.met["exists-read"] += 1
                self.only_paddock(s, request, w.NO_AUTH)
                return
        frames = self.exchange(s, request)
        if request.notes.get("closes"):
            self.both_closed(s, request)
        elif frames[-1] == ("closed",):
            self.reopen(s)

    def both_closed(self, s, request):
        for side in self.sides:
            if not side.closed(s):
                raise Difference("%s: not closed after %r" % (side.name, request))
        self.reopen(s)

    def reopen(self, s, timeout=TIMEOUT):
        for side in self.sides:
            old = side.conns[s]
            old.drop()
            side.open(s, timeout, resume=old)

    def step_pipe(self, s, requests):
        self.ops += len(requests)
        self.last = self.zxid()
        for side in self.sides:
            side.xids = [self.send(side, s, r) for r in requests]
        for i, request in enumerate(requests):
            got = [side.frames(s, request, side.xids[i]) for side in self.sides]
            self.compare(s, request, *got)

    def step_auth(self, s, scheme, token):
        self.ping(s)
        request = script.Request(w.AUTH, w.auth(scheme, token), xid=-4)
        frames = self.exchange(s, request)
        if frames[-1][0] == "reply" and frames[-1][3]:
            self.both_closed(s, request)
        elif frames[-1] == ("closed",):
            self.reopen(s)

    @staticmethod
    def left_behind(side, old):
        """Closed by the server, as its session goes on elsewhere.

        Apache's does not know of it any more when it found late that one before it was gone, and then
        leaves it open (ServerCnxnFactory.removeCnxnFromSessionMap; twice in 3,000 times, ours never).
        """
        try:
            wait_until("%s: the old connection closed" % side.name, old.closed, 10)
        except Timeout:
            if side.server.kind != "apache":
                raise

    def step_resume(self, s, timeout, how):
        self.ops += 1
        self.flush()
        if how == "wrong":
            for side in self.sides:
                c = w.Conn(side.server.port)
                answer = c.handshake(timeout, side.conns[s].sid, b"wrong password!!")
                if answer != (0, 0, bytes(16)) or not c.closed():
                    raise Difference("%s: wrong password: %r" % (side.name, answer))
            how = "drop"
        got = []
        for side in self.sides:
            old = side.conns[s]
            if how == "drop":
                old.drop()
            got.append(side.open(s, timeout, resume=old))
            if how == "steal":
                self.left_behind(side, old)
                old.drop()
        if got[0] != got[1]:
            raise Difference("resume of %d: timeouts %r" % (s, got))

    def step_close(self, s):
        self.flush()
        self.exchange(s, script.Request(w.CLOSE_SESSION))
        for side in self.sides:
            if not side.closed(s):
                raise Difference("%s: not closed after closeSession" % side.name)
            side.conns.pop(s).drop()
        self.flush(unordered=True)
        self.renew(s)

    def renew(self, s):
        got = [side.open(s) for side in self.sides]
        if got[0] != got[1]:
            raise Difference("new session %d: timeouts %r" % (s, got))
        self.flush()

    def step_expire(self, s):
        self.ops += 1
        self.flush()
        self.reopen(s, 200)
        other = min(k for k in self.a.conns if k != s)
        for side in self.sides:
            side.conns.pop(s).drop()
        pending = []
        for side in self.sides:
            c, before, frames = side.conns[other], side.conns[other].zxid, []

            def expired():
                c.send(w.PING, xid=-2)
                frames.extend(side.frames(other, script.Request(w.PING), -2))
                return c.zxid > before
            wait_until("%s: session %d expired" % (side.name, s), expired, 20)
            pending.append([f for f in frames if f[0] == "event"] + frames[-1:])
        self.compare(other, script.Request(w.PING), *pending, unordered=True)
        self.flush(unordered=True)
        self.renew(s)

    def step_restart(self, hard):
        self.flush()
        for side in self.sides:
            side.server.restart(hard)
        self.all_reopened()

    def step_kill(self, which):
        self.flush()
        if self.table:
            self.b.server.disturb(which)
        if which == "worker":
            self.all_reopened()
        self.flush()

    def all_reopened(self):
        for s in self.a.conns:
            self.reopen(s)

    # --- the frame around a script
    def begin(self, seed):
        for side in self.sides:
            side.conns.clear()
        for s in range(script.SESSIONS):
            self.renew(s)
        nodes = [("/r", b""), (script.QUOTA_PATHS[0], b"")]
        if seed % 3 == 0:
            limits = script.LIMITS[seed // 3 % len(script.LIMITS)]
            nodes += [(script.QUOTA_PATHS[0] + script.QUOTA_NODES[0], limits),
                      (script.QUOTA_PATHS[0] + script.QUOTA_NODES[1], script.STATS)]
        for path, data in nodes:
            self.exchange(0, script.Request(w.CREATE, w.create(path, data)))

    def end(self):
        """Compare the whole trees, then leave nothing behind."""
        for s in list(self.a.conns):
            self.exchange(s, script.Request(w.CLOSE_SESSION))
            for side in self.sides:
                side.conns.pop(s).drop()
        self.renew(0)
        self.step_auth(0, "digest", script.SUPER)
        for path in reversed(self.walk("/")):
            if path != "/" and path not in ("/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
                self.exchange(0, script.Request(w.DELETE, w.path_version(path)))
        self.exchange(0, script.Request(w.CLOSE_SESSION))
        for side in self.sides:
            side.conns.pop(0).drop()

    def walk(self, path):
        """Every path from here down, each compared by data, Stat, children and ACL."""
        read, paths, todo = script.Request, [], [path]
        while todo:
            path = todo.pop()
            paths.append(path)
            self.exchange(0, read(w.GET_DATA, w.read(path)))
            self.exchange(0, read(w.GET_ACL, w.buf(path)))
            names = self.exchange(0, read(w.GET_CHILDREN, w.read(path)))[-1][4][0]
            base = path if path == "/" else path + "/"
            todo += [base + n.decode() for n in names]
        return paths


class Bench:
    """The two servers of a comparison; fresh ones after a difference."""

    def __init__(self, kinds, variant):
        self.kinds, self.variant = kinds, variant
        self.pair = None

    def fresh(self):
        self.close()
        servers = [Server(kind, dict(HARD, **self.variant)) for kind in self.kinds]
        for s in servers:
            s.start(wait=False)
        for s in servers:
            s.wait_serving()
        labels = self.kinds if self.kinds[0] != self.kinds[1] else ["one", "other"]
        self.pair = Pair(*[Side(n, s) for n, s in zip(labels, servers)])

    def close(self):
        if self.pair:
            for side in self.pair.sides:
                side.server.__exit__()
        self.pair = None

    def run(self, seed, length, keep=None):
        """None, or (index of the step, what differs)."""
        if self.pair is None:
            self.fresh()
        steps = script.Script(seed, length).steps
        at = -1
        try:
            self.pair.begin(seed)
            for at, step in enumerate(steps):
                if keep is None or at in keep:
                    self.pair.run(step)
            at = len(steps)
            self.pair.end()
        except (Difference, w.Malformed, w.Closed, Timeout, OSError) as e:
            why = "%s: %s" % (type(e).__name__, e)
            for side in self.pair.sides:
                if side.server.process.poll() is not None:
                    why += "\n   %s ended: %s" % (side.name, side.server.log_tail(1500))
            self.close()
            step = steps[at] if 0 <= at < len(steps) else "begin" if at < 0 else "end"
            return at, "%s\n   step %d: %r" % (why, at, step)
        return None


def shrink(bench, seed, length):
    """The fewest steps that still differ in the same request, by halving what is left out."""
    failed = bench.run(seed, length)
    if not failed:
        return None
    kind = re.sub(r"\d+", "", failed[1])[:40]
    keep = list(range(min(failed[0] + 1, length + 1)))
    chunk = max(1, len(keep) // 2)
    while True:
        at = 0
        while at < len(keep):
            trial = keep[:at] + keep[at + chunk:]
            again = bench.run(seed, length, set(trial))
            if again and re.sub(r"\d+", "", again[1])[:40] == kind:
                keep, failed = trial, again
            else:
                at += chunk
        if chunk == 1:
            return keep, failed
        chunk = max(1, chunk // 2)


def main():
    p = argparse.ArgumentParser(description="compare the answers of two servers")
    p.add_argument("--ops", type=int, default=100000, help="operations in total")
    p.add_argument("--length", type=int, default=1000, help="steps of a script")
    p.add_argument("--seed", type=int)
    p.add_argument("--first", type=int, default=1, help="first of the seeds")
    p.add_argument("--keep", help="steps to run, by number")
    p.add_argument("--shrink", action="store_true")
    p.add_argument("--self", action="store_true", help="Apache against Apache")
    p.add_argument("--max-failures", type=int, default=10)
    o = p.parse_args()
    kinds = ["apache", "apache" if o.self else os.environ.get("E2E_SERVER", "paddock")]
    began, ops, failures, seed = time.monotonic(), 0, 0, o.seed or o.first
    met, scripts = collections.Counter(), 0
    benches = {enforced: Bench(kinds, v) for enforced, v in VARIANTS.items()}
    while True:
        bench = benches[script.enforced_quotas(seed)]
        if o.shrink:
            fewest = shrink(bench, seed, o.length)
            if not fewest:
                print("seed %d: no difference" % seed)
                break
            scripts, failures = 1, 1
            print("seed %d: %s\n   again: tests/e2e/conform.py --seed %d --length %d --keep %s" % (
                seed, fewest[1][1], seed, o.length, ",".join(map(str, fewest[0]))))
            break
        keep = {int(k) for k in o.keep.split(",")} if o.keep else None
        if bench.pair is None:
            bench.fresh()
        pair, before = bench.pair, bench.pair.ops
        failed = bench.run(seed, o.length, keep)
        ops += pair.ops - before
        scripts += 1
        met.update(pair.met)
        pair.met.clear()
        if failed:
            failures += 1
            print("seed %d: %s\n   again: tests/e2e/conform.py --seed %d --length %d%s" % (
                seed, failed[1], seed, o.length, " --self" if o.self else ""), flush=True)
        if o.seed or ops >= o.ops or failures >= o.max_failures:
            break
        seed += 1
    for bench in benches.values():
        bench.close()
    seconds = time.monotonic() - began
    print("%s against %s: %d operations, %d scripts, %d differences, %.0f s (%.0f/s); meant: %s" % (
        kinds[1], kinds[0], ops, scripts, failures, seconds, ops / seconds,
        ", ".join("%s %d" % m for m in sorted(met.items())) or "none"))
    print("RESULT %d %d" % (scripts - failures, failures))
    end_all()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Local sessions (localSessionsEnabled) and their upgrade: the same questions to every member.

  locals.py [NAME ...]

Each ensemble, with upgrading and without, of Paddock alone and mixed with either kind as leader: what
a session does is asked of each member, and Apache's servers have to give the answers that Paddock's
have to give. Then what Paddock keeps where Apache does not: local sessions outlive workers, writers
and leaders. Prints "RESULT passed failed".
"""
import argparse
import os
import re
import signal
import sys
import time

import ensemble as en
import wire as w
from cases import Score, expect
from ensemble import Ensemble
from server import wait_until

LOCAL = {"localSessionsEnabled": "true"}
UPGRADES = dict(LOCAL, localSessionsUpgradingEnabled="true")
ON_LOCAL = -120
EPHEMERAL = 1
SHORT, LONG = 1500, 30000           # ms
FORGOTTEN = SHORT / 1000 + 2 * 0.5 + 0.2


def resume(member, sid, passwd, timeout=LONG):
    """A connection with that session, or None: the session is no more."""
    c = w.Conn(member.port, 10.0, member.host)
    if c.handshake(timeout, sid, passwd)[0]:
        return c
    c.drop()
    return None


def takes_sessions(m):
    try:
        m.session().close()
        return True
    except (w.Closed, AssertionError, OSError):
        return False


def counts(m):
    f = m.figures()
    return int(f["zk_local_sessions"]), int(f["zk_global_sessions"])


def counted(m, wanted):
    """The figures are shown a moment after the answers."""
    wait_until("%r counts %s" % (m, wanted), lambda: counts(m) == wanted, 5)


def unread(m):
    """Bytes from other members that it has not taken yet."""
    with open("/proc/net/tcp") as f:
        lines = [line.split() for line in f.readlines()[1:]]
    return sum(int(line[4].split(":")[1], 16) for line in lines
               if line[1].endswith(":%04X" % m.ports[0]) and line[3] == "01")


def with_ephemeral(path):
    return w.multi([(w.CREATE, w.create(path + "-m")),
                    (w.CREATE, w.create(path, flags=EPHEMERAL))])


class Case:
    """An ensemble whose leader is the member that is named."""

    def __init__(self, spec, lead, conf):
        self.e = Ensemble(spec, conf)
        self.n = 0
        first = [self.e.members[lead - 1]] + [m for m in self.e.members if m.sid < lead][-1:]
        if len(first) < 2:
            first = self.e.members[:2]
        for m in first:
            m.start(wait=False)
        self.e.serving(40, first)
        self.lead = self.e.start()
        expect("who leads", self.lead.sid, lead)
        c = self.lead.session()
        c.ok(w.CREATE, w.create("/t"))
        c.close()

    def path(self):
        self.n += 1
        return "/t/%d" % self.n

    def still(self, what, before):
        expect("%s: zxid" % what, hex(self.e.settle()), hex(before))

    # --- of any kind, each member -----------------------------------------------------------

    def lives_and_ends(self, m):
        """Open, read, write, resume, close: transactions only for what is written."""
        zxid, path = self.e.settle(), self.path()
        c = m.session(LONG)
        c.ok(w.GET_DATA, w.read("/t"))
        self.still("opened", zxid)
        counted(m, (1, 0))
        expect("elsewhere", [counts(o) for o in self.e.members if o is not m],
               [(0, 0)] * (len(self.e.members) - 1))
        self.listed(m, c.sid)
        c.ok(w.CREATE, w.create(path))
        c.ok(w.SET_DATA, w.set_data(path, b"x"))
        expect("cons", "0x%x" % c.sid in m.ask("cons"), True)
        self.still("two writes", zxid + 2)
        self.moves_nowhere(m, c)
        c = resume(m, c.sid, c.passwd)
        c.ok(w.SET_DATA, w.set_data(path, b"y"))
        r = c.call(w.CLOSE_SESSION)
        expect("close", (r.err, r.zxid, c.closed()), (0, zxid + 3, True))
        expect("gone", resume(m, c.sid, c.passwd), None)
        self.still("closed", zxid + 3)
        counted(m, (0, 0))

    def moves_nowhere(self, m, c):
        for o in self.e.members:
            if o is not m:
                expect("resumed at %r" % o, resume(o, c.sid, c.passwd), None)
        expect("wrong password", resume(m, c.sid, bytes(16)), None)

    def listed(self, m, sid):
        text = m.ask("dump")
        empty = r"(0 expire at [^\n]*:\n)*"        # Apache keeps buckets whose sessions have gone on
        ours = (r"^Local Session Sets \(\d+\)/\(1\):\n" + empty +
                r"1 expire at [^\n]*:\n\t0x%x\n" % sid + empty)
        others = r"Global Session Sets \(\d+\)/\(0\):\n" if m is self.lead else r"Global Sessions\(0\):\n"
        if not re.search(ours + others, text, re.M):
            raise AssertionError("dump of %r: %r" % (m, text))

    def watches(self, m):
        path = self.path()
        c, other = m.session(LONG), m.session(LONG)
        c.ok(w.CREATE, w.create(path))
        c.ok(w.GET_DATA, w.read(path, True))
        other.ok(w.SET_DATA, w.set_data(path, b"x"))
        wait_until("event", lambda: c.events or (c.call(w.PING, b"") and c.events), 5)
        expect("event", c.events[0][1], w.CHANGED)
        c.close()
        other.close()

    def all_gone(self, sessions):
        wait_until("expired", lambda: not any(sum(counts(m)) for m in self.e.members),
                   FORGOTTEN + 3, 0.05)
        for m, c in sessions:
            expect("gone", resume(m, c.sid, c.passwd), None)

    def expire(self):
        """One at each member; each ends its own."""
        zxid = self.e.settle()
        sessions = [(m, m.session(SHORT)) for m in self.e.members]
        for _, c in sessions:
            c.drop()
        self.all_gone(sessions)
        self.still("expired", zxid)

    def refuses(self, m):
        """Without upgrading: no ephemerals."""
        path, zxid = self.path(), self.e.settle()
        c = m.session(LONG)
        for op in (w.CREATE, w.CREATE2):
            expect(w.NAMES[op], c.call(op, w.create(path, flags=EPHEMERAL)).err, ON_LOCAL)
        if m.kind == "paddock":
            self.still("refused", zxid)
        code = ON_LOCAL if m is self.lead else w.SESSION_EXPIRED
        err, body = c.ask(w.MULTI, with_ephemeral(path))
        expect("multi", (err, body[:2]), (0, (("error", 0, 0), ("error", code, code))))
        expect("container", c.call(w.CREATE_CONTAINER, w.create(path, flags=EPHEMERAL)).err,
               w.SESSION_EXPIRED)
        c.ok(w.CREATE, w.create(path))
        counted(m, (1, 0))
        c.close()

    def upgrades(self, m):
        """By create, create2 and multi; two transactions, the session moves and is the leader's."""
        for op in (w.CREATE, w.CREATE2, w.MULTI):
            path, zxid = self.path(), self.e.settle()
            c = m.session(LONG)
            c.ok(op, with_ephemeral(path) if op == w.MULTI else w.create(path, flags=EPHEMERAL))
            stat = c.ok(w.EXISTS, w.read(path))
            expect("owner", (stat.ephemeralOwner, stat.czxid), (c.sid, zxid + 2))
            self.still("upgraded", zxid + 2)
            for o in self.e.members:
                counted(o, (0, 1))
            expect("getEphemerals", c.ok(w.GET_EPHEMERALS, w.buf("")), [path.encode()])
            self.moves(m, c, path)

    def moves(self, m, c, path):
        """It is global: another member takes it, and gives it back; and its end takes the node."""
        for o in [o for o in self.e.members if o is not m] + [m]:
            c.drop()
            c = resume(o, c.sid, c.passwd)
            if not c:
                raise AssertionError("%r does not take it" % o)
            c.ok(w.SET_DATA, w.set_data(path, b"x"))
        c.close()
        self.e.settle()
        other = m.session(LONG)
        expect("with its session", other.call(w.EXISTS, w.read(path)).err, w.NO_NODE)
        other.close()

    def ends_in_order(self, m):
        """The end of a local session does not overtake the writes before it."""
        path, c = self.path(), m.session(LONG)
        self.ask_at_once(c, [(w.CREATE, w.create(path)), (w.GET_DATA, w.read(path))] +
                         [(w.SET_DATA, w.set_data(path, b"x", n)) for n in range(20)] +
                         [(w.SYNC, w.buf(path)), (w.CLOSE_SESSION, b"")])

    def in_order(self, m):
        """What a client sends at once is answered in order, and done in order."""
        path, c = self.path(), m.session(LONG)
        asked = [(w.CREATE, w.create(path)), (w.GET_DATA, w.read(path)),
                 (w.SET_DATA, w.set_data(path, b"1", 0)), (w.SYNC, w.buf(path)),
                 (w.CREATE, w.create(path + "-e", flags=EPHEMERAL)),
                 (w.EXISTS, w.read(path + "-e")), (w.SET_DATA, w.set_data(path, b"2", 1)),
                 (w.MULTI, with_ephemeral(path + "-f")), (w.GET_DATA, w.read(path)),
                 (w.DELETE, w.path_version(path + "-e")), (w.CLOSE_SESSION, b"")]
        self.ask_at_once(c, asked)

    def ask_at_once(self, c, asked):
        xids = [c.send(op, body) for op, body in asked]
        replies = [c.reply() for _ in asked]
        expect("xids", [r.xid for r in replies], xids)
        expect("codes", [r.err for r in replies], [0] * len(asked))
        zxids = [r.zxid for r in replies]
        expect("zxids", sorted(zxids), zxids)
        expect("closed behind it", c.closed(), True)
        c.drop()
        self.e.settle()

    def are_the_leaders(self):
        """The leader hears of them while they speak, at whatever member, and ends them when not."""
        sessions = [(m, m.session(SHORT)) for m in self.e.members]
        paths = [self.path() for _ in sessions]
        for path, (_, c) in zip(paths, sessions):
            c.ok(w.CREATE, w.create(path, flags=EPHEMERAL))
        until = time.monotonic() + 1.5 * FORGOTTEN
        while time.monotonic() < until:
            for _, c in sessions:
                c.call(w.PING)
            time.sleep(SHORT / 5000)
        self.e.settle()
        for path, (_, c) in zip(paths, sessions):
            c.ok(w.EXISTS, w.read(path))
            c.drop()
        self.all_gone(sessions)
        self.e.settle()

    # --- while the leader is slow -----------------------------------------------------------

    def without_leader(self, m):
        """A follower opens, reads and closes while its leader stands still."""
        self.lead.signal_all(signal.SIGSTOP)
        try:
            began = time.monotonic()
            for _ in range(5):
                c = m.session(LONG, 2.0)
                c.ok(w.GET_DATA, w.read("/t"))
                expect("closed", c.call(w.CLOSE_SESSION).err, 0)
                c.drop()
            took = time.monotonic() - began
        finally:
            self.lead.signal_all(signal.SIGCONT)
        print("   %r: five sessions without the leader in %.3f s" % (m, took), flush=True)
        self.e.serving()

    # --- Paddock alone ----------------------------------------------------------------------

    def outlives(self, m, what, disturb):
        """A local session that has a connection, and one that has none."""
        path = self.path()
        c, away = m.session(LONG), m.session(LONG)
        c.ok(w.CREATE, w.create(path))
        away.drop()
        counted(m, (2, 0))
        c = disturb(m, c) or c
        c.ok(w.SET_DATA, w.set_data(path, b"1"))
        c.ok(w.GET_DATA, w.read(path))
        back = resume(m, away.sid, away.passwd)
        if not back:
            raise AssertionError("%s: the one without a connection is gone" % what)
        counted(m, (2, 0))
        c.ok(w.CREATE, w.create(path + "-e", flags=EPHEMERAL))
        counted(m, (1, 1))
        expect("getEphemerals", c.ok(w.GET_EPHEMERALS, w.buf("")), [(path + "-e").encode()])
        c.close()
        back.close()

    @staticmethod
    def kill_worker(m, c):
        """The worker that has the connection: the client comes back to another."""
        m.replace(m.worker_of(c.sock))
        c = resume(m, c.sid, c.passwd)
        if not c:
            raise AssertionError("gone with its worker")
        return c

    @staticmethod
    def kill_writer(m, _):
        """Nothing of the client is under way; it may go on when the next writer serves."""
        m.replace(m.writer())
        wait_until("a writer serves", lambda: takes_sessions(m), 20, 0.05)

    def kill_leader(self, m, _):
        lead = self.e.leader()
        lead.kill()
        self.e.serving()
        lead.start(wait=False)
        self.lead = self.e.serving()

    def away(self, m):
        """The quorum goes away in the midst of an upgrade: all is done in order when it is back."""
        path, c = self.path(), m.session(LONG, 60.0)
        c.ok(w.CREATE, w.create(path))
        lead = self.e.leader()
        others = [o for o in self.e.members if o is not m]
        for o in others:
            o.signal_all(signal.SIGSTOP)
        xids = [c.send(w.SET_DATA, w.set_data(path, b"1", 0)),
                c.send(w.CREATE, w.create(path + "-e", flags=EPHEMERAL)),
                c.send(w.SET_DATA, w.set_data(path, b"2", 1)), c.send(w.GET_DATA, w.read(path))]
        wait_until("all are under way", lambda: m.figures().get(
            "zk_outstanding_requests") == str(len(xids)), 2)
        wait_until("the first are in a socket to the leader", lambda: unread(lead), 2)
        for o in others:
            signal_all = o.kill if o is lead else lambda o=o: o.signal_all(signal.SIGCONT)
            signal_all()
        replies = [c.reply() for _ in xids]
        expect("answers", [(r.xid, r.err) for r in replies], [(x, 0) for x in xids])
        expect("the last", replies[-1].body(w.GET_DATA)[0], b"2")
        expect("owner", c.ok(w.EXISTS, w.read(path + "-e")).ephemeralOwner, c.sid)
        lead.start(wait=False)
        self.lead = self.e.serving()
        c.close()

    def restarted(self, m):
        """A member that starts again knows none of its local sessions, of either kind."""
        c = m.session(LONG)
        c.drop()
        m.stop()
        m.start(wait=False)
        self.lead = self.e.serving()
        expect("after a restart", resume(m, c.sid, c.passwd), None)


def each(case, *checks):
    passed = 0
    for check in checks:
        began = time.monotonic()
        for m in case.e.members:
            check(m)
            passed += 1
        print("   %-16s %5.1f s" % (check.__name__, time.monotonic() - began), flush=True)
    return passed


def plain(spec, lead):
    case = Case(spec, lead, LOCAL)
    with case.e:
        n = each(case, case.lives_and_ends, case.watches, case.ends_in_order, case.refuses)
        n += once(case.expire)
        case.e.check_equal()
        return n


def once(check):
    began = time.monotonic()
    check()
    print("   %-16s %5.1f s" % (check.__name__, time.monotonic() - began), flush=True)
    return 1


def upgrading(spec, lead):
    case = Case(spec, lead, UPGRADES)
    with case.e:
        n = each(case, case.upgrades, case.in_order)
        n += once(case.are_the_leaders)
        for m in case.e.members:
            if m is not case.lead:
                case.without_leader(m)
                n += 1
        case.restarted(case.e.followers()[0])
        expect("digests that differ", sum(case.e.mismatches().values()), 0)
        case.e.check_equal()
        return n + 1


def kept():
    case = Case("ppp", 3, UPGRADES)
    with case.e:
        follower = case.e.followers()[0]
        for m in (follower, case.lead):
            case.outlives(m, "worker", case.kill_worker)
            case.outlives(m, "writer", case.kill_writer)
            case.e.serving()
        case.outlives(case.e.followers()[0], "leader", case.kill_leader)
        case.away(case.e.followers()[0])
        expect("digests that differ", sum(case.e.mismatches().values()), 0)
        case.e.check_equal()
        return 6


PARTS = {
    "ppp-plain": lambda: plain("ppp", 3), "aap-apache-plain": lambda: plain("aap", 2),
    "aap-paddock-plain": lambda: plain("aap", 3), "ppp": lambda: upgrading("ppp", 3),
    "aap-apache": lambda: upgrading("aap", 2), "aap-paddock": lambda: upgrading("aap", 3),
    "kept": kept,
}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("parts", nargs="*", help="of: %s" % " ".join(PARTS))
    names = p.parse_args().parts or list(PARTS)
    score = Score()
    for name in names:
        score.case(name, PARTS[name])
    return score.end()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Observers that follow a follower (observerMasterPort), of either kind, at masters of either kind.

  masters.py [SPEC ...]

In each ensemble (see ensemble.py; default ppp+pp, aaa+p, ppp+a) observers are at a follower's port for them:
seen in its figures and its sockets. What clients do at an observer goes that way: writes, syncs, watches,
sessions that move or end, signs of life. Then the master is killed, the leader is killed, an observer is
behind, ahead, and empty; nothing is lost, and clients of Paddock's observers stay. Prints "RESULT passed failed".
"""
import argparse
import os
import signal
import socket
import sys
import time

import ensemble as en
import rot
import wire as w
from cases import Score, expect
from ensemble import Ensemble
from server import free_port, wait_until

EPHEMERAL = 1
SHORT, LONG = 1500, 30000           # ms


def connected(host, port):
    """How many connections stand to that address, as the kernel says."""
    wanted = "%08X:%04X" % (int.from_bytes(socket.inet_aton(host), "little"), port)
    mapped = "0000000000000000FFFF0000" + wanted
    found = 0
    for name in ("tcp", "tcp6"):
        with open("/proc/net/" + name) as f:
            found += sum(line.split()[2] in (wanted, mapped) and line.split()[3] == "01"
                         for line in f.readlines()[1:])
    return found


class Case:
    """One ensemble; every test_* is a fact."""

    def __init__(self, e, port):
        self.e, self.port = e, port
        self.o = e.observers()[0]

    def master(self, observer=None):
        """The follower that the observer is at, by its own account, once it serves."""
        observer = observer or self.o

        def found():
            self.e.serving()
            sid = int(observer.figures().get("zk_observer_master_id", -1))
            m = [m for m in self.e.followers() if m.sid == sid]
            return m and connected(m.host, self.port) and m[0] if not m else (
                m[0] if connected(m[0].host, self.port) else None)
        return wait_until("%r has a master" % observer, found, 30, 0.05)

    def resume(self, member, c, timeout=LONG):
        """A connection with that session, or None: it is no more. One that is behind closes: again."""
        def tried():
            n = w.Conn(member.port, 10.0, member.host)
            try:
                return (n,) if n.handshake(timeout, c.sid, c.passwd, zxid=c.zxid)[0] else (None,)
            except (w.Closed, OSError):
                return None
        n = wait_until("%r is not behind" % member, tried, 10, 0.02)[0]
        if n:
            n.zxid = c.zxid
        return n

    def test_observers_are_at_followers(self):
        for o in self.e.observers():
            m = self.master(o)
            wait_until("the master counts it", lambda m=m: int(
                m.figures().get("zk_synced_observers", 0)) >= 1, 10, 0.05)
        expect("at the leader's port for observers", connected(self.e.leader().host, self.port), 0)
        expect("observers at the leader", int(
            self.e.leader().figures()["zk_synced_observers"]), 0)

    def test_writes_and_reads(self):
        c = self.o.session()
        for n in range(200):
            c.send(w.CREATE, w.create("/w%d" % n, b"%d" % n))
        for n in range(200):
            expect("create", c.reply().err, 0)
        expect("own write", c.ok(w.GET_DATA, w.read("/w199"))[0], b"199")
        expect("a node that is there", c.ask(w.CREATE, w.create("/w0"))[0], w.NODE_EXISTS)
        err, _ = c.ask(w.MULTI, w.multi([(w.CREATE, w.create("/m1")), (w.DELETE, w.path_version("/none"))]))
        expect("a multi", err in (0, w.NO_NODE), True)
        for m in self.e.members:
            d = m.session()
            d.call(w.SYNC, w.buf("/"))
            expect("%r" % m, d.ok(w.GET_DATA, w.read("/w199"))[0], b"199")
            expect("no half of a multi", d.ask(w.EXISTS, w.read("/m1"))[0], w.NO_NODE)
            d.close()
        c.close()

    def test_large_writes(self):
        """More at once than may wait for the leader."""
        c, data = self.o.session(), os.urandom(700000)
        c.ok(w.CREATE, w.create("/large"))
        for n in range(12):
            c.send(w.SET_DATA, w.set_data("/large", b"%d" % n + data))
        for _ in range(12):
            expect("set", c.reply().err, 0)
        expect("there", c.ok(w.GET_DATA, w.read("/large"))[0], b"11" + data)
        c.close()
        self.e.leader().do(w.DELETE, w.path_version("/large"))

    def test_sync_sees_what_was_told_before(self):
        lead = self.e.leader().session()
        lead.ok(w.CREATE, w.create("/s", b"-"))
        seers = [o.session() for o in self.e.observers() for _ in range(3)]
        for n in range(50):
            lead.ok(w.SET_DATA, w.set_data("/s", b"%d" % n))
            for c in seers:
                c.send(w.SYNC, w.buf("/s"))
                c.send(w.GET_DATA, w.read("/s"))
            for c in seers:
                expect("sync", c.reply().err, 0)
                expect("read", c.reply().body(w.GET_DATA)[0], b"%d" % n)
        for c in [lead] + seers:
            c.close()

    def test_watches(self):
        c, lead = self.o.session(), self.e.leader().session()
        lead.ok(w.CREATE, w.create("/watched", b"a"))
        c.call(w.SYNC, w.buf("/"))
        c.ok(w.GET_DATA, w.read("/watched", True))
        lead.ok(w.SET_DATA, w.set_data("/watched", b"b"))
        r = c.recv()
        expect("event", (r.xid, r.event()[2]), (-1, b"/watched"))
        c.close()
        lead.close()

    def test_a_session_moves_everywhere_and_back(self):
        c = self.o.session()
        c.ok(w.CREATE, w.create("/e", b"", flags=EPHEMERAL))
        others = [m for m in self.e.members if m is not self.o]
        for m in [self.e.leader()] + others + [self.o, others[0], self.o]:
            n = self.resume(m, c)
            if not n:
                raise AssertionError("%r refuses the session" % m)
            n.ok(w.SET_DATA, w.set_data("/e", b"at %d" % m.sid))
            c.drop()
            c = n
        expect("owner", c.ok(w.EXISTS, w.read("/e")).ephemeralOwner, c.sid)
        c.close()
        expect("gone", ask_err(self.e.leader(), w.EXISTS, w.read("/e")), w.NO_NODE)

    def test_who_lost_a_session_is_told(self):
        """By an observer and its master, which are one for the leader. Apache's masters don't know either."""
        m = self.master()
        if m.kind != "paddock":
            return
        c = self.o.session()
        c.ok(w.CREATE, w.create("/lost"))
        n = self.resume(m, c)
        n.ok(w.SET_DATA, w.set_data("/lost", b"new"))
        try:
            if not c.call(w.SET_DATA, w.set_data("/lost", b"old")).err:
                raise AssertionError("an old connection was served")
        except (w.Closed, OSError):
            pass
        expect("what counts", n.ok(w.GET_DATA, w.read("/lost"))[0], b"new")
        back = self.resume(self.o, n)
        back.ok(w.SET_DATA, w.set_data("/lost", b"newer"))
        expect("the master all the while", self.master(), m)
        back.close()

    def test_a_dead_session_is_refused(self):
        c = self.o.session()
        n = self.resume(self.e.leader(), c)
        n.close()
        expect("a session that was closed", self.resume(self.o, c), None)

    def test_touches_keep_sessions_and_silence_ends_them(self):
        c = self.o.session(SHORT)
        c.ok(w.CREATE, w.create("/live", b"", flags=EPHEMERAL))
        end = time.monotonic() + 2.2 * SHORT / 1000
        while time.monotonic() < end:
            expect("a ping", c.call(w.PING).err, 0)
            time.sleep(SHORT / 1000 / 5)        # a client's rhythm, not a wait
        expect("lives", ask_err(self.e.leader(), w.EXISTS, w.read("/live")), 0)
        wait_until("it expires", lambda: ask_err(
            self.e.leader(), w.EXISTS, w.read("/live")) == w.NO_NODE, 15, 0.1)
        c.drop()

    def carry_over(self, victim):
        """Kill it while clients are at the observer; what was acknowledged is there, who may stay stays."""
        keeps, leads = self.o.kind == "paddock", victim is self.e.leader()
        stays = keeps and (leads or self.e.leader().kind == "paddock")
        idle, busy = self.o.session(), self.o.session()
        moved = self.resume(self.o, self.e.leader().session())
        idle.ok(w.CREATE, w.create("/idle%d" % victim.sid, b""))
        idle.ok(w.GET_DATA, w.read("/idle%d" % victim.sid, True))
        done = []
        for n in range(100):
            busy.ok(w.CREATE, w.create("/busy%d-%d" % (victim.sid, n)))
            done.append(n)
        victim.signal_all(signal.SIGKILL)
        victim.kill()
        wait_until("the others serve", lambda: self.e.serving(60), 60)
        self.master()
        lead = self.e.leader().session()
        lead.ok(w.SET_DATA, w.set_data("/idle%d" % victim.sid, b"x"))
        if keeps:
            r = idle.recv()
            expect("an event at who stayed", (r.xid, r.event()[2]), (-1, b"/idle%d" % victim.sid))
            expect("a read", idle.ok(w.GET_DATA, w.read("/idle%d" % victim.sid))[0], b"x")
        for c in (idle, busy, moved):
            # Whose a session is the leader forgot with the master, but for those that only the observer
            # ever had; a new leader learns it from the first.
            still = stays and (leads or c is not moved)
            try:
                err = c.call(w.CREATE, w.create("/more%d-%d" % (victim.sid, c.sid))).err
            except (w.Closed, OSError):
                err = None
            if still:
                expect("the first write", err, 0)
                continue
            n = self.resume(self.o, c)
            expect("after all", n.ask(w.CREATE, w.create("/more%d-%d" % (victim.sid, c.sid)))[0]
                   in (0, w.NODE_EXISTS), True)
            n.close()
        lead.call(w.SYNC, w.buf("/"))
        for n in done:
            lead.ok(w.EXISTS, w.read("/busy%d-%d" % (victim.sid, n)))
        for c in (lead, idle, busy, moved):
            c.close()
        victim.start(wait=False)
        self.e.serving(60)

    def test_the_master_dies(self):
        self.carry_over(self.master())

    def test_the_leader_dies(self):
        self.carry_over(self.e.leader())

    def test_an_observer_comes_back_behind_and_empty(self):
        for fresh in (False, True):
            self.o.kill()
            if fresh:
                self.o.wipe()
            lead = self.e.leader().session()
            for n in range(300):
                lead.send(w.CREATE, w.create("/back%d-%d" % (fresh, n), b"x" * 100))
            for n in range(300):
                expect("create", lead.reply().err, 0)
            lead.close()
            self.o.start(wait=False)
            self.e.serving(60)
            self.master()
            c = self.o.session()
            c.call(w.SYNC, w.buf("/"))
            c.ok(w.EXISTS, w.read("/back%d-299" % fresh))
            c.close()

    def test_an_observer_without_its_history_takes_its_masters_state(self):
        if self.o.kind != "paddock":
            return
        rot.fill(self.e)
        self.e.settle()
        self.o.kill()
        rot.damage_log(self.o)
        self.o.start(wait=False)
        self.e.serving(60)
        m = self.master()
        expect("given up, and installed", [bool(self.o.complaints(said)) for said in (
            rot.GIVEN_UP, rot.INSTALLED)], [True, True])
        if all(v.kind == "paddock" for v in self.e.voters()):
            sent = [v for v in self.e.members if v.complaints("gets the snapshot")]
            expect("who sent it", sent and self.e.leader() not in sent, True)
        expect("%r has it" % m, connected(m.host, self.port) > 0, True)

    def test_all_are_equal(self):
        self.e.check_equal()
        expect("differences", sum(self.e.mismatches().values()), 0)


def ask_err(member, op, body):
    """Behind a sync; None from one that lets nobody in, as it has no leader just now."""
    try:
        c = member.session()
        try:
            c.call(w.SYNC, w.buf("/"))
            return c.ask(op, body)[0]
        finally:
            c.close()
    except (w.Closed, ConnectionError):
        return None


def reconfigure(spec):
    """Changes of the membership come by the master, too, be it that the leader goes with one."""
    port = free_port()
    conf = {"observerMasterPort": port, "reconfigEnabled": "true", "skipACL": "yes"}
    with Ensemble(spec, conf, apart=True) as e:
        e.start()
        case = Case(e, port)
        lead, master = e.leader(), case.master()
        third = [m for m in e.voters() if m not in (lead, master)][0]
        c = case.o.session()
        c.ok(w.GET_DATA, w.read("/zookeeper/config", True))
        c.ok(w.RECONFIG, w.buf(None) + w.buf("%d" % third.sid) + w.buf(None) + w.i64(-1))
        expect("told", [x[-1] for x in c.events], [b"/zookeeper/config"])
        text = c.ok(w.GET_DATA, w.read("/zookeeper/config"))[0]
        expect("one voter less", b"server.%d=" % third.sid in text, False)
        expect("the master all the while", case.master(), master)
        back = "server.%d=%s;%s:%d" % (third.sid, third.line(), third.host, third.port)
        c.ok(w.RECONFIG, w.buf(back) + w.buf(None) + w.buf(None) + w.i64(-1))
        c.close()
        d = lead.session()
        d.call(w.RECONFIG, w.buf(None) + w.buf("%d" % lead.sid) + w.buf(None) + w.i64(-1))
        d.drop()
        wait_until("another leader", lambda: [m for m in e.members if m is not lead and
                                              m.mode() == "leader"], 30, 0.05)
        lead.kill()
        e.serving(60)
        wait_until("the observer has it", lambda: ask_err(
            case.o, w.EXISTS, w.read("/zookeeper/config")) == 0, 30, 0.05)
        case.o.do(w.CREATE, w.create("/after"))
        text = case.o.do(w.GET_DATA, w.read("/zookeeper/config"))[0]
        expect("without the leader that was", b"server.%d=" % lead.sid in text, False)
        e.compare()
    return 4


def run(spec, only, score):
    """Each fact is counted by itself; what follows one that fails has all members again."""
    port = free_port()
    with Ensemble(spec, {"observerMasterPort": port}, apart=True) as e:
        e.start()
        case = Case(e, port)
        for name in [n for n in vars(Case) if n.startswith("test_")]:
            if only and not any(o in name for o in only):
                continue
            if not score.case("%s: %s" % (spec, name[5:].replace("_", " ")), getattr(case, name)):
                for m in e.members:
                    print("--- %r\n%s" % (m, m.log_tail(2500)), flush=True)
                e.start()
    return 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("specs", nargs="*", default=["ppp+pp", "aaa+p", "ppp+a"])
    p.add_argument("-k", action="append", help="tests whose name has this")
    o = p.parse_args()
    score = Score()
    for spec in en.possible(o.specs):
        score.case(spec, run, spec, o.k, score)
        if not o.k and spec in ("ppp+pp", "ppp+a"):
            score.case("%s, reconfigured" % spec, reconfigure, spec)
    return score.end()


if __name__ == "__main__":
    sys.exit(main())

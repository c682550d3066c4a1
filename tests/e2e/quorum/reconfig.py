#!/usr/bin/python3
"""The membership of an ensemble changes while clients write: reconfig, and what members keep of it.

  reconfig.py [SPEC ...] [--seed N]

Each spec (see ensemble.py; default ppp and aap) goes through: an observer joins, a voter joins, a
follower is removed, the leader is removed, a follower gets other ports while it runs, members are
killed while one changes its role, everything is restarted. After each step all members
that serve show the same /zookeeper/config, have it in their dynamic file, and their trees are equal;
in the end what clients wrote down holds (load.py). With reconfigEnabled=false the request is refused.
Prints "RESULT passed failed".
"""
import argparse
import os
import random
import re
import signal
import socket
import sys
import time

import ensemble as en
import server
import wire as w
from cases import Score
from ensemble import Ensemble
from load import Load
from server import wait_until

CONFIG = "/zookeeper/config"
RECONFIG_CONF = {"reconfigEnabled": "true", "skipACL": "yes"}
IN_PROGRESS, NO_QUORUM, DISABLED = -14, -13, -123


def text(member):
    """(text, stat) of the configuration that it shows."""
    c = member.session()
    try:
        err, body = c.ask(w.GET_DATA, w.read(CONFIG))
        return (body[0].decode(), body[1]) if not err else ("", None)
    finally:
        c.close()


def servers(config):
    """{sid: role}"""
    return {int(sid): role for sid, role in re.findall(
        r"^server\.(\d+)=[^;\n]*:(participant|observer)", config, re.M)}


def version(config):
    found = re.search(r"^version=([0-9a-f]+)$", config, re.M)
    return int(found.group(1), 16) if found else -1


def joiner(m):
    return "server.%d=%s;%s:%d" % (m.sid, m.line(), m.host, m.port)


class Change:
    def __init__(self, spec, seed):
        self.e = Ensemble(spec, RECONFIG_CONF)
        self.e.start()
        self.kind = "paddock" if "p" in spec else "apache"
        self.load = Load(self.e, "/raw", seed, clients=4, doomed=2)
        self.now = 0
        self.random = random.Random(seed)
        self.outcomes = [0, 0]

    def ask(self, member, joining=None, leaving=None, members=None, config=-1):
        c = member.session()
        try:
            return c.ask(w.RECONFIG, w.buf(joining) + w.buf(leaving) + w.buf(members) + w.i64(config))
        finally:
            c.close()

    def reconfig(self, member, joining=None, leaving=None):
        """By a session at that member; the new text."""
        def done():
            try:
                err, body = self.ask(member, joining, leaving)
            except w.Closed:        # a server of Apache's that loses its leader by it may be silent
                if member.kind == "paddock" or not wait_until("%r serves" % member, member.mode, 30):
                    raise
                told, stat = text(member)
                return (told.encode(), stat) if version(told) > self.now else None
            if err in (NO_QUORUM, IN_PROGRESS):
                return None
            if err:
                raise AssertionError("reconfig: %d" % err)
            return body
        data, stat = wait_until("reconfig", done, 20, 0.2)
        told = data.decode()
        if stat.version != -1 or stat.mzxid != version(told) or version(told) <= self.now:
            raise AssertionError("reconfig said %r, %r after version %x" % (told, stat, self.now))
        self.now = version(told)
        return told

    def agreed(self, expected):
        """Waits until every member shows {sid: role}, all in one version, and has it on disk."""
        up = [m for m in self.e.members if m.up()]

        def same():
            told = {m: text(m)[0] for m in up}
            return len({frozenset(t.split("\n")) for t in told.values()}) == 1 and told
        told = wait_until("one configuration", same, 20, 0.1)[up[0]]
        if servers(told) != expected or version(told) < max(self.now, 1):
            raise AssertionError("expected %s, found %s" % (expected, told))
        self.now = version(told)
        for m in up:
            wait_until("dynamic file of %r" % m, lambda m=m: self.on_disk(m, expected), 10)

    def on_disk(self, m, expected):
        cfg = os.path.join(m.dir, "zoo.cfg")
        with open(cfg) as f:
            static = f.read()
        found = re.search(r"^dynamicConfigFile=(.*)$", static, re.M)
        if not found or not found.group(1).endswith(".dynamic.%x" % self.now):
            return False
        with open(found.group(1)) as f:
            dynamic = f.read()
        return (servers(dynamic) == expected and "version" not in dynamic and
                not re.search(r"^(server\.|peerType)", static, re.M) and
                not os.path.exists(cfg + ".dynamic.next") and os.path.exists(cfg + ".bak"))

    def step(self, label, expected, action=lambda: None):
        began = time.monotonic()
        action()
        self.e.serving(60)
        self.agreed(expected)
        gap = self.load.more(80)
        self.load.rest()
        nodes = len(self.e.compare("/raw"))
        self.load.go_on()
        print("  %-22s %5.1f s, 80 writes in %.2f s, %d nodes equal, version %x" % (
            label, time.monotonic() - began, gap, nodes, self.now), flush=True)

    def join(self, role):
        m = self.e.add(self.kind, role)
        m.start(wait=False)
        self.e.serving(60)          # it is served before it is a member
        follower = [f for f in self.e.followers() if f is not m][0]
        self.reconfig(follower, joining=joiner(m))

    def leave(self, m):
        by = next(o for o in self.e.members if o is not m and o.up())
        self.reconfig(by, leaving=str(m.sid))
        self.e.members.remove(m)
        wait_until("%r is led by another" % m, lambda: m.mode() != "leader", 20)
        m.stop()

    def move_ports(self, m):
        """It listens where the new configuration says, and others find it there."""
        old, m.ports = m.ports, (server.free_port(), server.free_port())
        self.reconfig(self.e.leader(), joining=joiner(m))

        def moved():
            try:
                socket.create_connection((m.host, m.ports[1]), 1).close()
            except OSError:
                return False
            try:
                socket.create_connection((m.host, old[1]), 1).close()
            except OSError:
                return True
            return False
        wait_until("election port of %r" % m, moved, 20, 0.1)

    def crash(self, m, lead, victims, stopped):
        """Some die while m's role changes: before or behind, all have one configuration. With the
        other voters stopped it is proposed and can't be activated."""
        c = lead.session()
        before, logged = m.role, lead.figures().get("zk_paddock_logged_zxid")
        for s in stopped:
            s.signal_all(signal.SIGSTOP)
        m.role = {"observer": "participant", "participant": "observer"}[before]
        c.send(w.RECONFIG, w.buf(joiner(m)) + w.buf(None) + w.buf(None) + w.i64(-1))
        if stopped and lead.kind == "paddock":
            wait_until("a proposal", lambda: lead.figures().get("zk_paddock_logged_zxid") != logged)
        elif not stopped:
            time.sleep(self.random.uniform(0, 0.03))    # the fault's moment, not a wait
        for v in victims:
            v.kill()
        for s in stopped:
            if s.up():
                s.signal_all(signal.SIGCONT)
        c.sock.close()
        for v in victims:
            v.start(wait=False)
        self.e.serving(60)
        now = servers(text(m)[0]).get(m.sid)
        self.outcomes[now != before] += 1
        m.role = now

    def crashes(self, m, expected):
        self.load.rest()
        for n in range(8):
            lead = self.e.leader()
            stopped = [v for v in self.e.voters() if v is not lead] if n > 3 else []
            self.crash(m, lead, [[lead], self.e.members, [lead, m], [m]][n % 4], stopped)
            expected[m.sid] = m.role
            self.agreed(expected)
        self.load.go_on()
        print("  of 8 changes %d were lost, %d done" % tuple(self.outcomes), flush=True)

    def restart(self):
        self.load.rest()
        for m in self.e.members:
            m.stop()
        self.load.go_on()
        self.e.start()

    def run(self):
        """The number of steps that held."""
        expected = {n: "participant" for n in (1, 2, 3)}
        self.load.start()
        self.step("first version", expected)
        expected[4] = "observer"
        self.step("an observer joins", expected, lambda: self.join("observer"))
        expected[5] = "participant"
        self.step("a voter joins", expected, lambda: self.join("participant"))
        gone = self.e.followers()[0]
        del expected[gone.sid]
        self.step("a follower leaves", expected, lambda: self.leave(gone))
        lead = self.e.leader()
        del expected[lead.sid]
        self.step("the leader leaves", expected, lambda: self.leave(lead))
        moves = self.e.followers()[0]
        self.step("a follower's ports move", expected, lambda: self.move_ports(moves))
        observer = self.e.observers()[0]
        self.step("members die", expected, lambda: self.crashes(observer, expected))
        self.step("all restarted", expected, self.restart)
        wrong = [v for v in self.load.finish()
                 if not (v.kind == "sync" and v.op.member in self.e.led)]
        if wrong:
            raise AssertionError("; ".join("%s: %s" % v[:2] for v in wrong[:5]))
        if any(self.e.mismatches().values()):
            raise AssertionError("digests differ: %s" % self.e.mismatches())
        return 9


def change(spec, seed):
    c = Change(spec, seed)
    try:
        return c.run()
    except Exception:
        for m in c.e.members:
            print("   %r %s %s\n%s" % (m, m.mode(), m.dir, m.log_tail(2500)))
        raise
    finally:
        c.e.stop()


def disabled():
    """Without reconfigEnabled nothing has a version, and nothing changes."""
    with Ensemble("ppp", {"skipACL": "yes"}) as e:
        e.start()
        for m in e.members:
            c = m.session()
            err, _ = c.ask(w.RECONFIG, w.buf(None) + w.buf("3") + w.buf(None) + w.i64(-1))
            c.close()
            if err != DISABLED:
                raise AssertionError("%r: %d" % (m, err))
            if version(text(m)[0]) != 0 or os.listdir(m.dir).count("zoo.cfg.bak"):
                raise AssertionError("%r: %s" % (m, text(m)))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("specs", nargs="*", default=["ppp", "aap"])
    p.add_argument("--seed", type=int, default=1)
    o = p.parse_args()
    score = Score()
    for spec in en.possible(o.specs):
        score.case(spec, change, spec, o.seed)
    score.case("without reconfigEnabled", disabled)
    return score.end()


if __name__ == "__main__":
    sys.exit(main())

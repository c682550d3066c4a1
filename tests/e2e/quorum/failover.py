#!/usr/bin/python3
"""What clients see when the leader of three members is killed: kill -9, tickTime 2000.

  failover.py [--rounds N] [--kinds apache,paddock] [--judge max|median|none] [--slack X]

A writer and a reader at each member ask one thing after the other. Rounds of the two kinds take
turns. Per round: time from the kill to the first write that anybody gets through, and until all
writers are through again; the longest time without an answer among the readers at the surviving
members; connections that those members lost. Prints a table and "RESULT passed failed".
"""
import argparse
import sys
import threading
import time

import ensemble as en
import wire as w
from ensemble import Ensemble
from server import end_all, wait_until

CONF = {"tickTime": 2000, "initLimit": 10, "syncLimit": 5, "snapCount": 100000}
LIMITS = {"first write": 1000, "read pause": 100, "connections lost": 0}    # ms; of Paddock's
PACE = 0.002
TIMEOUT = 20000


class Prober(threading.Thread):
    """One session, at home on one member as long as that one serves: writes, or reads."""

    def __init__(self, members, home, writes):
        super().__init__(daemon=True)
        self.members = members[home:] + members[:home]
        self.path = "/probe-%d" % home
        self.op = w.SET_DATA if writes else w.GET_DATA
        self.body = w.set_data(self.path, b"x" * 100) if writes else w.read(self.path)
        self.writes, self.over = writes, threading.Event()
        self.lost, self.answers, self.error = [], [], None     # (member, when); times
        self.conn = self.open(self.members[0])
        if writes:
            self.conn.ask(w.CREATE, w.create(self.path))

    def open(self, member, old=None):
        c = w.Conn(member.port, 3, member.host)
        c.handshake(TIMEOUT, *((old.sid, old.passwd, False, old.zxid) if old else ()))
        if not c.sid:
            raise AssertionError("session refused by %r" % member)
        c.sock.settimeout(TIMEOUT / 1500)
        self.member = member
        return c

    def run(self):
        try:
            while not self.over.is_set():
                try:
                    r = self.conn.call(self.op, self.body)
                    if r.err:
                        raise AssertionError("error %d" % r.err)
                    self.answers.append(time.monotonic())
                    self.over.wait(PACE)
                except (w.Closed, OSError):
                    self.lost.append((self.member, time.monotonic()))
                    self.conn.drop()
                    self.again()
        except Exception as e:  # pylint: disable=broad-except
            self.error = "%s at %r: %s: %s" % (self.path, self.member, type(e).__name__, e)

    def again(self):
        """Anybody who takes the session, the others first: this one is in trouble."""
        order = self.members[1:] + self.members[:1]

        def one():
            order.append(order.pop(0))
            try:
                self.conn = self.open(order[-1], self.conn)
                return True
            except (w.Closed, OSError):
                return self.over.is_set()
        wait_until("the session of %s again" % self.path, one, 60, 0.005)

    def end(self):
        self.over.set()
        self.join(30)
        self.conn.close()


def answered_after(prober, moment):
    """Seconds from a moment to the first answer to a request that was asked before or after it."""
    return next((a - moment for a in prober.answers if a > moment), None)


def longest_gap(prober, begin):
    times = [begin] + [a for a in prober.answers if a > begin]
    return max((b - a for a, b in zip(times, times[1:])), default=0)


def one_round(e):
    """The figures of one kill, in ms, and connections."""
    lead = e.leader()
    probers = [Prober(e.members, i, writes) for i in range(len(e.members))
               for writes in (False, True)]
    for p in probers:
        p.start()

    def check(enough):
        errors = [p.error for p in probers if p.error]
        if errors:
            raise AssertionError("; ".join(errors))
        return enough()
    try:
        wait_until("all get answers", lambda: check(
            lambda: all(len(p.answers) > 100 for p in probers)), 60)
        killed = time.monotonic()
        lead.kill()
        writers = [p for p in probers if p.writes]
        wait_until("writes again", lambda: check(lambda: all(
            answered_after(p, killed + 0.2) is not None and (
                p.members[0] is not lead or p.lost) for p in writers)), 60)
        # What was answered in the first moment may have been committed before the kill.
        after = [min(a for a in p.answers if a > committed(p, killed)) - killed for p in writers]
        wait_until("some more", lambda: check(
            lambda: all(p.answers and p.answers[-1] > killed + max(after) + 0.5
                        for p in probers)), 60)
    finally:
        for p in probers:
            p.over.set()
        lead.start(wait=False)
    for p in probers:
        p.end()
    e.serving()
    e.settle()
    at_survivors = [p for p in probers if p.members[0] is not lead]
    return {"first write": min(after) * 1000, "all writers": max(after) * 1000,
            "read pause": max(longest_gap(p, killed) for p in at_survivors
                              if not p.writes) * 1000,
            "connections lost": sum(m is not lead for p in at_survivors for m, _ in p.lost)}


def committed(prober, killed):
    """When the last write from before the pause was answered: answers come until the commit that
    was under way, then none until there is a leader. The pause is the longest gap after the kill."""
    times = [killed] + [a for a in prober.answers if a > killed - PACE]
    gaps = [(b - a, a) for a, b in zip(times, times[1:])]
    return max(gaps)[1] if gaps else killed


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))]


def judge(figures, how, slack):
    """(passed, failed) by what is promised of Paddock."""
    passed = failed = 0
    for name, limit in LIMITS.items():
        values = [f[name] for f in figures]
        value = {"max": max(values), "median": percentile(values, 0.5), "none": 0}[how]
        over = value > limit * slack
        passed, failed = passed + (not over), failed + over
        if over:
            print("OVER THE LIMIT: %s %.0f, limit %d" % (name, value, limit))
    return passed, failed


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--kinds", default="apache,paddock")
    p.add_argument("--judge", choices=("max", "median", "none"), default="median")
    p.add_argument("--slack", type=float, default=1, metavar="X")
    o = p.parse_args()
    kinds = {k: "%s%s%s" % ((k[0],) * 3) for k in o.kinds.split(",")}
    specs = en.possible(list(kinds.values()))
    # Java as it comes, and not the members' quick one: this is about time.
    ensembles = {k: Ensemble(s, CONF, jvm=["-Xmx512m"]) for k, s in kinds.items() if s in specs}
    figures, passed, failed = {k: [] for k in ensembles}, 0, 0
    for e in ensembles.values():
        e.start()
    for n in range(o.rounds):
        for kind, e in list(ensembles.items()):
            try:
                figures[kind].append(one_round(e))
                passed += 1
                print("round %3d %-8s %s" % (n + 1, kind, ", ".join(
                    "%s %.0f" % f for f in figures[kind][-1].items())), flush=True)
            except Exception as problem:  # pylint: disable=broad-except
                failed += 1
                print("FAILED round %d of %s: %s: %s" % (n + 1, kind, type(problem).__name__,
                                                         problem), flush=True)
                for m in e.members:
                    print("   %r %s\n%s" % (m, m.mode(), m.log_tail(1000)))
                del ensembles[kind]
    for kind, all_of in figures.items():
        for name in all_of[0] if all_of else ():
            values = [f[name] for f in all_of]
            print("%-8s %-16s p50 %6.0f  worst %6.0f  (%d rounds)" % (
                kind, name, percentile(values, 0.5), max(values), len(values)))
    if figures.get("paddock"):
        good, bad = judge(figures["paddock"], o.judge, o.slack)
        passed, failed = passed + good, failed + bad
    print("RESULT %d %d" % (passed, failed))
    end_all()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Ensembles under faults, every answer to every client checked (history.py).

  faults.py                             the short form
  faults.py --full                      every fault on every ensemble, more rounds
  faults.py --specs aap,ppp+p --faults kill-leader,wipe --rounds 3 --seed 7

For each ensemble (see ensemble.py for the names): members start, clients write; then one fault after
the other, each with clients of its own: it strikes, they must get on, it is repaired, all members
must serve again, the whole history must be possible, and all members' trees and digests equal.
Partitions and full disks need root, for namespaces. Prints "RESULT passed failed".
"""
import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import ensemble as en
from cases import Score
from ensemble import Ensemble, Net
from load import Load
from server import ROOT, signal_pid, wait_until

FULL = ("aaa", "ppp", "app", "aap", "ppppp", "aaapp", "aaa+a", "aaa+P", "ppp+a", "app+p")
FAULTS = {}                 # name: function(Case)
WRITES = 150                # that must get through after each step
PATIENCE = 1.5              # seconds that the most impatient client waits for an answer


def fault(f):
    FAULTS[f.__name__.replace("_", "-")] = f
    return f


class Case:
    """One fault on one ensemble, with clients of its own."""

    def __init__(self, ensemble, net, name, seed, number):
        self.e, self.net, self.rng = ensemble, net, random.Random(seed)
        self.load = Load(ensemble, "/%s-%d" % (name, number), seed)
        self.deposed = []       # (member, from, to): stopped, cut off, or about to learn of it
        self.leaderless = []    # (from, to): there may have been nobody to answer
        self.restarted = set()
        ensemble.led.clear()
        self.notes = []
        self.mismatches = ensemble.mismatches()

    def more(self, what):
        self.notes.append("%s %.1f s" % (what, self.load.more(WRITES)))

    def tick_s(self, ticks):
        return ticks * int(self.e.members[0].conf["tickTime"]) / 1000

    def silence(self):
        """Longer than any member listens to nothing."""
        return self.tick_s(int(self.e.members[0].conf["syncLimit"]) + 3)

    def kill(self, *members):
        self.restarted.update(members)
        for m in members:
            m.kill()

    def without_leader(self, began):
        """Since then, until now, a leader was missing, and requests had to wait."""
        self.leaderless.append((began - PATIENCE, time.monotonic()))

    def back(self, *members):
        for m in members:
            if not m.up():
                m.start(wait=False)
        self.e.serving(90)

    def stop_and_go(self, *members):
        """SIGSTOP for longer than syncLimit. The rest go on if they are a quorum."""
        began = time.monotonic()
        for m in members:
            m.signal_all(signal.SIGSTOP)
        rest = [m for m in self.e.voters() if m not in members]
        try:
            wait_until("the stop is over", lambda: time.monotonic() > began + self.silence(), 60)
            if len(rest) > len(self.e.voters()) / 2:
                self.e.serving(60, rest)
                self.more("without it")
        finally:
            for m in members:
                m.signal_all(signal.SIGCONT)
        self.e.serving(60)
        self.without_leader(began)
        self.deposed += [(m, began - PATIENCE, time.monotonic() + self.silence()) for m in members]

    def look(self, what):
        """The clients rest while all trees are compared."""
        self.load.rest()
        self.notes.append("%s: %d nodes equal" % (what, len(self.e.compare())))
        self.load.go_on()

    def excused(self, member, moment):
        return any(member is m and a <= moment <= b for m, a, b in self.deposed)

    def tolerated(self, v):
        """A leader that does not know yet that it was deposed answers sync from what it has; one of
        Apache's may at any time be behind its own followers, and then its clients are, too."""
        return v.kind == "sync" and (
            self.excused(v.op.member, v.op.answered) or
            v.op.member.kind == "apache" and v.op.member in self.e.led)

    def hung(self):
        """Members that took a request and, though nothing was done to them, gave no answer."""
        wall = time.time() - time.monotonic()
        return ["%r from %s to %s" % (m, *(time.strftime("%H:%M:%S", time.gmtime(wall + t)) for t in (a, b)))
                for c in self.load.all for m, a, b in c.hung
                if m.kind == "paddock" and not self.excused(m, a) and not self.excused(m, b)
                and not any(x <= a <= y or x <= b <= y for x, y in self.leaderless)]

    def check_mismatches(self):
        """Members that found the leader's digests not to be theirs. Not those that started or were
        deposed: an Apache counts some then, among its own kind too, and ends with the right one."""
        new = {m: n for m, n in self.e.mismatches().items() if n > self.mismatches.get(m, 0)
               and m not in self.restarted and m not in [d[0] for d in self.deposed]}
        if new:
            raise AssertionError("found digests that do not match: %s" % new)

    def end(self):
        wrong = [v for v in self.load.finish() if not self.tolerated(v)]
        if wrong:
            raise AssertionError("%d violations\n%s" % (len(wrong), "\n".join(
                "  %s: %s" % v[:2] for v in wrong[:10])))
        if self.hung():
            raise AssertionError("no answer: %s" % self.hung())
        self.e.compare_digests()
        self.check_mismatches()
        c = self.load.history.counts()
        self.notes.append("%d writes, %d unknown, %d refused, %d reads, %d synced, %d events" % tuple(
            c.get(k, 0) for k in ("acked writes", "unknown writes", "failed writes", "acked reads",
                                  "synced reads", "events")))


# --- processes -----------------------------------------------------------------------------------

@fault
def kill_leader(case):
    m, began = case.e.leader(), time.monotonic()
    case.kill(m)
    case.more("leader dead")
    case.without_leader(began)
    case.back(m)


@fault
def kill_follower(case):
    m = case.rng.choice(case.e.followers())
    case.kill(m)
    case.more("follower dead")
    case.back(m)


@fault
def kill_observer(case):
    for m in case.e.observers():
        case.kill(m)
        case.more("observer dead")
        case.back(m)


@fault
def kill_all(case):
    began = time.monotonic()
    case.kill(*case.e.members)
    case.back(*case.e.members)
    case.without_leader(began)


@fault
def kill_leaders(case):
    """The leader, and its successor as soon as there is one; without a pause between."""
    dead, began = [], time.monotonic()
    for _ in range(len(case.e.voters()) // 2):
        dead.append(case.e.serving(60, [m for m in case.e.voters() if m not in dead]))
        case.kill(dead[-1])
    case.more("leaders dead")
    case.without_leader(began)
    case.back(*dead)


@fault
def kill_majority(case):
    """Nothing may be acknowledged until they are back."""
    began = time.monotonic()
    dead = case.rng.sample(case.e.voters(), len(case.e.voters()) // 2 + 1)
    case.kill(*dead)
    case.back(*dead)
    case.without_leader(began)


@fault
def rolling_restart(case):
    for m in case.e.members:
        case.restarted.add(m)
        led, began = case.e.leader() is m, time.monotonic()
        m.stop()
        case.more("without %r" % m)
        if led:
            case.without_leader(began)
        case.back(m)


@fault
def stop_leader(case):
    case.stop_and_go(case.e.leader())


@fault
def stop_follower(case):
    case.stop_and_go(case.rng.choice(case.e.followers()))


@fault
def stop_quorum(case):
    lead = case.e.leader()
    case.stop_and_go(*[m for m in case.e.voters() if m is not lead])


@fault
def kill_processes(case):
    """Paddock's members: the leader's and a follower's writer, then a worker of each."""
    lead = case.e.leader()
    for m in [m for m in case.e.members if m.kind == "paddock" and m is lead] + [
            m for m in case.e.members if m.kind == "paddock" and m is not lead][:1]:
        began = time.monotonic()
        signal_pid(m.writer(), signal.SIGKILL)
        case.more("writer of %r dead" % m)
        case.e.serving()
        case.without_leader(began)
        signal_pid(m.workers()[0], signal.SIGKILL)
        case.more("worker of %r dead" % m)
        case.e.serving()


# --- disks ---------------------------------------------------------------------------------------

@fault
def wipe(case):
    """A follower, then the leader, comes back with an empty disk, while the others write."""
    for m in (case.rng.choice(case.e.followers()), case.e.leader()):
        led, began = case.e.leader() is m, time.monotonic()
        case.kill(m)
        m.wipe()
        case.more("%r wiped" % m)
        if led:
            case.without_leader(began)
        case.back(m)
        case.more("%r back" % m)


@fault
def far_behind(case):
    """A follower misses more than the others keep in memory, and has a snapshot to go by."""
    m = case.rng.choice(case.e.followers())
    case.kill(m)
    case.notes.append("700 writes %.1f s" % case.load.more(700))
    case.back(m)


@fault
def full_disk(case):
    """A follower's disk fills up, and is emptied again."""
    m = case.rng.choice(case.e.followers())
    case.kill(m)
    m.wipe()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m", "none", m.data], check=True)
    try:
        m.mark()
        case.back(m)
        with open(os.path.join(m.data, "ballast"), "wb") as f:
            try:
                while True:
                    f.write(bytes(1 << 16))
                    f.flush()
            except OSError:
                pass
        case.more("disk full")
        os.unlink(os.path.join(m.data, "ballast"))
        if m.up() and m.kind == "apache":   # it may have given up, or wait for its restart
            m.kill()
        case.back(m)
        case.more("disk free")
        case.look("disk free")
    finally:
        if m.up():
            m.kill()
        subprocess.run(["umount", "-l", m.data], check=True)
        m.wipe()
        case.back(m)


# --- networks ------------------------------------------------------------------------------------

def cuts(case, pairs):
    """Cuts each (sender, receiver), sees the rest get on, heals."""
    began = time.monotonic()
    for a, b in pairs:
        case.net.cut(a.sid, b.sid)
    try:
        wait_until("silence", lambda: time.monotonic() > began + case.silence(), 60)
        case.more("cut")
    finally:
        for a, b in pairs:
            case.net.heal(a.sid, b.sid)
    case.e.serving(60)
    case.deposed += [(m, began - PATIENCE, time.monotonic()) for m in case.e.members]
    case.more("healed")


def others(case, member):
    return [m for m in case.e.members if m is not member]


@fault
def cut_off_leader(case):
    lead = case.e.leader()
    cuts(case, [p for m in others(case, lead) for p in ((lead, m), (m, lead))])


@fault
def cut_off_follower(case):
    one = case.rng.choice(case.e.followers())
    cuts(case, [p for m in others(case, one) for p in ((one, m), (m, one))])


@fault
def leader_unheard(case):
    """One way: nobody hears the leader, it hears all."""
    lead = case.e.leader()
    cuts(case, [(lead, m) for m in others(case, lead)])


@fault
def leader_deaf(case):
    lead = case.e.leader()
    cuts(case, [(m, lead) for m in others(case, lead)])


@fault
def bridge(case):
    """The leader and one follower can't see each other; the rest see both."""
    lead = case.e.leader()
    one = case.rng.choice(case.e.followers())
    cuts(case, [(lead, one), (one, lead)])


NEED_ROOT = ("full-disk", "cut-off-leader", "cut-off-follower", "leader-unheard", "leader-deaf",
             "bridge")
SHORT = {
    "aaa": ("kill-leader", "wipe", "cut-off-leader"),
    "ppp": ("kill-leader", "kill-all", "stop-leader", "wipe", "cut-off-leader", "kill-processes",
            "rolling-restart", "full-disk"),
    "app": ("kill-leader", "wipe", "stop-leader", "leader-unheard"),
    "aap": ("kill-leader", "wipe", "rolling-restart", "bridge"),
    "aap+p": ("kill-observer", "kill-all", "kill-leader"),
}


def applies(name, spec, net):
    return not (name == "kill-observer" and "+" not in spec
                or name == "kill-processes" and "p" not in spec.lower()
                or name in NEED_ROOT and net is None)


def run_case(e, net, name, seed, number):
    case = Case(e, net, name, seed, number)
    case.load.start()
    case.more("before")
    FAULTS[name](case)
    case.more("after")
    case.end()
    print("  %s" % "; ".join(case.notes))


def keep_logs(e, name, seed):
    kept = os.path.join(ROOT, "build", "e2e", "%s-%s-%d" % (e.spec, name, seed))
    os.makedirs(kept, exist_ok=True)
    print("   logs are kept in %s" % kept)
    for m in e.members:
        shutil.copy(m.log, os.path.join(kept, "%r.log" % m))
        with open(os.path.join(kept, "%r.state" % m), "w") as f:
            f.write("\n".join(m.ask(word) for word in ("mntr", "cons", "dump")))
        print("   %r %s" % (m, m.mode() or "does not serve"))
        print("      " + "\n      ".join(m.log_tail(1500).splitlines()[-8:]), flush=True)


def run_spec(spec, names, o, net, score):
    """Each fault is counted by itself; a new ensemble after each failure."""
    e = None
    todo = [n for _ in range(o.rounds) for n in names if applies(n, spec, net)]
    for number, name in enumerate(todo):
        if e is None:
            e = Ensemble(spec, net=net)
            e.start()
        seed = o.seed * 1000 + number
        if not score.case("%s %s, seed %d" % (spec, name, seed), run_case, e, net, name, seed, number):
            keep_logs(e, name, seed)
            e.stop()
            e = None
    if e:
        e.stop()
    return 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--specs", default="")
    p.add_argument("--faults", default="")
    p.add_argument("--rounds", type=int, default=1)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--full", action="store_true")
    o = p.parse_args()
    unknown = set(filter(None, o.faults.split(","))) - set(FAULTS)
    if unknown:
        p.error("no such fault: %s; there are %s" % (" ".join(unknown), " ".join(FAULTS)))
    net = None
    if Net.possible():
        Net.enter()
        net = Net()
    else:
        print("no network namespaces here: no partitions, no full disk")
    specs = o.specs.split(",") if o.specs else FULL if o.full else SHORT
    every = list(FAULTS)
    score = Score()
    for spec in en.possible(specs):
        names = o.faults.split(",") if o.faults else every if o.full else SHORT.get(spec, every)
        score.case(spec, run_spec, spec, names, o, net, score)
    return score.end()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""A running ensemble of Apache ZooKeeper becomes one of Paddock, member by member, and back.

  migrate.py [--to p|a] [--seed N] [--rounds N]

Clients are there all the time: kazoo's, with a lock that they contend for, ephemerals, watches and
a counter; and raw ones that write down every answer (load.py). Steps:

  baseline    each Apache is restarted: the errors that clients see in any rolling restart
  observer    a Paddock that no configuration names observes; all members' trees are equal
  there       one member after the other becomes a Paddock: in place, by its import; from an empty disk
  back        and Apache again: in place, by `paddock export`; from an empty disk

After each step all trees and digests are equal. In the end nothing is lost, no session has
expired, no lock was held twice, and no step has shown clients an error of a kind, or on members,
that the baseline has not. Where paddockd does not replicate yet, all of it is done from Apache to
Apache ("--to a"). Prints "RESULT passed failed".
"""
import argparse
import collections
import logging
import os
import sys
import threading
import time

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import BadVersionError, KazooException
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.retry import KazooRetry

import ensemble as en
from cases import Score
from ensemble import KINDS, Ensemble
from load import Load
from server import wait_until

TIMEOUT = 20.0
# A client that has a request under way hears of a lost connection twice.
SAME = {KazooState.SUSPENDED: "connection", "ConnectionLoss": "connection"}
USERS = 3
logging.getLogger("kazoo").setLevel(logging.CRITICAL)


class User(threading.Thread):
    """A kazoo client: counts under a lock, holds an ephemeral, watches the counter."""

    def __init__(self, ensemble, number, everybody):
        super().__init__(daemon=True)
        self.number, self.everybody = number, everybody
        self.over, self.error = threading.Event(), None
        self.losses = []            # (when, kind of trouble)
        self.counted, self.doubtful, self.seen = 0, 0, -1
        hosts = ",".join(m.address for m in ensemble.members)
        retry = KazooRetry(max_tries=-1, delay=0.05, backoff=1.5, max_delay=0.5)
        self.zk = KazooClient(hosts=hosts, timeout=TIMEOUT, connection_retry=retry,
                              command_retry=KazooRetry(max_tries=-1, delay=0.05, max_delay=0.5))
        self.zk.add_listener(self.changed)
        self.zk.start(30)
        self.sid = self.zk.client_id[0]
        self.zk.ensure_path("/users")
        self.zk.ensure_path("/counter")
        self.mine = self.zk.create("/users/u%d" % number, b"here", ephemeral=True)
        self.zk.DataWatch("/counter", self.watch)

    def changed(self, state):
        if state != KazooState.CONNECTED:
            self.losses.append((time.monotonic(), state))

    def watch(self, data, stat):
        """kazoo calls this with the node's newest state, again after each reconnect."""
        if stat is None:
            return
        if stat.version < self.seen:
            self.error = "the watch saw version %d after %d" % (stat.version, self.seen)
        self.seen = stat.version

    def run(self):
        try:
            while not self.over.is_set():
                try:
                    with self.zk.Lock("/lock", str(self.number)):
                        self.count()
                except (KazooException, KazooTimeoutError) as e:
                    self.losses.append((time.monotonic(), type(e).__name__))
                self.over.wait(0.02)
        except Exception as e:  # pylint: disable=broad-except
            self.error = "%s: %s" % (type(e).__name__, e)

    def count(self):
        """One more in the counter, which nobody else may have changed meanwhile."""
        holders = self.everybody
        holders.append(self.number)
        try:
            if len(holders) > 1:
                raise AssertionError("the lock is held by %s" % holders)
            data, stat = self.zk.get("/counter")
            try:
                self.doubtful += 1
                self.zk.set("/counter", b"%d" % (int(data or 0) + 1), stat.version)
                self.counted += 1
                self.doubtful -= 1
            except BadVersionError:
                raise AssertionError("changed by somebody without the lock") from None
        finally:
            holders.remove(self.number)

    def check(self):
        if self.error:
            raise AssertionError("user %d: %s" % (self.number, self.error))
        if self.zk.client_id and self.zk.client_id[0] != self.sid:
            raise AssertionError("user %d: session 0x%x became 0x%x" % (
                self.number, self.sid, self.zk.client_id[0]))
        if any(kind == KazooState.LOST for _, kind in self.losses):
            raise AssertionError("user %d: its session was lost" % self.number)


class Migration:
    def __init__(self, other, seed):
        self.e = Ensemble("aaa")
        self.e.start()
        self.other, self.seed = KINDS[other], seed
        self.holders = []
        self.users = [User(self.e, n, self.holders) for n in range(USERS)]
        self.load = Load(self.e, "/raw", seed, clients=4, doomed=2)
        for c in self.load.all:
            c.wanders = False       # so that each loss of a connection is a member's doing
        self.baseline = {}          # (was it the leader?): kinds of trouble

    def begin(self):
        self.load.start()
        for u in self.users:
            u.start()
        self.load.more(300)

    def troubles(self, since, member):
        """Counter of what clients saw since then; raw ones by whose connection it was."""
        kinds = collections.Counter("kazoo: " + SAME.get(kind, kind) for u in self.users
                                    for when, kind in u.losses if when >= since)
        for c in self.load.all:
            kinds.update("raw: connection to %s" % ("it" if m is member else "another")
                         for m, when in c.losses if when >= since)
        return kinds

    def step(self, label, member, action):
        """One change of one member, and what it cost; then all must be equal."""
        led = self.e.leader() is member
        began = time.monotonic()
        member.stop()
        action(member)
        member.start(wait=False)
        self.e.serving(90)
        self.load.more(150)
        took = time.monotonic() - began
        for u in self.users:
            u.check()
        self.users_go_on()
        kinds = self.troubles(began, member)
        nodes = self.compare()
        print("%-28s %s%5.1f s, %d nodes equal; %s" % (
            label, "leader   " if led else "follower ", took, nodes, ", ".join(
                "%s %d" % k for k in sorted(kinds.items())) or "no trouble"), flush=True)
        return led, set(kinds)

    def compare(self):
        """The raw clients rest; kazoo's are stopped at their lock. Trees and digests are equal."""
        self.load.rest()
        with self.still_users():
            nodes = len(self.e.compare())
            self.e.compare_digests()
        self.load.go_on()
        return nodes

    def still_users(self):
        """Whoever holds the lock keeps the users from writing; their queue then stands still."""
        return self.users[0].zk.Lock("/lock", "comparison")

    def users_go_on(self):
        counted = [u.counted for u in self.users]
        wait_until("users count on", lambda: all(
            u.error or u.counted > n for u, n in zip(self.users, counted)), 60)
        for u in self.users:
            u.check()

    def measure(self):
        """The rolling restart of Apache that all is compared with."""
        for m in self.e.followers() + [self.e.leader()]:
            led, kinds = self.step("baseline: restart %r" % m, m, lambda _: None)
            self.baseline.setdefault(led, set()).update(kinds)

    def change(self, label, member, kind, fresh):
        led, kinds = self.step("%s: %r %s" % (label, member, "from an empty disk" if fresh
                                              else "in place"), member,
                               lambda m: m.turn(kind, fresh))
        usual = self.baseline[led] | {"kazoo: connection", "raw: connection to it"}
        if led:     # with their leader all of Apache's drop their clients, where there are any
            usual.add("raw: connection to another")
        if kinds - usual:
            raise AssertionError("%s: troubles that a restart of Apache does not make: %s" % (
                label, sorted(kinds - usual)))

    def observe(self):
        watcher = self.e.add(self.other, "observer", listed=False)
        watcher.start(wait=False)
        self.e.serving(90)
        self.load.more(300)
        print("observer %r: %d nodes equal" % (watcher, self.compare()), flush=True)
        return watcher

    def all_to(self, label, kind, fresh):
        """Followers first; fresh says who comes with an empty disk."""
        for m, wiped in zip(self.e.followers() + [self.e.leader()], fresh):
            self.change(label, m, kind, wiped)

    def finish(self):
        for u in self.users:
            u.over.set()
        for u in self.users:
            u.join(60)
            u.check()
        wrong = self.load.finish()
        wrong = [v for v in wrong if not (v.kind == "sync" and v.op.member in self.e.led)]
        if wrong:
            raise AssertionError("; ".join("%s: %s" % v[:2] for v in wrong[:5]))
        self.count_up()
        for u in self.users:
            if self.users[0].zk.get("/users/u%d" % u.number)[1].ephemeralOwner != u.sid:
                raise AssertionError("ephemeral of user %d" % u.number)
        for u in self.users:
            u.zk.stop()
            u.zk.close()
        self.e.check_equal()
        return self.load.history.counts()

    def count_up(self):
        data, stat = self.users[0].zk.get("/counter")
        counted, doubt = sum(u.counted for u in self.users), sum(u.doubtful for u in self.users)
        if not counted <= stat.version <= counted + doubt or int(data) != stat.version:
            raise AssertionError("the counter is %s, version %d, after %d counts and %d in doubt" % (
                data, stat.version, counted, doubt))
        for u in self.users:
            wait_until("user %d's watch" % u.number, lambda u=u: u.seen == stat.version, 20)


def migrate(other, seed):
    """The whole way; the number of steps that held."""
    m = Migration(other, seed)
    steps = 0
    try:
        m.begin()
        m.measure()
        watcher = m.observe()
        steps += 4
        m.all_to("there", m.other, (False, True, False))
        steps += 3
        m.all_to("back", "apache", (True, False, False))
        steps += 3
        watcher.stop()
        m.e.members.remove(watcher)
        print("in the end: %s" % m.finish(), flush=True)
        return steps + 1
    except Exception:
        for member in m.e.members:
            print("   %r %s %s\n%s" % (member, member.mode(), member.dir, member.log_tail(1500)))
        raise
    finally:
        m.e.stop()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--to", choices="ap", default="p")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--rounds", type=int, default=1)
    o = p.parse_args()
    score = Score()
    for seed in range(o.seed, o.seed + o.rounds):
        other = o.to if en.possible([o.to * 3]) else "a"
        score.case("aaa to %s, seed %d" % (other * 3, seed), migrate, other, seed)
    return score.end()


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)        # threads of kazoo's that look for a server do not end

#!/usr/bin/python3
"""kazoo's recipes across a disturbance: sets up, READY, a line on standard input, goes on."""
import sys
import threading
import traceback

from kazoo.client import KazooClient
from kazoo.recipe.watchers import ChildrenWatch, DataWatch

WAIT = 40


def demand(what, holds):
    if not holds:
        raise AssertionError(what)


class Lock:
    def before(self, a, b):
        self.lock = a.Lock("/lock", "a")
        self.lock.acquire(timeout=WAIT)
        self.other, self.got = b.Lock("/lock", "b"), threading.Event()
        threading.Thread(target=self.wait, daemon=True).start()

    def wait(self):
        self.other.acquire(timeout=2 * WAIT)
        self.got.set()
        self.other.release()

    def after(self, a, b):
        demand("nobody else got it", not self.got.is_set())
        self.lock.release()
        demand("handed over", self.got.wait(WAIT))


class Semaphore:
    def before(self, a, b):
        self.mine = a.Semaphore("/semaphore", max_leases=2)
        self.mine.acquire()

    def after(self, a, b):
        demand("one lease left", b.Semaphore("/semaphore", max_leases=2).acquire(timeout=WAIT))
        demand("no third", not a.Semaphore("/semaphore", max_leases=2).acquire(blocking=False))
        self.mine.release()


class Election:
    def before(self, a, b):
        self.terms, self.more = [], threading.Condition()
        for c, name in ((a, "a"), (b, "b")):
            threading.Thread(target=self.candidate, args=(c, name), daemon=True).start()
        self.reach(2)

    def candidate(self, client, name):
        election = client.Election("/election", name)
        while True:
            try:
                election.run(self.lead, name)
            except Exception:  # pylint: disable=broad-except
                if client.client_state == "CLOSED":
                    return

    def lead(self, name):
        with self.more:
            self.terms.append(name)
            self.more.notify_all()

    def reach(self, n):
        with self.more:
            demand("%d terms" % n, self.more.wait_for(lambda: len(self.terms) >= n, WAIT))

    def after(self, a, b):
        self.reach(len(self.terms) + 3)


class Queues:
    def before(self, a, b):
        self.queue, self.locking = a.Queue("/queue"), a.LockingQueue("/locking")
        for i in range(5):
            self.queue.put(b"%d" % i)
            self.locking.put(b"%d" % i)

    def after(self, a, b):
        for i in range(5):
            demand("queue in order", self.queue.get() == b"%d" % i)
            demand("locking queue in order", self.locking.get(WAIT) == b"%d" % i)
            demand("consumed", self.locking.consume())


class Watches:
    def before(self, a, b):
        self.data, self.children, self.change = None, None, threading.Condition()
        a.ensure_path("/watched")
        DataWatch(a, "/watched", self.on_data)
        ChildrenWatch(a, "/watched", self.on_children)

    def on_data(self, data, _stat):
        with self.change:
            self.data = data
            self.change.notify_all()

    def on_children(self, children):
        with self.change:
            self.children = children
            self.change.notify_all()

    def after(self, a, b):
        b.set("/watched", b"new")
        b.create("/watched/child")
        with self.change:
            demand("both watches fire", self.change.wait_for(
                lambda: self.data == b"new" and self.children == ["child"], WAIT))


class Counter:
    def before(self, a, b):
        self.counter = a.Counter("/counter")
        for _ in range(5):
            self.counter += 1

    def after(self, a, b):
        self.counter += 2
        demand("7 counted", b.Counter("/counter").value == 7)


class Party:
    def before(self, a, b):
        self.parties = [c.Party("/party", n) for c, n in ((a, "a"), (b, "b"))]
        for p in self.parties:
            p.join()

    def after(self, a, b):
        demand("both there", sorted(self.parties[0]) == ["a", "b"])
        self.parties[1].leave()
        demand("one left", sorted(self.parties[0]) == ["a"])


class Barrier:
    def before(self, a, b):
        self.barrier = a.Barrier("/barrier")
        self.barrier.create()

    def after(self, a, b):
        demand("closed", not b.Barrier("/barrier").wait(0.05))
        self.barrier.remove()
        demand("open", b.Barrier("/barrier").wait(WAIT))


class Ephemeral:
    def before(self, a, b):
        a.create("/ephemeral", b"x", ephemeral=True)
        t = a.transaction()
        t.create("/transaction", b"1")
        t.create("/transaction/a", ephemeral=True)
        demand("transaction", t.commit() == ["/transaction", "/transaction/a"])

    def after(self, a, b):
        owner = b.exists("/ephemeral").ephemeralOwner
        demand("the owner is this session", owner == a.client_id[0])
        demand("in the transaction too", b.exists("/transaction/a").ephemeralOwner == owner)


def main():
    clients = [KazooClient(sys.argv[1], timeout=30, connection_retry={"max_tries": -1,
               "delay": 0.05, "backoff": 1}, command_retry={"max_tries": -1, "delay": 0.05})
               for _ in range(2)]
    for c in clients:
        c.start(WAIT)
    sessions = [c.client_id[0] for c in clients]
    cases = [t() for t in (Lock, Semaphore, Election, Queues, Watches, Counter, Party, Barrier,
                           Ephemeral)]
    failed = set()
    for act in ("before", "after"):
        for case in cases:
            try:
                getattr(case, act)(*clients)
            except Exception:  # pylint: disable=broad-except
                failed.add(case)
                print("FAILED %s %s\n%s" % (type(case).__name__, act, traceback.format_exc()))
        if act == "before":
            print("READY", flush=True)
            sys.stdin.readline()
            for c in clients:
                c.retry(c.exists, "/")
    if [c.client_id[0] for c in clients] != sessions:
        print("FAILED the sessions are not the same")
        failed.add(None)
    print("RESULT %d %d" % (len(cases) + 1 - len(failed), len(failed)), flush=True)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()

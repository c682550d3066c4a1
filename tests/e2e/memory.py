#!/usr/bin/python3
"""Heaps that are full, readers that hold memory, descriptors that run out, clients that only take.

What needs room is answered -127 before it is accepted; everything else goes on, the writer never
ends for it but to put its heap together again, and nothing acknowledged is lost.
"""
import random
import signal
import sys
import time

import wire as w
from cases import expect, run
from server import Server, alive, four_letter, signal_pid, wait_until

THROTTLED = -127
CONF = {"tickTime": 500, "maxSessionTimeout": 60000}
HEAP = dict(CONF, **{"paddock.heap": "32M", "forceSync": "no", "paddock.workers": 2})


def mntr(server, key):
    for line in four_letter(server.port, "mntr").decode().splitlines():
        if line.startswith("zk_" + key + "\t"):
            return int(line.split("\t")[1])
    raise AssertionError("mntr has no " + key)


def pipeline(conn, op, bodies, depth=64):
    """The errors of many requests, in order."""
    errors = []
    for at in range(0, len(bodies), depth):
        part = bodies[at:at + depth]
        for body in part:
            conn.send(op, body)
        errors += [conn.reply().err for _ in part]
    return errors


def fill(conn, base, size, refusals=100, flags=0):
    """Create nodes of size() bytes below base until so many are refused; what was acknowledged."""
    acked, n, refused = [], 0, 0
    while refused < refusals:
        paths = ["%s/%07d" % (base, n + i) for i in range(64)]
        n += 64
        errors = pipeline(conn, w.CREATE, [w.create(p, bytes(size()), flags=flags)
                                         for p in paths])
        expect("errors", sorted(set(errors) - {0, THROTTLED}), [])
        acked += [p for p, err in zip(paths, errors) if not err]
        refused += sum(err != 0 for err in errors)
    return acked


def names(conn, base):
    return len(conn.ok(w.GET_CHILDREN, w.read(base)))


def resumed(server, old, timeout=30000):
    old.drop()
    conn = w.Conn(server.port)
    expect("session", conn.handshake(timeout, old.sid, old.passwd)[1], old.sid)
    return conn


def full_heap(size):
    rng = random.Random(1)
    with Server(conf=HEAP) as server:
        c = w.session(server.port, 30000)
        writer = server.writer()
        c.ok(w.CREATE, w.create("/a"))
        acked = fill(c, "/a", lambda: size(rng))
        expect("read", c.ask(w.GET_DATA, w.read(acked[0]))[0], 0)
        expect("set", c.ask(w.SET_DATA, w.set_data(acked[0], bytes(30000)))[0], THROTTLED)
        expect("refusals are counted", mntr(server, "paddock_writes_refused") >= 100, True)
        helper = w.session(server.port)     # somebody can come to delete
        expect("the writer lives", server.writer(), writer)

        server.restart(hard=True)
        c = resumed(server, c)
        expect("nothing is lost", names(c, "/a") >= len(acked), True)
        helper.drop()
        writer = server.writer()
        rng.shuffle(acked)
        errors = pipeline(c, w.DELETE, [w.path_version(p) for p in acked], 200)
        expect("deletions", set(errors), {0})
        wait_until("room again", lambda: c.ask(w.CREATE, w.create("/b%f" % time.time()))[0] == 0,
                   30, 0.05)
        c.ok(w.CREATE, w.create("/b"))
        again = fill(c, "/b", lambda: 4000)
        expect("most of the heap is there again", len(again) * 4000 > 20 << 20 or len(again), True)
        log = server.log_tail(100000)
        expect("no process died of it", "CHECK(" in log or "to be killed" in log, False)


def test_a_heap_full_of_small_nodes(_):
    full_heap(lambda rng: 700)


def test_a_heap_full_of_all_sizes(_):
    full_heap(lambda rng: rng.choice((0, 10, 100, 300, 1000, 5000, 20000)))


def test_a_session_that_fills_the_heap_with_ephemerals_closes(_):
    # So large that the heap's fixed reserve would not do for as many.
    with Server(conf=dict(HEAP, **{"paddock.heap": "64M"})) as server:
        c, owner = w.session(server.port, 30000), w.session(server.port, 30000)
        c.ok(w.CREATE, w.create("/e"))
        acked = fill(owner, "/e", lambda: 0, flags=1)
        expect("ephemerals", len(acked) > 60000 or len(acked), True)
        expect("closing", owner.call(w.CLOSE_SESSION).err, 0)
        expect("left", names(c, "/e"), 0)
        wait_until("memory is free again", lambda: c.ask(w.CREATE, w.create(
            "/b%f" % time.time()))[0] == 0, 30, 0.02)
        log = server.log_tail(100000)
        expect("nobody was killed", "killed" in log or "CHECK(" in log, False)


def test_a_stopped_worker_does_not_starve_a_full_heap(_):
    with Server(conf=HEAP) as server:
        conns = [w.session(server.port, 30000) for _ in range(16)]  # some at each worker
        c, writer = conns[0], server.writer()
        c.ok(w.CREATE, w.create("/a"))
        acked = fill(c, "/a", lambda: 50)
        own = server.worker_of(c.sock)
        stopped = next(pid for pid in server.workers() if pid != own)
        signal_pid(stopped, signal.SIGSTOP)
        errors = pipeline(c, w.DELETE, [w.path_version(p) for p in acked], 100)
        expect("deletions", set(errors), {0})
        expect("the writer lives", server.writer(), writer)
        wait_until("the worker was killed", lambda: not alive(stopped), 15)


if __name__ == "__main__":
    sys.exit(run(globals(), CONF))

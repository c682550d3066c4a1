#!/usr/bin/python3
"""Real processes killed, stopped and restarted under load; every acknowledged write accounted for.

Writers (one connection each, in threads of one process, pipelined) set their own nodes to unique
values, create sequential nodes and now and then do both in a multi; a reader process and a
write-prober process measure the longest pause that a client sees. After each disturbance the
whole record is checked against the tree:

  - no acknowledged write lost: nodes, versions, values, sequence numbers
  - no write applied twice: versions count every set, sequential nodes carry unique data
  - zxids: every write its own, along a connection never falling
  - sessions: each goes on under its id; a killed writer costs no connection at all

  killmatrix.py [--rounds N] [--nodes N] [--only writer,worker,..] [--seed N]
"""
import argparse
import multiprocessing
import random
import signal
import socket
import sys
import threading
import time

import wire as w
from server import Server, alive, disturbances, end_all, signal_pid, wait_until

CONF = {"tickTime": 1000, "minSessionTimeout": 2000, "maxSessionTimeout": 60000, "snapCount": 5000}
WRITERS, DEPTH, OWN = 6, 4, 3
READ_PAUSE_MS, WRITE_GAP_MS = 50, 300


class Bad(Exception):
    """A rule is broken."""


class Client:
    """A session that is resumed whenever its connection ends, and knows what it asked."""

    def __init__(self, port, timeout=60000):
        self.port, self.timeout = port, timeout
        self.conn = w.session(port, timeout)
        self.sid, self.passwd = self.conn.sid, self.conn.passwd
        self.zxid = 0
        self.lost = 0

    def resume(self, stop):
        """A new connection for the same session; waits for the server as long as it takes."""
        self.lost += 1
        self.conn.drop()

        def again():
            if stop.is_set():
                return True
            try:
                c = w.Conn(self.port, 3)
                answer = c.handshake(self.timeout, self.sid, self.passwd, zxid=self.zxid)
                c.sock.settimeout(20)
            except (w.Closed, OSError):
                return False
            if answer[1] != self.sid:
                raise Bad("session 0x%x refused on resume" % self.sid)
            self.conn = c
            return True
        wait_until("session 0x%x resumed" % self.sid, again, 60, 0.01)

    def saw(self, zxid):
        if zxid < self.zxid:
            raise Bad("zxid fell from %d to %d" % (self.zxid, zxid))
        self.zxid = zxid


class Writer(threading.Thread):
    """One session writing its own nodes: /w<k>/n<i> by setData, /w<k>/s- by sequential create."""

    def __init__(self, number, port, seed):
        super().__init__(daemon=True)
        self.number, self.rng = number, random.Random(seed)
        self.client = Client(port)
        self.base = "/w%d" % number
        self.halt, self.quiet = threading.Event(), threading.Event()
        self.idle = threading.Event()
        self.error = None
        self.serial = 0
        self.zxids = []
        self.sets = [{"acked": 0, "maybe": [], "last": b"", "last_zxid": 0} for _ in range(OWN)]
        self.acked, self.unknown = {}, set()
        self.client.conn.ok(w.CREATE, w.create(self.base))
        for i in range(OWN):
            self.client.conn.ok(w.CREATE, w.create("%s/n%d" % (self.base, i)))

    def next_request(self):
        self.serial += 1
        value = b"%d.%d" % (self.number, self.serial)
        kind = self.rng.choices(("set", "create", "both"), (6, 3, 1))[0]
        node = self.rng.randrange(OWN)
        own = "%s/n%d" % (self.base, node)
        if kind == "set":
            return kind, node, value, w.SET_DATA, w.set_data(own, value)
        record = w.create(self.base + "/s-", value, flags=2)
        if kind == "create":
            return kind, None, value, w.CREATE, record
        return kind, node, value, w.MULTI, w.multi([(w.SET_DATA, w.set_data(own, value)),
                                                    (w.CREATE, record)])

    def note(self, request, reply):
        kind, node, value, op, _ = request
        self.client.saw(reply.zxid)
        if reply.err:
            raise Bad("%s answered %d" % (w.NAMES[op], reply.err))
        body = reply.body(op)
        self.zxids.append(reply.zxid)
        if kind == "both":
            if [r[:2] for r in body[:2]] != [("set_data", 0), ("create", 0)]:
                raise Bad("multi answered %r" % (body,))
            stat, path = body[0][2], body[1][2]
        else:
            stat, path = (body[0], None) if kind == "set" else (None, body[0])
        if path is not None:
            self.acked[path] = value
        if stat is not None:
            own = self.sets[node]
            low = own["acked"] + 1
            if not low <= stat.version <= low + len(own["maybe"]):
                raise Bad("version %d of %s/n%d after %d sets acknowledged and %d unknown" % (
                    stat.version, self.base, node, own["acked"], len(own["maybe"])))
            if stat.mzxid != reply.zxid:
                raise Bad("mzxid %d in the reply of zxid %d" % (stat.mzxid, reply.zxid))
            own["acked"], own["last"], own["last_zxid"] = own["acked"] + 1, value, reply.zxid

    def run(self):
        try:
            self.work()
        except Exception as e:  # pylint: disable=broad-except
            self.error = "%s: %s: %s" % (self.base, type(e).__name__, e)
        self.idle.set()

    def work(self):
        pending = []
        while not (self.halt.is_set() and not pending):
            try:
                while len(pending) < DEPTH and not self.quiet.is_set() and not self.halt.is_set():
                    request = self.next_request()
                    pending.append(request)
                    self.client.conn.send(request[3], request[4])
                if not pending:
                    self.idle.set()
                    time.sleep(0.002)
                    continue
                self.idle.clear()
                reply = self.client.conn.reply()
                self.note(pending.pop(0), reply)
            except (w.Closed, OSError):
                for kind, node, value, _, _ in pending:
                    if node is not None:
                        self.sets[node]["maybe"].append(value)
                    if kind != "set":
                        self.unknown.add(value)
                pending = []
                self.client.resume(self.halt)


def tree_check(writers, c):
    """Every acknowledged write is in the tree, none twice; the record then starts from there."""
    zxids = [z for wr in writers for z in wr.zxids]
    if len(zxids) != len(set(zxids)):
        raise Bad("two writes acknowledged with one zxid")
    for wr in writers:
        for i, own in enumerate(wr.sets):
            data, stat = c.ok(w.GET_DATA, w.read("%s/n%d" % (wr.base, i)))
            if not own["acked"] <= stat.version <= own["acked"] + len(own["maybe"]):
                raise Bad("%s/n%d has version %d after %d sets acknowledged and %d unknown" % (
                    wr.base, i, stat.version, own["acked"], len(own["maybe"])))
            if stat.mzxid < own["last_zxid"]:
                raise Bad("%s/n%d: acknowledged zxid %d, the tree has %d" % (
                    wr.base, i, own["last_zxid"], stat.mzxid))
            if stat.mzxid == own["last_zxid"] and data != own["last"]:
                raise Bad("%s/n%d holds %r, not %r" % (wr.base, i, data, own["last"]))
            if stat.mzxid > own["last_zxid"] and data not in own["maybe"]:
                raise Bad("%s/n%d holds %r that nobody sent last" % (wr.base, i, data))
            own.update(acked=stat.version, maybe=[], last=data, last_zxid=stat.mzxid)
        names = c.ok(w.GET_CHILDREN, w.read(wr.base))
        there = {("%s/%s" % (wr.base, n.decode())).encode() for n in names if n[:2] == b"s-"}
        lost = set(wr.acked) - there
        if lost:
            raise Bad("acknowledged and gone: %s" % sorted(lost)[:5])
        values = {}
        for path in there:
            if path not in wr.acked or wr.acked[path] is not True:
                values[path] = c.ok(w.GET_DATA, w.read(path))[0]
        for path, value in values.items():
            if wr.acked.get(path, value) != value:
                raise Bad("%s holds %r, not %r" % (path, value, wr.acked[path]))
            if path not in wr.acked and value not in wr.unknown:
                raise Bad("%s holds %r: applied twice or never sent" % (path, value))
            wr.unknown.discard(value)
        if len(set(values.values())) != len(values):
            raise Bad("one create applied twice under %s" % wr.base)
        for path in there:      # checked for good: keep the directory small
            c.ok(w.DELETE, w.path_version(path))
        wr.acked.clear()
        wr.unknown.clear()
    for wr in writers:
        wr.zxids.clear()


def prober(port, write, pipe):
    """A process of its own: one request after the other, the longest time between two answers.

    What comes on the pipe is answered with (longest gap in ms, answers, connections lost) since
    the last time; "end" ends it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client = Client(port)
    conn, worst, count, last = client.conn, 0.0, 0, time.monotonic()
    path = "/probe-%s" % ("w" if write else "r")
    conn.ask(w.CREATE, w.create(path, b"x" * 100))
    body = w.set_data(path, b"y" * 100) if write else w.read(path)
    op = w.SET_DATA if write else w.GET_DATA
    never = threading.Event()
    pipe.send("ready")
    last = time.monotonic()
    while True:
        if pipe.poll():
            command = pipe.recv()
            if command == "end":
                return
            pipe.send((worst * 1000, count, client.lost))
            worst, count, client.lost, last = 0.0, 0, 0, time.monotonic()
        try:
            r = client.conn.call(op, body)
            client.saw(r.zxid)
            if r.err:
                pipe.send("error %d" % r.err)
                return
        except (w.Closed, socket.timeout, OSError):
            client.resume(never)
        now = time.monotonic()
        worst, last, count = max(worst, now - last), now, count + 1


class Probe:
    def __init__(self, port, write):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=prober, args=(port, write, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.receive()

    def receive(self):
        if not self.pipe.poll(60):
            raise Bad("a prober hangs")
        got = self.pipe.recv()
        if isinstance(got, str) and got.startswith("error"):
            raise Bad("prober: " + got)
        return got

    def report(self):
        self.pipe.send("report")
        return self.receive()

    def end(self):
        self.pipe.send("end")
        self.process.join(20)


def fill(port, nodes):
    """nodes znodes of 100 bytes, in multis of 500."""
    c = w.session(port)
    c.ok(w.CREATE, w.create("/fill"))
    for at in range(0, nodes, 500):
        ops = [(w.CREATE, w.create("/fill/node-%08d" % i, b"f" * 100))
               for i in range(at, min(at + 500, nodes))]
        err, results = c.ask(w.MULTI, w.multi(ops))
        if err or results[0][0] == "error":
            raise Bad("filling: %r" % (results[:1],))
    c.close()


def progress(writers):
    return sum(len(wr.zxids) for wr in writers)


def more_writes(writers, n, seconds=60):
    start = progress(writers)

    def enough():
        bad = [wr.error for wr in writers if wr.error]
        if bad:
            raise Bad("; ".join(bad))
        return progress(writers) >= start + n
    wait_until("%d more writes" % n, enough, seconds)


def kill_snapshotter(server):
    """snapCount is small: writes bring one along again and again."""
    for _ in range(2):
        pid = wait_until("a snapshotter", lambda: server.titled("paddockd: snapshotter"), 60,
                         0.0005)[0]
        signal_pid(pid, signal.SIGKILL)
        wait_until("gone", lambda: not alive(pid))
        pids = [server.writer()]
        signal_pid(pids[0], signal.SIGKILL)     # asks anew at once; the pause is a minute else
        wait_until("gone", lambda: not alive(pids[0]))
    return False


def disturb(server, how, rng):
    """True if connections may be lost by it."""
    if how == "sigterm":
        server.restart()
        return True
    if how == "all":
        server.restart(hard=True)
        return True
    if how in ("writer", "worker"):
        pids = [server.writer()] if how == "writer" else server.workers()
        pid = rng.choice(pids)
        signal_pid(pid, signal.SIGKILL)
        wait_until("%s gone" % how, lambda: not alive(pid))
        server.writer()
        return how == "worker"
    if how == "writer-twice":
        for _ in range(2):
            disturb(server, "writer", rng)
        return False
    if how == "recovery":       # the new writer in the middle of its recovery, three times
        for _ in range(3):
            pid = server.writer()
            signal_pid(pid, signal.SIGKILL)
            wait_until("gone", lambda: not alive(pid))
            time.sleep(rng.random() * 0.03)     # the moment is the disturbance
        return False
    if how == "snapshotter":
        return kill_snapshotter(server)
    if how == "writer+worker":
        pids = [server.writer(), rng.choice(server.workers())]
        for pid in pids:
            signal_pid(pid, signal.SIGKILL)
        wait_until("gone", lambda: not any(map(alive, pids)))
        server.writer()
        return True
    if how == "supervisor":
        server.kill_first()
        server.start()
        return True
    pids = {"stop-writer": lambda: [server.writer()], "stop-worker": server.workers,
            "stop-all": server.pids}[how]()
    for pid in pids:
        signal_pid(pid, signal.SIGSTOP)
    time.sleep(0.3)             # the length of the stop is the disturbance itself
    for pid in pids:
        signal_pid(pid, signal.SIGCONT)
    return False


def kinds():
    if "writer" in disturbances():
        return ["writer", "worker", "writer", "all", "sigterm", "stop-writer", "stop-worker",
                "writer", "stop-all", "writer-twice", "recovery", "snapshotter", "writer+worker",
                "supervisor"]
    return ["all", "sigterm", "stop-all"]


def round_of(server, how, writers, probes, rng):
    """One disturbance and the check after it; a line about what it cost."""
    for p in probes:
        p.report()
    more_writes(writers, 200)
    before = [wr.client.lost for wr in writers]
    began = time.monotonic()
    may_lose = disturb(server, how, rng)
    took = time.monotonic() - began
    more_writes(writers, 200)
    lost = sum(wr.client.lost for wr in writers) - sum(before)
    (read_ms, reads, lost_r), (write_ms, writes, lost_w) = [p.report() for p in probes]
    lost += lost_r + lost_w
    line = "%-12s back in %4.0f ms; longest read pause %6.1f ms, write gap %6.1f ms; %d lost" % (
        how, took * 1000, read_ms, write_ms, lost)
    if lost and not may_lose:
        raise Bad(line + ": connections lost")
    for wr in writers:
        wr.quiet.set()
    wait_until("writers quiet", lambda: all(wr.idle.is_set() for wr in writers), 60)
    c = w.session(server.port, 30000)
    tree_check(writers, c)
    c.close()
    for wr in writers:
        if wr.error:
            raise Bad(wr.error)
        wr.idle.clear()
        wr.quiet.clear()
    return line, reads, writes, read_ms, write_ms


def percentile(values, p):
    return sorted(values)[min(len(values) - 1, int(len(values) * p))] if values else 0


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--rounds", type=int, default=10)
    p.add_argument("--nodes", type=int, default=100000)
    p.add_argument("--only", default="")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--judge", choices=("max", "median", "none"), default="median",
                   help="what of the pauses must keep the limits")
    p.add_argument("--slack", type=float, default=1, metavar="X",
                   help="judge by X times the limits: a busy machine is no defect, a hang is")
    o = p.parse_args()
    rng, passed, failed = random.Random(o.seed), 0, 0
    chosen = o.only.split(",") if o.only else kinds()
    gaps = []
    with Server(conf=CONF) as server:
        fill(server.port, o.nodes)
        writers = [Writer(k, server.port, o.seed * 100 + k) for k in range(WRITERS)]
        probes = [Probe(server.port, False), Probe(server.port, True)]
        for wr in writers:
            wr.start()
        for n in range(o.rounds):
            how = chosen[n % len(chosen)]
            try:
                line, reads, writes, read_ms, write_ms = round_of(server, how, writers, probes, rng)
            except Exception as e:  # pylint: disable=broad-except
                failed += 1
                print("FAILED round %d, %s: %s: %s\n%s" % (n + 1, how, type(e).__name__, e,
                                                           server.log_tail(1500)), flush=True)
                break
            passed += 1
            print("round %3d %s (%d reads, %d writes)" % (n + 1, line, reads, writes), flush=True)
            if how == "writer":
                gaps.append((read_ms, write_ms))
        for wr in writers:
            wr.halt.set()
        for probe in probes:
            probe.process.terminate()
    if gaps:
        for i, (what, limit) in enumerate((("read pause", READ_PAUSE_MS),
                                           ("write gap", WRITE_GAP_MS))):
            values = [g[i] for g in gaps]
            judged = {"max": max(values), "median": percentile(values, 0.5), "none": 0}[o.judge]
            over = judged > limit * o.slack
            passed, failed = passed + (not over), failed + over
            print("%s over %d kills of the writer at %d znodes: median %.1f ms, p90 %.1f, "
                  "max %.1f, limit %d%s" % (what, len(gaps), o.nodes, percentile(values, 0.5),
                                            percentile(values, 0.9), max(values), limit,
                                            "  OVER THE LIMIT" if over else ""))
    print("RESULT %d %d" % (passed, failed))
    end_all()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

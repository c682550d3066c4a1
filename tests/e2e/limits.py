#!/usr/bin/python3
"""Sessions expire when, and only when, their client is gone; limits of descriptors and patience."""
import os
import signal
import socket
import sys
import threading
import time

import wire as w
from cases import expect, run, within
from server import Server, four_letter, signal_pid, wait_until

CONF = {"tickTime": 500, "maxSessionTimeout": 60000, "nio.sessionlessCnxnTimeout": 3000}
TIMEOUT = 2000


class Pinger(threading.Thread):
    """A client that lives: pings at a third of its timeout, and comes back when it is cut off."""

    def __init__(self, port, timeout=TIMEOUT):
        super().__init__(daemon=True)
        self.port, self.timeout, self.halt, self.expired = port, timeout, threading.Event(), False
        self.conn = w.session(port, timeout, seconds=1)
        self.sid, self.passwd = self.conn.sid, self.conn.passwd
        self.start()

    def run(self):
        while not self.halt.wait(self.timeout / 3000):
            try:
                self.conn.send(w.PING, xid=-2)
                self.conn.reply()
            except socket.timeout:
                pass                    # the answer may come with the next one
            except (w.Closed, OSError):
                self.again()

    def again(self):
        self.conn.drop()
        try:
            self.conn = w.Conn(self.port, 1)
            self.expired |= self.conn.handshake(self.timeout, self.sid, self.passwd)[1] != self.sid
        except (w.Closed, OSError):
            pass

    def end(self):
        self.halt.set()
        self.join()
        self.conn.drop()


def gone_after(server, path, limit):
    """Seconds until the node is gone, seen by a watcher's own eyes."""
    c = w.session(server.port, 30000)
    began = time.monotonic()
    wait_until(path + " gone", lambda: c.ask(w.EXISTS, w.read(path))[0] == w.NO_NODE, limit, 0.01)
    c.close()
    return time.monotonic() - began


def test_silence_expires_within_a_tick_and_the_watch_fires(server):
    watcher, c = w.session(server.port, 30000, 30), w.session(server.port, TIMEOUT)
    c.ok(w.CREATE, w.create("/e", b"", flags=1))
    watcher.ok(w.EXISTS, w.read("/e", True))
    began = time.monotonic()
    event = watcher.recv().event()
    took = time.monotonic() - began
    expect("event", event, (w.DELETED, 3, b"/e"))
    expect("the connection is closed", c.closed(), True)
    again = w.Conn(server.port)
    expect("expired", again.handshake(TIMEOUT, c.sid, c.passwd)[:2], (0, 0))
    watcher.close()
    within("timeout, tick and a bit", took, 3.2, 1.95)


def stopped(server, pids, seconds):
    for pid in pids:
        signal_pid(pid, signal.SIGSTOP)
    time.sleep(seconds)                 # the length of the stop is the fault
    for pid in pids:
        signal_pid(pid, signal.SIGCONT)


def test_nobody_expires_while_the_server_stood_still(server):
    pingers = [Pinger(server.port) for _ in range(6)]
    owners = []
    for i in range(4):                  # connected, and silent only while nothing runs
        c = w.session(server.port, TIMEOUT)
        c.ok(w.CREATE, w.create("/own%d" % i, b"", flags=1))
        owners.append(c)
    for who in (lambda: [server.writer()], server.workers, server.pids):
        for factor in (1, 3):
            pids = who()
            for c in owners:
                c.call(w.PING)
            stopped(server, pids, factor * TIMEOUT / 1000)
            for c in owners:
                c.send(w.PING, xid=-2)
            for c in owners:
                expect("ping", c.reply().xid, -2)
    for i, c in enumerate(owners):
        expect("owner", c.ok(w.EXISTS, w.read("/own%d" % i)).ephemeralOwner, c.sid)
        c.close()
    for p in pingers:
        p.end()
        expect("expired", p.expired, False)


def test_a_killed_writer_gives_everybody_a_full_timeout_again(server):
    pinger, c = Pinger(server.port), w.session(server.port, 3000)
    c.ok(w.CREATE, w.create("/gone", b"", flags=1))
    time.sleep(2)                       # two thirds of its timeout are over
    c.drop()
    signal_pid(server.writer(), signal.SIGKILL)
    took = gone_after(server, "/gone", 10)
    pinger.end()
    expect("expired", pinger.expired, False)
    within("a full timeout", took, 5.5, 2.5)


def cpu_seconds(server):
    total = 0.0
    for pid in server.pids():
        with open("/proc/%d/stat" % pid) as f:
            rest = f.read().rpartition(")")[2].split()
        total += (int(rest[11]) + int(rest[12])) / os.sysconf("SC_CLK_TCK")
    return total


def test_no_descriptor_left_costs_no_spin_and_passes(_):
    with Server(conf=dict(CONF, **{"paddock.workers": 1}), files=120) as server:
        c = w.session(server.port, 30000)
        c.ok(w.CREATE, w.create("/fd"))
        idle = []
        for _ in range(300):
            try:
                idle.append(socket.create_connection(("127.0.0.1", server.port), 1))
            except OSError:
                break
        before, began = cpu_seconds(server), time.monotonic()
        while time.monotonic() - began < 2:
            c.ok(w.SET_DATA, w.set_data("/fd", b"x"))
            time.sleep(0.02)
        used = cpu_seconds(server) - before
        expect("processor time %.2f s of 2" % used, used < 0.8, True)
        lines = server.log_tail(100000).count("no descriptor is left")
        expect("one line or a few: %d" % lines, 1 <= lines <= 5, True)
        for s in idle:
            s.close()

        def room():
            try:
                w.session(server.port, seconds=1).close()
                return True
            except (w.Closed, OSError, AssertionError):
                return False
        wait_until("clients are let in again", room, 10, 0.05)


def test_a_handshake_in_drips_is_closed_in_time(server):
    honest = w.session(server.port, 30000)
    c = w.Conn(server.port, 10)
    whole, began = w.i32(45) + w.connect_request(), time.monotonic()
    try:
        for b in whole * 3:
            c.send_raw(bytes([b]))
            honest.call(w.PING)
            time.sleep(0.25)            # the drip is the fault
            if time.monotonic() - began > 8:
                break
    except w.Closed:
        pass
    took = time.monotonic() - began
    honest.close()
    within("closed after 3 s in all", took, 6, 2.5)


def test_pings_that_nobody_reads_end_one_connection(server):
    honest, c = w.session(server.port, 30000), w.session(server.port, 30000, 3)
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    ping, worst, sent = w.i32(8) + b"\xff\xff\xff\xfe" + w.i32(w.PING), 0.0, 0
    c.sock.setblocking(False)
    began = time.monotonic()
    while sent < 1000000 and time.monotonic() - began < 4:
        try:
            sent += c.sock.send(ping * 1000) // len(ping)
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            break
        t = time.monotonic()
        honest.call(w.PING)
        worst = max(worst, time.monotonic() - t)
    grown = sum(rss(pid) for pid in server.workers())
    expect("memory", grown < 300 << 20 or grown, True)
    c.drop()
    honest.close()
    within("others wait", worst, 0.25)


def rss(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Private_")) << 10


def test_four_hundred_announcements_before_a_handshake(server):
    before = sum(rss(p) for p in server.workers())
    conns = [w.Conn(server.port, 5) for _ in range(400)]
    for i, c in enumerate(conns):
        try:
            c.send_raw(w.i32(1000 if i % 2 else 1000000) + bytes(900))
        except w.Closed:
            pass
    w.session(server.port).close()
    grown = sum(rss(p) for p in server.workers()) - before
    expect("%d bytes for 400 connections" % grown, grown < 400 * 2048 + (1 << 20), True)
    for c in conns:
        c.drop()


def test_faults_are_told_in_bounded_words_without_clients_bytes(server):
    for i in range(3000):
        s = socket.create_connection(("127.0.0.1", server.port), 5)
        s.sendall(b"\x7f\xff\xff\xffEVIL\x1b[31m\n%d" % i)
        s.close()
    text = server.log_tail(1 << 22)
    expect("no byte of the client", "EVIL" in text or "\x1b" in text, False)
    expect("bounded", text.count("handshake refused") < 1500 or text.count("handshake refused"), True)
    bad = [line for line in four_letter(server.port, "mntr").decode().splitlines()
           if line.startswith("zk_paddock_bad_inputs")]
    expect("counted", int(bad[0].split("\t")[1]) >= 3000 or bad, True)


if __name__ == "__main__":
    sys.exit(run(globals(), CONF))

#!/usr/bin/python3
"""One worker in an attacker's hands: the writer survives, and the others' clients notice nothing."""
import os
import subprocess
import sys
import tempfile
import time

import server as servers
import wire as w
from cases import expect, in_time, within
from server import Server, end_all

WAYS = ("bytes", "kinds", "foreign", "change", "flood", "hold", "crawl")
KILLED = ("bytes", "kinds", "change", "hold", "crawl")      # the others say nothing that can't be
CONF = {"tickTime": 500, "maxSessionTimeout": 60000, "paddock.workers": 2}
SECONDS = 4.0


def rss(pid):
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return sum(int(line.split()[1]) for line in f if line.startswith("Private_")) << 10


def killed(server):
    return "killing worker 1" in server.log_tail(1 << 20)


def attack(way):
    victim = tempfile.mktemp(prefix="e2e-evil-")
    heap = "32M" if way == "hold" else "256M"   # the former so small that holding it matters
    server = Server(conf=dict(CONF, **{"paddock.heap": heap}), env={"EVIL": way, "EVIL_SESSION": victim})
    try:
        with server:
            c, other = w.session(server.port, 4000), w.session(server.port, 4000)
            with open(victim, "w") as f:
                f.write(str(c.sid))
            os.chmod(victim, 0o644)
            c.ok(w.CREATE, w.create("/own", b"x" * 3000, flags=1))
            c.ok(w.CREATE, w.create("/safe", b"0" * 3000))
            writer, worst, n = server.writer(), 0.0, 0
            before, began = rss(writer), time.monotonic()
            while time.monotonic() - began < SECONDS or (
                    way in KILLED and not killed(server) and time.monotonic() - began < 20):
                t = time.monotonic()
                stat = c.ok(w.SET_DATA, w.set_data("/safe", b"1" * 3000))
                n += 1
                expect("one set after the other", stat.version, n)
                expect("read", other.ok(w.GET_DATA, w.read("/safe"))[1].version, n)
                worst = max(worst, time.monotonic() - t)
            expect("the ephemeral", other.ok(w.EXISTS, w.read("/own")).ephemeralOwner, c.sid)
            expect("the writer lives", server.writer(), writer)
            grown = rss(writer) - before
            expect("the writer's memory", grown < 200 << 20 or grown, True)
            log = server.log_tail(1 << 20)
            expect("no check failed", "CHECK(" in log, False)
            expect("lines in the log", log.count("\n") < 300 or log.count("\n"), True)
            if way in KILLED:
                expect("it was killed", killed(server), True)
            if os.environ.get("VERBOSE"):
                print(log)
            print("%-8s %d writes, longest %.0f ms, writer +%d KiB" % (way, n, worst * 1000,
                                                                        grown >> 10))
            expect("exit status", server.stop(), 0)
            within("others wait", worst, 3)
    finally:
        if os.path.exists(victim):
            os.unlink(victim)


def main():
    passed = failed = 0
    build = os.path.dirname(servers.PADDOCKD)
    program = os.path.join("build", os.path.basename(build), "evil_worker")
    subprocess.run(["make", "-s", "-C", servers.ROOT, "V=" + os.path.basename(build), program],
                   check=True, stdout=subprocess.DEVNULL)
    servers.PADDOCKD = os.path.join(build, "evil_worker")
    for way in sys.argv[1:] or WAYS:
        try:
            in_time(attack, way)
            passed += 1
        except Exception as e:  # pylint: disable=broad-except
            failed += 1
            print("FAILED %s: %s: %s" % (way, type(e).__name__, e))
    print("RESULT %d %d" % (passed, failed))
    end_all()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

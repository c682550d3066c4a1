#!/usr/bin/python3
"""Disks that are full, broken or slow: what was acknowledged stays, and service comes back alone.

Full disks are real ones: a small ext4 in a file, mounted over the data directory (needs root;
without it these are counted as not run). Broken and slow ones are faultdisk.c, preloaded.
"""
import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

import wire as w
from cases import expect, run, within
from server import HERE, PADDOCKD, Server, alive, signal_pid, wait_until

THROTTLED = -127
MIB = 1 << 20
CONF = {"preAllocSize": 4096, "tickTime": 500, "maxSessionTimeout": 60000}
_shim = []


class Mount:
    """An ext4 of some MiB, and a server with its data there."""

    def __init__(self, mib, inodes=None, conf=None):
        self.server = Server(conf=dict(CONF, **(conf or {})))
        self.image = os.path.join(self.server.dir, "disk")
        with open(self.image, "wb") as f:
            f.truncate(mib * MIB)
        more = ["-N", str(inodes)] if inodes else []
        subprocess.run(["mkfs.ext4", "-q", "-O", "^has_journal", "-m", "0", *more, self.image],
                       check=True)
        self.mount("loop")

    def mount(self, options, device=None):
        subprocess.run(["mount", "-o", options, *([device or self.image]), self.server.data],
                       check=True)

    def free(self):
        st = os.statvfs(self.server.data)
        return st.f_bavail * st.f_frsize

    def fill(self, leave=0):
        """Take all but `leave` bytes."""
        with open(os.path.join(self.server.data, "ballast"), "ab") as f:
            try:
                while self.free() > leave:
                    f.write(bytes(min(MIB, max(4096, self.free() - leave))))
                    f.flush()
            except OSError as e:
                if e.errno != errno.ENOSPC:
                    raise

    def release(self):
        os.unlink(os.path.join(self.server.data, "ballast"))

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *exc):
        self.server.__exit__()
        subprocess.run(["umount", self.server.data], check=False)


class Faults:
    """A server on faultdisk.c."""

    def __init__(self, conf=None):
        self.rules = os.path.join(tempfile.mkdtemp(prefix="e2e-faults-"), "rules")
        self.server = Server(conf=dict(CONF, **(conf or {})),
                             env={"LD_PRELOAD": preloads(), "FAULT_FILE": self.rules})

    def rule(self, *lines):
        with open(self.rules + ".new", "w") as f:
            f.writelines(line + "\n" for line in lines)
        os.chmod(self.rules + ".new", 0o644)
        os.rename(self.rules + ".new", self.rules)

    def __enter__(self):
        self.server.start()
        return self

    def __exit__(self, *exc):
        self.server.__exit__()
        shutil.rmtree(os.path.dirname(self.rules), True)


def shim():
    if not _shim:
        _shim.append(os.path.join(tempfile.mkdtemp(prefix="e2e-shim-"), "faultdisk.so"))
        subprocess.run(["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared",
                        "-fPIC", "-o", _shim[0], os.path.join(HERE, "faultdisk.c")], check=True)
    return _shim[0]


def preloads():
    """The shim, behind the runtime that a server under AddressSanitizer wants first."""
    linked = subprocess.run(["ldd", PADDOCKD], stdout=subprocess.PIPE, text=True, check=True).stdout
    first = [line.split()[2] for line in linked.splitlines() if "libasan" in line]
    return " ".join(first + [shim()])


def mntr(server, key):
    for line in server_word(server, "mntr").splitlines():
        if line.startswith("zk_" + key + "\t"):
            return int(line.split("\t")[1])
    raise AssertionError("mntr has no " + key)


def server_word(server, word):
    from server import four_letter
    return four_letter(server.port, word).decode()


class Account:
    """What one session wrote and was told; resumes by itself."""

    def __init__(self, server, base, timeout=30000):
        self.server, self.base, self.acked, self.n = server, base, {}, 0
        self.conn = w.session(server.port, timeout)
        self.timeout = timeout
        self.conn.ok(w.CREATE, w.create(base))

    def create(self, size):
        """The error of one more create."""
        self.n += 1
        path, data = "%s/%06d" % (self.base, self.n), os.urandom(size)
        err = self.conn.ask(w.CREATE, w.create(path, data))[0]
        if not err:
            self.acked[path] = data
        return err

    def delete_one(self):
        path = next(iter(self.acked))
        err = self.conn.ask(w.DELETE, w.path_version(path))[0]
        if not err:
            del self.acked[path]
        return err

    def until_refused(self, size, most=2000):
        for _ in range(most):
            err = self.create(size)
            if err:
                expect("the error of a full server", err, THROTTLED)
                return
        raise AssertionError("never refused")

    def resume(self):
        """The same session again on a new connection, as a client would."""
        sid, passwd = self.conn.sid, self.conn.passwd
        self.conn.drop()
        self.conn = w.Conn(self.server.port)
        expect("session", self.conn.handshake(self.timeout, sid, passwd)[1], sid)

    def check(self):
        names = {"%s/%s" % (self.base, n.decode())
                 for n in self.conn.ok(w.GET_CHILDREN, w.read(self.base))}
        lost = set(self.acked) - names
        expect("acknowledged and gone", sorted(lost)[:3], [])
        for path, data in self.acked.items():
            expect("data of " + path, self.conn.ok(w.GET_DATA, w.read(path))[0] == data, True)


def works_again(account, seconds=20):
    wait_until("writes pass again", lambda: account.create(100) == 0, seconds, 0.05)


def test_full_disk(_):
    with Mount(64) as disk:
        server = disk.server
        a = Account(server, "/a")
        for _ in range(20):
            expect("create", a.create(50000), 0)
        disk.fill()
        a.until_refused(100000)
        began = time.monotonic()
        a.check()
        within("reads go on", time.monotonic() - began, 2)
        expect("a set", a.conn.ask(w.SET_DATA, w.set_data("/a", b"x"))[0], THROTTLED)
        other = w.session(server.port)
        for _ in range(5):
            expect("delete", a.delete_one(), 0)
        other.ok(w.CLOSE_SESSION)
        expect("counted", mntr(server, "paddock_writes_refused") > 0, True)

        pid = server.writer()
        signal_pid(pid, 9)
        wait_until("gone", lambda: not alive(pid))
        a.check()
        expect("ping", a.conn.call(w.PING).err, 0)
        wait_until("the writer answers", lambda: a.create(100000) == THROTTLED, 20)
        expect("delete", a.delete_one(), 0)

        server.kill()
        server.start()
        a.resume()
        a.check()
        expect("still full", a.create(100000), THROTTLED)
        expect("delete", a.delete_one(), 0)
        disk.release()
        works_again(a)
        a.check()
        server.restart(hard=True)
        a.resume()
        a.check()


def test_full_disk_while_a_snapshot_is_written(_):
    with Mount(64, conf={"snapCount": 100}) as disk:
        server = disk.server
        a = Account(server, "/a")
        for _ in range(150):
            expect("create", a.create(50000), 0)
        disk.fill(5 * MIB)

        def failed():
            err = a.create(10)
            expect("create", err in (0, THROTTLED), True)
            if err:                     # the log has taken what is left: sessions still count
                w.session(server.port).close()
            return mntr(server, "snapshot_error_count") > 0
        wait_until("a snapshot that failed", failed, 60)
        a.check()
        left = [n for n in os.listdir(os.path.join(server.data, "version-2"))
                if n.startswith("paddock.snap") and n.endswith(".tmp")]
        expect("no part of a snapshot is left", left, [])
        server.restart(hard=True)
        a.resume()
        a.check()
        disk.release()
        works_again(a)


def test_no_inode_left(_):
    with Mount(64, inodes=64) as disk:
        server = disk.server
        a = Account(server, "/a")
        n = 0
        try:
            while True:
                with open(os.path.join(server.data, "inode%d" % n), "w"):
                    n += 1
        except OSError as e:
            expect("why", e.errno, errno.ENOSPC)
        a.until_refused(100000)
        expect("delete", a.delete_one(), 0)
        a.check()
        for i in range(n):
            os.unlink(os.path.join(server.data, "inode%d" % i))
        works_again(a)
        a.check()


def ends_with(server, status, seconds=60):
    expect("exit status", server.process.wait(seconds), status)


def test_a_failed_write_is_not_acknowledged_and_the_server_recovers(_):
    with Faults() as disk:
        server = disk.server
        a = Account(server, "/a")
        for _ in range(20):
            expect("create", a.create(1000), 0)
        before = server.writer()
        disk.rule("write %d 0" % errno.EIO)
        a.conn.send(w.CREATE, w.create("/maybe"))
        wait_until("the writer ended", lambda: not alive(before), 10)
        disk.rule()
        r = a.conn.reply()      # sent again to the new writer
        expect("answer", r.err, 0)
        a.check()
        expect("log line", "nothing more is acknowledged" in server.log_tail(9000), True)
        expect("restarts", mntr(server, "paddock_writer_restarts") >= 1, True)


def test_failures_without_end_stop_the_server_with_status_10(_):
    for rule in ("write %d 0 paddock.log" % errno.EIO, "write %d 0" % errno.EROFS):
        with Faults() as disk:
            server = disk.server
            a = Account(server, "/a")
            expect("create", a.create(1000), 0)
            disk.rule(rule)
            a.conn.send(w.CREATE, w.create("/maybe"))
            ends_with(server, 10)
            expect("never acknowledged", a.conn.closed(), True)
            expect("a line says why", "giving up" in server.log_tail(9000), True)
            disk.rule()
            server.start()
            a.resume()
            a.check()


def test_a_slow_disk_delays_writes_alone(_):
    with Faults() as disk:
        server = disk.server
        a = Account(server, "/a")
        reader = w.session(server.port, 1000)       # expires in 1 s without pings
        writer = w.session(server.port, 1000)
        idle = w.session(server.port, 1000)
        disk.rule("write 0 4000 paddock.log")
        began, worst = time.monotonic(), 0.0
        write = writer.send(w.SET_DATA, w.set_data("/a", b"1"))
        pings = 0
        while time.monotonic() - began < 7:
            t = time.monotonic()
            reader.ok(w.GET_DATA, w.read("/a"))
            expect("ping", idle.call(w.PING).err, 0)
            writer.send(w.PING, xid=-2)
            pings += 1
            worst = max(worst, time.monotonic() - t)
            time.sleep(0.05)
        disk.rule()
        expect("in order", [writer.reply().xid for _ in range(pings + 1)], [write] + [-2] * pings)
        for c in (reader, writer, idle):
            expect("session lives", c.ask(w.SET_DATA, w.set_data("/a", b"2"))[0], 0)
        expect("same writer", mntr(server, "paddock_writer_restarts"), 0)
        expect("log line", "ms to reach the disk" in server.log_tail(9000), True)
        within("reads and pings", worst, 0.25)


if __name__ == "__main__":
    sys.exit(run(globals(), CONF))

#!/usr/bin/python3
"""Read-only service: what clients get from a member that finds no leader (readonlymode.enabled).

  readonly.py [SPEC ...]

Each spec (see ensemble.py; default ppp) has three members. All but its observer, or all but the
first, which is Paddock's, are killed and started again; by frames, by kazoo and by zkCli.sh: who is let
in, what is refused, which sessions go on, what the words say; the writer killed meanwhile, then the
whole member, which starts with nobody else there. In the end everything is read-write again, in the
sessions that there were. Prints "RESULT passed failed".
"""
import logging
import re
import signal
import subprocess
import sys
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import NotReadOnlyCallError
from kazoo.protocol.states import KeeperState

import ensemble as en
import server
import wire as w
from cases import Score, expect
from ensemble import Ensemble
from server import signal_pid, spawn, wait_until

CONF = {"readonlymode.enabled": "true", "4lw.commands.whitelist": "srvr,mntr,stat,conf"}
NOT_READ_ONLY = -119
ZKCLI = "/usr/share/zookeeper/bin/zkCli.sh"
LINE = "READ-ONLY mode; serving only read-only clients\n"
SYNC_LIMIT_S, GRACE_S = 2.5, 2.0        # of ensemble.CONF; max(2 s, tick)
WRITES = [(w.CREATE, w.create("/no")), (w.CREATE2, w.create("/no")),
          (w.CREATE_CONTAINER, w.create("/no", flags=4)), (w.CREATE_TTL, w.create_ttl("/no")),
          (w.DELETE, w.path_version("/ro")), (w.SET_DATA, w.set_data("/ro", b"no")),
          (w.SET_ACL, w.set_acl("/ro", w.OPEN_ACL)), (w.SYNC, w.buf("/ro")),
          (w.MULTI, w.multi([(w.SET_DATA, w.set_data("/ro", b"no"))])),
          (w.RECONFIG, w.buf(None) + w.buf("3") + w.buf(None) + w.i64(-1)), (w.SET_DATA, b"\0")]


def password(session):
    """ZooKeeper's, of any session: java.util.Random's bytes."""
    state, out = (session ^ 0xB3415C00 ^ 0x5DEECE66D) & (1 << 48) - 1, b""
    for _ in range(4):
        state = (state * 0x5DEECE66D + 11) & (1 << 48) - 1
        out += (state >> 16 & 0xFFFFFFFF).to_bytes(4, "little")
    return out


def is_closed(member, **how):
    """Is this handshake answered by the end of the connection alone?"""
    c = w.Conn(member.port, 5, member.host)
    try:
        c.send_frame(w.connect_request(**how))
        return c.closed()
    finally:
        c.drop()


def let_in(member, sid=0, passwd=bytes(16), timeout=30000, zxid=0):
    """A read-only client's connection, as soon as it is let in."""
    def one():
        try:
            c = w.Conn(member.port, 10, member.host)
            c.handshake(timeout, sid, passwd, True, zxid)
            return c
        except (w.Closed, OSError):
            return None
    return wait_until("%r lets a read-only client in" % member, one, 20, 0.02)


class Kazoo:
    """A client of kazoo's and the states that it went through: LOST is a session that ended."""

    def __init__(self, members):
        self.client = KazooClient(hosts=",".join(m.address for m in members), read_only=True,
                                  timeout=8, randomize_hosts=False)
        self.states = []
        self.client.add_listener(self.states.append)

    def until(self, state, seconds=30):
        wait_until("kazoo: %s" % state, lambda: self.client.client_state == state, seconds, 0.02)


class Shell:
    """zkCli.sh -r; what it says is read as it comes."""

    def __init__(self, members):
        self.p = spawn([ZKCLI, "-r", "-server", ",".join(m.address for m in members)],
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, cwd=members[0].dir)
        self.said = ""
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.p.stdout:
            self.said += line

    def ask(self, command, pattern, seconds=30):
        """Says it until the answer comes: the client may be on its way to another server."""
        begin, again = len(self.said), [0.0]

        def answered():
            if time.monotonic() > again[0]:
                self.p.stdin.write(command + "\n")
                self.p.stdin.flush()
                again[0] = time.monotonic() + 2
            return re.search(pattern, self.said[begin:], re.M)
        try:
            wait_until("zkCli.sh: %s" % command, answered, seconds, 0.02)
        except Exception:
            print(self.said[-3000:])
            raise

    def quit(self):
        self.p.stdin.write("quit\n")
        self.p.stdin.flush()
        self.p.wait(30)


class Run:
    def __init__(self, spec):
        self.e = Ensemble(spec, CONF if "a" not in spec else dict(
            CONF, **{"4lw.commands.whitelist": "*"}))

    def begin(self):
        """Read-write service is as it was."""
        self.e.start()
        self.m = (self.e.observers() + self.e.members)[0]
        self.others = [m for m in self.e.members if m is not self.m]
        if self.m.mode() not in ("follower", "observer"):
            raise AssertionError("%r leads" % self.m)
        for m in self.e.members:
            expect("isro of %r" % m, m.ask("isro"), "rw")
        self.rw = self.m.session()
        self.rw.ok(w.CREATE, w.create("/ro", b"data"))
        self.rw.ok(w.CREATE, w.create("/ro/eph", b"", flags=1))
        self.rw.ok(w.AUTH, w.auth("digest", b"me:secret"))
        self.rw.ok(w.CREATE, w.create("/mine", b"mine", [(31, "auth", "")]))
        self.rw.ok(w.SYNC, w.buf("/"))
        c = w.Conn(self.m.port, 10, self.m.host)
        c.handshake(30000, 0, bytes(16), True)
        expect("readOnly of a server in full service", c.read_only, False)
        c.close()
        self.kazoo = Kazoo([self.m] + self.others)
        self.kazoo.client.start(20)
        self.kazoo_id = self.kazoo.client.client_id

    def lose(self):
        """Reads alone, no sooner than the bound and the grace, soon after."""
        began = time.monotonic()
        for m in self.others:
            m.kill()
        wait_until("isro", lambda: self.m.ask("isro") == "ro", 20, 0.01)
        took = time.monotonic() - began
        if not max(SYNC_LIMIT_S - 0.6, GRACE_S) < took < SYNC_LIMIT_S + GRACE_S + 3:
            raise AssertionError("after %.1f s" % took)
        if not self.rw.closed():
            raise AssertionError("a read-write connection lives on")

    def words(self):
        """Words say so."""
        srvr, stat = self.m.ask("srvr"), self.m.ask("stat")
        for text in (srvr, stat):
            expect("second line", text.split("\n", 1)[1][:len(LINE)], LINE)
            expect("mode", re.search("^Mode: (.*)$", text, re.M).group(1), "read-only")
        expect("mntr", self.m.figures()["zk_server_state"], "read-only")
        if "membership" in self.m.ask("conf"):
            raise AssertionError("conf tells the membership")

    def refused(self):
        """Who did not ask for it is closed without a word, so is who has seen more."""
        for read_only in (False, None):
            expect("readOnly=%s" % read_only, is_closed(self.m, read_only=read_only), True)
        expect("zxid ahead", is_closed(self.m, read_only=True, zxid=1 << 40), True)
        expect("session of somewhere else", is_closed(
            self.m, read_only=True, sid=77, passwd=password(77)), True)

    def reads(self):
        """A new client reads, each write is -119, the connection stays."""
        c = self.lent = let_in(self.m)
        expect("readOnly", c.read_only, True)
        expect("get", c.ok(w.GET_DATA, w.read("/ro", True))[0], b"data")
        last = c.zxid
        for op, body in WRITES:
            r = c.call(op, body)
            expect("%s" % w.NAMES[op], (r.err, r.zxid), (NOT_READ_ONLY, last))
        xids = [c.send(w.SET_DATA, w.set_data("/ro", b"no")), c.send(w.GET_DATA, w.read("/ro")),
                c.send(w.SYNC, w.buf("/")), c.send(w.EXISTS, w.read("/no"))]
        expect("in order", [(r.xid, r.err) for r in (c.reply() for _ in xids)],
               list(zip(xids, (NOT_READ_ONLY, 0, NOT_READ_ONLY, w.NO_NODE))))
        expect("ACL", c.ask(w.GET_DATA, w.read("/mine"))[0], w.NO_AUTH)
        c.ok(w.AUTH, w.auth("digest", b"me:secret"))
        expect("auth", c.ok(w.GET_DATA, w.read("/mine"))[0], b"mine")
        expect("children", c.ok(w.GET_CHILDREN, w.read("/ro")), [b"eph"])
        again = let_in(self.m, c.sid, c.passwd)
        expect("lent session again", again.sid, c.sid)
        again.close()
        if not again.sid or again.passwd == password(again.sid):
            raise AssertionError("a lent session looks like one of the ensemble's")

    def resumed(self):
        """A session of before goes on, and is not ended by its client."""
        old = self.rw
        c = let_in(self.m, old.sid, old.passwd, zxid=old.zxid)
        expect("session", (c.sid, c.passwd, c.read_only), (old.sid, old.passwd, True))
        expect("ephemerals", c.ok(w.GET_EPHEMERALS, w.buf("/")), [b"/ro/eph"])
        expect("closeSession", c.ask(w.CLOSE_SESSION)[0], NOT_READ_ONLY)
        wrong = w.Conn(self.m.port, 10, self.m.host)
        expect("wrong password", wrong.handshake(30000, old.sid, b"x" * 16, True),
               (0, 0, bytes(16)))
        wrong.drop()

    def silent(self):
        """Who is silent for its timeout is closed, who pings is not."""
        silent, alive = let_in(self.m, timeout=1000), let_in(self.m, timeout=1000)
        began = time.monotonic()
        silent.sock.settimeout(0.3)
        while not silent.closed():
            alive.call(w.PING)
            if time.monotonic() - began > 6:
                raise AssertionError("it lives on")
        if time.monotonic() - began < 0.9:
            raise AssertionError("closed too soon")
        alive.close()

    def clients(self):
        """kazoo and zkCli.sh -r read, and are told that they may not write."""
        self.kazoo.until(KeeperState.CONNECTED_RO)
        expect("kazoo's session", self.kazoo.client.client_id, self.kazoo_id)
        expect("kazoo reads", self.kazoo.client.get("/ro")[0], b"data")
        try:
            self.kazoo.client.set("/ro", b"no")
            raise AssertionError("kazoo writes")
        except NotReadOnlyCallError:
            pass
        self.late = Kazoo([self.m] + self.others)
        self.late.client.start(20)
        self.late.until(KeeperState.CONNECTED_RO)
        expect("the late one reads", self.late.client.get("/ro")[0], b"data")
        self.shell = Shell([self.m] + self.others)
        self.shell.ask("get /ro", "^data$")
        self.shell.ask("set /ro no", "[Nn]ot a read-only call|NotReadOnly")
        if "state:ConnectedReadOnly" not in self.shell.said:
            raise AssertionError(self.shell.said)

    def writer_dies(self):
        """kill -9 of the writer: the connection stays, reads go on, others come."""
        old = self.m.writer()
        signal_pid(old, 9)
        wait_until("another writer", lambda: self.m.titled("paddockd: writer") not in ([], [old]),
                   20, 0.02)
        expect("get", self.lent.ok(w.GET_DATA, w.read("/ro"))[0], b"data")
        let_in(self.m).close()
        expect("auth lives on", self.lent.ok(w.GET_DATA, w.read("/mine"))[0], b"mine")

    def alone(self):
        """kill -9 of everything: it starts alone, and serves what was committed."""
        zxid = self.lent.zxid
        self.m.kill()
        if not self.lent.closed():
            raise AssertionError("the connection lives on")
        self.m.start(wait=False)
        expect("isro of one that starts", wait_until(
            "it answers", lambda: self.m.ask("isro"), 20, 0.02), "null")
        c = let_in(self.m, self.lent.sid, self.lent.passwd, zxid=zxid)
        expect("readOnly", (c.read_only, c.sid), (True, self.lent.sid))
        expect("get", c.ok(w.GET_DATA, w.read("/ro"))[0], b"data")
        old = let_in(self.m, self.rw.sid, self.rw.passwd, zxid=zxid)
        expect("session", old.sid, self.rw.sid)
        self.lent, self.old = c, old

    def back(self):
        """The others return: connections end, sessions go on, clients write."""
        for m in self.others:
            m.start(wait=False)
        lead = self.e.serving(60)
        for c in (self.lent, self.old):
            if not c.closed():
                raise AssertionError("a read-only connection lives on")
        for m in self.e.members:
            expect("isro of %r" % m, m.ask("isro"), "rw")
        c = w.Conn(self.m.port, 10, self.m.host)
        expect("session", c.handshake(30000, self.rw.sid, self.rw.passwd, True)[1], self.rw.sid)
        expect("readOnly", c.read_only, False)
        expect("ephemerals", c.ok(w.GET_EPHEMERALS, w.buf("/")), [b"/ro/eph"])
        c.ok(w.SET_DATA, w.set_data("/ro", b"newer"))
        for m in (self.m, lead):
            gone = w.Conn(m.port, 10, m.host)
            expect("lent session", gone.handshake(30000, self.lent.sid, self.lent.passwd, True),
                   (0, 0, bytes(16)))
            gone.drop()
        c.close()

    def clients_back(self):
        """kazoo, in its session, and zkCli.sh find a server to write to."""
        self.kazoo.until(KeeperState.CONNECTED)
        expect("kazoo's session", self.kazoo.client.client_id, self.kazoo_id)
        expect("what kazoo went through", [str(s) for s in self.kazoo.states].count("LOST"), 0)
        self.kazoo.client.create("/kazoo")
        self.late.until(KeeperState.CONNECTED)
        self.late.client.create("/late", ephemeral=True)
        self.shell.ask("create /shell x", "^Created /shell|already exists: /shell")
        self.shell.ask("get /kazoo", "^null$|^$")
        self.shell.quit()
        for k in (self.kazoo, self.late):
            k.client.stop()
            k.client.close()
        self.e.compare("/ro")

    def apart(self):
        """zkCli.sh finds by isro who takes writes, while its own server stays read-only."""
        for m in self.e.members:
            m.kill()
        config = self.m.write_config

        def elsewhere():        # on ports that the others do not know, and the other way round
            path = config()
            with open(path) as f:
                text = re.sub(r"^(server\.\d+=[^:]*):\d+:\d+", lambda found: "%s:%d:%d" % (
                    found.group(1), server.free_port(), server.free_port()), f.read(), flags=re.M)
            with open(path, "w") as f:
                f.write(text)
            return path
        self.m.write_config = elsewhere
        self.m.start(wait=False)
        let_in(self.m).close()
        shell = Shell([self.m] + self.others)
        shell.ask("get /ro", "^newer$")
        if "state:ConnectedReadOnly" not in shell.said:
            raise AssertionError(shell.said)
        for m in self.others:
            m.start(wait=False)
        self.e.serving(60, self.others)
        shell.ask("create /found x", "^Created /found|already exists: /found", 60)
        expect("isro of its server", self.m.ask("isro"), "ro")
        expect("writes of there are not seen", let_in(self.m).ask(w.EXISTS, w.read("/found"))[0],
               w.NO_NODE)
        shell.quit()
        self.m.kill()
        self.m.write_config = config
        self.m.start(wait=False)
        self.e.serving(60)
        self.e.compare("/ro")

    def uncommitted(self):
        """What was logged, and perhaps never committed, is not shown by one that starts alone."""
        lead = self.e.leader()
        if lead.kind != "paddock":
            return
        others = [m for m in self.e.members if m is not lead]
        c = lead.session()
        for m in others:
            m.signal_all(signal.SIGSTOP)
        c.send(w.SET_DATA, w.set_data("/ro", b"doubtful"))

        def tail():
            f = lead.figures()
            return int(f.get("zk_paddock_logged_zxid", 0)) > int(f.get("zk_paddock_committed_zxid", 0))
        wait_until("it is logged", tail, 10, 0.01)
        for m in [lead] + others:
            m.kill()
        lead.start(wait=False)
        alone = let_in(lead)
        expect("the tail is there", tail(), True)
        expect("get", alone.ok(w.GET_DATA, w.read("/ro"))[0], b"newer")
        for m in others:
            m.start(wait=False)
        self.e.serving(60)
        self.e.compare("/ro")

    def run(self, score):
        """Each step goes on from the one before; True if all held."""
        return all(score.case(step.__doc__, step) for step in (
            self.begin, self.lose, self.words, self.refused, self.reads, self.resumed,
            self.silent, self.clients, self.writer_dies, self.alone, self.back,
            self.clients_back, self.apart, self.uncommitted))


def main():
    logging.basicConfig(level=logging.CRITICAL)
    score = Score()
    for spec in en.possible(sys.argv[1:] or ["ppp"]):
        print(spec, flush=True)
        run = Run(spec)
        with run.e:
            if not run.run(score):
                for m in run.e.members:
                    print("   %r %s\n%s" % (m, m.dir, m.log_tail(2500)))
    return score.end()


if __name__ == "__main__":
    sys.exit(main())

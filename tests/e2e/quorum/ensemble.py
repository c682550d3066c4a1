"""Ensembles under test: members of either kind on real sockets, their network, their common state.

A spec names the members: a letter for each voter in order of sid, "a" for an Apache ZooKeeper, "p"
for a paddockd; then "+" and a letter for each observer, a capital for an observer that only its
own file names. So "aap+p" are two servers of Apache's, a Paddock and a Paddock that observes.

Every member has a zoo.cfg, a data directory and ports of its own, and keeps them when it is
restarted or becomes a server of the other kind. With a Net each member also has a network
namespace, and what passes from one to another can be cut, each way by itself.

Members must be started from the thread that outlives them (they die with it).
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
import server  # noqa: E402
import wire as w  # noqa: E402
from server import JAVA_PATH, PADDOCKD, Server, signal_pid, spawn, wait_until  # noqa: E402

PADDOCK = os.path.join(os.path.dirname(PADDOCKD), "paddock")
KINDS = {"a": "apache", "p": "paddock"}
CLASSES = ":".join(os.path.join(JAVA_PATH, j) for j in (
    "zookeeper.jar", "slf4j-log4j12.jar", "log4j-1.2.jar"))
LOG4J = """log4j.rootLogger=INFO, out
log4j.logger.org.apache.zookeeper.server.NIOServerCnxn=WARN
log4j.appender.out=org.apache.log4j.ConsoleAppender
log4j.appender.out.layout=org.apache.log4j.PatternLayout
log4j.appender.out.layout.ConversionPattern=%d{ISO8601} %p %c{1} %m%n
"""
# Quick elections, and a JVM that starts fast and leaves the processors to others.
CONF = {"tickTime": 500, "initLimit": 20, "syncLimit": 5, "minSessionTimeout": 1000,
        "maxSessionTimeout": 60000, "snapCount": 3000, "preAllocSize": 4096,
        "4lw.commands.whitelist": "*"}
JVM = ["-Xmx160m", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
DIGEST_EVERY = 128          # zxids; Apache keeps the digests of these
NOWHERE = "02:00:00:00:00:00"


def replicates():
    """Does paddockd take a zoo.cfg of several servers? Asked of the program itself."""
    probe = Member(Ensemble("ppp"), 1, "paddock", "participant")
    return subprocess.run([PADDOCKD, "--check", probe.write_config()], check=False,
                          capture_output=True, timeout=20).returncode == 0


def possible(specs):
    """Those that paddockd can take part in; says which it leaves out."""
    if any("p" in s.lower() for s in specs) and not replicates():
        print("paddockd refuses a zoo.cfg of several servers: left out: %s" % " ".join(
            s for s in specs if "p" in s.lower()), flush=True)
        return [s for s in specs if "p" not in s.lower()]
    return list(specs)


class Net:
    """A switch; member n's namespace has the address 10.77.0.n, the test itself 10.77.0.254.

    Call enter() first thing in main(): the program runs on in namespaces of its own, for networks
    and mounts, so that nothing is left behind, however it ends.
    """
    own = "10.77.0.254"

    def __init__(self):
        self.holders = {}
        self.run(None, "ip link set lo up", "ip link add br0 type bridge",
                 "ip addr add %s/24 dev br0" % self.own, "ip link set br0 up")

    @staticmethod
    def enter():
        if os.environ.get("E2E_NET") != "own":
            os.environ["E2E_NET"] = "own"
            os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.argv])

    @staticmethod
    def possible():
        return subprocess.run(["unshare", "--net", "--mount", "ip", "link", "add", "br0", "type", "bridge"],
                              capture_output=True, check=False).returncode == 0

    def run(self, n, *commands):
        for command in commands:
            subprocess.run(self.inside(n, command.split()), check=True, timeout=20)

    def inside(self, n, command):
        if n is None:
            return command
        return ["nsenter", "--net=/proc/%d/ns/net" % self.holders[n].pid] + command

    def address(self, n):
        return self.own if n is None else "10.77.0.%d" % n

    def add(self, n):
        """A namespace for member n, wired to the switch."""
        if n in self.holders:
            return
        holder = spawn(["unshare", "--net", "sh", "-c", "echo ready; exec sleep infinity"],
                       stdout=subprocess.PIPE)
        holder.stdout.readline()
        self.holders[n] = holder
        self.run(None, "ip link add v%d type veth peer name eth0 netns %d" % (n, holder.pid),
                 "ip link set v%d master br0 up" % n)
        self.run(n, "ip link set lo up", "ip addr add %s/24 dev eth0" % self.address(n),
                 "ip link set eth0 up")

    def cut(self, sender, receiver):
        """What sender sends to receiver is lost from now on; None is the test itself."""
        self.run(sender, "ip neigh replace %s lladdr %s dev %s nud permanent" % (
            self.address(receiver), NOWHERE, "eth0" if sender is not None else "br0"))

    def heal(self, sender, receiver):
        self.run(sender, "ip neigh del %s dev %s" % (
            self.address(receiver), "eth0" if sender is not None else "br0"))


class Member(Server):
    """One server of an ensemble; kind may be changed while it is down (see turn())."""

    def __init__(self, ensemble, sid, kind, role, listed=True):
        if ensemble.net:
            self.host = ensemble.net.address(sid)
        elif ensemble.apart:
            self.host = "127.0.7.%d" % sid
        super().__init__(kind, conf=dict(CONF, **ensemble.conf), jvm=ensemble.jvm)
        self.ensemble, self.sid, self.role, self.listed = ensemble, sid, role, listed
        self.ports = server.free_port(), server.free_port()
        self.mark()

    def __repr__(self):
        return "%s%d" % (self.kind[0], self.sid)

    def mark(self):
        os.makedirs(self.data, exist_ok=True)
        with open(os.path.join(self.data, "myid"), "w") as f:
            f.write("%d\n" % self.sid)

    def line(self):
        return "%s:%d:%d:%s" % (self.host, *self.ports, self.role)

    def write_config(self):
        written = os.path.join(self.dir, "zoo.cfg")
        if self.conf.get("reconfigEnabled") == "true" and os.path.exists(written):
            return written          # it is the server's own now
        listed = [m for m in self.ensemble.members if m.listed and m is not self]
        self.conf.update({"server.%d" % m.sid: m.line() for m in sorted(
            listed + [self], key=lambda m: m.sid)})
        self.conf["peerType"] = self.role
        return super().write_config()

    def command(self, config):
        if self.kind == "paddock":
            command = [PADDOCKD, config]
        else:
            log4j = os.path.join(self.dir, "log4j.properties")
            with open(log4j, "w") as f:
                f.write(LOG4J)
            command = ["java", "-XX:+UseSerialGC", "-Djava.awt.headless=true", *self.jvm,
                       "-Dzookeeper.admin.enableServer=false", "-Dlog4j.configuration=file:" + log4j,
                       "-cp", CLASSES, "org.apache.zookeeper.server.quorum.QuorumPeerMain", config]
        return self.ensemble.net.inside(self.sid, command) if self.ensemble.net else command

    def up(self):
        return self.process is not None and self.process.poll() is None

    def ask(self, word):
        """The answer to a four-letter word; "" from one that is down, stopped or cut off."""
        try:
            return self.word(word, 1.0)
        except OSError:
            return ""

    def mode(self):
        """leader, follower, observer, or "" while it does not serve."""
        found = re.search(r"^Mode: (leader|follower|observer)$", self.ask("srvr"), re.M)
        return found.group(1) if found else ""

    def zxid(self):
        found = re.search(r"^Zxid: 0x([0-9a-f]+)", self.ask("srvr"), re.M)
        return int(found.group(1), 16) if found else -1

    def figures(self):
        """mntr as a dict."""
        return dict(line.split("\t", 1) for line in self.ask("mntr").splitlines() if "\t" in line)

    def digests(self):
        """{zxid: digest} as far as the member tells."""
        return {int(z, 16): int(d) % 2**64 for z, d in re.findall(
            r"^([0-9a-f]+): (-?\d+)$", self.ask("hash"), re.M)}

    def session(self, timeout=30000, seconds=10.0):
        c = w.Conn(self.port, seconds, self.host)
        c.nudged = self.kind == "paddock"       # see answer()
        c.pings = 0
        try:
            given = c.handshake(timeout)[0]
        except socket.timeout:
            raise AssertionError("%r does not answer who asks for a session" % self) from None
        if not given:
            raise AssertionError("%r refuses a session" % self)
        return c

    def do(self, op, body):
        """What it answers, in a session for this alone."""
        c = self.session()
        try:
            return c.ok(op, body)
        finally:
            c.close()

    def wipe(self):
        """An empty disk."""
        shutil.rmtree(self.data, ignore_errors=True)
        for name in os.listdir(self.data) if os.path.isdir(self.data) else ():  # a mount point
            shutil.rmtree(os.path.join(self.data, name), ignore_errors=True)
        self.mark()

    def turn(self, kind, fresh):
        """A server of that kind from now on: on an empty disk, or on the data that is there."""
        if fresh:
            self.wipe()
        elif self.kind == "paddock" and kind == "apache":
            self.export()
        self.kind = kind

    def export(self):
        new = self.data + ".new"
        done = subprocess.run([PADDOCK, "export", self.data, new], capture_output=True, text=True,
                              timeout=60, check=False)
        if done.returncode:
            raise AssertionError("paddock export: %s%s" % (done.stdout, done.stderr))
        shutil.rmtree(self.data)
        os.rename(new, self.data)
        self.mark()

    def complaints(self, pattern):
        """Lines of its log with the pattern."""
        with open(self.log, errors="replace") as f:
            return [line.strip() for line in f if re.search(pattern, line)]


class Ensemble:
    """Members by spec (see above); conf: more lines of zoo.cfg, for all; apart: each has an address
    of its own, for ports that are the same at all of them."""

    def __init__(self, spec, conf=None, net=None, jvm=JVM, apart=False):
        self.spec, self.conf, self.net, self.jvm = spec, conf or {}, net, list(jvm)
        self.members = []
        self.apart = apart
        self.led = set()            # those that were seen as leader
        voters, _, observers = spec.partition("+")
        for letter in voters:
            self.add(KINDS[letter], "participant")
        for letter in observers:
            self.add(KINDS[letter.lower()], "observer", letter.islower())

    def add(self, kind, role, listed=True):
        sid = len(self.members) + 1
        if self.net:
            self.net.add(sid)
        self.members.append(Member(self, sid, kind, role, listed))
        return self.members[-1]

    def voters(self):
        return [m for m in self.members if m.role == "participant"]

    def start(self, seconds=60):
        for m in self.members:
            if not m.up():
                m.start(wait=False)
        return self.serving(seconds)

    def serving(self, seconds=60, members=None):
        """Waits until all that are up serve, one of them as leader: that one."""
        members = members or [m for m in self.members if m.up()]

        def leader():
            for m in members:
                if not m.up():
                    raise RuntimeError("%r ended with %s:\n%s" % (
                        m, m.process and m.process.returncode, m.log_tail(1500)))
            modes = [m.mode() for m in members]
            if not all(modes) or modes.count("leader") != 1:
                return None
            self.led.add(members[modes.index("leader")])
            return members[modes.index("leader")]
        try:
            return wait_until("%s serves" % members, leader, seconds, 0.02)
        except server.Timeout as late:
            raise server.Timeout("%s: %s" % (late, [(m, m.mode()) for m in members])) from None

    def leader(self):
        return self.serving()

    def followers(self):
        lead = self.serving()
        return [m for m in self.voters() if m is not lead and m.up()]

    def observers(self):
        return [m for m in self.members if m.role == "observer"]

    def stop(self):
        for m in self.members:
            if m.up():
                m.signal_all(signal.SIGCONT)
                m.kill()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    # --- the state that all must have in common ----------------------------------------------

    def settle(self, seconds=30):
        """Waits until all members that are up are at one zxid, and stay there: that zxid."""
        up = [m for m in self.members if m.up()]

        def settled():
            zxids = {m.zxid() for m in up}
            return zxids if len(zxids) == 1 and -1 not in zxids and {
                m.zxid() for m in up} == zxids else None
        try:
            return wait_until("one zxid", settled, seconds, 0.02).pop()
        except server.Timeout:
            raise server.Timeout("no common zxid: %s" % [(m, hex(m.zxid())) for m in up]) from None

    def compare(self, root="/", seconds=60):
        """Every node, Stat and ACL on every member, read at one zxid: the tree, or an error."""
        return self.tree_at(root, seconds)[0]

    def tree_at(self, root="/", seconds=60):
        """The same and its zxid. Nobody else may write; when a session expires, it reads again."""
        self.serving(seconds)

        def once():
            sessions = [(m, m.session()) for m in self.members if m.up()]
            try:
                zxid = self.settle(seconds)
                trees = [(m, read_tree(c, root)) for m, c in sessions]
            except w.Closed:
                return None
            finally:
                for _, c in sessions:
                    c.close()
            return trees if all(z == {zxid} for _, (_, z) in trees) else None
        trees = wait_until("a quiet ensemble", once, seconds)
        first, (tree, zxids) = trees[0]
        for m, (other, _) in trees[1:]:
            if other != tree:
                raise AssertionError("%r and %r differ:\n%s" % (first, m, difference(tree, other)))
        return tree, zxids.pop()

    def compare_digests(self, scratch="/digest"):
        """The digest that each member tells at one zxid, and that of the tree as clients see it.

        Drives the zxid to where Apache keeps a digest. Nobody else may write.
        """
        self.serving()
        lead = self.leader()
        c = lead.session()
        try:
            err, _ = c.ask(w.CREATE, w.create(scratch))
            if err not in (w.OK, w.NODE_EXISTS):
                raise AssertionError("create: %d" % err)
            for _ in range(4 * DIGEST_EVERY):
                c.ok(w.SET_DATA, w.set_data(scratch, b""))
                if c.zxid % DIGEST_EVERY == 0:
                    break
            zxid = self.settle()
            if zxid != c.zxid or zxid % DIGEST_EVERY:
                return self.compare_digests(scratch)    # a session ended meanwhile
            told = {m: m.digests().get(zxid) for m in self.members if m.up()}
            tree, _ = read_tree(c, "/")
        finally:
            c.close()
        told["as clients see it"] = digest(tree)
        if len(set(told.values())) != 1 or None in told.values():
            raise AssertionError("digests at 0x%x: %s" % (zxid, told))
        return zxid

    def mismatches(self):
        """How often each member found the leader's digest not to be its own."""
        return {m: int(m.figures().get("zk_digest_mismatches_count", 0)) for m in self.members
                if m.up()}

    def check_equal(self):
        """All of the above; the number of nodes."""
        tree = self.compare()
        self.compare_digests()
        return len(tree)


def answer(c):
    """The next reply. Now and then an Apache that led anew gives the last one of many reads only
    when the next request comes: it is nudged, once."""
    while True:
        try:
            r = c.reply()
        except socket.timeout:
            if c.nudged:
                raise
            c.nudged = True
            c.pings += 1
            c.send(w.PING, xid=-2)
            continue
        if r.xid != -2:
            return r
        c.pings -= 1


def read_tree(c, root="/", batch=64):
    """({path: (data, stat, acl)} of everything below root, {zxid of the replies}) by connection c.

    /zookeeper/config is left out: each member writes its own.
    """
    tree, zxids, todo = {}, set(), [root]
    while todo:
        now, todo = todo[:batch], todo[batch:]
        for path in now:
            for op, body in ((w.GET_DATA, w.read(path)), (w.GET_ACL, w.buf(path)),
                             (w.GET_CHILDREN, w.read(path))):
                c.send(op, body)
        for path in now:
            replies = [(answer(c), op) for op in (w.GET_DATA, w.GET_ACL, w.GET_CHILDREN)]
            zxids |= {r.zxid for r, _ in replies}
            if any(r.err for r, _ in replies):
                zxids.add(-1)       # gone while we read: not quiet
                continue
            (data, stat), (acl, _), (names,) = [r.body(op) for r, op in replies]
            tree[path] = (data, stat, tuple(acl))
            below = path.rstrip("/") + "/"
            todo += [below + n.decode() for n in sorted(names)
                     if below + n.decode() != "/zookeeper/config"]
    while c.pings:
        r = c.reply()
        if r.xid != -2:
            raise AssertionError("answered, though nothing was asked: %r" % r)
        c.pings -= 1
    return tree, zxids


def difference(a, b, most=8):
    lines = []
    for path in sorted(set(a) | set(b)):
        if a.get(path) != b.get(path):
            lines.append("%s: %r | %r" % (path, a.get(path), b.get(path)))
    return "\n".join(lines[:most] + ["(%d paths)" % len(lines)])


def digest(tree):
    """ZooKeeper's digest (version 2) of a tree as clients see it.

    A client sees cversion as changes of the children; the server counts creations.
    """
    total = 0
    for path, (data, s, _) in tree.items():
        if path.startswith("/zookeeper/"):
            continue
        record = b"".join((w.i64(s.czxid), w.i64(s.mzxid), w.i64(s.pzxid), w.i64(s.ctime),
                           w.i64(s.mtime), w.i32(s.version), w.i32((s.cversion + s.numChildren) // 2),
                           w.i32(s.aversion), w.i64(s.ephemeralOwner)))
        name = b"" if path == "/" else path.encode()
        total += zlib.crc32(name + (data or b"") + record)
    return total % 2**64

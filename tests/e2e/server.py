"""Servers under test: start, find, signal and stop a paddockd or an Apache ZooKeeper.

Everything listens on 127.0.0.1, keeps its files in a temporary folder and is ended when the
test process ends, whatever way that comes (children die with their parent; orphans are adopted
by the test process and killed). Nothing here sleeps in place of waiting: wait_until() polls a
condition against a deadline and fails loudly.

Environment: PADDOCKD (path of the server, default build/rel/paddockd), E2E_SERVER (paddock or
apache), E2E_PORTS (first-last).
"""
import atexit
import ctypes
import itertools
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PADDOCKD = os.environ.get("PADDOCKD", os.path.join(ROOT, "build", "rel", "paddockd"))
VARIANT = os.path.basename(os.path.dirname(PADDOCKD))       # the build it is of
KIND = os.environ.get("E2E_SERVER", "paddock")
PORTS = [int(p) for p in os.environ.get("E2E_PORTS", "22200-22399").split("-")]
JAVA_PATH = "/usr/share/java"
APACHE_CLASSES = ":".join(os.path.join(JAVA_PATH, j) for j in ("zookeeper.jar", "slf4j-nop.jar"))
# What a server says before it aborts: base/check.c and the sanitizers.
OWN_FAULT = r" CHECK\(.*\) failed at |ERROR: \w+Sanitizer|: runtime error: "
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36

_libc = ctypes.CDLL(None)
_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
_started = []
_port_offset = itertools.count(os.getpid() * 7)


class Timeout(Exception):
    """A condition did not come true before its deadline."""


def wait_until(what, condition, seconds=20.0, step=0.005):
    """The first true value of condition(); Timeout naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Timeout("%s: not within %g s" % (what, seconds))
        time.sleep(step)


def free_port():
    span = PORTS[1] - PORTS[0] + 1
    for _ in range(span):
        port = PORTS[0] + next(_port_offset) % span
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port in %d-%d" % tuple(PORTS))


def _die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def spawn(args, **kw):
    """A child that can't outlive this process."""
    p = subprocess.Popen(args, preexec_fn=_die_with_parent, **kw)
    _started.append(p)
    return p


def _stat(pid):
    """(state, parent) of a process, or None when it is gone. A dead process of which a thread is
    still at work (it keeps files and locks) is not a zombie yet."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            rest = f.read().rpartition(")")[2].split()
        return "D" if rest[0] == "Z" and int(rest[17]) > 1 else rest[0], int(rest[1])
    except (OSError, IndexError):
        return None


def descendants(pid):
    """Live processes below pid, pid itself excluded."""
    parents = {}
    for name in os.listdir("/proc"):
        st = _stat(int(name)) if name.isdigit() else None
        if st and st[0] not in "ZX":
            parents.setdefault(st[1], []).append(int(name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def title(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            return f.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _inode_of(local, remote):
    """Of an IPv4 socket of this host: what /proc calls it."""
    ends = tuple("%s:%04X" % (socket.inet_aton(host)[::-1].hex().upper(), port)
                 for host, port in (local, remote))
    with open("/proc/net/tcp") as f:
        for line in f:
            field = line.split()
            if tuple(field[1:3]) == ends:
                return "socket:[%s]" % field[9]
    raise RuntimeError("no socket from %s to %s" % (local, remote))


def _sockets_of(pid):
    where = "/proc/%d/fd" % pid
    found = set()
    for name in os.listdir(where):
        try:
            found.add(os.readlink(os.path.join(where, name)))
        except OSError:
            pass
    return found


def alive(pid):
    st = _stat(pid)
    return st is not None and st[0] not in "ZX"


def signal_pid(pid, sig):
    """True if the process was there to take the signal."""
    try:
        os.kill(pid, sig)
        return True
    except ProcessLookupError:
        return False


def _reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def end_all():
    """Kill whatever this process started, also what was orphaned to it."""
    for _ in range(100):
        left = descendants(os.getpid())
        if not left:
            break
        for pid in left:
            signal_pid(pid, signal.SIGCONT)
            signal_pid(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.01)


def four_letter(port, word, seconds=5.0, host="127.0.0.1"):
    """What the server answers to a four-letter word; b'' if it just closes."""
    with socket.create_connection((host, port), seconds) as s:
        s.sendall(word.encode())
        out = b""
        while True:
            try:
                chunk = s.recv(65536)
            except ConnectionResetError:
                return out
            if not chunk:
                return out
            out += chunk


class Server:
    """One standalone server. conf: lines of zoo.cfg beside dataDir and clientPort."""
    host = "127.0.0.1"

    def __init__(self, kind=None, conf=None, port=None, jvm=(), keep=False, env=None, files=None):
        self.kind = kind or KIND
        self.env = dict(os.environ, **env) if env else None
        self.files = files      # limit of open files
        self.port = port or free_port()
        self.dir = tempfile.mkdtemp(prefix="e2e-%s-" % self.kind)
        self.data = os.path.join(self.dir, "data")
        self.conf = {"tickTime": 2000, "maxClientCnxns": 0, "4lw.commands.whitelist": "*",
                     "admin.enableServer": "false"}
        self.conf.update(conf or {})
        self.jvm = list(jvm)
        self.log = os.path.join(self.dir, "log")
        self.process = None
        os.makedirs(self.data, exist_ok=True)
        if not keep:
            atexit.register(self._discard)

    def _discard(self):
        """Its files go. What it said of itself does not, for a process that is replaced at once
        may go unnoticed: `run` counts these lines."""
        try:
            with open(self.log, errors="replace") as f:
                for line in f:
                    if re.search(OWN_FAULT, line):
                        print("OWN FAULT %s: %s" % (os.path.basename(self.dir), line.strip()),
                              flush=True)
        except OSError:
            pass
        shutil.rmtree(self.dir, True)

    @property
    def address(self):
        return "%s:%d" % (self.host, self.port)

    def write_config(self):
        path = os.path.join(self.dir, "zoo.cfg")
        lines = {"dataDir": self.data, "clientPort": self.port, "clientPortAddress": self.host}
        lines.update(self.conf)
        with open(path, "w") as f:
            f.writelines("%s=%s\n" % kv for kv in lines.items())
        return path

    def command(self, config):
        if self.kind == "paddock":
            return [PADDOCKD, config]
        # The keys that a line of Apache's zoo.cfg can't reach.
        jvm = ["-D%s=%s" % (k, v) for k, v in self.conf.items() if k.startswith("znode.")]
        return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-Djava.awt.headless=true",
                "-Dfile.encoding=UTF-8", *jvm, *self.jvm, "-cp", APACHE_CLASSES,
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", config]

    def start(self, wait=True):
        with open(self.log, "ab") as log:
            self.process = spawn(self.command(self.write_config()), stdout=log, stderr=log,
                                 stdin=subprocess.DEVNULL, cwd=self.dir, env=self.env)
            if self.files:
                resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (self.files,) * 2)
        if wait:
            self.wait_serving()
        return self

    def serving(self):
        if self.process.poll() is not None:
            raise RuntimeError("%s ended with %s:\n%s" % (self.kind, self.process.returncode,
                                                          self.log_tail()))
        try:
            return self.word("srvr").startswith("Zookeeper version")
        except OSError:
            return False

    def word(self, word, seconds=5.0):
        return four_letter(self.port, word, seconds, self.host).decode()

    def wait_serving(self, seconds=30):
        return wait_until("%s serves on %d" % (self.kind, self.port), self.serving, seconds, 0.02)

    def log_tail(self, n=3000):
        with open(self.log, errors="replace") as f:
            return f.read()[-n:]

    def pids(self):
        """Every process of the server, the started one first."""
        return [self.process.pid] + descendants(self.process.pid)

    def titled(self, word):
        return [p for p in descendants(self.process.pid) if word in title(p)]

    def writer(self):
        """The writer's pid; waits while it is being replaced."""
        return wait_until("a writer", lambda: self.titled("paddockd: writer"))[0]

    def workers(self):
        return wait_until("workers", lambda: sorted(self.titled("paddockd: worker")))

    def worker_of(self, sock):
        """The pid of the worker that holds the other end of a client's connected socket."""
        inode = _inode_of(sock.getpeername(), sock.getsockname())

        def holder():
            for pid in self.workers():
                if inode in _sockets_of(pid):
                    return pid
            return None
        return wait_until("somebody holds the connection", holder)

    def signal_all(self, sig):
        for pid in self.pids():
            signal_pid(pid, sig)

    def kill(self):
        """kill -9 of everything, the started process first so that it starts nothing anew."""
        pids = self.pids()
        for pid in pids:
            signal_pid(pid, signal.SIGKILL)
        self.process.wait()
        self._gone(pids)

    def kill_first(self):
        """kill -9 of the started process alone: the others must not outlive it."""
        pids = self.pids()
        signal_pid(pids[0], signal.SIGKILL)
        self.process.wait()
        self._gone(pids)

    def stop(self, seconds=30):
        """SIGTERM; the exit status."""
        if self.process is None or self.process.poll() is not None:
            return None if self.process is None else self.process.returncode
        pids = self.pids()
        self.process.terminate()
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Timeout("%s did not stop on SIGTERM within %g s" % (self.kind, seconds)) from None
        self._gone(pids)
        return status

    def _gone(self, pids):
        def gone():
            _reap_orphans(pids)
            return not any(alive(p) for p in pids)
        wait_until("all processes of %s gone" % self.kind, gone)

    def restart(self, hard=False):
        (self.kill if hard else self.stop)()
        self.start()

    def replace(self, pid):
        """Kill -9 one of the processes; returns once there are as many again, and serving."""
        before = len(self.pids())
        signal_pid(pid, signal.SIGKILL)
        wait_until("%d replaced" % pid,
                   lambda: not alive(pid) and len(self.pids()) >= before)
        self.wait_serving()

    def disturb(self, how):
        """A disturbance by name; returns once the server serves again."""
        if how == "restart":
            self.restart()
        elif how == "kill":
            self.restart(hard=True)
        elif how == "writer":
            self.replace(self.writer())
        elif how == "worker":       # each in turn, so that every connection meets it
            for pid in self.workers():
                self.replace(pid)
        elif how != "none":
            raise ValueError(how)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        if self.process is not None and self.process.poll() is None:
            self.kill()


def _reap_orphans(pids):
    for pid in pids:
        try:
            os.waitpid(pid, os.WNOHANG)
        except (ChildProcessError, OSError):
            pass


def disturbances(kind=None):
    """The disturbances that make sense for this kind of server."""
    both = ["none", "restart", "kill"]
    return both + ["worker", "writer"] if (kind or KIND) == "paddock" else both


atexit.register(end_all)

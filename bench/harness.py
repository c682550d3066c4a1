"""Servers, runs of the load generator, tables and charts, for the scripts of this folder.

Python's standard library only. A server is started in a data folder of its own on the disk of the
checkout, on a free port of 127.0.0.1, and ended by the ids of its processes, also on errors.
"""
import atexit
import json
import os
import shlex
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build", os.environ.get("V", "rel"))
OUT = os.path.join(ROOT, "build", "bench")
READY_SECONDS_MAX = 60
APACHE_JARS = "/usr/share/java/zookeeper.jar"
APACHE_CONF = "/etc/zookeeper/conf"

running = []  # servers to end at exit


def say(text):
    print(text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def commit():
    got = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"],
                         capture_output=True, text=True, check=False)
    return got.stdout.strip() or "unknown"


def tree(root):
    """Ids of a process and all below it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open("/proc/%s/stat" % name, encoding="latin-1") as f:
                    parents[int(name)] = int(f.read().rpartition(")")[2].split()[1])
            except (OSError, IndexError, ValueError):
                pass  # it has ended meanwhile
    found = [root]
    for pid in found:
        found += [p for p, parent in parents.items() if parent == pid]
    return found


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid, encoding="latin-1") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def answers(port):
    """Does a new session get an answer to a read of the root znode?"""
    def frame(s):
        head = b""
        while len(head) < 4:
            head += s.recv(4 - len(head)) or fail()
        left, body = struct.unpack(">i", head)[0], b""
        while len(body) < left:
            body += s.recv(left - len(body)) or fail()
        return body

    def fail():
        raise ConnectionError("closed")

    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as s:
            s.sendall(struct.pack(">iiqiqi16sb", 45, 0, 0, 10000, 0, 16, b"", 0))
            if struct.unpack(">i", frame(s)[4:8])[0] <= 0:
                return False
            s.sendall(struct.pack(">iiii1sb", 14, 1, 4, 1, b"/", 0))
            ok = struct.unpack(">i", frame(s)[12:16])[0] == 0
            s.sendall(struct.pack(">iii", 8, 2, -11))
            frame(s)
            return ok
    except OSError:
        return False


class Server:
    """One of the servers that are compared. Subclasses know the command line."""
    name = ""
    canned = False
    sid = None  # a member's, if it is one of an ensemble

    def __init__(self, **conf):
        os.makedirs(OUT, exist_ok=True)
        self.dir = tempfile.mkdtemp(prefix="data-%s-" % self.name, dir=OUT)
        self.port = free_port()
        self.conf = conf
        self.process = None
        running.append(self)

    def command(self):
        raise NotImplementedError

    def write_conf(self):
        values = {"tickTime": 2000, "dataDir": os.path.join(self.dir, "data"),
                  "clientPort": self.port, "maxClientCnxns": 0, "admin.enableServer": "false",
                  "4lw.commands.whitelist": "*"}
        values.update({key.replace("__", "."): value for key, value in self.conf.items()})
        os.makedirs(values["dataDir"], exist_ok=True)
        if self.sid is not None:
            with open(os.path.join(values["dataDir"], "myid"), "w", encoding="ascii") as f:
                f.write("%d\n" % self.sid)
        path = os.path.join(self.dir, "zoo.cfg")
        with open(path, "w", encoding="ascii") as f:
            f.writelines("%s=%s\n" % item for item in values.items())
        return path

    def start(self):
        """Seconds from the start of the program to its first answer to a read."""
        begin = time.monotonic()
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, cwd=self.dir)
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() - begin > READY_SECONDS_MAX:
                raise RuntimeError("%s does not serve:\n%s" % (self.name, self.log()))
            time.sleep(0.002)
        return time.monotonic() - begin

    def ready(self):
        return answers(self.port)

    def address(self):
        return "127.0.0.1:%d" % self.port

    def log(self):
        with open(os.path.join(self.dir, "log"), "rb") as f:
            return f.read()[-2000:].decode(errors="replace")

    def kill(self):
        """SIGKILL to every process of the server, at once; back when all have ended."""
        if self.process is None:
            return
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGSTOP)  # so that it starts no more of them
        pids = tree(self.process.pid)
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        while any(alive(pid) for pid in pids):
            time.sleep(0.001)
        self.process = None

    def remove(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)
        if self in running:
            running.remove(self)

    def load(self, **options):
        """Run the load generator on this server; its JSON line as a dict."""
        command = [os.path.join(BUILD, "bench_load"), "--server", str(self.process.pid),
                   "--label", self.name, "--commit", commit()]
        if self.canned:
            command.append("--canned")
        for key, value in options.items():
            command += ["--" + key] if value is True else ["--" + key, str(value)]
        got = subprocess.run(command + [self.address()], capture_output=True, text=True,
                             check=False)
        if got.returncode not in (0, 1) or not got.stdout:
            raise RuntimeError("%s\n%s\n%s" % (" ".join(command), got.stderr, self.log()))
        say(got.stderr.rstrip())
        result = json.loads(got.stdout)
        result["wrong"] = got.returncode == 1
        with open(os.path.join(OUT, "runs.jsonl"), "a", encoding="ascii") as f:
            f.write(json.dumps(result) + "\n")
        return result


class Paddock(Server):
    name = "paddock"

    @staticmethod
    def available():
        return os.access(os.path.join(BUILD, "paddockd"), os.X_OK)

    def command(self):
        return [os.path.join(BUILD, "paddockd"), self.write_conf()]


class Apache(Server):
    name = "apache"

    @staticmethod
    def available():
        return os.path.exists(APACHE_JARS) and shutil.which("java") is not None

    def command(self):
        return ["java", "-Dzookeeper.log.dir=" + self.dir,
                "-Dzookeeper.root.logger=INFO,ROLLINGFILE", "-cp",
                APACHE_CONF + ":" + APACHE_JARS,
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", self.write_conf()]


class Floor(Server):
    name = "floor"
    canned = True

    @staticmethod
    def available():
        return os.access(os.path.join(BUILD, "bench_floor"), os.X_OK)

    def command(self):
        return [os.path.join(BUILD, "bench_floor"), "-w", str(self.conf.get("workers", 1)),
                str(self.port)]


class Ensemble(Server):
    """Members of one kind on this machine, below one process: load() asks all, and charges all.

    Those after the first `started` are left to be started one by one.
    """

    def __init__(self, kind, size=3, started=3, **conf):
        self.name = kind.name
        super().__init__()
        lines = {"server__%d" % sid: "127.0.0.1:%d:%d" % (free_port(), free_port())
                 for sid in range(1, size + 1)}
        self.members = [kind(initLimit=60, syncLimit=5, **lines, **conf) for _ in range(size)]
        for sid, member in enumerate(self.members, 1):
            member.sid = sid
        self.started = self.members[:started]

    @staticmethod
    def available(kind):
        """Is it there, and does it take part in ensembles? Asked of the program."""
        if not kind.available():
            return False
        probe = Ensemble(kind)
        command = probe.members[0].command()
        refuses = kind is Paddock and subprocess.run(
            [command[0], "--check", command[1]], capture_output=True, check=False).returncode
        probe.remove()
        return not refuses

    def command(self):
        parts = ["cd %s && exec %s >log 2>&1 &" % (m.dir, shlex.join(m.command()))
                 for m in self.started]
        return ["sh", "-c", "\n".join(parts + ["wait"])]

    def ready(self):
        return all(answers(m.port) for m in self.started)

    def address(self):
        return ",".join(m.address() for m in self.started)

    def log(self):
        return "\n".join(m.log() for m in self.started)

    def remove(self):
        super().remove()
        for member in self.members:
            member.remove()


def end_all():
    for server in list(running):
        server.remove()


def end_on_signals():
    atexit.register(end_all)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))


# --- figures ------------------------------------------------------------------------------------

def median(values):
    return statistics.median(values) if values else float("nan")


def human(value):
    """Three digits are what a benchmark knows."""
    if value != value:
        return "-"
    if abs(value) >= 1e6:
        return "%.3g M" % (value / 1e6)
    if abs(value) >= 1e4:
        return "%.3g k" % (value / 1e3)
    return "%.3g" % value if abs(value) < 100 else "%.0f" % value


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


# --- charts -------------------------------------------------------------------------------------

COLOURS = {"paddock": "#1f6f54", "floor": "#8a8f98", "apache": "#c0562f"}
FONT = 'font-family="system-ui, sans-serif" font-size="12" fill="#222"'


def escape(text):
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def nice_top(value):
    """The smallest of 1, 2, 2.5, 5 x 10^n that is not below value."""
    power = 1.0
    while power * 10 <= value:
        power *= 10
    while power > value > 0:
        power /= 10
    return next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= value)


def write_svg(name, width, height, parts):
    path = os.path.join(OUT, name + ".svg")
    with open(path, "w", encoding="utf-8") as f:
        f.write('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" '
                'height="%d">\n<rect width="100%%" height="100%%" fill="#fff"/>\n%s\n</svg>\n'
                % (width, height, width, height, "\n".join(parts)))
    return path


def text(x, y, what, anchor="start", extra=""):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" %s %s>%s</text>' % (
        x, y, anchor, FONT, extra, escape(what))


def bars(name, title, unit, groups):
    """groups: [(label, [(series, median, low, high)])]. Horizontal bars, the spread as a line.

    Each group has a scale of its own: what is to be compared are its members.
    """
    left, wide, thick, gap = 240, 470, 16, 14
    y, parts = 56, [text(16, 24, title, extra='font-weight="600"'),
                    text(16, 42, unit + "; line: lowest to highest; each case has its own scale")]
    for label, values in groups:
        top = max([high for _, _, _, high in values] + [1e-9])
        parts.append(text(left - 10, y + thick * len(values) / 2 + 4, label, "end"))
        for series, middle, low, high in values:
            length = wide * middle / top
            parts.append('<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>' % (
                left, y + 1, max(length, 1), thick - 2, COLOURS.get(series, "#446")))
            parts.append('<path d="M%.1f %.1f H%.1f" stroke="#222" stroke-width="1.2"/>' % (
                left + wide * low / top, y + thick / 2, left + wide * high / top))
            parts.append(text(left + wide * high / top + 8, y + thick - 4,
                              "%s  %s" % (human(middle), series)))
            y += thick
        y += gap
    return write_svg(name, left + wide + 150, y + 10, parts)


def lines(name, title, unit, x_label, series):
    """series: {label: [(x, y)]}. x from its least to its largest, y from 0."""
    left, up, wide, high = 70, 60, 560, 260
    points = [p for values in series.values() for p in values]
    x0, x1 = min(x for x, _ in points), max(x for x, _ in points)
    top = nice_top(max([y for _, y in points] + [1e-9]))

    def at(x, y):
        return (left + wide * ((x - x0) / (x1 - x0) if x1 > x0 else 0.5), up + high * (1 - y / top))

    parts = [text(16, 24, title, extra='font-weight="600"'), text(16, 42, unit)]
    for i in range(5):
        _, y = at(x0, top * i / 4)
        parts.append('<path d="M%d %.1f H%d" stroke="#ddd"/>' % (left, y, left + wide))
        parts.append(text(left - 8, y + 4, human(top * i / 4) if i else "0", "end"))
    ticks = sorted({x for x, _ in points})
    for x in ticks[::max(1, len(ticks) // 12)]:
        parts.append(text(at(x, 0)[0], up + high + 18, "%g" % x, "middle"))
    parts.append(text(left + wide / 2, up + high + 38, x_label, "middle"))
    for i, (label, values) in enumerate(series.items()):
        colour = COLOURS.get(label, ["#1f6f54", "#c0562f", "#446", "#8a8f98"][i % 4])
        path = " ".join("%s%.1f %.1f" % ("L" if k else "M", *at(*p)) for k, p in enumerate(values))
        parts.append('<path d="%s" fill="none" stroke="%s" stroke-width="2"/>' % (path, colour))
        x, y = at(*values[-1])
        parts.append(text(x + 8, y + 4, label, extra='style="fill:%s"' % colour))
    return write_svg(name, left + wide + 130, up + high + 56, parts)

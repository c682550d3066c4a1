"""Clients of an ensemble that write everything down: sessions that wander, resume, watch and die.

Load(ensemble, root) drives some sessions, each in a thread of its own with a few requests in
flight, through all members; what they ask and are told goes into a History. finish() stops them,
compares every member's tree and gives back what history.check() finds.
"""
import random
import socket
import threading
import time
from collections import deque

import history as h
import wire as w
from server import wait_until

DEPTH = 4
PACE = 0.008                # seconds from one request of a client to the next: the load's shape
SHARED, TEMPS, OWN = 4, 4, 2
EVENTS_XID, PING_XID, WATCHES_XID = -1, -2, -8
READS = {"get": w.GET_DATA, "exists": w.EXISTS, "children": w.GET_CHILDREN}
DIRECTORIES = ("shared", "seq", "temp", "eph", "own")


class Wrong(Exception):
    """An answer that no server may give."""


def change(part):
    """A Part as opcode and record."""
    if part.kind == "create":
        return w.CREATE, w.create(part.path, part.value,
                                  flags=2 * part.sequential + part.ephemeral)
    if part.kind == "set":
        return w.SET_DATA, w.set_data(part.path, part.value, part.expect)
    return w.DELETE if part.kind == "delete" else w.CHECK, w.path_version(part.path, part.expect)


def encode(op):
    if op.kind in READS:
        return READS[op.kind], w.read(op.path, op.watch)
    if op.kind == "sync":
        return w.SYNC, w.buf(op.path)
    if op.kind == "close":
        return w.CLOSE_SESSION, b""
    if op.kind == "multi":
        return w.MULTI, w.multi([change(p) for p in op.parts])
    return change(op.parts[0])


def take_change(part, result):
    """What the reply says of one change; result without its name and error."""
    if part.kind == "create":
        part.name = result[0].decode()
    elif part.kind == "set":
        part.stat = result[0]


def decode(op, reply):
    """The reply into the Op."""
    code = encode(op)[0]
    body = reply.body(code)
    op.err, op.zxid = reply.err, reply.zxid
    if op.kind == "multi" and not op.err and body[0][0] == "error":
        op.err = next(r[1] for r in body if r[1])
    op.outcome = "failed" if op.err else "acked"
    if op.err:
        return
    if op.kind == "multi":
        for part, result in zip(op.parts, body):
            take_change(part, result[2:])
    elif op.parts:
        take_change(op.parts[0], body)
    elif op.kind == "get":
        op.data, op.stat = body
    elif op.kind == "exists":
        op.stat = body[0]
    elif op.kind == "children":
        op.names = [n.decode() for n in body[0]]


class Client(threading.Thread):
    """One session at a time, on any member; a new one when it expires."""

    def __init__(self, load, number, timeout):
        super().__init__(daemon=True)
        self.load, self.number, self.timeout = load, number, timeout
        self.rng = random.Random("%s %d %d" % (load.root, load.seed, number))
        self.conn = self.member = self.session = None
        self.pending = deque()      # (xid, Op) in the order sent
        self.watches = {}           # (path, of children): yes, for the next member
        self.error, self.acked, self.serial, self.made = None, 0, 0, 0
        self.leave = None           # "closed" or "abandoned": to end so once it is quiet
        self.heard = 0.0            # when the last request that was answered was sent
        self.idle = threading.Event()
        self.pinging, self.absent = False, []
        self.wanders = True         # now and then leaves its member without a word
        self.losses = []            # (member, when): it closed the connection
        self.hung = []              # (member, since, until): it did not answer
        self.versions, self.mine = {}, []
        self.passwd, self.zxid = None, 0

    # --- the connection ------------------------------------------------------------------------

    def connect(self):
        """On some member: the session resumed, or a new one if it expired; False when it's over."""
        members = list(self.load.ensemble.members)
        self.rng.shuffle(members)

        def one():
            if self.load.over.is_set():
                return "over"
            member = members.pop(0)
            members.append(member)
            return self.try_member(member)
        return wait_until("client %d on any member" % self.number, one, self.load.patience,
                          0.02) != "over"

    def try_member(self, member):
        s = self.session
        asked = time.monotonic()
        try:
            c = w.Conn(member.port, 1.5, member.host)
        except OSError:
            return False
        try:
            if s is None:
                c.handshake(self.timeout)
            else:
                c.handshake(self.timeout, s.sid, self.passwd, zxid=self.zxid)
        except (w.Closed, OSError, w.Malformed):
            c.drop()
            return False
        if not c.sid:
            c.drop()
            return self.refused()
        if s is None:
            s = self.session = h.Session(c.sid, c.timeout)
            self.load.add(s)
            self.passwd, self.zxid, self.watches = c.passwd, 0, {}
        elif c.sid != s.sid:
            raise Wrong("session 0x%x became 0x%x" % (s.sid, c.sid))
        self.heard = asked
        self.conn, self.member, c.xid = c, member, self.serial
        c.sock.settimeout(max(1.0, s.timeout / 1500))
        self.set_watches()
        return True

    def refused(self):
        """The session is over, says a member. The next one begins."""
        if self.session is not None:
            self.session.ended, self.session.silent = "expired", time.monotonic() - self.heard
            self.session = None
            self.mine = []
        return False

    def set_watches(self):
        if not self.watches:
            return
        data = [p for (p, of_children), there in self.watches.items()
                if not of_children and there]
        absent = [p for (p, of_children), there in self.watches.items()
                  if not of_children and not there]
        children = [p for p, of_children in self.watches if of_children]
        self.absent = absent
        self.conn.send(w.SET_WATCHES, w.set_watches(self.zxid, data, absent, children),
                       WATCHES_XID)

    def send(self, op):
        self.serial += 1
        op.member, op.asked = self.member, time.monotonic()
        self.pending.append((self.serial, op))
        code, body = encode(op)
        self.conn.send(code, body, self.serial)

    def receive(self):
        """One frame. The Op that it answers, if it does."""
        r = self.conn.recv()
        if r.xid == EVENTS_XID:
            self.take_event(r)
        if r.xid in (EVENTS_XID, PING_XID, WATCHES_XID):
            self.pinging &= r.xid != PING_XID
            if r.xid == WATCHES_XID:
                self.session.stream.append(h.Rewatched(r.zxid, self.absent))
            return None
        xid, op = self.pending.popleft()
        if r.xid != xid:
            raise Wrong("xid %d answered with %r; it was %r, then %s" % (xid, r, op, [
                o for _, o in self.pending]))
        op.answered = time.monotonic()
        decode(op, r)
        self.heard, self.zxid = op.asked, max(self.zxid, r.zxid)
        self.session.stream.append(op)
        if op.watch and (op.outcome == "acked" or op.kind == "exists"):
            self.watches[op.path, op.kind == "children"] = op.outcome == "acked"
        self.acked += bool(op.parts) and op.outcome == "acked"
        return op

    def take_event(self, r):
        kind, _, path = r.event()
        self.session.stream.append(h.Event(kind, path.decode()))
        for of_children in (kind == h.CHILDREN, kind in (h.CHILDREN, h.DELETED)):
            self.watches.pop((path.decode(), of_children), None)

    def lose(self):
        """The connection is gone: nobody knows about what was asked."""
        self.conn.drop()
        for _, op in self.pending:
            op.outcome = "unknown"
            op.synced = None
            self.session.stream.append(op)
        self.pending.clear()
        self.versions.clear()

    # --- what it asks --------------------------------------------------------------------------

    def value(self):
        self.made += 1
        return b"%d.%d" % (self.number, self.made)

    def op(self, kind, *parts, **kw):
        return h.Op(self.session, kind, parts=parts, **kw)

    def path(self, *names):
        return "/".join((self.load.root,) + names)

    def own(self):
        return self.path("own", "c%d-%d" % (self.number, self.rng.randrange(OWN)))

    def shared(self):
        return self.path("shared", "k%d" % self.rng.randrange(SHARED))

    def temp(self):
        return self.path("temp", "t%d" % self.rng.randrange(TEMPS))

    def sequential(self):
        return h.Part("create", self.path("seq", "s-"), self.value(), sequential=True)

    def set(self, path):
        """Of the version that it saw last, or of any."""
        known = self.versions.pop(path, -1) if self.rng.random() < 0.7 else -1
        return h.Part("set", path, self.value(), known)

    def next(self):
        """The next few requests to send."""
        choice = self.rng.choices(
            ("set", "own", "sequence", "temp", "multi", "get", "watch", "sync", "eph"),
            (12, 8, 10, 8, 10, 20, 8, 6, 6))[0]
        return getattr(self, "next_" + choice)()

    def next_set(self):
        return [self.op("set", self.set(self.shared()))]

    def next_own(self):
        return [self.op("set", self.set(self.own()))]

    def next_sequence(self):
        if self.mine and self.rng.random() < 0.6:
            return [self.op("delete", h.Part("delete", self.mine.pop(0)))]
        return [self.op("create", self.sequential())]

    def next_temp(self):
        kind = self.rng.choice(("create", "delete"))
        return [self.op(kind, h.Part(kind, self.temp(), self.value() if kind == "create" else None,
                                     -1))]

    def next_multi(self):
        parts = [self.set(self.own()), self.sequential()]
        if self.rng.random() < 0.3:
            parts.append(h.Part("check", self.shared(), expect=self.rng.randrange(50)))
        if self.mine and self.rng.random() < 0.5:
            parts.append(h.Part("delete", self.mine.pop(0)))
        return [self.op("multi", *parts)]

    def next_get(self):
        return [self.op("get", path=self.rng.choice((self.shared, self.own, self.temp))())]

    def next_watch(self):
        if len(self.watches) > 3:
            return self.next_get()
        kind = self.rng.choice(("get", "exists", "children"))
        path = {"get": self.shared, "exists": self.temp}.get(
            kind, lambda: self.path(self.rng.choice(("seq", "temp", "eph"))))()
        return [self.op(kind, path=path, watch=True)]

    def next_sync(self):
        path = self.rng.choice((self.shared, self.own))()
        sync, get = self.op("sync", path=path), self.op("get", path=path)
        get.synced = sync       # until it is answered
        return [sync, get]

    def next_eph(self):
        path = self.path("eph", "c%d-%d" % (self.number, self.rng.randrange(3)))
        kind = self.rng.choice(("create", "create", "delete"))
        return [self.op(kind, h.Part(kind, path, self.value() if kind == "create" else None, -1,
                                     ephemeral=kind == "create"))]

    def learn(self, op):
        """From an answer: versions to set by, nodes to delete, when the sync before was asked."""
        if isinstance(op.synced, h.Op):
            op.synced = op.synced.asked if op.synced.outcome == "acked" else None
        if op.outcome != "acked":
            return
        if op.kind == "get":
            self.versions[op.path] = op.stat.version
        for part in op.parts:
            if part.sequential:
                self.mine.append(part.name)

    # --- its life ------------------------------------------------------------------------------

    def run(self):
        try:
            if self.connect():
                self.work()
        except Exception as e:  # pylint: disable=broad-except
            self.error = "client %d at %s: %s: %s" % (self.number, self.member,
                                                      type(e).__name__, e)
        self.idle.set()

    def work(self):
        while not self.load.over.is_set():
            try:
                if not self.turn():
                    return
            except (w.Closed, OSError) as how:
                if isinstance(how, socket.timeout):
                    self.hung.append((self.member, self.heard, time.monotonic()))
                self.losses.append((self.member, time.monotonic()))
                self.lose()
                if not self.connect():
                    return

    def turn(self):
        """Some requests and an answer; False when it has left."""
        if self.load.quiet.is_set():
            return self.rest()
        self.idle.clear()
        if self.wanders and self.rng.random() < 0.004:
            raise w.Closed("leaves its member without a word")
        while len(self.pending) < DEPTH:
            for op in self.next():
                self.send(op)
                time.sleep(PACE)
        self.answered()
        return True

    def answered(self):
        op = self.receive()
        if op is not None:
            self.learn(op)

    def rest(self):
        """Keeps the session while there is nothing to do, and takes the events that come."""
        while self.pending:
            self.answered()
        self.idle.set()
        if self.leave:
            self.end(self.leave)
            return False
        asked, self.pinging = time.monotonic(), True
        self.conn.send(w.PING, b"", PING_XID)
        while self.pinging:
            self.receive()
        self.heard = asked
        self.load.wake.wait(self.timeout / 8000)
        return True

    def end(self, how):
        """"closed" asks for it, "abandoned" just goes."""
        if how == "closed":
            op = self.op("close")
            try:
                self.send(op)
                while self.receive() is None:
                    pass
            except (w.Closed, OSError):
                how = "abandoned"
                self.lose()
        self.session.ended = how
        self.conn.drop()


class Load:
    """See above. Members may come and go; new ones are used from the next connection on."""

    def __init__(self, ensemble, root, seed=1, clients=5, doomed=3, patience=60):
        self.ensemble, self.root, self.seed, self.patience = ensemble, root, seed, patience
        self.history = h.History(root, int(ensemble.members[0].conf["tickTime"]))
        self.over, self.quiet, self.wake = (threading.Event() for _ in range(3))
        self.lock = threading.Lock()
        self.prepare(clients + doomed)
        self.clients = [Client(self, n, 20000) for n in range(clients)]
        self.doomed = [Client(self, clients + n, 2000) for n in range(doomed)]
        self.all = self.clients + self.doomed

    def add(self, session):
        with self.lock:
            self.history.sessions.append(session)

    def prepare(self, clients):
        """The directories and nodes that all use, made by a session of its own."""
        self.ensemble.serving(self.patience)
        c = Client(self, 999, 20000)
        c.connect()
        c.conn.ok(w.CREATE, w.create(self.root))
        c.serial = c.conn.xid
        nodes = list(DIRECTORIES) + ["shared/k%d" % i for i in range(SHARED)]
        nodes += ["own/c%d-%d" % (n, i) for n in range(clients) for i in range(OWN)]
        for name in nodes:
            c.send(c.op("create", h.Part("create", c.path(name), c.value())))
            c.answered()
        c.end("closed")

    def start(self):
        for c in self.all:
            c.start()
        return self

    def check_threads(self):
        bad = [c.error for c in self.all if c.error]
        if bad:
            raise Wrong("; ".join(bad))

    def acked(self):
        return sum(c.acked for c in self.all)

    def more(self, writes=200, seconds=60):
        """Waits for so many more acknowledged writes; how long that took."""
        start, began = self.acked(), time.monotonic()

        def enough():
            self.check_threads()
            return self.acked() >= start + writes
        wait_until("%d more writes" % writes, enough, seconds)
        return time.monotonic() - began

    def rest(self, seconds=60):
        """The clients rest, with their sessions kept, until go_on()."""
        self.quiet.set()
        wait_until("clients quiet", lambda: all(c.idle.is_set() for c in self.all), seconds)
        self.check_threads()

    def go_on(self):
        for c in self.all:
            c.idle.clear()
        self.quiet.clear()

    def leave(self, clients, ways):
        for i, c in enumerate(clients):
            c.leave = ways[i % len(ways)]
        self.wake.set()
        for c in clients:
            c.join(30)
        self.wake.clear()
        self.check_threads()

    def finish(self, seconds=60):
        """Ends it: what is wrong. Every member's tree was compared, and all ephemerals found."""
        self.rest(seconds)
        live = {c.session.sid for c in self.clients}
        self.leave(self.doomed, ("abandoned", "closed"))

        def without_the_dead():
            tree = self.ensemble.compare(self.root, seconds)
            owners = {stat.ephemeralOwner for _, stat, _ in tree.values()} - {0}
            return tree if owners <= live else None
        wait_until("no ephemeral of a dead session is left", without_the_dead, seconds, 0.1)
        self.history.tree, self.history.zxid = self.ensemble.tree_at(self.root, seconds)
        wrong = h.check(self.history)
        self.leave(self.clients, ("closed",))
        self.over.set()
        return wrong

"""What clients asked and were told, and whether it can be true. Pure: no socket, no clock.

Every reply carries a zxid, and every value written is unique. So nothing has to be searched: what
was acknowledged, and what was read, tells for each path which zxid made which version; the rest is
to find contradictions. Sessions put their operations into a History (load.py does it), the tree is
added when all is quiet, and check() lists the violations:

  lost          an acknowledged write is not in the state as of a later zxid
  twice         a write took effect more than once, or one that was refused did
  contradiction two answers disagree about what one zxid did
  stale         a read does not show what its own zxid includes, or shows more
  back          the zxid of a session, or a node that it reads again, went back
  order         a write got a zxid below that of one acknowledged before it was asked; or a
                session's own writes took effect in another order than it sent them
  sync          a read after sync misses what was acknowledged before the sync was asked
  watch         a notification that should have come before a reply did not, or had no cause
  sequence      sequential names: one twice, out of order, or skipped without a lost create
  refused       an error that the state as of its zxid does not justify
  ephemeral     left behind by a session that ended; gone, or of another owner, while it lives
  expired       a session ended before its timeout

A write whose connection was lost is unknown: it may have taken effect once, or never.
"""
import bisect
from collections import Counter, namedtuple

OK, NO_NODE, BAD_VERSION, NODE_EXISTS = 0, -101, -103, -110
EXPIRED, THROTTLED = -112, -127
Violation = namedtuple("Violation", "kind text op")
Event = namedtuple("Event", "type path")            # a notification, in a session's stream
# The watches were set again on a new connection, as of zxid; absent: those on nodes not there. A
# node that came and went meanwhile is not told of: only the state then is compared.
Rewatched = namedtuple("Rewatched", "zxid absent")
DELETED, CHILDREN = 2, 4


class Part:
    """One change: create, set, delete or check. `name` and `stat` are what the reply said."""
    __slots__ = ("kind", "path", "value", "expect", "sequential", "ephemeral", "name", "stat")

    def __init__(self, kind, path, value=None, expect=-1, sequential=False, ephemeral=False):
        self.kind, self.path, self.value, self.expect = kind, path, value, expect
        self.sequential, self.ephemeral = sequential, ephemeral
        self.name = None if sequential else path
        self.stat = None


class Op:
    """A request and what became of it; times in seconds of one clock, asked before answered."""
    __slots__ = ("session", "member", "kind", "path", "parts", "watch", "asked", "answered",
                 "outcome", "err", "zxid", "data", "stat", "names", "synced", "found")

    def __init__(self, session, kind, path=None, parts=(), watch=False, synced=None):
        self.session, self.kind, self.path, self.parts = session, kind, path, list(parts)
        self.watch, self.synced = watch, synced     # synced: when the sync before it was asked
        self.member = self.asked = self.answered = self.outcome = self.err = self.zxid = None
        self.data = self.stat = self.names = None
        self.found = None                           # an unknown write: the zxid that it got

    @property
    def took_zxid(self):
        """A write that was answered; a member without room turns some away before they get one."""
        return bool(self.parts) and self.outcome != "unknown" and self.err != THROTTLED

    def __repr__(self):
        what = " ".join("%s %s%s" % (p.kind, p.name or p.path, "" if p.value is None else
                                     "=%s" % p.value.decode()) for p in self.parts) or self.path
        return "%s %s of 0x%x at %s: %s %s zxid %s" % (
            self.kind, what, self.session.sid, self.member, self.outcome, self.err,
            None if self.zxid is None else hex(self.zxid))


class Session:
    """One session; stream: Ops in the order of their answers; Events and Rewatched between."""

    def __init__(self, sid, timeout):
        self.sid, self.timeout, self.stream = sid, timeout, []
        self.ended = None           # or "closed", "expired", "abandoned"
        self.silent = 0.0           # expired: seconds since it was last heard


class History:
    def __init__(self, root, tick_ms=0):
        self.root, self.sessions = root, []
        self.tick_ms = tick_ms
        self.zxid, self.tree = None, None       # the final state, as read by Ensemble.compare()

    def counts(self):
        """What there was to check."""
        c = Counter()
        for s in self.sessions:
            for e in s.stream:
                if isinstance(e, Op):
                    c["%s %s" % (e.outcome, "writes" if e.parts else "reads")] += 1
                    c["synced reads"] += e.synced is not None
                else:
                    c["events"] += isinstance(e, Event)
        c["sessions"] = len(self.sessions)
        return dict(c)


class Fact(namedtuple("Fact", "kind version value czxid")):
    """What a zxid did to a path; version and value are None where nobody was told."""

    def merge(self, other):
        """Both, or None if they contradict each other."""
        pairs = [(a, b) for a, b in zip(self, other) if a is not None and b is not None]
        if any(a != b for a, b in pairs):
            return None
        return Fact(*(b if a is None else a for a, b in zip(self, other)))


class Timeline:
    """All that is known of one path."""

    def __init__(self):
        self.facts = {}
        self.order = []
        self.unknown = Counter()    # kind: changes of which nobody knows whether they took effect
        self.owners = {}            # czxid: the session that owns it
        self.mortal = False         # an ephemeral of a session that ended at an unknown zxid

    def before(self, zxid):
        """The last zxid of this path that is not above."""
        i = bisect.bisect_right(self.order, zxid)
        return self.order[i - 1] if i else None

    def after(self, zxid):
        i = bisect.bisect_right(self.order, zxid)
        return self.order[i] if i < len(self.order) else None

    def may_vanish(self):
        return self.unknown["delete"] or self.mortal

    def state(self, zxid):
        """Fact as of zxid, None if there is no node; "?" if that can't be told."""
        z, later = self.before(zxid), self.after(zxid)
        alive = z is not None and self.facts[z].kind != "delete"
        if alive and self.may_vanish() and not (
                later and self.facts[later].czxid == self.facts[z].czxid is not None):
            return "?"
        if not alive and self.unknown["create"]:
            return "?"
        return self.facts[z] if alive else None


class Checker:
    def __init__(self, history):
        self.h = history
        self.found = []
        self.paths = {}
        self.children = {}          # directory: its children's paths
        self.values = {}            # value: (op, part)
        self.seen = {}              # value: zxid
        self.ops = [e for s in history.sessions for e in s.stream if isinstance(e, Op)]
        self.writes = [o for o in self.ops if o.parts]

    def bad(self, kind, text, *args):
        ops = [a for a in args if isinstance(a, Op)]
        self.found.append(Violation(kind, text % args, ops[-1] if ops else None))

    def run(self):
        self.collect_writes()
        self.collect_reads()
        self.end_sessions()
        for t in self.paths.values():
            t.order = sorted(t.facts)
        self.check_zxids()
        for path, t in self.paths.items():
            self.check_path(path, t)
        for op in self.ops:
            self.check_read(op)
            self.check_refusal(op)
        if self.h.tree is not None:
            self.check_final()
        self.check_sequences()
        self.check_time()
        for s in self.h.sessions:
            self.check_session(s)
        return self.found

    # --- facts ---------------------------------------------------------------------------------

    def timeline(self, path):
        t = self.paths.get(path)
        if t is None:
            t = self.paths[path] = Timeline()
            self.children.setdefault(path.rpartition("/")[0] or "/", set()).add(path)
        return t

    def fact(self, path, zxid, fact, source):
        t = self.timeline(path)
        old = t.facts.get(zxid)
        new = old.merge(fact) if old else fact
        if new is None:
            self.bad("contradiction", "%s at 0x%x: %s, and by %r %s", path, zxid, old, source, fact)
        else:
            t.facts[zxid] = new

    def collect_writes(self):
        for op in self.writes:
            for part in op.parts:
                if part.value is not None:
                    self.values[part.value] = op, part
        for op in self.writes:
            if op.outcome == "acked":
                for part in op.parts:
                    self.acked(op, part)

    def acked(self, op, part):
        path = part.name
        if part.kind == "create":
            self.fact(path, op.zxid, Fact("create", 0, part.value, op.zxid), op)
            self.apply_value(part.value, path, op.zxid, op)
            if part.ephemeral:
                self.timeline(path).owners[op.zxid] = op.session
        elif part.kind == "delete":
            self.fact(path, op.zxid, Fact("delete", None, None, None), op)
        elif part.kind == "set":
            s = part.stat
            if s.mzxid != op.zxid:
                self.bad("contradiction", "mzxid 0x%x in the reply to %r", s.mzxid, op)
            if part.expect >= 0 and s.version != part.expect + 1:
                self.bad("contradiction", "version %d after a set of version %d: %r", s.version,
                         part.expect, op)
            self.observe(path, part.value, s, op)

    def observe(self, path, value, s, source):
        """A node's Stat, and its value unless that is None, as somebody was told."""
        self.fact(path, s.czxid, Fact("create", 0, None if s.version else value, s.czxid), source)
        if s.version:
            self.fact(path, s.mzxid, Fact("set", s.version, value, s.czxid), source)
        elif s.mzxid != s.czxid:
            self.bad("contradiction", "%s has version 0 and mzxid 0x%x, czxid 0x%x: %r", path,
                     s.mzxid, s.czxid, source)
        if value is not None:
            self.apply_value(value, path, s.mzxid, source)
        self.timeline(path).owners.setdefault(s.czxid, s.ephemeralOwner or None)

    def apply_value(self, value, path, zxid, source):
        """The one write of this value took effect on path at zxid."""
        op, part = self.values.get(value, (None, None))
        if op is None:
            self.bad("contradiction", "%s holds %r that nobody wrote: %r", path, value, source)
            return
        target = path.startswith(part.path) if part.sequential else path == part.path
        if not target:
            self.bad("contradiction", "%s holds the value of %r", path, op)
        elif op.outcome == "failed":
            self.bad("twice", "refused, and took effect at 0x%x: %r", zxid, op)
        elif self.seen.setdefault(value, zxid) != zxid:
            self.bad("twice", "took effect at 0x%x and 0x%x: %r", self.seen[value], zxid, op)
        elif op.outcome == "acked" and op.zxid != zxid:
            self.bad("twice", "took effect at 0x%x: %r", zxid, op)
        elif op.outcome == "unknown":
            if op.found not in (None, zxid):
                self.bad("twice", "a multi in two parts, 0x%x and 0x%x: %r", op.found, zxid, op)
            op.found = zxid
            if part.sequential:
                part.name = path
            if part.kind == "create" and part.ephemeral:
                self.timeline(path).owners[zxid] = op.session

    def collect_reads(self):
        for op in self.ops:
            if op.outcome == "acked" and op.kind in ("get", "exists"):
                self.observe(op.path, op.data, op.stat, op)
        for path, (data, stat, _) in (self.h.tree or {}).items():
            if path.startswith(self.h.root + "/"):
                self.observe(path, data, stat, "the final tree")
        # A multi of which one part was seen took effect as a whole.
        for op in self.writes:
            for part in op.parts:
                if op.outcome != "unknown" or part.kind == "check":
                    continue
                if op.found is None:
                    self.timeline(part.path).unknown[part.kind] += 1
                elif part.kind == "delete":
                    self.fact(part.path, op.found, Fact("delete", None, None, None), op)
                elif part.name is None:
                    self.timeline(part.path).unknown["create"] += 1
                else:
                    self.fact(part.name, op.found, Fact(
                        part.kind, 0 if part.kind == "create" else None, part.value,
                        op.found if part.kind == "create" else None), op)

    def end_sessions(self):
        """Ephemerals go with the zxid that closed their session, if anybody was told which."""
        closed = {}
        for op in self.ops:
            if op.kind == "close":
                closed[op.session] = op.zxid if op.outcome == "acked" else None
        for t in self.paths.values():
            for czxid, owner in list(t.owners.items()):
                if not isinstance(owner, Session) or not owner.ended:
                    continue
                end = closed.get(owner)
                if end is None:
                    t.mortal = True
                    continue
                t.order = sorted(t.facts)
                last = t.before(end)
                if last and t.facts[last].kind != "delete" and czxid == max(
                        z for z in t.order if z <= end and t.facts[z].kind == "create"):
                    t.facts[end] = Fact("delete", None, None, None)

    # --- one path ------------------------------------------------------------------------------

    def check_zxids(self):
        """Each zxid belongs to one write."""
        owner = {}
        for op in self.writes:
            if op.zxid is None or not op.took_zxid:
                continue
            other = owner.setdefault(op.zxid, op)
            if other is not op:
                self.bad("twice", "one zxid for two writes: %r, %r", op, other)

    def check_path(self, path, t):
        alive, version = None, 0
        spare = Counter(t.unknown)
        for zxid in t.order:
            f = t.facts[zxid]
            if f.kind == "create":
                if alive is not None and not self.spend(spare, "delete", t.mortal):
                    self.bad("twice", "%s was there when created at 0x%x", path, zxid)
                if f.value is None and not self.spend(spare, "create"):
                    self.bad("twice", "%s created at 0x%x, by nobody", path, zxid)
                alive, version = zxid, 0
            elif f.kind == "delete":
                if alive is None and not self.spend(spare, "create"):
                    self.bad("lost", "%s was not there when deleted at 0x%x", path, zxid)
                alive = None
            else:
                version = self.check_set(path, zxid, f, alive, version, spare)
                alive = alive if f.czxid is None else f.czxid

    def check_set(self, path, zxid, f, alive, version, spare):
        """A version follows from the one before; those that nobody saw were unknown sets."""
        if alive is None or f.czxid not in (None, alive):
            self.bad("lost", "%s set at 0x%x, czxid %s: it was %s", path, zxid, f.czxid, alive)
            return f.version or 0
        if f.version is None:
            return version + 1
        skipped = f.version - version - (1 if f.value is not None else 0)
        if skipped < 0:
            self.bad("lost", "%s has version %d at 0x%x, and %d before", path, f.version, zxid,
                     version)
        for _ in range(max(skipped, 0)):
            if not self.spend(spare, "set"):
                self.bad("twice", "%s has version %d at 0x%x: more than were written", path,
                         f.version, zxid)
                break
        return f.version

    @staticmethod
    def spend(spare, kind, free=False):
        if spare[kind]:
            spare[kind] -= 1
            return True
        return free

    # --- reads and refusals --------------------------------------------------------------------

    def check_read(self, op):
        if op.outcome == "unknown" or op.kind not in ("get", "exists", "children"):
            return
        if op.kind == "children":
            if op.outcome == "acked":
                self.check_children(op.path, op.zxid, op.names, op)
        elif op.outcome == "failed":
            state = self.timeline(op.path).state(op.zxid)
            if op.err != NO_NODE:
                self.bad("refused", "%r", op)
            elif state not in (None, "?"):
                self.bad("lost", "not there, and it is %s: %r", state, op)
        else:
            self.check_shown(op.path, op.stat, op.zxid, op)

    def check_shown(self, path, stat, zxid, source):
        t = self.timeline(path)
        z = t.before(zxid)
        if stat.mzxid > zxid:
            self.bad("stale", "%s from the future, mzxid 0x%x as of 0x%x: %r", path, stat.mzxid,
                     zxid, source)
        elif z is not None and z != stat.mzxid:
            self.bad("stale" if isinstance(source, Op) else "lost",
                     "%s with mzxid 0x%x as of 0x%x, but 0x%x: %s: %r", path, stat.mzxid,
                     zxid, z, t.facts[z], source)
        owner = t.owners.get(stat.czxid)
        sid = owner.sid if isinstance(owner, Session) else owner
        if (sid or 0) != stat.ephemeralOwner:
            self.bad("ephemeral", "%s is of 0x%x, not %s: %r", path, stat.ephemeralOwner, owner,
                     source)

    def check_children(self, directory, zxid, names, source):
        shown = {directory + "/" + n for n in names}
        if len(shown) != len(names):
            self.bad("twice", "a name twice: %r", source)
        known = self.children.get(directory, set())
        for path in known - shown:
            if self.paths[path].state(zxid) not in (None, "?"):
                self.bad("lost", "%s is not among the children as of 0x%x: %r", path, zxid, source)
        for path in shown - known:
            if not any(t.unknown["create"] for p, t in self.paths.items()
                       if path.startswith(p)):
                self.bad("twice", "%s is a child that nobody created: %r", path, source)
        for path in shown & known:
            if self.paths[path].state(zxid) is None:
                self.bad("stale", "%s is among the children as of 0x%x: %r", path, zxid, source)

    def check_refusal(self, op):
        """An error of a single write, against the state just below its zxid."""
        if op.outcome != "failed" or len(op.parts) != 1 or not op.took_zxid:
            return
        if op.err == EXPIRED and op.session.ended:
            return
        part = op.parts[0]
        t = self.timeline(part.name or part.path)
        state = t.state(op.zxid - 1)
        if state == "?":
            return
        if part.kind == "create":
            right = op.err == NODE_EXISTS and state is not None
        elif state is None:
            right = op.err == NO_NODE
        else:
            sure = not t.unknown["set"] and state.version is not None
            right = op.err == BAD_VERSION and part.expect >= 0 and (
                state.version != part.expect or not sure)
        if not right:
            self.bad("refused", "it was %s: %r", state, op)

    def check_final(self):
        for path, t in self.paths.items():
            if not path.startswith(self.h.root + "/"):
                continue
            there = self.h.tree.get(path)
            if there:
                self.check_shown(path, there[1], self.h.zxid, "the final tree")
                owner = t.owners.get(there[1].czxid)
                if isinstance(owner, Session) and owner.ended:
                    self.bad("ephemeral", "%s is left behind by 0x%x, %s", path, owner.sid,
                             owner.ended)
                elif isinstance(owner, int) and not t.unknown["create"]:
                    self.bad("ephemeral", "%s is of 0x%x, which nobody has", path, owner)
            elif t.state(self.h.zxid) not in (None, "?"):
                self.bad("lost", "%s is gone, and it was %s", path, t.state(self.h.zxid))

    def check_sequences(self):
        """Numbers below one prefix count the creates of its directory: no other ones are there."""
        made = {}
        for op in self.writes:
            for part in op.parts:
                if part.sequential and op.outcome != "failed":
                    zxid = op.zxid if op.outcome == "acked" else op.found
                    made.setdefault(part.path, []).append(
                        (zxid, part.name and int(part.name[-10:]), op))
        for prefix, all_of in made.items():
            known = sorted((x for x in all_of if x[1] is not None), key=lambda x: x[:2])
            spare = len(all_of) - len(known)
            expected = 0
            for _, number, op in known:
                if number < expected:
                    self.bad("sequence", "%d after %d below %s: %r", number, expected - 1, prefix,
                             op)
                    continue
                spare -= number - expected
                expected = number + 1
            if spare < 0:
                self.bad("sequence", "%d numbers skipped below %s", -spare, prefix)

    # --- time and sessions ---------------------------------------------------------------------

    def check_time(self):
        """Acknowledged before it was asked: below it."""
        moments = []
        for op in self.ops:
            if op.outcome == "unknown":
                continue
            if op.parts:
                moments.append((op.asked, 1, op))
                if op.outcome == "acked":
                    moments.append((op.answered, 0, op))
            elif op.synced is not None:
                moments.append((op.synced, 1, op))
        high = 0
        for _, asking, op in sorted(moments, key=lambda m: m[:2]):
            if not asking:
                high = max(high, op.zxid)
            elif op.took_zxid and op.zxid <= high:
                self.bad("order", "0x%x was acknowledged before %r", high, op)
            elif not op.parts and op.zxid < high:
                self.bad("sync", "0x%x was acknowledged before the sync: %r", high, op)

    def check_session(self, s):
        zxid, read, watches, lost = 0, {}, {}, []
        last = 0                    # zxid of the last write that is known
        for e in s.stream:
            if isinstance(e, Event):
                self.take_event(s, e, watches)
                continue
            if isinstance(e, Rewatched):
                for path in e.absent:
                    if (path, False) in watches and self.timeline(path).state(e.zxid) in (
                            None, "?"):
                        watches[path, False] = e.zxid
                continue
            if e.outcome == "unknown":
                lost += [e] if e.parts else []
                continue
            if e.zxid < zxid:
                self.bad("back", "0x%x after 0x%x: %r", e.zxid, zxid, e)
            zxid = max(zxid, e.zxid)
            self.check_watches(watches, e)
            if e.took_zxid:
                for op in lost:
                    if op.found is not None and not last < op.found < e.zxid:
                        self.bad("order", "0x%x, not between 0x%x and %r: %r", op.found, last, e,
                                 op)
                lost, last = [], e.zxid
            if e.stat is not None and e.kind == "get":
                if e.stat.mzxid < read.get(e.path, 0):
                    self.bad("back", "mzxid 0x%x before %r", read[e.path], e)
                read[e.path] = e.stat.mzxid
            if e.watch and (e.outcome == "acked" or e.kind == "exists"):
                watches.setdefault((e.path, e.kind == "children"), e.zxid)
        # A member that dies takes along what it heard since the leader's last ping.
        if s.ended == "expired" and s.silent * 1000 < s.timeout - self.h.tick_ms:
            self.bad("expired", "0x%x after %.2f s of %d ms", s.sid, s.silent, s.timeout)

    def changes(self, path, of_children, low, high):
        """The first zxid in (low, high] that fires a watch, or None."""
        found = []
        for p in self.children.get(path, ()) if of_children else (path,):
            t = self.paths.get(p)
            z = t.after(low) if t else None
            while z is not None and of_children and t.facts[z].kind == "set":
                z = t.after(z)
            if z is not None and z <= high:
                found.append(z)
        return min(found, default=None)

    def check_watches(self, watches, op):
        for (path, of_children), zxid in list(watches.items()):
            z = self.changes(path, of_children, zxid, op.zxid)
            if z is not None:
                self.bad("watch", "0x%x changed %s, watched since 0x%x, and nothing came before %r",
                         z, path, zxid, op)
                del watches[path, of_children]

    def take_event(self, s, e, watches):
        keys = [(e.path, e.type == CHILDREN)] if e.type != DELETED else [
            (e.path, False), (e.path, True)]
        since = [watches.pop(k) for k in keys if k in watches]
        if not since:
            self.bad("watch", "0x%x was notified of %s, and did not watch", s.sid, e)
            return
        paths = [e.path] if e.type != CHILDREN else self.children.get(e.path, [])
        doubt = any(sum(self.paths[p].unknown.values()) or self.paths[p].mortal for p in paths
                    if p in self.paths)
        if not doubt and self.changes(e.path, e.type == CHILDREN, min(since),
                                      float("inf")) is None:
            self.bad("watch", "0x%x was notified of %s, and nothing happened", s.sid, e)


def check(history):
    """All violations; see above."""
    return Checker(history).run()

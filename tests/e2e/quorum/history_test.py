#!/usr/bin/python3
"""The checker of histories can fail: histories of a model are found possible, and impossible once
one thing in them is changed. Needs no server. Prints "RESULT passed failed".

The model is an ensemble that makes no mistakes: one order of transactions, members that are some of
them behind, sessions that wander between members and lose connections at any moment.
"""
import random
import sys

import ensemble  # noqa: F401  pylint: disable=unused-import; it knows where wire.py is
import history as h
import wire as w
from cases import Score

ROOT, SEEDS, POSSIBLE = "/h", 8, 40
KEYS, TEMPS, CLIENTS, STEPS = 3, 3, 4, 500


class Node:
    def __init__(self, value, zxid, owner):
        self.value, self.czxid, self.mzxid, self.version, self.owner = value, zxid, zxid, 0, owner

    def stat(self):
        return w.Stat((self.czxid, self.mzxid, 0, 0, self.version, 0, 0, self.owner, 0, 0, 0))


class Model:
    """Each transaction is a dict of the nodes that it left behind; a member is how many it has."""

    def __init__(self):
        self.states, self.created = [{}], 0

    def submit(self, op):
        """The transaction of a write: (error or 0, its zxid, what the changes answer)."""
        nodes, answers = dict(self.states[-1]), []
        zxid = len(self.states)
        made = self.created
        for p in op.parts:
            err, said = self.change(nodes, p, zxid, op.session)
            if err:
                self.states.append(self.states[-1])
                self.created = made
                return err, zxid, []
            answers.append(said)
        self.states.append(nodes)
        return 0, zxid, answers

    def change(self, nodes, p, zxid, session):
        if p.kind == "create":
            name = p.path + "%010d" % self.created if p.sequential else p.path
            if name in nodes:
                return h.NODE_EXISTS, None
            self.created += p.sequential
            nodes[name] = Node(p.value, zxid, session.sid if p.ephemeral else 0)
            return 0, name
        old = nodes.get(p.path)
        if old is None:
            return h.NO_NODE, None
        if p.expect not in (-1, old.version):
            return h.BAD_VERSION, None
        if p.kind == "delete":
            del nodes[p.path]
        if p.kind != "set":
            return 0, None
        new = Node(p.value, old.czxid, old.owner)
        new.mzxid, new.version = zxid, old.version + 1
        nodes[p.path] = new
        return 0, new.stat()

    def close(self, session):
        self.states.append({p: n for p, n in self.states[-1].items() if n.owner != session.sid})
        return len(self.states) - 1


class Run:
    """A history of the model: self.history."""

    def __init__(self, seed, losses=True):
        self.losses = losses
        self.rng, self.model, self.clock = random.Random(seed), Model(), 0.0
        self.history = h.History(ROOT)
        self.members = [0, 0, 0]
        self.made, self.sid = 0, 0
        self.sessions = [self.open() for _ in range(CLIENTS)]
        for path in ["%s/k/%d" % (ROOT, i) for i in range(KEYS)]:
            self.write(self.sessions[0], "create", h.Part("create", path, self.value()))
        for _ in range(STEPS):
            self.step()
        self.members = [len(self.model.states) - 1] * 3
        for s in self.sessions[:1]:
            self.end(s, "abandoned")
        self.history.zxid = len(self.model.states) - 1
        self.history.tree = {p: (n.value, n.stat(), ()) for p, n in self.model.states[-1].items()}

    def open(self):
        self.sid += 1
        s = h.Session(self.sid, 1000)
        s.member, s.seen, s.watches = 0, 0, {}
        self.history.sessions.append(s)
        return s

    def tick(self):
        self.clock += self.rng.random()
        return self.clock

    def value(self):
        self.made += 1
        return b"v%d" % self.made

    def catch_up(self, s, zxid):
        """The member of s has all up to zxid; s gets the events of what is new to it."""
        self.members[s.member] = max(self.members[s.member], zxid)
        for (path, of_children), since in list(s.watches.items()):
            for z in range(since + 1, self.members[s.member] + 1):
                before, after = self.model.states[z - 1], self.model.states[z]
                fired = self.fires(path, of_children, before, after)
                if fired:
                    s.stream.append(h.Event(fired, path))
                    s.watches.pop((path, of_children), None)
                    break
        s.seen = self.members[s.member]

    @staticmethod
    def fires(path, of_children, before, after):
        if of_children:
            below = [{p for p in state if p.startswith(path + "/")} for state in (before, after)]
            return h.CHILDREN if below[0] != below[1] else 0
        a, b = before.get(path), after.get(path)
        if a is b:
            return 0
        return 1 if a is None else h.DELETED if b is None else 3

    def write(self, s, kind, *parts):
        op = h.Op(s, kind, parts=parts)
        op.asked = self.tick()
        fate = self.rng.random() if self.losses else 1
        if fate < 0.04:             # never arrives
            return self.lose(s, op)
        if fate > 0.97 and self.losses:     # no room at its member
            return self.turn_away(s, op)
        op.err, op.zxid, answers = self.model.submit(op)
        if fate < 0.08:
            op.zxid = op.err = None
            return self.lose(s, op)
        op.outcome = "failed" if op.err else "acked"
        for p, said in zip(op.parts, answers):
            if p.kind == "create":
                p.name = said
            elif p.kind == "set":
                p.stat = said
        self.catch_up(s, op.zxid)
        op.answered = self.tick()
        s.stream.append(op)
        return op

    def turn_away(self, s, op):
        self.catch_up(s, self.members[s.member])
        op.outcome, op.err, op.zxid, op.answered = "failed", h.THROTTLED, s.seen, self.tick()
        s.stream.append(op)
        return op

    def lose(self, s, op):
        op.outcome = "unknown"
        s.stream.append(op)
        self.move(s)
        return op

    def move(self, s):
        s.member = self.rng.randrange(3)
        self.members[s.member] = max(self.members[s.member], s.seen)
        absent = [p for p, of_children in s.watches if not of_children
                  and p not in self.model.states[s.seen]]
        now = self.members[s.member]
        for path in absent:         # what came and went meanwhile is not told
            if path not in self.model.states[now]:
                s.watches[path, False] = now
        self.catch_up(s, s.seen)
        s.stream.append(h.Rewatched(now, absent))

    def read(self, s, kind, path, watch=False, synced=None):
        op = h.Op(s, kind, path, watch=watch, synced=synced)
        op.asked = self.tick()
        self.catch_up(s, self.members[s.member])
        state = self.model.states[s.seen]
        op.zxid, op.err, node = s.seen, 0, state.get(path)
        if kind == "children":
            op.names = [p.rpartition("/")[2] for p in state if p.startswith(path + "/")]
        elif node is None:
            op.err = h.NO_NODE
        else:
            op.stat, op.data = node.stat(), node.value if kind == "get" else None
        op.outcome = "failed" if op.err else "acked"
        if watch and (not op.err or kind == "exists"):
            s.watches.setdefault((path, kind == "children"), s.seen)
        op.answered = self.tick()
        s.stream.append(op)
        return op

    def end(self, s, how):
        s.ended = how
        if how == "closed":
            op = h.Op(s, "close")
            op.asked, op.zxid = self.tick(), self.model.close(s)
            op.outcome, op.err, op.answered = "acked", 0, self.tick()
            self.catch_up(s, op.zxid)
            s.stream.append(op)
        else:
            self.model.close(s)

    def step(self):
        rng = self.rng
        s = rng.choice(self.sessions)
        key, temp = (ROOT + "/k/%d" % rng.randrange(KEYS), ROOT + "/t/%d" % rng.randrange(TEMPS))
        at = rng.randrange(3)
        self.members[at] = rng.randint(self.members[at], len(self.model.states) - 1)
        what = rng.randrange(12)
        if what < 2:
            known = self.model.states[s.seen].get(key)
            self.write(s, "set", h.Part("set", key, self.value(), rng.choice(
                (-1, known.version if known else -1))))
        elif what == 2:
            self.write(s, "create", h.Part("create", ROOT + "/s/s-", self.value(),
                                           sequential=True))
        elif what == 3:
            kind = rng.choice(("create", "delete"))
            self.write(s, kind, h.Part(kind, temp, self.value() if kind == "create" else None))
        elif what == 4:
            self.write(s, "multi", h.Part("set", key, self.value()),
                       h.Part("create", ROOT + "/s/s-", self.value(), sequential=True))
        elif what == 5:
            self.write(s, "create", h.Part("create", ROOT + "/e/%d" % s.sid,
                                           self.value(), ephemeral=True))
        elif what < 8:
            self.read(s, "get", rng.choice((key, temp)), watch=rng.random() < 0.4)
        elif what == 8:
            self.read(s, rng.choice(("exists", "get")), temp, watch=True)
        elif what == 9:
            self.read(s, "children", ROOT + rng.choice(("/t", "/e", "/s")), watch=True)
        elif what == 10:
            asked = self.tick()
            self.catch_up(s, len(self.model.states) - 1)
            self.read(s, "get", key, synced=asked)
        elif rng.random() < 0.3:
            self.end(s, rng.choice(("closed", "abandoned")))
            self.sessions[self.sessions.index(s)] = self.open()
        else:
            self.move(s)


# --- one thing changed: each returns the kinds that must be found, or None if it found no place ---

def pick(run, test):
    ops = [e for s in run.history.sessions for e in s.stream if isinstance(e, h.Op) and test(e)]
    return run.rng.choice(ops) if ops else None


def kind_of(kind, outcome="acked"):
    return lambda o: o.kind == kind and o.outcome == outcome


def lose_a_create(run):
    """The final tree lacks a node that was acknowledged."""
    op = pick(run, lambda o: kind_of("create")(o) and o.parts[0].sequential)
    del run.history.tree[op.parts[0].name]
    return ["lost"]


def lose_the_last_set(run):
    """The final tree has the version before the last that was acknowledged."""
    tree = run.history.tree
    for path in sorted(tree):
        value, stat, acl = tree[path]
        sets = sorted(((p.stat.version, p.stat.mzxid, p.value) for s in run.history.sessions
                       for e in s.stream if isinstance(e, h.Op) and e.outcome == "acked"
                       for p in e.parts if p.kind == "set" and p.path == path))
        if len(sets) > 1 and sets[-1][2] == value:
            tree[path] = (sets[-2][2], w.Stat(stat[:1] + (sets[-2][1],) + stat[2:4] + (
                sets[-2][0],) + stat[5:]), acl)
            return ["lost"]
    return None


def apply_a_set_twice(run):
    """From some version on all are one higher, though nobody wrote the one between."""
    op = pick(run, kind_of("set"))
    path, from_zxid = op.parts[0].path, op.zxid

    def higher(stat):
        return w.Stat(stat[:4] + (stat.version + 1,) + stat[5:]) if stat.mzxid > from_zxid else stat
    changed = 0
    for s in run.history.sessions:
        for e in s.stream:
            if not isinstance(e, h.Op):
                continue
            if e.path == path and e.stat:
                changed += e.stat.mzxid > from_zxid
                e.stat = higher(e.stat)
            for p in e.parts:
                if p.path == path and p.stat:
                    changed += p.stat.mzxid > from_zxid
                    p.stat = higher(p.stat)
                    p.expect = -1
    value, stat, acl = run.history.tree[path]
    run.history.tree[path] = (value, higher(stat), acl)
    return ["twice"] if changed else None


def create_twice(run):
    """A sequential create took effect a second time."""
    op = pick(run, lambda o: kind_of("create")(o) and o.parts[0].sequential)
    zxid = run.history.zxid
    run.history.tree[ROOT + "/s/s-%010d" % run.model.created] = (
        op.parts[0].value, Node(b"", zxid, 0).stat(), ())
    return ["twice"]


def refused_but_done(run):
    op = pick(run, lambda o: kind_of("create", "failed")(o) and not o.parts[0].ephemeral)
    if op is None:
        return None
    run.history.tree[op.parts[0].path] = (op.parts[0].value, Node(
        b"", run.history.zxid, 0).stat(), ())
    return ["twice"]


def swap_sequence(run):
    """Two creates got each other's name."""
    a = pick(run, lambda o: kind_of("create")(o) and o.parts[0].sequential)
    b = pick(run, lambda o: kind_of("create")(o) and o.parts[0].sequential and o is not a)
    a.parts[0].name, b.parts[0].name = b.parts[0].name, a.parts[0].name
    return ["sequence"]


def read_the_past(run):
    """A read shows an older version than its zxid includes."""
    op = pick(run, lambda o: kind_of("get")(o) and o.stat.version > 1)
    known = [e for s in run.history.sessions for e in s.stream if isinstance(e, h.Op)
             and kind_of("set")(e) and e.parts[0].path == op.path
             and e.parts[0].stat.version < op.stat.version]
    if not known:
        return None
    old = run.rng.choice(known)
    op.data, op.stat = old.parts[0].value, old.parts[0].stat
    return ["stale"]


def miss_a_node(run):
    """A read does not find a node that is there."""
    op = pick(run, lambda o: kind_of("get")(o) and "/k/" in o.path)
    op.outcome, op.err, op.stat, op.data = "failed", h.NO_NODE, None, None
    return ["lost"]


def miss_a_child(run):
    op = pick(run, lambda o: kind_of("children")(o) and o.path.endswith("/s") and o.names)
    if op is None or len(op.names) < 3:
        return None
    acked = {p.name for s in run.history.sessions for e in s.stream if isinstance(e, h.Op)
             and e.outcome == "acked" for p in e.parts}
    names = [n for n in op.names if op.path + "/" + n in acked]
    op.names.remove(run.rng.choice(names))
    return ["lost"]


def zxid_back(run):
    s = max(run.history.sessions, key=lambda s: len(s.stream))
    reads = [e for e in s.stream if isinstance(e, h.Op) and e.kind == "children"]
    if len(reads) < 4 or reads[1].zxid == reads[3].zxid:
        return None
    reads[1].zxid, reads[3].zxid = reads[3].zxid, reads[1].zxid
    return ["back"]


def stale_sync(run):
    """The reads after a sync are as of a zxid below what was acknowledged before."""
    op = pick(run, lambda o: o.synced is not None)
    newest = max((e.zxid for s in run.history.sessions for e in s.stream if isinstance(e, h.Op)
                  and e.parts and e.outcome == "acked" and e.answered < op.synced), default=0)
    op.zxid = newest - 1
    return ["sync"] if newest > 1 else None


def late_zxid(run):
    """A write is acknowledged with a zxid below one that was acknowledged before it was asked."""
    ops = sorted((e for s in run.history.sessions for e in s.stream if isinstance(e, h.Op)
                  and kind_of("set")(e)), key=lambda o: o.asked)
    a, b = ops[10], ops[20]
    for op in (a, b):
        op.parts[0].stat = None
    a.zxid, b.zxid = b.zxid, a.zxid
    for op in (a, b):
        op.parts[0].kind, op.parts[0].expect, op.parts[0].path = "check", -1, ROOT + "/checked"
    return ["order"]


def same_zxid(run):
    a = pick(run, lambda o: kind_of("set")(o))
    b = pick(run, lambda o: kind_of("create", "failed")(o) and o.took_zxid)
    if b is None:
        return None
    b.zxid = a.zxid
    return ["twice"]


def swallow_an_event(run):
    for s in run.history.sessions:
        for i, e in enumerate(s.stream):
            later = [x for x in s.stream[i + 1:] if isinstance(x, h.Op) and x.outcome == "acked"]
            unknown = any(isinstance(x, h.Rewatched) for x in s.stream)
            if isinstance(e, h.Event) and later and not unknown and e.type == 3:
                del s.stream[i]
                return ["watch"]
    return None


def invent_an_event(run):
    run.rng.choice(run.history.sessions).stream.append(h.Event(3, ROOT + "/k/0"))
    run.rng.choice(run.history.sessions).stream.append(h.Event(3, ROOT + "/k/0"))
    return ["watch"]


def leave_an_ephemeral(run):
    """Of a session that was closed."""
    op = pick(run, lambda o: kind_of("create")(o) and o.parts[0].ephemeral
              and o.session.ended == "abandoned")
    if op is None:
        return None
    run.history.tree[op.parts[0].path] = (op.parts[0].value, Node(
        b"", op.zxid, op.session.sid).stat(), ())
    return ["ephemeral"]


def lose_an_ephemeral(run):
    """Of a session that lives."""
    tree = run.history.tree
    live = [p for p, (_, stat, _) in tree.items() if stat.ephemeralOwner]
    known = {p.name for s in run.history.sessions if not s.ended for e in s.stream
             if isinstance(e, h.Op) and e.outcome == "acked" for p in e.parts}
    dead = {p.path for s in run.history.sessions if s.ended for e in s.stream
            if isinstance(e, h.Op) for p in e.parts if p.ephemeral}
    found = [p for p in live if p in known - dead]
    if not found:
        return None
    del tree[found[0]]
    return ["lost"]


def wrong_owner(run):
    tree = run.history.tree
    op = pick(run, lambda o: kind_of("create")(o) and o.parts[0].ephemeral and o.parts[0].path in tree)
    if op is None:
        return None
    path = op.parts[0].path
    value, stat, acl = tree[path]
    tree[path] = (value, w.Stat(stat[:7] + (4711,) + stat[8:]), acl)
    return ["ephemeral"]


def refuse_without_reason(run):
    """A set with the right version is refused."""
    op = pick(run, lambda o: kind_of("set")(o) and o.parts[0].expect < 0)
    op.outcome, op.err, op.parts[0].stat = "failed", h.NO_NODE, None
    return ["refused", "twice"]


def expire_early(run):
    s = run.rng.choice(run.history.sessions)
    s.ended, s.silent = "expired", 0.5
    return ["expired"]


def corrupt_a_value(run):
    path = run.rng.choice(sorted(run.history.tree))
    value, stat, acl = run.history.tree[path]
    run.history.tree[path] = (value[:-1] + b"?", stat, acl)
    return ["contradiction"]


CHANGES = (lose_a_create, lose_the_last_set, apply_a_set_twice, create_twice, refused_but_done,
           swap_sequence, read_the_past, miss_a_node, miss_a_child, zxid_back, stale_sync,
           late_zxid, same_zxid, swallow_an_event, invent_an_event, leave_an_ephemeral,
           lose_an_ephemeral, wrong_owner, refuse_without_reason, expire_early, corrupt_a_value)


def possible_as_it_is(seed):
    wrong = h.check(Run(seed).history)
    if wrong:
        raise AssertionError("a possible history: %s" % [v[:2] for v in wrong[:4]])


def impossible(change):
    """Found in every history that has a place for it; there must be some."""
    places = 0
    for seed in range(SEEDS):
        run = Run(seed, losses=change is not apply_a_set_twice)    # a lost set explains it
        wanted = change(run)
        if wanted is None:
            continue
        places += 1
        kinds = {v.kind for v in h.check(run.history)}
        if not kinds & set(wanted):
            raise AssertionError("seed %d: not found, only %s" % (seed, kinds))
    if places < 3:
        raise AssertionError("only %d of %d histories had a place for it" % (places, SEEDS))


def main():
    score = Score()
    cases = [("possible %d" % seed, lambda seed=seed: possible_as_it_is(seed))
             for seed in range(POSSIBLE)]
    cases += [(c.__name__, lambda c=c: impossible(c)) for c in CHANGES]
    for name, case in cases:
        score.case(name, case)
    return score.end()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""Data between Apache ZooKeeper and Paddock, both ways, and the tools that look at it.

Clients make every kind of node on one server; then the other one is started on what `paddock`
made of the data (or on the data itself), and a client compares every node, Stat and ACL, resumes
the sessions, and writes on.
"""
import base64
import glob
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback

from kazoo.client import KazooClient, KazooState

import wire as w
from cases import expect
from server import PADDOCKD, Server, end_all, four_letter, wait_until

PADDOCK = os.path.join(os.path.dirname(PADDOCKD), "paddock")
SECRET = base64.b64encode(hashlib.sha1(b"super:secret").digest()).decode()
CONF = {"tickTime": 2000, "maxSessionTimeout": 120000, "extendedTypesEnabled": "true",
        "DigestAuthenticationProvider.superDigest": "super:" + SECRET}
LONG = 100000               # ms: a session that outlives the change of servers
MANY = 3000
ONLY_ME = [(31, "digest", "me:" + base64.b64encode(hashlib.sha1(b"me:pw").digest()).decode())]
READABLE = [(1, "world", "anyone"), (31, "ip", "127.0.0.1")]


def tool(status, *args):
    """Run paddock; its output."""
    p = subprocess.run([PADDOCK, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, errors="replace", timeout=60, check=False)
    if p.returncode != status:
        raise AssertionError("paddock %s: status %d, wanted %d\n%s" % (
            " ".join(args), p.returncode, status, p.stdout))
    return p.stdout


def on(kind, data=None, port=None, conf=None):
    """A server on that data directory."""
    s = Server(kind, conf=dict(CONF, **(conf or {})), port=port)
    if data:
        s.data = data
    return s


def make_kinds(c):
    """Every kind of node, data, version and list; c is a connection."""
    c.ok(w.AUTH, w.auth("digest", "me:pw"))
    for path, data in (("/kinds", b"d"), ("/kinds/null", None), ("/kinds/empty", b""),
                       ("/kinds/big", os.urandom(600000)), ("/kinds/a b\\\u00e9\u732b", b"x"),
                       ("/kinds/deep", b"")):
        c.ok(w.CREATE, w.create(path, data))
    path = "/kinds/deep"
    for i in range(60):
        path += "/level-%d" % i
        c.ok(w.CREATE, w.create(path, b"%d" % i))
    for flags in (2, 3):
        for _ in range(3):
            c.ok(w.CREATE, w.create("/kinds/seq-", b"s", flags=flags))
    c.ok(w.CREATE, w.create("/kinds/ephemeral", b"e", flags=1))
    c.ok(w.CREATE_CONTAINER, w.create("/kinds/container", b"c", flags=4))
    c.ok(w.CREATE, w.create("/kinds/container/child"))
    c.ok(w.CREATE_TTL, w.create_ttl("/kinds/ttl", b"t", ttl=3600000))
    c.ok(w.CREATE_TTL, w.create_ttl("/kinds/ttl-", b"t", flags=6, ttl=0xfffffffff))
    c.ok(w.CREATE, w.create("/kinds/mine", b"m", acls=ONLY_ME))
    c.ok(w.CREATE, w.create("/kinds/readable", b"r", acls=READABLE))
    for i in range(20):
        c.ok(w.CREATE, w.create("/kinds/acl-%d" % i, b"", acls=[(1 + i, "ip", "10.0.0.%d" % i),
                                                                (31, "world", "anyone")]))
    c.ok(w.SET_ACL, w.set_acl("/kinds/acl-0", READABLE + [(16, "world", "anyone")]))
    c.ok(w.SET_ACL, w.set_acl("/kinds/acl-0", ONLY_ME))


def make_changes(c):
    """Versions, deletions, multis good and bad, failed writes, quotas."""
    for i in range(5):
        c.ok(w.SET_DATA, w.set_data("/kinds", b"version %d" % i))
    c.ok(w.SET_DATA, w.set_data("/kinds/empty", None))
    for i in range(10):
        c.ok(w.CREATE, w.create("/kinds/gone-%d" % i))
        c.ok(w.DELETE, w.path_version("/kinds/gone-%d" % i))
    c.ok(w.MULTI, w.multi([(w.CREATE, w.create("/multi")), (w.CREATE, w.create("/multi/a", b"1")),
                           (w.SET_DATA, w.set_data("/multi/a", b"2")),
                           (w.CHECK, w.path_version("/multi", 0))]))
    c.ask(w.MULTI, w.multi([(w.CREATE, w.create("/multi/b")), (w.DELETE, w.path_version("/nope"))]))
    c.ask(w.CREATE, w.create("/kinds"))
    for path, data in (("/zookeeper/quota/multi", b""),
                       ("/zookeeper/quota/multi/zookeeper_limits", b"count=100,bytes=10000"),
                       ("/zookeeper/quota/multi/zookeeper_stats", b"count=2,bytes=1")):
        c.ok(w.CREATE, w.create(path, data))
    c.ok(w.CREATE, w.create("/multi/c", b"three"))


def make_many(c, root, n):
    c.ok(w.CREATE, w.create(root))
    for first in range(0, n, 100):
        c.ok(w.MULTI, w.multi([(w.CREATE, w.create("%s/node-%06d" % (root, i), b"%d" % (i * i)))
                               for i in range(first, min(n, first + 100))]))


def make_sessions(port, n=3):
    """Sessions with ephemerals, connections dropped: [(sid, passwd, paths)]."""
    out = []
    for i in range(n):
        c = w.session(port, LONG)
        paths = []
        for k in range(i + 1):
            paths.append("/owned-%d-%d-%x" % (i, k, c.sid & 0xffffff))
            c.ok(w.CREATE, w.create(paths[-1], b"o", flags=1))
        out.append((c.sid, c.passwd, paths))
        c.drop()
    return out


def tree(port):
    """path: (data, stat, ACL) of everything, as the super user sees it."""
    c = w.session(port)
    c.ok(w.AUTH, w.auth("digest", "super:secret"))
    out, todo = {}, ["/"]
    while todo:
        path = todo.pop()
        data, stat = c.ok(w.GET_DATA, w.read(path))
        acl, _ = c.ok(w.GET_ACL, w.buf(path))
        children = c.ok(w.GET_CHILDREN, w.read(path))
        out[path] = (data, tuple(stat), acl)
        todo += [path.rstrip("/") + "/" + n.decode() for n in children]
    c.close()
    return out


def same_tree(port, wanted):
    got = tree(port)
    expect("paths", sorted(got), sorted(wanted))
    for path, value in wanted.items():
        for what, x, y in zip(("data", "stat", "ACL"), got[path], value):
            expect("%s of %r" % (what, path), x, y)


def resume(port, sessions):
    """Each session goes on with its ephemerals, and ends with them."""
    for sid, passwd, paths in sessions:
        c = w.Conn(port)
        expect("session", c.handshake(LONG, sid, passwd), (LONG, sid, passwd))
        for path in paths:
            expect("owner of " + path, c.ok(w.EXISTS, w.read(path)).ephemeralOwner, sid)
        expect("ephemerals", sorted(p.decode() for p in c.ok(w.GET_EPHEMERALS, w.buf("/owned"))),
               sorted(paths))
        c.close()
    c = w.session(port)
    for path in [p for s in sessions for p in s[2]]:
        expect(path + " is gone", c.ask(w.EXISTS, w.read(path))[0], w.NO_NODE)
    c.close()


def no_digest_differs(server):
    if server.kind == "apache":
        lines = dict(line.split("\t")[:2] for line in
                     four_letter(server.port, "mntr").decode().splitlines() if "\t" in line)
        expect("digests that differ", float(lines["zk_digest_mismatches_count"]), 0.0)


def snapshot_taken(server):
    return glob.glob(server.data + "/version-2/paddock.snapshot.*[0-9a-f]")


def fresh(name="data"):
    return os.path.join(tempfile.mkdtemp(prefix="e2e-tools-", dir=SCRATCH), name)


def fill(server, part=1):
    """Part 1: everything; part 2: what a server that took over gets on top."""
    c = w.session(server.port, LONG)
    if part == 1:
        make_kinds(c)
        make_changes(c)
        make_many(c, "/many", MANY)
    else:
        c.ok(w.AUTH, w.auth("digest", "super:secret"))
        make_many(c, "/more", 300)
        for i in range(50):
            c.ok(w.DELETE, w.path_version("/many/node-%06d" % i))
            c.ok(w.SET_DATA, w.set_data("/many/node-%06d" % (i + 50), b"changed", 0))
        c.ok(w.SET_ACL, w.set_acl("/kinds/mine", w.OPEN_ACL, 0))
        c.ok(w.CREATE, w.create("/kinds/seq-", b"s", flags=2))
    return c


def there_and_back(conf):
    """Paddock, exported, Apache, written on, imported, Paddock again."""
    with on("paddock", conf=conf) as first:
        c = fill(first)
        sessions = make_sessions(first.port)
        if conf:
            wait_until("a snapshot", lambda: snapshot_taken(first))
            sessions += make_sessions(first.port)
        mine = [(c.sid, c.passwd, [])]
        c.drop()
        wanted = tree(first.port)
        expect("exit of paddockd", first.stop(), 0)
        out = fresh()
        text = tool(0, "export", first.data, out)
        expect("the warning of nodes with a time to live", "nodes with a time to live" in text, True)
        files = sorted(n.split(".")[0] for n in os.listdir(out + "/version-2"))
        expect("files", files, ["log", "snapshot"])
    with on("apache", out) as second:
        same_tree(second.port, wanted)
        no_digest_differs(second)
        resume(second.port, sessions)
        fill(second, 2).drop()
        sessions = make_sessions(second.port)
        wanted = tree(second.port)
        no_digest_differs(second)
        second.stop()
    back = fresh()
    tool(0, "import", out, back)
    tool(0, "check", back)
    with on("paddock", back) as third:
        same_tree(third.port, wanted)
        resume(third.port, sessions + mine)
        fresh_node(third.port)
        third.stop()
    tool(0, "check", back)


def fresh_node(port):
    c = w.session(port)
    c.ok(w.CREATE, w.create("/fresh", b"f"))
    c.close()


def test_a_log_alone_there_and_back():
    there_and_back({})


def test_a_snapshot_and_the_log_behind_it_there_and_back():
    there_and_back({"snapCount": 60})


def test_the_same_zoo_cfg_and_the_client_does_not_notice():
    """Apache is stopped, Paddock started on its zoo.cfg; a client lives through it."""
    lost = threading.Event()
    with on("apache") as apache:
        c = fill(apache)
        sessions = make_sessions(apache.port) + [(c.sid, c.passwd, [])]
        c.drop()
        client = KazooClient(apache.address, timeout=60, connection_retry={
            "max_tries": -1, "delay": 0.05, "backoff": 1, "max_delay": 0.2})
        client.add_listener(lambda state: lost.set() if state == KazooState.LOST else None)
        client.start()
        try:
            client.create("/lives", b"here", ephemeral=True)
            wanted = tree(apache.port)
            client_lives(client, apache, wanted, sessions)
            expect("lost", lost.is_set(), False)
        finally:
            client.stop()
            client.close()


def client_lives(client, apache, wanted, sessions):
    identity, seen = client.client_id, []
    client.DataWatch("/kinds/watched", lambda data, stat: seen.append(data))
    apache.stop()
    with on("paddock", apache.data, apache.port) as paddock:
        wait_until("the client is back", lambda: client.connected)
        expect("session", client.client_id, identity)
        expect("its ephemeral", client.get("/lives")[1].ephemeralOwner, identity[0])
        same_tree(paddock.port, wanted)
        client.create("/kinds/watched", b"w")
        wait_until("the watch fires", lambda: b"w" in seen)
        resume(paddock.port, sessions)


def move(data, pattern, to):
    os.makedirs(to, exist_ok=True)
    for path in glob.glob(os.path.join(data, "version-2", pattern)):
        os.rename(path, os.path.join(to, os.path.basename(path)))


def nodes_of(kind, data, make=None):
    """Start a server there, make a node, stop it: the nodes that it has."""
    with on(kind, data) as s:
        c = w.session(s.port)
        if make:
            c.ok(w.CREATE, w.create(make))
        found = sorted(n.decode() for n in c.ok(w.GET_CHILDREN, w.read("/")))
        c.close()
        expect("exit of " + kind, s.stop() in (0, 143), True)
    return [n for n in found if n != "zookeeper"]


def test_a_zookeeper_that_ran_on_its_old_files_is_noticed():
    data, aside = fresh(), fresh("aside")
    nodes_of("apache", data, "/common")
    expect("imported", nodes_of("paddock", data, "/ours"), ["common", "ours"])
    expect("again", nodes_of("paddock", data), ["common", "ours"])
    expect("old files", nodes_of("apache", data, "/theirs"), ["common", "theirs"])
    both = on("paddock", data).start(wait=False)
    expect("exit status", both.process.wait(30), 3)
    expect("what to do is told", "ZooKeeper has run on this directory since. To go on with its "
           "state, move all paddock.* away" in both.log_tail(), True)
    move(data, "[ls]*", aside)
    expect("ours", nodes_of("paddock", data), ["common", "ours"])
    move(data, "paddock.*", fresh("ours"))
    for name in os.listdir(aside):
        os.rename(os.path.join(aside, name), os.path.join(data, "version-2", name))
    expect("theirs", nodes_of("paddock", data), ["common", "theirs"])
    expect("and still", nodes_of("paddock", data), ["common", "theirs"])


def contents(directory):
    out = {}
    for path in glob.glob(directory + "/**", recursive=True):
        if os.path.isfile(path) and not path.endswith("paddock.lock"):
            with open(path, "rb") as f:
                out[path] = hashlib.sha1(f.read()).hexdigest()
    return out


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 4]))


def test_what_check_log_and_snapshot_say():
    with on("paddock", conf={"snapCount": 60}) as s:
        fill(s).close()
        wait_until("a snapshot", lambda: snapshot_taken(s))
        for command in (["check", s.data], ["log", s.data], ["export", s.data, fresh()]):
            expect("a server that runs is named", "in use by process" in tool(3, *command), True)
        s.stop()
        before = contents(s.data)
        text = tool(0, "check", s.data)
        expect("what is good", set(line.split()[0] for line in text.splitlines()), {"good"})
        lines = tool(0, "log", s.data).splitlines()
        zxids = [int(line.split()[0], 16) for line in lines]
        expect("zxids", zxids, list(range(1, len(zxids) + 1)))
        for part in ("createSession timeout=%d" % LONG, "closeSession ephemerals=",
                     "multi [create path=/multi data=0; create path=/multi/a data=1; setData ",
                     "error code=-110 NODEEXISTS", r"path=/kinds/a\x20b\x5c\xc3\xa9\xe7\x8c\xab",
                     "createTTL path=/kinds/ttl data=1 ttl=3600000",
                     "create path=/kinds/null data=null", " ephemeral", "createContainer path="):
            expect(part, any(part in line for line in lines), True)
        snapshot = max(snapshot_taken(s))
        summary = tool(0, "snapshot", snapshot)
        nodes = tool(0, "snapshot", "--nodes", snapshot).splitlines()
        expect("nodes in " + summary, sum(line.startswith("/") for line in nodes),
               int(summary.split("nodes=")[1].split()[0]))
        expect("nothing was changed", contents(s.data), before)
        damaged_files_are_named(s.data, snapshot)


def damaged_files_are_named(data, snapshot):
    logs = sorted(glob.glob(data + "/version-2/paddock.log.*[0-9a-f]"))
    flip(snapshot, os.path.getsize(snapshot) // 2)
    text = tool(1, "check", data)
    expect("the snapshot", "BAD  " + os.path.basename(snapshot) in text, True)
    tool(1, "snapshot", snapshot)
    flip(snapshot, os.path.getsize(snapshot) // 2)
    tool(0, "check", data)
    flip(logs[0], 4096 + 100)
    before = contents(data)
    text = tool(1, "check", data)
    expect("the segment", "BAD  " + os.path.basename(logs[0]) in text, True)
    tool(1, "log", data)
    expect("nothing was changed", contents(data), before)


def test_arguments_and_targets():
    expect("help", "paddock export DIR [LOGDIR] ZKDIR" in tool(0, "--help"), True)
    tool(0, "--version")
    for args in ([], ["nope"], ["import", "a"], ["export", "a", "b", "c", "d"], ["log"],
                 ["snapshot", "/etc/passwd"], ["snapshot", "--all", "x"]):
        tool(2, *args)
    tool(3, "check", "/nonexistent")
    with on("apache") as s:
        fresh_node(s.port)
        s.stop()
        full = fresh()
        os.makedirs(full)
        with open(os.path.join(full, "file"), "w", encoding="ascii") as f:
            f.write("x")
        expect("a full target", "is not empty" in tool(3, "import", s.data, full), True)
        tool(1, "export", s.data, s.data, fresh())      # ZooKeeper's alone
        for promise in ("acceptedEpoch", "currentEpoch"):
            with open(os.path.join(s.data, "version-2", promise), "w", encoding="ascii") as f:
                f.write("7")
        logs = tempfile.mkdtemp(prefix="e2e-tools-", dir=SCRATCH)
        os.makedirs(logs + "/version-2")
        for path in glob.glob(s.data + "/version-2/log.*"):
            shutil.move(path, logs + "/version-2")
        expect("a log elsewhere", "name it" in tool(3, "import", s.data, fresh()), True)
        out = fresh()
        tool(0, "import", s.data, logs, out)
        tool(3, "import", s.data, logs, out)
        for promise in ("acceptedEpoch", "currentEpoch"):
            with open(os.path.join(out, "version-2", promise), encoding="ascii") as f:
                expect(promise, f.read(), "7")
    with on("paddock", out) as s:
        c = w.session(s.port)
        expect("what the log had", c.ok(w.GET_DATA, w.read("/fresh"))[0], b"f")


def main():
    passed = failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_") or (sys.argv[1:] and not any(a in name
                                                                    for a in sys.argv[1:])):
            continue
        try:
            test()
            passed += 1
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print("FAILED %s\n%s" % (name, traceback.format_exc()), flush=True)
    print("RESULT %d %d" % (passed, failed))
    end_all()
    return 1 if failed else 0


SCRATCH = tempfile.mkdtemp(prefix="e2e-tools-")
if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        shutil.rmtree(SCRATCH, True)

#!/usr/bin/python3
"""Sessions, watches, identities and multis: what a comparison with 3.8.0 can't show.

Where the answer is that of 3.9, the test is for Paddock only; the others hold for both.
"""
import re
import struct
import sys
import time

import wire as w
from cases import expect, paddock_only, run, within
from server import Server, four_letter, wait_until

CONF = {"tickTime": 200, "maxSessionTimeout": 60000, "extendedTypesEnabled": "true",
        "enforceQuota": "true", "znode.container.checkIntervalMs": 300,
        "DigestAuthenticationProvider.superDigest": "super:lK75jTNcA+U9vtVEw5vB51mj/w4="}


def fresh(server, path="/t"):
    """A session and an empty directory of its own."""
    c = w.session(server.port, 30000)
    remove(c, path)
    c.ok(w.CREATE, w.create(path))
    return c


def remove(c, path):
    err, body = c.ask(w.GET_CHILDREN, w.read(path))
    if err == 0:
        for name in body[0]:
            remove(c, "%s/%s" % (path, name.decode()))
        c.ask(w.DELETE, w.path_version(path))


def events(c):
    """What has come by now: (type, path); a ping brings all that is older than its answer."""
    c.call(w.PING)
    got, c.events = [(e[1], e[3].decode()) for e in c.events], []
    return got


# --- the handshake, sessions

def test_the_recorded_frames(server):
    """Bytes of a 3.9 server, times and session id apart; notification zxids only for Paddock."""
    with Server(kind=server.kind) as s:
        c = w.Conn(s.port)
        for sent, wanted in (
                ("0000002d00000000000000000000000000002710000000000000000000000010" + "00" * 17,
                 "0000002500000000000027100.{15}00000010.{32}00"),
                ("000000330000000100000001000000022f61000000026869000000010000001f00000005776f726c"
                 "6400000006616e796f6e6500000000",
                 "0000001600000001000000000000000200000000000000022f61"),
                ("0000000f0000000200000004000000022f6101",
                 "0000005a0000000200000000000000020000000000000002686900000000000000020000000000000002"
                 ".{32}00000000000000000000000000000000000000000000000200000000"
                 "0000000000000002"),
                ("000000160000000300000005000000022f6100000000ffffffff",
                 "0000001effffffff(0000000000000003|f{16})000000000000000300000003000000022f61"
                 "0000005400000003000000000000000300000000000000000000000200000000"
                 "00000003.{32}0000000100000000000000000000000000000000000000000000"
                 "00000000000000000002"),
                ("000000100000000400000003000000032f6e6f00",
                 "00000010000000040000000000000003ffffff9b"),
                ("00000008fffffffe0000000b", "00000010fffffffe000000000000000300000000"),
                ("00000037000000050000000e0000000d00ffffffff000000022f61000000090000000200ffffffff"
                 "000000022f61ffffffffffffffff01ffffffff",
                 "0000003300000005000000000000000400000000ffffffff00ffffff99ffffff99ffffffff00"
                 "fffffffefffffffeffffffff01ffffffff"),
                ("0000000800000006fffffff5", "00000010000000060000000000000005" + "0" * 8)):
            c.send_raw(bytes.fromhex(sent))
            got = ""
            while len(got) // 2 < len(re.sub(r"\(.*?\)", "0" * 16, wanted)
                                      .replace(".{32}", "0" * 32).replace("0.{15}", "0" * 16)) // 2:
                frame = c.frame()
                got += w.i32(len(frame)).hex() + frame.hex()
            if not re.fullmatch(wanted, got):
                raise AssertionError("sent %s\ngot    %s\nwanted %s" % (sent, got, wanted))
        expect("closed", c.closed(), True)


def test_a_password_belongs_to_its_session_id(server):
    c = w.session(server.port)
    s = (c.sid ^ 0xB3415C00 ^ 0x5DEECE66D) & (2**48 - 1)
    wanted = b""
    for _ in range(4):
        s = (s * 0x5DEECE66D + 0xB) & (2**48 - 1)
        wanted += struct.pack("<I", (s >> 16) & 0xFFFFFFFF)
    expect("password", c.passwd.hex(), wanted.hex())
    c.close()


def test_a_refused_resume_answers_zeros_and_closes(server):
    c = w.session(server.port)
    for sid, passwd in ((c.sid, bytes(16)), (c.sid, None), (c.sid, c.passwd[:8]),
                        (c.sid, c.passwd + b"x"), (c.sid + 1000, c.passwd), (-1, bytes(16))):
        other = w.Conn(server.port)
        expect("answer", other.handshake(10000, sid, passwd), (0, 0, bytes(16)))
        expect("closed", other.closed(), True)
    again = w.Conn(server.port)
    expect("the session lives", again.handshake(10000, c.sid, c.passwd)[1], c.sid)
    again.close()
    late = w.Conn(server.port)
    expect("closed for good", late.handshake(10000, c.sid, c.passwd), (0, 0, bytes(16)))


def test_a_client_that_has_seen_more_than_the_server_is_turned_away(server):
    c = w.session(server.port)
    c.call(w.PING)
    ahead = w.Conn(server.port)
    ahead.send_frame(w.connect_request(zxid=c.zxid + 1000))
    expect("closed without a word", ahead.closed(), True)
    even = w.Conn(server.port)
    expect("the same zxid is fine", even.handshake(10000, zxid=c.zxid)[0], 10000)
    even.close()
    expect("nobody else noticed", c.call(w.PING).err, 0)
    c.close()


def test_resume_takes_the_session_over(server):
    c = w.session(server.port, 10000)
    c.ok(w.GET_DATA, w.read("/", True))
    c.call(w.AUTH, w.auth("digest", b"u:p"))
    other = w.Conn(server.port)
    expect("resumed", other.handshake(20000, c.sid, c.passwd), (20000, c.sid, c.passwd))
    expect("the old connection closed", c.closed(), True)
    expect("identities stay behind", other.ok(w.WHO_AM_I), [(b"ip", b"127.0.0.1")])
    other.ok(w.SET_DATA, w.set_data("/", b""))
    expect("watches stay behind", events(other), [])
    other.close()


def test_expiry_takes_ephemerals_and_spares_the_living(server):
    c = fresh(server)
    victim, alive = w.session(server.port, 400), w.session(server.port, 2000)
    for s, name in ((victim, "/t/v"), (alive, "/t/a")):
        s.ok(w.CREATE, w.create(name, flags=1))
    c.ask(w.EXISTS, w.read("/t/v", True))
    began = time.monotonic()
    while not c.events:
        alive.call(w.PING)
        c.call(w.PING)
    took = time.monotonic() - began
    expect("deleted", c.events[0][1:], (w.DELETED, 3, b"/t/v"))
    expect("closed without a word", victim.closed(), True)
    while time.monotonic() - began < 3:     # half as long again as its timeout
        alive.call(w.PING)
        time.sleep(0.1)
    expect("a session that is heard of lives", c.ask(w.EXISTS, w.read("/t/a"))[0], 0)
    for s in (alive, c):
        s.close()
    within("400 ms and at most two ticks", took, 1.5, 0.39)


def test_sessions_and_ephemerals_outlive_a_restart(server):
    with Server(kind=server.kind, conf=dict(CONF, tickTime=500)) as s:
        c, short = w.session(s.port, 30000), w.session(s.port, 1000)
        c.ok(w.CREATE, w.create("/kept", flags=1))
        short.ok(w.CREATE, w.create("/lost", flags=1))
        s.restart(hard=True)
        again = w.Conn(s.port)
        expect("resumed", again.handshake(30000, c.sid, c.passwd)[1], c.sid)
        expect("its ephemeral", again.ok(w.EXISTS, w.read("/kept")).ephemeralOwner, c.sid)
        wait_until("the one that stayed away expired",
                   lambda: again.ask(w.EXISTS, w.read("/lost"))[0] == w.NO_NODE, 10)
        again.close()


def test_close_deletes_ephemerals_before_the_reply(server):
    c, other = fresh(server), w.session(server.port)
    other.ok(w.CREATE, w.create("/t/e", flags=1))
    c.ok(w.ADD_WATCH, w.path_int("/t", 1))
    other.send(w.CLOSE_SESSION, b"ignored")
    other.send(w.CREATE, w.create("/t/late"))
    expect("the reply", other.recv().err, 0)
    expect("nothing behind it is answered", other.closed(), True)
    expect("events", events(c), [(w.DELETED, "/t/e")])
    expect("nothing behind it is done", c.ok(w.GET_CHILDREN, w.read("/t")), [])
    c.close()


# --- order on a connection

def test_a_pipeline_is_answered_in_order_and_reads_see_what_was_written_before(server):
    c = fresh(server)
    n = 300
    for i in range(n):
        c.send(w.SET_DATA, w.set_data("/t", b"%d" % i))
        c.send(w.GET_DATA, w.read("/t"))
        c.send(w.PING)
    last = 0
    for i in range(n):
        stat = c.reply().body(w.SET_DATA)[0]
        expect("version", stat.version, i + 1)
        r = c.reply()
        expect("the read between two writes", r.body(w.GET_DATA)[0], b"%d" % i)
        expect("zxid of the read", r.zxid, stat.mzxid)
        expect("ping", c.reply().xid, -2)
        expect("grows", stat.mzxid > last, True)
        last = stat.mzxid
    c.close()


def test_auth_counts_from_its_place_in_the_pipeline(server):
    c = fresh(server)
    c.ok(w.CREATE, w.create("/t/p", b"", [(31, "digest", "u:GrBpMgWJzFgD7kA1l5+xM/vNnlU=")]))
    c.send(w.AUTH, w.auth("digest", b"x:y"), -4)
    c.send(w.WHO_AM_I)
    replies = {c.reply().xid: None for _ in range(2)}
    expect("both answered", sorted(replies), [-4, c.xid])
    c.send(w.CREATE, w.create("/t/q", b"", [(31, "auth", "")]))
    expect("auth: is x", c.reply().err, 0)
    expect("acl", c.ok(w.GET_ACL, w.buf("/t/q"))[0][0][2].split(b":")[0], b"x")
    remove_all_allowed(server)


def remove_all_allowed(server):
    c = w.session(server.port)
    c.call(w.AUTH, w.auth("digest", b"super:secret"))
    remove(c, "/t")
    c.close()


def test_special_xids_are_echoed(server):
    c = w.session(server.port)
    for xid in (0, -1, -2, -3, -4, -8, 2**31 - 1, -2**31, 5, 5):
        c.send(w.GET_DATA, w.read("/"), xid)
        expect("xid", c.recv().xid, xid)
    c.send(w.PING, xid=77)
    expect("a ping always -2", c.recv().xid, -2)
    c.close()


# --- watches

@paddock_only
def test_notifications_carry_the_zxid_of_their_transaction(server):
    c, other = fresh(server), w.session(server.port)
    c.ok(w.ADD_WATCH, w.path_int("/t", 1))
    for i in range(3):
        r = other.call(w.CREATE, w.create("/t/%d" % i))
        event = c.recv()
        expect("zxid", (event.xid, event.zxid), (-1, r.zxid))
    c.close()
    other.close()


@paddock_only
def test_kinds_of_watches_stand_side_by_side(server):
    c = fresh(server)
    c.ok(w.ADD_WATCH, w.path_int("/t", 0))
    c.ok(w.ADD_WATCH, w.path_int("/t", 1))
    c.ok(w.GET_DATA, w.read("/t", True))
    c.ok(w.CREATE, w.create("/t/c"))
    expect("both see a child come", events(c), [(w.CREATED, "/t/c"), (w.CHILDREN, "/t")])
    c.ok(w.SET_DATA, w.set_data("/t", b"x"))
    expect("one event for three watches", events(c), [(w.CHANGED, "/t")])
    for kind, wanted in ((2, w.NO_WATCHER), (1, w.NO_WATCHER), (4, 0), (4, w.NO_WATCHER)):
        for op in ((w.CHECK_WATCHES, w.REMOVE_WATCHES)):
            expect("%s %d" % (w.NAMES[op], kind), c.ask(op, w.path_int("/t", kind))[0], wanted)
    c.ok(w.DELETE, w.path_version("/t/c"))
    expect("the recursive one is left", events(c), [(w.DELETED, "/t/c")])
    expect("any", c.ask(w.REMOVE_WATCHES, w.path_int("/t", 3))[0], 0)
    expect("none left", c.ask(w.CHECK_WATCHES, w.path_int("/t", 3))[0], w.NO_WATCHER)
    c.close()


@paddock_only
def test_check_watches_sees_only_its_own_connection(server):
    c, other = fresh(server), w.session(server.port)
    other.ok(w.GET_DATA, w.read("/t", True))
    expect("mine", c.ask(w.CHECK_WATCHES, w.path_int("/t", 2))[0], w.NO_WATCHER)
    expect("theirs", other.ask(w.CHECK_WATCHES, w.path_int("/t", 2))[0], 0)
    expect("bad type", c.ask(w.CHECK_WATCHES, w.path_int("/t", 6))[0], w.MARSHALLING)
    c.close()
    other.close()


@paddock_only
def test_exists_needs_read_where_there_is_a_node(server):
    c = fresh(server)
    c.ok(w.CREATE, w.create("/t/p", b"", [(30, "world", "anyone")]))
    expect("exists", c.ask(w.EXISTS, w.read("/t/p", True))[0], w.NO_AUTH)
    c.ok(w.SET_ACL, w.set_acl("/t/p", w.OPEN_ACL))
    c.ok(w.SET_DATA, w.set_data("/t/p", b"x"))
    expect("no watch was left", events(c), [])
    c.close()


def test_events_are_filtered_by_read_and_one_shot_watches_used_up(server):
    c, other = fresh(server), w.session(server.port)
    c.ok(w.CREATE, w.create("/t/p", b""))
    other.ok(w.GET_DATA, w.read("/t/p", True))
    other.ok(w.ADD_WATCH, w.path_int("/t", 1))
    c.ok(w.SET_ACL, w.set_acl("/t/p", [(30, "world", "anyone")]))
    c.ok(w.SET_DATA, w.set_data("/t/p", b"secret"))
    expect("hidden", events(other), [])
    c.ok(w.SET_ACL, w.set_acl("/t/p", w.OPEN_ACL))
    c.ok(w.SET_DATA, w.set_data("/t/p", b"open"))
    expect("only the recursive watch is left", events(other), [(w.CHANGED, "/t/p")])
    c.ok(w.CREATE, w.create("/t/q", b"", [(30, "world", "anyone")]))
    c.ok(w.DELETE, w.path_version("/t/q"))
    expect("hidden from birth", events(other), [])
    for s in (c, other):
        s.close()


def test_a_multi_fires_in_its_order_with_one_zxid(server):
    c, other = fresh(server), w.session(server.port)
    other.ok(w.ADD_WATCH, w.path_int("/t", 1))
    other.ok(w.GET_CHILDREN, w.read("/t", True))
    r = c.call(w.MULTI, w.multi([(w.CREATE, w.create("/t/a")), (w.SET_DATA, w.set_data("/t/a", b"")),
                                 (w.CREATE, w.create("/t/b")), (w.DELETE, w.path_version("/t/a"))]))
    other.call(w.PING)
    expect("events", [(e[1], e[3]) for e in other.events],
           [(w.CREATED, b"/t/a"), (w.CHILDREN, b"/t"), (w.CHANGED, b"/t/a"),
            (w.CREATED, b"/t/b"), (w.DELETED, b"/t/a")])
    if server.kind == "paddock":
        expect("zxids", {e[0] for e in other.events}, {r.zxid})
    c.close()
    other.close()


def test_set_watches_fires_what_was_missed(server):
    c = fresh(server)
    for name in "abc":
        c.ok(w.CREATE, w.create("/t/" + name))
    seen = c.zxid
    c.ok(w.SET_DATA, w.set_data("/t/a", b"1"))
    c.ok(w.DELETE, w.path_version("/t/b"))
    other = w.session(server.port)
    other.call(w.SET_WATCHES, w.set_watches(seen, ["/t/a", "/t/b", "/t/c"], ["/t/c", "/t/b"],
                                            ["/t", "/t/c"]))
    expect("events", [(e[0], e[1], e[3]) for e in other.events],
           [(-1, w.CHANGED, b"/t/a"), (-1, w.DELETED, b"/t/b"), (-1, w.CREATED, b"/t/c"),
            (-1, w.CHILDREN, b"/t")])
    other.events = []
    c.ok(w.SET_DATA, w.set_data("/t/c", b""))
    c.ok(w.CREATE, w.create("/t/b"))
    c.ok(w.CREATE, w.create("/t/c/d"))
    expect("registered", events(other), [(w.CHANGED, "/t/c"), (w.CREATED, "/t/b"),
                                         (w.CHILDREN, "/t/c")])
    c.close()
    other.close()


# --- multi

@paddock_only
def test_results_of_every_kind_in_a_multi(server):
    c = fresh(server)
    results = c.ask(w.MULTI, w.multi([
        (w.CREATE, w.create("/t/a")), (w.CREATE2, w.create("/t/b", b"12")),
        (w.CREATE_CONTAINER, w.create("/t/c", flags=4)), (w.CREATE_TTL, w.create_ttl("/t/d")),
        (w.CREATE, w.create("/t/e", flags=4)), (w.CREATE_TTL, w.create_ttl("/t/f", flags=0)),
        (w.SET_DATA, w.set_data("/t/a", b"x")), (w.CHECK, w.path_version("/t/a", 1)),
        (w.DELETE, w.path_version("/t/a"))]))[1]
    expect("kinds", [r[0] for r in results[:-1]],
           ["create", "create2", "create2", "create2", "create2", "create", "set_data", "check",
            "delete"])
    expect("Stat of a create2", (results[1][3].dataLength, results[1][3].czxid), (2, c.zxid))
    c.close()


@paddock_only
def test_a_multi_that_does_not_decode_is_refused_whole(server):
    c = fresh(server)
    good = (w.CREATE, w.create("/t/a"))
    for bad in ((w.CREATE, w.create("/t/b", flags=7)), (w.CREATE2, w.create("/t/b", flags=5)),
                (w.CREATE, w.create("/t/b", acls=None)), (w.SET_ACL, w.set_acl("/t", w.OPEN_ACL)),
                (w.GET_DATA, w.read("/t")), (w.MULTI, w.multi([])), (w.CREATE, w.create(None)),
                (w.CREATE, w.create("/t/b", acls=[(31, "world", None)])),
                (w.DELETE_CONTAINER, w.buf("/t"))):
        before = c.zxid
        r = c.call(w.MULTI, w.multi([good, bad]))
        expect("%r" % (bad,), (r.err, r.raw, r.zxid), (w.MARSHALLING, b"", before + 1))
        expect("nothing of it done", c.ok(w.GET_CHILDREN, w.read("/t")), [])
    expect("the next write", c.call(*good).zxid, before + 2)
    c.close()


def test_multi_read_answers_each_alone(server):
    c = fresh(server)
    c.ok(w.CREATE, w.create("/t/a", b"1"))
    err, results = c.ask(w.MULTI_READ, w.multi([
        (w.GET_DATA, w.read("/t/a", True)), (w.GET_DATA, w.read("/t/none")),
        (w.GET_CHILDREN, w.read("/t"))]))
    expect("results", (err, results[0][2], results[1], results[2][2]),
           (0, b"1", ("error", w.NO_NODE, w.NO_NODE), [b"a"]))
    c.ok(w.SET_DATA, w.set_data("/t/a", b"2"))
    expect("no watch from it", events(c), [])
    for bad in ([(w.GET_DATA, w.read("/t")), (w.DELETE, w.path_version("/t"))],
                [(w.EXISTS, w.read("/t"))]):
        expect("others", c.call(w.MULTI_READ, w.multi(bad)).err, w.MARSHALLING)
    c.close()


# --- nodes, ACLs, quotas

def test_containers_and_ttl_nodes_go_by_themselves(server):
    c = fresh(server)
    c.ok(w.CREATE_CONTAINER, w.create("/t/never", flags=4))
    c.ok(w.CREATE_CONTAINER, w.create("/t/used", flags=4))
    c.ok(w.CREATE_TTL, w.create_ttl("/t/ttl", ttl=500))
    c.ok(w.CREATE_TTL, w.create_ttl("/t/long", ttl=10**9))
    c.ok(w.CREATE, w.create("/t/plain", flags=4))
    for parent in ("/t/used", "/t/plain"):
        c.ok(w.CREATE, w.create(parent + "/child"))
        c.ok(w.DELETE, w.path_version(parent + "/child"))
    c.ask(w.EXISTS, w.read("/t/used", True))
    for path in ("/t/used", "/t/ttl"):
        wait_until(path + " gone", lambda p=path: c.ask(w.EXISTS, w.read(p))[0] == w.NO_NODE, 20)
    expect("with an event", [(e[1], e[3]) for e in c.events], [(w.DELETED, b"/t/used")])
    expect("the others stay", sorted(c.ok(w.GET_CHILDREN, w.read("/t"))),
           [b"long", b"never", b"plain"])
    c.close()


@paddock_only
def test_ip_lists_know_version_6(server):
    c = fresh(server)
    for i, (ident, wanted) in enumerate((("::1", 0), ("::1/128", 0), ("1:2::3/64", 0),
                                         ("1::2::3", w.INVALID_ACL), ("::1/129", w.INVALID_ACL),
                                         ("::ffff:1.2.3.4", w.INVALID_ACL))):
        err = c.ask(w.CREATE, w.create("/t/%d" % i, acls=[(31, "ip", ident)]))[0]
        expect(ident, err, wanted)
    remove_all_allowed(server)


def test_lists_keep_their_order_without_repeats(server):
    c = fresh(server)
    c.call(w.AUTH, w.auth("digest", b"me:pw"))
    given = [(1, "ip", "10.0.0.1"), (31, "digest", "a:b"), (1, "ip", "10.0.0.1"),
             (2, "world", "anyone"), (31, "auth", "x"), (31, "ip", "127.0.0.1")]
    c.ok(w.CREATE, w.create("/t/l", acls=given))
    got = [(p, s.decode(), i.decode()) for p, s, i in c.ok(w.GET_ACL, w.buf("/t/l"))[0]]
    expect("list", got[:3] + got[4:], [given[0], given[1], given[3], given[5]])
    expect("auth is me", got[3][:2] + (got[3][2].split(":")[0],), (31, "digest", "me"))
    other = w.session(server.port)
    other.call(w.AUTH, w.auth("digest", b"no:body"))
    masked = other.ok(w.GET_ACL, w.buf("/t/l"))[0]
    expect("unmasked: ip may administer", masked[1][2], b"a:b")
    c.ok(w.SET_ACL, w.set_acl("/t/l", [(31, "digest", "a:b"), (1, "world", "anyone")]))
    expect("masked", other.ok(w.GET_ACL, w.buf("/t/l"))[0][0][2], b"a:x")
    other.close()
    remove_all_allowed(server)


def test_hard_quotas_refuse(server):
    c = fresh(server)
    quota = "/zookeeper/quota/t"
    c.ask(w.CREATE, w.create(quota))
    c.ok(w.CREATE, w.create(quota + "/zookeeper_limits",
                            b"count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=3"))
    c.ok(w.CREATE, w.create(quota + "/zookeeper_stats", b"anything"))
    try:
        expect("counted", c.ok(w.GET_DATA, w.read(quota + "/zookeeper_stats"))[0],
               b"count=1,bytes=0")
        c.ok(w.CREATE, w.create("/t/a", b"12345"))
        expect("bytes", c.ask(w.CREATE, w.create("/t/b", b"123456"))[0], w.QUOTA_EXCEEDED)
        expect("growth", c.ask(w.SET_DATA, w.set_data("/t/a", b"12345678901"))[0],
               w.QUOTA_EXCEEDED)
        c.ok(w.CREATE, w.create("/t/b", b""))
        expect("count", c.ask(w.CREATE, w.create("/t/c", b""))[0], w.QUOTA_EXCEEDED)
        expect("kept up", c.ok(w.GET_DATA, w.read(quota + "/zookeeper_stats"))[0],
               b"count=3,bytes=5")
    finally:
        remove(c, quota)
    c.ok(w.CREATE, w.create("/t/c", b"1234567890"))
    c.close()


def test_numbers_of_the_empty_tree(server):
    with Server(kind=server.kind) as s:
        c = w.session(s.port)
        for path, cversion, children in (("/", -1, 1), ("/zookeeper", -2, 2)):
            data, stat = c.ok(w.GET_DATA, w.read(path))
            expect(path, (data, stat.cversion, stat.numChildren, stat.czxid, stat.ctime),
                   (b"", cversion, children, 0, 0))
        stat = c.ok(w.GET_DATA, w.read("/zookeeper/config"))[1]
        expect("config", (stat.version, stat.aversion), (0, -1))
        expect("all", c.ok(w.GET_ALL_CHILDREN_NUMBER, w.buf("/")), 3)
        expect("count", b"Node count: 5\n" in four_letter(s.port, "srvr"), True)
        expect("the first transaction was the session", c.zxid, 1)
        c.close()


if __name__ == "__main__":
    sys.exit(run(globals(), CONF))

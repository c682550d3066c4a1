#!/usr/bin/python3
"""Malformed and hostile input: each reaction as documented, and nobody else notices."""
import os
import selectors
import socket
import struct
import sys
import time

import wire as w
from cases import expect, paddock_only, run, within
from server import VARIANT, Server, four_letter, wait_until

CONF = {"extendedTypesEnabled": "true", "enforceQuota": "true", "tickTime": 500,
        "maxSessionTimeout": 60000}


def frame(payload):
    return w.i32(len(payload)) + payload


def request(op, body=b"", xid=1):
    return frame(struct.pack(">ii", xid, op) + body)


def closes_on_connect(server, data):
    c = w.Conn(server.port, 5)
    try:
        c.send_raw(data)
    except w.Closed:
        return
    expect("closed without a word after %s" % data[:40].hex(), c.closed(), True)


def closes_in_session(server, data):
    c = w.session(server.port)
    sid, passwd = c.sid, c.passwd
    c.sock.settimeout(5)
    try:
        c.send_raw(data)
    except w.Closed:
        pass
    expect("closed without a word after %s" % data[:40].hex(), c.closed(), True)
    again = w.Conn(server.port)
    expect("the session lives", again.handshake(10000, sid, passwd)[1], sid)
    again.close()


def test_bad_lengths_before_the_handshake(server):
    for length in (-1, -2**31, w.MAX_BUFFER + 1, 2**31 - 1, 0, 1, 27):
        closes_on_connect(server, w.i32(length) + bytes(max(0, min(length, 27))))


def test_other_protocols_at_the_door(server):
    closes_on_connect(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    closes_on_connect(server, bytes.fromhex("160301010001000100"))
    closes_on_connect(server, b"SSH-2.0-x\r\n")


def test_a_handshake_cut_anywhere_before_its_password_ends_closes(server):
    whole = w.connect_request(read_only=None)
    for n in range(len(whole)):
        closes_on_connect(server, frame(whole[:n]))


def test_impossible_password_lengths_close(server):
    head = w.connect_request(read_only=None)[:-20]
    for n in (-2, 17, 2**31 - 1, -2**31):
        closes_on_connect(server, frame(head + w.i32(n) + bytes(16)))


def test_a_request_instead_of_a_handshake_closes(server):
    closes_on_connect(server, request(w.GET_DATA, w.read("/")))


def test_odd_but_legal_handshakes_open_a_session(server):
    for payload, with_byte in ((w.connect_request(passwd=None), True),
                               (w.connect_request(passwd=b""), True),
                               (w.connect_request(passwd=b"x" * 40), True),
                               (w.connect_request(read_only=None), False),
                               (w.connect_request(version=77), True),
                               (w.connect_request(read_only=True), True),
                               (w.connect_request(zxid=-5), True),
                               (w.connect_request() + b"more", True)):
        c = w.Conn(server.port)
        c.send_frame(payload)
        expect("timeout for %s" % payload.hex(), c.connect_response(with_byte)[0], 10000)
        c.close()


def test_a_handshake_in_single_bytes_and_a_pipeline_behind_it(server):
    c = w.Conn(server.port)
    for b in frame(w.connect_request()) + request(w.PING, xid=-2) + request(w.GET_DATA,
                                                                            w.read("/")):
        c.send_raw(bytes([b]))
    c.connect_response()
    expect("ping", c.recv().xid, -2)
    expect("read", c.recv().err, 0)
    c.close()


def test_bad_lengths_in_a_session_close(server):
    for length in (-1, -2**31, w.MAX_BUFFER + 1, 2**31 - 1):
        closes_in_session(server, w.i32(length))


def test_frames_shorter_than_a_header_close(server):
    for n in range(8):
        closes_in_session(server, frame(bytes(n)))


def test_the_largest_frame_is_served(server):
    c = w.session(server.port)
    size = 1048524
    expect("create", c.ask(w.CREATE, w.create("/big", bytes(size)))[0], 0)
    expect("read", len(c.ok(w.GET_DATA, w.read("/big"))[0]), size)
    c.ok(w.DELETE, w.path_version("/big"))
    c.close()
    closes_in_session(server, request(w.CREATE, w.create("/big", bytes(size + 1))))


def test_an_announced_frame_that_never_comes_holds_nothing(server):
    before = memory(server)
    conns = [w.session(server.port) for _ in range(200)]
    for c in conns:
        c.send_raw(w.i32(w.MAX_BUFFER) + struct.pack(">ii", 1, w.CREATE))
    w.session(server.port).close()
    grown = memory(server) - before
    if server.kind == "paddock" and grown > 50 << 20:
        raise AssertionError("%d bytes for frames only announced" % grown)
    for c in conns:
        c.drop()


BODIES = {
    w.CREATE: w.create("/x"), w.CREATE2: w.create("/x"), w.CREATE_CONTAINER: w.create("/x"),
    w.CREATE_TTL: w.create_ttl("/x"), w.DELETE: w.path_version("/x"),
    w.SET_DATA: w.set_data("/x", b"12"), w.SET_ACL: w.set_acl("/x", w.OPEN_ACL),
    w.EXISTS: w.read("/x"), w.GET_DATA: w.read("/x"), w.GET_CHILDREN: w.read("/x"),
    w.GET_CHILDREN2: w.read("/x"), w.GET_ACL: w.buf("/x"), w.SYNC: w.buf("/x"),
    w.MULTI: w.multi([(w.DELETE, w.path_version("/x"))]),
    w.MULTI_READ: w.multi([(w.GET_DATA, w.read("/x"))]),
    w.SET_WATCHES: w.set_watches(0, ["/a"], ["/b"], ["/c"]),
    w.SET_WATCHES2: w.set_watches(0, ["/a"], ["/b"], ["/c"], ["/d"], ["/e"]),
    w.ADD_WATCH: w.path_int("/x", 0), w.REMOVE_WATCHES: w.path_int("/x", 3),
    w.CHECK_WATCHES: w.path_int("/x", 3), w.GET_EPHEMERALS: w.buf("/x"),
    w.GET_ALL_CHILDREN_NUMBER: w.buf("/x"),
}


def test_every_body_cut_at_every_byte_is_a_marshalling_error(server):
    c = w.session(server.port)
    for op, body in BODIES.items():
        for n in range(len(body)):
            r = c.call(op, body[:n])
            expect("%s of %d bytes" % (w.NAMES[op], n), (r.err, r.raw), (w.MARSHALLING, b""))
    c.close()


def test_a_write_that_does_not_decode_takes_one_zxid(server):
    c = w.session(server.port)
    c.call(w.PING)
    before = c.zxid
    for n, op in enumerate((w.CREATE, w.DELETE, w.SET_DATA, w.SET_ACL, w.MULTI), 1):
        expect(w.NAMES[op], c.call(op, b"").zxid, before + n)
    c.close()


def test_trailing_bytes_are_ignored(server):
    c = w.session(server.port)
    expect("read", c.ask(w.GET_DATA, w.read("/") + b"123456789")[0], 0)
    expect("create", c.ask(w.CREATE, w.create("/trail") + b"1234")[0], 0)
    expect("delete", c.ask(w.DELETE, w.path_version("/trail") + b"1")[0], 0)
    c.close()


def test_impossible_lengths_inside_a_body(server):
    c = w.session(server.port)
    for n in (-2, -2**31, 2**31 - 1, 0x200000, 100):
        for op in (w.GET_DATA, w.CREATE, w.DELETE, w.SYNC):
            expect("path of %d" % n, c.call(op, w.i32(n) + b"/x\0\0").err, w.MARSHALLING)
        expect("data of %d" % n, c.call(w.CREATE, w.buf("/x") + w.i32(n)).err, w.MARSHALLING)
    for n in (2**31 - 1, 1000):
        body = w.buf("/x") + w.buf(b"") + w.i32(n) + bytes(12)
        expect("list of %d" % n, c.call(w.CREATE, body).err, w.MARSHALLING)
        expect("watches of %d" % n, c.call(w.SET_WATCHES, w.i64(0) + w.i32(n)).err, w.MARSHALLING)
    c.close()


def test_null_paths(server):
    c = w.session(server.port)
    for op in (w.GET_DATA, w.EXISTS, w.GET_CHILDREN, w.GET_CHILDREN2, w.GET_ACL, w.DELETE,
               w.GET_ALL_CHILDREN_NUMBER):
        body = w.buf(None) + w.i32(-1)
        expect(w.NAMES[op], c.call(op, body).err, w.MARSHALLING)
    expect("create", c.call(w.CREATE, w.create(None)).err, w.MARSHALLING)
    expect("setData", c.call(w.SET_DATA, w.set_data(None, b"")).err, w.BAD_ARGUMENTS)
    expect("setACL", c.call(w.SET_ACL, w.set_acl(None, w.OPEN_ACL)).err, w.BAD_ARGUMENTS)
    expect("sync", c.ok(w.SYNC, w.buf(None)), None)
    c.close()


def test_auth_that_does_not_decode_closes(server):
    whole = w.auth("digest", b"a:b")
    for n in (0, 3, 4, 8, len(whole) - 1):
        closes_in_session(server, request(w.AUTH, whole[:n], -4))


def test_unknown_opcodes_are_refused_and_close(server):
    ops = [0, -1, 10, 23, 50, 99, 108, 2**31 - 1, -2**31]
    if server.kind == "paddock":
        ops += [w.CHECK, w.CREATE_SESSION, w.DELETE_CONTAINER]
    for op in ops:
        c = w.session(server.port)
        c.send(op, w.path_version("/zookeeper"), 7)
        r = c.recv()
        expect("opcode %d" % op, (r.xid, r.zxid, r.err, r.raw), (7, -1, w.UNIMPLEMENTED, b""))
        expect("closed after opcode %d" % op, c.closed(), True)
        again = w.Conn(server.port)
        expect("the session lives", again.handshake(10000, c.sid, c.passwd)[1], c.sid)
        again.close()


def test_a_second_connect_request_is_opcode_0(server):
    c = w.session(server.port)
    c.send_frame(w.connect_request())
    r = c.recv()
    expect("reply", (r.xid, r.err), (0, w.UNIMPLEMENTED))
    expect("closed", c.closed(), True)


@paddock_only
def test_writes_that_no_server_should_accept(server):
    c = w.session(server.port)
    for flags in range(5):
        for ttl in (-1, -2**63):
            r = c.call(w.CREATE_TTL, w.create_ttl("/ttl", flags=flags, ttl=ttl))
            expect("flags %d ttl %d" % (flags, ttl), (r.err, r.raw), (w.BAD_ARGUMENTS, b""))
    for parent in (b"/zookeeper/quota", b"/zookeeper", b"/zookeeperx"):
        c.call(w.CREATE, w.create(parent))
        path = parent + b"/zookeeper_limits"
        err = c.call(w.CREATE, w.create(path)).err
        if parent.startswith(b"/zookeeper/") or parent == b"/zookeeper":
            expect(path, err, w.BAD_ARGUMENTS)
        err = c.call(w.DELETE, w.path_version(path)).err
        expect("delete " + path.decode(), err in (0, w.NO_NODE), True)
    c.call(w.DELETE, w.path_version("/zookeeperx"))
    c.close()


@paddock_only
def test_garbage_in_quota_nodes_harms_nobody(server):
    c = w.session(server.port)
    base = "/zookeeper/quota/garbage"
    for path in ("/garbage", base, base + "/zookeeper_limits", base + "/zookeeper_stats"):
        c.ok(w.CREATE, w.create(path, b"count=100,bytes=10000"))
    for garbage in (None, b"", b"count", b"=;,=;,", b"count=99999999999999999999,bytes=x",
                    bytes(range(256)), b"," * 5000):
        for name in ("/zookeeper_stats", "/zookeeper_limits"):
            expect("set", c.ask(w.SET_DATA, w.set_data(base + name, garbage))[0], 0)
            err = c.ask(w.CREATE, w.create("/garbage/x", b"12345"))[0]
            expect("create inside", err in (0, w.MARSHALLING, w.NODE_EXISTS), True)
            c.ask(w.DELETE, w.path_version("/garbage/x"))
    for path in (base + "/zookeeper_stats", base + "/zookeeper_limits", base, "/garbage"):
        c.ok(w.DELETE, w.path_version(path))
    c.close()


def test_half_open_peers_are_closed(server):
    for data in (b"", b"\0\0", w.i32(45), frame(w.connect_request())[:20]):
        c = w.Conn(server.port, 10)
        c.send_raw(data)
        c.sock.shutdown(socket.SHUT_WR)
        expect("closed after %d bytes and an end" % len(data), c.closed(), True)
    c = w.session(server.port)
    c.send_raw(request(w.CREATE, w.create("/half"))[:15])
    c.sock.shutdown(socket.SHUT_WR)
    expect("closed inside a frame", c.closed(), True)


def test_resets_inside_a_frame(server):
    for n in (0, 3, 4, 20, 48, 60):
        c = w.Conn(server.port)
        c.send_raw((frame(w.connect_request()) + request(w.GET_DATA, w.read("/")))[:n])
        c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.sock.close()


def test_a_write_is_done_though_its_sender_is_gone(server):
    watcher = w.session(server.port)
    watcher.ask(w.EXISTS, w.read("/gone", True))
    c = w.session(server.port)
    c.send(w.CREATE, w.create("/gone"))
    c.drop()
    expect("event", watcher.recv().event(), (w.CREATED, 3, b"/gone"))
    watcher.ok(w.DELETE, w.path_version("/gone"))
    watcher.close()


def test_ten_thousand_connects(server):
    for i in range(10000):
        s = socket.create_connection(("127.0.0.1", server.port), 5)
        if i % 3 == 0:
            s.sendall(b"\0\0\0")
        if i % 2 == 0:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    fds = lambda: sum(len(os.listdir("/proc/%d/fd" % p)) for p in server.pids())  # noqa: E731
    if server.kind == "paddock":
        wait_until("descriptors given back", lambda: fds() < 500, 30, 0.1)


def memory(server):
    """Bytes of all processes of the server that are theirs (PSS)."""
    total = 0
    for pid in server.pids():
        with open("/proc/%d/smaps_rollup" % pid) as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:")) << 10
    return total


@paddock_only
def test_slow_readers_cost_a_bounded_amount(server):
    probe = w.session(server.port)
    probe.ok(w.CREATE, w.create("/slow", bytes(500000)))
    before = memory(server)
    slow, asked = w.session(server.port, 30000), request(w.GET_DATA, w.read("/slow")) * 64
    slow.sock.setblocking(False)
    sel = selectors.DefaultSelector()
    sel.register(slow.sock, selectors.EVENT_WRITE)
    sent, worst, grown, pending = 0, 0.0, 0, b""
    stuck_since = time.monotonic()
    while sent < 64 * 2000 and time.monotonic() - stuck_since < 2:
        if sel.select(0.01):
            try:
                pending = pending or asked
                n = slow.sock.send(pending)
                pending = pending[n:]
                sent += 0 if pending else 64
                stuck_since = time.monotonic()
            except OSError:
                break
        began = time.monotonic()
        probe.call(w.PING)
        worst = max(worst, time.monotonic() - began)
        grown = max(grown, memory(server) - before)
    expect("memory for a peer that does not read below 128 MiB", grown < 128 << 20 or grown, True)
    sel.close()
    slow.drop()
    probe.ok(w.DELETE, w.path_version("/slow"))
    probe.close()
    within("others wait", worst, 0.25)


@paddock_only
def test_a_slow_reader_of_events_does_not_delay_others(server):
    slow, writer = w.session(server.port, 30000), w.session(server.port)
    slow.ok(w.ADD_WATCH, w.path_int("/", 1))
    writer.ok(w.CREATE, w.create("/evt", b""))
    before, worst = memory(server), 0.0
    for _ in range(200):
        began = time.monotonic()
        for _ in range(50):
            writer.send(w.SET_DATA, w.set_data("/evt", b"x"))
        for _ in range(50):
            expect("set", writer.reply().err, 0)
        worst = max(worst, time.monotonic() - began)
    expect("memory", memory(server) - before < 64 << 20, True)
    slow.drop()
    writer.ok(w.DELETE, w.path_version("/evt"))
    writer.close()
    within("50 writes", worst, 2)


def slow_closed(server):
    for line in four_letter(server.port, "mntr").decode().splitlines():
        if line.startswith("zk_paddock_slow_connections_closed\t"):
            return int(line.split("\t")[1])
    raise AssertionError("mntr does not count slow connections")


def deaf(server):
    """A client that will not read; the kernel keeps little for it."""
    c = w.Conn(server.port, 30)
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    c.handshake(60000)
    return c


def resumes(server, c):
    """The connection has ended, the session lives on."""
    c.drop()
    again = w.Conn(server.port)
    expect("session", again.handshake(60000, c.sid, c.passwd)[1], c.sid)
    again.close()


@paddock_only
def test_a_client_that_never_reads_events_is_closed_at_its_cap(server):
    """Nobody can hold them back: 4 MiB wait for it at most."""
    honest, writer, before = w.session(server.port, 60000), w.session(server.port), memory(server)
    name, closed, worst = "/" + "n" * 4000, slow_closed(server), 0.0
    writer.ok(w.CREATE, w.create(name))
    watcher = deaf(server)
    watcher.ok(w.ADD_WATCH, w.path_int("/", 1))
    told = grown = 0
    while told < 40 << 20 and slow_closed(server) == closed:
        began = time.monotonic()
        honest.call(w.PING)
        worst = max(worst, time.monotonic() - began)
        for _ in range(100):
            writer.send(w.SET_DATA, w.set_data(name, b"x"))
        for _ in range(100):
            expect("set", writer.reply().err, 0)
        told += 100 * len(name)
    grown = memory(server) - before
    expect("closed", slow_closed(server), closed + 1)
    expect("at 4 MiB and what the kernel holds: %d" % told, 4 << 20 < told < 20 << 20, True)
    expect("memory: %d" % grown, grown < 64 << 20, True)
    resumes(server, watcher)
    writer.ok(w.DELETE, w.path_version(name))
    for c in (honest, writer):
        c.close()
    within("others wait", worst, 0.25)


@paddock_only
def test_a_client_that_never_reads_replies_is_closed_in_time(server):
    """It is asked for no more, so its time ends it: 10 s without a byte taken."""
    honest, before, closed = w.session(server.port, 60000), memory(server), slow_closed(server)
    honest.ok(w.CREATE, w.create("/unread", bytes(500000)))
    asker = deaf(server)
    asker.send_raw(request(w.GET_DATA, w.read("/unread")) * 64)
    began, worst, grown = time.monotonic(), 0.0, 0
    while slow_closed(server) == closed and time.monotonic() - began < 30:
        sent = time.monotonic()
        honest.call(w.PING)
        worst = max(worst, time.monotonic() - sent)
        grown = max(grown, memory(server) - before)
        time.sleep(0.1)
    took = time.monotonic() - began
    expect("closed", slow_closed(server), closed + 1)
    # AddressSanitizer keeps what was freed for a while.
    expect("memory: %d" % grown, grown < (16 if VARIANT == "rel" else 64) << 20, True)
    resumes(server, asker)
    honest.ok(w.DELETE, w.path_version("/unread"))
    honest.close()
    within("10 s without a byte taken", took, 15, 9)
    within("others wait", worst, 0.25)


def test_max_client_cnxns(server):
    with Server(conf={"maxClientCnxns": 5}) as limited:
        conns = [w.session(limited.port) for _ in range(5)]
        try:
            c = w.Conn(limited.port, 5)
            c.send_frame(w.connect_request())
            expect("the sixth closed without a word", c.closed(), True)
        except (w.Closed, OSError):
            pass
        conns[0].drop()

        def room():
            try:
                conns.append(w.session(limited.port))
                return True
            except (w.Closed, OSError):
                return False
        wait_until("room after one left", room, 10, 0.05)


def test_a_connection_without_a_handshake_is_closed_in_time(server):
    c = w.Conn(server.port, 30)
    began = time.monotonic()
    expect("closed", c.closed(), True)
    within("closed", time.monotonic() - began, 25, 9)


if __name__ == "__main__":
    sys.exit(run(globals(), CONF))

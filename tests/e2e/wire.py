"""The client protocol, raw: request encoders, reply decoders and a connection.

Written from the protocol's description, on purpose without any client library: it can also send
what no library would. Paths and names may be str, bytes (sent as they are) or None (null).
"""
import socket
import struct

# Opcodes
CREATE, DELETE, EXISTS, GET_DATA, SET_DATA, GET_ACL, SET_ACL, GET_CHILDREN, SYNC = range(1, 10)
PING, GET_CHILDREN2, CHECK, MULTI, CREATE2, RECONFIG = range(11, 17)
CHECK_WATCHES, REMOVE_WATCHES, CREATE_CONTAINER, DELETE_CONTAINER, CREATE_TTL, MULTI_READ = range(
    17, 23)
AUTH, SET_WATCHES, SASL, GET_EPHEMERALS, GET_ALL_CHILDREN_NUMBER, SET_WATCHES2, ADD_WATCH, \
    WHO_AM_I = range(100, 108)
CREATE_SESSION, CLOSE_SESSION = -10, -11
NAMES = {v: k.lower() for k, v in list(globals().items()) if k.isupper() and isinstance(v, int)}

# Error codes
OK, RUNTIME, MARSHALLING, UNIMPLEMENTED, BAD_ARGUMENTS = 0, -2, -5, -6, -8
NO_NODE, NO_AUTH, BAD_VERSION, NO_CHILDREN_FOR_EPHEMERALS = -101, -102, -103, -108
NODE_EXISTS, NOT_EMPTY, SESSION_EXPIRED, INVALID_ACL, AUTH_FAILED = -110, -111, -112, -114, -115
NO_WATCHER, RECONFIG_DISABLED, QUOTA_EXCEEDED = -121, -123, -125

# Event types
CREATED, DELETED, CHANGED, CHILDREN = 1, 2, 3, 4
MAX_BUFFER = 0xFFFFF
OPEN_ACL = [(31, "world", "anyone")]
STAT = struct.Struct(">qqqqiiiqiiq")
STAT_FIELDS = ("czxid", "mzxid", "ctime", "mtime", "version", "cversion", "aversion",
               "ephemeralOwner", "dataLength", "numChildren", "pzxid")


def i32(n):
    return struct.pack(">i", n)


def i64(n):
    return struct.pack(">q", n)


def boolean(v):
    return b"\1" if v is True else b"\0" if v is False else bytes([v])


def buf(v):
    """A buffer or string; null for None."""
    if v is None:
        return b"\xff\xff\xff\xff"
    if isinstance(v, str):
        v = v.encode("utf-8", "surrogatepass")
    return i32(len(v)) + v


def vec(items, encode=buf):
    if items is None:
        return i32(-1)
    return i32(len(items)) + b"".join(map(encode, items))


def acl(entries):
    return vec(entries, lambda e: i32(e[0]) + buf(e[1]) + buf(e[2]))


# Request bodies
def create(path, data=b"", acls=OPEN_ACL, flags=0):
    return buf(path) + buf(data) + acl(acls) + i32(flags)


def create_ttl(path, data=b"", acls=OPEN_ACL, flags=5, ttl=1000):
    return create(path, data, acls, flags) + i64(ttl)


def path_version(path, version=-1):
    return buf(path) + i32(version)


def set_data(path, data, version=-1):
    return buf(path) + buf(data) + i32(version)


def set_acl(path, acls, version=-1):
    return buf(path) + acl(acls) + i32(version)


def read(path, watch=False):
    return buf(path) + boolean(watch)


def path_int(path, n):
    return buf(path) + i32(n)


def set_watches(zxid, *lists):
    """Three lists for setWatches, five for setWatches2."""
    return i64(zxid) + b"".join(vec(lst) for lst in lists)


def multi_header(op, done=0, err=-1):
    return i32(op) + bytes([done]) + i32(err)


def multi(ops, end=True):
    body = b"".join(multi_header(op) + record for op, record in ops)
    return body + (multi_header(-1, 1) if end else b"")


def auth(scheme, data, kind=0):
    return i32(kind) + buf(scheme) + buf(data)


def connect_request(timeout=10000, sid=0, passwd=bytes(16), read_only=False, zxid=0, version=0):
    """read_only None leaves the byte out, as old clients do."""
    body = i32(version) + i64(zxid) + i32(timeout) + i64(sid) + buf(passwd)
    return body if read_only is None else body + boolean(read_only)


class Malformed(Exception):
    """A reply that does not decode or has bytes left over."""


class In:
    """A cursor over a reply."""

    def __init__(self, data, at=0):
        self.data, self.at = data, at

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise Malformed("%d bytes at %d of %s" % (n, self.at, self.data.hex()))
        self.at += n
        return self.data[self.at - n:self.at]

    def unpack(self, fmt):
        return struct.unpack(fmt, self.take(struct.calcsize(fmt)))

    def i32(self):
        return self.unpack(">i")[0]

    def i64(self):
        return self.unpack(">q")[0]

    def buf(self):
        n = self.i32()
        return None if n == -1 else self.take(n)

    def vec(self, element=None):
        n = self.i32()
        return None if n == -1 else [(element or self.buf)() for _ in range(n)]

    def acl(self):
        return self.vec(lambda: (self.i32(), self.buf(), self.buf()))

    def stat(self):
        return Stat(STAT.unpack(self.take(STAT.size)))

    def end(self):
        if self.at != len(self.data):
            raise Malformed("%d bytes left over in %s" % (len(self.data) - self.at,
                                                          self.data.hex()))


class Stat(tuple):
    """The eleven fields, by position and by name."""
    __slots__ = ()

    def __getattr__(self, name):
        return self[STAT_FIELDS.index(name)]


def _multi_reply(r):
    out = []
    while True:
        op, done, err = r.unpack(">ibi")
        if done:
            return out + [("end", op, err)]
        if op == -1:
            out.append(("error", err, r.i32()))
        elif op in (CREATE, GET_DATA, GET_CHILDREN, SET_DATA, CREATE2, DELETE, CHECK):
            out.append((NAMES[op], err) + BODIES[op](r))
        else:
            raise Malformed("multi result of type %d" % op)


def _client_info(r):
    return (r.buf(), r.buf())


# Decoders of reply bodies; each gives a tuple
BODIES = {
    CREATE: lambda r: (r.buf(),),
    CREATE2: lambda r: (r.buf(), r.stat()),
    DELETE: lambda r: (),
    EXISTS: lambda r: (r.stat(),),
    GET_DATA: lambda r: (r.buf(), r.stat()),
    SET_DATA: lambda r: (r.stat(),),
    GET_ACL: lambda r: (r.acl(), r.stat()),
    SET_ACL: lambda r: (r.stat(),),
    GET_CHILDREN: lambda r: (r.vec(),),
    GET_CHILDREN2: lambda r: (r.vec(), r.stat()),
    SYNC: lambda r: (r.buf(),),
    CHECK: lambda r: (),
    MULTI: lambda r: tuple(_multi_reply(r)),
    MULTI_READ: lambda r: tuple(_multi_reply(r)),
    SASL: lambda r: (r.buf(),),
    GET_EPHEMERALS: lambda r: (r.vec(),),
    GET_ALL_CHILDREN_NUMBER: lambda r: (r.i32(),),
    ADD_WATCH: lambda r: (r.i32(),),
    WHO_AM_I: lambda r: (r.vec(lambda: _client_info(r)),),
    RECONFIG: lambda r: (r.buf(), r.stat()),
}
BODIES[CREATE_CONTAINER] = BODIES[CREATE_TTL] = BODIES[CREATE2]
for _op in (PING, AUTH, SET_WATCHES, SET_WATCHES2, CHECK_WATCHES, REMOVE_WATCHES, CLOSE_SESSION,
            DELETE_CONTAINER):
    BODIES[_op] = BODIES[DELETE]


class Reply:
    """A reply frame: xid, zxid, err and the undecoded body."""
    __slots__ = ("xid", "zxid", "err", "raw")

    def __init__(self, frame):
        if len(frame) < 16:
            raise Malformed("reply of %d bytes: %s" % (len(frame), frame.hex()))
        self.xid, self.zxid, self.err = struct.unpack(">iqi", frame[:16])
        self.raw = frame[16:]

    def body(self, op):
        """The decoded body as a tuple; an error must have none, all bytes must be used."""
        r = In(self.raw)
        value = BODIES[op](r) if self.err == 0 else ()
        r.end()
        return value

    def event(self):
        """(type, state, path) of a notification."""
        r = In(self.raw)
        value = r.unpack(">ii") + (r.buf(),)
        r.end()
        return value

    def __repr__(self):
        return "xid %d zxid 0x%x err %d body %s" % (self.xid, self.zxid & (2**64 - 1), self.err,
                                                    self.raw.hex())


class Closed(Exception):
    """The server closed the connection."""


class Conn:
    """A TCP connection to a server, blocking, with one reply frame at a time."""

    def __init__(self, port, seconds=20.0, host="127.0.0.1"):
        self.sock = socket.create_connection((host, port), seconds)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.inbuf = bytearray()
        self.xid = 0
        self.sid, self.passwd, self.timeout = 0, bytes(16), 0
        self.events = []
        self.zxid = 0

    def send_raw(self, data):
        try:
            self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError) as e:
            raise Closed(str(e)) from None

    def send_frame(self, payload):
        self.send_raw(i32(len(payload)) + payload)

    def frame(self):
        """The next frame; Closed at end of file, socket.timeout if nothing comes."""
        while True:
            if len(self.inbuf) >= 4:
                n = struct.unpack_from(">i", self.inbuf)[0]
                if n < 0:
                    raise Malformed("frame of %d bytes" % n)
                if len(self.inbuf) >= 4 + n:
                    out = bytes(self.inbuf[4:4 + n])
                    del self.inbuf[:4 + n]
                    return out
            try:
                chunk = self.sock.recv(1 << 18)
            except ConnectionResetError as e:
                raise Closed(str(e)) from None
            if not chunk:
                if self.inbuf:
                    raise Malformed("cut frame: " + self.inbuf.hex())
                raise Closed("end of file")
            self.inbuf += chunk

    def closed(self):
        """True if the server closes without another frame within the time limit."""
        try:
            self.frame()
            return False
        except Closed:
            return True
        except socket.timeout:
            return False

    def handshake(self, timeout=10000, sid=0, passwd=bytes(16), read_only=False, zxid=0):
        """Open or resume a session: (timeout, sid, passwd), all zero when it is refused."""
        self.send_frame(connect_request(timeout, sid, passwd, read_only, zxid))
        self.connect_response(read_only is not None)
        if self.read_only and not read_only:
            raise Malformed("read-only server")
        return self.timeout, self.sid, self.passwd

    def connect_response(self, with_read_only=True):
        r = In(self.frame())
        version, self.timeout, self.sid = r.unpack(">iiq")
        self.passwd = r.buf()
        self.read_only = with_read_only and r.take(1) != b"\0"
        r.end()
        if version != 0 or len(self.passwd or b"") != 16:
            raise Malformed("ConnectResponse %r" % r.data.hex())
        return self.timeout, self.sid, self.passwd

    def send(self, op, body=b"", xid=None):
        if xid is None:
            self.xid += 1
            xid = self.xid
        self.send_frame(struct.pack(">ii", xid, op) + body)
        return xid

    def recv(self):
        """The next frame as a Reply, notifications included."""
        reply = Reply(self.frame())
        if reply.zxid > self.zxid and reply.xid != -1:
            self.zxid = reply.zxid
        return reply

    def reply(self):
        """The next reply; notifications on the way go to self.events."""
        while True:
            r = self.recv()
            if r.xid != -1:
                return r
            self.events.append((r.zxid,) + r.event())

    def call(self, op, body=b""):
        """One request, its Reply."""
        xid = self.send(op, body)
        r = self.reply()
        if r.xid != (xid if op != PING else -2):
            raise Malformed("xid %d answered with %r" % (xid, r))
        return r

    def ask(self, op, body=b""):
        """One request: (err, decoded body)."""
        r = self.call(op, body)
        return r.err, r.body(op)

    def ok(self, op, body=b""):
        """One request that must succeed: its body (the only field itself if there is one)."""
        err, value = self.ask(op, body)
        if err:
            raise AssertionError("%s: error %d" % (NAMES[op], err))
        return value[0] if len(value) == 1 else value

    def drop(self):
        """Close the socket without closing the session."""
        self.sock.close()

    def close(self):
        try:
            self.call(CLOSE_SESSION)
        except (Closed, OSError):
            pass
        self.sock.close()


def session(port, timeout=10000, seconds=20.0):
    c = Conn(port, seconds)
    if not c.handshake(timeout)[0]:
        raise AssertionError("session refused")
    return c

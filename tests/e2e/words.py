#!/usr/bin/python3
"""Four-letter words: their exact form, and who may ask."""
import re
import socket
import sys

import wire as w
from cases import expect, run
from server import Server, four_letter

HEX = r"0x[0-9a-f]+"
LATENCY = r"Latency min/avg/max: \d+/\d+\.\d{1,4}/\d+\n"
CONNECTION = r" /127\.0\.0\.1:\d+\[[0145]\]\(queued=\d+,recved=\d+,sent=\d+"
DETAIL = (r",sid=%s,lop=[A-Z0-9]+,est=\d+,to=\d+(,lcxid=%s)?,lzxid=%s,lresp=\d+,llat=\d+,minlat=\d+,"
          r"avglat=\d+,maxlat=\d+" % (HEX, HEX, HEX))
VERSION = r"Zookeeper version: \d+\.\d+\.\d+[^\n]*, built on [^\n]+\n"
TAIL = (LATENCY + r"Received: \d+\nSent: \d+\nConnections: \d+\nOutstanding: \d+\nZxid: " + HEX
        + r"\nMode: standalone\nNode count: \d+\n")
NOT_LISTED = "%s is not executed because it is not in the whitelist.\n"
MNTR = """version server_state avg_latency max_latency min_latency packets_received packets_sent
num_alive_connections outstanding_requests znode_count watch_count ephemerals_count
approximate_data_size open_file_descriptor_count max_file_descriptor_count uptime""".split()


def ask(server, word):
    return four_letter(server.port, word).decode()


def matches(word, text, form):
    if not re.fullmatch(form, text):
        raise AssertionError("%s answers\n%s\nwhich is not of the form\n%s" % (word, text, form))


def test_ruok_isro_gtmk_have_no_newline(server):
    expect("ruok", ask(server, "ruok"), "imok")
    expect("isro", ask(server, "isro"), "rw")
    matches("gtmk", ask(server, "gtmk"), r"\d+")


def test_resets(server):
    expect("crst", ask(server, "crst"), "Connection stats reset.\n")
    expect("srst", ask(server, "srst"), "Server stats reset.\n")


def test_dirs(server):
    matches("dirs", ask(server, "dirs"), r"datadir_size: \d+\nlogdir_size: \d+\n")


def test_conf(server):
    data = re.escape(server.data)
    matches("conf", ask(server, "conf"),
            r"clientPort=%d\nsecureClientPort=-1\ndataDir=%s/version-2\ndataDirSize=\d+\n"
            r"dataLogDir=%s/version-2\ndataLogSize=\d+\ntickTime=2000\nmaxClientCnxns=0\n"
            r"minSessionTimeout=4000\nmaxSessionTimeout=40000\nclientPortListenBacklog=-1\n"
            r"serverId=0\n" % (server.port, data, data))


def test_srvr_and_stat(server):
    c = w.session(server.port)
    matches("srvr", ask(server, "srvr"), VERSION + TAIL)
    matches("stat", ask(server, "stat"),
            VERSION + r"Clients:\n(" + CONNECTION + r"\)\n)+\n" + TAIL)
    c.close()


def test_node_count_and_zxid(server):
    c = w.session(server.port)
    before = int(re.search(r"Node count: (\d+)", ask(server, "srvr"))[1])
    c.ok(w.CREATE, w.create("/counted"))
    text = ask(server, "srvr")
    expect("nodes", int(re.search(r"Node count: (\d+)", text)[1]), before + 1)
    expect("zxid", int(re.search(r"Zxid: (\S+)", text)[1], 16), c.zxid)
    c.ok(w.DELETE, w.path_version("/counted"))
    c.close()


def test_cons(server):
    c = w.session(server.port, 12345)
    c.ok(w.GET_DATA, w.read("/"))
    text = ask(server, "cons")
    matches("cons", text, r"(" + CONNECTION + r"(" + DETAIL + r")?\)\n)+\n")
    line = [x for x in text.split("\n") if "sid=0x%x," % (c.sid & (2**64 - 1)) in x]
    expect("one line for the session", len(line), 1)
    expect("its last operation", "lop=GETD" in line[0] and "to=12345," in line[0] or line[0], True)
    c.close()


def test_dump(server):
    c = w.session(server.port)
    c.ok(w.CREATE, w.create("/dumped", flags=1))
    sid = "0x%x" % (c.sid & (2**64 - 1))
    date = r"\w{3} \w{3} \d\d \d\d:\d\d:\d\d \w+ \d{4}"
    text = ask(server, "dump")
    matches("dump", text,
            r"SessionTracker dump:\nSession Sets \(\d+\)/\(\d+\):\n"
            r"(\d+ expire at %s:\n(\t%s\n)*)+ephemeral nodes dump:\nSessions with Ephemerals "
            r"\(\d+\):\n(%s:\n(\t/[^\n]+\n)+)+Connections dump:\nConnections Sets \(\d+\)/\(\d+\):\n"
            r"(\d+ expire at %s:\n(\tip: /127.0.0.1:\d+ sessionId: %s\n)*)+" % (
                date, HEX, HEX, date, HEX))
    expect("the ephemeral", "%s:\n\t/dumped\n" % sid in text, True)
    c.close()


def test_watch_words(server):
    c = w.session(server.port)
    sid = "0x%x" % (c.sid & (2**64 - 1))
    c.ask(w.EXISTS, w.read("/watched", True))
    c.ask(w.GET_CHILDREN, w.read("/", True))
    matches("wchs", ask(server, "wchs"), r"1 connections watching 1 paths\nTotal watches:1\n?")
    matches("wchc", ask(server, "wchc"), sid + r"\n\t/watched\n\n?")
    matches("wchp", ask(server, "wchp"), r"/watched\n\t" + sid + r"\n\n?")
    c.close()


def test_mntr(server):
    c = w.session(server.port)
    text = ask(server, "mntr")
    matches("mntr", text, r"(zk_\S+\t[^\n]*\n)+")
    values = dict(line.split("\t", 1) for line in text.splitlines())
    for key in MNTR:
        expect("zk_%s there" % key, "zk_" + key in values, True)
    expect("state", values["zk_server_state"], "standalone")
    expect("connections", int(values["zk_num_alive_connections"]) >= 1, True)
    first = text.splitlines()[0].split("\t")[0]
    expect("first key", first, "zk_version")
    c.close()


def test_envi(server):
    text = ask(server, "envi")
    matches("envi", text, r"Environment:\n([a-z.]+=[^\n]*\n)+")
    expect("version", bool(re.search(r"^zookeeper\.version=\d+\.\d+\.\d+", text, re.M)), True)


def test_hash(server):
    matches("hash", ask(server, "hash"), r"([0-9a-f]+: -?\d+\n)*")


def test_text_behind_a_word_and_half_closing_peers(server):
    with socket.create_connection(("127.0.0.1", server.port), 5) as s:
        s.sendall(b"ruok\n")
        s.shutdown(socket.SHUT_WR)
        got = s.recv(100)
        expect("answer", got, b"imok")
    with socket.create_connection(("127.0.0.1", server.port), 5) as s:
        for b in b"ruok":
            s.sendall(bytes([b]))
        expect("byte by byte", s.recv(100), b"imok")


def test_unknown_words_get_nothing(server):
    for word in ("abcd", "RUOK", "help", "quit"):
        expect(word, four_letter(server.port, word), b"")


def test_the_whitelist(server):
    with Server(kind=server.kind, conf={"4lw.commands.whitelist": " ruok , mntr"}) as limited:
        expect("listed", ask(limited, "ruok"), "imok")
        for word in ("stat", "conf", "dump", "wchc", "envi", "isro"):
            expect(word, ask(limited, word), NOT_LISTED % word)


if __name__ == "__main__":
    sys.exit(run(globals()))

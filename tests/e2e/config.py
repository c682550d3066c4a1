#!/usr/bin/python3
"""zoo.cfg as it comes, command-line forms, and the lock of the data directory."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import wire as w
from cases import expect, paddock_only, run
from server import PADDOCKD, Server, four_letter, free_port, spawn, wait_until


class Asked(Server):
    """A server with a configuration text, or a command line, of its own."""

    def __init__(self, kind, text=None, arguments=None, whitelist=True):
        super().__init__(kind)
        self.text, self.arguments = text, arguments
        if self.kind == "apache":
            self.jvm = ["-Dzookeeper.admin.enableServer=false"]
            self.jvm += ["-Dzookeeper.4lw.commands.whitelist=*"] if whitelist else []

    def write_config(self):
        if self.text is None:
            return super().write_config()
        path = os.path.join(self.dir, "zoo.cfg")
        with open(path, "w", encoding="latin-1") as f:
            f.write(self.text.format(data=self.data, port=self.port))
        return path

    def command(self, config):
        line = super().command(config)
        return line if self.arguments is None else line[:-1] + [
            a.format(data=self.data, port=self.port) for a in self.arguments]

    def status(self):
        """The exit status of a server that must not start."""
        self.start(wait=False)
        return self.process.wait(20)


BASE = "dataDir={data}\nclientPort={port}\n4lw.commands.whitelist=*\n"
LIMITS = "initLimit=5\nsyncLimit=2\n"
TWO = "server.1=127.0.0.1:22390:22391\nserver.2=127.0.0.1:22392:22393\n"
REFUSED = {
    "no dataDir": "clientPort={port}\n",
    "a port that is no number": "dataDir={data}\nclientPort=abc\n",
    "an empty number": BASE + "tickTime=\n",
    "tickTime 0": BASE + "tickTime=0\n",
    "a number with a tail": BASE + "maxClientCnxns=60x\n",
    "least above most": BASE + "minSessionTimeout=5000\nmaxSessionTimeout=4000\n",
    "an address without a port": "dataDir={data}\nclientPortAddress=127.0.0.1\n",
    "a boolean that is none": BASE + "reconfigEnabled=maybe\n",
    "an election that is gone": BASE + "electionAlg=1\n",
    "a server line that is none": BASE + "server.1=localhost\nserver.2=localhost\n",
    "an ensemble without myid": BASE + LIMITS + TWO,
    "an ensemble without limits": BASE + TWO,
    "one participant with an observer": BASE + LIMITS + "server.1=h:1:2\nserver.2=h:3:4:observer\n",
    "no participant": BASE + LIMITS + "server.1=h:1:2:observer\n",
    "no standalone, and no server": BASE + LIMITS + "standaloneEnabled=false\n",
    "a role that is none": BASE + LIMITS + TWO + "peerType=leader\n",
    "a list beside a dynamic file": BASE + LIMITS + TWO + "dynamicConfigFile={data}/list\n",
    "a dynamic file that is not there": BASE + LIMITS + "dynamicConfigFile={data}/list\n",
}
ACCEPTED = {
    "comments, blanks, separators": (
        "# comment\n! another\n\n  dataDir : {data}\nclientPort {port}\n"
        "4lw.commands.whitelist = *\ntickTime=   1500  \n", "tickTime=1500"),
    "a line continued": (BASE + "tick\\\n   Time=1\\\n   700\n", "tickTime=1700"),
    "the last of two wins": (BASE + "tickTime=100\ntickTime=1800\n", "tickTime=1800"),
    "unicode escapes": (BASE + "tick\\u0054ime=19\\u00300\n", "tickTime=1900"),
    "keys nobody knows": (BASE + "noSuchKey=1\nsome.other.key=abc\nPATH=x\n", "tickTime=3000"),
    "session bounds from the tick": (BASE + "tickTime=1000\n", "maxSessionTimeout=20000"),
    "session bounds as given": (BASE + "minSessionTimeout=7\nmaxSessionTimeout=70\n",
                                "minSessionTimeout=7"),
    "an address of its own": (BASE + "clientPortAddress=127.0.0.1\n", "clientPort="),
    "no end of line": (BASE + "tickTime=1234", "tickTime=1234"),
    "a lone server line": (BASE + "server.1=127.0.0.1:22398:22399\n", "serverId=0"),
}


def test_refused_files(server):
    for what, text in REFUSED.items():
        bad = Asked(server.kind, text)
        expect(what, bad.status(), 2)


@paddock_only
def test_an_ensembles_file_is_taken_as_it_is(server):
    del server
    third = "server.3=127.0.0.1:22394:22395:observer;{port}\n"
    files = {   # what stands in zoo.cfg, in dataDir/myid, in dataDir/list.1f; what is told
        "three servers": (BASE + LIMITS + TWO + third, "3", None, "myid=3 observer"),
        "one of them": (BASE + LIMITS + "standaloneEnabled=false\nserver.1=h:1:2\n", "1\n", None,
                        "ensemble server.1=h:1:2"),
        "not in the list": (BASE + LIMITS + TWO + "peerType=observer\n", "7", None,
                            "there is no server.7"),
        "a dynamic file": (BASE + LIMITS + "dynamicConfigFile={data}/list.1f\n", "2", TWO,
                           "ensemble version=1f"),
    }
    for what, (text, myid, dynamic, told) in files.items():
        s = Asked("paddock", text)
        for name, content in (("myid", myid), ("list.1f", dynamic)):
            if content:
                with open(os.path.join(s.data, name), "w") as f:
                    f.write(content)
        p = spawn([PADDOCKD, "--check", s.write_config()], stdin=subprocess.DEVNULL,
                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        out = p.communicate(timeout=20)[0]
        expect("%s: status, %s" % (what, out), p.returncode, 0)
        expect("%s: %s in %s" % (what, told, out), told in out, True)


@paddock_only
def test_refusals_say_why(server):
    del server
    for what, key in (("a port that is no number", "clientPort"), ("no dataDir", "dataDir"),
                      ("tickTime 0", "tickTime")):
        bad = Asked("paddock", REFUSED[what])
        bad.status()
        expect("%s names %s" % (what, key), key in bad.log_tail() or bad.log_tail(), True)


def test_a_file_that_is_not_there(server):
    missing = Asked(server.kind, arguments=["/nonexistent/zoo.cfg"])
    expect("status", missing.status(), 2)


def test_accepted_files(server):
    for what, (text, line) in ACCEPTED.items():
        with Asked(server.kind, text) as good:
            conf = four_letter(good.port, "conf").decode()
            expect("%s: %s in\n%s" % (what, line, conf), line in conf, True)


def test_ticks_bound_the_session_timeout(server):
    with Asked(server.kind, BASE + "tickTime=1000\n") as s:
        for asked, got in ((0, 2000), (-5, 2000), (1999, 2000), (2001, 2001), (10**6, 20000)):
            c = w.session(s.port, asked)
            expect("timeout of %d" % asked, c.timeout, got)
            c.close()


def test_the_form_with_port_and_directory(server):
    for more, least in ((["1234"], 2468), (["500", "3"], 1000), ([], 6000)):
        arguments = ["{port}", "{data}"] + more
        with Asked(server.kind, arguments=arguments, whitelist=False) as s:
            c = w.session(s.port, 1)
            expect("least timeout for %s" % more, c.timeout, least)
            expect("only srvr is listed", four_letter(s.port, "ruok"),
                   b"ruok is not executed because it is not in the whitelist.\n")
            c.close()


def test_wrong_arguments(server):
    for arguments in (["abc", "{data}"], ["{port}", "{data}", "x"],
                      ["{port}", "{data}", "1", "2", "3"]):
        expect(arguments, Asked(server.kind, arguments=arguments).status(), 2)


def test_the_data_survives_a_restart_and_a_kill(server):
    with Server(kind=server.kind) as s:
        c = w.session(s.port)
        c.ok(w.CREATE, w.create("/kept", b"value"))
        c.ok(w.CREATE, w.create("/null", None))
        c.ok(w.CREATE, w.create("/kept/s-", b"", flags=2))
        before = c.ok(w.GET_DATA, w.read("/kept"))
        for hard in (False, True):
            c.drop()
            s.restart(hard)
            c2 = w.Conn(s.port)
            expect("session", c2.handshake(10000, c.sid, c.passwd)[1], c.sid)
            expect("node", c2.ok(w.GET_DATA, w.read("/kept")), before)
            expect("null data", c2.ok(w.GET_DATA, w.read("/null"))[0], None)
            c = c2
        expect("the sequence goes on", c.ok(w.CREATE, w.create("/kept/s-", b"", flags=2)),
               b"/kept/s-0000000001")


def test_sigterm_ends_it_with_0(server):
    if server.kind == "paddock":
        s = Server(kind=server.kind).start()
        c = w.session(s.port)
        expect("status", s.stop(), 0)
        expect("connection closed", c.closed(), True)


@paddock_only
def test_a_second_server_on_the_same_data_is_refused(server):
    with Server() as first:
        second = Server(port=free_port())
        shutil.rmtree(second.data)
        os.symlink(first.data, second.data)
        second.start(wait=False)
        status = second.process.wait(20)
        expect("refused", status != 0, True)
        expect("and says why", bool(re.search("lock|in use|another", second.log_tail(), re.I))
               or second.log_tail(), True)
        w.session(first.port).close()
        first.stop()
        second.start()      # with the first one gone the same directory is free
        second.stop()


@paddock_only
def test_a_directory_that_can_not_be_written(server):
    del server
    bad = Asked("paddock", "dataDir=/proc/nowhere\nclientPort={port}\n")
    expect("refused", bad.status() != 0, True)


@paddock_only
def test_a_port_that_is_taken(server):
    second = Asked("paddock", BASE.replace("{port}", str(server.port)))
    expect("refused", second.status() != 0, True)
    expect("and says why", str(server.port) in second.log_tail() or second.log_tail(), True)


@paddock_only
def test_started_without_a_terminal_or_arguments(server):
    del server
    where = tempfile.mkdtemp(prefix="e2e-usage-")
    try:
        p = spawn([PADDOCKD], cwd=where, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                  stderr=subprocess.STDOUT)
        text = p.communicate(timeout=20)[0]
        expect("status", p.returncode, 2)
        expect("usage", b"zoo.cfg" in text.lower() or text, True)
    finally:
        shutil.rmtree(where, True)


@paddock_only
def test_the_supervisor_takes_its_children_along(server):
    s = Server(kind=server.kind).start()
    pids = s.pids()
    expect("children", len(pids) >= 3, True)
    s.process.kill()
    s.process.wait()
    wait_until("children gone", lambda: not [p for p in pids[1:] if os.path.exists(
        "/proc/%d/exe" % p)], 10)


if __name__ == "__main__":
    sys.exit(run(globals()))

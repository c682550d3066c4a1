#!/usr/bin/python3
"""Elections together with Apache ZooKeeper: two of its servers and our election, over real sockets.

  tests/e2e/quorum/election.py [-v]

Ours is build/rel/election_peer: peers/elector with a loop around it, and no server behind. What it
receives it encodes again and compares; so does it with configurations. Prints "RESULT passed failed".
Environment: E2E_PORTS (default 22500-22599), and see ../server.py.
"""
import os
import re
import subprocess
import sys
import threading

os.environ.setdefault("E2E_PORTS", "22500-22599")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import server  # noqa: E402
from cases import Score  # noqa: E402

PEER = os.path.join(server.ROOT, "build", "rel", "election_peer")
VERBOSE = "-v" in sys.argv


class Peer:
    """Our server; lines() is what it has printed so far."""

    def __init__(self, ensemble, sid, zxid, epoch, *role):
        path = os.path.join(ensemble.apache[0].dir, "members-%d" % sid)
        with open(path, "w") as f:
            f.writelines("%s=%s\n" % kv for kv in ensemble.members.items())
        self.process = server.spawn([PEER, str(sid), path, zxid, str(epoch), *role],
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.text = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.text.append(line.rstrip("\n"))
            if VERBOSE:
                print(line, end="", flush=True)

    def wait(self, pattern, seconds=30):
        """The first line with the pattern that was not waited for before."""
        seen = [0]

        def found():
            lines = self.text[:]
            for i, line in enumerate(lines[seen[0]:], seen[0]):
                if re.search(pattern, line):
                    del self.text[:i + 1]
                    return line
            seen[0] = len(lines)
            if self.process.poll() is not None:
                raise RuntimeError("the peer ended: %s" % lines[-3:])
            return None

        try:
            return server.wait_until(pattern, found, seconds)
        except server.Timeout:
            raise server.Timeout("%s: not among %s" % (pattern, self.text[-8:]))

    def look_again(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        if self.process.wait(10):
            raise RuntimeError("the peer failed: %s" % self.text[-3:])


class Ensemble:
    """Servers `sids` of Apache's, and the address of one more member, `ours`."""

    def __init__(self, sids, ours, role=""):
        self.members = {"server.%d" % s: "127.0.0.1:%d:%d" % (server.free_port(),
                                                               server.free_port())
                        for s in sorted(sids + [ours])}
        self.members["server.%d" % ours] += role
        self.apache, self.sids = [], sids
        for sid in sids:
            conf = dict(self.members, tickTime=500, initLimit=6, syncLimit=4)
            s = server.Server(kind="apache", conf=conf)
            with open(os.path.join(s.data, "myid"), "w") as f:
                f.write("%d\n" % sid)
            self.apache.append(s)

    def start(self):
        for s in self.apache:
            s.start(wait=False)
        return self

    def wait_leader(self):
        """The two serve, and this one leads (who it is, may depend on who started first)."""
        def mode(s):
            if s.process.poll() is not None:
                raise RuntimeError("a server of Apache's ended:\n" + s.log_tail())
            try:
                found = re.search(rb"Mode: (\w+)", server.four_letter(s.port, "srvr"))
            except OSError:
                return ""
            return found.group(1).decode() if found else ""

        def leader():
            modes = [mode(s) for s in self.apache]
            return sorted(modes) == ["follower", "leader"] and self.sids[modes.index("leader")]

        return server.wait_until("a leader", leader, 60, 0.05)

    def stop(self):
        for s in self.apache:
            server.signal_pid(s.process.pid, server.signal.SIGKILL)
            s.process.wait()


def votes_for_a_greater_sid():
    """Ours has the least vote: it takes over theirs and follows whom they elect."""
    e = Ensemble([2, 3], 1).start()
    p = Peer(e, 1, "0", 0)
    p.wait(r"< ([23]) LOOKING \1/0/0 r\d+: better vote -> LOOKING \1/0/0", 60)
    p.wait(r"DECIDED FOLLOWING vote=[23]")
    leader = e.wait_leader()
    # It looks again: now there is an ensemble, of a refreshed epoch.
    p.look_again()
    p.wait(r"DECIDED FOLLOWING vote=%d epoch=[1-9]" % leader)
    p.end()
    e.stop()


def is_elected_by_them():
    """Ours has the best vote: both others take it over, and it would lead."""
    e = Ensemble([1, 2], 3).start()
    p = Peer(e, 3, "700000001", 7)
    p.wait(r"< [12] LOOKING 3/700000001/7 r\d+", 60)
    p.wait(r"DECIDED LEADING vote=3 epoch=7 ")
    # Without a quorum port it can't: they look again, and elect among themselves once it is gone.
    p.end()
    e.wait_leader()
    e.stop()


def makes_the_quorum():
    """One of theirs is down: the other is elected by our vote alone."""
    e = Ensemble([2, 3], 1)
    e.apache[0].start(wait=False)
    p = Peer(e, 1, "0", 0)
    p.wait(r"DECIDED FOLLOWING vote=2", 60)
    p.look_again()
    # Whether it still waits for a follower, or looks again: it is elected by us and itself.
    p.wait(r"< 2 (LOOKING|LEADING) 2/0/0 r\d+")
    p.wait(r"DECIDED FOLLOWING vote=2")
    p.end()
    e.apache.pop()
    e.stop()


def joins_late():
    """An ensemble serves already: joined at once, by the votes of its members."""
    e = Ensemble([1, 3], 2).start()
    leader = e.wait_leader()
    p = Peer(e, 2, "900000000", 9)
    p.wait(r"(elected in this round|an ensemble has a leader) -> FOLLOWING %d/0/" % leader)
    p.end()
    e.stop()


def observes():
    """As an observer of the list, and as a server that no list names."""
    e = Ensemble([1, 2], 4, ":observer").start()
    leader = e.wait_leader()
    for sid in (4, 9):
        p = Peer(e, sid, "0", 0, "observer")
        p.wait(r"DECIDED OBSERVING vote=%d epoch=[1-9]" % leader)
        p.end()
    e.stop()


def main():
    score = Score()
    for case in (votes_for_a_greater_sid, is_elected_by_them, makes_the_quorum, joins_late,
                 observes):
        score.case(case.__name__, case)
        server.end_all()        # each case stands alone
    return score.end()


if __name__ == "__main__":
    sys.exit(main())

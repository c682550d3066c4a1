#!/usr/bin/python3
"""A member whose tree is not its leader's must not answer from it: V10, on live processes.

  doubt.py [SPEC ...]

Each spec (see ensemble.py; default ppp and app) has a follower's memory damaged: every copy of one
znode's ctime in its writer's tree gets another bit. Then somebody changes that znode. The follower
finds out, tells nobody, and takes the leader's state; it serves again what the others have. A second
time within an hour is counted, and service goes on. Prints "RESULT passed failed".
"""
import argparse
import re
import struct
import sys
import time

import ensemble as en
import wire as w
from cases import Score
from ensemble import Ensemble
from server import wait_until

WINDOWS = (0x7E8000000000, 0x7EA000000000)      # shm/region.h: where a generation's tree is
WINDOW_BYTES = 128 << 30
PATH = "/damaged"


def tree_of(pid):
    """[(start, end)] of the tree, in a process that may write it."""
    with open("/proc/%d/maps" % pid) as f:
        for line in f:
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            if any(b <= start < b + WINDOW_BYTES for b in WINDOWS) and " rw" in line:
                yield start, end


def flip(pid, value):
    """Another bit in each aligned word of the tree that has this value; how many."""
    found, piece, word = 0, 1 << 20, struct.pack("<q", value)
    with open("/proc/%d/pagemap" % pid, "rb") as pages, open("/proc/%d/mem" % pid, "r+b", 0) as mem:
        for start, end in tree_of(pid):
            for at in range(start, end, piece):
                pages.seek(at // 4096 * 8)
                there = pages.read(min(piece, end - at) // 4096 * 8)
                if not any(there[i + 7] & 0xC0 for i in range(0, len(there), 8)):
                    break                       # memory is taken from the beginning
                mem.seek(at)
                held = mem.read(min(piece, end - at))
                for m in re.finditer(re.escape(word), held):
                    if m.start() % 8 == 0:
                        mem.seek(at + m.start())
                        mem.write(struct.pack("<q", value ^ 1 << 33))
                        found += 1
    return found


def damage(e, victim):
    e.leader().do(w.CREATE, w.create(PATH, b"x"))
    victim.do(w.SYNC, w.buf(PATH))
    stat = victim.do(w.GET_DATA, w.read(PATH))[1]
    found = flip(victim.writer(), stat.ctime)
    if not found or victim.do(w.GET_DATA, w.read(PATH))[1].ctime == stat.ctime:
        raise AssertionError("%d words changed, and nobody sees it" % found)
    return stat


def count(member, key):
    return int(member.figures().get(key, -1))


def run(spec):
    """The number of facts that held."""
    with Ensemble(spec) as e:
        e.start()
        for n in range(50):
            e.leader().do(w.CREATE, w.create("/n%d" % n, b"data"))
        victim = [m for m in e.followers() if m.kind == "paddock"][0]
        before = damage(e, victim)
        client, writer, began = victim.session(), victim.writer(), time.monotonic()
        e.leader().do(w.SET_DATA, w.set_data(PATH, b"y"))
        wait_until("another writer", lambda: victim.writer() not in (None, writer), 20)
        try:                            # no answer from the damaged tree
            client.ask(w.GET_DATA, w.read(PATH))
            raise AssertionError("a client was kept")
        except (OSError, w.Closed):
            pass
        e.serving(60)
        e.leader().do(w.SET_DATA, w.set_data(PATH, b"z"))
        wait_until("agreement", lambda: count(victim, "zk_paddock_tree_doubted") == 0, 20)
        print("  %.1f s out of service" % (time.monotonic() - began), flush=True)
        e.check_equal()
        after = victim.do(w.GET_DATA, w.read(PATH))[1]
        log = victim.log_tail(1 << 20)
        if after.ctime != before.ctime or count(victim, "zk_digest_mismatches_count") != 1:
            raise AssertionError("%r, %s" % (after, victim.figures()))
        for said in ("the tree is not the leader's behind", "snapshot zxid=.* is ours now"):
            if len(re.findall(said, log)) != 1:
                raise AssertionError("the log does not say once: " + said)
        # Again, within the hour: told, and no reason to leave.
        writer = victim.writer()
        e.leader().do(w.DELETE, w.path_version(PATH))
        damage(e, victim)
        e.leader().do(w.SET_DATA, w.set_data(PATH, b"w"))
        wait_until("a count", lambda: count(victim, "zk_digest_mismatches_count") > 1, 20)
        if victim.writer() != writer or victim.mode() != "follower":
            raise AssertionError("it left again")
    return 4


def main():
    p = argparse.ArgumentParser()
    p.add_argument("specs", nargs="*", default=["ppp", "app"])
    o = p.parse_args()
    score = Score()
    for spec in en.possible(o.specs):
        score.case(spec, run, spec)
    return score.end()


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/python3
"""A member that can't read its history has no vote until a leader has sent its state: V11, on live
processes whose files are damaged.

  rot.py [CASE ...]

Cases: log and snapshot damage a follower of ppp so, under load; leader its log; mixed a
Paddock under Apache's servers; two damages two of three, which may not elect anybody then. Prints
"RESULT passed failed".
"""
import argparse
import glob
import os
import shutil
import sys

import ensemble as en
import wire as w
from cases import Score
from ensemble import Ensemble
from load import Load
from server import wait_until

PAGE = 4096
LOAD = 200                  # writes under way before, half as many behind
CONF = {"snapCount": 300}
GIVEN_UP = "the history is given up"
INSTALLED = "this member votes again"


def flip(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)
        f.seek(at)
        f.write(bytes([byte[0] ^ 0x10]))


def blocks(path):
    """Where the blocks of a segment begin."""
    with open(path, "rb") as f:
        held = f.read()
    return [at for at in range(PAGE, len(held), PAGE) if held[at + 8:at + 12] == b"PBLK"]


def files(member, kind):
    return sorted(glob.glob(os.path.join(member.data, "version-2", "paddock.%s.%s" % (
        kind, "[0-9a-f]" * 16))))


def damage_log(member):
    """A byte in the middle of the newest segment that has a middle."""
    for path in reversed(files(member, "log")):
        at = blocks(path)
        if len(at) >= 8:
            flip(path, at[len(at) // 2] + 70)
            return path
    raise AssertionError("no log to damage: %s" % files(member, "log"))


def damage_snapshot(member):
    """Every snapshot, and where the log begins: there is no way around them."""
    found = files(member, "snapshot")
    if not found:
        raise AssertionError("no snapshot to damage")
    for path in found:
        flip(path, os.path.getsize(path) // 2)
    flip(files(member, "log")[0], 40)
    return found[-1]


def aside(member):
    return os.listdir(os.path.join(member.data, "version-2", "damaged"))


def fill(e, n=400):
    """So much that each log has a middle."""
    c = e.leader().session()
    try:
        for i in range(n):
            c.ok(w.CREATE, w.create("/fill%d-%d" % (len(e.led), i), b"x" * 64))
    finally:
        c.close()


def check_back(e, victim, path):
    """It serves, by its leader's state, and has what the others have; 3 facts."""
    log = victim.log_tail(1 << 20)
    for said in (GIVEN_UP, INSTALLED):
        if log.count(said) != 1:
            raise AssertionError("%r: %d times %r:\n%s" % (victim, log.count(said), said, log))
    if os.path.basename(path) not in aside(victim):
        raise AssertionError("%s is not kept: %s" % (path, aside(victim)))
    if victim.figures().get("zk_paddock_must_sync") != "0":
        raise AssertionError("%r still has no vote" % victim)
    return 3


def one(spec, damage, leader=False):
    with Ensemble(spec, CONF) as e:
        e.start()
        fill(e)
        if "a" in spec:     # whom it comes back to is Apache's
            victim = [m for m in e.members if m.kind == "paddock"][0]
        else:
            victim = e.leader() if leader else e.followers()[0]
        load = Load(e, "/load", 1)
        try:
            load.start()
            load.more(LOAD)
            victim.kill()
            path = damage(victim)
            victim.start(wait=False)
            lead = e.serving(60)
            if "a" in spec and lead is victim:
                raise AssertionError("it leads, without its history")
            load.more(LOAD // 2)
        finally:
            wrong = load.finish()
        if wrong:
            raise AssertionError("\n".join(map(str, wrong)))
        e.check_equal()
        return check_back(e, victim, path) + 2


def two():
    """Nobody may be elected by two that lost their histories; a third that is whole is too few."""
    with Ensemble("ppp") as e:
        e.start()
        fill(e)
        tree = e.compare()
        whole = e.leader()
        lost = e.followers()
        for m in e.members:
            m.kill()
        for m in lost:
            damage_log(m)
        for m in e.members:
            m.start(wait=False)

        def told():
            return all("no leader yet, and this member has no vote" in m.log_tail(1 << 20)
                       for m in lost)
        wait_until("both say why", told, 40)
        for m in e.members:
            if m.mode():
                raise AssertionError("%r serves as %s" % (m, m.mode()))
        for m in lost:
            if "no vote before a leader" not in m.ask("srvr"):
                raise AssertionError("%r does not say why: %s" % (m, m.ask("srvr")))
        if "leadership serves" in whole.log_tail(1 << 20):
            raise AssertionError("%r led" % whole)
        # What an operator does: the whole directory for the others.
        for m in e.members:
            m.kill()
        for m in lost:
            m.wipe()
            copy(whole, m)
        e.start()
        if e.compare() != tree:
            raise AssertionError("the tree is another")
    return 4


def copy(source, target):
    shutil.copytree(os.path.join(source.data, "version-2"), os.path.join(target.data, "version-2"),
                    dirs_exist_ok=True)


CASES = {
    "log": lambda: one("ppp", damage_log),
    "snapshot": lambda: one("ppp", damage_snapshot),
    "leader": lambda: one("ppp", damage_log, leader=True),
    "mixed": lambda: one("aap", damage_log),
    "two": two,
}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("cases", nargs="*", default=list(CASES))
    o = p.parse_args()
    score = Score()
    for name in o.cases if en.possible(["ppp"]) else []:
        score.case(name, CASES[name])
    return score.end()


if __name__ == "__main__":
    sys.exit(main())

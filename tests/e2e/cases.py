"""Runner of plain test functions against one server.

A module lists functions test_*(server); run(globals()) calls them in order, prints what fails
and ends with "RESULT passed failed". After each test the server must still be serving.

A busy machine makes everybody late, and nobody early: a test that was late alone, within(), is
given two more chances; what is late by a defect is late each time.
"""
import sys
import time
import traceback

import wire as w
from server import Server, end_all


def paddock_only(test):
    """A test of what ZooKeeper 3.8 does otherwise or not at all."""
    test.paddock_only = True
    return test


def expect(what, got, wanted):
    if got != wanted:
        raise AssertionError("%s: got %r, wanted %r" % (what, got, wanted))


class Late(AssertionError):
    """A time limit was missed, and nothing else was wrong."""


def within(what, seconds, most, least=0):
    if seconds < least:
        raise AssertionError("%s: %.3f s, too early: at least %g" % (what, seconds, least))
    if seconds > most:
        raise Late("%s: %.3f s, at most %g" % (what, seconds, most))


def in_time(test, *args):
    """The test, once more when it was late, and again."""
    for _ in range(2):
        try:
            return test(*args)
        except Late as e:
            print("late, once more: %s" % e, flush=True)
    return test(*args)


def serves(server):
    c = w.session(server.port)
    c.ok(w.GET_DATA, w.read("/"))
    c.close()


def run(names, conf=None, argv=None):
    """argv: names of tests to run, all if empty."""
    tests = [(n, f) for n, f in names.items() if n.startswith("test_")]
    chosen = sys.argv[1:] if argv is None else argv
    passed = failed = skipped = 0
    with Server(conf=conf) as server:
        for name, test in tests:
            if chosen and not any(c in name for c in chosen):
                continue
            if getattr(test, "paddock_only", False) and server.kind != "paddock":
                skipped += 1
                continue
            began = time.monotonic()
            try:
                in_time(test, server)
                serves(server)
                passed += 1
                if time.monotonic() - began > 5:
                    print("slow: %.1f s %s" % (time.monotonic() - began, name))
            except Exception:  # pylint: disable=broad-except
                failed += 1
                print("FAILED %s (%.1f s)\n%s" % (name, time.monotonic() - began,
                                                  traceback.format_exc()), flush=True)
                if not _usable(server):
                    print("   server log: %s" % server.log_tail(1500))
                    server.__exit__()
                    server.start()
    print("RESULT %d %d%s" % (passed, failed, " (%d not for %s)" % (skipped, server.kind)
                              if skipped else ""))
    end_all()
    return 1 if failed else 0


def _usable(server):
    try:
        serves(server)
        return True
    except Exception:  # pylint: disable=broad-except
        return False

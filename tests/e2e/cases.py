"""Runner of plain test functions against one server.

A module lists functions test_*(server); run(globals()) calls them in order, prints what fails
and ends with "RESULT passed failed". After each test the server must still be serving.
Scripts whose cases start servers of their own keep a Score.

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


class Score:
    """How many facts held, how many cases did not."""

    def __init__(self):
        self.passed = self.failed = 0

    def case(self, name, case, *args):
        """True if it held; it may return how many facts it consists of."""
        print(name, flush=True)
        began = time.monotonic()
        try:
            facts = case(*args)
        except Exception as e:  # pylint: disable=broad-except
            self.failed += 1
            print("FAILED: %s: %s: %s" % (name, type(e).__name__, e))
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
            return False
        self.passed += 1 if facts is None else facts
        print("  %s: %.1f s" % (name, time.monotonic() - began), flush=True)
        return True

    def end(self):
        """The exit status."""
        print("RESULT %d %d" % (self.passed, self.failed), flush=True)
        end_all()
        return 1 if self.failed else 0


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

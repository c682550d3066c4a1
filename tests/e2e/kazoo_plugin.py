"""pytest plugin: kazoo's own suite, its Java cluster replaced by one server of ours.

Loaded by kazoo_suite.py with -p. Tests that can't mean anything for a standalone server without
Java are left out here, by name and with the reason, and nowhere else.

KILL_WRITER=seconds kills the server's writer when it has served so long, which no client may notice.
"""
import gc
import os
import signal
import sys
import threading
import types
import unittest.mock

from server import Server, signal_pid


def count_objects(name):
    return sum(type(o).__name__ == name for o in gc.get_objects())


# Two modules that the suite wants and that need not be installed for what it uses of them.
sys.modules.setdefault("mock", unittest.mock)
sys.modules.setdefault("objgraph", types.SimpleNamespace(count=count_objects))

import kazoo.testing.harness as harness  # noqa: E402  (needs mock)

KILL_WRITER = float(os.environ.get("KILL_WRITER", 0))
LEFT_OUT = {
    "::test_update_host_list": "needs three servers",
    "test_connection.py::TestReadOnlyMode::": "needs a cluster that loses its quorum",
    "test_client.py::TestReconfig::": "needs a cluster of three",
    "test_sasl.py::": "needs SASL modules of a Java server",
    "test_build.py::": "tests the configuration of kazoo's own CI",
}


class Killer(threading.Thread):
    """Kills the writer of a server, so long after it has begun to serve, until it is told to stop."""

    kills = 0

    def __init__(self, server, seconds):
        super().__init__(daemon=True)
        self.server, self.seconds, self.halt = server, seconds, threading.Event()
        self.start()

    def run(self):
        while not self.halt.wait(self.seconds):
            for pid in self.server.titled("paddockd: writer"):
                Killer.kills += signal_pid(pid, signal.SIGKILL)
            while not self.serves() and not self.halt.wait(0.05):
                pass

    def serves(self):
        log = self.server.log_tail()
        return any(" writer pid=%d serving" % pid in log
                   for pid in self.server.titled("paddockd: writer"))

    def stop(self):
        self.halt.set()
        self.join()


class OneServer:
    """What kazoo's harness wants of a member of its cluster."""

    def __init__(self):
        self.server = Server(conf={
            "DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU="})
        self.running, self.killer = False, None

    @property
    def address(self):
        return self.server.address

    @property
    def client_port(self):
        return self.server.port

    def run(self):
        if not self.running:
            self.server.start()
            self.running = True
            if KILL_WRITER:
                self.killer = Killer(self.server, KILL_WRITER)

    def stop(self):
        if self.running:
            if self.killer:
                self.killer.stop()
            self.server.stop()
            self.running = False

    def reset(self):
        self.stop()

    def destroy(self):
        self.stop()


class Cluster:
    def __init__(self, **_):
        self.members = [OneServer()]

    def __iter__(self):
        return iter(self.members)

    def __getitem__(self, k):
        return self.members[k]

    def start(self):
        self.members[0].run()

    def stop(self):
        self.members[0].stop()

    terminate = stop

    def reset(self):
        self.members[0].reset()


harness.ZookeeperCluster = Cluster


def pytest_collection_modifyitems(config, items):
    out = [i for i in items if any(name in i.nodeid for name in LEFT_OUT)]
    config.hook.pytest_deselected(items=out)
    items[:] = [i for i in items if i not in out]


def pytest_sessionfinish(session):
    if KILL_WRITER:
        print("\nkilled the writer %d times" % Killer.kills)
        if Killer.kills < 10:
            session.exitstatus = 1

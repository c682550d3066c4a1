"""pytest plugin: kazoo's own suite, its Java cluster replaced by one server of ours.

Loaded by kazoo_suite.py with -p. Tests that can't mean anything for a standalone server without
Java are left out here, by name and with the reason, and nowhere else.
"""
import gc
import sys
import types
import unittest.mock

from server import Server


def count_objects(name):
    return sum(type(o).__name__ == name for o in gc.get_objects())


# Two modules that the suite wants and that need not be installed for what it uses of them.
sys.modules.setdefault("mock", unittest.mock)
sys.modules.setdefault("objgraph", types.SimpleNamespace(count=count_objects))

import kazoo.testing.harness as harness  # noqa: E402  (needs mock)

LEFT_OUT = {
    "::test_update_host_list": "needs three servers",
    "test_connection.py::TestReadOnlyMode::": "needs a cluster that loses its quorum",
    "test_client.py::TestReconfig::": "needs a cluster of three",
    "test_sasl.py::": "needs SASL modules of a Java server",
    "test_build.py::": "tests the configuration of kazoo's own CI",
}


class OneServer:
    """What kazoo's harness wants of a member of its cluster."""

    def __init__(self):
        self.server = Server(conf={
            "DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU="})
        self.running = False

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

    def stop(self):
        if self.running:
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

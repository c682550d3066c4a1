#!/usr/bin/python3
"""kazoo's own test suite (Debian's python3-kazoo) against one server.

  kazoo_suite.py [--kill-writer SECONDS] [arguments of pytest]

With --kill-writer the server's writer is killed when it has served so long, and everything must
pass as ever.
"""
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

from server import HERE, end_all, spawn


def main():
    env = dict(os.environ, PYTHONPATH=HERE, PYTHONDONTWRITEBYTECODE="1",
               ZOOKEEPER_VERSION="3.8.0", ZOOKEEPER_CLUSTER_SIZE="1", ZOOKEEPER_PATH="unused")
    args = sys.argv[1:]
    if args[:1] == ["--kill-writer"]:
        env["KILL_WRITER"], args = args[1], args[2:]
    with tempfile.TemporaryDirectory(prefix="e2e-kazoo-") as where:
        results = os.path.join(where, "results.xml")
        command = ["/usr/bin/python3", "-m", "pytest", "-p", "kazoo_plugin", "-p", "no:cacheprovider",
                "--pyargs", "kazoo.tests", "-q", "--tb=short", "-W", "ignore",
                "--show-capture=no", "--junitxml=" + results, *args]
        p = spawn(command, env=env, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        text = p.communicate()[0].decode(errors="replace")
        try:
            cases = list(xml.etree.ElementTree.parse(results).iter("testcase"))
        except OSError:
            cases = []
    bad = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = [c for c in cases if c.find("skipped") is not None]
    for c in bad:
        print("FAILED %s.%s (%s s)" % (c.get("classname"), c.get("name"), c.get("time")))
        for kind in ("failure", "error"):
            for f in c.findall(kind):
                print((f.text or "")[-2500:])
    if not cases:
        print(text[-5000:])
    for c in sorted(cases, key=lambda c: -float(c.get("time")))[:5]:
        print("slow: %s s %s" % (c.get("time"), c.get("name")))
    passed, failed = len(cases) - len(bad) - len(skipped), len(bad) or int(p.returncode != 0)
    print("RESULT %d %d (%d skip themselves)" % (passed, failed, len(skipped)))
    end_all()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

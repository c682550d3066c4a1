#!/usr/bin/python3
"""Client libraries and their recipes across disturbances of the server.

Each client is a program that sets up, prints READY, waits for a line, and then must go on with
the session it had. Between the two, E2E_DISTURB happens: restart, kill (-9 of everything),
worker, writer (-9 of one), none. Without it every disturbance that this server has is tried.

  clients.py curator | c | kazoo
"""
import os
import shutil
import subprocess
import sys
import tempfile
import time

import kazoo_client
from server import HERE, JAVA_PATH, Server, disturbances, end_all, spawn

JARS = ["curator-recipes", "curator-framework", "curator-client", "guava", "zookeeper",
        "zookeeper-jute", "zookeeper-recipes-lock", "zookeeper-recipes-queue",
        "zookeeper-recipes-election", "slf4j-api", "slf4j-nop"]
CLASSES = ":".join("%s/%s.jar" % (JAVA_PATH, j) for j in JARS)
CONF = {"tickTime": 2000, "maxSessionTimeout": 60000}


def build_java(where):
    subprocess.run(["javac", "-nowarn", "-cp", CLASSES, "-d", where,
                    os.path.join(HERE, "java", "Recipes.java")], check=True, stderr=subprocess.DEVNULL)
    return lambda address: ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", where + ":" + CLASSES,
                            "Recipes", address]


def build_c(where):
    program = os.path.join(where, "cclient")
    subprocess.run(["gcc", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-DTHREADED",
                    "-o", program, os.path.join(HERE, "cclient.c"), "-lzookeeper_mt", "-lpthread"],
                   check=True)
    return lambda address: [program, address]


def build_kazoo(where):
    del where
    return lambda address: ["/usr/bin/python3", kazoo_client.__file__, address]


PROGRAMS = {"curator": build_java, "c": build_c, "kazoo": build_kazoo}


def one(command, how):
    """(passed, failed) of one client across one disturbance."""
    with Server(conf=CONF) as server:
        p = spawn(command(server.address), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                  stderr=subprocess.STDOUT, text=True, errors="replace")
        lines, result = [], None
        for line in p.stdout:
            lines.append(line)
            if line.startswith("READY"):
                server.disturb(how)
                p.stdin.write("go\n")
                p.stdin.flush()
            elif line.startswith("RESULT"):
                result = [int(n) for n in line.split()[1:3]]
        p.wait()
        if result is None or result[1] or p.returncode:
            print("".join(lines[-60:]))
            print("   exit status %s; server log: %s" % (p.returncode, server.log_tail(1000)))
            return result if result and result[1] else (0, 1)
        return result


def main():
    what = sys.argv[1]
    chosen = os.environ.get("E2E_DISTURB")
    passed = failed = 0
    where = tempfile.mkdtemp(prefix="e2e-clients-")
    try:
        command = PROGRAMS[what](where)
        for how in chosen.split(",") if chosen else disturbances():
            began = time.monotonic()
            good, bad = one(command, how)
            passed, failed = passed + good, failed + bad
            print("%s across %s: %d passed, %d failed, %.0f s" % (what, how, good, bad,
                                                                  time.monotonic() - began),
                  flush=True)
    finally:
        shutil.rmtree(where, True)
    print("RESULT %d %d" % (passed, failed))
    end_all()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

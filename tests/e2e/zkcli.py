#!/usr/bin/python3
"""zkCli.sh as people use it: a scripted session, each command's output checked."""
import os
import re
import subprocess
import sys
import time

from server import APACHE_CLASSES, Server, disturbances, end_all, spawn

CLI_MT = "/usr/lib/zookeeper/bin/cli_mt"
ZKCLI = "/usr/share/zookeeper/bin/zkCli.sh"
LOST = "ConnectionLoss"
JARS = "commons-cli jline slf4j-api slf4j-nop zookeeper zookeeper-jute".split()

# (command, [patterns that its output must have]); "!pattern": must not have
SCRIPT = [
    ("create /cli data", ["Created /cli"]),
    ("create /cli x", ["Node already exists: /cli"]),
    ("get /cli", ["^data$"]),
    ("get -s /cli", ["^data$", "^cZxid = 0x", "^dataVersion = 0$", "^dataLength = 4$",
                     "^ephemeralOwner = 0x0$", "^numChildren = 0$"]),
    ("set /cli newer", ["!Exception"]),
    ("set -v 9 /cli x", ["version No is not valid : /cli"]),
    ("stat /cli", ["^dataVersion = 1$", "^mZxid = 0x", "^cversion = 0$"]),
    ("create -e /cli/eph e", ["Created /cli/eph"]),
    ("create -s /cli/seq- s", ["Created /cli/seq-0000000001"]),
    ("create -c /cli/container", ["Created /cli/container"]),
    ("create /cli/eph/child", ["Ephemerals cannot have children: /cli/eph/child"]),
    ("ls /cli", [r"^\[container, eph, seq-0000000001\]$"]),
    ("ls -s /cli", ["^numChildren = 3$"]),
    ("ls -R /", ["^/cli/seq-0000000001$", "^/zookeeper/quota$", "^/$"]),
    ("ls /nowhere", ["Node does not exist: /nowhere"]),
    ("getAcl /cli", ["'world,'anyone", ": cdrwa"]),
    ("addauth digest me:secret", ["!Exception"]),
    ("create /private p auth::cdrwa", ["Created /private"]),
    ("getAcl /private", ["'digest,'me:", ": cdrwa"]),
    ("setAcl /cli world:anyone:cdrw", ["!Exception"]),
    ("setAcl /private world:anyone:r", ["!Exception"]),
    ("getAcl /private", ["'world,'anyone", ": r"]),
    ("set /private x", ["Insufficient permission : /private"]),
    ("getAllChildrenNumber /cli", ["^3$"]),
    ("getEphemerals", ["/cli/eph"]),
    ("getEphemerals /nope", ["!/cli/eph"]),
    ("whoami", ["^ip: 127.0.0.1$", "^digest: me$"]),
    ("sync /cli", ["Sync is OK"]),
    ("setquota -n 4 /cli", ["!Exception"]),
    ("listquota /cli", ["Output quota for /cli count=4,bytes=-1", "Output stat for /cli count=4"]),
    ("delquota /cli", ["!Exception"]),
    ("listquota /cli", ["quota for /cli does not exist"]),
    ("addWatch -m PERSISTENT_RECURSIVE /cli", ["!Exception"]),
    ("set /cli/seq-0000000001 w", ["type:NodeDataChanged path:/cli/seq-0000000001"]),
    ("removewatches /cli", ["!Exception"]),
    ("get -w /cli", ["^newer$"]),
    ("set /cli third", ["type:NodeDataChanged path:/cli"]),
    ("config", ["!Exception"]),
    ("delete /cli", ["Node not empty: /cli"]),
    ("delete -v 5 /cli/seq-0000000001", ["version No is not valid"]),
    ("delete /cli/seq-0000000001", ["!Exception"]),
    ("create /tree", ["Created /tree"]),
    ("create /tree/a", ["Created /tree/a"]),
    ("create /tree/a/b", ["Created /tree/a/b"]),
    ("deleteall /tree", ["!Exception"]),
    ("ls /tree", ["Node does not exist: /tree"]),
    ("reconfig -remove 1", ["Reconfig is disabled"]),
    ("version", ["ZooKeeper CLI version: 3"]),
]


def check(output, patterns):
    wrong = []
    for p in patterns:
        if p.startswith("!"):
            if re.search(p[1:], output, re.M):
                wrong.append("has " + p[1:])
        elif not re.search(p, output, re.M):
            wrong.append("lacks " + p)
    return wrong


class Shell:
    """A running zkCli; what it printed up to each answer."""

    def __init__(self, server):
        path = ":".join("/usr/share/java/%s.jar" % j for j in JARS) + ":" + APACHE_CLASSES
        self.p = spawn(["java", "-Dzookeeper.log.dir=.", "-cp", path,
                        "org.apache.zookeeper.ZooKeeperMain", "-server", server.address],
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, cwd=server.dir)
        self.marks = 0

    def send(self, command):
        self.p.stdin.write(command + "\n")
        self.p.stdin.flush()

    def ask(self, command):
        """Its output, with what watches printed before it."""
        self.marks += 1
        # An unknown path is a mark: its error comes when all before it is answered.
        mark, text = "/mark-%d" % self.marks, ""
        self.send("%s\nget %s" % (command, mark))
        for line in self.p.stdout:
            if "Node does not exist: " + mark in line:
                break
            if LOST in line and line.rstrip().endswith(mark):
                time.sleep(0.1)         # the client itself tries again no sooner
                self.send("get " + mark)
            else:
                text += line
        return text

    def quit(self):
        self.send("quit")
        self.p.wait(30)


def answered(cli, command, patterns):
    """Its output. Events are printed by another thread of the client, and may come later."""
    text, deadline = cli.ask(command), time.monotonic() + 10
    while time.monotonic() < deadline and any(
            "type:" in p and not re.search(p, text, re.M) for p in patterns):
        text += cli.ask("sync /")
    return text


def shell(server):
    """All commands in one zkCli, the output of each."""
    cli = Shell(server)
    outputs = [answered(cli, command, patterns) for command, patterns in SCRIPT]
    cli.quit()
    return outputs


def through(server, cli, how):
    """A disturbance, and the shell goes on in its session: what is wrong, and all that it said."""
    path, said = "/through/%s" % how, ""
    said += cli.ask("create -e %s before" % path)
    server.disturb(how)
    for command, pattern in (("set %s after" % path, "^$|^[^E]*$"), ("get %s" % path, "^after$"),
                             ("getEphemerals /through", re.escape(path))):
        deadline = time.monotonic() + 30
        while True:
            output = cli.ask(command)
            said += output
            if LOST not in output or time.monotonic() > deadline:
                break
        if LOST in output or not re.search(pattern, output, re.M):
            return "%s lacks %s" % (command, pattern), said
    # A writer's death costs no connection.
    if how == "writer" and (LOST in said or "Disconnected" in said):
        return "the connection was lost", said
    return None, said


def disturbed(server):
    """(name, what is wrong, output) for each disturbance, all in one session of one shell."""
    cli = Shell(server)
    cli.ask("create /through x")
    for how in disturbances():
        wrong, said = through(server, cli, how)
        yield "through " + how, wrong, said
    cli.quit()


def one_shot(server, *command):
    """zkCli.sh itself, with a command on its command line."""
    p = subprocess.run([ZKCLI, "-server", server.address, *command], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
                       cwd=server.dir)
    return p.returncode, p.stdout


def c_shell(server, *command):
    """The shell of the C library, one command."""
    p = subprocess.run([CLI_MT, server.address, "cmd:" + " ".join(command)], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
                       cwd=server.dir, stdin=subprocess.DEVNULL)
    return p.returncode, p.stdout


SHOTS = [
    (one_shot, "create /shot x", 0, ["Created /shot"]),
    (one_shot, "get /shot", 0, ["^x$"]),
    (one_shot, "get /none", 1, ["Node does not exist"]),
    (c_shell, "get /shot", 0, [r"^/shot: rc = 0$", "^ value_len = 1$", "^x$"]),
    (c_shell, "set /shot y", 0, [r"^/shot: rc = 0 Stat:", "version=1"]),
    (c_shell, "ls /", 0, ["^\tshot$", "^\tzookeeper$"]),
]


def main():
    passed = failed = 0
    with Server() as server:
        for (command, patterns), output in zip(SCRIPT, shell(server)):
            wrong = check(output, patterns)
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if wrong:
                print("FAILED %s: %s\n%s" % (command, "; ".join(wrong), output))
        for runner, command, status, patterns in SHOTS:
            got, output = runner(server, *command.split())
            wrong = check(output, patterns) + ([] if got == status else ["status %d" % got])
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if wrong:
                print("FAILED %s: %s\n%s" % (command, "; ".join(wrong), output))
        for name, wrong, output in disturbed(server):
            passed, failed = passed + (not wrong), failed + bool(wrong)
            if wrong:
                print("FAILED %s: %s\n%s" % (name, wrong, output))
    print("RESULT %d %d" % (passed, failed))
    end_all()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

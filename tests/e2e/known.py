"""The differences from Apache ZooKeeper 3.8.0 that Paddock means, each with its reason.

docs/compatibility.md says the same to people. conform.py applies a row only where its test holds;
any other difference fails. A row's test gets the request, Apache's and Paddock's observation: a
list of frames of the comparison's form, ("event", ..) and ("reply", ..), see conform.py.
"""
import wire as w

ROWS = []


def row(name, reason):
    def add(test):
        ROWS.append((name, reason, test))
        return test
    return add


def replies(frames):
    return [f for f in frames if f[0] == "reply"]


def only_reply_differs(apache, paddock):
    return (len(apache) == len(paddock) and apache[:-1] == paddock[:-1]
            and apache[-1][0] == paddock[-1][0] == "reply")


@row("multi-create2", "3.9: a create2 in a multi is answered as create2, with its Stat")
def _(request, apache, paddock):
    if request.op != w.MULTI or not only_reply_differs(apache, paddock):
        return False
    (_, *head_a, body_a), (_, *head_p, body_p) = apache[-1], paddock[-1]
    if head_a != head_p or len(body_a) != len(body_p):
        return False
    ops = request.notes.get("ops", [])
    zxid = head_p[1]
    for op, a, p in zip(ops + [None], body_a, body_p):
        if a == p:
            continue
        if op not in (w.CREATE2, w.CREATE_CONTAINER):
            return False
        if a[0] != "create" or p[0] != "create2" or a[1:3] != p[1:3]:
            return False
        if p[3][0] != zxid or p[3][10] != zxid or p[3][4:7] != (0, 0, 0):
            return False
    return True


@row("multi-flags", "3.9: bad create flags or a null ACL refuse the whole multi, no results")
def _(request, apache, paddock):
    if request.op != w.MULTI or not request.notes.get("refused"):
        return False
    if not only_reply_differs(apache, paddock):
        return False
    (_, xid_a, zxid_a, err_a, body_a), (_, xid_p, zxid_p, err_p, _) = apache[-1], paddock[-1]
    failed = err_a == 0 and any(r[0] == "error" and r[1] for r in body_a)
    return (xid_a, zxid_a) == (xid_p, zxid_p) and failed and err_p == w.MARSHALLING


# Handled where requests are sent, as the two servers get different requests there:
ONLY_IN_39 = [
    ("event-zxid", "3.9: a notification's header carries the zxid of its transaction"),
    ("exists-read", "3.9: exists of a node that may not be read is refused, and sets no watch"),
    ("bare-check", "3.9: check outside of a multi is refused and closes"),
    ("watch-kinds", "3.9: several kinds of watch side by side; removeWatches knows them"),
    ("check-watches", "3.9: checkWatches looks at the asking connection only"),
]

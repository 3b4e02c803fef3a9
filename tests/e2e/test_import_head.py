#!/usr/bin/env python3
"""A Prometheus that was killed, moved over: its blocks, its log (out of order samples too) and, where that is damaged, its head chunks.

What the Prometheus answers after a start on its directory, Tidalite answers after the import: the same samples, none left out.
"""
import json
import os
import pathlib
import shutil
import sys

import lib
import test_prom_block as prom
import test_tools as tools
import wire
from test_tools import DAMAGED, tool, tool_json

suite = lib.Suite()
FLAGS = ["--web.enable-remote-write-receiver", "--web.enable-admin-api"]
SECONDS = 1200


def send(server, *series):
    answer = server.client.write(list(series))
    lib.expect(answer.status in (200, 204), f"Prometheus refused: {answer}")


def write_all(server, begin):
    for part in range(6):  # of several records, so that the log has them in turn
        span = range(part * SECONDS // 6, (part + 1) * SECONDS // 6)
        send(server, *(wire.Series(wire.labels("f", i=str(s)), samples=[(begin + 1000 * i, i / 3 + s) for i in span if i % (s + 1) == 0]) for s in range(4)))
        for name, is_float, gauge in (("hi", False, False), ("hf", True, False), ("gi", False, True), ("gf", True, True)):
            send(server, wire.Series(wire.labels(name, i="0"), histograms=[prom.histogram(begin + 1000 * i, i, is_float, gauge) for i in span if i % 5 == 0]))
    send(server, wire.Series(wire.labels("f", i="1"), samples=[(begin + 1000 * i, -float(i)) for i in range(1, 400, 2)]))  # late
    gone = {"match[]": 'f{i="2"}', "start": (begin + 100_000) / 1000, "end": (begin + 199_500) / 1000}
    lib.expect_equal(server.client.post("/api/v1/admin/tsdb/delete_series", gone).status, 204, "delete_series")
    send(server, wire.Series(wire.labels("f", i="3"), samples=[(begin + 1000 * SECONDS, wire.STALE)]))


def raw(client, at):
    found = {}
    for s in client.query('{i=~".+"}[3h]', at):
        found[lib.series_key(s["metric"])] = (s.get("values"), s.get("histograms"))
    return found


_made = {}


def killed():
    """(directory of a Prometheus that was killed, what one that starts on it answers, when)"""
    if not _made:
        prom.recent_prometheus()
        source = lib.folder("head-prometheus")
        begin = lib.now_ms() - (SECONDS + 60) * 1000
        at = (begin + 1000 * SECONDS + 5000) / 1000
        with prom.prometheus(source, *FLAGS, late="1h") as server:
            server.start()
            write_all(server, begin)
            server.kill()
        copy = lib.folder("head-prometheus") + "/data"
        shutil.copytree(source, copy)
        with prom.prometheus(source, *FLAGS, late="1h") as server:
            server.start()
            _made.update(data=copy, answers=raw(server.client, at), at=at)
        lib.expect(len(_made["answers"]) == 8, _made["answers"].keys())
    copy = lib.folder("head-prometheus") + "/data"
    shutil.copytree(_made["data"], copy)
    return copy, _made["answers"], _made["at"]


def asked(target, at):
    result = json.loads(tool("query", "instant", target, '{i=~".+"}[3h]', f"--time={at:.3f}", "--json")[0])["result"]
    return {lib.series_key(s["metric"]): (s.get("values"), s.get("histograms")) for s in result}


def expect_same(found, theirs):
    lib.expect_equal(sorted(found), sorted(theirs), "series")
    for key, (values, histograms) in theirs.items():
        lib.expect_equal(found[key][0], values, f"{key}: floats")
        lib.expect_equal(found[key][1], histograms, f"{key}: histograms")


@suite.case
def import_prometheus__killed_with_everything_in_its_log__the_same_answers():
    source, theirs, at = killed()
    lib.expect(os.listdir(f"{source}/wbl") and os.listdir(f"{source}/wal"), os.listdir(source))
    target = lib.folder("head-import") + "/data"
    before = tools.listing(source)
    rows = tool_json("import", "prometheus", source, target)
    lib.expect(tools.listing(source) == before, "the source changed")
    lib.expect_equal([(r["ulid"], r["state"]) for r in rows], [("wal", "imported")], "the report")
    lib.expect_equal(rows[0]["samples"], sum(map(len, tools.dumped(target).values())), "samples")
    lib.expect(rows[0]["samples"] > sum(len(v or []) + len(h or []) for v, h in theirs.values()), "the stale markers")
    expect_same(asked(target, at), theirs)
    err = tool("import", "prometheus", source, target)[1]
    lib.expect("refused" not in err, err)
    expect_same(asked(target, at), theirs)
    tools.server_starts(target)


@suite.case
def import_prometheus__blocks_and_a_log__both_once():
    promtool, binary = prom.program("promtool"), prom.recent_prometheus()
    source = lib.folder("head-blocks")
    now = lib.now_ms() // 7_200_000 * 7_200_000
    text = pathlib.Path(lib.folder("head-text"), "old.txt")
    old = now - 8 * 3600 * 1000
    text.write_text("# TYPE f gauge\n" + "".join(f'f{{i="0"}} {i} {(old + 60_000 * i) / 1000}\n' for i in range(200)) + "# EOF\n", encoding="utf-8")
    prom.run(promtool, "tsdb", "create-blocks-from", "openmetrics", str(text), source)
    at = lib.now_ms() / 1000
    with prom.prometheus(source, *FLAGS) as server:
        server.start()
        last = lib.now_ms() - 30_000
        send(server, wire.Series(wire.labels("f", i="0"), samples=[(last - 1000 * i, float(i)) for i in range(1000)][::-1]))
        at = (last + 1000) / 1000
        server.kill()
    target = lib.folder("head-import") + "/data"
    rows = tool_json("import", "prometheus", source, target)
    lib.expect_equal((rows[-1]["ulid"], rows[-1]["samples"], sum(r["samples"] for r in rows)), ("wal", 1000, 1200), "the report")
    with prom.prometheus(source, *FLAGS) as server:
        server.start()
        query = 'f{i="0"}[20h]'
        theirs = [s["values"] for s in server.client.query(query, at)]
        ours = json.loads(tool("query", "instant", target, query, f"--time={at:.3f}", "--json")[0])["result"]
        lib.expect_equal([s["values"] for s in ours], theirs, "samples")
        lib.expect_equal(len(theirs[0]), 1200, "samples of the Prometheus")


@suite.case
def import_prometheus__log_cut_to_a_checkpoint__its_segments_first_and_older_ones_not():
    source, theirs, at = killed()
    wal = pathlib.Path(source, "wal")
    checkpoint = wal / "checkpoint.00000000"
    checkpoint.mkdir()
    shutil.copy(wal / "00000000", checkpoint)
    (wal / "00000000").write_bytes(b"what a checkpoint stands for is not read")
    (wal / "00000001").write_bytes(b"")
    target = lib.folder("head-import") + "/data"
    tool("import", "prometheus", source, target)
    expect_same(asked(target, at), theirs)


@suite.case
def import_prometheus__log_damaged_in_the_middle__said_and_the_rest_is_taken():
    source, theirs, at = killed()
    (segment,) = [p for p in pathlib.Path(source, "wal").iterdir() if p.is_file()]
    whole = segment.read_bytes()
    end = len(whole.rstrip(b"\0"))
    target = lib.folder("head-import") + "/data"
    segment.write_bytes(whole[:end * 3 // 4] + bytes([whole[end * 3 // 4] ^ 64]) + whole[end * 3 // 4 + 1:])
    err = tool("import", "prometheus", source, target, code=DAMAGED)[1]
    lib.expect("damage" in err and segment.name in err, err)
    found = asked(target, at)
    for key, (values, histograms) in found.items():
        lib.expect(all(v in theirs[key][0] for v in values or []), f"{key}: what nobody wrote")
        lib.expect(len(values or []) + len(histograms or []) > len(theirs[key][0 if values else 1]) * 0.8, f"{key}: too much is gone")
    # Cut where a death leaves it: no damage, and what was there is taken.
    segment.write_bytes(whole[:end - 3])
    target = lib.folder("head-import") + "/data"
    tool("import", "prometheus", source, target)


if __name__ == "__main__":
    sys.exit(suite.main())

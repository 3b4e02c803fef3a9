#!/usr/bin/env python3
"""The commands for a data directory without a server, on directories as servers leave them.

What is read offline is compared with what was written, and every read-only command with a listing of the directory before and
after: not a byte, name or modification time may change.  promtool judges what is exported, where it is to be had.
"""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import lib
import wire

suite = lib.Suite()

RANGE_MS = 10_000
FLAGS = [f"--{lib.BLOCK_RANGE_FLAG}={RANGE_MS // 1000}s", "--storage.tsdb.retention.time=50y"]
T0 = 1_700_006_400_000
OK, FAILED, USAGE, DAMAGED, BUSY, INTERRUPTED = 0, 1, 2, 3, 4, 130


def tool(*args, code=OK):
    """(stdout, stderr) of a command that ends with this exit code."""
    got, out, err = lib.run_binary(*map(str, args))
    lib.expect(got == code, f"{args}: exit code {got}, expected {code}\nstdout: {lib.short(out)}\nstderr: {lib.short(err)}")
    lib.expect("Sanitizer" not in err and "assertion failed" not in err, f"{args}: {err[-3000:]}")
    return out, err


def tool_json(*args, code=OK):
    return json.loads(tool(*args, "--json", code=code)[0])


def listing(data):
    """{path: (bytes, modification time)} of everything in a directory."""
    return {str(p.relative_to(data)): (p.read_bytes() if p.is_file() else None, p.stat().st_mtime_ns) for p in pathlib.Path(data).rglob("*")}


# ---- what is written ----
def histogram(t, i, is_float=False):
    scale = 0.5 if is_float else 1
    positive = [scale * (i + k) for k in range(2 + i % 3)]
    if i % 33 == 32:
        return wire.Histogram(t, 0, wire.double(wire.STALE), is_float=is_float)
    return wire.Histogram(t, sum(positive) + scale, 1.25 * i, schema=2, zero_threshold=2.0 ** -128, zero_count=scale,
                          positive_spans=[(-1, 2), (2, i % 3)] if i % 3 else [(-1, 2)], positive=positive, is_float=is_float)


NAN_PAYLOAD = 0x7FF8_0000_DEAD_BEEF
ODD = [wire.STALE, wire.NAN, NAN_PAYLOAD, 0x8000_0000_0000_0000, wire.bits(float("inf")), wire.bits(5e-324)]


def floats():
    """{labels: {t: bits}}"""
    out = {}
    for s in range(5):
        key = tuple(wire.labels("tools_float", job="a" if s % 2 else "b", s=str(s)))
        out[key] = {T0 + 500 * i: ODD[i // 7 % len(ODD)] if i % 7 == 3 else wire.bits(i * 0.25 + s) for i in range(100)}
    return out


def histograms():
    return [wire.Series(wire.labels("tools_hist", kind="float" if f else "int"), histograms=[histogram(T0 + 500 * i, i, f) for i in range(100)])
            for f in (False, True)]


def series():
    return [wire.Series(list(k), samples=sorted(v.items())) for k, v in floats().items()] + histograms()


_made = {}


def made(how):
    """A copy of a directory that a server left: `stopped` by SIGTERM with everything in blocks, or `killed` with blocks, head and log."""
    if how not in _made:
        data = lib.folder("tools-data")
        with lib.Tidalite(data, *FLAGS) as server:
            server.start()
            for s in series():
                lib.expect_equal(lib.short(repr(server.client.write([s]))), "HTTP 204 ''", "write")
            lib.wait_for("blocks", lambda: lib.block_count(server) >= 4)
            if how == "stopped":
                lib.expect_equal(server.terminate(), 0, "exit status")
            else:
                more = [wire.Series(wire.labels("tools_late", s="0"), samples=[(lib.now_ms() - 1000 * i, wire.bits(float(i))) for i in range(20)][::-1])]
                lib.expect_equal(server.client.write(more).status, 204, "write")
                server.kill()
        _made[how] = data
    copy = lib.folder("tools-copy") + "/data"
    shutil.copytree(_made[how], copy)
    return copy


def unchanged(data, *args, code=OK):
    before = listing(data)
    out = tool(*args, code=code)
    after = listing(data)
    lib.expect_equal(sorted(after), sorted(before), f"{args}: names")
    lib.expect(after == before, f"{args} changed {[p for p in before if after[p] != before[p]]}")
    return out


# ---- the table of commands ----
@suite.case
def help__every_command__has_usage_options_and_exit_codes():
    text = tool("help")[0]
    names = [line[2:28].strip() for line in text.splitlines() if line.startswith("  ") and "DIR" not in line[:3]]
    names = [n for n in names if n.split(" ")[0] in {"block", "wal", "head", "check", "query", "export", "import", "repair"}]
    lib.expect("block ls" in names, text)
    for name in names:
        usage = tool("help", *name.split(" "))[0]
        lib.expect(f"usage: tidalite {name}" in usage and "--json" in usage and "exit codes" in usage, usage)
        lib.expect_equal(tool(*name.split(" "), "--help")[0], usage, f"{name} --help")
    lib.expect("tidalite block ls" in tool("block", "--help")[0], "a group has no help")


@suite.case
def command_line__wrong__exit_code_2_and_a_hint():
    for args in (["block"], ["block", "nothing"], ["block", "ls"], ["block", "ls", "a", "b"], ["block", "ls", "a", "--colour"],
                 ["block", "ls", "a", "--progress=loud"], ["block", "ls", "a", "--json=yes"], ["block", "ls", "a", "--step=1m"]):
        out, err = tool(*args, code=USAGE)
        lib.expect(out == "" and "tidalite" in err, f"{args}: {out!r} {err!r}")


@suite.case
def directory__missing_or_foreign__said_and_nothing_made():
    parent = lib.folder("tools-none")
    err = tool("block", "ls", f"{parent}/none", code=FAILED)[1]
    lib.expect("No such file" in err, err)
    err = tool("block", "ls", parent, code=FAILED)[1]
    lib.expect("not a tidalite data directory" in err, err)
    lib.expect_equal(os.listdir(parent), [], "files that were made")


# ---- block ----
@suite.case
def block_ls__blocks__as_the_directory_has_them():
    data = made("stopped")
    rows = tool_json("block", "ls", data)
    lib.expect_equal([r["ulid"] for r in rows], sorted(os.listdir(f"{data}/blocks")), "ULIDs")
    lib.expect(all(r["from"] < r["to"] and r["samples"] > 0 and r["state"] == "ok" for r in rows), rows)
    text = unchanged(data, "block", "ls", data)[0].splitlines()
    lib.expect_equal(len(text), len(rows) + 1, "lines")
    lib.expect(text[0].startswith("ULID") and "iB" in text[1] and "2023-11-15T" in text[1], text[:2])


@suite.case
def block_ls__server_has_the_directory__reads_and_says_so():
    data = made("stopped")
    with lib.Tidalite(data, *FLAGS) as server:
        server.start()
        out, err = tool("block", "ls", data)
        lib.expect("ULID" in out and "in use by a server" in err and "read-only" in err, err)
        lib.expect(server.alive(), "the server ended")
    lib.expect_equal(tool("block", "ls", data)[1], "", "stderr, with the server gone")


if __name__ == "__main__":
    sys.exit(suite.main())

#!/usr/bin/env python3
"""Blocks of a stopped directory written anew: compact, merge, split, delete, repair.

Whatever is done, at whatever moment it ends: every sample is there as before, bit for bit.
"""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import lib
import test_tools as tools
from test_tools import BUSY, DAMAGED, FAILED, INTERRUPTED, OK, T0, USAGE, tool, tool_json

suite = lib.Suite()
RANGES = ["--block-range=10s"]


_five = []


def five_blocks():
    """A directory with five neighbouring blocks of ten seconds."""
    if not _five:
        data = lib.folder("edit") + "/data"
        tool_json("import", "prometheus", tools.exported(tools.made("stopped"), *RANGES)[0], data)
        _five.append(data)
    copy = lib.folder("edit") + "/data"
    shutil.copytree(_five[0], copy)
    return copy


def ls(data):
    return tool_json("block", "ls", data)


def ulids(data):
    return [r["ulid"] for r in ls(data)]


def expect_whole(data, before, what):
    lib.expect_equal(tools.dumped(data), before, f"{what}: samples")
    lib.expect(all(r["state"] in ("ok", "note") for r in tool_json("check", data)), f"{what}: check")
    tools.no_temporaries(data)


@suite.case
def block_merge__all_blocks__one_with_the_same_samples():
    data = five_blocks()
    before, rows = tools.dumped(data), ls(data)
    planned = tool_json("block", "merge", data, *(r["ulid"] for r in rows), "--dry-run")
    lib.expect_equal([r["action"] for r in planned], ["merged"] * 5, "the plan")
    lib.expect_equal(ls(data), rows, "after --dry-run")
    out = tool_json("block", "merge", data, *(r["ulid"] for r in rows[::-1]))
    lib.expect_equal([r["action"] for r in out], ["new"] + ["merged"] * 5, "actions")
    (one,) = ls(data)
    lib.expect_equal((one["ulid"], one["from"], one["to"], one["samples"], one["level"]),
                     (out[0]["ulid"], T0, T0 + 50_000, sum(r["samples"] for r in rows), 1 + max(r["level"] for r in rows)), "the block")
    expect_whole(data, before, "merge")
    tools.server_starts(data)
    lib.expect_equal(tools.dumped(data), before, "after a server had it")


@suite.case
def block_split__one_block__a_block_for_each_window_with_the_same_samples():
    data = five_blocks()
    before = tools.dumped(data)
    tool("block", "merge", data, *ulids(data))
    (one,) = ulids(data)
    out = tool_json("block", "split", data, one, "--block-range=7s")
    begin = T0 - T0 % 7000
    windows = sorted((max(begin + 7000 * i, T0), min(begin + 7000 * (i + 1), T0 + 50_000)) for i in range(8))
    lib.expect_equal(sorted((r["from"], r["to"]) for r in out if r["action"] == "new"), [w for w in windows if w[0] < w[1]], "windows")
    lib.expect_equal([r["ulid"] for r in out if r["action"] == "split"], [one], "what was split")
    expect_whole(data, before, "split")
    part = ulids(data)[0]
    lib.expect("in one window already" in tool("block", "split", data, part, "--block-range=7s")[1], "a block of one window")


@suite.case
def block_split__gap_of_years__no_window_without_samples():
    source, data = (lib.folder("edit") + "/data" for _ in range(2))
    pathlib.Path(f"{source}.txt").write_text("a 1 1000\na 2 1500000000\n# EOF\n", encoding="utf-8")
    tool("import", "openmetrics", f"{source}.txt", source)
    tool("import", "prometheus", tools.exported(source)[0], data)
    before = tools.dumped(data)
    tool("block", "merge", data, *ulids(data))
    out = tool_json("block", "split", data, ulids(data)[0], "--block-range=2h")
    lib.expect_equal([r["samples"] for r in out if r["action"] == "new"], [1, 1], "blocks")
    expect_whole(data, before, "split")


def written_in_turn():
    """A directory with three blocks that hold another value each for one series and time."""
    data = lib.folder("edit") + "/data"
    made = []
    for value in (1, 2, 3):
        source = lib.folder("edit") + "/data"
        pathlib.Path(f"{source}.txt").write_text(f"a {value} {T0 // 1000}\nb{value} 1 {T0 // 1000}\n# EOF\n", encoding="utf-8")
        tool("import", "openmetrics", f"{source}.txt", source)
        made += [r["ulid"] for r in tool_json("import", "prometheus", tools.exported(source)[0], data)]
    return data, made


def value_of_a(data):
    (value,) = tools.dumped(data)[(("__name__", "a"),)].values()
    return int.from_bytes(bytes.fromhex(value), "big")


@suite.case
def block_merge__overlap__the_first_written_wins_and_nobody_is_passed():
    data, (first, second, third) = written_in_turn()
    before = tools.dumped(data)
    one = tools.wire.bits(1.0)
    lib.expect_equal(value_of_a(data), one, "the value")
    err = tool("block", "merge", data, first, third, code=USAGE)[1]
    lib.expect(second in err and "in between" in err, err)
    lib.expect_equal(sorted(ulids(data)), sorted((first, second, third)), "blocks after the refusal")
    tool("block", "merge", data, third, second)
    expect_whole(data, before, "the second and the third")
    tool("block", "merge", data, *ulids(data))
    lib.expect_equal(len(ulids(data)), 1, "blocks")
    expect_whole(data, before, "all")


@suite.case
def block_delete__named_blocks__the_others_stay():
    data = five_blocks()
    rows = ls(data)
    parts = [tools.dumped(data, r["ulid"]) for r in rows]
    planned = tool_json("block", "delete", data, rows[0]["ulid"], "--dry-run")
    lib.expect_equal((planned[0]["ulid"], len(ls(data))), (rows[0]["ulid"], 5), "the plan")
    out = tool_json("block", "delete", data, rows[1]["ulid"], rows[3]["ulid"])
    lib.expect_equal([(r["ulid"], r["action"]) for r in out], [(rows[i]["ulid"], "deleted") for i in (1, 3)], "the report")
    lib.expect_equal(ulids(data), [rows[i]["ulid"] for i in (0, 2, 4)], "blocks that are left")
    left = {}
    for i in (0, 2, 4):
        for key, samples in parts[i].items():
            left.setdefault(key, {}).update(samples)
    expect_whole(data, left, "delete")
    lib.expect_equal([p for p in pathlib.Path(data, "refs").rglob("*") if p.name in (rows[1]["ulid"], rows[3]["ulid"])], [], "references")


@suite.case
def block_compact__blocks_of_a_server_and_imported__as_a_server_would_and_the_same_samples():
    for data in (five_blocks(), tools.made("stopped"), tools.made("killed")):
        before, old = tools.dumped(data), ls(data)
        out = tool_json("block", "compact", data, *RANGES)
        lib.expect_equal([r["ulid"] for r in out], ulids(data), "the report")
        lib.expect_equal({r["ulid"] for r in out if r["action"] == "kept"}, {r["ulid"] for r in old} & set(ulids(data)), "kept")
        expect_whole(data, before, "compact")
        again = tool_json("block", "compact", data, *RANGES)
        lib.expect_equal([r["action"] for r in again], ["kept"] * len(out), "a second time")
    data = five_blocks()
    lib.expect(len(tool_json("block", "compact", data, *RANGES)) < 5, "nothing was merged")


@suite.case
def block_repair__a_flipped_bit__the_rest_in_a_new_block():
    data = tools.made("paged")
    whole = tools.content(data)
    victim = max(ls(data), key=lambda r: r["samples"])["ulid"]
    other = next(u for u in ulids(data) if u != victim)
    lib.expect("nothing is damaged" in tool("block", "repair", data, other)[1], "a whole block")
    path = pathlib.Path(data, "blocks", victim, "chunks")
    tools.flip(path, path.stat().st_size // 2)
    lib.expect_equal(tool_json("block", "repair", data, victim, "--dry-run", code=DAMAGED)[0]["file"], f"blocks/{victim}", "the plan")
    (row,) = tool_json("block", "repair", data, victim)
    lib.expect(row["action"] == "salvaged" and 0 < row["lost_samples"] < row["kept_samples"], row)
    found = tools.content(data)
    tools.expect_part(found, whole, "after the repair")
    lib.expect_equal(sum(map(len, whole.values())) - sum(map(len, found.values())), row["lost_samples"], "lost samples")
    lib.expect(list(pathlib.Path(data, "quarantine").glob("repair-*/*")), "the damaged block is gone")


@suite.case
def block_edits__wrong_names_or_a_server_has_it__refused_and_nothing_done():
    data = five_blocks()
    rows = ls(data)
    unknown = "01BX5ZZKBKACTAV9WEVGEMMVRZ"
    lib.expect("has no block" in tool("block", "merge", data, rows[0]["ulid"], unknown, code=FAILED)[1], "merge")
    lib.expect("named twice" in tool("block", "merge", data, rows[0]["ulid"], rows[0]["ulid"], code=USAGE)[1], "merge with itself")
    lib.expect("has no block" in tool("block", "repair", data, "../VERSION", code=FAILED)[1], "a path")
    for command in ("split", "delete", "repair"):
        lib.expect("has no block" in tool("block", command, data, unknown, code=FAILED)[1], command)
    with lib.Tidalite(data, *tools.FLAGS) as server:
        server.start()
        for args in (["merge", data, rows[0]["ulid"], rows[1]["ulid"]], ["split", data, rows[0]["ulid"]], ["delete", data, rows[0]["ulid"]],
                     ["repair", data, rows[0]["ulid"]], ["compact", data]):
            tool("block", *args, code=BUSY)
        lib.expect(server.alive(), "the server ended")
    foreign = lib.folder("edit-foreign")
    tool("block", "compact", foreign, code=FAILED)
    lib.expect_equal(os.listdir(foreign), [], "files that were made")


@suite.case
def block_edits__interrupted_or_killed_at_some_moment__every_sample_and_the_next_run_ends_it():
    rng = random.Random(20261127)
    origin = tools.made("paged")
    before = tools.dumped(origin)
    big = max(ls(origin), key=lambda r: r["samples"])["ulid"]
    for command in (["split", None, big, "--block-range=1s"], ["merge", None, *ulids(origin)], ["compact", None, *RANGES]):
        for number in (signal.SIGINT, signal.SIGKILL) * 3:
            data = lib.folder("edit") + "/data"
            shutil.copytree(origin, data)
            args = ["block", *(data if a is None else a for a in command)]
            p = subprocess.Popen([lib.BINARY, *args, "--progress=never"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(rng.random() * 0.06)
            p.send_signal(number)
            code = p.wait(lib.WAIT_SECONDS)
            lib.expect(code in (OK, INTERRUPTED, -number), f"{args}: exit code {code}")
            lib.expect_equal(tools.dumped(data), before, f"{args}, signal {number}: samples")
            if number == signal.SIGINT and code == INTERRUPTED:
                tools.no_temporaries(data)
            tool("block", "compact", data, *RANGES)
            expect_whole(data, before, f"{args}, signal {number}, then compact")
            shutil.rmtree(os.path.dirname(data))


if __name__ == "__main__":
    sys.exit(suite.main())

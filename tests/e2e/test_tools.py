#!/usr/bin/env python3
"""The commands for a data directory without a server, on directories as servers leave them.

What is read offline is compared with what was written, and every read-only command with a listing of the directory before and
after: not a byte, name or modification time may change.  promtool judges what is exported, where it is to be had.
"""
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys

import lib
import test_prom_block as prom
import wire

suite = lib.Suite()

RANGE_MS = 10_000
FLAGS = [f"--{lib.BLOCK_RANGE_FLAG}={RANGE_MS // 1000}s", "--storage.tsdb.retention.time=50y", "--storage.wal.segment-size=1MiB"]
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
    """A copy of a directory that a server left: `stopped` by SIGTERM with a part in blocks, or `killed` with blocks, head and log;
    `sealed`: stopped, with full chunks of a window that is not over; `paged`: stopped, with a block of several pages."""
    if how not in _made:
        data = lib.folder("tools-data")
        with lib.Tidalite(data, *FLAGS) as server:
            server.start()
            for s in series():
                lib.expect_equal(lib.short(repr(server.client.write([s]))), "HTTP 204 ''", "write")
            lib.wait_for("blocks", lambda: lib.block_count(server) >= 1)
            if how == "sealed":
                ahead = lib.now_ms() + 120_000
                late = wire.Series(wire.labels("tools_ahead"), samples=[(ahead + i, wire.bits(i * 0.1)) for i in range(400)])
                lib.expect_equal(server.client.write([late]).status, 204, "write")
            if how == "paged":
                rng = random.Random(7)
                for n in range(60):
                    wide = wire.Series(wire.labels("tools_wide", s=f"{n:02}"), samples=[(T0 + i, rng.getrandbits(62)) for i in range(500)])
                    lib.expect_equal(server.client.write([wide]).status, 204, "write")
                lib.wait_for("the wide block", lambda: (lib.find_text(server.client.get("/metrics").text, "tidalite_flush_samples_total") or 0) >= 30_000)
            if how != "killed":
                lib.expect_equal(server.terminate(), 0, "exit status")
            else:
                now = lib.now_ms()
                for part in range(5):  # of one series, so that the frames follow each other
                    samples = [(now - 1000 * i, wire.bits(float(i))) for i in range(20) if i // 4 == 4 - part][::-1]
                    lib.expect_equal(server.client.write([wire.Series(wire.labels("tools_late", s="0"), samples=samples)]).status, 204, "write")
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
    names = [n for n in names if n.split(" ")[0] in {"block", "wal", "head", "check", "quarantine", "query", "export", "import", "backup", "restore", "repair"}]
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
def manual_and_completion__from_the_table__every_command_is_in():
    names = [line[2:28].strip() for line in tool("help")[0].splitlines() if line[2:].startswith(("block ", "wal ", "head ", "check ", "quarantine ", "query ",
                                                                                                  "export ", "import ", "backup ", "restore ", "repair "))]
    lib.expect(len(names) >= 20, names)
    page = tool("help", "--man")[0]
    lib.expect_equal(page, (lib.ROOT / "docs/tidalite.1").read_text(encoding="utf-8"), "docs/tidalite.1 is `tidalite help --man`")
    of_library = (lib.ROOT / "docs/libtidalite.3").read_text(encoding="utf-8")
    functions = set(re.findall(r"\b(tidalite_\w+)\(", (lib.ROOT / "tsdb/tidalite.h").read_text(encoding="utf-8")))
    lib.expect_equal(set(re.findall(r"\b(tidalite_\w+)\(", of_library)), functions, "the functions of docs/libtidalite.3")
    lib.expect(f'"tidalite {tool("version")[0].split()[2]}"' in of_library, "the version of docs/libtidalite.3")
    lib.expect(all(f"\\fB{n}\\fR" in page for n in names), page)
    script = tool("help", "--completion")[0]

    def complete(*words):
        ask = script + f"\nCOMP_WORDS=({' '.join(repr(w) for w in ('tidalite',) + words)}); COMP_CWORD={len(words)}; _tidalite; echo \"${{COMPREPLY[@]}}\""
        done = subprocess.run(["bash", "-c", ask], capture_output=True, timeout=lib.WAIT_SECONDS)
        return done.stdout.decode().split()
    lib.expect({n.split(" ")[0] for n in names} | {"serve", "help", "version"} == set(complete("")), complete(""))
    for group in {n.split(" ")[0] for n in names if " " in n}:
        lib.expect_equal(sorted(complete(group, "")), sorted(n.split(" ")[1] for n in names if n.startswith(group + " ")), group)
    lib.expect({"--json", "--match=", "--start="} <= set(complete("block", "dump", "dir", "-")), complete("block", "dump", "dir", "-"))
    lib.expect("--match=" not in complete("check", "dir", "--") and "--json" in complete("check", "dir", "--"), complete("check", "dir", "--"))


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


@suite.case
def block_inspect__a_block__counts_as_block_ls_does():
    data = made("stopped")
    for row in tool_json("block", "ls", data):
        text, _ = unchanged(data, "block", "inspect", data, row["ulid"], "--json")
        one = json.loads(text)
        lib.expect_equal([one[k] for k in ("from", "to", "series", "samples", "chunks", "bytes")],
                         [row[k] for k in ("from", "to", "series", "samples", "chunks", "bytes")], row["ulid"])
    lib.expect("bytes per sample" in tool("block", "inspect", data, row["ulid"])[0], "no record")
    lib.expect("has no block" in tool("block", "inspect", data, "01BX5ZZKBKACTAV9WEVGEMMVRZ", code=FAILED)[1], "an unknown block")


def dumped(*args):
    """{labels: {t: bits or raw histogram, as hexadecimal}}"""
    out = {}
    for line in tool("block", "dump", *args, "--format=jsonl", "--bits")[0].splitlines():
        one = json.loads(line)
        samples = out.setdefault(tuple(sorted(one["metric"].items())), {})
        for t, v in one["samples"]:
            lib.expect(t not in samples, f"{one['metric']} at {t} twice")
            samples[t] = v
    return out


def expect_floats(found, where):
    for key, samples in floats().items():
        lib.expect_equal(found.get(key), {t: f"{b:016x}" for t, b in samples.items()}, f"{where}: {key}")


@suite.case
def block_dump__stopped_and_killed__every_bit_that_was_written():
    for how in ("stopped", "killed"):
        data = made(how)
        before = listing(data)
        found = dumped(data)
        expect_floats(found, how)
        hist = {k: v for k, v in found.items() if k[0][1] == "tools_hist"}
        lib.expect_equal({k[1][1]: len(v) for k, v in hist.items()}, {"float": 100, "int": 100}, "histograms")
        lib.expect_equal(sum(len(v) for k, v in found.items() if k[0][1] == "tools_late"), 20 if how == "killed" else 0, "the head")
        lib.expect(listing(data) == before, f"{how}: the directory changed")


class LiveWriter(lib.Writer):
    """Forward through many windows, so that flush, compaction and checkpoints go on meanwhile."""
    t = T0

    def next_batch(self):
        batch = {(s, self.t + 700 * i): float(self.rng.randrange(1000)) for s in range(len(self.labels)) for i in range(10)}
        self.t += 7000
        return batch


@suite.case
def block_dump__while_a_server_writes__all_that_was_acknowledged_before():
    with lib.Tidalite(None, *FLAGS) as server:
        server.start()
        writer = LiveWriter(server.port, "tools_live", 0, 0, 7, 5)
        lib.start_writers([writer])
        dumps = 0
        while dumps < 12:
            acked = dict(writer.acked)
            code, out, err = lib.run_binary("block", "dump", server.data, "--bits", "--match=tools_live")
            lib.expect(code in (OK, BUSY), f"exit code {code}: {err}")
            lib.expect("in use by a server" in err, err)
            if code == BUSY:  # said so: blocks came and went at every try
                continue
            dumps += 1
            found = {}
            for line in out.splitlines():
                one = json.loads(line)
                found.update({(int(one["metric"]["series"]), t): v for t, v in one["samples"]})
            for key, value in acked.items():
                lib.expect(found.get(key) == f"{wire.bits(value):016x}", f"dump {dumps}: {key} is {found.get(key)}, wrote {value}; {err}")
            lib.expect(all(writer.sent.get(k) is not None for k in found), "what nobody wrote")
        lib.expect(writer.problem is None and server.alive(), writer.problem)
        server.kill()
        writer.thread.join()


@suite.case
def block_dump__each_block_alone__together_the_whole():
    data = made("stopped")
    whole = dumped(data)
    parts = {}
    for row in tool_json("block", "ls", data):
        for key, samples in dumped(data, row["ulid"]).items():
            lib.expect(all(row["from"] <= t < row["to"] for t in samples), f"{row['ulid']}: a sample outside of the block")
            parts.setdefault(key, {}).update(samples)
    lib.expect(parts and all(whole[k].items() >= v.items() for k, v in parts.items()), "a block has what the whole has not")
    lib.expect_equal(sum(map(len, parts.values())), sum(r["samples"] for r in tool_json("block", "ls", data)), "samples of the blocks")


@suite.case
def block_dump__matchers_and_times__only_those():
    data = made("stopped")
    found = dumped(data, '--match=tools_float{job="a",s!="3"}', f"--start={T0 / 1000 + 10:.3f}", "--end=2023-11-15T00:00:30Z")
    lib.expect_equal([dict(k)["s"] for k in found], ["1"], "series")
    times = sorted(next(iter(found.values())))
    lib.expect_equal((times[0], times[-1], len(times)), (T0 + 10_000, T0 + 30_000, 41), "times")
    lib.expect_equal(dumped(data, "--match={nothing='here'}"), {}, "no series")
    lib.expect("parse error" in tool("block", "dump", data, "--match={", code=USAGE)[1], "a bad selector")


@suite.case
def block_dump__openmetrics_and_csv__lines_a_sample():
    data = made("stopped")
    out, err = tool("block", "dump", data, "--format=openmetrics")
    lines = out.splitlines()
    lib.expect_equal((len(lines), lines[-1]), (501, "# EOF"), "lines")
    lib.expect_equal(lines[0], f'tools_float{{job="a",s="1"}} 1 {T0 // 1000}', "the first line")
    lib.expect("200 native histogram" in err and "stale markers" in err, err)
    lines = tool("block", "dump", data, "--format=csv", "--match=tools_hist")[0].splitlines()
    lib.expect_equal((lines[0], len(lines)), ("series,time_ms,value", 201), "CSV")
    lib.expect(lines[1].startswith(f'"tools_hist{{kind=""float""}}",{T0},"{{""count""'), lines[1])


@suite.case
def block_verify__a_flipped_bit__names_block_and_place():
    data = made("stopped")
    lib.expect(all(r["state"] == "ok" for r in json.loads(unchanged(data, "block", "verify", data, "--json")[0])), "a whole directory")
    ulid = sorted(os.listdir(f"{data}/blocks"))[-1]
    for name in ("chunks", "index", "meta.json"):
        path = pathlib.Path(data, "blocks", ulid, name)
        whole = path.read_bytes()
        path.write_bytes(whole[:20] + bytes([whole[20] ^ 4]) + whole[21:])
        rows = {r["ulid"]: r for r in tool_json("block", "verify", data, code=DAMAGED)}
        lib.expect_equal([u for u, r in rows.items() if r["state"] != "ok"], [ulid], f"{name}: damaged blocks")
        lib.expect(ulid in rows[ulid]["detail"], f"{name}: {rows[ulid]}")
        path.write_bytes(whole)
    tool("block", "verify", data, ulid)


@suite.case
def block_analyze__blocks__adds_up_and_names_the_worst():
    data = lib.folder("tools-analyze") + "/data"
    rows = tool_json("import", "prometheus", exported(made("stopped"), "--block-range=10s")[0], data)
    a = json.loads(unchanged(data, "block", "analyze", data, "--json", "--limit=0")[0])
    lib.expect_equal([b["series"] for b in a["blocks"]], [7] * 5, "series of each block")
    lib.expect_equal([(b["new_series"], b["gone_series"]) for b in a["blocks"]], [(7, 0)] + [(0, 0)] * 4, "churn")
    lib.expect_equal({m["name"]: (m["series"], m["samples"]) for m in a["metrics"]}, {"tools_float": (5, 500), "tools_hist": (2, 200)}, "metrics")
    lib.expect_equal({x["name"]: x["values"] for x in a["labels"]}, {"__name__": 2, "s": 5, "job": 2, "kind": 2}, "values")
    lib.expect_equal(next(p["series"] for p in a["label_pairs"] if p["name"] == "job=b"), 3, "a pair")
    by_name = {c["name"]: c for c in a["columns"]}
    lib.expect_equal(sum(c["samples"] for n, c in by_name.items() if n.startswith("values")), 700, "samples of the values' columns")
    lib.expect_equal(sum(c["samples"] for n, c in by_name.items() if n.startswith("times")), 700, "samples of the times' columns")
    lib.expect(sum(c["column_bytes"] for c in a["columns"]) < sum(m["chunk_bytes"] for m in a["metrics"]), "columns are a part of chunks")
    lib.expect("values, histograms" in by_name and len(by_name) > 2, by_name)
    one = json.loads(tool("block", "analyze", data, rows[0]["ulid"], "--json", "--limit=1")[0])
    lib.expect_equal((len(one["blocks"]), len(one["metrics"])), (1, 1), "one block, one metric")
    lib.expect("METRIC" not in tool("block", "analyze", data)[0] and "label_pairs" in tool("block", "analyze", data)[0], "sections")


# ---- log and head ----
@suite.case
def wal_commands__killed_server__its_frames_and_samples():
    data = made("killed")
    segments = json.loads(unchanged(data, "wal", "ls", data, "--json")[0])
    lib.expect_equal([f"{r['segment']:08}" for r in segments], sorted(n for n in os.listdir(f"{data}/wal") if n.isdigit()), "segments")
    total = json.loads(unchanged(data, "wal", "inspect", data, "--json")[0])
    for sums, column in (("frames", "frames"), ("samples", "samples"), ("series", "series"), ("log_bytes", "log_bytes")):
        lib.expect_equal(total[sums], sum(r[column] for r in segments), sums)
    lib.expect_equal((total["gaps"], total["malformed_frames"], total["damaged_stretches"]), (0, 0, 0), "damage")
    rows = json.loads(unchanged(data, "wal", "verify", data, "--json")[0])
    lib.expect(rows and all(r["state"] in ("ok", "torn") for r in rows), rows)


@suite.case
def wal_dump__killed_server__values_bit_for_bit():
    data = made("killed")
    out = unchanged(data, "wal", "dump", data, "--bits")[0]
    frames = [json.loads(line) for line in out.splitlines()]
    names = {(f["partition"], i["id"]): i["labels"] for f in frames if f["type"] == "series" for i in f["items"]}
    found = {}
    for f in frames:
        for i in f["items"] if f["type"] == "samples" else []:
            if "value" in i:
                found.setdefault(tuple(sorted(names[f["partition"], i["id"]].items())), {})[i["time"]] = i["value"]
    late = {k: v for k, v in found.items() if k[0][1] == "tools_late"}
    lib.expect_equal(sorted(next(iter(late.values())).values()), sorted(f"{wire.bits(float(i)):016x}" for i in range(20)), "values")
    lib.expect(all(f["partition"] < 64 and f["offset"] >= 48 for f in frames), "a frame's place")
    last = f"{frames[-1]['segment']:08}"
    alone = [json.loads(line) for line in tool("wal", "dump", data, last)[0].splitlines()]
    lib.expect(alone and all(f["segment"] == int(last) for f in alone), "one segment")
    tool("wal", "dump", data, "nonsense", code=USAGE)


def flip(path, at, bit=2):
    raw = bytearray(pathlib.Path(path).read_bytes())
    raw[at] ^= bit
    pathlib.Path(path).write_bytes(raw)


@suite.case
def wal_verify__flipped_bit_in_a_frame__names_segment_and_bytes():
    data = made("killed")
    frames = [json.loads(line) for line in tool("wal", "dump", data)[0].splitlines()]
    victim = frames[-3]
    flip(f"{data}/wal/{victim['segment']:08}", victim["offset"] + 16 + victim["bytes"] // 2)
    rows = [r for r in tool_json("wal", "verify", data, code=DAMAGED) if r["state"] == "damaged"]
    lib.expect_equal(len(rows), 1, "damaged stretches")
    lib.expect(rows[0]["segment"] == victim["segment"] and rows[0]["from"] <= victim["offset"] < rows[0]["to"], (rows, victim))
    left = tool("wal", "dump", data, code=DAMAGED)[0].splitlines()
    lib.expect_equal(len(left), len(frames) - 1, "frames that are left")


@suite.case
def head_inspect__killed_and_stopped__what_recovery_would_find():
    data = made("killed")
    head = json.loads(unchanged(data, "head", "inspect", data, "--json")[0])
    lib.expect(head["series"] == 8 and head["replayed_samples"] > 0 and head["lost_frames"] == 0, head)
    data = made("stopped")
    head = json.loads(unchanged(data, "head", "inspect", data, "--json")[0])
    lib.expect(head["series"] == 7 and head["checkpoint"] > 0 and head["replayed_samples"] == 0, head)


# ---- check ----
def checked(data, code=OK):
    return {r["file"]: r for r in tool_json("check", data, code=code)}


@suite.case
def check__whole_directories__nothing_is_damaged():
    for how in ("stopped", "killed"):
        data = made(how)
        before = listing(data)
        rows = checked(data)
        lib.expect({"VERSION", "series.log"} <= set(rows) or how == "killed", rows)
        lib.expect(all(r["state"] != "damaged" for r in rows.values()), rows)
        lib.expect({f"blocks/{u}" for u in os.listdir(f"{data}/blocks") if not u.endswith(".tmp")} <= set(rows), rows)
        lib.expect(listing(data) == before, "the directory changed")


@suite.case
def check__while_a_server_writes__its_work_is_no_damage():
    with lib.Tidalite(None, *FLAGS) as server:
        server.start()
        writer = LiveWriter(server.port, "tools_live", 0, 0, 7, 5)
        lib.start_writers([writer])
        for _ in range(40):
            out, err = tool("check", server.data)
            lib.expect("in use by a server" in err and "VERSION" in out, err)
        lib.expect(writer.problem is None and server.alive(), writer.problem)
        server.kill()
        writer.thread.join()


@suite.case
def check__each_kind_of_file_damaged__named_with_its_place():
    data = made("stopped")
    whole = checked(data)
    part_of = {"VERSION": 60, "series.log": 40}
    for kind in ("blocks", "checkpoint"):
        for name in sorted(p for p in whole if p.startswith(kind + "/")):
            part_of[name] = 40
    for name in (r["file"] for r in whole.values() if r["part"] == "head file"):
        part_of[name] = None
    lib.expect(len(part_of) >= 4, whole)
    for name, at in part_of.items():
        path = pathlib.Path(data, name)
        path = path / "chunks" if path.is_dir() else path
        raw = path.read_bytes()
        for i in [at] if at else range(40, len(raw), 16):  # which chunks of a head file count says the checkpoint
            flip(path, i)
        rows = checked(data, code=DAMAGED)
        lib.expect(name in rows and rows[name]["state"] == "damaged" and rows[name]["detail"], f"{name}: {rows}")
        path.write_bytes(raw)
    lib.expect_equal(checked(data), whole, "after all is whole again")


# ---- query ----
QUERIES = [
    ("query", "instant", "sum by (job) (tools_float)"), ("query", "instant", "tools_float[5s]"), ("query", "instant", "42"),
    ("query", "instant", "'text \\n \"quoted\"'"), ("query", "instant", "tools_hist"), ("query", "instant", "nothing_at_all"),
    ("query", "range", "rate(tools_float{s='2'}[10s])", "--step=5s"), ("query", "range", "histogram_sum(tools_hist)", "--step=7s"),
    ("query", "series", "--match=tools_float{job='a'}"), ("query", "series", "--limit=2"), ("query", "labels"),
    ("query", "labels", "--match=tools_hist"), ("query", "values", "s"), ("query", "values", "__name__", "--match={job='a'}"),
]
AT = [f"--time={(T0 + 30_000) / 1000:.3f}"]
BETWEEN = [f"--start={T0 / 1000:.3f}", f"--end={(T0 + 49_000) / 1000:.3f}"]


def query_args(q, where):
    group, kind, *rest = q
    positional = [r for r in rest if not r.startswith("--")]
    return [group, kind, where, *positional, *[r for r in rest if r.startswith("--")],
            *(AT if kind == "instant" else BETWEEN)]


@suite.case
def query__directory_and_server__the_same_answers():
    data = made("stopped")
    here = {}
    before = listing(data)
    for q in QUERIES:
        for form in ("--json", "--format=table", "--format=csv"):
            out, err = tool(*query_args(q, data), form)
            here[q, form] = out
            lib.expect("more" in err if "--limit=2" in q else "PromQL info" in err if "rate(" in str(q) else err == "", f"{q}: {err}")
    lib.expect(listing(data) == before, "the directory changed")
    with lib.Tidalite(data, *FLAGS) as server:
        server.start()
        for q in QUERIES:
            for form in ("--json", "--format=table", "--format=csv"):
                out, _ = tool(*query_args(q, f"http://127.0.0.1:{server.port}/"), form)
                if q[-1] == "--limit=2":  # which of them is nobody's promise
                    lib.expect_equal(len(out.splitlines()), len(here[q, form].splitlines()), f"{q} {form}")
                else:
                    lib.expect_equal(out, here[q, form], f"{q} {form}")
        api = server.client.data("/api/v1/query", {"query": QUERIES[0][2], "time": (T0 + 30_000) / 1000})
        lib.expect_equal(json.loads(here[QUERIES[0], "--json"]), api, "as the API answers")


@suite.case
def query__table_and_csv__lines_as_expected():
    data = made("stopped")
    out = tool(*query_args(("query", "instant", "tools_float{s='4'} + 1"), data))[0].splitlines()
    lib.expect_equal([line.split() for line in out],
                     [["SERIES", "TIME", "VALUE"], ['{job="b",s="4"}', "2023-11-15T00:00:30Z", "20"]], "table")
    out = tool(*query_args(("query", "instant", "tools_float{s='4'}"), data), "--format=csv")[0]
    lib.expect_equal(out, f'series,time_ms,value\n"tools_float{{job=""b"",s=""4""}}",{T0 + 30_000},19\n', "CSV")
    newest = tool("query", "instant", data, "count(tools_float)", "--json")[0]
    lib.expect_equal(json.loads(newest)["result"][0]["value"], [(T0 + 49_500) / 1000, "5"], "without --time: at the newest sample")
    lib.expect_equal(tool("query", "values", data, "s")[0].split(), ["VALUE", "0", "1", "2", "3", "4"], "values")


@suite.case
def query_range__plot__a_mark_for_each_series_where_its_values_are():
    data = made("stopped")
    env = os.environ | {"COLUMNS": "60"}
    args = ["query", "range", data, "tools_float{job='b'} * 2", *BETWEEN, "--step=7s", "--format=plot"]
    done = subprocess.run([lib.BINARY, *args], capture_output=True, timeout=lib.WAIT_SECONDS, env=env)
    lib.expect_equal(done.returncode, OK, done.stderr.decode())
    lines = done.stdout.decode().splitlines()
    values = {s["metric"]["s"]: [(t, float(v)) for t, v in s["values"]]
              for s in json.loads(tool("query", "range", data, "tools_float{job='b'} * 2", *BETWEEN, "--step=7s", "--json")[0])["result"]}
    finite = {s: [(t, v) for t, v in points if v - v == 0] for s, points in values.items()}
    least, most = min(v for p in finite.values() for _, v in p), max(v for p in finite.values() for _, v in p)
    first, last = min(t for p in finite.values() for t, _ in p), max(t for p in finite.values() for t, _ in p)
    field = [" " * 45 for _ in range(20)]
    for mark, s in zip("*+x", sorted(finite)):
        for t, v in finite[s]:
            row, column = 19 - int((v - least) / (most - least) * 19 + 0.5), int((t - first) / (last - first) * 44 + 0.5)
            field[row] = field[row][:column] + mark + field[row][column + 1:]
    lib.expect_equal([line[13:] for line in lines[:20]], [f"|{row}|" for row in field], "the field")
    lib.expect_equal([float(lines[i].split("|")[0]) for i in (0, 19)], [most, least], "the scale")
    lib.expect_equal([line.split()[0] for line in lines[21:]], ["*", "+", "x"], "the legend")
    lib.expect(f"last {finite['4'][-1][1]:.6g}" in lines[23], lines[23])
    lib.expect("no number to draw" in tool("query", "range", data, "nothing", "--format=plot")[1], "nothing")
    lib.expect("`query range` alone" in tool("query", "instant", data, "1", "--format=plot", code=USAGE)[1], "an instant")


@suite.case
def query__wrong_or_unreachable__said():
    data = made("stopped")
    lib.expect("parse error" in tool("query", "instant", data, "sum(", code=USAGE)[1], "a bad expression")
    lib.expect("points" in tool("query", "range", data, "up", "--start=0", "--end=1e9", "--step=1s", code=USAGE)[1], "too many points")
    lib.expect("range query" in tool("query", "range", data, "up[5m]", code=USAGE)[1], "a matrix over time")
    port = lib.free_port()
    lib.expect("connect" in tool("query", "instant", f"http://127.0.0.1:{port}", "up", code=FAILED)[1], "nobody there")
    lib.expect("http://" in tool("query", "labels", "https://localhost", code=FAILED)[1], "https")
    tool("query", "labels", "http://:nonsense", code=USAGE)
    with lib.Tidalite(data, *FLAGS) as server:
        server.start()
        lib.expect("parse error" in tool("query", "instant", f"http://127.0.0.1:{server.port}", "sum(", code=USAGE)[1], "the server's text")
        lib.expect("not an answer" in tool("query", "labels", f"http://127.0.0.1:{server.port}/other", code=FAILED)[1], "another path")


# ---- Prometheus blocks ----
def content(data):
    """Floats as bits; histograms as count, sum and the buckets that are not empty.  In a Prometheus chunk all histograms have one
    layout, so that empty buckets are added, and the counter reset hint is derived: neither is part of the value."""
    out = {k: v for k, v in dumped(data).items() if k[0][1] != "tools_hist"}
    for line in tool("block", "dump", data, "--format=jsonl", "--match=tools_hist")[0].splitlines():
        one = json.loads(line)
        out.setdefault(tuple(sorted(one["metric"].items())), {}).update({t: json.dumps(v) for t, v in one["samples"]})
    return out


def exported(data, *more):
    out = lib.folder("tools-export") + "/out"
    rows = json.loads(unchanged(data, "export", "prometheus", data, out, "--json", *more)[0])
    return out, rows


def no_temporaries(folder):
    left = [str(p) for p in pathlib.Path(folder).rglob("*") if ".tmp" in p.name]
    lib.expect_equal(left, [], "files that were left half-written")


@suite.case
def export_prometheus__killed_server__promtool_finds_every_sample():
    promtool = prom.program("promtool")
    data = made("killed")
    out, rows = exported(data)
    lib.expect_equal(sum(r["samples"] for r in rows), sum(map(len, dumped(data).values())), "samples")
    lib.expect_equal(sorted(os.listdir(out)), sorted([r["ulid"] for r in rows] + ["wal"]), "files of OUT")
    lib.expect_equal(os.listdir(f"{out}/wal"), [], "files of wal/")
    listed = prom.run(promtool, "tsdb", "list", out)
    lib.expect(all(r["ulid"] in listed for r in rows), listed)
    analysis = prom.run(promtool, "tsdb", "analyze", out, rows[0]["ulid"])
    lib.expect(f"Series: {rows[0]['series']}" in analysis, analysis[:600])
    ours = {}
    for key, samples in dumped(data).items():
        if key[0][1] != "tools_hist":
            name = "{" + ", ".join(f'{k}="{v}"' for k, v in key) + "}"
            ours[name] = {t: (wire.double(int(v, 16)),) for t, v in samples.items()}
    theirs = {k: v for k, v in prom.parse(prom.run(promtool, "tsdb", "dump", out)).items() if "tools_hist" not in k}
    prom.expect_dumps_agree(ours, theirs)


@suite.case
def export_prometheus__again_and_by_smaller_windows__goes_on_and_cuts():
    data = made("stopped")
    out, rows = exported(data)
    shutil.rmtree(f"{out}/{rows[0]['ulid']}")
    again, err = tool("export", "prometheus", data, out, "--json")
    lib.expect_equal([r["from"] for r in json.loads(again)], [rows[0]["from"]], "the window that was missing")
    again, err = tool("export", "prometheus", data, out, "--json")
    lib.expect_equal(json.loads(again), [], "nothing to do")
    lib.expect("already" in err, err)
    lib.expect("a tidalite data directory" in unchanged(data, "export", "prometheus", data, data, code=USAGE)[1], "into itself")
    small, rows = exported(data, "--block-range=10s", "--match=tools_float")
    lib.expect_equal([(r["from"], r["to"], r["samples"]) for r in rows], [(T0 + 10_000 * i, T0 + 10_000 * (i + 1), 100) for i in range(5)], "windows")
    no_temporaries(small)


@suite.case
def import_prometheus__own_export__the_identity():
    for how in ("stopped", "killed"):
        data = made(how)
        out, rows = exported(data)
        target = lib.folder("tools-import") + "/data"
        found = tool_json("import", "prometheus", out, target)
        lib.expect_equal([(r["ulid"], r["samples"], r["state"]) for r in found],
                         sorted((r["ulid"], r["samples"], "imported") for r in rows), "blocks")
        lib.expect_equal(content(target), content(data), f"{how}: the round trip")
        again = tool_json("import", "prometheus", out, target)
        lib.expect_equal({r["state"] for r in again}, {"there already"}, "a second import")
        lib.expect(all(r["state"] == "ok" for r in tool_json("check", target)), "check")
        with lib.Tidalite(target, "--storage.tsdb.retention.time=50y") as server:
            server.start()
            lib.expect_equal(server.client.query("count(tools_float)", (T0 + 49_500) / 1000)[0]["value"][1], "5", "the server's answer")


@suite.case
def import_prometheus__promtool_block__what_promtool_dumps():
    promtool = prom.program("promtool")
    source = lib.folder("tools-promtool")
    with open(f"{source}/in.txt", "w", encoding="utf-8") as f:
        for s in range(20):
            for i in range(600):
                value = ("NaN", "+Inf", "-0", f"{i * 0.1 + s}", "1")[0 if i % 50 == 49 else 1 if i % 70 == 0 else 2 + s % 3]
                f.write(f'm{{s="{s:02}",zone="eu {s % 3}"}} {value} {T0 / 1000 + i * 15 + (i * 7 % 5) * 0.001:.3f}\n')
        f.write("# EOF\n")
    prom.run(promtool, "tsdb", "create-blocks-from", "openmetrics", f"{source}/in.txt", f"{source}/tsdb")
    os.makedirs(f"{source}/tsdb/wal", exist_ok=True)
    target = lib.folder("tools-import") + "/data"
    rows = tool_json("import", "prometheus", f"{source}/tsdb", target)
    lib.expect_equal(sum(r["samples"] for r in rows), 12_000, "samples")
    ours = {"{" + ", ".join(f'{k}="{v}"' for k, v in key) + "}": {t: (wire.double(int(v, 16)),) for t, v in samples.items()}
            for key, samples in dumped(target).items()}
    prom.expect_dumps_agree(ours, prom.parse(prom.run(promtool, "tsdb", "dump", f"{source}/tsdb")))


@suite.case
def import_prometheus__damaged_source_or_busy_target__nothing_half_written():
    data = made("stopped")
    out, rows = exported(data)
    victim = sorted(r["ulid"] for r in rows)[-1]
    flip(f"{out}/{victim}/chunks/000001", 60)
    target = lib.folder("tools-import") + "/data"
    err = tool("import", "prometheus", out, target, code=DAMAGED)[1]
    lib.expect(victim in err, err)
    no_temporaries(target)
    lib.expect_equal(os.listdir(f"{target}/blocks"), [r["ulid"] for r in rows if r["ulid"] != victim], "blocks")
    with lib.Tidalite(target) as server:
        server.start()
        lib.expect("another process" in tool("import", "prometheus", out, target, code=BUSY)[1], "a directory in use")
    lib.expect("holds no Prometheus block" in tool("import", "prometheus", lib.folder("empty"), target, code=FAILED)[1], "an empty source")


@suite.case
def export_and_import__interrupted__nothing_half_written_and_goes_on():
    """SIGINT at some moment: whatever the moment, what is there is whole, and the next run makes it complete."""
    data = made("stopped")
    whole, rows = exported(data, "--block-range=1s")
    target = lib.folder("tools-interrupted") + "/data"
    for command in (["import", "prometheus", whole, target], ["export", "prometheus", data, target + "-out", "--block-range=1s"]):
        for _ in range(3):
            p = subprocess.Popen([lib.BINARY, *command, "--progress=always"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            p.stderr.read(1)  # something was said or shown: it runs
            p.send_signal(signal.SIGINT)
            p.stderr.read()
            lib.expect(p.wait(lib.WAIT_SECONDS) in (OK, INTERRUPTED, -signal.SIGINT), f"{command}: exit code {p.returncode}")
        tool(*command)
        no_temporaries(command[3])
    lib.expect_equal(content(target), content(data), "the import")
    again = lib.folder("tools-interrupted") + "/again"
    tool("import", "prometheus", target + "-out", again)
    lib.expect_equal(content(again), content(data), "the export")


BOTH = ['{__name__=~"tools_.*"}', "sum by (job) (tools_float)", "histogram_sum(tools_hist)", "histogram_quantile(0.9, tools_hist)",
        "histogram_count(tools_hist)", "count_over_time(tools_float[5s])"]


def answers(client, queries=BOTH):
    out = {}
    for q in queries:
        result = client.query_range(q, T0 / 1000, (T0 + 49_500) / 1000, "3500ms")
        out[q] = sorted(((sorted(s["metric"].items()), s.get("values"), s.get("histograms")) for s in result), key=repr)
    return out


@suite.case
def export_prometheus__prometheus_on_it__gives_the_same_answers():
    prom.recent_prometheus()
    data = made("stopped")
    out, _ = exported(data)
    with lib.Tidalite(data, *FLAGS) as server:
        server.start()
        ours = answers(server.client)
    with prom.prometheus(out) as server:
        server.start()
        theirs = answers(server.client)
    for q in BOTH:
        lib.expect(ours[q], f"{q}: no answer")
        lib.expect_equal(theirs[q], ours[q], q)


@suite.case
def import_prometheus__snapshot_with_histograms_and_deletions__gives_the_same_answers():
    prom.recent_prometheus()
    source = lib.folder("tools-prometheus")
    now = lib.now_ms() - 400 * 1000
    written = [wire.Series(wire.labels("f", i="0"), samples=[(now + 1000 * i, i / 3) for i in range(300)])]
    for name, is_float, gauge in (("hi", False, False), ("hf", True, False), ("gi", False, True), ("gf", True, True)):
        written.append(wire.Series(wire.labels(name, i="0"), histograms=[prom.histogram(now + 1000 * i, i, is_float, gauge) for i in range(300)]))
    target = lib.folder("tools-import") + "/data"
    query, at = '{i="0"}[2h]', (now + 400_000) / 1000
    with prom.prometheus(source, "--web.enable-remote-write-receiver", "--web.enable-admin-api") as server:
        server.start()
        lib.expect(server.client.write(written).status in (200, 204), "Prometheus refused the samples")
        gone = {"match[]": "f", "start": (now + 10_000) / 1000, "end": (now + 19_500) / 1000}
        lib.expect_equal(server.client.post("/api/v1/admin/tsdb/delete_series", gone).status, 204, "delete_series")
        snapshot = json.loads(server.client.post("/api/v1/admin/tsdb/snapshot", {}).data)["data"]["name"]
        theirs = {prom.lib.series_key(s["metric"]): (s.get("values"), s.get("histograms")) for s in server.client.query(query, at)}
        rows = tool_json("import", "prometheus", f"{source}/snapshots/{snapshot}", target)
    lib.expect_equal(sum(r["samples"] for r in rows), 1490, "samples, without the ten that were deleted")
    ours = json.loads(tool("query", "instant", target, query, f"--time={at:.3f}", "--json")[0])["result"]
    lib.expect_equal({prom.lib.series_key(s["metric"]): (s.get("values"), s.get("histograms")) for s in ours}, theirs, "answers")


# ---- OpenMetrics ----
@suite.case
def import_openmetrics__own_dump__the_same_floats():
    data = made("killed")
    text = tool("block", "dump", data, "--format=openmetrics")[0]
    path = lib.folder("tools-om") + "/dump.txt"
    pathlib.Path(path).write_text(text, encoding="utf-8")
    plain = {k: {t: f"{wire.NAN:016x}" if int(v, 16) & 0x7FF << 52 == 0x7FF << 52 and int(v, 16) & (1 << 52) - 1 else v for t, v in s.items()}
             for k, s in dumped(data).items() if k[0][1] != "tools_hist"}
    target = lib.folder("tools-om") + "/data"
    for run in ("first", "second"):
        out = tool_json("import", "openmetrics", path, target)
        lib.expect_equal((out["samples"], out["conflicts"]), (520, 0), f"the {run} import")
        lib.expect_equal(dumped(target), plain, f"the {run} import")


@suite.case
def import_openmetrics__every_form_of_line__as_written():
    text = """# HELP a some
# TYPE a counter
a_total{x="1",y="a\\\\b\\n\\"c"} 1.5 1700000000.25 # {trace="x"} 1
a_total 0x1p4 1700000001

{"quoted.name","quoted label"="v"} +Inf 1.7e9
h_bucket { le = "0.5" , } 3 1700000000
# EOF
"""
    target = lib.folder("tools-om") + "/data"
    done = subprocess.run([lib.BINARY, "import", "openmetrics", "-", target], input=text.encode(), capture_output=True, timeout=lib.WAIT_SECONDS)
    lib.expect_equal(done.returncode, OK, done.stderr.decode())
    lib.expect("1 exemplars" in done.stderr.decode(), done.stderr.decode())
    found = {k: {t: wire.double(int(v, 16)) for t, v in s.items()} for k, s in dumped(target).items()}
    lib.expect_equal(found, {
        (("__name__", "a_total"), ("x", "1"), ("y", 'a\\b\n"c')): {1700000000250: 1.5}, (("__name__", "a_total"),): {1700000001000: 16.0},
        (("__name__", "quoted.name"), ("quoted label", "v")): {1700000000000: float("inf")},
        (("__name__", "h_bucket"), ("le", "0.5")): {1700000000000: 3.0}}, "series")
    pathlib.Path(f"{target}.txt").write_text("a_total 2 1700000002000\n", encoding="utf-8")
    tool("import", "openmetrics", f"{target}.txt", target, "--milliseconds")
    lib.expect_equal(len(dumped(target)[(("__name__", "a_total"),)]), 2, "milliseconds")


@suite.case
def import_openmetrics__bad_lines__named_and_the_rest_before_kept():
    for line, text in (("a{x=1} 2 3", "line 2: column 5"), ("a 1", "without a time"), ("a{x=\"1\"} b 3", "a number"), ("a{x=\"1} 2 3", "closing quote"),
                       ("a 1 x", "a time in seconds"), ("9a 1 2", "name of a metric"), ("a 1 2 3", "end of the line"), ("a{,} 1 2", "name of a label")):
        target = lib.folder("tools-om") + "/data"
        pathlib.Path(f"{target}.txt").write_text(f"good 1 1700000000\n{line}\n", encoding="utf-8")
        err = tool("import", "openmetrics", f"{target}.txt", target, code=USAGE)[1]
        lib.expect(text in err and "line 2" in err, f"{line}: {err}")
    lib.expect("No such file" in tool("import", "openmetrics", "/nonexistent/file", target, code=FAILED)[1], "a missing file")


# ---- repair ----
def all_bytes(data):
    """Contents of all files, wherever they lie: what is moved aside is there under another name."""
    return sorted(p.read_bytes() for p in pathlib.Path(data).rglob("*") if p.is_file())


def expect_part(found, whole, where):
    for key, samples in found.items():
        lib.expect(key in whole and samples.items() <= whole[key].items(), f"{where}: {key} has what nobody wrote")


def server_starts(data):
    with lib.Tidalite(data, *FLAGS) as server:
        server.start()
        server.client.query("count({__name__=~'tools_.*'})", (T0 + 49_500) / 1000)
        lib.expect(server.alive(), "the server ended")


@suite.case
def repair__whole_directory__does_nothing():
    for how in ("stopped", "killed"):
        data = made(how)
        before = listing(data)
        out, err = tool("repair", data, "--json")
        lib.expect(json.loads(out) == [] and "nothing is damaged" in err, (out, err))
        lib.expect(listing(data) == before, "the directory changed")


@suite.case
def repair__a_page_of_a_block__the_rest_is_kept_and_the_loss_named():
    data = made("paged")
    whole = content(data)
    ulid = max(tool_json("block", "ls", data), key=lambda r: r["samples"])["ulid"]
    path = pathlib.Path(data, "blocks", ulid, "chunks")
    victim = path.read_bytes()
    flip(path, len(victim) // 2)
    damaged = path.read_bytes()
    before = listing(data)
    planned = tool_json("repair", data, "--dry-run", code=DAMAGED)
    lib.expect_equal([r["file"] for r in planned], [f"blocks/{ulid}"], "the plan")
    lib.expect(listing(data) == before, "--dry-run changed the directory")
    (row,) = tool_json("repair", data)
    lib.expect_equal((row["file"], row["action"]), (f"blocks/{ulid}", "salvaged"), "the report")
    lib.expect(0 < row["lost_samples"] < row["kept_samples"] and "tools_" in row["detail"], row)
    lib.expect(T0 <= row["lost_from"] <= row["lost_to"] < T0 + 50_000, row)
    found = content(data)
    expect_part(found, whole, "after the repair")
    lost = sum(map(len, whole.values())) - sum(map(len, found.values()))
    lib.expect_equal(lost, row["lost_samples"], "lost samples")
    (aside,) = pathlib.Path(data, "quarantine").glob("repair-*/*")
    lib.expect_equal((aside / "chunks").read_bytes(), damaged, "the damaged block")
    lib.expect_equal(tool_json("repair", data), [], "a second repair")
    server_starts(data)


@suite.case
def repair__version_lost__blocks_are_kept_for_a_new_one():
    data = made("stopped")
    blocks = {k: v for row in tool_json("block", "ls", data) for k, v in dumped(data, row["ulid"]).items()}
    total = sum(r["samples"] for r in tool_json("block", "ls", data))
    flip(f"{data}/VERSION", 70)
    tool("block", "dump", data, code=DAMAGED)
    rows = tool_json("repair", data)
    lib.expect({"VERSION", "series.log"} <= {r["file"] for r in rows}, rows)
    lib.expect_equal(sum(r["samples"] for r in tool_json("block", "ls", data)), total, "samples in blocks")
    lib.expect(set(dumped(data)) == set(blocks), "series")
    with lib.Tidalite(data, *FLAGS) as server:  # by matchers, and by the filters of the series
        server.start()
        lib.expect(server.client.query("last_over_time(tools_float{s='1'}[1m])", (T0 + 20_000) / 1000), "a series is not found")


@suite.case
def repair__server_has_the_directory_or_foreign__refused():
    data = made("stopped")
    with lib.Tidalite(data, *FLAGS) as server:
        server.start()
        lib.expect("stop it first" in tool("repair", data, code=BUSY)[1], "a directory in use")
    foreign = lib.folder("tools-foreign")
    tool("repair", foreign, code=FAILED)
    lib.expect_equal(os.listdir(foreign), [], "files that were made")


def damage(path, rng):
    """Flip a bit, zero a stretch or cut the file; how, in words."""
    raw = bytearray(path.read_bytes())
    at = rng.randrange(len(raw.rstrip(b"\0")) or 1)  # a log is made longer than it is, with zeroes
    kind = rng.choice(("flip", "flip", "zero", "cut"))
    if kind == "flip":
        raw[at] ^= 1 << rng.randrange(8)
    elif kind == "zero":
        at = min(at, max(0, len(raw) - 40))
        raw[at:at + 40] = bytes(len(raw[at:at + 40]))
    else:
        del raw[at:]
    changed = bytes(raw) != path.read_bytes()
    path.write_bytes(raw)
    return f"{kind} at {at}", changed


@suite.case
def repair__seeded_damage_of_every_kind_of_file__named_or_harmless_and_the_rest_kept():
    """Whatever is damaged: nothing is invented, nothing is deleted, and the server starts on the result.  These blocks are of one page, with which
    all goes; that whole pages are kept shows repair__a_page_of_a_block."""
    rng = random.Random(20261126)
    found_kinds = set()
    for how in ("stopped", "killed", "sealed"):
        origin = made(how)
        whole = content(origin)
        files = sorted(str(p.relative_to(origin)) for p in pathlib.Path(origin).rglob("*")
                       if p.is_file() and p.stat().st_size and p.name != "LOCK" and not p.parts[-2].endswith(".tmp"))
        for name in files * 2:
            data = lib.folder("tools-damage") + "/data"
            shutil.copytree(origin, data)
            what, changed = damage(pathlib.Path(data, name), rng)
            where = f"{how}: {name}: {what}"
            code, out, err = lib.run_binary("check", data, "--json")
            lib.expect(code in (OK, DAMAGED) and "Sanitizer" not in err, f"{where}: check ends with {code}: {err}")
            broken = pathlib.Path(data, name).read_bytes()
            code, out, err = lib.run_binary("repair", data, "--json")
            lib.expect(code == OK and "Sanitizer" not in err, f"{where}: repair ends with {code}: {out} {err}")
            rows = json.loads(out)
            if rows:
                found_kinds.add(name.split("/")[0])
                lib.expect(broken in all_bytes(data), f"{where}: the damaged file is gone")
            lib.expect_equal({r["state"] for r in tool_json("check", data)} - {"ok", "note"}, set(), f"{where}: check after repair")
            found = content(data)
            expect_part(found, whole, where)
            if not rows and name.split("/")[0] not in ("wal", "series.log"):  # the end of those may look like an interrupted write
                lib.expect_equal(found, whole, f"{where}: not named, so that nothing may be missing")
            if rng.random() < 0.3:
                server_starts(data)
            shutil.rmtree(os.path.dirname(data))
    # A chunk of head/ that a block or a checkpoint has too is not missed: a seed may hit none that counts.
    lib.expect({"VERSION", "blocks", "checkpoint", "series.log", "wal"} <= found_kinds, f"damage was found in {found_kinds} only")


# ---- what the README says ----
@suite.case
def readme__commands_for_a_directory__work_as_they_stand():
    lines = [line.split("#")[0].strip() for line in (lib.ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line.startswith("build/tidalite ") and " data" in line]
    lib.expect_equal(len(lines), 7, "commands")
    folder = lib.folder("tools-readme")
    shutil.copytree(made("stopped"), f"{folder}/data")
    shutil.copytree(exported(made("killed"))[0], f"{folder}/prometheus-data")
    for line in lines:
        done = subprocess.run(["bash", "-c", line.replace("build/tidalite", lib.BINARY)], cwd=folder, capture_output=True, timeout=lib.WAIT_SECONDS)
        lib.expect_equal(done.returncode, OK, f"{line}: {done.stderr.decode()}")
        lib.expect(done.stdout, f"{line}: says nothing")
    lib.expect_equal(dumped(f"{folder}/data-restored"), dumped(f"{folder}/data"), "what was backed up and brought back")


@suite.case
def quarantine__ls_and_clean__say_what_lies_there_and_remove_what_is_ours():
    data = made("stopped")
    lib.expect_equal(tool_json("quarantine", "ls", data), [], "no quarantine yet")
    block = sorted(os.listdir(os.path.join(data, "blocks")))[0]
    meta = pathlib.Path(data, "blocks", block, "meta.json")
    meta.write_bytes(b"{" + meta.read_bytes()[5:])
    with lib.Tidalite(data, *FLAGS).start() as server:
        storage = server.client.data("/api/v1/status/runtimeinfo")["storage"]
        lib.expect_equal((storage["state"], storage["reason"]), ("ready", ""), "state")
        lib.expect_equal(server.client.data("/api/v1/status/tsdb")["storage"], storage, "the same in status/tsdb")
        lib.expect(storage["quarantine"]["files"] > 1 and storage["quarantine"]["bytes"] > 0, f"quarantine: {storage}")
        metrics = server.client.get("/metrics").text
        lib.expect(f"tidalite_quarantine_files {storage['quarantine']['files']}\n" in metrics, "no such metric")
        tool("quarantine", "clean", data, code=BUSY)
        lib.expect_equal(server.terminate(), 0, "exit status")
    aside = pathlib.Path(data, "quarantine")
    (aside / "notes.txt").write_text("of a person")
    (aside / "head-1700000000000-00000007").write_bytes(b"x" * 100)
    before = listing(data)
    rows = {r["name"]: r for r in tool_json("quarantine", "ls", data)}
    lib.expect_equal(listing(data), before, "the directory after ls")
    lib.expect_equal(set(rows), {block, "notes.txt", "head-1700000000000-00000007"}, "names")
    lib.expect("block" in rows[block]["why"] and abs(rows[block]["moved"] - lib.now_ms()) < 3_600_000, f"the block: {rows[block]}")
    lib.expect_equal(rows[block]["files"], storage["quarantine"]["files"], "files of the block")
    head = rows["head-1700000000000-00000007"]
    lib.expect_equal((head["moved"], head["files"], head["bytes"]), (1_700_000_000_000, 1, 100), "the head file")

    def clean(*flags):
        return {r["name"]: r["action"] for r in tool_json("quarantine", "clean", data, *flags)}

    old = {block: "kept", "notes.txt": "kept", "head-1700000000000-00000007": "removed"}
    lib.expect_equal(clean("--older-than=30d", "--dry-run"), old, "the plan")
    lib.expect_equal(set(listing(data)), set(before), "names after --dry-run")
    lib.expect_equal(clean("--older-than=30d"), old, "what is old")
    lib.expect_equal(clean(), {block: "removed", "notes.txt": "kept"}, "the rest")
    lib.expect_equal(os.listdir(aside), ["notes.txt"], "what is left")
    with lib.Tidalite(data, *FLAGS).start() as server:
        lib.expect_equal(server.client.data("/api/v1/status/runtimeinfo")["storage"]["quarantine"], {"files": 1, "bytes": 11}, "after")


if __name__ == "__main__":
    sys.exit(suite.main())

#!/usr/bin/env python3
"""tools/prom/ against the real thing: promtool and Prometheus read a block of ours, ours reads blocks of theirs.

The program is the unit test of blocks (`test_prom_block write|delete|dump DIR`).  promtool and prometheus come from
TIDALITE_PROMETHEUS (a folder with both), else from Debian's package; what is not there is skipped and counted.
"""
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys

import lib
import peers
import wire

suite = lib.Suite()
TOOL = pathlib.Path(os.environ.get("TIDALITE_BUILD", lib.ROOT / "build/release")) / "tests/unit/tools/test_prom_block"
T0 = 1700006400000
STALE = 0x7FF0000000000002


def program(name):
    """promtool or prometheus; Skip when it is not to be had."""
    given = os.environ.get("TIDALITE_PROMETHEUS")
    if given:
        path = pathlib.Path(given) / name
    else:
        try:
            path = pathlib.Path(peers.program("prometheus")).parent / name
        except peers.PeerError as e:
            raise lib.Skip(str(e)) from None
    if not path.exists():
        raise lib.Skip(f"no {path}")
    return str(path)


def recent_prometheus():
    """2.42, which Debian 12 has, answers all histograms of a range with the last one and fails to snapshot them."""
    binary = program("prometheus")
    version = re.search(r"version (\d+)\.(\S+)", run(binary, "--version"))
    lib.expect(version, "prometheus does not tell its version")
    if int(version.group(1)) < 3:
        raise lib.Skip(f"prometheus {version.group(1)}.{version.group(2)}, needs 3 or later")
    return binary


def run(*command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=lib.WAIT_SECONDS,
                          stdin=subprocess.DEVNULL)
    lib.expect(done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stderr.decode('utf-8', 'replace')[-2000:]}")
    return done.stdout.decode()


def parse(text):
    """{series: {time: (value,) or (count, sum)}} of our dump and of promtool's."""
    found = {}
    for line in text.splitlines():
        m = re.fullmatch(r"(\{.*?\}) (.*) (-?\d+)", line)
        lib.expect(m, f"not a line of a dump: {line!r}")
        series, value, t = m.groups()
        h = re.match(r"\{count:(\S+), sum:([^ ,}]+)", value)
        parts = h.groups() if h else value.split()
        found.setdefault(series, {})[int(t)] = tuple(float(p) for p in parts)
    return found


def same(a, b):
    return len(a) == len(b) and all(lib.same_value(x, y) for x, y in zip(a, b))


def expect_dumps_agree(ours, theirs):
    """promtool asks each series for floats, float histograms and histograms in turn and swallows one sample at each turn
    that finds another kind: the first two samples of a histogram series may be missing from its output.  Old ones know
    no histograms."""
    if not any(len(v) == 2 for samples in theirs.values() for v in samples.values()):
        ours = {k: s for k, s in ours.items() if len(next(iter(s.values()))) == 1}
    lib.expect_equal(sorted(theirs), sorted(ours), "series")
    for series, samples in ours.items():
        histogram = len(next(iter(samples.values()))) == 2
        missing = [t for t in sorted(samples) if t not in theirs[series]]
        allowed = sorted(samples)[:2] if histogram else []
        lib.expect(all(t in allowed for t in missing), f"{series}: {missing[:5]} are missing")
        for t, value in theirs[series].items():
            lib.expect(t in samples, f"{series} at {t}: {value} is too much")
            stale = len(value) == 2 and math.isnan(value[1])
            lib.expect(stale or same(samples[t], value), f"{series} at {t}: {samples[t]}, promtool says {value}")


def written_block():
    data = lib.folder("prom-block")
    ours = parse(run(TOOL, "write", data))
    os.mkdir(f"{data}/wal")
    return data, ours


@suite.case
def own_block__dumped__what_was_written():
    data, ours = written_block()
    lib.expect_equal(len(ours), 59, "series")
    again = parse(run(TOOL, "dump", data))
    lib.expect(all(same(again[s][t], v) for s, samples in ours.items() for t, v in samples.items()), "the second dump differs")


@suite.case
def own_block__promtool__lists_analyzes_and_dumps():
    promtool = program("promtool")
    data, ours = written_block()
    count = sum(len(s) for s in ours.values())
    lib.expect(re.search(rf"01M8CNJHPZ6X8F1H89W25XRQTM .*\b{count}\b", run(promtool, "tsdb", "list", data)), "list does not know the block")
    analysis = run(promtool, "tsdb", "analyze", data)
    lib.expect("Series: 59" in analysis and "total label pairs): 118" in analysis, analysis[:800])
    expect_dumps_agree(ours, parse(run(promtool, "tsdb", "dump", data)))


@suite.case
def own_block__tombstone__promtool_leaves_out_the_same():
    promtool = program("promtool")
    data, before = written_block()
    run(TOOL, "delete", data)
    ours = parse(run(TOOL, "dump", data))
    lib.expect(sum(map(len, ours.values())) == sum(map(len, before.values())) - 37, "37 samples should be gone")
    expect_dumps_agree(ours, parse(run(promtool, "tsdb", "dump", data)))


@suite.case
def promtool_block__dumped__what_it_dumps():
    promtool = program("promtool")
    data = lib.folder("prom-block")
    with open(f"{data}/in.txt", "w", encoding="utf-8") as f:
        f.write("# TYPE m gauge\n")
        for s in range(40):
            for i in range(300):
                value = ("NaN", "+Inf", "-0", f"{i * 0.1 + s}", "1")[0 if i % 50 == 49 else 1 if i % 70 == 0 else 2 + s % 3]
                f.write(f'm{{s="{s:02}",zone="eu {s % 3}"}} {value} {T0 / 1000 + i * 15 + (i * 7 % 5) * 0.001:.3f}\n')
        f.write("# EOF\n")
    run(promtool, "tsdb", "create-blocks-from", "openmetrics", f"{data}/in.txt", f"{data}/tsdb")
    os.makedirs(f"{data}/tsdb/wal", exist_ok=True)
    ours = parse(run(TOOL, "dump", f"{data}/tsdb"))
    lib.expect_equal(sum(map(len, ours.values())), 12000, "samples")
    expect_dumps_agree(ours, parse(run(promtool, "tsdb", "dump", f"{data}/tsdb")))


def prometheus(data, *flags, late="0s"):
    binary = recent_prometheus()
    port = lib.free_port()
    config = f"{lib.folder('prometheus')}/prometheus.yml"
    pathlib.Path(config).write_text(f"global: {{}}\nstorage: {{tsdb: {{out_of_order_time_window: {late}}}}}\n", encoding="utf-8")
    return lib.Server("prometheus", [binary, f"--config.file={config}", f"--storage.tsdb.path={data}", f"--web.listen-address=127.0.0.1:{port}",
                                     "--storage.tsdb.retention.time=50y", "--enable-feature=native-histograms", *flags],
                      port, "/-/ready")


def number(sample):
    """(value,) or (count, sum) of a sample in an answer."""
    if isinstance(sample, dict):
        return float(sample["count"]), float(sample["sum"])
    return (float(sample),)


def expect_answer(ours, answer):
    """All samples of a matrix; the API shows no stale markers."""
    found = {}
    for s in answer:
        key = "{" + ", ".join(f'{k}="{v}"' for k, v in sorted(s["metric"].items())) + "}"
        found[key] = {round(t * 1000): number(v) for t, v in s.get("values", []) + s.get("histograms", [])}
    lib.expect_equal(sorted(found), sorted(ours), "series")
    for key, samples in ours.items():
        for t, value in samples.items():
            got = found[key].get(t)
            # Our dump prints the marker as a NaN: neither it nor any other is compared by bits here.
            lib.expect((got is None and math.isnan(value[-1])) or (got and same(got, value)), f"{key} at {t}: {value}, Prometheus says {got}")
        lib.expect(set(found[key]) <= set(samples), f"{key}: samples too many")


@suite.case
def own_block__prometheus__answers_with_its_samples():
    recent_prometheus()
    data, ours = written_block()
    with prometheus(data) as server:
        server.start()
        answer = server.client.query('{__name__=~".+"}[2h]', (T0 + 7200000 - 1) / 1000)
        expect_answer(ours, answer)


def histogram(t, i, is_float=False, gauge=False):
    scale = 0.5 if is_float else 1
    wide = 1 + i // 7 % 3
    positive = [scale * (i + k if not gauge else (i * 7 + k) % 5) for k in range(2 + wide)]
    if i % 33 == 32:
        return wire.Histogram(t, 0, wire.double(STALE), is_float=is_float)
    if i % 20 == 19 and not gauge:
        positive = [scale] * len(positive)  # a reset
    zero = scale * 1
    return wire.Histogram(t, sum(positive) + zero, 1.25 * i, schema=2, zero_threshold=2.0 ** -128, zero_count=zero,
                          positive_spans=[(-1, 2), (2, wide)], positive=positive, is_float=is_float, hint=3 if gauge else 0)


@suite.case
def prometheus_snapshot__dumped__its_histograms_and_floats():
    """Histograms of all kinds through remote write; the snapshot's block holds the chunks that Prometheus encoded."""
    recent_prometheus()
    data = lib.folder("prometheus-data")
    now = lib.now_ms() - 400 * 1000
    series = [wire.Series(wire.labels("f", i="0"), samples=[(now + 1000 * i, i / 3) for i in range(300)])]
    for name, is_float, gauge in (("hi", False, False), ("hf", True, False), ("gi", False, True), ("gf", True, True)):
        series.append(wire.Series(wire.labels(name, i="0"), histograms=[histogram(now + 1000 * i, i, is_float, gauge) for i in range(300)]))
    with prometheus(data, "--web.enable-remote-write-receiver", "--web.enable-admin-api") as server:
        server.start()
        lib.expect(server.client.write(series).status in (200, 204), "Prometheus refused the samples")
        answer = server.client.query('{i="0"}[2h]', (now + 400000) / 1000)
        snapshot = json.loads(server.client.post("/api/v1/admin/tsdb/snapshot", {}).data)["data"]["name"]
        ours = parse(run(TOOL, "dump", f"{data}/snapshots/{snapshot}"))
        lib.expect_equal(sum(map(len, ours.values())), 1500, "samples")
        expect_answer(ours, answer)
    shutil.rmtree(data, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(suite.main())

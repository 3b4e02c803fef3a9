#!/usr/bin/env python3
"""The benchmark runs, on a small corpus: a figure that nobody can measure again is none."""
import json
import os
import pathlib
import subprocess
import sys
import time

import lib

suite = lib.Suite()
BUILD = pathlib.Path(os.environ.get("TIDALITE_BUILD", lib.ROOT / "build/release"))


def run(*command):
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=300,
                          env=os.environ | {"TIDALITE_BUILD": str(BUILD), "PYTHONDONTWRITEBYTECODE": "1"})
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@suite.case
def overload__memory_within_its_budget_and_every_acknowledged_sample_there():
    """Ten times the connections of the benchmark through a budget that holds a few requests, and rings of two places: what is not
    taken gets 503 and comes again, and what was answered 2xx is there, also after kill -9."""
    work = pathlib.Path(lib.folder())
    start = lib.now_ms() // 1000 * 1000 - 600_000
    code, out, err = run(BUILD / "bench/gen", "--out", work / "corpus", "--targets", 800, "--scrapes", 10, "--numbered", "--start-ms", start, "--interval-ms", 15_000)
    lib.expect_equal(code, 0, f"exit status of gen ({err})")
    budget = 8 << 20
    flags = (f"--web.max-inflight-bytes={budget}B", "--web.max-body-size=4MiB", "--storage.ring-slots=2")
    with lib.Tidalite(str(work / "data"), *flags).start() as server:
        load = lib.Process("loader", [str(BUILD / "bench/loader"), "--file", str(work / "corpus"), "--port", str(server.port), "--connections", "40", "--retry"])
        load.start()
        most = 0
        while load.alive():
            with open(f"/proc/{server.pid}/status", encoding="utf-8") as f:
                most = max(most, next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) << 10)
            time.sleep(0.02)
        lib.expect_equal(load.wait(), 0, f"the loader: {load.log_tail()}")
        told = json.loads(load.log_tail(1))
        held = lib.find_text(server.client.get("/metrics").text, "tidalite_ingest_inflight_peak_bytes")
        lib.expect(0 < held <= budget, f"{held} bytes of requests at the peak, {budget} allowed")
        lib.expect_equal((told["samples"], told["not_2xx"]), (800_000, 0), f"what senders that repeat bring in: {told}")
        lib.expect(told["retried"] > 0, f"this was no overload: {told}")
        def stored():
            found = server.client.query('sum(count_over_time({namespace=~".+"}[20m]))', (start + 600_000) / 1000)
            return int(found[0]["value"][1])
        there = stored()
        lib.expect_equal(there, told["samples"], "samples that are there")
        print(f"{told['samples']} samples taken, {told['retried']} times 503, {held / 2**20:.1f} MiB of requests at the peak, {most >> 20} MiB resident")
        server.kill()
        server.start()
        lib.expect_equal(stored(), told["samples"], "samples after kill -9")


@suite.case
def gen__same_seed__same_requests():
    work = pathlib.Path(lib.folder())
    digests = []
    for seed, name in ((7, "a"), (7, "b"), (8, "c")):
        code, out, err = run(BUILD / "bench/gen", "--out", work / name, "--targets", 10, "--scrapes", 3, "--start-ms", 1_700_000_000_000, "--seed", seed)
        lib.expect_equal(code, 0, f"exit status of gen ({err})")
        info = json.loads(out)
        lib.expect_equal((info["series"], info["samples"]), (1000, 3000), "series and samples")
        digests.append(info["digest"])
    lib.expect_equal((work / "a").read_bytes() == (work / "b").read_bytes(), True, "the same file from the same seed")
    lib.expect(digests[0] == digests[1] != digests[2], f"digests {digests}")


@suite.case
def bench__quick__every_sample_taken():
    out = pathlib.Path(lib.folder()) / "quick.json"
    code, text, err = run(sys.executable, lib.ROOT / "bench/bench.py", "--quick", "--parts", "ingest,ways,memory,layers", "--out", out)
    lib.expect_equal(code, 0, f"exit status of bench.py --quick ({text}{err})")
    result = json.loads(out.read_text())
    for r in result["runs"]:
        lib.expect_equal(r["new_series"]["samples"] + r["steady"]["samples"], 40 * 100 * 10, f"samples that {r['server']} took")
    rows = {name: row["servers"]["tidalite"]["steady"] for name, row in result["ways"].items()}
    lib.expect_equal(sorted(rows), ["1.0 snappy", "1.0 zstd", "10x overload", "2.0", "32 connections", "OTLP", "churn 10 %", "strict"], "ways in")
    lib.expect(all(row["samples"] == 2 * 40_000 for row in rows.values()), f"samples by each way: {rows}")
    for kind, row in result["summary"].items():
        print(f"{kind}: {row['steady']['per_cpu_second']:,.0f} samples per CPU second (a smoke run, not a measurement)")
    memory = result["memory"]["servers"]["tidalite"]
    lib.expect(memory["bytes_per_series_20"] > 0 and memory["bytes_per_series_constant"] > 0, f"no memory for 20 samples of 2000 series: {memory}")
    lib.expect(all(result["layers"][name] > 0 for name in ("one_writer", "two_writers")), f"no figures in {result['layers']}")


@suite.case
def bench__quick_skew__every_shape_has_its_series():
    out = pathlib.Path(lib.folder()) / "quick.json"
    code, text, err = run(sys.executable, lib.ROOT / "bench/bench.py", "--quick", "--parts", "skew", "--out", out)
    lib.expect_equal(code, 0, f"exit status of bench.py --quick --parts skew ({text}{err})")
    rows = json.loads(out.read_text())["skew"]["programs"]["tidalite"]
    lib.expect_equal(sorted(rows), ["bare", "metric", "one", "targets"], "shapes")
    lib.expect(rows["targets"]["index_bytes"] > 0 and rows["targets"]["known"]["log_bytes"] > 0, f"no figures in {rows}")


@suite.case
def bench__quick_backfill__every_sample_in_blocks():
    out = pathlib.Path(lib.folder()) / "quick.json"
    code, text, err = run(sys.executable, lib.ROOT / "bench/bench.py", "--quick", "--parts", "backfill", "--out", out)
    lib.expect_equal(code, 0, f"exit status of bench.py --quick --parts backfill ({text}{err})")
    shapes = json.loads(out.read_text())["backfill"]["shapes"]
    lib.expect_equal(sorted(shapes), ["ordered", "random"], "shapes")
    for shape, rows in shapes.items():
        lib.expect_equal(rows["tidalite"]["samples"], 200_000, f"{shape}: samples")
        lib.expect(rows["tidalite"]["written"] > rows["tidalite"]["kept"] > 0, f"{shape}: no bytes in {rows}")


@suite.case
def bench__quick_churn__all_leave_memory_and_are_found():
    out = pathlib.Path(lib.folder()) / "quick.json"
    code, text, err = run(sys.executable, lib.ROOT / "bench/bench.py", "--quick", "--parts", "churn", "--out", out)
    lib.expect_equal(code, 0, f"exit status of bench.py --quick --parts churn ({text}{err})")  # it counts the samples itself
    result = json.loads(out.read_text())["churn"]
    lib.expect_equal([row["series"] for row in result["turns"]], [0, 0], "series in memory after each turn")
    lib.expect_equal(result["restarted"]["series"], 0, "series in memory after a restart")
    lib.expect(result["restarted"]["series_log_bytes"] < 20 * result["series"], f"series.log has series that have left: {result}")


@suite.case
def bench__quick_exchange__every_sample_imported_and_exported():
    out = pathlib.Path(lib.folder()) / "quick.json"
    code, text, err = run(sys.executable, lib.ROOT / "bench/bench.py", "--quick", "--parts", "exchange", "--out", out)
    lib.expect_equal(code, 0, f"exit status of bench.py --quick --parts exchange ({text}{err})")
    result = json.loads(out.read_text())["exchange"]
    lib.expect_equal((result["samples"], sorted(result["rows"])), (100_000, ["export prometheus", "import openmetrics", "import prometheus"]), "rows")
    lib.expect(all(r["bytes"] > 0 and r["rss"] > 0 and r["per_second"] > 0 for r in result["rows"].values()), f"no figures in {result}")


@suite.case
def bench__quick_fair__light_ones_beside_none_and_beside_heavy_ones():
    out = pathlib.Path(lib.folder()) / "quick.json"
    code, text, err = run(sys.executable, lib.ROOT / "bench/bench.py", "--quick", "--parts", "fair", "--servers", "tidalite", "--out", out)
    lib.expect_equal(code, 0, f"exit status of bench.py --quick --parts fair ({text}{err})")
    rows = json.loads(out.read_text())["fair"]["servers"]["tidalite"]
    lib.expect_equal((sorted(rows), rows["0"]["heavy"]), (["0", "3"], 0), "rows")
    lib.expect(all(r["light"] >= 3 and 0 < r["median_ms"] <= r["p99_ms"] <= r["max_ms"] for r in rows.values()), f"no latencies in {rows}")


@suite.case
def bench__quick_speed__same_answers_in_every_state():
    out = pathlib.Path(lib.folder()) / "quick.json"
    code, text, err = run(sys.executable, lib.ROOT / "bench/bench.py", "--quick", "--parts", "speed", "--servers", "tidalite", "--out", out)
    lib.expect_equal(code, 0, f"exit status of bench.py --quick --parts speed ({text}{err})")  # it compares them itself
    result = json.loads(out.read_text())["speed"]
    lib.expect_equal((sorted(result["servers"]), result["differences"]), (["blocks", "cold", "head"], []), "states")
    lib.expect(all(r["bytes"] > 1000 for rows in result["servers"].values() for r in rows.values()), f"no answers in {result}")


@suite.case
def bench__quick_beside_peers__same_answers_and_every_sample_on_disk():
    out = pathlib.Path(lib.folder()) / "quick.json"
    code, text, err = run(sys.executable, lib.ROOT / "bench/bench.py", "--quick", "--parts", "disk,real",
                          "--servers", "tidalite,victoria-metrics,prometheus", "--out", out)
    lib.expect_equal(code, 0, f"exit status of bench.py --quick ({text}{err})")
    result = json.loads(out.read_text())
    samples = result["disk"]["corpus"]["samples"]
    lib.expect_equal({k: r["samples"] for k, r in result["disk"]["servers"].items()}, dict.fromkeys(("tidalite", "victoria-metrics", "prometheus"), samples),
                     "samples that were weighed")
    agrees = [q["agrees"] for rows in result["queries"]["servers"].values() for q in rows.values()]
    lib.expect(False not in agrees and agrees.count(True) >= 30, f"{agrees.count(True)} answers compared")
    for part in ("disk", "disk_recorded"):
        if result[part] is None:
            continue      # no recorded data beside the repository
        lib.expect(result[part]["servers"]["tidalite"]["bytes"]["samples"] > 0, f"{part}: Tidalite has written no block")
    print(text[text.index("disk, generated data:"):])


if __name__ == "__main__":
    sys.exit(suite.main())

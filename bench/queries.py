"""Query latencies on the same data, and the answers beside each other.

A corpus of two hours goes into every server, then each question is asked over one connection, one at a time, after two warm-up
rounds: median of the wall time until the last byte, and CPU time of the server per question.  Answers are compared by value with
prometheus, or with Tidalite where prometheus does not run, where the semantics agree; victoria-metrics computes rates without
extrapolation, so those are not compared with it.  Result caches are off (`nocache=1`).  Tidalite is measured twice: with the
data in blocks, and with the data in its head.
"""
import glob
import os
import statistics
import time
import urllib.parse

import common
import lib
import storage

HEAD = "tidalite, head"
INTERVAL_MS = 15_000
RELATIVE = 1e-9

SERIES = 'service_operations_47_processed_total{instance="10.0.0.0:9100"}'
HOUR = {"span": 3600, "step": 60}
# (name, path, parameters, kinds whose answers differ by design)
RATES = ("victoria-metrics",)
QUESTIONS = [
    ("one series, raw 1 h", "/api/v1/query", {"query": f"{SERIES}[1h]"}, ()),
    ("one series, 1 h by 15 s", "/api/v1/query_range", {"query": SERIES, "span": 3600, "step": 15}, ()),
    ("rate of 100 series, 1 h", "/api/v1/query_range", {"query": "rate(service_operations_47_processed_total[5m])"} | HOUR, RATES),
    ("sum by (job)(rate(all)), now", "/api/v1/query", {"query": 'sum by (job) (rate({namespace=~".+"}[5m]))'}, RATES),
    ("sum by (job)(rate(all)), 1 h", "/api/v1/query_range", {"query": 'sum by (job) (rate({namespace=~".+"}[5m]))'} | HOUR, RATES),
    ("histogram_quantile, 1 h", "/api/v1/query_range",
     {"query": "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))"} | HOUR, RATES),
    ("avg_over_time of 100, 1 h", "/api/v1/query_range", {"query": "sum by (instance) (avg_over_time(service_queue_70_utilisation_percent[5m]))"} | HOUR, ()),
    ("avg_over_time[1h] of 1500, now", "/api/v1/query", {"query": 'sum(avg_over_time({__name__=~"service_queue_.*"}[1h]))'}, ()),
    ("count of everything", "/api/v1/query", {"query": 'count({__name__=~".+"})'}, ()),
    ("regex over names and pods", "/api/v1/query",
     {"query": 'sum by (namespace) ({__name__=~"service_operations_[45]._processed_total",pod=~"checkout-service-(1|2|3).-.*"})'}, ()),
    ("join, 1 h", "/api/v1/query_range",
     {"query": "service_operations_47_processed_total / on(instance) service_operations_49_processed_total"} | HOUR, ()),
    ("topk(5) of 100, 1 h", "/api/v1/query_range", {"query": "topk(5, service_queue_70_utilisation_percent)"} | HOUR, ()),
    ("label values", "/api/v1/label/instance/values", {}, ()),
    ("series of one metric", "/api/v1/series", {"match[]": "service_operations_47_processed_total"}, ()),
]


def parameters(path, given, end):
    p = {k: v for k, v in given.items() if k not in ("span", "step")} | {"nocache": "1"}
    if path == "/api/v1/query":
        return p | {"time": end}
    if path == "/api/v1/query_range":
        return p | {"start": round(end - given["span"], 3), "end": end, "step": given["step"]}
    return p | {"start": round(end - 3600, 3), "end": end}


def cpu_ns(pid):
    """CPU time of all threads, finer than the ticks of /proc/PID/stat."""
    total = 0
    for f in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        try:
            with open(f, encoding="ascii") as s:
                total += int(s.read().split()[0])
        except OSError:
            pass          # a thread that has ended
    return total


def ask(server, questions, end, seconds, warm=2, least=3):
    """{name: {"ms", "cpu_ms", "bytes", "data"}} of every question."""
    out = {}
    for name, path, given, _ in questions:
        target = path + "?" + urllib.parse.urlencode(parameters(path, given, end))
        for _ in range(warm):
            server.client.request("GET", target)
        times = []
        cpu, begin = cpu_ns(server.pid), time.monotonic()
        while len(times) < least or (time.monotonic() - begin < seconds and len(times) < 1000):
            start = time.perf_counter()
            answer = server.client.request("GET", target)
            times.append((time.perf_counter() - start) * 1000)
            lib.expect(answer.status == 200, f"{server.name}: {name}: {answer}")
        out[name] = {"ms": statistics.median(times), "cpu_ms": (cpu_ns(server.pid) - cpu) / len(times) / 1e6, "count": len(times),
                     "bytes": len(answer.data), "data": answer.json["data"]}
    return out


def values_of(data):
    """A comparable form of `data`: {labels: [(t, value)]} or a sorted list."""
    if isinstance(data, list):
        return {str(sorted(x.items())) if isinstance(x, dict) else x: [] for x in data}
    return {lib.series_key(s["metric"]): [(round(t * 1000), float(v)) for t, v in s.get("values") or [s["value"]]] for s in data["result"]}


def difference(want, have):
    """None, or what differs first."""
    if want.keys() != have.keys():
        return f"{len(have)} series instead of {len(want)}, e.g. {sorted(want.keys() ^ have.keys(), key=str)[0]}"
    for key, points in want.items():
        if [t for t, _ in points] != [t for t, _ in have[key]]:
            return f"{key}: other times ({len(have[key])} instead of {len(points)})"
        for (t, a), (_, b) in zip(points, have[key]):
            if not lib.same_value(a, b, RELATIVE):
                return f"{key} at {t}: {b} instead of {a}"
    return None


def compare(answers):
    """Take `data` out of the answers and note which agree.  Texts of what differs and should not."""
    base = next(k for k in ("prometheus", "tidalite", HEAD, *answers) if k in answers)
    wrong = []
    for name, _, _, other in QUESTIONS:
        want = values_of(answers[base][name]["data"])
        if not want:
            wrong.append(f"{base}: {name}: nothing found")
        for kind, rows in answers.items():
            if kind in other:
                rows[name]["agrees"] = None
                continue
            found = difference(want, values_of(rows[name]["data"]))
            rows[name]["agrees"] = found is None
            if found:
                wrong.append(f"{kind}: {name}: {found}")
    for rows in answers.values():
        for row in rows.values():
            del row["data"]
    return wrong


def run(args, folder):
    """Load, ask and weigh every server: (result of the questions, result of the disk)."""
    corpus = f"{folder}/mix"
    start_ms = storage.past_window_ms()
    info = common.make_corpus(corpus, args.store_targets, args.store_scrapes, args.seed, start_ms, INTERVAL_MS, "--numbered")
    info |= {"first_ms": start_ms, "last_ms": start_ms + info["scrapes"] * INTERVAL_MS - 1}
    # No sample lies in the last milliseconds of an interval: windows that include their left end mean the same as others.
    end = info["last_ms"] / 1000
    cpus, loader_cpus = common.cores()
    labels = [k for kind in args.store_kinds for k in ((HEAD, kind) if kind == "tidalite" else (kind,))]
    answers, disk = {}, {}
    mine = os.sched_getaffinity(0)
    for label in labels:
        kind = "tidalite" if label == HEAD else label
        extra = storage.flags_for(kind) + ([f"--{lib.BLOCK_RANGE_FLAG}=31d"] if label == HEAD else [])
        with common.folder(args.dir) as work, common.make_server(kind, work, cpus, extra).start() as server:
            # One connection: of several, one may get ahead by more than the hour that prometheus takes back.
            common.load(server, kind, corpus, 1, loader_cpus)
            storage.wait_stored(server, kind, info)
            form = storage.finish(server, kind) if label != HEAD else "head"
            common.wait_idle(server)
            os.sched_setaffinity(0, loader_cpus)
            try:
                answers[label] = ask(server, QUESTIONS, end, args.query_seconds)
            finally:
                os.sched_setaffinity(0, mine)
            print(f"queries: {label:16} done, {sum(r['ms'] for r in answers[label].values()):.1f} ms for one of each", flush=True)
            if label != HEAD:
                disk[kind] = storage.measure_stopped(server, kind, info, form, work)
                print(f"disk, generated data: {kind:16} {disk[kind]['bytes_per_sample']:.3f} bytes per sample", flush=True)
    wrong = compare(answers)
    return {"corpus": info, "servers": answers, "differences": wrong}, {"corpus": info, "servers": disk}


def table(result):
    kinds = list(result["servers"])
    lines = [f"queries: {result['corpus']['series']:,} series, {result['corpus']['scrapes']} scrapes; median ms (server CPU ms)",
             f"{'':32}" + "".join(f"{k:>24}" for k in kinds)]
    for name, _, _, _ in QUESTIONS:
        cells = []
        for kind in kinds:
            r = result["servers"][kind][name]
            mark = {True: " ", False: "!", None: "~"}[r["agrees"]]
            cells.append(f"{r['ms']:>11.2f} ({r['cpu_ms']:>8.2f}){mark}".rjust(24))
        lines.append(f"  {name:30}" + "".join(cells))
    lines.append("  ~ other semantics, not compared" + ("; ! the answer differs" if result["differences"] else "; all others agree to 1e-9"))
    lines += [f"  ! {w}" for w in result["differences"]]
    return "\n".join(lines)

"""A light query beside heavy ones: does it wait for them?

One corpus goes into every server.  Then some clients repeat a heavy query, each over a connection of its own, while another one
asks a light question at a fixed pace; its latencies, and how many heavy answers came in that time.
"""
import statistics
import threading
import time
import urllib.parse

import common
import lib
import storage

LIGHT = {"query": 'service_operations_47_processed_total{instance="10.0.0.0:9100"}'}
HEAVY = {"query": 'sum by (job) (rate({namespace=~".+"}[5m]))', "step": 15}
PACE_SECONDS = 0.02
RANGE_SECONDS = 1800
INTERVAL_MS = 15_000


def target(path, given, **more):
    return path + "?" + urllib.parse.urlencode(given | more | {"nocache": "1"})


class Clients:
    """Threads that repeat a request until told to stop; what did not come back as 200 is in `failed`."""

    def __init__(self, server, path, count):
        self.stopping, self.answers, self.failed = threading.Event(), 0, []
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.work, args=(server.port, path)) for _ in range(count)]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        for t in self.threads:
            t.join()

    def work(self, port, path):
        client = lib.Client(port)
        while not self.stopping.is_set():
            answer = client.request("GET", path)
            with self.lock:
                self.answers += 1
                if answer.status != 200:
                    self.failed.append(str(answer))


def light_latencies(server, path, seconds):
    """Milliseconds of each, asked at the pace or, where they take longer, one after the other."""
    out, end = [], time.monotonic() + seconds
    while time.monotonic() < end or len(out) < 3:
        begin = time.perf_counter()
        answer = server.client.request("GET", path)
        took = time.perf_counter() - begin
        lib.expect(answer.status == 200, f"{server.name}: {answer}")
        out.append(took * 1000)
        time.sleep(max(0.0, PACE_SECONDS - took))
    return sorted(out)


def beside(server, count, args, end):
    heavy = target("/api/v1/query_range", HEAVY, start=end - RANGE_SECONDS, end=end)
    light = target("/api/v1/query", LIGHT, time=end)
    server.client.request("GET", light)
    with Clients(server, heavy, count) as clients:
        time.sleep(args.fair_warm)
        before = clients.answers
        times = light_latencies(server, light, args.fair_seconds)
        heavy_count = clients.answers - before
    lib.expect(not clients.failed, f"{server.name}: {clients.failed[:1]}")
    return {"median_ms": statistics.median(times), "p99_ms": times[int(len(times) * 0.99)], "max_ms": times[-1], "light": len(times),
            "heavy": heavy_count}


def run(args, folder):
    corpus = f"{folder}/fair"
    start_ms = storage.past_window_ms()
    info = common.make_corpus(corpus, args.fair_targets, args.fair_scrapes, args.seed, start_ms, INTERVAL_MS, "--numbered")
    end = (start_ms + info["scrapes"] * INTERVAL_MS - 1) / 1000
    servers = {}
    for kind in args.store_kinds:
        with common.folder(args.dir) as work, common.make_server(kind, work, None, storage.flags_for(kind)).start() as server:
            common.load(server, kind, corpus, 1, None)
            common.wait_idle(server)
            servers[kind] = {n: beside(server, n, args, end) for n in args.fair_clients}
        print(f"fair: {kind} done", flush=True)
    return {"corpus": info, "servers": servers}


def table(result):
    lines = [f"a light query beside clients with heavy ones: {result['corpus']['series']:,} series; ms",
             f"  {'':20}{'heavy clients':>14}{'median':>10}{'p99':>10}{'most':>10}{'light':>8}{'heavy':>8}"]
    for kind, rows in result["servers"].items():
        for n, r in rows.items():
            lines.append(f"  {kind:20}{n:>14}{r['median_ms']:>10.2f}{r['p99_ms']:>10.2f}{r['max_ms']:>10.2f}{r['light']:>8}{r['heavy']:>8}")
    return "\n".join(lines)

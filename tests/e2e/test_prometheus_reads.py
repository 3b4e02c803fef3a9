#!/usr/bin/env python3
"""A real Prometheus reads from Tidalite: by remote read, its answers over our data equal our own, with
as many samples counted; and by scraping /federate.

Debian's Prometheus (2.42) asks for whole samples, and drops native histograms that come that way; a Prometheus 3 in
TIDALITE_PEERS asks for streamed chunks, histograms among them.
"""
import re
import sys
import time

import lib
import peers
import scenario
import wire

suite = lib.Suite()
STEP = 15
POINTS = 241         # an hour
STATS = "--enable-feature=promql-per-step-stats"
SHIFT = 7            # seconds: samples lie beside whole steps, where windows with and without their left end agree

QUERIES = [
    "rd_requests_total", 'rd_requests_total{instance="a:1"}', 'rd_requests_total{instance!="a:1"}', 'rd_requests_total{instance=~"b.*|c"}',
    'rd_requests_total{instance!~"b.*|c"}', '{__name__=~"rd_(gauge|requests).*"}', '{job="api",zone="",__name__!~"rd_native.*"}', 'rd_gauge{zone=~".+"}',
    "rate(rd_requests_total[1m])", "sum by (code) (increase(rd_requests_total[5m]))", "irate(rd_requests_total[1m])", "resets(rd_requests_total[30m])",
    "rd_gauge offset 10m", "rd_gauge @ {last}", "max_over_time(rd_gauge[10m:30s] offset 5s)", "quantile_over_time(0.9, rd_gauge[5m])", "stddev(rd_gauge)",
    "topk(2, rd_gauge)", "rd_gauge / on(instance) group_left rd_limit", "count_over_time(rd_ended[1h])", 'count by (job) ({__name__=~"rd_.*",__name__!~"rd_native.*"})',
    "absent(rd_nosuch)", "absent_over_time(rd_limit[5m])", "sum(rd_limit @ {last})", "rd_limit + rate(rd_requests_total{code=\"200\"}[1m] @ {last})", "predict_linear(rd_gauge[10m], 600)", "rd_odd", "label_replace(rd_limit, \"x\", \"$1\", \"instance\", \"(.*):.*\")",
    "histogram_quantile(0.9, sum by (le) (rate(rd_latency_bucket[5m])))",
]
HISTOGRAM_QUERIES = [
    "histogram_quantile(0.9, rd_native)", "histogram_quantile(0.5, rate(rd_native[5m]))", "histogram_count(rd_native)", "histogram_sum(rd_native_float)",
    "histogram_quantile(0.3, sum(rate(rd_native[5m])))", "histogram_fraction(0, 2, rd_native_float)", "histogram_count(increase(rd_native_float[10m]))",
]


def series(t0):
    """An hour of everything: counters with a reset, gauges, a series that ends, odd values, classic and native histograms."""
    t = [t0 + STEP * 1000 * i for i in range(POINTS)]
    out = []
    for n, instance in enumerate(("a:1", "b:1", "c")):
        labels = {"instance": instance, "job": "api"}
        for code in ("200", "500"):
            out.append(wire.Series(wire.labels("rd_requests_total", code=code, **labels),
                                   [(x, float((i if i < 150 or n else i - 150) * (n + 1) + int(code))) for i, x in enumerate(t)]))
        out.append(wire.Series(wire.labels("rd_gauge", zone=f"z{n}", **labels), [(x, (i * 37 + n * 11) % 101 / 7) for i, x in enumerate(t)]))
        out.append(wire.Series(wire.labels("rd_limit", **labels), [(x, 10.5 * (n + 1)) for x in t]))
        out += [wire.Series(wire.labels("rd_latency_bucket", le=le, **labels), [(x, share * i) for i, x in enumerate(t)])
                for le, share in (("0.1", 2.0), ("1", 5.0), ("+Inf", 8.0))]
    out.append(wire.Series(wire.labels("rd_ended", job="api"), [(x, 1.0) for x in t[:-1]] + [(t[-1], wire.STALE)]))
    out += [wire.Series(wire.labels("rd_odd", kind=str(k)), [(x, v) for x in t]) for k, v in enumerate((wire.NAN, float("inf"), -0.0, 5e-324, 1e300))]
    native = [(i, x, [i + 1, 2 * i + 1, 3 * i]) for i, x in enumerate(t)]
    out.append(wire.Series(wire.labels("rd_native", job="api"), histograms=[
        wire.Histogram(x, sum(b) + i, 2.5 * i, schema=1, zero_threshold=0.001, zero_count=i, positive_spans=[(-2, 1), (3, 2)], positive=b,
                       negative_spans=[], negative=[]) for i, x, b in native]))
    out.append(wire.Series(wire.labels("rd_native_float", job="api"), histograms=[
        wire.Histogram(x, sum(b) + i + 0.5, 2.5 * i, schema=0, zero_threshold=0.5, zero_count=i + 0.5, positive_spans=[(0, 3)], positive=b,
                       is_float=True) for i, x, b in native]))
    return out


def prometheus(config, *flags):
    """A Prometheus with that configuration and no data of its own."""
    try:
        program = peers.program("prometheus")
    except peers.PeerError as e:
        raise lib.Failure(str(e)) from None
    work, port = lib.folder("prometheus"), lib.free_port()
    with open(f"{work}/prometheus.yml", "w", encoding="utf-8") as f:
        f.write(config)
    return lib.Server("prometheus", [program, f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/data",
                                     f"--web.listen-address=127.0.0.1:{port}", *flags], port, "/-/ready")


def start_tidalite(external=""):
    path = f"{lib.folder()}/tidalite.yml"
    with open(path, "w", encoding="utf-8") as f:
        f.write(f"global: {{external_labels: {{{external}}}}}\n" if external else "global: {}\n")
    return lib.Tidalite(None, STATS, f"--{lib.BLOCK_RANGE_FLAG}=1m", f"--config.file={path}").start()


def write_all(server):
    """Time of the first sample, in seconds.  The older part goes into blocks."""
    begin = int(time.time()) // STEP * STEP - STEP * (POINTS + 4)
    for s in series((begin + SHIFT) * 1000):
        a = server.client.write([s])
        lib.expect_equal(a.status, 204, f"write of {s.labels}: {a}")
    lib.wait_for("blocks", lambda: lib.block_count(server))
    return begin


def compare_all(prometheus_server, server, queries, begin, last):
    count, wrong = 0, []
    for text in queries:
        expr = text.replace("{last}", str(last))
        asked = [("/api/v1/query", {"query": expr, "time": t}) for t in (begin + 1800, last)]
        asked.append(("/api/v1/query_range", {"query": expr, "start": begin + 900, "end": last, "step": 2 * STEP}))
        for path, params in asked:
            ours, theirs = (x.client.data(path, params | {"stats": "all"}) for x in (server, prometheus_server))
            try:
                if theirs["result"] or ours["result"]:
                    count += scenario.compare(ours, theirs)
                for key in ("totalQueryableSamples", "totalQueryableSamplesPerStep"):
                    lib.expect_equal(ours["stats"]["samples"][key], theirs["stats"]["samples"][key], key)
            except lib.Failure as e:
                wrong.append(f"{path} {params}: {e}")
    lib.expect(not wrong, f"{len(wrong)} answers differ:\n" + "\n".join(wrong[:10]))
    return count


@suite.case
def remote_read__answers_equal_our_own():
    with start_tidalite() as server:
        begin = write_all(server)
        last = begin + STEP * (POINTS - 1)
        read = f"remote_read: [{{url: 'http://127.0.0.1:{server.port}/api/v1/read', read_recent: true}}]\n"
        with prometheus(read, STATS + ",native-histograms").start() as p:
            lib.expect_equal(p.client.data("/api/v1/status/tsdb")["headStats"]["numSeries"], 0, "series of Prometheus's own")
            count = compare_all(p, server, QUERIES, begin, last)
            lib.expect(count > 5000, f"only {count} values compared")
            version = p.client.data("/api/v1/status/buildinfo")["version"]
            histograms = 0
            if int(version.split(".")[0]) >= 3:      # Debian's drops native histograms that come by remote read
                histograms = compare_all(p, server, HISTOGRAM_QUERIES, begin, last)
                lib.expect(histograms > 500, f"only {histograms} values of histograms compared")
            calls = lib.find_text(server.client.get("/metrics").text, "tidalite_remote_read_submitted_total")
            print(f"Prometheus {version}: {count} values and {histograms} of native histograms agree, over {calls:.0f} calls of remote read and {lib.block_count(server):.0f} blocks")
            lib.expect(calls >= len(QUERIES), f"{calls} calls")
            for name in ("rd_requests_total", "rd_odd"):     # raw samples, as they are stored
                ours, theirs = (lib.matrix(x.client.query(f"{name}[20m]", last)) for x in (server, p))
                lib.expect_equal(theirs, ours, f"raw samples of {name}")
            found = p.client.data("/api/v1/series", {"match[]": "rd_limit", "start": begin, "end": last})
            lib.expect_equal(len(found), 3, f"series: {found}")


@suite.case
def remote_read__external_labels__as_if_they_were_stored():
    with start_tidalite("cluster: c1, zone: out") as server:
        begin = write_all(server)
        last = begin + STEP * (POINTS - 1)
        read = f"remote_read: [{{url: 'http://127.0.0.1:{server.port}/api/v1/read', read_recent: true}}]\n"
        with prometheus(read).start() as p:
            for query, want in (('rd_limit{cluster="c1"}', 3), ('rd_limit{cluster="c1",zone="out"}', 3), ('rd_limit{cluster="c2"}', 0),
                                ('rd_gauge{zone="z1"}', 1), ('rd_gauge{zone="out"}', 0), ('count({cluster="c1",job="api",zone="out"})', 1)):
                found = p.client.query(query, last)
                lib.expect_equal(len(found), want, f"{query}: {found}")
            metric = p.client.query('rd_limit{instance="c"}', last)[0]["metric"]
            lib.expect_equal(metric, {"__name__": "rd_limit", "cluster": "c1", "instance": "c", "job": "api", "zone": "out"}, "labels")
            lib.expect_equal(p.client.query("rd_gauge{instance='c'}", last)[0]["metric"]["zone"], "z2", "a label of its own stays")


FEDERATE = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: federate
    honor_labels: true
    metrics_path: /federate
    params: {{'match[]': ['{{job="api"}}', 'fd_plain']}}
    static_configs: [{{targets: ['127.0.0.1:{port}']}}]
"""


@suite.case
def federate__scraped__the_same_samples_with_external_labels():
    with start_tidalite("cluster: c1") as server, prometheus(FEDERATE.format(port=server.port)) as p:
        t = lib.now_ms()
        rows = [wire.Series(wire.labels("fd_gauge", job="api", n=str(n), instance="i:1"), [(t, n * 1.25 if n else -0.0)]) for n in range(200)]
        rows += [wire.Series(wire.labels("fd_odd", job="api", text='a"b\\c\nd\u00e9'), [(t, float("inf"))]),
                 wire.Series(wire.labels("fd_plain"), [(t, 1e-7)]), wire.Series(wire.labels("fd_hidden", job="other"), [(t, 1.0)])]
        lib.expect_equal(server.client.write(rows).status, 204, "write")
        p.start()
        lib.wait_for("a scrape", lambda: p.client.query('up{job="federate"} == 1') and p.client.query("fd_plain"))
        at = t / 1000
        # A series without a job gets the scraper's; one without an instance does not, because we say that it has none.
        ours = {lib.series_key({"job": "federate", "cluster": "c1"} | s["metric"]): s["value"] for s in server.client.query('{__name__=~"fd_(gauge|odd|plain)"}', at)}
        theirs = {lib.series_key(s["metric"]): s["value"] for s in p.client.query('{__name__=~"fd_.*"}', at)}
        lib.expect_equal(len(ours), 202, "series")
        lib.expect_equal(theirs, ours, "what was scraped")
        lib.expect_equal([x for x, _ in lib.matrix(p.client.query("fd_plain[1h]", at + 60)).popitem()[1]], [t], "the sample's own time")
        # What ends here is not told any more.
        a = server.client.write([wire.Series(wire.labels("fd_gauge", job="api", n="7", instance="i:1"), [(lib.now_ms(), wire.STALE)])])
        lib.expect_equal(a.status, 204, "write of a stale marker")
        lib.expect(not re.search(r'^fd_gauge\{.*n="7"', server.client.get("/federate", {"match[]": "fd_gauge"}).text, re.M), "it is told")


if __name__ == "__main__":
    sys.exit(suite.main())

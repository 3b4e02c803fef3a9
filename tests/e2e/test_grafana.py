#!/usr/bin/env python3
"""What Grafana's Prometheus data source sends, in its order and its forms: status, shape and content of every answer.

POST with a form for queries, series and labels, GET for values, metadata, rules and buildinfo; a POST that gets 400 or 405 is
sent again as GET.  The backend adds headers and asks for gzip; a data source may add parameters of its own to every URL.
"""
import gzip
import json
import math
import sys
import time

import lib
import wire

suite = lib.Suite()
HEADERS = {"Accept-Encoding": "gzip", "User-Agent": "Grafana/12.1.0", "X-Grafana-Org-Id": "1", "FromAlert": "false",
           "X-Dashboard-Uid": "abc", "X-Panel-Id": "2", "X-Datasource-Uid": "d", "X-Query-Group-Id": "g"}


def decoded(a):
    """The JSON of an answer, packed or not: Grafana shows a parse error for anything else."""
    lib.expect_equal(a.headers["Content-Type"], "application/json", f"content type: {a}")
    return json.loads(gzip.decompress(a.data) if a.headers.get("Content-Encoding") == "gzip" else a.data)


def close(text, value):
    return lib.same_value(float(text), value, 1e-9)


class Source:
    """A data source: the forms in which Grafana asks, custom parameters included."""

    def __init__(self, server, custom=""):
        self.client, self.custom = server.client, custom

    def resource(self, path, params, method="POST"):
        """(status, JSON); as the frontend asks: what a POST is refused with 400 or 405 comes again as GET."""
        if method == "POST":
            a = self.client.post(path + self.custom, params, HEADERS)
            if a.status not in (400, 405):
                return a.status, decoded(a)
        a = self.client.get(path, params, HEADERS)
        return a.status, decoded(a)

    def ok(self, path, params=None, method="POST"):
        status, found = self.resource(path, params or {}, method)
        lib.expect_equal((status, found["status"]), (200, "success"), f"{method} {path} {params}: {lib.short(found)}")
        return found["data"]

    def values(self, label, **params):
        return self.ok(f"/api/v1/label/{label}/values", params, "GET")

    def panel(self, expr, seconds, now, points=1000, least=15):
        """A range query as a panel asks it: step from the width, ends on the grid."""
        step = max(least, math.ceil(seconds / points), math.ceil(seconds / 11000))
        end = now // step * step
        return self.ok("/api/v1/query_range", {"query": expr, "start": end - seconds // step * step, "end": end, "step": step})


@suite.case
def grafana__save_and_test__works():
    """What Grafana's Prometheus data source sends when one presses Save & test, and when the query editor opens."""
    with lib.Tidalite(self_scrape=True).start() as server:
        lib.wait_for("up", lambda: server.client.query("up"))
        headers = HEADERS

        a = server.client.post("/api/v1/query", {"query": "1+1", "time": "4"}, headers)
        lib.expect_equal((a.status, decoded(a)["data"]), (200, {"resultType": "scalar", "result": [4, "2"]}), "query 1+1")
        a = server.client.get("/api/v1/status/buildinfo", None, headers)
        lib.expect("features" not in decoded(a)["data"], "buildinfo has features: Grafana would take us for Mimir")
        now = time.time()
        a = server.client.post("/api/v1/labels", {"start": now - 3600, "end": now + 1, "limit": 40000}, headers)
        lib.expect("job" in decoded(a)["data"], f"labels: {a}")
        a = server.client.get("/api/v1/label/__name__/values", {"start": int(now - 3600), "end": int(now + 1), "limit": 40000}, headers)
        names = decoded(a)["data"]
        lib.expect("up" in names and a.headers.get("Content-Encoding") == "gzip", f"metric names: {a}")
        a = server.client.post("/api/v1/query_range", {"query": "sum(tidalite_head_series)", "start": now - 300, "end": now, "step": "15"}, headers)
        lib.expect_equal(decoded(a)["data"]["resultType"], "matrix", "a panel")
        a = server.client.post("/api/v1/series", {"match[]": "up", "start": now - 3600, "end": now + 1}, headers)
        lib.expect_equal(len(decoded(a)["data"]), 1, "series of up")
        a = server.client.get("/api/v1/query", {"query": "up", "time": int(now * 1000)})   # milliseconds, once, by mistake
        lib.expect_equal(a.status, 200, f"a time in milliseconds: {a}")
        a = server.client.post("/api/v1/query?custom=parameter", {"query": "up"})
        lib.expect_equal(a.status, 200, f"a custom parameter: {a}")


@suite.case
def grafana__session__every_request_is_answered():
    """The order in which Grafana asks when a person opens a data source, the metrics explorer, a dashboard and the alert list."""
    with lib.Tidalite().start() as server:
        c = server.client
        now = int(time.time())
        t = now * 1000 - 30_000
        odd = "http.requests.duration"
        series = [wire.Series(wire.labels("http_requests_total", job="api", code=code), [(t, 5.0)]) for code in ("200", "500")]
        series.append(wire.Series([("__name__", odd), ("k8s.ns", "default")], [(t, 1.5)]))
        lib.expect_equal(c.write(series).status, 204, "write")
        meta = wire.metadata_v1(1, "http_requests_total", "Requests answered.") + wire.metadata_v1(2, odd, "How long.", "seconds")
        lib.expect_equal(c.write_raw(wire.snappy(meta)).status, 204, "metadata")
        headers = {"Accept-Encoding": "gzip"}

        def answer(a, what):
            lib.expect_equal(a.status, 200, f"{what}: {a}")
            found = decoded(a)
            lib.expect_equal(found["status"], "success", what)
            lib.expect("warnings" not in found and "infos" not in found, f"{what} has notes: {found}")
            return found["data"]

        # init: rules, and whether there are exemplars, with times in milliseconds
        lib.expect_equal(answer(c.get("/api/v1/rules", None, headers), "rules"), {"groups": []}, "rules")
        probe = {"query": "test", "start": now * 1000 - 3_600_000, "end": now * 1000}
        lib.expect_equal(answer(c.post("/api/v1/query_exemplars", probe, headers), "exemplar probe"), [], "exemplar probe")
        # language provider
        span = {"start": now - 3600, "end": now + 60, "limit": 40000}
        lib.expect_equal(answer(c.get("/api/v1/label/__name__/values", span, headers), "names"), [odd, "http_requests_total"], "names")
        lib.expect_equal(answer(c.post("/api/v1/labels", span, headers), "labels"), ["__name__", "code", "job", "k8s.ns"], "labels")
        lib.expect_equal(answer(c.get("/api/v1/metadata", {"limit": 40000}, headers), "metadata"),
                         {odd: [{"type": "gauge", "unit": "seconds", "help": "How long."}],
                          "http_requests_total": [{"type": "counter", "unit": "", "help": "Requests answered."}]}, "metadata")
        lib.expect_equal(list(answer(c.get("/api/v1/metadata", {"metric": "http_requests_total"}), "metadata of one")),
                         ["http_requests_total"], "metadata of one")
        # completion and pickers
        lib.expect_equal(answer(c.get("/api/v1/label/__name__/values", span | {"limit": 1000, "match[]": '{__name__=~"(?i).*REQUESTS_T.*"}'}), "typed"),
                         ["http_requests_total"], "completion")
        lib.expect_equal(answer(c.get("/api/v1/label/U__k8s_2e_ns/values", span), "U__ name"), ["default"], "values of k8s.ns")
        lib.expect_equal(answer(c.get("/api/v1/label/code/values", span | {"match[]": '{__name__="http_requests_total",job="api"}'}), "code"),
                         ["200", "500"], "values of code")
        lib.expect_equal(answer(c.post("/api/v1/query", {"query": '{"http.requests.duration","k8s.ns"="default"}', "time": now}), "UTF-8")["result"],
                         [{"metric": {"__name__": odd, "k8s.ns": "default"}, "value": [now, "1.5"]}], "a name that needs quotes")
        found = answer(c.post("/api/v1/series", {"match[]": '{__name__!=""}', "start": now - 3600, "end": now + 60, "limit": 40000}), "series")
        lib.expect_equal(len(found), 3, "series")
        # a panel, its exemplars, the alert list, the cardinality page
        panel = {"query": "sum by (code) (http_requests_total)", "start": now // 15 * 15 - 300, "end": now // 15 * 15 + 15, "step": 15}
        lib.expect_equal(len(answer(c.post("/api/v1/query_range", panel, headers), "panel")["result"]), 2, "panel")
        lib.expect_equal(answer(c.post("/api/v1/query_exemplars", panel), "exemplars"), [], "exemplars")
        listed = {"file[]": "x", "rule_group[]": "y", "rule_name[]": "z", "exclude_alerts": "true", "group_limit": 40}
        lib.expect_equal(answer(c.get("/api/v1/rules", listed), "rule list"), {"groups": []}, "rule list")
        lib.expect_equal(answer(c.get("/api/v1/alerts"), "alerts"), {"alerts": []}, "alerts")
        status = answer(c.get("/api/v1/status/tsdb", {"limit": 2}), "status/tsdb")
        lib.expect_equal((status["headStats"]["numSeries"], status["headStats"]["numLabelPairs"]), (3, 6), f"head: {status}")
        lib.expect_equal(status["seriesCountByMetricName"],
                         [{"name": "http_requests_total", "value": 2}, {"name": odd, "value": 1}], "series by metric")
        for path in ("targets", "scrape_pools", "alertmanagers", "features", "notifications"):
            answer(c.get(f"/api/v1/{path}", None, headers), path)


def write_session(server, now):
    """30 minutes of a counter for two instances, a gauge, a classic histogram with exemplars, a native one; odd names."""
    t = [(now - 1800 + 15 * i) * 1000 for i in range(121)]
    series = []
    for n, instance in enumerate(("a:1", "b:1")):
        labels = {"job": "api", "instance": instance}
        series.append(wire.Series(wire.labels("requests_total", **labels), [(x, 15.0 * (n + 1) * i) for i, x in enumerate(t)]))
        series.append(wire.Series(wire.labels("up", **labels), [(x, 1.0) for x in t]))
        for le, share in (("0.1", 0.5), ("1", 0.9), ("+Inf", 1.0)):
            series.append(wire.Series(wire.labels("latency_bucket", le=le, **labels), [(x, share * 10 * i) for i, x in enumerate(t)],
                                      exemplars=[([("trace_id", "t1")], 0.05, t[-2])] if le == "0.1" and not n else []))
    series.append(wire.Series(wire.labels("native", job="api"), histograms=[
        wire.Histogram(x, 6, 1.5, schema=0, zero_count=0, positive_spans=[(0, 3)], positive=[1, 2, 3]) for x in t[-8:]]))
    series.append(wire.Series([("__name__", "http.requests"), ("k8s.ns", "shop")], [(t[-1], 4.0)]))
    for request in (series[:5], series[5:]):
        lib.expect_equal(server.client.write(request, 2).status, 204, "write")


@suite.case
def panels_variables_alerts__content_as_written():
    with lib.Tidalite().start() as server:
        now = int(time.time()) // 15 * 15
        write_session(server, now)
        source = Source(server, "?custom=1&X-Scope=x")
        # Panels: the rate of a counter, a heat map of buckets, a quantile; the grid is the asker's.
        found = source.panel("sum by (instance) (rate(requests_total[1m]))", 900, now)
        lib.expect_equal((found["resultType"], [s["metric"] for s in found["result"]]), ("matrix", [{"instance": "a:1"}, {"instance": "b:1"}]), "rate")
        for s, rate in zip(found["result"], (1, 2)):
            lib.expect_equal([x for x, _ in s["values"]], list(range(now - 900, now + 1, 15)), f"times of {s['metric']}")
            lib.expect(all(close(v, rate) for _, v in s["values"]), f"rate of {s['metric']}: {s['values']}")
        found = source.panel("sum by (le) (increase(latency_bucket[1m]))", 60, now)
        lib.expect_equal([s["metric"]["le"] for s in found["result"]], ["+Inf", "0.1", "1"], "heat map")
        lib.expect(all(close(s["values"][-1][1], v) for s, v in zip(found["result"], (80, 40, 72))), f"heat map: {found}")
        found = source.panel("histogram_quantile(0.5, sum by (le) (rate(latency_bucket[1m])))", 60, now)
        lib.expect(all(close(v, 0.1) for _, v in found["result"][0]["values"]), f"quantile: {found}")
        found = source.panel("native", 30, now)["result"][0]
        lib.expect_equal((sorted(found), found["histograms"][-1]),
                         (["histograms", "metric"], [now, {"count": "6", "sum": "1.5",
                                                           "buckets": [[0, "0.5", "1", "1"], [0, "1", "2", "2"], [0, "2", "4", "3"]]}]), "a native histogram")
        # 11000 steps are allowed, one more is not; Grafana then asks again as GET and shows the text.
        step = {"query": "up", "start": now - 11000, "end": now, "step": 1}
        lib.expect_equal(source.ok("/api/v1/query_range", step)["resultType"], "matrix", "11000 steps")
        status, found = source.resource("/api/v1/query_range", step | {"start": now - 11001})
        lib.expect_equal((status, found["errorType"]), (400, "bad_data"), "11001 steps")
        lib.expect(found["error"].startswith("exceeded maximum resolution of 11,000 points"), found["error"])
        # A table (instant), an empty one, a scalar, a string; an annotation is a range query with a step of a minute.
        lib.expect_equal(source.ok("/api/v1/query", {"query": "requests_total", "time": now})["result"],
                         [{"metric": {"__name__": "requests_total", "instance": i, "job": "api"}, "value": [now, v]} for i, v in (("a:1", "1800"), ("b:1", "3600"))],
                         "table")
        lib.expect_equal(source.ok("/api/v1/query", {"query": "nosuch", "time": now}), {"resultType": "vector", "result": []}, "empty")
        lib.expect_equal(source.ok("/api/v1/query", {"query": "1/0", "time": now + 0.5}), {"resultType": "scalar", "result": [now + 0.5, "+Inf"]}, "scalar")
        lib.expect_equal(source.ok("/api/v1/query", {"query": "'x'", "time": now}), {"resultType": "string", "result": [now, "x"]}, "string")
        found = source.panel("up == 0", 600, now, least=60)
        lib.expect_equal(found, {"resultType": "matrix", "result": []}, "annotations")
        found = source.ok("/api/v1/query_exemplars", {"query": "histogram_quantile(0.9, sum(rate(latency_bucket[1m])) by (le))", "start": now - 900, "end": now})
        lib.expect_equal(found, [{"seriesLabels": {"__name__": "latency_bucket", "instance": "a:1", "job": "api", "le": "0.1"},
                                  "exemplars": [{"labels": {"trace_id": "t1"}, "value": "0.05", "timestamp": now - 15}]}], "exemplars")
        # Variables: names, values, by regular expression and by selector; query_result; series.
        span = {"start": now - 1800, "end": now, "limit": 40000}
        names = ["http.requests", "latency_bucket", "native", "requests_total", "up"]
        lib.expect_equal(source.ok("/api/v1/labels", span), ["__name__", "instance", "job", "k8s.ns", "le"], "label_names()")
        lib.expect_equal(source.ok("/api/v1/labels", span | {"match[]": '{__name__=~".*bucket.*"}'}), ["__name__", "instance", "job", "le"], "label_names(re)")
        lib.expect_equal(source.values("instance", **span), ["a:1", "b:1"], "label_values(instance)")
        lib.expect_equal(source.values("le", **span, **{"match[]": 'latency_bucket{instance="b:1"}'}), ["+Inf", "0.1", "1"], "label_values(sel, le)")
        lib.expect_equal(source.values("__name__", **span), names, "names")
        lib.expect_equal(source.values("__name__", **span, **{"match[]": '{__name__=~".*_.*"}'}), ["latency_bucket", "requests_total"], "metrics(re)")
        lib.expect_equal(source.values("instance", **span, **{"match[]": '{__name__=~"up|native",job="api"}'}), ["a:1", "b:1"], "ad hoc filter")
        lib.expect_equal(source.values("U__k8s_2e_ns", **span), ["shop"], "a label with a dot")
        lib.expect_equal(source.values("nosuch", **span), [], "an unknown label")
        found = source.ok("/api/v1/query", {"query": "count(up)", "time": now})
        lib.expect_equal(found["result"], [{"metric": {}, "value": [now, "2"]}], "query_result(count(up))")
        found = source.ok("/api/v1/series", {"match[]": "up", "start": now - 1800, "end": now})
        lib.expect_equal(found, [{"__name__": "up", "instance": i, "job": "api"} for i in ("a:1", "b:1")], "series")


@suite.case
def errors_and_notes__are_objects_that_grafana_shows():
    with lib.Tidalite().start() as server:
        now = int(time.time()) // 15 * 15
        write_session(server, now)
        source = Source(server)
        for path, params, want, kind, text in (
                ("/api/v1/query", {"query": "sum(", "time": now}, 400, "bad_data", 'invalid parameter "query": 1:5: parse error: '),
                ("/api/v1/query", {"query": "", "time": now}, 400, "bad_data", 'invalid parameter "query": '),
                ("/api/v1/query", {"query": "up", "time": "soon"}, 400, "bad_data", 'invalid parameter "time": '),
                ("/api/v1/query_range", {"query": "up[5m]", "start": now, "end": now, "step": 15}, 400, "bad_data",
                 'invalid parameter "query": invalid expression type "range vector" for range query'),
                ("/api/v1/query", {"query": "up + on(job) up", "time": now}, 422, "execution", "found duplicate series for the match group"),
                ("/api/v1/labels", {"match[]": "{"}, 400, "bad_data", "1:2: parse error: "),
                ("/api/v1/series", {"start": now, "end": now}, 400, "bad_data", "no match[] parameter provided")):
            status, found = source.resource(path, params)
            lib.expect_equal((status, found["status"], found["errorType"]), (want, "error", kind), f"{path} {params}")
            lib.expect(found["error"].startswith(text), f"{path} {params}: {found['error']}")
        # Notes stand beside the data, as lists of texts.
        _, found = source.resource("/api/v1/query", {"query": "rate(up[1m])", "time": now})
        lib.expect_equal((found["status"], found["infos"]),
                         ("success", ['PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "up" (1:6)']), "infos")
        _, found = source.resource("/api/v1/query", {"query": "quantile(2, up)", "time": now})
        lib.expect_equal((found["data"]["result"][0]["value"][1], found["warnings"]),
                         ("+Inf", ["PromQL warning: quantile value should be between 0 and 1, got 2 (1:10)"]), "warnings")
        _, found = source.resource("/api/v1/labels", {"limit": 1})
        lib.expect_equal((found["data"], found["warnings"]), (["__name__"], ["results truncated due to limit"]), "a limit")
        found = source.ok("/api/v1/query", {"query": "up", "time": now, "stats": "all"})["stats"]
        lib.expect_equal(sorted(found), ["samples", "timings"], "stats")
        lib.expect(found["samples"]["samplesRead"] >= 2 and found["timings"]["execTotalTime"] >= found["timings"]["evalTotalTime"] > 0, f"stats: {found}")
        a = server.client.get("/api/v1/status/nothing", None, HEADERS)
        lib.expect_equal((a.status, a.text), (404, "404 page not found\n"), "an unknown path")


if __name__ == "__main__":
    sys.exit(suite.main())

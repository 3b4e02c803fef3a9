#!/usr/bin/env python3
"""OTLP/HTTP: protobuf and JSON, gzip, the otlp: block, partial success, all over a kill -9."""
import gzip
import json
import sys

import lib
import otlp

suite = lib.Suite()
T = lib.now_ms() // 1000 * 1000 - 60_000
PATH = "/api/v1/otlp/v1/metrics"
RESOURCE = {"service__name": "api", "service__namespace": "shop", "service__instance__id": "i1", "host__name": "h"}


def ns(ms):
    return str(ms * 1_000_000)


def point(ms, **more):
    return {"timeUnixNano": ns(ms), **more}


def metrics(ms):
    cumulative = {"aggregationTemporality": 2}
    return [
        {"name": "http.requests", "unit": "1", "sum": {**cumulative, "isMonotonic": True, "dataPoints": [
            point(ms, asInt="42", startTimeUnixNano=ns(T - 100_000), attributes=otlp.attributes(http__method="GET"), exemplars=[
                {"timeUnixNano": ns(ms), "asDouble": 0.5, "traceId": "0102030405060708090a0b0c0d0e0f10"}])]}},
        {"name": "latency", "unit": "s", "description": "how long", "histogram": {**cumulative, "dataPoints": [
            point(ms, count="10", sum=3.5, bucketCounts=["1", "4", "5"], explicitBounds=[0.1, 1])]}},
        {"name": "native", "exponentialHistogram": {**cumulative, "dataPoints": [
            point(ms, count="6", sum=3.5, scale=0, zeroCount="1", positive={"offset": 0, "bucketCounts": ["2", "0", "3"]})]}},
        {"name": "temperature", "unit": "Cel", "gauge": {"dataPoints": [point(ms, asDouble=-2.5)]}},
        {"name": "calls", "summary": {"dataPoints": [point(ms, count="2", sum=3, quantileValues=[{"quantile": 0.5, "value": 1}])]}},
    ]


def found(server, expr, ms=T):
    """Text of each series -> its value."""
    out = {}
    for s in server.client.query(expr, ms / 1000):
        labels = ",".join(f"{k}={v}" for k, v in sorted(s["metric"].items()) if k not in ("__name__", "job", "instance"))
        out[s["metric"].get("__name__", "") + "{" + labels + "}"] = s["value"][1] if "value" in s else s["histogram"][1]["count"]
    return out


EXPECTED = {
    "http_requests_total{http_method=GET}": "42", "latency_seconds_bucket{le=0.1}": "1", "latency_seconds_bucket{le=1}": "5",
    "latency_seconds_bucket{le=+Inf}": "10", "latency_seconds_sum{}": "3.5", "latency_seconds_count{}": "10", "native{}": "6",
    "temperature_celsius{}": "-2.5", "calls{quantile=0.5}": "1", "calls_sum{}": "3", "calls_count{}": "2",
    "target_info{host_name=h}": "1",
}


def post(server, message, kind="protobuf", pack=False, path=PATH):
    data = otlp.encode(message) if kind == "protobuf" else json.dumps(message).encode()
    headers = {"Content-Type": "application/json" if kind == "json" else "application/x-protobuf"}
    if pack:
        data, headers["Content-Encoding"] = gzip.compress(data), "gzip"
    return server.client.request("POST", path, data, headers)


@suite.case
def every_kind_and_form__found_as_prometheus_has_it_and_after_a_kill():
    with lib.Tidalite(None).start() as server:
        times = []
        for kind in ("protobuf", "json"):
            for pack in (False, True):
                ms = T + len(times) * 1000
                times.append(ms)
                a = post(server, otlp.request(metrics(ms), **RESOURCE), kind, pack)
                lib.expect_equal(a.status, 200, f"{kind}, gzip {pack}: {a}")
                lib.expect_equal(a.data, b"{}" if kind == "json" else b"", "the answer")
        server.kill()
        server.start()
        for ms in times:
            lib.expect_equal(found(server, '{job="shop/api",instance="i1"}', ms), EXPECTED, f"what is there at {ms}")
        exemplars = server.client.data("/api/v1/query_exemplars", {"query": "http_requests_total", "start": T / 1000 - 9, "end": T / 1000 + 9})
        lib.expect_equal(len(exemplars), 1, f"exemplars: {exemplars}")
        lib.expect_equal(exemplars[0]["exemplars"][0]["labels"], {"trace_id": "0102030405060708090a0b0c0d0e0f10"}, "its labels")


@suite.case
def metadata__of_families():
    with lib.Tidalite(None).start() as server:
        post(server, otlp.request(metrics(T), **RESOURCE))
        data = server.client.data("/api/v1/metadata")
        lib.expect_equal(data["latency_seconds"], [{"type": "histogram", "unit": "s", "help": "how long"}], "of a histogram")
        lib.expect_equal(data["http_requests_total"][0]["type"], "counter", "of a counter")


@suite.case
def configuration__strategy_promotion_custom_buckets_and_reload():
    folder = lib.folder()
    path = f"{folder}/prometheus.yml"
    with open(path, "w", encoding="utf-8") as f:
        f.write("otlp:\n  translation_strategy: NoTranslation\n  promote_resource_attributes: [host.name]\n  convert_histograms_to_nhcb: true\n")
    with lib.Tidalite(None, f"--config.file={path}", "--web.enable-lifecycle").start() as server:
        lib.expect_equal(post(server, otlp.request(metrics(T), **RESOURCE)).status, 200, "a request")
        there = found(server, '{"host.name"="h"}')
        lib.expect_equal(there.get("http.requests{host.name=h,http.method=GET}"), "42", f"a name as it came: {there}")
        lib.expect_equal(there.get("latency{host.name=h}"), "10", f"custom buckets: {there}")
        lib.expect("NoTranslation" in server.client.data("/api/v1/status/config")["yaml"], "the configuration as the API shows it")
        with open(path, "w", encoding="utf-8") as f:
            f.write("global: {}\n")
        lib.expect_equal(server.client.post("/-/reload", {}).status, 200, "reload")
        post(server, otlp.request(metrics(T + 1000), **RESOURCE))
        lib.expect_equal(found(server, "temperature_celsius", T + 1000), {"temperature_celsius{}": "-2.5"}, "after the reload")


@suite.case
def refusals__partial_success_and_status():
    delta = {"name": "delta", "sum": {"aggregationTemporality": 1, "dataPoints": [point(T, asInt=1), point(T, asInt=2)]}}
    with lib.Tidalite(None).start() as server:
        a = post(server, otlp.request([delta] + metrics(T), **RESOURCE), "json")
        lib.expect_equal(a.status, 200, f"some refused: {a}")
        partial = json.loads(a.data)["partialSuccess"]
        lib.expect_equal(partial["rejectedDataPoints"], "2", f"refused points: {partial}")
        lib.expect("otlp-native-delta-ingestion" in partial["errorMessage"], f"what to do: {partial}")
        a = post(server, otlp.request([delta] + metrics(T), **RESOURCE))
        lib.expect(a.status == 200 and a.data[:1] == b"\x0a" and b"delta temporality" in a.data, f"the same as protobuf: {a}")
        a = post(server, otlp.request([delta], **RESOURCE), "json")
        lib.expect_equal((a.status, json.loads(a.data)["code"]), (400, 3), f"all refused: {a}")
        a = server.client.request("POST", PATH, b"{", {"Content-Type": "application/json"})
        lib.expect(a.status == 400 and "byte 1" in a.text, f"no JSON: {a}")
        a = server.client.request("POST", PATH, b"\xff\xff", {"Content-Type": "application/x-protobuf"})
        lib.expect_equal(a.status, 400, f"no protobuf: {a}")
        a = server.client.request("POST", PATH, b"", {"Content-Type": "text/plain"})
        lib.expect_equal(a.status, 415, f"another type: {a}")
        a = server.client.request("POST", "/v1/metrics", b"", {})
        lib.expect(a.status == 404 and "/api/v1/otlp" in a.text, f"the path of collectors: {a}")
    with lib.Tidalite(None, "--enable-feature=otlp-native-delta-ingestion").start() as server:
        a = post(server, otlp.request([delta], **RESOURCE), "json")
        lib.expect_equal(json.loads(a.data)["partialSuccess"]["rejectedDataPoints"], "1", f"two values of one time: {a}")
        lib.expect_equal(found(server, "delta"), {"delta{}": "1"}, "delta as it came")


if __name__ == "__main__":
    sys.exit(suite.main())

#!/usr/bin/env python3
"""Every sample kind through write (1.0 and 2.0), restart (SIGTERM and SIGKILL), and read back over the API.

The bits of NaN payloads and start timestamps do not show in the API; tests/unit reads those back raw.
"""
import math
import sys
import time

import lib
import wire

suite = lib.Suite()

VALUES = [0.0, -0.0, 1.0, -1.0, 0.1, 1 / 3, 1e21, 1e-7, 123456789.125, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308,
          -1.7976931348623157e308, math.inf, -math.inf, math.nan, 9007199254740993.0, 100.0, 1e20, 0.000001]
TEXTS = ["0", "-0", "1", "-1", "0.1", "0.3333333333333333", "1e+21", "1e-07", "123456789.125", "5e-324",
         "2.2250738585072014e-308", "1.7976931348623157e+308", "-1.7976931348623157e+308", "+Inf", "-Inf", "NaN",
         "9007199254740992", "100", "100000000000000000000", "0.000001"]


def float_series(base):
    """Series of every float kind: one value each, and all of them in one series; stale markers between."""
    out = [wire.Series(wire.labels("rt_float", n=str(i)), [(base + 1, v)]) for i, v in enumerate(VALUES)]
    out.append(wire.Series(wire.labels("rt_all"), [(base + 1 + i, v) for i, v in enumerate(VALUES)]))
    out.append(wire.Series(wire.labels("rt_stale"), [(base + 1, 1.0), (base + 2, wire.STALE), (base + 3, wire.NAN), (base + 4, 4.0)]))
    out.append(wire.Series(wire.labels("rt_gone"), [(base + 1, 1.0), (base + 2, wire.STALE)]))
    out.append(wire.Series(wire.labels("rt_utf8", city="Zürich", emoji="🌊", quote='a"b\\c\nd'), [(base + 1, 7.0)]))
    out.append(wire.Series(wire.labels("rt_chunks"), [(base + 1 + i, float(i * i % 977) / 8) for i in range(1000)]))
    return out


def histogram_series(base, version):
    integer = wire.Histogram(t=base + 1, count=23, sum=18.5, schema=0, zero_threshold=0.001, zero_count=2,
                             positive_spans=[(0, 2), (1, 2)], positive=[1, 2, 1, 4], negative_spans=[(-1, 1), (2, 2)],
                             negative=[3, 5, 5])
    later = wire.Histogram(t=base + 2, count=24, sum=19.5, schema=0, zero_threshold=0.001, zero_count=3,
                           positive_spans=[(0, 2), (1, 2)], positive=[1, 2, 1, 4], negative_spans=[(-1, 1), (2, 2)],
                           negative=[3, 5, 5])
    floats = wire.Histogram(t=base + 1, count=6.75, sum=-1.5, schema=3, zero_threshold=1e-128, zero_count=0.25,
                            positive_spans=[(4, 2)], positive=[1.5, 2.0], negative_spans=[(0, 1)], negative=[3.0], is_float=True)
    out = [wire.Series(wire.labels("rt_hist"), histograms=[integer, later]), wire.Series(wire.labels("rt_fhist"), histograms=[floats])]
    if version == 2:
        custom = wire.Histogram(t=base + 1, count=10, sum=100.5, schema=-53, positive_spans=[(0, 3)], positive=[2, 3, 5],
                                custom=[0.5, 1.0, 2.5])
        out.append(wire.Series(wire.labels("rt_custom"), histograms=[custom]))
    return out


# What the API shows of the histograms above: count, sum, buckets with boundary rule (0 = open left, 1 = open right, 3 = closed).
HIST = {"count": "23", "sum": "18.5",
        "buckets": [[1, "-8", "-4", "5"], [1, "-4", "-2", "5"], [1, "-0.5", "-0.25", "3"], [3, "-0.001", "0.001", "2"],
                    [0, "0.5", "1", "1"], [0, "1", "2", "2"], [0, "4", "8", "1"], [0, "8", "16", "4"]]}
CUSTOM = {"count": "10", "sum": "100.5", "buckets": [[3, "-Inf", "0.5", "2"], [0, "0.5", "1", "3"], [0, "1", "2.5", "5"]]}


def dump(server, at):
    """All answers about the written data, as text: two dumps must be equal."""
    queries = ['{__name__=~"rt_.*"}', "rt_all[1h]", "rt_stale[1h]", "rt_chunks[1h]", "rt_hist[1h]", "rt_fhist[1h]", "rt_custom[1h]"]
    answers = [server.client.get("/api/v1/query", {"query": q, "time": at}) for q in queries]
    answers.append(server.client.get("/api/v1/series", {"match[]": '{__name__=~"rt_.*"}'}))
    answers.append(server.client.get("/api/v1/query_exemplars", {"query": "rt_exemplar"}))
    for a in answers:
        lib.expect_equal(a.status, 200, f"status of {a}")
    return [a.text for a in answers]


def check_floats(server, at, base):
    found = {s["metric"]["n"]: s["value"][1] for s in server.client.query("rt_float", at)}
    lib.expect_equal(found, {str(i): t for i, t in enumerate(TEXTS)}, "values of rt_float")
    all_points = lib.matrix(server.client.query("rt_all[1h]", at))
    lib.expect_equal(list(all_points.values()), [[(base + 1 + i, t) for i, t in enumerate(TEXTS)]], "rt_all[1h]")
    stale = lib.matrix(server.client.query("rt_stale[1h]", at))
    lib.expect_equal(list(stale.values()), [[(base + 1, "1"), (base + 3, "NaN"), (base + 4, "4")]], "rt_stale[1h] (no stale marker)")
    lib.expect_equal(server.client.query("rt_gone", at), [], "rt_gone behind its stale marker")
    lib.expect_equal(len(server.client.query("rt_gone", (base + 1) / 1000)), 1, "rt_gone before its stale marker")
    utf8 = server.client.query('rt_utf8{city="Zürich"}', at)
    lib.expect_equal([s["metric"] for s in utf8],
                     [{"__name__": "rt_utf8", "city": "Zürich", "emoji": "🌊", "quote": 'a"b\\c\nd'}], "rt_utf8")
    chunks = lib.matrix(server.client.query("rt_chunks[1h]", at))
    lib.expect_equal([(t, float(v)) for t, v in list(chunks.values())[0]],
                     [(base + 1 + i, float(i * i % 977) / 8) for i in range(1000)], "rt_chunks[1h]")


def histograms_of(server, name, at):
    result = server.client.query(f"{name}[1h]", at)
    lib.expect_equal(len(result), 1, f"series of {name}[1h]")
    return [(round(t * 1000), h) for t, h in result[0]["histograms"]]


def check_histograms(server, at, base, version):
    found = histograms_of(server, "rt_hist", at)
    lib.expect_equal([t for t, _ in found], [base + 1, base + 2], "times of rt_hist")
    lib.expect_equal(found[0][1], HIST, "first rt_hist")
    lib.expect_equal((found[1][1]["count"], found[1][1]["sum"]), ("24", "19.5"), "second rt_hist")
    found = histograms_of(server, "rt_fhist", at)
    lib.expect_equal((found[0][1]["count"], found[0][1]["sum"]), ("6.75", "-1.5"), "rt_fhist")
    lib.expect_equal([b[3] for b in found[0][1]["buckets"]], ["3", "0.25", "1.5", "2"], "bucket counts of rt_fhist")
    instant = server.client.query("rt_fhist", at)
    lib.expect_equal(instant[0]["histogram"][1], found[0][1], "rt_fhist as instant vector")
    if version == 2:
        lib.expect_equal(histograms_of(server, "rt_custom", at)[0][1], CUSTOM, "rt_custom")


def check_exemplars(server, base):
    found = server.client.data("/api/v1/query_exemplars", {"query": "rt_exemplar"})
    lib.expect_equal(found, [{"seriesLabels": {"__name__": "rt_exemplar"},
                              "exemplars": [{"labels": {"trace_id": "abc"}, "value": "0.5", "timestamp": (base + 1) / 1000}]}],
                     "exemplars")


def write_all(server, base, version):
    floats = float_series(base)
    hists = histogram_series(base, version)
    exemplar = wire.Series(wire.labels("rt_exemplar"), [(base + 1, 1.0)], exemplars=[([("trace_id", "abc")], 0.5, base + 1)],
                           metadata=(1, "help", "") if version == 2 else None)
    series = floats + hists + [exemplar]
    if version == 2:
        for s in series[:3]:
            s.samples = [(t, v, base - 1000) for t, v in s.samples]  # start timestamps
            s.metadata = (2, "some help", "seconds")
    a = server.client.write(series, version)
    lib.expect_equal(a.status, 204, f"write of all kinds: {a}")
    counts = (sum(len(s.samples) for s in series), sum(len(s.histograms) for s in series), 1)
    lib.expect_equal(lib.written(a), counts, "written counts")
    a = server.client.write(series, version)
    lib.expect_equal((a.status, lib.written(a)[:2]), (204, counts[:2]), "the same request again (a retry)")


def round_trip(version, end):
    data = lib.folder()
    base = lib.now_ms() - 600_000
    at = (base + 2000) / 1000
    with lib.Tidalite(data).start() as server:
        write_all(server, base, version)
        before = dump(server, at)
        check_floats(server, at, base)
        check_histograms(server, at, base, version)
        check_exemplars(server, base)
        if end == "SIGTERM":
            lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")
        else:
            server.kill()
    for again in (1, 2):  # the second start reads what the first one may have rewritten
        with lib.Tidalite(data).start() as server:
            after = dump(server, at)
            for b, a in zip(before, after):
                lib.expect_equal(a, b, f"answer after restart {again} ({end})")
            check_floats(server, at, base)
            check_histograms(server, at, base, version)
            a = server.client.write(float_series(base) + histogram_series(base, version), version)
            lib.expect_equal(a.status, 204, f"the same samples again after restart {again}: {a}")
            lib.expect_equal(server.terminate(), 0, "exit status after SIGTERM")


@suite.case
def round_trip__v1_sigterm__equal():
    round_trip(1, "SIGTERM")


@suite.case
def round_trip__v1_sigkill__equal():
    round_trip(1, "SIGKILL")


@suite.case
def round_trip__v2_sigterm__equal():
    round_trip(2, "SIGTERM")


@suite.case
def round_trip__v2_sigkill__equal():
    round_trip(2, "SIGKILL")


@suite.case
def round_trip__float_and_histogram_in_one_series__both_found():
    base = lib.now_ms() - 60_000
    with lib.Tidalite().start() as server:
        h = wire.Histogram(t=base + 2, count=3, sum=2.0, positive_spans=[(0, 1)], positive=[3])
        for s in (wire.Series(wire.labels("mixed"), [(base + 1, 1.0)]), wire.Series(wire.labels("mixed"), histograms=[h]),
                  wire.Series(wire.labels("mixed"), [(base + 3, 3.0)])):
            a = server.client.write([s])
            lib.expect_equal(a.status, 204, f"write: {a}")
        found = server.client.query("mixed[1h]", time.time())[0]
        lib.expect_equal([v for _, v in found["values"]], ["1", "3"], "floats of `mixed`")
        lib.expect_equal([h["count"] for _, h in found["histograms"]], ["3"], "histograms of `mixed`")


@suite.case
def round_trip__labels_in_any_order_and_both_versions__one_series():
    base = lib.now_ms() - 60_000
    with lib.Tidalite().start() as server:
        orders = [[("__name__", "same"), ("a", "1"), ("b", "2")], [("b", "2"), ("a", "1"), ("__name__", "same")],
                  [("a", "1"), ("__name__", "same"), ("b", "2"), ("empty", "")]]
        t = base
        for version in (1, 2):
            for labels in orders:
                t += 1
                a = server.client.write([wire.Series(labels, [(t, float(t - base))])], version)
                lib.expect_equal(a.status, 204, f"write of {labels}: {a}")
        found = lib.matrix(server.client.query("same[1h]", time.time()))
        lib.expect_equal(list(found.values()), [[(base + i, str(i)) for i in range(1, 7)]], "same[1h]")
        lib.expect_equal(list(found), [(("__name__", "same"), ("a", "1"), ("b", "2"))], "labels")


@suite.case
def round_trip__out_of_order_within_retention__found_in_order():
    base = lib.now_ms() - 3_600_000
    with lib.Tidalite().start() as server:
        for t in (base + 5000, base + 1000, base + 3000, base + 4000, base):
            a = server.client.write([wire.Series(wire.labels("late"), [(t, float(t - base))])])
            lib.expect_equal(a.status, 204, f"write at {t - base}: {a}")
        found = lib.matrix(server.client.query("late[2h]", time.time()))
        lib.expect_equal(list(found.values()), [[(base + d, str(d)) for d in (0, 1000, 3000, 4000, 5000)]], "late[2h]")


if __name__ == "__main__":
    sys.exit(suite.main())

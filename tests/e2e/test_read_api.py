#!/usr/bin/env python3
"""The read API beyond queries, over the wire: parse_query, remote read, federation, status, search, active queries."""
import sys

import lib
import wire

suite = lib.Suite()


def parse(client, query, method="GET"):
    a = client.get("/api/v1/parse_query", {"query": query}) if method == "GET" else client.post("/api/v1/parse_query", {"query": query})
    lib.expect_equal(a.status, 200, f"parse_query of {query}: {a}")
    return a.json["data"]


@suite.case
def parse_query__tree_and_errors():
    with lib.Tidalite().start() as server:
        for method in ("GET", "POST"):
            tree = parse(server.client, 'sum by (job) (rate(up{a!="b"}[5m] offset 1m)) > bool on(job) 2 * x', method)
            lib.expect_equal(tree["type"], "binaryExpr", "type of the root")
            lib.expect_equal((tree["op"], tree["bool"]), (">", True), "operator")
            aggregation = tree["lhs"]
            lib.expect_equal((aggregation["type"], aggregation["op"], aggregation["grouping"], aggregation["without"]),
                             ("aggregation", "sum", ["job"], False), "aggregation")
            call = aggregation["expr"]
            lib.expect_equal((call["type"], call["func"]["name"]), ("call", "rate"), "call")
            selector = call["args"][0]
            lib.expect_equal((selector["type"], selector["name"], selector["range"], selector["offset"]), ("matrixSelector", "up", 300000, 60000),
                             "selector")
            lib.expect({"name": "a", "value": "b", "type": "!="} in selector["matchers"], f"matchers: {selector['matchers']}")
        # What is printed and parsed again is the same tree.
        for query in ("a + on(x) group_left(y) b", "quantile_over_time(0.9, a[5m:1m] @ end())", '-{a=~"b.*"} or vector(1)'):
            text = server.client.data("/api/v1/format_query", {"query": query})
            lib.expect_equal(parse(server.client, text), parse(server.client, query), f"tree of {text}")
        for query in ("", "sum(", "rate(a)"):
            a = server.client.get("/api/v1/parse_query", {"query": query})
            lib.expect_equal((a.status, a.json["errorType"]), (400, "bad_data"), f"parse_query of {query!r}")
            lib.expect(a.json["error"].startswith('invalid parameter "query": '), a.json["error"])


if __name__ == "__main__":
    sys.exit(suite.main())

"""OTLP metrics encoded by hand, as JSON objects and, from those, as protobuf: on purpose not the product's encoder."""
import struct

from wire import varint, zigzag

# field of a message -> (number, kind); a kind that is a dict is a message, a list of one is repeated
ANY = {"stringValue": (1, "s"), "boolValue": (2, "v"), "intValue": (3, "v"), "doubleValue": (4, "d")}
KV = {"key": (1, "s"), "value": (2, ANY)}
EXEMPLAR = {"filteredAttributes": (7, [KV]), "timeUnixNano": (2, "f"), "asDouble": (3, "d"), "asInt": (6, "f"),
            "spanId": (4, "x"), "traceId": (5, "x")}
TIMES = {"startTimeUnixNano": (2, "f"), "timeUnixNano": (3, "f")}
NUMBER = {**TIMES, "attributes": (7, [KV]), "asDouble": (4, "d"), "asInt": (6, "f"), "exemplars": (5, [EXEMPLAR]), "flags": (8, "v")}
HISTOGRAM = {**TIMES, "attributes": (9, [KV]), "count": (4, "f"), "sum": (5, "d"), "bucketCounts": (6, ["f"]),
             "explicitBounds": (7, ["d"]), "exemplars": (8, [EXEMPLAR]), "flags": (10, "v")}
BUCKETS = {"offset": (1, "z"), "bucketCounts": (2, ["v"])}
EXPONENTIAL = {**TIMES, "attributes": (1, [KV]), "count": (4, "f"), "sum": (5, "d"), "scale": (6, "z"), "zeroCount": (7, "f"),
               "positive": (8, BUCKETS), "negative": (9, BUCKETS), "flags": (10, "v"), "exemplars": (11, [EXEMPLAR])}
SUMMARY = {**TIMES, "attributes": (7, [KV]), "count": (4, "f"), "sum": (5, "d"),
           "quantileValues": (6, [{"quantile": (1, "d"), "value": (2, "d")}])}
TEMPORALITY = {"aggregationTemporality": (2, "v")}
METRIC = {"name": (1, "s"), "description": (2, "s"), "unit": (3, "s"), "gauge": (5, {"dataPoints": (1, [NUMBER])}),
          "sum": (7, {"dataPoints": (1, [NUMBER]), **TEMPORALITY, "isMonotonic": (3, "v")}),
          "histogram": (9, {"dataPoints": (1, [HISTOGRAM]), **TEMPORALITY}),
          "exponentialHistogram": (10, {"dataPoints": (1, [EXPONENTIAL]), **TEMPORALITY}),
          "summary": (11, {"dataPoints": (1, [SUMMARY])})}
SCOPE = {"name": (1, "s"), "version": (2, "s"), "attributes": (3, [KV])}
REQUEST = {"resourceMetrics": (1, [{"resource": (1, {"attributes": (1, [KV])}),
                                    "scopeMetrics": (2, [{"scope": (1, SCOPE), "metrics": (2, [METRIC])}])}])}


def scalar(number, kind, value):
    if kind == "s" or kind == "x":
        data = value.encode() if kind == "s" else bytes.fromhex(value)
        return varint(number << 3 | 2) + varint(len(data)) + data
    if kind == "d":
        return varint(number << 3 | 1) + struct.pack("<d", float(value))
    if kind == "f":
        return varint(number << 3 | 1) + struct.pack("<Q", int(value) & (1 << 64) - 1)
    return varint(number << 3) + varint(zigzag(int(value)) if kind == "z" else int(value) & (1 << 64) - 1)


def encode(message, fields=None):
    """A message of the JSON form as protobuf."""
    out = b""
    for name, value in message.items():
        number, kind = (fields or REQUEST)[name]
        for one in value if isinstance(kind, list) else [value]:
            each = kind[0] if isinstance(kind, list) else kind
            if isinstance(each, dict):
                inner = encode(one, each)
                out += varint(number << 3 | 2) + varint(len(inner)) + inner
            else:
                out += scalar(number, each, one)
    return out


def attributes(**pairs):
    """http__method="GET" is {"key": "http.method", ...}."""
    return [{"key": k.replace("__", "."), "value": {"stringValue": v}} for k, v in pairs.items()]


def request(metrics, **resource):
    return {"resourceMetrics": [{"resource": {"attributes": attributes(**resource)},
                                 "scopeMetrics": [{"scope": {"name": "test"}, "metrics": metrics}]}]}

"""Remote write requests, 1.0 and 2.0, made by hand: protobuf and Snappy in a few lines.

On purpose not the product's own encoder: an error that both sides shared would stay unseen.  Values are given as Python
floats or, where the bits of a NaN matter, as integers holding the 64 bits.
"""
import dataclasses
import struct

STALE = 0x7FF0000000000002       # Prometheus's staleness marker
NAN = 0x7FF8000000000001         # its ordinary NaN
CONTENT_TYPE = {1: "application/x-protobuf", 2: "application/x-protobuf;proto=io.prometheus.write.v2.Request"}
VERSION = {1: "0.1.0", 2: "2.0.0"}


def bits(value):
    """The 64 bits of a value."""
    return value if isinstance(value, int) else struct.unpack("<Q", struct.pack("<d", value))[0]


def double(b):
    return struct.unpack("<d", struct.pack("<Q", b))[0]


@dataclasses.dataclass
class Histogram:
    """One sample of an exponential or custom-bucket histogram; counts are floats when is_float."""
    t: int
    count: float
    sum: float
    schema: int = 0
    zero_threshold: float = 0.0
    zero_count: float = 0
    positive_spans: list = dataclasses.field(default_factory=list)   # (offset, length)
    positive: list = dataclasses.field(default_factory=list)         # absolute counts
    negative_spans: list = dataclasses.field(default_factory=list)
    negative: list = dataclasses.field(default_factory=list)
    custom: list = dataclasses.field(default_factory=list)           # 2.0 only: upper bounds, schema -53
    is_float: bool = False
    hint: int = 0
    start: int = 0


@dataclasses.dataclass
class Series:
    labels: list                                                     # (name, value); str, or bytes for bad UTF-8
    samples: list = dataclasses.field(default_factory=list)          # (t, value) or (t, value, start)
    histograms: list = dataclasses.field(default_factory=list)
    exemplars: list = dataclasses.field(default_factory=list)        # (labels, value, t)
    metadata: tuple = None                                           # 2.0 only: (type, help, unit)


def labels(name, **more):
    """Sorted labels of a metric."""
    return sorted([("__name__", name)] + list(more.items()))


def varint(n):
    n &= (1 << 64) - 1
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def zigzag(n):
    return (n << 1 ^ n >> 63) & (1 << 64) - 1


def f_varint(field, n):
    return varint(field << 3) + varint(n) if n else b""


def f_double(field, value, always=False):
    b = bits(value)
    return varint(field << 3 | 1) + struct.pack("<Q", b) if b or always else b""


def f_bytes(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def f_packed(field, encoded):
    return f_bytes(field, b"".join(encoded)) if encoded else b""


def _label(pair):
    return f_bytes(1, pair[0]) + f_bytes(2, pair[1])


def _sample(s):
    return f_double(1, s[1]) + f_varint(2, s[0]) + (f_varint(3, s[2]) if len(s) > 2 else b"")


def _side(spans, counts, is_float, span_field):
    """Spans, then deltas of integers or absolute floats: fields span_field, +1, +2."""
    out = b"".join(f_bytes(span_field, f_varint(1, zigzag(o)) + f_varint(2, n)) for o, n in spans)
    if is_float:
        return out + f_packed(span_field + 2, [struct.pack("<d", c) for c in counts])
    deltas = [c - p for c, p in zip(counts, [0] + list(counts))]
    return out + f_packed(span_field + 1, [varint(zigzag(d)) for d in deltas])


def _histogram(h):
    count = f_double(2, float(h.count), True) if h.is_float else varint(1 << 3) + varint(h.count)
    zero = f_double(7, float(h.zero_count), True) if h.is_float else varint(6 << 3) + varint(h.zero_count)
    return (count + f_double(3, h.sum) + f_varint(4, zigzag(h.schema)) + f_double(5, h.zero_threshold) + zero
            + _side(h.negative_spans, h.negative, h.is_float, 8) + _side(h.positive_spans, h.positive, h.is_float, 11)
            + f_varint(14, h.hint) + f_varint(15, h.t) + f_packed(16, [struct.pack("<d", c) for c in h.custom])
            + f_varint(17, h.start))


def series_v1(s):
    """One field `timeseries` of a WriteRequest; requests are concatenations of these."""
    out = b"".join(f_bytes(1, _label(p)) for p in s.labels)
    out += b"".join(f_bytes(2, _sample(x[:2])) for x in s.samples)
    out += b"".join(f_bytes(3, b"".join(f_bytes(1, _label(p)) for p in ls) + f_double(2, v) + f_varint(3, t))
                    for ls, v, t in s.exemplars)
    out += b"".join(f_bytes(4, _histogram(h)) for h in s.histograms)
    return f_bytes(1, out)


def metadata_v1(kind, metric, help_text="", unit=""):
    return f_bytes(3, f_varint(1, kind) + f_bytes(2, metric) + f_bytes(4, help_text) + f_bytes(5, unit))


def request_v1(series):
    return b"".join(map(series_v1, series))


def request_v2(series):
    symbols = {"": 0}

    def refs(pairs):
        return f_packed(1, [varint(symbols.setdefault(x, len(symbols))) for p in pairs for x in p])

    out = []
    for s in series:
        ts = refs(s.labels) + b"".join(f_bytes(2, _sample(x)) for x in s.samples)
        ts += b"".join(f_bytes(3, _histogram(h)) for h in s.histograms)
        ts += b"".join(f_bytes(4, refs(ls) + f_double(2, v) + f_varint(3, t)) for ls, v, t in s.exemplars)
        if s.metadata:
            kind, help_text, unit = s.metadata
            ts += f_bytes(5, f_varint(1, kind) + f_varint(3, symbols.setdefault(help_text, len(symbols)))
                          + f_varint(4, symbols.setdefault(unit, len(symbols))))
        out.append(f_bytes(5, ts))
    return b"".join(f_bytes(4, s) for s in symbols) + b"".join(out)


def snappy(data):
    """A Snappy block of literals only: valid, just not smaller."""
    out = [varint(len(data))]
    for i in range(0, len(data), 65536):
        chunk = data[i:i + 65536]
        out += [b"\xf4", struct.pack("<H", len(chunk) - 1), chunk]
    return b"".join(out)


def body(series, version=1):
    return snappy(request_v1(series) if version == 1 else request_v2(series))

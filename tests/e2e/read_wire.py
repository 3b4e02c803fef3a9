"""Remote read by hand: requests, and both kinds of answers, down to the bits of XOR chunks.

On purpose not the product's own code: an error that both sides shared would stay unseen.
"""
import struct

import wire

SAMPLES, STREAMED_XOR_CHUNKS = 0, 1
EQ, NEQ, RE, NRE = range(4)


# ---- requests ----

def matcher(name, value, kind=EQ):
    return wire.f_varint(1, kind) + wire.f_bytes(2, name) + wire.f_bytes(3, value)


def query(start, end, matchers, hints=None):
    """matchers: (name, value[, kind]).  hints: {field: int or text} by number."""
    out = wire.f_varint(1, start) + wire.f_varint(2, end) + b"".join(wire.f_bytes(3, matcher(*m)) for m in matchers)
    if hints is not None:
        out += wire.f_bytes(4, b"".join(wire.f_bytes(k, v) if isinstance(v, str) else wire.f_varint(k, v) for k, v in hints.items()))
    return out


def request(queries, types=()):
    return b"".join(wire.f_bytes(1, q) for q in queries) + (wire.f_packed(2, [wire.varint(t) for t in types]) if types else b"")


# ---- answers ----

def unsnappy(data):
    length, at = read_varint(data, 0)
    out = bytearray()
    while at < len(data):
        tag = data[at]
        at += 1
        kind = tag & 3
        if kind == 0:
            n = tag >> 2
            if n >= 60:
                width = n - 59
                n = int.from_bytes(data[at:at + width], "little")
                at += width
            out += data[at:at + n + 1]
            at += n + 1
            continue
        if kind == 1:
            n, offset = (tag >> 2 & 7) + 4, tag >> 5 << 8 | data[at]
            at += 1
        else:
            width = 2 if kind == 2 else 4
            n, offset = (tag >> 2) + 1, int.from_bytes(data[at:at + width], "little")
            at += width
        for _ in range(n):
            out.append(out[-offset])
    assert len(out) == length, (len(out), length)
    return bytes(out)


def read_varint(data, at):
    n = shift = 0
    while True:
        b = data[at]
        at += 1
        n |= (b & 0x7F) << shift
        shift += 7
        if b < 0x80:
            return n, at


def signed(n):
    return n - (1 << 64) if n >> 63 else n


def fields(data):
    """(number, value) of a message: ints for varints, bits for fixed ones, bytes for the rest."""
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = read_varint(data, at)
        elif kind == 1:
            value, at = struct.unpack_from("<Q", data, at)[0], at + 8
        elif kind == 2:
            n, at = read_varint(data, at)
            value, at = data[at:at + n], at + n
        else:
            raise ValueError(f"wire type {kind}")
        yield tag >> 3, value


def all_of(data, number):
    return [v for n, v in fields(data) if n == number]


def one_of(data, number, default=0):
    found = all_of(data, number)
    return found[-1] if found else default


def labels_of(series):
    """As a dictionary; raises when they are not sorted."""
    pairs = [(one_of(x, 1, b"").decode(), one_of(x, 2, b"").decode()) for x in all_of(series, 1)]
    assert pairs == sorted(pairs), f"labels are not sorted: {pairs}"
    return dict(pairs)


def samples_answer(body):
    """[[(labels, [(t, bits)], [histogram message])]]: a list per query."""
    out = []
    for result in all_of(unsnappy(body), 1):
        out.append([(labels_of(s), [(signed(one_of(x, 2)), one_of(x, 1)) for x in all_of(s, 2)], all_of(s, 4)) for s in all_of(result, 1)])
    return out


def crc32c(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc ^= b
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def frames(body):
    """The messages; raises when a checksum is wrong."""
    at = 0
    while at < len(body):
        n, at = read_varint(body, at)
        crc, message = struct.unpack_from(">I", body, at)[0], body[at + 4:at + 4 + n]
        assert len(message) == n and crc32c(message) == crc, "a frame is damaged"
        at += 4 + n
        yield message


def chunked_answer(body):
    """[(query, labels, [(encoding, t min, t max, data)])], one for each frame."""
    out = []
    for m in frames(body):
        for s in all_of(m, 1):
            chunks = [(one_of(c, 3), signed(one_of(c, 1)), signed(one_of(c, 2)), one_of(c, 4, b"")) for c in all_of(s, 2)]
            out.append((one_of(m, 2), labels_of(s), chunks))
    return out


class Bits:
    def __init__(self, data):
        self.bits, self.at = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, n):
        self.at -= n
        return self.bits >> self.at & (1 << n) - 1

    def byte_varint(self):
        n = shift = 0
        while True:
            b = self.take(8)
            n |= (b & 0x7F) << shift
            shift += 7
            if b < 0x80:
                return n


def unzigzag(n):
    return n >> 1 ^ -(n & 1)


def xor_chunk(data):
    """[(t, bits)] of a chunk of encoding 1, from Prometheus's description of it."""
    count = struct.unpack_from(">H", data)[0]
    r = Bits(data[2:])
    out, delta, leading, trailing = [], 0, 0, 0
    for i in range(count):
        if i == 0:
            t, v = unzigzag(r.byte_varint()), r.take(64)
            out.append((t, v))
            continue
        if i == 1:
            delta = r.byte_varint()
        else:
            width = next((w for w in (0, 14, 17, 20) if not r.take(1)), 64)
            dod = r.take(width) if width else 0
            delta += dod - (1 << width) if width and (dod > 1 << width - 1 or (width == 64 and dod >> 63)) else dod
        t, v = out[-1]
        if r.take(1):
            if r.take(1):
                leading = r.take(5)
                significant = r.take(6) or 64
                trailing = 64 - leading - significant
            v ^= r.take(64 - leading - trailing) << trailing
        out.append((t + delta, v))
    return out

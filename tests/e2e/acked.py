"""Senders that remember what was acknowledged, and the comparison of that with what a server shows."""
import math
import time

import lib
import wire

METRIC = "acked"


class Writer(lib.Writer):
    """Writes floats of its own, of the last hour. patient: what is answered 503 is sent again, as senders do."""

    def __init__(self, port, round_index, index, seed, series=25, points_max=4, patient=False):
        super().__init__(port, METRIC, round_index, index, seed, series)
        self.series, self.points_max, self.patient = series, points_max, patient
        self.t = lib.now_ms() - 3_600_000
        self.again = None
        self.refused = 0
        self.stop = False

    def next_batch(self):
        if self.again:
            return self.again
        n = self.rng.randint(1, self.points_max)
        batch = {(s, self.t + k): lib.any_value(self.rng) for s in range(self.series) for k in range(n)}
        self.t += n + self.rng.randrange(50)
        return batch

    def send_one(self):
        batch = self.again = self.next_batch()
        if super().send_one():
            self.again = None
            return not self.stop
        if not self.patient or "HTTP 503" not in self.problem:
            return False
        self.problem = None
        self.refused += 1
        time.sleep(0.02)
        self.sent.update(batch)
        return not self.stop


def read_back(server, round_index):
    """{(writer, series, t): text} of a round."""
    found = {}
    for labels, points in lib.matrix(server.client.query(f'{METRIC}{{round="{round_index}"}}[2h]', time.time())).items():
        names = dict(labels)
        for t, text in points:
            found[int(names["writer"]), int(names["series"]), t] = text
    return found


def check_round(server, round_index, writers):
    """Every acknowledged sample is there, with the value that was sent; nothing is there that never was sent."""
    found = read_back(server, round_index)
    for index, w in enumerate(writers):
        for (s, t), value in w.acked.items():
            text = found.get((index, s, t))
            lib.expect(text is not None, f"round {round_index}: acknowledged sample of writer {index}, series {s} at {t} is lost "
                                         f"({len(w.acked)} were acknowledged, {len(found)} found in all)")
            lib.expect(wire.bits(float(text)) == wire.bits(value) or math.isnan(value) and text == "NaN",
                       f"round {round_index}: writer {index}, series {s} at {t}: wrote {value!r}, found {text}")
    for (index, s, t), text in found.items():
        value = writers[index].sent.get((s, t))
        lib.expect(value is not None and lib.same_value(float(text), value),
                   f"round {round_index}: found {text} for writer {index}, series {s} at {t}, which was never sent so")

"""The main job, end to end: a real Prometheus scrapes, remote-writes to Tidalite, Tidalite is killed in the middle, started again
on its directory, stopped and started once more, all with blocks cut every few seconds, and then both are asked the same
questions.  demo.py and test_prometheus.py share this.
"""
import math
import signal
import time

import lib
import peers

RELATIVE = 1e-9
WINDOW = 20          # seconds: range of the rates below
WARM_UP = 6          # seconds after the first scrape that no question reaches back to
BLOCK_RANGE = 5      # seconds: so short that most of what is asked about lies in blocks

CONFIG = """\
global:
  scrape_interval: 1s
  scrape_timeout: 1s
scrape_configs:
  - job_name: prometheus
    static_configs: [{{targets: ['127.0.0.1:{prometheus}']}}]
  - job_name: node
    static_configs: [{{targets: ['127.0.0.1:{node}']}}]
remote_write:
  - url: http://127.0.0.1:{tidalite}/api/v1/write
    queue_config: {{max_backoff: 500ms}}
"""

# Asked as instant queries at several times and as range queries.  {w} is the window, {h} half of it, {last} and {begin} the ends of
# the range asked about, {o} an offset that moves the whole seconds, at which subqueries evaluate, to where no sample lies.
QUERIES = [
    # selectors
    "up",
    'up{{job="node"}}',
    "scrape_samples_scraped",
    'node_cpu_seconds_total{{mode="idle"}}',
    'node_cpu_seconds_total{{mode!~"idle|iowait|steal"}}',
    "node_load1",
    "prometheus_tsdb_head_samples_appended_total",
    'prometheus_http_requests_total{{handler="/metrics",code="200"}}',
    'prometheus_tsdb_head_series{{instance=~"127.0.0.1:.*"}}',
    '{{__name__="node_load5"}}',
    # regular expressions
    'count by (__name__) ({{__name__=~"node_network_.*_total"}})',
    'count({{__name__=~".+",job="node"}})',
    '{{__name__=~"node_load(1|5|15)"}}',
    '{{__name__=~"(?i:NODE_MEMORY_MEM.*_bytes)"}}',
    'node_cpu_seconds_total{{mode=~"[a-i].*",mode!~".*q"}}',
    'go_memstats_alloc_bytes{{job=~"node|prometheus"}}',
    'prometheus_http_requests_total{{handler=~"/(metrics|api/v1/.+)"}}',
    'count({{__name__!~"node_.*|go_.*",job=~"n?o?d?e?",instance!=""}})',
    'sum({{__name__=~".*_seconds_bucket",le="+Inf"}})',
    # arithmetic and comparison
    "node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
    "1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes",
    "node_filesystem_avail_bytes > 1e6",
    "go_memstats_alloc_bytes >= bool 1e7",
    "process_resident_memory_bytes / 2 ^ 20",
    "(node_memory_MemTotal_bytes - node_memory_MemFree_bytes) * 2 % 1e9",
    "-node_load1 + 3 * node_load5",
    "sum(node_load1 atan2 node_load5)",
    "node_load1 != bool node_load15",
    "2 ^ node_load1 ^ 0.5",
    "node_cpu_seconds_total == node_cpu_seconds_total",
    "process_resident_memory_bytes < on(job, instance) process_virtual_memory_bytes",
    # joins and sets
    "node_filesystem_avail_bytes / on(instance, device, mountpoint) node_filesystem_size_bytes",
    "node_filesystem_avail_bytes / ignoring(fstype) group_left node_filesystem_size_bytes",
    'rate(node_cpu_seconds_total{{mode!="idle"}}[{w}]) / ignoring(mode) group_left sum without (mode) (rate(node_cpu_seconds_total[{w}]))',
    "node_cpu_seconds_total * on(instance) group_left(nodename, release) node_uname_info",
    "node_uname_info * on(instance) group_right(machine) node_cpu_seconds_total",
    "go_goroutines * on(job, instance) group_left(version) go_info",
    "rate(prometheus_http_request_duration_seconds_sum[{w}]) / rate(prometheus_http_request_duration_seconds_count[{w}])",
    "sum by (job) (go_goroutines) / on(job) max by (job) (process_open_fds)",
    "go_goroutines and on(job) node_load1",
    'go_goroutines unless on(job) node_load1',
    "node_load1 or node_load5 or node_load15",
    "go_goroutines > on(job, instance) process_open_fds or process_open_fds",
    'up and {{job="node"}} == 1',
    # rates and counters
    "rate(node_cpu_seconds_total[{w}])",
    "rate(prometheus_tsdb_head_samples_appended_total[{w}])",
    "increase(prometheus_http_requests_total[{w}])",
    "irate(node_context_switches_total[{w}])",
    "delta(process_resident_memory_bytes[{w}])",
    "idelta(node_intr_total[{w}])",
    "deriv(node_memory_MemFree_bytes[{w}])",
    "predict_linear(node_memory_MemFree_bytes[{w}], 3600)",
    "changes(node_load1[{w}])",
    "resets(go_goroutines[{w}])",
    # over time
    "avg_over_time(node_load1[{w}])",
    "min_over_time(process_resident_memory_bytes[{w}])",
    "max_over_time(process_resident_memory_bytes[{w}])",
    "sum_over_time(scrape_duration_seconds[{w}])",
    "count_over_time(up[{w}])",
    "last_over_time(go_goroutines[{w}])",
    "present_over_time(up[{w}])",
    "quantile_over_time(0.9, scrape_duration_seconds[{w}])",
    "stddev_over_time(scrape_duration_seconds[{w}])",
    "stdvar_over_time(scrape_duration_seconds[{w}])",
    "absent_over_time(no_such_metric[{w}])",
    'last_over_time({{__name__=~"node_(load|memory_Mem).*"}}[{w}])',
    # aggregations
    'sum by (mode) (rate(node_cpu_seconds_total{{mode!="idle"}}[{w}]))',
    "sum without (cpu, mode) (rate(node_cpu_seconds_total[{w}]))",
    "sum(rate(process_cpu_seconds_total[{w}]))",
    "avg(go_goroutines)",
    "min by (job) (scrape_duration_seconds)",
    "max by (job, instance) (process_open_fds)",
    "topk(3, node_cpu_seconds_total)",
    "topk by (job) (1, scrape_samples_scraped)",
    'topk(2, rate(node_cpu_seconds_total{{mode="idle"}}[{w}]))',
    'topk(4, {{__name__=~"node_memory_Mem.*_bytes"}})',
    'bottomk(1, node_filesystem_avail_bytes{{fstype!="tmpfs"}} > 0)',
    'bottomk by (instance) (2, {{__name__=~"node_memory_Mem.*_bytes"}})',
    "quantile(0.75, node_cpu_seconds_total)",
    "quantile by (mode) (0.5, node_cpu_seconds_total)",
    "stddev(node_cpu_seconds_total)",
    "stdvar by (mode) (node_cpu_seconds_total)",
    'count_values("goroutines", go_goroutines)',
    "group by (job) (up)",
    "count by (mode) (node_cpu_seconds_total > 0)",
    # histograms
    'increase(prometheus_http_request_duration_seconds_bucket{{handler="/metrics"}}[{w}])',
    "sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[{w}]))",
    "histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[{w}])))",
    "histogram_quantile(0.5, prometheus_http_request_duration_seconds_bucket)",
    "histogram_quantile(0.99, sum by (le, handler) (prometheus_http_response_size_bytes_bucket))",
    "histogram_quantile(0.25, sum by (le, job) (rate(prometheus_tsdb_compaction_chunk_size_bytes_bucket[{w}]))) or up",
    # subqueries
    "max_over_time(node_load1[{w}:1s] offset {o})",
    "avg_over_time((node_memory_MemFree_bytes offset {o})[{w}:2s])",
    "max_over_time(rate(node_context_switches_total[{h}] offset {o})[{h}:1s])",
    "sum_over_time((sum by (job) (scrape_samples_scraped offset {o}))[{h}:3s])",
    "min_over_time(sum(rate(node_cpu_seconds_total[{h}] offset {o}))[{h}:2s])",
    "quantile_over_time(0.5, (go_goroutines offset {o})[{w}:1s])",
    "max_over_time(avg_over_time((node_load1 offset {o})[9s500ms:1s])[{h}:2s])",
    "rate((node_intr_total offset {o})[{w}:2s])",
    # offsets and @
    "node_load1 offset 10s",
    "rate(node_context_switches_total[{w}] offset 5s)",
    "go_goroutines - go_goroutines offset 7s",
    "node_memory_MemFree_bytes @ {last}",
    "rate(node_context_switches_total[{w}] @ {last})",
    "sum(rate(node_cpu_seconds_total[{w}] @ start())) / sum(rate(node_cpu_seconds_total[{w}] @ end()))",
    "node_load1 @ {begin} offset 3s",
    "avg_over_time(node_load1[{w}] @ end() offset 2s)",
    # functions of values, labels and time
    "abs(delta(node_memory_MemFree_bytes[{w}]))",
    "clamp(node_load1, 0.1, 0.5) + clamp_min(node_load5, 1) - clamp_max(node_load15, 0.3)",
    "ceil(node_load1) + floor(node_load5) + round(node_load15, 0.1)",
    "sqrt(node_load1) + ln(process_resident_memory_bytes) + log2(go_goroutines) + exp(node_load1)",
    "sgn(node_load1 - node_load15)",
    'label_replace(up, "port", "$1", "instance", ".*:(.*)")',
    'label_join(node_load1, "both", "-", "job", "instance")',
    'sum by (port) (label_replace(scrape_samples_scraped, "port", "$1", "instance", ".*:(.*)"))',
    "time() - process_start_time_seconds",
    "timestamp(node_load1)",
    "time() - timestamp(up) > bool 0.5",
    "vector(1) + scalar(sum(up))",
    "absent(no_such_metric{{job=\"x\"}})",
    "hour() * 60 + minute()",
    "day_of_week(process_start_time_seconds) + on() group_left() days_in_month()",
    "sort_desc(node_cpu_seconds_total)",
]


class Scenario:
    """Use as a context; say(text) hears what happens."""

    def __init__(self, seconds=70, say=print, flags=()):
        self.seconds, self.say = seconds, say
        self.node_port, self.prometheus_port = lib.free_port(), lib.free_port()
        self.tidalite = lib.Tidalite(None, f"--{lib.BLOCK_RANGE_FLAG}={BLOCK_RANGE}s", *flags)
        work = lib.folder("prometheus")
        config = f"{work}/prometheus.yml"
        with open(config, "w", encoding="utf-8") as f:
            f.write(CONFIG.format(prometheus=self.prometheus_port, node=self.node_port, tidalite=self.tidalite.port))
        self.node = lib.Server("node-exporter", [peers.program("prometheus-node-exporter"), f"--web.listen-address=127.0.0.1:{self.node_port}"],
                               self.node_port, "/")
        self.prometheus = lib.Server("prometheus", [peers.program("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={work}/data",
                                                    f"--web.listen-address=127.0.0.1:{self.prometheus_port}"],
                                     self.prometheus_port, "/-/ready")
        self.first = self.last = self.fraction = None
        self.blocks = 0

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if exc[0] is not None:
            for s in (self.prometheus, self.tidalite):
                if s.process is not None:
                    print(f"log of {s.name} ends:\n{s.log_tail()}")
        for s in (self.prometheus, self.node, self.tidalite):
            s.kill()
        if exc[0] is None and self.tidalite.process is not None:
            self.tidalite.check_log()

    # ---- the run ----

    def start(self):
        self.tidalite.start()
        self.node.start()
        self.prometheus.start()
        lib.wait_for("the first scrapes", lambda: len(self.prometheus.client.query("up == 1")) == 2)
        self.first = time.time()
        self.say(f"Tidalite on port {self.tidalite.port}, Prometheus on {self.prometheus_port}, node exporter on {self.node_port}; scraping every second")

    def kill_and_restart(self):
        """SIGKILL, a pause in which Prometheus has nowhere to write, the same directory again."""
        before = self.received()
        lib.expect(before > 0, "Tidalite has received nothing before the kill")
        self.tidalite.kill()
        lib.expect_equal(self.tidalite.process.returncode, -signal.SIGKILL, "how Tidalite ended")
        time.sleep(2)
        begin = time.monotonic()
        self.tidalite.start()
        self.say(f"killed Tidalite (SIGKILL) after {before:.0f} samples; ready again in {(time.monotonic() - begin) * 1000:.0f} ms")

    def received(self):
        return lib.find_text(self.tidalite.client.get("/metrics").text, "tidalite_head_samples_appended_total") or 0

    def restart(self):
        """A clean stop, and the same directory again."""
        lib.expect_equal(self.tidalite.terminate(), 0, "exit status after SIGTERM")
        begin = time.monotonic()
        self.tidalite.start()
        self.say(f"stopped Tidalite (SIGTERM) and started it again; ready in {(time.monotonic() - begin) * 1000:.0f} ms")

    def run(self):
        """Scrape for `seconds`, with a kill and a clean restart in the middle, and wait until all of a past range is sent."""
        time.sleep(max(self.seconds / 2, 5))
        self.kill_and_restart()
        time.sleep(max(self.first + self.seconds * 3 / 4 - time.time(), 3))
        self.restart()
        time.sleep(max(self.first + self.seconds - time.time(), 5))
        self.choose_times()
        lib.wait_for("Prometheus to have sent everything", self.all_sent)
        metrics = self.prometheus.client.get("/metrics").text
        for name in ("prometheus_remote_storage_samples_failed_total", "prometheus_remote_storage_samples_dropped_total"):
            lib.expect_equal(lib.find_text(metrics, name), 0.0, name)
        sent = lib.find_text(metrics, "prometheus_remote_storage_samples_total")
        retried = lib.find_text(metrics, "prometheus_remote_storage_samples_retried_total")
        self.blocks = lib.wait_for("blocks", lambda: lib.block_count(self.tidalite))
        self.say(f"{self.blocks:.0f} blocks on disk, of {BLOCK_RANGE} s and more")
        self.say(f"Prometheus has sent {sent:.0f} samples ({retried:.0f} of them again, because of the kill), none dropped, none refused")

    def all_sent(self):
        metrics = self.prometheus.client.get("/metrics").text
        return (lib.find_text(metrics, "prometheus_remote_storage_queue_highest_sent_timestamp_seconds") or 0) > self.last + 1

    def choose_times(self):
        """The past range to ask about, and a fraction of a second at which no sample lies.

        Debian's Prometheus has windows that include their left end, Tidalite has them open as Prometheus 3.  At times where no
        sample lies, and with windows of whole seconds, both mean the same.
        """
        now = time.time()
        stamps = [t for points in lib.matrix(self.prometheus.client.query(f"up[{int(now - self.first) + 60}s]", now)).values() for t, _ in points]
        taken = sorted({t % 1000 for t in stamps})
        gaps = [((b - a) % 1000 or 1000, a) for a, b in zip(taken, taken[1:] + taken[:1])]
        width, left = max(gaps)
        lib.expect(width >= 4, f"scrapes lie all over the second; no time without samples: {taken}")
        self.fraction = ((left + width // 2) % 1000) / 1000
        self.last = round(math.floor(now) - 2 + self.fraction, 3)
        self.begin = round(math.ceil(self.first) + WARM_UP + WINDOW + 10 + self.fraction, 3)
        lib.expect(self.last - self.begin >= 5, f"only {self.last - self.begin:.0f} s to ask about")

    # ---- the questions ----

    def compare_all(self):
        """(number of comparisons, values compared, texts of what differs)."""
        count = values = 0
        wrong = []
        step = 1
        span = self.last - self.begin
        times = [round(self.begin + math.floor(span * k / 3), 3) for k in range(4)]
        words = {"w": f"{WINDOW}s", "h": f"{WINDOW // 2}s", "last": self.last, "begin": self.begin, "o": f"{1000 - round(self.fraction * 1000)}ms"}
        for text in QUERIES:
            expr = text.format(**words)
            asked = [("/api/v1/query", {"query": expr, "time": t}) for t in times]
            asked.append(("/api/v1/query_range", {"query": expr, "start": self.begin, "end": self.last, "step": step}))
            asked.append(("/api/v1/query", {"query": expr, "time": self.last}))
            for path, params in asked:
                count += 1
                try:
                    values += compare(self.prometheus.client.data(path, params), self.tidalite.client.data(path, params))
                except lib.Failure as e:
                    wrong.append(f"{path} {params}: {e}")
        for path, params in self.label_questions():
            count += 1
            expected = sorted(self.prometheus.client.data(path, params), key=str)
            got = sorted(self.tidalite.client.data(path, params), key=str)
            values += len(expected)
            if got != expected or not expected:
                wrong.append(f"{path} {params}: got {lib.short(got)}, expected {lib.short(expected)}")
        return count, values, wrong

    def label_questions(self):
        r = {"start": self.begin, "end": self.last}
        return [("/api/v1/labels", r | {"match[]": '{job="node"}'}), ("/api/v1/label/job/values", r), ("/api/v1/label/mode/values", r),
                ("/api/v1/label/__name__/values", r | {"match[]": '{__name__=~"node_.*"}'}), ("/api/v1/series", r | {"match[]": "up"}),
                ("/api/v1/series", r | {"match[]": ['node_cpu_seconds_total{mode="idle"}', "go_goroutines"]})]


def points_of(series):
    return series["values"] if "values" in series else [series["value"]]


def compare(expected, got):
    """Number of values compared; Failure where two `data` objects differ."""
    lib.expect_equal(got["resultType"], expected["resultType"], "type")
    want = {lib.series_key(s["metric"]): points_of(s) for s in expected["result"]}
    have = {lib.series_key(s["metric"]): points_of(s) for s in got["result"]}
    lib.expect_equal(len(have), len(got["result"]), "series, without duplicates")
    lib.expect(want, "Prometheus answers nothing: a question without meaning")
    missing, more = want.keys() - have.keys(), have.keys() - want.keys()
    lib.expect(not missing and not more, f"series missing: {sorted(missing)[:3]}, series too many: {sorted(more)[:3]}")
    count = 0
    for key, points in want.items():
        lib.expect_equal([t for t, _ in have[key]], [t for t, _ in points], f"times of {key}")
        for (t, a), (_, b) in zip(points, have[key]):
            lib.expect(lib.same_value(float(a), float(b), RELATIVE), f"{key} at {t}: got {b}, expected {a}")
            count += 1
    return count

#!/usr/bin/env python3
"""contrib/: every query of the dashboard and of the rules asked of a running server, the files read by those they are for."""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time

import lib
import peers

suite = lib.Suite()
CONTRIB = lib.ROOT / "contrib"
RULES = CONTRIB / "alerts/tidalite.rules.yml"

# What Grafana puts in for its variables.
VARIABLES = {"$instance": ".*", "$__rate_interval": "30s", "$__range": "1h"}


def dashboard_queries():
    """[(panel, expression)]"""
    board = json.loads((CONTRIB / "grafana/tidalite.json").read_text())
    found = []
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"]
            for name, value in VARIABLES.items():
                expr = expr.replace(name, value)
            found.append((panel["title"], expr))
    lib.expect(len(found) > 20 and not any("$" in e for _, e in found), "the dashboard's queries")
    return found


def rule_expressions():
    return re.findall(r"- alert: (\w+)\n\s+expr: (.*)", RULES.read_text())


def metric_names(expr):
    return set(re.findall(r"\b(?:tidalite|process|prometheus)_\w+", re.sub(r'"[^"]*"', "", expr)))


@suite.case
def dashboard_and_rules__every_query_on_a_server__answered_and_of_metrics_that_exist():
    with lib.Tidalite(None, "--self-scrape.interval=1s", self_scrape=True).start() as server:
        server.client.write([lib.wire.Series(lib.wire.labels("a"), [(lib.now_ms(), 1.0)])])
        server.client.query("a")
        lib.wait_for("three scrapes of itself", lambda: len(server.client.query("count_over_time(tidalite_head_series[1m]) > 2")) > 0)
        known = set(server.client.data("/api/v1/label/__name__/values"))
        end = time.time()
        empty = []
        for title, expr in dashboard_queries():
            lib.expect(metric_names(expr) <= known, f"panel {title}: {metric_names(expr) - known} is no metric of the server")
            if not server.client.query_range(expr, end - 60, end, 5):
                empty.append((title, expr))
        lib.expect_equal(empty, [], "queries of the dashboard that show nothing on a server with work")
        rules = rule_expressions()
        lib.expect(len(rules) >= 10, f"only {len(rules)} rules found")
        for name, expr in rules:
            lib.expect(metric_names(expr) <= known, f"rule {name}: {metric_names(expr) - known} is no metric of the server")
            if name != "TidaliteFilesRunOut":  # a machine may have few
                lib.expect_equal(server.client.query(expr), [], f"{name} on a healthy server")


@suite.case
def rules__a_section_each_in_the_operators_book():
    book = (lib.ROOT / "docs/operating.md").read_text()
    missing = [name for name, _ in rule_expressions() if not re.search(rf"^###? {name}$", book, re.M)]
    lib.expect_equal(missing, [], "alerts that docs/operating.md does not explain")


@suite.case
def rules__promtool__takes_them():
    done = subprocess.run([peers.program("promtool"), "check", "rules", str(RULES)], capture_output=True, text=True, timeout=120)
    lib.expect(done.returncode == 0 and "SUCCESS" in done.stdout, done.stdout + done.stderr)


@suite.case
def senders__prometheus_and_collector__configurations_are_whole():
    done = subprocess.run([peers.program("promtool"), "check", "config", str(CONTRIB / "senders/prometheus.yml")], capture_output=True, text=True, timeout=120)
    lib.expect(done.returncode == 0, done.stdout + done.stderr)
    for path in sorted((CONTRIB / "senders").iterdir()):
        text = path.read_text()
        urls = re.findall(r"http://127\.0\.0\.1:9494(/[\w/]+)", text)
        lib.expect(len(urls) == 1 and urls[0] in ("/api/v1/write", "/api/v1/otlp"), f"{path.name} sends to {urls}")


@suite.case
def senders__vmagent_with_our_file__its_series_arrive():
    where = shutil.which("vmagent") or _peer_of_victoria("vmagent")
    if not where:
        raise lib.Skip("no vmagent on this machine")
    with lib.Tidalite().start() as server:
        folder = pathlib.Path(lib.folder())
        (folder / "vmagent").symlink_to(where)
        port = lib.free_port()
        config = folder / "prometheus.yml"
        config.write_text(f"global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: vmagent\n    static_configs:\n      - targets: ['127.0.0.1:{port}']\n")
        script = folder / "vmagent.sh"
        script.write_text((CONTRIB / "senders/vmagent.sh").read_text().replace("exec vmagent", f"exec {folder}/vmagent -httpListenAddr=127.0.0.1:{port} -remoteWrite.tmpDataPath={folder}/queue").replace(":9494", f":{server.port}"))
        agent = lib.Process("vmagent", ["sh", str(script), str(config)], cwd=str(folder))
        agent.start()
        try:
            lib.wait_for("series of vmagent", lambda: server.client.query('up{job="vmagent"} == 1'))
        finally:
            agent.kill()


def _peer_of_victoria(name):
    """vmagent lies beside victoria-metrics in Debian's package, where that has it."""
    try:
        found = pathlib.Path(peers.program("victoria-metrics")).parent / name
    except lib.Skip:
        return None
    return str(found) if found.exists() else None


if __name__ == "__main__":
    sys.exit(suite.main())

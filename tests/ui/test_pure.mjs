// What the page works out without a browser: links, times, columns, heat maps, families.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT, suite } from "./rig.mjs";

const { build } = createRequire(join(ROOT, "ui/build.mjs"))("esbuild");
globalThis.document = { baseURI: "http://127.0.0.1:9494/prefix/graph" };

// All modules without a DOM, from their sources.
const names = ["api", "columns", "families", "format", "own", "state"];
const bundle = await build({
    stdin: { contents: names.map((n) => `export * as ${n} from "./${n}";`).join("\n"), resolveDir: join(ROOT, "ui/src"), loader: "ts" },
    bundle: true,
    write: false,
    format: "esm",
});
const { api, columns, families, format, own, state } = await import(`data:text/javascript;base64,${Buffer.from(bundle.outputFiles[0].contents).toString("base64")}`);

suite.case("duration__there_and_back__same_milliseconds", () => {
    for (const [ms, text] of [[0, "0s"], [1, "1ms"], [1000, "1s"], [90_000, "1m30s"], [3_600_000, "1h"], [86_400_000, "1d"], [10 * 86_400_000, "10d"], [7 * 86_400_000, "1w"], [365 * 86_400_000, "1y"], [8 * 86_400_000 + 1, "8d1ms"]]) {
        assert.equal(format.duration(ms), text);
        assert.equal(format.parseDuration(text), ms);
    }
    assert.equal(format.parseDuration("1.5"), 1500);
    assert.equal(format.parseDuration(" 2h "), 7_200_000);
    for (const bad of ["", "x", "1h2x", "-5m", "1m1h", "h"]) assert.equal(format.parseDuration(bad), null, bad);
});

suite.case("localTime__of_the_browser_and_utc__there_and_back", () => {
    for (const on of [false, true]) {
        format.setUtc(on);
        assert.equal(format.parseLocalTime(format.localTime(1_700_000_000_000, "T")), 1_700_000_000_000);
    }
    assert.equal(format.localTime(1_700_000_000_000), "2023-11-14 22:13:20");
    format.setUtc(false);
});

suite.case("numbers__of_all_sizes__are_short", () => {
    assert.deepEqual([0, 1234, 1.5e6, 0.25, 1e-9, -2500, Infinity, NaN].map(format.shortNumber), ["0", "1.23k", "1.50M", "0.25", "1.00e-9", "-2.50k", "+Inf", "NaN"]);
    assert.deepEqual([0, 1023, 1536, 3 * 2 ** 30].map(format.bytes), ["0 B", "1023 B", "1.50 KiB", "3 GiB"]);
    assert.deepEqual([0, 2e-6, 0.25, 3, 3600].map(format.seconds), ["0 s", "2 µs", "250 ms", "3 s", "1h"]);
});

suite.case("selector__names_that_are_none_of_the_simple__are_quoted", () => {
    assert.equal(format.selector("up"), "up");
    assert.equal(format.selector("up", ['job="a"']), 'up{job="a"}');
    assert.equal(format.selector("my.metric"), '{"my.metric"}');
    assert.equal(format.selector("my.metric", ['job="a"']), '{"my.metric", job="a"}');
    assert.equal(format.seriesText({ __name__: "x", "a.b": 'say "hi"' }), 'x{"a.b"="say \\"hi\\""}');
    assert.equal(format.seriesText({}), "{}");
});

suite.case("placeOf__errors_warnings_infos__line_and_column", () => {
    assert.deepEqual(api.placeOf('invalid parameter "query": 1:21: parse error: unclosed left parenthesis'), { line: 1, column: 21 });
    assert.deepEqual(api.placeOf("2:5: parse error: unexpected end of input"), { line: 2, column: 5 });
    assert.deepEqual(api.placeOf('PromQL info: metric might not be a counter, name does not end in _total/_sum/_count/_bucket: "x" (1:6)'), { line: 1, column: 6 });
    assert.equal(api.placeOf("query timed out in expression evaluation"), null);
    assert.equal(api.placeOf("at 10:20 nothing"), null);
});

suite.case("baseUrl__behind_a_prefix__keeps_it", () => {
    assert.equal(api.apiUrl("query", { query: "a b", "match[]": ["x", "y"], none: undefined }), "http://127.0.0.1:9494/prefix/api/v1/query?query=a+b&match%5B%5D=x&match%5B%5D=y");
});

// ---- links ----

const bare = (s) => ({ ...s, panels: s.panels.map(({ id, ...p }) => p) });

suite.case("links__every_state__comes_back", () => {
    for (const tab of ["graph", "table", "json", "explain"]) {
        for (const mode of ["lines", "stacked", "heatmap"]) {
            const panel = { expr: 'rate(x{a="b&c=d#e"}[5m])\n# two lines', tab, mode, log: mode === "lines", range: 5_400_000, end: 1_700_000_000_000, step: 15_000, hidden: ["a1", "b2"] };
            const s = { panels: [state.newPanel(panel), state.newPanel()], refresh: 30_000 };
            assert.deepEqual(bare(state.stateOf(state.searchOf(s))), bare(s));
        }
    }
});

suite.case("links__of_prometheus_2_and_3__are_understood", () => {
    const two = state.stateOf("?g0.expr=up&g0.tab=0&g0.stacked=1&g0.range_input=30m&g0.end_input=2023-11-14%2022%3A13%3A20&g0.step_input=60&g1.expr=down&g1.tab=1").panels;
    assert.deepEqual([two[0].tab, two[0].mode, two[0].range, two[0].end, two[0].step], ["graph", "stacked", 1_800_000, 1_700_000_000_000, 60_000]);
    assert.deepEqual([two.length, two[1].expr, two[1].tab], [2, "down", "table"]);
    const three = state.stateOf("?g0.expr=up&g0.show_tree=0&g0.tab=graph&g0.range_input=1h&g0.res_type=auto&g0.res_density=medium&g0.display_mode=heatmap").panels[0];
    assert.deepEqual([three.tab, three.mode, three.range, three.step], ["graph", "heatmap", 3_600_000, null]);
});

suite.case("links__nonsense__is_bounded_and_has_defaults", () => {
    const many = Array.from({ length: 1000 }, (_, i) => `g${i}.expr=x`).join("&");
    assert.equal(state.stateOf(`?${many}`).panels.length, 50);
    const [p] = state.stateOf("?g0.expr=x&g0.tab=__proto__&g0.display_mode=9&g0.range_input=-1&g0.end_input=never&g0.res_step=0&refresh=x").panels;
    assert.deepEqual([p.tab, p.mode, p.range, p.end, p.step], ["graph", "lines", 3_600_000, null, null]);
    assert.equal(state.stateOf("").panels.length, 1);
});

// ---- building ----

suite.case("build__without_npm__says_so_and_has_an_empty_table", () => {
    const folder = mkdtempSync(join(tmpdir(), "tidalite-ui-"));
    try {
        for (const tool of ["cat", "dirname", "mkdir", "touch"]) symlinkSync(spawnSync("/bin/sh", ["-c", `command -v ${tool}`], { encoding: "utf8" }).stdout.trim(), join(folder, tool));
        const made = (what) => spawnSync("/bin/sh", [join(ROOT, "ui/build.sh"), what, join(folder, `${what}.c`)], { env: { PATH: folder }, encoding: "utf8" });
        const page = made("page");
        assert.equal(page.status, 0, page.stderr);
        assert.match(page.stderr, /no npm here/);
        assert.equal(made("none").stderr, "");
        assert.equal(readFileSync(join(folder, "page.c"), "utf8"), readFileSync(join(folder, "none.c"), "utf8"));
        assert.match(readFileSync(join(folder, "page.c"), "utf8"), /ui_file_count = 0/);
        assert.equal(statSync(join(folder, "page.c")).mtimeMs, 0); // older than its sources: the next make tries again
    } finally {
        rmSync(folder, { recursive: true });
    }
});

// ---- columns ----

const W = { start: 1_000_000, end: 1_004_000, step: 1000 };
const at = (i, v) => [1000 + i, String(v)];

suite.case("gridOf__gaps_and_odd_values__are_gaps_and_no_part_of_averages", () => {
    const { times, lines } = columns.gridOf([{ metric: { a: "b" }, values: [at(0, 1), at(1, "NaN"), at(2, "+Inf"), at(4, 3), at(9, 7)] }, { metric: { h: "1" }, histograms: [] }], W);
    assert.deepEqual(times, [1000, 1001, 1002, 1003, 1004]);
    assert.equal(lines.length, 1);
    assert.deepEqual(lines[0].column, [1, null, null, null, 3]);
    assert.deepEqual([lines[0].min, lines[0].max, lines[0].average, lines[0].last], [1, 3, 2, 7]);
});

suite.case("stack__hidden_and_missing__have_no_height", () => {
    assert.deepEqual(columns.stack([[1, null, null], [10, 10, null], [5, null, 7]], [false, false, false]), [[1, null, null], [11, 10, null], [16, 10, 7]]);
    assert.deepEqual(columns.stack([[1], [10], [5]], [false, true, false]), [[1], [null], [6]]);
    assert.deepEqual(columns.stack([], []), []);
    assert.deepEqual(columns.positive([1, 0, -1, null]), [1, null, null, null]);
});

const total = (heat) => heat.cells.reduce((a, b) => a + b, 0);

suite.case("heatOf__classic_buckets__differences_in_order_of_le", () => {
    const bucket = (le, ...values) => ({ metric: { le }, values: values.map((v, i) => at(i, v)) });
    const heat = columns.heatOf([bucket("+Inf", 10, 4), bucket("1", 3, 4), bucket("10", 7, 4), bucket("none", 1)], W);
    assert.deepEqual(heat.edges, [0, 1, 10, Infinity]);
    assert.deepEqual([...heat.cells], [3, 4, 0, 0, 0, 4, 0, 0, 0, 0, 3, 0, 0, 0, 0]);
    assert.equal(heat.max, 4);
    // A bucket that counts less than the one below it (a scrape in between) is empty, not negative.
    assert.ok([...columns.heatOf([bucket("1", 5), bucket("2", 4)], W).cells].every((n) => n >= 0));
});

suite.case("heatOf__native_buckets__no_count_is_lost", () => {
    const series = (...buckets) => ({ metric: {}, histograms: [[1000, { count: "0", sum: "0", buckets }]] });
    // Two resolutions that overlap, and a zero bucket.
    const heat = columns.heatOf([series([3, "-0.001", "0.001", "2"], [0, "1", "4", "9"]), series([0, "1", "2", "3"], [0, "2", "4", "5"])], W);
    assert.deepEqual(heat.edges, [-0.001, 0.001, 1, 2, 4]);
    assert.ok(Math.abs(total(heat) - 19) < 1e-9);
    const fine = Array.from({ length: 5000 }, (_, i) => [0, String(i), String(i + 1), "1"]);
    const coarse = columns.heatOf([series(...fine)], W);
    assert.ok(coarse.edges.length <= 401 && Math.abs(total(coarse) - 5000) < 1e-6, `${coarse.edges.length} edges, ${total(coarse)} counts`);
    assert.equal(columns.heatOf([], W).cells.length, 0);
});

// ---- families ----

suite.case("familiesOf__names_of_every_kind__first_query_of_each", () => {
    const told = new Map([["rpc", { type: "summary", help: "h", unit: "" }], ["native", { type: "histogram", help: "", unit: "s" }], ["bytes_sent_total", { type: "counter", help: "sent", unit: "" }]]);
    const list = families.familiesOf(["x_bucket", "x_count", "x_sum", "rpc", "rpc_count", "rpc_sum", "native", "bytes_sent_total", "a_info", "up", "items_count"], told);
    assert.deepEqual(list.map((f) => [f.name, f.kind, f.names.length]), [["x", "histogram", 3], ["rpc", "summary", 3], ["native", "native histogram", 1], ["bytes_sent_total", "counter", 1], ["a_info", "info", 1], ["up", "gauge", 1], ["items_count", "counter", 1]]);
    assert.deepEqual(list.map((f) => families.suggestions(f)[0].expr), ["histogram_quantile(0.95, sum by (le) (rate(x_bucket[5m])))", "rpc", "histogram_quantile(0.95, sum(rate(native[5m])))", "rate(bytes_sent_total[5m])", "a_info", "up", "rate(items_count[5m])"]);
});

suite.case("quantile__of_a_classic_histogram__as_histogram_quantile", () => {
    const layer = { name: "x", count: 10, sum: 0, buckets: [{ bound: 1, count: 2 }, { bound: 2, count: 6 }, { bound: Infinity, count: 10 }] };
    assert.equal(own.quantile(layer, 0.1), 0.5);
    assert.equal(own.quantile(layer, 0.5), 1.75);
    assert.equal(own.quantile(layer, 0.99), 2);
    assert.ok(Number.isNaN(own.quantile({ ...layer, count: 0, buckets: [{ bound: 1, count: 0 }] }, 0.5)));
});

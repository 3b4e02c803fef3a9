// Cardinality: what makes how many series, how that grows, and what a deletion would free.
import { useState } from "preact/hooks";
import { type Answer, get, instantNumbers, peek } from "./api";
import { bytes, count, labelText, localTime, quoted, selector } from "./format";
import { Mini } from "./mini";
import { own } from "./own";
import { Bars, Facts, Problem, useLoad } from "./parts";
import { exploreLink } from "./state";

interface Item {
    name: string;
    value: number;
}
interface Tsdb {
    headStats: { numSeries: number; numLabelPairs: number; chunkCount: number; minTime: number; maxTime: number };
    seriesCountByMetricName: Item[];
    labelValueCountByLabelName: Item[];
    memoryInBytesByLabelName: Item[];
    seriesCountByLabelValuePair: Item[];
}

const LIMITS = [10, 20, 50, 100];
const DAY = 86_400_000;
const NEW_SERIES = "topk(10, sum by (job, instance) (sum_over_time(scrape_series_added[1h])))";

// "name=value" of a pair: a selector for it.
function pairSelector(pair: string): string {
    const at = pair.indexOf("=");
    const name = pair.slice(0, at);
    const quotedName = /^\w+$/.test(name) ? name : quoted(name);
    return `{${quotedName}=${quoted(pair.slice(at + 1))}}`;
}

function rows(items: Item[], text: (v: number) => string, exprOf?: (name: string) => string) {
    return items.map((i) => ({ name: i.name, value: i.value, text: text(i.value), href: exprOf && exploreLink(exprOf(i.name), { tab: "table" }) }));
}

function Lists({ t }: { t: Tsdb }) {
    return (
        <div class="columns">
            <Bars caption="Metrics with most series" unit="Series" rows={rows(t.seriesCountByMetricName, count, (n) => `count by (job, instance) (${selector(n)})`)} />
            <Bars caption="Labels with most values" unit="Values" rows={rows(t.labelValueCountByLabelName, count, (n) => `topk(50, count by (${/^\w+$/.test(n) ? n : quoted(n)}) ({__name__=~".+"}))`)} />
            <Bars caption="Pairs in most series" unit="Series" rows={rows(t.seriesCountByLabelValuePair, count, (n) => `topk(50, count by (__name__) (${pairSelector(n)}))`)} />
            <Bars caption="Labels that take most memory" unit="Bytes" rows={rows(t.memoryInBytesByLabelName, bytes)} />
        </div>
    );
}

// Of scrapers that tell it (Prometheus, vmagent): targets that brought series that were not there before.
function Creators() {
    const { answer, error } = useLoad<{ name: string; value: number }[]>("new", async (signal) => {
        const list = await instantNumbers(NEW_SERIES, signal);
        return { data: list.map((s) => ({ name: labelText(s.metric) || "{}", value: s.value })), warnings: [], infos: [], bytes: 0, milliseconds: 0 };
    });
    if (error) return <Problem error={error} />;
    if (answer && answer.data.length === 0) {
        return (
            <section class="card">
                <h2>Targets with new series in the last hour</h2>
                <p class="muted">
                    No sender tells <code>scrape_series_added</code>, as Prometheus and vmagent do.
                </p>
            </section>
        );
    }
    return <Bars caption="Targets with new series in the last hour" unit="Series" rows={rows(answer?.data ?? [], count)} />;
}

// ---- what nobody looks at ----

interface NamesStats {
    statsCollectedSince: number;
    records: { metricName?: string; metricNamePattern?: string }[];
    unnamedRequestsCount: number;
    forgottenRequestsCount: number;
}
interface Unasked {
    items: Item[];
    stats: NamesStats;
}

const LOOKED_AT = 1000; // metrics, those with most series
const SHOWN = 20;

// A pattern that a browser does not understand may ask for anything.
function patternOf(text: string): RegExp {
    try {
        return new RegExp(`^(?:${text})$`, "s");
    } catch {
        return /^/;
    }
}

async function unasked(signal: AbortSignal): Promise<Answer<Unasked>> {
    const [tsdb, stats] = await Promise.all([get<Tsdb>("status/tsdb", { limit: LOOKED_AT }, signal), get<NamesStats>("status/metric_names_stats", {}, signal)]);
    const names = new Set(stats.data.records.map((r) => r.metricName));
    const patterns = stats.data.records.flatMap((r) => (r.metricNamePattern === undefined ? [] : [patternOf(r.metricNamePattern)]));
    const items = tsdb.data.seriesCountByMetricName.filter((i) => !names.has(i.name) && !patterns.some((p) => p.test(i.name)));
    return { ...stats, data: { items: items.slice(0, SHOWN), stats: stats.data } };
}

function Unasked() {
    const { answer, error } = useLoad<Unasked>("unasked", unasked);
    if (!answer) return <Problem error={error} />;
    const { items, stats } = answer.data;
    const since = `since ${localTime(stats.statsCollectedSince * 1000).slice(0, 16)}`;
    return (
        <div>
            <Bars caption={`What no query has asked for ${since}`} unit="Series" rows={rows(items, count, (n) => `count by (job, instance) (${selector(n)})`)} />
            {stats.unnamedRequestsCount > 0 && <p class="muted">{count(stats.unnamedRequestsCount)} queries named no metric: what they read is not known.</p>}
            {stats.forgottenRequestsCount > 0 && <p class="muted">Not all names were kept (--query.max-tracked-names).</p>}
        </div>
    );
}

// ---- what a deletion would free ----

interface Freed {
    series: number;
    samples: number;
    bytesEach: number; // NaN: there are no blocks yet
}

async function freed(what: string, range: string, signal: AbortSignal): Promise<Answer<Freed>> {
    // last_over_time keeps names, so that series which differ in nothing else stay apart; what it read is told by its statistics.
    const query = `count(last_over_time(${what}[${range}]))`;
    const [found, blocks, self] = await Promise.all([
        peek("query", { query, stats: "all" }, signal),
        get<{ blocks: { stats: { numSamples: number } }[] }>("status/tsdb/blocks", {}, signal),
        own(signal),
    ]);
    const series = found.data.resultType === "vector" ? Number(found.data.result[0]?.value?.[1] ?? 0) : 0;
    const samples = Number(found.data.stats?.samples?.["totalQueryableSamples"] ?? NaN);
    const stored = blocks.data.blocks.reduce((sum, b) => sum + b.stats.numSamples, 0);
    return { ...found, data: { series, samples, bytesEach: stored > 0 ? self.data.number("tidalite_block_bytes") / stored : NaN } };
}

function Deletion() {
    const [text, setText] = useState("");
    const [range, setRange] = useState("1d");
    const [asked, setAsked] = useState<{ what: string; range: string } | null>(null);
    const { answer, error, loading } = useLoad<Freed>(asked && `${asked.what} ${asked.range}`, (signal) => freed(asked!.what, asked!.range, signal));
    const submit = (e: Event) => {
        e.preventDefault();
        if (text.trim()) setAsked({ what: text.trim(), range });
    };
    return (
        <section class="card">
            <h2>What a deletion would free</h2>
            <form class="controls" onSubmit={submit}>
                <input class="search" aria-label="Selector" placeholder={'A selector, for example {job="old"}'} value={text} onInput={(e) => setText(e.currentTarget.value)} />
                <select aria-label="Range of the deletion" value={range} onChange={(e) => setRange(e.currentTarget.value)}>
                    {["1h", "1d", "7d", "30d"].map((r) => (
                        <option key={r} value={r}>
                            last {r}
                        </option>
                    ))}
                </select>
                <button type="submit" disabled={loading && asked !== null}>
                    Count
                </button>
            </form>
            <Problem error={error} />
            {answer && asked && (
                <Facts
                    rows={[
                        ["Series", count(answer.data.series)],
                        ["Samples", count(answer.data.samples)],
                        ["On disk, about", Number.isNaN(answer.data.bytesEach) ? "not known before there are blocks" : bytes(answer.data.samples * answer.data.bytesEach)],
                    ]}
                />
            )}
        </section>
    );
}

export function Cardinality() {
    const [limit, setLimit] = useState(LIMITS[0]!);
    const { answer, error, loading } = useLoad<Tsdb>(String(limit), (signal) => get<Tsdb>("status/tsdb", { limit }, signal));
    const head = answer?.data.headStats;
    return (
        <>
            <h1>Cardinality</h1>
            <div class="toolbar">
                <label>
                    Entries{" "}
                    <select value={limit} onChange={(e) => setLimit(Number(e.currentTarget.value))}>
                        {LIMITS.map((n) => (
                            <option key={n}>{n}</option>
                        ))}
                    </select>
                </label>
                <span class="muted" role="status">
                    {loading ? "Loading" : "of what is in memory"}
                </span>
            </div>
            <Problem error={error} />
            {head && (
                <section class="card">
                    <Facts
                        rows={[
                            ["Series", count(head.numSeries)],
                            ["Label pairs", count(head.numLabelPairs)],
                            ["Chunks", count(head.chunkCount)],
                            ["From", head.numSeries > 0 ? localTime(head.minTime) : "–"],
                            ["To", head.numSeries > 0 ? localTime(head.maxTime) : "–"],
                        ]}
                    />
                </section>
            )}
            {answer && <Lists t={answer.data} />}
            <div class="columns">
                <Mini title="Series in memory, 24 h" expr="sum by (instance) (tidalite_head_series)" range={DAY} tick={0} />
                <Mini title="New series per minute, 24 h" expr="sum by (instance) (rate(tidalite_head_series_created_total[5m])) * 60" range={DAY} tick={0} />
            </div>
            <div class="columns">
                <Unasked />
                <Creators />
                <Deletion />
            </div>
        </>
    );
}

// An instant answer as a table, any answer as JSON, the line of cost, and the plan.
import { useMemo, useState } from "preact/hooks";
import type { Answer, HistogramValue, InstantSeries, QueryData, Stats } from "./api";
import { bytes, count, labelText, localTimeMs, seconds, seriesText } from "./format";

const ROWS_FIRST = 500;
const JSON_MAX = 300_000; // characters that are shown

export function resultSize(data: QueryData): number {
    return data.resultType === "matrix" || data.resultType === "vector" ? data.result.length : 1;
}

function histogramText(h: HistogramValue): string {
    const buckets = (h.buckets ?? []).map(([rule, low, high, n]) => `${rule === 1 || rule === 3 ? "[" : "("}${low}, ${high}${rule === 0 || rule === 3 ? "]" : ")"} ${n}`);
    return `count ${h.count}, sum ${h.sum}${buckets.length > 0 ? `: ${buckets.join("; ")}` : ""}`;
}

function cellText(s: InstantSeries): string {
    if (s.value) return s.value[1];
    if (s.histogram) return histogramText(s.histogram[1]);
    const floats = (s.values ?? []).map(([t, v]) => `${v} @ ${localTimeMs(t * 1000)}`);
    const histograms = (s.histograms ?? []).map(([t, h]) => `${histogramText(h)} @ ${localTimeMs(t * 1000)}`);
    return [...floats, ...histograms].join("\n");
}

function numberOf(s: InstantSeries): number {
    return s.value ? Number(s.value[1]) : NaN;
}

export function ResultTable({ data }: { data: QueryData }) {
    const [sort, setSort] = useState<{ by: "name" | "value"; down: boolean } | null>(null);
    const [all, setAll] = useState(false);
    const series = useMemo(() => {
        if (data.resultType !== "vector" && data.resultType !== "matrix") return [];
        const list = data.result as InstantSeries[];
        if (!sort) return list;
        const way = sort.down ? -1 : 1;
        return [...list].sort((a, b) => way * (sort.by === "name" ? seriesText(a.metric).localeCompare(seriesText(b.metric)) : numberOf(a) - numberOf(b) || 0));
    }, [data, sort]);
    if (data.resultType === "scalar" || data.resultType === "string") {
        return (
            <p class="single">
                {data.result[1]} <small class="muted">{data.resultType}</small>
            </p>
        );
    }
    if (series.length === 0) return <p class="muted empty">Empty result: nothing matches at this time.</p>;
    const head = (by: "name" | "value", text: string) => (
        <th scope="col" class={by === "name" ? "name" : "number"} aria-sort={sort?.by === by ? (sort.down ? "descending" : "ascending") : "none"}>
            <button type="button" class="plain" onClick={() => setSort({ by, down: sort?.by === by ? !sort.down : by === "value" })}>
                {text}
                {sort?.by === by ? (sort.down ? " ▾" : " ▴") : ""}
            </button>
        </th>
    );
    const shown = all ? series : series.slice(0, ROWS_FIRST);
    return (
        <div class="scroll">
            <table class="result">
                <thead>
                    <tr>
                        {head("name", `Series (${count(series.length)})`)}
                        {head("value", "Value")}
                    </tr>
                </thead>
                <tbody>
                    {shown.map((s) => (
                        <tr key={seriesText(s.metric)}>
                            <td class="name">
                                <b>{s.metric["__name__"]}</b>
                                {labelText(s.metric) || (s.metric["__name__"] ? "" : "{}")}
                            </td>
                            <td class="number value">{cellText(s)}</td>
                        </tr>
                    ))}
                </tbody>
            </table>
            {series.length > shown.length && (
                <button type="button" onClick={() => setAll(true)}>
                    Show all {count(series.length)} rows
                </button>
            )}
        </div>
    );
}

export function Raw({ answer, href }: { answer: Answer<QueryData>; href: string }) {
    const text = useMemo(() => JSON.stringify(answer.data, null, 1), [answer]);
    return (
        <div class="raw">
            <p>
                <a href={href} target="_blank" rel="noreferrer">
                    Open the answer
                </a>{" "}
                <button type="button" onClick={() => void navigator.clipboard.writeText(text)}>
                    Copy
                </button>
                {text.length > JSON_MAX && <span class="muted"> The first {count(JSON_MAX)} of {count(text.length)} characters:</span>}
            </p>
            <pre tabIndex={0} aria-label="Answer as JSON">
                {text.slice(0, JSON_MAX)}
            </pre>
        </div>
    );
}

// ---- cost ----

const SAMPLES: Record<string, string> = { samplesRead: "read", totalQueryableSamples: "queryable", peakSamples: "at most in memory" };
const TIMINGS: Record<string, string> = { execQueueTime: "queue", queryPreparationTime: "prepare", innerEvalTime: "evaluate", resultSortTime: "sort" };

function words(key: string): string {
    return key.replace(/([A-Z])/g, " $1").toLowerCase();
}

// Everything that the server counts, with words of our own for what is known.
function costParts(stats: Stats | undefined): string[] {
    const samples = Object.entries(stats?.samples ?? {}).filter((e): e is [string, number] => typeof e[1] === "number");
    const parts = samples.map(([key, n]) => (SAMPLES[key] ? `${count(n)} samples ${SAMPLES[key]}` : `${words(key)} ${count(n)}`));
    const timings = Object.entries(stats?.timings ?? {}).filter(([key, s]) => s > 0 && key !== "evalTotalTime" && key !== "execTotalTime");
    return [...parts, ...timings.map(([key, s]) => `${TIMINGS[key] ?? words(key)} ${seconds(s)}`)];
}

export function Cost({ answer }: { answer: Answer<QueryData> }) {
    const total = answer.data.stats?.timings?.["execTotalTime"];
    const parts = [
        `${count(resultSize(answer.data))} series`,
        `${seconds(answer.milliseconds / 1000)} in all${total === undefined ? "" : `, ${seconds(total)} in the server`}`,
        `${bytes(answer.bytes)} of JSON`,
        ...costParts(answer.data.stats),
    ];
    return (
        <p class="cost muted" aria-label="Cost of the query">
            {parts.join(" · ")}
        </p>
    );
}

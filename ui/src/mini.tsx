// A graph of one query over the last hours, without controls, that opens in Explore.
import { useMemo } from "preact/hooks";
import { type QueryData, peek } from "./api";
import { Graph } from "./chart";
import { gridOf } from "./columns";
import { Problem, useLoad } from "./parts";
import { exploreLink } from "./state";

const POINTS = 180;
const NOTHING: ReadonlySet<string> = new Set();
const HEIGHT = 170;

export function Mini(p: { title: string; expr: string; range: number; tick: number; stacked?: boolean }) {
    const end = useMemo(() => Math.floor(Date.now() / 1000) * 1000, [p.tick, p.range]);
    const w = { start: end - p.range, end, step: Math.max(Math.round(p.range / POINTS / 1000), 1) * 1000 };
    const { answer, error } = useLoad<QueryData>(`${p.expr} ${w.start} ${end}`, (signal) => peek("query_range", { query: p.expr, start: w.start / 1000, end: w.end / 1000, step: w.step / 1000 }, signal));
    // The window of the answer, not of the next question.
    const shown = useMemo(() => (answer?.data.resultType === "matrix" ? { grid: gridOf(answer.data.result, w), w } : null), [answer]);
    const look = useMemo(() => ({ stacked: p.stacked === true, log: false, hidden: NOTHING }), [p.stacked]);
    return (
        <figure class="card mini">
            <figcaption>
                <a href={exploreLink(p.expr, { range: p.range, mode: p.stacked ? "stacked" : "lines" })}>{p.title}</a>
            </figcaption>
            <Problem error={error} />
            {shown && shown.grid.lines.length > 0 && (
                <Graph grid={shown.grid} look={look} focused={null} start={shown.w.start} end={shown.w.end} label={p.title} height={HEIGHT} onCursor={() => undefined} onRange={(start, to) => (location.href = exploreLink(p.expr, { range: to - start, end: to }))} />
            )}
            {shown && shown.grid.lines.length === 0 && <p class="muted empty">No data: the server does not scrape itself (--self-scrape.interval).</p>}
        </figure>
    );
}

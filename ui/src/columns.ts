// From answers to what is drawn: columns over one grid of times, stacks, heat maps.  No DOM in here.
import type { Bucket, Labels, RangeSeries } from "./api";
import { seriesHash, seriesText } from "./format";

export type Column = (number | null)[];

export interface Line {
    metric: Labels;
    name: string;
    hash: string;
    column: Column;
    min: number;
    max: number;
    average: number;
    last: number;
}

export interface Grid {
    times: number[]; // Unix seconds
    lines: Line[];
}

export interface Window {
    start: number; // ms
    end: number;
    step: number;
}

export function gridTimes(w: Window): number[] {
    const times: number[] = [];
    for (let t = w.start; t <= w.end; t += w.step) times.push(t / 1000);
    return times;
}

function line(s: RangeSeries, w: Window, length: number): Line {
    const column: Column = new Array<number | null>(length).fill(null);
    let min = Infinity;
    let max = -Infinity;
    let sum = 0;
    let n = 0;
    let last = NaN;
    for (const [t, text] of s.values ?? []) {
        const v = text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);
        const at = Math.round((t * 1000 - w.start) / w.step);
        last = v;
        if (!Number.isFinite(v) || at < 0 || at >= length) continue; // a gap in the line; the table tells its value
        column[at] = v;
        if (v < min) min = v;
        if (v > max) max = v;
        sum += v;
        n++;
    }
    return { metric: s.metric, name: seriesText(s.metric), hash: seriesHash(s.metric), column, last, average: sum / n, min: n ? min : NaN, max: n ? max : NaN };
}

export function gridOf(result: RangeSeries[], w: Window): Grid {
    const times = gridTimes(w);
    return { times, lines: result.filter((s) => s.values).map((s) => line(s, w, times.length)) };
}

// Each column on top of those before it; hidden ones have no height. Where there is nothing below either, there is a gap.
export function stack(columns: Column[], hidden: boolean[]): Column[] {
    const below = new Array<number>(columns[0]?.length ?? 0).fill(0);
    return columns.map((column, i) => {
        if (hidden[i]) return column.map(() => null);
        return column.map((v, at) => (v === null ? below[at] || null : (below[at] = (below[at] ?? 0) + v)));
    });
}

// For a logarithmic axis: what it cannot show is a gap.
export function positive(column: Column): Column {
    return column.map((v) => (v !== null && v > 0 ? v : null));
}

// Counts by time and range of values.  cells[row * times + column]; row r lies between edges[r] and edges[r + 1].
export interface Heat {
    times: number[];
    edges: number[];
    cells: Float64Array;
    max: number;
}

interface Span {
    at: number;
    low: number;
    high: number;
    count: number;
}

const ROWS_MAX = 400;

function boundOf(text: string | undefined): number {
    return text === "+Inf" ? Infinity : text === "-Inf" ? -Infinity : Number(text);
}

// Classic buckets count all below `le`: series that differ in `le` alone are one histogram, and all histograms are added up.
function classicSpans(result: RangeSeries[], w: Window): Span[] {
    const byBound = new Map<number, Map<number, number>>();
    for (const s of result) {
        const le = boundOf(s.metric["le"]);
        if (Number.isNaN(le)) continue;
        const sums = byBound.get(le) ?? new Map<number, number>();
        byBound.set(le, sums);
        for (const [t, v] of s.values ?? []) {
            const at = Math.round((t * 1000 - w.start) / w.step);
            if (Number.isFinite(Number(v))) sums.set(at, (sums.get(at) ?? 0) + Number(v));
        }
    }
    const bounds = [...byBound.keys()].sort((a, b) => a - b);
    const spans: Span[] = [];
    bounds.forEach((high, i) => {
        const low = i > 0 ? bounds[i - 1]! : high > 0 ? 0 : -Infinity;
        for (const [at, total] of byBound.get(high)!) {
            const below = i > 0 ? (byBound.get(bounds[i - 1]!)!.get(at) ?? 0) : 0;
            spans.push({ at, low, high, count: Math.max(total - below, 0) });
        }
    });
    return spans;
}

function nativeSpans(result: RangeSeries[], w: Window): Span[] {
    return result.flatMap((s) =>
        (s.histograms ?? []).flatMap(([t, h]) =>
            (h.buckets ?? []).map(([, low, high, n]: Bucket) => ({
                at: Math.round((t * 1000 - w.start) / w.step),
                low: boundOf(low),
                high: boundOf(high),
                count: Number(n),
            })),
        ),
    );
}

// Is this an answer that a heat map can show?
export function hasHistograms(result: RangeSeries[]): boolean {
    return result.some((s) => s.histograms || s.metric["le"] !== undefined);
}

export function heatOf(result: RangeSeries[], w: Window): Heat {
    const times = gridTimes(w);
    const spans = (result.some((s) => s.histograms) ? nativeSpans(result, w) : classicSpans(result, w)).filter((s) => s.count > 0 && s.at >= 0 && s.at < times.length);
    let edges = [...new Set(spans.flatMap((s) => [s.low, s.high]))].sort((a, b) => a - b);
    while (edges.length > ROWS_MAX + 1) edges = edges.filter((_, i) => i % 2 === 0 || i === edges.length - 1);
    const rows = Math.max(edges.length - 1, 0);
    const cells = new Float64Array(rows * times.length);
    let max = 0;
    for (const s of spans) {
        let first = edges.findIndex((e) => e >= s.low);
        if (edges[first] !== s.low) first--; // its own edge was merged away
        let last = edges.findIndex((e) => e >= s.high);
        first = Math.max(first, 0);
        last = Math.max(last, first + 1);
        for (let row = first; row < last; row++) {
            const cell = row * times.length + s.at;
            cells[cell] = cells[cell]! + s.count / (last - first);
            max = Math.max(max, cells[cell]!);
        }
    }
    return { times, edges, cells, max };
}

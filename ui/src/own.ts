// The server's own metrics, as they are at this moment (status/self_metrics), whether it scrapes itself or not.
import { get } from "./api";

interface Pair {
    name: string;
    value: string;
}
interface OwnHistogram {
    sampleCount: string;
    sampleSum: number;
    bucket: { cumulativeCount: string; upperBound: number | string }[];
}
interface OwnMetric {
    label: Pair[];
    counter?: { value: number | string };
    gauge?: { value: number | string };
    untyped?: { value: number | string };
    histogram?: OwnHistogram;
}
interface OwnFamily {
    name: string;
    metric: OwnMetric[];
}

export interface Layer {
    name: string;
    count: number;
    sum: number; // seconds
    buckets: { bound: number; count: number }[]; // cumulative
}

export class Own {
    constructor(private readonly families: Map<string, OwnFamily>) {}

    // The sum over all series of a metric, or the one with that label's value. NaN: there is none.
    number(name: string, label?: string, value?: string): number {
        const list = (this.families.get(name)?.metric ?? []).filter((m) => !label || m.label.some((l) => l.name === label && l.value === value));
        if (list.length === 0) return NaN;
        return list.reduce((sum, m) => sum + Number((m.counter ?? m.gauge ?? m.untyped)?.value ?? NaN), 0);
    }

    // [value of the label, number] of each series of a metric.
    byLabel(name: string, label: string): [string, number][] {
        return (this.families.get(name)?.metric ?? []).map((m) => [m.label.find((l) => l.name === label)?.value ?? "", Number((m.counter ?? m.gauge ?? m.untyped)?.value ?? NaN)]);
    }

    histograms(name: string, label: string): Layer[] {
        return (this.families.get(name)?.metric ?? []).flatMap((m) => {
            const h = m.histogram;
            if (!h) return [];
            const buckets = h.bucket.map((b) => ({ bound: Number(b.upperBound), count: Number(b.cumulativeCount) }));
            return [{ name: m.label.find((l) => l.name === label)?.value ?? "", count: Number(h.sampleCount), sum: Number(h.sampleSum), buckets }];
        });
    }
}

export async function own(signal?: AbortSignal) {
    const answer = await get<OwnFamily[]>("status/self_metrics", {}, signal);
    return { ...answer, data: new Own(new Map(answer.data.map((f) => [f.name, f]))) };
}

// As histogram_quantile does it, of a classic histogram.
export function quantile(l: Layer, q: number): number {
    const rank = q * l.count;
    let below = 0;
    let low = 0;
    for (const b of l.buckets) {
        if (b.count >= rank && b.count > 0) {
            if (!Number.isFinite(b.bound)) return low;
            return low + ((b.bound - low) * (rank - below)) / Math.max(b.count - below, 1e-9);
        }
        below = b.count;
        low = b.bound;
    }
    return l.count > 0 ? low : NaN;
}

// Names of metrics as families, their kinds, and the first query that shows something sensible of each.  No DOM in here.
import type { Panel } from "./state";
import { selector } from "./format";

export interface Described {
    type: string;
    help: string;
    unit: string;
}
export interface Family {
    name: string;
    kind: string; // counter, gauge, histogram, native histogram, summary, info ...
    help: string;
    unit: string;
    names: string[]; // of the series
}

const WINDOW = "5m";

// Where nobody told the type, the name does.
function guessed(name: string): string {
    if (/_(total|count|sum)$/.test(name)) return "counter";
    return name.endsWith("_info") ? "info" : "gauge";
}

// x for x_bucket, x_sum and x_count of one classic histogram, or x_sum and x_count of a summary.
function familyName(name: string, all: ReadonlySet<string>, described: ReadonlyMap<string, Described>): string {
    const base = name.replace(/_(bucket|sum|count)$/, "");
    if (base === name) return name;
    const type = described.get(base)?.type;
    return all.has(`${base}_bucket`) || (type === "summary" && all.has(base)) ? base : name;
}

function unitOf(name: string): string {
    const found = /_(seconds|bytes|ratio|celsius|volts|amperes|joules|grams|meters|percent|info)(?:_total)?$/.exec(name);
    return found ? found[1]! : "";
}

export function familiesOf(names: string[], described: ReadonlyMap<string, Described>): Family[] {
    const all = new Set(names);
    const families = new Map<string, Family>();
    for (const name of names) {
        const base = familyName(name, all, described);
        const known = families.get(base);
        if (known) {
            known.names.push(name);
            continue;
        }
        const d = described.get(base) ?? described.get(base.replace(/_total$/, ""));
        const classic = all.has(`${base}_bucket`);
        const type = d?.type && d.type !== "unknown" ? d.type : classic ? "histogram" : guessed(base);
        const kind = type === "histogram" && !classic && name === base ? "native histogram" : type;
        families.set(base, { name: base, kind, help: d?.help ?? "", unit: d?.unit || unitOf(base), names: [name] });
    }
    return [...families.values()];
}

export interface Suggestion {
    text: string;
    expr: string;
    panel: Partial<Panel>;
}

export function suggestions(f: Family): Suggestion[] {
    const x = selector(f.name);
    const rate = (s: string) => `rate(${s}[${WINDOW}])`;
    const heat: Partial<Panel> = { mode: "heatmap" };
    switch (f.kind) {
        case "counter":
            return [
                { text: "Rate", expr: rate(x), panel: {} },
                { text: "Rate by job", expr: `sum by (job) (${rate(x)})`, panel: { mode: "stacked" } },
                { text: "Increase per hour", expr: `increase(${x}[1h])`, panel: {} },
            ];
        case "histogram": {
            const buckets = rate(selector(`${f.name}_bucket`));
            const [sum, n] = [rate(selector(`${f.name}_sum`)), rate(selector(`${f.name}_count`))];
            return [
                { text: "95th percentile", expr: `histogram_quantile(0.95, sum by (le) (${buckets}))`, panel: {} },
                { text: "Heat map", expr: `sum by (le) (${buckets})`, panel: heat },
                { text: "Average", expr: `sum(${sum}) / sum(${n})`, panel: {} },
                { text: "Per second", expr: `sum by (job) (${n})`, panel: {} },
            ];
        }
        case "native histogram":
            return [
                { text: "95th percentile", expr: `histogram_quantile(0.95, sum(${rate(x)}))`, panel: {} },
                { text: "Heat map", expr: `sum(${rate(x)})`, panel: heat },
                { text: "Average", expr: `histogram_avg(sum(${rate(x)}))`, panel: {} },
            ];
        case "info":
            return [{ text: "Labels", expr: x, panel: { tab: "table" } }];
        default:
            return [
                { text: "Value", expr: x, panel: {} },
                { text: "Average by job", expr: `avg by (job) (${x})`, panel: {} },
            ];
    }
}

// The legend of a graph: a table whose rows hide and show lines and whose columns sort.
import { useMemo, useState } from "preact/hooks";
import { color } from "./chart";
import type { Grid, Line } from "./columns";
import { labelText, shortNumber } from "./format";

const ROWS_FIRST = 100;

type Key = "name" | "at" | "min" | "average" | "max";
const COLUMNS: [Key, string][] = [
    ["name", "Series"],
    ["at", "Value"],
    ["min", "Min"],
    ["average", "Avg"],
    ["max", "Max"],
];

interface Props {
    grid: Grid;
    at: number | null;
    hidden: ReadonlySet<string>;
    onHidden: (hidden: string[]) => void;
    onFocus: (hash: string | null) => void;
}

function compare(a: Line, b: Line, key: Key, valueOf: (l: Line) => number): number {
    if (key === "name") return a.name.localeCompare(b.name);
    const [x, y] = key === "at" ? [valueOf(a), valueOf(b)] : [a[key], b[key]];
    return Number.isNaN(x) ? 1 : Number.isNaN(y) ? -1 : y - x; // greatest first
}

export function Legend({ grid, at, hidden, onHidden, onFocus }: Props) {
    const [sort, setSort] = useState<{ key: Key; down: boolean } | null>(null);
    const [all, setAll] = useState(false);
    const valueOf = (l: Line) => (at === null ? l.last : (l.column[at] ?? NaN));
    const colors = useMemo(() => new Map(grid.lines.map((l, i) => [l.hash, color(i)])), [grid]);
    // Sorted by what was there when it was asked for: rows that jump under the pointer help nobody.
    const rows = useMemo(() => {
        if (!sort) return grid.lines;
        const sorted = [...grid.lines].sort((a, b) => compare(a, b, sort.key, valueOf));
        return sort.down ? sorted.reverse() : sorted;
    }, [grid, sort]);
    const toggle = (l: Line, alone: boolean) => {
        if (!alone) {
            onHidden(hidden.has(l.hash) ? [...hidden].filter((h) => h !== l.hash) : [...hidden, l.hash]);
            return;
        }
        const others = grid.lines.filter((x) => x.hash !== l.hash).map((x) => x.hash);
        onHidden(!hidden.has(l.hash) && others.every((h) => hidden.has(h)) ? [] : others);
    };
    const shown = all ? rows : rows.slice(0, ROWS_FIRST);
    return (
        <div class="scroll legend" role="region" aria-label="Legend" tabIndex={0}>
            <table>
                <thead>
                    <tr>
                        {COLUMNS.map(([key, text]) => (
                            <th key={key} scope="col" class={key === "name" ? "name" : "number"} aria-sort={sort?.key === key ? (sort.down ? "descending" : "ascending") : "none"}>
                                <button type="button" class="plain" onClick={() => setSort({ key, down: sort?.key === key && !sort.down })}>
                                    {text}
                                    {sort?.key === key ? (sort.down ? " ▾" : " ▴") : ""}
                                </button>
                            </th>
                        ))}
                    </tr>
                </thead>
                <tbody>
                    {shown.map((l) => (
                        <tr key={l.hash} class={hidden.has(l.hash) ? "hidden" : ""} onMouseEnter={() => onFocus(l.hash)} onMouseLeave={() => onFocus(null)}>
                            <td class="name">
                                <button type="button" class="plain" aria-pressed={!hidden.has(l.hash)} title="Click hides, Ctrl-click shows it alone" onClick={(e) => toggle(l, e.ctrlKey || e.metaKey)}>
                                    <svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">
                                        <rect width="10" height="10" rx="2" fill={colors.get(l.hash)} />
                                    </svg>
                                    <b>{l.metric["__name__"]}</b>
                                    {labelText(l.metric) || (l.metric["__name__"] ? "" : "{}")}
                                </button>
                            </td>
                            {[valueOf(l), l.min, l.average, l.max].map((v, i) => (
                                <td key={i} class="number">
                                    {Number.isNaN(v) ? "–" : shortNumber(v)}
                                </td>
                            ))}
                        </tr>
                    ))}
                </tbody>
            </table>
            {rows.length > shown.length && (
                <button type="button" onClick={() => setAll(true)}>
                    Show all {rows.length} series
                </button>
            )}
        </div>
    );
}

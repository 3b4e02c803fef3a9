// Numbers, sizes, times and names as people read them.
import type { Labels } from "./api";

const SHORT = ["", "k", "M", "G", "T", "P"];
const BYTES = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

function scaled(value: number, base: number, units: string[], gap: string): string {
    let i = 0;
    let v = value;
    while (Math.abs(v) >= base && i < units.length - 1) {
        v /= base;
        i++;
    }
    const digits = Math.abs(v) >= 100 || Number.isInteger(v) ? 0 : Math.abs(v) >= 10 ? 1 : 2;
    return `${v.toFixed(digits)}${units[i] ? gap + units[i] : ""}`;
}

// 1234567 -> 1.23M; small ones keep their digits.
export function shortNumber(value: number): string {
    if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
    const size = Math.abs(value);
    if (size !== 0 && size < 0.001) return value.toExponential(2);
    if (size < 1000) return String(Number(value.toPrecision(4)));
    return size >= 1e18 ? value.toExponential(2) : scaled(value, 1000, SHORT, "");
}

export function bytes(value: number): string {
    return Number.isFinite(value) ? scaled(value, 1024, BYTES, " ") : "–";
}

export function count(value: number): string {
    return Number.isFinite(value) ? Math.round(value).toLocaleString("en-US") : "–";
}

// Of something that took so long: 1.2 ms.
export function seconds(value: number): string {
    if (!Number.isFinite(value)) return "–";
    if (value === 0) return "0 s";
    if (value < 1e-3) return `${Number((value * 1e6).toPrecision(3))} µs`;
    if (value < 1) return `${Number((value * 1e3).toPrecision(3))} ms`;
    return value < 120 ? `${Number(value.toPrecision(3))} s` : duration(Math.round(value) * 1000);
}

const UNITS: [string, number][] = [
    ["y", 365 * 86_400_000],
    ["w", 7 * 86_400_000],
    ["d", 86_400_000],
    ["h", 3_600_000],
    ["m", 60_000],
    ["s", 1000],
    ["ms", 1],
];

// Milliseconds as Prometheus writes them: 1h30m.
export function duration(ms: number): string {
    let left = Math.round(ms);
    let text = "";
    for (const [unit, size] of UNITS) {
        const n = Math.floor(left / size);
        // Weeks and years only where they are whole: 10d is clearer than 1w3d.
        if (n === 0 || ((unit === "y" || unit === "w") && left % size !== 0)) continue;
        text += n + unit;
        left -= n * size;
    }
    return text || "0s";
}

// The milliseconds of a Prometheus duration, or of seconds; null: it is none.
export function parseDuration(text: string): number | null {
    const t = text.trim();
    if (/^\d+(\.\d+)?$/.test(t)) return Math.round(Number(t) * 1000);
    const found = /^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/.exec(t);
    if (!t || !found) return null;
    return UNITS.reduce((sum, [, size], i) => sum + Number(found[i + 1] ?? 0) * size, 0);
}

const two = (n: number) => String(n).padStart(2, "0");

// All times that are shown and typed are the browser's, or UTC.
let utc = false;
export function setUtc(on: boolean): void {
    utc = on;
}
export function isUtc(): boolean {
    return utc;
}

// As an input of type datetime-local wants it and people read it.
export function localTime(ms: number, gap = " "): string {
    if (utc) return new Date(ms).toISOString().slice(0, 19).replace("T", gap);
    const d = new Date(ms);
    const day = `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())}`;
    return `${day}${gap}${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

export function localTimeMs(ms: number): string {
    return ms % 1000 === 0 ? localTime(ms) : `${localTime(ms)}.${String(ms % 1000).padStart(3, "0")}`;
}

// What localTime wrote, with a T. NaN: it is none.
export function parseLocalTime(text: string): number {
    return Date.parse(utc ? `${text}Z` : text);
}

// UTC without zone, as Prometheus's links have it.
export function linkTime(ms: number): string {
    return new Date(ms).toISOString().slice(0, 19).replace("T", " ");
}
export function parseLinkTime(text: string): number | null {
    const ms = Date.parse(/Z|[+-]\d\d:?\d\d$/.test(text) ? text : `${text.replace(" ", "T")}Z`);
    return Number.isFinite(ms) ? ms : null;
}

const SIMPLE = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;

export function quoted(text: string): string {
    return JSON.stringify(text);
}

// {a="b", "odd name"="c"} without the metric's name.
export function labelText(metric: Labels): string {
    const pairs = Object.entries(metric)
        .filter(([name]) => name !== "__name__")
        .map(([name, value]) => `${SIMPLE.test(name) ? name : quoted(name)}=${quoted(value)}`);
    return pairs.length > 0 ? `{${pairs.join(", ")}}` : "";
}

export function seriesText(metric: Labels): string {
    return (metric["__name__"] ?? "") + labelText(metric) || "{}";
}

// A selector of one metric, with its name in braces where it is no simple one.
export function selector(name: string, matchers: string[] = []): string {
    const simple = SIMPLE.test(name);
    const inside = simple ? matchers : [quoted(name), ...matchers];
    return (simple ? name : "") + (inside.length > 0 ? `{${inside.join(", ")}}` : "");
}

// A short, stable name of a series in links.
export function seriesHash(metric: Labels): string {
    let h = 0x811c9dc5;
    for (const c of JSON.stringify(metric)) h = Math.imul(h ^ c.codePointAt(0)!, 0x01000193);
    return (h >>> 0).toString(36);
}

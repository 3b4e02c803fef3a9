// What is asked and how it is shown, to and from the address line.  The names are those of Prometheus's links (g0.expr, g0.tab,
// g0.range_input ...), so that a link from an alert opens here, too.
import { duration, linkTime, parseDuration, parseLinkTime } from "./format";

export type Tab = "graph" | "table" | "json" | "explain";
export type Mode = "lines" | "stacked" | "heatmap";
export interface Panel {
    id: number; // of this page only
    expr: string;
    tab: Tab;
    mode: Mode;
    log: boolean;
    range: number; // ms
    end: number | null; // ms; null: now
    step: number | null; // ms; null: by range
    hidden: string[]; // hashes of series
}
export interface State {
    panels: Panel[];
    refresh: number; // ms; 0: off
}

const HOUR = 3_600_000;
const PANELS_MAX = 50;
const HIDDEN_MAX = 100; // in a link
const TABS: Tab[] = ["graph", "table", "json", "explain"];
const MODES: Mode[] = ["lines", "stacked", "heatmap"];
let lastId = 0;

export function newPanel(some: Partial<Panel> = {}): Panel {
    return { id: ++lastId, expr: "", tab: "graph", mode: "lines", log: false, range: HOUR, end: null, step: null, hidden: [], ...some };
}

function panelOf(q: URLSearchParams, i: number): Panel {
    const of = (name: string) => q.get(`g${i}.${name}`) ?? "";
    const tab = of("tab");
    const mode = of("display_mode");
    const end = of("end_input") || of("moment_input");
    return newPanel({
        expr: of("expr"),
        // Prometheus 2 had 0 and 1.
        tab: tab === "1" ? "table" : (TABS.find((t) => t === tab) ?? "graph"),
        mode: of("stacked") === "1" ? "stacked" : (MODES.find((m) => m === mode) ?? "lines"),
        log: of("scale") === "log",
        range: parseDuration(of("range_input")) || HOUR,
        end: end ? parseLinkTime(end) : null,
        step: parseDuration(of("res_step") || of("step_input")) || null,
        hidden: of("hidden").split(",").filter(Boolean),
    });
}

export function stateOf(search: string): State {
    const q = new URLSearchParams(search);
    const panels: Panel[] = [];
    while (panels.length < PANELS_MAX && q.has(`g${panels.length}.expr`)) panels.push(panelOf(q, panels.length));
    return { panels: panels.length > 0 ? panels : [newPanel()], refresh: parseDuration(q.get("refresh") ?? "") ?? 0 };
}

export function searchOf(state: State): string {
    const q = new URLSearchParams();
    state.panels.forEach((p, i) => {
        const put = (name: string, value: string) => q.set(`g${i}.${name}`, value);
        put("expr", p.expr);
        put("tab", p.tab);
        if (p.mode !== "lines") put("display_mode", p.mode);
        if (p.log) put("scale", "log");
        put("range_input", duration(p.range));
        if (p.end !== null) put("end_input", linkTime(p.end));
        if (p.step !== null) {
            put("res_type", "custom");
            put("res_step", duration(p.step));
        }
        if (p.hidden.length > 0 && p.hidden.length <= HIDDEN_MAX) put("hidden", p.hidden.join(","));
    });
    if (state.refresh > 0) q.set("refresh", duration(state.refresh));
    return `?${q}`;
}

// Where Explore is with one query: links of the other views.
export function exploreLink(expr: string, some: Partial<Panel> = {}): string {
    return searchOf({ panels: [newPanel({ expr, ...some })], refresh: 0 });
}

// ---- history ----

const HISTORY_KEY = "tidalite.history";
const HISTORY_MAX = 100;

export function queryHistory(): string[] {
    try {
        const list: unknown = JSON.parse(localStorage.getItem(HISTORY_KEY) ?? "[]");
        return Array.isArray(list) ? list.filter((q): q is string => typeof q === "string").slice(0, HISTORY_MAX) : [];
    } catch {
        return []; // somebody else's value, or no storage
    }
}

export function remember(expr: string): void {
    if (!expr.trim()) return;
    const list = [expr, ...queryHistory().filter((q) => q !== expr)].slice(0, HISTORY_MAX);
    try {
        localStorage.setItem(HISTORY_KEY, JSON.stringify(list));
    } catch {
        // full or forbidden: there is no history then
    }
}

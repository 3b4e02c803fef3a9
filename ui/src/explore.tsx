// Explore: panels of queries, each with its range and its way to be shown.
import { Fragment } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { type Answer, type QueryData, apiUrl, errorText, placeOf, post } from "./api";
import { Graph, HeatMap } from "./chart";
import { type Window, gridOf, hasHistograms, heatOf } from "./columns";
import { Editor, type Note } from "./query_field";
import { Explain } from "./explain";
import { duration, localTime, parseDuration, parseLocalTime } from "./format";
import { Legend } from "./legend";
import { Field, Tabs, useLoad, useTick } from "./parts";
import { Cost, Raw, ResultTable } from "./results";
import { type Panel, type State, type Tab, newPanel, queryHistory, remember, searchOf, stateOf } from "./state";

const LINES_MAX = 1000; // that are drawn
const POINTS_AUTO = 250; // as Prometheus: a step is range / 250, and at least a second
const POINTS_MAX = 11_000;
const REFRESHES = [0, 5000, 15_000, 30_000, 60_000, 300_000];
const RANGES = ["5m", "15m", "1h", "3h", "6h", "12h", "1d", "2d", "7d", "30d"];
const TABS: [Tab, string][] = [
    ["graph", "Graph"],
    ["table", "Table"],
    ["json", "JSON"],
    ["explain", "Explain"],
];
const MODES = [
    ["lines", "Lines"],
    ["stacked", "Stacked"],
    ["heatmap", "Heat map"],
] as const;

function autoStep(range: number): number {
    return Math.max(Math.round(range / POINTS_AUTO / 1000) * 1000, 1000);
}

// The range that is asked for: `now` is when the query was run.
function windowOf(p: Panel, now: number): Window {
    const end = p.end ?? now;
    const step = Math.max(p.step ?? autoStep(p.range), Math.ceil(p.range / POINTS_MAX));
    return { start: end - p.range, end, step };
}

interface Asked {
    panel: Panel;
    window: Window;
    run: number;
}

function ask({ panel, window: w }: Asked, signal: AbortSignal): Promise<Answer<QueryData>> {
    const query = panel.expr;
    if (panel.tab === "table") return post<QueryData>("query", { query, time: w.end / 1000, stats: "all" }, signal);
    return post<QueryData>("query_range", { query, start: w.start / 1000, end: w.end / 1000, step: w.step / 1000, stats: "all" }, signal);
}

function askedUrl({ panel, window: w }: Asked): string {
    return apiUrl("query_range", { query: panel.expr, start: w.start / 1000, end: w.end / 1000, step: w.step / 1000 });
}

// ---- notes: errors, warnings, infos, with the piece of the query that they are about ----

function notesOf(error: unknown, answer: Answer<QueryData> | null): Note[] {
    const notes: Note[] = error ? [{ severity: "error", text: errorText(error).replace('invalid parameter "query": ', "") }] : [];
    for (const text of answer?.warnings ?? []) notes.push({ severity: "warning", text });
    for (const text of answer?.infos ?? []) notes.push({ severity: "info", text });
    return notes;
}

function Notes({ notes, expr }: { notes: Note[]; expr: string }) {
    return (
        <>
            {notes.map((n) => {
                const place = placeOf(n.text);
                const line = place ? expr.split("\n")[place.line - 1] : undefined;
                return (
                    <div key={n.text} class={`note ${n.severity}`} role={n.severity === "error" ? "alert" : "status"}>
                        {n.text}
                        {place && line !== undefined && (
                            <pre aria-hidden="true">
                                {line}
                                {"\n"}
                                <span class="caret">{" ".repeat(place.column - 1)}^</span>
                            </pre>
                        )}
                    </div>
                );
            })}
        </>
    );
}

// ---- what an answer looks like ----

interface ViewProps {
    asked: Asked;
    answer: Answer<QueryData>;
    panel: Panel;
    change: (some: Partial<Panel>, run: boolean) => void;
}

function GraphView({ asked, answer, panel, change }: ViewProps) {
    const [at, setAt] = useState<number | null>(null);
    const [focused, setFocused] = useState<string | null>(null);
    const frame = useRef(0);
    const w = asked.window;
    const result = answer.data.resultType === "matrix" ? answer.data.result : [];
    const grid = useMemo(() => {
        const all = gridOf(result, w);
        return { all, drawn: { ...all, lines: all.lines.slice(0, LINES_MAX) } };
    }, [answer]);
    const heat = useMemo(() => (panel.mode === "heatmap" || grid.all.lines.length === 0 ? heatOf(result, w) : null), [answer, panel.mode]);
    const hidden = useMemo(() => new Set(panel.hidden), [panel.hidden]);
    const look = useMemo(() => ({ stacked: panel.mode === "stacked", log: panel.log, hidden }), [panel.mode, panel.log, hidden]);
    useEffect(() => () => cancelAnimationFrame(frame.current), []);
    if (result.length === 0) return <p class="muted empty">Empty result: nothing matches in this range.</p>;
    const onRange = (start: number, end: number) => end > start && change({ range: end - start, end }, true);
    const label = `${panel.mode === "heatmap" ? "Heat map" : "Graph"} of ${panel.expr} from ${localTime(w.start)} to ${localTime(w.end)}`;
    if (heat && hasHistograms(result)) return <HeatMap heat={heat} start={w.start} end={w.end} label={label} onRange={onRange} />;
    // The legend follows the pointer once a frame at most.
    const onCursor = (index: number | null) => {
        cancelAnimationFrame(frame.current);
        frame.current = requestAnimationFrame(() => setAt(index));
    };
    return (
        <>
            {panel.mode === "heatmap" && <p class="note info">A heat map needs native histograms, or series with the label le.</p>}
            {grid.all.lines.length > LINES_MAX && (
                <p class="note info">
                    {LINES_MAX} of {grid.all.lines.length} series are drawn.
                </p>
            )}
            <Graph grid={grid.drawn} look={look} focused={focused} start={w.start} end={w.end} label={label} onCursor={onCursor} onRange={onRange} />
            <Legend grid={grid.drawn} at={at} hidden={hidden} onFocus={setFocused} onHidden={(h) => change({ hidden: h }, false)} />
        </>
    );
}

function AnswerView(p: ViewProps) {
    // The answer may be of the tab before: it stays until the new one is there.
    const isMatrix = p.answer.data.resultType === "matrix";
    return (
        <>
            {p.panel.tab === "graph" && isMatrix && <GraphView {...p} />}
            {p.panel.tab === "table" && p.asked.panel.tab === "table" && <ResultTable data={p.answer.data} />}
            {p.panel.tab === "json" && <Raw answer={p.answer} href={askedUrl(p.asked)} />}
            <Cost answer={p.answer} />
        </>
    );
}

// ---- controls ----

function RangeControls({ panel, change }: { panel: Panel; change: ViewProps["change"] }) {
    const at = (end: number | null) => change({ end }, true);
    const shift = (way: number) => at((panel.end ?? Date.now()) + (way * panel.range) / 2);
    const setRange = (text: string) => {
        const range = parseDuration(text);
        if (!range) return false;
        change({ range }, true);
        return true;
    };
    const setStep = (text: string) => {
        const step = text.trim() ? parseDuration(text) : null;
        if (step === 0 || (text.trim() && step === null)) return false;
        change({ step }, true);
        return true;
    };
    const setEnd = (text: string) => {
        const end = text ? parseLocalTime(text) : null;
        if (Number.isNaN(end)) return false;
        at(end);
        return true;
    };
    return (
        <div class="controls" role="group" aria-label="Time range">
            <span class="joined">
                <button type="button" aria-label="Shorter range" onClick={() => change({ range: Math.max(Math.round(panel.range / 2), 1000) }, true)}>
                    −
                </button>
                <Field label="Range" width="short" value={duration(panel.range)} parse={setRange} />
                <button type="button" aria-label="Longer range" onClick={() => change({ range: panel.range * 2 }, true)}>
                    +
                </button>
            </span>
            <select aria-label="Usual ranges" value="" onChange={(e) => setRange(e.currentTarget.value) && (e.currentTarget.value = "")}>
                <option value="">Ranges</option>
                {RANGES.map((r) => (
                    <option key={r} value={r}>
                        Last {r}
                    </option>
                ))}
            </select>
            <span class="joined">
                <button type="button" aria-label="Earlier" onClick={() => shift(-1)}>
                    ‹
                </button>
                <Field label="End of the range" type="datetime-local" value={panel.end === null ? "" : localTime(panel.end, "T")} parse={setEnd} />
                <button type="button" aria-label="Later" onClick={() => shift(1)}>
                    ›
                </button>
            </span>
            <button type="button" disabled={panel.end === null} onClick={() => at(null)}>
                Now
            </button>
            <Field label="Step" width="short" value={panel.step === null ? "" : duration(panel.step)} placeholder={`step ${duration(autoStep(panel.range))}`} parse={setStep} />
        </div>
    );
}

function ModeControls({ panel, change }: { panel: Panel; change: ViewProps["change"] }) {
    return (
        <div class="controls" role="group" aria-label="Graph">
            {MODES.map(([mode, text]) => (
                <button key={mode} type="button" aria-pressed={panel.mode === mode} onClick={() => change({ mode }, false)}>
                    {text}
                </button>
            ))}
            <button type="button" aria-pressed={panel.log} onClick={() => change({ log: !panel.log }, false)}>
                Log scale
            </button>
        </div>
    );
}

function History({ onPick }: { onPick: (expr: string) => void }) {
    const [open, setOpen] = useState(false);
    const list = open ? queryHistory() : [];
    return (
        <details class="history" open={open} onToggle={(e) => setOpen(e.currentTarget.open)} onKeyDown={(e) => e.key === "Escape" && setOpen(false)}>
            <summary>History</summary>
            <ul>
                {list.map((expr) => (
                    <li key={expr}>
                        <button
                            type="button"
                            class="plain"
                            onClick={() => {
                                setOpen(false);
                                onPick(expr);
                            }}
                        >
                            {expr}
                        </button>
                    </li>
                ))}
                {open && list.length === 0 && <li class="muted">No query yet.</li>}
            </ul>
        </details>
    );
}

// ---- a panel ----

interface PanelProps {
    panel: Panel;
    number: number;
    tick: number; // of the automatic refresh
    onChange: (some: Partial<Panel>, isStep: boolean) => void;
    onRemove?: () => void;
    onCopy: () => void;
}

function PanelView({ panel, number, tick, onChange, onRemove, onCopy }: PanelProps) {
    const draft = useRef(panel.expr); // as it is being written: no state, so that typing draws nothing anew
    const [version, setVersion] = useState(0);
    const [run, setRun] = useState({ n: 0, now: Date.now() });
    const write = (text: string) => {
        draft.current = text;
        setVersion((v) => v + 1);
    };
    useEffect(() => write(panel.expr), [panel.expr]);
    const again = () => setRun((r) => ({ n: r.n + 1, now: Date.now() }));
    useEffect(() => {
        if (tick > 0 && panel.end === null) again();
    }, [tick]);
    const asked: Asked = { panel, window: windowOf(panel, run.now), run: run.n };
    const { start, end, step } = asked.window;
    const isInstant = panel.tab === "table";
    const key = panel.expr.trim() === "" || panel.tab === "explain" ? null : JSON.stringify([panel.expr, isInstant, start, end, step, run.n]);
    const shown = useRef(asked);
    const { answer, error, loading, stop } = useLoad(key, async (signal) => {
        const got = await ask(asked, signal);
        shown.current = asked;
        return got;
    });
    const notes = useMemo(() => notesOf(error, answer), [error, answer]);
    const execute = (text = draft.current) => {
        remember(text);
        if (text !== panel.expr) onChange({ expr: text, hidden: [] }, true);
        again();
    };
    const change = (some: Partial<Panel>, asks: boolean) => {
        if (asks) setRun((r) => ({ ...r, now: Date.now() }));
        onChange(some, asks);
    };
    const format = () => void post<string>("format_query", { query: draft.current }).then((a) => write(a.data), () => undefined);
    return (
        <section class="panel card" aria-label={`Panel ${number}`}>
            <div class="query">
                <Editor draft={draft} version={version} label={`Query ${number}`} notes={notes} onRun={() => execute()} />
                {loading && key !== null ? (
                    <button type="button" class="danger" onClick={stop}>
                        Stop
                    </button>
                ) : (
                    <button type="button" class="primary" onClick={() => execute()}>
                        Run
                    </button>
                )}
            </div>
            <div class="bar-line">
                <Tabs label={`View of panel ${number}`} value={panel.tab} all={TABS} onChange={(tab) => onChange({ tab }, true)} />
                <RangeControls panel={panel} change={change} />
                {panel.tab === "graph" && <ModeControls panel={panel} change={change} />}
                <div class="controls">
                    <History
                        onPick={(text) => {
                            write(text);
                            execute(text);
                        }}
                    />
                    <button type="button" onClick={format}>
                        Format
                    </button>
                    <button type="button" onClick={onCopy}>
                        Duplicate
                    </button>
                    {onRemove && (
                        <button type="button" onClick={onRemove} aria-label={`Remove panel ${number}`}>
                            Remove
                        </button>
                    )}
                </div>
            </div>
            <div class="answer" role="tabpanel" aria-label={panel.tab} aria-busy={loading}>
                <Notes notes={notes} expr={panel.expr} />
                {panel.tab === "explain" && panel.expr.trim() !== "" && <Explain query={panel.expr} start={start} end={end} step={step} run={run.n} />}
                {answer && key !== null && <AnswerView asked={shown.current} answer={answer} panel={panel} change={change} />}
                {panel.expr.trim() === "" && <FirstQueries onPick={(text) => execute(text)} />}
            </div>
        </section>
    );
}

// Something to see at once: the server's own metrics.
const FIRST = ["up", "rate(tidalite_ingest_samples_total[5m])", "tidalite_memory_bytes", "sum by (le) (rate(tidalite_layer_duration_seconds_bucket[5m]))"];

function FirstQueries({ onPick }: { onPick: (expr: string) => void }) {
    return (
        <div class="empty">
            <p class="muted">Type a query, or begin with one of these:</p>
            {FIRST.map((expr) => (
                <button key={expr} type="button" class="code" onClick={() => onPick(expr)}>
                    {expr}
                </button>
            ))}
        </div>
    );
}

// ---- the view ----

const KEYS: [string, string][] = [
    ["Enter", "run the query, or take what is offered"],
    ["Shift Enter", "a new line in the query"],
    ["Ctrl Space", "offer what fits here"],
    ["Ctrl ↑ ↓", "earlier and later queries"],
    ["drag", "zoom in a graph"],
    ["Shift drag", "move its window"],
    ["double click", "zoom out"],
    ["← →", "move the window of the graph that has the focus"],
    ["+ −", "zoom it"],
    ["Ctrl click", "in a legend: show this line alone"],
];

function Keys() {
    return (
        <details class="history">
            <summary>Keys</summary>
            <dl class="keys">
                {KEYS.map(([key, text]) => (
                    <Fragment key={key}>
                        <dt>
                            <kbd>{key}</kbd>
                        </dt>
                        <dd>{text}</dd>
                    </Fragment>
                ))}
            </dl>
        </details>
    );
}

function Toolbar({ state, onRefresh, onAdd }: { state: State; onRefresh: (ms: number) => void; onAdd: () => void }) {
    const [copied, setCopied] = useState("");
    const share = async () => {
        // What is "now" here is a time for whoever gets the link.
        const panels = state.panels.map((p) => ({ ...p, end: p.end ?? Math.floor(Date.now() / 1000) * 1000 }));
        const link = new URL(location.pathname + searchOf({ ...state, panels }), location.href).href;
        try {
            await navigator.clipboard.writeText(link);
            setCopied("Link copied");
        } catch {
            prompt("Link", link); // no clipboard outside of a secure context
        }
    };
    return (
        <div class="toolbar">
            <button type="button" onClick={onAdd}>
                Add panel
            </button>
            <label>
                Refresh{" "}
                <select value={state.refresh} onChange={(e) => onRefresh(Number(e.currentTarget.value))}>
                    {REFRESHES.map((ms) => (
                        <option key={ms} value={ms}>
                            {ms === 0 ? "off" : duration(ms)}
                        </option>
                    ))}
                </select>
            </label>
            <button type="button" onClick={() => void share()}>
                Share
            </button>
            <Keys />
            <span role="status" class="muted">
                {copied}
            </span>
        </div>
    );
}

export function Explore() {
    const [state, setState] = useState<State>(() => stateOf(location.search));
    const tick = useTick(state.refresh);
    useEffect(() => {
        const back = () => location.hash === "" && setState(stateOf(location.search));
        addEventListener("popstate", back);
        return () => removeEventListener("popstate", back);
    }, []);
    // What was asked is a step for the back button, how it is shown is not.
    const go = (next: State, isStep: boolean) => {
        setState(next);
        const url = location.pathname + searchOf(next);
        if (isStep && url !== location.pathname + location.search) history.pushState(null, "", url);
        else history.replaceState(null, "", url);
    };
    const { panels } = state;
    const edit = (at: number, some: Partial<Panel>, isStep: boolean) =>
        go({ ...state, panels: panels.map((p, i) => (i === at ? { ...p, ...some } : p)) }, isStep);
    const insert = (at: number, panel: Panel) => go({ ...state, panels: [...panels.slice(0, at), panel, ...panels.slice(at)] }, true);
    return (
        <>
            <h1 class="away">Explore</h1>
            <Toolbar state={state} onRefresh={(refresh) => go({ ...state, refresh }, false)} onAdd={() => insert(panels.length, newPanel({ range: panels.at(-1)!.range, end: panels.at(-1)!.end }))} />
            {panels.map((p, i) => (
                <PanelView
                    key={p.id}
                    panel={p}
                    number={i + 1}
                    tick={tick}
                    onChange={(some, isStep) => edit(i, some, isStep)}
                    onCopy={() => insert(i + 1, newPanel({ ...p, id: newPanel().id }))}
                    onRemove={panels.length > 1 ? () => go({ ...state, panels: panels.filter((_, at) => at !== i) }, true) : undefined}
                />
            ))}
        </>
    );
}

// A graph or a heat map on uPlot: drag to zoom, shift-drag to move, double-click to zoom out, arrows and + - on the keyboard.
import { useEffect, useMemo, useRef } from "preact/hooks";
import uPlot from "uplot";
import { type Grid, type Heat, positive, stack } from "./columns";
import { isUtc, localTime, localTimeMs, shortNumber } from "./format";

export interface Look {
    stacked: boolean;
    log: boolean;
    hidden: ReadonlySet<string>; // hashes of series
}
interface Shared {
    start: number; // ms, of the axis
    end: number;
    label: string;
    height?: number;
    onRange: (start: number, end: number) => void;
}
interface GraphProps extends Shared {
    grid: Grid;
    look: Look;
    focused: string | null; // hash of the series under the pointer in the legend
    onCursor: (at: number | null) => void; // index into grid.times
}
interface HeatProps extends Shared {
    heat: Heat;
}

const HEIGHT = 320;
const NEAR_PIXELS = 30;
const FADED_POINTS_MAX = 200_000;
const HOUR = 3600;

export function color(index: number): string {
    // The golden angle: neighbours differ as much as they can, whatever their number. Lightness is the theme's.
    return `hsl(${Math.round((index * 137.508 + 200) % 360)} 65% ${css("--line-lightness")})`;
}

function css(name: string): string {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function element(parent: HTMLElement, name: string): HTMLDivElement {
    const e = document.createElement("div");
    e.className = name;
    parent.appendChild(e);
    return e;
}

// Keep the box beside the pointer and inside of the plot.
function place(box: HTMLElement, u: uPlot, left: number, top: number): void {
    box.hidden = false;
    const width = box.offsetWidth;
    box.style.left = `${left + width + 24 > u.over.clientWidth ? Math.max(left - width - 12, 0) : left + 12}px`;
    box.style.top = `${Math.max(Math.min(top - 10, u.over.clientHeight - box.offsetHeight), 0)}px`;
}

// Hours and minutes; the day where it changes, seconds where they differ.
function timeTexts(_u: uPlot, ticks: number[], _axis: number, _space: number, step: number): string[] {
    let day = "";
    return ticks.map((t) => {
        const text = localTime(t * 1000);
        const isNewDay = text.slice(0, 10) !== day;
        day = text.slice(0, 10);
        if (step >= 86_400) return day;
        const clock = step < 1 ? localTimeMs(Math.round(t * 1000)).slice(11) : step < 60 ? text.slice(11) : text.slice(11, 16);
        return isNewDay ? `${clock}\n${day}` : clock;
    });
}

function axes(values?: uPlot.Axis.DynamicValues): uPlot.Axis[] {
    const common = { stroke: css("--muted"), grid: { stroke: css("--grid"), width: 1 }, ticks: { stroke: css("--grid"), width: 1 } };
    const font = `12px ${css("--sans")}`;
    return [
        { ...common, font, values: timeTexts },
        { ...common, font, size: 62, values: values ?? ((_u, ticks) => ticks.map((v) => (v === null ? "" : shortNumber(v)))) },
    ];
}

// Shift-drag moves the window along; the server is asked when the button is let go.
function startMove(u: uPlot, event: MouseEvent, done: (start: number, end: number) => void): void {
    const { min, max } = u.scales["x"]!;
    if (min == null || max == null) return;
    const perPixel = (max - min) / u.over.clientWidth;
    let shift = 0;
    const move = (e: MouseEvent) => {
        shift = (event.clientX - e.clientX) * perPixel;
        u.setScale("x", { min: min + shift, max: max + shift });
    };
    const up = () => {
        removeEventListener("mousemove", move);
        removeEventListener("mouseup", up);
        if (shift !== 0) done((min + shift) * 1000, (max + shift) * 1000);
    };
    addEventListener("mousemove", move);
    addEventListener("mouseup", up);
}

// What graph and heat map have in common.
function options(p: Shared, latest: { current: Shared }, width: number): uPlot.Options {
    const range = (a: number, b: number) => latest.current.onRange(Math.round(a), Math.round(b));
    return {
        width,
        height: p.height ?? HEIGHT,
        legend: { show: false },
        tzDate: (s) => (isUtc() ? uPlot.tzDate(new Date(s * 1000), "Etc/UTC") : new Date(s * 1000)), // where days and hours begin
        padding: [10, 12, 0, 0],
        scales: { x: { time: true, auto: false, range: () => [latest.current.start / 1000, latest.current.end / 1000] } },
        axes: axes(),
        series: [{}],
        cursor: {
            drag: { x: true, y: false, setScale: false },
            bind: {
                mousedown: (u, _target, handler) => (e: MouseEvent) => {
                    if (e.shiftKey) startMove(u, e, range);
                    else handler(e);
                    return null;
                },
                dblclick: () => () => {
                    const { start, end } = latest.current;
                    range(start - (end - start) / 2, end + (end - start) / 2);
                    return null;
                },
            },
        },
        hooks: {
            setSelect: [
                (u) => {
                    if (u.select.width < 4) return;
                    const from = u.posToVal(u.select.left, "x");
                    const to = u.posToVal(u.select.left + u.select.width, "x");
                    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
                    range(from * 1000, to * 1000);
                },
            ],
        },
    };
}

function onKey(e: KeyboardEvent, p: Shared): void {
    const span = p.end - p.start;
    const moves: Record<string, [number, number]> = {
        ArrowLeft: [-span / 4, -span / 4],
        ArrowRight: [span / 4, span / 4],
        "+": [span / 4, -span / 4],
        "=": [span / 4, -span / 4],
        "-": [-span / 2, span / 2],
    };
    const move = moves[e.key];
    if (!move || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    p.onRange(Math.round(p.start + move[0]), Math.round(p.end + move[1]));
}

// A plot that is made anew when `make` or `redo` changes, and follows its holder's width.
function usePlot(p: Shared, make: (width: number, holder: HTMLElement) => uPlot, redo: unknown[]) {
    const holder = useRef<HTMLDivElement>(null);
    const plot = useRef<uPlot | null>(null);
    useEffect(() => {
        const h = holder.current!;
        const draw = () => {
            plot.current?.destroy();
            plot.current = make(h.clientWidth, h);
        };
        draw();
        const sizes = new ResizeObserver(() => {
            const width = h.clientWidth;
            if (plot.current && width > 0 && width !== plot.current.width) plot.current.setSize({ width, height: p.height ?? HEIGHT });
        });
        sizes.observe(h);
        addEventListener("themechange", draw);
        return () => {
            removeEventListener("themechange", draw);
            sizes.disconnect();
            plot.current?.destroy();
            plot.current = null;
        };
    }, redo);
    return { holder, plot };
}

function graphData(grid: Grid, look: Look): { data: uPlot.AlignedData; columns: (number | null)[][] } {
    const hidden = grid.lines.map((l) => look.hidden.has(l.hash));
    let columns = grid.lines.map((l) => l.column);
    if (look.stacked) columns = stack(columns, hidden);
    if (look.log) columns = columns.map(positive);
    return { data: [grid.times, ...columns], columns };
}

export function Graph(p: GraphProps) {
    const latest = useRef(p);
    latest.current = p;
    const { data } = useMemo(() => graphData(p.grid, p.look), [p.grid, p.look]);
    const make = (width: number, host: HTMLElement): uPlot => {
        const o = options(p, latest, width);
        const { lines, times } = p.grid;
        const step = (times[1] ?? 0) - (times[0] ?? 0);
        let box: HTMLElement;
        o.scales!["y"] = p.look.log ? { distr: 3 } : { range: (_u, min, max) => (min == null ? [0, 1] : uPlot.rangeNum(min, max, { min: { pad: 0.08, soft: 0, mode: 3 }, max: { pad: 0.08, soft: 0, mode: 3 } })) };
        o.series = [
            {},
            ...lines.map((l, i): uPlot.Series => {
                const c = color(i);
                return { label: l.name, show: !p.look.hidden.has(l.hash), stroke: c, width: lines.length > 30 ? 1 : 1.6, fill: p.look.stacked ? c.replace(")", " / 0.45)") : undefined };
            }),
        ];
        if (p.look.stacked) {
            const shown = lines.flatMap((l, i) => (p.look.hidden.has(l.hash) ? [] : [i + 1]));
            o.bands = shown.slice(1).map((s, i) => ({ series: [s, shown[i]!] as [number, number] }));
        }
        // Fading the others draws all of them anew: not where that takes longer than a pointer moves.
        o.focus = { alpha: lines.length * times.length <= FADED_POINTS_MAX ? 0.25 : 1 };
        o.cursor!.focus = { prox: NEAR_PIXELS };
        o.hooks!.init = [(u) => void ((box = element(u.over, "hover")).hidden = true)];
        const hover = (u: uPlot) => {
            const at = u.cursor.idx ?? null;
            latest.current.onCursor(u.cursor.left! < 0 ? null : at);
            const near = u.series.findIndex((s, i) => i > 0 && (s as { _focus?: boolean })._focus && s.show);
            const l = near > 0 ? lines[near - 1] : undefined;
            const value = l && at !== null ? l.column[at] : null;
            if (!l || at === null || value == null || u.cursor.left! < 0) {
                box.hidden = true;
                return;
            }
            const head = document.createElement("b");
            head.textContent = `${value}`;
            const name = document.createElement("span");
            name.textContent = l.name;
            const time = document.createElement("small");
            time.textContent = step > 0 && step < 1 ? localTimeMs(times[at]! * 1000) : localTime(times[at]! * 1000);
            box.replaceChildren(head, name, time);
            box.style.borderColor = color(near - 1);
            place(box, u, u.cursor.left!, u.cursor.top!);
        };
        o.hooks!.setCursor = [hover];
        o.hooks!.setSeries = [hover];
        return new uPlot(o, data, host);
    };
    const { holder, plot } = usePlot(p, make, [p.grid, p.look.stacked, p.look.log, p.look.hidden, p.start, p.end]);
    useEffect(() => {
        const at = p.focused === null ? -1 : p.grid.lines.findIndex((l) => l.hash === p.focused);
        plot.current?.setSeries(at < 0 ? null : at + 1, { focus: true });
    }, [p.focused]);
    return <div class="chart" ref={holder} tabIndex={0} role="img" aria-label={p.label} onKeyDown={(e) => onKey(e, p)} />;
}

// ---- heat map ----

function edgeText(v: number): string {
    return Number.isFinite(v) ? String(Number(v.toPrecision(5))) : v > 0 ? "+Inf" : "-Inf";
}

// From what is hardly there to what is most, in each theme away from its background.
const SHADES: Record<string, [number, number, number][]> = {
    light: [[226, 240, 244], [127, 190, 208], [31, 120, 160], [40, 50, 120], [60, 10, 70]],
    dark: [[24, 48, 58], [20, 96, 118], [40, 160, 160], [170, 215, 130], [255, 245, 170]],
};

function shade(share: number): string {
    const stops = SHADES[css("--heat")] ?? SHADES["light"]!;
    const at = Math.sqrt(share) * (stops.length - 1); // by the square root: few are seen, too
    const low = Math.min(Math.floor(at), stops.length - 2);
    const mixed = stops[low]!.map((c, i) => Math.round(c + (stops[low + 1]![i]! - c) * (at - low)));
    return `rgb(${mixed.join(" ")})`;
}

function drawHeat(u: uPlot, heat: Heat): void {
    const { times, edges, cells, max } = heat;
    const step = times.length > 1 ? times[1]! - times[0]! : HOUR;
    const shades = Array.from({ length: 65 }, (_, i) => shade(i / 64));
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    u.ctx.clip();
    for (let at = 0; at < times.length; at++) {
        const left = Math.floor(u.valToPos(times[at]! - step, "x", true));
        const width = Math.max(Math.ceil(u.valToPos(times[at]!, "x", true)) - left, 1);
        for (let row = 0; row + 1 < edges.length; row++) {
            const n = cells[row * times.length + at]!;
            if (n === 0) continue;
            const top = Math.floor(u.valToPos(row + 1, "y", true));
            u.ctx.fillStyle = shades[Math.ceil((n / max) * 64)]!;
            u.ctx.fillRect(left, top, width, Math.max(Math.ceil(u.valToPos(row, "y", true)) - top, 1));
        }
    }
    u.ctx.restore();
}

export function HeatMap(p: HeatProps) {
    const latest = useRef<Shared>(p);
    latest.current = p;
    const make = (width: number, host: HTMLElement): uPlot => {
        const { times, edges, cells } = p.heat;
        const rows = Math.max(edges.length - 1, 1);
        const o = options(p, latest, width);
        let box: HTMLElement;
        o.scales!["y"] = { range: () => [0, rows] };
        o.axes = axes((_u, ticks) => ticks.map((v) => (Number.isInteger(v) && edges[v] !== undefined ? edgeText(edges[v]) : "")));
        o.series = [{}, { show: true, stroke: "transparent", points: { show: false } }];
        o.hooks!.init = [(u) => void ((box = element(u.over, "hover")).hidden = true)];
        o.hooks!.drawSeries = [(u) => drawHeat(u, p.heat)];
        o.hooks!.setCursor = [
            (u) => {
                const left = u.cursor.left ?? -1;
                const row = Math.floor(u.posToVal(u.cursor.top ?? -1, "y"));
                const at = times.findIndex((t) => t >= u.posToVal(left, "x"));
                if (left < 0 || at < 0 || row < 0 || row >= rows || edges.length === 0) {
                    box.hidden = true;
                    return;
                }
                box.textContent = `${edgeText(edges[row]!)} to ${edgeText(edges[row + 1]!)}: ${shortNumber(cells[row * times.length + at]!)} at ${localTime(times[at]! * 1000)}`;
                place(box, u, left, u.cursor.top!);
            },
        ];
        return new uPlot(o, [times, times.map(() => null)], host);
    };
    const { holder } = usePlot(p, make, [p.heat, p.start, p.end]);
    return <div class="chart heat" ref={holder} tabIndex={0} role="img" aria-label={p.label} onKeyDown={(e) => onKey(e, p)} />;
}

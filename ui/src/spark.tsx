// A small graph of the last hour, asked for when it comes into sight, a few at a time.
import { useEffect, useRef, useState } from "preact/hooks";
import { peek } from "./api";

const AT_ONCE = 4;
const HOUR_S = 3600;
const STEP_S = 60;
const WIDTH = 120;
const HEIGHT = 24;

const waiting: (() => void)[] = [];
let running = 0;

// In turn, so that a long list does not fill the server's queue.
async function inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (running >= AT_ONCE) await new Promise<void>((go) => waiting.push(go));
    running++;
    try {
        return await work();
    } finally {
        running--;
        waiting.shift()?.();
    }
}

async function points(expr: string, signal: AbortSignal): Promise<[number, number][]> {
    const end = Math.floor(Date.now() / 1000 / STEP_S) * STEP_S;
    const answer = await inTurn(() => peek("query_range", { query: expr, start: end - HOUR_S, end, step: STEP_S, limit: 1 }, signal));
    const first = answer.data.resultType === "matrix" ? answer.data.result[0] : undefined;
    return (first?.values ?? []).map(([t, v]): [number, number] => [(t - end + HOUR_S) / HOUR_S, Number(v)]).filter(([, v]) => Number.isFinite(v));
}

function pathOf(list: [number, number][]): string {
    const values = list.map(([, v]) => v);
    const low = Math.min(...values);
    const span = Math.max(...values) - low || 1;
    const at = ([t, v]: [number, number]) => `${(t * WIDTH).toFixed(1)},${((1 - (v - low) / span) * (HEIGHT - 4) + 2).toFixed(1)}`;
    return `M${list.map(at).join("L")}`;
}

export function Spark({ expr, label }: { expr: string; label: string }) {
    const host = useRef<SVGSVGElement>(null);
    const [list, setList] = useState<[number, number][] | null>(null);
    useEffect(() => {
        const abort = new AbortController();
        const sight = new IntersectionObserver((seen) => {
            if (!seen.some((s) => s.isIntersecting)) return;
            sight.disconnect();
            points(expr, abort.signal).then(setList, () => undefined); // a graph that cannot be drawn stays empty
        });
        sight.observe(host.current!);
        return () => {
            sight.disconnect();
            abort.abort();
        };
    }, [expr]);
    return (
        <svg class="spark" ref={host} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
            {list && list.length > 0 && <path d={pathOf(list)} />}
        </svg>
    );
}

// Small things that all views use.
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { type Answer, errorText } from "./api";

export interface Loaded<T> {
    answer: Answer<T> | null; // the last good one stays while a new one is asked for
    error: unknown;
    loading: boolean;
    stop: () => void; // what is being asked; the server stops, too, when it sees that nobody waits
}

// Ask, again whenever `key` changes; what is asked for by an older key is cancelled. null: ask nothing.
export function useLoad<T>(key: string | null, ask: (signal: AbortSignal) => Promise<Answer<T>>): Loaded<T> {
    const [state, setState] = useState<Omit<Loaded<T>, "stop">>({ answer: null, error: null, loading: key !== null });
    const running = useRef<AbortController | null>(null);
    useEffect(() => {
        if (key === null) return undefined;
        const abort = new AbortController();
        running.current = abort;
        setState((s) => ({ ...s, loading: true }));
        ask(abort.signal).then(
            (answer) => !abort.signal.aborted && setState({ answer, error: null, loading: false }),
            (error: unknown) => !abort.signal.aborted && setState({ answer: null, error, loading: false }),
        );
        return () => abort.abort();
    }, [key]);
    const stop = () => {
        running.current?.abort();
        setState((s) => ({ ...s, loading: false }));
    };
    return { ...state, stop };
}

// A number that grows every `ms` while the page is seen; 0: never.
export function useTick(ms: number): number {
    const [tick, setTick] = useState(0);
    useEffect(() => {
        if (ms <= 0) return undefined;
        const timer = setInterval(() => document.visibilityState === "visible" && setTick((t) => t + 1), ms);
        return () => clearInterval(timer);
    }, [ms]);
    return tick;
}

export function Problem({ error, children }: { error?: unknown; children?: ComponentChildren }) {
    if (!error && !children) return null;
    return (
        <p class="note error" role="alert">
            {children ?? errorText(error)}
        </p>
    );
}

export function Tabs<T extends string>(p: { label: string; value: T; all: readonly (readonly [T, string])[]; onChange: (v: T) => void }) {
    const bar = useRef<HTMLDivElement>(null);
    const onKeyDown = (e: KeyboardEvent) => {
        const move = e.key === "ArrowRight" ? 1 : e.key === "ArrowLeft" ? -1 : 0;
        if (move === 0) return;
        e.preventDefault();
        const at = (p.all.findIndex(([v]) => v === p.value) + move + p.all.length) % p.all.length;
        p.onChange(p.all[at]![0]);
        (bar.current?.children[at] as HTMLElement | undefined)?.focus();
    };
    return (
        <div class="tabs" role="tablist" aria-label={p.label} ref={bar} onKeyDown={onKeyDown}>
            {p.all.map(([value, text]) => (
                <button key={value} type="button" role="tab" aria-selected={value === p.value} tabIndex={value === p.value ? 0 : -1} onClick={() => p.onChange(value)}>
                    {text}
                </button>
            ))}
        </div>
    );
}

// A field that tells its value when Enter is pressed or it is left; what `parse` does not take is marked and not told.
export function Field(p: { label: string; value: string; placeholder?: string; width?: string; type?: "datetime-local"; parse: (text: string) => boolean }) {
    const [text, setText] = useState(p.value);
    const [bad, setBad] = useState(false);
    useEffect(() => {
        setText(p.value);
        setBad(false);
    }, [p.value]);
    const take = () => text !== p.value && setBad(!p.parse(text));
    const common = {
        class: p.width,
        "aria-label": p.label,
        title: p.label,
        "aria-invalid": bad,
        value: text,
        placeholder: p.placeholder,
        onInput: (e: { currentTarget: HTMLInputElement }) => setText(e.currentTarget.value),
        onBlur: take,
        onKeyDown: (e: KeyboardEvent) => e.key === "Enter" && take(),
    };
    return p.type ? <input {...common} type="datetime-local" step={1} /> : <input {...common} />;
}

// A table with a bar of its share behind each number.
export function Bars(p: { caption: string; rows: { name: string; value: number; text: string; href?: string }[]; unit: string }) {
    const most = Math.max(...p.rows.map((r) => r.value), 1);
    return (
        <section class="card">
            <h2>{p.caption}</h2>
            {p.rows.length === 0 ? (
                <p class="muted">Nothing yet.</p>
            ) : (
                <table class="bars">
                    <thead class="away">
                        <tr>
                            <th scope="col">Name</th>
                            <td aria-hidden="true" />
                            <th scope="col">{p.unit}</th>
                        </tr>
                    </thead>
                    <tbody>
                        {p.rows.map((r) => (
                            <tr key={r.name}>
                                <td class="name">{r.href ? <a href={r.href}>{r.name}</a> : r.name}</td>
                                <td class="number" aria-hidden="true">
                                    <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none">
                                        <rect width={(r.value / most) * 100} height="10" />
                                    </svg>
                                </td>
                                <td class="number">{r.text}</td>
                            </tr>
                        ))}
                    </tbody>
                </table>
            )}
        </section>
    );
}

export function Facts({ rows }: { rows: [string, ComponentChildren][] }) {
    return (
        <dl class="facts">
            {rows.map(([name, value]) => (
                <div key={name}>
                    <dt>{name}</dt>
                    <dd>{value}</dd>
                </div>
            ))}
        </dl>
    );
}

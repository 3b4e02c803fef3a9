// Metrics: what is there, with type, help, unit, labels, a small graph and a first query.
import { useMemo, useState } from "preact/hooks";
import { type Answer, get, instantNumbers } from "./api";
import { type Described, type Family, familiesOf, suggestions } from "./families";
import { count, quoted, selector } from "./format";
import { Facts, Problem, useLoad } from "./parts";
import { Spark } from "./spark";
import { exploreLink } from "./state";

const ROWS_FIRST = 60;
const VALUES_SHOWN = 12;
const AGES = [
    ["3600", "in the last hour"],
    ["86400", "in the last day"],
    ["", "ever"],
] as const;

interface Metadata {
    type: string;
    help: string;
    unit: string;
}
interface OwnFamily {
    name: string;
    help: string;
    type: string;
}

// What senders told, and what the server knows of its own metrics.
async function described(signal: AbortSignal): Promise<Map<string, Described>> {
    const [told, own] = await Promise.all([
        get<Record<string, Metadata[]>>("metadata", { limit_per_metric: 1 }, signal).then((a) => a.data),
        get<OwnFamily[]>("status/self_metrics", {}, signal).then((a) => a.data, () => []),
    ]);
    const all = new Map<string, Described>(own.map((f) => [f.name, { type: f.type.toLowerCase(), help: f.help, unit: "" }]));
    for (const [name, list] of Object.entries(told)) if (list[0]) all.set(name, list[0]);
    return all;
}

function since(age: string): Record<string, string | undefined> {
    if (!age) return {};
    const end = Math.floor(Date.now() / 1000);
    return { start: String(end - Number(age)), end: String(end) };
}

async function families(age: string, signal: AbortSignal): Promise<Answer<Family[]>> {
    const [names, all] = await Promise.all([get<string[]>("label/__name__/values", since(age), signal), described(signal)]);
    return { ...names, data: familiesOf(names.data, all) };
}

// ---- one metric ----

interface Label {
    name: string;
    values: string[];
}

function matchOf(f: Family): string[] {
    return f.names.map((n) => selector(n));
}

async function labels(f: Family, age: string, signal: AbortSignal): Promise<Answer<Label[]>> {
    const match = { "match[]": matchOf(f), ...since(age) };
    const names = await get<string[]>("labels", match, signal);
    const of = async (name: string): Promise<Label> => ({ name, values: (await get<string[]>(`label/${encodeURIComponent(name)}/values`, match, signal)).data });
    return { ...names, data: await Promise.all(names.data.filter((n) => n !== "__name__").map(of)) };
}

async function seriesCount(f: Family, signal: AbortSignal): Promise<Answer<number>> {
    const sums = await Promise.all(f.names.map((n) => instantNumbers(`count(${selector(n)})`, signal)));
    const data = sums.reduce((sum, list) => sum + (list[0]?.value ?? 0), 0);
    return { data, warnings: [], infos: [], bytes: 0, milliseconds: 0 };
}

function LabelRow({ family, label }: { family: Family; label: Label }) {
    const first = family.kind === "histogram" ? `${family.name}_count` : family.names[0]!;
    return (
        <tr>
            <td class="name">{label.name}</td>
            <td class="number">{count(label.values.length)}</td>
            <td>
                {label.values.slice(0, VALUES_SHOWN).map((v) => (
                    <a key={v} class="chip" href={exploreLink(selector(label.name === "le" ? `${family.name}_bucket` : first, [`${label.name}=${quoted(v)}`]))}>
                        {v || '""'}
                    </a>
                ))}
                {label.values.length > VALUES_SHOWN && <span class="muted">and {count(label.values.length - VALUES_SHOWN)} more</span>}
            </td>
        </tr>
    );
}

function Detail({ family, age }: { family: Family; age: string }) {
    const found = useLoad<Label[]>(`${family.name} ${age}`, (signal) => labels(family, age, signal));
    const series = useLoad<number>(family.name, (signal) => seriesCount(family, signal));
    return (
        <div class="detail">
            {family.help && <p>{family.help}</p>}
            <Facts
                rows={[
                    ["Type", family.kind],
                    ["Unit", family.unit || "–"],
                    ["Series now", series.answer ? count(series.answer.data) : "…"],
                ]}
            />
            <p class="links">
                {suggestions(family).map((s) => (
                    <a key={s.text} class="button" href={exploreLink(s.expr, s.panel)} title={s.expr}>
                        {s.text}
                    </a>
                ))}
            </p>
            <Problem error={found.error ?? series.error} />
            {found.answer && (
                <div class="scroll">
                    <table>
                        <thead>
                            <tr>
                                <th scope="col">Label</th>
                                <th scope="col" class="number">
                                    Values
                                </th>
                                <th scope="col">Some of them</th>
                            </tr>
                        </thead>
                        <tbody>
                            {found.answer.data.map((l) => (
                                <LabelRow key={l.name} family={family} label={l} />
                            ))}
                        </tbody>
                    </table>
                </div>
            )}
        </div>
    );
}

function Row({ family, age, open, onOpen }: { family: Family; age: string; open: boolean; onOpen: () => void }) {
    const first = suggestions(family)[0]!;
    return (
        <li class="metric">
            <div class="metric-head">
                <button type="button" class="plain metric-name" aria-expanded={open} onClick={onOpen}>
                    {family.name}
                </button>
                <span class={`kind kind-${family.kind.split(" ")[0]}`}>{family.kind}</span>
                <span class="muted help">{family.help}</span>
                <Spark expr={first.expr} label={`${family.name} in the last hour`} />
                <a class="button" href={exploreLink(first.expr, first.panel)} aria-label={`Explore ${family.name}`} title={first.expr}>
                    Explore
                </a>
            </div>
            {open && <Detail family={family} age={age} />}
        </li>
    );
}

// ---- the view ----

function matches(f: Family, words: string[]): boolean {
    const text = `${f.name} ${f.kind} ${f.help}`.toLowerCase();
    return words.every((w) => text.includes(w));
}

export function Metrics() {
    const [age, setAge] = useState<string>(AGES[0][0]);
    const [text, setText] = useState("");
    const [open, setOpen] = useState<string | null>(null);
    const [rows, setRows] = useState(ROWS_FIRST);
    const { answer, error, loading } = useLoad<Family[]>(age || "ever", (signal) => families(age, signal));
    const found = useMemo(() => {
        const words = text.toLowerCase().split(/\s+/).filter(Boolean);
        return (answer?.data ?? []).filter((f) => matches(f, words));
    }, [answer, text]);
    return (
        <>
            <h1>Metrics</h1>
            <div class="toolbar">
                <input type="search" class="search" aria-label="Search metrics" placeholder="Name, type or help" value={text} onInput={(e) => (setText(e.currentTarget.value), setRows(ROWS_FIRST))} />
                <label>
                    Seen{" "}
                    <select value={age} onChange={(e) => setAge(e.currentTarget.value)}>
                        {AGES.map(([seconds, words]) => (
                            <option key={seconds} value={seconds}>
                                {words}
                            </option>
                        ))}
                    </select>
                </label>
                <span class="muted" role="status">
                    {loading ? "Loading" : `${count(found.length)} metrics`}
                </span>
            </div>
            <Problem error={error} />
            {answer && found.length === 0 && <p class="empty muted">{text ? "No metric has that in its name, type or help." : "Nothing was written yet."}</p>}
            <ul class="metrics card">
                {found.slice(0, rows).map((f) => (
                    <Row key={f.name} family={f} age={age} open={open === f.name} onOpen={() => setOpen(open === f.name ? null : f.name)} />
                ))}
            </ul>
            {found.length > rows && (
                <button type="button" onClick={() => setRows(rows + 10 * ROWS_FIRST)}>
                    Show more of {count(found.length)}
                </button>
            )}
        </>
    );
}

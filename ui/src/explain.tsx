// The plan of a query as a tree: what the server measured with explain=1, or, of a server that does not, how it was understood.
import { type Answer, type QueryData, post } from "./api";
import { count, seconds } from "./format";
import { Problem, useLoad } from "./parts";
import type { Panel } from "./state";

type Json = Record<string, unknown>;
interface Node {
    title: string;
    facts: string[];
    share: number; // of the whole time, 0 to 1; NaN: not known
    children: Node[];
}

const TITLES = ["operator", "op", "name", "type"];
const DETAILS = ["expr", "text", "detail", "query"];

function isObject(v: unknown): v is Json {
    return typeof v === "object" && v !== null && !Array.isArray(v);
}

function firstText(o: Json, keys: string[]): string {
    return keys.map((k) => o[k]).find((v): v is string => typeof v === "string" && v !== "") ?? "";
}

function timeOf(o: Json): number {
    for (const [key, unit] of [["seconds", 1], ["timeSeconds", 1], ["totalTime", 1], ["time", 1], ["ns", 1e-9], ["timeNs", 1e-9]] as const) {
        if (typeof o[key] === "number") return o[key] * unit;
    }
    return NaN;
}

function measured(o: Json, whole: number): Node {
    const time = timeOf(o);
    const numbers = Object.entries(o).filter((e): e is [string, number] => typeof e[1] === "number" && !/time|seconds|^ns$/i.test(e[0]));
    const children = Array.isArray(o["children"]) ? o["children"].filter(isObject) : [];
    return {
        title: [firstText(o, TITLES), firstText(o, DETAILS)].filter(Boolean).join(" "),
        facts: [...numbers.map(([k, n]) => `${count(n)} ${k}`), ...(Number.isNaN(time) ? [] : [seconds(time)])],
        share: time / whole,
        children: children.map((c) => measured(c, whole)),
    };
}

// Prometheus's syntax tree (parse_query).
function understood(o: Json): Node {
    const children: Node[] = [];
    for (const v of Object.values(o)) {
        for (const one of Array.isArray(v) ? v : [v]) if (isObject(one) && typeof one["type"] === "string" && "type" in one && !("value" in one && "name" in one)) children.push(understood(one));
    }
    const name = isObject(o["func"]) ? String(o["func"]["name"]) : firstText(o, ["op", "name", "val"]);
    const facts = [...(typeof o["range"] === "number" && o["range"] > 0 ? [`range ${seconds(o["range"] / 1000)}`] : []), ...(Array.isArray(o["grouping"]) && o["grouping"].length > 0 ? [`${o["without"] ? "without" : "by"} ${o["grouping"].join(", ")}`] : [])];
    const matchers = Array.isArray(o["matchers"]) ? o["matchers"].filter(isObject).map((m) => `${String(m["name"])}${String(m["type"])}"${String(m["value"])}"`) : [];
    return { title: [String(o["type"]), name].filter(Boolean).join(" "), facts: [...facts, ...matchers], share: NaN, children };
}

function Branch({ node }: { node: Node }) {
    return (
        <li>
            <span class="node">
                {node.title}
                {Number.isFinite(node.share) && (
                    <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
                        <rect width={Math.min(node.share, 1) * 100} height="10" />
                    </svg>
                )}
                {node.facts.length > 0 && <small class="muted"> {node.facts.join(" · ")}</small>}
            </span>
            {node.children.length > 0 && (
                <ul>
                    {node.children.map((c, i) => (
                        <Branch key={i} node={c} />
                    ))}
                </ul>
            )}
        </li>
    );
}

interface Plan {
    node: Node;
    isMeasured: boolean;
}

async function planOf(panel: Panel, start: number, end: number, step: number, signal: AbortSignal): Promise<Answer<Plan>> {
    const query = panel.expr;
    const answer = await post<QueryData>("query_range", { query, start: start / 1000, end: end / 1000, step: step / 1000, explain: 1, stats: "all" }, signal);
    const plan = answer.data.explain;
    if (isObject(plan)) return { ...answer, data: { node: measured(plan, timeOf(plan)), isMeasured: true } };
    const tree = await post<Json>("parse_query", { query }, signal);
    return { ...tree, data: { node: understood(tree.data), isMeasured: false } };
}

export function Explain(p: { panel: Panel; start: number; end: number; step: number; run: number }) {
    const { answer, error, loading } = useLoad<Plan>(`${p.panel.expr} ${p.start} ${p.end} ${p.step} ${p.run}`, (signal) => planOf(p.panel, p.start, p.end, p.step, signal));
    return (
        <div class="explain" aria-busy={loading}>
            <Problem error={error} />
            {answer && (
                <>
                    <p class="muted">{answer.data.isMeasured ? "What each operator did, for the whole range:" : "How the query was understood:"}</p>
                    <ul class="tree">
                        <Branch node={answer.data.node} />
                    </ul>
                </>
            )}
        </div>
    );
}

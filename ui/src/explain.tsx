// The plan of a query: what each operator did over the whole range (explain=1), those below it included.
import { type Explained, type QueryData, post } from "./api";
import { count, seconds } from "./format";
import { Problem, useLoad } from "./parts";

interface Asked {
    query: string;
    start: number; // ms
    end: number;
    step: number;
    run: number;
}

function Branch({ node, whole }: { node: Explained; whole: number }) {
    const own = Math.max(node.seconds - node.children.reduce((sum, c) => sum + c.seconds, 0), 0);
    const { read, cached, skipped } = node.chunks;
    const facts = [
        `${count(node.series)} series`,
        ...(node.samples > 0 ? [`${count(node.samples)} samples`] : []),
        ...(read + cached + skipped > 0 ? [`chunks: ${count(read)} read, ${count(cached)} cached, ${count(skipped)} skipped`] : []),
        `${seconds(node.seconds)}, ${seconds(own)} of its own`,
    ];
    return (
        <li>
            <span class="node">
                <b>{node.operator}</b>
                {node.expr !== node.operator && <span>{node.expr}</span>}
            </span>
            <span class="did muted">
                <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
                    <rect width={whole > 0 ? (100 * own) / whole : 0} height="10" />
                </svg>
                {facts.join(" · ")}
            </span>
            {node.children.length > 0 && (
                <ul>
                    {node.children.map((c, i) => (
                        <Branch key={i} node={c} whole={whole} />
                    ))}
                </ul>
            )}
        </li>
    );
}

export function Explain({ query, start, end, step, run }: Asked) {
    const { answer, error, loading } = useLoad<QueryData>(JSON.stringify([query, start, end, step, run]), (signal) =>
        post<QueryData>("query_range", { query, start: start / 1000, end: end / 1000, step: step / 1000, explain: 1 }, signal),
    );
    const root = answer?.data.explain;
    return (
        <div class="explain" aria-busy={loading}>
            <Problem error={error} />
            {root && (
                <ul class="tree">
                    <Branch node={root} whole={root.seconds} />
                </ul>
            )}
        </div>
    );
}

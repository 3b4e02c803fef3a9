// Status: rates, what each layer takes, queries that run now, flags, build.
import { useState } from "preact/hooks";
import { type Answer, ApiError, errorText, get, request } from "./api";
import { count, duration, seconds } from "./format";
import { Mini } from "./mini";
import { type Layer, own, quantile } from "./own";
import { Facts, Problem, useLoad, useTick } from "./parts";
import { exploreLink } from "./state";

const QUERIES_MS = 2000;
const GRAPHS_MS = 30_000;
const HOUR = 3_600_000;

// ---- queries that run now ----

interface Active {
    id: string;
    query: string;
    start: number;
    end: number;
    step: number;
    durationSeconds: number;
}

async function cancel(id: string): Promise<void> {
    const r = await request(`api/v1/status/active_queries/${encodeURIComponent(id)}`, { method: "DELETE" });
    // One that has ended meanwhile is what was wanted.
    if (!r.ok && r.status !== 404) throw new ApiError(r.status, "http", (await r.text()).trim());
}

function ActiveQueries() {
    const tick = useTick(QUERIES_MS);
    const [problem, setProblem] = useState("");
    const { answer, error } = useLoad<Active[]>(String(tick), (signal) => get<Active[]>("status/active_queries", {}, signal));
    const list = answer?.data ?? [];
    return (
        <section class="card">
            <h2>Queries that run now</h2>
            <Problem error={error} />
            {problem && <Problem>{problem}</Problem>}
            {list.length === 0 ? (
                <p class="muted">None.</p>
            ) : (
                <div class="scroll">
                    <table>
                        <thead>
                            <tr>
                                <th scope="col">Query</th>
                                <th scope="col" class="number">Range</th>
                                <th scope="col" class="number">Since</th>
                                <th scope="col">
                                    <span class="away">Cancel</span>
                                </th>
                            </tr>
                        </thead>
                        <tbody>
                            {list.map((q) => (
                                <tr key={q.id}>
                                    <td class="name">{q.query}</td>
                                    <td class="number">{q.step > 0 ? `${duration((q.end - q.start) * 1000)} by ${duration(q.step * 1000)}` : "instant"}</td>
                                    <td class="number">{seconds(q.durationSeconds)}</td>
                                    <td>
                                        <button type="button" class="danger" aria-label={`Cancel query ${q.id}`} onClick={() => void cancel(q.id).then(() => setProblem(""), (e: unknown) => setProblem(errorText(e)))}>
                                            Cancel
                                        </button>
                                    </td>
                                </tr>
                            ))}
                        </tbody>
                    </table>
                </div>
            )}
        </section>
    );
}

// ---- layers ----

function Layers({ layers }: { layers: Layer[] }) {
    const total = layers.reduce((sum, l) => sum + l.sum, 0) || 1;
    return (
        <section class="card">
            <h2>Time in each layer since the start</h2>
            <div class="scroll">
                <table>
                    <thead>
                        <tr>
                            <th scope="col">Layer</th>
                            <th scope="col" class="number">Times</th>
                            <th scope="col" class="number">Average</th>
                            <th scope="col" class="number">Median</th>
                            <th scope="col" class="number">99 %</th>
                            <th scope="col" class="number">In all</th>
                        </tr>
                    </thead>
                    <tbody>
                        {layers.map((l) => (
                            <tr key={l.name}>
                                <td class="name">
                                    <a href={exploreLink(`sum by (le) (rate(tidalite_layer_duration_seconds_bucket{layer="${l.name}"}[5m]))`, { mode: "heatmap" })}>{l.name}</a>
                                </td>
                                <td class="number">{count(l.count)}</td>
                                <td class="number">{seconds(l.sum / l.count)}</td>
                                <td class="number">{seconds(quantile(l, 0.5))}</td>
                                <td class="number">{seconds(quantile(l, 0.99))}</td>
                                <td class="number">
                                    <svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
                                        <rect width={(l.sum / total) * 100} height="10" />
                                    </svg>
                                    {seconds(l.sum)}
                                </td>
                            </tr>
                        ))}
                    </tbody>
                </table>
            </div>
        </section>
    );
}

// ---- flags, configuration, build ----

function Flags() {
    const [text, setText] = useState("");
    const { answer, error } = useLoad<Record<string, string>>("flags", (signal) => get<Record<string, string>>("status/flags", {}, signal));
    const rows = Object.entries(answer?.data ?? {}).filter(([name]) => name.includes(text.trim()));
    return (
        <section class="card">
            <h2>Flags</h2>
            <Problem error={error} />
            <input type="search" class="search" aria-label="Search flags" placeholder="Search" value={text} onInput={(e) => setText(e.currentTarget.value)} />
            <div class="scroll flags" role="region" aria-label="Flags and values" tabIndex={0}>
                <table>
                    <thead class="away">
                        <tr>
                            <th scope="col">Flag</th>
                            <th scope="col">Value</th>
                        </tr>
                    </thead>
                    <tbody>
                        {rows.map(([name, value]) => (
                            <tr key={name}>
                                <td class="name">--{name}</td>
                                <td class="name">{value || <span class="muted">not set</span>}</td>
                            </tr>
                        ))}
                    </tbody>
                </table>
            </div>
        </section>
    );
}

interface Server {
    build: { version: string; revision: string; branch: string };
    runtime: { startTime: string; serverTime: string; hostname: string; CWD: string; GOMAXPROCS: number; storageRetention: string; reloadConfigSuccess: boolean };
    yaml: string;
    layers: Layer[];
    running: number;
    waiting: number;
    connections: number;
}

async function server(signal: AbortSignal): Promise<Answer<Server>> {
    const [build, runtime, config, self] = await Promise.all([
        get<Server["build"]>("status/buildinfo", {}, signal),
        get<Server["runtime"]>("status/runtimeinfo", {}, signal),
        get<{ yaml: string }>("status/config", {}, signal),
        own(signal),
    ]);
    const m = self.data;
    const layers = m.histograms("tidalite_layer_duration_seconds", "layer").filter((l) => l.count > 0);
    return { ...build, data: { build: build.data, runtime: runtime.data, yaml: config.data.yaml, layers, running: m.number("tidalite_query_running"), waiting: m.number("tidalite_query_waiting"), connections: m.number("tidalite_http_connections_open") } };
}

function licensesLink(): string {
    return document.querySelector<HTMLLinkElement>('link[rel="license"]')?.href ?? "";
}

const GRAPHS: [string, string, boolean][] = [
    ["Samples per second", "sum by (instance) (rate(tidalite_ingest_samples_total[1m]))", false],
    ["Write requests per second", "sum by (instance) (rate(tidalite_ingest_requests_total[1m]))", false],
    ["Queries per second", "sum by (instance) (rate(tidalite_query_submitted_total[1m]))", false],
    ["CPU, cores", 'rate(process_cpu_seconds_total{job="tidalite"}[1m])', false],
    ["Resident memory, bytes", 'process_resident_memory_bytes{job="tidalite"}', false],
    ["Memory by category, bytes", "sum by (category) (tidalite_memory_bytes)", true],
];

export function Status() {
    const tick = useTick(GRAPHS_MS);
    const { answer, error } = useLoad<Server>(String(tick), server);
    const d = answer?.data;
    return (
        <>
            <h1>Status</h1>
            <Problem error={error} />
            {d && (
                <section class="card">
                    <Facts
                        rows={[
                            ["Version", d.build.branch.replace("tidalite-", "Tidalite ")],
                            ["API of Prometheus", d.build.version],
                            ["Revision", d.build.revision],
                            ["Host", d.runtime.hostname],
                            ["Running for", duration(Math.floor((Date.parse(d.runtime.serverTime) - Date.parse(d.runtime.startTime)) / 1000) * 1000)],
                            ["Cores", count(d.runtime.GOMAXPROCS)],
                            ["Configuration", d.runtime.reloadConfigSuccess ? "loaded" : "last reload failed"],
                            ["Queries running, waiting", `${count(d.running)}, ${count(d.waiting)}`],
                            ["Connections", count(d.connections)],
                        ]}
                    />
                </section>
            )}
            <ActiveQueries />
            <div class="columns three">
                {GRAPHS.map(([title, expr, stacked]) => (
                    <Mini key={title} title={title} expr={expr} range={HOUR} tick={tick} stacked={stacked} />
                ))}
            </div>
            {d && <Layers layers={d.layers} />}
            <Flags />
            {d && (
                <section class="card raw">
                    <h2>Configuration</h2>
                    {d.yaml.trim() ? (
                        <pre tabIndex={0} aria-label="Configuration">
                            {d.yaml}
                        </pre>
                    ) : (
                        <p class="muted">There is no configuration file (--config.file).</p>
                    )}
                </section>
            )}
            <p class="muted">
                <a href={licensesLink()}>Licenses</a> of what this page is made of
            </p>
        </>
    );
}

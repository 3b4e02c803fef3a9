// Storage: blocks on a time line, the head, the log, the caches, what waits to be done, and damage.
import { get } from "./api";
import { bytes, count, duration, localTime, shortNumber } from "./format";
import { type Own, own } from "./own";
import { Bars, Facts, Problem, useLoad, useTick } from "./parts";

interface Block {
    ulid: string;
    minTime: number;
    maxTime: number;
    stats: { numSamples: number; numSeries: number; numChunks: number; numBytes?: number };
    compaction: { level: number };
}
interface Head {
    headStats: { numSeries: number; chunkCount: number; minTime: number; maxTime: number };
}

const REFRESH_MS = 15_000;
const WIDTH = 1000;
const LANE = 26;
const ROWS_MAX = 500;

function blockTitle(b: Block): string {
    const size = b.stats.numBytes === undefined ? "" : `, ${bytes(b.stats.numBytes)}`;
    return `${b.ulid}: level ${b.compaction.level}, ${localTime(b.minTime)} to ${localTime(b.maxTime)}, ${count(b.stats.numSeries)} series, ${count(b.stats.numSamples)} samples${size}`;
}

// A lane a level, the oldest on the left; the head is the last lane.
function TimeLine({ blocks, head }: { blocks: Block[]; head: Head["headStats"] | null }) {
    const lanes = [...new Set(blocks.map((b) => b.compaction.level))].sort((a, b) => b - a);
    const hasHead = head !== null && head.numSeries > 0;
    const times = [...blocks.flatMap((b) => [b.minTime, b.maxTime]), ...(hasHead ? [head.minTime, head.maxTime] : [])];
    if (times.length === 0) return <p class="muted">Nothing was written yet.</p>;
    const from = Math.min(...times);
    const span = Math.max(...times) - from || 1;
    const x = (t: number) => ((t - from) / span) * WIDTH;
    const most = Math.max(...blocks.map((b) => b.stats.numSamples), 1);
    const height = (lanes.length + (hasHead ? 1 : 0)) * LANE;
    const label = `${blocks.length} blocks from ${localTime(from)} to ${localTime(from + span)}`;
    return (
        <div class="timeline">
            <div class="lanes" aria-hidden="true">
                {lanes.map((l) => (
                    <span key={l}>Level {l}</span>
                ))}
                {hasHead && <span>Head</span>}
            </div>
            <svg viewBox={`0 0 ${WIDTH} ${height}`} preserveAspectRatio="none" height={height} role="img" aria-label={label}>
                {blocks.map((b) => (
                    <rect key={b.ulid} class="block" x={x(b.minTime)} y={lanes.indexOf(b.compaction.level) * LANE + 3} width={Math.max(x(b.maxTime) - x(b.minTime) - 1, 2)} height={LANE - 6} fill-opacity={0.35 + (0.65 * b.stats.numSamples) / most}>
                        <title>{blockTitle(b)}</title>
                    </rect>
                ))}
                {hasHead && (
                    <rect class="head" x={x(head.minTime)} y={lanes.length * LANE + 3} width={Math.max(x(head.maxTime) - x(head.minTime), 2)} height={LANE - 6}>
                        <title>{`Head: ${localTime(head.minTime)} to ${localTime(head.maxTime)}, ${count(head.numSeries)} series`}</title>
                    </rect>
                )}
            </svg>
            <p class="ends muted">
                <span>{localTime(from)}</span>
                <span>{localTime(from + span)}</span>
            </p>
        </div>
    );
}

function BlockTable({ blocks }: { blocks: Block[] }) {
    const sized = blocks.some((b) => b.stats.numBytes !== undefined);
    return (
        <details>
            <summary>{count(blocks.length)} blocks as a table</summary>
            <div class="scroll">
                <table>
                    <thead>
                        <tr>
                            <th scope="col">Block</th>
                            <th scope="col">From</th>
                            <th scope="col" class="number">Range</th>
                            <th scope="col" class="number">Level</th>
                            <th scope="col" class="number">Series</th>
                            <th scope="col" class="number">Samples</th>
                            {sized && <th scope="col" class="number">Size</th>}
                        </tr>
                    </thead>
                    <tbody>
                        {[...blocks].sort((a, b) => b.minTime - a.minTime).slice(0, ROWS_MAX).map((b) => (
                            <tr key={b.ulid}>
                                <td class="name">{b.ulid}</td>
                                <td>{localTime(b.minTime)}</td>
                                <td class="number">{duration(b.maxTime - b.minTime)}</td>
                                <td class="number">{b.compaction.level}</td>
                                <td class="number">{count(b.stats.numSeries)}</td>
                                <td class="number">{count(b.stats.numSamples)}</td>
                                {sized && <td class="number">{bytes(b.stats.numBytes ?? NaN)}</td>}
                            </tr>
                        ))}
                    </tbody>
                </table>
            </div>
        </details>
    );
}

function cacheRow(m: Own, cache: string): [string, string] {
    const of = (name: string) => m.number(`tidalite_cache_${name}`, "cache", cache);
    const hits = of("hits_total");
    const asked = hits + of("misses_total");
    const rate = asked > 0 ? `, ${((100 * hits) / asked).toFixed(1)} % of ${shortNumber(asked)} found` : "";
    return [`Cache ${cache.toUpperCase()}`, `${bytes(of("used_bytes"))} of ${bytes(of("size_bytes"))}${rate}`];
}

function Sections({ m, retention, samples }: { m: Own; retention: string; samples: number }) {
    const n = (name: string) => m.number(`tidalite_${name}`);
    const damage: [string, number][] = [
        ["Blocks in quarantine", n("blocks_quarantined_total")],
        ["Damaged blocks", n("blocks_damaged_total")],
        ["Damaged head files", n("head_files_damaged_total")],
        ["Chunks that cannot be read", n("head_chunk_read_failures_total")],
        ["Chunks lost at flush", n("flush_lost_chunks_total")],
        ["Log ranges unreadable at start", n("replay_damaged_ranges")],
        ["Log frames lost at start", n("replay_lost_frames")],
        ["Log segments lost at start", n("replay_lost_log_segments")],
    ];
    const bad = damage.filter(([, v]) => v > 0);
    const card = (title: string, rows: [string, string][]) => (
        <section class="card">
            <h2>{title}</h2>
            <Facts rows={rows} />
        </section>
    );
    return (
        <div class="columns">
            {card("Blocks", [
                ["Blocks", count(n("blocks"))],
                ["Size", bytes(n("block_bytes"))],
                ["Samples", shortNumber(samples)],
                ["Bytes a sample", samples > 0 ? (n("block_bytes") / samples).toFixed(2) : "–"],
                ["Retention", retention],
                ["Dropped by retention", count(n("blocks_expired_total"))],
            ])}
            {card("Head", [
                ["Series", count(n("head_series"))],
                ["Sealed chunks", count(n("head_chunks"))],
                ["Head files", `${count(n("head_files"))}, ${bytes(n("head_file_bytes"))}`],
                ["Label pairs", count(n("index_label_pairs"))],
            ])}
            {card("Log", [
                ["Server", m.byLabel("tidalite_state", "state").find(([, on]) => on === 1)?.[0].replaceAll("_", " ") ?? "–"],
                ["On disk", bytes(n("wal_disk_bytes"))],
                ["Not synced", bytes(n("wal_unsynced_bytes"))],
                ["Segment", count(n("wal_segment"))],
                ["Last checkpoint", n("checkpoint_last_timestamp_seconds") > 0 ? localTime(n("checkpoint_last_timestamp_seconds") * 1000) : "none yet"],
                ["Failures", count(n("wal_failures_total"))],
            ])}
            {card("Caches", [cacheRow(m, "l1"), cacheRow(m, "l2")])}
            {card("Waiting and failed", [
                ["Chunks not in a file yet", count(n("head_chunks_unwritten"))],
                ["Batches for owners", count(n("ring_depth"))],
                ["Failed seals", count(n("seal_failures_total"))],
                ["Failed flushes", count(n("flush_failures_total"))],
                ["Failed merges", count(n("compaction_failures_total"))],
                ["Failed checkpoints", count(n("checkpoint_failures_total"))],
                ["Failed publications", count(n("publish_failures_total"))],
            ])}
            <section class="card">
                <h2>Damage</h2>
                {bad.length === 0 ? <p class="good">None was found since the start.</p> : <Facts rows={bad.map(([name, v]) => [name, <span class="bad">{count(v)}</span>])} />}
            </section>
            <Bars caption="Memory" unit="Bytes" rows={m.byLabel("tidalite_memory_bytes", "category").sort((a, b) => b[1] - a[1]).map(([name, value]) => ({ name, value, text: bytes(value) }))} />
        </div>
    );
}

interface All {
    blocks: Block[];
    head: Head["headStats"];
    metrics: Own;
    retention: string;
}

async function all(signal: AbortSignal) {
    const [blocks, head, metrics, info] = await Promise.all([
        get<{ blocks: Block[] }>("status/tsdb/blocks", {}, signal),
        get<Head>("status/tsdb", { limit: 1 }, signal),
        own(signal),
        get<{ storageRetention: string }>("status/runtimeinfo", {}, signal),
    ]);
    const data: All = { blocks: blocks.data.blocks, head: head.data.headStats, metrics: metrics.data, retention: info.data.storageRetention };
    return { ...blocks, data };
}

export function Storage() {
    const tick = useTick(REFRESH_MS);
    const { answer, error } = useLoad<All>(String(tick), all);
    const d = answer?.data;
    return (
        <>
            <h1>Storage</h1>
            <Problem error={error} />
            {d && (
                <>
                    <section class="card">
                        <h2>Time line</h2>
                        <TimeLine blocks={d.blocks} head={d.head} />
                        {d.blocks.length > 0 && <BlockTable blocks={d.blocks} />}
                    </section>
                    <Sections m={d.metrics} retention={d.retention} samples={d.blocks.reduce((sum, b) => sum + b.stats.numSamples, 0)} />
                </>
            )}
        </>
    );
}

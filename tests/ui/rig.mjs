// What the tests of the page share: a server with data, a browser, cases, pixels.  Every process is ended by its own handle.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
export const SHOTS = join(ROOT, "build/ui-screenshots");
const BINARY = process.env.TIDALITE_BINARY ?? join(ROOT, "build/tidalite");
const WAIT_MS = Number(process.env.TIDALITE_TEST_WAIT ?? 60) * 1000;

export class Failure extends Error {}
export function expect(condition, text) {
    if (!condition) throw new Failure(text);
}

export async function waitFor(what, probe) {
    const end = Date.now() + WAIT_MS;
    for (;;) {
        const found = await probe();
        if (found) return found;
        if (Date.now() > end) throw new Failure(`waited in vain for ${what}`);
        await new Promise((done) => setTimeout(done, 50));
    }
}

function freePort() {
    return new Promise((done) => {
        const s = createServer().listen(0, "127.0.0.1", () => {
            const { port } = s.address();
            s.close(() => done(port));
        });
    });
}

export class Tidalite {
    constructor() {
        this.data = mkdtempSync(join(tmpdir(), "tidalite-ui-"));
    }

    // Before the start: what was imported lies in blocks.
    importText(text) {
        const done = spawnSync(BINARY, ["import", "openmetrics", "--milliseconds", "-", this.data], { input: text, encoding: "utf8" });
        expect(done.status === 0, `import: ${done.stderr}`);
    }

    // `under`: the path that a --web.route-prefix among the flags gives, with its slash at the end.
    async start({ under = "" }, ...flags) {
        this.port = await freePort();
        this.url = `http://127.0.0.1:${this.port}/${under}`;
        this.process = spawn(BINARY, ["serve", `--web.listen-address=127.0.0.1:${this.port}`, `--storage.tsdb.path=${this.data}`, ...flags], { stdio: ["ignore", "ignore", "inherit"] });
        await waitFor("the server to be ready", () => fetch(`${this.url}-/ready`).then((r) => r.ok, () => false));
        return this;
    }

    async post(path, type, body) {
        const r = await fetch(this.url + path, { method: "POST", headers: { "Content-Type": type }, body });
        expect(r.ok, `${path}: ${r.status} ${await r.text()}`);
    }

    async query(expr) {
        const r = await fetch(`${this.url}api/v1/query?query=${encodeURIComponent(expr)}`);
        return (await r.json()).data.result;
    }

    stop() {
        this.process?.kill("SIGKILL");
        rmSync(this.data, { recursive: true, force: true, maxRetries: 5 });
    }
}

// ---- data: an hour of a small shop, one sample each 15 s ----

const STEP_S = 15;
const SAMPLES = 240;

function textOf(begin) {
    const lines = [];
    const seen = [0, 0, 0, 0, 0]; // in each bucket so far
    for (let i = 0; i <= SAMPLES; i++) {
        const t = (begin + i * STEP_S) * 1000;
        const wave = Math.sin(i / 20);
        for (let s = 0; s < 5; s++) {
            const labels = `instance="web-${s}",job="shop"`;
            lines.push(`shop_requests_total{${labels}} ${i * (40 + 5 * s)} ${t}`);
            lines.push(`shop_temperature_celsius{${labels}} ${(20 + s + 3 * wave).toFixed(3)} ${t}`);
            let sum = 0;
            [0.01, 0.1, 0.5, 1, "+Inf"].forEach((le, k) => {
                if (s === 0) seen[k] += Math.round(4 + 10 * Math.exp(-((k - 2 - 1.6 * wave) ** 2)));
                sum += seen[k];
                lines.push(`shop_latency_seconds_bucket{${labels},le="${le}"} ${sum} ${t}`);
            });
        }
    }
    return `${lines.join("\n")}\n`;
}

// A hundred lines of something like noise, one sample a minute: asked for by the second they are ten thousand points each.
export const MANY = { series: 100, seconds: 9999 };

function manyOf(end) {
    const lines = [];
    // From four hours ago on: whatever the time of day, a window of two hours is over, and is a block.
    for (let t = end - 4 * 3600; t <= end; t += 60) {
        for (let s = 0; s < MANY.series; s++) lines.push(`shop_many{n="${s}"} ${s + ((t * (s + 7)) % 97) / 30} ${t * 1000}`);
    }
    return `${lines.join("\n")}\n`;
}

// Native histograms come by OTLP: exponential ones.
function otlpOf(begin) {
    const nano = (s) => `${s}000000000`;
    const dataPoints = [];
    for (let i = 0; i <= SAMPLES; i++) {
        const middle = 6 + Math.round(4 * Math.sin(i / 15));
        const bucketCounts = Array.from({ length: 14 }, (_, k) => String((i + 1) * Math.max(12 - 3 * Math.abs(k - middle), 1)));
        const count = bucketCounts.reduce((a, n) => a + Number(n), 0);
        dataPoints.push({ startTimeUnixNano: nano(begin), timeUnixNano: nano(begin + i * STEP_S), count: String(count), sum: count * 3, scale: 1, zeroCount: "0", positive: { offset: -6, bucketCounts }, negative: { offset: 0, bucketCounts: [] } });
    }
    const metric = { name: "shop_orders", unit: "s", description: "Time that orders take", exponentialHistogram: { aggregationTemporality: 2, dataPoints } };
    const attributes = [{ key: "service.name", value: { stringValue: "shop" } }];
    return JSON.stringify({ resourceMetrics: [{ resource: { attributes }, scopeMetrics: [{ metrics: [metric] }] }] });
}

// A server with all of that, in blocks and in its head.
export async function startFilled(server, ...flags) {
    const begin = Math.floor(Date.now() / 1000 / STEP_S) * STEP_S - SAMPLES * STEP_S;
    const end = begin + SAMPLES * STEP_S;
    server.importText(textOf(begin) + manyOf(end));
    await server.start({}, ...flags);
    await server.post("api/v1/otlp/v1/metrics", "application/json", otlpOf(begin));
    // Own metrics, at least two scrapes, so that rates are there.
    await waitFor("own metrics", async () => (await server.query('count_over_time(up{job="tidalite"}[1h])'))[0]?.value?.[1] > 2);
    return { begin, end };
}

// ---- the browser ----

export function chromiumPath() {
    return [process.env.CHROMIUM, "/usr/bin/chromium"].find((p) => p && existsSync(p));
}

export function launch() {
    return chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", "--force-color-profile=srgb"] });
}

let common = null; // of all pages without options: what is kept for ever is loaded once

async function contextOf(browser, options) {
    if (!options && common) return common;
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    context.setDefaultTimeout(WAIT_MS);
    if (!options) common = context;
    return context;
}

// A page whose every complaint is kept.
export async function open(browser, url, options) {
    const context = await contextOf(browser, options);
    const page = await context.newPage();
    page.complaints = [];
    page.on("pageerror", (e) => page.complaints.push(String(e)));
    page.on("console", (m) => ["error", "warning"].includes(m.type()) && page.complaints.push(m.text()));
    page.on("requestfailed", (r) => r.failure()?.errorText !== "net::ERR_ABORTED" && page.complaints.push(`${r.url()}: ${r.failure()?.errorText}`));
    await page.goto(url);
    return page;
}

// What a case wants refused (a query with an error is a 400) is a line on the console, too.
export function expectSilent(page, allowed = /a^/) {
    const loud = page.complaints.filter((c) => !allowed.test(c));
    expect(loud.length === 0, `the console says: ${loud.join("\n")}`);
}

export async function close(page) {
    await (page.context() === common ? page.close() : page.context().close());
}

export async function shot(page, name, options = {}) {
    mkdirSync(SHOTS, { recursive: true });
    const path = join(SHOTS, `${name}.png`);
    await page.screenshot({ path, animations: "disabled", ...options });
    return path;
}

// How many pixels of a canvas have colour: axes and grid are grey, lines and cells are not.
export function colourPixels(page, selector = ".chart canvas") {
    return page.locator(selector).first().evaluate((canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        const seen = new Set();
        let n = 0;
        for (let i = 0; i < data.length; i += 4) {
            const [r, g, b, a] = [data[i], data[i + 1], data[i + 2], data[i + 3]];
            if (a < 90 || Math.max(r, g, b) - Math.min(r, g, b) < 60) continue; // stacks are half transparent
            n++;
            seen.add((r >> 5) * 64 + (g >> 5) * 8 + (b >> 5));
        }
        return { pixels: n, colours: seen.size };
    });
}

// ---- cases ----

class Suite {
    cases = [];

    case(name, fn) {
        this.cases.push([name, fn]);
    }

    async run(words) {
        let passed = 0;
        let failed = 0;
        for (const [name, fn] of this.cases) {
            if (words.length > 0 && !words.some((w) => name.includes(w))) continue;
            const begin = Date.now();
            try {
                await fn();
                passed++;
                console.log(`ok   ${name} (${((Date.now() - begin) / 1000).toFixed(2)} s)`);
            } catch (e) {
                failed++;
                console.log(`FAIL ${name}: ${e instanceof Failure ? e.message : e.stack}`);
            }
        }
        console.log(`${passed} passed, ${failed} failed`);
        return failed === 0 && passed > 0 ? 0 : 1;
    }
}

export const suite = new Suite();

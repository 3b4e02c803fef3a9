// The page in a real browser, over a real server with real data.
// Screenshots are left in build/ui-screenshots/.
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { MANY, ROOT, Tidalite, close, colourPixels, expect, expectSilent, launch, open, shot, startFilled, suite, waitFor } from "./rig.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SLOW = "sum(quantile_over_time(0.5, shop_many[2h:1s]))";

const server = new Tidalite();
let browser;
let times;

const link = (panels) => `${server.url}?${panels.map((p, i) => Object.entries(p).map(([k, v]) => `g${i}.${k}=${encodeURIComponent(v)}`).join("&")).join("&")}`;
const utc = (s) => new Date(s * 1000).toISOString().slice(0, 19).replace("T", " ");
const panel = (expr, more = {}) => ({ expr, tab: "graph", range_input: "1h", end_input: utc(times.end), ...more });
const explore = (expr, more) => link([panel(expr, more)]);
const RATE = "rate(shop_requests_total[5m])";
const legend = (n) => `.legend tbody tr:nth-child(${n})`;
const search = (page) => new URL(page.url()).searchParams;

// Find serious faults of accessibility; what is in the editor's shadow root counts.
async function expectAccessible(page, where, options = {}) {
    await page.addScriptTag({ content: AXE }).catch(() => page.evaluate(AXE)); // the policy forbids the tag
    const found = await page.evaluate((more) => window.axe.run(document, { resultTypes: ["violations"], ...more }), options);
    const serious = found.violations.filter((v) => ["serious", "critical"].includes(v.impact));
    expect(serious.length === 0, `${where}: ${serious.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`).join("; ")}`).join("\n")}`);
}

// ---- graphs ----

suite.case("graph__five_series__five_colours_are_drawn", async () => {
    const page = await open(browser, explore(RATE));
    await page.waitForSelector(legend(5));
    const { pixels, colours } = await colourPixels(page);
    expect(pixels > 2000 && colours >= 5, `${pixels} coloured pixels in ${colours} colours`);
    expect(/5 series .* samples read/.test(await page.textContent(".cost")), "the line of cost");
    await shot(page, "explore-graph");
    expectSilent(page);
    await close(page);
});

suite.case("graph__empty_answer__draws_nothing_and_says_so", async () => {
    const page = await open(browser, explore("nothing_has_this_name"));
    await page.getByText("Empty result").waitFor();
    expect((await page.locator(".chart canvas").count()) === 0, "there is a graph of nothing");
    expectSilent(page);
    await close(page);
});

suite.case("graph__drag__zooms_and_the_link_follows", async () => {
    const page = await open(browser, explore(RATE));
    await page.waitForSelector(legend(5));
    const box = await page.locator(".u-over").boundingBox();
    await page.mouse.move(box.x + box.width / 4, box.y + 50);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width / 2, box.y + 60, { steps: 5 });
    await page.mouse.up();
    await page.waitForFunction(() => new URL(location.href).searchParams.get("g0.range_input") !== "1h");
    const range = search(page).get("g0.range_input");
    expect(/^1[45]m/.test(range), `a quarter of an hour was marked, the range is ${range}`);
    const zoomed = search(page).get("g0.end_input");
    expect(Math.abs(Date.parse(`${zoomed.replace(" ", "T")}Z`) / 1000 - (times.end - 1800)) < 60, `it ends at ${zoomed}`);
    await page.goBack();
    await page.waitForFunction(() => new URL(location.href).searchParams.get("g0.range_input") === "1h");
    expectSilent(page);
    await close(page);
});

suite.case("graph__shift_drag_and_keys__move_the_window", async () => {
    const page = await open(browser, explore(RATE));
    await page.waitForSelector(legend(5));
    const box = await page.locator(".u-over").boundingBox();
    await page.keyboard.down("Shift");
    await page.mouse.move(box.x + box.width / 2, box.y + 50);
    await page.mouse.down();
    await page.mouse.move(box.x + (3 * box.width) / 4, box.y + 50, { steps: 5 });
    await page.mouse.up();
    await page.keyboard.up("Shift");
    const moved = (seconds) => page.waitForFunction(([end, by]) => Math.abs(Date.parse(`${new URL(location.href).searchParams.get("g0.end_input").replace(" ", "T")}Z`) / 1000 - end + by) < 60, [times.end, seconds]);
    await moved(900);
    expect(search(page).get("g0.range_input") === "1h", "moving changed the range");
    await page.locator(".chart").focus();
    await page.keyboard.press("ArrowLeft");
    await moved(1800);
    await page.keyboard.press("-");
    await page.waitForFunction(() => new URL(location.href).searchParams.get("g0.range_input") === "2h");
    expectSilent(page);
    await close(page);
});

suite.case("graph__hover__tells_the_nearest_line_and_the_legend_follows", async () => {
    const page = await open(browser, explore("shop_temperature_celsius"));
    await page.waitForSelector(legend(5));
    const last = await page.textContent(`${legend(1)} td:nth-child(2)`);
    const box = await page.locator(".u-over").boundingBox();
    // Down the middle until a line is near.
    for (let y = 5; y < box.height && (await page.locator(".hover").isHidden()); y += 12) await page.mouse.move(box.x + box.width / 2, box.y + y);
    const text = await page.textContent(".hover");
    expect(/^\d+\.\d+shop_temperature_celsius\{instance="web-\d"/.test(text), `the pointer's box says ${text}`);
    await page.waitForFunction(([row, was]) => document.querySelector(`${row} td:nth-child(2)`).textContent !== was, [legend(1), last]);
    expectSilent(page);
    await close(page);
});

suite.case("legend__click__hides_and_sorts", async () => {
    const page = await open(browser, explore(RATE));
    await page.waitForSelector(legend(5));
    const before = (await colourPixels(page)).pixels;
    await page.click(`${legend(1)} button`);
    await page.waitForSelector(`${legend(1)}.hidden`);
    await page.waitForFunction(() => new URL(location.href).searchParams.get("g0.hidden"));
    expect((await colourPixels(page)).pixels < before - 300, "the hidden line is still drawn");
    await page.click(`${legend(2)} button`, { modifiers: ["Control"] });
    await page.waitForFunction(() => document.querySelectorAll(".legend tr.hidden").length === 4);
    await page.click(`${legend(2)} button`, { modifiers: ["Control"] });
    await page.waitForFunction(() => document.querySelectorAll(".legend tr.hidden").length === 0);
    await page.click(".legend th:nth-child(5) button");
    await page.waitForSelector(`${legend(1)} >> text=web-4`);
    await page.click(".legend th:nth-child(1) button");
    await page.waitForSelector(`${legend(1)} >> text=web-0`);
    expectSilent(page);
    await close(page);
});

suite.case("graph__stacked_and_log__draw_differently", async () => {
    const page = await open(browser, explore(RATE));
    await page.waitForSelector(legend(5));
    const lines = (await colourPixels(page)).pixels;
    await page.click("button:text-is('Stacked')");
    await page.waitForFunction(() => new URL(location.href).searchParams.get("g0.display_mode") === "stacked");
    await waitFor("filled stacks", async () => (await colourPixels(page)).pixels > 10 * lines);
    await shot(page, "explore-stacked");
    await page.click("button:text-is('Lines')");
    await page.click("button:text-is('Log scale')");
    await page.waitForFunction(() => new URL(location.href).searchParams.get("g0.scale") === "log");
    await waitFor("lines", async () => (await colourPixels(page)).pixels > lines / 2);
    expectSilent(page);
    await close(page);
});

suite.case("heatmap__classic_and_native__cells_are_drawn", async () => {
    for (const [name, expr] of [["classic", "sum by (le) (rate(shop_latency_seconds_bucket[5m]))"], ["native", "sum(rate(shop_orders_seconds[5m]))"]]) {
        const page = await open(browser, explore(expr, { display_mode: "heatmap" }));
        await page.waitForSelector(".chart.heat canvas");
        const { pixels, colours } = await colourPixels(page);
        expect(pixels > 40_000 && colours > 5, `${name}: ${pixels} coloured pixels in ${colours} colours`);
        const box = await page.locator(".u-over").boundingBox();
        await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
        await page.locator(".hover").waitFor();
        await shot(page, `explore-heatmap-${name}`);
        expectSilent(page);
        await close(page);
    }
});

suite.case("graph__a_hundred_series_of_ten_thousand_points__is_drawn", async () => {
    const page = await open(browser, explore("shop_many", { range_input: `${MANY.seconds}s`, res_step: "1s" }));
    await page.waitForSelector(legend(MANY.series));
    expect((await colourPixels(page)).pixels > 30_000, "nothing is drawn");
    expect(/100 series/.test(await page.textContent(".cost")), "the line of cost");
    const box = await page.locator(".u-over").boundingBox();
    for (let x = 10; x < 400; x += 40) await page.mouse.move(box.x + x, box.y + 100);
    await page.locator(".hover").waitFor();
    expectSilent(page);
    await close(page);
});

// ---- the other views of a panel ----

suite.case("table__instant__values_sort", async () => {
    const page = await open(browser, explore("shop_temperature_celsius", { tab: "table" }));
    await page.waitForSelector(".result tbody tr:nth-child(5)");
    const values = async () => (await page.locator(".result td.value").allTextContents()).map(Number);
    await page.click(".result th:nth-child(2) button");
    const down = await values();
    expect(down.length === 5 && down.every((v, i) => i === 0 || v <= down[i - 1]), `not sorted: ${down}`);
    const asked = await server.query("max(shop_temperature_celsius)");
    expect(asked.length === 1 && down[0] === Number(asked[0].value[1]), `the greatest is ${down[0]}`);
    await shot(page, "explore-table");
    await page.click("[role=tab]:text-is('JSON')");
    await page.locator(".raw pre:has-text('resultType')").waitFor();
    await page.click("[role=tab]:text-is('Explain')");
    await page.locator(".tree .node").first().waitFor();
    expectSilent(page);
    await close(page);
});

suite.case("explain__nested_query__a_tree_with_what_each_operator_did", async () => {
    const page = await open(browser, explore(`sum by (job) (${RATE})`, { tab: "explain" }));
    await page.locator(".tree ul ul .node").waitFor();
    const whole = await page.textContent(".tree");
    expect(/sum by \(job\)/.test(whole) && /5 series/.test(whole) && /samples/.test(whole), `the tree says ${whole}`);
    await shot(page, "explore-explain");
    expectSilent(page);
    await close(page);
});

suite.case("table__scalar_string_range_and_histogram__are_told", async () => {
    for (const [expr, text] of [["1 + 1", "2"], ['"a string"', "a string"], ["shop_temperature_celsius[1m]", "@"], ["shop_orders_seconds", "count"]]) {
        const page = await open(browser, explore(expr, { tab: "table" }));
        await page.locator(`.answer :text("${text}")`).first().waitFor();
        expectSilent(page);
        await close(page);
    }
});

// ---- the editor ----

suite.case("editor__typing__completes_and_runs", async () => {
    const page = await open(browser, server.url);
    const editor = page.locator(".cm-content");
    await editor.click();
    await page.keyboard.type("shop_temp");
    await page.locator(".cm-tooltip-autocomplete >> text=shop_temperature_celsius").waitFor();
    await shot(page, "explore-completion");
    await page.waitForTimeout(120); // CodeMirror takes no Enter for a list that has just appeared
    await page.keyboard.press("Enter");
    await page.locator(".cm-content >> text=shop_temperature_celsius").waitFor();
    await page.keyboard.type("{inst");
    await page.locator(".cm-tooltip-autocomplete >> text=instance").waitFor();
    await page.keyboard.press("Escape");
    await page.keyboard.press("Control+A");
    await page.keyboard.type("up");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Control+Enter");
    await page.waitForSelector(legend(1));
    expect(search(page).get("g0.expr") === "up", `the link asks ${search(page).get("g0.expr")}`);
    await editor.click();
    await page.keyboard.press("Control+A");
    await page.keyboard.type("written");
    await page.keyboard.press("Escape");
    await page.keyboard.press("Control+ArrowUp");
    expect((await editor.textContent()) === "up", `an earlier query is ${await editor.textContent()}`);
    await page.keyboard.press("Control+ArrowDown");
    expect((await editor.textContent()) === "written", `what was written is ${await editor.textContent()}`);
    await page.click("summary:text-is('History')");
    await page.locator(".history li >> text=up").waitFor();
    expectSilent(page);
    await close(page);
});

suite.case("error__in_the_query__is_shown_at_its_place", async () => {
    const page = await open(browser, explore("sum(rate(up[5m])"));
    await page.locator(".note.error").waitFor();
    expect(/unclosed left parenthesis/.test(await page.textContent(".note.error")), "the server's words");
    await page.locator(".note.error .caret").waitFor();
    await page.locator(".cm-lintRange-error").first().waitFor();
    await shot(page, "explore-error");
    expectSilent(page, /400/);
    await close(page);
});

suite.case("stop__of_a_slow_query__ends_it_in_the_server", async () => {
    const page = await open(browser, explore(SLOW, { res_step: "1s" }));
    const active = async () => (await (await fetch(`${server.url}api/v1/status/active_queries`)).json()).data.length;
    await waitFor("the query to run", active);
    await page.click("button:text-is('Stop')");
    await page.waitForSelector("button:text-is('Run')");
    await waitFor("the server to stop", async () => (await active()) === 0);
    expect((await page.locator(".note.error").count()) === 0, "stopping is no error");
    expectSilent(page);
    await close(page);
});

suite.case("warning__of_an_answer__is_shown", async () => {
    const page = await open(browser, explore("histogram_quantile(2, shop_latency_seconds_bucket)"));
    await page.locator(".note.warning").waitFor();
    const info = await open(browser, explore("rate(shop_temperature_celsius[5m])"));
    await info.locator(".note.info").waitFor();
    for (const p of [page, info]) {
        expectSilent(p);
        await close(p);
    }
});

// ---- state ----

suite.case("link__two_panels__comes_back_whole", async () => {
    const panels = [panel(RATE, { display_mode: "stacked", res_type: "custom", res_step: "1m", range_input: "30m" }), panel("shop_temperature_celsius", { tab: "table" })];
    const page = await open(browser, link(panels));
    await page.waitForSelector(legend(5));
    await page.waitForSelector(".result tbody tr:nth-child(5)");
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.click("button:text-is('Share')");
    await page.getByText("Link copied").waitFor();
    const shared = new URL(await page.evaluate(() => navigator.clipboard.readText()));
    panels.forEach((p, i) => Object.entries(p).forEach(([k, v]) => expect(shared.searchParams.get(`g${i}.${k}`) === v, `g${i}.${k} is ${shared.searchParams.get(`g${i}.${k}`)}, was ${v}`)));
    const again = await open(browser, shared.href);
    await again.waitForSelector(legend(5));
    expect((await again.locator(".panel").count()) === 2, "two panels");
    await again.click("button:text-is('Add panel')");
    expect((await again.locator(".panel").count()) === 3, "three panels");
    await again.click("[aria-label='Remove panel 3']");
    expect((await again.locator(".panel").count()) === 2, "two panels again");
    for (const p of [page, again]) {
        expectSilent(p);
        await close(p);
    }
});

suite.case("link__of_prometheus__opens", async () => {
    const page = await open(browser, `${server.url}graph?g0.expr=up&g0.tab=1&g0.range_input=2h`);
    await page.waitForSelector(".result tbody tr");
    expect((await page.inputValue("[aria-label=Range]")) === "2h", "its range");
    expectSilent(page);
    await close(page);
});

suite.case("refresh__every_five_seconds__asks_again", async () => {
    const page = await open(browser, explore("up", { end_input: "" }));
    await page.waitForSelector(legend(1));
    let asked = 0;
    page.on("request", (r) => r.url().endsWith("query_range") && asked++);
    await page.selectOption(".toolbar select", "5000");
    await waitFor("a second question", () => asked >= 1);
    expect(search(page).get("refresh") === "5s", "the link has it");
    expectSilent(page);
    await close(page);
});

// ---- the other pages ----

const PAGES = [
    ["metrics", ".metric", /metrics/],
    ["cardinality", ".bars tbody tr", /tidalite_layer_duration_seconds_bucket/],
    ["storage", ".timeline .block", /Retention/],
    ["status", ".flags tbody tr", /storage\.tsdb\.path/],
];

suite.case("pages__each__shows_the_servers_data", async () => {
    for (const [name, selector, text] of PAGES) {
        const page = await open(browser, `${server.url}#${name}`);
        await page.waitForSelector(selector);
        await page.waitForLoadState("networkidle");
        expect(text.test(await page.textContent("main")), `${name}: no ${text}`);
        await shot(page, name);
        expectSilent(page);
        await close(page);
    }
});

suite.case("metrics__search_and_open__lead_to_a_query", async () => {
    const page = await open(browser, `${server.url}#metrics`);
    await page.fill("[aria-label='Search metrics']", "shop_orders");
    await page.click(".metric-name");
    await page.locator(".detail >> text=Time that orders take").waitFor();
    await page.locator(".detail >> text=native histogram").waitFor();
    await page.locator(".spark path").first().waitFor({ state: "attached" });
    await shot(page, "metrics-detail");
    await page.click(".detail >> text=Heat map");
    await page.waitForSelector(".chart.heat canvas");
    expectSilent(page);
    await close(page);
});

suite.case("cardinality__a_metric_that_is_asked_for__leaves_the_list_of_those_that_are_not", async () => {
    const list = "section:has(h2:has-text('What no query has asked for'))";
    const page = await open(browser, `${server.url}#cardinality`);
    await page.waitForSelector(`${list} td.name`);
    const name = (await page.locator(`${list} td.name`).first().textContent()).trim();
    expect((await server.query(`count(${name})`)).length === 1, `${name} is there`);
    await page.reload();
    await page.waitForSelector(`${list} td.name`);
    expect(!(await page.locator(`${list} td.name`).allTextContents()).map((t) => t.trim()).includes(name), `${name} was asked for and is still in the list`);
    await page.fill("[aria-label=Selector]", '{job="shop"}');
    await page.click("button:text-is('Count')");
    await page.locator("section:has(h2:has-text('deletion')) dd").first().waitFor();
    const series = Number(await page.textContent("section:has(h2:has-text('deletion')) dd >> nth=0"));
    expect(series === 36, `a deletion of the shop would free ${series} series`);
    expectSilent(page);
    await close(page);
});

suite.case("status__a_query_that_runs__can_be_cancelled", async () => {
    const page = await open(browser, `${server.url}#status`);
    // As dear as the flags allow: many steps over many windows.
    const slow = fetch(`${server.url}api/v1/query_range`, { method: "POST", body: new URLSearchParams({ query: SLOW, start: times.end - 3600, end: times.end, step: 1 }) });
    await page.click("button.danger");
    const answer = await slow;
    expect(answer.status === 499 || answer.status === 503 || answer.status === 422, `the cancelled query answered ${answer.status}`);
    await page.getByText("None.").waitFor();
    expectSilent(page);
    await close(page);
});

suite.case("door__prefix_and_password__the_page_works_behind_them", async () => {
    const guarded = new Tidalite();
    const user = { username: "reader", password: "low tide" };
    const config = join(guarded.data, "web.yml");
    writeFileSync(config, "basic_auth_users: {reader: $2b$05$abcdefghijklmnopqrstuupY1edTk6pyqoz6dR5yCWh60ErwvuWKS}\n");
    try {
        await guarded.start({ under: "tidal/" }, "--web.route-prefix=/tidal", `--web.config.file=${config}`, "--self-scrape.interval=1s");
        expect((await fetch(guarded.url)).status === 401, "the page is for users only");
        const page = await open(browser, `${guarded.url}graph?g0.expr=up&g0.tab=table&refresh=5s`, { httpCredentials: user });
        await page.waitForSelector(".result tbody tr");
        await page.click("nav a[href='#status']");
        await page.waitForSelector(".flags tbody tr");
        expectSilent(page);
        await close(page);
    } finally {
        guarded.stop();
    }
});

suite.case("utc__a_browser_elsewhere__shows_both", async () => {
    const page = await open(browser, explore(RATE), { timezoneId: "Asia/Kathmandu" }); // 5:45 ahead
    await page.waitForSelector(legend(5));
    const end = () => page.inputValue("[aria-label='End of the range']");
    const there = await end();
    await page.click("button:text-is('UTC')");
    await page.waitForSelector(legend(5));
    const here = await end();
    expect(here.slice(0, 16) === utc(times.end).slice(0, 16).replace(" ", "T"), `in UTC it ends at ${here}`);
    expect(Date.parse(`${there}Z`) - Date.parse(`${here}Z`) === 345 * 60_000, `there it ends at ${there}`);
    await page.reload();
    await page.waitForSelector(legend(5));
    expect((await end()) === here, "UTC is remembered");
    expectSilent(page);
    await close(page);
});

// ---- looks ----

suite.case("axe__every_page_in_both_themes__nothing_serious", async () => {
    for (const colorScheme of ["light", "dark"]) {
        // The dark theme differs in its colours alone.
        const options = colorScheme === "dark" ? { runOnly: ["color-contrast"] } : {};
        const page = await open(browser, explore(RATE), { colorScheme });
        await page.waitForSelector(legend(5));
        await page.locator(".cm-content").waitFor();
        await expectAccessible(page, `explore, ${colorScheme}`, options);
        await shot(page, `explore-${colorScheme}`);
        for (const [name, selector] of PAGES) {
            await page.click(`nav a[href='#${name}']`);
            await page.waitForSelector(selector);
            await page.waitForLoadState("networkidle");
            await expectAccessible(page, `${name}, ${colorScheme}`, options);
        }
        await close(page);
    }
});

suite.case("phone__every_page__fits_its_width", async () => {
    const page = await open(browser, explore(RATE), { viewport: { width: 375, height: 740 } });
    await page.waitForSelector(legend(5));
    const fits = async (name) => {
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        await shot(page, `phone-${name}`);
        expect(width <= 375, `${name} is ${width} pixels wide`);
    };
    await fits("explore");
    for (const [name, selector] of PAGES) {
        await page.click(`nav a[href='#${name}']`);
        await page.waitForSelector(selector);
        await page.waitForLoadState("networkidle");
        await fits(name);
    }
    expectSilent(page);
    await close(page);
});

suite.case("keyboard__tab_order__skip_link_navigation_query", async () => {
    const page = await open(browser, explore(RATE));
    await page.waitForSelector(legend(1));
    await page.locator(".cm-content").waitFor();
    const focus = () => page.evaluate(() => {
        const e = document.activeElement;
        return e.getAttribute("aria-label") ?? e.textContent.trim();
    });
    const seen = [];
    for (let i = 0; i < 9; i++) {
        await page.keyboard.press("Tab");
        seen.push(await focus());
    }
    expect(seen.slice(0, 6).join("|") === "Skip to the content|Explore|Metrics|Cardinality|Storage|Status", `focus goes ${seen.join("|")}`);
    expectSilent(page);
    await close(page);
});

// The README's picture: TIDALITE_UI_PICTURE=docs/ui.png writes it.
suite.case("picture__a_graph_and_a_heat_map__as_in_the_readme", async () => {
    const heat = { display_mode: "heatmap", res_type: "custom", res_step: "15s" };
    const page = await open(browser, link([panel("shop_temperature_celsius", { display_mode: "stacked" }), panel("sum(rate(shop_orders_seconds[5m]))", heat)]), { viewport: { width: 1180, height: 900 } });
    await page.waitForSelector(legend(5));
    await page.waitForSelector(".chart.heat canvas");
    await page.locator(".cm-content").nth(1).waitFor();
    const path = await shot(page, "readme", { fullPage: true });
    if (process.env.TIDALITE_UI_PICTURE) copyFileSync(path, join(ROOT, process.env.TIDALITE_UI_PICTURE));
    expectSilent(page);
    await close(page);
});

export async function setUp() {
    times = await startFilled(server, "--self-scrape.interval=1s");
    browser = await launch();
}

export async function tearDown() {
    await browser?.close();
    server.stop();
}

// The page in a real browser, over a real server with real data: node tests/ui/test_ui.mjs [word ...]
// Screenshots are left in build/ui-screenshots/.
import { Suite, Tidalite, close, colourPixels, expect, expectSilent, fill, launch, open, shot } from "./rig.mjs";

const suite = new Suite();
const server = new Tidalite();
let browser;
let times;

const link = (panels) => `${server.url}?${panels.map((p, i) => Object.entries(p).map(([k, v]) => `g${i}.${k}=${encodeURIComponent(v)}`).join("&")).join("&")}`;
const utc = (s) => new Date(s * 1000).toISOString().slice(0, 19).replace("T", " ");
const explore = (expr, more = {}) => link([{ expr, tab: "graph", range_input: "1h", end_input: utc(times.end), ...more }]);

suite.case("graph__five_series__five_colours_are_drawn", async () => {
    const page = await open(browser, explore("rate(shop_requests_total[5m])"));
    await page.waitForSelector(".legend tbody tr:nth-child(5)");
    const { pixels, colours } = await colourPixels(page);
    expect(pixels > 2000 && colours >= 5, `${pixels} coloured pixels in ${colours} colours`);
    await shot(page, "explore-graph");
    expectSilent(page);
    await close(page);
});

let status = 1;
try {
    await server.start("--self-scrape.interval=1s");
    times = await fill(server);
    browser = await launch();
    status = await suite.run(process.argv.slice(2));
} finally {
    await browser?.close();
    server.stop();
}
process.exit(status);

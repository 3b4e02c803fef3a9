// What a page from elsewhere tries in an operator's browser: posts across sites, reads, frames, and rebinding, where its own name
// suddenly leads to the server's address.
import { createServer } from "node:http";
import { chromium } from "playwright-core";
import { chromiumPath, expect, suite, Tidalite } from "./rig.mjs";

// Names of the attacker lead to this machine, as a rebound DNS answer would.
function launchRebound() {
    return chromium.launch({ executablePath: chromiumPath(), args: ["--no-sandbox", "--host-resolver-rules=MAP *.example 127.0.0.1"] });
}

function foreignSite() {
    return new Promise((done) => {
        const site = createServer((_, answer) => answer.writeHead(200, { "Content-Type": "text/html" }).end("<!doctype html><title>elsewhere</title>"));
        site.listen(0, "127.0.0.1", () => done(site));
    });
}

async function withAttack(flags, fn) {
    const server = await new Tidalite().start({}, "--web.enable-lifecycle", "--web.enable-admin-api", ...flags);
    const site = await foreignSite();
    const browser = await launchRebound();
    try {
        await fn(server, `http://attacker.example:${site.address().port}/`, await browser.newPage());
    } finally {
        await browser.close();
        site.close();
        server.stop();
    }
}

suite.case("attack__posts_from_another_site__nothing_changes", () =>
    withAttack([], async (server, foreign, page) => {
        await page.goto(foreign);
        // As a simple request, which no preflight goes before; what comes back is opaque to the page.
        await page.evaluate(async (url) => {
            for (const path of ["-/quit", "-/reload", "api/v1/admin/tsdb/snapshot", "api/v1/admin/tsdb/delete_series?match[]=up", "api/v1/import/prometheus", "api/v1/write"]) {
                for (const method of ["POST", "GET"]) {
                    await fetch(url + path, { method, mode: "no-cors", body: method === "POST" ? "planted 1\n" : undefined }).catch(() => {});
                }
            }
        }, server.url);
        // A form, and a frame of it.
        await page.setContent(`<form method="post" action="${server.url}-/quit" target="f"><button>x</button></form><iframe name="f"></iframe>`);
        await page.click("button");
        await page.waitForTimeout(500);
        expect((await fetch(`${server.url}-/healthy`)).ok, "the server was stopped from another site");
        expect((await server.query("planted")).length === 0, "a sample was planted from another site");
    }));

suite.case("attack__reads_from_another_site__kept_from_the_page", () =>
    withAttack([], async (server, foreign, page) => {
        await page.goto(foreign);
        const got = await page.evaluate((url) => fetch(`${url}api/v1/query?query=1`).then((r) => r.text(), (e) => `refused: ${e.name}`), server.url);
        expect(got.startsWith("refused"), `the page read: ${got}`);
        await page.setContent(`<iframe src="${server.url}"></iframe>`);
        await page.waitForTimeout(500);
        const inside = page.frames().find((f) => f !== page.mainFrame());
        expect(!inside || !(await inside.content().catch(() => "")).includes("<nav"), "the page was put into a frame");
    }));

suite.case("attack__a_name_that_leads_here_suddenly__403", () =>
    withAttack([], async (server, _, page) => {
        const rebound = server.url.replace("127.0.0.1", "attacker.example");
        const answer = await page.goto(`${rebound}api/v1/query?query=1`);
        expect(answer.status() === 403, `a rebound name was answered ${answer.status()}`);
        const posted = await page.evaluate(() => fetch("/-/quit", { method: "POST" }).then((r) => r.status));
        expect(posted === 403, `a rebound post was answered ${posted}`);
        expect((await fetch(`${server.url}-/healthy`)).ok, "the server was stopped");
    }));

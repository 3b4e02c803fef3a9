// Bundle the page and write it as a table in C: node build.mjs OUT.c
// The names of all files but index.html carry a hash of their content, so that a browser may keep them for ever.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const FIRST_PAINT_BYTES_MAX = 200_000; // gzipped: page, script and style, without which nothing is seen
const out = process.argv[2];

const bundle = await build({
    entryPoints: { page: "src/main.tsx" },
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    bundle: true,
    splitting: true,
    minify: true,
    write: false,
    metafile: true,
    outdir: "out",
    format: "esm",
    target: ["chrome110", "firefox110", "safari16.4"],
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none", // what they say is in licenses.txt
    logLevel: "warning",
});

const hash = (bytes) => createHash("sha256").update(bytes).digest("hex").slice(0, 12);

// The packages whose code is in the bundle, with the text of their licenses.
function licenses() {
    const names = new Set();
    for (const input of Object.keys(bundle.metafile.inputs)) {
        const found = /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
        if (found) names.add(found[1]);
    }
    return [...names].sort().map((name) => {
        const folder = join("node_modules", name);
        const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
        const file = readdirSync(folder).find((f) => /^(licen[sc]e|copying)/i.test(f));
        return `${name} ${version} (${license})\n\n${file ? readFileSync(join(folder, file), "utf8") : ""}`;
    }).join(`\n${"-".repeat(78)}\n`);
}

const files = [];
function add(name, type, content) {
    const bytes = Buffer.from(content);
    files.push({ name, type, bytes, etag: `"${hash(bytes)}"`, gzip: gzipSync(bytes, { level: 9 }) });
    return name;
}
const hashed = (stem, extension, content) => `${stem}-${hash(Buffer.from(content))}.${extension}`;

const TYPES = { js: "text/javascript; charset=utf-8", css: "text/css; charset=utf-8" };
for (const f of bundle.outputFiles) add(basename(f.path), TYPES[f.path.split(".").pop()], f.contents);
const entry = (extension) => files.find((f) => new RegExp(`^page-.*\\.${extension}$`).test(f.name)).name;
const icon = readFileSync("icon.svg", "utf8");
const legal = licenses();
const names = {
    SCRIPT: entry("js"),
    STYLE: entry("css"),
    ICON: add(hashed("icon", "svg", icon), "image/svg+xml", icon),
    LICENSES: add(hashed("licenses", "txt", legal), "text/plain; charset=utf-8", legal),
};
let index = readFileSync("index.html", "utf8");
for (const [word, name] of Object.entries(names)) index = index.replaceAll(word, name);
add("index.html", "text/html; charset=utf-8", index);

// What the entry imports at once; the rest is loaded when the page is there.
function staticFiles(name, found = new Set([name])) {
    for (const i of bundle.metafile.outputs[`out/${name}`].imports) {
        const next = basename(i.path);
        if (i.kind === "import-statement" && !found.has(next)) staticFiles(next, found.add(next));
    }
    return found;
}
const atOnce = new Set([...staticFiles(names.SCRIPT), names.STYLE, "index.html"]);
const first = files.filter((f) => atOnce.has(f.name)).reduce((sum, f) => sum + f.gzip.length, 0);
if (first > FIRST_PAINT_BYTES_MAX) {
    console.error(`ui: first paint takes ${first} bytes gzipped, more than ${FIRST_PAINT_BYTES_MAX}`);
    process.exit(1);
}

const lines = ['/* Made by ui/build.mjs. */\n#include "server/api/ui_files.h"\n'];
files.forEach((f, i) => {
    lines.push(`static const uint8_t file_${i}[] = {`);
    for (let at = 0; at < f.gzip.length; at += 40) lines.push(`${[...f.gzip.subarray(at, at + 40)].join(",")},`);
    lines.push("};");
});
lines.push("const struct ui_file ui_files[] = {");
files.forEach((f, i) => {
    const row = [f.name, f.type, f.etag].map((s) => JSON.stringify(s)).join(", ");
    lines.push(`    {${row}, file_${i}, sizeof file_${i}, ${f.bytes.length}},`);
});
lines.push("};", `const size_t ui_file_count = ${files.length};`, "");
if (!existsSync(dirname(out))) mkdirSync(dirname(out), { recursive: true });
writeFileSync(out, lines.join("\n"));
console.log(`ui: ${files.length} files, first paint ${first} bytes gzipped`);

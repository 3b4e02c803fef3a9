// The query editor: CodeMirror with Prometheus's own language package.  It lives in a shadow root, where its styles are
// constructed sheets, so that the page's policy needs no inline styles.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, startCompletion } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap, insertNewlineAndIndent } from "@codemirror/commands";
import { HighlightStyle, bracketMatching, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, forceLinting, linter } from "@codemirror/lint";
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { PromQLExtension } from "@prometheus-io/codemirror-promql";
import { useEffect, useRef } from "preact/hooks";
import { ApiError, baseUrl, placeOf, post, request } from "./api";
import type { EditorProps, Note } from "./query_field";
import { queryHistory } from "./state";

const highlight = HighlightStyle.define([
    { tag: tags.keyword, color: "var(--code-keyword)", fontWeight: "600" },
    { tag: [tags.function(tags.variableName), tags.modifier], color: "var(--code-function)" },
    { tag: [tags.string, tags.regexp], color: "var(--code-string)" },
    { tag: [tags.number, tags.literal], color: "var(--code-number)" },
    { tag: tags.labelName, color: "var(--code-label)" },
    { tag: tags.variableName, color: "var(--text)" },
    { tag: tags.comment, color: "var(--muted)", fontStyle: "italic" },
    { tag: tags.invalid, color: "var(--bad)" },
]);

const theme = EditorView.theme({
    "&": { fontSize: "14px", color: "var(--text)", backgroundColor: "var(--field)" },
    "&.cm-focused": { outline: "none" },
    ".cm-content": { fontFamily: "var(--mono)", padding: "7px 0", caretColor: "var(--text)" },
    ".cm-line": { padding: "0 10px" },
    ".cm-scroller": { maxHeight: "14em", overflow: "auto" },
    ".cm-placeholder": { color: "var(--muted)" },
    ".cm-cursor": { borderLeftColor: "var(--text)" },
    "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--selection) !important" },
    ".cm-matchingBracket": { backgroundColor: "var(--selection) !important" },
    ".cm-tooltip": { backgroundColor: "var(--panel)", color: "var(--text)", border: "1px solid var(--line)", maxWidth: "90vw" },
    ".cm-tooltip-autocomplete > ul": { fontFamily: "var(--mono)", maxHeight: "22em" },
    ".cm-tooltip-autocomplete > ul > li[aria-selected]": { backgroundColor: "var(--accent)", color: "var(--on-accent)" },
    ".cm-completionDetail": { color: "inherit", opacity: "0.8" },
    ".cm-diagnostic": { fontFamily: "var(--sans)", fontSize: "13px" },
    ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--bad)" },
    ".cm-lintRange-warning": { backgroundImage: "none", textDecoration: "underline wavy var(--warn)" },
});

// What the server says, at its place.  Columns count bytes, from 1.
function diagnostic(state: EditorState, note: Note): Diagnostic | null {
    const place = placeOf(note.text);
    if (!place || place.line > state.doc.lines) return null;
    const line = state.doc.line(place.line);
    const head = new TextDecoder().decode(new TextEncoder().encode(line.text).subarray(0, place.column - 1));
    const from = Math.min(line.from + head.length, line.to);
    const word = /^[\w:]+/.exec(state.sliceDoc(from, line.to))?.[0].length ?? 1;
    const to = Math.min(from + word, state.doc.length);
    return { from: from === to ? Math.max(from - 1, 0) : from, to, severity: note.severity, message: note.text };
}

async function parseErrors(view: EditorView): Promise<Diagnostic[]> {
    const query = view.state.doc.toString();
    if (!query.trim()) return [];
    try {
        await post("parse_query", { query });
    } catch (error) {
        if (error instanceof ApiError && error.status === 400) {
            const found = diagnostic(view.state, { severity: "error", text: error.message.replace('invalid parameter "query": ', "") });
            if (found) return [found];
        }
    }
    return [];
}

function completion(): PromQLExtension {
    const fetchFn = (input: RequestInfo, init?: RequestInit) => request(String(input), init);
    return new PromQLExtension()
        .activateLinter(false) // the server's own parser is asked instead: it knows which features are on
        .setComplete({ remote: { url: baseUrl.replace(/\/$/, ""), fetchFn, cache: { maxAge: 60_000 }, lookbackInterval: 12 * 3_600_000 } });
}

function replaceAll(view: EditorView, text: string): void {
    view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text }, selection: { anchor: text.length } });
}

// Ctrl and an arrow go through the queries that were run; below the newest is what was being written.
function historyKeys() {
    let at = -1;
    let written = "";
    const step = (way: 1 | -1) => (view: EditorView) => {
        const list = queryHistory();
        const next = Math.max(Math.min(at + way, list.length - 1), -1);
        if (next === at) return true;
        if (at < 0) written = view.state.doc.toString();
        at = next;
        replaceAll(view, at < 0 ? written : list[at]!);
        return true;
    };
    return [
        { key: "Ctrl-ArrowUp", run: step(1) },
        { key: "Ctrl-ArrowDown", run: step(-1) },
    ];
}

export function CodeEditor(props: EditorProps) {
    const host = useRef<HTMLDivElement>(null);
    const view = useRef<EditorView | null>(null);
    const latest = useRef(props);
    latest.current = props;

    useEffect(() => {
        const root = host.current!.shadowRoot ?? host.current!.attachShadow({ mode: "open" });
        const promql = completion();
        const run = () => (latest.current.onRun(), true);
        const state = EditorState.create({
            doc: latest.current.draft.current,
            extensions: [
                history(),
                bracketMatching(),
                closeBrackets(),
                autocompletion({ icons: false }),
                promql.asExtension(),
                syntaxHighlighting(highlight),
                theme,
                placeholder("PromQL, for example rate(tidalite_ingest_samples_total[5m])"),
                EditorView.lineWrapping,
                EditorView.contentAttributes.of({ "aria-label": latest.current.label }),
                linter(async (v) => [...(await parseErrors(v)), ...latest.current.notes.flatMap((n) => diagnostic(v.state, n) ?? [])], { delay: 300 }),
                // Enter takes a completion where one is offered (its keymap is of a higher precedence), and else runs the query.
                keymap.of([
                    { key: "Enter", run },
                    { key: "Mod-Enter", run },
                    { key: "Shift-Enter", run: insertNewlineAndIndent },
                    { key: "Mod-Space", run: startCompletion },
                    ...historyKeys(),
                    ...closeBracketsKeymap,
                    ...historyKeymap,
                    ...completionKeymap,
                    ...defaultKeymap,
                ]),
                EditorView.updateListener.of((u) => u.docChanged && (latest.current.draft.current = u.state.doc.toString())),
            ],
        });
        const holder = document.createElement("div");
        root.replaceChildren(holder);
        view.current = new EditorView({ state, parent: holder, root });
        return () => {
            promql.destroy();
            view.current?.destroy();
        };
    }, []);

    useEffect(() => {
        const v = view.current!;
        const text = latest.current.draft.current;
        if (v.state.doc.toString() !== text) replaceAll(v, text);
    }, [props.version]);
    useEffect(() => {
        if (view.current) forceLinting(view.current);
    }, [props.notes]);

    return <div class="editor" ref={host} />;
}

// Where a query is written: a plain field at once, CodeMirror as soon as it has come.
import { type FunctionComponent } from "preact";
import { useEffect, useState } from "preact/hooks";

export interface Note {
    severity: "error" | "warning" | "info";
    text: string;
}
export interface EditorProps {
    draft: { current: string }; // the text; the editor writes it, and reads it anew when `version` changes
    version: number;
    label: string;
    notes: Note[];
    onRun: () => void;
}

let loaded: FunctionComponent<EditorProps> | null = null;

export function Editor(props: EditorProps) {
    const [, setReady] = useState(loaded !== null);
    useEffect(() => {
        void import("./editor").then(({ CodeEditor }) => {
            loaded = CodeEditor;
            setReady(true);
        });
    }, []);
    const Code = loaded;
    if (Code) return <Code {...props} />;
    const onKeyDown = (e: KeyboardEvent) => {
        if (e.key !== "Enter" || e.shiftKey) return;
        e.preventDefault();
        props.onRun();
    };
    return <textarea class="editor" rows={1} aria-label={props.label} value={props.draft.current} onInput={(e) => (props.draft.current = e.currentTarget.value)} onKeyDown={onKeyDown} />;
}

import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import "uplot/dist/uPlot.min.css";
import { Cardinality } from "./cardinality";
import { Explore } from "./explore";
import { setUtc } from "./format";
import { Metrics } from "./metrics";
import { Status } from "./status";
import { Storage } from "./storage";
import "./style.css";

const VIEWS = [
    ["", "Explore", Explore],
    ["metrics", "Metrics", Metrics],
    ["cardinality", "Cardinality", Cardinality],
    ["storage", "Storage", Storage],
    ["status", "Status", Status],
] as const;

// ---- light and dark ----

const THEME_KEY = "tidalite.theme";
type Theme = "auto" | "light" | "dark";
const THEMES: Record<Theme, { next: Theme; text: string }> = {
    auto: { next: "light", text: "Theme: as the system" },
    light: { next: "dark", text: "Theme: light" },
    dark: { next: "auto", text: "Theme: dark" },
};

function storedTheme(): Theme {
    try {
        const t = localStorage.getItem(THEME_KEY);
        return t === "light" || t === "dark" ? t : "auto";
    } catch {
        return "auto";
    }
}

function applyTheme(theme: Theme): void {
    const dark = theme === "dark" || (theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
    document.documentElement.dataset["theme"] = dark ? "dark" : "light";
    dispatchEvent(new Event("themechange"));
}

function ThemeButton() {
    const [theme, setTheme] = useState(storedTheme);
    useEffect(() => {
        applyTheme(theme);
        const media = matchMedia("(prefers-color-scheme: dark)");
        const follow = () => applyTheme(theme);
        media.addEventListener("change", follow);
        return () => media.removeEventListener("change", follow);
    }, [theme]);
    const next = () => {
        const t = THEMES[theme].next;
        try {
            localStorage.setItem(THEME_KEY, t);
        } catch {
            // then it lasts as long as the page
        }
        setTheme(t);
    };
    return (
        <button type="button" class="theme" title={THEMES[theme].text} aria-label={THEMES[theme].text} onClick={next}>
            {theme === "auto" ? "◐" : theme === "light" ? "☀" : "☾"}
        </button>
    );
}

// ---- the browser's time, or UTC ----

const UTC_KEY = "tidalite.utc";

function storedUtc(): boolean {
    try {
        return localStorage.getItem(UTC_KEY) === "1";
    } catch {
        return false;
    }
}

function UtcButton({ on, onChange }: { on: boolean; onChange: (on: boolean) => void }) {
    const toggle = () => {
        try {
            localStorage.setItem(UTC_KEY, on ? "0" : "1");
        } catch {
            // then it lasts as long as the page
        }
        onChange(!on);
    };
    return (
        <button type="button" aria-pressed={on} title="Times in UTC" onClick={toggle}>
            UTC
        </button>
    );
}

// ---- the frame ----

function viewOf(hash: string): string {
    const name = hash.replace(/^#/, "");
    return VIEWS.some(([v]) => v === name) ? name : "";
}

function Page() {
    const [view, setView] = useState(() => viewOf(location.hash));
    const [utc, setUtcState] = useState(storedUtc);
    setUtc(utc);
    useEffect(() => {
        const follow = () => setView(viewOf(location.hash));
        addEventListener("hashchange", follow);
        addEventListener("popstate", follow);
        return () => {
            removeEventListener("hashchange", follow);
            removeEventListener("popstate", follow);
        };
    }, []);
    const [, title, View] = VIEWS.find(([v]) => v === view)!;
    useEffect(() => {
        document.title = `${title} – Tidalite`;
    }, [title]);
    return (
        <>
            <a class="skip" href="#main" onClick={(e) => (e.preventDefault(), document.getElementById("main")!.focus())}>
                Skip to the content
            </a>
            <header>
                <span class="brand">
                    <svg viewBox="0 0 32 32" aria-hidden="true">
                        <path d="M5 10c4-5 7 5 11 0s7 5 11 0M5 17c4-5 7 5 11 0s7 5 11 0M5 24c4-5 7 5 11 0s7 5 11 0" />
                    </svg>
                    Tidalite
                </span>
                <nav aria-label="Views">
                    {VIEWS.map(([v, text]) => (
                        <a key={v} href={v === "" ? location.pathname + location.search : `#${v}`} aria-current={v === view ? "page" : undefined} onClick={v === "" ? (e) => (e.preventDefault(), toExplore(() => setView(""))) : undefined}>
                            {text}
                        </a>
                    ))}
                </nav>
                <UtcButton on={utc} onChange={setUtcState} />
                <ThemeButton />
            </header>
            <main id="main" tabIndex={-1}>
                <View key={String(utc)} />
            </main>
        </>
    );
}

// Back to where Explore was left; its state is in the address line all the time.
function toExplore(done: () => void): void {
    if (location.hash) history.pushState(null, "", location.pathname + location.search);
    done();
}

applyTheme(storedTheme());
render(<Page />, document.getElementById("page")!);

// The server's HTTP API, the same one that Grafana uses.  All paths are relative to the page, so that a route prefix works.

export type Labels = Record<string, string>;
export type Point = [number, string];
export type Bucket = [number, string, string, string];
export interface HistogramValue {
    count: string;
    sum: string;
    buckets?: Bucket[];
}
export type HistogramPoint = [number, HistogramValue];
export interface RangeSeries {
    metric: Labels;
    values?: Point[];
    histograms?: HistogramPoint[];
}
export interface InstantSeries {
    metric: Labels;
    value?: Point;
    histogram?: HistogramPoint;
    values?: Point[];
    histograms?: HistogramPoint[];
}
export interface Stats {
    timings?: Record<string, number>;
    samples?: Record<string, unknown>;
}
export interface Explained {
    operator: string;
    expr: string;
    series: number;
    samples: number;
    chunks: { read: number; cached: number; skipped: number };
    seconds: number;
    children: Explained[];
}
export type QueryData = { stats?: Stats; explain?: Explained } & (
    | { resultType: "matrix"; result: RangeSeries[] }
    | { resultType: "vector"; result: InstantSeries[] }
    | { resultType: "scalar" | "string"; result: Point }
);
export interface Answer<T> {
    data: T;
    warnings: string[];
    infos: string[];
    bytes: number;
    milliseconds: number;
}

// Where in a query something is, from 1.
export interface Place {
    line: number;
    column: number;
}

export class ApiError extends Error {
    constructor(
        readonly status: number,
        readonly type: string,
        message: string,
    ) {
        super(message);
    }
}

// What a failed request means to a person.
export function errorText(error: unknown): string {
    if (error instanceof ApiError) return error.message;
    if (error instanceof TypeError) return "the server does not answer";
    return String(error);
}

// `1:3: parse error: ...` and `... (1:3)`: where errors, warnings and infos say that they are.
export function placeOf(text: string): Place | null {
    const found = /(?:^|": |\s)(\d+):(\d+): /.exec(text) ?? /\((\d+):(\d+)\)$/.exec(text);
    return found ? { line: Number(found[1]), column: Number(found[2]) } : null;
}

export const baseUrl = new URL(".", document.baseURI).href;

// The browser has asked for a password when it loaded the page, and sends it along.
export function request(path: string, init: RequestInit = {}): Promise<Response> {
    return fetch(new URL(path, baseUrl), init);
}

export type Params = Record<string, string | number | string[] | undefined>;

function formOf(params: Params): URLSearchParams {
    const form = new URLSearchParams();
    for (const [name, value] of Object.entries(params)) {
        if (value === undefined) continue;
        for (const one of Array.isArray(value) ? value : [value]) form.append(name, String(one));
    }
    return form;
}

export function apiUrl(endpoint: string, params: Params): string {
    return new URL(`api/v1/${endpoint}?${formOf(params)}`, baseUrl).href;
}

interface Envelope {
    status?: string;
    data?: unknown;
    errorType?: string;
    error?: string;
    warnings?: string[];
    infos?: string[];
}

async function call<T>(path: string, init: RequestInit): Promise<Answer<T>> {
    const begin = performance.now();
    const response = await request(`api/v1/${path}`, init);
    const text = await response.text();
    let envelope: Envelope = {};
    try {
        if (text) envelope = JSON.parse(text) as Envelope;
    } catch {
        // plain text: the server is starting, or something stands in front of it
    }
    if (!response.ok || envelope.status !== "success") {
        const message = envelope.error ?? (text.trim() || response.statusText);
        throw new ApiError(response.status, envelope.errorType ?? "http", message);
    }
    return {
        data: envelope.data as T,
        warnings: envelope.warnings ?? [],
        infos: envelope.infos ?? [],
        bytes: text.length,
        milliseconds: performance.now() - begin,
    };
}

export function get<T>(endpoint: string, params: Params = {}, signal?: AbortSignal): Promise<Answer<T>> {
    const form = formOf(params).toString();
    return call<T>(form ? `${endpoint}?${form}` : endpoint, { signal });
}

// Queries go as forms: they may be longer than a URL.
export function post<T>(endpoint: string, params: Params, signal?: AbortSignal): Promise<Answer<T>> {
    return call<T>(endpoint, { method: "POST", body: formOf(params), signal });
}

// A query that the page asks by itself, to show that there is something: it does not count as use of a metric.
export function peek(endpoint: "query" | "query_range", params: Params, signal?: AbortSignal): Promise<Answer<QueryData>> {
    return post<QueryData>(endpoint, { ...params, track_names: 0 }, signal);
}

// The numbers of an instant vector.
export async function instantNumbers(query: string, signal?: AbortSignal): Promise<{ metric: Labels; value: number }[]> {
    const answer = await peek("query", { query }, signal);
    if (answer.data.resultType !== "vector") return [];
    return answer.data.result.map((s) => ({ metric: s.metric, value: Number(s.value?.[1] ?? NaN) }));
}

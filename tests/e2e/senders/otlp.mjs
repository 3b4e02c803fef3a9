// otlp.mjs URL proto|http COMPRESSION: the exporters of OpenTelemetry's SDK, one export of every kind of instrument.
// Prints how the export went.
import { MeterProvider, PeriodicExportingMetricReader, AggregationTemporality, AggregationType } from "@opentelemetry/sdk-metrics";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { OTLPMetricExporter as Proto } from "@opentelemetry/exporter-metrics-otlp-proto";
import { OTLPMetricExporter as Http } from "@opentelemetry/exporter-metrics-otlp-http";

const [url, kind, compression] = process.argv.slice(2);
const Exporter = kind === "proto" ? Proto : Http;
const exporter = new Exporter({ url, temporalityPreference: AggregationTemporality.CUMULATIVE, compression });
const results = [];
const inner = exporter.export.bind(exporter);
exporter.export = (metrics, done) => inner(metrics, (r) => { results.push(r); done(r); });
const provider = new MeterProvider({
  resource: resourceFromAttributes({ "service.name": "shop", "service.namespace": "tests", "service.instance.id": kind, "host.name": "h1" }),
  readers: [new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3600_000, exportTimeoutMillis: 20_000 })],
  views: [{ instrumentName: "native.size", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } }],
});
const meter = provider.getMeter("senders", "1.0");
meter.createCounter("http.requests", { description: "requests so far" }).add(42, { "http.method": "GET", code: 200 });
meter.createUpDownCounter("queue.length").add(-3);
meter.createObservableGauge("room.temperature", { unit: "Cel" }).addCallback((r) => r.observe(21.5, { room: "a" }));
const latency = meter.createHistogram("latency", { unit: "s", advice: { explicitBucketBoundaries: [0.1, 1, 10] } });
for (const v of [0.05, 0.5, 0.5, 5, 50]) latency.record(v);
const native = meter.createHistogram("native.size", { unit: "By" });
for (const v of [1, 2, 3, 1000, 0]) native.record(v);
await provider.forceFlush();
await provider.shutdown();
console.log(JSON.stringify({ ok: results.length > 0 && results.every((r) => r.code === 0), errors: results.map((r) => r.error && String(r.error)).filter(Boolean) }));

// remote_write.mjs URL TIME_MS: npm's prometheus-remote-write, a gauge of now and a series with times of its own.
import { pushMetrics, pushTimeseries } from "prometheus-remote-write";

const [url, time] = process.argv.slice(2);
const options = { url, fetch, labels: { service: "worker" }, verbose: false, timing: false };
const answers = [
  await pushMetrics({ queue_depth_total: 100 }, options),
  await pushTimeseries({ labels: { __name__: "pushed", zone: "b" }, samples: [1, 2, 3].map((v) => ({ value: v, timestamp: Number(time) + v * 1000 })) }, options),
];
console.log(JSON.stringify({ ok: answers.every((a) => a.status === 204), errors: answers.map((a) => a.errorMessage).filter(Boolean) }));

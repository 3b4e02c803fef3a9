#!/usr/bin/env python3
"""make demo: a real Prometheus writes to Tidalite for a minute, Tidalite cuts blocks, is killed and restarted, the answers are compared."""
import argparse
import os
import sys
import time

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("--binary", help="the tidalite to show")
p.add_argument("--seconds", type=int, default=62, help="how long to scrape (62)")
p.add_argument("--keep", action="store_true", help="leave the servers running afterwards, until Ctrl-C")
args = p.parse_args()
if args.binary:
    os.environ["TIDALITE_BINARY"] = os.path.abspath(args.binary)

import lib       # noqa: E402: reads TIDALITE_BINARY
import peers     # noqa: E402
import scenario  # noqa: E402

BEGIN = time.monotonic()


def say(text):
    print(f"[{time.monotonic() - BEGIN:5.1f} s] {text}", flush=True)


def show(run):
    say("a few answers, Prometheus | Tidalite:")
    for expr in ("count(up)", "node_load1", f"sum(rate(node_cpu_seconds_total{{mode!='idle'}}[{scenario.WINDOW}s]))",
                 f"histogram_quantile(0.9, sum by (le) (rate(prometheus_http_request_duration_seconds_bucket[{scenario.WINDOW}s])))",
                 f"rate(prometheus_tsdb_head_samples_appended_total[{scenario.WINDOW}s])"):
        a, b = (s.client.query(expr, run.last)[0]["value"][1] for s in (run.prometheus, run.tidalite))
        print(f"           {expr:<105} {a:>22} | {b}")


def main():
    try:
        say("unpacking Debian's prometheus and prometheus-node-exporter into build/peers, where they are not yet (nothing is installed)"
            if not peers.given else f"with the programs in {peers.given}, where it has them, else Debian's, unpacked into build/peers")
        with scenario.Scenario(seconds=args.seconds, say=say) as run:
            run.start()
            say(f"scraping for {args.seconds} s; Tidalite cuts blocks of {scenario.BLOCK_RANGE} s, gets a SIGKILL in the middle and a clean restart later")
            run.run()
            show(run)
            count, values, wrong = run.compare_all()
            for w in wrong[:20]:
                say(f"DIFFERS: {lib.short(w)}")
            say(f"{count - len(wrong)} of {count} questions (instant, range, labels) have the same answer to {scenario.RELATIVE:g}, {values} values compared")
            if args.keep:
                say(f"left running until Ctrl-C: Tidalite http://127.0.0.1:{run.tidalite.port}, Prometheus http://127.0.0.1:{run.prometheus_port}")
                while True:
                    time.sleep(3600)
            return 1 if wrong else 0
    except (peers.PeerError, lib.Failure) as e:
        say(str(e))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

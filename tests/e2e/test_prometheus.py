#!/usr/bin/env python3
"""Debian's Prometheus writes for a minute, Tidalite cuts blocks every few seconds, is killed and restarted in the middle, and the
answers of both agree to 1e-9: at least 100 different queries, over head and blocks."""
import sys

import lib
import peers
import scenario

suite = lib.Suite()


@suite.case
def prometheus__writes_with_a_kill_in_the_middle__answers_agree():
    try:
        run = scenario.Scenario(seconds=62)
    except peers.PeerError as e:
        raise lib.Failure(str(e)) from None
    with run:
        run.start()
        run.run()
        count, values, wrong = run.compare_all()
        print(f"{count - len(wrong)} of {count} questions agree ({len(scenario.QUERIES)} queries), {values} values compared, {run.blocks:.0f} blocks")
        lib.expect(not wrong, "\n".join(w[:1500] for w in wrong[:20]))
        lib.expect(len(scenario.QUERIES) >= 100 and values >= 5000, f"only {len(scenario.QUERIES)} queries with {values} values")
        lib.expect(run.blocks > 0, "no block was written: the answers come from the head alone")
        lib.expect_equal(run.tidalite.terminate(), 0, "exit status after SIGTERM")


if __name__ == "__main__":
    sys.exit(suite.main())

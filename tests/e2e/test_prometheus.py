#!/usr/bin/env python3
"""Debian's Prometheus writes for a minute, Tidalite is killed in the middle, and the answers of both agree to 1e-9."""
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
        print(f"{count - len(wrong)} of {count} questions agree, {values} values compared")
        lib.expect(not wrong, "\n".join(w[:1500] for w in wrong[:20]))
        lib.expect(count >= 30 and values >= 1000, f"only {count} questions with {values} values")
        lib.expect_equal(run.tidalite.terminate(), 0, "exit status after SIGTERM")


if __name__ == "__main__":
    sys.exit(suite.main())

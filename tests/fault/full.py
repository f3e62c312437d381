#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The fault tests in full, each in shards that run at the same time: most of them mostly wait.

    full.py [--shards 10] [--jobs 4] [--only 3-6] [WORD…]

Words are names of tests; --only chooses shards of each. A line for each shard tells its
seed, what it did and its result; its output is in fault-full/ of the working directory. A failing
shard again: FTL_FAULT_FULL=1 FTL_SHARD=3/10 FTL_TEST_SEED=… python3 FILE TEST. Exit 1: one failed."""

import argparse
import concurrent.futures
import os
import subprocess
import sys
import time

TESTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")

# In one shard only: what is not counted, or is the same in each.
WHOLE = {"every_error", "brought_back", "contained", "hosted", "automatic", "deadly"}
ALL = [("fault/test_cut.py", "every_offset"), ("fault/test_cut.py", "every_error"),
       ("fault/test_kill.py", "killed"), ("fault/test_redis.py", "killed_and_restarted"),
       ("fault/test_kill.py", "stopped"), ("fault/test_kill.py", "paused"),
       ("fault/test_proxy.py", "random_faults"), ("fault/test_proxy.py", "redis_away"),
       ("fault/test_proxy.py", "cut_off_alone"),
       ("fault/test_redis.py", "older_snapshot"), ("system/test_sentinel.py", "failover_under_load"),
       ("fault/test_kill.py", "killer"), ("fault/test_redis.py", "brought_back"),
       ("fault/test_redis.py", "forgetful"), ("fault/test_releases.py", "side_by_side"),
       ("fault/test_storm.py", "contained"), ("fault/test_storm.py", "hosted"),
       ("fault/test_storm.py", "automatic"), ("fault/test_storm.py", "deadly")]


def run(path, name, shard, shards):
    """True: passed."""
    out = os.path.join("fault-full", "%s-%d.log" % (name, shard))
    environment = dict(os.environ, FTL_FAULT_FULL="1", FTL_SHARD="%d/%d" % (shard, shards))
    start = time.monotonic()
    with open(out, "w") as file:
        code = subprocess.call([sys.executable, "-B", os.path.join(TESTS, path), name],
                               stdout=file, stderr=subprocess.STDOUT, env=environment)
    with open(out, errors="replace") as file:
        lines = file.readlines()
    notes = [line[2:].strip() for line in lines if line.startswith("# ")]
    skipped = [line.strip() for line in lines if "# SKIP" in line]  # what was not tried has not passed
    passed = code == 0 and not skipped
    told = ([n for n in notes if not n.startswith("test_")] if passed else
            notes[:1] + (skipped or notes[-4:]))
    print("%s %s %d/%d, %.0f s: %s" % ("ok" if passed else "not ok", name, shard, shards,
                                       time.monotonic() - start, "; ".join(told)), flush=True)
    return passed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--only", metavar="FIRST-LAST")
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    os.makedirs("fault-full", exist_ok=True)
    first, _, last = (options.only or "0-%d" % options.shards).partition("-")
    chosen = [(path, name, shard, 1 if name in WHOLE else options.shards)
              for path, name in ALL if not options.words or name in options.words
              for shard in range(1 if name in WHOLE else options.shards)
              if int(first) <= shard <= int(last or first)]
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        passed = list(pool.map(lambda one: run(*one), chosen))
    print("%d shards passed, %d failed" % (sum(passed), len(passed) - sum(passed)))
    sys.exit(0 if all(passed) else 1)


main()

"""Times Vowpal Wabbit's own reader and learner over a file: python vwlearn.py FILE REPEATS "OPTIONS" ...

Prints a JSON object a set of options: events, seconds of processor time of each pass over the cache file (all threads), and
the progressive loss.
"""

import json
import os
import sys
import time

import vowpalwabbit


def run(options):
    begun = time.process_time()
    w = vowpalwabbit.Workspace(options)
    w.finish()
    return time.process_time() - begun, w


def main():
    file, repeats, sets = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    # Its two threads on two processors may spend more on waking each other than on learning.
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cache = file + ".cache"
    for options in sets:
        base = f"--loss_function logistic -b 18 --quiet -d {file} --cache_file {cache} {options}"
        if not os.path.exists(cache):
            run(base)  # writes it
        seconds = []
        for _ in range(repeats):
            s, w = run(base)
            seconds.append(s)
        print(
            json.dumps(
                {
                    "options": options,
                    "version": vowpalwabbit.__version__,
                    "events": int(w.get_weighted_examples()),
                    "seconds": seconds,
                    "loss": w.get_sum_loss() / w.get_weighted_examples(),
                }
            ),
            flush=True,
        )


main()

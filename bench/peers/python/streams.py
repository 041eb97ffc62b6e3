"""Streams for bench/quality that come with libraries or are drawn from seeds: python streams.py NAME OUT.csv.gz"""

import gzip
import itertools
import os
import random
import sys

ROWS = 20000


def drawn(dataset, rows=ROWS):
    """The rows of one of river's streams."""
    pairs = list(dataset.take(rows))
    return list(pairs[0][0]), ([y, *x.values()] for x, y in pairs)


def packed(load):
    """The rows of one of scikit-learn's data sets, in random order, for some are sorted by their label."""
    d = load()
    rows = [[y, *x] for x, y in zip(d.data.tolist(), d.target.tolist(), strict=True)]
    random.Random(7).shuffle(rows)
    return [f"x{i}" for i in range(len(rows[0]) - 1)], rows


def breast_cancer():
    from sklearn.datasets import load_breast_cancer

    return packed(load_breast_cancer)


def digits():
    from sklearn.datasets import load_digits

    return packed(load_digits)


def diabetes():
    from sklearn.datasets import load_diabetes

    return packed(lambda: load_diabetes(scaled=False))


def solar_flare():
    """The number of small flares, in the order of the file."""
    from river.datasets import SolarFlare

    pairs = list(SolarFlare())
    return list(pairs[0][0]), ([y["c-class-flares"], *x.values()] for x, y in pairs)


def waveform():
    from river.datasets import synth

    return drawn(synth.Waveform(seed=7, has_noise=True))


def led_drift():
    """Ten digits on a display of seven lamps, three of which change places with others for each 5,000 rows."""
    from river.datasets import synth

    names, rows = None, []
    for n in range(4):
        names, part = drawn(synth.LEDDrift(seed=7 + n, noise_percentage=0.1, irrelevant_features=True, n_drift_features=2 * n), 5000)
        rows += part
    return names, rows


def friedman_drift():
    from river.datasets import synth

    return drawn(synth.FriedmanDrift(drift_type="gra", position=(7000, 14000), transition_window=2000, seed=7))


def mv():
    from river.datasets import synth

    return drawn(synth.Mv(seed=7))


def sine_abrupt():
    """Four concepts of 5,000 rows: above or below two curves, and the reverse."""
    from river.datasets import synth

    parts = [drawn(synth.Sine(classification_function=f, seed=7 + f, has_noise=True), 5000) for f in (0, 1, 2, 3)]
    return parts[0][0], itertools.chain(*(rows for _, rows in parts))


def mixed_gradual():
    """From one concept to its reverse within some 4,000 rows."""
    from river.datasets import synth

    before, after = (synth.Mixed(classification_function=f, seed=7, balance_classes=False) for f in (0, 1))
    return drawn(synth.ConceptDriftStream(before, after, seed=7, position=ROWS // 2, width=4000))


STREAMS = [breast_cancer, digits, diabetes, solar_flare, waveform, led_drift, friedman_drift, mv, sine_abrupt, mixed_gradual]


def text(x):
    """Writes a truth value as a number; other things as they are."""
    return int(x) if isinstance(x, bool) else x


def main():
    name, out = sys.argv[1:]
    names, rows = {s.__name__: s for s in STREAMS}[name]()
    # No time or name in the file: the same bytes each time.
    with open(out + ".part", "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed_file:
        lines = [["y", *names], *rows]
        packed_file.write("".join(",".join(str(text(c)) for c in line) + "\n" for line in lines).encode())
    os.rename(out + ".part", out)


if __name__ == "__main__":
    main()

"""Writes the files beside it: what River, scikit-learn and NumPy compute.

    pip install river scikit-learn numpy
    python make.py

The streams are closed forms, so that the files can be made anywhere.
"""

import csv
import math
import random
from datetime import datetime, timezone

import numpy as np
from river import preprocessing, stats
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.preprocessing import PolynomialFeatures, TargetEncoder


def write(name, header, rows):
    with open(name, "w", newline="") as f:
        w = csv.writer(f, lineterminator="\n")
        w.writerow(header)
        w.writerows(rows)


def series(n):
    """A wave whose level jumps at the half, with an outlier now and then."""
    for i in range(n):
        x = 10 + 3 * math.sin(i * i) + (40 if i >= n // 2 else 0)
        yield 1e6 if i % 97 == 96 else round(x, 6)


# Scalers: learn a value, then transform it.
scalers = {
    "standard": preprocessing.StandardScaler(),
    "adaptive": preprocessing.AdaptiveStandardScaler(fading_factor=0.3),
    "minmax": preprocessing.MinMaxScaler(),
    "maxabs": preprocessing.MaxAbsScaler(),
}
rows, seen = [], []
for x in series(300):
    row = [x]
    for s in scalers.values():
        s.learn_one({"x": x})
        row.append(repr(float(s.transform_one({"x": x})["x"])))
    seen.append(x)
    low, median, high = np.quantile(seen[-50:], [0.25, 0.5, 0.75])
    rows.append(row + [repr(float((x - median) / (high - low))) if high > low else "0"])
write("scalers.csv", ["x", *scalers, "robust"], rows)

# tf-idf: the vectorizer is fitted to the texts so far, this one included.
rng = random.Random(1)
words = [f"w{i}" for i in range(30)] + ["Ünïcode", "12"]
texts = [" ".join(rng.choices(words, weights=[1 / (i + 1) for i in range(len(words))], k=rng.randint(1, 9))) for _ in range(80)]
rows = []
for i, text in enumerate(texts):
    v = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+")
    v.fit(texts[: i + 1])
    m = v.transform([text])
    names = v.get_feature_names_out()
    rows.append([text, "|".join(f"{names[k]}:{m[0, k]!r}".replace("np.float64(", "").replace(")", "") for k in sorted(m.indices))])
write("tfidf.csv", ["text", "weights"], rows)

# Runs of characters, at the ends of words with a space.
rows = []
for i in range(30):
    text = " ".join(["Straße", "日本語", "a", "of", "streaming", "été", "12"][(i * k + k) % 7] for k in range(1, 2 + i % 4))
    v = CountVectorizer(analyzer="char_wb", ngram_range=(2 + i % 2, 4))
    counts = v.fit_transform([text])
    names = v.get_feature_names_out()
    rows.append([text, 2 + i % 2, "|".join(f"{names[k]}:{counts[0, k]}" for k in sorted(counts.indices))])
write("chars.csv", ["text", "min", "runs"], rows)

# Products of numbers.
rows = []
poly = PolynomialFeatures(degree=3, include_bias=False)
for i in range(20):
    x = [round(math.sin(i), 3), round(math.cos(3 * i), 3), i - 7]
    values = poly.fit_transform([x])[0]
    names = poly.get_feature_names_out(["a", "b", "c"])
    rows.append([*x, "|".join(f"{n}:{float(v)!r}" for n, v in zip(names, values))])
write("polynomial.csv", ["a", "b", "c", "features"], rows)

# Places on cycles, from the calendar of Python.
rows = []
for i in range(60):
    ms = -62_135_596_800_000 + i * 5_256_789_123_457 if i < 30 else 1_709_164_800_000 + (i - 30) * 777_777_777
    at = datetime.fromtimestamp(0, timezone.utc) + np.timedelta64(ms, "ms").astype("timedelta64[ms]").item()
    day = (at.hour * 3600 + at.minute * 60 + at.second + at.microsecond / 1e6) / 86400
    week = (at.weekday() + day) / 7
    length = (datetime(at.year + 1, 1, 1) - datetime(at.year, 1, 1)).days if at.year < 9999 else 365
    year = (at.timetuple().tm_yday - 1 + day) / length
    rows.append([ms, *(repr(float(f(2 * np.pi * t))) for t in (day, week, year) for f in (np.sin, np.cos))])
write("dates.csv", ["ms", "sin day", "cos day", "sin week", "cos week", "sin year", "cos year"], rows)

# Target encoding: fitted to the labelled rows before the row; y is missing in some rows.
rng = random.Random(2)
rows, seen = [], []
for i in range(300):
    c = f"c{min(int(rng.expovariate(0.3)), 12)}"
    y = round(rng.gauss(int(c[1:]), 2), 4) if rng.random() < 0.8 else ""
    want = ""
    if seen:
        if len(seen) > 1 and len({s[0] for s in seen}) > 0:
            e = TargetEncoder(smooth=10.0, target_type="continuous", categories=[sorted({s[0] for s in seen})])
            e.fit(np.array([[s[0]] for s in seen], dtype=object), np.array([s[1] for s in seen]))
            want = repr(float(e.transform(np.array([[c]], dtype=object))[0, 0]))
    bayes = stats.BayesianMean(prior=0.5, prior_weight=4)
    for s in seen:
        if s[0] == c:
            bayes.update(s[1])
    rows.append([c, y, want, repr(float(bayes.get()))])
    if y != "":
        seen.append((c, y))
write("targets.csv", ["c", "y", "sklearn", "bayesian"], rows)

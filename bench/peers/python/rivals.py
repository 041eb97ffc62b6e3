"""Learners that bench/quality compares with: python rivals.py SYSTEM STREAM.json OUT.csv

Goes once through the rows of a stream in their order, predicting each before it learns from it, and writes the
predictions, a line a row behind a header: the probability that the label is 1, the probability of each class, or the
number. STREAM.json says what the columns are. Nothing is tuned to a stream.
"""

import csv
import gzip
import itertools
import json
import math
import os
import re
import sys
import tempfile

TOKEN = re.compile(r"[^\W_]+")
BATCH = 128  # rows that scikit-learn takes at once


class Stream:
    """The rows of a stream. An empty number is a missing value: no feature."""

    def __init__(self, path):
        with open(path, encoding="utf-8") as f:
            about = json.load(f)
        self.file, self.task, self.classes = about["file"], about["task"], about["classes"] or []
        self.numeric, self.categorical = about["numeric"] or [], about["categorical"] or []
        self.text, self.sparse = about["text"], about["sparse"]
        self.wide = bool(self.text or self.sparse)

    def rows(self):
        """Gives label, numbers by column, and the names of features that are 1 or, in sparse streams, their values."""
        with gzip.open(self.file, "rt", encoding="utf-8", newline="") as f:
            lines = csv.reader(f)
            at = {name: i for i, name in enumerate(next(lines))}
            y = at["y"]
            numeric = [(name, at[name]) for name in self.numeric]
            categorical = [(name, at[name]) for name in self.categorical]
            for line in lines:
                label = line[y]
                if self.task == "binary":
                    label = int(float(label))
                elif self.task == "number":
                    label = float(label)
                numbers = {name: float(line[i]) for name, i in numeric if line[i] != ""}
                names = {name + "=" + line[i]: 1.0 for name, i in categorical}
                if self.text:
                    names.update((t, 1.0) for t in TOKEN.findall(line[at[self.text]].lower()))
                if self.sparse:
                    pairs = (p.split(":") for p in line[at[self.sparse]].split())
                    names.update((name, float(value)) for name, value in pairs)
                yield label, numbers, names


def river_linear(s):
    """StandardScaler | a linear model with its defaults; categories as features of 1, which are not scaled."""
    from river import linear_model, preprocessing

    scaler = preprocessing.StandardScaler()
    if s.task == "binary":
        model = linear_model.LogisticRegression()
    elif s.task == "classes":
        model = linear_model.SoftmaxRegression()
    else:
        model = linear_model.LinearRegression()
    for label, numbers, names in s.rows():
        # As river's pipelines do: the scaler learns from a row behind the prediction.
        x = {**scaler.transform_one(numbers), **names}
        yield river_predict(s, model, x)
        scaler.learn_one(numbers)
        model.learn_one({**scaler.transform_one(numbers), **names}, label)


def river_tree(s):
    """A Hoeffding tree with its defaults, on the columns as they are. Leaves that predict a number take nothing but numbers."""
    from river import tree

    if s.wide:
        return None
    return river_tree_rows(s, tree.HoeffdingTreeRegressor() if s.task == "number" else tree.HoeffdingTreeClassifier())


def river_tree_rows(s, model):
    for label, numbers, names in s.rows():
        x = {**numbers, **(names if s.task == "number" else dict(name.split("=", 1) for name in names))}
        yield river_predict(s, model, x)
        model.learn_one(x, label)


def river_predict(s, model, x):
    if s.task == "number":
        return [model.predict_one(x)]
    p = model.predict_proba_one(x)
    if s.task == "binary":
        # A tree that has seen one class knows no other; one that has seen none, nothing.
        return [p.get(1, 0.0) if p else 0.5]
    return [p.get(c, 0.0) for c in s.classes]


def vw(options):
    """Vowpal Wabbit's own reader and learner over a file in its format. Numbers are as they are."""

    def run(s):
        import vowpalwabbit

        base = "--quiet --no_stdin --loss_function " + ("squared" if s.task == "number" else "logistic")
        if s.wide:
            base += " -b 20"
        if s.task == "classes":
            base += f" --oaa {len(s.classes)} --probabilities"
        with tempfile.TemporaryDirectory() as folder:
            rows, out = os.path.join(folder, "rows.txt"), os.path.join(folder, "out.txt")
            vw_write(s, rows)
            vowpalwabbit.Workspace(f"{base} -d {rows} -p {out} {options}").finish()
            with open(out, encoding="utf-8") as f:
                for line in f:
                    if s.task == "number":
                        yield [float(line)]
                    elif s.task == "binary":  # a score
                        yield [sigmoid(float(line))]
                    else:
                        p = dict(part.split(":") for part in line.split())
                        yield [float(p[str(i + 1)]) for i in range(len(s.classes))]

    return run


def vw_write(s, path):
    unsafe = re.compile(r"[\s:|]")
    place = {c: i + 1 for i, c in enumerate(s.classes)}
    with open(path, "w", encoding="utf-8") as f:
        for label, numbers, names in s.rows():
            if s.task == "binary":
                label = 1 if label == 1 else -1
            elif s.task == "classes":
                label = place[label]
            parts = [f"{unsafe.sub('_', name)}:{value!r}" for name, value in numbers.items()]
            for name, value in names.items():
                name = unsafe.sub("_", name)
                parts.append(name if value == 1 else f"{name}:{value!r}")
            f.write(f"{label} | {' '.join(parts)}\n")


def sklearn_sgd(s):
    """StandardScaler and SGDClassifier or SGDRegressor with their defaults (loss: log_loss), BATCH rows at once."""
    import numpy
    from scipy import sparse
    from sklearn.feature_extraction import FeatureHasher
    from sklearn.linear_model import SGDClassifier, SGDRegressor
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    hasher = FeatureHasher(1 << 18, alternate_sign=False)
    number = s.task == "number"
    model = SGDRegressor(random_state=1) if number else SGDClassifier(loss="log_loss", random_state=1)
    classes = numpy.array([0, 1] if s.task == "binary" else s.classes)
    begun = False
    rows = s.rows()
    while batch := list(itertools.islice(rows, BATCH)):
        x = None
        if s.numeric:
            x = numpy.array([[r[1].get(name, math.nan) for name in s.numeric] for r in batch])
            x = numpy.nan_to_num(scaler.partial_fit(x).transform(x))  # what is missing counts as the mean
        if s.categorical or s.wide:
            hashed = hasher.transform(r[2] for r in batch)
            x = hashed if x is None else sparse.hstack([sparse.csr_matrix(x), hashed], format="csr")
        labels = numpy.array([r[0] for r in batch])
        if number:
            yield from ([p] for p in (model.predict(x) if begun else numpy.zeros(len(batch))).tolist())
            model.partial_fit(x, labels)
        else:
            uniform = numpy.full((len(batch), len(classes)), 1 / len(classes))
            p = model.predict_proba(x) if begun else uniform
            yield from ([r[1]] if s.task == "binary" else r for r in p.tolist())
            model.partial_fit(x, labels, classes)
        begun = True


def sigmoid(x):
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


SYSTEMS = {
    "river": river_linear,
    "river-tree": river_tree,
    "vw": vw(""),
    "vw-sgd": vw("--sgd"),
    "vw-ftrl": vw("--ftrl"),
    "vw-coin": vw("--coin"),
    "sklearn": sklearn_sgd,
}


def main():
    system, about, out = sys.argv[1:]
    os.nice(15)
    s = Stream(about)
    predictions = SYSTEMS[system](s)
    with open(out + ".part", "w", encoding="utf-8", newline="") as f:
        if predictions is not None:  # else the system is not for such streams: an empty file
            w = csv.writer(f, lineterminator="\n")
            w.writerow(s.classes if s.task == "classes" else ["p"])
            for p in predictions:
                w.writerow(repr(float(x)) for x in p)
    os.rename(out + ".part", out)


if __name__ == "__main__":
    main()

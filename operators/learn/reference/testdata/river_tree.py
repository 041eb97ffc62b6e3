"""Writes river_tree.json: what River's Hoeffding tree calls row by row, as it comes and with other rules in its leaves.

    pip install river==0.26.1 && python river_tree.py > river_tree.json

Ours differs from River's tree in this: a class whose density is 0 in some column (it has no number there, or equal ones)
is impossible, where River leaves that column out of its product; of equals the class known first is called; a leaf
that has seen nothing calls the first class, where River takes the majority for right; a leaf tries to split after
grace_period rows, where River adds up weights, whose fractions round some attempts to a row later; and River forgets
what a leaf has counted when one class has more than max_share_to_split of its rows.

MOA's differs from ours in that it multiplies densities, which underflow, and then calls the first class; in that it adds up
weights as well; and in the order in which it adds what lies on either side of a cut. With these rules the figures that
MOA 2024.07 gives for the whole of electricity come out to the last digit.
"""

import csv
import gzip
import json
import math
import zlib

import river
from river import tree
from river.tree.nodes import htc_nodes
from river.tree.nodes.leaf import HTLeaf
from river.tree.splitter import GaussianSplitter

STREAMS = "../../../../testdata/streams/"


def rows(name):
    with gzip.open(STREAMS + name + ".csv.gz", "rt") as f:
        table = list(csv.reader(f))
    return [({i: float(v) for i, v in enumerate(r[1:])}, r[0]) for r in table[1:]]


def electricity():
    n, columns = 45312, []
    with gzip.open(STREAMS + "electricity.columns.gz") as f:
        data = f.read()
    while data:
        head, data = data.split(b"\n", 1)
        values, at, column = head.split()[1:], 0, []
        for i in range(n):
            at = (at + data[i] + 256 * data[n + i]) % 65536
            column.append(values[at].decode())
        columns.append(column)
        data = data[2 * n:]
    return [({i: float(v) for i, v in enumerate(r[1:])}, r[0]) for r in zip(*columns)]


def first(p):
    """The greatest, the first known of equals."""
    return max(p, key=p.get) if p else None


class Leaf(htc_nodes.LeafNaiveBayesAdaptive):
    def shares(self):
        n = self.total_weight
        return {c: self.stats.get(c, 0) / n if n > 0 else 1 / len(self.known) for c in self.known}

    def log(self, c, x):
        w = self.stats.get(c, 0)
        if w <= 0:
            return -math.inf
        p = math.log(w)
        for name, s in self.splitters.items():
            g = s._att_dist_per_class.get(c)
            if g is not None and g.sigma > 0:
                p += g.log_pdf(x[name])
            elif g is None or x[name] != g.mu:
                return -math.inf
        return p

    def bayes(self, x):
        logs = {c: self.log(c, x) for c in self.known}
        most = max(logs.values(), default=-math.inf)
        if most == -math.inf:
            return {c: 1 / len(logs) for c in logs}
        p = {c: math.exp(v - most) for c, v in logs.items()}
        total = sum(p.values())
        return {c: v / total for c, v in p.items()}

    def majority(self):
        return first(self.shares())

    def learn_one(self, x, y, *, w=1.0, tree=None):
        if self.majority() == y:
            self._mc_correct_weight += w
        if first(self.bayes(x)) == y:
            self._nb_correct_weight += w
        HTLeaf.learn_one(self, x, y, w=w, tree=tree)

    def prediction(self, x, *, tree=None):
        return self.bayes(x) if self._nb_correct_weight >= self._mc_correct_weight else self.shares()


class LeafOfRows(Leaf):
    @property
    def last_split_attempt_at(self):
        return self._last_split_attempt_at - 1e-6

    @last_split_attempt_at.setter
    def last_split_attempt_at(self, weight):
        self._last_split_attempt_at = weight


def normal(d, sd):
    return math.exp(-(d * d / (2 * sd * sd))) / (math.sqrt(2 * math.pi) * sd)


class LeafOfProducts(Leaf):
    def bayes(self, x):
        p = self.shares() if self.stats else dict.fromkeys(self.known, 0)
        for c in p:
            for name, s in self.splitters.items():
                g = s._att_dist_per_class.get(c)
                if g is None:
                    p[c] = 0
                elif g.sigma > 0:
                    p[c] *= normal(x[name] - g.mu, g.sigma)
                elif x[name] != g.mu:
                    p[c] = 0
        return p

    def majority(self):
        return first(self.shares()) if self.stats else None


class Masses(GaussianSplitter):
    def _class_dists_from_binary_split(self, cut):
        left, right = super()._class_dists_from_binary_split(cut)
        for c in left.keys() & right.keys():
            g = self._att_dist_per_class[c]
            equal = normal(cut - g.mu, g.sigma) * g.n_samples
            below = math.erfc((g.mu - cut) / g.sigma / math.sqrt(2)) / 2 * g.n_samples - equal
            left[c], right[c] = below + equal, max(g.n_samples - equal - below, 0)
        return [left, right]


def run(data, classes, leaf, **options):
    """Calls by row, the mean loss of those with a class, and the leaves."""
    known = list(classes)

    class Tree(tree.HoeffdingTreeClassifier):
        def _new_leaf(self, initial_stats=None, parent=None):
            new = leaf(initial_stats or {}, 0 if parent is None else parent.depth + 1, self.splitter)
            new.known = known
            return new

    model, calls, lost = Tree(max_share_to_split=1, **options), "", 0
    for x, y in data:
        if model._root is None:
            p = {c: 1 / len(known) for c in known}
        else:
            at = model._root
            p = (at if isinstance(at, HTLeaf) else at.traverse(x, until_leaf=True)).prediction(x)
        calls += str(known.index(first(p))) if p else "-"
        lost -= math.log(max(1e-15, p.get(y, 0)))
        if y not in known:
            known.append(y)
        model.learn_one(x, y)
    return calls, lost / len(data), model.n_leaves


out = {"river": river.__version__, "as it comes": {}, "as ours": {}, "as MOA": {}}
whole = electricity()
for name, data, classes, delta in (
    ("phishing", rows("phishing"), ["0", "1"], 1e-7),
    ("image_segments", rows("image_segments"), [], 1e-7),
    ("electricity_tiny", rows("electricity_tiny"), ["0", "1"], 1e-3),
    ("electricity, delta 1e-3", whole, ["1", "0"], 1e-3),
    ("electricity, delta 1e-7", whole, ["1", "0"], 1e-7),
):
    model, right, counted = tree.HoeffdingTreeClassifier(delta=delta), 0, 0
    for x, y in data:
        p = model.predict_one(x)
        right, counted = right + (p == y), counted + (p is not None)
        model.learn_one(x, y)
    out["as it comes"][name] = [right, counted]
    calls, lost, leaves = run(data, classes, LeafOfRows, delta=delta)
    sums = [zlib.crc32(calls[i:i + 1000].encode()) for i in range(0, len(calls), 1000)]
    out["as ours"][name] = {"leaves": leaves, "log loss": lost, "calls": sums}
    if data is whole:
        moa, _, leaves = run(data, classes, LeafOfProducts, delta=delta, splitter=Masses())
        right = sum(classes[int(c)] == y for c, (_, y) in zip(moa, data))
        out["as MOA"][name] = {"leaves": leaves, "right": right, "otherwise": [i for i, c in enumerate(calls) if c != moa[i]]}
print(json.dumps(out))

"""Writes reference.json: what scikit-learn, River and plain NumPy make of the rows of metric_test.go.

    pip install scikit-learn river && python reference.py > reference.json
"""

import json
import math

import numpy as np
import river
import sklearn
from river import metrics as rm
from sklearn import metrics as sk

N = 3000
M64 = (1 << 64) - 1


def uniform(seed, i):
    z = (seed + (i + 1) * 0x9E3779B97F4A7C15) & M64
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & M64
    z ^= z >> 31
    return (z >> 11) / (1 << 53)


def binary(i):
    label = uniform(1, i) < 0.3
    z = 4 * (uniform(2, i) - 0.5) - 0.8 + (1.2 if label else 0)
    return label, math.floor(100 / (1 + math.exp(-z)) + 0.5) / 100


ANIMALS = ["ant", "bird", "cat", "dog"]


def klass(i):
    label = ANIMALS[int(uniform(3, i) * uniform(4, i) * 4)]
    return label, label if uniform(5, i) < 0.6 else ANIMALS[int(uniform(6, i) * 4)]


def number(i):
    label = 100 + 10 * uniform(7, i) + i / 100
    predicted = label + 3 * (uniform(8, i) - 0.4)
    return label, predicted, predicted - 2 * uniform(10, i), predicted + 2 * uniform(11, i)


def distribution(i):
    label = int(uniform(3, i) * uniform(4, i) * 4)
    p = [math.floor(20 * uniform(12 + k, i)) / 20 + 0.05 + (0.5 if k == label else 0) for k in range(4)]
    return label, [v / sum(p) for v in p]


weights = np.array([math.floor(4 * uniform(9, i)) / 2 for i in range(N)])


def ece(y, p, w, bins):
    b = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [abs((w * (p - y))[b == k].sum()) for k in range(bins)]
    return sum(gaps) / w.sum()


def of_binary(y, p, w):
    c = p > 0.5
    with np.errstate(all="ignore"):
        return {
            "accuracy": sk.accuracy_score(y, c, sample_weight=w),
            "precision": sk.precision_score(y, c, sample_weight=w),
            "recall": sk.recall_score(y, c, sample_weight=w),
            "f1": sk.f1_score(y, c, sample_weight=w),
            "balanced_accuracy": sk.balanced_accuracy_score(y, c, sample_weight=w),
            "kappa": sk.cohen_kappa_score(y, c, sample_weight=w),
            "mcc": sk.matthews_corrcoef(y, c, sample_weight=w),
            "log_loss": sk.log_loss(y, p, sample_weight=w),
            "brier": sk.brier_score_loss(y, p, sample_weight=w),
            "roc_auc": sk.roc_auc_score(y, p, sample_weight=w),
            "pr_auc": sk.average_precision_score(y, p, sample_weight=w),
            "ece": ece(y, p, w, 10),
        }


def of_classes(y, c, w):
    out = {
        "accuracy": sk.accuracy_score(y, c, sample_weight=w),
        "balanced_accuracy": sk.balanced_accuracy_score(y, c, sample_weight=w),
        "kappa": sk.cohen_kappa_score(y, c, sample_weight=w),
        "mcc": sk.matthews_corrcoef(y, c, sample_weight=w),
    }
    for average in ["macro", "micro", "weighted"]:
        p, r, f, _ = sk.precision_recall_fscore_support(y, c, average=average, sample_weight=w, zero_division=0)
        out |= {average + "_precision": p, average + "_recall": r, average + "_f1": f}
    return out


def of_numbers(y, p, lo, hi, w):
    naive = np.abs(y[1:] - y[:-1])
    naive12 = np.abs(y[12:] - y[:-12])
    mae = sk.mean_absolute_error(y, p, sample_weight=w)
    return {
        "mae": mae,
        "rmse": sk.root_mean_squared_error(y, p, sample_weight=w),
        "rmsle": sk.root_mean_squared_log_error(y, p, sample_weight=w),
        "r2": sk.r2_score(y, p, sample_weight=w),
        "pinball": sk.mean_pinball_loss(y, p, alpha=0.9, sample_weight=w),
        "smape": np.average(200 * np.abs(y - p) / (np.abs(y) + np.abs(p)), weights=w),
        "mase": mae / np.average(naive, weights=w[1:]),
        "mase_season_12": mae / np.average(naive12, weights=w[12:]),
        "coverage": np.average((lo <= y) & (y <= hi), weights=w),
        "interval_width": np.average(hi - lo, weights=w),
    }


def of_ranks(y, d, w):
    onehot = np.eye(4)[y]
    return {
        "log_loss": sk.log_loss(y, d, sample_weight=w),
        "brier": np.average(((d - onehot) ** 2).sum(1), weights=w),
        # scikit-learn breaks ties otherwise (the later class first), so the rows are made without.
        "hit_rate": sk.top_k_accuracy_score(y, d, k=2, sample_weight=w),
        "ndcg": sk.ndcg_score(onehot, d, k=3, sample_weight=w, ignore_ties=True),
        "mrr": sk.label_ranking_average_precision_score(onehot.astype(int), d, sample_weight=w),
    }


def rivers():
    """Metrics that River has, updated row by row."""
    b = {"f1": rm.F1(), "mcc": rm.MCC(), "balanced_accuracy": rm.BalancedAccuracy(), "log_loss": rm.LogLoss()}
    c = {"macro_f1": rm.MacroF1(), "weighted_f1": rm.WeightedF1(), "micro_f1": rm.MicroF1(), "macro_precision": rm.MacroPrecision(),
         "macro_recall": rm.MacroRecall(), "weighted_precision": rm.WeightedPrecision(), "kappa": rm.CohenKappa(), "mcc": None}
    n = {"mae": rm.MAE(), "rmse": rm.RMSE(), "rmsle": rm.RMSLE(), "smape": rm.SMAPE(), "r2": rm.R2()}
    for i in range(N):
        y, p = binary(i)
        for name, m in b.items():
            m.update(y, p if name == "log_loss" else p > 0.5)
        y, k = klass(i)
        for m in c.values():
            if m:
                m.update(y, k)
        y, p, _, _ = number(i)
        for m in n.values():
            m.update(y, p)
    rolling = rm.RollingPRAUC(window_size=4)
    labels = [0, 1, 0, 1, 0, 1, 0, 0, 1, 1]
    for y, p in zip(labels, [0.3, 0.5, 0.5, 0.7, 0.1, 0.3, 0.1, 0.4, 0.35, 0.8]):
        rolling.update(y, p)
    get = lambda ms: {k: m.get() for k, m in ms.items() if m}
    return {"binary": get(b), "classes": get(c), "numbers": get(n), "rolling_pr_auc_toy": rolling.get()}


y, p = map(np.array, zip(*map(binary, range(N))))
ky, kc = map(np.array, zip(*map(klass, range(N))))
ny, np_, lo, hi = map(np.array, zip(*map(number, range(N))))
dy, dp = map(np.array, zip(*map(distribution, range(N))))
distinct = np.array([len(set(r)) == 4 for r in dp])


def everything(w, window=N, half_life=math.inf):
    """All metrics of the last rows, with weights that fade."""

    def part(rows):
        rows = rows[-window:]
        return rows, w[rows] * 0.5 ** ((len(rows) - 1 - np.arange(len(rows))) / half_life)

    rows, u = part(np.arange(N))
    d, v = part(np.flatnonzero(distinct))
    return {
        "binary": of_binary(y[rows], p[rows], u),
        "classes": of_classes(ky[rows], kc[rows], u),
        "numbers": of_numbers(ny[rows], np_[rows], lo[rows], hi[rows], u),
        "ranks": of_ranks(dy[d], dp[d], v),
    }


print(json.dumps({
    "versions": {"scikit-learn": sklearn.__version__, "river": river.__version__},
    "run": everything(np.ones(N)),
    "weighted": everything(weights),
    "window 500": everything(weights, window=500),
    "half-life 300": everything(weights, half_life=300),
    "river": rivers(),
}, indent=1))

"""Writes reference.json: what SciPy makes of the streams of profile_test.go.

    pip install scipy && python reference.py > reference.json
"""

import json
import math

import numpy as np
import scipy
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp, kstwobign, wasserstein_distance

M64 = (1 << 64) - 1


def uniform(seed, i):
    z = (seed + (i + 1) * 0x9E3779B97F4A7C15) & M64
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & M64
    z ^= z >> 31
    return (z >> 11) / (1 << 53)


def binned(a, b):
    a, b = np.asarray(a, float), np.asarray(b, float)
    seen = a + b > 0
    a, b = a[seen], b[seen]
    p, q = a / a.sum(), b / b.sum()
    chi = chi2_contingency([a, b], correction=False)
    js = float(jensenshannon(p, q, base=2))
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    return {"psi": float(((p - q) * np.log(p / q)).sum()), "js": js, "chi_squared": float(chi.statistic), "chi_squared_p": float(chi.pvalue)}


def numbers(a, b, bins=10):
    edges = np.unique(np.quantile(a, np.arange(1, bins) / bins))
    wide = np.concatenate([[-np.inf], edges, [np.inf]])
    out = binned(np.histogram(a, wide)[0], np.histogram(b, wide)[0])
    ks = ks_2samp(a, b).statistic
    out["ks"] = float(ks)
    out["ks_p"] = float(kstwobign.sf(ks * math.sqrt(len(a) * len(b) / (len(a) + len(b)))))
    out["wasserstein"] = float(wasserstein_distance(a, b) / np.std(a))
    return out


waves = [2 * math.sin(0.7 * i) + 0.3 * (i % 7) for i in range(500)], [2 * math.sin(0.9 * i) + 0.5 * (i % 5) for i in range(400)]
shifted = [uniform(1, i) for i in range(1000)], [0.1 + uniform(2, i) for i in range(3000)]
whole = [math.floor(6 * uniform(3, i)) for i in range(800)], [math.floor(7 * uniform(4, i) ** 2) for i in range(700)]
apart = [uniform(5, i) for i in range(50)], [3 + uniform(6, i) for i in range(60)]
names = [math.floor(5 * uniform(7, i) * uniform(8, i)) for i in range(900)], [math.floor(6 * uniform(9, i)) for i in range(400)]

print(json.dumps({
    "scipy": scipy.__version__,
    "waves": numbers(*waves),
    "shifted": numbers(*shifted),
    "whole": numbers(*whole),
    "apart": numbers(*apart),
    "names": binned(*[[x.count(k) for k in range(6)] for x in names]),
    "shares": binned([50, 30, 20], [40, 40, 20]),
}, indent=1))

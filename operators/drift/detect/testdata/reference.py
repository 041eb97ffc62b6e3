"""Writes reference.json: the rows at which River's detectors alarm on the streams of detect_test.go.

    pip install river && python reference.py > reference.json
"""

import json
import math

import river
from river import drift
from river.drift import binary


def errors(n, half, before, after):
    return [int(7919 * i % 1000 < (before if i < half else after)) for i in range(n)]


def golden(jump):
    return [(jump if i >= 1000 else 0) + math.modf(i * 0.6180339887498949)[0] - 0.5 for i in range(2000)]


streams = {"B1": errors(2000, 1000, 200, 500), "B2": errors(4000, 2000, 100, 200), "C1": golden(0.5), "C2": golden(2)}
makers = {
    "adwin": drift.ADWIN, "page-hinkley": drift.PageHinkley, "ddm": binary.DDM, "eddm": binary.EDDM,
    "hddm-a": binary.HDDMA, "hddm-w": binary.HDDMW,
}
out = {"river": river.__version__, "alarms": {}, "warnings": {}}
for name, make in makers.items():
    for stream, xs in streams.items():
        if stream[0] == "C" and name not in ("adwin", "page-hinkley"):
            continue
        d, alarms, warnings = make(), [], []
        for i, x in enumerate(xs):
            d.update(x)
            if d.drift_detected:
                alarms.append(i)
            elif getattr(d, "warning_detected", False):
                warnings.append(i)
        out["alarms"][f"{name} {stream}"] = alarms
        if stream[0] == "B" and name not in ("adwin", "page-hinkley"):
            out["warnings"][f"{name} {stream}"] = warnings
print(json.dumps(out))

"""Writes the files beside it with other implementations of Parquet.

    pip install pyarrow fastparquet polars duckdb
    python make.py

rows.jsonl is what they hold, written by Python's json.
"""

import json
from datetime import date, datetime, timedelta, timezone

import duckdb
import fastparquet
import polars
import pyarrow as pa
import pyarrow.parquet as pq

N = 300
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def null(i, k, v):
    return None if i % k == k - 1 else v


rows = []
for i in range(N):
    rows.append({
        "id": i * 1_000_003 - 5,
        "small": i % 200 - 100,
        "big": null(i, 3, 2**62 + i),
        "x": i / 8 - 3,
        "f": null(i, 5, i / 4),
        "y": null(i, 7, i % 2 == 0),
        "s": f"text {i % 17} ü",
        "long": null(i, 4, "abc" * (i % 50)),
        "ts": 1_700_000_000_000 + i * 86_399_999,
        "day": null(i, 6, (date(2024, 2, 28) + timedelta(i) - date(1970, 1, 1)).days * 86_400_000),
        "a.b": null(i, 9, i * 3),
        "v": null(i, 8, {str(k): k / 2 for k in range(i % 4)}),
    })

with open("rows.jsonl", "w") as f:
    for r in rows:
        f.write(json.dumps(r, ensure_ascii=False) + "\n")


def moment(ms):
    return None if ms is None else EPOCH + timedelta(milliseconds=ms)


def col(name, typ, convert=lambda v: v):
    return pa.array([None if r[name] is None else convert(r[name]) for r in rows], typ)


entry = pa.struct([pa.field("index", pa.uint32(), False), pa.field("value", pa.float32(), False)])
nested = pa.array([{"b": r["a.b"]} for r in rows], pa.struct([("b", pa.int32())]))
table = pa.table({
    "id": col("id", pa.int64()),
    "small": col("small", pa.int8()),
    "unused": pa.array([b"\xff\x00"] * N, pa.binary()),
    "big": col("big", pa.uint64()),
    "x": col("x", pa.float64()),
    "f": col("f", pa.float32()),
    "y": col("y", pa.bool_()),
    "s": col("s", pa.dictionary(pa.int32(), pa.string())),
    "long": col("long", pa.large_string()),
    "ts": col("ts", pa.timestamp("us", "UTC"), lambda v: moment(v)),
    "day": col("day", pa.date32(), lambda v: moment(v).date()),
    "a": nested,
    "v": col("v", pa.list_(entry), lambda d: [{"index": int(k), "value": x} for k, x in d.items()]),
})
for codec in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]:
    pq.write_table(table, f"arrow-{codec}.parquet", compression=codec, row_group_size=100 if codec != "none" else 40, data_page_size=512,
                   data_page_version="2.0" if codec in ("gzip", "zstd") else "1.0", version="2.6",
                   use_dictionary=["s"] if codec != "brotli" else False,
                   column_encoding={"id": "DELTA_BINARY_PACKED", "long": "DELTA_LENGTH_BYTE_ARRAY", "x": "BYTE_STREAM_SPLIT"} if codec == "brotli" else None)
pq.write_table(table.select(["id", "ts"]), "int96.parquet", use_deprecated_int96_timestamps=True)
pq.write_table(table.slice(0, 0), "empty.parquet")

plain = ["id", "small", "x", "f", "y", "s", "ts"]
frame = polars.DataFrame({k: [r[k] for r in rows] for k in plain}).with_columns(
    polars.col("ts").cast(polars.Datetime("ms", "UTC")), polars.col("f").cast(polars.Float32))
frame.write_parquet("polars.parquet", row_group_size=64)
fast = frame.to_pandas()
fast["ts"] = fast["ts"].dt.tz_localize(None).astype("datetime64[us]")
fastparquet.write("fastparquet.parquet", fast.drop(columns=["y"]), compression="GZIP", object_encoding={"s": "utf8"}, row_group_offsets=110)
duckdb.sql("COPY frame TO 'duckdb.parquet' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 100)")

bad = pa.table({
    "id": pa.array([1, 2, None, 4, 5]),
    "x": pa.array([0.5, float("nan"), 1, float("inf"), 2]),
    "s": pa.array([b"ok", b"ok", b"ok", b"ok", b"\xff"], pa.binary()),
    "y": pa.array([0, 1, 1, 0, 1], pa.int32()),
})
pq.write_table(bad, "bad.parquet")

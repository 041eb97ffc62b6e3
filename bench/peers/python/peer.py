"""The benchmark's work in Python: JSON in, predict, publish, learn, JSON out, at least once.

One process a core shares the partitions of the topic as a consumer group. Each process has one model a partition, in
memory alone: what it has learnt goes with it, or with its partition.
"""

import argparse
import os
import signal
import sys
import time

import orjson
from confluent_kafka import Consumer, Producer


class River:
    """Logistic regression of river over one flat dict of features, AdaGrad at 0.1."""

    def __init__(self):
        from river import linear_model, optim

        self.model = linear_model.LogisticRegression(optimizer=optim.AdaGrad(0.1), intercept_lr=0.1)

    def step(self, e):
        x = {
            "user=" + e["user"]: 1,
            "site=" + e["site"]: 1,
            "dev=" + e["dev"]: 1,
            "os=" + e["os"]: 1,
            "geo=" + e["geo"]: 1,
            f"hour={e['hour']}": 1,
            "price": e["price"],
            "age": e["age"],
            "dwell": e["dwell"],
            "depth": e["depth"],
            "score": e["score"],
            "freq": e["freq"],
        }
        p = self.model.predict_proba_one(x)[True]
        self.model.learn_one(x, e["y"] == 1)
        return p


class VW:
    """Vowpal Wabbit with its defaults (adaptive, normalised, invariant), 2^18 weights."""

    def __init__(self):
        import vowpalwabbit

        self.model = vowpalwabbit.Workspace("--loss_function logistic --link logistic -b 18 --quiet")

    def step(self, e):
        y = "1" if e["y"] == 1 else "-1"
        line = (
            f"{y} | user={e['user']} site={e['site']} dev={e['dev']} os={e['os']} geo={e['geo']} hour={e['hour']} "
            f"price:{e['price']} age:{e['age']} dwell:{e['dwell']} depth:{e['depth']} score:{e['score']} freq:{e['freq']}"
        )
        example = self.model.example(line)
        self.model.learn(example)  # it predicts first, and keeps that prediction with the example
        p = example.get_simplelabel_prediction()
        self.model.finish_example(example)
        return p


ENGINES = {"river": River, "vw": VW}


def work(a, member):
    """Consumes until SIGTERM."""
    running = True

    def stop(*_):
        nonlocal running
        running = False

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    consumer = Consumer(
        {
            "bootstrap.servers": a.brokers,
            "group.id": a.group,
            "group.instance.id": f"{a.group}-{member}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": 50,
        }
    )
    failed = []
    producer = Producer(
        {
            "bootstrap.servers": a.brokers,
            "partitioner": "murmur2_random",
            "linger.ms": 10,
            "delivery.report.only.error": True,
            "queue.buffering.max.messages": 1 << 20,
        }
    )

    def delivered(error, _):
        if error is not None:
            failed.append(error)

    begun = dirty = False

    def save(*_):
        nonlocal dirty
        producer.flush()
        if dirty and not failed:
            consumer.commit(asynchronous=False)
            dirty = False

    consumer.subscribe([a.source], on_revoke=save)
    models = {}
    due = time.monotonic() + a.commit / 1000
    while running and not failed:
        for m in consumer.consume(1000, 0.02):
            if m.error() is not None:
                raise RuntimeError(m.error())
            if not begun:
                begun = True
                print("first record", flush=True)
            dirty = True
            model = models.get(m.partition())
            if model is None:
                model = models[m.partition()] = ENGINES[a.engine]()
            e = orjson.loads(m.value())
            p = model.step(e)
            producer.produce(a.target, orjson.dumps({"id": e["id"], "p": p}), m.key(), on_delivery=delivered)
        producer.poll(0)
        if dirty and time.monotonic() >= due:
            save()
            due = time.monotonic() + a.commit / 1000
    save()
    consumer.close()
    if failed:
        sys.exit(f"{len(failed)} outputs were not delivered: {failed[0]}")


def main():
    f = argparse.ArgumentParser()
    f.add_argument("--engine", choices=ENGINES, required=True)
    f.add_argument("--brokers", required=True)
    f.add_argument("--source", required=True)
    f.add_argument("--target", required=True)
    f.add_argument("--group", required=True)
    f.add_argument("--commit", type=int, default=1000, help="ms")
    f.add_argument("--processes", type=int, default=2)
    a = f.parse_args()
    children = []
    for member in range(a.processes):
        pid = os.fork()
        if pid == 0:
            work(a, member)
            os._exit(0)
        children.append(pid)

    def stop(*_):
        for pid in children:
            os.kill(pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    bad = 0
    for _ in range(len(children)):
        pid, status = os.wait()
        children.remove(pid)
        if status != 0:
            bad = 1
            stop()
    sys.exit(bad)


if __name__ == "__main__":
    main()

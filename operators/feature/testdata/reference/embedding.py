"""Writes embedding.txt and embedding.csv: a table of vectors that gensim wrote, and
what it says of texts. make.py has the others.

    pip install gensim numpy
    python embedding.py

The vectors are closed forms, so that the files can be made anywhere.
"""

import csv
import math

import numpy as np
from gensim.models import KeyedVectors

words = ["the", "cat", "dog", "a", "of", "don", "straße", "日本語", "Oslo", "oslo", "1984", "</s>", ".", "New_York", "naïve", "e\u0301tude"]
vectors = KeyedVectors(vector_size=5)
vectors.add_vectors(words, np.array([[math.sin(7 * i + k * k) * 10 ** (k - 2) for k in range(5)] for i in range(len(words))], dtype=np.float32))
vectors.save_word2vec_format("embedding.txt")

# Each text with the tokens it falls into.
texts = [
    ("the cat", ["the", "cat"]),
    ("A cat, the DOG: a cat!", ["a", "cat", "the", "dog", "a", "cat"]),
    ("don't", ["don", "t"]),
    ("Straße 1984 in Oslo", ["straße", "1984", "in", "oslo"]),
    ("日本語 e\u0301tude", ["日本語", "e\u0301tude"]),
    ("nothing known", ["nothing", "known"]),
    ("", []),
]
read = KeyedVectors.load_word2vec_format("embedding.txt")
mean = np.mean(read.vectors.astype(np.float64), axis=0)
with open("embedding.csv", "w", newline="") as f:
    w = csv.writer(f, lineterminator="\n")
    w.writerow(["text", *(f"m{k}" for k in range(1, 6))])
    for text, tokens in texts:
        known = [t for t in tokens if t in read]
        m = read.get_mean_vector(known, pre_normalize=False) if known else mean
        w.writerow([text, *(repr(float(x)) for x in m)])

package feature

import (
	"testing"

	"github.com/gradstream/gradstream/operators/optest"
)

const mixed = "i:int64,f:float64?,b:bool?,at:timestamp?,s:string?,u:string,x:sparse?\n" +
	"1,1.5,true,1000,red,u1,3:1 7:0.5\n" +
	"2,-3,false,2000,Green apples and Green pears,u2,\n" +
	"3,,,,,,4294967295:2\n" +
	"4,100,true,4000,blue,u3,1:1\n"

// embeddings has keys that the rows have, and that generated ones have.
const embeddings = "red 1 0 -0.5\na 0.25 -1e-30 3e38\ntrue 1 2 3\n3 -3e38 3e38 3\ngreen 0 0 1\nApples 7 8 9\npears 0.1 0.2 0.3\nd 0 0 0\nunïcode 0.5 0.5 0.5\n"

func TestFamily(t *testing.T) {
	optest.TestFamily(t, &Family,
		optest.Case{Operator: "vectorize", Name: "all kinds, standard", In: mixed,
			Config: "{bits: 12, numeric: [i, f, b, at], categorical: [i, b, s, u], cross: [[s, u], [u, i, b]], text: [s], ngrams: 3, sparse: [x]}"},
		optest.Case{Operator: "vectorize", Name: "minmax", In: mixed, Config: "{numeric: [i, f, b, at], scale: minmax}"},
		optest.Case{Operator: "vectorize", Name: "maxabs", In: mixed, Config: "{numeric: [i, f, b, at], scale: maxabs}"},
		optest.Case{Operator: "vectorize", Name: "robust, products, means", In: mixed,
			Config: "{numeric: [i, f, b, at], scale: robust, window: 20, missing: mean, polynomial: 2, sparse: [x]}"},
		optest.Case{Operator: "vectorize", Name: "adaptive, dates, indicators, tf-idf", In: mixed,
			Config: "{bits: 10, numeric: [i, f], scale: adaptive, half_life: 14, missing: indicator, polynomial: 3, dates: [at, i], text: [s, u], ngrams: 2, tokens: tfidf, sparse: [x], raw: true}"},
		optest.Case{Operator: "vectorize", Name: "characters", In: mixed, Config: "{bits: 10, text: [s, u], chars: true, tokens: count}"},
		optest.Case{Operator: "vectorize", Name: "characters by rarity", In: mixed, Config: "{bits: 12, text: [s], ngrams: 0, chars: {min: 1, max: 2}, tokens: tfidf}"},
		optest.Case{Operator: "vectorize", Name: "unscaled, zeros", In: mixed,
			Config: "{bits: 10, numeric: [i, f, b], scale: none, missing: zero, polynomial: 2}"},
		optest.Case{Operator: "vectorize", Name: "unscaled, raw, counted", In: mixed,
			Config: "{bits: 30, numeric: [f], scale: none, text: [s, u], tokens: count, sparse: [x], raw: true, as: v}"},
		optest.Case{Operator: "one_hot", Name: "evicting", In: mixed, Config: "{columns: [s, i, b, u], size: 4, full: evict, as: v}", Allocates: "a value that is new is kept"},
		optest.Case{Operator: "one_hot", Name: "others", In: mixed, Config: "{columns: [s, i, b, u], size: 3}"},
		optest.Case{Operator: "target_encode", Name: "numbers", In: mixed, Config: "{columns: [s, i, b], label: f, smoothing: 0.5}"},
		optest.Case{Operator: "target_encode", Name: "evicting, with a prior", In: mixed, Config: "{columns: [s, u], label: b, prior: 0.5, size: 5, full: evict}", Allocates: "a value that is new is kept"},
		optest.Case{Operator: "frequency_encode", Name: "counts", In: mixed, Config: "{columns: [s, i, b], value: count, size: 10}"},
		optest.Case{Operator: "frequency_encode", Name: "evicting", In: mixed, Config: "{columns: [s, u], size: 3, full: evict}", Allocates: "a value that is new is kept"},
		optest.Case{Operator: "embedding", Name: "absent", In: mixed, File: embeddings, Config: "{table: t.txt, columns: [u, i, b], text: [s]}"},
		optest.Case{Operator: "embedding", Name: "mean, in case", In: mixed, File: embeddings, Config: "{table: t.txt, columns: [u, i], text: [s], missing: mean, lower: false, prefix: v_}"},
		optest.Case{Operator: "embedding", Name: "zero, two rows", In: mixed, File: embeddings, Config: "{table: t.txt, columns: [b], text: [s], missing: zero, rows: 2}"},
		optest.Case{Operator: "embedding", Name: "vector", In: mixed, File: embeddings, Config: "{table: t.txt, columns: [s, u], text: [s], missing: mean, layout: vector}"},
		optest.Case{Operator: "bucket", Name: "quantiles", In: mixed, Config: "{columns: [i, f, b, at], quantiles: 5, window: 50}"},
		optest.Case{Operator: "bucket", Name: "edges", In: mixed, Config: "{columns: [i, f, b, at], edges: [-1e300, 0, 1.5, 1e9]}"},
	)
}

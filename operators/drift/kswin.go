package drift

import (
	"fmt"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift/detect"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[kswinConfig]{
	Name:    "kswin",
	Summary: "Watches the distribution of a column, by the test of Kolmogorov and Smirnov over a window (KSWIN).",
	Doc: "Holds the latest window values and compares the distribution of the recent ones with that of a random sample of the others; drift is reported where the exact p-value is at most alpha and the distributions lie more than min_gap apart. " +
		"Then all but the recent ones are forgotten (Raab, Heusinger and Schleif, Reactive Soft Prototype Computing for Concept Drift Streams, Neurocomputing 2020). It sees a change of shape as well as of mean.\n\n" +
		"A test is made at every value, so the rate of false alarms is above alpha would suggest: some 10 in 10,000 rows of a stationary stream. " +
		"The draws follow from seed and the number of draws made, which is part of the state, so a run that is resumed or repeated makes the same.\n\n" +
		"value is the mean of the recent values. " + rowsDoc + "\n\n" +
		"Cost: time by recent·log(recent) + window a row, memory of window numbers.",
	Role:    operators.Detector,
	Columns: columnsDoc + ".",
	Examples: []spec.Example{{
		Title:  "A spread that widens while the mean stays",
		Config: "kswin: {column: x, window: 14, recent: 7, alpha: 0.1}",
		In:     "x:float64\n0\n0.1\n0\n-0.1\n0.2\n-0.2\n0.1\n5\n-5\n6\n-6\n7\n8\n9\n",
		Out:    "node,task,row,value,kind\nnode,0,13,3.4285714285714284,drift\n",
	}},
	Build: func(c *kswinConfig, env *operators.Env) operators.Operator {
		d, err := detect.NewKSWIN(detect.KSWINOptions{Alpha: c.alpha, Window: c.window, Recent: c.recent, MinGap: c.minGap, Seed: int64(c.seed)})
		return watch(&watcher{column: env.InNumber(c.column), name: c.column.Name}, d, err, env)
	},
}))

type kswinConfig struct {
	column               spec.Column
	alpha, minGap        float64
	window, recent, seed int
}

func (c *kswinConfig) Fields(f *spec.Fields) {
	o := detect.DefaultKSWIN()
	f.Column(&c.column, "column", "", "What to watch, as a number.").Required().Example("ctr.loss")
	f.Float(&c.alpha, "alpha", o.Alpha, "Significance of each test. Smaller is slower and surer.").Above(0).Below(1)
	f.Int(&c.window, "window", o.Window, "Values that are held.").Within(4, 10_000).Pin()
	f.Int(&c.recent, "recent", o.Recent, "How many of them, the latest, are compared with as many of the others; at most half of window.").Within(2, 5_000)
	f.Float(&c.minGap, "min_gap", o.MinGap, "Least distance of the two distribution functions that counts.").Within(0, 1)
	f.Int(&c.seed, "seed", int(o.Seed), "Start of the random draws.").Within(0, 1_000_000_000)
}

func (c *kswinConfig) Check(add func(field, msg, want string)) {
	if 2*c.recent > c.window {
		add("recent", fmt.Sprintf("recent is %d", c.recent), fmt.Sprintf("expected at most half of window, which is %d", c.window))
	}
}

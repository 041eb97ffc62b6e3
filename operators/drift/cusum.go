package drift

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift/detect"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[cusumConfig]{
	Name:    "cusum",
	Summary: "Watches the mean of a column with a cumulative sum that never falls below zero (CUSUM).",
	Doc: "Sums how far values lie above their running mean, less the tolerance delta, and reports drift when that sum, which starts again at zero, passes threshold; and the same below the mean. " +
		"Then it starts over (Page, Continuous Inspection Schemes, Biometrika 1954, in the two-sided tabular form). With direction: up it alarms where MOA's does.\n\n" +
		"value is the running mean. delta and threshold are in the unit of the column: the defaults suit values of about one.\n\n" + rowsDoc + "\n\n" +
		"Cost: constant time and memory.",
	Role:    operators.Detector,
	Columns: columnsDoc + ".",
	Examples: []spec.Example{{
		Title:  "A jump of the mean",
		Config: "cusum: {column: x, threshold: 3, min_samples: 3}",
		In:     "x:float64\n0\n0\n0\n0\n2\n2\n2\n2\n",
		Out:    "node,task,row,value,kind\nnode,0,6,0.8571428571428572,drift\n",
	}},
	Build: func(c *cusumConfig, env *operators.Env) operators.Operator {
		d, err := detect.NewCUSUM(detect.CUSUMOptions{Delta: c.delta, Threshold: c.threshold, MinSamples: c.minSamples, Direction: directions[c.direction]})
		return watch(&watcher{column: env.InNumber(c.column), name: c.column.Name}, d, err, env)
	},
}))

type cusumConfig struct{ sumsConfig }

// sumsConfig is what detectors that sum have in common, with the same defaults.
type sumsConfig struct {
	column           spec.Column
	delta, threshold float64
	minSamples       int
	direction        string
}

func (c *sumsConfig) Fields(f *spec.Fields) {
	o := detect.DefaultCUSUM()
	f.Column(&c.column, "column", "", "What to watch, as a number.").Required().Example("ctr.loss")
	f.Float(&c.delta, "delta", o.Delta, "Change of the mean that is tolerated, in the unit of the column.").Within(0, 1e9)
	f.Float(&c.threshold, "threshold", o.Threshold, "Height of the sum at which drift is reported, in the unit of the column.").Above(0).AtMost(1e12)
	f.Int(&c.minSamples, "min_samples", o.MinSamples, "Values that must have passed before drift is reported.").Within(1, 1_000_000_000)
	directionField(f, &c.direction)
}

package drift

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift/detect"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[pageHinkleyConfig]{
	Name:    "page_hinkley",
	Summary: "Watches the mean of a column with the cumulative sum of Page and Hinkley.",
	Doc: "Sums how far values lie above their running mean, less the tolerance delta, and reports drift when the sum has risen by threshold from its lowest point or, mirrored, fallen from its highest; " +
		"then it starts over (Page, Continuous Inspection Schemes, Biometrika 1954; the forgetting factor alpha is later practice). " +
		"With the defaults it alarms where River's does; baseline: zero with direction: up gives MOA's.\n\n" +
		"value is the running mean. delta and threshold are in the unit of the column: the defaults suit values of about one.\n\n" + rowsDoc + "\n\n" +
		"Cost: constant time and memory.",
	Role:    operators.Detector,
	Columns: columnsDoc + ".",
	Examples: []spec.Example{{
		Title:  "A jump of the mean",
		Config: "page_hinkley: {column: x, threshold: 3, min_samples: 3}",
		In:     "x:float64\n0\n0\n0\n0\n2\n2\n2\n2\n",
		Out:    "node,task,row,value,kind\nnode,0,6,0.8571428571428572,drift\n",
	}},
	Build: func(c *pageHinkleyConfig, env *operators.Env) operators.Operator {
		d, err := detect.NewPageHinkley(detect.PageHinkleyOptions{Delta: c.delta, Threshold: c.threshold, Alpha: c.alpha,
			MinSamples: c.minSamples, Direction: directions[c.direction], Baseline: detect.Baseline(c.baseline)})
		return watch(&watcher{column: env.InNumber(c.column), name: c.column.Name}, d, err, env)
	},
}))

type pageHinkleyConfig struct {
	sumsConfig
	alpha    float64
	baseline string
}

func (c *pageHinkleyConfig) Fields(f *spec.Fields) {
	o := detect.DefaultPageHinkley()
	c.sumsConfig.Fields(f)
	f.Float(&c.alpha, "alpha", o.Alpha, "Factor by which the sum forgets at each value; 1 = never.").Above(0).AtMost(1)
	f.Enum(&c.baseline, "baseline", string(o.Baseline), []string{string(detect.Extreme), string(detect.Zero)},
		"What the sum is compared with: extreme = the lowest (highest) value it has had, zero = zero, which is later, with fewer false alarms.")
}

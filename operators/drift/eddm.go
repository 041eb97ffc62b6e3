package drift

import (
	"fmt"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift/detect"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[eddmConfig]{
	Name:    "eddm",
	Summary: "Watches the distance between the errors of a learner for a fall (EDDM).",
	Doc: "Watches the number of rows from one error to the next, which should grow or stay while a learner learns. It warns when its mean + 2 standard deviations falls below warning times its best, " +
		"and reports drift below drift times; then it starts over (Baena-García and others, Early Drift Detection Method, IWKDDS 2006). " +
		"With the defaults it alarms where MOA's does; spread: sample gives River's. It is quick and prone to false alarms: 8 to 27 in 10,000 rows of a stationary stream.\n\n" +
		"value is the mean distance since the last drift, which falls as errors rise. A warning is reported where its zone is entered, once. " +
		"A row whose column is a number other than 0 and 1 is rejected. " + rowsDoc + "\n\n" +
		"Cost: constant time and memory.",
	Role:    operators.Detector,
	Columns: columnsDoc + " or `warning`.",
	Examples: []spec.Example{{
		Title:  "Errors that come closer together",
		Config: "eddm: {column: wrong, min_samples: 4, min_errors: 2}",
		In:     "wrong:int64\n0\n0\n0\n0\n1\n0\n0\n0\n0\n1\n0\n0\n1\n0\n1\n1\n1\n1\n1\n1\n",
		Out:    "node,task,row,value,kind\nnode,0,17,2.5714285714285716,warning\nnode,0,18,2.375,drift\n",
	}},
	Build: func(c *eddmConfig, env *operators.Env) operators.Operator {
		d, err := detect.NewEDDM(detect.EDDMOptions{Warning: c.warning, Drift: c.drift, MinSamples: c.minSamples, MinErrors: c.minErrors, Spread: detect.Spread(c.spread)})
		return watch(c.watcher(env), d, err, env)
	},
}))

type eddmConfig struct {
	errorsConfig
	warning, drift        float64
	minSamples, minErrors int
	spread                string
}

func (c *eddmConfig) Fields(f *spec.Fields) {
	o := detect.DefaultEDDM()
	c.errorsConfig.Fields(f)
	f.Float(&c.warning, "warning", o.Warning, "Share of the best distance below which the warning zone begins; at least drift.").Above(0).Below(1)
	f.Float(&c.drift, "drift", o.Drift, "Share of the best distance below which drift is reported.").Above(0).Below(1)
	f.Int(&c.minSamples, "min_samples", o.MinSamples, "Rows that must have passed before anything is judged.").Within(0, 1_000_000_000)
	f.Int(&c.minErrors, "min_errors", o.MinErrors, "Errors that must have passed before anything is judged.").Within(1, 1_000_000_000)
	f.Enum(&c.spread, "spread", string(o.Spread), []string{string(detect.Population), string(detect.Sample)},
		"Variance of the distances: population = divided by the number of errors, sample = by one less.")
}

func (c *eddmConfig) Check(add func(field, msg, want string)) {
	c.errorsConfig.Check(add)
	if c.drift > c.warning {
		add("drift", fmt.Sprintf("drift is %v", c.drift), fmt.Sprintf("expected at most warning, which is %v", c.warning))
	}
}

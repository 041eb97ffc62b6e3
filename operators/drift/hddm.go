package drift

import (
	"fmt"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift/detect"
	"github.com/gradstream/gradstream/pipeline/spec"
)

const hddmDoc = "value is %s since the last drift. A warning is reported where its zone is entered, once. A row whose column is not in [0, 1] is rejected. " + rowsDoc + "\n\n" +
	"Cost: constant time and memory."

var _ = Family.Add(operators.Define(operators.Spec[hddmAConfig]{
	Name:    "hddm_a",
	Summary: "Watches the mean of errors for a change, by Hoeffding's bound (HDDM-A).",
	Doc: "Compares the mean since the last drift with that of the beginning at which it was lowest, by Hoeffding's inequality, which needs values in [0, 1] and no other assumption; then it starts over " +
		"(Frías-Blanco and others, Online and Non-Parametric Drift Detection Methods Based on Hoeffding's Bounds, IEEE TKDE 2015). It is sure, quick on large changes and slow on small ones. " +
		"With the defaults it alarms where MOA's and River's do. direction: both finds falls as well; the others, when made two-sided, start over at a fall and report nothing.\n\n" +
		fmt.Sprintf(hddmDoc, "the mean"),
	Role:    operators.Detector,
	Columns: columnsDoc + " or `warning`.",
	Examples: []spec.Example{{
		Title:  "The errors of a learner",
		Config: "hddm_a: {prediction: ctr, label: y, warning: 0.5, drift: 0.1}",
		In:     "ctr.probability:float64,y:bool?\n0.2,false\n0.7,true\n0.1,false\n0.9,true\n0.4,\n0.2,false\n0.3,false\n0.6,false\n0.6,false\n0.2,true\n0.2,true\n0.3,true\n0.1,true\n",
		Out:    "node,task,row,value,kind\nnode,0,7,0.14285714285714285,warning\nnode,0,8,0.25,drift\n",
	}},
	Build: func(c *hddmAConfig, env *operators.Env) operators.Operator {
		o := detect.DefaultHDDM()
		o.Warning, o.Drift, o.Direction = c.warning, c.drift, directions[c.direction]
		d, err := detect.NewHDDMA(o)
		return watch(c.shares(env), d, err, env)
	},
}))

var _ = Family.Add(operators.Define(operators.Spec[hddmWConfig]{
	Name:    "hddm_w",
	Summary: "Watches a fading mean of errors for a change, by McDiarmid's bound (HDDM-W).",
	Doc: "As hddm_a, but with means in which older values count less: quicker on large changes, blind to small ones " +
		"(Frías-Blanco and others, Online and Non-Parametric Drift Detection Methods Based on Hoeffding's Bounds, IEEE TKDE 2015). With the defaults it alarms where MOA's and River's do.\n\n" +
		fmt.Sprintf(hddmDoc, "the fading mean"),
	Role:    operators.Detector,
	Columns: columnsDoc + " or `warning`.",
	Examples: []spec.Example{{
		Title:  "A loss between 0 and 1",
		Config: "hddm_w: {column: x, lambda: 0.3, warning: 0.3, drift: 0.1}",
		In:     "x:float64?\n0.2\n0.1\n0\n0.1\n0.2\n\n0.1\n0.7\n0.9\n0.8\n1\n0.9\n0.8\n1\n",
		Out:    "node,task,row,value,kind\nnode,0,8,0.575638331,warning\nnode,0,10,0.7620627821899999,drift\n",
	}},
	Build: func(c *hddmWConfig, env *operators.Env) operators.Operator {
		d, err := detect.NewHDDMW(detect.HDDMOptions{Warning: c.warning, Drift: c.drift, Lambda: c.lambda, Direction: directions[c.direction]})
		return watch(c.shares(env), d, err, env)
	},
}))

type hddmAConfig struct {
	errorsConfig
	warning, drift float64
	direction      string
}

func (c *hddmAConfig) Fields(f *spec.Fields) {
	o := detect.DefaultHDDM()
	c.fields(f, "What to watch, a number from 0 to 1: 1 or true = an error.")
	f.Float(&c.warning, "warning", o.Warning, "Chance of a false warning the bound is built for; at least drift.").Above(0).Below(1)
	f.Float(&c.drift, "drift", o.Drift, "Chance of a false alarm the bound is built for. Smaller is slower and surer.").Above(0).Below(1)
	f.Enum(&c.direction, "direction", "up", []string{"up", "down", "both"}, "Changes that are reported: up = the mean rose, down = it fell.")
}

func (c *hddmAConfig) Check(add func(field, msg, want string)) {
	c.errorsConfig.Check(add)
	if c.drift > c.warning {
		add("drift", fmt.Sprintf("drift is %v", c.drift), fmt.Sprintf("expected at most warning, which is %v", c.warning))
	}
}

type hddmWConfig struct {
	hddmAConfig
	lambda float64
}

func (c *hddmWConfig) Fields(f *spec.Fields) {
	c.hddmAConfig.Fields(f)
	f.Float(&c.lambda, "lambda", detect.DefaultHDDM().Lambda, "Weight of the newest value in the mean.").Above(0).Below(1)
}

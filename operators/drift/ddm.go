package drift

import (
	"fmt"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift/detect"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[ddmConfig]{
	Name:    "ddm",
	Summary: "Watches the error rate of a learner for a rise over its lowest (DDM).",
	Doc: "With p errors a row and s = √(p(1−p)/n), it warns when p+s exceeds the lowest such point by warning deviations of that point, and reports drift at drift of them; then it starts over " +
		"(Gama, Medas, Castillo and Rodrigues, Learning with Drift Detection, SBIA 2004). It sees rises only, and is slow after a long quiet stretch.\n\n" +
		"value is the error rate since the last drift. Nothing is judged before min_errors errors: with 0, as in the paper, a clean start makes the first error a drift, " +
		"and a lucky one warns early. It costs no delay on the streams of the tests and takes false alarms to a third or less.\n\n" +
		"A warning is reported where its zone is entered, once. A row whose column is a number other than 0 and 1 is rejected. " + rowsDoc + "\n\n" +
		"Cost: constant time and memory.",
	Role:    operators.Detector,
	Columns: columnsDoc + " or `warning`.",
	Examples: []spec.Example{{
		Title:  "The errors of a learner",
		Config: "ddm: {prediction: ctr, label: y, min_samples: 4, min_errors: 1}",
		In:     "ctr.probability:float64,y:bool?\n0.2,false\n0.7,false\n0.1,false\n0.9,true\n0.2,false\n0.3,false\n0.4,\n0.1,false\n0.2,false\n0.6,true\n0.2,true\n0.3,true\n0.1,true\n",
		Out:    "node,task,row,value,kind\nnode,0,10,0.2,warning\nnode,0,12,0.3333333333333333,drift\n",
	}},
	Build: func(c *ddmConfig, env *operators.Env) operators.Operator {
		d, err := detect.NewDDM(detect.DDMOptions{Warning: c.warning, Drift: c.drift, MinSamples: c.minSamples, MinErrors: c.minErrors})
		return watch(c.watcher(env), d, err, env)
	},
}))

type ddmConfig struct {
	errorsConfig
	warning, drift        float64
	minSamples, minErrors int
}

func (c *ddmConfig) Fields(f *spec.Fields) {
	o := detect.DefaultDDM()
	c.errorsConfig.Fields(f)
	f.Float(&c.warning, "warning", o.Warning, "Height over the lowest point at which the warning zone begins, in standard deviations; at most drift.").Above(0).AtMost(100)
	f.Float(&c.drift, "drift", o.Drift, "Height over the lowest point at which drift is reported, in standard deviations.").Above(0).AtMost(100)
	f.Int(&c.minSamples, "min_samples", o.MinSamples, "Rows that must have passed before anything is judged.").Within(1, 1_000_000_000)
	f.Int(&c.minErrors, "min_errors", o.MinErrors, "Errors that must have passed before anything is judged; 0 = as in the paper.").Within(0, 1_000_000_000)
}

func (c *ddmConfig) Check(add func(field, msg, want string)) {
	c.errorsConfig.Check(add)
	if c.warning > c.drift {
		add("warning", fmt.Sprintf("warning is %v", c.warning), fmt.Sprintf("expected at most drift, which is %v", c.drift))
	}
}

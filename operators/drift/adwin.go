package drift

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift/detect"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[adwinConfig]{
	Name:    "adwin",
	Summary: "Watches the mean of a column with a window that adapts to change (ADWIN).",
	Doc: "Keeps a window of the latest values that shows no change of mean: whenever two adjoining parts of it differ by more than a Bernstein bound allows at confidence delta, " +
		"the oldest values are dropped and drift is reported (Bifet and Gavaldà, Learning from Time-Changing Data with Adaptive Windowing, SDM 2007). " +
		"The bound assumes values in [0, 1], and is more eager on a wider range. With the defaults it alarms where MOA's and River's ADWIN do, " +
		"except that MOA reports rises only (direction: up) and River starts over after an alarm (after: reset).\n\n" +
		"value is the mean of the window. With after: shrink one abrupt change gives some three more alarms while old values are dropped. " +
		"A loss that falls because the model learns is a change too: direction: up leaves it out.\n\n" + rowsDoc + "\n\n" +
		"Cost: constant time a row, and on every clock-th row time, and memory, by the logarithm of the window.",
	Role:    operators.Detector,
	Columns: columnsDoc + ".",
	Examples: []spec.Example{{
		Title:  "A jump of the mean",
		Config: "adwin: {column: x, delta: 0.1, clock: 4, min_part: 2}",
		In:     "x:float64\n0\n1\n0\n1\n0\n1\n0\n1\n0\n1\n0\n1\n6\n6\n6\n6\n6\n6\n6\n6\n",
		Out:    "node,task,row,value,kind\nnode,0,19,4.166666666666667,drift\n",
	}},
	Build: func(c *adwinConfig, env *operators.Env) operators.Operator {
		d, err := detect.NewADWIN(detect.ADWINOptions{Delta: c.delta, Clock: c.clock, Grace: c.grace, MinPart: c.minPart,
			Direction: directions[c.direction], After: detect.After(c.after)})
		return watch(&watcher{column: env.InNumber(c.column), name: c.column.Name}, d, err, env)
	},
}))

type adwinConfig struct {
	column                spec.Column
	delta                 float64
	clock, grace, minPart int
	direction, after      string
}

func (c *adwinConfig) Fields(f *spec.Fields) {
	o := detect.DefaultADWIN()
	f.Column(&c.column, "column", "", "What to watch, as a number.").Required().Example("ctr.loss")
	f.Float(&c.delta, "delta", o.Delta, "Chance of a false alarm the bound is built for. Smaller is slower and surer.").Above(0).Below(1)
	f.Int(&c.clock, "clock", o.Clock, "Values from one search for a change to the next.").Within(1, 1_000_000)
	f.Int(&c.grace, "grace", o.Grace, "Length of the window up to which no search is made.").Within(0, 1_000_000_000)
	f.Int(&c.minPart, "min_part", o.MinPart, "Least number of values on each side of a change.").Within(1, 1_000_000)
	directionField(f, &c.direction)
	f.Enum(&c.after, "after", string(o.After), []string{string(detect.Shrink), string(detect.Reset)},
		"What follows an alarm: shrink = keep the part of the window that agrees with the present, reset = forget everything.")
}

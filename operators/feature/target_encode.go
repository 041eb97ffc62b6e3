package feature

import (
	"fmt"
	"math"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
)

var _ = Family.Add(operators.Define(operators.Spec[targetConfig]{
	Name:    "target_encode",
	Summary: "Adds for each category the mean label of its earlier rows.",
	Doc: "A value is encoded as (n·m + smoothing·prior)/(n + smoothing), where n rows with this value had a label before and m is their mean, and prior is the mean of all labels before, or the number given (Micci-Barreca, SIGKDD Explorations 3(1), 2001). " +
		"A value that was never seen with a label gets the prior; so do all before the first label, or null where no prior is given.\n\n" +
		"The row's own label is learnt after the row is encoded, so no label leaks into its own features. Labels true and false count as 1 and 0. A row whose label is null is encoded and teaches nothing; a null category gives null.\n\n" +
		"A row is rejected if its label is beyond ±1e100. Values of more than 1,024 bytes count as other, and so do those beyond size, which share one mean; with full: evict a value that loses its place loses its mean.\n\n" +
		"Cost: one look-up a column and row. Memory and state: some 150 bytes a value and its text.",
	Columns: "Those of the input, and for each of `columns` NODE.COLUMN: float64?.",
	Examples: []spec.Example{{
		Title:  "Click rates by site, smoothed by two rows of the overall rate",
		Config: "target_encode: {columns: [site], label: y, smoothing: 2}",
		In:     "site:string,y:bool?\na,true\na,\na,false\nb,true\na,true\n",
		Out:    "site,y,node.site\na,true,\na,,1\na,false,1\nb,true,0.5\na,true,0.5833333333333333\n",
	}},
	Build: newTarget,
}))

type targetConfig struct {
	columns    []spec.Column
	label      spec.Column
	smoothing  float64
	prior      float64
	priorGiven bool
	words      vocabularyConfig
}

func (c *targetConfig) Fields(f *spec.Fields) {
	f.Columns(&c.columns, "columns", nil, "Columns taken by their text: string, int64, bool.").Required().Example("[site, user]")
	f.Column(&c.label, "label", "", "Column of labels: bool, int64 or float64.").Required().Pin()
	f.Float(&c.smoothing, "smoothing", 10, "Number of rows that the prior counts as.").Within(0, 1e9)
	f.Float(&c.prior, "prior", 0, "What a value is worth before anything is known of it; left out = the mean of all labels so far.").Within(-1e100, 1e100).Given(&c.priorGiven)
	c.words.fields(f, 100_000)
}

func (c *targetConfig) Check(add func(field, msg, want string)) {
	if len(c.columns) == 0 {
		add("columns", "no column is named", "expected at least one")
	}
}

// targetVersion is the version of the states of target_encode.
const targetVersion = 1

// mostLabel bounds labels, so that means stay finite.
const mostLabel = 1e100

// labels are the labels seen with a value, or with any.
type labels struct {
	N    int64   // how many
	Mean float64 // of them
}

func (l *labels) learn(y float64) {
	l.N++
	l.Mean += (y - l.Mean) / float64(l.N)
}

// target is the operator.
type target struct {
	columns   []targetColumn
	label     operators.Col
	labelName string
	all       *state.Cell[labels]
	smoothing float64
	prior     *float64
}

type targetColumn struct {
	category
	labels state.Map[uint32, labels] // by index in the vocabulary
	out    operators.Col
}

func newTarget(c *targetConfig, env *operators.Env) operators.Operator {
	o := &target{smoothing: c.smoothing, labelName: c.label.Name}
	if c.priorGiven {
		o.prior = &c.prior
	}
	o.all = operators.NewCell(env, "labels", targetVersion, labels{})
	o.label = env.In(c.label, batch.Bool, batch.Int64, batch.Float64)
	o.columns = make([]targetColumn, len(c.columns))
	for i, col := range c.columns {
		t := &o.columns[i]
		t.category = newCategory(env, col, &c.words)
		env.Bind("labels/"+col.Name, targetVersion, &t.labels)
		t.out = env.AddOwn(col.Name, batch.Float64, true)
	}
	return o
}

func (o *target) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	label := o.label.Of(in)
	for row := range in.N {
		y, labelled := label.Number(row)
		if math.Abs(y) > mostLabel {
			out.Reject(row, fmt.Errorf("label %q is %v; expected a number from -1e100 to 1e100", o.labelName, y))
			continue
		}
		prior, known := o.all.V.Mean, o.all.V.N > 0
		if o.prior != nil {
			prior, known = *o.prior, true
		}
		for i := range o.columns {
			c := &o.columns[i]
			col, to := c.col.Of(in), c.out.Of(in)
			if col.Null(row) {
				to.SetNull(row)
				continue
			}
			text := c.text(col, row)
			if !known {
				to.SetNull(row)
			} else {
				to.Floats[row] = o.encoded(c, text, prior)
			}
			if labelled {
				index, taken := c.values.learn(text)
				l := c.labels.Ensure(index)
				if taken {
					*l = labels{}
				}
				l.learn(y)
			}
		}
		if labelled {
			o.all.V.learn(y)
		}
	}
	return out.Emit(in)
}

// encoded is what a value is worth.
func (o *target) encoded(c *targetColumn, text []byte, prior float64) float64 {
	index := c.values.find(text)
	if index == 0 && c.values.would(text) != 0 {
		return prior // it will get a place of its own
	}
	l, ok := c.labels.Get(index)
	if !ok {
		return prior
	}
	n := float64(l.N)
	return (float64(n*l.Mean) + float64(o.smoothing*prior)) / (n + o.smoothing)
}

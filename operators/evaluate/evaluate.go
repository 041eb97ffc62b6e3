// Package evaluate holds the operators that judge predictions: metrics over the
// run, and the baseline a model has to beat.
package evaluate

import (
	"fmt"
	"strings"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/evaluate/metric"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// Family lists the operators of this package.
var Family operators.Family

var _ = Family.Add(operators.Define(operators.Spec[evaluateConfig]{
	Name:    "evaluate",
	Summary: "Scores predictions against their labels.",
	Doc: "Place it behind a learner: a learner predicts a row before it learns from it, so the scores are prequential (Dawid, 1984). " +
		"What the metrics may be follows from what the learner predicts, or from the column that prediction names: " +
		"NODE.probability is scored against a label that is true or false, or 1 or 0; NODE.class against a label of the same text; NODE.prediction against a number. " +
		"The predicted class is true if the probability is above 0.5.\n\n" +
		"Every row counts, for rows and for every; the metrics count those with a label and a prediction. " +
		"All metrics are over the whole run, but for roc_auc with a window, which is over the latest rows and named roc_auc_WINDOW. A metric that is undefined so far is null. " +
		"A row whose label is neither true, false, 1 nor 0 where a probability is scored, or whose probability is not in [0, 1], is rejected, as is a number beyond ±1e100.\n\n" +
		"The state is kept a metric: one that is added later starts with the rows that come then.\n\n" +
		"Cost: constant time a row and metric, memory of some numbers a metric; with classes, time by the logarithm of their number and memory in proportion to it, up to 4,096. " +
		"roc_auc takes up to 475 kB and reads them each time rows come out; with a window 24 bytes a row of it, sorted each time.",
	Role: operators.Evaluator,
	Columns: "Its own: `node`: string; `task`: int64; `rows`: int64, input rows so far; a column float64? for each metric. " +
		"One row for every `every` input rows of the task.",
	Examples: []spec.Example{{
		Title:  "Probabilities, a label not known yet, and metrics that are undefined at first",
		Config: "evaluate: {prediction: ctr, label: y, metrics: [accuracy, precision, roc_auc], every: 2}",
		In:     "ctr.probability:float64,y:bool?\n0.2,false\n0.1,false\n0.9,\n0.4,true\n0.8,true\n0.7,false\n",
		Out: "node,task,rows,accuracy,precision,roc_auc\n" +
			"node,0,2,1,,\n" +
			"node,0,4,0.6666666666666666,,1\n" +
			"node,0,6,0.6,0.5,0.8333333333333334\n",
	}, {
		Title:  "Numbers",
		Config: "evaluate: {prediction: eta, label: minutes, every: 3}",
		In:     "eta.prediction:float64,minutes:float64\n3,4\n5,5\n9,7\n",
		Out:    "node,task,rows,mae,rmse,r2\nnode,0,3,1,1.2909944487358056,-0.07142857142857117\n",
	}, {
		Title:  "Classes",
		Config: "evaluate: {prediction: kind, label: truth, metrics: [accuracy, kappa], every: 4}",
		In:     "kind.class:string?,truth:string?\n,cat\ncat,cat\ncat,dog\ndog,dog\n",
		Out:    "node,task,rows,accuracy,kappa\nnode,0,4,0.6666666666666666,0.39999999999999997\n",
	}},
	Build: newEvaluate,
}))

type evaluateConfig struct {
	prediction, label spec.Column
	metrics           []spec.Choice
	every             int
}

func (c *evaluateConfig) Fields(f *spec.Fields) {
	f.Column(&c.prediction, "prediction", "", "Learner whose predictions are scored, by the name of its node; or a column.").Required().Example("ctr")
	f.Column(&c.label, "label", "", "What was right; null = not known.").Required().Example("y")
	f.Choices(&c.metrics, "metrics", nil, metricOptions(), "What to compute. Left out: accuracy, log_loss and roc_auc of probabilities; "+
		"accuracy, kappa and macro_f1 of classes; mae, rmse and r2 of numbers.").Repeats().Example("[accuracy, log_loss, {roc_auc: {window: 500}}]")
	f.Int(&c.every, "every", 1000, "Input rows from one output to the next.").AtLeast(1)
}

var defaultMetrics = map[operators.PredictionKind][]string{
	operators.Probability: {"accuracy", "log_loss", "roc_auc"},
	operators.Class:       {"accuracy", "kappa", "macro_f1"},
	operators.Number:      {"mae", "rmse", "r2"},
}

// windowConfig holds the options of a metric that can look at the latest rows only.
type windowConfig struct{ window int }

func (c *windowConfig) Fields(f *spec.Fields) {
	f.Int(&c.window, "window", 0, "Rows with a label that count, the latest; 0 = all.").Within(0, metric.MaxWindow)
}

func metricOptions() []spec.Option {
	var options []spec.Option
	for _, name := range metric.Names() {
		s, _ := metric.Lookup(name)
		o := spec.Option{Name: name, Summary: s.Doc}
		if s.Windowed {
			o.New = func() spec.Config { return new(windowConfig) }
		}
		options = append(options, o)
	}
	return options
}

// evaluator is the operator. One of binary, classes and numeric has the metrics,
// in the order of the columns.
type evaluator struct {
	node       string
	task       int64
	every      int64
	prediction *operators.Prediction
	rows       *evaluateState
	metrics    []metric.Metric
	binary     []metric.Binary
	classes    []metric.Classes
	numeric    []metric.Numeric
	out        *batch.Batch
}

type evaluateState struct{ Rows int64 } // input rows

func newEvaluate(c *evaluateConfig, env *operators.Env) operators.Operator {
	o := &evaluator{node: env.Node(), task: int64(env.Task()), every: int64(c.every), rows: new(evaluateState)}
	o.prediction = env.Prediction(c.prediction, c.label)
	env.BindValue("rows", 1, o.rows)
	fields := []batch.Field{{Name: "node", Type: batch.String}, {Name: "task", Type: batch.Int64}, {Name: "rows", Type: batch.Int64}}
	if o.prediction.ValueName == "" { // complained of; the metrics hang on what is predicted
		o.out = env.Output(fields...)
		return o
	}
	choices := c.metrics
	if len(choices) == 0 {
		for _, name := range defaultMetrics[o.prediction.Kind] {
			choices = append(choices, spec.Choice{Name: name})
		}
	}
	seen := map[string]bool{}
	for _, m := range choices {
		name, ok := o.add(m, env)
		if ok && seen[name] {
			env.Errorf(m.Pos, "expected each once", "metrics names %q twice", name)
		}
		if ok && !seen[name] {
			fields = append(fields, batch.Field{Name: name, Type: batch.Float64, Nullable: true})
		}
		seen[name] = true
	}
	o.out = env.Output(fields...)
	env.Report(func(r *operators.Report) {
		r.Set("rows", float64(o.rows.Rows))
		for i, m := range o.metrics {
			name := fields[3+i].Name
			if v, ok := m.Value(); ok {
				r.Set(name, v)
			} else {
				r.SetNull(name)
			}
		}
	})
	return o
}

// add makes a metric, and returns the name of its column.
func (o *evaluator) add(c spec.Choice, env *operators.Env) (name string, ok bool) {
	s, _ := metric.Lookup(c.Name)
	var opt metric.Options
	if w, windowed := c.Config.(*windowConfig); windowed {
		opt.Window = w.window
	}
	name = c.Name
	if opt.Window > 0 {
		name = fmt.Sprintf("%s_%d", c.Name, opt.Window)
	}
	var m metric.Metric
	switch kind := o.prediction.Kind; {
	case kind == operators.Probability && s.Binary != nil:
		b := s.Binary(opt)
		o.binary, m = append(o.binary, b), b
	case kind == operators.Class && s.Classes != nil:
		b := s.Classes(opt)
		o.classes, m = append(o.classes, b), b
	case kind == operators.Number && s.Numeric != nil:
		b := s.Numeric(opt)
		o.numeric, m = append(o.numeric, b), b
	default:
		env.Errorf(c.Pos, "expected one of "+strings.Join(metricsOf(kind), ", "),
			"%s is a metric of %s, and %q holds %s", c.Name, strings.Join(plurals(s.Inputs()), " or "), o.prediction.ValueName, plurals([]string{kind.String()})[0])
		return name, false
	}
	o.metrics = append(o.metrics, m)
	// The text of the kind parts states that one name may mean.
	env.BindValue(o.prediction.Kind.String()+" "+name, 1, m.State())
	return name, true
}

func plurals(inputs []string) []string {
	out := make([]string, len(inputs))
	for i, s := range inputs {
		out[i] = map[string]string{"probability": "probabilities", "class": "classes", "number": "numbers"}[s]
	}
	return out
}

// metricsOf lists the metrics that score a kind of prediction.
func metricsOf(kind operators.PredictionKind) []string {
	var names []string
	for _, name := range metric.Names() {
		s, _ := metric.Lookup(name)
		if kind == operators.Probability && s.Binary != nil || kind == operators.Class && s.Classes != nil || kind == operators.Number && s.Numeric != nil {
			names = append(names, name)
		}
	}
	return names
}

func (o *evaluator) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	p := o.prediction
	o.out.Reset()
	o.out.Like(in)
	for row := range in.N {
		if scored, err := p.Scored(in, row); err != nil {
			out.Reject(row, err)
		} else if scored {
			o.score(in, row)
		}
		o.rows.Rows++
		if o.rows.Rows%o.every == 0 {
			o.emit(in, row)
		}
	}
	return out.Emit(o.out)
}

func (o *evaluator) score(in *batch.Batch, row int) {
	switch p := o.prediction; p.Kind {
	case operators.Probability:
		v, y := p.Numbers(in, row)
		for _, m := range o.binary {
			m.UpdateBinary(y == 1, v)
		}
	case operators.Class:
		v, y := p.Classes(in, row)
		for _, m := range o.classes {
			m.UpdateClass(y, v)
		}
	case operators.Number:
		v, y := p.Numbers(in, row)
		for _, m := range o.numeric {
			m.UpdateNumber(y, v)
		}
	}
}

func (o *evaluator) emit(in *batch.Batch, row int) {
	cols := o.out.Cols
	cols[0].AppendString(o.node)
	cols[1].AppendInt(o.task)
	cols[2].AppendInt(o.rows.Rows)
	for i, m := range o.metrics {
		if v, ok := m.Value(); ok {
			cols[3+i].AppendFloat(v)
		} else {
			cols[3+i].AppendNull()
		}
	}
	o.out.EndRow(in, row)
}

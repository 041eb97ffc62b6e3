package evaluate

import (
	"fmt"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/evaluate/metric"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[cbpeConfig]{
	Name:    "cbpe",
	Summary: "Estimates how good predicted probabilities are before their labels are known (CBPE).",
	Doc: "Confidence-based performance estimation: a row of probability p counts as p of a row whose label is true and 1 − p of one whose label is false. So with predictions above 0.5 taken as true, " +
		"the expected true positives are the sum of p over them, the false positives that of 1 − p, and so on; each metric is that of the fractional rows. The latest window rows count.\n\n" +
		"Assumptions: probabilities are calibrated, which means that of the rows with probability p the share p is true; and that stays so. " +
		"Then a change of what comes in shows in the estimate. A change of what the label is for the same input (concept drift) does not: pair it with evaluate on late labels, or with a detector on the loss.\n\n" +
		"With label, probabilities are calibrated first, by the labels that are known: in each of bins intervals of equal width, q = (true labels + prior·p)/(labels + prior). " +
		"A row is estimated before its label is used. Without label, or before labels come, q is p.\n\n" +
		"A row whose probability is null counts for rows only; one whose probability is not in [0, 1] is rejected.\n\n" +
		"Cost: as evaluate with a window of twice the rows.",
	Role: operators.Evaluator,
	Columns: "Its own: `node`: string; `task`: int64; `rows`: int64, input rows so far; a column float64? for each metric. " +
		"One row for every `every` input rows of the task.",
	Examples: []spec.Example{{
		Title:  "Ten rows without a label",
		Config: "cbpe: {prediction: ctr, every: 10, metrics: [accuracy, precision, recall, f1, roc_auc]}",
		In:     "ctr.probability:float64\n0.05\n0.2\n0.35\n0.51\n0.65\n0.8\n0.95\n0.9\n0.1\n0.6\n",
		Out:    "node,task,rows,accuracy,precision,recall,f1,roc_auc\nnode,0,10,0.771,0.735,0.863013698630137,0.793879387938794,0.8539713221199063\n",
	}, {
		Title:  "Labels show that probabilities are too high",
		Config: "cbpe: {prediction: ctr, label: y, window: 1, prior: 2, every: 2, metrics: [accuracy]}",
		In:     "ctr.probability:float64,y:bool?\n0.9,false\n0.9,\n0.9,false\n0.9,true\n0.9,false\n0.9,\n",
		Out:    "node,task,rows,accuracy\nnode,0,2,0.6\nnode,0,4,0.45\nnode,0,6,0.4666666666666666\n",
	}},
	Build: newCBPE,
}))

var cbpeMetrics = []string{"accuracy", "balanced_accuracy", "brier", "f1", "kappa", "log_loss", "mcc", "pr_auc", "precision", "recall", "roc_auc"}

type cbpeConfig struct {
	prediction, label   spec.Column
	metrics             []spec.Choice
	window, every, bins int
	prior               float64
}

func (c *cbpeConfig) Fields(f *spec.Fields) {
	f.Column(&c.prediction, "prediction", "", "Learner whose probabilities are judged, by the name of its node; or a column of probabilities.").Required().Example("ctr")
	f.Column(&c.label, "label", "", "What was right, to calibrate the probabilities by; null = not known. Left out: they are taken as they are.").Example("y")
	var options []spec.Option
	for _, name := range cbpeMetrics {
		s, _ := metric.Lookup(name)
		options = append(options, spec.Option{Name: name, Summary: s.Doc})
	}
	f.Choices(&c.metrics, "metrics", []string{"accuracy", "f1", "roc_auc"}, options, "What to estimate.").Example("[accuracy, recall]")
	f.Int(&c.window, "window", 1000, "Rows that count, the latest.").Within(1, metric.MaxWindow/2).Pin()
	f.Int(&c.every, "every", 1000, "Input rows from one output to the next.").AtLeast(1)
	f.Int(&c.bins, "bins", 20, "Bins of equal width of the calibration.").Within(1, 10_000).Pin()
	f.Float(&c.prior, "prior", 20, "Labels of a bin at which the calibrated probability lies halfway between the predicted one and the share that was true.").Above(0).AtMost(1e9)
}

// cbpe is the operator.
type cbpe struct {
	node        string
	task, every int64
	probability operators.Col
	name        string
	prediction  *operators.Prediction // nil without a label
	prior       float64
	rows        *evaluateState
	bins        *metric.CalibrationState
	names       []string
	metrics     []metric.Binary
	out         *batch.Batch
}

func newCBPE(c *cbpeConfig, env *operators.Env) operators.Operator {
	o := &cbpe{node: env.Node(), task: int64(env.Task()), every: int64(c.every), prior: c.prior, rows: new(evaluateState)}
	if c.label.Name != "" {
		o.prediction = env.Prediction(c.prediction, c.label)
		o.probability, o.name = o.prediction.Value, o.prediction.ValueName
		if o.prediction.Kind != operators.Probability && o.name != "" {
			env.Errorf(c.prediction.Pos, "expected a learner that predicts a probability", "%q holds %s", o.name, kinds[o.prediction.Kind])
		}
	} else {
		column := c.prediction
		if env.Input(0).Lookup(column.Name+".probability") >= 0 {
			column.Name += ".probability"
		}
		o.probability, o.name = env.In(column, batch.Float64), column.Name
	}
	env.BindValue("rows", 1, o.rows)
	calibration := metric.NewECE(c.bins)
	o.bins = calibration.State().(*metric.CalibrationState)
	env.BindValue("calibration", 1, o.bins)
	fields := []batch.Field{{Name: "node", Type: batch.String}, {Name: "task", Type: batch.Int64}, {Name: "rows", Type: batch.Int64}}
	for _, m := range c.metrics {
		s, _ := metric.Lookup(m.Name)
		b := s.NewBinary(metric.Options{Window: 2 * c.window}) // a row is two fractional ones
		o.metrics, o.names = append(o.metrics, b), append(o.names, m.Name)
		env.BindValue(m.Name, 1, b.State())
		fields = append(fields, batch.Field{Name: m.Name, Type: batch.Float64, Nullable: true})
	}
	o.out = env.Output(fields...)
	env.Report(func(r *operators.Report) {
		r.Set("rows", float64(o.rows.Rows))
		for i, m := range o.metrics {
			if v, ok := m.Value(); ok {
				r.Set(o.names[i], v)
			} else {
				r.SetNull(o.names[i])
			}
		}
	})
	return o
}

func (o *cbpe) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.out.Reset()
	o.out.Like(in)
	for row := range in.N {
		if err := o.take(in, row); err != nil {
			out.Reject(row, err)
		}
		o.rows.Rows++
		if o.rows.Rows%o.every == 0 {
			o.emit(in, row)
		}
	}
	return out.Emit(o.out)
}

// take estimates a row, and then learns from its label, if it has one.
func (o *cbpe) take(in *batch.Batch, row int) error {
	labelled := false
	if o.prediction != nil {
		var err error
		if labelled, err = o.prediction.Scored(in, row); err != nil {
			return err
		}
	}
	p, known := o.probability.Of(in).Number(row)
	if !known {
		return nil
	}
	if p < 0 || p > 1 {
		return fmt.Errorf("probability %q is %v; expected a number from 0 to 1", o.name, p)
	}
	n := len(o.bins.Bins)
	bin := &o.bins.Bins[min(int(p*float64(n)), n-1)]
	q := (bin.True + float64(o.prior*p)) / (bin.Weight + o.prior)
	for _, m := range o.metrics {
		m.UpdateBinary(true, p, q)
		m.UpdateBinary(false, p, 1-q)
	}
	if labelled {
		bin.Weight++
		bin.Probability += p
		if _, y := o.prediction.Numbers(in, row); y == 1 {
			bin.True++
		}
	}
	return nil
}

func (o *cbpe) emit(in *batch.Batch, row int) {
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

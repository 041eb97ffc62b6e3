// Package drift holds the operators that watch a stream for change.
//
// They share what they emit and how they treat rows: see [watch]. The detectors
// themselves are in package detect.
package drift

import (
	"fmt"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift/detect"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// Family lists the operators of this package.
var Family operators.Family

const (
	columnsDoc = "Its own, a row for each change: `node`: string; `task`: int64; `row`: int64, the input row that gave the alarm, counted by the node in its task from 0; " +
		"`value`: float64, the detector's estimate there; `kind`: string, `drift`"
	rowsDoc = "A row whose value is null is passed over, though it counts for row."
	// A larger magnitude would overflow the detectors' sums of squares.
	most = 1e100
)

var directions = map[string]detect.Direction{"both": detect.Both, "up": detect.Up, "down": detect.Down}

func directionField(f *spec.Fields, p *string) {
	f.Enum(p, "direction", "both", []string{"both", "up", "down"}, "Changes that are reported: up = the mean rose, down = it fell.")
}

// watcher feeds a detector.
type watcher struct {
	node       string
	task       int64
	detector   detect.Detector
	column     operators.Col
	name       string
	prediction *operators.Prediction // in place of column: whether it was wrong
	bits       bool                  // the column holds 0 and 1
	shares     bool                  // the column holds numbers from 0 to 1
	s          watchState
	out        *batch.Batch
}

type watchState struct {
	Rows     int64 // input rows
	Drifts   int64 // drifts reported
	Warnings int64 // warning zones entered
	Warned   bool  // the last value was in a warning zone
}

// watch completes a watcher that has its input with its detector, or complains of
// the error of making that. It emits a row where the detector sees drift, and one
// where it enters its warning zone.
func watch(w *watcher, d detect.Detector, err error, env *operators.Env) operators.Operator {
	w.node, w.task = env.Node(), int64(env.Task())
	w.out = env.Output(batch.Field{Name: "node", Type: batch.String}, batch.Field{Name: "task", Type: batch.Int64},
		batch.Field{Name: "row", Type: batch.Int64}, batch.Field{Name: "value", Type: batch.Float64}, batch.Field{Name: "kind", Type: batch.String})
	if err != nil {
		env.Errorf(spec.Pos{}, "", "%v", err)
		return w
	}
	w.detector = d
	env.BindValue("detector", 1, w.detector.State())
	env.BindValue("rows", 1, &w.s)
	env.Report(func(r *operators.Report) {
		r.Set("rows", float64(w.s.Rows))
		r.Set("drifts", float64(w.s.Drifts))
		if v, ok := w.detector.Estimate(); ok {
			r.Set("value", v)
		} else {
			r.SetNull("value")
		}
	})
	return w
}

func (w *watcher) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	w.out.Reset()
	w.out.Like(in)
	for row := range in.N {
		x, ok, err := w.input(in, row)
		if err != nil {
			out.Reject(row, err)
		} else if ok {
			w.update(in, row, x)
		}
		w.s.Rows++
	}
	return out.Emit(w.out)
}

// input returns what the detector gets of a row; ok is false if it gets nothing.
func (w *watcher) input(in *batch.Batch, row int) (x float64, ok bool, err error) {
	if w.prediction != nil {
		if ok, err = w.prediction.Scored(in, row); ok && w.prediction.Wrong(in, row) {
			x = 1
		}
		return x, ok, err
	}
	x, ok = w.column.Of(in).Number(row)
	switch {
	case !ok:
	case w.bits && x != 0 && x != 1:
		return 0, false, fmt.Errorf("column %q is %v; expected 1 for an error, or 0", w.name, x)
	case w.shares && (x < 0 || x > 1):
		return 0, false, fmt.Errorf("column %q is %v; expected a number from 0 to 1", w.name, x)
	case x > most || x < -most:
		return 0, false, fmt.Errorf("column %q is %v; expected a number from -1e100 to 1e100", w.name, x)
	}
	return x, ok, nil
}

func (w *watcher) update(in *batch.Batch, row int, x float64) {
	sig := w.detector.Update(x)
	enters := sig.Level == detect.Warning && !w.s.Warned
	w.s.Warned = sig.Level == detect.Warning
	switch {
	case sig.Level == detect.Drift:
		w.s.Drifts++
	case enters:
		w.s.Warnings++
	default:
		return
	}
	cols := w.out.Cols
	cols[0].AppendString(w.node)
	cols[1].AppendInt(w.task)
	cols[2].AppendInt(w.s.Rows)
	cols[3].AppendFloat(sig.Value)
	cols[4].AppendString(sig.Level.String())
	w.out.EndRow(in, row)
}

// errorsConfig names what ddm, eddm and the like watch: errors.
type errorsConfig struct {
	column, prediction, label spec.Column
}

func (c *errorsConfig) Fields(f *spec.Fields) {
	c.fields(f, "What to watch: 1 or true = an error, 0 or false = none.")
}

func (c *errorsConfig) fields(f *spec.Fields, column string) {
	f.Column(&c.column, "column", "", column).Example("wrong")
	f.Column(&c.prediction, "prediction", "", "In place of column: the learner whose errors are watched, by the name of its node. It must predict a probability (true is predicted above 0.5) or a class.").Example("ctr")
	f.Column(&c.label, "label", "", "With prediction: what was right.").Example("y")
}

func (c *errorsConfig) Check(add func(field, msg, want string)) {
	switch {
	case c.column.Name != "" && c.prediction.Name != "":
		add("prediction", "both column and prediction say what to watch", "expected one of them")
	case c.column.Name != "" && c.label.Name != "":
		add("label", "label goes with prediction, and column is given", "expected column alone, or prediction and label")
	case c.column.Name == "" && (c.prediction.Name == "" || c.label.Name == ""):
		add("", "nothing says which errors to watch", "expected column, or prediction and label")
	}
}

// watcher returns a watcher of the errors.
func (c *errorsConfig) watcher(env *operators.Env) *watcher {
	w := &watcher{bits: true, name: c.column.Name}
	if c.prediction.Name == "" {
		w.column = env.In(c.column, batch.Bool, batch.Int64, batch.Float64)
		return w
	}
	if w.prediction = env.Prediction(c.prediction, c.label); w.prediction.Kind == operators.Number {
		env.Errorf(c.prediction.Pos, "expected a learner that predicts a probability or a class, or column", "%q predicts numbers, which are not right or wrong", c.prediction.Name)
	}
	return w
}

// shares returns a watcher of the errors, or of a column of numbers from 0 to 1.
func (c *errorsConfig) shares(env *operators.Env) *watcher {
	w := c.watcher(env)
	w.bits, w.shares = false, true
	return w
}

package operators

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unsafe"

	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// PredictionKind says what a learner predicts, and so what its label is.
type PredictionKind uint8

// The kinds of predictions.
const (
	Probability PredictionKind = iota // that a label which is true or false, or 1 or 0, is true
	Class                             // the label's text
	Number                            // the label itself
)

func (k PredictionKind) String() string {
	return [...]string{"probability", "class", "number"}[k]
}

// Prediction is a column of predictions with the column that shows what was right.
type Prediction struct {
	Kind              PredictionKind
	Value, Label      Col
	ValueName, labels string

	a, b []byte // texts of classes
}

// mostNumber bounds numbers that are scored, so that sums of squares stay finite.
const mostNumber = 1e100

// Prediction finds the predictions of a learner, by the name of its node, and
// their label. A node's predictions stand in NODE.class, NODE.probability or
// NODE.prediction, in this order; where it has none, name is itself a column:
// classes if it is a string, probabilities if its name ends in .probability or
// the label is a bool, else numbers. What does not fit is complained of, and the
// result is then useless but harmless.
func (e *Env) Prediction(name, label spec.Column) *Prediction {
	p := &Prediction{labels: label.Name}
	var ok bool
	if p.Value, ok = e.predictions(name, p); !ok {
		e.In(label)
		return p
	}
	p.ValueName = e.Field(p.Value).Name
	labelType := batch.Type(0)
	if i := e.Input(0).Lookup(label.Name); i >= 0 {
		labelType = e.Input(0).Fields[i].Type
	}
	if p.ValueName == name.Name { // named by column
		switch {
		case e.Field(p.Value).Type == batch.String:
			p.Kind = Class
		case strings.HasSuffix(name.Name, ".probability") || labelType == batch.Bool:
			p.Kind = Probability
		default:
			p.Kind = Number
		}
	}
	switch p.Kind {
	case Probability:
		p.Label = e.In(label, batch.Bool, batch.Int64, batch.Float64)
	case Class:
		p.Label = e.In(label, batch.String, batch.Int64, batch.Bool)
	case Number:
		p.Label = e.In(label, batch.Int64, batch.Float64, batch.Bool)
	}
	return p
}

// predictions finds the column of a learner's predictions, and sets the kind it
// has by its name.
func (e *Env) predictions(name spec.Column, p *Prediction) (Col, bool) {
	s := e.Input(0)
	for _, c := range []struct {
		suffix string
		kind   PredictionKind
		t      batch.Type
	}{{".class", Class, batch.String}, {".probability", Probability, batch.Float64}, {".prediction", Number, batch.Float64}} {
		if i := s.Lookup(name.Name + c.suffix); i >= 0 {
			p.Kind = c.kind
			return e.In(spec.Column{Name: s.Fields[i].Name, Pos: name.Pos}, c.t), true
		}
	}
	if s.Lookup(name.Name) >= 0 {
		return e.In(name, batch.Float64, batch.Int64, batch.Bool, batch.String), true
	}
	var nodes []string
	for _, f := range s.Fields {
		for _, suffix := range []string{".class", ".probability", ".prediction"} {
			if node, ok := strings.CutSuffix(f.Name, suffix); ok && !slices.Contains(nodes, node) {
				nodes = append(nodes, node)
			}
		}
	}
	want := "expected a learner upstream, or a column of predictions"
	if near := spec.Nearest(name.Name, append(nodes, s.Names()...)); near != "" {
		want = fmt.Sprintf("did you mean %q?", near)
	} else if len(nodes) > 0 {
		want = spec.Suggest("", nodes)
	}
	e.Errorf(name.Pos, want, "no column %q, and no predictions of a node of that name", name.Name)
	return 0, false
}

// Scored reports whether a row has both a prediction and a label. A row whose
// values cannot be compared has an error.
func (p *Prediction) Scored(in *batch.Batch, row int) (bool, error) {
	value, label := p.Value.Of(in), p.Label.Of(in)
	if value.Null(row) || label.Null(row) {
		return false, nil
	}
	if p.Kind == Class {
		if err := CheckClass(p.labels, label, row); err != nil {
			return false, err
		}
		if err := CheckClass(p.ValueName, value, row); err != nil {
			return false, err
		}
		return true, nil
	}
	v, y := p.Numbers(in, row)
	if p.Kind == Number {
		switch {
		case math.Abs(y) > mostNumber:
			return false, fmt.Errorf("label %q is %v; expected a number from -1e100 to 1e100", p.labels, y)
		case math.Abs(v) > mostNumber:
			return false, fmt.Errorf("prediction %q is %v; expected a number from -1e100 to 1e100", p.ValueName, v)
		}
		return true, nil
	}
	if err := CheckBinary(p.labels, y); err != nil {
		return false, err
	}
	if v < 0 || v > 1 {
		return false, fmt.Errorf("probability %q is %v; expected a number from 0 to 1", p.ValueName, v)
	}
	return true, nil
}

// CheckBinary returns an error unless y, a label of that column, is 0 or 1: false
// or true.
func CheckBinary(column string, y float64) error {
	if y != 0 && y != 1 {
		return fmt.Errorf("label %q is %v; expected 0 or 1", column, y)
	}
	return nil
}

// Numbers returns the prediction and the label of a scored row that holds
// numbers or probabilities; a label that is true is 1.
func (p *Prediction) Numbers(in *batch.Batch, row int) (predicted, label float64) {
	predicted, _ = p.Value.Of(in).Number(row)
	label, _ = p.Label.Of(in).Number(row)
	return predicted, label
}

// Classes returns the texts of the prediction and the label of a scored row of
// classes. They are borrowed until the next call.
func (p *Prediction) Classes(in *batch.Batch, row int) (predicted, label string) {
	p.a = p.Value.Of(in).AppendText(p.a[:0], row)
	p.b = p.Label.Of(in).AppendText(p.b[:0], row)
	return unsafe.String(unsafe.SliceData(p.a), len(p.a)), unsafe.String(unsafe.SliceData(p.b), len(p.b))
}

// Wrong reports whether the class predicted in a scored row is not its label;
// true is predicted by a probability above 0.5. Numbers have no such thing.
func (p *Prediction) Wrong(in *batch.Batch, row int) bool {
	if p.Kind == Class {
		predicted, label := p.Classes(in, row)
		return predicted != label
	}
	v, y := p.Numbers(in, row)
	return (v > 0.5) != (y == 1)
}

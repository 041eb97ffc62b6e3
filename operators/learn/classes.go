package learn

import (
	"fmt"
	"math"
	"slices"

	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
)

// classesConfig says what a classifier that is not bound to two classes predicts.
type classesConfig struct {
	label   spec.Column
	predict string
	fixed   []string
	most    int
	room    givenField // max_classes
	bounded bool       // a model of more than most is refused: it would have no room
}

// givenField is whether a field was written, and where.
type givenField struct {
	given bool
	at    spec.Pos
}

func (g *givenField) note(f *spec.Field) { f.Given(&g.given).At(&g.at) }

// needClasses complains of max_classes where no classes are predicted.
func (g *givenField) needClasses(env *operators.Env) {
	if g.given {
		env.Errorf(g.at, "expected no max_classes, or predict: class", "max_classes is of classes that come as seen, but none are predicted")
	}
}

// className is what the name of a class matches where it is part of a column's.
const className = `[\s\S]+`

func (c *classesConfig) classFields(f *spec.Fields) {
	f.Column(&c.label, "label", "", "What to predict; null = not known yet.").Required().Example("y")
	f.Enum(&c.predict, "predict", "auto", []string{"auto", "probability", "class"},
		"What to predict: auto = for a bool label the probability that it is true, for others the class; probability takes labels that are 0 or 1 as well, class takes string, int64 and bool by their text.").Pin()
	f.Strings(&c.fixed, "classes", nil, "The classes, where they are known beforehand: any other rejects its row, and each gets a column of its own. Left out: they come as seen.").Pin().Matching(className, "a class that is not empty")
	c.room.note(f.Int(&c.most, "max_classes", 64, "Most classes that come as seen; a row with a further one is rejected, as is one whose class has more than 256 bytes.").Within(2, 1000))
}

// classes are the classes that a classifier knows, its label, and the columns in
// which it publishes. A class is known by its number, in the order given or seen.
type classes struct {
	kind                      operators.PredictionKind // Probability: the classes are false and true
	label                     operators.Col
	labelName                 string
	most                      int
	fixed                     bool
	known                     *classNames
	index                     operators.TextIndex // of known.Names
	class, probability        operators.Col
	each                      []operators.Col
	lost, version             operators.Col
	p                         []float64 // of the row, by class
	text                      []byte
	classOut, probOut, lostIn *batch.Column // of the batch being processed
	eachOut                   []*batch.Column
	labelIn                   *batch.Column
	versionOut                []int64
}

// classNames are the classes seen so far, in that order.
type classNames struct{ Names []string }

// classesVersion is the version of classNames as a state.
const classesVersion = 1

// seenClasses is the state of classes that come as seen: at most so many names.
type seenClasses struct {
	known *classNames
	most  int
}

// AppendState implements [state.Codec].
func (s *seenClasses) AppendState(dst []byte) []byte { return state.Append(dst, s.known) }

// LoadState implements [state.Codec].
func (s *seenClasses) LoadState(src []byte) error {
	if err := state.Decode(src, s.known); err != nil {
		return err
	}
	if n := len(s.known.Names); n > s.most {
		return fmt.Errorf("max_classes is %d, but %d classes are known", s.most, n)
	}
	return nil
}

// newClasses finds the label and adds the columns. Its state is the cell
// "classes".
func newClasses(c *classesConfig, env *operators.Env) *classes {
	o := &classes{labelName: c.label.Name, most: c.most, known: new(classNames)}
	if c.predict == "probability" || c.predict == "auto" && env.IsBool(c.label) {
		o.label = env.In(c.label, batch.Bool, batch.Int64, batch.Float64)
		if c.fixed != nil {
			env.Errorf(spec.Pos{}, "expected predict: class with them, or no classes", "classes do not go with a label that is true or false")
		}
		c.room.needClasses(env)
		o.fixed, o.known.Names = true, []string{"false", "true"}
		o.probability = env.AddOwn("probability", batch.Float64, false)
	} else {
		o.kind = operators.Class
		o.label = env.In(c.label, batch.String, batch.Int64, batch.Bool)
		o.class = env.AddOwn("class", batch.String, true)
		o.probability = env.AddOwn("probability", batch.Float64, true)
		if c.fixed != nil {
			if len(c.fixed) < 2 {
				env.Errorf(spec.Pos{}, "expected two or more", "classes has %d entries", len(c.fixed))
			}
			o.fixed, o.known.Names = true, slices.Clone(c.fixed)
			for _, name := range c.fixed {
				o.each = append(o.each, env.AddOwn("probability."+name, batch.Float64, false))
			}
			o.eachOut = make([]*batch.Column, len(o.each))
			if c.room.given {
				env.Errorf(c.room.at, "expected one of the two", "max_classes is of classes that come as seen, but classes are given")
			}
		} else {
			seen := seenClasses{o.known, math.MaxInt}
			if c.bounded {
				seen.most = c.most
			}
			operators.NewCell(env, "classes", classesVersion, seen)
		}
	}
	o.lost = env.AddOwn("loss", batch.Float64, true)
	o.version = env.AddOwn("version", batch.Int64, false)
	return o
}

// of binds the columns of a batch.
func (o *classes) of(in *batch.Batch) {
	o.labelIn, o.lostIn, o.probOut, o.versionOut = o.label.Of(in), o.lost.Of(in), o.probability.Of(in), o.version.Of(in).Ints
	if o.kind == operators.Class {
		o.classOut = o.class.Of(in)
		for i, c := range o.each {
			o.eachOut[i] = c.Of(in)
		}
	}
}

// scores returns room for a number of each known class.
func (o *classes) scores() []float64 {
	for len(o.p) < len(o.known.Names) {
		o.p = append(o.p, 0)
	}
	return o.p[:len(o.known.Names)]
}

// normalise turns logarithms of joint probabilities into probabilities of the
// classes; where all are zero, all are alike.
func normalise(logs []float64) {
	most := math.Inf(-1)
	for _, l := range logs {
		most = max(most, l)
	}
	if most == math.Inf(-1) {
		for i := range logs {
			logs[i] = 1 / float64(len(logs))
		}
		return
	}
	sum := 0.0
	for i, l := range logs {
		logs[i] = exact.Exp(l - most)
		sum += logs[i]
	}
	for i := range logs {
		logs[i] /= sum
	}
}

// greatest is the index of the greatest number, the first of equals; -1 of none.
func greatest(p []float64) int {
	best := -1
	for i, x := range p {
		if best < 0 || x > p[best] {
			best = i
		}
	}
	return best
}

// publish writes the probabilities of the known classes into a row.
func (o *classes) publish(row int, p []float64, version int64) {
	o.versionOut[row] = version
	if o.kind == operators.Probability {
		o.probOut.Floats[row] = p[1]
		return
	}
	if best := greatest(p); best < 0 {
		o.classOut.AppendNull()
		o.probOut.SetNull(row)
	} else {
		o.classOut.AppendString(o.known.Names[best])
		o.probOut.Floats[row] = p[best]
	}
	for i, c := range o.eachOut {
		c.Floats[row] = p[i]
	}
}

// skip fills a row that is rejected before it was published.
func (o *classes) skip(row int) {
	if o.kind == operators.Class {
		o.classOut.AppendNull()
		o.probOut.SetNull(row)
	}
}

// labelOf returns the number of a row's class, -1 if the label is null. A class
// not seen before is the one behind the known, and is not yet known: see learnt.
func (o *classes) labelOf(row int) (class int, err error) {
	if o.labelIn.Null(row) {
		return -1, nil
	}
	if o.kind == operators.Probability {
		y, _ := o.labelIn.Number(row)
		return int(y), operators.CheckBinary(o.labelName, y)
	}
	if err := operators.CheckClass(o.labelName, o.labelIn, row); err != nil {
		return 0, err
	}
	o.text = o.labelIn.AppendText(o.text[:0], row)
	if i := o.index.Place(o.known.Names, o.text); i >= 0 {
		return i, nil
	}
	switch {
	case o.fixed:
		return 0, fmt.Errorf("label %q is %q, which is none of classes", o.labelName, o.text)
	case len(o.known.Names) >= o.most:
		return 0, fmt.Errorf("label %q is %q, a class beyond max_classes: %d", o.labelName, o.text, o.most)
	}
	return len(o.known.Names), nil
}

// judge writes the loss of a row's probabilities and returns its class, or rejects
// the row. Nothing is to be learnt of it if its weight is 0: the label is null, or
// cannot be used, or it is the weight that was given.
func (o *classes) judge(row int, p []float64, w *rowWeight, r *recent, out operators.Emitter) (class int, weight float64) {
	class, err := o.labelOf(row)
	if err == nil && class >= 0 {
		weight, err = w.at(row, class)
	}
	switch {
	case err != nil:
		out.Reject(row, err)
		return 0, 0
	case class < 0:
		o.lostIn.SetNull(row)
		return 0, 0
	}
	o.lose(row, class, p)
	r.add(o.lostIn.Floats[row])
	return class, weight
}

// leastProbability bounds the loss, as in evaluate.
const leastProbability = 1e-15

// lose writes the loss of the probabilities of a row whose class is known, and
// makes that class a known one.
func (o *classes) lose(row, class int, p []float64) {
	o.lostIn.Floats[row] = lossOfClass(p, class)
	if class == len(o.known.Names) {
		o.known.Names = append(o.known.Names, string(o.text))
	}
}

// classColumns documents what a classifier emits.
const classColumns = "Those of the input, and, for a label that is true or false, `NODE.probability`: float64, that it is true; " +
	"else `NODE.class`: string?, the likeliest, the first known of equals, null before the first label, `NODE.probability`: float64?, of that class, and with `classes` also `NODE.probability.CLASS`: float64, of each; " +
	"`NODE.loss`: float64?, −ln of the probability that was given to the label, at most 34.54, null until the label is known; `NODE.version`: int64, the events learnt before this row."

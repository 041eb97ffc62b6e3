package run

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// OutputID is what the header gs-id of a published record says.
type OutputID struct {
	Task  int
	Step  uint64 // from 1
	Index int    // among all outputs of the step, from 0
}

func (id OutputID) String() string { return fmt.Sprintf("%d/%d/%d", id.Task, id.Step, id.Index) }

// ParseOutputID reads an id as String writes it.
func ParseOutputID(text string) (id OutputID, err error) {
	parts := strings.Split(text, "/")
	if len(parts) == 3 {
		task, e1 := strconv.ParseUint(parts[0], 10, 31)
		step, e2 := strconv.ParseUint(parts[1], 10, 64)
		index, e3 := strconv.ParseUint(parts[2], 10, 31)
		id = OutputID{Task: int(task), Step: step, Index: int(index)}
		if e1 == nil && e2 == nil && e3 == nil && step > 0 && id.String() == text {
			return id, nil
		}
	}
	return OutputID{}, fmt.Errorf("%q is no id of an output; expected TASK/STEP/INDEX as in the header %s, 0/17/3 say", text, headerID)
}

// Explained is one published prediction, computed once more with the weights that
// made it, and taken apart.
type Explained struct {
	ID        OutputID
	Sink      *pipeline.Sink
	Output    connectors.Output  // as computed anew
	Published *connectors.Record // as it stands in the topic; nil if the topic does not hold it any more
	Equal     bool               // Published has the key, the value and the headers of Output
	Clock     int64              // of the step, milliseconds since 1970

	Source    *pipeline.Source // of the event that was predicted
	Partition int32
	Offset    int64
	Time      int64 // event time, milliseconds since 1970

	Learners []ExplainedLearner // those that predicted the event on its way to the sink, in the order of the graph
}

// ExplainedLearner is the part that one learner had.
type ExplainedLearner struct {
	Node, Type string
	Columns    []ExplainedColumn // what it added to the event
	Features   string            // the sparse column it read
	Parts      []ExplainedFeature
	Intercept  float64
	Score      float64
	Sum        float64 // of the parts and the intercept, in the learner's order and precision; equals Score
}

// ExplainedColumn is a value that a learner added to an event.
type ExplainedColumn struct {
	Name string
	Type batch.Type
	Null bool
	Text string  // as sinks write it; empty if Null
	Real float64 // if Type is Float64
}

// ExplainedFeature is what one feature contributed to a score, and what made it.
type ExplainedFeature struct {
	operators.Contribution
	Columns, Values []string // empty if no operator upstream has named it
}

// Explain rebuilds the state of a task as it was right before the event that
// caused a published output, computes the output again, takes its score apart and
// compares all of it with what was published. Nothing is written. A
// [WrongRequest] says that there is no such output, or that it is no prediction.
func Explain(ctx context.Context, p *pipeline.Pipeline, past connectors.History, id OutputID, o RebuildOptions) (_ *Explained, err error) {
	o.Task, o.To = id.Task, id.Step
	r, err := newRebuild(ctx, p, past, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.t.close()) }()
	if err := r.reaches(id.Step); err != nil {
		return nil, err
	}
	if id.Step == r.begun {
		return nil, wrongRequest("the checkpoint of task %d holds the state behind step %d; an explanation needs the state before it", id.Task, id.Step)
	}
	x := &explainer{r: r, p: r.t.of.p, id: id}
	r.before = func(s *stepRecord) error {
		if s.Step < id.Step {
			return nil
		}
		r.rep.watch = &watch{took: x.took, fed: x.fed}
		return x.twin()
	}
	if err := r.advance(ctx); err != nil {
		return nil, err
	}
	if err := x.locate(); err != nil {
		return nil, err
	}
	if err := x.feed(); err != nil {
		return nil, err
	}
	out, err := x.explained()
	if err != nil {
		return nil, err
	}
	out.Published, err = findOutput(ctx, past, &out.Output)
	if err != nil {
		return nil, err
	}
	out.Equal = out.Published != nil && sameRecord(out.Published, &out.Output.Record)
	return out, nil
}

// explained puts together what was found and checks that it is the prediction.
func (x *explainer) explained() (*Explained, error) {
	made := x.r.rep.out.At(x.id.Index)
	key, value, err := x.recomputed()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(key, made.Key) || !bytes.Equal(value, made.Value) {
		return nil, fmt.Errorf("task %d, step %d: output %d comes out as %q when its rows are processed one by one and as %q when they are not; the program breaks its own law", x.id.Task, x.id.Step, x.id.Index, value, made.Value)
	}
	out := &Explained{
		ID: x.id, Sink: x.at.sink.def, Output: made, Clock: x.step.Clock,
		Source: x.p.Sources[x.row.source], Partition: x.row.partition, Offset: x.row.offset, Time: x.row.time,
	}
	silent := ""
	for _, i := range x.learnersOf(x.at.sink.def.From[x.at.port]) {
		n := x.p.Nodes[i]
		var of []taken
		for _, t := range x.heads {
			if t.node == i {
				of = append(of, t)
			}
		}
		var t taken
		switch {
		case len(of) == 0:
			continue // the row came on another way
		case len(of) == 1:
			t = of[0]
		case x.at.nth < len(of):
			t = of[x.at.nth]
		default:
			return nil, fmt.Errorf("operator %s has seen the event %d times; which of its predictions is output %v cannot be told", n.Name, len(of), x.id)
		}
		if !t.can {
			silent = fmt.Sprintf("%s (%s)", n.Name, n.Def.Name)
			continue
		}
		l, err := x.learner(n, &t)
		if err != nil {
			return nil, err
		}
		out.Learners = append(out.Learners, *l)
	}
	if len(out.Learners) == 0 {
		return nil, wrongRequest("output %v is a prediction of %s, which has no features with weights to explain it by", x.id, cmp.Or(silent, "no learner"))
	}
	return out, nil
}

// recomputed returns the output as the second core has encoded it.
func (x *explainer) recomputed() (key, value []byte, err error) {
	at := slices.Index(x.r.t.core.sinks, x.at.sink)
	k := x.core.sinks[at]
	nth := x.at.nth
	for _, c := range k.causes {
		if c.seq != x.at.seq || int(c.rank) != x.at.port {
			continue
		}
		if nth--; nth < 0 {
			o := k.to.At(int(c.at))
			return o.Key, o.Value, nil
		}
	}
	return nil, nil, fmt.Errorf("task %d, step %d: output %d does not come out again when the rows are processed one by one; the program breaks its own law", x.id.Task, x.id.Step, x.id.Index)
}

// learner checks that the parts add up to the score that the learner gave the row.
func (x *explainer) learner(n *pipeline.Node, t *taken) (*ExplainedLearner, error) {
	l := &ExplainedLearner{Node: n.Name, Type: n.Def.Name, Columns: t.columns, Features: t.x.Features,
		Intercept: t.x.Intercept, Score: t.x.Score, Sum: t.x.Sum()}
	if math.Float64bits(l.Sum) != math.Float64bits(l.Score) {
		return nil, fmt.Errorf("operator %s: the contributions add up to %v, its score is %v", n.Name, l.Sum, l.Score)
	}
	for _, c := range t.columns {
		if c.Name == n.Name+".score" && math.Float64bits(c.Real) != math.Float64bits(l.Score) {
			return nil, fmt.Errorf("operator %s: the contributions add up to %v, it has said %v", n.Name, l.Score, c.Real)
		}
	}
	names := x.namesFor(n, t.x.Contributions)
	for i, c := range t.x.Contributions {
		f := ExplainedFeature{Contribution: c}
		if names != nil {
			f.Columns, f.Values = names[i].Columns, names[i].Values
		}
		l.Parts = append(l.Parts, f)
	}
	return l, nil
}

// namesFor returns the names of a vector's features: those of the nearest operator
// upstream that makes features and made these.
func (x *explainer) namesFor(n *pipeline.Node, vector []operators.Contribution) []operators.Feature {
	for _, from := range n.From {
		i := slices.IndexFunc(x.p.Nodes, func(u *pipeline.Node) bool { return u.Name == from })
		if i < 0 {
			continue
		}
		f, ok := x.named[from]
		if ok && slices.EqualFunc(f, vector, func(a operators.Feature, b operators.Contribution) bool { return a.Index == b.Index }) {
			return f
		}
		if f := x.namesFor(x.p.Nodes[i], vector); f != nil {
			return f
		}
	}
	return nil
}

// findOutput looks for an output in its topic; nil if it is not there.
func findOutput(ctx context.Context, past connectors.History, o *connectors.Output) (found *connectors.Record, err error) {
	id, _ := headerOf(&o.Record, headerID)
	tp := connectors.TopicPartition{Topic: o.Topic, Partition: o.Partition}
	search := func(from int64) error {
		err := past.ReadLog(ctx, tp, from, func(r *connectors.Record) error {
			if have, ok := headerOf(r, headerID); !ok || have != id {
				return nil
			}
			c := *r
			c.Headers = slices.Clone(r.Headers)
			found = &c
			return errReached
		})
		if errors.Is(err, errReached) {
			return nil
		}
		return err
	}
	// Its timestamp is the step's clock, unless the topic has timestamps of its own.
	from, err := past.OffsetAt(ctx, tp, o.Time)
	if err != nil {
		return nil, err
	}
	if err := search(from); err != nil || found != nil {
		return found, err
	}
	return found, search(connectors.Earliest)
}

func sameRecord(a, b *connectors.Record) bool {
	return bytes.Equal(a.Key, b.Key) && (a.Key == nil) == (b.Key == nil) && bytes.Equal(a.Value, b.Value) &&
		slices.EqualFunc(a.Headers, b.Headers, func(a, b connectors.Header) bool { return a.Key == b.Key && bytes.Equal(a.Value, b.Value) })
}

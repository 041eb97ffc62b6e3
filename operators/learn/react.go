package learn

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift/detect"
	"github.com/gradstream/gradstream/operators/learn/optim"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// reactVersion is the version of reactState, and of the detectors' states here.
const reactVersion = 1

// reactions are what may follow a drift.
var reactions = []spec.Option{
	{Name: "none", Summary: "Nothing; no detector runs."},
	{Name: "alarm", Summary: "Counts drifts, for the report. The predictions are those of none.", New: func() spec.Config { return new(reactConfig) }},
	{Name: "reset", Summary: "Forgets what was learnt, but for the classes and the scale of labels.", New: func() spec.Config { return new(reactConfig) }},
	{Name: "background", Summary: "Trains a second model from nothing beside the first, which it replaces once it predicts better by two standard errors. Takes twice the memory, and while both learn twice the time.",
		New: func() spec.Config { return new(backgroundConfig) }},
	{Name: "boost", Summary: "Raises the rate, and lets it fall back. Not for ftrl, coin, pistol and freegrad, which have none.", New: func() spec.Config { return new(boostConfig) }},
}

// How many of reactions a learner takes.
const (
	reactBackground = 4 // it has no rate
	reactAll        = 5
)

// driftConfig is what a learner does when its loss rises.
type driftConfig struct{ onDrift spec.Choice }

func (c *driftConfig) reactField(f *spec.Fields, most int) {
	f.Choice(&c.onDrift, "on_drift", "none", reactions[:most],
		"What follows a rise of the loss, as a detector inside the learner sees it. It watches the loss of each labelled row, at most 1; of numbers in units of the variance of the labels for the squared loss, of their deviation for others.")
}

type boostConfig struct {
	reactConfig
	factor   float64
	halfLife int
}

func (c *boostConfig) Fields(f *spec.Fields) {
	c.reactConfig.Fields(f)
	f.Float(&c.factor, "factor", 5, "By how much the rate is multiplied at a drift.").Above(1).AtMost(1e4)
	f.Int(&c.halfLife, "half_life", 500, "Labelled rows after which half of what the rate is above its usual is gone.").Within(1, 1_000_000_000)
}

type backgroundConfig struct {
	reactConfig
	least, patience int
}

func (c *backgroundConfig) Fields(f *spec.Fields) {
	c.reactConfig.Fields(f)
	f.Int(&c.least, "least", 200, "Labelled rows that the second model learns before it may take over.").Within(1, 1_000_000_000)
	f.Int(&c.patience, "patience", 5000, "Labelled rows after which it is given up, if it has not.").Within(1, 1_000_000_000)
}

func (c *backgroundConfig) Check(add func(field, msg, want string)) {
	if c.least > c.patience {
		add("least", "the second model is given up before it may take over", "expected least to be at most patience")
	}
}

// reactState is what a reactor remembers beside its detector and second model.
type reactState struct {
	Drifts, Swaps int64
	Labels        labelScale // their mean and spread, of numbers
	Extra         float64    // what the rate is above its usual, as a part of that
	Training      bool       // the second model learns
	Rows          int64      // how many rows it has learnt
	Lead          lead       // by how much its losses were below the first's
}

// lead is a mean and a variance in which a value counts half a per cent less with
// each later one.
type lead struct{ Weight, Mean, Var float64 }

func (l *lead) add(x float64) {
	l.Weight = float64(0.995*l.Weight) + 1
	d, share := x-l.Mean, 1/l.Weight
	l.Mean += float64(d * share)
	l.Var = float64((1 - share) * (l.Var + float64(float64(d*d)*share)))
}

// clear tells that the mean lies above zero by two standard errors.
func (l *lead) clear() bool { return l.Mean > float64(2*math.Sqrt(l.Var/l.Weight)) }

// reaction watches the loss of a learner and says what follows a rise. It belongs
// to the node of the learner because the graph has no way back from a detector to
// what it watches.
type reaction struct {
	detector    detect.Detector
	s           reactState
	reset       bool
	boost, fade float64 // what a drift adds to the rate, and what is left of it with each row

	second          rival // nil but for background
	least, patience int64
}

// A rival is a second model of a learner, which learns beside the first.
type rival interface {
	// forget makes it as it was at the start.
	forget()
	// trial lets it predict the row that the first has just learnt, and learn it. It
	// returns the loss of that prediction; false = it cannot go on.
	trial() (lost float64, ok bool)
	// replace makes the first what it is.
	replace()
}

// background is what the names of a second model's states begin with.
const background = "background "

// newReaction makes what on_drift asks for; nil for none. A boost would raise the
// rate of the step rule, and second makes the second model where one is wanted.
func newReaction(c *driftConfig, step optim.Config, env *operators.Env, second func() rival) *reaction {
	r := new(reaction)
	var chosen spec.Choice
	switch o := c.onDrift.Config.(type) {
	case *reactConfig:
		chosen, r.reset = o.detector, c.onDrift.Name == "reset"
	case *boostConfig:
		chosen = o.detector
		r.boost, r.fade = o.factor-1, exact.Exp(-math.Ln2/float64(o.halfLife))
		if step.Rateless() {
			env.Errorf(c.onDrift.Pos, "expected another reaction, or another optimizer", "boost does not go with %s, which has no rate", step.Kind)
		}
	case *backgroundConfig:
		chosen = o.detector
		r.least, r.patience = int64(o.least), int64(o.patience)
		r.second = second()
	default:
		return nil
	}
	d, ok := chosen.Config.(detectorConfig)
	if !ok {
		return nil // complained of by whoever decoded the configuration
	}
	var err error
	if r.detector, err = d.detector(); err != nil {
		env.Errorf(chosen.Pos, "", "%v", err)
		return nil
	}
	env.BindValue("on_drift", reactVersion, &r.s)
	env.BindValue("on_drift "+chosen.Name, reactVersion, r.detector.State())
	env.Report(func(report *operators.Report) {
		report.Set("drifts", float64(r.s.Drifts))
		if r.second != nil {
			report.Set("swaps", float64(r.s.Swaps))
		}
	})
	return r
}

// rate is by what a step is to be multiplied, 0 if by nothing.
func (r *reaction) rate() float64 {
	if r == nil || r.boost == 0 {
		return 0
	}
	return 1 + r.s.Extra
}

// rises takes up the loss of a row, as the detector gets it, and reports that it has
// risen.
func (r *reaction) rises(lost float64) bool {
	s := &r.s
	if s.Extra *= r.fade; s.Extra < 1e-3 {
		s.Extra = 0
	}
	if r.detector.Update(lost).Level != detect.Drift {
		return false
	}
	s.Drifts++
	if r.boost > 0 {
		s.Extra = r.boost
	}
	return true
}

// after takes up the loss of a row that was learnt, and the loss that is watched. It
// reports that the model is to be forgotten.
func (r *reaction) after(lost, watched float64) bool {
	if r == nil {
		return false
	}
	s := &r.s
	if r.second == nil {
		s.Training = false // the reaction was another when the state was made
	}
	if s.Training {
		r.train(lost)
	}
	if !r.rises(min(watched, 1)) {
		return false
	}
	if r.second != nil {
		r.second.forget()
		s.Training, s.Rows, s.Lead = true, 0, lead{}
	}
	return r.reset
}

// train lets the second model predict and learn a row, and decides about it.
func (r *reaction) train(lost float64) {
	s := &r.s
	other, ok := r.second.trial()
	if !ok {
		s.Training = false
		return
	}
	s.Rows++
	s.Lead.add(max(-1e100, min(1e100, lost-other)))
	switch {
	case s.Rows >= r.least && s.Lead.clear():
		r.second.replace()
		s.Swaps++
		s.Training = false
	case s.Rows >= r.patience:
		s.Training = false
	}
}

// boost multiplies the rate of the steps to come.
func (m *core) boost(by float64) {
	m.rule.Boost = by
	if m.own != nil {
		m.own.Boost = by
	}
}

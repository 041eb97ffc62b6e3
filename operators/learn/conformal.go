package learn

import (
	"math"
	"slices"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
)

var _ = Family.Add(operators.Define(operators.Spec[conformalConfig]{
	Name:    "conformal",
	Summary: "Puts an interval around the predictions of a regression that holds the label as often as asked.",
	Doc: "The interval is prediction ± the k-th smallest of the last n absolute errors, at most window of them, k = ⌈(n+1)(1-α)⌉ (Vovk, Gammerman, Shafer 2005). " +
		"α starts at 1 - coverage and moves with every label by rate·(1 - coverage - miss), miss being 1 where the interval missed the label and else 0 (adaptive conformal inference: Gibbs, Candès 2021), up to 1. " +
		"So the share of rows that are covered comes to coverage within (2 + 1/rate)/rows whatever the stream does and however bad the predictions are, and above it only where they are exact; with rate: 0 only while errors are exchangeable.\n\n" +
		"Where k > n the interval has no ends, which are then null: before there are enough errors, and where the errors of late were too large. An α of 1 makes it the prediction alone. " +
		"A row whose label is null gets an interval and teaches nothing. A prediction or label beyond ±1e100 rejects the row.\n\n" +
		"Cost: time in proportion to window, a move of that many numbers; memory 16 bytes times window.",
	Columns: "Those of the input, and `NODE.lower`, `NODE.upper`: float64?, the ends of the interval; `NODE.covered`: bool?, whether the label lies within, null until it is known.",
	Examples: []spec.Example{{
		Title:  "Half of the labels",
		Config: "conformal: {prediction: p, label: y, coverage: 0.5, rate: 0.1}",
		In:     "p,y:float64?\n1,2\n1,1.5\n1,\n1,5\n1,1\n",
		Out: "p,y,node.lower,node.upper,node.covered\n" +
			"1,2,,,true\n1,1.5,0,2,true\n1,,0,2,\n1,5,0,2,false\n1,1,0,2,true\n",
	}},
	Build: newConformal,
}))

type conformalConfig struct {
	prediction, label spec.Column
	coverage, rate    float64
	window            int
}

func (c *conformalConfig) Fields(f *spec.Fields) {
	f.Column(&c.prediction, "prediction", "", "A regression upstream, by the name of its node, or a column of predictions.").Required().Example("m")
	f.Column(&c.label, "label", "", "What was predicted; null = not known yet.").Required().Example("y")
	f.Float(&c.coverage, "coverage", 0.9, "Share of the labels that is to lie within the interval.").Above(0).Below(1)
	f.Float(&c.rate, "rate", 0.01, "How fast the interval follows misses; 0 = not at all.").Within(0, 1)
	f.Int(&c.window, "window", 500, "Errors that are remembered.").Within(10, 100_000).Pin()
}

// conformalVersion is the version of conformalState and errorPage.
const conformalVersion = 2

type conformalState struct {
	Rows, Misses int64
	Shift        float64 // of α from 1 - coverage, so that this may be tuned
	N            int64   // errors that are remembered
	Next         int64   // where the next goes: a ring once there are window of them
}

// errorPage is a part of the ring of absolute errors, so that a checkpoint writes what
// has changed and not all of them.
type errorPage [64]float64

type conformal struct {
	config                *conformalConfig
	p                     *operators.Prediction
	s                     conformalState
	errors                state.Map[uint32, errorPage]
	sorted                []float64 // the errors in ascending order
	lower, upper, covered operators.Col
}

func newConformal(c *conformalConfig, env *operators.Env) operators.Operator {
	o := &conformal{config: c, p: env.Prediction(c.prediction, c.label)}
	if o.p.Kind != operators.Number && o.p.ValueName != "" {
		env.Errorf(c.prediction.Pos, "expected a regression or a column of numbers", "%q holds no numbers but a %v", o.p.ValueName, o.p.Kind)
	}
	o.lower = env.AddOwn("lower", batch.Float64, true)
	o.upper = env.AddOwn("upper", batch.Float64, true)
	o.covered = env.AddOwn("covered", batch.Bool, true)
	env.BindValue("conformal", conformalVersion, &o.s)
	env.Bind("errors", conformalVersion, &o.errors)
	env.Report(func(r *operators.Report) {
		r.Set("rows", float64(o.s.Rows))
		if o.s.Rows > 0 {
			r.Set("coverage", 1-float64(o.s.Misses)/float64(o.s.Rows))
		} else {
			r.SetNull("coverage")
		}
	})
	return o
}

func (o *conformal) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	if len(o.sorted) != int(o.s.N) { // the state was loaded
		o.load()
	}
	value, label := o.p.Value.Of(in), o.p.Label.Of(in)
	lower, upper, covered := o.lower.Of(in), o.upper.Of(in), o.covered.Of(in)
	for row := range in.N {
		scored, err := o.p.Scored(in, row)
		if err != nil {
			out.Reject(row, err)
			continue
		}
		p, known := value.Number(row)
		if known && math.Abs(p) > 1e100 {
			known = false // only possible without a label: Scored has looked
		}
		half := o.half()
		if !known || half < 0 {
			lower.SetNull(row)
			upper.SetNull(row)
		} else {
			lower.Floats[row], upper.Floats[row] = p-half, p+half
		}
		if !scored {
			covered.SetNull(row)
			continue
		}
		y, _ := label.Number(row)
		off := math.Abs(y - p)
		covered.Bools[row] = half < 0 || off <= half
		o.learn(off, !covered.Bools[row])
	}
	return out.Emit(in)
}

// load sorts the errors of a state that was loaded.
func (o *conformal) load() {
	o.sorted = slices.Grow(o.sorted[:0], o.config.window)
	for i := range uint32(o.s.N) {
		page, _ := o.errors.Get(i / uint32(len(errorPage{})))
		o.sorted = append(o.sorted, page[i%uint32(len(errorPage{}))])
	}
	slices.Sort(o.sorted)
}

// half is half the width of the interval, below 0 if it has no ends.
func (o *conformal) half() float64 {
	n := len(o.sorted)
	alpha := 1 - o.config.coverage + o.s.Shift
	if alpha >= 1 {
		return 0
	}
	k := math.Ceil(float64(float64(n+1) * (1 - alpha)))
	if k > float64(n) {
		return -1
	}
	return o.sorted[int(k)-1]
}

func (o *conformal) learn(off float64, missed bool) {
	s := &o.s
	s.Rows++
	toward := 1 - o.config.coverage
	if missed {
		s.Misses++
		toward--
	}
	// Where predictions are exact even the interval of α = 1 misses nothing; without an
	// end to α, as many misses would have to follow as rows were exact.
	s.Shift = min(s.Shift+float64(o.config.rate*toward), 1-(1-o.config.coverage))
	if o.sorted == nil {
		o.sorted = make([]float64, 0, o.config.window)
	}
	const size = int64(len(errorPage{}))
	was := &o.errors.Ensure(uint32(s.Next / size))[s.Next%size]
	if s.N < int64(o.config.window) {
		s.N++
	} else {
		at, _ := slices.BinarySearch(o.sorted, *was)
		o.sorted = slices.Delete(o.sorted, at, at+1)
	}
	*was = off
	s.Next = (s.Next + 1) % int64(o.config.window)
	at, _ := slices.BinarySearch(o.sorted, off)
	o.sorted = slices.Insert(o.sorted, at, off)
}

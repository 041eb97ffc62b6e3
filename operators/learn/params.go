package learn

import (
	"math"
	"strconv"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/operators/learn/optim"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state/weights"
)

// paramsConfig is what learners whose score is not linear in their weights have in
// common.
type paramsConfig struct {
	optimizer spec.Choice
	l2, clip  float64
	seed      int64
	driftConfig
}

func (c *paramsConfig) paramFields(f *spec.Fields, optimizer string, r rates, l2, clip float64) {
	all := optimizers(r)
	var options []spec.Option
	for _, o := range all {
		switch o.Name {
		case "adagrad", "sgd", "rmsprop", "adam":
			options = append(options, o)
		}
	}
	f.Choice(&c.optimizer, "optimizer", optimizer, options, "The step rule.")
	f.Float(&c.l2, "l2", l2, "Weight of the penalty on squared weights. It acts on the weights of the row.").Within(0, 1e6)
	f.Float(&c.clip, "clip", clip, "Bound of the derivative of the loss with respect to the score; 0 = none.").Within(0, 1e12)
	f.Int64(&c.seed, "seed", 0, "Which of the possible starts to take: weights begin with numbers that follow from their place and this.").Pin()
}

// params is a table of the weights of a score that is not linear in them. A step
// is that of a linear score whose features are the derivatives of the score by the
// weights. Weights lie in groups that begin at small numbers, which follow from
// their place, when a group is learnt for the first time; before, they are 0.
type params struct {
	table *weights.Table
	rule  *optim.Rule[float32]
	own   *optim.Rule[float64] // of the intercept; nil = none
	seed  uint64
	slots int
	clip  float64 // bound of the derivative of the loss, before the weight of its row; 0 = none

	idx   []uint32  // weights of the row
	d     []float32 // derivatives of the score by them
	fresh []freshGroup
	s     *paramsState
	react *reaction // nil = nothing follows a drift
}

type freshGroup struct{ at, n int }

// paramsVersion is the version of paramsState and of the table.
const paramsVersion = 1

type paramsState struct {
	Version   int64
	Rule, Own optim.State
	Intercept [4]float64 // slots; the first is the intercept
	Recent    recent
	Scale     labelScale
}

// newParams makes the table of n weights, to be moved along the derivative of a
// loss. It returns nil if it complained.
func newParams(c *paramsConfig, env *operators.Env, n int64, intercept bool, f loss.Func) *params {
	return makeParams(c, env, n, n, intercept, f)
}

// newClassParams makes a table of common weights and of at most classes times each,
// that grows with the classes; see [weights.NewGrowing].
func newClassParams(c *paramsConfig, env *operators.Env, common, each, classes int) *params {
	of := *c
	of.clip = 0 // see classed
	return makeParams(&of, env, int64(common)+int64(each)*int64(classes), int64(common)+int64(each), false, loss.Func{})
}

// makeParams makes a table of n weights, which grows if its pinned size is less.
func makeParams(c *paramsConfig, env *operators.Env, n, pinned int64, intercept bool, f loss.Func) *params {
	chosen, ok := c.optimizer.Config.(rule)
	if !ok {
		return nil // complained of by whoever decoded the configuration
	}
	if n > math.MaxUint32 {
		env.Errorf(spec.Pos{}, "expected at most 2^32: fewer bits, or fewer factors or units", "there are %d weights", n)
		return nil
	}
	cfg := chosen.config(f.Gradient)
	if cfg.Invariant {
		env.Errorf(c.optimizer.Pos, "expected none, or a linear learner", "invariant steps need a score that is linear in the weights")
		return nil
	}
	own := cfg
	cfg.L2 = c.l2
	cfg.Clip, own.Clip = 0, 0
	env.Pin("slots", cfg.Layout())
	env.Pin("weights", strconv.FormatInt(pinned, 10))
	table := func(prefix string) (*params, error) {
		p := &params{clip: c.clip, seed: uint64(c.seed), s: new(paramsState), slots: cfg.Slots()}
		var err error
		if p.rule, err = optim.New[float32](cfg); err == nil && intercept {
			p.own, err = optim.New[float64](own)
		}
		if pinned < n {
			p.table = env.GrowingWeights(prefix+"weights", paramsVersion, int(n), p.slots)
		} else {
			p.table = env.Weights(prefix+"weights", paramsVersion, int(n), p.slots)
		}
		env.BindValue(prefix+"model", paramsVersion, p.s)
		return p, err
	}
	p, err := table("")
	if err != nil {
		env.Errorf(c.optimizer.Pos, "", "%v", err)
		return nil
	}
	p.react = newReaction(&c.driftConfig, cfg, env, func() rival {
		second, _ := table(background)
		return &paramsRival{first: p, second: second}
	})
	env.Report(func(r *operators.Report) {
		reportLearner(r, p.s.Version, float64(p.table.NonZero()), p.table.L2(), p.s.Recent)
	})
	return p
}

// at is a weight.
func (p *params) at(i int) float32 { return p.table.Data[i*p.slots] }

// known reports whether the group of n weights from i on was learnt.
func (p *params) known(i, n int) bool {
	for k := i; k < i+n; k++ { // a step may end at 0, but not one of each weight
		if p.at(k) != 0 {
			return true
		}
	}
	return false
}

// begin starts a row that will be learnt.
func (p *params) begin() { p.idx, p.d, p.fresh = p.idx[:0], p.d[:0], p.fresh[:0] }

// start gives the weights [i, i+n) their first values, of the given standard
// deviation, if they were never learnt.
func (p *params) start(i, n int, deviation float64) {
	if p.known(i, n) {
		return
	}
	p.fresh = append(p.fresh, freshGroup{i, n})
	for k := i; k < i+n; k++ {
		// Uniform on ±√3 deviations, but never 0, which means not learnt.
		u := float64(float64(scatter(p.seed^uint64(k))>>11)*0x1p-52) - 1
		if u == 0 {
			u = 1
		}
		p.table.Data[k*p.slots] = float32(u * math.Sqrt(3) * deviation)
	}
}

// scatter is the finalizer of splitmix64 over the next state: any two inputs that
// differ in one bit give unrelated numbers.
func scatter(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// by adds the derivative of the score by a weight.
func (p *params) by(i int, d float32) {
	p.idx = append(p.idx, uint32(i))
	p.d = append(p.d, d)
}

// intercept is what is added to every score.
func (p *params) intercept() float64 { return p.s.Intercept[0] }

// forget takes the first values of a row back that is not learnt after all.
func (p *params) forget() {
	for _, g := range p.fresh {
		for k := g.at; k < g.at+g.n; k++ {
			p.table.Data[k*p.slots] = 0
		}
	}
}

// restart makes the model as it was at the start, but for the scale of labels. The
// events learnt are counted on.
func (p *params) restart() {
	clear(p.table.Data)
	p.table.TouchAll()
	p.rule.Shared = optim.Shared{}
	*p.s = paramsState{Version: p.s.Version, Recent: p.s.Recent, Scale: p.s.Scale}
}

// step moves the weights of a row that counts that often; on an error nothing has
// changed.
func (p *params) step(gradient, weight float64) error {
	if p.clip > 0 {
		gradient = max(-p.clip, min(p.clip, gradient))
	}
	gradient = float64(weight * gradient)
	if by := p.react.rate(); by > 0 {
		p.rule.Boost = by
		if p.own != nil {
			p.own.Boost = by
		}
	}
	p.rule.State = p.s.Rule
	if err := p.rule.Step(p.table.Data, p.idx, p.d, gradient); err != nil {
		p.forget()
		return errStep
	}
	if p.own != nil {
		p.own.State = p.s.Own
		if err := p.own.Step(p.s.Intercept[:], always, one, gradient); err != nil {
			p.rule.Undo(p.table.Data, p.idx)
			p.forget()
			return errStep
		}
		p.s.Own = p.own.State
	}
	p.s.Rule = p.rule.State
	p.table.Touch(p.idx)
	p.s.Version++
	return nil
}

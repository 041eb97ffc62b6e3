package learn

import (
	"errors"
	"math/bits"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
)

var _ = Family.Add(operators.Define(operators.Spec[bprConfig]{
	Name:    "bpr",
	Summary: "Learns which items a user prefers from what was chosen alone (Rendle 2009).",
	Doc: "The score of user u and item i is b_i + ⟨p_u, q_i⟩. Each row says that u chose i: another item j is drawn from all that were ever chosen, and a step is taken on −ln σ(score of i − score of j), so that i ranks above j " +
		"(Bayesian personalised ranking; Rendle, Freudenthaler, Gantner, Schmidt-Thieme, UAI 2009). The draws follow from seed and a counter in the state: the same rows give the same draws. Any item but i may be drawn, those that u chose before too.\n\n" +
		"The loss of a row is that of its pair before the step, ln 2 where the scores are equal; its mean falls as the ranking gets better. `above` is 1 where i ranked above j, ½ where they were equal, else 0: its mean is the area under the ROC curve.\n\n" +
		"A user or item that was never learnt adds nothing; when it is learnt first its vector begins with small numbers that follow from its text and seed. With label only rows whose label is true are learnt; all are scored, and without a label nothing but the score is known of a row. " +
		"The first item of all is learnt without a pair. A null user is unknown: the biases alone are learnt. A row with a null item is scored 0 and not learnt.\n\n" +
		"Users and items are told apart by the hash of their text (XXH3-64) modulo 2^bits, each kind by itself. A row that would make a weight infinite is rejected, and the model is as it was. Weights are float32.\n\n" +
		"Cost: time in proportion to the factors; memory 8 bytes times 2^bits times (factors + 1) times the numbers a weight takes: sgd 1, adam 4, the others 2; and some 100 bytes an item.",
	Role: operators.Learner,
	Columns: "Those of the input, and `NODE.score`: float64, of this user and item; `NODE.loss`: float64?, and `NODE.above`: float64?, of the pair, null for a row that is not learnt; " +
		"`NODE.version`: int64, the events learnt before this row.",
	Examples: []spec.Example{{
		Title:  "What was chosen ranks higher",
		Config: "bpr: {user: user, item: item, bits: 8, optimizer: {sgd: {rate: 0.5}}}",
		In:     "user:string,item:string\nann,x\nann,y\nann,y\nann,y\nbob,x\nann,y\n",
		Out:    "user,item,node.score,node.loss,node.above,node.version\nann,x,0,,,0\nann,y,0,0.6939197937561835,0,1\nann,y,0.29101814702153206,0.44451604296039027,1,2\nann,y,0.5020790472626686,0.31147745208013256,1,3\nbob,x,-0.561866283416748,1.4051934805935942,0,4\nann,y,0.30733194202184677,0.4303721955431627,1,5\n",
	}},
	Build: newBPR,
}))

type bprConfig struct {
	pairConfig
	paramsConfig
	label spec.Column
}

func (c *bprConfig) Fields(f *spec.Fields) {
	c.pairFields(f, 1)
	f.Column(&c.label, "label", "", "Whether the item was chosen: true, false, or null for not known yet. Left out: every row is a choice.").Example("clicked")
	c.paramFields(f, "adagrad", rates{sgd: 0.05, adagrad: 0.1}, 0.002, 0)
}

// bprVersion is the version of the operator's own states.
const bprVersion = 1

// bprItems are what is drawn from.
type bprItems struct {
	Draws uint64 // made so far
	Count uint32 // items known
}

type bpr struct {
	*pairs
	label                      operators.Col
	labelled                   bool
	scores, lost, above, count operators.Col
	items                      state.Map[uint32, uint32] // place in the order seen to hash
	chosen                     map[uint32]struct{}       // the values of items
	s                          bprItems
}

func newBPR(c *bprConfig, env *operators.Env) operators.Operator {
	o := &bpr{labelled: c.label.Name != "", chosen: map[uint32]struct{}{}}
	if o.labelled {
		o.label = env.In(c.label, batch.Bool)
	}
	o.pairs = newPairs(&c.pairConfig, &c.paramsConfig, env, loss.Func{})
	o.scores = env.AddOwn("score", batch.Float64, false)
	o.lost = env.AddOwn("loss", batch.Float64, true)
	o.above = env.AddOwn("above", batch.Float64, true)
	o.count = env.AddOwn("version", batch.Int64, false)
	env.Bind("items", bprVersion, &o.items)
	env.BindValue("draws", bprVersion, &o.s)
	return o
}

var errItem = errors.New("the item is null, but was chosen")

func (o *bpr) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.of(in)
	scores, version := o.scores.Of(in).Floats, o.count.Of(in).Ints
	lost, above := o.lost.Of(in), o.above.Of(in)
	for row := range in.N {
		u, i := o.groups(row)
		version[row] = o.params.s.Version
		if scores[row] = o.scoreOf(u, i); !finite(scores[row]) {
			out.Reject(row, errScore)
			continue
		}
		chosen := i >= 0
		if o.labelled {
			y := o.label.Of(in)
			chosen = !y.Null(row) && y.Bools[row]
			if chosen && i < 0 {
				out.Reject(row, errItem)
				continue
			}
		}
		paired := false
		if chosen {
			l, a, ok, err := o.learn(u, i)
			if err != nil {
				out.Reject(row, err)
				continue
			}
			if paired = ok; paired {
				lost.Floats[row], above.Floats[row] = l, a
				o.params.s.Recent.add(l)
			}
		}
		if !paired {
			lost.SetNull(row)
			above.SetNull(row)
		}
	}
	return out.Emit(in)
}

func (o *bpr) scoreOf(u, i int) float64 { return float64(o.bias(i)) + float64(o.product(u, i)) }

// draw picks another item than the one at i; -1 if there is none.
func (o *bpr) draw(i int) int {
	for range 16 { // where the only other one is rare, the row is learnt without
		if o.s.Count == 0 {
			return -1
		}
		place, _ := bits.Mul64(scatter(o.seed+scatter(o.s.Draws)), uint64(o.s.Count))
		o.s.Draws++
		hash, _ := o.items.Get(uint32(place))
		if j := o.place(*hash, 1); j != i {
			return j
		}
		if o.s.Count == 1 {
			return -1
		}
	}
	return -1
}

// chosenBefore reports whether an item can be drawn.
func (o *bpr) chosenBefore(hash uint32) bool {
	if len(o.chosen) != int(o.s.Count) { // the state was loaded
		clear(o.chosen)
		for _, h := range o.items.Entries() {
			o.chosen[*h] = struct{}{}
		}
	}
	_, ok := o.chosen[hash]
	return ok
}

// prepare lays out the derivatives of how far i scores above j, with all known, and
// returns it. With j -1 it only lets the others become known. Of a null user no
// vector is: what becomes known has to be among the weights of the row.
func (o *bpr) prepare(u, i, j int) float64 {
	if u >= 0 {
		o.meet(u)
		o.meet(i)
		o.meet(j)
	}
	if j < 0 {
		for k := 0; u >= 0 && k < o.factors; k++ {
			o.by(u+k, 0)
			o.by(i+k, 0)
		}
		return 0
	}
	for k := 0; u >= 0 && k < o.factors; k++ {
		o.by(u+k, o.at(i+k)-o.at(j+k))
		o.by(i+k, o.at(u+k))
		o.by(j+k, -o.at(u+k))
	}
	o.by(i+o.factors, 1)
	o.by(j+o.factors, -1)
	return o.scoreOf(u, i) - o.scoreOf(u, j)
}

// learn takes a step for the choice of an item; on an error nothing has changed.
// ok is false if there was no item to rank it against.
func (o *bpr) learn(u, i int) (lost, above float64, ok bool, err error) {
	before := o.s
	j := o.draw(i)
	f := loss.Func{}
	if ok = j >= 0; ok {
		d := o.scoreOf(u, i) - o.scoreOf(u, j)
		lost, above = f.Value(d, 1), 0.5
		if d > 0 {
			above = 1
		} else if d < 0 {
			above = 0
		}
	}
	o.begin()
	gradient := 0.0
	if at := o.prepare(u, i, j); ok {
		gradient = f.Gradient(at, 1)
	}
	if err := o.step(gradient, 1); err != nil {
		o.s = before
		return 0, 0, false, err
	}
	if hash := uint32(i/(o.factors+1) - int(o.mask+1)); !o.chosenBefore(hash) {
		o.items.Put(o.s.Count, hash)
		o.chosen[hash] = struct{}{}
		o.s.Count++
	}
	return lost, above, ok, nil
}

package learn

import (
	"github.com/zeebo/xxh3"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[factorizationConfig]{
	Name:    "matrix_factorization",
	Summary: "Predicts how a user rates an item, from biases and factors of both.",
	Doc: "The score of user u and item i is b_u + b_i + ⟨p_u, q_i⟩, each user and item with a bias b and a vector of `factors` numbers; with label_scale: center the prediction is the mean of the labels so far plus the score " +
		"(Koren, Bell, Volinsky, Matrix Factorization Techniques for Recommender Systems, IEEE Computer 42, 2009). With factors: 0 it is the baseline of biases alone.\n\n" +
		"Row by row: predict; if the label is known, take the loss of that prediction, then one step on its derivative for the four of this row, l2 penalising each. " +
		"A user or an item that was never learnt adds nothing: of an unknown user the prediction is the mean plus the item's bias. When it is learnt first its vector begins with small numbers that follow from its text and seed. " +
		"A null user or item counts as unknown, and the other's bias alone is learnt.\n\n" +
		"Users and items are told apart by the hash of their text (XXH3-64) modulo 2^bits, each kind by itself; those that share a hash are one. " +
		"A row whose label is null is predicted and not learnt. A row that would make a score or a weight infinite is rejected, and the model is as it was. Weights are float32.\n\n" +
		"Cost: time in proportion to the factors; memory 8 bytes times 2^bits times (factors + 1) times the numbers a weight takes: sgd 1, adam 4, the others 2.",
	Role:    operators.Learner,
	Columns: scoredColumns,
	Examples: []spec.Example{{
		Title:  "A user who likes what others do not",
		Config: "matrix_factorization: {user: user, item: item, label: stars, bits: 8, optimizer: {sgd: {rate: 0.1}}}",
		In:     "user:string,item:string,stars:float64?\nann,x,5\nann,y,1\nbob,x,1\nbob,y,5\nann,x,\nann,z,\neve,x,\n",
		Out:    "user,item,stars,node.score,node.prediction,node.loss,node.version\nann,x,5,0,0,25,0\nann,y,1,-0.00030954493558965623,4.99969045506441,15.99752373633335,1\nbob,x,1,-0.00030954493558965623,2.9996904550644103,3.9987619160757086,2\nbob,y,5,-0.6549403332173824,1.678393000115951,11.033073061678712,3\nann,x,,-0.6606731568463147,2.3393268431536853,,4\nann,z,,-0.4016842842102051,2.598315715789795,,4\neve,x,,-0.2641255259513855,2.7358744740486145,,4\n",
	}},
	Build: newFactorization,
}))

type factorizationConfig struct {
	scoredConfig
	paramsConfig
	pairConfig
}

// pairConfig is what learners of users and items have in common.
type pairConfig struct {
	user, item    spec.Column
	factors, bits int
	start         float64
}

func (c *pairConfig) pairFields(f *spec.Fields, least int) {
	f.Column(&c.user, "user", "", "Who rates or chooses, by its text.").Required().Example("user")
	f.Column(&c.item, "item", "", "What is rated or chosen, by its text.").Required().Example("item")
	f.Int(&c.factors, "factors", 10, "Length of the vectors.").Within(least, 1024).Pin()
	f.Int(&c.bits, "bits", 16, "Base-2 logarithm of how many users, and how many items, are told apart.").Within(8, 28).Pin()
	f.Float(&c.start, "start", 0.1, "Standard deviation of the numbers that vectors begin with.").Above(0).AtMost(10)
}

func (c *factorizationConfig) Fields(f *spec.Fields) {
	c.pairFields(f, 0)
	c.labelFields(f, "center")
	c.paramFields(f, "adagrad", rates{sgd: 0.025, adagrad: 0.1}, 0.02, 10)
	c.reactField(f, reactAll)
}

// pairs finds the weights of users and items: a group of factors + 1 each, the
// vector, then the bias; those of the users first.
type pairs struct {
	*params
	user, item operators.Col
	factors    int
	mask       uint64
	deviate    float64
	u, i       *batch.Column // of the batch being processed
	text       []byte
}

// pairsVersion is the version of the hash of users and items.
const pairsVersion = "xxh3-1"

// newPairs finds the columns and makes the weights.
func newPairs(c *pairConfig, p *paramsConfig, env *operators.Env, f loss.Func) *pairs {
	o := &pairs{factors: c.factors, mask: 1<<c.bits - 1, deviate: c.start}
	types := []batch.Type{batch.String, batch.Int64, batch.Bool}
	o.user, o.item = env.In(c.user, types...), env.In(c.item, types...)
	env.Pin("hash", pairsVersion)
	o.params = newParams(p, env, 2*int64(o.mask+1)*int64(c.factors+1), false, f)
	return o
}

func (p *pairs) of(in *batch.Batch) { p.u, p.i = p.user.Of(in), p.item.Of(in) }

// groups are where the weights of a row's user and item begin, -1 of a null.
func (p *pairs) groups(row int) (u, i int) {
	return p.group(p.u, row, 0), p.group(p.i, row, 1)
}

func (p *pairs) group(c *batch.Column, row, kind int) int {
	if c.Null(row) {
		return -1
	}
	p.text = c.AppendText(p.text[:0], row)
	return p.place(uint32(xxh3.Hash(p.text)&p.mask), kind)
}

// place is where the weights of a hash begin.
func (p *pairs) place(hash uint32, kind int) int {
	return (kind*int(p.mask+1) + int(hash)) * (p.factors + 1)
}

// known reports whether a user or item was learnt. Without factors nothing needs
// to begin with, and everything counts as known.
func (p *pairs) known(group int) bool {
	return group >= 0 && (p.factors == 0 || p.params.known(group, p.factors))
}

// meet gives a user or item that was never learnt a vector to begin with.
func (p *pairs) meet(group int) {
	if p.factors > 0 && group >= 0 {
		p.start(group, p.factors, p.deviate)
	}
}

// product is ⟨p_u, q_i⟩, 0 unless both are known.
func (p *pairs) product(u, i int) float32 {
	if !p.known(u) || !p.known(i) {
		return 0
	}
	var sum float32
	for f := range p.factors {
		sum += float32(p.at(u+f) * p.at(i+f))
	}
	return sum
}

// bias is that of a user or item.
func (p *pairs) bias(group int) float32 {
	if group < 0 {
		return 0
	}
	return p.at(group + p.factors)
}

// factorization is the model.
type factorization struct{ *pairs }

func newFactorization(c *factorizationConfig, env *operators.Env) operators.Operator {
	o := newScored(&c.scoredConfig, env)
	m := factorization{newPairs(&c.pairConfig, &c.paramsConfig, env, o.loss)}
	return o.with(m, m.params)
}

func (m factorization) beside(p *params) scorer {
	of := *m.pairs
	of.params, of.text = p, nil
	return factorization{&of}
}

func (m factorization) score(row int) float64 {
	u, i := m.groups(row)
	return float64(m.bias(u)+m.bias(i)) + float64(m.product(u, i))
}

func (m factorization) prepare(row int) float64 {
	u, i := m.groups(row)
	if u >= 0 && i >= 0 {
		m.meet(u)
		m.meet(i)
		for f := range m.factors {
			m.by(u+f, m.at(i+f))
			m.by(i+f, m.at(u+f))
		}
	}
	for _, g := range []int{u, i} {
		if g >= 0 {
			m.by(g+m.factors, 1)
		}
	}
	return float64(m.bias(u)+m.bias(i)) + float64(m.product(u, i))
}

package learn

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state/weights"
)

var _ = Family.Add(operators.Define(operators.Spec[machineConfig]{
	Name:    "factorization_machine",
	Summary: "Predicts from features and from all their pairs, through factors (Rendle 2010).",
	Doc: "The score is w₀ + Σ wᵢxᵢ + Σ ⟨vᵢ, vⱼ⟩xᵢxⱼ over all pairs i < j of the row's features, each with a weight w and a vector v of `factors` numbers, so that a pair that was never seen together has a weight as well (Rendle, Factorization Machines, ICDM 2010). " +
		"It is found in time linear in the features: Σᵢ<ⱼ ⟨vᵢ, vⱼ⟩xᵢxⱼ = ½ Σ_f ((Σ v_f x)² - Σ v_f² x²). Scale the numbers: pairs multiply them.\n\n" +
		"Row by row: predict; if the label is known, take the loss of that prediction, then one step on its derivative. With predict: class every class has such a score of its own, and its probability is in proportion to e to the power of that; a step follows the derivatives of the cross-entropy. A feature that was never learnt adds nothing to a prediction; when it is learnt first its vector begins with small numbers that follow from its index and seed. " +
		"A row whose label is null is predicted and not learnt. A row that would make a score or a weight infinite is rejected, and the model is as it was. Weights are float32.\n\n" +
		"Cost: time in proportion to features times factors; memory 4 bytes times 2^bits times (factors + 1) times the numbers a weight takes: sgd 1, adam 4, the others 2; for each class, once it was seen, as much.",
	Role:    operators.Learner,
	Columns: sortedColumns,
	Examples: []spec.Example{{
		Title:  "Two features that matter together",
		Config: "factorization_machine: {label: y, factors: 2, optimizer: {sgd: {rate: 0.5}}, l2: 0}",
		In:     "features:sparse[8],y:bool?\n1:1 2:1,true\n1:1,false\n2:1,false\n1:1 2:1,true\n1:1 2:1,\n",
		Out:    "features,y,node.score,node.probability,node.loss,node.version\n1:1 2:1,true,0,0.5,0.6931471805599453,0\n1:1,false,0.5025544718612731,0.6230594535160239,0.975667805604352,1\n2:1,false,0.19102474510326112,0.547611493835303,0.7932139414185841,2\n1:1 2:1,true,-0.4209549946251014,0.396288250908226,0.9256134261890783,3\n1:1 2:1,,0.4897547967295534,0.6200486670178369,,4\n",
	}},
	Build: newMachine,
}))

type machineConfig struct {
	sortedConfig
	paramsConfig
	features spec.Column
	factors  int
	start    float64
}

func (c *machineConfig) Fields(f *spec.Fields) {
	c.labelFields(f, "standard").Required()
	f.Column(&c.features, "features", "features", "Sparse column to learn from, as vectorize adds it.")
	f.Int(&c.factors, "factors", 8, "Length of the vectors.").Within(1, 256).Pin()
	f.Float(&c.start, "start", 0.1, "Standard deviation of the numbers that vectors begin with.").Above(0).AtMost(10)
	c.paramFields(f, "sgd", rates{sgd: 0.02, adagrad: 0.1}, 1e-5, 10)
	c.reactField(f, reactAll)
}

// machine is the model. The weights of feature i are the group of factors + 1 from
// i·(factors + 1) on: the vector, then the weight. Of classes each has such a block,
// with a constant behind it.
type machine struct {
	*params
	features operators.Col
	dim      int
	factors  int
	block    int // of a class
	deviate  float64
	x        *batch.Column // of the batch being processed
	sums     []float32     // Σ v_f x by factor
}

func newMachine(c *machineConfig, env *operators.Env) operators.Operator {
	m := &machine{factors: c.factors, deviate: c.start, sums: make([]float32, c.factors)}
	if classes := c.classes(env); classes != nil {
		m.features, m.dim = sparseInput(env, c.features)
		// No page of the table has two classes.
		m.block = (m.dim*(c.factors+1) + weights.PageLen) / weights.PageLen * weights.PageLen
		m.params = newClassParams(&c.paramsConfig, env, 0, m.block, classes.room())
		return newClassed(&classMachine{m}, m.params, classes, newRowWeight(&c.weightConfig, env), c.clip)
	}
	o := newScored(&c.scoredConfig, env)
	m.features, m.dim = sparseInput(env, c.features)
	m.params = newParams(&c.paramsConfig, env, int64(m.dim)*int64(c.factors+1), true, o.loss)
	return o.with(m, m.params)
}

func (m *machine) of(in *batch.Batch) { m.x = m.features.Of(in) }

func (m *machine) beside(p *params) scorer { return m.with(p) }

// with is the machine with weights of its own.
func (m *machine) with(p *params) *machine {
	of := *m
	of.params, of.sums = p, make([]float32, m.factors)
	return &of
}

func (m *machine) score(row int) float64 {
	return m.sum(0, row, m.intercept())
}

// sum is the score of the weights from base on, and a constant.
func (m *machine) sum(base, row int, constant float64) float64 {
	idx, val := m.x.Row(row)
	clear(m.sums)
	var linear float32
	squares, pairs := 0.0, 0.0
	for k, i := range idx {
		x, at := val[k], base+int(i)*(m.factors+1)
		for f := range m.sums {
			vx := float32(m.at(at+f) * x)
			m.sums[f] += vx
			squares += float64(float64(vx) * float64(vx))
		}
		linear += float32(m.at(at+m.factors) * x)
	}
	for _, s := range m.sums {
		pairs += float64(float64(s) * float64(s))
	}
	return constant + float64(linear) + float64((pairs-squares)/2)
}

func (m *machine) prepare(row int) float64 {
	m.begins(0, row)
	s := m.score(row)
	m.slopes(0, row, 1)
	return s
}

// begins gives the vectors of a row's features their first values.
func (m *machine) begins(base, row int) {
	idx, _ := m.x.Row(row)
	for _, i := range idx {
		m.start(base+int(i)*(m.factors+1), m.factors, m.deviate)
	}
}

// slopes lays out the derivatives of the last sum, times g.
func (m *machine) slopes(base, row int, g float32) {
	idx, val := m.x.Row(row)
	for k, i := range idx {
		x, at := float32(g*val[k]), base+int(i)*(m.factors+1)
		for f, sum := range m.sums {
			m.by(at+f, float32(x*(sum-float32(m.at(at+f)*val[k]))))
		}
		m.by(at+m.factors, x)
	}
}

// classMachine is a machine for each class.
type classMachine struct{ *machine }

func (m *classMachine) beside(p *params) classScorer { return &classMachine{m.with(p)} }

func (m *classMachine) constant(class int) int { return class*m.block + m.dim*(m.factors+1) }

func (m *classMachine) scores(row int, s []float64) {
	m.table.Grow(len(s) * m.block)
	for class := range s {
		s[class] = m.sum(class*m.block, row, float64(m.at(m.constant(class))))
	}
}

func (m *classMachine) first(row, classes int) {
	m.table.Grow(classes * m.block)
	for class := range classes {
		m.begins(class*m.block, row)
	}
}

func (m *classMachine) spread(row int, g []float64) {
	for class, slope := range g {
		m.sum(class*m.block, row, 0)
		m.slopes(class*m.block, row, float32(slope))
		m.by(m.constant(class), float32(slope))
	}
}

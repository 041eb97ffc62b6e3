package learn

import (
	"math"
	"strconv"

	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[mlpConfig]{
	Name:    "mlp",
	Summary: "Predicts from features by a small neural network.",
	Doc: "The features go into a layer of `units` units, each the activation of a weighted sum and a bias; with layers: n there are n such layers one behind the other; the score is a weighted sum of the last one and an intercept. " +
		"A step follows the derivatives of the loss by all weights (back-propagation; Rumelhart, Hinton, Williams, Nature 323, 1986). " +
		"With predict: class every class has a score of its own, a weighted sum of the last layer and a bias; the probability of a class is in proportion to e to the power of its score, and a step follows the derivatives of the cross-entropy. " +
		"With labels: [a, b] each label has a score of its own in the same way, and what predicts one helps to predict the others: a step follows the derivatives of the sum of the losses of those labels that a row has (multitask learning; Caruana, Machine Learning 28, 1997). " +
		"Whatever takes a learner by name takes NODE.a: evaluate: {prediction: NODE.a, label: a}. Linear learners of several labels would share nothing: several of them beside each other are the same.\n\n" +
		"Row by row: predict; if the label is known, take the loss of that prediction, then one step. The weights of a feature begin with small numbers that follow from its index and seed when it is learnt first, and add nothing before: of standard deviation 1/√n with n features in that row; " +
		"between layers √(2/units), into the score 1/√units (He and others, 2015). " +
		"A row whose label is null is predicted and not learnt; of several labels one that is null moves neither its score nor the layers. A row that would make a score or a weight infinite is rejected, and the model is as it was. Weights are float32.\n\n" +
		"Cost: time in proportion to features times units, and to layers − 1 times the square of units; memory 4 bytes times 2^bits times units times the numbers a weight takes: sgd 1, adam 4, the others 2. A vector of fewer bits than the default makes a smaller network.",
	Role:    operators.Learner,
	Columns: sortedColumns + " With labels, of each `NODE.LABEL.score`, `NODE.LABEL.probability` or `NODE.LABEL.prediction`, and `NODE.LABEL.loss`.",
	Examples: []spec.Example{{
		Title:  "Two units",
		Config: "mlp: {label: y, units: 2, activation: tanh, optimizer: {sgd: {rate: 0.5}}}",
		In:     "features:sparse[8],y:bool?\n1:1,true\n2:1,false\n1:1,true\n1:1,\n2:1,\n",
		Out:    "features,y,node.score,node.probability,node.loss,node.version\n1:1,true,0,0.5,0.6931471805599453,0\n2:1,false,0.6689015668609115,0.661257158030822,1.0825140377297766,1\n1:1,true,-0.2371746289676402,0.44098273603530624,0.8187495516137978,2\n1:1,,0.5684029288722506,0.6383945777126232,,3\n2:1,,0.46831394509806545,0.6149846122516988,,3\n",
	}, {
		Title:  "Two labels over the same layer",
		Config: "mlp: {labels: [y, z], units: 2, activation: tanh, optimizer: {sgd: {rate: 0.5}}}",
		In:     "features:sparse[8],y:bool?,z:float64?\n1:1,true,10\n2:1,false,20\n1:1,,10\n2:1,,\n",
		Out:    "features,y,z,node.y.score,node.y.probability,node.y.loss,node.z.score,node.z.prediction,node.z.loss,node.version\n1:1,true,10,0,0.5,0.6931471805599453,0,0,100,0\n2:1,false,20,1.2353430688381195,0.7747523678908774,1.4905548948280893,1.6823387145996094,10,100,1\n1:1,,10,0.30597764253616333,0.575903146897763,,0.3269863873720169,16.634931936860085,44.022321806765916,2\n2:1,,,0.41837483644485474,0.6030942971724257,,-1.7083613276481628,5.280040803354204,,3\n",
	}},
	Build: newMLP,
}))

type mlpConfig struct {
	sortedConfig
	paramsConfig
	labels        []spec.Column
	features      spec.Column
	units, layers int
	activation    string
}

func (c *mlpConfig) Fields(f *spec.Fields) {
	c.labelFields(f, "standard")
	f.Columns(&c.labels, "labels", nil, "Instead of label, several that share the layers: each true or false, or a number; null = not known yet. Under a learnt model they may not change.").Example("[y, z]")
	f.Column(&c.features, "features", "features", "Sparse column to learn from, as vectorize adds it.")
	f.Int(&c.units, "units", 16, "Units of a layer.").Within(1, 512).Pin()
	f.Int(&c.layers, "layers", 1, "Layers between the features and the score.").Within(1, 4).Pin()
	f.Enum(&c.activation, "activation", "relu", []string{"relu", "tanh"}, "What a unit makes of its sum: relu = max(0, x), tanh = the hyperbolic tangent.").Pin()
	c.paramFields(f, "sgd", rates{sgd: 0.05, adagrad: 0.2}, 0, 10)
	c.reactField(f, reactAll)
}

func (c *mlpConfig) Check(add func(field, msg, want string)) {
	switch {
	case c.label.Name == "" && c.labels == nil:
		add("", "label is missing", "expected label, or labels")
	case c.label.Name != "" && c.labels != nil:
		add("labels", "labels beside label", "expected one of the two")
	case c.labels != nil && len(c.labels) == 0:
		add("labels", "labels is empty", "expected a column or more")
	case c.labels != nil && (c.predict == "class" || c.fixed != nil):
		field := "predict"
		if c.fixed != nil {
			field = "classes"
		}
		add(field, "labels are no classes", "expected label, for a class")
	}
	c.sortedConfig.Check(add)
}

// mlp is the model. Its weights, in this order: for each feature one by unit; the
// biases of the first layer; for each further layer, by unit, the weights of its
// inputs, and then the biases; the weights of the score. Of classes each has such
// weights, and a bias behind them.
//
// The arithmetic is plain float32 in a fixed order: the kernels of numeric
// libraries add in another order on each kind of processor.
type mlp struct {
	*params
	features      operators.Col
	dim           int
	units, layers int
	tanh          bool
	x             *batch.Column // of the batch being processed
	out           [][]float32   // of the units, by layer
	back          []float32     // derivative of the score by the sums of a layer
	behind        []float32     // of the layer before it
}

func newMLP(c *mlpConfig, env *operators.Env) operators.Operator {
	m := (&mlp{units: c.units, layers: c.layers, tanh: c.activation == "tanh"}).with(nil)
	env.Pin("units", strconv.Itoa(c.units))
	if classes := c.classes(env); classes != nil {
		m.features, m.dim = sparseInput(env, c.features)
		m.params = newClassParams(&c.paramsConfig, env, m.inputs(m.layers), c.units+1, classes.room())
		return newClassed(&classMLP{m}, m.params, classes, newRowWeight(&c.weightConfig, env), c.clip)
	}
	if c.labels != nil {
		return newLabelsMLP(c, m, env)
	}
	o := newScored(&c.scoredConfig, env)
	m.features, m.dim = sparseInput(env, c.features)
	m.params = newParams(&c.paramsConfig, env, int64(m.inputs(m.layers))+int64(c.units), true, o.loss)
	return o.with(m, m.params)
}

// with is the network with weights of its own.
func (m *mlp) with(p *params) *mlp {
	of := *m
	of.params, of.out, of.back, of.behind = p, nil, make([]float32, m.units), make([]float32, m.units)
	for range m.layers {
		of.out = append(of.out, make([]float32, m.units))
	}
	return &of
}

func (m *mlp) beside(p *params) scorer { return m.with(p) }

func (m *mlp) of(in *batch.Batch) { m.x = m.features.Of(in) }

// inputs is where the weights of a layer's inputs begin, biases where its biases
// do; of layer m.layers, the score, which has no biases.
func (m *mlp) inputs(layer int) int {
	return m.dim*m.units + m.units + (layer-1)*(m.units*m.units+m.units)
}

func (m *mlp) biases(layer int) int {
	if layer == 0 {
		return m.dim * m.units
	}
	return m.inputs(layer) + m.units*m.units
}

func (m *mlp) score(row int) float64 {
	m.forward(row)
	return m.intercept() + m.head(m.inputs(m.layers))
}

// head is the sum of the last layer with the weights from at on.
func (m *mlp) head(at int) float64 {
	var sum float32
	for j, x := range m.out[m.layers-1] {
		sum += float32(m.at(at+j) * x)
	}
	return float64(sum)
}

// forward fills the layers.
func (m *mlp) forward(row int) {
	idx, val := m.x.Row(row)
	for layer, out := range m.out {
		bias := m.biases(layer)
		for j := range out {
			out[j] = m.at(bias + j)
		}
		if layer == 0 {
			for k, i := range idx {
				x, at := val[k], int(i)*m.units
				for j := range out {
					out[j] += float32(m.at(at+j) * x)
				}
			}
		} else {
			at := m.inputs(layer)
			for j := range out {
				for _, x := range m.out[layer-1] {
					out[j] += float32(m.at(at) * x)
					at++
				}
			}
		}
		for j, x := range out {
			out[j] = m.activate(x)
		}
	}
}

func (m *mlp) activate(x float32) float32 {
	if !m.tanh {
		return max(0, x)
	}
	e := exact.Exp(-2 * math.Abs(float64(x)))
	return float32(math.Copysign((1-e)/(1+e), float64(x)))
}

// slope is the derivative of the activation, of its value.
func (m *mlp) slope(y float32) float32 {
	switch {
	case m.tanh:
		return 1 - float32(y*y)
	case y > 0:
		return 1
	}
	return 0
}

func (m *mlp) prepare(row int) float64 {
	m.begins(row)
	at := m.inputs(m.layers)
	m.start(at, m.units, 1/math.Sqrt(float64(m.units)))
	s := m.score(row)
	for j, y := range m.out[m.layers-1] {
		m.by(at+j, y)
		m.back[j] = float32(m.at(at+j) * m.slope(y))
	}
	m.backward(row)
	return s
}

// begins gives the weights below the score their first values.
func (m *mlp) begins(row int) {
	idx, _ := m.x.Row(row)
	for _, i := range idx {
		m.start(int(i)*m.units, m.units, 1/math.Sqrt(float64(len(idx))))
	}
	for layer := 1; layer < m.layers; layer++ {
		m.start(m.inputs(layer), m.units*m.units, math.Sqrt(2/float64(m.units)))
	}
}

// backward lays out the derivatives below the score from those in back, by the sums
// of the last layer.
func (m *mlp) backward(row int) {
	for layer := m.layers - 1; layer >= 0; layer-- {
		bias := m.biases(layer)
		for j, d := range m.back {
			m.by(bias+j, d)
		}
		if layer == 0 {
			break
		}
		at, before := m.inputs(layer), m.out[layer-1]
		clear(m.behind)
		for _, d := range m.back {
			for k, x := range before {
				m.by(at, float32(d*x))
				m.behind[k] += float32(d * m.at(at))
				at++
			}
		}
		for k, y := range before {
			m.behind[k] = float32(m.behind[k] * m.slope(y))
		}
		m.back, m.behind = m.behind, m.back
	}
	idx, val := m.x.Row(row)
	for k, i := range idx {
		x := val[k]
		for j, d := range m.back {
			m.by(int(i)*m.units+j, float32(d*x))
		}
	}
}

// classMLP is a network with a score for each class, or each label.
type classMLP struct{ *mlp }

func (m *classMLP) beside(p *params) classScorer { return &classMLP{m.with(p)} }

// headOf is where the weights of a class begin, its bias behind them.
func (m *classMLP) headOf(class int) int { return m.inputs(m.layers) + class*(m.units+1) }

func (m *classMLP) scores(row int, s []float64) {
	m.table.Grow(m.headOf(len(s)))
	m.forward(row)
	for class := range s {
		at := m.headOf(class)
		s[class] = float64(m.at(at+m.units)) + m.head(at)
	}
}

func (m *classMLP) first(row, classes int) {
	m.table.Grow(m.headOf(classes))
	m.begins(row)
	for class := range classes {
		m.start(m.headOf(class), m.units, 1/math.Sqrt(float64(m.units)))
	}
}

func (m *classMLP) spread(row int, g []float64) {
	clear(m.back)
	for class, slope := range g {
		if slope != slope {
			continue // nothing is known of it
		}
		at, d := m.headOf(class), float32(slope)
		for j, y := range m.out[m.layers-1] {
			m.by(at+j, float32(d*y))
			m.back[j] += float32(d * m.at(at+j))
		}
		m.by(at+m.units, d)
	}
	for j, y := range m.out[m.layers-1] {
		m.back[j] = float32(m.back[j] * m.slope(y))
	}
	m.backward(row)
}

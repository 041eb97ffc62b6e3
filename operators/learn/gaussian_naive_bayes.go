package learn

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/gaussian"
	"github.com/gradstream/gradstream/operators/learn/optim"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[naiveBayesConfig]{
	Name:    "gaussian_naive_bayes",
	Summary: "Predicts a class from columns of numbers, each normally distributed within a class.",
	Doc: "The probability of a class is in proportion to its share of the labels so far times, for each column, the density of the row's number under the normal distribution " +
		"of the class's numbers in that column (Duda, Hart 1973). Sums of logarithms take the place of products. Means and variances are kept by Welford's recurrence (Technometrics 4, 1962); nothing needs scaling, and there is no rate to tune.\n\n" +
		"density: smoothed takes (M₂ + w·V)/(n - 1 + w) for the variance, with M₂ the sum of squared distances from the class's mean over its n numbers, V the variance of the column over all classes and w the weight: " +
		"few or equal numbers do not make a class certain, in any unit of the column; and each known class counts as one label more (Laplace). With plain the variance is M₂/(n-1), and a class of one number, or of equal ones, is a point: density 1 there and 0 elsewhere (as in MOA). " +
		"With floored a constant is added to every density, and to 0 for a class of one number or of equal ones (as in River). Where the densities of all classes are 0, all are equally probable.\n\n" +
		"A null adds nothing, to the prediction as to what is learnt. A row whose label is null is predicted and not learnt. A number beyond ±1e100 rejects the row.\n\n" +
		"Cost: time in proportion to columns times classes; memory 24 bytes for each column and class.",
	Role:    operators.Learner,
	Columns: classColumns,
	Examples: []spec.Example{{
		Title:  "Two classes",
		Config: "gaussian_naive_bayes: {label: y}",
		In:     "x,y:bool?\n1,false\n5,true\n2,false\n6,true\n5.5,\n",
		Out: "x,y,node.probability,node.loss,node.version\n" +
			"1,false,0.5,0.6931471805599453,0\n5,true,0.3333333333333333,1.0986122886681098,1\n2,false,0.37754066879814546,0.47407698418010663,2\n6,true,0.9669725637396377,0.033585156486017564,3\n5.5,,0.9305128857056638,,4\n",
	}},
	Build: newNaiveBayes,
}))

type naiveBayesConfig struct {
	classesConfig
	classWeightConfig
	inputsConfig
	driftConfig
	density spec.Choice
}

type smoothedConfig struct{ weight float64 }

func (c *smoothedConfig) Fields(f *spec.Fields) {
	f.Float(&c.weight, "weight", 1, "Numbers that the variance over all classes counts for.").Above(0).AtMost(1e6)
}

type flooredConfig struct{ floor float64 }

func (c *flooredConfig) Fields(f *spec.Fields) {
	f.Float(&c.floor, "floor", 1e-9, "What is added to every density.").Above(0).AtMost(1)
}

func (c *naiveBayesConfig) Fields(f *spec.Fields) {
	c.classFields(f)
	c.classWeightFields(f)
	c.numericField(f)
	f.Choice(&c.density, "density", "smoothed", []spec.Option{
		{Name: "smoothed", Summary: "The variance of a class is mixed with that over all classes.", New: func() spec.Config { return new(smoothedConfig) }},
		{Name: "plain", Summary: "The variance of the class as it is."},
		{Name: "floored", Summary: "The variance as it is, and a constant added to the density.", New: func() spec.Config { return new(flooredConfig) }},
	}, "How the density of a number is taken.")
	c.reactField(f, reactBackground)
}

// naiveBayesVersion is the version of naiveBayesState.
const naiveBayesVersion = 1

type naiveBayesState struct {
	Version int64
	Recent  recent
	Counts  []float64            // labels by class
	Columns [][]gaussian.Moments // by column: of all classes, then of each
}

type naiveBayes struct {
	bayesModel
	classes *classes
	rows    rowWeight
	numbers *numbers
	react   *reaction   // nil = nothing follows a drift
	rival   *bayesRival // nil = there is no second model
}

// bayesModel is what predicts, and how.
type bayesModel struct {
	weight float64 // of the variance over all classes
	floor  float64 // added to densities
	s      naiveBayesState
}

func newNaiveBayes(c *naiveBayesConfig, env *operators.Env) operators.Operator {
	o := &naiveBayes{numbers: newNumbers(&c.inputsConfig, env, c.label, c.weight), classes: newClasses(&c.classesConfig, env)}
	o.rows = newClassWeight(&c.classWeightConfig, o.classes, env)
	switch d := c.density.Config.(type) {
	case *smoothedConfig:
		o.weight = d.weight
	case *flooredConfig:
		o.floor = d.floor
	}
	o.s.Columns = make([][]gaussian.Moments, len(o.numbers.cols))
	env.BindValue("model", naiveBayesVersion, &o.s)
	o.react = newReaction(&c.driftConfig, optim.Config{}, env, func() rival {
		o.rival = &bayesRival{first: &o.bayesModel, second: &bayesModel{weight: o.weight, floor: o.floor}}
		o.rival.second.s.Columns = make([][]gaussian.Moments, len(o.numbers.cols))
		env.BindValue(background+"model", naiveBayesVersion, &o.rival.second.s)
		return o.rival
	})
	env.Report(func(r *operators.Report) {
		n := 0
		for _, c := range o.s.Columns {
			for i := 1; i < len(c); i++ {
				if c[i].N > 0 {
					n++
				}
			}
		}
		reportLearner(r, o.s.Version, float64(n), 0, o.s.Recent)
	})
	return o
}

func (o *naiveBayes) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.numbers.of(in)
	o.classes.of(in)
	o.rows.of(in)
	for row := range in.N {
		x, err := o.numbers.read(row)
		if err != nil {
			o.classes.skip(row)
			out.Reject(row, err)
			continue
		}
		p := o.classes.scores()
		o.predict(x, p)
		o.classes.publish(row, p, o.s.Version)
		if class, weight := o.classes.judge(row, p, &o.rows, &o.s.Recent, out); weight > 0 {
			o.learn(x, class, weight)
			if r := o.rival; r != nil {
				r.x, r.class, r.known, r.weight = x, class, len(p), weight
			}
			if lost := o.classes.lostIn.Floats[row]; o.react.after(lost, lost) {
				o.forget()
			}
		}
	}
	return out.Emit(in)
}

// predict fills p with the probabilities of the known classes.
func (o *bayesModel) predict(x, p []float64) {
	for class := range p {
		p[class] = math.Inf(-1)
		if n := o.count(class); n > 0 {
			p[class] = exact.Log(n) // the number of labels is common to all
			for i, v := range x {
				if !absent(v) {
					p[class] += o.logDensity(o.s.Columns[i], class, v)
				}
			}
		}
	}
	normalise(p)
}

// count is the number of labels of a class, as its share is taken from it.
func (o *bayesModel) count(class int) float64 {
	n := 0.0
	if class < len(o.s.Counts) {
		n = o.s.Counts[class]
	}
	if o.weight > 0 && o.s.Version > 0 {
		n++
	}
	return n
}

func (o *bayesModel) logDensity(column []gaussian.Moments, class int, x float64) float64 {
	var m gaussian.Moments
	if class+1 < len(column) {
		m = column[class+1]
	}
	switch {
	case o.weight > 0:
		if m.N == 0 {
			if len(column) == 0 {
				return 0 // nobody has seen a number here
			}
			m.Mean = column[0].Mean
		}
		v := column[0].Variance()
		if v == 0 {
			return 0 // all numbers of the column are equal: they tell no class from another
		}
		return gaussian.LogDensity(x, m.Mean, (m.M2+float64(o.weight*v))/(max(m.N-1, 0)+o.weight))
	case o.floor > 0:
		density := 0.0
		if v := m.Variance(); v > 0 {
			density = exact.Exp(gaussian.LogDensity(x, m.Mean, v))
		}
		return exact.Log(o.floor + density)
	case m.N == 0:
		return math.Inf(-1)
	}
	return gaussian.LogDensity(x, m.Mean, m.Variance())
}

func (o *bayesModel) learn(x []float64, class int, weight float64) {
	o.s.Version++
	for len(o.s.Counts) <= class {
		o.s.Counts = append(o.s.Counts, 0)
	}
	o.s.Counts[class] += weight
	for i, v := range x {
		if absent(v) {
			continue
		}
		c := o.s.Columns[i]
		for len(c) <= class+1 {
			c = append(c, gaussian.Moments{})
		}
		c[0].AddTimes(v, weight)
		c[class+1].AddTimes(v, weight)
		o.s.Columns[i] = c
	}
}

// forget makes a model as it was at the start. The events learnt are counted on. Its
// memory is used again.
func (o *bayesModel) forget() {
	o.s.Counts = o.s.Counts[:0]
	for i := range o.s.Columns {
		o.s.Columns[i] = o.s.Columns[i][:0]
	}
}

// bayesRival is the rival of naive Bayes.
type bayesRival struct {
	first, second *bayesModel
	x             []float64 // the row
	classRow
}

func (r *bayesRival) forget() { r.second.forget() }

func (r *bayesRival) trial() (float64, bool) {
	p := r.room()
	r.second.predict(r.x, p)
	r.second.learn(r.x, r.class, r.weight)
	return lossOfClass(p, r.class), true
}

func (r *bayesRival) replace() {
	a, b := &r.first.s, &r.second.s
	a.Counts, b.Counts = b.Counts, a.Counts
	a.Columns, b.Columns = b.Columns, a.Columns
	r.second.forget()
}

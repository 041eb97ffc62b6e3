package learn

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/learn/gaussian"
	"github.com/gradstream/gradstream/operators/learn/optim"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
)

var _ = Family.Add(operators.Define(operators.Spec[hoeffdingConfig]{
	Name:    "hoeffding_tree",
	Summary: "Predicts a class by a decision tree that grows as rows come (VFDT).",
	Doc: "A leaf counts its classes and, for each class, keeps the normal distribution and the range of every numeric column and the counts of every category. After every grace_period rows a leaf that has seen more than one class looks for the best split: " +
		"of 10 cuts of a numeric column between its least and greatest number, and of a category against all others, the one of the greatest information gain in bits. It splits if that gain exceeds the second best column's, and that of no split, which is 0, " +
		"by more than Hoeffding's bound √(R² ln(1/δ)/2n), R = log₂ of the number of classes, n = rows of the leaf by their weights, or if the bound is below tie_threshold; a side with less than 1 % of the rows is no split (Domingos, Hulten, KDD 2000; Gaussian counts as in MOA). The two new leaves begin with the classes that the split estimates for them.\n\n" +
		"leaf: majority predicts the shares of the classes, bayes naive Bayes over the columns within the leaf, and adaptive whichever has been right more often in this leaf, bayes where both are equal. " +
		"Naive Bayes takes columns that go together for as many witnesses and is too sure of itself, so with smooth its probabilities are mixed with the shares, which weigh 1/√(n + 1) after n rows of the leaf, and give way to them where it holds no class for possible; " +
		"in the shares each known class counts as one row more (Laplace). With smooth: false both are taken as they are (as in MOA).\n\n" +
		"A null is not counted in its column; below a split it goes the way the larger part went. A row whose label is null is predicted and not learnt. A number beyond ±1e100 rejects the row.\n\n" +
		"Cost: time in proportion to the depth and to columns times classes; every grace_period rows 20 times that, for categorical columns as often as they have values. Memory is bounded by max_leaves: each leaf takes 40 bytes for each numeric column and class, and 8 bytes for each value of a categorical column and class; " +
		"a split takes memory, other rows take none. A full tree splits no more and goes on to count.",
	Role:    operators.Learner,
	Columns: classColumns,
	Examples: []spec.Example{{
		Title:  "A split after four rows",
		Config: "hoeffding_tree: {label: y, grace_period: 4, delta: 0.5, max_leaves: 2, leaf: majority}",
		In:     "x,y:bool?\n1,false\n5,true\n2,false\n6,true\n2.2,false\n1.5,\n5.5,\n",
		Out: "x,y,node.probability,node.loss,node.version\n" +
			"1,false,0.5,0.6931471805599453,0\n5,true,0.3333333333333333,1.0986122886681098,1\n2,false,0.5,0.6931471805599453,2\n6,true,0.4,0.916290731874155,3\n2.2,false,0.25,0.2876820724517809,4\n1.5,,0.2,,5\n5.5,,0.75,,5\n",
	}},
	Build: newHoeffdingTree,
}))

type hoeffdingConfig struct {
	classesConfig
	classWeightConfig
	inputsConfig
	driftConfig
	grace     int
	delta     float64
	tie       float64
	leaf      string
	smooth    bool
	leaves    int
	maxValues int
}

func (c *hoeffdingConfig) Fields(f *spec.Fields) {
	c.classFields(f)
	c.classWeightFields(f)
	c.numericField(f)
	c.categoricalField(f)
	f.Int(&c.grace, "grace_period", 200, "Rows of a leaf between two attempts to split it.").Within(1, 1_000_000_000)
	f.Float(&c.delta, "delta", 1e-7, "Probability that a split is not the best one.").Above(0).Below(1)
	f.Float(&c.tie, "tie_threshold", 0.05, "Bound below which columns count as equally good, and the best is taken.").Within(0, 10)
	f.Enum(&c.leaf, "leaf", "adaptive", []string{"adaptive", "bayes", "majority"}, "What predicts in a leaf.")
	f.Bool(&c.smooth, "smooth", true, "Keep what a leaf predicts from being surer than its rows allow.")
	f.Int(&c.leaves, "max_leaves", 1000, "Most leaves.").Within(1, 1_000_000)
	f.Int(&c.maxValues, "max_values", 64, "Most values of a categorical column that are told apart; further ones count as one, together with those of more than 256 bytes.").Within(1, 10_000).Pin()
	c.reactField(f, reactBackground)
}

// treeVersion is the version of the tree's state.
const treeVersion = 3

// treeNode is a leaf, or a split of two.
type treeNode struct {
	Split    split // if Inner
	Inner    bool
	Children [2]uint32
	Nulls    uint8 // the child that nulls go to

	Counts          []float64          // class mass, with what the split above estimated
	Since           int64              // rows since the last attempt to split
	Majority, Bayes float64            // rows in which they were right, by weight
	Ranges          [][]gaussian.Range // by numeric column and class
	Values          [][][]float64      // weight of rows by categorical column, value and class
	Known           [][]float64        // the same by column and class, over all values
}

// split is a question to a row.
type split struct {
	Column int32   // numeric columns, then categorical ones
	Cut    float64 // numeric: at most this goes to child 0
	Value  int32   // categorical: this value goes to child 0
}

type treeState struct {
	Version int64
	Recent  recent
}

type hoeffdingTree struct {
	tree
	classes *classes
	weight  rowWeight
	numbers *numbers
	s       treeState
	react   *reaction  // nil = nothing follows a drift
	rival   *treeRival // nil = there is no second model
}

// tree is what predicts.
type tree struct {
	config     hoeffdingConfig
	categories *categories
	nodes      state.Map[uint32, treeNode] // 0 is the root

	shares            []float64 // of the leaf's classes
	left, right, both []float64 // scratch of a split
}

func newHoeffdingTree(c *hoeffdingConfig, env *operators.Env) operators.Operator {
	o := &hoeffdingTree{tree: tree{config: *c}, numbers: newNumbers(&c.inputsConfig, env, c.label, c.weight)}
	o.categories = newCategories(&c.inputsConfig, c.maxValues, env, c.label)
	o.classes = newClasses(&c.classesConfig, env)
	o.weight = newClassWeight(&c.classWeightConfig, o.classes, env)
	env.Bind("nodes", treeVersion, &o.nodes)
	env.BindValue("model", treeVersion, &o.s)
	o.react = newReaction(&c.driftConfig, optim.Config{}, env, func() rival {
		o.rival = &treeRival{first: &o.tree, second: &tree{config: *c, categories: o.categories}}
		env.Bind(background+"nodes", treeVersion, &o.rival.second.nodes)
		return o.rival
	})
	env.Report(func(r *operators.Report) {
		reportLearner(r, o.s.Version, float64(o.nodes.Len()), 0, o.s.Recent)
		r.Set("leaves", float64(o.leaves()))
	})
	return o
}

func (o *tree) leaves() int { return (o.nodes.Len() + 1) / 2 }

func (o *hoeffdingTree) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.numbers.of(in)
	o.categories.of(in)
	o.classes.of(in)
	o.weight.of(in)
	for row := range in.N {
		x, err := o.numbers.read(row)
		if err != nil {
			o.classes.skip(row)
			out.Reject(row, err)
			continue
		}
		v := o.categories.read(row)
		id, leaf := o.find(x, v)
		p := o.classes.scores()
		majority, bayes := o.predict(leaf, x, v, p)
		o.classes.publish(row, p, o.s.Version)
		class, weight := o.classes.judge(row, p, &o.weight, &o.s.Recent, out)
		if weight == 0 {
			continue
		}
		o.s.Version++
		o.categories.learn(row)
		o.count(id, x, v, class, weight, majority == class, bayes == class)
		if r := o.rival; r != nil {
			r.x, r.v, r.class, r.known, r.weight = x, v, class, len(p), weight
		}
		if lost := o.classes.lostIn.Floats[row]; o.react.after(lost, lost) {
			o.forget()
		}
	}
	return out.Emit(in)
}

// none is the leaf of a tree that has seen nothing.
var none treeNode

// find returns the leaf of a row.
func (o *tree) find(x []float64, v []int32) (uint32, *treeNode) {
	id := uint32(0)
	n, ok := o.nodes.Get(id)
	if !ok {
		return id, &none
	}
	for n.Inner {
		id = n.Children[n.side(x, v)]
		n, _ = o.nodes.Get(id)
	}
	return id, n
}

// side is the child that a row goes to.
func (n *treeNode) side(x []float64, v []int32) uint8 {
	c := int(n.Split.Column)
	left := false
	if c < len(x) {
		if absent(x[c]) {
			return n.Nulls
		}
		left = x[c] <= n.Split.Cut
	} else {
		if v[c-len(x)] == nullValue {
			return n.Nulls
		}
		left = v[c-len(x)] == n.Split.Value
	}
	if left {
		return 0
	}
	return 1
}

// count learns a row in its leaf, which may then be split; majority and bayes say
// whether they have called its class there.
func (o *tree) count(id uint32, x []float64, v []int32, class int, weight float64, majority, bayes bool) {
	leaf := o.nodes.Ensure(id)
	if majority {
		leaf.Majority += weight
	}
	if bayes {
		leaf.Bayes += weight
	}
	leaf.learn(x, v, class, weight)
	if leaf.Since++; leaf.Since >= int64(o.config.grace) {
		leaf.Since = 0
		o.tryToSplit(leaf, total(leaf.Counts))
	}
}

// forget makes a tree as it was at the start.
func (o *tree) forget() {
	for id := range o.nodes.Entries() {
		o.nodes.Delete(id)
	}
}

// treeRival is the rival of a tree.
type treeRival struct {
	first, second *tree
	x             []float64 // the row
	v             []int32
	classRow
}

func (r *treeRival) forget() { r.second.forget() }

func (r *treeRival) trial() (float64, bool) {
	p := r.room()
	id, leaf := r.second.find(r.x, r.v)
	majority, bayes := r.second.predict(leaf, r.x, r.v, p)
	r.second.count(id, r.x, r.v, r.class, r.weight, majority == r.class, bayes == r.class)
	return lossOfClass(p, r.class), true
}

// replace hands the nodes over: what a leaf has counted is not copied.
func (r *treeRival) replace() {
	r.first.forget()
	for id, n := range r.second.nodes.Entries() {
		r.first.nodes.Put(id, *n)
		r.second.nodes.Delete(id)
	}
}

// learn counts a row in its leaf.
func (leaf *treeNode) learn(x []float64, v []int32, class int, weight float64) {
	leaf.Counts = upTo(leaf.Counts, class)
	leaf.Counts[class] += weight
	leaf.Ranges = upTo(leaf.Ranges, len(x)-1)
	leaf.Values, leaf.Known = upTo(leaf.Values, len(v)-1), upTo(leaf.Known, len(v)-1)
	for i, y := range x {
		if !absent(y) {
			leaf.Ranges[i] = upTo(leaf.Ranges[i], class)
			leaf.Ranges[i][class].AddTimes(y, weight)
		}
	}
	for i, k := range v {
		if k != nullValue {
			leaf.Values[i] = upTo(leaf.Values[i], int(k))
			leaf.Values[i][k] = upTo(leaf.Values[i][k], class)
			leaf.Values[i][k][class] += weight
			leaf.Known[i] = upTo(leaf.Known[i], class)
			leaf.Known[i][class] += weight
		}
	}
}

// upTo lengthens s until it has the index i.
func upTo[T any](s []T, i int) []T {
	for len(s) <= i {
		var zero T
		s = append(s, zero)
	}
	return s
}

// at is s[i], or the zero value where s is too short.
func at[T any](s []T, i int) T {
	if i < len(s) {
		return s[i]
	}
	var zero T
	return zero
}

func total(s []float64) float64 {
	sum := 0.0
	for _, x := range s {
		sum += x
	}
	return sum
}

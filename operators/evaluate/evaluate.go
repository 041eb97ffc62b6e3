// Package evaluate holds the operators that judge predictions: metrics over the
// run, and the baseline a model has to beat.
package evaluate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/evaluate/metric"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
)

// Family lists the operators of this package.
var Family operators.Family

var _ = Family.Add(operators.Define(operators.Spec[evaluateConfig]{
	Name:    "evaluate",
	Summary: "Scores predictions against their labels.",
	Doc: "Place it behind a learner: a learner predicts a row before it learns from it, so the scores are prequential (Dawid, 1984). " +
		"What the metrics may be follows from what the learner predicts, or from the column that prediction names: " +
		"NODE.probability is scored against a label that is true or false, or 1 or 0; NODE.class against a label of the same text; NODE.prediction against a number. " +
		"The predicted class is true if the probability is above 0.5. " +
		"Where a learner of classes gives the probability of each, in columns NODE.probability.CLASS, metrics of ranks are there as well: the label has the place that its probability has among them, of equal ones the earlier column before the later, and probability 0 if it has no column. " +
		"rank scores a ranking of items by the place of the right one, in place of prediction and label.\n\n" +
		"Each metric is over the whole run; over the latest window rows that count, exactly; or fading, so that a row counts half as much after each half_life rows that count. " +
		"Its column is named METRIC, with _ and the value for k, window and quantile, with _half_life_, _season_ or _bins_ and the value for those. " +
		"With by, each metric is also kept for the rows of each value of a column: at most segments of them, those that come first; the rows of others count in the total alone.\n\n" +
		"Every row counts, for rows and for every; the metrics count those with a label and a prediction, so a label that is joined to its served prediction later counts when that row comes, and a row without a label never. " +
		"A metric that is undefined so far is null. " +
		"A row whose label is neither true, false, 1 nor 0 where a probability is scored, or whose probability is not in [0, 1], is rejected, as is a number beyond ±1e100, a class of more than 256 bytes and a weight beyond 0 to 1e6.\n\n" +
		"The state is kept a metric: one that is added later starts with the rows that come then.\n\n" +
		"Cost: constant time a row and metric, memory of some numbers a metric; with classes, time by the logarithm of their number and memory in proportion to it, up to 4,096. " +
		"roc_auc and pr_auc take up to 450 kB; each time rows come out roc_auc goes through a part of them, pr_auc through all. A window takes 24 to 40 bytes a row of it, for classes two texts, and is gone through each time rows come out. " +
		"With by, all this for each segment; only of segments that had rows since the last time the metrics are computed anew.",
	Role: operators.Evaluator,
	Columns: "Its own: `node`: string; `task`: int64; with by `segment`: string?, the value of that column, null for the total; `rows`: int64, input rows so far; a column float64? for each metric. " +
		"One row for every `every` input rows of the task, with by followed by one a segment.",
	Examples: []spec.Example{{
		Title:  "Probabilities, a label not known yet, and metrics that are undefined at first",
		Config: "evaluate: {prediction: ctr, label: y, metrics: [accuracy, precision, roc_auc], every: 2}",
		In:     "ctr.probability:float64,y:bool?\n0.2,false\n0.1,false\n0.9,\n0.4,true\n0.8,true\n0.7,false\n",
		Out: "node,task,rows,accuracy,precision,roc_auc\n" +
			"node,0,2,1,,\n" +
			"node,0,4,0.6666666666666666,,1\n" +
			"node,0,6,0.6,0.5,0.8333333333333334\n",
	}, {
		Title:  "Numbers",
		Config: "evaluate: {prediction: eta, label: minutes, every: 3}",
		In:     "eta.prediction:float64,minutes:float64\n3,4\n5,5\n9,7\n",
		Out:    "node,task,rows,mae,rmse,r2\nnode,0,3,1,1.2909944487358056,-0.07142857142857117\n",
	}, {
		Title:  "Classes",
		Config: "evaluate: {prediction: kind, label: truth, metrics: [accuracy, kappa], every: 4}",
		In:     "kind.class:string?,truth:string?\n,cat\ncat,cat\ncat,dog\ndog,dog\n",
		Out:    "node,task,rows,accuracy,kappa\nnode,0,4,0.6666666666666666,0.39999999999999997\n",
	}, {
		Title:  "Of late, and by country",
		Config: "evaluate: {prediction: ctr, label: y, by: country, every: 6, metrics: [brier, {brier: {window: 2}}]}",
		In:     "ctr.probability:float64,y:bool?,country:string\n0.2,false,de\n0.9,true,fr\n0.6,false,de\n0.9,,fr\n0.5,true,fr\n0.8,true,de\n",
		Out: "node,task,segment,rows,brier,brier_2\n" +
			"node,0,,6,0.13999999999999999,0.145\n" +
			"node,0,de,3,0.14666666666666664,0.19999999999999998\n" +
			"node,0,fr,3,0.13,0.13\n",
	}, {
		Title:  "The places of clicked items in what was recommended",
		Config: "evaluate: {rank: place, every: 3, metrics: [{hit_rate: {k: 3}}, {ndcg: {k: 10}}]}",
		In:     "user:string,place:int64?\nann,1\nbob,\ncat,7\n",
		Out:    "node,task,rows,hit_rate_3,ndcg_10\nnode,0,3,0.5,0.6666666666666667\n",
	}},
	Build: newEvaluate,
}))

type evaluateConfig struct {
	prediction, label, rank  spec.Column
	lower, upper, weight, by spec.Column
	metrics                  []spec.Choice
	segments, every          int
}

func (c *evaluateConfig) Fields(f *spec.Fields) {
	f.Column(&c.prediction, "prediction", "", "Learner whose predictions are scored, by the name of its node; or a column.").Example("ctr")
	f.Column(&c.label, "label", "", "What was right; null = not known.").Example("y")
	f.Column(&c.rank, "rank", "", "In place of prediction and label: the place of what was right in a ranking, from 1; 0 = not in it, null = not known.").Example("place")
	f.Column(&c.lower, "lower", "", "Lower bound of the predicted interval, for coverage and interval_width; null = as if the row had no label.").Example("low")
	f.Column(&c.upper, "upper", "", "Its upper bound.").Example("high")
	f.Column(&c.weight, "weight", "", "Importance of a row, 0 to 1e6; null = 1. Left out: 1.").Example("w")
	f.Column(&c.by, "by", "", "Column whose values part the rows into segments, by their text.").Example("country")
	f.Int(&c.segments, "segments", 32, "Segments that are kept, the first that come.").Within(1, 10_000)
	f.Choices(&c.metrics, "metrics", nil, metricOptions(), "What to compute. Left out: accuracy, log_loss and roc_auc of probabilities; "+
		"accuracy, kappa and macro_f1 of classes; mae, rmse and r2 of numbers; hit_rate, ndcg and mrr of ranks.").Repeats().Example("[accuracy, log_loss, {roc_auc: {window: 500}}]")
	f.Int(&c.every, "every", 1000, "Input rows from one output to the next.").AtLeast(1)
}

func (c *evaluateConfig) Check(add func(field, msg, want string)) {
	switch {
	case c.rank.Name != "" && (c.prediction.Name != "" || c.label.Name != ""):
		add("rank", "both rank and prediction say what to score", "expected rank, or prediction and label")
	case c.rank.Name == "" && c.prediction.Name == "":
		add("", "prediction is missing", "expected a column name")
	case c.rank.Name == "" && c.label.Name == "":
		add("", "label is missing", "expected a column name")
	case (c.lower.Name == "") != (c.upper.Name == ""):
		add("", "an interval has one bound", "expected both lower and upper")
	}
}

// kind says what is scored: a kind of prediction, or a rank.
type kind string

const (
	probabilities kind = "probabilities"
	classes       kind = "classes"
	numbers       kind = "numbers"
	ranks         kind = "ranks"
)

var kinds = map[operators.PredictionKind]kind{operators.Probability: probabilities, operators.Class: classes, operators.Number: numbers}

var defaultMetrics = map[kind][]string{
	probabilities: {"accuracy", "log_loss", "roc_auc"},
	classes:       {"accuracy", "kappa", "macro_f1"},
	numbers:       {"mae", "rmse", "r2"},
	ranks:         {"hit_rate", "ndcg", "mrr"},
}

// metricConfig holds the options of a metric.
type metricConfig struct {
	takes []string
	o     metric.Options
}

func (c *metricConfig) Fields(f *spec.Fields) {
	f.Int(&c.o.Window, "window", 0, "Rows that count, the latest of those with a label; 0 = all.").Within(0, metric.MaxWindow)
	f.Int(&c.o.HalfLife, "half_life", 0, "Rows with a label after which a row counts half as much; 0 = all count the same.").Within(0, 1_000_000_000)
	for _, name := range c.takes {
		switch name {
		case "bins":
			f.Int(&c.o.Bins, name, 10, "Bins of equal width.").Within(1, 10_000)
		case "k":
			f.Int(&c.o.K, name, 10, "Places that count.").Within(1, 1_000_000)
		case "season":
			f.Int(&c.o.Season, name, 1, "Rows back to the label that the baseline repeats.").Within(1, 10_000)
		case "quantile":
			f.Float(&c.o.Quantile, name, 0.5, "Quantile that is predicted.").Above(0).Below(1)
		}
	}
}

func (c *metricConfig) Check(add func(field, msg, want string)) {
	if c.o.Window > 0 && c.o.HalfLife > 0 {
		add("half_life", "both window and half_life are given", "expected one of them")
	}
}

// column names a metric with its options.
func (c *metricConfig) column(name string) string {
	for _, t := range c.takes {
		switch {
		case t == "k":
			name += fmt.Sprintf("_%d", c.o.K)
		case t == "quantile":
			name += fmt.Sprintf("_%v", c.o.Quantile)
		case t == "bins" && c.o.Bins != 10:
			name += fmt.Sprintf("_bins_%d", c.o.Bins)
		case t == "season" && c.o.Season > 1:
			name += fmt.Sprintf("_season_%d", c.o.Season)
		}
	}
	if c.o.Window > 0 {
		name += fmt.Sprintf("_%d", c.o.Window)
	}
	if c.o.HalfLife > 0 {
		name += fmt.Sprintf("_half_life_%d", c.o.HalfLife)
	}
	return name
}

func metricOptions() []spec.Option {
	var options []spec.Option
	for _, name := range metric.Names() {
		s, _ := metric.Lookup(name)
		options = append(options, spec.Option{Name: name, Summary: s.Doc, New: func() spec.Config { return &metricConfig{takes: s.Takes} }})
	}
	return options
}

// chosen is a metric that a node computes.
type chosen struct {
	column string
	spec   metric.Spec
	o      metric.Options
}

// evaluator is the operator.
type evaluator struct {
	node       string
	task       int64
	every      int64
	kind       kind
	prediction *operators.Prediction // nil for ranks
	outcome    *outcome              // nil where nothing is ranked
	interval   [2]operators.Col
	bounded    bool
	weight, by operators.Col
	weighted   bool
	weightName string
	metrics    []chosen
	rows       *evaluateState
	all        *scores
	segments   *segments // nil without by
	out        *batch.Batch
}

type evaluateState struct{ Rows int64 } // input rows

func newEvaluate(c *evaluateConfig, env *operators.Env) operators.Operator {
	o := &evaluator{node: env.Node(), task: int64(env.Task()), every: int64(c.every), rows: new(evaluateState), kind: ranks}
	if c.rank.Name != "" {
		o.outcome = &outcome{rank: env.In(c.rank, batch.Int64), name: c.rank.Name, fromRank: true}
	} else {
		o.prediction = env.Prediction(c.prediction, c.label)
		o.kind = kinds[o.prediction.Kind]
		if o.kind == classes {
			o.outcome = distribution(c.prediction.Name, env)
		}
	}
	if c.lower.Name != "" && c.upper.Name != "" {
		o.bounded = true
		o.interval = [2]operators.Col{env.In(c.lower, batch.Float64, batch.Int64), env.In(c.upper, batch.Float64, batch.Int64)}
	}
	if c.weight.Name != "" {
		o.weighted, o.weightName, o.weight = true, c.weight.Name, env.In(c.weight, batch.Float64, batch.Int64, batch.Bool)
	}
	env.BindValue("rows", 1, o.rows)
	fields := []batch.Field{{Name: "node", Type: batch.String}, {Name: "task", Type: batch.Int64}}
	if c.by.Name != "" {
		o.by = env.In(c.by, batch.String, batch.Int64, batch.Bool)
		fields = append(fields, batch.Field{Name: "segment", Type: batch.String, Nullable: true})
	}
	fields = append(fields, batch.Field{Name: "rows", Type: batch.Int64})
	if o.prediction != nil && o.prediction.ValueName == "" { // complained of; the metrics hang on what is predicted
		o.out = env.Output(fields...)
		return o
	}
	o.choose(c, env)
	for _, m := range o.metrics {
		fields = append(fields, batch.Field{Name: m.column, Type: batch.Float64, Nullable: true})
	}
	o.all = newScores(o.metrics, o.kind)
	for i, m := range o.metrics {
		// The text of the kind parts states that one name may mean.
		name := string(stateNames[o.kind]) + " " + m.column
		env.BindValue(name, stateVersion, o.all.metrics[i].State())
		if f, ok := o.all.metrics[i].(metric.Fading); ok {
			env.BindValue(name+" fade", 1, f.Fade())
		}
	}
	if c.by.Name != "" {
		o.segments = newSegments(c.segments, o.metrics, o.kind)
		env.Bind("segments "+c.by.Name+" "+string(stateNames[o.kind]), stateVersion, &state.Cell[segmentsCodec]{V: segmentsCodec{o.segments}})
	}
	o.out = env.Output(fields...)
	env.Report(o.report)
	return o
}

// stateVersion is the version of the states of metrics, and so of segments, which hold such.
const stateVersion = 3

// stateNames are the words for kinds in the names of states.
var stateNames = map[kind]string{probabilities: "probability", classes: "class", numbers: "number", ranks: "rank"}

// choose makes the list of metrics, and complains of those that do not fit.
func (o *evaluator) choose(c *evaluateConfig, env *operators.Env) {
	choices := c.metrics
	if len(choices) == 0 {
		for _, option := range metricOptions() {
			if slices.Contains(defaultMetrics[o.kind], option.Name) {
				m := option.New()
				spec.Decode(&spec.Node{Kind: spec.Map}, m)
				choices = append(choices, spec.Choice{Name: option.Name, Config: m})
			}
		}
		order := defaultMetrics[o.kind]
		slices.SortFunc(choices, func(a, b spec.Choice) int { return slices.Index(order, a.Name) - slices.Index(order, b.Name) })
	}
	seen := map[string]bool{}
	for _, m := range choices {
		s, _ := metric.Lookup(m.Name)
		c := m.Config.(*metricConfig)
		column := c.column(m.Name)
		switch {
		case !o.takes(s):
			what := string(o.kind)
			if o.prediction != nil {
				what = fmt.Sprintf("%q holds %s", o.prediction.ValueName, o.kind)
				if o.kind == classes && s.Ranked != nil {
					what += " without their probabilities"
				}
			} else if s.Ranked != nil {
				what = "a rank has none"
			}
			env.Errorf(m.Pos, "expected one of "+strings.Join(o.fitting(), ", "), "%s is a metric of %s, and %s", m.Name, inputs(s), what)
		case s.Interval && !o.bounded:
			env.Errorf(m.Pos, "expected lower and upper", "%s needs the bounds of an interval", m.Name)
		case seen[column]:
			env.Errorf(m.Pos, "expected each once", "metrics names %q twice", column)
		default:
			o.metrics = append(o.metrics, chosen{column, s, c.o})
		}
		seen[column] = true
	}
}

// takes reports whether a metric scores what the node is given.
func (o *evaluator) takes(s metric.Spec) bool {
	switch o.kind {
	case probabilities:
		return s.Binary != nil
	case classes:
		return s.Classes != nil || s.Ranked != nil && o.outcome != nil
	case numbers:
		return s.Numeric != nil
	}
	return s.Ranked != nil && !s.Probability
}

// inputs says what a metric scores.
func inputs(s metric.Spec) string {
	var out []string
	for _, in := range s.Inputs() {
		out = append(out, map[string]string{"probability": "probabilities", "class": "classes", "number": "numbers", "rank": "ranks"}[in])
	}
	return strings.Join(out, " or ")
}

// fitting lists the metrics that the node can compute.
func (o *evaluator) fitting() []string {
	var names []string
	for _, name := range metric.Names() {
		if s, _ := metric.Lookup(name); o.takes(s) && (!s.Interval || o.bounded) {
			names = append(names, name)
		}
	}
	return names
}

func (o *evaluator) report(r *operators.Report) {
	r.Set("rows", float64(o.rows.Rows))
	o.all.fresh = false
	o.all.report(r, o.metrics, "")
	if o.segments == nil {
		return
	}
	for i, name := range o.segments.s.Names {
		r.Set("rows["+name+"]", float64(o.segments.s.Rows[i]))
		o.segments.list[i].report(r, o.metrics, "["+name+"]")
	}
	r.Set("rows_beyond_segments", float64(o.segments.s.Beyond))
}

func (o *evaluator) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.out.Reset()
	o.out.Like(in)
	for row := range in.N {
		segment := -1
		if o.segments != nil {
			segment = o.segments.of(o.by.Of(in), row)
		}
		if err := o.score(in, row, segment); err != nil {
			out.Reject(row, err)
		}
		o.rows.Rows++
		if o.rows.Rows%o.every == 0 {
			o.emit(in, row)
		}
	}
	return out.Emit(o.out)
}

// score takes up a row, in the total and in its segment, if that is not negative.
func (o *evaluator) score(in *batch.Batch, row, segment int) error {
	var r scored
	if ok, err := o.read(in, row, &r); err != nil || !ok {
		return err
	}
	o.all.add(&r)
	if segment >= 0 {
		o.segments.list[segment].add(&r)
	}
	return nil
}

// mostWeight bounds weights, so that sums stay finite.
const mostWeight = 1e6

// read takes what is scored of a row; ok is false if there is nothing.
func (o *evaluator) read(in *batch.Batch, row int, r *scored) (ok bool, err error) {
	r.weight = 1
	if o.weighted {
		if w, known := o.weight.Of(in).Number(row); known {
			r.weight = w
		}
		if r.weight < 0 || r.weight > mostWeight {
			return false, fmt.Errorf("weight %q is %v; expected a number from 0 to 1e6", o.weightName, r.weight)
		}
	}
	if o.prediction == nil {
		return o.outcome.place(in, row, &r.outcome)
	}
	if ok, err = o.prediction.Scored(in, row); err != nil || !ok {
		return false, err
	}
	if o.kind == classes {
		r.predicted, r.truth = o.prediction.Classes(in, row)
		if o.outcome != nil {
			return true, o.outcome.among(in, row, r.truth, &r.outcome)
		}
		return true, nil
	}
	r.number.Predicted, r.number.Label = o.prediction.Numbers(in, row)
	if o.bounded {
		lower, ok1 := o.interval[0].Of(in).Number(row)
		upper, ok2 := o.interval[1].Of(in).Number(row)
		if !ok1 || !ok2 {
			return false, nil
		}
		r.number.Lower, r.number.Upper = lower, upper
		if !(max(lower, -lower, upper, -upper) <= 1e100) {
			return false, fmt.Errorf("the interval is %v to %v; expected numbers from -1e100 to 1e100", lower, upper)
		}
	}
	return true, nil
}

func (o *evaluator) emit(in *batch.Batch, row int) {
	o.all.fresh = false // as a state may have been loaded, a metric at a time
	o.emitScores(in, row, -1, o.rows.Rows, o.all)
	if o.segments != nil {
		for i, rows := range o.segments.s.Rows {
			o.emitScores(in, row, i, rows, o.segments.list[i])
		}
	}
}

func (o *evaluator) emitScores(in *batch.Batch, row, segment int, rows int64, s *scores) {
	cols := o.out.Cols
	cols[0].AppendString(o.node)
	cols[1].AppendInt(o.task)
	cols = cols[2:]
	if o.segments != nil {
		if segment < 0 {
			cols[0].AppendNull()
		} else {
			cols[0].AppendString(o.segments.s.Names[segment])
		}
		cols = cols[1:]
	}
	cols[0].AppendInt(rows)
	for i, m := range s.read() {
		if m.defined {
			cols[1+i].AppendFloat(m.v)
		} else {
			cols[1+i].AppendNull()
		}
	}
	o.out.EndRow(in, row)
}

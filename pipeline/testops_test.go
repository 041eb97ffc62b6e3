package pipeline

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// The operators of the tests have the names and the columns of the real ones,
// and compute nothing: this package only asks them for columns and complaints.

type nothing struct{}

func (nothing) Process(_ int, in *batch.Batch, out operators.Emitter) error { return out.Emit(in) }

type vectorizeConfig struct {
	bits                 int
	numeric, categorical []spec.Column
	cross                [][]spec.Column
	scale, as            string
}

func (c *vectorizeConfig) Fields(f *spec.Fields) {
	f.Int(&c.bits, "bits", 18, "Base-2 logarithm of the number of indices.").Within(8, 30).Pin()
	f.Columns(&c.numeric, "numeric", nil, "Columns to take as numbers.").Example("[price]")
	f.Columns(&c.categorical, "categorical", nil, "Columns to take as categories.")
	f.ColumnLists(&c.cross, "cross", "Pairs of categories to take together.")
	f.Enum(&c.scale, "scale", "standard", []string{"none", "standard", "minmax", "maxabs"}, "How numbers are scaled.")
	f.String(&c.as, "as", "features", "Name of the column that is added.")
}

func (c *vectorizeConfig) Check(add func(field, msg, want string)) {
	if len(c.numeric)+len(c.categorical)+len(c.cross) == 0 {
		add("", "there is nothing to vectorize", "expected numeric, categorical, cross, text or sparse")
	}
}

type logisticConfig struct {
	features, label spec.Column
	optimizer       spec.Choice
	l2              float64
}

type rateConfig struct{ rate float64 }

func (c *rateConfig) Fields(f *spec.Fields) {
	f.Float(&c.rate, "rate", 0.05, "Step size.").Above(0).AtMost(1e6)
}

func (c *logisticConfig) Fields(f *spec.Fields) {
	f.Column(&c.label, "label", "", "What to learn: a bool, or a number that is 0 or 1.").Required()
	f.Column(&c.features, "features", "features", "What to learn from.")
	f.Choice(&c.optimizer, "optimizer", "adagrad", []spec.Option{
		{Name: "adagrad", Summary: "A rate for each weight.", New: func() spec.Config { return new(rateConfig) }},
		{Name: "sgd", Summary: "The plain step.", New: func() spec.Config { return new(rateConfig) }},
	}, "The step rule.")
	f.Float(&c.l2, "l2", 0, "Weight of the penalty.").Within(0, 1e6)
}

type evaluateConfig struct {
	prediction string
	label      spec.Column
	metrics    []spec.Choice
	every      int

	predictionAt spec.Pos
}

var metricNames = []string{"accuracy", "log_loss", "roc_auc"}

func (c *evaluateConfig) Fields(f *spec.Fields) {
	var options []spec.Option
	for _, name := range metricNames {
		options = append(options, spec.Option{Name: name})
	}
	f.String(&c.prediction, "prediction", "", "Node whose predictions are judged.").Required().At(&c.predictionAt)
	f.Column(&c.label, "label", "", "What was right.").Required()
	f.Choices(&c.metrics, "metrics", []string{"accuracy"}, options, "What to measure.")
	f.Int(&c.every, "every", 1000, "Rows between two outputs.").AtLeast(1)
}

type adwinConfig struct {
	column spec.Column
	delta  float64
}

func (c *adwinConfig) Fields(f *spec.Fields) {
	f.Column(&c.column, "column", "", "What to watch.").Required()
	f.Float(&c.delta, "delta", 0.002, "Chance of a false alarm.").Above(0).Below(1)
}

type selectConfig struct{ columns []spec.Entry }

func (c *selectConfig) Fields(f *spec.Fields) {
	f.Ordered(&c.columns, "columns", "Name and column.").Required()
}

type joinConfig struct{ on spec.Column }

func (c *joinConfig) Fields(f *spec.Fields) {
	f.Column(&c.on, "on", "", "Column that both inputs have.").Required()
}

type repartitionConfig struct {
	key        spec.Column
	partitions int
}

func (c *repartitionConfig) Fields(f *spec.Fields) {
	f.Column(&c.key, "key", "", "Column that picks the partition.").Required()
	f.Int(&c.partitions, "partitions", 4, "Partitions behind the cut.").Within(1, 100_000)
}

func (c *repartitionConfig) Repartition() (string, int) { return c.key.Name, c.partitions }

var testFamily = func() *operators.Family {
	f := new(operators.Family)
	f.Add(operators.Define(operators.Spec[vectorizeConfig]{
		Name: "vectorize", Summary: "Turns columns into a sparse vector.", Columns: "`features`: sparse.",
		Doc: "Hashes every value with the name of its column.\n\nTakes time in proportion to the columns.",
		Examples: []spec.Example{{Title: "One number", Config: "vectorize: {numeric: [x], scale: none}",
			In: "x\n1.5\n", Out: "x,features\n1.5,7:1.5\n"}},
		Build: func(c *vectorizeConfig, env *operators.Env) operators.Operator {
			for _, col := range c.numeric {
				env.InNumber(col)
			}
			for _, col := range c.categorical {
				env.In(col, batch.String, batch.Int64, batch.Bool)
			}
			for _, cross := range c.cross {
				for _, col := range cross {
					env.In(col, batch.String, batch.Int64, batch.Bool)
				}
			}
			env.Add(batch.Field{Name: c.as, Type: batch.Sparse, Dim: 1 << c.bits})
			return nothing{}
		},
	}))
	f.Add(operators.Define(operators.Spec[logisticConfig]{
		Name: "logistic_regression", Summary: "Predicts one of two classes.", Role: operators.Learner,
		Columns: "`NODE.score`, `NODE.probability`, `NODE.loss`, `NODE.version`.",
		Build: func(c *logisticConfig, env *operators.Env) operators.Operator {
			env.In(c.features, batch.Sparse)
			env.In(c.label, batch.Bool, batch.Int64, batch.Float64)
			env.AddOwn("score", batch.Float64, false)
			env.AddOwn("probability", batch.Float64, false)
			env.AddOwn("loss", batch.Float64, true)
			env.AddOwn("version", batch.Int64, false)
			return nothing{}
		},
	}))
	f.Add(operators.Define(operators.Spec[evaluateConfig]{
		Name: "evaluate", Summary: "Measures predictions.", Role: operators.Evaluator,
		Columns: "`node`, `task`, `rows` and the metrics.",
		Build: func(c *evaluateConfig, env *operators.Env) operators.Operator {
			env.In(spec.Column{Name: c.prediction + ".probability", Pos: c.predictionAt}, batch.Float64)
			env.InNumber(c.label)
			fields := []batch.Field{{Name: "node", Type: batch.String}, {Name: "task", Type: batch.Int64}, {Name: "rows", Type: batch.Int64}}
			for _, m := range c.metrics {
				fields = append(fields, batch.Field{Name: m.Name, Type: batch.Float64, Nullable: true})
			}
			env.Output(fields...)
			return nothing{}
		},
	}))
	f.Add(operators.Define(operators.Spec[adwinConfig]{
		Name: "adwin", Summary: "Watches a column for a change of its mean.", Role: operators.Detector,
		Columns: "`node`, `task`, `row`, `value`, `kind`.",
		Build: func(c *adwinConfig, env *operators.Env) operators.Operator {
			env.InNumber(c.column)
			env.Output(batch.Field{Name: "node", Type: batch.String}, batch.Field{Name: "task", Type: batch.Int64},
				batch.Field{Name: "row", Type: batch.Int64}, batch.Field{Name: "value", Type: batch.Float64}, batch.Field{Name: "kind", Type: batch.String})
			return nothing{}
		},
	}))
	f.Add(operators.Define(operators.Spec[selectConfig]{
		Name: "select", Summary: "Keeps and renames columns.", Columns: "Those it names.",
		Build: func(c *selectConfig, env *operators.Env) operators.Operator {
			var fields []batch.Field
			for _, e := range c.columns {
				field := env.Field(env.In(spec.Column(e.Value)))
				field.Name = e.Key.Name
				fields = append(fields, field)
			}
			env.Project(fields...)
			return nothing{}
		},
	}))
	f.Add(operators.Define(operators.Spec[joinConfig]{
		Name: "join", Summary: "Joins two inputs.", Inputs: 2, Columns: "Those of both.",
		Build: func(c *joinConfig, env *operators.Env) operators.Operator {
			env.In(c.on)
			fields := append([]batch.Field(nil), env.Input(0).Fields...)
			for _, field := range env.Input(1).Fields {
				if env.Input(0).Lookup(field.Name) < 0 {
					fields = append(fields, field)
				}
			}
			env.Output(fields...)
			return nothing{}
		},
	}))
	f.Add(operators.Define(operators.Spec[repartitionConfig]{
		Name: "repartition", Summary: "Cuts the graph.", Columns: "Those of the input.",
		Build: func(c *repartitionConfig, env *operators.Env) operators.Operator {
			env.In(c.key, batch.Bool, batch.Int64, batch.Float64, batch.String, batch.Timestamp)
			return nothing{}
		},
	}))
	return f
}()

var testRegistry = operators.Merge(testFamily)

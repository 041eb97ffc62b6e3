package drift

import (
	"fmt"
	"slices"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift/profile"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[dataDriftConfig]{
	Name:    "data_drift",
	Summary: "Compares the distribution of columns with that of their first rows, without labels.",
	Doc: "The first reference rows of a column are what its later rows are compared with, window rows at a time. For each column and window one row says how far apart the two are:\n\n" +
		"psi is the population stability index, Σ (p − q)·ln(p/q) over bins, where a share below 0.0001 counts as that: below 0.1 is called stable, above 0.2 a change. " +
		"js is the Jensen-Shannon distance to base 2 of the same bins, from 0 to 1 (Lin, IEEE Transactions on Information Theory 1991). " +
		"chi_squared is Pearson's statistic of the two samples' counts, chi_squared_p its p-value. " +
		"Of numbers there are also ks, the greatest distance of the distribution functions (Kolmogorov, Smirnov), ks_p, its asymptotic p-value, and wasserstein, the area between the functions in standard deviations of the reference.\n\n" +
		"The bins of numbers are bins intervals that hold the same share of the reference each, from quantiles that are interpolated between neighbours; where values are often the same there are fewer. " +
		"The bins of strings, bools and columns named in categorical are the values that the reference has, the first categories of them, and one for all others, as for values of more than 256 bytes. Nulls are a bin of their own, so a column that goes missing drifts. " +
		"ks is exact, wasserstein but for where the functions cross between two values of the reference.\n\n" +
		"With many rows a p-value finds differences that do not matter: alarm on distances, and on a p-value only with a small bound. " +
		"Two samples of n and m rows of one source have a psi of some (bins − 1)·(1/n + 1/m) by chance.\n\n" +
		"A row with a number beyond ±1e100 is rejected.\n\n" +
		"Cost: time by the logarithm of reference a row and column, in proportion to it once a window; memory of some five numbers a row of reference and column.",
	Role: operators.Detector,
	Columns: "Its own, a row for each column and window: `node`: string; `task`: int64; `row`: int64, the input row that ended the window, counted by the node in its task from 0; " +
		"`value`: float64?, the measure named first in alarm; `kind`: string, `drift` or `none`; `feature`: string, the column; " +
		"`psi`, `js`, `chi_squared`, `chi_squared_p`, `ks`, `ks_p`, `wasserstein`: float64?, the last three null of categories.",
	Examples: []spec.Example{{
		Title:  "A number that is shifted, a category that comes more often",
		Config: "data_drift: {columns: [x, site], reference: 6, window: 4, bins: 2, alarm: [{ks: {above: 0.4}}]}",
		In:     "x:float64?,site:string\n1,a\n2,a\n3,b\n4,b\n5,a\n6,a\n4,a\n5,b\n6,a\n9,a\n",
		Out: "node,task,row,value,kind,feature,psi,js,chi_squared,chi_squared_p,ks,ks_p,wasserstein\n" +
			"node,0,9,0.5,drift,x,4.60431846666895,0.5579230452841438,2.8571428571428568,0.09096894797535793,0.5,0.58596971955901,1.4638501094227998\n" +
			"node,0,9,,none,site,0.033788759009013694,0.07795825792405503,0.07936507936507935,0.7781596861761659,,,\n",
	}},
	Build: newDataDrift,
}))

type dataDriftConfig struct {
	columns, categorical                []spec.Column
	reference, window, bins, categories int
	alarm                               []spec.Choice
	after                               string
}

// bound is the limit of an alarm.
type bound struct {
	name string
	at   float64
	doc  string
}

func (c *bound) Fields(f *spec.Fields) { f.Float(&c.at, c.name, c.at, c.doc).AtLeast(0) }

// measures are what may alarm, with their defaults.
var measures = []struct {
	name, summary string
	below         bool // a p-value: small is an alarm
	at            float64
	of            func(m *profile.Measures) (v float64, ok bool)
}{
	{"psi", "The population stability index.", false, 0.2, func(m *profile.Measures) (float64, bool) { return m.PSI, true }},
	{"js", "The Jensen-Shannon distance.", false, 0.1, func(m *profile.Measures) (float64, bool) { return m.JS, true }},
	{"chi_squared", "The chi-squared test.", true, 0.001, func(m *profile.Measures) (float64, bool) { return m.ChiSquaredP, true }},
	{"ks", "The distance of Kolmogorov and Smirnov; of numbers.", false, 0.1, func(m *profile.Measures) (float64, bool) { return m.KS, m.Numbers }},
	{"ks_p", "The test of Kolmogorov and Smirnov; of numbers.", true, 0.001, func(m *profile.Measures) (float64, bool) { return m.KSP, m.Numbers }},
	{"wasserstein", "The Wasserstein distance; of numbers.", false, 0.1, func(m *profile.Measures) (float64, bool) { return m.Wasserstein, m.Numbers }},
}

func alarmOptions() []spec.Option {
	var options []spec.Option
	for _, m := range measures {
		b := bound{"above", m.at, "Value above which it is an alarm."}
		if m.below {
			b = bound{"below", m.at, "p-value below which it is an alarm."}
		}
		options = append(options, spec.Option{Name: m.name, Summary: m.summary, New: func() spec.Config { c := b; return &c }})
	}
	return options
}

func (c *dataDriftConfig) Fields(f *spec.Fields) {
	f.Columns(&c.columns, "columns", nil, "What to watch: numbers and timestamps by their values, strings and bools as categories.").Required().Example("[price, site]")
	f.Columns(&c.categorical, "categorical", []string{}, "Those of columns that are whole numbers and meant as categories.").Example("[hour]")
	f.Int(&c.reference, "reference", 1000, "Rows of the reference.").Within(2, 100_000)
	f.Int(&c.window, "window", 1000, "Rows that are compared at a time.").Within(1, 1_000_000_000)
	f.Int(&c.bins, "bins", 10, "Bins of a column of numbers.").Within(2, 1000).Pin()
	f.Int(&c.categories, "categories", 100, "Values of a category that are told apart, the first that come.").Within(1, 1000)
	f.Choices(&c.alarm, "alarm", []string{"psi"}, alarmOptions(), "What is a drift: any of these.").Example("[psi, {ks: {above: 0.15}}]")
	f.Enum(&c.after, "after", "keep", []string{"keep", "relearn"}, "What follows the drift of a column: keep = the reference stays, relearn = its next rows become a new one.")
}

func (c *dataDriftConfig) Check(add func(field, msg, want string)) {
	if len(c.alarm) == 0 {
		add("alarm", "no measure is named, so nothing could ever be a drift", "expected at least one, as in [psi]")
	}
}

// alarm is a bound on a measure.
type alarm struct {
	of    func(m *profile.Measures) (v float64, ok bool)
	below bool
	at    float64
}

// watched is one column.
type watched struct {
	name       string
	col        operators.Col
	numbers    *profile.NumbersReference
	counts     *profile.NumbersCounts
	categories *profile.Categories // in place of both
}

type dataDrift struct {
	node                            string
	task                            int64
	reference, window, bins, values int
	alarms                          []alarm
	relearn                         bool
	columns                         []watched
	s                               watchState
	text                            []byte
	scratch                         profile.Scratch
	m                               profile.Measures
	out                             *batch.Batch
}

func newDataDrift(c *dataDriftConfig, env *operators.Env) operators.Operator {
	o := &dataDrift{node: env.Node(), task: int64(env.Task()), reference: c.reference, window: c.window, bins: c.bins, values: c.categories, relearn: c.after == "relearn"}
	for _, chosen := range c.alarm {
		for _, m := range measures {
			if b, ok := chosen.Config.(*bound); ok && m.name == chosen.Name {
				o.alarms = append(o.alarms, alarm{m.of, m.below, b.at})
			}
		}
	}
	seen := map[string]bool{}
	for _, name := range c.columns {
		if seen[name.Name] {
			env.Errorf(name.Pos, "expected each once", "columns names %q twice", name.Name)
			continue
		}
		seen[name.Name] = true
		w := watched{name: name.Name, col: env.In(name, batch.Float64, batch.Int64, batch.Timestamp, batch.String, batch.Bool)}
		t := env.Field(w.col).Type
		category := slices.ContainsFunc(c.categorical, func(k spec.Column) bool { return k.Name == name.Name })
		if t == batch.String || t == batch.Bool || category {
			w.categories = new(profile.Categories)
			env.BindValue("categories "+w.name, 1, w.categories)
		} else {
			w.numbers, w.counts = new(profile.NumbersReference), new(profile.NumbersCounts)
			env.BindValue("reference "+w.name, 1, w.numbers)
			env.BindValue("window "+w.name, 1, w.counts)
		}
		o.columns = append(o.columns, w)
	}
	for _, name := range c.categorical {
		switch i := env.Input(0).Lookup(name.Name); {
		case !seen[name.Name]:
			env.Errorf(name.Pos, "expected one of columns", "categorical names %q, which is not in columns", name.Name)
		case i >= 0 && env.Input(0).Fields[i].Type == batch.Float64:
			env.Errorf(name.Pos, "expected string, int64 or bool", "column %q is float64, which is no category", name.Name)
		}
	}
	env.BindValue("rows", 1, &o.s)
	fields := []batch.Field{{Name: "node", Type: batch.String}, {Name: "task", Type: batch.Int64}, {Name: "row", Type: batch.Int64},
		{Name: "value", Type: batch.Float64, Nullable: true}, {Name: "kind", Type: batch.String}, {Name: "feature", Type: batch.String}}
	for _, name := range []string{"psi", "js", "chi_squared", "chi_squared_p", "ks", "ks_p", "wasserstein"} {
		fields = append(fields, batch.Field{Name: name, Type: batch.Float64, Nullable: true})
	}
	o.out = env.Output(fields...)
	env.Report(func(r *operators.Report) {
		r.Set("rows", float64(o.s.Rows))
		r.Set("drifts", float64(o.s.Drifts))
	})
	return o
}

func (o *dataDrift) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	o.out.Reset()
	o.out.Like(in)
	for row := range in.N {
		if err := o.check(in, row); err != nil {
			out.Reject(row, err)
		} else {
			for i := range o.columns {
				o.take(&o.columns[i], in, row)
			}
		}
		o.s.Rows++
	}
	return out.Emit(o.out)
}

// check reports a number that is too large.
func (o *dataDrift) check(in *batch.Batch, row int) error {
	for i := range o.columns {
		if w := &o.columns[i]; w.numbers != nil {
			if x, _ := w.col.Of(in).Number(row); x > most || x < -most {
				return fmt.Errorf("column %q is %v; expected a number from -1e100 to 1e100", w.name, x)
			}
		}
	}
	return nil
}

// take counts a value, and compares where a window ends.
func (o *dataDrift) take(w *watched, in *batch.Batch, row int) {
	if w.categories != nil {
		o.takeCategory(w, in, row)
		return
	}
	r, c := w.numbers, w.counts
	x, known := w.col.Of(in).Number(row)
	if !r.Sealed {
		if known {
			r.Add(x)
		} else {
			r.Nulls++
		}
		if int64(len(r.Values))+r.Nulls >= int64(o.reference) {
			r.Seal(o.bins)
			c.Fit(r)
		}
		return
	}
	if known {
		c.Add(r, x)
	} else {
		c.Nulls++
	}
	if c.Rows+c.Nulls < int64(o.window) {
		return
	}
	o.m = c.Measure(r)
	if o.emit(w, in, row) && o.relearn {
		*r, *c = profile.NumbersReference{}, profile.NumbersCounts{}
		return
	}
	c.Clear()
}

func (o *dataDrift) takeCategory(w *watched, in *batch.Batch, row int) {
	c, col := w.categories, w.col.Of(in)
	null := col.Null(row)
	o.text = o.text[:0]
	if !null {
		o.text = col.AppendText(o.text, row)
	}
	if c.Reference < int64(o.reference) {
		room := o.values
		if len(o.text) > operators.MostText {
			room = 0 // it is one of the others
		}
		c.Learn(o.text, null, room)
		return
	}
	c.Add(o.text, null)
	if c.Rows < int64(o.window) {
		return
	}
	o.m = c.Measure(&o.scratch)
	if o.emit(w, in, row) && o.relearn {
		*c = profile.Categories{}
		return
	}
	c.Clear()
}

// emit writes the row of a window whose measures are in m, and reports whether it is a drift.
func (o *dataDrift) emit(w *watched, in *batch.Batch, row int) (drift bool) {
	m := &o.m
	value, known := 0.0, false
	for i, a := range o.alarms {
		v, ok := a.of(m)
		if i == 0 {
			value, known = v, ok
		}
		drift = drift || ok && (a.below && v < a.at || !a.below && v > a.at)
	}
	kind := "none"
	if drift {
		kind = "drift"
		o.s.Drifts++
	}
	cols := o.out.Cols
	cols[0].AppendString(o.node)
	cols[1].AppendInt(o.task)
	cols[2].AppendInt(o.s.Rows)
	appendKnown(cols[3], value, known)
	cols[4].AppendString(kind)
	cols[5].AppendString(w.name)
	for i, v := range [...]float64{m.PSI, m.JS, m.ChiSquared, m.ChiSquaredP, m.KS, m.KSP, m.Wasserstein} {
		appendKnown(cols[6+i], v, i < 4 || m.Numbers)
	}
	o.out.EndRow(in, row)
	return drift
}

func appendKnown(c *batch.Column, v float64, known bool) {
	if known {
		c.AppendFloat(v)
	} else {
		c.AppendNull()
	}
}

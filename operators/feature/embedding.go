package feature

import (
	"fmt"
	"io"
	"slices"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[embeddingConfig]{
	Name:    "embedding",
	Summary: "Looks categories, or the words of texts, up in a table of vectors made elsewhere.",
	Doc: "The table is a file that gives each key d numbers: words with the vectors of GloVe (Pennington, Socher, Manning, EMNLP 2014) or word2vec (Mikolov et al. 2013), items with those of a factorization, cities with their places. " +
		"A value of columns is looked up by its text. A text is looked up token by token, and gets the mean of the vectors of those tokens that the table has, as often as the text has them; a token is a run of letters, marks and decimal digits, as in vectorize. " +
		"A null, a value that the table lacks, and a text of which it has no token get what missing says.\n\n" +
		"With layout: columns there is a column of numbers for each component, for operators that name their columns; with layout: vector one sparse column, which learners take as it is (`features: NODE.vector`) and vectorize beside others (`sparse: [NODE.vector]`). Components that are 0 are left out of it.\n\n" +
		"format: text has a line for each key, the key and its numbers with blanks or tabs between them; a first line of two whole numbers says how many rows and how many numbers a row there are, as word2vec writes it (a table of one number a row whose keys are numbers needs it). A key may hold blanks if a header or the line before says how many numbers follow, and none of its words but the first is a number. " +
		"csv has a header; the first column is the key, and the others are numbers, whose names the columns that are added take. A file is UTF-8, unpacked if its name ends in .gz. " +
		"Everything wrong with it is complained of before anything runs, by line and column: a key twice, an empty key, another number of values than the rows before, a value that is no number of 32 bits.\n\n" +
		"The file is read once, when the pipeline is loaded. What it holds is part of what identifies the pipeline and the state of this operator, by the SHA-256 of its bytes: state that was made with another table is refused. Each machine needs the file.\n\n" +
		"The report counts what was looked up and found, and what was not.\n\n" +
		"Cost: one look-up a value or token, and d additions for each. Memory: 4·d bytes and some 60 and the key for each key, once for all tasks of a process, and up to four times that while the file is read: a table of 400,000 words with 50 numbers takes 105 MB, and 370 MB to read.",
	Columns: "Those of the input, and with layout: columns for each of columns and text d columns PREFIX + COLUMN_1 … PREFIX + COLUMN_d, in place of the numbers the names in the header of a csv file: float64?, without ? unless missing is absent; with layout: vector PREFIX + vector: sparse, component k of the i-th column at the index i·d+k, both from 0.",
	Examples: []spec.Example{{
		Title:  "The means of the vectors of words",
		Config: "embedding: {table: words.txt, text: [title]}",
		File:   "the 0.1 -0.2\ncat 0.5 1\ndog 0.75 0.5\n",
		In:     "title:string\nThe cat\ndog dog CAT!\na horse\n",
		Out:    "title,node.title_1,node.title_2\nThe cat,0.30000000074505806,0.3999999985098839\ndog dog CAT!,0.6666666666666666,0.6666666666666666\na horse,,\n",
	}, {
		Title:  "Places of cities from a csv file; the mean of all for one that it lacks",
		Config: "embedding: {table: cities.csv, columns: [city], missing: mean, prefix: ''}",
		File:   "name,lat,lon\nOslo,59.875,10.75\nBergen,60.375,5.25\n",
		In:     "city:string?\nBergen\nParis\n",
		Out:    "city,city_lat,city_lon\nBergen,60.375,5.25\nParis,60.125,8\n",
	}, {
		Title:  "Vectors of two columns side by side, as features of a learner",
		Config: "embedding: {table: items.txt, columns: [item, before], layout: vector}",
		File:   "2 3\n17 1 0 -1\n23 0.5 0.5 0\n",
		In:     "item:int64,before:int64?\n17,23\n23,\n99,17\n",
		Out:    "item,before,node.vector\n17,23,0:1 2:-1 3:0.5 4:0.5\n23,,0:0.5 1:0.5\n99,17,3:1 5:-1\n",
	}},
	Build: newEmbedding,
}))

type embeddingConfig struct {
	table         spec.File
	columns, text []spec.Column
	format        string
	rows          int
	most          int64
	missing       string
	lower         bool
	prefix        string
	prefixed      bool
	prefixAt      spec.Pos
	layout        string

	vectors *vectorTable // what the table holds; nil = it was not read
}

func (c *embeddingConfig) Fields(f *spec.Fields) {
	f.File(&c.table, "table", "File with the table, from the working folder on.").Required().Pin().Example("glove.6B.50d.txt.gz")
	f.Columns(&c.columns, "columns", nil, "Columns looked up by their text: string, int64, bool.").Example("[item]")
	f.Columns(&c.text, "text", nil, "String columns looked up token by token.").Example("[title]")
	f.Enum(&c.format, "format", "auto", []string{"auto", "text", "csv"}, "What the file holds; auto = csv if its name ends in .csv or .csv.gz, else text.")
	f.Int(&c.rows, "rows", 0, "Rows of the table that are read, from the first on, which in most tables of words are the frequent ones; 0 = all.").Within(0, 100_000_000).Pin()
	f.Bytes(&c.most, "max_bytes", 1<<30, "Memory that the table may take; more is an error.").Within(1, int64(1<<38))
	f.Enum(&c.missing, "missing", "absent", []string{"absent", "zero", "mean"}, "What a null or a key that the table lacks gives: nulls, in a vector no features; zeros; or the mean of all rows of the table.")
	f.Bool(&c.lower, "lower", true, "Take tokens of a text in lower case. Values of columns are looked up as they are.")
	f.String(&c.prefix, "prefix", "", "What the names of the columns that are added begin with; left out = the name of the node and a dot. Learners that take all columns of numbers take those without a dot.").Given(&c.prefixed).At(&c.prefixAt)
	f.Enum(&c.layout, "layout", "columns", []string{"columns", "vector"}, "Whether a column of numbers is added for each component, or one sparse column for all.")
}

func (c *embeddingConfig) Check(add func(field, msg, want string)) {
	if len(c.columns)+len(c.text) == 0 {
		add("", "there is nothing to look up", "expected columns or text")
	}
	for _, t := range c.text {
		if c.layout == "columns" && slices.ContainsFunc(c.columns, func(col spec.Column) bool { return col.Name == t.Name }) {
			add("text", fmt.Sprintf("column %q is one of columns, too", t.Name), "expected another operator for it")
		}
	}
}

// File implements [operators.FileReader].
func (c *embeddingConfig) File() *spec.File { return &c.table }

// ReadFile implements [operators.FileReader].
func (c *embeddingConfig) ReadFile(content io.Reader) (errs spec.Errors) {
	c.vectors, errs = readVectors(content, c.table.Path, c.format, c.rows, c.most)
	return errs
}

// mostEmbedded bounds the columns that an embedding adds.
const mostEmbedded = 4096

// lookups counts values and tokens that the table had, and that it lacked.
type lookups struct{ Found, Missing int64 }

// lookupsVersion is the version of lookups as a state.
const lookupsVersion = 1

// embedding is the operator.
type embedding struct {
	table   *vectorTable
	columns []embedded
	lower   bool
	absent  bool
	missing []float64 // what a row gets that has no vector, unless absent
	vector  operators.Col
	layout  string
	s       lookups

	v     []float64 // the vector of a row
	token []byte
}

// embedded is a column that is looked up.
type embedded struct {
	category
	tokens bool            // it is a text
	out    []operators.Col // by component; nil with layout: vector
}

func newEmbedding(c *embeddingConfig, env *operators.Env) operators.Operator {
	o := &embedding{table: c.vectors, lower: c.lower, absent: c.missing == "absent", layout: c.layout}
	env.BindValue("lookups", lookupsVersion, &o.s)
	env.Report(func(r *operators.Report) {
		r.Set("found", float64(o.s.Found))
		r.Set("missing", float64(o.s.Missing))
	})
	for _, col := range c.columns {
		o.columns = append(o.columns, embedded{category: takenByText(env, col)})
	}
	for _, col := range c.text {
		o.columns = append(o.columns, embedded{category: category{name: col.Name, col: env.In(col, batch.String)}, tokens: true})
	}
	if o.table == nil {
		return o // complained of by whoever reads files
	}
	d := len(o.table.names)
	if n := d * len(o.columns); n > mostEmbedded {
		env.Errorf(c.table.Pos, fmt.Sprintf("expected at most %d in all", mostEmbedded), "the table has %d numbers a row, which are to be added for %d columns", d, len(o.columns))
		return o
	}
	o.v, o.missing = make([]float64, d), make([]float64, d)
	if c.missing == "mean" {
		o.missing = o.table.mean
	}
	prefix := c.prefix
	if !c.prefixed {
		prefix = env.Node() + "."
	}
	if c.layout == "vector" {
		o.vector = env.Add(batch.Field{Name: prefix + "vector", Type: batch.Sparse, Dim: d * len(o.columns)})
		env.Features(o.features)
		return o
	}
	for i := range o.columns {
		e := &o.columns[i]
		if name := prefix + e.name + "_" + o.table.names[0]; env.Input(0).Lookup(name) >= 0 { // once, not for each component
			env.Errorf(c.prefixAt, "expected another prefix", "column %q exists already", name)
			return o
		}
		for _, name := range o.table.names {
			e.out = append(e.out, env.Add(batch.Field{Name: prefix + e.name + "_" + name, Type: batch.Float64, Nullable: o.absent}))
		}
	}
	return o
}

func (o *embedding) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	if o.layout == "vector" {
		to := o.vector.Of(in)
		for row := range in.N {
			for i := range o.columns {
				o.addTo(to, i, o.lookUp(&o.columns[i], in, row, &o.s))
			}
			to.EndRow()
		}
		return out.Emit(in)
	}
	for i := range o.columns {
		e := &o.columns[i]
		for row := range in.N {
			v := o.lookUp(e, in, row, &o.s)
			for k, c := range e.out {
				if v == nil {
					c.Of(in).SetNull(row)
				} else {
					c.Of(in).Floats[row] = v[k]
				}
			}
		}
	}
	return out.Emit(in)
}

// addTo appends the components of the i-th column that are not 0.
func (o *embedding) addTo(to *batch.Column, i int, v []float64) {
	for k, x := range v {
		if x := float32(x); x != 0 {
			to.AddFeature(uint32(i*len(v)+k), x)
		}
	}
}

// lookUp returns the vector of a row, borrowed until the next call; nil = none. It
// counts what it looks up.
func (o *embedding) lookUp(e *embedded, in *batch.Batch, row int, count *lookups) []float64 {
	col := e.col.Of(in)
	found := false
	switch {
	case col.Null(row):
	case e.tokens:
		found = o.lookUpText(col.Text(row), count)
	default:
		v := o.table.find(e.text(col, row))
		if found = v != nil; found {
			count.Found++
		} else {
			count.Missing++
		}
		for k, x := range v {
			o.v[k] = float64(x)
		}
	}
	switch {
	case found:
		return o.v
	case o.absent:
		return nil
	}
	return o.missing
}

// lookUpText makes v the mean of the vectors of a text's tokens, and reports whether
// there is any.
func (o *embedding) lookUpText(text []byte, count *lookups) bool {
	n := 0
	clear(o.v)
	for i := 0; i < len(text); {
		if o.token, i = readToken(o.token[:0], text, i, o.lower); len(o.token) == 0 {
			break
		}
		v := o.table.find(o.token)
		if v == nil {
			count.Missing++
			continue
		}
		n++
		for k, x := range v {
			o.v[k] += float64(x)
		}
	}
	count.Found += int64(n)
	for k := range o.v {
		o.v[k] /= float64(max(n, 1))
	}
	return n > 0
}

// features names the components that a row will have: by column and component.
func (o *embedding) features(in *batch.Batch, row int) []operators.Feature {
	var all []operators.Feature
	to := batch.NewColumn(batch.Sparse)
	for i := range o.columns {
		o.addTo(to, i, o.lookUp(&o.columns[i], in, row, new(lookups)))
	}
	d := len(o.table.names)
	for _, k := range to.Index {
		all = append(all, operators.Feature{Index: k, Columns: []string{o.columns[int(k)/d].name}, Values: []string{"component " + o.table.names[int(k)%d]}})
	}
	return all
}

// vectorTable is a table of vectors of one length, by key. It is never changed.
type vectorTable struct {
	names []string          // of the components
	rows  map[string]uint32 // by key: number of the row
	data  []float32         // row by row
	mean  []float64         // of all rows
}

// find returns the vector of a key, nil if there is none.
func (t *vectorTable) find(key []byte) []float32 {
	row, ok := t.rows[string(key)]
	if !ok {
		return nil
	}
	d := len(t.names)
	return t.data[int(row)*d : int(row+1)*d]
}

package feature

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

var _ = Family.Add(operators.Define(operators.Spec[vectorizeConfig]{
	Name:    "vectorize",
	Summary: "Turns columns into one sparse vector of hashed features.",
	Doc: "Every feature has an index below 2^bits, the hash of its column's name and, for categories, crosses and tokens, of its value; " +
		"docs/format/hash.md defines the hash and has test vectors. A vector holds the features in the order numeric, polynomial, dates, categorical, cross, text, sparse, " +
		"each in the order written. Features that share an index stay separate entries, and learners add them.\n\n" +
		"numeric: one feature a column, its value the scaled number; true is 1, a timestamp counts milliseconds. " +
		"polynomial: with n above 1, every product of 2 to n of the scaled numbers, repeats included, so powers as well; one with a missing factor is absent. " +
		"dates: for each cycle the sine and the cosine of the part of it that has passed (UTC), so that 23:59 and 00:00, and December and January, are neighbours: day has the hour, week (from Monday 00:00) the weekday, year the month. " +
		"categorical: one feature a value, 1. cross: one feature a combination of values, 1, of any number of columns. " +
		"text: one feature a token, where a token is a run of letters, marks and decimal digits in lower case; with ngrams: n also every run of up to n neighbouring tokens; with chars also every run of min to max neighbouring characters of a token with a space before and behind it (what scikit-learn calls char_wb), or the whole of a shorter one; runs of the first 65,536 characters of a text are taken. " +
		"sparse: every entry, with the value it has, its index hashed with the column's name, or with raw: true taken as it is.\n\n" +
		"A null gives no feature and does not touch the column's scaler; a cross with a null part gives none. What a null in numeric gives can be chosen, see missing. " +
		"Scalers learn a value and scale it then: standard subtracts the mean and divides by the standard deviation of all values so far (Welford, Technometrics 4, 1962), and holds the result to ±clip; a value further than 100 deviations from the mean is learnt as one at 100, after the first 100 values, so that one absurd value does not flatten the column; " +
		"adaptive does the same with an exponentially weighted mean and variance, for columns whose level moves; " +
		"robust subtracts the median of the last `window` values and divides by the distance between their quartiles, and holds the result to ±clip: up to a quarter of absurd values do not move it; " +
		"minmax maps the range so far to [0, 1]; maxabs divides by the greatest absolute value so far. A column that has had one value only gives 0. " +
		"A row is rejected, and leaves no trace in what is learnt, if a number does not fit a float32 or would overflow a scaler.\n\n" +
		"tokens: tfidf weighs a token by its count in the text times ln((1+N)/(1+df))+1, where N counts the texts of the column so far, this one included, and df those that have the token, and divides a text's weights by their Euclidean norm: what scikit-learn's TfidfVectorizer gives when fitted to the texts so far. " +
		"df is counted by index: tokens that share one share the count. At 2^24 texts all counts are halved, and so again each 2^23 texts: the older ones fade.\n\n" +
		"Cost: time in proportion to the features and the length of the texts; memory of some 100 bytes a numeric column, with scale: robust 16·window, with tokens: tfidf 4·2^bits bytes a text column.",
	Columns: "Those of the input, and `features` (see as): sparse, indices below 2^bits.",
	Examples: []spec.Example{{
		Title:  "Numbers and categories",
		Config: "vectorize: {bits: 8, numeric: [price], scale: none, categorical: [site], cross: [[site, user]]}",
		In:     "price:float64?,site:string,user:string?\n1.5,a,u1\n,a,u2\n3,b,\n",
		Out:    "price,site,user,features\n1.5,a,u1,159:1.5 80:1 121:1\n,a,u2,80:1 156:1\n3,b,,159:3 251:1\n",
	}, {
		Title:  "Squares and products, and a feature for what is missing",
		Config: "vectorize: {bits: 8, numeric: [a, b], scale: none, polynomial: 2, missing: indicator}",
		In:     "a:float64,b:float64?\n2,3\n2,\n",
		Out:    "a,b,features\n2,3,32:2 32:3 161:4 180:6 40:9\n2,,32:2 23:1 161:4\n",
	}, {
		Title:  "Places on the day and on the week: Thursday noon, Monday 06:00",
		Config: "vectorize: {bits: 8, dates: [ts], cycles: [day, week]}",
		In:     "ts:timestamp\n2024-02-29T12:00:00Z\n2024-03-04T06:00:00Z\n",
		Out:    "ts,features\n2024-02-29T12:00:00.000Z,214:0 141:-1 10:0 151:-1\n2024-03-04T06:00:00.000Z,214:1 141:0 10:0.22252093 151:0.9749279\n",
	}, {
		Title:  "Tokens by their rarity",
		Config: "vectorize: {bits: 8, text: [m], tokens: tfidf}",
		In:     "m:string\nthe cat\nthe dog\nthe the cat\n",
		Out:    "m,features\nthe cat,180:0.70710677 182:0.70710677\nthe dog,39:0.81480247 180:0.5797387\nthe the cat,180:0.84080195 182:0.5413428\n",
	}, {
		Title:  "Runs of three characters",
		Config: "vectorize: {bits: 8, text: [m], ngrams: 0, chars: {min: 3, max: 3}}",
		In:     "m:string\nthe cat\na hat\n",
		Out:    "m,features\nthe cat,201:1 238:1 227:1 145:1 118:1 116:1\na hat,124:1 148:1 160:1 116:1\n",
	}},
	Build: newVectorizer,
}))

type vectorizeConfig struct {
	bits        int
	numeric     []spec.Column
	scale       string
	clip        float64
	halfLife    float64
	window      int
	missing     string
	degree      int
	degreeAt    spec.Pos
	dates       []spec.Column
	cycles      []string
	categorical []spec.Column
	cross       [][]spec.Column
	text        []spec.Column
	ngrams      int
	tokens      string
	byChars     bool
	chars       charsConfig
	sparse      []spec.Column
	raw         bool
	as          string
}

type charsConfig struct{ least, most int }

func (c *charsConfig) Fields(f *spec.Fields) {
	f.Int(&c.least, "min", 3, "Least number of characters of a run.").Within(1, 20)
	f.Int(&c.most, "max", 5, "Greatest number of characters of a run.").Within(1, 20)
}

func (c *charsConfig) Check(add func(field, msg, want string)) {
	if c.least > c.most {
		add("min", fmt.Sprintf("min is %d, above max: %d", c.least, c.most), "expected at most max")
	}
}

func (c *vectorizeConfig) Fields(f *spec.Fields) {
	f.Int(&c.bits, "bits", 18, "Base-2 logarithm of the number of indices. More bits, fewer collisions, larger learners.").Within(8, 30).Pin()
	f.Columns(&c.numeric, "numeric", nil, "Columns taken as numbers: float64, int64, bool, timestamp.").Example("[price]")
	f.Enum(&c.scale, "scale", "standard", []string{"none", "standard", "adaptive", "robust", "minmax", "maxabs"}, "How numbers are scaled; learnt online, a column at a time.").Pin()
	f.Float(&c.clip, "clip", scaleClip, "Bound of what standard and adaptive make, in standard deviations, and robust, in distances between the quartiles; 0 = none.").Within(0, 1e6)
	f.Float(&c.halfLife, "half_life", 693, "Values of the column after which a value counts half as much, for adaptive.").Within(0.1, 1e9).
		Was("fading", "the values after which one counts half as much: 0.69/fading")
	f.Int(&c.window, "window", 500, "Number of values that robust looks back on.").Within(4, 100_000)
	f.Enum(&c.missing, "missing", "absent", missingNames, "What a null in a numeric column gives: no feature; the mean so far, or 0, scaled like a value but not learnt; or a feature of its own with the value 1.")
	f.Int(&c.degree, "polynomial", 1, "Greatest number of scaled numbers that are multiplied; 1 = no products.").Within(1, 6).At(&c.degreeAt)
	f.Columns(&c.dates, "dates", nil, "Columns taken as times: timestamp, or int64 of milliseconds since 1970.").Example("[ts]")
	f.Strings(&c.cycles, "cycles", cycleNames, "Cycles of dates.").Matching("day|week|year", "one of day, week, year")
	f.Columns(&c.categorical, "categorical", nil, "Columns taken by their text: string, int64, bool.").Example("[user, site]")
	f.ColumnLists(&c.cross, "cross", "Lists of two or more columns whose values count together, in this order.").Example("[[user, site]]")
	f.Columns(&c.text, "text", nil, "String columns taken token by token.").Example("[message]")
	f.Int(&c.ngrams, "ngrams", 1, "Greatest number of neighbouring tokens that make a feature; 0 = none, where chars are taken.").Within(0, 5)
	f.Switch(&c.byChars, &c.chars, "chars", false, "Whether runs of characters within a token are features, too: they tell words by their parts, and from a misspelt one most are left.")
	f.Enum(&c.tokens, "tokens", "binary", []string{"binary", "count", "tfidf"}, "Value of a token, or run: 1, how often the text has it, or that weighed by its rarity.")
	f.Columns(&c.sparse, "sparse", nil, "Sparse columns to take over. They are not scaled.").Example("[terms]")
	f.Bool(&c.raw, "raw", false, "Take the indices of sparse columns as they are; a row with one of 2^bits or more is rejected.")
	f.String(&c.as, "as", "features", "Name of the column that is added.").Matching(`.+`, "a name")
}

func (c *vectorizeConfig) Check(add func(field, msg, want string)) {
	if len(c.numeric)+len(c.dates)+len(c.categorical)+len(c.cross)+len(c.text)+len(c.sparse) == 0 {
		add("", "there is nothing to vectorize", "expected numeric, dates, categorical, cross, text or sparse")
	}
	if c.degree > 1 && len(c.numeric) == 0 {
		add("polynomial", "there are no numbers to multiply", "expected numeric columns")
	}
	if c.ngrams == 0 && !c.byChars {
		add("ngrams", "ngrams is 0, which leaves nothing of a text", "expected 1 or more, or chars")
	}
	for i, cols := range c.cross {
		if len(cols) < 2 {
			add("cross", fmt.Sprintf("cross[%d] has %d columns", i, len(cols)), "expected two or more")
		}
	}
}

// hashed is a feature made of texts: a category (one column) or a cross.
type hashed struct {
	seed  uint64 // the chain after the names
	cols  []operators.Col
	types []batch.Type
	in    []*batch.Column // of the batch being processed

	small []uint32 // of one int64 column: the indices of 0, 1, 2, …

	// Of the batch being processed, if there is one column of texts or numbers and it has
	// no nulls: the indices of its rows.
	index []uint32
}

// smallInts is how many numbers from 0 on a category of int64 has hashed beforehand:
// hours, days, ages and counts lie below it.
const smallInts = 128

// of looks the columns up in a batch, once for all its rows. A column on its own is hashed
// there and then: in a loop of its own that takes half as long as row by row.
func (f *hashed) of(b *batch.Batch, mask uint32, digits []byte) {
	f.in, f.index = f.in[:0], f.index[:0]
	for _, c := range f.cols {
		f.in = append(f.in, c.Of(b))
	}
	c := f.in[0]
	if len(f.in) > 1 || c.HasNulls() || c.Type == batch.Bool {
		return
	}
	f.index = slices.Grow(f.index, b.N)[:b.N]
	if c.Type == batch.String {
		linkTexts(f.index, f.seed, c, mask)
		return
	}
	for row, x := range c.Ints[:b.N] {
		if uint64(x) < uint64(len(f.small)) {
			f.index[row] = f.small[x]
		} else {
			f.index[row] = uint32(link(f.seed, strconv.AppendInt(digits[:0], x, 10))) & mask
		}
	}
}

// vectorizer is the operator. Its features in order: numeric, products, dates,
// hashed, text, sparse.
type vectorizer struct {
	mask     uint32
	numeric  []number
	products *products // nil = none
	dates    []date
	hashed   []hashed
	text     []textColumn
	tfidf    bool // text learns
	sparse   []sparseColumn
	raw      bool
	out      operators.Col
	digits   []byte // scratch: an int64 as text
}

type sparseColumn struct {
	name string
	seed uint64
	col  operators.Col
}

func newVectorizer(c *vectorizeConfig, env *operators.Env) operators.Operator {
	v := &vectorizer{mask: 1<<c.bits - 1, tfidf: c.tokens == "tfidf", raw: c.raw, digits: make([]byte, 0, 20)}
	env.Pin("hash", strconv.Itoa(hashVersion))
	for _, col := range c.numeric {
		v.numeric = append(v.numeric, newNumber(env, col, c))
	}
	v.products = newProducts(env, c)
	for _, col := range c.dates {
		v.dates = append(v.dates, newDate(env, col, c))
	}
	category := func(cols []spec.Column) {
		h := hashed{seed: nameHash(uint64(len(cols)), names(cols)...)}
		for _, col := range cols {
			in := env.In(col, batch.String, batch.Int64, batch.Bool)
			h.cols = append(h.cols, in)
			h.types = append(h.types, env.Field(in).Type)
		}
		if len(cols) == 1 && h.types[0] == batch.Int64 {
			for x := range smallInts {
				h.small = append(h.small, uint32(link(h.seed, strconv.AppendInt(nil, int64(x), 10)))&v.mask)
			}
		}
		v.hashed = append(v.hashed, h)
	}
	for i := range c.categorical {
		category(c.categorical[i : i+1])
	}
	for _, cols := range c.cross {
		category(cols)
	}
	for _, col := range c.text {
		t := textColumn{seed: nameHash(textSeed, col.Name), col: env.In(col, batch.String), ngrams: c.ngrams, count: c.tokens == "count"}
		if c.byChars {
			t.chars = charRuns{seed: nameHash(charSeed, col.Name), least: c.chars.least, most: c.chars.most}
		}
		if v.tfidf {
			t.rarity = newRarity(env, col.Name, 1<<c.bits)
		}
		v.text = append(v.text, t)
	}
	for _, col := range c.sparse {
		v.sparse = append(v.sparse, sparseColumn{name: col.Name, seed: nameHash(1, col.Name), col: env.In(col, batch.Sparse)})
	}
	v.out = env.Add(batch.Field{Name: c.as, Type: batch.Sparse, Dim: 1 << c.bits})
	v.explainTo(c, env)
	return v
}

func names(cols []spec.Column) []string {
	out := make([]string, len(cols))
	for i, c := range cols {
		out[i] = c.Name
	}
	return out
}

func (v *vectorizer) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	to := v.out.Of(in)
	for i := range v.numeric {
		v.numeric[i].of(in)
	}
	for i := range v.hashed {
		v.hashed[i].of(in, v.mask, v.digits)
	}
	for row := range in.N {
		if err := v.row(in, row, to); err != nil {
			for i := range v.numeric {
				v.numeric[i].undo(row)
			}
			to.Truncate(row)
			to.EndRow()
			out.Reject(row, err)
			continue
		}
		to.EndRow()
	}
	return out.Emit(in)
}

// row appends the features of a row. On an error it leaves features and scalers
// behind that the caller takes back.
func (v *vectorizer) row(in *batch.Batch, row int, to *batch.Column) error {
	at := len(to.Index)
	index, value := to.Room(len(v.numeric) + len(v.hashed))
	for i := range v.numeric {
		n := &v.numeric[i]
		n.touched = -1
		var x float64
		if row < len(n.floats) {
			x = n.floats[row]
			if n.quick {
				if z, ok := n.standardized(x, row); ok {
					index[at], value[at] = n.index, z
					at++
					v.products.set(i, z, true)
					continue
				}
			}
		} else if y, ok := n.in.Number(row); ok {
			x = y
		} else {
			k, z, ok := n.filled()
			if ok {
				index[at], value[at] = k, z
				at++
			}
			v.products.set(i, z, ok && n.missing != indicator)
			continue
		}
		z, err := n.scaled(x, row)
		if err != nil {
			for j := i + 1; j < len(v.numeric); j++ {
				v.numeric[j].touched = -1
			}
			return err
		}
		index[at], value[at] = n.index, z
		at++
		v.products.set(i, z, true)
	}
	if v.products != nil || len(v.dates) > 0 {
		to.Fill(at)
		if err := v.products.addTo(to); err != nil {
			return err
		}
		for i := range v.dates {
			d := &v.dates[i]
			if col := d.col.Of(in); !col.Null(row) {
				d.addTo(col.Ints[row], to)
			}
		}
		at = len(to.Index)
		index, value = to.Room(len(v.hashed))
	}
features:
	for i := range v.hashed {
		f := &v.hashed[i]
		if row < len(f.index) {
			index[at], value[at] = f.index[row], 1
			at++
			continue
		}
		h := f.seed
		for j, col := range f.in {
			if col.Null(row) {
				continue features
			}
			h = link(h, v.textOf(col, f.types[j], row))
		}
		index[at], value[at] = uint32(h)&v.mask, 1
		at++
	}
	to.Fill(at)
	if v.tfidf { // what rejects the row must come before what it learns
		for i := range v.sparse {
			if err := v.checkSparse(&v.sparse[i], in, row); err != nil {
				return err
			}
		}
	}
	for i := range v.text {
		t := &v.text[i]
		if col := t.col.Of(in); !col.Null(row) {
			t.add(col.Text(row), v.mask, to)
		}
	}
	for i := range v.sparse {
		if err := v.addSparse(&v.sparse[i], in, row, to); err != nil {
			return err
		}
	}
	return nil
}

var boolText = [2][]byte{[]byte("false"), []byte("true")}

// textOf is the text of a category. It is borrowed until the next call.
func (v *vectorizer) textOf(c *batch.Column, t batch.Type, row int) []byte {
	switch t {
	case batch.Int64:
		v.digits = strconv.AppendInt(v.digits[:0], c.Ints[row], 10)
		return v.digits
	case batch.Bool:
		if c.Bools[row] {
			return boolText[1]
		}
		return boolText[0]
	}
	return c.Text(row)
}

func (v *vectorizer) addSparse(s *sparseColumn, in *batch.Batch, row int, to *batch.Column) error {
	if err := v.checkSparse(s, in, row); err != nil {
		return err
	}
	idx, val := s.col.Of(in).Row(row)
	for k, i := range idx {
		if !v.raw {
			i = uint32(linkIndex(s.seed, i)) & v.mask
		}
		to.AddFeature(i, val[k])
	}
	return nil
}

func (v *vectorizer) checkSparse(s *sparseColumn, in *batch.Batch, row int) error {
	idx, val := s.col.Of(in).Row(row)
	for k, i := range idx {
		if x := val[k]; x-x != 0 {
			return fmt.Errorf("column %q: the value %v at index %d is not finite", s.name, x, i)
		}
		if v.raw && i > v.mask {
			return fmt.Errorf("column %q: index %d is not below %d", s.name, i, uint64(v.mask)+1)
		}
	}
	return nil
}

// fits reports whether x is finite as a float32.
func fits(x float64) bool { return math.Abs(x) <= math.MaxFloat32 }

package feature

import (
	"encoding/binary"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

var vectorLine = regexp.MustCompile("(?m)^\\| [^|]+ \\| ([0-9]+) \\| `(.*)` \\| `([0-9a-f]{16})` \\| ([0-9]+) \\|$")

// The vectors of docs/format/hash.md, which another implementation computed.
func TestHashVectors(t *testing.T) {
	doc, err := os.ReadFile("../../docs/format/hash.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := vectorLine.FindAllStringSubmatch(string(doc), -1)
	if len(lines) != 20 {
		t.Fatalf("found %d vectors", len(lines))
	}
	chain := func(seed uint64, texts ...string) string {
		h := seed
		for _, text := range texts {
			h = link(h, []byte(text))
		}
		if got := nameHash(seed, texts...); got != h {
			t.Errorf("of names %v: %016x, of texts %016x", texts, got, h)
		}
		return fmt.Sprintf("%016x %d", h, h&(1<<18-1))
	}
	for _, l := range lines {
		seed, _ := strconv.ParseUint(l[1], 10, 64) // the expression allows digits only
		text, err := strconv.Unquote(`"` + strings.ReplaceAll(l[2], `\|`, `\x00|`) + `"`)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := chain(seed, strings.Split(text, "\x00|")...), l[3]+" "+l[4]; got != want {
			t.Errorf("%s: %s, want %s", l[2], got, want)
		}
	}
	for n, want := range map[int]string{129: "e09f212efe8aac3d", 241: "1608abded5c2f17f", 1000: "de20ce7caa4315f7"} {
		if got, _, _ := strings.Cut(chain(1, "blob", strings.Repeat("x", n)), " "); got != want || !strings.Contains(string(doc), want) {
			t.Errorf("%d times x: %s, want %s", n, got, want)
		}
	}
	if linkIndex(nameHash(1, "terms"), 7) != link(nameHash(1, "terms"), []byte{7, 0, 0, 0}) {
		t.Error("an index is not hashed as its four bytes")
	}
}

// The texts of a column are hashed as each of them is.
func TestLinkTexts(t *testing.T) {
	for i := range uint64(300) {
		c := batch.NewColumn(batch.String)
		h := nameHash(i, "seed")
		if i%10 == 0 {
			h = i
		}
		to := make([]uint32, i)
		for row := range i {
			text := fmt.Appendf(nil, "%016x", nameHash(i+row, "text"))
			if row%2 == 0 {
				binary.LittleEndian.PutUint64(text, nameHash(i+row, "bytes"))
			}
			c.AppendBytes(text[:nameHash(i+row, "length")%10])
		}
		const mask = 1<<30 - 1
		linkTexts(to, h, c, mask)
		for row := range to {
			if want := uint32(link(h, c.Text(row))) & mask; to[row] != want {
				t.Fatalf("%q after %x: %x, want %x", c.Text(row), h, to[row], want)
			}
		}
	}
}

// Categories have the indices that the chain gives them, whatever their length, type and
// place in a batch.
func TestCategories(t *testing.T) {
	var in strings.Builder
	in.WriteString("s:string,n:int64,t:string?,b:bool\n")
	var want []string
	for i := range 300 {
		s := strings.Repeat("é", i%3) + strings.Repeat("x", i%17)
		n, u, b := (i-20)*(1+i%3), strconv.Itoa(i*i), strconv.FormatBool(i%2 == 0)
		features := []string{}
		add := func(column, text string) {
			features = append(features, fmt.Sprintf("%d:1", nameHash(1, column, text)&(1<<18-1)))
		}
		add("s", s)
		add("n", strconv.Itoa(n))
		if i%5 == 0 {
			u = ""
		} else {
			add("t", u)
		}
		add("b", b)
		features = append(features, fmt.Sprintf("%d:1", nameHash(2, "s", "n", s, strconv.Itoa(n))&(1<<18-1)))
		fmt.Fprintf(&in, "%q,%d,%s,%s\n", s, n, u, b)
		want = append(want, strings.Join(features, " "))
	}
	out, err := optest.Run(operators.Merge(&Family).Lookup("vectorize"), "{categorical: [s, n, t, b], cross: [[s, n]]}", in.String())
	if err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSpace(out), "\n")[1:]
	for i, row := range rows {
		if got := row[strings.LastIndexByte(row, ',')+1:]; got != want[i] {
			t.Errorf("row %d: %s, want %s", i, row, want[i])
		}
	}
	if len(rows) != len(want) {
		t.Errorf("%d rows", len(rows))
	}
}

// The features of a row have the indices and values that the document gives them.
func TestVectorize(t *testing.T) {
	for _, c := range []struct{ what, config, in, want string }{
		{"number", "numeric: [price], scale: none", "price\n2.5\n-0\n", "102559:2.5\n102559:-0"},
		{"numbers of other types", "numeric: [price], scale: none", "price:bool?,z\ntrue,0\n,0\nfalse,0\n", "102559:1\n\n102559:0"},
		{"timestamp", "numeric: [price], scale: none", "price:timestamp\n1500\n", "102559:1500"},
		{"category", "categorical: [site]", "site:string?,z\na,0\n,0\n", "162640:1\n"},
		{"empty category", "categorical: [site]", "site:string,z\n,1\n", "37824:1"},
		{"int64 category", "categorical: [n]", "n:int64\n-17\n", "126251:1"},
		{"bool category", "categorical: [flag]", "flag:bool\ntrue\n", "15660:1"},
		{"crosses in order", "cross: [[user, site], [site, user]]", "user:string,site:string?\nu1,a\nu1,\n", "132328:1 61817:1\n"},
		{"token", "text: [message]", "message:string\n\"  HeLLo, hello! \"\n--\n", "38524:1\n"},
		{"counted tokens", "text: [message], tokens: count", "message:string\nhello hello hello\n", "38524:3"},
		{"characters", "text: [message], ngrams: 0, chars: {min: 3, max: 3}", "message:string\nhe\n", "27854:1 208431:1"},
		{"runs of tokens", "text: [message], ngrams: 2", "message:string\nhello\n", "38524:1"},
		{"sparse", "sparse: [terms]", "terms:sparse?,z\n7:0.5 4294967295:2,0\n,0\n", "241423:0.5 108848:2\n"},
		{"raw", "sparse: [terms], raw: true", "terms:sparse\n7:0.5 262143:2 7:1\n", "7:0.5 262143:2 7:1"},
		{"standard", "numeric: [price]", "price\n1\n3\n2\n", "102559:0\n102559:1\n102559:0"},
		{"null does not touch the scaler", "numeric: [price]", "price:float64?,z\n1,0\n,0\n3,0\n", "102559:0\n\n102559:1"},
		{"clipped", "numeric: [price], clip: 0.5", "price\n1\n3\n", "102559:0\n102559:0.5"},
		{"minmax", "numeric: [price], scale: minmax", "price\n1\n3\n2\n", "102559:0\n102559:1\n102559:0.5"},
		{"maxabs", "numeric: [price], scale: maxabs", "price\n-4\n2\n", "102559:-1\n102559:0.5"},
	} {
		t.Run(c.what, func(t *testing.T) {
			tables, err := optest.Parse(c.in)
			if err != nil {
				t.Fatal(err)
			}
			h, err := optest.Open(operators.Merge(&Family).Lookup("vectorize"), "{"+c.config+"}", tables[0].Rows.Schema)
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Feed(0, tables[0].Rows); err != nil {
				t.Fatal(err)
			}
			var got []string
			for row := range h.Output().N {
				idx, val := h.Output().Col("features").Row(row)
				var parts []string
				for k := range idx {
					parts = append(parts, fmt.Sprintf("%d:%v", idx[k], val[k]))
				}
				got = append(got, strings.Join(parts, " "))
			}
			if g := strings.Join(got, "\n"); g != c.want || len(h.Rejected) > 0 {
				t.Errorf("got %q, rejected %v, want %q", g, h.Rejected, c.want)
			}
		})
	}
}

// A rejected row leaves the scalers of its columns as they were.
func TestRejectedRows(t *testing.T) {
	const header = "a,b,x:sparse\n"
	config := "vectorize: {numeric: [a, b], sparse: [x], raw: true, bits: 8}"
	d := operators.Merge(&Family).Lookup("vectorize")
	out := func(rows string) (text string, rejected []optest.Rejected, digest uint64) {
		tables, err := optest.Parse(header + rows)
		if err != nil {
			t.Fatal(err)
		}
		h, err := optest.Open(d, config, tables[0].Rows.Schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Feed(0, tables[0].Rows); err != nil {
			t.Fatal(err)
		}
		return optest.Format(h.Output()), h.Rejected, h.Digest()
	}
	good, _, digest := out("1,2,3:1\n3,5,4:1\n-1,8,\n")
	mixed, rejected, same := out("1,2,3:1\n7,1e308,\n3,5,4:1\n9,9,256:1\n-1,8,\n8,-1.7e308,1:1\n")
	if mixed != good || same != digest {
		t.Errorf("rejected rows left traces:\n%s\n%s", mixed, good)
	}
	want := []string{`1 column "b": 1e+308 is too large to be scaled`, `3 column "x": index 256 is not below 256`, `5 column "b": -1.7e+308 is too large to be scaled`}
	for i, r := range rejected {
		if got := fmt.Sprintf("%d %s", r.Row, r.Why); i >= len(want) || got != want[i] {
			t.Errorf("rejected %q", got)
		}
	}
	if len(rejected) != len(want) {
		t.Errorf("%d rows were rejected, want %d", len(rejected), len(want))
	}
	text, err := optest.Run(d, "{numeric: [a], scale: none}", "a\n1e39\n1e38\n")
	if err != nil || !strings.Contains(text, `rejected 0: column "a": 1e+39 does not fit a float32`) || !strings.Contains(text, "1e+38,") {
		t.Errorf("got %q, %v", text, err)
	}
}

// What cannot work is said when the pipeline is loaded.
func TestConfigurations(t *testing.T) {
	const in = "n:int64,s:string,f:float64,x:sparse\n"
	for config, want := range map[string]string{
		"{}":                                   "there is nothing to vectorize",
		"{numeric: [s]}":                       `column "s" is string`,
		"{categorical: [f]}":                   `column "f" is float64`,
		"{text: [n]}":                          `column "n" is int64`,
		"{sparse: [f]}":                        `column "f" is float64`,
		"{cross: [[s]]}":                       "cross[0] has 1 columns",
		"{cross: [[s, m]]}":                    `no column "m"`,
		"{numeric: [n], bits: 7}":              "bits is 7",
		"{numeric: [n], bits: 31}":             "bits is 31",
		"{numeric: [n], scale: robus}":         "scale is",
		"{text: [s], polynomial: 2}":           "there are no numbers to multiply",
		"{dates: [s]}":                         `column "s" is string`,
		"{dates: [n], cycles: [hour]}":         `expected one of day, week, year`,
		"{numeric: [n], missing: nan}":         "missing is",
		"{numeric: [n], half_life: 0}":         "half_life is 0",
		"{numeric: [n], fading: 0.1}":          `unknown field "fading"; expected half_life, the values after which`,
		"{numeric: [n], window: 3}":            "window is 3",
		"{numeric: [n], as: f}":                `column "f" exists already`,
		"{numeric: [n], ngrams: 0}":            "ngrams is 0",
		"{text: [s], chars: {min: 5, max: 3}}": "min is 5, above max: 3",
		"{categorical: [s], numeric: [f, g]}":  `no column "g"`,
	} {
		if _, err := optest.Run(operators.Merge(&Family).Lookup("vectorize"), config, in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", config, err, want)
		}
	}
}

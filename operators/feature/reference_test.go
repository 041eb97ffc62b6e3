package feature

import (
	"encoding/csv"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// reference reads a file that testdata/reference/make.py wrote with River,
// scikit-learn and NumPy.
func reference(t *testing.T, name string) (rows []map[string]string) {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", "reference", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all[1:] {
		row := map[string]string{}
		for i, cell := range r {
			row[all[0][i]] = cell
		}
		rows = append(rows, row)
	}
	return rows
}

func parse(t *testing.T, text string) float64 {
	t.Helper()
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// rowsOf makes a table of a header and some columns of rows.
func rowsOf(header string, rows []map[string]string, columns ...string) string {
	var b strings.Builder
	b.WriteString(header + "\n")
	for _, r := range rows {
		for i, c := range columns {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(r[c])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// features runs vectorize and returns the features of each row.
func features(t *testing.T, config, in string) (rows [][]float32, index [][]uint32) {
	t.Helper()
	h, table := opened(t, config, in)
	if err := h.Feed(0, table.Rows); err != nil {
		t.Fatal(err)
	}
	out := h.Output()
	for row := range out.N {
		i, v := out.Col("features").Row(row)
		rows, index = append(rows, slices.Clone(v)), append(index, slices.Clone(i))
	}
	return rows, index
}

// Scalers agree with River's, which also learn a value and scale it then.
func TestScalersAgreeWithRiver(t *testing.T) {
	want := reference(t, "scalers.csv")
	in := rowsOf("x", want, "x")
	for scaler, more := range map[string]string{"standard": "", "adaptive": ", half_life: 1.9433580232", "minmax": "", "maxabs": ""} {
		got, _ := features(t, "{bits: 8, numeric: [x], clip: 0, scale: "+scaler+more+"}", in)
		for row := range want {
			if w := parse(t, want[row][scaler]); math.Abs(float64(got[row][0])-w) > 2e-6*(1+math.Abs(w)) {
				t.Fatalf("%s, row %d: %v, River has %v", scaler, row, got[row][0], w)
			}
		}
	}
	// Their robust scaler estimates quartiles; NumPy's of the last 50 values are exact.
	got, _ := features(t, "{bits: 8, numeric: [x], clip: 0, scale: robust, window: 50}", in)
	for row := range want {
		if w := parse(t, want[row]["robust"]); math.Abs(float64(got[row][0])-w) > 2e-6*(1+math.Abs(w)) {
			t.Fatalf("robust, row %d: %v, NumPy has %v", row, got[row][0], w)
		}
	}
}

func TestTFIDFAgreesWithScikitLearn(t *testing.T) {
	want := reference(t, "tfidf.csv")
	got, index := features(t, "{bits: 24, text: [m], ngrams: 2, tokens: tfidf}", rowsOf("m:string", want, "text"))
	for row := range want {
		weights := strings.Split(want[row]["weights"], "|")
		if len(weights) != len(got[row]) {
			t.Fatalf("row %d has %d features, scikit-learn %d", row, len(got[row]), len(weights))
		}
		for _, w := range weights {
			token, weight, _ := strings.Cut(w, ":")
			k := slices.Index(index[row], uint32(nameHash(textSeed, append([]string{"m"}, strings.Fields(token)...)...))&(1<<24-1))
			if k < 0 || math.Abs(float64(got[row][k])-parse(t, weight)) > 1e-6 {
				t.Fatalf("row %d, %q: %v, scikit-learn has %s", row, token, got[row], weight)
			}
		}
	}
}

func TestCharactersAgreeWithScikitLearn(t *testing.T) {
	for row, want := range reference(t, "chars.csv") {
		got, index := features(t, "{bits: 24, text: [m], ngrams: 0, tokens: count, chars: {min: "+want["min"]+", max: 4}}", "m:string\n"+want["text"]+"\n")
		runs := strings.Split(want["runs"], "|")
		if len(runs) != len(got[0]) {
			t.Fatalf("row %d has %d features, scikit-learn %d", row, len(got[0]), len(runs))
		}
		for _, r := range runs {
			run, n, _ := strings.Cut(r, ":")
			k := slices.Index(index[0], uint32(nameHash(charSeed, "m", run))&(1<<24-1))
			if k < 0 || float64(got[0][k]) != parse(t, n) {
				t.Fatalf("row %d, %q: %v, scikit-learn has %s", row, run, got[0], n)
			}
		}
	}
}

func TestPolynomialAgreesWithScikitLearn(t *testing.T) {
	want := reference(t, "polynomial.csv")
	got, index := features(t, "{bits: 24, numeric: [a, b, c], scale: none, polynomial: 3}", rowsOf("a,b,c", want, "a", "b", "c"))
	for row := range want {
		terms := strings.Split(want[row]["features"], "|")
		if len(terms) != len(got[row]) {
			t.Fatalf("row %d has %d features, scikit-learn %d", row, len(got[row]), len(terms))
		}
		for k, term := range terms { // in the same order
			name, value, _ := strings.Cut(term, ":")
			var factors []string
			for _, f := range strings.Fields(name) {
				base, power, ok := strings.Cut(f, "^")
				n := 1
				if ok {
					n = int(parse(t, power))
				}
				factors = append(factors, slices.Repeat([]string{base}, n)...)
			}
			if w := parse(t, value); math.Abs(float64(got[row][k])-w) > 1e-6*(1+math.Abs(w)) || index[row][k] != uint32(nameHash(uint64(len(factors)), factors...))&(1<<24-1) {
				t.Fatalf("row %d: %s is %v at %d, scikit-learn has %v", row, name, got[row][k], index[row][k], w)
			}
		}
	}
}

func TestDatesAgreeWithNumPy(t *testing.T) {
	want := reference(t, "dates.csv")
	got, _ := features(t, "{bits: 24, dates: [ms]}", rowsOf("ms:int64", want, "ms"))
	for row := range want {
		for k, name := range []string{"sin day", "cos day", "sin week", "cos week", "sin year", "cos year"} {
			if w := parse(t, want[row][name]); math.Abs(float64(got[row][k])-w) > 1e-7 {
				t.Fatalf("%s ms, %s: %v, NumPy has %v", want[row]["ms"], name, got[row][k], w)
			}
		}
	}
}

// What a null gives, and that it teaches nothing.
func TestMissing(t *testing.T) {
	const in = "x:float64?\n2\n\n4\n\n"
	for policy, want := range map[string]string{
		"absent":    "[[2] [] [4] []]",
		"mean":      "[[2] [2] [4] [3]]",
		"zero":      "[[2] [0] [4] [0]]",
		"indicator": "[[2] [1] [4] [1]]",
	} {
		got, index := features(t, "{bits: 18, numeric: [x], scale: none, missing: "+policy+"}", strings.ReplaceAll(in, "\n\n", "\n\"\"\n"))
		if fmt.Sprint(got) != want {
			t.Errorf("%s: %v, want %s", policy, got, want)
		}
		if policy == "indicator" && (index[1][0] == index[0][0] || index[1][0] != index[3][0]) {
			t.Errorf("indices %v", index)
		}
	}
	// A null is scaled like what stands for it: with minmax, of 2 and 4, the mean is a half.
	got, _ := features(t, "{bits: 18, numeric: [x], scale: minmax, missing: mean}", "x:float64?\n\"\"\n2\n4\n\"\"\n")
	if fmt.Sprint(got) != "[[] [0] [1] [0.5]]" {
		t.Errorf("minmax: %v", got)
	}
}

// A robust scale is not moved by absurd values below a quarter.
func TestRobustScale(t *testing.T) {
	var b strings.Builder
	b.WriteString("x\n")
	for i := range 2000 {
		x := 10 + 2*math.Sin(float64(i*i))
		if i%10 == 9 {
			x = 1e9
		}
		fmt.Fprintln(&b, x)
	}
	b.WriteString("10\n12\n8\n")
	got, _ := features(t, "{bits: 8, numeric: [x], scale: robust}", b.String())
	n := len(got)
	for i, want := range []float32{0, 0.7, -0.7} {
		if d := got[n-3+i][0] - want; d < -0.2 || d > 0.2 {
			t.Errorf("score of ordinary value %d is %v, want about %v", i, got[n-3+i][0], want)
		}
	}
	for i := 99; i < 2000; i += 10 {
		if got[i][0] != 5 {
			t.Fatalf("row %d: an absurd value scores %v, want the clip 5", i, got[i][0])
		}
	}
}

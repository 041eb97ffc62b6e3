package reference

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/internal/testutil/columns"
	"github.com/gradstream/gradstream/operators/learn/gaussian"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// electricity is the whole set of which electricity_tiny is the beginning, its
// classes exchanged.
func electricity(t *testing.T) *batch.Batch {
	t.Helper()
	header, cells := columns.Read(t, filepath.Join(streams, "electricity.columns.gz"), 45312)
	header[0] += ":int64"
	var b strings.Builder
	b.WriteString(strings.Join(header, ",") + "\n")
	for row := range cells[0] {
		for i, c := range cells {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(c[row])
		}
		b.WriteByte('\n')
	}
	tables, err := optest.Parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	return tables[0].Rows
}

const electricityColumns = "label: y, numeric: [period, nswprice, nswdemand, vicprice, vicdemand, transfer], predict: class, classes: ['1', '0']"

// MOA says 73.63391596: it multiplies densities, and where the products of all
// classes underflow calls its first class. The operator adds logarithms and calls
// these rows by them. The products of the same densities are done here beside it.
func TestNaiveBayesWholeElectricity(t *testing.T) {
	rows := electricity(t)
	out, _ := alone(t, rows, "gaussian_naive_bayes: {"+electricityColumns+", density: plain}")
	v := judge(out)
	near(t, "accuracy", 100*v.accuracy(), 73.64936441, 6e-9)

	var count, called [2]float64
	var moments [2][6]gaussian.Moments
	right, same, underflows, otherwise := 0.0, 0.0, 0, 0
	y := rows.Cols[0].Ints
	for row, label := range y {
		p := [2]float64{}
		for class, n := range count {
			p[class] = n
			for i, m := range moments[class] {
				if n > 0 {
					p[class] *= math.Exp(gaussian.LogDensity(rows.Cols[1+i].Floats[row], m.Mean, m.Variance()))
				}
			}
		}
		call := 1
		if p[0] > p[1] {
			call = 0
		}
		if p[0] == 0 && p[1] == 0 && row > 1 {
			underflows++
		}
		if row > 0 && (call == 1) != (out.Col("m.class").TextString(row) == "1") {
			otherwise++
		}
		if call == int(label) {
			right++
		}
		if row > 0 && label == y[row-1] {
			same++
		}
		called[call]++
		count[label]++
		for i := range moments[label] {
			moments[label][i].Add(rows.Cols[1+i].Floats[row])
		}
	}
	n := float64(rows.N)
	chance := (count[0]*called[0] + count[1]*called[1]) / (n * n)
	t.Logf("%d underflows, %d rows called otherwise", underflows, otherwise)
	near(t, "accuracy of products", 100*right/n, 73.63391596, 6e-9)
	near(t, "kappa of products", 100*(right/n-chance)/(1-chance), 42.82251247, 6e-9)
	near(t, "kappa of products against the label before", 100*(right-same)/(n-same), -79.70818291, 6e-9)
	near(t, "accuracy of the label before", 100*same/n, 85.32838983, 6e-9)
}

package learn

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators/optest"
)

// The parts of a score add up to it, bit for bit, whatever the optimizer, and are
// of the weights from before the row.
func TestExplain(t *testing.T) {
	var lines []string
	for i := range 300 {
		lines = append(lines, fmt.Sprintf("%d:1 %d:%g %d:-0.3,%d", i%7, 8+i%5, 1/float64(1+i%9), i%3, (i*i)%2))
	}
	const header = "features:sparse[16],y:int64?\n"
	for _, c := range []struct{ operator, config string }{
		{"logistic_regression", "{label: y}"},
		{"logistic_regression", "{label: y, loss: hinge, optimizer: ftrl, l1: 0.01, intercept: false}"},
		{"logistic_regression", "{label: y, optimizer: {nesterov: {rate: 0.1}}, intercept: {rate: 0.01}}"},
		{"linear_regression", "{label: y, optimizer: {sgd: {rate: 0.1}}}"},
		{"linear_regression", "{label: y, optimizer: adam, loss: huber}"},
		{"linear_regression", "{label: y, bounds: seen}"},
	} {
		tables, err := optest.Parse(header + strings.Join(lines, "\n") + "\n")
		if err != nil {
			t.Fatal(err)
		}
		rows := tables[0].Rows
		h := runner(t, c.operator, c.config, header+strings.Join(lines, "\n")+"\n")
		// Row by row: explained, then processed.
		one, err := optest.Open(definition(t, c.operator), c.config, rows.Schema)
		if err != nil {
			t.Fatal(err)
		}
		score := h.Output().Col(optest.NodeName + ".score").Floats
		for row, line := range lines {
			before := one.Digest()
			x, ok := one.Node.Explain(rows, row)
			if !ok || x.Features != "features" || len(x.Contributions) != 3 || one.Digest() != before {
				t.Fatalf("%s %s, row %d: %+v, %v", c.operator, c.config, row, x, ok)
			}
			if b := math.Float64bits(score[row]); b != math.Float64bits(x.Score) || b != math.Float64bits(x.Sum()) {
				t.Fatalf("%s %s, row %d: the score is %v, explained as %v, sum %v", c.operator, c.config, row, score[row], x.Score, x.Sum())
			}
			for _, p := range x.Contributions {
				if p.Amount != float32(p.Value*p.Weight) {
					t.Fatalf("row %d: %+v", row, p)
				}
			}
			if c.config == "{label: y}" && row > 100 && x.Intercept == 0 {
				t.Errorf("row %d: no intercept", row)
			}
			next, err := optest.Parse(header + line + "\n")
			if err != nil {
				t.Fatal(err)
			}
			if err := one.Feed(0, next[0].Rows); err != nil {
				t.Fatal(err)
			}
		}
	}
}

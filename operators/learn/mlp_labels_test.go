package learn

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/state/weights"
)

// labelledRows are rows of two labels, the second of which is as given.
func labelledRows(n int, second func(i int) string) string {
	var b strings.Builder
	b.WriteString("features:sparse[8],y:bool?,z:float64?\n")
	for i := range n {
		x, v := float64(i%13)/6-1, float64(i*i%17)/8-1
		y := fmt.Sprint(x*v > 0)
		if i%7 == 3 {
			y = ""
		}
		fmt.Fprintf(&b, "%d:%v %d:%v 5:1,%s,%s\n", i%2, x, 2+i%3, v, y, second(i))
	}
	return b.String()
}

// A label that is never known moves nothing: the other one is predicted to the bit as
// by a network that has it alone, and that is the one with `label` but for where the
// intercept lies, and how finely.
func TestLabelNeverKnown(t *testing.T) {
	rows := labelledRows(400, func(int) string { return "" })
	for _, options := range []string{"units: 4", "units: 3, layers: 2, optimizer: adam, l2: 0.001", "units: 4, activation: tanh, optimizer: adagrad, clip: 0.2"} {
		column := func(config, name string) []float64 {
			h := runner(t, "mlp", "{"+config+", "+options+"}", rows)
			if len(h.Rejected) > 0 {
				t.Fatal(h.Rejected[0])
			}
			return h.Output().Col(name).Floats
		}
		alone, beside, single := column("labels: [y]", "node.y.score"), column("labels: [y, z]", "node.y.score"), column("label: y", "node.score")
		for row, s := range alone {
			if s != beside[row] {
				t.Fatalf("%s: row %d has score %v beside a label that nobody knows, alone %v", options, row, beside[row], s)
			}
			if math.Abs(s-single[row]) > 2e-3*(1+math.Abs(s)) {
				t.Fatalf("%s: row %d has score %v with labels: [y], %v with label: y", options, row, s, single[row])
			}
		}
	}
}

// A step goes down the gradient of the sum of the losses of those labels that a row
// has, as differences of the losses show.
func TestLabelsGradient(t *testing.T) {
	const config = "{labels: [y, z], units: 3, layers: 2, activation: tanh, label_scale: none, clip: 0, optimizer: {sgd: {rate: 1}}}"
	const header, x = "features:sparse[8],y:bool?,z:float64?\n", "1:0.5 3:-1.25 5:1,"
	for _, labels := range []string{"true,0.75", "false,", ",-0.5"} {
		h := runner(t, "mlp", strings.Replace(config, "rate: 1", "rate: 0.1", 1), labelledRows(60, func(i int) string { return fmt.Sprint(float64(i%5) / 5) }))
		table := func(h *optest.Harness) *weights.Table {
			for _, s := range h.Node.States() {
				if s.ID.Name == "weights" {
					return s.State.(*weights.Table)
				}
			}
			t.Fatal("no weights")
			return nil
		}
		start := table(h).Data
		// lossAt is the loss of the row with these weights, and the weights behind its step.
		lossAt := func(w []float32) (lost float64, after []float32) {
			h := runner(t, "mlp", config, header)
			copy(table(h).Data, w)
			feed(t, h, header+x+labels+"\n")
			for _, c := range []string{"node.y.loss", "node.z.loss"} {
				if c := h.Output().Col(c); !c.Null(0) {
					lost += c.Floats[0]
				}
			}
			return lost, table(h).Data
		}
		_, after := lossAt(start)
		moved := 0
		for i := range start {
			const step = 1.0 / 128
			w := append([]float32(nil), start...)
			w[i] = start[i] + step
			above, _ := lossAt(w)
			w[i] = start[i] - step
			below, _ := lossAt(w)
			slope, got := (above-below)/(2*step), float64(start[i]-after[i])
			if start[i] == 0 && i < 8*3 && got != 0 {
				t.Errorf("labels %s: weight %d, of a feature the row does not have, moved", labels, i)
			}
			if math.Abs(slope-got) > 1e-3*(1+math.Abs(slope)) {
				t.Errorf("labels %s: the loss rises by %v times weight %d, the step is %v", labels, slope, i, got)
			}
			if got != 0 {
				moved++
			}
		}
		// 3 features, 3 + 3 biases and 9 weights between layers, and 4 weights of each label that is known.
		if want := 3*3 + 3 + 9 + 3 + 4*(2-strings.Count(labels+",", ",,")-strings.Count(","+labels, ",,")); moved != want {
			t.Errorf("labels %s: %d weights moved, want %d", labels, moved, want)
		}
	}
}

// Labels that one layer can serve are learnt better together where each is seldom known.
func TestLabelsHelpEachOther(t *testing.T) {
	const n = 6000
	var b strings.Builder
	b.WriteString("features:sparse[8],a:bool?,b:bool?\n")
	for i := range n {
		x := 2*float64(scatter(uint64(2*i))>>11)*0x1p-53 - 1
		v := 2*float64(scatter(uint64(2*i+1))>>11)*0x1p-53 - 1
		y := fmt.Sprint(x*v > 0)
		if i%10 == 0 {
			fmt.Fprintf(&b, "1:%v 2:%v,%s,%s\n", x, v, y, y)
		} else {
			fmt.Fprintf(&b, "1:%v 2:%v,,%s\n", x, v, y)
		}
	}
	lossOf := func(config, name string) float64 {
		h := runner(t, "mlp", "{"+config+", units: 8, optimizer: adagrad}", b.String())
		c, sum, rows := h.Output().Col(name), 0.0, 0.0
		for row := n / 2; row < n; row++ {
			if !c.Null(row) {
				sum, rows = sum+c.Floats[row], rows+1
			}
		}
		return sum / rows
	}
	alone, together := lossOf("label: a", "node.loss"), lossOf("labels: [a, b]", "node.a.loss")
	t.Logf("the label that one row in ten has: loss %.4f alone, %.4f beside the other", alone, together)
	if !(together < alone) {
		t.Errorf("alone %v, together %v", alone, together)
	}
}

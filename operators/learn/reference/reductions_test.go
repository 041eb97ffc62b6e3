package reference

import (
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators/learn/loss"
	"github.com/gradstream/gradstream/operators/learn/optim"
)

// One logistic regression for each of four classes; the class of the greatest score
// is called. The set is probabilities.dat: the rows of 0001.dat with the classes
// below. --oaa 4 --probabilities --loss_function logistic.
func TestNormalizedClasses(t *testing.T) {
	const classes = "12322322312322311322312322321312321312312322322312313213231242124224214112412224221422114221124212112124212231132122311221311121232121321113221311132113123113124224211241122122411112122412211222211221"
	r, err := optim.New[float64](powered(0.5))
	if err != nil {
		t.Fatal(err)
	}
	var tabs [4][]float64
	var shared [4]optim.Shared
	for c := range tabs {
		tabs[c] = make([]float64, r.Slots()<<18)
	}
	wrong, f := 0, loss.Func{}
	rows := vwRows(t, "0001", 0, 18, 4)
	for i, row := range rows {
		var p [4]float64
		best := 0
		for c := range tabs {
			p[c] = max(-50, min(50, optim.Dot(tabs[c], r.Slots(), row.idx, row.val)))
			if p[c] > p[best] {
				best = c
			}
		}
		class := strings.IndexByte("1234", classes[i])
		if best != class {
			wrong++
		}
		for c := range tabs {
			label := -1.0
			if c == class {
				label = 1
			}
			r.Shared = shared[c]
			norm, err := r.Adapt(tabs[c], row.idx, row.val, f.Gradient(p[c], label), 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Move(tabs[c], row.idx, f.Invariant(p[c], label, r.Rate(), norm)); err != nil {
				t.Fatal(err)
			}
			shared[c] = r.Shared
		}
	}
	near(t, "share of wrong rows", float64(wrong)/float64(len(rows)), .45, 1e-9)
}

// The constant learns the label first, and then the other features what it left
// over: --baseline.
func TestNormalizedBaseline(t *testing.T) {
	v := newVWRun(t, 18, loss.Func{Kind: loss.Squared}, powered(0.5))
	rows := vwRows(t, "0001", 0, 18, 4)
	sum := 0.0
	for _, row := range rows {
		n := len(row.idx) - 1 // the constant comes last
		score := func(from, to int) float64 {
			return optim.Dot(v.tab, v.rule.Slots(), row.idx[from:to], row.val[from:to])
		}
		p := v.held.hold(score(0, n+1), row.label)
		sum += v.loss.Value(p, row.label)
		learn := func(from, to int, p float64) {
			norm, err := v.rule.Adapt(v.tab, row.idx[from:to], row.val[from:to], v.loss.Gradient(p, row.label), 1)
			if err != nil {
				t.Fatal(err)
			}
			if err := v.rule.Move(v.tab, row.idx[from:to], v.loss.Invariant(p, row.label, v.rule.Rate(), norm)); err != nil {
				t.Fatal(err)
			}
		}
		base := v.held.hold(score(n, n+1), row.label)
		learn(n, n+1, base)
		learn(0, n, v.held.hold(base+score(0, n), row.label))
	}
	near(t, "mean loss", sum/float64(len(rows)), .190247, 6e-7)
}

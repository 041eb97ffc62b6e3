package learn

import (
	"fmt"
	"strings"
	"testing"
)

// A model that is stopped in the middle and goes on from its checkpoint comes to the
// same bits as one that was not, under every optimizer and for every learner.
func TestResumeInMidStream(t *testing.T) {
	const n = 1000
	rows := func(label func(i int) string) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = fmt.Sprintf("%d:%v %d:%v %d:1,%s", i%7, float64(i%13)/13, 8+i%5, float64(i*i%17)/17-0.5, 20+i*i%11, label(i))
		}
		return out
	}
	numbers := rows(func(i int) string { return fmt.Sprint(float64(i%7) + float64(i*i%17)/17) })
	classes := rows(func(i int) string { return []string{"a", "b", "c", "d"}[(i%7+i*i%3)%4] })
	for _, c := range []struct {
		operator, label string
		rows            []string
	}{{"linear_regression", "y", numbers}, {"softmax", "y:string", classes}, {"one_vs_rest", "y:string", classes}} {
		for _, o := range []string{
			"sgd", "{sgd: {invariant: true}}", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adadelta", "adamax", "nadam",
			"amsgrad", "adabound", "ftrl", "normalized", "coin", "pistol", "freegrad", "mixture",
		} {
			header := "features:sparse[64]," + c.label + "\n"
			config := "{label: y, optimizer: " + o + "}"
			whole := runner(t, c.operator, config, header+strings.Join(c.rows, "\n"))
			part := runner(t, c.operator, config, header+strings.Join(c.rows[:n/2], "\n"))
			if err := part.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			if err := part.Restart(); err != nil {
				t.Fatal(err)
			}
			feed(t, part, header+strings.Join(c.rows[n/2:], "\n"))
			if len(whole.Rejected)+len(part.Rejected) > 0 {
				t.Fatalf("%s, %s: %v %v", c.operator, o, whole.Rejected, part.Rejected)
			}
			if whole.Digest() != part.Digest() || whole.Text() != part.Text() {
				t.Errorf("%s, %s: the model that was stopped differs", c.operator, o)
			}
		}
	}
}

// What a null user chose has no vector before somebody known chooses it: one that
// came to be without a step on it would not be stored.
func TestResumeAfterNullUsers(t *testing.T) {
	const header = "user:string?,item:string\n"
	const first, rest = "ann,x\n,y\n,z\n,v\n,w\n", "ann,y\nann,z\nbob,v\nann,w\nann,x\n"
	const config = "{user: user, item: item, bits: 8, factors: 1000}" // an item takes more than a page
	whole := runner(t, "bpr", config, header+first+rest)
	part := runner(t, "bpr", config, header+first)
	if err := part.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	if err := part.Restart(); err != nil {
		t.Fatal(err)
	}
	feed(t, part, header+rest)
	if whole.Digest() != part.Digest() || whole.Text() != part.Text() {
		t.Errorf("the model that was stopped differs: %s, not stopped: %s", part.Text(), whole.Text())
	}
}

// A model that has no room for further classes goes on with more room.
func TestMoreClasses(t *testing.T) {
	const in = "features:sparse[8],y:string\n1:1,a\n2:1,b\n1:1,a\n3:1,c\n"
	for _, o := range []string{"softmax", "one_vs_rest", "perceptron", "passive_aggressive", "mlp", "factorization_machine"} {
		full, roomy := runner(t, o, "{label: y, max_classes: 2}", in), runner(t, o, "{label: y, max_classes: 3}", in[:strings.Index(in, "\n")+1])
		for i, from := range full.Node.States() {
			to := roomy.Node.States()[i]
			if to.ID != from.ID {
				t.Errorf("%s: state %v, was %v", o, to.ID, from.ID)
			}
			from.State.All(func(key, value []byte) bool {
				if err := to.State.Load(key, value); err != nil {
					t.Fatal(err)
				}
				return true
			})
		}
		feed(t, roomy, in)
		if len(full.Rejected) != 1 || len(roomy.Rejected) != 0 || roomy.Output().Col("node.version").Ints[0] == 0 {
			t.Errorf("%s: %v rejected, then %v", o, full.Rejected, roomy.Rejected)
		}
	}
}

// What a checkpoint copies of a learner of a margin are the two models that a row
// moved, however many classes there are.
func TestMarginCheckpoints(t *testing.T) {
	for _, o := range []string{"perceptron", "passive_aggressive"} {
		h := runner(t, o, "{label: y}", "features:sparse[8],y:string\n1:1,a\n2:1,b\n3:1,c\n1:1,a\n2:1,b\n3:1,c\n")
		pages := func() (n int) {
			for _, s := range h.Node.States() {
				if s.ID.Name == "weights" {
					s.State.Changed(func(_, _ []byte) bool { n++; return true })
				}
			}
			return n
		}
		pages()
		feed(t, h, "features:sparse[8],y:string\n3:1,a\n")
		if n := pages(); n != 2 {
			t.Errorf("%s: a row of three classes changes %d pages, want 2", o, n)
		}
		feed(t, h, "features:sparse[8],y:string\n1:5,a\n1:5,a\n")
		pages()
		feed(t, h, "features:sparse[8],y:string\n1:5,a\n")
		if n := pages(); n != 0 {
			t.Errorf("%s: a row that is right changes %d pages", o, n)
		}
	}
}

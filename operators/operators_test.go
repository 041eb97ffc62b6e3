package operators

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// fake is an operator made of a function.
type fake func(in *batch.Batch, out Emitter) error

func (f fake) Process(_ int, in *batch.Batch, out Emitter) error { return f(in, out) }

type noConfig struct{}

func (*noConfig) Fields(*spec.Fields) {}

func node(t *testing.T, in *batch.Schema, build func(env *Env) Operator) (*Node, spec.Errors) {
	t.Helper()
	d := Define(Spec[noConfig]{Name: "fake", Build: func(_ *noConfig, env *Env) Operator { return build(env) }})
	return d.Build(d.New(), BuildOptions{Node: "m", Inputs: []*batch.Schema{in}, Task: 3})
}

var schema = batch.NewSchema(
	batch.Field{Name: "x", Type: batch.Float64}, batch.Field{Name: "s", Type: batch.String, Nullable: true}, batch.Field{Name: "ctr.probability", Type: batch.Float64},
	batch.Field{Name: "y", Type: batch.Bool, Nullable: true}, batch.Field{Name: "n", Type: batch.Int64}, batch.Field{Name: "kind.class", Type: batch.String}, batch.Field{Name: "eta.prediction", Type: batch.Float64})

// rows makes a batch whose x counts from first.
func rows(first, n int) *batch.Batch {
	b := batch.New(schema)
	for i := range n {
		b.Cols[0].AppendFloat(float64(first + i))
		b.Cols[1].AppendString(fmt.Sprint("s", first+i))
		b.Cols[2].AppendFloat(0.25)
		b.Cols[3].AppendBool(true)
		b.Cols[4].AppendInt(int64(i))
		b.Cols[5].AppendString("a")
		b.Cols[6].AppendFloat(1)
		b.Origin.Append(int64(first+i), 0, int32(i))
	}
	b.N = n
	return b
}

// Rejected rows are left out of what is emitted of the input, whichever they
// are; a batch of the operator's own is passed on whole.
func TestRejectedRowsAreLeftOut(t *testing.T) {
	reject := map[int]bool{}
	own := false
	var mine *batch.Batch
	build := func(env *Env) Operator {
		if own {
			mine = env.Output(batch.Field{Name: "x", Type: batch.Float64})
		}
		var twice, name Col
		if !own {
			twice, name = env.AddOwn("twice", batch.Float64, false), env.AddOwn("name", batch.String, false)
		}
		return fake(func(in *batch.Batch, out Emitter) error {
			if own {
				mine.Reset()
				mine.Like(in)
			}
			for row := range in.N {
				if reject[row] {
					out.Reject(row, errors.New("bad"))
					out.Reject(row, errors.New("bad again"))
				}
				if own {
					mine.Cols[0].AppendFloat(in.Cols[0].Floats[row])
					mine.EndRow(in, row)
					continue
				}
				twice.Of(in).Floats[row] = 2 * in.Cols[0].Floats[row]
				name.Of(in).AppendString(string(in.Cols[1].Text(row)) + "!")
			}
			if own {
				return out.Emit(mine)
			}
			return out.Emit(in)
		})
	}
	for _, own = range []bool{false, true} {
		n, errs := node(t, schema, build)
		if errs != nil {
			t.Fatal(errs)
		}
		for _, rejected := range [][]int{nil, {0}, {4}, {1, 2}, {0, 1, 2, 3, 4}, {0, 2, 4}, nil} {
			clear(reject)
			for _, row := range rejected {
				reject[row] = true
			}
			var got, want, refused []string
			n.Next = func(b *batch.Batch) error {
				for row := range b.N {
					got = append(got, fmt.Sprint(b.Cols[0].Floats[row], b.Origin.Offset[row]))
					if !own {
						got[len(got)-1] += fmt.Sprint(" ", b.Col("m.twice").Floats[row], " ", b.Col("m.name").TextString(row))
					}
				}
				return nil
			}
			n.OnReject = func(_ *batch.Batch, row int, why error) { refused = append(refused, fmt.Sprint(row, why)) }
			if err := n.Process(0, rows(10, 5)); err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				switch x := 10 + i; {
				case own:
					want = append(want, fmt.Sprint(float64(x), x))
				case !reject[i]:
					want = append(want, fmt.Sprint(float64(x), x, " ", 2*x, " s", x, "!"))
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("own %v, rejected %v: emitted %q, want %q", own, rejected, got, want)
			}
			if len(refused) != len(rejected) {
				t.Errorf("own %v, rejected %v: reported %q", own, rejected, refused)
			}
		}
	}
}

func TestRejectOutOfOrderPanics(t *testing.T) {
	n, _ := node(t, schema, func(*Env) Operator {
		return fake(func(_ *batch.Batch, out Emitter) error {
			out.Reject(3, errors.New("bad"))
			out.Reject(1, errors.New("bad"))
			return nil
		})
	})
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "m rejected row 1 after row 3") {
			t.Errorf("panic is %v", p)
		}
	}()
	_ = n.Process(0, rows(0, 5))
}

// An error downstream comes back; nothing is passed on for an empty batch.
func TestErrorsComeBack(t *testing.T) {
	n, _ := node(t, schema, func(*Env) Operator { return fake(func(in *batch.Batch, out Emitter) error { return out.Emit(in) }) })
	broken := errors.New("broken")
	n.Next = func(*batch.Batch) error { return broken }
	if err := n.Process(0, rows(0, 2)); !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
	if err := n.Process(0, rows(0, 0)); err != nil {
		t.Errorf("an empty batch was passed on: %v", err)
	}
}

func column(name string) spec.Column {
	return spec.Column{Name: name, Pos: spec.Pos{File: "f", Line: 2, Col: 3}}
}

func TestComplaints(t *testing.T) {
	for _, c := range []struct {
		do   func(env *Env)
		want string
	}{
		{func(env *Env) { env.In(column("xx")) }, `f:2:3: no column "xx"; expected one of x, s, ctr.probability, y, n, kind.class, eta.prediction`},
		{func(env *Env) { env.In(column("price"), batch.Bool) }, `f:2:3: no column "price"; expected y`},
		{func(env *Env) { env.In(column("price"), batch.Sparse) }, `f:2:3: no column "price"; expected a column of type sparse, but the input has none`},
		{func(env *Env) { env.In(column("s"), batch.Bool, batch.Int64) }, `f:2:3: column "s" is string?; expected bool or int64`},
		{func(env *Env) { env.InNumber(column("s")) }, `f:2:3: column "s" is string?; expected bool, int64, float64 or timestamp`},
		{func(env *Env) { env.Add(batch.Field{Name: "x", Type: batch.Bool}) }, `column "x" exists already; expected another name for this operator or column`},
		{func(env *Env) { env.AddOwn("a", batch.Bool, false); env.AddOwn("a", batch.Bool, false) }, `column "m.a" exists already`},
		{func(env *Env) { env.Prediction(column("ctt"), column("yy")) }, `f:2:3: no column "ctt", and no predictions of a node of that name; did you mean "ctr"?` + "\n" + `f:2:3: no column "yy"; expected one of x, s, ctr`},
		{func(env *Env) { env.Prediction(column("ctr"), column("s")) }, `f:2:3: column "s" is string?; expected bool, int64 or float64`},
		{func(env *Env) { env.Prediction(column("kind"), column("x")) }, `f:2:3: column "x" is float64; expected string, int64 or bool`},
	} {
		_, errs := node(t, schema, func(env *Env) Operator {
			c.do(env)
			return fake(func(*batch.Batch, Emitter) error { return nil })
		})
		if err := errs.Err(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}

func TestPredictionKinds(t *testing.T) {
	for _, c := range []struct {
		name, label string
		kind        PredictionKind
		value       string
	}{
		{"ctr", "y", Probability, "ctr.probability"},
		{"ctr", "n", Probability, "ctr.probability"},
		{"ctr.probability", "n", Probability, "ctr.probability"},
		{"x", "y", Probability, "x"}, // a bool label makes it one
		{"x", "n", Number, "x"},
		{"eta", "n", Number, "eta.prediction"},
		{"kind", "s", Class, "kind.class"},
		{"s", "s", Class, "s"},
	} {
		var p *Prediction
		if _, errs := node(t, schema, func(env *Env) Operator {
			p = env.Prediction(column(c.name), column(c.label))
			return fake(nil)
		}); errs != nil {
			t.Errorf("%s, %s: %v", c.name, c.label, errs)
			continue
		}
		if p.Kind != c.kind || p.ValueName != c.value {
			t.Errorf("%s, %s: %s by %s, want %s by %s", c.name, c.label, p.Kind, p.ValueName, c.kind, c.value)
		}
	}
}

func TestScored(t *testing.T) {
	var p *Prediction
	if _, errs := node(t, schema, func(env *Env) Operator {
		p = env.Prediction(column("x"), column("y"))
		return fake(nil)
	}); errs != nil {
		t.Fatal(errs)
	}
	b := rows(0, 4) // x is 0, 1, 2, 3 and y is true
	b.Cols[3].Bools[1] = false
	b.Cols[3].SetNull(3)
	for row, want := range []string{"true <nil> true", "true <nil> true", `false probability "x" is 2; expected a number from 0 to 1`, "false <nil>"} {
		ok, err := p.Scored(b, row)
		got := fmt.Sprint(ok, " ", err)
		if ok {
			got += fmt.Sprint(" ", p.Wrong(b, row))
		}
		if got != want {
			t.Errorf("row %d: %s, want %s", row, got, want)
		}
	}
}

func TestMergeRefusesTwoOfOneName(t *testing.T) {
	var a, b Family
	a.Add(&Definition{Name: "one"})
	b.Add(&Definition{Name: "two"})
	r := Merge(&b, &a)
	if !slices.Equal(r.Names(), []string{"one", "two"}) || r.Lookup("one") != a.Definitions()[0] || r.Lookup("three") != nil {
		t.Errorf("registry of %v", r.Names())
	}
	b.Add(&Definition{Name: "one"})
	defer func() {
		if recover() == nil {
			t.Error("two operators of one name were merged")
		}
	}()
	Merge(&a, &b)
}

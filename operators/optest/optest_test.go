package optest

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
	"github.com/gradstream/gradstream/state"
)

// recorder is a tester that notes complaints.
type recorder struct{ said []string }

var errStopped = errors.New("stopped")

func (r *recorder) Helper()           {}
func (r *recorder) Error(args ...any) { r.said = append(r.said, fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, a ...any) {
	r.said = append(r.said, fmt.Sprintf(format, a...))
}
func (r *recorder) Fatal(args ...any)              { r.Error(args...); panic(errStopped) }
func (r *recorder) Fatalf(format string, a ...any) { r.Errorf(format, a...); panic(errStopped) }

// judge runs f and returns its complaints.
func judge(f func(t tester)) (said []string) {
	r := new(recorder)
	defer func() {
		if p := recover(); p != nil && p != any(errStopped) {
			panic(p)
		}
		said = r.said
	}()
	f(r)
	return r.said
}

type sumConfig struct{ x, label spec.Column }

func (c *sumConfig) Fields(f *spec.Fields) {
	f.Column(&c.x, "x", "x", "What to add up.")
	f.Column(&c.label, "label", "y", "Rows in which it is null are left out.")
}

type sumState struct{ Sum float64 }

// sum adds up a column over the rows that have a label. A fault makes it break a law.
type sum struct {
	fault        string
	x, label, to operators.Col
	state        *state.Cell[sumState]
	hidden       float64 // what belongs into the state
	kept         []float64
	builds       int
}

var errLarge = errors.New("too large")

func (o *sum) Process(_ int, in *batch.Batch, out operators.Emitter) error {
	x, to, y := o.x.Of(in), o.to.Of(in), o.label.Of(in)
	switch o.fault {
	case "starts afresh with the batch":
		o.state.V.Sum = 0
	case "reads what it kept of the last batch":
		if o.kept != nil && o.kept[:1][0] != 0 {
			o.hidden++
		}
		o.kept = x.Floats
	case "writes to the input":
		x.Floats[0]++
	case "allocates":
		o.kept = make([]float64, in.N)
	}
	for row := range in.N {
		v, ok := x.Number(row)
		if math.Abs(v) > 1e100 && o.fault != "overflows" {
			out.Reject(row, errLarge)
			continue
		}
		if ok && (!y.Null(row) || o.fault == "learns without a label") {
			o.state.V.Sum += v
			o.hidden += v
		}
		to.Floats[row] = o.state.V.Sum
		switch o.fault {
		case "hides its state", "reads what it kept of the last batch":
			to.Floats[row] = o.hidden
		case "differs from run to run":
			to.Floats[row] = float64(o.builds)
		case "overflows":
			to.Floats[row] = 0
		case "emits NaN":
			to.Floats[row] = math.NaN()
		}
	}
	if o.fault == "emits other columns" {
		return out.Emit(&batch.Batch{Schema: batch.NewSchema(in.Schema.Fields[0]), Cols: in.Cols[:1], N: in.N, Origin: in.Origin})
	}
	return out.Emit(in)
}

func sumOf(fault string) *operators.Definition {
	builds := 0
	return operators.Define(operators.Spec[sumConfig]{
		Name: "sum", Summary: "Adds up.", Doc: "Adds up a column.", Columns: "`node.sum`.", Role: operators.Learner,
		Examples: []spec.Example{{Title: "One", Config: "sum: {}", In: "x,y:bool\n1,true\n", Out: "x,y,node.sum\n1,true,1\n"}},
		Build: func(c *sumConfig, env *operators.Env) operators.Operator {
			builds++
			o := &sum{fault: fault, x: env.InNumber(c.x), label: env.In(c.label, batch.Bool), builds: builds}
			o.to = env.AddOwn("sum", batch.Float64, false)
			o.state = operators.NewCell(env, "sum", 1, sumState{})
			return o
		},
	})
}

var sumCase = Case{Operator: "sum", Name: "case", Config: "{label: y}", In: "x:float64?,y:bool?\n1,true\n2,\n-1,false\n"}

// A sound operator passes; each fault is found, for the reason it is one.
func TestLaws(t *testing.T) {
	sound := sumOf("")
	if said := judge(func(r tester) {
		newSubject(r, sound, sumCase).laws(r)
		checkDocs(r, sound)
		checkExample(r, sound, sound.Examples[0])
	}); len(said) > 0 {
		t.Errorf("said %q of a sound operator", said)
	}
	for fault, want := range map[string]string{
		"starts afresh with the batch":         "cut into batches",
		"reads what it kept of the last batch": "cut into batches",
		"hides its state":                      "restarted",
		"writes to the input":                  "changed its input",
		"differs from run to run":              "run twice",
		"emits NaN":                            "is NaN",
		"emits other columns":                  "declared",
		"learns without a label":               "rows without a label changed the state",
		"overflows":                            "node/sum: Sum is",
		"allocates":                            "allocates",
	} {
		t.Run(fault, func(t *testing.T) {
			said := judge(func(r tester) { newSubject(r, sumOf(fault), sumCase).laws(r) })
			if !strings.Contains(strings.Join(said, "\n"), want) {
				t.Errorf("said %q, want one with %q", said, want)
			}
		})
	}
	wrong := sound.Examples[0]
	wrong.Out = "x\n"
	if said := judge(func(r tester) { checkExample(r, sound, wrong) }); len(said) != 1 {
		t.Errorf("said %q of an example with another output", said)
	}
}

func TestDocsFaults(t *testing.T) {
	d := operators.Define(operators.Spec[badDocs]{Name: "Bad-Name", Summary: "no full stop", Build: func(*badDocs, *operators.Env) operators.Operator { return nil }})
	said := strings.Join(judge(func(r tester) { checkDocs(r, d) }), "\n")
	for _, want := range []string{"lower_snake_case", "one sentence", "no doc", "columns emitted", "no example", "doc of a is", "default of b is refused"} {
		if !strings.Contains(said, want) {
			t.Errorf("no complaint with %q in:\n%s", want, said)
		}
	}
}

type badDocs struct{ a, b int }

func (c *badDocs) Fields(f *spec.Fields) {
	f.Int(&c.a, "a", 1, "")
	f.Int(&c.b, "b", 9, "Out of its bounds.").Within(0, 5)
}

// A record that no longer loads, or leads elsewhere, is complained of; one that
// is missing is written only when asked to.
func TestRecords(t *testing.T) {
	t.Chdir(t.TempDir())
	c := []Case{{Operator: "sum", Name: "case", Config: "{}", In: "x,y:bool\n1,true\n2,false\n"}}
	check := func() string { return strings.Join(judge(func(r tester) { checkRecorded(r, sumOf(""), c) }), "\n") }
	if said := check(); !strings.Contains(said, "no state is recorded") {
		t.Errorf("without a record: said %q", said)
	}
	t.Setenv("OPTEST_RECORD", "1")
	if said := check(); said != "" {
		t.Errorf("while recording: said %q", said)
	}
	t.Setenv("OPTEST_RECORD", "")
	if said := check(); said != "" {
		t.Errorf("with a record: said %q", said)
	}
	name := filepath.Join("testdata", "state", "sum.txt")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for old, change := range map[string]string{"\nsum ": "\nother ", "then ": "then 0"} {
		broken := strings.Replace(string(text), old, change, 1)
		if broken == string(text) {
			t.Fatalf("the record has no %q: %s", old, text)
		}
		if err := os.WriteFile(name, []byte(broken), 0o666); err != nil {
			t.Fatal(err)
		}
		if said := check(); said == "" {
			t.Errorf("a record with %q in place of %q is accepted", change, old)
		}
	}
}

// What Parse reads, Format writes.
func TestTables(t *testing.T) {
	const in = "a:int64?,b:bool,c,d:string,e:timestamp,f:sparse[10]?,g:string?\n" +
		"1,true,1.5,\"x,\"\"y\"\"\",2024-01-02T03:04:05.006Z,1:2 9:-0.5,s\n" +
		",false,-0,,1970-01-01T00:00:01.000Z,,\n"
	tables, err := Parse(in)
	if err != nil {
		t.Fatal(err)
	}
	b := tables[0].Rows
	if got := strings.Join(header(b.Schema), ","); got != "a:int64?,b:bool,c:float64,d:string,e:timestamp,f:sparse[10]?,g:string?" {
		t.Errorf("header %s", got)
	}
	if b.Schema.Fields[5].Dim != 10 || !b.Cols[0].Null(1) || !b.Cols[6].Null(1) || b.Cols[3].Null(1) {
		t.Error("nulls or dimensions are lost")
	}
	_, rows, _ := strings.Cut(in, "\n")
	if got := Format(b); got != "a,b,c,d,e,f,g\n"+rows {
		t.Errorf("got\n%s", got)
	}

	tables, err = Parse("port 0\nx\n1\nport 1\nk:string\na\nb\nport 0\n2\nport 0\nx:float64\n3\n")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, tb := range tables {
		got = append(got, fmt.Sprintf("%d %v %v", tb.Port, tb.Rows.N, tb.Rows.Origin.Offset))
	}
	if want := "[0 1 [0] 1 2 [1 2] 0 1 [3] 0 1 [4]]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %s", got, want)
	}

	for _, bad := range []string{"x:int\n1", "x\nabc", "x,y\n1", "x\nNaN", "x:sparse\n1", "x:bool\n2", "port x\n", "x:int64\n1.5", "x:timestamp\nmonday"} {
		if _, err := Parse(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

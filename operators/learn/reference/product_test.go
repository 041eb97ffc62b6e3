package reference

import (
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/feature"
	"github.com/gradstream/gradstream/operators/learn"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

const largeStreams = "../../../../shared/data"

// typed reads a data set with the given header, as optest.Parse has it; a set
// that is not carried along skips the test.
func typed(t testing.TB, dir, name, header string) *batch.Batch {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, name+".csv.gz"))
	if errors.Is(err, fs.ErrNotExist) && dir == largeStreams {
		t.Skipf("the data set %s is not here; only small sets are carried along", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(string(text), "\n")
	tables, err := optest.Parse(header + "\n" + rows)
	if err != nil {
		t.Fatal(err)
	}
	return tables[0].Rows
}

// outcome is what a run of vectorize and a learner came to.
type outcome struct {
	p, y     []float64 // predictions, labels
	rejected int
	learner  *operators.Node
}

// chain runs rows through vectorize and a learner; published names the column of
// the learner's predictions.
func chain(t testing.TB, rows *batch.Batch, vectorize, learner, published string) outcome {
	t.Helper()
	fail := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	families := operators.Merge(&feature.Family, &learn.Family)
	build := func(name, config string, in *batch.Schema) *operators.Node {
		n, errs := spec.Parse("", []byte(config))
		fail(errs.Err())
		def := families.Lookup(n.Keys[0].Name)
		c := def.New()
		fail(spec.Decode(n.Keys[0].Value, c).Err())
		node, errs := def.Build(c, operators.BuildOptions{Node: name, Inputs: []*batch.Schema{in}})
		fail(errs.Err())
		return node
	}
	features := build("features", vectorize, rows.Schema)
	model := build("m", learner, features.Schema)
	var out outcome
	features.Next = func(b *batch.Batch) error { return model.Process(0, b) }
	model.Next = func(b *batch.Batch) error {
		p, y := b.Col("m."+published), b.Col("y")
		for row := range b.N {
			v, _ := y.Number(row)
			out.p, out.y = append(out.p, p.Floats[row]), append(out.y, v)
		}
		return nil
	}
	reject := func(*batch.Batch, int, error) { out.rejected++ }
	features.OnReject, model.OnReject = reject, reject
	fail(features.Process(0, rows))
	out.learner = model
	return out
}

func (o outcome) errors() (mae, rmse float64) {
	for i := range o.p {
		d := o.p[i] - o.y[i]
		mae += math.Abs(d)
		rmse += d * d
	}
	n := float64(len(o.p))
	return mae / n, math.Sqrt(rmse / n)
}

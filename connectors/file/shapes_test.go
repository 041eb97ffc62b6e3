package file

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// A sink of two nodes publishes rows of two shapes: JSON lines hold both.
func TestRowsOfSeveralShapes(t *testing.T) {
	a := batch.New(batch.NewSchema(batch.Field{Name: "x", Type: batch.Int64}))
	a.Cols[0].AppendInt(1)
	b := batch.New(batch.NewSchema(batch.Field{Name: "kind", Type: batch.String}, batch.Field{Name: "value", Type: batch.Float64, Nullable: true}))
	b.Cols[0].AppendString("drift")
	b.Cols[1].AppendNull()
	for _, rows := range []*batch.Batch{a, b} {
		rows.Origin.Append(0, 0, 0)
		rows.N = 1
	}
	for name, want := range map[string]string{"rows.jsonl": "", "rows.csv": "JSON lines", "rows.arrow": "JSON lines"} {
		path := filepath.Join(t.TempDir(), name)
		w, err := Create(path, Options{Schema: a.Schema})
		if err != nil {
			t.Fatal(err)
		}
		err = w.Write(a, 0, 1)
		if err == nil {
			err = w.Write(b, 0, 1)
		}
		if err == nil {
			err = w.Write(a, 0, 1)
		}
		switch {
		case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if want != "" {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(text); got != "{\"x\":1}\n{\"kind\":\"drift\",\"value\":null}\n{\"x\":1}\n" {
			t.Errorf("%s holds\n%s", name, got)
		}
	}
}

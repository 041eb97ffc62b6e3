package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/file"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/run"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// mostWrong bounds what is said of one test.
const mostWrong = 20

// trialRun is one test being run.
type trialRun struct {
	p     *pipeline.Pipeline
	c     *testCase
	dir   string // of the test file
	wrong []string
}

func (r *trialRun) fail(at spec.Pos, format string, args ...any) {
	if len(r.wrong) == mostWrong {
		r.wrong = append(r.wrong, "and more")
	}
	if len(r.wrong) > mostWrong {
		return
	}
	text := fmt.Sprintf(format, args...)
	if at != (spec.Pos{}) {
		text = at.String() + ": " + text
	}
	r.wrong = append(r.wrong, text)
}

// run feeds the rows and compares. An error says that the test itself is wrong.
func (r *trialRun) run(ctx context.Context) error {
	o := run.EvaluateOptions{
		Formats: formats, Inputs: map[string]connectors.Reader{}, Outputs: map[string]run.RowWriter{}, Now: time.Now,
		Encode: func(s *batch.Schema) (connectors.Encoder, error) { return formats.NewEncoder("json", s) },
	}
	var errs spec.Errors
	for _, n := range r.c.input {
		i := r.p.Source(n.Name)
		if i < 0 {
			errs.Add(n.Pos, fmt.Sprintf("no source %q", n.Name), spec.Suggest(n.Name, sourceNames(r.p)))
			continue
		}
		in, err := r.open(n, r.p.Sources[i], &errs)
		if err != nil {
			return inputError{err}
		}
		defer in.Close()
		o.Inputs[n.Name] = in
	}
	for _, name := range sourceNames(r.p) {
		if o.Inputs[name] == nil {
			o.Inputs[name] = &givenRows{}
		}
	}
	sinks := make([]*published, len(r.c.output))
	for i, n := range r.c.output {
		if !slices.Contains(sinkNames(r.p), n.Name) {
			errs.Add(n.Pos, fmt.Sprintf("no sink %q", n.Name), spec.Suggest(n.Name, sinkNames(r.p)))
			continue
		}
		if n.Node.Kind != spec.List && n.Node.Kind != spec.Null {
			errs.Add(n.Node.Pos, fmt.Sprintf("the output of %s is no list", n.Name), "expected rows: a list of mappings")
		}
		sinks[i] = &published{}
		o.Outputs[n.Name] = sinks[i]
	}
	if len(errs) > 0 {
		return errs.Sorted()
	}
	var rejected []rejectedRow
	o.Rejected = func(source, node string, j connectors.Rejected) {
		where := fmt.Sprintf("row %d of %s", j.Offset, source)
		var at spec.Pos
		if g, ok := o.Inputs[source].(*givenRows); ok {
			at = g.rows[j.Offset].pos
		} else if j.Line > 0 {
			where += fmt.Sprintf(", line %d", j.Line)
		}
		if node != "" {
			where += ", operator " + node
		}
		rejected = append(rejected, rejectedRow{at, fmt.Sprintf("%s is rejected: %v", where, j.Why)})
	}
	result, err := run.Evaluate(ctx, r.p, o)
	if err != nil {
		return err
	}
	for i, n := range r.c.output {
		r.compareRows(n, sinks[i].rows)
	}
	r.compareMetrics(result)
	if len(rejected) != r.c.rejected {
		r.fail(spec.Pos{}, "%s rejected; expected %d", count(len(rejected), "row"), r.c.rejected)
		for _, row := range rejected {
			r.fail(row.at, "%s", row.why)
		}
	}
	return nil
}

// rejectedRow is a row that was rejected.
type rejectedRow struct {
	at  spec.Pos // in the test file; zero where the row comes from another one
	why string
}

// open returns a reader of the rows of a source.
func (r *trialRun) open(n spec.NamedNode, s *pipeline.Source, errs *spec.Errors) (connectors.Reader, error) {
	if n.Node.Kind == spec.Scalar {
		path := n.Node.Value
		if !filepath.IsAbs(path) {
			path = filepath.Join(r.dir, path)
		}
		return file.Open(path, file.Options{Schema: s.Schema, Time: s.Time})
	}
	dec, err := formats.NewDecoder("json", s.Schema)
	if err != nil {
		return nil, err
	}
	g := &givenRows{dec: dec, time: -1}
	if s.Time != "" {
		g.time = s.Schema.Lookup(s.Time)
	}
	if n.Node.Kind != spec.List && n.Node.Kind != spec.Null {
		errs.Add(n.Node.Pos, fmt.Sprintf("the input of %s is a mapping", n.Name), "expected rows: a list of mappings, or the path of a file")
	}
	for _, row := range n.Node.Items {
		if row.Kind != spec.Map {
			errs.Add(row.Pos, "this row is no mapping", "expected column: value")
			continue
		}
		g.rows = append(g.rows, givenRow{rowJSON(row, s.Schema, errs), row.Pos})
	}
	return g, nil
}

// rowJSON writes a row as JSON, each value as its column's type wants it.
func rowJSON(row *spec.Node, s *batch.Schema, errs *spec.Errors) []byte {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, k := range row.Keys {
		f := s.Lookup(k.Name)
		if f < 0 {
			errs.Add(k.Pos, fmt.Sprintf("no column %q", k.Name), spec.Suggest(k.Name, s.Names()))
			continue
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(quoted(k.Name))
		b.WriteByte(':')
		switch v := k.Value; {
		case v.Kind == spec.Null:
			b.WriteString("null")
		case v.Kind != spec.Scalar:
			errs.Add(v.Pos, fmt.Sprintf("column %s has no single value", k.Name), "expected "+s.Fields[f].TypeString())
			b.WriteString("null")
		default:
			b.Write(valueJSON(v, s.Fields[f].Type))
		}
	}
	b.WriteByte('}')
	return b.Bytes()
}

func valueJSON(v *spec.Node, t batch.Type) []byte {
	if t == batch.String || t == batch.Sparse || v.Quoted {
		return quoted(v.Value)
	}
	if _, err := strconv.ParseInt(v.Value, 10, 64); err == nil {
		return []byte(strings.TrimPrefix(v.Value, "+"))
	}
	if x, err := strconv.ParseFloat(v.Value, 64); err == nil && x-x == 0 {
		return strconv.AppendFloat(nil, x, 'g', -1, 64)
	}
	if v.Value == "true" || v.Value == "false" {
		return []byte(v.Value)
	}
	return quoted(v.Value)
}

func quoted(s string) []byte {
	b, _ := json.Marshal(s) // a string can be written
	return b
}

// givenRows reads the rows that a test file holds.
type givenRows struct {
	dec  connectors.Decoder
	rows []givenRow
	time int // column; -1 = none
	next int
}

type givenRow struct {
	json []byte
	pos  spec.Pos
}

// Read implements [connectors.Reader].
func (g *givenRows) Read(_ context.Context, into *batch.Batch, limit int) (bad []connectors.Rejected, err error) {
	if g.next == len(g.rows) {
		return nil, io.EOF
	}
	for ; limit > 0 && g.next < len(g.rows); limit-- {
		row := g.rows[g.next]
		offset := int64(g.next)
		g.next++
		if _, err := g.dec.Decode(row.json, into); err != nil {
			bad = append(bad, connectors.Rejected{Offset: offset, Line: int64(row.pos.Line), Raw: row.json, Why: err})
			continue
		}
		at := int64(0)
		if g.time >= 0 {
			at = into.Cols[g.time].Ints[into.N]
		}
		into.Origin.Append(offset, at, 0)
		into.N++
	}
	return bad, nil
}

// Progress implements [connectors.Reader].
func (g *givenRows) Progress() (done, size int64) { return int64(g.next), int64(len(g.rows)) }

// Close implements [connectors.Reader].
func (g *givenRows) Close() error { return nil }

// published gathers what a sink would publish.
type published struct{ rows [][]byte }

// Write implements [run.RowWriter].
func (p *published) Write(b *batch.Batch, lo, hi int) error {
	enc, err := formats.NewEncoder("json", b.Schema)
	if err != nil {
		return err
	}
	for row := lo; row < hi; row++ {
		text, err := enc.Encode(nil, b, row, row+1)
		if err != nil {
			return err
		}
		p.rows = append(p.rows, text)
	}
	return nil
}

// Close implements [run.RowWriter].
func (p *published) Close() error { return nil }

// compareRows compares what a sink published with what is expected.
func (r *trialRun) compareRows(n spec.NamedNode, got [][]byte) {
	for i, want := range n.Node.Items {
		if i >= len(got) {
			r.fail(want.Pos, "%s published %s; expected %d", n.Name, count(len(got), "row"), len(n.Node.Items))
			return
		}
		if want.Kind != spec.Map {
			r.fail(want.Pos, "row %d of %s is %s; expected here is no mapping of column: value", i, n.Name, got[i])
			continue
		}
		var row map[string]any
		d := json.NewDecoder(bytes.NewReader(got[i]))
		d.UseNumber()
		if err := d.Decode(&row); err != nil {
			r.fail(want.Pos, "row %d of %s: %v", i, n.Name, err)
			continue
		}
		for _, k := range want.Keys {
			v, ok := row[k.Name]
			switch {
			case !ok:
				r.fail(k.Pos, "row %d of %s has no column %q; it is %s", i, n.Name, k.Name, got[i])
			case !r.equal(v, k.Value):
				r.fail(k.Pos, "%s of row %d of %s is %s; expected %s", k.Name, i, n.Name, shown(v), wanted(k.Value))
			}
		}
	}
	for i := len(n.Node.Items); i < len(got); i++ {
		r.fail(n.Pos, "%s published %s; expected %d; row %d is %s", n.Name, count(len(got), "row"), len(n.Node.Items), i, got[i])
	}
}

// equal compares a value that was published with what is expected.
func (r *trialRun) equal(got any, want *spec.Node) bool {
	switch got := got.(type) {
	case nil:
		return want.Kind == spec.Null
	case bool:
		return want.Kind == spec.Scalar && want.Value == strconv.FormatBool(got)
	case string:
		if want.Kind != spec.Scalar {
			return false
		}
		a, errA := time.Parse(time.RFC3339, got)
		b, errB := time.Parse(time.RFC3339, want.Value)
		return got == want.Value || errA == nil && errB == nil && a.Equal(b)
	case json.Number:
		if want.Kind != spec.Scalar {
			return false
		}
		a, errA := strconv.ParseInt(got.String(), 10, 64)
		b, errB := strconv.ParseInt(want.Value, 10, 64)
		if errA == nil && errB == nil {
			return a == b
		}
		x, errX := got.Float64()
		y, errY := strconv.ParseFloat(want.Value, 64)
		return errX == nil && errY == nil && r.close(x, y)
	}
	return false
}

func (r *trialRun) close(x, y float64) bool {
	return math.Abs(x-y) <= r.c.tolerance*max(1, math.Abs(y))
}

func shown(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

func wanted(n *spec.Node) string {
	switch n.Kind {
	case spec.Null:
		return "null"
	case spec.Scalar:
		return n.Value
	}
	return "a list or a mapping, which no column holds"
}

// compareMetrics compares what nodes report.
func (r *trialRun) compareMetrics(result *run.Evaluation) {
	for _, n := range r.c.metrics {
		at := slices.IndexFunc(result.Nodes, func(k run.NodeResult) bool { return k.Name == n.Name })
		if at < 0 {
			r.fail(n.Pos, "no operator %q", n.Name)
			continue
		}
		for _, k := range n.Node.Keys {
			var names []string
			found := false
			for _, v := range result.Nodes[at].Values {
				names = append(names, v.Name)
				if v.Name != k.Name {
					continue
				}
				found = true
				y, err := strconv.ParseFloat(k.Value.Value, 64)
				got := "null"
				if !v.Null {
					got = humanNumber(v.Number)
				}
				if v.Null != (k.Value.Kind == spec.Null) || !v.Null && (err != nil || !r.close(v.Number, y)) {
					r.fail(k.Pos, "%s of %s is %s; expected %s", k.Name, n.Name, got, wanted(k.Value))
				}
			}
			if !found {
				r.fail(k.Pos, "%s reports no %s; it reports %s", n.Name, k.Name, strings.Join(names, ", "))
			}
		}
	}
}

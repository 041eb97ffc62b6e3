package pipeline

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// sinks turns the sinks of the file into those of the pipeline.
func (l *loader) sinks() {
	for _, s := range l.outs {
		out := &Sink{
			Name: s.name, Pos: s.pos, Topic: s.c.topic, Format: s.c.format,
			Key: s.c.key.Name, Headers: s.c.headers, Partitions: s.c.partitions,
		}
		if s.c.columnsGiven && len(s.c.columns) == 0 {
			if n := s.node.Get("columns"); n.Kind == spec.Map && len(n.Keys) == 0 {
				l.errorf(s.c.at.columns, "expected at least one column, or no columns field for all of them", "columns is empty")
			}
		}
		said := map[string]bool{} // published names, "" for the key, that are wrong: several inputs do not say so each
		for i, in := range s.inputs {
			out.From = append(out.From, s.c.from[i].Name)
			if in != nil && in.schema != nil {
				out.Inputs = append(out.Inputs, l.sinkInput(s, in, said))
			}
		}
		l.sameRows(s, out)
		l.p.Sinks = append(l.p.Sinks, out)
	}
	slices.SortStableFunc(l.p.Sinks, func(a, b *Sink) int { return cmp.Compare(a.Name, b.Name) })
}

// sinkInput resolves the columns that a sink publishes of one of its inputs.
func (l *loader) sinkInput(s *sink, in *end, said map[string]bool) SinkInput {
	r := SinkInput{Schema: in.schema, Output: &batch.Schema{}, Key: -1, Version: -1}
	publish := func(name string, i int) {
		f := in.schema.Fields[i]
		f.Name = name
		r.Output.Fields = append(r.Output.Fields, f)
		r.Columns = append(r.Columns, i)
	}
	where := ""
	if len(s.inputs) > 1 {
		where = fmt.Sprintf(" in %q", in.name)
	}
	for _, e := range s.c.columns {
		if said[e.Key.Name] {
			continue
		}
		before := len(l.errs)
		i := l.column(in.schema, in.doubt, spec.Column(e.Value), where)
		if i >= 0 && in.schema.Fields[i].Type == batch.Sparse && s.c.format != "arrow" && !l.wrong(s.node, "format") {
			l.errorf(e.Value.Pos, "expected another column, or format: arrow", "column %q is sparse, which %s has no form for", e.Value.Name, s.c.format)
		}
		said[e.Key.Name] = len(l.errs) > before
		if i >= 0 {
			publish(e.Key.Name, i)
		}
	}
	if !s.c.columnsGiven {
		for i, f := range in.schema.Fields {
			if f.Type != batch.Sparse {
				publish(f.Name, i)
			}
		}
		if len(r.Columns) == 0 && len(in.doubt) == 0 {
			l.errorf(s.c.at.from, "expected columns to publish", "%q has none but sparse columns", in.name)
		}
	}

	if k := s.c.key; !said[""] {
		before := len(l.errs)
		r.Key = l.keyColumn(in.schema, in.doubt, k, where)
		said[""] = len(l.errs) > before
	}
	for _, version := range in.models {
		if i := in.schema.Lookup(version); i > r.Version {
			r.Version = i
		}
	}
	return r
}

// sameRows refuses csv rows of several kinds in one topic: they have no names
// that would tell them apart.
func (l *loader) sameRows(s *sink, out *Sink) {
	if s.c.format != "csv" || len(out.Inputs) < 2 || len(out.Inputs) < len(s.inputs) {
		return
	}
	first := out.Inputs[0].Output
	for _, in := range out.Inputs[1:] {
		if !slices.Equal(in.Output.Names(), first.Names()) {
			l.errorf(s.c.at.from, "expected columns that all of them have, or format: json", "csv rows of several inputs have different columns")
			return
		}
	}
}

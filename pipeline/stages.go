package pipeline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// RowFormat is the format of what crosses a repartition.
const RowFormat = "row"

// repartition returns what an operator says of the cut that it is, nil if it is
// none.
func (op *operator) repartition() operators.Repartitioner {
	r, _ := op.config.(operators.Repartitioner)
	return r
}

// repartitionTopic names the topic that carries the rows of a repartition.
func repartitionTopic(p *Pipeline, node string) string { return p.Name + "." + node + ".repartition" }

// readKind says what a name of end.sources is.
func (l *loader) readKind(name string) string {
	if e := l.ends[name]; e != nil && e.kind == "operator" {
		return "repartition"
	}
	return "source"
}

// stages cuts the pipeline at its repartitions. What an operator reads together is
// one stage; so is everything else that is not behind a repartition, as in a
// pipeline that has none.
func (l *loader) stages() {
	var cuts []*operator
	parent := map[string]string{} // sources and repartitions, towards the one that stands for all that are read together
	for _, s := range l.srcs {
		parent[s.name] = s.name
	}
	for _, op := range l.ops {
		if op.repartition() != nil {
			cuts = append(cuts, op)
			parent[op.name] = op.name
		}
	}
	if len(cuts) == 0 {
		return
	}
	root := func(name string) string {
		for parent[name] != name {
			name = parent[name]
		}
		return name
	}
	unite := func(names []string) {
		for _, name := range names {
			if a, b := root(names[0]), root(name); a != b {
				parent[max(a, b)] = min(a, b)
			}
		}
	}
	for _, op := range l.ops {
		unite(op.sources)
	}
	behind := map[string]bool{} // by root: some of it is behind a repartition
	for _, op := range cuts {
		behind[root(op.name)] = true
		if t := repartitionTopic(l.p, op.name); len(t) > 249 {
			l.errorf(op.pos, "expected a shorter name, for topics have at most 249 letters", "the topic of repartition %q would be %s", op.name, t)
		}
	}
	var open []string
	for _, s := range l.srcs {
		if !behind[root(s.name)] {
			open = append(open, s.name)
		}
	}
	unite(open)
	order := l.stageOrder(cuts, root)
	if len(l.errs) > 0 {
		return
	}
	for _, r := range order {
		l.p.stages = append(l.p.stages, l.stage(func(name string) bool { return root(name) == r }))
	}
}

// stageOrder sorts the stages, each named by its root, so that each comes behind
// those that it gets rows from, and else by name.
func (l *loader) stageOrder(cuts []*operator, root func(string) string) []string {
	feeds := map[string]map[string]*operator{} // stage, stage that it gets rows from: by which repartition
	for _, s := range l.srcs {
		feeds[root(s.name)] = map[string]*operator{}
	}
	for _, op := range cuts {
		feeds[root(op.name)] = map[string]*operator{}
	}
	for _, op := range cuts {
		for _, in := range op.inputs {
			if in != nil && len(in.sources) > 0 {
				feeds[root(op.name)][root(in.sources[0])] = op
			}
		}
	}
	var order []string
	for len(feeds) > 0 {
		ready := ""
		for _, r := range slices.Sorted(maps.Keys(feeds)) {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(feeds[r])), func(from string) bool { return feeds[from] != nil }) {
				ready = r
				break
			}
		}
		if ready == "" { // each that is left waits for another one
			at := slices.IndexFunc(cuts, func(op *operator) bool { return feeds[root(op.name)][root(op.name)] != nil })
			if at < 0 {
				at = slices.IndexFunc(cuts, func(op *operator) bool { return feeds[root(op.name)] != nil })
			}
			l.errorf(cuts[at].pos, "expected nothing behind a repartition to be joined with what it is made of",
				"repartition %q gets its rows from what is joined with them behind it", cuts[at].name)
			return nil
		}
		order = append(order, ready)
		delete(feeds, ready)
	}
	return order
}

// stage makes the pipeline of one stage, whose sources and repartitions are in.
func (l *loader) stage(in func(name string) bool) *Pipeline {
	p := *l.p
	p.Sources, p.Nodes, p.Sinks, p.stages = nil, nil, nil, nil
	here := map[string]bool{} // what emits rows in this stage
	for _, s := range l.p.Sources {
		if here[s.Name] = in(s.Name); here[s.Name] {
			p.Sources = append(p.Sources, s)
		}
	}
	for _, n := range l.p.Nodes {
		if r, ok := n.Config.(operators.Repartitioner); ok && in(n.Name) {
			_, partitions := r.Repartition()
			p.Sources = append(p.Sources, &Source{Name: n.Name, Pos: n.Pos, Topic: repartitionTopic(l.p, n.Name), Start: "earliest",
				Format: RowFormat, Schema: n.Schema, Errors: l.errorsOf(n.Name), Partitions: partitions, Internal: true})
			here[n.Name] = true
		}
	}
	for _, n := range l.p.Nodes {
		r, cut := n.Config.(operators.Repartitioner)
		switch {
		case !here[n.From[0]]:
		case cut:
			key, partitions := r.Repartition()
			p.Sinks = append(p.Sinks, &Sink{Name: n.Name, Pos: n.Pos, From: n.From, Topic: repartitionTopic(l.p, n.Name), Format: RowFormat,
				Key: key, Headers: "minimal", Partitions: partitions, Internal: true, Inputs: []SinkInput{wholeRows(n.Inputs[0], key)}})
		default:
			p.Nodes = append(p.Nodes, n)
			here[n.Name] = true
		}
	}
	for _, s := range l.p.Sinks {
		part := *s
		part.From, part.Inputs = nil, nil
		for i, from := range s.From {
			if here[from] {
				part.From, part.Inputs = append(part.From, from), append(part.Inputs, s.Inputs[i])
			}
		}
		if len(part.From) > 0 {
			p.Sinks = append(p.Sinks, &part)
		}
	}
	slices.SortFunc(p.Sources, func(a, b *Source) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(p.Sinks, func(a, b *Sink) int { return cmp.Compare(a.Name, b.Name) })
	return &p
}

func wholeRows(s *batch.Schema, key string) SinkInput {
	in := SinkInput{Schema: s, Output: s, Key: s.Lookup(key), Version: -1}
	for i := range s.Fields {
		in.Columns = append(in.Columns, i)
	}
	return in
}

// errorsOf returns the errors topic of a repartition: that of the sources its rows
// come from if they have one in common, else the pipeline's.
func (l *loader) errorsOf(node string) string {
	topics := map[string]bool{}
	seen := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		if i := l.p.Source(name); i >= 0 {
			topics[l.p.Sources[i].Errors] = true
			return
		}
		if seen[name] {
			return
		}
		seen[name] = true
		for _, n := range l.p.Nodes {
			if n.Name == name {
				for _, from := range n.From {
					visit(from)
				}
			}
		}
	}
	visit(node)
	if len(topics) == 1 {
		for t := range topics {
			return t
		}
	}
	return l.p.Name + ".errors"
}

// crossing describes the way of rows across a repartition; it is "" for any other
// node.
func (p *Pipeline) crossing(n *Node) string {
	r, ok := n.Config.(operators.Repartitioner)
	if !ok {
		return ""
	}
	key, partitions := r.Repartition()
	return fmt.Sprintf("topic %s, key %s, %s", repartitionTopic(p, n.Name), key, plural(partitions, "partition"))
}

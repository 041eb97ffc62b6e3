package pipeline

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// decodeOperator decodes what an operator says of itself: from, and the options
// under the one key that names its type.
func (l *loader) decodeOperator(op *operator) {
	n := op.node
	if n.Kind != spec.Map {
		l.errorf(n.Pos, "expected a mapping of from and a type, as in {from: clicks, filter: {}}", "operator %q is not a mapping", op.name)
		return
	}
	common := &spec.Node{Kind: spec.Map, Pos: n.Pos}
	var types []spec.Key
	for _, k := range n.Keys {
		if k.Name == "from" {
			common.Keys = append(common.Keys, k)
		} else {
			types = append(types, k)
		}
	}
	wrong := spec.Decode(common, &op.c)
	l.errs = append(l.errs, wrong...)
	if len(types) == 0 {
		l.errorf(n.Pos, "expected a key that names its type, as in filter: {}", "operator %q has no type", op.name)
	}
	known := 0
	for _, k := range types {
		def := l.reg.Lookup(k.Name)
		if def == nil {
			l.errorf(k.Pos, l.suggestType(k.Name), "no operator type %q", k.Name)
			continue
		}
		if known++; known > 1 {
			l.errorf(k.Pos, "expected one type, and another operator for this one", "operator %q has a second type", op.name)
		}
		config := def.New()
		errs := spec.Decode(k.Value, config)
		l.errs = append(l.errs, errs...)
		if known == 1 {
			op.typ, op.def, op.config = k, def, config
			for _, e := range errs {
				op.bad = append(op.bad, e.Pos)
			}
		}
	}
	if op.def != nil && len(wrong) == 0 && len(op.c.from) != op.def.Inputs {
		want := "expected one name"
		if op.def.Inputs > 1 {
			want = fmt.Sprintf("expected %d names", op.def.Inputs)
		}
		l.errorf(op.c.fromAt, want, "%s reads %s", op.def.Name, plural(len(op.c.from), "input"))
	}
}

func plural(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return strconv.Itoa(n) + " " + what
}

// suggestType says what was expected in place of a type that does not exist.
func (l *loader) suggestType(name string) string {
	names := l.reg.Names()
	if near := spec.Nearest(name, append([]string{"from"}, names...)); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "expected one of " + strings.Join(names, ", ")
}

// operators builds the operators in an order in which inputs come first, for the
// sake of their columns and complaints.
func (l *loader) operators() {
	order := l.order()
	for _, op := range order {
		node := l.build(op)
		l.p.Nodes = append(l.p.Nodes, node)
	}
}

// order sorts the operators so that each comes behind those it reads from, and
// ascending by name where that leaves a choice. Operators on a cycle, which is
// complained of, and those behind one, are left out.
func (l *loader) order() []*operator {
	byEnd := map[*end]*operator{}
	readers := map[*end][]*operator{}
	waiting := map[*operator]int{}
	var ready []*operator
	for _, op := range l.ops {
		byEnd[&op.end] = op
		for _, in := range op.inputs {
			if in != nil && in.kind == "operator" {
				waiting[op]++
				readers[in] = append(readers[in], op)
			}
		}
		if waiting[op] == 0 {
			ready = append(ready, op)
		}
	}
	var order []*operator
	for len(ready) > 0 {
		least := 0
		for i := range ready {
			if cmp.Compare(ready[i].name, ready[least].name) < 0 {
				least = i
			}
		}
		op := ready[least]
		ready = slices.Delete(ready, least, least+1)
		order = append(order, op)
		for _, r := range readers[&op.end] {
			if waiting[r]--; waiting[r] == 0 {
				ready = append(ready, r)
			}
		}
	}
	if len(order) < len(l.ops) {
		l.cycles(byEnd, waiting)
	}
	return order
}

// cycles complains of every cycle once, at the first of its operators in the file.
func (l *loader) cycles(byEnd map[*end]*operator, waiting map[*operator]int) {
	on := map[*operator]bool{} // operators of cycles that were complained of
	for _, op := range l.ops {
		if waiting[op] == 0 || on[op] {
			continue
		}
		// The shortest way from op back to op, breadth first, against the stream.
		came := map[*operator]*operator{}
		queue := []*operator{op}
		for len(queue) > 0 && came[op] == nil {
			at := queue[0]
			queue = queue[1:]
			for _, in := range at.inputs {
				if next := byEnd[in]; next != nil && waiting[next] > 0 && came[next] == nil {
					came[next] = at
					queue = append(queue, next)
				}
			}
		}
		if came[op] == nil {
			continue // only behind a cycle
		}
		// came leads from op against the reading, which is with the stream.
		path := []string{op.name}
		for at := came[op]; ; at = came[at] {
			path = append(path, at.name)
			on[at] = true
			if at == op {
				break
			}
		}
		at := op.c.fromAt
		for i, name := range op.c.from {
			if in := op.inputs[i]; in != nil && in.name == path[len(path)-2] {
				at = name.Pos
			}
		}
		l.errorf(at, "expected operators that do not feed themselves", "a cycle: %s", strings.Join(path, " → "))
	}
}

// build makes the operator for its columns and complaints. Where its inputs or
// its configuration are wrong, complaints count only if they do not follow from
// that.
func (l *loader) build(op *operator) *Node {
	node := &Node{Name: op.name, Pos: op.pos, Def: op.def, Config: op.config}
	known, sure := op.def != nil && len(op.inputs) == op.def.Inputs, len(op.bad) == 0
	for i, in := range op.inputs {
		node.From = append(node.From, op.c.from[i].Name)
		if in == nil {
			known = false
			continue
		}
		node.Inputs = append(node.Inputs, in.schema)
		op.doubt = append(op.doubt, in.doubt...)
		op.sources = append(op.sources, in.sources...)
		op.models = append(op.models, in.models...)
		known = known && in.schema != nil
		sure = sure && len(in.doubt) == 0 && !hasUntyped(in.schema)
	}
	if op.repartition() != nil {
		op.sources = []string{op.name} // its rows lie where its topic has them
	}
	op.sources = uniqueSorted(op.sources)
	whole := l.readFile(op)
	sure = sure && whole
	if !known {
		return node
	}
	built, errs := plan(op, node.Inputs, !sure)
	if built == nil {
		op.doubt = uniqueSorted(append(op.doubt, op.name))
		return node
	}
	raised := 0
	for _, e := range errs {
		if sure || follows(e, op, node.Inputs) {
			l.errs = append(l.errs, e)
			raised++
		}
	}
	if raised > 0 || len(op.bad) > 0 {
		op.doubt = append(op.doubt, op.name)
	}
	op.doubt = uniqueSorted(op.doubt)
	// The names of columns may come from a file.
	if whole && (sure && raised == 0 || extends(built.Schema, node.Inputs[0])) {
		op.schema = built.Schema
	}
	node.Schema = op.schema
	if version := op.name + ".version"; op.schema != nil && op.def.Role == operators.Learner && op.schema.Lookup(version) >= 0 {
		op.models = append(op.models, version)
	}
	return node
}

// plan builds the operator. With a configuration or inputs that are wrong it may
// fail in any way, and is nil then.
func plan(op *operator, inputs []*batch.Schema, doubtful bool) (built *operators.Node, errs spec.Errors) {
	if doubtful {
		defer func() {
			if recover() != nil {
				built, errs = nil, nil
			}
		}()
	}
	return op.def.Build(op.config, operators.BuildOptions{Node: op.name, Pos: op.pos, Inputs: inputs, Planning: true})
}

// follows reports whether a complaint of an operator in doubt counts: that a
// column which its configuration names does not exist, or has a type which is
// known and wrong.
func follows(e spec.Error, op *operator, inputs []*batch.Schema) bool {
	if e.Pos == op.pos || slices.Contains(op.bad, e.Pos) {
		return false
	}
	rest, missing := strings.CutPrefix(e.Msg, "no column ")
	if !missing {
		var typed bool
		if rest, typed = strings.CutPrefix(e.Msg, "column "); !typed {
			return false
		}
	}
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return false
	}
	name, err := strconv.Unquote(quoted)
	if err != nil || name == "" || doubtful(name, op.doubt) {
		return false
	}
	if !missing {
		for _, s := range inputs {
			if i := s.Lookup(name); i >= 0 && s.Fields[i].Type == 0 {
				return false
			}
		}
	}
	return true
}

// doubtful reports whether a column may be one of an operator in doubt.
func doubtful(column string, doubt []string) bool {
	return slices.ContainsFunc(doubt, func(node string) bool {
		return column == node || strings.HasPrefix(column, node+".")
	})
}

// extends reports whether s is in with columns added behind.
func extends(s, in *batch.Schema) bool {
	return len(s.Fields) >= len(in.Fields) && slices.Equal(s.Fields[:len(in.Fields)], in.Fields)
}

func hasUntyped(s *batch.Schema) bool {
	return s != nil && slices.ContainsFunc(s.Fields, func(f batch.Field) bool { return f.Type == 0 })
}

func uniqueSorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

package pipeline

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// MaxOperators bounds the operators of a pipeline, and so what a hostile file can
// make of columns that every operator adds to.
const MaxOperators = 1000

// Options are what reading a pipeline file needs beside the file.
type Options struct {
	// Registry holds the operators the file may use.
	Registry *operators.Registry
	// CheckAvro says why columns cannot be read from Avro records; nil = unchecked.
	CheckAvro func(a *Avro, columns *batch.Schema) error
	// Lookup resolves the variables of the file; nil means the environment.
	Lookup func(name string) (value string, ok bool)
	// Set holds path=value arguments, applied to the file in order, before
	// variables are replaced: see [spec.Set].
	Set []string
}

// Load reads a pipeline file and checks it. It returns everything that is wrong
// with it at once, in the order of positions; the pipeline is nil if anything is.
// The columns of every edge are known then, but nothing was opened or started.
func Load(path string, o Options) (*Pipeline, spec.Errors) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > spec.MaxBytes {
		err = fmt.Errorf("it has %d bytes, and a pipeline file at most %d", info.Size(), spec.MaxBytes)
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(path)
	}
	if err != nil {
		why := strings.TrimPrefix(err.Error(), "read "+path+": ")
		why = strings.TrimPrefix(strings.TrimPrefix(why, "stat "+path+": "), "open "+path+": ")
		return nil, spec.Errors{{Pos: spec.Pos{File: path}, Msg: "cannot read the file: " + why, Want: "expected a pipeline file"}}
	}
	return Parse(path, data, o)
}

// Parse is [Load] of a file that was read already.
func Parse(file string, data []byte, o Options) (*Pipeline, spec.Errors) {
	root, errs := spec.Parse(file, data)
	if root == nil {
		return nil, errs.Sorted()
	}
	for _, argument := range o.Set {
		errs = append(errs, spec.Set(root, argument)...)
	}
	lookup := o.Lookup
	if lookup == nil {
		lookup = os.LookupEnv
	}
	seen := map[string]string{}
	unset := spec.Interpolate(root, func(name string) (string, bool) {
		value, ok := lookup(name)
		if ok {
			seen[name] = value
		}
		return value, ok
	})

	l := &loader{reg: o.Registry, checkAvro: o.CheckAvro, errs: errs, ends: map[string]*end{}, p: &Pipeline{File: file}}
	l.decode(root)
	if n := root.Get("operators"); len(l.ops) > MaxOperators {
		l.errorf(n.Pos, fmt.Sprintf("expected at most %d", MaxOperators), "there are %d operators", len(l.ops))
		l.errs.Redact(secretValues(seen))
		return nil, l.errs.Sorted()
	}
	l.declare()
	l.sources()
	l.operators()
	l.sinks()
	l.topics()
	l.partitions()
	l.stages()
	// What a value without its variables is worth is of no interest.
	l.errs = slices.DeleteFunc(l.errs, func(e spec.Error) bool {
		return slices.ContainsFunc(unset, func(u spec.Error) bool { return u.Pos == e.Pos })
	})
	if l.errs = append(l.errs, unset...); len(l.errs) > 0 {
		var used []spec.Secret
		if l.p.Kafka.SASL != nil {
			used = append(used, l.p.Kafka.SASL.Secret)
		}
		l.errs.Redact(secretValues(seen, used...))
		return nil, l.errs.Sorted()
	}
	return l.p, nil
}

// loader turns the parts of a file into a Pipeline, gathering complaints. Every
// part is checked as far as it can be, whatever is wrong with the others.
type loader struct {
	reg       *operators.Registry
	checkAvro func(a *Avro, columns *batch.Schema) error
	errs      spec.Errors
	p         *Pipeline
	file      fileConfig

	srcs  []*source
	ops   []*operator
	outs  []*sink
	ends  map[string]*end // everything that has a name
	names []string        // of sources and operators: what can be read from
}

// end is a named part of the file, with what is known of the columns it emits.
type end struct {
	name string
	kind string // "source", "operator" or "sink"
	pos  spec.Pos

	schema *batch.Schema // nil = unknown; a column of type 0 is known by name only
	// doubt names operators of which something is wrong: columns of theirs may
	// be missing from schema.
	doubt   []string
	sources []string // sources and repartitions that it reads in the end, ascending
	models  []string // version columns of the learners on the way
}

// source, operator and sink are a part of the file as decoded.
type source struct {
	end
	node *spec.Node
	c    sourceConfig
}

type operator struct {
	end
	node   *spec.Node
	c      operatorConfig
	typ    spec.Key // key that names the type
	def    *operators.Definition
	config spec.Config
	bad    []spec.Pos // complaints about config
	inputs []*end     // nil for a name that does not resolve
}

type sink struct {
	end
	node   *spec.Node
	c      sinkConfig
	inputs []*end // nil for a name that does not resolve
}

func (l *loader) errorf(at spec.Pos, want, format string, args ...any) {
	l.errs = append(l.errs, spec.Error{Pos: at, Msg: fmt.Sprintf(format, args...), Want: want})
}

// wrong reports whether the value of a field was complained of. What follows
// from its default is not complained of then.
func (l *loader) wrong(part *spec.Node, field string) bool {
	n := part.Get(field)
	return n != nil && slices.ContainsFunc(l.errs, func(e spec.Error) bool { return e.Pos == n.Pos })
}

// decode fills what each part says of itself.
func (l *loader) decode(root *spec.Node) {
	l.errs = append(l.errs, spec.Decode(root, &l.file)...)
	for _, n := range l.file.sources {
		s := &source{end: end{name: n.Name, kind: "source", pos: n.Pos}, node: n.Node}
		l.errs = append(l.errs, spec.Decode(n.Node, &s.c)...)
		l.srcs = append(l.srcs, s)
	}
	for _, n := range l.file.operators {
		op := &operator{end: end{name: n.Name, kind: "operator", pos: n.Pos}, node: n.Node}
		l.decodeOperator(op)
		l.ops = append(l.ops, op)
	}
	for _, n := range l.file.sinks {
		s := &sink{end: end{name: n.Name, kind: "sink", pos: n.Pos}, node: n.Node}
		l.errs = append(l.errs, spec.Decode(n.Node, &s.c)...)
		l.outs = append(l.outs, s)
	}

	f, p := &l.file, l.p
	p.Name = f.name
	if f.name == "." || f.name == ".." {
		l.errorf(f.at.name, "expected a name of letters and digits", "the pipeline cannot be named %q, which is no folder of its own", f.name)
	}
	if f.tasks != "partitions" {
		p.Tasks, _ = strconv.Atoi(f.tasks)
	}
	p.Kafka = Kafka{Brokers: l.brokers(root.Get("kafka")), Replication: f.kafka.replication}
	p.Kafka.TLS, p.Kafka.SASL = l.security()
	p.Commit = Commit{Interval: f.commit.interval, Rows: f.commit.rows, Bytes: f.commit.bytes}
	p.Checkpoint = Checkpoint{Local: f.checkpoint.local, Remote: f.checkpoint.remote}
	if p.StateDir = f.state.dir; p.StateDir == "" {
		l.errorf(f.state.dirAt, "expected a folder, . for the current one", "dir is empty")
	}
	p.StateDir = filepath.FromSlash(p.StateDir)
	if n := root.Get("sources"); n != nil && n.Kind == spec.Map && len(n.Keys) == 0 {
		l.errorf(f.at.sources, "expected at least one", "there are no sources")
	}
}

// brokers takes the list of brokers apart.
func (l *loader) brokers(node *spec.Node) []string {
	var list []string
	embedded := false
	c := &l.file.kafka
	for _, item := range c.brokers {
		for _, text := range strings.Split(item.Name, ",") {
			text = strings.TrimSpace(text)
			if text == "embedded" {
				embedded = true
				continue
			}
			host, port, err := net.SplitHostPort(text)
			if n, bad := strconv.ParseUint(port, 10, 16); err != nil || host == "" || bad != nil || n == 0 || strings.ContainsAny(host, "/ @") {
				at := item.Pos
				if at == (spec.Pos{}) {
					at = c.brokersAt
				}
				if interpolated(node.Get("brokers"), item.Pos) {
					text = item.Name // whole: the part of a secret would not be known for one
				}
				l.errorf(at, "expected host:port, several with commas between them, or embedded", "%q is no address of a broker", text)
				continue
			}
			if !slices.Contains(list, text) {
				list = append(list, text)
			}
		}
	}
	if embedded && len(list) > 0 {
		l.errorf(c.brokersAt, "expected either", "brokers names the embedded broker and others")
	}
	if n := node.Get("brokers"); n != nil && n.Kind == spec.List && len(n.Items) == 0 {
		l.errorf(c.brokersAt, "expected host:port or embedded", "there are no brokers")
	}
	return list
}

// interpolated reports whether the scalar at a position, n or an item of it, holds
// the value of a variable.
func interpolated(n *spec.Node, at spec.Pos) bool {
	return n != nil && (n.Interpolated && n.Pos == at ||
		slices.ContainsFunc(n.Items, func(item *spec.Node) bool { return interpolated(item, at) }))
}

// declare gives every part its name, and resolves what reads from what.
func (l *loader) declare() {
	var all []*end
	for _, s := range l.srcs {
		all = append(all, &s.end)
	}
	for _, op := range l.ops {
		all = append(all, &op.end)
	}
	for _, s := range l.outs {
		all = append(all, &s.end)
	}
	// Whatever comes first in the file has the name. --set comes last.
	slices.SortStableFunc(all, func(a, b *end) int {
		x, y := a.pos, b.pos
		if (x.Line == 0) != (y.Line == 0) {
			return y.Line - x.Line
		}
		if x.Line != y.Line {
			return x.Line - y.Line
		}
		return x.Col - y.Col
	})
	for _, e := range all {
		if first := l.ends[e.name]; first != nil {
			l.errorf(e.pos, "expected a name of its own", "%q names two things: the %s on line %d already", e.name, first.kind, first.pos.Line)
			continue
		}
		l.ends[e.name] = e
		if e.kind != "sink" {
			l.names = append(l.names, e.name)
		}
	}
	slices.Sort(l.names)
	for _, op := range l.ops {
		op.inputs = l.resolve(op.c.from)
	}
	for _, s := range l.outs {
		s.inputs = l.resolve(s.c.from)
	}
}

func (l *loader) resolve(from []spec.Name) []*end {
	ends := make([]*end, len(from))
	for i, name := range from {
		e := l.ends[name.Name]
		switch {
		case e == nil:
			l.errorf(name.Pos, spec.Suggest(name.Name, l.names), "no source or operator %q", name.Name)
		case e.kind == "sink":
			l.errorf(name.Pos, "expected a source or an operator", "%q is a sink: it cannot be read from", name.Name)
		default:
			ends[i] = e
		}
	}
	return ends
}

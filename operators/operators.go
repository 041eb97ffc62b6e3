// Package operators is the contract between the engine and the nodes of a
// pipeline's graph: what an operator declares about itself ([Spec]), what it is
// given when it is built ([Env]), and what it does with rows ([Operator]).
//
// Operators are deterministic: no clock, no dice, no goroutine, no I/O. What they
// remember they hold in state handles asked of the Env. How rows are cut into
// batches must not change what they emit. Package optest holds these laws.
package operators

import (
	"fmt"
	"io"
	"slices"

	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// Operator is one node of one task's graph. It is used by one goroutine.
type Operator interface {
	// Process takes the rows of a batch in order and emits what follows from
	// them. port is the position of the input in the node's from list. in is
	// borrowed until Process returns; only columns the operator added may be
	// written. An error is fatal: the task stops. A row that cannot be used is
	// passed to Reject instead.
	Process(port int, in *batch.Batch, out Emitter) error
}

// Emitter takes what an operator makes of its input.
type Emitter interface {
	// Emit passes a batch on to the nodes downstream and returns when they have
	// processed it. Rejected rows of the input are left out.
	Emit(b *batch.Batch) error
	// Reject sends a row of the current input to the errors topic with its
	// reason, and leaves it out of what is emitted. Rows are rejected in order.
	Reject(row int, why error)
}

// Repartitioner is a configuration of an operator behind which the rows lie in
// other partitions: the engine cuts the graph there and carries them across.
type Repartitioner interface {
	// Repartition returns the column whose text picks the partition, and how many
	// partitions there are.
	Repartition() (key string, partitions int)
}

// FileReader is a configuration of an operator that takes up a file. Operators have
// no I/O: whoever loads a pipeline opens the file, once, before anything is built.
type FileReader interface {
	// File is the field that names it.
	File() *spec.File
	// ReadFile takes up its content and returns everything that is wrong with it.
	// What it makes of it is shared by the operators that are built of the
	// configuration, one for each task, and never changed.
	ReadFile(content io.Reader) spec.Errors
}

// Role says what a node is for: how tools present it and what they ask of it.
type Role uint8

// The roles.
const (
	Transform Role = iota // changes rows
	Learner               // predicts and learns; reports version, weights_nonzero, weights_l2
	Evaluator             // turns predictions into metrics; reports them
	Detector              // emits {node, task, row, value, kind} when a change is found
)

func (r Role) String() string {
	return [...]string{"transform", "learner", "evaluator", "detector"}[r]
}

// Spec declares an operator whose configuration is C. Documentation, schema,
// validation and tests are made from it.
type Spec[C any] struct {
	Name     string // the key in a pipeline file, lower_snake_case
	Summary  string // one line, ends with a full stop
	Doc      string // definition, cost in time and memory, source; paragraphs parted by blank lines
	Role     Role
	Inputs   int            // names that from may hold; 0 means 1
	Columns  string         // the columns it emits, in words
	Examples []spec.Example // documentation and golden tests at once
	// Allocates says why Process may allocate in steady state; empty = it may not.
	Allocates string
	// Build makes the operator. Whatever can fail by name or value is complained
	// of to env there, all complaints at once; the result is then not used.
	Build func(c *C, env *Env) Operator
}

// Definition is a Spec whose type of configuration is forgotten.
type Definition struct {
	Name, Summary, Doc, Columns string
	Allocates                   string
	Role                        Role
	Inputs                      int
	Examples                    []spec.Example
	// New returns a configuration, to be decoded into.
	New   func() spec.Config
	build func(c spec.Config, env *Env) Operator
}

// Define makes a Definition of a Spec.
func Define[C any, P interface {
	*C
	spec.Config
}](s Spec[C]) *Definition {
	return &Definition{
		Name: s.Name, Summary: s.Summary, Doc: s.Doc, Columns: s.Columns, Allocates: s.Allocates,
		Role: s.Role, Inputs: max(s.Inputs, 1), Examples: s.Examples,
		New:   func() spec.Config { return P(new(C)) },
		build: func(c spec.Config, env *Env) Operator { return s.Build((*C)(c.(P)), env) },
	}
}

// Family is the list of the operators of one package.
type Family struct{ defs []*Definition }

// Add lists a definition and returns it.
func (f *Family) Add(d *Definition) *Definition {
	f.defs = append(f.defs, d)
	return d
}

// Definitions returns the operators of the family.
func (f *Family) Definitions() []*Definition { return f.defs }

// Registry is a set of operators with unique names.
type Registry struct {
	defs  map[string]*Definition
	names []string
}

// Merge makes a registry of families. Two operators of one name are a
// programming error.
func Merge(families ...*Family) *Registry {
	r := &Registry{defs: map[string]*Definition{}}
	for _, f := range families {
		for _, d := range f.defs {
			if r.defs[d.Name] != nil {
				panic(fmt.Sprintf("operators: %s is defined twice", d.Name))
			}
			r.defs[d.Name] = d
			r.names = append(r.names, d.Name)
		}
	}
	slices.Sort(r.names)
	return r
}

// Lookup returns the named definition, or nil.
func (r *Registry) Lookup(name string) *Definition { return r.defs[name] }

// Names returns the names in ascending order.
func (r *Registry) Names() []string { return r.names }

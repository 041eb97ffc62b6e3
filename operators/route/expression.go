package route

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unsafe"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// functions are the builtins an expression may call: those whose result hangs on
// their arguments alone, and whose work is bounded by them. Left out are clocks
// and time zones, what walks over maps in no order, and what makes texts and
// lists far longer than its arguments.
var functions = []string{
	"abs", "all", "any", "ceil", "count", "float", "floor", "hasPrefix", "hasSuffix", "indexOf", "int", "lastIndexOf",
	"len", "lower", "max", "min", "none", "one", "round", "string", "trim", "trimPrefix", "trimSuffix", "upper",
}

// toInt is the function int. The builtin leaves what is beyond 64 bits to the
// processor, and processors differ.
func toInt(params ...any) (any, error) {
	switch x := params[0].(type) {
	case int:
		return x, nil
	case int64:
		return int(x), nil
	case float64:
		if !(x >= math.MinInt64 && x < math.MaxInt64) {
			return nil, fmt.Errorf("int of %v; expected a number of 64 bits", x)
		}
		return int(x), nil
	case string:
		n, err := strconv.ParseInt(x, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("int of %q; expected the digits of a whole number of 64 bits", x)
		}
		return int(n), nil
	}
	return nil, errors.New("a function of a null")
}

// intTypes are what int takes.
var intTypes = []any{new(func(float64) int), new(func(int) int), new(func(int64) int), new(func(string) int)}

// toString is the function string. The builtin writes a million as 1e+06.
func toString(params ...any) (any, error) {
	switch x := params[0].(type) {
	case string:
		return x, nil
	case bool:
		return strconv.FormatBool(x), nil
	case int:
		return strconv.Itoa(x), nil
	case int64:
		return strconv.FormatInt(x, 10), nil
	case float64:
		if x-x != 0 {
			return nil, fmt.Errorf("string of %v; expected a finite number", x)
		}
		return string(batch.FormatFloat(nil, x, 64)), nil
	}
	return nil, errors.New("a function of a null")
}

// stringTypes are what string takes.
var stringTypes = []any{new(func(string) string), new(func(bool) string), new(func(int) string), new(func(int64) string), new(func(float64) string)}

// expression is a compiled expression over the columns of an input. It reads rows
// without allocating, whatever the expression then does.
type expression struct {
	text    string
	program *vm.Program
	machine vm.VM
	vars    []*variable
	env     map[string]any // the variables' values
}

// condition is an expression that is true or false.
type condition struct{ *expression }

// variable is a column that the expression reads.
type variable struct {
	name string
	col  operators.Col
	typ  batch.Type
	null bool // env holds nil

	number float64
	whole  int64
	text   string
	value  any // shows number, whole or text, whichever the type takes
}

// newCondition compiles a condition, and complains to env of what is wrong with it.
func newCondition(text spec.Text, env *operators.Env) condition {
	return condition{compile(text, env, expr.AsBool(), expr.WarnOnAny())}
}

// compile compiles an expression, and complains to env of what is wrong with it;
// the result is then nil.
func compile(text spec.Text, env *operators.Env, more ...expr.Option) *expression {
	r := &resolver{schema: env.Input(0), paths: map[ast.Node]path{}, open: map[ast.Node]bool{}, used: map[string]bool{}, guarded: map[*ast.BinaryNode]bool{}}
	known := types.Map{}
	for _, f := range r.schema.Fields {
		if t, ok := typeOf(f); ok {
			known[f.Name] = t
		}
	}
	options := append([]expr.Option{expr.Env(known), expr.Patch(r), expr.DisableAllBuiltins()}, more...)
	for _, name := range functions {
		switch name {
		case "int":
			options = append(options, expr.Function(name, toInt, intTypes...))
		case "string":
			options = append(options, expr.Function(name, toString, stringTypes...))
		default:
			options = append(options, expr.EnableBuiltin(name))
		}
	}
	program, err := expr.Compile(text.Value, options...)
	if r.complain(text, env) {
		return nil // whatever else is wrong may follow from that
	}
	if err != nil {
		complain(text, env, err)
		return nil
	}
	c := &expression{text: text.Value, program: program, env: map[string]any{}}
	for i, f := range r.schema.Fields {
		if r.used[f.Name] {
			v := &variable{name: f.Name, col: operators.Col(i), typ: f.Type}
			v.value = v.show()
			c.env[f.Name] = v.value
			c.vars = append(c.vars, v)
		}
	}
	return c
}

// typeOf returns what a column is in an expression. A type that may be nil is a
// pointer to the checker, which then allows comparison with nil and the default
// operator; the machine is given the value or nil.
func typeOf(f batch.Field) (types.Type, bool) {
	switch f.Type {
	case batch.Bool:
		return orNil(types.Bool, new(bool), f.Nullable), true
	case batch.Int64, batch.Timestamp:
		return orNil(types.Int64, new(int64), f.Nullable), true
	case batch.Float64:
		return orNil(types.Float64, new(float64), f.Nullable), true
	case batch.String:
		return orNil(types.String, new(string), f.Nullable), true
	}
	return nil, false
}

func orNil(t types.Type, pointer any, nullable bool) types.Type {
	if nullable {
		return types.TypeOf(pointer)
	}
	return t
}

// complain reports an error of the compiler where it stands in the text.
func complain(text spec.Text, env *operators.Env, err error) {
	if at := (*file.Error)(nil); errors.As(err, &at) {
		env.Errorf(text.At(at.From), "expected an expression such as price > 0 and site != 'x'", "%s", plain(at.Message))
		return
	}
	msg := plain(err.Error())
	if _, got, ok := strings.Cut(msg, "expected bool, but got "); ok {
		want := "expected one that is true or false"
		if got == "bool?" || got == "unknown" {
			want += ", for a null as well: give columns that may be null a default, as in (y ?? false)"
		}
		env.Errorf(text.Pos, want, "the expression is %s", got)
		return
	}
	env.Errorf(text.Pos, "", "%s", msg)
}

// plain puts the checker's types in the words of a pipeline file.
func plain(msg string) string {
	msg, _, _ = strings.Cut(msg, "\n")
	for _, t := range []string{"bool", "int64", "float64", "string"} {
		msg = strings.ReplaceAll(msg, "*"+t, t+"?")
	}
	return msg
}

// run evaluates the expression on a row.
func (c *expression) run(in *batch.Batch, row int) (any, error) {
	for _, v := range c.vars {
		c.set(v, v.col.Of(in), row)
	}
	return c.machine.Run(c.program, c.env)
}

// why says what the failure of an expression on a row was.
func (c *expression) why(err error) error {
	msg := err.Error()
	if at := (*file.Error)(nil); errors.As(err, &at) {
		msg = at.Message
	}
	if strings.HasPrefix(msg, "interface conversion: ") || strings.HasPrefix(msg, "reflect: ") {
		msg = "a function of a null"
	}
	return fmt.Errorf("%s: %s", c.text, strings.ReplaceAll(plain(msg), "<nil>", "null"))
}

// holds evaluates the condition on a row.
func (c condition) holds(in *batch.Batch, row int) (bool, error) {
	out, err := c.run(in, row)
	if err != nil {
		return false, c.why(err)
	}
	holds, ok := out.(bool)
	if !ok {
		return false, fmt.Errorf("%s: the result is %v; expected true or false", c.text, out)
	}
	return holds, nil
}

func (c *expression) set(v *variable, col *batch.Column, row int) {
	if col.Null(row) {
		if !v.null {
			v.null, c.env[v.name] = true, nil
		}
		return
	}
	switch v.typ {
	case batch.Bool:
		c.env[v.name] = col.Bools[row]
		v.null = false
		return
	case batch.Int64, batch.Timestamp:
		v.whole = col.Ints[row]
	case batch.Float64:
		v.number = col.Floats[row]
	case batch.String:
		v.text = col.TextString(row)
	}
	if v.null {
		v.null, c.env[v.name] = false, v.value
	}
}

// show returns an interface value that shows the variable's present content
// whenever it is read. An ordinary one would have to be allocated for every row.
func (v *variable) show() any {
	switch v.typ {
	case batch.Int64, batch.Timestamp:
		return showing(&v.whole)
	case batch.Float64:
		return showing(&v.number)
	case batch.String:
		return showing(&v.text)
	}
	return false
}

// showing returns an interface value whose content lies at p. The machine copies
// what it reads, so it may change between runs.
func showing[T int64 | float64 | string](p *T) any {
	var v any = *p
	// An interface is a pointer to its type and one to its content.
	(*[2]unsafe.Pointer)(unsafe.Pointer(&v))[1] = unsafe.Pointer(p)
	return v
}

// path is a name as it is written, with dots, and where.
type path struct {
	name string
	from int
}

// resolver finds the columns that an expression names. Names with dots are
// columns where there is such a column, and so are $env["…"] of any name.
type resolver struct {
	schema *batch.Schema
	paths  map[ast.Node]path
	open   map[ast.Node]bool // names that are no column
	calls  []path            // of functions there are not
	powers []int             // where exponents are that are not whole constants
	used   map[string]bool

	guarded map[*ast.BinaryNode]bool
}

// Visit implements ast.Visitor. Children are visited before their parents.
func (r *resolver) Visit(at *ast.Node) {
	switch n := (*at).(type) {
	case *ast.IdentifierNode:
		r.resolve(at, path{n.Value, n.Location().From})
	case *ast.MemberNode:
		property, ok := n.Property.(*ast.StringNode)
		outer, named := r.paths[n.Node]
		if !ok || !named {
			return
		}
		delete(r.open, n.Node)
		delete(r.paths, n.Node)
		if outer.name == "$env" {
			r.resolve(at, path{property.Value, outer.from})
			return
		}
		r.resolve(at, path{outer.name + "." + property.Value, outer.from})
	case *ast.CallNode:
		if name, ok := r.paths[n.Callee]; ok && r.open[n.Callee] {
			delete(r.open, n.Callee)
			if name.name != "int" && name.name != "string" {
				r.calls = append(r.calls, name)
			}
		}
	case *ast.BinaryNode:
		switch n.Operator {
		case "in":
			r.guard(at, n)
		case "**", "^":
			if _, whole := n.Right.(*ast.IntegerNode); !whole {
				r.powers = append(r.powers, n.Right.Location().From)
			}
		}
	case *ast.VariableDeclaratorNode: // what looked like columns in its scope were this
		for node := range r.open {
			if name, _, _ := strings.Cut(r.paths[node].name, "."); name == n.Name {
				delete(r.open, node)
			}
		}
	}
}

// guard makes `a in list` false where the column a is null. The compiler turns a
// list of constants into a set, in which the machine looks up a null as "" or 0.
func (r *resolver) guard(at *ast.Node, n *ast.BinaryNode) {
	left, ok := n.Left.(*ast.IdentifierNode)
	if !ok || r.guarded[n] {
		return
	}
	if i := r.schema.Lookup(left.Value); i < 0 || !r.schema.Fields[i].Nullable {
		return
	}
	r.guarded[n] = true
	known := &ast.BinaryNode{Operator: "!=", Left: &ast.IdentifierNode{Value: left.Value}, Right: &ast.NilNode{}}
	known.SetLocation(n.Location())
	known.Left.SetLocation(left.Location())
	ast.Patch(at, &ast.BinaryNode{Operator: "and", Left: known, Right: n})
}

// resolve takes a node as the column of a name, if there is one.
func (r *resolver) resolve(at *ast.Node, name path) {
	known := r.schema.Lookup(name.name) >= 0
	if _, plain := (*at).(*ast.IdentifierNode); known && !plain {
		ast.Patch(at, &ast.IdentifierNode{Value: name.name})
	}
	r.paths[*at] = name
	if known {
		r.used[name.name] = true
	} else {
		r.open[*at] = true
	}
}

// complain reports every name that is no column and every call of no function,
// and columns that an expression cannot read.
func (r *resolver) complain(text spec.Text, env *operators.Env) bool {
	found := false
	var names []string
	for _, f := range r.schema.Fields {
		if _, ok := typeOf(f); ok {
			names = append(names, f.Name)
		}
	}
	for node := range r.open { // errors are sorted by position
		name := r.paths[node]
		env.Errorf(text.At(name.from), suggest(name.name, names, "column"), "no column %q", name.name)
		found = true
	}
	for _, name := range r.calls {
		env.Errorf(text.At(name.from), suggest(name.name, functions, "function"), "no function %q", name.name)
		found = true
	}
	for _, at := range r.powers {
		env.Errorf(text.At(at), "expected a whole number, as in price ** 2: other powers differ between processors in the last digit", "an exponent that is not a constant")
		found = true
	}
	for _, name := range r.paths {
		if i := r.schema.Lookup(name.name); i >= 0 && r.schema.Fields[i].Type == batch.Sparse {
			env.Errorf(text.At(name.from), "expected bool, int64, float64, string or timestamp", "column %q is sparse", name.name)
			found = true
		}
	}
	return found
}

func suggest(name string, names []string, what string) string {
	if near := spec.Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(names) == 0 {
		return "expected no " + what
	}
	const most = 30
	if len(names) > most {
		return fmt.Sprintf("expected one of %s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return "expected one of " + strings.Join(names, ", ")
}

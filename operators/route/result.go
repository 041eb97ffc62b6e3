package route

import (
	"reflect"
	"slices"

	"github.com/expr-lang/expr/ast"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// resultType returns the type of what an expression comes to; ok is false if it is
// not known. The checker knows most; it gives up where the branches of a
// condition or the sides of ?? are numbers of two kinds.
func resultType(n ast.Node) (_ batch.Type, ok bool) {
	t := typeOfResult(n)
	return t, t != 0
}

// typeOfResult is 0 for nil and for what is not known.
func typeOfResult(n ast.Node) batch.Type {
	if t := n.Type(); t != nil {
		if t.Kind() == reflect.Pointer { // may be nil
			t = t.Elem()
		}
		switch t.Kind() {
		case reflect.Bool:
			return batch.Bool
		case reflect.Int, reflect.Int64:
			return batch.Int64
		case reflect.Float64:
			return batch.Float64
		case reflect.String:
			return batch.String
		}
	}
	switch n := n.(type) {
	case *ast.ConditionalNode:
		return either(n.Exp1, n.Exp2)
	case *ast.BinaryNode:
		switch n.Operator {
		case "??":
			return either(n.Left, n.Right)
		case "+", "-", "*":
			return either(n.Left, n.Right)
		}
	case *ast.UnaryNode:
		return typeOfResult(n.Node)
	case *ast.VariableDeclaratorNode:
		return typeOfResult(n.Expr)
	case *ast.SequenceNode:
		return typeOfResult(n.Nodes[len(n.Nodes)-1])
	}
	return 0
}

// either is the type that holds both; a nil fits any.
func either(a, b ast.Node) batch.Type {
	if _, ok := a.(*ast.NilNode); ok {
		return typeOfResult(b)
	}
	if _, ok := b.(*ast.NilNode); ok {
		return typeOfResult(a)
	}
	x, y := typeOfResult(a), typeOfResult(b)
	switch {
	case x == y:
		return x
	case x == batch.Int64 && y == batch.Float64, x == batch.Float64 && y == batch.Int64:
		return batch.Float64
	}
	return 0
}

// mayBeNull reports whether an expression can come to nil, or fail because of a
// null. It errs on the side of yes.
func mayBeNull(n ast.Node, s *batch.Schema) bool {
	any := func(nodes ...ast.Node) bool {
		for _, n := range nodes {
			if n != nil && mayBeNull(n, s) {
				return true
			}
		}
		return false
	}
	switch n := n.(type) {
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.StringNode, *ast.ConstantNode, *ast.PointerNode:
		return false
	case *ast.IdentifierNode:
		i := s.Lookup(n.Value)
		return i >= 0 && s.Fields[i].Nullable // a variable's value was looked at where it is declared
	case *ast.UnaryNode:
		return any(n.Node)
	case *ast.BinaryNode:
		switch n.Operator {
		case "??":
			return !plainColumn(n.Left) && any(n.Left) || any(n.Right)
		case "==", "!=":
			if name, _ := comparedWithNil(n); name != "" {
				return false
			}
		case "and", "&&":
			if name, equal := comparedWithNil(n.Left); name != "" && !equal {
				return mayBeNull(n.Right, without(s, name))
			}
		}
		return any(n.Left, n.Right)
	case *ast.ConditionalNode:
		switch name, equal := comparedWithNil(n.Cond); {
		case name != "" && equal:
			return any(n.Exp1) || mayBeNull(n.Exp2, without(s, name))
		case name != "":
			return mayBeNull(n.Exp1, without(s, name)) || any(n.Exp2)
		}
		return any(n.Cond, n.Exp1, n.Exp2)
	case *ast.BuiltinNode:
		return any(n.Arguments...)
	case *ast.CallNode:
		return any(n.Arguments...)
	case *ast.PredicateNode:
		return any(n.Node)
	case *ast.SliceNode:
		return any(n.Node, n.From, n.To)
	case *ast.ArrayNode:
		return any(n.Nodes...)
	case *ast.VariableDeclaratorNode:
		return any(n.Value, n.Expr)
	case *ast.SequenceNode:
		return any(n.Nodes...)
	}
	return true
}

// plainColumn reports whether a node is a column, or a ?? of columns: what may be
// nil but cannot fail.
func plainColumn(n ast.Node) bool {
	if b, ok := n.(*ast.BinaryNode); ok && b.Operator == "??" {
		return plainColumn(b.Left) && plainColumn(b.Right)
	}
	_, ok := n.(*ast.IdentifierNode)
	return ok
}

// comparedWithNil returns the column of `column == nil`, in which case equal is
// true, or of `column != nil`; else "".
func comparedWithNil(n ast.Node) (column string, equal bool) {
	b, ok := n.(*ast.BinaryNode)
	if !ok || b.Operator != "==" && b.Operator != "!=" {
		return "", false
	}
	name, ok := b.Left.(*ast.IdentifierNode)
	if _, null := b.Right.(*ast.NilNode); !ok || !null {
		return "", false
	}
	return name.Value, b.Operator == "=="
}

// without is the schema where a column is known not to be null.
func without(s *batch.Schema, column string) *batch.Schema {
	fields := slices.Clone(s.Fields)
	for i := range fields {
		if fields[i].Name == column {
			fields[i].Nullable = false
		}
	}
	return batch.NewSchema(fields...)
}

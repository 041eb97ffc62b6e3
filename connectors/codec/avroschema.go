package codec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/avro"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// avroNode is a type of the writer's schema, and what becomes of its values.
type avroNode struct {
	kind     avroKind
	col      int // column of a value; -1 = it is skipped
	typ      batch.Type
	scale    avroScale
	path     string
	size     int         // fixed: bytes
	least    int         // a bound from below of the bytes that a value takes
	symbols  []string    // enum
	children []*avroNode // fields of a record, branches of a union, items of an array, values of a map
}

type avroKind uint8

const (
	avroNull avroKind = iota
	avroBoolean
	avroInt
	avroLong
	avroFloat
	avroDouble
	avroBytes
	avroString
	avroFixed
	avroEnum
	avroArray
	avroMap
	avroUnion
	avroRecord
)

var avroKinds = map[string]avroKind{
	"null": avroNull, "boolean": avroBoolean, "int": avroInt, "long": avroLong, "float": avroFloat, "double": avroDouble, "bytes": avroBytes,
	"string": avroString, "fixed": avroFixed, "enum": avroEnum, "array": avroArray, "map": avroMap, "union": avroUnion, "record": avroRecord, "error": avroRecord,
}

// avroScale is the unit of a number that is a time, as milliseconds: it is multiplied
// by times, then divided by per.
type avroScale struct{ times, per int64 }

// avroCompiler makes nodes of a schema.
type avroCompiler struct {
	schema *batch.Schema
	time   string // column of the event time
	bound  []bool // columns that have a field
	named  map[string]avro.SchemaNode
	skips  map[string]*avroNode // nodes of named types that are skipped: they may hold themselves
}

func fullName(n *avro.SchemaNode) string {
	if n.Namespace == "" || strings.Contains(n.Name, ".") {
		return n.Name
	}
	return n.Namespace + "." + n.Name
}

// collect finds the named types.
func (c *avroCompiler) collect(n *avro.SchemaNode) {
	if n.Name != "" {
		c.named[fullName(n)] = *n
	}
	for i := range n.Fields {
		c.collect(&n.Fields[i].Type)
	}
	for i := range n.Branches {
		c.collect(&n.Branches[i])
	}
	for _, child := range []*avro.SchemaNode{n.Items, n.Values} {
		if child != nil {
			c.collect(child)
		}
	}
}

// below reports whether a column lies inside a path.
func (c *avroCompiler) below(path string) bool {
	return slices.ContainsFunc(c.schema.Fields, func(f batch.Field) bool { return path == "" || strings.HasPrefix(f.Name, path+".") })
}

// node compiles a type, spelt within a namespace, whose values stand at a path, for a
// column or -1.
func (c *avroCompiler) node(n *avro.SchemaNode, space, path string, col int) (*avroNode, error) {
	kind, known := avroKinds[n.Type]
	if !known {
		named, ok := c.named[space+"."+n.Type]
		if !ok {
			named, ok = c.named[n.Type]
		}
		if !ok {
			return nil, fmt.Errorf("the Avro schema: no type %q", n.Type)
		}
		return c.node(&named, space, path, col)
	}
	if n.Name != "" {
		space = ""
		if full := fullName(n); strings.Contains(full, ".") {
			space = full[:strings.LastIndexByte(full, '.')]
		}
	}
	// What is inside an array or a map may be there several times: no column takes it.
	skipped := col < 0 && (strings.Contains(path, "[]") || !c.below(path))
	if skipped && n.Name != "" {
		if out := c.skips[fullName(n)]; out != nil {
			return out, nil
		}
	}
	out := &avroNode{kind: kind, col: col, path: path, size: n.Size, least: 1}
	if skipped && n.Name != "" {
		c.skips[fullName(n)] = out
	}
	if col >= 0 {
		f := c.schema.Fields[col]
		out.typ = f.Type
		if !out.fits(n) {
			what := n.Type
			if n.LogicalType != "" {
				what += " (" + n.LogicalType + ")"
			}
			return nil, fmt.Errorf("column %q is %s; the field of the Avro schema is %s", f.Name, f.TypeString(), what)
		}
		if f.Name == c.time && out.typ == batch.Int64 && out.scale != (avroScale{1, 1}) {
			out.typ = batch.Timestamp
		}
	}
	child := func(n *avro.SchemaNode, path string, col int) error {
		made, err := c.node(n, space, path, col)
		out.children = append(out.children, made)
		return err
	}
	switch kind {
	case avroNull:
		out.least = 0
	case avroFixed:
		out.least = n.Size
	case avroFloat:
		out.least = 4
	case avroDouble:
		out.least = 8
	case avroEnum:
		out.symbols = n.Symbols
	case avroArray:
		return out, child(n.Items, path+"[]", -1)
	case avroMap:
		return out, child(n.Values, path+"[]", -1)
	case avroUnion:
		for i := range n.Branches {
			if err := child(&n.Branches[i], path, col); err != nil {
				return nil, err
			}
		}
	case avroRecord:
		out.least = 0
		for i := range n.Fields {
			f := &n.Fields[i]
			at := f.Name
			if path != "" {
				at = path + "." + f.Name
			}
			col := -1
			if !skipped {
				if col = c.schema.Lookup(at); col >= 0 {
					c.bound[col] = true
				}
			}
			if err := child(&f.Type, at, col); err != nil {
				return nil, err
			}
			out.least = min(1<<20, out.least+out.children[i].least)
		}
	}
	return out, nil
}

// fits reports whether the column of a node holds its values.
func (n *avroNode) fits(of *avro.SchemaNode) bool {
	switch n.kind {
	case avroNull, avroUnion:
		return true
	case avroBoolean:
		return n.typ == batch.Bool
	case avroInt, avroLong:
		n.scale = avroScale{1, 1}
		switch strings.TrimPrefix(of.LogicalType, "local-") {
		case "date":
			n.scale.times = 86_400_000
		case "timestamp-micros":
			n.scale.per = 1000
		case "timestamp-nanos":
			n.scale.per = 1_000_000
		case "time-millis", "time-micros":
			return n.typ == batch.Int64 || n.typ == batch.Float64
		}
		return n.typ == batch.Int64 || n.typ == batch.Float64 || n.typ == batch.Timestamp
	case avroFloat, avroDouble:
		return n.typ == batch.Float64
	case avroString, avroEnum:
		return n.typ == batch.String
	}
	return false
}

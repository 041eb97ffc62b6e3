package batch

import "strings"

// Type is the type of a column. Whether a column may hold nulls is a property
// of its [Field], not of its type.
type Type uint8

// The column types of a pipeline file.
const (
	Bool      Type = iota + 1 // true or false
	Int64                     // 64-bit signed integer
	Float64                   // finite IEEE 754 double; NaN and infinities never enter a batch
	String                    // valid UTF-8
	Timestamp                 // int64 milliseconds since 1970-01-01T00:00:00Z
	Sparse                    // sparse vector: uint32 indices with float32 values
)

var typeNames = [...]string{"invalid", "bool", "int64", "float64", "string", "timestamp", "sparse"}

// String returns the name used in pipeline files.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return typeNames[0]
}

// Types lists the names of all column types in the order of the constants.
func Types() []string { return typeNames[1:] }

// ParseType reads a column type as a pipeline file writes it: a type name, with
// a trailing ? if the column may be missing or null.
func ParseType(text string) (t Type, nullable, ok bool) {
	name, nullable := strings.CutSuffix(text, "?")
	for i, n := range typeNames[1:] {
		if n == name {
			return Type(i + 1), nullable, true
		}
	}
	return 0, nullable, false
}

// Numeric reports whether a column of this type can be read as a number:
// bool (0 and 1), int64, float64 and timestamp.
func (t Type) Numeric() bool {
	return t == Bool || t == Int64 || t == Float64 || t == Timestamp
}

// Field names and types one column.
type Field struct {
	Name     string
	Type     Type
	Nullable bool
	Dim      int // Sparse only: every index is below Dim; 0 = unknown
}

// String returns "name: type" or "name: type?".
func (f Field) String() string { return f.Name + ": " + f.TypeString() }

// TypeString returns the type as a pipeline file writes it, with ? if nullable.
func (f Field) TypeString() string {
	if f.Nullable {
		return f.Type.String() + "?"
	}
	return f.Type.String()
}

// Schema is an ordered list of columns with unique names. It is immutable once
// shared.
type Schema struct{ Fields []Field }

// NewSchema returns a schema of the given columns.
func NewSchema(fields ...Field) *Schema { return &Schema{Fields: fields} }

// Lookup returns the position of the named column, or -1.
func (s *Schema) Lookup(name string) int {
	for i := range s.Fields {
		if s.Fields[i].Name == name {
			return i
		}
	}
	return -1
}

// Names returns the column names in order.
func (s *Schema) Names() []string {
	names := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		names[i] = f.Name
	}
	return names
}

// String returns the columns separated by ", ".
func (s *Schema) String() string {
	parts := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		parts[i] = f.String()
	}
	return strings.Join(parts, ", ")
}

package spec

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Config is what a component lets its user write: a struct, by pointer, whose
// Fields method declares every field. Fields is called whenever the declaration
// is needed, so it must declare the same fields each time and do nothing else.
type Config interface {
	Fields(f *Fields)
}

// Checker is a Config with rules across its fields. Check is called once all
// fields are decoded without an error. It complains through add, naming the
// field at whose value the error is reported ("" for the mapping as a whole);
// want is a phrase such as `expected more than min`.
type Checker interface {
	Check(add func(field, msg, want string))
}

// Name is a text that keeps its position: the name of something declared
// elsewhere.
type Name struct {
	Name string
	Pos  Pos
}

// Text is a text that knows where its characters stand, for texts that have a
// grammar of their own.
type Text struct {
	Value string
	Pos   Pos
	text  Pos
}

// At returns the position of the i-th character of the text, from 0; that of the
// whole value where the characters are not written one by one on one line.
func (t Text) At(i int) Pos {
	if t.text.Line == 0 || t.text.File != t.Pos.File || t.text.Line != t.Pos.Line {
		return t.Pos
	}
	at := t.text
	at.Col += i
	return at
}

// Column is the name of a column, to be resolved where the columns are known,
// hence with its position.
type Column struct {
	Name string
	Pos  Pos
}

// Entry is one line of a mapping from name to name.
type Entry struct{ Key, Value Name }

// NamedText is one line of a mapping from name to text.
type NamedText struct {
	Name Name
	Text Text
}

// NamedNode is one line of a mapping from name to a value decoded elsewhere.
type NamedNode struct {
	Name string
	Pos  Pos // of the name
	Node *Node
}

// Option is one possible value of a choice, with fields of its own.
type Option struct {
	Name, Summary string
	New           func() Config // nil if the option has no fields
}

// Choice is the option that was chosen. Its Config is nil if the option has no fields.
type Choice struct {
	Name   string
	Config Config
	Pos    Pos
}

// Fields collects the declaration of a [Config].
type Fields struct {
	list  []*Field
	reset bool // store the defaults in the variables
}

// Field is one declared field. Its methods refine the declaration and return it.
type Field struct {
	name, doc string
	def       string // the default as flow YAML; "" = none
	value     value

	lo, hi           *bound
	required, pinned bool
	hidden, repeats  bool
	re               *regexp.Regexp
	reWant           string
	example          string
	given            *bool
	was, change      string
	at               *Pos

	node *Node // what was written, while decoding
}

// bound is one end of a range.
type bound struct {
	x    float64
	text string
	open bool
}

// value ties a field to the variable it fills.
type value interface {
	reset()                                      // stores the default in the variable
	decode(d *decoder, f *Field, n *Node)        // stores what n, which is not null, says
	text() string                                // the variable as flow YAML
	noun(f *Field) string                        // what is expected: "a whole number from 1 to 4"
	schema(b *schemaBuilder, f *Field) []*Object // the alternatives it may be written as
}

func (f *Fields) add(name, def, doc string, v value) *Field {
	for _, other := range f.list {
		if other.name == name {
			panic(fmt.Sprintf("spec: the field %q is declared twice", name))
		}
	}
	if f.reset {
		v.reset()
	}
	fd := &Field{name: name, def: def, doc: doc, value: v}
	f.list = append(f.list, fd)
	return fd
}

// declare returns the fields of c; reset stores their defaults in c as well.
// A nil Config has no fields.
func declare(c Config, reset bool) []*Field {
	f := &Fields{reset: reset}
	if c != nil {
		c.Fields(f)
	}
	return f.list
}

// Bool declares a field that is true or false.
func (f *Fields) Bool(p *bool, name string, def bool, doc string) *Field {
	return f.add(name, fmt.Sprint(def), doc, &scalar[bool]{p, def, &boolKind})
}

// Int declares a whole number.
func (f *Fields) Int(p *int, name string, def int, doc string) *Field {
	return f.add(name, fmt.Sprint(def), doc, &scalar[int]{p, def, &intKind})
}

// Int64 declares a whole number of 64 bits.
func (f *Fields) Int64(p *int64, name string, def int64, doc string) *Field {
	return f.add(name, fmt.Sprint(def), doc, &scalar[int64]{p, def, &int64Kind})
}

// Float declares a finite number.
func (f *Fields) Float(p *float64, name string, def float64, doc string) *Field {
	return f.add(name, floatKind.show(def), doc, &scalar[float64]{p, def, &floatKind})
}

// String declares a text. Any scalar will do, and gives its text as written.
func (f *Fields) String(p *string, name, def, doc string) *Field {
	return f.add(name, showDefault(def), doc, &scalar[string]{p, def, &stringKind})
}

// Text declares a text with the positions of its characters.
func (f *Fields) Text(p *Text, name, def, doc string) *Field {
	return f.add(name, showDefault(def), doc, &scalar[Text]{p, Text{Value: def}, &textKind})
}

// Duration declares a length of time such as 100ms, 1m30s or 7d, not negative.
func (f *Fields) Duration(p *time.Duration, name string, def time.Duration, doc string) *Field {
	return f.add(name, durationKind.show(def), doc, &scalar[time.Duration]{p, def, &durationKind})
}

// Bytes declares a size such as 16MiB, 10kB or 512, not negative.
func (f *Fields) Bytes(p *int64, name string, def int64, doc string) *Field {
	return f.add(name, bytesKind.show(def), doc, &scalar[int64]{p, def, &bytesKind})
}

// Enum declares a text that is one of values.
func (f *Fields) Enum(p *string, name, def string, values []string, doc string) *Field {
	return f.add(name, showDefault(def), doc, &enum{p, def, values})
}

// Column declares the name of a column.
func (f *Fields) Column(p *Column, name, def, doc string) *Field {
	return f.add(name, showDefault(def), doc, &scalar[Column]{p, Column{Name: def}, &columnKind})
}

// Columns declares a list of columns; one name will do as well.
func (f *Fields) Columns(p *[]Column, name string, def []string, doc string) *Field {
	return listField(f, p, name, def, doc, &columnKind, "column names")
}

// Strings declares a list of texts; one text will do as well.
func (f *Fields) Strings(p *[]string, name string, def []string, doc string) *Field {
	return listField(f, p, name, def, doc, &stringKind, "texts")
}

// Floats declares a list of finite numbers; one number will do as well.
func (f *Fields) Floats(p *[]float64, name string, def []string, doc string) *Field {
	return listField(f, p, name, def, doc, &floatKind, "numbers")
}

// Names declares a list of names; one name will do as well.
func (f *Fields) Names(p *[]Name, name string, def []string, doc string) *Field {
	return listField(f, p, name, def, doc, &nameKind, "names")
}

// ColumnLists declares a list of lists of columns, as in [[user, site]].
func (f *Fields) ColumnLists(p *[][]Column, name, doc string) *Field {
	return f.add(name, "", doc, &columnLists{p})
}

// Object declares a mapping with fields of its own.
func (f *Fields) Object(p Config, name, doc string) *Field {
	return f.add(name, "", doc, &object{p})
}

// Switch declares a field that is false, true, or a mapping with fields of its
// own, which means true.
func (f *Fields) Switch(on *bool, p Config, name string, def bool, doc string) *Field {
	return f.add(name, fmt.Sprint(def), doc, &toggle{on, def, p})
}

// Choice declares a field that is one of options: short, by its name, or long,
// with fields, as in {adagrad: {rate: 0.05}}. Without a default (def "") a field
// left out leaves the zero Choice.
func (f *Fields) Choice(p *Choice, name, def string, options []Option, doc string) *Field {
	return f.add(name, showDefault(def), doc, &choice{p, def, options})
}

// Choices declares a list of options, each short or long; one will do as well.
func (f *Fields) Choices(p *[]Choice, name string, def []string, options []Option, doc string) *Field {
	return f.add(name, flowList(def), doc, &choices{p, def, options})
}

// Ordered declares a mapping from name to name that keeps its written order.
func (f *Fields) Ordered(p *[]Entry, name, doc string) *Field {
	return f.add(name, "", doc, &ordered{p})
}

// Selection declares columns under their own or other names: a list of columns,
// or a mapping from new name to column that keeps its written order.
func (f *Fields) Selection(p *[]Entry, name, doc string) *Field {
	return f.add(name, "", doc, &selection{ordered{p}})
}

// Texts declares a mapping from name to text that keeps its written order.
func (f *Fields) Texts(p *[]NamedText, name, doc string) *Field {
	return f.add(name, "", doc, &namedTexts{p})
}

// Nodes declares a mapping from name to values that the caller decodes, in
// written order. Describe one such value with element, which may be nil, for
// the docs and the schema.
func (f *Fields) Nodes(p *[]NamedNode, name string, element Config, doc string) *Field {
	return f.add(name, "", doc, &nodes{p, element})
}

// Raw declares a field that the caller decodes. It is nil where the field is left out.
func (f *Fields) Raw(p **Node, name, doc string) *Field {
	return f.add(name, "", doc, &raw{p})
}

// Within bounds a number, duration or size: lo ≤ value ≤ hi. Bounds here and
// below are of type int, int64, float64 or time.Duration.
func (f *Field) Within(lo, hi any) *Field { return f.AtLeast(lo).AtMost(hi) }

// Above bounds a value from below: value > lo.
func (f *Field) Above(lo any) *Field { f.lo = f.bound(lo, true); return f }

// AtLeast bounds a value from below: value ≥ lo.
func (f *Field) AtLeast(lo any) *Field { f.lo = f.bound(lo, false); return f }

// Below bounds a value from above: value < hi.
func (f *Field) Below(hi any) *Field { f.hi = f.bound(hi, true); return f }

// AtMost bounds a value from above: value ≤ hi.
func (f *Field) AtMost(hi any) *Field { f.hi = f.bound(hi, false); return f }

func (f *Field) bound(v any, open bool) *bound {
	b := &bound{open: open}
	switch v := v.(type) {
	case int:
		b.x = float64(v)
	case int64:
		b.x = float64(v)
	case float64:
		b.x = v
	case time.Duration:
		b.x = float64(v)
	default:
		panic(fmt.Sprintf("spec: the field %q is bounded by a %T", f.name, v))
	}
	ranged, ok := f.value.(interface{ boundText(float64) string })
	if !ok {
		panic(fmt.Sprintf("spec: the field %q has no order to bound", f.name))
	}
	b.text = ranged.boundText(b.x)
	return b
}

// Required makes it an error to leave the field out.
func (f *Field) Required() *Field { f.required = true; f.def = ""; return f }

// Pin marks a field whose change makes old state unreadable: see [Pinned].
func (f *Field) Pin() *Field { f.pinned = true; return f }

// Repeats allows a list to name the same thing twice.
func (f *Field) Repeats() *Field { f.repeats = true; return f }

// Matching demands that a text, every item of a list, or every key of a mapping
// matches pattern, which want puts in words: "a name of letters and digits".
// The pattern is anchored.
func (f *Field) Matching(pattern, want string) *Field {
	f.re, f.reWant = regexp.MustCompile(`^(?:`+pattern+`)$`), want
	return f
}

// Example gives a value, as YAML, for the docs.
func (f *Field) Example(text string) *Field { f.example = text; return f }

// Hidden keeps the field out of the docs and the schema's descriptions.
func (f *Field) Hidden() *Field { f.hidden = true; return f }

// Was says that the field replaces another one, now unknown, and what has changed.
func (f *Field) Was(name, change string) *Field { f.was, f.change = name, change; return f }

// Given stores in p whether the field was written.
func (f *Field) Given(p *bool) *Field { f.given = p; return f }

// At stores in p the position of the field's value, of the whole mapping where
// the field was left out.
func (f *Field) At(p *Pos) *Field { f.at = p; return f }

// flowList formats texts as a YAML flow list, nothing as "".
func flowList(items []string) string {
	if len(items) == 0 {
		return ""
	}
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func showDefault(s string) string {
	if s == "" {
		return ""
	}
	return quote(s)
}

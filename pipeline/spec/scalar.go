package spec

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// scalarKind is how one type of value is read from a scalar and written as one.
type scalarKind[T any] struct {
	is     string                   // "a whole number"
	such   string                   // " such as …", said where there are no bounds to show how it is written
	parse  func(n *Node) (T, bool)  // from a scalar
	show   func(T) string           // flow YAML that parse reads back
	name   func(T) string           // the text that Matching looks at; nil if there is none
	number func(T) float64          // what bounds compare; nil if there are none
	bound  func(float64) string     // a bound as text
	schema func(f *Field) []*Object // the alternatives it may be written as
}

var (
	integerText = regexp.MustCompile(`^([-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$`)
	floatText   = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
	infText     = regexp.MustCompile(`^([-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$`)
)

// isBool and isNumber follow the core schema of YAML 1.2.
func isBool(s string) bool {
	switch s {
	case "true", "True", "TRUE", "false", "False", "FALSE":
		return true
	}
	return false
}

func isNumber(s string) bool {
	return integerText.MatchString(s) || floatText.MatchString(s) || infText.MatchString(s)
}

// plain says whether the text of n may be read as something other than text.
func plain(n *Node) bool { return !n.Quoted || n.Interpolated }

func parseInt(n *Node) (int64, bool) {
	if !plain(n) || !integerText.MatchString(n.Value) {
		return 0, false
	}
	text, base := strings.TrimPrefix(n.Value, "+"), 10
	if len(text) > 2 && text[1] == 'x' {
		text, base = text[2:], 16
	} else if len(text) > 2 && text[1] == 'o' {
		text, base = text[2:], 8
	}
	v, err := strconv.ParseInt(text, base, 64)
	return v, err == nil
}

func parseFloat(n *Node) (float64, bool) {
	if v, ok := parseInt(n); ok {
		return float64(v), true
	}
	if !plain(n) || !floatText.MatchString(n.Value) {
		return 0, false
	}
	v, err := strconv.ParseFloat(n.Value, 64)
	return v, err == nil
}

func showFloat(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

func parseText(n *Node) (string, bool) { return n.Value, true }

var boolKind = scalarKind[bool]{
	is: "true or false",
	parse: func(n *Node) (bool, bool) {
		return strings.EqualFold(n.Value, "true"), plain(n) && isBool(n.Value)
	},
	show:   func(v bool) string { return strconv.FormatBool(v) },
	schema: func(*Field) []*Object { return []*Object{typed("boolean"), variable()} },
}

var int64Kind = scalarKind[int64]{
	is:     "a whole number",
	parse:  parseInt,
	show:   func(v int64) string { return strconv.FormatInt(v, 10) },
	number: func(v int64) float64 { return float64(v) },
	bound:  func(x float64) string { return strconv.FormatInt(int64(x), 10) },
	schema: func(f *Field) []*Object { return []*Object{ranged(typed("integer"), f), variable()} },
}

var intKind = scalarKind[int]{
	is: "a whole number",
	parse: func(n *Node) (int, bool) {
		v, ok := parseInt(n)
		return int(v), ok && int64(int(v)) == v
	},
	show:   strconv.Itoa,
	number: func(v int) float64 { return float64(v) },
	bound:  int64Kind.bound,
	schema: int64Kind.schema,
}

var floatKind = scalarKind[float64]{
	is:     "a finite number",
	parse:  parseFloat,
	show:   showFloat,
	number: func(v float64) float64 { return v },
	bound:  showFloat,
	schema: func(f *Field) []*Object { return []*Object{ranged(typed("number"), f), variable()} },
}

var stringKind = scalarKind[string]{
	is:     "a text",
	parse:  parseText,
	show:   quote,
	name:   func(s string) string { return s },
	schema: textSchema,
}

var textKind = scalarKind[Text]{
	is:     "a text",
	parse:  func(n *Node) (Text, bool) { return Text{n.Value, n.Pos, n.Text}, true },
	show:   func(v Text) string { return quote(v.Value) },
	name:   func(v Text) string { return v.Value },
	schema: textSchema,
}

var nameKind = scalarKind[Name]{
	is:     "a name",
	parse:  func(n *Node) (Name, bool) { return Name{n.Value, n.Pos}, n.Value != "" },
	show:   func(v Name) string { return quote(v.Name) },
	name:   func(v Name) string { return v.Name },
	schema: nameSchema,
}

var columnKind = scalarKind[Column]{
	is:     "a column name",
	parse:  func(n *Node) (Column, bool) { return Column{n.Value, n.Pos}, n.Value != "" },
	show:   func(v Column) string { return showDefault(v.Name) },
	name:   func(v Column) string { return v.Name },
	schema: nameSchema,
}

var durationKind = scalarKind[time.Duration]{
	is: "a duration", such: " such as 100ms, 1m30s or 7d",
	parse: func(n *Node) (time.Duration, bool) {
		return parseDuration(n.Value)
	},
	show:   showDuration,
	number: func(v time.Duration) float64 { return float64(v) },
	bound:  func(x float64) string { return showDuration(time.Duration(x)) },
	schema: func(*Field) []*Object { return []*Object{patterned(durationPattern), constant(0), variable()} },
}

const durationPattern = `^\+?([0-9]+d)?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*$`

// parseDuration reads what package time does, and days of 24 hours in front.
func parseDuration(s string) (time.Duration, bool) {
	var days time.Duration
	if n, rest, ok := strings.Cut(s, "d"); ok {
		v, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return 0, false
		}
		if days, s = time.Duration(v)*24*time.Hour, rest; s == "" {
			return days, true
		}
	}
	v, err := time.ParseDuration(s)
	return v + days, err == nil && v >= 0 && v+days >= v
}

func showDuration(v time.Duration) string {
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

var bytesKind = scalarKind[int64]{
	is: "a size", such: " such as 16MiB, 10kB or 512",
	parse: func(n *Node) (int64, bool) {
		v, ok := parseBytes(n.Value)
		return v, ok && v >= 0
	},
	show:   showBytes,
	number: func(v int64) float64 { return float64(v) },
	bound:  func(x float64) string { return showBytes(int64(x)) },
	schema: func(f *Field) []*Object {
		return []*Object{patterned(`^[0-9]+ ?([kKMGT]?B|[KMGT]iB)?$`), ranged(typed("integer").Set("minimum", 0), f), variable()}
	},
}

var byteUnits = []struct {
	name string
	size int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"KB", 1e3}, {"B", 1},
}

func parseBytes(s string) (int64, bool) {
	unit := int64(1)
	for _, u := range byteUnits {
		if n, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = strings.TrimSuffix(n, " "), u.size
			break
		}
	}
	v, err := strconv.ParseUint(s, 10, 63)
	return int64(v) * unit, err == nil && int64(v) <= math.MaxInt64/unit
}

func showBytes(v int64) string {
	for _, u := range byteUnits[:4] {
		if v >= u.size && v%u.size == 0 {
			return strconv.FormatInt(v/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(v, 10)
}

var plainText = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]*$`)

// quote writes s as a YAML scalar that is a text, in flow style.
func quote(s string) string {
	if plainText.MatchString(s) && !isBool(s) && !strings.EqualFold(s, "null") {
		return s
	}
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always marshals
	}
	return string(b)
}

// scalar is a field of one scalar.
type scalar[T any] struct {
	p    *T
	def  T
	kind *scalarKind[T]
}

func (s *scalar[T]) reset()                     { *s.p = s.def }
func (s *scalar[T]) text() string               { return s.kind.show(*s.p) }
func (s *scalar[T]) noun(f *Field) string       { return s.kind.noun(f) }
func (s *scalar[T]) boundText(x float64) string { return s.kind.bound(x) }
func (s *scalar[T]) decode(d *decoder, f *Field, n *Node) {
	if v, ok := s.kind.decode(d, f, f.name, n); ok {
		*s.p = v
	}
}
func (s *scalar[T]) schema(_ *schemaBuilder, f *Field) []*Object { return s.kind.schema(f) }

// decode reads n, named label in messages, and checks it against f's bounds and pattern.
func (k *scalarKind[T]) decode(d *decoder, f *Field, label string, n *Node) (v T, ok bool) {
	if n.Kind == Scalar {
		v, ok = k.parse(n)
	}
	if ok && k.number != nil {
		ok = f.contains(k.number(v))
	}
	if ok && k.name != nil && f.re != nil {
		ok = f.re.MatchString(k.name(v))
	}
	if !ok {
		d.errs.Add(n.Pos, label+" is "+found(n), "expected "+k.noun(f))
	}
	return v, ok
}

func (k *scalarKind[T]) noun(f *Field) string {
	if k.name != nil && f.re != nil {
		return f.reWant
	}
	if r := f.rangeText(); r != "" {
		return k.is + r
	}
	return k.is + k.such
}

func (f *Field) contains(x float64) bool {
	below := f.lo != nil && (x < f.lo.x || f.lo.open && x == f.lo.x)
	above := f.hi != nil && (x > f.hi.x || f.hi.open && x == f.hi.x)
	return !below && !above
}

// rangeText puts the bounds in words, with a space in front.
func (f *Field) rangeText() string {
	switch lo, hi := f.lo, f.hi; {
	case lo != nil && hi != nil && !lo.open && !hi.open:
		return fmt.Sprintf(" from %s to %s", lo.text, hi.text)
	case lo != nil && hi != nil:
		return lo.words("above", "at least") + " and" + hi.words("below", "at most")
	case lo != nil:
		return lo.words("above", "of at least")
	case hi != nil:
		return hi.words("below", "of at most")
	}
	return ""
}

func (b *bound) words(open, closed string) string {
	if b.open {
		return " " + open + " " + b.text
	}
	return " " + closed + " " + b.text
}

// enum is a text out of a list.
type enum struct {
	p      *string
	def    string
	values []string
}

func (e *enum) reset()             { *e.p = e.def }
func (e *enum) text() string       { return showDefault(*e.p) }
func (e *enum) noun(*Field) string { return "one of " + strings.Join(e.values, ", ") }
func (e *enum) decode(d *decoder, f *Field, n *Node) {
	for _, v := range e.values {
		if n.Kind == Scalar && n.Value == v {
			*e.p = v
			return
		}
	}
	if n.Kind != Scalar {
		d.errs.Add(n.Pos, f.name+" is "+found(n), "expected "+e.noun(f))
		return
	}
	d.errs.Add(n.Pos, f.name+" is "+found(n), Suggest(n.Value, e.values))
}
func (e *enum) schema(*schemaBuilder, *Field) []*Object {
	return []*Object{new(Object).Set("enum", e.values), variable()}
}

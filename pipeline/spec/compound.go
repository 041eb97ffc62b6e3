package spec

import (
	"fmt"
	"strings"
)

// list is a field of scalars of one kind; one scalar stands for a list of one.
type list[T any] struct {
	p      *[]T
	def    []string
	kind   *scalarKind[T]
	plural string
}

func listField[T any](f *Fields, p *[]T, name string, def []string, doc string, kind *scalarKind[T], plural string) *Field {
	return f.add(name, flowList(def), doc, &list[T]{p, def, kind, plural})
}

func (l *list[T]) reset() {
	*l.p = nil
	for _, s := range l.def {
		v, _ := l.kind.parse(&Node{Kind: Scalar, Value: s})
		*l.p = append(*l.p, v)
	}
}

func (l *list[T]) text() string {
	items := make([]string, len(*l.p))
	for i, v := range *l.p {
		items[i] = l.kind.show(v)
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func (l *list[T]) noun(f *Field) string {
	if f.re != nil {
		return "a list, each " + f.reWant
	}
	return "a list of " + l.plural
}

func (l *list[T]) decode(d *decoder, f *Field, n *Node) {
	if n.Kind == Map {
		d.errs.Add(n.Pos, f.name+" is a mapping", "expected "+l.noun(f))
		return
	}
	*l.p = decodeItems(d, f, f.name, n, l.kind)
}

func (l *list[T]) schema(_ *schemaBuilder, f *Field) []*Object {
	one := l.kind.schema(f)
	return append(one, array(anyOf(one), !f.repeats))
}

// decodeItems reads a list, or one item in its place, leaving out what is wrong.
func decodeItems[T any](d *decoder, f *Field, label string, n *Node, kind *scalarKind[T]) []T {
	if n.Kind != List {
		if v, ok := kind.decode(d, f, label, n); ok {
			return []T{v}
		}
		return nil
	}
	out, seen := make([]T, 0, len(n.Items)), map[string]bool{}
	for i, item := range n.Items {
		v, ok := kind.decode(d, f, fmt.Sprintf("%s[%d]", label, i), item)
		if !ok {
			continue
		}
		if text := kind.show(v); seen[text] && !f.repeats {
			d.errs.Add(item.Pos, fmt.Sprintf("%s names %s twice", label, found(item)), "expected each once")
			continue
		} else {
			seen[text] = true
		}
		out = append(out, v)
	}
	return out
}

// columnLists is a list of lists of columns.
type columnLists struct{ p *[][]Column }

func (c *columnLists) reset() { *c.p = nil }

func (c *columnLists) text() string {
	items := make([]string, len(*c.p))
	for i := range *c.p {
		items[i] = (&list[Column]{p: &(*c.p)[i], kind: &columnKind}).text()
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func (c *columnLists) noun(*Field) string { return "a list of lists of column names" }

func (c *columnLists) decode(d *decoder, f *Field, n *Node) {
	if n.Kind != List {
		d.errs.Add(n.Pos, f.name+" is "+found(n), "expected "+c.noun(f)+", as in [[a, b]]")
		return
	}
	*c.p = make([][]Column, 0, len(n.Items))
	for i, item := range n.Items {
		label := fmt.Sprintf("%s[%d]", f.name, i)
		if item.Kind != List {
			d.errs.Add(item.Pos, label+" is "+found(item), "expected a list of column names, as in [[a, b]]")
			continue
		}
		*c.p = append(*c.p, decodeItems(d, f, label, item, &columnKind))
	}
}

func (c *columnLists) schema(_ *schemaBuilder, f *Field) []*Object {
	return []*Object{array(array(anyOf(columnKind.schema(f)), !f.repeats), false)}
}

// object is a mapping with fields of its own.
type object struct{ c Config }

func (o *object) reset()                                      { declare(o.c, true) }
func (o *object) text() string                                { return Canonical(o.c) }
func (o *object) noun(*Field) string                          { return "a mapping" }
func (o *object) decode(d *decoder, f *Field, n *Node)        { d.mapping(n, o.c, f.name) }
func (o *object) schema(b *schemaBuilder, _ *Field) []*Object { return []*Object{b.config(o.c)} }

// toggle is false, true, or a mapping that means true.
type toggle struct {
	on  *bool
	def bool
	c   Config
}

func (t *toggle) reset() { *t.on = t.def; declare(t.c, true) }
func (t *toggle) text() string {
	if !*t.on {
		return "false"
	}
	return Canonical(t.c)
}
func (t *toggle) noun(*Field) string { return "true, false or a mapping" }
func (t *toggle) decode(d *decoder, f *Field, n *Node) {
	if n.Kind == Map {
		*t.on = true
		d.mapping(n, t.c, f.name)
		return
	}
	if n.Kind == Scalar {
		if on, ok := boolKind.parse(n); ok {
			*t.on = on
			return
		}
	}
	d.errs.Add(n.Pos, f.name+" is "+found(n), "expected "+t.noun(f))
}
func (t *toggle) schema(b *schemaBuilder, _ *Field) []*Object {
	return []*Object{typed("boolean"), b.config(t.c), variable()}
}

// choice is one of several options.
type choice struct {
	p       *Choice
	def     string
	options []Option
}

func (c *choice) reset()             { *c.p = defaultChoice(c.def, c.options) }
func (c *choice) text() string       { return c.p.text() }
func (c *choice) noun(*Field) string { return "one of " + strings.Join(optionNames(c.options), ", ") }
func (c *choice) decode(d *decoder, f *Field, n *Node) {
	if v, ok := decodeChoice(d, f.name, n, c.options); ok {
		*c.p = v
	}
}
func (c *choice) schema(b *schemaBuilder, _ *Field) []*Object { return b.options(c.options) }

func optionNames(options []Option) []string {
	names := make([]string, len(options))
	for i, o := range options {
		names[i] = o.Name
	}
	return names
}

func (o Option) config() Config {
	if o.New == nil {
		return nil
	}
	return o.New()
}

func defaultChoice(def string, options []Option) Choice {
	if def == "" {
		return Choice{}
	}
	for _, o := range options {
		if o.Name == def {
			c := o.config()
			declare(c, true)
			return Choice{Name: def, Config: c}
		}
	}
	panic(fmt.Sprintf("spec: the default %q is no option", def))
}

func (c Choice) text() string {
	if c.Name == "" {
		return "null"
	}
	if fields := Canonical(c.Config); fields != "{}" {
		return "{" + quote(c.Name) + ": " + fields + "}"
	}
	return quote(c.Name)
}

func decodeChoice(d *decoder, label string, n *Node, options []Option) (Choice, bool) {
	names := optionNames(options)
	one := func(name string, pos Pos, fields *Node) (Choice, bool) {
		for _, o := range options {
			if o.Name == name {
				c := o.config()
				d.mapping(fields, c, name)
				return Choice{name, c, pos}, true
			}
		}
		want := Suggest(name, names)
		for _, o := range options {
			if n.Kind == Map && fieldNamed(declare(o.config(), false), name) != nil {
				want = fmt.Sprintf("did you mean {%s: {%s: …}}?", o.Name, name)
				break
			}
		}
		d.errs.Add(pos, fmt.Sprintf("%s is %q", label, name), want)
		return Choice{}, false
	}
	switch {
	case n.Kind == Scalar:
		return one(n.Value, n.Pos, &Node{Pos: n.Pos})
	case n.Kind == Map && len(n.Keys) > 0:
		var v Choice
		ok := true
		for i, k := range n.Keys {
			option, known := one(k.Name, k.Pos, k.Value)
			if i == 0 {
				v = option
			}
			ok = ok && known
		}
		if len(n.Keys) > 1 && ok {
			d.errs.Add(n.Keys[1].Pos, fmt.Sprintf("%s has %d options", label, len(n.Keys)), "expected exactly one")
			ok = false
		}
		return v, ok
	}
	d.errs.Add(n.Pos, label+" is "+found(n), Suggest("", names))
	return Choice{}, false
}

// choices is a list of options; one stands for a list of one.
type choices struct {
	p       *[]Choice
	def     []string
	options []Option
}

func (c *choices) reset() {
	*c.p = nil
	for _, name := range c.def {
		*c.p = append(*c.p, defaultChoice(name, c.options))
	}
}

func (c *choices) text() string {
	items := make([]string, len(*c.p))
	for i, v := range *c.p {
		items[i] = v.text()
	}
	return "[" + strings.Join(items, ", ") + "]"
}

func (c *choices) noun(*Field) string {
	return "a list of " + strings.Join(optionNames(c.options), ", ")
}

func (c *choices) decode(d *decoder, f *Field, n *Node) {
	if n.Kind != List {
		if v, ok := decodeChoice(d, f.name, n, c.options); ok {
			*c.p = []Choice{v}
		}
		return
	}
	*c.p = make([]Choice, 0, len(n.Items))
	seen := map[string]bool{}
	for i, item := range n.Items {
		v, ok := decodeChoice(d, fmt.Sprintf("%s[%d]", f.name, i), item, c.options)
		if !ok {
			continue
		}
		if seen[v.Name] && !f.repeats {
			d.errs.Add(v.Pos, fmt.Sprintf("%s names %q twice", f.name, v.Name), "expected each once")
			continue
		}
		seen[v.Name] = true
		*c.p = append(*c.p, v)
	}
}

func (c *choices) schema(b *schemaBuilder, f *Field) []*Object {
	one := b.options(c.options)
	return append(one, array(new(Object).Set("oneOf", one), !f.repeats))
}

// ordered is a mapping from name to name.
type ordered struct{ p *[]Entry }

func (o *ordered) reset() { *o.p = nil }

func (o *ordered) text() string {
	lines := make([]string, len(*o.p))
	for i, e := range *o.p {
		lines[i] = quote(e.Key.Name) + ": " + quote(e.Value.Name)
	}
	return "{" + strings.Join(lines, ", ") + "}"
}

func (o *ordered) noun(*Field) string { return "a mapping of name: name" }

func (o *ordered) decode(d *decoder, f *Field, n *Node) {
	*o.p = nil
	d.entries(f, n, o.noun(f), func(k Key) {
		if v, ok := nameKind.decode(d, new(Field), k.Name, k.Value); ok {
			*o.p = append(*o.p, Entry{Name{k.Name, k.Pos}, v})
		}
	})
}

func (o *ordered) schema(_ *schemaBuilder, f *Field) []*Object {
	return []*Object{mappingOf(anyOf(nameSchema(new(Field))), f)}
}

// selection is a list of names, or a mapping from name to name.
type selection struct{ ordered }

func (s *selection) noun(*Field) string { return "a list of columns, or a mapping of new name: column" }

func (s *selection) decode(d *decoder, f *Field, n *Node) {
	if n.Kind == Map {
		s.ordered.decode(d, f, n)
		return
	}
	*s.p = nil
	for _, c := range decodeItems(d, f, f.name, n, &nameKind) {
		*s.p = append(*s.p, Entry{c, c})
	}
}

func (s *selection) schema(b *schemaBuilder, f *Field) []*Object {
	one := nameSchema(new(Field))
	return append(append(one, array(anyOf(one), !f.repeats)), s.ordered.schema(b, f)...)
}

// namedTexts is a mapping from name to text.
type namedTexts struct{ p *[]NamedText }

func (o *namedTexts) reset() { *o.p = nil }

func (o *namedTexts) text() string {
	lines := make([]string, len(*o.p))
	for i, e := range *o.p {
		lines[i] = quote(e.Name.Name) + ": " + quote(e.Text.Value)
	}
	return "{" + strings.Join(lines, ", ") + "}"
}

func (o *namedTexts) noun(*Field) string { return "a mapping of name: text" }

func (o *namedTexts) decode(d *decoder, f *Field, n *Node) {
	*o.p = nil
	d.entries(f, n, o.noun(f), func(k Key) {
		if v, ok := textKind.decode(d, new(Field), k.Name, k.Value); ok {
			*o.p = append(*o.p, NamedText{Name{k.Name, k.Pos}, v})
		}
	})
}

func (o *namedTexts) schema(_ *schemaBuilder, f *Field) []*Object {
	return []*Object{mappingOf(anyOf(textSchema(new(Field))), f)}
}

// nodes is a mapping from name to values decoded elsewhere.
type nodes struct {
	p       *[]NamedNode
	element Config
}

func (o *nodes) reset()             { *o.p = nil }
func (o *nodes) noun(*Field) string { return "a mapping from names" }

func (o *nodes) text() string {
	lines := make([]string, len(*o.p))
	for i, e := range *o.p {
		lines[i] = quote(e.Name) + ": " + e.Node.text()
	}
	return "{" + strings.Join(lines, ", ") + "}"
}

func (o *nodes) decode(d *decoder, f *Field, n *Node) {
	*o.p = nil
	d.entries(f, n, o.noun(f), func(k Key) { *o.p = append(*o.p, NamedNode{k.Name, k.Pos, k.Value}) })
}

func (o *nodes) schema(b *schemaBuilder, f *Field) []*Object {
	if o.element == nil {
		return []*Object{mappingOf(new(Object), f)}
	}
	return []*Object{mappingOf(b.config(o.element), f)}
}

// raw is decoded elsewhere.
type raw struct{ p **Node }

func (r *raw) reset()                                  { *r.p = nil }
func (r *raw) noun(*Field) string                      { return "a value" }
func (r *raw) decode(_ *decoder, _ *Field, n *Node)    { *r.p = n }
func (r *raw) schema(*schemaBuilder, *Field) []*Object { return []*Object{new(Object)} }
func (r *raw) text() string {
	if *r.p == nil {
		return "null"
	}
	return (*r.p).text()
}

// text writes n as flow YAML.
func (n *Node) text() string {
	switch n.Kind {
	case Scalar:
		if !plain(n) || !isBool(n.Value) && !isNumber(n.Value) {
			return quote(n.Value)
		}
		return n.Value
	case List:
		items := make([]string, len(n.Items))
		for i, item := range n.Items {
			items[i] = item.text()
		}
		return "[" + strings.Join(items, ", ") + "]"
	case Map:
		lines := make([]string, len(n.Keys))
		for i, k := range n.Keys {
			lines[i] = quote(k.Name) + ": " + k.Value.text()
		}
		return "{" + strings.Join(lines, ", ") + "}"
	}
	return "null"
}

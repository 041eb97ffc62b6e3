package spec

import (
	"fmt"
	"slices"
)

// Decode fills c from n and returns everything that is wrong, with positions,
// in their order. Fields that are left out, null or wrong keep their defaults;
// a nil n, null and an empty mapping leave them all.
func Decode(n *Node, c Config) Errors {
	if n == nil {
		n = &Node{}
	}
	var errs Errors
	d := &decoder{&errs}
	d.mapping(n, c, "this")
	return errs.Sorted()
}

type decoder struct{ errs *Errors }

// mapping decodes n, named label in messages, into c, whose defaults it stores first.
func (d *decoder) mapping(n *Node, c Config, label string) {
	fields := declare(c, true)
	if n.Kind != Map && n.Kind != Null {
		want := "expected a mapping of `name: value`"
		if len(fields) == 0 {
			want = "expected {}, as it has no fields"
		}
		d.errs.Add(n.Pos, label+" is "+found(n), want)
		return
	}
	before := len(*d.errs)
	for _, k := range n.Keys {
		f := fieldNamed(fields, k.Name)
		if f == nil {
			want := "expected no fields"
			if len(fields) > 0 {
				want = Suggest(k.Name, fieldNames(fields))
			}
			if now := slices.IndexFunc(fields, func(f *Field) bool { return f.was == k.Name && k.Name != "" }); now >= 0 {
				want = fmt.Sprintf("expected %s, %s", fields[now].name, fields[now].change)
			}
			d.errs.Add(k.Pos, fmt.Sprintf("unknown field %q", k.Name), want)
			continue
		}
		f.node = k.Value
	}
	for _, f := range fields {
		d.field(n, f)
	}
	if checker, ok := c.(Checker); ok && len(*d.errs) == before {
		checker.Check(func(field, msg, want string) {
			pos := n.Pos
			if f := fieldNamed(fields, field); f != nil && f.node != nil {
				pos = f.node.Pos
			} else if f == nil && field != "" {
				panic(fmt.Sprintf("spec: a check names the field %q, which is not declared", field))
			}
			d.errs.Add(pos, msg, want)
		})
	}
}

// field decodes one field of the mapping n.
func (d *decoder) field(n *Node, f *Field) {
	pos, written := n.Pos, f.node != nil && f.node.Kind != Null
	if f.node != nil {
		pos = f.node.Pos
	}
	if f.at != nil {
		*f.at = pos
	}
	if f.given != nil {
		*f.given = written
	}
	_, isObject := f.value.(*object)
	switch {
	case written:
		f.value.decode(d, f, f.node)
	case isObject && f.node != nil:
		f.value.decode(d, f, f.node) // an empty mapping, which may lack required fields
	case f.required:
		d.errs.Add(pos, f.name+" is missing", "expected "+f.value.noun(f))
	}
}

// entries calls each for the entries of the mapping n whose names are right.
func (d *decoder) entries(f *Field, n *Node, noun string, each func(Key)) {
	if n.Kind != Map {
		d.errs.Add(n.Pos, f.name+" is "+found(n), "expected "+noun)
		return
	}
	for _, k := range n.Keys {
		if k.Name == "" || f.re != nil && !f.re.MatchString(k.Name) {
			want := f.reWant
			if want == "" {
				want = "a name"
			}
			d.errs.Add(k.Pos, fmt.Sprintf("%q cannot be a name in %s", k.Name, f.name), "expected "+want)
		}
		each(k)
	}
}

func fieldNamed(fields []*Field, name string) *Field {
	for _, f := range fields {
		if f.name == name {
			return f
		}
	}
	return nil
}

// fieldNames lists the fields a user is to know of.
func fieldNames(fields []*Field) []string {
	var names []string
	for _, f := range fields {
		if !f.hidden {
			names = append(names, f.name)
		}
	}
	return names
}

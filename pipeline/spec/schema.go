package spec

import (
	"bytes"
	"encoding/json"
)

// Object is a JSON object that keeps the order of its members.
type Object struct{ members []member }

type member struct {
	name  string
	value any
}

// Set adds a member, or replaces the one of that name, and returns o.
func (o *Object) Set(name string, value any) *Object {
	for i := range o.members {
		if o.members[i].name == name {
			o.members[i].value = value
			return o
		}
	}
	o.members = append(o.members, member{name, value})
	return o
}

// Get returns the member of that name, nil if there is none.
func (o *Object) Get(name string) any {
	for _, m := range o.members {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// MarshalJSON writes the members in their order.
func (o *Object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o.members {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// JSONSchema returns the schema (JSON Schema 2020-12) of what [Decode] takes for
// c before variables are replaced: unknown fields are refused, and every scalar
// may be a text with a ${VAR} in it. Add "$schema" and "title" at the root.
func JSONSchema(c Config) *Object { return new(schemaBuilder).config(c) }

type schemaBuilder struct{ describer }

// config is the schema of a mapping with the fields of c, or of null where none is required.
func (b *schemaBuilder) config(c Config) *Object {
	o := typed("object", "null")
	if c != nil && !b.enter(c) {
		return o // inside itself: the decoder knows more than the schema says
	}
	if c != nil {
		defer b.leave()
	}
	properties, required := new(Object), []string{}
	for _, f := range declare(c, false) {
		properties.Set(f.name, b.field(f))
		if f.required {
			required = append(required, f.name)
		}
	}
	if len(properties.members) > 0 {
		o.Set("properties", properties)
	}
	if len(required) > 0 {
		o.Set("type", "object").Set("required", required)
	}
	return o.Set("additionalProperties", false)
}

func (b *schemaBuilder) field(f *Field) *Object {
	alternatives := f.value.schema(b, f)
	word := "anyOf"
	switch f.value.(type) {
	case *choice, *choices:
		word = "oneOf"
	}
	if !f.required && !hasType(alternatives, "null") {
		alternatives = append(alternatives, typed("null"))
	}
	o := new(Object)
	if len(alternatives) == 1 {
		o.members = alternatives[0].members
	} else {
		o.Set(word, alternatives)
	}
	if !f.hidden && f.doc != "" {
		o.Set("description", f.doc)
	}
	if v, ok := jsonOf(f.def); ok {
		o.Set("default", v)
	}
	if v, ok := jsonOf(f.example); ok {
		o.Set("examples", []any{v})
	}
	return o
}

// options are the alternatives a choice may be written as.
func (b *schemaBuilder) options(options []Option) []*Object {
	var out []*Object
	for _, o := range options {
		fields := b.config(o.config())
		if fields.Get("required") == nil {
			out = append(out, described(constant(o.Name), o.Summary))
		}
		long := typed("object").
			Set("properties", new(Object).Set(o.Name, fields)).
			Set("required", []string{o.Name}).
			Set("additionalProperties", false)
		out = append(out, described(long, o.Summary))
	}
	return append(out, variable())
}

func described(o *Object, text string) *Object {
	if text != "" {
		o.Set("description", text)
	}
	return o
}

func typed(names ...string) *Object {
	if len(names) == 1 {
		return new(Object).Set("type", names[0])
	}
	return new(Object).Set("type", names)
}

func hasType(alternatives []*Object, name string) bool {
	for _, o := range alternatives {
		switch t := o.Get("type").(type) {
		case string:
			if t == name {
				return true
			}
		case []string:
			for _, s := range t {
				if s == name {
					return true
				}
			}
		}
	}
	return false
}

func constant(v any) *Object { return new(Object).Set("const", v) }

func patterned(re string) *Object { return typed("string").Set("pattern", re) }

// variable is a text with a variable in it.
func variable() *Object { return patterned(`\$\{[^}]+\}`) }

// ranged adds the bounds of f to a number.
func ranged(o *Object, f *Field) *Object {
	add := func(b *bound, closed, open string) {
		if b != nil && b.open {
			o.Set(open, b.x)
		} else if b != nil {
			o.Set(closed, b.x)
		}
	}
	add(f.lo, "minimum", "exclusiveMinimum")
	add(f.hi, "maximum", "exclusiveMaximum")
	return o
}

// textSchema takes any scalar, since a text field takes the text of any.
func textSchema(f *Field) []*Object {
	o := typed("string", "number", "boolean")
	if f.re == nil {
		return []*Object{o}
	}
	return []*Object{o.Set("pattern", f.re.String()), variable()}
}

// nameSchema is textSchema without the empty text.
func nameSchema(f *Field) []*Object {
	s := textSchema(f)
	s[0].Set("minLength", 1)
	return s
}

// anyOf is a single schema for the alternatives.
func anyOf(alternatives []*Object) *Object {
	if len(alternatives) == 1 {
		return alternatives[0]
	}
	return new(Object).Set("anyOf", alternatives)
}

func array(items *Object, unique bool) *Object {
	o := typed("array").Set("items", items)
	if unique {
		o.Set("uniqueItems", true)
	}
	return o
}

// mappingOf is a mapping from names, matching f's pattern, to values.
func mappingOf(value *Object, f *Field) *Object {
	o := typed("object")
	if f.re != nil {
		o.Set("propertyNames", new(Object).Set("pattern", f.re.String()))
	}
	return o.Set("additionalProperties", value)
}

// jsonOf returns the value of a YAML text for a place in the schema.
func jsonOf(text string) (any, bool) {
	if text == "" {
		return nil, false
	}
	n, errs := Parse("", []byte(text))
	if errs != nil {
		return nil, false
	}
	return n.json(), true
}

func (n *Node) json() any {
	switch n.Kind {
	case Scalar:
		if plain(n) && isBool(n.Value) {
			v, _ := boolKind.parse(n)
			return v
		}
		if v, ok := parseInt(n); ok {
			return v
		}
		if v, ok := parseFloat(n); ok {
			return v
		}
		return n.Value
	case List:
		out := make([]any, len(n.Items))
		for i, item := range n.Items {
			out[i] = item.json()
		}
		return out
	case Map:
		o := new(Object)
		for _, k := range n.Keys {
			o.Set(k.Name, k.Value.json())
		}
		return o
	}
	return nil
}

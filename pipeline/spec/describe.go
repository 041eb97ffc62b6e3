package spec

import (
	"bufio"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"
)

// FieldDoc describes one field of a [Config].
type FieldDoc struct {
	Name     string      `json:"name"`
	Type     string      `json:"type"`              // in words, with the bounds: "a whole number from 8 to 30"
	Default  string      `json:"default,omitempty"` // as YAML
	Bounds   string      `json:"bounds,omitempty"`  // "from 8 to 30"
	Doc      string      `json:"doc"`
	Example  string      `json:"example,omitempty"` // as YAML
	Required bool        `json:"required,omitempty"`
	Pinned   bool        `json:"pinned,omitempty"`  // a change makes old state unreadable
	Fields   []FieldDoc  `json:"fields,omitempty"`  // of a mapping
	Options  []OptionDoc `json:"options,omitempty"` // of a choice
}

// OptionDoc describes one option of a choice.
type OptionDoc struct {
	Name    string     `json:"name"`
	Summary string     `json:"summary,omitempty"`
	Fields  []FieldDoc `json:"fields,omitempty"`
}

// Describe returns the fields of c in declared order, without the hidden ones.
// A configuration that contains itself is described once.
func Describe(c Config) []FieldDoc { return new(describer).fields(c) }

// describer keeps the types it is inside of, to stop at a recursive one.
type describer struct{ inside []reflect.Type }

// enter says whether c is new on the path from the root, and if so adds it; leave ends it.
func (b *describer) enter(c Config) bool {
	t := reflect.TypeOf(c)
	if slices.Contains(b.inside, t) {
		return false
	}
	b.inside = append(b.inside, t)
	return true
}

func (b *describer) leave() { b.inside = b.inside[:len(b.inside)-1] }

func (b *describer) fields(c Config) []FieldDoc {
	if c == nil || !b.enter(c) {
		return nil
	}
	defer b.leave()
	var docs []FieldDoc
	for _, f := range declare(c, false) {
		if f.hidden {
			continue
		}
		doc := FieldDoc{
			Name: f.name, Type: f.value.noun(f), Default: f.def, Bounds: strings.TrimSpace(f.rangeText()),
			Doc: f.doc, Example: f.example, Required: f.required, Pinned: f.pinned,
		}
		switch v := f.value.(type) {
		case *object:
			doc.Fields = b.fields(v.c)
		case *toggle:
			doc.Fields = b.fields(v.c)
		case *nodes:
			doc.Fields = b.fields(v.element)
		case *choice:
			doc.Options = b.options(v.options)
		case *choices:
			doc.Options = b.options(v.options)
		}
		docs = append(docs, doc)
	}
	return docs
}

func (b *describer) options(options []Option) []OptionDoc {
	docs := make([]OptionDoc, len(options))
	for i, o := range options {
		docs[i] = OptionDoc{o.Name, o.Summary, b.fields(o.config())}
	}
	return docs
}

// Canonical returns all values of c as one line of flow YAML in declared order,
// which decodes to the same values.
func Canonical(c Config) string {
	var out []string
	for _, f := range declare(c, false) {
		if text := f.value.text(); text != "" && text != "null" {
			out = append(out, f.name+": "+text)
		}
	}
	return "{" + strings.Join(out, ", ") + "}"
}

// Pinned returns the values of the pinned fields of c, as "bits=18 window=100":
// state written under one such text cannot be read under another. Pinned fields
// of nested configurations are named by their path, and count only where their
// option is chosen.
func Pinned(c Config) string {
	var out []string
	pinned("", c, &out)
	return strings.Join(out, " ")
}

func pinned(path string, c Config, out *[]string) {
	for _, f := range declare(c, false) {
		name := path + f.name
		if f.pinned {
			*out = append(*out, name+"="+f.value.text())
			continue
		}
		switch v := f.value.(type) {
		case *object:
			pinned(name+".", v.c, out)
		case *toggle:
			if *v.on {
				pinned(name+".", v.c, out)
			}
		case *choice:
			pinned(name+"."+v.p.Name+".", v.p.Config, out)
		case *choices:
			for _, o := range *v.p {
				pinned(name+"."+o.Name+".", o.Config, out)
			}
		}
	}
}

// facts lists what there is to know of a field besides its name and doc.
func (d FieldDoc) facts() string {
	s := d.Type
	switch {
	case d.Required:
		s += ", required"
	case d.Default != "":
		s += ", default " + d.Default
	}
	if d.Pinned {
		s += ", pinned: a change does not read old state"
	}
	return s
}

// WriteText writes the fields of c for a terminal.
func WriteText(w io.Writer, c Config) error {
	b := bufio.NewWriter(w)
	writeText(b, Describe(c), "")
	return b.Flush()
}

func writeText(w io.Writer, docs []FieldDoc, indent string) {
	width := 0
	for _, d := range docs {
		width = max(width, utf8.RuneCountInString(d.Name))
	}
	under := indent + strings.Repeat(" ", width+2)
	for _, d := range docs {
		fmt.Fprintf(w, "%s%-*s  %s\n%s%s\n", indent, width, d.Name, d.facts(), under, d.Doc)
		if d.Example != "" {
			fmt.Fprintf(w, "%sExample: %s: %s\n", under, d.Name, d.Example)
		}
		writeText(w, d.Fields, under)
		names := 0
		for _, o := range d.Options {
			names = max(names, utf8.RuneCountInString(o.Name))
		}
		for _, o := range d.Options {
			fmt.Fprintf(w, "%s%s\n", under, strings.TrimRight(fmt.Sprintf("%-*s  %s", names, o.Name, o.Summary), " "))
			writeText(w, o.Fields, under+strings.Repeat(" ", names+2))
		}
	}
}

// WriteMarkdown writes the fields of c as nested Markdown lists.
func WriteMarkdown(w io.Writer, c Config) error {
	b := bufio.NewWriter(w)
	writeMarkdown(b, Describe(c), "")
	return b.Flush()
}

func writeMarkdown(w io.Writer, docs []FieldDoc, indent string) {
	for _, d := range docs {
		fmt.Fprintf(w, "%s- `%s`: %s. %s", indent, d.Name, d.facts(), d.Doc)
		if d.Example != "" {
			fmt.Fprintf(w, " Example: `%s: %s`.", d.Name, d.Example)
		}
		fmt.Fprintln(w)
		writeMarkdown(w, d.Fields, indent+"  ")
		for _, o := range d.Options {
			fmt.Fprintf(w, "%s  - `%s`", indent, o.Name)
			if o.Summary != "" {
				fmt.Fprintf(w, ": %s", o.Summary)
			}
			fmt.Fprintln(w)
			writeMarkdown(w, o.Fields, indent+"    ")
		}
	}
}

// Example is a use of an operator that is documentation and test at once.
type Example struct {
	Title  string
	Config string // YAML: the operator's mapping
	In     string // csv with a header: the input rows
	Out    string // csv with a header: what comes out
	File   string // what the file holds that the operator reads, if it does: see [File]
}

package spec

import (
	"fmt"
	"regexp"
	"strings"
)

var fieldName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Lint checks the declaration of c, for the tests of components: every field
// has a name of small letters and a doc that is a sentence, its default and its
// example are values it takes itself, and so on down into nested configurations.
// It returns one line a fault. It stores values in c.
func Lint(c Config) []string {
	l := &linter{}
	l.config("", c)
	return l.faults
}

type linter struct {
	describer
	faults []string
}

func (l *linter) fault(path, format string, args ...any) {
	l.faults = append(l.faults, path+": "+fmt.Sprintf(format, args...))
}

func (l *linter) config(path string, c Config) {
	if c == nil || !l.enter(c) {
		return
	}
	defer l.leave()
	for _, f := range declare(c, true) {
		at := path + f.name
		if !fieldName.MatchString(f.name) {
			l.fault(at, "the name is not of small letters, digits and _")
		}
		if !strings.HasSuffix(f.doc, ".") {
			l.fault(at, "the doc is not a sentence: %q", f.doc)
		}
		l.value(at, "default", f, f.def)
		l.value(at, "example", f, f.example)
		switch v := f.value.(type) {
		case *object:
			l.config(at+".", v.c)
		case *toggle:
			l.config(at+".", v.c)
		case *nodes:
			l.config(at+".NAME.", v.element)
		case *choice:
			l.options(at, v.options)
		case *choices:
			l.options(at, v.options)
		}
	}
}

// value checks that the field takes text.
func (l *linter) value(path, what string, f *Field, text string) {
	if text == "" {
		return
	}
	n, errs := Parse(what, []byte(text))
	if n != nil && n.Kind != Null {
		f.value.decode(&decoder{&errs}, f, n)
	}
	for _, err := range errs {
		l.fault(path, "%v", err)
	}
}

func (l *linter) options(path string, options []Option) {
	seen := map[string]bool{}
	for _, o := range options {
		if seen[o.Name] {
			l.fault(path, "the option %q is declared twice", o.Name)
		}
		seen[o.Name] = true
		if !strings.HasSuffix(o.Summary, ".") {
			l.fault(path+"."+o.Name, "the summary is not a sentence: %q", o.Summary)
		}
		l.config(path+"."+o.Name+".", o.config())
	}
}

package spec

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// loneVariable is a scalar that is a variable and nothing else.
var loneVariable = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)(:[^}]*)?\}$`)

// Interpolate replaces ${VAR} and ${VAR:default} in every scalar below root,
// never in keys. The first colon splits, $${ stands for ${, and what is put in
// is not looked at again. A variable that lookup does not know and that has no
// default is an error at the scalar. A scalar in which a variable was replaced
// is marked Interpolated, so that it is decoded by its field's type even where
// it is quoted.
func Interpolate(root *Node, lookup func(string) (string, bool)) Errors {
	var errs Errors
	root.each(func(n *Node) {
		if n.Kind == Scalar && strings.Contains(n.Value, "${") {
			if m := loneVariable.FindStringSubmatch(n.Value); m != nil {
				if _, set := lookup(m[1]); set {
					n.Variable = m[1]
				}
			}
			n.Value, n.Interpolated = expand(n, lookup, &errs)
			n.Text = Pos{}
		}
	})
	return errs
}

// expand returns the text of n with its variables replaced, and whether there were any.
func expand(n *Node, lookup func(string) (string, bool), errs *Errors) (string, bool) {
	var out strings.Builder
	replaced, rest := false, n.Value
	for {
		before, after, ok := strings.Cut(rest, "${")
		if !ok {
			out.WriteString(rest)
			return out.String(), replaced
		}
		if strings.HasSuffix(before, "$") { // $${
			out.WriteString(before[:len(before)-1] + "${")
			rest = after
			continue
		}
		out.WriteString(before)
		inner, tail, ok := strings.Cut(after, "}")
		if !ok {
			errs.Add(n.Pos, "${ has no end", "expected ${VAR} or ${VAR:default}, or $${ for the text itself")
			return n.Value, false
		}
		name, def, hasDefault := strings.Cut(inner, ":")
		if value, set := lookup(name); !variableName.MatchString(name) {
			errs.Add(n.Pos, fmt.Sprintf("%q is no name of a variable", name), "expected letters, digits and _, as in ${VAR} or ${VAR:default}")
		} else if set {
			out.WriteString(value)
		} else if hasDefault {
			out.WriteString(def)
		} else {
			errs.Add(n.Pos, fmt.Sprintf("the variable %s is not set", name), fmt.Sprintf("expected a value in the environment, or a default as in ${%s:default}", name))
		}
		replaced, rest = true, tail
	}
}

// Set changes the value at a path below root, a mapping, to value, which is
// parsed as YAML. The argument reads path=value, and the path is the names of the
// mappings from root down, joined by dots; a name that holds a dot is written in
// double quotes, and an item of a list by its number from 0. Mappings that are
// missing are made; a scalar or null in the way gives place to a mapping, so
// that `optimizer.adagrad.rate=0.1` works on `optimizer: adagrad`. All positions
// below the value, and those of errors, read "--set path".
func Set(root *Node, argument string) Errors {
	path, text, ok := strings.Cut(argument, "=")
	pos := Pos{File: "--set " + path}
	fail := func(msg, want string) Errors { return Errors{{pos, msg, want}} }
	if !ok {
		return fail("there is no = sign", "expected path=value")
	}
	names, ok := splitPath(path)
	if !ok {
		return fail("the path has an empty name or an open quote", `expected names joined by dots, as in kafka.brokers or schema."a.b"`)
	}
	value, errs := Parse(pos.File, []byte(text))
	if errs != nil {
		for i := range errs {
			errs[i].Pos = pos
		}
		return errs
	}
	value.each(func(n *Node) {
		n.Pos = pos
		for i := range n.Keys {
			n.Keys[i].Pos = pos
		}
	})

	at := root
	for i, name := range names {
		if at.Kind == List {
			k, err := strconv.Atoi(name)
			if err != nil || k < 0 || k > len(at.Items) {
				return fail(fmt.Sprintf("%s is a list of %d", strings.Join(names[:i], "."), len(at.Items)),
					fmt.Sprintf("expected a number from 0 to %d in place of %q", len(at.Items), name))
			}
			if k == len(at.Items) {
				at.Items = append(at.Items, &Node{Pos: pos})
			}
			at = at.Items[k]
			continue
		}
		if at.Kind != Map {
			*at = Node{Kind: Map, Pos: pos}
		}
		next := at.Get(name)
		if next == nil {
			next = &Node{Pos: pos}
			at.Keys = append(at.Keys, Key{name, pos, next})
		}
		at = next
	}
	*at = *value
	return nil
}

// splitPath cuts a path at its dots, but for those in double quotes.
func splitPath(path string) ([]string, bool) {
	var names []string
	for {
		var name string
		if quoted, ok := strings.CutPrefix(path, `"`); ok {
			if name, path, ok = strings.Cut(quoted, `"`); !ok || path != "" && path[0] != '.' {
				return nil, false
			}
		} else if i := strings.IndexByte(path, '.'); i >= 0 {
			name, path = path[:i], path[i:]
		} else {
			name, path = path, ""
		}
		if name == "" {
			return nil, false
		}
		names = append(names, name)
		if path == "" {
			return names, true
		}
		path = path[1:]
	}
}

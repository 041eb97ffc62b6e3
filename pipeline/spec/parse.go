package spec

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Bounds on a document. They are far above any sensible pipeline file and keep
// the work on a hostile one small.
const (
	MaxBytes = 1 << 20 // of the text
	MaxKeys  = 10_000  // mapping entries written
	MaxDepth = 64      // lists and mappings inside each other
	MaxNodes = 100_000 // values once aliases are expanded
)

// Parse reads one YAML 1.2 document (core schema). Anchors, aliases and merge
// keys are resolved: an alias yields a copy of the value it names, at the
// position of that value. An empty document is a Null node. The node is nil only
// if there are errors; after duplicate keys, of which the first counts, it is
// there as well. Errors carry the name file.
func Parse(file string, data []byte) (root *Node, errs Errors) {
	p := &yamlParser{file: file, anchors: map[string]*Node{}}
	defer func() {
		// A text must never stop the program, whatever it makes the library do.
		if r := recover(); r != nil {
			root, errs = nil, Errors{{Pos{file, 1, 1}, fmt.Sprintf("the text cannot be read as YAML (%v)", r), "expected YAML 1.2"}}
		}
	}()
	root = p.parse(data)
	return root, p.errs
}

type yamlParser struct {
	file    string
	lines   []string
	starts  map[*token.Token]Pos // where tokens start
	lasts   map[*token.Token]Pos // where the last lines of tokens over several lines start
	anchors map[string]*Node     // nil while the anchor's own value is being read
	nodes   int
	fatal   bool // no tree to return
	errs    Errors

	runes   []rune // the characters of line runesOf
	runesOf int
}

// fail reports an error after which there is no tree.
func (p *yamlParser) fail(pos Pos, msg, want string) {
	if !p.fatal {
		p.fatal = true
		p.errs.Add(pos, msg, want)
	}
}

func (p *yamlParser) parse(data []byte) *Node {
	start := Pos{p.file, 1, 1}
	if len(data) > MaxBytes {
		p.fail(Pos{File: p.file}, fmt.Sprintf("the file has %d bytes", len(data)), fmt.Sprintf("expected at most %d", MaxBytes))
		return nil
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	// One kind of line end, so that lines count alike everywhere.
	text := strings.ReplaceAll(strings.ReplaceAll(string(data), "\r\n", "\n"), "\r", "\n")
	p.lines = strings.Split(text, "\n")
	if p.checkText(); p.fatal {
		return nil
	}
	doc := p.document(text)
	if p.fatal {
		return nil
	}
	root := &Node{Kind: Null, Pos: start}
	if doc != nil {
		root = p.node(doc, start, 0)
	}
	if p.fatal {
		return nil
	}
	return root
}

// document returns the body of the only document in text.
func (p *yamlParser) document(text string) (body ast.Node) {
	tokens := lexer.Tokenize(text)
	p.locate(tokens, text)
	if p.checkTokens(tokens); p.fatal {
		return nil
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		if e, ok := err.(interface {
			GetMessage() string
			GetToken() *token.Token
		}); ok {
			p.explain(e.GetMessage(), e.GetToken())
		} else {
			p.explain(err.Error(), nil)
		}
		return nil
	}
	for _, doc := range f.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			p.fail(p.node(doc.Body, Pos{p.file, 1, 1}, 0).Pos, "a second document starts here", "expected one document in the file")
			return nil
		}
		body = doc.Body
	}
	return body
}

// node converts n. Values that are not written stand at the position at.
func (p *yamlParser) node(n ast.Node, at Pos, depth int) *Node {
	if p.nodes++; p.nodes > MaxNodes || depth > 4*MaxDepth {
		p.fail(at, "the document is too large once its aliases are replaced", fmt.Sprintf("expected at most %d values", MaxNodes))
	}
	if p.fatal {
		return &Node{Pos: at}
	}
	switch n := n.(type) {
	case nil:
		return &Node{Pos: at}
	case *ast.NullNode:
		if pos, written := p.starts[n.GetToken()]; written {
			at = pos
		}
		return &Node{Pos: at}
	case *ast.TagNode:
		return p.tagged(n, at, depth)
	case *ast.AnchorNode:
		name := n.Name.GetToken().Value
		p.anchors[name] = nil
		v := p.node(n.Value, p.at(n.Start), depth+1)
		p.anchors[name] = v
		return v
	case *ast.AliasNode:
		return p.alias(n)
	case *ast.SequenceNode:
		l := &Node{Kind: List, Pos: p.at(n.Start)}
		for i, item := range n.Values {
			pos := l.Pos
			if i < len(n.Entries) && n.Entries[i].Start != nil {
				pos = p.at(n.Entries[i].Start)
			}
			l.Items = append(l.Items, p.node(item, pos, depth+1))
		}
		return l
	case *ast.MappingNode:
		return p.mapping(n, depth)
	case *ast.MappingValueNode:
		return p.mapping(&ast.MappingNode{BaseNode: n.BaseNode, Start: n.Start, Values: []*ast.MappingValueNode{n}}, depth)
	case *ast.LiteralNode:
		return &Node{Kind: Scalar, Pos: p.at(n.Start), Value: n.Value.Value, Quoted: true}
	case ast.ScalarNode:
		tk := n.GetToken()
		s := &Node{Kind: Scalar, Pos: p.at(tk), Value: tk.Value}
		s.Quoted = tk.Type == token.DoubleQuoteType || tk.Type == token.SingleQuoteType
		s.Text = p.verbatim(s)
		return s
	}
	p.fail(at, fmt.Sprintf("a YAML %s cannot stand here", strings.ToLower(n.Type().String())), "expected a value, a list or a mapping")
	return &Node{Pos: at}
}

// verbatim returns where the value of a scalar begins, if it is written as it is.
func (p *yamlParser) verbatim(n *Node) Pos {
	if p.runesOf != n.Pos.Line {
		p.runesOf, p.runes = n.Pos.Line, []rune(p.lines[n.Pos.Line-1])
	}
	at, value := n.Pos, []rune(n.Value)
	if n.Quoted {
		if at.Col > len(p.runes) {
			return Pos{}
		}
		value = append(value, p.runes[at.Col-1])
		at.Col++
	}
	from := at.Col - 1
	if len(n.Value) == 0 || from+len(value) > len(p.runes) || !slices.Equal(p.runes[from:from+len(value)], value) {
		return Pos{}
	}
	return at
}

// tagged applies the tags of the core schema; there are no others here.
func (p *yamlParser) tagged(n *ast.TagNode, at Pos, depth int) *Node {
	pos := p.at(n.Start)
	v := p.node(n.Value, pos, depth+1)
	tag := n.Start.Value
	switch tag {
	case "!!str", "!":
		if v.Kind == Null {
			v = &Node{Kind: Scalar, Pos: v.Pos}
		}
		if v.Kind == Scalar {
			v.Quoted = true
			return v
		}
	case "!!int", "!!float", "!!bool", "!!null":
		if v.Kind == Scalar || v.Kind == Null {
			v.Quoted = false
			return v
		}
	case "!!map":
		if v.Kind == Map {
			return v
		}
	case "!!seq":
		if v.Kind == List {
			return v
		}
	default:
		p.fail(pos, fmt.Sprintf("unknown tag %s", tag), "expected no tag")
		return v
	}
	p.fail(pos, fmt.Sprintf("the tag %s does not fit its value", tag), "expected no tag")
	return v
}

func (p *yamlParser) alias(n *ast.AliasNode) *Node {
	pos, name := p.at(n.Start), n.Value.GetToken().Value
	v, ok := p.anchors[name]
	switch {
	case !ok:
		p.fail(pos, fmt.Sprintf("alias *%s has no anchor", name), fmt.Sprintf("expected &%s before it", name))
		return &Node{Pos: pos}
	case v == nil:
		p.fail(pos, fmt.Sprintf("alias *%s lies inside its own value", name), "expected a value that ends before it")
		return &Node{Pos: pos}
	}
	v.each(func(*Node) { p.nodes++ })
	if p.nodes > MaxNodes {
		p.fail(pos, "the document is too large once its aliases are replaced", fmt.Sprintf("expected at most %d values", MaxNodes))
		return &Node{Pos: pos}
	}
	return v.clone()
}

func (p *yamlParser) mapping(n *ast.MappingNode, depth int) *Node {
	m := &Node{Kind: Map}
	if n.IsFlowStyle {
		m.Pos = p.at(n.Start)
	}
	var merged []*Node
	at := map[string]Pos{}
	for _, e := range n.Values {
		key, colon := e.Key.GetToken(), p.at(e.Start)
		if k, ok := e.Key.(*ast.MappingKeyNode); ok {
			key = k.Value.GetToken()
		}
		pos := p.at(key)
		if m.Pos.Line == 0 {
			m.Pos = pos
		}
		if e.Key.IsMergeKey() {
			v := p.node(e.Value, colon, depth+1)
			sources := []*Node{v}
			if v.Kind == List {
				sources = v.Items
			}
			for _, s := range sources {
				if s.Kind != Map {
					p.fail(pos, "<< merges "+found(s), "expected a mapping or a list of mappings")
				}
			}
			merged = append(merged, sources...)
			continue
		}
		if _, ok := e.Key.(ast.ScalarNode); !ok && e.Key.Type() != ast.MappingKeyType {
			p.fail(pos, "a name is not a plain text", "expected `name: value`")
		}
		v := p.node(e.Value, colon, depth+1)
		if first, dup := at[key.Value]; dup {
			p.errs.Add(pos, fmt.Sprintf("%q is written twice", key.Value), fmt.Sprintf("expected it once (first on line %d)", first.Line))
			continue
		}
		at[key.Value] = pos
		m.Keys = append(m.Keys, Key{key.Value, pos, v})
	}
	// Merged entries come after the mapping's own, which win; of several sources the first wins.
	for _, s := range merged {
		for _, k := range s.Keys {
			if _, ok := at[k.Name]; !ok {
				at[k.Name] = k.Pos
				m.Keys = append(m.Keys, k)
			}
		}
	}
	return m
}

// shownRunes is how much of a value messages show.
const shownRunes = 40

// found says what a node is, for messages.
func found(n *Node) string {
	switch n.Kind {
	case Null:
		return "null"
	case List:
		if len(n.Items) == 0 {
			return "an empty list"
		}
		return "a list"
	case Map:
		if len(n.Keys) == 0 {
			return "an empty mapping"
		}
		return "a mapping"
	}
	text := n.Value
	if r := []rune(text); len(r) > shownRunes {
		if n.Interpolated { // a part of a secret would not be known for one: see Errors.Redact
			return fmt.Sprintf("a text of %d characters", len(r))
		}
		text = string(r[:shownRunes]) + "…"
	}
	if !n.Quoted && (isBool(text) || isNumber(text)) {
		return text
	}
	return fmt.Sprintf("%q", text)
}

package spec

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

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
	anchors map[string]*Node // nil while the anchor's own value is being read
	nodes   int
	fatal   bool // no tree to return
	errs    Errors
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

// checkText refuses what YAML does not allow in a text: invalid UTF-8 and
// control characters.
func (p *yamlParser) checkText() {
	for i, line := range p.lines {
		col := 0
		for j, r := range line {
			col++
			pos := Pos{p.file, i + 1, col}
			if r == utf8.RuneError && !strings.HasPrefix(line[j:], "\ufffd") {
				p.fail(pos, fmt.Sprintf("byte 0x%02x is not UTF-8", line[j]), "expected a file in UTF-8")
				return
			}
			if r < ' ' && r != '\t' || r >= 0x7f && r < 0xa0 && r != 0x85 || r == 0xfeff {
				p.fail(pos, fmt.Sprintf("control character U+%04X", r), `expected an escape such as "\u0007" in double quotes`)
				return
			}
		}
	}
}

// document returns the body of the only document in text.
func (p *yamlParser) document(text string) (body ast.Node) {
	tokens := lexer.Tokenize(text)
	if p.checkTokens(tokens); p.fatal {
		return nil
	}
	f, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		msg, pos := err.Error(), Pos{p.file, 1, 1}
		if e, ok := err.(interface {
			GetMessage() string
			GetToken() *token.Token
		}); ok {
			msg = e.GetMessage()
			if tk := e.GetToken(); tk != nil {
				pos = p.at(tk)
			}
		}
		msg, want := explain(msg)
		p.fail(pos, msg, want)
		return nil
	}
	for _, doc := range f.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.DirectiveType || doc.Body.Type() == ast.CommentType {
			continue
		}
		if body != nil {
			p.fail(p.at(doc.Body.GetToken()), "a second document starts here", "expected one document in the file")
			return nil
		}
		body = doc.Body
	}
	return body
}

// checkTokens bounds what the library is given: it recurses on nesting and on
// every key, and a stack that overflows cannot be recovered.
func (p *yamlParser) checkTokens(tokens token.Tokens) {
	var (
		keys, flow, props int
		block             []int // columns of the open block lists and mappings
	)
	open := func(tk *token.Token) {
		for len(block) > 0 && block[len(block)-1] >= tk.Position.Column {
			block = block[:len(block)-1]
		}
		block = append(block, tk.Position.Column)
	}
	for i, tk := range tokens {
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			flow++
		case token.MappingEndType, token.SequenceEndType:
			flow = max(flow-1, 0)
		case token.SequenceEntryType, token.MappingKeyType:
			if flow == 0 {
				open(tk)
			}
		case token.MappingValueType:
			keys++
			if flow == 0 && i > 0 {
				open(tokens[i-1])
			}
		}
		switch {
		case tk.Type == token.AnchorType || tk.Type == token.TagType:
			props++
		case i == 0 || tokens[i-1].Type != token.AnchorType: // what follows & is the anchor's name
			props = 0
		}
		switch {
		case flow+len(block) > MaxDepth:
			p.fail(p.at(tk), "lists and mappings are nested too deep", fmt.Sprintf("expected at most %d levels", MaxDepth))
		case keys > MaxKeys:
			p.fail(p.at(tk), "the file has too many keys", fmt.Sprintf("expected at most %d", MaxKeys))
		case props > 2:
			p.fail(p.at(tk), "a value has several anchors or tags", "expected at most one of each")
		}
		if p.fatal {
			return
		}
	}
}

// explain turns the library's message into what is wrong and what was expected.
func explain(msg string) (string, string) {
	const indent = "expected `name: value` lines of one mapping to start in the same column"
	switch {
	case strings.HasPrefix(msg, "found character '\t'"):
		return "a tab cannot indent", "expected spaces"
	case msg == "mapping value is not allowed in this context":
		return "a mapping cannot start here", "expected one value, a text with a colon in quotes, or lines of one mapping in the same column"
	case msg == "value is not allowed in this context", msg == "value is not allowed in this context. map key-value is pre-defined":
		return "a value cannot stand here", indent
	case msg == "non-map value is specified":
		return "a line of the mapping has no colon", "expected `name: value`"
	case strings.HasPrefix(msg, "could not find end character of"):
		return "the quoted text has no end", "expected a closing quote"
	case strings.HasPrefix(msg, "could not find flow mapping end"), msg == "',' or '}' must be specified":
		return "the mapping { has no end or lacks a comma", "expected `,` or `}`"
	case strings.HasPrefix(msg, "sequence end token ']' not found"), msg == "',' or ']' must be specified":
		return "the list [ has no end or lacks a comma", "expected `,` or `]`"
	case strings.HasSuffix(msg, "is a reserved character"):
		return "a plain text cannot start with " + strings.Fields(msg)[0], "expected quotes around it"
	}
	return msg, "expected YAML 1.2"
}

// at returns the exact position of a token. The library counts a tab for
// nothing and trailing blanks twice; the text itself says where the token is.
func (p *yamlParser) at(tk *token.Token) Pos {
	pos := Pos{p.file, max(tk.Position.Line, 1), max(tk.Position.Column, 1)}
	pos.Line = min(pos.Line, len(p.lines))
	line := []rune(p.lines[pos.Line-1])
	pos.Col = min(pos.Col, len(line)+1)
	head := headOf(tk)
	if head == "" || startsAt(line, pos.Col, head) {
		return pos
	}
	for d := 1; d <= len(line); d++ {
		for _, col := range [2]int{pos.Col - d, pos.Col + d} {
			if startsAt(line, col, head) {
				return Pos{p.file, pos.Line, col}
			}
		}
	}
	return pos
}

// headOf returns the text a token starts with in the file, as far as it is known.
func headOf(tk *token.Token) string {
	switch tk.Type {
	case token.DoubleQuoteType:
		return `"`
	case token.SingleQuoteType:
		return `'`
	}
	if strings.Contains(tk.Origin, "\n") && strings.TrimSpace(tk.Origin) != tk.Value {
		return firstWord(tk.Value) // a plain text over several lines
	}
	return tk.Value
}

func firstWord(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return f[0]
	}
	return ""
}

func startsAt(line []rune, col int, head string) bool {
	if col < 1 || col > len(line) {
		return false
	}
	rest := line[col-1:]
	for _, r := range head {
		if len(rest) == 0 || rest[0] != r {
			return false
		}
		rest = rest[1:]
	}
	return true
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
		if tk := n.GetToken(); startsAt([]rune(p.lines[min(tk.Position.Line, len(p.lines))-1]), tk.Position.Column, tk.Value) {
			at = p.at(tk)
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
		return s
	}
	p.fail(at, fmt.Sprintf("a YAML %s cannot stand here", strings.ToLower(n.Type().String())), "expected a value, a list or a mapping")
	return &Node{Pos: at}
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

// found says what a node is, for messages.
func found(n *Node) string {
	switch n.Kind {
	case Null:
		return "null"
	case List:
		return "a list"
	case Map:
		return "a mapping"
	}
	text := n.Value
	if r := []rune(text); len(r) > 40 {
		text = string(r[:40]) + "…"
	}
	if !n.Quoted && (isBool(text) || isNumber(text)) {
		return text
	}
	return fmt.Sprintf("%q", text)
}

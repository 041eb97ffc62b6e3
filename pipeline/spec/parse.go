package spec

import (
	"bytes"
	"fmt"
	"slices"
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

// explain reports the library's complaint about a token, which may be nil, in
// the words of this package.
func (p *yamlParser) explain(msg string, tk *token.Token) {
	pos := Pos{p.file, 1, 1}
	if tk != nil {
		pos = p.at(tk)
	}
	want := "expected YAML 1.2"
	has := func(part string) bool { return strings.Contains(msg, part) }
	switch {
	case p.variableAt(pos):
		msg, want = "a variable in a list or mapping in brackets stands without quotes", `expected quotes, as in "${VAR}"`
	case has("found character '\t'"), has("found a tab character"):
		pos = p.find(Pos{p.file, pos.Line, 1}, "\t")
		msg, want = "a tab cannot indent", "expected spaces"
	case has("mapping value is not allowed"):
		msg, want = "a value has a colon in it", "expected quotes around a text with a colon"
		if last, ok := p.lasts[tk]; ok { // the colon is on a later line than the value starts on
			pos = last
			msg, want = "this line does not start where the lines of its mapping do", "expected the names of one mapping in the same column"
		}
	case has("value is not allowed in this context"):
		msg, want = "a value cannot stand here", "expected `name: value` or `- item` in the column of its neighbours"
	case has("non-map value is specified"):
		msg, want = "a line of a mapping has no colon", "expected `name: value`, with a space after the colon"
	case has("invalid key for this map"):
		msg, want = "a list or mapping stands in place of a name", "expected a text before the colon"
	case has("could not find end character of"):
		msg, want = "a quoted text has no end", "expected a closing quote"
	case has("could not find flow mapping end"), has("',' or '}' must be"):
		msg, want = "a mapping in braces is not closed, or lacks a comma", "expected `,` or `}`"
	case has("sequence end token ']' not found"), has("',' or ']' must be"):
		msg, want = "a list in brackets is not closed, or lacks a comma", "expected `,` or `]`"
	case has("corresponding to"):
		msg, want = "a closing bracket has no opening one", "expected quotes around a text that starts with a bracket"
	case has("unexpected directive"):
		msg, want = "a plain text cannot start with '%'", "expected quotes around it"
	case has("is a reserved character"):
		msg, want = "a plain text cannot start with "+strings.Fields(msg)[0], "expected quotes around it"
	case has("unknown escape character"):
		escape := `\` + strings.Trim(msg[strings.LastIndex(msg, " ")+1:], "'")
		pos = p.find(pos, escape)
		msg, want = "unknown escape "+escape, `expected \\ for a backslash, or single quotes`
	}
	p.fail(pos, msg, want)
}

// variableAt says whether the brace of a ${ stands at pos.
func (p *yamlParser) variableAt(pos Pos) bool {
	line := []rune(p.lines[pos.Line-1])
	return pos.Col > 1 && pos.Col <= len(line) && line[pos.Col-2] == '$' && line[pos.Col-1] == '{'
}

// find returns where part stands from pos on, pos if nowhere.
func (p *yamlParser) find(pos Pos, part string) Pos {
	for i := pos.Line; i <= len(p.lines); i++ {
		line, from := p.lines[i-1], 0
		if i == pos.Line {
			from = len(string([]rune(line)[:pos.Col-1]))
		}
		if before, _, ok := strings.Cut(line[from:], part); ok {
			return Pos{p.file, i, utf8.RuneCountInString(line[:from]+before) + 1}
		}
	}
	return pos
}

// locate finds where every token starts. The library's own columns are wrong
// after tabs and blanks, but its tokens spell the text in order but for white
// space: walking the text along with them gives exact positions.
func (p *yamlParser) locate(tokens token.Tokens, text string) {
	p.starts, p.lasts = make(map[*token.Token]Pos, len(tokens)), map[*token.Token]Pos{}
	at := Pos{p.file, 1, 1}
	rest := text
	skip := func() {
		for rest != "" {
			switch rest[0] {
			case ' ', '\t':
				at.Col++
			case '\n':
				at.Line, at.Col = at.Line+1, 1
			default:
				return
			}
			rest = rest[1:]
		}
	}
	for _, tk := range tokens {
		skip()
		p.starts[tk] = at
		line := at.Line
		for _, r := range tk.Origin {
			if strings.ContainsRune(" \t\r\n", r) {
				continue
			}
			skip()
			got, size := utf8.DecodeRuneInString(rest)
			if got != r {
				return // an error, which the parser is about to find
			}
			if at.Line > line {
				line, p.lasts[tk] = at.Line, at
			}
			at.Col++
			rest = rest[size:]
		}
	}
}

// at returns the position of a token.
func (p *yamlParser) at(tk *token.Token) Pos {
	if pos, ok := p.starts[tk]; ok {
		return pos
	}
	line := min(max(tk.Position.Line, 1), len(p.lines))
	return Pos{p.file, line, min(max(tk.Position.Column, 1), utf8.RuneCountInString(p.lines[line-1])+1)}
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

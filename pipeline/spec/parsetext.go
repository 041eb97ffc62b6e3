package spec

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/token"
)

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

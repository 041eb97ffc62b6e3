// Package spec is how a component of a pipeline declares its fields once.
//
// A component's configuration is a [Config]: a struct whose Fields method names
// every field with its type, default, bounds and documentation, much as package
// flag does. From that one declaration come [Decode], which reports all errors
// at once with their exact positions, the documentation ([Describe],
// [WriteText], [WriteMarkdown]), the JSON Schema for editors ([JSONSchema]) and
// the texts that identify a configuration ([Canonical], [Pinned]).
//
// YAML is parsed into a tree of this package's own ([Node]), whose positions are
// exact to the character, so that nothing above this package knows which YAML
// library reads the file.
package spec

import "fmt"

// Pos is a place in a text: a line and a column, both from 1, the column counted
// in characters. A Pos without a line stands for the File as a whole, which may
// also be a description such as "--set kafka.brokers".
type Pos struct {
	File      string
	Line, Col int
}

// String formats p as file:line:column, without the parts p lacks.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Kind says what a [Node] is.
type Kind uint8

// The kinds of nodes.
const (
	Null   Kind = iota // nothing, null or ~
	Scalar             // one value, in Node.Value
	List               // values in Node.Items
	Map                // named values in Node.Keys
)

// Node is a value in a YAML document.
type Node struct {
	Kind         Kind
	Pos          Pos     // the first character; of a block list or mapping, that of its first entry
	Value        string  // the text of a Scalar, unquoted and unescaped
	Quoted       bool    // the Scalar was quoted, a block text or tagged !!str: it is text even if it looks like a number
	Interpolated bool    // a variable was replaced in the Scalar: its type is the field's, quoted or not
	Variable     string  // the Scalar is this variable of the environment and nothing else
	Text         Pos     // where Value begins, if it stands in the file letter by letter on one line; else the zero Pos
	Items        []*Node // of a List
	Keys         []Key   // of a Map, in written order, names unique
}

// Key is one entry of a mapping.
type Key struct {
	Name  string
	Pos   Pos // of the name
	Value *Node
}

// Get returns the value of the entry name of a mapping, and nil where there is none.
// It works on a nil node.
func (n *Node) Get(name string) *Node {
	if n == nil {
		return nil
	}
	for _, k := range n.Keys {
		if k.Name == name {
			return k.Value
		}
	}
	return nil
}

// clone copies n whole, so that no change of the copy shows in n.
func (n *Node) clone() *Node {
	c := *n
	if n.Items != nil {
		c.Items = make([]*Node, len(n.Items))
		for i, item := range n.Items {
			c.Items[i] = item.clone()
		}
	}
	if n.Keys != nil {
		c.Keys = make([]Key, len(n.Keys))
		for i, k := range n.Keys {
			c.Keys[i] = Key{k.Name, k.Pos, k.Value.clone()}
		}
	}
	return &c
}

// each calls f for n and every value below it.
func (n *Node) each(f func(*Node)) {
	f(n)
	for _, item := range n.Items {
		item.each(f)
	}
	for _, k := range n.Keys {
		k.Value.each(f)
	}
}

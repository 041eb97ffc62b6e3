package pipeline

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/gradstream/gradstream/pipeline/spec"
)

// Hash identifies everything in the pipeline that can change a result: two
// pipelines of one hash compute the same from the same input. It is the SHA-256,
// in hex, of a text that holds the name, the number of tasks, what sources decode,
// the operators with all their options, and what sinks publish. Where the brokers
// are, where state lies and how often it is saved are left out.
func (p *Pipeline) Hash() string {
	sum := sha256.Sum256([]byte(p.canonical()))
	return hex.EncodeToString(sum[:])
}

func (p *Pipeline) canonical() string {
	var b strings.Builder
	fmt.Fprintf(&b, "gradstream graph 1\npipeline %q tasks %d\n", p.Name, p.Tasks)
	for _, s := range p.Sources {
		fmt.Fprintf(&b, "source %q topic %q format %s time %q", s.Name, s.Topic, s.Format, s.Time)
		if s.Avro != nil {
			fmt.Fprintf(&b, " avro %q framed %v", s.Avro.Schema, s.Avro.Framed)
		}
		writeColumns(&b, s.Schema.Names(), func(i int) string { return s.Schema.Fields[i].TypeString() })
	}
	nodes := slices.Clone(p.Nodes)
	slices.SortFunc(nodes, func(a, b *Node) int { return strings.Compare(a.Name, b.Name) })
	for _, n := range nodes {
		fmt.Fprintf(&b, "operator %q from %q %s %s\n", n.Name, n.From, n.Def.Name, spec.Canonical(n.Config))
	}
	for _, s := range p.Sinks {
		fmt.Fprintf(&b, "sink %q from %q topic %q format %s key %q headers %s\n", s.Name, s.From, s.Topic, s.Format, s.Key, s.Headers)
		for _, in := range s.Inputs {
			writeColumns(&b, in.Output.Names(), func(i int) string { return in.Schema.Fields[in.Columns[i]].Name })
		}
	}
	return b.String()
}

func writeColumns(b *strings.Builder, names []string, what func(i int) string) {
	b.WriteString(" columns")
	for i, name := range names {
		fmt.Fprintf(b, " %q %q", name, what(i))
	}
	b.WriteByte('\n')
}

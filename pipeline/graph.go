package pipeline

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// GraphFormats lists the formats of [WriteGraph].
var GraphFormats = []string{"text", "mermaid", "dot"}

// WriteGraph writes the graph of p with the columns of every edge: as text for a
// terminal, as a Mermaid flowchart, or in the language of Graphviz.
func WriteGraph(w io.Writer, p *Pipeline, format string) error {
	b := bufio.NewWriter(w)
	switch format {
	case "text":
		writeGraphText(b, p)
	case "mermaid":
		writeMermaid(b, p)
	case "dot":
		writeDot(b, p)
	default:
		return fmt.Errorf("pipeline: no graph format %q: expected %s", format, strings.Join(GraphFormats, ", "))
	}
	return b.Flush()
}

func writeGraphText(w io.Writer, p *Pipeline) {
	tasks := "one task a partition"
	if p.Tasks > 0 {
		tasks = plural(p.Tasks, "task")
	}
	if n := len(p.Stages()); n > 1 {
		tasks += fmt.Sprintf(" in each of %d stages", n)
	}
	fmt.Fprintf(w, "pipeline %s: %s, %s, %s; %s\n", p.Name, plural(len(p.Sources), "source"),
		plural(len(p.Nodes), "operator"), plural(len(p.Sinks), "sink"), tasks)
	for _, s := range p.Sources {
		facts := fmt.Sprintf("topic %s, %s", s.Topic, s.Format)
		if s.Time != "" {
			facts += ", event time " + s.Time
		}
		fmt.Fprintf(w, "\nsource %s: %s\n", s.Name, facts)
		writeLines(w, "  ", columnLines(s.Schema))
	}
	for _, n := range p.Nodes {
		facts := fmt.Sprintf("%s of %s", n.Def.Name, strings.Join(n.From, ", "))
		if crossing := p.crossing(n); crossing != "" {
			facts += ", " + crossing
		}
		fmt.Fprintf(w, "\noperator %s: %s\n", n.Name, facts)
		writeLines(w, "  ", n.columnLines())
	}
	for _, s := range p.Sinks {
		facts := fmt.Sprintf("%s to topic %s, %s", strings.Join(s.From, ", "), s.Topic, s.Format)
		if s.Key != "" {
			facts += ", key " + s.Key
		}
		fmt.Fprintf(w, "\nsink %s: %s\n", s.Name, facts)
		for i, in := range s.Inputs {
			indent := "  "
			if len(s.Inputs) > 1 {
				fmt.Fprintf(w, "  of %s\n", s.From[i])
				indent = "    "
			}
			writeLines(w, indent, in.columnLines())
		}
	}
}

func writeLines(w io.Writer, indent string, lines []string) {
	for _, line := range lines {
		fmt.Fprintf(w, "%s%s\n", indent, line)
	}
}

func columnLines(s *batch.Schema) []string {
	lines := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		lines[i] = f.String()
	}
	return lines
}

// columnLines lists what n emits; what it passes on from its input is one line.
func (n *Node) columnLines() []string {
	in := n.Inputs[0]
	switch k := len(in.Fields); {
	case !extends(n.Schema, in) || k == 0:
		return columnLines(n.Schema)
	default:
		lines := []string{"all of " + n.From[0]}
		for _, f := range n.Schema.Fields[k:] {
			lines = append(lines, "+ "+f.String())
		}
		return lines
	}
}

// columnLines lists what is published; a column under another name than its own
// says which.
func (in *SinkInput) columnLines() []string {
	lines := columnLines(in.Output)
	for i, c := range in.Columns {
		if own := in.Schema.Fields[c].Name; own != in.Output.Fields[i].Name {
			lines[i] += " = " + own
		}
	}
	return lines
}

// edge is an arrow of the graph with the columns that go along it.
type edge struct {
	from, to string
	columns  []string
}

func (p *Pipeline) edges() []edge {
	emitted := map[string][]string{}
	for _, s := range p.Sources {
		emitted[s.Name] = columnLines(s.Schema)
	}
	var edges []edge
	for _, n := range p.Nodes {
		for _, from := range n.From {
			edges = append(edges, edge{from, n.Name, emitted[from]})
		}
		emitted[n.Name] = n.columnLines()
	}
	for _, s := range p.Sinks {
		for i, from := range s.From {
			edges = append(edges, edge{from, s.Name, s.Inputs[i].columnLines()})
		}
	}
	return edges
}

// mermaidText escapes what means something in a quoted label.
var mermaidText = strings.NewReplacer(`"`, "#quot;", "#", "#35;", "<", "#lt;", ">", "#gt;", "&", "#amp;",
	"`", "#96;", "\n", " ", "\r", " ", "\t", " ")

func writeMermaid(w io.Writer, p *Pipeline) {
	ids := map[string]string{}
	label := func(parts ...string) string {
		for i := range parts {
			parts[i] = mermaidText.Replace(parts[i])
		}
		return `"` + strings.Join(parts, "<br/>") + `"`
	}
	fmt.Fprintln(w, "flowchart LR")
	node := func(name, shape string, facts ...string) {
		ids[name] = fmt.Sprintf("n%d", len(ids))
		fmt.Fprintf(w, "  %s"+shape+"\n", ids[name], label(append([]string{name}, facts...)...))
	}
	for _, s := range p.Sources {
		node(s.Name, "([%s])", "topic "+s.Topic)
	}
	for _, n := range p.Nodes {
		node(n.Name, "[%s]", n.Def.Name)
	}
	for _, s := range p.Sinks {
		node(s.Name, "[[%s]]", "topic "+s.Topic)
	}
	for _, e := range p.edges() {
		fmt.Fprintf(w, "  %s -->|%s| %s\n", ids[e.from], label(slices.Clone(e.columns)...), ids[e.to])
	}
}

// dotText escapes what means something in a quoted string.
var dotText = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", " ", "\r", " ")

func writeDot(w io.Writer, p *Pipeline) {
	quote := func(s string) string { return `"` + dotText.Replace(s) + `"` }
	lines := func(parts []string, end string) string {
		var b strings.Builder
		for _, s := range parts {
			b.WriteString(dotText.Replace(s) + end)
		}
		return `"` + b.String() + `"`
	}
	fmt.Fprintf(w, "digraph %s {\n  rankdir=LR;\n  node [fontname=\"Helvetica\"];\n  edge [fontname=\"Helvetica\", fontsize=9];\n", quote(p.Name))
	for _, s := range p.Sources {
		fmt.Fprintf(w, "  %s [shape=cds, label=%s];\n", quote(s.Name), lines([]string{s.Name, "topic " + s.Topic}, `\n`))
	}
	for _, n := range p.Nodes {
		fmt.Fprintf(w, "  %s [shape=box, label=%s];\n", quote(n.Name), lines([]string{n.Name, n.Def.Name}, `\n`))
	}
	for _, s := range p.Sinks {
		fmt.Fprintf(w, "  %s [shape=note, label=%s];\n", quote(s.Name), lines([]string{s.Name, "topic " + s.Topic}, `\n`))
	}
	for _, e := range p.edges() {
		fmt.Fprintf(w, "  %s -> %s [label=%s];\n", quote(e.from), quote(e.to), lines(e.columns, `\l`))
	}
	fmt.Fprintln(w, "}")
}

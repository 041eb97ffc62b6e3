package admin

import (
	"net/http"

	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// graph is a pipeline as boxes and arrows.
type graph struct {
	Pipeline string      `json:"pipeline"`
	Nodes    []graphNode `json:"nodes"`
	Edges    []graphEdge `json:"edges"`
}

type graphNode struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"` // source, operator or sink
	Type   string `json:"type,omitempty"`
	Role   string `json:"role,omitempty"`
	Topic  string `json:"topic,omitempty"`
	Format string `json:"format,omitempty"`
}

type graphEdge struct {
	From    string        `json:"from"`
	To      string        `json:"to"`
	Columns []graphColumn `json:"columns"`
}

type graphColumn struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

func newGraph(p *pipeline.Pipeline) graph {
	g := graph{Pipeline: p.Name, Nodes: []graphNode{}, Edges: []graphEdge{}}
	emitted := map[string][]graphColumn{}
	for _, s := range p.Sources {
		g.Nodes = append(g.Nodes, graphNode{Name: s.Name, Kind: "source", Topic: s.Topic, Format: s.Format})
		emitted[s.Name] = columns(s.Schema)
	}
	for _, n := range p.Nodes {
		g.Nodes = append(g.Nodes, graphNode{Name: n.Name, Kind: "operator", Type: n.Def.Name, Role: n.Def.Role.String()})
		emitted[n.Name] = columns(n.Schema)
		for _, from := range n.From {
			g.Edges = append(g.Edges, graphEdge{from, n.Name, emitted[from]})
		}
	}
	for _, s := range p.Sinks {
		g.Nodes = append(g.Nodes, graphNode{Name: s.Name, Kind: "sink", Topic: s.Topic, Format: s.Format})
		for i, from := range s.From {
			g.Edges = append(g.Edges, graphEdge{from, s.Name, columns(s.Inputs[i].Output)})
		}
	}
	return g
}

func columns(s *batch.Schema) []graphColumn {
	out := make([]graphColumn, len(s.Fields))
	for i, f := range s.Fields {
		out[i] = graphColumn{f.Name, f.TypeString()}
	}
	return out
}

func (s *Server) serveGraph(w http.ResponseWriter, _ *http.Request) {
	answer := struct {
		Pipelines []graph `json:"pipelines"`
	}{[]graph{}}
	for _, a := range s.all() {
		answer.Pipelines = append(answer.Pipelines, a.graph)
	}
	write(w, http.StatusOK, answer)
}

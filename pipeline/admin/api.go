package admin

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"runtime"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/run"
)

// write answers with v as JSON.
func write(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		code, b = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(code)
	_, _ = w.Write(append(b, '\n'))
}

// fail answers with an error.
func fail(w http.ResponseWriter, code int, message string) {
	write(w, code, struct {
		Error string `json:"error"`
	}{message})
}

func (s *Server) serveVersion(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, struct {
		Version string `json:"version"`
		Go      string `json:"go"`
	}{s.version, runtime.Version()})
}

// taskView is a task as /api/status shows it: with its lag, without the values of
// its nodes, which /api/metrics has.
type taskView struct {
	run.TaskStatus
	Lag        int64           `json:"lag"`
	Partitions []partitionView `json:"partitions"`
	Nodes      *struct{}       `json:"nodes,omitempty"` // hides those of the status
}

type partitionView struct {
	run.PartitionState
	Lag int64 `json:"lag"`
}

type statusView struct {
	Pipeline string     `json:"pipeline"`
	Brokers  []string   `json:"brokers"`
	Rows     int64      `json:"rows"`
	Rejected int64      `json:"rejected"`
	Outputs  int64      `json:"outputs"`
	Lag      int64      `json:"lag"`
	Live     int        `json:"tasks_live"`
	Tasks    []taskView `json:"tasks"`
}

func (a *added) status() statusView {
	v := statusView{Pipeline: a.p.Name, Brokers: a.brokers, Tasks: []taskView{}}
	for _, t := range a.w.Status() {
		one := taskView{TaskStatus: t, Partitions: []partitionView{}}
		for _, p := range t.Partitions {
			one.Partitions = append(one.Partitions, partitionView{PartitionState: p, Lag: p.Lag()})
			one.Lag += p.Lag()
		}
		v.Rows, v.Rejected, v.Outputs, v.Lag = v.Rows+t.Rows, v.Rejected+t.Rejected, v.Outputs+t.Outputs, v.Lag+one.Lag
		if t.Phase == run.Live.String() {
			v.Live++
		}
		v.Tasks = append(v.Tasks, one)
	}
	return v
}

func (s *Server) serveStatus(w http.ResponseWriter, _ *http.Request) {
	now := s.now()
	answer := struct {
		Now       int64        `json:"now_ms"`
		Uptime    float64      `json:"uptime_seconds"`
		Pipelines []statusView `json:"pipelines"`
	}{now.UnixMilli(), now.Sub(s.started).Seconds(), []statusView{}}
	for _, a := range s.all() {
		answer.Pipelines = append(answer.Pipelines, a.status())
	}
	write(w, http.StatusOK, answer)
}

// values are named numbers in the order in which the node reported them; those
// that are undefined are null.
type values []operators.Value

// MarshalJSON writes an object.
func (v values) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, x := range v {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(x.Name)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		if x.Null || math.IsNaN(x.Number) || math.IsInf(x.Number, 0) {
			b.WriteString("null")
			continue
		}
		number, err := json.Marshal(x.Number)
		if err != nil {
			return nil, err
		}
		b.Write(number)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

type nodeView struct {
	Node  string     `json:"node"`
	Type  string     `json:"type"`
	Role  string     `json:"role"`
	All   values     `json:"all"`
	Tasks []nodeTask `json:"tasks"`
}

type nodeTask struct {
	Task   int    `json:"task"`
	Values values `json:"values"`
}

// metrics returns the nodes of a pipeline that report numbers, in the order of
// the graph.
func (a *added) metrics() []nodeView {
	byName := map[string]*nodeView{}
	for _, t := range a.w.Status() {
		for _, n := range t.Nodes {
			v := byName[n.Node]
			if v == nil {
				v = &nodeView{Node: n.Node, Type: n.Type, Role: n.Role}
				byName[n.Node] = v
			}
			if len(n.Values) > 0 {
				v.Tasks = append(v.Tasks, nodeTask{t.Task, n.Values})
			}
		}
	}
	views := []nodeView{}
	for _, n := range a.p.Nodes {
		if v := byName[n.Name]; v != nil && len(v.Tasks) > 0 {
			tasks := make([][]operators.Value, len(v.Tasks))
			for i, t := range v.Tasks {
				tasks[i] = t.Values
			}
			v.All = Merge(tasks)
			views = append(views, *v)
		}
	}
	return views
}

func (s *Server) serveMetrics(w http.ResponseWriter, _ *http.Request) {
	type one struct {
		Pipeline string     `json:"pipeline"`
		Nodes    []nodeView `json:"nodes"`
	}
	answer := struct {
		Pipelines []one `json:"pipelines"`
	}{[]one{}}
	for _, a := range s.all() {
		answer.Pipelines = append(answer.Pipelines, one{a.p.Name, a.metrics()})
	}
	write(w, http.StatusOK, answer)
}

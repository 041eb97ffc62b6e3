package admin

import (
	"net/http"
	"sync"
	"time"
)

// The past that the page draws: a point a second for five minutes.
const (
	sampleEvery = time.Second
	samplesKept = 300
)

// sample is what a pipeline came to at one moment.
type sample struct {
	At    int64             `json:"at_ms"`
	Rows  int64             `json:"rows"`
	Lag   int64             `json:"lag"`
	Nodes map[string]values `json:"nodes"` // of evaluators, learners and detectors, all tasks together
}

type history struct {
	mu   sync.Mutex
	list []sample
}

func newHistory() *history { return &history{} }

func (h *history) add(s sample) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.list) == samplesKept {
		copy(h.list, h.list[1:])
		h.list = h.list[:samplesKept-1]
	}
	h.list = append(h.list, s)
}

func (h *history) all() []sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]sample{}, h.list...)
}

// sample notes how all pipelines stand.
func (s *Server) sample() {
	now := s.now().UnixMilli()
	for _, a := range s.all() {
		st := a.status()
		p := sample{At: now, Rows: st.Rows, Lag: st.Lag, Nodes: map[string]values{}}
		for _, n := range a.metrics() {
			p.Nodes[n.Node] = n.All
		}
		a.past.add(p)
	}
}

func (s *Server) serveHistory(w http.ResponseWriter, _ *http.Request) {
	type one struct {
		Pipeline string   `json:"pipeline"`
		Samples  []sample `json:"samples"`
	}
	answer := struct {
		Every     float64 `json:"every_seconds"`
		Pipelines []one   `json:"pipelines"`
	}{sampleEvery.Seconds(), []one{}}
	for _, a := range s.all() {
		answer.Pipelines = append(answer.Pipelines, one{a.p.Name, a.past.all()})
	}
	write(w, http.StatusOK, answer)
}

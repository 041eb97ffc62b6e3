package admin

import (
	"fmt"
	"net/http"

	"github.com/gradstream/gradstream/pipeline/run"
)

// problem is one reason why a process is not healthy or not ready.
type problem struct {
	Pipeline string `json:"pipeline,omitempty"`
	Task     *int   `json:"task,omitempty"`
	Reason   string `json:"reason"`
}

// verdict is the answer of /healthz and /readyz.
type verdict struct {
	Status  string    `json:"status"`
	Reasons []problem `json:"reasons,omitempty"`
}

// health answers 200 while the process does its work or may yet; 503 when a task
// has failed for good.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	var bad []problem
	for _, a := range s.all() {
		for _, t := range a.w.Status() {
			if t.Phase == run.Failed.String() {
				bad = append(bad, problem{Pipeline: a.p.Name, Task: &t.Task, Reason: "the task has failed; the log says why"})
			}
		}
	}
	judge(w, "ok", "failed", bad, s.allowed(r))
}

// ready answers 200 when every task that this worker was given processes new
// input, and it was given some.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	var bad []problem
	all := s.all()
	if len(all) == 0 {
		bad = append(bad, problem{Reason: "no pipeline has started yet"})
	}
	s.mu.Lock()
	if s.closing {
		bad = append(bad, problem{Reason: "the process is stopping"})
	}
	s.mu.Unlock()
	for _, a := range all {
		tasks := a.w.Status()
		if len(tasks) == 0 {
			bad = append(bad, problem{Pipeline: a.p.Name, Reason: "no task has been assigned to this worker"})
		}
		for _, t := range tasks {
			if t.Phase != run.Live.String() {
				bad = append(bad, problem{Pipeline: a.p.Name, Task: &t.Task, Reason: fmt.Sprintf("the task is in phase %s, not live", t.Phase)})
			}
			if t.Problem != "" {
				bad = append(bad, problem{Pipeline: a.p.Name, Task: &t.Task, Reason: "the task " + t.Problem})
			}
		}
	}
	judge(w, "ready", "not ready", bad, s.allowed(r))
}

func judge(w http.ResponseWriter, good, poor string, bad []problem, reasons bool) {
	if len(bad) > 0 {
		if !reasons { // names are for those who may see everything
			bad = nil
		}
		write(w, http.StatusServiceUnavailable, verdict{Status: poor, Reasons: bad})
		return
	}
	write(w, http.StatusOK, verdict{Status: good})
}

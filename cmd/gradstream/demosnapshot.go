package main

import (
	"strings"
	"time"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/admin"
	"github.com/gradstream/gradstream/pipeline/run"
)

// demoSnapshot is all that the demo shows, at one moment.
type demoSnapshot struct {
	Stream, Question       string
	Broker, ReadAlong, URL string
	Topic                  string // of the predictions
	Stopping               string // what the end waits for; "" = still playing
	Elapsed                time.Duration

	Total       int64 // events of the stream
	Sent        int64 // events in the topic
	Predictions int64 // read back
	Rows        int64 // events processed, as the tasks say
	Rejected    int64
	Duplicates  int64
	Missing     int64
	ChangeAt    int64 // event at which a generated stream changes; -1 = none

	Rate     float64 // predictions a second, lately
	Mean     float64 // from the start to the last prediction
	Rates    []float64
	Lags     []float64
	P50, P99 time.Duration
	Scores   []demoScore
	Drifts   []demoDrift
	Tasks    []demoTask
}

// demoScore is a metric of the model beside that of the baseline.
type demoScore struct {
	Name            string
	Model, Baseline float64
	Known           bool
	Recent          []float64 // of the model, piece by piece of the stream
}

// demoTask is a line of the table of tasks.
type demoTask struct {
	Task       int
	Phase      string
	Step       uint64
	Rows       int64
	Event      time.Time // event time reached; zero = none
	Partitions string
}

// Lag is how many events wait for their prediction.
func (s *demoSnapshot) Lag() int64 { return max(0, s.Sent-s.Predictions) }

// demoScores are the metrics that are shown.
var demoScores = []struct{ metric, title string }{{"accuracy", "accuracy"}, {"log_loss", "log loss"}}

const (
	demoSampleEvery = 500 * time.Millisecond
	demoSamples     = 120
)

// demoPast is what the lines are drawn from.
type demoPast struct {
	at          time.Duration
	predictions int64
	rates, lags []float64
	scores      []scorePast
}

// scorePast turns a running mean into means of its pieces.
type scorePast struct {
	rows, sum float64
	recent    []float64
}

// add takes a running mean over rows.
func (p *scorePast) add(rows, mean float64) {
	if rows <= p.rows {
		return
	}
	if p.rows > 0 {
		p.recent = keep(p.recent, (rows*mean-p.sum)/(rows-p.rows))
	}
	p.rows, p.sum = rows, rows*mean
}

func keep(list []float64, v float64) []float64 {
	list = append(list, v)
	if len(list) > demoSamples {
		list = list[1:]
	}
	return list
}

// sample notes how things stand, now and then.
func (p *demoPast) sample(s *demoSnapshot, rows float64) {
	d := s.Elapsed - p.at
	if d < demoSampleEvery {
		return
	}
	p.rates = keep(p.rates, float64(s.Predictions-p.predictions)/d.Seconds())
	p.lags = keep(p.lags, float64(s.Lag()))
	p.at, p.predictions = s.Elapsed, s.Predictions
	if p.scores == nil {
		p.scores = make([]scorePast, len(s.Scores))
	}
	for i, m := range s.Scores {
		if m.Known {
			p.scores[i].add(rows, m.Model)
		}
	}
}

// fill adds the lines to a snapshot.
func (p *demoPast) fill(s *demoSnapshot) {
	s.Rates, s.Lags = append([]float64(nil), p.rates...), append([]float64(nil), p.lags...)
	// Over two seconds, or what happens to end a step would show.
	n := min(4, len(s.Rates))
	for _, r := range s.Rates[len(s.Rates)-n:] {
		s.Rate += r / float64(n)
	}
	for i := range p.scores {
		s.Scores[i].Recent = append([]float64(nil), p.scores[i].recent...)
	}
}

// snapshot looks at everything.
func (d *demo) snapshot() *demoSnapshot {
	d.mu.Lock()
	defer d.mu.Unlock()
	stream := demoStreams[d.o.stream]
	s := &demoSnapshot{Stream: stream.title, Question: stream.question, Broker: d.addr, ReadAlong: d.readAlong(), URL: d.url,
		Topic: d.sink.Topic, Stopping: d.stopping, Elapsed: time.Since(d.begun)}
	s.Total = stream.rows(d.o)
	s.ChangeAt = stream.changeAt(s.Total)
	s.Sent = d.feed.sent()
	s.Total = max(s.Total, s.Sent)
	d.tail.fill(s)
	rows := d.fillStatus(s, d.work.worker.Status())
	d.past.sample(s, rows)
	d.past.fill(s)
	return s
}

// fillStatus adds what the tasks say of themselves. It returns the rows that the
// scores are over.
func (d *demo) fillStatus(s *demoSnapshot, tasks []run.TaskStatus) float64 {
	nodes := map[string][][]operators.Value{}
	for _, t := range tasks {
		one := demoTask{Task: t.Task, Phase: t.Phase, Step: t.Step, Rows: t.Rows}
		if t.Watermark > 0 {
			one.Event = time.UnixMilli(t.Watermark).UTC()
		}
		var parts []string
		for _, p := range t.Partitions {
			parts = append(parts, partitionText(p))
		}
		one.Partitions = strings.Join(parts, " ")
		s.Tasks = append(s.Tasks, one)
		s.Rows, s.Rejected = s.Rows+t.Rows, s.Rejected+t.Rejected
		for _, n := range t.Nodes {
			if n.Role == operators.Evaluator.String() {
				nodes[n.Node] = append(nodes[n.Node], n.Values)
			}
		}
	}
	model := operators.Report{Values: admin.Merge(nodes["quality"])}
	baseline := operators.Report{Values: admin.Merge(nodes["baseline_quality"])}
	for _, m := range demoScores {
		one := demoScore{Name: m.title}
		var a, b bool
		one.Model, a = model.Get(m.metric)
		one.Baseline, b = baseline.Get(m.metric)
		one.Known = a && b
		s.Scores = append(s.Scores, one)
	}
	rows, _ := model.Get("rows")
	return rows
}

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// results is what a call of the command found.
type results struct {
	Taken   string   `json:"taken"`
	Go      string   `json:"go"`
	First   int      `json:"first_rows,omitempty"` // of each stream; 0 = all
	LeftOut []string `json:"left_out,omitempty"`
	Streams []found  `json:"streams"`
	Tallies []tally  `json:"tallies"`
}

// found is what was found of a stream.
type found struct {
	Name    string  `json:"name"`
	Task    string  `json:"task"`
	Rows    int     `json:"rows"`
	Unseen  bool    `json:"unseen,omitempty"`  // nobody looked at it when defaults were chosen
	Changes []int   `json:"changes,omitempty"` // rows at which the concept is known to change
	Drifts  []int   `json:"drifts,omitempty"`  // rows at which gradstream's detector fired, behind the default learner
	Seconds float64 `json:"seconds,omitempty"` // that the default took, reading, scoring and writing included

	Systems  []system  `json:"systems"`
	Verdicts []verdict `json:"verdicts,omitempty"`
}

// system is a system on a stream.
type system struct {
	Name string `json:"system"`
	score
}

// verdict compares gradstream's default with the best of the linear rivals in one metric.
type verdict struct {
	Metric string  `json:"metric"`
	Ours   float64 `json:"ours"`
	Best   float64 `json:"best"`
	By     string  `json:"by"`
	// Behind is by how much ours is worse, negative if it is better: a difference of accuracies, else a share of the best.
	Behind float64 `json:"behind"`
	Within bool    `json:"within"` // the tolerance
}

// tally counts the streams on which gradstream's default is better than another system.
type tally struct {
	System   string `json:"system"`
	Accuracy count  `json:"accuracy"`
	Loss     count  `json:"loss"`
	Diverged int    `json:"diverged"` // streams on which the system did
}

type count struct {
	Won int `json:"won"`
	Of  int `json:"of"`
}

const none = "no_change"

// How far behind the best linear rival is as good.
const (
	accuracyTolerance = 0.002
	lossTolerance     = 0.01
)

// judged are the metrics of each kind of label that are compared.
var judged = map[string][]string{binary: {"accuracy", "log_loss"}, classes: {"accuracy", "log_loss"}, number: {"mae"}}

func (f *found) system(name string) *system {
	for i := range f.Systems {
		if f.Systems[i].Name == name {
			return &f.Systems[i]
		}
	}
	return nil
}

// judge compares ours with the best linear rival, and keeps the curves of what is worth drawing.
func (f *found) judge() {
	mine := f.system(ours[0].name)
	drawn := []string{none, ours[0].name}
	for _, metric := range judged[f.Task] {
		v := verdict{Metric: metric}
		for _, r := range rivals {
			s := f.system(r.name)
			if s == nil || !r.linear {
				continue
			}
			if x, ok := s.Metrics[metric]; ok && (v.By == "" || better(metric, x, v.Best)) {
				v.Best, v.By = x, r.name
			}
		}
		if v.By == "" || mine == nil {
			continue
		}
		if metric == lossName(f.Task) {
			drawn = append(drawn, v.By)
		}
		var ok bool
		if v.Ours, ok = mine.Metrics[metric]; ok {
			v.Behind, v.Within = behind(metric, v.Ours, v.Best)
		}
		v.Within = v.Within && !mine.Diverged
		f.Verdicts = append(f.Verdicts, v)
	}
	for i := range f.Systems {
		if s := &f.Systems[i]; !slices.Contains(drawn, s.Name) {
			s.Curve = nil
		}
	}
}

func better(metric string, a, b float64) bool {
	if metric == "accuracy" {
		return a > b
	}
	return a < b
}

// behind tells by how much ours is worse than the best, and whether that is within the tolerance.
func behind(metric string, ours, best float64) (by float64, within bool) {
	if metric == "accuracy" {
		return best - ours, best-ours <= accuracyTolerance
	}
	if best == 0 {
		return ours, ours == 0
	}
	return ours/best - 1, ours <= best*(1+lossTolerance)
}

// sum makes the tallies.
func (r *results) sum() {
	for _, name := range r.systems() {
		if name == ours[0].name {
			continue
		}
		t := tally{System: name}
		for i := range r.Streams {
			f := &r.Streams[i]
			mine, theirs := f.system(ours[0].name), f.system(name)
			if mine == nil || theirs == nil {
				continue
			}
			if theirs.Diverged {
				t.Diverged++
			}
			for _, metric := range judged[f.Task] {
				c := &t.Loss
				if metric == "accuracy" {
					c = &t.Accuracy
				}
				a, ok := mine.Metrics[metric]
				b, theyToo := theirs.Metrics[metric]
				c.Of++
				if ok && !mine.Diverged && (!theyToo || better(metric, a, b)) {
					c.Won++
				}
			}
		}
		r.Tallies = append(r.Tallies, t)
	}
}

// systems lists those that are there, in the order of the columns.
func (r *results) systems() (names []string) {
	all := []string{none}
	for _, l := range ours {
		all = append(all, l.name)
	}
	for _, v := range rivals {
		all = append(all, v.name)
	}
	for _, name := range all {
		if slices.ContainsFunc(r.Streams, func(f found) bool { return f.system(name) != nil }) {
			names = append(names, name)
		}
	}
	return names
}

func title(name string) string {
	for _, v := range rivals {
		if v.name == name {
			return v.title
		}
	}
	if name == ours[0].name {
		return "**" + name + "**"
	}
	return strings.ReplaceAll(name, "_", " ")
}

// print writes tables in Markdown.
func (r *results) print(out io.Writer) {
	names := r.systems()
	for _, part := range []struct{ task, title string }{
		{binary, "Two classes: accuracy, log loss, area under the ROC curve"},
		{classes, "Classes: accuracy, log loss, kappa"},
		{number, "Numbers: mean absolute error, root mean squared error"},
	} {
		if !slices.ContainsFunc(r.Streams, func(f found) bool { return f.Task == part.task }) {
			continue
		}
		fmt.Fprintf(out, "**%s**\n\n| stream | rows |", part.title)
		for _, name := range names {
			fmt.Fprintf(out, " %s |", title(name))
		}
		fmt.Fprintf(out, "\n|---|---|%s\n", strings.Repeat("---|", len(names)))
		for i := range r.Streams {
			f := &r.Streams[i]
			if f.Task != part.task {
				continue
			}
			fmt.Fprintf(out, "| %s | %d |", f.title(), f.Rows)
			for _, name := range names {
				fmt.Fprintf(out, " %s |", f.system(name).cell(f.Task))
			}
			fmt.Fprintln(out)
		}
		fmt.Fprintln(out)
	}
	if slices.ContainsFunc(r.Streams, func(f found) bool { return f.Verdicts != nil }) {
		r.printVerdicts(out)
	}
	r.printTallies(out)
	if len(r.LeftOut) > 0 {
		fmt.Fprintf(out, "\nLeft out: %s\n", strings.Join(r.LeftOut, "; "))
	}
}

func (f *found) title() string {
	if f.Unseen {
		return f.Name + " †"
	}
	return f.Name
}

// cell writes the metrics of a system; nothing if it is not there.
func (s *system) cell(task string) string {
	if s == nil {
		return "–"
	}
	var parts []string
	for _, metric := range metrics[task] {
		v, ok := s.Metrics[metric]
		parts = append(parts, map[bool]string{true: figure(metric, v), false: "–"}[ok])
	}
	if s.Diverged {
		parts = append(parts, "diverged")
	}
	return strings.Join(parts, " ")
}

func figure(metric string, v float64) string {
	if metric != "mae" && metric != "rmse" {
		return fmt.Sprintf("%.3f", v)
	}
	if a := math.Abs(v); a >= 100 && a < 1e5 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// printVerdicts writes how ours compares with the best, stream by stream.
func (r *results) printVerdicts(out io.Writer) {
	fmt.Fprintf(out, "**%s beside the best linear rival of each stream and metric**\n\n", ours[0].name)
	fmt.Fprint(out, "| stream | metric | ours | best | by | behind | within |\n|---|---|---|---|---|---|---|\n")
	within, of := map[string]int{}, map[string]int{}
	for i := range r.Streams {
		f := &r.Streams[i]
		for _, v := range f.Verdicts {
			by, answer := fmt.Sprintf("%+.1f %%", 100*v.Behind), "no"
			if v.Metric == "accuracy" {
				by = fmt.Sprintf("%+.2f points", 100*v.Behind)
			}
			of[v.Metric]++
			if v.Within {
				within[v.Metric]++
				answer = "yes"
			}
			fmt.Fprintf(out, "| %s | %s | %s | %s | %s | %s | %s |\n", f.title(), strings.ReplaceAll(v.Metric, "_", " "), exact(v.Ours), exact(v.Best), title(v.By), by, answer)
		}
	}
	fmt.Fprintf(out, "\nWithin %.1f points of accuracy on %d of %d streams, within %.0f %% of log loss on %d of %d, of mean absolute error on %d of %d.\n\n",
		100*accuracyTolerance, within["accuracy"], of["accuracy"], 100*lossTolerance, within["log_loss"], of["log_loss"], within["mae"], of["mae"])
}

// printTallies writes how ours compares with each system, over all streams.
func (r *results) printTallies(out io.Writer) {
	fmt.Fprintf(out, "| %s is better than | by accuracy, of streams | by log loss or mean absolute error | which diverged on |\n|---|---|---|---|\n", ours[0].name)
	for _, t := range r.Tallies {
		fmt.Fprintf(out, "| %s | %d of %d | %d of %d | %d |\n", title(t.System), t.Accuracy.Won, t.Accuracy.Of, t.Loss.Won, t.Loss.Of, t.Diverged)
	}
	var diverged []string
	for i := range r.Streams {
		if s := r.Streams[i].system(ours[0].name); s != nil && s.Diverged {
			diverged = append(diverged, r.Streams[i].Name)
		}
	}
	if diverged == nil {
		diverged = []string{"none"}
	}
	fmt.Fprintf(out, "\n%s diverged on: %s.\n", ours[0].name, strings.Join(diverged, ", "))
}

func exact(v float64) string { return fmt.Sprintf("%.4g", v) }

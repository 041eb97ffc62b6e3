package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// predictions are what a system said of each row: width numbers a row.
type predictions struct {
	width  int
	values []float64
}

func (p *predictions) rows() int            { return len(p.values) / p.width }
func (p *predictions) of(row int) []float64 { return p.values[row*p.width : (row+1)*p.width] }

// errNotMeant says that a system is not for the stream.
var errNotMeant = errors.New("the system is not for such a stream")

// readPredictions reads a file of predictions: a header, then numbers, a line a row. Of classes the header has the names.
func readPredictions(path string, t *table) (*predictions, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := parsePredictions(f, t)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

func parsePredictions(from io.Reader, t *table) (*predictions, error) {
	lines := bufio.NewScanner(from)
	if !lines.Scan() {
		return nil, errors.Join(errNotMeant, lines.Err())
	}
	header, err := csv.NewReader(strings.NewReader(lines.Text())).Read()
	if err != nil {
		return nil, err
	}
	if t.task == classes && !slices.Equal(header, t.classes) {
		return nil, fmt.Errorf("predictions of %q, expected those of %q", header, t.classes)
	}
	p := &predictions{width: len(header)}
	for lines.Scan() {
		for cell := range strings.SplitSeq(lines.Text(), ",") {
			v, err := strconv.ParseFloat(cell, 64)
			if err != nil && !errors.Is(err, strconv.ErrRange) { // beyond float64: infinite
				return nil, fmt.Errorf("row %d: %w", p.rows(), err)
			}
			p.values = append(p.values, v)
		}
		if len(p.values)%p.width != 0 {
			return nil, fmt.Errorf("row %d: not %d numbers", p.rows(), p.width)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if p.rows() != len(t.labels) {
		return nil, fmt.Errorf("%d predictions for %d rows", p.rows(), len(t.labels))
	}
	return p, nil
}

// score is how good the predictions of a system are.
type score struct {
	// Metrics: accuracy, log_loss and roc_auc of labels that are 0 or 1; accuracy, log_loss and kappa of classes; mae and
	// rmse of numbers. What is not defined, or not finite, is not there.
	Metrics map[string]float64 `json:"metrics"`
	// Diverged: a prediction is no finite number, or the mean loss is more than ten times that of knowing nothing, which
	// is to say 1/K for each of K classes, or the mean of all labels.
	Diverged bool `json:"diverged,omitempty"`
	// Curve has the mean loss of each of windows parts of the stream: log loss, or absolute error.
	Curve []float64 `json:"curve,omitempty"`
}

// lossName returns the metric that is the mean of the losses.
func lossName(task string) string {
	if task == number {
		return "mae"
	}
	return "log_loss"
}

const (
	clip    = 1e-15 // of probabilities, in a log loss
	windows = 60    // points of a curve
)

// rate scores predictions.
func rate(t *table, p *predictions) score {
	losses := make([]float64, len(t.labels))
	s := score{Metrics: map[string]float64{}}
	set := func(name string, v float64) {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			s.Metrics[name] = v
		}
	}
	nothing := math.Log(float64(max(2, len(t.classes))))
	if t.task == number {
		nothing = meanDeviation(t.labels)
		squares := 0.0
		for i, y := range t.labels {
			losses[i] = math.Abs(p.of(i)[0] - y)
			squares += losses[i] * losses[i]
		}
		set("rmse", math.Sqrt(squares/float64(len(losses))))
	} else {
		guessed := make([]int, len(t.labels))
		for i, y := range t.labels {
			q := 0.0
			guessed[i], q = guess(p.of(i), int(y))
			losses[i] = -math.Log(min(max(q, clip), 1-clip))
		}
		right, kappa := agreement(t.labels, guessed)
		set("accuracy", right)
		if t.task == binary {
			set("roc_auc", area(t.labels, p.values))
		} else {
			set("kappa", kappa)
		}
	}
	loss := mean(losses)
	set(lossName(t.task), loss)
	finite := !slices.ContainsFunc(p.values, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	s.Diverged = !finite || loss > 10*nothing
	for i := range windows {
		from, to := i*len(losses)/windows, (i+1)*len(losses)/windows
		if finite && from < to {
			s.Curve = append(s.Curve, mean(losses[from:to]))
		}
	}
	return s
}

// guess returns the class that is predicted, the first of equals, and the probability given to the label. Of one
// probability, which is that of 1, 1 is predicted if it is above one half.
func guess(p []float64, label int) (class int, q float64) {
	if len(p) > 1 {
		for i, v := range p {
			if v > p[class] {
				class = i
			}
		}
		return class, p[label]
	}
	q = p[0]
	if q > 0.5 {
		class = 1
	}
	if label == 0 {
		q = 1 - q
	}
	return class, q
}

// agreement returns the share of labels that were guessed, and Cohen's kappa.
func agreement(labels []float64, guessed []int) (right, kappa float64) {
	n := float64(len(labels))
	were, said := map[int]float64{}, map[int]float64{}
	for i, y := range labels {
		were[int(y)]++
		said[guessed[i]]++
		if int(y) == guessed[i] {
			right++
		}
	}
	chance := 0.0
	for class, count := range were {
		chance += count * said[class]
	}
	right, chance = right/n, chance/n/n
	return right, (right - chance) / (1 - chance)
}

// area returns the area under the ROC curve: the chance that a row of 1 has the higher probability, equal ones counting half.
func area(labels, p []float64) float64 {
	order := make([]int, len(p))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if p[a] < p[b] {
			return -1
		}
		if p[a] > p[b] {
			return 1
		}
		return 0
	})
	zeros, ones, won := 0.0, 0.0, 0.0
	for i := 0; i < len(order); {
		var count [2]float64
		for first := p[order[i]]; i < len(order) && p[order[i]] == first; i++ {
			count[int(labels[order[i]])]++
		}
		if count == [2]float64{} { // NaN, which equals nothing
			return math.NaN()
		}
		won += count[1] * (zeros + count[0]/2)
		zeros, ones = zeros+count[0], ones+count[1]
	}
	return won / (zeros * ones)
}

func mean(values []float64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// meanDeviation returns the mean distance from the mean.
func meanDeviation(values []float64) float64 {
	m, sum := mean(values), 0.0
	for _, v := range values {
		sum += math.Abs(v - m)
	}
	return sum / float64(len(values))
}

// noChange predicts the label before: 0 at first, or 0.9 and a share of the rest for the last class.
func noChange(t *table) *predictions {
	k := len(t.classes)
	p := &predictions{width: max(1, k)}
	for i := range t.labels {
		last := t.labels[max(0, i-1)]
		switch {
		case t.task == number && i == 0:
			p.values = append(p.values, 0)
		case t.task == number:
			p.values = append(p.values, last)
		case t.task == binary && i == 0:
			p.values = append(p.values, 0.5)
		case t.task == binary:
			p.values = append(p.values, 0.05+0.9*last)
		default:
			for c := range k {
				q := 0.1 / float64(k)
				if i == 0 {
					q = 1 / float64(k)
				} else if c == int(last) {
					q += 0.9
				}
				p.values = append(p.values, q)
			}
		}
	}
	return p
}

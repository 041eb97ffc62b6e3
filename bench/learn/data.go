//go:build unix

package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"math/rand/v2"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// rows are decoded events: features in compressed sparse rows, and labels.
type rows struct {
	features int // of each row
	at       []uint32
	values   []float32
	labels   []bool
}

const (
	bits  = 18 // of the models
	dense = 8  // features of every row that are always the same; the rest are sparse
	names = 50000
)

// generate makes n rows: the first 8 features are numbers, the others categories, few of which are frequent. Their
// labels are drawn from a hidden logistic model.
func generate(n, features int) *rows {
	rng := rand.New(rand.NewPCG(uint64(features), 1))
	numbers := min(features, dense)
	hidden := make([]float64, dense+names)
	for i := range hidden {
		if hidden[i] = rng.NormFloat64() / math.Sqrt(float64(features-numbers+1)); i < dense {
			hidden[i] = rng.NormFloat64() / math.Sqrt(dense)
		}
	}
	r := &rows{features: features}
	for range n {
		score := 0.0
		for f := range features {
			at, x := f, 1.0
			if f < numbers {
				x = math.Round(rng.NormFloat64()*1e4) / 1e4 // as text has it
			} else {
				u := rng.Float64()
				at = dense + int(u*u*u*names)
			}
			score += hidden[at] * x
			r.at, r.values = append(r.at, uint32(at)), append(r.values, float32(x))
		}
		r.labels = append(r.labels, rng.Float64() < 1/(1+math.Exp(-score)))
	}
	return r
}

const batchRows = 1024

// batches returns the rows as operators take them.
func (r *rows) batches() []*batch.Batch {
	s := batch.NewSchema(batch.Field{Name: "features", Type: batch.Sparse, Dim: 1 << bits}, batch.Field{Name: "y", Type: batch.Bool})
	var all []*batch.Batch
	for n := range r.labels {
		if n%batchRows == 0 {
			all = append(all, batch.New(s))
		}
		b := all[len(all)-1]
		for i := n * r.features; i < (n+1)*r.features; i++ {
			b.Cols[0].AddFeature(r.at[i], r.values[i])
		}
		b.Cols[0].EndRow()
		b.Cols[1].AppendBool(r.labels[n])
		b.Origin.Append(int64(n), 0, int32(n))
		b.N++
	}
	return all
}

// write writes the rows as Vowpal Wabbit reads them.
func (r *rows) write(to io.Writer) error {
	w := bufio.NewWriterSize(to, 1<<20)
	for n, y := range r.labels {
		text := "-1 |"
		if y {
			text = "1 |"
		}
		w.WriteString(text)
		for i := n * r.features; i < (n+1)*r.features; i++ {
			fmt.Fprintf(w, " %d:%g", r.at[i], r.values[i])
		}
		w.WriteByte('\n')
	}
	return w.Flush() // which repeats the first error
}

// bare is the least that a learner does: score, sigmoid, step, on a table of 32-bit weights. Its result keeps the compiler
// from leaving things out.
type bare struct {
	weights, squares []float32
	loss             float64
}

func newBare() *bare {
	return &bare{weights: make([]float32, 1<<bits), squares: make([]float32, 1<<bits)}
}

const rate = 0.05

func (b *bare) pass(r *rows, adagrad bool) {
	for n, y := range r.labels {
		lo, hi := n*r.features, (n+1)*r.features
		at, values := r.at[lo:hi], r.values[lo:hi]
		score := float32(0)
		for i, s := range at {
			score += b.weights[s] * values[i]
		}
		p := 1 / (1 + math.Exp(-float64(score)))
		g := float32(p)
		if y {
			b.loss -= math.Log(max(p, 1e-15))
			g--
		} else {
			b.loss -= math.Log(max(1-p, 1e-15))
		}
		if !adagrad {
			for i, s := range at {
				b.weights[s] -= rate * g * values[i]
			}
			continue
		}
		for i, s := range at {
			d := g * values[i]
			q := b.squares[s] + d*d
			b.squares[s] = q
			b.weights[s] -= rate * d / (float32(math.Sqrt(float64(q))) + 1e-8)
		}
	}
}

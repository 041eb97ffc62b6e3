package profile

import (
	"math"
	"slices"
	"sort"
)

// NumbersReference is what numbers are compared with. It is complete once [NumbersReference.Seal] was called.
type NumbersReference struct {
	Values []float64 // as they came; once sealed, the distinct ones, ascending
	Counts []int64   // how often each came
	Nulls  int64
	Sealed bool
	Rows   int64     // numbers
	SD     float64   // their standard deviation
	Edges  []float64 // bounds of the bins, ascending: bin i holds Edges[i-1] <= x < Edges[i]
	Bins   []int64   // numbers by bin
}

// NumbersCounts are the numbers compared with a reference.
type NumbersCounts struct {
	Rows, Nulls int64
	At          []int64   // numbers equal to value i of the reference
	Below       []int64   // numbers between value i-1 and value i; the last is above all
	Sums        []float64 // their sums of distances from value i, or from the last value
	Bins        []int64   // by bin of the reference
}

// Add takes up a value of the reference; it is finite and at most 1e100 in size.
func (r *NumbersReference) Add(x float64) { r.Values = append(r.Values, x) }

// Seal completes the reference and makes up to so many bins that hold the same number of its values each: their bounds are
// its quantiles, interpolated between neighbours.
func (r *NumbersReference) Seal(bins int) {
	r.Sealed, r.Rows = true, int64(len(r.Values))
	xs := r.Values
	slices.Sort(xs)
	mean, m2 := 0.0, 0.0
	for i, x := range xs {
		d := x - mean
		mean += d / float64(i+1)
		m2 += float64(d * (x - mean))
	}
	if len(xs) > 0 {
		r.SD = math.Sqrt(m2 / float64(len(xs)))
	}
	for i := 1; i < bins && len(xs) > 0; i++ {
		at := float64(i) * float64(len(xs)-1) / float64(bins)
		low := int(at)
		edge := xs[low]
		if low+1 < len(xs) {
			edge += float64((at - float64(low)) * (xs[low+1] - xs[low]))
		}
		if n := len(r.Edges); n == 0 || edge > r.Edges[n-1] {
			r.Edges = append(r.Edges, edge)
		}
	}
	r.Bins = make([]int64, len(r.Edges)+1, len(r.Edges)+2)
	kept := xs[:0]
	for _, x := range xs {
		r.Bins[r.bin(x)]++
		if n := len(kept); n > 0 && kept[n-1] == x {
			r.Counts[n-1]++
			continue
		}
		kept = append(kept, x)
		r.Counts = append(r.Counts, 1)
	}
	r.Values = kept
}

func (r *NumbersReference) bin(x float64) int {
	return sort.Search(len(r.Edges), func(i int) bool { return x < r.Edges[i] })
}

// Fit gives c the size that a sealed reference asks for.
func (c *NumbersCounts) Fit(r *NumbersReference) {
	if len(c.At) != len(r.Values) || len(c.Bins) != len(r.Bins) {
		*c = NumbersCounts{At: make([]int64, len(r.Values)), Below: make([]int64, len(r.Values)+1), Sums: make([]float64, len(r.Values)+1), Bins: make([]int64, len(r.Bins), len(r.Bins)+1)}
	}
}

// Add counts a number.
func (c *NumbersCounts) Add(r *NumbersReference, x float64) {
	c.Rows++
	c.Bins[r.bin(x)]++
	i, found := slices.BinarySearch(r.Values, x)
	if found {
		c.At[i]++
		return
	}
	c.Below[i]++
	if n := len(r.Values); n > 0 {
		c.Sums[i] += math.Abs(r.Values[min(i, n-1)] - x)
	}
}

// Merge adds the counts of numbers compared with the same reference.
func (c *NumbersCounts) Merge(o *NumbersCounts) {
	c.Rows += o.Rows
	c.Nulls += o.Nulls
	for i := range o.At {
		c.At[i] += o.At[i]
	}
	for i := range o.Below {
		c.Below[i] += o.Below[i]
		c.Sums[i] += o.Sums[i]
	}
	for i := range o.Bins {
		c.Bins[i] += o.Bins[i]
	}
}

// Clear forgets the numbers.
func (c *NumbersCounts) Clear() {
	c.Rows, c.Nulls = 0, 0
	clear(c.At)
	clear(c.Below)
	clear(c.Sums)
	clear(c.Bins)
}

// Measure compares the numbers with the reference. Nulls are a bin of their own.
func (c *NumbersCounts) Measure(r *NumbersReference) Measures {
	var m Measures
	n := len(r.Bins)
	r.Bins, c.Bins = append(r.Bins, r.Nulls), append(c.Bins, c.Nulls)
	m.compare(r.Bins, c.Bins)
	r.Bins, c.Bins = r.Bins[:n], c.Bins[:n]
	if r.Rows == 0 || c.Rows == 0 {
		return m
	}
	m.Numbers = true
	k, l := float64(r.Rows), float64(c.Rows)
	f, g := 0.0, 0.0 // numbers of either side up to here
	area := 0.0
	for i, x := range r.Values {
		before := g
		g += float64(c.Below[i])
		m.KS = max(m.KS, math.Abs(f/k-before/l), math.Abs(f/k-g/l))
		if i == 0 {
			area += c.Sums[0] / l // the reference has none below
		} else {
			area += between(x-r.Values[i-1], f/k, before/l, float64(c.Below[i])/l, c.Sums[i]/l)
		}
		f += float64(r.Counts[i])
		g += float64(c.At[i])
		m.KS = max(m.KS, math.Abs(f/k-g/l))
	}
	area += c.Sums[len(r.Values)] / l
	m.KSP = kolmogorovTail(float64(m.KS * math.Sqrt(float64(k*l)/(k+l))))
	if r.SD > 0 {
		m.Wasserstein = area / r.SD
	}
	return m
}

// between is the area between two distribution functions in a gap of some width: one stays at f, the other starts at g and
// rises by rise, its rises' distances from the end of the gap being sum. If the other crosses f on the way, where it does is not
// known, and is taken to be where it would be if all its rises lay at their mean.
func between(width, f, g, rise, sum float64) float64 {
	signed := float64((g-f)*width) + sum
	if rise == 0 || (g >= f) == (g+rise >= f) {
		return math.Abs(signed)
	}
	left := width - sum/rise // up to the mean of the rises
	return float64((f-g)*left) + float64((g+rise-f)*(width-left))
}

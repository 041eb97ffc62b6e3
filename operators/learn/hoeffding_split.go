package learn

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators/learn/gaussian"
)

const (
	cutsOfColumn = 10   // candidates between the least and the greatest number
	leastShare   = 0.01 // of a leaf's mass, on both sides of a split
)

// predict fills p with the probabilities of the known classes, and returns what
// the majority and naive Bayes call in the leaf; -1 = nothing.
func (o *tree) predict(leaf *treeNode, x []float64, v []int32, p []float64) (majority, bayes int) {
	n := total(leaf.Counts)
	o.shares = upTo(o.shares, len(p)-1)
	shares, possible := o.shares[:len(p)], false
	for class := range p {
		count := at(leaf.Counts, class)
		shares[class], p[class] = o.share(count, n, len(p)), math.Inf(-1)
		if count > 0 {
			p[class] = exact.Log(count) + o.logDensity(leaf, x, v, class)
			possible = possible || p[class] > math.Inf(-1)
		}
	}
	if o.config.smooth && !possible {
		copy(p, shares)
	} else {
		normalise(p)
	}
	majority, bayes = greatest(shares), greatest(p)
	if o.config.leaf == "majority" || o.config.leaf == "adaptive" && leaf.Majority > leaf.Bayes {
		copy(p, shares)
	} else if o.config.smooth {
		part := 1 / math.Sqrt(n+1)
		for class, share := range shares {
			p[class] = float64((1-part)*p[class]) + float64(part*share)
		}
	}
	return majority, bayes
}

// share is the probability of a class that has so many of the n rows of a leaf.
func (o *tree) share(count, n float64, classes int) float64 {
	switch {
	case o.config.smooth:
		return (count + 1) / (n + float64(classes))
	case n > 0:
		return count / n
	}
	return 1 / float64(classes)
}

// logDensity is the logarithm of the density of a row within a class of a leaf.
func (o *tree) logDensity(n *treeNode, x []float64, v []int32, class int) float64 {
	sum := 0.0
	for i, y := range x {
		if absent(y) || i >= len(n.Ranges) {
			continue
		}
		r := at(n.Ranges[i], class)
		if r.N == 0 {
			return math.Inf(-1)
		}
		sum += gaussian.LogDensity(y, r.Mean, r.Variance())
	}
	for i, k := range v {
		if k == nullValue || i >= len(n.Values) {
			continue
		}
		// The further values are one, though their number may be far behind the others'.
		values := min(len(n.Values[i]), len(o.categories.known.Columns[i])+1)
		these := 0.0
		if k >= 0 {
			these = at(at(n.Values[i], int(k)), class)
		}
		sum += exact.Log((these + 1) / (at(n.Known[i], class) + float64(values) + 1))
	}
	return sum
}

// tryToSplit splits a leaf of n rows, by their weights, if that is as good as certain to be right.
func (o *tree) tryToSplit(leaf *treeNode, n float64) {
	seen := 0
	for _, count := range leaf.Counts {
		if count > 0 {
			seen++
		}
	}
	if seen < 2 || o.leaves() >= o.config.leaves {
		return
	}
	most := len(leaf.Counts) - 1
	o.left, o.right, o.both = upTo(o.left, most), upTo(o.right, most), upTo(o.both, most)
	var best split
	first, second := 0.0, 0.0 // gains; no split gains nothing
	for column := range len(leaf.Ranges) + len(leaf.Values) {
		s, gain := o.bestOfColumn(leaf, column)
		switch {
		case gain >= first && gain > 0: // of equals the later
			best, first, second = s, gain, first
		default:
			second = max(second, gain)
		}
	}
	if first == 0 {
		return
	}
	r := exact.Log(float64(max(seen, 2))) / math.Ln2
	bound := math.Sqrt(float64(r*r) * -exact.Log(o.config.delta) / (2 * n))
	if first-second > bound || bound < o.config.tie {
		o.divide(leaf, best)
		o.split(leaf, best)
	}
}

// bestOfColumn finds the split of a column that gains most, the first of equals.
func (o *tree) bestOfColumn(leaf *treeNode, column int) (best split, gain float64) {
	gain = math.Inf(-1)
	try := func(s split) {
		o.divide(leaf, s)
		k := len(leaf.Counts)
		left, right := total(o.left[:k]), total(o.right[:k])
		if all := left + right; min(left, right) > leastShare*all {
			// The rows counted here, nulls left out, without what the split above estimated.
			for class := range k {
				o.both[class] = o.left[class] + o.right[class]
			}
			after := (float64(left*entropy(o.left[:k])) + float64(right*entropy(o.right[:k]))) / all
			if g := entropy(o.both[:k]) - after; g > gain {
				best, gain = s, g
			}
		}
	}
	if numeric := len(leaf.Ranges); column >= numeric {
		for value := range leaf.Values[column-numeric] {
			try(split{Column: int32(column), Value: int32(value)})
		}
		return best, gain
	}
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, r := range leaf.Ranges[column] {
		if r.N > 0 {
			lo, hi = min(lo, r.Min), max(hi, r.Max)
		}
	}
	step := (hi - lo) / (cutsOfColumn + 1)
	for i := 1.0; i <= cutsOfColumn; i++ {
		if cut := lo + float64(step*i); cut > lo && cut < hi {
			try(split{Column: int32(column), Cut: cut})
		}
	}
	return best, gain
}

// divide estimates the class masses on both sides of a split, into left and right.
func (o *tree) divide(leaf *treeNode, s split) {
	k := len(leaf.Counts)
	clear(o.left[:k])
	clear(o.right[:k])
	if c := int(s.Column) - len(leaf.Ranges); c >= 0 {
		copy(o.left, leaf.Values[c][s.Value])
		for class := range k {
			o.right[class] = max(0, at(leaf.Known[c], class)-o.left[class]) // weights that are not whole are rounded
		}
		return
	}
	for class := range leaf.Ranges[s.Column] {
		r := &leaf.Ranges[s.Column][class]
		o.left[class] = r.Below(s.Cut)
		o.right[class] = r.N - o.left[class]
	}
}

// split makes two leaves of a leaf, which begin with the classes in left and right.
func (o *tree) split(leaf *treeNode, s split) {
	next, k := uint32(o.nodes.Len()), len(leaf.Counts)
	*leaf = treeNode{Inner: true, Split: s, Children: [2]uint32{next, next + 1}}
	if total(o.right[:k]) > total(o.left[:k]) {
		leaf.Nulls = 1
	}
	for i, counts := range [2][]float64{o.left[:k], o.right[:k]} {
		child := o.nodes.Ensure(next + uint32(i))
		child.Counts = append(child.Counts, counts...)
	}
}

// entropy is that of class masses, in bits.
func entropy(counts []float64) float64 {
	sum, all := 0.0, 0.0
	for _, n := range counts {
		if n > 0 {
			sum -= float64(n * exact.Log(n))
			all += n
		}
	}
	if all == 0 {
		return 0
	}
	return (sum/all + exact.Log(all)) / math.Ln2
}

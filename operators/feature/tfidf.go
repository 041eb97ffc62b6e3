package feature

import (
	"math"

	"github.com/gradstream/gradstream/internal/exact"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/state"
	"github.com/gradstream/gradstream/state/weights"
)

// Versions of the states of a text column with tf-idf.
const (
	textsVersion = 1
	rarityState  = 1
)

// mostTexts is where counts are halved: a float32 counts up to here exactly.
const mostTexts = 1 << 24

// texts counts the texts of a column.
type texts struct {
	N int64 // since the last halving, and half of what there was then
}

// rarity knows in how many texts of a column each token was.
type rarity struct {
	texts *state.Cell[texts]
	in    *weights.Table // by index: number of texts
}

func newRarity(env *operators.Env, column string, indices int) *rarity {
	return &rarity{
		texts: operators.NewCell(env, "texts/"+column, textsVersion, texts{}),
		in:    env.Weights("tokens/"+column, rarityState, indices, 1),
	}
}

// add learns a text, given as the sorted hashes of its tokens, and appends its
// features: term frequency times inverse document frequency, smoothed and
// divided by their norm (Salton and Buckley 1988, as scikit-learn has it).
func (r *rarity) add(found []uint64, mask uint32, to *batch.Column) {
	if r.texts.V.N >= mostTexts {
		r.halve()
	}
	r.texts.V.N++
	var last uint64
	for i, h := range found {
		if i == 0 || h != last {
			k := int(uint32(h) & mask)
			r.in.Data[k]++
			r.in.TouchRow(k)
		}
		last = h
	}

	n := float64(r.texts.V.N)
	first, norm := len(to.Index), 0.0
	for i := 0; i < len(found); {
		j := i + 1
		for j < len(found) && found[j] == found[i] {
			j++
		}
		k := uint32(found[i]) & mask
		df := math.Min(float64(r.in.Data[k]), n) // tokens of one index may be in one text
		x := float64(float64(j-i) * (exact.Log((1+n)/(1+df)) + 1))
		norm += float64(x * x)
		to.AddFeature(k, float32(x))
		i = j
	}
	norm = math.Sqrt(norm)
	for i := first; i < len(to.Value); i++ {
		to.Value[i] = float32(float64(to.Value[i]) / norm)
	}
}

// halve forgets half of every count.
func (r *rarity) halve() {
	for i, n := range r.in.Data {
		if n != 0 {
			r.in.Data[i] = float32(math.Floor(float64(n) / 2))
			r.in.TouchRow(i)
		}
	}
	r.texts.V.N /= 2
}

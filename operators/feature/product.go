package feature

import (
	"fmt"
	"slices"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// mostProducts bounds how many products a row may have.
const mostProducts = 10_000

// product is one product of scaled numbers.
type product struct {
	of    []int // the numbers, ascending; one may occur again
	index uint32
}

// products are the polynomial features over the numbers of a vectorizer.
type products struct {
	all    []product
	values []float32 // of the row's numbers
	absent []bool
}

// newProducts lists the products of 2 to degree of the columns.
func newProducts(env *operators.Env, c *vectorizeConfig) *products {
	if c.degree < 2 {
		return nil
	}
	p := &products{values: make([]float32, len(c.numeric)), absent: make([]bool, len(c.numeric))}
	for k := 2; k <= c.degree; k++ {
		if !p.add(c.numeric, nil, k, uint32(1<<c.bits-1)) {
			env.Errorf(c.degreeAt, "expected fewer columns or a lower degree", "polynomial: %d columns have more than %d products of up to %d", len(c.numeric), mostProducts, c.degree)
			return nil
		}
	}
	return p
}

// add lists the products of the factors so far and k more.
func (p *products) add(cols []spec.Column, of []int, k int, mask uint32) bool {
	if k == 0 {
		if len(p.all) == mostProducts {
			return false
		}
		var factors []string
		for _, i := range of {
			factors = append(factors, cols[i].Name)
		}
		slices.Sort(factors) // a product is the same in any order
		p.all = append(p.all, product{slices.Clone(of), uint32(nameHash(uint64(len(of)), factors...)) & mask})
		return true
	}
	first := 0
	if len(of) > 0 {
		first = of[len(of)-1]
	}
	for i := first; i < len(cols); i++ {
		if !p.add(cols, append(of, i), k-1, mask) {
			return false
		}
	}
	return true
}

// set says what number i of the row is, if it has one.
func (p *products) set(i int, x float32, ok bool) {
	if p != nil {
		p.values[i], p.absent[i] = x, !ok
	}
}

// addTo appends the products of a row whose numbers are set.
func (p *products) addTo(to *batch.Column) error {
	if p == nil {
		return nil
	}
products:
	for i := range p.all {
		x := float64(1)
		for _, k := range p.all[i].of {
			if p.absent[k] {
				continue products
			}
			x *= float64(p.values[k])
		}
		if !fits(x) {
			return fmt.Errorf("a product of %d numbers, %v, does not fit a float32", len(p.all[i].of), x)
		}
		to.AddFeature(p.all[i].index, float32(x))
	}
	return nil
}

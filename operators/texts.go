package operators

import (
	"fmt"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// MostText is the greatest length in bytes of a text that an operator keeps
// because it came in a row: a class, a segment, a category. A longer class
// rejects its row; other longer texts are not kept.
const MostText = 256

// CheckClass returns an error if a row's value of a column that holds classes is
// longer than [MostText].
func CheckClass(column string, c *batch.Column, row int) error {
	if c.Type != batch.String || len(c.Text(row)) <= MostText {
		return nil
	}
	return fmt.Errorf("column %q is a text of %d bytes; a class has at most %d", column, len(c.Text(row)), MostText)
}

// TextIndex finds texts in a list that grows at its end, in the order seen. The
// list is what a state holds; the index follows from it.
type TextIndex struct {
	places map[string]int
	n      int // names that are in places
}

// fewTexts is up to where looking through the list is faster than hashing.
const fewTexts = 8

// Place returns the place of a text among names, of equal ones the first, or -1.
// names is that of the call before, or a longer one that begins with it.
func (x *TextIndex) Place(names []string, text []byte) int {
	if len(names) <= fewTexts {
		for i, name := range names {
			if name == string(text) {
				return i
			}
		}
		return -1
	}
	if x.places == nil {
		x.places = make(map[string]int, 2*len(names))
	}
	for ; x.n < len(names); x.n++ {
		if _, ok := x.places[names[x.n]]; !ok {
			x.places[names[x.n]] = x.n
		}
	}
	if i, ok := x.places[string(text)]; ok {
		return i
	}
	return -1
}

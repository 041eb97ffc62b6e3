package feature

import (
	"strconv"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/spec"
)

// category is a column taken by its text.
type category struct {
	name   string
	col    operators.Col
	values *vocabulary
	digits []byte // scratch: an int64 as text
}

func newCategory(env *operators.Env, col spec.Column, c *vocabularyConfig) category {
	t := takenByText(env, col)
	t.values = newVocabulary(env, col.Name, c)
	return t
}

// takenByText is a category without a vocabulary.
func takenByText(env *operators.Env, col spec.Column) category {
	return category{name: col.Name, col: env.In(col, batch.String, batch.Int64, batch.Bool), digits: make([]byte, 0, 20)}
}

// text returns the value of a row that is not null. It is borrowed until the next call.
func (c *category) text(col *batch.Column, row int) []byte {
	switch col.Type {
	case batch.Int64:
		c.digits = strconv.AppendInt(c.digits[:0], col.Ints[row], 10)
		return c.digits
	case batch.Bool:
		if col.Bools[row] {
			return boolText[1]
		}
		return boolText[0]
	}
	return col.Text(row)
}

package feature

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// spelling notes the words behind the features of a text.
type spelling struct {
	words []string
	runs  map[uint64]string // feature to its run of tokens
}

// add notes the runs that end with the token just read.
func (s *spelling) add(t *textColumn) {
	s.words = append(s.words, string(t.token))
	for k := 1; k <= t.run; k++ {
		s.runs[t.chains[k]] = strings.Join(s.words[len(s.words)-k:], " ")
	}
}

// explainTo tells the engine how to name the features of a row: what the
// vectorizer does, once more, with the names.
func (v *vectorizer) explainTo(c *vectorizeConfig, env *operators.Env) {
	var hashedNames [][]string
	for i := range c.categorical {
		hashedNames = append(hashedNames, names(c.categorical[i:i+1]))
	}
	for _, cols := range c.cross {
		hashedNames = append(hashedNames, names(cols))
	}
	env.Features(func(in *batch.Batch, row int) []operators.Feature {
		var all []operators.Feature
		for i := range v.numeric {
			n := &v.numeric[i]
			if col := n.col.Of(in); !col.Null(row) {
				all = append(all, operators.Feature{Index: n.index, Columns: []string{n.name}, Values: []string{string(col.AppendText(nil, row))}})
			} else if k, _, ok := n.filled(); ok {
				all = append(all, operators.Feature{Index: k, Columns: []string{n.name}, Values: []string{"null"}})
			}
		}
		all = append(all, v.nameProducts(in, row)...)
		for i := range v.dates {
			d := &v.dates[i]
			if col := d.col.Of(in); !col.Null(row) {
				for _, c := range d.cycles {
					all = append(all,
						operators.Feature{Index: c.sin, Columns: []string{d.name}, Values: []string{"sine of the " + c.name}},
						operators.Feature{Index: c.cos, Columns: []string{d.name}, Values: []string{"cosine of the " + c.name}})
				}
			}
		}
		for i := range v.hashed {
			if f, ok := v.nameHashed(&v.hashed[i], hashedNames[i], in, row); ok {
				all = append(all, f)
			}
		}
		for i := range v.text {
			t := &v.text[i]
			if col := t.col.Of(in); !col.Null(row) {
				all = append(all, t.name(c.text[i].Name, col.Text(row), v.mask)...)
			}
		}
		for i := range v.sparse {
			s := &v.sparse[i]
			idx, _ := s.col.Of(in).Row(row)
			for _, k := range idx {
				f := operators.Feature{Index: k, Columns: []string{s.name}, Values: []string{strconv.FormatUint(uint64(k), 10)}}
				if !v.raw {
					f.Index = uint32(linkIndex(s.seed, k)) & v.mask
				}
				all = append(all, f)
			}
		}
		return all
	})
}

// nameProducts names the products of a row.
func (v *vectorizer) nameProducts(in *batch.Batch, row int) []operators.Feature {
	if v.products == nil {
		return nil
	}
	var all []operators.Feature
products:
	for _, p := range v.products.all {
		f := operators.Feature{Index: p.index}
		for _, i := range p.of {
			n := &v.numeric[i]
			value := "null"
			if col := n.col.Of(in); !col.Null(row) {
				value = string(col.AppendText(nil, row))
			} else if _, _, ok := n.filled(); !ok || n.missing == indicator {
				continue products
			}
			f.Columns, f.Values = append(f.Columns, n.name), append(f.Values, value)
		}
		all = append(all, f)
	}
	return all
}

// nameHashed names a category or a cross; ok is false if a part of it is null.
func (v *vectorizer) nameHashed(f *hashed, columns []string, in *batch.Batch, row int) (_ operators.Feature, ok bool) {
	h := f.seed
	named := operators.Feature{Columns: columns}
	for j, c := range f.cols {
		col := c.Of(in)
		if col.Null(row) {
			return named, false
		}
		text := v.textOf(col, f.types[j], row)
		h = link(h, text)
		named.Values = append(named.Values, string(text))
	}
	named.Index = uint32(h) & v.mask
	return named, true
}

// name names the features of a text.
func (t *textColumn) name(column string, text []byte, mask uint32) []operators.Feature {
	t.spelt = &spelling{runs: map[uint64]string{}}
	t.add(text, mask, batch.NewColumn(batch.Sparse))
	var all []operators.Feature
	for _, h := range slices.Compact(slices.Clone(t.found)) { // in order
		all = append(all, operators.Feature{Index: uint32(h) & mask, Columns: []string{column}, Values: []string{t.spelt.runs[h]}})
	}
	t.spelt = nil
	return all
}

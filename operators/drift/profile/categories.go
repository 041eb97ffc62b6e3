package profile

import "slices"

// Category is a value with how often it came.
type Category struct {
	Name                []byte
	Reference, Compared int64
}

// Categories counts values that are names, of the reference and of what is compared with it. Names that the reference has not,
// or had no room for, are one category together, as are nulls.
type Categories struct {
	List            []Category // ascending by name
	Other, Nulls    Category   // without names
	Reference, Rows int64      // values of either side, nulls included
}

// find returns the place of a name.
func (c *Categories) find(name []byte) (int, bool) {
	return slices.BinarySearchFunc(c.List, name, func(k Category, name []byte) int { return slices.Compare(k.Name, name) })
}

// Learn takes up a value of the reference. At most most names are kept.
func (c *Categories) Learn(name []byte, null bool, most int) {
	c.Reference++
	if null {
		c.Nulls.Reference++
		return
	}
	i, found := c.find(name)
	if !found && len(c.List) >= most {
		c.Other.Reference++
		return
	}
	if !found {
		c.List = slices.Insert(c.List, i, Category{Name: slices.Clone(name)})
	}
	c.List[i].Reference++
}

// Add counts a value.
func (c *Categories) Add(name []byte, null bool) {
	c.Rows++
	if null {
		c.Nulls.Compared++
	} else if i, found := c.find(name); found {
		c.List[i].Compared++
	} else {
		c.Other.Compared++
	}
}

// Clear forgets the values that were compared.
func (c *Categories) Clear() {
	for i := range c.List {
		c.List[i].Compared = 0
	}
	c.Other.Compared, c.Nulls.Compared, c.Rows = 0, 0, 0
}

// Scratch is memory of Measure.
type Scratch struct{ A, B []int64 }

// Measure compares the values with the reference.
func (c *Categories) Measure(s *Scratch) Measures {
	s.A, s.B = s.A[:0], s.B[:0]
	for i := range c.List {
		s.A, s.B = append(s.A, c.List[i].Reference), append(s.B, c.List[i].Compared)
	}
	s.A, s.B = append(s.A, c.Other.Reference, c.Nulls.Reference), append(s.B, c.Other.Compared, c.Nulls.Compared)
	var m Measures
	m.compare(s.A, s.B)
	return m
}

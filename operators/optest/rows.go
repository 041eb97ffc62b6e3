package optest

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// feed is rows for one port, a part of a run.
type feed struct {
	port int
	rows *batch.Batch
}

// slice returns rows [from, to) of b as a batch of its own.
func slice(b *batch.Batch, from, to int) *batch.Batch {
	out := batch.New(b.Schema)
	for row := from; row < to; row++ {
		out.AppendRow(b, row)
	}
	return out
}

// split cuts feeds into batches of at most size() rows, of which some may be none.
func split(feeds []feed, size func() int) []feed {
	var out []feed
	for _, f := range feeds {
		for at := 0; at < f.rows.N; {
			n := min(size(), f.rows.N-at)
			out = append(out, feed{f.port, slice(f.rows, at, at+n)})
			at += n
		}
	}
	return out
}

// generator makes rows that look like those of an example.
type generator struct {
	rng     *rand.Rand
	sample  []Table
	labels  []string // columns that only take values of the sample, and null
	hostile bool
}

// feeds makes n rows, in stretches over the ports of the sample.
func (g *generator) feeds(n int) []feed {
	var out []feed
	row := 0
	for row < n {
		t := g.sample[g.rng.IntN(len(g.sample))]
		for t.Rows.N == 0 {
			t = g.sample[g.rng.IntN(len(g.sample))]
		}
		b := batch.New(t.Rows.Schema)
		stretch := n - row
		if len(g.sample) > 1 {
			stretch = min(stretch, 1+g.rng.IntN(2*n/len(g.sample)+1))
		}
		constant := g.rng.IntN(3) == 0 // a stretch in which columns keep their values
		keep := g.rng.IntN(t.Rows.N)
		for range stretch {
			for i, f := range b.Schema.Fields {
				from := g.rng.IntN(t.Rows.N)
				switch {
				case g.hostile && constant && !slices.Contains(g.labels, f.Name) && g.rng.IntN(20) > 0:
					b.Cols[i].AppendRow(t.Rows.Cols[i], keep)
				case slices.Contains(g.labels, f.Name) || g.rng.IntN(2) == 0:
					b.Cols[i].AppendRow(t.Rows.Cols[i], from)
				case g.hostile:
					g.appendHostile(b.Cols[i], f)
				default:
					g.append(b.Cols[i], f)
				}
			}
			addOrigin(b, row)
			row++
		}
		out = append(out, feed{t.Port, b})
	}
	return out
}

// append appends an ordinary value.
func (g *generator) append(c *batch.Column, f batch.Field) {
	if f.Nullable && g.rng.IntN(4) == 0 {
		c.AppendNull()
		return
	}
	switch f.Type {
	case batch.Bool:
		c.AppendBool(g.rng.IntN(2) == 0)
	case batch.Int64:
		c.AppendInt(int64(g.rng.IntN(40) - 10))
	case batch.Timestamp:
		c.AppendInt(Clock + int64(g.rng.IntN(1e6)))
	case batch.Float64:
		c.AppendFloat(g.rng.NormFloat64() * 3)
	case batch.String:
		c.AppendString([]string{"a", "b", "c d", "Ünïcode wörds", strconv.Itoa(g.rng.IntN(50))}[g.rng.IntN(5)])
	case batch.Sparse:
		for range g.rng.IntN(6) {
			c.AddFeature(g.index(f), float32(g.rng.NormFloat64()))
		}
		c.EndRow()
	}
}

func (g *generator) index(f batch.Field) uint32 {
	if f.Dim == 0 {
		return g.rng.Uint32()
	}
	return uint32(g.rng.IntN(f.Dim))
}

var (
	hostileFloats = []float64{
		0, math.Copysign(0, -1), 1e38, -1e38, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64,
		-1e-310, 1e-200, math.MaxFloat32, -math.MaxFloat32, 1e300, 1e19, 1, 1 + 0x1p-52,
	}
	hostileInts   = []int64{0, math.MaxInt64, math.MinInt64, 1 << 53, -1, 1<<53 + 1}
	hostileTexts  = []string{"", "\x00", "\U0010FFFF", "a,b\"\n", " ", "́́", "İıſK"}
	hostileValues = []float32{0, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 1e20, -1e20, 1}
)

// appendHostile appends a value that a stream may hold, but should not.
func (g *generator) appendHostile(c *batch.Column, f batch.Field) {
	if f.Nullable && g.rng.IntN(3) == 0 {
		c.AppendNull()
		return
	}
	switch f.Type {
	case batch.Bool:
		c.AppendBool(g.rng.IntN(2) == 0)
	case batch.Int64, batch.Timestamp:
		c.AppendInt(hostileInts[g.rng.IntN(len(hostileInts))])
	case batch.Float64:
		c.AppendFloat(hostileFloats[g.rng.IntN(len(hostileFloats))])
	case batch.String:
		c.AppendString(hostileTexts[g.rng.IntN(len(hostileTexts))])
	case batch.Sparse:
		first := g.index(f)
		for k := range g.rng.IntN(5) {
			i := g.index(f)
			if k%2 == 1 {
				i = first // twice the same, the last of all
			} else if f.Dim > 0 && g.rng.IntN(3) == 0 {
				i = uint32(f.Dim - 1)
			}
			c.AddFeature(i, hostileValues[g.rng.IntN(len(hostileValues))])
		}
		c.EndRow()
	}
}

// withNulls returns a copy of the feeds whose named column is nullable and null.
func withNulls(feeds []feed, names ...string) []feed {
	var out []feed
	for _, f := range feeds {
		s := withNullable(f.rows.Schema, names...)
		b := batch.New(s)
		for row := range f.rows.N {
			for i, c := range b.Cols {
				if slices.Contains(names, s.Fields[i].Name) {
					c.AppendNull()
				} else {
					c.AppendRow(f.rows.Cols[i], row)
				}
			}
			b.EndRow(f.rows, row)
		}
		out = append(out, feed{f.port, b})
	}
	return out
}

func withNullable(s *batch.Schema, names ...string) *batch.Schema {
	fields := slices.Clone(s.Fields)
	for i := range fields {
		if slices.Contains(names, fields[i].Name) {
			fields[i].Nullable = true
		}
	}
	return batch.NewSchema(fields...)
}

// poison overwrites the memory of a batch, as the engine will when it reuses it.
func poison(b *batch.Batch) {
	for _, c := range b.Cols {
		fill(c.Bools, true)
		fill(c.Ints, -1<<62)
		fill(c.Floats, math.NaN())
		fill(c.Off, math.MaxInt32)
		fill(c.Bytes, 0xff)
		fill(c.Index, math.MaxUint32)
		fill(c.Value, float32(math.NaN()))
	}
	fill(b.Origin.Offset, -1)
	fill(b.Origin.Time, -1)
	fill(b.Origin.Seq, -1)
	b.N = 0
}

func fill[T any](s []T, v T) {
	s = s[:cap(s)]
	for i := range s {
		s[i] = v
	}
}

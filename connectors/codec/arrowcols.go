package codec

import (
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/array"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// arrowColumn reads one Arrow column into one of ours.
type arrowColumn struct {
	col  int // in the Arrow schema, or -1: all null
	arr  arrow.Array
	dict *array.Dictionary // arr is its dictionary then

	// One of them is set, by type.
	bools   *array.Boolean
	ints    func(row int) int64
	floats  func(row int) float64
	text    func(row int) string
	uint64s *array.Uint64
	unit    arrow.TimeUnit // of ints, for timestamps
	days    bool           // ints are days
	offsets func(row int) (start, end int64)
	index   *array.Uint32
	value   *array.Float32
	entries arrow.Array
}

func expectedArrow(t batch.Type) string {
	switch t {
	case batch.Bool:
		return "bool or an integer type of 0 and 1"
	case batch.Int64:
		return "an integer type"
	case batch.Float64:
		return "float32, float64 or an integer type"
	case batch.String:
		return "utf8, large_utf8 or a dictionary of them"
	case batch.Timestamp:
		return "timestamp, date or int64 milliseconds"
	}
	return "list<struct<index: uint32, value: float32>>"
}

// convertible reports whether columns of an Arrow type are read into type t.
func convertible(from arrow.DataType, t batch.Type) bool {
	id := from.ID()
	switch t {
	case batch.Bool:
		return id == arrow.BOOL || arrow.IsInteger(id)
	case batch.Int64:
		return arrow.IsInteger(id)
	case batch.Float64:
		return arrow.IsInteger(id) || id == arrow.FLOAT32 || id == arrow.FLOAT64
	case batch.String:
		if d, ok := from.(*arrow.DictionaryType); ok {
			id = d.ValueType.ID()
		}
		return id == arrow.STRING || id == arrow.LARGE_STRING
	case batch.Timestamp:
		return id == arrow.TIMESTAMP || id == arrow.DATE32 || id == arrow.DATE64 || id == arrow.INT64
	case batch.Sparse:
		l, ok := from.(arrow.ListLikeType)
		if !ok || id != arrow.LIST && id != arrow.LARGE_LIST {
			return false
		}
		st, ok := l.Elem().(*arrow.StructType)
		return ok && st.NumFields() == 2 && st.Field(0).Name == "index" && st.Field(0).Type.ID() == arrow.UINT32 &&
			st.Field(1).Name == "value" && st.Field(1).Type.ID() == arrow.FLOAT32
	}
	return false
}

// bind points the column at an array of a new batch.
func (p *arrowColumn) bind(arr arrow.Array) error {
	*p = arrowColumn{col: p.col, arr: arr, unit: arrow.Millisecond}
	if d, ok := arr.(*array.Dictionary); ok {
		p.dict, arr = d, d.Dictionary()
		p.arr = arr
	}
	switch a := arr.(type) {
	case *array.Boolean:
		p.bools = a
	case *array.Int8:
		p.ints = func(i int) int64 { return int64(a.Value(i)) }
	case *array.Int16:
		p.ints = func(i int) int64 { return int64(a.Value(i)) }
	case *array.Int32:
		p.ints = func(i int) int64 { return int64(a.Value(i)) }
	case *array.Int64:
		p.ints = a.Value
	case *array.Uint8:
		p.ints = func(i int) int64 { return int64(a.Value(i)) }
	case *array.Uint16:
		p.ints = func(i int) int64 { return int64(a.Value(i)) }
	case *array.Uint32:
		p.ints = func(i int) int64 { return int64(a.Value(i)) }
	case *array.Uint64:
		p.uint64s = a
	case *array.Float32:
		p.floats = func(i int) float64 { return float64(a.Value(i)) }
	case *array.Float64:
		p.floats = a.Value
	case *array.String:
		p.text = a.Value
	case *array.LargeString:
		p.text = a.Value
	case *array.Timestamp:
		p.unit = a.DataType().(*arrow.TimestampType).Unit
		p.ints = func(i int) int64 { return int64(a.Value(i)) }
	case *array.Date32:
		p.days = true
		p.ints = func(i int) int64 { return int64(a.Value(i)) }
	case *array.Date64:
		p.ints = func(i int) int64 { return int64(a.Value(i)) }
	case *array.List:
		p.offsets = a.ValueOffsets
		return p.bindEntries(a.ListValues())
	case *array.LargeList:
		p.offsets = a.ValueOffsets
		return p.bindEntries(a.ListValues())
	default:
		return fmt.Errorf("Arrow type %s", arr.DataType())
	}
	return nil
}

func (p *arrowColumn) bindEntries(values arrow.Array) error {
	st, ok := values.(*array.Struct)
	if !ok || st.NumField() != 2 {
		return fmt.Errorf("Arrow type %s", values.DataType())
	}
	p.entries = st
	p.index, _ = st.Field(0).(*array.Uint32)
	p.value, _ = st.Field(1).(*array.Float32)
	if p.index == nil || p.value == nil {
		return fmt.Errorf("Arrow type %s", values.DataType())
	}
	return nil
}

// null reports whether a row is null, in a dictionary column also because the
// entry it points to is.
func (p *arrowColumn) null(row int) bool {
	if p.dict != nil {
		return p.dict.IsNull(row) || p.arr.IsNull(p.dict.GetValueIndex(row))
	}
	return p.arr.IsNull(row)
}

// append appends a row that is not null, or says why it cannot.
func (p *arrowColumn) append(a *ArrowReader, c *batch.Column, f *batch.Field, row int) (why string) {
	switch f.Type {
	case batch.Bool:
		if p.bools != nil {
			c.AppendBool(p.bools.Value(row))
			return ""
		}
		v, why := p.int(row)
		if why == "" && v != 0 && v != 1 {
			why = strconv.FormatInt(v, 10) + ", expected 0 or 1"
		}
		if why == "" {
			c.AppendBool(v == 1)
		}
		return why

	case batch.Int64:
		v, why := p.int(row)
		if why == "" {
			c.AppendInt(v)
		}
		return why

	case batch.Float64:
		if p.floats != nil {
			v := p.floats(row)
			if v-v != 0 {
				return strconv.FormatFloat(v, 'g', -1, 64) + ", expected a finite number"
			}
			c.AppendFloat(v)
			return ""
		}
		v, why := p.int(row)
		if why == "" && int64(float64(v)) != v || v == math.MaxInt64 {
			why = strconv.FormatInt(v, 10) + " is not exact as float64"
		}
		if why == "" {
			c.AppendFloat(float64(v))
		}
		return why

	case batch.String:
		if p.dict != nil {
			row = p.dict.GetValueIndex(row)
		}
		s := p.text(row)
		switch {
		case len(s) > a.o.MaxString:
			return fmt.Sprintf("a string of %d bytes; at most %d are read", len(s), a.o.MaxString)
		case !fits(c, len(s)):
			return "the strings of a batch exceed 2 GiB"
		case !utf8.ValidString(s):
			return "a string that is not UTF-8"
		}
		c.AppendString(s)
		return ""

	case batch.Timestamp:
		v, why := p.time(row)
		if why == "" {
			c.AppendInt(v)
		}
		return why

	case batch.Sparse:
		return p.sparse(a, c, f, row)
	}
	return "has no type"
}

func (p *arrowColumn) int(row int) (int64, string) {
	if p.uint64s != nil {
		v := p.uint64s.Value(row)
		if v > math.MaxInt64 {
			return 0, strconv.FormatUint(v, 10) + " is beyond the range of int64"
		}
		return int64(v), ""
	}
	return p.ints(row), ""
}

// time returns a timestamp in milliseconds.
func (p *arrowColumn) time(row int) (int64, string) {
	v := p.ints(row)
	ms := v
	switch {
	case p.days:
		ms = v * msPerDay // 32 bits of days
	case p.unit == arrow.Second:
		if v < MinTime/1000 || v > MaxTime/1000 {
			return 0, strconv.FormatInt(v, 10) + " s is outside of the years 0000 to 9999"
		}
		ms = v * 1000
	case p.unit == arrow.Microsecond, p.unit == arrow.Nanosecond:
		per := int64(p.unit.Multiplier())
		per = int64(time.Millisecond) / per
		if ms = v / per; ms*per != v {
			return 0, strconv.FormatInt(v, 10) + " " + p.unit.String() + " is not a whole number of milliseconds"
		}
	}
	if ms < MinTime || ms > MaxTime {
		return 0, strconv.FormatInt(ms, 10) + " ms is outside of the years 0000 to 9999"
	}
	return ms, ""
}

func (p *arrowColumn) sparse(a *ArrowReader, c *batch.Column, f *batch.Field, row int) string {
	start, end := p.offsets(row)
	if start < 0 || end < start || end > int64(p.entries.Len()) {
		return "list offsets beyond the entries"
	}
	if end-start > int64(math.MaxInt32-len(c.Index)) {
		return "the entries of a batch exceed 2^31"
	}
	first := len(c.Index)
	for i := int(start); i < int(end); i++ {
		if p.entries.IsNull(i) || p.index.IsNull(i) || p.value.IsNull(i) {
			return "a null entry"
		}
		x, v := p.index.Value(i), p.value.Value(i)
		if f.Dim > 0 && uint64(x) >= uint64(f.Dim) {
			return fmt.Sprintf("index %d is beyond the dimension of the column", x)
		}
		if v-v != 0 {
			return fmt.Sprintf("%v at index %d, expected a finite number", v, x)
		}
		c.AddFeature(x, v)
	}
	x, twice, scratch := RepeatedIndex(c.Index[first:], a.idx)
	if a.idx = scratch; twice {
		return fmt.Sprintf("index %d occurs twice", x)
	}
	c.EndRow()
	return ""
}

package file

import (
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"

	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/pipeline/batch"
)

func expectedParquet(t batch.Type) string {
	switch t {
	case batch.Bool:
		return "boolean or an integer type of 0 and 1"
	case batch.Int64:
		return "an integer type"
	case batch.Float64:
		return "float, double or an integer type"
	case batch.String:
		return "string, enum or byte_array"
	}
	return "timestamp, date, int96 or int64 milliseconds"
}

func typeName(l parquet.LeafColumn) string {
	s := l.Node.Type().String()
	if l.MaxRepetitionLevel > 0 {
		s = "list of " + s
	}
	return s
}

// converter returns what appends values of a leaf to a column of type t; nil if
// they do not convert.
func (p *parquetRows) converter(l parquet.LeafColumn, t batch.Type) func(*batch.Column, parquet.Value) string {
	typ := l.Node.Type()
	var logical format.LogicalTypeValue
	if lt := typ.LogicalType(); lt != nil {
		logical = lt.Value
	}
	integer := wholeNumber(typ.Kind(), logical)
	switch t {
	case batch.Bool:
		if typ.Kind() == parquet.Boolean {
			return func(c *batch.Column, v parquet.Value) string { c.AppendBool(v.Boolean()); return "" }
		}
		if integer != nil {
			return func(c *batch.Column, v parquet.Value) string {
				n, why := integer(v)
				if why == "" && n != 0 && n != 1 {
					why = strconv.FormatInt(n, 10) + ", expected 0 or 1"
				}
				if why == "" {
					c.AppendBool(n == 1)
				}
				return why
			}
		}
	case batch.Int64:
		if integer != nil {
			return func(c *batch.Column, v parquet.Value) string {
				n, why := integer(v)
				if why == "" {
					c.AppendInt(n)
				}
				return why
			}
		}
	case batch.Float64:
		switch {
		case typ.Kind() == parquet.Float:
			return func(c *batch.Column, v parquet.Value) string { return appendFloat(c, float64(v.Float())) }
		case typ.Kind() == parquet.Double:
			return func(c *batch.Column, v parquet.Value) string { return appendFloat(c, v.Double()) }
		case integer != nil:
			return func(c *batch.Column, v parquet.Value) string {
				n, why := integer(v)
				if why == "" && (int64(float64(n)) != n || n == math.MaxInt64) {
					why = strconv.FormatInt(n, 10) + " is not exact as float64"
				}
				if why == "" {
					c.AppendFloat(float64(n))
				}
				return why
			}
		}
	case batch.String:
		if typ.Kind() == parquet.ByteArray && textual(logical) {
			return p.appendText
		}
	case batch.Timestamp:
		if ms := millis(typ.Kind(), logical); ms != nil {
			return func(c *batch.Column, v parquet.Value) string {
				n, why := ms(v)
				if why == "" && (n < codec.MinTime || n > codec.MaxTime) {
					why = strconv.FormatInt(n, 10) + " ms is outside of the years 0000 to 9999"
				}
				if why == "" {
					c.AppendInt(n)
				}
				return why
			}
		}
	}
	return nil
}

func appendFloat(c *batch.Column, v float64) string {
	if v-v != 0 {
		return strconv.FormatFloat(v, 'g', -1, 64) + ", expected a finite number"
	}
	c.AppendFloat(v)
	return ""
}

func (p *parquetRows) appendText(c *batch.Column, v parquet.Value) string {
	b := v.ByteArray()
	switch {
	case len(b) > p.codec.MaxString:
		return fmt.Sprintf("a string of %d bytes; at most %d are read", len(b), p.codec.MaxString)
	case len(b) > math.MaxInt32-len(c.Bytes):
		return "the strings of a batch exceed 2 GiB"
	case !utf8.Valid(b):
		return "a string that is not UTF-8"
	}
	c.AppendBytes(b)
	return ""
}

// wholeNumber returns what reads an integer type, nil for others.
func wholeNumber(k parquet.Kind, logical format.LogicalTypeValue) func(parquet.Value) (int64, string) {
	signed := true
	switch l := logical.(type) {
	case nil:
	case *format.IntType:
		signed = l.IsSigned
	default:
		return nil // a date, a time, a decimal
	}
	switch {
	case k == parquet.Int32 && signed:
		return func(v parquet.Value) (int64, string) { return int64(v.Int32()), "" }
	case k == parquet.Int32:
		return func(v parquet.Value) (int64, string) { return int64(v.Uint32()), "" }
	case k == parquet.Int64 && signed:
		return func(v parquet.Value) (int64, string) { return v.Int64(), "" }
	case k == parquet.Int64:
		return func(v parquet.Value) (int64, string) {
			if v.Uint64() > math.MaxInt64 {
				return 0, strconv.FormatUint(v.Uint64(), 10) + " is beyond the range of int64"
			}
			return v.Int64(), ""
		}
	}
	return nil
}

func textual(logical format.LogicalTypeValue) bool {
	switch logical.(type) {
	case nil, *format.StringType, *format.EnumType, *format.JsonType:
		return true
	}
	return false
}

// millis returns what reads a time as milliseconds since 1970, nil for other types.
func millis(k parquet.Kind, logical format.LogicalTypeValue) func(parquet.Value) (int64, string) {
	per, unit := int64(1), ""
	switch l := logical.(type) {
	case nil:
		switch k {
		case parquet.Int64:
			return func(v parquet.Value) (int64, string) { return v.Int64(), "" }
		case parquet.Int96:
			return func(v parquet.Value) (int64, string) { return int96Millis(v.Bytes()), "" }
		}
		return nil
	case *format.IntType:
		if k != parquet.Int64 || !l.IsSigned {
			return nil
		}
	case *format.DateType:
		return func(v parquet.Value) (int64, string) { return int64(v.Int32()) * 86_400_000, "" }
	case *format.TimestampType:
		switch l.Unit.Value.(type) {
		case *format.MicroSeconds:
			per, unit = 1000, "us"
		case *format.NanoSeconds:
			per, unit = 1_000_000, "ns"
		}
	default:
		return nil
	}
	return func(v parquet.Value) (int64, string) {
		n := v.Int64()
		if ms := n / per; ms*per == n {
			return ms, ""
		}
		return 0, fmt.Sprintf("%d %s is not a whole number of milliseconds", n, unit)
	}
}

package codec

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"io"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow/go/v15/arrow"
	"github.com/apache/arrow/go/v15/arrow/ipc"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// FuzzJSON compares with encoding/json: the same documents are accepted, with
// the same values, except that invalid UTF-8, lone surrogates, duplicate keys
// and depth beyond MaxDepth are rejected here.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{
		clickJSON, `{}`, `[]`, ` {"s":"a\u00e9\ud83d\ude00\n","f":-1.5e3,"i":12,"b":true,"a":{"b":2,"c":null}} `,
		`{"f":0.1,"f":1}`, `{"i":1.0}`, `{"b":1}`, `{"s":"\ud800"}`, "{\"s\":\"\xff\"}", `{"u":[1,{"a":{}},"x"],"w":{"k":1,"k":2}}`,
		`{"f":1e999}`, `{"f":123456789012345678901234567890e-20}`, `{"i":-9223372036854775808}`, `{"a":[]}`, `{"u":1,"i":2,"w":3}`,
	} {
		f.Add([]byte(s), []byte(`{"i":7,"x":1}`))
	}
	s := schema("s: string?", "f: float64?", "i: int64?", "b: bool?", "a.b: float64?")
	f.Fuzz(func(t *testing.T, record, before []byte) {
		d, err := NewDecoder("json", s, Options{})
		if err != nil {
			t.Fatal(err)
		}
		into := batch.New(s)
		first, _ := d.Decode(before, into) // what came before must not matter
		n, err := d.Decode(record, into)
		for _, c := range into.Cols {
			if c.Len() != first+n {
				t.Fatalf("%d rows, want %d", c.Len(), first+n)
			}
		}
		want, ok := reference(record)
		if (err == nil) != ok {
			t.Fatalf("%q: our error %v, accepted by the reference %v", record, err, ok)
		}
		if err != nil {
			return
		}
		if got := show(into, first); got != want {
			t.Fatalf("%q: got %s, want %s", record, got, want)
		}
		// What was read is written and read again.
		e, _ := NewEncoder("json", s, Options{})
		out, err := e.Encode(nil, into, first, first+1)
		if err != nil || !json.Valid(out) || !utf8.Valid(out) {
			t.Fatalf("%q is written as %q, %v", record, out, err)
		}
		if n, err := d.Decode(out, into); n != 1 || err != nil || show(into, first+1) != want {
			t.Fatalf("%q is written as %q, which does not read back: %v", record, out, err)
		}
	})
}

// reference decodes a record with encoding/json and the type rules on top.
func reference(record []byte) (string, bool) {
	if !utf8.Valid(record) || !json.Valid(record) {
		return "", false
	}
	dec := json.NewDecoder(bytes.NewReader(record))
	dec.UseNumber()
	v, ok := refValue(dec, 0)
	m, object := v.(map[string]any)
	if !ok || !object || refSurrogates(record) {
		return "", false
	}
	s := schema("s: string?", "f: float64?", "i: int64?", "b: bool?", "a.b: float64?")
	b := batch.New(s)
	ab, flat := m["a.b"], false
	if _, flat = m["a.b"]; !flat {
		ab = nil
	}
	if a, ok := m["a"]; ok && a != nil {
		inner, ok := a.(map[string]any)
		if !ok {
			return "", false
		}
		if x, ok := inner["b"]; ok {
			if flat {
				return "", false
			}
			ab = x
		}
	}
	for i, v := range []any{m["s"], m["f"], m["i"], m["b"], ab} {
		c := b.Cols[i]
		num, isNum := v.(json.Number)
		switch x := v.(type) {
		case nil:
			c.AppendNull()
			continue
		case string:
			if c.Type == batch.String {
				c.AppendString(x)
				continue
			}
		case bool:
			if c.Type == batch.Bool {
				c.AppendBool(x)
				continue
			}
		}
		if !isNum {
			return "", false
		}
		switch c.Type {
		case batch.Bool:
			if num != "0" && num != "1" {
				return "", false
			}
			c.AppendBool(num == "1")
		case batch.Float64:
			x, err := num.Float64()
			if err != nil {
				return "", false
			}
			c.AppendFloat(x)
		case batch.Int64:
			x, ok := refInt(string(num))
			if !ok {
				return "", false
			}
			c.AppendInt(x)
		default:
			return "", false
		}
	}
	return show(b, 0), true
}

// refInt reads an integer with math on decimal strings.
func refInt(text string) (int64, bool) {
	if x, err := json.Number(text).Int64(); err == nil {
		return x, true
	}
	mantissa, exponent, _ := strings.Cut(strings.ToLower(text), "e")
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, frac, _ := strings.Cut(mantissa, ".")
	exp := 0
	if exponent != "" {
		x, err := json.Number(strings.TrimPrefix(exponent, "+")).Int64()
		if err != nil || x > 1<<20 || x < -1<<20 {
			return 0, strings.Trim(whole+frac, "0") == "" // zero whatever the exponent
		}
		exp = int(x)
	}
	digits := whole + frac
	point := len(whole) + exp
	trimmed := strings.TrimRight(digits, "0")
	if strings.Trim(digits, "0") == "" {
		return 0, true
	}
	if len(trimmed) > point || point > 1<<10 {
		lead := len(trimmed) - len(strings.TrimLeft(trimmed, "0"))
		if len(trimmed) > point || point-lead > 25 {
			return 0, false
		}
	}
	for len(digits) < point {
		digits += "0"
	}
	digits = strings.TrimLeft(digits[:point], "0")
	x, err := json.Number(sign + digits).Int64()
	return x, err == nil
}

// refValue builds a value, rejecting duplicate keys and depth.
func refValue(dec *json.Decoder, depth int) (any, bool) {
	tok, err := dec.Token()
	if err != nil {
		return nil, false
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return tok, true
	}
	if depth >= MaxDepth {
		return nil, false
	}
	m, object := map[string]any{}, delim == '{'
	for dec.More() {
		key := ""
		if object {
			tok, err := dec.Token()
			if err != nil {
				return nil, false
			}
			key = tok.(string)
		}
		v, ok := refValue(dec, depth+1)
		if _, twice := m[key]; !ok || object && twice {
			return nil, false
		}
		if object {
			m[key] = v
		}
	}
	if _, err := dec.Token(); err != nil {
		return nil, false
	}
	if object {
		return m, true
	}
	return []any{}, true
}

// refSurrogates reports whether valid JSON holds an escaped lone surrogate.
func refSurrogates(record []byte) bool {
	high := false
	for i := 0; i < len(record); i++ {
		if record[i] != '\\' {
			if high {
				return true
			}
			continue
		}
		i++
		if record[i] != 'u' {
			if high {
				return true
			}
			continue
		}
		hex := strings.ToLower(string(record[i+1 : i+5]))
		i += 4
		isHigh, isLow := hex >= "d800" && hex < "dc00", hex >= "dc00" && hex < "e000"
		if isLow != high {
			return true
		}
		high = isHigh
	}
	return false
}

// FuzzCSV compares the cells of a record with encoding/csv, and checks that a
// row that is accepted is written and read back.
func FuzzCSV(f *testing.F) {
	for _, s := range []string{clickCSV, "a,1,true", "\"a,\"\"\n\",,", "a,\"1\",0\r\n", "a,1.5e3,1\n", "\"a\"b,1,1", "a\"b,1,1", "\xff,1,1", "é, 1 ,TRUE", ",,", "a"} {
		f.Add([]byte(s))
	}
	s := schema("s: string", "f: float64?", "b: bool?")
	f.Fuzz(func(t *testing.T, record []byte) {
		d, _ := NewDecoder("csv", s, Options{})
		into := batch.New(s)
		n, err := d.Decode(record, into)
		cells, cellsErr := SplitCSV(record)
		// The reference joins lines and skips blank ones, which is not ours to do.
		r := csv.NewReader(bytes.NewReader(record))
		r.FieldsPerRecord = -1
		want, wantErr := r.Read()
		_, more := r.Read()
		comparable := len(trimBreak(record)) > 0 && !bytes.ContainsRune(record, '\r') && record[0] != '\n' && !bytes.HasSuffix(record, []byte("\n\n"))
		if comparable && (cellsErr == nil) != (wantErr == nil && more == io.EOF) {
			t.Fatalf("%q: our error %v, the reference's %v, %v", record, cellsErr, wantErr, more)
		}
		if comparable && cellsErr == nil && strings.Join(cells, "\x00") != strings.Join(want, "\x00") {
			t.Fatalf("%q: got %q, want %q", record, cells, want)
		}
		for _, c := range into.Cols {
			if c.Len() != n {
				t.Fatalf("%d rows, want %d", c.Len(), n)
			}
		}
		if err != nil {
			return
		}
		if cellsErr != nil || len(cells) != 3 || string(into.Cols[0].Text(0)) != cells[0] || !utf8.Valid(into.Cols[0].Text(0)) {
			t.Fatalf("%q: decoded %s, cells %q, %v", record, show(into, 0), cells, cellsErr)
		}
		if x := into.Cols[1].Floats[0]; math.IsNaN(x) || math.IsInf(x, 0) {
			t.Fatalf("%q: %v", record, x)
		}
		e, _ := NewEncoder("csv", s, Options{})
		out, err := e.Encode(nil, into, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := d.Decode(out, into); n != 1 || err != nil || show(into, 1) != show(into, 0) {
			t.Fatalf("%q is written as %q, which does not read back: %v", record, out, err)
		}
	})
}

// FuzzArrow checks that bytes that are not quite Arrow data end in an error, and
// that what is accepted keeps the promises of a batch.
func FuzzArrow(f *testing.F) {
	s, in := everyType()
	value, err := newArrowEncoder(s, Options{Sparse: true}).Encode(nil, in, 0, 3)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(value)
	dict := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int8, ValueType: arrow.BinaryTypes.String}
	f.Add(stream(f, dict, `["a","b",null,"a"]`))
	f.Add(stream(f, arrow.BinaryTypes.LargeString, `["a","b",null,"a"]`, ipc.WithZstd()))
	f.Add(stream(f, arrow.PrimitiveTypes.Uint64, `[1,null]`, ipc.WithLZ4()))
	f.Add(stream(f, arrow.LargeListOf(sparseEntry), `[[{"index":3,"value":1.5}]]`))
	f.Add(stream(f, &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}, `[1000000]`))
	narrow := []*batch.Schema{s, schema("x: string?"), schema("x: int64?"), schema("x: sparse?"), schema("x: timestamp?"), schema("x: bool?"), schema("x: float64?")}
	f.Fuzz(func(t *testing.T, value []byte) {
		for _, s := range narrow {
			d, err := NewDecoder("arrow", s, Options{MaxRecord: 1 << 16})
			if err != nil {
				t.Fatal(err)
			}
			into := batch.New(s)
			n, err := d.Decode(value, into)
			if err != nil && n != 0 {
				t.Fatalf("%d rows with error %v", n, err)
			}
			for _, c := range into.Cols {
				if c.Len() != n {
					t.Fatalf("%d rows, want %d", c.Len(), n)
				}
				for row := range n {
					switch c.Type {
					case batch.Float64:
						if x := c.Floats[row]; math.IsNaN(x) || math.IsInf(x, 0) {
							t.Fatalf("%v in a batch", x)
						}
					case batch.String:
						if !utf8.Valid(c.Text(row)) {
							t.Fatalf("%q in a batch", c.Text(row))
						}
					case batch.Timestamp:
						if x := c.Ints[row]; x < MinTime || x > MaxTime {
							t.Fatalf("time %d in a batch", x)
						}
					}
				}
			}
		}
	})
}

package codec

import (
	"testing"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline/batch"
)

const clickJSON = `{"id":"e00000000","ts":1700000000000,"user":"u123","site":"s45","dev":"d3","os":"o1","geo":"c17","hour":13,"price":1.23,"age":-0.4,"dwell":0.07,"depth":0.9,"score":-1.1,"freq":0.33,"y":0}`

const clickCSV = `e00000000,1700000000000,u123,s45,d3,o1,c17,13,1.23,-0.4,0.07,0.9,-1.1,0.33,0`

func clickSchema() *batch.Schema {
	return schema("id: string", "ts: timestamp", "user: string", "site: string", "dev: string", "os: string", "geo: string",
		"hour: int64", "price: float64", "age: float64", "dwell: float64", "depth: float64", "score: float64", "freq: float64", "y: bool?")
}

func benchDecode(b *testing.B, format, record string, s *batch.Schema) {
	d, err := NewDecoder(format, s, Options{})
	if err != nil {
		b.Fatal(err)
	}
	into := batch.New(s)
	value := []byte(record)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if into.Cols[0].Len() >= 1024 {
			into.Reset()
		}
		if _, err := d.Decode(value, into); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeJSON(b *testing.B) { benchDecode(b, "json", clickJSON, clickSchema()) }
func BenchmarkDecodeJSONSome(b *testing.B) {
	benchDecode(b, "json", clickJSON, schema("site: string", "price: float64", "y: bool"))
}
func BenchmarkDecodeCSV(b *testing.B) { benchDecode(b, "csv", clickCSV, clickSchema()) }

func benchEncode(b *testing.B, e connectors.Encoder, in *batch.Batch) {
	dst, err := e.Encode(nil, in, 0, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = e.Encode(dst[:0], in, 0, 1)
	}
}

func predictions() (*batch.Schema, *batch.Batch) {
	s := schema("id: string", "p: float64")
	in := batch.New(s)
	in.Cols[0].AppendString("e00000000")
	in.Cols[1].AppendFloat(0.12345678901234567)
	in.N = 1
	return s, in
}

func BenchmarkEncodeJSON(b *testing.B) {
	s, in := predictions()
	benchEncode(b, newJSONEncoder(s, Options{}), in)
}

func BenchmarkEncodeCSV(b *testing.B) {
	s, in := predictions()
	benchEncode(b, newCSVEncoder(s, Options{}), in)
}

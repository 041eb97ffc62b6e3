package run

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/connectors/codec"
	"github.com/gradstream/gradstream/pipeline/batch"
)

// tangledYAML has the graphs in which the cutting of batches could show: one
// operator that rows reach on two ways, sinks of several inputs, filters and
// rejects above and below each other, a record of many rows, a sink of many rows a
// record.
const tangledYAML = `
pipeline: tangled
kafka: {brokers: embedded}
sources:
  a: {topic: a, schema: {id: string, price: float64?, y: bool?}}
  b: {topic: b, format: arrow, schema: {id: string, price: float64?, y: bool?}}
operators:
  cheap: {from: a, filter: {where: price < 3}}
  dear: {from: a, filter: {where: price > 1}}
  both: {from: [dear, cheap], pairs: {}}
  joined: {from: [a, b], pairs: {}}
  odd: {from: cheap, filter: {where: price > 0.5}}
  features: {from: b, vectorize: {bits: 8, numeric: [price], categorical: [id]}}
  m: {from: features, logistic_regression: {label: y}}
  late: {from: m, filter: {where: price > 0}}
sinks:
  one: {from: both, topic: one, headers: full}
  two: {from: [odd, dear, cheap], topic: two, key: id, columns: {id: id}}
  three: {from: [late, m], topic: three, columns: {id: id, p: m.probability}}
  four: {from: [joined, both], topic: four, format: arrow, columns: {id: id}}
`

// fed is a piece of input: consecutive records of one partition.
type fed struct {
	source    int
	partition int32
	records   []connectors.Record
}

// tangledInput makes input of both sources, some of which cannot be used.
func tangledInput(t *testing.T, n int) []fed {
	rng := rand.New(rand.NewPCG(5, 6))
	schema := parse(t, tangledYAML).Sources[1].Schema
	enc, err := codec.NewEncoder("arrow", schema, codec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all []fed
	offset := int64(0)
	for i := range n {
		f := fed{source: rng.IntN(2), partition: int32(rng.IntN(3))}
		for range 1 + rng.IntN(20) {
			var value []byte
			switch {
			case rng.IntN(10) == 0:
				value = []byte("not a record")
			case f.source == 0 && rng.IntN(10) == 0:
				value = fmt.Appendf(nil, `{"id":"i%d","price":null,"y":null}`, i)
			case f.source == 0:
				value = fmt.Appendf(nil, `{"id":"i%d","price":%d.25,"y":%t}`, i, rng.IntN(5), rng.IntN(2) == 0)
			default:
				rows := batch.New(schema)
				for range rng.IntN(6) {
					rows.Cols[0].AppendString(fmt.Sprint("i", i))
					if rng.IntN(4) == 0 {
						rows.Cols[1].AppendNull()
					} else {
						rows.Cols[1].AppendFloat(rng.Float64() - 0.3)
					}
					rows.Cols[2].AppendBool(rng.IntN(2) == 0)
					rows.N++
				}
				if value, err = enc.Encode(nil, rows, 0, rows.N); err != nil {
					t.Fatal(err)
				}
			}
			offset += 1 + int64(rng.IntN(2))
			f.records = append(f.records, connectors.Record{Offset: offset, Time: 100 + offset, Key: []byte("k"), Value: value})
		}
		all = append(all, f)
	}
	return all
}

// TestCutsNeverShow feeds one input cut in many ways: the outputs of each step have
// the same bytes in the same order, and the states the same digests.
func TestCutsNeverShow(t *testing.T) {
	p := parse(t, tangledYAML)
	input := tangledInput(t, 120)
	run := func(t *testing.T, rows int, cut func(n int) int) (steps [][]string, digests []uint64) {
		c, err := newCore(p, 0, testFormats, coreOptions{BatchRows: rows, SinkPartitions: func(string) int32 { return 3 }})
		if err != nil {
			t.Fatal(err)
		}
		var out outputs
		for i, f := range input {
			if i%10 == 0 {
				c.begin(int64(i), &out)
			}
			for rest := f.records; len(rest) > 0; {
				n := cut(len(rest))
				got, _, err := c.feed(f.source, f.partition, rest[:n], unbounded)
				if err != nil || got != n {
					t.Fatalf("fed %d of %d: %v", got, n, err)
				}
				rest = rest[n:]
			}
			if i%10 < 9 {
				continue
			}
			if err := c.end(uint64(len(steps) + 1)); err != nil {
				t.Fatal(err)
			}
			var step []string
			for _, o := range out.List() {
				step = append(step, fmt.Sprintf("%s %d %q %q %d %q", o.Topic, o.Partition, o.Key, o.Value, o.Time, o.Headers))
			}
			steps, digests = append(steps, step), append(digests, c.digest())
		}
		return steps, digests
	}
	want, digests := run(t, 0, func(n int) int { return n })
	text := fmt.Sprint(want)
	for _, topic := range []string{"one ", "two ", "three ", "four ", "tangled.errors "} {
		if !strings.Contains(text, topic) {
			t.Fatalf("nothing went to %s", topic)
		}
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for i := range 30 {
		rows := 1 + rng.IntN(40)
		if i < 2 {
			rows = []int{1, 7}[i]
		}
		got, sums := run(t, rows, func(n int) int { return 1 + rng.IntN(n) })
		if !reflect.DeepEqual(sums, digests) {
			t.Fatalf("batches of %d end in other states", rows)
		}
		for s := range want {
			for k := range max(len(want[s]), len(got[s])) {
				if k >= len(got[s]) || k >= len(want[s]) || got[s][k] != want[s][k] {
					t.Fatalf("batches of %d, step %d, output %d of %d, want %d:\n got %s\nwant %s", rows, s+1, k, len(got[s]), len(want[s]), got[s][min(k, len(got[s])-1)], want[s][min(k, len(want[s])-1)])
				}
			}
		}
	}
}

// TestBoundsOfAStep stops feeding where a step is full.
func TestBoundsOfAStep(t *testing.T) {
	p := parse(t, tangledYAML)
	var recs []connectors.Record
	for i := range 10 {
		recs = append(recs, connectors.Record{Offset: int64(i), Key: []byte("kk"), Value: []byte(`{"id":"x","price":1,"y":true}`)})
	}
	recs[3].Value = []byte("bad")
	one := int64(len(recs[0].Key) + len(recs[0].Value))
	for _, x := range []struct {
		most bounds
		n    int
	}{
		{unbounded, 10}, {bounds{4, 1 << 40}, 4}, {bounds{1, 1 << 40}, 1}, {bounds{100, 1}, 1}, {bounds{100, one}, 1}, {bounds{100, one + 1}, 2}, {bounds{100, 0}, 0},
	} {
		for _, rows := range []int{1, 3, 100} {
			c, err := newCore(p, 0, testFormats, coreOptions{BatchRows: rows, SinkPartitions: func(string) int32 { return 3 }})
			if err != nil {
				t.Fatal(err)
			}
			c.begin(1, &outputs{})
			n, size, err := c.feed(0, 0, recs, x.most)
			want := int64(0)
			for _, r := range recs[:x.n] {
				want += int64(len(r.Key) + len(r.Value))
			}
			if n != x.n || size != want || err != nil || int(c.seq) != n {
				t.Errorf("%+v in batches of %d: %d records of %d bytes, %v; want %d of %d", x.most, rows, n, size, err, x.n, want)
			}
		}
	}
}

// TestLargeRecords splits what shares a record where it would be too large, in the
// same places each time, and keeps every row.
func TestLargeRecords(t *testing.T) {
	p := parse(t, tangledYAML)
	c, err := newCore(p, 0, testFormats, coreOptions{SinkPartitions: func(string) int32 { return 1 }})
	if err != nil {
		t.Fatal(err)
	}
	const n = 3000
	var recs []connectors.Record
	for i := range n {
		recs = append(recs, connectors.Record{Offset: int64(i), Value: fmt.Appendf(nil, `{"id":"%d%s","price":2}`, i, strings.Repeat("x", 1000))})
	}
	var out outputs
	c.begin(1, &out)
	if _, _, err := c.feed(0, 0, recs, unbounded); err != nil {
		t.Fatal(err)
	}
	if err := c.end(1); err != nil {
		t.Fatal(err)
	}
	schema := batch.NewSchema(batch.Field{Name: "id", Type: batch.String})
	dec, err := codec.NewDecoder("arrow", schema, codec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rows, records := batch.New(schema), 0
	for _, o := range out.List() {
		if o.Topic != "four" {
			continue
		}
		if records++; len(o.Value) > maxRecordBytes {
			t.Errorf("a record of %d bytes", len(o.Value))
		}
		k, err := dec.Decode(o.Value, rows)
		if err != nil {
			t.Fatal(err)
		}
		rows.N += k
	}
	// joined and both: each row once by the first, twice by the second, for it is dear and cheap.
	if records < 9 || rows.N != 3*n {
		t.Errorf("%d rows in %d records, want %d", rows.N, records, 3*n)
	}
	if !bytes.HasPrefix(rows.Cols[0].Text(0), []byte("0x")) && !bytes.HasPrefix(rows.Cols[0].Text(n), []byte("0x")) {
		t.Errorf("the rows are not in order")
	}
}

// TestRejectedOnce sends a record to the errors topic once, however many of its
// rows were rejected, and on however many ways.
func TestRejectedOnce(t *testing.T) {
	p := parse(t, tangledYAML)
	c, err := newCore(p, 0, testFormats, coreOptions{SinkPartitions: func(string) int32 { return 1 }})
	if err != nil {
		t.Fatal(err)
	}
	enc, err := codec.NewEncoder("arrow", p.Sources[1].Schema, codec.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rows := batch.New(p.Sources[1].Schema)
	for i := range 5 {
		rows.Cols[0].AppendString("x")
		rows.Cols[1].AppendNull()
		if rows.Cols[2].AppendBool(true); i == 2 {
			rows.Cols[1].SetValid(i)
			rows.Cols[1].Floats[i] = 1
		}
		rows.N++
	}
	value, err := enc.Encode(nil, rows, 0, rows.N)
	if err != nil {
		t.Fatal(err)
	}
	var out outputs
	c.begin(1, &out)
	if _, _, err := c.feed(1, 2, []connectors.Record{{Offset: 7, Value: value}, {Offset: 8, Value: value}}, unbounded); err != nil {
		t.Fatal(err)
	}
	// cheap and dear both reject it.
	if _, _, err := c.feed(0, 2, []connectors.Record{{Offset: 7, Value: []byte(`{"id":"y","price":null}`)}}, unbounded); err != nil {
		t.Fatal(err)
	}
	if err := c.end(1); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range out.List() {
		if o.Topic == "tangled.errors" {
			got = append(got, fmt.Sprintf("%s %s %s by %s", header(&o.Record, "__connect.errors.topic"), header(&o.Record, "__connect.errors.offset"), header(&o.Record, "gradstream-rejections"), header(&o.Record, "gradstream-operator")))
		}
	}
	if want := []string{"b 7 4 by late", "b 8 4 by late", "a 7 2 by cheap"}; !reflect.DeepEqual(got, want) {
		t.Errorf("rejected: %q, want %q", got, want)
	}
	if c.engine.V.Rejected != 10 || c.errs.byReason["late"] != 8 || c.errs.byReason["cheap"] != 1 {
		t.Errorf("counted %d, %v", c.engine.V.Rejected, c.errs.byReason)
	}
}

package connectors

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// someOutputs returns records with and without key, value and headers.
func someOutputs(rng *rand.Rand, n int) (list []Output) {
	some := func() []byte {
		if n := rng.IntN(6); n > 0 {
			return []byte("bytes"[:n-1])
		}
		return nil
	}
	for range n {
		o := Output{Topic: fmt.Sprint("t", rng.IntN(3)), Partition: rng.Int32N(4), Record: Record{Time: rng.Int64N(3), Key: some(), Value: some()}}
		if rng.IntN(2) == 0 {
			for k := range rng.IntN(4) {
				o.Headers = append(o.Headers, Header{Key: fmt.Sprint("h", k), Value: some()})
			}
		}
		list = append(list, o)
	}
	return list
}

func checkOutputs(t *testing.T, o *Outputs, want []Output) {
	t.Helper()
	if o.Len() != len(want) {
		t.Fatalf("%d records; want %d", o.Len(), len(want))
	}
	for i := range want {
		if got := o.At(i); !reflect.DeepEqual(got, want[i]) {
			t.Fatalf("record %d is %+v; want %+v", i, got, want[i])
		}
	}
}

// TestOutputs reads lists that were made, joined and put in order in all ways.
func TestOutputs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var o Outputs
	for range 200 {
		first, second := someOutputs(rng, rng.IntN(12)), someOutputs(rng, rng.IntN(12))
		o.Reset(len(first), 10)
		for i := range first { // in place
			x := &first[i]
			s, key, value := append(o.Slab(), x.Key...), len(x.Key), len(x.Value)
			if x.Key == nil {
				key = -1
			}
			if x.Value == nil {
				value = -1
			}
			o.Put(append(s, x.Value...), o.Kind(x.Topic, x.Time), x.Partition, key, value)
			o.AddHeaders(x.Headers)
		}
		checkOutputs(t, &o, first)

		order := make([]int32, len(first))
		for i, k := range rng.Perm(len(first)) {
			order[i] = int32(k)
		}
		ordered := slices.Clone(first)
		for i, k := range order {
			ordered[i] = first[k]
		}
		o.Reorder(order)
		checkOutputs(t, &o, ordered)

		o.AddAll(OutputsOf(second...))
		checkOutputs(t, &o, append(ordered, second...))
	}
}

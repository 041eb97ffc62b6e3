package state

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func someManifest() Manifest {
	return Manifest{
		Step: 300, Hash: Hash{0: 0xaa, 31: 0xbb}, Journal: -1,
		Positions: []Position{{Topic: "t", Partition: 2, Next: 64}},
		Meta:      map[string]string{"b": "2", "a": "1"},
	}
}

// The bytes are those of docs/format/state.md, put together by hand; the
// checksum is CRC32C.
func TestManifestBytes(t *testing.T) {
	b := AppendManifest(nil, someManifest())
	want := "01" + "ac02" + "aa" + hex.EncodeToString(make([]byte, 30)) + "bb" + "01" +
		"01" + "0174" + "04" + "8001" + "02" + "0161" + "0131" + "0162" + "0132"
	if got := hex.EncodeToString(b[:len(b)-4]); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	id := AppendID(nil, ID{Node: "n", Name: "w", Version: 3, Pinned: "p"})
	if got, want := hex.EncodeToString(id[:len(id)-4]), "01"+"016e"+"0177"+"06"+"0170"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestManifestRoundTrip(t *testing.T) {
	for _, m := range []Manifest{
		{},
		someManifest(),
		{Step: math.MaxUint64, Journal: math.MinInt64, Positions: []Position{{Partition: math.MinInt32, Next: math.MaxInt64}, {}}},
	} {
		b := AppendManifest(nil, m)
		got, err := DecodeManifest(b)
		if d := cmp.Diff(m, got); err != nil || d != "" {
			t.Error(err, d)
		}
		for i := range b {
			flipped := bytes.Clone(b)
			flipped[i] ^= 4
			if _, err := DecodeManifest(flipped); err == nil {
				t.Errorf("a flip in byte %d is not seen", i)
			}
			if _, err := DecodeManifest(b[:i]); err == nil {
				t.Errorf("a cut at byte %d is not seen", i)
			}
		}
	}
	newer := AppendManifest(nil, Manifest{})
	newer[0] = 2
	if _, err := DecodeManifest(newer); !errors.Is(err, ErrLayout) {
		t.Error(err)
	}
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add(AppendManifest(nil, someManifest())[1:])
	f.Fuzz(func(t *testing.T, body []byte) {
		// A right checksum, so that the fuzzer reaches what lies behind it.
		src := append([]byte{manifestVersion}, body...)
		src = appendSum(src, 0)
		if m, err := DecodeManifest(src); err == nil {
			if _, err := DecodeManifest(AppendManifest(nil, m)); err != nil {
				t.Error(err)
			}
		}
		if id, err := DecodeID(src); err == nil {
			if again, err := DecodeID(AppendID(nil, id)); err != nil || again != id {
				t.Error(again, err)
			}
		}
	})
}

func TestMismatchErrorSaysWhat(t *testing.T) {
	e := &MismatchError{Have: ID{Node: "ctr", Name: "w", Version: 1}, Want: ID{Node: "ctr", Name: "w", Version: 2}}
	if got, want := e.Error(), `state of operator "ctr" (w) was written by version 1, this program reads version 2; `; got[:len(want)] != want {
		t.Error(got)
	}
	e.Want = ID{Node: "ctr", Name: "w", Version: 1, Pinned: "bits: 18"}
	if got, want := e.Error(), `state of operator "ctr" (w) was written with "", the pipeline file now says "bits: 18"; `; got[:len(want)] != want {
		t.Error(got)
	}
}

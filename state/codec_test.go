package state

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type celsius float64

type inner struct {
	A int8
	B []celsius
	C [2]uint16
}

// own is a type with a codec of its own: its text reversed.
type own struct{ s string }

func (o *own) AppendState(dst []byte) []byte {
	for i := len(o.s) - 1; i >= 0; i-- {
		dst = append(dst, o.s[i])
	}
	return dst
}

var errOwn = errors.New("no x here")

func (o *own) LoadState(src []byte) error {
	if bytes.IndexByte(src, 'x') >= 0 {
		return errOwn
	}
	b := bytes.Clone(src)
	for i := range len(b) / 2 {
		b[i], b[len(b)-1-i] = b[len(b)-1-i], b[i]
	}
	o.s = string(b)
	return nil
}

type everything struct {
	Bool  bool
	I     int
	I8    int8
	I16   int16
	I32   int32
	I64   int64
	U     uint
	U8    uint8
	U16   uint16
	U32   uint32
	U64   uint64
	F32   float32
	F64   float64
	S     string
	Bytes []byte
	Fs    []float64
	Ints  []int
	Strs  []string
	Inner inner
	Many  []inner
	Raw   [3]byte
	Own   own
	Owns  []own
}

func full() everything {
	return everything{
		Bool: true, I: -7, I8: math.MinInt8, I16: math.MaxInt16, I32: math.MinInt32, I64: math.MinInt64,
		U: 9, U8: 255, U16: math.MaxUint16, U32: math.MaxUint32, U64: math.MaxUint64,
		F32: math.SmallestNonzeroFloat32, F64: math.Inf(-1), S: "héllo\x00", Bytes: []byte{0, 1, 255},
		Fs: []float64{1.5, math.Copysign(0, -1)}, Ints: []int{0, -1, 1 << 40}, Strs: []string{"", "a"},
		Inner: inner{A: 1, B: []celsius{-273.15}, C: [2]uint16{1, 2}},
		Many:  []inner{{}, {A: -1, B: []celsius{1, 2}}},
		Raw:   [3]byte{1, 2, 3}, Own: own{"abc"}, Owns: []own{{"de"}, {""}},
	}
}

func TestCodecRoundTrip(t *testing.T) {
	for _, want := range []everything{{}, full()} {
		b := Append(nil, &want)
		if byValue := Append(nil, want); !bytes.Equal(b, byValue) {
			t.Error("a value and a pointer to it encode differently")
		}
		got := full() // what was there must not shine through
		if err := Decode(b, &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmp.AllowUnexported(own{})); d != "" {
			t.Error(d)
		}
		if math.Signbit(want.F64) != math.Signbit(got.F64) {
			t.Error("sign lost")
		}
		for i := range b {
			if err := Decode(b[:i], &got); err == nil {
				t.Fatalf("a cut at byte %d of %d is not seen", i, len(b))
			}
		}
		if err := Decode(append(b, 0), &got); !errors.Is(err, ErrDamaged) {
			t.Errorf("a byte too many: %v", err)
		}
	}
}

// The bytes are part of the format: written out by hand from docs/format/state.md.
func TestCodecBytes(t *testing.T) {
	type pair struct {
		N int64
		X float32
		S string
		L []uint16
		B []byte
		A [2]bool
		O own
	}
	b := Append(nil, pair{N: -3, X: 1, S: "hi", L: []uint16{300, 1}, B: []byte{7}, A: [2]bool{true, false}, O: own{"ab"}})
	if got, want := hex.EncodeToString(b[prefixLen:]), "05"+"0000803f"+"026869"+"02ac0201"+"0107"+"0100"+"020000006261"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	l := layoutOf(reflect.TypeFor[pair]())
	if want := "{N int64;X float32;S string;L []uint16;B []uint8;A [2]bool;O codec;}"; l.text != want {
		t.Errorf("layout %s, want %s", l.text, want)
	}
	if b[0] != codecVersion {
		t.Errorf("version byte %d", b[0])
	}
}

func TestCodecRefusesOtherLayouts(t *testing.T) {
	type v1 struct{ Sum, Count float64 }
	type renamed struct{ Sum, N float64 }
	type swapped struct{ Count, Sum float64 }
	type grown struct{ Sum, Count, Max float64 }
	type retyped struct {
		Sum   float64
		Count int64
	}
	type moved struct{ Sum, Count float64 } // same shape, another name: fine
	b := Append(nil, v1{1, 2})
	for _, v := range []any{new(renamed), new(swapped), new(grown), new(retyped), new(float64)} {
		if err := Decode(b, v); !errors.Is(err, ErrLayout) {
			t.Errorf("%T: %v, want ErrLayout", v, err)
		}
	}
	var m moved
	if err := Decode(b, &m); err != nil || m != (moved{1, 2}) {
		t.Errorf("%v %v", m, err)
	}
	b[0]++
	if err := Decode(b, &m); !errors.Is(err, ErrLayout) || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("newer encoding: %v", err)
	}
}

func TestCodecReportsOwnErrors(t *testing.T) {
	b := Append(nil, own{"axe"})
	if err := Decode(b, new(own)); !errors.Is(err, errOwn) || errors.Is(err, ErrDamaged) {
		t.Errorf("%v, want the error of LoadState as it is", err)
	}
}

func TestCodecRefusesTypes(t *testing.T) {
	type withMap struct {
		Ok int
		M  map[string]int
	}
	type hidden struct {
		Ok     int
		secret int
	}
	type tree struct{ Kids []tree }
	for _, c := range []struct {
		v    any
		want string
	}{
		{withMap{}, "withMap.M is a map"},
		{hidden{secret: 1}, "hidden.secret is an unexported field"},
		{struct{ P *int }{}, ".P is a ptr"},
		{struct{ E error }{}, ".E is a interface"},
		{tree{}, "contains itself"},
		{[]struct{}{}, "without content"},
		{[][0]int{}, "without content"},
		{(*int)(nil), "nil pointer"},
	} {
		func() {
			defer func() {
				if r, _ := recover().(string); !strings.Contains(r, c.want) {
					t.Errorf("%T: panic %q, want %q in it", c.v, r, c.want)
				}
			}()
			Append(nil, c.v)
		}()
	}
}

func TestCodecAllocates(t *testing.T) {
	v := full()
	v.Owns = nil
	buf := Append(nil, &v)
	if n := testing.AllocsPerRun(100, func() { buf = Append(buf[:0], &v) }); n != 0 {
		t.Errorf("Append allocates %v times", n)
	}
	// A count of 2^60 elements in a few bytes must not be believed.
	type big struct{ L [][100]float64 }
	b := append(Append(nil, big{})[:prefixLen], 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10)
	if err := Decode(b, new(big)); !errors.Is(err, ErrDamaged) {
		t.Errorf("%v", err)
	}
}

func FuzzDecode(f *testing.F) {
	e := full()
	e.F32, e.Own.s = 0, ""
	f.Add(Append(nil, &e)[prefixLen:])
	f.Add(Append(nil, &everything{})[prefixLen:])
	prefix := Append(nil, &everything{})[:prefixLen]
	f.Fuzz(func(t *testing.T, body []byte) {
		src := append(bytes.Clone(prefix), body...)
		var v everything
		if Decode(src, &v) != nil {
			return
		}
		if v.F32 != v.F32 {
			return // a signalling NaN comes back quiet
		}
		if again := Append(nil, &v); !bytes.Equal(again, src) {
			t.Errorf("read %x, wrote %x", src, again)
		}
	})
}

func BenchmarkCodec(b *testing.B) {
	v := full()
	buf := Append(nil, &v)
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = Append(buf[:0], &v)
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := Decode(buf, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Package clicks generates the stream of click events that the benchmarks use:
// categories of which a few are frequent and many are rare, numbers, and a label
// drawn from a logistic model that is not told. The same seed gives the same
// bytes on every machine.
package clicks

import (
	"math"
	"math/rand/v2"
	"strconv"
)

// Event is one click.
type Event struct {
	User  string // the key of the record
	Value []byte // JSON, 191 bytes in the mean; borrowed until the next event
	Label bool
}

// Stream is an endless sequence of events.
type Stream struct {
	rng     *rand.Rand
	n       int
	cats    [6][]category
	weights [6]float64
	buf     []byte
}

type category struct {
	text   string
	weight float64 // in the hidden model
}

// The hidden model: a constant, a normal weight with this deviation for each
// value of a category, and a weight for each number.
const bias = -1

var (
	sizes      = [6]int{20000, 500, 10, 5, 50, 24}
	prefixes   = [6]string{"u", "s", "d", "o", "c", ""}
	deviations = [6]float64{.6, .8, .5, .3, .4, .4}
	slopes     = [6]float64{.9, -.7, .5, -.4, .3, 0}
)

// firstMillis is the time of the first event; each later one is a millisecond on.
const firstMillis = 1_700_000_000_000

// New returns a stream.
func New(seed uint64) *Stream {
	s := &Stream{rng: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), weights: slopes}
	for i := range s.cats {
		s.cats[i] = make([]category, sizes[i])
		for j := range s.cats[i] {
			s.cats[i][j] = category{prefixes[i] + strconv.Itoa(j), s.rng.NormFloat64() * deviations[i]}
		}
	}
	return s
}

// Next makes the next event. Its id is e and its number in eight digits, from 0.
func (s *Stream) Next() Event {
	logit := float64(bias)
	var cat [6]*category
	for i := range cat {
		u := s.rng.Float64()
		if i < 2 {
			u *= u // a few users and sites are frequent
		}
		cat[i] = &s.cats[i][int(u*float64(sizes[i]))]
		logit += cat[i].weight
	}
	b := append(s.buf[:0], `{"id":"`...)
	b = AppendID(b, s.n)
	b = append(b, `","ts":`...)
	b = strconv.AppendInt(b, firstMillis+int64(s.n), 10)
	for i, name := range [...]string{`,"user":"`, `","site":"`, `","dev":"`, `","os":"`, `","geo":"`, `","hour":`} {
		b = append(append(b, name...), cat[i].text...)
	}
	for i, name := range [...]string{`,"price":`, `,"age":`, `,"dwell":`, `,"depth":`, `,"score":`, `,"freq":`} {
		x := math.Round(s.rng.NormFloat64()*100)/100 + 0 // no -0
		logit += float64(s.weights[i] * x)
		b = strconv.AppendFloat(append(b, name...), x, 'f', -1, 64)
	}
	label := s.rng.Float64() < 1/(1+math.Exp(-logit))
	if label {
		b = append(b, `,"y":1}`...)
	} else {
		b = append(b, `,"y":0}`...)
	}
	s.buf = b
	s.n++
	return Event{User: cat[0].text, Value: b, Label: label}
}

// AppendID appends the id of event n.
func AppendID(b []byte, n int) []byte {
	b = append(b, 'e')
	for d := 10_000_000; d > 0; d /= 10 {
		b = append(b, '0'+byte(n/d%10))
	}
	return b
}

// ParseID returns the number of the event with the id, -1 if it is no id.
func ParseID(id []byte) int {
	if len(id) != 9 || id[0] != 'e' {
		return -1
	}
	n := 0
	for _, c := range id[1:] {
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	return n
}

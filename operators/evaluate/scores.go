package evaluate

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/evaluate/metric"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/state"
)

// scored is what is scored of a row; which parts are set depends on the kind.
type scored struct {
	number           metric.Number // of probabilities as well
	truth, predicted string        // classes
	outcome          metric.Outcome
	weight           float64
}

// scores are the metrics of the rows of one kind, all or those of a segment.
type scores struct {
	metrics []metric.Metric // in the order of the columns
	binary  []metric.Binary // each metric is in one of these
	classes []metric.Classes
	numeric []metric.Numeric
	ranked  []metric.Ranked
	values  []value // by metric, as of the last row taken up
	fresh   bool    // nothing was taken up since, nor loaded
}

type value struct {
	v       float64
	defined bool
}

func newScores(list []chosen, k kind) *scores {
	s := new(scores)
	for _, c := range list {
		switch {
		case k == probabilities:
			m := c.spec.NewBinary(c.o)
			s.binary, s.metrics = append(s.binary, m), append(s.metrics, m)
		case k == numbers:
			m := c.spec.NewNumeric(c.o)
			s.numeric, s.metrics = append(s.numeric, m), append(s.metrics, m)
		case k == classes && c.spec.Classes != nil:
			m := c.spec.NewClasses(c.o)
			s.classes, s.metrics = append(s.classes, m), append(s.metrics, m)
		default:
			m := c.spec.NewRanked(c.o)
			s.ranked, s.metrics = append(s.ranked, m), append(s.metrics, m)
		}
	}
	return s
}

// read returns the values of the metrics, which it computes if there were rows since the last time.
func (s *scores) read() []value {
	if s.fresh {
		return s.values
	}
	s.fresh, s.values = true, s.values[:0]
	for _, m := range s.metrics {
		v, ok := m.Value()
		s.values = append(s.values, value{v, ok})
	}
	return s.values
}

func (s *scores) add(r *scored) {
	s.fresh = false
	for _, m := range s.binary {
		m.UpdateBinary(r.number.Label == 1, r.number.Predicted, r.weight)
	}
	for _, m := range s.classes {
		m.UpdateClass(r.truth, r.predicted, r.weight)
	}
	for _, m := range s.numeric {
		m.UpdateNumber(r.number, r.weight)
	}
	for _, m := range s.ranked {
		m.UpdateOutcome(r.outcome, r.weight)
	}
}

func (s *scores) report(r *operators.Report, list []chosen, suffix string) {
	for i, m := range s.read() {
		if m.defined {
			r.Set(list[i].column+suffix, m.v)
		} else {
			r.SetNull(list[i].column + suffix)
		}
	}
}

// segments are the scores of the rows of each value of a column.
type segments struct {
	most    int
	metrics []chosen
	kind    kind
	s       segmentsState
	index   operators.TextIndex // of s.Names
	list    []*scores           // as s.Names
	text    []byte
}

type segmentsState struct {
	Names  []string // in the order seen
	Rows   []int64  // input rows of each
	Beyond int64    // input rows of values for which there was no room, and of nulls
}

func newSegments(most int, list []chosen, k kind) *segments {
	return &segments{most: most, metrics: list, kind: k}
}

// of counts a row and returns the number of its segment, or -1. A null has none.
func (s *segments) of(by *batch.Column, row int) int {
	if by.Null(row) {
		s.s.Beyond++
		return -1
	}
	s.text = by.AppendText(s.text[:0], row)
	if i := s.index.Place(s.s.Names, s.text); i >= 0 {
		s.s.Rows[i]++
		return i
	}
	if len(s.list) >= s.most || len(s.text) > operators.MostText {
		s.s.Beyond++
		return -1
	}
	s.s.Names, s.s.Rows = append(s.s.Names, string(s.text)), append(s.s.Rows, 1)
	s.list = append(s.list, newScores(s.metrics, s.kind))
	return len(s.list) - 1
}

// segmentsCodec stores segments: their names and rows, and for each metric its column and its states, one a segment, so that
// metrics may come and go.
type segmentsCodec struct{ s *segments }

// AppendState implements [state.Codec].
func (c *segmentsCodec) AppendState(dst []byte) []byte {
	s := c.s
	part := func(v any) {
		at := len(dst)
		dst = state.Append(append(dst, 0, 0, 0, 0), v)
		binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	}
	part(&s.s)
	for i, m := range s.metrics {
		dst = binary.AppendUvarint(dst, uint64(len(m.column)))
		dst = append(dst, m.column...)
		for _, scores := range s.list {
			part(scores.metrics[i].State())
			if f, ok := scores.metrics[i].(metric.Fading); ok {
				part(f.Fade())
			} else {
				part(&metric.FadeState{})
			}
		}
	}
	return dst
}

// LoadState implements [state.Codec].
func (c *segmentsCodec) LoadState(src []byte) error {
	s := c.s
	errCut := errors.New("the segments of evaluate are cut")
	part := func() (b []byte, ok bool) {
		if len(src) < 4 {
			return nil, false
		}
		n := uint64(binary.LittleEndian.Uint32(src))
		if n > uint64(len(src)-4) {
			return nil, false
		}
		b, src = src[4:4+n], src[4+n:]
		return b, true
	}
	b, ok := part()
	if !ok {
		return errCut
	}
	s.s = segmentsState{}
	if err := state.Decode(b, &s.s); err != nil {
		return err
	}
	if len(s.s.Rows) != len(s.s.Names) {
		return errCut
	}
	s.list = s.list[:0]
	for range s.s.Names {
		s.list = append(s.list, newScores(s.metrics, s.kind))
	}
	for len(src) > 0 {
		n, k := binary.Uvarint(src)
		if k <= 0 || n > uint64(len(src)-k) {
			return errCut
		}
		column := string(src[k : k+int(n)])
		src = src[k+int(n):]
		i := slices.IndexFunc(s.metrics, func(m chosen) bool { return m.column == column })
		for _, scores := range s.list {
			value, ok1 := part()
			faded, ok2 := part()
			if !ok1 || !ok2 {
				return errCut
			}
			if i < 0 {
				continue // a metric that is not wanted any more
			}
			if err := state.Decode(value, scores.metrics[i].State()); err != nil {
				return err
			}
			if f, ok := scores.metrics[i].(metric.Fading); ok {
				if err := state.Decode(faded, f.Fade()); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

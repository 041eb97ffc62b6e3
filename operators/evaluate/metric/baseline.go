package metric

// BaselineState sums up the weights of a model's right predictions beside those of a baseline that sees only labels.
type BaselineState struct {
	Rows, Right float64
	Baseline    float64 // weight of rows that the baseline got right
	Last        []byte  // kappa_t: a 1 and the last label; empty before the first
	Labels      Table   // kappa_m: how often each label came, by weight
	Top         float64 // kappa_m: how often the commonest did
}

// againstBaseline is 1 − the model's errors / the baseline's errors: 1 is perfect, 0 as good as the baseline, below 0 worse.
type againstBaseline struct {
	s BaselineState
	// score updates the baseline with a label and tells whether it had it right.
	score func(s *BaselineState, label string, w float64) bool
}

// lastLabel predicts the label of the row before; it has none for the first row, which counts as an error.
func lastLabel(s *BaselineState, label string, _ float64) bool {
	if len(s.Last) > 0 && string(s.Last[1:]) == label {
		return true
	}
	s.Last = append(append(s.Last[:0], 1), label...)
	return false
}

// majority predicts the commonest label up to and including this row's; of equals the last by name, so true before false.
func majority(s *BaselineState, label string, w float64) bool {
	s.Labels.UpdateClass(label, label, w)
	i := s.Labels.index(label)
	if i < 0 || s.Labels.Class[i].Label < s.Top {
		return false
	}
	if s.Labels.Class[i].Label > s.Top {
		s.Top = s.Labels.Class[i].Label
		return true
	}
	for j := i + 1; j < len(s.Labels.Class); j++ {
		if s.Labels.Class[j].Label == s.Top {
			return false
		}
	}
	return true
}

// UpdateClass implements Classes.
func (m *againstBaseline) UpdateClass(label, predicted string, w float64) {
	s := &m.s
	s.Rows += w
	if label == predicted {
		s.Right += w
	}
	if m.score(s, label, w) {
		s.Baseline += w
	}
}

// UpdateBinary implements Binary.
func (m *againstBaseline) UpdateBinary(label bool, p, w float64) {
	if p == p { // not NaN
		m.UpdateClass(side(label), side(p > 0.5), w)
	}
}

func side(b bool) string {
	if b {
		return "1"
	}
	return "0"
}

// Value implements Metric; it is undefined while the baseline has made no mistake.
func (m *againstBaseline) Value() (float64, bool) {
	s := &m.s
	if s.Labels.Full {
		return 0, false
	}
	errs, ok := ratio(s.Rows-s.Right, s.Rows-s.Baseline)
	if !ok {
		return 0, false
	}
	return 1 - errs, true
}

// Merge implements Metric. The baselines are scored each on its own part of the rows, so a merged value differs slightly
// from that of the rows in one piece.
func (m *againstBaseline) Merge(other Metric) error {
	o, ok := other.(*againstBaseline)
	if !ok {
		return mismatch(m, other)
	}
	s := &m.s
	s.Rows += o.s.Rows
	s.Right += o.s.Right
	s.Baseline += o.s.Baseline
	s.Labels.add(&o.s.Labels)
	if len(o.s.Last) > 0 {
		s.Last = append(s.Last[:0], o.s.Last...)
	}
	for i := range s.Labels.Class {
		s.Top = max(s.Top, s.Labels.Class[i].Label)
	}
	return nil
}

// Reset implements Metric.
func (m *againstBaseline) Reset() {
	m.s.Labels.reset()
	m.s = BaselineState{Labels: m.s.Labels, Last: m.s.Last[:0]}
}

// Scale implements Scaler.
func (m *againstBaseline) Scale(f float64) {
	scale(f, &m.s.Rows, &m.s.Right, &m.s.Baseline, &m.s.Top)
	m.s.Labels.scale(f)
}

// State implements Metric; the pointer is a *BaselineState.
func (m *againstBaseline) State() any { return &m.s }

func init() {
	register(Spec{Name: "kappa_t", Best: Higher, Lo: -1e18, Hi: 1,
		Doc:     "Skill against repeating the last label: 1 − errors / its errors, 0 where it is no better, negative where it is worse; undefined before the first row.",
		Binary:  func(Options) Binary { return &againstBaseline{score: lastLabel} },
		Classes: func(Options) Classes { return &againstBaseline{score: lastLabel} }})
	register(Spec{Name: "kappa_m", Best: Higher, Lo: -1e18, Hi: 1,
		Doc:     "Skill against the commonest label so far: 1 − errors / its errors, 0 where it is no better, negative where it is worse; undefined until it errs.",
		Binary:  func(Options) Binary { return &againstBaseline{score: majority} },
		Classes: func(Options) Classes { return &againstBaseline{score: majority} }})
}

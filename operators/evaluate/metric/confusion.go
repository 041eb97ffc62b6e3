package metric

import "math"

// Confusion sums up the weights of the four outcomes of a binary prediction.
type Confusion struct {
	TruePos, FalsePos, TrueNeg, FalseNeg float64
}

// UpdateBinary implements Binary.
func (c *Confusion) UpdateBinary(label bool, p, w float64) {
	switch {
	case p > 0.5:
		if label {
			c.TruePos += w
		} else {
			c.FalsePos += w
		}
	case p <= 0.5: // neither holds for NaN
		if label {
			c.FalseNeg += w
		} else {
			c.TrueNeg += w
		}
	}
}

func (c *Confusion) add(o *Confusion) {
	c.TruePos += o.TruePos
	c.FalsePos += o.FalsePos
	c.TrueNeg += o.TrueNeg
	c.FalseNeg += o.FalseNeg
}

// Rows returns the weight of the rows counted.
func (c *Confusion) Rows() float64 { return c.TruePos + c.FalsePos + c.TrueNeg + c.FalseNeg }

// Accuracy is the share of right predictions.
func (c *Confusion) Accuracy() (float64, bool) { return ratio(c.TruePos+c.TrueNeg, c.Rows()) }

// Precision is the share of true labels among positive predictions; undefined without a positive prediction.
func (c *Confusion) Precision() (float64, bool) { return ratio(c.TruePos, c.TruePos+c.FalsePos) }

// Recall is the share of positive predictions among true labels; undefined without a true label.
func (c *Confusion) Recall() (float64, bool) { return ratio(c.TruePos, c.TruePos+c.FalseNeg) }

// F1 is the harmonic mean of precision and recall, 2TP/(2TP+FP+FN); undefined when all labels and predictions are false.
func (c *Confusion) F1() (float64, bool) {
	return ratio(2*c.TruePos, 2*c.TruePos+c.FalsePos+c.FalseNeg)
}

// BalancedAccuracy is the mean of the recalls of the two classes; undefined until both were seen.
func (c *Confusion) BalancedAccuracy() (float64, bool) {
	pos, ok1 := c.Recall()
	neg, ok2 := ratio(c.TrueNeg, c.TrueNeg+c.FalsePos)
	if !ok1 || !ok2 {
		return 0, false
	}
	return (pos + neg) / 2, true
}

// Kappa is Cohen's: accuracy above that of chance with the same class shares, as a part of what is left to gain; undefined
// when labels and predictions are all of one class.
func (c *Confusion) Kappa() (float64, bool) {
	if c.Rows() == 0 {
		return 0, false
	}
	n := c.Rows()
	agree := (c.TruePos + c.TrueNeg) / n
	pos := (c.TruePos + c.FalseNeg) / n * ((c.TruePos + c.FalsePos) / n)
	neg := (c.TrueNeg + c.FalsePos) / n * ((c.TrueNeg + c.FalseNeg) / n)
	return kappa(agree, float64(pos)+float64(neg))
}

// MCC is Matthews' correlation coefficient of labels and predictions; undefined when either is all of one class.
func (c *Confusion) MCC() (float64, bool) {
	n := c.Rows()
	if n == 0 {
		return 0, false
	}
	cov := float64(c.TruePos/n*(c.TrueNeg/n)) - float64(c.FalsePos/n*(c.FalseNeg/n))
	labels := (c.TruePos + c.FalseNeg) / n * ((c.TrueNeg + c.FalsePos) / n)
	predictions := (c.TruePos + c.FalsePos) / n * ((c.TrueNeg + c.FalseNeg) / n)
	return correlation(cov, labels, predictions)
}

// correlation is cov/√(a·b) within [-1, 1], undefined where a variance is zero.
func correlation(cov, a, b float64) (float64, bool) {
	if a <= 0 || b <= 0 {
		return 0, false
	}
	v, ok := defined(cov / (math.Sqrt(a) * math.Sqrt(b)))
	return max(-1, min(1, v)), ok
}

// kappa is (p − e)/(1 − e), undefined at e = 1.
func kappa(p, e float64) (float64, bool) {
	if e >= 1 {
		return 0, false
	}
	return defined((p - e) / (1 - e))
}

// confusionMetric is a Confusion with one of its readings.
type confusionMetric struct {
	c    Confusion
	read func(*Confusion) (float64, bool)
}

func fromConfusion(read func(*Confusion) (float64, bool)) func(Options) Binary {
	return func(Options) Binary { return &confusionMetric{read: read} }
}

func (m *confusionMetric) UpdateBinary(label bool, p, w float64) { m.c.UpdateBinary(label, p, w) }
func (m *confusionMetric) Value() (float64, bool)                { return m.read(&m.c) }
func (m *confusionMetric) Reset()                                { m.c = Confusion{} }
func (m *confusionMetric) State() any                            { return &m.c }

// Scale implements Scaler.
func (m *confusionMetric) Scale(f float64) {
	scale(f, &m.c.TruePos, &m.c.FalsePos, &m.c.TrueNeg, &m.c.FalseNeg)
}

func (m *confusionMetric) Merge(other Metric) error {
	o, ok := other.(*confusionMetric)
	if !ok {
		return mismatch(m, other)
	}
	m.c.add(&o.c)
	return nil
}

func init() {
	register(Spec{Name: "accuracy", Best: Higher, Hi: 1,
		Doc:    "Share of rows whose predicted class is the label.",
		Binary: fromConfusion((*Confusion).Accuracy), Classes: fromTable((*Table).Accuracy)})
	register(Spec{Name: "precision", Best: Higher, Hi: 1,
		Doc:    "Share of true labels among positive predictions; undefined before the first positive prediction.",
		Binary: fromConfusion((*Confusion).Precision)})
	register(Spec{Name: "recall", Best: Higher, Hi: 1,
		Doc:    "Share of true labels that were predicted positive; undefined before the first true label.",
		Binary: fromConfusion((*Confusion).Recall)})
	register(Spec{Name: "f1", Best: Higher, Hi: 1,
		Doc:    "Harmonic mean of precision and recall; undefined before the first true label or positive prediction.",
		Binary: fromConfusion((*Confusion).F1)})
	register(Spec{Name: "balanced_accuracy", Best: Higher, Hi: 1,
		Doc:    "Mean of the recalls of the classes seen as labels; for true and false undefined until both were seen.",
		Binary: fromConfusion((*Confusion).BalancedAccuracy), Classes: fromTable((*Table).BalancedAccuracy)})
	register(Spec{Name: "kappa", Best: Higher, Lo: -1, Hi: 1,
		Doc:    "Cohen's kappa: accuracy above that of chance with the same class shares; undefined while there is one class only.",
		Binary: fromConfusion((*Confusion).Kappa), Classes: fromTable((*Table).Kappa)})
	register(Spec{Name: "mcc", Best: Higher, Lo: -1, Hi: 1,
		Doc:    "Matthews' correlation coefficient of labels and predictions, for more than two classes Gorodkin's; undefined while either is all of one class.",
		Binary: fromConfusion((*Confusion).MCC), Classes: fromTable((*Table).MCC)})
}

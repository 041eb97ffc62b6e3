package metric

import "slices"

// MaxClasses bounds the classes a Table tells apart, and with them its memory. Beyond it the metrics that need classes
// become undefined; accuracy does not.
const MaxClasses = 4096

// Class counts one class.
type Class struct {
	Name                   []byte
	Label, Predicted, Both int64 // rows with this label, with this prediction, and with both
}

// Table counts labels and predictions by class name.
type Table struct {
	Rows, Right int64
	Class       []Class // sorted by name
	Full        bool    // more than MaxClasses were seen
}

// UpdateClass implements Classes.
func (t *Table) UpdateClass(label, predicted string) {
	t.Rows++
	if label == predicted {
		t.Right++
		if i := t.index(label); i >= 0 {
			c := &t.Class[i]
			c.Label++
			c.Predicted++
			c.Both++
		}
		return
	}
	if i := t.index(label); i >= 0 {
		t.Class[i].Label++
	}
	if i := t.index(predicted); i >= 0 {
		t.Class[i].Predicted++
	}
}

// index finds or adds a class; -1 when there is no room.
func (t *Table) index(name string) int {
	lo, hi := 0, len(t.Class)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		switch known := t.Class[mid].Name; {
		case string(known) == name:
			return mid
		case string(known) < name:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	if len(t.Class) >= MaxClasses {
		t.Full = true
		return -1
	}
	t.Class = slices.Insert(t.Class, lo, Class{Name: []byte(name)})
	return lo
}

func (t *Table) add(o *Table) {
	t.Rows += o.Rows
	t.Right += o.Right
	t.Full = t.Full || o.Full
	for _, c := range o.Class {
		if i := t.index(string(c.Name)); i >= 0 {
			t.Class[i].Label += c.Label
			t.Class[i].Predicted += c.Predicted
			t.Class[i].Both += c.Both
		}
	}
}

// Accuracy is the share of right predictions.
func (t *Table) Accuracy() (float64, bool) { return ratio(t.Right, t.Rows) }

// Kappa is Cohen's, as Confusion.Kappa.
func (t *Table) Kappa() (float64, bool) {
	if t.Rows == 0 || t.Full {
		return 0, false
	}
	n, chance := float64(t.Rows), 0.0
	for i := range t.Class {
		chance += float64(float64(t.Class[i].Label) / n * (float64(t.Class[i].Predicted) / n))
	}
	return kappa(float64(t.Right)/n, chance)
}

// BalancedAccuracy is the mean recall of the classes seen as labels.
func (t *Table) BalancedAccuracy() (float64, bool) {
	return t.mean(func(c *Class) (float64, bool) { return ratio(c.Both, c.Label) })
}

// MacroF1 is the mean over all classes, seen as label or prediction, of the class's F1.
func (t *Table) MacroF1() (float64, bool) {
	return t.mean(func(c *Class) (float64, bool) { return ratio(2*c.Both, c.Label+c.Predicted) })
}

// mean averages a figure over the classes that have it.
func (t *Table) mean(of func(*Class) (float64, bool)) (float64, bool) {
	if t.Full {
		return 0, false
	}
	sum, n := 0.0, 0.0
	for i := range t.Class {
		if v, ok := of(&t.Class[i]); ok {
			sum += v
			n++
		}
	}
	if n == 0 {
		return 0, false
	}
	return sum / n, true
}

// tableMetric is a Table with one of its readings.
type tableMetric struct {
	t    Table
	read func(*Table) (float64, bool)
}

func fromTable(read func(*Table) (float64, bool)) func(Options) Classes {
	return func(Options) Classes { return &tableMetric{read: read} }
}

func (m *tableMetric) UpdateClass(label, predicted string) { m.t.UpdateClass(label, predicted) }
func (m *tableMetric) Value() (float64, bool)              { return m.read(&m.t) }
func (m *tableMetric) Reset()                              { m.t = Table{} }
func (m *tableMetric) State() any                          { return &m.t }

func (m *tableMetric) Merge(other Metric) error {
	o, ok := other.(*tableMetric)
	if !ok {
		return mismatch(m, other)
	}
	m.t.add(&o.t)
	return nil
}

func init() {
	register(Spec{Name: "macro_f1", Best: Higher, Hi: 1,
		Doc:     "Mean over the classes of the class's F1, each class counting the same.",
		Classes: fromTable((*Table).MacroF1)})
}

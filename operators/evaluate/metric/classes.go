package metric

import "slices"

// MaxClasses bounds the classes a Table tells apart, and with them its memory. Beyond it the metrics that need classes
// become undefined; accuracy does not.
const MaxClasses = 4096

// Class counts one class.
type Class struct {
	Name                   []byte
	Label, Predicted, Both float64 // weight of rows with this label, with this prediction, and with both
}

// Table counts labels and predictions by class name.
type Table struct {
	Rows, Right float64
	Class       []Class // sorted by name
	Full        bool    // more than MaxClasses were seen
}

// UpdateClass implements Classes.
func (t *Table) UpdateClass(label, predicted string, w float64) {
	t.Rows += w
	if label == predicted {
		t.Right += w
		if i := t.index(label); i >= 0 {
			c := &t.Class[i]
			c.Label += w
			c.Predicted += w
			c.Both += w
		}
		return
	}
	if i := t.index(label); i >= 0 {
		t.Class[i].Label += w
	}
	if i := t.index(predicted); i >= 0 {
		t.Class[i].Predicted += w
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

// reset forgets all rows. The names stay, with nothing counted, for the sake of their memory.
func (t *Table) reset() {
	names := t.Class
	if t.Full || len(names) == MaxClasses {
		names = nil
	}
	*t = Table{Class: names}
	for i := range t.Class {
		t.Class[i] = Class{Name: t.Class[i].Name}
	}
}

func (t *Table) scale(f float64) {
	scale(f, &t.Rows, &t.Right)
	for i := range t.Class {
		c := &t.Class[i]
		scale(f, &c.Label, &c.Predicted, &c.Both)
	}
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
	n, chance := t.Rows, 0.0
	for i := range t.Class {
		chance += float64(t.Class[i].Label / n * (t.Class[i].Predicted / n))
	}
	return kappa(t.Right/n, chance)
}

// BalancedAccuracy is the mean recall of the classes seen as labels.
func (t *Table) BalancedAccuracy() (float64, bool) {
	return t.mean(func(c *Class) (float64, bool) { return ratio(c.Both, c.Label) })
}

// MCC is Matthews' correlation coefficient in Gorodkin's form for several classes.
func (t *Table) MCC() (float64, bool) {
	if t.Rows == 0 || t.Full {
		return 0, false
	}
	n, cov, labels, predictions := t.Rows, t.Right/t.Rows, 1.0, 1.0
	for i := range t.Class {
		l, p := t.Class[i].Label/n, t.Class[i].Predicted/n
		cov -= float64(l * p)
		labels -= float64(l * l)
		predictions -= float64(p * p)
	}
	const rounding = 1e-15
	if labels < rounding || predictions < rounding {
		return 0, false
	}
	return correlation(cov, labels, predictions)
}

// mean averages a figure over the classes that have it.
func (t *Table) mean(of func(*Class) (float64, bool)) (float64, bool) {
	return t.average(of, func(*Class) float64 { return 1 })
}

// average averages a figure over the classes that have it, with weights.
func (t *Table) average(of func(*Class) (float64, bool), weight func(*Class) float64) (float64, bool) {
	if t.Full {
		return 0, false
	}
	sum, n := 0.0, 0.0
	for i := range t.Class {
		if v, ok := of(&t.Class[i]); ok {
			w := weight(&t.Class[i])
			sum += float64(v * w)
			n += w
		}
	}
	return ratio(sum, n)
}

// orZero makes a figure of a class zero where it is undefined and the class was seen: that is how precision and recall are
// averaged everywhere.
func orZero(of func(*Class) (float64, bool)) func(*Class) (float64, bool) {
	return func(c *Class) (float64, bool) {
		v, ok := of(c)
		return v, ok || c.Label+c.Predicted > 0
	}
}

var perClass = map[string]func(*Class) (float64, bool){
	"precision": func(c *Class) (float64, bool) { return ratio(c.Both, c.Predicted) },
	"recall":    func(c *Class) (float64, bool) { return ratio(c.Both, c.Label) },
	"f1":        func(c *Class) (float64, bool) { return ratio(2*c.Both, c.Label+c.Predicted) },
}

// tableMetric is a Table with one of its readings.
type tableMetric struct {
	t    Table
	read func(*Table) (float64, bool)
}

func fromTable(read func(*Table) (float64, bool)) func(Options) Classes {
	return func(Options) Classes { return &tableMetric{read: read} }
}

func (m *tableMetric) UpdateClass(label, predicted string, w float64) {
	m.t.UpdateClass(label, predicted, w)
}
func (m *tableMetric) Value() (float64, bool) { return m.read(&m.t) }
func (m *tableMetric) Reset()                 { m.t.reset() }
func (m *tableMetric) Scale(f float64)        { m.t.scale(f) }
func (m *tableMetric) State() any             { return &m.t }

func (m *tableMetric) Merge(other Metric) error {
	o, ok := other.(*tableMetric)
	if !ok {
		return mismatch(m, other)
	}
	m.t.add(&o.t)
	return nil
}

func init() {
	for _, average := range []struct{ name, doc string }{
		{"macro", "mean over the classes, each counting the same"},
		{"weighted", "mean over the classes, each counting by its labels"},
	} {
		for name, of := range perClass {
			of, weight := orZero(of), func(*Class) float64 { return 1 }
			if average.name == "weighted" {
				weight = func(c *Class) float64 { return c.Label }
			}
			register(Spec{Name: average.name + "_" + name, Best: Higher, Hi: 1,
				Doc:     average.doc + ", of the " + name + " of the class, which counts as 0 where it is undefined",
				Classes: fromTable(func(t *Table) (float64, bool) { return t.average(of, weight) })})
		}
	}
	for name := range perClass {
		register(Spec{Name: "micro_" + name, Best: Higher, Hi: 1,
			Doc:     name + " of all decisions in one pot, which for one class a row is the accuracy",
			Classes: fromTable((*Table).Accuracy)})
	}
}

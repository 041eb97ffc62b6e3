package admin

import (
	"math"

	"github.com/gradstream/gradstream/operators"
)

// How the numbers of several tasks make one.
const (
	summed   = iota + 1 // counts
	mean                // means over rows: weighted by the rows
	meanRoot            // roots of means over rows
)

var merging = map[string]int{
	"rows": summed, "version": summed, "drifts": summed, "warnings": summed, "weights_nonzero": summed,
	"accuracy": mean, "log_loss": mean, "mae": mean, "mse": mean, "loss": mean,
	"rmse": meanRoot, "weights_l2": 0,
}

// Merge combines what the tasks report of one node, as far as their numbers alone
// allow: counts are added, means over rows are weighted by the rows (which is
// exact where every row had a label). Others, such as the area under the ROC
// curve, do not follow from those of the parts: with more than one task they are
// null. Names and order are those of the first task.
func Merge(tasks [][]operators.Value) []operators.Value {
	if len(tasks) == 0 {
		return nil
	}
	if len(tasks) == 1 {
		return tasks[0]
	}
	out := make([]operators.Value, len(tasks[0]))
	for i, v := range tasks[0] {
		out[i] = merged(v.Name, tasks)
	}
	return out
}

func merged(name string, tasks [][]operators.Value) operators.Value {
	how := merging[name]
	sum, weight := 0.0, 0.0
	for _, t := range tasks {
		v, ok := get(t, name)
		if !ok {
			continue
		}
		switch how {
		case summed:
			sum, weight = sum+v, 1
		case mean, meanRoot:
			n := 1.0
			if rows, ok := get(t, "rows"); ok {
				n = rows
			} else if version, ok := get(t, "version"); ok {
				n = version
			}
			if how == meanRoot {
				v *= v
			}
			sum, weight = sum+n*v, weight+n
		}
	}
	switch {
	case weight == 0:
		return operators.Value{Name: name, Null: true}
	case how == mean:
		sum /= weight
	case how == meanRoot:
		sum = math.Sqrt(sum / weight)
	}
	return operators.Value{Name: name, Number: sum}
}

func get(values []operators.Value, name string) (float64, bool) {
	r := operators.Report{Values: values}
	return r.Get(name)
}

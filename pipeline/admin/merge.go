package admin

import (
	"math"
	"strings"

	"github.com/gradstream/gradstream/operators"
)

// How the numbers of several tasks make one.
const (
	summed   = iota + 1 // counts
	mean                // means over rows: weighted by the rows
	meanRoot            // roots of means over rows
)

var merging = map[string]int{
	"rows": summed, "rows_beyond_segments": summed, "version": summed, "drifts": summed, "warnings": summed, "swaps": summed, "found": summed, "missing": summed, "weights_nonzero": summed,
	"accuracy": mean, "brier": mean, "coverage": mean, "hit_rate": mean, "interval_width": mean, "log_loss": mean, "loss": mean, "mae": mean,
	"mrr": mean, "mse": mean, "ndcg": mean, "pinball": mean, "smape": mean,
	"rmse": meanRoot, "rmsle": meanRoot,
}

// Merge combines what the tasks report of one node, as far as their numbers alone
// allow: counts are added, means over rows are weighted by the rows (which is
// exact where every row had a label). Others, such as the area under the ROC
// curve, do not follow from those of the parts: with more than one task they are
// null. A segment, as in accuracy[EWR], counts over the tasks that know it. Names
// are in the order in which the tasks first say them.
func Merge(tasks [][]operators.Value) []operators.Value {
	if len(tasks) == 0 {
		return nil
	}
	if len(tasks) == 1 {
		return tasks[0]
	}
	var names []string
	known := map[string]bool{}
	numbers := make([]map[string]float64, len(tasks))
	for i, values := range tasks {
		numbers[i] = make(map[string]float64, len(values))
		for _, v := range values {
			if !known[v.Name] {
				known[v.Name] = true
				names = append(names, v.Name)
			}
			if !v.Null {
				numbers[i][v.Name] = v.Number
			}
		}
	}
	out := make([]operators.Value, len(names))
	for i, name := range names {
		out[i] = merged(name, numbers)
	}
	return out
}

func merged(name string, tasks []map[string]float64) operators.Value {
	metric, segment := name, ""
	if at := strings.IndexByte(name, '['); at > 0 {
		metric, segment = name[:at], name[at:]
	}
	how := merging[metric]
	sum, weight := 0.0, 0.0
	for _, t := range tasks {
		v, ok := t[name]
		if !ok {
			continue
		}
		switch how {
		case summed:
			sum, weight = sum+v, 1
		case mean, meanRoot:
			n := 1.0
			if rows, ok := t["rows"+segment]; ok {
				n = rows
			} else if version, ok := t["version"]; ok {
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

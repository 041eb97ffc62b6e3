package learn

import (
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators/optest"
)

const (
	binaryRows  = "features:sparse[64],y:bool?\n3:1 5:0.5,true\n1:-2 3:1,false\n2:1,\n63:3 0:1 63:1,true\n,false\n"
	numberRows  = "features:sparse[64],y:int64?\n3:1 5:0.5,1\n1:-2 3:1,0\n2:1,\n5:1,7\n"
	classRows   = "features:sparse[64],w:float64?,y:string?\n3:1 5:0.5,1,red\n1:-2 3:1,0.5,blue\n2:1,2,\n63:3 0:1 63:1,,green\n,0,blue\n"
	weightRows  = "features:sparse[64],w:float64?,y:float64?\n3:1 5:0.5,1,10\n1:-2 3:1,0.5,12.5\n2:1,2,\n63:3 0:1 63:1,,-3\n,0,1e6\n"
	countRows   = "features:sparse[64],w:float64?,y:float64?\n3:1 5:0.5,1,10\n1:-2 3:1,0.5,0\n2:1,2,\n63:3 0:1 63:1,,-3\n5:2,,0.25\n,0,1e6\n"
	labelRows   = "features:sparse[64],w:float64?,y:bool?,z:float64?,n:int64?\n3:1 5:0.5,1,true,10,3\n1:-2 3:1,0.5,false,12.5,\n2:1,2,,,\n63:3 0:1 63:1,,,-3,1\n,0,true,1e6,0\n"
	regressRows = "features:sparse[64],y:float64?\n3:1 5:0.5,10\n1:-2 3:1,12.5\n2:1,\n63:3 0:1 63:1,-3\n,1e6\n"
)

// Every optimizer, every loss, every way to treat the intercept.
var optimizers4tests = []string{
	"sgd", "{sgd: {rate: 0.1, schedule: invscaling}}", "{sgd: {schedule: {optimal: {alpha: 0.01}}}}",
	"momentum", "nesterov", "adagrad", "rmsprop", "adam", "{ftrl: {l1: 0.01, l2: 0.1}}",
	"normalized", "{sgd: {invariant: true}}", "{adagrad: {invariant: true}}", "{normalized: {power: 0.7}}",
	"coin", "mixture", "{coin: {alpha: 2, beta: 0.5}}", "{mixture: {rate: 0.5}}",
	"adadelta", "adamax", "nadam", "amsgrad", "adabound",
	"pistol", "freegrad", "{sgd: {rate: 0.1, schedule: {invscaling: {initial_t: 10}}}}",
}

func TestFamily(t *testing.T) {
	var cases []optest.Case
	add := func(operator, in, config string) {
		cases = append(cases, optest.Case{Operator: operator, Name: strings.Trim(config, "{}"), In: in, Config: config})
	}
	for i, o := range optimizers4tests {
		extra := []string{"", ", intercept: false", ", intercept: {rate: 0.01}", ", l2: 0.01"}[i%4]
		if i >= 9 { // those whose intercept goes with the weights
			extra = []string{"", ", intercept: false"}[i%2]
			if strings.Contains(o, "invariant") {
				extra += ", l1: 0.001, l2: 0.01"
			}
		}
		add("logistic_regression", binaryRows, "{label: y, optimizer: "+o+extra+"}")
		scale := []string{"", ", label_scale: none"}[i%2]
		add("linear_regression", regressRows, "{label: y, optimizer: "+o+extra+scale+"}")
	}
	add("logistic_regression", binaryRows, "{label: y, optimizer: sgd, l1: 0.01}")
	add("logistic_regression", binaryRows, "{label: y, loss: hinge}")
	add("logistic_regression", numberRows, "{label: y}")
	add("linear_regression", regressRows, "{label: y, loss: absolute, clip: 0}")
	add("linear_regression", regressRows, "{label: y, loss: {huber: {delta: 2}}}")
	add("linear_regression", regressRows, "{label: y, loss: {quantile: {tau: 0.9}}}")
	for i, o := range []string{"mixture", "sgd", "{sgd: {invariant: true}}", "normalized", "freegrad", "coin"} {
		add("linear_regression", countRows, "{label: y, loss: poisson, optimizer: "+o+[]string{"", ", weight: w"}[i%2]+"}")
	}
	add("linear_regression", regressRows, "{label: y, optimizer: {sgd: {rate: 1}}, clip: 0, label_scale: none}")
	add("linear_regression", numberRows, "{label: y}")
	add("linear_regression", regressRows, "{label: y, bounds: none}")
	add("linear_regression", numberRows, "{label: y, bounds: none, label_scale: none, optimizer: sgd}")
	cases = append(cases, moreCases...)
	cases = append(cases, driftCases...)
	for i, o := range []string{"sgd", "nesterov", "adagrad", "{ftrl: {l1: 0.01}}", "normalized", "coin", "mixture", "{sgd: {invariant: true}}"} {
		extra := []string{"", ", intercept: false", ", classes: [green, red, blue]", ", weight: w"}[i%4]
		add("softmax", classRows, "{label: y, optimizer: "+o+extra+"}")
		add("one_vs_rest", classRows, "{label: y, optimizer: "+o+extra+"}")
	}
	for _, o := range []string{"softmax", "one_vs_rest", "perceptron", "passive_aggressive"} {
		add(o, binaryRows, "{label: y, class_weights: [1, 2.5]}")
		add(o, classRows, "{label: y, max_classes: 2, weight: w}")
	}
	for _, v := range []string{"PA", "PA-I", "PA-II"} {
		add("passive_aggressive", classRows, "{label: y, c: 0.1, variant: "+v+"}")
		add("passive_aggressive_regression", regressRows, "{label: y, epsilon: 0.5, variant: "+v+"}")
	}
	add("alma", binaryRows, "{label: y}")
	add("alma", numberRows, "{label: y, intercept: false, alpha: 0.5, b: 2, c: 1e5}")
	add("conformal", "p,y:float64?\n1,2\n1.5,1\n3,\n-2,8\n", "{prediction: p, label: y}")
	add("conformal", "p:float64?,y:int64?\n1,2\n1.5,1\n3,\n,8\n", "{prediction: p, label: y, window: 20, rate: 0.1, coverage: 0.8}")
	add("passive_aggressive_regression", weightRows, "{label: y, weight: w, intercept: false}")
	add("logistic_regression", binaryRows, "{label: y, class_weights: [1, 3], optimizer: adagrad}")
	for _, o := range []string{"mixture", "normalized", "sgd", "coin"} {
		add("linear_regression", weightRows, "{label: y, weight: w, optimizer: "+o+"}")
	}
	optest.TestFamily(t, &Family, cases...)
}

package learn

import (
	"math"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators/optest"
)

// Rows of learners that read columns of their own.
const (
	denseWeights = "a,b:float64?,s:string?,w:float64?,y:bool?\n1,2,u,1,true\n-1,,v,2.5,false\n0.5,2,,1,\n1e3,-4,u,,true\n0,0,w,0,false\n"
	denseBinary  = "a,b:float64?,c:int64?,d:bool,s:string?,y:bool?\n1,2,3,true,u,true\n-1,,7,false,v,false\n0.5,2,,true,,\n1e3,-4,2,false,u,true\n0,0,0,false,w,false\n"
	denseClass   = "a,b:float64?,c:int64?,d:bool,s:string?,y:string?\n1,2,3,true,u,red\n-1,,7,false,v,blue\n0.5,2,,true,,\n1e3,-4,2,false,u,green\n0,0,0,false,w,blue\n"
	denseNumber  = "a,b:float64?,c:int64?,d:bool,s:string?,y:float64?\n1,2,3,true,u,1.5\n-1,,7,false,v,-2\n0.5,2,,true,,\n1e3,-4,2,false,u,10\n0,0,0,false,w,0\n"
)

const (
	ratings = "user:string,item:string?,y:float64?\nann,x,5\nann,y,1\nbob,x,1\nbob,,5\nann,x,\n"
	choices = "user:int64?,item:string?,y:bool?\n1,x,true\n1,y,true\n2,x,false\n,y,true\n1,x,\n"
)

var moreCases = []optest.Case{
	{Operator: "gaussian_naive_bayes", Name: "binary", In: denseBinary, Config: "{label: y}"},
	{Operator: "gaussian_naive_bayes", Name: "classes as seen, plain", In: denseClass, Config: "{label: y, density: plain}"},
	{Operator: "gaussian_naive_bayes", Name: "classes given, floored", In: denseClass, Config: "{label: y, density: floored, classes: [green, red, blue, black], numeric: [a, b, d]}"},
	{Operator: "gaussian_naive_bayes", Name: "numbers as classes", In: denseNumber, Config: "{label: c, predict: class, max_classes: 10, numeric: [a, y]}"},
	{Operator: "hoeffding_tree", Name: "binary", In: denseBinary, Config: "{label: y, grace_period: 20, categorical: [s], tie_threshold: 2}", Allocates: "a split takes memory"},
	{Operator: "hoeffding_tree", Name: "classes, full", In: denseClass, Config: "{label: y, grace_period: 10, delta: 0.1, max_leaves: 4, max_values: 3, categorical: [s], tie_threshold: 2}"},
	{Operator: "hoeffding_tree", Name: "bayes", In: denseNumber, Config: "{label: c, predict: class, max_classes: 10, grace_period: 30, numeric: [a, y], leaf: bayes, max_leaves: 3, tie_threshold: 2}"},
	{Operator: "hoeffding_tree", Name: "majority", In: denseClass, Config: "{label: y, grace_period: 5, leaf: majority, classes: [red, green, blue], max_leaves: 3, delta: 0.5}"},
	{Operator: "hoeffding_tree", Name: "as in MOA", In: denseClass, Config: "{label: y, smooth: false, grace_period: 10, delta: 0.1, max_leaves: 4, categorical: [s], tie_threshold: 2}"},
	{Operator: "bayesian_linear_regression", Name: "all numbers", In: denseNumber, Config: "{label: y}"},
	{Operator: "bayesian_linear_regression", Name: "no intercept", In: denseNumber, Config: "{label: c, numeric: [a, d], intercept: false, alpha: 0.01, beta: 100}"},
	{Operator: "gaussian_naive_bayes", Name: "weights", In: denseWeights, Config: "{label: y, weight: w, class_weights: [1, 2.5]}"},
	{Operator: "hoeffding_tree", Name: "weights", In: denseWeights, Config: "{label: y, weight: w, class_weights: [1, 2.5], categorical: [s], grace_period: 20, tie_threshold: 2}", Allocates: "a split takes memory"},
	{Operator: "bayesian_linear_regression", Name: "weights", In: denseWeights, Config: "{label: y, weight: w}"},
	{Operator: "factorization_machine", Name: "weights", In: weightRows, Config: "{label: y, factors: 2, weight: w}"},
	{Operator: "mlp", Name: "classes, weights", In: classRows, Config: "{label: y, units: 2, weight: w}"},
	{Operator: "matrix_factorization", Name: "weights", In: "user:string,item:string?,w:float64?,y:float64?\nann,x,2,5\nann,y,,1\nbob,x,0.5,1\nbob,,1,5\nann,x,3,\n", Config: "{user: user, item: item, label: y, bits: 8, factors: 2, weight: w}"},
	{Operator: "holt_winters", Name: "no season", In: "y:float64?\n1\n2.5\n\n4\n", Config: "{label: y, horizon: 3}"},
	{Operator: "holt_winters", Name: "additive", In: "y:int64?\n1\n2\n\n4\n", Config: "{label: y, season: {additive: {period: 4}}, horizon: 5}"},
	{Operator: "holt_winters", Name: "multiplicative", In: "y:float64?\n1\n2.5\n\n4\n", Config: "{label: y, season: {multiplicative: {period: 3}}}"},
	{Operator: "factorization_machine", Name: "probability", In: binaryRows, Config: "{label: y, factors: 3}"},
	{Operator: "factorization_machine", Name: "zero or one", In: numberRows, Config: "{label: y, predict: probability, factors: 1, l2: 0.1, clip: 0, optimizer: adam}"},
	{Operator: "factorization_machine", Name: "numbers", In: regressRows, Config: "{label: y, factors: 4, optimizer: {sgd: {rate: 1}}, clip: 0, seed: 7}"},
	{Operator: "factorization_machine", Name: "numbers as they are", In: regressRows, Config: "{label: y, factors: 4, label_scale: none, optimizer: rmsprop}"},
	{Operator: "factorization_machine", Name: "classes as seen", In: classRows, Config: "{label: y, factors: 3}"},
	{Operator: "factorization_machine", Name: "classes given", In: classRows, Config: "{label: y, factors: 2, classes: [green, red, blue, black], optimizer: adam, clip: 0.5}"},
	{Operator: "factorization_machine", Name: "numbers as classes", In: numberRows, Config: "{label: y, factors: 1, predict: class, max_classes: 2}"},
	{Operator: "mlp", Name: "classes as seen", In: classRows, Config: "{label: y, units: 4}"},
	{Operator: "mlp", Name: "classes given", In: classRows, Config: "{label: y, units: 3, layers: 2, classes: [green, red, blue, black], optimizer: adam}"},
	{Operator: "mlp", Name: "numbers as classes", In: numberRows, Config: "{label: y, units: 2, predict: class, max_classes: 2, activation: tanh}"},
	{Operator: "matrix_factorization", Name: "ratings", In: ratings, Config: "{user: user, item: item, label: y, bits: 8, factors: 3}"},
	{Operator: "matrix_factorization", Name: "biases", In: ratings, Config: "{user: user, item: item, label: y, bits: 8, factors: 0, label_scale: standard}"},
	{Operator: "matrix_factorization", Name: "choices", In: choices, Config: "{user: user, item: item, label: y, bits: 8, optimizer: {sgd: {rate: 1}}, l2: 1, factors: 2}"},
	{Operator: "bpr", Name: "choices", In: choices, Config: "{user: user, item: item, bits: 8, factors: 3}"},
	{Operator: "bpr", Name: "labelled", In: choices, Config: "{user: user, item: item, label: y, bits: 8, factors: 2, optimizer: {sgd: {rate: 1}}, l2: 1}"},
	{Operator: "mlp", Name: "probability", In: binaryRows, Config: "{label: y, units: 3}"},
	{Operator: "mlp", Name: "numbers", In: regressRows, Config: "{label: y, units: 4, layers: 3, activation: tanh, optimizer: adam, l2: 0.01}"},
	{Operator: "mlp", Name: "labels", In: labelRows, Config: "{labels: [y, z], units: 3, layers: 2}"},
	{Operator: "mlp", Name: "labels, all numbers", In: labelRows, Config: "{labels: [z, y, n], predict: number, units: 2, weight: w, optimizer: adam, l2: 0.01, clip: 0}"},
	{Operator: "mlp", Name: "labels, drift", In: labelRows, Config: "{labels: [y, n], units: 2, label_scale: none, activation: tanh, on_drift: {reset: {detector: {hddm_w: {drift: 0.4}}}}}"},
	{Operator: "mlp", Name: "wild", In: regressRows, Config: "{label: y, units: 2, layers: 2, label_scale: none, clip: 0, optimizer: {sgd: {rate: 1}}}"},
}

// A series that seems to fall to 0, and one of values 20 decades apart, are followed
// all the same once they are steady.
func TestHoltWintersGoesOn(t *testing.T) {
	for _, first := range []string{"3\n1\n", "1e-60\n1e60\n1e-60\n", "1e99\n1e-99\n1e-99\n"} {
		h := runner(t, "holt_winters", "{label: y, season: {multiplicative: {period: 2}}, gamma: 1}", "y\n"+first+strings.Repeat("2\n", 3000))
		if len(h.Rejected) > 0 {
			t.Errorf("%q: %d rows rejected, the first %v", first, len(h.Rejected), h.Rejected[0])
			continue
		}
		p := h.Output().Col("node.prediction").Floats
		if last := p[len(p)-1]; !(math.Abs(last-2) < 1e-3) {
			t.Errorf("%q: after 3000 times 2, %v is forecast", first, last)
		}
	}
}

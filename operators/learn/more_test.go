package learn

import "github.com/gradstream/gradstream/operators/optest"

// Rows of learners that read columns of their own.
const (
	denseBinary = "a,b:float64?,c:int64?,d:bool,s:string?,y:bool?\n1,2,3,true,u,true\n-1,,7,false,v,false\n0.5,2,,true,,\n1e3,-4,2,false,u,true\n0,0,0,false,w,false\n"
	denseClass  = "a,b:float64?,c:int64?,d:bool,s:string?,y:string?\n1,2,3,true,u,red\n-1,,7,false,v,blue\n0.5,2,,true,,\n1e3,-4,2,false,u,green\n0,0,0,false,w,blue\n"
	denseNumber = "a,b:float64?,c:int64?,d:bool,s:string?,y:float64?\n1,2,3,true,u,1.5\n-1,,7,false,v,-2\n0.5,2,,true,,\n1e3,-4,2,false,u,10\n0,0,0,false,w,0\n"
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
	{Operator: "bayesian_linear_regression", Name: "all numbers", In: denseNumber, Config: "{label: y}"},
	{Operator: "bayesian_linear_regression", Name: "no intercept", In: denseNumber, Config: "{label: c, numeric: [a, d], intercept: false, alpha: 0.01, beta: 100}"},
	{Operator: "holt_winters", Name: "no season", In: "y:float64?\n1\n2.5\n\n4\n", Config: "{label: y, horizon: 3}"},
	{Operator: "holt_winters", Name: "additive", In: "y:int64?\n1\n2\n\n4\n", Config: "{label: y, season: {additive: {period: 4}}, horizon: 5}"},
	{Operator: "holt_winters", Name: "multiplicative", In: "y:float64?\n1\n2.5\n\n4\n", Config: "{label: y, season: {multiplicative: {period: 3}}}"},
}

package learn

import (
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/pipeline/spec"
)

const multiDoc = "\n\nClasses come as they are seen, up to max_classes, or are given. A row whose label is null is predicted and not learnt. A row that would make a score or a weight infinite is rejected; the model is then as it was. " +
	"Under a learnt model the rates, l2, clip and max_classes, not below the classes known, may change; the optimizer, l1 coming or going with sgd, intercept and classes may not. Weights are float32."

const multiCost = "\n\nCost: time and memory in proportion to the classes: for each what logistic_regression takes, once the class was seen."

// multinomialConfig is what classifiers with an optimizer are configured by.
type multinomialConfig struct {
	multiConfig
	linearConfig
}

func (c *multinomialConfig) Fields(f *spec.Fields) {
	c.fields(f)
	c.modelFields(f, rates{sgd: 0.05, adagrad: 0.5}, 0)
	c.reactField(f, reactAll)
}

func (c *multinomialConfig) Check(add func(field, msg, want string)) { c.checkModel(add) }

var _ = Family.Add(operators.Define(operators.Spec[multinomialConfig]{
	Name:    "softmax",
	Summary: "Predicts one of several classes from a linear score of each: multinomial logistic regression.",
	Doc: "Every class has a linear model of its own; the probability of a class is in proportion to e to the power of its score. " +
		"The models take a step together, on the derivative of the cross-entropy: the probability of the class, less 1 for the class of the label. A class that is seen for the first time begins with weights of 0." + multiDoc + multiCost,
	Role:    operators.Learner,
	Columns: classColumns,
	Examples: []spec.Example{{
		Title:  "Three classes",
		Config: "softmax: {label: y, optimizer: {sgd: {rate: 1}}, intercept: false}",
		In:     "features:sparse[8],y:string?\n1:1,a\n2:1,b\n1:1,\n2:1,b\n3:1,c\n3:1,\n",
		Out: "features,y,node.class,node.probability,node.loss,node.version\n" +
			"1:1,a,,,34.538776394910684,0\n" +
			"2:1,b,a,1,34.538776394910684,1\n" +
			"1:1,,a,0.7310585786300049,,2\n" +
			"2:1,b,b,0.8807970779778823,0.12692801104297263,2\n" +
			"3:1,c,a,0.5,34.538776394910684,3\n" +
			"3:1,,c,0.6914384540362276,,4\n",
	}},
	Build: func(c *multinomialConfig, env *operators.Env) operators.Operator {
		return newMulti(&c.multiConfig, &c.linearConfig, softmax{}, env)
	},
}))

var _ = Family.Add(operators.Define(operators.Spec[multinomialConfig]{
	Name:    "one_vs_rest",
	Summary: "Predicts one of several classes by a logistic regression for each, against all others.",
	Doc: "Every class has a logistic regression that tells it from all others and learns from every row; the probability of a class is what its model says, over the sum of what all say. " +
		"A class that is seen for the first time begins with weights of 0." + multiDoc + multiCost,
	Role:    operators.Learner,
	Columns: classColumns,
	Examples: []spec.Example{{
		Title:  "Three classes",
		Config: "one_vs_rest: {label: y, optimizer: {sgd: {rate: 1}}, intercept: false}",
		In:     "features:sparse[8],y:string?\n1:1,a\n2:1,b\n1:1,\n2:1,b\n3:1,c\n3:1,\n",
		Out: "features,y,node.class,node.probability,node.loss,node.version\n" +
			"1:1,a,,,34.538776394910684,0\n" +
			"2:1,b,a,1,34.538776394910684,1\n" +
			"1:1,,a,0.554549562642387,,2\n" +
			"2:1,b,b,0.6224593312018546,0.47407698418010663,2\n" +
			"3:1,c,a,0.5,34.538776394910684,3\n" +
			"3:1,,c,0.45186276187760605,,4\n",
	}},
	Build: func(c *multinomialConfig, env *operators.Env) operators.Operator {
		return newMulti(&c.multiConfig, &c.linearConfig, oneVsRest{}, env)
	},
}))

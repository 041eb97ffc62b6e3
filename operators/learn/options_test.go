package learn

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators/optest"
)

// What would be ignored or does not fit is complained of where it is written.
func TestOptionsThatDoNotFit(t *testing.T) {
	const in = "features:sparse[8],y:bool,n,s:string\n"
	for _, c := range []struct{ operator, config, want string }{
		{"softmax", "{label: s, classes: ['', b]}", `1:22: classes[0] is ""; expected a class that is not empty`},
		{"mlp", "{label: s, classes: [b, '']}", `1:25: classes[1] is ""; expected a class that is not empty`},
		{"logistic_regression", "{label: y, class_weights: [1]}", "1:27: class_weights has 1 entries"},
		{"logistic_regression", "{label: y, class_weights: [1, -1]}", "1:27: class_weights has -1"},
		{"softmax", "{label: s, classes: [a, b], class_weights: [1]}", "1:44: class_weights has 1 entries"},
		{"softmax", "{label: s, class_weights: [1, 2]}", "1:27: class_weights has 2 entries"},
		{"softmax", "{label: s, classes: [a, b], max_classes: 3}", "1:42: max_classes is of classes that come as seen"},
		{"gaussian_naive_bayes", "{label: s, classes: [a, b], max_classes: 3}", "1:42: max_classes is of"},
		{"mlp", "{label: s, max_classes: 3, classes: [a, b]}", "1:25: max_classes is of"},
		{"mlp", "{}", "1:1: label is missing; expected label, or labels"},
		{"mlp", "{label: y, labels: [y, n]}", "1:20: labels beside label; expected one of the two"},
		{"mlp", "{labels: []}", "1:10: labels is empty; expected a column or more"},
		{"mlp", "{labels: [y, s]}", `1:14: column "s" is string; expected`},
		{"mlp", "{labels: [y, n], predict: probability, label_scale: none}", "1:53: label_scale is of labels that are numbers"},
		{"mlp", "{labels: [y, n], predict: class}", "1:27: labels are no classes; expected label, for a class"},
		{"mlp", "{labels: [y, n], classes: [a, b]}", "1:27: labels are no classes"},
		{"mlp", "{labels: [y, n], max_classes: 3}", "1:31: max_classes is of classes that come as seen, but none are predicted; expected no max_classes, or predict: class"},
		{"mlp", "{label: y, max_classes: 3}", "1:25: max_classes is of classes that come as seen, but none"},
		{"factorization_machine", "{label: n, max_classes: 3}", "1:25: max_classes is of classes that come as seen, but none"},
		{"softmax", "{label: y, max_classes: 3}", "1:25: max_classes is of classes that come as seen, but none"},
		{"gaussian_naive_bayes", "{label: n, predict: probability, max_classes: 3}", "1:47: max_classes is of classes"},
		{"hoeffding_tree", "{label: y, max_classes: 3}", "1:25: max_classes is of classes"},
		{"mlp", "{label: s, label_scale: none}", "1:25: label_scale is of labels that are numbers, but classes are predicted"},
		{"factorization_machine", "{label: n, predict: probability, label_scale: none}", "1:47: label_scale is of labels that are numbers, but a probability is predicted"},
		{"factorization_machine", "{label: y, label_scale: none}", "1:25: label_scale is of"},
		{"matrix_factorization", "{user: s, item: s, label: y, label_scale: center}", "1:43: label_scale is of"},
		{"linear_regression", "{label: n, loss: poisson, bounds: seen}", "bounds does not go with loss: poisson; expected no bounds"},
	} {
		if _, err := optest.Run(definition(t, c.operator), c.config, in); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v, want an error with %q", c.operator, c.config, err, c.want)
		}
	}
}

// The bounds of a step rule are those of its fields, and no share is 1 as a float32.
func TestBoundsOfRules(t *testing.T) {
	const in = "features:sparse[8],y:bool\n"
	for _, c := range []struct{ rule, field, least, below, most, above string }{
		{"adagrad", "eps", "1e-30", "9e-31", "1", "1.1"},
		{"mixture", "eps", "1e-30", "9e-31", "1", "1.1"},
		{"adam", "eps", "1e-30", "9e-31", "1", "1.1"},
		{"rmsprop", "rho", "0", "-0.1", "0.9999999", "0.99999999"},
		{"adadelta", "rho", "0", "-0.1", "0.9999999", "0.99999999"},
		{"momentum", "momentum", "0", "-0.1", "0.9999999", "0.99999999"},
		{"nesterov", "momentum", "0", "-0.1", "0.9999999", "0.99999999"},
		{"adam", "beta2", "0", "-0.1", "0.999999", "0.9999999"},
		{"adamax", "beta1", "0", "-0.1", "0.999999", "0.9999999"},
		{"amsgrad", "beta2", "0", "-0.1", "0.999999", "0.9999999"},
	} {
		build := func(v string) error {
			_, err := optest.Run(definition(t, "logistic_regression"), fmt.Sprintf("{label: y, optimizer: {%s: {%s: %s}}}", c.rule, c.field, v), in)
			return err
		}
		for _, v := range []string{c.least, c.most} {
			if err := build(v); err != nil {
				t.Errorf("%s: %s %s: %v", c.rule, c.field, v, err)
			}
		}
		for _, v := range []string{c.below, c.above} {
			want := fmt.Sprintf(": %s is %s; expected a finite number from %s to %s", c.field, v, c.least, c.most)
			if err := build(v); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %s %s: %v, want an error with %q", c.rule, c.field, v, err, want)
			}
		}
	}
	if float32(mostShare) == 1 || float32(mostAdamShare) == 1 {
		t.Error("the most that is kept is all")
	}
}

// A model of more classes than there is room for is refused when it is restored,
// also where it has no weights yet.
func TestFewerClasses(t *testing.T) {
	for o, row := range map[string]string{
		"softmax": ",weight: w", "one_vs_rest": "", "perceptron": ",weight: w", "passive_aggressive": "", "mlp": "", "factorization_machine": "",
	} {
		const header = "features:sparse[8],w,y:string\n"
		full := runner(t, o, "{label: y, max_classes: 3"+row+"}", header+"1:1,0,a\n2:1,0,b\n3:1,0,c\n")
		small := runner(t, o, "{label: y, max_classes: 2"+row+"}", header)
		var err error
		for i, from := range full.Node.States() {
			to := small.Node.States()[i]
			from.State.All(func(key, value []byte) bool {
				if err == nil {
					err = to.State.Load(key, value)
				}
				return true
			})
		}
		if err == nil || !strings.Contains(err.Error(), "max_classes is 2, but 3 classes are known") {
			t.Errorf("%s: restored with %v", o, err)
		}
	}
}

// A text that is too long to be kept counts as one value, as a short one does.
func TestLongTextIsOneValue(t *testing.T) {
	run := func(third string) []float64 {
		var b strings.Builder
		b.WriteString("s:string?,y:bool?\n")
		for k := range uint64(60) {
			fmt.Fprintf(&b, "%s,%v\n", []string{"u", "v", third}[scatter(k)%3], scatter(100+k)%2 == 0)
		}
		h := runner(t, "hoeffding_tree", "{label: y, numeric: [], categorical: [s], leaf: bayes}", b.String())
		return h.Output().Col("node.probability").Floats
	}
	short, long := run("w"), run(strings.Repeat("w", 300))
	if got, want := fmt.Sprint(long), fmt.Sprint(short); got != want {
		t.Errorf("with a long text\n%s\nwith a short one\n%s", got, want)
	}
}

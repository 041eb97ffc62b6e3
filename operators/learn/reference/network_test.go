package reference

import (
	"strings"
	"testing"

	"github.com/gradstream/gradstream/pipeline/batch"
)

// What the network and the factorization machine reach as they come, beside the
// linear model of the same sets: see TestDefaults.
func TestNonlinearDefaults(t *testing.T) {
	for _, c := range []struct {
		set, learner string
		accuracy     float64 // least
		logLoss      float64 // most
	}{
		{"phishing", "mlp", 0.89, 0.275},
		{"phishing", "factorization_machine", 0.89, 0.295},
		{"electricity_tiny", "mlp", 0.91, 0.225},
		{"electricity_tiny", "factorization_machine", 0.84, 0.37},
		{"elec2", "mlp", 0.91, 0.235}, // MOA's adaptive random forest of 10 trees: 0.891, 0.285
		{"elec2", "factorization_machine", 0.875, 0.315},
	} {
		t.Run(c.learner+" "+c.set, func(t *testing.T) {
			dir := streams
			if c.set == "elec2" {
				dir = largeStreams
			}
			columns := strings.Join(columnsOf(t, dir, c.set), ",")
			got := chain(t, typed(t, dir, c.set, "y:bool,"+columns), "vectorize: {numeric: ["+columns+"], bits: 10}", c.learner+": {label: y}", "probability")
			m := score(got.p, got.y)
			t.Logf("accuracy %.4f, log loss %.4f, AUC %.4f", m.accuracy, m.logLoss, m.auc)
			if m.accuracy < c.accuracy || m.logLoss > c.logLoss || got.rejected > 0 {
				t.Errorf("accuracy %.4f, log loss %.4f, %d rejected; want at least %v, at most %v, none", m.accuracy, m.logLoss, got.rejected, c.accuracy, c.logLoss)
			}
		})
	}
	for learner, most := range map[string]float64{"mlp": 0.34, "factorization_machine": 0.32} {
		columns := strings.Join(columnsOf(t, streams, "trump_approval"), ",")
		got := chain(t, typed(t, streams, "trump_approval", "y:float64,"+columns), "vectorize: {numeric: ["+columns+"], bits: 10}", learner+": {label: y}", "prediction")
		if mae, _ := got.errors(); mae > most || got.rejected > 0 {
			t.Errorf("%s: MAE %.4f, %d rejected; want at most %v, none", learner, mae, got.rejected, most)
		}
	}
}

// Of several classes, what the linear softmax reaches with the same set at least.
func TestNonlinearClasses(t *testing.T) {
	for learner, least := range map[string]float64{"mlp": 0.85, "factorization_machine": 0.83} {
		rows, vectorize := numbersOr(t, streams, "image_segments", "string", "", "")
		right, lost, n := 0, 0.0, 0
		out := chainTo(t, rows, strings.Replace(vectorize, "{", "{bits: 10, ", 1), learner+": {label: y, classes: [brickface, cement, foliage, grass, path, sky, window]}", func(b *batch.Batch) {
			class, y, loss := b.Col("m.class"), b.Col("y"), b.Col("m.loss")
			for row := range b.N {
				if string(class.Text(row)) == string(y.Text(row)) {
					right++
				}
				lost += loss.Floats[row]
				n++
			}
		})
		accuracy := float64(right) / float64(n)
		t.Logf("%s: accuracy %.4f, log loss %.4f", learner, accuracy, lost/float64(n))
		if accuracy < least || out.rejected > 0 {
			t.Errorf("%s: accuracy %.4f, %d rejected; want at least %v, none", learner, accuracy, out.rejected, least)
		}
	}
}

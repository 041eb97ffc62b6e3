package evaluate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
)

// Texts of a megabyte that never come again, between others, leave nothing in a state.
func TestLongTexts(t *testing.T) {
	long := func(i int) string { return fmt.Sprint(i, strings.Repeat("x", 1<<20)) }
	fits, beyond := strings.Repeat("f", operators.MostText), strings.Repeat("b", operators.MostText+1)
	const reason = "a class has at most 256"
	for _, c := range []struct {
		operator, config, header string
		row                      func(text string) string
		rejected                 int // of seven rows of which five are too long
	}{
		{"evaluate", "{prediction: p, label: y, by: c}", "p:float64,y:float64,c:string", func(text string) string { return "1,2," + text }, 0},
		{"evaluate", "{prediction: p, label: y, metrics: [accuracy, kappa, kappa_t, kappa_m, {macro_f1: {window: 100}}]}", "p.class:string,y:string", func(text string) string { return "a," + text }, 5},
		{"evaluate", "{prediction: p, label: y, metrics: [accuracy, {macro_f1: {half_life: 9}}]}", "p.class:string,y:string", func(text string) string { return text + ",a" }, 5},
		{"majority", "{label: y}", "y:string", func(text string) string { return text }, 5},
		{"no_change", "{label: y}", "y:string", func(text string) string { return text }, 5},
	} {
		in := c.header + "\n"
		for _, text := range []string{long(0), "a", fits, beyond, long(1), long(2), long(3)} {
			in += c.row(text) + "\n"
		}
		tables, err := optest.Parse(in)
		if err != nil {
			t.Fatal(err)
		}
		h, err := optest.Open(definition(c.operator), c.config, tables[0].Rows.Schema)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Feed(0, tables[0].Rows); err != nil {
			t.Fatal(err)
		}
		if len(h.Rejected) != c.rejected {
			t.Errorf("%s %s: %d rows rejected, want %d", c.operator, c.config, len(h.Rejected), c.rejected)
		}
		for _, r := range h.Rejected {
			if !strings.Contains(r.Why, reason) || len(r.Why) > 200 {
				t.Errorf("%s: row %d: %.200s", c.operator, r.Row, r.Why)
			}
		}
		if n := h.StateSize(); n > 5000 {
			t.Errorf("%s %s: a state of %d bytes", c.operator, c.config, n)
		}
		if c.operator == "evaluate" && c.rejected == 0 {
			r := h.Node.Report()
			within(t, r, "rows[a]", 1, 0)
			within(t, r, "rows["+fits+"]", 1, 0)
			within(t, r, "rows_beyond_segments", 5, 0)
			within(t, r, "rows", 7, 0)
		}
	}
}

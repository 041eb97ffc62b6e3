package spec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// badFragments are wrong texts for a sample, with all their errors.
var badFragments = []struct{ yaml, want string }{
	{
		`{label: y, bits: 1.5}`,
		`1:18: bits is 1.5; expected a whole number from 8 to 30`,
	},
	{
		`{label: y, bits: "18"}`,
		`1:18: bits is "18"; expected a whole number from 8 to 30`,
	},
	{
		`{label: y, bits: 99999999999999999999}`,
		`1:18: bits is 99999999999999999999; expected a whole number from 8 to 30`,
	},
	{
		`{label: y, bits: [1]}`,
		`1:18: bits is a list; expected a whole number from 8 to 30`,
	},
	{
		`{label: y, rate: .inf}`,
		`1:18: rate is .inf; expected a finite number above 0`,
	},
	{
		`{label: y, rate: 0}`,
		`1:18: rate is 0; expected a finite number above 0`,
	},
	{
		`{label: y, rate: 1e999}`,
		`1:18: rate is 1e999; expected a finite number above 0`,
	},
	{
		`{label: y, every: 100}`,
		`1:19: every is 100; expected a duration from 1ms to 1h`,
	},
	{
		`{label: y, every: 2h}`,
		`1:19: every is "2h"; expected a duration from 1ms to 1h`,
	},
	{
		`{label: y, size: 10 potatoes}`,
		`1:18: size is "10 potatoes"; expected a size of at least 1KiB`,
	},
	{
		`{label: y, size: 1kB}`,
		`1:18: size is "1kB"; expected a size of at least 1KiB`,
	},
	{
		`{label: y, size: 1B}`,
		`1:18: size is "1B"; expected a size of at least 1KiB`,
	},
	{
		`{label: y, loss: hing}`,
		`1:18: loss is "hing"; did you mean "hinge"?`,
	},
	{
		`{label: y, loss: [log]}`,
		`1:18: loss is a list; expected one of log, hinge`,
	},
	{
		`{label: }`,
		`1:7: label is missing; expected a column name`,
	},
	{
		`{label: ""}`,
		`1:9: label is ""; expected a column name`,
	},
	{
		`{label: {a: 1}}`,
		`1:9: label is a mapping; expected a column name`,
	},
	{
		`{label: y, numeric: [a, b, a]}`,
		`1:28: numeric names "a" twice; expected each once`,
	},
	{
		`{label: y, numeric: [a, {b: c}, ~]}`,
		`1:25: numeric[1] is a mapping; expected a column name
1:33: numeric[2] is null; expected a column name`,
	},
	{
		`{label: y, numeric: {a: b}}`,
		`1:21: numeric is a mapping; expected a list of column names`,
	},
	{
		`{label: y, cross: [user, site]}`,
		`1:20: cross[0] is "user"; expected a list of column names, as in [[a, b]]
1:26: cross[1] is "site"; expected a list of column names, as in [[a, b]]`,
	},
	{
		`{label: y, cross: user}`,
		`1:19: cross is "user"; expected a list of lists of column names, as in [[a, b]]`,
	},
	{
		`{label: y, cross: [[user, user], [[x]]]}`,
		`1:27: cross[0] names "user" twice; expected each once
1:35: cross[1][0] is a list; expected a column name`,
	},
	{
		`{label: y, from: [Ab]}`,
		`1:19: from[0] is "Ab"; expected a name of small letters`,
	},
	{
		`{label: y, window: {min: 5, max: 2}}`,
		`1:34: max is less than min; expected at least min`,
	},
	{
		`{label: y, window: {min: x, max: 2}}`,
		`1:26: min is "x"; expected a whole number of at least 1`,
	},
	{
		`{label: y, window: 5}`,
		"1:20: window is 5; expected a mapping of `name: value`",
	},
	{
		`{label: y, intercept: {rate: 0, x: 1}}`,
		`1:30: rate is 0; expected a finite number above 0
1:33: unknown field "x"; expected rate`,
	},
	{
		`{label: y, intercept: 3}`,
		`1:23: intercept is 3; expected true, false or a mapping`,
	},
	{
		`{label: y, optimizer: [sgd]}`,
		`1:23: optimizer is a list; expected one of sgd, none, quantile`,
	},
	{
		`{label: y, optimizer: sdg}`,
		`1:23: optimizer is "sdg"; did you mean "sgd"?`,
	},
	{
		`{label: y, optimizer: {sgd: {}, none: {}}}`,
		`1:33: optimizer has 2 options; expected exactly one`,
	},
	{
		`{label: y, optimizer: {}}`,
		`1:23: optimizer is an empty mapping; expected one of sgd, none, quantile`,
	},
	{
		`{label: y, optimizer: quantile}`,
		`1:23: q is missing; expected a finite number above 0 and below 1`,
	},
	{
		`{label: y, optimizer: {none: {x: 1}}}`,
		`1:31: unknown field "x"; expected no fields`,
	},
	{
		`{label: y, optimizer: {none: 4}}`,
		`1:30: none is 4; expected {}, as it has no fields`,
	},
	{
		`{label: y, optimizer: {sgd: {rate: 2}}}`,
		`1:36: rate is 2; expected a finite number above 0 and at most 1`,
	},
	{
		`{label: y, metrics: [accuracy, accuracy, {roc_auc: {min: 0}}, f1]}`,
		`1:32: metrics names "accuracy" twice; expected each once
1:58: min is 0; expected a whole number of at least 1
1:63: metrics[3] is "f1"; expected one of accuracy, roc_auc`,
	},
	{
		`{label: y, columns: [a]}`,
		`1:21: columns is a list; expected a mapping of name: name`,
	},
	{
		`{label: y, columns: {a: [b], c: }}`,
		`1:25: a is a list; expected a name
1:31: c is null; expected a name`,
	},
	{
		`{label: y, sources: {1a: x}}`,
		`1:22: "1a" cannot be a name in sources; expected a letter, then letters, digits, _ or -`,
	},
	{
		`[label]`,
		"1:1: this is a list; expected a mapping of `name: value`",
	},
	{
		`just text`,
		"1:1: this is \"just text\"; expected a mapping of `name: value`",
	},
	{
		`label: y
label: z
label: w`,
		`2:1: "label" is written twice; expected it once (first on line 1)
3:1: "label" is written twice; expected it once (first on line 1)`,
	},
	{
		`label: y
window:
  min: 1
   max: 2`,
		`4:4: this line does not start where the lines of its mapping do; expected the names of one mapping in the same column`,
	},
	{
		`label: y
 window: 1`,
		`2:2: this line does not start where the lines of its mapping do; expected the names of one mapping in the same column`,
	},
	{
		"label: y\n" +
			"window:\n" +
			"\tmin: 1",
		`3:1: a tab cannot indent; expected spaces`,
	},
	{
		`label: y
note: a: b`,
		`2:7: a value has a colon in it; expected quotes around a text with a colon`,
	},
	{
		`label: "y`,
		`1:8: a quoted text has no end; expected a closing quote`,
	},
	{
		`label: y
numeric: [a, b
bits: 9`,
		"3:1: a list in brackets is not closed, or lacks a comma; expected `,` or `]`",
	},
	{
		`label: y
window: {min: 1`,
		"2:9: a mapping in braces is not closed, or lacks a comma; expected `,` or `}`",
	},
	{
		`label: y
bits`,
		"2:1: a line of a mapping has no colon; expected `name: value`, with a space after the colon",
	},
	{
		`label: @y`,
		`1:8: a plain text cannot start with '@'; expected quotes around it`,
	},
	{
		`label: *x`,
		`1:8: alias *x has no anchor; expected &x before it`,
	},
	{
		`label: &x {a: *x}`,
		`1:15: alias *x lies inside its own value; expected a value that ends before it`,
	},
	{
		`label: y
---
label: z`,
		`3:1: a second document starts here; expected one document in the file`,
	},
	{
		`label: !foo y`,
		`1:8: unknown tag !foo; expected no tag`,
	},
	{
		`label: y
<<: 4`,
		`2:1: << merges 4; expected a mapping or a list of mappings`,
	},
	{
		`label: y
[a]: b`,
		`2:4: a list or mapping stands in place of a name; expected a text before the colon`,
	},
	{
		`label: y
? {a: b}
: c`,
		`3:1: a list or mapping stands in place of a name; expected a text before the colon`,
	},
	{
		`label: y
numeric:
  - a
  -b`,
		"4:3: a value cannot stand here; expected `name: value` or `- item` in the column of its neighbours",
	},
	{
		`label: y
note: "\q"`,
		`2:8: unknown escape \q; expected \\ for a backslash, or single quotes`,
	},
	{
		`label: y
"": z`,
		`2:1: unknown field ""; expected one of deep, bits, seed, rate, note, every, size, loss, label, numeric, cross, classes, from, window, intercept, optimizer, metrics, columns, edges, formulas, sources`,
	},
	{
		`label: y
note: 'it's'`,
		"2:11: a value cannot stand here; expected `name: value` or `- item` in the column of its neighbours",
	},
	{
		`label: y
size: -5
every: -5s`,
		`2:7: size is -5; expected a size of at least 1KiB
3:8: every is "-5s"; expected a duration from 1ms to 1h`,
	},
	{
		`label: y
optimizer: {rate: 1}`,
		`2:13: optimizer is "rate"; did you mean {sgd: {rate: …}}?`,
	},
	{
		`label: y
optimizer: {sgd: {}, rate: 1}`,
		`2:22: optimizer is "rate"; did you mean {sgd: {rate: …}}?`,
	},
	{
		`label: y
metrics:
  - accuracy
  - roc_auc:
    max: 4`,
		`5:5: metrics[1] is "max"; did you mean {roc_auc: {max: …}}?`,
	},
	{
		`label: y
window: {min: 1
max: 2}`,
		"3:1: a mapping in braces is not closed, or lacks a comma; expected `,` or `}`",
	},
	{
		`label: y
# é
note: "é" x`,
		"3:11: a value cannot stand here; expected `name: value` or `- item` in the column of its neighbours",
	},
	{
		`label: y
bits: !!int "4"`,
		`2:13: bits is 4; expected a whole number from 8 to 30`,
	},
	{
		`label: y
every: 1d12h
size: 2 GiB`,
		`2:8: every is "1d12h"; expected a duration from 1ms to 1h`,
	},
	{
		"label: y\n...\nbits: 1",
		`3:1: a second document starts here; expected one document in the file`,
	},
	{
		`window: {min: ${MIN:1}}`,
		`1:16: a variable in a list or mapping in brackets stands without quotes; expected quotes, as in "${VAR}"`,
	},
	{
		`numeric: [${A}, b]`,
		`1:12: a variable in a list or mapping in brackets stands without quotes; expected quotes, as in "${VAR}"`,
	},
	{
		`label: %y`,
		`1:8: a plain text cannot start with '%'; expected quotes around it`,
	},
	{
		`label: ]`,
		`1:8: a closing bracket has no opening one; expected quotes around a text that starts with a bracket`,
	},
	{
		"note: |\n\ttext",
		`2:1: a tab cannot indent; expected spaces`,
	},
}

func TestBadFragments(t *testing.T) {
	for _, c := range badFragments {
		_, errs := decodeSample(t, c.yaml)
		got := strings.ReplaceAll(errs.Error(), "p.yaml:", "")
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s\n%s", c.yaml, diff)
		}
	}
}

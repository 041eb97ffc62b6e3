package route

import (
	"strings"
	"testing"

	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/optest"
	"github.com/gradstream/gradstream/pipeline/batch"
)

func definition(name string) *operators.Definition { return operators.Merge(&Family).Lookup(name) }

func TestFamily(t *testing.T) {
	optest.TestFamily(t, &Family,
		optest.Case{Operator: "filter", Name: "nulls", Config: "{where: (a ?? 0) > 0 and (b ?? true) or s == nil or i != nil and i < 7}", In: "a:float64?,b:bool?,s:string?,i:int64?\n1,true,x,2\n"},
		optest.Case{Operator: "filter", Name: "many kinds", Config: "{where: \"s != 'a' and (i == nil or i < 5) and (ts ?? 0) > 3 and not b\"}", In: "s:string,i:int64?,ts:timestamp?,b:bool,x:sparse\nx,2,7,true,3:1\n"},
		optest.Case{Operator: "filter", Name: "arithmetic", Config: "{where: a * 2 + 1 > b}", In: "a:float64,b:float64\n1,2\n", Allocates: "the expression makes numbers"},
		optest.Case{Operator: "map", Name: "nulls and texts",
			Config: "{columns: {t: \"upper(s) + '!'\", n: i * 2 + 1, f: a ?? 0.5, b2: not b, same: s, when: ts - 1}}", In: "a:float64?,b:bool?,s:string?,i:int64?,ts:timestamp?,x:sparse\n1,true,x,2,7,1:1\n"},
		optest.Case{Operator: "map", Name: "columns as they are", Config: "{columns: {f: a, g: b, h: s}}", In: "a:float64?,b:bool,s:string\n1,true,x\n"},
		optest.Case{Operator: "select", Name: "all types", Config: "{columns: {a: x, b: s, c: s, d: b}}", In: "s:string?,x:sparse,b:bool\nx,2:1,true\n"},
	)
}

// Each expression is tried on one row: it keeps it, drops it, or rejects it.
func TestExpressions(t *testing.T) {
	const head = "id:int64,price:float64,n:int64?,none:float64?,site:string,nosite:string?,y:bool?,yes:bool,ts:timestamp,ctr.probability:float64,a.b.c:int64,user-id:string,ctr:string,x:sparse\n" +
		"9007199254740993,1.5,3,,Ünder,,,true,2024-02-29T12:00:00Z,0.75,7,u1,c,1:1\n"
	for _, c := range []struct{ where, want string }{
		{"price > 1", "keep"},
		{"price > 1.5", "drop"},
		{"price >= 1.5 && n == 3", "keep"},
		{"id == 9007199254740993", "keep"},
		{"id == 9007199254740992", "drop"},
		{"n / 2 == 1.5 and n % 2 == 1 and n ** 2 == 9", "keep"},
		{"site startsWith 'Ü' and len(site) == 5 and upper(site) == 'ÜNDER'", "keep"},
		{"site matches '^.nder$'", "keep"},
		{"site in ['a', 'Ünder']", "keep"},
		{"site not in ['a', 'Ünder']", "drop"},
		{"ts == 1709208000000", "keep"},
		{"ctr.probability > 0.5 and ctr == 'c'", "keep"},
		{"$env['ctr.probability'] > 0.5", "keep"},
		{"a.b.c == 7", "keep"},
		{"$env[\"user-id\"] == 'u1'", "keep"},
		{"none == nil and nosite == nil and y == nil", "keep"},
		{"none != nil and none > 0", "drop"},
		{"(none ?? 2) > 1 and (nosite ?? 'z') == 'z' and (y ?? true)", "keep"},
		{"n != nil ? n > 2 : false", "keep"},
		{"let p = price * 2; p > 2.9 and p < 3.1", "keep"},
		{"let q = site; len(q) == 5", "keep"},
		{"any([1, 2, 3], # == n)", "keep"},
		{"count(1..5, # <= n) == 3", "keep"},
		{"yes", "keep"},
		{"not yes", "drop"},
		{"true", "keep"},
		{"none > 1", "rejected 0: none > 1: invalid operation: null > int"},
		{"1 - none > 1", "rejected 0: 1 - none > 1: invalid operation: int - null"},
		{"nosite contains 'a' or nosite matches 'a' or nosite startsWith 'a' or nosite endsWith 'a'", "drop"},
		{"not (nosite in ['a'])", "keep"},
		{"nosite in ['', 'a'] or none in [0, 1] or none in [0.0, 1.5] or y in [false]", "drop"},
		{"nosite not in ['', 'a'] and none not in [0, 1]", "keep"},
		{"n in [0, 3] and n in [3] and n in 1..5 and site in ['', 'Ünder'] and $env['nosite'] not in ['']", "keep"},
		{"price ** 2 == 2.25 and 2 ^ 3 == 8", "keep"},
		{"trim(nosite, 'a') == ''", "rejected 0: trim(nosite, 'a') == '': a function of a null"},
		{"int(nosite) == 1", "rejected 0: int(nosite) == 1: a function of a null"},
		{"not y", "rejected 0: not y: "},
		{"n % 0 == 1", "rejected 0: n % 0 == 1: runtime error: integer divide by zero"},
		{"len(1..9000000000 + n) > 1", "rejected 0: len(1..9000000000 + n) > 1: memory budget exceeded"},
	} {
		config := "{where: '" + strings.ReplaceAll(c.where, "'", "''") + "'}"
		got, err := optest.Run(definition("filter"), config, head)
		if err != nil {
			t.Errorf("%s: %v", c.where, err)
			continue
		}
		_, rest, _ := strings.Cut(got, "\n")
		switch c.want {
		case "keep":
			if !strings.HasPrefix(rest, "9007199254740993,1.5,3,,Ünder,,,true,") {
				t.Errorf("%s: %q, want the row", c.where, rest)
			}
		case "drop":
			if rest != "" {
				t.Errorf("%s: %q, want nothing", c.where, rest)
			}
		default:
			if !strings.HasPrefix(rest, c.want) {
				t.Errorf("%s: %q, want %q", c.where, rest, c.want)
			}
		}
	}
}

// Each expression of map is tried on one row: its type, and what it comes to.
func TestMapExpressions(t *testing.T) {
	const head = "f:float64,nf:float64?,one:float64?,i:int64,ni:int64?,s:string,ns:string?,b:bool,nb:bool?,ts:timestamp,ctr.probability:float64\n" +
		"1.5,,1,3,,aü,,true,,2024-02-29T12:00:00Z,0.75\n"
	for _, c := range []struct{ expr, typ, want string }{
		{"f", "float64", "1.5"},
		{"nf", "float64?", ""},
		{"i", "int64", "3"},
		{"b", "bool", "true"},
		{"s", "string", "aü"},
		{"ns", "string?", ""},
		{"ts", "int64", "1709208000000"},
		{"f * i + 1", "float64", "5.5"},
		{"i * i + 1", "int64", "10"},
		{"i / 2", "float64", "1.5"},
		{"i ** 2", "float64", "9"},
		{"i % 2 == 1", "bool", "true"},
		{"9223372036854775807 + i", "int64", "-9223372036854775806"},
		{"nf + 1", "float64?", ""},
		{"one + 1", "float64?", "2"},
		{"-ni", "int64?", ""},
		{"upper(s)", "string", "AÜ"},
		{"upper(ns)", "string?", ""},
		{"len(ns ?? 'xy')", "int64", "2"},
		{"nf ?? 0", "float64", "0"},
		{"ni ?? 0", "int64", "0"},
		{"(nf ?? 0) * 2 + i", "float64", "3"},
		{"nf ?? one", "float64?", "1"},
		{"nf ?? one ?? 7", "float64", "1"},
		{"(nf + 1) ?? 0", "float64?", ""},
		{"b ? f : i", "float64", "1.5"},
		{"not b ? f : i", "float64", "3"},
		{"b ? nil : 's'", "string?", ""},
		{"nf == nil ? -1 : nf", "float64", "-1"},
		{"nf != nil ? nf : i", "float64", "3"},
		{"nf == nil", "bool", "true"},
		{"ns in ['a', 'b']", "bool", "false"},
		{"s in ['a', 'aü']", "bool", "true"},
		{"ns contains 'a'", "bool?", "false"},
		{"nb and b", "bool?", ""},
		{"nf > 1 or b", "bool?", ""},
		{"max(f, i)", "float64", "3"},
		{"int(f * 2) + 1", "int64", "4"},
		{"int(i) + int('-7') + int(f)", "int64", "-3"},
		{"int(nf)", "int64?", ""},
		{"int(nf ?? 2.5)", "int64", "2"},
		{"int(one)", "int64?", "1"},
		{"int(9223372036854774784.0)", "int64", "9223372036854774784"},
		{"int(f * 1e300)", "int64", `rejected 0: column "out": int(f * 1e300): int of 1.5e+300; expected a number of 64 bits`},
		{"int(-9223372036854775808.0) < 0", "bool", "true"},
		{"int(9223372036854775808.0)", "int64", `rejected 0: column "out": int(9223372036854775808.0): int of 9.223372036854776e+18; expected a number of 64 bits`},
		{"int(s)", "int64", `rejected 0: column "out": int(s): int of "aü"; expected the digits of a whole number of 64 bits`},
		{"string(f * 1e6)", "string", "1500000"},
		{"string(f)", "string", "1.5"},
		{"string(f * 1e20)", "string", "150000000000000000000"},
		{"string(f * 1e21)", "string", "1.5e+21"},
		{"string(f / 1e6)", "string", "0.0000015"},
		{"string(f / 1e7)", "string", "1.5e-7"},
		{"string(-f * 0) + string(i * 1000000) + string(b) + string(s)", "string", "-03000000trueaü"},
		{"string(nf)", "string?", ""},
		{"string(one) + string(ts)", "string?", "11709208000000"},
		{"string(f / 0)", "string", `rejected 0: column "out": string(f / 0): string of +Inf; expected a finite number`},
		{"let x = f * 2; x + 1", "float64", "4"},
		{"ctr.probability > 0.5 ? 'yes' : 'no'", "string", "yes"},
		{"s[0:1] + '.'", "string", "a."},
		{"'constant'", "string", "constant"},
		{"1 / 0.0", "float64", `rejected 0: column "out": 1 / 0.0 is +Inf; expected a finite number`},
		{"i % 0", "int64", `rejected 0: column "out": i % 0: runtime error: integer divide by zero`},
		{"ni ?? (i % 0)", "int64", `rejected 0: column "out": ni ?? (i % 0): runtime error: integer divide by zero`},
		{"s[1:2]", "string", `rejected 0: column "out": s[1:2] is not UTF-8`},
	} {
		tables, err := optest.Parse(head)
		if err != nil {
			t.Fatal(err)
		}
		h, err := optest.Open(definition("map"), "{columns: {out: '"+strings.ReplaceAll(c.expr, "'", "''")+"'}}", tables[0].Rows.Schema)
		if err != nil {
			t.Errorf("%s: %v", c.expr, err)
			continue
		}
		if f := h.Node.Schema.Fields; f[len(f)-1].TypeString() != c.typ {
			t.Errorf("%s is %s, want %s", c.expr, f[len(f)-1].TypeString(), c.typ)
		}
		if err := h.Feed(0, tables[0].Rows); err != nil {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(strings.TrimSuffix(h.Text(), "\n"), "\n")
		got = strings.TrimPrefix(got, "1.5,,1,3,,aü,,true,,2024-02-29T12:00:00.000Z,0.75,")
		if got != c.want {
			t.Errorf("%s: %q, want %q", c.expr, got, c.want)
		}
	}
}

func TestComplaints(t *testing.T) {
	const in = "price:float64,maybe:float64?,site:string,ctr.probability:float64,ctr.loss:float64?,y:bool?,x:sparse\n"
	const all = "expected one of price, maybe, site, ctr.probability, ctr.loss, y"
	for _, c := range []struct{ op, config, want string }{
		{"filter", "{}", ":1:1: where is missing; expected a text"},
		{"filter", "{where: pric > 0}", `:1:9: no column "pric"; did you mean "price"?`},
		{"filter", "{where: price > 0 and sites != 'x' or foo == 1}", `:1:23: no column "sites"; did you mean "site"?` + "\n" + `:1:39: no column "foo"; ` + all},
		{"filter", "{where: ctr.probabilty > 0}", `:1:9: no column "ctr.probabilty"; did you mean "ctr.probability"?`},
		{"filter", "{where: ctr > 0}", `:1:9: no column "ctr"; ` + all},
		{"filter", "{where: price.x > 0}", `:1:9: no column "price.x"; did you mean "price"?`},
		{"filter", "where: $env['sit'] == 'a'", `:1:8: no column "sit"; did you mean "site"?`},
		{"filter", "where: len($env) > 0", `:1:12: no column "$env"; ` + all},
		{"filter", "where: now() > 0", `:1:8: no function "now"; expected one of abs, all,`},
		{"filter", "where: price > 0 and date('2024-01-01') != nil", `:1:22: no function "date"; expected one of abs, all, any,`},
		{"filter", "where: repeat(site, 100000) != ''", `:1:8: no function "repeat"; expected one of`},
		{"filter", "where: price > 0 and uper(site) == 'A'", `:1:22: no function "uper"; did you mean "upper"?`},
		{"filter", "where: price >", `:1:14: unexpected token EOF; expected an expression such as price > 0 and site != 'x'`},
		{"filter", "where: price = 1", `:1:14: unexpected token Operator("=");`},
		{"filter", "where: price > 'x'", `:1:14: invalid operation: > (mismatched types float64 and string);`},
		{"filter", "where: site matches '['", `:1:13: error parsing regexp: missing closing ]`},
		{"filter", "where: \"price > 'x'\"", `:1:15: invalid operation: > (mismatched types float64 and string);`},
		{"filter", "where: >\n  price > 'x'", `:1:8: invalid operation: > (mismatched types float64 and string);`},
		{"filter", "where: price + 1", `:1:8: the expression is float64; expected one that is true or false`},
		{"filter", "where: site", `:1:8: the expression is string; expected one that is true or false`},
		{"filter", "where: y", `:1:8: the expression is bool?; expected one that is true or false, for a null as well: give columns that may be null a default, as in (y ?? false)`},
		{"filter", "where: price ** 0.5 > 1 or 2 ^ price > 3", `:1:17: an exponent that is not a constant; expected a whole number, as in price ** 2: other powers differ between processors in the last digit` + "\n" + `:1:32: an exponent that`},
		{"filter", "where: x == 1", `:1:8: column "x" is sparse; expected bool, int64, float64, string or timestamp`},
		{"filter", "where: ''", `:1:8: `},
		{"map", "{}", `:1:1: columns is missing; expected a mapping of name: text`},
		{"map", "{columns: {}}", `:1:11: no column is computed; expected at least one`},
		{"map", "{columns: {a: pric * 2, b: sit}}", `:1:15: no column "pric"; did you mean "price"?` + "\n" + `:1:28: no column "sit"; did you mean "site"?`},
		{"map", "{columns: {site: price}}", `column "site" exists already; expected another name for this operator or column`},
		{"map", "{columns: {a: '[1, 2]'}}", `:1:15: the type of the expression is not known; expected bool, int64, float64 or string, the same whatever its conditions`},
		{"map", "{columns: {a: 'y ?? price'}}", `:1:15: the type of the expression is not known`},
		{"map", "{columns: {a: nil}}", `:1:15: the type of the expression is not known`},
		{"map", "{columns: {a: now()}}", `:1:15: no function "now"; expected one of abs, all,`},
		{"map", "{columns: {a: price ** 0.5}}", `an exponent that is not a constant`},
		{"map", "{columns: {a: price + site}}", `:1:21: invalid operation: + (mismatched types float64 and string)`},
		{"map", "{columns: {a: x}}", `:1:15: column "x" is sparse`},
		{"select", "{}", `:1:1: columns is missing; expected a list of columns, or a mapping of new name: column`},
		{"select", "{columns: []}", `:1:11: no column is selected; expected at least one`},
		{"select", "{columns: [site, prise]}", `:1:18: no column "prise"; did you mean "price"?`},
		{"select", "{columns: {p: ctr.probability, q: ctr}}", `:1:35: no column "ctr"; expected`},
		{"select", "{columns: [site, site]}", `:1:18: columns names "site" twice; expected each once`},
	} {
		_, err := optest.Run(definition(c.op), c.config, in)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v\nwant %s", c.op, c.config, err, c.want)
		}
	}
}

// A batch of which nothing is dropped is passed on as it is.
func TestFilterCopiesOnlyIfItMust(t *testing.T) {
	tables, err := optest.Parse("x:float64?\n1\n2\n3\n")
	if err != nil {
		t.Fatal(err)
	}
	in := tables[0].Rows
	for where, same := range map[string]bool{"x > 0": true, "x > 1": false} {
		h, err := optest.Open(definition("filter"), "{where: "+where+"}", in.Schema)
		if err != nil {
			t.Fatal(err)
		}
		h.Node.Next = func(b *batch.Batch) error {
			if got := b.Cols[0] == in.Cols[0]; got != same {
				t.Errorf("%s: passed on the input's column: %v, want %v", where, got, same)
			}
			return nil
		}
		if err := h.Feed(0, in); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkFilter(b *testing.B) {
	tables, err := optest.Parse("price:float64,site:string\n" + strings.Repeat("1.5,a\n0,b\n2,x\n", 300))
	if err != nil {
		b.Fatal(err)
	}
	in := tables[0].Rows
	for _, where := range []string{"price > 0", "price > 0 and site != 'x'", "price * 2 > 1"} {
		b.Run(where, func(b *testing.B) {
			h, err := optest.Open(definition("filter"), "{where: \""+where+"\"}", in.Schema)
			if err != nil {
				b.Fatal(err)
			}
			h.Node.Next = func(*batch.Batch) error { return nil }
			b.ReportAllocs()
			for b.Loop() {
				if err := h.Node.Process(0, in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*in.N), "ns/row")
		})
	}
}

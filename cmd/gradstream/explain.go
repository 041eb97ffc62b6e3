package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/gradstream/gradstream/connectors"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/batch"
	"github.com/gradstream/gradstream/pipeline/run"
)

func (a *app) explainCommand() *cobra.Command {
	var text string
	var asJSON bool
	flags := &pastFlags{}
	c := &cobra.Command{
		Use:   "explain FILE --id TASK/STEP/INDEX",
		Short: "Take a published prediction apart, with the weights that made it",
		Long: `explain rebuilds the weights that made one published prediction, computes it again,
compares it with what was published, and prints what each feature of the event
contributed to the score. The id is the header gs-id of the published record. It
only reads: the pipeline may run meanwhile.

It exits with 1 if the prediction does not come out as it was published, bit for bit.`,
		Args: argFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			if text == "" {
				return wrongInput("--id is missing; expected TASK/STEP/INDEX, the header gs-id of a published record")
			}
			id, err := run.ParseOutputID(text)
			if err != nil {
				return wrongInput("--id: %v", err)
			}
			p, err := a.load(args[0])
			if err != nil {
				return err
			}
			return a.explain(cmd.Context(), p, flags, id, asJSON)
		},
	}
	c.Flags().StringVar(&text, "id", "", "header gs-id of the published record: `TASK/STEP/INDEX`")
	c.Flags().BoolVar(&asJSON, "json", false, "print the explanation as one JSON object")
	flags.add(c)
	a.addSet(c)
	return c
}

func (a *app) explain(ctx context.Context, p *pipeline.Pipeline, flags *pastFlags, id run.OutputID, asJSON bool) error {
	b, o, done, err := a.past(ctx, p, flags)
	if err != nil {
		return err
	}
	defer done()
	bar := newProgress(a.err)
	o.Progress = func(p run.RebuildProgress) { bar.show(int64(p.Step-p.From), int64(p.To-p.From), p.Rows) }
	o.Task, o.To = id.Task, id.Step
	var x *run.Explained
	err = a.rebuilding(ctx, p, b, flags, &o, func() (err error) {
		x, err = run.Explain(ctx, p, b.cluster, id, o)
		return err
	})
	bar.done()
	if err != nil {
		return requested(err)
	}
	if asJSON {
		err = a.printJSON(explanationOf(p, x))
	} else {
		err = a.printExplanation(p, x)
	}
	switch where := fmt.Sprintf("%s[%d]", x.Output.Topic, x.Output.Partition); {
	case err != nil:
		return err
	case x.Published == nil:
		return fmt.Errorf("%s has no record with the id %v any more: there is nothing to compare with", where, id)
	case !x.Equal:
		return fmt.Errorf("output %v is not what was published at offset %d of %s", id, x.Published.Offset, where)
	}
	return nil
}

// printJSON prints a value as indented JSON, texts as they are.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// explanation is what explain --json prints. Numbers that matter to the last bit
// come with their bits: those of a float64 as 16 hexadecimal digits.
type explanation struct {
	Pipeline   string            `json:"pipeline"`
	ID         string            `json:"id"`
	Sink       string            `json:"sink"`
	Topic      string            `json:"topic"`
	Partition  int32             `json:"partition"`
	Offset     *int64            `json:"offset"` // null: not found
	Time       string            `json:"time"`   // the step's clock
	Event      explainedEvent    `json:"event"`
	Published  *explainedRecord  `json:"published"`
	Recomputed explainedRecord   `json:"recomputed"`
	Equal      bool              `json:"equal"`
	Learners   []explainedPieces `json:"learners"`
}

type explainedEvent struct {
	Source    string `json:"source"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Time      string `json:"time"`
}

// explainedRecord holds a record's key and value: as text if they are UTF-8, else
// in base64.
type explainedRecord struct {
	Key         *string `json:"key"`
	KeyBase64   []byte  `json:"key_base64,omitempty"`
	Value       *string `json:"value"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

type explainedPieces struct {
	Node          string          `json:"node"`
	Type          string          `json:"type"`
	Columns       []explainedCell `json:"columns"`
	Features      string          `json:"features"`
	Contributions []explainedPart `json:"contributions"` // in the order in which the learner adds them, in float32
	Intercept     float64         `json:"intercept"`     // added last, in float64
	Sum           float64         `json:"sum"`
	SumBits       string          `json:"sum_bits"`
}

type explainedCell struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
	Bits  string          `json:"bits,omitempty"`
}

type explainedPart struct {
	Columns      []string `json:"columns"`
	Values       []string `json:"values"`
	Index        uint32   `json:"index"`
	Value        float32  `json:"value"`
	Weight       float32  `json:"weight"`
	Contribution float32  `json:"contribution"`
}

func explanationOf(p *pipeline.Pipeline, x *run.Explained) explanation {
	e := explanation{
		Pipeline: p.Name, ID: x.ID.String(), Sink: x.Sink.Name, Topic: x.Output.Topic, Partition: x.Output.Partition, Time: stamp(x.Clock),
		Event:      explainedEvent{Source: x.Source.Name, Topic: x.Source.Topic, Partition: x.Partition, Offset: x.Offset, Time: stamp(x.Time)},
		Recomputed: explainedRecordOf(&x.Output.Record), Equal: x.Equal,
	}
	if x.Published != nil {
		r := explainedRecordOf(x.Published)
		e.Published, e.Offset = &r, &x.Published.Offset
	}
	for _, l := range x.Learners {
		out := explainedPieces{Node: l.Node, Type: l.Type, Features: l.Features, Intercept: l.Intercept, Sum: l.Sum, SumBits: bits(l.Sum)}
		for _, c := range l.Columns {
			cell := explainedCell{Name: c.Name, Value: json.RawMessage("null")}
			if !c.Null {
				cell.Value = jsonCell(c)
				if c.Type == batch.Float64 {
					cell.Bits = bits(c.Real)
				}
			}
			out.Columns = append(out.Columns, cell)
		}
		for _, f := range l.Parts {
			out.Contributions = append(out.Contributions, explainedPart{Columns: f.Columns, Values: f.Values, Index: f.Index, Value: f.Value, Weight: f.Weight, Contribution: f.Amount})
		}
		e.Learners = append(e.Learners, out)
	}
	return e
}

func jsonCell(c run.ExplainedColumn) json.RawMessage {
	switch c.Type {
	case batch.Float64, batch.Int64, batch.Bool:
		return json.RawMessage(c.Text)
	}
	text, _ := json.Marshal(c.Text)
	return text
}

func bits(v float64) string { return fmt.Sprintf("%016x", math.Float64bits(v)) }

func explainedRecordOf(r *connectors.Record) (out explainedRecord) {
	show := func(b []byte, text **string, raw *[]byte) {
		if !utf8.Valid(b) {
			*raw = b
		} else if b != nil {
			s := string(b)
			*text = &s
		}
	}
	show(r.Key, &out.Key, &out.KeyBase64)
	show(r.Value, &out.Value, &out.ValueBase64)
	return out
}

// printExplanation prints for people: the features by the size of what they
// contribute.
func (a *app) printExplanation(p *pipeline.Pipeline, x *run.Explained) error {
	w := a.out
	fmt.Fprintf(w, "pipeline %s, output %v\n", p.Name, x.ID)
	fmt.Fprintf(w, "  event       source %s, offset %d of %s[%d], time %s\n", x.Source.Name, x.Offset, x.Source.Topic, x.Partition, stamp(x.Time))
	switch {
	case x.Published == nil:
		fmt.Fprintf(w, "  published   sink %s, %s[%d]: not found\n", x.Sink.Name, x.Output.Topic, x.Output.Partition)
	default:
		fmt.Fprintf(w, "  published   sink %s, offset %d of %s[%d]\n              %s\n", x.Sink.Name, x.Published.Offset, x.Output.Topic, x.Output.Partition, oneLine(x.Published))
	}
	fmt.Fprintf(w, "  recomputed  %s\n", oneLine(&x.Output.Record))
	switch {
	case x.Equal:
		fmt.Fprintln(w, "  equal       yes, bit for bit: key, value and headers")
	case x.Published != nil:
		fmt.Fprintln(w, "  equal       NO")
	}
	for _, l := range x.Learners {
		if err := a.printLearner(&l); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) printLearner(l *run.ExplainedLearner) error {
	fmt.Fprintf(a.out, "\n%s (%s)\n", l.Node, l.Type)
	t := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	for _, c := range l.Columns {
		switch {
		case c.Null:
			fmt.Fprintf(t, "  %s\t-\n", c.Name)
		case c.Type == batch.Float64:
			fmt.Fprintf(t, "  %s\t%s\t0x%s\n", c.Name, c.Text, bits(c.Real))
		default:
			fmt.Fprintf(t, "  %s\t%s\n", c.Name, strings.Map(printable, c.Text))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(a.out)
	parts := slices.Clone(l.Parts)
	slices.SortStableFunc(parts, func(a, b run.ExplainedFeature) int {
		return cmp.Compare(math.Abs(float64(b.Amount)), math.Abs(float64(a.Amount)))
	})
	fmt.Fprintln(t, "  COLUMN\tVALUE\tINDEX\tFEATURE\tWEIGHT\tCONTRIBUTION")
	for _, f := range parts {
		columns, values := strings.Join(f.Columns, " × "), strings.Join(f.Values, " × ")
		fmt.Fprintf(t, "  %s\t%s\t%d\t%s\t%s\t%s\n", cmp.Or(columns, l.Features), cmp.Or(strings.Map(printable, values), "-"), f.Index, single(f.Value), single(f.Weight), single(f.Amount))
	}
	fmt.Fprintf(t, "  intercept\t\t\t\t\t%s\n", strconv.FormatFloat(l.Intercept, 'g', -1, 64))
	fmt.Fprintf(t, "  sum = score\t\t\t\t\t%s\n", strconv.FormatFloat(l.Sum, 'g', -1, 64))
	return t.Flush()
}

func single(v float32) string { return strconv.FormatFloat(float64(v), 'g', -1, 32) }

// printable keeps a value of an event from moving the cursor.
func printable(r rune) rune {
	if !strconv.IsPrint(r) {
		return '·'
	}
	return r
}

// oneLine shows key and value of a record.
func oneLine(r *connectors.Record) string {
	value := string(r.Value)
	if !utf8.Valid(r.Value) || strings.ContainsFunc(value, func(c rune) bool { return !strconv.IsPrint(c) }) {
		value = strconv.Quote(value)
	}
	if r.Key == nil {
		return value
	}
	return strconv.Quote(string(r.Key)) + " " + value
}

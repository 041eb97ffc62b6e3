package pipeline

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// describeStages writes the parts of each stage.
func describeStages(p *Pipeline) []string {
	var all []string
	for _, s := range p.Stages() {
		var parts []string
		for _, in := range s.Sources {
			parts = append(parts, "<"+in.Name)
		}
		for _, n := range s.Nodes {
			parts = append(parts, n.Name)
		}
		for _, out := range s.Sinks {
			parts = append(parts, fmt.Sprintf("%s:%s>", strings.Join(out.From, "+"), out.Name))
		}
		all = append(all, strings.Join(parts, " "))
	}
	return all
}

// Every repartition ends a stage and begins another, with all that is joined behind
// it; whatever is left is one stage.
func TestStages(t *testing.T) {
	p, errs := Load("testdata/good/repartition.yaml", testOptions())
	if errs != nil {
		t.Fatal(errs)
	}
	want := []string{
		"<heartbeats <views views:all> views:by_site> views:by_user>",
		"<by_site site_model by_site:all>",
		"<by_user <profiles joined features ctr ctr:again> ctr:all>",
		"<again again:again_too>",
	}
	if diff := cmp.Diff(want, describeStages(p)); diff != "" {
		t.Error(diff)
	}
	hashes := []string{p.Hash()}
	for _, s := range p.Stages() {
		if s.Name != p.Name || s.Commit != p.Commit || s.Checkpoint != p.Checkpoint {
			t.Error("a stage is of another pipeline")
		}
		hashes = append(hashes, s.Hash())
	}
	slices.Sort(hashes)
	if len(slices.Compact(hashes)) != 1+len(want) {
		t.Error("stages share a hash")
	}
	in := p.Stages()[2].Sources[0]
	if in.Topic != "shop.by_user.repartition" || in.Partitions != 8 || in.Format != RowFormat || in.Start != "earliest" ||
		in.Errors != "views.errors" || in.Time != "" || !in.Internal || !slices.Equal(in.Schema.Names(), p.Sources[2].Schema.Names()) {
		t.Errorf("the far side of by_user is %+v", in)
	}
	if e := p.Stages()[3].Sources[0].Errors; e != "shop.errors" {
		t.Errorf("rows of two errors topics are rejected to %s", e)
	}
	out := p.Stages()[2].Sinks[0]
	if out.Topic != "shop.again.repartition" || out.Key != "ctr.version" || out.Partitions != 1 || !out.Internal {
		t.Errorf("the near side of again is %+v", out)
	}
	if i := out.Inputs[0]; len(i.Columns) != len(i.Schema.Fields) || i.Schema.Fields[i.Key].Name != "ctr.version" || i.Output.Lookup("features") < 0 {
		t.Errorf("the near side of again publishes %+v", i)
	}
}

// Without a repartition a pipeline is its only stage, and keeps its hash.
func TestOneStage(t *testing.T) {
	p, errs := Load("testdata/good/join.yaml", testOptions())
	if errs != nil {
		t.Fatal(errs)
	}
	if s := p.Stages(); len(s) != 1 || s[0] != p {
		t.Errorf("%d stages", len(s))
	}
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/gradstream/gradstream/connectors/kafka"
	"github.com/gradstream/gradstream/pipeline/admin"
)

// documented reads the tables of docs/metrics.md: name to its labels.
func documented(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	row := regexp.MustCompile("^\\| `(gradstream_[a-z0-9_]+)` \\| (counter|gauge|histogram) \\| ([^|]*) \\| \\S")
	found := map[string]string{}
	for in := bufio.NewScanner(f); in.Scan(); {
		line := in.Text()
		if !strings.HasPrefix(line, "| `gradstream_") {
			continue
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("not a row of the table: %s", line)
			continue
		}
		if _, twice := found[m[1]]; twice {
			t.Errorf("%s is documented twice", m[1])
		}
		labels := strings.ReplaceAll(m[3], "`", "")
		if labels == "–" {
			labels = ""
		}
		found[m[1]] = m[2] + " " + labels
	}
	return found
}

// description parses the text of a prometheus.Desc, which has no other way out.
var description = regexp.MustCompile(`fqName: "([^"]+)".*variableLabels: \{([^}]*)\}`)

// TestMetricsAreDocumented runs the flights for a while and compares what is
// registered with docs/metrics.md, name by name and label by label.
func TestMetricsAreDocumented(t *testing.T) {
	p, err := loadDemo("flights", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	a := &app{out: t.Output(), err: t.Output(), logFormat: "text", logLevel: "warn"}
	if err := a.openLog(); err != nil {
		t.Fatal(err)
	}
	e, err := kafka.StartEmbedded(t.Context(), kafka.EmbeddedOptions{Dir: p.StateDir, Log: a.log})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	reg := prometheus.NewRegistry()
	server := admin.New(reg, version)
	w, err := a.start(t.Context(), p, []string{e.Addr()}, reg, "")
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	server.Add(p, w.worker, []string{e.Addr()})
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- w.worker.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
	}()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		live := 0
		for _, s := range w.worker.Status() {
			if s.Phase == "live" {
				live++
			}
		}
		if live == 4 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the tasks are not live: %+v", w.worker.Status())
		}
	}

	for path, want := range map[string]string{
		"/readyz": `{"status":"ready"}`, "/healthz": `{"status":"ok"}`, "/metrics": `gradstream_task_live{pipeline="flights",task="3"} 1`,
	} {
		answer := httptest.NewRecorder()
		server.Handler().ServeHTTP(answer, httptest.NewRequest("GET", path, nil))
		if answer.Code != 200 || !strings.Contains(answer.Body.String(), want) {
			t.Errorf("%s: %d %s, want %s", path, answer.Code, answer.Body, want)
		}
	}

	descs := make(chan *prometheus.Desc)
	go func() {
		reg.Describe(descs)
		close(descs)
	}()
	registered := map[string]string{}
	for d := range descs {
		m := description.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("cannot read %s", d)
		}
		if strings.HasPrefix(m[1], "gradstream_") {
			registered[m[1]] = strings.ReplaceAll(m[2], ",", ", ")
		}
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	for _, f := range families {
		types[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	docs := documented(t)
	for name, row := range docs {
		kind, labels, _ := strings.Cut(row, " ")
		have, ok := registered[name]
		switch {
		case !ok:
			t.Errorf("%s is documented and not registered", name)
		case types[name] != "" && types[name] != kind:
			t.Errorf("%s is documented as %s and is a %s", name, kind, types[name])
		case strings.Contains(name, "build_info"): // its labels are constant
		case strings.TrimPrefix(strings.TrimPrefix(labels, "client"), ", ") != have: // so is client
			t.Errorf("%s is documented with the labels %q and has %q", name, labels, have)
		}
	}
	var missing []string
	for name := range registered {
		if docs[name] == "" {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	for _, f := range families {
		if slices.Contains(missing, f.GetName()) {
			t.Errorf("not documented: | `%s` | %s | | %s |", f.GetName(), types[f.GetName()], f.GetHelp())
		}
	}
	if len(missing) > 0 {
		t.Errorf("not documented: %s", strings.Join(missing, ", "))
	}

	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	var ours []string
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "gradstream_") && !strings.HasPrefix(p.Metric, "gradstream_kafka_") {
			ours = append(ours, fmt.Sprintf("%s: %s", p.Metric, p.Text))
		}
	}
	if d := cmp.Diff([]string(nil), ours); d != "" {
		t.Errorf("against the conventions: %s", d)
	}
}

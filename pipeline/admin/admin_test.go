package admin_test

import (
	"context"
	"encoding/json"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gradstream/gradstream/examples/flights"
	"github.com/gradstream/gradstream/operators"
	"github.com/gradstream/gradstream/operators/drift"
	"github.com/gradstream/gradstream/operators/evaluate"
	"github.com/gradstream/gradstream/operators/feature"
	"github.com/gradstream/gradstream/operators/learn"
	"github.com/gradstream/gradstream/pipeline"
	"github.com/gradstream/gradstream/pipeline/admin"
	"github.com/gradstream/gradstream/pipeline/admin/ui"
	"github.com/gradstream/gradstream/pipeline/run"
)

// tasks stands in for a worker.
type tasks []run.TaskStatus

func (t *tasks) Status() []run.TaskStatus { return *t }

func flightsPipeline(t *testing.T) *pipeline.Pipeline {
	t.Helper()
	p, errs := pipeline.Parse("pipeline.yaml", flights.Pipeline, pipeline.Options{
		Registry: operators.Merge(&feature.Family, &learn.Family, &evaluate.Family, &drift.Family),
		Lookup:   func(string) (string, bool) { return "", false },
	})
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return p
}

func server(t *testing.T, w admin.Status) *admin.Server {
	t.Helper()
	s := admin.New(prometheus.NewRegistry(), "1.2.3")
	if w != nil {
		s.Add(flightsPipeline(t), w, []string{"127.0.0.1:9092"})
	}
	return s
}

// get asks for a path and returns status, headers and body.
func get(s *admin.Server, method, path string) (int, http.Header, string) {
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Code, w.Header(), w.Body.String()
}

func decode(t *testing.T, body string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	return v
}

func twoTasks() *tasks {
	value := func(name string, v float64) operators.Value { return operators.Value{Name: name, Number: v} }
	nodes := func(rows, accuracy, auc float64) []run.NodeStatus {
		return []run.NodeStatus{
			{Node: "features", Type: "vectorize", Role: "transform"},
			{Node: "quality", Type: "evaluate", Role: "evaluator", Values: []operators.Value{
				value("rows", rows), value("accuracy", accuracy), value("log_loss", math.NaN()), value("roc_auc", auc)}},
			{Node: "drift", Type: "adwin", Role: "detector", Values: []operators.Value{value("drifts", 2), {Name: "value", Null: true}}},
		}
	}
	return &tasks{
		{Task: 0, Phase: "live", Step: 7, Rows: 300, Rejected: 1, Outputs: 310, Watermark: 1357018500000, Nodes: nodes(300, 0.75, 0.5),
			Partitions: []run.PartitionState{{Topic: "flights", Partition: 0, Next: 300, End: 310}, {Topic: "flights", Partition: 2, Next: 5, End: 4}}},
		{Task: 1, Phase: "live", Step: 9, Rows: 100, Outputs: 100, Nodes: nodes(100, 0.25, 0.5),
			Partitions: []run.PartitionState{{Topic: "flights", Partition: 1, Next: 100, End: 105}}},
	}
}

func TestRoutes(t *testing.T) {
	s := server(t, twoTasks())
	for _, c := range []struct {
		method, path string
		code         int
		kind         string
		has          string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8", "<title>gradstream</title>"},
		{"GET", "/page.js", 200, "text/javascript; charset=utf-8", "api/status"},
		{"GET", "/page.css", 200, "text/css; charset=utf-8", "prefers-color-scheme: dark"},
		{"GET", "/icon.svg", 200, "image/svg+xml", "<svg"},
		{"GET", "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8; escaping=underscores", `gradstream_build_info{goversion=`},
		{"GET", "/healthz", 200, "application/json; charset=utf-8", `{"status":"ok"}`},
		{"GET", "/readyz", 200, "application/json; charset=utf-8", `{"status":"ready"}`},
		{"GET", "/api/version", 200, "application/json; charset=utf-8", `"version":"1.2.3"`},
		{"GET", "/api/graph", 200, "application/json; charset=utf-8", `"pipeline":"flights"`},
		{"GET", "/api/status", 200, "application/json; charset=utf-8", `"tasks_live":2`},
		{"GET", "/api/metrics", 200, "application/json; charset=utf-8", `"node":"quality"`},
		{"GET", "/api/history", 200, "application/json; charset=utf-8", `"samples":[]`},
		{"HEAD", "/api/status", 200, "application/json; charset=utf-8", ""},
		{"GET", "/nothing", 404, "application/json; charset=utf-8", `{"error":"nothing is served at /nothing"}`},
		{"GET", "/api/", 404, "application/json; charset=utf-8", `{"error":"nothing is served at /api/"}`},
		{"POST", "/api/status", 405, "application/json; charset=utf-8", `{"error":"method POST is not allowed; expected GET or HEAD"}`},
		{"DELETE", "/", 405, "application/json; charset=utf-8", `"error"`},
		{"OPTIONS", "/metrics", 405, "application/json; charset=utf-8", `"error"`},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			code, h, body := get(s, c.method, c.path)
			if code != c.code || h.Get("Content-Type") != c.kind || !strings.Contains(body, c.has) {
				t.Errorf("got %d %s %q, want %d %s with %q", code, h.Get("Content-Type"), body, c.code, c.kind, c.has)
			}
			for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"} {
				if h.Get(name) != want {
					t.Errorf("%s: %q, want %q", name, h.Get(name), want)
				}
			}
			if p := h.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "unsafe") {
				t.Errorf("policy %q", p)
			}
			if code == 405 && h.Get("Allow") != "GET, HEAD" {
				t.Errorf("Allow: %q", h.Get("Allow"))
			}
		})
	}
}

func TestReadinessFollowsTheTasks(t *testing.T) {
	type reply struct {
		ready, health int
		reasons       string
	}
	w := &tasks{}
	s := server(t, nil)
	look := func() reply {
		ready, _, body := get(s, "GET", "/readyz")
		health, _, _ := get(s, "GET", "/healthz")
		return reply{ready, health, strings.TrimSpace(body)}
	}
	want := func(at string, r reply) {
		t.Helper()
		if d := cmp.Diff(r, look(), cmp.AllowUnexported(reply{})); d != "" {
			t.Errorf("%s: -want +got\n%s", at, d)
		}
	}
	want("before anything has started", reply{503, 200, `{"status":"not ready","reasons":[{"reason":"no pipeline has started yet"}]}`})
	s.Add(flightsPipeline(t), w, nil)
	want("without tasks", reply{503, 200, `{"status":"not ready","reasons":[{"pipeline":"flights","reason":"no task has been assigned to this worker"}]}`})
	*w = tasks{{Task: 0, Phase: "replay"}, {Task: 1, Phase: "live"}}
	want("while a task replays", reply{503, 200, `{"status":"not ready","reasons":[{"pipeline":"flights","task":0,"reason":"the task is in phase replay, not live"}]}`})
	(*w)[0].Phase = "live"
	want("when all are live", reply{200, 200, `{"status":"ready"}`})
	(*w)[1].Phase = "lost"
	want("when another worker has taken one", reply{503, 200, `{"status":"not ready","reasons":[{"pipeline":"flights","task":1,"reason":"the task is in phase lost, not live"}]}`})
	(*w)[1].Phase = "failed"
	want("when one has failed", reply{503, 503, `{"status":"not ready","reasons":[{"pipeline":"flights","task":1,"reason":"the task is in phase failed, not live"}]}`})
	*w = tasks{}
	want("when all are gone", reply{503, 200, `{"status":"not ready","reasons":[{"pipeline":"flights","reason":"no task has been assigned to this worker"}]}`})
}

func TestGraph(t *testing.T) {
	_, _, body := get(server(t, twoTasks()), "GET", "/api/graph")
	var answer struct {
		Pipelines []struct {
			Nodes []struct{ Name, Kind, Type, Topic string }
			Edges []struct {
				From, To string
				Columns  []struct{ Name, Type string }
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	var nodes, edges []string
	for _, n := range answer.Pipelines[0].Nodes {
		nodes = append(nodes, n.Kind+" "+n.Name+" "+n.Type+n.Topic)
	}
	for _, e := range answer.Pipelines[0].Edges {
		edges = append(edges, e.From+" > "+e.To)
		if e.From == "late" && e.To == "predictions" {
			got := e.Columns[0].Name + " " + e.Columns[0].Type + ", " + e.Columns[1].Name + " " + e.Columns[1].Type
			if got != "id int64, p float64" || len(e.Columns) != 3 {
				t.Errorf("columns of %s: %v", edges[len(edges)-1], e.Columns)
			}
		}
	}
	if d := cmp.Diff([]string{"source flights flights", "operator baseline no_change", "operator baseline_quality evaluate", "operator features vectorize",
		"operator late logistic_regression", "operator drift adwin", "operator quality evaluate", "sink metrics flights.metrics", "sink predictions flights.predictions"}, nodes); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"flights > baseline", "baseline > baseline_quality", "flights > features", "features > late", "late > drift", "late > quality",
		"quality > metrics", "baseline_quality > metrics", "drift > metrics", "late > predictions"}, edges); d != "" {
		t.Error(d)
	}
}

func TestStatusAddsUp(t *testing.T) {
	_, _, body := get(server(t, twoTasks()), "GET", "/api/status")
	p := decode(t, body).(map[string]any)["pipelines"].([]any)[0].(map[string]any)
	first := p["tasks"].([]any)[0].(map[string]any)
	for name, want := range map[string]float64{"rows": 400, "rejected": 1, "outputs": 410, "lag": 15, "tasks_live": 2} {
		if p[name] != want {
			t.Errorf("%s: %v, want %v", name, p[name], want)
		}
	}
	if first["lag"] != 10.0 || first["watermark_ms"] != 1357018500000.0 || first["phase"] != "live" || first["step"] != 7.0 {
		t.Errorf("task 0: %v", first)
	}
	if _, ok := first["nodes"]; ok {
		t.Error("the status repeats what /api/metrics has")
	}
	if d := cmp.Diff(map[string]any{"topic": "flights", "partition": 2.0, "next": 5.0, "end": 4.0, "lag": 0.0}, first["partitions"].([]any)[1]); d != "" {
		t.Error(d)
	}
}

func TestMetricsOfAllTasks(t *testing.T) {
	_, _, body := get(server(t, twoTasks()), "GET", "/api/metrics")
	want := `{"pipelines":[{"pipeline":"flights","nodes":[` +
		`{"node":"drift","type":"adwin","role":"detector","all":{"drifts":4,"value":null},"tasks":[{"task":0,"values":{"drifts":2,"value":null}},{"task":1,"values":{"drifts":2,"value":null}}]},` +
		`{"node":"quality","type":"evaluate","role":"evaluator","all":{"rows":400,"accuracy":0.625,"log_loss":null,"roc_auc":null},` +
		`"tasks":[{"task":0,"values":{"rows":300,"accuracy":0.75,"log_loss":null,"roc_auc":0.5}},{"task":1,"values":{"rows":100,"accuracy":0.25,"log_loss":null,"roc_auc":0.5}}]}]}]}` + "\n"
	if d := cmp.Diff(want, body); d != "" {
		t.Error(d)
	}
}

func TestMerge(t *testing.T) {
	v := func(name string, n float64) operators.Value { return operators.Value{Name: name, Number: n} }
	null := func(name string) operators.Value { return operators.Value{Name: name, Null: true} }
	for _, c := range []struct {
		name  string
		tasks [][]operators.Value
		want  []operators.Value
	}{
		{"none", nil, nil},
		{"one stays as it is", [][]operators.Value{{v("rows", 3), v("roc_auc", 0.7)}}, []operators.Value{v("rows", 3), v("roc_auc", 0.7)}},
		{"means are weighted by rows", [][]operators.Value{{v("rows", 1), v("mae", 4)}, {v("rows", 3), v("mae", 8)}}, []operators.Value{v("rows", 4), v("mae", 7)}},
		{"squares below a root are", [][]operators.Value{{v("rows", 1), v("rmse", 1)}, {v("rows", 1), v("rmse", 7)}}, []operators.Value{v("rows", 2), v("rmse", 5)}},
		{"losses by what was learnt", [][]operators.Value{{v("version", 1), v("loss", 1)}, {v("version", 9), v("loss", 2)}}, []operators.Value{v("version", 10), v("loss", 1.9)}},
		{"undefined parts are left out", [][]operators.Value{{v("rows", 0), null("accuracy")}, {v("rows", 5), v("accuracy", 1)}}, []operators.Value{v("rows", 5), v("accuracy", 1)}},
		{"nothing defined", [][]operators.Value{{v("rows", 0), null("accuracy")}, {v("rows", 0), null("accuracy")}}, []operators.Value{v("rows", 0), null("accuracy")}},
		{"segments of whoever knows them, by their own rows", [][]operators.Value{
			{v("rows", 9), v("accuracy", 1), v("rows[a]", 1), v("accuracy[a]", 0), v("rows_beyond_segments", 1)},
			{v("rows", 9), v("accuracy", 0), v("rows[a]", 3), v("accuracy[a]", 1), v("rows[b[0]]", 6), v("accuracy[b[0]]", 0.5), v("rows_beyond_segments", 0)},
		}, []operators.Value{v("rows", 18), v("accuracy", 0.5), v("rows[a]", 4), v("accuracy[a]", 0.75), v("rows_beyond_segments", 1), v("rows[b[0]]", 6), v("accuracy[b[0]]", 0.5)}},
		{"no sum of curves", [][]operators.Value{{v("roc_auc", 0.5)}, {v("roc_auc", 0.5)}}, []operators.Value{null("roc_auc")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if d := cmp.Diff(c.want, admin.Merge(c.tasks)); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestServe starts and ends a listener and waits for a point of the history.
func TestServe(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := server(t, twoTasks())
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	url := "http://" + ln.Addr().String()
	deadline := time.Now().Add(20 * time.Second)
	for {
		r, err := http.Get(url + "/api/history")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(body), `"rows":400,"lag":15,"nodes":{"drift":{"drifts":4,"value":null},"quality":{"rows":400,`) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no point in the history: %s", body)
		}
		time.Sleep(50 * time.Millisecond)
	}
	cancel()
	if err := <-served; err != nil {
		t.Errorf("a planned end: %v", err)
	}
	if _, err := http.Get(url + "/healthz"); err == nil {
		t.Error("still answers")
	}
	if code, _, body := get(s, "GET", "/readyz"); code != 503 || !strings.Contains(body, "the process is stopping") {
		t.Errorf("at the end: %d %s", code, body)
	}
}

// TestPageAsksNobody makes sure that the page works under its policy: nothing
// inline, nothing from elsewhere.
func TestPageAsksNobody(t *testing.T) {
	page := string(ui.Files["/"].Data)
	for _, bad := range []string{`(?i)\son\w+=`, `(?i)\sstyle=`, `<style`, `<script>`} {
		if m := regexp.MustCompile(bad).FindString(page); m != "" {
			t.Errorf("the page has %q inline", m)
		}
	}
	for path, f := range ui.Files {
		text := strings.ReplaceAll(string(f.Data), "http://www.w3.org/2000/svg", "")
		if m := regexp.MustCompile(`(?i)(https?:)?//[a-z0-9]+\.[a-z]`).FindString(text); m != "" {
			t.Errorf("%s refers to %q", path, m)
		}
		if strings.Contains(text, "innerHTML") || strings.Contains(text, "eval(") {
			t.Errorf("%s makes markup or code of text", path)
		}
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1) {
		code, _, _ := get(server(t, twoTasks()), "GET", "/"+m[1])
		if code != 200 {
			t.Errorf("the page refers to %s, which answers %d", m[1], code)
		}
	}
}

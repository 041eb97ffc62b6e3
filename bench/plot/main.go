// Command plot draws what bench/throughput found: events a second, processor time
// and latency, as a PNG; and what bench/quality found: the loss over the rows of each
// stream, as a folder of them. It is a module of its own, so that the libraries that
// it draws with are nobody else's.
//
//	go -C bench/plot run . ../results/throughput.json ../results/throughput.png
//	go -C bench/plot run . -quality ../results/quality.json ../results/quality
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

func main() {
	args, picture := os.Args[1:], run
	if len(args) > 0 && args[0] == "-quality" {
		args, picture = args[1:], quality
	}
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: plot RESULTS.json PICTURE.png, or plot -quality RESULTS.json FOLDER")
		os.Exit(2)
	}
	if err := picture(args[0], args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "plot:", err)
		os.Exit(1)
	}
}

// results is the part of the file that is drawn.
type results struct {
	Kafka   string `json:"kafka"`
	Events  int    `json:"events"`
	Summary []struct {
		Variant string  `json:"variant"`
		PerSec  float64 `json:"events_per_second"`
		CPU     float64 `json:"cpu_seconds_per_million"`
		Broker  float64 `json:"broker_cpu_seconds_per_million"`
	} `json:"summary"`
	Latencies []struct {
		Variant string  `json:"variant"`
		Rate    int     `json:"events_per_second"`
		P50     float64 `json:"p50_ms"`
		P99     float64 `json:"p99_ms"`
		P999    float64 `json:"p999_ms"`
	} `json:"latencies"`
}

func run(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	panels, err := r.panels()
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	img := vgimg.New(vg.Length(len(panels))*5*vg.Inch, 4*vg.Inch)
	tiles := draw.Tiles{Rows: 1, Cols: len(panels), PadX: vg.Points(20), PadY: vg.Points(10), PadTop: vg.Points(10), PadRight: vg.Points(10), PadLeft: vg.Points(10)}
	for i, c := range plot.Align([][]*plot.Plot{panels}, tiles, draw.New(img))[0] {
		panels[i].Draw(c)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = vgimg.PngCanvas{Canvas: img}.WriteTo(f)
	return errors.Join(err, f.Close())
}

var colours = []color.Color{
	color.RGBA{0x1f, 0x5f, 0x9e, 0xff}, color.RGBA{0x8c, 0xb4, 0xd8, 0xff}, color.RGBA{0xd9, 0x8a, 0x3d, 0xff},
}

// series is one bar a variant.
type series struct {
	name   string
	values plotter.Values
}

// panels makes the pictures that there are figures for.
func (r *results) panels() ([]*plot.Plot, error) {
	var names, names2 []string
	var rate, cpu, broker, p50, p99, p999 plotter.Values
	for _, s := range r.Summary {
		names = append(names, s.Variant)
		rate, cpu, broker = append(rate, s.PerSec/1e3), append(cpu, s.CPU), append(broker, s.Broker)
	}
	at := 0
	for _, l := range r.Latencies {
		names2, at = append(names2, l.Variant), l.Rate
		p50, p99, p999 = append(p50, l.P50), append(p99, l.P99), append(p999, l.P999)
	}
	var all []*plot.Plot
	for _, p := range []struct {
		title, unit string
		names       []string
		series      []series
	}{
		{fmt.Sprintf("Backlog of %d events, Kafka %s", r.Events, r.Kafka), "1,000 events/s", names, []series{{"", rate}}},
		{"Processor time", "seconds per million events", names, []series{{"client", cpu}, {"broker", broker}}},
		{fmt.Sprintf("Latency at %d events/s", at), "ms", names2, []series{{"p50", p50}, {"p99", p99}, {"p99.9", p999}}},
	} {
		if len(p.names) == 0 {
			continue
		}
		drawn, err := bars(p.title, p.unit, p.names, p.series)
		if err != nil {
			return nil, err
		}
		all = append(all, drawn)
	}
	if len(all) == 0 {
		return nil, errors.New("nothing to draw in it")
	}
	return all, nil
}

func bars(title, unit string, names []string, all []series) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text, p.Y.Label.Text, p.Y.Min = title, unit, 0
	p.Legend.Top = true
	width := vg.Points(24 / float64(len(all)))
	for i, s := range all {
		b, err := plotter.NewBarChart(s.values, width)
		if err != nil {
			return nil, err
		}
		b.Color, b.LineStyle.Width = colours[i], 0
		b.Offset = width * vg.Length(float64(i)-float64(len(all)-1)/2)
		p.Add(b)
		if s.name != "" {
			p.Legend.Add(s.name, b)
		}
	}
	p.NominalX(names...)
	return p, nil
}
